//! Which message goes next, and to which of its recipients: the lines of the destinations, what there is
//! room for, and groups.
//!
//! A round sends a group wherever there is room, in the order of the envelope. One that finds room
//! nowhere waits, and if its place is wanted by others it goes back into a line. So one slow destination
//! holds up neither other messages nor the other recipients of its own.

use std::ops::ControlFlow;

use log::warn;

use super::Relay;
use super::attempt::Sender;
use super::delivery::{Fate, Hop, key_of, via};
use super::destination::{Destinations, Key};
use super::queue::Index;
use super::recipients::Recipients;
use super::round::{Group, Keys, Phase, Round, RoundIndex, Via};
use crate::config::{self, Config};
use crate::smtp::reply::Reply;
use crate::spool::{Cursor, Damage, Line, RecipientState};
use crate::sys::Now;

/// Messages that are taken up in one turn of the loop.
pub(super) const TAKEN_UP: usize = 64;

/// What was done in this turn of the loop: there is a bound to each.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Share {
    /// Messages that were taken up.
    pub(super) taken_up: usize,
    /// Recipients that were read to find a better line for a message.
    pub(super) looked_at: usize,
    /// Places of the queue table that were looked at for who waits in vain.
    pub(super) swept: usize,
}

/// For what the net has room now.
pub trait Room {
    /// Another mailbox delivery.
    fn for_mailbox(&self) -> bool;
    /// Another connection to that destination, or one that is open and idle.
    fn for_connection(&self, key: Key) -> bool;
    /// Another one for whose host a name server has to be asked, or one that is open and idle.
    fn for_look_up(&self, key: Key) -> bool;
}

/// If there is room for a delivery that goes this way.
fn has_room(room: &impl Room, way: &config::Via, key: Key) -> bool {
    room.for_connection(key) && (!matches!(way, config::Via::Mx(_)) || room.for_look_up(key))
}

/// Room for one more message on a connection that is open already.
struct Reused(Key);

impl Room for Reused {
    fn for_mailbox(&self) -> bool {
        false
    }

    fn for_connection(&self, key: Key) -> bool {
        key == self.0
    }

    fn for_look_up(&self, key: Key) -> bool {
        key == self.0
    }
}

/// True if there is room for one more delivery to that destination, which has so many.
fn has_place(config: &Config, room: &impl Room, key: Key, active: u16) -> bool {
    match via(config, key) {
        Some(config::Via::Maildir(_)) => room.for_mailbox(),
        Some(config::Via::Discard | config::Via::Reject) | None => true,
        Some(way) => active < config.limits.deliveries_per_destination && has_room(room, way, key),
    }
}

/// How a destination takes mail now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// A group can go there.
    Open,
    /// There is no room.
    Busy,
    /// It is backing off.
    Resting,
}

fn standing(config: &Config, destinations: &Destinations, room: &impl Room, key: Key, now: Now) -> Standing {
    let is_mailbox = matches!(via(config, key), Some(config::Via::Maildir(_)));
    let found = destinations.find(key).filter(|_| !is_mailbox);
    let active = found.map_or(0, |slot| destinations.at(slot).active());
    match found {
        Some(slot) if destinations.at(slot).backs_off_until_ms(now.mono_ms).is_some() => Standing::Resting,
        Some(slot) if !destinations.is_open(slot, now.mono_ms) => Standing::Busy,
        _ if has_place(config, room, key, active) => Standing::Open,
        _ => Standing::Busy,
    }
}

/// The recipients of a round that are still to be dealt with, by what is to be done.
#[derive(Default)]
struct Sorted {
    /// The first that can go now.
    group: Option<Group>,
    discarded: Recipients,
    /// No route leads there.
    stranded: Recipients,
    /// Those of one destination that is backing off.
    closed: Recipients,
    closed_key: Option<Key>,
    /// Where there is no room.
    waits_for: Keys,
}

impl Sorted {
    /// True if there is nothing to be done now.
    fn is_all_busy(&self) -> bool {
        self.group.is_none()
            && self.closed_key.is_none()
            && self.discarded.is_empty()
            && self.stranded.is_empty()
    }

