//! Who has tried wrong passwords, by address (IPv6 by network): whoever goes on has to wait, each time
//! for longer. A fixed table; when it is full, the one that has failed longest ago is forgotten.

use std::net::IpAddr;

use heapless::Vec;

use super::client::counted_as;

/// Addresses that are remembered.
pub const FAILING_CLIENTS: usize = 128;
/// Failures that cost nothing: a person mistypes, a program tries every mechanism once.
const FREE: u32 = 4;
/// The first wait, in milliseconds; each failure doubles it.
const FIRST_WAIT_MS: u64 = 10_000;
/// The longest wait, in milliseconds.
const LONGEST_WAIT_MS: u64 = 15 * 60_000;
/// Without a failure for so long, in milliseconds, all is forgotten.
const FORGET_MS: u64 = 60 * 60_000;

#[derive(Clone, Copy, Debug)]
struct Row {
    address: IpAddr,
    failures: u32,
    last_ms: u64,
}

impl Row {
    fn until_ms(&self) -> u64 {
        match self.failures.checked_sub(FREE) {
            None | Some(0) => 0,
            Some(more) => {
                let wait_ms = FIRST_WAIT_MS.saturating_mul(1 << (more - 1).min(20));
                self.last_ms.saturating_add(wait_ms.min(LONGEST_WAIT_MS))
            }
        }
    }

    fn is_over(&self, now_ms: u64) -> bool {
        now_ms >= self.last_ms.saturating_add(FORGET_MS)
    }
}

/// The table.
#[derive(Debug, Default)]
pub struct Failures(Vec<Row, FAILING_CLIENTS>);

impl Failures {
    /// Nobody has failed yet.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Seconds, rounded up, that a client of this address has to wait before it may try again.
    pub fn wait_s(&self, address: IpAddr, now_ms: u64) -> Option<u64> {
        let address = counted_as(address);
        let row = self.0.iter().find(|row| row.address == address && !row.is_over(now_ms))?;
        row.until_ms()
            .checked_sub(now_ms)
            .filter(|wait_ms| *wait_ms > 0)
            .map(|wait_ms| wait_ms.div_ceil(1000))
    }

    /// Counts a failure.
    pub fn add(&mut self, address: IpAddr, now_ms: u64) {
        let address = counted_as(address);
        if let Some(row) = self.0.iter_mut().find(|row| row.address == address) {
            let failures = if row.is_over(now_ms) { 1 } else { row.failures.saturating_add(1) };
            (row.failures, row.last_ms) = (failures, now_ms);
            return;
        }
        if self.0.is_full() {
            let oldest = (0..self.0.len()).min_by_key(|&at| self.0[at].last_ms).unwrap_or(0);
            self.0.swap_remove(oldest);
        }
        // There is room now.
        let _ = self.0.push(Row { address, failures: 1, last_ms: now_ms });
    }

    /// Forgets the failures of an address: somebody there knows a password.
    pub fn forget(&mut self, address: IpAddr) {
        let address = counted_as(address);
        self.0.retain(|row| row.address != address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn waits_begin_late_and_grow_up_to_a_limit() {
        let (mut failures, one) = (Failures::new(), ip("192.0.2.1"));
        let mut waits = std::vec::Vec::new();
        for _ in 0..14 {
            failures.add(one, 1_000);
            waits.push(failures.wait_s(one, 1_000).unwrap_or(0));
        }
        assert_eq!(waits, [0, 0, 0, 0, 10, 20, 40, 80, 160, 320, 640, 900, 900, 900]);
        assert_eq!(failures.wait_s(one, 900_500), Some(1));
        assert_eq!(failures.wait_s(one, 901_000), None);
        failures.add(one, 901_000);
        assert_eq!(failures.wait_s(one, 901_000), Some(900), "it goes on where it stood");
        assert_eq!(failures.wait_s(ip("192.0.2.2"), 901_000), None);
    }

    #[test]
    fn an_hour_or_a_right_password_ends_it() {
        let (mut failures, one) = (Failures::new(), ip("::ffff:192.0.2.1"));
        (0..20).for_each(|_| failures.add(one, 0));
        failures.add(one, FORGET_MS);
        assert_eq!(failures.wait_s(one, FORGET_MS), None);
        (0..20).for_each(|_| failures.add(one, FORGET_MS));
        assert!(failures.wait_s(ip("192.0.2.1"), FORGET_MS).is_some());
        failures.forget(one);
        assert_eq!(failures.wait_s(one, FORGET_MS), None);
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_and_the_oldest_is_forgotten() {
        let mut failures = Failures::new();
        (0..20).for_each(|n| failures.add(ip(&format!("2001:db8::{n}")), 0));
        assert!(failures.wait_s(ip("2001:db8::ffff"), 0).is_some());
        assert!(failures.wait_s(ip("2001:db8:1::1"), 0).is_none());
        for n in 0..FAILING_CLIENTS {
            failures.add(IpAddr::V4(u32::try_from(n).unwrap().into()), 1);
        }
        assert!(failures.wait_s(ip("2001:db8::ffff"), 1).is_none());
    }
}
