//! What has just become of messages from this machine, for `pillarbox send-test`: a message that is
//! delivered leaves the queue, but somebody may want to hear how it went. A fixed ring.

use core::fmt::{self, Write};

use heapless::{Deque, String};

use super::quoted::Quoted;
use crate::limits::{PATH_OCTETS, REPLY_TEXT_OCTETS};
use crate::spool::Id;

/// Outcomes that are remembered.
pub const OUTCOMES: usize = 32;
/// Octets of a reply with its codes.
const REPLY_OCTETS: usize = REPLY_TEXT_OCTETS + 16;

/// What became of one recipient in one attempt.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The message.
    pub id: Id,
    /// `delivered`, `deferred`, `bounced` or `expired`.
    pub verb: &'static str,
    /// The forward-path.
    pub to: String<PATH_OCTETS>,
    /// The `via` of the route.
    pub via: &'static str,
    /// Host, address and port, or a mailbox's folder; as much as fits.
    pub host: String<120>,
    /// The version of TLS, or "none".
    pub tls: String<16>,
    /// What was said.
    pub reply: String<REPLY_OCTETS>,
    /// Age of the message then, in tenths of a second.
    pub age_tenths: u64,
}

/// The last [`OUTCOMES`] of them, oldest first.
#[derive(Debug, Default)]
pub struct Stories(Deque<Outcome, OUTCOMES>);

impl Stories {
    /// Octets of heap: none, it lies in the relay itself.
    pub const fn new() -> Self {
        Self(Deque::new())
    }

    /// Remembers an outcome, at the cost of the oldest.
    pub fn note(&mut self, outcome: Outcome) {
        if self.0.is_full() {
            self.0.pop_front();
        }
        // There is room now.
        let _ = self.0.push_back(outcome);
    }

    /// Outcome number `nth`, from 0, of a message, oldest first.
    pub fn of(&self, id: Id, nth: usize) -> Option<&Outcome> {
        self.0.iter().filter(|outcome| outcome.id == id).nth(nth)
    }
}

/// One outcome, a line for people that begins with its verb.
pub fn write_outcome(outcome: &Outcome, out: &mut impl Write) -> fmt::Result {
    let Outcome { verb, to, via, host, tls, reply, age_tenths, .. } = outcome;
    write!(out, "{verb} <{}> via {via}", Quoted::bare(to))?;
    if !host.is_empty() {
        write!(out, " {}", Quoted::bare(host))?;
    }
    if tls != "none" {
        write!(out, " ({tls})")?;
    } else if !matches!(*via, "maildir" | "discard" | "reject") {
        out.write_str(" (without TLS)")?;
    }
    writeln!(out, " after {}.{}s: {}", age_tenths / 10, age_tenths % 10, Quoted::new(reply))
}
