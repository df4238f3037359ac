//! A relay for tests: over a real spool of its own, without sockets and helpers, by a clock that the
//! test holds.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Relay;
use super::desk::{Answering, Desk};
use super::destination::Key;
use super::dispatch::Room;
use super::health::Figures;
use super::report::Output;
use super::request::Request;
use super::round::Group;
use crate::config::Config;
use crate::smtp::command::Notify;
use crate::spool::{Id, Origin, RealDisk, StagingIndex};
use crate::sys::{Now, RELEASE_DATE_UNIX_S};

/// When everything in these tests begins.
pub const NOW: Now = Now { mono_ms: 1_000, unix_s: RELEASE_DATE_UNIX_S + 100 };

/// That many milliseconds later.
pub fn after(ms: u64) -> Now {
    Now { mono_ms: NOW.mono_ms + ms, unix_s: NOW.unix_s + ms / 1000 }
}

/// Room for everything.
pub struct Everywhere;

impl Room for Everywhere {
    fn for_mailbox(&self) -> bool {
        true
    }

    fn for_connection(&self, _: Key) -> bool {
        true
    }

    fn for_look_up(&self, _: Key) -> bool {
        true
    }
}

/// A relay over a spool of its own, which goes with it. Mail for box.example is its own; where all other
/// mail goes is the test's choice.
pub struct Bench {
    /// What is tested.
    pub relay: Relay,
    routes: String,
    folder: PathBuf,
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn config(folder: &Path, routes: &str) -> Arc<Config> {
    let spool = folder.join("spool").display().to_string();
    let mail = folder.join("mail/{user}").display().to_string();
    let cells = if routes.starts_with("cells_size") { "" } else { "cells_size = \"1MiB\"\n" };
    let text = format!(
        "[spool]\ndirectory = {spool:?}\n{cells}{routes}\n[[route]]\nto = [\"box.example\"]\n\
        via = \"maildir\"\ndirectory = {mail:?}\nrecipients = \"any\"\n"
    );
    Arc::new(Config::parse(&text, "box.example").expect("a configuration"))
}

fn open(folder: &Path, routes: &str) -> Relay {
    let config = config(folder, routes);
    let disk = RealDisk::open(&config.spool.directory, true).unwrap();
    Relay::open(config, 1, disk, NOW).unwrap()
}

impl Bench {
    /// Keeps what is its own and knows no other way.
    pub fn new(name: &str) -> Self {
        Self::with(name, "")
    }

    /// These tables stand before the route to its own mailboxes.
    pub fn with(name: &str, routes: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("pillarbox-bench-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        Self { relay: open(&folder, routes), routes: routes.to_owned(), folder }
    }

    /// With these tables it starts the next time.
    pub fn set_routes(&mut self, routes: &str) {
        routes.clone_into(&mut self.routes);
    }

    /// Where its spool lies.
    pub fn spool(&self) -> PathBuf {
        self.folder.join("spool")
    }

    /// The same spool after the relay was killed.
    pub fn killed(mut self) -> Self {
        let (folder, routes) = (std::mem::take(&mut self.folder), std::mem::take(&mut self.routes));
        drop(self);
        Self { relay: open(&folder, &routes), routes, folder }
    }

    /// Takes a configuration with other tables, as after SIGHUP.
    pub fn reload(&mut self, routes: &str, now: Now) {
        self.relay.pause();
        self.relay.reconfigure(config(&self.folder, routes), now).unwrap();
        self.routes = routes.to_owned();
    }

    /// Puts a message into the queue, to users of box.example.
    pub fn message(&mut self, from: &str, recipients: u16, content: &[u8]) -> Id {
        let to: Vec<String> = (0..recipients).map(|n| format!("user{n}@box.example")).collect();
        self.message_to(from, &to.iter().map(String::as_str).collect::<Vec<_>>(), content)
    }

    /// Puts a message into the queue.
    pub fn message_to(&mut self, from: &str, to: &[&str], content: &[u8]) -> Id {
        let (store, staging) = (&mut self.relay.store, StagingIndex(0));
        let origin = Origin { reverse_path: from, client: "192.0.2.1", ..Origin::default() };
        let id = store.begin(staging, &origin, NOW.unix_s).unwrap();
        for to in to {
            store.recipient(staging, to, Notify::Unsaid, "").unwrap();
        }
        store.write(staging, content).unwrap();
        store.commit(staging, NOW.unix_s);
        store.start_batch();
        loop {
            if let Some((_, verdict)) = self.relay.committed(NOW) {
                assert!(matches!(verdict, super::Verdict::Accepted(_)), "{verdict:?}");
                // What its session would have found out.
                let at = self.relay.queue.find(id).unwrap();
                let key = self.relay.first_key(self.relay.queue.entry(at).place);
                self.relay.queue.turn_to(at, key);
                return id;
            }
        }
    }

    /// The next group that goes where there is room everywhere.
    pub fn group(&mut self, now: Now) -> Option<Group> {
        self.relay.next_group(&Everywhere, now)
    }

    /// Lets the disk have and answer what waits for it.
    pub fn sync(&mut self, now: Now) {
        self.relay.start_batch(0);
        while self.relay.committed(now).is_some() {}
        self.relay.tick(now);
    }

    /// The whole answer to a request line.
    pub fn answer(&mut self, line: &str) -> String {
        let request = Request::parse(line.as_bytes()).expect("a request");
        let (mut out, mut answer) = (Output::new(), Vec::new());
        let mut answering = self.relay.ask(&request, &mut out, NOW);
        for _ in 0..100_000 {
            answer.extend_from_slice(out.filled());
            out.clear();
            if matches!(answering, Answering::Over) {
                return String::from_utf8(answer).unwrap();
            }
            if answering.is_waiting() {
                self.relay.start_batch(0);
                while self.relay.committed(NOW).is_some() {}
            }
            answering = self.relay.tell(answering, &Figures::default(), &mut out, NOW);
        }
        panic!("no end of the answer to {line}");
    }
}
