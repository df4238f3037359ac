//! The loop: one thread that owns every slot, the queue and the spool.
//!
//! A turn takes what the poll tells, lets each slot that can work do a bounded share of it, starts
//! a batch when one is worth it, hands out the answers of the disk and of the helpers, and starts
//! the deliveries for which there is room. Nothing in a turn waits.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use log::{debug, error, info};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};

use super::arrivals::{ARRIVALS, Arrivals, Arrived};
use super::ceiling::{heap_ceiling, memory_ceiling};
use super::control::{Controls, Tongue};
use super::doors::{Doors, Purpose};
use super::inbound::{Inbound, Timeouts, Turn, With};
use super::inherited::{Found, Inherited};
use super::listener::{Listener, is_dual};
use super::mailboxes::Mailboxes;
use super::outbounds::{Kit, Outbounds};
use super::places::{self, SUBMITTERS, TRUSTED};
use super::reload::{self, Made};
use super::secrets::Secrets;
use super::tls::{Acceptor, Credentials, Dialler, Dials};
use super::transport::{Transport, write_once};
use crate::config::{Config, Endpoint, ListenTls};
use crate::limits::{DELIVERIES, LISTENERS, SCRATCH_OCTETS, SESSIONS};
use crate::relay::client::{Client, Remote};
use crate::relay::health::{Figures, Share};
use crate::relay::notes::Note;
use crate::relay::{Relay, StartError};
use crate::smtp::reply::Reply;
use crate::smtp::server::{self, EARLY_OCTETS, Role, Tls};
use crate::spool::RealDisk;
use crate::sys::service::Supervisor;
use crate::sys::{Clock, Now, Request, Signals};

/// Events taken from the poll at once.
const EVENTS: usize = 256;
/// The longest sleep, in milliseconds.
const NAP_MS: u64 = 60_000;
/// How long commits and deliveries may take to end after a request to stop, in milliseconds.
const GRACE_MS: u64 = 5_000;
/// How long deliveries may go on before a new configuration, which waits for their end, in milliseconds.
const RELOAD_PATIENCE_MS: u64 = 10_000;
/// How often deliveries are broken off once that is over, in milliseconds.
const BREAK_OFF_MS: u64 = 1_000;

const SIGNALS: usize = 0;
const WAKER: usize = 1;
const DOORS: usize = 2;
const INBOUND: usize = DOORS + LISTENERS + 3;
const OUTBOUND: usize = INBOUND + SESSIONS + TRUSTED + SUBMITTERS;
const ARRIVAL: usize = OUTBOUND + DELIVERIES;
const CONTROL: usize = ARRIVAL + ARRIVALS;

/// Whether the relay goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Course {
    /// As usual.
    Running,
    /// Asked to stop; what is under way may end until then.
    Ending {
        /// Monotonic.
        until_ms: u64,
    },
}

/// A configuration that waits until nothing is on its way by the present one.
struct NextConfig {
    config: Arc<Config>,
    dials: Dials,
    /// From this monotonic time on, deliveries that nothing is lost of are broken off for it.
    patience_until_ms: u64,
}

/// Everything that runs.
pub struct EventLoop {
    poll: Poll,
    events: Events,
    clock: Clock,
    signals: Signals,
    course: Course,
    config: Arc<Config>,
    /// The file it came from.
    source: Option<PathBuf>,
    next_config: Option<NextConfig>,
    timeouts: Timeouts,
    doors: Doors,
    arrivals: Arrivals,
    inbound: Box<[Option<Inbound>]>,
    /// Inbound slots that can work now, each at most once.
    ready: Vec<usize>,
    is_ready: Box<[bool]>,
    acceptor: Acceptor,
    dialler: Dialler,
    outbounds: Outbounds,
    mailboxes: Mailboxes,
    secrets: Secrets,
    controls: Controls,
    relay: Relay,
    scratch: Box<[u8]>,
    /// What the files of TLS took at the start: a reload allows for as much again.
    credentials_octets: usize,
    /// The most memory that all of it takes.
    ceiling_octets: u64,
    supervisor: Supervisor,
}

/// A listening socket that is bound and what it is for.
pub type Bound = (Listener, Purpose);

