//! SMTP dialogues as files: `tests/dialogues/*.smtp`, each replayed against the server session whole,
//! octet by octet, and cut at seeded random places. All must say, ask and store the same.
//!
//! A file is a list of lines; empty ones and those that start with `#` are skipped.
//!
//! | line | means |
//! |---|---|
//! | `terms: trusted appliance size=N recipients=N errors=N hide=KEYWORD auth=MECHANISM submission reject tls early` | first lines: the terms, of a stranger unless said; `early`, alone: the first octets came before the greeting |
//! | `refuse: begin\|recipient\|content\|commit\|store\|tls\|login [PATH] CODE x.y.z text` | first lines: what the policy refuses (of this path only); `store` fails content that comes |
//! | `C: text` | the client sends `text` and CRLF |
//! | `c: text` | the client sends `text` alone |
//! | `C*N: text` | the same N times; `#` in it is the count, from 1 |
//! | `S: text` | the server says a line that starts with `text`, neither earlier nor later |
//! | `S*N: text` | N such lines |
//! | `E: text` | the envelope of a committed message, a line of it |
//! | `M: text` | content of the committed messages, without a line end |
//! | `closed` | the server closes |
//!
//! In `C`, `c` and `M`, `\r \n \0 \\` and `\xHH` stand for octets and `\*N*c` for N times `c`.

use std::fs;
use std::path::Path;

use pillarbox::limits::{INPUT_OCTETS, OUTPUT_OCTETS};
use pillarbox::smtp::buffer::Buffer;
use pillarbox::smtp::command::{Body, Mail, Notify, Recipient, Ret};
use pillarbox::smtp::keyword::{Keyword, Keywords};
use pillarbox::smtp::reply::Reply;
use pillarbox::smtp::sasl::exchange::Request;
use pillarbox::smtp::sasl::{Mechanism, Mechanisms};
use pillarbox::smtp::server::{Answer, BareNewline, EARLY_OCTETS, Next, Question, Role, Session, Terms, Tls};

/// What a dialogue file says.
struct Dialogue {
    name: String,
    terms: Terms<'static>,
    refusals: Vec<Refusal>,
    /// Octets of the client, and the number of server lines expected once they were read.
    turns: Vec<(Vec<u8>, usize)>,
    server: Vec<String>,
    envelope: Vec<String>,
    content: Vec<u8>,
    closed: bool,
    /// The client does not wait for the greeting.
    early: bool,
}

struct Refusal {
    question: String,
    path: Option<String>,
    reply: Reply,
}

impl Dialogue {
    fn read(path: &Path) -> Self {
        let mut dialogue = Self {
            name: path.file_name().expect("a file").to_string_lossy().into_owned(),
            terms: Terms {
                hostname: "mx.example",
                message_size: 10_000,
                recipients: 100,
                errors: 100,
                role: Role::Relay,
                trusted: false,
                tolerant: false,
                bare_newline: BareNewline::Normalize,
                hidden: Keywords::NONE,
                tls: Tls::NotOffered,
                mechanisms: Mechanisms::NONE,
                plaintext_auth: true,
            },
            refusals: Vec::new(),
            turns: Vec::new(),
            server: Vec::new(),
            envelope: Vec::new(),
            content: Vec::new(),
            closed: false,
            early: false,
        };
        let text = fs::read_to_string(path).expect("a dialogue is UTF-8");
        for (number, line) in text.lines().enumerate() {
            if !line.is_empty() && !line.starts_with('#') {
                let place = format!("{}:{}: {line}", dialogue.name, number + 1);
                dialogue.take(line).unwrap_or_else(|| panic!("{place}: not understood"));
            }
        }
        dialogue
    }

    fn take(&mut self, line: &str) -> Option<()> {
        if line == "closed" {
            self.closed = true;
            return Some(());
        }
        let (kind, text) = line.split_once(':')?;
        let text = text.strip_prefix(' ').unwrap_or(text);
        let (kind, times) = match kind.split_once('*') {
            Some((kind, times)) => (kind, times.parse().ok()?),
            None => (kind, 1),
        };
        for n in 1..=times {
            let text = if line.contains('*') { text.replace('#', &n.to_string()) } else { text.to_string() };
            match kind {
                "terms" if text == "early" => self.early = true,
                "terms" => self.terms = terms(self.terms, &text)?,
                "refuse" => self.refusals.push(refusal(&text)?),
                "C" => self.turns.push(([octets(&text)?, b"\r\n".to_vec()].concat(), self.server.len())),
                "c" => self.turns.push((octets(&text)?, self.server.len())),
                "S" => self.server.push(text),
                "E" => self.envelope.push(text),
                "M" => self.content.extend(octets(&text)?),
                _ => return None,
            }
        }
        Some(())
    }

