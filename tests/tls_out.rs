//! TLS towards next hops: who is believed, and that nothing that has to be secret goes in the clear.

mod support;

use std::path::Path;
use std::sync::{Arc, Mutex};

use support::certificates::{Authority, fingerprint, self_signed, self_signed_for};
use support::client::Client;
use support::message::maildir;
use support::next_hop::{Act, Event, NextHop};
use support::relay::{Config, Relay};
use support::secure_hop::Hop;
use support::{Folder, free_port, wait_for};

/// A relay whose mail goes to `localhost:port` by these lines of the route.
fn relay(folder: &Folder, name: &str, port: u16, lines: &str) -> (Config, Relay) {
    let config = Config::new(folder.path(), name)
        .route(&format!("via = \"smarthost\"\nhosts = [\"localhost:{port}\"]\n{lines}"))
        .set("log", "level", "\"debug\"");
    let relay = config.start();
    Client::hello(relay.port).deliver("a@client.test", &["b@remote.test"], b"Subject: x\r\n\r\nx\r\n");
    (config, relay)
}

fn ca(authority: &Authority) -> String {
    format!("ca_file = {:?}\n", authority.file())
}

#[test]
fn a_server_that_is_who_it_says_gets_the_mail() {
    let folder = Folder::new("out-ok");
    let Some(authority) = Authority::new(folder.path(), "authority") else { return };
    for (name, kind, way, start) in [
        ("rsa", "RSA:2048", "tls", ""),
        ("p256", "EC:P-256", "smtps", "tls_start = \"immediate\"\n"),
        ("ed25519", "ED25519", "tls", "tls_start = \"starttls\"\n"),
    ] {
        let Some(hop) = Hop::new(&folder, &format!("box-{name}"), way, &authority.issue(name, kind)) else {
            return;
        };
        let (config, relay) = relay(&folder, &format!("relay-{name}"), hop.port, &(ca(&authority) + start));
        relay.wait_log(&["delivered", "tls=TLSv1.3", "via=smarthost"]);
        assert_eq!(hop.mails(), 1);
        config.wait_queue(0);
        let log = relay.stop();
        let source = log.iter().find(|line| line.contains("checked against"));
        assert!(source.is_some_and(|line| line.contains("authority.pem (1 authorities)")), "{log:#?}");
    }
}

#[test]
fn a_pin_and_any_certificate_need_no_authority() {
    let folder = Folder::new("out-pin");
    let Some(pair) = self_signed(folder.path(), "elsewhere", "subjectAltName=DNS:elsewhere.test") else {
        return;
    };
    let Some(hop) = Hop::new(&folder, "box", "tls", &pair) else { return };
    let pin = format!("certificate_sha256 = \"{}\"\n", fingerprint(&pair.certificate));
    for (number, lines) in
        [pin.as_str(), "tls = \"encrypt\"\n", "tls = \"opportunistic\"\n"].into_iter().enumerate()
    {
        let (_, relay) = relay(&folder, &format!("relay-{number}"), hop.port, lines);
        relay.wait_log(&["delivered", "tls=TLSv1.3"]);
        assert_eq!(hop.mails(), number + 1);
        relay.stop();
    }
}

#[test]
fn a_server_that_is_its_own_authority_can_be_named() {
    let folder = Folder::new("out-own");
    let names = "subjectAltName=DNS:localhost";
    let Some(own) = self_signed(folder.path(), "own", names) else { return };
    let Some(hop) = Hop::new(&folder, "box-own", "tls", &own) else { return };
    let (_, named) = relay(&folder, "relay-own", hop.port, &format!("ca_file = {:?}\n", own.certificate));
    named.wait_log(&["delivered", "tls=TLSv1.3"]);
    named.stop();
    // For another name, and past its days, it is believed as little as any other.
    let other =
        self_signed(folder.path(), "other", "subjectAltName=DNS:other.test").expect("openssl is there");
    let old = self_signed_for(folder.path(), "old", names, -1).expect("openssl is there");
    for (name, pair, words) in [("other", other, "not for localhost"), ("old", old, "has expired")] {
        let Some(hop) = Hop::new(&folder, &format!("box-{name}"), "tls", &pair) else { return };
        let lines = format!("ca_file = {:?}\n", pair.certificate);
        let (_, relay) = relay(&folder, &format!("relay-{name}"), hop.port, &lines);
        relay.wait_log(&["deferred", words]);
        assert_eq!(hop.mails(), 0);
        relay.stop();
    }
}

