//! How many lines of the log strangers can fill.
//!
//! Whoever knocks a thousand times a second must not wear out the flash, nor push what the house wants to
//! know out of a log that is rotated. So in a minute there are so many lines about strangers; of the rest
//! there is a count. What has a queue id is not among them, nor what is said of trusted clients.

use std::time::{Duration, Instant};

/// Lines about strangers in a minute.
pub const STRANGERS_LINES: u32 = 200;
/// That minute.
const MINUTE: Duration = Duration::from_secs(60);

/// The lines of the present minute.
#[derive(Debug, Default)]
pub struct Restraint {
    /// Since when it is counted; no line about strangers was written for a minute.
    began: Option<Instant>,
    written: u32,
    left_out: u32,
}

impl Restraint {
    /// True if one more may be written; else it counts as left out.
    pub fn allows(&mut self, now: Instant) -> bool {
        self.began.get_or_insert(now);
        let allowed = self.written < STRANGERS_LINES;
        *(if allowed { &mut self.written } else { &mut self.left_out }) += 1;
        allowed
    }

    /// Once the minute is over: how many were left out, if any were.
    pub fn over(&mut self, now: Instant) -> Option<u32> {
        if now.duration_since(self.began?) < MINUTE {
            return None;
        }
        let left_out = std::mem::take(self).left_out;
        (left_out > 0).then_some(left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_in_a_minute_and_the_rest_is_counted() {
        let mut restraint = Restraint::default();
        let start = Instant::now();
        assert_eq!(restraint.over(start), None);
        for minute in 0..3 {
            let now = start + minute * MINUTE;
            let written = (0..1000).filter(|_| restraint.allows(now)).count();
            assert_eq!(written, STRANGERS_LINES as usize);
            assert_eq!(restraint.over(now + MINUTE - Duration::from_millis(1)), None);
            assert_eq!(restraint.over(now + MINUTE), Some(1000 - STRANGERS_LINES));
        }
        assert!(restraint.allows(start + 9 * MINUTE));
        assert_eq!(restraint.over(start + 10 * MINUTE), None, "nothing was left out");
    }
}
