//! One file a message, for what the cells do not hold; and what is set aside.
//!
//! The staging file is the message: its content is synced, then it gets its name in `large`, then
//! that folder is synced. Only then is the message committed, and the slot gets a new staging
//! file. Without either sync mail would be lost on one file system or another.

use std::io;

use heapless::String;

use super::disk::{Disk, Folder, NAME_OCTETS, Target, Ticket};
use super::id::Id;
use super::layout::{HEAD_OCTETS, Head, HeadFound, LARGE_KEY, LARGE_PLACE};
use super::reader::Damage;
use super::staging::{Draft, StagingIndex, State};
use super::store::{Message, Place, Store};

/// The file that a damaged message is copied into before it gets its name.
const ASIDE: &str = "aside";
/// Names tried for a file that is set aside.
const NAMES: u8 = 9;

impl<D: Disk> Store<D> {
    /// Starts to make a message durable where it lies; false if the disk can't be asked now.
    pub(super) fn start_large(&mut self, s: StagingIndex, draft: &Draft) -> bool {
        let head = self.head_of(draft, 0);
        match self.complete_staging(s, &head) {
            Ok(false) => return false,
            Ok(true) => {
                self.usage.syncs += 1;
                self.slots[s.number()].state = State::Flushing(head);
            }
            Err(e) => {
                let refusal = self.refuse("write a large message", &e);
                self.tell(s, Err(refusal));
            }
        }
        self.waiting -= 1;
        self.reserved -= draft.reserved;
        true
    }

    /// Puts status block and head before a message, and asks for its sync.
    fn complete_staging(&mut self, s: StagingIndex, head: &Head) -> io::Result<bool> {
        self.flush_staging(s)?;
        let Some(file) = &self.slots[s.number()].file else { return Err(io::ErrorKind::NotFound.into()) };
        let reader = &mut self.reader;
        let block = reader.superblock.geometry.block();
        let zeros = &mut reader.scratch[..block as usize];
        zeros.fill(0);
        // The status block is written now, so that an outcome overwrites and needs no room.
        reader.disk.write_at(file, zeros, 0)?;
        reader.disk.write_at(file, &head.encode(&LARGE_KEY, LARGE_PLACE), block)?;
        self.usage.written_octets += block + HEAD_OCTETS as u64;
        Ok(reader.disk.start_sync(Ticket::Content(s), Target::File(file)))
    }

    pub(super) fn settle_content(&mut self, s: StagingIndex, result: io::Result<()>) {
        let State::Flushing(head) = self.slots[s.number()].state else { return };
        let id = head.id.text();
        let linked = match result {
            Ok(()) => self.reader.disk.link((Folder::Incoming, &s.name()), (Folder::Large, &id)),
            Err(e) => Err(e),
        };
        if let Err(e) = linked {
            self.discard(s);
            let refusal = self.refuse("keep a large message", &e);
            self.tell(s, Err(refusal));
            return;
        }
        self.large_octets += self.block() + head.octets();
        self.slots[s.number()].state = State::Linking(head);
        self.usage.syncs += 1;
        if !self.reader.disk.start_sync(Ticket::Link(s), Target::Folder(Folder::Large)) {
            let synced = self.reader.disk.sync(Target::Folder(Folder::Large));
            self.settle_link(s, synced);
        }
    }

    pub(super) fn settle_link(&mut self, s: StagingIndex, result: io::Result<()>) {
        let State::Linking(head) = self.slots[s.number()].state else { return };
        self.discard(s);
        let told = match result {
            Ok(()) => Ok(Message::new(Place::in_large(head.id), &head)),
            Err(e) => {
                self.large_octets -= self.block() + head.octets();
                self.unlink_large(head.id);
                Err(self.refuse("sync the folder large", &e))
            }
        };
        self.tell(s, told);
    }

    /// Takes a large message's file away. A power cut can bring it back; its status says then
    /// that it is done.
    pub(super) fn unlink_large(&mut self, id: Id) {
        if let Err(e) = self.reader.disk.unlink(Folder::Large, &id.text())
            && e.kind() != io::ErrorKind::NotFound
        {
            self.failed("unlink a large message", &e);
        }
    }

    /// A slot's staging file is its own no longer; the next message gets a new one.
    fn discard(&mut self, s: StagingIndex) {
        self.gather.forget(s);
        self.slots[s.number()].touched = false;
        self.slots[s.number()].hole = None;
        self.slots[s.number()].file = None;
        // Left behind it costs a name, until the slot is used or the spool opened again.
        let _ = self.reader.disk.unlink(Folder::Incoming, &s.name());
    }

