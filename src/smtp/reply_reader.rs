//! Replies of a peer (RFC 5321 4.2), read as they come in.
//!
//! A line is consumed only when it is whole, so the caller's input buffer is the only buffer. Of a
//! line that is longer than it may be the start counts and the rest is skipped; a reply that does
//! not end is an error. What is kept of a reply is a [`Reply`]: printable and on one line.

use heapless::String;

use super::reply::Reply;
use crate::limits::{REPLY_LINE_OCTETS, REPLY_LINES, REPLY_OCTETS, REPLY_TEXT_OCTETS};

/// Why what a peer sends cannot be read as replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A line is no reply line, or belongs to another reply than the lines before it.
    Garbage,
    /// The reply has too many lines or octets.
    Endless,
}

/// Reads replies, one after the other.
#[derive(Debug, Default)]
pub struct ReplyReader {
    state: State,
}

#[derive(Debug, Default)]
enum State {
    /// No line of the next reply was seen.
    #[default]
    Fresh,
    /// Lines were seen, the last one not.
    Lines(Partial),
    /// Inside the superfluous end of a line.
    Tail { partial: Partial, last: bool },
}

/// A reply of which lines are missing.
#[derive(Clone, Debug)]
struct Partial {
    code: u16,
    detail: Option<(u16, u16)>,
    lines: usize,
    octets: usize,
    text: String<REPLY_TEXT_OCTETS>,
}

impl ReplyReader {
    /// A reader before its first reply.
    pub const fn new() -> Self {
        Self { state: State::Fresh }
    }

    /// Reads until a reply is complete or `input` has no whole line left: octets consumed, and the
    /// reply or what is wrong.
    ///
    /// `each` sees every line of the reply as it comes: its number from 0 and its text behind the
    /// code, at most [`REPLY_LINE_OCTETS`] octets. After a fault the peer cannot be understood any more.
    pub fn read(
        &mut self,
        input: &[u8],
        mut each: impl FnMut(usize, &[u8]),
    ) -> (usize, Result<Option<Reply>, Fault>) {
        let mut rest = input;
        loop {
            let before = rest.len();
            let whole = match core::mem::take(&mut self.state) {
                State::Fresh => self.line(None, &mut rest, &mut each),
                State::Lines(partial) => self.line(Some(partial), &mut rest, &mut each),
                State::Tail { partial, last } => self.tail(partial, last, &mut rest),
            };
            let consumed = input.len() - rest.len();
            match whole {
                Ok(None) if rest.len() < before => {}
                result => return (consumed, result),
            }
        }
    }

    fn line(
        &mut self,
        partial: Option<Partial>,
        rest: &mut &[u8],
        each: &mut impl FnMut(usize, &[u8]),
    ) -> Result<Option<Reply>, Fault> {
        let head = rest.get(..REPLY_LINE_OCTETS).unwrap_or(rest);
        let end = head.iter().position(|octet| *octet == b'\n');
        let (line, used) = match end {
            Some(end) => (&head[..end], end + 1),
            None if head.len() == REPLY_LINE_OCTETS => (head, head.len()),
            None => {
                self.state = partial.map_or(State::Fresh, State::Lines);
                return Ok(None);
            }
        };
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let (code, last, text) = split(line).ok_or(Fault::Garbage)?;
        let mut partial = match partial {
            Some(partial) if partial.code != code => return Err(Fault::Garbage),
            Some(partial) => partial,
            None => Partial { code, detail: None, lines: 0, octets: 0, text: String::new() },
        };
        each(partial.lines, text);
        partial.add(text);
        *rest = &rest[used..];
        partial.count(used, 1)?;
        match end {
            Some(_) => Ok(self.ended(partial, last)),
            None => {
                self.state = State::Tail { partial, last };
                Ok(None)
            }
        }
    }

    fn tail(&mut self, mut partial: Partial, last: bool, rest: &mut &[u8]) -> Result<Option<Reply>, Fault> {
        let end = rest.iter().position(|octet| *octet == b'\n');
        let used = end.map_or(rest.len(), |end| end + 1);
        *rest = &rest[used..];
        partial.count(used, 0)?;
        match end {
            Some(_) => Ok(self.ended(partial, last)),
            None => {
                self.state = State::Tail { partial, last };
                Ok(None)
            }
        }
    }

    fn ended(&mut self, partial: Partial, last: bool) -> Option<Reply> {
        if last {
            return Some(partial.reply());
        }
        self.state = State::Lines(partial);
        None
    }
}

