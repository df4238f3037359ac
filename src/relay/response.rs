//! What a client says to log in at a next hop: the response of each mechanism, made of its secret.
//! SCRAM takes as long as PBKDF2 does, and the secret may come from a command, so a helper asks.

use std::num::NonZeroU32;

use heapless::String;

use super::intake::text;
use super::keys::{self, Keys, Sum, is_same};
use super::users::nonce;
use crate::limits::{RESPONSE_OCTETS, TOKEN_OCTETS};
use crate::smtp::client::Turn;
use crate::smtp::sasl::scram::{self, SERVER_NONCE_OCTETS, SUM_TEXT_OCTETS, ServerFirst};
use crate::smtp::sasl::{self, Mechanism, Secret};

/// A password or an access token.
pub type Token = Secret<TOKEN_OCTETS>;
/// Why there is no response, in words.
pub type Why = String<160>;

/// What SCRAM has to remember between its responses.
#[derive(Clone, Copy, Default)]
pub enum Memory {
    /// Nothing was said.
    #[default]
    Nothing,
    /// The nonce that was said.
    Nonce([u8; SERVER_NONCE_OCTETS]),
    /// The signature that the server has to give.
    Signature(Sum),
}

/// Without what is in it.
impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Memory")
    }
}

/// Which response is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Mechanism, and how many were given before.
    pub turn: Turn,
    /// The challenge, its base64 undone.
    pub challenge: &'a [u8],
    /// Who we are there.
    pub username: &'a str,
    /// The next hop's name.
    pub host: &'a str,
    /// Its port.
    pub port: u16,
}

/// The response, and what to remember. `secret` is asked at most once, and only where it is needed.
pub fn respond(
    wanted: &Wanted<'_>,
    memory: Memory,
    secret: impl FnOnce() -> Result<Token, Why>,
) -> Result<(Secret<RESPONSE_OCTETS>, Memory), Why> {
    let Wanted { turn, challenge, username, host, port } = *wanted;
    let mut out = Out(Some(Secret::empty()));
    let mut next = memory;
    match (turn.mechanism, turn.number) {
        (Mechanism::Plain, _) => out.add(b"\0").add(username.as_bytes()).add(b"\0").add(secret()?.octets()),
        (Mechanism::Login, 0) => out.add(username.as_bytes()),
        (Mechanism::Login, _) => out.add(secret()?.octets()),
        (Mechanism::CramMd5, _) => {
            let sum = keys::mac_md5(secret()?.octets(), challenge);
            let digits = sum.iter().flat_map(|octet| [octet >> 4, octet & 15]);
            let hex: [u8; 32] = {
                let mut digits = digits.map(|digit| b"0123456789abcdef"[usize::from(digit)]);
                std::array::from_fn(|_| digits.next().unwrap_or_default())
            };
            out.add(username.as_bytes()).add(b" ").add(&hex)
        }
        (Mechanism::XOauth2, _) => {
            let token = secret()?;
            out.add(b"user=")
                .add(username.as_bytes())
                .add(b"\x01auth=Bearer ")
                .add(token.octets())
                .add(b"\x01\x01")
        }
        (Mechanism::OauthBearer, _) => {
            let token = secret()?;
            out.add(b"n,a=").escaped(username).add(b",\x01host=").add(host.as_bytes());
            out.add(b"\x01port=").add(text::<8>(port).as_bytes());
            out.add(b"\x01auth=Bearer ").add(token.octets()).add(b"\x01\x01")
        }
        (Mechanism::ScramSha256, 0) => {
            let nonce = nonce();
            next = Memory::Nonce(nonce);
            out.add(b"n,,n=").escaped(username).add(b",r=").add(&nonce)
        }
        (Mechanism::ScramSha256, 1) => {
            let Memory::Nonce(nonce) = memory else { return Err(text("SCRAM was not begun")) };
            next = Memory::Signature(scram_final(username, &nonce, challenge, &secret()?, &mut out)?);
            &mut out
        }
        (Mechanism::ScramSha256, _) => {
            let Memory::Signature(expected) = memory else { return Err(text("SCRAM was not begun")) };
            if !scram::signature(challenge).is_some_and(|signature| is_same(&signature, &expected)) {
                return Err(text(
                    "the next server can't show that it knows the password: it may be another one",
                ));
            }
            &mut out
        }
    };
    out.0.map(|response| (response, next)).ok_or_else(|| text("the user name or the secret is too long"))
}

/// A response in the making; `None` once something did not fit.
struct Out(Option<Secret<RESPONSE_OCTETS>>);

impl Out {
    fn add(&mut self, octets: &[u8]) -> &mut Self {
        if !self.0.as_mut().is_some_and(|out| out.push(octets)) {
            self.0 = None;
        }
        self
    }

    fn escaped(&mut self, name: &str) -> &mut Self {
        scram::escape(name, |piece| {
            self.add(piece.as_bytes());
        });
        self
    }
}

