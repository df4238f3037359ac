//! The queue table: one fixed entry a message, made once at start.
//!
//! An entry holds only what the schedule needs; the envelope and the states of the recipients
//! stay in the spool and are read when a delivery starts. Entries that wait for their time stand
//! in a heap, soonest first; entries that are due stand in the line of their destination (see
//! [`super::destination`]). Nothing here allocates after [`Queue::new`].

use super::destination::Key;
use crate::spool::{Id, Message, Place};
use crate::sys::{Now, RELEASE_DATE_UNIX_S};

/// An entry's place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Index(u32);

impl Index {
    /// The place as a number, 0 to capacity - 1.
    pub fn number(self) -> usize {
        self.0 as usize
    }
}

/// Where a message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// No message.
    Free,
    /// Waits for its next try; `heap` is its place among those that wait.
    Waiting {
        /// Index into the heap.
        heap: u32,
    },
    /// Due, in its destination's line.
    Ready,
    /// Being delivered.
    Delivering,
    /// Put aside by a person.
    Held,
}

/// What is known of a message without reading it.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The message's queue id.
    pub id: Id,
    /// Where it lies in the spool.
    pub place: Place,
    /// Octets of content.
    pub size: u64,
    /// Wall clock at arrival, as the present clock counts; 0 while that is unknown.
    pub arrived_unix_s: u64,
    /// Monotonic time of the next try.
    pub due_ms: u64,
    /// Monotonic time of its arrival: its age counts from here, so leaps of the wall clock do not show.
    born_ms: i64,
    /// False while its age is unknown: it came, or the relay started, before the wall clock was set.
    dated: bool,
    /// Tries so far.
    pub tries: u16,
    /// Its sender was told of the delay, or wants to hear of none.
    pub warned: bool,
    /// Where one of its pending recipients goes, if that is known: in the line of that destination it waits.
    pub key: Key,
    /// It may as well wait for another destination, for its pending recipients may go several ways; false once
    /// they were all seen to go one, or the others were tried just now.
    pub is_mixed: bool,
    /// Where it stands; changed only by [`Queue`].
    state: State,
    /// Next in the line or in the list of free entries.
    next: Option<u32>,
    /// Before it in the line.
    before: Option<u32>,
}

impl Entry {
    /// A message that has just come into the queue. An arrival before the release date is that of
    /// a clock that was not set: it counts as unknown.
    pub fn new(message: &Message, tries: u16, key: Key) -> Self {
        let Message { id, place, content_octets, arrived_unix_s, recipients } = *message;
        let is_known = arrived_unix_s >= RELEASE_DATE_UNIX_S;
        Self {
            id,
            place,
            size: content_octets,
            arrived_unix_s: if is_known { arrived_unix_s } else { 0 },
            due_ms: 0,
            born_ms: 0,
            dated: false,
            tries,
            warned: false,
            key,
            is_mixed: recipients > 1,
            state: State::Free,
            next: None,
            before: None,
        }
    }

    /// Where it stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// Its age in tenths of a second, for people: since it came into the table if no more is known.
    pub fn age_tenths(&self, now_ms: u64) -> u64 {
        u64::try_from(signed(now_ms).saturating_sub(self.born_ms) / 100).unwrap_or(0)
    }

    /// Its age in milliseconds, never negative; `None` while it is unknown.
    pub fn age_ms(&self, now_ms: u64) -> Option<u64> {
        self.dated.then(|| u64::try_from(signed(now_ms).saturating_sub(self.born_ms)).unwrap_or(0))
    }

    /// Its age in seconds; 0 while it is unknown.
    pub fn age_s(&self, now_ms: u64) -> u64 {
        self.age_ms(now_ms).unwrap_or(0) / 1000
    }

