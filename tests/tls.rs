//! TLS with clients, seen from outside: real clients, both ways in, and those that mean ill.

mod support;

use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;
use support::certificates::{Authority, Pair, ask, client_config, over, reply};
use support::client::Client;
use support::json::Json;
use support::message::{field, maildir};
use support::peers::{self, find, find_in_system};
use support::relay::{Config, Relay};
use support::{Folder, amount, free_port, wait_for};

/// A relay with a certificate: STARTTLS on its port, TLS from the first octet on the other one.
fn with(pair: &Pair, folder: &Folder, name: &str) -> (Config, u16) {
    let implicit = free_port();
    let config = Config::new(folder.path(), name)
        .maildir("[\"local.test\"]")
        .set("tls", "certificate_file", &format!("{:?}", pair.certificate))
        .set("tls", "key_file", &format!("{:?}", pair.key))
        .table(&format!("[[listen]]\naddress = \"127.0.0.1:{implicit}\"\ntls = \"implicit\""));
    (config, implicit)
}

/// The first message of a mailbox, once it is there.
#[track_caller]
fn arrived(config: &Config, user: &str) -> String {
    let folder = config.mailbox(user);
    let message = wait_for("a message", || maildir(&folder).pop());
    String::from_utf8_lossy(&message).into_owned()
}

const LETTER: &str = "MAIL FROM:<a@client.test>\r\nRCPT TO:<USER@local.test>\r\nDATA\r\nSubject: x\r\n\r\nhello\r\n.\r\nQUIT\r\n";

#[test]
fn openssl_talks_both_versions_with_every_kind_of_key() {
    let folder = Folder::new("tls-kinds");
    let Some(authority) = Authority::new(folder.path(), "authority") else { return };
    let openssl = find_in_system("openssl").expect("it was there before");
    for kind in ["RSA:2048", "EC:P-256", "EC:P-384", "ED25519"] {
        let name = kind.replace(':', "-").to_lowercase();
        let (config, implicit) = with(&authority.issue(&name, kind), &folder, &format!("relay-{name}"));
        let config = config.set("log", "level", "\"debug\"");
        let relay = config.start();
        for (version, shown) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
            for (port, way) in [(relay.port, &["-starttls", "smtp"][..]), (implicit, &[])] {
                let user = format!("u{version}{}", way.len()).replace('-', "");
                let mut client = Command::new(&openssl);
                client.args(["s_client", "-quiet", "-ign_eof", version, "-verify_return_error"]).args(way);
                client
                    .args(["-servername", "localhost", "-verify_hostname", "localhost", "-CAfile"])
                    .arg(authority.file());
                client.args(["-connect", &format!("127.0.0.1:{port}")]);
                let said = peers::succeed(
                    &mut client,
                    format!("EHLO box\r\n{}", LETTER.replace("USER", &user)).as_bytes(),
                );
                assert!(
                    said.contains("221 ") && !said.contains("STARTTLS"),
                    "{kind} {version} {way:?}: {said}"
                );
                let message = arrived(&config, &user);
                assert!(
                    field(message.as_bytes(), "Received").is_some_and(|r| r.contains("with ESMTPS")),
                    "{message}"
                );
                relay.wait_log(&["connect", shown]);
            }
        }
        relay.wait_log(&["accepted", "proto=ESMTPS"]);
        relay.stop();
    }
}

#[test]
fn real_clients_send_over_tls() {
    let folder = Folder::new("tls-clients");
    let Some(authority) = Authority::new(folder.path(), "authority") else { return };
    let (config, implicit) = with(&authority.issue("server", "EC:P-256"), &folder, "a");
    let relay = config.start();
    let letter = folder.write("letter", "Subject: x\r\n\r\nhello\r\n");
    if let Some(swaks) = find("swaks") {
        for (user, way, port) in [("swaks1", "--tls", relay.port), ("swaks2", "--tls-on-connect", implicit)] {
            let mut client = Command::new(&swaks);
            client.args([
                way,
                "--server",
                "127.0.0.1",
                "--port",
                &port.to_string(),
                "-f",
                "a@client.test",
                "-t",
            ]);
            peers::succeed(client.arg(format!("{user}@local.test")), b"");
            assert!(arrived(&config, user).contains("with ESMTPS"));
        }
    }
    if let Some(curl) = find("curl") {
        for (user, url) in [
            ("curl1", format!("smtps://localhost:{implicit}")),
            ("curl2", format!("smtp://localhost:{}", relay.port)),
        ] {
            let mut client = Command::new(&curl);
            client
                .args(["-sS", "--ssl-reqd", "--url", &url, "--mail-from", "a@client.test", "--cacert"])
                .arg(authority.file());
            client.args(["--mail-rcpt", &format!("{user}@local.test"), "-T"]).arg(&letter);
            peers::succeed(&mut client, b"");
            assert!(arrived(&config, user).contains("with ESMTPS"));
        }
    }
    if let Some(python) = find("python3") {
        let program = format!(
            "import smtplib, ssl\n\
             c = ssl.create_default_context(cafile={:?})\n\
             s = smtplib.SMTP('localhost', {}); s.starttls(context=c); s.sendmail('a@client.test', ['py1@local.test'], 'Subject: x\\n\\n' + 'y' * 60 * 1024); s.quit()\n\
             s = smtplib.SMTP_SSL('localhost', {implicit}, context=c); s.sendmail('a@client.test', ['py2@local.test'], 'Subject: x\\n\\n' + ('z' * 70 + '\\n') * 9000); s.quit()\n",
            authority.file(),
            relay.port
        );
        peers::succeed(Command::new(python).args(["-c", &program]), b"");
        assert!(arrived(&config, "py1").contains(&"y".repeat(1000)));
        assert_eq!(arrived(&config, "py2").matches(&"z".repeat(70)).count(), 9000);
    }
    relay.stop();
}

