//! Full tables, slow peers, floods and nonsense: each gets its answer and the relay goes on.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;
use std::{fs, thread};

use support::client::Client;
use support::message::message;
use support::relay::{Config, Relay};
use support::{Folder, PATIENCE, wait_for};

fn config(folder: &Folder) -> Config {
    Config::new(folder.path(), "a").maildir("[\"local.test\"]")
}

#[track_caller]
fn assert_works(relay: &mut Relay) {
    relay.assert_alive();
    let port = relay.port;
    let reply = wait_for("a free session", || {
        let mut client =
            Client::try_connect(port).ok().filter(|client| client.greeting.starts_with("220"))?;
        client.expect("EHLO client.test", "250");
        Some(client.deliver("a@client.test", &["b@local.test"], &message("still here\r\n")))
    });
    assert!(reply.starts_with("250"), "{reply}");
}

#[test]
fn all_sessions_taken() {
    let folder = Folder::new("sessions");
    let mut relay =
        config(&folder).set("limits", "sessions", "3").set("limits", "sessions_per_client", "10").start();
    wait_for("the session of the start to end", || {
        let clients: Vec<_> = (0..3).map(|_| Client::hello_or_none(relay.port)).collect();
        if clients.iter().any(Option::is_none) {
            return None;
        }
        let fourth = Client::connect(relay.port).greeting;
        assert!(fourth.starts_with("421 4.3.2"), "{fourth}");
        Some(())
    });
    assert_works(&mut relay);
    relay.stop();
}

#[test]
fn too_many_sessions_of_one_client() {
    let folder = Folder::new("perclient");
    let mut relay =
        config(&folder).set("limits", "sessions", "10").set("limits", "sessions_per_client", "2").start();
    wait_for("the session of the start to end", || {
        let clients: Vec<_> = (0..2).map(|_| Client::hello_or_none(relay.port)).collect();
        if clients.iter().any(Option::is_none) {
            return None;
        }
        let third = Client::connect(relay.port).greeting;
        assert!(third.starts_with("421 4.7.0"), "{third}");
        Some(())
    });
    assert_works(&mut relay);
    relay.stop();
}

#[test]
fn one_octet_now_and_then_does_not_keep_a_session() {
    let folder = Folder::new("slow");
    let mut relay = config(&folder)
        .set("limits", "command_timeout", "\"1s\"")
        .set("limits", "data_timeout", "\"1s\"")
        .set("limits", "session_timeout", "\"4s\"")
        .start();
    // Each is fed one octet every 200 ms: in a command, in content, and nothing at all.
    let slow = |start: &'static [u8], octet: &'static [u8]| {
        let mut client = Client::hello(relay.port);
        client.send(start);
        for _ in 0..start.iter().filter(|octet| **octet == b'\n').count() {
            client.reply();
        }
        let mut stream = client.stream().try_clone().expect("a second handle");
        thread::spawn(move || {
            // The relay closes in the end: then a write fails.
            while stream.write_all(octet).is_ok() {
                thread::sleep(Duration::from_millis(200));
            }
        });
        String::from_utf8_lossy(&client.rest()).into_owned()
    };
    let command = slow(b"", b"x");
    assert!(command.contains("421 4.4.2"), "an endless command: {command:?}");
    let content = slow(b"MAIL FROM:<a@client.test>\r\nRCPT TO:<b@local.test>\r\nDATA\r\n", b"x");
    assert!(content.contains("421 4.4.2"), "endless content: {content:?}");
    let nothing = slow(b"", b"");
    assert!(nothing.contains("421 4.4.2"), "silence: {nothing:?}");
    let commands = slow(b"", b"NOOP\r\n");
    assert!(commands.contains("421 4.4.2"), "an endless session: {commands:?}");
    assert_works(&mut relay);
    relay.stop();
}

#[test]
fn more_connections_than_descriptors() {
    let folder = Folder::new("emfile");
    let config = config(&folder).set("limits", "sessions", "32").set("limits", "sessions_per_client", "32");
    let serve = config.command(&["serve"]);
    let mut command = std::process::Command::new("sh");
    // 80 are enough to start with 32 staging files, and too few for all the connections below.
    command.args(["-c", "ulimit -n 80; exec \"$@\"", "sh"]).arg(serve.get_program()).args(serve.get_args());
    let mut relay = Relay::start(command, config.port);
    let streams: Vec<_> =
        (0..200).filter_map(|_| TcpStream::connect(("127.0.0.1", relay.port)).ok()).collect();
    assert!(streams.len() > 100, "the flood reached the relay");
    relay.assert_alive();
    drop(streams);
    assert_works(&mut relay);
    relay.stop();
}

