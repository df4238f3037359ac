//! Where log lines go: a fixed ring in front of a descriptor that is never waited for.
//!
//! A terminal that is stopped, a pipe that nobody reads or a full disk must not stop mail. Lines
//! wait in the ring until the end of the turn, and until the descriptor takes them; lines that find
//! it full are lost and counted, and the count is the next line.

use std::cell::Cell;
use std::fs::{File, OpenOptions, rename};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use heapless::{Deque, Vec};
use log::LevelFilter;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::fstat;
use simplelog::{ConfigBuilder, WriteLogger};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::restraint::{Restraint, STRANGERS_LINES};
use crate::config::{self, LogLevel, LogTarget};
use crate::relay::client::STRANGERS;

/// Octets that wait for the descriptor at most.
const RING_OCTETS: usize = 16 * 1024;
/// Octets of one line; a longer one is cut.
const LINE_OCTETS: usize = 2048;
/// Octets that all of it takes.
pub const OCTETS: usize = size_of::<Lines>() + size_of::<Deque<u8, RING_OCTETS>>();
/// Octets that a descriptor which is ready takes without blocking (PIPE_BUF of Linux).
const PIECE_OCTETS: usize = 4096;
/// Where the system's log daemon listens.
const SYSLOG: &str = "/dev/log";
/// The facility "mail" of syslog (RFC 5424 6.2.1), in its place above the severity.
const MAIL: u8 = 2 << 3;

thread_local! {
    /// Severity of the line that this thread writes: the text alone does not tell.
    static SEVERITY: Cell<u8> = const { Cell::new(6) };
}

/// Starts logging as the configuration says. To be called once.
pub fn start(config: &config::Log) -> io::Result<()> {
    let sink = match config.target {
        LogTarget::Stderr => Sink::Stderr { is_journal: is_journal() },
        LogTarget::Syslog => {
            let socket = UnixDatagram::unbound()?;
            socket.set_nonblocking(true)?;
            Sink::Syslog { socket, daemon: SYSLOG.into() }
        }
        LogTarget::File => Sink::File(Rotated::open(config.file.clone(), config.max_size)?),
    };
    // A line is the event and nothing else: the queue id comes first.
    let plain = ConfigBuilder::new()
        .set_max_level(LevelFilter::Off)
        .set_time_level(LevelFilter::Off)
        .set_thread_level(LevelFilter::Off)
        .set_target_level(LevelFilter::Off)
        .set_location_level(LevelFilter::Off)
        .add_filter_allow_str("pillarbox")
        .build();
    let lines = WriteLogger::new(LevelFilter::Trace, plain, Lines::new(sink));
    let lines = Graded { lines, restraint: Mutex::default() };
    log::set_boxed_logger(Box::new(lines)).map_err(io::Error::other)?;
    set_level(config.level);
    Ok(())
}

/// Writes lines of this level and graver ones from now on.
pub fn set_level(level: LogLevel) {
    log::set_max_level(match level {
        LogLevel::Error => LevelFilter::Error,
        LogLevel::Warn => LevelFilter::Warn,
        LogLevel::Info => LevelFilter::Info,
        LogLevel::Debug => LevelFilter::Debug,
        LogLevel::Trace => LevelFilter::Trace,
    });
}

/// True if standard error goes to systemd's journal, by what it tells its services (systemd.exec(5)).
fn is_journal() -> bool {
    let Some(told) = std::env::var_os("JOURNAL_STREAM") else { return false };
    fstat(io::stderr()).is_ok_and(|file| told == *format!("{}:{}", file.st_dev, file.st_ino))
}

/// The logger, with the severity of each line told to what puts its prefix, and strangers' lines counted.
struct Graded {
    lines: Box<WriteLogger<Lines>>,
    restraint: Mutex<Restraint>,
}

impl Graded {
    fn restraint(&self) -> MutexGuard<'_, Restraint> {
        self.restraint.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl log::Log for Graded {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        self.lines.enabled(metadata)
    }

    fn log(&self, record: &log::Record<'_>) {
        if record.target() == STRANGERS && !self.restraint().allows(Instant::now()) {
            return;
        }
        SEVERITY.set(match record.level() {
            log::Level::Error => 3,
            log::Level::Warn => 4,
            log::Level::Info => 6,
            log::Level::Debug | log::Level::Trace => 7,
        });
        self.lines.log(record);
    }

    fn flush(&self) {
        let left_out = self.restraint().over(Instant::now());
        if let Some(left_out) = left_out {
            log::warn!(
                "- {left_out} more lines about strangers were left out: {STRANGERS_LINES} a minute are enough"
            );
        }
        self.lines.flush();
    }
}

/// Lets what waits in the ring go on; the loop calls it each turn.
pub fn flush() {
    log::logger().flush();
}

/// What takes the lines.
enum Sink {
    Stderr {
        /// The journal stands behind it and takes a severity before each line.
        is_journal: bool,
    },
    Syslog {
        socket: UnixDatagram,
        daemon: PathBuf,
    },
    File(Rotated),
}

