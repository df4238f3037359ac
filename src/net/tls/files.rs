//! Certificates and keys in PEM form.

use std::fs::File;
use std::io::{BufReader, Read, Take};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::limits::CERTIFICATE_FILE_OCTETS;

/// Others than owner and group may read.
const READ_BY_OTHERS: u32 = 0o004;

/// Opens a file that is not larger than any sensible one.
fn open(file: &Path) -> Result<BufReader<Take<File>>, String> {
    let unreadable = |e| format!("can't be read: {e}");
    let opened = File::open(file).map_err(unreadable)?;
    let octets = opened.metadata().map_err(unreadable)?.len();
    if octets > CERTIFICATE_FILE_OCTETS {
        return Err(format!("has {octets} octets: at most {CERTIFICATE_FILE_OCTETS} are read"));
    }
    Ok(BufReader::new(opened.take(CERTIFICATE_FILE_OCTETS)))
}

/// Gives the certificates of a file, one after the other. `Err`: what is wrong with it, to follow its name.
pub(super) fn certificates(file: &Path, mut give: impl FnMut(CertificateDer<'static>)) -> Result<(), String> {
    for certificate in CertificateDer::pem_reader_iter(open(file)?) {
        give(certificate.map_err(|e| format!("is no PEM: {e}"))?);
    }
    Ok(())
}

/// The private key of a file that nobody but its owner and group can read. `Err`: as above.
pub(super) fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let reader = open(file)?;
    let metadata = reader.get_ref().get_ref().metadata().map_err(|e| format!("can't be read: {e}"))?;
    if metadata.permissions().mode() & READ_BY_OTHERS != 0 {
        return Err("can be read by everybody on this machine: chmod o-r it".to_owned());
    }
    PrivateKeyDer::from_pem_reader(reader)
        .map_err(|_| "has no private key in PEM form that needs no password".to_owned())
}
