//! Destinations: where messages go, who waits for each, and which of them are not answering.
//!
//! A destination is a route, and for `mx` the domain too. Each has a line of due messages, a count
//! of deliveries under way and, after a failure that concerns all of it (no connection, a refused
//! greeting), a back-off during which nobody is sent there. So a dead one costs one try now
//! and then, and never delays the others.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::OnceLock;
use std::time::Duration;

use heapless::String;

use super::queue::{Index, Line, Queue};
use crate::limits::DESTINATIONS;
use crate::smtp::reply::Reply;

/// Tries that are overdue at a start are spread over so many milliseconds.
const OVERDUE_SPREAD_MS: u64 = 60_000;
/// The longest time a destination is left alone: it may be back any moment.
const BACK_OFF_MAX: Duration = Duration::from_secs(15 * 60);

/// Messages that leave a line at once for want of places in the table.
const SHED: usize = 1_024;

/// Keyed anew by each start: nobody can make a domain whose hash is another one's, and so get its mail.
static HASHES: OnceLock<RandomState> = OnceLock::new();

/// Which destination: the route's place in the configuration, and a hash of the domain where the
/// route alone does not decide it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Index of the route.
    pub route: u16,
    /// Hash of the domain, 0 if the route alone decides.
    pub domain: u64,
}

impl Key {
    /// No destination that is known: nobody has looked yet, or no route leads there, or the message can't be
    /// read. It never rests.
    pub const NOWHERE: Self = Self { route: u16::MAX, domain: 0 };

    /// The destination of mail for a domain that takes a route; the domain's case does not count.
    pub fn of_domain(route: u16, domain: &str) -> Self {
        let mut hash = HASHES.get_or_init(RandomState::new).build_hasher();
        domain.bytes().for_each(|octet| hash.write_u8(octet.to_ascii_lowercase()));
        Self { route, domain: hash.finish().max(1) }
    }
}

impl Default for Key {
    fn default() -> Self {
        Self::NOWHERE
    }
}

/// A number made of another one, different in every run of the program.
pub fn drawn(from: u32) -> u64 {
    HASHES.get_or_init(RandomState::new).hash_one(from)
}

/// What is known of one destination.
#[derive(Debug)]
pub struct Destination {
    key: Key,
    line: Line,
    /// Deliveries under way.
    active: u16,
    /// Failures in a row.
    failures: u8,
    /// Monotonic end of the back-off.
    until_ms: u64,
    /// Last time anything was done with it: the longest unused is forgotten first.
    used_ms: u64,
    /// The last host that was tried.
    host: String<80>,
    /// Its last words, or ours on it.
    reply: Option<Reply>,
    /// They are its own.
    spoke: bool,
}

impl Destination {
    /// Which one.
    pub fn key(&self) -> Key {
        self.key
    }
    /// The last host that was tried.
    pub fn host(&self) -> &str {
        &self.host
    }
    /// What the last failure said.
    pub fn reply(&self) -> Option<&Reply> {
        self.reply.as_ref()
    }
    /// True if that was said by the host, not found out about it.
    pub fn spoke(&self) -> bool {
        self.spoke
    }
    /// Failures in a row.
    pub fn failures(&self) -> u8 {
        self.failures
    }
    /// Deliveries under way.
    pub fn active(&self) -> u16 {
        self.active
    }
    /// True if messages wait in its line.
    pub fn has_waiting(&self) -> bool {
        !self.line.is_empty()
    }
    /// Monotonic end of the back-off, if it is still ahead.
    pub fn backs_off_until_ms(&self, now_ms: u64) -> Option<u64> {
        (self.until_ms > now_ms).then_some(self.until_ms)
    }

    fn is_forgettable(&self) -> bool {
        self.line.is_empty() && self.active == 0
    }
}

/// A place in [`Destinations`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(u16);

