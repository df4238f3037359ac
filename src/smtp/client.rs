//! The client side of a session: one connection that carries one transaction after the other.
//!
//! ```text
//! loop {
//!     let step = session.step(&terms, input.filled(), &mut out);
//!     input.consume(step.consumed);
//!     flush `out` as far as the connection takes it, then:
//!     match step.next {
//!         Next::Input => read more,                    Next::Output => flush more (reading meanwhile),
//!         Next::Recipient(i) => session.recipient(..), Next::Content => session.content(..) or content_end(),
//!         Next::Outcome(o) => note it,                 Next::Ready => session.begin(..), quit() or keep it,
//!         Next::StartTls => shake hands, then session.secured(),
//!         Next::Login => session.respond(..) to session.challenge(), or abandon(),
//!         Next::Closed => close,
//!     }
//! }
//! ```
//!
//! Every recipient gets exactly one outcome: its own, or that of the transaction, or that of the
//! destination, whichever comes first. Nothing but a 2yz after the last dot delivers.

mod command;
mod envelope;
mod login;
mod outcome;
mod start_tls;
#[cfg(test)]
mod tests;

use core::fmt::Display;
use core::mem;

use self::command::{COMMAND_ROOM, Command};
pub use self::command::{Recipient, Transaction};
use self::envelope::{Accepted, Envelope, Part};
use self::login::Progress;
pub use self::login::{Challenge, Login, Turn};
use self::outcome::{Class, out_of_turn};
pub use self::outcome::{Outcome, Scope, Verdict};
pub use self::start_tls::StartTls;
use self::start_tls::injected;
use super::buffer::Buffer;
use super::keyword::Keyword;
use super::offered::Offered;
use super::reply::Reply;
use super::reply_reader::{Fault, ReplyReader};
use super::sasl;
use super::stuffing::Stuffing;
use crate::limits::{
    CHALLENGE_OCTETS, COMMAND_TIMEOUT_S, CONTENT_TIMEOUT_S, DATA_TIMEOUT_S, DELIVERY_OUTPUT_OCTETS,
    DOT_TIMEOUT_S, GREETING_TIMEOUT_S, QUIT_TIMEOUT_S, RECIPIENTS, REPLY_LINE_OCTETS, RESPONSE_OCTETS,
};

/// The reply of a server that wants AUTH first (RFC 4954 6).
const AUTHENTICATION_REQUIRED: u16 = 530;

/// Where commands and content go.
pub type Output = Buffer<DELIVERY_OUTPUT_OCTETS>;

/// What is said of a message or a recipient that needs SMTPUTF8 where the server does not offer it
/// (RFC 6531 3.5 wants 5.6.7 for it).
pub fn no_smtputf8() -> Reply {
    let text = "the next server takes no addresses or header fields outside ASCII (no SMTPUTF8)";
    Reply::new(550, (6, 7), text)
}

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// RFC 5321.
    Smtp,
    /// RFC 2033: LHLO, and after the last dot one reply for every recipient that was accepted.
    Lmtp,
}

/// What holds for a session; borrowed on every call.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// Our name for EHLO.
    pub hostname: &'a str,
    /// False: one command at a time even if the server offers PIPELINING.
    pub pipelining: bool,
    /// How to log in.
    pub login: Login,
}

/// What a call of [`Session::step`] did and what it needs now.
#[derive(Debug)]
pub struct Step {
    /// Octets of the input that are done with.
    pub consumed: usize,
    /// What to do before the next call.
    pub next: Next,
}

/// What [`Session::step`] needs.
#[derive(Debug)]
pub enum Next {
    /// More octets from the server.
    Input,
    /// Room in `out`. Octets of the server may come in meanwhile and should be offered.
    Output,
    /// TLS over the connection, then [`Session::secured`]. Nothing is left of the input and of `out`.
    StartTls,
    /// A transaction to [`Session::begin`]; or [`Session::quit`]; or the connection waits.
    Ready,
    /// Recipient number `i`, from 0, of the transaction: [`Session::recipient`].
    Recipient(u16),
    /// [`Session::content`] until all is in, then [`Session::content_end`].
    Content,
    /// The response to [`Session::challenge`]: [`Session::respond`].
    Login,
    /// What became of one or more recipients. Go on stepping.
    Outcome(Outcome),
    /// The connection to be closed. Outcomes came before.
    Closed,
}

