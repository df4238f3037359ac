//! An outbound slot: one connection to a destination, and the group of recipients it carries.
//!
//! A slot looks its host up, tries the addresses one after the other and the route's hosts in
//! order, speaks SMTP or LMTP by [`client::Session`](crate::smtp::client::Session), and when a
//! message is done takes the next one that waits for the same destination.

mod exchange;
mod hosts;
mod login;
mod secure;

use std::net::SocketAddr;

use heapless::String;
use mio::{Registry, Token};

use self::login::Login;
use super::dialling::{Families, Family, Tried, connect_timeout_s};
use super::names::{Addresses, Names, literal};
use super::responder::Responder;
use super::tls::Dialler;
use super::transport::{Ready, Transport};
use crate::limits::{HOST_OCTETS, IDLE_CONNECTION_S, REPLY_INPUT_OCTETS, TLS_HANDSHAKE_TIMEOUT_S};
use crate::relay::Relay;
use crate::relay::attempt::Attempt;
use crate::relay::delivery::{Fate, Hop};
use crate::relay::destination::Key;
use crate::relay::intake::text;
use crate::relay::outgoing::Outgoing;
use crate::relay::recipients::Recipients;
use crate::relay::round::Group;
use crate::smtp::buffer::Buffer;
use crate::smtp::client::{Next, Outcome, Output, Scope, Session, Terms, Verdict, Waiting, no_smtputf8};
use crate::smtp::keyword::Keyword;
use crate::smtp::reply::Reply;
use crate::spool::Damage;
use crate::sys::Now;

/// Steps a slot may take in one turn before the others have theirs.
const STEPS: usize = 64;
/// Octets of content that are looked through in one step.
const SURVEY_OCTETS: usize = 8 * 1024;

/// What a slot works with during one turn.
pub struct With<'a> {
    /// Our name for EHLO.
    pub terms: &'a Terms<'a>,
    /// Room for content, shared by all slots.
    pub scratch: &'a mut [u8],
    /// Where groups come from and outcomes go.
    pub relay: &'a mut Relay,
    /// The helper that looks up names.
    pub names: &'a mut Names,
    /// Which family of addresses leads anywhere.
    pub families: &'a mut Families,
    /// Who knows what to say to log in.
    pub responder: &'a mut Responder,
    /// Who starts TLS.
    pub dialler: &'a Dialler,
    /// The poll.
    pub registry: &'a Registry,
    /// The time of this turn.
    pub now: Now,
}

/// Recipients on their way over a connection.
#[derive(Debug)]
struct Work {
    attempt: Attempt,
    /// What is changed on the way.
    outgoing: Outgoing,
    /// Those of the transaction under way, in the order in which they were named.
    named: Recipients,
    /// Those who have no outcome yet, named or not.
    undecided: Recipients,
    /// The connection was kept from an earlier message: if it turns out to be dead, it was not
    /// this message's fault, and a fresh one is tried at once.
    reused: bool,
}

/// How far a connection is.
#[derive(Debug)]
enum State {
    /// The helper looks the host up.
    Resolving,
    /// The address at this place of the list is being tried.
    Connecting { transport: Transport, place: usize },
    /// Connected; the TLS handshake goes on.
    Securing { transport: Transport, session: Session },
    /// Connected.
    Talking { transport: Transport, session: Session },
}

/// What a slot needs after it ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Nothing until its socket, its helper or its deadline tells.
    Wait,
    /// Another turn.
    Again,
    /// The slot is free.
    Over,
}

/// A slot in use.
#[derive(Debug)]
pub struct Outbound {
    token: Token,
    ticket: u32,
    key: Key,
    /// Whose mail exchangers are the hosts; of use only where the route says so.
    domain: String<HOST_OCTETS>,
    /// Which of the route's or the domain's hosts.
    host: usize,
    /// There are no more of them.
    is_last: bool,
    /// What came of those so far.
    tried: Tried,
    /// The host's name, or the path of its socket.
    name: String<HOST_OCTETS>,
    /// 0 for a Unix socket.
    port: u16,
    addresses: Addresses,
    address: Option<SocketAddr>,
    /// The address with which TLS failed, where the route can do without.
    in_clear: Option<SocketAddr>,
    /// The connection's version of TLS, or "none".
    tls: &'static str,
    state: State,
    login: Login,
    work: Option<Work>,
    input: Buffer<REPLY_INPUT_OCTETS>,
    output: Output,
    ready: Ready,
    since_ms: u64,
}

