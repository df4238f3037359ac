//! The last part of a notice: the message it is about, or its header section.

use super::shown::{BOUNDARY, Boundary, Octets};
use super::{Notice, Returned};
use crate::mail::field::{Kind, LineStart, put};

/// Octets of a line of the original header that are passed on (RFC 5322 2.1.1 allows 998).
pub(super) const LINE_OCTETS: usize = 900;

/// What must be known of content before all of it can be put into a notice.
#[derive(Debug, Default)]
pub struct Preview {
    eight_bit: bool,
    clashes: bool,
    /// Octets of the present line that are those of a boundary line; `None`: it is another line.
    matched: Option<usize>,
    begun: bool,
}

/// The message that a notice is about, as much of it as comes back.
#[derive(Debug)]
pub struct Original<S> {
    /// The notice's id, for the boundary.
    id: heapless::String<48>,
    utf8: bool,
    sink: S,
    place: Place,
}

/// Where in it.
#[derive(Debug)]
enum Place {
    /// Everything is passed on; the last two octets were these.
    Whole([u8; 2]),
    /// At the start of a line of the header.
    Start(LineStart),
    /// Inside a line of the header of which so many octets were passed on.
    Field(usize),
    /// The header is over.
    Complete,
}

impl Preview {
    /// Takes content from its start, split anywhere.
    pub fn read(&mut self, octets: &[u8]) {
        self.eight_bit |= !octets.is_ascii();
        let line = || b"--".iter().chain(BOUNDARY.as_bytes());
        for octet in octets {
            if !self.begun {
                (self.begun, self.matched) = (true, Some(0));
            }
            self.matched = match (self.matched, octet) {
                (_, b'\n') => Some(0),
                (Some(at), octet) if line().nth(at) == Some(octet) => Some(at + 1),
                _ => None,
            };
            self.clashes |= self.matched == Some(2 + BOUNDARY.len());
        }
    }

    /// True if there are octets beyond ASCII.
    pub fn is_eight_bit(&self) -> bool {
        self.eight_bit
    }

    /// True if a line could be taken for a boundary: only the header can come back then.
    pub fn clashes(&self) -> bool {
        self.clashes
    }
}

impl<S> Original<S> {
    pub(super) fn new(notice: &Notice<'_>, sink: S) -> Self {
        let mut id = heapless::String::new();
        // What does not fit does not stand in the boundary either.
        notice.id.chars().for_each(|c| drop(id.push(c)));
        let place = match notice.returned {
            Returned::Message => Place::Whole(*b"\r\n"),
            Returned::Header => Place::Start(LineStart::new()),
        };
        Self { id, utf8: notice.utf8, sink, place }
    }
}

impl<E, S: FnMut(&[u8]) -> Result<(), E>> Original<S> {
    /// Takes content of the message, from its start, split anywhere.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn write(&mut self, octets: &[u8]) -> Result<(), E> {
        let mut rest = octets;
        while let Some((&octet, after)) = rest.split_first() {
            match &mut self.place {
                Place::Whole(last) => {
                    *last = match rest {
                        [.., a, b] => [*a, *b],
                        _ => [last[1], octet],
                    };
                    return (self.sink)(rest);
                }
                Place::Complete => break,
                Place::Start(start) => {
                    rest = after;
                    let Some(kind) = start.push(octet) else { continue };
                    // A line of two dashes could be taken for the boundary (RFC 2046 5.1.1).
                    let passed = match kind {
                        Kind::Field => !start.octets().starts_with(b"--"),
                        Kind::Continuation => true,
                        Kind::Blank | Kind::Text => false,
                    };
                    if !passed {
                        self.place = Place::Complete;
                        break;
                    }
                    let passed = start.octets().len();
                    (self.sink)(start.octets())?;
                    self.place = Place::Field(passed);
                }
                Place::Field(passed) => {
                    let end = rest.iter().position(|octet| *octet == b'\n');
                    let (line, after) = rest.split_at(end.unwrap_or(rest.len()));
                    let line = line.strip_suffix(b"\r").unwrap_or(line);
                    let line = line.get(..LINE_OCTETS.saturating_sub(*passed)).unwrap_or(line);
                    Octets { octets: line, utf8: self.utf8 }.put(&mut self.sink)?;
                    *passed += line.len();
                    rest = after;
                    if end.is_some() {
                        (self.sink)(b"\r\n")?;
                        self.place = Place::Start(LineStart::new());
                        rest = rest.get(1..).unwrap_or_default();
                    }
                }
            }
        }
        Ok(())
    }

    /// True if no more content is needed.
    pub fn is_complete(&self) -> bool {
        matches!(self.place, Place::Complete)
    }

    /// Ends the notice, also if not all of the content came.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn end(mut self) -> Result<(), E> {
        match self.place {
            Place::Field(_) => (self.sink)(b"\r\n")?,
            Place::Whole(last) if last != *b"\r\n" => (self.sink)(b"\r\n")?,
            Place::Whole(_) | Place::Start(_) | Place::Complete => {}
        }
        put(&mut self.sink, format_args!("\r\n--{}--\r\n", Boundary(&self.id)))
    }
}
