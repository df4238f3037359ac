//! The header section of a message, looked at and completed while it streams by.
//!
//! Nothing is kept but the start of a line until it is known which field it is; lines of any length
//! pass. Fields are added at the end of the section, so where it ends is all that must be found.

use super::date::Date;
use super::field::{Kind, LineStart, put};
use super::section::{Piece, Section};
use crate::limits::RECEIVED_LINES;

/// What is to be changed; the same for all calls about one message.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules<'a> {
    /// Fields to be added if they are missing.
    pub missing: Option<Missing<'a>>,
    /// Leaves every `Bcc:` and `Resent-Bcc:` out (for sendmail).
    pub drop_bcc: bool,
    /// Leaves every `Return-Path:` out: only the final delivery adds it (RFC 5321 4.4).
    pub drop_return_path: bool,
}

/// What `Date:`, `Message-ID:` and `From:` say when a message comes without.
#[derive(Clone, Copy, Debug)]
pub struct Missing<'a> {
    /// For `Date:`; `None` while the clock can't be believed: then it is left to the next hop.
    pub date: Option<Date>,
    /// For `Message-ID: <id@hostname>`: the queue id.
    pub id: &'a str,
    /// For `Message-ID:`: our name.
    pub hostname: &'a str,
    /// The text of `From:`, an address with or without a display name; control characters are
    /// left out.
    pub from: &'a str,
}

/// Follows one message.
#[derive(Debug, Default)]
pub struct Scanner {
    section: Section<Fate>,
    received: u32,
    found: Found,
}

/// Which of the fields that can be missing were seen.
#[derive(Debug, Default)]
struct Found {
    date: bool,
    message_id: bool,
    from: bool,
}

/// What becomes of a field.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Kept,
    Dropped,
}

impl Scanner {
    /// Before the first octet.
    pub const fn new() -> Self {
        let found = Found { date: false, message_id: false, from: false };
        Self { section: Section::FIRST, received: 0, found }
    }