impl Outbound {
    /// Starts on a group: the first host of its route.
    pub fn open(group: Group, token: Token, ticket: u32, with: &mut With<'_>) -> Option<Self> {
        let mut work = take_on(group, false, with)?;
        let mut slot = Self {
            domain: with.relay.domain(&mut work.attempt),
            token,
            ticket,
            key: group.key,
            host: 0,
            is_last: false,
            tried: Tried::default(),
            name: String::new(),
            port: 0,
            addresses: Addresses::new(),
            address: None,
            in_clear: None,
            tls: "none",
            state: State::Resolving,
            login: Login::default(),
            work: Some(work),
            input: Buffer::new(),
            output: Output::new(),
            ready: Ready::unknown(),
            since_ms: with.now.mono_ms,
        };
        slot.look_up(with).then_some(slot)
    }

    /// Where its connection leads.
    pub fn key(&self) -> Key {
        self.key
    }

    /// True if the connection is kept open with nothing to do.
    pub fn is_idle(&self) -> bool {
        self.work.is_none()
    }

    /// True once a host has been reached.
    pub fn is_connected(&self) -> bool {
        matches!(self.state, State::Talking { .. })
    }

    /// True if it can carry a message at once: an idle connection that has said QUIT can't.
    pub fn is_open(&self) -> bool {
        self.is_idle()
            && matches!(&self.state, State::Talking { session, .. } if session.waiting() == Waiting::Idle)
    }

    /// True if it waits for the `names` helper.
    pub fn is_looking_up(&self) -> bool {
        matches!(self.state, State::Resolving)
    }

    /// True if it waits for the answer to this question.
    pub fn is_resolving(&self, ticket: u32) -> bool {
        matches!(self.state, State::Resolving) && self.ticket == ticket
    }

    /// What the poll has told.
    pub fn ready(&mut self) -> &mut Ready {
        &mut self.ready
    }

    /// Takes the next group onto the idle connection; false if it had to be given back.
    pub fn reuse(&mut self, group: Group, with: &mut With<'_>) -> bool {
        assert!(self.is_open() && group.key == self.key);
        self.work = take_on(group, true, with);
        self.since_ms = with.now.mono_ms;
        self.work.is_some()
    }

    /// Works until it must wait, or has had its share.
    pub fn run(&mut self, with: &mut With<'_>) -> Turn {
        for _ in 0..STEPS {
            let turn = match &self.state {
                State::Resolving => return Turn::Wait,
                State::Connecting { .. } => self.connected(with),
                State::Securing { .. } => self.shake_hands(with),
                State::Talking { .. } => self.talk(with),
            };
            if let Some(turn) = turn {
                return turn;
            }
        }
        Turn::Again
    }

    /// Sees whether the connection stands; `None`: go on at once.
    fn connected(&mut self, with: &mut With<'_>) -> Option<Turn> {
        let State::Connecting { transport, place } = &self.state else { return None };
        let place = *place;
        let error = match transport.take_error() {
            Ok(None) if !self.ready.is_writable() => return Some(Turn::Wait),
            Ok(None) if transport.is_connected() => None,
            Ok(None) => return Some(Turn::Wait),
            Ok(Some(e)) | Err(e) => Some(e),
        };
        if let Some(e) = error {
            return self.dial_next(place, &e, with);
        }
        if let State::Connecting { transport, .. } = std::mem::replace(&mut self.state, State::Resolving) {
            transport.send_at_once();
            let silent = self.tried.connect();
            if let Some(address) = &self.address {
                with.families.answered(Family::of(address), silent, with.now.mono_ms);
            }
            self.input.clear();
            self.output.clear();
            self.since_ms = with.now.mono_ms;
            self.ready.refresh();
            return self.begin(transport, with);
        }
        None
    }

    /// Speaks; `None`: go on at once.
    fn talk(&mut self, with: &mut With<'_>) -> Option<Turn> {
        let terms = self.terms(with);
        let State::Talking { session, .. } = &mut self.state else { return None };
        let before = (session.waiting(), session.replies());
        let step = session.step(&terms, self.input.filled(), &mut self.output);
        self.input.consume(step.consumed);
        // A line or an octet now and then is no progress: a whole reply is.
        if (session.waiting(), session.replies()) != before {
            self.since_ms = with.now.mono_ms;
        }
        match step.next {
            Next::Input => self.exchange(true, with),
            Next::Output => self.exchange(false, with),
            Next::Ready => self.take_next(with),
            Next::Login => self.log_in(with),
            Next::StartTls => self.start_tls(with),
            Next::Recipient(nth) => self.name_recipient(nth, with),
            Next::Content => self.content(with),
            Next::Outcome(outcome) => self.hear(&outcome, with),
            Next::Closed => {
                // The last words are a courtesy: if they don't go at once, they don't go.
                let _ = self.send();
                Some(self.close(with))
            }
        }
    }

