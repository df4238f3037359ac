//! What happens to a message between the protocol and the wire: who may send it, where it goes,
//! and when.
//!
//! [`Relay`] holds the spool, the queue table and the rounds under way. It never touches a socket:
//! the net asks it what to do and tells it what became of it.

pub mod access;
mod ageing;
pub mod aliases;
pub mod attempt;
#[cfg(test)]
pub mod bench;
pub mod client;
pub mod deed;
pub mod delivery;
pub mod desk;
pub mod destination;
pub mod dispatch;
pub mod expansion;
pub mod failures;
pub mod group;
pub mod health;
mod incoming;
pub mod intake;
pub mod keys;
pub mod listing;
pub mod login;
pub mod mailbox;
pub mod maildir;
pub mod measure;
pub mod medium;
pub mod metrics;
pub mod named;
pub mod notes;
pub mod notice;
pub mod offer;
pub mod outgoing;
pub mod page;
mod placing;
pub mod plug;
pub mod queue;
pub mod quoted;
pub mod rates;
pub mod recent;
pub mod recipients;
pub mod report;
pub mod request;
pub mod response;
pub mod round;
pub mod route;
pub mod secret;
pub mod story;
pub mod users;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use heapless::String;
use log::{error, info, warn};

use crate::config::{self, Config, Host};
use crate::limits::{ADDED_OCTETS, MAILBOX_PATH_OCTETS, ROUTES};
use crate::smtp::buffer::Buffer;
use crate::smtp::client::Protocol;
use crate::smtp::reply::Reply;
use crate::smtp::server::{Answer, Session};
use crate::spool::{Damage, Found, Message, OpenError, RealDisk, Settings, Store};
use crate::sys::Now;

use aliases::Aliases;
use attempt::Attempt;
use client::Client;
use delivery::via_name;
use destination::{Destinations, Key};
use failures::Failures;
use incoming::Incoming;
use intake::reply_to;
use named::Named;
use notes::Notes;
use plug::Plug;
use queue::{Entry, Queue};
use quoted::Quoted;
use rates::{Party, Rates};
use recent::Recent;
use round::{Group, Round, Rounds};
use story::Stories;
use users::Users;

/// Staging files for notices to senders, beside one a slot.
const SPARES: usize = 4;
/// A sync of outcomes that was due and could not start is tried again after this, in milliseconds.
const RETRY_SYNC_MS: u64 = 100;
/// If what waits in the spool and not in the table can't be looked for, that is tried again after so many
/// milliseconds.
const FIND_MS: u64 = 30_000;
/// Mailbox deliveries at once; each has its file open.
pub const MAILBOX_DELIVERIES: usize = 16;

/// What has happened since the start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    /// Messages taken.
    pub accepted: u64,
    /// Commands refused.
    pub rejected: u64,
    /// Recipients delivered.
    pub delivered: u64,
    /// Recipients deferred, each time counted.
    pub deferred: u64,
    /// Recipients that failed.
    pub bounced: u64,
    /// Recipients given up for their age.
    pub expired: u64,
}

/// Why the relay can't start.
#[derive(Debug)]
pub enum StartError {
    /// The spool.
    Spool(OpenError),
    /// Something of the system.
    System(io::Error),
}

impl From<OpenError> for StartError {
    fn from(error: OpenError) -> Self {
        Self::Spool(error)
    }
}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spool(e) => e.fmt(f),
            Self::System(e) => e.fmt(f),
        }
    }
}

/// The relay without its sockets.
#[derive(Debug)]
pub struct Relay {
    config: Arc<Config>,
    store: Store<RealDisk>,
    plug: Plug,
    queue: Queue,
    destinations: Destinations,
    rounds: Rounds,
    incoming: Box<[Incoming]>,
    /// Inbound slots; staging files from this number on are for bounces.
    slots: usize,
    /// The group of each route's mailboxes, by number.
    groups: [Option<u32>; ROUTES],
    in_notice: [bool; SPARES],
    /// None if no file is named.
    aliases: Option<Aliases>,
    /// Who is named in the open transactions.
    named: Named,
    /// What was done in this turn.
    share: dispatch::Share,
    /// Grows whenever there may be room where there was none.
    changes: u64,
    /// No message is taken up anew: the relay stops, or waits for a new configuration.
    pauses: bool,
    /// What the table had no room for is not looked for before.
    find_ms: u64,
    /// Ages, and the clock they depend on.
    ageing: ageing::Ageing,
    /// What is counted.
    pub counters: Counters,
    /// What has just become of messages from this machine.
    stories: Stories,
    /// The last errors.
    pub recent: Recent,
    /// What clients do wrong.
    pub notes: Notes,
    /// What clients have sent within the hour.
    rates: Rates,
    /// Who has tried wrong passwords.
    failures: Failures,
    /// The users file as it was read last.
    users: Option<Arc<Users>>,
}

