//! Untrusted text made fit to be shown: in the log, on a terminal, in JSON.
//!
//! What a peer or a file gave can hold line ends that forge log lines, or sequences that a terminal
//! obeys. Shown as they are: printable ASCII, and the letters and digits of every script, so that
//! addresses of RFC 6531 stay readable. Everything else is escaped, octet by octet, so that the text
//! can be had back.

use core::fmt::{self, Display, Write};

/// How a text is shown.
#[derive(Clone, Copy, Debug)]
enum Style {
    /// In quotes; what is within can have spaces.
    Quotes,
    /// One word for a place that has its own brackets.
    Bare,
    /// A JSON string (RFC 8259 section 7).
    Json,
}

/// A value shown with its odd characters escaped.
#[derive(Clone, Copy, Debug)]
pub struct Quoted<T> {
    value: T,
    style: Style,
}

impl<T: Display> Quoted<T> {
    /// In quotes: `"..."`, with `\"`, `\\` and `\xNN` for octets that are not shown.
    pub fn new(value: T) -> Self {
        Self { value, style: Style::Quotes }
    }

    /// One word without quotes, as in `from=<...>`: escaped like [`Quoted::new`], and spaces and angle
    /// brackets too, so that nothing in it can pass for its end.
    pub fn bare(value: T) -> Self {
        Self { value, style: Style::Bare }
    }

    /// A JSON string with its quotes. Octets that are not shown become `\uNNNN`.
    pub fn json(value: T) -> Self {
        Self { value, style: Style::Json }
    }
}

impl<T: Display> Display for Quoted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quotes = !matches!(self.style, Style::Bare);
        if quotes {
            f.write_char('"')?;
        }
        write!(Escape { out: f, style: self.style }, "{}", self.value)?;
        if quotes { f.write_char('"') } else { Ok(()) }
    }
}

/// Escapes what is written to it.
struct Escape<'a, 'f> {
    out: &'a mut fmt::Formatter<'f>,
    style: Style,
}

impl Write for Escape<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // Runs that need nothing go out in one piece.
        let (style, mut plain) = (self.style, 0);
        for (at, c) in text.char_indices().filter(|&(_, c)| !is_shown(c, style)) {
            self.out.write_str(text.get(plain..at).unwrap_or_default())?;
            self.escape(c)?;
            plain = at + c.len_utf8();
        }
        self.out.write_str(text.get(plain..).unwrap_or_default())
    }
}

impl Escape<'_, '_> {
    fn escape(&mut self, c: char) -> fmt::Result {
        match (self.style, c) {
            (_, '"' | '\\') => {
                self.out.write_char('\\')?;
                self.out.write_char(c)
            }
            (Style::Json, _) => {
                c.encode_utf16(&mut [0; 2]).iter().try_for_each(|unit| write!(self.out, "\\u{unit:04x}"))
            }
            (Style::Quotes | Style::Bare, _) => {
                c.encode_utf8(&mut [0; 4]).bytes().try_for_each(|octet| write!(self.out, "\\x{octet:02x}"))
            }
        }
    }
}

fn is_shown(c: char, style: Style) -> bool {
    match c {
        '"' | '\\' => false,
        ' ' | '<' | '>' => !matches!(style, Style::Bare),
        '!'..='~' => true,
        _ => c.is_alphanumeric(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn odd_octets_are_escaped_and_letters_are_not() {
        assert_eq!(Quoted::new("250 ok").to_string(), r#""250 ok""#);
        assert_eq!(Quoted::new("a\r\nb\"\\").to_string(), r#""a\x0d\x0ab\"\\""#);
        assert_eq!(Quoted::new("\u{1b}[2J\u{202e}").to_string(), r#""\x1b[2J\xe2\x80\xae""#);
        assert_eq!(Quoted::bare("müller@bücher.example").to_string(), "müller@bücher.example");
        assert_eq!(Quoted::bare("\"a> to=<b\"@c").to_string(), r#"\"a\x3e\x20to=\x3cb\"@c"#);
        assert_eq!(Quoted::json("a\n\u{1f600}\"").to_string(), r#""a\u000a\ud83d\ude00\"""#);
    }

    #[test]
    fn a_text_in_pieces_is_escaped_like_one_in_whole() {
        assert_eq!(Quoted::new(format_args!("{}\n{:?}", 1, 'x')).to_string(), r#""1\x0a'x'""#);
    }

    /// What [`Quoted::new`] was made from.
    fn unquoted(text: &str) -> Option<Vec<u8>> {
        let mut octets = Vec::new();
        let mut rest = text.strip_prefix('"')?.strip_suffix('"')?;
        while let Some(c) = rest.chars().next() {
            rest = &rest[c.len_utf8()..];
            match (c, rest.chars().next()) {
                ('\\', Some('x')) => {
                    octets.push(u8::from_str_radix(rest.get(1..3)?, 16).ok()?);
                    rest = &rest[3..];
                }
                ('\\', Some(c)) => {
                    octets.push(u8::try_from(c).ok()?);
                    rest = &rest[1..];
                }
                _ => octets.extend(c.encode_utf8(&mut [0; 4]).bytes()),
            }
        }
        Some(octets)
    }

    proptest! {
        #[test]
        fn any_text_stays_on_its_line_and_can_be_had_back(text in any::<String>()) {
            let quoted = Quoted::new(&text).to_string();
            prop_assert!(!quoted.contains(char::is_control));
            prop_assert_eq!(unquoted(&quoted), Some(text.into_bytes()));
        }

        #[test]
        fn a_bare_text_is_one_word(text in any::<String>()) {
            let bare = Quoted::bare(&text).to_string();
            prop_assert!(!bare.contains([' ', '<', '>', '\n']));
            prop_assert!(bare.len() <= 4 * text.len());
        }

        #[test]
        fn json_grows_at_most_sixfold(text in any::<String>()) {
            prop_assert!(Quoted::json(&text).to_string().len() <= 2 + 6 * text.len());
        }
    }
}
