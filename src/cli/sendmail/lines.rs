//! What programs write, as clean lines: every line ends with CRLF.

/// Where in a line the input is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// At its start.
    #[default]
    Start,
    /// At its start, behind a CR that ended the line before: an LF belongs to it.
    BehindCr,
    /// Behind a dot at its start.
    Dot,
    /// Further in.
    Within,
    /// Behind the line that ended it all.
    Over,
}

/// Turns LF, CR and CRLF into CRLF, and stops at a lone dot if that ends a message.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lines {
    place: Place,
    dot_is_text: bool,
}

impl Lines {
    /// Before the first octet.
    pub fn new(dot_is_text: bool) -> Self {
        Self { place: Place::Start, dot_is_text }
    }

    /// True behind a lone dot: what follows is no part of the message.
    pub fn is_over(&self) -> bool {
        self.place == Place::Over
    }

    /// Appends `octets` as clean lines to `out`: at most twice as many and one.
    pub fn read(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        for &octet in octets {
            self.place = match (self.place, octet) {
                (Place::Over, _) | (Place::Dot, b'\r' | b'\n') => Place::Over,
                (Place::BehindCr, b'\n') => Place::Start,
                (Place::Start | Place::BehindCr, b'.') if !self.dot_is_text => Place::Dot,
                (place, octet) => {
                    if place == Place::Dot {
                        out.push(b'.');
                    }
                    match octet {
                        b'\n' | b'\r' => out.extend_from_slice(b"\r\n"),
                        octet => out.push(octet),
                    }
                    match octet {
                        b'\n' => Place::Start,
                        b'\r' => Place::BehindCr,
                        _ => Place::Within,
                    }
                }
            };
        }
    }

    /// The input has ended: its last line ends too.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        match self.place {
            Place::Start | Place::BehindCr | Place::Over => {}
            Place::Dot => out.extend_from_slice(b".\r\n"),
            Place::Within => out.extend_from_slice(b"\r\n"),
        }
        self.place = Place::Over;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn clean(dot_is_text: bool, pieces: &[&[u8]]) -> Vec<u8> {
        let (mut lines, mut out) = (Lines::new(dot_is_text), Vec::new());
        pieces.iter().for_each(|piece| lines.read(piece, &mut out));
        lines.finish(&mut out);
        out
    }

    #[test]
    fn every_line_end_becomes_crlf() {
        assert_eq!(clean(true, &[b"a\nb\r\nc\rd"]), b"a\r\nb\r\nc\r\nd\r\n");
        assert_eq!(clean(true, &[b"a\r", b"\nb\r\r\n"]), b"a\r\nb\r\n\r\n");
        assert_eq!(clean(true, &[]), b"");
    }

    #[test]
    fn a_lone_dot_ends_it_unless_it_is_text() {
        assert_eq!(clean(false, &[b"a\n.\nb\n"]), b"a\r\n");
        assert_eq!(clean(false, &[b"a\n.\r\nb\n"]), b"a\r\n");
        assert_eq!(clean(true, &[b"a\n.\nb\n"]), b"a\r\n.\r\nb\r\n");
        assert_eq!(clean(false, &[b".a\n..\na.\n."]), b".a\r\n..\r\na.\r\n.\r\n");
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference_and_lines_are_clean(
            text in proptest::collection::vec(prop_oneof![Just(b'.'), Just(b'\r'), Just(b'\n'), any::<u8>()], 0..40),
            cut in 0..40_usize, dot_is_text: bool,
        ) {
            let (first, second) = text.split_at(cut.min(text.len()));
            let whole = clean(dot_is_text, &[&text]);
            prop_assert_eq!(&clean(dot_is_text, &[first, second]), &whole);
            prop_assert!(whole.is_empty() || whole.ends_with(b"\r\n"));
            prop_assert!(whole.len() <= 2 * text.len() + 2);
            let bare = String::from_utf8_lossy(&whole).replace("\r\n", "");
            prop_assert!(!bare.contains(['\r', '\n']));
        }
    }
}
