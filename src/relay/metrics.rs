//! The state of the relay as Prometheus reads it (text format 0.0.4), a piece at a time, like
//! [`super::report`].

use core::fmt::{self, Write};

use super::Counters;
use super::health::{Figures, Health, Share, SpoolFigures};
use super::report::Output;

/// Octets of the longest metric with what is said of it.
const METRIC_OCTETS: usize = 512;

/// What a number does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// It only grows, from 0 at start.
    Counter,
    /// It goes up and down.
    Gauge,
}

/// One number with its name.
struct Metric {
    name: &'static str,
    kind: Kind,
    help: &'static str,
    /// As they are written, in braces; empty: none.
    labels: &'static str,
    value: u64,
}

const fn gauge(name: &'static str, help: &'static str, value: u64) -> Metric {
    Metric { name, kind: Kind::Gauge, help, labels: "", value }
}

const fn counter(name: &'static str, help: &'static str, value: u64) -> Metric {
    Metric { name, kind: Kind::Counter, help, labels: "", value }
}

const fn one_of(name: &'static str, help: &'static str, labels: &'static str, value: u64) -> Metric {
    Metric { name, kind: Kind::Gauge, help, labels, value }
}

const VERSION: &str = concat!("{version=\"", env!("CARGO_PKG_VERSION"), "\"}");
const QUEUE: &str = "Messages in the queue, by where they stand.";
const DESTINATIONS: &str = "Destinations that are remembered, by how they are.";

/// Everything that is told; those of one name stand together.
fn all(health: &Health<'_>) -> [Metric; 28] {
    let Health { uptime_s, figures, heap, resident_octets, spool, counters, tallies } = *health;
    let Figures { sessions, deliveries, ceiling_octets } = figures;
    let SpoolFigures { messages, octets, max_octets, syncs, written_octets, failing, .. } = spool;
    let Counters { accepted, rejected, delivered, deferred, bounced, expired } = counters;
    let (used, most) = (|share: Share| share.used as u64, |share: Share| share.max as u64);
    [
        one_of("pillarbox_build_info", "The version that runs; always 1.", VERSION, 1),
        gauge("pillarbox_uptime_seconds", "Seconds since the start.", uptime_s),
        gauge("pillarbox_sessions", "Inbound slots in use.", used(sessions)),
        gauge("pillarbox_sessions_max", "Inbound slots.", most(sessions)),
        gauge("pillarbox_deliveries", "Outbound slots in use.", used(deliveries)),
        gauge("pillarbox_deliveries_max", "Outbound slots.", most(deliveries)),
        gauge("pillarbox_memory_heap_bytes", "Heap in use.", heap.live_octets as u64),
        gauge("pillarbox_memory_heap_peak_bytes", "The most heap that was in use.", heap.peak_octets as u64),
        gauge("pillarbox_memory_resident_bytes", "Memory of the process in RAM.", resident_octets),
        gauge("pillarbox_memory_ceiling_bytes", "The most memory it takes.", ceiling_octets),
        gauge("pillarbox_spool_messages", "Messages in the spool.", messages),
        gauge("pillarbox_spool_bytes", "Room in use, and kept for what comes in.", octets),
        gauge("pillarbox_spool_max_bytes", "The most room there is.", max_octets),
        gauge("pillarbox_spool_failing", "1 if the disk has failed since the start.", u64::from(failing)),
        counter("pillarbox_spool_syncs_total", "Syncs asked for.", syncs),
        counter("pillarbox_spool_written_bytes_total", "Octets written to the spool.", written_octets),
        counter("pillarbox_messages_accepted_total", "Messages accepted.", accepted),
        counter("pillarbox_commands_rejected_total", "Commands and messages refused.", rejected),
        counter("pillarbox_recipients_delivered_total", "Recipients delivered.", delivered),
        counter("pillarbox_recipients_deferred_total", "Deferrals, each try counted.", deferred),
        counter("pillarbox_recipients_bounced_total", "Recipients that failed.", bounced),
        counter("pillarbox_recipients_expired_total", "Recipients given up for their age.", expired),
        one_of("pillarbox_queue_messages", QUEUE, "{state=\"waiting\"}", tallies.waiting),
        one_of("pillarbox_queue_messages", QUEUE, "{state=\"delivering\"}", tallies.delivering),
        one_of("pillarbox_queue_messages", QUEUE, "{state=\"held\"}", tallies.held),
        one_of("pillarbox_destinations", DESTINATIONS, "{state=\"open\"}", tallies.open),
        one_of("pillarbox_destinations", DESTINATIONS, "{state=\"probing\"}", tallies.probing),
        one_of("pillarbox_destinations", DESTINATIONS, "{state=\"back-off\"}", tallies.resting),
    ]
}

/// Writes metrics from number `next` on, as many as there is room for; the next one, or none if
/// that was all.
pub fn write(health: &Health<'_>, next: usize, out: &mut Output) -> Result<Option<usize>, fmt::Error> {
    let all = all(health);
    for (number, metric) in all.iter().enumerate().skip(next) {
        if out.free() < METRIC_OCTETS {
            return Ok(Some(number));
        }
        let Metric { name, kind, help, labels, value } = metric;
        let is_first =
            number.checked_sub(1).and_then(|before| all.get(before)).is_none_or(|m| m.name != *name);
        if is_first {
            let kind = if *kind == Kind::Counter { "counter" } else { "gauge" };
            writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}")?;
        }
        writeln!(out, "{name}{labels} {value}")?;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::health::Tallies;
    use crate::relay::medium::Survival;
    use crate::sys::Heap;
    use std::path::Path;

    fn text() -> String {
        let health = Health {
            uptime_s: u64::MAX,
            figures: Figures::default(),
            heap: Heap { live_octets: 1, peak_octets: 2, allocations: 3 },
            resident_octets: u64::MAX,
            spool: SpoolFigures {
                directory: Path::new("/"),
                filesystem: "ext4",
                survives: Survival::Yes,
                messages: u64::MAX,
                octets: u64::MAX,
                max_octets: u64::MAX,
                syncs: u64::MAX,
                written_octets: u64::MAX,
                failing: true,
            },
            counters: Counters { accepted: 7, ..Counters::default() },
            tallies: Tallies { held: 2, ..Tallies::default() },
        };
        let (mut text, mut next) = (String::new(), Some(0));
        while let Some(number) = next {
            let mut out = Output::new();
            next = write(&health, number, &mut out).unwrap();
            text.push_str(std::str::from_utf8(out.filled()).unwrap());
        }
        text
    }

    #[test]
    fn every_name_is_explained_once_and_well_formed() {
        let text = text();
        let mut explained = Vec::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap();
                assert!(!explained.contains(&name.to_owned()) && help.ends_with('.'), "{line}");
                explained.push(name.to_owned());
            } else if !line.starts_with("# TYPE ") {
                let (name, value) = line.rsplit_once(' ').unwrap();
                let name = name.split('{').next().unwrap();
                assert_eq!(explained.last().map(String::as_str), Some(name), "{line}");
                assert!(value.parse::<u64>().is_ok(), "{line}");
            }
        }
        assert!(text.contains("pillarbox_messages_accepted_total 7\n"), "{text}");
        assert!(text.contains("pillarbox_queue_messages{state=\"held\"} 2\n"), "{text}");
        assert!(text.contains("# TYPE pillarbox_spool_syncs_total counter\n"), "{text}");
    }
}
