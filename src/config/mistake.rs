//! Mistakes in a configuration: where, what, and what to write instead.

use std::fmt::{self, Display};
use std::io;
use std::path::{Path, PathBuf};

use super::Config;

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Line, from 1; 0 if it is about the file as a whole.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong and what to write instead, in one line.
    pub text: String,
}

impl Mistake {
    /// A mistake at an octet of the file's text.
    pub fn at(text: &[u8], offset: usize, what: impl Into<String>) -> Self {
        let before = &text[..offset.min(text.len())];
        let line_start = before.iter().rposition(|octet| *octet == b'\n').map_or(0, |newline| newline + 1);
        Self {
            line: before.iter().filter(|octet| **octet == b'\n').count() + 1,
            column: String::from_utf8_lossy(&before[line_start..]).chars().count() + 1,
            text: what.into(),
        }
    }
}

/// A configuration file, or one that it names, that cannot be used: all that is wrong with it, one a line as `FILE:LINE:COLUMN: text`.
#[derive(Debug)]
pub struct Refused {
    file: PathBuf,
    mistakes: Vec<Mistake>,
    rest: Option<Box<Config>>,
}

impl Refused {
    /// What is wrong with a file.
    pub fn new(file: &Path, mistakes: Vec<Mistake>) -> Self {
        Self { file: file.to_owned(), mistakes, rest: None }
    }

    /// The same with what could be read of it.
    pub(super) fn with(self, rest: Option<Config>) -> Self {
        Self { rest: rest.map(Box::new), ..self }
    }

    /// It can't be read at all.
    pub fn unreadable(file: &Path, why: &io::Error) -> Self {
        Self::new(file, vec![Mistake { line: 0, column: 0, text: format!("can't be read: {why}") }])
    }

    /// A file that is not text: at this octet.
    pub fn not_text(file: &Path, octets: &[u8], offset: usize) -> Self {
        Self::new(
            file,
            vec![Mistake::at(octets, offset, "an octet that is no UTF-8: save the file as UTF-8")],
        )
    }

    /// The file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// What could be read of it, the default standing for what is wrong: more may be wrong with that.
    pub fn rest(&self) -> Option<&Config> {
        self.rest.as_deref()
    }

    /// What is wrong, in the order of the text.
    pub fn mistakes(&self) -> &[Mistake] {
        &self.mistakes
    }
}

impl Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, mistake) in self.mistakes.iter().enumerate() {
            let end = if at + 1 < self.mistakes.len() { "\n" } else { "" };
            let file = self.file.display();
            match mistake.line {
                0 => write!(f, "{file}: {}{end}", mistake.text)?,
                line => write!(f, "{file}:{line}:{}: {}{end}", mistake.column, mistake.text)?,
            }
        }
        Ok(())
    }
}

impl std::error::Error for Refused {}
