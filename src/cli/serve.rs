//! `pillarbox serve`: the relay in the foreground.

use std::sync::Arc;

use log::{error, info, warn};
use nix::unistd::{Gid, Uid, User};

use super::exit::Exit;
use super::{complain, fail};
use crate::config::{Config, Endpoint, Loaded, Route, Via, memory_ceiling};
use crate::net::event_loop::{self, EventLoop};
use crate::net::log as lines;
use crate::relay::StartError;
use crate::spool::{OpenError, RealDisk};
use crate::sys::{Clock, Signals};

/// Runs the relay until it is told to end.
pub fn run(loaded: Loaded) -> Exit {
    let Loaded { config, file } = loaded;
    if let Err(e) = lines::start(&config.log) {
        return fail(Exit::CannotCreate, format_args!("the log can't be opened: {e}"));
    }
    let exit = serve(Arc::new(config), file.is_none());
    lines::flush();
    exit
}

fn serve(config: Arc<Config>, is_default: bool) -> Exit {
    // Before any thread starts, so that all of them leave the signals to the loop.
    let signals = match Signals::open() {
        Ok(signals) => signals,
        Err(e) => return refuse(Exit::Unavailable, format_args!("signals can't be received: {e}")),
    };
    let bound = match event_loop::bind(&config) {
        Ok(bound) => bound,
        Err(e) => return refuse(Exit::Unavailable, e),
    };
    if let Err(exit) = become_user(&config) {
        return exit;
    }
    let disk = match RealDisk::open(&config.spool.directory, true) {
        Ok(disk) => disk,
        Err(e) => {
            let directory = config.spool.directory.display();
            return refuse(Exit::CannotCreate, format_args!("the spool {directory} can't be opened: {e}"));
        }
    };
    let event_loop = match EventLoop::new(Arc::clone(&config), bound, disk, signals, Clock::start()) {
        Ok(event_loop) => event_loop,
        Err(StartError::Spool(OpenError::Busy)) => {
            let directory = config.spool.directory.display();
            return refuse(
                Exit::TryLater,
                format_args!("the spool {directory} is in use by another process"),
            );
        }
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

/// Gives up root for the configured user; the ports are bound by then.
fn become_user(config: &Config) -> Result<(), Exit> {
    let Some(name) = config.run.user.as_deref().filter(|_| Uid::effective().is_root()) else { return Ok(()) };
    let user = match User::from_name(name) {
        Ok(Some(user)) => user,
        Ok(None) if name == "pillarbox" => {
            warn!(
                "- there is no user \"pillarbox\": running as root; make one, or name another in [run] user"
            );
            return Ok(());
        }
        Ok(None) => return Err(refuse(Exit::Config, format_args!("[run] user: there is no user {name:?}"))),
        Err(e) => {
            return Err(refuse(Exit::Config, format_args!("[run] user {name:?} can't be looked up: {e}")));
        }
    };
    if user.uid.is_root() {
        return Ok(());
    }
    let name = std::ffi::CString::new(name).map_err(|_| Exit::Config)?;
    let dropped = own_spool(config, user.uid, user.gid)
        .and_then(|()| nix::unistd::initgroups(&name, user.gid))
        .and_then(|()| nix::unistd::setgid(user.gid))
        .and_then(|()| nix::unistd::setuid(user.uid));
    dropped.map_err(|e| refuse(Exit::Permission, format_args!("can't become the user {name:?}: {e}")))
}

/// A spool folder that is missing is made for the user who will run.
fn own_spool(config: &Config, user: Uid, group: Gid) -> nix::Result<()> {
    let directory = &config.spool.directory;
    if !directory.exists() && std::fs::create_dir_all(directory).is_ok() {
        nix::unistd::chown(directory.as_path(), Some(user), Some(group))?;
    }
    Ok(())
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
