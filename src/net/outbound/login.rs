//! The login of an outbound slot: what the session asks for is got from the helper, and a refusal is told aloud.

use super::{Outbound, State, Turn, With};
use crate::net::responder::{Answer, Question, Source};
use crate::relay::response::Memory;
use crate::smtp::client::{Outcome, Waiting};
use crate::smtp::client::{Scope, Terms, Verdict};
use crate::smtp::reply::Reply;

/// What a login needs beside the session.
#[derive(Debug, Default)]
pub(super) struct Login {
    /// The helper was asked, with this ticket.
    asked: Option<u32>,
    memory: Memory,
    source: Source,
}

impl Outbound {
    /// What holds for the session now.
    pub(super) fn terms<'a>(&self, with: &With<'a>) -> Terms<'a> {
        let is_verified = self.tls != "none" && with.dialler.dial(self.key.route).is_verified();
        Terms { login: with.relay.login(self.key, is_verified), ..*with.terms }
    }

    /// True if the login waits for room in the helper's queue.
    pub fn wants_responder(&self) -> bool {
        let waits =
            matches!(&self.state, State::Talking { session, .. } if session.waiting() == Waiting::Login);
        waits && self.login.asked.is_none()
    }

    /// True if it waits for the answer to this question.
    pub fn waits_for(&self, ticket: u32) -> bool {
        self.login.asked == Some(ticket)
    }

    /// A response is wanted.
    pub(super) fn log_in(&mut self, with: &mut With<'_>) -> Option<Turn> {
        let State::Talking { session, .. } = &self.state else { return None };
        if let (None, Some((turn, challenge))) = (self.login.asked, session.challenge()) {
            self.login.asked = with.responder.ask(Question {
                config: with.relay.config(),
                route: self.key.route,
                host: self.name.clone(),
                port: self.port,
                turn,
                challenge: challenge.clone(),
                memory: self.login.memory,
                anew: self.login.source == Source::Refused,
            });
        }
        // A server that goes away meanwhile is noticed.
        self.exchange(true, with)
    }

    /// The helper's answer.
    pub fn responded(&mut self, answer: &Answer, with: &mut With<'_>) -> Turn {
        self.login.asked = None;
        let State::Talking { session, .. } = &mut self.state else { return Turn::Again };
        if session.challenge().is_none() {
            return Turn::Again;
        }
        match &answer.response {
            Ok((response, memory)) => {
                self.login.memory = *memory;
                // A secret that was read for this login stays that, also where it is asked for once more.
                if answer.source != Source::Unread && self.login.source != Source::Read {
                    self.login.source = answer.source;
                }
                session.respond(response.octets(), &mut self.output);
                self.since_ms = with.now.mono_ms;
                Turn::Again
            }
            Err(why) => {
                let reply = Reply::new(454, (7, 0), format_args!("no login: {why}"));
                let outcome = Outcome { scope: Scope::Login, verdict: Verdict::Deferred, reply };
                self.hear(&outcome, with).unwrap_or(Turn::Again)
            }
        }
    }

    /// Nobody logs us in here. A secret that was kept is read anew before that counts.
    pub(super) fn not_logged_in(&mut self, reply: &Reply, with: &mut With<'_>) -> Option<Turn> {
        if self.login.source == Source::Kept {
            self.login.source = Source::Refused;
            return if self.look_up(with) { None } else { Some(Turn::Over) };
        }
        let host = self.host_text();
        with.relay.login_failed(self.key, &host, reply, with.now);
        self.retry_or_next_host(reply, with)
    }

    /// The connection is gone, and with it how far the login was.
    pub(super) fn forget_login(&mut self) {
        self.login = Login { source: self.login.source, ..Login::default() };
    }
}
