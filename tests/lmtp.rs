//! Delivery by LMTP to scripted servers, over TCP and over a Unix socket. A real one is in
//! `tests/dovecot.rs`.

mod support;

use std::io;
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread;

use support::client::Client;
use support::json::Json;
use support::message::{assert_same, field, maildir, message, without_trace};
use support::next_hop::{Act, Event, NextHop};
use support::relay::{Config, Relay};
use support::{Folder, wait_for};

/// Mail for remote.test goes by LMTP to `hosts`; bounces go to Maildirs.
fn lmtp(folder: &Folder, hosts: &[String]) -> Config {
    let route = format!("to = [\"remote.test\"]\nvia = \"lmtp\"\nhosts = {hosts:?}");
    Config::new(folder.path(), "a").route(&route).maildir("[\"local.test\"]")
}

fn send(relay: &Relay, to: &[&str]) {
    let reply = Client::hello(relay.port).deliver("me@local.test", to, &message("to be delivered\r\n"));
    assert!(reply.starts_with("250"), "{reply}");
}

/// Everything that comes by the socket at `path` goes to the server and back.
fn socket_to(path: &Path, hop: &NextHop) {
    let listener = UnixListener::bind(path).expect("a socket in the test's folder");
    let port = hop.port;
    thread::spawn(move || {
        for local in listener.incoming().flatten() {
            let Ok(remote) = TcpStream::connect(("127.0.0.1", port)) else { return };
            let (back_from, back_to) = (remote.try_clone(), local.try_clone());
            thread::spawn(move || pass(&local, &remote));
            if let (Ok(from), Ok(to)) = (back_from, back_to) {
                thread::spawn(move || pass_back(&from, &to));
            }
        }
    });
}

/// Copies until the end. A side that goes away ends the connection, not the test.
fn pass(mut from: &UnixStream, mut to: &TcpStream) {
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}

fn pass_back(mut from: &TcpStream, mut to: &UnixStream) {
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Both);
}

/// The states of the recipients of the only message in the queue.
fn states(config: &Config) -> Vec<String> {
    let state = |recipient: &Json| recipient.key("state").text().to_owned();
    config.wait_queue(1)[0].key("recipients").list().iter().map(state).collect()
}

#[test]
fn every_recipient_has_its_own_reply_after_the_last_dot() {
    let folder = Folder::new("lmtp");
    let hop = NextHop::scripted(|_, event| match event {
        Event::Rcpt(path) if path.contains("nobody@") => Act::Say("550 5.1.1 no such user"),
        Event::Rcpt(path) if path.contains("busy@") => Act::Say("450 4.2.1 mailbox locked"),
        Event::Content(_) => {
            Act::Say("250 2.0.0 one has it\r\n552 5.2.2 two is full\r\n452 4.2.2 three is full")
        }
        _ => Act::Friendly,
    });
    let config = lmtp(&folder, &[hop.address()]);
    let relay = config.start();
    let to = ["one", "nobody", "two", "busy", "three"].map(|name| format!("{name}@remote.test"));
    send(&relay, &to.each_ref().map(String::as_str));
    let taken = hop.wait(1).remove(0);
    assert_eq!(taken.to.len(), 3, "who was refused gets no content: {:?}", taken.to);
    assert_same("LMTP", &message("to be delivered\r\n"), without_trace(&taken.content));
    for (verb, name, reply) in [
        ("delivered", "one", "250 2.0.0 one has it"),
        ("bounced", "nobody", "550 5.1.1"),
        ("bounced", "two", "552 5.2.2"),
        ("deferred", "busy", "450 4.2.1"),
        ("deferred", "three", "452 4.2.2"),
    ] {
        relay.wait_log(&[verb, &format!("to=<{name}@remote.test>"), "via=lmtp", &hop.address(), reply]);
    }
    let bounce = wait_for("the bounce", || maildir(&config.mailbox("me")).pop());
    let text = String::from_utf8_lossy(&bounce);
    assert!(text.contains("nobody@remote.test") && text.contains("two@remote.test"), "{text}");
    assert_eq!(states(&config), ["delivered", "failed", "failed", "pending", "pending"]);
    relay.stop();
}

#[test]
fn who_had_no_reply_when_the_connection_ended_is_tried_again() {
    let folder = Folder::new("lmtp-cut");
    let hop = NextHop::scripted(|connection, event| match event {
        Event::Content(_) if connection == 0 => Act::SayAndCut("250 2.0.0 one has it"),
        _ => Act::Friendly,
    });
    let config = lmtp(&folder, &[hop.address()]);
    let relay = config.start();
    send(&relay, &["one@remote.test", "two@remote.test"]);
    relay.wait_log(&["delivered", "one@remote.test", "one has it"]);
    relay.wait_log(&["deferred", "two@remote.test"]);
    assert_eq!(states(&config), ["delivered", "pending"]);
    config.drain();
    let second = hop.wait(2).remove(1);
    assert_eq!(second.to.len(), 1, "one has it already: {:?}", second.to);
    assert!(second.to[0].starts_with("<two@remote.test>"), "{:?}", second.to);
    relay.stop();
}

#[test]
fn all_refused_is_one_bounce_and_no_content() {
    let folder = Folder::new("lmtp-refused");
    let hop = NextHop::scripted(|_, event| match event {
        Event::Rcpt(_) => Act::Say("550 5.1.1 no such user"),
        Event::Content(_) => Act::Cut,
        _ => Act::Friendly,
    });
    let config = lmtp(&folder, &[hop.address()]);
    let relay = config.start();
    send(&relay, &["one@remote.test", "two@remote.test"]);
    let bounce = wait_for("the bounce", || maildir(&config.mailbox("me")).pop());
    assert!(field(&bounce, "Subject").is_some());
    config.wait_queue(0);
    let log = relay.stop();
    assert!(!log.iter().any(|line| line.contains("deferred")), "{log:#?}");
}

#[test]
fn a_unix_socket_is_dialled_and_the_next_host_stands_in_for_it() {
    let folder = Folder::new("lmtp-unix");
    let hop = NextHop::friendly();
    let (first, second) = (folder.join("first"), folder.join("second"));
    let hosts = [&first, &second].map(|path| format!("unix:{}", path.display()));
    let config = lmtp(&folder, &hosts).set("queue", "retry", "[\"1s\"]");
    let relay = config.start();
    // Neither is there: nothing is lost, and the log names the socket.
    send(&relay, &["one@remote.test"]);
    let shown = format!("host={}", second.display());
    relay.wait_log(&["deferred", "one@remote.test", "via=lmtp", &shown]);
    socket_to(&second, &hop);
    config.drain();
    hop.wait(1);
    relay.wait_log(&["delivered", "one@remote.test", &shown]);
    socket_to(&first, &hop);
    send(&relay, &["two@remote.test", "three@remote.test"]);
    let taken = hop.wait(2).remove(1);
    assert_eq!(taken.to.len(), 2);
    assert_same("Unix socket", &message("to be delivered\r\n"), without_trace(&taken.content));
    config.wait_queue(0);
    relay.stop();
}
