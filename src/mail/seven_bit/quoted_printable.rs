//! Quoted-printable (RFC 2045 6.7), octet by octet.

/// Octets of an encoded line without its line end, `=` of a soft line break included.
const LINE_OCTETS: usize = 76;

/// Encodes one body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Encoder {
    /// The body is text: its line ends stay line ends. Of anything else they are encoded.
    text: bool,
    /// Octets in the line that goes out.
    column: usize,
    /// The line that goes out began inside a line of the body.
    broken: bool,
    held: Held,
}

/// What cannot be encoded before it is known what follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    Nothing,
    /// A blank or tab: encoded only at the end of a line.
    Blank(u8),
    Cr,
    /// The line end of a body that is no text: encoded unless it is the last.
    LineEnd,
}

impl Encoder {
    /// Before the first octet of a body.
    pub const fn new(text: bool) -> Self {
        Self { text, column: 0, broken: false, held: Held::Nothing }
    }

    /// Takes octets of the body and gives their encoded form to `sink`.
    pub fn write<E>(
        &mut self,
        octets: &[u8],
        sink: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut rest = octets;
        while let Some((&octet, after)) = rest.split_first() {
            let room = (LINE_OCTETS - 1).saturating_sub(self.column);
            let plain = rest.iter().take(room).take_while(|octet| is_plain(**octet)).count();
            if self.held == Held::Nothing && plain > 0 && !(self.broken && self.column == 0 && octet == b'-')
            {
                let (plain, after) = rest.split_at(plain);
                sink(plain)?;
                self.column += plain.len();
                rest = after;
                continue;
            }
            self.push(octet, sink)?;
            rest = after;
        }
        Ok(())
    }

    /// The body is complete.
    pub fn finish<E>(&mut self, sink: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        match core::mem::replace(&mut self.held, Held::Nothing) {
            Held::Nothing => Ok(()),
            Held::Blank(octet) => self.encoded(octet, sink),
            Held::Cr => self.encoded(b'\r', sink),
            Held::LineEnd => sink(b"\r\n"),
        }
    }

    fn push<E>(&mut self, octet: u8, sink: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        match (core::mem::replace(&mut self.held, Held::Nothing), octet) {
            (Held::Cr, b'\n') if self.text => {
                (self.column, self.broken) = (0, false);
                return sink(b"\r\n");
            }
            (Held::Cr, b'\n') => {
                self.held = Held::LineEnd;
                return Ok(());
            }
            (Held::Nothing, _) => {}
            (Held::Blank(blank), b'\r') => self.encoded(blank, sink)?,
            (Held::Blank(blank), _) => self.put(&[blank], sink)?,
            (Held::Cr, _) => self.encoded(b'\r', sink)?,
            (Held::LineEnd, _) => {
                self.encoded(b'\r', sink)?;
                self.encoded(b'\n', sink)?;
                // So that the lines still show.
                self.soft_break(sink)?;
            }
        }
        match octet {
            b' ' | b'\t' => self.held = Held::Blank(octet),
            b'\r' => self.held = Held::Cr,
            // A line that is made here must never look like a delimiter (RFC 2046 5.1.1).
            b'-' if self.broken && self.column == 0 || self.column + 1 >= LINE_OCTETS => {
                return self.encoded(octet, sink);
            }
            octet if is_plain(octet) => return self.put(&[octet], sink),
            octet => return self.encoded(octet, sink),
        }
        Ok(())
    }

    fn encoded<E>(&mut self, octet: u8, sink: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let digit = |nibble: u8| b"0123456789ABCDEF"[usize::from(nibble)];
        self.put(&[b'=', digit(octet >> 4), digit(octet & 15)], sink)
    }

    /// Puts what may not be torn.
    fn put<E>(&mut self, token: &[u8], sink: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        if self.column + token.len() > LINE_OCTETS - 1 {
            self.soft_break(sink)?;
        }
        self.column += token.len();
        sink(token)
    }

    fn soft_break<E>(&mut self, sink: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        (self.column, self.broken) = (0, true);
        sink(b"=\r\n")
    }
}

/// True for octets that stand for themselves wherever they are in a line.
const fn is_plain(octet: u8) -> bool {
    matches!(octet, b'!'..=b'~') && octet != b'='
}

