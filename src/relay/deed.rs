//! What a person wants done with messages of the queue: retry, hold, release, remove.
//!
//! A bounded number is changed, then their statuses are synced, then it goes on; so even all messages
//! of a large queue cost the loop little at once, and only what is durable is answered.

use core::fmt::{self, Write};
use std::io;

use heapless::Vec;
use log::info;

use super::Relay;
use super::desk::{Answering, IO, write_error};
use super::queue::{Index, State};
use super::recipients::Recipients;
use super::report::{self, Output};
use super::request::Action;
use super::round::{Afterwards, Custody};
use crate::spool::{Id, Mark, Progress};
use crate::sys::Now;

/// Messages that one piece of work changes.
const CHANGES: usize = 64;
/// Syncs that one piece waits for: the cells, and large messages beside them.
const MARKS: usize = 16;

/// What a person wants done, and how far it is.
#[derive(Debug)]
pub struct Deed {
    action: Action,
    /// Where the work goes on in the queue table; `None`: all is done.
    next: Option<usize>,
    done: usize,
    failed: usize,
    marks: Vec<Mark, MARKS>,
}

/// What came of changing one message.
enum Change {
    /// Nothing had to be written.
    Made,
    /// Written, to be synced.
    Written(Mark),
    /// The message is not in the state for it.
    Unfit(&'static str),
}

const UNREADABLE: Change = Change::Unfit("can't be read from the spool");

impl Deed {
    pub(super) fn new(action: Action, next: Option<usize>) -> Self {
        Self { action, next, done: 0, failed: 0, marks: Vec::new() }
    }

    /// Remembers what to wait for. Everything in the cells is in one and the same sync.
    fn note(&mut self, mark: Mark) {
        if !self.marks.contains(&mark) {
            let noted = self.marks.push(mark);
            assert!(noted.is_ok(), "changes stop while there is no room for a mark");
        }
    }

    fn write_end(&self, out: &mut Output) -> fmt::Result {
        if self.failed > 0 {
            let (failed, done) = (self.failed, self.done);
            return write_error(IO, format_args!("{failed} can't be changed in the spool; {done} were"), out);
        }
        out.write_str("ok\n")?;
        report::write_done(self.action, self.done, out)
    }
}

impl Relay {
    /// Changes a bounded number of messages, then has them synced.
    pub(super) fn tell_changes(
        &mut self,
        mut deed: Deed,
        out: &mut Output,
        now: Now,
    ) -> Result<Answering, fmt::Error> {
        let mut left = CHANGES;
        while let Some(number) = deed.next.filter(|_| left > 0 && !deed.marks.is_full()) {
            left -= 1;
            deed.next = (number < self.queue.capacity()).then_some(number + 1);
            if let Some(at) = self.queue.at(number).map(|(at, _)| at) {
                // With all messages, those that are not in the state for it are passed over.
                let _ = self.change(&mut deed, at, now);
            }
        }
        if !deed.marks.is_empty() {
            self.store.sync_status();
            return Ok(Answering::Syncing(deed));
        }
        if deed.next.is_some() {
            return Ok(Answering::Changing(deed));
        }
        deed.write_end(out)?;
        Ok(Answering::Over)
    }

    pub(super) fn tell_synced(&mut self, mut deed: Deed, out: &mut Output) -> Result<Answering, fmt::Error> {
        let progress = |mark: &Mark| self.store.progress(*mark);
        if deed.marks.iter().any(|mark| progress(mark) == Progress::Waiting) {
            return Ok(Answering::Syncing(deed));
        }
        if deed.marks.iter().any(|mark| progress(mark) == Progress::Failed) {
            write_error(IO, "the disk failed: what was asked for may be forgotten by a restart", out)?;
            return Ok(Answering::Over);
        }
        deed.marks.clear();
        match deed.next {
            Some(_) => Ok(Answering::Changing(deed)),
            None => {
                deed.write_end(out)?;
                Ok(Answering::Over)
            }
        }
    }

    /// Changes one message and counts it; the reason if it is not in the state for it.
    pub(super) fn change(&mut self, deed: &mut Deed, at: Index, now: Now) -> Option<&'static str> {
        let id = self.queue.entry(at).id;
        let changed = match deed.action {
            Action::Retry => Ok(self.retry(at, now)),
            Action::Hold => self.hold(at, now),
            Action::Release => self.release(at, now),
            Action::Remove => self.remove(at, now),
        };
        match changed {
            Ok(Change::Unfit(why)) => return Some(why),
            Ok(Change::Made) => deed.done += 1,
            Ok(Change::Written(mark)) => {
                deed.done += 1;
                deed.note(mark);
                log_change(deed.action, id);
            }
            Err(error) => {
                deed.failed += 1;
                self.recent.note(format_args!("{id} can't be changed in the spool: {error}"), now.unix_s);
            }
        }
        None
    }

