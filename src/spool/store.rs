//! The spool's face: what the relay calls.
//!
//! The order that everything rests on: a message is told committed only after its own sync; a
//! status entry is written only after its run was synced; a run is free only after its "done" was
//! synced. Nothing else depends on order.

use core::fmt::{self, Write};
use core::ops::ControlFlow;
use std::io;

use heapless::String;

use super::cells::Cells;
use super::disk::Disk;
use super::envelope::{Cursor, Line};
use super::gather::Gather;
use super::id::{Id, Ids};
use super::layout::{Head, SuperblockError};
use super::outcome::{Syncing, Unsynced};
use super::reader::{Damage, Reader};
use super::recover::CELLS_OCTETS;
use super::rest::Rest;
use super::staging::{Refusal, Slot, StagingIndex};
use super::status::Status;
use crate::limits::{BLOCK_OCTETS, SCRATCH_OCTETS};

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
    /// The first of as many numbers as there can be staging files; no file has so many blocks.
    const STAGED: u32 = Self::LARGE - 1 - u16::MAX as u32;

    pub(super) const fn in_cells(id: Id, block: u32) -> Self {
        Self { id, block }
    }

    pub(super) const fn in_large(id: Id) -> Self {
        Self { id, block: Self::LARGE }
    }

    pub(super) const fn in_staging(id: Id, s: StagingIndex) -> Self {
        Self { id, block: Self::STAGED + s.0 as u32 }
    }

    /// The message's id.
    pub const fn id(self) -> Id {
        self.id
    }

    /// The first block of its run; none if it has a file of its own.
    pub(super) const fn block(self) -> Option<u32> {
        if self.block >= Self::STAGED { None } else { Some(self.block) }
    }

    /// The staging file that is all there is of it yet.
    pub(super) const fn staging(self) -> Option<StagingIndex> {
        match self.block {
            Self::LARGE => None,
            block if block >= Self::STAGED => Some(StagingIndex((block - Self::STAGED) as u16)),
            _ => None,
        }
    }
}

/// What the queue needs to know of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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

/// The spool, with its lock.
#[derive(Debug)]
pub struct Store<D: Disk> {
    pub(super) reader: Reader<D>,
    pub(super) settings: Settings,
    pub(super) cells: Cells,
    pub(super) slots: Box<[Slot<D::File>]>,
    pub(super) gather: Gather,
    pub(super) ids: Ids,
    /// The next message's sequence number.
    pub(super) sequence: u64,
    pub(super) syncing: Syncing,
    pub(super) unsynced: Unsynced,
    pub(super) rest: Rest<D::Listing>,
    /// Octets of large files.
    pub(super) large_octets: u64,
    /// Octets kept free for what comes in.
    pub(super) reserved: u64,
    /// Messages coming in, those in a batch included.
    pub(super) receiving: u32,
    /// Slots in [`State::Ready`](super::staging::State::Ready).
    pub(super) waiting: u32,
    /// Slots in [`State::Told`](super::staging::State::Told).
    pub(super) told: u32,
    pub(super) usage: Usage,
}

impl<D: Disk> Store<D> {
    /// Octets of heap that an open store takes, whatever it holds. A cells file that was made larger
    /// than these settings say adds three bits a block.
    pub fn heap_octets(settings: &Settings) -> usize {
        let cells_octets = if settings.cells_octets == 0 { CELLS_OCTETS } else { settings.cells_octets };
        let blocks = u32::try_from(cells_octets / BLOCK_OCTETS as u64).unwrap_or(u32::MAX);
        SCRATCH_OCTETS
            + Cells::heap_octets(blocks)
            + Gather::heap_octets(settings.staging)
            + Unsynced::heap_octets(settings.max_messages)
            + usize::from(settings.staging) * size_of::<Slot<D::File>>()
    }

    /// The reading side: head, status, envelope, content.
    pub fn reader(&mut self) -> &mut Reader<D> {
        &mut self.reader
    }

    /// From now on the cells can be read and not be written.
    #[cfg(test)]
    pub fn refuse_writes(&mut self) {
        self.reader.cells = self.reader.disk.open(super::Folder::Root, super::reader::CELLS, false).unwrap();
    }

    /// A message's head.
    pub fn head(&mut self, place: Place) -> Result<Head, Damage> {
        self.reader.head(place)
    }

    /// What became of a message so far.
    pub fn status(&mut self, place: Place) -> Result<Status, Damage> {
        self.reader.status(place)
    }

    /// Reads the envelope; see [`Reader::read_envelope`].
    pub fn read_envelope(
        &mut self,
        place: Place,
        from: Cursor,
        each: &mut dyn FnMut(Line<'_>, Cursor) -> ControlFlow<()>,
    ) -> Result<Head, Damage> {
        self.reader.read_envelope(place, from, each)
    }

    /// Reads content; see [`Reader::read_content`].
    pub fn read_content(
        &mut self,
        place: Place,
        head: &Head,
        offset: u64,
        octets: &mut [u8],
    ) -> Result<usize, Damage> {
        self.reader.read_content(place, head, offset, octets)
    }

    /// What the spool holds and did.
    pub fn usage(&self) -> Usage {
        Usage { octets: self.octets(), max_octets: self.settings.max_octets, ..self.usage.clone() }
    }

    /// From now on the content of a message may have so many octets.
    pub fn set_message_octets(&mut self, octets: u64) {
        self.settings.message_octets = octets;
    }

    /// Messages coming in, those in a batch included.
    pub fn coming_in(&self) -> usize {
        self.receiving as usize
    }

    /// Octets in use and kept free for what comes in.
    pub(super) fn octets(&self) -> u64 {
        let cells = u64::from(self.cells.taken()) * self.block();
        cells.saturating_add(self.large_octets).saturating_add(self.reserved)
    }

    pub(super) fn block(&self) -> u64 {
        self.reader.superblock.geometry.block()
    }

    /// Notes that the disk failed, for the log and for `status`.
    pub(super) fn failed(&mut self, doing: &str, error: &io::Error) {
        log::error!("- spool: the disk is failing: can't {doing}: {error}");
        self.usage.failure.clear();
        // Too long a text is cut off at the last part that fits.
        let _ = write!(self.usage.failure, "can't {doing}: {}", error.kind());
    }
}
