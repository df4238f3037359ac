//! Which blocks are taken: a bitmap in RAM, searched next-fit, so that the file is written like a
//! ring that steps over what still lives.
//!
//! A run whose message is done stays taken until that was synced: it is in `done` until a sync
//! starts, then in `leaving` until the sync is answered. What a failed sync leaves in doubt is
//! in neither and stays taken until the next start.

const WORD: u32 = u64::BITS;

/// A bit a block.
#[derive(Debug)]
struct Bits(Box<[u64]>);

impl Bits {
    fn new(bits: u32) -> Self {
        Self(vec![0; bits.div_ceil(WORD) as usize].into_boxed_slice())
    }

    fn has(&self, n: u32) -> bool {
        self.0.get((n / WORD) as usize).is_some_and(|word| word >> (n % WORD) & 1 == 1)
    }

    fn set(&mut self, n: u32, on: bool) {
        if let Some(word) = self.0.get_mut((n / WORD) as usize) {
            let bit = 1 << (n % WORD);
            *word = if on { *word | bit } else { *word & !bit };
        }
    }

    fn word(&self, n: u32) -> u64 {
        self.0.get((n / WORD) as usize).copied().unwrap_or(0)
    }

    fn count(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }
}

/// The blocks of the cells file.
#[derive(Debug)]
pub struct Cells {
    blocks: u32,
    used: Bits,
    done: Bits,
    leaving: Bits,
    taken: u32,
    next: u32,
}

impl Cells {
    /// All blocks free; allocated here and never again.
    pub fn new(blocks: u32) -> Self {
        let bits = || Bits::new(blocks);
        Self { blocks, used: bits(), done: bits(), leaving: bits(), taken: 0, next: 0 }
    }

    /// Octets of heap that the three bitmaps of so many blocks take.
    pub const fn heap_octets(blocks: u32) -> usize {
        3 * blocks.div_ceil(WORD) as usize * size_of::<u64>()
    }

    /// Blocks that are taken.
    pub fn taken(&self) -> u32 {
        self.taken
    }

    /// Blocks that a message may take at most, a quarter of the file.
    pub fn run_max(&self) -> u32 {
        self.blocks / 4
    }

    /// True if that block is taken.
    pub fn is_taken(&self, n: u32) -> bool {
        self.used.has(n)
    }

    /// Takes a run of `n` blocks, the next free one after the last taken.
    pub fn take(&mut self, n: u32) -> Option<u32> {
        let start = self.find(n)?;
        self.occupy(start, n);
        self.next = start + n;
        Some(start)
    }

    /// True if a run of `n` blocks is free.
    pub fn has_room(&self, n: u32) -> bool {
        self.find(n).is_some()
    }

    /// Takes a run that is known to be in use.
    pub fn occupy(&mut self, start: u32, n: u32) {
        for block in start..start.saturating_add(n).min(self.blocks) {
            self.taken += u32::from(!self.used.has(block));
            self.used.set(block, true);
        }
    }

    /// Gives back a run that never held a message.
    pub fn give_back(&mut self, start: u32, n: u32) {
        for block in start..start + n {
            assert!(self.used.has(block), "a free block can't be given back");
            self.used.set(block, false);
        }
        self.taken -= n;
    }

    /// The message in this run is done; the run is free once that was synced. False if it was
    /// done before, or its blocks are not taken.
    pub fn retire(&mut self, start: u32, n: u32) -> bool {
        let run = start..start.saturating_add(n);
        if run.clone().any(|b| !self.used.has(b) || self.done.has(b) || self.leaving.has(b)) {
            return false;
        }
        run.for_each(|block| self.done.set(block, true));
        true
    }

    /// A sync starts: it covers all that is done by now.
    pub fn sync_started(&mut self) {
        for (leaving, done) in self.leaving.0.iter_mut().zip(&mut self.done.0) {
            *leaving |= *done;
            *done = 0;
        }
    }

