//! What clients get by their address: rules of `[[client]]`, limits by the hour, notes in `status`,
//! the PROXY protocol, and closing on those who speak another protocol.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use nix::sys::signal::Signal;

use support::client::Client;
use support::json::Json;
use support::message::{field, maildir, message};
use support::relay::{Config, Relay};
use support::{Folder, PATIENCE, peers, wait_for};

fn config(folder: &Folder) -> Config {
    Config::new(folder.path(), "a").maildir("[\"local.test\"]")
}

/// `config` with this `[[client]]` for loopback.
fn ruled(folder: &Folder, rule: &str) -> Config {
    config(folder).table(&format!("[[client]]\nnetworks = [\"127.0.0.1\"]\n{rule}"))
}

/// What `status --json` notes about an address.
fn notes(config: &Config, address: &str) -> String {
    let status = Json::parse(&config.succeed(&["status", "--json"]));
    let found = status.key("clients").list().iter().find(|client| client.key("address").text() == address);
    found.map(|client| client.key("notes").text().to_owned()).unwrap_or_default()
}

#[track_caller]
fn wait_notes(config: &Config, address: &str, note: &str) -> String {
    wait_for(&format!("the note {note:?}"), || {
        Some(notes(config, address)).filter(|notes| notes.contains(note))
    })
}

/// Says octets to a port without waiting for anything; what comes back until the end.
fn talk(port: u16, octets: &[u8]) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let _ = stream.write_all(octets);
    let mut said = Vec::new();
    let _ = stream.read_to_end(&mut said);
    String::from_utf8_lossy(&said).into_owned()
}

/// Connects and speaks while the relay stands still: the octets are there before the greeting.
fn talk_early(relay: &Relay, octets: &[u8]) -> String {
    relay.signal(Signal::SIGSTOP);
    let mut stream = TcpStream::connect(("127.0.0.1", relay.port)).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.write_all(octets).expect("sent");
    relay.signal(Signal::SIGCONT);
    let mut said = Vec::new();
    let _ = stream.read_to_end(&mut said);
    String::from_utf8_lossy(&said).into_owned()
}

#[test]
fn an_appliance_is_taken_as_it_is_and_may_not_relay() {
    let folder = Folder::new("appliance");
    let config = ruled(&folder, "appliance = true").strangers().route("via = \"discard\"");
    let relay = config.start();
    let mut client = Client::connect(relay.port);
    client.send(b"HELO\nMAIL FROM: camera\nRCPT TO: motion@local.test\nRCPT TO:<a@remote.test>\n");
    client.send(b"DATA\nmotion in the garden\n.\nQUIT\n");
    let said = String::from_utf8(client.rest()).expect("replies");
    let codes: Vec<&str> = said.lines().map(|line| &line[..3]).collect();
    assert_eq!(codes, ["250", "250", "250", "550", "354", "250", "221"], "{said}");
    let arrived = wait_for("the message", || maildir(&config.mailbox("motion")).pop());
    let text = String::from_utf8_lossy(&arrived).into_owned();
    assert_eq!(field(&arrived, "From").as_deref(), Some("camera@relay.test"), "{text}");
    assert!(field(&arrived, "Date").is_some() && field(&arrived, "Message-ID").is_some(), "{text}");
    assert!(text.ends_with("\n\nmotion in the garden\n"), "{text}");
    let line = wait_notes(&config, "127.0.0.1", "LF line ends");
    assert_eq!(line, "LF line ends, no HELO name, addresses without brackets, relaying denied");
    let status = config.succeed(&["status"]);
    assert!(
        status.contains(
            "\nclients\n    127.0.0.1: LF line ends, no HELO name, addresses without brackets, relaying\n"
        ),
        "{status}"
    );
    relay.stop();
}

#[test]
fn a_stranger_gets_none_of_it() {
    let folder = Folder::new("stranger");
    let config = config(&folder).strangers();
    let relay = config.start();
    for (line, reply) in [
        ("HELO", "501"),
        ("MAIL FROM:<a@client.test>", "503"),
        ("HELO box", "250"),
        ("MAIL FROM: a@client.test", "501"),
        ("MAIL FROM:<camera>", "501"),
        ("NOOP", "250"),
    ] {
        let mut client = Client::connect(relay.port);
        if line.starts_with("MAIL FROM: ") || line.ends_with("<camera>") {
            client.expect("EHLO box", "250");
        }
        client.expect(line, reply);
    }
    let mut client = Client::connect(relay.port);
    client.send(b"NOOP\n");
    assert!(client.reply().starts_with("500 5.5.2"));
    client.expect("QUIT", "221");
    // Its owner can see why, in the log and in `status`.
    relay.wait_log(&["rejected", "client=127.0.0.1", "commands=1", "reply=\"503 5.5.1\"", "no HELO"]);
    let line = wait_notes(&config, "127.0.0.1", "LF line ends");
    assert!(line.contains("no HELO, no HELO name, addresses without brackets"), "{line}");
    relay.stop();
}

