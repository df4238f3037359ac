//! How much memory the relay takes at most, known before it starts.
//!
//! Everything that grows with the configuration is a table made at start: each tells its size, made
//! of the sizes of the structs themselves, and here they are added up. What does not grow with it is
//! the program as it is mapped, the stacks, and a fixed allowance; a test holds the resident set
//! under load to the sum.

use super::arrivals::Arrivals;
use super::control::Controls;
use super::event_loop::EventLoop;
use super::inbound::Inbound;
use super::log;
use super::mailboxes::Mailboxes;
use super::outbounds::Outbounds;
use super::places;
use super::secrets::Secrets;
use super::tls::{Dials, Rooms};
use crate::config::Config;
use crate::limits::{
    SCRATCH_OCTETS, TLS_CLIENT_HEAP_OCTETS, TLS_PASSING_OCTETS, TLS_SERVER_HEAP_OCTETS, USERS_FILE_OCTETS,
};
use crate::relay::Relay;
use crate::relay::users::HEAP_PER_OCTET;
use crate::spool::RealDisk;
use crate::sys;

/// The main thread's stack: some frames hold a message's buffers.
const STACK_OCTETS: usize = 256 * 1024;
/// What comes and goes: the configuration and its text, a status report, the allocator's own.
const PASSING_OCTETS: usize = 384 * 1024;

/// Octets that the heap may hold when another TLS session begins, so that there is still room for what
/// it takes.
pub fn heap_ceiling(config: &Config, credentials: usize) -> usize {
    let all = PASSING_OCTETS + table_octets(config) + 2 * credentials;
    all.saturating_sub(TLS_CLIENT_HEAP_OCTETS + TLS_PASSING_OCTETS)
}

/// Octets of memory that the relay takes at most under this configuration: code, stacks and heap.
/// `credentials`: octets of what the files of TLS hold. At a reload, old and new are there together.
pub fn memory_ceiling(config: &Config, credentials: usize) -> u64 {
    let fixed = STACK_OCTETS + PASSING_OCTETS;
    sys::image_octets() + (fixed + table_octets(config) + 2 * credentials) as u64
}

/// Octets of the users file as it is kept, twice: while it is read again, the old one is in use.
fn users_octets(config: &Config) -> usize {
    match config.access.users_file {
        Some(_) => 2 * HEAP_PER_OCTET * USERS_FILE_OCTETS as usize,
        None => 0,
    }
}

/// Octets of all that is allocated at start.
fn table_octets(config: &Config) -> usize {
    let slots = places::count(&config.limits);
    let inbound = size_of::<Option<Inbound>>() + size_of::<usize>() + size_of::<bool>();
    slots * inbound
        + Outbounds::octets(usize::from(config.limits.deliveries))
        + Mailboxes::OCTETS
        + Secrets::OCTETS
        + users_octets(config)
        + Controls::octets(config.run.metrics.is_some())
        + Arrivals::OCTETS
        + EventLoop::OCTETS
        + Relay::heap_octets(config, slots)
        + RealDisk::HELPER_OCTETS
        + SCRATCH_OCTETS
        + tls_octets(config)
        + log::OCTETS
}

/// Octets that TLS takes: buffers made at start, and what rustls has on the heap for each session.
fn tls_octets(config: &Config) -> usize {
    let of = |is_wanted, count: usize, each| {
        if is_wanted { Rooms::octets(count) + count * each + TLS_PASSING_OCTETS } else { 0 }
    };
    of(config.tls.certificate_file.is_some(), places::count_of_tls(&config.limits), TLS_SERVER_HEAP_OCTETS)
        + of(Dials::is_wanted(config), usize::from(config.limits.deliveries), TLS_CLIENT_HEAP_OCTETS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ceiling(limits: &str) -> u64 {
        memory_ceiling(&Config::parse(limits, "host.test").unwrap(), 0)
    }

    #[test]
    fn every_limit_costs_what_its_slot_takes() {
        let least = ceiling("[limits]\nsessions = 1\ndeliveries = 1\n[spool]\nmax_messages = 1\n");
        let sessions = ceiling("[limits]\nsessions = 101\ndeliveries = 1\n[spool]\nmax_messages = 1\n");
        let deliveries = ceiling("[limits]\nsessions = 1\ndeliveries = 101\n[spool]\nmax_messages = 1\n");
        let messages = ceiling("[limits]\nsessions = 1\ndeliveries = 1\n[spool]\nmax_messages = 1001\n");
        assert!((6 * 1024..=14 * 1024).contains(&((sessions - least) / 100)), "{}", sessions - least);
        assert!((5 * 1024..=14 * 1024).contains(&((deliveries - least) / 100)), "{}", deliveries - least);
        assert!((32..=256).contains(&((messages - least) / 1000)), "{}", messages - least);
    }
}
