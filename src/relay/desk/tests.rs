//! Answers of the desk, over a relay with a spool of its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::*;
use crate::config::Config;
use crate::relay::report::tests::json_value;
use crate::smtp::command::Notify;
use crate::spool::{Origin, RealDisk, StagingIndex};

const NOW: Now = Now { mono_ms: 1_000, unix_s: sys::RELEASE_DATE_UNIX_S + 100 };

/// A relay over a spool of its own, which goes with it.
struct Bench {
    relay: Relay,
    folder: PathBuf,
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn open(folder: &Path) -> Relay {
    let mut config = Config::default_without_file("box.example", folder);
    config.spool.cells_size = 1024 * 1024;
    let disk = RealDisk::open(&config.spool.directory, true).unwrap();
    Relay::open(Arc::new(config), 1, disk, NOW).unwrap()
}

impl Bench {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("pillarbox-desk-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        Self { relay: open(&folder), folder }
    }

    /// The same spool after the relay was killed.
    fn killed(mut self) -> Self {
        let folder = std::mem::take(&mut self.folder);
        drop(self);
        Self { relay: open(&folder), folder }
    }

    /// Puts a message into the queue.
    fn message(&mut self, from: &str, recipients: u16, content: &[u8]) -> Id {
        let (store, staging) = (&mut self.relay.store, StagingIndex(0));
        let origin = Origin { reverse_path: from, client: "192.0.2.1", ..Origin::default() };
        let id = store.begin(staging, &origin, NOW.unix_s).unwrap();
        for n in 0..recipients {
            store.recipient(staging, &format!("user{n}@box.example"), Notify::Unsaid, "").unwrap();
        }
        store.write(staging, content).unwrap();
        store.commit(staging, NOW.unix_s);
        store.start_batch();
        loop {
            if let Some((_, verdict)) = self.relay.committed(NOW) {
                assert!(matches!(verdict, crate::relay::Verdict::Accepted(_)), "{verdict:?}");
                return id;
            }
        }
    }

