//! Mailboxes and paths (RFC 5321 4.1.2): read once, kept in canonical form.
//!
//! A [`Path`] is the text between the brackets in one spelling: needless quotes and source routes
//! are gone, so equal mailboxes compare equal and everything behind (routing, spool, client)
//! reads the same text. [`Address`] splits that text for those who route by it.

use core::net::{Ipv4Addr, Ipv6Addr};

use heapless::String;

use crate::limits::{DOMAIN_OCTETS, LOCAL_PART_OCTETS, PATH_OCTETS};

/// A reverse-path or forward-path without its brackets, in canonical form.
///
/// Empty is the null reverse-path; `postmaster` without a domain is RFC 5321's bare
/// `<Postmaster>`; everything else is `local-part@domain`.
///
/// Comparison is by octet: two paths that differ in the case of the domain are not equal; see
/// [`same_domain`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path(String<{ PATH_OCTETS - 2 }>);

/// Why something is no path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It does not follow the grammar.
    Syntax,
    /// It, its local-part or its domain is longer than `limits` says.
    TooLong,
    /// It has no domain, and its sender is not trusted to leave it out.
    NoDomain,
    /// It is not UTF-8.
    Encoding,
}

/// How strictly a path is read.
#[derive(Clone, Copy, Debug)]
pub enum Manner<'a> {
    /// To the letter of RFC 5321.
    Strict,
    /// As old devices write it: without brackets, with spaces around, without a domain, which is
    /// then this one.
    Tolerant(&'a str),
}

/// Which end of the envelope a path belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Of MAIL: can be null.
    Reverse,
    /// Of RCPT: can be `<Postmaster>`.
    Forward,
}

impl Path {
    /// The null reverse-path `<>`.
    pub const NULL: Self = Self(String::new());

    /// Reads a mailbox without brackets, strictly, as it stands in configuration and on command
    /// lines: `local-part@domain` or `postmaster`. UTF-8 is taken.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        Self::forward(text, Manner::Strict)
    }

    /// Reads the path at the start of `text`, the argument of MAIL or RCPT behind its colon:
    /// the path and what stands behind it.
    pub fn read<'t>(
        text: &'t [u8],
        direction: Direction,
        manner: Manner<'_>,
    ) -> Result<(Self, &'t [u8]), Fault> {
        let (inner, rest) = match manner {
            Manner::Strict => bracketed(text)?,
            Manner::Tolerant(_) => match text.trim_ascii() {
                text @ [b'<', ..] => bracketed(text)?,
                [] => return Err(Fault::Syntax),
                text => text.split_at(unquoted_position(text, b' ').unwrap_or(text.len())),
            },
        };
        if !matches!(rest, [] | [b' ', ..]) {
            return Err(Fault::Syntax);
        }
        let inner = core::str::from_utf8(inner).map_err(|_| Fault::Encoding)?;
        let inner = if matches!(manner, Manner::Tolerant(_)) { inner.trim_ascii() } else { inner };
        let path = match direction {
            Direction::Reverse if inner.is_empty() => Self::NULL,
            Direction::Reverse => Self::mailbox(inner, manner)?,
            Direction::Forward => Self::forward(inner, manner)?,
        };
        Ok((path, rest))
    }

    /// The canonical text, without brackets.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True for `<>`.
    pub fn is_null(&self) -> bool {
        self.0.is_empty()
    }

    /// Local-part and domain; `None` for `<>`. A bare `postmaster` has an empty domain.
    pub fn address(&self) -> Option<Address<'_>> {
        Address::parse(&self.0)
    }

    fn forward(text: &str, manner: Manner<'_>) -> Result<Self, Fault> {
        if text.eq_ignore_ascii_case("postmaster") {
            return Ok(Self(put(String::new(), &["postmaster"])?));
        }
        Self::mailbox(text, manner)
    }

    fn mailbox(text: &str, manner: Manner<'_>) -> Result<Self, Fault> {
        let text = without_route(text)?;
        let (local, rest) = local_part(text, manner)?;
        let domain = match (rest.strip_prefix('@'), manner) {
            (Some(domain), _) => checked_domain(domain)?,
            (None, Manner::Tolerant(hostname)) if rest.is_empty() => hostname,
            (None, _) => return Err(if rest.is_empty() { Fault::NoDomain } else { Fault::Syntax }),
        };
        // "IPv6:" is the one part of a domain whose spelling could differ without a reason.
        match domain.get(..6) {
            Some(tag) if tag.eq_ignore_ascii_case("[IPv6:") => {
                Ok(Self(put(String::new(), &[&local, "@[IPv6:", domain.get(6..).unwrap_or("]")])?))
            }
            _ => Ok(Self(put(String::new(), &[&local, "@", domain])?)),
        }
    }
}

