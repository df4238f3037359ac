//! In whose line a message waits: found out when it is due, if that is not known from when it came, and again
//! if its recipients go several ways.
//!
//! A round tries every recipient that has room and defers those whose destination rests. So it does not matter
//! by which of its destinations a message is taken up, but it matters that it is: one that rests must not
//! hold up recipients who go elsewhere.

use std::ops::ControlFlow;

use super::Relay;
use super::attempt::Sender;
use super::delivery::{key_of, via};
use super::destination::{Destinations, Key};
use super::queue::Index;
use crate::config::{self, Config};
use crate::spool::{Cursor, Damage, Line, Place, RealDisk, RecipientState, Store};
use crate::sys::Now;

/// A message whose destination has no place in the table yet waits this long, in milliseconds.
const TABLE_FULL_MS: u64 = 1_000;
/// Messages that are lined up at once.
const LINED_UP: usize = 256;
/// Recipients that are read in one turn to find the line for a message.
const LOOKED_AT: usize = 1_024;
/// To open an envelope costs as much as so many recipients.
const OPENED: usize = 8;

/// How soon a message would be taken up in the line of a destination; the best comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Prospect {
    /// At once.
    Free,
    /// After others.
    Busy,
    /// Not before that time.
    Rests { until_ms: u64 },
}

fn prospect(config: &Config, destinations: &Destinations, key: Key, now: Now) -> Prospect {
    let Some(slot) = destinations.find(key) else { return Prospect::Free };
    let one = destinations.at(slot);
    match (via(config, key), one.backs_off_until_ms(now.mono_ms)) {
        (None | Some(config::Via::Maildir(_) | config::Via::Discard | config::Via::Reject), _) => {
            Prospect::Free
        }
        (_, Some(until_ms)) => Prospect::Rests { until_ms },
        _ if !destinations.is_open(slot, now.mono_ms)
            || one.active() >= config.limits.deliveries_per_destination =>
        {
            Prospect::Busy
        }
        _ => Prospect::Free,
    }
}

impl Relay {
    /// Moves what is due into the lines of its destinations.
    pub(super) fn line_up_due(&mut self, now: Now) {
        for _ in 0..LINED_UP {
            let Some(at) = self.queue.due(now.mono_ms) else { return };
            // The next turn goes on.
            let Some(key) = self.better_key(at, now) else { return };
            self.queue.turn_to(at, key);
            self.note_ripening(at, now);
            match self.destinations.open(key, now.mono_ms) {
                Some(slot) => self.destinations.line_up(&mut self.queue, slot, at),
                None => {
                    self.queue.wait(at, now.mono_ms + TABLE_FULL_MS);
                    self.destinations.shed(&mut self.queue, now.mono_ms);
                }
            }
        }
    }

    /// By which of its destinations a message is taken up soonest; of equals by the first in its envelope.
    /// `None`: this turn has read enough.
    pub(super) fn better_key(&mut self, at: Index, now: Now) -> Option<Key> {
        let entry = *self.queue.entry(at);
        let Self { store, config, destinations, share, .. } = self;
        let is_known = entry.key != Key::NOWHERE;
        if is_known && (!entry.is_mixed || prospect(config, destinations, entry.key, now) == Prospect::Free) {
            return Some(entry.key);
        }
        if share.looked_at >= LOOKED_AT {
            return None;
        }
        share.looked_at += OPENED;
        let (mut best, mut first, mut goes_one_way) = (None, None, true);
        let read = each_key(store, config, entry.place, |key| {
            share.looked_at += 1;
            goes_one_way &= *first.get_or_insert(key) == key;
            let prospect = prospect(config, destinations, key, now);
            if best.is_none_or(|(known, _)| prospect < known) {
                best = Some((prospect, key));
            }
            match prospect {
                Prospect::Free => {
                    goes_one_way = false;
                    ControlFlow::Break(())
                }
                Prospect::Busy | Prospect::Rests { .. } => ControlFlow::Continue(()),
            }
        });
        if read.is_ok() && goes_one_way {
            self.queue.goes_one_way(at);
        }
        // Whatever is wrong with the message, the round that it starts finds it out.
        Some(read.ok().and(best).map_or(Key::NOWHERE, |(_, key)| key))
    }

    /// Ends the back-off of every destination that a message has still to reach.
    pub(super) fn reopen_all_of(&mut self, place: Place) {
        let Self { store, config, destinations, .. } = self;
        // What can't be read is found out by the next try.
        let _ = each_key(store, config, place, |key| {
            destinations.reopen(key);
            ControlFlow::Continue(())
        });
    }

    /// Where the first pending recipient of a message goes.
    pub(super) fn first_key(&mut self, place: Place) -> Key {
        let Self { store, config, .. } = self;
        let mut first = Key::NOWHERE;
        let read = each_key(store, config, place, |key| {
            first = key;
            ControlFlow::Break(())
        });
        // What can't be read is found out by the next try.
        read.map_or(Key::NOWHERE, |()| first)
    }
}

/// Calls `each` with where every pending recipient of a message goes, until it breaks.
fn each_key(
    store: &mut Store<RealDisk>,
    config: &Config,
    place: Place,
    mut each: impl FnMut(Key) -> ControlFlow<()>,
) -> Result<(), Damage> {
    let status = store.reader().status(place)?;
    let mut sender = Sender::default();
    store.reader().read_envelope(place, Cursor::default(), &mut |line, _| match line {
        Line::To { number, path, .. } if status.state(number) == RecipientState::Pending => {
            each(key_of(config, &sender.reverse_path, path).unwrap_or(Key::NOWHERE))
        }
        other => {
            sender.take(&other);
            ControlFlow::Continue(())
        }
    })?;
    Ok(())
}
