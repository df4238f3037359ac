//! What messages look like under another sender.

extern crate std;

use std::format;
use std::string::String;
use std::vec::Vec;

use proptest::prelude::*;

use super::{FROM_OCTETS, Rewriter, Sender};

const ME: Sender<'_> = Sender { address: "me@x.test", reverse_path: "cam@home" };

fn rewritten(content: &[u8], size: usize) -> Vec<u8> {
    let mut rewriter = Rewriter::default();
    let mut out = Vec::new();
    let mut sink = |octets: &[u8]| -> Result<(), ()> {
        out.extend_from_slice(octets);
        Ok(())
    };
    for piece in content.chunks(size) {
        rewriter.write(&ME, piece, &mut sink).unwrap();
    }
    rewriter.finish(&ME, &mut sink).unwrap();
    assert!(rewriter.is_over());
    out
}

fn text(content: &str) -> String {
    let whole = rewritten(content.as_bytes(), usize::MAX);
    for size in [1, 2, 5] {
        assert_eq!(rewritten(content.as_bytes(), size), whole, "{content:?} by {size}");
    }
    String::from_utf8(whole).expect("text")
}

/// The header section for a value of `From:`, in two parts: up to the field, and behind `X: y`.
fn from(value: &str) -> (String, String) {
    let header = text(&format!("From:{value}\r\nX: y\r\n\r\nFrom: body\r\n"));
    let header = header.strip_suffix("\r\nFrom: body\r\n").expect("the body stays");
    let (before, behind) = header.split_once("\r\nX: y\r\n").expect("other fields stay");
    (before.into(), behind.trim_end().into())
}

#[test]
fn the_address_is_replaced_and_the_name_kept() {
    for (value, name) in [
        (" cam@home", " \"cam@home\""),
        ("cam@home", " \"cam@home\""),
        (" <cam@home>", " \"cam@home\""),
        (" Front Door <cam@home>", " Front Door"),
        ("Front Door<cam@home>", " Front Door"),
        (" \"Door, <front>\" <cam@home>", " \"Door, <front>\""),
        (" =?utf-8?q?T=C3=BCr?= <cam@home>", " =?utf-8?q?T=C3=BCr?="),
        (" T\u{fc}r <cam@home>", " T\u{fc}r"),
        ("\r\n Front\r\n\tDoor\r\n <cam@home>", "\r\n Front\r\n\tDoor"),
        (" Front Door <cam@home>, b@home", " Front Door"),
        (" a@home, B <b@home>", " \"a@home\""),
        (" Doors: Front <a@home>, b@home;", " Front"),
        (" ,, Front <a@home>", " Front"),
        (" Front <@relay:a@home>", " Front"),
        (" cam@[192.0.2.1]", " \"cam@[192.0.2.1]\""),
        (" \"a \\\"b\"@home", " \"\\\"a \\\\\\\"b\\\"@home\""),
        (" (x) <cam@home>", " (x)"),
    ] {
        let expected = format!("From:{name} <me@x.test>");
        assert_eq!(from(value).0, expected, "{value:?}");
        let blank = if value.starts_with([' ', '\r']) { "" } else { " " };
        assert_eq!(from(value).1, format!("Reply-To:{blank}{value}"));
    }
}

#[test]
fn comments_are_names_too() {
    for (value, expected) in [
        (" cam@home (Front Door)", " <me@x.test> (Front Door)"),
        (" <cam@home> (Front, Door)", " <me@x.test> (Front, Door)"),
        (" (Front) cam@home", " (Front) <me@x.test>"),
        (" Front <cam@home> (x)", " Front <me@x.test> (x)"),
    ] {
        assert_eq!(from(value), (format!("From:{expected}"), format!("Reply-To:{value}")));
    }
}

#[test]
fn what_cannot_be_answered_is_kept_but_not_answered() {
    for (value, name) in [
        (" Printer", " Printer"),
        (" My \"own\" Printer", " My \"own\" Printer"),
        (" Printer <>", " Printer"),
        (" Printer <root>", " Printer"),
        (" a@home b", " \"a@home b\""),
        (" \"open <a@home>", " \"\\\"open <a@home>\""),
        (" <a@home", " \"<a@home\""),
        (" <a@home> b", " \"<a@home> b\""),
        (" A <a@home>, root", " A"),
        (" nobody:;", " \"nobody:;\""),
    ] {
        let (field, answer) = from(value);
        assert_eq!(field, format!("From:{name} <me@x.test>\r\nX-Original-From:{value}"));
        assert_eq!(answer, "", "{value:?}");
    }
    assert_eq!(from(""), ("From: \"cam@home\" <me@x.test>".into(), String::new()));
    assert_eq!(from(" \r\n "), ("From: \"cam@home\" <me@x.test>".into(), String::new()));
}

#[test]
fn the_right_author_stays() {
    for value in [" me@x.test", "Me <ME@X.test>", " \"Me\"\r\n <me@x.test> (x)"] {
        assert_eq!(from(value), (format!("From:{value}"), String::new()));
    }
    assert_eq!(from(" me@x.test, a@home").1, "Reply-To: me@x.test, a@home");
}

#[test]
fn long_lines_are_folded_before_the_address() {
    let name = "Front ".repeat(12);
    assert_eq!(from(&format!(" {name}<cam@home>")).0, format!("From: {}\r\n <me@x.test>", name.trim_end()));
    assert_eq!(from(&format!(" {name}\r\n Door <cam@home>")).0, format!("From: {name}\r\n Door <me@x.test>"));
}

