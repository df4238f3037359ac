//! The states of a session, and what an answer does in each.
//!
//! Three things move a session: a command line (`commands.rs`), content octets (`feed.rs`) and an
//! answer (here). Each takes the state by value and names the next one and what is said on the way.

use core::fmt::{self, Display};

use heapless::{String, Vec};

use super::{Answer, Terms};
use crate::limits::{DOMAIN_OCTETS, REPLY_LINE_OCTETS};
use crate::smtp::command::{Mail, Recipient};
use crate::smtp::content::{Decoder, Framing, LineEnds};
use crate::smtp::reply::Reply;
use crate::smtp::sasl::exchange::{self, Exchange, Request, Step};
use crate::smtp::sasl::{self, Fault, Name};

/// A mail transaction: from MAIL to its end.
#[derive(Clone, Debug)]
pub struct Transaction {
    /// What MAIL said.
    pub mail: Mail,
    /// Recipients taken so far.
    pub recipients: u16,
    /// Content octets handed over so far.
    pub octets: u64,
}

/// The client's HELO or EHLO.
#[derive(Clone, Debug)]
pub struct Hello {
    /// True for EHLO.
    pub extended: bool,
    /// The name it gave, printable ASCII; empty if it gave none.
    pub name: String<DOMAIN_OCTETS>,
}

/// Why a session ended, in words for the log and the notes about a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The client said QUIT.
    Quit,
    /// We ended it: timeout, shutdown, a policy that answered 421.
    Shut,
    /// Too many error replies.
    Errors,
    /// It started TLS on a plain port.
    Tls,
    /// It spoke HTTP, or sent header fields for commands.
    Foreign,
    /// It sent content though DATA was refused.
    Unasked,
    /// It did not wait for the greeting.
    Early,
    /// A BDAT count that cannot be read.
    Chunk,
}

impl Cause {
    /// True if the session ended on a client that was still speaking, and spoke SMTP.
    pub fn is_interruption(self) -> bool {
        match self {
            Self::Errors | Self::Unasked | Self::Early | Self::Chunk => true,
            Self::Quit | Self::Shut | Self::Tls | Self::Foreign => false,
        }
    }
}

impl Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Quit => "QUIT",
            Self::Shut => "closed by us",
            Self::Errors => "too many errors",
            Self::Tls => "TLS on a plain port",
            Self::Foreign => "HTTP or header fields instead of commands",
            Self::Unasked => "content though DATA was refused",
            Self::Early => "talking before the greeting",
            Self::Chunk => "BDAT without a count",
        })
    }
}

/// A BDAT chunk (RFC 3030).
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    /// Octets still to come.
    pub(super) left: u64,
    pub(super) last: bool,
}

/// How content will come.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way {
    Data,
    Bdat(Piece),
}

/// What follows when the store has forgotten a transaction.
#[derive(Debug)]
pub(super) enum After {
    /// This reply, and no transaction.
    Reply(Reply),
    /// The answer to HELO or EHLO.
    Hello(Hello),
    /// This reply, and doubt whether content comes all the same.
    Refused(Reply),
    /// This reply, to this chunk and to those behind it.
    Failed(Reply),
    /// The question whether TLS can start.
    StartTls,
}

#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "the state is the slot's memory; nothing is boxed")]
pub(super) enum State {
    /// No transaction.
    Ready,
    /// DATA was refused. A client that does not wait for 354 sends its content now, and content
    /// must not be read as commands.
    Refused,
    /// A chunk was refused; those that the client sent behind it get the same reply.
    Failed(Reply),
    /// MAIL was taken, RCPT or content may follow.
    Envelope(Transaction),
    /// Between two chunks.
    Chunks(Transaction, Decoder),
    /// Content arrives, up to the lone dot.
    Content(Transaction, Decoder),
    /// The same, but it will be refused.
    Spoiled(Transaction, Decoder, Reply),
    /// A chunk arrives.
    Chunk(Transaction, Decoder, Piece),
    /// A chunk arrives that will be refused.
    Skip(Option<Transaction>, Piece, Reply),
    AskBegin(Mail),
    AskRecipient(Transaction, Recipient),
    AskContent(Transaction, Way),
    AskCommit(Transaction),
    AskReset(Transaction, After),
    AskStartTls,
    /// 220 was said: the handshake comes, and what the client said before is forgotten after it.
    Securing,
    /// 334 was said: the next line is a response (RFC 4954).
    Auth(Exchange),
    AskAuth(Request),
    /// Nothing is read any more.
    Closing(Cause),
}

