//! The state of the relay as text and as JSON, a piece at a time, like [`super::report`].

use core::fmt::{self, Write};
use std::path::Path;

use super::Counters;
use super::intake::text;
use super::measure::{Moment, Octets, Span};
use super::medium::Survival;
use super::notes::Noted;
use super::page::Page;
use super::quoted::Quoted;
use super::report::{Form, PIECE_OCTETS};
use crate::limits::MAILBOX_PATH_OCTETS;
use crate::sys::Heap;

// An escaped octet takes six at most, in JSON.
const _: () = assert!(6 * MAILBOX_PATH_OCTETS + 1000 < PIECE_OCTETS);

/// A number of places of which some are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Taken.
    pub used: usize,
    /// All.
    pub max: usize,
}

/// The slots, as the loop counts them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// Inbound slots.
    pub sessions: Share,
    /// Outbound slots.
    pub deliveries: Share,
    /// The most memory that the relay takes.
    pub ceiling_octets: u64,
}

/// The spool, for the report.
#[derive(Clone, Copy, Debug)]
pub struct SpoolFigures<'a> {
    /// Where it is; cut at [`MAILBOX_PATH_OCTETS`].
    pub directory: &'a Path,
    /// The name of its file system.
    pub filesystem: &'static str,
    /// What becomes of it when the power goes.
    pub survives: Survival,
    /// Messages in it.
    pub messages: u64,
    /// Octets of them, those being received too.
    pub octets: u64,
    /// The most there may be.
    pub max_octets: u64,
    /// Syncs since the start.
    pub syncs: u64,
    /// Octets written since the start.
    pub written_octets: u64,
    /// A sync has failed: what it covered was not taken.
    pub failing: bool,
}

/// Messages of the queue by where they stand, and destinations by how they are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tallies {
    /// Messages that wait.
    pub waiting: u64,
    /// Messages on their way.
    pub delivering: u64,
    /// Messages put aside.
    pub held: u64,
    /// Destinations that answered last.
    pub open: u64,
    /// Destinations that failed last and may be tried.
    pub probing: u64,
    /// Destinations that are left alone for a while.
    pub resting: u64,
}

/// How the relay is.
#[derive(Clone, Copy, Debug)]
pub struct Health<'a> {
    /// Seconds since the start.
    pub uptime_s: u64,
    /// The slots.
    pub figures: Figures,
    /// The heap.
    pub heap: Heap,
    /// Octets of the process that are in RAM.
    pub resident_octets: u64,
    /// The spool.
    pub spool: SpoolFigures<'a>,
    /// What has happened since the start.
    pub counters: Counters,
    /// The queue and the destinations.
    pub tallies: Tallies,
}

/// A destination, for the report.
#[derive(Clone, Copy, Debug)]
pub struct DestinationFigures<'a> {
    /// The last host that was tried, at most [`PATH_OCTETS`](crate::limits::PATH_OCTETS).
    pub host: &'a str,
    /// Failures in a row.
    pub failures: u8,
    /// Seconds until it is tried again, if it is left alone now.
    pub until_s: Option<u64>,
    /// What it said last, at most [`REPLY_TEXT_OCTETS`](crate::limits::REPLY_TEXT_OCTETS).
    pub reply: &'a str,
}

impl DestinationFigures<'_> {
    fn state(&self) -> &'static str {
        match (self.until_s, self.failures) {
            (Some(_), _) => "back-off",
            (None, 0) => "open",
            (None, _) => "probing",
        }
    }
}

/// The first piece of the report: all but the lists.
pub fn write_health(form: Form, health: &Health<'_>, out: &mut impl Write) -> fmt::Result {
    match form {
        Form::Text => {
            let mut page = Page::new(out);
            write_health_text(health, &mut page)?;
            page.end()
        }
        Form::Json => write_health_json(health, out),
    }
}

