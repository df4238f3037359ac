//! The session as a whole: the table of the manual, questions, failures, arbitrary octets.
extern crate std;

use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use proptest::prelude::*;

use super::{Answer, BareNewline, Cause, Habits, Next, Question, Role, Session, Terms, Tls, Waiting};
use crate::limits::OUTPUT_OCTETS;
use crate::smtp::buffer::Buffer;
use crate::smtp::keyword::{Keyword, Keywords};
use crate::smtp::reply::Reply;
use crate::smtp::sasl::exchange::Request;
use crate::smtp::sasl::{Mechanism, Mechanisms};

const STRANGER: Terms<'static> = Terms {
    hostname: "mx.example",
    message_size: 1000,
    recipients: 3,
    errors: 1000,
    role: Role::Relay,
    trusted: false,
    tolerant: false,
    bare_newline: BareNewline::Normalize,
    hidden: Keywords::NONE,
    tls: Tls::NotOffered,
    mechanisms: Mechanisms::NONE,
    plaintext_auth: true,
};

/// A session with a store and a policy that say yes to everything, and note what they were asked.
struct Peer<'a> {
    terms: Terms<'a>,
    session: Session,
    out: Buffer<OUTPUT_OCTETS>,
    said: Vec<u8>,
    /// Content of the open transaction, and of those committed.
    pending: Vec<u8>,
    stored: Vec<u8>,
    asked: Vec<&'static str>,
    refuse: fn(&Question<'_>) -> Option<Reply>,
    closed: bool,
}

impl<'a> Peer<'a> {
    fn new(terms: Terms<'a>) -> Self {
        Self {
            terms,
            session: Session::new(),
            out: Buffer::new(),
            said: Vec::new(),
            pending: Vec::new(),
            stored: Vec::new(),
            asked: Vec::new(),
            refuse: |_| None,
            closed: false,
        }
    }

    /// Feeds `input` in pieces of `piece` octets; what is left over waits for the next piece.
    fn feed_pieces(&mut self, input: &[u8], piece: usize) -> &mut Self {
        let (mut start, mut filled) = (0, 0);
        while filled < input.len() && !self.closed {
            filled = (filled + piece).min(input.len());
            start += self.feed_some(&input[start..filled]);
        }
        self
    }

    fn feed_some(&mut self, input: &[u8]) -> usize {
        let mut scratch = [0; 64];
        let mut consumed = 0;
        loop {
            let step = self.session.step(&self.terms, &input[consumed..], &mut scratch, &mut self.out);
            consumed += step.consumed;
            match step.next {
                Next::Input => break,
                Next::Output => self.flush(),
                Next::Ask => self.decide(),
                Next::Content(n) => self.pending.extend(&scratch[..n]),
                Next::StartTls => {
                    self.session.secured();
                    self.terms.tls = Tls::Active;
                }
                Next::Close => {
                    self.closed = true;
                    break;
                }
            }
        }
        self.flush();
        consumed
    }

    fn feed(&mut self, input: &[u8]) -> &mut Self {
        self.feed_pieces(input, input.len())
    }

    fn flush(&mut self) {
        self.said.extend(self.out.filled());
        self.out.clear();
    }

    fn decide(&mut self) {
        let question = self.session.question().expect("Ask comes with a question");
        assert_eq!(self.session.waiting(), Waiting::Answer);
        let (name, yes) = match question {
            Question::Begin(_) => ("Begin", Answer::Yes),
            Question::Recipient(..) => ("Recipient", Answer::Yes),
            Question::Content(_) => ("Content", Answer::Yes),
            Question::Commit(_) => ("Commit", Answer::Committed("ID")),
            Question::Reset(_) => ("Reset", Answer::Yes),
            Question::StartTls => ("StartTls", Answer::Yes),
            Question::Auth(Request::CramChallenge) => ("Auth", Answer::Challenge(b"<1.2@mx.example>")),
            Question::Auth(Request::ScramFirst(_)) => ("Auth", Answer::Challenge(b"r=abcdef,s=QQ==,i=4096")),
            Question::Auth(Request::ScramFinal(_)) => ("Auth", Answer::Challenge(b"v=x")),
            Question::Auth(_) => ("Auth", Answer::Yes),
        };
        match question {
            Question::Begin(_) | Question::Reset(_) => self.pending.clear(),
            Question::Commit(_) => self.stored.append(&mut self.pending),
            Question::Recipient(..) | Question::Content(_) | Question::StartTls | Question::Auth(_) => {}
        }
        self.asked.push(name);
        let answer = (self.refuse)(&question).map_or(yes, Answer::Refused);
        self.session.answer(&self.terms, answer, &mut self.out);
    }

