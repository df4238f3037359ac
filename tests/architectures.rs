//! A spool goes from one kind of processor to another: the card is put into another board, the disk into
//! another computer. `make test-boards` names the other program, which may run under emulation.

mod support;

use std::env;
use std::process::Command;

use support::Folder;
use support::client::Client;
use support::json::Json;
use support::message::message;
use support::next_hop::NextHop;
use support::relay::{Config, Relay, program};

/// `serve` by the program that was built for this machine.
fn native(config: &Config) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pillarbox"));
    command.args(["serve", "-c"]).arg(config.write());
    command
}

/// `serve` by the other one.
fn other(config: &Config) -> Command {
    let mut command = program();
    command.args(["serve", "-c"]).arg(config.write());
    command
}

/// What does not change when a queue is carried elsewhere.
fn listed(queue: &[Json]) -> Vec<(String, u64, String)> {
    let text = |entry: &Json, key| entry.key(key).text().to_owned();
    let facts = |entry: &Json| (text(entry, "id"), entry.key("size").number() as u64, text(entry, "state"));
    let mut all: Vec<_> = queue.iter().map(facts).collect();
    all.sort();
    all
}

/// One program accepts and keeps, the other finds all of it and passes it on.
#[track_caller]
fn pass(name: &str, from: fn(&Config) -> Command, to: fn(&Config) -> Command) {
    if env::var_os("PILLARBOX_PROGRAM").is_none() {
        return eprintln!("SKIPPED: PILLARBOX_PROGRAM names no other program; `make test-boards` does");
    }
    let folder = Folder::new(name);
    // A port of nobody: all of it waits.
    let config = Config::new(folder.path(), "a").smarthost("127.0.0.1:1");
    let relay = Relay::start(from(&config), config.port);
    let mut contents = vec![message("small\r\n"), message("8 bits: \u{e4}\u{f6}\r\n".repeat(20))];
    contents.push(message("a line of a large message\r\n".repeat(15_000)));
    for content in &contents {
        Client::hello(relay.port).deliver("a@client.test", &["b@remote.test", "c@remote.test"], content);
    }
    config.succeed(&["queue", "hold", "--all"]);
    let before = listed(&config.wait_queue(contents.len()));
    relay.stop();

    let hop = NextHop::friendly();
    let config = Config::new(folder.path(), "a").smarthost(&hop.address());
    let relay = Relay::start(to(&config), config.port);
    assert_eq!(listed(&config.queue()), before);
    config.succeed(&["queue", "release", "--all"]);
    config.drain();
    let taken = hop.wait(contents.len());
    for content in &contents {
        assert!(taken.iter().any(|taken| taken.content.ends_with(content)), "every octet of each");
    }
    relay.stop();
}

#[test]
fn from_here_to_there() {
    pass("there", native, other);
}

#[test]
fn from_there_to_here() {
    pass("here", other, native);
}
