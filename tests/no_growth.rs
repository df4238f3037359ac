//! Nothing grows: the heap is the same after very many messages, and the plain path asks the
//! allocator for nothing while they pass. The relay's own counting allocator tells.

mod support;

use std::cell::Cell;
use std::thread;

use support::client::Client;
use support::json::Json;
use support::message::message;
use support::next_hop::NextHop;
use support::relay::{Config, Relay};
use support::{Folder, amount, wait_for};

/// Clients at once; each keeps its connection for all of its messages.
const CLIENTS: usize = 10;

/// What the relay tells of its heap.
#[derive(Clone, Copy, Debug)]
struct Heap {
    live: u64,
    allocations: u64,
}

/// A relay whose heap is watched. Asking costs the relay allocations too, always as many.
struct Watched<'a> {
    config: &'a Config,
    relay: Relay,
    asked: Cell<u64>,
}

impl<'a> Watched<'a> {
    fn start(config: &'a Config) -> Self {
        Self { config, relay: config.start(), asked: Cell::new(0) }
    }

    fn status(&self) -> Json {
        self.asked.set(self.asked.get() + 1);
        Json::parse(&self.config.succeed(&["status", "--json"]))
    }

    /// The heap once everything is delivered and every session is closed.
    fn settled(&self) -> Heap {
        wait_for("the relay to be idle", || {
            let status = self.status();
            let idle = [("spool", "messages"), ("sessions", "used"), ("deliveries", "used")]
                .iter()
                .all(|(part, figure)| status.key(part).key(figure).number() == 0.0);
            let memory = status.key("memory");
            let figure = |name| memory.key(name).number() as u64;
            idle.then(|| Heap { live: figure("heap_bytes"), allocations: figure("allocations") })
        })
    }

    /// Sends this many messages; how much the heap grew, and the allocations that asking does not
    /// explain.
    fn growth(&self, messages: usize, to: &str) -> (i64, i64) {
        let before = self.settled();
        let (first, asked) = (self.settled(), self.asked.get());
        let per_answer = first.allocations - before.allocations;
        send(self.relay.port, messages, to);
        let after = self.settled();
        let explained = per_answer * (self.asked.get() - asked);
        (
            after.live as i64 - first.live as i64,
            after.allocations as i64 - first.allocations as i64 - explained as i64,
        )
    }
}

fn send(port: u16, messages: usize, to: &str) {
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let share = messages / CLIENTS + usize::from(client < messages % CLIENTS);
            scope.spawn(move || {
                let content = message("0123456789\r\n".repeat(100));
                let mut client = Client::hello(port);
                for _ in 0..share {
                    let reply = client.deliver("a@client.test", &[to], &content);
                    assert!(reply.starts_with("250"), "{reply}");
                }
                client.expect("QUIT", "221");
            });
        }
    });
}

fn config(folder: &Folder) -> Config {
    Config::new(folder.path(), "a")
        .set("limits", "sessions_per_client", "16")
        // More than wait at once: a next hop is slower than the clients.
        .set("spool", "max_messages", "10000")
        .set("spool", "max_size", "\"128MiB\"")
        .set("log", "level", "\"error\"")
}

/// After `first` messages have warmed it up, `more` of them neither grow the heap nor ask the
/// allocator for anything; the lines logged.
#[track_caller]
fn no_growth(config: &Config, to: &str, first: usize, more: usize) -> usize {
    let watched = Watched::start(config);
    watched.growth(first, to);
    let (live, allocations) = watched.growth(more, to);
    println!("{to}: {live} octets and {allocations} allocations for {more} messages");
    assert_eq!((live, allocations), (0, 0), "octets and allocations that {more} messages left");
    watched.relay.stop().len()
}

#[test]
fn taking_and_discarding() {
    let folder = Folder::new("nogrowth");
    let config = config(&folder).route("via = \"discard\"");
    no_growth(&config, "b@remote.test", 1000, amount(4000, 49_000));
}

#[test]
fn to_a_smarthost() {
    let folder = Folder::new("nogrowthhop");
    let hop = NextHop::friendly();
    no_growth(&config(&folder).smarthost(&hop.address()), "b@remote.test", 300, amount(700, 49_000));
}

#[test]
fn to_a_maildir() {
    let folder = Folder::new("nogrowthdir");
    no_growth(&config(&folder).maildir("[\"local.test\"]"), "b@local.test", 300, amount(700, 49_000));
}

#[test]
fn by_an_alias_over_lmtp() {
    let folder = Folder::new("nogrowthalias");
    let hop = NextHop::friendly();
    let file = folder.write("aliases", "all: one, two, others\nothers: three, all\n*: one\n");
    let config = config(&folder)
        .set("aliases", "file", &format!("{:?}", file.display().to_string()))
        .route(&format!("via = \"lmtp\"\nhosts = [{:?}]", hop.address()));
    no_growth(&config, "all@local.test", 300, amount(700, 49_000));
}

#[test]
fn with_log_lines() {
    let folder = Folder::new("nogrowthlog");
    let config = config(&folder).route("via = \"discard\"").set("log", "level", "\"info\"");
    let (first, more) = (300, amount(700, 49_000));
    let lines = no_growth(&config, "b@remote.test", first, more);
    assert!(lines > first + more, "a line for each message, {lines} in all");
}
