//! Certificates made for one test by the `openssl` program, and a client of TLS.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::{PATIENCE, peers};

/// A certificate chain and its key, as files.
#[derive(Clone, Debug)]
pub struct Pair {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// An authority that only this test trusts.
pub struct Authority {
    folder: PathBuf,
    pair: Pair,
}

fn openssl(arguments: &str, folder: &Path) -> Option<String> {
    let mut command = Command::new(peers::find_in_system("openssl")?);
    command.args(arguments.split_whitespace()).current_dir(folder);
    Some(peers::succeed(&mut command, b""))
}

/// Makes a key: `RSA:2048`, `EC:P-256`, `ED25519`.
fn key(kind: &str, file: &Path, folder: &Path) -> Option<()> {
    let (algorithm, option) = match kind.split_once(':') {
        Some(("RSA", bits)) => ("RSA", format!("-pkeyopt rsa_keygen_bits:{bits}")),
        Some((algorithm, curve)) => (algorithm, format!("-pkeyopt ec_paramgen_curve:{curve}")),
        None => (kind, String::new()),
    };
    openssl(&format!("genpkey -algorithm {algorithm} {option} -out {}", file.display()), folder)?;
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).expect("the key's mode");
    Some(())
}

impl Authority {
    /// `None`: there is no `openssl`, which was said.
    pub fn new(folder: &Path, name: &str) -> Option<Self> {
        let pair = self_signed(folder, name, "basicConstraints=critical,CA:TRUE")?;
        Some(Self { folder: folder.to_owned(), pair })
    }

    /// The file with its certificate.
    pub fn file(&self) -> &Path {
        &self.pair.certificate
    }

    /// A certificate for localhost and relay.test.
    pub fn issue(&self, name: &str, kind: &str) -> Pair {
        self.issue_for(name, kind, "DNS:localhost,DNS:relay.test,IP:127.0.0.1", 30)
    }

    /// A certificate for these names and so many days; fewer than none: it has expired.
    pub fn issue_for(&self, name: &str, kind: &str, names: &str, days: i32) -> Pair {
        let file = |ending: &str| self.folder.join(format!("{name}.{ending}"));
        let pair = Pair { certificate: file("pem"), key: file("key") };
        key(kind, &pair.key, &self.folder).expect("openssl was there before");
        fs::write(file("ext"), format!("subjectAltName={names}\nbasicConstraints=CA:FALSE\n"))
            .expect("a file");
        let authority = &self.pair;
        openssl(
            &format!("req -new -key {} -subj /CN={name} -out {}", pair.key.display(), file("csr").display()),
            &self.folder,
        );
        openssl(
            &format!(
                "x509 -req -in {} -CA {} -CAkey {} -CAcreateserial -days {days} -extfile {} -out {}",
                file("csr").display(),
                authority.certificate.display(),
                authority.key.display(),
                file("ext").display(),
                pair.certificate.display()
            ),
            &self.folder,
        );
        pair
    }
}

/// A certificate that has signed itself.
pub fn self_signed(folder: &Path, name: &str, extension: &str) -> Option<Pair> {
    self_signed_for(folder, name, extension, 30)
}

/// The same for so many days; fewer than none: it has expired.
pub fn self_signed_for(folder: &Path, name: &str, extension: &str, days: i32) -> Option<Pair> {
    let pair =
        Pair { certificate: folder.join(format!("{name}.pem")), key: folder.join(format!("{name}.key")) };
    key("EC:P-256", &pair.key, folder)?;
    let (certificate, key) = (pair.certificate.display(), pair.key.display());
    let request = format!("{name}.csr");
    openssl(&format!("req -new -key {key} -subj /CN={name} -addext {extension} -out {request}"), folder)?;
    // Like `req -x509`, which makes authorities of them, but that takes no past.
    let authority = if extension.contains("CA:") { "" } else { "basicConstraints=CA:TRUE\n" };
    fs::write(folder.join(format!("{name}.ext")), format!("{authority}{extension}\n")).expect("a file");
    openssl(
        &format!(
            "x509 -req -in {request} -signkey {key} -days {days} -extfile {name}.ext -out {certificate}"
        ),
        folder,
    )?;
    Some(pair)
}

/// The SHA-256 of the first certificate of a file, in hex.
pub fn fingerprint(file: &Path) -> String {
    let certificate = CertificateDer::from_pem_file(file).expect("a certificate");
    let sum = ring::digest::digest(&ring::digest::SHA256, &certificate);
    sum.as_ref().iter().map(|octet| format!("{octet:02x}")).collect()
}

/// A client that trusts one authority and has no memory of sessions.
pub fn client_config(authority: &Path) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority).expect("a certificate")).expect("an authority");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    Arc::new(config)
}

/// TLS over a connection; the handshake is done by the first write or read.
pub fn over(stream: TcpStream, config: &Arc<ClientConfig>) -> StreamOwned<ClientConnection, TcpStream> {
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    let name = ServerName::try_from("localhost").expect("a name");
    StreamOwned::new(ClientConnection::new(Arc::clone(config), name).expect("a client"), stream)
}

/// Says `line` and reads one whole reply.
pub fn ask(stream: &mut (impl Read + Write), line: &str) -> String {
    stream
        .write_all(line.as_bytes())
        .and_then(|()| stream.write_all(b"\r\n"))
        .expect("the relay takes what is sent");
    reply(stream)
}

/// One whole reply.
pub fn reply(stream: &mut impl Read) -> String {
    let mut text = String::new();
    loop {
        let start = text.len();
        while !text.ends_with("\r\n") || text.len() == start {
            let mut octet = [0];
            stream.read_exact(&mut octet).expect("a reply");
            text.push(char::from(octet[0]));
        }
        if text.as_bytes().get(start + 3) == Some(&b' ') {
            return text;
        }
    }
}
