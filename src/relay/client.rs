//! Who is at the other end of an inbound session, and what it gets: the one place where the
//! configuration's rules for clients are put together.
//!
//! Two things are kept apart. A client that is *trusted* may send to anywhere without saying who it
//! is. One that is *tolerated* is taken as it is, with the habits of old devices. Whoever is trusted
//! is tolerated; an appliance is tolerated only.

use std::net::IpAddr;

use crate::config::{self, Config};
use crate::smtp::keyword::{Keyword, Keywords};
use crate::smtp::sasl::Mechanisms;
use crate::smtp::server::{BareNewline, Role, Terms, Tls};

/// The target of log lines about strangers.
pub const STRANGERS: &str = "pillarbox::strangers";

/// A peer, by what is known without believing it anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remote {
    /// A host; an IPv4-mapped address is turned into the IPv4 address it stands for.
    Host(IpAddr),
    /// A program on this machine, by the user it runs as.
    User(u32),
}

impl Remote {
    /// The address, if it has one.
    pub fn address(&self) -> Option<IpAddr> {
        match *self {
            Self::Host(address) => Some(address),
            Self::User(_) => None,
        }
    }
}

impl std::fmt::Display for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Host(address) => address.fmt(f),
            Self::User(user) => write!(f, "uid:{user}"),
        }
    }
}

/// A client and what it gets: decided when it comes, and the same to the end of its session,
/// whatever is reloaded meanwhile.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    /// Who.
    pub remote: Remote,
    /// What the listener it came in by is for.
    pub role: Role,
    /// It may send to anywhere without AUTH: it stands in `relay_from`, has `relay`, or came by a
    /// Unix socket, which only trusted programs can open.
    pub trusted: bool,
    /// It is taken as it is: it is trusted, or an appliance.
    pub tolerant: bool,
    /// AUTH is offered to it without TLS: an appliance, or in `plaintext_auth_from`.
    pub plaintext_auth: bool,
    /// What becomes of its bare CR and LF, if it is tolerated.
    pub bare_newline: BareNewline,
    /// EHLO keywords that it is not shown.
    pub hidden: Keywords,
    /// Messages that it may send in an hour; 0: no limit.
    pub messages_per_hour: u32,
}

impl Client {
    /// The client that has come in by a listener of that role.
    pub fn of(config: &Config, remote: Remote, role: Role) -> Self {
        let rule = rule(config, remote);
        let is_in = |networks: &[config::Network]| {
            remote.address().is_some_and(|address| networks.iter().any(|network| network.contains(address)))
        };
        let appliance = rule.is_some_and(|rule| rule.appliance);
        let trusted = match remote {
            Remote::User(_) => true,
            Remote::Host(_) => is_in(&config.access.relay_from) || rule.is_some_and(|rule| rule.relay),
        };
        let hidden = rule.map_or(Keywords::NONE, |rule| rule.hide);
        Self {
            remote,
            role,
            trusted,
            tolerant: trusted || appliance,
            plaintext_auth: appliance || is_in(&config.access.plaintext_auth_from),
            // Who is named an appliance is named for such habits.
            bare_newline: if appliance { BareNewline::Normalize } else { config.access.bare_newline },
            hidden: if appliance { hidden.with(Keyword::StartTls) } else { hidden },
            messages_per_hour: rule
                .and_then(|rule| rule.messages_per_hour)
                .unwrap_or(config.limits.messages_per_hour),
        }
    }

    /// True for who may send to nowhere but here: not trusted, and no user of ours.
    pub fn is_stranger(&self, user: Option<&str>) -> bool {
        !self.trusted && user.is_none()
    }

