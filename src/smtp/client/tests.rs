//! Scripted servers: every reply at every stage, one command at a time and pipelined, in any pieces.

extern crate std;

use std::string::{String, ToString};
use std::vec::Vec;
use std::{format, vec};

use proptest::prelude::*;

use super::{
    Login, Next, Outcome, Output, Protocol, Recipient, Scope, Session, Terms, Transaction, Verdict, Waiting,
};
use crate::smtp::command::{Body, Notify, Ret};
use Verdict::{Deferred, Delivered, Failed};

const PIPELINING: &str = "250-host\r\n250 PIPELINING\r\n";
const PLAIN: &str = "250 host\r\n";
/// No reply at all, but the connection stays.
const SILENCE: &str = "(silence)";

/// A server: what it says to what.
#[derive(Clone)]
struct Script<'a> {
    greeting: &'a str,
    ehlo: &'a str,
    /// A command's start (`.` is the last dot) and the reply; the first that fits is taken, and if
    /// none fits all is well. `""` hangs up.
    replies: &'a [(&'a str, &'a str)],
}

const FINE: Script<'static> = Script { greeting: "220 host\r\n", ehlo: PLAIN, replies: &[] };

impl Script<'_> {
    fn reply(&self, command: &str) -> &str {
        let scripted = self.replies.iter().find(|(start, _)| command.starts_with(start));
        match (scripted, command.get(..4).unwrap_or(command)) {
            (Some((_, reply)), _) => reply,
            (None, "EHLO" | "LHLO") => self.ehlo,
            (None, "DATA") => "354 go\r\n",
            (None, "QUIT") => "221 bye\r\n",
            (None, _) => "250 ok\r\n",
        }
    }
}

/// What the server saw, and what the client made of it.
#[derive(Debug, Default, PartialEq)]
struct Report {
    commands: Vec<String>,
    contents: Vec<String>,
    /// The outcome of every recipient, message by message.
    verdicts: Vec<Vec<Verdict>>,
    replies: Vec<String>,
    destination: bool,
    closed: bool,
}

/// A client and a server with octets on their way between them.
struct Pair<'a> {
    script: &'a Script<'a>,
    session: Session,
    out: Output,
    /// From the client, not yet read by the server.
    wire: Vec<u8>,
    /// From the server, not yet read by the client.
    back: Vec<u8>,
    input: Vec<u8>,
    in_content: bool,
    hung_up: bool,
    /// Octets that move at once.
    size: usize,
    report: Report,
}

impl<'a> Pair<'a> {
    fn new(script: &'a Script<'a>, protocol: Protocol, size: usize) -> Self {
        let back = script.greeting.as_bytes().to_vec();
        Self {
            script,
            session: Session::new(protocol),
            out: Output::new(),
            wire: vec![],
            hung_up: back.is_empty(),
            back,
            input: vec![],
            in_content: false,
            size,
            report: Report::default(),
        }
    }

    /// Moves octets, some of them; false if nothing moved.
    fn exchange(&mut self) -> bool {
        let flushed = self.out.filled().len().min(self.size);
        self.wire.extend_from_slice(&self.out.filled()[..flushed]);
        self.out.consume(flushed);
        self.serve();
        let read = self.back.len().min(self.size);
        self.input.extend(self.back.drain(..read));
        flushed + read > 0
    }

    fn serve(&mut self) {
        while let Some(end) = self.wire.windows(2).position(|two| two == b"\r\n") {
            let line: Vec<u8> = self.wire.drain(..end + 2).collect();
            let line = String::from_utf8(line).expect("text");
            if self.hung_up {
                continue;
            }
            let command = line.trim_end();
            if self.in_content && command != "." {
                self.report.contents.last_mut().expect("content").push_str(&line);
                continue;
            }
            let reply = self.script.reply(command);
            if self.in_content {
                self.in_content = false;
            } else {
                self.report.commands.push(command.to_string());
            }
            if command == "DATA" && reply.starts_with("354") {
                self.in_content = true;
                self.report.contents.push(String::new());
            }
            self.hung_up = reply.is_empty();
            if reply != SILENCE {
                self.back.extend_from_slice(reply.as_bytes());
            }
        }
    }

