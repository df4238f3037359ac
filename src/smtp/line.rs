//! Command lines out of a stream of octets.
//!
//! Nothing is stored here: a line stays in the caller's input buffer until its end is there, and
//! a line too long for that buffer is swallowed as it comes, so that it costs one error and no
//! memory.

use crate::limits::COMMAND_LINE_OCTETS;

/// What a line ended with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// CRLF, as RFC 5321 2.3.8 wants it.
    CrLf,
    /// LF alone.
    Lf,
}

/// One line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// The line without its end.
    Text(&'a [u8], End),
    /// A line of more than [`COMMAND_LINE_OCTETS`] octets with its end.
    TooLong(End),
}

/// Where the reader stands.
#[derive(Clone, Copy, Debug, Default)]
pub enum Reader {
    /// At the start of a line.
    #[default]
    Start,
    /// Inside a line that is too long already; `cr` tells if its last octet was a CR.
    Swallowing {
        /// The last octet swallowed was a CR.
        cr: bool,
    },
}

impl Reader {
    /// Looks for a line at the start of `input`: octets to consume, and the line if it is whole.
    ///
    /// Without a line the same octets must be offered again with more behind them, except those
    /// consumed. An input of [`COMMAND_LINE_OCTETS`] always makes progress.
    pub fn read<'a>(&mut self, input: &'a [u8]) -> (usize, Option<Line<'a>>) {
        let lf = input.iter().position(|&octet| octet == b'\n');
        let (next, consumed, line) = match (*self, lf) {
            (Self::Start, Some(at)) if at < COMMAND_LINE_OCTETS => {
                (Self::Start, at + 1, Some(split(&input[..at])))
            }
            (Self::Start, Some(at)) => {
                (Self::Start, at + 1, Some(Line::TooLong(end(input[..at].ends_with(b"\r")))))
            }
            (Self::Start, None) if input.len() < COMMAND_LINE_OCTETS => (Self::Start, 0, None),
            (Self::Swallowing { cr }, Some(at)) => {
                let cr = if at == 0 { cr } else { input[..at].ends_with(b"\r") };
                (Self::Start, at + 1, Some(Line::TooLong(end(cr))))
            }
            (Self::Swallowing { cr }, None) if input.is_empty() => (Self::Swallowing { cr }, 0, None),
            (Self::Start | Self::Swallowing { .. }, None) => {
                (Self::Swallowing { cr: input.ends_with(b"\r") }, input.len(), None)
            }
        };
        *self = next;
        (consumed, line)
    }
}

fn split(line: &[u8]) -> Line<'_> {
    match line {
        [text @ .., b'\r'] => Line::Text(text, End::CrLf),
        text => Line::Text(text, End::Lf),
    }
}

fn end(cr: bool) -> End {
    if cr { End::CrLf } else { End::Lf }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::{COMMAND_LINE_OCTETS, End, Line, Reader};

    /// All lines of `octets`, offered in pieces of `piece` octets as a slot would.
    fn lines(octets: &[u8], piece: usize) -> Vec<Result<(Vec<u8>, End), End>> {
        let (mut reader, mut lines, mut start) = (Reader::default(), Vec::new(), 0);
        let mut filled = 0;
        while filled < octets.len() {
            filled = (filled + piece).min(octets.len());
            loop {
                let (consumed, line) = reader.read(&octets[start..filled]);
                start += consumed;
                match line {
                    Some(Line::Text(text, end)) => lines.push(Ok((text.to_vec(), end))),
                    Some(Line::TooLong(end)) => lines.push(Err(end)),
                    None => break,
                }
            }
            assert!(filled - start < COMMAND_LINE_OCTETS, "a full buffer must make progress");
        }
        lines
    }

    #[test]
    fn ends_are_told_apart() {
        let expected = [
            Ok((b"a".to_vec(), End::CrLf)),
            Ok((b"b".to_vec(), End::Lf)),
            Ok((b"c\r".to_vec(), End::CrLf)),
            Ok((b"".to_vec(), End::CrLf)),
        ];
        assert_eq!(lines(b"a\r\nb\nc\r\r\n\r\nrest", 3), expected);
    }

    #[test]
    fn the_longest_line_passes_and_one_octet_more_does_not() {
        let mut line = std::vec![b'x'; COMMAND_LINE_OCTETS - 2];
        line.extend(b"\r\n");
        assert!(lines(&line, 7)[0].is_ok());
        line.insert(0, b'x');
        for piece in [1, 7, line.len()] {
            assert_eq!(lines(&line, piece), [Err(End::CrLf)]);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn pieces_do_not_matter(
            runs in prop::collection::vec((prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'x')], 1usize..1500), 0..12),
            short in prop::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'x')], 0..20),
            piece in 1usize..3000,
        ) {
            let mut octets = short;
            // Long runs of LF would only be many empty lines.
            octets.extend(runs.iter().flat_map(|&(o, n)| std::iter::repeat_n(o, if o == b'\n' { 1 } else { n })));
            prop_assert_eq!(lines(&octets, piece), lines(&octets, octets.len().max(1)));
        }
    }
}
