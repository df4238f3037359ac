//! Telling senders what became of their recipients: one message of our own for all that a round has
//! to tell, durable before a recipient turns "failed".
//!
//! Who is told what is RFC 3461's: of failures unless NOTIFY says otherwise, of a delay once, of success
//! if that was asked for and nobody behind us tells. A message without a sender is told to the
//! postmaster when it fails, once.

use std::cell::RefCell;
use std::ops::ControlFlow;

use heapless::String;
use log::{debug, error, info};

use super::Relay;
use super::aliases::Aliases;
use super::attempt::Sender;
use super::delivery::{key_of, via_name};
use super::expansion::each_of_ours;
use super::intake::{date, staging, text};
use super::queue::Entry;
use super::round::{Afterwards, Phase, Round, RoundIndex};
use crate::config::Config;
use crate::limits::{ORCPT_OCTETS, PATH_OCTETS, REPLY_TEXT_OCTETS, USER_OCTETS};
use crate::mail::date::Date;
use crate::mail::dsn::{Action, Device, Notice, Preview, Recipient, Returned};
use crate::smtp::command::{Body, Notify, Ret};
use crate::spool::{
    Cursor, Damage, Head, Line, Message, Origin, RealDisk, RecipientState, Refusal, Share, StagingIndex,
    Store,
};
use crate::sys::{Now, RELEASE_DATE_UNIX_S};

/// How a notice came, in its envelope: what has failed with that is told to the postmaster.
const NOTICE: &str = "notice";
/// How one to the postmaster came: what has failed with that is told to nobody.
const DOUBLE: &str = "double-notice";
/// Octets of content looked at or copied at once.
const PIECE_OCTETS: usize = 4096;
/// Octets of a reply with its codes.
const REPLY_OCTETS: usize = REPLY_TEXT_OCTETS + 16;

/// Why a notice can't be made now.
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

/// Where the message came from, by its envelope.
#[derive(Default)]
struct Whence {
    sender: Sender,
    client: String<48>,
    helo: String<PATH_OCTETS>,
    user: String<USER_OCTETS>,
    protocol: String<16>,
}

impl Whence {
    fn take(&mut self, line: &Line<'_>) {
        match line {
            Line::Client(name) => self.client = text(name),
            Line::Helo(name) => self.helo = text(name),
            Line::User(name) => self.user = text(name),
            Line::Protocol(name) => self.protocol = text(name),
            other => drop(self.sender.take(other)),
        }
    }

    fn device(&self) -> Device<'_> {
        Device { client: &self.client, helo: &self.helo, user: &self.user }
    }
}

/// What a round has to tell.
struct Told {
    head: Head,
    whence: Whence,
    recipients: u16,
    /// The worst of it.
    worst: Action,
    /// It warns of a delay.
    warns: bool,
}

impl Relay {
    /// True if the round has something that its sender may want to hear.
    pub(super) fn has_news(&mut self, index: RoundIndex, now: Now) -> bool {
        let at = self.rounds.at(index).at;
        let warns = self.is_late(at, now);
        let round = self.rounds.at(index);
        let is_owed = |who| round.status.state(who) == RecipientState::Owed;
        warns || !round.answers.failed().is_empty() || (0..round.recipients).any(is_owed)
    }

    /// Makes the notice of a round and lets it join the batch; nothing if nobody wants to hear it.
    pub(super) fn start_notice(&mut self, index: RoundIndex, now: Now) {
        let round = self.rounds.at(index);
        round.phase = Phase::Notifying;
        if round.afterwards == Some(Afterwards::Remove) {
            return self.close_round(index, now);
        }
        let Some(spare) = (self.slots..self.incoming.len()).find(|&n| !self.in_notice[n - self.slots]) else {
            // The next turn asks again.
            return;
        };
        let at = self.rounds.at(index).at;
        let warns = self.is_late(at, now);
        let told = match self.survey(index, warns) {
            Ok(told) => told,
            Err(damage) => return self.break_off(index, damage, now),
        };
        if told.recipients == 0 || !self.addresses_somebody(index, &told, now) {
            if warns {
                // Whoever wants to hear of no delay wants it at the next try as little.
                self.queue.warned(at);
            }
            return self.close_told(index, now);
        }
        if !self.has_place_for_notice(index) {
            return self.put_notice_off(index, Refusal::Full, now);
        }
        match self.compose(index, &told, staging(spare), now) {
            Ok(()) => {
                self.store.commit(staging(spare), now.unix_s);
                self.in_notice[spare - self.slots] = true;
                self.rounds.at(index).phase = Phase::Committing { staging: spare, warns: told.warns };
            }
            Err(trouble) => {
                self.store.abort(staging(spare));
                match trouble {
                    Trouble::Refused(refusal) => self.put_notice_off(index, refusal, now),
                    Trouble::Damaged(damage) => self.break_off(index, damage, now),
                }
            }
        }
    }

