//! `commit = "next-hop"`: the answer comes when the next hop has the message, or the disk.

mod support;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{thread, time::Duration};

use support::client::Client;
use support::message::{large, maildir, message, stuff, without_trace};
use support::next_hop::{Act, Event, NextHop};
use support::relay::{Config, Relay};
use support::{Folder, wait_for};

const CONTENT: &str = "passed on\r\n";

fn config(folder: &Folder, hop: &NextHop) -> Config {
    Config::new(folder.path(), "a").set("spool", "commit", "\"next-hop\"").smarthost(&hop.address())
}

/// MAIL to the last dot, without waiting for the answer.
fn hand_over(relay: &Relay, to: &[&str], content: &[u8]) -> Client {
    let mut client = Client::hello(relay.port);
    client.expect("MAIL FROM:<me@local.test>", "250");
    for to in to {
        client.expect(&format!("RCPT TO:<{to}>"), "250");
    }
    client.expect("DATA", "354");
    client.send(&stuff(content));
    client
}

/// How often the spool was synced so far.
fn syncs(config: &Config) -> f64 {
    let status = support::json::Json::parse_lines(&config.succeed(&["status", "--json"])).remove(0);
    status.key("spool").key("syncs").number()
}

/// A next hop that answers the last dot when it is let go.
fn reluctant() -> (NextHop, Arc<AtomicBool>) {
    let gate = Arc::new(AtomicBool::new(false));
    let of_hop = Arc::clone(&gate);
    let hop = NextHop::scripted(move |_, event| {
        while matches!(event, Event::Content(_)) && !of_hop.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(5));
        }
        Act::Friendly
    });
    (hop, gate)
}

#[test]
fn what_the_next_hop_takes_is_never_synced() {
    let folder = Folder::new("passed");
    let hop = NextHop::friendly();
    // Longer than anybody waits here: what the next hop has is answered for without waiting.
    let config = config(&folder, &hop).set("spool", "commit_wait", "\"60s\"");
    let relay = config.start();
    let before = syncs(&config);
    for (number, content) in [message(CONTENT), message(CONTENT), large(700_000)].iter().enumerate() {
        let mut client = hand_over(&relay, &["b@remote.test", "c@remote.test"], content);
        assert!(client.reply().starts_with("250"));
        // The answer came after the next hop's.
        let taken = hop.taken();
        assert_eq!((taken.len(), taken[number].to.len()), (number + 1, 2));
        assert_eq!(without_trace(&taken[number].content), &content[..]);
    }
    assert_eq!(syncs(&config).to_bits(), before.to_bits());
    config.wait_queue(0);
    let log = relay.stop();
    assert_eq!(log.iter().filter(|line| line.contains(" accepted ")).count(), 3, "{log:?}");
    assert_eq!(log.iter().filter(|line| line.contains(" delivered ")).count(), 6, "{log:?}");
    let left = fs::read_dir(config.folder().join("spool/large")).expect("the folder").count();
    assert_eq!(left, 0, "nothing got a file of its own");
}

#[test]
fn what_the_next_hop_refuses_is_refused_without_a_bounce() {
    let folder = Folder::new("refused");
    let hop = NextHop::scripted(|_, event| match event {
        Event::Rcpt(path) if path.contains("nobody@") => Act::Say("550 5.1.1 nobody here"),
        Event::Content(content) if content.windows(5).any(|w| w == b"virus") => {
            Act::Say("554 5.7.1 bad words")
        }
        _ => Act::Friendly,
    });
    let config = config(&folder, &hop).set("spool", "commit_wait", "\"60s\"");
    let relay = config.start();
    let reply = hand_over(&relay, &["nobody@remote.test"], &message(CONTENT)).reply();
    assert_eq!(reply, "550 5.1.1 nobody here");
    let reply = hand_over(&relay, &["b@remote.test", "c@remote.test"], &message("virus\r\n")).reply();
    assert_eq!(reply, "554 5.7.1 bad words");
    config.wait_queue(0);
    assert!(hop.taken().is_empty() && maildir(&config.mailbox("me")).is_empty());
    let log = relay.stop();
    assert!(!log.iter().any(|line| line.contains(" accepted ") || line.contains(" bounced ")), "{log:?}");
}

