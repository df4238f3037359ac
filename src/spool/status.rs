//! The status entry: what became of a message so far, in 256 octets of its own.
//!
//! An entry is first written at a message's first outcome, which is after its run was synced. An
//! entry of another id, or a broken one, means that every recipient is pending: a duplicate at
//! worst, never a loss.

use super::id::Id;
use super::replies::Replies;
use crate::limits::{RECIPIENTS, STATUS_OCTETS};

const VERSION: u8 = 1;
const HELD: u8 = 1;
const REMOVED: u8 = 2;
const WARNED: u8 = 4;
const STATES_OCTETS: usize = RECIPIENTS / 4;
const REPLY_AT: usize = 32 + STATES_OCTETS;
const CRC_AT: usize = STATUS_OCTETS - 4;
/// Octets of reply text that an entry keeps: of the last reply, and of older ones where that is short.
pub const STATUS_REPLY_OCTETS: usize = CRC_AT - REPLY_AT;

const _: () = assert!(STATUS_REPLY_OCTETS >= 120 && STATUS_REPLY_OCTETS <= u8::MAX as usize);

/// Where a recipient stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecipientState {
    /// Still to be delivered.
    Pending,
    /// The next hop or the mailbox has it.
    Delivered,
    /// Never will be.
    Failed,
    /// As delivered, and the sender, who asked for it, has yet to be told so.
    Owed,
}

/// What became of a message so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The message.
    pub id: Id,
    /// Put aside by a person: not tried.
    pub held: bool,
    /// Taken out by a person: as good as done.
    pub removed: bool,
    /// The sender was told of the delay.
    pub warned: bool,
    /// Tries so far.
    pub tries: u16,
    /// Arrival time, when the head's was before the clock was sane; 0: the head's counts.
    pub arrived_unix_s: u64,
    /// Wall clock at the last try; 0: none or unknown.
    pub tried_unix_s: u64,
    replies: Replies,
    states: [u8; STATES_OCTETS],
}

impl Status {
    /// All recipients pending, nothing tried.
    pub const fn new(id: Id) -> Self {
        Self {
            id,
            held: false,
            removed: false,
            warned: false,
            tries: 0,
            arrived_unix_s: 0,
            tried_unix_s: 0,
            replies: Replies::none(),
            states: [0; STATES_OCTETS],
        }
    }

    /// Where recipient `n` stands; one beyond [`RECIPIENTS`] is pending.
    pub fn state(&self, n: u16) -> RecipientState {
        let octet = self.states.get(usize::from(n) / 4).copied().unwrap_or(0);
        match octet >> (n % 4 * 2) & 3 {
            1 => RecipientState::Delivered,
            2 => RecipientState::Failed,
            3 => RecipientState::Owed,
            _ => RecipientState::Pending,
        }
    }

    /// Notes where recipient `n` stands; one beyond [`RECIPIENTS`] does not exist.
    pub fn set(&mut self, n: u16, state: RecipientState) {
        let bits = match state {
            RecipientState::Pending => 0,
            RecipientState::Delivered => 1,
            RecipientState::Failed => 2,
            RecipientState::Owed => 3,
        };
        if let Some(octet) = self.states.get_mut(usize::from(n) / 4) {
            let shift = n % 4 * 2;
            *octet = *octet & !(3 << shift) | bits << shift;
        }
    }

    /// Keeps what recipient `n`, who stands or is about to stand so, was told last: a reply, or an error
    /// in words.
    pub fn reply(&mut self, n: u16, state: RecipientState, text: &str) {
        self.replies.note(n, state, text);
    }

    /// What recipient `n` was told last; nothing if that did not fit.
    pub fn reply_of(&self, n: u16) -> &str {
        self.replies.of(n, self.state(n))
    }

    /// True if nothing is left to do for a message of that many recipients.
    pub fn is_done(&self, recipients: u16) -> bool {
        let is_done = |n| matches!(self.state(n), RecipientState::Delivered | RecipientState::Failed);
        self.removed || (0..recipients).all(is_done)
    }

