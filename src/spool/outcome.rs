//! What became of a message, and its end.
//!
//! A status is written at once, so that a killed process loses nothing, and synced with the next
//! batch or when asked for. A message that is done gives its room back only after that.

use std::io;

use heapless::Deque;

use super::disk::{Disk, Folder, Target, Ticket};
use super::id::Id;
use super::status::Status;
use super::store::{Mark, Place, Progress, Store};
use crate::limits::STATUS_SYNC_S;

/// Large messages that are remembered because the sync of their status failed.
const FAILED: usize = 32;

/// How the cells stand with the medium.
///
/// What is written belongs to a round, which ends when a sync starts; the sync's answer settles
/// it.
#[derive(Debug, Default)]
pub struct Syncing {
    /// A sync of the cells is under way.
    pub under_way: bool,
    /// Messages were copied that no sync has been asked for yet.
    pub copied: bool,
    /// Statuses shall be synced without waiting for a message.
    pub wanted: bool,
    /// When the oldest status was written that no sync has been asked for, in milliseconds.
    pub oldest_ms: Option<u64>,
    round: u64,
    /// Rounds below this one are settled.
    settled: u64,
    /// First and last of the rounds that failed last.
    failed: Option<(u64, u64)>,
}

impl Syncing {
    /// A sync starts: it covers all that was written by now.
    pub fn start(&mut self) {
        self.under_way = true;
        self.copied = false;
        self.oldest_ms = None;
        self.round += 1;
    }

    /// The sync came through.
    pub fn succeed(&mut self) {
        self.under_way = false;
        self.settled = self.round;
    }

    /// The sync failed. What was written while it ran is in doubt too: its pages can be those
    /// that could not be written.
    pub fn fail(&mut self) {
        self.under_way = false;
        self.oldest_ms = None;
        self.failed = Some((self.settled, self.round));
        self.round += 1;
        self.settled = self.round;
    }

    fn progress(&self, round: u64) -> Progress {
        match self.failed {
            _ if round >= self.settled => Progress::Waiting,
            Some((first, last)) if (first..=last).contains(&round) => Progress::Failed,
            _ => Progress::Synced,
        }
    }
}

/// A large message whose status no sync has covered yet.
#[derive(Clone, Copy, Debug)]
struct Pending {
    id: Id,
    since_ms: u64,
    /// Nothing is left to do for it: to be unlinked after the sync.
    done: bool,
    /// A sync that covers its latest status is under way.
    asked: bool,
    /// Syncs under way, those asked for before the latest status included.
    under_way: u16,
}

/// The statuses of large messages that no sync has covered yet. At most one a message, so room
/// for all is made at start.
#[derive(Debug)]
pub struct Unsynced {
    pending: Vec<Pending>,
    /// Whose syncs failed last: more than can be under way at once, so that a caller who looks
    /// after each turn misses none.
    failed: Deque<Id, FAILED>,
}

impl Unsynced {
    /// Room for that many messages.
    pub fn new(messages: u32) -> Self {
        Self { pending: Vec::with_capacity(messages as usize), failed: Deque::new() }
    }

    /// Octets of heap that so many take.
    pub const fn heap_octets(messages: u32) -> usize {
        messages as usize * size_of::<Pending>()
    }

    /// True if there are some whose sync was not asked for.
    pub fn any_due(&self) -> bool {
        self.pending.iter().any(|p| !p.asked)
    }

    fn note_failure(&mut self, id: Id) {
        if self.failed.is_full() {
            self.failed.pop_front();
        }
        let kept = self.failed.push_back(id);
        assert!(kept.is_ok(), "room was made");
    }

    /// Notes a status; false if there is no room.
    fn note(&mut self, id: Id, done: bool, since_ms: u64) -> bool {
        if let Some(p) = self.pending.iter_mut().find(|p| p.id == id) {
            (p.done, p.asked) = (p.done || done, false);
            return true;
        }
        let room = self.pending.len() < self.pending.capacity();
        if room {
            self.pending.push(Pending { id, since_ms, done, asked: false, under_way: 0 });
        }
        room
    }
}

impl<D: Disk> Store<D> {
    /// Writes a message's status. It survives the process at once and a power cut after the next
    /// sync, see [`Store::progress`].
    pub fn record(&mut self, place: Place, status: &Status, now_ms: u64) -> io::Result<Mark> {
        self.write_status(place, status, now_ms, false)
    }

    /// Writes the status of a message that is done. Once that is synced its room is free; the
    /// place means nothing from now on.
    pub fn finish(&mut self, place: Place, status: &Status, now_ms: u64) -> io::Result<Mark> {
        let head = self.reader.head(place);
        let mark = self.write_status(place, status, now_ms, true)?;
        self.usage.messages = self.usage.messages.saturating_sub(1);
        if let Some(block) = place.block() {
            let freed = head.is_ok_and(|head| self.cells.retire(block, head.blocks));
            if !freed {
                log::error!("{} head is damaged, its room is not used again until restart", place.id());
            }
        }
        Ok(mark)
    }