#[test]
fn keywords_are_hidden_by_network_and_relaying_is_a_rule() {
    let folder = Folder::new("hide");
    let hide = "hide = [\"CHUNKING\", \"SIZE\", \"STARTTLS\"]\nrelay = true";
    let config = ruled(&folder, hide).strangers().route("via = \"discard\"");
    let relay = config.start();
    let mut client = Client::connect(relay.port);
    let shown = client.ask("EHLO box");
    assert!(
        !shown.contains("CHUNKING") && !shown.contains("SIZE") && shown.contains("PIPELINING"),
        "{shown}"
    );
    client.expect("MAIL FROM:<a@client.test> SIZE=10", "555");
    client.expect("MAIL FROM: a@client.test", "250");
    client.expect("RCPT TO:<b@remote.test>", "250");
    client.expect("QUIT", "221");
    relay.stop();
}

#[test]
fn messages_by_the_hour() {
    let folder = Folder::new("hour");
    let config = ruled(&folder, "messages_per_hour = 2").set("limits", "messages_per_hour", "1");
    let relay = config.start();
    let mut client = Client::hello(relay.port);
    for _ in 0..2 {
        assert!(client.deliver("a@client.test", &["b@local.test"], &message("x\r\n")).starts_with("250"));
    }
    client.expect("MAIL FROM:<a@client.test>", "450 4.7.1 too many messages: 2 within an hour");
    client.expect("QUIT", "221");
    Client::hello(relay.port).expect("MAIL FROM:<a@client.test>", "450 4.7.1");
    relay.wait_log(&["rejected", "client=127.0.0.1", "450 4.7.1 too many messages"]);
    wait_notes(&config, "127.0.0.1", "too many messages");
    // Programs on this machine are counted by themselves, by the general limit.
    let letter = b"Subject: x\n\nx\n";
    assert!(config.run(&["sendmail", "b@local.test"], letter).status.success());
    let second = config.run(&["sendmail", "b@local.test"], letter);
    assert_eq!(second.status.code(), Some(75), "try later: {}", String::from_utf8_lossy(&second.stderr));
    relay.stop();
}

#[test]
fn sessions_side_by_side_send_no_more_by_the_hour() {
    let folder = Folder::new("hour-sessions");
    let config = ruled(&folder, "messages_per_hour = 1");
    let relay = config.start();
    let mut clients: Vec<Client> = (0..3).map(|_| Client::hello(relay.port)).collect();
    for client in &mut clients {
        client.expect("MAIL FROM:<a@client.test>", "250");
        client.expect("RCPT TO:<b@local.test>", "250");
        client.expect("DATA", "354");
    }
    let replies: Vec<String> =
        clients.iter_mut().map(|client| client.ask("Subject: x\r\n\r\nx\r\n.")).collect();
    assert!(replies[0].starts_with("250"), "{replies:?}");
    assert!(replies[1..].iter().all(|reply| reply.starts_with("450 4.7.1")), "{replies:?}");
    relay.stop();
}

#[test]
fn other_protocols_are_named_and_closed() {
    let folder = Folder::new("protocols");
    let config = config(&folder);
    let relay = config.start();
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    assert_eq!(talk(relay.port, hello).lines().count(), 1, "the greeting, and the end");
    relay.wait_log(&["closed", "client=127.0.0.1 reason=\"TLS on a plain port"]);
    let said = talk(relay.port, b"GET / HTTP/1.1\r\nHost: relay.test\r\n\r\nMAIL FROM:<a@b>\r\n");
    assert!(said.contains("221 2.7.0") && said.lines().count() == 2, "{said}");
    relay.wait_log(&["closed", "client=127.0.0.1", "HTTP"]);
    let said = talk(
        relay.port,
        b"MAIL FROM:<a@b>\nRCPT TO:<c@remote.test>\nDATA\nSubject: x\n\nMAIL FROM:<d@e>\n.\n",
    );
    assert!(said.ends_with("content came though DATA was refused; closing\r\n"), "{said}");
    let line = wait_notes(&config, "127.0.0.1", "content after refused DATA");
    assert!(line.contains("TLS on a plain port, HTTP or header fields"), "{line}");
    if let Some(curl) = peers::find("curl") {
        let url = format!("http://127.0.0.1:{}/", relay.port);
        assert!(!peers::run(Command::new(curl).args(["-sS", &url]), b"").status.success());
    }
    relay.stop();
}

