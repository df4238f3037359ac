//! Linux below the spool: everything relative to open folders, links never followed, nothing
//! replaced.

use std::fs::{DirBuilder, File, ReadDir};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};

use heapless::Deque;
use nix::fcntl::{AtFlags, Flock, FlockArg, OFlag, openat};
use nix::sys::stat::{Mode, mkdirat};
use nix::sys::statvfs::fstatvfs;
use nix::unistd::{UnlinkatFlags, linkat, unlinkat};

use super::disk::{Disk, Folder, Kind, Name, Target, Ticket};
use crate::helper::{Desk, Helper};
use crate::sys;

/// Syncs that can be under way, or answered and not yet taken.
const SYNCS: usize = 16;
const FILE_MODE: Mode = Mode::S_IRUSR.union(Mode::S_IWUSR);
const SUBFOLDERS: [Folder; 3] = [Folder::Incoming, Folder::Large, Folder::Corrupt];

/// The spool's directory on a real file system.
#[derive(Debug)]
pub struct RealDisk {
    path: PathBuf,
    root: File,
    folders: [Option<File>; SUBFOLDERS.len()],
    lock: Option<Flock<File>>,
    syncs: Syncs,
}

/// Where syncs run.
#[derive(Debug)]
enum Syncs {
    /// Where they are asked for; the answers wait here.
    Here(Deque<Answer, SYNCS>),
    /// In a thread of their own, so that nobody else waits for a slow medium.
    InHelper(Helper<Question, Answer>),
}

type Answer = (Ticket, io::Result<()>);

/// What is to be made durable: all of a file, or its data and length.
#[derive(Debug)]
struct Question {
    ticket: Ticket,
    file: File,
    is_folder: bool,
}

impl Question {
    fn sync(&self) -> io::Result<()> {
        if self.is_folder { self.file.sync_all() } else { self.file.sync_data() }
    }
}

impl RealDisk {
    /// The spool in this directory. With `make` it is made (mode 0700) if it is missing.
    pub fn open(directory: &Path, make: bool) -> io::Result<Self> {
        if make && !directory.exists() {
            DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
            if let Some(parent) = directory.parent().filter(|p| !p.as_os_str().is_empty()) {
                File::open(parent)?.sync_all()?;
            }
        }
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let root: OwnedFd = nix::fcntl::open(directory, flags, Mode::empty())?;
        let folders = [const { None }; SUBFOLDERS.len()];
        Ok(Self {
            path: directory.to_owned(),
            root: root.into(),
            folders,
            lock: None,
            syncs: Syncs::Here(Deque::new()),
        })
    }

    /// Octets that the helper takes.
    pub const HELPER_OCTETS: usize = Helper::<Question, Answer>::OCTETS;

    /// From now on syncs run in a helper; `wake` is called after each.
    pub fn sync_in_helper(&mut self, wake: impl Fn() + Send + 'static) -> io::Result<()> {
        let helper = Helper::start("sync", wake, |desk: &mut Desk<Question, Answer>| {
            while let Some(question) = desk.question() {
                desk.answer((question.ticket, question.sync()));
            }
        })?;
        self.syncs = Syncs::InHelper(helper);
        Ok(())
    }

    fn folder(&self, folder: Folder) -> io::Result<&File> {
        match folder {
            Folder::Root => Ok(&self.root),
            Folder::Incoming => self.folders[0].as_ref().ok_or_else(|| io::ErrorKind::NotFound.into()),
            Folder::Large => self.folders[1].as_ref().ok_or_else(|| io::ErrorKind::NotFound.into()),
            Folder::Corrupt => self.folders[2].as_ref().ok_or_else(|| io::ErrorKind::NotFound.into()),
        }
    }

    fn open_at(&self, folder: Folder, name: &str, flags: OFlag) -> io::Result<File> {
        let flags = flags | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        let file: OwnedFd = openat(self.folder(folder)?, name, flags, FILE_MODE)?;
        Ok(file.into())
    }

    fn open_folder(&self, name: &str, make: bool) -> io::Result<Option<File>> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        match openat(&self.root, name, flags, Mode::empty()) {
            Ok(folder) => return Ok(Some(folder.into())),
            Err(nix::Error::ENOENT) if !make => return Ok(None),
            Err(nix::Error::ENOENT) => {}
            Err(e) => return Err(e.into()),
        }
        mkdirat(&self.root, name, Mode::S_IRWXU)?;
        self.root.sync_all()?;
        Ok(Some(openat(&self.root, name, flags, Mode::empty())?.into()))
    }
}