    /// The server waits for a transaction: the rest of this group, the next group, or none.
    fn take_next(&mut self, with: &mut With<'_>) -> Option<Turn> {
        if self.work.as_ref().is_some_and(|w| w.undecided.is_empty()) {
            with.relay.destination_answered(self.key, &self.host_text());
            self.finish_work(with);
            if let Some(group) = with.relay.next_for(self.key, with.now) {
                self.work = take_on(group, true, with);
            }
        }
        let State::Talking { session, .. } = &mut self.state else { return None };
        let Some(work) = &mut self.work else {
            // Whatever the server says now ends the connection; it is read so that its end is seen.
            return self.exchange(true, with);
        };
        let smtputf8 = work.attempt.smtputf8();
        if !work.outgoing.is_ready(session.offered(), smtputf8) {
            return self.survey(with);
        }
        if smtputf8 && !session.offered().has(Keyword::SmtpUtf8) {
            match with.relay.wide(&mut work.attempt, &work.undecided) {
                Ok(wide) if wide.is_empty() => {}
                Ok(wide) => {
                    // They can't be named to this server; the others can.
                    self.decide_by(false, &wide, Fate::Failed, &no_smtputf8(), with);
                    return None;
                }
                Err(damage) => return self.damaged(damage, with),
            }
        }
        work.attempt.rewind();
        work.outgoing.begin(session.offered());
        // What rules the message out concerns all who are left; what the server says, those it was told.
        work.named = work.undecided;
        let transaction = work.attempt.transaction(work.undecided.len());
        let transaction = work.outgoing.transaction(transaction, session.offered());
        match session.begin(&transaction, &mut self.output) {
            Ok(most) => {
                work.named = work.undecided.first(most);
                None
            }
            // Nothing was asked: the refusal is ours, by what the server offers.
            Err(outcome) => {
                self.decide_by(false, &Recipients::all(), Fate::Failed, &outcome.reply, with);
                None
            }
        }
    }

    /// Reads a piece of the content, to find out what of it the server cannot take.
    fn survey(&mut self, with: &mut With<'_>) -> Option<Turn> {
        let work = self.work.as_mut()?;
        if !work.outgoing.is_surveying() {
            work.attempt.rewind();
        }
        let room = with.scratch.len().min(SURVEY_OCTETS);
        match with.relay.read(&mut work.attempt, &mut with.scratch[..room]) {
            Ok(n) => work.outgoing.survey(&with.scratch[..n]),
            Err(damage) => return self.damaged(damage, with),
        }
        None
    }

    fn name_recipient(&mut self, nth: u16, with: &mut With<'_>) -> Option<Turn> {
        let State::Talking { session, .. } = &mut self.state else { return None };
        let work = self.work.as_mut()?;
        let who = work.named.nth(nth)?;
        let output = &mut self.output;
        match with.relay.name(&mut work.attempt, who, |recipient| session.recipient(recipient, output)) {
            Ok(()) => None,
            Err(damage) => self.damaged(damage, with),
        }
    }

    /// Sends a piece of content: as much as is sure to have room with a dot more at each line.
    fn content(&mut self, with: &mut With<'_>) -> Option<Turn> {
        let State::Talking { session, .. } = &mut self.state else { return None };
        let Some(work) = &mut self.work else { return None };
        let output = &mut self.output;
        let room = work.outgoing.fits(output.free() / 2).min(with.scratch.len());
        if room == 0 {
            return self.exchange(false, with);
        }
        let mut send = |octets: &[u8]| {
            let taken = session.content(octets, output);
            assert_eq!(taken, octets.len(), "half of the room is enough for stuffed content");
        };
        match with.relay.read(&mut work.attempt, &mut with.scratch[..room]) {
            Ok(0) => {
                work.outgoing.finish(&mut send);
                session.content_end();
            }
            Ok(n) => {
                work.outgoing.write(&with.scratch[..n], &mut send);
                self.since_ms = with.now.mono_ms;
            }
            Err(damage) => return self.damaged(damage, with),
        }
        None
    }

    /// What the spool holds is not what was put there: the connection is cut before the last dot.
    fn damaged(&mut self, damage: Damage, with: &mut With<'_>) -> Option<Turn> {
        if let Some(work) = &self.work {
            with.relay.damaged(&work.attempt.group, damage);
        }
        self.decide(
            &Recipients::all(),
            Fate::Deferred,
            &Reply::new(451, (3, 0), "the message is damaged in the spool"),
            with,
        );
        if let State::Talking { session, .. } = &mut self.state {
            session.abandon();
        }
        self.output.clear();
        Some(self.close(with))
    }