#[test]
fn what_was_said_in_the_clear_is_forgotten() {
    let folder = Folder::new("tls-injection");
    let Some(authority) = Authority::new(folder.path(), "authority") else { return };
    let (config, _) = with(&authority.issue("server", "EC:P-256"), &folder, "a");
    let relay = config.start();
    let trust = client_config(authority.file());
    let mut stream = TcpStream::connect(("127.0.0.1", relay.port)).unwrap();
    reply(&mut stream);
    assert!(ask(&mut stream, "EHLO box").contains("STARTTLS"));
    assert!(ask(&mut stream, "STARTTLS x").starts_with("501 5.5.4"));
    ask(&mut stream, "MAIL FROM:<evil@client.test>");
    // In one write, so that all of it is there.
    std::io::Write::write_all(&mut stream, b"STARTTLS\r\nRCPT TO:<b@local.test>\r\nNOOP\r\n").unwrap();
    let answer = reply(&mut stream);
    assert!(answer.starts_with("220 2.0.0"), "{answer}");
    let mut tls = over(stream, &trust);
    assert!(ask(&mut tls, "RCPT TO:<b@local.test>").starts_with("503 "), "the transaction is gone");
    let hello = ask(&mut tls, "EHLO box");
    assert!(hello.starts_with("250-relay.test") && !hello.contains("STARTTLS"), "{hello}");
    assert!(ask(&mut tls, "STARTTLS").starts_with("503 5.5.1"));
    assert!(ask(&mut tls, "QUIT").starts_with("221"));
    relay.wait_log(&["behind STARTTLS", "dropped"]);
    relay.stop();
}

#[test]
fn without_a_certificate_none_is_offered() {
    let folder = Folder::new("tls-none");
    let relay = Config::new(folder.path(), "a").start();
    let mut client = Client::connect(relay.port);
    assert!(!client.ask("EHLO box").contains("STARTTLS"));
    assert!(client.ask("STARTTLS").starts_with("502 5.5.1"));
    relay.stop();
}

#[test]
fn a_new_pair_is_taken_and_a_bad_one_is_not() {
    let folder = Folder::new("tls-reload");
    let Some(authority) = Authority::new(folder.path(), "authority") else { return };
    let pair = authority.issue("server", "EC:P-256");
    let (config, implicit) = with(&pair, &folder, "a");
    let relay = config.start();
    let trust = client_config(authority.file());
    let shown = || {
        let mut tls = over(TcpStream::connect(("127.0.0.1", implicit)).unwrap(), &trust);
        reply(&mut tls);
        tls.conn.peer_certificates().unwrap()[0].to_vec()
    };
    let first = shown();
    let new = authority.issue("newer", "ED25519");
    let copy = |from: &Path, to: &Path| {
        std::fs::copy(from, to).unwrap();
    };
    copy(&new.certificate, &pair.certificate);
    relay.signal(Signal::SIGHUP);
    relay.wait_log(&["tls.key_file", "is not the key"]);
    relay.wait_log(&["the old certificate and key stay"]);
    assert_eq!(shown(), first);
    copy(&new.key, &pair.key);
    relay.signal(Signal::SIGHUP);
    relay.wait_log(&["certificate and key read again"]);
    assert_ne!(shown(), first);
    relay.stop();
}

