//! The sockets that clients come in by.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use log::warn;
use mio::event::Source;
use mio::net::{TcpListener, UnixListener};
use mio::{Interest, Registry, Token};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket, sockopt,
};

use super::transport::Transport;
use crate::config::{Config, Endpoint};
use crate::relay::client::Remote;
use crate::sys;

/// A listening socket.
#[derive(Debug)]
pub enum Listener {
    /// A TCP port.
    Tcp(TcpListener),
    /// A Unix socket.
    Unix {
        /// The socket.
        socket: UnixListener,
        /// Its name in the file system, which goes when the listener does; `None` if it is another's.
        file: Option<PathBuf>,
    },
}

impl Listener {
    /// Listens on a TCP address. `[::]` takes IPv4 too if it `is_dual`; if not, an IPv4 address can have
    /// the same port.
    pub fn tcp(address: SocketAddr, is_dual: bool) -> io::Result<Self> {
        let family = if address.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let fd = socket(family, SockType::Stream, flags, None)?;
        setsockopt(&fd, sockopt::ReuseAddr, &true)?;
        if address.is_ipv6() {
            setsockopt(&fd, sockopt::Ipv6V6Only, &!is_dual)?;
        }
        match bind(fd.as_raw_fd(), &SockaddrStorage::from(address)) {
            // Early in the boot an interface may still be without its address.
            Err(Errno::EADDRNOTAVAIL) => {
                sys::bind_before_address(fd.as_fd(), address.is_ipv6())?;
                bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
                warn!("- no interface has the address {} yet: mail comes in once one has", address.ip());
            }
            other => other?,
        }
        // Connections that may wait to be accepted: 511, or what the system allows.
        listen(&fd, Backlog::MAXALLOWABLE)?;
        Ok(Self::Tcp(TcpListener::from_std(std::net::TcpListener::from(fd))))
    }

    /// Listens on a Unix socket with the given mode. A socket file that nobody serves any more is
    /// replaced; a live one, or a file of another kind, is an error.
    pub fn unix(file: &Path, mode: u32) -> io::Result<Self> {
        if let Ok(found) = fs::symlink_metadata(file) {
            if !found.file_type().is_socket() {
                return Err(io::Error::new(
                    io::ErrorKind::AlreadyExists,
                    "a file of another kind is in the way",
                ));
            }
            if std::os::unix::net::UnixStream::connect(file).is_ok() {
                return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process serves this socket"));
            }
            fs::remove_file(file)?;
        }
        if let Some(folder) = file.parent().filter(|f| !f.as_os_str().is_empty()) {
            fs::create_dir_all(folder)?;
        }
        let socket = UnixListener::bind(file)?;
        fs::set_permissions(file, fs::Permissions::from_mode(mode))?;
        Ok(Self::Unix { socket, file: Some(file.to_owned()) })
    }

    /// Takes over a listening socket that was bound to `address` by another process.
    pub fn from_bound(fd: OwnedFd, address: &Endpoint) -> Self {
        match address {
            Endpoint::Tcp(_) => Self::Tcp(TcpListener::from_std(fd.into())),
            Endpoint::Unix(_) => Self::Unix { socket: UnixListener::from_std(fd.into()), file: None },
        }
    }

    /// The name in the file system that it made.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Unix { file, .. } => file.as_deref(),
            Self::Tcp(_) => None,
        }
    }

    /// Where a TCP listener listens.
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(socket) => socket.local_addr().ok(),
            Self::Unix { .. } => None,
        }
    }

    /// The next connection that waits.
    pub fn accept(&self) -> io::Result<(Transport, Remote)> {
        match self {
            Self::Tcp(socket) => {
                let (stream, from) = socket.accept()?;
                let transport = Transport::Tcp(stream);
                transport.send_at_once();
                Ok((transport, Remote::Host(from.ip().to_canonical())))
            }
            Self::Unix { socket, .. } => {
                let transport = Transport::Unix(socket.accept()?.0);
                // Without credentials it is nobody (65534), who may do what everyone may.
                let user = transport.peer_user().unwrap_or(65_534);
                Ok((transport, Remote::User(user)))
            }
        }
    }

    /// Adds the socket to the poll.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.register(registry, token, Interest::READABLE),
            Self::Unix { socket, .. } => socket.register(registry, token, Interest::READABLE),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Self::Unix { file: Some(file), .. } = self {
            // Left behind it would only be replaced at the next start.
            let _ = fs::remove_file(file);
        }
    }
}

