//! What name servers have said, and for how long it holds. The size is fixed; where there is no room, the
//! oldest goes.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use heapless::Vec;

use super::message::{Exchangers, Kind};
use super::name::Name;
use super::resolver::Failure;
use crate::limits::{ADDRESSES, CACHED_ADDRESSES, CACHED_EXCHANGERS};

/// Seconds for which an answer is believed at least, however short its TTL: a burst of mail asks once.
const TTL_FLOOR_S: u32 = 30;
/// Seconds for which an answer is believed at most.
const TTL_CAP_S: u32 = 3600;
/// The same for a negative answer: what was missing may have been put there.
const NEGATIVE_TTL_CAP_S: u32 = 300;
/// Seconds for which nobody asks again after no server answered.
const SILENCE_S: u64 = 60;
/// Seconds for which nobody asks again after the servers could not tell, or could not be reached.
const REFUSAL_S: u64 = 5;
/// Seconds for which a name that no server answered for lets others go first.
const DEAD_S: u64 = 600;

/// Which answer: by name, kind, and the set of servers that was asked.
#[derive(Clone, Copy, Debug)]
pub struct Key<'a> {
    /// The name.
    pub name: &'a Name,
    /// The kind of records.
    pub kind: Kind,
    /// The set of servers.
    pub set: u16,
}

#[derive(Debug)]
struct Entry<T> {
    name: Name,
    kind: Kind,
    set: u16,
    answer: Result<T, Failure>,
    since: Instant,
    holds: Duration,
}

impl<T> Entry<T> {
    fn is(&self, key: Key<'_>) -> bool {
        self.kind == key.kind && self.set == key.set && self.name == *key.name
    }
}

/// Answers of one kind.
#[derive(Debug)]
pub struct Table<T>(Box<[Option<Entry<T>>]>);

impl<T: Clone> Table<T> {
    fn new(places: usize) -> Self {
        Self((0..places).map(|_| None).collect())
    }

    /// What is remembered, if it still holds.
    pub fn find(&self, key: Key<'_>, now: Instant) -> Option<Result<T, Failure>> {
        let entry = self.0.iter().flatten().find(|entry| entry.is(key))?;
        (now.saturating_duration_since(entry.since) < entry.holds).then(|| entry.answer.clone())
    }

    /// Remembers an answer whose TTL is `ttl_s`.
    pub fn put(&mut self, key: Key<'_>, answer: Result<T, Failure>, ttl_s: u32, now: Instant) {
        let holds = match answer {
            Ok(_) => Duration::from_secs(ttl_s.clamp(TTL_FLOOR_S, TTL_CAP_S).into()),
            Err(Failure::NoName | Failure::NoRecord) => {
                Duration::from_secs(ttl_s.clamp(TTL_FLOOR_S, NEGATIVE_TTL_CAP_S).into())
            }
            Err(Failure::Refusal | Failure::Unreachable) => Duration::from_secs(REFUSAL_S),
            Err(Failure::Silence) => Duration::from_secs(SILENCE_S),
        };
        let entry = Entry { name: key.name.clone(), kind: key.kind, set: key.set, answer, since: now, holds };
        let known = self.0.iter().position(|place| place.as_ref().is_some_and(|entry| entry.is(key)));
        let free = || self.0.iter().position(Option::is_none);
        let oldest = || (0..self.0.len()).min_by_key(|&n| self.0[n].as_ref().map(|entry| entry.since));
        if let Some(place) = known.or_else(free).or_else(oldest) {
            self.0[place] = Some(entry);
        }
    }

    fn is_dead(&self, name: &Name, set: u16, now: Instant) -> bool {
        let dead = Duration::from_secs(DEAD_S);
        self.0.iter().flatten().any(|entry| {
            matches!(entry.answer, Err(Failure::Silence))
                && entry.set == set
                && entry.name == *name
                && now.saturating_duration_since(entry.since) < dead
        })
    }
}

/// All that is remembered.
#[derive(Debug)]
pub struct Cache {
    /// Addresses of hosts.
    pub addresses: Table<Vec<IpAddr, ADDRESSES>>,
    /// Mail exchangers of domains.
    pub exchangers: Table<Exchangers>,
}

