//! Sending messages on: which group goes next, what became of each recipient, and the end of a
//! round.

use std::ops::ControlFlow;

use heapless::String;
use log::{error, info, warn};

use super::Relay;
use super::ageing;
use super::destination::{Key, next_try_ms};
use super::intake::text;
use super::queue::Index;
use super::quoted::Quoted;
use super::recipients::Recipients;
use super::round::{Afterwards, Custody, Group, RoundIndex};
use super::route;
use super::story::Outcome;
use crate::config;
use crate::limits::{PATH_OCTETS, REPLY_TEXT_OCTETS};
use crate::smtp::address::Address;
use crate::smtp::command::Notify;
use crate::smtp::reply::Reply;
use crate::spool::{Cursor, Damage, Line, Place, RealDisk, RecipientState, Store};
use crate::sys::Now;

/// A message that can't be read, or can't be set aside, is looked at again after this, in
/// milliseconds.
const UNREADABLE_MS: u64 = 60_000;

/// What became of a recipient in an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The mailbox has it, or a next hop that tells the sender what he asked to hear (RFC 3461).
    Delivered,
    /// A next hop has it that knows no notices: nothing more will be heard of it.
    Relayed,
    /// Not now.
    Deferred,
    /// Not ever.
    Failed,
}

/// By which way an attempt went, for the log.
#[derive(Clone, Copy, Debug)]
pub struct Hop<'a> {
    /// The route's `via`.
    pub via: &'static str,
    /// Host, address and port, or a mailbox's folder.
    pub host: &'a str,
    /// The reply is the host's own, not what was found out about it.
    pub spoke: bool,
    /// The version of TLS, or "none".
    pub tls: &'static str,
}

impl Hop<'_> {
    /// No way at all.
    pub(super) const fn none(via: &'static str) -> Self {
        Self { via, host: "", spoke: false, tls: "none" }
    }
}

impl Relay {
    /// Recipients whose destination is backing off wait for it without another try.
    pub(super) fn defer_for(&mut self, index: RoundIndex, who: &Recipients, key: Key, now: Now) {
        let Some(slot) = self.destinations.find(key) else { return };
        let destination = self.destinations.at(slot);
        let host = text::<80>(destination.host());
        let spoke = destination.spoke();
        let reply = destination
            .reply()
            .cloned()
            .unwrap_or_else(|| Reply::new(451, (4, 1), "the destination is resting"));
        let hop = Hop { via: via_name(&self.config, key), host: &host, spoke, tls: "none" };
        self.decide(index, who, Fate::Deferred, &reply, &hop, now);
    }

    pub(super) fn decide(
        &mut self,
        index: RoundIndex,
        who: &Recipients,
        fate: Fate,
        reply: &Reply,
        hop: &Hop<'_>,
        now: Now,
    ) {
        for who in who.iter() {
            self.outcome(index, who, fate, reply, hop, now);
        }
    }

    /// Notes what became of one recipient. Delivered is written down at once, so that a killed
    /// relay forgets none of it; failed only when the bounce is safe.
    pub fn outcome(
        &mut self,
        index: RoundIndex,
        who: u16,
        fate: Fate,
        reply: &Reply,
        hop: &Hop<'_>,
        now: Now,
    ) {
        let round = self.rounds.at(index);
        let (place, at) = (round.place, round.at);
        let Addressee { to, notify, is_from_here } = addressee(&mut self.store, place, who);
        let said_by = if hop.spoke { hop.host } else { "" };
        let verb = match fate {
            Fate::Delivered | Fate::Relayed => {
                self.counters.delivered += 1;
                let is_told = fate == Fate::Delivered && !matches!(hop.via, "maildir" | "discard");
                let is_owed = !is_told && matches!(notify, Notify::On { success: true, .. });
                let state = if is_owed { RecipientState::Owed } else { RecipientState::Delivered };
                round.status.set(who, state);
                round.status.reply(who, state, &text::<REPLY_TEXT_OCTETS>(reply));
                round.answers.note(who, reply, said_by);
                // The last one is written down as the round closes, in the same turn.
                if round.custody == Custody::Ours && !round.status.is_done(round.recipients) {
                    self.write_down(index, now);
                }
                "delivered"
            }
            Fate::Deferred => {
                self.counters.deferred += 1;
                round.status.reply(who, RecipientState::Pending, &text::<REPLY_TEXT_OCTETS>(reply));
                round.answers.note(who, reply, said_by);
                "deferred"
            }
            Fate::Failed => {
                round.status.reply(who, RecipientState::Failed, &text::<REPLY_TEXT_OCTETS>(reply));
                round.answers.fail(who, reply, said_by);
                if round.custody == Custody::Ours {
                    self.counters.bounced += 1;
                    "bounced"
                } else {
                    // Whether it will be returned to a sender or refused to a client is open.
                    "rejected"
                }
            }
        };
        let entry = self.queue.entry(at);
        let (id, tenths) = (entry.id, entry.age_tenths(now.mono_ms));
        info!(
            "{id} {verb} to=<{}> via={} host={} tls={} reply={} age={}.{}s",
            Quoted::bare(&to),
            hop.via,
            Quoted::bare(hop.host),
            hop.tls,
            Quoted::new(reply),
            tenths / 10,
            tenths % 10
        );
        if is_from_here {
            let (via, host, tls, reply) = (hop.via, text(hop.host), text(hop.tls), text(reply));
            self.stories.note(Outcome { id, verb, to, via, host, tls, reply, age_tenths: tenths });
        }
    }