    fn client(&self) -> Vec<u8> {
        self.turns.iter().flat_map(|(octets, _)| octets.clone()).collect()
    }
}

fn terms(mut terms: Terms<'static>, text: &str) -> Option<Terms<'static>> {
    for word in text.split(' ') {
        match word.split_once('=') {
            None if word == "trusted" => (terms.trusted, terms.tolerant) = (true, true),
            None if word == "appliance" => terms.tolerant = true,
            None if word == "submission" => terms.role = Role::Submission,
            None if word == "reject" => terms.bare_newline = BareNewline::Reject,
            // Where there is TLS, nobody logs in without.
            None if word == "tls" => (terms.tls, terms.plaintext_auth) = (Tls::Offered, false),
            Some(("size", n)) => terms.message_size = n.parse().ok()?,
            Some(("recipients", n)) => terms.recipients = n.parse().ok()?,
            Some(("errors", n)) => terms.errors = n.parse().ok()?,
            Some(("auth", name)) => {
                terms.mechanisms = terms.mechanisms.with(Mechanism::parse(name.as_bytes())?);
            }
            Some(("hide", keyword)) => terms.hidden = terms.hidden.with(Keyword::parse(keyword)?),
            _ => return None,
        }
    }
    Some(terms)
}

fn refusal(text: &str) -> Option<Refusal> {
    let (question, rest) = text.split_once(' ')?;
    let (path, rest) = match rest.strip_prefix('<').and_then(|rest| rest.split_once("> ")) {
        Some((path, rest)) => (Some(path.to_string()), rest),
        None => (None, rest),
    };
    let mut words = rest.splitn(3, ' ');
    let code = words.next()?.parse().ok()?;
    let mut enhanced = words.next()?.split('.').skip(1).map(|n| n.parse().ok());
    let reply = Reply::new(code, (enhanced.next()??, enhanced.next()??), words.next()?);
    Some(Refusal { question: question.to_string(), path, reply })
}

/// The octets that `text` with its escapes stands for.
fn octets(text: &str) -> Option<Vec<u8>> {
    let mut octets = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        octets.extend(rest[..at].bytes());
        rest = &rest[at + 1..];
        let kind = rest.chars().next()?;
        rest = &rest[kind.len_utf8()..];
        match kind {
            'r' => octets.push(b'\r'),
            'n' => octets.push(b'\n'),
            '0' => octets.push(0),
            '\\' => octets.push(b'\\'),
            'x' => {
                octets.push(u8::from_str_radix(rest.get(..2)?, 16).ok()?);
                rest = rest.get(2..)?;
            }
            '*' => {
                let (times, behind) = rest.split_once('*')?;
                let octet = *behind.as_bytes().first()?;
                octets.extend(std::iter::repeat_n(octet, times.parse().ok()?));
                rest = behind.get(1..)?;
            }
            _ => return None,
        }
    }
    octets.extend(rest.bytes());
    Some(octets)
}

/// A session with a store and a policy that follow the dialogue's `refuse:` lines.
struct Replay<'d> {
    dialogue: &'d Dialogue,
    session: Session,
    input: Buffer<INPUT_OCTETS>,
    out: Buffer<OUTPUT_OCTETS>,
    scratch: Vec<u8>,
    said: Vec<u8>,
    /// Envelope and content of the open transaction, and of all committed ones.
    open: (Vec<String>, Vec<u8>),
    committed: (Vec<String>, Vec<u8>),
    closed: bool,
}

impl<'d> Replay<'d> {
    fn new(dialogue: &'d Dialogue, scratch: usize) -> Self {
        let mut session = Session::new();
        let mut out = Buffer::new();
        let first = dialogue.turns.first().filter(|_| dialogue.early).map_or(&[][..], |(octets, _)| octets);
        session.greet(&dialogue.terms, &first[..first.len().min(EARLY_OCTETS)], &mut out);
        let mut replay = Self {
            dialogue,
            session,
            input: Buffer::new(),
            out,
            scratch: vec![0; scratch],
            said: Vec::new(),
            open: Default::default(),
            committed: Default::default(),
            closed: false,
        };
        replay.flush();
        replay
    }