/// What became of a message whose content was complete.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// Durable.
    Accepted(Message),
    /// Not taken.
    Refused(Reply),
}

/// Where a mailbox delivery writes.
#[derive(Debug)]
pub struct Mailbox {
    /// The Maildir.
    pub folder: String<MAILBOX_PATH_OCTETS>,
    /// The file's name.
    pub file_name: maildir::FileName,
    /// Who may open it.
    pub rights: maildir::Rights,
    /// The mailbox is made if it is missing.
    pub make: bool,
    /// What is written before the content.
    pub top: Buffer<1024>,
    /// The content.
    pub attempt: Attempt,
}

impl Relay {
    /// Opens the spool and reads what waits in it, for `slots` inbound slots.
    pub fn open(config: Arc<Config>, slots: usize, disk: RealDisk, now: Now) -> Result<Self, StartError> {
        let (rounds, users) = (rounds(&config), login::users(&config));
        let groups = group::numbers(&config).map_err(io::Error::other)?;
        let aliases = Aliases::open(&config).map_err(io::Error::other)?;
        let mut queue = Queue::new(config.spool.max_messages as usize, rounds);
        let store = Store::open(disk, &settings(&config, slots), &mut |found| {
            take_in(&mut queue, &found, &config, now)
        })?;
        let relay = Self {
            config,
            store,
            plug: Plug::default(),
            queue,
            destinations: Destinations::new(),
            rounds: Rounds::new(rounds),
            incoming: (0..slots + SPARES).map(|_| Incoming::default()).collect(),
            slots,
            groups,
            in_notice: [false; SPARES],
            aliases,
            named: Named::new(slots),
            share: dispatch::Share::default(),
            changes: 0,
            pauses: false,
            find_ms: now.mono_ms,
            ageing: ageing::Ageing::new(now),
            counters: Counters::default(),
            stories: Stories::new(),
            recent: Recent::new(),
            notes: Notes::new(),
            rates: Rates::new(),
            failures: Failures::new(),
            users,
        };
        match relay.queue.len() {
            0 => {}
            1 => info!("- one message was waiting in the spool"),
            n => info!("- {n} messages were waiting in the spool"),
        }
        Ok(relay)
    }

    /// Octets of heap that the relay takes, for `slots` inbound slots; all are taken at start.
    pub fn heap_octets(config: &Config, slots: usize) -> usize {
        Store::<RealDisk>::heap_octets(&settings(config, slots))
            + Queue::heap_octets(config.spool.max_messages as usize + rounds(config))
            + Rounds::heap_octets(rounds(config))
            + Destinations::OCTETS
            + config.aliases.file.as_ref().map_or(0, |_| Aliases::HEAP_OCTETS)
            + Named::heap_octets(slots)
            + (slots + SPARES) * size_of::<Incoming>()
    }

    /// Takes in what the spool held at start and the table had no room for, a few a turn, now that it has.
    fn find_more(&mut self, now: Now) {
        if !self.can_find_more(now) {
            return;
        }
        let room = self.queue.room();
        let Self { store, queue, config, .. } = self;
        let found = store.find_more(room, &mut |found| {
            // A large one may be in the table already.
            if queue.find(found.message.id).is_none() {
                take_in(queue, &found, config, now);
            }
        });
        if let Err(e) = found {
            error!("- spool: the rest of the messages can't be found now: {e}");
            self.find_ms = now.mono_ms + FIND_MS;
        }
    }

    fn can_find_more(&self, now: Now) -> bool {
        self.queue.room() > 0 && self.store.has_more() && self.find_ms <= now.mono_ms
    }