impl Partial {
    fn count(&mut self, octets: usize, lines: usize) -> Result<(), Fault> {
        self.octets += octets;
        self.lines += lines;
        if self.octets > REPLY_OCTETS || self.lines > REPLY_LINES { Err(Fault::Endless) } else { Ok(()) }
    }

    /// Joins the text of one more line, its enhanced code left out.
    fn add(&mut self, text: &[u8]) {
        let (detail, text) = enhanced(self.code, text);
        if self.lines == 0 {
            self.detail = detail;
        }
        if !self.text.is_empty() && !text.is_empty() {
            let _ = self.text.push(' ');
        }
        for octet in text {
            let shown = if matches!(octet, b' '..=b'~') { char::from(*octet) } else { '?' };
            if self.text.push(shown).is_err() {
                break;
            }
        }
    }

    fn reply(self) -> Reply {
        match self.detail {
            Some(detail) => Reply::new(self.code, detail, &self.text),
            None => Reply::plain(self.code, &self.text),
        }
    }
}

/// Code, whether it is the last line, and text of a reply line without its line end.
fn split(line: &[u8]) -> Option<(u16, bool, &[u8])> {
    let (code, rest) = line.split_at_checked(3)?;
    let &[first @ b'2'..=b'5', second @ b'0'..=b'9', third @ b'0'..=b'9'] = code else {
        return None;
    };
    let digit = |octet: u8| u16::from(octet - b'0');
    let code = digit(first) * 100 + digit(second) * 10 + digit(third);
    match rest {
        [] => Some((code, true, rest)),
        [b' ', text @ ..] => Some((code, true, text)),
        [b'-', text @ ..] => Some((code, false, text)),
        _ => None,
    }
}

