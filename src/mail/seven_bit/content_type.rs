//! The values of `Content-Type:` and `Content-Transfer-Encoding:` (RFC 2045 5 and 6), as far as they
//! decide what can be encoded anew.

use heapless::Vec;

use crate::limits::BOUNDARY_OCTETS;

/// The boundary of a multipart body, without its hyphens.
pub(super) type Boundary = Vec<u8, BOUNDARY_OCTETS>;

/// What a body is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Lines of text.
    Text,
    /// Octets.
    Other,
    /// Parts between such lines; `None`: the boundary is not known for sure.
    Multipart(Option<Boundary>),
    /// A message (RFC 2046 5.2.1).
    Message,
    /// What may not be touched: signed, or of a form that allows no encoding.
    Sealed,
}

/// How a body is encoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Encoding {
    /// 7bit, which is the default.
    #[default]
    SevenBit,
    /// 8bit or binary.
    EightBit,
    /// Any other: the octets are not the body's.
    Encoded,
}

impl Encoding {
    /// Reads a value.
    pub fn parse(value: &[u8]) -> Self {
        let mut rest = value;
        let word = token(&mut rest);
        let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        skip_blanks(&mut rest);
        match rest {
            [] if is("7bit") => Self::SevenBit,
            [] if is("8bit") || is("binary") => Self::EightBit,
            _ => Self::Encoded,
        }
    }
}

impl Kind {
    /// Reads a value. `cut`: only its beginning is known.
    pub fn parse(value: &[u8], cut: bool) -> Self {
        let mut rest = value;
        let kind = token(&mut rest);
        let is = |word: &[u8], name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        if !rest.starts_with(b"/") {
            // Readers take it for plain text (RFC 2045 5.2), but nothing is sure.
            return if is(kind, "text") { Self::Text } else { Self::Other };
        }
        rest = &rest[1..];
        let subtype = token(&mut rest);
        if is(kind, "text") {
            Self::Text
        } else if is(kind, "message") {
            if is(subtype, "rfc822") { Self::Message } else { Self::Sealed }
        } else if is(kind, "multipart") {
            // RFC 1847 2.1: not an octet of a signed part may change. A digest has other defaults.
            if ["signed", "encrypted", "digest"].iter().any(|name| is(subtype, name)) {
                Self::Sealed
            } else {
                Self::Multipart(boundary(rest, cut))
            }
        } else {
            Self::Other
        }
    }
}

/// The boundary among the parameters, if there is one and no doubt.
fn boundary(parameters: &[u8], cut: bool) -> Option<Boundary> {
    let mut rest = parameters;
    let mut found = None;
    loop {
        skip_blanks(&mut rest);
        match rest {
            [] => return found.filter(|_| !cut),
            [b';', after @ ..] => rest = after,
            _ => return None,
        }
        skip_blanks(&mut rest);
        if rest.is_empty() || rest.starts_with(b";") {
            continue;
        }
        let name = token(&mut rest);
        skip_blanks(&mut rest);
        rest = rest.strip_prefix(b"=")?;
        skip_blanks(&mut rest);
        let value = if rest.starts_with(b"\"") { quoted(&mut rest)? } else { bare(&mut rest) };
        if name.len() >= 8 && name[..8].eq_ignore_ascii_case(b"boundary") {
            let fits = name.len() == 8 && value.as_ref().is_some_and(is_boundary) && found.is_none();
            if !fits {
                return None;
            }
            found = value;
        }
    }
}

/// RFC 2046 5.1.1, without its alphabet, which many do not know.
fn is_boundary(value: &Boundary) -> bool {
    !value.is_empty() && !value.ends_with(b" ") && value.iter().all(|octet| matches!(octet, b' '..=b'~'))
}

/// A value without quotes, up to the next blank or `;`; `None` if it is longer than a boundary.
fn bare(rest: &mut &[u8]) -> Option<Boundary> {
    let end = rest.iter().position(|octet| matches!(octet, b';' | b' ' | b'\t' | b'\r' | b'\n' | b'('));
    let (value, after) = rest.split_at(end.unwrap_or(rest.len()));
    *rest = after;
    Vec::from_slice(value).ok()
}

/// A quoted string: `None` if it has no end, `Some(None)` if it is longer than a boundary.
fn quoted(rest: &mut &[u8]) -> Option<Option<Boundary>> {
    let mut value = Some(Vec::new());
    let mut octets = rest.iter().enumerate().skip(1);
    while let Some((at, octet)) = octets.next() {
        let octet = match octet {
            b'"' => {
                *rest = &rest[at + 1..];
                return Some(value);
            }
            b'\\' => octets.next()?.1,
            // A fold in a name of a file is common; in a boundary nobody knows what it means.
            octet => octet,
        };
        value = value.and_then(|mut value: Boundary| value.push(*octet).ok().map(|()| value));
    }
    None
}

