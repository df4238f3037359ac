//! The `names` helper: asks for the addresses of hosts and for the hosts of domains, which can take seconds.

use std::fmt::Display;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;

use heapless::{String, Vec};

use crate::config::{Config, Dns, Endpoint, Via};
use crate::dns::mx::{self, NoExchanger, Own};
use crate::dns::name::Name;
use crate::dns::resolver::{self, Failure, Resolver, Search};
use crate::dns::system::{RESOLV_CONF, Servers, System};
use crate::helper::{DEPTH, Desk, Helper};
use crate::limits::{ADDRESSES, HOST_OCTETS};
use crate::smtp::reply::Reply;

/// The set of name servers that `[dns]` names, beside those of each route.
const DEFAULT_SET: u16 = u16::MAX;

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Question {
    /// Given back with the answer.
    pub ticket: u32,
    /// What is looked for.
    pub sought: Sought,
    /// The port that the addresses shall carry.
    pub port: u16,
    /// The route that wants to know: it can have name servers of its own.
    pub route: u16,
    /// The configuration that the route is from.
    pub config: Arc<Config>,
}

/// What is looked for.
#[derive(Clone, Debug)]
pub enum Sought {
    /// The addresses of a host that the configuration names.
    Host(String<HOST_OCTETS>),
    /// A host that takes mail for a domain.
    Exchanger {
        /// The domain.
        domain: String<HOST_OCTETS>,
        /// Which of them, from 0.
        nth: usize,
        /// Decides the order of those that are equally wanted.
        seed: u64,
    },
}

impl Sought {
    fn name(&self) -> Option<Name> {
        match self {
            Self::Host(name) | Self::Exchanger { domain: name, .. } => Name::parse(name),
        }
    }
}

/// Addresses in the order in which they are to be tried.
pub type Addresses = Vec<SocketAddr, ADDRESSES>;

/// A host that can be dialled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its name.
    pub host: String<HOST_OCTETS>,
    /// At least one.
    pub addresses: Addresses,
    /// There is none behind it; false if that is not known.
    pub is_last: bool,
}

/// Why there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotFound {
    /// This host can't be dialled; the next one may.
    Host {
        /// Its name.
        host: String<HOST_OCTETS>,
        /// 4yz: later perhaps; 5yz: never.
        reply: Reply,
        /// There is none behind it; false if that is not known.
        is_last: bool,
    },
    /// Nothing leads to the domain: 4yz now, 5yz ever.
    Domain(Reply),
    /// There are fewer hosts.
    NoMore,
}

/// What came of a question.
#[derive(Debug)]
pub struct Answer {
    /// The question's ticket.
    pub ticket: u32,
    /// What was found.
    pub result: Result<Found, NotFound>,
}

/// The loop's end of the helper.
pub type Names = Helper<Question, Answer>;

/// Octets of heap and stack that the helper takes.
pub const OCTETS: usize = Names::OCTETS + Resolver::OCTETS + size_of::<Waiting>();

/// Questions that were taken and not yet answered.
type Waiting = Vec<Question, DEPTH>;

/// Starts the helper; `wake` is called after each answer.
pub fn start(wake: impl Fn() + Send + 'static) -> io::Result<Names> {
    let mut lookups = Lookups { resolver: Resolver::new(System::default()), config: None };
    let mut waiting = Box::new(Waiting::new());
    Helper::start("names", wake, move |desk: &mut Desk<Question, Answer>| {
        loop {
            while !waiting.is_full()
                && let Some(question) = desk.question()
            {
                // There is room.
                let _ = waiting.push(question);
            }
            if waiting.is_empty() {
                return;
            }
            // What may take long once more goes last.
            let next = waiting.iter().position(|question| !lookups.is_dead(question)).unwrap_or_default();
            let question = waiting.remove(next);
            desk.answer(Answer { ticket: question.ticket, result: lookups.answer(&question) });
        }
    })
}

/// The addresses that DNS has for a host, asked here and now by the name servers of a route; for `check`, which
/// can wait. What only this host's own files say does not count.
pub fn look_up_in_dns(config: &Config, route: usize, host: &str) -> Result<resolver::Addresses, Failure> {
    let resolver = Resolver::new(System::new(RESOLV_CONF.into(), PathBuf::new()));
    let mut lookups = Lookups { resolver, config: None };
    let route = u16::try_from(route).unwrap_or(DEFAULT_SET);
    let search = Search::start(lookups.servers(config, route), set(config, route));
    lookups.resolver.addresses(&Name::parse(host).ok_or(Failure::NoName)?, &search)
}

