//! `pillarbox check --connect`: walks the way to every smarthost, a line a step, and sends nothing.
//!
//! It goes by the same parts as a delivery (the resolver, the TLS of the route, the client's session, the
//! login), only that it waits for each.

mod wire;

use std::fmt::Display;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use self::wire::Wire;
use super::exit::Exit;
use super::{complain, fail, print};
use crate::config::{Config, Host, Via};
use crate::limits::{CONNECT_TIMEOUT_S, TLS_HANDSHAKE_TIMEOUT_S};
use crate::net::names::{self, Names, NotFound, Question, Sought, literal};
use crate::net::tls::{Dialler, Dials, names as names_of};
use crate::relay::intake::text;
use crate::relay::login::login;
use crate::relay::response::{self, Memory, Wanted};
use crate::relay::secret;
use crate::smtp::buffer::Buffer;
use crate::smtp::client::{Next, Output, Protocol, Session, StartTls, Terms, Waiting};
use crate::smtp::keyword::Keyword;
use crate::sys;

/// Octets of replies that are read at once.
const INPUT_OCTETS: usize = crate::limits::REPLY_INPUT_OCTETS;

/// Walks to every smarthost. 69 if one of them can't be used.
pub fn run(config: &Arc<Config>, dials: Dials) -> Exit {
    for source in dials.sources() {
        print(format_args!("servers' certificates are checked against {source}"));
    }
    let waiting = thread::current();
    let names = match names::start(move || waiting.unpark()) {
        Ok(names) => names,
        Err(e) => return fail(Exit::Unavailable, format_args!("the resolver can't be started: {e}")),
    };
    let mut walk = Walk { config, dialler: Dialler::new(dials, 1, usize::MAX), names, tickets: 0 };
    let (mut hosts, mut failed) = (0, 0);
    for (number, route) in config.route.iter().enumerate() {
        let (Via::Smarthost(smarthost), Ok(place)) = (&route.via, u16::try_from(number)) else { continue };
        for host in &smarthost.hosts {
            print(format_args!("route {}: {host}", number + 1));
            hosts += 1;
            failed += u32::from(!walk.host(place, host));
        }
    }
    match (hosts, failed) {
        (0, _) => print("no smarthost: there is nowhere to connect to"),
        (_, 0) => Exit::Ok,
        _ => {
            complain(format_args!("{failed} of {hosts} smarthosts can't be used now"));
            Exit::Unavailable
        }
    }
}

/// What the walks have in common.
struct Walk<'a> {
    config: &'a Arc<Config>,
    dialler: Dialler,
    names: Names,
    tickets: u32,
}

/// The time of a step.
struct Step(Instant);

impl Step {
    fn begin() -> Self {
        Self(Instant::now())
    }

    /// Tells how it went, and begins the next one.
    fn done(&mut self, name: &str, what: impl Display) {
        let ms = self.0.elapsed().as_millis();
        print(format_args!("  {name:<10} {ms:>6} ms  {what}"));
        self.0 = Instant::now();
    }

    /// Tells why there is no next one.
    fn failed(&mut self, name: &str, why: impl Display) {
        self.done(name, format_args!("FAILED: {why}"));
    }
}

impl Walk<'_> {
    /// Walks to one host; false if it can't be used.
    fn host(&mut self, route: u16, host: &Host) -> bool {
        let Host::Tcp { name, port } = host else { return false };
        let mut step = Step::begin();
        let addresses = match self.addresses(route, name, *port) {
            Ok(addresses) => addresses,
            Err(why) => {
                step.failed("resolve", why);
                return false;
            }
        };
        let shown: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
        step.done("resolve", shown.join(" "));
        // All of them are dialled; one that answers is enough.
        let mut connected = None;
        for address in addresses {
            let dialled =
                TcpStream::connect_timeout(&address, Duration::from_secs(u64::from(CONNECT_TIMEOUT_S)));
            match dialled {
                Ok(socket) => {
                    step.done("connect", address);
                    // The times that are shown are the server's: no line waits for the one before it.
                    let _ = socket.set_nodelay(true);
                    connected.get_or_insert(socket);
                }
                Err(e) => step.done("connect", format_args!("{address}: {e}")),
            }
        }
        match connected {
            Some(socket) => self.talk(route, name, *port, socket, &mut step),
            None => {
                step.failed("connect", "no address answers");
                false
            }
        }
    }

    fn addresses(&mut self, route: u16, host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
        if let Some(address) = literal(host) {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        self.tickets += 1;
        let sought = Sought::Host(text(host));
        let config = Arc::clone(self.config);
        if !self.names.ask(Question { ticket: self.tickets, sought, port, route, config }) {
            return Err("the resolver is busy".to_owned());
        }
        loop {
            match self.names.answer().map(|answer| answer.result) {
                Some(Ok(found)) => return Ok(found.addresses.to_vec()),
                Some(Err(NotFound::Host { reply, .. } | NotFound::Domain(reply))) => {
                    return Err(reply.to_string());
                }
                Some(Err(NotFound::NoMore)) => return Err("there is no such host".to_owned()),
                None => thread::park(),
            }
        }
    }

    /// Speaks up to the place where a message could be sent.
    fn talk(&self, route: u16, name: &str, port: u16, socket: TcpStream, step: &mut Step) -> bool {
        let dial = self.dialler.dial(route);
        if dial.needs_clock() && sys::unix_s() < sys::RELEASE_DATE_UNIX_S {
            step.failed("TLS", "certificates can't be checked before the clock of this machine is set");
            return false;
        }
        let mut wire = Wire::new(socket);
        let begins = dial.begins(port);
        let start_tls = if begins { StartTls::Never } else { dial.start_tls() };
        let mut session = Session::new(Protocol::Smtp).with_start_tls(start_tls);
        if begins {
            if !self.secure(route, name, &mut wire, step) {
                return false;
            }
            session.secured();
        }
        let mut dialogue = Dialogue { walk: self, route, name, port, wire, session, memory: Memory::Nothing };
        match dialogue.run(step) {
            Ok(is_fine) => is_fine,
            Err(e) => {
                step.failed(dialogue.session.waiting().name(), e);
                false
            }
        }
    }

    /// Starts TLS; false if it came to nothing.
    fn secure(&self, route: u16, name: &str, wire: &mut Wire, step: &mut Step) -> bool {
        let secured = self
            .dialler
            .connect(route, name)
            .and_then(|pump| wire.secure(pump, Duration::from_secs(u64::from(TLS_HANDSHAKE_TIMEOUT_S))));
        if let Err(failure) = secured {
            step.failed("TLS", &failure);
            if self.dialler.dial(route).start_tls() == StartTls::IfOffered {
                print("             the route goes on in the clear then");
            }
            return false;
        }
        let Some(pump) = wire.pump() else { return false };
        match pump.certificate().and_then(names_of) {
            Some((issuer, subject)) => step.done(
                "TLS",
                format_args!("{} {}, certificate of {subject} by {issuer}", pump.version(), pump.cipher()),
            ),
            None => step.done("TLS", format_args!("{} {}", pump.version(), pump.cipher())),
        }
        true
    }
}

