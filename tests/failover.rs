//! Next hops that refuse, defer, cut, keep silent or talk nonsense.

mod support;

use std::net::TcpListener;

use support::client::Client;
use support::message::{assert_same, maildir, message, without_trace};
use support::next_hop::{Act, Event, NextHop};
use support::relay::{Config, Relay, smarthost};
use support::{Folder, amount, free_port, wait_for};

const CONTENT: &str = "to be delivered\r\n";

fn send(relay: &Relay, to: &[&str]) {
    let reply = Client::hello(relay.port).deliver("me@local.test", to, &message(CONTENT));
    assert!(reply.starts_with("250"), "{reply}");
}

#[test]
fn one_refused_one_deferred_one_delivered() {
    let folder = Folder::new("three");
    let hop = NextHop::scripted(|_, event| match event {
        Event::Rcpt(path) if path.contains("never@") => Act::Say("550 5.1.1 nobody here"),
        Event::Rcpt(path) if path.contains("later@") => Act::Say("451 4.2.1 come back"),
        _ => Act::Friendly,
    });
    let config = Config::new(folder.path(), "a").smarthost(&hop.address());
    let relay = config.start();
    send(&relay, &["never@remote.test", "later@remote.test", "now@remote.test"]);
    let taken = hop.wait(1).remove(0);
    assert_eq!(taken.to.len(), 1);
    assert!(taken.to[0].starts_with("<now@remote.test>"), "{:?}", taken.to);
    relay.wait_log(&["delivered", "now@remote.test"]);
    relay.wait_log(&["bounced", "never@remote.test"]);
    relay.wait_log(&["deferred", "later@remote.test", "451 4.2.1"]);
    wait_for("the bounce", || maildir(&config.mailbox("me")).pop());
    let queue = config.wait_queue(1);
    let states: Vec<_> = queue[0]
        .key("recipients")
        .list()
        .iter()
        .map(|recipient| recipient.key("state").text().to_owned())
        .collect();
    assert_eq!(states, ["failed", "pending", "delivered"]);
    relay.stop();
}

#[test]
fn a_server_that_takes_one_recipient_at_a_time_gets_all_of_them() {
    let folder = Folder::new("rcptmax");
    let hop = NextHop::scripted(|_, event| match event {
        Event::Hello(_) => Act::Say("250-next.test\r\n250-PIPELINING\r\n250 LIMITS RCPTMAX=1"),
        _ => Act::Friendly,
    });
    let config = Config::new(folder.path(), "a").smarthost(&hop.address());
    let relay = config.start();
    send(&relay, &["one@remote.test", "two@remote.test", "three@remote.test"]);
    let taken = hop.wait(3);
    assert!(taken.iter().all(|one| one.to.len() == 1), "{taken:?}");
    config.wait_queue(0);
    relay.stop();
}

/// The first connections follow `script`; all later ones are friendly. The message must be deferred
/// first and arrive whole after a retry.
fn deferred_then_delivered(name: &str, script: impl Fn(&Event) -> Act + Send + Sync + 'static) {
    let folder = Folder::new(name);
    let well = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let of_script = std::sync::Arc::clone(&well);
    let hop = NextHop::scripted(move |_, event| {
        if of_script.load(std::sync::atomic::Ordering::SeqCst) { Act::Friendly } else { script(event) }
    });
    let config = Config::new(folder.path(), "a").smarthost(&hop.address());
    let relay = config.start();
    send(&relay, &["one@remote.test", "two@remote.test"]);
    relay.wait_log(&["deferred", "one@remote.test"]);
    relay.wait_log(&["deferred", "two@remote.test"]);
    assert!(hop.taken().is_empty(), "{name}: nothing was taken yet");
    well.store(true, std::sync::atomic::Ordering::SeqCst);
    let taken = wait_for("the retried message", || {
        config.succeed(&["queue", "retry", "--all"]);
        hop.taken().pop()
    });
    assert_same(name, &message(CONTENT), without_trace(&taken.content));
    assert_eq!(taken.to.len(), 2);
    config.wait_queue(0);
    assert!(maildir(&config.mailbox("me")).is_empty(), "{name}: no bounce for what is only late");
    relay.stop();
}