#[test]
fn who_talks_before_the_greeting() {
    let folder = Folder::new("early");
    let config = config(&folder).strangers();
    let relay = config.start();
    assert!(talk_early(&relay, b"EHLO spammer\r\n").starts_with("554 5.5.1"));
    relay.wait_log(&["closed", "client=127.0.0.1", "talks before the greeting"]);
    wait_notes(&config, "127.0.0.1", "talks before the greeting");
    assert!(talk_early(&relay, b"GET / HTTP/1.0\r\n\r\n").contains("221 2.7.0"));
    relay.stop();
    // A device of the house is heard all the same.
    let config = config.set("access", "relay_from", "[\"127.0.0.0/8\"]");
    let relay = config.start();
    let said =
        talk_early(&relay, b"MAIL FROM:<a@b.test>\r\nRCPT TO:<c@local.test>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n");
    assert!(said.starts_with("220 ") && said.contains("queued as") && said.contains("221 2.0.0"), "{said}");
    relay.stop();
}

const FROM_192: &[u8] = b"PROXY TCP4 192.0.2.9 127.0.0.1 40000 25\r\n";

#[test]
fn a_proxy_tells_who_the_client_is() {
    let folder = Folder::new("proxy");
    let config = config(&folder).strangers().listener("proxy_protocol_from = [\"127.0.0.0/8\"]");
    let relay = config.start_unseen();
    // relay_from of a stranger's configuration is 192.0.2.1: trusted by the header, not by the socket.
    for (header, trusted) in [
        (&b"PROXY TCP4 192.0.2.1 127.0.0.1 40000 25\r\n"[..], true),
        (FROM_192, false),
        (b"PROXY UNKNOWN\r\n", false),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\x7f\0\0\x01\x9c\x40\0\x19", true),
        (b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", false),
    ] {
        let mut stream = TcpStream::connect(("127.0.0.1", config.port)).expect("a connection");
        // In pieces: the header need not come at once.
        let (first, rest) = header.split_at(header.len() / 2);
        stream.write_all(first).expect("the first half");
        stream.write_all(rest).expect("the second half");
        let mut client = Client::over(stream).expect("a greeting");
        client.expect("EHLO box", "250");
        let reply = client.ask("MAIL FROM: a@b.test");
        assert_eq!(reply.starts_with("250"), trusted, "{}: {reply}", header.escape_ascii());
    }
    let mut stream = TcpStream::connect(("127.0.0.1", config.port)).expect("a connection");
    stream.write_all(FROM_192).expect("the header");
    let mut client = Client::over(stream).expect("a greeting");
    client.expect("EHLO box", "250");
    assert!(client.deliver("a@b.test", &["c@local.test"], &message("x\r\n")).starts_with("250"));
    relay.wait_log(&["accepted", "client=192.0.2.9"]);
    let arrived = wait_for("the message", || maildir(&config.mailbox("c")).pop());
    assert!(field(&arrived, "Received").expect("a trace").contains("from box ([192.0.2.9])"));
    relay.stop();
}

#[test]
fn a_proxy_must_say_so_and_nobody_else_may() {
    let folder = Folder::new("proxies");
    let config = config(&folder).listener("proxy_protocol_from = [\"127.0.0.0/8\"]");
    let relay = config.start_unseen();
    assert_eq!(talk(config.port, b"EHLO box\r\n"), "", "closed without a word");
    relay.wait_log(&["closed", "client=127.0.0.1", "no PROXY header"]);
    let broken = TcpStream::connect(("127.0.0.1", config.port)).expect("a connection");
    (&broken).write_all(b"PROXY TCP4 192.0").expect("half a header");
    broken.shutdown(std::net::Shutdown::Write).expect("half closed");
    relay.wait_log(&["closed", "client=127.0.0.1", "breaks off"]);
    wait_notes(&config, "127.0.0.1", "no PROXY header");
    relay.stop();

    let folder = Folder::new("noproxy");
    let config = self::config(&folder).listener("proxy_protocol_from = [\"192.0.2.0/24\"]");
    let relay = config.start();
    let mut client = Client::connect(relay.port);
    client.expect("PROXY TCP4 192.0.2.1 127.0.0.1 40000 25", "500 5.5.2");
    client.expect("EHLO box", "250");
    assert!(client.deliver("a@b.test", &["c@local.test"], &message("x\r\n")).starts_with("250"));
    relay.wait_log(&["accepted", "client=127.0.0.1"]);
    relay.stop();
}

#[test]
fn a_device_by_swaks() {
    let Some(swaks) = peers::find("swaks") else { return };
    let folder = Folder::new("swaks");
    let config = ruled(&folder, "appliance = true").strangers();
    let relay = config.start();
    let mut command = Command::new(swaks);
    command.args(["--server", "127.0.0.1", "--port", &relay.port.to_string(), "--protocol", "SMTP"]);
    command.args(["--helo", "HP LaserJet_(attic)", "--from", "scanner@printer.lan", "--to", "me@local.test"]);
    peers::succeed(&mut command, b"");
    wait_for("the message", || maildir(&config.mailbox("me")).pop());
    wait_notes(&config, "127.0.0.1", "odd HELO name");
    relay.stop();
}

#[test]
fn a_reload_leaves_sessions_what_they_had() {
    let folder = Folder::new("reload");
    let config = ruled(&folder, "appliance = true\nrelay = true").strangers().route("via = \"discard\"");
    let relay = config.start();
    let mut before = Client::connect(relay.port);
    before.expect("MAIL FROM: a@b.test", "250");
    let without = self::config(&folder).on_port(config.port).strangers().route("via = \"discard\"");
    without.write();
    relay.signal(Signal::SIGHUP);
    relay.wait_log(&["read again"]);
    before.expect("RCPT TO: c@remote.test", "250");
    Client::hello(relay.port).expect("MAIL FROM: a@b.test", "501");
    relay.stop();
}

/// It would see a reset instead, and its owner would never know why.
#[test]
fn who_sends_on_hears_why_it_was_closed() {
    let folder = Folder::new("linger");
    let relay = config(&folder).start();
    let mut client = Client::connect(relay.port);
    client.send(b"MAIL FROM:<a@b.test>\r\nRCPT TO:<c@remote.test>\r\nDATA\r\n");
    client.send(&b"a line of a message that nobody asked for\r\n".repeat(200_000));
    client.send(b".\r\n");
    let said = String::from_utf8(client.rest()).expect("replies");
    assert!(said.ends_with("421 4.5.0 content came though DATA was refused; closing\r\n"), "{said}");
    relay.stop();
}

/// What we add to the header is not held against the client (RFC 1870 5).
#[test]
fn a_message_of_the_largest_size_is_taken() {
    let folder = Folder::new("largest");
    let relay = config(&folder).set("limits", "message_size", "\"64KiB\"").start();
    let content = [vec![b'x'; 65_534], b"\r\n".to_vec()].concat();
    let mut client = Client::hello(relay.port);
    client.expect("MAIL FROM:<a@b.test> SIZE=65536", "250");
    client.expect("RSET", "250");
    assert!(client.deliver("a@b.test", &["c@local.test"], &content).starts_with("250"));
    let reply = client.deliver("a@b.test", &["c@local.test"], &[b"x", &content[..]].concat());
    assert!(reply.starts_with("552 5.3.4 a message can have at most 65536 octets"), "{reply}");
    relay.stop();
}

#[test]
fn content_that_is_refused_is_told() {
    let folder = Folder::new("badcontent");
    let config = config(&folder).strangers().set("limits", "message_size", "\"64KiB\"");
    let relay = config.start();
    for (content, words) in [
        (b"Subject: x\r\n\r\nbare\nline feed\r\n".to_vec(), "550 5.6.0 an LF without CR"),
        (message([&[b'x'; 70_000][..], b"\r\n"].concat()), "552 5.3.4 a message can have at most"),
    ] {
        let mut client = Client::hello(relay.port);
        client.expect("MAIL FROM:<a@b.test>", "250");
        client.expect("RCPT TO:<c@local.test>", "250");
        client.expect("DATA", "354");
        client.send(&[&content[..], b".\r\n"].concat());
        assert!(client.reply().starts_with(words));
        relay.wait_log(&["rejected", "from=<a@b.test>", "client=127.0.0.1", words]);
    }
    wait_notes(&config, "127.0.0.1", "bare CR, bare LF or NUL in content");
    assert_eq!(
        Json::parse(&config.succeed(&["status", "--json"])).key("counters").key("rejected").number(),
        2.0
    );
    relay.stop();
}

/// A configuration with one user, "me" with the password "secret".
fn with_user(config: Config) -> Config {
    let mut command = support::relay::program();
    let line = peers::succeed(command.args(["password", "--clear", "me"]), b"secret\n");
    let file = config.folder().join("users");
    std::fs::write(&file, line).expect("the users file");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&file, mode).expect("the mode of a file");
    config.set("access", "users_file", &format!("{:?}", file.display().to_string()))
}