/// A session on its way.
struct Dialogue<'a> {
    walk: &'a Walk<'a>,
    route: u16,
    name: &'a str,
    port: u16,
    wire: Wire,
    session: Session,
    memory: Memory,
}

impl Dialogue<'_> {
    /// Speaks until QUIT is answered: true if a message could have been sent.
    fn run(&mut self, step: &mut Step) -> io::Result<bool> {
        let (mut input, mut out) = (Buffer::<INPUT_OCTETS>::new(), Output::new());
        let mut was_ready = false;
        loop {
            let before = self.session.waiting();
            let is_verified = self.wire.pump().is_some() && self.walk.dialler.dial(self.route).is_verified();
            let login = login(self.walk.config, self.route, is_verified);
            let terms = Terms { hostname: &self.walk.config.hostname, pipelining: true, login };
            let taken = self.session.step(&terms, input.filled(), &mut out);
            input.consume(taken.consumed);
            let now = self.session.waiting();
            let failure = matches!(taken.next, Next::Outcome(_));
            if now != before && before != Waiting::Idle && !failure {
                step.done(before.name(), self.told(before));
            }
            match taken.next {
                Next::Outcome(outcome) => {
                    step.failed(before.name(), outcome.reply);
                    return Ok(false);
                }
                Next::Input | Next::Output => {
                    self.wire.send(out.filled())?;
                    out.clear();
                    if matches!(taken.next, Next::Input) {
                        let n = self.wire.read(input.room())?;
                        if n == 0 {
                            return Err(io::Error::other("connection closed by the server"));
                        }
                        input.advance(n);
                    }
                }
                Next::StartTls => {
                    step.done("STARTTLS", "taken");
                    if !self.walk.secure(self.route, self.name, &mut self.wire, step) {
                        return Ok(false);
                    }
                    self.session.secured();
                }
                Next::Login => self.respond(&mut out).map_err(io::Error::other)?,
                Next::Ready if was_ready => return Ok(true),
                Next::Ready => {
                    was_ready = true;
                    self.session.quit();
                }
                Next::Closed | Next::Recipient(_) | Next::Content => return Ok(was_ready),
            }
        }
    }

    /// What a step that is done brought.
    fn told(&self, step: Waiting) -> String {
        match step {
            Waiting::Hello => {
                let offered = self.session.offered();
                let all = Keyword::ALL.into_iter().filter(|keyword| offered.has(*keyword));
                all.map(Keyword::name).collect::<Vec<_>>().join(" ")
            }
            Waiting::Login => "logged in".to_owned(),
            _ => "ok".to_owned(),
        }
    }

    /// Answers a challenge.
    fn respond(&mut self, out: &mut Output) -> Result<(), String> {
        let Some((turn, challenge)) = self.session.challenge() else { return Ok(()) };
        let route = self.walk.config.route.get(usize::from(self.route));
        let Some(via @ Via::Smarthost(smarthost)) = route.map(|route| &route.via) else { return Ok(()) };
        let username = smarthost.username.as_deref().unwrap_or_default();
        let wanted = Wanted { turn, challenge, username, host: self.name, port: self.port };
        let secret = || secret::read(via).map(|(secret, _)| secret);
        let (response, memory) =
            response::respond(&wanted, self.memory, secret).map_err(|why| why.to_string())?;
        self.memory = memory;
        self.session.respond(response.octets(), out);
        Ok(())
    }
}
