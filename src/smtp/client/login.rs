//! AUTH as the client says it (RFC 4954): between the reply to EHLO and the first transaction.
//!
//! The session picks the mechanism, carries base64 and judges replies; what a response says is the
//! caller's, who has the secrets: [`Next::Login`](super::Next) asks for it.

use core::fmt::Write;

use heapless::Vec;

use super::outcome::Class;
use super::{Output, State};
use crate::limits::{CHALLENGE_OCTETS, COMMAND_LINE_OCTETS, DELIVERY_OUTPUT_OCTETS};
use crate::smtp::client::Outcome;
use crate::smtp::client::command::Command;
use crate::smtp::reply::Reply;
use crate::smtp::sasl::{self, Mechanism, Mechanisms};

/// Octets of a command line (RFC 5321 4.5.3.1.4), which an initial response must not exceed (RFC 4954 4).
const INITIAL_OCTETS: usize = 512;

const _: () = assert!(INITIAL_OCTETS < COMMAND_LINE_OCTETS);

/// A challenge of the server, its base64 undone.
pub type Challenge = Vec<u8, CHALLENGE_OCTETS>;

/// How to log in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Login {
    /// What the secrets at hand allow and the configuration wants; nothing: there is no login.
    pub mechanisms: Mechanisms,
    /// Nobody else listens, or that is all the same: what can be used again may be sent.
    pub covered: bool,
}

impl Login {
    /// No login.
    pub const NONE: Self = Self { mechanisms: Mechanisms::NONE, covered: false };

    /// From the best to the worst.
    const ORDER: [Mechanism; 6] = [
        Mechanism::ScramSha256,
        Mechanism::CramMd5,
        Mechanism::OauthBearer,
        Mechanism::XOauth2,
        Mechanism::Plain,
        Mechanism::Login,
    ];

    /// The best that is offered, or why there is none.
    fn choose(self, offered: Mechanisms) -> Result<Mechanism, Reply> {
        let fitting = self.mechanisms.both(offered);
        let best =
            |covered| Self::ORDER.into_iter().find(|m| fitting.contains(*m) && (covered || !m.exposes()));
        let reply = |text: core::fmt::Arguments<'_>| Reply::new(454, (7, 0), text);
        match best(self.covered) {
            Some(mechanism) => Ok(mechanism),
            None if best(true).is_some() => Err(reply(format_args!(
                "{fitting} would show the secret to who listens: it takes tls = \"verify\", a pinned certificate, or plaintext_auth = true"
            ))),
            None if offered.is_empty() => {
                Err(reply(format_args!("the next server offers no login here (no AUTH that is known)")))
            }
            None => Err(reply(format_args!(
                "the next server offers {offered} to log in, we would need {}",
                self.mechanisms
            ))),
        }
    }
}

/// A response that is to be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The mechanism that was picked.
    pub mechanism: Mechanism,
    /// How many responses were given before.
    pub number: u8,
}

impl Turn {
    /// Responses that the mechanism has.
    const fn all(self) -> u8 {
        match self.mechanism {
            Mechanism::Plain | Mechanism::CramMd5 | Mechanism::XOauth2 | Mechanism::OauthBearer => 1,
            Mechanism::Login => 2,
            // The last one says nothing: the server's signature was right.
            Mechanism::ScramSha256 => 3,
        }
    }
}

/// How far it is.
#[derive(Clone, Debug)]
pub(super) enum Progress {
    /// A response is wanted from the caller. `opened`: AUTH was said.
    Wanted { turn: Turn, challenge: Challenge, opened: bool },
    /// AUTH goes out without a response as soon as there is room.
    Opening(Turn),
    /// A reply is awaited.
    Awaited(Turn),
    /// This line goes out: nothing comes of the login.
    Ending(&'static str, Reply),
    /// Its reply is awaited, after which this is what the login came to.
    Ended(Reply),
}

/// The state after EHLO, if there is a login.
pub(super) fn begin(login: Login, offered: Mechanisms) -> (State, Option<Outcome>) {
    match login.choose(offered) {
        Ok(mechanism @ (Mechanism::Login | Mechanism::CramMd5)) => {
            (State::Login(Progress::Opening(Turn { mechanism, number: 0 })), None)
        }
        Ok(mechanism) => {
            let turn = Turn { mechanism, number: 0 };
            (State::Login(Progress::Wanted { turn, challenge: Challenge::new(), opened: false }), None)
        }
        Err(reply) => (State::Saying(Command::Quit), Some(Outcome::login(reply))),
    }
}

impl Progress {
    /// Writes what needs no caller, as far as there is room.
    pub(super) fn speak(self, out: &mut Output) -> Self {
        match self {
            Self::Opening(turn) if write!(out, "AUTH {}\r\n", turn.mechanism.name()).is_ok() => {
                Self::Awaited(turn)
            }
            Self::Ending(line, reply) if write!(out, "{line}\r\n").is_ok() => Self::Ended(reply),
            other => other,
        }
    }

