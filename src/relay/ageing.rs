//! How old messages are, and what follows from it: the delay warning, giving up, and what a leap of
//! the wall clock changes.
//!
//! Within a run of the relay ages count by the monotonic clock, so a leap makes no message older. The
//! wall clock tells how old a message is that an earlier run took, and what came while it was not set is
//! taken to have arrived when it first was. Then the new arrival is written down.

use log::{info, warn};

use super::Relay;
use super::queue::{Entry, Index, State};
use crate::config;
use crate::spool::Store;
use crate::sys::Now;

/// The wall clock has leapt if it went so many seconds further than the monotonic one.
const LEAP_S: u64 = 60;
/// Messages whose arrival is written down anew in one turn.
const DATED: usize = 64;
/// Lines are looked through this often at most, in milliseconds.
const SWEEP_MS: u64 = 1_000;
/// Places of the queue table that are looked at in one turn.
const SWEPT: usize = 1_024;

/// What the relay remembers of the clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ageing {
    /// Seconds that the wall clock is ahead of the monotonic one.
    ahead_s: u64,
    was_sane: bool,
    /// Where in the queue table dating anew goes on, if it is under way.
    dating: Option<usize>,
    sweep: Sweep,
}

/// The search through the lines of destinations that rest.
#[derive(Clone, Copy, Debug)]
enum Sweep {
    /// Nobody in a line need be looked at before that time.
    Rests { until_ms: u64 },
    /// It goes on with that place of the queue table; the next search is due then.
    GoesOn { place: usize, next_ms: u64 },
}

impl Sweep {
    /// Somebody in a line is to be looked at then.
    fn note(&mut self, ms: u64) {
        let (Self::Rests { until_ms: next_ms } | Self::GoesOn { next_ms, .. }) = self;
        *next_ms = ms.min(*next_ms);
    }
}

impl Ageing {
    pub fn new(now: Now) -> Self {
        let (ahead_s, was_sane) = (ahead_s(now), now.wall_is_sane());
        Self { ahead_s, was_sane, dating: None, sweep: Sweep::Rests { until_ms: u64::MAX } }
    }
}

fn ahead_s(now: Now) -> u64 {
    now.unix_s.saturating_sub(now.mono_ms / 1000)
}

fn is_expired(queue: &config::Queue, entry: &Entry, now: Now) -> bool {
    now.wall_is_sane() && entry.age_ms(now.mono_ms).is_some_and(|age_ms| age_ms >= expire_ms(queue))
}

fn is_late(queue: &config::Queue, entry: &Entry, now: Now) -> bool {
    let is_late = |age_ms| warn_ms(queue).is_some_and(|warn_ms| age_ms >= warn_ms);
    now.wall_is_sane() && !entry.warned && entry.age_ms(now.mono_ms).is_some_and(is_late)
}

fn expire_ms(queue: &config::Queue) -> u64 {
    u64::try_from(queue.expire_after.as_millis()).unwrap_or(u64::MAX)
}

/// `None`: nobody is warned.
fn warn_ms(queue: &config::Queue) -> Option<u64> {
    u64::try_from(queue.warn_after.as_millis()).ok().filter(|ms| *ms > 0)
}

/// When something is due for a message: its next try at `try_ms`, or before it the time of the
/// warning or of giving up.
pub(super) fn due_ms(queue: &config::Queue, entry: &Entry, try_ms: u64, now: Now) -> u64 {
    let Some(age_ms) = entry.age_ms(now.mono_ms) else { return try_ms };
    let warning = warn_ms(queue).filter(|_| !entry.warned);
    let ahead = warning.into_iter().chain([expire_ms(queue)]).filter(|ms| *ms > age_ms);
    ahead.map(|ms| now.mono_ms.saturating_add(ms - age_ms)).fold(try_ms, u64::min)
}

/// When a message becomes old enough for a warning or for giving up; at once if it is, and never while
/// its age is unknown.
fn ripe_ms(queue: &config::Queue, entry: &Entry, now: Now) -> u64 {
    match is_expired(queue, entry, now) || is_late(queue, entry, now) {
        true => now.mono_ms,
        false => due_ms(queue, entry, u64::MAX, now),
    }
}

impl Relay {
    /// True if a message is too old to be tried any more.
    pub(super) fn is_expired(&self, at: Index, now: Now) -> bool {
        is_expired(&self.config.queue, self.queue.entry(at), now)
    }

    /// True if the sender of a message is to be warned of its delay.
    pub(super) fn is_late(&self, at: Index, now: Now) -> bool {
        is_late(&self.config.queue, self.queue.entry(at), now)
    }

