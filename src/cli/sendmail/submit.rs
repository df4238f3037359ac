//! Hands a message to the running relay: the client's side of a session, blocking.

use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::letter::Letter;
use super::options::Options;
use crate::cli::ask::nobody_there;
use crate::cli::exit::Exit;
use crate::cli::{complain, fail};
use crate::config::Config;
use crate::limits::{RECIPIENTS, REPLY_INPUT_OCTETS};
use crate::smtp::buffer::Buffer;
use crate::smtp::client::{
    Login, Next, Outcome, Output, Protocol, Recipient, Scope, Session, Terms, Transaction, Verdict, Waiting,
};
use crate::smtp::reply::Reply;
use crate::spool::Id;

/// Octets of content read at once.
const PIECE_OCTETS: usize = 16 * 1024;
/// How long the relay may take for an answer: it waits for the disk, perhaps a slow one.
const PATIENCE: Duration = Duration::from_secs(300);

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Submitted {
    /// The relay answered, or broke off.
    Said {
        /// How the program ends.
        exit: Exit,
        /// The queue id that the relay gave the message, the last one if it came in several.
        id: Option<Id>,
    },
    /// No relay runs.
    NobodyThere,
}

/// Submits to the relay that runs with this configuration.
pub fn submit(config: &Config, options: &Options, letter: &mut Letter) -> Submitted {
    let socket = &config.run.submit;
    match UnixStream::connect(socket) {
        Ok(stream) => converse(stream, &config.hostname, options, letter),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            Submitted::NobodyThere
        }
        Err(e) => Submitted::Said { exit: unreached(socket, &e), id: None },
    }
}

/// Says why the submit socket can't be reached.
pub fn unreached(socket: &Path, error: &io::Error) -> Exit {
    let shown = socket.display();
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => nobody_there(Exit::TryLater, socket),
        io::ErrorKind::PermissionDenied => {
            fail(Exit::Permission, format_args!("the submit socket {shown}: {error}"))
        }
        _ => fail(Exit::TryLater, format_args!("the submit socket {shown}: {error}")),
    }
}

/// A message on its way.
struct Courier<'a, S> {
    stream: S,
    options: &'a Options,
    letter: &'a mut Letter,
    smtputf8: bool,
    /// The recipients of the transaction under way; those behind it are for the next.
    group: Range<usize>,
    /// How the program ends, by recipient.
    exits: Vec<Option<Exit>>,
    id: Option<Id>,
    input: Buffer<REPLY_INPUT_OCTETS>,
    out: Output,
}

/// Submits over a connection; everything that went wrong is said.
fn converse(stream: UnixStream, hostname: &str, options: &Options, letter: &mut Letter) -> Submitted {
    let timeouts = stream.set_read_timeout(Some(PATIENCE)).and(stream.set_write_timeout(Some(PATIENCE)));
    if let Err(e) = timeouts {
        return Submitted::Said { exit: fail(Exit::Io, e), id: None };
    }
    let (smtputf8, exits) = (letter.needs_smtputf8(), vec![None; letter.recipients.len()]);
    let (input, out) = (Buffer::new(), Output::new());
    let mut courier = Courier { stream, options, letter, smtputf8, group: 0..0, exits, id: None, input, out };
    let mut session = Session::new(Protocol::Smtp);
    if let Err(e) = courier.run(&mut session, &Terms { hostname, pipelining: true, login: Login::NONE }) {
        courier.lost(&mut session, &e);
    }
    // Whoever has no outcome was never reached.
    let exits = courier.exits.iter().map(|exit| exit.unwrap_or(Exit::TryLater));
    let exit = exits.into_iter().find(|&e| e != Exit::Ok).unwrap_or(Exit::Ok);
    Submitted::Said { exit, id: courier.id }
}

