//! Dot-stuffing (RFC 5321 4.5.2): content as it goes over the wire after DATA.
//!
//! Whatever comes in, what goes out is lines that end in CRLF, none of them a dot alone. The spool
//! holds clean lines already; but that no content can end itself early is decided here, where it
//! leaves, and depends on nothing before it. So a CR or an LF that stands alone becomes CRLF.

use super::buffer::Buffer;

/// Stuffs the content of one message, piece by piece.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stuffing {
    place: Place,
}

/// Where in a line the next octet stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    LineStart,
    Inside,
    /// At a line start behind a CR whose LF is already out.
    AfterCr,
}

impl Stuffing {
    /// Before the first octet.
    pub const fn new() -> Self {
        Self { place: Place::LineStart }
    }

    /// Puts as much of `octets` into `out` as has room: octets taken.
    pub fn write<const N: usize>(&mut self, octets: &[u8], out: &mut Buffer<N>) -> usize {
        let mut rest = octets;
        while let Some(&first) = rest.first() {
            let taken = match (self.place, first) {
                (Place::AfterCr, b'\n') => {
                    self.place = Place::LineStart;
                    1
                }
                (_, b'\r' | b'\n') if out.push(b"\r\n") => {
                    self.place = if first == b'\r' { Place::AfterCr } else { Place::LineStart };
                    1
                }
                (Place::LineStart | Place::AfterCr, b'.') if out.push(b"..") => {
                    self.place = Place::Inside;
                    1
                }
                (_, b'\r' | b'\n') | (Place::LineStart | Place::AfterCr, b'.') => 0,
                _ => self.run(rest, out),
            };
            if taken == 0 {
                break;
            }
            rest = &rest[taken..];
        }
        octets.len() - rest.len()
    }

    /// What follows without a line end, as far as there is room.
    fn run<const N: usize>(&mut self, octets: &[u8], out: &mut Buffer<N>) -> usize {
        let octets = octets.get(..out.free()).unwrap_or(octets);
        let end = octets.iter().position(|octet| matches!(octet, b'\r' | b'\n')).unwrap_or(octets.len());
        if end == 0 || !out.push(&octets[..end]) {
            return 0;
        }
        self.place = Place::Inside;
        end
    }

    /// Puts the last dot into `out`, and the end of the last line if that is missing; false and
    /// nothing if there is no room. Ready for the next message after it.
    #[must_use]
    pub fn end<const N: usize>(&mut self, out: &mut Buffer<N>) -> bool {
        let end: &[u8] = if self.place == Place::Inside { b"\r\n.\r\n" } else { b".\r\n" };
        let room = out.push(end);
        if room {
            self.place = Place::LineStart;
        }
        room
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::{Buffer, Stuffing};

    /// Through an output buffer of `N` octets, in pieces of `size`, ended.
    fn stuffed<const N: usize>(content: &[u8], size: usize) -> Vec<u8> {
        let mut wire = Vec::new();
        let mut out = Buffer::<N>::new();
        let mut stuffing = Stuffing::new();
        for piece in content.chunks(size) {
            let mut rest = piece;
            while !rest.is_empty() {
                rest = &rest[stuffing.write(rest, &mut out)..];
                wire.extend_from_slice(out.filled());
                out.clear();
            }
        }
        while !stuffing.end(&mut out) {
            wire.extend_from_slice(out.filled());
            out.clear();
        }
        wire.extend_from_slice(out.filled());
        wire
    }

    /// What a strict server makes of it (RFC 5321 4.5.2).
    fn decoded(wire: &[u8]) -> Vec<u8> {
        let mut content = Vec::new();
        let mut rest = wire;
        loop {
            let end = rest.windows(2).position(|two| two == b"\r\n").expect("ends in CRLF") + 2;
            let (line, after) = rest.split_at(end);
            if line == b".\r\n" {
                assert!(after.is_empty(), "ended before its end");
                return content;
            }
            content.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
            rest = after;
        }
    }

    #[test]
    fn dots_are_doubled_and_lines_ended() {
        for (content, wire) in [
            ("", ".\r\n"),
            (".", "..\r\n.\r\n"),
            ("a\r\n", "a\r\n.\r\n"),
            ("a", "a\r\n.\r\n"),
            (".\r\n", "..\r\n.\r\n"),
            ("a.\r\n.b\r\n..c\r\n", "a.\r\n..b\r\n...c\r\n.\r\n"),
            ("a\n.\r\nb", "a\r\n..\r\nb\r\n.\r\n"),
            ("a\r.\rb", "a\r\n..\r\nb\r\n.\r\n"),
            ("a\r\r\n\n", "a\r\n\r\n\r\n.\r\n"),
        ] {
            assert_eq!(stuffed::<64>(content.as_bytes(), usize::MAX), wire.as_bytes(), "{content:?}");
        }
    }

    #[test]
    fn without_room_nothing_is_taken() {
        let mut out = Buffer::<1>::new();
        assert_eq!(Stuffing::new().write(b".", &mut out), 0);
        assert_eq!(Stuffing::new().write(b"\r\n", &mut out), 0);
        assert_eq!(Stuffing::new().write(b"ab", &mut out), 1);
        assert!(!Stuffing::new().end(&mut out));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn clean_content_survives(lines in prop::collection::vec("[.a-c]{0,6}", 0..12), size in 1usize..9) {
            let content: Vec<u8> = lines.iter().flat_map(|line| [line.as_bytes(), b"\r\n"]).flatten().copied().collect();
            prop_assert_eq!(decoded(&stuffed::<5>(&content, size)), content);
        }

        #[test]
        fn no_content_ends_itself(content in "[.a\r\n]{0,24}", size in 1usize..9) {
            let wire = stuffed::<6>(content.as_bytes(), size);
            prop_assert_eq!(&wire, &stuffed::<4096>(content.as_bytes(), usize::MAX));
            let text = decoded(&wire);
            let rest: Vec<u8> = text.split(|o| *o == b'\n').flat_map(|l| l.strip_suffix(b"\r").unwrap_or(l)).copied().collect();
            prop_assert!(!rest.contains(&b'\r'), "a bare CR went out");
        }
    }
}
