//! One message stays one message: whatever stands in its content, from whomever it comes, however the
//! next hop reads lines.
//!
//! The real server session takes a body, the real client session passes on what was stored, together
//! with a second message on the same connection. Two readers look at what went over the wire: a
//! strict one, to whom a bare CR, a bare LF or a NUL is an error, and a lenient one, to whom every CR,
//! LF or both ends a line and NULs are nothing, so that it sees an end wherever any server would. Both
//! must find the same two messages.

mod support;

use std::collections::HashSet;

use pillarbox::limits::OUTPUT_OCTETS;
use pillarbox::mail::header::{Rules, Scanner};
use pillarbox::smtp::buffer::Buffer;
use pillarbox::smtp::client;
use pillarbox::smtp::command::{Body, Notify};
use pillarbox::smtp::keyword::Keywords;
use pillarbox::smtp::sasl::Mechanisms;
use pillarbox::smtp::server::{Answer, BareNewline, Next, Question, Role, Session, Terms, Tls};

use support::client::Client;
use support::message::message;
use support::next_hop::NextHop;
use support::relay::Config;
use support::{Folder, amount};

/// What bodies are made of.
const SYMBOLS: [&[u8]; 6] = [b"\r", b"\n", b".", b"\0", b"x", b"\r\n"];

/// Endings that some server has taken for CRLF.CRLF, and their relatives.
const ENDINGS: [&[u8]; 16] = [
    b"\n.\n",
    b"\n.\r",
    b"\n.\r\n",
    b"\r.\n",
    b"\r.\r",
    b"\r.\r\n",
    b"\r\n.\n",
    b"\r\n.\r",
    b"\r\n\0.\r\n",
    b"\r\n.\0\r\n",
    b"\r\r\n.\r\r\n",
    b"\r\n.\r\r\n",
    b"\n\r.\n\r",
    b"\r\0\n.\r\0\n",
    b"\n\n.\n\n",
    b"\r\n.\r\0\n",
];

/// What an attacker wants to be taken for commands.
const SMUGGLED: &[u8] = b"MAIL FROM:<evil@h>\r\nRCPT TO:<v@h>\r\nDATA\r\nFrom: boss@h\r\n\r\nevil\r\n.\r\n";

/// Who sends, and how.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Sender {
    Stranger,
    /// Taken as it is; its lines end in CRLF.
    Tolerated,
    /// The same, with LF.
    ToleratedLf,
    /// Taken as it is, but `bare_newline = "reject"`.
    Rejected,
}

const SENDERS: [Sender; 4] = [Sender::Stranger, Sender::Tolerated, Sender::ToleratedLf, Sender::Rejected];

impl Sender {
    fn terms(self) -> Terms<'static> {
        let tolerant = self != Self::Stranger;
        let bare_newline = if self == Self::Rejected { BareNewline::Reject } else { BareNewline::Normalize };
        Terms {
            hostname: "mx.example",
            message_size: 10_000,
            recipients: 10,
            errors: 100,
            role: Role::Relay,
            trusted: tolerant,
            tolerant,
            bare_newline,
            hidden: Keywords::NONE,
            tls: Tls::NotOffered,
            mechanisms: Mechanisms::NONE,
            plaintext_auth: false,
        }
    }

    fn line_end(self) -> &'static [u8] {
        if self == Self::ToleratedLf { b"\n" } else { b"\r\n" }
    }

    /// Where content in `stream` ends, by the rule as the manual has it.
    fn end(self, stream: &[u8]) -> usize {
        if self != Self::ToleratedLf {
            let whole = [b"\r\n", stream].concat();
            return whole.windows(5).position(|five| five == b"\r\n.\r\n").expect("the true end") + 3;
        }
        let mut end = 0;
        for line in stream.split_inclusive(|octet| *octet == b'\n') {
            end += line.len();
            if matches!(line, b".\n" | b".\r\n") {
                return end;
            }
        }
        panic!("no end in {}", stream.escape_ascii());
    }
}

