//! Who may send to whom: the one place that decides what is relayed.
//!
//! A relay takes mail for local domains from anyone, and for anywhere from those it trusts. A
//! submission server takes nothing from anyone else. A stranger's local-part never names a second
//! hop (`user%elsewhere@here`, `elsewhere!user@here`, `"user@elsewhere"@here`): whatever stands
//! behind us could follow it.

use super::route;
use crate::config::{Config, Via};
use crate::smtp::address::Address;
use crate::smtp::reply::Reply;
use crate::smtp::server::Role;

/// The client, by what is known for sure.
#[derive(Clone, Copy, Debug, Default)]
pub struct Peer<'a> {
    /// May send to anywhere ([`Client::trusted`](super::client::Client)).
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
    /// Refused with this reply because of who asks: `relay_from` or a login would change it.
    Deny(Reply),
}

/// Judges one recipient. Paths are canonical and without brackets.
pub fn judge<'a>(
    config: &'a Config,
    peer: &Peer<'_>,
    role: Role,
    reverse_path: &str,
    forward_path: &'a str,
) -> Verdict<'a> {
    let is_known = peer.trusted || peer.user.is_some();
    match role {
        _ if is_known => {}
        Role::Submission if config.access.users_file.is_some() => {
            return Verdict::Deny(Reply::new(530, (7, 0), "authentication required"));
        }
        Role::Submission => {
            let text = "this client may not send through this server";
            return Verdict::Deny(Reply::new(554, (7, 1), text));
        }
        Role::Relay if !is_for_us(config, forward_path) => {
            return Verdict::Deny(Reply::new(550, (7, 1), "relaying denied"));
        }
        Role::Relay => {}
    }
    let forward_path = route::postmaster(config, forward_path).unwrap_or(forward_path);
    let Some(route) = route::find(config, reverse_path, forward_path) else {
        return refuse(550, (7, 1), "no route leads to this recipient");
    };
    match config.route.get(usize::from(route)).map(|route| &route.via) {
        Some(Via::Reject) | None => refuse(550, (7, 1), "a rule of this server refuses this recipient"),
        Some(_) => Verdict::Accept { route, forward_path },
    }
}

/// True if a stranger may send there: the postmaster, or a plain mailbox at a local domain.
fn is_for_us(config: &Config, forward_path: &str) -> bool {
    let Some(to) = Address::parse(forward_path) else { return false };
    if to.domain.is_empty() {
        return to.local.eq_ignore_ascii_case("postmaster");
    }
    // Quotes or not, these characters have sent mail on to a second host since UUCP.
    route::is_local(config, to.domain) && !to.local.contains(['%', '!', '@'])
}

