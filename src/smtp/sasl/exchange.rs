//! The server's side of AUTH (RFC 4954): what each message of a client means, and what is asked next.
#![allow(
    clippy::result_large_err,
    reason = "a reply is the ordinary answer to a wrong message; nothing is boxed"
)]

use heapless::String;

use super::scram::{self, Challenged, Final, First};
use super::{Mechanism, Name, Secret, name};
use crate::limits::{DOMAIN_OCTETS, PASSWORD_OCTETS};
use crate::smtp::reply::Reply;

/// Octets of a CRAM-MD5 challenge: `<random.time@hostname>`.
pub const CRAM_OCTETS: usize = DOMAIN_OCTETS + 48;
/// Octets of an MD5 sum.
pub const MD5_OCTETS: usize = 16;

/// A CRAM-MD5 challenge as it is sent.
pub type CramChallenge = String<CRAM_OCTETS>;

/// A message of the client is awaited.
#[derive(Clone, Debug)]
pub enum Exchange {
    /// PLAIN: all of it.
    Plain,
    /// LOGIN: the name.
    LoginName,
    /// LOGIN: this user's password.
    LoginPassword(Name),
    /// CRAM-MD5: the name, and the sum over the challenge.
    CramMd5(CramChallenge),
    /// SCRAM: the first message.
    ScramFirst,
    /// SCRAM: the last message.
    ScramFinal(Challenged),
    /// SCRAM: nothing but the sign that our signature was read (RFC 4954 4: it has to go into a
    /// challenge, and a challenge is answered).
    ScramEnd(Name),
}

/// What only who has the users and random numbers can answer.
#[derive(Clone, Debug)]
pub enum Request {
    /// Is this the user's password? Yes or refused.
    Password {
        /// PLAIN or LOGIN.
        mechanism: Mechanism,
        /// Who it wants to be.
        name: Name,
        /// What it says.
        password: Secret<PASSWORD_OCTETS>,
    },
    /// A challenge for CRAM-MD5, or refused.
    CramChallenge,
    /// Is this the sum over the challenge by the user's password? Yes or refused.
    CramMd5 {
        /// Who it wants to be.
        name: Name,
        /// What was asked.
        challenge: CramChallenge,
        /// What it says.
        digest: [u8; MD5_OCTETS],
    },
    /// The server's first message of SCRAM as the challenge, or refused.
    ScramFirst(First),
    /// Is the proof right? The server's last message as the challenge, or refused.
    ScramFinal(Final),
}

/// What a message leads to.
#[derive(Clone, Debug)]
pub enum Step {
    /// This is said (334), and its answer awaited.
    Say(&'static [u8], Exchange),
    /// This is asked.
    Ask(Request),
    /// The user has authenticated.
    Done(Name),
}

impl Exchange {
    /// What AUTH with this mechanism leads to; `initial` is the initial response, its base64 undone.
    pub fn begin(mechanism: Mechanism, initial: Option<&[u8]>) -> Result<Step, Reply> {
        let awaited = match mechanism {
            Mechanism::Plain => Self::Plain,
            Mechanism::Login => Self::LoginName,
            Mechanism::ScramSha256 => Self::ScramFirst,
            // RFC 4954 4: the server begins, so there is nothing that it could be a response to.
            Mechanism::CramMd5 if initial.is_some() => {
                return Err(Reply::new(501, (7, 0), "CRAM-MD5 has no initial response"));
            }
            Mechanism::CramMd5 => return Ok(Step::Ask(Request::CramChallenge)),
            Mechanism::XOauth2 | Mechanism::OauthBearer => return Err(unknown()),
        };
        match (initial, &awaited) {
            (Some(message), _) => awaited.take(message),
            (None, Self::LoginName) => Ok(Step::Say(b"Username:", awaited)),
            (None, _) => Ok(Step::Say(b"", awaited)),
        }
    }

    /// What the awaited message leads to, its base64 undone.
    pub fn take(self, message: &[u8]) -> Result<Step, Reply> {
        match self {
            Self::Plain => plain(message),
            Self::LoginName => {
                let name = name(message).ok_or_else(malformed)?;
                Ok(Step::Say(b"Password:", Self::LoginPassword(name)))
            }
            Self::LoginPassword(name) => password(Mechanism::Login, name, message),
            Self::CramMd5(challenge) => cram_md5(challenge, message),
            Self::ScramFirst => Ok(Step::Ask(Request::ScramFirst(First::parse(message).map_err(fault)?))),
            Self::ScramFinal(challenged) => {
                Ok(Step::Ask(Request::ScramFinal(challenged.finish(message).map_err(fault)?)))
            }
            Self::ScramEnd(name) if message.is_empty() => Ok(Step::Done(name)),
            Self::ScramEnd(_) => Err(malformed()),
        }
    }
}

impl Request {
    /// Who the client wants to be, if it has said so.
    pub fn name(&self) -> Option<&Name> {
        match self {
            Self::Password { name, .. } | Self::CramMd5 { name, .. } => Some(name),
            Self::CramChallenge => None,
            Self::ScramFirst(first) => Some(&first.name),
            Self::ScramFinal(last) => Some(last.name()),
        }
    }