/// Local-part and domain of a canonical path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address<'a> {
    /// The local-part as written, with its quotes if it needs them.
    pub local: &'a str,
    /// The domain or address literal, without a trailing dot; empty for a bare `postmaster`.
    pub domain: &'a str,
}

impl<'a> Address<'a> {
    /// Splits canonical text, as [`Path::as_str`] gives it; `None` if it is empty.
    pub fn parse(canonical: &'a str) -> Option<Self> {
        let (local, domain) = canonical.rsplit_once('@').unwrap_or((canonical, ""));
        (!local.is_empty()).then_some(Self { local, domain: domain.strip_suffix('.').unwrap_or(domain) })
    }

    /// The local-part without quotes and backslashes: what names a mailbox. Text that did not
    /// come from a [`Path`] is cut at [`LOCAL_PART_OCTETS`].
    pub fn unquoted(&self) -> String<LOCAL_PART_OCTETS> {
        let mut plain = String::new();
        let Some(quoted) = self.local.strip_prefix('"').and_then(|text| text.strip_suffix('"')) else {
            let _ = self.local.chars().try_for_each(|c| plain.push(c));
            return plain;
        };
        let mut chars = quoted.chars();
        while let Some(c) = chars.next() {
            let c = if c == '\\' { chars.next().unwrap_or(c) } else { c };
            if plain.push(c).is_err() {
                break;
            }
        }
        plain
    }

    /// True if the domain is this one: ASCII case and a trailing dot do not count.
    pub fn is_at(&self, domain: &str) -> bool {
        same_domain(self.domain, domain)
    }
}

/// True if two domains are the same: ASCII case and a trailing dot do not count.
pub fn same_domain(one: &str, other: &str) -> bool {
    let bare = |domain: &str| domain.len() - usize::from(domain.ends_with('.'));
    one.as_bytes()[..bare(one)].eq_ignore_ascii_case(&other.as_bytes()[..bare(other)])
}

/// True if `text` can stand as a domain or an address literal in a mailbox (RFC 5321 4.1.2 and
/// 4.1.3); underscores are taken, as they are everywhere.
pub fn is_domain(text: &str) -> bool {
    checked_domain(text).is_ok()
}

/// What stands between the brackets at the start of `text`, and behind them.
fn bracketed(text: &[u8]) -> Result<(&[u8], &[u8]), Fault> {
    let text = text.strip_prefix(b"<").ok_or(Fault::Syntax)?;
    let end = unquoted_position(text, b'>').ok_or(Fault::Syntax)?;
    Ok((&text[..end], &text[end + 1..]))
}

/// The first `wanted` that does not stand inside quotes.
fn unquoted_position(text: &[u8], wanted: u8) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    text.iter().position(|&octet| {
        let found = octet == wanted && !quoted;
        match octet {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ => {}
        }
        found
    })
}

