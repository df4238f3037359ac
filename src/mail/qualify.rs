//! Addresses without a domain get one while the header section streams by.
//!
//! Old devices and cron write `From: root`. Their envelope is completed when it is read; the fields
//! that name addresses are completed here, for no other host knows whose `root` is meant (RFC 5322
//! 3.4.1 wants a domain). Only what is an address for sure is touched: one word that is no encoded
//! word, no group's name, all ASCII, alone or in angle brackets.
//!
//! The domain goes right behind the word, before the blanks and comments that follow it. Whether the
//! word is an address shows only behind them, so they are held back meanwhile.

use heapless::Vec;

use super::field::{Kind, LineStart};
use super::lexer::{Lexer, Part};
use super::section::{Piece, Section};
use crate::limits::GAP_OCTETS;

/// The fields that are lists of addresses (RFC 5322 3.6.2, 3.6.3, 3.6.6), and those by which a sender wants to
/// hear what became of a message (RFC 8098 2.1; the other two are older than it).
const FIELDS: [&str; 15] = [
    "From",
    "Sender",
    "Reply-To",
    "To",
    "Cc",
    "Bcc",
    "Resent-From",
    "Resent-Sender",
    "Resent-Reply-To",
    "Resent-To",
    "Resent-Cc",
    "Resent-Bcc",
    "Disposition-Notification-To",
    "Return-Receipt-To",
    "Errors-To",
];

/// Completes the addresses of one message.
#[derive(Debug, Default)]
pub struct Qualifier {
    section: Section<Addresses>,
    entry: Entry,
}

/// True for the field of a list of addresses.
type Addresses = bool;

impl Qualifier {
    /// Takes content (clean CRLF lines, split anywhere) and gives it on to `sink`, its bare addresses
    /// completed by `@domain`.
    ///
    /// # Errors
    /// Those of `sink`.
    pub fn write<E>(
        &mut self,
        domain: &str,
        octets: &[u8],
        sink: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut section = core::mem::replace(&mut self.section, Section::Body);
        section.follow(octets, |piece| match piece {
            Piece::Line(kind, start, before) => self.line(domain, kind, start, before, sink),
            Piece::More(true, octets) => {
                self.entry.write(domain, octets, sink).map(|()| Section::Field(true))
            }
            Piece::More(false, octets) => sink(octets).map(|()| Section::Field(false)),
            Piece::Body(octets) => sink(octets).map(|()| Section::Body),
        })?;
        self.section = section;
        Ok(())
    }

    /// The content is complete; it may have ended inside its header section.
    ///
    /// # Errors
    /// Those of `sink`.
    pub fn finish<E>(
        &mut self,
        domain: &str,
        sink: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.entry.end(domain, sink)?;
        match core::mem::replace(&mut self.section, Section::Body) {
            Section::Start { start, .. } => sink(start.octets()),
            Section::Field(_) | Section::Body => Ok(()),
        }
    }

    /// The state behind the start of a line of known kind.
    fn line<E>(
        &mut self,
        domain: &str,
        kind: Kind,
        start: &LineStart,
        before: Option<Addresses>,
        sink: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<Section<Addresses>, E> {
        if kind == Kind::Continuation && before == Some(true) {
            self.entry.write(domain, start.octets(), sink)?;
            return Ok(Section::Field(true));
        }
        self.entry.end(domain, sink)?;
        sink(start.octets())?;
        Ok(match kind {
            Kind::Field => Section::Field(FIELDS.iter().any(|name| start.is(name))),
            Kind::Continuation => Section::Field(false),
            Kind::Blank | Kind::Text => Section::Body,
        })
    }
}

/// What stands between two commas.
#[derive(Debug, Default)]
struct Entry {
    lexer: Lexer,
    place: Place,
    word: Word,
    /// Blanks and comments behind the word, held back until it is known what it is.
    gap: Vec<u8, GAP_OCTETS>,
}

/// Where in an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// Before `<`.
    #[default]
    Bare,
    /// Between `<` and `>`.
    Angle,
    /// Behind `>`.
    Behind,
}

/// What is known of the words at this place.
#[derive(Clone, Copy, Debug, Default)]
enum Word {
    #[default]
    Missing,
    /// One, with this octet at its end.
    One { last: u8 },
    /// The first octet of one that may be an encoded word (RFC 2047 2).
    Equals,
    /// A whole address, or nothing that a domain would make one.
    Other,
}

