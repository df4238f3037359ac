//! The value of a `From:` field, and what it becomes.

use core::ops::Range;
use core::{slice, str};

use heapless::{String, Vec};

use super::{NAME_OCTETS, Sender};
use crate::limits::PATH_OCTETS;
use crate::mail::address_list::{Entry, List};
use crate::mail::lexer::{Lexer, Part};

/// Octets after which a line is folded where it can be (RFC 5322 2.1.1).
const LINE_OCTETS: usize = 78;

/// A value, read.
#[derive(Debug)]
pub(super) struct From<'a> {
    value: &'a [u8],
    first: Option<Mailbox>,
    /// The first address without its name.
    address: String<PATH_OCTETS>,
    addresses: u32,
    /// All of it are addresses with a domain.
    readable: bool,
}

/// Where the first mailbox stands in a value.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mailbox {
    /// Its name and the comments before its address, with blanks.
    before: Range<usize>,
    /// There are words in `before`.
    named: bool,
    /// From the address's first octet, `<` included, to its last.
    address: Range<usize>,
    /// Comments behind it, with blanks.
    behind: Range<usize>,
}

impl<'a> From<'a> {
    /// A whole value, without its last line end.
    pub fn whole(value: &'a [u8]) -> Self {
        Self::read(value, first_mailbox(value, true))
    }

    /// The beginning of a value that goes on.
    pub fn cut(value: &'a [u8]) -> Self {
        let first = first_mailbox(value, false);
        let known = first.as_ref().map_or(0, |first| first.behind.end);
        Self::read(&value[..known], first)
    }

    fn read(value: &'a [u8], first: Option<Mailbox>) -> Self {
        let mut from = Self { value, first, address: String::new(), addresses: 0, readable: true };
        let mut each = |entry: Entry<'_>| match entry {
            Entry::Address(address) => {
                if from.addresses == 0 {
                    from.address = String::try_from(address).unwrap_or_default();
                }
                from.addresses += 1;
                from.readable &= address.contains('@');
            }
            Entry::Unreadable(_) => from.readable = false,
        };
        let mut list = List::default();
        value.iter().for_each(|octet| list.push(*octet, &mut each));
        list.end(&mut each);
        from.readable &= from.addresses > 0 && from.first.is_some();
        from
    }

    /// True if all of it are addresses that can be answered.
    pub fn is_readable(&self) -> bool {
        self.readable
    }

    /// True if the author is the new sender already.
    fn is_right(&self, sender: &Sender<'_>) -> bool {
        self.readable && self.addresses == 1 && self.address.eq_ignore_ascii_case(sender.address)
    }

    /// What of the value makes a `Reply-To:`.
    pub fn answer(&self, sender: &Sender<'_>) -> Range<usize> {
        if self.readable && !self.is_right(sender) { 0..self.value.len() } else { 0..0 }
    }

    /// Writes the field with the new address.
    pub fn write<E>(
        &self,
        sender: &Sender<'_>,
        sink: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        sink(b"From:")?;
        if self.is_right(sender) {
            sink(self.value)?;
            return sink(b"\r\n");
        }
        let (mut before, mut behind): (&[u8], &[u8]) = (b"", b"");
        let mut named = false;
        if let Some(first) = &self.first {
            before = self.value[first.before.clone()].trim_ascii_end();
            behind = self.value[first.behind.clone()].trim_ascii_end();
            // Before RFC 822 had display names, comments told whose an address is.
            named = first.named || before.contains(&b'(') || behind.contains(&b'(');
        }
        let mut column = before.len() + "From:".len();
        if let Some(line) =
            before.rsplit(|octet| *octet == b'\n').next().filter(|line| line.len() < before.len())
        {
            column = line.len();
        }
        if before.first().is_some_and(|octet| !octet.is_ascii_whitespace()) {
            sink(b" ")?;
            column += 1;
        }
        sink(before)?;
        let name = if named { Vec::new() } else { self.device(sender) };
        if !name.is_empty() {
            sink(b" \"")?;
            sink(&name)?;
            sink(b"\"")?;
            column += name.len() + 3;
        }
        sink(if column + sender.address.len() + 3 > LINE_OCTETS { b"\r\n <" } else { b" <" })?;
        sink(sender.address.as_bytes())?;
        sink(b">")?;
        sink(behind)?;
        sink(b"\r\n")
    }

    /// The name of a device that has none, as it stands inside of quotes: its address, or what else
    /// its field says, or its reverse-path.
    fn device(&self, sender: &Sender<'_>) -> Vec<u8, { 2 * NAME_OCTETS }> {
        let text = match (&self.first, self.value.trim_ascii()) {
            (Some(_), _) if !self.address.is_empty() => self.address.as_bytes(),
            (_, b"") => sender.reverse_path.as_bytes(),
            (_, words) => words,
        };
        let mut cut = text.get(..NAME_OCTETS).unwrap_or(text);
        let is_utf8 = match str::from_utf8(cut) {
            Ok(_) => true,
            // The cut may have gone through a character.
            Err(e) if e.error_len().is_none() => {
                cut = &cut[..e.valid_up_to()];
                true
            }
            Err(_) => false,
        };
        let mut name = Vec::new();
        for octet in cut {
            let quoted: &[u8] = match octet {
                b'"' => b"\\\"",
                b'\\' => b"\\\\",
                // A fold keeps its blank.
                b'\r' | b'\n' => b"",
                b' '..=b'~' => slice::from_ref(octet),
                0x80.. if is_utf8 => slice::from_ref(octet),
                _ => b"?",
            };
            let fits = name.extend_from_slice(quoted);
            assert!(fits.is_ok(), "an octet becomes two at most");
        }
        name
    }
}