    /// Makes age and arrival agree with a wall clock that can be believed. What came while it could not
    /// ages from now on; a message whose age is known keeps it, however far the clock has leapt.
    fn date(&mut self, now: Now) {
        match (self.age_ms(now.mono_ms), self.arrived_unix_s) {
            (Some(age_ms), _) => self.arrived_unix_s = now.unix_s.saturating_sub(age_ms / 1000),
            (None, 0) => (self.arrived_unix_s, self.born_ms) = (now.unix_s, signed(now.mono_ms)),
            (None, arrived_unix_s) => {
                let age_ms = now.unix_s.saturating_sub(arrived_unix_s).saturating_mul(1000);
                self.born_ms = signed(now.mono_ms).saturating_sub(signed(age_ms));
            }
        }
        self.dated = true;
    }
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

/// A line of due entries, first come first served, linked through the table.
#[derive(Clone, Copy, Debug, Default)]
pub struct Line {
    ends: Option<(u32, u32)>,
}

impl Line {
    /// True if nobody stands in it.
    pub fn is_empty(&self) -> bool {
        self.ends.is_none()
    }
}

/// The table.
#[derive(Debug)]
pub struct Queue {
    entries: Box<[Entry]>,
    /// Places that are kept for notices.
    notices: usize,
    free: Option<u32>,
    used: usize,
    heap: Box<[u32]>,
    waiting: usize,
}

impl Queue {
    /// A table for so many messages, and for so many notices beside them; allocated here and never again.
    pub fn new(messages: usize, notices: usize) -> Self {
        let capacity = messages + notices;
        let capacity = u32::try_from(capacity).unwrap_or(u32::MAX - 1);
        let blank = Entry::new(&Message::default(), 0, Key::default());
        let mut entries = vec![blank; capacity as usize].into_boxed_slice();
        for (n, entry) in (1..).zip(entries.iter_mut()) {
            entry.next = (n < capacity).then_some(n);
        }
        let heap = vec![0; capacity as usize].into_boxed_slice();
        Self { entries, notices, free: (capacity > 0).then_some(0), used: 0, heap, waiting: 0 }
    }

    /// Octets of heap that such a table takes.
    pub const fn heap_octets(capacity: usize) -> usize {
        capacity * (size_of::<Entry>() + size_of::<u32>())
    }

    /// Messages in the table.
    pub fn len(&self) -> usize {
        self.used
    }

    /// True if there is no message.
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Messages that still fit, notices too.
    pub fn free(&self) -> usize {
        self.entries.len() - self.used
    }

    /// Messages that still fit beside the places that are kept for notices.
    pub fn room(&self) -> usize {
        self.free().saturating_sub(self.notices)
    }

    /// Entries in the table, used or not: the bound for [`Queue::at`].
    pub fn capacity(&self) -> usize {
        self.entries.len()
    }

    /// The entry at a place.
    pub fn entry(&self, at: Index) -> &Entry {
        &self.entries[at.number()]
    }

    /// The message at place `number`, if there is one: for going through the table.
    pub fn at(&self, number: usize) -> Option<(Index, &Entry)> {
        let entry = self.entries.get(number).filter(|e| e.state != State::Free)?;
        Some((Index(u32::try_from(number).ok()?), entry))
    }

    /// The message of that id.
    pub fn find(&self, id: Id) -> Option<Index> {
        (0..self.entries.len()).filter_map(|n| self.at(n)).find(|(_, e)| e.id == id).map(|(at, _)| at)
    }

    /// Takes a message in, due now; `None` if the table is full.
    pub fn insert(&mut self, entry: Entry, now: Now) -> Option<Index> {
        let at = self.free?;
        self.free = self.entries[at as usize].next;
        self.used += 1;
        let born_ms = signed(now.mono_ms);
        let mut entry = Entry { state: State::Held, next: None, born_ms, dated: false, ..entry };
        if now.wall_is_sane() {
            entry.date(now);
        }
        self.entries[at as usize] = entry;
        self.wait(Index(at), now.mono_ms);
        Some(Index(at))
    }

    /// Forgets a message that is being delivered, waits or is held.
    pub fn remove(&mut self, at: Index) {
        self.take_from_heap(at);
        let entry = &mut self.entries[at.number()];
        assert!(!matches!(entry.state, State::Free | State::Ready), "only what stands nowhere can go");
        entry.state = State::Free;
        entry.next = self.free;
        self.free = Some(at.0);
        self.used -= 1;
    }

