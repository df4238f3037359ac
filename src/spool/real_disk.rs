//! Linux below the spool.
use std::fs::File;
use std::io;
use std::path::Path;

use super::disk::{Disk, Folder, Kind, Name, Target, Ticket};
/// Linux below the spool.
#[derive(Debug)]
pub struct RealDisk;
impl RealDisk {
    /// The spool in this directory, which is made (mode 0700) if it is missing and `make`.
    pub fn open(directory: &Path, make: bool) -> io::Result<Self> {
        todo!()
    }
}