    /// How it wants to show that.
    pub fn mechanism(&self) -> Mechanism {
        match self {
            Self::Password { mechanism, .. } => *mechanism,
            Self::CramChallenge | Self::CramMd5 { .. } => Mechanism::CramMd5,
            Self::ScramFirst(_) | Self::ScramFinal(_) => Mechanism::ScramSha256,
        }
    }

    /// What is awaited after this challenge; `None` if it can be no answer to the request.
    pub fn challenged(self, challenge: &[u8]) -> Option<Exchange> {
        match self {
            Self::CramChallenge => {
                let text = core::str::from_utf8(challenge).ok()?;
                Some(Exchange::CramMd5(String::try_from(text).ok()?))
            }
            Self::ScramFirst(first) => Challenged::new(first, challenge).map(Exchange::ScramFinal),
            Self::ScramFinal(last) => Some(Exchange::ScramEnd(last.name().clone())),
            Self::Password { .. } | Self::CramMd5 { .. } => None,
        }
    }
}

/// RFC 4616: `[authzid] NUL authcid NUL password`.
fn plain(message: &[u8]) -> Result<Step, Reply> {
    let mut parts = message.splitn(3, |octet| *octet == 0);
    let (Some(authzid), Some(authcid), Some(secret)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(malformed());
    };
    if !authzid.is_empty() && authzid != authcid {
        return Err(Reply::new(535, (7, 8), "nobody acts for another user here"));
    }
    password(Mechanism::Plain, name(authcid).ok_or_else(malformed)?, secret)
}

fn password(mechanism: Mechanism, name: Name, secret: &[u8]) -> Result<Step, Reply> {
    // RFC 4616 2: a password has at least one octet, and none of them is NUL.
    if secret.is_empty() || secret.contains(&0) {
        return Err(malformed());
    }
    let password = Secret::new(secret).ok_or_else(too_long)?;
    Ok(Step::Ask(Request::Password { mechanism, name, password }))
}

/// RFC 2195 2: the name, a space, the sum in hex. A name can have spaces.
fn cram_md5(challenge: CramChallenge, message: &[u8]) -> Result<Step, Reply> {
    let at = message.iter().rposition(|octet| *octet == b' ').ok_or_else(malformed)?;
    let mut digest = [0; MD5_OCTETS];
    let hex = &message[at + 1..];
    if hex.len() != 2 * MD5_OCTETS {
        return Err(malformed());
    }
    for (octet, digits) in digest.iter_mut().zip(hex.chunks_exact(2)) {
        let value = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
        let (Some(high), Some(low)) = (value(digits[0]), value(digits[1])) else { return Err(malformed()) };
        *octet = high << 4 | low;
    }
    let name = name(&message[..at]).ok_or_else(malformed)?;
    Ok(Step::Ask(Request::CramMd5 { name, challenge, digest }))
}

/// A message that does not follow its mechanism's grammar.
fn malformed() -> Reply {
    Reply::new(501, (5, 2), "this response can't be understood")
}

/// A message that is longer than it may be (RFC 4954 4).
pub fn too_long() -> Reply {
    Reply::new(500, (5, 6), "authentication exchange line is too long")
}

/// A mechanism that is not offered.
pub fn unknown() -> Reply {
    Reply::new(504, (5, 4), "this authentication mechanism is not offered here")
}

fn fault(fault: scram::Fault) -> Reply {
    match fault {
        scram::Fault::Malformed => malformed(),
        scram::Fault::ChannelBinding => Reply::new(535, (7, 8), "channel binding is not offered here"),
        scram::Fault::Unsupported => Reply::new(535, (7, 8), "this kind of SCRAM is not offered here"),
        scram::Fault::Mismatch => Reply::new(535, (7, 8), "this response belongs to another exchange"),
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::format;

    use proptest::prelude::*;

    use super::{Exchange, Mechanism, Request, Step};

    fn code(step: Result<Step, super::Reply>) -> u16 {
        step.map_or_else(|reply| reply.code(), |_| 0)
    }

    #[test]
    fn plain_is_read_as_the_rfc_has_it() {
        // RFC 4616 4.
        for message in ["\0tim\0tanstaaftanstaaf", "tim\0tim\0tanstaaftanstaaf"] {
            let step = Exchange::begin(Mechanism::Plain, Some(message.as_bytes())).unwrap();
            let Step::Ask(Request::Password { name, password, mechanism }) = step else { panic!("{step:?}") };
            assert_eq!((name.as_str(), password.octets()), ("tim", &b"tanstaaftanstaaf"[..]));
            assert_eq!(mechanism, Mechanism::Plain);
        }
        for (message, refused) in [
            ("Ursel\0Kurt\0xipj3plmq", 535),
            ("", 501),
            ("\0tim", 501),
            ("\0tim\0", 501),
            ("\0\0secret", 501),
            ("\0t\0a\0b", 501),
            ("\0t\nm\0x", 501),
        ] {
            assert_eq!(code(Exchange::Plain.take(message.as_bytes())), refused, "{message:?}");
        }
        let long = format!("\0tim\0{}", "x".repeat(257));
        assert_eq!(code(Exchange::Plain.take(long.as_bytes())), 500);
    }

    #[test]
    fn login_asks_twice_unless_told_at_once() {
        let step = Exchange::begin(Mechanism::Login, None).unwrap();
        assert!(matches!(step, Step::Say(b"Username:", Exchange::LoginName)), "{step:?}");
        let step = Exchange::begin(Mechanism::Login, Some(b"tim")).unwrap();
        let Step::Say(b"Password:", next) = step else { panic!("{step:?}") };
        let step = next.take(b"secret").unwrap();
        assert!(matches!(step, Step::Ask(Request::Password { .. })), "{step:?}");
        assert_eq!(code(Exchange::LoginName.take(b"")), 501);
    }

    #[test]
    fn cram_md5_is_read_as_the_rfc_has_it() {
        assert_eq!(code(Exchange::begin(Mechanism::CramMd5, Some(b""))), 501);
        let challenge = b"<1896.697170952@postoffice.reston.mci.net>";
        let exchange = Request::CramChallenge.challenged(challenge).unwrap();
        let step = exchange.clone().take(b"tim b913a602c7eda7a495b4e6e7334d3890").unwrap();
        let Step::Ask(Request::CramMd5 { name, digest, .. }) = step else { panic!("{step:?}") };
        assert_eq!((name.as_str(), digest[0], digest[15]), ("tim", 0xb9, 0x90));
        for message in [
            "tim",
            "tim ",
            "tim b9",
            " b913a602c7eda7a495b4e6e7334d3890",
            "t g913a602c7eda7a495b4e6e7334d3890",
        ] {
            assert_eq!(code(exchange.clone().take(message.as_bytes())), 501, "{message}");
        }
    }

    #[test]
    fn scram_ends_with_an_empty_message() {
        let step = Exchange::begin(Mechanism::ScramSha256, Some(b"n,,n=user,r=abc")).unwrap();
        let Step::Ask(first) = step else { panic!("{step:?}") };
        assert_eq!(first.name().unwrap(), "user");
        let Some(exchange) = first.challenged(b"r=abcdef,s=QQ==,i=4096") else { panic!() };
        let last = b"c=biws,r=abcdef,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        let Step::Ask(last) = exchange.take(last).unwrap() else { panic!() };
        assert_eq!(last.mechanism(), Mechanism::ScramSha256);
        let end = last.challenged(b"v=x").unwrap();
        assert_eq!(code(end.clone().take(b"x")), 501);
        assert!(matches!(end.take(b""), Ok(Step::Done(name)) if name == "user"));
    }

    #[test]
    fn no_secret_is_shown() {
        let step = Exchange::begin(Mechanism::Plain, Some(b"\0tim\0hunter2")).unwrap();
        assert!(!format!("{step:?}").contains("hunter2"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn any_message_can_be_taken(messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..600), 0..4)) {
            for mechanism in Mechanism::ALL {
                let mut initial = messages.iter();
                let mut step = Exchange::begin(mechanism, initial.next().map(|m| m.as_slice()));
                for message in &messages {
                    step = match step {
                        Ok(Step::Say(_, exchange)) => exchange.take(message),
                        Ok(Step::Ask(request)) => match request.challenged(message) {
                            Some(exchange) => exchange.take(message),
                            None => break,
                        },
                        Ok(Step::Done(_)) | Err(_) => break,
                    };
                }
            }
        }
    }
}