    /// The target of log lines that tell what it was refused. Those about strangers are limited in number.
    pub fn log_target(&self) -> &'static str {
        if self.trusted { "pillarbox::clients" } else { STRANGERS }
    }

    /// What holds for its session, as far as TLS is, where users can use these mechanisms.
    pub fn terms<'a>(&self, config: &'a Config, tls: Tls, mechanisms: Mechanisms) -> Terms<'a> {
        Terms {
            hostname: &config.hostname,
            // What the spool can never hold is refused for good, not for now.
            message_size: config.limits.message_size.min(config.spool.max_size),
            recipients: config.limits.recipients,
            errors: config.limits.errors,
            role: self.role,
            trusted: self.trusted,
            tolerant: self.tolerant,
            bare_newline: self.bare_newline,
            hidden: self.hidden,
            tls,
            mechanisms,
            plaintext_auth: self.plaintext_auth,
        }
    }
}

/// The address that a client is counted and noted by: one who has an IPv6 address has a whole network
/// of them (/64).
pub fn counted_as(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
        address => address,
    }
}

/// The first `[[client]]` that is for it, by its address. It is found anew each time: a reload may
/// have changed the list.
pub fn rule(config: &Config, remote: Remote) -> Option<&config::Client> {
    let address = remote.address()?;
    config.client.iter().find(|client| client.networks.iter().any(|network| network.contains(address)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
[access]
relay_from = ["192.0.2.0/24"]
bare_newline = "reject"
[limits]
messages_per_hour = 100
[[client]]
networks = ["192.0.2.50", "2001:db8:1::/64"]
appliance = true
hide = ["CHUNKING"]
messages_per_hour = 5
[[client]]
networks = ["198.51.100.0/28"]
relay = true
messages_per_hour = 0
[[client]]
networks = ["198.51.100.0/24", "192.0.2.50"]
hide = ["DSN"]
"#;

    fn config() -> Config {
        let mut config = Config::parse(FILE, "host.test").unwrap();
        config.access.plaintext_auth_from = vec![config::Network::parse("198.51.100.9").unwrap()];
        config
    }

    fn client(address: &str) -> Client {
        Client::of(&config(), Remote::Host(address.parse().unwrap()), Role::Relay)
    }

    #[test]
    fn trust_and_tolerance_are_two_things() {
        // Address; trusted, tolerated, AUTH without TLS.
        for (address, trusted, tolerant, plaintext_auth) in [
            ("203.0.113.1", false, false, false),
            ("192.0.2.7", true, true, false),
            ("::ffff:192.0.2.7", true, true, false),
            ("192.0.2.50", true, true, true),
            ("2001:db8:1::99", false, true, true),
            ("2001:db8:2::99", false, false, false),
            ("198.51.100.1", true, true, false),
            ("198.51.100.9", true, true, true),
            ("198.51.100.200", false, false, false),
        ] {
            let client = client(address);
            let found = (client.trusted, client.tolerant, client.plaintext_auth);
            assert_eq!(found, (trusted, tolerant, plaintext_auth), "{address}");
        }
        let program = Client::of(&config(), Remote::User(1000), Role::Submission);
        assert!(program.trusted && program.tolerant && !program.plaintext_auth);
    }

    #[test]
    fn trust_is_by_network() {
        let config = Config::parse("", "host.test").unwrap();
        for (address, is_trusted) in [
            ("127.0.0.9", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("192.0.2.25", false),
            ("::2", false),
        ] {
            let client = Client::of(&config, Remote::Host(address.parse().unwrap()), Role::Relay);
            assert_eq!(client.trusted, is_trusted, "{address}");
        }
    }

    #[test]
    fn the_first_rule_that_fits_holds_alone() {
        let none = Keywords::NONE;
        for (address, hidden, messages_per_hour, bare_newline) in [
            ("203.0.113.1", none, 100, BareNewline::Reject),
            ("192.0.2.50", none.with(Keyword::Chunking).with(Keyword::StartTls), 5, BareNewline::Normalize),
            ("198.51.100.1", none, 0, BareNewline::Reject),
            ("198.51.100.200", none.with(Keyword::Dsn), 100, BareNewline::Reject),
        ] {
            let client = client(address);
            assert_eq!(client.hidden, hidden, "{address}");
            assert_eq!(client.messages_per_hour, messages_per_hour, "{address}");
            assert_eq!(client.bare_newline, bare_newline, "{address}");
        }
    }
}
