//! What octets travel over, so that slots need not know. TLS becomes the third kind.

use std::io::{self, Read, Write};
use std::net::Shutdown;

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};

/// A connected stream, never blocking.
#[derive(Debug)]
pub enum Transport {
    /// TCP in the clear.
    Tcp(TcpStream),
    /// A Unix socket.
    Unix(UnixStream),
}

impl Transport {
    /// The user at the other end of a Unix socket; `None` over a network or if unknown.
    pub fn peer_user(&self) -> Option<u32> {
        use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
        match self {
            Self::Tcp(_) => None,
            Self::Unix(stream) => getsockopt(stream, PeerCredentials).ok().map(|c| c.uid()),
        }
    }

    /// Octets that have come and were not read yet; they stay there. Unix sockets do not tell.
    pub fn peek(&self, room: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.peek(room),
            Self::Unix(_) => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// The error a connection attempt ended in, if it did.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        match self {
            Self::Tcp(stream) => stream.take_error(),
            Self::Unix(stream) => stream.take_error(),
        }
    }

    /// True once a connection attempt has succeeded.
    pub fn is_connected(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.peer_addr().is_ok(),
            Self::Unix(stream) => stream.peer_addr().is_ok(),
        }
    }

    /// Small replies are not held back for a fuller packet.
    pub fn send_at_once(&self) {
        if let Self::Tcp(stream) = self {
            // Only slower without it.
            let _ = stream.set_nodelay(true);
        }
    }

    /// Ends the sending side; the peer sees the end of our octets.
    pub fn finish(&self) {
        // A connection that is already gone needs no end.
        let _ = match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
        };
    }
}

impl Read for Transport {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(room),
            Self::Unix(stream) => stream.read(room),
        }
    }
}

impl Write for Transport {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(octets),
            Self::Unix(stream) => stream.write(octets),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Source for Transport {
    fn register(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.register(registry, token, interests),
            Self::Unix(stream) => stream.register(registry, token, interests),
        }
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.reregister(registry, token, interests),
            Self::Unix(stream) => stream.reregister(registry, token, interests),
        }
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.deregister(registry),
            Self::Unix(stream) => stream.deregister(registry),
        }
    }
}

/// What the poll has told of a connection and what has not been used up yet.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    readable: bool,
    writable: bool,
    /// The peer's end is in sight: reading goes on until it is read, since no more news of it will
    /// come.
    ending: bool,
}

impl Ready {
    /// A fresh connection: try, and see.
    pub const fn fresh() -> Self {
        Self { readable: true, writable: true, ending: false }
    }

    /// One that is still being made: the poll will tell.
    pub const fn unknown() -> Self {
        Self { readable: false, writable: false, ending: false }
    }

    /// Try, and see; what is known of the peer's end stays known: it is told only once.
    pub fn refresh(&mut self) {
        (self.readable, self.writable) = (true, true);
    }

    /// The poll's news.
    pub fn notice(&mut self, event: &mio::event::Event) {
        self.ending |= event.is_read_closed() || event.is_error();
        self.readable |= event.is_readable() || self.ending;
        self.writable |= event.is_writable() || event.is_write_closed() || event.is_error();
    }

    /// True if a read may bring something.
    pub fn is_readable(&self) -> bool {
        self.readable
    }

    /// True if a write may take something.
    pub fn is_writable(&self) -> bool {
        self.writable
    }

    /// Reads once. What comes short of the room was all there is: the next news will be news, so
    /// that one call in two is spared.
    pub fn read(&mut self, from: &mut impl Read, room: &mut [u8]) -> Moved {
        let moved = read_once(from, room);
        match moved {
            Moved::Nothing => self.readable = false,
            Moved::Octets(n) if n < room.len() && !self.ending => self.readable = false,
            _ => {}
        }
        moved
    }

    /// Writes once.
    pub fn write(&mut self, to: &mut impl Write, octets: &[u8]) -> Moved {
        let moved = write_once(to, octets);
        if moved == Moved::Nothing {
            self.writable = false;
        }
        moved
    }
}

/// What one read or write came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    /// That many octets, at least one.
    Octets(usize),
    /// Nothing now; the poll will tell.
    Nothing,
    /// The peer has ended its side.
    End,
    /// The connection is broken.
    Broken,
}

/// Reads once, whatever the kind of failure, into one of four outcomes. EINTR is tried again.
pub fn read_once(from: &mut impl Read, room: &mut [u8]) -> Moved {
    loop {
        return match from.read(room) {
            Ok(0) => Moved::End,
            Ok(n) => Moved::Octets(n),
            Err(e) => match failure(&e) {
                Some(moved) => moved,
                None => continue,
            },
        };
    }
}

/// Writes once; see [`read_once`].
pub fn write_once(to: &mut impl Write, octets: &[u8]) -> Moved {
    loop {
        return match to.write(octets) {
            Ok(0) => Moved::Broken,
            Ok(n) => Moved::Octets(n),
            Err(e) => match failure(&e) {
                Some(moved) => moved,
                None => continue,
            },
        };
    }
}

fn failure(error: &io::Error) -> Option<Moved> {
    match error.kind() {
        io::ErrorKind::Interrupted => None,
        io::ErrorKind::WouldBlock => Some(Moved::Nothing),
        _ => Some(Moved::Broken),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_read_waits_for_news_unless_the_end_is_in_sight() {
        let mut room = [0; 16];
        let mut ready = Ready::fresh();
        assert_eq!(ready.read(&mut &b"220 "[..], &mut room), Moved::Octets(4));
        assert!(!ready.is_readable(), "the poll will tell of more");

        // The peer ended its side while the connection was being made: the poll has told, once.
        let mut ready = Ready { ending: true, ..Ready::unknown() };
        ready.refresh();
        assert_eq!(ready.read(&mut &b"220 "[..], &mut room), Moved::Octets(4));
        assert!(ready.is_readable(), "nobody will tell of the end again");
        assert_eq!(ready.read(&mut &b""[..], &mut room), Moved::End);
    }
}
