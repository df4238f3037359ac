//! xtext (RFC 3461 4): printable text without spaces, in which `+2B` stands for `+`.
//!
//! ENVID and ORCPT are kept as they came and passed on unchanged; they are decoded only to be
//! judged here and to be shown in a bounce.

/// True if `text` is xtext for printable ASCII, the only thing RFC 3461 4.2 and 4.4 allow.
///
/// Control characters are refused in their encoded form too: decoded into a bounce they would
/// make header fields of their own.
pub fn is_valid(text: &str) -> bool {
    let mut rest = text.as_bytes();
    while let Some((octet, after)) = rest.split_first() {
        rest = match (octet, after) {
            (b'+', [high, low, after @ ..]) if matches!(value(*high, *low), Some(b' '..=b'~')) => after,
            (b'+' | b'=', _) => return false,
            (b'!'..=b'~', _) => after,
            _ => return false,
        };
    }
    true
}

/// The text that valid xtext stands for. A `+` that starts no pair stands for itself.
pub fn decoded(text: &str) -> impl Iterator<Item = char> {
    let mut rest = text;
    core::iter::from_fn(move || {
        let c = rest.chars().next()?;
        let (shown, octets) = match rest.as_bytes() {
            [b'+', high, low, ..] => value(*high, *low).map_or(('+', 1), |octet| (char::from(octet), 3)),
            _ => (c, c.len_utf8()),
        };
        rest = rest.get(octets..)?;
        Some(shown)
    })
}

/// Printable ASCII as xtext.
pub fn encoded(text: &str) -> impl Iterator<Item = char> {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    text.bytes().flat_map(|octet| {
        let pair = [b'+', DIGITS[usize::from(octet >> 4)], DIGITS[usize::from(octet & 15)]];
        let is_plain = matches!(octet, b'!'..=b'~') && !matches!(octet, b'+' | b'=');
        let (octets, count) = if is_plain { ([octet, 0, 0], 1) } else { (pair, 3) };
        octets.into_iter().take(count).map(char::from)
    })
}

/// The octet that two upper-case hexadecimal digits stand for.
fn value(high: u8, low: u8) -> Option<u8> {
    let digit = |octet: u8| match octet {
        b'0'..=b'9' => Some(octet - b'0'),
        b'A'..=b'F' => Some(octet - b'A' + 10),
        _ => None,
    };
    Some(digit(high)? * 16 + digit(low)?)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::string::String;

    use proptest::prelude::*;

    use super::{decoded, encoded, is_valid};

    #[test]
    fn only_xtext_is_valid() {
        for good in ["", "abc", "a+2Bb", "QQ314159", "a@b.example", "+20", "~!"] {
            assert!(is_valid(good), "{good}");
        }
        for bad in ["a b", "a+", "a+2", "a+2b", "a=b", "+0D+0A", "+00", "+7F", "\u{e9}", "a\n"] {
            assert!(!is_valid(bad), "{bad:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn printable_text_survives_the_code(text in "[ -~]{0,40}") {
            let code: String = encoded(&text).collect();
            prop_assert!(is_valid(&code));
            prop_assert_eq!(decoded(&code).collect::<String>(), text);
        }

        #[test]
        fn nothing_panics(text in any::<String>()) {
            if is_valid(&text) {
                prop_assert!(decoded(&text).all(|c| matches!(c, ' '..='~')));
            }
            prop_assert!(decoded(&text).count() <= text.chars().count());
        }
    }
}