    /// Passes an outcome on; `None`: go on at once.
    fn hear(&mut self, outcome: &Outcome, with: &mut With<'_>) -> Option<Turn> {
        let reply = &outcome.reply;
        let fate = match outcome.verdict {
            Verdict::Delivered if self.passes_notify_on() => Fate::Delivered,
            Verdict::Delivered => Fate::Relayed,
            Verdict::Deferred => Fate::Deferred,
            Verdict::Failed => Fate::Failed,
        };
        match outcome.scope {
            Scope::Recipient(nth) => {
                if let Some(who) = self.work.as_ref().and_then(|w| w.named.nth(nth)) {
                    let mut one = Recipients::none();
                    one.add(who);
                    self.decide(&one, fate, reply, with);
                }
                None
            }
            Scope::Group => {
                if let Some(named) = self.work.as_ref().map(|w| w.named) {
                    self.decide(&named, fate, reply, with);
                }
                None
            }
            Scope::Destination => {
                self.drop_connection(with);
                self.retry_or_next_host(reply, with)
            }
            Scope::Login => {
                self.drop_connection(with);
                self.not_logged_in(reply, with)
            }
        }
    }

    /// True if the server was told what the sender wants to hear (RFC 3461 5.2).
    fn passes_notify_on(&self) -> bool {
        matches!(&self.state, State::Talking { session, .. } if session.offered().has(Keyword::Dsn))
    }

    /// The connection went away under us.
    fn lost(&mut self, cause: &str, with: &mut With<'_>) -> Option<Turn> {
        let State::Talking { session, .. } = &mut self.state else { return Some(Turn::Over) };
        let unheard = session.waiting() == Waiting::Mail;
        let outcome = session.lost(cause);
        self.drop_connection(with);
        let Some(outcome) = outcome else {
            // Nobody waited, unless the kept connection ended just as the next message came.
            return match &self.work {
                Some(work) if !work.undecided.is_empty() => {
                    self.retry_or_next_host(&Reply::new(451, (4, 2), "connection lost"), with)
                }
                _ => {
                    self.finish_work(with);
                    Some(Turn::Over)
                }
            };
        };
        let reply = &outcome.reply;
        if outcome.scope == Scope::Destination || (unheard && self.work.as_ref().is_some_and(|w| w.reused)) {
            return self.retry_or_next_host(reply, with);
        }
        self.decide(&Recipients::all(), Fate::Deferred, reply, with);
        self.finish_work(with);
        Some(Turn::Over)
    }

    /// After a destination failed as a whole: a kept connection is made anew before that counts.
    fn retry_or_next_host(&mut self, reply: &Reply, with: &mut With<'_>) -> Option<Turn> {
        let stale = self.work.as_mut().is_some_and(|w| std::mem::take(&mut w.reused));
        let goes_on = match &self.work {
            None => false,
            Some(_) if stale => {
                (self.host, self.is_last, self.tried) = (0, false, Tried::default());
                self.look_up(with)
            }
            Some(_) => self.next_host(Fate::Deferred, reply, with),
        };
        if goes_on { None } else { Some(Turn::Over) }
    }

    /// Gives recipients of this work that have no outcome yet one.
    fn decide(&mut self, who: &Recipients, fate: Fate, reply: &Reply, with: &mut With<'_>) {
        self.decide_by(self.tried.has_spoken(), who, fate, reply, with);
    }

    /// The same; `spoke`: the reply is the host's own.
    fn decide_by(&mut self, spoke: bool, who: &Recipients, fate: Fate, reply: &Reply, with: &mut With<'_>) {
        let host = self.host_text();
        let Some(work) = &mut self.work else { return };
        let hop = Hop { via: with.relay.via_name(self.key), host: &host, spoke, tls: self.tls };
        for who in who.iter().filter(|&w| work.undecided.has(w)) {
            with.relay.outcome(work.attempt.group.round, who, fate, reply, &hop, with.now);
        }
        work.undecided.remove(who);
    }

    fn finish_work(&mut self, with: &mut With<'_>) {
        if let Some(work) = self.work.take() {
            assert!(work.undecided.is_empty(), "every recipient has an outcome");
            with.relay.group_ended(&work.attempt.group, with.now);
        }
        self.since_ms = with.now.mono_ms;
    }