impl Word {
    /// The same with one octet more, behind a gap or not.
    fn with(self, octet: u8, gap: bool) -> Self {
        match (self, octet) {
            (Self::Other, _) | (_, b'@') | (Self::Equals, b'?') => Self::Other,
            (_, octet) if !octet.is_ascii() || octet.is_ascii_control() => Self::Other,
            (Self::Missing, b'=') => Self::Equals,
            (Self::Missing, last) => Self::One { last },
            // Blanks around the dots of a local-part are allowed (RFC 5322 4.4).
            (Self::One { last }, _) if gap && last != b'.' && octet != b'.' => Self::Other,
            (Self::Equals, _) if gap => Self::Other,
            (Self::One { .. } | Self::Equals, last) => Self::One { last },
        }
    }

    fn is_bare_address(self) -> bool {
        matches!(self, Self::One { .. } | Self::Equals)
    }
}

impl Entry {
    /// Takes octets of the field's value.
    fn write<E>(
        &mut self,
        domain: &str,
        octets: &[u8],
        sink: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        // Where the octets start that were taken but not given on: behind all that is held back.
        let mut from = 0;
        for (at, &octet) in octets.iter().enumerate() {
            match self.lexer.push(octet) {
                Part::Inside => {}
                Part::Gap => {
                    if self.word.is_bare_address() {
                        sink(&octets[from..at])?;
                        self.hold(octet, sink)?;
                        from = at + 1;
                    }
                }
                Part::Text => {
                    self.word = self.word.with(octet, !self.gap.is_empty());
                    self.release(sink)?;
                }
                Part::Mark => {
                    sink(&octets[from..at])?;
                    from = at;
                    self.mark(octet, domain, sink)?;
                }
            }
        }
        sink(&octets[from..])
    }

    /// Takes a mark; the octets before it were given on, itself is not.
    fn mark<E>(
        &mut self,
        octet: u8,
        domain: &str,
        sink: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let (place, word) = match (self.place, octet) {
            (Place::Bare, b',' | b';') | (Place::Angle, b'>') => {
                self.complete(domain, sink)?;
                let behind = if octet == b'>' { Place::Behind } else { Place::Bare };
                (behind, Word::Missing)
            }
            (Place::Behind, b',' | b';') => (Place::Bare, Word::Missing),
            // What stood before was a name; or that of a group.
            (Place::Bare | Place::Behind, b'<') => (Place::Angle, Word::Missing),
            (Place::Bare, b':') => (Place::Bare, Word::Missing),
            (place, _) => (place, Word::Other),
        };
        (self.place, self.word) = (place, word);
        self.release(sink)
    }

    /// Holds an octet back.
    fn hold<E>(&mut self, octet: u8, sink: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        if self.gap.push(octet).is_ok() {
            return Ok(());
        }
        // Nobody writes such a gap behind an address: it stays as it is.
        self.word = Word::Other;
        self.release(sink)?;
        sink(&[octet])
    }

    /// Gives on what was held back.
    fn release<E>(&mut self, sink: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        if !self.gap.is_empty() {
            sink(&self.gap)?;
            self.gap.clear();
        }
        Ok(())
    }

    /// The word is all there is here: if it is a bare address, its domain follows.
    fn complete<E>(&mut self, domain: &str, sink: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        if self.word.is_bare_address() && self.place != Place::Behind && !self.lexer.is_open() {
            sink(b"@")?;
            sink(domain.as_bytes())?;
        }
        Ok(())
    }

