//! The relay seen from outside: its page, its metrics, and a test message that is followed.

mod support;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::thread;
use std::time::Duration;

use support::client::Client;
use support::json::Json;
use support::message::{maildir, message};
use support::next_hop::{Act, Event, NextHop};
use support::relay::Config;
use support::{Folder, PATIENCE, free_port, peers, wait_for};

fn with_metrics(folder: &Folder) -> (Config, u16) {
    let port = free_port();
    let metrics = format!("\"127.0.0.1:{port}\"");
    (Config::new(folder.path(), "a").maildir("[\"local.test\"]").set("run", "metrics", &metrics), port)
}

/// Asks over HTTP; the whole answer.
#[track_caller]
fn get(port: u16, request: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the relay listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.write_all(request.as_bytes()).expect("the relay takes what is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer in UTF-8 and then the end");
    answer
}

const SCRAPE: &str = "GET /metrics HTTP/1.1\r\nHost: relay.test:9025\r\nUser-Agent: Prometheus/2.42.0\r\n\
    Accept: application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
    text/plain;version=0.0.4;q=0.5,*/*;q=0.1\r\nAccept-Encoding: gzip\r\n\
    X-Prometheus-Scrape-Timeout-Seconds: 10\r\n\r\n";

/// Every sample by name and labels, as Prometheus's own parser reads it.
fn samples(text: &str) -> Option<BTreeMap<String, f64>> {
    let script = "import json, sys\n\
        from prometheus_client.parser import text_string_to_metric_families as families\n\
        found = {}\n\
        for family in families(sys.stdin.read()):\n\
        \x20   assert family.documentation and family.type in ('counter', 'gauge'), family\n\
        \x20   for sample in family.samples:\n\
        \x20       found[sample.name + ''.join('/' + label for label in sample.labels.values())] = sample.value\n\
        print(json.dumps(found))\n";
    let python = peers::find("prometheus-python")?;
    let read = peers::succeed(Command::new(python).args(["-c", script]), text.as_bytes());
    let Json::Object(samples) = Json::parse(&read) else { panic!("{read}") };
    Some(samples.iter().map(|(name, value)| (name.clone(), value.number())).collect())
}

#[test]
fn metrics_say_what_status_says() {
    let folder = Folder::new("metrics");
    let (config, port) = with_metrics(&folder);
    let relay = config.start();
    for _ in 0..3 {
        Client::hello(relay.port).deliver("a@client.test", &["b@local.test"], &message("x\r\n"));
    }
    config.wait_queue(0);
    let answer = get(port, SCRAPE);
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("Content-Type: text/plain; version=0.0.4"), "{head}");
    let Some(samples) = samples(body) else { return };
    assert_eq!(samples["pillarbox_messages_accepted_total"], 3.0);
    assert_eq!(samples["pillarbox_recipients_delivered_total"], 3.0);
    assert_eq!(samples["pillarbox_queue_messages/held"], 0.0);
    let status = Json::parse(&config.succeed(&["status", "--json"]));
    let memory = status.key("memory").key("ceiling_bytes").number();
    assert_eq!(samples["pillarbox_memory_ceiling_bytes"], memory);
    assert_eq!(samples["pillarbox_spool_max_bytes"], status.key("spool").key("max_bytes").number());
    assert_eq!(samples["pillarbox_sessions_max"], status.key("sessions").key("max").number());
    assert_eq!(samples["pillarbox_sessions_max"], 32.0, "as many as the configuration says");
    relay.stop();
}

#[test]
fn nothing_else_is_to_be_had_there() {
    let folder = Folder::new("http");
    let (config, port) = with_metrics(&folder);
    let mut relay = config.start();
    for (request, status) in [
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "404"),
        ("GET /../../etc/passwd HTTP/1.1\r\n\r\n", "404"),
        ("POST /metrics HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody", "405"),
        ("EHLO client.test\r\n\r\n", "400"),
        ("remove --all\n\n", "400"),
    ] {
        let answer = get(port, request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request:?}: {answer}");
    }
    // Those who say nothing keep nobody out.
    let silent: Vec<_> = (0..8).map(|_| TcpStream::connect(("127.0.0.1", port))).collect();
    wait_for("an answer among the silent", || get(port, SCRAPE).starts_with("HTTP/1.1 200").then_some(()));
    drop(silent);
    relay.assert_alive();
    relay.stop();
}

#[test]
fn the_page_is_one_screen_wide() {
    let folder = Folder::new("page");
    let reply = "450 4.2.0 this is a long reply that goes on and on, as replies of large providers do, \
        with an address https://example.test/a/very/long/path/that/nobody/ever/reads and more";
    let hop = NextHop::scripted(move |_, event| match event {
        Event::Connected => Act::Say(reply),
        _ => Act::Friendly,
    });
    let config = Config::new(folder.path(), "a").smarthost(&hop.address());
    let relay = config.start();
    Client::hello(relay.port).deliver("a@client.test", &["b@remote.test"], &message("x\r\n"));
    relay.wait_log(&["deferred", "b@remote.test"]);
    let page = config.succeed(&["status"]);
    assert!(page.lines().all(|line| line.chars().count() <= 80), "{page}");
    for words in ["sessions", "ceiling", "1 waiting", "survive", &hop.address(), "back-off", "this is a long"]
    {
        assert!(page.contains(words), "{words}: {page}");
    }
    relay.stop();
}

/// Runs send-test; its exit code and what it printed.
#[track_caller]
fn send_test(config: &Config, address: &str) -> (i32, String) {
    let output = config.run(&["send-test", address], b"");
    let both = [output.stdout, output.stderr].concat();
    (output.status.code().expect("an exit code"), String::from_utf8_lossy(&both).into_owned())
}

#[test]
fn a_test_message_is_followed_to_its_mailbox() {
    let folder = Folder::new("testlocal");
    let config = Config::new(folder.path(), "a").maildir("[\"local.test\"]");
    let relay = config.start();
    let (exit, story) = send_test(&config, "me@local.test");
    assert_eq!(exit, 0, "{story}");
    assert!(story.starts_with("accepted ") && story.ends_with("\ndelivered\n"), "{story}");
    assert!(story.contains("\ndelivered <me@local.test> via maildir "), "{story}");
    let mail = maildir(&config.mailbox("me")).pop().expect("the message");
    assert!(String::from_utf8_lossy(&mail).contains("Subject: Test message from relay.test"));
    relay.stop();
}

#[test]
fn a_test_message_tells_what_the_next_hop_said() {
    let folder = Folder::new("testhop");
    let hop = NextHop::scripted(|_, event| match event {
        Event::Rcpt(path) if path.contains("no@") => Act::Say("550 5.1.1 nobody here"),
        Event::Rcpt(path) if path.contains("later@") => Act::Say("450 4.2.0 not now"),
        Event::Content(_) => {
            thread::sleep(Duration::from_millis(300));
            Act::Friendly
        }
        _ => Act::Friendly,
    });
    let config = Config::new(folder.path(), "a").smarthost(&hop.address());
    let relay = config.start();
    let host = format!("via smarthost {} (without TLS)", hop.address());
    for (to, exit, words) in [
        ("yes@remote.test", 0, "delivered <yes@remote.test>"),
        ("no@remote.test", 69, "\"550 5.1.1 nobody here\"\nrefused"),
        ("later@remote.test", 75, "\"450 4.2.0 not now\"\nwaiting in the queue"),
    ] {
        let (code, story) = send_test(&config, to);
        assert_eq!(code, exit, "{story}");
        assert!(story.contains(words) && story.contains(&host), "{words}: {story}");
    }
    config.wait_queue(1);
    assert!(maildir(&config.mailbox("root")).is_empty(), "nobody else is told");
    relay.stop();
}

#[test]
fn a_test_message_does_not_wait_for_a_resting_destination() {
    let folder = Folder::new("testrest");
    let config = Config::new(folder.path(), "a").smarthost(&format!("127.0.0.1:{}", free_port()));
    let relay = config.start();
    for _ in 0..2 {
        let (code, story) = send_test(&config, "a@remote.test");
        assert_eq!(code, 75, "{story}");
        assert!(story.contains("refused") && story.contains("deferred <a@remote.test>"), "{story}");
    }
    relay.stop();
}

#[test]
fn a_test_message_that_is_not_taken() {
    let folder = Folder::new("testno");
    let config = Config::new(folder.path(), "a").maildir("[\"local.test\"]");
    let (code, story) = send_test(&config, "me@local.test");
    assert_eq!(code, 69, "{story}");
    assert!(story.contains("no relay runs"), "{story}");
    let relay = config.start();
    let (code, story) = send_test(&config, "a@remote.test");
    assert_eq!(code, 69, "{story}");
    assert!(story.contains("550 5.7.1"), "{story}");
    assert_eq!(config.run(&["send-test"], b"").status.code(), Some(64));
    assert_eq!(config.run(&["send-test", "a b@"], b"").status.code(), Some(65));
    relay.stop();
}
