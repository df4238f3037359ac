//! What the spool asks of the machine.
//!
//! The real one is [`super::RealDisk`]; the power-cut tests put a simulated one in its place,
//! which can lose, tear and refuse. Nothing else in the spool touches files.

use std::io;

use heapless::String;

use super::id::Id;
use super::staging::StagingIndex;

/// Octets of a file's name, at most.
pub const NAME_OCTETS: usize = 255;

/// A file's name.
pub type Name = String<NAME_OCTETS>;

/// A folder of the spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Folder {
    /// The spool's directory itself: `cells`, `lock`.
    Root,
    /// `incoming`: staging files.
    Incoming,
    /// `large`: one file a message.
    Large,
    /// `corrupt`: what was set aside.
    Corrupt,
}

/// What a name in a folder stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Folder,
    /// A symbolic link, a socket, or a name that is no UTF-8.
    Odd,
}

/// What is to be made durable.
#[derive(Debug)]
pub enum Target<'a, F> {
    /// A file's data and length.
    File(&'a F),
    /// A folder's names.
    Folder(Folder),
}

/// Which sync an answer belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ticket {
    /// The cells.
    Cells,
    /// A large message's content, in its staging file.
    Content(StagingIndex),
    /// A large message's name.
    Link(StagingIndex),
    /// A large message's status.
    Status(Id),
}

/// The machine below the spool. All errors are the system's own.
pub trait Disk {
    /// An open file.
    type File;
    /// A folder being listed.
    type Listing;

    /// Takes the spool's lock, which is held until the disk is dropped; false if another process
    /// has it. Once held, to take it again changes nothing.
    fn lock(&mut self) -> io::Result<bool>;

    /// Opens the folders; with `make`, missing ones are made, durably.
    fn open_folders(&mut self, make: bool) -> io::Result<()>;

    /// Makes a file that did not exist, for reading and writing.
    fn create(&mut self, folder: Folder, name: &str) -> io::Result<Self::File>;

    /// Opens a regular file, for writing too if `write`. Anything else, links too, is an error.
    fn open(&mut self, folder: Folder, name: &str, write: bool) -> io::Result<Self::File>;

    /// Gives a file a second name, never replacing one.
    fn link(&mut self, from: (Folder, &str), to: (Folder, &str)) -> io::Result<()>;

    /// Takes a name away.
    fn unlink(&mut self, folder: Folder, name: &str) -> io::Result<()>;

    /// Starts a listing. Names that go or come meanwhile may be in it or not.
    fn list(&mut self, folder: Folder) -> io::Result<Self::Listing>;

    /// The next name of a listing.
    fn next_name(&mut self, listing: &mut Self::Listing) -> io::Result<Option<(Name, Kind)>>;

    /// A file's length in octets.
    fn length(&mut self, file: &Self::File) -> io::Result<u64>;

    /// Reads as much as there is, at most `octets`; less only at the file's end.
    fn read_at(&mut self, file: &Self::File, octets: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `octets`.
    fn write_at(&mut self, file: &Self::File, octets: &[u8], offset: u64) -> io::Result<()>;

    /// Cuts or extends a file.
    fn set_length(&mut self, file: &Self::File, octets: u64) -> io::Result<()>;

    /// Says that this range could be written to the medium now; only a hint.
    fn start_writeback(&mut self, file: &Self::File, offset: u64, octets: u64);

    /// Makes durable, and waits for it. For the start and for rare things.
    fn sync(&mut self, target: Target<'_, Self::File>) -> io::Result<()>;

    /// Asks to make durable what was written so far; [`Disk::synced`] answers. False, and nothing
    /// is asked, if as many are under way as there may be.
    fn start_sync(&mut self, ticket: Ticket, target: Target<'_, Self::File>) -> bool;

    /// The next answer to [`Disk::start_sync`], if there is one.
    fn synced(&mut self) -> Option<(Ticket, io::Result<()>)>;

    /// Octets that can still be stored in new files.
    fn free_octets(&mut self) -> io::Result<u64>;

    /// The larger of the file system's block and the page.
    fn block_octets(&mut self) -> io::Result<u32>;

    /// Fills with octets that nobody can foretell.
    fn random(&mut self, octets: &mut [u8]) -> io::Result<()>;
}