    /// Sends `octets`, as much at a time as the input buffer has room for.
    fn send(&mut self, mut octets: &[u8]) {
        while !octets.is_empty() && !self.closed {
            let n = octets.len().min(self.input.free());
            assert!(n > 0, "{}: a full input buffer makes no progress", self.dialogue.name);
            assert!(self.input.push(&octets[..n]));
            octets = &octets[n..];
            self.run();
        }
    }

    fn run(&mut self) {
        loop {
            let terms = &self.terms();
            let step = self.session.step(terms, self.input.filled(), &mut self.scratch, &mut self.out);
            self.input.consume(step.consumed);
            match step.next {
                Next::Input => break,
                Next::Output => self.flush(),
                Next::Ask => self.decide(),
                Next::Content(n) => {
                    self.open.1.extend(&self.scratch[..n]);
                    if let Some(reply) = self.refused("store", None) {
                        self.session.fail_content(reply);
                    }
                }
                // What comes after it stands for what comes through TLS.
                Next::StartTls => self.session.secured(),
                Next::Close => {
                    self.closed = true;
                    break;
                }
            }
        }
        self.flush();
    }

    fn terms(&self) -> Terms<'static> {
        let tls = if self.session.is_secure() { Tls::Active } else { self.dialogue.terms.tls };
        Terms { tls, ..self.dialogue.terms }
    }

    fn flush(&mut self) {
        self.said.extend(self.out.filled());
        self.out.clear();
    }

    fn refused(&self, question: &str, path: Option<&str>) -> Option<Reply> {
        let fits = |refusal: &&Refusal| {
            refusal.question == question && (refusal.path.is_none() || refusal.path.as_deref() == path)
        };
        self.dialogue.refusals.iter().find(fits).map(|refusal| refusal.reply.clone())
    }

    /// What `refuse: login` says of a request; a password other than `secret` is wrong.
    fn refused_login(&self, request: &Request) -> Option<Reply> {
        let wrong = || Reply::new(535, (7, 8), "wrong user name or password");
        match request {
            Request::Password { password, .. } if password.octets() != b"secret" => Some(wrong()),
            _ => self.refused("login", request.name().map(|name| name.as_str())),
        }
    }

    fn decide(&mut self) {
        let (refusal, yes) = match self.session.question().expect("Ask comes with a question") {
            Question::Begin(mail) => {
                self.open = (vec![mail_line(mail)], Vec::new());
                (self.refused("begin", Some(mail.reverse_path.as_str())), Answer::Yes)
            }
            Question::Recipient(_, recipient) => {
                let refusal = self.refused("recipient", Some(recipient.forward_path.as_str()));
                if refusal.is_none() {
                    self.open.0.push(recipient_line(recipient));
                }
                (refusal, Answer::Yes)
            }
            Question::Content(_) => (self.refused("content", None), Answer::Yes),
            Question::Commit(transaction) => {
                assert_eq!(transaction.octets, self.open.1.len() as u64);
                assert_eq!(usize::from(transaction.recipients) + 1, self.open.0.len());
                let refusal = self.refused("commit", None);
                if refusal.is_none() {
                    self.committed.0.append(&mut self.open.0);
                    self.committed.1.append(&mut self.open.1);
                }
                (refusal, Answer::Committed("0198f3a2c1-0007"))
            }
            Question::Reset(_) => {
                self.open = Default::default();
                (None, Answer::Yes)
            }
            Question::StartTls => (self.refused("tls", None), Answer::Yes),
            Question::Auth(request) => (self.refused_login(request), login(request)),
        };
        self.session.answer(&self.terms(), refusal.map_or(yes, Answer::Refused), &mut self.out);
    }

    /// Compares what was said with the first `lines` that the file expects.
    fn check_said(&self, lines: usize, how: &str) {
        let said = String::from_utf8(self.said.clone()).expect("replies are ASCII");
        let name = &self.dialogue.name;
        let actual: Vec<&str> = said.split_terminator("\r\n").collect();
        for (n, (actual, expected)) in actual.iter().zip(&self.dialogue.server).enumerate() {
            assert!(actual.starts_with(expected), "{name}, {how}, line {n}: {actual:?}, not {expected:?}");
        }
        assert_eq!(actual.len(), lines, "{name}, {how}: lines said, the last: {:?}", actual.last());
        assert!(said.ends_with("\r\n"), "{name}, {how}");
    }

    fn check_end(&self, how: &str) {
        let name = &self.dialogue.name;
        self.check_said(self.dialogue.server.len(), how);
        assert_eq!(self.committed.0, self.dialogue.envelope, "{name}, {how}: envelopes");
        let shown = |octets: &[u8]| octets.escape_ascii().to_string();
        assert_eq!(shown(&self.committed.1), shown(&self.dialogue.content), "{name}, {how}: content");
        assert_eq!(self.closed, self.dialogue.closed, "{name}, {how}: closed");
    }
}

