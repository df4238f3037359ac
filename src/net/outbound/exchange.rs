//! Octets of an outbound slot: between its buffers and its connection.

use super::{Outbound, State, Turn, With};
use crate::net::tls::Failure;
use crate::net::transport::Moved;

impl Outbound {
    /// Flushes; then, if `reading` or if that is all that can be done, reads.
    pub(super) fn exchange(&mut self, reading: bool, with: &mut With<'_>) -> Option<Turn> {
        let sent = match self.send() {
            Ok(sent) => sent,
            Err(()) => return self.broken(with),
        };
        if sent && !reading {
            return None;
        }
        if !self.ready.is_readable() {
            return Some(Turn::Wait);
        }
        let State::Talking { transport, .. } = &mut self.state else { return None };
        match self.ready.read(transport, self.input.room()) {
            Moved::Octets(n) => self.input.advance(n),
            Moved::Nothing => {}
            Moved::End => return self.lost("connection closed by the server", with),
            Moved::Broken => return self.broken(with),
        }
        None
    }

    /// Sends what is in the output: true if all of it went.
    pub(super) fn send(&mut self) -> Result<bool, ()> {
        let State::Talking { transport, .. } = &mut self.state else { return Err(()) };
        while !self.output.is_empty() || transport.owes() {
            if !self.ready.is_writable() {
                return Ok(false);
            }
            match self.ready.write(transport, self.output.filled()) {
                Moved::Octets(n) => self.output.consume(n),
                Moved::Nothing => {}
                Moved::End | Moved::Broken => return Err(()),
            }
        }
        Ok(true)
    }

    /// The connection is broken: for a reason of TLS, if it has one.
    fn broken(&mut self, with: &mut With<'_>) -> Option<Turn> {
        let failure = match &self.state {
            State::Talking { transport, .. } => transport.failure().cloned(),
            _ => None,
        };
        self.lost(failure.as_ref().map_or("connection broken", Failure::text), with)
    }
}
