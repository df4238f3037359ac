//! The sender of a message is replaced while its header section streams by.
//!
//! Providers take mail only from the address of the account, and the devices of a house have
//! addresses that nobody outside can answer. So the author becomes the given address:
//!
//! - `From:` keeps its display name and comments; without any, the old address is the name, so that
//!   the reader sees which device wrote.
//! - What stood in `From:` becomes `Reply-To:`, at the end of the header section, if there was none and
//!   all of it are addresses that can be answered. What cannot be read is kept as `X-Original-From:`.
//! - `Sender:` names who sent the message for the author (RFC 5322 3.6.2), and that is the new address
//!   now: it becomes `X-Original-Sender:`.
//! - `Resent-` fields tell what happened before (RFC 5322 3.6.6) and stay.
//!
//! Only the value of `From:` is ever kept, as far as it fits; all else passes, and nothing is lost.

mod from;
#[cfg(test)]
mod tests;

use core::ops::Range;

use heapless::Vec;

use self::from::From;
use super::field::{Kind, LineStart};
use super::section::{Piece, Section};
use crate::limits::{FIELD_NAME_OCTETS, FROM_OCTETS, PATH_OCTETS};

/// Octets of a display name that is made of an address.
const NAME_OCTETS: usize = 64;

/// The sender, new and old; the same for all calls about one message.
#[derive(Clone, Copy, Debug)]
pub struct Sender<'a> {
    /// The new address: `local-part@domain`, no quotes in it.
    pub address: &'a str,
    /// The old reverse-path: it names the device if `From:` does not.
    pub reverse_path: &'a str,
}

/// Rewrites one message.
#[derive(Debug, Default)]
pub struct Rewriter {
    section: Section<Fate>,
    /// The value of `From:`; `None` before the field.
    from: Option<Vec<u8, FROM_OCTETS>>,
    /// What of it makes a `Reply-To:`.
    answer: Range<usize>,
    /// There is a `Reply-To:`.
    answered: bool,
}

/// What becomes of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It passes.
    Passed,
    /// It is the author's: its value is kept until it is whole.
    Kept,
}

impl Rewriter {
    /// Octets that come out more than went in at most, for [`Rewriter::write`] of one octet: what was
    /// kept, the field that is made of it, and its copies.
    pub const GROWTH: usize = 3 * FROM_OCTETS + PATH_OCTETS + 2 * NAME_OCTETS + FIELD_NAME_OCTETS + 64;
    /// Every octet of a header section can become so many: `From:` is renamed.
    pub const RATIO: usize = 3;

    /// True if the header section is over: what comes now passes as it is.
    pub fn is_over(&self) -> bool {
        matches!(self.section, Section::Body)
    }

    /// Takes content (clean CRLF lines, split anywhere) and gives what it becomes to `sink`.
    ///
    /// # Errors
    /// Those of `sink`.
    pub fn write<E>(
        &mut self,
        sender: &Sender<'_>,
        octets: &[u8],
        sink: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut section = core::mem::replace(&mut self.section, Section::Body);
        section.follow(octets, |piece| match piece {
            Piece::Line(kind, start, before) => self.line(sender, kind, start, before, sink),
            Piece::More(fate, octets) => self.value(sender, fate, octets, sink).map(Section::Field),
            Piece::Body(octets) => sink(octets).map(|()| Section::Body),
        })?;
        self.section = section;
        Ok(())
    }

    /// The content is complete; it may have ended inside its header section.
    ///
    /// # Errors
    /// Those of `sink`.
    pub fn finish<E>(
        &mut self,
        sender: &Sender<'_>,
        sink: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        match core::mem::replace(&mut self.section, Section::Body) {
            Section::Body => Ok(()),
            Section::Start { start, before } if start.octets().is_empty() => {
                self.author(sender, before, sink)?;
                self.complete(sender, sink)
            }
            Section::Start { start, before } => self.line(sender, Kind::Text, &start, before, sink).map(drop),
            Section::Field(fate) => {
                if fate == Fate::Passed {
                    sink(b"\r\n")?;
                }
                self.author(sender, Some(fate), sink)?;
                self.complete(sender, sink)
            }
        }
    }

