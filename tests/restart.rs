//! What a crash and a stop leave behind: nothing accepted is lost, nothing else appears.

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::{fs, thread};

use support::client::Client;
use support::message::{field, large, maildir, message, stuff};
use support::next_hop::{Act, Event, NextHop};
use support::relay::Config;
use support::{Folder, amount, free_port, wait_for};

/// Sends numbered messages until the relay goes away; the numbers that were answered 250.
fn send_until_cut(port: u16, sender: &str, stop: &AtomicBool) -> Vec<String> {
    let mut accepted = Vec::new();
    let mut work = || -> std::io::Result<()> {
        let mut client = Client::try_connect(port)?;
        client.try_send(b"EHLO client.test\r\n")?;
        client.try_reply()?;
        for number in 0.. {
            if stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            let name = format!("{sender}-{number}");
            let octets = if number % 50 == 49 { 300_000 } else { 2000 };
            let mut content = format!("X-Number: {name}\r\n").into_bytes();
            content.extend_from_slice(&message("0123456789\r\n".repeat(octets / 12)));
            client.try_send(b"MAIL FROM:<a@client.test>\r\nRCPT TO:<b@remote.test>\r\nDATA\r\n")?;
            for expected in ["250", "250", "354"] {
                let reply = client.try_reply()?;
                if !reply.starts_with(expected) {
                    return Ok(());
                }
            }
            client.try_send(&stuff(&content))?;
            if client.try_reply()?.starts_with("250") {
                accepted.push(name);
            }
        }
        Ok(())
    };
    // The relay is killed under it: an error is how this ends.
    let _ = work();
    accepted
}

/// Sends from a few threads while `during` runs; all numbers that were answered 250.
fn sending(port: u16, round: usize, during: impl FnOnce()) -> Vec<String> {
    let stop = Arc::new(AtomicBool::new(false));
    let senders: Vec<_> = (0..4)
        .map(|sender| {
            let stop = Arc::clone(&stop);
            thread::spawn(move || send_until_cut(port, &format!("{round}-{sender}"), &stop))
        })
        .collect();
    during();
    stop.store(true, Ordering::Relaxed);
    senders.into_iter().flat_map(|sender| sender.join().expect("a sending thread")).collect()
}

/// Every accepted number is at the next hop, and whatever is there is whole. Twice is allowed: a
/// relay that was killed cannot know whether the next hop took the message.
#[track_caller]
fn assert_all_arrived(accepted: &[String], hop: &NextHop) {
    let mut arrived = BTreeSet::new();
    for taken in hop.taken() {
        let number = field(&taken.content, "X-Number").expect("a number in each message");
        assert!(taken.content.ends_with(b"\r\n0123456789\r\n"), "{number} is whole");
        arrived.insert(number);
    }
    for number in accepted {
        assert!(arrived.contains(number), "{number} was answered 250 and is lost");
    }
}

#[test]
fn killed_while_messages_go_through() {
    let folder = Folder::new("kill");
    let hop = NextHop::friendly();
    let config = Config::new(folder.path(), "a").smarthost(&hop.address()).set(
        "limits",
        "deliveries_per_destination",
        "4",
    );
    let mut accepted = Vec::new();
    for round in 1..=amount(3, 20) {
        let relay = config.start();
        // Killed in the middle of the traffic, a little later each round.
        let goal = hop.taken().len() + 40 * round;
        accepted.extend(sending(relay.port, round, || {
            hop.wait(goal);
            relay.kill();
        }));
    }
    let relay = config.start();
    config.drain();
    relay.stop();
    assert!(accepted.len() >= 40, "the test killed a relay at work");
    assert_all_arrived(&accepted, &hop);
    let corrupt = fs::read_dir(config.folder().join("spool/corrupt")).map_or(0, Iterator::count);
    assert_eq!(corrupt, 0, "a kill damages nothing");
}

