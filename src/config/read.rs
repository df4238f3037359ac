//! TOML to [`Config`], section by section.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use toml_span::Value;

use super::default::{DAY, HOUR, KIB, MIB};
use super::section::{
    Notes, Section, duration, filled, flag, list, list_of, number, optional_path, parsed, path, size, text,
    word,
};
use super::types::{bare, is_domain};
use super::{
    Access, Aliases, Auth, Client, Commit, Config, Dns, Endpoint, Host, Limits, Listen, ListenTls, Lmtp, Log,
    LogLevel, LogTarget, Maildir, Mistake, Mx, Network, Pattern, Queue, Recipients, Route, Run, Smarthost,
    Spool, Tls, TlsStart, TlsStrictness, Via, check,
};
use crate::limits::{
    CELLS_OCTETS, DELIVERIES, DOMAIN_OCTETS, HOSTS, LIST, LISTENERS, LOCAL_PART_OCTETS, MAILBOX_PATH_OCTETS,
    MESSAGE_OCTETS, MESSAGE_OCTETS_MIN, MESSAGES, PATH_OCTETS, RECIPIENTS, RETRY_WAITS, ROUTES, SESSIONS,
    SPOOL_OCTETS,
};
use crate::smtp::keyword::{Keyword, Keywords};
use crate::smtp::server::{BareNewline, Role};

const SECOND: Duration = Duration::from_secs(1);
const ROLES: &[(&str, Role)] = &[("relay", Role::Relay), ("submission", Role::Submission)];
const NEWLINES: &[(&str, BareNewline)] =
    &[("normalize", BareNewline::Normalize), ("reject", BareNewline::Reject)];
const WAYS: &[(&str, Way)] = &[
    ("maildir", Way::Maildir),
    ("lmtp", Way::Lmtp),
    ("smarthost", Way::Smarthost),
    ("mx", Way::Mx),
    ("reject", Way::Reject),
    ("discard", Way::Discard),
];

/// The word of `via`, before the keys that belong to it are read.
#[derive(Clone, Copy)]
enum Way {
    Maildir,
    Lmtp,
    Smarthost,
    Mx,
    Reject,
    Discard,
}

/// Reads the whole file: what could be read of it, with the default for what is wrong, and every
/// mistake. Nothing can be read of what is no TOML.
pub(super) fn config(file: &str, host: &str) -> (Option<Config>, Vec<Mistake>) {
    let root = match toml_span::parse(file) {
        Ok(root) => root,
        Err(e) => return (None, vec![Mistake::at(file.as_bytes(), e.span.start, e.to_string())]),
    };
    let mut notes = Notes::default();
    let mut config = Config::bare(host);
    let mut top = Section::root(&root);
    names(&mut top, &mut config, &mut notes);
    spool(top.section("spool", &mut notes), &mut config.spool, &mut notes);
    // TLS first: whether there is a certificate decides the default of every listener.
    tls(top.section("tls", &mut notes), &mut config.tls, &mut notes);
    let offered = if config.tls.certificate_file.is_some() { ListenTls::StartTls } else { ListenTls::None };
    for section in top.sections("listen", LISTENERS, &mut notes) {
        listen(section, offered, &mut config.listen, &mut notes);
    }
    access(top.section("access", &mut notes), &mut config.access, &mut notes);
    for section in top.sections("client", ROUTES, &mut notes) {
        client(section, &mut config.client, &mut notes);
    }
    limits(top.section("limits", &mut notes), &mut config.limits, config.spool.max_size, &mut notes);
    queue(top.section("queue", &mut notes), &mut config.queue, &mut notes);
    aliases(top.section("aliases", &mut notes), &mut config.aliases, &mut notes);
    for section in top.sections("route", ROUTES, &mut notes) {
        route(section, &mut config.route, &mut notes);
    }
    dns(top.section("dns", &mut notes), &mut config.dns, &mut notes);
    log(top.section("log", &mut notes), &mut config.log, &mut notes);
    run(top.section("run", &mut notes), &mut config.run, &config.listen, &mut notes);
    top.close(&mut notes);
    check::add_last_route(&mut config);
    (Some(config), notes.finish(file))
}