/// Subject and detail of an enhanced code at the start of `text` (RFC 2034 4), if it is one and of
/// the same class as `code`, and the text behind it.
fn enhanced(code: u16, text: &[u8]) -> (Option<(u16, u16)>, &[u8]) {
    let (status, rest) = match text.iter().position(|octet| *octet == b' ') {
        Some(space) => (&text[..space], &text[space + 1..]),
        None => (text, &text[text.len()..]),
    };
    let mut parts = status.split(|octet| *octet == b'.');
    let mut part = || {
        let digits = parts.next().filter(|part| matches!(part.len(), 1..=3))?;
        digits
            .iter()
            .try_fold(0, |sum, octet| octet.is_ascii_digit().then(|| sum * 10 + u16::from(octet - b'0')))
    };
    match (part(), part(), part(), parts.next()) {
        (Some(class @ (2 | 4 | 5)), Some(subject), Some(detail), None) if class == code / 100 => {
            (Some((subject, detail)), rest)
        }
        _ => (None, text),
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::string::{String, ToString};
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::{Fault, REPLY_LINE_OCTETS, REPLY_LINES, REPLY_OCTETS, ReplyReader};

    /// All replies in `input`, fed in pieces of the given sizes through a buffer like a slot's.
    fn read(input: &[u8], sizes: &[usize]) -> (Vec<String>, Result<(), Fault>) {
        let mut reader = ReplyReader::new();
        let mut replies = Vec::new();
        let mut waiting = Vec::new();
        let mut sizes = sizes.iter().copied().cycle();
        let mut rest = input;
        while !rest.is_empty() {
            let size = sizes.next().unwrap_or(usize::MAX).clamp(1, rest.len());
            waiting.extend_from_slice(&rest[..size]);
            rest = &rest[size..];
            loop {
                let (consumed, result) = reader.read(&waiting, |_, _| ());
                waiting.drain(..consumed);
                match result {
                    Ok(Some(reply)) => replies.push(reply.to_string()),
                    Ok(None) => break,
                    Err(fault) => return (replies, Err(fault)),
                }
            }
        }
        assert!(waiting.len() < REPLY_LINE_OCTETS, "a buffer of one line is enough");
        (replies, Ok(()))
    }

    #[test]
    fn replies_of_every_form_are_read() {
        for (input, replies) in [
            ("250 ok\r\n", &["250 ok"][..]),
            ("250\r\n", &["250 "]),
            ("250 \r\n", &["250 "]),
            ("250 lf only\n", &["250 lf only"]),
            ("220-a\r\n220-b\n220 c\r\n", &["220 a b c"]),
            ("220-\r\n220\r\n", &["220 "]),
            ("250 2.1.5 ok\r\n", &["250 2.1.5 ok"]),
            ("250 2.1.5\r\n", &["250 2.1.5 "]),
            ("550-5.1.1 no\r\n550 5.1.1 such user\r\n", &["550 5.1.1 no such user"]),
            ("250 ok\r\n354 go\r\n250 2.0.0 q", &["250 ok", "354 go"]),
            ("599 odd\r\n", &["599 odd"]),
        ] {
            let expected = (replies.iter().map(ToString::to_string).collect(), Ok(()));
            assert_eq!(read(input.as_bytes(), &[usize::MAX]), expected, "{input:?}");
            assert_eq!(read(input.as_bytes(), &[1]), expected, "{input:?}");
        }
    }

    #[test]
    fn an_enhanced_code_must_be_one_and_fit_the_code() {
        for text in ["5.1.1 x", "2.1 x", "2.1.1.1 x", "2.1.1234 x", "2..1 x", "2.1.x x", "3.1.1 x", "2.1.1x"]
        {
            let mut reader = ReplyReader::new();
            let line = std::format!("250 {text}\r\n");
            let (_, reply) = reader.read(line.as_bytes(), |_, _| ());
            let reply = reply.unwrap().unwrap();
            assert_eq!((reply.detail(), reply.text()), (None, text));
        }
        let (_, reply) = ReplyReader::new().read(b"452 4.5.3 too many\r\n", |_, _| ());
        let reply = reply.unwrap().unwrap();
        assert_eq!((reply.code(), reply.detail(), reply.text()), (452, Some((5, 3)), "too many"));
    }

    #[test]
    fn garbage_is_told_from_replies() {
        for input in [
            "hello\r\n",
            "\r\n",
            "25\r\n",
            "25x ok\r\n",
            "250x\r\n",
            "250\tok\r\n",
            "150 wait\r\n",
            "650 no\r\n",
            "250-a\r\n251 b\r\n",
            "250-a\r\nb\r\n",
            "\u{16}\u{3}\u{1}\n",
        ] {
            assert_eq!(read(input.as_bytes(), &[3]).1, Err(Fault::Garbage), "{input:?}");
        }
    }

    #[test]
    fn a_long_line_counts_by_its_start() {
        let input = std::format!("250-{}\r\n250 SIZE\r\n", "x".repeat(5 * REPLY_LINE_OCTETS));
        for sizes in [&[usize::MAX][..], &[1], &[511, 2]] {
            let (replies, result) = read(input.as_bytes(), sizes);
            assert_eq!((replies.len(), result), (1, Ok(())));
            assert!(replies[0].starts_with("250 xxx"));
        }
    }

    #[test]
    fn an_endless_reply_is_an_error() {
        let lines = "250-a\r\n".repeat(REPLY_LINES + 1);
        assert_eq!(read(lines.as_bytes(), &[usize::MAX]).1, Err(Fault::Endless));
        let mut line = std::vec![b'x'; REPLY_OCTETS + 2];
        line[..4].copy_from_slice(b"250 ");
        assert_eq!(read(&line, &[700]).1, Err(Fault::Endless));
    }

    #[test]
    fn every_line_is_shown() {
        let mut lines = Vec::new();
        let input = b"250-host hello\r\n250-SIZE 10\r\n250 DSN\r\n";
        ReplyReader::new().read(input, |n, text| lines.push((n, text.to_vec()))).1.unwrap();
        assert_eq!(lines, [(0, b"host hello".to_vec()), (1, b"SIZE 10".to_vec()), (2, b"DSN".to_vec())]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn splits_change_nothing(
            input in "([2-5][0-9]{2}[- ]([245]\\.[0-9]\\.[0-9] )?[a-z]{0,5}\r?\n){0,12}",
            sizes in prop::collection::vec(1usize..40, 1..8),
        ) {
            prop_assert_eq!(read(input.as_bytes(), &sizes), read(input.as_bytes(), &[usize::MAX]));
        }

        #[test]
        fn nothing_panics_and_text_is_printable(
            input in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(&b"250- \r\n."[..])], 0..1500),
            prefix in prop::sample::select(&["", "250 ", "250-", "550 5.1.1 "][..]),
        ) {
            let mut octets = prefix.as_bytes().to_vec();
            octets.extend_from_slice(&input);
            for reply in read(&octets, &[7, 600]).0 {
                prop_assert!(reply.chars().all(|c| matches!(c, ' '..='~')));
            }
        }
    }
}
