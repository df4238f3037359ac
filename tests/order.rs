//! Seen from outside by strace: the message is on disk before its 250 is written.

mod support;

use std::collections::BTreeMap;
use std::process::Command;
use std::{fs, path::Path};

use support::Folder;
use support::client::Client;
use support::message::{large, message};
use support::peers::find_in_system;
use support::relay::{Config, Relay};

/// A relay under strace, which writes what matters to `folder/trace`.
fn traced(folder: &Folder, config: &Config) -> Option<Relay> {
    let strace = find_in_system("strace")?;
    let calls = "trace=write,writev,sendto,sendmsg,pwrite64,pwritev,pwritev2,copy_file_range,fsync,fdatasync,\
        sync_file_range,linkat,link";
    let serve = config.command(&["serve"]);
    let mut command = Command::new(strace);
    command.args(["-f", "-y", "-s", "64", "-e", calls, "-e", "signal=none", "-o"]).arg(folder.join("trace"));
    command.arg(serve.get_program()).args(serve.get_args());
    Some(Relay::start(command, config.port))
}

/// The calls in the order in which they ended, one line each: strace splits a call that another
/// thread overlaps into two lines, joined here at the second.
fn calls(trace: &Path) -> Vec<String> {
    let mut begun: BTreeMap<String, String> = BTreeMap::new();
    let mut calls = Vec::new();
    for line in fs::read_to_string(trace).expect("strace's output").lines() {
        let Some((thread, rest)) = line.trim_start().split_once(' ') else { continue };
        if let Some(start) = rest.strip_suffix("<unfinished ...>") {
            begun.insert(thread.to_owned(), start.to_owned());
        } else if rest.trim_start().starts_with("<...") {
            let end = rest.split_once("resumed>").map_or("", |(_, end)| end);
            calls.push(begun.remove(thread).unwrap_or_default() + end);
        } else {
            calls.push(rest.trim_start().to_owned());
        }
    }
    calls
}

fn position(calls: &[String], what: &str, test: impl Fn(&str) -> bool) -> usize {
    calls
        .iter()
        .position(|call| test(call))
        .unwrap_or_else(|| panic!("no {what} in the trace:\n{}", calls.join("\n")))
}

fn last_before(calls: &[String], end: usize, what: &str, test: impl Fn(&str) -> bool) -> usize {
    calls[..end]
        .iter()
        .rposition(|call| test(call))
        .unwrap_or_else(|| panic!("no {what} before the 250:\n{}", calls[..end].join("\n")))
}

/// Sends one message to a relay under strace and ends it; the calls.
fn trace_of(name: &str, content: &[u8]) -> Option<Vec<String>> {
    let folder = Folder::new(name);
    let config = Config::new(folder.path(), "a").smarthost("127.0.0.1:9").set("queue", "retry", "[\"1h\"]");
    let relay = traced(&folder, &config)?;
    let mut client = Client::hello(relay.port);
    let reply = client.deliver("a@client.test", &["b@remote.test"], content);
    assert!(reply.starts_with("250 2.0.0"), "{reply}");
    drop(client);
    // strace writes out what it saw when the relay ends by itself.
    relay.stop();
    Some(calls(&folder.join("trace")))
}

#[test]
fn small_message_is_synced_before_its_250() {
    let Some(calls) = trace_of("order", &message("is it safe?\r\n")) else { return };
    let answer = position(&calls, "250 for the message", |call| call.contains("\"250 2.0.0"));
    let sync = last_before(&calls, answer, "fdatasync of cells", |call| {
        call.starts_with("fdatasync(") && call.contains("/cells>") && call.ends_with("= 0")
    });
    let write = last_before(&calls, answer, "write into cells", |call| {
        call.contains("/cells>") && (call.starts_with("pwrite") || call.starts_with("write"))
    });
    assert!(write < sync, "nothing is written into the cells between the sync and the 250");
    let start = position(&calls, "354", |call| call.contains("\"354 "));
    let syncs = calls[start..answer].iter().filter(|call| call.contains("sync(")).count();
    assert_eq!(syncs, 1, "one message, one sync:\n{}", calls[start..answer].join("\n"));
    assert!(
        !calls[start..answer].iter().any(|call| call.starts_with("link")),
        "a small message makes no file"
    );
}

#[test]
fn large_message_its_name_and_its_folder_are_synced_before_its_250() {
    let Some(calls) = trace_of("orderlarge", &large(600 * 1024)) else { return };
    let answer = position(&calls, "250 for the message", |call| call.contains("\"250 2.0.0"));
    let link = last_before(&calls, answer, "link into large", |call| {
        call.starts_with("link") && call.contains("large") && call.ends_with("= 0")
    });
    let content = last_before(&calls, link, "sync of the content", |call| {
        (call.starts_with("fdatasync(") || call.starts_with("fsync(")) && call.contains("/incoming/")
    });
    let directory = last_before(&calls, answer, "sync of the folder", |call| {
        (call.starts_with("fsync(") || call.starts_with("fdatasync(")) && call.contains("/large>")
    });
    assert!(content < link && link < directory, "content, name, folder, answer: in this order");
}