fn names(top: &mut Section<'_>, config: &mut Config, notes: &mut Notes) {
    if let Some(name) = top.read("hostname", notes, parsed(domain)) {
        *config = Config::bare(&name);
    }
    top.set("local_domains", &mut config.local_domains, notes, list(parsed(domain)));
    let first = config.local_domains.first().unwrap_or(&config.hostname);
    config.postmaster = format!("postmaster@{first}");
    // A name without a domain is a local user; this one is the default.
    let local =
        |name: &str| if name.contains('@') { address(name) } else { address(&format!("{name}@{first}")) };
    let is_default = top.find("postmaster").and_then(Value::as_str) == Some("postmaster");
    if let Some(Some(address)) = top.read("postmaster", notes, optional(local))
        && !is_default
    {
        config.postmaster = address;
        config.postmaster_is_set = true;
    }
}

fn spool(mut section: Section<'_>, spool: &mut Spool, notes: &mut Notes) {
    let s = &mut section;
    s.set("directory", &mut spool.directory, notes, path);
    s.set("max_size", &mut spool.max_size, notes, size(256 * KIB..=SPOOL_OCTETS));
    s.set("max_messages", &mut spool.max_messages, notes, number(1..=MESSAGES));
    s.set("cells_size", &mut spool.cells_size, notes, size(CELLS_OCTETS.0..=CELLS_OCTETS.1));
    s.set("commit", &mut spool.commit, notes, word(Commit::WORDS));
    s.set("commit_wait", &mut spool.commit_wait, notes, duration(SECOND..=HOUR));
    section.close(notes);
}

fn tls(mut section: Section<'_>, tls: &mut Tls, notes: &mut Notes) {
    let s = &mut section;
    s.set("certificate_file", &mut tls.certificate_file, notes, optional_path);
    s.set("key_file", &mut tls.key_file, notes, optional_path);
    s.set("ca_file", &mut tls.ca_file, notes, optional_path);
    match (&tls.certificate_file, &tls.key_file) {
        (Some(_), None) => s.require("key_file", "\"/etc/pillarbox/key.pem\"", notes),
        (None, Some(_)) => s.require("certificate_file", "\"/etc/pillarbox/cert.pem\"", notes),
        _ => {}
    }
    section.close(notes);
}

fn listen(mut section: Section<'_>, offered: ListenTls, all: &mut Vec<Listen>, notes: &mut Notes) {
    let s = &mut section;
    s.require("address", "\"0.0.0.0:25\"", notes);
    let address = s.read("address", notes, parsed(Endpoint::parse));
    let role = s.read("role", notes, word(ROLES)).unwrap_or(Role::Relay);
    let tls = s.read("tls", notes, word(ListenTls::WORDS)).unwrap_or(offered);
    let proxy_protocol_from = s.read("proxy_protocol_from", notes, networks).unwrap_or_default();
    if tls != ListenTls::None && offered == ListenTls::None {
        notes.add(s.place("tls"), "TLS needs a certificate: write [tls] with certificate_file and key_file");
    }
    if tls == ListenTls::Implicit && matches!(address, Some(Endpoint::Unix(_))) {
        notes.add(s.place("tls"), "a Unix socket has no TLS: nobody can listen in; write \"none\"");
    }
    if let Some(address) = address {
        match all.iter().find(|other| other.address.overlaps(&address)) {
            Some(other) if other.address == address => {
                notes.add(s.place("address"), format!("\"{address}\" stands twice: remove one [[listen]]"));
            }
            Some(Listen { address: other, .. }) => notes.add(
                s.place("address"),
                format!("\"{address}\" and \"{other}\" hold the same address: remove one [[listen]]"),
            ),
            None => {}
        }
        all.push(Listen { address, role, tls, proxy_protocol_from });
    }
    section.close(notes);
}

fn access(mut section: Section<'_>, access: &mut Access, notes: &mut Notes) {
    let s = &mut section;
    s.set("relay_from", &mut access.relay_from, notes, networks);
    s.set("users_file", &mut access.users_file, notes, optional_path);
    s.set("plaintext_auth_from", &mut access.plaintext_auth_from, notes, networks);
    s.set("bare_newline", &mut access.bare_newline, notes, word(NEWLINES));
    s.set("cram_md5", &mut access.cram_md5, notes, flag);
    section.close(notes);
}