    /// Makes a message due, and ends the back-off of every destination that it has still to reach.
    fn retry(&mut self, at: Index, now: Now) -> Change {
        let entry = self.queue.entry(at);
        let (state, place) = (entry.state(), entry.place);
        match state {
            State::Waiting { .. } => self.queue.wait(at, now.mono_ms),
            State::Ready | State::Delivering => {}
            State::Held | State::Free => return Change::Unfit("is held: release it first"),
        }
        self.reopen_all_of(place);
        Change::Made
    }

    fn hold(&mut self, at: Index, now: Now) -> io::Result<Change> {
        let place = self.queue.entry(at).place;
        match self.queue.entry(at).state() {
            State::Held | State::Free => return Ok(Change::Made),
            State::Delivering => return self.change_round(at, Some(Afterwards::Hold), now),
            State::Waiting { .. } | State::Ready => {}
        }
        let Ok(mut status) = self.store.reader().status(place) else { return Ok(UNREADABLE) };
        status.held = true;
        let mark = self.store.record(place, &status, now.mono_ms)?;
        self.step_aside(at);
        self.queue.hold(at);
        Ok(Change::Written(mark))
    }

    fn release(&mut self, at: Index, now: Now) -> io::Result<Change> {
        let place = self.queue.entry(at).place;
        match self.queue.entry(at).state() {
            State::Waiting { .. } | State::Ready => return Ok(Change::Unfit("is not held")),
            State::Delivering => return self.change_round(at, None, now),
            State::Held | State::Free => {}
        }
        let Ok(mut status) = self.store.reader().status(place) else { return Ok(UNREADABLE) };
        status.held = false;
        let mark = self.store.record(place, &status, now.mono_ms)?;
        self.queue.wait(at, now.mono_ms);
        Ok(Change::Written(mark))
    }

    fn remove(&mut self, at: Index, now: Now) -> io::Result<Change> {
        let place = self.queue.entry(at).place;
        if self.queue.entry(at).state() == State::Delivering {
            return self.change_round(at, Some(Afterwards::Remove), now);
        }
        let Ok(mut status) = self.store.reader().status(place) else { return Ok(UNREADABLE) };
        status.removed = true;
        let mark = self.store.finish(place, &status, now.mono_ms)?;
        self.step_aside(at);
        self.queue.remove(at);
        Ok(Change::Written(mark))
    }

    /// Of a message that is being delivered: the running attempt is waited for, but what comes after
    /// it is written down now, so that a restart knows it.
    fn change_round(&mut self, at: Index, wish: Option<Afterwards>, now: Now) -> io::Result<Change> {
        let Some(index) = self.rounds.find(at) else { return Ok(Change::Unfit("is being bounced")) };
        let round = self.rounds.at(index);
        if round.custody != Custody::Ours {
            return Ok(Change::Unfit("is still being taken"));
        }
        match (round.afterwards, wish) {
            (None, None) => Ok(Change::Unfit("is not held")),
            (Some(Afterwards::Remove), Some(Afterwards::Hold) | None) => Ok(Change::Unfit("was removed")),
            (_, wish) => {
                let mut status = round.status.clone();
                status.held = wish == Some(Afterwards::Hold);
                status.removed = wish == Some(Afterwards::Remove);
                let mark = self.store.record(round.place, &status, now.mono_ms)?;
                (round.status, round.afterwards) = (status, wish);
                if wish == Some(Afterwards::Remove) {
                    // What is under way may end; nobody else gets the message, and no sender hears of it.
                    round.taken = Recipients::all();
                }
                Ok(Change::Written(mark))
            }
        }
    }

    /// Takes a message out of its destination's line, if it stands in one.
    fn step_aside(&mut self, at: Index) {
        if self.queue.entry(at).state() == State::Ready {
            self.destinations.leave(&mut self.queue, at);
        }
    }
}

fn log_change(action: Action, id: Id) {
    match action {
        Action::Retry => {}
        Action::Hold => info!("{id} held"),
        Action::Release => info!("{id} released"),
        Action::Remove => info!("{id} removed"),
    }
}
