//! What no single key can tell: whether they fit together.

use super::section::{Notes, Section};
use super::{Auth, Config, Host, Maildir, Pattern, Route, Smarthost, TlsStrictness, Via};

/// Notes the keys of a smarthost that contradict each other.
pub(super) fn smarthost(smarthost: &Smarthost, s: &Section<'_>, notes: &mut Notes) {
    let mut at = |key: &str, what: &str| notes.add(s.place(key), what);
    if smarthost.hosts.iter().any(|host| matches!(host, Host::Unix(_))) {
        at("hosts", "a smarthost is reached by TCP: write \"host:port\", or via = \"lmtp\"");
    }
    let has_password = smarthost.password_file.is_some() || !smarthost.password_command.is_empty();
    let has_token = !smarthost.token_command.is_empty();
    let wants_token = matches!(smarthost.auth, Auth::XOauth2 | Auth::OauthBearer);
    if smarthost.password_file.is_some() && !smarthost.password_command.is_empty() {
        at("password_command", "password_file is there too: keep one of them");
    }
    match (&smarthost.username, has_password, has_token) {
        (Some(_), false, false) => at("username", "username without a secret: add password_file"),
        (None, true, _) => at(
            if smarthost.password_file.is_some() { "password_file" } else { "password_command" },
            "a password without a name: add username",
        ),
        (None, false, true) => at("token_command", "a token without a name: add username"),
        (None, false, false) if smarthost.auth != Auth::Auto => {
            at("auth", "nobody to be: add username and password_file")
        }
        (Some(_), true, true) => at("token_command", "a password is there too: keep one of them"),
        (Some(_), true, false) if wants_token => {
            at("auth", "this needs an access token: write token_command")
        }
        (Some(_), false, true) if !wants_token && smarthost.auth != Auth::Auto => {
            at("token_command", "tokens need auth = \"xoauth2\" or \"oauthbearer\"")
        }
        _ => {}
    }
    if smarthost.ca_file.is_some() && smarthost.certificate_sha256.is_some() {
        at(
            "certificate_sha256",
            "ca_file is there too: a pinned certificate needs no authority, keep one of them",
        );
    }
    if smarthost.tls == TlsStrictness::None && smarthost.certificate_sha256.is_some() {
        at("certificate_sha256", "tls = \"none\" shows no certificate: remove one of them");
    }
    if smarthost.tls != TlsStrictness::Verify && smarthost.ca_file.is_some() {
        at("ca_file", "only tls = \"verify\" looks at it: remove one of them");
    }
}

/// Makes the rule behind the last route (local domains go to Maildirs) a route itself, so that
/// every way mail can go has a place in the list; not if it could never match.
pub(super) fn add_last_route(config: &mut Config) {
    let is_covered = |domain: &String| {
        config.route.iter().any(|route| {
            route.from.is_empty()
                && (route.to.is_empty() || route.to.iter().any(|pattern| pattern.covers(domain)))
        })
    };
    if !config.local_domains.iter().all(is_covered) {
        config.route.push(Route {
            to: config.local_domains.iter().map(|domain| Pattern::domain(domain)).collect(),
            from: Vec::new(),
            via: Via::Maildir(Maildir::default()),
        });
    }
}