/// What the helper works with.
struct Lookups {
    resolver: Resolver,
    /// The configuration that the answers which are remembered came by.
    config: Option<Arc<Config>>,
}

impl Lookups {
    fn is_dead(&self, question: &Question) -> bool {
        let set = set(&question.config, question.route);
        question.sought.name().is_some_and(|name| self.resolver.is_dead(&name, set))
    }

    fn answer(&mut self, question: &Question) -> Result<Found, NotFound> {
        if !self.config.as_ref().is_some_and(|last| Arc::ptr_eq(last, &question.config)) {
            // By another configuration, other servers are asked.
            self.resolver.forget();
            self.config = Some(Arc::clone(&question.config));
        }
        let Question { config, route, .. } = question;
        let search = Search::start(self.servers(config, *route), set(config, *route));
        let dialled = |addresses: resolver::Addresses| -> Addresses {
            addresses.into_iter().map(|address| SocketAddr::new(address, question.port)).collect()
        };
        match &question.sought {
            Sought::Host(host) => {
                let name = Name::parse(host).ok_or(Failure::NoName);
                let found = name.and_then(|name| self.resolver.addresses(&name, &search));
                match found {
                    Ok(addresses) => {
                        Ok(Found { host: host.clone(), addresses: dialled(addresses), is_last: false })
                    }
                    // Its owner named it: whatever is wrong with it will be mended.
                    Err(failure) => {
                        let reply = Reply::new(451, (4, 3), format_args!("{host}: {}", words(failure)));
                        Err(NotFound::Host { host: host.clone(), reply, is_last: false })
                    }
                }
            }
            Sought::Exchanger { domain, nth, seed } => {
                let Some(name) = Name::parse(domain) else {
                    return Err(NotFound::Domain(no_exchanger(
                        domain,
                        NoExchanger::Unknown(Failure::NoName),
                    )));
                };
                let own_name = Name::parse(&question.config.hostname);
                let is_address = |address| is_own(&question.config, address, question.port);
                let own = Own { name: own_name.as_ref(), is_address: &is_address };
                match mx::exchanger(&mut self.resolver, &name, *nth, *seed, &search, own) {
                    Ok(exchanger) => {
                        let host = String::try_from(exchanger.name.as_str()).unwrap_or_default();
                        let is_last = exchanger.is_last;
                        match exchanger.addresses {
                            Ok(addresses) => Ok(Found { host, addresses: dialled(addresses), is_last }),
                            Err(failure) => {
                                let reply = no_host(&name, &exchanger.name, failure);
                                Err(NotFound::Host { host, reply, is_last })
                            }
                        }
                    }
                    Err(NoExchanger::NoMore) => Err(NotFound::NoMore),
                    Err(why) => Err(NotFound::Domain(no_exchanger(&name, why))),
                }
            }
        }
    }

    /// The name servers of a route, else of `[dns]`, else of the system. While its keys have
    /// their defaults, what the system says of timeout and attempts holds.
    fn servers(&mut self, config: &Config, route: u16) -> Servers {
        let Dns { resolvers, timeout, attempts } = &config.dns;
        let list = own_resolvers(config, route).unwrap_or(resolvers);
        let mut servers = Servers {
            list: list.iter().copied().collect(),
            timeout: *timeout,
            attempts: *attempts,
            rotate: false,
        };
        if !list.is_empty() {
            return servers;
        }
        let system = self.resolver.system_servers(&servers);
        let default = Dns::default();
        servers.list = system.list;
        servers.rotate = system.rotate;
        if *timeout == default.timeout {
            servers.timeout = system.timeout;
        }
        if *attempts == default.attempts {
            servers.attempts = system.attempts;
        }
        servers
    }
}

/// The name servers of a route, if it has any of its own.
fn own_resolvers(config: &Config, route: u16) -> Option<&std::vec::Vec<SocketAddr>> {
    match &config.route.get(usize::from(route))?.via {
        Via::Mx(mx) if !mx.resolvers.is_empty() => Some(&mx.resolvers),
        _ => None,
    }
}

/// By which the cache tells their answers apart.
fn set(config: &Config, route: u16) -> u16 {
    if own_resolvers(config, route).is_some() { route } else { DEFAULT_SET }
}

/// True if one of our listeners would answer there.
pub fn is_own(config: &Config, address: IpAddr, port: u16) -> bool {
    let address = address.to_canonical();
    config.listen.iter().any(|listen| match &listen.address {
        Endpoint::Tcp(ours) if ours.port() == port && ours.is_ipv4() == address.is_ipv4() => {
            // A socket can only be bound to an address of this host.
            ours.ip() == address || ours.ip().is_unspecified() && UdpSocket::bind((address, 0)).is_ok()
        }
        _ => false,
    })
}

