//! Who may send to whom.

use std::net::IpAddr;

use crate::config::Config;
use crate::smtp::reply::Reply;
use crate::smtp::server::Role;

/// The client, by what is known for sure.
#[derive(Clone, Copy, Debug, Default)]
pub struct Peer<'a> {
    /// Stands in `relay_from` ([`trusts`]), or came by a socket that only trusted programs open.
    pub trusted: bool,
    /// The user it authenticated as.
    pub user: Option<&'a str>,
}

/// The answer to RCPT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// Taken, to be kept as this forward-path and sent by this route of the configuration.
    Accept {
        /// Place in `config.route`.
        route: u16,
        /// The forward-path given, or where mail for the postmaster goes.
        forward_path: &'a str,
    },
    /// Refused with this reply.
    Refuse(Reply),
}

/// True if `client` stands in `relay_from`.
pub fn trusts(config: &Config, client: IpAddr) -> bool {
    config.access.relay_from.iter().any(|network| network.contains(client))
}

/// Judges one recipient. Paths are canonical and without brackets.
///
/// A relay takes mail for local domains from anyone and for anywhere from trusted peers and users;
/// a submission server takes nothing from anyone else.
pub fn judge<'a>(
    config: &'a Config,
    peer: &Peer<'_>,
    role: Role,
    reverse_path: &str,
    forward_path: &'a str,
) -> Verdict<'a> {
    let _ = (config, peer, role, reverse_path, forward_path);
    todo!()
}
