//! Opening the spool, and the scan that finds what is in it.
//!
//! The scan only reads. A head with the right tag, a pending recipient and the right CRCs is a
//! message. One whose CRCs are wrong is damage, unless a newer run took its blocks; it is copied
//! to `corrupt` and its blocks are free. Staging files hold nothing that was answered for and are
//! made anew.

use std::io;

use heapless::String;

use super::cells::Cells;
use super::disk::{Disk, Folder, Kind, Name, Target};
use super::gather::Gather;
use super::id::{Id, Ids};
use super::layout::{Geometry, Head, HeadFound, SUPERBLOCKS, Superblock};
use super::outcome::{Syncing, Unsynced};
use super::reader::{CELLS, Damage, Reader};
use super::rest::Rest;
use super::staging::{Slot, StagingIndex, State};
use super::status::{Entry, Status};
use super::store::{Message, OpenError, Place, Settings, Store, Usage};
use crate::limits::{BLOCK_OCTETS, SCRATCH_OCTETS};

/// Octets of the cells file if the configuration names none and there is room enough.
pub const CELLS_OCTETS: u64 = 8 * 1024 * 1024;

/// A message that is not done.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// The message.
    pub message: Message,
    /// What became of it so far.
    pub status: &'a Status,
}

/// What is told of a message that was found; false: the caller's table is full.
pub(super) type Tell<'a> = &'a mut dyn FnMut(Found<'_>) -> bool;

impl<D: Disk> Store<D> {
    /// Opens the spool: takes the lock, makes what is missing, reads what is there. `found` is
    /// told every message that is not done; when it says false its table is full, and
    /// [`Store::find_more`] goes on later. Messages not told keep their place.
    pub fn open(disk: D, settings: &Settings, found: Tell<'_>) -> Result<Self, OpenError> {
        let mut store = Self::prepare(disk, settings)?;
        store.scan_cells(0, &mut *found);
        store.scan_large(found);
        store.rest.close(store.sequence);
        // After a killed process the scan saw what no sync has covered; now one does.
        if let Err(e) = store.reader.disk.sync(Target::File(&store.reader.cells)) {
            store.failed("sync the cells", &e);
        }
        Ok(store)
    }

    /// Opens the spool to put messages into `large` while no relay runs. Nothing is scanned.
    pub fn open_offline(disk: D, settings: &Settings) -> Result<Self, OpenError> {
        let settings = Settings { max_octets: u64::MAX, max_messages: u32::MAX, ..*settings };
        let mut store = Self::prepare(disk, &settings)?;
        store.cells.occupy(0, store.reader.superblock.geometry.blocks);
        // Of two messages the newer is told by this number; those in `large` are never compared.
        store.sequence = 0;
        Ok(store)
    }

    fn prepare(mut disk: D, settings: &Settings) -> Result<Self, OpenError> {
        match disk.lock() {
            Ok(true) => {}
            Ok(false) => return Err(OpenError::Busy),
            Err(e) => return Err(OpenError::disk("take the lock", &e)),
        }
        disk.open_folders(true).map_err(|e| OpenError::disk("make the folders", &e))?;
        clear_incoming(&mut disk).map_err(|e| OpenError::disk("clear the folder incoming", &e))?;
        let cells = match disk.open(Folder::Root, CELLS, true) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => make_cells(&mut disk, settings)?,
            Err(e) => return Err(OpenError::disk("open cells", &e)),
        };
        let mut ids = Ids::new();
        ids.draw(|octets| disk.random(octets)).map_err(|e| OpenError::disk("draw an id", &e))?;
        let mut slots = Vec::with_capacity(usize::from(settings.staging));
        for s in (0..settings.staging).map(StagingIndex) {
            let file = disk.create(Folder::Incoming, &s.name());
            let file = Some(file.map_err(|e| OpenError::disk("make a staging file", &e))?);
            slots.push(Slot { file, touched: false, hole: None, state: State::Idle });
        }
        let reader = Reader::of_cells(disk, cells)?;
        let blocks = reader.superblock.geometry.blocks;
        Ok(Self {
            reader,
            settings: *settings,
            cells: Cells::new(blocks),
            slots: slots.into_boxed_slice(),
            gather: Gather::new(settings.staging),
            ids,
            sequence: 1,
            syncing: Syncing::default(),
            unsynced: Unsynced::new(settings.max_messages.min(1 << 20)),
            rest: Rest::default(),
            large_octets: 0,
            reserved: 0,
            receiving: 0,
            waiting: 0,
            told: 0,
            usage: Usage::default(),
        })
    }

    /// Scans the cells from `block` on. A whole message is stepped over, so nothing within it is
    /// ever taken for a head.
    fn scan_cells(&mut self, mut block: u32, found: Tell<'_>) {
        let blocks = self.reader.superblock.geometry.blocks;
        // The end and the number of the newest run seen that is not whole.
        let mut torn = (0, 0);
        while block < blocks {
            let step = match self.reader.head_found(block) {
                Ok(HeadFound::Valid(head)) => self.weigh(block, &head, &mut torn, &mut *found),
                Ok(HeadFound::Broken(head)) => {
                    self.weigh_broken(block, &head);
                    1
                }
                Ok(HeadFound::Nothing) => 1,
                Err(e) => {
                    // A run may start here, and how long it is nobody knows now.
                    self.failed("read the cells", &e);
                    self.cells.occupy(block, self.cells.run_max());
                    1
                }
            };
            block = block.saturating_add(step);
        }
    }

    /// Judges a run by its head; returns the blocks to step over.
    fn weigh(&mut self, block: u32, head: &Head, torn: &mut (u32, u64), found: Tell<'_>) -> u32 {
        let geometry = self.reader.superblock.geometry;
        let place = Place::in_cells(head.id, block);
        self.ids.avoid(head.id);
        self.sequence = self.sequence.max(head.sequence.saturating_add(1));
        let fits = u64::from(head.blocks) == head.octets().div_ceil(geometry.block())
            && head.blocks <= geometry.blocks - block;
        if !fits {
            return 1;
        }
        let status = self.status_or_pending(place);
        if status.is_done(head.recipients) {
            return 1;
        }
        let whole =
            self.reader.check_envelope(place, head).and_then(|()| self.reader.check_content(place, head));
        match whole {
            Ok(()) => self.keep(place, head, &status, found),
            Err(Damage::Unreadable(kind)) => {
                self.failed("read a message", &kind.into());
                self.cells.occupy(block, head.blocks);
            }
            Err(why) => {
                let stale = block < torn.0 && head.sequence < torn.1 || self.newer_within(block, head);
                if head.sequence > torn.1 {
                    *torn = (block + head.blocks, head.sequence);
                }
                if !stale {
                    self.put_aside(&head.id.text(), block, head.blocks, why);
                }
                return 1;
            }
        }
        head.blocks
    }

    /// Judges a head that is damaged: if its message was not done, it is kept aside.
    fn weigh_broken(&mut self, block: u32, head: &Head) {
        let place = Place::in_cells(head.id, block);
        if let Ok(Entry::Valid(status)) = self.reader.status_entry(place)
            && status.id == head.id
            && status.is_done(head.recipients)
        {
            return;
        }
        let blocks = head.blocks.clamp(1, self.cells.run_max());
        let blocks = blocks.min(self.reader.superblock.geometry.blocks - block);
        // What its id was nobody knows for sure, so the copy is named by what is there.
        let mut name = String::<32>::new();
        let sum = crc32c::crc32c(&head.encode(&self.reader.superblock.key, u64::from(block)));
        let formed = core::fmt::write(&mut name, format_args!("block-{block}-{sum:08x}"));
        assert!(formed.is_ok(), "16 digits at most");
        self.put_aside(&name, block, blocks, Damage::Head);
    }

    /// True if a newer run has taken blocks of this one.
    fn newer_within(&mut self, block: u32, head: &Head) -> bool {
        (block + 1..block + head.blocks).any(|b| {
            matches!(self.reader.head_found(b), Ok(HeadFound::Valid(other)) if other.sequence > head.sequence)
        })
    }

    fn put_aside(&mut self, name: &str, block: u32, blocks: u32, why: Damage) {
        match self.copy_aside(name, block, blocks) {
            Ok(true) => log::error!("- spool: a message's {why}, set aside in corrupt/{name}"),
            Ok(false) => {}
            Err(e) => {
                self.failed("set a damaged message aside", &e);
                self.cells.occupy(block, blocks);
            }
        }
    }

    pub(super) fn status_or_pending(&mut self, place: Place) -> Status {
        self.reader.status(place).unwrap_or_else(|_| Status::new(place.id()))
    }

    /// Counts a message in and tells the caller.
    fn keep(&mut self, place: Place, head: &Head, status: &Status, found: Tell<'_>) {
        self.usage.messages += 1;
        if let Some(block) = place.block() {
            self.cells.occupy(block, head.blocks);
        } else {
            self.large_octets += self.block() + head.octets();
        }
        self.tell_found(place, head, status, found);
    }

    /// Tells the caller, or remembers to do so later.
    fn tell_found(&mut self, place: Place, head: &Head, status: &Status, found: Tell<'_>) {
        if self.rest.has_untold(place) || !found(Found { message: Message::new(place, head), status }) {
            self.rest.put_off(place);
        }
    }

    /// Looks through `large`.
    fn scan_large(&mut self, found: Tell<'_>) {
        let mut listing = match self.reader.disk.list(Folder::Large) {
            Ok(listing) => listing,
            Err(e) => return self.failed("list the folder large", &e),
        };
        loop {
            match self.reader.disk.next_name(&mut listing) {
                Ok(Some((name, _))) if is_left_alone(&name) => {}
                Ok(Some((name, Kind::File))) => self.weigh_file(&name, &mut *found),
                Ok(Some((name, _))) => self.move_aside(&name, "is no file"),
                Ok(None) => return,
                Err(e) => return self.failed("list the folder large", &e),
            }
        }
    }

    fn weigh_file(&mut self, name: &Name, found: Tell<'_>) {
        let Ok(id) = name.parse::<Id>() else { return self.move_aside(name, "is no message of ours") };
        let place = Place::in_large(id);
        match self.check_large(place) {
            Ok(head) => {
                let status = self.status_or_pending(place);
                if status.is_done(head.recipients) {
                    return self.unlink_large(id);
                }
                self.ids.avoid(id);
                self.sequence = self.sequence.max(head.sequence.saturating_add(1));
                self.keep(place, &head, &status, found);
            }
            Err(Damage::Missing) => {}
            Err(Damage::Unreadable(kind)) => self.failed("read a large message", &kind.into()),
            Err(why @ (Damage::Head | Damage::Envelope | Damage::Content)) => {
                let mut text = heapless::String::<64>::new();
                let formed = core::fmt::write(&mut text, format_args!("{why}"));
                self.move_aside(name, if formed.is_ok() { &text } else { "is damaged" });
            }
        }
    }

    /// Head, length and envelope. The content was durable before the file got its name; it is
    /// checked when it is sent.
    pub(super) fn check_large(&mut self, place: Place) -> Result<Head, Damage> {
        let file = self.reader.disk.open(Folder::Large, &place.id().text(), false)?;
        let length = self.reader.disk.length(&file)?;
        if length < self.block() + super::layout::HEAD_OCTETS as u64 {
            return Err(Damage::Head);
        }
        let head = self.reader.head(place)?;
        if length < self.block() + head.octets() {
            return Err(Damage::Content);
        }
        self.reader.check_envelope(place, &head)?;
        Ok(head)
    }
}

