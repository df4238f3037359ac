//! The server side of a session: octets in, replies, content and questions out.
//!
//! What the session cannot know (policy, disk) is a question, and a question is a state: while
//! one is open nothing is consumed and nothing said, so no 250 comes before its answer. The
//! transaction lives inside the states that have one; leaving them ends it.
//!
//! ```text
//! loop {
//!     let step = session.step(&terms, input.filled(), scratch, &mut out);
//!     input.consume(step.consumed);
//!     match step.next {
//!         Next::Input => read more,                      Next::Output => flush `out`,
//!         Next::Content(n) => store scratch[..n],        Next::Close => flush `out`, then close,
//!         Next::Ask => do what session.question() says; then session.answer(..),
//!         Next::StartTls => flush `out`, drop the input, shake hands; then session.secured(),
//!     }
//! }
//! ```

mod commands;
mod feed;
mod habits;
mod state;
mod terms;
#[cfg(test)]
mod tests;

use core::fmt::Write;

use super::buffer::Buffer;
use super::command::{Command, Mail, Recipient};
use super::content::LineEnds;
use super::line::{End, Line, Reader};
use super::reply::{REPLY_ROOM, Reply};
use super::sasl::exchange::Request;
use super::sasl::{self, Name};
use crate::limits::{OUTPUT_OCTETS, REPLY_LINE_OCTETS};

pub use feed::BAD_CONTENT;
pub use habits::Habits;
pub use state::{Cause, Hello, Transaction};
use state::{Say, State};
pub use terms::{BareNewline, Role, Terms, Tls};

/// Octets of scratch that [`Session::step`] needs at least.
pub const CONTENT_ROOM: usize = 16;

/// The first octet of a TLS record that carries a handshake: no SMTP line starts with it.
const TLS_HANDSHAKE: u8 = 0x16;

/// True if a client begins TLS where a command was due: with a record of TLS, or with the hello of SSL 2.0, in
/// which old devices wrap theirs (RFC 5246 E.2).
fn is_client_hello(input: &[u8]) -> bool {
    matches!(input, [TLS_HANDSHAKE, ..] | [0x80..=0xff, _, 1, 0 | 2 | 3, ..])
}

/// Octets of early talk that tell what it is.
pub const EARLY_OCTETS: usize = 16;

/// True if these octets, said before the greeting, are those of a mail client that does not wait for
/// it. TLS, HTTP and proxies talk first by their nature: they are recognised when they are read.
pub fn is_early_talk(early: &[u8]) -> bool {
    let line = early.split(|octet| matches!(octet, b'\r' | b'\n')).next().unwrap_or_default();
    match early {
        [] => false,
        early if is_client_hello(early) => false,
        early if early.starts_with(b"PROXY ") => false,
        _ => Command::parse(line) != Command::Foreign,
    }
}

/// What a call of [`Session::step`] did and what it needs now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Octets of the input that are done with.
    pub consumed: usize,
    /// What to do before the next call.
    pub next: Next,
}

/// What [`Session::step`] needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// More octets.
    Input,
    /// Room in `out`: flush it. Nothing was lost.
    Output,
    /// An answer to [`Session::question`].
    Ask,
    /// This many content octets in the scratch buffer to be stored; [`Session::fail_content`] if
    /// they cannot be.
    Content(usize),
    /// `out` to be flushed, then TLS. What is left of the input came in the clear behind STARTTLS
    /// and must not be used: whoever sits between could have put it there. [`Session::secured`] goes on
    /// when the handshake is done.
    StartTls,
    /// `out` to be flushed and the connection closed. An open transaction is void.
    Close,
}

