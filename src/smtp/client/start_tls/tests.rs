//! Tests of TLS in the client's session: what is said before and after, and that nothing gets by.
extern crate std;

use std::string::{String, ToString};
use std::vec::Vec;
use std::{format, vec};

use super::StartTls;
use crate::smtp::client::{Login, Next, Output, Protocol, Scope, Session, Terms, Verdict, Waiting};

const TERMS: Terms<'static> = Terms { hostname: "me.example", pipelining: true, login: Login::NONE };
const OFFERED: &str = "250-host\r\n250-STARTTLS\r\n250 SIZE 10\r\n";

/// What a session said and came to with these pieces of a server, each sent when it waited for more.
fn talk(session: &mut Session, pieces: &[&str]) -> (Vec<String>, String) {
    let (mut out, mut said, mut input) = (Output::new(), Vec::new(), Vec::new());
    let mut pieces = pieces.iter();
    loop {
        let step = session.step(&TERMS, &input, &mut out);
        input.drain(..step.consumed);
        let lines = String::from_utf8(out.filled().to_vec()).unwrap();
        said.extend(lines.lines().map(ToString::to_string));
        out.clear();
        match step.next {
            Next::Input => match pieces.next() {
                Some(piece) => input.extend_from_slice(piece.as_bytes()),
                None => return (said, "waits".into()),
            },
            Next::Output => {}
            Next::Ready => return (said, "ready".into()),
            Next::StartTls => {
                said.push("(TLS)".into());
                session.secured();
            }
            Next::Outcome(outcome) => {
                assert_eq!((outcome.scope, outcome.verdict), (Scope::Destination, Verdict::Deferred));
                return (said, outcome.reply.to_string());
            }
            other => panic!("{other:?}"),
        }
    }
}

fn session(start_tls: StartTls) -> Session {
    Session::new(Protocol::Smtp).with_start_tls(start_tls)
}

#[test]
fn ehlo_is_said_again_and_what_was_offered_is_forgotten() {
    for start_tls in [StartTls::IfOffered, StartTls::Required] {
        let mut session = session(start_tls);
        let pieces = ["220 host\r\n", OFFERED, "220 go\r\n", "250 host\r\n"];
        let (said, end) = talk(&mut session, &pieces);
        assert_eq!(said, ["EHLO me.example", "STARTTLS", "(TLS)", "EHLO me.example"]);
        assert_eq!((end.as_str(), session.offered().size()), ("ready", None));
    }
}

#[test]
fn tls_that_comes_first_needs_no_starttls() {
    let mut session = session(StartTls::Required);
    session.secured();
    let (said, end) = talk(&mut session, &["220 host\r\n", OFFERED]);
    assert_eq!((said, end.as_str()), (vec!["EHLO me.example".to_string()], "ready"));
}

#[test]
fn without_need_nothing_is_asked() {
    let (said, end) = talk(&mut session(StartTls::Never), &["220 host\r\n", OFFERED]);
    assert_eq!((said.len(), end.as_str()), (1, "ready"));
}

#[test]
fn what_is_required_is_not_done_without() {
    for pieces in [
        &["220 host\r\n", "250 host\r\n"][..],
        &["220 host\r\n", "502 what?\r\n", "250 host\r\n"],
        &["220 host\r\n", OFFERED, "454 4.7.0 no key\r\n"],
        &["220 host\r\n", OFFERED, "502 5.5.1 what?\r\n"],
        &["220 host\r\n", OFFERED, "421 4.3.2 bye\r\n"],
    ] {
        let mut required = session(StartTls::Required);
        let (said, end) = talk(&mut required, pieces);
        assert!(
            !said.iter().any(|line| line.starts_with("MAIL")) && end.starts_with('4'),
            "{pieces:?}: {end}"
        );
        assert!(matches!(required.waiting(), Waiting::Quit | Waiting::Closed));
        if !pieces.concat().contains("421") {
            let (_, end) = talk(&mut session(StartTls::IfOffered), pieces);
            assert_eq!(end, "ready", "{pieces:?}");
        }
    }
}

#[test]
fn octets_behind_the_answer_are_never_used() {
    for start_tls in [StartTls::IfOffered, StartTls::Required] {
        for behind in ["2", "250 host\r\n", "\u{16}\u{3}\u{1}"] {
            let mut session = session(start_tls);
            let answer = format!("220 go\r\n{behind}");
            let (said, end) = talk(&mut session, &["220 host\r\n", OFFERED, &answer]);
            assert!(!said.contains(&"(TLS)".to_string()) && end.contains("tamper"), "{end}");
            assert_eq!(session.waiting(), Waiting::Closed);
        }
    }
}

#[test]
fn a_connection_lost_on_the_way_defers_the_destination() {
    let mut session = session(StartTls::Required);
    talk(&mut session, &["220 host\r\n", OFFERED]);
    assert_eq!((session.waiting(), session.waiting().timeout_s()), (Waiting::StartTls, Some(300)));
    assert_eq!(session.lost("timed out").map(|outcome| outcome.scope), Some(Scope::Destination));
}