/// The mailbox behind a source route, `@one,@two:mailbox` (RFC 5321 4.1.1.3 and F.2): servers
/// must take routes and should ignore them.
fn without_route(text: &str) -> Result<&str, Fault> {
    let mut rest = text;
    while let Some(hop) = rest.strip_prefix('@') {
        let literal = if hop.starts_with('[') { hop.find(']').ok_or(Fault::Syntax)? } else { 0 };
        let tail = hop.get(literal..).ok_or(Fault::Syntax)?;
        let end = literal + tail.find([',', ':']).ok_or(Fault::Syntax)?;
        let (domain, behind) = hop.split_at(end);
        checked_domain(domain)?;
        rest = behind.get(1..).ok_or(Fault::Syntax)?;
        if behind.starts_with(':') {
            return Ok(rest);
        }
        if !rest.starts_with('@') {
            return Err(Fault::Syntax);
        }
    }
    Ok(rest)
}

/// The local-part at the start of `text` in canonical form, and what stands behind it.
fn local_part<'t>(text: &'t str, manner: Manner<'_>) -> Result<(String<LOCAL_PART_OCTETS>, &'t str), Fault> {
    let (plain, rest) = if text.starts_with('"') {
        unquote(text)?
    } else {
        let (local, rest) = text.split_at(text.find('@').unwrap_or(text.len()));
        let tolerable =
            matches!(manner, Manner::Tolerant(_)) && local.chars().all(|c| c == '.' || is_atext(c));
        if !is_dot_string(local) && !tolerable {
            return Err(Fault::Syntax);
        }
        (put(String::new(), &[local])?, rest)
    };
    if plain.is_empty() {
        return Err(Fault::Syntax);
    }
    if is_dot_string(&plain) {
        return Ok((plain, rest));
    }
    let mut quoted = put(String::new(), &["\""])?;
    for c in plain.chars() {
        if matches!(c, '"' | '\\') {
            quoted = put(quoted, &["\\"])?;
        }
        quoted.push(c).map_err(|_| Fault::TooLong)?;
    }
    Ok((put(quoted, &["\""])?, rest))
}

/// The content of the quoted string that `text` starts with, and what stands behind it.
fn unquote(text: &str) -> Result<(String<LOCAL_PART_OCTETS>, &str), Fault> {
    let mut plain = String::new();
    let mut chars = text.chars();
    let _quote = chars.next();
    loop {
        let c = match chars.next().ok_or(Fault::Syntax)? {
            '"' => return Ok((plain, chars.as_str())),
            '\\' => chars.next().filter(char::is_ascii).ok_or(Fault::Syntax)?,
            c => c,
        };
        if !matches!(c, ' '..='~') && !is_utf8_text(c) {
            return Err(Fault::Syntax);
        }
        plain.push(c).map_err(|_| Fault::TooLong)?;
    }
}

fn is_dot_string(text: &str) -> bool {
    text.split('.').all(|atom| !atom.is_empty() && atom.chars().all(is_atext))
}

/// RFC 5322 3.2.3, widened by RFC 6531 3.3.
fn is_atext(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c) || is_utf8_text(c)
}

/// Characters beyond ASCII that are taken. Spaces and control characters there look like
/// something else in every log and header.
fn is_utf8_text(c: char) -> bool {
    !c.is_ascii() && !c.is_control() && !c.is_whitespace()
}

/// The domain without a trailing dot.
fn checked_domain(text: &str) -> Result<&str, Fault> {
    let domain = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_') || is_utf8_text(c))
    };
    if domain.len() > DOMAIN_OCTETS {
        return Err(Fault::TooLong);
    }
    if text.starts_with('[') {
        return if is_literal(text) { Ok(text) } else { Err(Fault::Syntax) };
    }
    if domain.split('.').all(label) { Ok(domain) } else { Err(Fault::Syntax) }
}

/// RFC 5321 4.1.3, without general address literals: no tag but IPv6 was ever registered.
fn is_literal(text: &str) -> bool {
    let Some(inner) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) else { return false };
    match inner.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case("IPv6:") => inner[5..].parse::<Ipv6Addr>().is_ok(),
        _ => inner.parse::<Ipv4Addr>().is_ok(),
    }
}