/// What a users file would say, if it knew everyone.
fn login(request: &Request) -> Answer<'static> {
    match request {
        Request::CramChallenge => Answer::Challenge(b"<1896.697170952@mx.example>"),
        Request::ScramFirst(_) => Answer::Challenge(b"r=abcdef,s=QQ==,i=4096"),
        Request::ScramFinal(_) => Answer::Challenge(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="),
        Request::Password { .. } | Request::CramMd5 { .. } => Answer::Yes,
    }
}

fn mail_line(mail: &Mail) -> String {
    let mut line = format!("from=<{}>", mail.reverse_path.as_str());
    line.extend(mail.size.map(|size| format!(" size={size}")));
    line.push_str(match mail.body {
        Body::Unsaid => "",
        Body::SevenBit => " 7bit",
        Body::EightBitMime => " 8bit",
    });
    line.push_str(if mail.smtputf8 { " smtputf8" } else { "" });
    line.push_str(match mail.ret {
        None => "",
        Some(Ret::Full) => " ret=full",
        Some(Ret::Headers) => " ret=headers",
    });
    if !mail.envid.is_empty() {
        line.push_str(&format!(" envid={}", mail.envid));
    }
    line
}

fn recipient_line(recipient: &Recipient) -> String {
    let mut line = format!("to=<{}>", recipient.forward_path.as_str());
    match recipient.notify {
        Notify::Unsaid => {}
        Notify::Never => line.push_str(" never"),
        Notify::On { success, failure, delay } => {
            let words = [(success, " success"), (failure, " failure"), (delay, " delay")];
            line.extend(words.into_iter().filter(|(on, _)| *on).map(|(_, word)| word));
        }
    }
    if !recipient.orcpt.is_empty() {
        line.push_str(&format!(" orcpt={}", recipient.orcpt));
    }
    line
}

/// Numbers that look random and are the same in every run (Marsaglia's xorshift).
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

fn dialogues() -> Vec<Dialogue> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialogues");
    let mut paths: Vec<_> = fs::read_dir(folder)
        .expect("the folder of dialogues")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "smtp"))
        .collect();
    paths.sort();
    assert!(paths.len() >= 20, "dialogues are missing: {}", paths.len());
    paths.iter().map(|path| Dialogue::read(path)).collect()
}

#[test]
fn turn_by_turn() {
    for dialogue in &dialogues() {
        let mut replay = Replay::new(dialogue, 64 * 1024);
        for (number, (octets, lines)) in dialogue.turns.iter().enumerate() {
            // Who talks first has not heard the greeting.
            let lines = if dialogue.early && number == 0 { &1 } else { lines };
            replay.check_said(*lines, &format!("before {:?}", String::from_utf8_lossy(octets)));
            replay.send(octets);
        }
        replay.check_end("turn by turn");
    }
}

#[test]
fn whole() {
    for dialogue in &dialogues() {
        let mut replay = Replay::new(dialogue, 64 * 1024);
        replay.send(&dialogue.client());
        replay.check_end("whole");
    }
}

#[test]
fn octet_by_octet() {
    for dialogue in &dialogues() {
        let mut replay = Replay::new(dialogue, 16);
        for octet in dialogue.client() {
            replay.send(&[octet]);
        }
        replay.check_end("octet by octet");
    }
}

#[test]
fn cut_at_random() {
    for dialogue in &dialogues() {
        for seed in 1..=8u64 {
            let mut random = Seeded(seed << 32 | 0x9e37_79b9);
            let mut replay = Replay::new(dialogue, 16 + random.below(300));
            let client = dialogue.client();
            let mut rest = client.as_slice();
            while !rest.is_empty() {
                let (piece, behind) = rest.split_at((1 + random.below(60)).min(rest.len()));
                replay.send(piece);
                rest = behind;
            }
            replay.check_end(&format!("seed {seed}"));
        }
    }
}
