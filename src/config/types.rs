//! The kinds of value that keys have: networks, patterns, endpoints, and words of fixed lists.
//!
//! Each is parsed from and displayed as the text that stands in the file; an error is a sentence
//! that says what to write.

use std::fmt::{self, Display};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use crate::limits::DOMAIN_OCTETS;

/// A range of addresses: those that begin with the same `prefix` bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// The network of the first `prefix` bits of `address`; the other bits are cleared.
    pub(super) fn new(address: IpAddr, prefix: u8) -> Self {
        Self { address: masked(address, prefix), prefix }
    }

    /// Reads `192.168.1.0/24` or a single address.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address
            .parse()
            .map_err(|_| format!("{text:?} is no network: write \"192.168.1.0/24\" or \"::1\""))?;
        if address != address.to_canonical() {
            return Err(format!(
                "{text:?} is IPv4 in IPv6 clothes: write {:?}",
                address.to_canonical().to_string()
            ));
        }
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => bits,
            Some(digits) => digits
                .parse()
                .ok()
                .filter(|prefix| *prefix <= bits)
                .ok_or_else(|| format!("{text:?}: after the slash goes a number from 0 to {bits}"))?,
        };
        let network = Self::new(address, prefix);
        if network.address == address {
            return Ok(network);
        }
        Err(format!(
            "{text:?} has bits set behind the prefix: write \"{network}\" for the network, or {:?} for the host",
            address.to_string()
        ))
    }

    /// True if `client` is in it. An IPv4-mapped IPv6 address counts as the IPv4 address.
    pub fn contains(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        client.is_ipv4() == self.address.is_ipv4() && masked(client, self.prefix) == self.address
    }

    /// True for `0.0.0.0/0` and `::/0`.
    pub fn is_everyone(&self) -> bool {
        self.prefix == 0
    }
}

/// `address` with all but its first `prefix` bits cleared.
fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    let prefix = u32::from(prefix);
    match address {
        IpAddr::V4(a) => {
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(prefix)).unwrap_or(0);
            IpAddr::V4((a.to_bits() & mask).into())
        }
        IpAddr::V6(a) => {
            let mask = u128::MAX.checked_shl(128_u32.saturating_sub(prefix)).unwrap_or(0);
            IpAddr::V6((a.to_bits() & mask).into())
        }
    }
}

impl Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = if self.address.is_ipv4() { 32 } else { 128 };
        if self.prefix == whole { self.address.fmt(f) } else { write!(f, "{}/{}", self.address, self.prefix) }
    }
}

/// Which addresses a route is for: `home.arpa`, `root@*`, `*@*.home.arpa`, or `<>` for the null
/// reverse-path. `*` stands for any run of characters; ASCII case does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Shape);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Shape {
    Null,
    Domain(String),
    Address { local: String, domain: String },
}

impl Pattern {
    /// The pattern of every address at `domain`.
    pub(super) fn domain(domain: &str) -> Self {
        Self(Shape::Domain(bare(domain)))
    }

    /// Reads a pattern.
    pub fn parse(text: &str) -> Result<Self, String> {
        let fault = || {
            format!(
                "{text:?} is no pattern: write a domain (\"home.arpa\"), an address with * for anything (\"root@*\", \"*@nas.home.arpa\"), or \"<>\""
            )
        };
        if text == "<>" {
            return Ok(Self(Shape::Null));
        }
        if text.is_empty()
            || text.len() > DOMAIN_OCTETS
            || text.chars().any(|c| c.is_whitespace() || c.is_control())
        {
            return Err(fault());
        }
        let shape = match text.rsplit_once('@') {
            None => Shape::Domain(bare(text)),
            Some((local, domain)) => {
                Shape::Address { local: local.to_ascii_lowercase(), domain: bare(domain) }
            }
        };
        match &shape {
            Shape::Address { local, domain } if local.is_empty() || domain.is_empty() => Err(fault()),
            Shape::Domain(domain) if domain.is_empty() => Err(fault()),
            _ => Ok(Self(shape)),
        }
    }

    /// True if the address is meant. `None` is the null reverse-path. A trailing dot of the domain
    /// does not count.
    pub fn matches(&self, address: Option<(&str, &str)>) -> bool {
        match (&self.0, address) {
            (Shape::Null, None) => true,
            (Shape::Null, Some(_)) | (_, None) => false,
            (Shape::Domain(wanted), Some((_, domain))) => glob(wanted, domain.trim_end_matches('.')),
            (Shape::Address { local: wanted, domain: at }, Some((local, domain))) => {
                glob(wanted, local) && glob(at, domain.trim_end_matches('.'))
            }
        }
    }

    /// True if every address at `domain` is meant.
    pub fn covers(&self, domain: &str) -> bool {
        match &self.0 {
            Shape::Null => false,
            Shape::Domain(wanted) => glob(wanted, domain),
            Shape::Address { local, domain: at } => local == "*" && glob(at, domain),
        }
    }
}

/// A domain as it is kept: lower case, no trailing dot.
pub(super) fn bare(domain: &str) -> String {
    domain.trim_end_matches('.').to_ascii_lowercase()
}

/// True if `text` is `pattern` with its stars filled in. The pattern is in lower case.
///
/// On a mismatch only the latest star takes one octet more: the time is bounded by the product
/// of both lengths.
fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p + 1, t));
            p += 1;
        } else if pattern.get(p) == Some(&text[t].to_ascii_lowercase()) {
            p += 1;
            t += 1;
        } else if let Some((after, taken)) = star {
            p = after;
            t = taken + 1;
            star = Some((after, t));
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|octet| *octet == b'*')
}

impl Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Shape::Null => f.write_str("<>"),
            Shape::Domain(domain) => f.write_str(domain),
            Shape::Address { local, domain } => write!(f, "{local}@{domain}"),
        }
    }
}

