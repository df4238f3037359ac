//! What the end-to-end tests stand on: the built program on free loopback ports ([`relay`]), real
//! peers as children ([`peers`]), a plain SMTP client ([`client`]) and a scripted next hop that
//! records what it gets ([`next_hop`]), and the messages that matter ([`message`]).
//!
//! Everything lives in a [`Folder`] below `target/tmp`; whatever was started dies with its value.
#![allow(dead_code, missing_docs, reason = "every test file uses a part of this")]

pub mod certificates;
pub mod client;
pub mod dovecot;
pub mod json;
pub mod message;
pub mod name_server;
pub mod next_hop;
pub mod peers;
pub mod postfix;
pub mod relay;
pub mod secure_hop;

use std::net::{TcpListener, TcpStream};
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

use nix::unistd::geteuid;

/// How long anything is waited for before a test fails. Nothing is measured against it.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Where tests have their folders: `target/tmp`. If root runs them below a folder of its own, as `/root` is,
/// servers that become another user could not get there.
fn place() -> &'static Path {
    let ours = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let is_open = |folder: &Path| folder.metadata().is_ok_and(|it| it.permissions().mode() & 0o001 != 0);
    if !geteuid().is_root() || ours.ancestors().all(is_open) { ours } else { Path::new("/var/tmp") }
}

/// A folder of one test, below `target/tmp` if it can be: removed at the end, kept when the test fails.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = place().join(format!("{name}-{}-{count}", process::id()));
        fs::create_dir_all(&path).expect("a folder of the test");
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.join(name);
        fs::write(&path, content).expect("a file in the test's folder");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("kept for a look: {}", self.0.display());
        } else {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

/// A loopback port that nothing has, and that nothing but its taker will be given: below those that the
/// system hands out by itself to whoever asks for any, out of a block that this process holds by its
/// first port for as long as it runs.
pub fn free_port() -> u16 {
    const BLOCK: u16 = 64;
    static HELD: Mutex<(Vec<TcpListener>, Range<u16>)> = Mutex::new((Vec::new(), 0..0));
    let mut held = HELD.lock().expect("no test panics while it holds this");
    let (guards, block) = &mut *held;
    loop {
        for port in block.by_ref() {
            // To listen there for a moment would tell as much, but a child that is forked meanwhile keeps the
            // socket until it is another program, and whoever waits for the port's taker would reach that.
            if TcpStream::connect(("127.0.0.1", port)).is_err() {
                return port;
            }
        }
        let (guard, first) = (20_000..32_768)
            .step_by(BLOCK.into())
            .find_map(|first| Some((TcpListener::bind(("127.0.0.1", first)).ok()?, first)))
            .expect("a block of free ports");
        guards.push(guard);
        *block = first + 1..first + BLOCK;
    }
}

/// Asks again and again until there is an answer; fails the test with `what` when there is none.
#[track_caller]
pub fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// `short` in an ordinary run, `full` with `PILLARBOX_FULL=1`.
pub fn amount(short: usize, full: usize) -> usize {
    if env::var("PILLARBOX_FULL").is_ok_and(|value| value == "1") { full } else { short }
}
