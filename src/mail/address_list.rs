//! The recipients that stand in a message's own header (`sendmail -t`; RFC 5322 3.4).
//!
//! Names, comments, groups and source routes fall away as they are read, so one address is all
//! that is ever kept. What comes out is not judged here: whoever uses it reads it as a path, and
//! what is no address is reported rather than passed over, for mail that reaches only some of its
//! recipients without a word is lost mail.

use core::convert::Infallible;
use core::str;

use heapless::Vec;

use super::field::Kind;
use super::lexer::{Lexer, Part};
use super::section::{Piece, Section};
use crate::limits::PATH_OCTETS;

/// Something between two commas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    /// An address without name and comments: `local-part@domain`, or a local-part alone.
    Address(&'a str),
    /// No address: too long, not UTF-8, an open quote, or words in a row. Its text as far as it is
    /// known.
    Unreadable(&'a str),
}

/// Reads `To:`, `Cc:` and `Bcc:` of one message, or their `Resent-` kin (RFC 5322 3.6.6).
#[derive(Debug)]
pub struct Recipients {
    names: [&'static str; 3],
    /// A field is remembered as one of interest, or not.
    section: Section<bool>,
    list: List,
}

impl Recipients {
    /// Before the first octet.
    pub fn original() -> Self {
        Self { names: ["To", "Cc", "Bcc"], section: Section::FIRST, list: List::default() }
    }

    /// The same for the fields of someone who sends a message on.
    pub fn resent() -> Self {
        Self { names: ["Resent-To", "Resent-Cc", "Resent-Bcc"], ..Self::original() }
    }

    /// Takes content, split anywhere; `each` sees every entry when it is complete.
    pub fn read(&mut self, octets: &[u8], each: &mut impl FnMut(Entry<'_>)) {
        let Self { names, section, list } = self;
        let Ok(()) = section.follow(octets, |piece| {
            Ok::<_, Infallible>(match piece {
                Piece::Line(Kind::Continuation, _, Some(before)) => Section::Field(before),
                Piece::Line(kind, start, before) => {
                    list.end(each);
                    // As `header::Scanner` sees it: what is no field there is none here.
                    match kind {
                        Kind::Field => Section::Field(names.iter().any(|name| start.is(name))),
                        Kind::Text if before.is_none() && start.is_mailbox_line() => Section::Field(false),
                        Kind::Continuation | Kind::Blank | Kind::Text => Section::Body,
                    }
                }
                Piece::More(reading, octets) => {
                    octets.iter().filter(|_| reading).for_each(|octet| list.push(*octet, each));
                    Section::Field(reading)
                }
                Piece::Body(_) => Section::Body,
            })
        });
    }

    /// The content is complete.
    pub fn finish(&mut self, each: &mut impl FnMut(Entry<'_>)) {
        self.list.end(each);
        self.section = Section::Body;
    }
}

/// A list of addresses, the value of a field.
#[derive(Debug, Default)]
pub(super) struct List {
    place: Place,
    lexer: Lexer,
    /// The address so far, or a name until it proves to be one.
    text: Vec<u8, PATH_OCTETS>,
    /// What is in `text` can be no address.
    unreadable: bool,
    /// A blank or comment stands behind `text`.
    gap: bool,
}

/// Where in an entry.
#[derive(Clone, Copy, Debug, Default)]
enum Place {
    /// Before `<`: a name or an address.
    #[default]
    Bare,
    /// Between `<` and `>`.
    Angle,
    /// Behind `>`.
    Behind,
}

impl List {
    pub fn push(&mut self, octet: u8, each: &mut impl FnMut(Entry<'_>)) {
        match (self.lexer.push(octet), octet, self.place) {
            (Part::Inside, ..) => {}
            (Part::Gap, ..) => self.gap = true,
            (Part::Mark, b',' | b';', Place::Bare | Place::Behind) => self.emit(each),
            // What stood before was a name. Behind another address a comma is missing.
            (Part::Mark, b'<', Place::Bare | Place::Behind) => {
                self.clear();
                self.place = Place::Angle;
            }
            // What stood before was the name of a group.
            (Part::Mark, b':', Place::Bare) => self.clear(),
            // What stood before was a source route.
            (Part::Mark, b':', Place::Angle) if self.text.starts_with(b"@") => self.clear_text(),
            (Part::Mark, b'>', Place::Angle) => {
                self.emit(each);
                self.place = Place::Behind;
            }
            (Part::Mark | Part::Text, ..) => self.keep(octet),
        }
    }

    /// Adds an octet to the text.
    fn keep(&mut self, octet: u8) {
        let joins = |octet: Option<&u8>| matches!(octet, None | Some(b'.' | b'@'));
        // What follows an address in brackets belongs to nothing.
        self.unreadable |= matches!(self.place, Place::Behind);
        if self.gap && !joins(self.text.last()) && !joins(Some(&octet)) {
            self.unreadable = true;
            let _ = self.text.push(b' ');
        }
        self.gap = false;
        if self.text.push(octet).is_err() {
            self.unreadable = true;
        }
    }

    /// An entry is over.
    fn emit(&mut self, each: &mut impl FnMut(Entry<'_>)) {
        let (text, whole) = match str::from_utf8(&self.text) {
            Ok(text) => (text, true),
            Err(error) => {
                let (valid, _) = self.text.split_at(error.valid_up_to());
                (str::from_utf8(valid).unwrap_or_default(), false)
            }
        };
        match text {
            "" if whole => {}
            text if whole && !self.unreadable => each(Entry::Address(text)),
            text => each(Entry::Unreadable(text)),
        }
        self.clear();
    }

    /// The field is over.
    pub fn end(&mut self, each: &mut impl FnMut(Entry<'_>)) {
        self.unreadable |= self.lexer.is_open();
        self.emit(each);
        self.lexer = Lexer::default();
    }

    fn clear(&mut self) {
        self.clear_text();
        self.place = Place::Bare;
    }

    fn clear_text(&mut self) {
        self.text.clear();
        self.unreadable = false;
        self.gap = false;
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::format;
    use std::string::{String, ToString};
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::{Entry, PATH_OCTETS, Recipients};

    /// The entries, those that cannot be read behind a `!`.
    fn entries(content: &[u8], size: usize) -> Vec<String> {
        let mut found = Vec::new();
        let mut each = |entry: Entry<'_>| match entry {
            Entry::Address(address) => found.push(address.to_string()),
            Entry::Unreadable(text) => found.push(format!("!{text}")),
        };
        let mut recipients = Recipients::original();
        content.chunks(size).for_each(|piece| recipients.read(piece, &mut each));
        recipients.finish(&mut each);
        found
    }

    fn list(value: &str) -> Vec<String> {
        let content = format!("To: {value}\r\n\r\n");
        let found = entries(content.as_bytes(), usize::MAX);
        assert_eq!(entries(content.as_bytes(), 1), found, "{value:?}");
        found
    }

    #[test]
    fn addresses_of_every_form_are_read() {
        for (value, expected) in [
            ("a@b", &["a@b"][..]),
            ("root", &["root"]),
            ("a@b, c@d,e@f", &["a@b", "c@d", "e@f"]),
            (" a@b ,\r\n\tc@d", &["a@b", "c@d"]),
            ("Ann Lee <a@b>, <c@d>", &["a@b", "c@d"]),
            ("\"Lee, Ann <x>; y:\" <a@b>", &["a@b"]),
            ("=?utf-8?q?J=C3=B6rg?= <j@b>", &["j@b"]),
            ("J\u{f6}rg <j\u{f6}@b>", &["j\u{f6}@b"]),
            ("a@b (Ann (the \\) one), Lee), c@d", &["a@b", "c@d"]),
            ("(x) a(y)@(z)b", &["a@b"]),
            ("a . b @ c . d", &["a.b@c.d"]),
            ("\"a b\"@c, \"\\\"@,\"@d", &["\"a b\"@c", "\"\\\"@,\"@d"]),
            ("<\"a>b\"@c>", &["\"a>b\"@c"]),
            ("a@[192.0.2.1], b@[IPv6:::1]", &["a@[192.0.2.1]", "b@[IPv6:::1]"]),
            ("<@x,@y:a@b>", &["a@b"]),
            ("Friends: a@b, C <c@d>;, e@f", &["a@b", "c@d", "e@f"]),
            ("undisclosed-recipients:;", &[]),
            ("", &[]),
            (",, <>, ;", &[]),
            ("<a@b> <c@d>", &["a@b", "c@d"]),
        ] {
            assert_eq!(list(value), expected, "{value:?}");
        }
    }

    #[test]
    fn what_is_no_address_is_reported() {
        for (value, expected) in [
            ("Ann Lee, a@b", &["!Ann Lee", "a@b"][..]),
            ("a@b c@d", &["!a@b c@d"]),
            ("<a@b> c", &["a@b", "!c"]),
            ("\"open <a@b>", &["!\"open <a@b>"]),
            ("<a@b, c@d", &["!a@b, c@d"]),
        ] {
            assert_eq!(list(value), expected, "{value:?}");
        }
        let long = "x".repeat(PATH_OCTETS);
        assert_eq!(list(&format!("{long}y, a@b")), [format!("!{long}"), "a@b".to_string()]);
        // A long name is not a long address.
        assert_eq!(list(&format!("{long} {long} <a@b>")), ["a@b"]);
        assert_eq!(entries(b"To: a\xff@b, c@d\r\n", 9), ["!a", "c@d"]);
    }

    #[test]
    fn only_the_header_section_and_three_fields_count() {
        let content = "To: a@b\r\nX-To: no@x\r\n,no@x\r\n\r\nCc: no@x\r\n";
        assert_eq!(entries(content.as_bytes(), 3), ["a@b"]);
        let content = "tO : a@b\r\nSubject: x,\r\n no@x\r\nCC: c@d,\r\n e@f\r\nBcc: g@h\r\n\r\nTo: no@x\r\n";
        assert_eq!(entries(content.as_bytes(), 3), ["a@b", "c@d", "e@f", "g@h"]);
        assert_eq!(entries(b"To: a@b", 3), ["a@b"]);
        assert_eq!(entries(b"To: \"open\r\nCc: c@d\r\n\r\n", 3), ["!\"open", "c@d"]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn nothing_panics_and_splits_change_nothing(
            value in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(&b"<>()[]\"\\,;:@. ab\r\n"[..])], 0..80),
            size in 1usize..9,
        ) {
            let content = [b"To: ", &value[..]].concat();
            prop_assert_eq!(entries(&content, size), entries(&content, usize::MAX));
        }

        #[test]
        fn names_and_comments_change_nothing(
            addresses in prop::collection::vec("[a-z.]{1,9}@[a-z.]{1,9}", 1..6),
            form in prop::sample::select(&["{}", "<{}>", "A B <{}>", "\"A, B\" <{}> (c)", "g: {};", "(c, d) {}"][..]),
        ) {
            let value: Vec<String> = addresses.iter().map(|address| form.replace("{}", address)).collect();
            prop_assert_eq!(list(&value.join(",\r\n ")), addresses);
        }
    }
}
