//! Octets of any number kept for later: the first in memory, the rest in a file without a name.
//!
//! A message or an answer is taken in whole before anything is done with it, so that whoever gives
//! it never waits for whoever takes it, yet it never needs more memory than one buffer.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};

/// Octets that are kept in memory.
const MEMORY_OCTETS: usize = 64 * 1024;

/// Written from front to back, then read the same way.
#[derive(Debug, Default)]
pub struct Spill {
    memory: Vec<u8>,
    file: Option<File>,
    octets: u64,
    /// Octets read.
    read: u64,
}

impl Spill {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Octets written.
    pub fn octets(&self) -> u64 {
        self.octets
    }

    /// Reading starts at the front again; what is written comes behind what is there.
    pub fn rewind(&mut self) {
        self.read = 0;
    }
}

impl Read for Spill {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let in_memory =
            usize::try_from(self.read).ok().and_then(|at| self.memory.get(at..)).unwrap_or_default();
        let n = match &self.file {
            _ if !in_memory.is_empty() => {
                let n = in_memory.len().min(room.len());
                room[..n].copy_from_slice(&in_memory[..n]);
                n
            }
            Some(file) => file.read_at(room, self.read - self.memory.len() as u64)?,
            None => 0,
        };
        self.read += n as u64;
        Ok(n)
    }
}

impl Write for Spill {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        if self.memory.len() + octets.len() <= MEMORY_OCTETS && self.file.is_none() {
            self.memory.extend_from_slice(octets);
        } else {
            if self.file.is_none() {
                self.file = Some(nameless()?);
            }
            if let Some(file) = &mut self.file {
                file.write_all(octets)?;
            }
        }
        self.octets += octets.len() as u64;
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A file in the folder for temporary files that is gone when it is closed.
fn nameless() -> io::Result<File> {
    let folder = std::env::temp_dir();
    for number in 0..100 {
        let name = folder.join(format!("pillarbox-{}-{number}", std::process::id()));
        match OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&name) {
            Ok(file) => {
                std::fs::remove_file(&name)?;
                return Ok(file);
            }
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_however_much_it_is() {
        for pieces in [0_usize, 1, 63, 64, 65, 200] {
            let mut spill = Spill::new();
            let mut expected = Vec::new();
            for n in 0..pieces {
                let piece = vec![u8::try_from(n).unwrap(); 1000 + n];
                spill.write_all(&piece).unwrap();
                expected.extend(piece);
            }
            for _ in 0..2 {
                let mut read = Vec::new();
                spill.rewind();
                spill.read_to_end(&mut read).unwrap();
                assert!(read == expected, "{pieces}");
            }
            assert_eq!(spill.octets(), expected.len() as u64);
            assert!(spill.memory.len() <= MEMORY_OCTETS);
        }
    }
}