/// What the session waits for, which decides the deadline (RFC 5321 4.5.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// The greeting.
    Greeting,
    /// The reply to EHLO, LHLO or HELO.
    Hello,
    /// The reply to STARTTLS, or the handshake.
    StartTls,
    /// The login: replies to AUTH, or a response from the caller.
    Login,
    /// The reply to MAIL.
    Mail,
    /// The reply to RCPT.
    Recipient,
    /// The reply to DATA.
    Data,
    /// The connection to take content.
    Content,
    /// The reply to the last dot.
    Dot,
    /// The reply to RSET.
    Reset,
    /// The reply to QUIT.
    Quit,
    /// A transaction: us.
    Idle,
    /// Nothing: the session is over.
    Closed,
}

impl Waiting {
    /// Seconds after which to give up, counted from the last progress; `None` if nothing is due
    /// from the server.
    pub const fn timeout_s(self) -> Option<u32> {
        match self {
            Self::Greeting => Some(GREETING_TIMEOUT_S),
            Self::Hello | Self::StartTls | Self::Login | Self::Mail | Self::Recipient | Self::Reset => {
                Some(COMMAND_TIMEOUT_S)
            }
            Self::Data => Some(DATA_TIMEOUT_S),
            Self::Content => Some(CONTENT_TIMEOUT_S),
            Self::Dot => Some(DOT_TIMEOUT_S),
            Self::Quit => Some(QUIT_TIMEOUT_S),
            Self::Idle | Self::Closed => None,
        }
    }

    /// The step that is being waited for, as a person names it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Greeting => "greeting",
            Self::Hello => "EHLO",
            Self::StartTls => "STARTTLS",
            Self::Login => "AUTH",
            Self::Mail => "MAIL",
            Self::Recipient => "RCPT",
            Self::Data => "DATA",
            Self::Content | Self::Dot => "content",
            Self::Reset => "RSET",
            Self::Quit => "QUIT",
            Self::Idle | Self::Closed => "waiting",
        }
    }

    const fn place(self) -> &'static str {
        match self {
            Self::Greeting => "before the greeting",
            Self::Hello => "after EHLO",
            Self::StartTls => "after STARTTLS",
            Self::Login => "during AUTH",
            Self::Mail => "after MAIL",
            Self::Recipient => "after RCPT",
            Self::Data => "after DATA",
            Self::Content => "while sending the message",
            Self::Dot => "after the end of the message",
            Self::Reset => "after RSET",
            Self::Quit => "after QUIT",
            Self::Idle | Self::Closed => "between messages",
        }
    }
}

/// One SMTP or LMTP session, seen from the client.
#[derive(Debug)]
pub struct Session {
    protocol: Protocol,
    start_tls: StartTls,
    offered: Offered,
    reader: ReplyReader,
    replies: u32,
    state: State,
}

const _: () = assert!(size_of::<Session>() <= 1024, "part of every outbound slot");

#[derive(Debug, Default)]
enum State {
    Greeting,
    /// The command goes out as soon as there is room.
    Saying(Command),
    /// Its reply is awaited.
    Awaiting(Command),
    /// The server is ready for TLS. EHLO is said again after it.
    Securing,
    /// AUTH is under way.
    Login(Progress),
    Ready,
    /// MAIL, RCPT and DATA are on their way.
    Envelope(Envelope),
    /// MAIL was refused, but commands behind it were already out: their replies mean nothing.
    Draining {
        unanswered: u16,
        data: bool,
    },
    Content {
        accepted: Accepted,
        stuffing: Stuffing,
    },
    /// The last dot goes out as soon as there is room.
    Ending {
        accepted: Accepted,
        stuffing: Stuffing,
    },
    /// The last dot is out. `accepted`: who has no outcome yet.
    Ended {
        accepted: Accepted,
    },
    #[default]
    Closed,
}

impl Session {
    /// A session on a fresh connection, without STARTTLS.
    pub const fn new(protocol: Protocol) -> Self {
        Self {
            protocol,
            start_tls: StartTls::Never,
            offered: Offered::NOTHING,
            reader: ReplyReader::new(),
            replies: 0,
            state: State::Greeting,
        }
    }

    /// The same, with what is to be done about TLS.
    #[must_use]
    pub fn with_start_tls(self, start_tls: StartTls) -> Self {
        Self { start_tls, ..self }
    }

