//! The cells file and a message's head as octets, all numbers little-endian.
//!
//! A head is believed only if its tag fits: SipHash-2-4 under a key that was drawn when the file
//! was made, over all fields and the place where the head stands. So no content, whatever a peer
//! sends, passes for a head, and no old head counts at another place. Each head starts with a
//! mark, derived from the same key, by which a head that was damaged is still noticed.

use core::hash::Hasher;

use siphasher::sip::SipHasher24;

use super::id::Id;
use crate::limits::{BLOCK_OCTETS, RECIPIENTS, SCRATCH_OCTETS, STATUS_OCTETS};

/// Octets of a head.
pub const HEAD_OCTETS: usize = 80;
/// Octets of a superblock that mean something; the rest of its block is zeros.
pub const SUPERBLOCK_OCTETS: usize = 48;
/// The place of a head in a file of its own.
pub const LARGE_PLACE: u64 = u64::MAX;
/// Superblocks at the front of the cells file, all alike.
pub const SUPERBLOCKS: u64 = 2;

const MAGIC: [u8; 8] = *b"pillarbx";
const VERSION: u16 = 1;

/// A key of the head's mark and tag.
pub type Key = [u8; 16];

/// The key in large files. Their heads stand at one known place, so nothing can pass for one, and
/// the file can be read without the cells.
pub const LARGE_KEY: Key = [0; 16];

/// The shape of the cells file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Octets of a block.
    pub block_octets: u32,
    /// Blocks for messages.
    pub blocks: u32,
}

impl Geometry {
    /// The shape of a file of about that many octets; `None` if no message would fit.
    pub fn of_size(octets: u64, block_octets: u32) -> Option<Self> {
        let block = u64::from(block_octets);
        let blocks = (octets / block).checked_sub(SUPERBLOCKS)? * block / (block + STATUS_OCTETS as u64);
        let blocks = u32::try_from(blocks).ok()?.min(u32::MAX - 1);
        Self { block_octets, blocks }.checked()
    }

    fn checked(self) -> Option<Self> {
        let block = self.block_octets as usize;
        let right = (BLOCK_OCTETS..=SCRATCH_OCTETS).contains(&block)
            && block.is_power_of_two()
            && self.blocks >= 4
            && self.blocks < u32::MAX;
        right.then_some(self)
    }

    /// Octets of a block.
    pub fn block(self) -> u64 {
        u64::from(self.block_octets)
    }

    fn status_blocks(self) -> u64 {
        (u64::from(self.blocks) * STATUS_OCTETS as u64).div_ceil(self.block())
    }

    /// Where the status entry of block `n` stands.
    pub fn status_at(self, n: u32) -> u64 {
        SUPERBLOCKS * self.block() + u64::from(n) * STATUS_OCTETS as u64
    }

    /// Where block `n` stands.
    pub fn block_at(self, n: u32) -> u64 {
        (SUPERBLOCKS + self.status_blocks() + u64::from(n)) * self.block()
    }

    /// Octets of the whole file.
    pub fn file_octets(self) -> u64 {
        self.block_at(self.blocks)
    }

    /// Blocks that a message takes with its head; more than there are if it is too large.
    pub fn blocks_for(self, octets: u64) -> u64 {
        octets.saturating_add(HEAD_OCTETS as u64).div_ceil(self.block())
    }
}

/// The first block of the cells file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// The file's shape.
    pub geometry: Geometry,
    /// The key of all heads in it.
    pub key: Key,
}

/// Why there is no superblock to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SuperblockError {
    /// Damaged, or not our file.
    Broken,
    /// A version of the format that this program does not know.
    Version(u16),
}

impl Superblock {
    /// The superblock as it stands in the file.
    pub fn encode(&self) -> [u8; SUPERBLOCK_OCTETS] {
        let mut s = [0; SUPERBLOCK_OCTETS];
        s[..8].copy_from_slice(&MAGIC);
        s[8..10].copy_from_slice(&VERSION.to_le_bytes());
        s[12..16].copy_from_slice(&self.geometry.block_octets.to_le_bytes());
        s[16..20].copy_from_slice(&self.geometry.blocks.to_le_bytes());
        s[24..40].copy_from_slice(&self.key);
        let crc = crc32c::crc32c(&s[..40]);
        s[40..44].copy_from_slice(&crc.to_le_bytes());
        s
    }

    /// Reads a superblock.
    pub fn decode(s: &[u8; SUPERBLOCK_OCTETS]) -> Result<Self, SuperblockError> {
        let mut fields = Fields(s);
        let magic: [u8; 8] = fields.take();
        let version = u16::from_le_bytes(fields.take());
        let _: [u8; 2] = fields.take();
        let block_octets = u32::from_le_bytes(fields.take());
        let blocks = u32::from_le_bytes(fields.take());
        let _: [u8; 4] = fields.take();
        let key = fields.take();
        let crc = u32::from_le_bytes(fields.take());
        if magic != MAGIC || crc != crc32c::crc32c(&s[..40]) {
            return Err(SuperblockError::Broken);
        }
        if version != VERSION {
            return Err(SuperblockError::Version(version));
        }
        let geometry = Geometry { block_octets, blocks }.checked().ok_or(SuperblockError::Broken)?;
        Ok(Self { geometry, key })
    }
}

