//! Our certificate and key, and the server side of TLS made of them.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, UnbufferedServerConnection};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, ServerConfig};

use super::files::{certificates, private_key};
use super::provider;
use super::pump::Connection;
use super::room::{Loan, Rooms};
use crate::config::Tls;
use crate::limits::{CERTIFICATE_CHAIN, TLS_RECORD_OCTETS};

/// What our side of every session with a client has in common. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Server(Arc<ServerConfig>);

impl Server {
    /// Reads certificate and key; `None` if none are configured. `Err`: what is wrong, with its key
    /// of the configuration.
    pub fn load(tls: &Tls) -> Result<Option<Self>, String> {
        let (Some(certificate), Some(key)) = (&tls.certificate_file, &tls.key_file) else { return Ok(None) };
        Self::of_files(certificate, key).map(Some)
    }

    fn of_files(certificate_file: &Path, key_file: &Path) -> Result<Self, String> {
        let shown = certificate_file.display();
        let mut chain = Vec::new();
        certificates(certificate_file, |certificate| chain.push(certificate))
            .map_err(|e| format!("tls.certificate_file: {shown} {e}"))?;
        if chain.is_empty() {
            return Err(format!("tls.certificate_file: {shown} has no certificate in PEM form"));
        }
        if chain.len() > CERTIFICATE_CHAIN {
            return Err(format!(
                "tls.certificate_file: {shown} has more than {CERTIFICATE_CHAIN} certificates: \
                it takes ours and those between it and its authority"
            ));
        }
        let shown = key_file.display();
        let key = private_key(key_file).map_err(|e| format!("tls.key_file: {shown} {e}"))?;
        Self::of_pair(chain, key).map_err(|e| format!("tls.key_file: {shown} {e}"))
    }

    /// Of a chain that is not empty and the key of its first certificate.
    pub(super) fn of_pair(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, String> {
        let provider = provider();
        let signer = provider.key_provider.load_private_key(key).map_err(|_| {
            "has no key of a kind that is taken: RSA from 2048 bits, P-256, P-384, Ed25519".to_owned()
        })?;
        let pair = CertifiedKey::new(chain, signer);
        match pair.keys_match() {
            Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(Error::InconsistentKeys(_)) => {
                return Err("is not the key of the first certificate in tls.certificate_file".to_owned());
            }
            Err(e) => return Err(format!("and tls.certificate_file don't go together: {e}")),
        }
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(pair)));
        // Nothing is remembered from one session to the next.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_fragment_size = Some(TLS_RECORD_OCTETS);
        Ok(Self(Arc::new(config)))
    }

    /// Our side of a new session.
    pub fn connection(&self) -> Result<Connection, Error> {
        UnbufferedServerConnection::new(Arc::clone(&self.0)).map(Connection::Server)
    }
}

/// Takes up TLS with clients: our certificate, and room for it.
pub struct Acceptor {
    server: Option<Server>,
    rooms: Rooms,
}

impl Acceptor {
    /// An acceptor with room for `sessions` at once, if it has a certificate at all; see [`Rooms::new`].
    pub fn new(server: Option<Server>, sessions: usize, heap_octets: usize) -> Self {
        let rooms = Rooms::new(if server.is_some() { sessions } else { 0 }, heap_octets);
        Self { server, rooms }
    }

    /// True if there is a certificate.
    pub fn is_ready(&self) -> bool {
        self.server.is_some()
    }

    /// Our side of a session; `None`: there is no room now.
    pub fn accept(&self) -> Option<Loan> {
        self.rooms.lend(|| {
            self.server.as_ref().map(Server::connection).transpose()?.ok_or(Error::HandshakeNotComplete)
        })
    }

    /// Another certificate for the sessions to come.
    pub fn renew(&mut self, server: Server) {
        self.server = Some(server);
    }
}
