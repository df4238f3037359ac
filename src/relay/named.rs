//! Who is named in a transaction already: whoever is named twice, or whom two aliases lead to, gets one copy.

use std::hash::{BuildHasher, RandomState};

use heapless::{String, Vec};

use crate::limits::{PATH_OCTETS, RECIPIENTS};

/// The recipients of one transaction, as hashes.
type Hashes = Vec<u64, RECIPIENTS>;

/// The recipients of the transactions in all slots.
#[derive(Debug)]
pub struct Named {
    slots: Box<[Hashes]>,
    /// With a key drawn at the start, so that nobody can make two recipients that look like one.
    hasher: RandomState,
}

impl Named {
    /// Octets of heap for so many slots.
    pub const fn heap_octets(slots: usize) -> usize {
        slots * size_of::<Hashes>()
    }

    /// Room for so many slots.
    pub fn new(slots: usize) -> Self {
        Self { slots: (0..slots).map(|_| Hashes::new()).collect(), hasher: RandomState::new() }
    }

    /// A transaction begins in a slot.
    pub fn begin(&mut self, slot: usize) {
        self.slots[slot].clear();
    }

    /// True if this recipient is named in the transaction of a slot.
    pub fn has(&self, slot: usize, path: &str, is_ours: bool) -> bool {
        self.slots[slot].contains(&self.hash(path, is_ours))
    }

    /// Notes that it is.
    pub fn add(&mut self, slot: usize, path: &str, is_ours: bool) {
        let hash = self.hash(path, is_ours);
        // As many as an envelope takes.
        let _ = self.slots[slot].push(hash);
    }

    fn hash(&self, path: &str, is_ours: bool) -> u64 {
        self.hasher.hash_one(one_spelling(path, is_ours).as_str())
    }
}

/// A recipient, spelt so that two that are the same are alike. The case of a local-part counts unless it
/// is at a domain of ours.
pub fn one_spelling(path: &str, is_ours: bool) -> String<PATH_OCTETS> {
    let mut path = String::try_from(path).unwrap_or_default();
    let local_octets = if is_ours { 0 } else { path.rfind('@').unwrap_or(0) };
    if let Some(rest) = path.get_mut(local_octets..) {
        rest.make_ascii_lowercase();
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recipient_is_named_once_in_each_transaction() {
        let mut named = Named::new(2);
        named.add(0, "anna@Away.test", false);
        assert!(named.has(0, "anna@away.TEST", false) && !named.has(1, "anna@away.test", false));
        assert!(!named.has(0, "Anna@away.test", false), "the case of a local-part is its owner's");
        named.add(0, "Ben@home.test", true);
        assert!(named.has(0, "ben@HOME.test", true));
        named.begin(0);
        assert!(!named.has(0, "anna@away.test", false));
    }
}