    /// Forgets what was said and asked so far.
    fn forget(&mut self) -> &mut Self {
        self.said.clear();
        self.asked.clear();
        self
    }

    fn said(&self) -> &str {
        str::from_utf8(&self.said).unwrap()
    }

    /// Codes of the replies, `250 2.1.0`, without their texts; one for a multi-line reply.
    fn codes(&self) -> Vec<String> {
        let last_lines = self.said().lines().filter(|line| line.as_bytes().get(3) == Some(&b' '));
        last_lines
            .map(|line| {
                let words: Vec<&str> = line.split(' ').take(2).collect();
                let enhanced = words[1].split('.').count() == 3 && words[1].starts_with(&line[..1]);
                if enhanced { words.join(" ") } else { words[0].to_string() }
            })
            .collect()
    }
}

const EHLO: &str = "EHLO box.example\r\n";
const MAIL: &str = "MAIL FROM:<a@b.example>\r\n";
const RCPT: &str = "RCPT TO:<c@d.example>\r\n";

/// The columns of the table and how to get there.
const COLUMNS: [(&str, &[&str]); 7] = [
    ("Start", &[]),
    ("Ready", &[EHLO]),
    ("Envelope, no recipient", &[EHLO, MAIL]),
    ("Envelope, recipients", &[EHLO, MAIL, RCPT]),
    ("Chunks", &[EHLO, MAIL, RCPT, "BDAT 1\r\nx"]),
    ("Failed", &[EHLO, "BDAT 1\r\nx"]),
    ("Refused", &[EHLO, "DATA\r\n"]),
];

/// The rows of the table and what is sent for them.
const ROWS: [(&str, &str); 20] = [
    ("`HELO`", "HELO box.example\r\n"),
    ("`EHLO`", EHLO),
    ("`MAIL`", MAIL),
    ("`RCPT`", RCPT),
    ("`DATA`", "DATA\r\n"),
    ("`BDAT n`", "BDAT 3\r\nabc"),
    ("`BDAT n LAST`", "BDAT 3 LAST\r\nabc"),
    ("`BDAT` misspelt", "BDAT three\r\n"),
    ("`RSET`", "RSET\r\n"),
    ("`NOOP`", "NOOP\r\n"),
    ("`VRFY`", "VRFY c@d.example\r\n"),
    ("`EXPN`", "EXPN list\r\n"),
    ("`HELP`", "HELP\r\n"),
    ("`QUIT`", "QUIT\r\n"),
    ("`STARTTLS`", "STARTTLS\r\n"),
    ("`AUTH`", "AUTH PLAIN\r\n"),
    ("anything else", "XYZZY\r\n"),
    ("browser, header", "Subject: x\r\n"),
    ("ends in LF", "NOOP\n"),
    ("too long", "too long"),
];

fn at(column: usize) -> Peer<'static> {
    let mut peer = Peer::new(STRANGER);
    for line in COLUMNS[column].1 {
        peer.feed(line.as_bytes());
    }
    peer.forget();
    peer
}

fn cell(row: usize, column: usize) -> String {
    let mut peer = at(column);
    let before = peer.session.state_name();
    let input = match ROWS[row].1 {
        "too long" => format!("{}\r\n", "x".repeat(5000)),
        input => input.to_string(),
    };
    peer.feed(input.as_bytes());
    let mut words: Vec<String> = peer.asked.iter().map(ToString::to_string).collect();
    words.extend(peer.codes());
    let after = peer.session.state_name();
    if after != before {
        words.push(format!("→ {after}"));
    }
    words.join(" ")
}

