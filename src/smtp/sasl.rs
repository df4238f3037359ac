//! SASL without cryptography (RFC 4422): what the messages of each mechanism say, on both sides.
//!
//! The core reads and writes messages. Whatever needs a key, a password, a random number or the users
//! file is a question: [`exchange::Request`] for the server, a challenge handed out for the client. So
//! the same code runs where there is no cryptography, and no session waits for a slow hash.

pub mod exchange;
pub mod scram;

use core::fmt;

use base64ct::{Base64, Encoding};
use heapless::{String, Vec};

use crate::limits::USER_OCTETS;

/// A user's name as it authenticates: UTF-8 without control characters, compared octet by octet.
pub type Name = String<USER_OCTETS>;

/// SASL mechanisms (RFC 4954) that are known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// RFC 4616.
    Plain,
    /// Older than its rules, and the one that old servers know.
    Login,
    /// RFC 2195.
    CramMd5,
    /// RFC 7677.
    ScramSha256,
    /// Google's and Microsoft's forerunner of OAUTHBEARER.
    XOauth2,
    /// RFC 7628.
    OauthBearer,
}

impl Mechanism {
    /// Every mechanism.
    pub const ALL: [Self; 6] =
        [Self::Plain, Self::Login, Self::CramMd5, Self::ScramSha256, Self::XOauth2, Self::OauthBearer];

    /// The name in the EHLO reply.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
            Self::CramMd5 => "CRAM-MD5",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::XOauth2 => "XOAUTH2",
            Self::OauthBearer => "OAUTHBEARER",
        }
    }

    /// The mechanism of this name, in any case.
    pub fn parse(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name().as_bytes().eq_ignore_ascii_case(name))
    }

    /// True if who listens can use again what is sent.
    pub const fn exposes(self) -> bool {
        !matches!(self, Self::CramMd5 | Self::ScramSha256)
    }
}

/// A set of mechanisms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mechanisms(u8);

impl Mechanisms {
    /// The empty set.
    pub const NONE: Self = Self(0);

    /// This set and `mechanism`.
    #[must_use]
    pub const fn with(self, mechanism: Mechanism) -> Self {
        Self(self.0 | 1 << mechanism as u8)
    }

    /// What is in both sets.
    #[must_use]
    pub const fn both(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// True if `mechanism` is in the set.
    pub const fn contains(self, mechanism: Mechanism) -> bool {
        self.0 & 1 << mechanism as u8 != 0
    }

    /// True if nothing is in it.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// All that are in it.
    pub fn iter(self) -> impl Iterator<Item = Mechanism> {
        Mechanism::ALL.into_iter().filter(move |mechanism| self.contains(*mechanism))
    }
}

/// The names, as they stand in the EHLO reply.
impl fmt::Display for Mechanisms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut before = "";
        for mechanism in self.iter() {
            write!(f, "{before}{}", mechanism.name())?;
            before = " ";
        }
        Ok(())
    }
}

/// Octets that are never shown: a password, a token, or what was made of one.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret<const N: usize>(Vec<u8, N>);

impl<const N: usize> Secret<N> {
    /// A copy of `octets`, or `None` if they are more than fit.
    pub fn new(octets: &[u8]) -> Option<Self> {
        Vec::from_slice(octets).ok().map(Self)
    }

    /// Nothing yet.
    pub const fn empty() -> Self {
        Self(Vec::new())
    }

    /// Adds `octets`, or nothing and false if they don't fit.
    #[must_use]
    pub fn push(&mut self, octets: &[u8]) -> bool {
        self.0.extend_from_slice(octets).is_ok()
    }

    /// The octets.
    pub fn octets(&self) -> &[u8] {
        &self.0
    }
}

impl<const N: usize> fmt::Debug for Secret<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
}

/// Why a message in base64 can't be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Not base64 (RFC 4648 4), its padding included.
    Malformed,
    /// More octets than there is room for.
    TooLong,
}

/// Undoes the base64 of `text` into `room`.
pub fn decode<'r>(text: &[u8], room: &'r mut [u8]) -> Result<&'r [u8], Fault> {
    if text.len().div_ceil(4) > room.len() / 3 {
        return Err(Fault::TooLong);
    }
    Base64::decode(text, room).map_err(|_| Fault::Malformed)
}

/// `octets` in base64, into `room`; `None` if it is too small.
pub fn encode<'r>(octets: &[u8], room: &'r mut [u8]) -> Option<&'r str> {
    Base64::encode(octets, room).ok()
}

/// A name as a client gave it: UTF-8, not empty, no control characters, of a bounded length. It is not
/// prepared (RFC 4013): only names of the same octets are the same.
pub fn name(octets: &[u8]) -> Option<Name> {
    let text = core::str::from_utf8(octets).ok()?;
    let fits = !text.is_empty() && !text.chars().any(char::is_control);
    fits.then(|| Name::try_from(text).ok()).flatten()
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::string::ToString;
    use std::{format, vec};

    use proptest::prelude::*;

    use super::{Fault, Mechanism, Mechanisms, Secret, decode, encode, name};

    #[test]
    fn mechanisms_are_known_by_name() {
        let mut set = Mechanisms::NONE;
        for mechanism in Mechanism::ALL {
            assert_eq!(Mechanism::parse(mechanism.name().to_lowercase().as_bytes()), Some(mechanism));
            assert!(!set.contains(mechanism));
            set = set.with(mechanism);
        }
        assert_eq!(set.to_string(), "PLAIN LOGIN CRAM-MD5 SCRAM-SHA-256 XOAUTH2 OAUTHBEARER");
        assert_eq!(Mechanism::parse(b"PLAINX"), None);
        assert!(set.both(Mechanisms::NONE).is_empty());
    }

    #[test]
    fn a_secret_is_not_shown() {
        let secret = Secret::<16>::new(b"hunter2").unwrap();
        assert_eq!(format!("{secret:?} {:?}", Some(&secret)), "[hidden] Some([hidden])");
        assert!(Secret::<3>::new(b"long").is_none());
    }

    #[test]
    fn base64_is_strict_and_bounded() {
        let mut room = [0; 6];
        assert_eq!(decode(b"AGEA", &mut room), Ok(&b"\0a\0"[..]));
        assert_eq!(decode(b"", &mut room), Ok(&b""[..]));
        for bad in ["A", "AG", "AGE", "AG=A", "====", "A G A", "AGEA\n", "\u{e9}AA"] {
            assert_eq!(decode(bad.as_bytes(), &mut room), Err(Fault::Malformed), "{bad:?}");
        }
        assert_eq!(decode(b"AAAAAAAAAAAA", &mut room), Err(Fault::TooLong));
    }

    #[test]
    fn names_are_text_of_a_bounded_length() {
        assert_eq!(name("j\u{fc}rgen".as_bytes()).as_deref(), Some("j\u{fc}rgen"));
        for bad in [&b""[..], b"a\nb", b"\xff", &[b'x'; 65]] {
            assert_eq!(name(bad), None);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn base64_comes_back(octets in prop::collection::vec(any::<u8>(), 0..200)) {
            let (mut text, mut back) = (vec![0; 300], vec![0; 300]);
            let text = encode(&octets, &mut text).unwrap();
            prop_assert_eq!(decode(text.as_bytes(), &mut back), Ok(octets.as_slice()));
        }

        #[test]
        fn any_octets_can_be_decoded(octets in prop::collection::vec(any::<u8>(), 0..100), room in 0usize..80) {
            let _ = decode(&octets, &mut vec![0; room]);
            let _ = name(&octets);
        }
    }
}
