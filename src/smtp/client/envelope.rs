//! MAIL, RCPT and DATA on their way: one after the other, or as one group (RFC 2920).
//!
//! Two positions in the row MAIL, RCPT 0, RCPT 1, …, DATA say everything: how far it is written, and
//! how far it is answered. In lock-step the first waits for the second.

use super::command::Command;
use super::outcome::{Class, Outcome, Scope, Verdict, out_of_turn};
use super::{NO_CONTENT, Output, State};
use crate::limits::RECIPIENTS;
use crate::smtp::reply::Reply;
use crate::smtp::stuffing::Stuffing;

/// The commands of a transaction so far.
#[derive(Debug)]
pub(super) struct Envelope {
    recipients: u16,
    /// Commands written, `recipients + 2` at most.
    written: u16,
    /// Commands answered, `written` at most.
    answered: u16,
    accepted: Accepted,
}

/// A command of the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Mail,
    Recipient(u16),
    Data,
}

impl Envelope {
    /// MAIL is written.
    pub fn new(recipients: u16) -> Self {
        Self { recipients, written: 1, answered: 0, accepted: Accepted::NONE }
    }

    /// The command that can be written now.
    pub fn next_written(&self, pipelined: bool) -> Option<Part> {
        let free = (pipelined || self.answered == self.written) && self.written < self.recipients + 2;
        free.then(|| self.part(self.written))
    }

    /// The command whose reply comes next.
    pub fn next_answered(&self) -> Part {
        self.part(self.answered)
    }

    pub fn recipient_written(&mut self) {
        assert!(matches!(self.part(self.written), Part::Recipient(_)), "every recipient once");
        self.written += 1;
    }

    /// Writes DATA if it is next and there is room.
    pub fn write_data(&mut self, pipelined: bool, out: &mut Output) {
        if self.next_written(pipelined) == Some(Part::Data) && out.push(b"DATA\r\n") {
            self.written += 1;
        }
    }

    fn part(&self, place: u16) -> Part {
        match place {
            0 => Part::Mail,
            place if place <= self.recipients => Part::Recipient(place - 1),
            _ => Part::Data,
        }
    }

    /// The state after the next reply, and what it decided.
    pub fn hear(mut self, class: Class, reply: Reply) -> (State, Option<Outcome>) {
        use Class::{Intermediate, Permanent, Positive, Transient};
        if self.answered == self.written {
            return out_of_turn(&reply);
        }
        let part = self.next_answered();
        self.answered += 1;
        match (part, class) {
            (Part::Mail, Positive) => (State::Envelope(self), None),
            (Part::Mail, Transient | Permanent) => {
                (self.without_mail(), Some(Outcome::new(Scope::Group, class.verdict(), reply)))
            }
            (Part::Recipient(i), Positive) => {
                self.accepted.insert(i);
                (State::Envelope(self), None)
            }
            (Part::Recipient(i), Transient | Permanent) => {
                let verdict = self.verdict(class, &reply);
                (self.without_recipient(), Some(Outcome::new(Scope::Recipient(i), verdict, reply)))
            }
            (Part::Data, Intermediate) if self.accepted.is_empty() => (NO_CONTENT, None),
            (Part::Data, Intermediate) => {
                (State::Content { accepted: self.accepted, stuffing: Stuffing::new() }, None)
            }
            (Part::Data, Transient | Permanent) => {
                let undecided = !self.accepted.is_empty();
                let outcome = undecided.then(|| Outcome::new(Scope::Group, class.verdict(), reply));
                (State::Saying(Command::Reset), outcome)
            }
            _ => out_of_turn(&reply),
        }
    }

    /// MAIL was refused. If nothing else was said there is no transaction to reset.
    fn without_mail(&self) -> State {
        match self.written - self.answered {
            0 => State::Ready,
            unanswered => State::Draining { unanswered, data: self.written == self.recipients + 2 },
        }
    }

    /// A recipient was refused: the others go on, and if there are none DATA is spared.
    fn without_recipient(self) -> State {
        if self.accepted.is_empty() && self.answered == self.recipients + 1 && self.written == self.answered {
            State::Saying(Command::Reset)
        } else {
            State::Envelope(self)
        }
    }

    /// Of a refused recipient. 552 behind others that were accepted is how old servers say "too many
    /// recipients" (RFC 5321 4.5.3.1.10), unless its enhanced code tells of a mailbox or the mail
    /// system (X.2.Z, X.3.Z), or anything else that is not the protocol.
    fn verdict(&self, class: Class, reply: &Reply) -> Verdict {
        let too_many = reply.code() == 552 && matches!(reply.detail(), None | Some((5, 3)));
        if too_many && !self.accepted.is_empty() { Verdict::Deferred } else { class.verdict() }
    }
}

/// The recipients that the server accepted and that have no outcome yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Accepted([u64; RECIPIENTS / 64]);

const _: () = assert!(RECIPIENTS.is_multiple_of(64) && RECIPIENTS + 2 <= u16::MAX as usize);

impl Accepted {
    pub const NONE: Self = Self([0; RECIPIENTS / 64]);

    pub fn is_empty(&self) -> bool {
        *self == Self::NONE
    }

    /// The first of them, and the others.
    pub fn split_first(mut self) -> Option<(u16, Self)> {
        let (word, bits) = (0_u16..).zip(&mut self.0).find(|(_, bits)| **bits != 0)?;
        // At most 63.
        let bit = bits.trailing_zeros() as u16;
        *bits &= *bits - 1;
        Some((word * 64 + bit, self))
    }

    fn insert(&mut self, i: u16) {
        self.0[usize::from(i / 64)] |= 1 << (i % 64);
    }
}

#[cfg(test)]
mod tests {
    use super::{Accepted, RECIPIENTS};

    #[test]
    fn the_accepted_come_out_in_order_and_once() {
        let mut accepted = Accepted::NONE;
        let last = RECIPIENTS as u16 - 1;
        for i in [last, 64, 0, 63, 5] {
            accepted.insert(i);
        }
        for expected in [0, 5, 63, 64, last] {
            let (first, others) = accepted.split_first().expect("one more");
            assert_eq!(first, expected);
            accepted = others;
        }
        assert!(accepted.is_empty() && accepted.split_first().is_none());
    }
}