/// What the session cannot decide by itself.
#[derive(Clone, Copy, Debug)]
pub enum Question<'a> {
    /// May this transaction begin? `Yes` or `Refused`.
    Begin(&'a Mail),
    /// Is this recipient taken? `Yes` or `Refused`.
    Recipient(&'a Transaction, &'a Recipient),
    /// May the content come? `Yes` or `Refused`; refusing ends the transaction.
    Content(&'a Transaction),
    /// All content was handed over: is it durable? `Committed` or `Refused`; both end the
    /// transaction.
    Commit(&'a Transaction),
    /// The transaction is void: forget it. `Yes`.
    Reset(&'a Transaction),
    /// Can TLS start? `Yes` or `Refused`.
    StartTls,
    /// What AUTH cannot know: `Yes`, `Challenge` or `Refused`, as the request says.
    Auth(&'a Request),
}

/// The answer to a question.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "nothing is boxed here, and an answer lives for one call")]
pub enum Answer<'a> {
    /// Yes.
    Yes,
    /// The message is durable under this queue id.
    Committed(&'a str),
    /// The challenge that was asked for.
    Challenge(&'a [u8]),
    /// No, and this 4yz or 5yz is the reply; a 421 closes the session.
    Refused(Reply),
}

/// What the session waits for, which decides the deadline (RFC 5321 4.5.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// A command line.
    Command,
    /// Content octets.
    Content,
    /// An answer from us.
    Answer,
    /// Nothing: the session is over.
    Closing,
}

/// One SMTP session, seen from the server.
#[derive(Debug)]
pub struct Session {
    state: State,
    hello: Option<Hello>,
    user: Option<Name>,
    lines: Reader,
    /// What the first command line ended with: it decides for the whole session.
    first_end: Option<End>,
    errors: u16,
    is_secure: bool,
    habits: Habits,
}

const _: () = assert!(size_of::<Session>() <= 1664, "a plain slot is at most 8 KiB with its buffers");

impl Default for Session {
    fn default() -> Self {
        Self::new()
    }
}

impl Session {
    /// A session before its greeting.
    pub const fn new() -> Self {
        Self {
            state: State::Ready,
            hello: None,
            user: None,
            lines: Reader::Start,
            first_end: None,
            errors: 0,
            is_secure: false,
            habits: Habits::NONE,
        }
    }

    /// Says 220, into an empty buffer; `early` is the beginning of what the client has said before it
    /// could hear that. A client that is not taken as it is may not have said anything
    /// (RFC 5321 3.1, RFC 2920 3.1): it gets 554 and the session is over.
    pub fn greet(&mut self, terms: &Terms<'_>, early: &[u8], out: &mut Buffer<OUTPUT_OCTETS>) {
        let written = if !terms.tolerant && is_early_talk(early) {
            self.state = State::Closing(Cause::Early);
            Reply::new(554, (5, 1), "you talk before the greeting; closing").write(out)
        } else {
            write!(out, "220 {} ESMTP\r\n", terms.hostname).is_ok()
        };
        assert!(written, "the greeting goes into an empty buffer");
    }

    /// Takes input until it needs something.
    ///
    /// What was not consumed must be offered again, with more behind it after [`Next::Input`]. An
    /// input of [`crate::limits::COMMAND_LINE_OCTETS`] is always enough for progress; `content`,
    /// the scratch for content octets, must have [`CONTENT_ROOM`] octets.
    pub fn step(
        &mut self,
        terms: &Terms<'_>,
        input: &[u8],
        content: &mut [u8],
        out: &mut Buffer<OUTPUT_OCTETS>,
    ) -> Step {
        assert!(content.len() >= CONTENT_ROOM);
        let mut consumed = 0;
        loop {
            let rest = &input[consumed..];
            let next = match self.state {
                State::Closing(_) => Some(Next::Close),
                _ if out.free() < REPLY_ROOM => Some(Next::Output),
                State::AskBegin(..)
                | State::AskRecipient(..)
                | State::AskContent(..)
                | State::AskCommit(..)
                | State::AskReset(..)
                | State::AskStartTls
                | State::AskAuth(..) => Some(Next::Ask),
                State::Securing => Some(Next::StartTls),
                State::Ready
                | State::Refused
                | State::Failed(..)
                | State::Envelope(..)
                | State::Chunks(..)
                | State::Auth(..) => self.take_line(terms, rest, &mut consumed, out),
                State::Content(..) | State::Spoiled(..) | State::Chunk(..) | State::Skip(..) => {
                    self.take_content(terms, rest, &mut consumed, content, out)
                }
            };
            if let Some(next) = next {
                return Step { consumed, next };
            }
        }
    }

    /// The open question. After [`Next::Content`] those octets come first: a question that is
    /// there already is meant for after them.
    pub fn question(&self) -> Option<Question<'_>> {
        match &self.state {
            State::AskBegin(mail) => Some(Question::Begin(mail)),
            State::AskRecipient(transaction, recipient) => Some(Question::Recipient(transaction, recipient)),
            State::AskContent(transaction, _) => Some(Question::Content(transaction)),
            State::AskCommit(transaction) => Some(Question::Commit(transaction)),
            State::AskReset(transaction, _) => Some(Question::Reset(transaction)),
            State::AskStartTls => Some(Question::StartTls),
            State::AskAuth(request) => Some(Question::Auth(request)),
            _ => None,
        }
    }

    /// Why the open question is [`Question::Reset`], if it is a refusal of ours: content that can't be
    /// taken, a command that ends the transaction.
    pub fn refusal(&self) -> Option<&Reply> {
        match &self.state {
            State::AskReset(_, after) => after.reply().filter(|reply| reply.is_refusal()),
            _ => None,
        }
    }

    /// Answers the open question; panics if the answer does not fit it. An answer that comes after
    /// the session was shut is ignored.
    pub fn answer(&mut self, terms: &Terms<'_>, answer: Answer<'_>, out: &mut Buffer<OUTPUT_OCTETS>) {
        if matches!(answer, Answer::Committed(_)) {
            // As Postfix does: a client that gets mail through is not the one the cap is for.
            self.errors = 0;
        }
        let line_ends = self.line_ends(terms);
        let (next, say) = self.leave().answered(answer, line_ends);
        self.enter(next, say, terms, out);
    }

    /// The content that [`Next::Content`] brought cannot be stored: the rest is swallowed, and at
    /// its end come [`Question::Reset`] and this reply.
    pub fn fail_content(&mut self, reply: Reply) {
        assert!(reply.is_refusal());
        self.state = self.leave().spoiled(reply);
    }

    /// Ends the session from our side (timeout, shutdown): says `reply` if there is room for it.
    pub fn shut(&mut self, reply: &Reply, out: &mut Buffer<OUTPUT_OCTETS>) {
        // Without room the client reads nothing anyway.
        let _ = reply.write(out);
        self.state = State::Closing(Cause::Shut);
    }

    /// What the session waits for.
    pub fn waiting(&self) -> Waiting {
        match self.state {
            State::Ready
            | State::Refused
            | State::Failed(..)
            | State::Envelope(..)
            | State::Chunks(..)
            | State::Auth(..)
            | State::Securing => Waiting::Command,
            State::Content(..) | State::Spoiled(..) | State::Chunk(..) | State::Skip(..) => Waiting::Content,
            State::AskBegin(..)
            | State::AskRecipient(..)
            | State::AskContent(..)
            | State::AskCommit(..)
            | State::AskReset(..)
            | State::AskStartTls
            | State::AskAuth(..) => Waiting::Answer,
            State::Closing(_) => Waiting::Closing,
        }
    }

    /// TLS is active: after [`Next::StartTls`], or before anything was said where it comes first. What
    /// the client said until now is forgotten (RFC 3207 4.2), but for its errors, which count on.
    pub fn secured(&mut self) {
        assert!(matches!(self.state, State::Securing | State::Ready), "no handshake within a transaction");
        *self = Self { errors: self.errors, habits: self.habits, is_secure: true, ..Self::new() };
    }

    /// True if 220 was said to STARTTLS and [`Session::secured`] is still to come.
    pub fn is_securing(&self) -> bool {
        matches!(self.state, State::Securing)
    }

    /// True if what is said goes through TLS.
    pub fn is_secure(&self) -> bool {
        self.is_secure
    }

    /// The client's last HELO or EHLO.
    pub fn hello(&self) -> Option<&Hello> {
        self.hello.as_ref()
    }

    /// Who the client has shown to be, by AUTH.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The open transaction.
    pub fn transaction(&self) -> Option<&Transaction> {
        self.state.transaction()
    }

    /// The protocol's name for `Received:` and the log (RFC 3848, RFC 6531 4.3).
    pub fn protocol(&self) -> &'static str {
        let smtputf8 = self.transaction().is_some_and(|transaction| transaction.mail.smtputf8);
        let extended = self.hello.as_ref().is_some_and(|hello| hello.extended);
        match (smtputf8, self.is_secure, self.user.is_some()) {
            (true, false, false) => "UTF8SMTP",
            (true, false, true) => "UTF8SMTPA",
            (true, true, false) => "UTF8SMTPS",
            (true, true, true) => "UTF8SMTPSA",
            // Who says AUTH speaks ESMTP, whatever it greeted with.
            (false, false, true) => "ESMTPA",
            (false, true, true) => "ESMTPSA",
            (false, true, false) if extended => "ESMTPS",
            (false, false, false) if extended => "ESMTP",
            // There is no name for TLS without EHLO.
            (false, _, false) => "SMTP",
        }
    }

    /// What the first command line ended with; LF alone is worth a note about the client.
    pub fn first_line_end(&self) -> Option<End> {
        self.first_end
    }

    /// What the client did that it should not have.
    pub fn habits(&self) -> &Habits {
        &self.habits
    }

    /// Why the session ended, once it has.
    pub fn cause(&self) -> Option<Cause> {
        match self.state {
            State::Closing(cause) => Some(cause),
            _ => None,
        }
    }

    /// The state by name: for traces, and the rows of the table in the manual.
    pub fn state_name(&self) -> &'static str {
        self.state.name()
    }

    /// Which line ends this client may use.
    fn line_ends(&self, terms: &Terms<'_>) -> LineEnds {
        match (terms.tolerant, terms.bare_newline, self.first_end) {
            (false, _, _) | (true, BareNewline::Reject, _) => LineEnds::Strict,
            (true, BareNewline::Normalize, Some(End::Lf)) => LineEnds::Lf,
            (true, BareNewline::Normalize, Some(End::CrLf) | None) => LineEnds::CrLf,
        }
    }

    fn take_line(
        &mut self,
        terms: &Terms<'_>,
        input: &[u8],
        consumed: &mut usize,
        out: &mut Buffer<OUTPUT_OCTETS>,
    ) -> Option<Next> {
        // Also later: a client that was refused STARTTLS may go on as if it had not been. What comes behind a
        // refused DATA is content and gets its answer.
        let may_be_tls = matches!(self.lines, Reader::Start) && !matches!(self.state, State::Refused);
        if may_be_tls && is_client_hello(input) {
            self.state = State::Closing(Cause::Tls);
            return None;
        }
        let (octets, line) = self.lines.read(input);
        *consumed += octets;
        let Some(line) = line else { return Some(Next::Input) };
        let (Line::Text(_, end) | Line::TooLong(end)) = line;
        self.first_end.get_or_insert(end);
        let strict = self.line_ends(terms) == LineEnds::Strict;
        if let State::Auth(_) = self.state {
            let (next, say) = self.leave().responded(line, strict);
            self.enter(next, say, terms, out);
            return None;
        }
        let command = match line {
            Line::TooLong(_) => Command::TooLong,
            Line::Text(_, End::Lf) if strict => Command::BareLf,
            Line::Text(text, _) if terms.tolerant => Command::parse(text.trim_ascii()),
            Line::Text(text, _) => Command::parse(without_blanks(text)),
        };
        self.habits.see(&command, self.hello.as_ref());
        let (next, say) = self.leave().commanded(command, terms, self.hello.as_ref(), self.user.as_ref());
        if let Say::Reply(reply) | Say::Surplus(reply) = &say
            && reply.is_refusal()
        {
            self.habits.refuse(reply);
        }
        self.enter(next, say, terms, out);
        None
    }

    fn take_content(
        &mut self,
        terms: &Terms<'_>,
        input: &[u8],
        consumed: &mut usize,
        content: &mut [u8],
        out: &mut Buffer<OUTPUT_OCTETS>,
    ) -> Option<Next> {
        if input.is_empty() && self.state.needs_octets() {
            return Some(Next::Input);
        }
        let fed = self.leave().fed(input, content, terms);
        *consumed += fed.consumed;
        self.enter(fed.next, fed.say, terms, out);
        (fed.written > 0).then_some(Next::Content(fed.written))
    }

    /// Takes the state out, to be judged and followed by [`Session::enter`].
    fn leave(&mut self) -> State {
        core::mem::replace(&mut self.state, State::Closing(Cause::Shut))
    }

    /// Stores the next state and says what is to be said on the way into it. The one place where
    /// replies are counted and where a session ends because of one.
    fn enter(&mut self, next: State, say: Say, terms: &Terms<'_>, out: &mut Buffer<OUTPUT_OCTETS>) {
        self.state = next;
        let written = match say {
            Say::Nothing => true,
            Say::Hello(hello) => {
                let written = terms.write_hello(hello.extended, out);
                self.hello = Some(hello);
                written
            }
            Say::Surplus(reply) => reply.write(out),
            Say::Challenge(octets) => write_challenge(&octets, out),
            Say::Welcome(name) => {
                self.user = Some(name);
                Reply::new(235, (7, 0), "authentication succeeded").write(out)
            }
            Say::Reply(reply) => {
                self.errors = self.errors.saturating_add(u16::from(reply.is_refusal()));
                let mut written = reply.write(out);
                match self.state {
                    State::Closing(_) => {}
                    _ if reply.code() == 421 => self.state = State::Closing(Cause::Shut),
                    _ if reply.is_refusal() && self.errors >= terms.errors => {
                        self.state = State::Closing(Cause::Errors);
                        written &= Reply::new(421, (7, 0), "too many errors").write(out);
                    }
                    _ => {}
                }
                written
            }
        };
        assert!(written, "REPLY_ROOM was there before anything was consumed");
    }
}

/// 334 and the challenge in base64; false if there is no room.
fn write_challenge(octets: &[u8], out: &mut Buffer<OUTPUT_OCTETS>) -> bool {
    let mut room = [0; REPLY_LINE_OCTETS];
    sasl::encode(octets, &mut room).is_some_and(|text| write!(out, "334 {text}\r\n").is_ok())
}

/// RFC 5321 4.1.1: blanks before the line end are tolerated.
fn without_blanks(mut line: &[u8]) -> &[u8] {
    while let [text @ .., b' ' | b'\t'] = line {
        line = text;
    }
    line
}