#[test]
fn whoever_is_not_believed_gets_nothing() {
    let folder = Folder::new("out-refused");
    let Some(authority) = Authority::new(folder.path(), "authority") else { return };
    let Some(other) = Authority::new(folder.path(), "other") else { return };
    let selfmade =
        self_signed(folder.path(), "localhost", "subjectAltName=DNS:localhost").expect("openssl is there");
    let good = authority.issue("good", "EC:P-256");
    let wrong_pin = format!("certificate_sha256 = \"{}\"\n", "ab".repeat(32));
    for (name, pair, lines, words) in [
        (
            "name",
            &authority.issue_for("name", "EC:P-256", "DNS:wrong.test", 30),
            ca(&authority),
            "not for localhost but for wrong.test",
        ),
        (
            "expired",
            &authority.issue_for("expired", "EC:P-256", "DNS:localhost", -1),
            ca(&authority),
            "has expired",
        ),
        (
            "unknown",
            &other.issue("unknown", "EC:P-256"),
            ca(&authority),
            "an authority that is not trusted here",
        ),
        ("selfmade", &selfmade, ca(&authority), "is self-signed"),
        ("system", &good, String::new(), "an authority that is not trusted here"),
        ("pin", &good, wrong_pin, "another one than certificate_sha256 says"),
    ] {
        for (way, start) in [("tls", ""), ("smtps", "tls_start = \"immediate\"\n")] {
            let Some(hop) = Hop::new(&folder, &format!("box-{name}-{way}"), way, pair) else { return };
            let (config, relay) =
                relay(&folder, &format!("relay-{name}-{way}"), hop.port, &format!("{lines}{start}"));
            relay.wait_log(&["deferred", "tls=none", words]);
            assert_eq!(hop.mails(), 0);
            let reply = config.wait_queue(1)[0].key("recipients").list()[0].key("reply").text().to_owned();
            assert!(reply.starts_with("451 4.7.5 TLS failed: "), "{reply}");
            assert!(!relay.log().iter().any(|line| line.contains("bounced")));
            relay.stop();
        }
    }
}

/// A hop that speaks in the clear only, and what was said to it.
fn clear_hop(script: fn(&Event) -> Option<Act>) -> (NextHop, Arc<Mutex<Vec<String>>>) {
    let said = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&said);
    let hop = NextHop::scripted(move |_, event| {
        record.lock().unwrap().push(format!("{event:?}"));
        script(event).unwrap_or(Act::Friendly)
    });
    (hop, said)
}

const WITH_STARTTLS: &str = "250-next.test\r\n250-STARTTLS\r\n250 SIZE 100000000";

fn offers(event: &Event, answer: &'static str) -> Option<Act> {
    match event {
        Event::Hello(_) => Some(Act::Say(WITH_STARTTLS)),
        Event::Other(line) if line.eq_ignore_ascii_case("STARTTLS") => Some(Act::Say(answer)),
        _ => None,
    }
}

/// What a hop does, or as a friendly one.
type Script = fn(&Event) -> Option<Act>;

