//! What becomes of a message's content as it comes in: its header is completed and its sender
//! rewritten.
//!
//! Three filters stand in a row, each of which looks at nothing but the header section: the scanner
//! adds the fields that are missing, the qualifier completes the addresses of clients that are
//! taken as they are, the rewriter puts the address of a `[[client]]` into the place of the sender.

use heapless::String;

use super::client::Client;
use super::destination::Key;
use crate::config::Config;
use crate::limits::PATH_OCTETS;
use crate::mail::date::Date;
use crate::mail::header::{Missing, Rules, Scanner};
use crate::mail::qualify::Qualifier;
use crate::mail::rewrite::{Rewriter, Sender};
use crate::smtp::server::{Role, Session};
use crate::spool::Id;

/// What a slot's open transaction needs beside the spool's own record.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    scanner: Scanner,
    /// The client is taken as it is.
    qualifier: Option<Qualifier>,
    rewriter: Option<Rewriter>,
    pub(super) about: About,
}

#[derive(Debug, Default)]
pub(super) struct About {
    pub(super) id: Id,
    /// The header gets what it lacks: the client is ours to help.
    completes: bool,
    /// `None` while the clock can't be believed.
    pub(super) date: Option<Date>,
    /// The reverse-path as it came, for a `From:` that is missing.
    pub(super) from: String<PATH_OCTETS>,
    /// What the client's sender becomes; empty: it stays.
    pub(super) sender: String<PATH_OCTETS>,
    /// Where the first recipient goes.
    pub(super) key: Key,
    /// The first recipient, for the trace field: it is named only if it stays the only one.
    pub(super) first: String<PATH_OCTETS>,
}

impl About {
    /// The reverse-path that is kept. The null one stays: what is sent under it must never be
    /// answered (RFC 5321 4.5.5).
    pub(super) fn reverse_path(&self) -> &str {
        if self.from.is_empty() || self.sender.is_empty() { &self.from } else { &self.sender }
    }

    fn rules<'a>(&'a self, config: &'a Config, id: &'a str) -> Rules<'a> {
        let from = if self.from.is_empty() { config.postmaster.as_str() } else { &self.from };
        let missing = Missing { date: self.date, id, hostname: &config.hostname, from };
        Rules { missing: self.completes.then_some(missing), drop_bcc: false, drop_return_path: true }
    }
}

impl Incoming {
    /// Where the first recipient goes.
    pub(super) fn key(&self) -> Key {
        self.about.key
    }

    /// The ways have changed while it comes in.
    pub(super) fn forget_way(&mut self) {
        self.about.key = Key::NOWHERE;
    }

    /// True if the message must be going in circles.
    pub(super) fn is_looping(&self) -> bool {
        self.scanner.is_looping()
    }

    /// Content comes from this client.
    pub(super) fn begin_content(&mut self, client: &Client, session: &Session) {
        self.scanner = Scanner::new();
        self.qualifier = client.tolerant.then(Qualifier::default);
        self.rewriter = (!self.about.sender.is_empty()).then(Rewriter::default);
        self.about.completes = client.tolerant || client.role == Role::Submission || session.user().is_some();
    }

    /// Takes content as it comes and gives what is to be stored to `sink`.
    pub(super) fn write<E>(
        &mut self,
        config: &Config,
        octets: &[u8],
        sink: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.pass(config, Some(octets), sink)
    }

    /// The content is complete.
    pub(super) fn finish<E>(
        &mut self,
        config: &Config,
        sink: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.pass(config, None, sink)
    }

    /// Lets octets, or the end, through the row of filters.
    fn pass<E>(
        &mut self,
        config: &Config,
        octets: Option<&[u8]>,
        sink: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let Self { scanner, qualifier, rewriter, about } = self;
        let id = about.id.text();
        let rules = about.rules(config, &id);
        let sender = Sender { address: &about.sender, reverse_path: &about.from };
        let mut rewrite = |octets: &[u8]| match rewriter {
            Some(rewriter) => rewriter.write(&sender, octets, sink),
            None => sink(octets),
        };
        let mut qualify = |octets: &[u8]| match qualifier {
            Some(qualifier) => qualifier.write(&config.hostname, octets, &mut rewrite),
            None => rewrite(octets),
        };
        if let Some(octets) = octets {
            return scanner.write(&rules, octets, &mut qualify);
        }
        scanner.finish(&rules, &mut qualify)?;
        if let Some(qualifier) = qualifier {
            qualifier.finish(&config.hostname, &mut rewrite)?;
        }
        match rewriter {
            Some(rewriter) => rewriter.finish(&sender, sink),
            None => Ok(()),
        }
    }
}