#[test]
fn cut_after_the_last_dot() {
    deferred_then_delivered("cutdot", |event| match event {
        Event::Content(_) => Act::Cut,
        _ => Act::Friendly,
    });
}

#[test]
fn cut_instead_of_a_greeting() {
    deferred_then_delivered("cutgreet", |_| Act::Cut);
}

#[test]
fn cut_after_mail() {
    deferred_then_delivered("cutmail", |event| match event {
        Event::Mail(_) => Act::Cut,
        _ => Act::Friendly,
    });
}

#[test]
fn greeting_421() {
    deferred_then_delivered("g421", |event| match event {
        Event::Connected => Act::Say("421 4.3.2 too busy"),
        _ => Act::Friendly,
    });
}

#[test]
fn greeting_554() {
    deferred_then_delivered("g554", |event| match event {
        Event::Connected => Act::Say("554 5.3.2 go away"),
        _ => Act::Friendly,
    });
}

#[test]
fn garbage_instead_of_replies() {
    deferred_then_delivered("garbage", |event| match event {
        Event::Connected => Act::Say("\u{1}\u{2}garbage \u{7f}\r\nmore of it"),
        _ => Act::Friendly,
    });
}

#[test]
fn garbage_after_the_last_dot() {
    deferred_then_delivered("garbagedot", |event| match event {
        Event::Content(_) => Act::Say("25x what was that"),
        _ => Act::Friendly,
    });
}

#[test]
fn positive_where_it_means_nothing() {
    deferred_then_delivered("odd", |event| match event {
        Event::Data => Act::Say("250 2.0.0 thanks already"),
        _ => Act::Friendly,
    });
}

#[test]
fn deferred_at_the_end() {
    deferred_then_delivered("c451", |event| match event {
        Event::Content(_) => Act::Say("451 4.3.0 disk on fire"),
        _ => Act::Friendly,
    });
}

/// 421 says that the server goes away, wherever it comes.
#[test]
fn service_shuts_down_at_any_stage() {
    const GOING: Act = Act::Say("421 4.3.2 going down");
    deferred_then_delivered("g421ehlo", |event| match event {
        Event::Hello(_) => GOING,
        _ => Act::Friendly,
    });
    deferred_then_delivered("g421mail", |event| match event {
        Event::Mail(_) => GOING,
        _ => Act::Friendly,
    });
    deferred_then_delivered("g421rcpt", |event| match event {
        Event::Rcpt(_) => GOING,
        _ => Act::Friendly,
    });
    deferred_then_delivered("g421data", |event| match event {
        Event::Data => GOING,
        _ => Act::Friendly,
    });
    deferred_then_delivered("g421dot", |event| match event {
        Event::Content(_) => GOING,
        _ => Act::Friendly,
    });
}

/// Refused for now at each stage.
#[test]
fn not_now_at_any_stage() {
    const LATER: Act = Act::Say("450 4.7.1 greylisted, come back");
    deferred_then_delivered("laterhello", |event| match event {
        Event::Hello(_) | Event::Other(_) => LATER,
        _ => Act::Friendly,
    });
    // What was pipelined behind MAIL is refused as well.
    deferred_then_delivered("latermail", |event| match event {
        Event::Mail(_) | Event::Rcpt(_) | Event::Data => LATER,
        _ => Act::Friendly,
    });
    deferred_then_delivered("laterrcpt", |event| match event {
        Event::Rcpt(_) => LATER,
        _ => Act::Friendly,
    });
    deferred_then_delivered("laterdata", |event| match event {
        Event::Data => LATER,
        _ => Act::Friendly,
    });
}