    /// Runs until the client is ready for a transaction, or over.
    fn run(&mut self, terms: &Terms<'_>, message: &Message<'_>, group: &mut Group) {
        for _ in 0..100_000 {
            let step = self.session.step(terms, &self.input, &mut self.out);
            self.input.drain(..step.consumed);
            match step.next {
                Next::Ready | Next::Closed => return,
                Next::StartTls => panic!("nobody wants TLS"),
                Next::Outcome(outcome) => self.note(outcome, group),
                Next::Recipient(i) => {
                    let path = message.recipients[usize::from(group.first + i)];
                    let notify = Notify::On { success: true, failure: false, delay: true };
                    let recipient = Recipient { forward_path: path, notify, orcpt: "rfc822;x+2By" };
                    self.session.recipient(&recipient, &mut self.out);
                }
                Next::Content if group.sent < message.content.len() => {
                    let end = message.content.len().min(group.sent + self.size);
                    group.sent +=
                        self.session.content(&message.content.as_bytes()[group.sent..end], &mut self.out);
                }
                Next::Content => self.session.content_end(),
                Next::Login => panic!("no login was asked for"),
                Next::Input | Next::Output => {
                    if !self.exchange() {
                        assert!(self.hung_up, "both wait for each other: {:?}", self.session.waiting());
                        if let Some(outcome) = self.session.lost("connection closed") {
                            self.note(outcome, group);
                        }
                    }
                }
            }
        }
        panic!("no end: {:?}", self.session.waiting());
    }

    fn note(&mut self, outcome: Outcome, group: &mut Group) {
        self.report.replies.push(outcome.reply.to_string());
        self.report.destination |= outcome.scope == Scope::Destination;
        let concerned = match outcome.scope {
            Scope::Recipient(i) => {
                let i = usize::from(group.first + i);
                assert_eq!(group.verdicts[i], None, "one outcome each");
                i..i + 1
            }
            Scope::Group | Scope::Destination | Scope::Login => {
                usize::from(group.first)..usize::from(group.end)
            }
        };
        for verdict in group.verdicts[concerned].iter_mut().filter(|verdict| verdict.is_none()) {
            *verdict = Some(outcome.verdict);
        }
    }
}

/// The recipients of a message, and which of them the transaction has.
struct Group {
    first: u16,
    end: u16,
    sent: usize,
    verdicts: Vec<Option<Verdict>>,
}

#[derive(Clone, Copy)]
struct Message<'a> {
    recipients: &'a [&'a str],
    content: &'a str,
}

const MESSAGE: Message<'_> = Message { recipients: &["a@x", "b@x", "c@x"], content: "S: t\r\n\r\n.hi\r\n" };

fn transaction<'a>() -> Transaction<'a> {
    Transaction {
        reverse_path: "s@y",
        octets: 14,
        body: Body::EightBitMime,
        smtputf8: false,
        ret: Some(Ret::Headers),
        envid: "id",
        recipients: 3,
    }
}

/// Sends messages over one connection, as a caller would.
fn deliver(script: &Script<'_>, protocol: Protocol, messages: &[Message<'_>], size: usize) -> Report {
    let terms = Terms { hostname: "me.example", pipelining: true, login: Login::NONE };
    let mut pair = Pair::new(script, protocol, size);
    for message in messages {
        let all = message.recipients.len();
        let mut group = Group { first: 0, end: 0, sent: 0, verdicts: vec![None; all] };
        pair.run(&terms, message, &mut group);
        while usize::from(group.end) < all && pair.session.waiting() == Waiting::Idle {
            let recipients = u16::try_from(all).expect("few") - group.end;
            (group.first, group.sent) = (group.end, 0);
            match pair.session.begin(&Transaction { recipients, ..transaction() }, &mut pair.out) {
                Ok(taken) => group.end += taken,
                Err(outcome) => {
                    group.end += recipients;
                    pair.note(outcome, &mut group);
                }
            }
            pair.run(&terms, message, &mut group);
        }
        // Whoever was never asked is to be tried again.
        let verdicts = group.verdicts.iter().enumerate().map(|(i, verdict)| {
            assert_eq!(verdict.is_some(), i < usize::from(group.end), "everybody gets an outcome");
            verdict.unwrap_or(Deferred)
        });
        pair.report.verdicts.push(verdicts.collect());
    }
    pair.session.quit();
    let mut nobody = Group { first: 0, end: 0, sent: 0, verdicts: vec![] };
    pair.run(&terms, &MESSAGE, &mut nobody);
    pair.report.closed = pair.session.waiting() == Waiting::Closed;
    pair.report
}

