//! Which route a recipient takes: the first in the configuration whose patterns fit.

use std::net::IpAddr;

use crate::config::{Config, Endpoint};
use crate::smtp::address::Address;

/// The place in `config.route` of the first route that takes mail from `reverse_path` to
/// `forward_path`, both canonical and without brackets; `None`: there is no way.
///
/// A bare `postmaster` goes where the configuration says; an address literal of our own counts as
/// the first local domain.
pub fn find(config: &Config, reverse_path: &str, forward_path: &str) -> Option<u16> {
    let to = Address::parse(postmaster(config, forward_path).unwrap_or(forward_path))?;
    let to = Some((to.local, local_name(config, to.domain)));
    let from = Address::parse(reverse_path).map(|from| (from.local, from.domain));
    let fits = |patterns: &[crate::config::Pattern], address| {
        patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches(address))
    };
    let place = config.route.iter().position(|route| fits(&route.to, to) && fits(&route.from, from))?;
    u16::try_from(place).ok()
}

/// True if mail for `domain` is ours to take from anyone.
pub fn is_local(config: &Config, domain: &str) -> bool {
    let domain = domain.strip_suffix('.').unwrap_or(domain);
    config.local_domains.iter().any(|local| local.eq_ignore_ascii_case(domain))
        || is_own_literal(config, domain)
}

/// The domain; for an address literal of our own, the first local one.
pub fn local_name<'a>(config: &'a Config, domain: &'a str) -> &'a str {
    match config.local_domains.first() {
        Some(first) if is_own_literal(config, domain) => first,
        _ => domain,
    }
}

/// Where mail for the postmaster goes, if `forward_path` is one whose mail goes elsewhere: the bare
/// one always, that of a local domain if `postmaster` is configured (RFC 5321 4.5.1).
pub fn postmaster<'a>(config: &'a Config, forward_path: &str) -> Option<&'a str> {
    let to = Address::parse(forward_path)?;
    let is_moved = to.domain.is_empty() || config.postmaster_is_set && is_local(config, to.domain);
    (is_moved && to.local.eq_ignore_ascii_case("postmaster")).then_some(config.postmaster.as_str())
}

/// True for the address literal (RFC 5321 4.1.3) of an address that we listen on. A loopback
/// address names whoever says it, never us.
fn is_own_literal(config: &Config, domain: &str) -> bool {
    let Some(address) = literal(domain) else { return false };
    !address.is_loopback()
        && !address.is_unspecified()
        && !config.local_domains.is_empty()
        && config
            .listen
            .iter()
            .any(|listen| matches!(&listen.address, Endpoint::Tcp(ours) if ours.ip() == address))
}

/// The address in `[192.0.2.1]` or `[IPv6:2001:db8::1]`.
fn literal(domain: &str) -> Option<IpAddr> {
    let inside = domain.strip_prefix('[')?.strip_suffix(']')?;
    match inside.split_at_checked(5) {
        Some((tag, address)) if tag.eq_ignore_ascii_case("IPv6:") => address.parse().ok().map(IpAddr::V6),
        _ => inside.parse().ok().map(IpAddr::V4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
hostname = "relay.test"
local_domains = ["home.test", "other.test"]
[[listen]]
address = "192.0.2.25:25"
[[listen]]
address = "127.0.0.1:25"
[[listen]]
address = "[2001:db8::25]:25"
[[route]]
to = ["root@*"]
via = "reject"
[[route]]
from = ["<>"]
to = ["bounces.test"]
via = "discard"
[[route]]
from = ["*@nas.home.test"]
via = "smarthost"
hosts = ["nas.test:25"]
tls = "none"
[[route]]
to = ["*.example.org"]
via = "smarthost"
hosts = ["org.test:25"]
tls = "none"
"#;

    #[test]
    fn the_first_route_that_fits_is_taken() {
        let config = Config::parse(FILE, "x").unwrap();
        for (from, to, route) in [
            ("a@b.test", "root@anywhere.test", Some(0)),
            ("a@b.test", "ROOT@home.test", Some(0)),
            ("", "x@bounces.test", Some(1)),
            ("a@b.test", "x@bounces.test", None),
            ("cam@NAS.home.test", "x@bounces.test", Some(2)),
            ("cam@nas.home.test", "root@bounces.test", Some(0)),
            ("a@b.test", "x@mail.example.org", Some(3)),
            ("a@b.test", "x@example.org", None),
            ("a@b.test", "\"x@mail.example.org\"@home.test", Some(4)),
            ("a@b.test", "x@home.test", Some(4)),
            ("", "x@OTHER.test.", Some(4)),
            ("a@b.test", "x@[192.0.2.25]", Some(4)),
            ("a@b.test", "x@[IPv6:2001:db8::25]", Some(4)),
            ("a@b.test", "x@[192.0.2.26]", None),
            ("a@b.test", "x@[127.0.0.1]", None),
            ("a@b.test", "postmaster", Some(4)),
            ("a@b.test", "PostMaster", Some(4)),
            ("a@b.test", "someone", None),
            ("a@b.test", "", None),
        ] {
            assert_eq!(find(&config, from, to), route, "<{from}> to <{to}>");
        }
    }

    #[test]
    fn mail_for_the_postmaster_goes_where_it_is_said() {
        let mut config = Config::parse(FILE, "x").unwrap();
        assert_eq!(postmaster(&config, "Postmaster"), Some("postmaster@home.test"));
        assert_eq!(postmaster(&config, "postmaster@home.test"), None, "it stays in its own mailbox");
        config.postmaster = "me@mail.example.org".to_owned();
        config.postmaster_is_set = true;
        for (path, is_moved) in [
            ("postmaster", true),
            ("POSTMASTER@other.test", true),
            ("postmaster@[192.0.2.25]", true),
            ("postmaster@elsewhere.test", false),
            ("postmaster2@home.test", false),
            ("", false),
        ] {
            let goes_to = is_moved.then_some("me@mail.example.org");
            assert_eq!(postmaster(&config, path), goes_to, "{path}");
        }
        assert_eq!(find(&config, "a@b.test", "postmaster"), Some(3));
    }
}