    /// A delivery is over; every recipient of its group has had its outcome.
    pub fn group_ended(&mut self, group: &Group, now: Now) {
        self.destinations.ended(group.key);
        self.changes += 1;
        let round = self.rounds.at(group.round);
        round.active -= 1;
        if round.active == 0 {
            self.settle_if_done(group.round, now);
        }
    }

    pub(super) fn settle_if_done(&mut self, index: RoundIndex, now: Now) {
        if self.rounds.at(index).has_tried_all() {
            self.settle(index, now);
        }
    }

    /// Every recipient was tried, or the round gives up its place: tells the sender of those that failed,
    /// then closes the round.
    pub(super) fn settle(&mut self, index: RoundIndex, now: Now) {
        let round = self.rounds.at(index);
        if round.active > 0 {
            return;
        }
        match round.custody {
            Custody::Ours => {}
            Custody::Offered { slot, .. } => return self.settle_offer(index, slot, now),
            Custody::Joining { .. } => return,
            Custody::Returned => return self.drop_round(index),
        }
        if let Some(damage) = round.damage {
            return self.break_off(index, damage, now);
        }
        if self.rounds.at(index).has_tried_all() {
            self.expire(index, now);
        }
        if self.has_news(index, now) {
            self.start_notice(index, now);
        } else {
            self.close_round(index, now);
        }
    }

    /// A message that is too old gives up on those who are still pending.
    fn expire(&mut self, index: RoundIndex, now: Now) {
        let at = self.rounds.at(index).at;
        if !self.is_expired(at, now) || self.rounds.at(index).afterwards.is_some() {
            return;
        }
        let round = self.rounds.at(index);
        for who in 0..round.recipients {
            if round.status.state(who) == RecipientState::Pending && !round.answers.failed().has(who) {
                let last = round.status.reply_of(who);
                let reply = match last {
                    "" => Reply::new(554, (4, 7), "delivery took too long"),
                    _ => Reply::new(554, (4, 7), format_args!("delivery took too long; last reply: {last}")),
                };
                round.answers.fail(who, &reply, "");
                self.counters.expired += 1;
                let Addressee { to, is_from_here, .. } = addressee(&mut self.store, round.place, who);
                info!("{} expired to=<{}> reply={}", round.id, Quoted::bare(&to), Quoted::new(&reply));
                if is_from_here {
                    let age_tenths = self.queue.entry(at).age_tenths(now.mono_ms);
                    let (id, reply) = (round.id, text(&reply));
                    let (via, host, tls) = ("", String::new(), text("none"));
                    self.stories.note(Outcome { id, verb: "expired", to, via, host, tls, reply, age_tenths });
                }
            }
        }
    }

    /// Writes down what the round came to: done, or waiting for its next try.
    pub(super) fn close_round(&mut self, index: RoundIndex, now: Now) {
        let round = self.rounds.at(index);
        let (at, place, id, recipients) = (round.at, round.place, round.id, round.recipients);
        let afterwards = round.afterwards;
        round.status.removed |= afterwards == Some(Afterwards::Remove);
        if round.status.is_done(round.recipients) {
            if let Err(e) = self.store.finish(place, &round.status, now.mono_ms) {
                warn!("{id} the outcome can't be written down, a restart may deliver again: {e}");
            }
            self.rounds.end(index);
            self.queue.remove(at);
            return;
        }
        let goes_on_at = round.waits_for.first().filter(|_| !round.has_tried_all());
        if round.started > 0 && goes_on_at.is_none() {
            round.status.tries = round.status.tries.saturating_add(1);
            round.status.tried_unix_s = now.unix_s;
        }
        round.status.held |= afterwards == Some(Afterwards::Hold);
        round.status.arrived_unix_s = self.queue.entry(at).arrived_unix_s;
        let tries = round.status.tries;
        let some_done = (0..round.recipients).any(|who| round.status.state(who) != RecipientState::Pending);
        let is_written = self.write_down(index, now);
        self.rounds.end(index);
        let key = goes_on_at.unwrap_or_else(|| self.first_key(place));
        // Who was deferred just now is not tried again before this message's turn where it goes on.
        self.queue.update(at, tries, key, goes_on_at.is_none() && recipients > 1);
        if afterwards == Some(Afterwards::Hold) {
            return self.queue.hold(at);
        }
        if some_done && !is_written {
            // The next try would read the old status and deliver to everybody once more.
            error!(
                "{id} held: who has it can't be written down; release it, or restart, when the disk works"
            );
            return self.queue.hold(at);
        }
        if goes_on_at.is_some() {
            // Not all were tried yet: from the end of that line it goes on.
            return self.queue.wait(at, now.mono_ms);
        }
        let queue = &self.config.queue;
        let due = next_try_ms(tries, &queue.retry, id.number(), now.mono_ms);
        self.queue.wait(at, ageing::due_ms(queue, self.queue.entry(at), due, now));
    }

