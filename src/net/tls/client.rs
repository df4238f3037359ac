//! TLS towards the servers that we dial: how strict, whom to believe, when it starts.

use std::fmt::{self, Display};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, UnbufferedClientConnection, WebPkiServerVerifier, verify_server_name};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
};

use super::certificate;
use super::files::certificates;
use super::pump::Connection;
use super::room::{Loan, Rooms};
use super::{Failure, provider};
use crate::config::{Config, Smarthost, TlsStart, TlsStrictness, Via};
use crate::limits::TLS_RECORD_OCTETS;
use crate::smtp::client::StartTls;

/// The port on which TLS comes first (RFC 8314 3.3).
const SUBMISSIONS: u16 = 465;

/// Where systems keep the authorities that they trust.
pub const BUNDLES: [&str; 5] = [
    // Debian, Alpine, OpenWrt, Arch.
    "/etc/ssl/certs/ca-certificates.crt",
    // Fedora and its relatives.
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    // SUSE.
    "/var/lib/ca-certificates/ca-bundle.pem",
    // The BSDs, and others for their sake.
    "/etc/ssl/cert.pem",
];

/// How to do TLS with the hosts of a route.
#[derive(Clone, Debug)]
pub struct Dial {
    strictness: TlsStrictness,
    start: TlsStart,
    /// There if and only if TLS is wanted at all.
    config: Option<Arc<ClientConfig>>,
    /// A certificate is pinned: no clock is needed to judge it.
    is_pinned: bool,
}

impl Dial {
    /// In the clear.
    pub const CLEAR: Self =
        Self { strictness: TlsStrictness::None, start: TlsStart::Auto, config: None, is_pinned: false };

    /// True if there may be TLS.
    pub fn is_wanted(&self) -> bool {
        self.config.is_some()
    }

    /// True if TLS comes before the greeting on this port.
    pub fn begins(&self, port: u16) -> bool {
        self.is_wanted()
            && match self.start {
                TlsStart::Auto => port == SUBMISSIONS,
                TlsStart::Immediate => true,
                TlsStart::StartTls => false,
            }
    }

    /// What the session has to do about STARTTLS where TLS does not begin.
    pub fn start_tls(&self) -> StartTls {
        match self.strictness {
            TlsStrictness::None => StartTls::Never,
            TlsStrictness::Opportunistic => StartTls::IfOffered,
            TlsStrictness::Encrypt | TlsStrictness::Verify => StartTls::Required,
        }
    }

    /// True if the message may go in the clear when TLS fails.
    pub fn may_be_clear(&self) -> bool {
        matches!(self.strictness, TlsStrictness::None | TlsStrictness::Opportunistic)
    }

    /// True if the server is who it says once the handshake is done: what must not be told to anybody
    /// else may be told.
    pub fn is_verified(&self) -> bool {
        self.strictness == TlsStrictness::Verify || self.is_wanted() && self.is_pinned
    }

    /// True if nothing can be judged before the wall clock is set.
    pub fn needs_clock(&self) -> bool {
        self.strictness == TlsStrictness::Verify && !self.is_pinned
    }

    /// Our side of a session with the host of that name or address.
    pub fn connection(&self, host: &str) -> Result<Connection, Failure> {
        let Some(config) = &self.config else { return Err(Failure::new("no TLS is wanted")) };
        let name = ServerName::try_from(host.trim_end_matches('.'))
            .map_err(|_| Failure::new(format_args!("{host} is no name that a certificate can have")))?;
        UnbufferedClientConnection::new(Arc::clone(config), name.to_owned())
            .map(Connection::Client)
            .map_err(Failure::new)
    }
}

/// How to do TLS with every route's hosts, in the order of the configuration.
#[derive(Clone, Debug)]
pub struct Dials {
    dials: Box<[Dial]>,
    /// Whom verified certificates have to be signed by, a sentence a source.
    sources: Vec<String>,
}

impl Dials {
    /// Reads the authorities that the routes need. `Err`: what is wrong, a sentence a mistake.
    pub fn load(config: &Config) -> Result<Self, Vec<String>> {
        let (mut trusts, mut mistakes) = (Trusts::default(), Vec::new());
        let mut dial = |via: &Via| match via {
            Via::Smarthost(host) => of_smarthost(host, config, &mut trusts),
            Via::Mx(mx) => verified(mx.tls, TlsStart::StartTls, None, None, config, &mut trusts),
            Via::Maildir(_) | Via::Lmtp(_) | Via::Reject | Via::Discard => Ok(Dial::CLEAR),
        };
        let dials = config
            .route
            .iter()
            .map(|route| {
                dial(&route.via).unwrap_or_else(|mistake| {
                    mistakes.push(mistake);
                    Dial::CLEAR
                })
            })
            .collect();
        if mistakes.is_empty() { Ok(Self { dials, sources: trusts.sources }) } else { Err(mistakes) }
    }

