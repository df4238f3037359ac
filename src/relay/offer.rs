//! `commit = "next-hop"`: passing a message on before it is committed.
//!
//! A complete message stays in its staging file and is delivered from there at once, while its
//! client waits for the answer. If the next hop decides on every recipient, what it said is the answer,
//! and nothing was ever forced to the flash. In every other case (the wait is over, nothing is on its
//! way, a recipient is deferred, some are delivered and some refused) the message joins the next batch
//! like any other, and goes on from the spool with what was reached so far. So a client hears 250
//! only for what the next hop has or the disk has.

use log::warn;

use super::intake::{reply_to, staging};
use super::queue::Entry;
use super::recipients::Recipients;
use super::round::{Custody, Phase, RoundIndex};
use super::{Relay, Verdict};
use crate::config::Commit;
use crate::smtp::reply::Reply;
use crate::spool::{Message, RecipientState, Refusal, Status};
use crate::sys::Now;

impl Relay {
    /// Starts to pass the complete message of a slot on; false if it is to be committed at once: that
    /// is asked for, or its destination is resting or has others waiting, or there is no room.
    pub(super) fn offer(&mut self, slot: usize, now: Now) -> bool {
        let spool = &self.config.spool;
        if spool.commit != Commit::NextHop || self.pauses || !self.rounds.has_room() {
            return false;
        }
        let wait_ms = u64::try_from(spool.commit_wait.as_millis()).unwrap_or(u64::MAX);
        let key = self.incoming[slot].key();
        let is_free = self.destinations.find(key).is_none_or(|found| {
            self.destinations.is_open(found, now.mono_ms) && !self.destinations.at(found).has_waiting()
        });
        if !is_free || self.queue.free() == 0 {
            return false;
        }
        // What the disk has against it, the commit finds out as well.
        let Ok(message) = self.store.offer(staging(slot), now.unix_s) else { return false };
        let entry = Entry::new(&message, 0, key);
        let Some(at) = self.queue.insert(entry, now) else { return false };
        self.queue.start(at);
        let status = Status::new(message.id);
        let Some(index) = self.rounds.start(at, message.id, message.place, message.recipients, status) else {
            self.queue.remove(at);
            return false;
        };
        let until_ms = now.mono_ms.saturating_add(wait_ms);
        self.rounds.at(index).custody = Custody::Offered { slot, until_ms };
        true
    }

    /// Commits what was offered and has waited long enough, or is not on its way: there is no room for
    /// it, or its destination has turned out to be resting.
    pub(super) fn join_waiting(&mut self, now: Now) {
        for index in self.rounds.indices() {
            let round = self.rounds.at(index);
            if let Custody::Offered { slot, until_ms } = round.custody
                && round.phase == Phase::Delivering
                && (until_ms <= now.mono_ms || round.active == 0)
            {
                self.join(index, slot, now);
            }
        }
    }

    /// When an offered message has something to do next: at once if it was decided, for its client waits.
    pub(super) fn next_join_ms(&self) -> Option<u64> {
        self.rounds
            .iter()
            .filter_map(|round| match (round.phase, round.custody) {
                (Phase::Passed { .. }, _) => Some(0),
                (_, Custody::Offered { until_ms, .. }) => Some(until_ms),
                _ => None,
            })
            .min()
    }

    /// No more waiting: whatever is offered is committed in this turn.
    pub(super) fn join_all(&mut self) {
        for index in self.rounds.indices() {
            if let Custody::Offered { until_ms, .. } = &mut self.rounds.at(index).custody {
                *until_ms = 0;
            }
        }
    }

    fn join(&mut self, index: RoundIndex, slot: usize, now: Now) {
        self.rounds.at(index).custody = Custody::Joining { slot };
        self.store.commit(staging(slot), now.unix_s);
    }

    /// Every recipient of an offered message was tried. What the next hop did not decide alone is for
    /// the spool.
    pub(super) fn settle_offer(&mut self, index: RoundIndex, slot: usize, now: Now) {
        let round = self.rounds.at(index);
        let is_delivered = round.status.is_done(round.recipients);
        let is_refused = round.answers.failed().len() == round.recipients;
        if round.damage.is_some() || !is_delivered && !is_refused {
            return self.join(index, slot, now);
        }
        round.phase = Phase::Passed { slot };
        self.store.abort(staging(slot));
    }

    /// The next message that was decided without us: its slot, and the answer.
    pub(super) fn passed(&mut self) -> Option<(usize, Verdict)> {
        let slot_of = |phase: Phase| if let Phase::Passed { slot } = phase { Some(slot) } else { None };
        let mut indices = self.rounds.indices();
        let (index, slot) = indices.find_map(|i| Some((i, slot_of(self.rounds.at(i).phase)?)))?;
        let round = self.rounds.at(index);
        let entry = self.queue.entry(round.at);
        let verdict = match round.answers.failure(0) {
            Some(reply) => Verdict::Refused(reply.clone()),
            None => Verdict::Accepted(Message {
                id: round.id,
                place: round.place,
                content_octets: entry.size,
                arrived_unix_s: entry.arrived_unix_s,
                recipients: round.recipients,
            }),
        };
        self.counters.accepted += u64::from(matches!(verdict, Verdict::Accepted(_)));
        self.drop_round(index);
        Some((slot, verdict))
    }

    /// The round of the message that came in by this slot and has not been answered for.
    pub(super) fn offered_by(&mut self, slot: usize) -> Option<RoundIndex> {
        self.rounds.indices().find(|&index| self.rounds.at(index).custody == Custody::Joining { slot })
    }

    /// The disk has taken an offered message, or has not.
    pub(super) fn joined(
        &mut self,
        index: RoundIndex,
        result: Result<Message, Refusal>,
        now: Now,
    ) -> Verdict {
        let round = self.rounds.at(index);
        let at = round.at;
        match result {
            Ok(message) => {
                (round.place, round.custody, round.damage) = (message.place, Custody::Ours, None);
                self.counters.bounced += u64::from(round.answers.failed().len());
                self.counters.accepted += 1;
                let is_pending = |who| round.status.state(who) == RecipientState::Pending;
                let some_done = !(0..round.recipients).all(is_pending);
                let is_over = round.active == 0;
                self.queue.move_to(at, message.place);
                if some_done {
                    self.write_down(index, now);
                }
                if is_over {
                    self.settle_if_done(index, now);
                }
                Verdict::Accepted(message)
            }
            Err(refusal) => {
                warn!("{} was offered to the next hop, and the spool can't take it", round.id);
                (round.custody, round.taken) = (Custody::Returned, Recipients::all());
                if round.active == 0 {
                    self.drop_round(index);
                }
                let reply = reply_to(refusal);
                // A part may have been delivered: the client has to come again, whatever the reason.
                let is_final = reply.code() >= 500;
                let again = Reply::new(451, (3, 0), "the mail store can't take the message now");
                Verdict::Refused(if is_final { again } else { reply })
            }
        }
    }

    /// Ends the round of a message that the spool does not hold.
    pub(super) fn drop_round(&mut self, index: RoundIndex) {
        let at = self.rounds.at(index).at;
        self.rounds.end(index);
        self.queue.remove(at);
    }
}
