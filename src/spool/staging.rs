//! A message while it comes in: one staging file a slot, made at start and used again and again.
//!
//! The file has the layout of a large one: a status block, then head, envelope, content. So a
//! message that turns out too large for the cells is durable where it already lies.

use std::io;

use super::disk::{Disk, Folder};
use super::envelope::{self, LINE_OCTETS, Line, Origin, Share, Unwritable};
use super::gather::{BUFFER_OCTETS, Out};
use super::id::Id;
use super::layout::{HEAD_OCTETS, Head, LARGE_KEY, LARGE_PLACE};
use super::reader::Reader;
use super::status::RecipientState;
use super::store::{Message, Place, Store, Usage};
use crate::limits::{LARGE_OCTETS, ORCPT_OCTETS, PATH_OCTETS, RECIPIENTS};
use crate::smtp::command::Notify;

/// Octets that an envelope is taken to need when room is kept for a message.
const ENVELOPE_GUESS_OCTETS: u64 = 1024;

/// A staging file, by number: slots first, spares after them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StagingIndex(pub u16);

/// Why the spool does not take a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No room, or as many messages as may be: 452 4.3.1.
    Full,
    /// The disk failed: 451 4.3.0.
    Failed,
    /// Over the size limit: 552 5.3.4.
    TooLarge,
    /// As many recipients as may be: 452 4.5.3.
    Recipients,
    /// An address or parameter that can't be stored, which the protocol should have refused:
    /// 501 5.5.4.
    Invalid,
}

impl From<&io::Error> for Refusal {
    fn from(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::Full
            }
            _ => Self::Failed,
        }
    }
}

impl From<Unwritable> for Refusal {
    fn from(_: Unwritable) -> Self {
        Self::Invalid
    }
}

/// What is known of a message that is coming in.
#[derive(Clone, Copy, Debug)]
pub struct Draft {
    /// Its id.
    pub id: Id,
    /// Wall clock at MAIL, replaced at the end of content.
    pub arrived_unix_s: u64,
    /// Recipients so far.
    pub recipients: u16,
    /// Octets of envelope so far.
    pub envelope_octets: u32,
    /// CRC32C of the envelope so far.
    pub envelope_crc: u32,
    /// Octets of content so far.
    pub content_octets: u64,
    /// CRC32C of the content so far.
    pub content_crc: u32,
    /// Octets of the spool that are kept free for it.
    pub reserved: u64,
    /// How much of the spool may be taken.
    pub share: Share,
}

impl Draft {
    /// Octets of head, envelope and content.
    pub fn octets(&self) -> u64 {
        HEAD_OCTETS as u64 + u64::from(self.envelope_octets) + self.content_octets
    }
}

/// Where a staging file stands.
#[derive(Clone, Copy, Debug)]
pub enum State {
    /// Unused.
    Idle,
    /// A message comes in.
    Open(Draft),
    /// All of it is there, and it is being passed on without having been committed.
    Offered(Draft),
    /// All of it is there; it waits for a batch.
    Ready(Draft),
    /// Copied into the cells, whose sync is under way.
    Batched(Message),
    /// Too large for the cells: its content is being made durable, in place.
    Flushing(Head),
    /// Has its name in `large`, which is being made durable.
    Linking(Head),
    /// Committed or not; to be told.
    Told(Result<Message, Refusal>),
}

/// A staging file and its state.
#[derive(Debug)]
pub struct Slot<F> {
    /// The file; none after it went to `large` and no new one could be made yet.
    pub file: Option<F>,
    /// Octets were written to it since it was last cut off.
    pub touched: bool,
    /// Why octets of the message that comes in are lost. Such a message is never answered for.
    pub hole: Option<io::ErrorKind>,
    /// Where it stands.
    pub state: State,
}

impl StagingIndex {
    /// The name of its file in `incoming`.
    pub(super) fn name(self) -> heapless::String<8> {
        let mut name = heapless::String::new();
        let written = core::fmt::write(&mut name, format_args!("{:02}", self.0));
        assert!(written.is_ok(), "five digits at most");
        name
    }

    pub(super) fn number(self) -> usize {
        usize::from(self.0)
    }
}