    /// Starts a batch if one is worth it; `filling`: sessions whose message is still coming in.
    pub fn start_batch(&mut self, filling: usize) {
        if self.plug.lets_go(self.store.batch_waiting(), filling, self.store.busy_syncing()) {
            // A disk that syncs in place is done when the call returns.
            let start = Instant::now();
            // Outcomes are synced along with messages or alone; only the former are waited for.
            if self.store.start_batch() > 0 {
                self.plug.started(start);
            }
        }
    }

    /// Batches so far.
    pub fn batches(&self) -> u64 {
        self.plug.batches()
    }

    /// The next message of which is known what became of it, and the slot it came in by.
    pub fn committed(&mut self, now: Now) -> Option<(usize, Verdict)> {
        if let Some(passed) = self.passed() {
            return Some(passed);
        }
        loop {
            let committed = self.store.poll()?;
            self.plug.ended();
            let slot = usize::from(committed.staging.0);
            if slot >= self.slots {
                self.notice_committed(slot, committed.result, now);
                continue;
            }
            let verdict = match (self.offered_by(slot), committed.result) {
                (Some(index), result) => self.joined(index, result, now),
                (None, Ok(message)) => self.enqueue(slot, message, now),
                (None, Err(refusal)) => Verdict::Refused(reply_to(refusal)),
            };
            return Some((slot, verdict));
        }
    }

    fn enqueue(&mut self, slot: usize, message: Message, now: Now) -> Verdict {
        let key = self.incoming[slot].key();
        if self.queue.insert(Entry::new(&message, 0, key), now).is_none() {
            // The store counts messages as the table does.
            error!("{} the queue table is full: this message waits in the spool for a restart", message.id);
        }
        self.counters.accepted += 1;
        Verdict::Accepted(message)
    }

    /// Writes the log line of a message that was taken or not.
    pub fn log_verdict(&mut self, client: &Client, session: &Session, verdict: &Verdict) {
        self.note_habits(client, session);
        let from = session.transaction().map_or("", |t| t.mail.reverse_path.as_str());
        let helo = session.hello().map_or("", |h| h.name.as_str());
        match verdict {
            Verdict::Accepted(message) => info!(
                "{} accepted from=<{}> size={} rcpt={} client={} helo={} proto={}{}",
                message.id,
                Quoted::bare(from),
                message.content_octets,
                message.recipients,
                client.remote,
                Quoted::new(helo),
                session.protocol(),
                login::Field(session.user())
            ),
            Verdict::Refused(reply) => {
                if client.messages_per_hour > 0 {
                    self.rates.take_back(&Party::of(client.remote, session.user()));
                }
                self.counters.rejected += 1;
                info!(
                    target: client.log_target(),
                    "- rejected from=<{}> client={} helo={} reply={}",
                    Quoted::bare(from),
                    client.remote,
                    Quoted::new(helo),
                    Quoted::new(reply)
                );
            }
        }
    }

    /// What is to be done now and then: outcomes that no commit has synced yet, bounces that
    /// waited for room, messages that waited for the table.
    pub fn tick(&mut self, now: Now) {
        if self.store.status_deadline_ms().is_some_and(|deadline| deadline <= now.mono_ms) {
            self.store.sync_status();
        }
        self.follow_clock(now);
        self.join_waiting(now);
        self.start_waiting_notices(now);
        self.find_more(now);
        // Also while nothing is started: what stays due would keep the loop from sleeping.
        self.line_up_due(now);
    }

    /// When the next turn has to be for the disk.
    pub fn next_sync_ms(&self, now: Now) -> Option<u64> {
        let can_start = self.store.batch_waiting() > 0 && !self.store.busy_syncing();
        let plug = can_start.then(|| now.mono_ms + self.plug.wait_ms());
        // The disk may not take the sync that is due: that is no reason to ask without a pause.
        let status = self.store.status_deadline_ms();
        let status = status.map(|due| if due <= now.mono_ms { now.mono_ms + RETRY_SYNC_MS } else { due });
        plug.into_iter().chain(status).chain(self.next_join_ms()).min()
    }

    /// When the next turn has to be for a delivery.
    pub fn next_delivery_ms(&self, now: Now) -> Option<u64> {
        let open = self.destinations.next_open_ms(now.mono_ms);
        // What was started without a group yet, and what has to be written, goes on at once.
        let is_busy = self.is_dating() || self.has_had_enough() || self.rounds.iter().any(Round::is_fresh);
        let at_once = is_busy.then_some(now.mono_ms);
        let sweep = self.next_sweep_ms();
        self.queue.next_due_ms().into_iter().chain(open).chain(at_once).chain(sweep).min()
    }