fn smtp(script: &Script<'_>) -> Report {
    let report = deliver(script, Protocol::Smtp, &[MESSAGE], usize::MAX / 2);
    for size in [1, 7] {
        let split = deliver(script, Protocol::Smtp, &[MESSAGE], size);
        assert_eq!((&split.verdicts, &split.replies), (&report.verdicts, &report.replies), "size {size}");
    }
    report
}

#[test]
fn a_transaction_goes_step_by_step_or_as_a_group() {
    for ehlo in [PLAIN, PIPELINING] {
        let report = smtp(&Script { ehlo, ..FINE });
        let said = "EHLO me.example,MAIL FROM:<s@y>,RCPT TO:<a@x>,RCPT TO:<b@x>,RCPT TO:<c@x>,DATA,QUIT";
        assert_eq!(report.commands.join(","), said);
        assert_eq!(report.contents, ["S: t\r\n\r\n..hi\r\n"]);
        assert_eq!(report.verdicts, [[Delivered; 3]]);
        assert!(report.closed && !report.destination);
    }
}

#[test]
fn what_is_offered_is_used_and_nothing_else() {
    let ehlo = "250-host\r\n250-SIZE 0\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 DSN\r\n";
    let report = smtp(&Script { ehlo, ..FINE });
    assert_eq!(report.commands[1], "MAIL FROM:<s@y> SIZE=14 BODY=8BITMIME RET=HDRS ENVID=id");
    assert_eq!(report.commands[2], "RCPT TO:<a@x> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;x+2By");
    // Nothing of the first EHLO's reply survives a HELO.
    let ehlo = "500-what\r\n500-DSN\r\n500 SIZE 10\r\n";
    let report = smtp(&Script { ehlo, ..FINE });
    assert_eq!(report.commands[1..3], ["HELO me.example", "MAIL FROM:<s@y>"]);
    assert_eq!(report.verdicts, [[Delivered; 3]]);
}

#[test]
fn pipelining_sends_before_it_hears() {
    let terms = Terms { hostname: "me", pipelining: true, login: Login::NONE };
    for (pipelining, expected) in [(true, "MAIL RCPT RCPT DATA"), (false, "MAIL")] {
        let terms = Terms { pipelining, ..terms };
        let (mut session, mut out) = (Session::new(Protocol::Smtp), Output::new());
        session.step(&terms, b"220 hi\r\n250-host\r\n", &mut out);
        out.clear();
        let step = session.step(&terms, PIPELINING.as_bytes(), &mut out);
        assert!(matches!(step.next, Next::Ready), "{step:?}");
        session.begin(&Transaction { recipients: 2, ..transaction() }, &mut out).unwrap();
        let recipient = Recipient { forward_path: "a@x", notify: Notify::Unsaid, orcpt: "" };
        while let Next::Recipient(_) = session.step(&terms, b"", &mut out).next {
            session.recipient(&recipient, &mut out);
        }
        let text = String::from_utf8(out.filled().to_vec()).unwrap();
        let verbs: Vec<&str> = text.lines().map(|line| &line[..4]).collect();
        assert_eq!(verbs.join(" "), expected);
        assert_eq!(session.waiting(), Waiting::Mail);
    }
}