/// `\0me\0secret` in base64.
const PLAIN: &str = "AG1lAHNlY3JldA==";

#[test]
fn an_appliance_logs_in_without_tls_and_after_helo() {
    let folder = Folder::new("oldauth");
    let config = with_user(ruled(&folder, "appliance = true").strangers()).listener("tls = \"none\"");
    let config = config.set("", "local_domains", "[\"local.test\"]").route("via = \"discard\"");
    let relay = config.start();
    let mut client = Client::connect(relay.port);
    let shown = client.ask("EHLO camera");
    assert!(shown.contains("AUTH ") && !shown.contains("STARTTLS"), "{shown}");
    client.expect("HELO", "250");
    client.expect("MAIL FROM: camera", "250");
    client.expect("RCPT TO: a@remote.test", "550 5.7.1");
    client.expect("RSET", "250");
    client.expect(&format!("AUTH PLAIN {PLAIN}"), "235");
    assert!(client.deliver("camera@b.test", &["a@remote.test"], &message("x\r\n")).starts_with("250"));
    relay.wait_log(&["accepted", "client=127.0.0.1", "user=me"]);
    relay.stop();
    // Everyone else is not offered it in clear.
    let config = with_user(self::config(&folder).strangers());
    let relay = config.start();
    let mut client = Client::connect(relay.port);
    assert!(!client.ask("EHLO camera").contains("AUTH "));
    client.expect(&format!("AUTH PLAIN {PLAIN}"), "5");
    relay.stop();
}