    /// The entry as it stands in the file.
    pub fn encode(&self) -> [u8; STATUS_OCTETS] {
        let mut e = [0; STATUS_OCTETS];
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        e[0] = VERSION;
        e[1] = flag(self.held, HELD) | flag(self.removed, REMOVED) | flag(self.warned, WARNED);
        e[2..4].copy_from_slice(&self.tries.to_le_bytes());
        let (first, rest) = self.replies.encode();
        e[4..7].copy_from_slice(first);
        e[8..16].copy_from_slice(&self.id.number().to_le_bytes());
        e[16..24].copy_from_slice(&self.arrived_unix_s.to_le_bytes());
        e[24..32].copy_from_slice(&self.tried_unix_s.to_le_bytes());
        e[32..REPLY_AT].copy_from_slice(&self.states);
        e[REPLY_AT..CRC_AT].copy_from_slice(rest);
        let crc = crc32c::crc32c(&e[..CRC_AT]);
        e[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        e
    }
}

/// What stands in the place of an entry.
// It lives on the stack for one match; a box would be an allocation per message.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// An entry, perhaps of an earlier message.
    Valid(Status),
    /// Never written.
    Blank,
    /// Damaged.
    Broken,
}

/// Reads an entry.
pub fn decode(e: &[u8; STATUS_OCTETS]) -> Entry {
    if e.iter().all(|&b| b == 0) {
        return Entry::Blank;
    }
    valid(e).map_or(Entry::Broken, Entry::Valid)
}

fn valid(e: &[u8; STATUS_OCTETS]) -> Option<Status> {
    let u16_at = |at: usize| Some(u16::from_le_bytes(*e.get(at..)?.first_chunk()?));
    let u64_at = |at: usize| Some(u64::from_le_bytes(*e.get(at..)?.first_chunk()?));
    let crc = u32::from_le_bytes(*e.last_chunk()?);
    if crc != crc32c::crc32c(&e[..CRC_AT]) || e[0] != VERSION {
        return None;
    }
    let replies = Replies::decode(*e[4..].first_chunk()?, e[REPLY_AT..].first_chunk()?);
    Some(Status {
        id: Id::from_number(u64_at(8)?),
        held: e[1] & HELD != 0,
        removed: e[1] & REMOVED != 0,
        warned: e[1] & WARNED != 0,
        tries: u16_at(2)?,
        arrived_unix_s: u64_at(16)?,
        tried_unix_s: u64_at(24)?,
        states: *e[32..].first_chunk()?,
        replies,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_status() -> impl Strategy<Value = Status> {
        let numbers = (any::<u64>(), any::<u16>(), any::<u64>(), any::<u64>());
        (numbers, any::<[bool; 3]>(), proptest::collection::vec(0..4_u8, RECIPIENTS), ".{0,200}").prop_map(
            |((id, tries, arrived, tried), flags, states, reply)| {
                let mut s = Status::new(Id::from_number(id));
                [s.held, s.removed, s.warned] = flags;
                (s.tries, s.arrived_unix_s, s.tried_unix_s) = (tries, arrived, tried);
                for (n, state) in (0..).zip(states) {
                    s.set(
                        n,
                        [
                            RecipientState::Pending,
                            RecipientState::Delivered,
                            RecipientState::Failed,
                            RecipientState::Owed,
                        ][usize::from(state)],
                    );
                }
                s.reply(3, RecipientState::Pending, &reply);
                s
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn octets_and_back(status in any_status()) {
            prop_assert_eq!(decode(&status.encode()), Entry::Valid(status));
        }

        #[test]
        fn a_flipped_octet_is_noticed(status in any_status(), at in 0..STATUS_OCTETS, flip in 1..=255_u8) {
            let mut entry = status.encode();
            entry[at] ^= flip;
            prop_assert_eq!(decode(&entry), Entry::Broken);
        }
    }

    #[test]
    fn recipients_are_apart() {
        let mut s = Status::new(Id::default());
        s.set(1, RecipientState::Delivered);
        s.set(2, RecipientState::Failed);
        assert_eq!(s.state(0), RecipientState::Pending);
        assert_eq!(s.state(1), RecipientState::Delivered);
        s.set(1, RecipientState::Pending);
        assert_eq!(s.state(1), RecipientState::Pending);
        assert_eq!(s.state(2), RecipientState::Failed);
        assert!(!s.is_done(3));
        s.set(0, RecipientState::Failed);
        s.set(1, RecipientState::Delivered);
        assert!(s.is_done(3));
        s.set(3, RecipientState::Owed);
        assert!(!s.is_done(4));
        s.removed = true;
        assert!(s.is_done(4));
    }

    #[test]
    fn zeros_are_blank() {
        assert_eq!(decode(&[0; STATUS_OCTETS]), Entry::Blank);
    }
}
