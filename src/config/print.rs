//! The configuration as TOML again: every key with the value that holds, defaults included.
//!
//! What is printed can be read again and says the same, except that the arguments of commands,
//! where people put tokens, are shown as `(hidden)`.

use std::fmt::{self, Display, Write};
use std::path::Path;
use std::time::Duration;

use super::quantity::{duration, size};
use super::{Client, Config, Listen, Maildir, Mx, Route, Smarthost, Via};
use crate::smtp::keyword::Keyword;
use crate::smtp::server::BareNewline;

impl Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "hostname = {}", quoted(&self.hostname))?;
        writeln!(f, "local_domains = {}", list(&self.local_domains))?;
        let postmaster = if self.postmaster_is_set { self.postmaster.as_str() } else { "postmaster" };
        writeln!(f, "postmaster = {}", quoted(postmaster))?;
        spool(self, f)?;
        self.listen.iter().try_for_each(|one| listen(one, f))?;
        tls(self, f)?;
        access(self, f)?;
        self.client.iter().try_for_each(|one| client(one, f))?;
        limits(self, f)?;
        queue(self, f)?;
        writeln!(f, "\n[aliases]")?;
        optional_path(f, "file", self.aliases.file.as_deref())?;
        self.route.iter().try_for_each(|one| route(one, f))?;
        rest(self, f)
    }
}

fn spool(config: &Config, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let spool = &config.spool;
    writeln!(f, "\n[spool]\ndirectory = {}", path(&spool.directory))?;
    writeln!(f, "max_size = {}", octets(spool.max_size))?;
    writeln!(f, "max_messages = {}", spool.max_messages)?;
    if spool.cells_size != 0 {
        writeln!(f, "cells_size = {}", octets(spool.cells_size))?;
    }
    writeln!(f, "commit = {}\ncommit_wait = {}", quoted(spool.commit), time(spool.commit_wait))
}

fn listen(listen: &Listen, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    writeln!(f, "\n[[listen]]\naddress = {}", quoted(&listen.address))?;
    writeln!(f, "role = {}\ntls = {}", quoted(listen.role_name()), quoted(listen.tls))?;
    writeln!(f, "proxy_protocol_from = {}", list(&listen.proxy_protocol_from))
}

fn tls(config: &Config, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    writeln!(f, "\n[tls]")?;
    optional_path(f, "certificate_file", config.tls.certificate_file.as_deref())?;
    optional_path(f, "key_file", config.tls.key_file.as_deref())?;
    optional_path(f, "ca_file", config.tls.ca_file.as_deref())
}

fn access(config: &Config, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let access = &config.access;
    let newline = match access.bare_newline {
        BareNewline::Normalize => "normalize",
        BareNewline::Reject => "reject",
    };
    writeln!(f, "\n[access]\nrelay_from = {}", list(&access.relay_from))?;
    optional_path(f, "users_file", access.users_file.as_deref())?;
    writeln!(f, "plaintext_auth_from = {}", list(&access.plaintext_auth_from))?;
    writeln!(f, "bare_newline = {}\ncram_md5 = {}", quoted(newline), access.cram_md5)
}

fn client(client: &Client, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let hidden = Keyword::ALL.into_iter().filter(|keyword| client.hide.contains(*keyword)).map(Keyword::name);
    writeln!(f, "\n[[client]]\nnetworks = {}", list(&client.networks))?;
    writeln!(f, "appliance = {}\nhide = {}", client.appliance, list(hidden))?;
    writeln!(f, "relay = {}", client.relay)?;
    if let Some(messages) = client.messages_per_hour {
        writeln!(f, "messages_per_hour = {messages}")?;
    }
    optional(f, "rewrite_sender", client.rewrite_sender.as_deref())
}

fn limits(config: &Config, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let limits = &config.limits;
    writeln!(f, "\n[limits]\nsessions = {}", limits.sessions)?;
    writeln!(f, "sessions_per_client = {}", limits.sessions_per_client)?;
    writeln!(f, "deliveries = {}", limits.deliveries)?;
    writeln!(f, "deliveries_per_destination = {}", limits.deliveries_per_destination)?;
    writeln!(f, "message_size = {}", octets(limits.message_size))?;
    writeln!(f, "recipients = {}", limits.recipients)?;
    writeln!(f, "messages_per_hour = {}\nerrors = {}", limits.messages_per_hour, limits.errors)?;
    writeln!(f, "command_timeout = {}", time(limits.command_timeout))?;
    writeln!(f, "data_timeout = {}", time(limits.data_timeout))?;
    writeln!(f, "session_timeout = {}", time(limits.session_timeout))
}