fn words(failure: Failure) -> &'static str {
    match failure {
        Failure::NoName => "no such name",
        Failure::NoRecord => "the name has no address",
        Failure::Refusal => "the name servers can't tell now",
        Failure::Silence => "no name server answers",
        Failure::Unreachable => "no name server can be reached",
    }
}

/// Why nothing leads to a domain.
fn no_exchanger(domain: impl Display, why: NoExchanger) -> Reply {
    match why {
        NoExchanger::Unknown(Failure::NoName) => {
            Reply::new(550, (1, 2), format_args!("{domain}: no such domain"))
        }
        NoExchanger::NullMx => Reply::new(556, (1, 10), format_args!("{domain}: the domain takes no mail")),
        NoExchanger::Loop => {
            let why = "this host is its mail exchanger, and does not take its mail";
            Reply::new(554, (4, 6), format_args!("{domain}: {why}"))
        }
        NoExchanger::Unknown(failure) => {
            Reply::new(451, (4, 3), format_args!("{domain}: {}", words(failure)))
        }
        NoExchanger::NoMore => Reply::new(451, (4, 4), format_args!("{domain}: no mail exchanger")),
    }
}

/// Why an address literal that is ours leads nowhere.
pub fn own_literal(domain: &str) -> Reply {
    no_exchanger(domain, NoExchanger::Loop)
}

/// Why an exchanger of a domain, or the domain itself in place of one, can't be dialled.
fn no_host(domain: &Name, host: &Name, failure: Failure) -> Reply {
    let (code, subject) = if failure.is_permanent() { (550, 4) } else { (451, 3) };
    if domain == host && failure.is_permanent() {
        let why = "the domain has neither a mail exchanger nor an address";
        return Reply::new(code, (4, subject), format_args!("{domain}: {why}"));
    }
    Reply::new(code, (4, subject), format_args!("{domain}: mail exchanger {host}: {}", words(failure)))
}

/// The address that a host's name already is: `192.0.2.1`, `[192.0.2.1]`, `[::1]` or `::1`.
pub fn literal(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    match bare.split_at_checked(5) {
        Some((tag, address)) if tag.eq_ignore_ascii_case("IPv6:") => address.parse().ok(),
        _ => bare.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(ticket: u32, host: &str, config: &Arc<Config>) -> Question {
        let sought = Sought::Host(String::try_from(host).unwrap());
        Question { ticket, sought, port: 25, route: 0, config: Arc::clone(config) }
    }

    #[test]
    fn literals_need_no_resolver() {
        assert_eq!(literal("[::1]"), "::1".parse().ok());
        assert_eq!(literal("[ipv6:::1]"), "::1".parse().ok());
        assert_eq!(literal("192.0.2.1"), "192.0.2.1".parse().ok());
        assert_eq!(literal("mail.example"), None);
    }

    #[test]
    fn questions_are_answered_with_their_ticket() {
        let config = Arc::new(Config::parse("", "host.test").unwrap());
        let mut names = start(|| {}).unwrap();
        for (ticket, host) in [(7, "localhost"), (8, "no such name")] {
            assert!(names.ask(question(ticket, host, &config)));
        }
        let mut tickets = std::vec::Vec::new();
        while tickets.len() < 2 {
            if let Some(answer) = names.answer() {
                assert_eq!(answer.result.is_ok(), answer.ticket == 7, "{answer:?}");
                tickets.push(answer.ticket);
            }
            std::thread::yield_now();
        }
        assert_eq!(tickets, [7, 8]);
    }

    #[test]
    fn we_know_ourselves_by_address_and_port() {
        let text = "[[listen]]\naddress = \"0.0.0.0:2525\"\n[[listen]]\naddress = \"192.0.2.7:25\"\n";
        let config = Config::parse(text, "host.test").unwrap();
        for (address, port, is_ours) in [
            ("127.0.0.1", 2525, true),
            ("127.0.0.9", 2525, true),
            ("127.0.0.1", 25, false),
            ("192.0.2.7", 25, true),
            ("192.0.2.7", 2525, false),
            ("::ffff:192.0.2.7", 25, true),
            ("::1", 2525, false),
        ] {
            assert_eq!(is_own(&config, address.parse().unwrap(), port), is_ours, "{address} {port}");
        }
    }
}
