//! A message while it comes in: one staging file a slot, made at start and used again and again.
//!
//! The file has the layout of a large one: a status block, then head, envelope, content. So a
//! message that turns out too large for the cells is durable where it already lies.

use std::io;

use super::id::Id;
use super::store::Message;

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
    /// Limits do not hold for it: a bounce takes over its message's room.
    pub exempt: bool,
}

/// Where a staging file stands.
#[derive(Clone, Copy, Debug)]
pub enum State {
    /// Unused.
    Idle,
    /// A message comes in.
    Open(Draft),
    /// All of it is there; it waits for a batch.
    Ready(Draft),
    /// Copied into the cells, whose sync is under way.
    Batched(Message),
    /// Too large for the cells: its content is being made durable, in place.
    Flushing(Draft),
    /// Has its name in `large`, which is being made durable.
    Linking(Message),
    /// Committed or not; to be told.
    Told(Result<Message, Refusal>),
}

/// A staging file and its state.
#[derive(Debug)]
pub struct Slot<F> {
    /// The file; none after it went to `large` and no new one could be made yet.
    pub file: Option<F>,
    /// Where it stands.
    pub state: State,
}
