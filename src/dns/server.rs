//! One question to one name server: over UDP, and over TCP where that is not enough.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use super::message::{Fault, Query, Response, read};

/// Datagrams that answer something else, after which the question is asked over TCP: somebody may be
/// guessing ids.
const FOREIGN: usize = 32;

/// Why a server has not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing came in time.
    Silence,
    /// Nobody listens there, or no way leads there.
    Unreachable,
    /// What came can't be read.
    Nonsense,
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Self::Silence,
            _ => Self::Unreachable,
        }
    }
}

/// Asks `server` until `deadline`. The source port is a random one of the system's, the socket is connected,
/// so that only what comes from the server's address is seen. `room` holds what comes in.
pub fn ask(
    server: SocketAddr,
    query: &Query,
    deadline: Instant,
    room: &mut [u8],
) -> Result<Response, Trouble> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(server)?;
    socket.send(query.octets())?;
    let (mut foreign, mut tried_tcp) = (0, false);
    loop {
        socket.set_read_timeout(Some(left(deadline)?))?;
        let octets = match socket.recv(room) {
            Ok(count) => count,
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(e) => return Err(e.into()),
        };
        match read(query, &room[..octets], false) {
            Ok(response) => return Ok(response),
            Err(Fault::Broken) => return Err(Trouble::Nonsense),
            Err(Fault::Truncated) => return ask_by_tcp(server, query, deadline, room),
            Err(Fault::Case) => {}
            Err(Fault::Foreign) => {
                foreign += 1;
                if foreign < FOREIGN {
                    continue;
                }
            }
        }
        // Not to be believed as it came. If TCP does not work, the right response may still come.
        if !std::mem::replace(&mut tried_tcp, true)
            && let Ok(response) = ask_by_tcp(server, query, deadline, room)
        {
            return Ok(response);
        }
    }
}

fn ask_by_tcp(
    server: SocketAddr,
    query: &Query,
    deadline: Instant,
    room: &mut [u8],
) -> Result<Response, Trouble> {
    let mut stream = TcpStream::connect_timeout(&server, left(deadline)?)?;
    stream.set_write_timeout(Some(left(deadline)?))?;
    // In one write: some servers want length and query in one segment (RFC 7766 8).
    let length = query.octets().len();
    let framed = room.get_mut(..2 + length).ok_or(Trouble::Nonsense)?;
    framed[..2].copy_from_slice(&u16::try_from(length).map_err(|_| Trouble::Nonsense)?.to_be_bytes());
    framed[2..].copy_from_slice(query.octets());
    stream.write_all(framed)?;
    let mut length = [0; 2];
    fill(&mut stream, &mut length, deadline)?;
    let length = usize::from(u16::from_be_bytes(length));
    let octets = room.get_mut(..length).ok_or(Trouble::Nonsense)?;
    fill(&mut stream, octets, deadline)?;
    read(query, octets, true).map_err(|_| Trouble::Nonsense)
}

/// Reads until `room` is full; a server that sends an octet now and then gets no more time for it.
fn fill(stream: &mut TcpStream, room: &mut [u8], deadline: Instant) -> Result<(), Trouble> {
    let mut filled = 0;
    while filled < room.len() {
        stream.set_read_timeout(Some(left(deadline)?))?;
        match stream.read(&mut room[filled..]) {
            Ok(0) => return Err(Trouble::Silence),
            Ok(count) => filled += count,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

/// The time that is left.
fn left(deadline: Instant) -> Result<Duration, Trouble> {
    let left = deadline.saturating_duration_since(Instant::now());
    // Rounded up to what a socket's timeout can tell: zero would be no timeout at all.
    if left.is_zero() { Err(Trouble::Silence) } else { Ok(left.max(Duration::from_millis(1))) }
}