#[test]
fn a_pair_that_comes_or_goes_by_a_reload_takes_a_restart_and_that_is_told() {
    let folder = Folder::new("tls-comes");
    let Some(authority) = Authority::new(folder.path(), "authority") else { return };
    let pair = authority.issue("server", "EC:P-256");
    let without = Config::new(folder.path(), "a").maildir("[\"local.test\"]");
    let port = without.port;
    let relay = without.start();
    let with_pair = || with(&pair, &folder, "a").0.on_port(port);
    let reload = |relay: &Relay, said: &str, times: usize| {
        relay.signal(Signal::SIGHUP);
        let count = || relay.log().iter().filter(|line| line.contains(said)).count();
        wait_for(said, || (count() == times).then_some(()));
    };
    with_pair().write();
    reload(&relay, "[tls] is new, which takes a restart", 1);
    reload(&relay, "[tls] is new, which takes a restart", 2);
    let log = relay.stop();
    assert!(!log.iter().any(|line| line.contains("certificate and key read again")), "{log:?}");
    let relay = with_pair().start();
    without.write();
    reload(&relay, "[tls] is gone, which takes a restart", 1);
    with_pair().write();
    reload(&relay, "certificate and key read again", 1);
    relay.stop();
}

#[test]
fn a_pair_that_is_wrong_stops_check_and_serve() {
    let folder = Folder::new("tls-wrong");
    let Some(authority) = Authority::new(folder.path(), "authority") else { return };
    let good = authority.issue("good", "EC:P-256");
    let other = authority.issue("other", "EC:P-256");
    let open = authority.issue("open", "EC:P-256");
    std::fs::set_permissions(&open.key, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let junk = folder.write("junk", "no PEM at all");
    std::fs::set_permissions(&junk, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    for (name, certificate, key, words) in [
        ("mismatch", &good.certificate, &other.key, "not the key of the first certificate"),
        ("swapped", &good.key, &good.key, "no certificate in PEM form"),
        ("junk", &good.certificate, &junk, "no private key in PEM form"),
        ("open", &open.certificate, &open.key, "can be read by everybody"),
        ("missing", &folder.join("none.pem"), &good.key, "can't be read"),
        (
            "small",
            &authority.issue("small", "RSA:1024").certificate,
            &folder.join("small.key"),
            "RSA from 2048 bits",
        ),
        (
            "p521",
            &authority.issue("p521", "EC:P-521").certificate,
            &folder.join("p521.key"),
            "RSA from 2048 bits",
        ),
    ] {
        let pair = Pair { certificate: certificate.clone(), key: key.clone() };
        let (config, _) = with(&pair, &folder, &format!("relay-{name}"));
        for command in ["check", "serve"] {
            let output = config.run(&[command], b"");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(78), "{name}: {said}");
            assert!(said.contains(words), "{name}: {said}");
        }
    }
}

#[test]
fn what_is_no_handshake_is_named_and_noted() {
    let folder = Folder::new("tls-names");
    let Some(authority) = Authority::new(folder.path(), "authority") else { return };
    let (config, implicit) = with(&authority.issue("server", "RSA:2048"), &folder, "a");
    let relay = config.start();
    let mut client = Command::new(find_in_system("openssl").expect("it was there before"));
    client.args([
        "s_client",
        "-tls1",
        "-cipher",
        "DEFAULT@SECLEVEL=0",
        "-connect",
        &format!("127.0.0.1:{implicit}"),
    ]);
    peers::run(&mut client, b"");
    relay.wait_log(&["rejected", "tried TLS 1.0"]);
    let mut stream = TcpStream::connect(("127.0.0.1", implicit)).unwrap();
    std::io::Write::write_all(&mut stream, b"EHLO box\r\n").unwrap();
    relay.wait_log(&["rejected", "spoke in the clear where TLS was due"]);
    let status = config.succeed(&["status"]);
    assert!(status.contains("tried TLS 1.0") && status.contains("SMTP on a TLS port"), "{status}");
    relay.stop();
}

/// The heap of the relay now.
fn heap(config: &Config) -> f64 {
    Json::parse(&config.succeed(&["status", "--json"])).key("memory").key("heap_bytes").number()
}

#[test]
fn handshakes_leave_nothing_behind() {
    let folder = Folder::new("tls-heap");
    let Some(authority) = Authority::new(folder.path(), "authority") else { return };
    let (config, implicit) = with(&authority.issue("server", "EC:P-256"), &folder, "a");
    let mut relay = config.start();
    let trust = client_config(authority.file());
    let shake = |count: usize| {
        for number in 0..count {
            let mut tls = over(TcpStream::connect(("127.0.0.1", implicit)).unwrap(), &trust);
            reply(&mut tls);
            // Every other one goes without a word.
            if number % 2 == 0 {
                assert!(ask(&mut tls, "QUIT").starts_with("221"));
            }
        }
    };
    shake(20);
    let before = heap(&config);
    shake(amount(500, 10_000));
    let after = wait_for("the last session to end", || {
        let heap = heap(&config);
        (heap <= before + 4096.0).then_some(heap)
    });
    println!("{before} octets of heap before, {after} after");
    relay.assert_alive();
    relay.stop();
}

/// A relay with `sessions` slots, for one client.
fn crowded(authority: &Authority, folder: &Folder, sessions: usize) -> (Config, u16, Relay) {
    let (config, implicit) = with(&authority.issue("server", "EC:P-256"), folder, "a");
    let sessions = sessions.to_string();
    let config = config.set("limits", "sessions", &sessions).set("limits", "sessions_per_client", "200");
    let relay = config.start();
    (config, implicit, relay)
}

#[test]
fn handshakes_side_by_side_up_to_the_last_slot() {
    let folder = Folder::new("tls-fifty");
    let Some(authority) = Authority::new(folder.path(), "authority") else { return };
    let (config, implicit, relay) = crowded(&authority, &folder, 50);
    let trust = client_config(authority.file());
    let mut all: Vec<_> =
        (0..50).map(|_| over(TcpStream::connect(("127.0.0.1", implicit)).unwrap(), &trust)).collect();
    // All say hello before anybody reads.
    for tls in &mut all {
        tls.conn.write_tls(&mut tls.sock).unwrap();
    }
    for tls in &mut all {
        assert!(reply(tls).starts_with("220 "));
    }
    let mut late = TcpStream::connect(("127.0.0.1", implicit)).unwrap();
    assert!(reply(&mut late).starts_with("421 4.3.2"), "in the clear: there is no room for a handshake");
    for tls in &mut all {
        assert!(ask(tls, "EHLO box").starts_with("250-"));
        assert!(ask(tls, "MAIL FROM:<a@client.test>").starts_with("250 "));
        assert!(ask(tls, "RCPT TO:<b@local.test>").starts_with("250 "));
        assert!(ask(tls, "DATA").starts_with("354 "));
    }
    let status = Json::parse(&config.succeed(&["status", "--json"]));
    let memory = |key| status.key("memory").key(key).number();
    println!(
        "{} KiB resident, {} promised",
        memory("resident_bytes") / 1024.0,
        memory("ceiling_bytes") / 1024.0
    );
    assert!(memory("resident_bytes") <= memory("ceiling_bytes"));
    for tls in &mut all {
        assert!(ask(tls, "Subject: x\r\n\r\nx\r\n.").starts_with("250 "));
    }
    relay.stop();
}

#[test]
fn no_tls_begins_where_the_heap_is_near_its_ceiling() {
    let folder = Folder::new("tls-heap");
    let Some(authority) = Authority::new(folder.path(), "authority") else { return };
    let (config, implicit) = with(&authority.issue("server", "EC:P-256"), &folder, "a");
    let certificate = std::fs::read_to_string(authority.file()).expect("a certificate");
    let bundles = ["1.pem", "2.pem", "3.pem", "4.pem", "5.pem", "6.pem"];
    let config = bundles.iter().fold(config, |config, name| {
        let bundle = folder.write(name, &certificate);
        let hop = format!("localhost:{}", free_port());
        config.route(&format!(
            "to = [\"{name}\"]\nvia = \"smarthost\"\nhosts = [{hop:?}]\nca_file = {bundle:?}"
        ))
    });
    let relay = config.start();
    let trust = client_config(authority.file());
    let works = || {
        let mut tls = over(TcpStream::connect(("127.0.0.1", implicit)).unwrap(), &trust);
        assert!(reply(&mut tls).starts_with("220 "));
    };
    works();
    // The authorities that are believed are the one thing that a reload can make much larger.
    let reload = |copies: usize, nth: usize| {
        for name in bundles {
            folder.write(name, certificate.repeat(copies));
        }
        relay.signal(Signal::SIGHUP);
        wait_for("the reload", || {
            let log = relay.log();
            (log.iter().filter(|line| line.contains("toml read again")).count() == nth).then_some(())
        });
        // A question is answered in a later turn: then the old ones are gone.
        config.succeed(&["status"]);
    };
    reload(1500, 1);
    let mut client = Client::hello(relay.port);
    client.expect("STARTTLS", "454 4.7.0");
    let reply_text = reply(&mut TcpStream::connect(("127.0.0.1", implicit)).unwrap());
    assert!(reply_text.starts_with("421 4.7.0"), "in the clear: {reply_text}");
    let sent = client.deliver("a@client.test", &["b@local.test"], b"Subject: x\r\n\r\nx\r\n");
    assert!(sent.starts_with("250"), "what is not under TLS goes on: {sent}");
    relay.wait_log(&["rejected", "454 4.7.0 TLS is not available now"]);
    relay.wait_log(&["rejected", "421 4.7.0 TLS is not available now"]);
    reload(1, 2);
    works();
    client.expect("STARTTLS", "220");
    relay.stop();
}