impl Sink {
    /// What stands before each line.
    fn prefix(&self, line: &mut Vec<u8, LINE_OCTETS>) {
        match self {
            Self::Stderr { is_journal: false } => {}
            Self::Stderr { is_journal: true } => drop(write!(Extend(line), "<{}>", SEVERITY.get())),
            Self::Syslog { .. } => drop(write!(Extend(line), "<{}>pillarbox: ", MAIL + SEVERITY.get())),
            // journald and syslog stamp lines themselves; a file has nobody else to do it.
            Self::File(_) => {
                let whole =
                    OffsetDateTime::now_utc().replace_nanosecond(0).unwrap_or(OffsetDateTime::UNIX_EPOCH);
                let _ = whole.format_into(&mut Extend(line), &Rfc3339);
                let _ = line.push(b' ');
            }
        }
    }

    /// Takes from the front of the ring without waiting: how much.
    fn write(&mut self, ring: &Deque<u8, RING_OCTETS>) -> io::Result<usize> {
        let (front, _) = ring.as_slices();
        let piece = &front[..front.len().min(PIECE_OCTETS)];
        match self {
            Self::Stderr { .. } => {
                let stderr = io::stderr();
                if is_ready(stderr.as_fd()) { stderr.lock().write(piece) } else { Ok(0) }
            }
            Self::Syslog { socket, daemon } => {
                // A datagram is a line, also one that goes round the ring's end.
                let line: Vec<u8, LINE_OCTETS> = ring.iter().copied().take_while(|&b| b != b'\n').collect();
                send(socket, daemon, &line)?;
                Ok(line.len() + 1)
            }
            Self::File(file) => file.write(piece),
        }
    }
}

/// Sends a line to the log daemon, which may have been started anew, or not yet.
fn send(socket: &UnixDatagram, daemon: &Path, line: &[u8]) -> io::Result<()> {
    match socket.send(line) {
        Err(e) if e.kind() != io::ErrorKind::WouldBlock => {
            socket.connect(daemon)?;
            socket.send(line).map(drop)
        }
        other => other.map(drop),
    }
}

fn is_ready(fd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::POLLOUT)];
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|n| n > 0)
}

/// The name that a log file gets when it is full.
pub fn rotated_name(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".1");
    name.into()
}

/// A log file that becomes `FILE.1` when it is full.
struct Rotated {
    path: PathBuf,
    file: File,
    octets: u64,
    max_octets: u64,
}

impl Rotated {
    fn open(path: PathBuf, max_octets: u64) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).mode(0o640).open(&path)?;
        let octets = file.metadata()?.len();
        Ok(Self { path, file, octets, max_octets })
    }

    /// Makes this file the old one. Where the folder is not ours to change, its content goes into the old
    /// one, which was made while we could.
    fn rotate(&mut self) -> io::Result<()> {
        let old = rotated_name(&self.path);
        if rename(&self.path, &old).is_ok() {
            *self = Self::open(std::mem::take(&mut self.path), self.max_octets)?;
            return Ok(());
        }
        self.empty_into(&old)
    }

    fn empty_into(&mut self, old: &Path) -> io::Result<()> {
        // A log that can't be copied is emptied all the same: it must not fill the disk.
        let _ = std::fs::copy(&self.path, old);
        self.file.set_len(0)?;
        self.octets = 0;
        Ok(())
    }

    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        if self.octets + piece.len() as u64 > self.max_octets && self.octets > 0 {
            self.rotate()?;
        }
        let n = self.file.write(piece)?;
        self.octets += n as u64;
        Ok(n)
    }
}

/// Appends to a line what fits.
struct Extend<'a>(&'a mut Vec<u8, LINE_OCTETS>);

impl Write for Extend<'_> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let fits = octets.len().min(self.0.capacity() - self.0.len());
        let _ = self.0.extend_from_slice(&octets[..fits]);
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Puts lines together and hands them on.
struct Lines {
    sink: Sink,
    line: Vec<u8, LINE_OCTETS>,
    ring: Box<Deque<u8, RING_OCTETS>>,
    lost: u32,
}

impl Lines {
    fn new(sink: Sink) -> Self {
        Self { sink, line: Vec::new(), ring: Box::new(Deque::new()), lost: 0 }
    }

    /// The line is complete: into the ring, or lost.
    fn end_line(&mut self) {
        if self.line.is_full() {
            self.line.pop();
        }
        let _ = self.line.push(b'\n');
        if self.line.len() <= self.ring.capacity() - self.ring.len() {
            self.ring.extend(self.line.iter().copied());
        } else {
            self.lost += 1;
        }
        self.line.clear();
        if self.ring.len() >= RING_OCTETS / 2 {
            self.drain();
        }
        if self.lost > 0 && self.ring.is_empty() {
            let lost = std::mem::take(&mut self.lost);
            SEVERITY.set(4);
            self.sink.prefix(&mut self.line);
            let _ =
                writeln!(Extend(&mut self.line), "- {lost} log lines were lost: nobody took them in time");
            self.ring.extend(self.line.iter().copied());
            self.line.clear();
            self.drain();
        }
    }