impl<D: Disk> Store<D> {
    /// Begins a message: gives it an id and keeps as much room free as SIZE says. `s` must be
    /// unused.
    pub fn begin(&mut self, s: StagingIndex, origin: &Origin<'_>, now_unix_s: u64) -> Result<Id, Refusal> {
        assert!(matches!(self.slots[s.number()].state, State::Idle), "one message at a time");
        let reserved = self.admit(origin)?;
        self.ready_file(s)?;
        let disk = &mut self.reader.disk;
        let id = self.ids.next(|octets| disk.random(octets)).map_err(|e| self.refuse("draw an id", &e))?;
        self.reserved += reserved;
        self.receiving += 1;
        self.slots[s.number()].state = State::Open(Draft {
            id,
            arrived_unix_s: now_unix_s,
            recipients: 0,
            envelope_octets: 0,
            envelope_crc: 0,
            content_octets: 0,
            content_crc: 0,
            reserved,
            share: origin.share,
        });
        let mut written = 0;
        let scratch = &mut self.reader.scratch;
        let lines = envelope::write_origin(origin, |line| {
            let room = scratch.get_mut(written..written + line.len()).ok_or(Refusal::Invalid)?;
            room.copy_from_slice(line.as_bytes());
            written += line.len();
            Ok(())
        });
        let result = lines.and_then(|()| self.append_scratch(s, written));
        if let Err(refusal) = result {
            self.abort(s);
            return Err(refusal);
        }
        Ok(id)
    }

    /// Keeps room for recipients, so that of those who belong together none is refused for want of room:
    /// for each, the octets of its path and of its ORCPT.
    pub fn make_room(
        &mut self,
        s: StagingIndex,
        recipients: impl Iterator<Item = usize>,
    ) -> Result<(), Refusal> {
        let draft = *self.draft(s);
        let (mut count, mut octets) = (usize::from(draft.recipients), draft.octets());
        for variable in recipients {
            count += 1;
            octets += (variable + LINE_OCTETS - PATH_OCTETS - ORCPT_OCTETS) as u64;
        }
        if count > RECIPIENTS { Err(Refusal::Recipients) } else { self.reserve(s, octets) }
    }

    /// Adds a recipient: its forward-path without brackets, and its DSN parameters. After an
    /// error the message goes on without it, unless the disk failed: then it is refused in the end.
    pub fn recipient(
        &mut self,
        s: StagingIndex,
        path: &str,
        notify: Notify,
        orcpt: &str,
    ) -> Result<(), Refusal> {
        let draft = *self.draft(s);
        assert!(draft.content_octets == 0, "recipients come before content");
        if usize::from(draft.recipients) >= RECIPIENTS {
            return Err(Refusal::Recipients);
        }
        let initial = RecipientState::Pending;
        let line = envelope::write(&Line::To { number: draft.recipients, initial, path, notify, orcpt })?;
        self.reader.scratch[..line.len()].copy_from_slice(line.as_bytes());
        self.append_scratch(s, line.len())?;
        self.draft(s).recipients += 1;
        Ok(())
    }

    /// Adds content. After an error the message can only be aborted.
    pub fn write(&mut self, s: StagingIndex, octets: &[u8]) -> Result<(), Refusal> {
        let draft = *self.draft(s);
        let total = draft.content_octets + octets.len() as u64;
        if total > self.settings.message_octets && draft.share != Share::Unlimited {
            return Err(Refusal::TooLarge);
        }
        self.reserve(s, draft.octets() + octets.len() as u64)?;
        let at = self.block() + draft.octets();
        self.write_staging(s, octets, at)?;
        let draft = self.draft(s);
        draft.content_octets = total;
        draft.content_crc = crc32c::crc32c_append(draft.content_crc, octets);
        self.push_large(s, at + octets.len() as u64, octets.len() as u64);
        Ok(())
    }

    /// Drops the message. One that is in a batch already is committed all the same, and told.
    pub fn abort(&mut self, s: StagingIndex) {
        match self.slots[s.number()].state {
            State::Open(draft) | State::Offered(draft) => self.drop_draft(s, &draft),
            State::Ready(draft) => {
                self.waiting -= 1;
                self.drop_draft(s, &draft);
            }
            State::Idle | State::Batched(_) | State::Flushing(_) | State::Linking(_) | State::Told(_) => {}
        }
    }

    /// Messages that there may be for one of this share to be let in.
    fn messages_of(&self, share: Share) -> u32 {
        let all = self.settings.max_messages;
        match share {
            Share::Whole => all,
            Share::Strangers => all - all / 4,
            Share::Unlimited => u32::MAX,
        }
    }