    /// Lets a message wait until `due_ms`.
    pub fn wait(&mut self, at: Index, due_ms: u64) {
        self.take_from_heap(at);
        assert!(self.entries[at.number()].state != State::Ready, "it still stands in a line");
        let heap = u32::try_from(self.waiting).unwrap_or(u32::MAX);
        let entry = &mut self.entries[at.number()];
        entry.due_ms = due_ms;
        entry.state = State::Waiting { heap };
        self.heap[self.waiting] = at.0;
        self.waiting += 1;
        self.sift_up(self.waiting - 1);
    }

    /// Puts a message aside until it is released.
    pub fn hold(&mut self, at: Index) {
        self.take_from_heap(at);
        self.entries[at.number()].state = State::Held;
    }

    /// Marks a message as being delivered.
    pub fn start(&mut self, at: Index) {
        self.take_from_heap(at);
        self.entries[at.number()].state = State::Delivering;
    }

    /// Changes what the schedule knows of a message.
    pub fn update(&mut self, at: Index, tries: u16, key: Key, is_mixed: bool) {
        let entry = &mut self.entries[at.number()];
        (entry.tries, entry.key, entry.is_mixed) = (tries, key, is_mixed);
    }

    /// A message waits for that destination from now on.
    pub fn turn_to(&mut self, at: Index, key: Key) {
        self.entries[at.number()].key = key;
    }

    /// The ways have changed: nobody knows any more where a message goes. None may stand in a line.
    pub fn forget_ways(&mut self) {
        for entry in &mut self.entries {
            assert!(entry.state != State::Ready, "its line is found by its key");
            (entry.key, entry.is_mixed) = (Key::NOWHERE, true);
        }
    }

    /// All pending recipients of a message go one way.
    pub fn goes_one_way(&mut self, at: Index) {
        self.entries[at.number()].is_mixed = false;
    }

    /// Sets where a message lies from now on.
    pub fn move_to(&mut self, at: Index, place: Place) {
        self.entries[at.number()].place = place;
    }

    /// Dates a message by a wall clock that was set or has leapt.
    pub fn date(&mut self, at: Index, now: Now) {
        self.entries[at.number()].date(now);
    }

    /// Notes that nobody is to be told of this message's delay any more.
    pub fn warned(&mut self, at: Index) {
        self.entries[at.number()].warned = true;
    }

    /// Makes all that wait due; how many.
    pub fn all_due(&mut self, now_ms: u64) -> usize {
        // A heap of equals is a heap.
        for &at in &self.heap[..self.waiting] {
            self.entries[at as usize].due_ms = now_ms;
        }
        self.waiting
    }

    /// When the soonest of those that wait is due.
    pub fn next_due_ms(&self) -> Option<u64> {
        (self.waiting > 0).then(|| self.entries[self.heap[0] as usize].due_ms)
    }

    /// The soonest message that is due; it stays where it is until it is moved.
    pub fn due(&self, now_ms: u64) -> Option<Index> {
        self.next_due_ms().filter(|&due| due <= now_ms).map(|_| Index(self.heap[0]))
    }

    /// Puts a message at the end of a line.
    pub fn line_up(&mut self, line: &mut Line, at: Index) {
        self.take_from_heap(at);
        let entry = &mut self.entries[at.number()];
        assert!(entry.state != State::Ready, "nobody stands in two lines");
        entry.state = State::Ready;
        entry.next = None;
        entry.before = line.ends.map(|(_, last)| last);
        line.ends = match line.ends {
            None => Some((at.0, at.0)),
            Some((first, last)) => {
                self.entries[last as usize].next = Some(at.0);
                Some((first, at.0))
            }
        };
    }

    /// Takes the first message out of a line; it then counts as held until it is moved on.
    pub fn step_out(&mut self, line: &mut Line) -> Option<Index> {
        let (first, _) = line.ends?;
        self.leave(line, Index(first));
        Some(Index(first))
    }