#[cfg(test)]
pub(super) mod tests {
    extern crate std;
    use std::string::String;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::{Encoder, LINE_OCTETS};

    fn encoded(text: bool, body: &[u8], size: usize) -> Vec<u8> {
        let mut encoder = Encoder::new(text);
        let mut out = Vec::new();
        let mut sink = |octets: &[u8]| -> Result<(), ()> {
            out.extend_from_slice(octets);
            Ok(())
        };
        for piece in body.chunks(size) {
            encoder.write(piece, &mut sink).unwrap();
        }
        encoder.finish(&mut sink).unwrap();
        out
    }

    /// What a reader makes of it, strictly.
    pub fn decoded(encoded: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut rest = encoded;
        while let Some((&octet, after)) = rest.split_first() {
            rest = match rest {
                [b'=', b'\r', b'\n', after @ ..] => after,
                [b'=', high, low, after @ ..] => {
                    let digit = |octet: u8| char::from(octet).to_digit(16).expect("a hex digit") as u8;
                    assert!(!high.is_ascii_lowercase() && !low.is_ascii_lowercase());
                    out.push(digit(*high) << 4 | digit(*low));
                    after
                }
                _ => {
                    assert!(matches!(octet, b'\t' | b'\r' | b'\n' | b' '..=b'<' | b'>'..=b'~'), "{octet}");
                    out.push(octet);
                    after
                }
            };
        }
        out
    }

    fn check(text: bool, body: &[u8]) -> String {
        let whole = encoded(text, body, usize::MAX);
        for size in [1, 2, 3, 7] {
            assert_eq!(encoded(text, body, size), whole);
        }
        assert_eq!(decoded(&whole), body);
        let whole = String::from_utf8(whole).expect("ASCII");
        assert!(whole.is_ascii());
        for line in whole.split("\r\n") {
            assert!(line.len() <= LINE_OCTETS && !line.ends_with([' ', '\t']), "{line:?}");
            assert!(!line.contains(['\r', '\n']), "{line:?}");
        }
        whole
    }

    #[test]
    fn text_keeps_its_lines() {
        for (body, expected) in [
            ("J\u{fc}rg = J\r\n", "J=C3=BCrg =3D J\r\n"),
            ("a \r\n\tb\t\r\n", "a=20\r\n\tb=09\r\n"),
            ("\u{e9}", "=C3=A9"),
            ("a ", "a=20"),
            ("a\rb\nc\r", "a=0Db=0Ac=0D"),
            ("--x\r\n.\r\n\r\n", "--x\r\n.\r\n\r\n"),
        ] {
            assert_eq!(check(true, body.as_bytes()), expected);
        }
    }

    #[test]
    fn line_ends_of_anything_else_are_octets() {
        for (body, expected) in [
            ("a\r\nb\r\n\r\nc\r\n", "a=0D=0A=\r\nb=0D=0A=\r\n=0D=0A=\r\nc\r\n"),
            ("a\r\n-b", "a=0D=0A=\r\n=2Db"),
        ] {
            assert_eq!(check(false, body.as_bytes()), expected);
        }
    }

    #[test]
    fn long_lines_are_broken_and_never_look_like_delimiters() {
        let line = check(true, "x".repeat(200).as_bytes());
        assert_eq!(line, ["x".repeat(75), "x".repeat(75), "x".repeat(50)].join("=\r\n"));
        for before in 70..80 {
            let body = ["x".repeat(before), "--boundary\r\n".into()].concat();
            let out = check(true, body.as_bytes());
            assert!(!out.split("\r\n").any(|line| line.starts_with('-')), "{out}");
        }
        let blanks = check(true, &[b' '; 200]);
        assert!(blanks.ends_with("=20"));
    }

    proptest! {
        #[test]
        fn decoding_gives_the_body_back(
            text in any::<bool>(),
            body in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(&b"\r\n \t=-.ax"[..])], 0..400),
        ) {
            check(text, &body);
        }

        #[test]
        fn lines_with_line_ends_come_back(text in any::<bool>(), body in "([ a-z=\u{fc}-]{0,90}\r\n){0,6}[ a-z]{0,9}") {
            check(text, body.as_bytes());
        }
    }
}