#[test]
fn a_group_is_bounded_by_the_room() {
    let ehlo = "250-host\r\n250-PIPELINING\r\n250 DSN\r\n";
    let path = format!("{}@x", "a".repeat(120));
    let recipients = vec![path.as_str(); crate::limits::RECIPIENTS];
    let message = Message { recipients: &recipients, ..MESSAGE };
    for size in [50, 5000] {
        let report = deliver(&Script { ehlo, ..FINE }, Protocol::Smtp, &[message], size);
        assert_eq!(report.verdicts, [vec![Delivered; recipients.len()]]);
        assert_eq!(report.commands.len(), recipients.len() + 4);
    }
}

/// Every reply at every stage: a, b and c, whether the destination is out, and whether the next message goes
/// over the same connection.
#[test]
fn every_reply_at_every_stage() {
    const ODD: [&str; 5] = ["354 odd\r\n", "hello\r\n", "250-a\r\n220 b\r\n", "421 bye\r\n", ""];
    let rows: &[(&str, &str, [Verdict; 3], bool)] = &[
        ("MAIL", "450 4.7.1 later\r\n", [Deferred; 3], true),
        ("MAIL", "550 5.7.1 no\r\n", [Failed; 3], true),
        ("RCPT TO:<b@x>", "450 later\r\n", [Delivered, Deferred, Delivered], true),
        ("RCPT TO:<b@x>", "550 no\r\n", [Delivered, Failed, Delivered], true),
        ("RCPT TO:<b@x>", "251 forwarded\r\n", [Delivered; 3], true),
        ("RCPT TO:<b@x>", "452 4.5.3 too many\r\n", [Delivered, Deferred, Delivered], true),
        ("RCPT TO:<b@x>", "552 too many\r\n", [Delivered, Deferred, Delivered], true),
        ("RCPT TO:<b@x>", "552 5.5.3 too many\r\n", [Delivered, Deferred, Delivered], true),
        ("RCPT TO:<b@x>", "552 5.2.2 full\r\n", [Delivered, Failed, Delivered], true),
        ("RCPT TO:<a@x>", "552 not yet too many\r\n", [Failed, Delivered, Delivered], true),
        ("RCPT", "550 no\r\n", [Failed; 3], true),
        ("RCPT", "450 no\r\n", [Deferred; 3], true),
        ("DATA", "451 later\r\n", [Deferred; 3], true),
        ("DATA", "554 no\r\n", [Failed; 3], true),
        ("DATA", "250 ok\r\n", [Deferred; 3], false),
        (".", "451 later\r\n", [Deferred; 3], true),
        (".", "554 spam\r\n", [Failed; 3], true),
        (".", "250-2.0.0\r\n250 2.0.0 ok\r\n", [Delivered; 3], true),
    ];
    let odd = ["EHLO", "MAIL", "RCPT", "DATA", "."].into_iter().flat_map(|stage| {
        let replies = ODD.iter().filter(move |reply| stage != "DATA" || !reply.starts_with('3'));
        replies.map(move |reply| (stage, *reply, [Deferred; 3], false))
    });
    for (stage, reply, verdicts, goes_on) in rows.iter().copied().chain(odd) {
        for ehlo in [PLAIN, PIPELINING] {
            let script = Script { ehlo, replies: &[(stage, reply)], ..FINE };
            let report = smtp(&script);
            assert_eq!(report.verdicts, [verdicts], "{stage} {reply:?} {ehlo:?} {report:?}");
            assert_eq!(report.commands.last().unwrap() == "QUIT", goes_on, "{stage} {reply:?} {report:?}");
            // The second message is treated alike, or finds the connection closed.
            for size in [3, 5000] {
                let two = deliver(&script, Protocol::Smtp, &[MESSAGE, MESSAGE], size);
                assert_eq!(two.verdicts, [verdicts, verdicts], "{stage} {reply:?} {ehlo:?} {two:?}");
            }
        }
    }
}

