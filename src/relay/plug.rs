//! When a batch starts: at once if nobody else is about to finish a message, else after a wait.
//!
//! A sync costs the same for one message and for a hundred. So a message that is complete waits
//! for those that are still coming in, but never longer than the last sync took: what is lost by
//! waiting is at most what is won.

use std::time::{Duration, Instant};

/// The longest wait, however slow the disk.
const WAIT_MAX: Duration = Duration::from_millis(100);

/// The wait before a batch.
#[derive(Debug, Default)]
pub struct Plug {
    /// Since when a message waits.
    since: Option<Instant>,
    /// When the batch under way started.
    batch: Option<Instant>,
    /// How long the last sync took.
    sync: Duration,
    /// Batches that were started.
    batches: u64,
}

impl Plug {
    /// True if the batch shall start now: `waiting` messages wait for it, `filling` ones are still
    /// coming in, `busy`: the last one is still under way.
    pub fn lets_go(&mut self, waiting: usize, filling: usize, busy: bool) -> bool {
        if busy {
            return false;
        }
        self.ended();
        if waiting == 0 {
            // A sync of outcomes alone waits for nobody.
            return true;
        }
        let since = *self.since.get_or_insert_with(Instant::now);
        filling == 0 || since.elapsed() >= self.sync.min(WAIT_MAX)
    }

    /// A batch has started, at `start`.
    pub fn started(&mut self, start: Instant) {
        self.since = None;
        self.batch = Some(start);
        self.batches += 1;
    }

    /// Batches that were started.
    pub fn batches(&self) -> u64 {
        self.batches
    }

    /// The batch is durable.
    pub fn ended(&mut self) {
        if let Some(start) = self.batch.take() {
            self.sync = start.elapsed();
        }
    }

    /// Milliseconds until the wait is over, rounded up.
    pub fn wait_ms(&self) -> u64 {
        let left = self
            .since
            .map_or(Duration::ZERO, |since| self.sync.min(WAIT_MAX).saturating_sub(since.elapsed()));
        u64::try_from(left.as_micros().div_ceil(1000)).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alone_means_at_once() {
        let mut plug = Plug { sync: Duration::from_secs(60), ..Plug::default() };
        assert!(plug.lets_go(1, 0, false));
        assert!(!plug.lets_go(1, 0, true), "one batch at a time");
    }

    #[test]
    fn waits_for_others_as_long_as_a_sync_takes() {
        let mut plug = Plug { sync: Duration::from_secs(60), ..Plug::default() };
        assert!(!plug.lets_go(1, 3, false));
        assert!((1..=100).contains(&plug.wait_ms()));
        let mut fast = Plug::default();
        assert!(fast.lets_go(1, 3, false), "a disk that takes no time is not waited for");
    }

    #[test]
    fn the_last_sync_is_measured() {
        let mut plug = Plug::default();
        plug.started(Instant::now());
        std::thread::sleep(Duration::from_millis(2));
        plug.ended();
        assert!(plug.sync >= Duration::from_millis(2));
    }
}
