//! How much memory a configuration can take.
//!
//! The constants here are counted from the buffers in `limits` and estimated for the rest; where the
//! slots and tables are made, their sizes are asserted against them.

use super::Config;
use crate::limits::{
    DELIVERY_OUTPUT_OCTETS, INPUT_OCTETS, OUTPUT_OCTETS, REPLY_INPUT_OCTETS, SCRATCH_OCTETS,
};

/// Octets of an inbound slot: both buffers and the session.
const SESSION_SLOT_OCTETS: u64 = (INPUT_OCTETS + OUTPUT_OCTETS + 1536) as u64;
/// Octets of an outbound slot: both buffers and the session.
const DELIVERY_SLOT_OCTETS: u64 = (REPLY_INPUT_OCTETS + DELIVERY_OUTPUT_OCTETS + 1024) as u64;
/// Octets of a message's entry in the queue table, with its bit in the spool's tables.
const QUEUE_ENTRY_OCTETS: u64 = 128;
/// Octets of code, stacks and the system's libraries, whatever the configuration.
const FIXED_OCTETS: u64 = 2 * 1024 * 1024;

/// Octets of memory the relay takes at most under this configuration, TLS not counted.
pub fn memory_ceiling(config: &Config) -> u64 {
    FIXED_OCTETS
        + SCRATCH_OCTETS as u64
        + u64::from(config.limits.sessions) * SESSION_SLOT_OCTETS
        + u64::from(config.limits.deliveries) * DELIVERY_SLOT_OCTETS
        + u64::from(config.spool.max_messages) * QUEUE_ENTRY_OCTETS
}
