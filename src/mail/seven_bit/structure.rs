//! The entities of a message (RFC 2045 2.4), told apart while it streams by.
//!
//! A message, each part of a multipart body and each attached message is an entity: a header section
//! and a body. They are numbered in the order in which they begin. What a reader could understand in
//! another way than this one does is a fault, and a message with a fault is not touched at all.

use heapless::Vec;

use super::content_type::{Boundary, Encoding, Kind};
use crate::limits::{BOUNDARY_OCTETS, CONTENT_TYPE_OCTETS, MIME_DEPTH};
use crate::mail::field::{self, LineStart};

/// Octets of a line that may be a delimiter: hyphens before and behind, and some blanks.
const DELIMITER_OCTETS: usize = BOUNDARY_OCTETS + 12;

/// What octets are. All octets of a message come in events, in their order.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event<'a> {
    /// Of the `Content-Transfer-Encoding:` field of the entity of that number, with its line end.
    Encoding(u16, &'a [u8]),
    /// The fields of an entity are all out, the empty line behind them is not. No octets.
    Header(Entity),
    /// Of the entity's body, which is none of the structure's.
    Body(&'a [u8]),
    /// The body is over. No octets.
    End,
    /// Anything else: other fields, delimiters, what stands before and behind parts.
    Frame(&'a [u8]),
}

/// An entity, by its header section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entity {
    pub number: u16,
    pub shape: Shape,
    pub encoding: Encoding,
    /// It is a message, and does not say that it has the form of MIME (RFC 2045 4).
    pub lacks_version: bool,
}

/// What an entity's body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Text; encoded as its header says.
    Text,
    /// Octets that are no text.
    Octets,
    /// Other entities, which come next.
    Entities,
    /// Not to be touched.
    Sealed,
}

/// Follows one message.
#[derive(Debug)]
pub(super) struct Structure {
    state: State,
    /// Of the multipart bodies around, the innermost last.
    boundaries: Vec<Boundary, MIME_DEPTH>,
    /// The present entity's.
    number: u16,
    header: Header,
    /// A line of a body has ended: its CRLF is part of what comes next, a line or a delimiter.
    line_end: bool,
    /// It may be read in more than one way.
    faulty: bool,
}

#[derive(Debug)]
enum State {
    /// At the start of a line of a header section, behind a field.
    Start { start: LineStart, before: Field },
    /// Inside a field.
    Field(Field),
    /// At the start of a line of a body: it may be a delimiter.
    Line(Part, Vec<u8, DELIMITER_OCTETS>),
    /// Inside a line of a body; behind a CR or not.
    Inside(Part, bool),
}

/// Which field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    /// None: the header section begins.
    Nothing,
    Encoding,
    Type,
    Other,
}

/// What lines of a body are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// The entity's.
    Body,
    /// Before the first part or behind the last: nobody's (RFC 2046 5.1.1).
    Between,
}

/// What is known of a header section.
#[derive(Debug, Default)]
struct Header {
    is_part: bool,
    versioned: bool,
    kind: Option<Kind>,
    encoding: Option<Encoding>,
    /// The value of the present field, if it is one that counts.
    value: Vec<u8, CONTENT_TYPE_OCTETS>,
    /// It is longer.
    cut: bool,
}

const START: State = State::Start { start: LineStart::new(), before: Field::Nothing };

impl Default for Structure {
    fn default() -> Self {
        Self {
            state: START,
            boundaries: Vec::new(),
            number: 0,
            header: Header::default(),
            line_end: false,
            faulty: false,
        }
    }
}

impl Structure {
    /// Octets that may be held back.
    pub const HELD: usize = DELIMITER_OCTETS + 4;

    /// True if the message may be read in more than one way.
    pub fn is_faulty(&self) -> bool {
        self.faulty
    }

    /// Takes content (clean CRLF lines, split anywhere); `each` sees what it is.
    pub fn read<E>(
        &mut self,
        octets: &[u8],
        each: &mut impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut rest = octets;
        while let Some((&octet, after)) = rest.split_first() {
            match &mut self.state {
                State::Start { start, before } => {
                    rest = after;
                    if let Some(kind) = start.push(octet) {
                        let (start, before) = (core::mem::take(start), *before);
                        self.header_line(kind, &start, before, each)?;
                    }
                }
                State::Field(field) => {
                    let field = *field;
                    let end = rest.iter().position(|octet| *octet == b'\n');
                    let (line, after) = rest.split_at(end.map_or(rest.len(), |end| end + 1));
                    self.field_octets(field, line, each)?;
                    if end.is_some() {
                        self.state = State::Start { start: LineStart::new(), before: field };
                    }
                    rest = after;
                }
                State::Line(part, line) => {
                    let part = *part;
                    if line.is_empty() && (octet != b'-' || self.boundaries.is_empty()) {
                        self.enter_line(part, each)?;
                        continue;
                    }
                    let kept = line.push(octet).is_ok();
                    rest = if kept { after } else { rest };
                    let line = core::mem::take(line);
                    self.body_line(part, line, kept, each)?;
                }
                State::Inside(part, cr) => {
                    let (part, cr) = (*part, *cr);
                    rest = self.inside(part, cr, rest, each)?;
                }
            }
        }
        Ok(())
    }

