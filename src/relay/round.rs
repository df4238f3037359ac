//! A round: one message on its way, every pending recipient tried once.
//!
//! Recipients that go the same way form a group, which is what a delivery carries. Groups of one
//! round run side by side where there is room; the round ends when all have ended. What was said is
//! remembered here until the notice that tells of it is durable.

use heapless::Vec;

use super::destination::Key;
use super::queue::Index;
use super::recipients::{Answers, Recipients};
use crate::spool::{Damage, Id, Place, RecipientState, Status};

/// What a round does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Groups are being formed and delivered.
    Delivering,
    /// All recipients were tried; a notice waits for a staging file.
    Notifying,
    /// The notice in this staging file is on its way to the disk.
    Committing {
        /// The staging file.
        staging: usize,
        /// It warns of a delay.
        warns: bool,
    },
    /// All recipients were decided by the next hop before the message was committed: its client has
    /// to be told.
    Passed {
        /// The client's slot.
        slot: usize,
    },
}

/// Who answers for a message that is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Custody {
    /// We do: the spool has it.
    Ours,
    /// Nobody but its client yet, who waits for the next hop until then, by the monotonic clock.
    Offered {
        /// The client's slot.
        slot: usize,
        /// When it is committed all the same.
        until_ms: u64,
    },
    /// The same, but its client waits for the disk.
    Joining {
        /// The client's slot.
        slot: usize,
    },
    /// Its client again: the disk did not take it. What is under way comes to nothing.
    Returned,
}

/// A message on its way.
#[derive(Debug)]
pub struct Round {
    /// Its place in the queue table.
    pub at: Index,
    /// Its queue id.
    pub id: Id,
    /// Where it lies.
    pub place: Place,
    /// How many recipients it has.
    pub recipients: u16,
    /// How they stand.
    pub status: Status,
    /// Recipients that were given to a group of this round.
    pub taken: Recipients,
    /// Where it found no room when it looked for the next group.
    pub waits_for: Keys,
    /// The state of [`Relay`](super::Relay) at which it last found no room; it need not look again before that
    /// changes.
    pub looked_at: Option<u64>,
    /// Groups under way.
    pub active: u16,
    /// Groups that were started: without one the message was not tried.
    pub started: u16,
    /// What was said of each, and who failed by it.
    pub answers: Answers,
    /// What the round does.
    pub phase: Phase,
    /// Who answers for the message.
    pub custody: Custody,
    /// The spool does not hold what was put there: nothing more is sent of it.
    pub damage: Option<Damage>,
    /// Somebody asked that the message be held or removed when the round is over.
    pub afterwards: Option<Afterwards>,
}

impl Round {
    /// True if it was started and nothing was done for it yet.
    pub fn is_fresh(&self) -> bool {
        self.phase == Phase::Delivering
            && self.custody == Custody::Ours
            && self.active == 0
            && self.waits_for.is_empty()
    }

    /// True if nothing is under way because there is no room where it has to go.
    pub fn is_stuck(&self) -> bool {
        self.phase == Phase::Delivering
            && self.custody == Custody::Ours
            && self.active == 0
            && !self.waits_for.is_empty()
    }

    /// True if every recipient is decided or was given to a group.
    pub fn has_tried_all(&self) -> bool {
        let is_left = |who| !self.taken.has(who) && self.status.state(who) == RecipientState::Pending;
        !(0..self.recipients).any(is_left)
    }
}

/// A few destinations.
#[derive(Clone, Debug, Default)]
pub struct Keys(Vec<Key, 4>);

impl Keys {
    /// Adds one; what there is no room for is left out.
    pub fn add(&mut self, key: Key) {
        if !self.0.contains(&key) {
            // Who has to know them all asks whether it is full.
            let _ = self.0.push(key);
        }
    }

    /// True if that one is in it, or may have been left out.
    pub fn has(&self, key: Key) -> bool {
        self.0.contains(&key) || self.is_full()
    }