/// `text` with `parts` behind it.
fn put<const N: usize>(mut text: String<N>, parts: &[&str]) -> Result<String<N>, Fault> {
    parts.iter().try_for_each(|part| text.push_str(part)).map_err(|_| Fault::TooLong)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::format;
    use std::string::String;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::{Address, Direction, Fault, Manner, Path, is_domain, same_domain};

    fn read(text: &str, direction: Direction, manner: Manner<'_>) -> Result<String, Fault> {
        let (path, rest) = Path::read(text.as_bytes(), direction, manner)?;
        Ok(format!("{}|{}", path.as_str(), str::from_utf8(rest).unwrap()))
    }

    fn strict(text: &str) -> Result<String, Fault> {
        read(text, Direction::Forward, Manner::Strict)
    }

    #[test]
    fn paths_get_one_spelling() {
        for (written, canonical) in [
            ("<a@b.example>", "a@b.example|"),
            ("<a@b.example> SIZE=1", "a@b.example| SIZE=1"),
            ("<\"a\"@b>", "a@b|"),
            ("<\"a.b\"@b>", "a.b@b|"),
            ("<\"a b\"@b>", "\"a b\"@b|"),
            ("<\"a\\b\\\"\\\\\"@b>", "\"ab\\\"\\\\\"@b|"),
            ("<\"a@b>c\"@d>", "\"a@b>c\"@d|"),
            ("<\"a..b\"@d>", "\"a..b\"@d|"),
            ("<@x.example:a@b>", "a@b|"),
            ("<@x,@[IPv6:::1],@y:a@b>", "a@b|"),
            ("<a@B.Example.>", "a@B.Example|"),
            ("<a@[192.0.2.1]>", "a@[192.0.2.1]|"),
            ("<a@[ipv6:2001:DB8::1]>", "a@[IPv6:2001:DB8::1]|"),
            ("<PostMaster>", "postmaster|"),
            ("<user%dom@here>", "user%dom@here|"),
            ("<dom!user@here>", "dom!user@here|"),
            ("<\"user@dom\"@here>", "\"user@dom\"@here|"),
            ("<\u{fc}n\u{ef}@b\u{fc}cher.example>", "\u{fc}n\u{ef}@b\u{fc}cher.example|"),
        ] {
            assert_eq!(strict(written).as_deref(), Ok(canonical), "{written}");
        }
        assert_eq!(read("<>", Direction::Reverse, Manner::Strict).as_deref(), Ok("|"));
    }

    #[test]
    fn strangers_keep_to_the_grammar() {
        for bad in [
            "",
            "<",
            "<>",
            "a@b",
            " <a@b>",
            "<a@b",
            "<a@b>x",
            "<a@b>>",
            "< a@b>",
            "<a b@c>",
            "<a@b@c>",
            "<@b>",
            "<a@>",
            "<.a@b>",
            "<a.@b>",
            "<a..b@c>",
            "<\"\"@b>",
            "<\"a@b>",
            "<\"a\"b@c>",
            "<a\"b\"@c>",
            "<a@-b>",
            "<a@b->",
            "<a@b..c>",
            "<a@.>",
            "<a@[1.2.3]>",
            "<a@[1.2.3.4>",
            "<a@[IPv6:1]>",
            "<a@[x:1]>",
            "<a@[1.2.3.4].>",
            "<@x,y:a@b>",
            "<@x:>",
            "<@x:@y:a@b>",
            "<a@b\0>",
            "<\"a\tb\"@c>",
            "<a@b c>",
            "<a\u{85}@b>",
            "<(x)a@b>",
        ] {
            assert_eq!(strict(bad), Err(Fault::Syntax), "{bad}");
        }
        assert_eq!(strict("<root>"), Err(Fault::NoDomain));
        assert_eq!(Path::read(b"<\xff@b>", Direction::Forward, Manner::Strict), Err(Fault::Encoding));
        assert_eq!(read("<postmaster>", Direction::Reverse, Manner::Strict), Err(Fault::NoDomain));
    }

    #[test]
    fn trusted_clients_write_as_they_like() {
        let tolerant = |text| read(text, Direction::Reverse, Manner::Tolerant("box.lan"));
        for (written, canonical) in [
            (" a@b", "a@b|"),
            ("a@b SIZE=10", "a@b| SIZE=10"),
            ("  < a@b >  ", "a@b|"),
            ("<root>", "root@box.lan|"),
            (" root", "root@box.lan|"),
            ("< >", "|"),
            ("<a..b.@c>", "\"a..b.\"@c|"),
            ("\"a b\"@c X=1", "\"a b\"@c| X=1"),
        ] {
            assert_eq!(tolerant(written).as_deref(), Ok(canonical), "{written}");
        }
        for bad in ["", "  ", "<a@b", "@", "<a@b>x"] {
            assert!(tolerant(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn limits_hold_to_the_octet() {
        let local = "x".repeat(128);
        assert!(Path::parse(&format!("{local}@b")).is_ok());
        assert_eq!(Path::parse(&format!("x{local}@b")), Err(Fault::TooLong));
        let labels = format!("{0}.{0}.{0}.{1}", "y".repeat(63), "z".repeat(60));
        assert_eq!(labels.len() + 2, 254);
        assert!(Path::parse(&format!("a@{labels}")).is_ok());
        assert_eq!(Path::parse(&format!("aa@{labels}")), Err(Fault::TooLong));
        assert_eq!(Path::parse(&format!("a@{}", "y".repeat(64))), Err(Fault::Syntax));
    }

    #[test]
    fn addresses_are_split_for_routing() {
        let address = Address::parse("\"a@\\\" b\"@Dom.example").unwrap();
        assert_eq!((address.unquoted().as_str(), address.domain), ("a@\" b", "Dom.example"));
        assert!(address.is_at("dom.EXAMPLE.") && !address.is_at("om.example"));
        assert_eq!(Address::parse("postmaster"), Some(Address { local: "postmaster", domain: "" }));
        assert_eq!(Address::parse(""), None);
        assert!(same_domain("a.b.", "A.b") && !same_domain("a.b", "a.c"));
        assert!(is_domain("[10.0.0.1]") && is_domain("my_host") && !is_domain("my host"));
    }

    fn local() -> impl Strategy<Value = String> {
        prop_oneof!["[ -~]{1,12}", "[a-z.\"\\\\@ ]{1,8}", "[a-z\u{e9}]{1,8}"]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn any_local_part_survives_quoting(plain in local()) {
            let quoted: String = plain.chars().flat_map(|c| match c {
                '"' | '\\' => std::vec!['\\', c],
                _ => std::vec![c],
            }).collect();
            let path = Path::parse(&format!("\"{quoted}\"@b.example")).unwrap();
            let address = path.address().unwrap();
            let unquoted = address.unquoted();
            prop_assert_eq!(unquoted.as_str(), plain);
            prop_assert_eq!(address.domain, "b.example");
            prop_assert_eq!(&Path::parse(path.as_str()).unwrap(), &path);
        }

        #[test]
        fn whatever_is_taken_is_canonical(text in "[<>@\"\\\\a-c.:,\\[\\]1 \u{e9}]{0,24}") {
            for manner in [Manner::Strict, Manner::Tolerant("box.lan")] {
                for direction in [Direction::Forward, Direction::Reverse] {
                    if let Ok((path, _)) = Path::read(text.as_bytes(), direction, manner) {
                        prop_assert!(path.is_null() || Path::parse(path.as_str()) == Ok(path.clone()));
                    }
                }
            }
        }

        #[test]
        fn arbitrary_octets_do_no_harm(octets in prop::collection::vec(any::<u8>(), 0..80), text in any::<String>()) {
            let _ = Path::read(&octets, Direction::Forward, Manner::Strict);
            let bracketed: Vec<u8> = [b"<\"", octets.as_slice(), b"@x>"].concat();
            let _ = Path::read(&bracketed, Direction::Forward, Manner::Tolerant("box.lan"));
            if let Some(address) = Address::parse(&text) {
                let _ = (address.unquoted(), address.is_at(&text));
            }
        }
    }
}
