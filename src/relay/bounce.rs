//! Telling the sender what failed: a message of our own, durable before the recipients turn
//! "failed".

use std::cell::RefCell;
use std::ops::ControlFlow;

use heapless::String;
use log::{error, info};

use super::Relay;
use super::attempt::Sender;
use super::intake::{date, staging};
use super::queue::Entry;
use super::round::{Phase, Round, RoundIndex};
use crate::config::Config;
use crate::limits::REPLY_TEXT_OCTETS;
use crate::mail::bounce::{Bounce, Failure};
use crate::mail::date::Date;
use crate::smtp::command::Notify;
use crate::smtp::reply::Reply;
use crate::spool::{Cursor, Damage, Head, Line, Message, Origin, RealDisk, Refusal, StagingIndex, Store};
use crate::sys::Now;

/// Why a bounce can't be made now.
enum Trouble {
    /// The spool does not take it.
    Refused(Refusal),
    /// The message it is about can't be read.
    Damaged(Damage),
}

impl From<Refusal> for Trouble {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Damage> for Trouble {
    fn from(damage: Damage) -> Self {
        Self::Damaged(damage)
    }
}

impl Relay {
    /// Makes the bounce for a round's failed recipients and lets it join the batch. Those who said
    /// NOTIFY=NEVER, and every recipient of a bounce, fail without one (RFC 3461 4.1, RFC 5321 6.1).
    pub(super) fn start_bounce(&mut self, index: RoundIndex, now: Now) {
        let round = self.rounds.at(index);
        let (place, id) = (round.place, round.id);
        round.phase = Phase::Bouncing;
        let Some(spare) = (self.slots..self.incoming.len()).find(|&n| !self.in_bounce[n - self.slots]) else {
            // The next turn asks again.
            return;
        };
        let mut sender = Sender::default();
        let mut told = 0_u16;
        let failures = &round.failures;
        let read = self.store.reader().read_envelope(place, Cursor::default(), &mut |line, _| {
            match line {
                Line::To { number, notify, .. } => {
                    told += u16::from(failures.who().has(number) && wanted(notify))
                }
                other => drop(sender.take(&other)),
            }
            ControlFlow::Continue(())
        });
        let head = match read {
            Ok(head) => head,
            Err(damage) => return self.break_off(index, damage, now),
        };
        if sender.reverse_path.is_empty() {
            error!("{id} could not be delivered and has no sender to tell: dropped");
            return self.close_round(index, now);
        }
        if told == 0 {
            return self.close_round(index, now);
        }
        let store = &mut self.store;
        match compose(store, &self.config, self.rounds.at(index), &head, &sender, staging(spare), now) {
            Ok(()) => {
                self.store.commit(staging(spare), now.unix_s);
                self.in_bounce[spare - self.slots] = true;
                self.rounds.at(index).phase = Phase::Committing { staging: spare };
            }
            Err(trouble) => {
                self.store.abort(staging(spare));
                match trouble {
                    Trouble::Refused(refusal) => self.put_bounce_off(index, refusal, now),
                    Trouble::Damaged(damage) => self.break_off(index, damage, now),
                }
            }
        }
    }

    /// Goes on with the rounds that waited for a staging file.
    pub(super) fn start_waiting_bounces(&mut self, now: Now) {
        for index in self.rounds.indices() {
            if self.rounds.at(index).phase == Phase::Bouncing {
                self.start_bounce(index, now);
            }
        }
    }

    /// A bounce is durable, or is not to be.
    pub(super) fn bounce_committed(&mut self, spare: usize, result: Result<Message, Refusal>, now: Now) {
        self.in_bounce[spare - self.slots] = false;
        let round =
            self.rounds.indices().find(|&i| self.rounds.at(i).phase == Phase::Committing { staging: spare });
        let Some(index) = round else { return };
        match result {
            Ok(message) => {
                info!("{} bounced id={}", self.rounds.at(index).id, message.id);
                let key = self.first_key(message.place).unwrap_or_default();
                let entry = Entry::new(
                    message.id,
                    message.place,
                    message.content_octets,
                    message.arrived_unix_s,
                    0,
                    key,
                );
                if self.queue.insert(entry, now).is_none() {
                    error!(
                        "{} the queue table is full: this bounce waits in the spool for a restart",
                        message.id
                    );
                }
                self.close_round(index, now);
            }
            Err(refusal) => self.put_bounce_off(index, refusal, now),
        }
    }

