//! The last errors, for `pillarbox status`: a fixed ring.

use core::fmt::Display;

use heapless::{Deque, String};

use super::intake::text;
use crate::limits::REPLY_TEXT_OCTETS;

/// Errors that are remembered.
pub const ERRORS: usize = 10;

/// Something that went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mishap {
    /// When, by the wall clock.
    pub at_unix_s: u64,
    /// What, in words; not escaped.
    pub text: String<REPLY_TEXT_OCTETS>,
}

/// The last [`ERRORS`] of them, oldest first.
#[derive(Debug, Default)]
pub struct Recent(Deque<Mishap, ERRORS>);

impl Recent {
    /// Nothing has gone wrong yet.
    pub const fn new() -> Self {
        Self(Deque::new())
    }

    /// Remembers an error, as much of its text as fits, at the cost of the oldest.
    pub fn note(&mut self, what: impl Display, now_unix_s: u64) {
        if self.0.is_full() {
            self.0.pop_front();
        }
        // There is room now.
        let _ = self.0.push_back(Mishap { at_unix_s: now_unix_s, text: text(what) });
    }

    /// The one of that number, from 0, oldest first.
    pub fn at(&self, number: usize) -> Option<&Mishap> {
        self.0.iter().nth(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten() {
        let mut recent = Recent::new();
        assert_eq!(recent.at(0), None);
        for n in 0..12_u64 {
            recent.note(format_args!("error {n}"), n);
        }
        assert_eq!(recent.at(0).map(|m| (m.at_unix_s, m.text.as_str())), Some((2, "error 2")));
        assert_eq!(recent.at(ERRORS - 1).map(|m| m.at_unix_s), Some(11));
        assert_eq!(recent.at(ERRORS), None);
    }

    #[test]
    fn a_long_text_is_cut() {
        let mut recent = Recent::new();
        recent.note("é".repeat(200), 0);
        assert_eq!(recent.at(0).map(|m| m.text.chars().count()), Some(REPLY_TEXT_OCTETS / 2));
    }
}