    /// TLS is active: after [`Next::StartTls`], or from the beginning. What the server offered before is
    /// forgotten (RFC 3207 4.2).
    pub fn secured(&mut self) {
        let next = match self.state {
            State::Securing => State::Saying(Command::Hello),
            State::Greeting => State::Greeting,
            _ => panic!("TLS comes first or after STARTTLS"),
        };
        (self.start_tls, self.offered, self.reader) = (StartTls::Never, Offered::NOTHING, ReplyReader::new());
        self.enter(next);
    }

    /// Takes octets of the server and goes on until something is needed.
    pub fn step(&mut self, terms: &Terms<'_>, input: &[u8], out: &mut Output) -> Step {
        let mut consumed = 0;
        loop {
            self.speak(terms, out);
            if matches!(self.state, State::Closed) {
                return Step { consumed: input.len(), next: Next::Closed };
            }
            let rest = input.get(consumed..).unwrap_or_default();
            if matches!(self.state, State::Securing) {
                if rest.is_empty() {
                    return Step { consumed, next: Next::StartTls };
                }
                self.enter(State::Closed);
                return Step { consumed: input.len(), next: Next::Outcome(injected()) };
            }
            let hello = matches!(self.state, State::Awaiting(Command::Hello));
            let login = matches!(self.state, State::Login(_));
            let offered = &mut self.offered;
            let mut challenge = None;
            let (octets, reply) = self.reader.read(rest, |number, line| {
                if hello {
                    offered.learn(number, line);
                }
                if login && number == 0 {
                    challenge = decoded(line);
                }
            });
            consumed += octets;
            let outcome = match reply {
                Ok(None) => return Step { consumed, next: self.need(terms, out) },
                Ok(Some(reply)) => self.hear(terms, reply, challenge, out.is_empty()),
                Err(fault) => self.fail(fault),
            };
            if let Some(outcome) = outcome {
                return Step { consumed, next: Next::Outcome(outcome) };
            }
        }
    }

    /// After [`Next::Login`]: which response is wanted, and the challenge that it answers.
    pub fn challenge(&self) -> Option<(Turn, &Challenge)> {
        match &self.state {
            State::Login(Progress::Wanted { turn, challenge, .. }) => Some((*turn, challenge)),
            _ => None,
        }
    }

    /// Gives the response after [`Next::Login`], at most [`crate::limits::RESPONSE_OCTETS`]. One that does not
    /// fit into a line with AUTH is asked for once more.
    pub fn respond(&mut self, response: &[u8], out: &mut Output) {
        assert!(out.is_empty() && response.len() <= RESPONSE_OCTETS);
        let State::Login(progress) = mem::take(&mut self.state) else {
            panic!("a response answers Next::Login");
        };
        self.enter(State::Login(progress.respond(response, out)));
    }

    /// Whole replies heard so far, modulo the word size: who waits for one sees by it that it came.
    pub fn replies(&self) -> u32 {
        self.replies
    }

    /// What the server offered in its latest EHLO reply.
    pub fn offered(&self) -> &Offered {
        &self.offered
    }

    /// Begins a transaction, after [`Next::Ready`] only: how many of its recipients it takes.
    ///
    /// They are the first ones of the group; fewer than all if the server limits them (RFC 9422). The
    /// others have no outcome by this transaction and belong into the next one, which can follow on
    /// this connection at once.
    ///
    /// An outcome of the whole group and nothing sent, if the server's offer rules the message out.
    /// Content with octets above 127 that could not be encoded anew is sent even to a server without
    /// 8BITMIME: it is nearly always wrong about itself, and a bounce helps nobody.
    #[expect(clippy::result_large_err, reason = "once a transaction; a box would be a heap")]
    pub fn begin(&mut self, transaction: &Transaction<'_>, out: &mut Output) -> Result<u16, Outcome> {
        assert!(matches!(self.state, State::Ready), "a transaction begins in Next::Ready");
        assert!((1..=RECIPIENTS).contains(&usize::from(transaction.recipients)));
        if transaction.smtputf8 && !self.offered.has(Keyword::SmtpUtf8) {
            return Err(Outcome::new(Scope::Group, Verdict::Failed, no_smtputf8()));
        }
        if let Some(most) = self.offered.size().filter(|most| transaction.octets > *most) {
            let text =
                format_args!("the message has {} octets, the next server takes {most}", transaction.octets);
            return Err(Outcome::new(Scope::Group, Verdict::Failed, Reply::new(552, (3, 4), text)));
        }
        let recipients = transaction.recipients.min(self.offered.recipients().unwrap_or(u16::MAX));
        transaction.write(&self.offered, out);
        self.enter(State::Envelope(Envelope::new(recipients)));
        Ok(recipients)
    }