    /// Nobody turns "failed" without a bounce: those who failed stay pending and are tried again.
    fn put_bounce_off(&mut self, index: RoundIndex, refusal: Refusal, now: Now) {
        let round = self.rounds.at(index);
        error!("{} the bounce can't be stored ({refusal:?}), its recipients will be tried again", round.id);
        for who in round.failures.who().iter() {
            let reply = round.failures.reply(who).map(super::intake::text::<REPLY_TEXT_OCTETS>);
            round.status.reply(who, &reply.unwrap_or_default());
        }
        round.failures.clear();
        self.close_round(index, now);
    }
}

/// True if the sender wants to hear of a failure.
fn wanted(notify: Notify) -> bool {
    matches!(notify, Notify::Unsaid | Notify::On { failure: true, .. })
}

/// Writes the bounce into a staging file: envelope, report, and the header section of the message.
fn compose(
    store: &mut Store<RealDisk>,
    config: &Config,
    round: &Round,
    head: &Head,
    sender: &Sender,
    spare: StagingIndex,
    now: Now,
) -> Result<(), Trouble> {
    let origin = Origin { protocol: "local", exempt: true, ..Origin::default() };
    let id = store.begin(spare, &origin, now.unix_s)?.text();
    store.recipient(spare, &sender.reverse_path, Notify::Unsaid, "")?;
    // The report is written and the envelope read in turns, both through the store.
    let store = RefCell::new(store);
    let sink = |octets: &[u8]| store.borrow_mut().write(spare, octets).map_err(Trouble::Refused);
    let original_id = round.id.text();
    let bounce = Bounce {
        reverse_path: &sender.reverse_path,
        hostname: &config.hostname,
        id: &id,
        original_id: &original_id,
        envid: &sender.envid,
        arrival: Date { unix_s: i64::try_from(head.arrived_unix_s).unwrap_or(0), offset_min: 0 },
        date: date(now),
    };
    let mut text = bounce.begin(sink)?;
    each_failure(&store, round, |failure| text.recipient(failure))?;
    let mut status = text.status()?;
    each_failure(&store, round, |failure| status.recipient(failure))?;
    let mut original = status.original()?;
    let mut offset = 0;
    let mut piece = [0; 1024];
    while !original.is_complete() && offset < config.queue.bounce_size {
        let n = store.borrow_mut().reader().read_content(round.place, head, offset, &mut piece)?;
        if n == 0 {
            break;
        }
        original.write(&piece[..n])?;
        offset += n as u64;
    }
    original.end()
}

/// Calls `tell` for every failed recipient that wants a bounce.
fn each_failure(
    store: &RefCell<&mut Store<RealDisk>>,
    round: &Round,
    mut tell: impl FnMut(&Failure<'_>) -> Result<(), Trouble>,
) -> Result<(), Trouble> {
    let mut cursor = Cursor::default();
    loop {
        // One recipient at a time: while the reader has the store the report can't be written.
        let mut found: Option<(String<256>, String<{ crate::limits::ORCPT_OCTETS }>, Reply)> = None;
        let mut behind = cursor;
        store.borrow_mut().reader().read_envelope(round.place, cursor, &mut |line, at| {
            behind = at;
            if let Line::To { number, path, notify, orcpt, .. } = line
                && wanted(notify)
                && let Some(reply) = round.failures.reply(number)
            {
                let (path, orcpt) = (String::try_from(path), String::try_from(orcpt));
                found = Some((path.unwrap_or_default(), orcpt.unwrap_or_default(), reply.clone()));
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
        cursor = behind;
        let Some((path, orcpt, reply)) = found else { return Ok(()) };
        tell(&Failure { forward_path: &path, orcpt: &orcpt, reply: &reply, remote: "" })?;
    }
}