#[test]
fn a_user_is_counted_wherever_it_comes_from() {
    let folder = Folder::new("userhour");
    let config = with_user(config(&folder).strangers())
        .set("access", "plaintext_auth_from", "[\"198.51.100.0/24\"]")
        .set("limits", "messages_per_hour", "1")
        .listener("proxy_protocol_from = [\"127.0.0.1\"]");
    let relay = config.start_unseen();
    let client = |address: &str| {
        let mut stream = TcpStream::connect(("127.0.0.1", config.port)).expect("a connection");
        let header = format!("PROXY TCP4 {address} 127.0.0.1 40000 25\r\n");
        stream.write_all(header.as_bytes()).expect("the header");
        let mut client = Client::over(stream).expect("a greeting");
        client.expect("EHLO box", "250");
        client
    };
    let mut first = client("198.51.100.1");
    first.expect(&format!("AUTH PLAIN {PLAIN}"), "235");
    assert!(first.deliver("a@b.test", &["c@local.test"], &message("x\r\n")).starts_with("250"));
    let mut second = client("198.51.100.2");
    second.expect(&format!("AUTH PLAIN {PLAIN}"), "235");
    second.expect("MAIL FROM:<a@b.test>", "450 4.7.1");
    client("198.51.100.1").expect("MAIL FROM:<a@b.test>", "250");
    relay.stop();
}

/// `config` with a certificate, on a port where TLS comes first.
fn with_tls(config: Config) -> Config {
    with_certificate(config).listener("tls = \"implicit\"")
}

fn with_certificate(config: Config) -> Config {
    let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/tls");
    let key = config.folder().join("key.pem");
    std::fs::write(&key, std::fs::read(source.join("p256.key")).expect("a key")).expect("its copy");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&key, mode).expect("the mode of a file");
    config
        .set("tls", "certificate_file", &format!("{:?}", source.join("p256.pem").display().to_string()))
        .set("tls", "key_file", &format!("{:?}", key.display().to_string()))
}

