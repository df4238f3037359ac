//! The message on standard input, read whole before anything is said to the relay.

use std::io::{self, Read, Write};

use nix::unistd::{Uid, User};

use super::lines::Lines;
use super::options::Options;
use crate::cli::exit::Exit;
use crate::cli::fail;
use crate::cli::spill::Spill;
use crate::config::Config;
use crate::mail::address_list::{Entry, Recipients};
use crate::mail::date::Date;
use crate::mail::header::{Missing, Rules, Scanner};
use crate::smtp::address::{Direction, Manner, Path};
use crate::smtp::command::Body;
use crate::sys;

/// Octets read at once.
const PIECE_OCTETS: usize = 16 * 1024;
/// Recipients of one message.
const RECIPIENTS: usize = 10_000;

/// A message and its envelope.
#[derive(Debug)]
pub struct Letter {
    /// The reverse-path, canonical and without brackets.
    pub sender: Path,
    /// The forward-paths, each once as it is spelt; that two spellings are one is for the relay to know.
    pub recipients: Vec<Path>,
    /// The content, in clean lines.
    pub content: Spill,
    /// As the caller says, or as it is.
    pub body: Body,
}

impl Letter {
    /// Reads the message from `input`, as the options say.
    pub fn read(options: &Options, config: &Config, input: &mut impl Read) -> Result<Self, Exit> {
        let mut addresses = Addresses::new(&config.hostname);
        options.recipients.iter().for_each(|argument| addresses.read_argument(argument));
        let sender = sender(options, &config.hostname)?;
        let (content, is_eight_bit) = read_content(options, config, &sender, input, &mut addresses)?;
        if let Some(wrong) = addresses.wrong {
            return Err(fail(Exit::Data, wrong));
        }
        if addresses.paths.is_empty() {
            return Err(fail(Exit::Usage, "no recipients: name them, or in To:, Cc: or Bcc: with -t"));
        }
        let body = match options.body {
            Body::Unsaid if is_eight_bit => Body::EightBitMime,
            said => said,
        };
        Ok(Self { sender, recipients: addresses.paths, content, body })
    }

    /// True if a path is not ASCII (RFC 6531).
    pub fn needs_smtputf8(&self) -> bool {
        !self.sender.as_str().is_ascii() || self.recipients.iter().any(|path| !path.as_str().is_ascii())
    }
}

/// Reads content to its end, or a lone dot; true with it if it has octets beyond ASCII.
fn read_content(
    options: &Options,
    config: &Config,
    sender: &Path,
    input: &mut impl Read,
    addresses: &mut Addresses<'_>,
) -> Result<(Spill, bool), Exit> {
    let broken = |e: io::Error| fail(Exit::Io, format_args!("reading the message: {e}"));
    let address = if sender.as_str().is_empty() { config.postmaster.as_str() } else { sender.as_str() };
    let from = options.full_name.as_ref().map(|name| from(name, address));
    let date = sys::is_sane(sys::unix_s()).then(date);
    let id = format!("{}.{}", sys::unix_s(), std::process::id());
    let missing =
        from.as_ref().map(|from| Missing { date, id: &id, hostname: &config.hostname, from: from.as_str() });
    let rules = Rules { missing, drop_bcc: true, drop_return_path: false };
    let mut scanner = Scanner::new();
    let (mut list, mut resent_list) = (Recipients::original(), Recipients::resent());
    let (mut named, mut resent) = (Addresses::new(&config.hostname), Addresses::new(&config.hostname));
    let (mut lines, mut clean) = (Lines::new(options.dot_is_text), Vec::with_capacity(2 * PIECE_OCTETS + 2));
    let mut piece = [0; PIECE_OCTETS];
    let (mut spill, mut is_eight_bit, mut ended) = (Spill::new(), false, false);
    while !ended {
        clean.clear();
        match input.read(&mut piece) {
            Ok(0) => {
                lines.finish(&mut clean);
                ended = true;
            }
            Ok(n) => lines.read(&piece[..n], &mut clean),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(broken(e)),
        }
        ended |= lines.is_over();
        if clean.contains(&0) {
            return Err(fail(Exit::Data, "a NUL stands in the message; that is no text"));
        }
        if options.from_header {
            list.read(&clean, &mut |entry| named.add(entry));
            resent_list.read(&clean, &mut |entry| resent.add(entry));
        }
        is_eight_bit |= !clean.is_ascii();
        scanner.write(&rules, &clean, &mut |octets| spill.write_all(octets)).map_err(broken)?;
        if spill.octets() > config.limits.message_size {
            let most = config.limits.message_size;
            return Err(fail(Exit::Data, format_args!("the message is larger than {most} octets")));
        }
    }
    if options.from_header {
        list.finish(&mut |entry| named.add(entry));
        resent_list.finish(&mut |entry| resent.add(entry));
        // Who sends a message on means the new recipients alone, not those it once had.
        addresses.join(if resent.is_untouched() { named } else { resent });
    }
    scanner.finish(&rules, &mut |octets| spill.write_all(octets)).map_err(broken)?;
    Ok((spill, is_eight_bit))
}