/// All destinations that are in use or remembered.
#[derive(Debug)]
pub struct Destinations {
    table: Vec<Destination>,
    /// Messages in all lines.
    lined_up: usize,
    /// Where the next search starts, so that every line gets its turn.
    turn: usize,
}

impl Default for Destinations {
    fn default() -> Self {
        Self::new()
    }
}

impl Destinations {
    /// Octets of heap that the table takes.
    pub const OCTETS: usize = DESTINATIONS * size_of::<Destination>();

    /// An empty table with room for [`DESTINATIONS`], allocated here and never again.
    pub fn new() -> Self {
        Self { table: Vec::with_capacity(DESTINATIONS), lined_up: 0, turn: 0 }
    }

    /// All that are remembered.
    pub fn iter(&self) -> impl Iterator<Item = &Destination> {
        self.table.iter()
    }

    /// The destination in a slot.
    pub fn at(&self, slot: Slot) -> &Destination {
        &self.table[usize::from(slot.0)]
    }

    /// The slot of `key`, if it is known.
    pub fn find(&self, key: Key) -> Option<Slot> {
        self.table.iter().position(|d| d.key == key).map(slot)
    }

    /// The slot of `key`, made if need be at the cost of the longest unused; `None` if all are busy.
    pub fn open(&mut self, key: Key, now_ms: u64) -> Option<Slot> {
        let place = match self.table.iter().position(|d| d.key == key) {
            Some(place) => place,
            None => self.make(key, now_ms)?,
        };
        self.table[place].used_ms = now_ms;
        Some(slot(place))
    }

    fn make(&mut self, key: Key, now_ms: u64) -> Option<usize> {
        let made = Destination {
            key,
            line: Line::default(),
            active: 0,
            failures: 0,
            until_ms: 0,
            used_ms: now_ms,
            host: String::new(),
            reply: None,
            spoke: false,
        };
        if self.table.len() < DESTINATIONS {
            self.table.push(made);
            return Some(self.table.len() - 1);
        }
        let place = (0..self.table.len())
            .filter(|&n| self.table[n].is_forgettable())
            .min_by_key(|&n| (self.table[n].until_ms > now_ms, self.table[n].used_ms))?;
        self.table[place] = made;
        Some(place)
    }

    /// With no place left in the table: lets a part of the line of the destination that rests longest wait for
    /// the end of that without a place, so that one that is alive gets it.
    pub fn shed(&mut self, queue: &mut Queue, now_ms: u64) {
        let can_go = |d: &&mut Destination| d.until_ms > now_ms && d.active == 0 && !d.line.is_empty();
        let Some(one) = self.table.iter_mut().filter(can_go).max_by_key(|d| d.until_ms) else { return };
        for _ in 0..SHED {
            let Some(message) = queue.step_out(&mut one.line) else { return };
            self.lined_up -= 1;
            queue.wait(message, one.until_ms);
        }
    }

    /// Puts a due message at the end of the destination's line.
    pub fn line_up(&mut self, queue: &mut Queue, at: Slot, message: Index) {
        queue.line_up(&mut self.table[usize::from(at.0)].line, message);
        self.lined_up += 1;
    }

    /// Takes a message out of whatever line it stands in.
    pub fn leave(&mut self, queue: &mut Queue, message: Index) {
        let key = queue.entry(message).key;
        if let Some(found) = self.table.iter_mut().find(|d| d.key == key) {
            queue.leave(&mut found.line, message);
            self.lined_up -= 1;
        }
    }

    /// The first of the line, to be delivered now.
    pub fn step_out(&mut self, queue: &mut Queue, at: Slot) -> Option<Index> {
        let message = queue.step_out(&mut self.table[usize::from(at.0)].line)?;
        self.lined_up -= 1;
        Some(message)
    }

