//! Maildir: one file a message, written in `tmp`, forced to disk, then linked into `new`.
//!
//! The name of a file is made of the message's id and the recipient's place, not of the time of
//! the try. So a delivery that is repeated after a power cut finds its own file and counts it as
//! done, instead of making a second one.
//!
//! [`Draft::create`] and [`Draft::write`] only fill the page cache and run in the loop;
//! [`finish`] waits for the disk and runs in a helper, for many drafts at once.

use std::fmt::{Arguments, Write as _};
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, chown, fchown};
use std::path::Path;

use heapless::String;

use crate::limits::MAILBOX_PATH_OCTETS;

/// The folders of a Maildir.
const FOLDERS: [&str; 3] = ["tmp", "new", "cur"];
/// Octets of a file's name.
const NAME_OCTETS: usize = 128;
/// Octets that are turned into local lines at a time.
const PIECE_OCTETS: usize = 4096;
/// Drafts that one [`finish`] takes at most.
pub const DRAFTS: usize = 32;
/// A message's file name.
pub type FileName = String<NAME_OCTETS>;
type FilePath = String<{ MAILBOX_PATH_OCTETS + NAME_OCTETS + 8 }>;

/// Who may open mailboxes besides their owner, who is the run user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights {
    /// Permission bits of folders; files get all but their search bits.
    pub mode: u32,
    /// The group, by number; `None`: the run user's.
    pub group: Option<u32>,
}

/// A message that is being written into a mailbox.
#[derive(Debug)]
pub struct Draft {
    folder: String<MAILBOX_PATH_OCTETS>,
    name: FileName,
    file: File,
    octets: u64,
    /// How many folders, from the mailbox upwards, hold one that was made with it, and have to be synced.
    made: usize,
    /// A CR whose LF has not come yet.
    held_cr: bool,
}

/// Makes the name of a message's file: stable over tries, unique over messages and hosts.
pub fn file_name(arrived_unix_s: u64, id: &str, recipient: u16, host: &str) -> FileName {
    let mut name = FileName::new();
    // A name cut short would still be valid; only a host name of over 60 octets is.
    let _ = write!(name, "{arrived_unix_s}.Q{id}R{recipient}.");
    for c in host.chars().take(60) {
        let safe = if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') { c } else { '_' };
        let _ = name.push(safe);
    }
    name
}

impl Draft {
    /// Opens a new file in the mailbox at `folder`. With `make` the mailbox is made where it is
    /// missing.
    pub fn create(folder: &str, name: &FileName, rights: Rights, make: bool) -> io::Result<Self> {
        let folder = String::try_from(folder).map_err(|_| io::Error::from(io::ErrorKind::InvalidFilename))?;
        let made = if make { make_mailbox(&folder, rights)? } else { 0 };
        let path = file_path(&folder, "tmp", name)?;
        let mode = rights.mode & 0o666;
        let open = || OpenOptions::new().write(true).create_new(true).mode(mode).open(path.as_str());
        let file = match open() {
            // Left by a try that was cut off: nobody else makes this name.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                fs::remove_file(path.as_str())?;
                open()?
            }
            other => other?,
        };
        if rights.group.is_some() {
            fchown(&file, None, rights.group)?;
        }
        file.set_permissions(Permissions::from_mode(mode))?;
        Ok(Self { folder, name: name.clone(), file, octets: 0, made, held_cr: false })
    }

    /// Appends content, with the line ends of local files: CRLF becomes LF.
    pub fn write(&mut self, content: &[u8]) -> io::Result<()> {
        // One octet over: a CR held back from the last call comes before what is new.
        let mut lines = heapless::Vec::<u8, { PIECE_OCTETS + 1 }>::new();
        for piece in content.chunks(PIECE_OCTETS) {
            lines.clear();
            for &octet in piece {
                if std::mem::take(&mut self.held_cr) && octet != b'\n' {
                    let _ = lines.push(b'\r');
                }
                if octet == b'\r' {
                    self.held_cr = true;
                } else {
                    let _ = lines.push(octet);
                }
            }
            self.file.write_all(&lines)?;
            self.octets += lines.len() as u64;
        }
        Ok(())
    }

    /// Gives the draft up and takes its file away.
    pub fn abandon(&self) {
        if let Ok(path) = file_path(&self.folder, "tmp", &self.name) {
            // What is left in `tmp` is nobody's mail; mail programs clean it too.
            let _ = fs::remove_file(path.as_str());
        }
    }

    /// Links the synced file into `new`. A file of that name and size is this message, delivered
    /// by a try whose end was lost.
    fn publish(&self) -> io::Result<()> {
        let from = file_path(&self.folder, "tmp", &self.name)?;
        let to = file_path(&self.folder, "new", &self.name)?;
        match fs::hard_link(from.as_str(), to.as_str()) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                if fs::metadata(to.as_str())?.len() != self.octets {
                    return Err(e);
                }
            }
            // File systems without links: nobody else makes this name.
            Err(e)
                if matches!(
                    e.raw_os_error(),
                    Some(libc::EPERM | libc::EOPNOTSUPP | libc::ENOSYS | libc::EMLINK)
                ) =>
            {
                return fs::rename(from.as_str(), to.as_str());
            }
            Err(e) => return Err(e),
        }
        fs::remove_file(from.as_str())
    }
}

