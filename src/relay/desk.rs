//! The desk: what the control socket can ask, answered a piece at a time.
//!
//! [`Desk::ask`] takes a request and [`Desk::tell`] goes on with its answer, one bounded piece a
//! call, so that a long queue costs the loop no more than a short one. How far an answer is stands
//! in [`Answering`] alone; the queue may change between two pieces.
//!
//! What changes the queue is written into the spool's status and synced before it is answered.

use core::fmt::{self, Write};

use super::Relay;
use super::deed::Deed;
use super::health::{self, DestinationFigures, Figures, Health, SpoolFigures, Tallies};
use super::intake::text;
use super::listing::{self, Facts, Fault, Listed, Shown};
use super::medium;
use super::metrics;
use super::queue::{Entry, Index, State};
use super::report::{self, Form, Output, PIECE_OCTETS, Standing};
use super::request::{Action, Request, Which};
use super::story;
use crate::limits::REPLY_TEXT_OCTETS;
use crate::spool::{Head, Id, Place};
use crate::sys::{self, HEAP, Now};

/// What is being answered, and how far.
#[derive(Debug)]
pub enum Answering {
    /// The queue.
    List {
        /// For whom.
        form: Form,
        /// Place in the queue table that comes next.
        next: usize,
        /// Messages listed.
        count: usize,
        /// The message that did not fit as a whole.
        current: Option<(Facts, Listed)>,
    },
    /// A message's envelope; its content follows.
    Envelope(Facts, Shown),
    /// A message's content.
    Content {
        /// Where it lies.
        place: Place,
        /// Its head.
        head: Head,
        /// Octets told.
        offset: u64,
    },
    /// Messages are being changed.
    Changing(Deed),
    /// What was changed is on its way to the disk: nothing to tell until it is there.
    Syncing(Deed),
    /// How the relay is.
    Status(Form, Chapter),
    /// The same for Prometheus, from that number on.
    Metrics(usize),
    /// What became of a message, from that outcome on; then where it stands.
    Story(Id, usize),
    /// All is told.
    Over,
}

/// A part of the status report.
#[derive(Clone, Copy, Debug)]
pub enum Chapter {
    /// All but the lists.
    Health,
    /// Destinations from that number on.
    Destinations(usize),
    /// Notes on clients from that number on.
    Clients(usize),
    /// Errors from that number on.
    Errors(usize),
}

impl Answering {
    /// True while the answer waits for the disk.
    pub fn is_waiting(&self) -> bool {
        matches!(self, Self::Syncing(_))
    }
}

/// The first line of an answer that is no answer: an exit code of sysexits(3) and why.
pub fn write_error(code: u8, why: impl fmt::Display, out: &mut Output) -> fmt::Result {
    writeln!(out, "error {code} {why}")
}

/// EX_DATAERR: there is no such message, or it is not in the state for that.
const DATA: u8 = 65;
/// EX_IOERR: the disk failed.
pub(super) const IO: u8 = 74;

/// Who answers. The relay does; tests of the control socket put something simpler in its place.
pub trait Desk {
    /// Begins to answer. `out` has room for [`PIECE_OCTETS`].
    fn ask(&mut self, request: &Request, out: &mut Output, now: Now) -> Answering;

    /// Goes on with an answer: what comes next of it. `out` has room for [`PIECE_OCTETS`].
    fn tell(&mut self, answering: Answering, figures: &Figures, out: &mut Output, now: Now) -> Answering;
}

impl Desk for Relay {
    fn ask(&mut self, request: &Request, out: &mut Output, now: Now) -> Answering {
        let begun = match *request {
            Request::List { json } => out.write_str("ok\n").map(|()| Answering::List {
                form: Form::of(json),
                next: 0,
                count: 0,
                current: None,
            }),
            Request::Status { json } => {
                out.write_str("ok\n").map(|()| Answering::Status(Form::of(json), Chapter::Health))
            }
            Request::Metrics => Ok(Answering::Metrics(0)),
            Request::Story(id) => out.write_str("ok\n").map(|()| Answering::Story(id, 0)),
            Request::Show(id) => self.ask_show(id, out, now),
            Request::Do(action, Which::One(id)) => self.ask_one(action, id, out, now),
            Request::Do(action, Which::All) => Ok(Answering::Changing(Deed::new(action, Some(0)))),
        };
        begun.unwrap_or(Answering::Over)
    }