fn write_health_text(health: &Health<'_>, out: &mut impl Write) -> fmt::Result {
    let Health { figures: Figures { sessions, deliveries, ceiling_octets }, heap, spool, counters, .. } =
        health;
    let directory: heapless::String<MAILBOX_PATH_OCTETS> = text(spool.directory.display());
    writeln!(out, "pillarbox {}, up {}", env!("CARGO_PKG_VERSION"), Span(health.uptime_s))?;
    writeln!(out, "sessions      {} of {}", sessions.used, sessions.max)?;
    writeln!(out, "deliveries    {} of {}", deliveries.used, deliveries.max)?;
    let (live, peak) = (Octets(heap.live_octets as u64), Octets(heap.peak_octets as u64));
    let (resident, ceiling) = (Octets(health.resident_octets), Octets(*ceiling_octets));
    writeln!(out, "memory        heap {live} (peak {peak}), resident {resident}, ceiling {ceiling}")?;
    let Tallies { waiting, delivering, held, .. } = health.tallies;
    writeln!(out, "queue         {waiting} waiting, {delivering} on their way, {held} held")?;
    writeln!(
        out,
        "spool         {} messages, {} of {}",
        spool.messages,
        Octets(spool.octets),
        Octets(spool.max_octets)
    )?;
    writeln!(
        out,
        "              in {} ({}, {})",
        Quoted::bare(directory),
        spool.filesystem,
        in_words(spool.survives)
    )?;
    writeln!(out, "              {} syncs, {} written", spool.syncs, Octets(spool.written_octets))?;
    if spool.failing {
        out.write_str("              THE DISK IS FAILING: a sync failed; see the log\n")?;
    }
    let Counters { accepted, rejected, delivered, deferred, bounced, expired } = counters;
    writeln!(out, "messages      {accepted} accepted, {rejected} rejected")?;
    writeln!(
        out,
        "recipients    {delivered} delivered, {deferred} deferred, {bounced} bounced, {expired} expired"
    )
}

fn write_health_json(health: &Health<'_>, out: &mut impl Write) -> fmt::Result {
    let Health { figures: Figures { sessions, deliveries, ceiling_octets }, heap, spool, counters, .. } =
        health;
    let directory: heapless::String<MAILBOX_PATH_OCTETS> = text(spool.directory.display());
    let share = |s: &Share| -> heapless::String<64> {
        text(format_args!("{{\"used\":{},\"max\":{}}}", s.used, s.max))
    };
    write!(out, "{{\"version\":\"{}\",\"uptime_s\":{}", env!("CARGO_PKG_VERSION"), health.uptime_s)?;
    write!(out, ",\"sessions\":{},\"deliveries\":{}", share(sessions), share(deliveries))?;
    write!(
        out,
        ",\"memory\":{{\"heap_bytes\":{},\"heap_peak_bytes\":{}",
        heap.live_octets, heap.peak_octets
    )?;
    write!(out, ",\"resident_bytes\":{},\"ceiling_bytes\":{}", health.resident_octets, ceiling_octets)?;
    write!(out, ",\"allocations\":{}}}", heap.allocations)?;
    write!(
        out,
        ",\"spool\":{{\"directory\":{},\"filesystem\":\"{}\"",
        Quoted::json(directory),
        spool.filesystem
    )?;
    write!(out, ",\"survives_power_cut\":\"{}\",\"messages\":{}", spool.survives.name(), spool.messages)?;
    write!(out, ",\"bytes\":{},\"max_bytes\":{}", spool.octets, spool.max_octets)?;
    write!(out, ",\"syncs\":{},\"bytes_written\":{}", spool.syncs, spool.written_octets)?;
    write!(out, ",\"failing\":{}}}", spool.failing)?;
    let Tallies { waiting, delivering, held, .. } = health.tallies;
    write!(out, ",\"queue\":{{\"waiting\":{waiting},\"delivering\":{delivering},\"held\":{held}}}")?;
    let Counters { accepted, rejected, delivered, deferred, bounced, expired } = counters;
    write!(out, ",\"counters\":{{\"accepted\":{accepted},\"rejected\":{rejected},\"delivered\":{delivered}")?;
    write!(out, ",\"deferred\":{deferred},\"bounced\":{bounced},\"expired\":{expired}}}")
}

