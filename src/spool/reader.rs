//! Reads what is in the spool: for the relay, and for commands while no relay or another process
//! holds the lock.
//!
//! Every address is checked by CRC before it is handed out; the content is followed by the caller
//! with a [`ContentSum`](super::ContentSum), so that damage is known before the last dot is sent.

use core::fmt;
use core::ops::ControlFlow;
use std::io;

use super::disk::{Disk, Folder};
use super::envelope::{self, Cursor, LINE_OCTETS, Line};
use super::layout::{
    HEAD_OCTETS, Head, HeadFound, LARGE_KEY, LARGE_PLACE, SUPERBLOCK_OCTETS, SUPERBLOCKS, Superblock,
    SuperblockError,
};
use super::status::{self, Entry, Status};
use super::store::{OpenError, Place};
use crate::limits::{BLOCK_OCTETS, SCRATCH_OCTETS, STATUS_OCTETS};

/// Octets read at once where a head is, in the hope of the whole envelope.
const FIRST_OCTETS: usize = 1024;

/// The name of the cells file.
pub const CELLS: &str = "cells";

/// What is wrong with a message in the spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// There is no such message.
    Missing,
    /// Its head is not what was written.
    Head,
    /// Its envelope is not what was written: no address in it was used.
    Envelope,
    /// Its content is not what was written.
    Content,
    /// The disk does not give it out.
    Unreadable(io::ErrorKind),
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("not in the spool"),
            Self::Head => f.write_str("head is damaged"),
            Self::Envelope => f.write_str("envelope is damaged"),
            Self::Content => f.write_str("content is damaged"),
            Self::Unreadable(kind) => write!(f, "can't be read: {kind}"),
        }
    }
}

impl From<io::Error> for Damage {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Missing,
            kind => Self::Unreadable(kind),
        }
    }
}

/// Reads messages; writes nothing.
#[derive(Debug)]
pub struct Reader<D: Disk> {
    pub(super) disk: D,
    pub(super) cells: D::File,
    pub(super) superblock: Superblock,
    pub(super) scratch: Box<[u8]>,
}

/// Where a message's octets stand.
pub(super) enum Source<'a, F> {
    Cells(&'a F),
    Large(F),
}

impl<F> Source<'_, F> {
    pub(super) fn file(&self) -> &F {
        match self {
            Self::Cells(file) => file,
            Self::Large(file) => file,
        }
    }
}

impl<D: Disk> Reader<D> {
    /// Opens the spool for reading, without its lock. What a running relay changes meanwhile can
    /// be seen half, which shows as damage.
    pub fn open(mut disk: D) -> Result<Self, OpenError> {
        disk.open_folders(false).map_err(|e| OpenError::disk("open the folders", &e))?;
        let cells = disk.open(Folder::Root, CELLS, false).map_err(|e| OpenError::disk("open cells", &e))?;
        Self::of_cells(disk, cells)
    }

    /// A reader over an open cells file.
    pub(super) fn of_cells(mut disk: D, cells: D::File) -> Result<Self, OpenError> {
        let superblock = read_superblock(&mut disk, &cells)?;
        let length = disk.length(&cells).map_err(|e| OpenError::disk("measure cells", &e))?;
        if length != superblock.geometry.file_octets() {
            return Err(OpenError::Length { found: length, expected: superblock.geometry.file_octets() });
        }
        let scratch = vec![0; SCRATCH_OCTETS].into_boxed_slice();
        Ok(Self { disk, cells, superblock, scratch })
    }

    /// A message's head.
    pub fn head(&mut self, place: Place) -> Result<Head, Damage> {
        let mut octets = [0; HEAD_OCTETS];
        let at = self.head_at(place);
        self.read(place, at, &mut octets)?;
        self.decode_head(place, &octets)
    }

    /// What became of a message so far. A missing or broken entry means that all is pending; a
    /// broken one is logged.
    pub fn status(&mut self, place: Place) -> Result<Status, Damage> {
        match self.status_entry(place)? {
            Entry::Valid(status) if status.id == place.id() => Ok(status),
            Entry::Valid(_) | Entry::Blank => Ok(Status::new(place.id())),
            Entry::Broken => {
                log::warn!("{} status entry is damaged, all recipients count as pending", place.id());
                Ok(Status::new(place.id()))
            }
        }
    }