/// Forces up to [`DRAFTS`] drafts to disk and shows them to the mailbox's owner; `outcome` is
/// called once for each, by its place in `drafts`, when its message is durable or has failed. Blocks.
///
/// The data of all goes out first, then each folder is synced once for all that came into it.
pub fn finish(drafts: &[Draft], mut outcome: impl FnMut(usize, io::Result<()>)) {
    assert!(drafts.len() <= DRAFTS);
    let mut linked: u32 = 0;
    for (at, draft) in drafts.iter().enumerate() {
        match draft.file.sync_data().and_then(|()| draft.publish()) {
            Ok(()) => linked |= 1 << at,
            Err(e) => {
                draft.abandon();
                outcome(at, Err(e));
            }
        }
    }
    while linked != 0 {
        let first = &drafts[linked.trailing_zeros() as usize];
        let together = |at: &usize| linked & (1 << at) != 0 && drafts[*at].folder == first.folder;
        let made = (0..drafts.len()).filter(together).map(|at| drafts[at].made).max().unwrap_or(0);
        let synced = sync_folders(first, made);
        let mut rest = linked;
        for at in (0..drafts.len()).filter(together) {
            rest &= !(1 << at);
            outcome(at, synced.as_ref().copied().map_err(|e| e.kind().into()));
        }
        linked = rest;
    }
}

