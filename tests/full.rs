//! A full disk and a full spool: who is refused, when, and what still has room.

mod support;

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use support::client::Client;
use support::message::{maildir, message};
use support::next_hop::{Act, Event, NextHop};
use support::relay::{Config, Relay, smarthost};
use support::{Folder, free_port, peers, wait_for};

/// A relay whose spool has a disk of 4 MiB for itself, in memory, in a namespace of its own.
fn on_a_small_disk(config: &Config) -> Option<Relay> {
    let unshare = peers::find_in_system("unshare")?;
    let spool = config.folder().join("spool");
    std::fs::create_dir_all(&spool).expect("a place for the disk");
    let mount = "mount -t tmpfs -o size=4m none \"$0\" || exit 1; exec \"$@\"";
    let within = |of: &mut Command| {
        let mut command = Command::new(&unshare);
        command.args(["-Urm", "sh", "-c", mount]).arg(&spool).arg(of.get_program()).args(of.get_args());
        command
    };
    if !within(&mut Command::new("true")).status().is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: no disk can be mounted in a namespace of our own here");
        return None;
    }
    Some(Relay::start(within(&mut config.command(&["serve"])), config.port))
}

#[test]
fn a_full_disk_refuses_at_mail_what_needs_its_room() {
    let folder = Folder::new("fulldisk");
    let config =
        Config::new(folder.path(), "a").maildir("[\"local.test\"]").set("spool", "cells_size", "\"1MiB\"");
    let Some(relay) = on_a_small_disk(&config) else { return };
    let mut client = Client::hello(relay.port);
    let mail = |client: &mut Client, size: u32| {
        let reply = client.ask(&format!("MAIL FROM:<a@client.test> SIZE={size}"));
        client.expect("RSET", "250");
        reply
    };
    assert!(mail(&mut client, 2_000_000).starts_with("250"), "a disk with room");
    // What one of them was promised is not promised again.
    client.expect("MAIL FROM:<a@client.test> SIZE=2000000", "250");
    let reply = mail(&mut Client::hello(relay.port), 2_000_000);
    assert!(reply.starts_with("452 4.3.1"), "{reply}");
    client.expect("RSET", "250");
    assert!(mail(&mut client, 2_000_000).starts_with("250"), "the promise is off");
    // Nobody has room any more. Through the namespace of the relay, which is the process itself.
    let inside = PathBuf::from(format!("/proc/{}/root", relay.pid()));
    let filler = config.folder().join("spool/.filler");
    let filler = inside.join(filler.strip_prefix("/").expect("an absolute path"));
    let mut filler = File::create(&filler).expect("a file on the disk of the relay");
    while filler.write_all(&[0; 4096]).is_ok() {}
    for size in [2_000_000, 100_000, 8000] {
        let reply = mail(&mut client, size);
        assert!(reply.starts_with("452 4.3.1"), "SIZE={size}: {reply}");
    }
    // Small ones go into the file that is written already, whether or not they say how small.
    let small = message("needs no room\r\n");
    assert!(mail(&mut client, small.len() as u32).starts_with("250"));
    let reply = client.deliver("a@client.test", &["b@local.test"], &small);
    assert!(reply.starts_with("250"), "{reply}");
    let reply = client.deliver("a@client.test", &["b@local.test"], &message("x".repeat(300).repeat(100)));
    assert!(reply.starts_with("452 4.3.1"), "found out at the end, for it was not announced: {reply}");
    filler.set_len(0).expect("room again");
    assert!(mail(&mut client, 1_000_000).starts_with("250"), "room again");
    wait_for("the small one", || (maildir(&config.mailbox("b")).len() == 1).then_some(()));
    relay.stop();
}

#[test]
fn bounces_have_room_where_max_messages_is_reached() {
    let folder = Folder::new("bounces");
    let refuses = Arc::new(AtomicBool::new(false));
    let hop = NextHop::scripted({
        let refuses = Arc::clone(&refuses);
        move |_, event| match event {
            Event::Mail(_) if refuses.load(Ordering::Relaxed) => Act::Say("550 5.7.1 not here"),
            Event::Mail(_) => Act::Say("451 4.3.0 not now"),
            _ => Act::Friendly,
        }
    });
    // Bounces have nowhere to go to: they stay, and count.
    let config = Config::new(folder.path(), "a")
        .route(&smarthost("[\"remote.test\"]", &hop.address()))
        .route(&smarthost("", &format!("127.0.0.1:{}", free_port())))
        .set("spool", "max_messages", "3")
        .set("queue", "retry", "[\"1h\"]");
    let relay = config.start();
    let mut client = Client::hello(relay.port);
    for _ in 0..3 {
        let reply = client.deliver("me@client.test", &["a@remote.test"], &message("comes back\r\n"));
        assert!(reply.starts_with("250"), "{reply}");
    }
    client.expect("MAIL FROM:<me@client.test>", "452 4.3.1");
    refuses.store(true, Ordering::Relaxed);
    wait_for("bounces in place of the messages", || {
        config.succeed(&["queue", "retry", "--all"]);
        let queue = config.queue();
        (queue.len() == 3 && queue.iter().all(|one| one.key("from").text().is_empty())).then_some(())
    });
    assert_eq!(relay.log().iter().filter(|line| line.contains(" bounced id=")).count(), 3);
    client.expect("MAIL FROM:<me@client.test>", "452 4.3.1");
    relay.stop();
}
