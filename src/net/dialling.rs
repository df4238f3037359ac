//! Which address is dialled next, and for how long: what a slot remembers of its tries, and what all slots
//! know of the two families of addresses.

use std::net::SocketAddr;

use super::names::Addresses;
use crate::limits::CONNECT_TIMEOUT_S;
use crate::relay::delivery::Fate;
use crate::smtp::reply::Reply;

/// Addresses that one delivery dials at most.
const DIALS: u8 = 32;
/// Mail exchangers that took the connection and failed, after which a delivery tries no more of them.
const FAILED_SESSIONS: u8 = 4;
/// Seconds for an address while one of the other family is left: a family that leads nowhere costs no more.
const FAMILY_TIMEOUT_S: u32 = 5;
/// Milliseconds for which a family that led nowhere is tried last.
const FAMILY_REST_MS: u64 = 600_000;

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// That of an address.
    pub fn of(address: &SocketAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

/// Until when each family is tried last.
#[derive(Clone, Copy, Debug, Default)]
pub struct Families {
    v4_rests_until_ms: u64,
    v6_rests_until_ms: u64,
}

impl Families {
    fn rest(&mut self, family: Family) -> &mut u64 {
        match family {
            Family::V4 => &mut self.v4_rests_until_ms,
            Family::V6 => &mut self.v6_rests_until_ms,
        }
    }

    /// An address of this family has answered, after one of `silent`, if any, has not.
    pub fn answered(&mut self, family: Family, silent: Option<Family>, now_ms: u64) {
        *self.rest(family) = 0;
        if let Some(silent) = silent.filter(|silent| *silent != family) {
            *self.rest(silent) = now_ms + FAMILY_REST_MS;
        }
    }

    /// Puts the addresses of a family that rests behind the others.
    pub fn order(&mut self, addresses: &mut Addresses, now_ms: u64) {
        for family in [Family::V4, Family::V6] {
            if *self.rest(family) > now_ms {
                put_last(addresses, 0, family);
            }
        }
    }
}

/// Puts the addresses of a family, of those from `start` on, behind the others; they keep their order.
fn put_last(addresses: &mut Addresses, start: usize, family: Family) {
    // A stable sort would allocate, and there are eight.
    let rest = addresses.clone();
    let rest = rest.get(start..).unwrap_or_default();
    addresses.truncate(start);
    let is_last = |address: &&SocketAddr| Family::of(address) == family;
    addresses.extend(rest.iter().filter(|address| !is_last(address)).copied());
    addresses.extend(rest.iter().filter(is_last).copied());
}

/// Seconds to wait for the connection to the address at `place`.
pub fn connect_timeout_s(addresses: &Addresses, place: usize) -> u32 {
    let Some((address, behind)) = addresses.get(place..).and_then(<[SocketAddr]>::split_first) else {
        return CONNECT_TIMEOUT_S;
    };
    let is_other = |other: &SocketAddr| Family::of(other) != Family::of(address);
    if behind.iter().any(is_other) { FAMILY_TIMEOUT_S } else { CONNECT_TIMEOUT_S }
}

/// What came of the hosts that a delivery has tried.
#[derive(Debug, Default)]
pub struct Tried {
    dials: u8,
    sessions: u8,
    /// The family of an address that did not answer in time.
    silent: Option<Family>,
    /// What the last one said of which there is hope, and the last one of which there is none.
    hopeful: Option<Reply>,
    hopeless: Option<Reply>,
}

impl Tried {
    /// Counts an address that is dialled.
    pub fn dial(&mut self) {
        self.dials = self.dials.saturating_add(1);
    }

    /// The address at `place` did not answer in time: the rest of its family goes last.
    pub fn timed_out(&mut self, addresses: &mut Addresses, place: usize) {
        if let Some(address) = addresses.get(place) {
            let family = Family::of(address);
            self.silent = Some(family);
            put_last(addresses, place + 1, family);
        }
    }

    /// Counts a connection that stands; the family that was silent before it.
    pub fn connect(&mut self) -> Option<Family> {
        self.sessions = self.sessions.saturating_add(1);
        self.silent.take()
    }

    /// True if there was a connection at all, so that what was heard was said by a host.
    pub fn has_spoken(&self) -> bool {
        self.sessions > 0
    }

    /// Notes what one host came to.
    pub fn note(&mut self, fate: Fate, reply: &Reply) {
        let place = if fate == Fate::Failed { &mut self.hopeless } else { &mut self.hopeful };
        *place = Some(reply.clone());
    }

    /// True if no more hosts are to be tried; the hosts of a configuration are all tried.
    pub fn is_enough(&self, by_mx: bool) -> bool {
        self.dials >= DIALS || by_mx && self.sessions >= FAILED_SESSIONS
    }

    /// What all came to: while there is hope for one host, there is for the destination.
    pub fn sum(&self) -> (Fate, Reply) {
        match (&self.hopeful, &self.hopeless) {
            (Some(reply), _) => (Fate::Deferred, reply.clone()),
            (None, Some(reply)) => (Fate::Failed, reply.clone()),
            (None, None) => (Fate::Deferred, Reply::new(451, (4, 4), "there is no host to dial")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(list: &[&str]) -> Addresses {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    const BOTH: [&str; 4] = ["[2001:db8::1]:25", "192.0.2.1:25", "[2001:db8::2]:25", "192.0.2.2:25"];
    const V4_FIRST: [&str; 4] = ["192.0.2.1:25", "192.0.2.2:25", "[2001:db8::1]:25", "[2001:db8::2]:25"];

    #[test]
    fn a_dead_family_costs_one_short_timeout() {
        let (mut families, mut tried) = (Families::default(), Tried::default());
        let mut list = addresses(&BOTH);
        families.order(&mut list, 0);
        assert_eq!(list, addresses(&BOTH));
        assert_eq!(connect_timeout_s(&list, 0), FAMILY_TIMEOUT_S);
        tried.timed_out(&mut list, 0);
        assert_eq!(list, addresses(&[BOTH[0], BOTH[1], BOTH[3], BOTH[2]]), "IPv4 before the other IPv6 one");
        assert_eq!(connect_timeout_s(&list, 2), FAMILY_TIMEOUT_S);
        assert_eq!(connect_timeout_s(&list, 3), CONNECT_TIMEOUT_S, "nothing is left to hurry for");
        families.answered(Family::V4, tried.connect(), 1_000);
        let mut list = addresses(&BOTH);
        families.order(&mut list, 1_000 + FAMILY_REST_MS - 1);
        assert_eq!(list, addresses(&V4_FIRST), "all slots know");
        let mut list = addresses(&BOTH);
        families.order(&mut list, 1_000 + FAMILY_REST_MS);
        assert_eq!(list, addresses(&BOTH), "but not for ever");
    }

    #[test]
    fn a_family_that_answers_rests_no_more() {
        let (mut families, mut list) = (Families::default(), addresses(&BOTH));
        families.answered(Family::V4, Some(Family::V6), 0);
        families.answered(Family::V6, None, 0);
        families.order(&mut list, 0);
        assert_eq!(list, addresses(&BOTH));
        families.answered(Family::V6, Some(Family::V6), 0);
        families.order(&mut list, 0);
        assert_eq!(list, addresses(&BOTH), "one host of a family may be silent");
        assert_eq!(connect_timeout_s(&addresses(&BOTH[1..2]), 0), CONNECT_TIMEOUT_S);
        assert_eq!(connect_timeout_s(&list, 9), CONNECT_TIMEOUT_S);
    }

    #[test]
    fn one_hopeful_host_defers() {
        let (later, never) = (Reply::new(451, (4, 1), "later"), Reply::new(550, (4, 4), "never"));
        let mut tried = Tried::default();
        assert_eq!(tried.sum().0, Fate::Deferred);
        tried.note(Fate::Failed, &never);
        assert_eq!(tried.sum(), (Fate::Failed, never.clone()));
        tried.note(Fate::Deferred, &later);
        tried.note(Fate::Failed, &never);
        assert_eq!(tried.sum(), (Fate::Deferred, later));
    }

    #[test]
    fn tries_have_an_end() {
        let mut tried = Tried::default();
        for _ in 0..FAILED_SESSIONS {
            assert!(!tried.is_enough(true));
            tried.connect();
        }
        assert!(tried.is_enough(true) && !tried.is_enough(false));
        (0..DIALS).for_each(|_| tried.dial());
        assert!(tried.is_enough(false));
    }
}