    /// The next destination, in turn, that has somebody waiting and may take one more delivery
    /// by `may`. The search goes on behind the one that was found last.
    pub fn next_ready(&mut self, now_ms: u64, mut may: impl FnMut(&Destination) -> bool) -> Option<Slot> {
        if self.lined_up == 0 {
            return None;
        }
        let count = self.table.len();
        let found = (0..count).map(|n| (self.turn + n) % count).find(|&n| {
            let one = &self.table[n];
            !one.line.is_empty() && self.is_open(slot(n), now_ms) && may(one)
        })?;
        self.turn = (found + 1) % count;
        Some(slot(found))
    }

    /// True if deliveries may start there: no back-off, and after a failure only one at a time.
    pub fn is_open(&self, at: Slot, now_ms: u64) -> bool {
        let one = self.at(at);
        one.until_ms <= now_ms && (one.failures == 0 || one.active == 0)
    }

    /// True if that one is left alone for a while.
    pub fn rests(&self, key: Key, now_ms: u64) -> bool {
        self.table.iter().any(|d| d.key == key && d.backs_off_until_ms(now_ms).is_some())
    }

    /// Messages in all lines.
    pub fn waiting(&self) -> usize {
        self.lined_up
    }

    /// True if somebody stands in a line.
    pub fn is_anybody_waiting(&self) -> bool {
        self.lined_up > 0
    }

    /// The soonest end of a back-off for which somebody waits.
    pub fn next_open_ms(&self, now_ms: u64) -> Option<u64> {
        if self.lined_up == 0 {
            return None;
        }
        self.table.iter().filter(|d| !d.line.is_empty() && d.until_ms > now_ms).map(|d| d.until_ms).min()
    }

    /// Counts a delivery that starts.
    pub fn started(&mut self, at: Slot, now_ms: u64) {
        let one = &mut self.table[usize::from(at.0)];
        one.active += 1;
        one.used_ms = now_ms;
    }

    /// Counts a delivery that has ended.
    pub fn ended(&mut self, key: Key) {
        if let Some(one) = self.table.iter_mut().find(|d| d.key == key) {
            one.active = one.active.saturating_sub(1);
        }
    }

    /// The destination answered: whatever it said of a message, it is alive. True if it had failed.
    pub fn answered(&mut self, key: Key, host: &str) -> bool {
        let Some(one) = self.table.iter_mut().find(|d| d.key == key) else { return false };
        let had_failed = std::mem::take(&mut one.failures) > 0;
        one.until_ms = 0;
        set(&mut one.host, host);
        one.reply = None;
        had_failed
    }

    /// The destination as a whole failed: leave it alone for a while that grows with `waits`. `spoke`: the
    /// host gave this reply itself. Returns the monotonic end of the back-off.
    pub fn failed(
        &mut self,
        key: Key,
        host: &str,
        spoke: bool,
        reply: &Reply,
        waits: &[Duration],
        now_ms: u64,
    ) -> u64 {
        let Some(one) = self.table.iter_mut().find(|d| d.key == key) else { return now_ms };
        // Connections that were under way side by side find out the same: that counts once.
        if one.failures == 0 || one.until_ms <= now_ms {
            let wait = waits.get(usize::from(one.failures)).or(waits.last()).copied().unwrap_or(BACK_OFF_MAX);
            one.failures = one.failures.saturating_add(1);
            one.until_ms = now_ms.saturating_add(millis(wait.min(BACK_OFF_MAX)));
        }
        set(&mut one.host, host);
        one.reply = Some(reply.clone());
        one.spoke = spoke;
        one.until_ms
    }

    /// Ends the back-off of one: somebody asked for a try now.
    pub fn reopen(&mut self, key: Key) {
        if let Some(one) = self.table.iter_mut().find(|d| d.key == key) {
            one.until_ms = 0;
        }
    }

    /// Forgets every destination; those who stood in their lines wait, due now.
    pub fn clear(&mut self, queue: &mut Queue, now_ms: u64) {
        for one in &mut self.table {
            while let Some(message) = queue.step_out(&mut one.line) {
                queue.wait(message, now_ms);
            }
        }
        self.table.clear();
        self.lined_up = 0;
    }