    /// Looks through the lines of destinations that rest, a bounded part of the table a turn. Nobody is left
    /// to wait there for a turn that with many before them may never come: messages that have become
    /// old get a round without a try, and those that can go elsewhere too move to another line.
    pub(super) fn sweep(&mut self, now: Now) {
        let (mut place, mut next_ms) = match self.ageing.sweep {
            Sweep::Rests { until_ms } if until_ms <= now.mono_ms => (0, u64::MAX),
            Sweep::GoesOn { place, next_ms } => (place, next_ms),
            Sweep::Rests { .. } => return,
        };
        while !self.pauses && place < self.queue.capacity() && self.share.swept < SWEPT {
            let Some(ripe_ms) = self.look_at_line(place, now) else { break };
            next_ms = next_ms.min(ripe_ms);
            self.share.swept += 1;
            place += 1;
        }
        self.ageing.sweep = match place < self.queue.capacity() {
            true => Sweep::GoesOn { place, next_ms },
            false => Sweep::Rests { until_ms: next_ms.max(now.mono_ms + SWEEP_MS) },
        };
    }

    /// Does what is to be done for the message at this place, if it stands in the line of a destination that
    /// rests. When it is to be looked at again; `None`: that can't be done now.
    fn look_at_line(&mut self, place: usize, now: Now) -> Option<u64> {
        let Some((at, entry)) = self.queue.at(place).filter(|(_, entry)| entry.state() == State::Ready)
        else {
            return Some(u64::MAX);
        };
        let ripe_ms = ripe_ms(&self.config.queue, entry, now);
        let key = entry.key;
        if !self.destinations.rests(key, now.mono_ms) {
            return Some(ripe_ms);
        }
        if ripe_ms <= now.mono_ms {
            // The end of a round goes on from here.
            self.make_room(now).then_some(())?;
            self.destinations.leave(&mut self.queue, at);
            self.start_round(at, now);
            return Some(u64::MAX);
        }
        let better = self.better_key(at, now)?;
        if better != key
            && let Some(slot) = self.destinations.open(better, now.mono_ms)
        {
            self.destinations.leave(&mut self.queue, at);
            self.queue.turn_to(at, better);
            self.destinations.line_up(&mut self.queue, slot, at);
        }
        Some(ripe_ms)
    }

    /// A message joins a line: it is looked at again there when it becomes old.
    pub(super) fn note_ripening(&mut self, at: Index, now: Now) {
        self.ageing.sweep.note(ripe_ms(&self.config.queue, self.queue.entry(at), now));
    }

    /// Ages, or what rests, or what follows from them, have changed: every line is looked through soon.
    pub(super) fn sweep_soon(&mut self) {
        self.ageing.sweep.note(0);
    }

    /// When [`Relay::sweep`] has something to do next.
    pub(super) fn next_sweep_ms(&self) -> Option<u64> {
        let can_start = self.destinations.is_anybody_waiting() && self.rounds.can_make_room() && !self.pauses;
        let next_ms = match self.ageing.sweep {
            Sweep::Rests { until_ms } => until_ms,
            Sweep::GoesOn { .. } => 0,
        };
        can_start.then_some(next_ms).filter(|ms| *ms < u64::MAX)
    }

    /// Looks whether the wall clock was set or has leapt, and dates every message anew if so.
    pub(super) fn follow_clock(&mut self, now: Now) {
        let (ahead_s, is_sane) = (ahead_s(now), now.wall_is_sane());
        let leapt = ahead_s.abs_diff(self.ageing.ahead_s) > LEAP_S || is_sane != self.ageing.was_sane;
        (self.ageing.ahead_s, self.ageing.was_sane) = (ahead_s, is_sane);
        if leapt && is_sane {
            info!("- the clock was set: messages that wait keep their age");
            for number in 0..self.queue.capacity() {
                if let Some(at) = self.queue.at(number).map(|(at, _)| at) {
                    self.queue.date(at, now);
                }
            }
            self.ageing.dating = Some(0);
            self.sweep_soon();
        }
        self.write_arrivals(now);
    }

    /// True if arrivals wait to be written down.
    pub(super) fn is_dating(&self) -> bool {
        self.ageing.dating.is_some()
    }