    /// Reads the envelope from `from` on, line by line, until `each` breaks. With each line comes
    /// the cursor behind it. The whole envelope is checked first.
    pub fn read_envelope(
        &mut self,
        place: Place,
        from: Cursor,
        each: &mut dyn FnMut(Line<'_>, Cursor) -> ControlFlow<()>,
    ) -> Result<Head, Damage> {
        // Most envelopes are short: head and envelope come with one read.
        let mut first = [0; FIRST_OCTETS];
        let n = self.read_some(place, self.head_at(place), &mut first)?;
        let octets = first.first_chunk().filter(|_| n >= HEAD_OCTETS).ok_or(Damage::Missing)?;
        let head = self.decode_head(place, octets)?;
        let in_first = first[..n].get(HEAD_OCTETS..HEAD_OCTETS + head.envelope_octets as usize);
        match in_first {
            Some(whole) if crc32c::crc32c(whole) != head.envelope_crc => return Err(Damage::Envelope),
            Some(_) => {}
            None => self.check_envelope(place, &head)?,
        }
        let start = self.head_at(place) + HEAD_OCTETS as u64;
        let mut cursor = from;
        while cursor.octets < head.envelope_octets {
            let left = (head.envelope_octets - cursor.octets) as usize;
            let mut room = [0; LINE_OCTETS];
            let chunk = match in_first {
                Some(whole) => &whole[cursor.octets as usize..],
                None => {
                    let n = left.min(LINE_OCTETS);
                    self.read(place, start + u64::from(cursor.octets), &mut room[..n])?;
                    &room[..n]
                }
            };
            let line = take_line(chunk, &head, &mut cursor)?;
            if each(line, cursor).is_break() {
                break;
            }
        }
        Ok(head)
    }

    fn decode_head(&self, place: Place, octets: &[u8; HEAD_OCTETS]) -> Result<Head, Damage> {
        let (key, bound) = match place.block() {
            Some(block) => (self.superblock.key, u64::from(block)),
            None => (LARGE_KEY, LARGE_PLACE),
        };
        match Head::decode(octets, &key, bound) {
            HeadFound::Valid(head) if head.id == place.id() => Ok(head),
            _ => Err(Damage::Head),
        }
    }

    /// Reads content at `offset`; less than asked for only at its end.
    pub fn read_content(
        &mut self,
        place: Place,
        head: &Head,
        offset: u64,
        octets: &mut [u8],
    ) -> Result<usize, Damage> {
        let left = head.content_octets.saturating_sub(offset);
        let n = usize::try_from(left).map_or(octets.len(), |left| left.min(octets.len()));
        let at = self.head_at(place) + HEAD_OCTETS as u64 + u64::from(head.envelope_octets) + offset;
        let (octets, _) = octets.split_at_mut(n);
        self.read(place, at, octets)?;
        Ok(n)
    }

    /// Reads all of a message's envelope and checks it.
    pub(super) fn check_envelope(&mut self, place: Place, head: &Head) -> Result<(), Damage> {
        let start = self.head_at(place) + HEAD_OCTETS as u64;
        let crc = self.crc(place, start, u64::from(head.envelope_octets))?;
        if crc == head.envelope_crc { Ok(()) } else { Err(Damage::Envelope) }
    }

    /// Reads all of a message's content and checks it.
    pub fn check_content(&mut self, place: Place, head: &Head) -> Result<(), Damage> {
        let start = self.head_at(place) + HEAD_OCTETS as u64 + u64::from(head.envelope_octets);
        let crc = self.crc(place, start, head.content_octets)?;
        if crc == head.content_crc { Ok(()) } else { Err(Damage::Content) }
    }

    fn crc(&mut self, place: Place, mut at: u64, octets: u64) -> Result<u32, Damage> {
        let mut left = octets;
        let mut crc = 0;
        let source = source(&mut self.disk, &self.cells, place)?;
        while left > 0 {
            let n = usize::try_from(left).map_or(SCRATCH_OCTETS, |left| left.min(SCRATCH_OCTETS));
            let chunk = &mut self.scratch[..n];
            if self.disk.read_at(source.file(), chunk, at)? < n {
                return Err(Damage::Missing);
            }
            crc = crc32c::crc32c_append(crc, chunk);
            at += n as u64;
            left -= n as u64;
        }
        Ok(crc)
    }

    /// What stands where the head of a run at `block` would be.
    pub(super) fn head_found(&mut self, block: u32) -> io::Result<HeadFound> {
        let mut octets = [0; HEAD_OCTETS];
        let at = self.superblock.geometry.block_at(block);
        if self.disk.read_at(&self.cells, &mut octets, at)? < HEAD_OCTETS {
            return Ok(HeadFound::Nothing);
        }
        Ok(Head::decode(&octets, &self.superblock.key, u64::from(block)))
    }

    pub(super) fn status_entry(&mut self, place: Place) -> Result<Entry, Damage> {
        let at = self.status_at(place);
        let mut octets = [0; STATUS_OCTETS];
        self.read(place, at, &mut octets)?;
        Ok(status::decode(&octets))
    }

    pub(super) fn status_at(&self, place: Place) -> u64 {
        place.block().map_or(0, |block| self.superblock.geometry.status_at(block))
    }

    pub(super) fn head_at(&self, place: Place) -> u64 {
        match place.block() {
            Some(block) => self.superblock.geometry.block_at(block),
            None => self.superblock.geometry.block(),
        }
    }

    fn read(&mut self, place: Place, at: u64, octets: &mut [u8]) -> Result<(), Damage> {
        if self.read_some(place, at, octets)? < octets.len() { Err(Damage::Missing) } else { Ok(()) }
    }

    /// Less than asked for only at the end of the file.
    fn read_some(&mut self, place: Place, at: u64, octets: &mut [u8]) -> Result<usize, Damage> {
        let source = source(&mut self.disk, &self.cells, place)?;
        Ok(self.disk.read_at(source.file(), octets, at)?)
    }
}

/// Reads the envelope line at the front of `chunk` and carries the cursor behind it.
fn take_line<'a>(chunk: &'a [u8], head: &Head, cursor: &mut Cursor) -> Result<Line<'a>, Damage> {
    let end = chunk.iter().position(|&b| b == b'\n').ok_or(Damage::Envelope)?;
    let text = core::str::from_utf8(&chunk[..end]).map_err(|_| Damage::Envelope)?;
    let line = envelope::read(text, cursor.recipients).ok_or(Damage::Envelope)?;
    cursor.octets += end as u32 + 1;
    cursor.recipients += u16::from(matches!(line, Line::To { .. }));
    if cursor.recipients > head.recipients { Err(Damage::Envelope) } else { Ok(line) }
}