    /// Ends every back-off: somebody asked for a try now.
    pub fn reopen_all(&mut self) {
        for one in &mut self.table {
            one.until_ms = 0;
        }
    }
}

fn slot(place: usize) -> Slot {
    Slot(u16::try_from(place).unwrap_or(u16::MAX))
}

fn set<const N: usize>(to: &mut String<N>, text: &str) {
    to.clear();
    for c in text.chars() {
        if to.push(c).is_err() {
            break;
        }
    }
}

fn millis(wait: Duration) -> u64 {
    u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)
}

/// When a message that has been tried `tries` times is tried again: `waits[tries - 1]`, the last
/// one repeating, moved by up to an eighth either way by its id so that a burst spreads out.
pub fn next_try_ms(tries: u16, waits: &[Duration], id: u64, now_ms: u64) -> u64 {
    let step = usize::from(tries.saturating_sub(1));
    let wait = millis(waits.get(step).or(waits.last()).copied().unwrap_or(BACK_OFF_MAX));
    let jitter = wait / 4 * (scattered(id) % 257) / 256;
    now_ms.saturating_add(wait - wait / 8).saturating_add(jitter)
}

/// When a message is tried again that an earlier run of the relay has tried `tries` times. It follows from
/// its age and its tries, not from the clock of the last try, which may have leapt since. Never later than after a
/// whole wait, for that try lies behind us; what is overdue, or of unknown age, is spread over a minute
/// or one wait, whichever is less.
pub fn resumed_try_ms(tries: u16, waits: &[Duration], id: u64, age_ms: Option<u64>, now_ms: u64) -> u64 {
    if tries == 0 {
        return now_ms;
    }
    let wait = |tries| next_try_ms(tries, waits, id, 0);
    let listed = tries.min(u16::try_from(waits.len()).unwrap_or(u16::MAX));
    let repeated_ms = wait(tries).saturating_mul(u64::from(tries - listed));
    let planned_ms = (1..=listed).map(wait).fold(repeated_ms, u64::saturating_add);
    let left_ms = age_ms.map_or(0, |age_ms| planned_ms.saturating_sub(age_ms)).min(wait(tries));
    let spread_ms = OVERDUE_SPREAD_MS.min(wait(tries)).max(1);
    now_ms.saturating_add(if left_ms > 0 { left_ms } else { scattered(id) % spread_ms })
}

