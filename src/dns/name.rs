//! Domain names (RFC 1035 3.1): read from text and from messages, kept in one spelling.
//!
//! A domain in UTF-8 becomes A-labels here. RFC 6531 lets only U-labels stand in an address, and those
//! have been mapped and normalized by whoever wrote them (RFC 5890 2.3.2.1); what is left to do is the
//! encoding of RFC 3492. A label that was not normalized is a name that nobody has.

use core::fmt;

use heapless::{String, Vec};

use crate::limits::{DNS_NAME_OCTETS, LABEL_OCTETS};

/// A domain name: lower case, no trailing dot, labels of visible ASCII. Empty is the root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Name(String<DNS_NAME_OCTETS>);

impl Name {
    /// The root.
    pub const ROOT: Self = Self(String::new());

    /// Reads text: a trailing dot does not count, UTF-8 becomes A-labels. `None` if it can't be a name: an
    /// empty label, a label over 63 octets, a name over 253, or an octet that is not visible.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_suffix('.').unwrap_or(text);
        let mut name = Self::ROOT;
        for label in text.split('.') {
            if label.is_ascii() {
                name.push_label(label.as_bytes())?;
            } else {
                name.push_label(&a_label(label)?)?;
            }
        }
        Some(name)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True for the root.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a label behind the others; `None`, and a name of no use, if that makes no name.
    pub(super) fn push_label(&mut self, label: &[u8]) -> Option<()> {
        let is_label = (1..=LABEL_OCTETS).contains(&label.len())
            && label.iter().all(|&octet| octet.is_ascii_graphic() && octet != b'.');
        if !is_label {
            return None;
        }
        if !self.is_root() {
            self.0.push('.').ok()?;
        }
        label.iter().try_for_each(|octet| self.0.push(char::from(octet.to_ascii_lowercase())).ok())
    }

    /// The labels, first to last.
    pub(super) fn labels(&self) -> impl Iterator<Item = &str> {
        self.0.split('.').filter(|label| !label.is_empty())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_root() { "." } else { &self.0 })
    }
}

// The parameters of RFC 3492 5.
const BASE: u32 = 36;
const T_MIN: u32 = 1;
const T_MAX: u32 = 26;
const SKEW: u32 = 38;
const DAMP: u32 = 700;
const INITIAL_BIAS: u32 = 72;
const INITIAL_N: u32 = 128;

/// A U-label as an A-label: `xn--` and its Punycode (RFC 3492 6.3); `None` if it gets too long.
fn a_label(label: &str) -> Option<Vec<u8, LABEL_OCTETS>> {
    let mut points = Vec::<u32, LABEL_OCTETS>::new();
    for point in label.chars().flat_map(char::to_lowercase) {
        points.push(u32::from(point)).ok()?;
    }
    let mut out = Vec::from_slice(b"xn--").ok()?;
    for &point in points.iter().filter(|&&point| point < INITIAL_N) {
        out.push(u8::try_from(point).ok()?).ok()?;
    }
    let basic = u32::try_from(out.len() - 4).ok()?;
    if basic > 0 {
        out.push(b'-').ok()?;
    }
    let count = u32::try_from(points.len()).ok()?;
    let (mut n, mut delta, mut bias, mut handled) = (INITIAL_N, 0_u32, INITIAL_BIAS, basic);
    while handled < count {
        let next = points.iter().copied().filter(|&point| point >= n).min()?;
        // At most 64 points below 2^21: this can't overflow, and is checked all the same.
        delta = (next - n).checked_mul(handled + 1)?.checked_add(delta)?;
        n = next;
        for &point in &points {
            if point < n {
                delta = delta.checked_add(1)?;
            }
            if point == n {
                put_number(&mut out, delta, bias)?;
                bias = adapted(delta, handled + 1, handled == basic);
                delta = 0;
                handled += 1;
            }
        }
        delta = delta.checked_add(1)?;
        n += 1;
    }
    Some(out)
}

