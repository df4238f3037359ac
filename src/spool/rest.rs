//! What the scan at start found and the caller's table had no room for: told later, a bounded part a
//! call.
//!
//! The cells come first, in the order of their blocks, then the large ones, in that of their folder. A
//! message in the cells is told once: the search goes on behind it. Of the large ones some may have
//! been told at start, and the caller knows which.

use std::io;

use super::disk::{Disk, Folder, Kind, Name};
use super::id::Id;
use super::layout::HeadFound;
use super::recover::{Found, Tell, is_left_alone};
use super::store::{Message, Place, Store};

/// Blocks that one call looks at.
const BLOCKS: u32 = 16 * 1024;
/// Heads that one call reads in the cells.
const HEADS: usize = 64;
/// Names in `large` that one call looks at: whoever knows them may have to look through a whole table.
const NAMES: usize = 16;

/// What is still to be told.
#[derive(Debug)]
pub struct Rest<L> {
    /// Messages from this block on.
    block: Option<u32>,
    large: Large<L>,
    /// Messages with this sequence number or a higher one came after the scan.
    newer: u64,
}

/// How far the large ones are.
#[derive(Debug)]
enum Large<L> {
    /// All are told.
    Told,
    /// Some are not.
    Untold,
    /// Those that this listing will still name are not.
    Listed(L),
}

impl<L> Default for Rest<L> {
    fn default() -> Self {
        Self { block: None, large: Large::Told, newer: 0 }
    }
}

impl<L> Rest<L> {
    /// True if messages of this kind were put off.
    pub fn has_untold(&self, place: Place) -> bool {
        match place.block() {
            Some(_) => self.block.is_some(),
            None => matches!(self.large, Large::Untold),
        }
    }

    /// This message is to be told later.
    pub fn put_off(&mut self, place: Place) {
        match place.block() {
            Some(block) => self.block = self.block.or(Some(block)),
            None => self.large = Large::Untold,
        }
    }

    /// The scan is over: what gets this sequence number or a higher one came later.
    pub fn close(&mut self, sequence: u64) {
        self.newer = sequence;
    }
}

impl<D: Disk> Store<D> {
    /// True if [`Store::find_more`] has something to tell.
    pub fn has_more(&self) -> bool {
        self.rest.block.is_some() || !matches!(self.rest.large, Large::Told)
    }

    /// Goes on telling what [`Store::open`] found and the table had no room for: a few messages, and `room`
    /// at most. A large one that is in the table already can be told again. `Err`: the folder can't
    /// be read now.
    pub fn find_more(&mut self, room: usize, found: &mut dyn FnMut(Found<'_>)) -> io::Result<()> {
        let mut left = room;
        let tell: Tell<'_> = &mut |message| {
            left -= 1;
            found(message);
            left > 0
        };
        if room == 0 {
            return Ok(());
        }
        match self.rest.block {
            Some(block) => self.rest.block = self.find_in_cells(block, tell),
            None => self.rest.large = self.find_large(tell)?,
        }
        Ok(())
    }

    /// Tells of messages from `block` on; where to go on.
    fn find_in_cells(&mut self, mut block: u32, tell: Tell<'_>) -> Option<u32> {
        let blocks = self.reader.superblock.geometry.blocks;
        let end = blocks.min(block.saturating_add(BLOCKS));
        let (mut heads, mut goes_on) = (HEADS, true);
        while goes_on && block < end && heads > 0 {
            let mut step = 1;
            if self.cells.is_taken(block) {
                heads -= 1;
                if let Ok(HeadFound::Valid(head)) = self.reader.head_found(block) {
                    let place = Place::in_cells(head.id, block);
                    let status = self.status_or_pending(place);
                    let is_older = head.sequence < self.rest.newer && !status.is_done(head.recipients);
                    if is_older && self.reader.check_envelope(place, &head).is_ok() {
                        goes_on = tell(Found { message: Message::new(place, &head), status: &status });
                    }
                    step = head.blocks.max(1);
                }
            }
            block = block.saturating_add(step);
        }
        (block < blocks).then_some(block)
    }

    /// Tells of large messages; where to go on.
    fn find_large(&mut self, tell: Tell<'_>) -> io::Result<Large<D::Listing>> {
        let mut listing = match std::mem::replace(&mut self.rest.large, Large::Untold) {
            Large::Listed(listing) => listing,
            Large::Told | Large::Untold => self.reader.disk.list(Folder::Large)?,
        };
        for _ in 0..NAMES {
            match self.reader.disk.next_name(&mut listing)? {
                None => return Ok(Large::Told),
                Some((name, Kind::File)) if !is_left_alone(&name) => {
                    if !self.find_file(&name, &mut *tell) {
                        break;
                    }
                }
                Some(_) => {}
            }
        }
        Ok(Large::Listed(listing))
    }

    /// Tells of one large message, unless it came after the scan; false if no more may be told.
    fn find_file(&mut self, name: &Name, tell: Tell<'_>) -> bool {
        let Ok(id) = name.parse::<Id>() else { return true };
        let place = Place::in_large(id);
        let Ok(head) = self.check_large(place) else { return true };
        let status = self.status_or_pending(place);
        let is_older = head.sequence < self.rest.newer && !status.is_done(head.recipients);
        !is_older || tell(Found { message: Message::new(place, &head), status: &status })
    }
}
