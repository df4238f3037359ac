//! The operating system: clocks, signals, the host's name, the heap's counter, privileges. The only
//! place where `unsafe` is allowed, each use with the reason why it holds.

pub mod privileges;
pub mod sandbox;
pub mod service;

use std::alloc::{GlobalAlloc, Layout, System};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// Unix seconds before which the wall clock is taken to be unset (2026-11-01): a board without a
/// battery wakes up in 1970. It is in the source so that builds repeat.
pub const RELEASE_DATE_UNIX_S: u64 = 1_793_491_200;

/// The two clocks, read together once a turn.
///
/// Timeouts use `mono_ms`, which never goes back; `unix_s` is for dates and ages and may leap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds since the program started.
    pub mono_ms: u64,
    /// Seconds since 1970 by the wall clock; 0 if it stands before that.
    pub unix_s: u64,
}

impl Now {
    /// True if the wall clock can be believed.
    pub fn wall_is_sane(&self) -> bool {
        is_sane(self.unix_s)
    }
}

/// True if the wall clock can be believed that says so.
pub fn is_sane(unix_s: u64) -> bool {
    unix_s >= RELEASE_DATE_UNIX_S
}

/// Reads the clocks.
#[derive(Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock whose `mono_ms` starts at 0 now.
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Both clocks.
    pub fn now(&self) -> Now {
        Now { mono_ms: u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX), unix_s: unix_s() }
    }
}

/// The wall clock in seconds since 1970; 0 before that.
pub fn unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

/// Minutes that local time is ahead of UTC at `unix_s`; 0 if the time zone can't be read.
#[allow(unsafe_code)]
pub fn zone_offset_min(unix_s: u64) -> i16 {
    // Of 32 bits on some boards: until 2038 they know their time zone.
    let Ok(time) = unix_s.try_into() else { return 0 };
    // SAFETY: `tm` is plain data for which zero is valid; localtime_r reads one argument and
    // writes the other, keeps neither, and is the re-entrant form.
    let offset_s = unsafe {
        let mut tm: libc::tm = std::mem::zeroed();
        if libc::localtime_r(&raw const time, &raw mut tm).is_null() { 0 } else { tm.tm_gmtoff }
    };
    i16::try_from(offset_s / 60).unwrap_or(0)
}

/// The host's name as the system knows it, or "localhost".
pub fn host_name() -> String {
    nix::unistd::gethostname()
        .ok()
        .and_then(|n| n.into_string().ok())
        .filter(|n| !n.is_empty())
        .unwrap_or_else(|| "localhost".to_owned())
}

/// What a signal asks of the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// SIGTERM, SIGINT: end cleanly.
    End,
    /// SIGHUP: read the configuration again.
    Reload,
    /// SIGUSR1: try the whole queue now.
    RetryAll,
}

/// Signals as a descriptor that the event loop waits for.
#[derive(Debug)]
pub struct Signals(SignalFd);

impl Signals {
    /// Blocks the four signals in this thread, and so in every thread started later, and opens
    /// the descriptor that receives them. To be called before any thread is started.
    pub fn open() -> std::io::Result<Self> {
        let mut set = SigSet::empty();
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGUSR1] {
            set.add(signal);
        }
        set.thread_block()?;
        Ok(Self(SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?))
    }

    /// The next request that waits, if any.
    pub fn next(&self) -> Option<Request> {
        let info = self.0.read_signal().ok().flatten()?;
        match Signal::try_from(i32::try_from(info.ssi_signo).ok()?) {
            Ok(Signal::SIGTERM | Signal::SIGINT) => Some(Request::End),
            Ok(Signal::SIGHUP) => Some(Request::Reload),
            Ok(Signal::SIGUSR1) => Some(Request::RetryAll),
            _ => None,
        }
    }
}

impl AsRawFd for Signals {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// The system's allocator with three counters, so that the memory promise can be watched from
/// outside: `pillarbox status` shows them and the tests hold the relay to them.
#[derive(Debug)]
pub struct CountingAllocator {
    live: AtomicUsize,
    peak: AtomicUsize,
    calls: AtomicUsize,
}

/// What the heap holds now, held at most, and how often it was asked for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heap {
    /// Octets in use.
    pub live_octets: usize,
    /// The most octets that were in use at once.
    pub peak_octets: usize,
    /// Allocations since the start, counted modulo the word size.
    pub allocations: usize,
}

impl Default for CountingAllocator {
    fn default() -> Self {
        Self::new()
    }
}

impl CountingAllocator {
    /// All counters at 0.
    pub const fn new() -> Self {
        Self { live: AtomicUsize::new(0), peak: AtomicUsize::new(0), calls: AtomicUsize::new(0) }
    }

