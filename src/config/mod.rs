//! The configuration: what `/etc/pillarbox.toml` says, typed and checked.
//!
//! [`load`] turns a file into a [`Config`] or into the list of everything that is wrong with it,
//! each with line and column and what to write instead. Structs and fields are named after the
//! sections and keys, so the reference page of the file is also the map of this module. What a
//! `Config` holds has been checked: whoever uses it need not check again.

mod check;
mod default;
mod mistake;
mod place;
mod print;
mod quantity;
mod read;
mod section;
#[cfg(test)]
mod tests;
mod types;

use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use mistake::{Mistake, Refused};
pub use place::located;
pub use section::nearest;
pub use types::{
    Auth, Commit, Endpoint, Host, ListenTls, LogLevel, LogTarget, Network, Pattern, Recipients, TlsStart,
    TlsStrictness,
};

use crate::limits::CONFIG_OCTETS;
use crate::smtp::keyword::Keywords;
use crate::smtp::server::{BareNewline, Role};

/// Where the configuration is looked for when none is named.
pub const DEFAULT_FILE: &str = "/etc/pillarbox.toml";

/// Everything that can be set. Made by [`load`], [`Config::parse`] or
/// [`Config::default_without_file`].
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Our name in the greeting, EHLO and `Received:`.
    pub hostname: String,
    /// Domains whose mail is taken from anyone; lower case, without a trailing dot.
    pub local_domains: Vec<String>,
    /// The mailbox behind the bare `postmaster`, and behind that of every local domain if
    /// `postmaster_is_set`.
    pub postmaster: String,
    /// False if `postmaster` was left out, or is the local user of this name: then it is `postmaster` at
    /// the first local domain.
    pub postmaster_is_set: bool,
    /// `[spool]`
    pub spool: Spool,
    /// `[[listen]]`, at most `limits::LISTENERS`.
    pub listen: Vec<Listen>,
    /// `[tls]`
    pub tls: Tls,
    /// `[access]`
    pub access: Access,
    /// `[[client]]`, first match by address.
    pub client: Vec<Client>,
    /// `[limits]`
    pub limits: Limits,
    /// `[queue]`
    pub queue: Queue,
    /// `[aliases]`
    pub aliases: Aliases,
    /// `[[route]]`, first match wins. The rule that stands behind the last one of the file (local
    /// domains go to Maildirs) is here as a route like the others, if it can match at all.
    pub route: Vec<Route>,
    /// `[dns]`
    pub dns: Dns,
    /// `[log]`
    pub log: Log,
    /// `[run]`
    pub run: Run,
}

/// `[spool]`: where messages are kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Spool {
    /// The folder.
    pub directory: PathBuf,
    /// Octets of all messages together.
    pub max_size: u64,
    /// Messages at once.
    pub max_messages: u32,
    /// Octets of the pre-written file; 0: decided when it is made (8 MiB, or 1/16 of the free space).
    pub cells_size: u64,
    /// What has to be true before 250.
    pub commit: Commit,
    /// How long `Commit::NextHop` waits for the next hop.
    pub commit_wait: Duration,
}

/// `[[listen]]`: a way in.
#[derive(Clone, Debug, PartialEq)]
pub struct Listen {
    /// Where it listens. Clients of a Unix socket are trusted.
    pub address: Endpoint,
    /// Whom it serves.
    pub role: Role,
    /// TLS towards clients.
    pub tls: ListenTls,
    /// Peers whose PROXY header is believed.
    pub proxy_protocol_from: Vec<Network>,
}

impl Listen {
    /// The role as it is written.
    pub fn role_name(&self) -> &'static str {
        match self.role {
            Role::Relay => "relay",
            Role::Submission => "submission",
        }
    }
}

/// `[tls]`: our certificate, and whom we believe.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tls {
    /// The certificate chain, PEM; there if and only if `key_file` is.
    pub certificate_file: Option<PathBuf>,
    /// The private key, PEM.
    pub key_file: Option<PathBuf>,
    /// Authorities for what we dial; `None`: the system's, else built in.
    pub ca_file: Option<PathBuf>,
}