/// Whatever is wrong with an enhanced code, the three digits count, and the bounce has a status.
#[test]
fn truncated_enhanced_codes() {
    let folder = Folder::new("codes");
    let hop = NextHop::scripted(|_, event| match event {
        Event::Rcpt(path) if path.contains("a@") => Act::Say("550 5.1"),
        Event::Rcpt(path) if path.contains("b@") => Act::Say("550 5."),
        Event::Rcpt(path) if path.contains("c@") => Act::Say("550 5.1.1"),
        Event::Rcpt(path) if path.contains("d@") => Act::Say("550"),
        Event::Rcpt(path) if path.contains("e@") => Act::Say("550 2.1.1 contradicts itself"),
        Event::Rcpt(path) if path.contains("f@") => Act::Say("550 5.99999.1 too large"),
        _ => Act::Friendly,
    });
    let config = Config::new(folder.path(), "a").smarthost(&hop.address());
    let relay = config.start();
    let all = ["a@x.test", "b@x.test", "c@x.test", "d@x.test", "e@x.test", "f@x.test", "ok1@x.test"];
    send(&relay, &all);
    let bounce = wait_for("the bounce", || maildir(&config.mailbox("me")).pop());
    let text = String::from_utf8_lossy(&bounce).into_owned();
    assert_eq!(text.matches("Action: failed").count(), 6, "{text}");
    assert_eq!(text.matches("Status: 5.").count(), 6, "{text}");
    assert_eq!(hop.taken()[0].to.len(), 1);
    config.wait_queue(0);
    relay.stop();
}

#[test]
fn http_server() {
    deferred_then_delivered("http", |event| match event {
        Event::Connected => Act::Say("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n"),
        _ => Act::Friendly,
    });
}

#[test]
fn an_endless_reply_is_cut_off() {
    let folder = Folder::new("endless");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound socket").to_string();
    let server = std::thread::spawn(move || {
        use std::io::Write;
        let (mut stream, _) = listener.accept().expect("the relay connects");
        let line = [&b"220-"[..], &[b'x'; 400], b"\r\n"].concat();
        // Bounded by the relay: it closes, and the write fails. 1 GiB would be a failure.
        (0..2_600_000_u64).find(|_| stream.write_all(&line).is_err())
    });
    let config = Config::new(folder.path(), "a").smarthost(&address);
    let relay = config.start();
    send(&relay, &["one@remote.test"]);
    relay.wait_log(&["deferred", "one@remote.test"]);
    assert!(server.join().expect("the serving thread").is_some(), "the relay listened to the very end");
    relay.stop();
}

#[test]
fn all_refused_although_data_is_accepted() {
    let folder = Folder::new("allrefused");
    let hop = NextHop::scripted(|_, event| match event {
        Event::Rcpt(_) => Act::Say("550 5.1.1 nobody here"),
        _ => Act::Friendly,
    });
    let config = Config::new(folder.path(), "a").smarthost(&hop.address());
    let relay = config.start();
    send(&relay, &["one@remote.test", "two@remote.test"]);
    let bounce = wait_for("the bounce", || maildir(&config.mailbox("me")).pop());
    let text = String::from_utf8_lossy(&bounce).into_owned();
    assert!(text.contains("one@remote.test") && text.contains("two@remote.test"), "{text}");
    config.wait_queue(0);
    assert!(hop.taken().is_empty());
    relay.stop();
}

#[test]
fn second_host_when_the_first_is_dead() {
    let folder = Folder::new("second");
    let hop = NextHop::friendly();
    let hosts = format!("127.0.0.1:{} {}", free_port(), hop.address());
    let config = Config::new(folder.path(), "a").smarthost(&hosts);
    let relay = config.start();
    send(&relay, &["one@remote.test"]);
    hop.wait(1);
    config.wait_queue(0);
    relay.stop();
}

#[test]
fn second_host_when_the_first_is_busy() {
    let folder = Folder::new("busyfirst");
    let busy = NextHop::scripted(|_, _| Act::Say("421 4.3.2 too busy"));
    let hop = NextHop::friendly();
    let config = Config::new(folder.path(), "a").smarthost(&format!("{} {}", busy.address(), hop.address()));
    let relay = config.start();
    send(&relay, &["one@remote.test"]);
    hop.wait(1);
    config.wait_queue(0);
    relay.stop();
}

