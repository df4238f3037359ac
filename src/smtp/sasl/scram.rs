//! The messages of SCRAM-SHA-256 (RFC 5802, RFC 7677), without channel binding; both sides.
//!
//! ```text
//! C: n,,n=user,r=cnonce                          First
//! S: r=cnonce+snonce,s=salt,i=4096               Challenged, ServerFirst
//! C: c=biws,r=cnonce+snonce,p=proof              Final
//! S: v=signature
//! ```
//!
//! Proof and signature are sums over the first three messages; whoever has the keys makes them of
//! [`Final::auth_message`].

use core::fmt::Write;
use core::str;

use heapless::{String, Vec};

use super::{Name, decode, name};
use crate::limits::{ITERATIONS, NONCE_OCTETS, SALT_OCTETS, USER_OCTETS};

/// Octets of a SHA-256 sum, and so of keys, proofs and signatures.
pub const SUM_OCTETS: usize = 32;
/// Octets that our server adds to the client's nonce.
pub const SERVER_NONCE_OCTETS: usize = 24;
/// Octets of a salt in base64.
pub const SALT_TEXT_OCTETS: usize = SALT_OCTETS.div_ceil(3) * 4;
/// Octets of a sum in base64.
pub const SUM_TEXT_OCTETS: usize = SUM_OCTETS.div_ceil(3) * 4;

/// The client's first message without its GS2 header: a name with every octet escaped, and a nonce.
const BARE_OCTETS: usize = 3 * USER_OCTETS + NONCE_OCTETS + 8;
/// Both nonces.
const NONCES_OCTETS: usize = NONCE_OCTETS + SERVER_NONCE_OCTETS;
/// The server's first message.
const SERVER_FIRST_OCTETS: usize = NONCES_OCTETS + SALT_TEXT_OCTETS + 32;
/// The client's last message without its proof.
const WITHOUT_PROOF_OCTETS: usize = NONCES_OCTETS + 16;

/// The text of a server's first message.
pub type ServerFirstText = String<SERVER_FIRST_OCTETS>;

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It does not follow the grammar of RFC 5802 7, or is longer than it may be.
    Malformed,
    /// It asks for channel binding, which is not offered.
    ChannelBinding,
    /// It wants to act for another user, or needs an extension that nobody has heard of.
    Unsupported,
    /// It belongs to another exchange.
    Mismatch,
}

/// What the GS2 header says of channel binding; the last message has to repeat it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Binding {
    /// `n`: the client can't.
    No,
    /// `y`: the client could, and saw that the server can't.
    NotOffered,
}

/// The client's first message, as the server has read it.
#[derive(Clone, Debug)]
pub struct First {
    /// Who wants to authenticate.
    pub name: Name,
    binding: Binding,
    bare: String<BARE_OCTETS>,
}

impl First {
    /// Reads the message.
    pub fn parse(message: &[u8]) -> Result<Self, Fault> {
        let text = str::from_utf8(message).map_err(|_| Fault::Malformed)?;
        let (binding, rest) = match text.split_once(',') {
            Some(("n", rest)) => (Binding::No, rest),
            Some(("y", rest)) => (Binding::NotOffered, rest),
            Some((flag, _)) if flag.starts_with("p=") => return Err(Fault::ChannelBinding),
            _ => return Err(Fault::Malformed),
        };
        let bare = match rest.split_once(',') {
            Some(("", bare)) => bare,
            Some((authzid, _)) if authzid.starts_with("a=") => return Err(Fault::Unsupported),
            _ => return Err(Fault::Malformed),
        };
        if bare.starts_with("m=") {
            return Err(Fault::Unsupported);
        }
        let mut parts = bare.split(',');
        let user = parts.next().and_then(|part| part.strip_prefix("n=")).ok_or(Fault::Malformed)?;
        let nonce = parts.next().and_then(|part| part.strip_prefix("r=")).ok_or(Fault::Malformed)?;
        if !is_nonce(nonce) || nonce.len() > NONCE_OCTETS {
            return Err(Fault::Malformed);
        }
        Ok(Self {
            name: unescaped(user)?,
            binding,
            bare: String::try_from(bare).map_err(|_| Fault::Malformed)?,
        })
    }