#[test]
fn connections_that_are_reset_and_half_closed() {
    let folder = Folder::new("resets");
    let hop = support::next_hop::NextHop::friendly();
    let mut relay = config(&folder).route(&support::relay::smarthost("", &hop.address())).start();
    for number in 0..50 {
        let client = Client::hello(relay.port);
        let mut stream = client.stream().try_clone().expect("a second handle");
        match number % 3 {
            // Unread replies turn the close into a reset.
            0 => stream.write_all(b"NOOP\r\nNOOP\r\nMAIL FROM:<a@client.test>\r\n").expect("commands"),
            1 => stream
                .write_all(b"MAIL FROM:<a@client.test>\r\nRCPT TO:<b@local.test>\r\nDATA\r\nhalf")
                .expect("content"),
            _ => {
                stream.write_all(b"QUIT\r\n").expect("the last command");
                stream.shutdown(std::net::Shutdown::Write).expect("half closed");
                let mut client = client;
                assert!(client.reply().starts_with("221"), "a half-closed client gets its answer");
            }
        }
    }
    assert_works(&mut relay);
    relay.stop();
}

#[test]
fn a_client_that_never_reads() {
    let folder = Folder::new("noread");
    let mut relay = config(&folder).set("limits", "command_timeout", "\"2s\"").start();
    let client = Client::hello(relay.port);
    let mut stream = client.stream().try_clone().expect("a second handle");
    stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    let commands = b"EHLO client.test\r\n".repeat(1000);
    // It does not read on while its replies are not taken, and closes in the end.
    let error = (0..10_000).find_map(|_| stream.write_all(&commands).err());
    let kind = error.expect("not 170 MB of commands without one reply being read").kind();
    assert!(!matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut), "the relay never closed: {kind}");
    drop(client);
    assert_works(&mut relay);
    relay.stop();
}

#[test]
fn nonsense_on_every_socket() {
    let folder = Folder::new("nonsense");
    let config = config(&folder);
    let mut relay = config.start();
    let zeros = vec![0_u8; 100_000];
    let ones = vec![0xff_u8; 100_000];
    let mixed: Vec<u8> = (0..100_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let line = [vec![b'a'; 100_000], b"\n".to_vec()].concat();
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec();
    let http = b"GET / HTTP/1.1\r\nHost: relay.test\r\n\r\n".to_vec();
    let nothing = Vec::new();
    for octets in [&zeros, &ones, &mixed, &line, &hello, &http, &nothing] {
        for name in ["control", "submit"] {
            let mut stream = UnixStream::connect(config.folder().join(name)).expect("the socket");
            stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            // The relay may close before it has taken everything.
            let _ = stream.write_all(octets);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let _ = stream.read_to_end(&mut Vec::new());
        }
        let mut stream = TcpStream::connect(("127.0.0.1", relay.port)).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let _ = stream.write_all(octets);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
        relay.assert_alive();
    }
    // Sockets that say nothing must not keep others from being answered.
    let _silent: Vec<_> =
        (0..20).filter_map(|_| UnixStream::connect(config.folder().join("control")).ok()).collect();
    assert!(config.queue().is_empty());
    assert_works(&mut relay);
    relay.stop();
}

#[test]
fn socket_modes() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new("modes");
    let config = config(&folder);
    let relay = config.start();
    for (name, mode) in [("control", 0o660), ("submit", 0o666)] {
        let found =
            fs::metadata(config.folder().join(name)).expect("the socket").permissions().mode() & 0o777;
        assert_eq!(found, mode, "{name} has mode {found:o}");
    }
    relay.stop();
}

#[test]
fn untrusted_text_cannot_forge_a_log_line() {
    let folder = Folder::new("forge");
    let relay = config(&folder).start();
    let mut client = Client::connect(relay.port);
    client.send(b"HELO a\"b\tforged accepted from=<x>\x1b[31m\r\n");
    client.reply();
    client.send(b"RSET\r\n");
    client.reply();
    client.expect("MAIL FROM:<a@client.test>", "250");
    client.expect("RCPT TO:<b@local.test>", "250");
    client.expect("RCPT TO:<x\x1b[31m@nowhere.test>", "5");
    client.expect("DATA", "354");
    client.send(b"Subject: x\r\n\r\nx\r\n.\r\n");
    assert!(client.reply().starts_with("250"));
    relay.wait_log(&["accepted", "from=<a@client.test>"]);
    for line in relay.stop() {
        assert!(!line.chars().any(char::is_control), "a control character in {line:?}");
    }
}