/// `[access]`: who may send what.
#[derive(Clone, Debug, PartialEq)]
pub struct Access {
    /// Clients that may send to anywhere, and are taken as they are.
    pub relay_from: Vec<Network>,
    /// Users that can authenticate.
    pub users_file: Option<PathBuf>,
    /// Where AUTH is offered without TLS.
    pub plaintext_auth_from: Vec<Network>,
    /// Bare CR and LF of clients in `relay_from`.
    pub bare_newline: BareNewline,
    /// Offers CRAM-MD5.
    pub cram_md5: bool,
}

/// `[[client]]`: what one device or network gets.
#[derive(Clone, Debug, PartialEq)]
pub struct Client {
    /// Who it is.
    pub networks: Vec<Network>,
    /// An old device: taken as it is, AUTH without TLS, no STARTTLS.
    pub appliance: bool,
    /// EHLO keywords that it is not shown.
    pub hide: Keywords,
    /// As if it stood in `relay_from`.
    pub relay: bool,
    /// Messages an hour; 0: no limit, `None`: as `[limits]` says.
    pub messages_per_hour: Option<u32>,
    /// Its sender, whatever it says.
    pub rewrite_sender: Option<String>,
}

/// `[limits]`: how much at once. Each is at most what `crate::limits` allows.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Inbound slots.
    pub sessions: u16,
    /// Sessions of one client address.
    pub sessions_per_client: u16,
    /// Outbound slots.
    pub deliveries: u16,
    /// Outbound slots that go to one destination.
    pub deliveries_per_destination: u16,
    /// Octets of one message.
    pub message_size: u64,
    /// Recipients of one transaction.
    pub recipients: u16,
    /// Messages an hour of one client or user; 0: no limit.
    pub messages_per_hour: u32,
    /// Error replies before 421.
    pub errors: u16,
    /// Wait for a command.
    pub command_timeout: Duration,
    /// Wait for content.
    pub data_timeout: Duration,
    /// A session as a whole.
    pub session_timeout: Duration,
}

/// `[queue]`: when to try again, and when to give up.
#[derive(Clone, Debug, PartialEq)]
pub struct Queue {
    /// Waits between tries, 1 to `limits::RETRY_WAITS` of them; the last repeats.
    pub retry: Vec<Duration>,
    /// Age at which the sender is told of the delay; zero: never.
    pub warn_after: Duration,
    /// Age at which a message is returned.
    pub expire_after: Duration,
    /// Octets of the message that a bounce carries.
    pub bounce_size: u64,
}

/// `[aliases]`
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Aliases {
    /// The aliases file.
    pub file: Option<PathBuf>,
}

/// `[[route]]`: which mail goes which way.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Forward-paths it is for; empty: any.
    pub to: Vec<Pattern>,
    /// Reverse-paths it is for; empty: any.
    pub from: Vec<Pattern>,
    /// The way, with what belongs to it.
    pub via: Via,
}

/// `via` of a route, with the keys that belong to it.
#[derive(Clone, Debug, PartialEq)]
pub enum Via {
    /// Into local mailboxes.
    Maildir(Maildir),
    /// To a local delivery agent.
    Lmtp(Lmtp),
    /// To a fixed next hop.
    Smarthost(Smarthost),
    /// To the recipient's own mail exchanger.
    Mx(Mx),
    /// Refused at RCPT.
    Reject,
    /// Accepted and dropped.
    Discard,
}

/// `via = "maildir"`
#[derive(Clone, Debug, PartialEq)]
pub struct Maildir {
    /// Where a recipient's mailbox is: a path with `{user}`, `{local}`, `{domain}` in it.
    pub directory: String,
    /// Who has one.
    pub recipients: Recipients,
    /// Permission bits of mailboxes, at most 0o777.
    pub mode: u32,
    /// Group of mailboxes, instead of the run user's.
    pub group: Option<String>,
}

/// `via = "lmtp"`
#[derive(Clone, Debug, PartialEq)]
pub struct Lmtp {
    /// Tried in order; 1 to `limits::HOSTS` of them.
    pub hosts: Vec<Host>,
}

