//! The sums behind SASL: SCRAM-SHA-256 (RFC 5802 3, RFC 7677) by `ring`, and HMAC-MD5 for CRAM-MD5
//! (RFC 2195), which nothing else may use. PBKDF2 takes its time: only helpers call [`Keys::derive`].

use std::num::NonZeroU32;

use ring::{digest, hmac, pbkdf2};

use crate::smtp::sasl::exchange::MD5_OCTETS;
use crate::smtp::sasl::scram::SUM_OCTETS;

/// A SHA-256 sum, as keys, proofs and signatures are.
pub type Sum = [u8; SUM_OCTETS];

/// What SCRAM makes of a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    /// What a client proves to have.
    pub client: Sum,
    /// What a server keeps to judge the proof.
    pub stored: Sum,
    /// What a server proves to have.
    pub server: Sum,
}

impl Keys {
    /// The keys of a password, by PBKDF2 with so many rounds.
    pub fn derive(password: &[u8], salt: &[u8], iterations: NonZeroU32) -> Self {
        let mut salted = [0; SUM_OCTETS];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, salt, password, &mut salted);
        let client = mac(&salted, &[b"Client Key"]);
        Self { client, stored: hash(&client), server: mac(&salted, &[b"Server Key"]) }
    }

    /// What a client sends: its key, hidden under the signature of this exchange.
    pub fn proof(&self, auth_message: &[&[u8]]) -> Sum {
        xor(&self.client, &mac(&self.stored, auth_message))
    }
}

/// True if who made the proof has the client key behind `stored`.
pub fn is_proof(stored: &Sum, auth_message: &[&[u8]], proof: &Sum) -> bool {
    let client = xor(proof, &mac(stored, auth_message));
    is_same(&hash(&client), stored)
}

/// HMAC-SHA-256 over the pieces.
pub fn mac(key: &[u8], pieces: &[&[u8]]) -> Sum {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    pieces.iter().for_each(|piece| context.update(piece));
    sum(context.sign().as_ref())
}

/// HMAC-MD5 (RFC 2104).
pub fn mac_md5(key: &[u8], text: &[u8]) -> [u8; MD5_OCTETS] {
    const BLOCK: usize = 64;
    let mut block = [0; BLOCK];
    match block.get_mut(..key.len()) {
        Some(start) => start.copy_from_slice(key),
        None => block[..MD5_OCTETS].copy_from_slice(&md5::compute(key).0),
    }
    let over = |pad: u8, text: &[u8]| {
        let mut context = md5::Context::new();
        context.consume(block.map(|octet| octet ^ pad));
        context.consume(text);
        context.finalize().0
    };
    over(0x5c, &over(0x36, text))
}

/// True if both are the same, in a time that does not tell where they differ.
pub fn is_same(one: &[u8], other: &[u8]) -> bool {
    let key = |octets| hmac::Key::new(hmac::HMAC_SHA256, octets);
    hmac::verify(&key(one), b"", hmac::sign(&key(other), b"").as_ref()).is_ok()
}

fn hash(octets: &[u8]) -> Sum {
    sum(digest::digest(&digest::SHA256, octets).as_ref())
}

fn sum(octets: &[u8]) -> Sum {
    let mut sum = [0; SUM_OCTETS];
    sum.copy_from_slice(octets);
    sum
}

fn xor(one: &Sum, other: &Sum) -> Sum {
    std::array::from_fn(|at| one[at] ^ other[at])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::sasl::scram;

    const ROUNDS: NonZeroU32 = NonZeroU32::new(4096).unwrap();

    /// RFC 7677 3.
    #[test]
    fn the_example_of_scram() {
        let mut room = [0; 24];
        let salt = crate::smtp::sasl::decode(b"W22ZaJ0SNY7soEsUEjb6gQ==", &mut room).unwrap();
        let keys = Keys::derive(b"pencil", salt, ROUNDS);
        let nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let text = format!(
            "n=user,r=rOprNGfwEbeRWgbNEkqO,r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r={nonce}"
        );
        let message = [&text.as_bytes()[..20], &text.as_bytes()[20..]];
        let proof = scram::sum(b"dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=").unwrap();
        assert_eq!(keys.proof(&message), proof);
        assert!(is_proof(&keys.stored, &message, &proof));
        assert!(!is_proof(&keys.stored, &message[..1], &proof));
        let signature = scram::signature(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=").unwrap();
        assert_eq!(mac(&keys.server, &message), signature);
    }

    /// RFC 2195 2 and RFC 2202 2.
    #[test]
    fn the_examples_of_hmac_md5() {
        let hex = |sum: [u8; 16]| sum.map(|octet| format!("{octet:02x}")).concat();
        let challenge = b"<1896.697170952@postoffice.reston.mci.net>";
        assert_eq!(hex(mac_md5(b"tanstaaftanstaaf", challenge)), "b913a602c7eda7a495b4e6e7334d3890");
        let long = b"Test Using Larger Than Block-Size Key - Hash Key First";
        assert_eq!(hex(mac_md5(&[0xaa; 80], long)), "6b1ab7fe4bd7bf8f0b62e6ce61b9d0cd");
        assert_eq!(hex(mac_md5(b"", b"")), "74e6f7298a9c2d168935f58c001bad88");
    }

    #[test]
    fn sameness_is_exact() {
        assert!(is_same(b"abc", b"abc") && is_same(&[7; 32], &[7; 32]));
        assert!(!is_same(b"abc", b"abd") && !is_same(b"abc", b"ab") && !is_same(b"", b"a"));
    }
}