    /// The content is complete.
    pub fn finish<E>(&mut self, each: &mut impl FnMut(Event<'_>) -> Result<(), E>) -> Result<(), E> {
        match core::mem::replace(&mut self.state, START) {
            State::Start { start, .. } => each(Event::Frame(start.octets())),
            State::Field(_) => Ok(()),
            State::Line(part, line) => {
                if !line.is_empty() {
                    self.faulty |= self.delimiter(&line).is_some();
                    self.enter_line(part, each)?;
                    tell(part, &line, each)?;
                } else if self.line_end {
                    tell(part, b"\r\n", each)?;
                }
                self.end(part, each)
            }
            State::Inside(part, cr) => {
                if cr {
                    tell(part, b"\r", each)?;
                }
                self.end(part, each)
            }
        }
    }

    /// Octets inside a field.
    fn field_octets<E>(
        &mut self,
        field: Field,
        octets: &[u8],
        each: &mut impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if matches!(field, Field::Encoding | Field::Type) {
            let Header { value, cut, .. } = &mut self.header;
            let room = octets.len().min(value.capacity() - value.len());
            let fits = value.extend_from_slice(&octets[..room]);
            *cut |= room < octets.len() || fits.is_err();
        }
        match field {
            Field::Encoding => each(Event::Encoding(self.number, octets)),
            _ => each(Event::Frame(octets)),
        }
    }

    /// A line of a header section begins.
    fn header_line<E>(
        &mut self,
        kind: field::Kind,
        start: &LineStart,
        before: Field,
        each: &mut impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if kind == field::Kind::Continuation && before != Field::Nothing {
            self.field_octets(before, start.octets(), each)?;
            self.state = State::Field(before);
            return Ok(());
        }
        self.field_ends(before);
        match kind {
            field::Kind::Blank => self.header_ends(start, each),
            field::Kind::Field => {
                // Others would take this for a delimiter.
                self.faulty |= start.octets().starts_with(b"--");
                self.header.versioned |= start.is("MIME-Version");
                let field = if start.is("Content-Transfer-Encoding") {
                    Field::Encoding
                } else if start.is("Content-Type") {
                    Field::Type
                } else {
                    Field::Other
                };
                self.state = State::Field(field);
                match field {
                    Field::Encoding => each(Event::Encoding(self.number, start.octets())),
                    _ => each(Event::Frame(start.octets())),
                }
            }
            // Where this header section ends is anybody's guess.
            field::Kind::Text | field::Kind::Continuation => {
                self.faulty = true;
                self.boundaries.clear();
                self.state = State::Inside(Part::Between, false);
                each(Event::Frame(start.octets()))
            }
        }
    }

    /// A field is whole.
    fn field_ends(&mut self, field: Field) {
        let Header { value, cut, kind, encoding, .. } = &mut self.header;
        let is_second = match field {
            Field::Type => kind.replace(Kind::parse(value, *cut)).is_some(),
            Field::Encoding if *cut => encoding.replace(Encoding::Encoded).is_some(),
            Field::Encoding => encoding.replace(Encoding::parse(value)).is_some(),
            Field::Nothing | Field::Other => false,
        };
        self.faulty |= is_second;
        value.clear();
        *cut = false;
    }

    /// A header section is whole; `line` is the empty line behind it.
    fn header_ends<E>(
        &mut self,
        line: &LineStart,
        each: &mut impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let header = core::mem::take(&mut self.header);
        let encoding = header.encoding.unwrap_or_default();
        let mut next = State::Line(Part::Body, Vec::new());
        let shape = match header.kind {
            Some(Kind::Text) | None => Shape::Text,
            Some(Kind::Other) => Shape::Octets,
            Some(Kind::Message) if encoding != Encoding::Encoded => {
                next = START;
                Shape::Entities
            }
            Some(Kind::Multipart(boundary)) if encoding != Encoding::Encoded => {
                next = State::Line(Part::Between, Vec::new());
                self.faulty |= !self.nest(boundary);
                Shape::Entities
            }
            Some(Kind::Message | Kind::Multipart(_) | Kind::Sealed) => Shape::Sealed,
        };
        let lacks_version = !header.is_part && !header.versioned;
        each(Event::Header(Entity { number: self.number, shape, encoding, lacks_version }))?;
        self.line_end = false;
        self.state = next;
        if matches!(self.state, State::Start { .. }) {
            self.number = self.number.saturating_add(1);
        }
        each(Event::Frame(line.octets()))
    }

    /// The parts of a multipart body follow; false if they can't be told apart.
    fn nest(&mut self, boundary: Option<Boundary>) -> bool {
        let Some(boundary) = boundary else { return false };
        !self.boundaries.contains(&boundary) && self.boundaries.push(boundary).is_ok()
    }

    /// The line is none of the structure's: gives on what was held back of the one before.
    fn enter_line<E>(
        &mut self,
        part: Part,
        each: &mut impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.state = State::Inside(part, false);
        if core::mem::take(&mut self.line_end) { tell(part, b"\r\n", each) } else { Ok(()) }
    }

    /// Goes on with a line that may be a delimiter; `kept`: it still fits.
    fn body_line<E>(
        &mut self,
        part: Part,
        line: Vec<u8, DELIMITER_OCTETS>,
        kept: bool,
        each: &mut impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let may_be = kept && line.iter().zip(b"--").all(|(octet, hyphen)| octet == hyphen);
        if may_be && !line.ends_with(b"\n") {
            self.state = State::Line(part, line);
            return Ok(());
        }
        match self.delimiter(&line) {
            Some(Delimiter::Open(depth)) if may_be => {
                self.boundaries.truncate(depth + 1);
                self.delimited(part, &line, each)?;
                self.number = self.number.saturating_add(1);
                self.header = Header { is_part: true, ..Header::default() };
                self.state = START;
                Ok(())
            }
            Some(Delimiter::Close(depth)) if may_be => {
                self.boundaries.truncate(depth);
                self.delimited(part, &line, each)?;
                self.state = State::Line(Part::Between, Vec::new());
                Ok(())
            }
            found => {
                // Some readers compare only the beginning of the line (RFC 2046 5.1.1).
                self.faulty |= found.is_some();
                self.enter_line(part, each)?;
                // It goes through as text: what may end it is its last octet.
                self.read(&line, each)
            }
        }
    }

    /// The line is a delimiter, and the line end before it is part of it.
    fn delimited<E>(
        &mut self,
        part: Part,
        line: &[u8],
        each: &mut impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.end(part, each)?;
        if core::mem::take(&mut self.line_end) {
            each(Event::Frame(b"\r\n"))?;
        }
        each(Event::Frame(line))
    }

    /// Goes on inside a line, behind a CR or not, at most to the next CR: the octets behind that.
    fn inside<'a, E>(
        &mut self,
        part: Part,
        cr: bool,
        octets: &'a [u8],
        each: &mut impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<&'a [u8], E> {
        match octets.strip_prefix(b"\n") {
            Some(after) if cr => {
                self.line_end = true;
                self.state = State::Line(part, Vec::new());
                return Ok(after);
            }
            _ if cr => tell(part, b"\r", each)?,
            _ => {}
        }
        let end = octets.iter().position(|octet| *octet == b'\r');
        let (line, after) = octets.split_at(end.unwrap_or(octets.len()));
        tell(part, line, each)?;
        self.state = State::Inside(part, end.is_some());
        Ok(after.get(1..).unwrap_or_default())
    }

