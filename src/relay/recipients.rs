//! Small fixed tables over the recipients of one message.

use heapless::Vec;

use crate::limits::RECIPIENTS;
use crate::smtp::reply::Reply;

/// Distinct replies that are kept for the failed recipients of one round.
const REPLIES: usize = 8;

/// A set of recipients, by their place in the envelope.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recipients([u64; RECIPIENTS / 64]);

impl Recipients {
    /// Nobody.
    pub const fn none() -> Self {
        Self([0; RECIPIENTS / 64])
    }

    /// Everybody there can be.
    pub const fn all() -> Self {
        Self([u64::MAX; RECIPIENTS / 64])
    }

    /// Adds one; places beyond [`RECIPIENTS`] do not exist.
    pub fn add(&mut self, place: u16) {
        if let Some(word) = self.0.get_mut(usize::from(place) / 64) {
            *word |= 1 << (place % 64);
        }
    }

    /// True if that one is in it.
    pub fn has(&self, place: u16) -> bool {
        self.0.get(usize::from(place) / 64).is_some_and(|word| word & (1 << (place % 64)) != 0)
    }

    /// Takes one out.
    pub fn drop(&mut self, place: u16) {
        if let Some(word) = self.0.get_mut(usize::from(place) / 64) {
            *word &= !(1 << (place % 64));
        }
    }

    /// Adds all of another set.
    pub fn join(&mut self, other: &Self) {
        for (word, more) in self.0.iter_mut().zip(other.0) {
            *word |= more;
        }
    }

    /// Takes all of another set out.
    pub fn remove(&mut self, other: &Self) {
        for (word, less) in self.0.iter_mut().zip(other.0) {
            *word &= !less;
        }
    }

    /// The first `count` of them.
    pub fn first(&self, count: u16) -> Self {
        let mut first = Self::none();
        self.iter().take(usize::from(count)).for_each(|place| first.add(place));
        first
    }

    /// How many.
    pub fn len(&self) -> u16 {
        self.0.iter().map(|w| w.count_ones() as u16).sum()
    }

    /// True if nobody is in it.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|&w| w == 0)
    }

    /// Their places, rising.
    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        (0..RECIPIENTS as u16).filter(|&place| self.has(place))
    }

    /// The place of the `nth` of them, from 0.
    pub fn nth(&self, nth: u16) -> Option<u16> {
        self.iter().nth(usize::from(nth))
    }
}

/// Why recipients failed: few distinct replies, and who got which.
#[derive(Debug)]
pub struct Failures {
    who: Recipients,
    replies: Vec<Reply, REPLIES>,
    of: [u8; RECIPIENTS],
}

impl Default for Failures {
    fn default() -> Self {
        Self { who: Recipients::none(), replies: Vec::new(), of: [0; RECIPIENTS] }
    }
}

impl Failures {
    /// Notes that a recipient failed with a reply. When there are more distinct replies than are
    /// kept, the last kept one stands for the rest; the log has each.
    pub fn add(&mut self, place: u16, reply: &Reply) {
        let Some(of) = self.of.get_mut(usize::from(place)) else { return };
        self.who.add(place);
        let known = self.replies.iter().position(|r| r == reply);
        let at = known.unwrap_or_else(|| {
            // A full list keeps its last.
            let _ = self.replies.push(reply.clone());
            self.replies.len() - 1
        });
        *of = at as u8;
    }

    /// Who failed.
    pub fn who(&self) -> &Recipients {
        &self.who
    }

    /// What was said of one of them.
    pub fn reply(&self, place: u16) -> Option<&Reply> {
        if !self.who.has(place) {
            return None;
        }
        self.replies.get(usize::from(*self.of.get(usize::from(place))?))
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.who = Recipients::none();
        self.replies.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_set_agrees_with_a_list(places in proptest::collection::btree_set(0..RECIPIENTS as u16, 0..40), gone in 0..RECIPIENTS as u16) {
            let mut set = Recipients::none();
            places.iter().for_each(|&p| set.add(p));
            prop_assert_eq!(set.iter().collect::<std::vec::Vec<_>>(), places.iter().copied().collect::<std::vec::Vec<_>>());
            prop_assert_eq!(usize::from(set.len()), places.len());
            prop_assert_eq!(set.nth(1), places.iter().nth(1).copied());
            prop_assert_eq!(set.first(3).len(), set.len().min(3));
            set.drop(gone);
            prop_assert!(!set.has(gone));
            set.remove(&Recipients::all());
            prop_assert!(set.is_empty());
        }
    }

    #[test]
    fn nobody_is_beyond_the_last() {
        let mut set = Recipients::none();
        set.add(RECIPIENTS as u16);
        assert!(set.is_empty() && !set.has(RECIPIENTS as u16));
    }

    #[test]
    fn replies_are_shared_and_bounded() {
        let mut failures = Failures::default();
        for place in 0..20 {
            failures.add(place, &Reply::new(550, (1, 1), format!("no {}", place / 2)));
        }
        assert_eq!(failures.reply(3).unwrap().text(), "no 1");
        assert_eq!(failures.reply(19).unwrap().text(), "no 7", "the last kept one stands for the rest");
        assert_eq!(failures.reply(20), None);
        assert_eq!(failures.who().len(), 20);
        failures.clear();
        assert!(failures.who().is_empty());
    }
}