#[test]
fn who_may_not_send_is_named() {
    let folder = Folder::new("denied");
    let relay_port = config(&folder).strangers();
    let relay = relay_port.start();
    let mut client = Client::hello(relay.port);
    client.expect("MAIL FROM:<a@b.test>", "250");
    client.expect("RCPT TO:<c@far.test>", "550 5.7.1");
    assert_eq!(wait_notes(&relay_port, "127.0.0.1", "denied"), "relaying denied");
    relay.stop();

    let folder = Folder::new("nologin");
    let submission = with_certificate(with_user(config(&folder).strangers())).role("submission");
    let relay = submission.start();
    for (line, code) in [("MAIL FROM:<a@b.test>", "530 5.7.0"), ("AUTH PLAIN AGEAYg==", "538 5.7.11")] {
        let mut client = Client::hello(relay.port);
        client.expect(line, code);
        client.expect("QUIT", "221");
    }
    wait_notes(&submission, "127.0.0.1", "no login, tried to log in without TLS");
    relay.stop();
}

#[test]
fn smtp_on_a_tls_port_is_named() {
    let folder = Folder::new("tlsport");
    let config = with_tls(config(&folder)).set("log", "level", "\"debug\"");
    let relay = config.start_unseen();
    talk(config.port, b"EHLO box\r\nMAIL FROM:<a@b.test>\r\n");
    relay.wait_log(&["connect client=127.0.0.1"]);
    relay.wait_log(&["client=127.0.0.1", "TLS port"]);
    wait_notes(&config, "127.0.0.1", "SMTP on a TLS port");
    relay.stop();
}

const BY_PROXY: &str = r#"
import smtplib, socket, ssl, sys
raw = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 30)
raw.sendall(b"PROXY TCP4 192.0.2.9 127.0.0.1 40000 465\r\n")
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
client = smtplib.SMTP()
client.sock = context.wrap_socket(raw)
print(client.getreply())
client.sendmail("a@b.test", ["c@local.test"], "Subject: x\r\n\r\nx\r\n")
client.quit()
"#;

#[test]
fn the_proxy_header_comes_before_tls() {
    let Some(python) = peers::find_in_system("python3") else { return };
    let folder = Folder::new("proxytls");
    let config = with_tls(config(&folder).strangers()).listener("proxy_protocol_from = [\"127.0.0.1\"]");
    let relay = config.start_unseen();
    let said = peers::succeed(Command::new(python).args(["-c", BY_PROXY, &config.port.to_string()]), b"");
    assert!(said.contains("220"), "{said}");
    relay.wait_log(&["accepted", "client=192.0.2.9", "proto=ESMTPS"]);
    relay.stop();
}

#[test]
fn no_date_is_made_up_while_the_clock_is_not_set() {
    let Some(library) = peers::find("libfaketime.so.1") else { return };
    let folder = Folder::new("nodate");
    let config = config(&folder);
    let mut command = config.command(&["serve"]);
    command.env("LD_PRELOAD", library).env("FAKETIME", "@1970-01-03 12:00:00");
    command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("FAKETIME_CACHE_DURATION", "1");
    let relay = Relay::start(command, config.port);
    let mut client = Client::hello(relay.port);
    assert!(client.deliver("a@b.test", &["c@local.test"], b"Subject: x\r\n\r\nx\r\n").starts_with("250"));
    let arrived = wait_for("the message", || maildir(&config.mailbox("c")).pop());
    let text = String::from_utf8_lossy(&arrived).into_owned();
    assert!(field(&arrived, "Received").expect("a trace").contains("Jan 1970"), "{text}");
    assert!(field(&arrived, "Message-ID").is_some() && field(&arrived, "From").is_some(), "{text}");
    assert_eq!(field(&arrived, "Date"), None, "{text}");
    relay.stop();
}

#[test]
fn an_ipv6_network_is_one_client() {
    let folder = Folder::new("v6");
    let config = config(&folder).strangers().set("limits", "sessions_per_client", "1");
    let config = config.listener("proxy_protocol_from = [\"127.0.0.1\"]");
    let relay = config.start_unseen();
    let client = |address: &str| {
        let mut stream = TcpStream::connect(("127.0.0.1", config.port)).expect("a connection");
        let header = format!("PROXY TCP6 {address} ::1 40000 25\r\n");
        stream.write_all(header.as_bytes()).expect("the header");
        Client::over(stream).expect("a greeting")
    };
    let first = client("2001:db8::1");
    assert!(first.greeting.starts_with("220"), "{}", first.greeting);
    assert!(client("2001:db8::2:3").greeting.starts_with("421 4.7.0"));
    assert!(client("2001:db8:0:1::1").greeting.starts_with("220"));
    wait_notes(&config, "2001:db8::/64", "too many sessions");
    relay.stop();
}
