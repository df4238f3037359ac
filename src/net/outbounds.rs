//! All outbound slots, and what there is room for.

use std::io;

use mio::{Registry, Token};

use super::dialling::Families;
use super::mailboxes::Mailboxes;
use super::names::{self, Names};
use super::outbound::{Outbound, Turn, With};
use super::responder::Responder;
use super::tls::Dialler;
use crate::relay::Relay;
use crate::relay::destination::Key;
use crate::relay::dispatch::Room;
use crate::relay::round::Group;
use crate::smtp::client::{Login, Terms};
use crate::sys::Now;

/// What the slots work with during one turn.
pub struct Kit<'a> {
    /// Our name for EHLO.
    pub hostname: &'a str,
    /// Room for content.
    pub scratch: &'a mut [u8],
    /// Where groups come from and outcomes go.
    pub relay: &'a mut Relay,
    /// Who starts TLS.
    pub dialler: &'a Dialler,
    /// The poll.
    pub registry: &'a Registry,
    /// The time of this turn.
    pub now: Now,
}

impl Kit<'_> {
    /// What one slot works with.
    fn with<'b>(&'b mut self, terms: &'b Terms<'b>, ways: &'b mut Ways) -> With<'b> {
        let (Self { scratch, relay, dialler, registry, now, .. }, Ways { names, families, responder }) =
            (self, ways);
        With { terms, scratch, relay, names, families, responder, dialler, registry, now: *now }
    }
}

/// What leads to hosts.
struct Ways {
    /// The helper that looks names up.
    names: Names,
    families: Families,
    /// The helper that knows what to say to log in.
    responder: Responder,
}

/// The slots and what leads them to hosts.
pub struct Outbounds {
    slots: Box<[Option<Outbound>]>,
    /// Slots that can work now.
    ready: Box<[bool]>,
    ways: Ways,
    first_token: usize,
    /// Tells the answers for a slot's present use from those for an earlier one.
    uses: u32,
}

/// What there is room for now.
pub struct Free<'a> {
    /// Connections.
    pub outbounds: &'a Outbounds,
    /// Mailboxes.
    pub mailboxes: &'a Mailboxes,
}

impl Room for Free<'_> {
    fn for_mailbox(&self) -> bool {
        self.mailboxes.has_room()
    }

    fn for_connection(&self, _: Key) -> bool {
        self.outbounds.slots.iter().any(|slot| slot.as_ref().is_none_or(Outbound::is_idle))
    }

    fn for_look_up(&self, key: Key) -> bool {
        let slots = &self.outbounds.slots;
        // One thread looks names up: when it waits for dead servers, the other half of the slots goes on.
        let looking = slots.iter().flatten().filter(|outbound| outbound.is_looking_up()).count();
        looking < slots.len().div_ceil(2)
            || slots.iter().flatten().any(|outbound| outbound.is_open() && outbound.key() == key)
    }
}

impl Outbounds {
    /// Octets that so many slots and their helper take beside the struct itself.
    pub const fn octets(count: usize) -> usize {
        names::OCTETS + Responder::OCTETS + count * (size_of::<Option<Outbound>>() + size_of::<bool>())
    }

    /// `count` slots, and their helper; `first_token` is the poll's token of the first.
    pub fn start(
        count: usize,
        first_token: usize,
        wake: impl Fn() + Clone + Send + 'static,
    ) -> io::Result<Self> {
        Ok(Self {
            slots: (0..count).map(|_| None).collect(),
            ready: vec![false; count].into_boxed_slice(),
            ways: Ways {
                names: names::start(wake.clone())?,
                families: Families::default(),
                responder: Responder::start(wake)?,
            },
            first_token,
            uses: 0,
        })
    }

    /// The poll's news of a slot.
    pub fn notice(&mut self, slot: usize, event: &mio::event::Event) {
        if let Some(Some(outbound)) = self.slots.get_mut(slot) {
            outbound.ready().notice(event);
            self.ready[slot] = true;
        }
    }

    /// Slots in use and slots there are.
    pub fn used(&self) -> (usize, usize) {
        (self.slots.iter().flatten().count(), self.slots.len())
    }

    /// True if no slot is in the middle of anything: where nothing was said yet, nothing is broken off.
    pub fn is_idle(&self) -> bool {
        self.slots.iter().flatten().all(|outbound| outbound.is_idle() || !outbound.is_connected())
    }

    /// True if a slot could work on at once.
    pub fn is_busy(&self) -> bool {
        self.ready.iter().any(|&ready| ready)
    }