/// What stands before a message's envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The message's id.
    pub id: Id,
    /// Grows with every message in the cells, so that of two heads the newer is known.
    pub sequence: u64,
    /// Blocks of the run; in a large file 0.
    pub blocks: u32,
    /// Wall clock at arrival.
    pub arrived_unix_s: u64,
    /// Recipients in the envelope.
    pub recipients: u16,
    /// Octets of the envelope.
    pub envelope_octets: u32,
    /// CRC32C of the envelope.
    pub envelope_crc: u32,
    /// Octets of content.
    pub content_octets: u64,
    /// CRC32C of the content.
    pub content_crc: u32,
}

/// What stands where a head could be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadFound {
    /// A head.
    Valid(Head),
    /// A head that was damaged: these are its fields, any of which can be wrong.
    Broken(Head),
    /// Something else.
    Nothing,
}

impl Head {
    /// Octets of head, envelope and content.
    pub fn octets(&self) -> u64 {
        HEAD_OCTETS as u64 + u64::from(self.envelope_octets) + self.content_octets
    }

    /// The head as it stands at `place`.
    pub fn encode(&self, key: &Key, place: u64) -> [u8; HEAD_OCTETS] {
        let mut h = [0; HEAD_OCTETS];
        h[..8].copy_from_slice(&mark(key, place));
        h[8..10].copy_from_slice(&VERSION.to_le_bytes());
        h[10..12].copy_from_slice(&self.recipients.to_le_bytes());
        h[12..16].copy_from_slice(&self.blocks.to_le_bytes());
        h[16..24].copy_from_slice(&self.sequence.to_le_bytes());
        h[24..32].copy_from_slice(&self.id.number().to_le_bytes());
        h[32..40].copy_from_slice(&self.arrived_unix_s.to_le_bytes());
        h[40..44].copy_from_slice(&self.envelope_octets.to_le_bytes());
        h[44..48].copy_from_slice(&self.envelope_crc.to_le_bytes());
        h[48..56].copy_from_slice(&self.content_octets.to_le_bytes());
        h[56..60].copy_from_slice(&self.content_crc.to_le_bytes());
        h[64..72].copy_from_slice(&place.to_le_bytes());
        let tag = siphash(key, &h[8..72]);
        h[72..80].copy_from_slice(&tag);
        h
    }

    /// Reads what stands at `place`.
    pub fn decode(h: &[u8; HEAD_OCTETS], key: &Key, place: u64) -> HeadFound {
        let mut fields = Fields(h);
        let found_mark: [u8; 8] = fields.take();
        let version = u16::from_le_bytes(fields.take());
        let recipients = u16::from_le_bytes(fields.take());
        let blocks = u32::from_le_bytes(fields.take());
        let sequence = u64::from_le_bytes(fields.take());
        let id = Id::from_number(u64::from_le_bytes(fields.take()));
        let arrived_unix_s = u64::from_le_bytes(fields.take());
        let envelope_octets = u32::from_le_bytes(fields.take());
        let envelope_crc = u32::from_le_bytes(fields.take());
        let content_octets = u64::from_le_bytes(fields.take());
        let content_crc = u32::from_le_bytes(fields.take());
        let _: [u8; 4] = fields.take();
        let found_place = u64::from_le_bytes(fields.take());
        let tag: [u8; 8] = fields.take();
        let head = Self {
            id,
            sequence,
            blocks,
            arrived_unix_s,
            recipients,
            envelope_octets,
            envelope_crc,
            content_octets,
            content_crc,
        };
        let right = tag == siphash(key, &h[8..72])
            && found_place == place
            && version == VERSION
            && usize::from(recipients) <= RECIPIENTS
            && head.octets() > content_octets;
        match (right, found_mark == mark(key, place)) {
            (true, _) => HeadFound::Valid(head),
            (false, true) => HeadFound::Broken(head),
            (false, false) => HeadFound::Nothing,
        }
    }
}

/// Follows the content as it is read and tells at its end whether it is what was received.
#[derive(Clone, Copy, Debug)]
pub struct ContentSum {
    left: u64,
    crc: u32,
    expected: u32,
}

impl ContentSum {
    /// Nothing read yet of the content below `head`.
    pub const fn new(head: &Head) -> Self {
        Self { left: head.content_octets, crc: 0, expected: head.content_crc }
    }

    /// Follows the next octets.
    pub fn add(&mut self, octets: &[u8]) {
        self.left = self.left.saturating_sub(octets.len() as u64);
        self.crc = crc32c::crc32c_append(self.crc, octets);
    }