    /// The body is over, if it is one.
    fn end<E>(&mut self, part: Part, each: &mut impl FnMut(Event<'_>) -> Result<(), E>) -> Result<(), E> {
        if part == Part::Body { each(Event::End) } else { Ok(()) }
    }

    /// What a line is that begins with hyphens; the innermost body first.
    fn delimiter(&self, line: &[u8]) -> Option<Delimiter> {
        let line = line.strip_prefix(b"--")?.trim_ascii_end();
        let mut doubtful = None;
        for (depth, boundary) in self.boundaries.iter().enumerate().rev() {
            match line.strip_prefix(boundary.as_slice()) {
                Some(b"") => return Some(Delimiter::Open(depth)),
                Some(b"--") => return Some(Delimiter::Close(depth)),
                Some(_) => doubtful = Some(Delimiter::Doubtful),
                None => {}
            }
        }
        doubtful
    }
}

/// A line that separates parts, of the body at that place in [`Structure::boundaries`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Delimiter {
    /// A part follows.
    Open(usize),
    /// No part follows.
    Close(usize),
    /// More stands on the line than on a delimiter.
    Doubtful,
}

fn tell<E>(part: Part, octets: &[u8], each: &mut impl FnMut(Event<'_>) -> Result<(), E>) -> Result<(), E> {
    match part {
        Part::Body => each(Event::Body(octets)),
        Part::Between => each(Event::Frame(octets)),
    }
}