#[test]
fn tls_forgets_what_was_said_before() {
    let mut peer = Peer::new(Terms { tls: Tls::Offered, errors: 3, ..STRANGER });
    peer.feed(b"XYZZY\r\n").feed(EHLO.as_bytes()).feed(MAIL.as_bytes()).forget();
    peer.feed(b"STARTTLS\r\n");
    assert_eq!(
        (peer.codes().as_slice(), peer.asked.as_slice()),
        (&["220 2.0.0".to_string()][..], &["Reset", "StartTls"][..])
    );
    assert!(peer.session.hello().is_none() && peer.session.transaction().is_none());
    assert!(peer.session.is_secure() && peer.session.protocol() == "SMTP");
    peer.forget().feed(MAIL.as_bytes()).feed(EHLO.as_bytes());
    assert_eq!(peer.codes(), ["503 5.5.1", "250"]);
    assert!(!peer.said().contains("STARTTLS"), "it is in use");
    peer.feed(MAIL.as_bytes());
    assert_eq!(peer.session.protocol(), "ESMTPS");
    peer.forget().feed(b"STARTTLS\r\n");
    assert_eq!(peer.codes(), ["503 5.5.1", "421 4.7.0"], "errors from before count on");
}

#[test]
fn every_cell_of_the_manual_is_true() {
    let manual = include_str!("../../manual/protocol.md");
    let rows: Vec<Vec<&str>> = manual
        .lines()
        .filter(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let head: Vec<&str> = core::iter::once("").chain(COLUMNS.map(|(name, _)| name)).collect();
    let start = rows.iter().position(|row| *row == head).expect("the table has these columns");
    for (row, (name, _)) in ROWS.iter().enumerate() {
        let mut actual = std::vec![name.to_string()];
        actual.extend((0..COLUMNS.len()).map(|column| cell(row, column)));
        let written = rows.get(start + 2 + row).expect("the table has this row");
        assert_eq!(*written, actual, "the manual should say:\n| {} |", actual.join(" | "));
    }
    assert!(rows.get(start + 2 + ROWS.len()).is_none_or(|row| row.len() != head.len()), "a row too many");
}

#[test]
fn no_command_is_read_inside_content() {
    for (_, line) in ROWS {
        let mut peer = at(3);
        peer.feed(b"DATA\r\n").forget().feed(line.as_bytes());
        assert_eq!(peer.said(), "", "{line:?}");
        assert!(matches!(peer.session.state_name(), "Content" | "Spoiled"), "{line:?}");
        assert_eq!(peer.session.waiting(), Waiting::Content);
    }
}

#[test]
fn nothing_is_consumed_or_said_while_a_question_is_open() {
    let all = format!("{MAIL}{RCPT}DATA\r\nx\r\n.\r\n");
    let mut peer = at(1);
    let (mut scratch, mut start, mut questions) = ([0; 64], 0, 0);
    while !matches!(peer.session.question(), Some(Question::Commit(_))) {
        if questions > 0 && peer.session.question().is_some() {
            peer.decide();
        }
        let step = peer.session.step(&peer.terms, &all.as_bytes()[start..], &mut scratch, &mut peer.out);
        start += step.consumed;
        assert!(matches!(step.next, Next::Ask | Next::Content(3)));
        if step.next == Next::Ask {
            questions += 1;
            let said = peer.out.filled().len();
            let again = peer.session.step(&peer.terms, b"QUIT\r\n", &mut scratch, &mut peer.out);
            assert_eq!((again.consumed, again.next), (0, Next::Ask));
            assert_eq!(peer.out.filled().len(), said);
        }
    }
    assert_eq!(questions, 3, "the fourth came with the content");
    assert!(
        matches!(peer.session.question(), Some(Question::Commit(t)) if t.recipients == 1 && t.octets == 3)
    );
    assert!(!str::from_utf8(peer.out.filled()).unwrap().contains("queued"));
}

#[test]
fn content_that_cannot_be_stored_is_swallowed_and_refused_at_its_end() {
    let full = || Reply::new(452, (3, 1), "full");
    // Each is fed until the first content octets come, then fails.
    for (input, next_command) in [
        ("DATA\r\nx\r\ny\r\n.\r\n", "250 2.1.0"),
        ("DATA\r\n.\r\n", "250 2.1.0"),
        ("BDAT 3\r\nabcBDAT 3 LAST\r\ndef", "250 2.1.0"),
        ("BDAT 3 LAST\r\nabc", "250 2.1.0"),
    ] {
        let mut peer = at(3);
        let input = format!("{input}{MAIL}");
        let (mut scratch, mut start, mut failed) = ([0; 16], 0, false);
        loop {
            let step =
                peer.session.step(&peer.terms, &input.as_bytes()[start..], &mut scratch, &mut peer.out);
            start += step.consumed;
            match step.next {
                Next::Content(_) => {
                    assert!(!failed, "nothing is handed over after a failure");
                    failed = true;
                    peer.session.fail_content(full());
                }
                Next::Ask => peer.decide(),
                _ => break,
            }
        }
        peer.flush();
        let codes = peer.codes();
        let refused = codes.iter().filter(|code| *code == "452 4.3.1").count();
        let chunks = input.matches("BDAT").count();
        if failed {
            assert_eq!(refused, chunks.max(1), "{input:?}: {codes:?}");
            assert!(peer.asked.contains(&"Reset") && !peer.asked.contains(&"Commit"));
        }
        assert_eq!(codes.last().map(String::as_str), Some(next_command), "{input:?}: {codes:?}");
    }
}

#[test]
fn a_refusal_is_passed_on_and_ends_what_it_must() {
    let mut peer = at(1);
    peer.refuse = |question| match question {
        Question::Begin(mail) if mail.reverse_path.is_null() => Some(Reply::new(450, (7, 1), "slow")),
        Question::Recipient(_, recipient) if recipient.forward_path.as_str() == "no@d" => {
            Some(Reply::new(550, (1, 1), "unknown"))
        }
        Question::Commit(_) => Some(Reply::new(451, (3, 0), "sync")),
        _ => None,
    };
    let input =
        format!("MAIL FROM:<>\r\n{MAIL}RCPT TO:<no@d>\r\n{RCPT}DATA\r\n.\r\n{MAIL}{RCPT}BDAT 0 LAST\r\n");
    peer.feed(input.as_bytes());
    let expected = [
        "450 4.7.1",
        "250 2.1.0",
        "550 5.1.1",
        "250 2.1.5",
        "354",
        "451 4.3.0",
        "250 2.1.0",
        "250 2.1.5",
        "451 4.3.0",
    ];
    assert_eq!(peer.codes(), expected);
    assert!(peer.session.transaction().is_none());
}

#[test]
fn a_refused_first_chunk_takes_those_behind_it_along() {
    let mut peer = at(3);
    peer.refuse =
        |question| matches!(question, Question::Content(_)).then(|| Reply::new(452, (3, 1), "full"));
    peer.feed(b"BDAT 5\r\nRSET\nBDAT 6\r\nQUIT\r\nBDAT 0 LAST\r\nNOOP\r\n");
    assert_eq!(peer.codes(), ["452 4.3.1", "452 4.3.1", "452 4.3.1", "250 2.0.0"]);
}

#[test]
fn errors_are_capped_and_accepted_mail_forgives() {
    let mut peer = Peer::new(Terms { errors: 3, ..STRANGER });
    peer.feed(format!("{EHLO}X\r\nX\r\n{MAIL}{RCPT}DATA\r\n.\r\n").as_bytes()).forget();
    peer.feed(b"X\r\nX\r\n");
    assert_eq!(peer.codes(), ["500 5.5.2", "500 5.5.2"]);
    peer.forget().feed(b"X\r\nNOOP\r\n");
    assert_eq!(peer.codes(), ["500 5.5.2", "421 4.7.0"]);
    assert!(peer.closed);
}

#[test]
fn surplus_recipients_cost_nobody_the_message() {
    let mut peer = Peer::new(Terms { errors: 3, recipients: 2, ..STRANGER });
    peer.feed(format!("{EHLO}{MAIL}").as_bytes()).forget();
    peer.feed(RCPT.repeat(8).as_bytes()).feed(b"DATA\r\n.\r\n");
    let codes = peer.codes();
    assert_eq!(codes[..2], ["250 2.1.5"; 2]);
    assert_eq!(codes[2..8], ["452 4.5.3"; 6], "more than errors, and the session goes on");
    assert_eq!(codes[8..], ["354", "250 2.0.0"]);
}

#[test]
fn help_names_what_is_taken() {
    for (terms, named) in [
        (STRANGER, "EHLO HELO MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT;"),
        (
            Terms { tls: Tls::Offered, hidden: Keywords::NONE.with(Keyword::Chunking), ..STRANGER },
            "EHLO HELO STARTTLS MAIL RCPT DATA RSET NOOP VRFY HELP QUIT;",
        ),
    ] {
        let mut peer = Peer::new(terms);
        peer.feed(b"HELP\r\n");
        assert!(peer.said().starts_with(&format!("214 2.0.0 {named}")), "{}", peer.said());
    }
}

#[test]
fn a_session_can_be_shut_at_any_time() {
    for column in 0..COLUMNS.len() {
        let mut peer = at(column);
        peer.session.shut(&Reply::new(421, (3, 2), "shutting down"), &mut peer.out);
        peer.feed(b"NOOP\r\n");
        assert_eq!(peer.codes(), ["421 4.3.2"]);
        assert!(peer.closed);
    }
    // An answer that was on its way comes too late and does no harm.
    let mut peer = at(1);
    let mut scratch = [0; 16];
    peer.session.step(&peer.terms, MAIL.as_bytes(), &mut scratch, &mut peer.out);
    peer.session.shut(&Reply::new(421, (3, 2), "shutting down"), &mut peer.out);
    peer.session.answer(&peer.terms, Answer::Yes, &mut peer.out);
    assert_eq!(peer.session.waiting(), Waiting::Closing);
}

#[test]
fn what_is_hidden_is_neither_shown_nor_taken() {
    let hidden = Keywords::NONE.with(Keyword::Chunking).with(Keyword::Size).with(Keyword::Help);
    let mut peer = Peer::new(Terms { hidden, ..STRANGER });
    peer.feed(EHLO.as_bytes());
    assert!(
        !peer.said().contains("CHUNKING") && !peer.said().contains("SIZE") && !peer.said().contains("HELP")
    );
    assert!(peer.said().contains("250-DSN\r\n") && peer.said().ends_with("250 LIMITS RCPTMAX=3\r\n"));
    peer.forget().feed(b"MAIL FROM:<> SIZE=1\r\nBDAT 4\r\nQUITHELP\r\n");
    assert_eq!(peer.codes(), ["555 5.5.4", "502 5.5.1", "502 5.5.1"]);
    let mut peer = Peer::new(Terms { hidden: Keywords::ALL, ..STRANGER });
    peer.feed(EHLO.as_bytes());
    assert_eq!(peer.said(), "250 mx.example\r\n");
}

#[test]
fn the_longest_replies_fit_into_the_room_that_is_kept() {
    let hostname = "h".repeat(255);
    let mut peer = Peer::new(Terms { hostname: &hostname, message_size: u64::MAX, ..STRANGER });
    let mut out = Buffer::new();
    peer.session.greet(&peer.terms, b"", &mut out);
    assert!(out.filled().starts_with(b"220 h"));
    peer.feed(EHLO.as_bytes());
    assert!(peer.said.len() <= super::REPLY_ROOM - 128, "room for STARTTLS and AUTH");
}

#[test]
fn the_end_of_a_session_has_a_cause() {
    for (input, cause) in [
        ("QUIT\r\n", Cause::Quit),
        ("\x16\x03", Cause::Tls),
        ("GET / HTTP/1.0\r\n", Cause::Foreign),
        ("DATA\r\nx\r\n", Cause::Unasked),
        ("BDAT\r\n", Cause::Chunk),
        ("X\r\nX\r\n", Cause::Errors),
    ] {
        let mut peer = Peer::new(Terms { errors: 2, ..STRANGER });
        assert_eq!(peer.session.cause(), None);
        peer.feed(input.as_bytes());
        assert_eq!(peer.session.cause(), Some(cause), "{input:?}");
    }
}

/// Lines that lead somewhere, so that random walks do too.
fn lines() -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(std::vec![
        "EHLO b\r\n",
        "HELO b\r\n",
        "HELO\n",
        MAIL,
        "MAIL FROM:<>\r\n",
        "MAIL FROM: root\n",
        RCPT,
        RCPT,
        "RCPT TO:<Postmaster>\r\n",
        "DATA\r\n",
        "DATA\n",
        ".\r\n",
        ".\r\n",
        ".\n",
        "\r\n.\r\n",
        "x\r\n",
        "a\nb\r\n",
        "..\r\n",
        "\r",
        "BDAT 4\r\nabc\r",
        "BDAT 2 LAST\r\nx\n",
        "BDAT 0 LAST\r\n",
        "RSET\r\n",
        "NOOP\r\n",
        "XX\r\n",
        "\0",
    ]);
    let part = prop_oneof![
        12 => known.prop_map(|line| line.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..12),
        1 => (1usize..3000).prop_map(|n| std::vec![b'y'; n]),
    ];
    prop::collection::vec(part, 0..24).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn pieces_do_not_matter(input in lines(), piece in 1usize..40, trusted in any::<bool>(), errors in 1u16..20) {
        let terms = Terms { trusted, tolerant: trusted, errors, message_size: 40, ..STRANGER };
        let (mut whole, mut pieces) = (Peer::new(terms), Peer::new(terms));
        whole.feed(&input);
        pieces.feed_pieces(&input, piece);
        prop_assert_eq!(whole.said(), pieces.said());
        prop_assert_eq!(&whole.stored, &pieces.stored);
        prop_assert_eq!(&whole.asked, &pieces.asked);
        prop_assert_eq!(whole.session.state_name(), pieces.session.state_name());
        // One 250 "queued" for each commit, and every transaction ends once.
        let count = |name: &str| whole.asked.iter().filter(|asked| **asked == name).count();
        prop_assert_eq!(whole.said().matches("queued").count(), count("Commit"));
        let open = usize::from(!whole.closed && whole.session.transaction().is_some());
        if !whole.closed {
            prop_assert_eq!(count("Begin"), count("Commit") + count("Reset") + open);
        }
        prop_assert!(whole.said().is_ascii());
    }
}