    /// Writes the round's status into the spool; false if the disk did not take it, which costs at
    /// most a second delivery after a restart.
    pub(super) fn write_down(&mut self, index: RoundIndex, now: Now) -> bool {
        let round = self.rounds.at(index);
        let written = self.store.record(round.place, &round.status, now.mono_ms);
        if let Err(e) = &written {
            warn!("{} the outcome can't be written down, a restart may deliver again: {e}", round.id);
        }
        written.is_ok()
    }

    /// A message turned out to be damaged while it was being delivered: its round goes no further.
    /// The recipients of the group that found it get their outcome as always.
    pub fn damaged(&mut self, group: &Group, damage: Damage) {
        self.give_up(group.round, damage);
    }

    /// No more groups of this round; those under way may end.
    pub(super) fn give_up(&mut self, index: RoundIndex, damage: Damage) {
        let round = self.rounds.at(index);
        round.taken = Recipients::all();
        round.waits_for.clear();
        round.damage = Some(damage);
    }

    pub(super) fn break_off(&mut self, index: RoundIndex, damage: Damage, now: Now) {
        let (at, place) = (self.rounds.at(index).at, self.rounds.at(index).place);
        self.rounds.end(index);
        self.set_aside(at, place, damage, now);
    }

    /// Takes a damaged message out of the queue. What can't be read now may be readable later: a
    /// lack of descriptors or a loose cable damages no mail.
    pub(super) fn set_aside(&mut self, at: Index, place: Place, damage: Damage, now: Now) {
        let id = self.queue.entry(at).id;
        let later_ms = now.mono_ms + UNREADABLE_MS;
        if matches!(damage, Damage::Unreadable(_)) {
            self.recent.note(format_args!("{id} {damage}"), now.unix_s);
            error!("{id} {damage}: tried again in {} s", UNREADABLE_MS / 1000);
            return self.queue.wait(at, later_ms);
        }
        self.recent.note(format_args!("{id} {damage}, set aside"), now.unix_s);
        match self.store.set_aside(place, damage, now.mono_ms) {
            Ok(()) => self.queue.remove(at),
            Err(e) if damage == Damage::Missing => {
                error!("{id} is gone from the spool, nothing is left to send: {e}");
                self.queue.remove(at);
            }
            Err(e) => {
                error!("{id} {damage} and it can't be set aside: {e}");
                self.queue.wait(at, later_ms);
            }
        }
    }
}

/// What the log and the notices need to know of a recipient.
struct Addressee {
    to: String<PATH_OCTETS>,
    notify: Notify,
    /// A program on this machine has sent the message.
    is_from_here: bool,
}

/// Reads it from the envelope; empty if that can't be read: the log line still has the id and the reply.
fn addressee(store: &mut Store<RealDisk>, place: Place, who: u16) -> Addressee {
    let mut found = Addressee { to: String::new(), notify: Notify::Unsaid, is_from_here: false };
    let each = &mut |line: Line<'_>, _: Cursor| match line {
        Line::Client(client) => {
            found.is_from_here = client.starts_with("uid:");
            ControlFlow::Continue(())
        }
        Line::To { number, path, notify, .. } if number == who => {
            (found.to, found.notify) = (String::try_from(path).unwrap_or_default(), notify);
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    };
    let _ = store.reader().read_envelope(place, Cursor::default(), each);
    found
}

/// Where a recipient goes by the routes; `None` if none leads there.
pub(super) fn key_of(config: &config::Config, from: &str, to: &str) -> Option<Key> {
    route::find(config, from, to).map(|route| key_by(config, route, to))
}

/// Where a recipient goes that takes this route.
pub(super) fn key_by(config: &config::Config, route: u16, to: &str) -> Key {
    let key = Key { route, domain: 0 };
    match (via(config, key), Address::parse(to)) {
        (Some(config::Via::Mx(_)), Some(to)) => Key::of_domain(route, to.domain),
        _ => key,
    }
}

pub(super) fn via(config: &config::Config, key: Key) -> Option<&config::Via> {
    config.route.get(usize::from(key.route)).map(|r| &r.via)
}

/// The `via` of a route as it is written in the configuration.
pub fn via_name(config: &config::Config, key: Key) -> &'static str {
    match via(config, key) {
        Some(config::Via::Maildir(_)) => "maildir",
        Some(config::Via::Lmtp(_)) => "lmtp",
        Some(config::Via::Smarthost(_)) => "smarthost",
        Some(config::Via::Mx(_)) => "mx",
        Some(config::Via::Discard) => "discard",
        Some(config::Via::Reject) | None => "reject",
    }
}

#[cfg(test)]
mod tests;