    /// Takes a damaged message out of the queue: kept in `corrupt`, then done. Waits for the disk.
    /// After an error the message is where it was.
    pub fn set_aside(&mut self, place: Place, why: Damage, now_ms: u64) -> io::Result<()> {
        let mut status = self.reader.status(place).unwrap_or_else(|_| super::status::Status::new(place.id()));
        match place.block() {
            Some(block) => {
                let blocks = self.extent(block);
                self.copy_aside(&place.id().text(), block, blocks)?;
            }
            None => {
                let name = place.id().text();
                let linked = self.reader.disk.link((Folder::Large, &name), (Folder::Corrupt, &name));
                linked.or_else(|e| if e.kind() == io::ErrorKind::AlreadyExists { Ok(()) } else { Err(e) })?;
                self.reader.disk.sync(Target::Folder(Folder::Corrupt))?;
            }
        }
        log::error!("{} {why}, set aside in corrupt/{0}", place.id());
        status.removed = true;
        if place.block().is_some() {
            self.finish(place, &status, now_ms)?;
        } else {
            // The file in `corrupt` is the same one: it keeps the status it was found with.
            self.usage.messages = self.usage.messages.saturating_sub(1);
            let file = self.reader.disk.open(Folder::Large, &place.id().text(), false);
            let octets = file.and_then(|file| self.reader.disk.length(&file)).unwrap_or(0);
            self.large_octets = self.large_octets.saturating_sub(octets);
            self.unlink_large(place.id());
        }
        Ok(())
    }

    /// How many blocks the run at `block` has, as far as its head can be believed.
    fn extent(&mut self, block: u32) -> u32 {
        let geometry = self.reader.superblock.geometry;
        match self.reader.head_found(block) {
            Ok(HeadFound::Valid(head) | HeadFound::Broken(head)) => {
                head.blocks.clamp(1, self.cells.run_max()).min(geometry.blocks - block)
            }
            Ok(HeadFound::Nothing) | Err(_) => 1,
        }
    }

    /// Copies a run into `corrupt`, laid out like a large message, unless it is there already.
    /// True if it was copied now.
    pub(super) fn copy_aside(&mut self, name: &str, block: u32, blocks: u32) -> io::Result<bool> {
        let reader = &mut self.reader;
        match reader.disk.open(Folder::Corrupt, name, false) {
            Ok(_) => return Ok(false),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
        // What a copy that was cut off left behind is in the way.
        let _ = reader.disk.unlink(Folder::Incoming, ASIDE);
        let file = reader.disk.create(Folder::Incoming, ASIDE)?;
        let geometry = reader.superblock.geometry;
        let size = geometry.block_octets as usize;
        let mut entry = [0; crate::limits::STATUS_OCTETS];
        reader.disk.read_at(&reader.cells, &mut entry, geometry.status_at(block))?;
        reader.disk.write_at(&file, &entry, 0)?;
        for n in 0..blocks {
            let chunk = &mut reader.scratch[..size];
            let got = reader.disk.read_at(&reader.cells, chunk, geometry.block_at(block + n))?;
            reader.disk.write_at(&file, &chunk[..got], geometry.block() * (1 + u64::from(n)))?;
        }
        reader.disk.sync(Target::File(&file))?;
        reader.disk.link((Folder::Incoming, ASIDE), (Folder::Corrupt, name))?;
        reader.disk.sync(Target::Folder(Folder::Corrupt))?;
        // Left behind it is taken away when the spool is opened again.
        let _ = reader.disk.unlink(Folder::Incoming, ASIDE);
        Ok(true)
    }

    /// Moves a file of `large` that is no message of ours into `corrupt`, never replacing one. If
    /// that can't be done it stays where it is.
    pub(super) fn move_aside(&mut self, name: &str, why: &str) {
        for n in 0..=NAMES {
            let mut to = String::<{ NAME_OCTETS + 3 }>::new();
            let formed = match n {
                0 => core::fmt::write(&mut to, format_args!("{name}")),
                n => core::fmt::write(&mut to, format_args!("{name}.{n}")),
            };
            let linked = match formed {
                Ok(()) => self.reader.disk.link((Folder::Large, name), (Folder::Corrupt, &to)),
                Err(_) => Err(io::ErrorKind::InvalidInput.into()),
            };
            let moved = match linked {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(e) => Err(e),
                Ok(()) => self.reader.disk.sync(Target::Folder(Folder::Corrupt)),
            };
            match moved.and_then(|()| self.reader.disk.unlink(Folder::Large, name)) {
                Ok(()) => log::error!("- spool: large/{name:?} {why}, set aside in corrupt/{to:?}"),
                Err(e) => log::error!("- spool: large/{name:?} {why} and can't be set aside: {e}"),
            }
            return;
        }
        log::error!("- spool: large/{name:?} {why} and has no free name in corrupt");
    }
}
