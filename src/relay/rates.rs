//! How many messages each client has sent within the hour: by user if it authenticated, else by
//! address, programs on this machine by the user they run as.
//!
//! The hour slides, in steps of five minutes, and a step that began more than an hour ago counts to
//! its end: in no hour, wherever it begins, does more than the limit get through.

use std::net::IpAddr;

use heapless::{String, Vec};

use super::client::{Remote, counted_as};
use crate::limits::USER_OCTETS;

/// Clients whose messages are counted; the one that has sent nothing for longest is forgotten.
pub const COUNTED_CLIENTS: usize = 128;

/// Milliseconds of a step.
const STEP_MS: u64 = 300_000;
/// Steps that an hour can touch.
const STEPS: usize = 13;

const _: () = assert!(STEP_MS * (STEPS as u64 - 1) == 3_600_000);

/// Who is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Party {
    /// A user that authenticated.
    User(String<USER_OCTETS>),
    /// An address; of IPv6 the network (/64).
    Host(IpAddr),
    /// Programs of a user of this machine.
    Program(u32),
}

impl Party {
    /// Whom a message counts for.
    pub fn of(remote: Remote, user: Option<&str>) -> Self {
        match (user.and_then(|user| String::try_from(user).ok()), remote) {
            (Some(user), _) => Self::User(user),
            (None, Remote::Host(address)) => Self::Host(counted_as(address)),
            (None, Remote::User(user)) => Self::Program(user),
        }
    }
}

#[derive(Clone, Debug)]
struct Count {
    party: Party,
    /// The number of the step that is counted now, since the start of the program.
    step: u64,
    /// Messages by the number of their step, modulo [`STEPS`].
    messages: [u32; STEPS],
}

impl Count {
    /// Goes on to the present step; those in between had no messages.
    fn turn(&mut self, now_ms: u64) {
        let step = now_ms / STEP_MS;
        let passed = step.saturating_sub(self.step);
        for number in (self.step + 1..=self.step + passed).take(STEPS) {
            self.messages[place(number)] = 0;
        }
        self.step += passed;
    }

    fn within_the_hour(&self) -> u64 {
        self.messages.iter().copied().map(u64::from).sum()
    }
}

fn place(step: u64) -> usize {
    // Below STEPS, so it fits.
    (step % STEPS as u64) as usize
}

/// The counts.
#[derive(Debug, Default)]
pub struct Rates(Vec<Count, COUNTED_CLIENTS>);

impl Rates {
    /// Nothing was sent yet.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// True if `party` has sent its `limit` of messages within the last hour. 0: no limit.
    pub fn is_reached(&mut self, party: &Party, limit: u32, now_ms: u64) -> bool {
        let Some(count) = self.0.iter_mut().find(|count| limit > 0 && count.party == *party) else {
            return false;
        };
        count.turn(now_ms);
        count.within_the_hour() >= u64::from(limit)
    }

    /// Counts one message less: the last one came to nothing.
    pub fn take_back(&mut self, party: &Party) {
        if let Some(count) = self.0.iter_mut().find(|count| count.party == *party) {
            let messages = &mut count.messages[place(count.step)];
            *messages = messages.saturating_sub(1);
        }
    }

    /// Counts one message.
    pub fn add(&mut self, party: Party, now_ms: u64) {
        if let Some(count) = self.0.iter_mut().find(|count| count.party == party) {
            count.turn(now_ms);
            let messages = &mut count.messages[place(count.step)];
            *messages = messages.saturating_add(1);
            return;
        }
        if self.0.is_full() {
            let oldest = (0..self.0.len()).min_by_key(|&at| self.0[at].step).unwrap_or(0);
            self.0.swap_remove(oldest);
        }
        // There is room now.
        let step = now_ms / STEP_MS;
        let mut messages = [0; STEPS];
        messages[place(step)] = 1;
        let _ = self.0.push(Count { party, step, messages });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR_MS: u64 = 3_600_000;

    fn host(text: &str) -> Party {
        Party::of(Remote::Host(text.parse().unwrap()), None)
    }

    #[test]
    fn the_limit_holds_and_the_hour_slides() {
        let mut rates = Rates::new();
        let printer = host("192.0.2.1");
        for n in 0..3 {
            assert!(!rates.is_reached(&printer, 3, n));
            rates.add(printer.clone(), n);
        }
        assert!(rates.is_reached(&printer, 3, 10));
        assert!(!rates.is_reached(&printer, 4, 10) && !rates.is_reached(&printer, 0, 10));
        assert!(!rates.is_reached(&host("192.0.2.2"), 3, 10), "nobody else pays for it");
        assert!(rates.is_reached(&printer, 3, HOUR_MS - 1), "they are no hour old");
        assert!(!rates.is_reached(&printer, 1, HOUR_MS + STEP_MS));
        rates.add(printer.clone(), HOUR_MS + STEP_MS);
        assert!(rates.is_reached(&printer, 1, HOUR_MS + STEP_MS));
        assert!(!rates.is_reached(&printer, 1, 1000 * HOUR_MS));
        rates.add(printer.clone(), 1000 * HOUR_MS);
        rates.take_back(&printer);
        assert!(!rates.is_reached(&printer, 1, 1000 * HOUR_MS), "it came to nothing");
    }

    #[test]
    fn who_is_counted_as_one() {
        assert_eq!(host("2001:db8::1"), host("2001:db8::2:3"));
        assert_ne!(host("2001:db8::1"), host("2001:db8:0:1::1"));
        assert_ne!(host("192.0.2.1"), host("192.0.2.2"));
        let user = |address: &str| Party::of(Remote::Host(address.parse().unwrap()), Some("me"));
        assert_eq!(user("192.0.2.1"), user("2001:db8::1"));
        assert_ne!(Party::of(Remote::User(0), None), Party::of(Remote::User(1), None));
    }

    #[test]
    fn the_oldest_is_forgotten() {
        let mut rates = Rates::new();
        for n in 0..COUNTED_CLIENTS as u32 + 1 {
            rates.add(Party::Program(n), u64::from(n) * STEP_MS / 16);
        }
        assert!(!rates.is_reached(&Party::Program(0), 1, HOUR_MS / 2));
        assert!(rates.is_reached(&Party::Program(20), 1, HOUR_MS / 2));
        assert!(rates.is_reached(&Party::Program(COUNTED_CLIENTS as u32), 1, HOUR_MS / 2));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_hour_lets_more_through(
            limit in 1u32..50, steps in prop::collection::vec(0u64..400_000, 1..400),
        ) {
            let (mut rates, party, mut now_ms, mut sent) = (Rates::new(), host("192.0.2.1"), 0, Vec::<u64, 400>::new());
            for step in steps {
                now_ms += step;
                if rates.is_reached(&party, limit, now_ms) {
                    // It is so for a reason that can be seen from outside.
                    let recent = sent.iter().filter(|&&at| at + HOUR_MS + STEP_MS > now_ms).count();
                    prop_assert!(recent >= limit as usize);
                } else {
                    rates.add(party.clone(), now_ms);
                    let _ = sent.push(now_ms);
                }
            }
            for &from in &sent {
                let within = sent.iter().filter(|&&at| at >= from && at < from + HOUR_MS).count();
                prop_assert!(within <= limit as usize, "{within} of {limit}");
            }
        }
    }
}
