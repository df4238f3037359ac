//! Commands: what a line asks for, and the parameters of MAIL and RCPT (RFC 5321 4.1).
//!
//! A line is read in two steps. [`Command::parse`] finds the verb and fails for nothing, so the
//! session can first judge whether the command may come now; [`Mail::parse`] and
//! [`Recipient::parse`] then read the arguments. What is wrong with those is the peer's error, so
//! it is a [`Reply`].
#![allow(
    clippy::result_large_err,
    reason = "a reply is the ordinary answer to a wrong argument; nothing is boxed"
)]

use heapless::String;

use super::address::{Direction, Fault, Manner, Path};
use super::keyword::{Keyword, Keywords};
use super::reply::Reply;
use super::xtext;
use crate::limits::{ENVID_OCTETS, ORCPT_OCTETS};

/// A command line: the verb, and its argument as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the verbs of RFC 5321, RFC 3030, RFC 3207 and RFC 4954")]
pub enum Command<'a> {
    Helo(&'a [u8]),
    Ehlo(&'a [u8]),
    Mail(&'a [u8]),
    Rcpt(&'a [u8]),
    Data(&'a [u8]),
    Bdat(&'a [u8]),
    Rset(&'a [u8]),
    Noop,
    Vrfy(&'a [u8]),
    Expn,
    Help,
    Quit,
    /// Its argument, of which there should be none.
    StartTls(&'a [u8]),
    Auth(&'a [u8]),
    /// What no mail client says: a web browser's request, or a header field where content is
    /// sent to someone who did not ask for it.
    Foreign,
    /// Anything else.
    Unknown,
    /// A line that ends in LF alone where that is not taken.
    BareLf,
    /// A line beyond [`crate::limits::COMMAND_LINE_OCTETS`].
    TooLong,
}

impl<'a> Command<'a> {
    /// Finds the verb, in any case, and its argument. NOOP, RSET, QUIT and HELP take any argument
    /// and ignore it.
    pub fn parse(line: &'a [u8]) -> Self {
        let (verb, argument) = match line.iter().position(|&octet| octet == b' ') {
            Some(space) => (&line[..space], line[space..].trim_ascii_start()),
            None => (line, &line[line.len()..]),
        };
        let is = |name: &str| verb.eq_ignore_ascii_case(name.as_bytes());
        match () {
            () if is("HELO") => Self::Helo(argument),
            () if is("EHLO") => Self::Ehlo(argument),
            () if is("MAIL") => Self::Mail(argument),
            () if is("RCPT") => Self::Rcpt(argument),
            () if is("DATA") => Self::Data(argument),
            () if is("BDAT") => Self::Bdat(argument),
            () if is("RSET") => Self::Rset(argument),
            () if is("NOOP") => Self::Noop,
            () if is("VRFY") => Self::Vrfy(argument),
            () if is("EXPN") => Self::Expn,
            () if is("HELP") => Self::Help,
            () if is("QUIT") => Self::Quit,
            () if is("STARTTLS") => Self::StartTls(argument),
            () if is("AUTH") => Self::Auth(argument),
            () if verb.contains(&b':') => Self::Foreign,
            () if ["GET", "HEAD", "POST", "PUT", "OPTIONS", "CONNECT", "PRI"].into_iter().any(is) => {
                Self::Foreign
            }
            () => Self::Unknown,
        }
    }
}

/// What MAIL said (RFC 5321 4.1.1.2 and the extensions).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mail {
    /// The reverse-path; null for bounces.
    pub reverse_path: Path,
    /// SIZE, in octets (RFC 1870).
    pub size: Option<u64>,
    /// BODY (RFC 6152).
    pub body: Body,
    /// SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// RET (RFC 3461 4.3).
    pub ret: Option<Ret>,
    /// ENVID, still as xtext, so it can be passed on as it is (RFC 3461 4.4); empty: none.
    pub envid: String<ENVID_OCTETS>,
}

/// What RCPT said (RFC 5321 4.1.1.3 and DSN).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recipient {
    /// The forward-path.
    pub forward_path: Path,
    /// NOTIFY (RFC 3461 4.1).
    pub notify: Notify,
    /// ORCPT, `type;xtext`, still as xtext (RFC 3461 4.2); empty: none.
    pub orcpt: String<ORCPT_OCTETS>,
}

/// BODY of a message (RFC 6152).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Body {
    /// Not said.
    #[default]
    Unsaid,
    /// `7BIT`.
    SevenBit,
    /// `8BITMIME`.
    EightBitMime,
}

/// What a bounce returns (RFC 3461 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ret {
    /// The whole message.
    Full,
    /// Its header section.
    Headers,
}

/// When the sender wants to hear of a recipient (RFC 3461 4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Notify {
    /// Not said: on failure, and on delay if we like.
    #[default]
    Unsaid,
    /// `NEVER`.
    Never,
    /// A list of at least one of these.
    On {
        /// `SUCCESS`.
        success: bool,
        /// `FAILURE`.
        failure: bool,
        /// `DELAY`.
        delay: bool,
    },
}

impl Mail {
    /// Reads the argument of MAIL. Parameters of extensions outside `taken` are refused.
    pub fn parse(argument: &[u8], manner: Manner<'_>, taken: Keywords) -> Result<Self, Reply> {
        let text = after_word(argument, "FROM", manner)
            .ok_or_else(|| Reply::new(501, (5, 4), "syntax: MAIL FROM:<address>"))?;
        let (path, rest) = Path::read(text, Direction::Reverse, manner)
            .map_err(|fault| refused_path(fault, (1, 7), "sender"))?;
        let mut mail = Self { reverse_path: path, ..Self::default() };
        each_once(rest, |parameter| mail.take(parameter, taken))?;
        ascii_or_smtputf8(&mail.reverse_path, mail.smtputf8)?;
        Ok(mail)
    }

    fn take(&mut self, parameter: &Parameter<'_>, taken: Keywords) -> Result<(), Reply> {
        const KNOWN: [(&str, Keyword); 6] = [
            ("SIZE", Keyword::Size),
            ("BODY", Keyword::EightBitMime),
            ("SMTPUTF8", Keyword::SmtpUtf8),
            ("RET", Keyword::Dsn),
            ("ENVID", Keyword::Dsn),
            ("AUTH", Keyword::Auth),
        ];
        let bad = || parameter.bad();
        match (parameter.known(&KNOWN, taken)?, parameter.value) {
            ("SIZE", Some(value)) => self.size = Some(number(value).ok_or_else(bad)?),
            ("BODY", Some(value)) => self.body = body(value).ok_or_else(bad)?,
            ("SMTPUTF8", None) => self.smtputf8 = true,
            ("RET", Some(value)) => self.ret = Some(ret(value).ok_or_else(bad)?),
            ("ENVID", Some(value)) if !value.is_empty() && xtext::is_valid(value) => {
                self.envid = String::try_from(value).map_err(|_| bad())?;
            }
            // RFC 4954 5: who is not trusted to vouch for others says nothing by it, and nobody is here.
            ("AUTH", Some(value)) if value == "<>" || !value.is_empty() && xtext::is_valid(value) => {}
            _ => return Err(bad()),
        }
        Ok(())
    }
}

impl Recipient {
    /// Reads the argument of RCPT; `smtputf8` as MAIL said.
    pub fn parse(
        argument: &[u8],
        manner: Manner<'_>,
        taken: Keywords,
        smtputf8: bool,
    ) -> Result<Self, Reply> {
        let text = after_word(argument, "TO", manner)
            .ok_or_else(|| Reply::new(501, (5, 4), "syntax: RCPT TO:<address>"))?;
        let (path, rest) = Path::read(text, Direction::Forward, manner)
            .map_err(|fault| refused_path(fault, (1, 3), "recipient"))?;
        ascii_or_smtputf8(&path, smtputf8)?;
        let mut recipient = Self { forward_path: path, ..Self::default() };
        each_once(rest, |parameter| recipient.take(parameter, taken, smtputf8))?;
        Ok(recipient)
    }

    fn take(&mut self, parameter: &Parameter<'_>, taken: Keywords, smtputf8: bool) -> Result<(), Reply> {
        const KNOWN: [(&str, Keyword); 2] = [("NOTIFY", Keyword::Dsn), ("ORCPT", Keyword::Dsn)];
        let bad = || parameter.bad();
        match (parameter.known(&KNOWN, taken)?, parameter.value) {
            ("NOTIFY", Some(value)) => self.notify = notify(value).ok_or_else(bad)?,
            ("ORCPT", Some(value)) if is_orcpt(value, smtputf8) => {
                self.orcpt = String::try_from(value).map_err(|_| bad())?;
            }
            _ => return Err(bad()),
        }
        Ok(())
    }
}

/// The argument of BDAT: octets that follow, and whether they are the last.
pub fn chunk(argument: &[u8]) -> Option<(u64, bool)> {
    let mut words = core::str::from_utf8(argument).ok()?.split_ascii_whitespace();
    let octets = number(words.next()?)?;
    match (words.next(), words.next()) {
        (None, _) => Some((octets, false)),
        (Some(last), None) if last.eq_ignore_ascii_case("LAST") => Some((octets, true)),
        _ => None,
    }
}

struct Parameter<'a> {
    key: &'a str,
    value: Option<&'a str>,
}

impl Parameter<'_> {
    /// The parameter's name as `known` writes it, if its extension is among those taken.
    fn known(&self, known: &[(&'static str, Keyword)], taken: Keywords) -> Result<&'static str, Reply> {
        known
            .iter()
            .find(|(name, keyword)| name.eq_ignore_ascii_case(self.key) && taken.contains(*keyword))
            .map(|(name, _)| *name)
            .ok_or_else(|| {
                Reply::new(555, (5, 4), format_args!("parameter {:.40} is not offered here", self.key))
            })
    }

    fn bad(&self) -> Reply {
        Reply::new(501, (5, 4), format_args!("bad or repeated parameter {:.40}", self.key))
    }
}

/// Gives the parameters to `take`, each of which may stand there once.
fn each_once<'a>(
    rest: &'a [u8],
    mut take: impl FnMut(&Parameter<'a>) -> Result<(), Reply>,
) -> Result<(), Reply> {
    for (nth, parameter) in parameters(rest).enumerate() {
        let parameter = parameter?;
        let mut before = parameters(rest).take(nth).flatten();
        if before.any(|earlier| earlier.key.eq_ignore_ascii_case(parameter.key)) {
            return Err(parameter.bad());
        }
        take(&parameter)?;
    }
    Ok(())
}

fn parameters(rest: &[u8]) -> impl Iterator<Item = Result<Parameter<'_>, Reply>> {
    rest.split(|&octet| octet == b' ').filter(|word| !word.is_empty()).map(|word| {
        let word = core::str::from_utf8(word)
            .map_err(|_| Reply::new(501, (5, 4), "parameters must be ASCII or UTF-8"))?;
        Ok(match word.split_once('=') {
            Some((key, value)) => Parameter { key, value: Some(value) },
            None => Parameter { key: word, value: None },
        })
    })
}

/// What stands behind `FROM:` or `TO:`.
fn after_word<'a>(argument: &'a [u8], word: &str, manner: Manner<'_>) -> Option<&'a [u8]> {
    let (head, rest) = argument.split_at_checked(word.len())?;
    if !head.eq_ignore_ascii_case(word.as_bytes()) {
        return None;
    }
    match manner {
        Manner::Strict => rest,
        Manner::Tolerant(_) => rest.trim_ascii_start(),
    }
    .strip_prefix(b":")
}

fn refused_path(fault: Fault, detail: (u16, u16), whose: &str) -> Reply {
    match fault {
        Fault::Syntax => Reply::new(501, detail, format_args!("bad {whose} address syntax")),
        Fault::TooLong => Reply::new(501, detail, format_args!("{whose} address is too long")),
        Fault::NoDomain => Reply::new(501, detail, format_args!("{whose} address needs a domain")),
        Fault::Encoding => {
            Reply::new(553, (6, 7), format_args!("{whose} address is neither ASCII nor UTF-8"))
        }
    }
}

fn ascii_or_smtputf8(path: &Path, smtputf8: bool) -> Result<(), Reply> {
    if path.as_str().is_ascii() || smtputf8 {
        return Ok(());
    }
    Err(Reply::new(553, (6, 7), "an address beyond ASCII needs SMTPUTF8"))
}

/// RFC 1870 and RFC 3030 allow 20 digits. A number too large for us is the largest, which every
/// limit refuses.
fn number(text: &str) -> Option<u64> {
    let digits = (1..=20).contains(&text.len()) && text.bytes().all(|octet| octet.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

fn body(value: &str) -> Option<Body> {
    match () {
        () if value.eq_ignore_ascii_case("7BIT") => Some(Body::SevenBit),
        () if value.eq_ignore_ascii_case("8BITMIME") => Some(Body::EightBitMime),
        () => None,
    }
}

fn ret(value: &str) -> Option<Ret> {
    match () {
        () if value.eq_ignore_ascii_case("FULL") => Some(Ret::Full),
        () if value.eq_ignore_ascii_case("HDRS") => Some(Ret::Headers),
        () => None,
    }
}

fn notify(value: &str) -> Option<Notify> {
    if value.eq_ignore_ascii_case("NEVER") {
        return Some(Notify::Never);
    }
    let (mut success, mut failure, mut delay) = (false, false, false);
    for word in value.split(',') {
        let said = match () {
            () if word.eq_ignore_ascii_case("SUCCESS") => &mut success,
            () if word.eq_ignore_ascii_case("FAILURE") => &mut failure,
            () if word.eq_ignore_ascii_case("DELAY") => &mut delay,
            () => return None,
        };
        *said = true;
    }
    Some(Notify::On { success, failure, delay })
}

/// `type;xtext`; with SMTPUTF8 the address can be plain UTF-8 (RFC 6533 3).
fn is_orcpt(value: &str, smtputf8: bool) -> bool {
    let Some((kind, address)) = value.split_once(';') else { return false };
    let plain = |c: char| c.is_ascii_graphic() || (!c.is_ascii() && !c.is_control() && !c.is_whitespace());
    !kind.is_empty()
        && kind.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
        && !address.is_empty()
        && (xtext::is_valid(address) || smtputf8 && !address.is_ascii() && address.chars().all(plain))
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::string::ToString;

    use proptest::prelude::*;

    use super::{Body, Command, Keyword, Keywords, Mail, Manner, Notify, Recipient, Ret, chunk};

    fn mail(argument: &str) -> Result<Mail, std::string::String> {
        Mail::parse(argument.as_bytes(), Manner::Strict, Keywords::ALL).map_err(|reply| reply.to_string())
    }

    fn recipient(argument: &str, smtputf8: bool) -> Result<Recipient, std::string::String> {
        Recipient::parse(argument.as_bytes(), Manner::Strict, Keywords::ALL, smtputf8)
            .map_err(|reply| reply.to_string())
    }

    #[test]
    fn verbs_are_found_in_any_case() {
        assert_eq!(Command::parse(b"mAiL FROM:<>"), Command::Mail(b"FROM:<>"));
        assert_eq!(Command::parse(b"EHLO  box"), Command::Ehlo(b"box"));
        assert_eq!(Command::parse(b"HELO"), Command::Helo(b""));
        assert_eq!(Command::parse(b"NOOP x"), Command::Noop);
        assert_eq!(Command::parse(b"DATAX"), Command::Unknown);
        assert_eq!(Command::parse(b""), Command::Unknown);
        for foreign in ["GET / HTTP/1.1", "PRI * HTTP/2.0", "Subject: x", "Received:", "X-A:b"] {
            assert_eq!(Command::parse(foreign.as_bytes()), Command::Foreign, "{foreign}");
        }
    }

    #[test]
    fn parameters_of_mail_are_read() {
        let text = "FROM:<a@b>  SIZE=123 BODY=8bitmime SMTPUTF8 RET=HDRS ENVID=a+2Bb";
        let read = mail(text).unwrap();
        assert_eq!(
            (read.reverse_path.as_str(), read.size, read.body),
            ("a@b", Some(123), Body::EightBitMime)
        );
        assert_eq!((read.smtputf8, read.ret, read.envid.as_str()), (true, Some(Ret::Headers), "a+2Bb"));
        assert_eq!(mail("FROM:<> SIZE=99999999999999999999").unwrap().size, Some(u64::MAX));
        for (argument, refused) in [
            ("<a@b>", "501 5.5.4"),
            ("FROM <a@b>", "501 5.5.4"),
            ("FROM:a@b", "501 5.1.7"),
            ("FROM:<\u{e9}@b>", "553 5.6.7"),
            ("FROM:<> SIZE=1 SIZE=1", "501 5.5.4"),
            ("FROM:<> SIZE=-1", "501 5.5.4"),
            ("FROM:<> SIZE", "501 5.5.4"),
            ("FROM:<> SMTPUTF8=1", "501 5.5.4"),
            ("FROM:<> BODY=BINARYMIME", "501 5.5.4"),
            ("FROM:<> ENVID=", "501 5.5.4"),
            ("FROM:<> ENVID=+0A", "501 5.5.4"),
            ("FROM:<> AUTH=", "501 5.5.4"),
            ("FROM:<> AUTH=+0A", "501 5.5.4"),
            ("FROM:<> NOTIFY=NEVER", "555 5.5.4"),
        ] {
            assert_eq!(mail(argument).unwrap_err().get(..9), Some(refused), "{argument}");
        }
        assert!(mail("FROM:<\u{e9}@b> SMTPUTF8").is_ok());
        assert!(mail("FROM:<> AUTH=<> SIZE=1").is_ok() && mail("FROM:<> AUTH=e+3Dmc2@example.com").is_ok());
        assert!(mail(&std::format!("FROM:<> ENVID={}", "x".repeat(100))).is_ok());
        assert!(mail(&std::format!("FROM:<> ENVID={}", "x".repeat(101))).is_err());
    }

    #[test]
    fn parameters_of_rcpt_are_read() {
        let read = recipient("TO:<a@b> NOTIFY=success,DELAY ORCPT=rfc822;A+2B@b", false).unwrap();
        assert_eq!(read.notify, Notify::On { success: true, failure: false, delay: true });
        assert_eq!(read.orcpt, "rfc822;A+2B@b");
        assert_eq!(recipient("TO:<a@b> notify=never", false).unwrap().notify, Notify::Never);
        assert!(recipient("TO:<a@b> ORCPT=utf-8;\u{e9}@b", true).is_ok());
        for (argument, refused) in [
            ("FROM:<a@b>", "501 5.5.4"),
            ("TO:<>", "501 5.1.3"),
            ("TO:<\u{e9}@b>", "553 5.6.7"),
            ("TO:<a@b> NOTIFY=", "501 5.5.4"),
            ("TO:<a@b> NOTIFY=NEVER,DELAY", "501 5.5.4"),
            ("TO:<a@b> NOTIFY=NEVER NOTIFY=NEVER", "501 5.5.4"),
            ("TO:<a@b> ORCPT=a@b", "501 5.5.4"),
            ("TO:<a@b> ORCPT=rfc822;", "501 5.5.4"),
            ("TO:<a@b> ORCPT=utf-8;\u{e9}@b", "501 5.5.4"),
            ("TO:<a@b> SIZE=1", "555 5.5.4"),
        ] {
            assert_eq!(recipient(argument, false).unwrap_err().get(..9), Some(refused), "{argument}");
        }
    }

    #[test]
    fn an_extension_that_is_not_taken_is_unknown() {
        let taken = Keywords::ALL.minus(Keywords::NONE.with(Keyword::Dsn));
        let reply = Mail::parse(b"FROM:<> RET=FULL", Manner::Strict, taken).unwrap_err();
        assert_eq!(reply.code(), 555);
        assert!(Mail::parse(b"FROM:<> SIZE=1", Manner::Strict, taken).is_ok());
    }

    #[test]
    fn chunks_are_counted() {
        assert_eq!(chunk(b"0"), Some((0, false)));
        assert_eq!(chunk(b"12 last"), Some((12, true)));
        assert_eq!(chunk(b"99999999999999999999"), Some((u64::MAX, false)));
        for bad in ["", "x", "-1", "+1", "1 FIRST", "1 LAST x", "999999999999999999999"] {
            assert_eq!(chunk(bad.as_bytes()), None, "{bad}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn arbitrary_octets_do_no_harm(octets in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = (Command::parse(&octets), chunk(&octets));
            for manner in [Manner::Strict, Manner::Tolerant("box.lan")] {
                let _ = Mail::parse(&octets, manner, Keywords::ALL);
                let _ = Mail::parse(&[b"FROM:<> ", octets.as_slice()].concat(), manner, Keywords::ALL);
                let _ = Recipient::parse(&[b"TO:<a@b> ORCPT=", octets.as_slice()].concat(), manner, Keywords::ALL, true);
            }
        }
    }
}
