//! Where in a header section a stream is: what all that look at one while it passes have in common.

use super::field::{Kind, LineStart};

/// How far a message was followed. `F` is what is remembered of a field for as long as it goes on.
#[derive(Debug)]
pub(super) enum Section<F> {
    /// At the start of a line, behind such a field; behind nothing at the start of the message.
    Start { start: LineStart, before: Option<F> },
    /// Inside a field.
    Field(F),
    /// Behind the section.
    Body,
}

/// What comes next of a message.
#[derive(Debug)]
pub(super) enum Piece<'a, F> {
    /// The start of a line whose kind is known now, and the field before it. The rest of a line that is
    /// a field's comes as [`Piece::More`].
    Line(Kind, &'a LineStart, Option<F>),
    /// More of a field, to the end of its line at most.
    More(F, &'a [u8]),
    /// All that is there of the body.
    Body(&'a [u8]),
}

impl<F> Default for Section<F> {
    fn default() -> Self {
        Self::FIRST
    }
}

impl<F> Section<F> {
    /// Before the first octet.
    pub const FIRST: Self = Self::Start { start: LineStart::new(), before: None };
}

impl<F: Copy> Section<F> {
    /// Takes content (clean CRLF lines, split anywhere): `each` sees it piece by piece and says where
    /// it is behind the piece, which is still inside the field if the piece was more of one.
    ///
    /// # Errors
    /// Those of `each`; the message can't be followed any longer then, what comes of it is body.
    pub fn follow<E>(
        &mut self,
        octets: &[u8],
        mut each: impl FnMut(Piece<'_, F>) -> Result<Self, E>,
    ) -> Result<(), E> {
        let mut rest = octets;
        while !rest.is_empty() {
            let next = match core::mem::replace(self, Self::Body) {
                Self::Body => each(Piece::Body(core::mem::take(&mut rest)))?,
                Self::Field(field) => {
                    let end = rest.iter().position(|octet| *octet == b'\n');
                    let (line, after) = rest.split_at(end.map_or(rest.len(), |end| end + 1));
                    rest = after;
                    match each(Piece::More(field, line))? {
                        Self::Field(field) if end.is_some() => {
                            Self::Start { start: LineStart::new(), before: Some(field) }
                        }
                        next => next,
                    }
                }
                Self::Start { mut start, before } => {
                    let mut kind = None;
                    while let (None, Some((octet, after))) = (kind, rest.split_first()) {
                        kind = start.push(*octet);
                        rest = after;
                    }
                    match kind {
                        Some(kind) => each(Piece::Line(kind, &start, before))?,
                        None => Self::Start { start, before },
                    }
                }
            };
            *self = next;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::string::String;
    use std::vec::Vec;
    use std::{format, vec};

    use super::{Kind, Piece, Section};

    /// What is told of a message that comes in pieces of so many octets: fields are numbered.
    fn told(content: &[u8], octets: usize) -> Vec<String> {
        let (mut section, mut fields, mut told) = (Section::<u32>::default(), 0, Vec::<String>::new());
        for part in content.chunks(octets) {
            let result: Result<(), ()> = section.follow(part, |piece| {
                let (what, text, next) = match piece {
                    Piece::Line(kind, start, before) => {
                        fields += u32::from(kind == Kind::Field);
                        let next = match kind {
                            Kind::Field => Section::Field(fields),
                            Kind::Continuation => before.map_or(Section::Body, Section::Field),
                            Kind::Blank | Kind::Text => Section::Body,
                        };
                        (format!("{kind:?} behind {before:?}: "), start.octets(), next)
                    }
                    Piece::More(field, text) => (format!("more of {field}: "), text, Section::Field(field)),
                    Piece::Body(text) => ("body: ".into(), text, Section::Body),
                };
                let text = std::str::from_utf8(text).unwrap();
                match told.last_mut().filter(|last| last.starts_with(&what) && !last.ends_with('\n')) {
                    Some(last) => last.push_str(text),
                    None => told.push(what + text),
                }
                Ok(next)
            });
            result.unwrap();
        }
        told
    }

    #[test]
    fn lines_belong_to_their_fields_however_they_are_split() {
        let content = b"A: 1\r\n 2\r\nB: 3\r\n\r\nbody";
        let expected = vec![
            "Field behind None: A:",
            "more of 1:  1\r\n",
            "Continuation behind Some(1):  ",
            "more of 1: 2\r\n",
            "Field behind Some(1): B:",
            "more of 2:  3\r\n",
            "Blank behind Some(2): \r\n",
            "body: body",
        ];
        for octets in 1..=content.len() {
            assert_eq!(told(content, octets), expected, "in pieces of {octets}");
        }
        assert_eq!(told(b" text\r\n", 3), ["Continuation behind None:  ", "body: text\r\n"]);
    }

    #[test]
    fn behind_an_error_all_is_body() {
        let mut section = Section::<()>::default();
        assert_eq!(section.follow(b"A: 1\r\n", |_| Err("full")), Err("full"));
        assert!(matches!(section, Section::Body));
    }
}