    /// True if there may be more.
    pub fn is_full(&self) -> bool {
        self.0.is_full()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first that was added.
    pub fn first(&self) -> Option<Key> {
        self.0.first().copied()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = Key> + '_ {
        self.0.iter().copied()
    }

    /// Forgets them.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

/// What a person wants done with a message that is being delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Afterwards {
    /// Put it aside.
    Hold,
    /// Forget it.
    Remove,
}

/// How a group goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// Over a connection, by the hosts of this route.
    Hosts,
    /// Into a mailbox: one recipient.
    Mailbox,
}

/// Recipients of one message that go the same way.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    /// The round, by its place in [`Rounds`].
    pub round: RoundIndex,
    /// Who.
    pub who: Recipients,
    /// Where to.
    pub key: Key,
    /// How.
    pub via: Via,
}

/// A round's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoundIndex(u8);

/// All rounds there can be at once.
#[derive(Debug)]
pub struct Rounds(Box<[Option<Round>]>);

impl Rounds {
    /// Room for `count` rounds, at most 255; allocated here and never again.
    pub fn new(count: usize) -> Self {
        Self((0..count.min(usize::from(u8::MAX))).map(|_| None).collect())
    }

    /// Octets of heap that so many take.
    pub const fn heap_octets(count: usize) -> usize {
        count * size_of::<Option<Round>>()
    }

    /// Rounds under way.
    pub fn len(&self) -> usize {
        self.0.iter().flatten().count()
    }

    /// True if none is under way.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    /// True if another round can start.
    pub fn has_room(&self) -> bool {
        self.0.iter().any(Option::is_none)
    }

    /// True if another round can start, perhaps in place of one that is stuck.
    pub fn can_make_room(&self) -> bool {
        self.0.iter().any(|round| round.as_ref().is_none_or(Round::is_stuck))
    }

    /// Starts one; `None` if there is no room.
    pub fn start(
        &mut self,
        at: Index,
        id: Id,
        place: Place,
        recipients: u16,
        status: Status,
    ) -> Option<RoundIndex> {
        let free = self.0.iter().position(Option::is_none)?;
        self.0[free] = Some(Round {
            at,
            id,
            place,
            recipients,
            status,
            taken: Recipients::none(),
            waits_for: Keys::default(),
            looked_at: None,
            active: 0,
            started: 0,
            answers: Answers::default(),
            phase: Phase::Delivering,
            custody: Custody::Ours,
            damage: None,
            afterwards: None,
        });
        u8::try_from(free).ok().map(RoundIndex)
    }

    /// The round at a place where one runs.
    pub fn at(&mut self, round: RoundIndex) -> &mut Round {
        self.0[usize::from(round.0)].as_mut().expect("a group outlives no round")
    }

    /// Notes that the round at a place, if it still runs, found no room at that state.
    pub fn looked(&mut self, round: RoundIndex, at: u64) {
        if let Some(round) = &mut self.0[usize::from(round.0)] {
            round.looked_at = Some(at);
        }
    }

    /// Ends one.
    pub fn end(&mut self, round: RoundIndex) {
        self.0[usize::from(round.0)] = None;
    }

    /// All rounds under way.
    pub fn iter(&self) -> impl Iterator<Item = &Round> {
        self.0.iter().flatten()
    }

    /// All places where a round runs.
    pub fn indices(&self) -> impl Iterator<Item = RoundIndex> + use<> {
        let mut running = [false; 256];
        for (run, round) in running.iter_mut().zip(&self.0) {
            *run = round.is_some();
        }
        (0..u8::MAX).filter(move |&n| running[usize::from(n)]).map(RoundIndex)
    }

    /// The round of a message, if it is on its way.
    pub fn find(&self, at: Index) -> Option<RoundIndex> {
        let found = self.0.iter().position(|r| r.as_ref().is_some_and(|r| r.at == at))?;
        u8::try_from(found).ok().map(RoundIndex)
    }
}