#[test]
fn there_is_no_way_from_verify_or_encrypt_to_the_clear() {
    let folder = Folder::new("out-clear");
    let scripts: [(&str, Script, &str); 5] = [
        ("not-offered", |_| None, "does not offer STARTTLS"),
        ("refused", |event| offers(event, "454 4.7.0 no TLS today"), "the server refused STARTTLS"),
        ("for-good", |event| offers(event, "502 5.5.1 what?"), "the server refused STARTTLS"),
        // What it says next is no handshake.
        ("no-handshake", |event| offers(event, "220 go on"), "TLS failed"),
        ("injected", |event| offers(event, "220 go on\r\n250 injected"), "somebody may tamper"),
    ];
    for (name, script, words) in scripts {
        for strictness in ["verify", "encrypt"] {
            let (hop, said) = clear_hop(script);
            let (config, relay) =
                relay(&folder, &format!("{name}-{strictness}"), hop.port, &format!("tls = {strictness:?}\n"));
            relay.wait_log(&["deferred", "451 4.7.", words]);
            config.wait_queue(1);
            assert!(hop.taken().is_empty());
            let said = said.lock().unwrap().join("\n");
            assert!(!said.contains("Mail(") && !said.contains("Rcpt("), "{name}: {said}");
            relay.stop();
        }
    }
}

#[test]
fn opportunistic_goes_on_without_and_says_so() {
    let folder = Folder::new("out-fallback");
    let scripts: [(&str, Script, bool); 3] = [
        ("not-offered", |_| None, false),
        ("refused", |event| offers(event, "454 4.7.0 no TLS today"), false),
        ("no-handshake", |event| offers(event, "220 go on"), true),
    ];
    for (name, script, is_told) in scripts {
        let (hop, _) = clear_hop(script);
        let (_, relay) = relay(&folder, name, hop.port, "tls = \"opportunistic\"\n");
        relay.wait_log(&["delivered", "tls=none"]);
        assert_eq!(hop.wait(1).len(), 1);
        let told = relay
            .log()
            .iter()
            .any(|line| line.contains("TLS with localhost") && line.contains("going on without"));
        assert_eq!(told, is_told, "{name}");
        assert_eq!(
            hop.connections(),
            1 + usize::from(is_told),
            "{name}: a fresh connection after a handshake that failed"
        );
        relay.stop();
    }
}

#[test]
fn a_message_goes_through_two_relays_by_tls() {
    let folder = Folder::new("out-two");
    let Some(authority) = Authority::new(folder.path(), "authority") else { return };
    let pair = authority.issue("server", "EC:P-384");
    let last = Config::new(folder.path(), "b")
        .maildir("[\"remote.test\"]")
        .set("tls", "certificate_file", &format!("{:?}", pair.certificate))
        .set("tls", "key_file", &format!("{:?}", pair.key));
    let second = last.start();
    let lines = format!("via = \"smarthost\"\nhosts = [\"localhost:{}\"]", second.port);
    let config = Config::new(folder.path(), "a").route(&lines).set(
        "tls",
        "ca_file",
        &format!("{:?}", authority.file()),
    );
    let first = config.start();
    let mut client = Client::hello(first.port);
    let content = support::message::large(3 * 1024 * 1024);
    for user in ["one", "two", "three"] {
        client.deliver("a@client.test", &[&format!("{user}@remote.test")], &content);
    }
    for user in ["one", "two", "three"] {
        let arrived = wait_for("a message", || maildir(&last.mailbox(user)).pop());
        let text = support::message::unix_lines(&content);
        assert!(arrived.ends_with(&text[text.len() - 100_000..]), "{user}");
        assert!(String::from_utf8_lossy(&arrived).contains("with ESMTPS"));
    }
    first.wait_log(&["delivered", "tls=TLSv1.3"]);
    config.wait_queue(0);
    first.stop();
    second.stop();
}

#[test]
fn authorities_that_cannot_be_read_stop_the_start() {
    let folder = Folder::new("out-files");
    let junk = folder.write("junk", "nothing");
    for (name, file, words) in [
        ("relay-junk", junk.as_path(), "no certificate of an authority"),
        ("relay-none", Path::new("/nonexistent"), "can't be read"),
    ] {
        let config = Config::new(folder.path(), name)
            .route(&format!("via = \"smarthost\"\nhosts = [\"x.test:587\"]\nca_file = {file:?}"));
        for command in ["check", "serve"] {
            let output = config.run(&[command], b"");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.code() == Some(78), "{said}");
            assert_eq!(said.matches(words).count(), 1, "{said}");
        }
    }
}

