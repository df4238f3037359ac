//! Clocks that are not set, and clocks that leap: libfaketime moves the wall clock of a running relay.

mod support;

use std::fs;
use std::path::PathBuf;

use support::certificates::{Authority, fingerprint};
use support::client::Client;
use support::message::{maildir, message};
use support::next_hop::{Act, Event, NextHop};
use support::relay::{Config, Relay};
use support::secure_hop::Hop;
use support::{Folder, peers, wait_for};

/// A relay whose wall clock is so far from the true one, and a file that says how far.
struct Moved {
    config: Config,
    faketime: PathBuf,
    offset: PathBuf,
}

impl Moved {
    fn new(folder: &Folder, config: Config, offset: &str) -> Option<Self> {
        // The sandbox would hide the file from the library.
        let config = config.set("run", "sandbox", "false");
        let moved =
            Self { config, faketime: peers::find("libfaketime.so.1")?, offset: folder.join("offset") };
        moved.leap(offset);
        Some(moved)
    }

    /// From now on the wall clock is so far from the true one.
    fn leap(&self, offset: &str) {
        fs::write(&self.offset, offset).expect("the file with the offset");
    }

    fn start(&self) -> Relay {
        let mut command = self.config.command(&["serve"]);
        command
            .env("LD_PRELOAD", fs::canonicalize(&self.faketime).expect("the library"))
            .env("FAKETIME_TIMESTAMP_FILE", &self.offset)
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("DONT_FAKE_MONOTONIC", "1");
        Relay::start(command, self.config.port)
    }

    /// Tries the queue until one more deferral or the end of a message stands in the log.
    fn retry(&self, relay: &Relay) {
        let tried = |log: &[String]| {
            log.iter().filter(|line| line.contains(" deferred ") || line.contains(" expired ")).count()
        };
        let before = tried(&relay.log());
        wait_for("another try", || {
            self.config.succeed(&["queue", "retry", "--all"]);
            (tried(&relay.log()) > before).then_some(())
        });
    }
}

fn busy() -> NextHop {
    NextHop::scripted(|_, event| match event {
        Event::Mail(_) => Act::Say("451 4.3.0 not now"),
        _ => Act::Friendly,
    })
}

fn expired(relay: &Relay) -> bool {
    relay.log().iter().any(|line| line.contains(" expired "))
}

fn send(relay: &Relay) {
    let reply = Client::hello(relay.port).deliver("me@local.test", &["a@remote.test"], &message("x\r\n"));
    assert!(reply.starts_with("250"), "{reply}");
}

#[test]
fn a_clock_that_is_set_late_expires_nothing_and_starts_no_storm() {
    let folder = Folder::new("lateclock");
    let hop = busy();
    let config = Config::new(folder.path(), "a")
        .smarthost(&hop.address())
        .set("queue", "retry", "[\"1h\"]")
        .set("queue", "warn_after", "\"1h\"")
        .set("queue", "expire_after", "\"5d\"");
    let Some(moved) = Moved::new(&folder, config, "-20000d") else { return };
    let relay = moved.start();
    for _ in 0..20 {
        send(&relay);
    }
    wait_for("20 deferrals", || {
        (relay.log().iter().filter(|line| line.contains(" deferred ")).count() == 20).then_some(())
    });
    let connections = hop.connections();
    moved.leap("+0");
    wait_for("a turn by the new clock", || {
        moved.config.succeed(&["status"]);
        relay.log().iter().any(|line| line.contains("the clock was set")).then_some(())
    });
    assert_eq!(moved.config.queue().len(), 20);
    assert!(!expired(&relay) && hop.connections() == connections, "{}", relay.log().join("\n"));
    moved.retry(&relay);
    assert!(!expired(&relay) && maildir(&moved.config.mailbox("me")).is_empty());
    relay.kill();
    // What was written down counts: the head says 1972, which is no age at all.
    wait_for("all messages to age", || {
        let queue = moved.config.queue();
        (queue.len() == 20 && queue.iter().all(|one| (1.0..3600.0).contains(&one.key("age_s").number())))
            .then_some(())
    });
    moved.leap("+6d");
    let relay = moved.start();
    moved.retry(&relay);
    relay.wait_log(&[" expired ", "a@remote.test"]);
    relay.stop();
}

