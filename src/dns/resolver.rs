//! The resolver: asks name servers in turn, follows aliases, and remembers what they say. It blocks, so it
//! runs in the `names` helper.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use heapless::Vec;
use ring::rand::{SecureRandom, SystemRandom};

use super::cache::{Cache, Key};
use super::message::{Code, DRAW_OCTETS, Draw, Exchangers, Found, Kind, Query, Response};
use super::name::Name;
use super::server::{Trouble, ask};
use super::system::{Servers, System};
use crate::limits::{ADDRESSES, ALIASES, DNS_TCP_OCTETS};

/// Addresses of a host in the order in which they are to be tried, the families in turn.
pub type Addresses = Vec<IpAddr, ADDRESSES>;

/// Why a name leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The name does not exist.
    NoName,
    /// It has no such records.
    NoRecord,
    /// The servers can't tell, or don't want to.
    Refusal,
    /// No server answered in time.
    Silence,
    /// No server can be reached at all: the network may be on its way up.
    Unreachable,
}

impl Failure {
    /// True if asking again later is of no use.
    pub fn is_permanent(self) -> bool {
        matches!(self, Self::NoName | Self::NoRecord)
    }
}

/// Whom to ask, and until when: what holds for all names that one question needs.
#[derive(Clone, Debug)]
pub struct Search {
    servers: Servers,
    /// Which set of servers this is, for the cache.
    set: u16,
    deadline: Instant,
}

impl Search {
    /// A search that starts now. All of it together takes no longer than `timeout` × `attempts`.
    pub fn start(servers: Servers, set: u16) -> Self {
        let deadline = Instant::now() + servers.timeout * u32::from(servers.attempts);
        Self { servers, set, deadline }
    }

    /// True once its time is over.
    pub fn is_over(&self) -> bool {
        Instant::now() >= self.deadline
    }
}

/// The resolver.
#[derive(Debug)]
pub struct Resolver {
    random: SystemRandom,
    cache: Cache,
    system: System,
    /// Holds what servers send, and the lines of files.
    room: Box<[u8]>,
    /// With which server the next question starts, where they take turns.
    turn: usize,
}

impl Resolver {
    /// Octets of heap that it takes.
    pub const OCTETS: usize = Cache::OCTETS + DNS_TCP_OCTETS;

    /// A resolver that knows nothing yet; what it needs is allocated here.
    pub fn new(system: System) -> Self {
        Self {
            random: SystemRandom::new(),
            cache: Cache::default(),
            system,
            room: vec![0; DNS_TCP_OCTETS].into_boxed_slice(),
            turn: 0,
        }
    }

    /// The system's name servers, with `default` for what it does not say.
    pub fn system_servers(&mut self, default: &Servers) -> Servers {
        self.system.servers(default, &mut self.room)
    }

    /// True if no server answered for this name lately.
    pub fn is_dead(&self, name: &Name, set: u16) -> bool {
        self.cache.is_dead(name, set, Instant::now())
    }

    /// Forgets all answers.
    pub fn forget(&mut self) {
        self.cache.clear();
    }

    /// The addresses of a host: those of the hosts file, else those of the name servers.
    pub fn addresses(&mut self, name: &Name, search: &Search) -> Result<Addresses, Failure> {
        let listed = self.system.hosts(name, &mut self.room);
        if !listed.is_empty() {
            return Ok(in_turn(&listed));
        }
        let v4 = self.look_up(name, Kind::A, search, |cache| &mut cache.addresses, addresses_of);
        if v4 == Err(Failure::NoName) {
            return v4;
        }
        let v6 = self.look_up(name, Kind::Aaaa, search, |cache| &mut cache.addresses, addresses_of);
        match (v4, v6) {
            (Err(one), Err(other)) => Err(if one.is_permanent() { other } else { one }),
            (one, other) => {
                Ok(in_turn(&one.into_iter().chain(other).flatten().collect::<Vec<_, { 2 * ADDRESSES }>>()))
            }
        }
    }

    /// The mail exchangers of a domain.
    pub fn exchangers(&mut self, name: &Name, search: &Search) -> Result<Exchangers, Failure> {
        self.look_up(
            name,
            Kind::Mx,
            search,
            |cache| &mut cache.exchangers,
            |found| match found {
                Found::Exchangers(exchangers) => Some(exchangers),
                _ => None,
            },
        )
    }