#[test]
fn reply_to_stays_wherever_it_stands() {
    for content in [
        "Reply-To: a@b\r\nFrom: cam@home\r\n\r\n",
        "From: cam@home\r\nREPLY-TO : a@b\r\n\r\n",
        "From: cam@home\r\nReply-To:\r\n a@b\r\n\r\n",
    ] {
        let expected = content.replace("From: cam@home", "From: \"cam@home\" <me@x.test>");
        assert_eq!(text(content), expected);
    }
}

#[test]
fn other_senders_are_told_of_and_nothing_more() {
    let rest = "Resent-From: c@d\r\nResent-Sender: e@f\r\nX-Sender: g\r\n\r\nSender: body\r\n";
    assert_eq!(
        text(&format!("Sender: x@home\r\nFrom: a@b\r\n{rest}")),
        format!(
            "X-Original-Sender: x@home\r\nFrom: \"a@b\" <me@x.test>\r\n{}",
            rest.replace("\r\n\r\n", "\r\nReply-To: a@b\r\n\r\n")
        )
    );
    assert_eq!(
        text("FROM: a@b\r\nfrom : c@d\r\n\r\n"),
        "From: \"a@b\" <me@x.test>\r\nX-Original-from : c@d\r\nReply-To: a@b\r\n\r\n"
    );
}

#[test]
fn an_author_that_is_missing_is_added() {
    let added = "From: \"cam@home\" <me@x.test>\r\n";
    for (content, expected) in [
        ("X: y\r\n\r\nbody", format!("X: y\r\n{added}\r\nbody")),
        ("\r\nbody", format!("{added}\r\nbody")),
        ("body text\r\n", format!("{added}\r\nbody text\r\n")),
        ("X: y\r\n", format!("X: y\r\n{added}")),
        ("X: y", format!("X: y\r\n{added}")),
        ("", added.into()),
        // It is there, but the header section breaks off.
        ("From: cam@home", format!("{added}Reply-To: cam@home\r\n")),
        ("From: cam@home\r\n", format!("{added}Reply-To: cam@home\r\n")),
        ("From: cam@home\r\nX", format!("{added}Reply-To: cam@home\r\n\r\nX")),
    ] {
        assert_eq!(text(content), expected, "{content:?}");
    }
}

#[test]
fn an_author_that_is_too_long_gets_a_safe_form() {
    let many = (0..200).map(|n| format!("Door {n} <cam{n}@home>")).collect::<Vec<_>>().join(",\r\n ");
    let (field, answer) = from(&format!(" {many}"));
    assert_eq!(field, format!("From: Door 0 <me@x.test>\r\nX-Original-From: {many}"));
    assert_eq!(answer, "Reply-To: Door 0 <cam0@home>");
    let name = "x".repeat(FROM_OCTETS);
    let (field, answer) = from(&format!(" {name} <cam@home>"));
    assert_eq!(field, format!("From: \"cam@home\" <me@x.test>\r\nX-Original-From: {name} <cam@home>"));
    assert_eq!(answer, "");
    // One that just fits.
    let name = "x".repeat(FROM_OCTETS - " <cam@home>\r\n".len());
    assert_eq!(from(&format!("{name} <cam@home>")).0, format!("From: {name}\r\n <me@x.test>"));
}

/// Octets as they come from devices, with what has a meaning more often than by chance.
fn odd(most: usize) -> impl Strategy<Value = Vec<u8>> {
    let some = prop::sample::select(&b"<>()[]\"\\,;:@. ab=?\t"[..]);
    prop::collection::vec(prop_oneof![any::<u8>(), some], 0..most)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn splits_change_nothing(
        name in prop::sample::select(&["From", "from ", "Sender", "Reply-To", "To"][..]),
        value in odd(80), other in odd(40), size in 1usize..9,
    ) {
        let content = [name.as_bytes(), b":", &value, b"\r\n", &other, b"\r\n\r\nbody"].concat();
        prop_assert_eq!(rewritten(&content, size), rewritten(&content, usize::MAX));
    }

    /// Whatever stood in the field, what is sent has one author, and one octet more than went in
    /// at most what is promised.
    #[test]
    fn there_is_one_author(value in odd(2 * FROM_OCTETS), body in odd(40)) {
        let value: Vec<u8> = value.into_iter().filter(|octet| !b"\r\n".contains(octet)).collect();
        let content = [b"From:", &value[..], b"\r\n\r\n", &body].concat();
        let mut rewriter = Rewriter::default();
        let mut out = Vec::new();
        for octet in &content {
            let before = out.len();
            let sink = &mut |octets: &[u8]| -> Result<(), ()> {
                out.extend_from_slice(octets);
                Ok(())
            };
            rewriter.write(&ME, &[*octet], sink).unwrap();
            prop_assert!(out.len() - before <= Rewriter::GROWTH + Rewriter::RATIO);
        }
        prop_assert!(out.ends_with(&[b"\r\n\r\n", &body[..]].concat()));
        let text = String::from_utf8_lossy(&out).into_owned();
        let lines: Vec<&str> = text.split("\r\n").collect();
        prop_assert_eq!(lines.iter().filter(|line| line.starts_with("From:")).count(), 1);
        prop_assert!(lines.iter().take(2).any(|line| line.contains("<me@x.test>") || line.contains("me@x.test")));
        // Nothing of the value is lost.
        let kept = value.trim_ascii_end();
        prop_assert!(out.windows(kept.len().max(1)).any(|window| window == kept) || kept.is_empty());
    }

    #[test]
    fn a_second_time_changes_little(name in "[a-z]{0,9}", local in "[a-z]{1,9}") {
        let content = format!("From: {name} <{local}@home>\r\n\r\n");
        let once = rewritten(content.as_bytes(), 7);
        prop_assert_eq!(&rewritten(&once, 7), &once);
    }
}
