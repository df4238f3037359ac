//! Small fixed tables over the recipients of one message.

use heapless::{String, Vec};

use super::intake::text;
use crate::limits::RECIPIENTS;
use crate::smtp::reply::Reply;

/// Distinct replies that are kept for the recipients of one round.
const REPLIES: usize = 8;
/// Octets of a host's name and address that are kept with one.
const HOST_OCTETS: usize = 80;

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

/// What was said of a recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// In which words.
    pub reply: Reply,
    /// By which host; empty: by us.
    pub host: String<HOST_OCTETS>,
}

/// What was said of the recipients of one round, and who failed by it: few distinct replies, and who
/// got which.
#[derive(Debug)]
pub struct Answers {
    failed: Recipients,
    answered: Recipients,
    said: Vec<Said, REPLIES>,
    of: [u8; RECIPIENTS],
}

impl Default for Answers {
    fn default() -> Self {
        let (failed, answered) = (Recipients::none(), Recipients::none());
        Self { failed, answered, said: Vec::new(), of: [0; RECIPIENTS] }
    }
}

impl Answers {
    /// Notes what was said of a recipient. When there are more distinct answers than are kept, the
    /// last kept one stands for the rest; the log has each.
    pub fn note(&mut self, place: u16, reply: &Reply, host: &str) {
        let Some(of) = self.of.get_mut(usize::from(place)) else { return };
        self.answered.add(place);
        let host = text::<HOST_OCTETS>(host);
        let known = self.said.iter().position(|said| said.reply == *reply && said.host == host);
        let at = known.unwrap_or_else(|| {
            // A full list keeps its last.
            let _ = self.said.push(Said { reply: reply.clone(), host });
            self.said.len() - 1
        });
        *of = at as u8;
    }

    /// Notes that a recipient failed by what was said.
    pub fn fail(&mut self, place: u16, reply: &Reply, host: &str) {
        self.note(place, reply, host);
        self.failed.add(place);
    }

    /// Who failed.
    pub fn failed(&self) -> &Recipients {
        &self.failed
    }

    /// What was said last of a recipient in this round.
    pub fn said(&self, place: u16) -> Option<&Said> {
        let said = self.said.get(usize::from(*self.of.get(usize::from(place))?))?;
        self.answered.has(place).then_some(said)
    }

    /// Why a recipient failed, if it did.
    pub fn failure(&self, place: u16) -> Option<&Reply> {
        self.failed.has(place).then(|| self.said(place)).flatten().map(|said| &said.reply)
    }

    /// Those who failed are to be tried again.
    pub fn forgive(&mut self) {
        self.failed = Recipients::none();
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
        let mut answers = Answers::default();
        for place in 0..20 {
            answers.fail(place, &Reply::new(550, (1, 1), format!("no {}", place / 2)), "mx.test");
        }
        assert_eq!(answers.failure(3).unwrap().text(), "no 1");
        assert_eq!(answers.failure(19).unwrap().text(), "no 7", "the last kept one stands for the rest");
        assert_eq!(answers.failure(20), None);
        assert_eq!(answers.failed().len(), 20);
        answers.forgive();
        assert!(answers.failed().is_empty() && answers.failure(3).is_none());
        assert_eq!(answers.said(3).map(|said| said.host.as_str()), Some("mx.test"));
    }

    #[test]
    fn the_same_words_of_another_host_are_another_answer() {
        let mut answers = Answers::default();
        let later = Reply::new(451, (4, 1), "later");
        answers.note(0, &later, "one.test");
        answers.note(1, &later, "two.test");
        assert_eq!(answers.said(1).map(|said| said.host.as_str()), Some("two.test"));
        assert_eq!((answers.failure(1), answers.said(2)), (None, None));
    }
}
