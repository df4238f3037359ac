//! Replies that the server sends (RFC 5321 4.2, RFC 2034).
//!
//! A reply is a code, the rest of its enhanced code, and one line of text. The class of the
//! enhanced code is the code's first digit, so the two cannot contradict each other. Whatever
//! comes into the text, from a peer or a file, ends up printable and on one line.

use core::fmt::{self, Display, Write};

use heapless::String;

use super::buffer::Buffer;
use crate::limits::{OUTPUT_OCTETS, REPLY_LINE_OCTETS, REPLY_TEXT_OCTETS};

/// Output room that the longest answer to one command takes: the EHLO reply, or a reply and the
/// 421 after it. With less room nothing is consumed.
pub const REPLY_ROOM: usize = 1024;

// "250 2.1.5 " before the text and CRLF behind it, twice.
const _: () = assert!(2 * (REPLY_TEXT_OCTETS + 20) <= REPLY_ROOM && REPLY_ROOM * 2 <= OUTPUT_OCTETS);
const _: () = assert!(REPLY_TEXT_OCTETS + 20 <= REPLY_LINE_OCTETS);

/// One reply line: code, enhanced code, text of at most [`REPLY_TEXT_OCTETS`] octets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    code: u16,
    detail: Option<(u16, u16)>,
    text: String<REPLY_TEXT_OCTETS>,
}

impl Reply {
    /// A reply with an enhanced code: `Reply::new(550, (1, 1), "no such user")` is sent as
    /// `550 5.1.1 no such user`. Text that is too long is cut, what is not printable ASCII
    /// becomes `?`. The code is ours: one that a peer sent must have been judged before.
    pub fn new(code: u16, (subject, detail): (u16, u16), text: impl Display) -> Self {
        assert!(matches!(code / 100, 2 | 4 | 5), "only 2yz, 4yz and 5yz have enhanced codes");
        Self { code, detail: Some((subject, detail)), text: printable(text) }
    }

    /// A reply where the RFC allows no enhanced code: 220, 250 to HELO, 354.
    pub fn plain(code: u16, text: impl Display) -> Self {
        assert!((200..600).contains(&code));
        Self { code, detail: None, text: printable(text) }
    }

    /// The three digits.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// Subject and detail of the enhanced code, `(1, 1)` in 5.1.1.
    pub fn detail(&self) -> Option<(u16, u16)> {
        self.detail
    }

    /// The text without the codes: printable ASCII.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// True for 4yz and 5yz.
    pub fn is_refusal(&self) -> bool {
        self.code >= 400
    }

    /// Puts the reply and its CRLF into `out`, or false and nothing if there is no room.
    #[must_use]
    pub fn write(&self, out: &mut Buffer<OUTPUT_OCTETS>) -> bool {
        out.free() >= self.octets() && write!(out, "{self}\r\n").is_ok()
    }

    fn octets(&self) -> usize {
        let mut count = Count(2);
        let _ = write!(count, "{self}");
        count.0
    }
}

/// The reply without its CRLF, as it goes into a log line.
impl Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.code)?;
        if let Some((subject, detail)) = self.detail {
            write!(f, "{}.{subject}.{detail} ", self.code / 100)?;
        }
        f.write_str(&self.text)
    }
}

struct Count(usize);

impl Write for Count {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 += text.len();
        Ok(())
    }
}

/// `text` as far as it fits, printable.
fn printable(text: impl Display) -> String<REPLY_TEXT_OCTETS> {
    struct Printable(String<REPLY_TEXT_OCTETS>);
    impl Write for Printable {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            for c in text.chars() {
                let shown = if matches!(c, ' '..='~') { c } else { '?' };
                self.0.push(shown).map_err(|_| fmt::Error)?;
            }
            Ok(())
        }
    }
    let mut shown = Printable(String::new());
    // The only error is that the text is full, and then it is as long as it may be.
    let _ = write!(shown, "{text}");
    shown.0
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::string::{String, ToString};

    use proptest::prelude::*;

    use super::{Buffer, OUTPUT_OCTETS, REPLY_LINE_OCTETS, Reply};

    #[test]
    fn codes_stand_before_the_text() {
        assert_eq!(Reply::new(550, (1, 1), "no such user").to_string(), "550 5.1.1 no such user");
        assert_eq!(Reply::plain(354, "go ahead").to_string(), "354 go ahead");
        assert!(Reply::new(452, (3, 1), "").is_refusal());
        assert!(!Reply::new(250, (0, 0), "").is_refusal());
    }

    #[test]
    fn a_reply_is_written_whole_or_not_at_all() {
        let mut out = Buffer::<OUTPUT_OCTETS>::new();
        assert!(out.push(&[b'x'; OUTPUT_OCTETS - 10]));
        assert!(!Reply::new(250, (0, 0), "ok").write(&mut out));
        assert_eq!(out.free(), 10);
        assert!(Reply::plain(250, "ok!!").write(&mut out));
        assert!(out.filled().ends_with(b"250 ok!!\r\n"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn any_text_becomes_one_printable_line(text in any::<String>(), code in 400u16..600) {
            let mut out = Buffer::<OUTPUT_OCTETS>::new();
            prop_assert!(Reply::new(code, (7, 1), &text).write(&mut out));
            let line = out.filled().strip_suffix(b"\r\n").unwrap();
            prop_assert!(line.len() + 2 <= REPLY_LINE_OCTETS);
            prop_assert!(line.iter().all(|o| (b' '..=b'~').contains(o)));
        }
    }
}
