//! Why TLS came to nothing, in words that help a person: what the peer tried, what is wrong with
//! whose certificate.

use std::fmt::{self, Display, Write};

use heapless::{String, Vec};
use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible};

use crate::limits::REPLY_TEXT_OCTETS;
use crate::relay::notes::Note;

/// What a peer sent first: up to the version in its ClientHello (RFC 8446 4.1.2, 5.1).
pub(super) type First = Vec<u8, 11>;

/// Which side we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Server,
    Client,
}

/// The reason, printable ASCII, short enough for a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    text: String<REPLY_TEXT_OCTETS>,
    note: Note,
}

impl Failure {
    /// The words of `reason`, cut where they do not fit.
    pub fn new(reason: impl Display) -> Self {
        struct Cut(String<REPLY_TEXT_OCTETS>);
        impl Write for Cut {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                let shown = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
                text.chars().try_for_each(|c| self.0.push(shown(c)).map_err(|_| fmt::Error))
            }
        }
        let mut cut = Cut(String::new());
        // The only error is that it is full.
        let _ = write!(cut, "{reason}");
        Self { text: cut.0, note: Note::TlsFailed }
    }

    /// The words.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What is kept in mind about a client.
    pub fn note(&self) -> Note {
        self.note
    }

    pub(super) fn of(error: &Error, side: Side, first: &First, in_handshake: bool) -> Self {
        let other = match side {
            Side::Server => "client",
            Side::Client => "server",
        };
        if in_handshake && let Some(odd) = no_hello(first, side) {
            return odd;
        }
        match error {
            Error::PeerIncompatible(why) => incompatible(why, side, first),
            Error::InvalidCertificate(why) => Self::new(Certificate(why)),
            Error::AlertReceived(alert) => Self::new(format_args!("the {other} refused: {}", Alert(*alert))),
            Error::InvalidMessage(InvalidMessage::HandshakePayloadTooLarge) => {
                Self::new(format_args!("the {other} sent a handshake message larger than any sensible one"))
            }
            Error::InvalidMessage(_) => Self::new(format_args!("the {other} sent what is no TLS")),
            Error::General(words) => Self::new(words),
            other => Self::new(other),
        }
    }
}

impl std::error::Error for Failure {}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What came first, if it was no TLS handshake that we could take up.
fn no_hello(first: &First, side: Side) -> Option<Failure> {
    match (side, first.as_slice()) {
        (Side::Server, [0x80..=0xff, _, 1, ..]) => {
            Some(Failure::new("tried SSL 2.0: only TLS 1.2 and 1.3 are taken"))
        }
        (Side::Server, [b'A'..=b'Z' | b'a'..=b'z', ..]) => {
            let failure = Failure::new("SMTP on a TLS port: spoke in the clear where TLS was due");
            Some(Failure { note: Note::SmtpOnTlsPort, ..failure })
        }
        (Side::Client, [b'0'..=b'9', ..]) => {
            Some(Failure::new("the server speaks in the clear where TLS is due"))
        }
        _ => None,
    }
}

fn incompatible(why: &PeerIncompatible, side: Side, first: &First) -> Failure {
    let tried = match first.as_slice() {
        [22, _, _, _, _, 1, _, _, _, 3, 0] => Some(("SSL 3.0", Note::Ssl30)),
        [22, _, _, _, _, 1, _, _, _, 3, 1] => Some(("TLS 1.0", Note::Tls10)),
        [22, _, _, _, _, 1, _, _, _, 3, 2] => Some(("TLS 1.1", Note::Tls11)),
        _ => None,
    };
    match (side, tried, why) {
        (Side::Server, Some((version, note)), _) => {
            let failure = Failure::new(format_args!("tried {version}: only TLS 1.2 and 1.3 are taken"));
            Failure { note, ..failure }
        }
        (Side::Client, _, PeerIncompatible::ServerDoesNotSupportTls12Or13) => {
            Failure::new("the server knows neither TLS 1.2 nor 1.3")
        }
        (_, _, PeerIncompatible::NoCipherSuitesInCommon) => Failure::new("no cipher suite in common"),
        (_, _, PeerIncompatible::NoKxGroupsInCommon) => Failure::new("no key exchange in common"),
        (_, _, PeerIncompatible::NoSignatureSchemesInCommon) => {
            Failure::new("no kind of signature in common: the certificate's key is too new or too old for it")
        }
        _ => Failure::new(format_args!("nothing in common: {why:?}")),
    }
}

/// An alert by its registered name, and what it means where that is known.
struct Alert(AlertDescription);

impl Display for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let means = match self.0 {
            AlertDescription::UnknownCA => "it does not know who signed our certificate",
            AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnsupportedCertificate => "it does not like our certificate",
            AlertDescription::CertificateExpired => "it takes our certificate for expired",
            AlertDescription::ProtocolVersion => "no version of TLS in common",
            AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity => {
                "no cipher suite in common"
            }
            AlertDescription::UnrecognisedName => "it does not know this server name",
            AlertDescription::UserCanceled | AlertDescription::CloseNotify => "it gave up",
            _ => return write!(f, "alert {:?}", self.0),
        };
        write!(f, "{means} (alert {:?})", self.0)
    }
}

/// What is wrong with a server's certificate.
struct Certificate<'a>(&'a CertificateError);

impl Display for Certificate<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                f.write_str("the server's certificate has expired")
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                f.write_str("the server's certificate is not valid yet")
            }
            CertificateError::NotValidForName => f.write_str("the server's certificate is for another name"),
            CertificateError::NotValidForNameContext { expected, presented } => {
                write!(f, "the server's certificate is not for {}", expected.to_str())?;
                let mut before = " but for ";
                for name in presented {
                    let name = name
                        .split_once("(\"")
                        .map_or(name.as_str(), |(_, name)| name.trim_end_matches("\")"));
                    write!(f, "{before}{name}")?;
                    before = ", ";
                }
                Ok(())
            }
            CertificateError::UnknownIssuer => {
                f.write_str("the server's certificate is signed by an authority that is not trusted here")
            }
            CertificateError::Other(other) => write!(f, "{}", other.0),
            other => write!(f, "the server's certificate is not right: {other}"),
        }
    }
}
