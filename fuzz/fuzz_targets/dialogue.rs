//! A session of the server: any octets, any answers that fit, any pieces. What is said are replies, what is
//! stored is clean, nothing is stored or committed that was not allowed, and every step makes progress.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pillarbox::limits::{INPUT_OCTETS, OUTPUT_OCTETS};
use pillarbox::smtp::buffer::Buffer;
use pillarbox::smtp::keyword::{Keyword, Keywords};
use pillarbox::smtp::reply::Reply;
use pillarbox::smtp::sasl::exchange::Request;
use pillarbox::smtp::sasl::{Mechanism, Mechanisms};
use pillarbox::smtp::server::{Answer, BareNewline, Next, Question, Role, Session, Terms, Tls, Waiting};

/// Choices of the fuzzer, 0 when there are no more.
struct Choices<'a>(std::slice::Iter<'a, u8>);

impl Choices<'_> {
    fn next(&mut self) -> u8 {
        self.0.next().copied().unwrap_or_default()
    }
}

/// What has been seen of the open transaction.
#[derive(Default)]
struct Seen {
    recipients: u32,
    allowed: bool,
    spoiled: bool,
    content: Vec<u8>,
}

fuzz_target!(|data: &[u8]| {
    let Some((head, data)) = data.split_at_checked(40) else { return };
    let (flags, choices) = head.split_at(4);
    let mut choices = Choices(choices.iter());
    let has = |bit: u8| flags[0] & 1 << bit != 0;
    let mechanisms = Mechanism::ALL
        .into_iter()
        .zip(0..)
        .filter(|(_, n)| flags[1] & 1 << n != 0)
        .fold(Mechanisms::NONE, |set, (mechanism, _)| set.with(mechanism));
    let terms = |tls: Tls| Terms {
        hostname: "mx.example",
        message_size: u64::from(flags[2]) * 16,
        recipients: 1 + u16::from(flags[3] & 3),
        errors: 1 + u16::from(flags[3] >> 4),
        role: if has(0) { Role::Relay } else { Role::Submission },
        trusted: has(1),
        tolerant: has(1) || has(2),
        bare_newline: if has(3) { BareNewline::Normalize } else { BareNewline::Reject },
        hidden: if has(4) { Keywords::NONE.with(Keyword::Chunking) } else { Keywords::NONE },
        tls,
        mechanisms,
        plaintext_auth: has(5),
    };
    let mut tls = if has(6) { Tls::Offered } else { Tls::NotOffered };
    let (mut session, mut out) = (Session::new(), Buffer::<OUTPUT_OCTETS>::new());
    session.greet(&terms(tls), &data[..data.len().min(16)], &mut out);
    let (mut input, mut scratch) = (Buffer::<INPUT_OCTETS>::new(), [0; 64]);
    let (mut rest, mut said, mut seen) = (data, Vec::new(), Seen::default());
    let piece = usize::from(choices.next()).max(1) * if has(7) { 1 } else { 64 };
    // Each octet is worth a few steps: a line, its question, a flush, a reset.
    for _ in 0..64 + 8 * data.len() {
        let terms = terms(tls);
        let step = session.step(&terms, input.filled(), &mut scratch, &mut out);
        input.consume(step.consumed);
        match step.next {
            Next::Input => {
                said.extend_from_slice(out.filled());
                out.clear();
                let room = input.room();
                assert!(!room.is_empty(), "a full buffer is enough for progress");
                let n = room.len().min(piece).min(rest.len());
                if n == 0 {
                    break;
                }
                room[..n].copy_from_slice(&rest[..n]);
                input.advance(n);
                rest = &rest[n..];
            }
            Next::Output => {
                assert!(!out.is_empty(), "there is something to flush");
                said.extend_from_slice(out.filled());
                out.clear();
            }
            Next::Content(octets) => {
                assert!(seen.allowed && !seen.spoiled && octets <= scratch.len());
                seen.content.extend_from_slice(&scratch[..octets]);
                if choices.next() == 255 {
                    seen.spoiled = true;
                    session.fail_content(Reply::new(452, (3, 1), "full"));
                }
            }
            Next::Ask => answer(&mut session, &terms, &mut seen, &mut choices, &mut out),
            Next::StartTls => {
                said.extend_from_slice(out.filled());
                (out, input) = (Buffer::new(), Buffer::new());
                assert_eq!(tls, Tls::Offered);
                session.secured();
                tls = Tls::Active;
                assert!(session.is_secure() && session.user().is_none() && session.hello().is_none());
            }
            Next::Close => {
                assert_eq!(session.waiting(), Waiting::Closing);
                said.extend_from_slice(out.filled());
                break;
            }
        }
        if choices.next() == 254 {
            session.shut(&Reply::new(421, (3, 2), "shutting down"), &mut out);
            // Late answers find nobody.
            session.answer(&terms, Answer::Yes, &mut out);
        }
    }
    let replies = said.strip_suffix(b"\r\n").unwrap_or(&said).split(|octet| *octet == b'\n');
    for line in replies.filter(|line| !line.is_empty()) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        assert!(line.len() <= 510 && line.iter().all(|octet| matches!(octet, b' '..=b'~')));
        assert!(matches!(line, [b'2'..=b'5', b'0'..=b'9', b'0'..=b'9', b' ' | b'-', ..]), "{line:?}");
    }
});