    fn place(
        &mut self,
        config: &Config,
        round: RoundIndex,
        who: u16,
        key: Option<Key>,
        standing: impl Fn(Key) -> Standing,
    ) {
        let Some((key, way)) = key.and_then(|key| Some((key, via(config, key)?))) else {
            return self.stranded.add(who);
        };
        let via = match way {
            config::Via::Discard => return self.discarded.add(who),
            config::Via::Reject => return self.stranded.add(who),
            config::Via::Maildir(_) => Via::Mailbox,
            config::Via::Smarthost(_) | config::Via::Lmtp(_) | config::Via::Mx(_) => Via::Hosts,
        };
        if let Some(group) = &mut self.group {
            // A mailbox delivery is for one.
            if group.key == key && via == Via::Hosts {
                group.who.add(who);
            }
            return;
        }
        match standing(key) {
            Standing::Open => {
                let mut first = Recipients::none();
                first.add(who);
                self.group = Some(Group { round, who: first, key, via });
            }
            Standing::Resting => {
                if *self.closed_key.get_or_insert(key) == key {
                    self.closed.add(who);
                }
            }
            Standing::Busy => self.waits_for.add(key),
        }
    }
}

impl Relay {
    /// A turn of the loop begins: a bounded number of messages can be taken up in it.
    pub fn begin_turn(&mut self) {
        self.share = Share::default();
        self.changes += 1;
    }

    /// True if messages may wait that this turn had no time for.
    pub(super) fn has_had_enough(&self) -> bool {
        self.share.taken_up >= TAKEN_UP
    }

    /// The next group that can go now by what there is `room` for. The caller carries it out and
    /// tells of it by [`Relay::outcome`] and [`Relay::group_ended`].
    pub fn next_group(&mut self, room: &impl Room, now: Now) -> Option<Group> {
        self.line_up_due(now);
        self.sweep(now);
        for round in self.rounds.indices() {
            if self.rounds.at(round).looked_at == Some(self.changes) {
                continue;
            }
            if let Some(group) = self.startable(round, room, now) {
                return Some(group);
            }
            self.rounds.looked(round, self.changes);
        }
        while !self.pauses && !self.has_had_enough() && self.rounds.can_make_room() {
            let config = &self.config;
            let slot = self
                .destinations
                .next_ready(now.mono_ms, |d| has_place(config, room, d.key(), d.active()))?;
            if !self.make_room(now) {
                return None;
            }
            let at = self.destinations.step_out(&mut self.queue, slot)?;
            if let Some(group) = self.start_round(at, now).and_then(|round| self.startable(round, room, now))
            {
                return Some(group);
            }
        }
        None
    }

    /// The next message for a destination whose connection has just become free.
    pub fn next_for(&mut self, key: Key, now: Now) -> Option<Group> {
        self.line_up_due(now);
        for index in self.rounds.indices() {
            // Who has begun goes before who stands in line.
            if self.rounds.at(index).waits_for.has(key)
                && let Some(group) = self.startable(index, &Reused(key), now)
            {
                return Some(group);
            }
        }
        let slot = self.destinations.find(key)?;
        if self.pauses
            || self.has_had_enough()
            || !self.rounds.has_room()
            || !self.destinations.is_open(slot, now.mono_ms)
        {
            return None;
        }
        let at = self.destinations.step_out(&mut self.queue, slot)?;
        let round = self.start_round(at, now)?;
        self.startable(round, &Reused(key), now)
    }

    pub(super) fn start_round(&mut self, at: Index, now: Now) -> Option<RoundIndex> {
        self.share.taken_up += 1;
        self.queue.start(at);
        let entry = *self.queue.entry(at);
        let reader = self.store.reader();
        match reader.head(entry.place).and_then(|head| Ok((head, reader.status(entry.place)?))) {
            // A round that broke off had no time for what a person asked of it.
            Ok((_, status)) if status.removed => {
                if let Err(e) = self.store.finish(entry.place, &status, now.mono_ms) {
                    warn!("{} the end can't be written down: {e}", entry.id);
                }
                self.queue.remove(at);
                None
            }
            Ok((_, status)) if status.held => {
                self.queue.hold(at);
                None
            }
            Ok((head, status)) => self.rounds.start(at, entry.id, entry.place, head.recipients, status),
            Err(damage) => {
                self.set_aside(at, entry.place, damage, now);
                None
            }
        }
    }