/// Fibonacci hashing: neighbouring ids land far apart.
fn scattered(id: u64) -> u64 {
    id.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::queue::Entry;
    use crate::spool::Message;
    use crate::sys::Now;

    const WAITS: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(300)];

    fn key(domain: u64) -> Key {
        Key { route: 0, domain }
    }

    fn refused() -> Reply {
        Reply::new(451, (4, 1), "refused")
    }

    fn message(queue: &mut Queue, key: Key) -> Index {
        let now = Now { mono_ms: 0, unix_s: 0 };
        queue.insert(Entry::new(&Message::default(), 0, key), now).unwrap()
    }

    #[test]
    fn a_dead_destination_does_not_stop_a_live_one() {
        let (mut queue, mut all) = (Queue::new(8, 0), Destinations::new());
        for domain in [1, 1, 2] {
            let at = message(&mut queue, key(domain));
            let slot = all.open(key(domain), 0).unwrap();
            all.line_up(&mut queue, slot, at);
        }
        let dead = all.next_ready(0, |_| true).unwrap();
        assert_eq!(all.at(dead).key(), key(1));
        all.step_out(&mut queue, dead).unwrap();
        all.started(dead, 0);
        assert_eq!(all.failed(key(1), "a:25", true, &refused(), &WAITS, 0), 60_000);
        all.ended(key(1));
        let live = all.next_ready(1, |_| true).unwrap();
        assert_eq!(all.at(live).key(), key(2));
        all.step_out(&mut queue, live).unwrap();
        assert!(all.next_ready(1, |_| true).is_none());
        assert_eq!(all.next_open_ms(1), Some(60_000));
        assert!(all.next_ready(60_000, |_| true).is_some());
    }

    #[test]
    fn after_a_failure_one_probe_at_a_time_until_it_answers() {
        let mut all = Destinations::new();
        let slot = all.open(key(1), 0).unwrap();
        all.failed(key(1), "", true, &refused(), &WAITS, 0);
        assert!(!all.is_open(slot, 0));
        assert!(all.is_open(slot, 60_000));
        all.started(slot, 60_000);
        assert!(!all.is_open(slot, 60_000));
        all.answered(key(1), "");
        assert!(all.is_open(slot, 60_000));
    }

    #[test]
    fn domains_are_destinations_of_their_own() {
        let key = |route, domain| Key::of_domain(route, domain);
        assert_eq!(key(1, "Example.test"), key(1, "example.TEST"));
        assert_ne!(key(1, "example.test"), key(1, "example.tesu"));
        assert_ne!(key(1, "example.test"), key(2, "example.test"));
        assert_ne!(drawn(1), drawn(2));
    }

    #[test]
    fn failures_side_by_side_count_once() {
        let mut all = Destinations::new();
        all.open(key(1), 0).unwrap();
        assert_eq!(all.failed(key(1), "", true, &refused(), &WAITS, 0), 60_000);
        assert_eq!(all.failed(key(1), "", true, &refused(), &WAITS, 30), 60_000);
        assert_eq!(all.failed(key(1), "", true, &refused(), &WAITS, 60_000), 360_000);
    }

    #[test]
    fn the_longest_unused_is_forgotten_and_a_busy_one_never() {
        let mut all = Destinations::new();
        for n in 0..DESTINATIONS {
            let n = n as u64;
            let slot = all.open(key(n), n).unwrap();
            if n == 0 {
                all.started(slot, 0);
            }
        }
        assert!(all.open(key(9_999), 1_000_000).is_some());
        assert!(all.find(key(0)).is_some());
        assert!(all.find(key(1)).is_none());
    }

    #[test]
    fn waits_grow_repeat_their_last_and_are_spread() {
        assert_eq!(next_try_ms(1, &WAITS, 0, 0), 52_500);
        for id in 0..1_000 {
            let due = next_try_ms(9, &WAITS, id, 1_000);
            assert!((1_000 + 262_500..=1_000 + 337_500).contains(&due), "{due}");
        }
        assert_ne!(next_try_ms(2, &WAITS, 1, 0), next_try_ms(2, &WAITS, 2, 0));
    }

    #[test]
    fn a_start_keeps_to_the_schedule() {
        let waits = [60, 3_600].map(Duration::from_secs);
        let due = |tries, age_s: Option<u64>| resumed_try_ms(tries, &waits, 7, age_s.map(|s| s * 1000), 5);
        let wait = |tries| next_try_ms(tries, &waits, 7, 0);
        assert_eq!(due(0, Some(9)), 5, "never tried: at once");
        assert_eq!(due(1, Some(9)), 5 + wait(1) - 9_000);
        assert_eq!(due(2, Some(900)), 5 + wait(1) + wait(2) - 900_000);
        assert_eq!(due(4, Some(9_000)), 5 + wait(1) + 3 * wait(2) - 9_000_000);
        assert_eq!(due(9, Some(10)), 5 + wait(9), "tried often by hand: one wait at most");
        for overdue in [due(2, Some(90_000)), due(2, None)] {
            assert_eq!(overdue, 5 + scattered(7) % OVERDUE_SPREAD_MS);
        }
        assert!(due(1, Some(80)) < 5 + wait(1), "no later than a wait");
    }
}