    /// That of a route; in the clear where there is no such route.
    pub fn of(&self, route: u16) -> &Dial {
        self.dials.get(usize::from(route)).unwrap_or(&Dial::CLEAR)
    }

    /// Whom servers' certificates have to be signed by, a sentence a source.
    pub fn sources(&self) -> &[String] {
        &self.sources
    }

    /// True if any route may use TLS.
    pub fn is_wanted(config: &Config) -> bool {
        config.route.iter().any(|route| match &route.via {
            Via::Smarthost(host) => host.tls != TlsStrictness::None,
            Via::Mx(mx) => mx.tls != TlsStrictness::None,
            Via::Maildir(_) | Via::Lmtp(_) | Via::Reject | Via::Discard => false,
        })
    }
}

/// Starts TLS with servers: how each route wants it, and room for it.
pub struct Dialler {
    dials: Dials,
    rooms: Rooms,
}

impl Dialler {
    /// A dialler with room for `deliveries` at once, if there is any need; see [`Rooms::new`].
    pub fn new(dials: Dials, deliveries: usize, heap_octets: usize) -> Self {
        let is_wanted = dials.dials.iter().any(Dial::is_wanted);
        Self { dials, rooms: Rooms::new(if is_wanted { deliveries } else { 0 }, heap_octets) }
    }

    /// True if there is room for TLS with anybody, which is made at the start alone.
    pub fn is_ready(&self) -> bool {
        self.rooms.is_made()
    }

    /// How TLS is to be done with the hosts of a route.
    pub fn dial(&self, route: u16) -> &Dial {
        self.dials.of(route)
    }

    /// Our side of a session with the host of that name or address, as a route wants it.
    pub fn connect(&self, route: u16, host: &str) -> Result<Loan, Failure> {
        let connection = self.dial(route).connection(host)?;
        self.rooms
            .lend(|| Ok::<_, Failure>(connection))
            .ok_or_else(|| Failure::new("no room for another TLS session now"))
    }

    /// Other routes for the sessions to come.
    pub fn renew(&mut self, dials: Dials) {
        self.dials = dials;
    }
}

fn of_smarthost(host: &Smarthost, config: &Config, trusts: &mut Trusts) -> Result<Dial, String> {
    let (ca_file, pin) = (host.ca_file.as_deref(), host.certificate_sha256.as_deref());
    verified(host.tls, host.tls_start, ca_file, pin, config, trusts)
}

fn verified(
    strictness: TlsStrictness,
    start: TlsStart,
    ca_file: Option<&Path>,
    pin: Option<&str>,
    config: &Config,
    trusts: &mut Trusts,
) -> Result<Dial, String> {
    let verifier = match (strictness, pin) {
        (TlsStrictness::None, _) => return Ok(Dial::CLEAR),
        (_, Some(pin)) => Verifier::Pinned(octets(pin).ok_or("route.certificate_sha256 is no fingerprint")?),
        (TlsStrictness::Verify, None) => Verifier::Chain(trusts.verifier(ca_file, config)?),
        (TlsStrictness::Encrypt | TlsStrictness::Opportunistic, None) => Verifier::Any,
    };
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| format!("tls: {e}"))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.max_fragment_size = Some(TLS_RECORD_OCTETS);
    Ok(Dial { strictness, start, config: Some(Arc::new(config)), is_pinned: pin.is_some() })
}

/// The octets that 64 hex digits stand for.
fn octets(hex: &str) -> Option<[u8; 32]> {
    let mut octets = [0; 32];
    for (place, digits) in octets.iter_mut().zip(hex.as_bytes().chunks(2)) {
        *place = u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?;
    }
    (hex.len() == 64).then_some(octets)
}

/// Authorities that were read already, by the file they came from; `None`: those built in.
#[derive(Default)]
struct Trusts {
    read: Vec<(Option<PathBuf>, Arc<Trust>)>,
    sources: Vec<String>,
}