    /// The soonest deadline.
    pub fn next_ms(&self) -> Option<u64> {
        self.slots.iter().flatten().filter_map(Outbound::deadline_ms).min()
    }

    /// Starts a group: on an idle connection to its destination, in a free slot, or in place of an
    /// idle connection to another destination.
    pub fn begin(&mut self, group: Group, kit: &mut Kit<'_>) {
        let idle_to =
            |slot: &Option<Outbound>| slot.as_ref().is_some_and(|o| o.is_open() && o.key() == group.key);
        if let Some(slot) = self.slots.iter().position(idle_to) {
            return self.with(
                slot,
                kit,
                |outbound, with| {
                    if outbound.reuse(group, with) { Turn::Again } else { Turn::Wait }
                },
            );
        }
        let is_idle = |slot: &Option<Outbound>| slot.as_ref().is_some_and(Outbound::is_idle);
        let free =
            self.slots.iter().position(Option::is_none).or_else(|| self.slots.iter().position(is_idle));
        let Some(slot) = free else {
            // The relay asks for room before it gives a group out.
            return kit.relay.group_ended(&group, kit.now);
        };
        self.with(slot, kit, |outbound, with| {
            outbound.dismiss(with);
            Turn::Over
        });
        self.uses = self.uses.wrapping_add(1);
        let ticket = (self.uses << 8) | slot as u32 & 0xff;
        let token = Token(self.first_token + slot);
        let terms = Terms { hostname: kit.hostname, pipelining: true, login: Login::NONE };
        let with = &mut kit.with(&terms, &mut self.ways);
        self.slots[slot] = Outbound::open(group, token, ticket, with);
    }

    /// Lets every slot that can work do its share, takes the helper's answers, ends waits.
    pub fn work(&mut self, kit: &mut Kit<'_>) {
        while let Some(answer) = self.ways.names.answer() {
            let slot = (answer.ticket & 0xff) as usize;
            if self.slots.get(slot).is_some_and(|s| s.as_ref().is_some_and(|o| o.is_resolving(answer.ticket)))
            {
                self.with(slot, kit, |outbound, with| {
                    if outbound.resolved(answer.result, with) { Turn::Again } else { Turn::Over }
                });
            }
        }
        self.take_responses(kit);
        for slot in 0..self.slots.len() {
            if std::mem::take(&mut self.ready[slot]) {
                self.with(slot, kit, Outbound::run);
            }
            let deadline = self.slots[slot].as_ref().and_then(Outbound::deadline_ms);
            if deadline.is_some_and(|deadline| deadline <= kit.now.mono_ms) {
                self.with(slot, kit, Outbound::time_out);
            }
        }
    }

    /// Takes what the helper says of logins, and wakes those for whom there was no room.
    fn take_responses(&mut self, kit: &mut Kit<'_>) {
        let mut came = false;
        while let Some(answer) = self.ways.responder.answer() {
            came = true;
            let waits = |slot: &Option<Outbound>| slot.as_ref().is_some_and(|o| o.waits_for(answer.ticket));
            if let Some(slot) = self.slots.iter().position(waits) {
                self.with(slot, kit, |outbound, with| outbound.responded(&answer, with));
            }
        }
        for (slot, ready) in self.slots.iter().zip(&mut self.ready) {
            *ready |= came && slot.as_ref().is_some_and(Outbound::wants_responder);
        }
    }

    /// Breaks off what takes too long, where that can't make a server deliver twice.
    pub fn break_off(&mut self, kit: &mut Kit<'_>) {
        for slot in 0..self.slots.len() {
            self.with(slot, kit, Outbound::break_off);
        }
    }

    /// Ends every connection; what is under way is deferred.
    pub fn stop(&mut self, kit: &mut Kit<'_>) {
        for slot in 0..self.slots.len() {
            self.with(slot, kit, |outbound, with| {
                outbound.stop(with);
                Turn::Over
            });
        }
    }

    fn with(
        &mut self,
        slot: usize,
        kit: &mut Kit<'_>,
        work: impl FnOnce(&mut Outbound, &mut With<'_>) -> Turn,
    ) {
        let Some(outbound) = &mut self.slots[slot] else { return };
        let terms = Terms { hostname: kit.hostname, pipelining: true, login: Login::NONE };
        let with = &mut kit.with(&terms, &mut self.ways);
        match work(outbound, with) {
            Turn::Wait => {}
            Turn::Again => self.ready[slot] = true,
            Turn::Over => {
                self.slots[slot] = None;
                self.ready[slot] = false;
            }
        }
    }
}

#[cfg(test)]
mod tests;