    /// Octets that there may be with one of this share.
    fn octets_of(&self, share: Share) -> u64 {
        let (all, geometry) = (self.settings.max_octets, self.reader.superblock.geometry);
        let blocks = geometry.blocks_for(self.settings.message_octets + ENVELOPE_GUESS_OCTETS);
        match share {
            Share::Whole => all,
            Share::Strangers => all - (all / 4).min(all.saturating_sub(blocks * geometry.block())),
            Share::Unlimited => u64::MAX,
        }
    }

    /// Room for one more message, and how many octets of it are kept free.
    fn admit(&mut self, origin: &Origin<'_>) -> Result<u64, Refusal> {
        let geometry = self.reader.superblock.geometry;
        let size = origin.size.unwrap_or(0);
        if size > self.settings.message_octets && origin.share != Share::Unlimited {
            return Err(Refusal::TooLarge);
        }
        let blocks = geometry.blocks_for(size.saturating_add(ENVELOPE_GUESS_OCTETS));
        let octets = blocks.saturating_mul(geometry.block());
        if origin.share == Share::Unlimited {
            return Ok(octets);
        }
        let messages = u64::from(self.usage.messages) + u64::from(self.receiving);
        if messages >= u64::from(self.messages_of(origin.share))
            || self.octets().saturating_add(octets) > self.octets_of(origin.share)
        {
            return Err(Refusal::Full);
        }
        let in_cells =
            u32::try_from(blocks).is_ok_and(|n| n <= self.cells.run_max() && self.cells.has_room(n));
        // What stays in memory until it goes into the cells needs nothing of the disk's free room.
        if in_cells && size.saturating_add(ENVELOPE_GUESS_OCTETS) <= BUFFER_OCTETS as u64 {
            return Ok(octets);
        }
        let needed = octets.saturating_add(geometry.block()).saturating_add(self.promised());
        match self.reader.disk.free_octets() {
            Ok(free) if free >= needed => Ok(octets),
            Ok(_) => Err(Refusal::Full),
            Err(e) => Err(self.refuse("measure free space", &e)),
        }
    }

    /// Octets of the disk's free room that messages coming in have been promised and not taken yet.
    fn promised(&self) -> u64 {
        let drafts = self.slots.iter().filter_map(|slot| match &slot.state {
            State::Open(draft) if draft.reserved > BUFFER_OCTETS as u64 => Some(draft),
            _ => None,
        });
        drafts.map(|draft| draft.reserved.saturating_sub(draft.octets())).sum()
    }

    /// The message is complete, and can be read in its staging file until it is committed or aborted:
    /// for passing it on first. It is not durable, and nothing of it is synced.
    pub fn offer(&mut self, s: StagingIndex, now_unix_s: u64) -> Result<Message, Refusal> {
        let draft = Draft { arrived_unix_s: now_unix_s, ..*self.draft(s) };
        let head = self.head_of(&draft, 0);
        let written = self.flush_staging(s).and_then(|()| {
            let Some(file) = &self.slots[s.number()].file else { return Err(io::ErrorKind::NotFound.into()) };
            let block = self.reader.superblock.geometry.block();
            self.reader.disk.write_at(file, &head.encode(&LARGE_KEY, LARGE_PLACE), block)
        });
        written.map_err(|e| self.refuse("write what comes in", &e))?;
        self.usage.written_octets += HEAD_OCTETS as u64;
        self.slots[s.number()].state = State::Offered(draft);
        Ok(Message::new(Place::in_staging(head.id, s), &head))
    }

    /// Keeps room for a message of `octets`, if there is any.
    fn reserve(&mut self, s: StagingIndex, octets: u64) -> Result<(), Refusal> {
        let needed = octets.div_ceil(self.block()) * self.block();
        let draft = *self.draft(s);
        let more = needed.saturating_sub(draft.reserved);
        if more > 0 && self.octets() + more > self.octets_of(draft.share) {
            return Err(Refusal::Full);
        }
        self.reserved += more;
        self.draft(s).reserved += more;
        Ok(())
    }

    /// Adds what stands at the front of the scratch buffer to the envelope.
    fn append_scratch(&mut self, s: StagingIndex, n: usize) -> Result<(), Refusal> {
        let draft = *self.draft(s);
        self.reserve(s, draft.octets() + n as u64)?;
        let at = self.block() + draft.octets();
        let scratch = std::mem::take(&mut self.reader.scratch);
        let written = self.write_staging(s, &scratch[..n], at);
        let crc = crc32c::crc32c_append(draft.envelope_crc, &scratch[..n]);
        self.reader.scratch = scratch;
        written?;
        let draft = self.draft(s);
        draft.envelope_octets += n as u32;
        draft.envelope_crc = crc;
        Ok(())
    }

