//! `pillarbox serve`: the relay in the foreground.

use std::path::PathBuf;
use std::sync::Arc;

use log::{error, info, warn};
use nix::unistd::{Gid, Uid, User, chown, initgroups, setegid, seteuid, setgid, setuid};

use super::exit::Exit;
use super::{check, complain, fail};
use crate::config::{Config, DEFAULT_USER, Endpoint, Loaded, Route, Via};
use crate::net::ceiling::memory_ceiling;
use crate::net::event_loop::{self, EventLoop, SUBMITTERS};
use crate::net::log as lines;
use crate::relay::MAILBOX_DELIVERIES;
use crate::spool::{Disk, RealDisk};
use crate::sys::{self, Clock, Signals};

/// Runs the relay until it is told to end.
pub fn run(loaded: Loaded) -> Exit {
    let Loaded { config, file } = loaded;
    if let Err(e) = lines::start(&config.log) {
        return fail(Exit::CannotCreate, format_args!("the log can't be opened: {e}"));
    }
    let exit = serve(Arc::new(config), file);
    lines::flush();
    exit
}

fn serve(config: Arc<Config>, file: Option<PathBuf>) -> Exit {
    let is_default = file.is_none();
    // Before any thread starts, so that all of them leave the signals to the loop.
    let signals = match Signals::open() {
        Ok(signals) => signals,
        Err(e) => return refuse(Exit::Unavailable, format_args!("signals can't be received: {e}")),
    };
    let files = sys::raise_open_files();
    let wanted = open_files(&config);
    if files < wanted {
        warn!(
            "- the system allows {files} open files, and this configuration can need {wanted}: raise the limit (ulimit -n), or lower limits.sessions"
        );
    }
    if let Some(mistake) = check::mistakes(&config).first() {
        return refuse(Exit::Config, mistake);
    }
    let ready = run_user(&config).and_then(|user| {
        // The lock comes first: a second relay must not get as far as the ports of the first.
        let disk = open_spool(&config, user.as_ref())?;
        let bound = event_loop::bind(&config).map_err(|e| refuse(Exit::Unavailable, e))?;
        become_user(user)?;
        Ok((disk, bound))
    });
    let (disk, bound) = match ready {
        Ok(ready) => ready,
        Err(exit) => return exit,
    };
    let event_loop = match EventLoop::new(Arc::clone(&config), file, bound, disk, signals, Clock::start()) {
        Ok(event_loop) => event_loop,
        Err(e) => return refuse(Exit::Io, format_args!("can't start: {e}")),
    };
    greet(&config, is_default);
    match event_loop.run() {
        Ok(()) => {
            info!("- stopped");
            Exit::Ok
        }
        Err(e) => refuse(Exit::Io, format_args!("the event loop failed: {e}")),
    }
}

/// Says in the log and, if that goes elsewhere, on standard error why the relay can't run.
fn refuse(exit: Exit, why: impl std::fmt::Display) -> Exit {
    error!("- {why}");
    lines::flush();
    if log::max_level() == log::LevelFilter::Off {
        complain(format_args!("pillarbox: {why}"));
    }
    exit
}

/// Files that can be open at once: a connection and a staging file for each slot, a connection for each
/// delivery, a message and its draft for each mailbox, and the rest.
fn open_files(config: &Config) -> u64 {
    let slots = u64::from(config.limits.sessions) + SUBMITTERS as u64;
    2 * slots + u64::from(config.limits.deliveries) + 2 * MAILBOX_DELIVERIES as u64 + 48
}

/// The user to become, if there is one to become.
fn run_user(config: &Config) -> Result<Option<User>, Exit> {
    let Some(name) = config.run.user.as_deref().filter(|_| Uid::effective().is_root()) else {
        return Ok(None);
    };
    match User::from_name(name) {
        Ok(Some(user)) if user.uid.is_root() => Ok(None),
        Ok(Some(user)) => Ok(Some(user)),
        Ok(None) if name == DEFAULT_USER => {
            warn!("- there is no user {name:?}: running as root; make one, or name another in [run] user");
            Ok(None)
        }
        Ok(None) => Err(refuse(Exit::Config, format_args!("[run] user: there is no user {name:?}"))),
        Err(e) => Err(refuse(Exit::Config, format_args!("[run] user {name:?} can't be looked up: {e}"))),
    }
}

/// Opens the spool and takes its lock, as the user who will run, so that all in it is theirs.
fn open_spool(config: &Config, user: Option<&User>) -> Result<RealDisk, Exit> {
    let directory = config.spool.directory.as_path();
    let shown = directory.display();
    let fail = |e: &dyn std::fmt::Display| {
        refuse(Exit::CannotCreate, format_args!("the spool {shown} can't be opened: {e}"))
    };
    if let Some(user) = user {
        if !directory.exists() && std::fs::create_dir_all(directory).is_ok() {
            chown(directory, Some(user.uid), Some(user.gid)).map_err(|e| fail(&e))?;
        }
        setegid(user.gid).and_then(|()| seteuid(user.uid)).map_err(|e| fail(&e))?;
    }
    let opened = RealDisk::open(directory, true).and_then(|mut disk| Ok((disk.lock()?, disk)));
    if user.is_some() {
        seteuid(Uid::from_raw(0)).and_then(|()| setegid(Gid::from_raw(0))).map_err(|e| fail(&e))?;
    }
    match opened {
        Ok((true, disk)) => Ok(disk),
        Ok((false, _)) => {
            Err(refuse(Exit::TryLater, format_args!("the spool {shown} is in use by another process")))
        }
        Err(e) => Err(fail(&e)),
    }
}

/// Gives up root for good; the ports are bound by then.
fn become_user(user: Option<User>) -> Result<(), Exit> {
    let Some(user) = user else { return Ok(()) };
    let name = std::ffi::CString::new(user.name.as_str()).map_err(|_| Exit::Config)?;
    initgroups(&name, user.gid)
        .and_then(|()| setgid(user.gid))
        .and_then(|()| setuid(user.uid))
        .map_err(|e| refuse(Exit::Permission, format_args!("can't become the user {:?}: {e}", user.name)))
}

/// The first lines of the log: what runs, how much memory it may take, and what to do next.
fn greet(config: &Config, is_default: bool) {
    let (version, ceiling) = (env!("CARGO_PKG_VERSION"), memory_ceiling(config).div_ceil(1024));
    info!("- pillarbox {version} as {}, memory ceiling {ceiling} KiB", config.hostname);
    info!("- spool {}", config.spool.directory.display());
    for listen in &config.listen {
        info!("- listening on {} as {}", listen.address, listen.role_name());
    }
    if !is_default {
        return;
    }
    let Some(Endpoint::Tcp(address)) = config.listen.first().map(|l| &l.address) else { return };
    info!("- no configuration file: the safe default holds; nothing is sent to other hosts");
    if let Some(Route { via: Via::Maildir(maildir), .. }) = config.route.first() {
        info!("- mail for {} goes to {}", config.local_domains.join(" and "), maildir.directory);
    }
    info!(
        "- try it: printf 'Subject: hello\\n\\nhello\\n' | curl --url smtp://{address} --mail-rcpt me@localhost -T -"
    );
    info!("- next step: write /etc/pillarbox.toml (see README.md), then run pillarbox check");
}