    /// Makes room for another round, if there is none: a round of which nothing is under way, because there
    /// is no room where it has to go, gives up its place and stands in line again. False if there is no
    /// such round.
    pub(super) fn make_room(&mut self, now: Now) -> bool {
        while !self.rounds.has_room() {
            let stuck = self.rounds.indices().find(|&index| self.rounds.at(index).is_stuck());
            let Some(index) = stuck else { return false };
            self.settle(index, now);
        }
        true
    }

    /// The round's next group, if it can start now; ends the round if there is nothing left of it. What
    /// needs no delivery is decided here.
    fn startable(&mut self, index: RoundIndex, room: &impl Room, now: Now) -> Option<Group> {
        while !self.rounds.at(index).has_tried_all() {
            let Self { config, destinations, .. } = self;
            let is_busy = |key| standing(config, destinations, room, key, now) == Standing::Busy;
            if !is_worth_sorting(self.rounds.at(index), is_busy) {
                return None;
            }
            let sorted = match self.sort(index, room, now) {
                Ok(sorted) => sorted,
                Err(damage) => {
                    self.give_up(index, damage);
                    break;
                }
            };
            self.decide_sorted(index, &sorted, now);
            if let Some(group) = sorted.group {
                return self.start(group, now);
            }
            if sorted.is_all_busy() {
                return None;
            }
        }
        if self.rounds.at(index).phase == Phase::Delivering {
            self.settle(index, now);
        }
        None
    }

    /// Counts a group as under way, unless the table of destinations is full.
    fn start(&mut self, group: Group, now: Now) -> Option<Group> {
        let round = self.rounds.at(group.round);
        let Some(slot) = self.destinations.open(group.key, now.mono_ms) else {
            round.waits_for.add(group.key);
            return None;
        };
        self.destinations.started(slot, now.mono_ms);
        round.taken.join(&group.who);
        round.active += 1;
        round.started = round.started.saturating_add(1);
        Some(group)
    }

    /// Decides on those who need no delivery, or can have none now.
    fn decide_sorted(&mut self, index: RoundIndex, sorted: &Sorted, now: Now) {
        let round = self.rounds.at(index);
        round.waits_for = sorted.waits_for.clone();
        for decided in [&sorted.discarded, &sorted.stranded, &sorted.closed] {
            round.taken.join(decided);
        }
        if !sorted.discarded.is_empty() {
            let reply = Reply::new(250, (0, 0), "discarded");
            self.decide(index, &sorted.discarded, Fate::Delivered, &reply, &Hop::none("discard"), now);
        }
        if !sorted.stranded.is_empty() {
            let reply = Reply::new(550, (7, 1), "no route leads there");
            self.decide(index, &sorted.stranded, Fate::Failed, &reply, &Hop::none("reject"), now);
        }
        if let Some(key) = sorted.closed_key {
            self.defer_for(index, &sorted.closed, key, now);
        }
    }

    /// Sorts the recipients that are neither decided nor taken by where they go.
    fn sort(&mut self, index: RoundIndex, room: &impl Room, now: Now) -> Result<Sorted, Damage> {
        let Self { store, rounds, destinations, config, .. } = self;
        let round = rounds.at(index);
        let mut sorted = Sorted::default();
        let mut sender = Sender::default();
        store.reader().read_envelope(round.place, Cursor::default(), &mut |line, _| {
            let Line::To { number, path, .. } = line else {
                sender.take(&line);
                return ControlFlow::Continue(());
            };
            if !round.taken.has(number) && round.status.state(number) == RecipientState::Pending {
                let key = key_of(config, &sender.reverse_path, path);
                let standing = |key| standing(config, destinations, room, key, now);
                sorted.place(config, index, number, key, standing);
            }
            ControlFlow::Continue(())
        })?;
        Ok(sorted)
    }
}

/// False if a round has found no room anywhere, and that has not changed: its envelope need not be read.
fn is_worth_sorting(round: &Round, is_busy: impl Fn(Key) -> bool) -> bool {
    round.phase == Phase::Delivering
        && (round.waits_for.is_empty() || round.waits_for.is_full() || !round.waits_for.iter().all(is_busy))
}
