//! The aliases file: which names stand for other recipients.
//!
//! The file is read whole and kept as a sorted table. It is looked at again whenever a local recipient
//! comes, and read again when it has changed; what is wrong with it then is logged once, and the
//! old table holds on. [`Expansion`](super::expansion::Expansion) follows aliases to their ends.

mod parse;
mod table;

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use log::{error, info};

pub use table::{Alias, Table};

use crate::config::{Config, Refused};
use crate::limits::ALIASES_OCTETS;

/// What a file was when it was read: if any of it changes, so may its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    octets: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            octets: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// The aliases of a configuration that has some.
#[derive(Debug)]
pub struct Aliases {
    table: Table,
    /// Of the file that was looked at last, right or wrong; `None`: it could not be opened.
    stamp: Option<Stamp>,
}

impl Aliases {
    /// Octets of heap, while a changed file is read as well.
    pub const HEAP_OCTETS: usize = ALIASES_OCTETS as usize + 2 * Table::HEAP_OCTETS;

    /// Reads the file of the configuration; `Ok(None)` if none is named.
    pub fn open(config: &Config) -> Result<Option<Self>, Refused> {
        let Some(file) = config.aliases.file.as_deref() else { return Ok(None) };
        let (table, stamp) = read(file, config)?;
        Ok(Some(Self { table, stamp: Some(stamp) }))
    }

    /// Looks at the file, and reads it again if it has changed.
    pub fn refresh(&mut self, config: &Config) {
        let Some(file) = config.aliases.file.as_deref() else { return };
        let stamp = file.metadata().ok().as_ref().map(Stamp::of);
        if stamp == self.stamp {
            return;
        }
        // Once a change, whatever comes of it: a file that is wrong is not read at every recipient.
        self.stamp = stamp;
        match read(file, config) {
            Ok((table, stamp)) => {
                info!("- {} read again: {} aliases", file.display(), table.len());
                (self.table, self.stamp) = (table, Some(stamp));
            }
            Err(refused) => {
                for line in refused.to_string().lines() {
                    error!("- {line}");
                }
                error!("- the old aliases stay");
            }
        }
    }

    /// The table as it was read last.
    pub fn table(&self) -> &Table {
        &self.table
    }
}

/// Reads an aliases file.
fn read(file: &Path, config: &Config) -> Result<(Table, Stamp), Refused> {
    let (octets, stamp) = read_octets(file).map_err(|e| Refused::unreadable(file, &e))?;
    let text = std::str::from_utf8(&octets).map_err(|e| Refused::not_text(file, &octets, e.valid_up_to()))?;
    let table = Table::parse(text, config).map_err(|mistakes| Refused::new(file, mistakes))?;
    Ok((table, stamp))
}

fn read_octets(file: &Path) -> io::Result<(Vec<u8>, Stamp)> {
    // A pipe in its place must not hold up the relay until somebody writes into it.
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(file)?;
    let stamp = Stamp::of(&file.metadata()?);
    let mut octets = Vec::new();
    file.take(ALIASES_OCTETS + 1).read_to_end(&mut octets)?;
    if octets.len() as u64 > ALIASES_OCTETS {
        let why = format!("more than {} KiB of aliases", ALIASES_OCTETS / 1024);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
    }
    Ok((octets, stamp))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_file_is_read_again_and_a_bad_one_is_not_used() {
        let folder = std::env::temp_dir().join(format!("pillarbox-aliases-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("aliases");
        let mut config = Config::parse("local_domains = [\"home.test\"]\n", "host.test").unwrap();
        assert!(Aliases::open(&config).unwrap().is_none());
        config.aliases.file = Some(file.clone());
        let missing = Aliases::open(&config).unwrap_err().to_string();
        assert!(missing.contains("can't be read"), "{missing}");

        std::fs::write(&file, "info: anna\n").unwrap();
        let mut aliases = Aliases::open(&config).unwrap().unwrap();
        let has = |aliases: &Aliases, name: &str| aliases.table().find(name, "home.test").is_some();
        assert!(has(&aliases, "info") && !has(&aliases, "sales"));
        for (text, sales) in [
            ("info: anna\nsales: ben\n", true),
            ("info: anna\nsales: ben, |program\n", true),
            ("info: ben\n", false),
        ] {
            std::fs::write(&file, text).unwrap();
            aliases.refresh(&config);
            assert_eq!((has(&aliases, "info"), has(&aliases, "sales")), (true, sales), "{text}");
        }
        std::fs::remove_file(&file).unwrap();
        aliases.refresh(&config);
        assert!(has(&aliases, "info"));
        std::fs::write(&file, vec![b'#'; ALIASES_OCTETS as usize + 1]).unwrap();
        let too_large = Aliases::open(&config).unwrap_err().to_string();
        assert!(too_large.contains("more than 64 KiB"), "{too_large}");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