/// What `check --connect` said, and how it ended.
fn walk(config: &Config) -> (String, Option<i32>) {
    let output = config.run(&["check", "--connect"], b"");
    let said = [output.stdout, output.stderr].concat();
    (String::from_utf8_lossy(&said).into_owned(), output.status.code())
}

#[test]
fn check_connect_walks_a_line_a_step_and_sends_nothing() {
    let folder = Folder::new("out-walk");
    let Some(authority) = Authority::new(folder.path(), "authority") else { return };
    let route = |name: &str, port: u16, lines: &str| {
        let lines = format!("via = \"smarthost\"\nhosts = [\"localhost:{port}\"]\n{lines}");
        Config::new(folder.path(), name).route(&lines)
    };
    for (way, steps) in [
        ("tls", &["resolve", "connect", "greeting", "EHLO", "STARTTLS", "TLS", "EHLO", "QUIT"][..]),
        ("smtps", &["resolve", "connect", "TLS", "greeting", "EHLO", "QUIT"]),
    ] {
        let start = if way == "smtps" { "tls_start = \"immediate\"\n" } else { "" };
        let Some(hop) = Hop::new(&folder, &format!("box-{way}"), way, &authority.issue(way, "EC:P-256"))
        else {
            return;
        };
        let (said, code) = walk(&route(&format!("relay-{way}"), hop.port, &(ca(&authority) + start)));
        assert_eq!(code, Some(0), "{said}");
        let mut found =
            said.lines().filter(|line| line.starts_with("  ")).map(|line| line.split_whitespace().next());
        for step in steps {
            assert!(found.any(|name| name == Some(step)), "{step} is missing: {said}");
        }
        assert!(said.contains("TLSv1.3") && said.contains("by authority"), "{said}");
        assert_eq!(hop.mails(), 0);
        let (said, code) = walk(&route(&format!("untrusted-{way}"), hop.port, start));
        assert!(code == Some(69) && said.contains("FAILED: the server's certificate is signed by"), "{said}");
    }
    let (said, code) = walk(&route("closed", free_port(), "tls = \"none\"\n"));
    assert!(code == Some(69) && said.contains("no address answers"), "{said}");
    let (hop, _) = clear_hop(|_| None);
    let (said, code) = walk(&route("clear", hop.port, ""));
    assert!(code == Some(69) && said.contains("does not offer STARTTLS"), "{said}");
    let (said, code) = walk(&route("none", hop.port, "tls = \"none\"\n"));
    assert!(code == Some(0) && said.contains("PIPELINING"), "{said}");
    let secret = folder.write("secret", "x\n");
    std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let (said, code) = walk(&route(
        "login",
        hop.port,
        &format!("tls = \"none\"\nusername = \"me\"\npassword_file = {secret:?}\n"),
    ));
    assert!(code == Some(69) && said.contains("AUTH"), "{said}");
    assert!(hop.taken().is_empty());
}

#[test]
fn routes_in_the_clear_for_a_while_leave_tls_what_it_needs() {
    let folder = Folder::new("out-back");
    let config = |name, tls| {
        Config::new(folder.path(), name)
            .route(&format!("via = \"smarthost\"\nhosts = [\"localhost:1\"]\ntls = {tls:?}"))
    };
    let secure = config("a", "encrypt");
    let relay = secure.start();
    for (number, config) in [config("a", "none"), config("a", "encrypt")].into_iter().enumerate() {
        config.on_port(secure.port).write();
        relay.signal(nix::sys::signal::Signal::SIGHUP);
        let count = || relay.log().iter().filter(|line| line.contains("read again")).count();
        wait_for("a reload", || (count() == number + 1).then_some(()));
    }
    relay.stop();
    let clear = config("b", "none");
    let relay = clear.start();
    config("b", "encrypt").on_port(clear.port).write();
    relay.signal(nix::sys::signal::Signal::SIGHUP);
    relay.wait_log(&["[[route]] tls", "takes a restart"]);
    relay.wait_log(&["the old configuration stays"]);
    relay.stop();
}
