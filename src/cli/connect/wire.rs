//! A connection that is waited for, with or without TLS over it.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::net::tls::{Failure, Loan, Need, Pump};

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// The connection.
pub struct Wire {
    socket: TcpStream,
    pump: Option<Loan>,
}

impl Wire {
    /// In the clear.
    pub fn new(socket: TcpStream) -> Self {
        // Without limits it would only wait longer.
        let _ =
            socket.set_read_timeout(Some(PATIENCE)).and_then(|()| socket.set_write_timeout(Some(PATIENCE)));
        Self { socket, pump: None }
    }

    /// TLS, if there is any.
    pub fn pump(&self) -> Option<&Pump> {
        self.pump.as_deref()
    }

    /// Puts TLS over the connection; each answer of the server may take so long.
    pub fn secure(&mut self, pump: Loan, patience: Duration) -> Result<(), Failure> {
        let pump = self.pump.insert(pump);
        let socket = &mut self.socket;
        socket.set_read_timeout(Some(patience)).map_err(Failure::new)?;
        while pump.is_handshaking() {
            let need = pump.process().map_err(|failure| failure.clone());
            send(pump, socket).map_err(Failure::new)?;
            if need? == Need::Input && pump.is_handshaking() {
                match receive(pump, socket) {
                    Ok(()) => {}
                    Err(e) => return Err(pump.failure().cloned().unwrap_or_else(|| Failure::new(words(&e)))),
                }
            }
        }
        send(pump, socket).and_then(|()| socket.set_read_timeout(Some(PATIENCE))).map_err(Failure::new)
    }

    /// Sends all of `octets`.
    pub fn send(&mut self, mut octets: &[u8]) -> io::Result<()> {
        let Self { socket, pump: Some(pump) } = self else { return self.socket.write_all(octets) };
        while !octets.is_empty() {
            let n = pump.write(octets).map_err(|e| io::Error::other(e.clone()))?;
            octets = &octets[n..];
            send(pump, socket)?;
        }
        Ok(())
    }

    /// Waits for octets: how many; 0: the server has ended.
    pub fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let Self { socket, pump: Some(pump) } = self else {
            return self.socket.read(room).map_err(|e| io::Error::other(words(&e)));
        };
        loop {
            let need = pump.process().map_err(|e| io::Error::other(e.clone()))?;
            send(pump, socket)?;
            match need {
                Need::Reader => return Ok(pump.read(room)),
                Need::Nothing => return Ok(0),
                Need::Input => receive(pump, socket).map_err(|e| io::Error::other(words(&e)))?,
                Need::Output => {}
            }
        }
    }
}

/// A wait that is over has no good words of its own.
fn words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "no answer came".to_owned(),
        _ => error.to_string(),
    }
}

fn send(pump: &mut Pump, socket: &mut TcpStream) -> io::Result<()> {
    socket.write_all(pump.outgoing())?;
    pump.sent(pump.outgoing().len());
    Ok(())
}

fn receive(pump: &mut Pump, socket: &mut TcpStream) -> io::Result<()> {
    let n = socket.read(pump.room())?;
    if n == 0 {
        pump.cut();
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    pump.advance(n);
    Ok(())
}