    fn tell(&mut self, answering: Answering, figures: &Figures, out: &mut Output, now: Now) -> Answering {
        let told = match answering {
            Answering::List { form, next, count, current } => {
                self.tell_list(form, next, count, current, out, now)
            }
            Answering::Envelope(facts, shown) => Ok(self.tell_envelope(&facts, shown, out)),
            Answering::Content { place, head, offset } => Ok(self.tell_content(place, head, offset, out)),
            Answering::Changing(deed) => self.tell_changes(deed, out, now),
            Answering::Syncing(deed) => self.tell_synced(deed, out),
            Answering::Status(form, chapter) => self.tell_status(form, chapter, figures, out, now),
            Answering::Metrics(next) => self.tell_metrics(next, figures, out, now),
            Answering::Story(id, next) => self.tell_story(id, next, out, now),
            Answering::Over => Ok(Answering::Over),
        };
        // A piece that does not fit would be our own mistake; it costs the rest of this answer.
        told.unwrap_or(Answering::Over)
    }
}

impl Relay {
    fn ask_show(&mut self, id: Id, out: &mut Output, now: Now) -> Result<Answering, fmt::Error> {
        let Some(at) = self.queue.find(id) else { return unknown(id, out) };
        let facts = self.facts(at, now);
        if let Err(damage) = self.store.reader().head(facts.place) {
            write_error(IO, format_args!("{id} {damage}"), out)?;
            return Ok(Answering::Over);
        }
        out.write_str("ok\n")?;
        Ok(Answering::Envelope(facts, Shown::Not))
    }

    fn ask_one(
        &mut self,
        action: Action,
        id: Id,
        out: &mut Output,
        now: Now,
    ) -> Result<Answering, fmt::Error> {
        let Some(at) = self.queue.find(id) else { return unknown(id, out) };
        let mut deed = Deed::new(action, None);
        if let Some(why) = self.change(&mut deed, at, now) {
            write_error(DATA, format_args!("{id} {why}"), out)?;
            return Ok(Answering::Over);
        }
        Ok(Answering::Changing(deed))
    }

    fn tell_list(
        &mut self,
        form: Form,
        mut next: usize,
        mut count: usize,
        mut current: Option<(Facts, Listed)>,
        out: &mut Output,
        now: Now,
    ) -> Result<Answering, fmt::Error> {
        while out.free() >= PIECE_OCTETS {
            let (facts, listed) = match current.take() {
                Some(current) => current,
                None => {
                    let found = (next..self.queue.capacity()).find_map(|n| Some((n, self.queue.at(n)?.0)));
                    let Some((number, at)) = found else {
                        report::write_queue_end(form, count, out)?;
                        return Ok(Answering::Over);
                    };
                    if count == 0 {
                        report::write_queue_head(form, out)?;
                    }
                    next = number + 1;
                    count += 1;
                    (self.facts(at, now), Listed::Not)
                }
            };
            match listing::list(form, &facts, &self.config, self.store.reader(), listed, out)? {
                Listed::Whole => {}
                listed => {
                    current = Some((facts, listed));
                    break;
                }
            }
        }
        Ok(Answering::List { form, next, count, current })
    }

    /// What the schedule knows of a message.
    fn facts(&self, at: Index, now: Now) -> Facts {
        let entry = self.queue.entry(at);
        let seconds = |until_ms: u64| until_ms.saturating_sub(now.mono_ms).div_ceil(1000);
        let (standing, next_try_s) = match entry.state() {
            State::Waiting { .. } => (Standing::Waiting, Some(seconds(entry.due_ms))),
            State::Ready => (Standing::Waiting, Some(self.back_off_ms(entry, now).map_or(0, seconds))),
            State::Delivering => (Standing::Delivering, None),
            State::Held | State::Free => (Standing::Held, None),
        };
        Facts { place: entry.place, size: entry.size, age_s: entry.age_s(now.mono_ms), standing, next_try_s }
    }

    fn back_off_ms(&self, entry: &Entry, now: Now) -> Option<u64> {
        let slot = self.destinations.find(entry.key)?;
        self.destinations.at(slot).backs_off_until_ms(now.mono_ms)
    }

    fn tell_envelope(&mut self, facts: &Facts, shown: Shown, out: &mut Output) -> Answering {
        match listing::show(facts, &self.config, self.store.reader(), shown, out) {
            Ok(Shown::Whole) => match self.store.reader().head(facts.place) {
                Ok(head) => Answering::Content { place: facts.place, head, offset: 0 },
                Err(damage) => broken_off(damage, out),
            },
            Ok(shown) => Answering::Envelope(*facts, shown),
            Err(Fault::Damaged(damage)) => broken_off(damage, out),
            Err(Fault::Full) => Answering::Over,
        }
    }

    fn tell_content(&mut self, place: Place, head: Head, offset: u64, out: &mut Output) -> Answering {
        match self.store.reader().read_content(place, &head, offset, out.room()) {
            Ok(0) => Answering::Over,
            Ok(n) => {
                out.advance(n);
                Answering::Content { place, head, offset: offset + n as u64 }
            }
            Err(damage) => broken_off(damage, out),
        }
    }

