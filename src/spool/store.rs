//! The spool's face: what the relay calls.
//!
//! The order that everything rests on: a message is told committed only after its own sync; a
//! status entry is written only after its run was synced; a run is free only after its "done" was
//! synced. Nothing else depends on order.

use core::fmt;
use std::io;

use heapless::String;

use super::cells::Cells;
use super::disk::{Disk, Ticket};
use super::envelope::{self, Cursor, Line, Origin, Unwritable};
use super::id::{Id, Ids};
use super::large::Unsynced;
use super::layout::{HEAD_OCTETS, Head, SuperblockError};
use super::reader::{Damage, Reader};
use super::staging::{Draft, Refusal, Slot, StagingIndex, State};
use super::status::{RecipientState, Status};
use crate::limits::{LARGE_OCTETS, RECIPIENTS, SCRATCH_OCTETS};

/// Octets of an error kept for `status`.
pub const ERROR_OCTETS: usize = 120;

/// How large the spool may grow.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Octets of all messages together, those coming in too.
    pub max_octets: u64,
    /// Messages, those coming in too.
    pub max_messages: u32,
    /// Octets of the cells file when it is made; 0: 8 MiB or a sixteenth of the free space.
    pub cells_octets: u64,
    /// Staging files: one a slot, and some spares.
    pub staging: u16,
    /// Octets of content of one message.
    pub message_octets: u64,
}

/// Where a message lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    id: Id,
    block: u32,
}

impl Place {
    const LARGE: u32 = u32::MAX;

    pub(super) const fn in_cells(id: Id, block: u32) -> Self {
        Self { id, block }
    }

    pub(super) const fn in_large(id: Id) -> Self {
        Self { id, block: Self::LARGE }
    }

    /// The message's id.
    pub const fn id(self) -> Id {
        self.id
    }

    /// The first block of its run; none if it has a file of its own.
    pub(super) const fn block(self) -> Option<u32> {
        if self.block == Self::LARGE { None } else { Some(self.block) }
    }
}

/// What the queue needs to know of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its id.
    pub id: Id,
    /// Where it lies.
    pub place: Place,
    /// Octets of content.
    pub content_octets: u64,
    /// Wall clock at arrival.
    pub arrived_unix_s: u64,
    /// Recipients in its envelope.
    pub recipients: u16,
}

impl Message {
    pub(super) fn new(place: Place, head: &Head) -> Self {
        Self {
            id: head.id,
            place,
            content_octets: head.content_octets,
            arrived_unix_s: head.arrived_unix_s,
            recipients: head.recipients,
        }
    }
}

/// The answer to [`Store::commit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Which staging file; it is free again.
    pub staging: StagingIndex,
    /// The message, durable from now on, or why not.
    pub result: Result<Message, Refusal>,
}

/// Something written that is to be synced; see [`Store::progress`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// In the cells, before the end of that round of syncs.
    Cells(u64),
    /// In a large message's own file.
    Large(Id),
}

/// How far the sync of something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Not synced yet.
    Waiting,
    /// Durable.
    Synced,
    /// The sync failed: durable or not, nobody knows.
    Failed,
}

/// What the spool holds and did.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    /// Octets in use, whole blocks counted, room kept for messages coming in included.
    pub octets: u64,
    /// The most there may be.
    pub max_octets: u64,
    /// Messages, those coming in not counted.
    pub messages: u32,
    /// Syncs asked for since the start.
    pub syncs: u64,
    /// Octets written since the start, staging included.
    pub written_octets: u64,
    /// The last time the disk failed, in words; empty if it never did.
    pub failure: String<ERROR_OCTETS>,
}

/// Why the spool can't be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// Another process has the lock: exit 75.
    Busy,
    /// The cells file is damaged, no file of ours, or of a version not known. It is not touched.
    Superblock(SuperblockError),
    /// The cells file is not as long as it says. It is not touched.
    Length {
        /// Octets it has.
        found: u64,
        /// Octets it should have.
        expected: u64,
    },
    /// The size for the cells file is too small for a message.
    TooSmall,
    /// The disk refused.
    Disk {
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        kind: io::ErrorKind,
        /// Its number for it; 0 if there is none.
        number: i32,
    },
}

impl OpenError {
    pub(super) fn disk(doing: &'static str, error: &io::Error) -> Self {
        Self::Disk { doing, kind: error.kind(), number: error.raw_os_error().unwrap_or(0) }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => f.write_str("the spool is in use by another process"),
            Self::Superblock(SuperblockError::Broken) => {
                f.write_str("the spool's file cells is damaged or not ours; it was not changed")
            }
            Self::Superblock(SuperblockError::Version(v)) => {
                write!(f, "the spool's file cells has format version {v}, which this program does not know")
            }
            Self::Length { found, expected } => {
                write!(
                    f,
                    "the spool's file cells has {found} octets instead of {expected}; it was not changed"
                )
            }
            Self::TooSmall => f.write_str("cells_size is too small for a message"),
            Self::Disk { doing, kind, number } => write!(f, "can't {doing}: {kind} (error {number})"),
        }
    }
}

impl std::error::Error for OpenError {}

