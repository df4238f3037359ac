//! The trace field that every message gets at its top (RFC 5321 4.4).

use core::fmt::{self, Display, Write};
use core::net::IpAddr;

use super::date::Date;
use crate::limits::{DOMAIN_OCTETS, PATH_OCTETS, RECEIVED_OCTETS};
use crate::smtp::buffer::Buffer;

/// Octets after which a line is folded where it can be (RFC 5322 2.1.1).
const LINE_OCTETS: usize = 78;
/// Octets of the name of a protocol, and of a queue id, that are shown.
const WORD_OCTETS: usize = 32;

// "Received: from (by (pillarbox) with id for <>;", two host names, an address, and the folds.
const _: () =
    assert!(2 * DOMAIN_OCTETS + PATH_OCTETS + 2 * WORD_OCTETS + Date::OCTETS + 150 <= RECEIVED_OCTETS);

/// How a message came to us.
#[derive(Clone, Copy, Debug)]
pub struct Trace<'a> {
    /// From whom.
    pub origin: Origin<'a>,
    /// Our name.
    pub hostname: &'a str,
    /// The protocol's name (RFC 3848, RFC 6531 4.3): `ESMTP`. Not shown for [`Origin::User`].
    pub protocol: &'a str,
    /// The queue id.
    pub id: &'a str,
    /// The recipient's canonical path, if there is only one: with more, each would learn of the others.
    pub recipient: Option<&'a str>,
    /// When.
    pub date: Date,
}

/// Who handed the message in.
#[derive(Clone, Copy, Debug)]
pub enum Origin<'a> {
    /// A host.
    Host {
        /// What it called itself in HELO or EHLO; can be anything, or empty.
        hello: &'a str,
        /// Where its connection comes from.
        address: IpAddr,
    },
    /// A program on this machine, run by the user of this number.
    User(u32),
}

/// Composes the field, its last CRLF included, in place of what is in `out`.
///
/// Every line is within 78 octets unless one word alone is longer, and never over 998.
pub fn compose(trace: &Trace<'_>, out: &mut Buffer<RECEIVED_OCTETS>) {
    out.clear();
    let result = try_compose(trace, out);
    assert!(result.is_ok(), "every part of the field is bounded");
}

fn try_compose(trace: &Trace<'_>, out: &mut Buffer<RECEIVED_OCTETS>) -> fmt::Result {
    let hostname = Plain(trace.hostname, DOMAIN_OCTETS);
    let mut field = Folded { out, column: 0 };
    field.word("Received:")?;
    match trace.origin {
        Origin::Host { hello, address } => {
            let literal = Literal(address.to_canonical());
            match hello {
                "" => field.words("from", literal)?,
                hello => field.words("from", Plain(hello, DOMAIN_OCTETS))?,
            }
            field.word(format_args!("({literal})"))?;
            field.fold()?;
            field.words("by", hostname)?;
            field.word("(pillarbox)")?;
            field.words("with", Plain(trace.protocol, WORD_OCTETS))?;
        }
        Origin::User(user) => {
            field.words("by", hostname)?;
            field.word(format_args!("(pillarbox, from userid {user})"))?;
        }
    }
    field.words("id", Plain(trace.id, WORD_OCTETS))?;
    if let Some(path) = trace.recipient {
        field.fold()?;
        field.words("for", Bracketed(path))?;
    }
    field.end(trace.date)
}

/// Words put on lines.
struct Folded<'a> {
    out: &'a mut Buffer<RECEIVED_OCTETS>,
    column: usize,
}

impl Folded<'_> {
    /// One word, on a line of its own if this one has no room for it.
    fn word(&mut self, word: impl Display) -> fmt::Result {
        self.put(&word, octets(&word))
    }

    /// A keyword and its word, kept on one line.
    fn words(&mut self, keyword: &str, word: impl Display) -> fmt::Result {
        self.word(format_args!("{keyword} {word}"))
    }

    fn put(&mut self, word: &dyn Display, octets: usize) -> fmt::Result {
        // One octet more for the semicolon that can follow.
        if self.column > 1 && self.column + octets + 2 > LINE_OCTETS {
            self.fold()?;
        }
        if self.column > 1 {
            self.out.write_str(" ")?;
            self.column += 1;
        }
        self.column += octets;
        write!(self.out, "{word}")
    }

    fn fold(&mut self) -> fmt::Result {
        self.column = 1;
        self.out.write_str("\r\n\t")
    }

    fn end(mut self, date: Date) -> fmt::Result {
        self.out.write_str(";")?;
        self.column += 1;
        self.word(date)?;
        self.out.write_str("\r\n")
    }
}

