//! Linux below the spool.
use super::disk::*;
use std::fs::File;
use std::io;
use std::path::Path;
#[derive(Debug)]
pub struct RealDisk;
#[allow(unused_variables, missing_docs)]
impl RealDisk {
    pub fn open(directory: &Path, make: bool) -> io::Result<Self> {
        todo!()
    }
}
#[allow(unused_variables)]
impl Disk for RealDisk {
    type File = File;
    type Listing = ();
    fn lock(&mut self) -> io::Result<bool> {
        todo!()
    }
    fn open_folders(&mut self, make: bool) -> io::Result<()> {
        todo!()
    }
    fn create(&mut self, folder: Folder, name: &str) -> io::Result<Self::File> {
        todo!()
    }
    fn open(&mut self, folder: Folder, name: &str, write: bool) -> io::Result<Self::File> {
        todo!()
    }
    fn link(&mut self, from: (Folder, &str), to: (Folder, &str)) -> io::Result<()> {
        todo!()
    }
    fn unlink(&mut self, folder: Folder, name: &str) -> io::Result<()> {
        todo!()
    }
    fn list(&mut self, folder: Folder) -> io::Result<Self::Listing> {
        todo!()
    }
    fn next_name(&mut self, listing: &mut Self::Listing) -> io::Result<Option<(Name, Kind)>> {
        todo!()
    }
    fn length(&mut self, file: &Self::File) -> io::Result<u64> {
        todo!()
    }
    fn read_at(&mut self, file: &Self::File, octets: &mut [u8], offset: u64) -> io::Result<usize> {
        todo!()
    }
    fn write_at(&mut self, file: &Self::File, octets: &[u8], offset: u64) -> io::Result<()> {
        todo!()
    }
    fn set_length(&mut self, file: &Self::File, octets: u64) -> io::Result<()> {
        todo!()
    }
    fn start_writeback(&mut self, file: &Self::File, offset: u64, octets: u64) {
        todo!()
    }
    fn sync(&mut self, target: Target<'_, Self::File>) -> io::Result<()> {
        todo!()
    }
    fn start_sync(&mut self, ticket: Ticket, target: Target<'_, Self::File>) -> bool {
        todo!()
    }
    fn synced(&mut self) -> Option<(Ticket, io::Result<()>)> {
        todo!()
    }
    fn free_octets(&mut self) -> io::Result<u64> {
        todo!()
    }
    fn block_octets(&mut self) -> io::Result<u32> {
        todo!()
    }
    fn random(&mut self, octets: &mut [u8]) -> io::Result<()> {
        todo!()
    }
}
