//! What became of recipients.

use super::State;
use crate::smtp::reply::Reply;

/// What became of one or more recipients, and the words it was said with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Whom it concerns.
    pub scope: Scope,
    /// What became of them.
    pub verdict: Verdict,
    /// The server's reply, or ours if it gave none that could be understood.
    pub reply: Reply,
}

/// Whom an outcome concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Recipient number `i`, from 0, of the transaction.
    Recipient(u16),
    /// All recipients of the transaction that have no outcome yet.
    Group,
    /// The destination: it is of no use for the time being. If a transaction is under way, also all
    /// its recipients that have no outcome yet. Always a deferral: a server that won't talk at all
    /// says nothing about mailboxes.
    Destination,
    /// The same, because we can't log in there: nothing comes of it until a person has seen to it.
    Login,
}

/// What became of a recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The server took the message and answers for it.
    Delivered,
    /// To be tried again.
    Deferred,
    /// Never to be tried again.
    Failed,
}

impl Outcome {
    pub(super) fn new(scope: Scope, verdict: Verdict, reply: Reply) -> Self {
        Self { scope, verdict, reply }
    }

    pub(super) fn destination(reply: Reply) -> Self {
        Self::new(Scope::Destination, Verdict::Deferred, reply)
    }

    pub(super) fn login(reply: Reply) -> Self {
        Self::new(Scope::Login, Verdict::Deferred, reply)
    }

    /// The server spoke while the content was on its way.
    pub(super) fn interrupted(reply: &Reply) -> Self {
        let reply = Reply::new(451, (5, 0), format_args!("interrupted while sending the message: {reply}"));
        Self::new(Scope::Group, Verdict::Deferred, reply)
    }
}

/// A reply that fits nothing that was said: whatever comes behind it may belong to something else,
/// so the session is over.
pub(super) fn out_of_turn(reply: &Reply) -> (State, Option<Outcome>) {
    let reply = Reply::new(451, (5, 0), format_args!("the next server answered out of turn: {reply}"));
    (State::Closed, Some(Outcome::destination(reply)))
}

/// What the first digit says, and the one code that says more (RFC 5321 4.2.1, 3.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// 2yz.
    Positive,
    /// 3yz.
    Intermediate,
    /// 4yz but 421.
    Transient,
    /// 5yz.
    Permanent,
    /// 421: the server closes the connection.
    Shutdown,
}

impl Class {
    pub fn of(reply: &Reply) -> Self {
        match reply.code() {
            421 => Self::Shutdown,
            200..300 => Self::Positive,
            300..400 => Self::Intermediate,
            500..600 => Self::Permanent,
            _ => Self::Transient,
        }
    }

    pub fn verdict(self) -> Verdict {
        match self {
            Self::Positive => Verdict::Delivered,
            Self::Permanent => Verdict::Failed,
            Self::Intermediate | Self::Transient | Self::Shutdown => Verdict::Deferred,
        }
    }
}