/// What became of a message at the server.
struct Taken {
    /// Octets up to the end of its content.
    octets: usize,
    /// What was stored, if it was accepted.
    stored: Option<Vec<u8>>,
}

/// A session that has come to where content follows.
fn session(sender: Sender, commands: &[&str]) -> (Session, Buffer<OUTPUT_OCTETS>) {
    let mut session = Session::new();
    let mut out = Buffer::new();
    for command in commands {
        let line = [command.as_bytes(), sender.line_end()].concat();
        let taken = feed(&mut session, sender, &line, &mut out);
        assert!(taken.is_none() && session.cause().is_none(), "{command}");
    }
    (session, out)
}

/// Feeds octets until a message ends.
fn feed(
    session: &mut Session,
    sender: Sender,
    input: &[u8],
    out: &mut Buffer<OUTPUT_OCTETS>,
) -> Option<Taken> {
    let terms = sender.terms();
    let (mut octets, mut scratch, mut stored) = (0, [0; 512], Vec::new());
    let mut scanner = Scanner::new();
    let rules = Rules { drop_return_path: true, ..Rules::default() };
    let mut sink = |octets: &[u8]| -> Result<(), ()> {
        stored.extend_from_slice(octets);
        Ok(())
    };
    loop {
        let step = session.step(&terms, &input[octets..], &mut scratch, out);
        octets += step.consumed;
        match step.next {
            Next::Input => return None,
            Next::Output => out.clear(),
            Next::Content(n) => scanner.write(&rules, &scratch[..n], &mut sink).expect("stored"),
            Next::Ask => {
                let (answer, is_over) = match session.question().expect("a question") {
                    Question::Commit(_) => (Answer::Committed("ID"), Some(true)),
                    Question::Reset(_) => (Answer::Yes, Some(false)),
                    _ => (Answer::Yes, None),
                };
                session.answer(&terms, answer, out);
                if let Some(accepted) = is_over {
                    scanner.finish(&rules, &mut sink).expect("stored");
                    return Some(Taken { octets, stored: accepted.then_some(stored) });
                }
            }
            Next::Close => panic!("closed"),
            other => panic!("{other:?}"),
        }
    }
}

const ENVELOPE: [&str; 3] = ["EHLO box", "MAIL FROM:<a@b>", "RCPT TO:<c@d>"];

fn by_data(sender: Sender, stream: &[u8]) -> Taken {
    let (mut session, mut out) = session(sender, &[&ENVELOPE[..], &["DATA"]].concat());
    feed(&mut session, sender, stream, &mut out).expect("an end")
}

/// In one chunk, or in two cut there.
fn by_bdat(sender: Sender, body: &[u8], cut: Option<usize>) -> Taken {
    let (mut session, mut out) = session(sender, &ENVELOPE);
    let (first, last) = body.split_at(cut.unwrap_or(0));
    let mut stream = Vec::new();
    if cut.is_some() {
        stream.extend(format!("BDAT {}", first.len()).bytes());
        stream.extend([sender.line_end(), first].concat());
    }
    stream.extend(format!("BDAT {} LAST", last.len()).bytes());
    stream.extend([sender.line_end(), last].concat());
    let before = stream.len();
    stream.extend(SMUGGLED);
    let taken = feed(&mut session, sender, &stream, &mut out).expect("an end");
    // A refusal can come before the last octet, but nothing behind the chunks is content.
    assert!(taken.octets <= before, "{sender:?} {}", body.escape_ascii());
    taken
}

