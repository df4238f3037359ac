//! Untrusted text as a notice shows it: on its line, and in the letters of its place.

use core::fmt::{self, Display, Write};

use crate::smtp::xtext;

/// At most 70 octets of RFC 2046's `bchars`.
pub(super) struct Boundary<'a>(pub &'a str);

/// What every boundary begins with.
pub(super) const BOUNDARY: &str = "=_pillarbox_";

impl Display for Boundary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(BOUNDARY)?;
        let bchars = self.0.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-');
        bchars.take(48).try_for_each(|c| f.write_char(c))
    }
}

fn ascii(c: char) -> char {
    if matches!(c, ' '..='~') { c } else { '?' }
}

/// Text in printable ASCII, `?` for the rest.
#[derive(Clone, Copy)]
pub(super) struct Ascii<'a>(pub &'a str);

impl Display for Ascii<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| f.write_char(ascii(c)))
    }
}

/// Text without control characters, `?` for those.
pub(super) struct Printable<'a>(pub &'a str);

impl Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| f.write_char(if c.is_control() { '?' } else { c }))
    }
}

/// An address for people: letters beyond ASCII as `\x{…}`, so that they can be told apart.
pub(super) struct Escaped<'a>(pub &'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            c if c.is_ascii() => f.write_char(ascii(c)),
            c => write!(f, "\\x{{{:X}}}", u32::from(c)),
        })
    }
}

/// The text that xtext stands for, in printable ASCII.
pub(super) struct Decoded<'a>(pub &'a str);

impl Display for Decoded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        xtext::decoded(self.0).try_for_each(|c| f.write_char(ascii(c)))
    }
}

/// An address as utf-8-addr-xtext (RFC 6533 3): all but plain ASCII as `\x{…}`.
pub(super) struct Utf8<'a>(pub &'a str);

impl Display for Utf8<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '+' | '=' | '\\' => write!(f, "\\x{{{:02X}}}", u32::from(c)),
            '!'..='~' => f.write_char(c),
            _ => write!(f, "\\x{{{:02X}}}", u32::from(c)),
        })
    }
}

/// The name of a host that is given as in the log (`name[address]:port`, `name:port`, `address:port`), or a
/// bare address: a domain, or an address literal.
pub(super) struct MtaName<'a>(pub &'a str);

impl Display for MtaName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_v6 = |text: &str| text.matches(':').count() > 1;
        let host = match self.0.split_once('[') {
            // "[2001:db8::1]:25", and "name[192.0.2.1]:25".
            Some(("", rest)) => rest.split(']').next().unwrap_or(rest),
            Some((name, _)) => name,
            None if is_v6(self.0) => self.0,
            None => self.0.split(':').next().unwrap_or(self.0),
        };
        let is_address = host.chars().all(|c| c.is_ascii_digit() || c == '.');
        match (is_v6(host), is_address && !host.is_empty()) {
            (true, _) => write!(f, "[IPv6:{}]", Ascii(host)),
            (_, true) => write!(f, "[{}]", Ascii(host)),
            _ => Ascii(host).fmt(f),
        }
    }
}

/// Octets of a header line: printable ASCII and tabs, `?` for the rest; octets beyond ASCII as they
/// are if `utf8`.
pub(super) struct Octets<'a> {
    pub octets: &'a [u8],
    pub utf8: bool,
}

impl Octets<'_> {
    /// Hands the octets out in runs.
    pub fn put<E>(&self, sink: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let is_plain = |octet: &u8| matches!(octet, b'\t' | b' '..=b'~') || self.utf8 && *octet >= 0x80;
        let mut rest = self.octets;
        while !rest.is_empty() {
            let plain = rest.iter().take_while(|octet| is_plain(octet)).count();
            let (run, after) = rest.split_at(plain.max(1));
            sink(if plain == 0 { b"?" } else { run })?;
            rest = after;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::string::ToString;

    use super::{Escaped, MtaName};

    #[test]
    fn hosts_of_the_log_become_names_of_mtas() {
        for (host, name) in [
            ("smtp.example.net[192.0.2.1]:587", "smtp.example.net"),
            ("smtp.example.net:587", "smtp.example.net"),
            ("127.0.0.1:2525", "[127.0.0.1]"),
            ("192.168.1.50", "[192.168.1.50]"),
            ("[2001:db8::1]:25", "[IPv6:2001:db8::1]"),
            ("2001:db8::1", "[IPv6:2001:db8::1]"),
            ("mx\r\n.example[::1]:25", "mx??.example"),
            ("", ""),
        ] {
            assert_eq!(MtaName(host).to_string(), name, "{host}");
        }
    }

    #[test]
    fn letters_beyond_ascii_can_be_told_apart() {
        assert_eq!(Escaped("j\u{f6}rg+x@b\r").to_string(), "j\\x{F6}rg+x@b?");
    }
}
