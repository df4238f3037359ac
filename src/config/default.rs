//! What holds where the file says nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use super::{
    Access, Aliases, Commit, Config, Dns, Endpoint, Limits, Listen, ListenTls, Log, LogLevel, LogTarget,
    Maildir, Mx, Network, Pattern, Queue, Recipients, Route, Run, Spool, Tls, TlsStrictness, Via,
};
use crate::smtp::server::{BareNewline, Role};

pub(super) const KIB: u64 = 1024;
pub(super) const MIB: u64 = 1024 * KIB;
pub(super) const MINUTE: Duration = Duration::from_secs(60);
pub(super) const HOUR: Duration = Duration::from_secs(60 * 60);
pub(super) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl Config {
    /// What holds without a configuration file: loopback only, mail for this host into Maildirs,
    /// everything else refused, all files below `folder`.
    pub fn default_without_file(host: &str, folder: &Path) -> Self {
        let spool = folder.join("pillarbox-spool");
        let mut config = Self::bare(host);
        let directory = folder.join("pillarbox-mail/{user}").to_string_lossy().into_owned();
        config.listen = vec![Listen::new(Endpoint::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 2525))))];
        config.route = vec![Route {
            to: config.local_domains.iter().map(|domain| Pattern::domain(domain)).collect(),
            from: Vec::new(),
            via: Via::Maildir(Maildir { directory, recipients: Recipients::Any, ..Maildir::default() }),
        }];
        config.run.control = spool.join("control");
        config.run.submit = spool.join("submit");
        config.run.user = None;
        config.spool.directory = spool;
        config
    }

    /// An empty file: every default, no way in, no route.
    pub(super) fn bare(host: &str) -> Self {
        let hostname = host.trim_end_matches('.').to_ascii_lowercase();
        let mut local_domains = vec![hostname.clone()];
        if hostname != "localhost" {
            local_domains.push("localhost".to_owned());
        }
        Self {
            postmaster: format!("postmaster@{hostname}"),
            postmaster_is_set: false,
            hostname,
            local_domains,
            spool: Spool::default(),
            listen: Vec::new(),
            tls: Tls::default(),
            access: Access::default(),
            client: Vec::new(),
            limits: Limits::default(),
            queue: Queue::default(),
            aliases: Aliases::default(),
            route: Vec::new(),
            dns: Dns::default(),
            log: Log::default(),
            run: Run::default(),
        }
    }
}

impl Default for Spool {
    fn default() -> Self {
        Self {
            directory: "/var/spool/pillarbox".into(),
            max_size: 64 * MIB,
            max_messages: 1000,
            cells_size: 0,
            commit: Commit::Disk,
            commit_wait: Duration::from_secs(5),
        }
    }
}

impl Listen {
    /// A relay port without TLS.
    fn new(address: Endpoint) -> Self {
        Self { address, role: Role::Relay, tls: ListenTls::None, proxy_protocol_from: Vec::new() }
    }
}

impl Default for Access {
    fn default() -> Self {
        let loopback = [
            Network::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8),
            Network::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 128),
        ];
        Self {
            relay_from: loopback.into(),
            users_file: None,
            plaintext_auth_from: Vec::new(),
            bare_newline: BareNewline::Normalize,
            cram_md5: false,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sessions: 32,
            sessions_per_client: 8,
            deliveries: 8,
            deliveries_per_destination: 2,
            message_size: 35 * MIB,
            recipients: 100,
            messages_per_hour: 0,
            errors: 10,
            command_timeout: 5 * MINUTE,
            data_timeout: 10 * MINUTE,
            session_timeout: HOUR,
        }
    }
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            retry: vec![MINUTE, 5 * MINUTE, 15 * MINUTE, HOUR, 4 * HOUR],
            warn_after: 4 * HOUR,
            expire_after: 5 * DAY,
            bounce_size: 64 * KIB,
        }
    }
}

impl Default for Maildir {
    fn default() -> Self {
        Self {
            directory: "/var/lib/pillarbox/mail/{user}".to_owned(),
            recipients: Recipients::Existing,
            mode: 0o770,
            group: None,
        }
    }
}

impl Default for Mx {
    fn default() -> Self {
        Self { tls: TlsStrictness::Opportunistic, resolvers: Vec::new(), port: 25 }
    }
}

impl Default for Dns {
    fn default() -> Self {
        Self { resolvers: Vec::new(), timeout: Duration::from_secs(5), attempts: 2 }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            target: LogTarget::Stderr,
            level: LogLevel::Info,
            file: "/var/log/pillarbox.log".into(),
            max_size: MIB,
        }
    }
}

impl Default for Run {
    fn default() -> Self {
        Self {
            user: Some("pillarbox".to_owned()),
            sandbox: true,
            command_paths: Vec::new(),
            control: "/run/pillarbox/control".into(),
            submit: "/run/pillarbox/submit".into(),
            metrics: None,
        }
    }
}
