//! What octets travel over, so that slots need not know.

use std::io::{self, Read, Write};
use std::net::Shutdown;

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};

use super::tls::{Failure, Loan, TlsStream};

/// A connected stream, never blocking.
#[derive(Debug)]
pub enum Transport {
    /// TCP in the clear.
    Tcp(TcpStream),
    /// A Unix socket.
    Unix(UnixStream),
    /// TLS over TCP.
    Tls(TlsStream),
    /// None any more: what is left behind when it is taken out.
    Closed,
}

impl Transport {
    /// The user at the other end of a Unix socket; `None` over a network or if unknown.
    pub fn peer_user(&self) -> Option<u32> {
        use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
        match self {
            Self::Unix(stream) => getsockopt(stream, PeerCredentials).ok().map(|c| c.uid()),
            Self::Tcp(_) | Self::Tls(_) | Self::Closed => None,
        }
    }

    /// The TCP connection below.
    fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(stream) => Some(stream),
            Self::Tls(stream) => Some(stream.socket()),
            Self::Unix(_) | Self::Closed => None,
        }
    }

    /// Octets that have come and were not read yet; they stay there. Unix sockets do not tell.
    pub fn peek(&self, room: &mut [u8]) -> io::Result<usize> {
        self.tcp().map_or(Err(io::ErrorKind::WouldBlock.into()), |stream| stream.peek(room))
    }

    /// True for TCP in the clear, which TLS can be put over.
    pub fn is_tcp(&self) -> bool {
        matches!(self, Self::Tcp(_))
    }

    /// The error a connection attempt ended in, if it did.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        match self {
            Self::Unix(stream) => stream.take_error(),
            other => other.tcp().map_or(Ok(None), TcpStream::take_error),
        }
    }

    /// True once a connection attempt has succeeded.
    pub fn is_connected(&self) -> bool {
        match self {
            Self::Unix(stream) => stream.peer_addr().is_ok(),
            other => other.tcp().is_some_and(|stream| stream.peer_addr().is_ok()),
        }
    }

    /// Small replies are not held back for a fuller packet.
    pub fn send_at_once(&self) {
        if let Some(stream) = self.tcp() {
            // Only slower without it.
            let _ = stream.set_nodelay(true);
        }
    }

    /// Ends the sending side; the peer sees the end of our octets.
    pub fn finish(&mut self) {
        // A connection that is already gone needs no end.
        let _ = match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
            Self::Tls(stream) => return stream.finish(),
            Self::Closed => Ok(()),
        };
    }

    /// Puts TLS over a TCP connection; the handshake comes next. Others stay as they are.
    pub fn secure(&mut self, pump: Loan) {
        *self = match std::mem::replace(self, Self::Closed) {
            Self::Tcp(stream) => Self::Tls(TlsStream::new(stream, pump)),
            other => other,
        };
    }

    /// TLS, if there is any.
    pub fn tls(&self) -> Option<&TlsStream> {
        match self {
            Self::Tls(stream) => Some(stream),
            Self::Tcp(_) | Self::Unix(_) | Self::Closed => None,
        }
    }

    /// The version of TLS as it is logged, or "none".
    pub fn tls_version(&self) -> &'static str {
        self.tls().map_or("none", |stream| stream.pump().version())
    }

    /// Why TLS came to nothing, if that is why the connection is broken.
    pub fn failure(&self) -> Option<&Failure> {
        self.tls()?.pump().failure()
    }

    /// True while nothing can be written because the TLS handshake goes on.
    pub fn is_handshaking(&self) -> bool {
        self.tls().is_some_and(|stream| stream.pump().is_handshaking())
    }

    /// True once if a read came to nothing and there may be more to read all the same.
    fn take_paused(&mut self) -> bool {
        match self {
            Self::Tls(stream) => stream.take_paused(),
            Self::Tcp(_) | Self::Unix(_) | Self::Closed => false,
        }
    }

    /// True if octets that were taken wait to be sent: writing, even nothing, sends them.
    pub fn owes(&self) -> bool {
        self.tls().is_some_and(TlsStream::owes)
    }
}

impl Read for Transport {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(room),
            Self::Unix(stream) => stream.read(room),
            Self::Tls(stream) => stream.read(room),
            Self::Closed => Ok(0),
        }
    }
}

impl Write for Transport {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(octets),
            Self::Unix(stream) => stream.write(octets),
            Self::Tls(stream) => stream.write(octets),
            Self::Closed => Err(io::ErrorKind::NotConnected.into()),
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
            Self::Tls(stream) => stream.socket_mut().register(registry, token, interests),
            Self::Closed => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.reregister(registry, token, interests),
            Self::Unix(stream) => stream.reregister(registry, token, interests),
            Self::Tls(stream) => stream.socket_mut().reregister(registry, token, interests),
            Self::Closed => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.deregister(registry),
            Self::Unix(stream) => stream.deregister(registry),
            Self::Tls(stream) => stream.socket_mut().deregister(registry),
            Self::Closed => Ok(()),
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
    /// that one call in two is spared. Behind TLS it means nothing: records have their own lengths.
    pub fn read(&mut self, from: &mut Transport, room: &mut [u8]) -> Moved {
        let moved = read_once(from, room);
        match moved {
            Moved::Nothing => self.readable = from.take_paused(),
            Moved::Octets(n) if n < room.len() && !self.ending && from.tls().is_none() => {
                self.readable = false
            }
            _ => {}
        }
        moved
    }

    /// Writes once.
    pub fn write(&mut self, to: &mut Transport, octets: &[u8]) -> Moved {
        let moved = write_once(to, octets);
        if moved == Moved::Nothing {
            self.writable = false;
        }
        self.resume(to);
        moved
    }

    /// Goes on with the TLS handshake: `Octets(0)` once it is done. `Nothing`: the poll will tell.
    pub fn shake_hands(&mut self, with: &mut Transport) -> Moved {
        let Transport::Tls(stream) = with else { return Moved::Octets(0) };
        let moved = match stream.shake_hands() {
            Ok(()) => Moved::Octets(0),
            Err(e) => failure(&e).unwrap_or(Moved::Broken),
        };
        if moved == Moved::Nothing {
            // It may have been either that was waited for.
            self.readable = false;
            self.writable = !stream.owes();
        }
        moved
    }

    /// Records that could not be worked on before others were sent are not told of again.
    fn resume(&mut self, transport: &mut Transport) {
        if let Transport::Tls(stream) = transport {
            self.readable |= stream.take_held_up();
        }
    }
}

/// What one read or write came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    /// That many octets; at least one, unless there was nothing to write.
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
            Ok(0) if !octets.is_empty() => Moved::Broken,
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
        let connection = || {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            theirs.write_all(b"220 ").unwrap();
            Transport::Unix(ours)
        };
        let mut ready = Ready::fresh();
        assert_eq!(ready.read(&mut connection(), &mut room), Moved::Octets(4));
        assert!(!ready.is_readable(), "the poll will tell of more");

        // The peer ended its side while the connection was being made: the poll has told, once.
        let mut ready = Ready { ending: true, ..Ready::unknown() };
        let mut transport = connection();
        ready.refresh();
        assert_eq!(ready.read(&mut transport, &mut room), Moved::Octets(4));
        assert!(ready.is_readable(), "nobody will tell of the end again");
        assert_eq!(ready.read(&mut transport, &mut room), Moved::End);
    }
}