    /// True if the queue table has a place for the notice of a round: that of its message, if nobody will be
    /// left to deliver to, or one that nothing that comes in now will need.
    fn has_place_for_notice(&mut self, index: RoundIndex) -> bool {
        let round = self.rounds.at(index);
        let is_left =
            |who| round.status.state(who) == RecipientState::Pending && !round.answers.failed().has(who);
        !(0..round.recipients).any(is_left) || self.queue.free() > self.store.coming_in()
    }

    /// Finds out who is to be told of.
    fn survey(&mut self, index: RoundIndex, warns: bool) -> Result<Told, Damage> {
        let Self { store, config, rounds, .. } = self;
        let round = rounds.at(index);
        let mut whence = Whence::default();
        let (mut recipients, mut worst, mut told_late) = (0, Action::Delivered, false);
        let head = store.reader().read_envelope(round.place, Cursor::default(), &mut |line, _| {
            match line {
                Line::To { number, path, notify, .. } => {
                    let from = &whence.sender.reverse_path;
                    if let Some(action) = action_of(config, round, warns, from, path, number, notify) {
                        recipients += 1;
                        worst = worst.min(action);
                        told_late |= action == Action::Delayed;
                    }
                }
                other => whence.take(&other),
            }
            ControlFlow::Continue(())
        })?;
        Ok(Told { head, whence, recipients, worst, warns: told_late })
    }

    /// True if there is somebody to tell. A message without a sender is the postmaster's when it fails;
    /// if it was his already, the log has the last word.
    fn addresses_somebody(&mut self, index: RoundIndex, told: &Told, now: Now) -> bool {
        if !told.whence.sender.reverse_path.is_empty() {
            return true;
        }
        if told.worst != Action::Failed {
            return false;
        }
        let id = self.rounds.at(index).id;
        if told.whence.protocol == DOUBLE {
            error!("{id} has no sender and did not reach the postmaster either: dropped");
            self.recent.note(format_args!("{id} did not reach the postmaster: dropped"), now.unix_s);
            return false;
        }
        true
    }

    /// Goes on with the rounds that waited for a staging file.
    pub(super) fn start_waiting_notices(&mut self, now: Now) {
        for index in self.rounds.indices() {
            if self.rounds.at(index).phase == Phase::Notifying {
                self.start_notice(index, now);
            }
        }
    }

    /// A notice is durable, or is not to be.
    pub(super) fn notice_committed(&mut self, spare: usize, result: Result<Message, Refusal>, now: Now) {
        self.in_notice[spare - self.slots] = false;
        let found = self.rounds.indices().find_map(|index| match self.rounds.at(index).phase {
            Phase::Committing { staging, warns } if staging == spare => Some((index, warns)),
            _ => None,
        });
        let Some((index, warns)) = found else { return };
        let message = match result {
            Ok(message) => message,
            Err(refusal) => return self.put_notice_off(index, refusal, now),
        };
        let round = self.rounds.at(index);
        let (at, id) = (round.at, round.id);
        if !round.answers.failed().is_empty() {
            info!("{id} bounced id={}", message.id);
        } else if !warns {
            debug!("{id} success is told id={}", message.id);
        }
        if warns {
            round.status.warned = true;
            self.queue.warned(at);
            let age_s = self.queue.entry(at).age_s(now.mono_ms);
            info!("{id} warned id={} age={age_s}s", message.id);
        }
        // First of all its place is free.
        self.close_told(index, now);
        let key = self.first_key(message.place);
        if self.queue.insert(Entry::new(&message, 0, key), now).is_none() {
            error!("{} the queue table is full: this notice waits in the spool for a restart", message.id);
        }
    }