fn client(mut section: Section<'_>, all: &mut Vec<Client>, notes: &mut Notes) {
    let s = &mut section;
    s.require("networks", "[\"192.168.1.50\"]", notes);
    let networks = s.read("networks", notes, list_of(1..=LIST, parsed(Network::parse))).unwrap_or_default();
    let hidden = s.read("hide", notes, list(parsed(keyword))).unwrap_or_default();
    all.push(Client {
        networks,
        appliance: s.read("appliance", notes, flag).unwrap_or_default(),
        hide: hidden.into_iter().fold(Keywords::NONE, Keywords::with),
        relay: s.read("relay", notes, flag).unwrap_or_default(),
        messages_per_hour: s.read("messages_per_hour", notes, number(0..=u32::MAX)),
        rewrite_sender: s.read("rewrite_sender", notes, optional(address)).flatten(),
    });
    section.close(notes);
}

fn limits(mut section: Section<'_>, limits: &mut Limits, spool: u64, notes: &mut Notes) {
    let s = &mut section;
    s.set("sessions", &mut limits.sessions, notes, number(1..=SESSIONS as u16));
    // More for one than there are in all is no mistake: it is never reached.
    s.set("sessions_per_client", &mut limits.sessions_per_client, notes, number(1..=SESSIONS as u16));
    s.set("deliveries", &mut limits.deliveries, notes, number(1..=DELIVERIES as u16));
    let range = 1..=DELIVERIES as u16;
    s.set("deliveries_per_destination", &mut limits.deliveries_per_destination, notes, number(range));
    // The default gives way to a small spool; what was written down stands, and `check` warns.
    limits.message_size = limits.message_size.min(spool);
    let range = MESSAGE_OCTETS_MIN..=MESSAGE_OCTETS;
    s.set("message_size", &mut limits.message_size, notes, size(range));
    s.set("recipients", &mut limits.recipients, notes, number(1..=RECIPIENTS as u16));
    s.set("messages_per_hour", &mut limits.messages_per_hour, notes, number(0..=u32::MAX));
    s.set("errors", &mut limits.errors, notes, number(1..=1000));
    s.set("command_timeout", &mut limits.command_timeout, notes, duration(SECOND..=DAY));
    s.set("data_timeout", &mut limits.data_timeout, notes, duration(SECOND..=DAY));
    s.set("session_timeout", &mut limits.session_timeout, notes, duration(SECOND..=7 * DAY));
    section.close(notes);
}

fn queue(mut section: Section<'_>, queue: &mut Queue, notes: &mut Notes) {
    let s = &mut section;
    let waits: RangeInclusive<Duration> = SECOND..=7 * DAY;
    s.set("retry", &mut queue.retry, notes, list_of(1..=RETRY_WAITS, duration(waits)));
    s.set("warn_after", &mut queue.warn_after, notes, duration(Duration::ZERO..=30 * DAY));
    s.set("expire_after", &mut queue.expire_after, notes, duration(SECOND..=365 * DAY));
    s.set("bounce_size", &mut queue.bounce_size, notes, size(0..=16 * MIB));
    section.close(notes);
}

fn aliases(mut section: Section<'_>, aliases: &mut Aliases, notes: &mut Notes) {
    section.set("file", &mut aliases.file, notes, optional_path);
    section.close(notes);
}

fn route(mut section: Section<'_>, all: &mut Vec<Route>, notes: &mut Notes) {
    let s = &mut section;
    let patterns = || list(parsed(Pattern::parse));
    let to = s.read("to", notes, patterns()).unwrap_or_default();
    let from = s.read("from", notes, patterns()).unwrap_or_default();
    s.require("via", "\"maildir\", \"smarthost\" or \"mx\"", notes);
    // Without its way, the other keys of a route can't be judged.
    let Some(way) = s.read("via", notes, word(WAYS)) else { return };
    let via = match way {
        Way::Maildir => Via::Maildir(maildir(s, notes)),
        Way::Lmtp => {
            s.require("hosts", "[\"unix:/run/dovecot/lmtp\"]", notes);
            Via::Lmtp(Lmtp { hosts: s.read("hosts", notes, hosts).unwrap_or_default() })
        }
        Way::Smarthost => Via::Smarthost(smarthost(s, notes)),
        Way::Mx => Via::Mx(mx(s, notes)),
        Way::Reject => Via::Reject,
        Way::Discard => Via::Discard,
    };
    all.push(Route { to, from, via });
    section.close(notes);
}