/// Names that are not ours and do no harm.
pub(super) fn is_left_alone(name: &str) -> bool {
    name.starts_with('.') || name == "lost+found"
}

fn clear_incoming<D: Disk>(disk: &mut D) -> io::Result<()> {
    let mut listing = disk.list(Folder::Incoming)?;
    while let Some((name, kind)) = disk.next_name(&mut listing)? {
        if kind == Kind::File && !is_left_alone(&name) {
            disk.unlink(Folder::Incoming, &name)?;
        }
    }
    Ok(())
}

/// Octets of the file of cells if nothing else is asked for, with this much room on the disk.
pub fn default_cells_octets(free: u64) -> u64 {
    CELLS_OCTETS.min(free / 16)
}

/// Makes the cells file, once: every octet written, so that later writes overwrite and change no
/// metadata; synced; only then given its name.
fn make_cells<D: Disk>(disk: &mut D, settings: &Settings) -> Result<D::File, OpenError> {
    let octets = match settings.cells_octets {
        0 => {
            let free = disk.free_octets().map_err(|e| OpenError::disk("measure free space", &e))?;
            default_cells_octets(free)
        }
        octets => octets,
    };
    let block = disk.block_octets().map_err(|e| OpenError::disk("measure a block", &e))?;
    let block = block.clamp(BLOCK_OCTETS as u32, SCRATCH_OCTETS as u32).next_power_of_two();
    let geometry = Geometry::of_size(octets, block).ok_or(OpenError::TooSmall)?;
    let mut key = [0; 16];
    disk.random(&mut key).map_err(|e| OpenError::disk("draw a key", &e))?;
    let superblock = Superblock { geometry, key };
    fill_cells(disk, &superblock).map_err(|e| OpenError::disk("make cells", &e))
}

fn fill_cells<D: Disk>(disk: &mut D, superblock: &Superblock) -> io::Result<D::File> {
    let file = disk.create(Folder::Incoming, CELLS)?;
    let filled = write_cells(disk, &file, superblock);
    let named = filled.and_then(|()| disk.link((Folder::Incoming, CELLS), (Folder::Root, CELLS)));
    let synced = named.and_then(|()| disk.sync(Target::Folder(Folder::Root)));
    let unlinked = disk.unlink(Folder::Incoming, CELLS);
    synced.and(unlinked).map(|()| file)
}

fn write_cells<D: Disk>(disk: &mut D, file: &D::File, superblock: &Superblock) -> io::Result<()> {
    let geometry = superblock.geometry;
    let zeros = vec![0; SCRATCH_OCTETS];
    let mut at = 0;
    while at < geometry.file_octets() {
        let n = (geometry.file_octets() - at).min(SCRATCH_OCTETS as u64);
        disk.write_at(file, &zeros[..n as usize], at)?;
        at += n;
    }
    let octets = superblock.encode();
    for copy in 0..SUPERBLOCKS {
        disk.write_at(file, &octets, copy * geometry.block())?;
    }
    disk.sync(Target::File(file))
}
