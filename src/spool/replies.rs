//! The last replies of a message's recipients, as many as fit into its status entry.
//!
//! Each takes three octets (whose it is, its length) and its text. The newest stands first and is cut to
//! what fits; older ones follow while there is room. Recipients who stand alike and were told the
//! same share one.

use super::status::{RecipientState, STATUS_REPLY_OCTETS};

/// Octets before a text.
const HEAD_OCTETS: usize = 3;
/// Octets of all replies: the first one's head stands apart in the entry.
pub const REPLIES_OCTETS: usize = HEAD_OCTETS + STATUS_REPLY_OCTETS;

/// The replies as they stand in the entry, zeros behind the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replies([u8; REPLIES_OCTETS]);

/// In place of a recipient's number: all who stand so, and have no reply of their own.
const fn all(state: RecipientState) -> u16 {
    match state {
        RecipientState::Pending => u16::MAX,
        RecipientState::Failed => u16::MAX - 1,
        RecipientState::Delivered | RecipientState::Owed => u16::MAX - 2,
    }
}

impl Replies {
    /// None.
    pub const fn none() -> Self {
        Self([0; REPLIES_OCTETS])
    }

    /// From an entry: the first reply's head, then its text and the others. What can't be read is left out.
    pub fn decode(head: [u8; HEAD_OCTETS], rest: &[u8; STATUS_REPLY_OCTETS]) -> Self {
        let mut found = Self::none();
        found.0[..HEAD_OCTETS].copy_from_slice(&head);
        found.0[HEAD_OCTETS..].copy_from_slice(rest);
        let mut clean = Writer::new();
        found.iter().for_each(|(whose, text)| clean.push(whose, text));
        Self(clean.octets)
    }

    /// The first reply's head, and all that follows.
    pub fn encode(&self) -> (&[u8], &[u8]) {
        self.0.split_at(HEAD_OCTETS)
    }

    fn iter(&self) -> impl Iterator<Item = (u16, &str)> {
        let mut rest = &self.0[..];
        core::iter::from_fn(move || {
            let (&[low, high, octets], behind) = rest.split_first_chunk()?;
            let (text, behind) =
                behind.split_at_checked(usize::from(octets)).filter(|(t, _)| !t.is_empty())?;
            rest = behind;
            Some((u16::from_le_bytes([low, high]), core::str::from_utf8(text).ok()?))
        })
    }

    /// Keeps what a recipient was told, who stands or is about to stand so. What was said of one who is
    /// delivered gives way to all others.
    pub fn note(&mut self, recipient: u16, state: RecipientState, text: &str) {
        let told = cut(text, STATUS_REPLY_OCTETS);
        let others = || self.iter().filter(|&(whose, _)| whose != recipient);
        let is_shared = others().any(|(_, other)| other == told);
        let whose = if is_shared { all(state) } else { recipient };
        let is_last = all(state) == all(RecipientState::Delivered);
        let mut written = Writer::new();
        if !is_last {
            written.push(whose, told);
        }
        for (whose, other) in others().filter(|&(_, other)| other != told) {
            written.push(whose, other);
        }
        if is_last {
            written.push(whose, told);
        }
        self.0 = written.octets;
    }

    /// What a recipient who stands so was told last; nothing if that is not known.
    pub fn of(&self, recipient: u16, state: RecipientState) -> &str {
        let said_to = |who| self.iter().find_map(|(whose, text)| (whose == who).then_some(text));
        said_to(recipient).or_else(|| said_to(all(state))).unwrap_or_default()
    }
}

struct Writer {
    octets: [u8; REPLIES_OCTETS],
    at: usize,
}

impl Writer {
    const fn new() -> Self {
        Self { octets: [0; REPLIES_OCTETS], at: 0 }
    }

    /// Adds a reply, as much of it as there is room for.
    fn push(&mut self, whose: u16, text: &str) {
        let room = REPLIES_OCTETS - self.at;
        let text = cut(text, room.saturating_sub(HEAD_OCTETS)).as_bytes();
        let [low, high] = whose.to_le_bytes();
        // Fits: there are fewer octets than 256.
        let head = [low, high, text.len() as u8];
        if text.is_empty() {
            return;
        }
        for piece in [&head[..], text] {
            self.octets[self.at..][..piece.len()].copy_from_slice(piece);
            self.at += piece.len();
        }
    }
}

