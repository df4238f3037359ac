//! An inbound slot: one client's connection, its two fixed buffers and its session.
//!
//! [`Inbound::run`] moves octets between the socket and the session until it would have to wait,
//! for the peer or for the disk, or has had its share of the turn. What the session asks is
//! answered by the relay's intake; only the commit is answered later.

use std::net::IpAddr;
use std::time::Duration;

use heapless::String;
use log::{Level, log, warn};

use super::secrets::Secrets;
use super::tls::{Acceptor, Failure, Loan};
use super::transport::{Moved, Ready, Transport};
use crate::config::{Config, Limits};
use crate::limits::{INPUT_OCTETS, OUTPUT_OCTETS, TLS_HANDSHAKE_TIMEOUT_S};
use crate::relay::Relay;
use crate::relay::client::Client;
use crate::relay::intake::text;
use crate::relay::login::Judgement;
use crate::relay::notes::Note;
use crate::relay::quoted::Quoted;
use crate::relay::users::Verdict;
use crate::smtp::buffer::Buffer;
use crate::smtp::reply::Reply;
use crate::smtp::sasl::Mechanisms;
use crate::smtp::server::{Answer, Cause, Next, Question, Session, Terms, Tls, Waiting};
use crate::sys::Now;

/// Steps a slot may take in one turn before the others have theirs.
const STEPS: usize = 64;
/// The same of a stranger. One step can answer a hundred commands, and there can be a crowd of them.
const STRANGER_STEPS: usize = 4;
/// Content octets that count as progress: less in the time allowed, and the client is too slow.
const PROGRESS_OCTETS: usize = 1024;
/// How long a stranger's session may last while none is left for another, in milliseconds, and one more
/// for each octet of content that it has brought.
const CROWDED_MS: u64 = 30_000;
/// How long a peer may take for our last words, in milliseconds.
const CLOSING_MS: u64 = 10_000;

/// Timeouts of a session, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For one command.
    pub command_ms: u64,
    /// For a good piece of content, or for the peer to take our replies.
    pub data_ms: u64,
    /// For all of it.
    pub session_ms: u64,
}

impl Timeouts {
    /// Those of the configuration.
    pub fn of(limits: &Limits) -> Self {
        Self {
            command_ms: millis(limits.command_timeout),
            data_ms: millis(limits.data_timeout),
            session_ms: millis(limits.session_timeout),
        }
    }
}

/// Milliseconds, of a size that can be added to a clock.
fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX / 4).min(u64::MAX / 4)
}

/// What a slot works with during one turn.
pub struct With<'a> {
    /// What holds for its session.
    pub terms: &'a Terms<'a>,
    /// Room for decoded content, shared by all slots.
    pub scratch: &'a mut [u8],
    /// Who answers.
    pub relay: &'a mut Relay,
    /// Who starts TLS.
    pub acceptor: &'a Acceptor,
    /// Who judges logins.
    pub secrets: &'a mut Secrets,
    /// The time of this turn.
    pub now: Now,
}

/// What a slot needs after it ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Nothing until its socket, its answer or its deadline tells.
    Wait,
    /// Another turn: there is more it could do now.
    Again,
    /// The connection is over; the slot is to be emptied.
    Over,
}

/// Whom the session's open question was put to and who has not answered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Nobody,
    /// It commits the message.
    Disk,
    /// The helper, with this ticket.
    Secrets(u32),
    /// Nobody yet: the helper has as many logins before it as it takes, and this one has its turn.
    Line,
}

/// A connection and its session.
#[derive(Debug)]
pub struct Inbound {
    transport: Transport,
    /// The listener has STARTTLS.
    offers_tls: bool,
    /// What TLS will run in, once 220 to STARTTLS is out.
    promised: Option<Loan>,
    /// Who it is.
    pub client: Client,
    session: Session,
    input: Buffer<INPUT_OCTETS>,
    output: Buffer<OUTPUT_OCTETS>,
    ready: Ready,
    /// The peer has ended its side; what it sent before still counts.
    ended: bool,
    /// We have ended ours: nothing is said any more.
    finished: bool,
    opened_ms: u64,
    asked: Asked,
    /// The batch that its last message was durable with.
    answered_in: Option<u64>,
    /// Since when the present wait lasts, and for what.
    since_ms: u64,
    waiting: Waiting,
    /// Content octets since it began; a command that is done counts as enough.
    progress: usize,
    /// Content octets of the whole session.
    brought: u64,
}

const _: () = assert!(size_of::<Option<Inbound>>() <= 8 * 1024, "a plain slot is at most 8 KiB");

