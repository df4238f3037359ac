//! Strangers who take all they can get: the house goes on mailing.

mod support;

use support::client::Client;
use support::message::{maildir, message};
use support::relay::Config;
use support::{Folder, wait_for};

/// A relay that trusts 127.0.0.1 alone, so that the rest of 127/8 are strangers.
fn config(folder: &Folder) -> Config {
    Config::new(folder.path(), "a")
        .maildir("[\"local.test\"]")
        .set("access", "relay_from", "[\"127.0.0.1\"]")
        .set("limits", "sessions_per_client", "8")
}

/// Strangers in every slot of `sessions`, up to eight an address, from 127.0.0.2 on.
#[track_caller]
fn crowd(port: u16, sessions: usize) -> Vec<Client> {
    wait_for("strangers in all slots", || {
        let mut strangers: Vec<Client> =
            (0..sessions).map(|number| Client::connect_from(2 + number as u8 / 8, port)).collect();
        let all_in = strangers.iter().all(|stranger| stranger.greeting.starts_with("220"));
        all_in.then(|| strangers.iter_mut().for_each(|one| drop(one.expect("EHLO stranger.test", "250"))))?;
        Some(strangers)
    })
}

#[test]
fn strangers_in_all_sessions_do_not_lock_the_house_out() {
    let folder = Folder::new("crowd");
    let config = config(&folder).set("limits", "sessions", "32");
    let relay = config.start();
    let mut strangers = crowd(relay.port, 32);
    for stranger in &mut strangers {
        stranger.expect("NOOP", "250");
    }
    let next = Client::connect_from(9, relay.port).greeting;
    assert!(next.starts_with("421 4.3.2"), "another stranger: {next}");
    let mut house: Vec<Client> = (0..4).map(|_| Client::hello(relay.port)).collect();
    for client in &mut house {
        let reply = client.deliver("a@client.test", &["b@local.test"], &message("from the house\r\n"));
        assert!(reply.starts_with("250"), "{reply}");
    }
    // What the table has beyond `sessions` is bounded too.
    let fifth = Client::connect(relay.port).greeting;
    assert!(fifth.starts_with("421 4.3.2"), "{fifth}");
    // No stranger was thrown out for it, and none gets what is kept for the house.
    house.pop();
    let next = Client::connect_from(9, relay.port).greeting;
    assert!(next.starts_with("421 4.3.2"), "another stranger: {next}");
    for stranger in &mut strangers {
        let reply = stranger.deliver("a@stranger.test", &["b@local.test"], &message("from outside\r\n"));
        assert!(reply.starts_with("250"), "{reply}");
    }
    wait_for("everybody's mail", || (maildir(&config.mailbox("b")).len() == 36).then_some(()));
    relay.stop();
}

#[test]
fn the_house_alone_has_as_many_sessions_as_are_configured() {
    let folder = Folder::new("house");
    let config = config(&folder).set("limits", "sessions", "6");
    let relay = config.start();
    let house = wait_for("the session of the start to end", || {
        let house: Vec<Client> = (0..6).filter_map(|_| Client::hello_or_none(relay.port)).collect();
        (house.len() == 6).then_some(house)
    });
    let seventh = Client::connect(relay.port).greeting;
    assert!(seventh.starts_with("421 4.3.2"), "{seventh}");
    let stranger = Client::connect_from(2, relay.port).greeting;
    assert!(stranger.starts_with("421 4.3.2"), "{stranger}");
    drop(house);
    // Five of the house and one stranger: the house may have one more.
    let mut strangers = crowd(relay.port, 1);
    let house: Vec<Client> = (0..6).map(|_| Client::hello(relay.port)).collect();
    let seventh = Client::connect(relay.port).greeting;
    assert!(seventh.starts_with("421 4.3.2"), "{seventh}");
    strangers[0].expect("NOOP", "250");
    drop(house);
    relay.stop();
}

#[test]
fn half_sent_mail_of_strangers_leaves_room_for_the_house() {
    let folder = Folder::new("half");
    let config = config(&folder)
        .set("limits", "message_size", "\"256KiB\"")
        .set("spool", "max_size", "\"1MiB\"")
        .set("spool", "max_messages", "8");
    let relay = config.start();
    let mut strangers = crowd(relay.port, 8);
    let (mut taken, mut refused) = (0, String::new());
    for stranger in &mut strangers {
        let reply = stranger.ask("MAIL FROM:<a@stranger.test> SIZE=200000");
        if reply.starts_with("250") {
            taken += 1;
            stranger.expect("RCPT TO:<b@local.test>", "250");
            stranger.expect("DATA", "354");
            stranger.send(&b"half of it\r\n".repeat(1000));
        } else {
            refused = reply;
        }
    }
    assert!(taken == 3 && refused.starts_with("452 4.3.1"), "{taken} were taken, then: {refused}");
    let mut client = Client::hello(relay.port);
    client.expect("MAIL FROM:<a@client.test> SIZE=200000", "250");
    client.expect("RSET", "250");
    let reply = client.deliver("a@client.test", &["b@local.test"], &message("0123456789\r\n".repeat(15_000)));
    assert!(reply.starts_with("250"), "{reply}");
    relay.stop();
}

#[test]
fn strangers_may_fill_what_holds_one_message() {
    let folder = Folder::new("one");
    let config = config(&folder)
        .set("limits", "message_size", "\"256KiB\"")
        .set("spool", "max_size", "\"256KiB\"")
        .set("spool", "max_messages", "1");
    let relay = config.start();
    let content = message("0123456789abcdef\r\n".repeat(13_000));
    let reply = crowd(relay.port, 1).remove(0).deliver("a@stranger.test", &["b@local.test"], &content);
    assert!(reply.starts_with("250"), "{reply}");
    wait_for("its delivery", || (maildir(&config.mailbox("b")).len() == 1).then_some(()));
    relay.stop();
}

#[test]
fn a_stranger_that_knocks_all_the_time_does_not_fill_the_log() {
    let folder = Folder::new("knocks");
    let relay = config(&folder).set("limits", "sessions_per_client", "1").start();
    let _stranger = crowd(relay.port, 1);
    for _ in 0..300 {
        let reply = Client::connect_from(2, relay.port).greeting;
        assert!(reply.starts_with("421 4.7.0"), "{reply}");
    }
    let mut client = wait_for("a session for the house", || Client::hello_or_none(relay.port));
    client.expect("MAIL FROM:<a@client.test>", "250");
    client.expect("RCPT TO:<b@nowhere.test>", "550");
    client.expect("RSET", "250");
    let reply = client.deliver("a@client.test", &["b@local.test"], &message("x\r\n"));
    assert!(reply.starts_with("250"), "{reply}");
    relay.wait_log(&["rejected", "to=<b@nowhere.test>"]);
    relay.wait_log(&["accepted", "client=127.0.0.1"]);
    let log = relay.stop();
    assert_eq!(log.iter().filter(|line| line.contains("rejected client=127.0.0.2 ")).count(), 200);
}