/// Sends one message after the other, `number` in each, to one who refuses them; who was answered 250.
fn refused_until_cut(port: u16, round: usize) -> Vec<String> {
    let mut accepted = Vec::new();
    let mut work = || -> std::io::Result<()> {
        let mut client = Client::try_connect(port)?;
        client.try_send(b"EHLO client.test\r\n")?;
        client.try_reply()?;
        for number in 0.. {
            let name = format!("{round}-{number}.");
            let content = [format!("X-Number: {name}\r\n").as_bytes(), &message("x\r\n")].concat();
            client.try_send(b"MAIL FROM:<me@local.test>\r\nRCPT TO:<b@remote.test>\r\nDATA\r\n")?;
            for _ in 0..3 {
                client.try_reply()?;
            }
            client.try_send(&stuff(&content))?;
            if client.try_reply()?.starts_with("250") {
                accepted.push(name);
            }
        }
        Ok(())
    };
    // The relay is killed under it: an error is how this ends.
    let _ = work();
    accepted
}

#[test]
fn killed_while_bounces_are_made() {
    let folder = Folder::new("killbounce");
    let hop = NextHop::scripted(|_, event| match event {
        Event::Rcpt(_) => Act::Say("550 5.1.1 nobody here"),
        _ => Act::Friendly,
    });
    let config = Config::new(folder.path(), "a").smarthost(&hop.address());
    let mut accepted = Vec::new();
    for round in 1..=amount(3, 20) {
        let relay = config.start();
        let port = relay.port;
        let sender = thread::spawn(move || refused_until_cut(port, round));
        let goal = maildir(&config.mailbox("me")).len() + 20 * round;
        wait_for("bounces", || (maildir(&config.mailbox("me")).len() >= goal).then_some(()));
        relay.kill();
        accepted.extend(sender.join().expect("the sending thread"));
    }
    let relay = config.start();
    config.drain();
    relay.stop();
    let bounces: Vec<String> = maildir(&config.mailbox("me"))
        .iter()
        .map(|bounce| String::from_utf8_lossy(bounce).into_owned())
        .collect();
    assert!(accepted.len() >= 20, "the test killed a relay at work");
    for name in &accepted {
        let told = bounces.iter().any(|bounce| bounce.contains(&format!("X-Number: {name}")));
        assert!(told, "{name} was answered 250, refused, and nobody was told");
    }
}

#[test]
fn stopped_while_messages_go_through() {
    let folder = Folder::new("term");
    let hop = NextHop::friendly();
    let config = Config::new(folder.path(), "a").smarthost(&hop.address());
    let relay = config.start();
    let accepted = sending(relay.port, 1, || {
        hop.wait(40);
        relay.stop();
    });
    let relay = config.start();
    config.drain();
    relay.stop();
    assert_all_arrived(&accepted, &hop);
}

#[test]
fn sigterm_says_421_to_those_who_are_there() {
    let folder = Folder::new("goodbye");
    let config = Config::new(folder.path(), "a").maildir("[\"local.test\"]");
    let relay = config.start();
    let mut idle = Client::hello(relay.port);
    let mut busy = Client::hello(relay.port);
    busy.expect("MAIL FROM:<a@client.test>", "250");
    relay.stop();
    for client in [&mut idle, &mut busy] {
        let rest = String::from_utf8_lossy(&client.rest()).into_owned();
        assert!(rest.starts_with("421 4.3.2"), "{rest:?}");
    }
}

#[test]
fn a_next_hop_is_told_quit_before_the_relay_stops() {
    let folder = Folder::new("quit");
    let quits = Arc::new(AtomicUsize::new(0));
    let of_hop = Arc::clone(&quits);
    let hop = NextHop::scripted(move |_, event| {
        if matches!(event, Event::Other("QUIT")) {
            of_hop.fetch_add(1, Ordering::SeqCst);
        }
        Act::Friendly
    });
    let config = Config::new(folder.path(), "a").smarthost(&hop.address());
    let relay = config.start();
    Client::hello(relay.port).deliver("a@client.test", &["b@remote.test"], &message("text\r\n"));
    relay.wait_log(&["delivered", "b@remote.test"]);
    // The connection is kept for more, which does not come.
    assert_eq!(quits.load(Ordering::SeqCst), 0);
    relay.stop();
    wait_for("QUIT", || (quits.load(Ordering::SeqCst) == 1).then_some(()));
}

