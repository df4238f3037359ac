//! A pump and the socket that its records go over.

use std::io::{self, Read, Write};

use mio::net::TcpStream;

use super::pump::Need;
use super::room::Loan;

/// TLS over TCP, never blocking.
///
/// What is written may stay in the pump for a while: [`TlsStream::owes`]. Writing nothing sends what
/// is owed. An error of the kind `InvalidData` or `UnexpectedEof` has its reason in the pump's failure.
#[derive(Debug)]
pub struct TlsStream {
    socket: TcpStream,
    pump: Loan,
    /// A read ended before the socket had nothing more.
    paused: bool,
}

impl TlsStream {
    /// TLS over a connected socket; the handshake comes next.
    pub fn new(socket: TcpStream, pump: Loan) -> Self {
        Self { socket, pump, paused: false }
    }

    /// The socket.
    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// The socket, for the poll.
    pub fn socket_mut(&mut self) -> &mut TcpStream {
        &mut self.socket
    }

    /// The pump, for what it knows.
    pub fn pump(&self) -> &super::Pump {
        &self.pump
    }

    /// True if records wait to be sent.
    pub fn owes(&self) -> bool {
        !self.pump.outgoing().is_empty()
    }

    /// True once if a read stopped because records waited to be sent.
    pub fn take_held_up(&mut self) -> bool {
        self.pump.take_held_up()
    }

    /// True once if a read came to nothing though the socket may have more: it will not tell of that again.
    pub fn take_paused(&mut self) -> bool {
        std::mem::take(&mut self.paused)
    }

    /// Goes on with the handshake: `Ok` once it is done. `WouldBlock`: the socket has to tell.
    pub fn shake_hands(&mut self) -> io::Result<()> {
        while self.pump.is_handshaking() {
            let need = self.pump.process().map_err(|_| io::ErrorKind::InvalidData);
            match need {
                Ok(Need::Input) if self.pump.is_handshaking() => {
                    self.send()?;
                    self.receive()?;
                }
                Ok(Need::Output) => self.send()?,
                Ok(Need::Input | Need::Reader | Need::Nothing) => {}
                Err(failed) => {
                    // The alert, if the socket takes it.
                    let _ = self.send();
                    return Err(failed.into());
                }
            }
        }
        // What is left to be sent goes out before what is written next.
        match self.send() {
            Err(e) if e.kind() != io::ErrorKind::WouldBlock => Err(e),
            _ => Ok(()),
        }
    }

    /// Says our end, as far as the socket takes it.
    pub fn finish(&mut self) {
        self.pump.close();
        // A peer that is gone needs no end.
        let _ = self.send();
        let _ = self.socket.shutdown(std::net::Shutdown::Write);
    }

    /// Sends all that waits.
    fn send(&mut self) -> io::Result<()> {
        while !self.pump.outgoing().is_empty() {
            match self.socket.write(self.pump.outgoing()) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => self.pump.sent(n),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Reads once from the socket.
    fn receive(&mut self) -> io::Result<()> {
        loop {
            return match self.socket.read(self.pump.room()) {
                Ok(0) => {
                    self.pump.cut();
                    Err(io::ErrorKind::UnexpectedEof.into())
                }
                Ok(n) => {
                    self.pump.advance(n);
                    Ok(())
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => Err(e),
            };
        }
    }
}

impl Read for TlsStream {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let mut received = false;
        loop {
            let need = self.pump.process().map_err(|_| io::ErrorKind::InvalidData);
            match need {
                Ok(Need::Reader) => return Ok(self.pump.read(room)),
                Ok(Need::Nothing) => return Ok(0),
                // Records can be without text, and a peer can send nothing else: others have their turn.
                Ok(Need::Input) if received => {
                    self.paused = true;
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                Ok(Need::Input) => {
                    self.receive()?;
                    received = true;
                }
                Ok(Need::Output) => self.send()?,
                Err(failed) => {
                    let _ = self.send();
                    return Err(failed.into());
                }
            }
        }
    }
}

impl Write for TlsStream {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let mut taken = 0;
        loop {
            match self.pump.write(&octets[taken..]) {
                Ok(n) => taken += n,
                Err(_) => return Err(io::ErrorKind::InvalidData.into()),
            }
            match self.send() {
                Ok(()) if taken == octets.len() => return Ok(taken),
                Ok(()) if self.pump.is_handshaking() => return Err(io::ErrorKind::WouldBlock.into()),
                Ok(()) => {}
                // What was taken goes out later; the next write finds out that it can't yet.
                Err(e) if e.kind() == io::ErrorKind::WouldBlock && taken > 0 => return Ok(taken),
                Err(e) => return Err(e),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send()
    }
}
