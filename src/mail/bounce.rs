//! Bounces: the report to the sender that a message could not be delivered (RFC 3464, RFC 6522).
//!
//! ```text
//! let mut text = Bounce { .. }.begin(sink)?;
//! for each failed recipient { text.recipient(&failure)?; }
//! let mut status = text.status()?;
//! for each failed recipient { status.recipient(&failure)?; }
//! let mut original = status.original()?;
//! while content and !original.is_complete() { original.write(octets)?; }
//! original.end()?;
//! ```
#![allow(unused_variables, dead_code, clippy::missing_errors_doc)]

use super::date::Date;
use crate::smtp::reply::Reply;

/// What a bounce says about the message.
#[derive(Clone, Copy, Debug)]
pub struct Bounce<'a> {
    /// The reverse-path it goes to; never empty: there is no bounce for `<>`.
    pub reverse_path: &'a str,
    /// Our name.
    pub hostname: &'a str,
    /// The bounce's own queue id.
    pub id: &'a str,
    /// The queue id of the message that failed.
    pub original_id: &'a str,
    /// ENVID of the message that failed, as xtext; empty: none.
    pub envid: &'a str,
    /// When the message that failed arrived.
    pub arrival: Date,
    /// Now.
    pub date: Date,
}

/// A recipient that failed.
#[derive(Clone, Copy, Debug)]
pub struct Failure<'a> {
    /// Its forward-path.
    pub forward_path: &'a str,
    /// Its ORCPT, `type;xtext`; empty: none.
    pub orcpt: &'a str,
    /// Why.
    pub reply: &'a Reply,
    /// The host that said so; empty: we.
    pub remote: &'a str,
}

/// The part for people.
#[derive(Debug)]
pub struct Text<'a, S> {
    bounce: Bounce<'a>,
    sink: S,
}

/// The part for programs.
#[derive(Debug)]
pub struct Status<'a, S> {
    bounce: Bounce<'a>,
    sink: S,
}

/// The header section of the message that failed.
#[derive(Debug)]
pub struct Original<'a, S> {
    bounce: Bounce<'a>,
    sink: S,
}

impl<'a> Bounce<'a> {
    /// Begins the message: its header and the first sentences.
    pub fn begin<E, S: FnMut(&[u8]) -> Result<(), E>>(self, sink: S) -> Result<Text<'a, S>, E> {
        todo!()
    }
}

impl<'a, E, S: FnMut(&[u8]) -> Result<(), E>> Text<'a, S> {
    /// Tells of one recipient.
    pub fn recipient(&mut self, failure: &Failure<'_>) -> Result<(), E> {
        todo!()
    }
    /// Goes on to the next part.
    pub fn status(self) -> Result<Status<'a, S>, E> {
        todo!()
    }
}

impl<'a, E, S: FnMut(&[u8]) -> Result<(), E>> Status<'a, S> {
    /// Tells of one recipient.
    pub fn recipient(&mut self, failure: &Failure<'_>) -> Result<(), E> {
        todo!()
    }
    /// Goes on to the next part.
    pub fn original(self) -> Result<Original<'a, S>, E> {
        todo!()
    }
}

impl<E, S: FnMut(&[u8]) -> Result<(), E>> Original<'_, S> {
    /// Takes content of the message that failed, from its start, split anywhere; only its header section
    /// is passed on.
    pub fn write(&mut self, octets: &[u8]) -> Result<(), E> {
        todo!()
    }
    /// True if the header section is over: no more content is needed.
    pub fn is_complete(&self) -> bool {
        todo!()
    }
    /// Ends the bounce.
    pub fn end(self) -> Result<(), E> {
        todo!()
    }
}
