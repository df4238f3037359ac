//! A page as wide as a terminal: what does not fit on a line goes on below it.

use core::fmt::{self, Write};

use heapless::String;

/// Columns of a line.
pub const COLUMNS: usize = 80;
/// Columns that the rest of a line which was too long is moved in.
const INDENT: usize = 14;

/// Breaks long lines at blanks, or where they end if there is none.
#[derive(Debug)]
pub struct Page<'a, W> {
    out: &'a mut W,
    column: usize,
    /// The word that is being written, with the blanks before it.
    word: String<{ 4 * COLUMNS }>,
    columns: usize,
}

impl<'a, W: Write> Page<'a, W> {
    /// A page that begins at the start of a line.
    pub fn new(out: &'a mut W) -> Self {
        Self { out, column: 0, word: String::new(), columns: 0 }
    }

    /// Writes what is still held back; to be called at the end.
    pub fn end(mut self) -> fmt::Result {
        self.flush()
    }

    fn flush(&mut self) -> fmt::Result {
        let word = if self.column > 0 && self.column + self.columns > COLUMNS {
            write!(self.out, "\n{:INDENT$}", "")?;
            self.column = INDENT;
            self.word.trim_start_matches(' ')
        } else {
            &self.word
        };
        self.out.write_str(word)?;
        self.column += word.chars().count();
        self.word.clear();
        self.columns = 0;
        Ok(())
    }
}

impl<W: Write> Write for Page<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            if c == '\n' {
                self.flush()?;
                self.column = 0;
                self.out.write_char('\n')?;
                continue;
            }
            let begins_word = c == ' ' && !self.word.ends_with(' ');
            if begins_word || self.columns >= COLUMNS - INDENT {
                self.flush()?;
            }
            // It is flushed before it is full.
            self.word.push(c).map_err(|_| fmt::Error)?;
            self.columns += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn paged(text: &str) -> std::string::String {
        let mut out = std::string::String::new();
        let mut page = Page::new(&mut out);
        page.write_str(text).unwrap();
        page.end().unwrap();
        out
    }

    #[test]
    fn short_lines_stay_and_long_ones_go_on_below() {
        assert_eq!(paged("a  b\n\n    c\n"), "a  b\n\n    c\n");
        let long = format!("spool{} end\n", " four".repeat(20));
        let (first, rest) = (" four".repeat(15), " four".repeat(4));
        let expected = format!("spool{first}\n{:14}four{rest} end\n", "");
        assert_eq!(paged(&long), expected);
    }

    proptest! {
        #[test]
        fn no_line_is_too_wide_and_nothing_is_lost(text in "[a-z\u{e9} \n]{0,400}|[a-z]{0,400}") {
            let paged = paged(&text);
            prop_assert!(paged.lines().all(|line| line.chars().count() <= COLUMNS), "{}", paged);
            let bare = |text: &str| text.replace([' ', '\n'], "");
            prop_assert_eq!(bare(&paged), bare(&text));
        }
    }
}