fn octets(text: &impl Display) -> usize {
    struct Count(usize);
    impl Write for Count {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0 += text.len();
            Ok(())
        }
    }
    let mut count = Count(0);
    let _ = write!(count, "{text}");
    count.0
}

/// Text of a peer as one word: what could end the word, open a comment or is not printable ASCII
/// becomes `?`; cut at so many octets.
#[derive(Clone, Copy)]
struct Plain<'a>(&'a str, usize);

impl Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().take(self.1).try_for_each(|c| {
            f.write_char(if matches!(c, '!'..='~') && !matches!(c, '(' | ')' | '\\' | '"' | ';') {
                c
            } else {
                '?'
            })
        })
    }
}

/// An address as it stands in a domain's place (RFC 5321 4.1.3).
#[derive(Clone, Copy)]
struct Literal(IpAddr);

impl Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => write!(f, "[{address}]"),
            IpAddr::V6(address) => write!(f, "[IPv6:{address}]"),
        }
    }
}

/// A canonical path: spaces and UTF-8 can be in it, control characters not.
struct Bracketed<'a>(&'a str);

impl Display for Bracketed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('<')?;
        let mut free = PATH_OCTETS - 2;
        for c in self.0.chars() {
            let shown = if c.is_control() { '?' } else { c };
            match free.checked_sub(shown.len_utf8()) {
                Some(rest) => free = rest,
                None => break,
            }
            f.write_char(shown)?;
        }
        f.write_char('>')
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::string::String;

    use proptest::prelude::*;

    use super::{Buffer, Date, IpAddr, Origin, Trace, compose};

    fn composed(trace: &Trace<'_>) -> String {
        let mut out = Buffer::new();
        assert!(out.push(b"left over"));
        compose(trace, &mut out);
        String::from_utf8(out.filled().to_vec()).expect("UTF-8")
    }

    fn trace(origin: Origin<'_>) -> Trace<'_> {
        let date = Date::utc(1_795_470_424);
        Trace {
            origin,
            hostname: "mx.example",
            protocol: "ESMTP",
            id: "0198f3a2c1-0007",
            recipient: None,
            date,
        }
    }

    fn host<'a>(hello: &'a str, address: &str) -> Origin<'a> {
        Origin::Host { hello, address: address.parse().expect("an address") }
    }

    #[test]
    fn the_field_names_who_how_and_when() {
        assert_eq!(
            composed(&Trace { recipient: Some("x@y.example"), ..trace(host("printer", "192.0.2.7")) }),
            "Received: from printer ([192.0.2.7])\r\n\
             \tby mx.example (pillarbox) with ESMTP id 0198f3a2c1-0007\r\n\
             \tfor <x@y.example>; Mon, 23 Nov 2026 21:47:04 +0000\r\n"
        );
        assert_eq!(
            composed(&trace(host("", "2001:db8::7"))),
            "Received: from [IPv6:2001:db8::7] ([IPv6:2001:db8::7])\r\n\
             \tby mx.example (pillarbox) with ESMTP id 0198f3a2c1-0007;\r\n\
             \tMon, 23 Nov 2026 21:47:04 +0000\r\n"
        );
        assert!(composed(&trace(host("a", "::ffff:192.0.2.1"))).contains("from a ([192.0.2.1])"));
        assert_eq!(
            composed(&trace(Origin::User(1000))),
            "Received: by mx.example (pillarbox, from userid 1000) id 0198f3a2c1-0007;\r\n\
             \tMon, 23 Nov 2026 21:47:04 +0000\r\n"
        );
    }

    #[test]
    fn a_name_cannot_break_out() {
        let field = composed(&trace(host("a\r\nBcc: x (\u{e9}) ; y\\\"", "192.0.2.1")));
        assert!(field.starts_with("Received: from a??Bcc:?x???????y?? ([192.0.2.1])\r\n\tby "), "{field}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn lines_are_short_whatever_comes(
            hello in any::<String>(), long in "[a-z.]{200,400}", id in ".{0,60}",
            recipient in proptest::option::of(prop_oneof![any::<String>(), "[a-z@]{240,300}"]),
            address in any::<IpAddr>(), unix_s in any::<i64>(),
        ) {
            for hello in [&hello, &long] {
                let field = composed(&Trace {
                    origin: Origin::Host { hello, address }, hostname: &long, protocol: &id, id: &id,
                    recipient: recipient.as_deref(), date: Date::utc(unix_s),
                });
                let text = field.strip_suffix("\r\n").expect("a line end");
                for (number, line) in text.split("\r\n").enumerate() {
                    prop_assert!(line.len() <= 998);
                    prop_assert_eq!(line.starts_with('\t'), number > 0);
                    prop_assert!(!line.trim().is_empty());
                    prop_assert!(!line.contains(['\r', '\n']));
                }
            }
        }
    }
}
