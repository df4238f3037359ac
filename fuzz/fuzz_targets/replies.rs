//! A session of the client: any octets of a server, in any pieces. What is said are whole lines, every
//! recipient has one outcome, and nothing is delivered before the last dot was out.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pillarbox::limits::{REPLY_INPUT_OCTETS, RESPONSE_OCTETS};
use pillarbox::smtp::buffer::Buffer;
use pillarbox::smtp::client::{
    Login, Next, Outcome, Output, Protocol, Recipient, Scope, Session, StartTls, Terms, Transaction, Verdict,
    Waiting,
};
use pillarbox::smtp::command::{Body, Notify};
use pillarbox::smtp::sasl::{Mechanism, Mechanisms};

const CONTENT: &[u8] = b"Subject: x\r\n\r\n.dot\r\nbody\r\n";

#[derive(Default)]
struct Group {
    verdicts: Vec<Option<Verdict>>,
    sent: usize,
    ended: bool,
}

impl Group {
    fn note(&mut self, outcome: &Outcome) {
        let concerned = match outcome.scope {
            Scope::Recipient(i) => {
                let i = usize::from(i);
                assert!(self.verdicts[i].is_none(), "one outcome each");
                i..i + 1
            }
            _ => 0..self.verdicts.len(),
        };
        for verdict in self.verdicts[concerned].iter_mut().filter(|verdict| verdict.is_none()) {
            assert!(outcome.verdict != Verdict::Delivered || self.ended, "delivered without content");
            *verdict = Some(outcome.verdict);
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Some(([flags, piece, count, mechanisms, response], data)) = data.split_first_chunk() else { return };
    let has = |bit: u8| flags & 1 << bit != 0;
    let protocol = if has(0) { Protocol::Lmtp } else { Protocol::Smtp };
    let mechanisms = Mechanism::ALL
        .into_iter()
        .zip(0..)
        .filter(|(_, n)| mechanisms & 1 << n != 0)
        .fold(Mechanisms::NONE, |set, (mechanism, _)| set.with(mechanism));
    let login = if has(2) { Login { mechanisms, covered: has(3) } } else { Login::NONE };
    let terms = Terms { hostname: "me.example", pipelining: has(1), login };
    let start_tls = match (has(5), has(6)) {
        (false, _) => StartTls::Never,
        (true, false) => StartTls::IfOffered,
        (true, true) => StartTls::Required,
    };
    let (mut session, mut out) = (Session::new(protocol).with_start_tls(start_tls), Output::new());
    let mut is_secure = false;
    let (mut input, mut rest, mut said) = (Buffer::<REPLY_INPUT_OCTETS>::new(), data, Vec::new());
    let (mut group, mut begun) = (Group::default(), 0);
    let piece = usize::from(*piece).max(1);
    let recipients = u16::from(count & 15) + 1;
    for _ in 0..200 + 8 * data.len() {
        let step = session.step(&terms, input.filled(), &mut out);
        input.consume(step.consumed);
        match step.next {
            Next::Input | Next::Output => {
                said.extend_from_slice(out.filled());
                let flushed = !out.is_empty();
                out.clear();
                let room = input.room();
                let n = room.len().min(piece).min(rest.len());
                room[..n].copy_from_slice(&rest[..n]);
                input.advance(n);
                rest = &rest[n..];
                if n == 0 && !flushed {
                    if let Some(outcome) = session.lost("cut") {
                        group.note(&outcome);
                    }
                    assert_eq!(session.waiting(), Waiting::Closed);
                }
            }
            Next::StartTls => {
                assert!(input.is_empty() && start_tls != StartTls::Never && !is_secure);
                is_secure = true;
                session.secured();
            }
            Next::Ready if begun == 2 => session.quit(),
            Next::Ready => {
                assert!(is_secure || start_tls != StartTls::Required, "a message in the clear");
                assert!(group.verdicts.iter().all(Option::is_some), "everybody gets an outcome");
                begun += 1;
                let transaction = Transaction {
                    reverse_path: "s@y",
                    octets: CONTENT.len() as u64,
                    body: Body::EightBitMime,
                    smtputf8: has(4),
                    ret: None,
                    envid: "id",
                    recipients,
                };
                group = Group { verdicts: vec![None; usize::from(recipients)], ..Group::default() };
                match session.begin(&transaction, &mut out) {
                    Ok(taken) => {
                        assert!((1..=recipients).contains(&taken));
                        group.verdicts.truncate(usize::from(taken));
                    }
                    Err(outcome) => group.note(&outcome),
                }
            }
            Next::Recipient(i) => {
                assert!(usize::from(i) < group.verdicts.len());
                let recipient =
                    Recipient { forward_path: "a@x.example", notify: Notify::Never, orcpt: "rfc822;x+2By" };
                session.recipient(&recipient, &mut out);
            }
            Next::Content if group.sent < CONTENT.len() => {
                group.sent += session.content(&CONTENT[group.sent..], &mut out);
            }
            Next::Content => {
                group.ended = true;
                session.content_end();
            }
            Next::Login => {
                let (turn, _) = session.challenge().expect("a response is wanted");
                assert!(mechanisms.contains(turn.mechanism) && (has(3) || !turn.mechanism.exposes()));
                said.extend_from_slice(out.filled());
                out.clear();
                let response = vec![b'x'; usize::from(*response) * 12 % (RESPONSE_OCTETS + 1)];
                session.respond(&response, &mut out);
            }
            Next::Outcome(outcome) => group.note(&outcome),
            Next::Closed => {
                for verdict in &group.verdicts {
                    assert!(verdict.is_some() || begun > 0);
                }
                break;
            }
        }
    }
    assert!(said.split(|octet| *octet == b'\n').all(|line| line.is_empty() || line.ends_with(b"\r")));
});
