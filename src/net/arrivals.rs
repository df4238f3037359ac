//! Connections from proxies, until their PROXY header is there: only then is it known who comes.
//!
//! The header is looked at where the kernel keeps it, and taken out only when it is whole, to its
//! last octet. So nothing is kept here but the connections themselves, and what is behind the header
//! is found by whoever comes next, TLS or SMTP.

use std::io;

use log::{debug, info};
use mio::event::{Event, Source};
use mio::{Interest, Registry, Token};

use super::doors::Purpose;
use super::proxy::{self, HEADER_OCTETS, Start};
use super::transport::Transport;
use crate::relay::client::{Remote, STRANGERS};

/// Connections whose header can be waited for at once.
pub const ARRIVALS: usize = 32;
/// How long a proxy may take for its header, in milliseconds: it comes with the connection.
const HEADER_MS: u64 = 10_000;

/// One connection.
#[derive(Debug)]
struct Arrival {
    transport: Transport,
    /// The proxy.
    remote: Remote,
    purpose: Purpose,
    until_ms: u64,
    /// The poll has told something of it.
    is_ready: bool,
    /// The peer has ended its side: no more will come.
    ended: bool,
}

/// Who has come.
#[derive(Debug)]
pub enum Arrived {
    /// The header was there; this is the client.
    Client(Transport, Remote, Purpose),
    /// A proxy whose header did not come, or was none; its connection is closed.
    Refused(Remote, Purpose),
}

/// What became of an arrival.
enum Outcome {
    Waits,
    Known(Remote),
    /// For this reason.
    Refused(&'static str),
    /// Without a word, as probes of load balancers go.
    Gone,
}

/// All of them.
#[derive(Debug)]
pub struct Arrivals {
    places: Box<[Option<Arrival>]>,
    /// The poll's token of the first place.
    first: usize,
}

impl Arrivals {
    /// Octets of heap.
    pub const OCTETS: usize = ARRIVALS * size_of::<Option<Arrival>>();

    /// No connection yet.
    pub fn new(first: usize) -> Self {
        Self { places: (0..ARRIVALS).map(|_| None).collect(), first }
    }

    /// A connection whose header is to be waited for. Gives it back if there is no place.
    pub fn open(
        &mut self,
        mut transport: Transport,
        remote: Remote,
        purpose: Purpose,
        registry: &Registry,
        now_ms: u64,
    ) -> Result<(), Transport> {
        let Some(place) = self.places.iter().position(Option::is_none) else { return Err(transport) };
        if transport.register(registry, Token(self.first + place), Interest::READABLE).is_err() {
            return Err(transport);
        }
        let until_ms = now_ms + HEADER_MS;
        self.places[place] =
            Some(Arrival { transport, remote, purpose, until_ms, is_ready: true, ended: false });
        Ok(())
    }

    /// The poll's news.
    pub fn notice(&mut self, place: usize, event: &Event) {
        if let Some(Some(arrival)) = self.places.get_mut(place) {
            arrival.is_ready = true;
            arrival.ended |= event.is_read_closed() || event.is_error();
        }
    }

    /// The next one whose header is there, or won't come.
    pub fn next(&mut self, registry: &Registry, now_ms: u64) -> Option<Arrived> {
        for place in &mut self.places {
            let Some(arrival) = place else { continue };
            let outcome = arrival.look(now_ms);
            if let Outcome::Waits = outcome {
                continue;
            }
            let Some(mut arrival) = place.take() else { continue };
            // Closing takes it out of the poll all the same.
            let _ = arrival.transport.deregister(registry);
            let (remote, purpose) = (arrival.remote, arrival.purpose);
            match outcome {
                Outcome::Waits => {}
                Outcome::Known(client) => return Some(Arrived::Client(arrival.transport, client, purpose)),
                Outcome::Refused(why) => {
                    info!(
                        target: STRANGERS,
                        "- closed client={remote} reason=\"{why}, which listen.proxy_protocol_from demands of it\""
                    );
                    return Some(Arrived::Refused(remote, purpose));
                }
                Outcome::Gone => debug!("- disconnect client={remote}"),
            }
        }
        None
    }

    /// When the next one has waited long enough, or can be looked at.
    pub fn next_ms(&self) -> Option<u64> {
        self.places.iter().flatten().map(|arrival| if arrival.is_ready { 0 } else { arrival.until_ms }).min()
    }

    /// Closes all.
    pub fn close(&mut self) {
        self.places.iter_mut().for_each(|place| *place = None);
    }
}

impl Arrival {
    fn look(&mut self, now_ms: u64) -> Outcome {
        if !std::mem::take(&mut self.is_ready) {
            return self.wait(now_ms);
        }
        let mut octets = [0; HEADER_OCTETS];
        let input = match self.transport.peek(&mut octets) {
            Ok(0) => return Outcome::Gone,
            Ok(n) => &octets[..n],
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return self.wait(now_ms),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {
                self.is_ready = true;
                return Outcome::Waits;
            }
            Err(_) => return Outcome::Gone,
        };
        match proxy::read(input) {
            Start::Unfinished if self.ended => Outcome::Refused("its PROXY header breaks off"),
            Start::Unfinished => self.wait(now_ms),
            Start::Wrong => Outcome::Refused("no PROXY header"),
            Start::Header { octets: length, client } => {
                use std::io::Read as _;
                // It was all there a moment ago.
                match self.transport.read_exact(&mut octets[..length]) {
                    Ok(()) => Outcome::Known(client.map_or(self.remote, Remote::Host)),
                    Err(_) => Outcome::Gone,
                }
            }
        }
    }

    fn wait(&self, now_ms: u64) -> Outcome {
        if now_ms < self.until_ms { Outcome::Waits } else { Outcome::Refused("no PROXY header came in time") }
    }
}