/// True if a listener on `address`, all of IPv6, serves IPv4 too: unless the port has a listener for IPv4.
pub fn is_dual(config: &Config, address: SocketAddr) -> bool {
    let is_four = |other: SocketAddr| other.is_ipv4() && other.port() == address.port();
    let listens = |endpoint: &Endpoint| matches!(endpoint, Endpoint::Tcp(other) if is_four(*other));
    address.ip().is_unspecified()
        && !config.listen.iter().any(|listen| listens(&listen.address))
        && !config.run.metrics.is_some_and(is_four)
}

/// True for the errors of `accept` that mean "no descriptor or memory now": wait, don't spin.
pub fn is_exhausted(error: &io::Error) -> bool {
    let Some(code) = error.raw_os_error() else { return false };
    matches!(Errno::from_raw(code), Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_stand_on_one_port() {
        let four = Listener::tcp("127.0.0.1:0".parse().unwrap(), true).unwrap();
        let port = four.address().unwrap().port();
        for six in ["::1", "::"] {
            if let Err(e) = Listener::tcp(SocketAddr::new(six.parse().unwrap(), port), false) {
                assert_ne!(e.kind(), io::ErrorKind::AddrInUse, "{six}: {e}");
            }
        }
    }

    #[test]
    fn all_of_ipv6_is_all_of_ipv4_too_unless_that_has_a_listener() {
        let six = "[::]:25".parse().unwrap();
        for (more, expected) in [
            ("", true),
            ("[[listen]]\naddress = \"0.0.0.0:587\"", true),
            ("[[listen]]\naddress = \"127.0.0.1:25\"", false),
            ("[run]\nmetrics = \"127.0.0.1:25\"", false),
        ] {
            let text = format!("[[listen]]\naddress = \"[::]:25\"\n{more}\n");
            assert_eq!(is_dual(&Config::parse(&text, "x.test").unwrap(), six), expected, "{more}");
        }
        let Ok(listener) = Listener::tcp("[::]:0".parse().unwrap(), true) else {
            return eprintln!("SKIPPED: no IPv6 here");
        };
        let port = listener.address().unwrap().port();
        let client = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        let Ok((_, Remote::Host(from))) = listener.accept() else { panic!("nobody came") };
        assert_eq!(from, client.local_addr().unwrap().ip(), "and is known by its IPv4 address");
    }

    #[test]
    fn an_address_may_come_later() {
        for address in ["192.0.2.77:0", "[2001:db8::77]:0"] {
            match Listener::tcp(address.parse().unwrap(), true) {
                Ok(listener) => assert_ne!(listener.address().unwrap().port(), 0),
                Err(e) => assert_eq!(e.raw_os_error(), Some(libc::EAFNOSUPPORT), "{address}: {e}"),
            }
        }
    }

    #[test]
    fn a_dead_socket_file_is_replaced_a_live_one_is_not() {
        let folder = std::env::temp_dir().join(format!("pillarbox-listener-{}", std::process::id()));
        let file = folder.join("s");
        fs::create_dir_all(&folder).unwrap();
        // The standard library leaves the file behind, as a killed relay does.
        drop(std::os::unix::net::UnixListener::bind(&file).unwrap());
        let live = Listener::unix(&file, 0o600).unwrap();
        assert_eq!(Listener::unix(&file, 0o600).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(live);
        assert!(!file.exists(), "the file goes with the listener");
        fs::write(&file, "mail").unwrap();
        assert!(Listener::unix(&file, 0o600).is_err());
        assert_eq!(fs::read(&file).unwrap(), b"mail");
        fs::remove_dir_all(folder).unwrap();
    }
}
