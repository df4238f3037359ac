//! Which host a slot turns to next, and how it gets there: part of [`Outbound`].

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use mio::Interest;
use mio::net::{TcpStream, UnixStream};

use super::{Outbound, State, Turn, With};
use crate::config::Host;
use crate::limits::ADDRESSES;
use crate::net::names::{Found, NotFound, Question, Sought, is_own, literal, own_literal};
use crate::net::transport::{Ready, Transport};
use crate::relay::delivery::Fate;
use crate::relay::destination::drawn;
use crate::relay::intake::text;
use crate::relay::recipients::Recipients;
use crate::smtp::reply::Reply;

impl Outbound {
    /// Asks for the addresses of the present host, or takes them from its name. False: nobody is
    /// left to deliver to; every recipient has had its outcome.
    pub(super) fn look_up(&mut self, with: &mut With<'_>) -> bool {
        self.state = State::Resolving;
        self.since_ms = with.now.mono_ms;
        (self.address, self.in_clear) = (None, None);
        self.addresses.clear();
        if let Some(port) = with.relay.exchanger_port(self.key) {
            return self.look_up_exchanger(port, with);
        }
        self.is_last = with.relay.host(self.key, self.host + 1).is_none();
        match with.relay.host(self.key, self.host) {
            Some(Host::Tcp { name, port }) => (self.name, self.port) = (text(name), *port),
            Some(Host::Unix(path)) => {
                (self.name, self.port) = (text(path.display()), 0);
                return self.dial_socket(with);
            }
            None => return self.give_up(with),
        }
        if self.waits_for_clock(with) {
            return self.give_up(with);
        }
        if let Some(address) = literal(&self.name) {
            let _ = self.addresses.push(SocketAddr::new(address, self.port));
            return self.dial(0, with);
        }
        self.ask(Sought::Host(self.name.clone()), with)
    }

    /// The same for the next mail exchanger of the domain, or for the host that the domain is an address of.
    fn look_up_exchanger(&mut self, port: u16, with: &mut With<'_>) -> bool {
        (self.name, self.port) = (self.domain.clone(), port);
        if self.waits_for_clock(with) {
            return self.give_up(with);
        }
        let address = literal(&self.domain).filter(|_| self.domain.starts_with('['));
        let Some(address) = address else {
            let (domain, nth, seed) = (self.domain.clone(), self.host, drawn(self.ticket));
            return self.ask(Sought::Exchanger { domain, nth, seed }, with);
        };
        self.is_last = true;
        self.name = text(address);
        if is_own(&with.relay.config(), address, port) {
            self.tried.note(Fate::Failed, &own_literal(&self.domain));
            return self.give_up(with);
        }
        let _ = self.addresses.push(SocketAddr::new(address, port));
        self.dial(0, with)
    }

    fn ask(&mut self, sought: Sought, with: &mut With<'_>) -> bool {
        let (ticket, port, route) = (self.ticket, self.port, self.key.route);
        if with.names.ask(Question { ticket, sought, port, route, config: with.relay.config() }) {
            return true;
        }
        self.tried.note(Fate::Deferred, &Reply::new(451, (3, 2), "too many names are being looked up"));
        self.give_up(with)
    }

    /// The helper's answer. False: nobody is left to deliver to; every recipient has had its outcome.
    pub fn resolved(&mut self, result: Result<Found, NotFound>, with: &mut With<'_>) -> bool {
        match result {
            Ok(found) => {
                (self.name, self.addresses) = (found.host, found.addresses);
                self.is_last |= found.is_last;
                with.families.order(&mut self.addresses, with.now.mono_ms);
                self.dial(0, with)
            }
            Err(NotFound::Host { host, reply, is_last }) => {
                self.name = host;
                self.is_last |= is_last;
                self.next_host(fate_of(&reply), &reply, with)
            }
            Err(NotFound::Domain(reply)) => {
                self.tried.note(fate_of(&reply), &reply);
                self.give_up(with)
            }
            Err(NotFound::NoMore) => self.give_up(with),
        }
    }

    /// Tries the addresses from `place` on. False: as for [`Outbound::look_up`].
    pub(super) fn dial(&mut self, place: usize, with: &mut With<'_>) -> bool {
        let mut reply = Reply::new(451, (4, 1), format_args!("{}: no address to try", self.name));
        for place in place..self.addresses.len().min(ADDRESSES) {
            let address = self.addresses[place];
            self.address = Some(address);
            self.since_ms = with.now.mono_ms;
            self.ready = Ready::unknown();
            self.tried.dial();
            match TcpStream::connect(address).and_then(|stream| self.watch(Transport::Tcp(stream), with)) {
                Ok(transport) => {
                    self.state = State::Connecting { transport, place };
                    return true;
                }
                Err(e) => reply = Reply::new(451, (4, 1), format_args!("{address}: {e}")),
            }
        }
        self.next_host(Fate::Deferred, &reply, with)
    }

    /// Tries the Unix socket that is the present host. False: as for [`Outbound::look_up`].
    fn dial_socket(&mut self, with: &mut With<'_>) -> bool {
        self.ready = Ready::unknown();
        let dialled = UnixStream::connect(Path::new(self.name.as_str()));
        match dialled.and_then(|stream| self.watch(Transport::Unix(stream), with)) {
            Ok(transport) => {
                self.state = State::Connecting { transport, place: 0 };
                true
            }
            Err(e) => {
                let reply = Reply::new(451, (4, 1), format_args!("{}: {e}", self.name));
                self.next_host(Fate::Deferred, &reply, with)
            }
        }
    }

    /// Has the poll tell of a connection.
    fn watch(&self, mut transport: Transport, with: &With<'_>) -> io::Result<Transport> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        with.registry.register(&mut transport, self.token, interest)?;
        Ok(transport)
    }

    pub(super) fn dial_next(
        &mut self,
        place: usize,
        why: &dyn std::fmt::Display,
        with: &mut With<'_>,
    ) -> Option<Turn> {
        let more = if place + 1 < self.addresses.len() {
            self.dial(place + 1, with)
        } else {
            let reply = Reply::new(451, (4, 1), format_args!("{}: {why}", self.host_text()));
            self.next_host(Fate::Deferred, &reply, with)
        };
        if more { None } else { Some(Turn::Over) }
    }

    /// Goes on to the next host, or gives up with what those before said.
    pub(super) fn next_host(&mut self, fate: Fate, reply: &Reply, with: &mut With<'_>) -> bool {
        self.tried.note(fate, reply);
        if self.is_last || self.tried.is_enough(with.relay.exchanger_port(self.key).is_some()) {
            return self.give_up(with);
        }
        with.relay.log_host_failed(&self.host_text(), reply);
        self.host += 1;
        self.look_up(with)
    }

    /// No host is left. The destination is not to be had now: everybody is deferred and it is left alone
    /// for a while; or there never is one: everybody fails. Always false.
    fn give_up(&mut self, with: &mut With<'_>) -> bool {
        let (host, (fate, reply)) = (self.host_text(), self.tried.sum());
        if fate == Fate::Deferred {
            with.relay.destination_failed(self.key, &host, self.tried.has_spoken(), &reply, with.now);
        } else {
            with.relay.destination_answered(self.key, &host);
        }
        self.decide(&Recipients::all(), fate, &reply, with);
        self.finish_work(with);
        false
    }
}

/// What a reply of the `names` helper means for the recipients.
fn fate_of(reply: &Reply) -> Fate {
    if reply.code() >= 500 { Fate::Failed } else { Fate::Deferred }
}