/// Writes the last message; the signature that the server has to give.
fn scram_final(
    username: &str,
    nonce: &[u8],
    challenge: &[u8],
    secret: &Token,
    out: &mut Out,
) -> Result<Sum, Why> {
    let nonce = std::str::from_utf8(nonce).unwrap_or_default();
    let server = ServerFirst::parse(challenge, nonce).map_err(|fault| match fault {
        scram::Fault::Unsupported => text("the next server wants SCRAM with too few or too many rounds"),
        _ => text("the next server's SCRAM challenge can't be understood"),
    })?;
    let iterations = NonZeroU32::new(server.iterations).unwrap_or(NonZeroU32::MIN);
    let keys = Keys::derive(secret.octets(), &server.salt, iterations);
    let mut bare = Out(Some(Secret::empty()));
    bare.add(b"n=").escaped(username).add(b",r=").add(nonce.as_bytes());
    let bare = bare.0.unwrap_or_default();
    let message: [&[u8]; 5] = [bare.octets(), b",", challenge, b",c=biws,r=", server.nonce.as_bytes()];
    let mut room = [0; SUM_TEXT_OCTETS];
    let proof = sasl::encode(&keys.proof(&message), &mut room).unwrap_or_default();
    out.add(b"c=biws,r=").add(server.nonce.as_bytes()).add(b",p=").add(proof.as_bytes());
    Ok(keys::mac(&keys.server, &message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted<'a>(mechanism: Mechanism, number: u8, challenge: &'a [u8], username: &'a str) -> Wanted<'a> {
        Wanted { turn: Turn { mechanism, number }, challenge, username, host: "mail.test", port: 587 }
    }

    fn said(wanted: &Wanted<'_>, memory: Memory, secret: &str) -> Result<(std::vec::Vec<u8>, Memory), Why> {
        let secret = || Ok(Token::new(secret.as_bytes()).unwrap());
        respond(wanted, memory, secret).map(|(response, next)| (response.octets().to_vec(), next))
    }

    #[test]
    fn every_mechanism_says_its_lines() {
        let challenge = b"<1896.697170952@postoffice.reston.mci.net>";
        for (mechanism, number, expected) in [
            (Mechanism::Plain, 0, "\0tim\0tanstaaftanstaaf"),
            (Mechanism::Login, 0, "tim"),
            (Mechanism::Login, 1, "tanstaaftanstaaf"),
            (Mechanism::CramMd5, 0, "tim b913a602c7eda7a495b4e6e7334d3890"),
            (Mechanism::XOauth2, 0, "user=tim\x01auth=Bearer tanstaaftanstaaf\x01\x01"),
            (
                Mechanism::OauthBearer,
                0,
                "n,a=tim,\x01host=mail.test\x01port=587\x01auth=Bearer tanstaaftanstaaf\x01\x01",
            ),
        ] {
            let response =
                said(&wanted(mechanism, number, challenge, "tim"), Memory::Nothing, "tanstaaftanstaaf");
            assert_eq!(response.unwrap().0, expected.as_bytes(), "{mechanism:?} {number}");
        }
    }

    /// RFC 7677 3.
    #[test]
    fn scram_is_the_example_and_the_server_has_to_sign() {
        let nonce = "rOprNGfwEbeRWgbNEkqO";
        let challenge = format!("r={nonce}%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
        let mut out = Out(Some(Secret::empty()));
        let secret = Token::new(b"pencil").unwrap();
        let signature =
            scram_final("user", nonce.as_bytes(), challenge.as_bytes(), &secret, &mut out).unwrap();
        let expected = format!(
            "c=biws,r={nonce}%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        assert_eq!(out.0.unwrap().octets(), expected.as_bytes());
        let last = |challenge: &[u8]| {
            said(&wanted(Mechanism::ScramSha256, 2, challenge, "user"), Memory::Signature(signature), "")
                .map(|s| s.0)
        };
        assert_eq!(last(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=").unwrap(), b"");
        for wrong in [&b"v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="[..], b"e=other-error", b""] {
            assert!(last(wrong).unwrap_err().contains("can't show that it knows"));
        }
    }

    #[test]
    fn scram_goes_on_from_what_it_said() {
        let (first, memory) =
            said(&wanted(Mechanism::ScramSha256, 0, b"", "a,b=c"), Memory::Nothing, "").unwrap();
        let first = String::<200>::try_from(std::str::from_utf8(&first).unwrap()).unwrap();
        let nonce = first.strip_prefix("n,,n=a=2Cb=3Dc,r=").unwrap();
        let challenge = format!("r={nonce}more,s=QQ==,i=4096");
        let (last, _) =
            said(&wanted(Mechanism::ScramSha256, 1, challenge.as_bytes(), "a,b=c"), memory, "x").unwrap();
        assert!(std::str::from_utf8(&last).unwrap().starts_with(&format!("c=biws,r={nonce}more,p=")));
        for challenge in ["r=other,s=QQ==,i=4096", "nonsense", &format!("r={nonce}more,s=QQ==,i=1")] {
            assert!(
                said(&wanted(Mechanism::ScramSha256, 1, challenge.as_bytes(), "a"), memory, "x").is_err()
            );
        }
        assert!(said(&wanted(Mechanism::ScramSha256, 1, b"", "a"), Memory::Nothing, "x").is_err());
    }

    #[test]
    fn what_does_not_fit_is_told_and_secrets_are_not_shown() {
        let long = "x".repeat(1000);
        let why =
            said(&wanted(Mechanism::XOauth2, 0, b"", &long), Memory::Nothing, &"t".repeat(TOKEN_OCTETS));
        assert_eq!(why.unwrap_err(), "the user name or the secret is too long");
        assert_eq!(format!("{:?}", Memory::Signature([7; 32])), "Memory");
    }
}