    /// Makes every message due now and ends every back-off; how many messages.
    pub fn retry_all(&mut self, now: Now) -> usize {
        self.destinations.reopen_all();
        self.queue.all_due(now.mono_ms) + self.destinations.waiting()
    }

    /// True while messages are on their way.
    pub fn is_delivering(&self) -> bool {
        !self.rounds.is_empty()
    }

    /// Takes up no message anew; those that are on their way go on with all their groups.
    pub fn pause(&mut self) {
        self.pauses = true;
        self.join_all();
    }

    /// Takes a new configuration, while nothing is on its way: every message finds its destination
    /// anew. The sizes of tables stay as they are. `Err`: what can't be used on this machine; the old
    /// configuration holds on.
    pub fn reconfigure(&mut self, config: Arc<Config>, now: Now) -> Result<(), std::string::String> {
        assert!(self.rounds.is_empty(), "groups name routes of the old configuration");
        self.pauses = false;
        self.sweep_soon();
        let groups = group::numbers(&config)?;
        self.aliases = Aliases::open(&config).map_err(|refused| refused.to_string())?;
        self.groups = groups;
        self.users = login::users(&config);
        self.config = config;
        self.store.set_message_octets(settings(&self.config, self.slots).message_octets);
        self.destinations.clear(&mut self.queue, now.mono_ms);
        self.queue.forget_ways();
        self.incoming.iter_mut().for_each(Incoming::forget_way);
        Ok(())
    }

    /// The configuration that holds now.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config)
    }

    /// A host of a route, in the order in which they are tried.
    pub fn host(&self, key: Key, nth: usize) -> Option<&Host> {
        match &self.config.route.get(usize::from(key.route))?.via {
            config::Via::Smarthost(smarthost) => smarthost.hosts.get(nth),
            config::Via::Lmtp(lmtp) => lmtp.hosts.get(nth),
            _ => None,
        }
    }

    /// The port of the mail exchangers, if the destination's hosts are those of a domain.
    pub fn exchanger_port(&self, key: Key) -> Option<u16> {
        match &self.config.route.get(usize::from(key.route))?.via {
            config::Via::Mx(mx) => Some(mx.port),
            _ => None,
        }
    }

    /// What a destination's hosts speak.
    pub fn protocol(&self, key: Key) -> Protocol {
        match self.config.route.get(usize::from(key.route)).map(|route| &route.via) {
            Some(config::Via::Lmtp(_)) => Protocol::Lmtp,
            _ => Protocol::Smtp,
        }
    }

    /// The `via` of a destination.
    pub fn via_name(&self, key: Key) -> &'static str {
        via_name(&self.config, key)
    }

    /// A destination can't be used for now. `spoke`: the reply is the host's own.
    pub fn destination_failed(&mut self, key: Key, host: &str, spoke: bool, reply: &Reply, now: Now) {
        let retry = &self.config.queue.retry;
        let until_ms = self.destinations.failed(key, host, spoke, reply, retry, now.mono_ms);
        self.changes += 1;
        self.sweep_soon();
        let rest_s = until_ms.saturating_sub(now.mono_ms) / 1000;
        warn!(
            "- {} host={} does not work, resting {rest_s} s: {}",
            via_name(&self.config, key),
            Quoted::bare(host),
            Quoted::new(reply)
        );
    }

    /// A destination took part in a transaction to its end.
    pub fn destination_answered(&mut self, key: Key, host: &str) {
        if self.destinations.answered(key, host) {
            self.sweep_soon();
        }
    }

    /// One host of a destination failed and the next one is tried.
    pub fn log_host_failed(&self, host: &str, reply: &Reply) {
        info!("- host={} does not work, trying the next one: {}", Quoted::bare(host), Quoted::new(reply));
    }

    /// Where the mailbox of a group's recipient is, or why it has none now.
    pub fn mailbox(&mut self, group: &Group) -> Result<Mailbox, Reply> {
        let config = Arc::clone(&self.config);
        let Some(config::Via::Maildir(maildir)) =
            config.route.get(usize::from(group.key.route)).map(|r| &r.via)
        else {
            return Err(Reply::new(451, (3, 5), "the route is gone"));
        };
        let Some(who) = group.who.nth(0) else { return Err(Reply::new(451, (3, 5), "nobody to deliver to")) };
        let mut attempt = match self.attempt(group) {
            Ok(attempt) => attempt,
            Err(damage) => return Err(self.damaged_reply(group, damage)),
        };
        let mut folder = Err(Reply::new(451, (3, 5), "nobody to deliver to"));
        let mut top = Buffer::new();
        let from = String::<256>::try_from(attempt.reverse_path()).unwrap_or_default();
        let mut make = maildir.recipients == config::Recipients::Any;
        let named = self.name(&mut attempt, who, |recipient| {
            use fmt::Write as _;
            make |= mailbox::is_postmaster(recipient.forward_path);
            folder = mailbox::directory(maildir, recipient.forward_path);
            let path = recipient.forward_path;
            let written = write!(top, "Return-Path: <{from}>\r\nDelivered-To: {path}\r\n");
            assert!(written.is_ok(), "two paths fit");
        });
        if let Err(damage) = named {
            return Err(self.damaged_reply(group, damage));
        }
        let id = self.rounds.at(group.round).id.text();
        Ok(Mailbox {
            folder: folder?,
            file_name: maildir::file_name(attempt.arrived_unix_s(), &id, who, &config.hostname),
            rights: maildir::Rights {
                mode: maildir.mode,
                group: self.groups.get(usize::from(group.key.route)).copied().flatten(),
            },
            make,
            top,
            attempt,
        })
    }

    fn damaged_reply(&mut self, group: &Group, damage: Damage) -> Reply {
        self.damaged(group, damage);
        Reply::new(451, (3, 0), "the message is damaged in the spool")
    }

    /// The relay stops: what was written down becomes durable. Waits for the disk.
    pub fn stop(&mut self, now: Now) {
        // The first batch may hold bounces: that they are told is for the second.
        for _ in 0..2 {
            self.store.sync_status();
            self.store.start_batch();
            while self.store.busy_syncing() {
                // Messages that are durable now are found by the next start; their clients are gone.
                while self.committed(now).is_some() {}
                std::thread::yield_now();
            }
        }
    }
}

