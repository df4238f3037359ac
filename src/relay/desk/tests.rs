//! Answers of the desk, over a relay with a spool of its own.

use super::*;
use crate::relay::bench::{Bench, NOW};
use crate::relay::report::tests::json_value;

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
    bench.relay.line_up_due(NOW);
    let key = bench.relay.queue.entry(bench.relay.queue.find(ids[0]).unwrap()).key;
    let reply = crate::smtp::reply::Reply::new(451, (4, 1), "refused");
    bench.relay.destination_failed(key, "mx.example:25", true, &reply, NOW);
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