fn in_words(survival: Survival) -> &'static str {
    match survival {
        Survival::Yes => "survives a power cut",
        Survival::No => "in RAM: lost in a power cut",
        Survival::Unknown => "not known to survive a power cut",
    }
}

/// What stands before the destinations.
pub fn write_destinations_head(form: Form, out: &mut impl Write) -> fmt::Result {
    match form {
        Form::Text => Ok(()),
        Form::Json => out.write_str(",\"destinations\":["),
    }
}

/// One destination; `first` is true for the first of them.
pub fn write_destination(
    form: Form,
    destination: &DestinationFigures<'_>,
    first: bool,
    out: &mut impl Write,
) -> fmt::Result {
    let DestinationFigures { host, until_s, reply, .. } = *destination;
    let state = destination.state();
    match form {
        Form::Text => {
            if first {
                out.write_str("destinations\n")?;
            }
            let mut page = Page::new(out);
            write!(page, "    {} {state}", Quoted::bare(if host.is_empty() { "-" } else { host }))?;
            if let Some(seconds) = until_s {
                write!(page, " for {}", Span(seconds))?;
            }
            if !reply.is_empty() {
                write!(page, ": {}", Quoted::new(reply))?;
            }
            page.write_char('\n')?;
            page.end()
        }
        Form::Json => {
            let comma = if first { "" } else { "," };
            write!(out, "{comma}{{\"host\":{},\"state\":\"{state}\"", Quoted::json(host))?;
            write!(out, ",\"until_s\":{},\"reply\":{}}}", until_s.unwrap_or(0), Quoted::json(reply))
        }
    }
}

/// What stands between the destinations and the notes on clients.
pub fn write_clients_head(form: Form, out: &mut impl Write) -> fmt::Result {
    match form {
        Form::Text => Ok(()),
        Form::Json => out.write_str("],\"clients\":["),
    }
}

/// The notes of one client; `first` is true for the first of them.
pub fn write_client(form: Form, noted: &Noted, first: bool, out: &mut impl Write) -> fmt::Result {
    match form {
        Form::Text => {
            if first {
                out.write_str("clients\n")?;
            }
            let mut page = Page::new(out);
            writeln!(page, "    {}: {noted}", noted.who())?;
            page.end()
        }
        Form::Json => {
            let comma = if first { "" } else { "," };
            write!(out, "{comma}{{\"address\":\"{}\",\"notes\":{}}}", noted.who(), Quoted::json(noted))
        }
    }
}

/// What stands between the notes on clients and the errors.
pub fn write_errors_head(form: Form, out: &mut impl Write) -> fmt::Result {
    match form {
        Form::Text => Ok(()),
        Form::Json => out.write_str("],\"errors\":["),
    }
}

/// One error; `first` is true for the first of them.
pub fn write_error(form: Form, at_unix_s: u64, what: &str, first: bool, out: &mut impl Write) -> fmt::Result {
    match form {
        Form::Text => {
            if first {
                out.write_str("last errors\n")?;
            }
            let mut page = Page::new(out);
            writeln!(page, "    {} {}", Moment(at_unix_s), Quoted::new(what))?;
            page.end()
        }
        Form::Json => {
            let comma = if first { "" } else { "," };
            write!(out, "{comma}{{\"at\":\"{}\",\"text\":{}}}", Moment(at_unix_s), Quoted::json(what))
        }
    }
}

