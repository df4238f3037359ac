//! What becomes of a message on its way to a next hop: its sender is rewritten, if the route says so.
//!
//! The spool keeps the message as it came, so every try and every bounce starts from that. What is
//! changed has another length: MAIL tells the most that it can be, which servers only use to refuse
//! what is too large for them (RFC 1870 6.1).

use std::convert::Infallible;

use heapless::String;

use super::Relay;
use super::round::Group;
use crate::config::Via;
use crate::limits::{DELIVERY_OUTPUT_OCTETS, PATH_OCTETS};
use crate::mail::rewrite::{Rewriter, Sender};
use crate::smtp::client::Transaction;

// Half of an output buffer is what content can take for sure, with a dot more at each line.
const _: () = assert!(Rewriter::GROWTH + Rewriter::RATIO <= DELIVERY_OUTPUT_OCTETS / 2);

/// What is changed in one message.
#[derive(Debug, Default)]
pub struct Outgoing {
    rewriting: Option<Rewriting>,
}

#[derive(Debug)]
struct Rewriting {
    /// The new sender.
    address: String<PATH_OCTETS>,
    /// The old reverse-path.
    reverse_path: String<PATH_OCTETS>,
    rewriter: Rewriter,
}

impl Rewriting {
    fn sender(&mut self) -> (&mut Rewriter, Sender<'_>) {
        let Self { address, reverse_path, rewriter } = self;
        (rewriter, Sender { address, reverse_path })
    }
}

impl Outgoing {
    /// Starts over: what is written next is the content's start.
    pub fn rewind(&mut self) {
        if let Some(rewriting) = &mut self.rewriting {
            rewriting.rewriter = Rewriter::default();
        }
    }

    /// What MAIL says. The null reverse-path stays, so that no bounce is ever answered by one.
    pub fn transaction<'a>(&'a self, transaction: Transaction<'a>) -> Transaction<'a> {
        let Some(rewriting) = &self.rewriting else { return transaction };
        let address = &rewriting.address;
        Transaction {
            reverse_path: if transaction.reverse_path.is_empty() { "" } else { address },
            octets: transaction.octets + Rewriter::GROWTH as u64,
            smtputf8: transaction.smtputf8 || !address.is_ascii(),
            ..transaction
        }
    }

    /// Octets that can be given to [`Outgoing::write`] so that what comes out fits into `room`; with 0
    /// also the end does not.
    pub fn fits(&self, room: usize) -> usize {
        match &self.rewriting {
            Some(rewriting) if !rewriting.rewriter.is_over() => {
                room.saturating_sub(Rewriter::GROWTH) / Rewriter::RATIO
            }
            _ => room,
        }
    }

    /// Takes content and gives what it becomes to `sink`.
    pub fn write(&mut self, octets: &[u8], sink: &mut impl FnMut(&[u8])) {
        let Ok(()) = self.try_write(octets, &mut infallible(sink));
    }

    /// The content is complete.
    pub fn finish(&mut self, sink: &mut impl FnMut(&[u8])) {
        let Ok(()) = self.try_finish(&mut infallible(sink));
    }

    fn try_write<E>(
        &mut self,
        octets: &[u8],
        sink: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(rewriting) = &mut self.rewriting else { return sink(octets) };
        let (rewriter, sender) = rewriting.sender();
        rewriter.write(&sender, octets, sink)
    }

    fn try_finish<E>(&mut self, sink: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let Some(rewriting) = &mut self.rewriting else { return Ok(()) };
        let (rewriter, sender) = rewriting.sender();
        rewriter.finish(&sender, sink)
    }
}

/// A sink that always has room.
fn infallible(sink: &mut impl FnMut(&[u8])) -> impl FnMut(&[u8]) -> Result<(), Infallible> {
    |octets| {
        sink(octets);
        Ok(())
    }
}

impl Relay {
    /// What this group's route changes in messages from `reverse_path`.
    pub fn outgoing(&self, group: &Group, reverse_path: &str) -> Outgoing {
        let route = self.config.route.get(usize::from(group.key.route)).map(|route| &route.via);
        let address = match route {
            Some(Via::Smarthost(smarthost)) => smarthost.rewrite_sender.as_deref(),
            _ => None,
        };
        let rewriting = address.and_then(|address| {
            Some(Rewriting {
                address: String::try_from(address).ok()?,
                reverse_path: String::try_from(reverse_path).unwrap_or_default(),
                rewriter: Rewriter::default(),
            })
        });
        Outgoing { rewriting }
    }
}