#[test]
fn a_user_is_named_and_shows_in_the_protocol() {
    let mechanisms = Mechanisms::NONE.with(Mechanism::Plain);
    let mut peer = Peer::new(Terms { mechanisms, role: Role::Submission, ..STRANGER });
    peer.feed(EHLO.as_bytes()).forget().feed(b"AUTH PLAIN AHRpbQBzZWNyZXQ=\r\n");
    assert_eq!(
        (peer.codes().as_slice(), peer.asked.as_slice()),
        (&["235 2.7.0".to_string()][..], &["Auth"][..])
    );
    assert_eq!((peer.session.user(), peer.session.protocol()), (Some("tim"), "ESMTPA"));
    peer.forget().feed(b"RSET\r\nMAIL FROM:<a@b> SMTPUTF8\r\n");
    assert_eq!(peer.codes(), ["250 2.0.0", "250 2.1.0"]);
    assert_eq!(peer.session.protocol(), "UTF8SMTPA");
    assert!(!format!("{:?}", peer.session).contains("secret"));
}

#[test]
fn a_response_that_is_judged_is_not_shown() {
    let mechanisms = Mechanisms::NONE.with(Mechanism::Plain);
    let terms = Terms { mechanisms, ..STRANGER };
    let (mut session, mut out) = (Session::new(), Buffer::new());
    session.step(&terms, b"EHLO box\r\nAUTH PLAIN AHRpbQBzZWNyZXQ=\r\n", &mut [0; 16], &mut out);
    assert!(matches!(session.question(), Some(Question::Auth(Request::Password { .. }))));
    assert!(!format!("{session:?} {:?}", session.question()).contains("secret"));
}

#[test]
fn habits_are_seen_and_decide_nothing() {
    let habits = |input: &str| {
        let mut peer = Peer::new(STRANGER);
        peer.feed(input.as_bytes());
        *peer.session.habits()
    };
    assert_eq!(habits(&format!("{EHLO}{MAIL}{RCPT}DATA\r\nHELO\r\n.\r\n")), Habits::NONE);
    let seen = habits("MAIL FROM:<a@b>\r\nHELO\r\nEHLO a b\r\nRCPT TO: c@d\r\n");
    assert!(seen.no_hello && seen.no_hello_name && seen.odd_hello_name && seen.no_brackets);
    assert_eq!((seen.refused, seen.last_refusal), (4, Some((503, (5, 1)))));
}