/// What is said on the way into a state.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "lives for one call")]
pub(super) enum Say {
    Nothing,
    Reply(Reply),
    /// The same to a recipient beyond those that a transaction may have. It is no error: the client
    /// sends to the others and comes again (RFC 5321 4.5.3.1.10), if it is not sent away before.
    Surplus(Reply),
    /// The answer to HELO or EHLO.
    Hello(Hello),
    /// 334 and this in base64.
    Challenge(Challenge),
    /// 235: the client is this user from now on.
    Welcome(Name),
}

/// Octets of a challenge, as many as fit into a reply line in base64.
pub(super) type Challenge = Vec<u8, { (REPLY_LINE_OCTETS - 8) / 4 * 3 }>;

pub(super) type Turn = (State, Say);

pub(super) fn reply(state: State, code: u16, detail: (u16, u16), text: &str) -> Turn {
    (state, Say::Reply(Reply::new(code, detail, text)))
}

impl State {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Refused => "Refused",
            Self::Failed(..) => "Failed",
            Self::Envelope(..) => "Envelope",
            Self::Chunks(..) => "Chunks",
            Self::Content(..) => "Content",
            Self::Spoiled(..) => "Spoiled",
            Self::Chunk(..) => "Chunk",
            Self::Skip(..) => "Skip",
            Self::AskBegin(..) => "AskBegin",
            Self::AskRecipient(..) => "AskRecipient",
            Self::AskContent(..) => "AskContent",
            Self::AskCommit(..) => "AskCommit",
            Self::AskReset(..) => "AskReset",
            Self::AskStartTls => "AskStartTls",
            Self::Securing => "Securing",
            Self::Auth(..) => "Auth",
            Self::AskAuth(..) => "AskAuth",
            Self::Closing(..) => "Closing",
        }
    }

    pub(super) fn transaction(&self) -> Option<&Transaction> {
        match self {
            Self::Envelope(transaction)
            | Self::Chunks(transaction, _)
            | Self::Content(transaction, _)
            | Self::Spoiled(transaction, ..)
            | Self::Chunk(transaction, ..)
            | Self::Skip(Some(transaction), ..)
            | Self::AskRecipient(transaction, _)
            | Self::AskContent(transaction, _)
            | Self::AskCommit(transaction)
            | Self::AskReset(transaction, _) => Some(transaction),
            Self::Ready
            | Self::Refused
            | Self::Failed(_)
            | Self::Skip(None, ..)
            | Self::AskBegin(_)
            | Self::AskStartTls
            | Self::Securing
            | Self::Auth(_)
            | Self::AskAuth(_)
            | Self::Closing(_) => None,
        }
    }

    /// The answer to the question of this state.
    pub(super) fn answered(self, answer: Answer<'_>, line_ends: LineEnds) -> Turn {
        match (self, answer) {
            (Self::AskBegin(mail), Answer::Yes) => {
                reply(Self::Envelope(Transaction { mail, recipients: 0, octets: 0 }), 250, (1, 0), "ok")
            }
            (Self::AskBegin(_), Answer::Refused(refusal)) => (Self::Ready, Say::Reply(refusal)),

            (Self::AskRecipient(mut transaction, _), Answer::Yes) => {
                transaction.recipients += 1;
                reply(Self::Envelope(transaction), 250, (1, 5), "ok")
            }
            (Self::AskRecipient(transaction, _), Answer::Refused(refusal)) => {
                (Self::Envelope(transaction), Say::Reply(refusal))
            }

            (Self::AskContent(transaction, Way::Data), Answer::Yes) => {
                let go = Reply::plain(354, "send the message, end with a line of one dot");
                (Self::Content(transaction, Decoder::new(Framing::Dot, line_ends)), Say::Reply(go))
            }
            (Self::AskContent(transaction, Way::Bdat(piece)), Answer::Yes) => {
                (Self::Chunk(transaction, Decoder::new(Framing::Count, line_ends), piece), Say::Nothing)
            }
            (Self::AskContent(_, Way::Data), Answer::Refused(refusal)) => After::Refused(refusal).turn(),
            (Self::AskContent(_, Way::Bdat(piece)), Answer::Refused(refusal)) => {
                (Self::Skip(None, piece, refusal), Say::Nothing)
            }

            (Self::AskCommit(_), Answer::Committed(id)) => {
                let taken = Reply::new(250, (0, 0), format_args!("ok: queued as {id}"));
                (Self::Ready, Say::Reply(taken))
            }
            (Self::AskCommit(_), Answer::Refused(refusal)) => (Self::Ready, Say::Reply(refusal)),

            (Self::AskReset(_, after), Answer::Yes) => after.turn(),
            (Self::AskStartTls, Answer::Yes) => reply(Self::Securing, 220, (0, 0), "ready to start TLS"),
            (Self::AskStartTls, Answer::Refused(refusal)) => (Self::Ready, Say::Reply(refusal)),

            (Self::AskAuth(request), Answer::Challenge(octets)) => challenged(request, octets),
            (Self::AskAuth(request), Answer::Yes) => match request.name() {
                Some(name) => (Self::Ready, Say::Welcome(name.clone())),
                None => panic!("nobody was named who could be welcome"),
            },
            (Self::AskAuth(_), Answer::Refused(refusal)) => (Self::Ready, Say::Reply(refusal)),

            (state @ Self::Closing(_), _) => (state, Say::Nothing),
            (state, answer) => panic!("{answer:?} answers nothing in {}", state.name()),
        }
    }
}