    /// The counters as they stand.
    pub fn heap(&self) -> Heap {
        Heap {
            live_octets: self.live.load(Ordering::Relaxed),
            peak_octets: self.peak.load(Ordering::Relaxed),
            allocations: self.calls.load(Ordering::Relaxed),
        }
    }

    fn grew(&self, octets: usize) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let live = self.live.fetch_add(octets, Ordering::Relaxed).wrapping_add(octets);
        self.peak.fetch_max(live, Ordering::Relaxed);
    }
}

/// The program's allocator.
#[global_allocator]
pub static HEAP: CountingAllocator = CountingAllocator::new();

// SAFETY: every call goes to `System` unchanged; the counters touch no memory of the caller's.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.grew(layout.size());
        // SAFETY: the caller's contract is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        self.grew(layout.size());
        // SAFETY: the caller's contract is passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, octets: *mut u8, layout: Layout) {
        self.live.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's contract is passed on.
        unsafe { System.dealloc(octets, layout) }
    }

    unsafe fn realloc(&self, octets: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        self.live.fetch_sub(layout.size(), Ordering::Relaxed);
        self.grew(new_size);
        // SAFETY: the caller's contract is passed on.
        unsafe { System.realloc(octets, layout, new_size) }
    }
}

/// Lets this process open as many files as the system allows it; a slot takes two. How many that is.
pub fn raise_open_files() -> u64 {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return 0 };
    if soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok() { hard } else { soft }
}

/// Lets a socket be bound to an address that no interface has yet (ip(7), ipv6(7)).
#[allow(unsafe_code)]
pub fn bind_before_address(socket: BorrowedFd<'_>, is_ipv6: bool) -> std::io::Result<()> {
    let (level, option) = if is_ipv6 {
        (libc::IPPROTO_IPV6, libc::IPV6_FREEBIND)
    } else {
        (libc::IPPROTO_IP, libc::IP_FREEBIND)
    };
    let on: libc::c_int = 1;
    let octets = libc::socklen_t::try_from(size_of_val(&on)).unwrap_or(0);
    // SAFETY: the option is a C int, which is read during the call and not kept.
    let done = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const on).cast(), octets) };
    if done == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// Octets of the process that are in RAM now, from the system; 0 if it doesn't tell.
pub fn resident_octets() -> u64 {
    let Ok(text) = std::fs::read_to_string("/proc/self/statm") else { return 0 };
    let pages: u64 = text.split_whitespace().nth(1).and_then(|p| p.parse().ok()).unwrap_or(0);
    pages * page_octets()
}

/// Octets of the program and its libraries as they are mapped, in RAM or not; an estimate where the
/// system doesn't tell.
pub fn image_octets() -> u64 {
    const UNKNOWN: u64 = 4 * 1024 * 1024;
    // "START-END permissions offset device inode file": only what is mapped from a file has an inode.
    let octets = |line: &str| {
        let mut words = line.split_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let from_file = words.nth(3)? != "0";
        let place = |text| u64::from_str_radix(text, 16).ok();
        from_file.then_some(place(end)?.saturating_sub(place(start)?))
    };
    match std::fs::read_to_string("/proc/self/maps").map(|maps| maps.lines().filter_map(octets).sum()) {
        Ok(0) | Err(_) => UNKNOWN,
        Ok(octets) => octets,
    }
}

/// Octets of a memory page.
pub fn page_octets() -> u64 {
    nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)
        .ok()
        .flatten()
        .and_then(|n| u64::try_from(n).ok())
        .unwrap_or(4096)
}

/// Starts a range of a file on its way to the medium, without waiting for it. Only a hint: what
/// the system makes of it is of no consequence.
#[allow(unsafe_code)]
pub fn start_writeback(file: BorrowedFd<'_>, offset: u64, octets: u64) {
    let (Ok(offset), Ok(octets)) = (offset.try_into(), octets.try_into()) else { return };
    // SAFETY: the call takes an open descriptor and plain numbers, and touches no memory of ours.
    unsafe { libc::sync_file_range(file.as_raw_fd(), offset, octets, libc::SYNC_FILE_RANGE_WRITE) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_heap_is_counted() {
        let before = HEAP.heap();
        let kept = std::hint::black_box(vec![0_u8; 1 << 20]);
        let during = HEAP.heap();
        assert!(during.allocations != before.allocations);
        assert!(during.peak_octets >= 1 << 20);
        drop(kept);
    }

    #[test]
    fn the_zone_is_at_most_a_day_away() {
        assert!(zone_offset_min(RELEASE_DATE_UNIX_S).abs() <= 24 * 60);
    }

    #[test]
    fn a_clock_of_1970_is_not_believed() {
        assert!(!Now { mono_ms: 0, unix_s: 12 }.wall_is_sane());
        assert!(Now { mono_ms: 0, unix_s: RELEASE_DATE_UNIX_S }.wall_is_sane());
    }
}