    /// The field is over. An angle bracket that is open is broken, and stays so.
    fn end<E>(&mut self, domain: &str, sink: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        if self.place == Place::Bare {
            self.complete(domain, sink)?;
        }
        self.release(sink)?;
        *self = Self::default();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::format;
    use std::string::String;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::{GAP_OCTETS, Qualifier};

    fn qualified(content: &[u8], size: usize) -> Vec<u8> {
        let mut qualifier = Qualifier::default();
        let mut stored = Vec::new();
        let mut sink = |octets: &[u8]| -> Result<(), ()> {
            stored.extend_from_slice(octets);
            Ok(())
        };
        for piece in content.chunks(size) {
            qualifier.write("h", piece, &mut sink).unwrap();
        }
        qualifier.finish("h", &mut sink).unwrap();
        stored
    }

    fn text(content: &str) -> String {
        let whole = qualified(content.as_bytes(), usize::MAX);
        for size in [1, 2, 5] {
            assert_eq!(qualified(content.as_bytes(), size), whole, "{content:?} by {size}");
        }
        String::from_utf8(whole).expect("text")
    }

    #[test]
    fn bare_addresses_get_the_domain() {
        for (value, expected) in [
            ("root", "root@h"),
            ("root, daemon;", "root@h, daemon@h;"),
            (" root (Cron (x) Daemon)", " root@h (Cron (x) Daemon)"),
            ("<root>", "<root@h>"),
            ("< root >", "< root@h >"),
            ("Cron Daemon <root>,a@b", "Cron Daemon <root@h>,a@b"),
            ("\"Cron, Daemon\" <root> (x)", "\"Cron, Daemon\" <root@h> (x)"),
            ("=?utf-8?q?J=C3=B6rg?= <root>", "=?utf-8?q?J=C3=B6rg?= <root@h>"),
            ("J\u{f6}rg <root>", "J\u{f6}rg <root@h>"),
            ("Friends: root, A <b>;, c", "Friends: root@h, A <b@h>;, c@h"),
            ("root\r\n , daemon\r\n\t(x)", "root@h\r\n , daemon@h\r\n\t(x)"),
            ("\"two words\"", "\"two words\"@h"),
            ("a . b", "a . b@h"),
            ("(x) root", "(x) root@h"),
            ("=", "=@h"),
            ("a=?b", "a=?b@h"),
        ] {
            let field = format!("To:{value}\r\n\r\n");
            assert_eq!(text(&field), format!("To:{expected}\r\n\r\n"));
        }
    }

    #[test]
    fn everything_else_stays() {
        for value in [
            "a@b, <c@d>, E <f@g>",
            "\"a@b\"@c, a@[192.0.2.1]",
            "undisclosed-recipients:;",
            "Undisclosed recipients:;",
            "two words",
            "two \"words\"",
            "=?utf-8?q?J=C3=B6rg?=",
            "J\u{f6}rg",
            "<j\u{f6}rg>",
            "<@x:root>",
            "<>",
            "",
            ",,;",
            "\"open",
            "<open",
            "<a> b",
            "<two words>",
        ] {
            for name in ["To", "FROM ", "Resent-Sender"] {
                let field = format!("{name}:{}\r\n\r\nTo: root\r\n", value.replace("<a>", "<a@b>"));
                assert_eq!(text(&field), field);
            }
        }
    }

    #[test]
    fn only_fields_with_addresses_count() {
        let content =
            "Subject: root\r\n root\r\nX-To: root\r\nreply-to : root\r\nDate: x\r\n\r\nCc: root\r\n";
        assert_eq!(text(content), content.replace("reply-to : root", "reply-to : root@h"));
        for name in ["Disposition-Notification-To", "return-receipt-to", "Errors-To"] {
            let field = format!("{name}: root");
            assert_eq!(text(&field), format!("{field}@h"));
        }
        assert_eq!(text("To: root"), "To: root@h");
        assert_eq!(text("To: root\r\n"), "To: root@h\r\n");
        assert_eq!(text("To: root\r\nCc"), "To: root@h\r\nCc");
        assert_eq!(text("To: root\r\nbody, root\r\n"), "To: root@h\r\nbody, root\r\n");
        assert_eq!(text("To: \"open\r\nCc: root\r\n\r\n"), "To: \"open\r\nCc: root@h\r\n\r\n");
    }

    #[test]
    fn a_gap_without_an_end_is_not_kept() {
        for (blanks, expected) in [(GAP_OCTETS, "@h"), (GAP_OCTETS + 1, "")] {
            let gap = " ".repeat(blanks);
            assert_eq!(text(&format!("To: root{gap}, a")), format!("To: root{expected}{gap}, a@h"));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]
        #[test]
        fn splits_change_nothing_and_nothing_is_lost(
            value in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(&b"<>()[]\"\\,;:@. ab=?\r\n"[..])], 0..80),
            size in 1usize..9,
        ) {
            let content = [b"To: ", &value[..], b"\r\n\r\nbody"].concat();
            let whole = qualified(&content, usize::MAX);
            prop_assert_eq!(&qualified(&content, size), &whole);
            // Without what was added the content is there.
            let mut left = &whole[..];
            for octet in &content {
                while left.first() != Some(octet) {
                    prop_assert!(left.starts_with(b"@h"), "{:?}", left);
                    left = &left[2..];
                }
                left = &left[1..];
            }
            prop_assert!(left.is_empty());
        }

        #[test]
        fn twice_is_as_good_as_once(
            value in "([a-z\" <>(),.:;]{0,9}[a-z]@b[ >,;]{1,3}){0,5}",
        ) {
            let content = format!("To: {value}\r\n\r\n");
            let once = qualified(content.as_bytes(), 7);
            prop_assert_eq!(&qualified(&once, 7), &once);
        }
    }
}
