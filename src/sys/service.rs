//! What a service manager and its service tell each other: sockets that are handed over, "ready",
//! "still alive". As systemd has it (sd_listen_fds(3), sd_notify(3)), in a few variables of the
//! environment and a datagram socket; without a service manager nothing happens.

use std::env;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};

/// The first descriptor that is handed over.
const FIRST: RawFd = 3;
/// Sockets that are taken at most; more are a mistake of whoever hands them over.
const SOCKETS: RawFd = 64;

/// The sockets that whoever started this process has bound for it. To be called once, before anything
/// else is opened.
#[allow(unsafe_code)]
pub fn inherited() -> Vec<OwnedFd> {
    let number = |name| env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
    if number("LISTEN_PID") != Some(std::process::id()) {
        return Vec::new();
    }
    let count = number("LISTEN_FDS").and_then(|count| RawFd::try_from(count).ok()).unwrap_or(0).min(SOCKETS);
    (FIRST..FIRST + count)
        // SAFETY: by the protocol these descriptors are open and ours alone; that each is one is tried
        // before anything owns it, and nothing else has been opened yet.
        .filter(|&fd| unsafe { libc::fcntl(fd, libc::F_GETFD) } != -1)
        .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
        .filter(|fd| {
            fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).is_ok()
                && fcntl(fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).is_ok()
        })
        .collect()
}

/// Who started us and wants to know how we are.
#[derive(Debug, Default)]
pub struct Supervisor {
    socket: Option<UnixDatagram>,
    /// Milliseconds between two signs of life; 0: none are wanted.
    interval_ms: u64,
    next_ms: u64,
}

impl Supervisor {
    /// The one that the environment names, if any. To be called before the sandbox is entered.
    pub fn find() -> Self {
        let socket = env::var("NOTIFY_SOCKET").ok().and_then(|name| connect(&name).ok());
        let is_for_us = env::var("WATCHDOG_PID").map_or(true, |pid| pid.parse() == Ok(std::process::id()));
        let limit_us = env::var("WATCHDOG_USEC").ok().and_then(|text| text.parse::<u64>().ok());
        let limit_us = limit_us.filter(|_| is_for_us && socket.is_some()).unwrap_or(0);
        // Half the limit, as sd_watchdog_enabled(3) advises.
        Self { socket, interval_ms: limit_us / 2000, next_ms: 0 }
    }

    /// Everything is open: mail is taken.
    pub fn ready(&self) {
        self.say("READY=1\nSTATUS=Taking mail\n");
    }

    /// The configuration is being read again; [`Self::ready`] says that it is done.
    pub fn reloading(&self) {
        self.say(&format!("RELOADING=1\nMONOTONIC_USEC={}\n", monotonic_us()));
    }

    /// The end has begun.
    pub fn stopping(&self) {
        self.say("STOPPING=1\nSTATUS=Ending what is under way\n");
    }

    /// A sign of life, if one is due. When the next one is, in monotonic milliseconds.
    pub fn alive(&mut self, now_ms: u64) -> Option<u64> {
        if self.interval_ms == 0 {
            return None;
        }
        if now_ms >= self.next_ms {
            self.say("WATCHDOG=1\n");
            self.next_ms = now_ms + self.interval_ms;
        }
        Some(self.next_ms)
    }

    fn say(&self, text: &str) {
        if let Some(socket) = &self.socket {
            // Nobody there, or nobody who reads: not our trouble.
            let _ = socket.send(text.as_bytes());
        }
    }
}

/// The system's monotonic clock, which everybody shares.
#[allow(unsafe_code)]
fn monotonic_us() -> u64 {
    // SAFETY: `timespec` is plain data for which zero is valid; the call writes it and keeps nothing.
    let now = unsafe {
        let mut now: libc::timespec = std::mem::zeroed();
        libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now);
        now
    };
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0) / 1000
}

fn connect(name: &str) -> std::io::Result<UnixDatagram> {
    let address = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}
