//! The spool while no relay runs: reading needs no lock, changing takes it.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::unistd::{Gid, Uid, setgid, setgroups, setuid};

use super::exit::Exit;
use super::fail;
use crate::config::Config;
use crate::spool::{Found, Mark, OpenError, Progress, Reader, RealDisk, Settings, Store};

/// The spool, for reading.
pub fn reader(config: &Config) -> Result<Reader<RealDisk>, Exit> {
    let directory = &config.spool.directory;
    let disk = RealDisk::open(directory, false).map_err(|e| no_spool(directory, &e))?;
    Reader::open(disk).map_err(|e| refused(directory, &e))
}

/// The spool with its lock and all that is in it.
pub fn store(config: &Config, found: &mut dyn FnMut(Found<'_>)) -> Result<Store<RealDisk>, Exit> {
    let directory = &config.spool.directory;
    become_owner(directory)?;
    let disk = RealDisk::open(directory, false).map_err(|e| no_spool(directory, &e))?;
    let store = Store::open(disk, &settings(config, 0), &mut |message| {
        found(message);
        true
    });
    store.map_err(|e| refused(directory, &e))
}

/// The spool with its lock, for one message to be put into it. One that is not made yet is a reason to try later,
/// not to give the message up.
pub fn inlet(config: &Config) -> Result<Store<RealDisk>, Exit> {
    let directory = &config.spool.directory;
    if !directory.exists() {
        let directory = directory.display();
        return Err(fail(
            Exit::TryLater,
            format_args!("no relay runs, and there is no spool {directory} yet"),
        ));
    }
    become_owner(directory)?;
    let disk = RealDisk::open(directory, false).map_err(|e| no_spool(directory, &e))?;
    Store::open_offline(disk, &settings(config, 1)).map_err(|e| refused(directory, &e))
}

/// Waits until what was written is durable.
pub fn sync(store: &mut Store<RealDisk>, marks: &[Mark]) -> Result<(), Exit> {
    store.sync_status();
    loop {
        store.start_batch();
        while store.poll().is_some() {}
        if marks.iter().any(|mark| store.progress(*mark) == Progress::Failed) {
            return Err(fail(Exit::Io, "the disk failed: what was asked for may not be kept"));
        }
        if marks.iter().all(|mark| store.progress(*mark) == Progress::Synced) {
            return Ok(());
        }
        std::thread::yield_now();
    }
}

fn settings(config: &Config, staging: u16) -> Settings {
    Settings {
        max_octets: config.spool.max_size,
        max_messages: config.spool.max_messages,
        cells_octets: config.spool.cells_size,
        staging,
        message_octets: config.limits.message_size,
    }
}

/// Root becomes the spool's owner: a file that root leaves behind could not be read by the relay.
fn become_owner(directory: &Path) -> Result<(), Exit> {
    if !Uid::effective().is_root() {
        return Ok(());
    }
    let owner = directory.metadata().map_err(|e| no_spool(directory, &e))?;
    let (user, group) = (Uid::from_raw(owner.uid()), Gid::from_raw(owner.gid()));
    if user.is_root() {
        return Ok(());
    }
    setgroups(&[])
        .and_then(|()| setgid(group))
        .and_then(|()| setuid(user))
        .map_err(|e| fail(Exit::Permission, format_args!("can't become the spool's owner: {e}")))
}

fn no_spool(directory: &Path, error: &io::Error) -> Exit {
    let exit = match error.kind() {
        io::ErrorKind::PermissionDenied => Exit::Permission,
        io::ErrorKind::NotFound => Exit::Unavailable,
        _ => Exit::Io,
    };
    fail(exit, format_args!("no relay runs, and the spool {}: {error}", directory.display()))
}

fn refused(directory: &Path, error: &OpenError) -> Exit {
    let exit = match error {
        OpenError::Busy => Exit::TryLater,
        OpenError::Disk { kind: io::ErrorKind::PermissionDenied, .. } => Exit::Permission,
        _ => Exit::Io,
    };
    fail(exit, format_args!("no relay runs, and the spool {}: {error}", directory.display()))
}