/// What the client session sends to pass on two messages over one connection.
fn passed_on(contents: [&[u8]; 2]) -> Vec<u8> {
    let terms = client::Terms { hostname: "mx.example", pipelining: true, login: client::Login::NONE };
    let mut session = client::Session::new(client::Protocol::Smtp);
    let (mut out, mut input, mut wire) = (client::Output::new(), Vec::new(), Vec::new());
    let (mut waiting, mut content): (_, &[u8]) = (contents.iter(), b"");
    loop {
        let step = session.step(&terms, &input, &mut out);
        input.drain(..step.consumed);
        wire.extend(out.filled());
        out.clear();
        match step.next {
            client::Next::Login => unreachable!("no login was asked for"),
            client::Next::Closed => return wire,
            client::Next::Outcome(_) | client::Next::Output => {}
            client::Next::Input => input.extend(match session.waiting() {
                client::Waiting::Greeting => &b"220 next\r\n"[..],
                client::Waiting::Hello => b"250-next\r\n250 PIPELINING\r\n",
                client::Waiting::Data => b"354 go\r\n",
                client::Waiting::Quit => b"221 bye\r\n",
                _ => b"250 ok\r\n",
            }),
            client::Next::Ready => match waiting.next() {
                None => session.quit(),
                Some(next) => {
                    content = next;
                    let transaction = client::Transaction {
                        reverse_path: "a@b",
                        octets: content.len() as u64,
                        body: Body::Unsaid,
                        smtputf8: false,
                        ret: None,
                        envid: "",
                        recipients: 1,
                    };
                    assert!(session.begin(&transaction, &mut out).is_ok(), "a plain transaction");
                }
            },
            client::Next::Recipient(_) => session.recipient(
                &client::Recipient { forward_path: "c@d", notify: Notify::Unsaid, orcpt: "" },
                &mut out,
            ),
            client::Next::Content if content.is_empty() => session.content_end(),
            client::Next::Content => content = &content[session.content(content, &mut out)..],
            #[allow(unreachable_patterns, reason = "what was not offered does not come")]
            other => panic!("{other:?}"),
        }
    }
}

/// The contents that a server which reads lines so finds in `wire`; anything but the commands of
/// these messages is a failure.
fn found(wire: &[u8], line: fn(&[u8]) -> (Vec<u8>, usize)) -> Vec<Vec<u8>> {
    let (mut contents, mut rest): (Vec<Vec<u8>>, _) = (Vec::new(), wire);
    let mut next = || -> Option<Vec<u8>> {
        let (text, octets) = if rest.is_empty() { return None } else { line(rest) };
        rest = &rest[octets..];
        Some(text)
    };
    while let Some(command) = next() {
        match &command[..] {
            b"EHLO mx.example" | b"MAIL FROM:<a@b>" | b"RCPT TO:<c@d>" | b"QUIT" => {}
            b"DATA" => {
                let mut content = Vec::new();
                loop {
                    let text = next().expect("an end of content");
                    if text == b"." {
                        break;
                    }
                    content.extend_from_slice(text.strip_prefix(b".").unwrap_or(&text));
                    content.extend(b"\r\n");
                }
                contents.push(content);
            }
            smuggled => panic!("{:?} in {:?}", smuggled.escape_ascii(), wire.escape_ascii()),
        }
    }
    contents
}

fn strict(rest: &[u8]) -> (Vec<u8>, usize) {
    let end = rest.windows(2).position(|two| two == b"\r\n").expect("a line");
    let text = &rest[..end];
    assert!(!text.iter().any(|octet| matches!(octet, b'\r' | b'\n' | 0)), "{}", text.escape_ascii());
    (text.to_vec(), end + 2)
}

fn lenient(rest: &[u8]) -> (Vec<u8>, usize) {
    let end = rest.iter().position(|octet| matches!(octet, b'\r' | b'\n')).unwrap_or(rest.len());
    let text = rest[..end].iter().copied().filter(|octet| *octet != 0).collect();
    let octets = if rest[end..].starts_with(b"\r\n") { 2 } else { rest.len().min(end + 1) - end };
    (text, end + octets)
}

fn check_passed_on(stored: &[u8]) {
    let second = b"Subject: second\r\n\r\n.\r\n";
    let wire = passed_on([stored, second]);
    let expected = [stored, second];
    assert_eq!(found(&wire, strict), expected, "strict: {}", stored.escape_ascii());
    assert_eq!(found(&wire, lenient), expected, "lenient: {}", stored.escape_ascii());
}