/// The file a message stands in. A large one is opened each time: that costs less than to
/// remember which are open.
pub(super) fn source<'a, D: Disk>(
    disk: &mut D,
    cells: &'a D::File,
    place: Place,
) -> io::Result<Source<'a, D::File>> {
    match (place.block(), place.staging()) {
        (Some(_), _) => Ok(Source::Cells(cells)),
        (None, Some(s)) => Ok(Source::Large(disk.open(Folder::Incoming, &s.name(), false)?)),
        (None, None) => Ok(Source::Large(disk.open(Folder::Large, &place.id().text(), false)?)),
    }
}

/// The first superblock that is whole. They lie a block apart, and how large a block is stands in
/// them: all sizes are tried.
fn read_superblock<D: Disk>(disk: &mut D, cells: &D::File) -> Result<Superblock, OpenError> {
    let mut why = SuperblockError::Broken;
    let mut step = BLOCK_OCTETS;
    let mut at = 0;
    while step <= SCRATCH_OCTETS && SUPERBLOCKS == 2 {
        let mut octets = [0; SUPERBLOCK_OCTETS];
        let n = disk.read_at(cells, &mut octets, at as u64).map_err(|e| OpenError::disk("read cells", &e))?;
        match Superblock::decode(&octets) {
            Ok(found) if n == SUPERBLOCK_OCTETS && (at == 0 || found.geometry.block() == at as u64) => {
                if at > 0 {
                    log::warn!("- spool: the first superblock of cells is damaged, its copy is used");
                }
                return Ok(found);
            }
            Err(SuperblockError::Version(v)) => why = SuperblockError::Version(v),
            _ => {}
        }
        (at, step) = (step, step * 2);
    }
    Err(OpenError::Superblock(why))
}