/// The beginning of a text, in whole characters.
fn cut(text: &str, octets: usize) -> &str {
    let end = (0..=octets.min(text.len())).rev().find(|&end| text.is_char_boundary(end));
    &text[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::RecipientState::{Delivered, Failed, Owed, Pending};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn everybody_has_their_own() {
        let mut replies = Replies::none();
        replies.note(0, Pending, "450 4.2.1 busy");
        replies.note(1, Failed, "550 5.1.1 nobody");
        replies.note(2, Delivered, "250 2.0.0 ok");
        replies.note(3, Pending, "451 4.7.1 come again");
        assert_eq!(replies.of(0, Pending), "450 4.2.1 busy");
        assert_eq!(replies.of(1, Failed), "550 5.1.1 nobody");
        assert_eq!(replies.of(2, Owed), "250 2.0.0 ok");
        assert_eq!(replies.of(3, Pending), "451 4.7.1 come again");
        assert_eq!(replies.of(4, Pending), "");
        replies.note(0, Delivered, "250 2.0.0 ok");
        assert_eq!((replies.of(0, Delivered), replies.of(2, Delivered)), ("250 2.0.0 ok", "250 2.0.0 ok"));
        assert_eq!(replies.of(0, Pending), "");
    }

    #[test]
    fn who_is_told_the_same_shares_it() {
        let mut replies = Replies::none();
        for who in 0..200 {
            replies.note(who, Pending, "451 4.4.1 refused");
        }
        replies.note(7, Pending, "450 4.2.1 busy");
        replies.note(8, Failed, "550 5.1.1 nobody");
        replies.note(9, Failed, "550 5.1.1 nobody");
        assert_eq!((replies.of(3, Pending), replies.of(7, Pending)), ("451 4.4.1 refused", "450 4.2.1 busy"));
        assert_eq!((replies.of(8, Failed), replies.of(9, Failed)), ("550 5.1.1 nobody", "550 5.1.1 nobody"));
        assert_eq!(replies.of(10, Delivered), "");
    }

    #[test]
    fn the_newest_has_all_the_room_it_needs() {
        let mut replies = Replies::none();
        let long = "\u{fc}".repeat(300);
        replies.note(0, Pending, "450 4.2.1 busy");
        replies.note(1, Pending, &long);
        assert_eq!((replies.of(1, Pending), replies.of(0, Pending)), (&long[..STATUS_REPLY_OCTETS], ""));
        replies.note(2, Pending, &long);
        assert_eq!(replies.of(1, Pending), replies.of(2, Pending));
        replies.note(0, Delivered, "250 2.0.0 ok");
        assert_eq!((replies.of(1, Pending), replies.of(0, Delivered)), (&long[..STATUS_REPLY_OCTETS], ""));
    }

    #[test]
    fn an_entry_with_one_reply_is_read() {
        let mut rest = [0; STATUS_REPLY_OCTETS];
        rest[..8].copy_from_slice(b"451 busy");
        let replies = Replies::decode([3, 0, 8], &rest);
        assert_eq!((replies.of(3, Pending), replies.of(4, Pending)), ("451 busy", ""));
        assert_eq!(Replies::decode([255, 255, 8], &rest).of(4, Pending), "451 busy");
        assert_eq!(Replies::decode([0, 0, 0], &[0; STATUS_REPLY_OCTETS]), Replies::none());
    }

    proptest! {
        #[test]
        fn any_octets_are_read_without_harm(head: [u8; 3], rest: [[u8; 13]; STATUS_REPLY_OCTETS / 13]) {
            let mut octets = [0; STATUS_REPLY_OCTETS];
            octets.copy_from_slice(rest.as_flattened());
            let replies = Replies::decode(head, &octets);
            let (first, others) = replies.encode();
            let again = Replies::decode(first.try_into().unwrap(), others.try_into().unwrap());
            prop_assert_eq!(again, replies);
        }

        #[test]
        fn the_last_one_noted_is_known(noted in proptest::collection::vec((0..6_u16, 0..3_u8, "[ -~]{1,90}"), 1..9)) {
            let mut replies = Replies::none();
            for (who, state, text) in &noted {
                let state = [Pending, Failed, Delivered][usize::from(*state)];
                replies.note(*who, state, text);
                if state != Delivered {
                    prop_assert_eq!(replies.of(*who, state), &**text);
                }
            }
        }
    }
}
