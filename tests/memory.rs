//! The resident set: a ceiling, and no growth. One test at a time: they look at `/proc`.

mod support;

use support::client::Client;
use support::json::Json;
use support::message::message;
use support::peers::{self, smtp_source};
use support::relay::Config;
use support::{Folder, amount};

/// KiB that the resident set may move without anything having grown: pages of code that were not
/// touched before, the allocator's bins.
const SLACK_KIB: u64 = 256;

/// The relay says at start how much it takes at most.
#[track_caller]
fn assert_below_ceiling(config: &Config, resident_kib: u64) {
    let status = Json::parse(&config.succeed(&["status", "--json"]));
    let ceiling_kib = status.key("memory").key("ceiling_bytes").number() as u64 / 1024;
    println!("ceiling: {ceiling_kib} KiB");
    assert!(resident_kib <= ceiling_kib, "{resident_kib} KiB resident, {ceiling_kib} KiB promised");
}

#[test]
fn the_ceiling_counts_every_table() {
    // The heap of an idle relay is all tables: with larger ones it grows as much as the ceiling.
    let figures = |name: &'static str, more: &[(&'static str, &str)]| {
        let folder = Folder::new(name);
        let config = Config::new(folder.path(), "a").maildir("[\"local.test\"]");
        let set = |config: Config, (section, value): &(&'static str, &str)| {
            let (key, value) = value.split_once('=').expect("KEY=VALUE");
            config.set(section, key, value)
        };
        let config = more.iter().fold(config, set);
        let relay = config.start();
        let memory = Json::parse(&config.succeed(&["status", "--json"]));
        let figure = |key| memory.key("memory").key(key).number();
        let figures = (figure("heap_bytes"), figure("ceiling_bytes"));
        relay.stop();
        figures
    };
    let (heap, ceiling) = figures("least", &[]);
    let limits = [("limits", "sessions=200"), ("limits", "deliveries=60"), ("spool", "max_messages=20000")];
    let (large_heap, large_ceiling) = figures("tables", &limits);
    let (by_heap, by_ceiling) = (large_heap - heap, large_ceiling - ceiling);
    println!("{by_heap} octets of heap more, {by_ceiling} of ceiling");
    assert!((0.95..=1.05).contains(&(by_ceiling / by_heap)), "heap {by_heap}, ceiling {by_ceiling}");
}

#[test]
fn resident_set_is_the_same_after_many_messages() {
    let folder = Folder::new("grow");
    let config = Config::new(folder.path(), "a")
        .route("via = \"discard\"")
        .set("limits", "sessions", "20")
        .set("limits", "sessions_per_client", "20");
    let mut relay = config.start();
    let (first, all) = (amount(300, 1000), amount(3000, 50_000));
    let send = |messages: usize| {
        let messages = messages.to_string();
        let options =
            ["-d", "-s", "10", "-m", &messages, "-l", "2048", "-f", "a@client.test", "-t", "b@remote.test"];
        smtp_source(config.port, &options).map(|mut source| peers::succeed(&mut source, b""))
    };
    if send(first).is_none() {
        return;
    }
    let before = relay.memory_kib("VmRSS");
    send(all - first);
    let after = relay.memory_kib("VmRSS");
    relay.assert_alive();
    println!("resident: {before} KiB after {first} messages, {after} KiB after {all}");
    assert_below_ceiling(&config, after);
    assert!(after <= before + SLACK_KIB, "{before} KiB after {first} messages, {after} KiB after {all}");
    relay.stop();
}

#[test]
fn hundred_sessions_fit() {
    let folder = Folder::new("hundred");
    let config = Config::new(folder.path(), "a")
        .maildir("[\"local.test\"]")
        .set("limits", "sessions", "100")
        .set("limits", "sessions_per_client", "100");
    let relay = config.start();
    let idle = relay.memory_kib("VmRSS");
    let mut clients: Vec<_> = (0..100).map(|_| Client::hello(relay.port)).collect();
    for client in &mut clients {
        client.expect("MAIL FROM:<a@client.test>", "250");
        client.expect("RCPT TO:<b@local.test>", "250");
        client.expect("DATA", "354");
        client.send(&message("0123456789\r\n".repeat(300)));
    }
    let busy = relay.memory_kib("VmRSS");
    println!("resident: {idle} KiB idle, {busy} KiB with 100 sessions in their content");
    assert_below_ceiling(&config, busy);
    // A debug build has more code pages; what counts is what a session adds.
    assert!(busy <= idle + 100 * 8 + SLACK_KIB, "{idle} KiB idle, {busy} KiB with 100 sessions");
    if !cfg!(debug_assertions) {
        assert!(busy <= 5 * 1024, "100 sessions take {busy} KiB");
    }
    for client in &mut clients {
        client.send(b".\r\n");
    }
    for client in &mut clients {
        assert!(client.reply().starts_with("250"));
    }
    relay.stop();
}
