//! What the system says of names: `/etc/resolv.conf` and `/etc/hosts`, read as resolv.conf(5) and hosts(5)
//! describe. Its search list is left alone: a mail domain is always the whole name.

use std::fs::{File, metadata};
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use heapless::Vec;

use super::name::Name;
use crate::limits::{ADDRESSES, HOSTS};

/// Where a system names its name servers.
pub const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Where a system names hosts itself.
pub const HOSTS_FILE: &str = "/etc/hosts";
/// The port of name servers.
const PORT: u16 = 53;

/// Name servers, and how they are asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Servers {
    /// In the order in which they are asked; at least one.
    pub list: Vec<SocketAddr, HOSTS>,
    /// One round's time, shared by all servers.
    pub timeout: Duration,
    /// Rounds.
    pub attempts: u8,
    /// Each question starts with another server.
    pub rotate: bool,
}

/// The two files, and what is known of the first.
#[derive(Debug)]
pub struct System {
    resolv_conf: PathBuf,
    hosts: PathBuf,
    stamp: Option<Stamp>,
    parsed: Parsed,
}

/// What tells a file from what it was before.
type Stamp = (u64, u64, i64, i64);

/// What `resolv.conf` says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Parsed {
    servers: Vec<SocketAddr, HOSTS>,
    timeout: Option<Duration>,
    attempts: Option<u8>,
    rotate: bool,
}

impl Default for System {
    fn default() -> Self {
        Self::new(RESOLV_CONF.into(), HOSTS_FILE.into())
    }
}

impl System {
    /// The files to read.
    pub fn new(resolv_conf: PathBuf, hosts: PathBuf) -> Self {
        Self { resolv_conf, hosts, stamp: None, parsed: Parsed::default() }
    }

    /// The system's name servers; the file is read again when it has changed. What it does not say is taken
    /// from `default`, and where it names no server, one on this host is asked. `room` is scratch.
    pub fn servers(&mut self, default: &Servers, room: &mut [u8]) -> Servers {
        let stamp = metadata(&self.resolv_conf).ok().map(|m| (m.ino(), m.size(), m.mtime(), m.mtime_nsec()));
        if stamp.is_none() || stamp != self.stamp {
            self.parsed = read_resolv_conf(&self.resolv_conf, room).unwrap_or_default();
            self.stamp = stamp;
        }
        let mut servers = Servers {
            list: self.parsed.servers.clone(),
            timeout: self.parsed.timeout.unwrap_or(default.timeout),
            attempts: self.parsed.attempts.unwrap_or(default.attempts),
            rotate: self.parsed.rotate,
        };
        if servers.list.is_empty() {
            // There is room for one.
            let _ = servers.list.push(SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)));
        }
        servers
    }

    /// The addresses that the hosts file has for a name; none if it has none or can't be read. `localhost`
    /// and what ends in it always are this host (RFC 6761 6.3). `room` is scratch.
    pub fn hosts(&self, name: &Name, room: &mut [u8]) -> Vec<IpAddr, ADDRESSES> {
        let mut found = Vec::new();
        // Without the file the name servers are asked.
        let _ = File::open(&self.hosts).and_then(|file| {
            each_line(file, room, |line| {
                if let Some(address) = host_line(line, name)
                    && !found.contains(&address)
                {
                    // Those that don't fit are never tried.
                    let _ = found.push(address);
                }
            })
        });
        let text = name.as_str();
        if found.is_empty() && (text == "localhost" || text.ends_with(".localhost")) {
            let own = [IpAddr::V6(Ipv6Addr::LOCALHOST), IpAddr::V4(Ipv4Addr::LOCALHOST)];
            return own.into_iter().collect();
        }
        found
    }
}

/// The address of a line of the hosts file, if it is `name`'s.
fn host_line(line: &str, name: &Name) -> Option<IpAddr> {
    let line = line.split('#').next()?;
    let mut words = line.split_ascii_whitespace();
    let address = words.next()?.parse().ok()?;
    let is_named = |word: &str| word.strip_suffix('.').unwrap_or(word).eq_ignore_ascii_case(name.as_str());
    words.any(is_named).then_some(address)
}

fn read_resolv_conf(path: &Path, room: &mut [u8]) -> io::Result<Parsed> {
    let mut parsed = Parsed::default();
    each_line(File::open(path)?, room, |line| parsed.take(line))?;
    Ok(parsed)
}

impl Parsed {
    /// Takes what one line says. What can't be understood is left out, as the C library does.
    fn take(&mut self, line: &str) {
        if line.starts_with(['#', ';']) {
            return;
        }
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("nameserver") => {
                if let Some(server) = words.next().and_then(server) {
                    // Those that don't fit are never asked.
                    let _ = self.servers.push(server);
                }
            }
            Some("options") => words.for_each(|option| self.option(option)),
            _ => {}
        }
    }

    fn option(&mut self, option: &str) {
        match option.split_once(':') {
            Some(("timeout", seconds)) => {
                self.timeout = seconds.parse().ok().map(|s: u64| Duration::from_secs(s.clamp(1, 30)));
            }
            Some(("attempts", count)) => self.attempts = count.parse().ok().map(|n: u8| n.clamp(1, 5)),
            None if option == "rotate" => self.rotate = true,
            _ => {}
        }
    }
}