    /// True if all was read and it is right: only then may the last dot be sent.
    pub const fn is_right(&self) -> bool {
        self.left == 0 && self.crc == self.expected
    }
}

fn siphash(key: &Key, octets: &[u8]) -> [u8; 8] {
    let mut hasher = SipHasher24::new_with_key(key);
    hasher.write(octets);
    hasher.finish().to_le_bytes()
}

fn mark(key: &Key, place: u64) -> [u8; 8] {
    siphash(key, &place.to_le_bytes())
}

/// Takes fields off the front. The lengths of all fields are constants that add up, so running
/// out is our own mistake.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let Some((field, rest)) = self.0.split_first_chunk() else {
            unreachable!("the fields fit their record")
        };
        self.0 = rest;
        *field
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: Key = *b"0123456789abcdef";

    prop_compose! {
        fn any_head()(id: u64, sequence: u64, blocks: u32, arrived_unix_s: u64, recipients in 0..=256_u16,
            envelope_octets: u32, envelope_crc: u32, content_octets in 0..u64::MAX / 2, content_crc: u32) -> Head {
            Head { id: Id::from_number(id), sequence, blocks, arrived_unix_s, recipients,
                envelope_octets, envelope_crc, content_octets, content_crc }
        }
    }

    proptest! {
        #[test]
        fn head_and_back(head in any_head(), place: u64) {
            prop_assert_eq!(Head::decode(&head.encode(&KEY, place), &KEY, place), HeadFound::Valid(head));
        }

        #[test]
        fn a_flipped_octet_never_yields_another_head(head in any_head(), place: u64, at in 0..HEAD_OCTETS, flip in 1..=255_u8) {
            let mut octets = head.encode(&KEY, place);
            octets[at] ^= flip;
            match Head::decode(&octets, &KEY, place) {
                HeadFound::Valid(found) => prop_assert_eq!((found, at < 8), (head, true)),
                HeadFound::Broken(_) => prop_assert!(at >= 8),
                HeadFound::Nothing => prop_assert!(false, "unnoticed"),
            }
        }

        #[test]
        fn a_head_counts_at_its_place_and_under_its_key_alone(head in any_head(), place in 0..u64::MAX) {
            let octets = head.encode(&KEY, place);
            prop_assert_eq!(Head::decode(&octets, &KEY, place + 1), HeadFound::Nothing);
            prop_assert_eq!(Head::decode(&octets, &LARGE_KEY, place), HeadFound::Nothing);
        }

        #[test]
        fn no_octets_panic(octets in proptest::array::uniform32(any::<u8>())) {
            let mut h = [0; HEAD_OCTETS];
            h[..32].copy_from_slice(&octets);
            prop_assert_eq!(Head::decode(&h, &KEY, 0), HeadFound::Nothing);
        }

        #[test]
        fn a_flipped_superblock_is_broken(at in 0..44_usize, flip in 1..=255_u8, blocks in 4..9999_u32) {
            let superblock = Superblock { geometry: Geometry { block_octets: 4096, blocks }, key: KEY };
            let mut octets = superblock.encode();
            prop_assert_eq!(Superblock::decode(&octets), Ok(superblock));
            octets[at] ^= flip;
            prop_assert_eq!(Superblock::decode(&octets), Err(SuperblockError::Broken));
        }

        #[test]
        fn the_parts_of_the_file_do_not_overlap(octets in 0..1_u64 << 32, shift in 12..=16_u32) {
            let Some(g) = Geometry::of_size(octets, 1 << shift) else { return Ok(()) };
            prop_assert!(g.file_octets() <= octets + g.block());
            prop_assert!(g.status_at(g.blocks) <= g.block_at(0));
            prop_assert_eq!(g.block_at(0) % g.block(), 0);
        }
    }

    #[test]
    fn another_version_is_named() {
        let mut octets =
            Superblock { geometry: Geometry { block_octets: 4096, blocks: 9 }, key: KEY }.encode();
        octets[8] = 7;
        let crc = crc32c::crc32c(&octets[..40]);
        octets[40..44].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(Superblock::decode(&octets), Err(SuperblockError::Version(7)));
    }

    #[test]
    fn the_sum_is_right_only_at_the_end() {
        let head = Head {
            id: Id::default(),
            sequence: 1,
            blocks: 1,
            arrived_unix_s: 0,
            recipients: 1,
            envelope_octets: 0,
            envelope_crc: 0,
            content_octets: 6,
            content_crc: crc32c::crc32c(b"abcdef"),
        };
        let mut sum = ContentSum::new(&head);
        sum.add(b"abc");
        assert!(!sum.is_right());
        sum.add(b"def");
        assert!(sum.is_right());
        sum.add(b"g");
        assert!(!sum.is_right());
    }
}