/// A word, comments and blanks before it left out.
fn token<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    skip_blanks(rest);
    let is_word = |octet: &u8| octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`{|}~".contains(octet);
    let (word, after) = rest.split_at(rest.iter().take_while(|octet| is_word(octet)).count());
    *rest = after;
    skip_blanks(rest);
    word
}

/// Leaves out blanks, folds and comments.
fn skip_blanks(rest: &mut &[u8]) {
    let mut depth = 0_u32;
    let mut octets = rest.iter().enumerate();
    while let Some((at, octet)) = octets.next() {
        match octet {
            b'(' => depth = depth.saturating_add(1),
            b')' if depth > 0 => depth -= 1,
            b'\\' if depth > 0 => drop(octets.next()),
            b' ' | b'\t' | b'\r' | b'\n' => {}
            _ if depth > 0 => {}
            _ => {
                *rest = &rest[at..];
                return;
            }
        }
    }
    *rest = &[];
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::{Boundary, Encoding, Kind};

    fn multipart(boundary: Option<&str>) -> Kind {
        Kind::Multipart(boundary.map(|text| Boundary::from_slice(text.as_bytes()).unwrap()))
    }

    #[test]
    fn types_are_told_apart() {
        for (value, expected) in [
            (" text/plain; charset=utf-8", Kind::Text),
            ("TEXT / html", Kind::Text),
            ("(x) text/plain", Kind::Text),
            ("text", Kind::Text),
            ("application/json", Kind::Other),
            ("", Kind::Other),
            ("multipart", Kind::Other),
            ("message/RFC822", Kind::Message),
            ("message/delivery-status", Kind::Sealed),
            ("multipart/signed; boundary=x", Kind::Sealed),
            ("multipart/digest; boundary=x", Kind::Sealed),
        ] {
            assert_eq!(Kind::parse(value.as_bytes(), false), expected, "{value:?}");
        }
    }

    #[test]
    fn boundaries_are_found_or_not_believed() {
        for (parameters, expected) in [
            ("boundary=abc", Some("abc")),
            (" BOUNDARY = \"a b\"", Some("a b")),
            ("boundary=\"a\\\"b\"", Some("a\"b")),
            ("charset=\"x;boundary=no\";\r\n\tboundary=----=_Part_1", Some("----=_Part_1")),
            ("boundary=abc (comment)", Some("abc")),
            ("boundary=abc;", Some("abc")),
            (";; boundary=abc; type=\"text/html\"", Some("abc")),
            ("boundary=a; boundary=b", None),
            ("boundary=\"\"", None),
            ("boundary=\"a \"", None),
            ("boundary=\"open", None),
            ("boundary=a b", None),
            ("boundary*=us-ascii''x", None),
            ("boundary*0=a; boundary*1=b", None),
            ("boundary=\"a\r\n b\"", None),
            ("boundary=\"\u{e9}\"", None),
            ("type=x", None),
        ] {
            let value = ["multipart/mixed; ", parameters].concat();
            assert_eq!(Kind::parse(value.as_bytes(), false), multipart(expected), "{parameters:?}");
            assert_eq!(Kind::parse(value.as_bytes(), true), multipart(None));
        }
        let long = ["multipart/mixed; boundary=", &"x".repeat(71)].concat();
        assert_eq!(Kind::parse(long.as_bytes(), false), multipart(None));
    }

    #[test]
    fn encodings_are_told_apart() {
        for (value, expected) in [
            (" 7bit", Encoding::SevenBit),
            ("8BIT (x)", Encoding::EightBit),
            ("binary\r\n", Encoding::EightBit),
            ("base64", Encoding::Encoded),
            ("quoted-printable", Encoding::Encoded),
            ("8bit; x", Encoding::Encoded),
            ("8bits", Encoding::Encoded),
            ("", Encoding::Encoded),
        ] {
            assert_eq!(Encoding::parse(value.as_bytes()), expected, "{value:?}");
        }
    }

    proptest! {
        #[test]
        fn any_value_can_be_read(value in prop::collection::vec(prop_oneof![
            any::<u8>(), prop::sample::select(&b"multipart/;=\"\\() boundary"[..])], 0..60)) {
            let _ = Kind::parse(&value, false);
            let _ = Encoding::parse(&value);
            let value: Vec<u8> = [b"multipart/x;boundary=".as_slice(), &value].concat();
            let _ = Kind::parse(&value, false);
        }
    }
}