    /// How far the sync of what was written is.
    pub fn progress(&self, mark: Mark) -> Progress {
        match mark {
            Mark::Cells(round) => self.syncing.progress(round),
            Mark::Large(id) if self.unsynced.pending.iter().any(|p| p.id == id) => Progress::Waiting,
            Mark::Large(id) if self.unsynced.failed.iter().any(|f| *f == id) => Progress::Failed,
            Mark::Large(_) => Progress::Synced,
        }
    }

    /// When [`Store::sync_status`] is to be called at the latest, by the clock of `now_ms`.
    pub fn status_deadline_ms(&self) -> Option<u64> {
        let large = self.unsynced.pending.iter().filter(|p| !p.asked).map(|p| p.since_ms).min();
        let oldest = self.syncing.oldest_ms.into_iter().chain(large).min()?;
        Some(oldest.saturating_add(STATUS_SYNC_S * 1000))
    }

    /// Has statuses synced without waiting for a message: now, or as soon as the sync that is
    /// under way is answered.
    pub fn sync_status(&mut self) {
        self.syncing.wanted = true;
        self.ask_syncs();
    }

    fn write_status(&mut self, place: Place, status: &Status, now_ms: u64, done: bool) -> io::Result<Mark> {
        assert!(status.id == place.id(), "a status belongs to its message");
        let octets = status.encode();
        self.usage.written_octets += octets.len() as u64;
        let at = self.reader.status_at(place);
        let disk = &mut self.reader.disk;
        if place.block().is_some() {
            disk.write_at(&self.reader.cells, &octets, at)?;
            self.syncing.oldest_ms.get_or_insert(now_ms);
            return Ok(Mark::Cells(self.syncing.round));
        }
        let file = disk.open(Folder::Large, &place.id().text(), true)?;
        disk.write_at(&file, &octets, at)?;
        let length = disk.length(&file)?;
        if done {
            self.large_octets = self.large_octets.saturating_sub(length);
        }
        if !self.unsynced.note(place.id(), done, now_ms) {
            let synced = self.reader.disk.sync(Target::File(&file));
            if done {
                self.unlink_large(place.id());
            }
            synced?;
        }
        Ok(Mark::Large(place.id()))
    }

    /// Asks for the syncs of large messages' statuses, as many as the disk takes.
    pub(super) fn ask_status_syncs(&mut self) {
        let disk = &mut self.reader.disk;
        let mut gone = None;
        for p in self.unsynced.pending.iter_mut().filter(|p| !p.asked) {
            match disk.open(Folder::Large, &p.id.text(), true) {
                Ok(file) if disk.start_sync(Ticket::Status(p.id), Target::File(&file)) => {
                    self.usage.syncs += 1;
                    p.asked = true;
                    p.under_way += 1;
                }
                Ok(_) => break,
                Err(e) if e.kind() == io::ErrorKind::NotFound => gone = Some(p.id),
                Err(_) => break,
            }
        }
        // Taken away by another's hand: nothing is left to sync.
        self.unsynced.pending.retain(|p| Some(p.id) != gone);
    }

    pub(super) fn settle_status(&mut self, id: Id, result: io::Result<()>) {
        let Some(at) = self.unsynced.pending.iter().position(|p| p.id == id) else { return };
        let pending = &mut self.unsynced.pending[at];
        pending.under_way -= 1;
        let is_last = pending.asked && pending.under_way == 0;
        if let Err(e) = result {
            self.unsynced.note_failure(id);
            self.failed("sync a status", &e);
        }
        if !is_last {
            // Written again meanwhile: the next sync covers both.
            return;
        }
        let pending = self.unsynced.pending.swap_remove(at);
        if pending.done {
            self.unlink_large(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_is_settled_by_the_sync_that_follows_it() {
        let mut syncing = Syncing::default();
        let before = syncing.round;
        syncing.start();
        let during = syncing.round;
        assert_eq!(syncing.progress(before), Progress::Waiting);
        syncing.succeed();
        assert_eq!(
            (syncing.progress(before), syncing.progress(during)),
            (Progress::Synced, Progress::Waiting)
        );
    }

    #[test]
    fn a_failed_sync_leaves_in_doubt_what_was_written_while_it_ran() {
        let mut syncing = Syncing::default();
        let early = syncing.round;
        syncing.start();
        syncing.succeed();
        let before = syncing.round;
        syncing.start();
        let during = syncing.round;
        syncing.fail();
        let after = syncing.round;
        syncing.start();
        syncing.succeed();
        let all = [early, before, during, after].map(|round| syncing.progress(round));
        assert_eq!(all, [Progress::Synced, Progress::Failed, Progress::Failed, Progress::Synced]);
    }
}
