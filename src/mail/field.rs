//! What a line of a header section is, told from its first octets (RFC 5322 2.2).

use core::fmt::{self, Write};

use heapless::Vec;

use crate::limits::FIELD_NAME_OCTETS;

/// What a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A field: its name and colon were seen.
    Field,
    /// The folded rest of the field before it.
    Continuation,
    /// The empty line that ends the header section.
    Blank,
    /// None of these: no header section, or its end is missing.
    Text,
}

/// The start of a line, kept until its kind is known.
#[derive(Debug, Default)]
pub(super) struct LineStart(Vec<u8, FIELD_NAME_OCTETS>);

impl LineStart {
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Takes the next octet: the kind of the line, once it is known. No octets may follow then.
    pub fn push(&mut self, octet: u8) -> Option<Kind> {
        let kind = match (self.0.as_slice(), octet) {
            ([], b' ' | b'\t') => Some(Kind::Continuation),
            ([], b'\r') => None,
            ([b'\r'], b'\n') => Some(Kind::Blank),
            ([] | [b'\r'], b':') | ([b'\r'], _) => Some(Kind::Text),
            (_, b':') => Some(Kind::Field),
            // RFC 5322 4.5.3: blanks before the colon were allowed once.
            ([_, ..], b' ' | b'\t') => None,
            ([.., b' ' | b'\t'], _) => Some(Kind::Text),
            (_, b'!'..=b'~') => None,
            _ => Some(Kind::Text),
        };
        let full = self.0.push(octet).is_err() || self.0.is_full();
        if full { kind.or(Some(Kind::Text)) } else { kind }
    }

    /// All octets so far.
    pub fn octets(&self) -> &[u8] {
        &self.0
    }

    /// The name of a [`Kind::Field`].
    pub fn name(&self) -> &[u8] {
        self.0.strip_suffix(b":").unwrap_or(&self.0).trim_ascii_end()
    }

    /// True for the first line of a mailbox file, which old programs pipe in with the message.
    pub fn is_mailbox_line(&self) -> bool {
        self.0.starts_with(b"From ") || self.0.starts_with(b">From ")
    }

    /// True if the name is this one, in any case.
    pub fn is(&self, name: &str) -> bool {
        self.name().eq_ignore_ascii_case(name.as_bytes())
    }
}

/// Formats into a sink of octets that can fail.
pub(super) fn put<E>(
    sink: &mut impl FnMut(&[u8]) -> Result<(), E>,
    text: fmt::Arguments<'_>,
) -> Result<(), E> {
    struct Writer<'s, S, E>(&'s mut S, Result<(), E>);
    impl<E, S: FnMut(&[u8]) -> Result<(), E>> Write for Writer<'_, S, E> {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.1 = (self.0)(text.as_bytes());
            if self.1.is_ok() { Ok(()) } else { Err(fmt::Error) }
        }
    }
    let mut writer = Writer(sink, Ok(()));
    // The only error is the sink's, and that is kept.
    let _ = writer.write_fmt(text);
    writer.1
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::{FIELD_NAME_OCTETS, Kind, LineStart, put};

    /// The kind of a line, and how many octets it took to tell.
    fn kind(line: &[u8]) -> (Option<Kind>, usize) {
        let mut start = LineStart::new();
        for octet in line {
            if let Some(kind) = start.push(*octet) {
                return (Some(kind), start.octets().len());
            }
        }
        (None, start.octets().len())
    }

    #[test]
    fn lines_are_told_apart() {
        for (line, expected) in [
            ("Subject: x\r\n", Kind::Field),
            ("Subject:\r\n", Kind::Field),
            ("Subject \t: x\r\n", Kind::Field),
            ("x!#$%=:", Kind::Field),
            (" folded", Kind::Continuation),
            ("\tfolded", Kind::Continuation),
            ("\r\n", Kind::Blank),
            ("hello world\r\n", Kind::Text),
            ("hello\r\n", Kind::Text),
            (": x", Kind::Text),
            ("\rx", Kind::Text),
            ("caf\u{e9}: x", Kind::Text),
            ("From a@b Mon", Kind::Text),
            ("\n", Kind::Text),
        ] {
            assert_eq!(kind(line.as_bytes()).0, Some(expected), "{line:?}");
        }
        assert_eq!(kind(b"Subj"), (None, 4));
        assert_eq!(kind(&[b'x'; 2 * FIELD_NAME_OCTETS]), (Some(Kind::Text), FIELD_NAME_OCTETS));
    }

    #[test]
    fn names_are_compared_in_any_case() {
        let mut start = LineStart::new();
        b"rEceived \t:".iter().for_each(|octet| assert!(start.push(*octet).is_none() || *octet == b':'));
        assert!(start.is("Received") && !start.is("Receive"));
    }

    #[test]
    fn the_error_of_a_sink_comes_back() {
        let mut calls = 0;
        let result = put(
            &mut |_| {
                calls += 1;
                if calls == 2 { Err("full") } else { Ok(()) }
            },
            format_args!("{:?}", [1, 2, 3]),
        );
        assert_eq!((result, calls), (Err("full"), 2));
    }
}