/// All bodies of so many symbols.
fn bodies(length: usize) -> impl Iterator<Item = Vec<u8>> {
    (0..SYMBOLS.len().pow(length as u32)).map(move |number| {
        let symbol = |place: usize| SYMBOLS[number / SYMBOLS.len().pow(place as u32) % SYMBOLS.len()];
        (0..length).flat_map(symbol).copied().collect()
    })
}

/// Sends a body in every way; what was stored is added to `stored`.
fn check_body(body: &[u8], stored: &mut HashSet<Vec<u8>>) {
    for sender in SENDERS {
        let stream = [body, SMUGGLED].concat();
        let taken = by_data(sender, &stream);
        assert_eq!(taken.octets, sender.end(&stream), "{sender:?} {}", body.escape_ascii());
        stored.extend(taken.stored);
        stored.extend(by_bdat(sender, body, None).stored);
        if body.len() < 5 {
            for cut in 0..=body.len() {
                stored.extend(by_bdat(sender, body, Some(cut)).stored);
            }
        }
    }
}

#[test]
fn every_short_body_stays_one_message() {
    let mut stored = HashSet::new();
    for length in 0..=amount(5, 6) {
        bodies(length).for_each(|body| check_body(&body, &mut stored));
    }
    assert!(stored.len() > 300, "{} different contents", stored.len());
    stored.iter().for_each(|stored| check_passed_on(stored));
}

#[test]
fn the_known_endings_end_nothing() {
    let mut stored = HashSet::new();
    for ending in ENDINGS {
        for before in [&b""[..], b"x", b"Subject: x\r\n\r\nx", b"x\r\n", b"x\n"] {
            let body = [before, ending].concat();
            check_body(&body, &mut stored);
            let stream = [&body[..], SMUGGLED].concat();
            let taken = by_data(Sender::Stranger, &stream);
            assert_eq!(taken.octets, stream.len(), "{}", body.escape_ascii());
        }
    }
    stored.iter().for_each(|stored| check_passed_on(stored));
}

/// The readers would see what they are there for.
#[test]
fn the_readers_tell_an_end() {
    let wire = b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nx\n.\nQUIT\r\n.\r\n";
    assert!(std::panic::catch_unwind(|| found(wire, lenient)).is_err(), "a lone dot is a command");
    assert!(std::panic::catch_unwind(|| found(wire, strict)).is_err(), "a bare LF is an error");
}

/// Through the program itself, to a next hop whose lines end in LF.
#[test]
fn the_known_endings_through_the_program() {
    let folder = Folder::new("smuggling");
    let hop = NextHop::friendly();
    let trusted = Config::new(folder.path(), "trusted").smarthost(&hop.address());
    let strange =
        Config::new(folder.path(), "strange").strangers().set("", "local_domains", "[\"remote.test\"]");
    let strange = strange.route(&support::relay::smarthost("", &hop.address()));
    let mut expected = 0;
    for (config, is_trusted) in [(trusted, true), (strange, false)] {
        let relay = config.start();
        for ending in ENDINGS {
            let mut client = Client::hello(relay.port);
            client.expect("MAIL FROM:<a@client.test>", "250");
            client.expect("RCPT TO:<b@remote.test>", "250");
            client.expect("DATA", "354");
            client.send(&[&message("first\r\n")[..], b"x", ending, SMUGGLED].concat());
            let reply = client.reply();
            let taken = is_trusted && !ending.contains(&0);
            assert_eq!(reply.starts_with("250"), taken, "{}: {reply}", ending.escape_ascii());
            expected += usize::from(taken);
            client.expect("NOOP", "250");
        }
        let all = hop.wait(expected);
        assert_eq!(all.len(), expected);
        assert!(all.iter().all(|taken| taken.from.contains("a@client.test")));
        relay.stop();
    }
    assert_eq!(hop.taken().len(), expected, "nothing came behind");
}