/// Rounds that can be under way at once.
fn rounds(config: &Config) -> usize {
    usize::from(config.limits.deliveries) + MAILBOX_DELIVERIES
}

fn settings(config: &Config, slots: usize) -> Settings {
    Settings {
        max_octets: config.spool.max_size,
        max_messages: config.spool.max_messages,
        cells_octets: config.spool.cells_size,
        staging: u16::try_from(slots + SPARES).unwrap_or(u16::MAX),
        // The session holds clients to the limit; what we add to the header comes on top.
        message_octets: config.limits.message_size + ADDED_OCTETS,
    }
}

/// Puts a message that the spool held into the table; false if it is full.
fn take_in(queue: &mut Queue, found: &Found<'_>, config: &Config, now: Now) -> bool {
    let Found { message, status } = found;
    let mut message = *message;
    if status.arrived_unix_s != 0 {
        message.arrived_unix_s = status.arrived_unix_s;
    }
    let entry = Entry::new(&message, status.tries, Key::default());
    if queue.room() == 0 {
        return false;
    }
    let Some(at) = queue.insert(entry, now) else { return false };
    if status.warned {
        queue.warned(at);
    }
    if status.held {
        queue.hold(at);
        return true;
    }
    let entry = queue.entry(at);
    let age_ms = entry.age_ms(now.mono_ms);
    let (waits, id) = (&config.queue.retry, entry.id.number());
    let try_ms = destination::resumed_try_ms(status.tries, waits, id, age_ms, now.mono_ms);
    queue.wait(at, ageing::due_ms(&config.queue, entry, try_ms, now));
    true
}

impl Verdict {
    /// Answers the session.
    pub fn with_answer<R>(&self, answer: impl FnOnce(Answer<'_>) -> R) -> R {
        match self {
            Self::Accepted(message) => answer(Answer::Committed(&message.id.text())),
            Self::Refused(reply) => answer(Answer::Refused(reply.clone())),
        }
    }
}