/// Where something of ours listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A TCP port.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl Endpoint {
    /// Reads `0.0.0.0:25`, `[::]:25` or `unix:/run/pillarbox/smtp`.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return socket_path(path).map(Self::Unix);
        }
        text.parse().map(Self::Tcp).map_err(|_| {
            format!("{text:?} is no address to listen on: write \"0.0.0.0:25\", \"[::]:25\" or \"unix:/run/pillarbox/smtp\"")
        })
    }

    /// True if no two listeners can have these: they are the same, or one is all addresses of the
    /// other's family, on the same port.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Tcp(one), Self::Tcp(two)) => {
                let is_whole = one.ip().is_unspecified() || two.ip().is_unspecified();
                one == two || is_whole && one.is_ipv4() == two.is_ipv4() && one.port() == two.port()
            }
            _ => self == other,
        }
    }
}

impl Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Where something of others listens, to be dialled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A port of a host, which is a name or an address.
    Tcp {
        /// Name or address, without brackets, at most `limits::HOST_OCTETS`.
        name: String,
        /// Port.
        port: u16,
    },
    /// A Unix socket.
    Unix(PathBuf),
}

impl Host {
    /// Reads `smtp.example.net:587`, `192.0.2.1:25`, `[2001:db8::1]:25` or `unix:/run/dovecot/lmtp`.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return socket_path(path).map(Self::Unix);
        }
        let fault =
            || format!("{text:?} is no host: write \"smtp.example.net:587\" (a name or address, and a port)");
        let (name, port) = text.rsplit_once(':').ok_or_else(fault)?;
        let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(fault)?;
        let name = match name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(address) => address.parse::<std::net::Ipv6Addr>().map_err(|_| fault())?.to_string(),
            None => name.to_owned(),
        };
        let is_address = name.parse::<IpAddr>().is_ok();
        if is_address && name.contains(':') && !text.starts_with('[') || !is_address && !is_domain(&name) {
            return Err(fault());
        }
        Ok(Self::Tcp { name, port })
    }
}

impl Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { name, port } if name.contains(':') => write!(f, "[{name}]:{port}"),
            Self::Tcp { name, port } => write!(f, "{name}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The path of a Unix socket: absolute, and short enough for the kernel (108 octets with a NUL).
fn socket_path(path: &str) -> Result<PathBuf, String> {
    if !path.starts_with('/') {
        return Err(format!("\"unix:{path}\" needs a path from the root: write \"unix:/run/...\""));
    }
    if path.len() > 107 || path.contains('\0') {
        return Err(format!("{path:?} is no path for a socket: at most 107 octets"));
    }
    Ok(path.into())
}

/// True for a name of labels of letters, digits, hyphens and underscores (RFC 5321 4.1.2, with the
/// underscore that hosts in the wild have; UTF-8 for RFC 6531).
pub(super) fn is_domain(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_'))
    };
    let text = text.strip_suffix('.').unwrap_or(text);
    text.len() <= DOMAIN_OCTETS && text.split('.').all(label)
}

/// Makes an enum whose variants are words of the file: `Type { Variant = "word" }`.
macro_rules! words {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal),* $(,)? }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$doc])* $variant),* }

        impl $name {
            /// All words with what they stand for.
            pub const WORDS: &'static [(&'static str, Self)] = &[$(($word, Self::$variant)),*];
        }

        impl Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$variant => $word),* })
            }
        }
    };
}

words!(
    /// What has to be true before a message is answered with 250.
    Commit {
        /// It is durable here.
        Disk = "disk",
        /// The next hop has it, or it is durable here.
        NextHop = "next-hop",
    }
);
words!(
    /// TLS of a listener.
    ListenTls {
        /// None.
        None = "none",
        /// On request (RFC 3207).
        StartTls = "starttls",
        /// From the first octet (RFC 8314).
        Implicit = "implicit",
    }
);
words!(
    /// Which local recipients there are.
    Recipients {
        /// Those whose mailbox or alias exists.
        Existing = "existing",
        /// All: mailboxes are made on first mail.
        Any = "any",
    }
);
words!(
    /// How strict TLS towards a next hop is.
    TlsStrictness {
        /// Its certificate must be right.
        Verify = "verify",
        /// Any certificate.
        Encrypt = "encrypt",
        /// If offered.
        Opportunistic = "opportunistic",
        /// Never.
        None = "none",
    }
);
words!(
    /// When TLS towards a next hop starts.
    TlsStart {
        /// At once on port 465, else after STARTTLS.
        Auto = "auto",
        /// At once.
        Immediate = "immediate",
        /// After STARTTLS.
        StartTls = "starttls",
    }
);
words!(
    /// How we authenticate to a smarthost (RFC 4954).
    Auth {
        /// The best that is offered.
        Auto = "auto",
        /// RFC 4616.
        Plain = "plain",
        /// The old one.
        Login = "login",
        /// RFC 2195.
        CramMd5 = "cram-md5",
        /// RFC 7677.
        ScramSha256 = "scram-sha-256",
        /// Access tokens, as some large providers first had them.
        XOauth2 = "xoauth2",
        /// RFC 7628.
        OauthBearer = "oauthbearer",
    }
);
words!(
    /// Where log lines go.
    LogTarget {
        /// Standard error.
        Stderr = "stderr",
        /// `/dev/log`.
        Syslog = "syslog",
        /// A file of our own.
        File = "file",
    }
);
words!(
    /// The least important kind of log line that is written.
    LogLevel {
        /// What needs a person.
        Error = "error",
        /// What surprises.
        Warn = "warn",
        /// One line an event.
        Info = "info",
        /// Connections too.
        Debug = "debug",
        /// Everything.
        Trace = "trace",
    }
);