    /// The server's answer: the nonces joined, the salt in base64, the rounds of PBKDF2.
    pub fn challenge(
        &self,
        nonce: &[u8; SERVER_NONCE_OCTETS],
        salt: &str,
        iterations: u32,
    ) -> ServerFirstText {
        let theirs = self.bare.split(',').nth(1).unwrap_or_default();
        let ours = str::from_utf8(nonce).unwrap_or_default();
        let mut text = String::new();
        let written = write!(text, "{theirs}{ours},s={salt},i={iterations}");
        debug_assert!(written.is_ok(), "every part is bounded");
        text
    }
}

/// The exchange after the server's first message.
#[derive(Clone, Debug)]
pub struct Challenged {
    first: First,
    server_first: ServerFirstText,
}

impl Challenged {
    /// `challenge` was the answer to `first`; `None` if it can't have been.
    pub fn new(first: First, challenge: &[u8]) -> Option<Self> {
        let text = str::from_utf8(challenge).ok()?;
        Some(Self { first, server_first: String::try_from(text).ok()? })
    }

    /// Reads the client's last message.
    pub fn finish(self, message: &[u8]) -> Result<Final, Fault> {
        let text = str::from_utf8(message).map_err(|_| Fault::Malformed)?;
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or(Fault::Malformed)?;
        let mut parts = without_proof.split(',');
        let binding = parts.next().and_then(|part| part.strip_prefix("c=")).ok_or(Fault::Malformed)?;
        let nonce = parts.next().and_then(|part| part.strip_prefix("r=")).ok_or(Fault::Malformed)?;
        let expected = match self.first.binding {
            Binding::No => "biws",
            Binding::NotOffered => "eSws",
        };
        let ours = self.server_first.strip_prefix("r=").and_then(|rest| rest.split(',').next());
        if binding != expected || ours != Some(nonce) {
            return Err(Fault::Mismatch);
        }
        Ok(Final {
            without_proof: String::try_from(without_proof).map_err(|_| Fault::Malformed)?,
            proof: sum(proof.as_bytes()).ok_or(Fault::Malformed)?,
            challenged: self,
        })
    }
}

/// All three messages, and the client's proof, to be judged.
#[derive(Clone, Debug)]
pub struct Final {
    challenged: Challenged,
    without_proof: String<WITHOUT_PROOF_OCTETS>,
    /// The client's proof.
    pub proof: [u8; SUM_OCTETS],
}

impl Final {
    /// Who wants to authenticate.
    pub fn name(&self) -> &Name {
        &self.challenged.first.name
    }

    /// The text that proof and signature are made over (RFC 5802 3), in pieces.
    pub fn auth_message(&self) -> [&[u8]; 5] {
        let Challenged { first, server_first } = &self.challenged;
        [first.bare.as_bytes(), b",", server_first.as_bytes(), b",", self.without_proof.as_bytes()]
    }
}

/// What a server's first message says to a client.
#[derive(Clone, Debug)]
pub struct ServerFirst<'a> {
    /// Both nonces.
    pub nonce: &'a str,
    /// The salt.
    pub salt: Vec<u8, SALT_OCTETS>,
    /// Rounds of PBKDF2, within [`ITERATIONS`].
    pub iterations: u32,
}

impl<'a> ServerFirst<'a> {
    /// Reads the message; `nonce` is what the client said.
    pub fn parse(message: &'a [u8], nonce: &str) -> Result<Self, Fault> {
        let text = str::from_utf8(message).map_err(|_| Fault::Malformed)?;
        let mut parts = text.split(',');
        let mut part =
            |key: &str| parts.next().and_then(|part| part.strip_prefix(key)).ok_or(Fault::Malformed);
        let (joined, salt, iterations) = (part("r=")?, part("s=")?, part("i=")?);
        if !joined.starts_with(nonce) || joined.len() == nonce.len() || !is_nonce(joined) {
            return Err(Fault::Mismatch);
        }
        let mut room = [0; SALT_OCTETS + 2];
        let salt = decode(salt.as_bytes(), &mut room).map_err(|_| Fault::Malformed)?;
        let iterations = iterations.parse().ok().filter(|n| (ITERATIONS.0..=ITERATIONS.1).contains(n));
        Ok(Self {
            nonce: joined,
            salt: Vec::from_slice(salt).ok().filter(|salt| !salt.is_empty()).ok_or(Fault::Malformed)?,
            iterations: iterations.ok_or(Fault::Unsupported)?,
        })
    }
}