    /// All that was to be told is told, or nobody wants to hear it.
    fn close_told(&mut self, index: RoundIndex, now: Now) {
        let round = self.rounds.at(index);
        for who in 0..round.recipients {
            if round.answers.failed().has(who) {
                round.status.set(who, RecipientState::Failed);
            } else if round.status.state(who) == RecipientState::Owed {
                round.status.set(who, RecipientState::Delivered);
            }
        }
        self.close_round(index, now);
    }

    /// Nobody turns "failed" without a bounce: those who failed stay pending and are tried again.
    fn put_notice_off(&mut self, index: RoundIndex, refusal: Refusal, now: Now) {
        let round = self.rounds.at(index);
        let what =
            format_args!("the notice can't be stored ({refusal:?}), its recipients will be tried again");
        error!("{} {what}", round.id);
        self.recent.note(format_args!("{} {what}", round.id), now.unix_s);
        for who in round.answers.failed().iter() {
            let reply = round.answers.failure(who).map(text::<REPLY_TEXT_OCTETS>);
            round.status.reply(who, RecipientState::Pending, &reply.unwrap_or_default());
        }
        round.answers.forgive();
        self.close_round(index, now);
    }

    /// Writes the notice into a staging file: envelope, report, and the message or its header.
    fn compose(
        &mut self,
        index: RoundIndex,
        told: &Told,
        spare: StagingIndex,
        now: Now,
    ) -> Result<(), Trouble> {
        let at = self.rounds.at(index).at;
        let age_s = self.queue.entry(at).age_s(now.mono_ms);
        let left_s = self.config.queue.expire_after.as_secs().saturating_sub(age_s);
        let Self { store, config, rounds, aliases, .. } = self;
        let (round, sender) = (rounds.at(index), &told.whence.sender);
        let is_double = sender.reverse_path.is_empty();
        let to = if is_double { config.postmaster.as_str() } else { &sender.reverse_path };
        let (returned, eight_bit) = choose(store, config, round, told)?;
        let origin = Origin {
            protocol: if is_double { DOUBLE } else { NOTICE },
            body: if eight_bit { Body::EightBitMime } else { Body::Unsaid },
            smtputf8: !to.is_ascii(),
            share: Share::Unlimited,
            ..Origin::default()
        };
        let id = store.begin(spare, &origin, now.unix_s)?.text();
        if let Some(aliases) = aliases {
            aliases.refresh(config);
        }
        let table = aliases.as_ref().map(Aliases::table);
        each_of_ours(config, table, to, |path| store.recipient(spare, path, Notify::Unsaid, ""))?;
        // The report is written and the envelope read in turns, both through the store.
        let store = RefCell::new(store);
        let sink = |octets: &[u8]| store.borrow_mut().write(spare, octets).map_err(Trouble::Refused);
        let original_id = round.id.text();
        let notice = Notice {
            to,
            is_double,
            worst: told.worst,
            hostname: &config.hostname,
            id: &id,
            original_id: &original_id,
            envid: &sender.envid,
            device: told.whence.device(),
            arrival: arrival(&told.head, round),
            date: date(now),
            retry_until: date(Now { unix_s: now.unix_s.saturating_add(left_s), ..now }),
            returned,
            utf8: sender.smtputf8,
            eight_bit,
        };
        let mut text = notice.begin(sink)?;
        each_told(&store, config, round, told, |recipient| text.recipient(recipient))?;
        let mut status = text.status()?;
        each_told(&store, config, round, told, |recipient| status.recipient(recipient))?;
        let mut original = status.original()?;
        let most = if returned == Returned::Message { u64::MAX } else { config.queue.bounce_size };
        let (mut offset, mut piece) = (0, [0; PIECE_OCTETS]);
        while !original.is_complete() && offset < most {
            let n = store.borrow_mut().reader().read_content(round.place, &told.head, offset, &mut piece)?;
            if n == 0 {
                break;
            }
            original.write(&piece[..n])?;
            offset += n as u64;
        }
        original.end()
    }
}