/// `via = "smarthost"`
#[derive(Clone, Debug, PartialEq)]
pub struct Smarthost {
    /// Tried in order; 1 to `limits::HOSTS` of them, none of them a Unix socket.
    pub hosts: Vec<Host>,
    /// How strict TLS is.
    pub tls: TlsStrictness,
    /// When TLS starts.
    pub tls_start: TlsStart,
    /// Authorities for this host alone.
    pub ca_file: Option<PathBuf>,
    /// The one certificate that is believed, as 64 lower-case hex digits.
    pub certificate_sha256: Option<String>,
    /// Who we are there; a secret is there if and only if this is.
    pub username: Option<String>,
    /// File whose first line is the password.
    pub password_file: Option<PathBuf>,
    /// Command whose first line of output is the password; empty: none.
    pub password_command: Vec<String>,
    /// How we authenticate.
    pub auth: Auth,
    /// Command that prints an access token; empty: none.
    pub token_command: Vec<String>,
    /// Secrets are sent in clear where the mechanism does so.
    pub plaintext_auth: bool,
    /// The sender of everything that goes this way.
    pub rewrite_sender: Option<String>,
}

/// `via = "mx"`
#[derive(Clone, Debug, PartialEq)]
pub struct Mx {
    /// How strict TLS is.
    pub tls: TlsStrictness,
    /// Name servers; empty: those of `[dns]`.
    pub resolvers: Vec<SocketAddr>,
    /// Port of the mail exchangers.
    pub port: u16,
}

/// `[dns]`
#[derive(Clone, Debug, PartialEq)]
pub struct Dns {
    /// Name servers; empty: those of `/etc/resolv.conf`.
    pub resolvers: Vec<SocketAddr>,
    /// Wait for one answer.
    pub timeout: Duration,
    /// Questions before giving up.
    pub attempts: u8,
}

/// `[log]`
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// Where lines go.
    pub target: LogTarget,
    /// The least important kind that is written.
    pub level: LogLevel,
    /// The file of `LogTarget::File`.
    pub file: PathBuf,
    /// Octets at which it becomes `FILE.1`.
    pub max_size: u64,
}

/// `[run]`: as whom, and where the local sockets are.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// The user to become when started as root; `None`: stay.
    pub user: Option<String>,
    /// No new privileges, Landlock.
    pub sandbox: bool,
    /// What secret commands may open in the sandbox.
    pub command_paths: Vec<PathBuf>,
    /// Socket of `queue` and `status`.
    pub control: PathBuf,
    /// Socket of `sendmail`.
    pub submit: PathBuf,
    /// Where Prometheus may ask.
    pub metrics: Option<SocketAddr>,
}

/// A configuration and where it came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What holds.
    pub config: Config,
    /// The file, or `None` if there is none and the safe default holds.
    pub file: Option<PathBuf>,
}

/// Reads the configuration: the file that is `named`, else [`DEFAULT_FILE`], else the safe default
/// below `folder` (the working directory, absolute). `host` is the system's own name.
pub fn load(named: Option<&Path>, host: &str, folder: &Path) -> Result<Loaded, Refused> {
    let file = named.unwrap_or(Path::new(DEFAULT_FILE));
    match read_text(file) {
        Err(e) if named.is_none() && e.kind() == io::ErrorKind::NotFound => {
            Ok(Loaded { config: Config::default_without_file(host, folder), file: None })
        }
        Err(e) => Err(Refused::unreadable(file, &e)),
        Ok(octets) => {
            let text = std::str::from_utf8(&octets)
                .map_err(|e| Refused::not_text(file, &octets, e.valid_up_to()))?;
            match read::config(text, host) {
                (Some(config), mistakes) if mistakes.is_empty() => {
                    Ok(Loaded { config, file: Some(file.to_owned()) })
                }
                (rest, mistakes) => Err(Refused::new(file, mistakes).with(rest)),
            }
        }
    }
}

/// The octets of a file that is no larger than a configuration may be.
fn read_text(file: &Path) -> io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    std::fs::File::open(file)?.take(CONFIG_OCTETS + 1).read_to_end(&mut octets)?;
    if octets.len() as u64 > CONFIG_OCTETS {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than any configuration"));
    }
    Ok(octets)
}

impl Config {
    /// Reads TOML text; every mistake it finds, in the order of the text.
    pub fn parse(text: &str, host: &str) -> Result<Self, Vec<Mistake>> {
        match read::config(text, host) {
            (Some(config), mistakes) if mistakes.is_empty() => Ok(config),
            (_, mistakes) => Err(mistakes),
        }
    }
}