#[test]
fn one_silent_destination_does_not_delay_another() {
    let folder = Folder::new("silent");
    let silent = NextHop::scripted(|_, _| Act::Silence);
    let hop = NextHop::friendly();
    let config = Config::new(folder.path(), "a")
        .route(&smarthost("[\"silent.test\"]", &silent.address()))
        .route(&smarthost("[\"remote.test\"]", &hop.address()));
    let relay = config.start();
    for _ in 0..20 {
        send(&relay, &["one@silent.test"]);
    }
    for number in 1..=5 {
        send(&relay, &["one@remote.test"]);
        hop.wait(number);
    }
    config.wait_queue(20);
    assert!(silent.connections() <= 2, "deliveries_per_destination holds: {}", silent.connections());
    relay.stop();
}

#[test]
fn many_messages_to_a_dead_destination_beside_live_ones() {
    let folder = Folder::new("tenthousand");
    let (dead, hop) = (free_port(), NextHop::friendly());
    let many = amount(600, 10_000);
    let config = Config::new(folder.path(), "a")
        .route(&smarthost("[\"dead.test\"]", &format!("127.0.0.1:{dead}")))
        .route(&smarthost("", &hop.address()))
        .set("spool", "max_messages", "20000")
        .set("spool", "max_size", "\"1GiB\"")
        .set("spool", "cells_size", "\"96MiB\"");
    let relay = config.start();
    let mut client = Client::hello(relay.port);
    for number in 1..=many {
        client.deliver("me@local.test", &["a@dead.test"], &message(CONTENT));
        if number % (many / 10) == 0 {
            client.deliver("me@local.test", &["b@live.test"], &message(CONTENT));
            hop.wait(number / (many / 10));
        }
    }
    config.wait_queue(many);
    let tries = relay.log().iter().filter(|line| line.contains("does not work")).count();
    assert!(tries < 10, "a dead destination is tried now and then, not {tries} times");
    // It comes back: everything is delivered, each once.
    let listener = TcpListener::bind(("127.0.0.1", dead)).expect("the dead destination's port");
    let risen = NextHop::on(listener, |_, _| Act::Friendly);
    relay.signal(nix::sys::signal::Signal::SIGUSR1);
    risen.wait(many);
    config.wait_queue(0);
    assert_eq!(risen.taken().len(), many);
    relay.stop();
}

#[test]
fn many_messages_that_also_go_to_a_silent_destination_hold_nobody_up() {
    let folder = Folder::new("both");
    let silent = NextHop::scripted(|_, _| Act::Silence);
    let hop = NextHop::friendly();
    let config = Config::new(folder.path(), "a")
        .route(&smarthost("[\"silent.test\"]", &silent.address()))
        .route(&smarthost("[\"remote.test\"]", &hop.address()))
        .maildir("[\"local.test\"]")
        .set("limits", "deliveries", "4");
    let relay = config.start();
    // More than the 20 places for messages on their way, and each waits for the silent one.
    for _ in 0..24 {
        send(&relay, &["one@remote.test", "two@silent.test", "three@local.test"]);
    }
    hop.wait(24);
    wait_for("the local mail", || (maildir(&config.mailbox("three")).len() == 24).then_some(()));
    send(&relay, &["last@remote.test"]);
    hop.wait(25);
    let queue = config.wait_queue(24);
    let left = queue.iter().flat_map(|entry| entry.key("recipients").list());
    let pending: Vec<_> = left.filter(|one| one.key("state").text() == "pending").collect();
    assert!(pending.len() == 24 && pending.iter().all(|one| one.key("to").text() == "two@silent.test"));
    assert!(silent.connections() <= 2, "{}", silent.connections());
    relay.stop();
    assert_eq!((hop.taken().len(), maildir(&config.mailbox("three")).len()), (25, 24), "nobody got it twice");
}

#[test]
fn back_off_counts_for_the_destination() {
    let folder = Folder::new("backoff");
    let busy = NextHop::scripted(|_, _| Act::Say("421 4.3.2 too busy"));
    let config = Config::new(folder.path(), "a").smarthost(&busy.address());
    let relay = config.start();
    send(&relay, &["one@remote.test"]);
    relay.wait_log(&["deferred", "one@remote.test"]);
    for _ in 0..10 {
        send(&relay, &["two@remote.test"]);
    }
    config.wait_queue(11);
    assert!(
        busy.connections() <= 3,
        "a dead destination is not asked for every message: {}",
        busy.connections()
    );
    relay.stop();
}