#[test]
fn a_mixed_answer_is_250_and_a_bounce() {
    let folder = Folder::new("mixed");
    let hop = NextHop::scripted(|_, event| match event {
        Event::Rcpt(path) if path.contains("nobody@") => Act::Say("550 5.1.1 nobody here"),
        _ => Act::Friendly,
    });
    let config = config(&folder, &hop);
    let relay = config.start();
    let to = ["b@remote.test", "nobody@remote.test"];
    assert!(hand_over(&relay, &to, &message(CONTENT)).reply().starts_with("250"));
    let bounce = wait_for("the bounce", || maildir(&config.mailbox("me")).pop());
    let bounce = String::from_utf8_lossy(&bounce).into_owned();
    assert!(bounce.contains("nobody@remote.test") && !bounce.contains("<b@remote.test>"), "{bounce}");
    config.wait_queue(0);
    relay.stop();
    // Nobody gets it twice, after a restart either.
    let relay = config.start();
    config.wait_queue(0);
    assert_eq!(hop.taken().len(), 1);
    relay.stop();
}

#[test]
fn what_is_deferred_is_kept() {
    let folder = Folder::new("deferred");
    let hop = NextHop::scripted(|_, event| match event {
        Event::Rcpt(path) if path.contains("later@") => Act::Say("451 4.2.1 come back"),
        _ => Act::Friendly,
    });
    let config = config(&folder, &hop);
    let relay = config.start();
    assert!(
        hand_over(&relay, &["b@remote.test", "later@remote.test"], &message(CONTENT))
            .reply()
            .starts_with("250")
    );
    let queue = config.wait_queue(1);
    assert_eq!(queue[0].key("state").text(), "waiting");
    relay.kill();
    let relay = config.start();
    config.succeed(&["queue", "retry", "--all"]);
    relay.wait_log(&["deferred", "later@remote.test"]);
    assert_eq!(hop.taken().len(), 1, "who has it does not get it again");
    relay.stop();
}

#[test]
fn a_dead_next_hop_costs_a_commit() {
    let folder = Folder::new("dead");
    let hop = NextHop::friendly();
    let dead = format!("127.0.0.1:{}", support::free_port());
    let config = Config::new(folder.path(), "a").set("spool", "commit", "\"next-hop\"").smarthost(&dead);
    let relay = config.start();
    let before = syncs(&config);
    // The first finds out, the second comes while the destination rests.
    for number in 1..=2 {
        assert!(hand_over(&relay, &["b@remote.test"], &message(CONTENT)).reply().starts_with("250"));
        config.wait_queue(number);
    }
    assert!(syncs(&config) > before);
    drop(hop);
    relay.stop();
}

#[test]
fn a_slow_next_hop_is_not_waited_for_longer_than_said() {
    let folder = Folder::new("slow");
    let (hop, gate) = reluctant();
    let config = config(&folder, &hop).set("spool", "commit_wait", "\"1s\"");
    let relay = config.start();
    for content in [message(CONTENT), large(700_000)] {
        gate.store(false, Ordering::SeqCst);
        let before = hop.taken().len();
        assert!(hand_over(&relay, &["b@remote.test"], &content).reply().starts_with("250"));
        assert_eq!(hop.taken().len(), before, "the disk was first");
        gate.store(true, Ordering::SeqCst);
        let taken = hop.wait(before + 1);
        assert_eq!(without_trace(&taken[before].content), &content[..]);
        config.wait_queue(0);
    }
    relay.stop();
    assert_eq!(hop.taken().len(), 2);
}