/// The address of a name server, at port 53; `fe80::1%eth0` has a scope.
fn server(text: &str) -> Option<SocketAddr> {
    let Some((address, scope)) = text.split_once('%') else {
        return Some(SocketAddr::new(text.parse().ok()?, PORT));
    };
    let address: Ipv6Addr = address.parse().ok()?;
    let scope = scope.parse().or_else(|_| nix::net::if_::if_nametoindex(scope)).ok()?;
    Some(SocketAddrV6::new(address, PORT, 0, scope).into())
}

/// Shows every line of a file that is UTF-8 and fits into `room`.
fn each_line(mut file: impl Read, room: &mut [u8], mut see: impl FnMut(&str)) -> io::Result<()> {
    let (mut filled, mut is_torn) = (0, false);
    loop {
        let count = match file.read(&mut room[filled..]) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            count => count?,
        };
        filled += count;
        let mut start = 0;
        let mut tell = |line: &[u8], is_torn: bool| {
            if let (false, Ok(line)) = (is_torn, std::str::from_utf8(line)) {
                see(line);
            }
        };
        while let Some(length) = room[start..filled].iter().position(|&octet| octet == b'\n') {
            tell(&room[start..start + length], std::mem::take(&mut is_torn));
            start += length + 1;
        }
        if count == 0 {
            tell(&room[start..filled], is_torn);
            return Ok(());
        }
        room.copy_within(start..filled, 0);
        filled -= start;
        if filled == room.len() {
            // Its rest is passed over too.
            (filled, is_torn) = (0, true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn default() -> Servers {
        Servers { list: Vec::new(), timeout: Duration::from_secs(5), attempts: 2, rotate: false }
    }

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("pillarbox-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn addresses(list: &[&str]) -> std::vec::Vec<IpAddr> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn servers_and_options_are_read_and_read_again() {
        let folder = folder("resolv");
        let file = folder.join("resolv.conf");
        let (mut system, mut room) = (System::new(file.clone(), folder.join("none")), [0; 64]);
        let listed =
            |servers: &Servers| servers.list.iter().map(ToString::to_string).collect::<std::vec::Vec<_>>();
        assert_eq!(listed(&system.servers(&default(), &mut room)), ["127.0.0.1:53"], "no file");
        let text = "# nameserver 192.0.2.9\nsearch home.test\nnameserver 192.0.2.1 # ours\nnameserver fe80::1%1\n\
            nameserver nonsense\noptions ndots:2 timeout:3 attempts:4 rotate\n; nameserver 192.0.2.8\nnameserver ::1";
        std::fs::write(&file, text).unwrap();
        let servers = system.servers(&default(), &mut room);
        assert_eq!(listed(&servers), ["192.0.2.1:53", "[fe80::1%1]:53", "[::1]:53"]);
        assert_eq!((servers.timeout.as_secs(), servers.attempts, servers.rotate), (3, 4, true));
        std::fs::write(&file, "nameserver 192.0.2.2\n").unwrap();
        let servers = system.servers(&default(), &mut room);
        assert_eq!(listed(&servers), ["192.0.2.2:53"], "the file has changed");
        assert_eq!((servers.timeout.as_secs(), servers.attempts, servers.rotate), (5, 2, false));
        std::fs::write(&file, "options timeout:0 attempts:200\n").unwrap();
        let servers = system.servers(&default(), &mut room);
        assert_eq!((servers.timeout.as_secs(), servers.attempts), (1, 5), "within bounds");
        assert_eq!(listed(&servers), ["127.0.0.1:53"], "no server named");
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_scope_by_name_is_its_number() {
        let number = nix::net::if_::if_nametoindex("lo").unwrap();
        assert_eq!(
            server("fe80::1%lo"),
            Some(SocketAddrV6::new("fe80::1".parse().unwrap(), 53, 0, number).into())
        );
        assert_eq!(server("fe80::1%no-such-interface"), None);
        assert_eq!(server("192.0.2.1%lo"), None);
    }

    #[test]
    fn the_hosts_file_is_read_as_it_is() {
        let folder = folder("hosts");
        let file = folder.join("hosts");
        let (system, mut room) = (System::new(folder.join("none"), file.clone()), [0; 48]);
        let mut hosts = |name: &str| {
            system.hosts(&Name::parse(name).unwrap(), &mut room).iter().copied().collect::<std::vec::Vec<_>>()
        };
        assert_eq!(hosts("localhost"), addresses(&["::1", "127.0.0.1"]), "no file");
        assert_eq!(hosts("a.localhost"), addresses(&["::1", "127.0.0.1"]));
        let long = "x".repeat(100);
        let text = format!(
            "127.0.0.1 localhost\n192.0.2.1\tMail.home.test mail # comment nas\n\n# 192.0.2.7 mail\n192.0.2.8 {long} nas\n\
            192.0.2.1 mail\nnonsense mail\n2001:db8::1 mail.home.test. mail\n192.0.2.3 last"
        );
        std::fs::write(&file, text).unwrap();
        assert_eq!(hosts("mail"), addresses(&["192.0.2.1", "2001:db8::1"]));
        assert_eq!(hosts("MAIL.home.test"), addresses(&["192.0.2.1", "2001:db8::1"]));
        assert_eq!(hosts("localhost"), addresses(&["127.0.0.1"]));
        assert_eq!(hosts("last"), addresses(&["192.0.2.3"]));
        for none in ["nas", "comment", "home.test", &long[..60]] {
            assert_eq!(hosts(none), addresses(&[]), "{none}");
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