    /// Gives the recipient that [`Next::Recipient`] asked for.
    pub fn recipient(&mut self, recipient: &Recipient<'_>, out: &mut Output) {
        let State::Envelope(envelope) = &mut self.state else {
            panic!("a recipient answers Next::Recipient");
        };
        recipient.write(&self.offered, out);
        envelope.recipient_written();
    }

    /// Gives content after [`Next::Content`]: octets taken, as many as `out` has room for.
    pub fn content(&mut self, octets: &[u8], out: &mut Output) -> usize {
        let State::Content { stuffing, .. } = &mut self.state else {
            panic!("content answers Next::Content");
        };
        stuffing.write(octets, out)
    }

    /// All content was given. Until then the message cannot be delivered, so content that proves
    /// broken on the way ends with [`Session::abandon`] instead.
    pub fn content_end(&mut self) {
        let State::Content { accepted, stuffing } = mem::take(&mut self.state) else {
            panic!("the end of content follows Next::Content");
        };
        self.enter(State::Ending { accepted, stuffing });
    }

    /// Says QUIT if the server waits for a command and nothing is under way; else as
    /// [`Session::abandon`]. Step on until [`Next::Closed`], or close at once: nothing depends on it.
    pub fn quit(&mut self) {
        match self.state {
            State::Ready => self.enter(State::Saying(Command::Quit)),
            State::Saying(Command::Quit) | State::Awaiting(Command::Quit) => {}
            _ => self.abandon(),
        }
    }

    /// Gives the connection up where it stands. It must be closed without sending what is in `out`;
    /// a transaction that was under way has not been delivered unless the last dot was out.
    pub fn abandon(&mut self) {
        self.enter(State::Closed);
    }

    /// The connection ended or ran out of time, for the reason `cause` ("connection reset", "timed
    /// out"): the outcome for whom it concerns, a deferral. Also after the last dot: a duplicate is
    /// possible then, a loss is not. `None` if nobody waited: a kept connection that the server
    /// closed, or a transaction that was already decided.
    pub fn lost(&mut self, cause: impl Display) -> Option<Outcome> {
        let place = self.waiting().place();
        let scope = match mem::take(&mut self.state) {
            State::Greeting
            | State::Saying(Command::Hello | Command::Helo | Command::StartTls)
            | State::Awaiting(Command::Hello | Command::Helo | Command::StartTls)
            | State::Securing
            | State::Login(_) => Scope::Destination,
            State::Envelope(_) => Scope::Group,
            State::Content { accepted, .. } | State::Ending { accepted, .. } | State::Ended { accepted }
                if !accepted.is_empty() =>
            {
                Scope::Group
            }
            _ => return None,
        };
        let reply = Reply::new(451, (4, 2), format_args!("{cause} {place}"));
        Some(Outcome::new(scope, Verdict::Deferred, reply))
    }

    /// What the session waits for.
    pub fn waiting(&self) -> Waiting {
        match &self.state {
            State::Greeting => Waiting::Greeting,
            State::Saying(command) | State::Awaiting(command) => match command {
                Command::Hello | Command::Helo => Waiting::Hello,
                Command::StartTls => Waiting::StartTls,
                Command::Reset => Waiting::Reset,
                Command::Quit => Waiting::Quit,
            },
            State::Securing => Waiting::StartTls,
            State::Login(_) => Waiting::Login,
            State::Ready => Waiting::Idle,
            State::Envelope(envelope) => match envelope.next_answered() {
                Part::Mail => Waiting::Mail,
                Part::Recipient(_) => Waiting::Recipient,
                Part::Data => Waiting::Data,
            },
            State::Draining { .. } => Waiting::Recipient,
            State::Content { .. } | State::Ending { .. } => Waiting::Content,
            State::Ended { .. } => Waiting::Dot,
            State::Closed => Waiting::Closed,
        }
    }

    fn enter(&mut self, state: State) {
        self.state = state;
    }