impl<S: Read + Write> Courier<'_, S> {
    fn run(&mut self, session: &mut Session, terms: &Terms<'_>) -> io::Result<()> {
        loop {
            let step = session.step(terms, self.input.filled(), &mut self.out);
            self.input.consume(step.consumed);
            match step.next {
                // Nothing depends on the answer to QUIT.
                Next::Input if session.waiting() == Waiting::Quit => return self.flush(),
                Next::Input => self.receive()?,
                Next::Output => self.flush()?,
                Next::Ready if self.group.end < self.exits.len() => self.begin(session),
                Next::Ready => session.quit(),
                Next::Recipient(nth) => self.name(session, nth),
                Next::Content => self.send_content(session)?,
                Next::Outcome(outcome) => self.decide(&outcome),
                Next::Login => unreachable!("no login was asked for"),
                // Nobody listens in on the submit socket, so none is asked for.
                Next::StartTls | Next::Closed => return Ok(()),
            }
        }
    }

    /// Begins a transaction for the recipients that are still to be named.
    fn begin(&mut self, session: &mut Session) {
        let first = self.group.end;
        let left = (self.exits.len() - first).min(RECIPIENTS);
        self.letter.content.rewind();
        let transaction = Transaction {
            reverse_path: self.letter.sender.as_str(),
            octets: self.letter.content.octets(),
            body: self.letter.body,
            smtputf8: self.smtputf8,
            ret: self.options.ret,
            envid: &self.options.envid,
            // At most RECIPIENTS.
            recipients: left as u16,
        };
        match session.begin(&transaction, &mut self.out) {
            Ok(taken) => self.group = first..first + usize::from(taken),
            Err(outcome) => {
                self.group = first..first + left;
                self.decide(&outcome);
            }
        }
    }

    fn name(&mut self, session: &mut Session, nth: u16) {
        let at = self.group.start + usize::from(nth);
        if let Some(path) = self.letter.recipients.get(at) {
            let notify = self.options.notify;
            session.recipient(&Recipient { forward_path: path.as_str(), notify, orcpt: "" }, &mut self.out);
        }
    }

    /// Sends all of the content.
    fn send_content(&mut self, session: &mut Session) -> io::Result<()> {
        let mut piece = [0; PIECE_OCTETS];
        loop {
            let n = self.letter.content.read(&mut piece)?;
            if n == 0 {
                session.content_end();
                return Ok(());
            }
            let mut rest = &piece[..n];
            while !rest.is_empty() {
                let taken = session.content(rest, &mut self.out);
                rest = rest.get(taken..).unwrap_or_default();
                self.flush()?;
            }
        }
    }

    fn receive(&mut self) -> io::Result<()> {
        self.flush()?;
        match self.stream.read(self.input.room()) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                self.input.advance(n);
                Ok(())
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(e) => Err(e),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        let sent = self.stream.write_all(self.out.filled());
        self.out.clear();
        sent
    }

    /// Notes and says what became of those whom an outcome concerns.
    fn decide(&mut self, outcome: &Outcome) {
        let concerned = match outcome.scope {
            Scope::Recipient(nth) => {
                let at = self.group.start + usize::from(nth);
                at..at + 1
            }
            Scope::Group => self.group.clone(),
            Scope::Destination | Scope::Login => self.group.start..self.exits.len(),
        };
        if outcome.verdict == Verdict::Delivered {
            // "ok: queued as ID".
            self.id = outcome.reply.text().rsplit(' ').next().and_then(|word| word.parse().ok());
        }
        let exit = match outcome.verdict {
            Verdict::Delivered => Exit::Ok,
            Verdict::Deferred => Exit::TryLater,
            Verdict::Failed if is_no_user(&outcome.reply) => Exit::NoUser,
            Verdict::Failed => Exit::Unavailable,
        };
        for (noted, path) in self.exits[concerned.clone()].iter_mut().zip(&self.letter.recipients[concerned])
        {
            if noted.is_none() {
                *noted = Some(exit);
                if exit != Exit::Ok {
                    complain(format_args!("sendmail: <{}>: {}", path.as_str(), outcome.reply));
                }
            }
        }
    }

    /// The connection is of no use any more.
    fn lost(&mut self, session: &mut Session, error: &io::Error) {
        match session.lost(error) {
            Some(outcome) => self.decide(&outcome),
            None => complain(format_args!("sendmail: the relay broke off: {error}")),
        }
    }
}