    /// The state behind the start of a line of known kind.
    fn line<E>(
        &mut self,
        sender: &Sender<'_>,
        kind: Kind,
        start: &LineStart,
        before: Option<Fate>,
        sink: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<Section<Fate>, E> {
        if kind == Kind::Continuation {
            let before = before.unwrap_or(Fate::Passed);
            return self.value(sender, before, start.octets(), sink).map(Section::Field);
        }
        self.author(sender, before, sink)?;
        match kind {
            Kind::Field | Kind::Continuation => self.field(start, sink).map(Section::Field),
            Kind::Blank => {
                self.complete(sender, sink)?;
                sink(start.octets())?;
                Ok(Section::Body)
            }
            // The line is the body's first: without an empty line it would be part of our fields.
            Kind::Text => {
                self.complete(sender, sink)?;
                sink(b"\r\n")?;
                sink(start.octets())?;
                Ok(Section::Body)
            }
        }
    }

    /// A field begins.
    fn field<E>(
        &mut self,
        start: &LineStart,
        sink: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<Fate, E> {
        let is_from = start.is("From");
        if is_from && self.from.is_none() {
            self.from = Some(Vec::new());
            return Ok(Fate::Kept);
        }
        self.answered |= start.is("Reply-To");
        // Two authors' fields are no message (RFC 5322 3.6): the second is only told of.
        if is_from || start.is("Sender") {
            sink(b"X-Original-")?;
        }
        sink(start.octets())?;
        Ok(Fate::Passed)
    }

    /// Octets of a field's value: what becomes of those that follow.
    fn value<E>(
        &mut self,
        sender: &Sender<'_>,
        fate: Fate,
        octets: &[u8],
        sink: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<Fate, E> {
        let Some(value) = self.from.as_mut().filter(|_| fate == Fate::Kept) else {
            sink(octets)?;
            return Ok(Fate::Passed);
        };
        let (fitting, rest) = octets.split_at(octets.len().min(FROM_OCTETS - value.len()));
        let _ = value.extend_from_slice(fitting);
        if rest.is_empty() {
            return Ok(Fate::Kept);
        }
        // Too long: a safe form goes out, and the field as it was behind it.
        let from = From::cut(value);
        from.write(sender, sink)?;
        self.answer = from.answer(sender);
        sink(b"X-Original-From:")?;
        sink(value)?;
        sink(rest)?;
        Ok(Fate::Passed)
    }

    /// The author's field goes out, if it is what stands before.
    fn author<E>(
        &mut self,
        sender: &Sender<'_>,
        before: Option<Fate>,
        sink: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(value) = self.from.as_ref().filter(|_| before == Some(Fate::Kept)) else { return Ok(()) };
        let value = value.trim_ascii_end();
        let from = From::whole(value);
        from.write(sender, sink)?;
        if !from.is_readable() && !value.is_empty() {
            sink(b"X-Original-From:")?;
            sink(value)?;
            sink(b"\r\n")?;
        }
        self.answer = from.answer(sender);
        Ok(())
    }

    /// Adds what is missing at the end of the header section.
    fn complete<E>(
        &self,
        sender: &Sender<'_>,
        sink: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(value) = &self.from else { return From::whole(b"").write(sender, sink) };
        let answer = value.get(self.answer.clone()).unwrap_or_default();
        if self.answered || answer.is_empty() {
            return Ok(());
        }
        sink(b"Reply-To:")?;
        if !answer.first().is_some_and(u8::is_ascii_whitespace) {
            sink(b" ")?;
        }
        sink(answer)?;
        sink(b"\r\n")
    }
}