/// Binds every address of the configuration, but those whose sockets were handed over; an error names the
/// address.
pub fn bind(config: &Config, handed_over: Vec<OwnedFd>) -> io::Result<Vec<Bound>> {
    let mut handed_over = Inherited::of(handed_over);
    let mut of = |address: &Endpoint, mode| {
        let listener = match (handed_over.take(address), address) {
            (Found::Socket(listener), _) => return Ok(Some(listener)),
            (Found::Shared, _) => return Ok(None),
            (Found::Nothing, Endpoint::Tcp(address)) => Listener::tcp(*address, is_dual(config, *address)),
            (Found::Nothing, Endpoint::Unix(path)) => Listener::unix(path, mode),
        };
        listener.map(Some).map_err(|e| io::Error::new(e.kind(), format!("can't listen on {address}: {e}")))
    };
    let mut bound = Vec::new();
    for (number, listen) in config.listen.iter().enumerate() {
        let listener = of(&listen.address, 0o660)?;
        let purpose = Purpose::Smtp { role: listen.role, listen: number };
        bound.extend(listener.map(|listener| (listener, purpose)));
    }
    for (path, mode, purpose) in
        [(&config.run.control, 0o660, Purpose::Control), (&config.run.submit, 0o666, Purpose::Submit)]
    {
        bound.extend(of(&Endpoint::Unix(path.clone()), mode)?.map(|listener| (listener, purpose)));
    }
    if let Some(address) = config.run.metrics {
        bound.extend(of(&Endpoint::Tcp(address), 0)?.map(|listener| (listener, Purpose::Metrics)));
    }
    match handed_over.left() {
        None => Ok(bound),
        Some(address) => Err(io::Error::other(format!(
            "a socket {address} was handed over, and no [[listen]] has this address"
        ))),
    }
}

impl EventLoop {
    /// Octets of itself and of the list of events; slots and tables tell theirs.
    pub const OCTETS: usize = size_of::<Self>() + EVENTS * size_of::<mio::event::Event>();