    /// The whole answer to a request line.
    fn answer(&mut self, line: &str) -> String {
        let request = Request::parse(line.as_bytes()).expect("a request");
        let (mut out, mut answer) = (Output::new(), Vec::new());
        let mut answering = self.relay.ask(&request, &mut out, NOW);
        for _ in 0..100_000 {
            answer.extend_from_slice(out.filled());
            out.clear();
            if matches!(answering, Answering::Over) {
                return String::from_utf8(answer).unwrap();
            }
            if answering.is_waiting() {
                self.relay.start_batch(0);
                while self.relay.committed(NOW).is_some() {}
            }
            answering = self.relay.tell(answering, &Figures::default(), &mut out, NOW);
        }
        panic!("no end of the answer to {line}");
    }
}

#[test]
fn an_empty_queue_says_so() {
    let mut bench = Bench::new("empty");
    assert_eq!(bench.answer("list"), "ok\nthe queue is empty\n");
    assert_eq!(bench.answer("list --json"), "ok\n");
    assert_eq!(bench.answer("hold --all"), "ok\n0 messages held\n");
}

#[test]
fn a_message_with_many_recipients_is_listed_whole() {
    let mut bench = Bench::new("many");
    let path = format!("{}@b.example", "x".repeat(100));
    for _ in 0..3 {
        bench.message(&path, 256, b"hello");
    }
    let json = bench.answer("list --json");
    let lines: Vec<&str> = json.strip_prefix("ok\n").unwrap().lines().collect();
    assert_eq!(lines.len(), 3);
    for line in lines {
        assert_eq!(json_value(line), Some(""), "{line}");
        assert_eq!(line.matches("\"to\":").count(), 256);
        assert!(line.contains("user0@box.example") && line.contains("user255@box.example"));
    }
    // Wherever a piece ends, also right behind a message's own line.
    for n in 1..60 {
        bench.message(&format!("{}@b.example", "x".repeat(n)), 1, b"hello");
    }
    let json = bench.answer("list --json");
    for line in json.strip_prefix("ok\n").unwrap().lines() {
        assert_eq!(json_value(line), Some(""), "{line}");
    }
    assert_eq!(bench.answer("remove --all"), "ok\n62 messages removed\n");
    (0..3).for_each(|_| assert_ne!(bench.message(&path, 256, b"hello"), Id::default()));
    let text = bench.answer("list");
    assert_eq!(text.matches("via maildir\n").count(), 3 * 256);
    assert!(text.ends_with("3 messages\n"));
}

#[test]
fn a_message_that_goes_while_it_is_listed_leaves_valid_json() {
    let mut bench = Bench::new("gone");
    let id = bench.message("a@b.example", 256, b"hello");
    let mut out = Output::new();
    let mut answering = bench.relay.ask(&Request::List { json: true }, &mut out, NOW);
    out.clear();
    answering = bench.relay.tell(answering, &Figures::default(), &mut out, NOW);
    let mut json = out.filled().to_vec();
    assert!(!json.ends_with(b"\n"), "the list has to be under way");
    bench.answer(&format!("remove {id}"));
    let other = bench.message("c@d.example", 1, b"other");
    while !matches!(answering, Answering::Over) {
        out.clear();
        answering = bench.relay.tell(answering, &Figures::default(), &mut out, NOW);
        json.extend_from_slice(out.filled());
    }
    let json = String::from_utf8(json).unwrap();
    assert!(json.lines().all(|line| json_value(line) == Some("")), "{json}");
    assert!(!json.lines().next().unwrap().contains(&other.to_string()));
}

#[test]
fn show_gives_the_envelope_and_then_the_content_octet_for_octet() {
    let mut bench = Bench::new("show");
    let content = "Subject: x\r\n\r\n".to_owned() + &"line\r\n".repeat(10_000);
    let id = bench.message("a@b.example", 2, content.as_bytes());
    let shown = bench.answer(&format!("show {id}"));
    assert!(shown.starts_with(&format!("ok\nid {id}\n")), "{shown:.80}");
    let (envelope, rest) = shown.split_once("\n\n").unwrap();
    assert_eq!(rest, content);
    assert!(envelope.contains("\nfrom <a@b.example>\nclient 192.0.2.1\n"), "{envelope}");
    assert!(envelope.ends_with("\nto <user1@box.example> pending via maildir"), "{envelope}");
    assert!(bench.answer("show 0000000000-0000").starts_with("error 65 "));
}

#[test]
fn held_and_removed_is_known_after_a_kill() {
    let mut bench = Bench::new("hold");
    let ids: Vec<Id> = (0..4).map(|_| bench.message("a@b.example", 1, b"x")).collect();
    assert_eq!(bench.answer(&format!("hold {}", ids[0])), "ok\n1 message held\n");
    assert_eq!(bench.answer(&format!("hold {}", ids[1])), "ok\n1 message held\n");
    assert_eq!(bench.answer(&format!("remove {}", ids[2])), "ok\n1 message removed\n");
    assert_eq!(bench.answer(&format!("release {}", ids[1])), "ok\n1 message released\n");
    assert!(bench.answer(&format!("release {}", ids[1])).starts_with("error 65 "));
    assert!(bench.answer(&format!("retry {}", ids[0])).starts_with("error 65 "));
    let mut bench = bench.killed();
    let states = |bench: &mut Bench| {
        let json = bench.answer("list --json");
        let held = json.lines().filter(|line| line.contains("\"state\":\"held\"")).count();
        (held, json.lines().filter(|line| line.contains("\"state\":\"waiting\"")).count(), json)
    };
    let (held, waiting, json) = states(&mut bench);
    assert_eq!((held, waiting), (1, 2), "{json}");
    assert!(!json.contains(&ids[2].to_string()));
    assert_eq!(bench.answer("retry --all"), "ok\n2 messages due now\n");
    assert_eq!(bench.answer("hold --all"), "ok\n3 messages held\n");
    assert_eq!(bench.answer("release --all"), "ok\n3 messages released\n");
    assert_eq!(bench.answer("remove --all"), "ok\n3 messages removed\n");
    assert_eq!(bench.killed().answer("list"), "ok\nthe queue is empty\n");
}

#[test]
fn a_message_in_a_line_steps_out_of_it_and_a_back_off_ends() {
    let mut bench = Bench::new("line");
    let ids: Vec<Id> = (0..3).map(|_| bench.message("a@b.example", 1, b"x")).collect();
    let mut key = None;
    for id in &ids {
        let Relay { queue, destinations, .. } = &mut bench.relay;
        let at = queue.find(*id).unwrap();
        let slot = destinations.open(queue.entry(at).key, 0).unwrap();
        key = Some(queue.entry(at).key);
        destinations.line_up(queue, slot, at);
    }
    let reply = crate::smtp::reply::Reply::new(451, (4, 1), "refused");
    bench.relay.destination_failed(key.unwrap(), "mx.example:25", true, &reply, NOW);
    assert!(!bench.answer("list --json").contains("\"next_try_s\":0"));
    assert!(bench.answer("status --json").contains("\"state\":\"back-off\""));
    assert_eq!(bench.answer(&format!("hold {}", ids[1])), "ok\n1 message held\n");
    assert_eq!(bench.answer(&format!("remove {}", ids[0])), "ok\n1 message removed\n");
    assert_eq!(bench.answer(&format!("retry {}", ids[2])), "ok\n1 message due now\n");
    assert!(!bench.answer("status --json").contains("\"state\":\"back-off\""));
    let json = bench.answer("list --json");
    assert_eq!(json.matches("\"next_try_s\":0").count(), 1, "{json}");
    assert_eq!(json.matches("\"state\":\"held\"").count(), 1, "{json}");
}

#[test]
fn of_a_message_on_its_way_the_end_is_decided_and_known_after_a_kill() {
    let mut bench = Bench::new("way");
    let ids: Vec<Id> = (0..2).map(|_| bench.message("a@b.example", 1, b"x")).collect();
    for id in &ids {
        let at = bench.relay.queue.find(*id).unwrap();
        let place = bench.relay.queue.entry(at).place;
        let status = bench.relay.store.reader().status(place).unwrap();
        bench.relay.queue.start(at);
        assert!(bench.relay.rounds.start(at, *id, place, 1, status).is_some());
    }
    assert!(bench.answer(&format!("release {}", ids[0])).starts_with("error 65 "));
    assert_eq!(bench.answer(&format!("hold {}", ids[0])), "ok\n1 message held\n");
    assert_eq!(bench.answer(&format!("remove {}", ids[1])), "ok\n1 message removed\n");
    assert!(bench.answer(&format!("hold {}", ids[1])).starts_with("error 65 "));
    let json = bench.answer("list --json");
    assert_eq!(json.matches("\"state\":\"delivering\"").count(), 2, "the attempt is waited for");
    let json = bench.killed().answer("list --json");
    assert!(json.contains(&ids[0].to_string()) && json.contains("\"state\":\"held\""), "{json}");
    assert!(!json.contains(&ids[1].to_string()), "{json}");
}

#[test]
fn the_status_is_one_json_object() {
    let mut bench = Bench::new("status");
    bench.message("a@b.example", 1, b"x");
    (0..20).for_each(|n| bench.relay.recent.note(format_args!("\"error\" {n}\n"), n));
    let json = bench.answer("status --json");
    assert_eq!(json_value(json.strip_prefix("ok\n").unwrap()), Some("\n"), "{json}");
    assert!(json.contains("\"messages\":1,"), "{json}");
    assert_eq!(json.matches("\"at\":").count(), crate::relay::recent::ERRORS);
    assert!(bench.answer("status").contains("1 accepted"));
}
