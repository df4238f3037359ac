//! TLS of an outbound slot: when it starts, and what is done when it comes to nothing.

use std::mem;

use log::{debug, info};

use super::{Outbound, State, Turn, With};
use crate::net::transport::{Moved, Transport};
use crate::relay::delivery::Fate;
use crate::relay::intake::text;
use crate::relay::quoted::Quoted;
use crate::smtp::client::{Session, StartTls};
use crate::smtp::reply::Reply;

impl Outbound {
    /// True if the route's TLS can't be judged yet, which is noted.
    pub(super) fn waits_for_clock(&mut self, with: &With<'_>) -> bool {
        let waits = with.dialler.dial(self.key.route).needs_clock() && !with.now.wall_is_sane();
        if waits {
            let text =
                "certificates can't be checked before the clock of this machine is set; waiting for it";
            self.tried.note(Fate::Deferred, &Reply::new(451, (7, 5), text));
        }
        waits
    }

    /// The connection stands: TLS begins, or the session.
    pub(super) fn begin(&mut self, transport: Transport, with: &mut With<'_>) -> Option<Turn> {
        self.tls = "none";
        let session = Session::new(with.relay.protocol(self.key));
        let dial = with.dialler.dial(self.key.route);
        // TLS has been tried with this address, and the route can do without.
        let has_failed = self.in_clear.is_some() && self.in_clear == self.address;
        if !transport.is_tcp() || has_failed {
            self.state = State::Talking { transport, session };
            return None;
        }
        if dial.begins(self.port) {
            return self.secure(transport, session, with);
        }
        self.state = State::Talking { transport, session: session.with_start_tls(dial.start_tls()) };
        None
    }

    /// The server has said 220 to STARTTLS.
    pub(super) fn start_tls(&mut self, with: &mut With<'_>) -> Option<Turn> {
        match mem::replace(&mut self.state, State::Resolving) {
            State::Talking { transport, session } => self.secure(transport, session, with),
            other => {
                self.state = other;
                None
            }
        }
    }

    fn secure(&mut self, mut transport: Transport, session: Session, with: &mut With<'_>) -> Option<Turn> {
        // The domain of a recipient can be an address in brackets.
        let literal = self.address.filter(|_| self.name.starts_with('[')).map(|address| text(address.ip()));
        let name = literal.as_ref().unwrap_or(&self.name);
        let pump = with.dialler.connect(self.key.route, name);
        let failure = match pump {
            Ok(pump) => {
                transport.secure(pump);
                None
            }
            Err(failure) => Some(failure),
        };
        self.state = State::Securing { transport, session };
        self.ready.refresh();
        self.since_ms = with.now.mono_ms;
        failure.and_then(|failure| self.unsecured(failure.text(), with))
    }

    /// Goes on with the handshake.
    pub(super) fn shake_hands(&mut self, with: &mut With<'_>) -> Option<Turn> {
        let State::Securing { transport, .. } = &mut self.state else { return None };
        let can_send = transport.owes() && self.ready.is_writable();
        if !self.ready.is_readable() && !can_send {
            return Some(Turn::Wait);
        }
        match self.ready.shake_hands(transport) {
            Moved::Octets(_) => self.secured(with),
            Moved::Nothing => Some(Turn::Wait),
            Moved::End | Moved::Broken => {
                let failure = transport.failure().cloned();
                let reason =
                    failure.as_ref().map_or("the connection broke during the handshake", |f| f.text());
                self.unsecured(reason, with)
            }
        }
    }

    fn secured(&mut self, with: &With<'_>) -> Option<Turn> {
        let State::Securing { transport, mut session } = mem::replace(&mut self.state, State::Resolving)
        else {
            return None;
        };
        session.secured();
        self.tls = transport.tls_version();
        let cipher = transport.tls().map_or("none", |stream| stream.pump().cipher());
        debug!("- connect host={} tls={} cipher={cipher}", self.host_text(), self.tls);
        self.since_ms = with.now.mono_ms;
        self.state = State::Talking { transport, session };
        None
    }

    /// TLS came to nothing. A route that can do without dials the same address again; no other ever
    /// says a word in the clear.
    pub(super) fn unsecured(&mut self, reason: &str, with: &mut With<'_>) -> Option<Turn> {
        let host = self.host_text();
        self.drop_connection(with);
        let dial = with.dialler.dial(self.key.route);
        let place = self.addresses.iter().position(|address| Some(*address) == self.address);
        if let (StartTls::IfOffered, Some(place)) = (dial.start_tls(), place) {
            info!("- TLS with {host} failed, going on without: {}", Quoted::new(reason));
            self.in_clear = self.address;
            return if self.dial(place, with) { None } else { Some(Turn::Over) };
        }
        let reply = Reply::new(451, (7, 5), format_args!("TLS failed: {reason}"));
        self.retry_or_next_host(&reply, with)
    }
}