fn maildir(s: &mut Section<'_>, notes: &mut Notes) -> Maildir {
    let mut maildir = Maildir::default();
    s.set("directory", &mut maildir.directory, notes, parsed(mailbox_template));
    s.set("recipients", &mut maildir.recipients, notes, word(Recipients::WORDS));
    s.set("mode", &mut maildir.mode, notes, parsed(mode));
    s.set("group", &mut maildir.group, notes, filled);
    maildir
}

fn smarthost(s: &mut Section<'_>, notes: &mut Notes) -> Smarthost {
    s.require("hosts", "[\"smtp.example.net:587\"]", notes);
    let smarthost = Smarthost {
        hosts: s.read("hosts", notes, hosts).unwrap_or_default(),
        tls: s.read("tls", notes, word(TlsStrictness::WORDS)).unwrap_or(TlsStrictness::Verify),
        tls_start: s.read("tls_start", notes, word(TlsStart::WORDS)).unwrap_or(TlsStart::Auto),
        ca_file: s.read("ca_file", notes, optional_path).flatten(),
        certificate_sha256: s.read("certificate_sha256", notes, optional(fingerprint)).flatten(),
        username: s.read("username", notes, filled).flatten(),
        password_file: s.read("password_file", notes, optional_path).flatten(),
        password_command: s.read("password_command", notes, list(text)).unwrap_or_default(),
        auth: s.read("auth", notes, word(Auth::WORDS)).unwrap_or(Auth::Auto),
        token_command: s.read("token_command", notes, list(text)).unwrap_or_default(),
        plaintext_auth: s.read("plaintext_auth", notes, flag).unwrap_or_default(),
        rewrite_sender: s.read("rewrite_sender", notes, optional(address)).flatten(),
    };
    check::smarthost(&smarthost, s, notes);
    smarthost
}

fn mx(s: &mut Section<'_>, notes: &mut Notes) -> Mx {
    let mut mx = Mx::default();
    s.set("tls", &mut mx.tls, notes, word(TlsStrictness::WORDS));
    s.set("resolvers", &mut mx.resolvers, notes, list_of(0..=HOSTS, parsed(resolver)));
    s.set("port", &mut mx.port, notes, number(1..=u16::MAX));
    mx
}

fn dns(mut section: Section<'_>, dns: &mut Dns, notes: &mut Notes) {
    let s = &mut section;
    s.set("resolvers", &mut dns.resolvers, notes, list_of(0..=HOSTS, parsed(resolver)));
    s.set("timeout", &mut dns.timeout, notes, duration(SECOND..=60 * SECOND));
    s.set("attempts", &mut dns.attempts, notes, number(1..=10));
    section.close(notes);
}

fn log(mut section: Section<'_>, log: &mut Log, notes: &mut Notes) {
    let s = &mut section;
    s.set("target", &mut log.target, notes, word(LogTarget::WORDS));
    s.set("level", &mut log.level, notes, word(LogLevel::WORDS));
    s.set("file", &mut log.file, notes, path);
    s.set("max_size", &mut log.max_size, notes, size(4 * KIB..=1024 * MIB));
    section.close(notes);
}

fn run(mut section: Section<'_>, run: &mut Run, listens: &[Listen], notes: &mut Notes) {
    let s = &mut section;
    s.set("user", &mut run.user, notes, filled);
    s.set("sandbox", &mut run.sandbox, notes, flag);
    s.set("command_paths", &mut run.command_paths, notes, list(path));
    s.set("control", &mut run.control, notes, path);
    s.set("submit", &mut run.submit, notes, path);
    s.set("metrics", &mut run.metrics, notes, optional(socket_address));
    if run.control == run.submit {
        notes.add(s.place("submit"), "control and submit are the same file: give each its own");
    }
    for (key, address) in [
        ("control", Some(Endpoint::Unix(run.control.clone()))),
        ("submit", Some(Endpoint::Unix(run.submit.clone()))),
        ("metrics", run.metrics.map(Endpoint::Tcp)),
    ] {
        let is_same = |listen: &&Listen| address.as_ref().is_some_and(|own| own.overlaps(&listen.address));
        if let Some(listen) = listens.iter().find(is_same) {
            let text = format!("a [[listen]] has the address \"{}\": give each its own", listen.address);
            notes.add(s.place(key), text);
        }
    }
    section.close(notes);
}

fn networks(value: &Value<'_>, notes: &mut Notes) -> Option<Vec<Network>> {
    list(parsed(Network::parse))(value, notes)
}