/// How the cells stand with the medium.
#[derive(Debug, Default)]
pub(super) struct Syncing {
    /// A sync of the cells is under way.
    pub under_way: bool,
    /// The round that what is written now belongs to; it ends when a sync starts.
    pub round: u64,
    /// All rounds below this one are durable or failed.
    pub settled: u64,
    /// Rounds from .0 up to and including .1 failed last.
    pub failed: Option<(u64, u64)>,
    /// When the oldest status was written that no sync has covered, in milliseconds.
    pub oldest_ms: Option<u64>,
    /// Statuses shall be synced without waiting for a message.
    pub wanted: bool,
}

/// The spool, with its lock.
#[derive(Debug)]
pub struct Store<D: Disk> {
    pub(super) reader: Reader<D>,
    pub(super) settings: Settings,
    pub(super) cells: Cells,
    pub(super) slots: Box<[Slot<D::File>]>,
    pub(super) ids: Ids,
    pub(super) sequence: u64,
    pub(super) syncing: Syncing,
    pub(super) unsynced: Unsynced,
    /// Octets of large files.
    pub(super) large_octets: u64,
    /// Octets kept free for what comes in.
    pub(super) reserved: u64,
    pub(super) receiving: u32,
    pub(super) told: u32,
    pub(super) waiting: u32,
    pub(super) usage: Usage,
    /// Where the scan goes on when the caller's table was full.
    pub(super) rest: super::recover::Rest,
}

impl<D: Disk> Store<D> {
    /// Begins a message: its id, and room for as much as SIZE says.
    pub fn begin(&mut self, s: StagingIndex, origin: &Origin<'_>, now_unix_s: u64) -> Result<Id, Refusal> {
        todo!()
    }

    /// Adds a recipient. After an error the message is still open and can go on without it.
    pub fn recipient(
        &mut self,
        s: StagingIndex,
        path: &str,
        notify: crate::smtp::command::Notify,
        orcpt: &str,
    ) -> Result<(), Refusal> {
        todo!()
    }

    /// Adds content. After an error the message can only be aborted.
    pub fn write(&mut self, s: StagingIndex, octets: &[u8]) -> Result<(), Refusal> {
        todo!()
    }
    /// Drops the message. One that is in a batch already is committed all the same, and told.
    pub fn abort(&mut self, s: StagingIndex) {
        todo!()
    }
    /// The message is complete: it joins the next batch, and [`Store::poll`] tells what became of it.
    pub fn commit(&mut self, s: StagingIndex, now_unix_s: u64) {
        todo!()
    }
    /// Starts a batch if none is under way: everything that waits, with one sync. Also syncs statuses, if
    /// [`Store::sync_status`] asked. To be called every turn; returns the messages in it.
    pub fn start_batch(&mut self) -> usize {
        todo!()
    }
    /// Messages that wait for a batch.
    pub fn batch_waiting(&self) -> usize {
        todo!()
    }
    /// True while a batch is being synced.
    pub fn busy_syncing(&self) -> bool {
        todo!()
    }
    /// The next message of which is known what became of it.
    pub fn poll(&mut self) -> Option<Committed> {
        todo!()
    }
    /// Writes a message's status; durable with the next sync, see [`Store::progress`].
    pub fn record(&mut self, place: Place, status: &Status, now_ms: u64) -> io::Result<Mark> {
        todo!()
    }
    /// Writes the status of a message that is done; once that is synced its room is free.
    pub fn finish(&mut self, place: Place, status: &Status, now_ms: u64) -> io::Result<Mark> {
        todo!()
    }
    /// How far the sync of what was written is.
    pub fn progress(&self, mark: Mark) -> Progress {
        todo!()
    }
    /// When [`Store::sync_status`] is to be called at the latest, by the clock of `now_ms`.
    pub fn status_deadline_ms(&self) -> Option<u64> {
        todo!()
    }
    /// Syncs statuses without waiting for a message.
    pub fn sync_status(&mut self) {
        todo!()
    }
    /// Takes a damaged message out of the queue: copied to `corrupt`, then done. Waits for the disk.
    pub fn set_aside(&mut self, place: Place, why: Damage) -> io::Result<()> {
        todo!()
    }
    /// A message's head.
    pub fn head(&mut self, place: Place) -> Result<Head, Damage> {
        self.reader.head(place)
    }
    /// Goes on with what [`Store::open`] found and the table had no room for. False if nothing is left.
    pub fn find_more(&mut self, found: &mut dyn FnMut(super::Found<'_>) -> bool) -> bool {
        todo!()
    }
    /// The reading side: head, status, envelope, content.
    pub fn reader(&mut self) -> &mut Reader<D> {
        &mut self.reader
    }
    /// Opens the spool, making what is missing. `found` is told every message that is not done; false: its table is full.
    pub fn open(
        disk: D,
        settings: &Settings,
        found: &mut dyn FnMut(super::Found<'_>) -> bool,
    ) -> Result<Self, OpenError> {
        todo!()
    }
    /// Opens the spool to submit into `large` alone, without a scan, while no relay runs.
    pub fn open_offline(disk: D, settings: &Settings) -> Result<Self, OpenError> {
        todo!()
    }
    /// What the spool holds and did.
    pub fn usage(&self) -> Usage {
        todo!()
    }
}
