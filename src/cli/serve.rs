//! `pillarbox serve`: the relay in the foreground.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{error, info, warn};
use nix::unistd::{Gid, Uid, User, chown, setegid, seteuid};

use super::exit::Exit;
use super::{check, complain, fail};
use crate::config::{Config, Endpoint, Loaded, LogTarget, Route, Via, located};
use crate::net::ceiling::memory_ceiling;
use crate::net::confine;
use crate::net::event_loop::{self, Bound, EventLoop};
use crate::net::log as lines;
use crate::net::places;
use crate::net::tls::Credentials;
use crate::relay::MAILBOX_DELIVERIES;
use crate::relay::medium::{self, Survival};
use crate::spool::{Disk, RealDisk};
use crate::sys::privileges::{become_user, drop_capabilities, forbid_core_dumps};
use crate::sys::service::{self, Supervisor};
use crate::sys::{self, Clock, Signals};

/// How long another process may keep the spool from us at the start.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// Runs the relay until it is told to end.
pub fn run(loaded: Loaded) -> Exit {
    let Loaded { config, file } = loaded;
    if let Err(e) = lines::start(&config.log) {
        let why = format!("log.file: {} can't be opened: {e}", config.log.file.display());
        return fail(Exit::CannotCreate, located(file.as_deref(), &why));
    }
    let exit = serve(Arc::new(config), file);
    lines::flush();
    exit
}

fn serve(config: Arc<Config>, file: Option<PathBuf>) -> Exit {
    let is_default = file.is_none();
    let (handed_over, supervisor) = (service::inherited(), Supervisor::find());
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
        return refuse(Exit::Config, located(file.as_deref(), mistake));
    }
    let ready = run_user(&config).and_then(|user| {
        // The lock comes first: a second relay must not get as far as the ports of the first.
        let disk = open_spool(&config, user.as_ref())?;
        let new_folders = missing_folders(&config);
        let bound = event_loop::bind(&config, handed_over).map_err(|e| match e.kind() {
            ErrorKind::PermissionDenied => refuse(Exit::Permission, e),
            _ => refuse(Exit::Unavailable, e),
        })?;
        if let Some(user) = &user {
            hand_over(&config, &bound, &new_folders, user);
            become_user(user).map_err(|e| refuse(Exit::Permission, e))?;
        }
        drop_capabilities()
            .map_err(|e| refuse(Exit::Permission, format_args!("capabilities can't be given up: {e}")))?;
        forbid_core_dumps();
        confine::enter(&config, file.as_deref());
        let credentials =
            Credentials::load(&config).map_err(|mistakes| refuse(Exit::Config, mistakes.join("; ")))?;
        Ok((disk, bound, credentials))
    });
    let (disk, bound, credentials) = match ready {
        Ok(ready) => ready,
        Err(exit) => return exit,
    };
    let ceiling_octets = memory_ceiling(&config, credentials.octets);
    for source in credentials.dials.sources() {
        info!("- servers' certificates are checked against {source}");
    }
    let event_loop =
        match EventLoop::new(Arc::clone(&config), file, bound, disk, signals, Clock::start(), credentials) {
            Ok(event_loop) => event_loop,
            Err(e) => return refuse(Exit::Io, format_args!("can't start: {e}")),
        };
    greet(&config, is_default, ceiling_octets);
    match event_loop.run(supervisor) {
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
    let slots = places::count(&config.limits) as u64;
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
    let opened = RealDisk::open(directory, true).and_then(|mut disk| Ok((lock(&mut disk, directory)?, disk)));
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

/// Takes the spool's lock. `sendmail` and `queue` hold it for a moment while no relay runs.
fn lock(disk: &mut RealDisk, directory: &Path) -> std::io::Result<bool> {
    if disk.lock()? {
        return Ok(true);
    }
    info!("- the spool {} is in use by another process: waiting for it", directory.display());
    lines::flush();
    let start = Instant::now();
    while start.elapsed() < LOCK_PATIENCE {
        std::thread::sleep(LOCK_PATIENCE / 40);
        if disk.lock()? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Folders of Unix sockets that binding will make.
fn missing_folders(config: &Config) -> Vec<PathBuf> {
    let named = config.listen.iter().filter_map(|listen| match &listen.address {
        Endpoint::Unix(path) => Some(path),
        Endpoint::Tcp(_) => None,
    });
    let sockets = named.chain([&config.run.control, &config.run.submit]);
    sockets.filter_map(|path| path.parent()).filter(|folder| !folder.exists()).map(Path::to_owned).collect()
}

/// Gives what root has made to the user who will run: the sockets, so that members of its group can ask
/// the relay and it can take them away at its end, the folders made for them, and the log's files.
fn hand_over(config: &Config, bound: &[Bound], new_folders: &[PathBuf], user: &User) {
    let give = |path: &Path| {
        if let Err(e) = chown(path, Some(user.uid), Some(user.gid)) {
            warn!("- {} can't be given to {}: {e}", path.display(), user.name);
        }
    };
    let sockets = bound.iter().filter_map(|(listener, _)| listener.file());
    sockets.chain(new_folders.iter().map(PathBuf::as_path)).for_each(give);
    if config.log.target == LogTarget::File {
        let old = lines::rotated_name(&config.log.file);
        // In a folder of root's the rotated file can't be made later.
        if let Err(e) = OpenOptions::new().append(true).create(true).mode(0o640).open(&old) {
            warn!("- {} can't be made: {e}", old.display());
        }
        give(&old);
        give(&config.log.file);
    }
}

/// Where mail waits, and whether it would survive a power cut there.
fn greet_spool(folder: &Path) {
    let shown = folder.display();
    match medium::of(folder) {
        (kind, Survival::Yes) => info!("- spool {shown} on {kind}: survives a power cut"),
        (kind, Survival::No) => {
            warn!("- spool {shown} on {kind}: in RAM, what waits is gone after a power cut")
        }
        (kind, Survival::Unknown) => {
            info!(
                "- spool {shown} on {kind}: survives a power cut if that file system keeps what it has synced"
            );
        }
    }
}

/// The first lines of the log: what runs, how much memory it may take, and what to do next.
fn greet(config: &Config, is_default: bool, ceiling_octets: u64) {
    let (version, ceiling) = (env!("CARGO_PKG_VERSION"), ceiling_octets.div_ceil(1024));
    info!("- pillarbox {version} as {}, memory ceiling {ceiling} KiB", config.hostname);
    greet_spool(&config.spool.directory);
    if let Some(address) = config.run.metrics {
        info!("- metrics at http://{address}/metrics");
    }
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