/// The signature in a server's last message; `None` if it has none (`e=...`).
pub fn signature(message: &[u8]) -> Option<[u8; SUM_OCTETS]> {
    let text = str::from_utf8(message).ok()?;
    sum(text.split(',').next()?.strip_prefix("v=")?.as_bytes())
}

/// A sum in base64.
pub fn sum(text: &[u8]) -> Option<[u8; SUM_OCTETS]> {
    let mut room = [0; SUM_OCTETS + 4];
    decode(text, &mut room).ok()?.try_into().ok()
}

/// A name as it is written in a message: `,` and `=` escaped (RFC 5802 5.1). `each` takes the pieces.
pub fn escape(name: &str, mut each: impl FnMut(&str)) {
    for piece in name.split_inclusive([',', '=']) {
        let (plain, escaped) = match piece.as_bytes().last() {
            Some(b',') => (&piece[..piece.len() - 1], "=2C"),
            Some(b'=') => (&piece[..piece.len() - 1], "=3D"),
            _ => (piece, ""),
        };
        each(plain);
        each(escaped);
    }
}

fn unescaped(text: &str) -> Result<Name, Fault> {
    let mut plain = String::<USER_OCTETS>::new();
    let mut rest = text;
    while let Some(at) = rest.find('=') {
        let (before, escape) = rest.split_at(at);
        let c = match escape.get(..3) {
            Some("=2C") => ',',
            Some("=3D") => '=',
            _ => return Err(Fault::Malformed),
        };
        plain.push_str(before).and_then(|()| plain.push(c)).map_err(|_| Fault::Malformed)?;
        rest = &escape[3..];
    }
    plain.push_str(rest).map_err(|_| Fault::Malformed)?;
    name(plain.as_bytes()).ok_or(Fault::Malformed)
}