    /// The sync came through: runs that it covered are free.
    pub fn synced(&mut self) {
        for (used, leaving) in self.used.0.iter_mut().zip(&mut self.leaving.0) {
            *used &= !*leaving;
            *leaving = 0;
        }
        self.taken = self.used.count();
    }

    /// The sync failed: what was done before or while it ran is in doubt and stays taken.
    pub fn sync_failed(&mut self) {
        self.done.0.fill(0);
        self.leaving.0.fill(0);
    }

    fn find(&self, n: u32) -> Option<u32> {
        self.find_within(self.next, self.blocks, n).or_else(|| {
            let end = self.next.saturating_add(n).saturating_sub(1).min(self.blocks);
            self.find_within(0, end, n)
        })
    }

    fn find_within(&self, from: u32, to: u32, n: u32) -> Option<u32> {
        let (mut start, mut at) = (from, from);
        while n > 0 && at < to {
            if at % WORD == 0 && self.used.word(at) == u64::MAX {
                at += WORD;
                start = at;
            } else if self.used.has(at) {
                at += 1;
                start = at;
            } else {
                at += 1;
                if at - start == n {
                    return Some(start);
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn goes_round_and_steps_over_what_lives() {
        let mut cells = Cells::new(8);
        assert_eq!(
            [cells.take(3), cells.take(2), cells.take(3), cells.take(1)],
            [Some(0), Some(3), Some(5), None]
        );
        assert!(cells.retire(0, 3) && cells.retire(5, 3));
        assert!(!cells.retire(0, 1));
        assert_eq!(cells.take(1), None);
        cells.sync_started();
        cells.synced();
        assert_eq!(
            [cells.take(2), cells.take(2), cells.take(1), cells.take(2)],
            [Some(0), Some(5), Some(7), None]
        );
        assert_eq!(cells.take(1), Some(2));
    }

    #[test]
    fn what_is_done_while_a_sync_runs_waits_for_the_next() {
        let mut cells = Cells::new(4);
        assert_eq!([cells.take(2), cells.take(2)], [Some(0), Some(2)]);
        assert!(cells.retire(0, 2));
        cells.sync_started();
        assert!(cells.retire(2, 2));
        cells.synced();
        assert_eq!((cells.taken(), cells.is_taken(2), cells.is_taken(0)), (2, true, false));
    }

    #[test]
    fn what_a_failed_sync_leaves_in_doubt_is_never_used_again() {
        let mut cells = Cells::new(4);
        assert_eq!([cells.take(2), cells.take(2)], [Some(0), Some(2)]);
        assert!(cells.retire(0, 2));
        cells.sync_started();
        assert!(cells.retire(2, 2));
        cells.sync_failed();
        cells.sync_started();
        cells.synced();
        assert_eq!((cells.taken(), cells.take(1)), (4, None));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn runs_never_overlap_and_room_is_found_if_there_is_any(
            blocks in 1..200_u32,
            steps in proptest::collection::vec((1..40_u32, any::<bool>()), 1..80),
        ) {
            let mut cells = Cells::new(blocks);
            let mut model = vec![false; blocks as usize];
            let mut runs: Vec<(u32, u32)> = Vec::new();
            for (n, take) in steps {
                if take || runs.is_empty() {
                    let free = model.windows(n as usize).any(|w| w.iter().all(|used| !used));
                    let got = cells.take(n);
                    prop_assert_eq!(got.is_some(), free);
                    if let Some(start) = got {
                        let run = &mut model[start as usize..(start + n) as usize];
                        prop_assert!(run.iter().all(|used| !used));
                        run.fill(true);
                        runs.push((start, n));
                    }
                } else {
                    let (start, n) = runs.swap_remove(n as usize % runs.len());
                    prop_assert!(cells.retire(start, n));
                    cells.sync_started();
                    cells.synced();
                    model[start as usize..(start + n) as usize].fill(false);
                }
                prop_assert_eq!(cells.taken() as usize, model.iter().filter(|used| **used).count());
            }
        }
    }
}