/// What a recipient is told to have come to, if its sender wants to hear that.
fn action_of(
    config: &Config,
    round: &Round,
    warns: bool,
    from: &str,
    to: &str,
    number: u16,
    notify: Notify,
) -> Option<Action> {
    if round.answers.failed().has(number) {
        return matches!(notify, Notify::Unsaid | Notify::On { failure: true, .. }).then_some(Action::Failed);
    }
    match round.status.state(number) {
        RecipientState::Owed => {
            let via = key_of(config, from, to).map_or("", |key| via_name(config, key));
            Some(if matches!(via, "smarthost" | "mx") { Action::Relayed } else { Action::Delivered })
        }
        RecipientState::Pending if warns => {
            matches!(notify, Notify::Unsaid | Notify::On { delay: true, .. }).then_some(Action::Delayed)
        }
        RecipientState::Pending | RecipientState::Delivered | RecipientState::Failed => None,
    }
}

/// How much of the message comes back, and whether that or its header has octets beyond ASCII. Only a
/// failure brings back more than the header (RFC 3461 5.3). What the postmaster gets is the only copy.
fn choose(
    store: &mut Store<RealDisk>,
    config: &Config,
    round: &Round,
    told: &Told,
) -> Result<(Returned, bool), Damage> {
    let sender = &told.whence.sender;
    let is_wanted = told.worst == Action::Failed && sender.ret != Some(Ret::Headers);
    let fits = sender.reverse_path.is_empty() || told.head.content_octets <= config.queue.bounce_size;
    if !is_wanted || !fits {
        return Ok((Returned::Header, sender.smtputf8));
    }
    let (mut preview, mut offset, mut piece) = (Preview::default(), 0, [0; PIECE_OCTETS]);
    loop {
        let n = store.reader().read_content(round.place, &told.head, offset, &mut piece)?;
        preview.read(&piece[..n]);
        offset += n as u64;
        if n == 0 || preview.clashes() {
            break;
        }
    }
    match preview.clashes() {
        true => Ok((Returned::Header, sender.smtputf8)),
        false => Ok((Returned::Message, preview.is_eight_bit())),
    }
}

/// When the message came, if the clock could be believed then.
fn arrival(head: &Head, round: &Round) -> Option<Date> {
    let said = [round.status.arrived_unix_s, head.arrived_unix_s];
    let unix_s = said.into_iter().find(|unix_s| *unix_s >= RELEASE_DATE_UNIX_S)?;
    Some(date(Now { mono_ms: 0, unix_s }))
}

/// Calls `tell` for every recipient that the notice tells of.
fn each_told(
    store: &RefCell<&mut Store<RealDisk>>,
    config: &Config,
    round: &Round,
    told: &Told,
    mut tell: impl FnMut(&Recipient<'_>) -> Result<(), Trouble>,
) -> Result<(), Trouble> {
    let mut cursor = Cursor::default();
    loop {
        // One recipient at a time: while the reader has the store the report can't be written.
        let mut found = None;
        let mut behind = cursor;
        store.borrow_mut().reader().read_envelope(round.place, cursor, &mut |line, at| {
            behind = at;
            let Line::To { number, path, notify, orcpt, .. } = line else { return ControlFlow::Continue(()) };
            let from = &told.whence.sender.reverse_path;
            let Some(action) = action_of(config, round, told.warns, from, path, number, notify) else {
                return ControlFlow::Continue(());
            };
            found = Some((number, action, text::<PATH_OCTETS>(path), text::<ORCPT_OCTETS>(orcpt)));
            ControlFlow::Break(())
        })?;
        cursor = behind;
        let Some((number, action, path, orcpt)) = found else { return Ok(()) };
        let said = round.answers.said(number);
        let reply: String<REPLY_OCTETS> = match said {
            Some(said) => text(&said.reply),
            None => text(round.status.reply_of(number)),
        };
        let host = said.map_or("", |said| said.host.as_str());
        tell(&Recipient { forward_path: &path, orcpt: &orcpt, action, reply: &reply, host })?;
    }
}
