//! The sandbox: after [`enter`] this process and all it starts can open only what was granted, can
//! gain no privileges by starting a program, and can bind no TCP port.
//!
//! The first and the last are Landlock's work, which a kernel has or has not; without it the relay runs
//! all the same, with the owners of files as the only guard. Landlock judges a file by the folders above
//! it, once they are resolved: a symbolic link is judged by where it leads.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

/// The newest version of Landlock whose rights are all thought of here: connecting to Unix sockets is
/// none of them.
const KNOWN: ABI = ABI::V6;
/// Symbolic links that are followed one after the other at most.
const LINKS: usize = 8;

/// What may be done with what lies at a place or below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// Files and folders can be taken away.
    Remove,
    /// Files and folders can be read.
    Read,
    /// Also started as programs.
    Run,
    /// Read, written, made, linked and taken away.
    Write,
}

impl Access {
    fn rights(self) -> BitFlags<AccessFs> {
        let read = AccessFs::ReadFile | AccessFs::ReadDir;
        match self {
            Self::Remove => AccessFs::RemoveFile.into(),
            Self::Read => read,
            Self::Run => read | AccessFs::Execute,
            Self::Write => {
                read | AccessFs::WriteFile
                    | AccessFs::Truncate
                    | AccessFs::MakeReg
                    | AccessFs::MakeDir
                    | AccessFs::RemoveFile
                    | AccessFs::RemoveDir
                    | AccessFs::Refer
            }
        }
    }

    /// True if whoever has this can do all of `other`.
    fn includes(self, other: Self) -> bool {
        self.rights().contains(other.rights())
    }
}

/// A place that stays open.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grant {
    /// A file or a folder. Where it does not exist yet, the nearest folder above it that does is meant.
    pub path: PathBuf,
    /// For what.
    pub access: Access,
}

impl Grant {
    /// A grant.
    pub fn new(path: impl Into<PathBuf>, access: Access) -> Self {
        Self { path: path.into(), access }
    }
}

/// How much of the sandbox this kernel has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strength {
    /// Files and ports.
    Full,
    /// Files at least; an older kernel.
    Partial,
    /// No Landlock, or one that could not let files be linked from folder to folder (before Linux 5.19).
    None,
}

/// Why the sandbox can't be entered though the kernel has one.
#[derive(Debug)]
pub struct Failed(String);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<RulesetError> for Failed {
    fn from(error: RulesetError) -> Self {
        Self(error.to_string())
    }
}

/// What this process was left with; unset outside a sandbox. As the sandbox itself it belongs to the
/// whole process and is for good.
static GRANTED: OnceLock<Vec<Grant>> = OnceLock::new();

/// Gives up everything but `grants`, for good. Holds for the calling thread and all that it starts
/// later, so it is to be called before any thread is started.
pub fn enter(grants: &[Grant]) -> Result<Strength, Failed> {
    nix::sys::prctl::set_no_new_privs().map_err(|e| Failed(format!("no_new_privs: {e}")))?;
    // Without the right to link between folders it would be denied always, and the spool needs it.
    let ruleset = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    let Ok(ruleset) = ruleset.handle_access(AccessFs::Refer) else { return Ok(Strength::None) };
    let mut ruleset = ruleset
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(KNOWN))?
        .handle_access(AccessNet::BindTcp)?
        .scope(Scope::AbstractUnixSocket | Scope::Signal)?
        .create()?;
    let mut granted = Vec::new();
    for grant in grants {
        let Some(path) = nearest(&grant.path).filter(|path| path != Path::new("/") || path == &grant.path)
        else {
            continue;
        };
        // What our own user can't even look at needs no rule.
        let Ok(fd) = PathFd::new(&path) else { continue };
        let mut rights = grant.access.rights();
        if !path.is_dir() {
            rights &= AccessFs::from_file(KNOWN);
        }
        ruleset = ruleset.add_rule(PathBeneath::new(fd, rights))?;
        granted.push(Grant { path, access: grant.access });
    }
    pin_process_folder();
    let status = ruleset.restrict_self()?;
    let strength = match status.ruleset {
        RulesetStatus::FullyEnforced => Strength::Full,
        RulesetStatus::PartiallyEnforced => Strength::Partial,
        _ => Strength::None,
    };
    if strength != Strength::None {
        // A second sandbox in one process, as tests have it, can only be narrower.
        let _ = GRANTED.set(granted);
    }
    Ok(strength)
}

/// False if the sandbox keeps this process from doing `access` at `path`.
pub fn covers(path: &Path, access: Access) -> bool {
    let Some(granted) = GRANTED.get() else { return true };
    nearest(path).is_some_and(|path| is_covered(granted, &path, access))
}

fn is_covered(granted: &[Grant], path: &Path, access: Access) -> bool {
    granted.iter().any(|grant| path.starts_with(&grant.path) && grant.access.includes(access))
}