    /// Takes a message out of the line it stands in; it then counts as held.
    pub fn leave(&mut self, line: &mut Line, at: Index) {
        let entry = &mut self.entries[at.number()];
        assert!(entry.state == State::Ready, "only who stands in a line can leave it");
        entry.state = State::Held;
        let (before, next) = (entry.before.take(), entry.next.take());
        if let Some(before) = before {
            self.entries[before as usize].next = next;
        }
        if let Some(next) = next {
            self.entries[next as usize].before = before;
        }
        line.ends = line.ends.and_then(|(first, last)| match (before, next) {
            (None, None) => None,
            (None, Some(next)) => Some((next, last)),
            (Some(before), None) => Some((first, before)),
            (Some(_), Some(_)) => Some((first, last)),
        });
    }

    fn take_from_heap(&mut self, at: Index) {
        let State::Waiting { heap } = self.entries[at.number()].state else { return };
        let hole = heap as usize;
        self.waiting -= 1;
        self.entries[at.number()].state = State::Held;
        if hole < self.waiting {
            self.put(hole, self.heap[self.waiting]);
            self.sift_up(hole);
            self.sift_down(hole);
        }
    }

    fn due_at(&self, heap: usize) -> u64 {
        self.entries[self.heap[heap] as usize].due_ms
    }

    fn put(&mut self, heap: usize, entry: u32) {
        self.heap[heap] = entry;
        self.entries[entry as usize].state = State::Waiting { heap: u32::try_from(heap).unwrap_or(u32::MAX) };
    }

    fn swap(&mut self, a: usize, b: usize) {
        let (x, y) = (self.heap[a], self.heap[b]);
        self.put(a, y);
        self.put(b, x);
    }

    fn sift_up(&mut self, mut place: usize) {
        while place > 0 && self.due_at(place) < self.due_at((place - 1) / 2) {
            self.swap(place, (place - 1) / 2);
            place = (place - 1) / 2;
        }
    }