fn refuse<'a>(code: u16, detail: (u16, u16), text: &str) -> Verdict<'a> {
    Verdict::Refuse(Reply::new(code, detail, text))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FILE: &str = r#"
hostname = "relay.test"
local_domains = ["home.test", "localhost"]
[[listen]]
address = "192.0.2.25:25"
[[listen]]
address = "127.0.0.1:25"
[[route]]
to = ["home.test"]
via = "maildir"
[[route]]
to = ["spam.test", "no@home.test"]
via = "reject"
[[route]]
to = ["remote.test", "*.remote.test", "gone%remote.test@*"]
via = "smarthost"
hosts = ["hop.test:25"]
tls = "none"
"#;
    const STRANGER: Peer<'_> = Peer { trusted: false, user: None };
    const TRUSTED: Peer<'_> = Peer { trusted: true, user: None };
    const USER: Peer<'_> = Peer { trusted: false, user: Some("me") };

    fn config() -> Config {
        Config::parse(FILE, "x").unwrap()
    }

    /// The route, or the code of the refusal.
    fn outcome(verdict: &Verdict<'_>) -> u16 {
        match verdict {
            Verdict::Accept { route, .. } => *route,
            Verdict::Refuse(reply) | Verdict::Deny(reply) => reply.code(),
        }
    }

    #[test]
    fn who_may_send_where() {
        let config = config();
        // Forward-path; what a stranger and a trusted client get from a relay.
        for (to, stranger, trusted) in [
            // Local mail.
            ("user@home.test", 0, 0),
            ("user+detail@HOME.test", 0, 0),
            ("\"a b\"@home.test", 0, 0),
            ("user@localhost", 3, 3),
            ("user@[192.0.2.25]", 0, 0),
            ("postmaster", 0, 0),
            ("POSTMASTER", 0, 0),
            ("postmaster@home.test", 0, 0),
            // Mail for elsewhere.
            ("user@remote.test", 550, 2),
            ("user@deep.remote.test", 550, 2),
            ("\"user\"@remote.test", 550, 2),
            ("postmaster@remote.test", 550, 2),
            ("user@nowhere.test", 550, 550),
            // A rule refuses.
            ("user@spam.test", 550, 550),
            // Names like ours.
            ("user@xhome.test", 550, 550),
            ("user@home.test.remote.test", 550, 2),
            ("user@sub.home.test", 550, 550),
            // Second hops in the local-part: for a trusted client a name like any other.
            ("user%remote.test@home.test", 550, 0),
            ("user%remote.test%home.test@home.test", 550, 0),
            ("\"user@remote.test\"@home.test", 550, 0),
            ("\"user%remote.test\"@home.test", 550, 0),
            ("\"user\\@remote.test\"@home.test", 550, 0),
            ("remote.test!user@home.test", 550, 0),
            ("\"remote.test!user\"@home.test", 550, 0),
            ("user%remote.test@[192.0.2.25]", 550, 0),
            ("gone%remote.test@localhost", 550, 2),
            ("user%home.test@remote.test", 550, 2),
            ("user@remote.test@home.test", 550, 0),
            ("user@home.test@remote.test", 550, 2),
            // Address literals of others, and odd ones.
            ("user@[192.0.2.7]", 550, 550),
            ("user@[127.0.0.1]", 550, 550),
            ("user@[IPv6:2001:db8::1]", 550, 550),
            ("user@[192.0.2.25", 550, 550),
            ("user@[]", 550, 550),
            // No domain.
            ("user", 550, 550),
            ("", 550, 550),
            ("@", 550, 550),
            ("@home.test", 550, 550),
        ] {
            let of = |peer| outcome(&judge(&config, &peer, Role::Relay, "a@b.test", to));
            assert_eq!((of(STRANGER), of(TRUSTED), of(USER)), (stranger, trusted, trusted), "<{to}>");
            let of = |peer| outcome(&judge(&config, &peer, Role::Submission, "a@b.test", to));
            assert_eq!((of(STRANGER), of(TRUSTED), of(USER)), (554, trusted, trusted), "<{to}>");
        }
    }

    #[test]
    fn submission_asks_for_authentication_where_there_are_users() {
        let mut config = config();
        config.access.users_file = Some("/etc/pillarbox.users".into());
        let verdict = judge(&config, &STRANGER, Role::Submission, "a@b.test", "user@home.test");
        let Verdict::Deny(reply) = verdict else { panic!("{verdict:?}") };
        assert_eq!(reply.to_string(), "530 5.7.0 authentication required");
    }

    #[test]
    fn the_postmaster_is_kept_as_who_it_is() {
        let mut config = config();
        let kept = |config: &Config, to| match judge(config, &STRANGER, Role::Relay, "", to) {
            Verdict::Accept { route, forward_path } => (route, forward_path.to_owned()),
            Verdict::Refuse(reply) | Verdict::Deny(reply) => panic!("{to}: {reply}"),
        };
        assert_eq!(kept(&config, "Postmaster"), (0, "postmaster@home.test".to_owned()));
        config.postmaster = "me@remote.test".to_owned();
        config.postmaster_is_set = true;
        assert_eq!(kept(&config, "Postmaster"), (2, "me@remote.test".to_owned()));
        assert_eq!(kept(&config, "postmaster@home.test"), (2, "me@remote.test".to_owned()));
        assert_eq!(kept(&config, "user@home.test"), (0, "user@home.test".to_owned()));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn a_stranger_reaches_local_domains_only(
            local in "[a-z%!@\"\\\\.]{0,12}", domain in prop_oneof![Just("home.test"), Just("remote.test"), Just("spam.test")],
        ) {
            let config = config();
            let to = format!("{local}@{domain}");
            if let Verdict::Accept { forward_path, .. } = judge(&config, &STRANGER, Role::Relay, "a@b.test", &to) {
                prop_assert_eq!(domain, "home.test");
                prop_assert!(!local.contains(['%', '!', '@']));
                prop_assert_eq!(forward_path, to.as_str());
            }
        }

        #[test]
        fn any_path_is_judged(from in any::<String>(), to in any::<String>()) {
            let config = config();
            for role in [Role::Relay, Role::Submission] {
                prop_assert!(outcome(&judge(&config, &STRANGER, role, &from, &to)) >= 530 || to.contains('@') || to.eq_ignore_ascii_case("postmaster"));
                let _ = judge(&config, &TRUSTED, role, &from, &to);
            }
        }
    }
}