impl Trusts {
    /// The verifier for a route's own file, else for that of `[tls]`, else for the system's, else
    /// for what is built in.
    fn verifier(&mut self, file: Option<&Path>, config: &Config) -> Result<Arc<Trust>, String> {
        let (key, named) = match (file, &config.tls.ca_file) {
            (Some(file), _) => ("route.ca_file", Some(file)),
            (None, Some(file)) => ("tls.ca_file", Some(file.as_path())),
            (None, None) => ("the system's authorities", None),
        };
        let system = || BUNDLES.iter().map(Path::new).find(|file| file.exists());
        let file = named.or_else(system);
        if let Some((_, known)) = self.read.iter().find(|(known, _)| known.as_deref() == file) {
            return Ok(Arc::clone(known));
        }
        let (mut roots, mut own) = (RootCertStore::empty(), Vec::new());
        match file {
            Some(file) => {
                let shown = file.display();
                certificates(file, |authority| {
                    if named.is_some() && certificate::is_self_signed(&authority) {
                        own.push(sum(&authority));
                    }
                    // One that is odd is no reason to do without the others.
                    let _ = roots.add(authority);
                })
                .map_err(|e| format!("{key}: {shown} {e}"))?;
                if roots.is_empty() {
                    return Err(format!("{key}: {shown} has no certificate of an authority in PEM form"));
                }
                self.sources.push(format!("{shown} ({} authorities)", roots.len()));
            }
            None => {
                roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
                self.sources.push(format!("what is built in ({} authorities)", roots.len()));
            }
        }
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
            .build()
            .map_err(|e| format!("{key}: {e}"))?;
        let trust = Arc::new(Trust { chain: verifier, own });
        self.read.push((file.map(Path::to_owned), Arc::clone(&trust)));
        Ok(trust)
    }
}

/// Whom a file of authorities makes believable.
#[derive(Debug)]
struct Trust {
    chain: Arc<WebPkiServerVerifier>,
    /// SHA-256 of the self-signed certificates of a file that a person named: such a server is its own
    /// authority.
    own: Vec<[u8; 32]>,
}

impl Trust {
    fn has(&self, certificate: &[u8]) -> bool {
        self.own.contains(&sum(certificate))
    }
}

/// SHA-256 of a certificate.
fn sum(certificate: &[u8]) -> [u8; 32] {
    let sum = ring::digest::digest(&ring::digest::SHA256, certificate);
    sum.as_ref().try_into().unwrap_or_default()
}

/// Who is believed to be the server.
#[derive(Debug)]
enum Verifier {
    /// Anybody: against those who only listen.
    Any,
    /// Who has the certificate with this SHA-256.
    Pinned([u8; 32]),
    /// Who has a certificate for the name, signed by an authority.
    Chain(Arc<Trust>),
}

/// Why a certificate is not taken, where rustls has no word for it.
#[derive(Debug)]
enum Refusal {
    SelfSigned,
    NotPinned,
}

impl Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SelfSigned => "the server's certificate is self-signed: pin it, or name its authority",
            Self::NotPinned => "the server's certificate is another one than certificate_sha256 says",
        })
    }
}

impl std::error::Error for Refusal {}

fn refuse(refusal: Refusal) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(refusal))))
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self {
            Self::Any => Ok(ServerCertVerified::assertion()),
            Self::Pinned(pin) => {
                if sum(end_entity) == *pin {
                    Ok(ServerCertVerified::assertion())
                } else {
                    Err(refuse(Refusal::NotPinned))
                }
            }
            Self::Chain(trust) => {
                let verified = trust.chain.verify_server_cert(
                    end_entity,
                    intermediates,
                    server_name,
                    ocsp_response,
                    now,
                );
                match verified {
                    Err(Error::InvalidCertificate(
                        CertificateError::UnknownIssuer | CertificateError::Other(_),
                    )) if certificate::is_self_signed(end_entity) => {
                        // An authority that is a server itself. Its dates were found right before this.
                        if !trust.has(end_entity) {
                            return Err(refuse(Refusal::SelfSigned));
                        }
                        let parsed = ParsedCertificate::try_from(end_entity)?;
                        verify_server_name(&parsed, server_name)?;
                        Ok(ServerCertVerified::assertion())
                    }
                    other => other,
                }
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = provider().signature_verification_algorithms;
        match self {
            // It proves that the server is who nobody asked it to be.
            Self::Any => Ok(HandshakeSignatureValid::assertion()),
            _ => rustls::crypto::verify_tls12_signature(message, certificate, signature, &algorithms),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = provider().signature_verification_algorithms;
        match self {
            Self::Any => Ok(HandshakeSignatureValid::assertion()),
            _ => rustls::crypto::verify_tls13_signature(message, certificate, signature, &algorithms),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