#[test]
fn a_destination_that_will_not_talk_defers() {
    for (greeting, ehlo, helo) in [
        ("554 go away\r\n", PLAIN, "250 ok\r\n"),
        ("450 not now\r\n", PLAIN, "250 ok\r\n"),
        ("421 not now\r\n", PLAIN, "250 ok\r\n"),
        ("SSH-2.0-OpenSSH\r\n", PLAIN, "250 ok\r\n"),
        ("354 what\r\n", PLAIN, "250 ok\r\n"),
        ("", PLAIN, "250 ok\r\n"),
        ("220 hi\r\n", "450 later\r\n", "250 ok\r\n"),
        ("220 hi\r\n", "502 what\r\n", "550 no\r\n"),
        ("220 hi\r\n", "502 what\r\n", "451 no\r\n"),
        ("220 hi\r\n", "", "250 ok\r\n"),
    ] {
        let report = smtp(&Script { greeting, ehlo, replies: &[("HELO", helo)] });
        assert_eq!(report.verdicts, [[Deferred; 3]], "{greeting:?} {ehlo:?} {helo:?}");
        assert!(report.destination && report.closed);
        assert!(report.commands.iter().all(|command| !command.starts_with("MAIL")));
        assert_eq!(report.replies.len(), 1);
    }
}

#[test]
fn content_for_nobody_is_a_lone_dot() {
    for (replies, reset) in [
        (&[("RCPT", "550 no\r\n")][..], false),
        (&[("RCPT", "550 no\r\n"), (".", "554 no valid recipients\r\n")], false),
        (&[("MAIL", "550 no\r\n"), ("RCPT", "503 no\r\n")], false),
        (&[("MAIL", "550 no\r\n"), ("RCPT", "503 no\r\n"), ("DATA", "503 no\r\n")], true),
    ] {
        let report = smtp(&Script { ehlo: PIPELINING, replies, ..FINE });
        assert_eq!(report.verdicts, [[Failed; 3]]);
        assert!(report.contents.iter().all(String::is_empty), "{report:?}");
        assert_eq!(report.contents.is_empty(), reset);
        assert_eq!(report.commands.contains(&"RSET".to_string()), reset);
        // Without pipelining DATA is not even said.
        let report = smtp(&Script { replies, ..FINE });
        assert!(report.contents.is_empty() && report.verdicts == [[Failed; 3]]);
    }
}

#[test]
fn one_connection_carries_many_messages() {
    let other = Message { recipients: &["d@x"], content: "" };
    let report = deliver(&FINE, Protocol::Smtp, &[MESSAGE, other, MESSAGE], 5000);
    assert_eq!(report.verdicts, [vec![Delivered; 3], vec![Delivered], vec![Delivered; 3]]);
    assert_eq!(report.contents[1], "");
    assert!(!report.commands.contains(&"RSET".to_string()));
    // What ended oddly is reset, a refused MAIL alone is not.
    for (stage, resets) in [("RCPT", 2), ("DATA", 2), ("MAIL", 0), (".", 0)] {
        let report = deliver(
            &Script { replies: &[(stage, "450 later\r\n")], ..FINE },
            Protocol::Smtp,
            &[other, other],
            5000,
        );
        assert_eq!(report.commands.iter().filter(|command| *command == "RSET").count(), resets, "{stage}");
    }
    // A refused RSET costs the connection, and no recipient anything.
    let report = deliver(
        &Script { replies: &[("RSET", "500 what\r\n"), ("DATA", "550 no\r\n")], ..FINE },
        Protocol::Smtp,
        &[other],
        5000,
    );
    assert!(report.verdicts == [[Failed]] && !report.destination && report.closed);
}

#[test]
fn a_limit_on_recipients_takes_more_transactions() {
    for ehlo in
        ["250-host\r\n250 LIMITS RCPTMAX=2\r\n", "250-host\r\n250-PIPELINING\r\n250 LIMITS RCPTMAX=2\r\n"]
    {
        let report = smtp(&Script { ehlo, replies: &[("RCPT TO:<c@x>", "550 no\r\n")], ..FINE });
        assert_eq!(report.verdicts, [[Delivered, Delivered, Failed]]);
        let verbs: Vec<&str> = report.commands.iter().map(|command| &command[..4]).collect();
        assert_eq!(verbs[1..7], ["MAIL", "RCPT", "RCPT", "DATA", "MAIL", "RCPT"]);
    }
}

