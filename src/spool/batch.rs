//! Many messages, one sync.
//!
//! What is complete waits until no sync of the cells is under way; then all of it is copied into
//! free runs, through one scratch buffer, and one sync is asked for. Only its answer makes the
//! messages committed. What comes meanwhile is the next batch. A failed sync is final: its
//! messages are refused and its blocks stay taken, for nobody knows what is on them.

use std::io;

use super::disk::{Disk, Target, Ticket};
use super::layout::{HEAD_OCTETS, Head};
use super::staging::{Draft, Refusal, StagingIndex, State};
use super::store::{Committed, Message, Place, Store};
use crate::limits::{BATCH_MESSAGES, LARGE_OCTETS};

impl<D: Disk> Store<D> {
    /// The message is complete: it joins the next batch, and [`Store::poll`] tells what became of
    /// it.
    pub fn commit(&mut self, s: StagingIndex, now_unix_s: u64) {
        let slot = &mut self.slots[s.number()];
        let (State::Open(draft) | State::Offered(draft)) = slot.state else {
            unreachable!("no message is coming in: {:?}", slot.state)
        };
        slot.state = State::Ready(Draft { arrived_unix_s: now_unix_s, ..draft });
        self.waiting += 1;
    }

    /// Starts a batch of all that waits, with one sync, unless one is under way; also the syncs
    /// that [`Store::sync_status`] wants. To be called every turn. Returns how many messages were
    /// set on their way.
    pub fn start_batch(&mut self) -> usize {
        let mut started = 0;
        if self.waiting > 0 {
            for s in (0..self.settings.staging).map(StagingIndex) {
                if let State::Ready(draft) = self.slots[s.number()].state
                    && started < BATCH_MESSAGES
                {
                    started += usize::from(self.start_message(s, &draft));
                }
            }
        }
        self.ask_syncs();
        started
    }

    /// Messages that wait for a batch.
    pub fn batch_waiting(&self) -> usize {
        self.waiting as usize
    }

    /// True while a sync of the cells is under way: messages wait for the next batch.
    pub fn busy_syncing(&self) -> bool {
        self.syncing.under_way
    }

    /// The next message of which is known what became of it. To be called until it says nothing,
    /// after [`Store::start_batch`] and whenever the disk has answered.
    pub fn poll(&mut self) -> Option<Committed> {
        self.settle();
        if self.told == 0 {
            return None;
        }
        let told = |(n, state): (u16, &State)| match state {
            State::Told(result) => Some(Committed { staging: StagingIndex(n), result: *result }),
            _ => None,
        };
        let committed = (0..).zip(self.slots.iter().map(|slot| &slot.state)).find_map(told)?;
        self.told -= 1;
        self.rewind(committed.staging);
        Some(committed)
    }

    /// Takes the disk's answers, and asks for what it had no room for before.
    fn settle(&mut self) {
        loop {
            let Some((ticket, result)) = self.reader.disk.synced() else {
                let asked = self.usage.syncs;
                self.ask_syncs();
                if self.usage.syncs == asked { return } else { continue }
            };
            match ticket {
                Ticket::Cells => self.settle_cells(result),
                Ticket::Content(s) => self.settle_content(s, result),
                Ticket::Link(s) => self.settle_link(s, result),
                Ticket::Status(id) => self.settle_status(id, result),
            }
        }
    }

    /// Says what became of a message.
    pub(super) fn tell(&mut self, s: StagingIndex, result: Result<Message, Refusal>) {
        self.slots[s.number()].state = State::Told(result);
        self.told += 1;
        self.receiving -= 1;
        self.usage.messages += u32::from(result.is_ok());
    }

    /// Sets one message on its way; false if it has to wait.
    fn start_message(&mut self, s: StagingIndex, draft: &Draft) -> bool {
        let octets = draft.octets();
        let blocks = u32::try_from(octets.div_ceil(self.block())).unwrap_or(u32::MAX);
        if octets > LARGE_OCTETS || blocks > self.cells.run_max() {
            return self.start_large(s, draft);
        }
        if self.syncing.under_way {
            return false;
        }
        let Some(block) = self.cells.take(blocks) else { return self.start_large(s, draft) };
        self.waiting -= 1;
        self.reserved -= draft.reserved;
        let head = self.head_of(draft, blocks);
        match self.copy(s, &head, block) {
            Ok(()) => {
                let message = Message::new(Place::in_cells(head.id, block), &head);
                self.slots[s.number()].state = State::Batched(message);
                self.syncing.copied = true;
            }
            Err(e) => {
                let refusal = self.refuse("write into the cells", &e);
                // No room on a copying file system leaves the run as it was; after any other
                // error nobody knows what is on it.
                if refusal == Refusal::Full {
                    self.cells.give_back(block, blocks);
                }
                self.tell(s, Err(refusal));
            }
        }
        true
    }

    /// A message's head, with the next sequence number.
    pub(super) fn head_of(&mut self, draft: &Draft, blocks: u32) -> Head {
        let sequence = self.sequence;
        self.sequence += 1;
        Head {
            id: draft.id,
            sequence,
            blocks,
            arrived_unix_s: draft.arrived_unix_s,
            recipients: draft.recipients,
            envelope_octets: draft.envelope_octets,
            envelope_crc: draft.envelope_crc,
            content_octets: draft.content_octets,
            content_crc: draft.content_crc,
        }
    }