/// Printable ASCII but the comma.
fn is_nonce(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_graphic() && octet != b',')
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::string::String;

    use proptest::prelude::*;

    use super::{Challenged, Fault, First, ServerFirst, escape, signature, unescaped};

    // RFC 7677 3.
    const CLIENT_FIRST: &str = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    const SERVER_FIRST: &str =
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    const CLIENT_FINAL: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";

    fn challenged() -> Challenged {
        Challenged::new(First::parse(CLIENT_FIRST.as_bytes()).unwrap(), SERVER_FIRST.as_bytes()).unwrap()
    }

    #[test]
    fn the_example_of_the_rfc_is_read() {
        let last = challenged().finish(CLIENT_FINAL.as_bytes()).unwrap();
        assert_eq!(last.name(), "user");
        let expected =
            [&CLIENT_FIRST[3..], SERVER_FIRST, CLIENT_FINAL.rsplit_once(",p=").unwrap().0].join(",");
        assert_eq!(last.auth_message().concat(), expected.as_bytes());
        let read = ServerFirst::parse(SERVER_FIRST.as_bytes(), "rOprNGfwEbeRWgbNEkqO").unwrap();
        assert_eq!((read.iterations, read.salt.len()), (4096, 16));
        assert!(signature(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=").is_some());
        assert!(signature(b"e=invalid-proof").is_none());
    }

    #[test]
    fn a_server_makes_its_answer() {
        let first = First::parse(b"y,,n=a=2Cb=3D,r=x").unwrap();
        assert_eq!(first.name, "a,b=");
        let text = first.challenge(b"0123456789abcdefghijklmn", "QQ==", 4096);
        assert_eq!(text, "r=x0123456789abcdefghijklmn,s=QQ==,i=4096");
        let last = Challenged::new(first, text.as_bytes()).unwrap();
        let proof = CLIENT_FINAL.rsplit_once(",p=").unwrap().1;
        let message = std::format!("c=eSws,r=x0123456789abcdefghijklmn,p={proof}");
        assert!(last.finish(message.as_bytes()).is_ok());
    }

    #[test]
    fn wrong_first_messages_are_told_apart() {
        for (message, fault) in [
            ("", Fault::Malformed),
            ("n,", Fault::Malformed),
            ("n,,", Fault::Malformed),
            ("x,,n=u,r=x", Fault::Malformed),
            ("n,b=u,n=u,r=x", Fault::Malformed),
            ("n,,n=,r=x", Fault::Malformed),
            ("n,,n=u", Fault::Malformed),
            ("n,,n=u,r=", Fault::Malformed),
            ("n,,n=u,r=a b", Fault::Malformed),
            ("n,,r=x,n=u", Fault::Malformed),
            ("n,,n=u=2c,r=x", Fault::Malformed),
            ("n,,n=u=,r=x", Fault::Malformed),
            ("p=tls-unique,,n=u,r=x", Fault::ChannelBinding),
            ("n,a=other,n=u,r=x", Fault::Unsupported),
            ("n,,m=1,n=u,r=x", Fault::Unsupported),
        ] {
            assert_eq!(First::parse(message.as_bytes()).unwrap_err(), fault, "{message}");
        }
        let long = std::format!("n,,n={},r=x", "u".repeat(65));
        assert_eq!(First::parse(long.as_bytes()).unwrap_err(), Fault::Malformed);
        let long = std::format!("n,,n=u,r={}", "x".repeat(129));
        assert_eq!(First::parse(long.as_bytes()).unwrap_err(), Fault::Malformed);
    }

    #[test]
    fn a_last_message_has_to_fit_the_first() {
        for (from, to, fault) in [
            ("biws", "eSws", Fault::Mismatch),
            ("c=biws,", "", Fault::Malformed),
            ("rOpr", "rOpx", Fault::Mismatch),
            ("k0,p=", "k,p=", Fault::Mismatch),
            ("VQ=", "VQ", Fault::Malformed),
            (",p=dHzb", ",p=", Fault::Malformed),
            (",p=", ",q=", Fault::Malformed),
        ] {
            let message = CLIENT_FINAL.replacen(from, to, 1);
            assert_eq!(challenged().finish(message.as_bytes()).unwrap_err(), fault, "{message}");
        }
    }

    #[test]
    fn a_client_takes_no_nonce_but_its_own_longer_and_no_easy_sums() {
        for (message, fault) in [
            ("r=abc,s=QQ==,i=4096", Fault::Mismatch),
            ("r=abd1,s=QQ==,i=4096", Fault::Mismatch),
            ("r=abc1,s=,i=4096", Fault::Malformed),
            ("r=abc1,s=QQ==,i=4095", Fault::Unsupported),
            ("r=abc1,s=QQ==,i=1000001", Fault::Unsupported),
            ("r=abc1,s=QQ==,i=x", Fault::Unsupported),
            ("r=abc1,s=QQ==", Fault::Malformed),
            ("m=x,r=abc1,s=QQ==,i=4096", Fault::Malformed),
        ] {
            assert_eq!(ServerFirst::parse(message.as_bytes(), "abc").unwrap_err(), fault, "{message}");
        }
        assert!(ServerFirst::parse(b"r=abc1,s=QQ==,i=4096,x=y", "abc").is_ok());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn any_octets_can_be_read(octets in prop::collection::vec(any::<u8>(), 0..700), text in "[nypcr=,a-c]{0,40}") {
            for message in [octets.as_slice(), text.as_bytes()] {
                let _ = First::parse(message);
                let _ = challenged().finish(message);
                let _ = ServerFirst::parse(message, "abc");
                let _ = signature(message);
            }
        }

        #[test]
        fn names_come_back(name in "[a-z,=\u{e9}]{1,20}") {
            let mut escaped = String::new();
            escape(&name, |piece| escaped.push_str(piece));
            prop_assert!(!escaped.contains(','));
            let back = unescaped(&escaped).unwrap();
            prop_assert_eq!(back.as_str(), name.as_str());
        }
    }
}