    /// Puts everything together: all memory that slots and tables need is allocated here.
    pub fn new(
        config: Arc<Config>,
        source: Option<PathBuf>,
        bound: Vec<Bound>,
        mut disk: RealDisk,
        signals: Signals,
        clock: Clock,
        credentials: Credentials,
    ) -> Result<Self, StartError> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), Token(WAKER))?);
        let fd = signals.as_raw_fd();
        poll.registry().register(&mut SourceFd(&fd), Token(SIGNALS), Interest::READABLE)?;
        // A loop that can't be woken is gone.
        let wake = || {
            let waker = Arc::clone(&waker);
            move || drop(waker.wake())
        };
        // Where syncs run is this line: without it they run in the loop.
        disk.sync_in_helper(wake())?;
        let slots = places::count(&config.limits);
        let relay = Relay::open(Arc::clone(&config), slots, disk, clock.now())?;
        let mut doors = Doors::default();
        for (listener, purpose) in bound {
            doors.add(listener, purpose, poll.registry(), DOORS)?;
        }
        let heap = heap_ceiling(&config, credentials.octets);
        Ok(Self {
            acceptor: Acceptor::new(credentials.server, places::count_of_tls(&config.limits), heap),
            dialler: Dialler::new(credentials.dials, usize::from(config.limits.deliveries), heap),
            outbounds: Outbounds::start(usize::from(config.limits.deliveries), OUTBOUND, wake())?,
            mailboxes: Mailboxes::start(wake())?,
            secrets: Secrets::start(wake())?,
            controls: Controls::new(CONTROL, config.run.metrics.is_some()),
            poll,
            events: Events::with_capacity(EVENTS),
            clock,
            signals,
            course: Course::Running,
            timeouts: Timeouts::of(&config.limits),
            credentials_octets: credentials.octets,
            ceiling_octets: memory_ceiling(&config, credentials.octets),
            supervisor: Supervisor::default(),
            config,
            source,
            next_config: None,
            doors,
            arrivals: Arrivals::new(ARRIVAL),
            inbound: (0..slots).map(|_| None).collect(),
            ready: Vec::with_capacity(slots),
            is_ready: vec![false; slots].into_boxed_slice(),
            relay,
            scratch: vec![0; SCRATCH_OCTETS].into_boxed_slice(),
        })
    }

    /// Turns until it is asked to stop and has ended what was under way. `supervisor` is told how it goes.
    pub fn run(mut self, supervisor: Supervisor) -> io::Result<()> {
        self.supervisor = supervisor;
        self.supervisor.ready();
        loop {
            let now = self.clock.now();
            let next_ms = self.supervisor.alive(now.mono_ms).unwrap_or(u64::MAX).min(self.next_ms(now));
            let nap = Duration::from_millis(next_ms.saturating_sub(now.mono_ms));
            match self.poll.poll(&mut self.events, Some(nap)) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            }
            let now = self.clock.now();
            self.notice(now);
            self.turn(now);
            super::log::flush();
            if self.is_over(now) {
                self.relay.stop(now);
                return Ok(());
            }
        }
    }

    /// Takes what the poll tells.
    fn notice(&mut self, now: Now) {
        let mut signalled = false;
        for event in &self.events {
            match event.token().0 {
                SIGNALS => signalled = true,
                WAKER => {}
                token @ CONTROL.. => {
                    let readable = event.is_readable() || event.is_read_closed();
                    self.controls.notice(token - CONTROL, readable, event.is_writable());
                }
                token @ ARRIVAL.. => self.arrivals.notice(token - ARRIVAL, event),
                token @ OUTBOUND.. => self.outbounds.notice(token - OUTBOUND, event),
                token @ INBOUND.. => {
                    let slot = token - INBOUND;
                    if let Some(Some(inbound)) = self.inbound.get_mut(slot) {
                        inbound.ready().notice(event);
                        wake(&mut self.ready, &mut self.is_ready, slot);
                    }
                }
                token => self.doors.notice(token - DOORS),
            }
        }
        while let Some(request) = signalled.then(|| self.signals.next()).flatten() {
            self.obey(request, now);
        }
    }

    fn obey(&mut self, request: Request, now: Now) {
        match request {
            Request::End => self.end(now),
            Request::Reload => self.reload(now),
            Request::RetryAll => {
                let count = self.relay.retry_all(now);
                info!("- asked to retry: messages due now: {count}");
            }
        }
    }

    /// Reads the configuration file again; a bad one changes nothing.
    fn reload(&mut self, now: Now) {
        let Some(file) = &self.source else {
            return info!("- asked to reload: there is no configuration file to read");
        };
        let made = Made { server: self.acceptor.is_ready(), dials: self.dialler.is_ready() };
        match reload::read(file, &self.config, made) {
            Ok((config, credentials)) => {
                if let Some(server) = credentials.server {
                    self.acceptor.renew(server);
                }
                info!("- {} read again", file.display());
                self.supervisor.reloading();
                let patience_until_ms = now.mono_ms + RELOAD_PATIENCE_MS;
                let (config, dials) = (Arc::new(config), credentials.dials);
                self.next_config = Some(NextConfig { config, dials, patience_until_ms });
                self.relay.pause();
            }
            Err(mistakes) => keep_old(&mistakes),
        }
    }

    /// Starts to use a new configuration as soon as nothing is on its way by the old one.
    fn reconfigure(&mut self, now: Now) {
        let Some(next) = &self.next_config else { return };
        if next.patience_until_ms <= now.mono_ms {
            let (outbounds, mut kit) = self.outbounds(now);
            outbounds.break_off(&mut kit);
        }
        if self.relay.is_delivering() {
            return;
        }
        let Some(NextConfig { config, dials, .. }) = self.next_config.take() else { return };
        self.supervisor.ready();
        let (outbounds, mut kit) = self.outbounds(now);
        outbounds.stop(&mut kit);
        if let Err(mistakes) = self.relay.reconfigure(Arc::clone(&config), now) {
            return keep_old(&mistakes);
        }
        super::log::set_level(config.log.level);
        self.timeouts = Timeouts::of(&config.limits);
        // Aliases that were not there before take their room.
        self.ceiling_octets = memory_ceiling(&config, self.credentials_octets);
        self.config = config;
        self.dialler.renew(dials);
    }

    /// The outbound slots, and what they work with.
    fn outbounds(&mut self, now: Now) -> (&mut Outbounds, Kit<'_>) {
        let Self { outbounds, config, scratch, relay, poll, dialler, .. } = self;
        (
            outbounds,
            Kit { hostname: &config.hostname, scratch, relay, dialler, registry: poll.registry(), now },
        )
    }

    /// One turn's work.
    fn turn(&mut self, now: Now) {
        self.relay.begin_turn();
        self.accept(now);
        self.run_inbound(now);
        let batch = self.relay.batches();
        let filling = self.inbound.iter().flatten().filter(|i| i.is_filling(batch)).count();
        self.relay.start_batch(filling);
        self.tell_committed(now);
        self.tell_judged(now);
        self.mailboxes.work(&mut self.relay, &mut self.scratch, now);
        let (outbounds, mut kit) = self.outbounds(now);
        outbounds.work(&mut kit);
        if self.course == Course::Running {
            // Also what waits for room: messages on their way have to end before anything changes.
            self.reconfigure(now);
            self.start_deliveries(now);
        }
        let figures = self.figures();
        self.controls.work(&mut self.relay, &figures, now);
        self.relay.tick(now);
        self.time_out(now);
    }

    fn accept(&mut self, now: Now) {
        let mut doors = std::mem::take(&mut self.doors);
        doors.accept(now.mono_ms, |transport, remote, purpose| {
            if self.is_proxy(remote, purpose) {
                let refused =
                    self.arrivals.open(transport, remote, purpose, self.poll.registry(), now.mono_ms);
                return if let Err(transport) = refused {
                    let proxy = Client::of(&self.config, remote, Role::Relay);
                    turn_away(transport, &proxy, &places::too_many())
                };
            }
            self.admit(transport, remote, purpose, now);
        });
        self.doors = doors;
        while let Some(arrived) = self.arrivals.next(self.poll.registry(), now.mono_ms) {
            match arrived {
                Arrived::Client(transport, client, purpose) => self.admit(transport, client, purpose, now),
                Arrived::Refused(proxy, _) => {
                    if let Some(address) = proxy.address() {
                        self.relay.notes.add(address, true, Note::NoProxyHeader);
                    }
                }
            }
        }
    }

    /// True if a PROXY header has to come first, and is believed.
    fn is_proxy(&self, remote: Remote, purpose: Purpose) -> bool {
        let (Purpose::Smtp { listen, .. }, Some(address)) = (purpose, remote.address()) else { return false };
        let listen = self.config.listen.get(listen);
        listen.is_some_and(|listen| listen.proxy_protocol_from.iter().any(|proxy| proxy.contains(address)))
    }

    /// Lets a client in, or turns it away.
    fn admit(&mut self, mut transport: Transport, remote: Remote, purpose: Purpose, now: Now) {
        let Self { inbound, ready, is_ready, config, poll, controls, relay, acceptor, .. } = self;
        let role = match purpose {
            Purpose::Control => return controls.open(transport, Tongue::Plain, poll.registry(), now),
            Purpose::Metrics => return controls.open(transport, Tongue::Http, poll.registry(), now),
            Purpose::Submit => Role::Submission,
            Purpose::Smtp { role, .. } => role,
        };
        let client = Client::of(config, remote, role);
        if places::has_its_share(&config.limits, inbound, remote) {
            relay.note(&client, Note::TooManySessions);
            let reply = Reply::new(421, (7, 0), "too many sessions from your address, try again later");
            return turn_away(transport, &client, &reply);
        }
        let slot = match places::find(&config.limits, inbound, &client, purpose) {
            Ok(slot) => slot,
            Err(reply) => return turn_away(transport, &client, &reply),
        };
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(e) = poll.registry().register(&mut transport, Token(INBOUND + slot), interest) {
            error!("a new connection can't be watched: {e}");
            return;
        }
        let tls = match purpose {
            // Over a Unix socket nobody listens in.
            Purpose::Smtp { listen, .. } if transport.is_tcp() => config.listen.get(listen).map(|l| l.tls),
            Purpose::Smtp { .. } | Purpose::Submit | Purpose::Control | Purpose::Metrics => None,
        };
        let terms = client.terms(config, Tls::NotOffered, relay.mechanisms());
        debug!("- connect client={remote}");
        if tls == Some(ListenTls::Implicit) {
            let Some(pump) = acceptor.accept() else {
                let reply = Reply::new(421, (7, 0), "TLS is not available now, try again later");
                return turn_away(transport, &client, &reply);
            };
            transport.secure(pump);
            inbound[slot] = Some(Inbound::open(transport, client, false, &terms, &[], now.mono_ms));
            return wake(ready, is_ready, slot);
        }
        let mut room = [0; EARLY_OCTETS];
        let early = transport.peek(&mut room).map_or(&[][..], |octets| &room[..octets]);
        if server::is_early_talk(early) {
            relay.note(&client, Note::EarlyTalk);
        }
        let offers_tls = tls == Some(ListenTls::StartTls) && acceptor.is_ready();
        inbound[slot] = Some(Inbound::open(transport, client, offers_tls, &terms, early, now.mono_ms));
        wake(ready, is_ready, slot);
    }

    fn run_inbound(&mut self, now: Now) {
        // Those that want another turn are put behind those that wait for this one.
        for _ in 0..self.ready.len() {
            let slot = self.ready.remove(0);
            self.is_ready[slot] = false;
            self.run_slot(slot, now);
        }
    }

    fn run_slot(&mut self, slot: usize, now: Now) {
        let Some(inbound) = &mut self.inbound[slot] else { return };
        let terms = inbound.terms(&self.config, self.relay.mechanisms());
        let Self { scratch, relay, secrets, acceptor, .. } = self;
        let with = &mut With { terms: &terms, scratch, relay, secrets, acceptor, now };
        match inbound.run(slot, with) {
            Turn::Wait => {}
            Turn::Again => wake(&mut self.ready, &mut self.is_ready, slot),
            Turn::Over => self.close(slot),
        }
    }

    fn close(&mut self, slot: usize) {
        if let Some(mut inbound) = self.inbound[slot].take() {
            debug!("- disconnect client={} {}", inbound.client.remote, inbound.secrecy());
            // Closing takes it out of the poll all the same.
            let _ = self.poll.registry().deregister(inbound.transport());
            self.relay.note_end(&inbound.client, inbound.session());
            self.relay.abandon(slot);
        }
    }

    /// Answers the sessions whose messages are durable now, or are not to be had.
    fn tell_committed(&mut self, now: Now) {
        while let Some((slot, verdict)) = self.relay.committed(now) {
            let Some(Some(inbound)) = self.inbound.get_mut(slot) else { continue };
            self.relay.log_verdict(&inbound.client, inbound.session(), &verdict);
            let terms = inbound.terms(&self.config, self.relay.mechanisms());
            verdict.with_answer(|answer| inbound.answer(&terms, answer, self.relay.batches()));
            self.run_slot(slot, now);
        }
    }

    /// Tells the sessions that wait for it what the helper says of their AUTH.
    fn tell_judged(&mut self, now: Now) {
        while let Some(answer) = self.secrets.answer() {
            let waits =
                |inbound: &Option<Inbound>| inbound.as_ref().is_some_and(|i| i.waits_for(answer.ticket));
            let Some(slot) = self.inbound.iter().position(waits) else { continue };
            let Some(inbound) = &mut self.inbound[slot] else { continue };
            let terms = inbound.terms(&self.config, self.relay.mechanisms());
            inbound.judged(&terms, &answer.judgement, &mut self.relay, now);
            self.run_slot(slot, now);
        }
        while self.secrets.has_room()
            && let Some(slot) = places::first_in_line(&self.inbound)
            && let Some(inbound) = &mut self.inbound[slot]
        {
            inbound.leave_line();
            self.run_slot(slot, now);
        }
    }

    /// Starts every delivery for which there is room.
    fn start_deliveries(&mut self, now: Now) {
        loop {
            let room = super::outbounds::Free { outbounds: &self.outbounds, mailboxes: &self.mailboxes };
            let Some(group) = self.relay.next_group(&room, now) else { return };
            match group.via {
                crate::relay::round::Via::Mailbox => self.mailboxes.begin(group, &mut self.relay, now),
                crate::relay::round::Via::Hosts => {
                    let (outbounds, mut kit) = self.outbounds(now);
                    outbounds.begin(group, &mut kit);
                }
            }
        }
    }

    fn time_out(&mut self, now: Now) {
        let are_taken = places::are_taken(&self.config.limits, &self.inbound);
        for slot in 0..self.inbound.len() {
            let Some(inbound) = &mut self.inbound[slot] else { continue };
            if inbound.deadline_ms(&self.timeouts, are_taken).is_none_or(|deadline| deadline > now.mono_ms) {
                continue;
            }
            if inbound.is_handshaking() {
                inbound.log_failure(&mut self.relay);
            }
            if inbound.is_closing() || inbound.is_handshaking() {
                self.close(slot);
                continue;
            }
            debug!("- timeout client={}", inbound.client.remote);
            inbound.shut(&Reply::new(421, (4, 2), "timed out, closing the connection"));
            self.run_slot(slot, now);
        }
    }

    /// How many slots are in use, for `status`. Those behind the ones that anybody gets are not among
    /// the sessions that the configuration speaks of.
    fn figures(&self) -> Figures {
        let (used, max) = self.outbounds.used();
        let sessions = &self.inbound[places::of_anybody(&self.config.limits)];
        let sessions = Share { used: sessions.iter().flatten().count(), max: sessions.len() };
        Figures { sessions, deliveries: Share { used, max }, ceiling_octets: self.ceiling_octets }
    }

    /// When the next turn has to be, if nothing happens before.
    fn next_ms(&self, now: Now) -> u64 {
        let controls = self.controls.is_busy();
        if controls || !self.ready.is_empty() || self.mailboxes.is_copying() || self.outbounds.is_busy() {
            return now.mono_ms;
        }
        let are_taken = places::are_taken(&self.config.limits, &self.inbound);
        let deadline = |inbound: &Inbound| inbound.deadline_ms(&self.timeouts, are_taken);
        let inbound = self.inbound.iter().flatten().filter_map(deadline).min();
        // What can't be started now must not keep the loop awake.
        let (doors, deliveries, course) = match self.course {
            Course::Running => match self.next_config.as_ref().filter(|_| self.relay.is_delivering()) {
                Some(next) => {
                    let patience_ms = next.patience_until_ms.max(now.mono_ms + BREAK_OFF_MS);
                    (self.doors.next_ms(), Some(patience_ms), None)
                }
                None => (self.doors.next_ms(), self.relay.next_delivery_ms(now), None),
            },
            Course::Ending { until_ms } => (None, None, Some(until_ms)),
        };
        let (outbound, control) = (self.outbounds.next_ms(), self.controls.next_ms());
        let arrivals = self.arrivals.next_ms();
        [inbound, doors, arrivals, deliveries, course, outbound, control, self.relay.next_sync_ms(now)]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(u64::MAX)
            .min(now.mono_ms + NAP_MS)
    }

    /// Stops taking anything new.
    fn end(&mut self, now: Now) {
        if self.course != Course::Running {
            return;
        }
        info!("- asked to stop: no new connections, waiting for what is under way");
        self.supervisor.stopping();
        self.course = Course::Ending { until_ms: now.mono_ms + GRACE_MS };
        self.relay.pause();
        self.doors.close();
        self.arrivals.close();
        for slot in 0..self.inbound.len() {
            let Some(inbound) = &mut self.inbound[slot] else { continue };
            if !inbound.is_committing() {
                inbound.shut(&Reply::new(421, (3, 2), "shutting down, try again later"));
                wake(&mut self.ready, &mut self.is_ready, slot);
            }
        }
    }

    /// True once nothing is left to wait for.
    fn is_over(&mut self, now: Now) -> bool {
        let Course::Ending { until_ms } = self.course else { return false };
        // A session that has had its answer is told that it was the last one.
        for slot in 0..self.inbound.len() {
            if let Some(inbound) = &mut self.inbound[slot]
                && !inbound.is_committing()
                && !inbound.is_closing()
            {
                inbound.shut(&Reply::new(421, (3, 2), "shutting down, try again later"));
                self.run_slot(slot, now);
            }
        }
        let idle =
            self.inbound.iter().all(Option::is_none) && self.mailboxes.is_idle() && self.outbounds.is_idle();
        let over = idle || now.mono_ms >= until_ms;
        if over {
            let (outbounds, mut kit) = self.outbounds(now);
            outbounds.stop(&mut kit);
        }
        over
    }
}

fn wake(ready: &mut Vec<usize>, is_ready: &mut [bool], slot: usize) {
    if !std::mem::replace(&mut is_ready[slot], true) {
        ready.push(slot);
    }
}

/// Says what is wrong with a new configuration, a line a mistake.
fn keep_old(mistakes: &str) {
    for line in mistakes.lines() {
        error!("- {line}");
    }
    error!("- the old configuration stays");
}

/// Says 421 and closes. A fresh connection's socket buffer has room for one line.
fn turn_away(mut transport: Transport, client: &Client, reply: &Reply) {
    use std::fmt::Write as _;
    let (target, remote) = (client.log_target(), client.remote);
    info!(target: target, "- rejected client={remote} reply={}", crate::relay::quoted::Quoted::new(reply));
    let mut line = heapless::String::<256>::new();
    let _ = write!(line, "{reply}\r\n");
    let _ = write_once(&mut transport, line.as_bytes());
    transport.finish();
}