/// X.1.1: there is no such mailbox (RFC 3463 3.2).
fn is_no_user(reply: &Reply) -> bool {
    reply.detail() == Some((1, 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::spill::Spill;
    use crate::smtp::address::Path as Mailbox;
    use crate::smtp::command::Body;

    /// A relay that says this and notes what it hears.
    struct Scripted {
        says: &'static [u8],
        heard: Vec<u8>,
    }

    impl Read for Scripted {
        fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
            // One reply at a time: what comes before its command is out of turn.
            let line =
                self.says.iter().position(|&octet| octet == b'\n').map_or(self.says.len(), |at| at + 1);
            (&mut self.says).take(line as u64).read(room)
        }
    }

    impl Write for Scripted {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            self.heard.extend_from_slice(octets);
            Ok(octets.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn submitted(recipients: &[&str], says: &'static [u8]) -> (Vec<Option<Exit>>, String) {
        let mut content = Spill::new();
        content.write_all(b"Subject: x\r\n\r\n.dot\r\n").unwrap();
        let mut letter = Letter {
            sender: Mailbox::parse("me@box.example").unwrap(),
            recipients: recipients.iter().map(|path| Mailbox::parse(path).unwrap()).collect(),
            content,
            body: Body::Unsaid,
        };
        let mut courier = Courier {
            stream: Scripted { says, heard: Vec::new() },
            options: &Options::default(),
            exits: vec![None; letter.recipients.len()],
            letter: &mut letter,
            smtputf8: false,
            group: 0..0,
            id: None,
            input: Buffer::new(),
            out: Output::new(),
        };
        let mut session = Session::new(Protocol::Smtp);
        let terms = Terms { hostname: "box.example", pipelining: true, login: Login::NONE };
        if let Err(e) = courier.run(&mut session, &terms) {
            courier.lost(&mut session, &e);
        }
        (courier.exits, String::from_utf8(courier.stream.heard).unwrap())
    }

    #[test]
    fn a_message_goes_out_stuffed_and_each_recipient_has_its_answer() {
        let (exits, heard) = submitted(
            &["a@b.example", "no@b.example", "later@b.example", "never@b.example"],
            b"220 x\r\n250 x\r\n250 ok\r\n250 ok\r\n550 5.1.1 who?\r\n450 4.2.0 later\r\n554 5.7.1 no\r\n354 go\r\n250 ok\r\n",
        );
        assert_eq!(
            exits,
            [Some(Exit::Ok), Some(Exit::NoUser), Some(Exit::TryLater), Some(Exit::Unavailable)]
        );
        assert!(heard.contains("MAIL FROM:<me@box.example>\r\n"), "{heard}");
        assert!(heard.ends_with("\r\n\r\n..dot\r\n.\r\nQUIT\r\n"), "{heard}");
    }

    #[test]
    fn a_relay_that_breaks_off_is_to_be_tried_later() {
        let whole = b"220 x\r\n250 x\r\n250 ok\r\n250 ok\r\n354 go\r\n250 ok\r\n";
        for cut in 0..whole.len() - 2 {
            let (exits, _) = submitted(&["a@b.example"], &whole[..cut]);
            assert_ne!(exits[0], Some(Exit::Ok), "{cut}");
            assert!(exits[0].unwrap_or(Exit::TryLater) == Exit::TryLater, "{cut}");
        }
    }

    #[test]
    fn recipients_beyond_what_the_relay_takes_go_in_the_next_transaction() {
        let (exits, heard) = submitted(
            &["a@b.example", "b@b.example", "c@b.example"],
            b"220 x\r\n250-x\r\n250 LIMITS RCPTMAX=2\r\n250 m\r\n250 r\r\n250 r\r\n354 go\r\n250 ok\r\n250 m\r\n250 r\r\n354 go\r\n250 ok\r\n",
        );
        assert_eq!(exits, [Some(Exit::Ok); 3]);
        assert_eq!(heard.matches("..dot").count(), 2);
        assert_eq!(heard.matches("MAIL FROM").count(), 2);
    }
}