    /// Writes what needs no caller, as far as there is room.
    fn speak(&mut self, terms: &Terms<'_>, out: &mut Output) {
        let pipelined = self.is_pipelined(terms);
        match &mut self.state {
            State::Saying(command) => {
                let command = *command;
                if command.write(self.protocol, terms.hostname, out) {
                    self.enter(State::Awaiting(command));
                }
            }
            State::Login(progress) => {
                let progress = progress.clone().speak(out);
                self.enter(State::Login(progress));
            }
            State::Envelope(envelope) => envelope.write_data(pipelined, out),
            State::Ending { accepted, stuffing } => {
                let accepted = *accepted;
                if stuffing.end(out) {
                    self.enter(match self.protocol {
                        // LMTP answers for every accepted recipient: for none, not at all.
                        Protocol::Lmtp if accepted.is_empty() => State::Saying(Command::Reset),
                        _ => State::Ended { accepted },
                    });
                }
            }
            _ => {}
        }
    }

    /// What the state needs when the server has said nothing more.
    fn need(&self, terms: &Terms<'_>, out: &Output) -> Next {
        let room = |next| if out.free() >= COMMAND_ROOM { next } else { Next::Output };
        match &self.state {
            State::Greeting | State::Awaiting(_) | State::Draining { .. } | State::Ended { .. } => {
                Next::Input
            }
            State::Login(Progress::Wanted { .. }) if out.is_empty() => Next::Login,
            State::Login(Progress::Awaited(_) | Progress::Ended(_)) => Next::Input,
            State::Saying(_) | State::Login(_) | State::Ending { .. } => Next::Output,
            State::Securing => Next::StartTls,
            State::Ready => room(Next::Ready),
            State::Envelope(envelope) => match envelope.next_written(self.is_pipelined(terms)) {
                Some(Part::Recipient(i)) => room(Next::Recipient(i)),
                Some(Part::Mail | Part::Data) => Next::Output,
                None => Next::Input,
            },
            State::Content { .. } => room(Next::Content),
            State::Closed => Next::Closed,
        }
    }

    fn is_pipelined(&self, terms: &Terms<'_>) -> bool {
        terms.pipelining && self.offered.has(Keyword::Pipelining)
    }

    /// A reply came. `flushed`: all that was said before it is out.
    fn hear(
        &mut self,
        terms: &Terms<'_>,
        reply: Reply,
        challenge: Option<Challenge>,
        flushed: bool,
    ) -> Option<Outcome> {
        self.replies = self.replies.wrapping_add(1);
        let (next, outcome) = match mem::take(&mut self.state) {
            State::Login(progress) => progress.hear(reply, challenge),
            state => self.after(terms, state, reply, flushed),
        };
        if matches!(next, State::Saying(Command::Hello | Command::Helo)) {
            self.offered = Offered::NOTHING;
        }
        self.enter(next);
        outcome
    }

    /// The state after a reply, and what it decided.
    fn after(
        &self,
        terms: &Terms<'_>,
        state: State,
        reply: Reply,
        flushed: bool,
    ) -> (State, Option<Outcome>) {
        use Class::{Intermediate, Permanent, Positive, Shutdown, Transient};
        use Command::{Hello, Helo, Quit, Reset, StartTls};
        let (protocol, class) = (self.protocol, Class::of(&reply));
        match (state, class) {
            // What a server says unasked between transactions is that it closes the connection.
            (State::Ready | State::Saying(Quit) | State::Awaiting(Quit) | State::Closed, _) => {
                (State::Closed, None)
            }
            (_, Shutdown) => (State::Closed, Some(Outcome::destination(reply))),
            (State::Greeting, Positive) => (State::Saying(Hello), None),
            (State::Awaiting(Hello | Helo), Positive) => self.after_hello(terms),
            (State::Awaiting(Hello), Permanent) if protocol == Protocol::Smtp => (State::Saying(Helo), None),
            (State::Greeting | State::Awaiting(Hello | Helo), Transient | Permanent) => {
                (State::Saying(Quit), Some(Outcome::destination(reply)))
            }
            (State::Awaiting(StartTls), Positive) => (State::Securing, None),
            (State::Awaiting(StartTls), Transient | Permanent) => self.unsecured(terms, &reply),
            (State::Awaiting(Reset), Positive) => (State::Ready, None),
            (State::Awaiting(Reset), Transient | Permanent) => (State::Saying(Quit), None),
            // A server that wants to know us first says nothing about the message: whoever runs the relay
            // has to mend that, and no sender should be told meanwhile that the mail has failed.
            (State::Envelope(_), Permanent) if reply.code() == AUTHENTICATION_REQUIRED => {
                (State::Saying(Quit), Some(Outcome::destination(reply)))
            }
            (State::Envelope(envelope), class) => envelope.hear(class, reply),
            (State::Draining { unanswered, data }, _) if unanswered > 1 => {
                (State::Draining { unanswered: unanswered - 1, data }, None)
            }
            (State::Draining { data: true, .. }, Intermediate) => (NO_CONTENT, None),
            (State::Draining { .. }, _) => (State::Saying(Reset), None),
            (State::Login(_), _) => out_of_turn(&reply),
            // A server that answers in the middle of the content won't take it, but this is no place
            // where a reply means anything.
            (State::Content { .. }, _) => (State::Closed, Some(Outcome::interrupted(&reply))),
            (State::Ended { accepted }, Positive | Transient | Permanent) if flushed => {
                ended(accepted, protocol, class, reply)
            }
            (
                State::Greeting
                | State::Saying(_)
                | State::Awaiting(_)
                | State::Securing
                | State::Ending { .. }
                | State::Ended { .. },
                _,
            ) => out_of_turn(&reply),
        }
    }