#[test]
fn nothing_expires_while_the_clock_is_not_set() {
    let folder = Folder::new("noclock");
    let hop = busy();
    let config = Config::new(folder.path(), "a")
        .smarthost(&hop.address())
        .set("queue", "retry", "[\"1s\"]")
        .set("queue", "warn_after", "\"1s\"")
        .set("queue", "expire_after", "\"2s\"");
    let Some(moved) = Moved::new(&folder, config, "-20000d") else { return };
    let relay = moved.start();
    send(&relay);
    wait_for("four tries", || {
        (relay.log().iter().filter(|line| line.contains(" deferred ")).count() >= 4).then_some(())
    });
    assert!(!expired(&relay) && maildir(&moved.config.mailbox("me")).is_empty(), "no warning either");
    moved.leap("+0");
    relay.wait_log(&[" expired ", "a@remote.test"]);
    moved.config.wait_queue(0);
    relay.stop();
}

#[test]
fn a_leap_from_one_sane_time_to_another_makes_no_message_older() {
    let folder = Folder::new("leaps");
    let hop = busy();
    let config = Config::new(folder.path(), "a").smarthost(&hop.address()).set("queue", "retry", "[\"1h\"]");
    // A board that goes on from the time it was switched off.
    let Some(moved) = Moved::new(&folder, config, "-10d") else { return };
    let relay = moved.start();
    send(&relay);
    relay.wait_log(&["deferred", "a@remote.test"]);
    for offset in ["+0", "-3d", "+30d", "+0"] {
        moved.leap(offset);
        moved.retry(&relay);
        let queue = moved.config.queue();
        assert!(!expired(&relay) && queue.len() == 1, "{offset}: {}", relay.log().join("\n"));
        assert!(queue[0].key("age_s").number() < 3600.0, "{offset}: {queue:?}");
    }
    wait_for("the new arrival on disk", || {
        let log = relay.log();
        (log.iter().filter(|line| line.contains("the clock was set")).count() >= 4).then_some(())
    });
    relay.kill();
    let relay = moved.start();
    moved.retry(&relay);
    assert!(!expired(&relay), "a restart counts on from what was written down");
    relay.stop();
    moved.leap("+6d");
    let relay = moved.start();
    moved.retry(&relay);
    relay.wait_log(&[" expired ", "a@remote.test"]);
    moved.config.wait_queue(0);
    relay.stop();
}

#[test]
fn a_certificate_is_not_judged_before_the_clock_is_set() {
    let folder = Folder::new("noclocktls");
    let Some(authority) = Authority::new(folder.path(), "authority") else { return };
    let pair = authority.issue("server", "EC:P-256");
    let Some(hop) = Hop::new(&folder, "box", "tls", &pair) else { return };
    let route = |to: &str, lines: &str| {
        format!("to = [\"{to}\"]\nvia = \"smarthost\"\nhosts = [\"localhost:{}\"]\n{lines}", hop.port)
    };
    let config = Config::new(folder.path(), "a")
        .route(&route("pinned.test", &format!("certificate_sha256 = {:?}", fingerprint(&pair.certificate))))
        .route(&route("*", &format!("ca_file = {:?}", authority.file())))
        .set("queue", "retry", "[\"1h\"]");
    let Some(moved) = Moved::new(&folder, config, "-20000d") else { return };
    let relay = moved.start();
    send(&relay);
    relay.wait_log(&["deferred", "a@remote.test", "before the clock of this machine is set; waiting for it"]);
    let status = moved.config.succeed(&["status", "--json"]);
    assert!(status.contains("before the clock of this machine is set"), "status says why: {status}");
    moved.retry(&relay);
    // A pin needs no clock.
    let mut client = Client::hello(relay.port);
    let reply = client.deliver("me@local.test", &["a@pinned.test"], &message("x\r\n"));
    assert!(reply.starts_with("250"), "{reply}");
    relay.wait_log(&["delivered", "a@pinned.test", "tls=TLSv1.3"]);
    assert_eq!(hop.mails(), 1, "the other one waits");
    moved.leap("+0");
    wait_for("the mail that waited", || {
        moved.config.succeed(&["queue", "retry", "--all"]);
        (hop.mails() == 2).then_some(())
    });
    relay.wait_log(&["delivered", "a@remote.test", "tls=TLSv1.3"]);
    relay.stop();
}