    /// Writes the response that was wanted. `out` must be empty.
    pub(super) fn respond(self, response: &[u8], out: &mut Output) -> Self {
        let Self::Wanted { turn, opened, .. } = self else { panic!("a response answers Next::Login") };
        let mut room = [0; DELIVERY_OUTPUT_OCTETS];
        let Some(text) = sasl::encode(response, &mut room) else { panic!("a response is bounded") };
        let name = turn.mechanism.name();
        let next = Self::Awaited(Turn { number: turn.number + 1, ..turn });
        let written = match (opened, text) {
            (true, text) => write!(out, "{text}\r\n"),
            (false, "") => write!(out, "AUTH {name} =\r\n"),
            (false, text) if "AUTH  \r\n".len() + name.len() + text.len() <= INITIAL_OCTETS => {
                write!(out, "AUTH {name} {text}\r\n")
            }
            (false, _) => return Self::Opening(turn),
        };
        assert!(written.is_ok(), "Next::Login comes with all of the room");
        next
    }

    /// A reply came. `challenge` is what stood in it, if it was base64.
    pub(super) fn hear(self, reply: Reply, challenge: Option<Challenge>) -> (State, Option<Outcome>) {
        let quit = |reply| (State::Saying(Command::Quit), Some(Outcome::login(reply)));
        let end = |line, text| (State::Login(Self::Ending(line, Reply::new(454, (7, 0), text))), None);
        match (self, Class::of(&reply)) {
            (Self::Awaited(turn), Class::Positive) if turn.number == turn.all() => (State::Ready, None),
            (Self::Awaited(_), Class::Positive) => {
                // Whoever has not shown that it knows us is not the one that we mean.
                quit(Reply::new(454, (7, 0), "the next server ended the login before it was done"))
            }
            (Self::Awaited(turn), Class::Intermediate) => match challenge {
                None => end("*", "the next server sent a challenge that is no base64"),
                Some(challenge) if turn.number < turn.all() => {
                    (State::Login(Self::Wanted { turn, challenge, opened: true }), None)
                }
                // The reason is in it, in JSON; the reply that ends it comes when this was answered.
                Some(_) if turn.mechanism == Mechanism::OauthBearer => {
                    end("AQ==", "the access token was refused")
                }
                Some(_) if turn.mechanism == Mechanism::XOauth2 => end("", "the access token was refused"),
                Some(_) => end("*", "the next server goes on asking, which this mechanism does not"),
            },
            (Self::Ended(_), Class::Transient | Class::Permanent) if reply.code() != 501 => quit(reply),
            (Self::Ended(ours), _) => quit(ours),
            (Self::Awaited(_), Class::Transient | Class::Permanent | Class::Shutdown) => quit(reply),
            (Self::Wanted { .. } | Self::Opening(_) | Self::Ending(..), _) => super::out_of_turn(&reply),
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::string::{String, ToString};
    use std::vec::Vec;
    use std::{format, vec};

    use proptest::prelude::*;

    use super::{Login, Mechanism, Mechanisms};
    use crate::limits::RESPONSE_OCTETS;
    use crate::smtp::client::{Next, Output, Protocol, Scope, Session, StartTls, Terms, Verdict, Waiting};

    const ALL: [Mechanism; 6] = Mechanism::ALL;

    /// What was said, and the login's end: `Ready`, or the reply of the outcome.
    fn talk(login: Login, replies: &[&str], responses: &[&[u8]]) -> (Vec<String>, String) {
        let terms = Terms { hostname: "me", pipelining: true, login };
        let (mut session, mut out) = (Session::new(Protocol::Smtp), Output::new());
        let (mut said, mut end) = (vec![], String::new());
        let (mut replies, mut responses) = (replies.iter(), responses.iter());
        let mut input = Vec::new();
        for _ in 0..100 {
            let step = session.step(&terms, &input, &mut out);
            input.drain(..step.consumed);
            if !out.is_empty() {
                said.push(
                    String::from_utf8(out.filled().to_vec()).unwrap().trim_end_matches("\r\n").to_string(),
                );
                out.clear();
            }
            match step.next {
                Next::Input => match replies.next() {
                    Some(reply) => input.extend(format!("{reply}\r\n").bytes()),
                    None => break,
                },
                Next::Login => {
                    assert_eq!(session.waiting(), Waiting::Login);
                    session.respond(responses.next().expect("a response"), &mut out);
                }
                Next::Outcome(outcome) => {
                    assert_eq!((outcome.scope, outcome.verdict), (Scope::Login, Verdict::Deferred));
                    end = outcome.reply.to_string();
                }
                Next::Ready => {
                    end = "Ready".to_string();
                    break;
                }
                Next::Output => {}
                other => panic!("{other:?}"),
            }
        }
        (said, end)
    }

    fn login(mechanisms: &[Mechanism], covered: bool) -> Login {
        let mechanisms = mechanisms.iter().fold(Mechanisms::NONE, |set, mechanism| set.with(*mechanism));
        Login { mechanisms, covered }
    }

    fn auth(login: Login, offer: &str, replies: &[&str], responses: &[&[u8]]) -> (Vec<String>, String) {
        let ehlo = format!("250-host\r\n250 AUTH {offer}");
        let all: Vec<&str> = ["220 host", &ehlo].into_iter().chain(replies.iter().copied()).collect();
        let (mut said, end) = talk(login, &all, responses);
        assert_eq!(said.remove(0), "EHLO me");
        (said, end)
    }

    #[test]
    fn the_best_that_is_offered_is_taken() {
        let every = "LOGIN PLAIN CRAM-MD5 SCRAM-SHA-256 GSSAPI XOAUTH2 OAUTHBEARER";
        for (ours, covered, offer, expected) in [
            (&ALL[..4], true, every, "AUTH SCRAM-SHA-256 eA=="),
            (&ALL[..4], false, every, "AUTH SCRAM-SHA-256 eA=="),
            (&ALL[..4], false, "PLAIN CRAM-MD5", "AUTH CRAM-MD5"),
            (&ALL[..4], true, "LOGIN PLAIN", "AUTH PLAIN eA=="),
            (&ALL[..4], true, "LOGIN", "AUTH LOGIN"),
            (&ALL[..1], true, every, "AUTH PLAIN eA=="),
            (&ALL[4..], true, every, "AUTH OAUTHBEARER eA=="),
            (&ALL[4..], true, "XOAUTH2 PLAIN", "AUTH XOAUTH2 eA=="),
        ] {
            let (said, _) = auth(login(ours, covered), offer, &[], &[b"x"]);
            assert_eq!(said, [expected], "{offer}");
        }
        for (ours, covered, offer, expected) in [
            (&ALL[..4], false, "LOGIN PLAIN", "454 4.7.0 PLAIN LOGIN would show the secret"),
            (&ALL[4..], false, "XOAUTH2", "454 4.7.0 XOAUTH2 would show the secret"),
            (&ALL[..4], true, "GSSAPI", "454 4.7.0 the next server offers no login here"),
            (
                &ALL[3..4],
                true,
                "PLAIN LOGIN",
                "454 4.7.0 the next server offers PLAIN LOGIN to log in, we would",
            ),
        ] {
            let (said, end) = auth(login(ours, covered), offer, &[], &[]);
            assert!(end.starts_with(expected), "{end}");
            assert_eq!(said, ["QUIT"]);
        }
        let (said, end) = talk(login(&ALL[..4], true), &["220 host", "500 what", "250 host"], &[]);
        assert!(end.starts_with("454 4.7.0 the next server offers no login"), "{end}");
        assert_eq!(said, ["EHLO me", "HELO me", "QUIT"]);
        assert_eq!(talk(Login::NONE, &["220 host", "250-host\r\n250 AUTH PLAIN"], &[]).1, "Ready");
    }

    #[test]
    fn every_mechanism_has_its_course() {
        let one = |mechanism| login(&[mechanism], true);
        let (said, end) = auth(one(Mechanism::Plain), "PLAIN", &["235 ok"], &[b"\0tim\0x"]);
        assert_eq!((said, end.as_str()), (vec!["AUTH PLAIN AHRpbQB4".to_string()], "Ready"));
        let (said, end) = auth(
            one(Mechanism::Login),
            "LOGIN",
            &["334 VXNlcm5hbWU6", "334 UGFzc3dvcmQ6", "235 ok"],
            &[b"tim", b"x"],
        );
        assert_eq!((said.join("|").as_str(), end.as_str()), ("AUTH LOGIN|dGlt|eA==", "Ready"));
        let (said, end) = auth(one(Mechanism::CramMd5), "CRAM-MD5", &["334 PDE+", "235 ok"], &[b"x"]);
        assert_eq!((said.join("|").as_str(), end.as_str()), ("AUTH CRAM-MD5|eA==", "Ready"));
        let replies = ["334 cj14", "334 dj14", "235 ok"];
        let (said, end) = auth(one(Mechanism::ScramSha256), "SCRAM-SHA-256", &replies, &[b"a", b"b", b""]);
        assert_eq!((said.join("|").as_str(), end.as_str()), ("AUTH SCRAM-SHA-256 YQ==|Yg==|", "Ready"));
    }

    #[test]
    fn refusals_defer_the_destination() {
        let plain = login(&ALL[..1], true);
        for reply in
            ["535 5.7.8 bad", "534 5.7.9 weak", "538 5.7.11 TLS", "454 4.7.0 later", "432 x", "421 4.3.2 bye"]
        {
            let (said, end) = auth(plain, "PLAIN", &[reply], &[b"x"]);
            assert_eq!(end.get(..3), reply.get(..3), "{end}");
            assert_eq!(said.last().map(String::as_str), Some("QUIT"), "{reply}");
        }
        // A challenge after the end, no base64, too much of it: cancelled.
        for (reply, expected) in
            [("334 ", "goes on asking"), ("334 !", "no base64"), ("334 AAA", "no base64")]
        {
            let (said, end) = auth(plain, "PLAIN", &[reply, "501 5.7.0 cancelled"], &[b"x"]);
            assert!(end.contains(expected), "{end}");
            assert_eq!(said[1..], ["*", "QUIT"]);
        }
        let (_, end) =
            auth(login(&ALL[1..2], true), "LOGIN", &[&format!("334 {}", "A".repeat(600)), "501 x"], &[]);
        assert!(end.contains("no base64"), "{end}");
    }

    #[test]
    fn who_does_not_prove_itself_is_not_believed() {
        let scram = login(&ALL[3..4], false);
        for replies in [&["235 ok"][..], &["334 cj14", "235 ok"]] {
            let (said, end) = auth(scram, "SCRAM-SHA-256", replies, &[b"a", b"b", b""]);
            assert!(end.contains("before it was done"), "{end}");
            assert_eq!(said.last().map(String::as_str), Some("QUIT"));
        }
    }

    #[test]
    fn a_refused_token_is_told_in_two_steps() {
        for (mechanism, answer) in [(Mechanism::XOauth2, ""), (Mechanism::OauthBearer, "AQ==")] {
            let replies = ["334 eyJzdGF0dXMiOiI0MDAifQ==", "535 5.7.8 token"];
            let (said, end) = auth(login(&[mechanism], true), mechanism.name(), &replies, &[b"x"]);
            assert_eq!((said[1].as_str(), end.as_str()), (answer, "535 5.7.8 token"));
            let (_, end) =
                auth(login(&[mechanism], true), mechanism.name(), &[replies[0], "235 ok"], &[b"x"]);
            assert!(end.contains("token was refused"), "{end}");
        }
    }

    #[test]
    fn a_login_comes_also_after_starttls_was_refused() {
        let terms = Terms { hostname: "me", pipelining: true, login: login(&ALL[..1], true) };
        let mut session = Session::new(Protocol::Smtp).with_start_tls(StartTls::IfOffered);
        let mut input = b"220 h\r\n250-h\r\n250-STARTTLS\r\n250 AUTH PLAIN\r\n".to_vec();
        let (mut out, mut said) = (Output::new(), String::new());
        loop {
            let step = session.step(&terms, &input, &mut out);
            input.drain(..step.consumed);
            said.push_str(str::from_utf8(out.filled()).unwrap());
            out.clear();
            match step.next {
                Next::Login => break,
                Next::Input if said.ends_with("STARTTLS\r\n") => input.extend(b"454 4.7.0 no TLS now\r\n"),
                Next::Input | Next::Output => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(said, "EHLO me\r\nSTARTTLS\r\n");
    }

    #[test]
    fn a_long_response_waits_for_its_challenge() {
        let long = vec![b'x'; RESPONSE_OCTETS];
        let (said, end) = auth(login(&ALL[4..5], true), "XOAUTH2", &["334 ", "235 ok"], &[&long, &long]);
        assert_eq!((said[0].as_str(), end.as_str()), ("AUTH XOAUTH2", "Ready"));
        assert!(said[1].len() > 3900);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn any_server_is_survived(replies in prop::collection::vec("(235|334|535|454|501|421|250) ?[A-Za-z=+/*! ]{0,12}", 0..8)) {
            for mechanism in ALL {
                let replies: Vec<&str> = replies.iter().map(String::as_str).collect();
                let terms = Terms { hostname: "me", pipelining: true, login: login(&[mechanism], true) };
                let (mut session, mut out) = (Session::new(Protocol::Smtp), Output::new());
                let mut input = format!("220 h\r\n250-h\r\n250 AUTH {}\r\n{}\r\n", mechanism.name(), replies.join("\r\n")).into_bytes();
                for _ in 0..60 {
                    let step = session.step(&terms, &input, &mut out);
                    input.drain(..step.consumed);
                    out.clear();
                    match step.next {
                        Next::Login => session.respond(b"x", &mut out),
                        Next::Input | Next::Closed | Next::Ready => break,
                        _ => {}
                    }
                }
            }
        }
    }
}