/// Writes one delta as a generalized variable-length integer.
fn put_number(out: &mut Vec<u8, LABEL_OCTETS>, delta: u32, bias: u32) -> Option<()> {
    let mut rest = delta;
    let mut k = BASE;
    loop {
        let threshold = k.saturating_sub(bias).clamp(T_MIN, T_MAX);
        if rest < threshold {
            return out.push(digit(rest)).ok();
        }
        out.push(digit(threshold + (rest - threshold) % (BASE - threshold))).ok()?;
        rest = (rest - threshold) / (BASE - threshold);
        k += BASE;
    }
}

fn adapted(delta: u32, points: u32, first: bool) -> u32 {
    let mut delta = if first { delta / DAMP } else { delta / 2 };
    delta += delta / points;
    let mut k = 0;
    while delta > (BASE - T_MIN) * T_MAX / 2 {
        delta /= BASE - T_MIN;
        k += BASE;
    }
    k + (BASE - T_MIN + 1) * delta / (delta + SKEW)
}

/// `a` to `z` are 0 to 25, `0` to `9` are 26 to 35.
fn digit(value: u32) -> u8 {
    let value = value as u8;
    if value < 26 { b'a' + value } else { b'0' + value - 26 }
}

#[cfg(test)]
mod tests {
    use std::string::{String, ToString};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_becomes_one_spelling() {
        let long = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(61)].join(".");
        let too_long = std::format!("{long}d");
        for (text, name) in [
            ("Example.TEST", Some("example.test")),
            ("example.test.", Some("example.test")),
            ("_a-b.test", Some("_a-b.test")),
            ("localhost", Some("localhost")),
            ("a..test", None),
            (".test", None),
            ("", None),
            (".", None),
            ("a b.test", None),
            ("a\0.test", None),
            (&"x".repeat(63), Some(&"x".repeat(63) as &str)),
            (&"x".repeat(64), None),
            (&long, Some(&long)),
            (&too_long, None),
        ] {
            assert_eq!(Name::parse(text).as_ref().map(Name::as_str), name, "{text:?}");
        }
        assert_eq!(Name::ROOT.to_string(), ".");
    }

    #[test]
    fn u_labels_become_a_labels() {
        // The last four are from RFC 3492 7.1, in lower case.
        for (text, name) in [
            ("bücher.test", "xn--bcher-kva.test"),
            ("BÜCHER.Test", "xn--bcher-kva.test"),
            ("Straße.de", "xn--strae-oqa.de"),
            ("пример.испытание", "xn--e1afmkfd.xn--80akhbyknj4f"),
            ("例え.テスト", "xn--r8jz45g.xn--zckzah"),
            ("他们为什么不说中文", "xn--ihqwcrb4cv8a8dqg056pqjye"),
            ("почемужеонинеговорятпорусски", "xn--b1abfaaepdrnnbgefbadotcwatmq2g4l"),
            ("porquénopuedensimplementehablarenespañol", "xn--porqunopuedensimplementehablarenespaol-fmd56a"),
            ("3年b組金八先生", "xn--3b-ww4c5e180e575a65lsy2b"),
        ] {
            assert_eq!(Name::parse(text).as_ref().map(Name::as_str), Some(name), "{text}");
        }
        assert_eq!(Name::parse(&"ü".repeat(64)), None);
    }

    proptest! {
        #[test]
        fn any_text_is_a_name_or_none(text in ".{0,300}") {
            if let Some(name) = Name::parse(&text) {
                prop_assert!(name.as_str().len() <= DNS_NAME_OCTETS);
                prop_assert!(name.labels().all(|l| (1..=LABEL_OCTETS).contains(&l.len())));
                prop_assert_eq!(Name::parse(name.as_str()), Some(name));
            }
        }

        #[test]
        fn different_u_labels_stay_different(a in "[à-ž]{1,12}", b in "[à-ž]{1,12}") {
            let lower = |text: &str| text.chars().flat_map(char::to_lowercase).collect::<String>();
            prop_assert_eq!(Name::parse(&a) == Name::parse(&b), lower(&a) == lower(&b));
        }
    }
}
