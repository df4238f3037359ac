//! Sockets that a service manager has bound for us, found again by their address.

use std::net::{Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::socket::{SockaddrStorage, getsockname, getsockopt, sockopt};

use super::listener::Listener;
use crate::config::Endpoint;

/// All of them.
#[derive(Debug)]
pub struct Inherited(Vec<Socket>);

#[derive(Debug)]
struct Socket {
    /// `None`: something that mail can't come in by.
    address: Option<Endpoint>,
    /// IPv6 that takes IPv4 too.
    is_dual: bool,
    /// `None` once it has been taken.
    fd: Option<OwnedFd>,
}

/// What was found for an address.
#[derive(Debug)]
pub enum Found {
    /// A socket.
    Socket(Listener),
    /// One that serves another address of the configuration too and has been taken for it.
    Shared,
    /// None: it is ours to bind.
    Nothing,
}

impl Inherited {
    /// Looks at each.
    pub fn of(fds: Vec<OwnedFd>) -> Self {
        let socket = |fd: OwnedFd| {
            let is_dual = getsockopt(&fd, sockopt::Ipv6V6Only).is_ok_and(|is_only| !is_only);
            Socket { address: address(&fd), is_dual, fd: Some(fd) }
        };
        Self(fds.into_iter().map(socket).collect())
    }

    /// The socket for an address of the configuration. One on all IPv6 addresses that takes IPv4 too
    /// serves `0.0.0.0` of its port.
    pub fn take(&mut self, wanted: &Endpoint) -> Found {
        let found = self.0.iter_mut().find(|socket| socket.serves(wanted));
        match found.map(|socket| socket.fd.take()) {
            None => Found::Nothing,
            Some(None) => Found::Shared,
            Some(Some(fd)) => Found::Socket(Listener::from_bound(fd, wanted)),
        }
    }

    /// One that nobody has taken, in words.
    pub fn left(&self) -> Option<String> {
        let left = self.0.iter().find(|socket| socket.fd.is_some())?;
        Some(left.address.as_ref().map_or("of another kind".to_owned(), ToString::to_string))
    }
}

impl Socket {
    fn serves(&self, wanted: &Endpoint) -> bool {
        let Some(address) = &self.address else { return false };
        let as_dual = match wanted {
            Endpoint::Tcp(SocketAddr::V4(four)) if four.ip().is_unspecified() => {
                Some(Endpoint::Tcp(SocketAddr::from((Ipv6Addr::UNSPECIFIED, four.port()))))
            }
            _ => None,
        };
        address == wanted || self.is_dual && as_dual.as_ref() == Some(address)
    }
}

/// Where a listening socket is bound.
fn address(fd: &OwnedFd) -> Option<Endpoint> {
    if !getsockopt(fd, sockopt::AcceptConn).ok()? {
        return None;
    }
    let name: SockaddrStorage = getsockname(std::os::fd::AsRawFd::as_raw_fd(&fd.as_fd())).ok()?;
    if let Some(four) = name.as_sockaddr_in() {
        return Some(Endpoint::Tcp(SocketAddr::V4((*four).into())));
    }
    if let Some(six) = name.as_sockaddr_in6() {
        return Some(Endpoint::Tcp(SocketAddr::V6((*six).into())));
    }
    name.as_unix_addr()?.path().map(|path| Endpoint::Unix(path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::os::unix::net::{UnixDatagram, UnixListener};

    #[test]
    fn sockets_are_found_by_their_address() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Endpoint::Tcp(tcp.local_addr().unwrap());
        let file = std::env::temp_dir().join(format!("pillarbox-inherited-{}", std::process::id()));
        let _ = std::fs::remove_file(&file);
        let unix = UnixListener::bind(&file).unwrap();
        let mut all = Inherited::of(vec![tcp.into(), unix.into()]);
        assert_eq!(all.left(), Some(address.to_string()));
        assert!(matches!(all.take(&address), Found::Socket(_)));
        assert!(matches!(all.take(&address), Found::Shared));
        assert!(matches!(all.take(&Endpoint::parse("127.0.0.1:1").unwrap()), Found::Nothing));
        assert!(matches!(all.take(&Endpoint::Unix(file.clone())), Found::Socket(_)));
        assert_eq!(all.left(), None);
        assert!(file.exists(), "its file is not ours");
        std::fs::remove_file(file).unwrap();
        let other = Inherited::of(vec![UnixDatagram::unbound().unwrap().into()]);
        assert_eq!(other.left().as_deref(), Some("of another kind"));
    }

    #[test]
    fn a_socket_for_both_families_serves_both_addresses() {
        // The standard library leaves IPv6 sockets open to IPv4, as systemd does.
        let Ok(dual) = TcpListener::bind("[::]:0") else { return eprintln!("SKIPPED: no IPv6 here") };
        let port = dual.local_addr().unwrap().port();
        let mut all = Inherited::of(vec![dual.into()]);
        let four = Endpoint::Tcp(SocketAddr::from(([0, 0, 0, 0], port)));
        let six = Endpoint::Tcp(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)));
        assert!(matches!(all.take(&four), Found::Socket(_)));
        assert!(matches!(all.take(&six), Found::Shared));
    }
}
