//! The tools of the tests are tested themselves, without pillarbox between them: what these pass
//! through unharmed, a relay must not harm.

mod support;

use std::collections::BTreeSet;
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::thread;

use support::client::Client;
use support::json::Json;
use support::message::{
    assert_same, field, large, maildir, message, patterns, stuff, unix_lines, unstuff, without_trace,
};
use support::next_hop::{Act, Event, NextHop};
use support::peers::{self, Server, find, smtp_source};
use support::{Folder, free_port};

#[test]
fn every_pattern_from_client_to_next_hop() {
    let hop = NextHop::friendly();
    let mut client = Client::hello(hop.port);
    for (number, (name, content)) in patterns().iter().enumerate() {
        assert!(client.deliver("a@client.test", &["b@remote.test"], content).starts_with("250"));
        assert_same(name, content, &hop.wait(number + 1)[number].content);
    }
    assert_eq!(hop.connections(), 1);
}

#[test]
fn scripts_refuse_and_cut() {
    let hop = NextHop::scripted(|connection, event| match event {
        Event::Rcpt(path) if path.contains("bad@") => Act::Say("550 5.1.1 no"),
        Event::Content(_) if connection == 0 => Act::Cut,
        _ => Act::Friendly,
    });
    let mut client = Client::hello(hop.port);
    client.expect("MAIL FROM:<a@client.test>", "250");
    client.expect("RCPT TO:<bad@remote.test>", "550");
    client.expect("RCPT TO:<good@remote.test>", "250");
    client.expect("DATA", "354");
    client.send(&stuff(&message("cut\r\n")));
    assert!(client.rest().is_empty() && hop.taken().is_empty());
    Client::hello(hop.port).deliver("a@client.test", &["good@remote.test"], &message("taken\r\n"));
    assert_eq!(hop.taken()[0].to, ["<good@remote.test>"]);
    let port = hop.port;
    drop(hop);
    support::wait_for("the port to close", || Client::try_connect(port).is_err().then_some(()));
}

#[test]
fn peers_reach_a_next_hop() {
    let folder = Folder::new("harness");
    let hop = NextHop::friendly();
    let port = hop.port.to_string();
    let Some(mut source) = smtp_source(hop.port, &["-d", "-s", "3", "-m", "30", "-l", "2048"]) else {
        return;
    };
    peers::succeed(&mut source, b"");
    assert_eq!(hop.wait(30).len(), 30);
    let file = folder.write("message.eml", message("by curl\r\n"));
    if let Some(curl) = find("curl") {
        let mut command = Command::new(curl);
        command.args(["-sS", &format!("smtp://127.0.0.1:{port}"), "--mail-from", "a@client.test"]);
        command.args(["--mail-rcpt", "b@remote.test", "--upload-file"]).arg(&file);
        peers::succeed(&mut command, b"");
        assert_same("curl", &message("by curl\r\n"), &hop.wait(31)[30].content);
    }
    if let Some(swaks) = find("swaks") {
        let mut command = Command::new(swaks);
        command.args([
            "--server",
            "127.0.0.1",
            "--port",
            &port,
            "--to",
            "b@remote.test",
            "--from",
            "a@x.test",
        ]);
        peers::succeed(&mut command, b"");
        assert_eq!(hop.wait(32).len(), 32);
    }
    if let Some(lettre) = find("lettre-send") {
        let arguments = [port.as_str(), "a@client.test", "b@remote.test", "hello", ".a dot"];
        peers::succeed(Command::new(lettre).args(arguments), b"");
        assert_eq!(field(&hop.wait(33)[32].content, "Subject").as_deref(), Some("hello"));
    }
}

#[test]
fn servers_take_mail_and_end() {
    let folder = Folder::new("servers");
    let Some(sink) = Server::smtp_sink(&[]) else { return };
    let reply = Client::hello(sink.port).deliver("a@client.test", &["b@remote.test"], &message("gone\r\n"));
    assert!(reply.starts_with("250"), "{reply}");
    let mailbox = folder.join("python");
    let Some(python) = Server::aiosmtpd(&mailbox) else { return };
    let content = message(".dots\r\n..\r\n");
    Client::hello(python.port).deliver("a@client.test", &["b@remote.test"], &content);
    let arrived = support::wait_for("the delivered file", || maildir(&mailbox).pop());
    assert!(unix_lines(&arrived).ends_with(b"\n.dots\n..\n"), "{}", arrived.escape_ascii());
}

#[test]
fn contents_are_handled_with_care() {
    for (name, content) in patterns() {
        let wire = stuff(&content);
        assert_same(&name, &content, &unstuff(wire.strip_suffix(b".\r\n").expect("the end line")));
        assert_same(&name, &content, without_trace(&content));
        let traced = [b"Received: from a\r\n\tby b;\r\n date\r\n", &content[..]].concat();
        assert_same(&name, &content, without_trace(&traced));
    }
    assert!(large(300_000).len() >= 300_000);
    assert_eq!(field(b"A: 1\r\nFolded: x\r\n y\r\n\r\nA: 2\r\n", "folded").as_deref(), Some("x y"));
    assert_eq!(field(b"A: 1\r\n\r\nB: 2\r\n", "B"), None);
}

/// A peer takes its port some time after it was chosen. Were it one of those that the system hands out,
/// another test's socket could have it by then.
#[test]
fn ports_given_out_are_nobody_elses() {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").expect("the range");
    let first_of_system: u16 = range.split_whitespace().next().expect("a port").parse().expect("a number");
    let ports: BTreeSet<u16> = (0..200).map(|_| free_port()).collect();
    assert_eq!(ports.len(), 200, "each is given out once");
    assert!(
        *ports.last().expect("ports") < first_of_system,
        "{ports:?}, the system's from {first_of_system}"
    );
    for port in ports {
        drop(TcpListener::bind(("127.0.0.1", port)).expect("still free"));
    }
}

/// Whoever waits for a peer to listen would take it for the peer.
#[test]
fn nobody_listens_on_a_port_that_was_given_out() {
    let children = thread::spawn(|| {
        // Between fork and exec, each has what this process had open.
        (0..100).for_each(|_| drop(Command::new("true").status()));
    });
    for _ in 0..1000 {
        let port = free_port();
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "somebody listens on port {port}");
    }
    children.join().expect("children that end");
}

#[test]
fn json_is_read_strictly() {
    let value =
        Json::parse("{\"a\": [1, -2.5, \"x\\u00e9\\n\"], \"b\": {\"c\": null, \"d\": true}, \"e\":[]}");
    assert_eq!(value.key("a").list()[2].text(), "x\u{e9}\n");
    assert_eq!(value.key("b").key("c"), &Json::Null);
    for bad in ["{\"a\":1,}", "[1 2]", "{\"a\":1,\"a\":2}", "\"\\x\"", "{} {}", "tru", "\"a\nb\""] {
        assert!(std::panic::catch_unwind(|| Json::parse(bad)).is_err(), "{bad:?} is no JSON");
    }
}