/// Where `path` really is; where it is missing, the nearest folder above that exists.
pub fn nearest(path: &Path) -> Option<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..LINKS {
        if let Ok(found) = fs::canonicalize(&path) {
            return Some(found);
        }
        // A link that leads nowhere yet, as /etc/resolv.conf does early in the boot.
        if let Ok(target) = fs::read_link(&path) {
            path = path.parent().unwrap_or(Path::new("/")).join(target);
            continue;
        }
        let above = path.ancestors().skip(1).find(|above| fs::symlink_metadata(above).is_ok())?;
        path = above.to_owned();
    }
    None
}

/// The file of a program, looked for as a shell does; `None` if there is none.
pub fn program(name: &str) -> Option<PathBuf> {
    if name.contains('/') {
        return Some(name.into());
    }
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// Keeps the kernel from making the folder of this process in /proc anew, which the rule for the old one
/// would not be for. Costs a descriptor.
fn pin_process_folder() {
    static FOLDER: OnceLock<Option<PathFd>> = OnceLock::new();
    FOLDER.get_or_init(|| PathFd::new("/proc/self").ok());
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;
    use std::os::unix::fs::symlink;
    use std::thread;

    fn folder(test: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("pillarbox-sandbox-{}-{test}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        fs::canonicalize(path).unwrap()
    }

    #[test]
    fn only_what_was_granted_can_be_opened() {
        let folder = folder("granted");
        for name in ["spool/a", "spool/b", "read", "closed"] {
            fs::create_dir_all(folder.join(name)).unwrap();
        }
        for name in ["spool/a/old", "read/file", "closed/file"] {
            fs::write(folder.join(name), "x").unwrap();
        }
        symlink(folder.join("closed/file"), folder.join("read/link")).unwrap();
        let at = |name: &str| folder.join(name);
        let grants = [
            Grant::new(at("spool"), Access::Write),
            Grant::new(at("read"), Access::Read),
            Grant::new(at("spool/none/yet"), Access::Remove),
            Grant::new("/proc/self", Access::Read),
        ];
        // A thread of its own: the rest of the tests stay outside.
        let enforced = thread::scope(|scope| scope.spawn(|| stay_inside(&folder, &grants)).join().unwrap());
        if enforced {
            fs::read(at("closed/file")).unwrap();
        } else {
            eprintln!("SKIPPED: this kernel has no Landlock");
        }
        fs::remove_dir_all(folder).unwrap();
    }

    /// Enters the sandbox and tries what it lets and what it doesn't; false if there is none.
    fn stay_inside(folder: &Path, grants: &[Grant]) -> bool {
        let at = |name: &str| folder.join(name);
        let strength = enter(grants).unwrap();
        assert!(nix::sys::prctl::get_no_new_privs().unwrap());
        if strength == Strength::None {
            return false;
        }
        #[track_caller]
        fn denied<T>(result: std::io::Result<T>) {
            assert!(result.is_err_and(|e| e.kind() == ErrorKind::PermissionDenied));
        }
        fs::write(at("spool/a/new"), "y").unwrap();
        fs::hard_link(at("spool/a/new"), at("spool/b/new")).unwrap();
        fs::rename(at("spool/a/old"), at("spool/b/old")).unwrap();
        fs::create_dir_all(at("spool/c/d")).unwrap();
        fs::remove_file(at("spool/b/old")).unwrap();
        fs::read(at("read/file")).unwrap();
        fs::read("/proc/self/statm").unwrap();
        denied(fs::write(at("read/file"), "y"));
        denied(fs::read(at("closed/file")));
        denied(fs::read(at("read/link")));
        denied(fs::remove_file(at("closed/file")));
        denied(fs::write(at("outside"), "y"));
        denied(std::process::Command::new("/bin/sh").status());
        if strength == Strength::Full {
            denied(std::net::TcpListener::bind("127.0.0.1:0"));
        }
        true
    }

    #[test]
    fn what_is_missing_is_where_it_will_be() {
        let folder = folder("nearest");
        fs::create_dir(folder.join("there")).unwrap();
        symlink("there/not/yet", folder.join("dangling")).unwrap();
        symlink("there", folder.join("link")).unwrap();
        for (path, found) in [
            ("there/a/b", "there"),
            ("link/a", "there"),
            ("dangling", "there"),
            ("none", ""),
            ("there", "there"),
        ] {
            let found = folder.join(found);
            assert_eq!(nearest(&folder.join(path)).as_deref(), Some(found.as_path()), "{path}");
        }
        assert_eq!(nearest(Path::new("/nonexistent/a")).as_deref(), Some(Path::new("/")));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn grants_cover_what_lies_below() {
        let granted = [Grant::new("/spool", Access::Write), Grant::new("/etc", Access::Read)];
        for (path, access, covered) in [
            ("/spool/a", Access::Write, true),
            ("/spool", Access::Read, true),
            ("/spoolother", Access::Read, false),
            ("/etc/x", Access::Read, true),
            ("/etc/x", Access::Write, false),
            ("/etc/x", Access::Run, false),
        ] {
            assert_eq!(is_covered(&granted, Path::new(path), access), covered, "{path} {access:?}");
        }
    }
}