fn hosts(value: &Value<'_>, notes: &mut Notes) -> Option<Vec<Host>> {
    list_of(1..=HOSTS, parsed(Host::parse))(value, notes)
}

/// Text that `parse` makes something of; empty counts as left out.
fn optional<T>(
    parse: impl Fn(&str) -> Result<T, String>,
) -> impl Fn(&Value<'_>, &mut Notes) -> Option<Option<T>> {
    parsed(move |text: &str| if text.is_empty() { Ok(None) } else { parse(text).map(Some) })
}

fn domain(text: &str) -> Result<String, String> {
    if is_domain(text) {
        return Ok(bare(text));
    }
    Err(format!("{text:?} is no domain: write a name such as \"home.arpa\""))
}

/// A mailbox as the envelope has it.
fn address(text: &str) -> Result<String, String> {
    let fits = |local: &str, at: &str| {
        (1..=LOCAL_PART_OCTETS).contains(&local.len())
            && at.len() <= DOMAIN_OCTETS
            && text.len() <= PATH_OCTETS - 2
            && local.split('.').all(|atom| !atom.is_empty() && atom.chars().all(is_atom))
            && is_domain(at)
    };
    match text.rsplit_once('@') {
        Some((local, at)) if fits(local, at) => Ok(format!("{local}@{}", bare(at))),
        _ => Err(format!("{text:?} is no address: write \"name@example.net\"")),
    }
}

/// A character of an unquoted local-part (RFC 5321 4.1.2, RFC 6531).
fn is_atom(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c) || !c.is_ascii() && !c.is_control()
}

fn keyword(text: &str) -> Result<Keyword, String> {
    Keyword::parse(text).ok_or_else(|| {
        let all = Keyword::ALL.map(Keyword::name).join(", ");
        format!("{text:?} is no EHLO keyword of ours: there are {all}")
    })
}

fn socket_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("{text:?} is no address with a port: write \"127.0.0.1:9025\""))
}

/// A name server; the port can be left out.
fn resolver(text: &str) -> Result<SocketAddr, String> {
    let without_port = || text.parse().ok().map(|address: std::net::IpAddr| SocketAddr::new(address, 53));
    let found = text.parse().ok().or_else(without_port);
    found.ok_or_else(|| format!("{text:?} is no name server: write its address, \"192.168.1.1:53\""))
}

fn mode(text: &str) -> Result<u32, String> {
    let octal = text.bytes().all(|octet| (b'0'..=b'7').contains(&octet));
    let mode =
        u32::from_str_radix(text, 8).ok().filter(|mode| octal && mode & !0o777 == 0 && mode & 0o700 == 0o700);
    mode.ok_or_else(|| format!("{text:?} is no mode: write octal digits such as \"0770\"; the owner needs 7"))
}

fn fingerprint(text: &str) -> Result<String, String> {
    let digits: String = text.chars().filter(|c| *c != ':').map(|c| c.to_ascii_lowercase()).collect();
    if digits.len() == 64 && digits.bytes().all(|octet| octet.is_ascii_hexdigit()) {
        return Ok(digits);
    }
    Err("no SHA-256 fingerprint: write the certificate's 64 hex digits".to_owned())
}

/// A mailbox path: from the root, its placeholders known and not the first folder.
fn mailbox_template(text: &str) -> Result<String, String> {
    let example = "write a path such as \"/var/lib/pillarbox/mail/{user}\"";
    if text.len() > MAILBOX_PATH_OCTETS / 2 {
        return Err(format!("a path of {} octets: at most {} fit", text.len(), MAILBOX_PATH_OCTETS / 2));
    }
    let mut bare = text.to_owned();
    for name in ["{user}", "{local}", "{domain}"] {
        bare = bare.replace(name, "x");
    }
    if bare.contains(['{', '}']) {
        return Err(format!("{text:?}: there are {{user}}, {{local}} and {{domain}}; {example}"));
    }
    if text.split('/').any(|part| part == "..") {
        return Err(format!("{text:?} goes up a folder: {example}"));
    }
    let prefix = text.split('{').next().unwrap_or("");
    if !prefix.starts_with('/') || prefix.trim_matches('/').is_empty() {
        return Err(format!("{text:?} has to start with a folder of its own: {example}"));
    }
    Ok(text.to_owned())
}