/// Syncs `new`, and as many folders from the mailbox upwards as hold one that was made. Those above may
/// be out of the sandbox.
fn sync_folders(draft: &Draft, made: usize) -> io::Result<()> {
    File::open(sub_folder(&draft.folder, "new")?.as_str())?.sync_all()?;
    let mailbox = Path::new(draft.folder.as_str());
    for folder in mailbox.ancestors().take(made).filter(|f| !f.as_os_str().is_empty()) {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// Makes a mailbox where there is none: how many folders, from the mailbox upwards, hold one that was made.
fn make_mailbox(folder: &str, rights: Rights) -> io::Result<usize> {
    // Looked at for every message, so without a path on the heap.
    if FOLDERS.iter().all(|sub| sub_folder(folder, sub).is_ok_and(|path| Path::new(path.as_str()).is_dir())) {
        return Ok(0);
    }
    let above = make_folder(Path::new(folder), rights)?;
    for sub in FOLDERS {
        make_folder(Path::new(sub_folder(folder, sub)?.as_str()), rights)?;
    }
    Ok(above + 1)
}

/// Makes a folder and those above it, where they are missing: whoever may open a mailbox has to get
/// to it. How many were made.
fn make_folder(folder: &Path, rights: Rights) -> io::Result<usize> {
    let above = match folder.parent().filter(|above| !above.exists()) {
        Some(above) => make_folder(above, rights)?,
        None => 0,
    };
    match DirBuilder::new().mode(rights.mode).create(folder) {
        Ok(()) => {
            if rights.group.is_some() {
                chown(folder, None, rights.group)?;
            }
            // The umask must not take what the configuration gives.
            fs::set_permissions(folder, Permissions::from_mode(rights.mode)).map(|()| above + 1)
        }
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(above),
        Err(e) => Err(e),
    }
}

fn sub_folder(folder: &str, sub: &str) -> io::Result<FilePath> {
    path_of(format_args!("{folder}/{sub}"))
}

fn file_path(folder: &str, sub: &str, name: &str) -> io::Result<FilePath> {
    path_of(format_args!("{folder}/{sub}/{name}"))
}

fn path_of(parts: Arguments<'_>) -> io::Result<FilePath> {
    let mut path = FilePath::new();
    path.write_fmt(parts).map_err(|_| io::Error::from(io::ErrorKind::InvalidFilename))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn folder(test: &str) -> std::string::String {
        let path = std::env::temp_dir().join(format!("pillarbox-maildir-{}-{test}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        path.into_os_string().into_string().unwrap()
    }

    fn rights(mode: u32) -> Rights {
        Rights { mode, group: None }
    }

    fn new_files(folder: &str) -> Vec<std::vec::Vec<u8>> {
        let mut all: Vec<_> = fs::read_dir(format!("{folder}/new"))
            .unwrap()
            .map(|e| fs::read(e.unwrap().path()).unwrap())
            .collect();
        all.sort();
        all
    }

    fn deliver(folder: &str, name: &FileName, content: &[u8]) -> io::Result<()> {
        let mut draft = Draft::create(folder, name, rights(0o770), true)?;
        draft.write(content)?;
        let mut result = Err(io::ErrorKind::Other.into());
        finish(&[draft], |_, r| result = r);
        result
    }

    #[test]
    fn a_message_arrives_once_however_often_the_try_is_repeated() {
        let at = folder("repeat");
        let name = file_name(5, "abc-1", 0, "ho/st");
        assert_eq!(name, "5.Qabc-1R0.ho_st");
        for _ in 0..2 {
            deliver(&at, &name, b"Subject: x\r\n\r\nhello\r\n").unwrap();
        }
        assert_eq!(new_files(&at), [b"Subject: x\n\nhello\n"]);
        assert!(fs::read_dir(format!("{at}/tmp")).unwrap().next().is_none());
        assert_eq!(fs::metadata(&at).unwrap().permissions().mode() & 0o777, 0o770);
        fs::remove_dir_all(at).unwrap();
    }

    #[test]
    fn folders_and_files_get_the_mode_and_the_group() {
        let at = folder("group");
        // The first other group that this user may give things to: for root any.
        let ours = nix::unistd::getgid().as_raw();
        let other = nix::unistd::getgroups().unwrap().into_iter().map(|g| g.as_raw()).find(|&g| g != ours);
        let group = if nix::unistd::geteuid().is_root() { 12_345 } else { other.unwrap_or(ours) };
        let mailbox = format!("{at}/home.test/me");
        let rights = Rights { mode: 0o750, group: Some(group) };
        let draft = Draft::create(&mailbox, &file_name(5, "abc-1", 0, "host"), rights, true).unwrap();
        finish(&[draft], |_, result| result.unwrap());
        let told = |path: &str| {
            let metadata = fs::metadata(path).unwrap();
            (metadata.permissions().mode() & 0o777, std::os::unix::fs::MetadataExt::gid(&metadata))
        };
        for made in ["", "/home.test", "/home.test/me", "/home.test/me/new", "/home.test/me/cur"] {
            assert_eq!(told(&format!("{at}{made}")), (0o750, group), "{made}");
        }
        assert_eq!(told(&format!("{mailbox}/new/5.Qabc-1R0.host")), (0o640, group));
        fs::remove_dir_all(at).unwrap();
    }

    #[test]
    fn another_message_under_the_same_name_is_not_replaced() {
        let at = folder("clash");
        let name = file_name(5, "abc-1", 0, "host");
        deliver(&at, &name, b"first\r\n").unwrap();
        assert!(deliver(&at, &name, b"another\r\n").is_err());
        assert_eq!(new_files(&at), [b"first\n"]);
        fs::remove_dir_all(at).unwrap();
    }

    #[test]
    fn what_a_cut_off_try_left_in_tmp_is_replaced() {
        let at = folder("left");
        let name = file_name(5, "abc-1", 0, "host");
        drop(Draft::create(&at, &name, rights(0o770), true).unwrap());
        deliver(&at, &name, b"whole\r\n").unwrap();
        assert_eq!(new_files(&at), [b"whole\n"]);
        fs::remove_dir_all(at).unwrap();
    }

    #[test]
    fn a_batch_over_two_mailboxes_tells_of_each_message_once() {
        let (a, b) = (folder("batch-a"), folder("batch-b"));
        let mut drafts = Vec::new();
        for n in 0..6_u16 {
            let at = if n % 2 == 0 { &a } else { &b };
            let mut draft = Draft::create(at, &file_name(1, "i", n, "h"), rights(0o700), true).unwrap();
            draft.write(format!("{n}\r\n").as_bytes()).unwrap();
            drafts.push(draft);
        }
        let mut told = [0; 6];
        finish(&drafts, |at, result| {
            result.unwrap();
            told[at] += 1;
        });
        assert_eq!(told, [1; 6]);
        assert_eq!((new_files(&a).len(), new_files(&b).len()), (3, 3));
        fs::remove_dir_all(a).unwrap();
        fs::remove_dir_all(b).unwrap();
    }

    #[test]
    fn one_that_fails_neither_stops_nor_repeats_the_others() {
        let at = folder("one-fails");
        let names = [file_name(1, "i", 0, "h"), file_name(1, "i", 1, "h")];
        let drafts: Vec<Draft> =
            names.iter().map(|n| Draft::create(&at, n, rights(0o700), true).unwrap()).collect();
        fs::remove_file(format!("{at}/tmp/{}", names[1])).unwrap();
        let mut told = Vec::new();
        finish(&drafts, |at, result| told.push((at, result.is_ok())));
        told.sort_unstable();
        assert_eq!(told, [(0, true), (1, false)]);
        fs::remove_dir_all(at).unwrap();
    }

    #[test]
    fn without_leave_to_make_it_a_missing_mailbox_is_an_error() {
        let at = folder("missing");
        assert!(Draft::create(&at, &file_name(1, "i", 0, "h"), rights(0o700), false).is_err());
        assert!(!Path::new(&at).exists());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn line_ends_do_not_depend_on_the_splits(lines in proptest::collection::vec("[a\r]{0,3}", 0..6), cut in 0_usize..40) {
            let text = lines.join("\r\n") + "\r\n";
            let at = folder("splits");
            let mut draft = Draft::create(&at, &file_name(1, "i", 0, "h"), rights(0o700), true).unwrap();
            let cut = cut.min(text.len());
            draft.write(&text.as_bytes()[..cut]).unwrap();
            draft.write(&text.as_bytes()[cut..]).unwrap();
            finish(&[draft], |_, r| r.unwrap());
            let expected = text.replace("\r\n", "\n");
            prop_assert_eq!(new_files(&at), [expected.as_bytes().to_vec()]);
            fs::remove_dir_all(at).unwrap();
        }
    }
}