    /// Writes down, a bounded number a turn, when messages are now taken to have come, so that a restart
    /// counts on from there. What is on its way is written when its round ends.
    fn write_arrivals(&mut self, now: Now) {
        let Some(start) = self.ageing.dating else { return };
        let end = (start + DATED).min(self.queue.capacity());
        for number in start..end {
            let Some((_, entry)) = self.queue.at(number) else { continue };
            if entry.state() == State::Delivering {
                continue;
            }
            let (place, id, arrived_unix_s) = (entry.place, entry.id, entry.arrived_unix_s);
            let Ok(mut status) = self.store.reader().status(place) else { continue };
            status.arrived_unix_s = arrived_unix_s;
            if let Err(e) = Store::record(&mut self.store, place, &status, now.mono_ms) {
                warn!("{id} its arrival can't be written down: {e}");
            }
        }
        self.ageing.dating = (end < self.queue.capacity()).then_some(end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::destination::Key;
    use crate::relay::queue::Queue;
    use crate::spool::Message;
    use crate::sys::RELEASE_DATE_UNIX_S;
    use proptest::prelude::*;

    const HOUR_MS: u64 = 3_600_000;

    fn schedule() -> config::Queue {
        config::Config::parse("[queue]\nwarn_after = \"4h\"\nexpire_after = \"5d\"\n", "host.test")
            .unwrap()
            .queue
    }

    fn at(mono_ms: u64) -> Now {
        Now { mono_ms, unix_s: RELEASE_DATE_UNIX_S + mono_ms / 1000 }
    }

    fn arrived(now: Now) -> (Queue, Index) {
        let mut queue = Queue::new(1, 0);
        let message = Message { arrived_unix_s: now.unix_s, ..Message::default() };
        let entry = Entry::new(&message, 0, Key::default());
        let at = queue.insert(entry, now).unwrap();
        (queue, at)
    }

    #[test]
    fn a_message_is_late_once_and_expires_by_its_age() {
        let (mut queue, message) = arrived(at(0));
        let schedule = schedule();
        let late = |queue: &Queue, ms| is_late(&schedule, queue.entry(message), at(ms));
        assert!(!late(&queue, 4 * HOUR_MS - 1) && late(&queue, 4 * HOUR_MS));
        queue.warned(message);
        assert!(!late(&queue, 4 * HOUR_MS));
        let expired = |now| is_expired(&schedule, queue.entry(message), now);
        assert!(!expired(at(120 * HOUR_MS - 1)) && expired(at(120 * HOUR_MS)));
        assert!(!expired(Now { mono_ms: 200 * HOUR_MS, unix_s: 3 }), "never while the clock is unset");
    }

    #[test]
    fn zero_warns_nobody() {
        let mut schedule = schedule();
        schedule.warn_after = std::time::Duration::ZERO;
        let (queue, message) = arrived(at(0));
        assert!(!is_late(&schedule, queue.entry(message), at(100 * HOUR_MS)));
        assert_eq!(due_ms(&schedule, queue.entry(message), u64::MAX, at(0)), 120 * HOUR_MS);
    }

    #[test]
    fn what_is_due_first_comes_first() {
        let (mut queue, message) = arrived(at(0));
        let schedule = schedule();
        let due = |queue: &Queue, try_ms, ms| due_ms(&schedule, queue.entry(message), try_ms, at(ms));
        assert_eq!(due(&queue, HOUR_MS, 0), HOUR_MS);
        assert_eq!(due(&queue, 6 * HOUR_MS, HOUR_MS), 4 * HOUR_MS);
        assert_eq!(due(&queue, 9 * HOUR_MS, 5 * HOUR_MS), 9 * HOUR_MS);
        assert_eq!(due(&queue, 121 * HOUR_MS, 119 * HOUR_MS), 120 * HOUR_MS);
        assert_eq!(due(&queue, 124 * HOUR_MS, 121 * HOUR_MS), 124 * HOUR_MS);
        queue.warned(message);
        assert_eq!(due(&queue, 6 * HOUR_MS, HOUR_MS), 6 * HOUR_MS);
    }

    proptest! {
        /// However the wall clock leaps, a message expires by the time that has passed while it was known.
        #[test]
        fn no_leap_makes_a_message_older(walls in proptest::collection::vec(0_u64..4_000_000_000, 1..20)) {
            let start = Now { mono_ms: 0, unix_s: walls[0] };
            let (mut queue, message) = arrived(start);
            for (hour, unix_s) in (1..).zip(walls) {
                let now = Now { mono_ms: hour * HOUR_MS, unix_s };
                if now.wall_is_sane() {
                    queue.date(message, now);
                }
                let entry = queue.entry(message);
                prop_assert!(entry.age_ms(now.mono_ms).unwrap_or(0) <= now.mono_ms);
                prop_assert!(due_ms(&schedule(), entry, now.mono_ms + 1, now) == now.mono_ms + 1);
                prop_assert!(!is_expired(&schedule(), entry, now));
            }
        }
    }
}