#[test]
fn what_the_offer_rules_out_is_not_sent() {
    let (terms, mut out) = (Terms { hostname: "me", pipelining: true, login: Login::NONE }, Output::new());
    let mut session = Session::new(Protocol::Smtp);
    session.step(&terms, b"220 hi\r\n", &mut out);
    out.clear();
    session.step(&terms, b"250-host\r\n250-SIZE 1000\r\n250 DSN\r\n", &mut out);
    let refused = [
        (Transaction { smtputf8: true, ..transaction() }, 550, (6, 7)),
        (Transaction { octets: 1001, ..transaction() }, 552, (3, 4)),
    ];
    for (transaction, code, detail) in refused {
        let outcome = session.begin(&transaction, &mut out).unwrap_err();
        assert_eq!((outcome.scope, outcome.verdict), (Scope::Group, Failed));
        assert_eq!((outcome.reply.code(), outcome.reply.detail()), (code, Some(detail)));
        assert!(out.is_empty() && session.waiting() == Waiting::Idle);
    }
    assert!(session.begin(&Transaction { octets: 1000, ..transaction() }, &mut out).is_ok());
}

#[test]
fn lmtp_answers_for_every_recipient() {
    let script =
        Script { replies: &[("RCPT TO:<b@x>", "550 no\r\n"), (".", "250 ok\r\n452 4.2.2 full\r\n")], ..FINE };
    for (ehlo, size) in [(PLAIN, 1), (PLAIN, 5000), (PIPELINING, 1), (PIPELINING, 5000)] {
        let report = deliver(&Script { ehlo, ..script.clone() }, Protocol::Lmtp, &[MESSAGE, MESSAGE], size);
        assert_eq!(report.verdicts, [[Delivered, Failed, Deferred]; 2]);
        assert_eq!(report.commands[0], "LHLO me.example");
    }
    // The first is delivered, then the server is gone.
    let cut = Script { replies: &[(".", "250 ok\r\n421 bye\r\n")], ..FINE };
    assert_eq!(deliver(&cut, Protocol::Lmtp, &[MESSAGE], 9).verdicts, [[Delivered, Deferred, Deferred]]);
    // Nobody accepted, and still 354: no reply follows the dot.
    let nobody = Script { ehlo: PIPELINING, replies: &[("RCPT", "550 no\r\n"), (".", SILENCE)], ..FINE };
    let report = deliver(&nobody, Protocol::Lmtp, &[MESSAGE], 9);
    assert_eq!(report.verdicts, [[Failed; 3]]);
    assert_eq!(report.commands[5..], ["DATA", "RSET", "QUIT"]);
    let refused = Script { ehlo: "500 what\r\n", ..FINE };
    let report = deliver(&refused, Protocol::Lmtp, &[MESSAGE], 9);
    assert!(report.destination && !report.commands.iter().any(|command| command.starts_with("HELO")));
}

/// A session in lock-step that waits for this, all that it said flushed.
fn session_at(waiting: Waiting) -> (Session, Output) {
    let terms = Terms { hostname: "me", pipelining: false, login: Login::NONE };
    let (mut session, mut out) = (Session::new(Protocol::Smtp), Output::new());
    while session.waiting() != waiting {
        match session.step(&terms, b"", &mut out).next {
            Next::Input => {
                let reply = if session.waiting() == Waiting::Data { "354 go\r\n" } else { "250 ok\r\n" };
                session.step(&terms, reply.as_bytes(), &mut out);
            }
            Next::Ready => {
                session.begin(&Transaction { recipients: 1, ..transaction() }, &mut out).map(drop).unwrap();
            }
            Next::Recipient(_) => {
                let recipient = Recipient { forward_path: "a@x", notify: Notify::Unsaid, orcpt: "" };
                session.recipient(&recipient, &mut out);
            }
            Next::Content => {
                session.content_end();
                session.step(&terms, b"", &mut out);
            }
            other => panic!("{other:?}"),
        }
        out.clear();
    }
    (session, out)
}

