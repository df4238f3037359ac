//! What content octets do in the states that read them.

use super::Terms;
use super::state::{After, Piece, Say, State, Transaction, too_large};
use crate::smtp::content::{Decoder, Fault, Stop};
use crate::smtp::reply::Reply;

/// Subject and detail of the enhanced code for content with a bare CR, a bare LF or a NUL.
pub const BAD_CONTENT: (u16, u16) = (6, 0);

/// What became of content octets.
pub(super) struct Fed {
    pub(super) next: State,
    pub(super) say: Say,
    pub(super) consumed: usize,
    /// Octets in the scratch buffer that are to be stored.
    pub(super) written: usize,
}

impl State {
    /// True if [`State::fed`] can do nothing without input.
    pub(super) fn needs_octets(&self) -> bool {
        !matches!(self, Self::Chunk(_, _, Piece { left: 0, .. }) | Self::Skip(_, Piece { left: 0, .. }, _))
    }

    /// Content octets, in one of the states that read them.
    pub(super) fn fed(self, input: &[u8], content: &mut [u8], terms: &Terms<'_>) -> Fed {
        match self {
            Self::Content(transaction, decoder) => {
                Self::fed_data(transaction, decoder, input, content, terms)
            }
            Self::Spoiled(transaction, mut decoder, refusal) => {
                let decoded = decoder.decode(input, content);
                let next = match decoded.stop {
                    Stop::End => Self::AskReset(transaction, After::Reply(refusal)),
                    Stop::Exhausted | Stop::Fault(_) => Self::Spoiled(transaction, decoder, refusal),
                };
                Fed { next, say: Say::Nothing, consumed: decoded.consumed, written: 0 }
            }
            Self::Chunk(transaction, decoder, Piece { left: 0, last }) => {
                Self::chunk_end(transaction, decoder, last, content)
            }
            Self::Chunk(transaction, decoder, piece) => {
                Self::fed_chunk(transaction, decoder, piece, input, content, terms)
            }
            Self::Skip(transaction, Piece { left: 0, last }, refusal) => {
                let after = if last { After::Reply(refusal) } else { After::Failed(refusal) };
                let (next, say) = match transaction {
                    Some(transaction) => (Self::AskReset(transaction, after), Say::Nothing),
                    None => after.turn(),
                };
                Fed { next, say, consumed: 0, written: 0 }
            }
            Self::Skip(transaction, mut piece, refusal) => {
                let consumed = piece.of(input).len();
                piece.left -= consumed as u64;
                let next = Self::Skip(transaction, piece, refusal);
                Fed { next, say: Say::Nothing, consumed, written: 0 }
            }
            state => unreachable!("{} reads no content", state.name()),
        }
    }

    fn fed_data(
        mut transaction: Transaction,
        mut decoder: Decoder,
        input: &[u8],
        content: &mut [u8],
        terms: &Terms<'_>,
    ) -> Fed {
        let decoded = decoder.decode(input, content);
        transaction.octets += decoded.written as u64;
        let over = transaction.octets > terms.message_size;
        let (next, written) = match decoded.stop {
            Stop::Fault(fault) => (Self::Spoiled(transaction, decoder, refused(fault)), 0),
            Stop::End if over => (Self::AskReset(transaction, After::Reply(too_large(terms))), 0),
            Stop::End => (Self::AskCommit(transaction), decoded.written),
            Stop::Exhausted if over => (Self::Spoiled(transaction, decoder, too_large(terms)), 0),
            Stop::Exhausted => (Self::Content(transaction, decoder), decoded.written),
        };
        Fed { next, say: Say::Nothing, consumed: decoded.consumed, written }
    }

    fn fed_chunk(
        mut transaction: Transaction,
        mut decoder: Decoder,
        mut piece: Piece,
        input: &[u8],
        content: &mut [u8],
        terms: &Terms<'_>,
    ) -> Fed {
        let decoded = decoder.decode(piece.of(input), content);
        piece.left -= decoded.consumed as u64;
        transaction.octets += decoded.written as u64;
        let (next, written) = match decoded.stop {
            Stop::Fault(fault) => (Self::Skip(Some(transaction), piece, refused(fault)), 0),
            Stop::Exhausted | Stop::End if transaction.octets > terms.message_size => {
                (Self::Skip(Some(transaction), piece, too_large(terms)), 0)
            }
            Stop::Exhausted | Stop::End => (Self::Chunk(transaction, decoder, piece), decoded.written),
        };
        Fed { next, say: Say::Nothing, consumed: decoded.consumed, written }
    }

    fn chunk_end(mut transaction: Transaction, mut decoder: Decoder, last: bool, content: &mut [u8]) -> Fed {
        if !last {
            let say = Say::Reply(Reply::new(250, (0, 0), "chunk taken"));
            return Fed { next: Self::Chunks(transaction, decoder), say, consumed: 0, written: 0 };
        }
        let decoded = decoder.finish(content);
        transaction.octets += decoded.written as u64;
        let next = match decoded.stop {
            Stop::Fault(fault) => Self::AskReset(transaction, After::Reply(refused(fault))),
            Stop::Exhausted | Stop::End => Self::AskCommit(transaction),
        };
        Fed { next, say: Say::Nothing, consumed: 0, written: decoded.written }
    }

    /// Content that cannot be stored, also if its end was there already.
    pub(super) fn spoiled(self, refusal: Reply) -> Self {
        match self {
            Self::Content(transaction, decoder) => Self::Spoiled(transaction, decoder, refusal),
            Self::Chunk(transaction, _, piece) => Self::Skip(Some(transaction), piece, refusal),
            Self::AskCommit(transaction) => Self::AskReset(transaction, After::Reply(refusal)),
            state => state,
        }
    }
}

impl Piece {
    /// The part of `input` that belongs to this chunk.
    fn of<'a>(&self, input: &'a [u8]) -> &'a [u8] {
        let octets = usize::try_from(self.left).unwrap_or(usize::MAX).min(input.len());
        &input[..octets]
    }
}

fn refused(fault: Fault) -> Reply {
    let what = match fault {
        Fault::BareCr => "a CR without LF stands in the content; lines must end in CRLF",
        Fault::BareLf => "an LF without CR stands in the content; lines must end in CRLF",
        Fault::Nul => "a NUL stands in the content; that is no text",
    };
    Reply::new(550, BAD_CONTENT, what)
}