    /// The session is over.
    fn close(&mut self, with: &mut With<'_>) -> Turn {
        self.drop_connection(with);
        self.decide(
            &Recipients::all(),
            Fate::Deferred,
            &Reply::new(451, (4, 2), "the server closed the connection"),
            with,
        );
        self.finish_work(with);
        Turn::Over
    }

    fn drop_connection(&mut self, with: &mut With<'_>) {
        let state = std::mem::replace(&mut self.state, State::Resolving);
        if let State::Talking { mut transport, .. }
        | State::Securing { mut transport, .. }
        | State::Connecting { mut transport, .. } = state
        {
            if transport.tls().is_some() {
                transport.finish();
            }
            // Closing takes it out of the poll all the same.
            let _ = with.registry.deregister(&mut transport);
        }
        self.input.clear();
        self.output.clear();
        self.forget_login();
    }

    /// When the present wait has lasted too long.
    pub fn deadline_ms(&self) -> Option<u64> {
        let wait_s = match &self.state {
            // The helper always answers, in its own time.
            State::Resolving => return None,
            State::Connecting { place, .. } => connect_timeout_s(&self.addresses, *place),
            State::Securing { .. } => TLS_HANDSHAKE_TIMEOUT_S,
            State::Talking { session, .. } => match session.waiting() {
                Waiting::Idle if self.work.is_none() => IDLE_CONNECTION_S,
                waiting => waiting.timeout_s()?,
            },
        };
        Some(self.since_ms + u64::from(wait_s) * 1000)
    }

    /// The deadline has come.
    pub fn time_out(&mut self, with: &mut With<'_>) -> Turn {
        let turn = match &mut self.state {
            State::Resolving => None,
            State::Connecting { place, .. } => {
                let place = *place;
                self.tried.timed_out(&mut self.addresses, place);
                self.dial_next(place, &"connection timed out", with)
            }
            State::Securing { .. } => self.unsecured("the handshake took too long", with),
            State::Talking { session, .. } => {
                if session.waiting() == Waiting::Idle && self.work.is_none() {
                    session.quit();
                    self.since_ms = with.now.mono_ms;
                    None
                } else {
                    self.lost("timed out", with)
                }
            }
        };
        turn.unwrap_or(Turn::Again)
    }

    /// Ends an idle connection with QUIT, because its slot is needed or because the relay stops.
    pub fn dismiss(&mut self, with: &mut With<'_>) {
        if let State::Talking { session, .. } = &mut self.state {
            session.quit();
            let _ = session.step(with.terms, &[], &mut self.output);
            // A courtesy: if it doesn't go at once, it doesn't go.
            let _ = self.send();
        }
        self.drop_connection(with);
    }

    /// A new configuration waits for the end of what is under way. What the server may have as a whole is
    /// waited for, or it could be delivered twice; the rest is deferred.
    pub fn break_off(&mut self, with: &mut With<'_>) -> Turn {
        let is_sent = |session: &Session| session.waiting() == Waiting::Dot;
        if self.is_idle() || matches!(&self.state, State::Talking { session, .. } if is_sent(session)) {
            return Turn::Wait;
        }
        self.end(&Reply::new(451, (3, 2), "broken off for a new configuration"), with);
        Turn::Over
    }

    /// The relay stops: what is under way is deferred, for the next start to take up.
    pub fn stop(&mut self, with: &mut With<'_>) {
        if self.is_idle() {
            return self.dismiss(with);
        }
        self.end(&Reply::new(451, (3, 2), "the relay is stopping"), with);
    }

    fn end(&mut self, reply: &Reply, with: &mut With<'_>) {
        self.decide(&Recipients::all(), Fate::Deferred, reply, with);
        self.finish_work(with);
        self.drop_connection(with);
    }

    /// Host, address and port for the log.
    fn host_text(&self) -> String<200> {
        match self.address {
            Some(address) if literal(&self.name).is_none() => {
                text(format_args!("{}[{}]:{}", self.name, address.ip(), self.port))
            }
            Some(address) => text(format_args!("{address}")),
            None if self.port == 0 => text(&self.name),
            None => text(format_args!("{}:{}", self.name, self.port)),
        }
    }
}

/// Opens the message of a group; `None` if it is damaged, which the relay was told.
fn take_on(group: Group, reused: bool, with: &mut With<'_>) -> Option<Work> {
    match with.relay.attempt(&group) {
        Ok(attempt) => {
            let outgoing = with.relay.outgoing(&group, attempt.reverse_path());
            Some(Work { attempt, outgoing, named: Recipients::none(), undecided: group.who, reused })
        }
        Err(damage) => {
            with.relay.damaged(&group, damage);
            with.relay.group_ended(&group, with.now);
            None
        }
    }
}
