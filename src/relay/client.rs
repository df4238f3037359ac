//! Who is at the other end of an inbound session.

use std::net::IpAddr;

use crate::smtp::server::Role;

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

/// A client and what it may do.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    /// Who.
    pub remote: Remote,
    /// What the listener it came in by is for.
    pub role: Role,
    /// True if it stands in `relay_from`, or came by a socket that only trusted programs can open.
    pub trusted: bool,
}
