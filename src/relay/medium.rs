//! What a folder lies on: the file system's name, and what is promised of it when the power goes.

use std::path::Path;

use nix::sys::statfs::statfs;

/// What becomes of synced files when the power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survival {
    /// They are kept: tried on this file system.
    Yes,
    /// They are gone: it is in RAM.
    No,
    /// It should keep them, but that depends on what was not tried: the file system, or a server.
    Unknown,
}

impl Survival {
    /// As it is written for programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::Unknown => "unknown",
        }
    }
}

/// File systems by their magic number (statfs(2)).
const KNOWN: [(u32, &str, Survival); 13] = [
    (0x0000_ef53, "ext4", Survival::Yes),
    (0x5846_5342, "xfs", Survival::Yes),
    (0x9123_683e, "btrfs", Survival::Yes),
    (0x0102_1994, "tmpfs", Survival::No),
    (0x8584_58f6, "ramfs", Survival::No),
    (0xf2f5_2010, "f2fs", Survival::Unknown),
    (0x2405_1905, "ubifs", Survival::Unknown),
    (0x0000_72b6, "jffs2", Survival::Unknown),
    (0x0000_4d44, "vfat", Survival::Unknown),
    (0x794c_7630, "overlayfs", Survival::Unknown),
    (0x2fc1_2fc1, "zfs", Survival::Unknown),
    (0x6573_5546, "fuse", Survival::Unknown),
    (0x0000_6969, "nfs", Survival::Unknown),
];

/// The file system that `folder` lies on.
pub fn of(folder: &Path) -> (&'static str, Survival) {
    // The number's type differs from target to target; its low 32 bits are the magic.
    let magic = statfs(folder).ok().map(|found| found.filesystem_type().0 as u32);
    let known = KNOWN.iter().find(|(number, ..)| Some(*number) == magic);
    known.map_or(("unknown", Survival::Unknown), |&(_, name, survival)| (name, survival))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_ram_is_known_to_be() {
        if Path::new("/dev/shm").exists() && of(Path::new("/dev/shm")).0 == "tmpfs" {
            assert_eq!(of(Path::new("/dev/shm")).1, Survival::No);
        }
        assert_eq!(of(Path::new("/no/such/folder")), ("unknown", Survival::Unknown));
    }
}