/// The name of a folder of the spool.
fn folder_name(folder: Folder) -> &'static str {
    match folder {
        Folder::Root => ".",
        Folder::Incoming => "incoming",
        Folder::Large => "large",
        Folder::Corrupt => "corrupt",
    }
}

impl Disk for RealDisk {
    type File = File;
    type Listing = ReadDir;

    fn lock(&mut self) -> io::Result<bool> {
        if self.lock.is_some() {
            return Ok(true);
        }
        let file = self.open_at(Folder::Root, "lock", OFlag::O_RDWR | OFlag::O_CREAT)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => {
                self.lock = Some(lock);
                Ok(true)
            }
            Err((_, nix::Error::EWOULDBLOCK)) => Ok(false),
            Err((_, e)) => Err(e.into()),
        }
    }

    fn open_folders(&mut self, make: bool) -> io::Result<()> {
        for (n, folder) in SUBFOLDERS.into_iter().enumerate() {
            self.folders[n] = self.open_folder(folder_name(folder), make)?;
        }
        Ok(())
    }

    fn create(&mut self, folder: Folder, name: &str) -> io::Result<File> {
        self.open_at(folder, name, OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL)
    }

    fn open(&mut self, folder: Folder, name: &str, write: bool) -> io::Result<File> {
        let file = self.open_at(folder, name, if write { OFlag::O_RDWR } else { OFlag::O_RDONLY })?;
        if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::InvalidInput.into()) }
    }

    fn link(&mut self, from: (Folder, &str), to: (Folder, &str)) -> io::Result<()> {
        linkat(self.folder(from.0)?, from.1, self.folder(to.0)?, to.1, AtFlags::empty())?;
        Ok(())
    }

    fn unlink(&mut self, folder: Folder, name: &str) -> io::Result<()> {
        Ok(unlinkat(self.folder(folder)?, name, UnlinkatFlags::NoRemoveDir)?)
    }

    fn list(&mut self, folder: Folder) -> io::Result<ReadDir> {
        std::fs::read_dir(self.path.join(folder_name(folder)))
    }

    fn next_name(&mut self, listing: &mut ReadDir) -> io::Result<Option<(Name, Kind)>> {
        let Some(entry) = listing.next().transpose()? else { return Ok(None) };
        let kind = entry.file_type()?;
        let name = entry.file_name();
        let kind = match name.to_str() {
            Some(_) if kind.is_file() => Kind::File,
            Some(_) if kind.is_dir() => Kind::Folder,
            Some(_) | None => Kind::Odd,
        };
        let name = Name::try_from(&*name.to_string_lossy()).unwrap_or_default();
        Ok(Some((name, kind)))
    }

    fn length(&mut self, file: &File) -> io::Result<u64> {
        Ok(file.metadata()?.len())
    }

    fn read_at(&mut self, file: &File, octets: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut read = 0;
        while read < octets.len() {
            match file.read_at(&mut octets[read..], offset + read as u64) {
                Ok(0) => break,
                Ok(n) => read += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(read)
    }

    fn write_at(&mut self, file: &File, octets: &[u8], offset: u64) -> io::Result<()> {
        file.write_all_at(octets, offset)
    }

    fn set_length(&mut self, file: &File, octets: u64) -> io::Result<()> {
        file.set_len(octets)
    }

    fn start_writeback(&mut self, file: &File, offset: u64, octets: u64) {
        sys::start_writeback(file.as_fd(), offset, octets);
    }

    fn sync(&mut self, target: Target<'_, File>) -> io::Result<()> {
        match target {
            Target::File(file) => file.sync_data(),
            Target::Folder(folder) => self.folder(folder)?.sync_all(),
        }
    }

    /// The helper gets a duplicate of the descriptor, so the file may be closed meanwhile. Without a
    /// helper this syncs here and now, and the answer waits to be taken.
    fn start_sync(&mut self, ticket: Ticket, target: Target<'_, File>) -> bool {
        let opened = match &target {
            Target::File(file) => file.try_clone(),
            Target::Folder(folder) => self.folder(*folder).and_then(File::try_clone),
        };
        let is_folder = matches!(target, Target::Folder(_));
        match (&mut self.syncs, opened) {
            (Syncs::InHelper(helper), Ok(file)) => helper.ask(Question { ticket, file, is_folder }),
            // Without a descriptor to spare it is tried again later.
            (Syncs::InHelper(_), Err(_)) => false,
            (Syncs::Here(answers), _) if answers.is_full() => false,
            (Syncs::Here(answers), opened) => {
                let result = opened.and_then(|file| Question { ticket, file, is_folder }.sync());
                answers.push_back((ticket, result)).is_ok()
            }
        }
    }

    fn synced(&mut self) -> Option<(Ticket, io::Result<()>)> {
        match &mut self.syncs {
            Syncs::Here(answers) => answers.pop_front(),
            Syncs::InHelper(helper) => helper.answer(),
        }
    }

    fn free_octets(&mut self) -> io::Result<u64> {
        let fs = fstatvfs(&self.root)?;
        // The widths of these fields differ between platforms.
        #[allow(clippy::unnecessary_cast)]
        Ok((fs.blocks_available() as u64).saturating_mul(fs.fragment_size() as u64))
    }

    fn block_octets(&mut self) -> io::Result<u32> {
        #[allow(clippy::unnecessary_cast)]
        let fragment = fstatvfs(&self.root)?.fragment_size() as u64;
        Ok(u32::try_from(fragment.max(sys::page_octets())).unwrap_or(u32::MAX))
    }

    fn random(&mut self, octets: &mut [u8]) -> io::Result<()> {
        File::open("/dev/urandom")?.read_exact(octets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// A folder of its own for a test, taken away at its end.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new() -> Self {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let name =
                format!("pillarbox-disk-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
            Self(std::env::temp_dir().join(name))
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_second_lock_is_refused_until_the_first_is_gone() {
        let scratch = Scratch::new();
        let mut first = RealDisk::open(&scratch.0, true).unwrap();
        let mut second = RealDisk::open(&scratch.0, false).unwrap();
        assert!(first.lock().unwrap());
        assert!(!second.lock().unwrap());
        drop(first);
        assert!(second.lock().unwrap());
    }

    #[test]
    fn links_are_not_followed_and_nothing_is_replaced() {
        let scratch = Scratch::new();
        let mut disk = RealDisk::open(&scratch.0, true).unwrap();
        assert!(disk.list(Folder::Large).is_err());
        disk.open_folders(true).unwrap();
        disk.create(Folder::Incoming, "00").unwrap();
        assert!(disk.create(Folder::Incoming, "00").is_err());
        disk.link((Folder::Incoming, "00"), (Folder::Large, "a")).unwrap();
        let again = disk.link((Folder::Incoming, "00"), (Folder::Large, "a"));
        assert_eq!(again.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        std::os::unix::fs::symlink("a", scratch.0.join("large/b")).unwrap();
        assert!(disk.open(Folder::Large, "b", false).is_err());
        assert!(disk.open(Folder::Root, "large", false).is_err());
        let mut listing = disk.list(Folder::Large).unwrap();
        let mut all = vec![];
        while let Some((name, kind)) = disk.next_name(&mut listing).unwrap() {
            all.push((name.as_str().to_owned(), kind));
        }
        all.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(all, [("a".to_owned(), Kind::File), ("b".to_owned(), Kind::Odd)]);
    }

    #[test]
    fn files_are_read_as_they_were_written() {
        let scratch = Scratch::new();
        let mut disk = RealDisk::open(&scratch.0, true).unwrap();
        disk.open_folders(true).unwrap();
        let file = disk.create(Folder::Incoming, "00").unwrap();
        disk.write_at(&file, b"abc", 5).unwrap();
        let mut octets = [9; 6];
        assert_eq!(disk.read_at(&file, &mut octets, 4).unwrap(), 4);
        assert_eq!(&octets, b"\0abc\x09\x09");
        assert!(disk.start_sync(Ticket::Cells, Target::File(&file)));
        assert!(matches!(disk.synced(), Some((Ticket::Cells, Ok(())))));
        assert!(disk.synced().is_none());
    }
}
