//! One attempt: what has to be read of a message to send it to one group of its recipients.

use std::ops::ControlFlow;

use heapless::String;

use super::Relay;
use super::recipients::Recipients;
use super::round::{Custody, Group};
use crate::limits::{ENVID_OCTETS, HOST_OCTETS, PATH_OCTETS};
use crate::smtp::address::Address;
use crate::smtp::client::{Recipient, Transaction};
use crate::smtp::command::{Body, Ret};
use crate::spool::{ContentSum, Cursor, Damage, Head, Line, Place};

/// A message on its way to a group, as far as it was read.
#[derive(Debug)]
pub struct Attempt {
    /// To whom.
    pub group: Group,
    head: Head,
    envelope: Sender,
    /// Content octets read, and their sum.
    offset: u64,
    sum: ContentSum,
    /// Behind the recipient that was read last.
    cursor: Cursor,
}

/// The part of an envelope that stands before its recipients.
#[derive(Clone, Debug, Default)]
pub struct Sender {
    /// The reverse-path.
    pub reverse_path: String<PATH_OCTETS>,
    /// ENVID as it came.
    pub envid: String<ENVID_OCTETS>,
    /// BODY.
    pub body: Body,
    /// SMTPUTF8.
    pub smtputf8: bool,
    /// RET.
    pub ret: Option<Ret>,
}

impl Sender {
    /// Takes what this line says; false for a recipient's.
    pub fn take(&mut self, line: &Line<'_>) -> bool {
        match line {
            Line::From(path) => self.reverse_path = String::try_from(*path).unwrap_or_default(),
            Line::Envid(envid) => self.envid = String::try_from(*envid).unwrap_or_default(),
            Line::Body(body) => self.body = *body,
            Line::SmtpUtf8 => self.smtputf8 = true,
            Line::Ret(ret) => self.ret = Some(*ret),
            Line::Client(_) | Line::Helo(_) | Line::Protocol(_) | Line::User(_) => {}
            Line::To { .. } => return false,
        }
        true
    }
}

impl Attempt {
    /// When the message came.
    pub fn arrived_unix_s(&self) -> u64 {
        self.head.arrived_unix_s
    }

    /// What MAIL says, for that many recipients.
    pub fn transaction(&self, recipients: u16) -> Transaction<'_> {
        Transaction {
            reverse_path: &self.envelope.reverse_path,
            octets: self.head.content_octets,
            body: self.envelope.body,
            smtputf8: self.envelope.smtputf8,
            ret: self.envelope.ret,
            envid: &self.envelope.envid,
            recipients,
        }
    }

    /// MAIL said SMTPUTF8.
    pub fn smtputf8(&self) -> bool {
        self.envelope.smtputf8
    }

    /// The reverse-path.
    pub fn reverse_path(&self) -> &str {
        &self.envelope.reverse_path
    }

    /// Starts over: the next read gives the content from its start, and any recipient can be named.
    pub fn rewind(&mut self) {
        self.offset = 0;
        self.sum = ContentSum::new(&self.head);
        self.cursor = Cursor::default();
    }
}

impl Relay {
    /// Where a group's message lies now: one that is passed on first moves into the spool meanwhile,
    /// the same to the octet, or is given back.
    fn place(&mut self, group: &Group) -> Result<Place, Damage> {
        let round = self.rounds.at(group.round);
        if round.custody == Custody::Returned { Err(Damage::Missing) } else { Ok(round.place) }
    }

    /// Opens the message of a group. Its envelope is whole.
    pub fn attempt(&mut self, group: &Group) -> Result<Attempt, Damage> {
        let place = self.place(group)?;
        let mut envelope = Sender::default();
        let head = self.store.reader().read_envelope(place, Cursor::default(), &mut |line, _| {
            if envelope.take(&line) { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        let sum = ContentSum::new(&head);
        Ok(Attempt { group: *group, head, envelope, offset: 0, sum, cursor: Cursor::default() })
    }

    /// Names recipient `who` of the message; recipients are named in rising order.
    pub fn name(
        &mut self,
        attempt: &mut Attempt,
        who: u16,
        mut to: impl FnMut(&Recipient<'_>),
    ) -> Result<(), Damage> {
        let mut named = false;
        let mut behind = attempt.cursor;
        let place = self.place(&attempt.group)?;
        self.store.reader().read_envelope(place, attempt.cursor, &mut |line, cursor| {
            behind = cursor;
            match line {
                Line::To { number, path, notify, orcpt, .. } if number == who => {
                    to(&Recipient { forward_path: path, notify, orcpt });
                    named = true;
                    ControlFlow::Break(())
                }
                _ => ControlFlow::Continue(()),
            }
        })?;
        attempt.cursor = behind;
        if named { Ok(()) } else { Err(Damage::Envelope) }
    }

    /// Which of these recipients have octets above 127 in their addresses.
    pub fn wide(&mut self, attempt: &mut Attempt, who: &Recipients) -> Result<Recipients, Damage> {
        let mut wide = Recipients::none();
        attempt.rewind();
        for one in who.iter() {
            self.name(attempt, one, |recipient| {
                if !recipient.forward_path.is_ascii() {
                    wide.add(one);
                }
            })?;
        }
        Ok(wide)
    }

    /// The domain that the group's recipients are in, by the first of them; empty if it can't be read,
    /// which the next step finds out.
    pub fn domain(&mut self, attempt: &mut Attempt) -> String<HOST_OCTETS> {
        let mut domain = String::new();
        if let Some(first) = attempt.group.who.nth(0) {
            let _ = self.name(attempt, first, |recipient| {
                if let Some(address) = Address::parse(recipient.forward_path) {
                    domain = String::try_from(address.domain).unwrap_or_default();
                }
            });
        }
        attempt.rewind();
        domain
    }

    /// Reads the next piece of content; 0 at its end, and only if all of it was right: nothing may be
    /// called complete on the word of a broken disk.
    pub fn read(&mut self, attempt: &mut Attempt, room: &mut [u8]) -> Result<usize, Damage> {
        let place = self.place(&attempt.group)?;
        let n = self.store.reader().read_content(place, &attempt.head, attempt.offset, room)?;
        if n == 0 {
            return if attempt.sum.is_right() { Ok(0) } else { Err(Damage::Content) };
        }
        attempt.offset += n as u64;
        attempt.sum.add(&room[..n]);
        Ok(n)
    }
}