/// The state after a challenge that was asked for.
fn challenged(request: Request, octets: &[u8]) -> Turn {
    match (request.challenged(octets), Challenge::from_slice(octets)) {
        (Some(exchange), Ok(challenge)) => (State::Auth(exchange), Say::Challenge(challenge)),
        _ => panic!("{} octets are no challenge to what was asked", octets.len()),
    }
}

/// The state after a step of AUTH.
pub(super) fn stepped(step: Result<Step, Reply>) -> Turn {
    match step {
        Ok(Step::Say(prompt, exchange)) => {
            (State::Auth(exchange), Say::Challenge(prompt.iter().copied().collect()))
        }
        Ok(Step::Ask(request)) => (State::AskAuth(request), Say::Nothing),
        Ok(Step::Done(name)) => (State::Ready, Say::Welcome(name)),
        Err(refusal) => (State::Ready, Say::Reply(refusal)),
    }
}

/// What is wrong with a response in base64.
pub(super) fn undecoded(fault: Fault) -> Reply {
    match fault {
        sasl::Fault::Malformed => Reply::new(501, (5, 2), "this is no base64"),
        sasl::Fault::TooLong => exchange::too_long(),
    }
}

impl After {
    /// What will be said, if it is a reply.
    pub(super) fn reply(&self) -> Option<&Reply> {
        match self {
            Self::Reply(reply) | Self::Refused(reply) | Self::Failed(reply) => Some(reply),
            Self::Hello(_) | Self::StartTls => None,
        }
    }

    pub(super) fn turn(self) -> Turn {
        match self {
            Self::Reply(reply) => (State::Ready, Say::Reply(reply)),
            Self::Hello(hello) => (State::Ready, Say::Hello(hello)),
            Self::Refused(reply) => (State::Refused, Say::Reply(reply)),
            Self::Failed(reply) => (State::Failed(reply.clone()), Say::Reply(reply)),
            Self::StartTls => (State::AskStartTls, Say::Nothing),
        }
    }
}

pub(super) fn too_large(terms: &Terms<'_>) -> Reply {
    Reply::new(552, (3, 4), format_args!("a message can have at most {} octets", terms.message_size))
}
