//! Looks through the spool without its lock: for commands while no relay runs.
//!
//! Nothing is written, nothing is set aside, and what is damaged is passed over. With a relay running
//! at the same time a message can be missed or seen twice; it is never seen wrong, since every head
//! and envelope is checked.

use super::disk::{Disk, Folder, Kind};
use super::id::Id;
use super::layout::{Head, HeadFound};
use super::reader::{Damage, Reader};
use super::recover::Found;
use super::store::{Message, Place};

impl<D: Disk> Reader<D> {
    /// Tells every message that is not done, those in the cells first; false ends the survey.
    pub fn survey(&mut self, found: &mut dyn FnMut(Found<'_>) -> bool) -> Result<(), Damage> {
        let mut block = 0;
        while block < self.superblock.geometry.blocks {
            let mut step = 1;
            if let Ok(HeadFound::Valid(head)) = self.head_found(block) {
                let place = Place::in_cells(head.id, block);
                if self.check_content(place, &head).is_ok() {
                    match self.tell(place, &head, found) {
                        Told::GoOn => step = head.blocks.max(1),
                        Told::Passed => {}
                        Told::Enough => return Ok(()),
                    }
                }
            }
            block = block.saturating_add(step);
        }
        self.survey_large(found)
    }

    fn survey_large(&mut self, found: &mut dyn FnMut(Found<'_>) -> bool) -> Result<(), Damage> {
        let mut listing = self.disk.list(Folder::Large)?;
        while let Some((name, kind)) = self.disk.next_name(&mut listing)? {
            let (Ok(id), Kind::File) = (name.parse::<Id>(), kind) else { continue };
            let place = Place::in_large(id);
            if let Ok(head) = self.head(place)
                && let Told::Enough = self.tell(place, &head, found)
            {
                return Ok(());
            }
        }
        Ok(())
    }

    fn tell(&mut self, place: Place, head: &Head, found: &mut dyn FnMut(Found<'_>) -> bool) -> Told {
        let Ok(status) = self.status(place) else { return Told::Passed };
        if status.is_done(head.recipients) || self.check_envelope(place, head).is_err() {
            return Told::Passed;
        }
        if found(Found { message: Message::new(place, head), status: &status }) {
            Told::GoOn
        } else {
            Told::Enough
        }
    }
}

/// What came of a head that was found.
enum Told {
    GoOn,
    /// It is done, or not whole.
    Passed,
    Enough,
}