    /// One answer, from the cache or from the servers.
    fn look_up<T: Clone>(
        &mut self,
        name: &Name,
        kind: Kind,
        search: &Search,
        table: impl Fn(&mut Cache) -> &mut super::cache::Table<T>,
        take: impl Fn(Found) -> Option<T>,
    ) -> Result<T, Failure> {
        let key = Key { name, kind, set: search.set };
        if let Some(known) = table(&mut self.cache).find(key, Instant::now()) {
            return known;
        }
        // A search that has used up its time has not asked: that is nothing to remember.
        if search.is_over() {
            return Err(Failure::Silence);
        }
        let (answer, ttl_s) = match self.follow(name, kind, search) {
            Ok(response) => {
                let missing = match response.code {
                    Code::NxDomain => Failure::NoName,
                    _ => Failure::NoRecord,
                };
                (take(response.found).ok_or(missing), response.ttl_s)
            }
            Err(failure) => (Err(failure), 0),
        };
        table(&mut self.cache).put(key, answer.clone(), ttl_s, Instant::now());
        answer
    }

    /// Asks, and asks again for the name behind an alias of which the response says no more.
    fn follow(&mut self, name: &Name, kind: Kind, search: &Search) -> Result<Response, Failure> {
        let (mut name, mut aliases, mut ttl_s) = (name.clone(), 0, u32::MAX);
        loop {
            let mut response = self.ask_all(&name, kind, search)?;
            aliases += response.aliases;
            ttl_s = ttl_s.min(response.ttl_s);
            if response.found != Found::Alias {
                response.ttl_s = ttl_s;
                return Ok(response);
            }
            if aliases > ALIASES {
                return Err(Failure::Refusal);
            }
            name = response.name;
        }
    }

    /// Asks the servers, round by round. In each a server has its share of the timeout.
    fn ask_all(&mut self, name: &Name, kind: Kind, search: &Search) -> Result<Response, Failure> {
        let servers = &search.servers;
        let count = servers.list.len().max(1);
        let share = servers.timeout / count as u32;
        let first = if servers.rotate { self.turn } else { 0 };
        self.turn = (self.turn + 1) % count;
        let mut failure = Failure::Unreachable;
        for round in 0..servers.attempts.max(1) {
            let mut refused = 0;
            for &server in (0..count).filter_map(|nth| servers.list.get((first + nth) % count)) {
                let until = (Instant::now() + share).min(search.deadline);
                // Some boxes drop what they do not know: the second time it is asked in plain words.
                match self.ask_one(server, name, kind, round == 0, until) {
                    Ok(response) if matches!(response.code, Code::NoError | Code::NxDomain) => {
                        return Ok(response);
                    }
                    Ok(_) | Err(Trouble::Nonsense) => {
                        failure = Failure::Refusal;
                        refused += 1;
                    }
                    Err(Trouble::Silence) if failure == Failure::Unreachable => failure = Failure::Silence,
                    Err(Trouble::Silence | Trouble::Unreachable) => {}
                }
            }
            // Nobody changes his mind that soon.
            if refused == count || search.is_over() {
                break;
            }
        }
        Err(failure)
    }

    /// Asks one server; if it says that it does not understand EDNS, once more without.
    fn ask_one(
        &mut self,
        server: SocketAddr,
        name: &Name,
        kind: Kind,
        edns: bool,
        until: Instant,
    ) -> Result<Response, Trouble> {
        let mut draw: Draw = [0; DRAW_OCTETS];
        let mut query = |edns| -> Result<Query, Trouble> {
            // Without random octets nothing that comes back could be believed.
            self.random.fill(&mut draw).map_err(|_| Trouble::Unreachable)?;
            Ok(Query::new(name, kind, &draw, edns))
        };
        match ask(server, &query(edns)?, until, &mut self.room)? {
            response if edns && response.code == Code::NotUnderstood => {
                ask(server, &query(false)?, until, &mut self.room)
            }
            response => Ok(response),
        }
    }
}

fn addresses_of(found: Found) -> Option<Addresses> {
    match found {
        Found::Addresses(addresses) => Some(addresses),
        _ => None,
    }
}

/// IPv6 and IPv4 in turn, each in its own order; as many as fit.
fn in_turn(addresses: &[IpAddr]) -> Addresses {
    let mut v6 = addresses.iter().filter(|address| address.is_ipv6());
    let mut v4 = addresses.iter().filter(|address| address.is_ipv4());
    let mut ordered = Addresses::new();
    loop {
        let pair = [v6.next(), v4.next()];
        if pair == [None, None] {
            return ordered;
        }
        for address in pair.into_iter().flatten() {
            if ordered.push(*address).is_err() {
                return ordered;
            }
        }
    }
}