    fn tell_status(
        &mut self,
        form: Form,
        chapter: Chapter,
        figures: &Figures,
        out: &mut Output,
        now: Now,
    ) -> Result<Answering, fmt::Error> {
        let next = match chapter {
            Chapter::Health => {
                health::write_health(form, &self.health(*figures, now), out)?;
                health::write_destinations_head(form, out)?;
                Chapter::Destinations(0)
            }
            Chapter::Destinations(number) => {
                match self.destinations.iter().filter(|d| !d.host().is_empty()).nth(number) {
                    None => {
                        health::write_clients_head(form, out)?;
                        Chapter::Clients(0)
                    }
                    Some(one) => {
                        let reply = one.reply().map(text::<REPLY_TEXT_OCTETS>).unwrap_or_default();
                        let until = one.backs_off_until_ms(now.mono_ms);
                        let until_s = until.map(|ms| (ms - now.mono_ms).div_ceil(1000));
                        let (host, failures) = (one.host(), one.failures());
                        let told = DestinationFigures { host, failures, until_s, reply: &reply };
                        health::write_destination(form, &told, number == 0, out)?;
                        Chapter::Destinations(number + 1)
                    }
                }
            }
            Chapter::Clients(number) => match self.notes.at(number) {
                None => {
                    health::write_errors_head(form, out)?;
                    Chapter::Errors(0)
                }
                Some(noted) => {
                    health::write_client(form, noted, number == 0, out)?;
                    Chapter::Clients(number + 1)
                }
            },
            Chapter::Errors(number) => match self.recent.at(number) {
                None => {
                    health::write_health_end(form, out)?;
                    return Ok(Answering::Over);
                }
                Some(one) => {
                    health::write_error(form, one.at_unix_s, &one.text, number == 0, out)?;
                    Chapter::Errors(number + 1)
                }
            },
        };
        Ok(Answering::Status(form, next))
    }

    fn tell_metrics(
        &self,
        next: usize,
        figures: &Figures,
        out: &mut Output,
        now: Now,
    ) -> Result<Answering, fmt::Error> {
        let next = metrics::write(&self.health(*figures, now), next, out)?;
        Ok(next.map_or(Answering::Over, Answering::Metrics))
    }

    /// Counts the queue and the destinations.
    fn tallies(&self, now: Now) -> Tallies {
        let mut tallies = Tallies::default();
        for (_, entry) in (0..self.queue.capacity()).filter_map(|number| self.queue.at(number)) {
            match entry.state() {
                State::Waiting { .. } | State::Ready => tallies.waiting += 1,
                State::Delivering => tallies.delivering += 1,
                State::Held => tallies.held += 1,
                State::Free => {}
            }
        }
        for one in self.destinations.iter() {
            match (one.backs_off_until_ms(now.mono_ms), one.failures()) {
                (Some(_), _) => tallies.resting += 1,
                (None, 0) => tallies.open += 1,
                (None, _) => tallies.probing += 1,
            }
        }
        tallies
    }

    /// The outcomes of a message that are still remembered, one a piece, then one line that says where
    /// it stands: `waiting SECONDS`, `delivering`, `held` or `gone`.
    fn tell_story(&self, id: Id, next: usize, out: &mut Output, now: Now) -> Result<Answering, fmt::Error> {
        if let Some(outcome) = self.stories.of(id, next) {
            story::write_outcome(outcome, out)?;
            return Ok(Answering::Story(id, next + 1));
        }
        match self.queue.find(id).map(|at| self.facts(at, now)) {
            None => out.write_str("gone\n")?,
            Some(facts) => match facts.next_try_s {
                Some(seconds) => writeln!(out, "{} {seconds}", facts.standing.name())?,
                None => writeln!(out, "{}", facts.standing.name())?,
            },
        }
        Ok(Answering::Over)
    }

    fn health(&self, figures: Figures, now: Now) -> Health<'_> {
        let usage = self.store.usage();
        let directory = &self.config.spool.directory;
        let (filesystem, survives) = medium::of(directory);
        Health {
            uptime_s: now.mono_ms / 1000,
            figures,
            heap: HEAP.heap(),
            resident_octets: sys::resident_octets(),
            spool: SpoolFigures {
                directory,
                filesystem,
                survives,
                messages: u64::from(usage.messages),
                octets: usage.octets,
                max_octets: usage.max_octets,
                syncs: usage.syncs,
                written_octets: usage.written_octets,
                failing: !usage.failure.is_empty(),
            },
            counters: self.counters,
            tallies: self.tallies(now),
        }
    }
}

fn unknown(id: Id, out: &mut Output) -> Result<Answering, fmt::Error> {
    write_error(DATA, format_args!("there is no message {id} in the queue"), out)?;
    Ok(Answering::Over)
}

/// Says why a message can't be shown to its end.
fn broken_off(why: impl fmt::Display, out: &mut Output) -> Answering {
    // Without room for it the message is shown to where it is all the same.
    let _ = writeln!(out, "\n[broken off: the message {why}]");
    Answering::Over
}

#[cfg(test)]
mod tests;
