//! The doors: every socket that is listened on, what it is for, and accepting from it fairly.
//!
//! The poll tells once that connections wait; so a door remembers that it has more, until an
//! accept says there is none. When descriptors run out, doors rest for a moment: connections wait
//! in the kernel's line meanwhile instead of spinning the loop.

use std::io;

use log::warn;
use mio::{Registry, Token};

use super::listener::{Listener, is_exhausted};
use super::transport::Transport;
use crate::relay::client::Remote;
use crate::smtp::server::Role;

/// Connections that one door takes in one turn.
const ACCEPTS: usize = 16;
/// How long doors rest when descriptors have run out, in milliseconds.
const REST_MS: u64 = 500;

/// What those who come in get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// SMTP.
    Smtp {
        /// The listener's role.
        role: Role,
        /// Its place in `config.listen`, which no reload changes.
        listen: usize,
    },
    /// SMTP for programs on this machine: may submit, whoever they are.
    Submit,
    /// Questions about the relay and its queue.
    Control,
    /// The same from a scraper of metrics.
    Metrics,
}

#[derive(Debug)]
struct Door {
    listener: Listener,
    purpose: Purpose,
    /// Connections may wait.
    more: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Doors {
    doors: Vec<Door>,
    rest_until_ms: u64,
}

impl Doors {
    /// Adds a listening socket; `first` is the poll's token of the first door.
    pub fn add(
        &mut self,
        mut listener: Listener,
        purpose: Purpose,
        registry: &Registry,
        first: usize,
    ) -> io::Result<()> {
        listener.register(registry, Token(first + self.doors.len()))?;
        self.doors.push(Door { listener, purpose, more: true });
        Ok(())
    }

    /// The poll's news of a door.
    pub fn notice(&mut self, door: usize) {
        if let Some(door) = self.doors.get_mut(door) {
            door.more = true;
        }
    }

    /// Takes a bounded number of connections from each door.
    pub fn accept(&mut self, now_ms: u64, mut enter: impl FnMut(Transport, Remote, Purpose)) {
        if now_ms < self.rest_until_ms {
            return;
        }
        for door in &mut self.doors {
            for _ in 0..ACCEPTS {
                if !door.more {
                    break;
                }
                match door.listener.accept() {
                    Ok((transport, remote)) => enter(transport, remote, door.purpose),
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => door.more = false,
                    Err(e) if is_exhausted(&e) => {
                        warn!(
                            "no descriptor left for a new connection ({e}); accepting again in {REST_MS} ms"
                        );
                        self.rest_until_ms = now_ms + REST_MS;
                        return;
                    }
                    // The peer was gone before we came to it, or the call was interrupted.
                    Err(_) => {}
                }
            }
        }
    }

    /// When the next accept is possible; `None` if nobody is known to wait.
    pub fn next_ms(&self) -> Option<u64> {
        self.doors.iter().any(|d| d.more).then_some(self.rest_until_ms)
    }

    /// Closes all.
    pub fn close(&mut self) {
        self.doors.clear();
    }
}
