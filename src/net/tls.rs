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
//! | `failure` | why TLS came to nothing, in words |

mod failure;
mod pump;
mod room;
mod server;
mod stream;
#[cfg(test)]
mod tests;

use std::sync::{Arc, OnceLock};

use rustls::crypto::CryptoProvider;

use crate::config::Config;

pub use failure::Failure;
pub use pump::{Connection, Pump};
pub use room::{Loan, Rooms};
pub use server::{Acceptor, Server};
pub use stream::TlsStream;

/// What the files that the configuration names are for TLS.
#[derive(Debug)]
pub struct Credentials {
    /// For those who dial us.
    pub server: Option<Server>,
}

impl Credentials {
    /// Reads them all. `Err`: what is wrong, a sentence a mistake, each with its key.
    pub fn load(config: &Config) -> Result<Self, Vec<String>> {
        let server = Server::load(&config.tls).map_err(|mistake| vec![mistake])?;
        Ok(Self { server })
    }
}

/// The cryptography below TLS.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(rustls::crypto::ring::default_provider())))
}