/// Where a reader of a value is.
#[derive(Clone, Copy, Debug)]
enum Place {
    Bare,
    /// Behind `<`, which stands there.
    Angle(usize),
    /// Behind `>`; both stand there.
    Behind(usize, usize),
}

/// What was read of the first mailbox.
#[derive(Debug)]
struct Reading {
    place: Place,
    /// Where it starts.
    start: usize,
    /// Words before `<`.
    words: Option<Range<usize>>,
    /// There are several that no dot or `@` joins.
    apart: bool,
    /// There is an `@` in them.
    at: bool,
}

impl Reading {
    const fn from(start: usize) -> Self {
        Self { place: Place::Bare, start, words: None, apart: false, at: false }
    }

    /// Takes a word's octet, which stands at `i`.
    fn word(&mut self, value: &[u8], i: usize, quoted: bool) {
        let joins = |octet: Option<&u8>| matches!(octet, Some(b'.' | b'@'));
        let words = self.words.get_or_insert(i..i);
        self.apart |= words.end < i && !joins(value.get(words.end - 1)) && !joins(value.get(i));
        words.end = i + 1;
        self.at |= value.get(i) == Some(&b'@') && !quoted;
    }

    /// What it is if it ends before `end`: `None` if it is nothing, or broken.
    fn mailbox(&self, end: usize) -> Option<Mailbox> {
        let Self { start, .. } = *self;
        match (self.place, self.words.clone()) {
            (Place::Behind(open, close), words) => Some(Mailbox {
                before: start..open,
                named: words.is_some(),
                address: open..close + 1,
                behind: close + 1..end,
            }),
            // No address, but a name.
            (Place::Bare, Some(words)) if !self.at => Some(Mailbox {
                before: start..words.end,
                named: true,
                address: words.end..words.end,
                behind: words.end..end,
            }),
            (Place::Bare, Some(words)) if !self.apart => Some(Mailbox {
                before: start..words.start,
                named: false,
                behind: words.end..end,
                address: words,
            }),
            (Place::Bare | Place::Angle(_), _) => None,
        }
    }
}

/// Finds the first mailbox, in a group or not; `None` if there is none, or it is broken. `whole`: the
/// value ends where the octets end.
fn first_mailbox(value: &[u8], whole: bool) -> Option<Mailbox> {
    let mut lexer = Lexer::default();
    let mut reading = Reading::from(0);
    for (i, &octet) in value.iter().enumerate() {
        match (lexer.push(octet), octet, reading.place) {
            (Part::Gap | Part::Inside, ..) => {}
            (Part::Text, _, Place::Bare) => reading.word(value, i, lexer.is_open()),
            (Part::Mark, b'<', Place::Bare) => reading.place = Place::Angle(i),
            (Part::Mark, b'>', Place::Angle(open)) if whole => reading.place = Place::Behind(open, i),
            (Part::Mark, b'>', Place::Angle(open)) => {
                reading.place = Place::Behind(open, i);
                return reading.mailbox(i + 1);
            }
            (Part::Mark, b':', Place::Bare) => reading = Reading::from(i + 1),
            (Part::Mark, b',' | b';', Place::Bare) if reading.words.is_none() => {
                reading = Reading::from(i + 1)
            }
            // Behind another address a comma is missing.
            (Part::Mark, b',' | b';', Place::Bare | Place::Behind(..))
            | (Part::Mark, b'<', Place::Behind(..)) => return reading.mailbox(i),
            (_, _, Place::Angle(_)) => {}
            (Part::Mark | Part::Text, ..) => return None,
        }
    }
    if whole && !lexer.is_open() { reading.mailbox(value.len()) } else { None }
}
