//! Names in a certificate (RFC 5280 4.1), for words about it. Nothing is decided by them.

use std::fmt::{self, Display};

/// Tags of DER that are looked for.
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT: u8 = 0x06;
const VERSION: u8 = 0xa0;
/// The object identifiers of common name and organization, without tag and length.
const COMMON_NAME: &[u8] = &[0x55, 4, 3];
const ORGANIZATION: &[u8] = &[0x55, 4, 10];

/// An element of DER: its tag, what is in it, and what stands behind it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (octets, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81 => (usize::from(*rest.first()?), &rest[1..]),
        0x82 => (usize::from(u16::from_be_bytes(rest.get(..2)?.try_into().ok()?)), &rest[2..]),
        _ => return None,
    };
    let (inside, behind) = rest.split_at_checked(octets)?;
    Some((tag, inside, behind))
}

/// What is in an element of that tag, and what stands behind it.
fn within(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    element(der).filter(|(found, ..)| *found == tag).map(|(_, inside, behind)| (inside, behind))
}

/// Issuer and subject of a certificate.
pub fn names(certificate: &[u8]) -> Option<(Name<'_>, Name<'_>)> {
    let (certificate, _) = within(SEQUENCE, certificate)?;
    let (signed, _) = within(SEQUENCE, certificate)?;
    let rest = within(VERSION, signed).map_or(signed, |(_, behind)| behind);
    // Serial number, algorithm.
    let rest = element(element(rest)?.2)?.2;
    let (issuer, rest) = within(SEQUENCE, rest)?;
    // Validity.
    let rest = element(rest)?.2;
    let (subject, _) = within(SEQUENCE, rest)?;
    Some((Name(issuer), Name(subject)))
}

/// True if a certificate names itself as its issuer.
pub fn is_self_signed(certificate: &[u8]) -> bool {
    names(certificate).is_some_and(|(issuer, subject)| issuer.0 == subject.0)
}

/// The name of a subject or issuer; shown by its common name, else by its organization.
#[derive(Clone, Copy, Debug)]
pub struct Name<'a>(&'a [u8]);

impl<'a> Name<'a> {
    fn part(self, wanted: &[u8]) -> Option<&'a [u8]> {
        let mut rest = self.0;
        while let Some((set, behind)) = within(SET, rest) {
            let (pair, _) = within(SEQUENCE, set)?;
            let (object, value) = within(OBJECT, pair)?;
            if object == wanted {
                return element(value).map(|(_, text, _)| text);
            }
            rest = behind;
        }
        None
    }
}

impl Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.part(COMMON_NAME).or_else(|| self.part(ORGANIZATION)) {
            Some(name) => String::from_utf8_lossy(name).escape_debug().fmt(f),
            None => f.write_str("(without a name)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    use super::*;

    fn certificate(pem: &[u8]) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(pem).unwrap()
    }

    #[test]
    fn names_are_found() {
        let ours = certificate(include_bytes!("../../../tests/support/tls/p256.pem"));
        let (issuer, subject) = names(&ours).unwrap();
        assert_eq!(
            (issuer.to_string(), subject.to_string()),
            ("pillarbox test authority".into(), "relay.test".into())
        );
        assert!(!is_self_signed(&ours));
        assert!(is_self_signed(&certificate(include_bytes!("../../../tests/support/tls/ca.pem"))));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn damage_is_no_danger(at in 0usize..400, octet in any::<u8>(), cut in 0usize..500) {
            let mut der = certificate(include_bytes!("../../../tests/support/tls/rsa2048.pem")).to_vec();
            der[at] = octet;
            der.truncate(der.len().saturating_sub(cut));
            if let Some((issuer, subject)) = names(&der) {
                prop_assert!(issuer.to_string().len() + subject.to_string().len() < 8 * der.len());
            }
        }
    }
}