    /// Copies a message from its staging file into its run, whole blocks, the one with the head
    /// last: a copy that fails half-way leaves no head behind. What comes out of the staging file
    /// is checked on its way.
    fn copy(&mut self, s: StagingIndex, head: &Head, block: u32) -> io::Result<()> {
        if self.copy_gathered(s, head, block)? {
            return Ok(());
        }
        self.flush_staging(s)?;
        let Some(staging) = &self.slots[s.number()].file else { return Err(io::ErrorKind::NotFound.into()) };
        let reader = &mut self.reader;
        let geometry = reader.superblock.geometry;
        let (size, run) = (geometry.block(), geometry.block_at(block));
        let octets = head.octets();
        let padded = u64::from(head.blocks) * size;
        let first = head.encode(&reader.superblock.key, u64::from(block));
        let step = (reader.scratch.len() as u64 / size) * size;
        let mut sums = (0, 0);
        let mut at = 0;
        while at < padded {
            let n = step.min(padded - at) as usize;
            let filled = n.min((octets - at) as usize);
            let chunk = &mut reader.scratch[..n];
            if reader.disk.read_at(staging, &mut chunk[..filled], size + at)? < filled {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            chunk[filled..].fill(0);
            if at == 0 {
                chunk[..HEAD_OCTETS].copy_from_slice(&first);
            }
            sums = add_to_sums(sums, head, at, &chunk[..filled]);
            let skipped = if at == 0 && padded > step { size as usize } else { 0 };
            reader.disk.write_at(&reader.cells, &chunk[skipped..], run + at + skipped as u64)?;
            at += n as u64;
        }
        if sums != (head.envelope_crc, head.content_crc) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if padded > step {
            let chunk = &mut reader.scratch[..size as usize];
            if reader.disk.read_at(staging, chunk, size)? < chunk.len() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            chunk[..HEAD_OCTETS].copy_from_slice(&first);
            reader.disk.write_at(&reader.cells, chunk, run)?;
        }
        self.usage.written_octets += padded;
        Ok(())
    }

    /// Writes a message that never went to its staging file into its run; false if some of it did.
    fn copy_gathered(&mut self, s: StagingIndex, head: &Head, block: u32) -> io::Result<bool> {
        let Self { gather, reader, usage, .. } = self;
        let geometry = reader.superblock.geometry;
        let Some(body) = gather.all_from(s, geometry.block() + HEAD_OCTETS as u64) else { return Ok(false) };
        let filled = HEAD_OCTETS + body.len();
        let padded = head.blocks as usize * geometry.block() as usize;
        if filled as u64 != head.octets() || padded > reader.scratch.len() {
            return Ok(false);
        }
        let run = &mut reader.scratch[..padded];
        run[..HEAD_OCTETS].copy_from_slice(&head.encode(&reader.superblock.key, u64::from(block)));
        run[HEAD_OCTETS..filled].copy_from_slice(body);
        run[filled..].fill(0);
        reader.disk.write_at(&reader.cells, run, geometry.block_at(block))?;
        usage.written_octets += padded as u64;
        Ok(true)
    }

    /// Asks for the sync of the cells, if there is something to sync, and for those of statuses.
    pub(super) fn ask_syncs(&mut self) {
        if !self.syncing.copied && !self.syncing.wanted {
            return;
        }
        let due = self.syncing.copied || self.syncing.wanted && self.syncing.oldest_ms.is_some();
        if due && !self.syncing.under_way {
            let file = Target::File(&self.reader.cells);
            if self.reader.disk.start_sync(Ticket::Cells, file) {
                self.usage.syncs += 1;
                self.syncing.start();
                self.cells.sync_started();
            }
        }
        self.ask_status_syncs();
        if self.syncing.oldest_ms.is_none() && !self.unsynced.any_due() {
            self.syncing.wanted = false;
        }
    }

    fn settle_cells(&mut self, result: io::Result<()>) {
        let refusal = match result {
            Ok(()) => {
                self.syncing.succeed();
                self.cells.synced();
                None
            }
            Err(e) => {
                self.syncing.fail();
                self.cells.sync_failed();
                self.failed("sync the cells", &e);
                Some(Refusal::from(&e))
            }
        };
        for s in (0..self.settings.staging).map(StagingIndex) {
            if let State::Batched(message) = self.slots[s.number()].state {
                self.tell(s, refusal.map_or(Ok(message), Err));
            }
        }
    }
}

/// Carries the CRCs of envelope and content over the next part of a message, which starts `at`
/// octets from its head.
fn add_to_sums((envelope, content): (u32, u32), head: &Head, at: u64, part: &[u8]) -> (u32, u32) {
    let cut =
        |octets: u64| usize::try_from(octets.saturating_sub(at)).map_or(part.len(), |n| n.min(part.len()));
    let starts = cut(HEAD_OCTETS as u64);
    let turns = cut(HEAD_OCTETS as u64 + u64::from(head.envelope_octets));
    (crc32c::crc32c_append(envelope, &part[starts..turns]), crc32c::crc32c_append(content, &part[turns..]))
}