    /// Gives the sink what it takes now.
    fn drain(&mut self) {
        while !self.ring.is_empty() {
            match self.sink.write(&self.ring) {
                Ok(0) | Err(_) => return,
                Ok(n) => {
                    for _ in 0..n {
                        self.ring.pop_front();
                    }
                }
            }
        }
    }
}

impl Write for Lines {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        for piece in octets.split_inclusive(|&b| b == b'\n') {
            if self.line.is_empty() && piece != b"\n" {
                self.sink.prefix(&mut self.line);
            }
            let text = piece.strip_suffix(b"\n").unwrap_or(piece);
            let _ = Extend(&mut self.line).write(text);
            if piece.ends_with(b"\n") {
                self.end_line();
            }
        }
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.drain();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A path of one test's own; what lies there, and rotated beside it, goes with the value.
    struct Place(PathBuf);

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
            let _ = std::fs::remove_file(rotated_name(&self.0));
        }
    }

    fn file(test: &str) -> Place {
        Place(std::env::temp_dir().join(format!("pillarbox-log-{}-{test}", std::process::id())))
    }

    #[test]
    fn lines_of_a_file_are_stamped_and_it_is_rotated_once() {
        let place = file("rotated");
        let path = &place.0;
        let mut lines = Lines::new(Sink::File(Rotated::open(path.clone(), 200).unwrap()));
        for n in 0..9 {
            writeln!(lines, "id-{n} accepted from=<a@b>").unwrap();
            lines.flush().unwrap();
        }
        let text = std::fs::read_to_string(path).unwrap();
        let old = std::fs::read_to_string(rotated_name(path)).unwrap();
        assert!(text.len() <= 200 && old.len() <= 200);
        let last = text.lines().last().unwrap();
        assert!(last.ends_with("Z id-8 accepted from=<a@b>") && last.starts_with("20"), "{last}");
    }

    #[test]
    fn where_nothing_can_be_renamed_the_content_moves() {
        let place = file("emptied");
        let path = &place.0;
        let mut log = Rotated::open(path.clone(), 200).unwrap();
        log.write(b"before\n").unwrap();
        log.empty_into(&rotated_name(path)).unwrap();
        log.write(b"after\n").unwrap();
        assert_eq!(std::fs::read(rotated_name(path)).unwrap(), b"before\n");
        assert_eq!((std::fs::read(path).unwrap(), log.octets), (b"after\n".to_vec(), 6));
    }

    #[test]
    fn a_log_daemon_may_come_later_and_go_for_a_while() {
        let place = file("daemon");
        let daemon = &place.0;
        let socket = UnixDatagram::unbound().unwrap();
        socket.set_nonblocking(true).unwrap();
        let mut lines = Lines::new(Sink::Syslog { socket, daemon: daemon.clone() });
        let mut told = std::vec::Vec::new();
        for n in 0..3 {
            // Longer than the ring all in all: some go round its end.
            writeln!(lines, "{n} before {}", "x".repeat(1500)).unwrap();
            lines.flush().unwrap();
            let server = UnixDatagram::bind(daemon).unwrap();
            for line in 0..8 {
                writeln!(lines, "{n} line {line} {}", "y".repeat(1500)).unwrap();
                lines.flush().unwrap();
                let mut room = [0; 4096];
                server.set_nonblocking(true).unwrap();
                while let Ok(octets) = server.recv(&mut room) {
                    let text = String::from_utf8_lossy(&room[..octets]).into_owned();
                    assert!(text.starts_with("<22>pillarbox: ") && text.ends_with(['x', 'y']), "{text}");
                    told.push(text[15..].split(['x', 'y']).next().unwrap().to_owned());
                }
            }
            drop(server);
            std::fs::remove_file(daemon).unwrap();
        }
        assert_eq!(told.len(), 27, "{told:?}");
        assert_eq!((&*told[9], &*told[10]), ("1 before ", "1 line 0 "));
    }

    #[test]
    fn a_reader_that_does_not_read_costs_lines_not_time() {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut lines = Lines::new(Sink::Syslog { socket: ours, daemon: "/nonexistent".into() });
        for n in 0..5_000 {
            writeln!(lines, "{n} {}", "x".repeat(500)).unwrap();
        }
        assert!(lines.lost > 0);
        let mut room = [0; 4096];
        let first = theirs.recv(&mut room).unwrap();
        assert!(room[..first].starts_with(b"<22>pillarbox: 0 x"));
        theirs.set_nonblocking(true).unwrap();
        let mut told = false;
        for _ in 0..5_000 {
            while let Ok(n) = theirs.recv(&mut room) {
                told |= String::from_utf8_lossy(&room[..n]).contains("log lines were lost");
            }
            writeln!(lines, "more").unwrap();
            lines.flush().unwrap();
            if told {
                return;
            }
        }
        panic!("nobody was told of the lost lines");
    }
}