impl Default for Cache {
    fn default() -> Self {
        Self { addresses: Table::new(CACHED_ADDRESSES), exchangers: Table::new(CACHED_EXCHANGERS) }
    }
}

impl Cache {
    /// Octets of heap that it takes.
    pub const OCTETS: usize = CACHED_ADDRESSES * size_of::<Option<Entry<Vec<IpAddr, ADDRESSES>>>>()
        + CACHED_EXCHANGERS * size_of::<Option<Entry<Exchangers>>>();

    /// True if no server answered for this name lately.
    pub fn is_dead(&self, name: &Name, set: u16, now: Instant) -> bool {
        self.addresses.is_dead(name, set, now) || self.exchangers.is_dead(name, set, now)
    }

    /// Forgets all: other servers may say something else.
    pub fn clear(&mut self) {
        self.addresses.0.fill_with(|| None);
        self.exchangers.0.fill_with(|| None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    fn key(name: &Name) -> Key<'_> {
        Key { name, kind: Kind::A, set: 0 }
    }

    #[test]
    fn an_answer_holds_for_its_ttl_within_bounds() {
        let (start, name) = (Instant::now(), Name::parse("a.test").unwrap());
        for (answer, ttl_s, holds_s) in [
            (Ok(()), 0, 30),
            (Ok(()), 100, 100),
            (Ok(()), u32::MAX, 3600),
            (Err(Failure::NoName), 0, 30),
            (Err(Failure::NoRecord), u32::MAX, 300),
            (Err(Failure::Refusal), 1000, 5),
            (Err(Failure::Unreachable), 1000, 5),
            (Err(Failure::Silence), 0, 60),
        ] {
            let mut table = Table::new(1);
            table.put(key(&name), answer, ttl_s, start);
            assert_eq!(table.find(key(&name), after(start, holds_s - 1)), Some(answer), "{ttl_s}");
            assert_eq!(table.find(key(&name), after(start, holds_s)), None, "{ttl_s}");
        }
    }

    #[test]
    fn answers_are_told_apart_by_name_kind_and_servers() {
        let (start, name) = (Instant::now(), Name::parse("a.test").unwrap());
        let mut table = Table::new(4);
        table.put(key(&name), Ok(1), 60, start);
        assert_eq!(table.find(Key { kind: Kind::Aaaa, ..key(&name) }, start), None);
        assert_eq!(table.find(Key { set: 1, ..key(&name) }, start), None);
        assert_eq!(table.find(key(&Name::parse("b.a.test").unwrap()), start), None);
        table.put(key(&name), Ok(2), 60, start);
        assert_eq!(table.find(key(&name), start), Some(Ok(2)));
        assert_eq!(table.0.iter().flatten().count(), 1, "the new answer takes the old one's place");
    }

    #[test]
    fn the_oldest_makes_room() {
        let (start, mut table) = (Instant::now(), Table::new(2));
        let names = ["a.test", "b.test", "c.test"].map(|name| Name::parse(name).unwrap());
        for (n, name) in names.iter().enumerate() {
            table.put(key(name), Ok(n), 60, after(start, n as u64));
        }
        assert_eq!(table.find(key(&names[0]), start), None);
        assert_eq!(table.find(key(&names[2]), after(start, 2)), Some(Ok(2)));
    }

    #[test]
    fn a_name_without_an_answer_is_dead_for_longer_than_it_is_remembered() {
        let (start, name) = (Instant::now(), Name::parse("a.test").unwrap());
        let mut cache = Cache::default();
        cache.addresses.put(key(&name), Err(Failure::Silence), 0, start);
        assert!(cache.is_dead(&name, 0, after(start, 599)));
        assert!(!cache.is_dead(&name, 0, after(start, 600)) && !cache.is_dead(&name, 1, start));
        cache.addresses.put(key(&name), Ok(Vec::new()), 0, start);
        assert!(!cache.is_dead(&name, 0, start), "it has answered since");
        cache.clear();
        assert_eq!(cache.addresses.find(key(&name), start), None);
    }
}