    fn sift_down(&mut self, mut place: usize) {
        loop {
            let least =
                [2 * place + 1, 2 * place + 2].into_iter().filter(|&child| child < self.waiting).fold(
                    place,
                    |least, child| if self.due_at(child) < self.due_at(least) { child } else { least },
                );
            if least == place {
                return;
            }
            self.swap(place, least);
            place = least;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(mono_ms: u64) -> Now {
        Now { mono_ms, unix_s: RELEASE_DATE_UNIX_S + mono_ms / 1000 }
    }

    fn entry() -> Entry {
        Entry::new(&Message::default(), 0, Key::default())
    }

    #[test]
    fn full_is_an_answer() {
        let mut queue = Queue::new(2, 0);
        let first = queue.insert(entry(), at(5)).unwrap();
        assert!(queue.insert(entry(), at(5)).is_some());
        assert!(queue.insert(entry(), at(5)).is_none());
        queue.remove(first);
        assert_eq!(queue.free(), 1);
        assert!(queue.insert(entry(), at(5)).is_some());
        assert!(Queue::new(0, 0).insert(entry(), at(0)).is_none());
    }

    #[test]
    fn a_line_keeps_its_order_and_lets_one_leave() {
        let mut queue = Queue::new(4, 0);
        let mut line = Line::default();
        let all: Vec<Index> = (0..4).map(|_| queue.insert(entry(), at(0)).unwrap()).collect();
        for &at in &all {
            queue.line_up(&mut line, at);
        }
        queue.leave(&mut line, all[1]);
        let mut left = Vec::new();
        while let Some(at) = queue.step_out(&mut line) {
            left.push(at);
        }
        assert_eq!(left, [all[0], all[2], all[3]]);
        assert!(line.is_empty());
    }

    #[test]
    fn the_first_and_the_last_leave_a_line_and_others_join_it() {
        let mut queue = Queue::new(4, 0);
        let mut line = Line::default();
        let all: Vec<Index> = (0..4).map(|_| queue.insert(entry(), at(0)).unwrap()).collect();
        all[..3].iter().for_each(|&at| queue.line_up(&mut line, at));
        queue.leave(&mut line, all[2]);
        queue.leave(&mut line, all[0]);
        queue.line_up(&mut line, all[3]);
        queue.line_up(&mut line, all[0]);
        let left: Vec<Index> = std::iter::from_fn(|| queue.step_out(&mut line)).collect();
        assert_eq!(left, [all[1], all[3], all[0]]);
        queue.line_up(&mut line, all[2]);
        queue.leave(&mut line, all[2]);
        assert!(line.is_empty());
    }

    fn arrived(queue: &mut Queue, unix_s: u64, now: Now) -> Index {
        let message = Message { arrived_unix_s: unix_s, ..Message::default() };
        let entry = Entry::new(&message, 0, Key::default());
        queue.insert(entry, now).unwrap()
    }

    #[test]
    fn age_is_never_negative_and_leaps_do_not_show_in_it() {
        let mut queue = Queue::new(2, 0);
        let old = arrived(&mut queue, RELEASE_DATE_UNIX_S, at(7_000));
        assert_eq!(queue.entry(old).age_tenths(8_250), 82);
        assert_eq!(queue.entry(old).age_s(8_250), 8);
        let ahead = arrived(&mut queue, RELEASE_DATE_UNIX_S + 1_000, at(7_000));
        assert_eq!(queue.entry(ahead).age_s(8_250), 1);
        let leapt = Now { mono_ms: 10_000, unix_s: RELEASE_DATE_UNIX_S + 999_999 };
        queue.date(old, leapt);
        assert_eq!(queue.entry(old).age_s(10_000), 10);
        assert_eq!(queue.entry(old).arrived_unix_s, leapt.unix_s - 10, "what is written down agrees");
    }

    #[test]
    fn what_came_before_the_clock_was_set_ages_from_then_on() {
        let mut queue = Queue::new(2, 0);
        let in_1970 = Now { mono_ms: 5_000, unix_s: 12 };
        let (fresh, kept) =
            (arrived(&mut queue, 12, in_1970), arrived(&mut queue, RELEASE_DATE_UNIX_S, in_1970));
        assert_eq!((queue.entry(fresh).age_ms(90_000), queue.entry(kept).age_s(90_000)), (None, 0));
        assert_eq!(queue.entry(fresh).age_tenths(90_000), 850, "people see what is known");
        queue.date(fresh, at(90_000));
        queue.date(kept, at(90_000));
        assert_eq!(queue.entry(fresh).age_s(92_000), 2);
        assert_eq!(queue.entry(fresh).arrived_unix_s, RELEASE_DATE_UNIX_S + 90);
        assert_eq!(queue.entry(kept).age_s(92_000), 92, "an arrival that is known counts");
    }

    proptest! {
        /// Whatever is done in whatever order, what is due comes out soonest first and nothing is lost.
        #[test]
        fn the_heap_agrees_with_a_sorted_list(steps in proptest::collection::vec((0_u8..4, 0_u64..50, 0_usize..8), 1..120)) {
            let mut queue = Queue::new(8, 0);
            let mut model: Vec<(Index, Option<u64>)> = Vec::new();
            for (what, due, which) in steps {
                let one = (!model.is_empty()).then(|| which % model.len().max(1));
                match (what, one) {
                    (0, _) => if let Some(at) = queue.insert(entry(), at(due)) { model.push((at, Some(due))) },
                    (1, Some(n)) => { queue.remove(model[n].0); model.remove(n); }
                    (2, Some(n)) => { queue.hold(model[n].0); model[n].1 = None; }
                    (_, Some(n)) => { queue.wait(model[n].0, due); model[n].1 = Some(due); }
                    (_, None) => {}
                }
                prop_assert_eq!(queue.len(), model.len());
                prop_assert_eq!(queue.next_due_ms(), model.iter().filter_map(|m| m.1).min());
            }
            let mut last = 0;
            while let Some(at) = queue.due(u64::MAX) {
                prop_assert!(queue.entry(at).due_ms >= last);
                last = queue.entry(at).due_ms;
                queue.remove(at);
            }
            prop_assert_eq!(queue.len(), model.iter().filter(|m| m.1.is_none()).count());
        }
    }
}