fn date() -> Date {
    let unix_s = sys::unix_s();
    Date { unix_s: i64::try_from(unix_s).unwrap_or(0), offset_min: sys::zone_offset_min(unix_s) }
}

/// A full name and an address as the text of `From:` (RFC 5322 3.4).
fn from(name: &str, address: &str) -> String {
    let name = name.replace(['\\', '"'], "");
    if name.is_empty() { format!("<{address}>") } else { format!("\"{name}\" <{address}>") }
}

/// The reverse-path: what was said, or the user at this host.
fn sender(options: &Options, hostname: &str) -> Result<Path, Exit> {
    let said = match &options.sender {
        Some(sender) => sender.clone(),
        None => match User::from_uid(Uid::current()) {
            Ok(Some(user)) => user.name,
            _ => format!("uid-{}", Uid::current()),
        },
    };
    if matches!(said.trim(), "" | "<>") {
        return Ok(Path::NULL);
    }
    path(&said, Direction::Reverse, hostname)
        .or_else(|| named(&said, hostname))
        .ok_or_else(|| fail(Exit::Usage, format_args!("the sender {said:?} is no address")))
}

/// The sender in `Name <address>`, which some programs give.
fn named(said: &str, hostname: &str) -> Option<Path> {
    let mut found = Addresses::new(hostname);
    found.read_argument(said);
    match (found.paths.as_slice(), found.wrong) {
        ([one], None) => Some(one.clone()),
        _ => None,
    }
}

fn path(text: &str, direction: Direction, hostname: &str) -> Option<Path> {
    match Path::read(text.as_bytes(), direction, Manner::Tolerant(hostname)) {
        Ok((path, rest)) if rest.trim_ascii().is_empty() => Some(path),
        _ => None,
    }
}

/// Recipients as they are found, from the command line and the header.
struct Addresses<'a> {
    hostname: &'a str,
    paths: Vec<Path>,
    /// The first thing that is wrong with one.
    wrong: Option<String>,
}

impl<'a> Addresses<'a> {
    fn new(hostname: &'a str) -> Self {
        Self { hostname, paths: Vec::new(), wrong: None }
    }

    /// An argument is read like the value of a header field: names and lists are taken.
    fn read_argument(&mut self, argument: &str) {
        let mut list = Recipients::original();
        for part in ["To: ", argument, "\r\n"] {
            list.read(part.as_bytes(), &mut |entry| self.add(entry));
        }
        list.finish(&mut |entry| self.add(entry));
    }

    fn add(&mut self, entry: Entry<'_>) {
        let found = match entry {
            Entry::Address(text) => path(text, Direction::Forward, self.hostname).ok_or(text),
            Entry::Unreadable(text) => Err(text),
        };
        match found {
            Err(text) => {
                self.wrong.get_or_insert_with(|| format!("the recipient {text:?} is no address"));
            }
            Ok(path) => self.take(path),
        }
    }

    fn take(&mut self, path: Path) {
        if self.paths.contains(&path) {
        } else if self.paths.len() >= RECIPIENTS {
            self.wrong.get_or_insert_with(|| format!("more than {RECIPIENTS} recipients"));
        } else {
            self.paths.push(path);
        }
    }

    /// True if nothing was found, nor anything wrong.
    fn is_untouched(&self) -> bool {
        self.paths.is_empty() && self.wrong.is_none()
    }

    fn join(&mut self, others: Addresses<'_>) {
        self.wrong = self.wrong.take().or(others.wrong);
        others.paths.into_iter().for_each(|path| self.take(path));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config::default_without_file("box.example", std::path::Path::new("/nonexistent"))
    }

    fn read(options: &Options, input: &str) -> Result<(Vec<String>, String, String), Exit> {
        let mut letter = Letter::read(options, &config(), &mut input.as_bytes())?;
        let mut content = String::new();
        letter.content.read_to_string(&mut content).unwrap();
        let recipients = letter.recipients.iter().map(|path| path.as_str().to_owned()).collect();
        Ok((recipients, letter.sender.as_str().to_owned(), content))
    }

    fn options() -> Options {
        Options { sender: Some("me".to_owned()), ..Options::default() }
    }

    #[test]
    fn who_sends_on_means_the_new_recipients() {
        let options = Options { from_header: true, ..options() };
        let input =
            "Resent-To: new@b.example\nResent-Bcc: c@d.example\nTo: old@b.example, not one\n\nhello\n";
        let (recipients, _, content) = read(&options, input).unwrap();
        assert_eq!(recipients, ["new@b.example", "c@d.example"]);
        assert_eq!(content, "Resent-To: new@b.example\r\nTo: old@b.example, not one\r\n\r\nhello\r\n");
    }