    fn write_staging(&mut self, s: StagingIndex, octets: &[u8], at: u64) -> Result<(), Refusal> {
        let Self { gather, slots, reader, usage, .. } = self;
        let written = slots[s.number()]
            .whole()
            .and_then(|()| gather.put(s, at, octets, |out| spill(slots, reader, usage, &out)));
        written.map_err(|e| self.refuse("write what comes in", &e))
    }

    /// Writes out what is still gathered for a staging file.
    pub(super) fn flush_staging(&mut self, s: StagingIndex) -> io::Result<()> {
        self.slots[s.number()].whole()?;
        let Self { gather, slots, reader, usage, .. } = self;
        gather.flush(s, |out| spill(slots, reader, usage, &out))
    }

    /// Once a message is large, what came in is started on its way to the disk, so that little is
    /// left to wait for at its end.
    fn push_large(&mut self, s: StagingIndex, end: u64, n: u64) {
        let (before, now) = ((end - n) / LARGE_OCTETS, end / LARGE_OCTETS);
        if let Some(file) = &self.slots[s.number()].file
            && now > before
            && before > 0
        {
            self.reader.disk.start_writeback(file, before * LARGE_OCTETS, (now - before) * LARGE_OCTETS);
        }
    }

    /// The message in an open slot. That it is open is the caller's part of the contract.
    fn draft(&mut self, s: StagingIndex) -> &mut Draft {
        match &mut self.slots[s.number()].state {
            State::Open(draft) => draft,
            state => unreachable!("no message is coming in: {state:?}"),
        }
    }

    /// Sees to it that a slot has a file.
    fn ready_file(&mut self, s: StagingIndex) -> Result<(), Refusal> {
        if self.slots[s.number()].file.is_none() {
            let name = s.name();
            // A name that is left from before is in the way.
            let _ = self.reader.disk.unlink(Folder::Incoming, &name);
            let made = self.reader.disk.create(Folder::Incoming, &name);
            let file = made.map_err(|e| self.refuse("make a staging file", &e))?;
            self.slots[s.number()].file = Some(file);
        }
        Ok(())
    }

    fn drop_draft(&mut self, s: StagingIndex, draft: &Draft) {
        self.reserved -= draft.reserved;
        self.receiving -= 1;
        self.rewind(s);
    }

    /// Makes a staging file ready for the next message. Cutting it off now keeps what is still in
    /// the page cache from ever being written to the medium.
    pub(super) fn rewind(&mut self, s: StagingIndex) {
        self.gather.forget(s);
        let slot = &mut self.slots[s.number()];
        slot.state = State::Idle;
        slot.hole = None;
        if std::mem::take(&mut slot.touched)
            && let Some(file) = &slot.file
            && self.reader.disk.set_length(file, 0).is_err()
        {
            slot.file = None;
        }
    }

    /// The refusal that an error of the disk ends in; a full disk is no failing one.
    pub(super) fn refuse(&mut self, doing: &str, error: &io::Error) -> Refusal {
        let refusal = Refusal::from(error);
        if refusal == Refusal::Full {
            log::warn!("- spool: can't {doing}: {error}");
        } else {
            self.failed(doing, error);
        }
        refusal
    }
}

impl<F> Slot<F> {
    /// An error if octets of its message are lost.
    fn whole(&self) -> io::Result<()> {
        self.hole.map_or(Ok(()), |kind| Err(kind.into()))
    }
}

/// Writes gathered octets into their staging file. They are forgotten after an error too, so the
/// message they belong to has a hole from then on; that it has is kept with its slot, for the
/// write may have been made to give another message room.
fn spill<D: Disk>(
    slots: &mut [Slot<D::File>],
    reader: &mut Reader<D>,
    usage: &mut Usage,
    out: &Out<'_>,
) -> io::Result<()> {
    let slot = &mut slots[out.owner.number()];
    slot.touched = true;
    usage.written_octets += out.octets.len() as u64;
    let written = match &slot.file {
        Some(file) => reader.disk.write_at(file, out.octets, out.at),
        None => Err(io::ErrorKind::NotFound.into()),
    };
    if let Err(e) = &written {
        slot.hole = Some(e.kind());
    }
    written
}