#[test]
fn a_queue_survives_and_keeps_its_outcomes() {
    let folder = Folder::new("survive");
    let port = free_port();
    let config = Config::new(folder.path(), "a").smarthost(&format!("127.0.0.1:{port}"));
    let relay = config.start();
    let content = message("kept over three starts\r\n");
    Client::hello(relay.port).deliver("a@client.test", &["here@local.test", "b@remote.test"], &content);
    let here = wait_for("the local copy", || maildir(&config.mailbox("here")).pop());
    assert!(here.ends_with(b"kept over three starts\n") || here.ends_with(b"kept over three starts\r\n"));
    relay.wait_log(&["deferred", "b@remote.test"]);
    relay.kill();
    config.start().kill();
    let listener = std::net::TcpListener::bind(("127.0.0.1", port)).expect("the smarthost's port");
    let hop = NextHop::on(listener, |_, _| support::next_hop::Act::Friendly);
    let relay = config.start();
    config.drain();
    assert_eq!(hop.wait(1)[0].to.len(), 1);
    assert_eq!(maildir(&config.mailbox("here")).len(), 1, "what was delivered is not delivered again");
    relay.stop();
}

#[test]
fn damage_harms_one_message_and_is_set_aside() {
    let folder = Folder::new("damage");
    let config = Config::new(folder.path(), "a").smarthost("127.0.0.1:9").set("queue", "retry", "[\"1h\"]");
    let relay = config.start();
    let mut client = Client::hello(relay.port);
    for body in ["first", "MARKED", "third"] {
        client.deliver("a@client.test", &["b@remote.test"], &message(format!("{body}\r\n")));
    }
    config.wait_queue(3);
    relay.kill();
    let cells = config.folder().join("spool/cells");
    let mut octets = fs::read(&cells).expect("the cells file");
    let at = octets.windows(6).position(|window| window == b"MARKED").expect("the marked message");
    octets[at] ^= 1;
    fs::write(&cells, octets).expect("the cells file");
    for name in ["foreign", ".hidden"] {
        fs::write(config.folder().join("spool/large").join(name), "not a message").expect("a foreign file");
    }
    fs::create_dir_all(config.folder().join("spool/large/lost+found")).expect("a folder");
    let relay = config.start();
    assert_eq!(config.queue().len(), 2, "the others are whole");
    let aside = fs::read_dir(config.folder().join("spool/corrupt")).expect("the corrupt folder").count();
    assert!(aside >= 1, "what is damaged is kept for a look");
    relay.wait_log(&["- spool: large/", "foreign", "set aside"]);
    assert!(config.folder().join("spool/large/.hidden").exists());
    assert!(config.folder().join("spool/large/lost+found").exists());
    relay.stop();
    config.start().stop();
    let again = fs::read_dir(config.folder().join("spool/corrupt")).expect("the corrupt folder").count();
    assert_eq!(again, aside, "damage is set aside once, not at every start");
}

#[test]
fn a_spool_larger_than_the_table_is_taken_in_as_room_comes() {
    let folder = Folder::new("larger");
    let port = free_port();
    let dead = Config::new(folder.path(), "a")
        .smarthost(&format!("127.0.0.1:{port}"))
        .set("spool", "cells_size", "\"8MiB\"")
        .set("queue", "retry", "[\"1h\"]");
    let relay = dead.start();
    let mut client = Client::hello(relay.port);
    for number in 0..80 {
        let body = if number % 8 == 7 { large(300_000) } else { message("short\r\n") };
        let content = [format!("X-Number: {number}\r\n").as_bytes(), &body].concat();
        let reply = client.deliver("a@client.test", &["b@remote.test"], &content);
        assert!(reply.starts_with("250"), "{reply}");
    }
    drop(client);
    dead.wait_queue(80);
    relay.stop();
    // One delivery at a time and two messages: a table of 19 places.
    let small = dead.set("spool", "max_messages", "2").set("limits", "deliveries", "1");
    let listener = std::net::TcpListener::bind(("127.0.0.1", port)).expect("the smarthost's port");
    let hop = NextHop::on(listener, |_, _| support::next_hop::Act::Friendly);
    let relay = small.start();
    let reply = Client::hello(relay.port).ask("MAIL FROM:<a@client.test>");
    assert!(reply.starts_with("452"), "nothing more while there is too much: {reply}");
    small.drain();
    let mut arrived: Vec<u32> = hop
        .taken()
        .iter()
        .map(|taken| field(&taken.content, "X-Number").and_then(|n| n.parse().ok()).expect("a number"))
        .collect();
    arrived.sort_unstable();
    assert_eq!(arrived, (0..80).collect::<Vec<u32>>(), "each of them once");
    relay.stop();
}