    #[test]
    fn recipients_come_from_the_header_and_bcc_goes() {
        let options = Options { from_header: true, recipients: vec!["root".to_owned()], ..options() };
        let input = "To: A <a@b.example>, root\nBcc: c@d.example,\n e@f.example\nSubject: x\n\nTo: no@body\n.\nrest\n";
        let (recipients, sender, content) = read(&options, input).unwrap();
        assert_eq!(recipients, ["root@box.example", "a@b.example", "c@d.example", "e@f.example"]);
        assert_eq!(sender, "me@box.example");
        assert_eq!(content, "To: A <a@b.example>, root\r\nSubject: x\r\n\r\nTo: no@body\r\n");
    }

    #[test]
    fn the_first_line_of_a_mailbox_file_hides_no_recipients() {
        let options = Options { from_header: true, ..options() };
        let input = "From root@x Mon Jan  1 00:00:00 2020\nTo: a@b.example\nBcc: c@d.example\n\nx\n";
        for input in [input.to_owned(), format!(">{input}")] {
            let (recipients, _, content) = read(&options, &input).unwrap();
            assert_eq!(recipients, ["a@b.example", "c@d.example"]);
            assert!(content.ends_with("2020\r\nTo: a@b.example\r\n\r\nx\r\n"), "{content}");
        }
        // In the body it is text, and what stands behind it is no header.
        for input in ["To: a@b.example\nFrom me\nCc: no@one\n", " folded\nTo: no@one\n"] {
            let options = Options { recipients: vec!["a@b.example".to_owned()], ..options.clone() };
            assert_eq!(read(&options, input).unwrap().0, ["a@b.example"], "{input}");
        }
    }

    #[test]
    fn a_sender_may_come_with_its_name() {
        for (said, sender) in [
            ("Me Too <a@b.example>", Some("a@b.example")),
            ("a@b.example, c@d.example", None),
            ("Me <", None),
        ] {
            let options =
                Options { sender: Some(said.to_owned()), recipients: vec!["root".to_owned()], ..options() };
            assert_eq!(
                read(&options, "\nx\n").ok().map(|(_, sender, _)| sender).as_deref(),
                sender,
                "{said}"
            );
        }
    }

    #[test]
    fn without_t_nobody_is_taken_from_the_header_and_bcc_goes_all_the_same() {
        let options = Options { recipients: vec!["\"A, B\" <x@y.example>, z".to_owned()], ..options() };
        let (recipients, _, content) = read(&options, "Bcc: c@d.example\nTo: x\n\nhello").unwrap();
        assert_eq!(recipients, ["x@y.example", "z@box.example"]);
        assert_eq!(content, "To: x\r\n\r\nhello\r\n");
    }

    #[test]
    fn a_full_name_serves_a_message_without_from() {
        let named = |input: &str| {
            let full_name = Some("Cron \"Daemon\"".to_owned());
            let options = Options { full_name, recipients: vec!["root".to_owned()], ..options() };
            read(&options, input).unwrap().2
        };
        let content = named("Subject: x\n\nhello\n");
        assert!(content.contains("From: \"Cron Daemon\" <me@box.example>\r\n"), "{content}");
        assert!(!named("From: b@c\n\nhello\n").contains("Cron"));
        let options = Options {
            sender: Some("<>".to_owned()),
            full_name: Some("Cron".to_owned()),
            recipients: vec!["root".to_owned()],
            ..Options::default()
        };
        let (_, sender, content) = read(&options, "\nhello\n").unwrap();
        assert_eq!(sender, "");
        let from = format!("From: \"Cron\" <{}>\r\n", config().postmaster);
        assert!(content.contains(&from), "an address is never empty: {content}");
    }

    #[test]
    fn the_null_sender_can_be_asked_for() {
        for said in ["", "<>"] {
            let sender = Some(said.to_owned());
            let options = Options { sender, recipients: vec!["root".to_owned()], ..options() };
            assert_eq!(read(&options, "x").unwrap().1, "");
        }
    }

    #[test]
    fn what_cannot_be_sent_has_its_exit_code() {
        assert_eq!(read(&options(), "hello\n").unwrap_err(), Exit::Usage);
        let from_header = Options { from_header: true, ..options() };
        assert_eq!(read(&from_header, "Subject: nobody\n\nTo: a@b\n").unwrap_err(), Exit::Usage);
        assert_eq!(read(&from_header, "To: a@b, c d e\n\n").unwrap_err(), Exit::Data);
        for nul in ["To: a@b\nx: \0\n\n", "To: a@b\n\nx\0"] {
            assert_eq!(read(&from_header, nul).unwrap_err(), Exit::Data);
        }
        let bad = Options { recipients: vec!["a@b@c d".to_owned()], ..options() };
        assert_eq!(read(&bad, "x").unwrap_err(), Exit::Data);
        let bad =
            Options { sender: Some("a b c".to_owned()), recipients: vec!["root".to_owned()], ..options() };
        assert_eq!(read(&bad, "x").unwrap_err(), Exit::Usage);
    }
}