#[test]
fn content_that_is_on_its_way_moves_into_the_spool_unharmed() {
    let folder = Folder::new("moving");
    let gate = Arc::new(AtomicBool::new(false));
    let of_hop = Arc::clone(&gate);
    // It does not read the content before it is let go: more than the sockets hold stays behind.
    let hop = NextHop::scripted(move |_, event| {
        while matches!(event, Event::Data) && !of_hop.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(5));
        }
        Act::Friendly
    });
    let config = config(&folder, &hop).set("spool", "commit_wait", "\"1s\"");
    let relay = config.start();
    let contents = [large(200_000), large(9_000_000)];
    for (number, content) in contents.iter().enumerate() {
        gate.store(false, Ordering::SeqCst);
        let mut client = hand_over(&relay, &["b@remote.test"], content);
        assert!(client.reply().starts_with("250"));
        // The slot's staging file is used again at once.
        client.expect("MAIL FROM:<me@local.test>", "250");
        client.expect("RCPT TO:<me@local.test>", "250");
        client.expect("DATA", "354");
        client.send(&stuff(&message("another\r\n")));
        assert!(client.reply().starts_with("250"));
        gate.store(true, Ordering::SeqCst);
        assert_eq!(without_trace(&hop.wait(number + 1)[number].content), &content[..]);
    }
    config.wait_queue(0);
    relay.stop();
}

#[test]
fn before_the_answer_nothing_is_ours_and_after_it_everything() {
    let folder = Folder::new("killed");
    let (hop, gate) = reluctant();
    let config = config(&folder, &hop).set("spool", "commit_wait", "\"1h\"");
    let relay = config.start();
    let client = hand_over(&relay, &["b@remote.test"], &message(CONTENT));
    wait_for("the message to be on its way", || config.queue().pop());
    relay.kill();
    drop(client);
    let config = config.set("spool", "commit_wait", "\"1s\"");
    let relay = config.start();
    config.wait_queue(0);
    assert!(hand_over(&relay, &["b@remote.test"], &message(CONTENT)).reply().starts_with("250"));
    relay.kill();
    gate.store(true, Ordering::SeqCst);
    let relay = config.start();
    config.drain();
    assert!(hop.taken().iter().any(|taken| without_trace(&taken.content) == &message(CONTENT)[..]));
    relay.stop();
}

#[test]
fn a_relay_that_stops_commits_what_it_was_offered() {
    let folder = Folder::new("stopped");
    let (hop, gate) = reluctant();
    let config = config(&folder, &hop).set("spool", "commit_wait", "\"1h\"");
    let relay = config.start();
    let mut client = hand_over(&relay, &["b@remote.test"], &message(CONTENT));
    wait_for("the message to be on its way", || config.queue().pop());
    relay.signal(nix::sys::signal::Signal::SIGTERM);
    assert!(client.reply().starts_with("250"));
    gate.store(true, Ordering::SeqCst);
    relay.stop();
    let relay = config.start();
    config.drain();
    relay.stop();
    assert!(!hop.taken().is_empty());
}

#[test]
fn a_mailbox_is_a_next_hop_too() {
    let folder = Folder::new("mailbox");
    let hop = NextHop::friendly();
    let config = config(&folder, &hop);
    let relay = config.start();
    let before = syncs(&config);
    assert!(hand_over(&relay, &["me@local.test"], &message(CONTENT)).reply().starts_with("250"));
    assert_eq!(maildir(&config.mailbox("me")).len(), 1);
    assert_eq!(syncs(&config).to_bits(), before.to_bits());
    relay.stop();
}

#[test]
fn a_commit_that_fails_after_a_part_was_delivered_is_451() {
    let folder = Folder::new("half");
    let hop = NextHop::scripted(|_, event| match event {
        Event::Rcpt(path) if path.contains("later@") => Act::Say("451 4.2.1 come back"),
        _ => Act::Friendly,
    });
    let config = config(&folder, &hop);
    let relay = config.start();
    // Without its folder a large message can't be kept.
    fs::remove_dir(config.folder().join("spool/large")).expect("an empty folder");
    let reply = hand_over(&relay, &["b@remote.test", "later@remote.test"], &large(700_000)).reply();
    assert!(reply.starts_with("451 4.3.0"), "{reply}");
    assert_eq!(hop.taken().len(), 1);
    config.wait_queue(0);
    assert!(hand_over(&relay, &["b@remote.test"], &message(CONTENT)).reply().starts_with("250"));
    relay.stop();
}