#[test]
fn a_lost_connection_defers_whom_it_concerns() {
    for (waiting, scope) in [
        (Waiting::Greeting, Some(Scope::Destination)),
        (Waiting::Hello, Some(Scope::Destination)),
        (Waiting::Idle, None),
        (Waiting::Mail, Some(Scope::Group)),
        (Waiting::Recipient, Some(Scope::Group)),
        (Waiting::Data, Some(Scope::Group)),
        (Waiting::Content, Some(Scope::Group)),
        (Waiting::Dot, Some(Scope::Group)),
    ] {
        let (mut session, _) = session_at(waiting);
        assert_eq!(session.waiting(), waiting);
        assert_eq!(waiting.timeout_s().is_none(), waiting == Waiting::Idle);
        let outcome = session.lost("timed out");
        assert_eq!(outcome.as_ref().map(|outcome| outcome.scope), scope, "{waiting:?}");
        assert!(outcome.is_none_or(|outcome| outcome.verdict == Deferred));
        assert_eq!((session.waiting(), session.lost("again")), (Waiting::Closed, None));
    }
}

#[test]
fn a_reply_before_its_time_delivers_nothing() {
    let terms = Terms { hostname: "me", pipelining: false, login: Login::NONE };
    // In the middle of the content.
    let (mut session, mut out) = session_at(Waiting::Content);
    let Next::Outcome(outcome) = session.step(&terms, b"250 ok\r\n", &mut out).next else { panic!() };
    assert_eq!((outcome.scope, outcome.verdict), (Scope::Group, Deferred));
    assert!(matches!(session.step(&terms, b"", &mut out).next, Next::Closed));
    // After it, but before the dot has left.
    let (mut session, mut out) = session_at(Waiting::Content);
    session.content_end();
    let Next::Outcome(outcome) = session.step(&terms, b"250 ok\r\n", &mut out).next else { panic!() };
    assert_eq!((outcome.scope, outcome.verdict), (Scope::Destination, Deferred));
    // To a command that was not said.
    let (mut session, mut out) = session_at(Waiting::Mail);
    let Next::Outcome(outcome) = session.step(&terms, b"250 ok\r\n250 ok\r\n", &mut out).next else {
        panic!()
    };
    assert_eq!((outcome.scope, outcome.verdict), (Scope::Destination, Deferred));
}

#[test]
fn an_idle_server_may_close() {
    let terms = Terms { hostname: "me", pipelining: false, login: Login::NONE };
    for input in ["421 idle too long\r\n", "250 what\r\n", "garbage\r\n"] {
        let (mut session, mut out) = session_at(Waiting::Idle);
        assert!(matches!(session.step(&terms, input.as_bytes(), &mut out).next, Next::Closed));
        assert!(out.is_empty());
    }
}

#[test]
fn a_server_that_wants_to_know_us_first_fails_no_message() {
    for ehlo in [PLAIN, PIPELINING] {
        for stage in ["MAIL", "RCPT TO:<a"] {
            let replies = [(stage, "530 5.7.0 Authentication required\r\n")];
            let report = smtp(&Script { ehlo, replies: &replies, ..FINE });
            assert_eq!(report.verdicts, [[Deferred; 3]], "{stage}");
            assert!(report.destination && report.contents.iter().all(String::is_empty));
        }
    }
}

#[test]
fn given_up_content_has_no_last_dot() {
    let terms = Terms { hostname: "me", pipelining: false, login: Login::NONE };
    for give_up in [Session::abandon, Session::quit] {
        let (mut session, mut out) = session_at(Waiting::Content);
        assert_eq!(session.content(b"half\r\n", &mut out), 6);
        give_up(&mut session);
        assert!(matches!(session.step(&terms, b"", &mut out).next, Next::Closed));
        assert_eq!(out.filled(), b"half\r\n");
    }
}

fn reply() -> impl Strategy<Value = String> {
    let line = "(250|250|250|250|354|354|421|450|550|552|220|2x0|hello)[ -]?(5\\.1\\.1 )?[a-z]{0,3}\r?\n";
    prop_oneof![6 => Just("250 ok\r\n".to_string()), 2 => Just("354 go\r\n".to_string()), 3 => line, 1 => Just(String::new())]
}

