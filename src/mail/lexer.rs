//! What each octet of an address field is (RFC 5322 3.2 and 3.4), told one by one.
//!
//! Whoever reads addresses, completes them or replaces them has the quotes, comments and folds
//! told apart here, once.

/// What an octet is to a list of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Of a name or an address: an atom, a quoted string or a domain literal with its quotes, `.`
    /// or `@`.
    Text,
    /// A fold inside of a quoted string, or a blank in a domain literal: no part of the text.
    Inside,
    /// A blank or fold between words, or of a comment.
    Gap,
    /// One of `,` `;` `:` `<` `>`, not quoted.
    Mark,
}

/// Follows the value of one field.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Lexer {
    #[default]
    Plain,
    Quoted,
    QuotedPair,
    /// `[…]`.
    Literal,
    /// So deep in comments.
    Comment(u32),
    CommentPair(u32),
}

impl Lexer {
    /// Takes the next octet.
    pub fn push(&mut self, octet: u8) -> Part {
        let (next, part) = match (*self, octet) {
            (Self::Plain, b' ' | b'\t' | b'\r' | b'\n') => (Self::Plain, Part::Gap),
            (Self::Plain, b'(') => (Self::Comment(1), Part::Gap),
            (Self::Plain, b'"') => (Self::Quoted, Part::Text),
            (Self::Plain, b'[') => (Self::Literal, Part::Text),
            (Self::Plain, b',' | b';' | b':' | b'<' | b'>') => (Self::Plain, Part::Mark),
            (Self::Plain, _) => (Self::Plain, Part::Text),
            // A fold inside of these is not part of the text (RFC 5322 3.2.4).
            (Self::Quoted | Self::QuotedPair | Self::Literal, b'\r' | b'\n') => (*self, Part::Inside),
            (Self::QuotedPair, _) => (Self::Quoted, Part::Text),
            (Self::Quoted, b'\\') => (Self::QuotedPair, Part::Text),
            (Self::Quoted, b'"') => (Self::Plain, Part::Text),
            (Self::Quoted, _) => (Self::Quoted, Part::Text),
            (Self::Literal, b']') => (Self::Plain, Part::Text),
            (Self::Literal, b' ' | b'\t') => (Self::Literal, Part::Inside),
            (Self::Literal, _) => (Self::Literal, Part::Text),
            (Self::CommentPair(_) | Self::Comment(_), b'\r' | b'\n') => (*self, Part::Gap),
            (Self::CommentPair(depth), _) => (Self::Comment(depth), Part::Gap),
            (Self::Comment(depth), b'\\') => (Self::CommentPair(depth), Part::Gap),
            (Self::Comment(depth), b'(') => (Self::Comment(depth.saturating_add(1)), Part::Gap),
            (Self::Comment(..=1), b')') => (Self::Plain, Part::Gap),
            (Self::Comment(depth), b')') => (Self::Comment(depth - 1), Part::Gap),
            (Self::Comment(depth), _) => (Self::Comment(depth), Part::Gap),
        };
        *self = next;
        part
    }

    /// True inside of a quoted string or a domain literal: a field that ends here is broken.
    pub fn is_open(&self) -> bool {
        matches!(self, Self::Quoted | Self::QuotedPair | Self::Literal)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::string::String;

    use super::{Lexer, Part};

    /// One letter an octet.
    fn parts(value: &str) -> String {
        let mut lexer = Lexer::default();
        let letter = |octet| match lexer.push(octet) {
            Part::Text => 't',
            Part::Inside => 'i',
            Part::Gap => '.',
            Part::Mark => 'm',
        };
        value.bytes().map(letter).collect()
    }

    #[test]
    fn octets_are_told_apart() {
        for (value, expected) in [
            ("a@b, c", "tttm.t"),
            ("A <a@b>;", "t.mtttmm"),
            ("\"a,\\\"\r\n b\" x", "tttttiittt.t"),
            ("(a(b)\\)<,) x", "...........t"),
            ("a@[1: 2]:", "tttttittm"),
        ] {
            assert_eq!(parts(value), expected, "{value:?}");
        }
    }

    #[test]
    fn an_open_quote_is_known() {
        for (value, open) in [("\"a", true), ("\"a\\", true), ("a@[1", true), ("(a", false), ("\"a\"", false)]
        {
            let mut lexer = Lexer::default();
            for octet in value.bytes() {
                lexer.push(octet);
            }
            assert_eq!(lexer.is_open(), open, "{value:?}");
        }
    }
}