fn answer(
    session: &mut Session,
    terms: &Terms<'_>,
    seen: &mut Seen,
    choices: &mut Choices<'_>,
    out: &mut Buffer<OUTPUT_OCTETS>,
) {
    let no = match choices.next() {
        0..=200 => None,
        201 => Some(Reply::new(421, (3, 2), "no more")),
        202..=230 => Some(Reply::new(550, (7, 1), "no")),
        _ => Some(Reply::new(451, (3, 0), "not now")),
    };
    let refused = no.clone().map(Answer::Refused);
    let challenge;
    let answer = match session.question().expect("an open question") {
        Question::Begin(_) => {
            *seen = Seen::default();
            assert!(terms.role == Role::Relay || terms.trusted || session.user().is_some());
            refused.unwrap_or(Answer::Yes)
        }
        Question::Recipient(..) => {
            seen.recipients += u32::from(no.is_none());
            refused.unwrap_or(Answer::Yes)
        }
        Question::Content(transaction) => {
            assert!(seen.recipients > 0 && u32::from(transaction.recipients) == seen.recipients);
            seen.allowed = no.is_none();
            refused.unwrap_or(Answer::Yes)
        }
        Question::Commit(transaction) => {
            assert!(seen.allowed && !seen.spoiled);
            assert!(transaction.octets <= terms.message_size);
            assert_eq!(transaction.octets, seen.content.len() as u64);
            let text = &seen.content;
            assert!(text.is_empty() || text.ends_with(b"\r\n"));
            let pairs = text.windows(2).filter(|two| two == b"\r\n").count();
            assert_eq!(text.iter().filter(|octet| matches!(octet, b'\r' | b'\n')).count(), 2 * pairs);
            assert!(!text.contains(&0));
            seen.allowed = false;
            refused.unwrap_or(Answer::Committed("ID"))
        }
        Question::Reset(_) => {
            seen.allowed = false;
            Answer::Yes
        }
        Question::StartTls => refused.unwrap_or(Answer::Yes),
        Question::Auth(request) => {
            assert!(terms.plaintext_auth || terms.tls == Tls::Active);
            assert!(terms.mechanisms.contains(request.mechanism()) && session.user().is_none());
            challenge = match request {
                Request::CramChallenge => "<1.2@mx.example>".to_owned(),
                Request::ScramFirst(first) => {
                    first.challenge(b"0123456789abcdefghijklmn", "QQ==", 4096).as_str().to_owned()
                }
                Request::ScramFinal(_) => "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=".to_owned(),
                Request::Password { .. } | Request::CramMd5 { .. } => String::new(),
            };
            match refused {
                Some(refused) => refused,
                None if challenge.is_empty() => Answer::Yes,
                None => Answer::Challenge(challenge.as_bytes()),
            }
        }
    };
    session.answer(terms, answer, out);
}