/// Who drips octets, or one line of a reply after the other, makes no progress: the deadline stands.
#[test]
fn only_a_whole_reply_is_heard() {
    let terms = Terms { hostname: "me", pipelining: true, login: Login::NONE };
    let (mut session, mut out) = (Session::new(Protocol::Smtp), Output::new());
    let mut heard = |input: &str| {
        let step = session.step(&terms, input.as_bytes(), &mut out);
        (step.consumed, session.replies(), session.waiting())
    };
    assert_eq!(heard("22"), (0, 0, Waiting::Greeting));
    assert_eq!(heard("220-one\r\n"), (9, 0, Waiting::Greeting));
    assert_eq!(heard("220-two\r\n220 th"), (9, 0, Waiting::Greeting));
    assert_eq!(heard("220 three\r\n"), (11, 1, Waiting::Hello));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    /// Any server whatsoever: the client ends, everybody gets one outcome, and who is delivered was answered
    /// 2yz after a dot.
    #[test]
    fn no_server_can_feign_a_delivery(
        replies in prop::collection::vec(reply(), 9), dot in reply(), lmtp in any::<bool>(),
        pipelining in any::<bool>(), size in prop_oneof![1usize..20, Just(5000)],
    ) {
        let stages = ["220", "EHLO", "HELO", "MAIL", "RCPT TO:<a", "RCPT TO:<b", "RCPT TO:<c", "DATA", "RSET"];
        let mut script: Vec<(&str, &str)> = stages.into_iter().zip(replies.iter().map(String::as_str)).collect();
        // LMTP: a reply for every recipient.
        let dots = if lmtp { dot.repeat(3) } else { dot.clone() };
        script.push((".", &dots));
        let ehlo = if pipelining { PIPELINING } else { PLAIN };
        if replies[1].starts_with("250") {
            script[1].1 = ehlo;
        }
        let protocol = if lmtp { Protocol::Lmtp } else { Protocol::Smtp };
        let script = Script { greeting: &replies[0], ehlo, replies: &script };
        // A reply without an end leaves both waiting, which is what timeouts are for.
        let whole = |reply: &&str| reply.is_empty() || reply.lines().last().is_some_and(|line| line.as_bytes().get(3) != Some(&b'-'));
        prop_assume!([replies[0].as_str(), &dot].iter().chain(script.replies.iter().map(|(_, reply)| reply)).all(whole));
        let report = deliver(&script, protocol, &[MESSAGE, MESSAGE], size);
        if report.verdicts.iter().flatten().any(|verdict| *verdict == Delivered) {
            prop_assert!(dot.starts_with('2'), "{:?}", report);
            prop_assert!(report.contents.iter().any(|content| !content.is_empty()));
        }
    }

    #[test]
    fn octets_of_any_kind_never_panic(
        pieces in prop::collection::vec(prop_oneof![
            prop::collection::vec(any::<u8>(), 0..40),
            reply().prop_map(String::into_bytes),
        ], 0..30),
        pipelining in any::<bool>(),
    ) {
        let terms = Terms { hostname: "me", pipelining, login: Login::NONE };
        let (mut session, mut out) = (Session::new(Protocol::Smtp), Output::new());
        let mut input = Vec::new();
        let mut ended = false;
        for piece in pieces {
            input.extend_from_slice(&piece);
            for _ in 0..20 {
                let step = session.step(&terms, &input, &mut out);
                input.drain(..step.consumed);
                match step.next {
                    Next::Ready => drop(session.begin(&Transaction { recipients: 2, ..transaction() }, &mut out)),
                    Next::Recipient(_) => {
                        let recipient = Recipient { forward_path: "a@x", notify: Notify::Never, orcpt: "" };
                        session.recipient(&recipient, &mut out);
                    }
                    Next::Content => {
                        session.content(b"x\r\n", &mut out);
                        session.content_end();
                        ended = true;
                    }
                    Next::Outcome(outcome) => prop_assert!(outcome.verdict != Delivered || ended),
                    Next::Login => panic!("no login was asked for"),
                    Next::StartTls | Next::Input | Next::Output | Next::Closed => {
                        out.clear();
                        break;
                    }
                }
            }
        }
    }
}
