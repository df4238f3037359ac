//! Gathers what is written to staging files.
//!
//! A message comes in by the line: envelope lines, header fields, pieces of content. Written one by
//! one they cost more system calls than all the rest of it. So writes that follow each other are
//! put together here, and a message that fits into a buffer goes from there into the cells without
//! ever touching its staging file. Buffers are few and shared: when all are taken, the one that
//! has been filled longest ago is written out.

use super::staging::StagingIndex;

/// Octets of a buffer: a short message with its envelope and trace field.
pub const BUFFER_OCTETS: usize = 4096;
/// Buffers at most; with fewer staging files there are as many as those.
pub const BUFFERS: usize = 32;

/// Octets of one staging file that are not in it yet.
#[derive(Debug)]
struct Buffer {
    owner: Option<StagingIndex>,
    /// Where in the file they go.
    at: u64,
    filled: usize,
    /// When it was last taken: the oldest makes room.
    taken: u64,
    octets: Box<[u8]>,
}

/// All buffers.
#[derive(Debug)]
pub struct Gather {
    buffers: Box<[Buffer]>,
    takes: u64,
}

/// What is to be written out: where, and what.
pub struct Out<'a> {
    /// To whose file.
    pub owner: StagingIndex,
    /// Where in it.
    pub at: u64,
    /// What.
    pub octets: &'a [u8],
}

impl Gather {
    /// Buffers for so many staging files, allocated here and never again.
    pub fn new(staging: u16) -> Self {
        let count = usize::from(staging).min(BUFFERS);
        let buffer = || {
            let octets = vec![0; BUFFER_OCTETS].into_boxed_slice();
            Buffer { owner: None, at: 0, filled: 0, taken: 0, octets }
        };
        Self { buffers: (0..count).map(|_| buffer()).collect(), takes: 0 }
    }

    /// Octets of heap that they take.
    pub const fn heap_octets(staging: u16) -> usize {
        let count = if (staging as usize) < BUFFERS { staging as usize } else { BUFFERS };
        count * (BUFFER_OCTETS + size_of::<Buffer>())
    }

    /// Puts `octets` for place `at` of a file behind what is gathered for it. `write` is called
    /// first for what has to make room, and for `octets` themselves if they are too many to be
    /// gathered. What it fails to write is lost to its owner, whose hole `write` has to note; an
    /// error is given back only if the owner is this one.
    pub fn put<E>(
        &mut self,
        owner: StagingIndex,
        at: u64,
        octets: &[u8],
        mut write: impl FnMut(Out<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if let Some(buffer) = self.buffers.iter_mut().find(|b| b.owner == Some(owner)) {
            let follows = buffer.at + buffer.filled as u64 == at;
            if follows && octets.len() <= BUFFER_OCTETS - buffer.filled {
                buffer.append(octets);
                return Ok(());
            }
            buffer.write_out(&mut write)?;
        }
        if octets.len() >= BUFFER_OCTETS {
            return write(Out { owner, at, octets });
        }
        let Some(buffer) = self.buffers.iter_mut().min_by_key(|b| (b.owner.is_some(), b.taken)) else {
            return write(Out { owner, at, octets });
        };
        // Should that fail, it is the other message that has a hole, and `write` that notes it.
        let _ = buffer.write_out(&mut write);
        self.takes += 1;
        (buffer.owner, buffer.at, buffer.filled, buffer.taken) = (Some(owner), at, 0, self.takes);
        buffer.append(octets);
        Ok(())
    }

    /// What is gathered for a file, if it starts at `at`: then nothing of it is in the file yet.
    pub fn all_from(&self, owner: StagingIndex, at: u64) -> Option<&[u8]> {
        let buffer = self.buffers.iter().find(|b| b.owner == Some(owner) && b.at == at)?;
        Some(&buffer.octets[..buffer.filled])
    }

    /// Writes out what is gathered for a file.
    pub fn flush<E>(
        &mut self,
        owner: StagingIndex,
        mut write: impl FnMut(Out<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        match self.buffers.iter_mut().find(|b| b.owner == Some(owner)) {
            Some(buffer) => buffer.write_out(&mut write),
            None => Ok(()),
        }
    }

    /// Forgets what is gathered for a file.
    pub fn forget(&mut self, owner: StagingIndex) {
        if let Some(buffer) = self.buffers.iter_mut().find(|b| b.owner == Some(owner)) {
            buffer.owner = None;
        }
    }
}

impl Buffer {
    fn append(&mut self, octets: &[u8]) {
        self.octets[self.filled..self.filled + octets.len()].copy_from_slice(octets);
        self.filled += octets.len();
    }

    /// Empties the buffer; after an error too, for a message with a hole is no message.
    fn write_out<E>(&mut self, write: &mut impl FnMut(Out<'_>) -> Result<(), E>) -> Result<(), E> {
        match self.owner.take() {
            Some(owner) => write(Out { owner, at: self.at, octets: &self.octets[..self.filled] }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_short_message_stays_together() {
        let mut gather = Gather::new(4);
        let never = |_: Out<'_>| -> Result<(), ()> { panic!("nothing has to be written") };
        gather.put(StagingIndex(1), 80, b"from <>\n", never).unwrap();
        gather.put(StagingIndex(1), 88, b"to\n", never).unwrap();
        assert_eq!(gather.all_from(StagingIndex(1), 80), Some(&b"from <>\nto\n"[..]));
        assert_eq!(gather.all_from(StagingIndex(1), 88), None);
        gather.forget(StagingIndex(1));
        assert_eq!(gather.all_from(StagingIndex(1), 80), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        /// Whatever is put in by whomever, the files end up with all of it in its place.
        #[test]
        fn nothing_is_lost_or_moved(puts in proptest::collection::vec((0..40_u16, 1..6000_usize), 1..80)) {
            let mut files = vec![Vec::new(); 40];
            let mut expected = vec![Vec::new(); 40];
            let mut gather = Gather::new(40);
            fn store(files: &mut [Vec<u8>], out: &Out<'_>) {
                let file = &mut files[usize::from(out.owner.0)];
                let end = out.at as usize + out.octets.len();
                file.resize(file.len().max(end), 0);
                file[out.at as usize..end].copy_from_slice(out.octets);
            }
            for (n, (owner, count)) in puts.into_iter().enumerate() {
                let octets = vec![n as u8 + 1; count];
                let at = expected[usize::from(owner)].len() as u64;
                expected[usize::from(owner)].extend_from_slice(&octets);
                gather.put(StagingIndex(owner), at, &octets, |out| { store(&mut files, &out); Ok::<(), ()>(()) }).unwrap();
            }
            for owner in (0..40).map(StagingIndex) {
                gather.flush(owner, |out| { store(&mut files, &out); Ok::<(), ()>(()) }).unwrap();
            }
            prop_assert_eq!(files, expected);
        }
    }
}