    /// Takes decoded content (clean CRLF lines, split anywhere) and gives what is to be stored to
    /// `sink`. A message whose first line is no field has no header section: it gets one, and the
    /// empty line behind it.
    ///
    /// # Errors
    /// Those of `sink`; the message is lost to the scanner then.
    pub fn write<E>(
        &mut self,
        rules: &Rules<'_>,
        octets: &[u8],
        sink: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut section = core::mem::replace(&mut self.section, Section::Body);
        section.follow(octets, |piece| match piece {
            Piece::Line(kind, start, before) => self.line(rules, kind, start, before, sink),
            Piece::More(Fate::Dropped, _) => Ok(Section::Field(Fate::Dropped)),
            Piece::More(Fate::Kept, octets) => sink(octets).map(|()| Section::Field(Fate::Kept)),
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
        rules: &Rules<'_>,
        sink: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        match core::mem::replace(&mut self.section, Section::Body) {
            Section::Body => Ok(()),
            Section::Start { start, .. } if start.octets().is_empty() => self.complete(rules, sink),
            Section::Start { start, before } => self.line(rules, Kind::Text, &start, before, sink).map(drop),
            Section::Field(fate) => {
                if let Fate::Kept = fate {
                    sink(b"\r\n")?;
                }
                self.complete(rules, sink)
            }
        }
    }

    /// `Received:` fields so far.
    pub fn received(&self) -> u32 {
        self.received
    }

    /// True if there are so many `Received:` fields that the message must be going in circles
    /// (RFC 5321 6.3).
    pub fn is_looping(&self) -> bool {
        self.received >= RECEIVED_LINES
    }

    /// The state behind the start of a line of known kind.
    fn line<E>(
        &mut self,
        rules: &Rules<'_>,
        kind: Kind,
        start: &LineStart,
        before: Option<Fate>,
        sink: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<Section<Fate>, E> {
        match (kind, before) {
            (Kind::Field, _) => {
                self.note(start);
                let dropped = rules.drop_bcc && (start.is("Bcc") || start.is("Resent-Bcc"))
                    || rules.drop_return_path && start.is("Return-Path");
                if dropped {
                    return Ok(Section::Field(Fate::Dropped));
                }
                sink(start.octets())?;
                Ok(Section::Field(Fate::Kept))
            }
            (Kind::Continuation, Some(Fate::Dropped)) => Ok(Section::Field(Fate::Dropped)),
            (Kind::Continuation, Some(Fate::Kept)) => {
                sink(start.octets())?;
                Ok(Section::Field(Fate::Kept))
            }
            (Kind::Blank, _) => {
                self.complete(rules, sink)?;
                sink(start.octets())?;
                Ok(Section::Body)
            }
            // A field to Postfix too.
            (Kind::Text, None) if start.is_mailbox_line() => {
                sink(b"X-Mailbox-Line: ")?;
                sink(start.octets())?;
                Ok(Section::Field(Fate::Kept))
            }
            // The line is the body's first: without an empty line it would be part of our fields.
            (Kind::Text, _) | (Kind::Continuation, None) => {
                self.complete(rules, sink)?;
                sink(b"\r\n")?;
                sink(start.octets())?;
                Ok(Section::Body)
            }
        }
    }

    fn note(&mut self, field: &LineStart) {
        if field.is("Received") {
            self.received = self.received.saturating_add(1);
        }
        self.found.date |= field.is("Date");
        self.found.message_id |= field.is("Message-ID");
        self.found.from |= field.is("From");
    }

    /// Adds what is missing.
    fn complete<E>(&self, rules: &Rules<'_>, sink: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let Some(missing) = rules.missing else { return Ok(()) };
        if let Some(date) = missing.date.filter(|_| !self.found.date) {
            put(sink, format_args!("Date: {date}\r\n"))?;
        }
        if !self.found.message_id {
            put(sink, format_args!("Message-ID: <{}@{}>\r\n", missing.id, missing.hostname))?;
        }
        if !self.found.from {
            sink(b"From: ")?;
            missing.from.split(char::is_control).try_for_each(|text| sink(text.as_bytes()))?;
            sink(b"\r\n")?;
        }
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

    use super::{Date, Missing, RECEIVED_LINES, Rules, Scanner};

    const ALL: Rules<'_> = Rules {
        missing: Some(Missing { date: Some(Date::utc(0)), id: "ID", hostname: "host", from: "Me <me@host>" }),
        drop_bcc: true,
        drop_return_path: true,
    };
    const NONE: Rules<'_> = Rules { missing: None, drop_bcc: false, drop_return_path: false };

    const DATE: &str = "Date: Thu, 01 Jan 1970 00:00:00 +0000\r\n";
    const MESSAGE_ID: &str = "Message-ID: <ID@host>\r\n";
    const FROM: &str = "From: Me <me@host>\r\n";

    fn scanned(rules: &Rules<'_>, content: &[u8], size: usize) -> (Vec<u8>, Scanner) {
        let mut scanner = Scanner::new();
        let mut stored = Vec::new();
        let mut sink = |octets: &[u8]| -> Result<(), ()> {
            stored.extend_from_slice(octets);
            Ok(())
        };
        for piece in content.chunks(size) {
            scanner.write(rules, piece, &mut sink).unwrap();
        }
        scanner.finish(rules, &mut sink).unwrap();
        (stored, scanner)
    }

    fn text(rules: &Rules<'_>, content: &str) -> String {
        let (whole, _) = scanned(rules, content.as_bytes(), usize::MAX);
        for size in [1, 2, 5] {
            assert_eq!(scanned(rules, content.as_bytes(), size).0, whole, "{content:?} by {size}");
        }
        String::from_utf8(whole).expect("text")
    }

    #[test]
    fn what_is_missing_is_added_before_the_body() {
        let all = format!("{DATE}{MESSAGE_ID}{FROM}");
        for (content, expected) in [
            ("Subject: x\r\n\r\nbody\r\n", format!("Subject: x\r\n{all}\r\nbody\r\n")),
            ("DATE: x\r\nfrom : y\r\n\r\nb\r\n", format!("DATE: x\r\nfrom : y\r\n{MESSAGE_ID}\r\nb\r\n")),
            ("Subject: a\r\n From: b\r\n\r\n", format!("Subject: a\r\n From: b\r\n{all}\r\n")),
            // No header section at all.
            ("hello world\r\n", format!("{all}\r\nhello world\r\n")),
            ("hello\r\n", format!("{all}\r\nhello\r\n")),
            (" hello: x\r\n", format!("{all}\r\n hello: x\r\n")),
            ("\r\nbody\r\n", format!("{all}\r\nbody\r\n")),
            ("", all.clone()),
            // The empty line is missing, or the body.
            ("Subject: x\r\nbody text\r\n", format!("Subject: x\r\n{all}\r\nbody text\r\n")),
            ("Subject: x\r\n", format!("Subject: x\r\n{all}")),
            ("Subject: x", format!("Subject: x\r\n{all}")),
            ("Subject: x\r\nDa", format!("Subject: x\r\n{all}\r\nDa")),
            // Not in the body.
            ("X: y\r\n\r\nDate: x\r\nBcc: z\r\n", format!("X: y\r\n{all}\r\nDate: x\r\nBcc: z\r\n")),
            ("From a@b Mon\r\nX: y\r\n\r\n", format!("X-Mailbox-Line: From a@b Mon\r\nX: y\r\n{all}\r\n")),
        ] {
            assert_eq!(text(&ALL, content), expected, "{content:?}");
        }
    }

    #[test]
    fn no_date_is_made_up() {
        let missing = Missing { date: None, ..ALL.missing.unwrap() };
        let stored = text(&Rules { missing: Some(missing), ..ALL }, "Subject: x\r\n\r\n");
        assert_eq!(stored, format!("Subject: x\r\n{MESSAGE_ID}{FROM}\r\n"));
    }

    #[test]
    fn fields_can_be_left_out_with_their_folds() {
        let content = "BCC: a,\r\n b\r\nSubject: x\r\n y\r\nReturn-Path: <z>\r\nBcc:\r\n\r\nb\r\n";
        assert_eq!(text(&Rules { missing: None, ..ALL }, content), "Subject: x\r\n y\r\n\r\nb\r\n");
        assert_eq!(text(&NONE, content), content);
    }

    #[test]
    fn a_name_cannot_add_fields() {
        let missing = Missing { from: "a\r\nBcc: b", ..ALL.missing.unwrap() };
        let stored = text(&Rules { missing: Some(missing), ..NONE }, "\r\n");
        assert!(stored.ends_with("From: aBcc: b\r\n\r\n"), "{stored}");
    }

    #[test]
    fn received_fields_are_counted() {
        let content = "Received: x\r\n\tReceived: y\r\nreceived:z\r\nX-Received: a\r\n\r\nReceived: b\r\n";
        let (_, scanner) = scanned(&NONE, content.as_bytes(), 3);
        assert_eq!((scanner.received(), scanner.is_looping()), (2, false));
        for (lines, looping) in [(RECEIVED_LINES - 1, false), (RECEIVED_LINES, true)] {
            let content = "Received: x\r\n".repeat(lines as usize);
            assert_eq!(scanned(&NONE, content.as_bytes(), 999).1.is_looping(), looping);
        }
    }

    #[test]
    fn lines_of_any_length_pass() {
        let content = format!("Subject: {}\r\n\r\n{}\r\n", "x".repeat(10_000), "y".repeat(10_000));
        assert_eq!(text(&NONE, &content), content);
    }

    #[test]
    fn an_error_of_the_sink_comes_back() {
        for full_at in 0..8 {
            let mut calls = 0;
            let mut sink = |_: &[u8]| {
                calls += 1;
                if calls > full_at { Err("full") } else { Ok(()) }
            };
            let mut scanner = Scanner::new();
            assert_eq!(scanner.write(&ALL, b"Subject: x\r\n\r\nbody\r\n", &mut sink), Err("full"));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn splits_change_nothing(
            lines in prop::collection::vec("(Date|From|Bcc|Received|Return-Path|X)?( ?:)?[ a:\r]{0,4}", 0..8), size in 1usize..9,
        ) {
            let content = lines.join("\r\n");
            for rules in [ALL, NONE] {
                let (whole, scanner) = scanned(&rules, content.as_bytes(), usize::MAX);
                let (split, other) = scanned(&rules, content.as_bytes(), size);
                prop_assert_eq!(whole, split);
                prop_assert_eq!(scanner.received(), other.received());
            }
        }

        #[test]
        fn every_message_ends_up_with_its_fields_and_its_body(
            header in "([A-Z][a-z]{0,4}: [a-z ]{0,9}\r\n)*", body in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let content = [header.as_bytes(), b"\r\n", &body].concat();
            let (stored, _) = scanned(&ALL, &content, 4);
            let end = stored.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
            prop_assert_eq!(&stored[end + 4..], &body[..]);
            let stored = format!("\n{}", String::from_utf8_lossy(&stored[..end + 2]));
            for name in ["\nDate: ", "\nMessage-ID: ", "\nFrom: "] {
                prop_assert!(stored.contains(name), "{}", stored);
            }
        }
    }
}
