//! TLS, both sides: all that names rustls, by its unbuffered API.
//!
//! Records go through fixed buffers that are made at start, a [`Pump`] for each connection that can
//! have TLS; what rustls itself takes from the heap while a session lasts is bounded and counted.
//! There are no tickets and no session storage, so nothing grows from one session to the next.
//!
//! | file | what it has |
//! |---|---|
//! | `pump` | one connection: octets of the wire in and out, octets of the session out and in |
//! | `room` | the pumps that are made at start, lent to connections |
//! | `stream` | a pump and its socket |
//! | `server` | our certificate and key |
//! | `client` | how strict we are with servers, and whom we believe |
//! | `files` | certificates and keys as they lie on disk |
//! | `certificate` | the names in a certificate |
//! | `failure` | why TLS came to nothing, in words |

mod certificate;
mod client;
mod failure;
mod files;
mod pump;
mod room;
mod server;
mod stream;
#[cfg(test)]
mod tests;

use std::sync::{Arc, OnceLock};

use rustls::crypto::CryptoProvider;

use crate::config::Config;
use crate::sys::HEAP;

pub use certificate::names;
pub use client::{Dial, Dialler, Dials};
pub use failure::Failure;
pub use pump::{Connection, Need, Pump};
pub use room::{Loan, Rooms};
pub use server::{Acceptor, Server};
pub use stream::TlsStream;

/// What the files that the configuration names are for TLS.
#[derive(Debug)]
pub struct Credentials {
    /// For those who dial us.
    pub server: Option<Server>,
    /// For those whom we dial.
    pub dials: Dials,
    /// Octets of heap that all of it takes.
    pub octets: usize,
}

impl Credentials {
    /// Reads them all. `Err`: what is wrong, a sentence a mistake, each with its key.
    pub fn load(config: &Config) -> Result<Self, Vec<String>> {
        let before = HEAP.heap().live_octets;
        match (Server::load(&config.tls), Dials::load(config)) {
            (Ok(server), Ok(dials)) => {
                Ok(Self { server, dials, octets: HEAP.heap().live_octets.saturating_sub(before) })
            }
            (server, dials) => {
                Err(server.err().into_iter().chain(dials.err().into_iter().flatten()).collect())
            }
        }
    }
}

/// The cryptography below TLS.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(rustls::crypto::ring::default_provider())))
}
