//! Queue ids: opaque, unique for the life of the spool, never from the clock.
//!
//! The upper 40 bits are drawn at start, the lower 24 count. A board that wakes up in 1970 every
//! morning still gives every message a name of its own.

use core::fmt;
use core::str::FromStr;
use std::io;

use heapless::String;

const COUNTER_BITS: u32 = 24;
const COUNTER_MAX: u64 = (1 << COUNTER_BITS) - 1;

/// Octets of an id as text, at most.
pub const ID_OCTETS: usize = 17;

/// A message's queue id, shown as `0198f3a2c1-0007`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(u64);

impl Id {
    /// The id of this number, as it stands in the files.
    pub const fn from_number(number: u64) -> Self {
        Self(number)
    }

    /// The number, as it stands in the files.
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The id as text: a file's name, a reply's last word.
    pub fn text(self) -> String<ID_OCTETS> {
        let mut text = String::new();
        let written = fmt::write(&mut text, format_args!("{self}"));
        assert!(written.is_ok(), "10 + 1 + 6 digits at most");
        text
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:010x}-{:04x}", self.0 >> COUNTER_BITS, self.0 & COUNTER_MAX)
    }
}

/// The text is no id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAnId;

impl FromStr for Id {
    type Err = NotAnId;

    /// Reads what `Display` writes and nothing else, so that one message has one file name.
    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let (drawn, counted) = text.split_once('-').ok_or(NotAnId)?;
        if !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f' | b'-')) {
            return Err(NotAnId);
        }
        let drawn = u64::from_str_radix(drawn, 16).map_err(|_| NotAnId)?;
        let counted = u64::from_str_radix(counted, 16).map_err(|_| NotAnId)?;
        if drawn >> 40 != 0 || counted > COUNTER_MAX {
            return Err(NotAnId);
        }
        let id = Self(drawn << COUNTER_BITS | counted);
        if id.text() == text { Ok(id) } else { Err(NotAnId) }
    }
}

/// Gives out ids.
#[derive(Debug)]
pub struct Ids {
    next: Option<u64>,
}

impl Ids {
    /// A source that draws before it gives its first id.
    pub const fn new() -> Self {
        Self { next: None }
    }

    /// Draws now if that is still to be done.
    pub fn draw(&mut self, random: impl FnOnce(&mut [u8]) -> io::Result<()>) -> io::Result<()> {
        if self.next.is_none() {
            let mut octets = [0; 8];
            random(&mut octets)?;
            self.next = Some(u64::from_le_bytes(octets) & !COUNTER_MAX);
        }
        Ok(())
    }

    /// Never gives out `taken`, which the spool holds.
    pub fn avoid(&mut self, taken: Id) {
        if let Some(next) = self.next
            && next >> COUNTER_BITS == taken.0 >> COUNTER_BITS
            && next <= taken.0
        {
            self.next = after(taken.0);
        }
    }

    /// The next id. Fails only if `random` does.
    pub fn next(&mut self, random: impl FnOnce(&mut [u8]) -> io::Result<()>) -> io::Result<Id> {
        self.draw(random)?;
        let number = self.next.ok_or(io::ErrorKind::Other)?;
        self.next = after(number);
        Ok(Id(number))
    }
}

/// The number that follows, or nothing when the counter is used up.
fn after(number: u64) -> Option<u64> {
    (number & COUNTER_MAX < COUNTER_MAX).then(|| number + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn drawing(octet: u8) -> impl FnOnce(&mut [u8]) -> io::Result<()> {
        move |octets| {
            octets.fill(octet);
            Ok(())
        }
    }

    #[test]
    fn text_is_as_the_interface_shows_it() {
        assert_eq!(Id(0x01_98f3_a2c1 << 24 | 7).text(), "0198f3a2c1-0007");
        assert_eq!(Id(u64::MAX).text(), "ffffffffff-ffffff");
    }

    #[test]
    fn counts_and_draws_anew_when_used_up() {
        let mut ids = Ids::new();
        let first = ids.next(drawing(1)).unwrap();
        assert_eq!(first.0 & COUNTER_MAX, 0);
        assert_eq!(ids.next(drawing(9)).unwrap().0, first.0 + 1);
        ids.avoid(Id(first.0 | COUNTER_MAX));
        assert_eq!(ids.next(drawing(2)).unwrap().0, 0x0202_0202_0200_0000);
    }

    #[test]
    fn what_the_spool_holds_is_not_given_again() {
        let mut ids = Ids::new();
        ids.draw(drawing(1)).unwrap();
        let held = Id(0x0101_0101_0100_0005);
        ids.avoid(held);
        ids.avoid(Id(0x0202_0202_0200_0009));
        assert_eq!(ids.next(drawing(1)).unwrap().0, held.0 + 1);
    }

    #[test]
    fn other_spellings_are_no_ids() {
        for text in [
            "",
            "-",
            "0198f3a2c1",
            "0198F3A2C1-0007",
            "0198f3a2c1-00007",
            "198f3a2c1-0007",
            "+198f3a2c1-0007",
        ] {
            assert_eq!(text.parse::<Id>(), Err(NotAnId), "{text}");
        }
    }

    proptest! {
        #[test]
        fn text_and_back(number: u64) {
            prop_assert_eq!(Id(number).text().parse(), Ok(Id(number)));
        }

        #[test]
        fn no_text_panics(text in ".{0,30}") {
            let _ = text.parse::<Id>();
        }
    }
}