    /// The server has said what it can: TLS comes first, if there is to be any.
    fn after_hello(&self, terms: &Terms<'_>) -> (State, Option<Outcome>) {
        match self.start_tls {
            StartTls::IfOffered | StartTls::Required if self.offered.has(Keyword::StartTls) => {
                (State::Saying(Command::StartTls), None)
            }
            StartTls::Never | StartTls::IfOffered => self.after_tls(terms),
            StartTls::Required => {
                let text = "TLS is required, and the server does not offer STARTTLS";
                (State::Saying(Command::Quit), Some(Outcome::destination(Reply::new(451, (7, 4), text))))
            }
        }
    }

    /// Whatever TLS there is to be is there: the login comes, if there is to be one.
    fn after_tls(&self, terms: &Terms<'_>) -> (State, Option<Outcome>) {
        if terms.login.mechanisms.is_empty() {
            return (State::Ready, None);
        }
        login::begin(terms.login, self.offered.mechanisms())
    }

    /// STARTTLS was refused.
    fn unsecured(&self, terms: &Terms<'_>, reply: &Reply) -> (State, Option<Outcome>) {
        if self.start_tls != StartTls::Required {
            return self.after_tls(terms);
        }
        let text = format_args!("TLS is required, and the server refused STARTTLS: {reply}");
        (State::Saying(Command::Quit), Some(Outcome::destination(Reply::new(451, (7, 4), text))))
    }

    /// What came cannot be a reply.
    fn fail(&mut self, fault: Fault) -> Option<Outcome> {
        let text = match fault {
            Fault::Garbage => "what the next server sent is no SMTP reply",
            Fault::Endless => "the next server sent a reply without an end",
        };
        let concerned = !matches!(
            mem::take(&mut self.state),
            State::Ready | State::Saying(Command::Quit) | State::Awaiting(Command::Quit)
        );
        concerned.then(|| Outcome::destination(Reply::new(451, (5, 0), text)))
    }
}

/// The challenge in a line of a reply (RFC 4954 4).
fn decoded(line: &[u8]) -> Option<Challenge> {
    // A line as long as this was cut.
    if line.len() + "334 \r\n".len() > REPLY_LINE_OCTETS {
        return None;
    }
    let mut room = [0; CHALLENGE_OCTETS + 4];
    let octets = sasl::decode(line.trim_ascii(), &mut room).ok()?;
    Challenge::from_slice(octets).ok()
}

/// The server wants content that nobody is there to receive: a lone dot (RFC 2920 3.1).
const NO_CONTENT: State = State::Ending { accepted: Accepted::NONE, stuffing: Stuffing::new() };

/// The state after a reply to the last dot.
fn ended(accepted: Accepted, protocol: Protocol, class: Class, reply: Reply) -> (State, Option<Outcome>) {
    let Some((first, others)) = accepted.split_first() else {
        return (State::Ready, None);
    };
    let verdict = class.verdict();
    match protocol {
        Protocol::Smtp => (State::Ready, Some(Outcome::new(Scope::Group, verdict, reply))),
        Protocol::Lmtp => {
            let next = if others.is_empty() { State::Ready } else { State::Ended { accepted: others } };
            (next, Some(Outcome::new(Scope::Recipient(first), verdict, reply)))
        }
    }
}