impl Inbound {
    /// A fresh connection, greeted; one that begins with TLS is greeted after the handshake. `early` is the
    /// beginning of what the client has said before.
    pub fn open(
        transport: Transport,
        client: Client,
        offers_tls: bool,
        terms: &Terms<'_>,
        early: &[u8],
        now_ms: u64,
    ) -> Self {
        let mut session = Session::new();
        let mut output = Buffer::new();
        if !transport.is_handshaking() {
            session.greet(terms, early, &mut output);
        }
        let waiting = session.waiting();
        Self {
            transport,
            offers_tls,
            promised: None,
            client,
            session,
            input: Buffer::new(),
            output,
            ready: Ready::fresh(),
            ended: false,
            finished: false,
            asked: Asked::Nobody,
            answered_in: None,
            opened_ms: now_ms,
            since_ms: now_ms,
            waiting,
            progress: 0,
            brought: 0,
        }
    }

    /// The connection, for the poll.
    pub fn transport(&mut self) -> &mut Transport {
        &mut self.transport
    }

    /// The session, for what the log and the trace field need.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// What holds for its session now, where users can use these mechanisms.
    pub fn terms<'a>(&self, config: &'a Config, mechanisms: Mechanisms) -> Terms<'a> {
        self.client.terms(config, self.tls(), mechanisms)
    }

    fn tls(&self) -> Tls {
        match self.offers_tls {
            _ if self.session.is_secure() => Tls::Active,
            true => Tls::Offered,
            false => Tls::NotOffered,
        }
    }

    /// True while the TLS handshake goes on.
    pub fn is_handshaking(&self) -> bool {
        self.transport.is_handshaking()
    }

    /// The client's address.
    pub fn address(&self) -> Option<IpAddr> {
        self.client.remote.address()
    }

    /// True while its client is a stranger.
    pub fn is_stranger(&self) -> bool {
        self.client.is_stranger(self.session.user())
    }

    /// What the poll has told.
    pub fn ready(&mut self) -> &mut Ready {
        &mut self.ready
    }

    /// True while a transaction is open whose content has yet to end: a batch may wait for it.
    ///
    /// A session that was answered by the latest batch counts too: clients that hand over message
    /// after message go on at once, and in step.
    pub fn is_filling(&self, batch: u64) -> bool {
        !self.is_committing() && (self.session.transaction().is_some() || self.answered_in == Some(batch))
    }

    /// Works until it must wait, or has had its share.
    pub fn run(&mut self, slot: usize, with: &mut With<'_>) -> Turn {
        for _ in 0..if self.is_stranger() { STRANGER_STEPS } else { STEPS } {
            if let Some(turn) = self.step(slot, with) {
                self.watch(with.now.mono_ms);
                return turn;
            }
        }
        self.watch(with.now.mono_ms);
        Turn::Again
    }

    /// One step of the session and what it needs; `None`: go on at once.
    fn step(&mut self, slot: usize, with: &mut With<'_>) -> Option<Turn> {
        if self.transport.is_handshaking() {
            return Some(self.shake_hands(with));
        }
        let step = self.session.step(with.terms, self.input.filled(), with.scratch, &mut self.output);
        self.input.consume(step.consumed);
        if self.waiting == Waiting::Command && step.consumed > 0 {
            self.progress = PROGRESS_OCTETS;
        }
        match step.next {
            Next::Input => self.receive(),
            Next::Output => self.send(),
            Next::Ask => self.ask(slot, with),
            Next::Content(octets) => {
                self.progress += octets;
                self.brought += octets as u64;
                if let Err(reply) = with.relay.content(slot, &with.scratch[..octets]) {
                    self.session.fail_content(reply);
                }
                None
            }
            Next::StartTls => self.send().or_else(|| self.start_tls(with.now)),
            Next::Close => self.send().or_else(|| self.linger(with.scratch)),
        }
    }

    /// Our last words are out. To close on octets that were not read would be answered by a reset, and
    /// a peer that is still sending would see that instead of the words: it is heard out, for as long as
    /// the deadline allows.
    fn linger(&mut self, scratch: &mut [u8]) -> Option<Turn> {
        // Once: the poll tells of it, and would tell of it again.
        if !std::mem::replace(&mut self.finished, true) {
            self.transport.finish();
        }
        let is_talking = self.session.cause().is_some_and(Cause::is_interruption);
        // Whoever speaks TLS has had its end already.
        if !is_talking || self.ended || self.transport.tls().is_some() {
            return Some(Turn::Over);
        }
        if !self.ready.is_readable() {
            return Some(Turn::Wait);
        }
        match self.ready.read(&mut self.transport, scratch) {
            Moved::Octets(_) | Moved::Nothing => None,
            Moved::End | Moved::Broken => Some(Turn::Over),
        }
    }

    /// 220 is out: what comes now is TLS. What the client sent behind STARTTLS in the clear could be from
    /// anybody on the line.
    fn start_tls(&mut self, now: Now) -> Option<Turn> {
        let pump = self.promised.take()?;
        if !self.input.is_empty() {
            let octets = self.input.filled().len();
            warn!(
                target: self.client.log_target(),
                "- client={} sent {octets} octets behind STARTTLS in the clear: dropped",
                self.client.remote
            );
        }
        self.input.clear();
        self.transport.secure(pump);
        self.ready.refresh();
        self.since_ms = now.mono_ms;
        None
    }

    /// Goes on with the handshake.
    fn shake_hands(&mut self, with: &mut With<'_>) -> Turn {
        if self.is_closing() {
            return Turn::Over;
        }
        let can_send = self.transport.owes() && self.ready.is_writable();
        if !self.ready.is_readable() && !can_send {
            return Turn::Wait;
        }
        match self.ready.shake_hands(&mut self.transport) {
            Moved::Octets(_) => self.secured(with),
            Moved::Nothing => Turn::Wait,
            Moved::End | Moved::Broken => {
                self.log_failure(with.relay);
                Turn::Over
            }
        }
    }

    /// The handshake is done. The next turn has the terms of a session under TLS.
    fn secured(&mut self, with: &With<'_>) -> Turn {
        let begins = !self.session.is_securing();
        self.session.secured();
        if begins {
            self.session.greet(with.terms, &[], &mut self.output);
        }
        self.since_ms = with.now.mono_ms;
        Turn::Again
    }

    /// Writes down why there is no TLS; a peer that only looked whether the port is open is no news.
    pub fn log_failure(&self, relay: &mut Relay) {
        let Some(stream) = self.transport.tls() else { return };
        let pump = stream.pump();
        if pump.has_received() {
            relay.note(&self.client, pump.failure().map_or(Note::TlsFailed, Failure::note));
        }
        let reason = match pump.failure() {
            None if pump.has_received() => "the TLS handshake took too long",
            None => "no TLS handshake came: the client may want STARTTLS, on another port",
            Some(failure) => failure.text(),
        };
        let level = if pump.has_received() || pump.failure().is_none() { Level::Info } else { Level::Debug };
        let target = self.client.log_target();
        log!(target: target, level, "- rejected client={} reason={}", self.client.remote, Quoted::new(reason));
    }

    /// Version and cipher of TLS, for the log.
    pub fn secrecy(&self) -> String<80> {
        match self.transport.tls() {
            Some(stream) => {
                text(format_args!("tls={} cipher={}", stream.pump().version(), stream.pump().cipher()))
            }
            None => text("tls=none"),
        }
    }

    fn ask(&mut self, slot: usize, with: &mut With<'_>) -> Option<Turn> {
        if self.asked != Asked::Nobody {
            return Some(self.send_while_asking());
        }
        let question = self.session.question()?;
        if let Question::Auth(_) = question {
            return self.ask_secrets(with);
        }
        if matches!(question, Question::StartTls) {
            self.promised = with.acceptor.accept();
            if self.promised.is_none() {
                let reply = Reply::new(454, (7, 0), "TLS is not available now, try again later");
                with.relay.refused(&self.client, &self.session, &question, &reply);
                self.session.answer(with.terms, Answer::Refused(reply), &mut self.output);
                return None;
            }
        }
        match with.relay.answer(slot, &self.client, &self.session, &question, with.now) {
            Some(answer) => {
                self.session.answer(with.terms, answer, &mut self.output);
                None
            }
            None => {
                self.asked = Asked::Disk;
                Some(self.send_while_asking())
            }
        }
    }

    /// Puts a login to the helper.
    fn ask_secrets(&mut self, with: &mut With<'_>) -> Option<Turn> {
        let Some(Question::Auth(request)) = self.session.question() else { return None };
        let relay = &mut *with.relay;
        match relay.login_refused(&self.client, &self.session, request, with.now) {
            None => {
                self.asked = with.secrets.ask(&relay.config(), request).map_or(Asked::Line, Asked::Secrets);
                Some(self.send_while_asking())
            }
            Some(reply) => {
                self.session.answer(with.terms, Answer::Refused(reply), &mut self.output);
                None
            }
        }
    }

    /// Since when it stands in line for the helper, if it does.
    pub fn in_line_since_ms(&self) -> Option<u64> {
        (self.asked == Asked::Line && self.session.question().is_some()).then_some(self.since_ms)
    }

    /// Its turn has come: it asks again.
    pub fn leave_line(&mut self) {
        self.asked = Asked::Nobody;
    }

    /// True if it waits for the answer to this question.
    pub fn waits_for(&self, ticket: u32) -> bool {
        self.asked == Asked::Secrets(ticket)
    }

    /// The helper's answer.
    pub fn judged(&mut self, terms: &Terms<'_>, judgement: &Judgement, relay: &mut Relay, now: Now) {
        self.asked = Asked::Nobody;
        // A session that was shut meanwhile asks nothing any more.
        let Some(Question::Auth(request)) = self.session.question() else { return };
        let refused = relay.judged(&self.client, &self.session, request, judgement, now);
        let answer = match (refused, &judgement.verdict) {
            (Some(reply), _) => Answer::Refused(reply),
            (None, Ok(Verdict::Challenge(octets))) => Answer::Challenge(octets),
            (None, Ok(Verdict::Yes)) => Answer::Yes,
            (None, Ok(Verdict::No) | Err(_)) => unreachable!("the relay has a reply for every refusal"),
        };
        self.session.answer(terms, answer, &mut self.output);
    }

    /// A peer that is gone is noticed after the answer: until then the disk has the slot's staging
    /// file, and nobody else may come into the slot.
    fn send_while_asking(&mut self) -> Turn {
        let _ = self.send();
        Turn::Wait
    }

    /// Flushes, then reads: replies go out before we wait for more, many in one packet.
    fn receive(&mut self) -> Option<Turn> {
        if let Some(turn) = self.send() {
            return Some(turn);
        }
        if self.ended {
            return Some(Turn::Over);
        }
        if !self.ready.is_readable() {
            return Some(Turn::Wait);
        }
        match self.ready.read(&mut self.transport, self.input.room()) {
            Moved::Octets(n) => self.input.advance(n),
            Moved::Nothing => {}
            Moved::End => self.ended = true,
            Moved::Broken => return Some(Turn::Over),
        }
        None
    }

    /// Sends all of the output, or tells why not: the peer is slow, or gone.
    fn send(&mut self) -> Option<Turn> {
        while !self.output.is_empty() || self.transport.owes() {
            if !self.ready.is_writable() {
                return Some(Turn::Wait);
            }
            match self.ready.write(&mut self.transport, self.output.filled()) {
                Moved::Octets(n) => self.output.consume(n),
                Moved::Nothing => {}
                Moved::End | Moved::Broken => return Some(Turn::Over),
            }
        }
        None
    }

    /// The commit's answer.
    pub fn answer(&mut self, terms: &Terms<'_>, answer: Answer<'_>, batch: u64) {
        self.asked = Asked::Nobody;
        self.answered_in = Some(batch);
        self.session.answer(terms, answer, &mut self.output);
    }

    /// True while the disk has its message.
    pub fn is_committing(&self) -> bool {
        self.asked == Asked::Disk
    }

    /// True once the session is over and only its last words are to go.
    pub fn is_closing(&self) -> bool {
        self.session.waiting() == Waiting::Closing
    }

    /// Ends the session from our side; what is in the output still goes out.
    pub fn shut(&mut self, reply: &Reply) {
        self.session.shut(reply, &mut self.output);
    }

    /// Sees whether the present wait is a new one, for the deadline: a command that is done, or a
    /// good piece of content, starts a new one; a single octet does not.
    fn watch(&mut self, now_ms: u64) {
        let waiting = self.session.waiting();
        if waiting != self.waiting || self.progress >= PROGRESS_OCTETS {
            self.waiting = waiting;
            self.progress = 0;
            self.since_ms = now_ms;
        }
    }

    /// When the present wait ends the session; `None` while the wait is for us. `is_crowded`: there is no
    /// slot for another stranger.
    pub fn deadline_ms(&self, timeouts: &Timeouts, is_crowded: bool) -> Option<u64> {
        let wait_ms = match self.waiting {
            _ if self.is_handshaking() => u64::from(TLS_HANDSHAKE_TIMEOUT_S) * 1000,
            Waiting::Command => timeouts.command_ms,
            Waiting::Content => timeouts.data_ms,
            Waiting::Closing => return Some(self.since_ms + CLOSING_MS),
            Waiting::Answer => return None,
        };
        let session_ms = match is_crowded && self.is_stranger() {
            true => timeouts.session_ms.min(CROWDED_MS + self.brought),
            false => timeouts.session_ms,
        };
        Some((self.since_ms + wait_ms).min(self.opened_ms + session_ms))
    }
}

#[cfg(test)]
mod tests;