fn queue(config: &Config, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let queue = &config.queue;
    writeln!(f, "\n[queue]\nretry = {}", list(queue.retry.iter().map(|wait| duration(*wait))))?;
    writeln!(f, "warn_after = {}", time(queue.warn_after))?;
    writeln!(f, "expire_after = {}", time(queue.expire_after))?;
    writeln!(f, "bounce_size = {}", octets(queue.bounce_size))
}

fn route(route: &Route, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    writeln!(f, "\n[[route]]\nto = {}\nfrom = {}", list(&route.to), list(&route.from))?;
    match &route.via {
        Via::Maildir(Maildir { directory, recipients, mode, group }) => {
            writeln!(f, "via = \"maildir\"\ndirectory = {}", quoted(directory))?;
            writeln!(f, "recipients = {}\nmode = \"{mode:04o}\"", quoted(recipients))?;
            optional(f, "group", group.as_deref())
        }
        Via::Lmtp(lmtp) => writeln!(f, "via = \"lmtp\"\nhosts = {}", list(&lmtp.hosts)),
        Via::Smarthost(host) => smarthost(host, f),
        Via::Mx(Mx { tls, resolvers, port }) => {
            writeln!(f, "via = \"mx\"\ntls = {}\nresolvers = {}\nport = {port}", quoted(tls), list(resolvers))
        }
        Via::Reject => writeln!(f, "via = \"reject\""),
        Via::Discard => writeln!(f, "via = \"discard\""),
    }
}

fn smarthost(host: &Smarthost, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    writeln!(f, "via = \"smarthost\"\nhosts = {}", list(&host.hosts))?;
    writeln!(f, "tls = {}\ntls_start = {}", quoted(host.tls), quoted(host.tls_start))?;
    optional_path(f, "ca_file", host.ca_file.as_deref())?;
    optional(f, "certificate_sha256", host.certificate_sha256.as_deref())?;
    optional(f, "username", host.username.as_deref())?;
    optional_path(f, "password_file", host.password_file.as_deref())?;
    writeln!(f, "password_command = {}", list(hidden(&host.password_command)))?;
    writeln!(f, "auth = {}", quoted(host.auth))?;
    writeln!(f, "token_command = {}", list(hidden(&host.token_command)))?;
    writeln!(f, "plaintext_auth = {}", host.plaintext_auth)?;
    optional(f, "rewrite_sender", host.rewrite_sender.as_deref())
}

fn rest(config: &Config, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Config { dns, log, run, .. } = config;
    writeln!(f, "\n[dns]\nresolvers = {}", list(&dns.resolvers))?;
    writeln!(f, "timeout = {}\nattempts = {}", time(dns.timeout), dns.attempts)?;
    writeln!(f, "\n[log]\ntarget = {}\nlevel = {}", quoted(log.target), quoted(log.level))?;
    writeln!(f, "file = {}\nmax_size = {}", path(&log.file), octets(log.max_size))?;
    writeln!(f, "\n[run]\nuser = {}", quoted(run.user.as_deref().unwrap_or_default()))?;
    writeln!(f, "sandbox = {}", run.sandbox)?;
    writeln!(f, "command_paths = {}", list(run.command_paths.iter().map(|one| one.display())))?;
    writeln!(f, "control = {}\nsubmit = {}", path(&run.control), path(&run.submit))?;
    writeln!(f, "metrics = {}", quoted(run.metrics.map(|address| address.to_string()).unwrap_or_default()))
}

/// A command with its program only.
fn hidden(command: &[String]) -> impl Iterator<Item = &str> {
    command.iter().enumerate().map(|(at, word)| if at == 0 { word } else { "(hidden)" })
}

fn optional(f: &mut fmt::Formatter<'_>, key: &str, value: Option<&str>) -> fmt::Result {
    value.map_or(Ok(()), |value| writeln!(f, "{key} = {}", quoted(value)))
}

fn optional_path(f: &mut fmt::Formatter<'_>, key: &str, value: Option<&Path>) -> fmt::Result {
    value.map_or(Ok(()), |value| writeln!(f, "{key} = {}", path(value)))
}

fn path(path: &Path) -> String {
    quoted(path.display())
}

fn octets(octets: u64) -> String {
    quoted(size(octets))
}

fn time(time: Duration) -> String {
    quoted(duration(time))
}

fn list<T: Display>(all: impl IntoIterator<Item = T>) -> String {
    format!("[{}]", all.into_iter().map(quoted).collect::<Vec<_>>().join(", "))
}

/// A TOML basic string.
fn quoted(value: impl Display) -> String {
    let mut text = String::from("\"");
    for c in value.to_string().chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            c if c.is_control() => {
                // Writing to a string can't fail.
                let _ = write!(text, "\\u{:04X}", u32::from(c));
            }
            c => text.push(c),
        }
    }
    text.push('"');
    text
}