/// The last piece of the report.
pub fn write_health_end(form: Form, out: &mut impl Write) -> fmt::Result {
    match form {
        Form::Text => Ok(()),
        Form::Json => out.write_str("]}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::notes::{Note, Notes};
    use crate::relay::page::COLUMNS;
    use crate::relay::report::Output;
    use crate::relay::report::tests::json_value;

    fn health(directory: &Path) -> Health<'_> {
        Health {
            uptime_s: u64::MAX,
            figures: Figures {
                sessions: Share { used: 3, max: 36 },
                deliveries: Share { used: usize::MAX, max: usize::MAX },
                ceiling_octets: u64::MAX,
            },
            heap: Heap { live_octets: usize::MAX, peak_octets: usize::MAX, allocations: usize::MAX },
            resident_octets: u64::MAX,
            spool: SpoolFigures {
                directory,
                filesystem: "overlayfs",
                survives: Survival::Unknown,
                messages: u64::MAX,
                octets: u64::MAX,
                max_octets: u64::MAX,
                syncs: u64::MAX,
                written_octets: u64::MAX,
                failing: true,
            },
            counters: Counters {
                accepted: u64::MAX,
                rejected: u64::MAX,
                delivered: u64::MAX,
                deferred: u64::MAX,
                bounced: u64::MAX,
                expired: u64::MAX,
            },
            tallies: Tallies {
                waiting: u64::MAX,
                delivering: u64::MAX,
                held: u64::MAX,
                ..Tallies::default()
            },
        }
    }

    fn report(form: Form, lists: usize) -> String {
        let mut out = String::new();
        write_health(form, &health(Path::new("/var/spool/\u{1b}\"")), &mut out).unwrap();
        write_destinations_head(form, &mut out).unwrap();
        for n in 0..lists {
            let until_s = [None, Some(55)][n % 2];
            let one =
                DestinationFigures { host: "mx\n.example:25", failures: 1, until_s, reply: "451 \"x\"" };
            write_destination(form, &one, n == 0, &mut out).unwrap();
        }
        write_clients_head(form, &mut out).unwrap();
        let mut notes = Notes::new();
        (0..lists).for_each(|n| notes.add([192, 0, 2, n as u8].into(), true, Note::LfLines));
        (0..lists).for_each(|n| write_client(form, notes.at(n).unwrap(), n == 0, &mut out).unwrap());
        write_errors_head(form, &mut out).unwrap();
        (0..lists).for_each(|n| write_error(form, 0, "the disk \\ failed", n == 0, &mut out).unwrap());
        write_health_end(form, &mut out).unwrap();
        out
    }

    #[test]
    fn json_is_one_object_with_and_without_lists() {
        for lists in 0..4 {
            let json = report(Form::Json, lists);
            assert_eq!(json_value(&json), Some("\n"), "{json}");
        }
        let json = report(Form::Json, 2);
        for key in ["version", "uptime_s", "sessions", "deliveries", "memory", "spool", "counters", "clients"]
        {
            assert!(json.contains(&format!("\"{key}\":")), "{key}");
        }
        assert!(json.contains(r#"{"host":"mx\u000a.example:25","state":"back-off","until_s":55,"#), "{json}");
        assert!(json.contains(r#""clients":[{"address":"192.0.2.1","notes":"LF line ends"},{"#), "{json}");
        assert!(json.contains(r#""errors":[{"at":"1970-01-01T00:00:00Z","text":"the disk \\ failed"}"#));
    }

    #[test]
    fn text_fits_a_screen_and_has_no_odd_octets() {
        let text = report(Form::Text, 2);
        assert!(text.lines().all(|line| line.chars().count() <= COLUMNS), "{text}");
        assert!(!text.replace('\n', "").contains(char::is_control), "{text}");
        assert!(text.contains("    mx\\x0a.example:25 back-off for 55s: \"451 \\\"x\\\"\"\n"), "{text}");
        assert!(text.contains("sessions      3 of 36\n"), "{text}");
    }

    #[test]
    fn the_longest_head_fits_a_piece() {
        let directory = "\u{1}".repeat(2 * MAILBOX_PATH_OCTETS);
        for form in [Form::Text, Form::Json] {
            let mut out = Output::new();
            write_health(form, &health(Path::new(&directory)), &mut out).unwrap();
            assert!(out.filled().len() <= PIECE_OCTETS);
        }
    }
}
