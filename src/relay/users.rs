//! The users file: who can authenticate, by what, and as whom they may send.
//!
//! ```text
//! # A line a user; the last part, the senders it may use, can be left out.
//! anna:SCRAM-SHA-256$10000$SALT$STOREDKEY$SERVERKEY:anna@home.arpa,*@lists.home.arpa
//! printer:{CLEAR}c2VjcmV0
//! ```
//!
//! [`Users`] is what the file said when it was read; it never changes. Judging a password takes
//! thousands of hashes, so it is done by a helper. A name that is not in the file costs the same time
//! and gets the same answers as one that is.

use std::fs::{File, Metadata};
use std::io::Read;
use std::num::NonZeroU32;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use heapless::Vec;
use ring::rand::{SecureRandom, SystemRandom};

use super::keys::{self, Keys, Sum, is_same};
use crate::config::{Mistake, Pattern, Refused};
use crate::limits::{ITERATIONS, LIST, PASSWORD_OCTETS, SALT_OCTETS, USERS_FILE_OCTETS};
use crate::smtp::address::Address;
use crate::smtp::sasl::exchange::{CramChallenge, Request};
use crate::smtp::sasl::scram::{self, SALT_TEXT_OCTETS, SERVER_NONCE_OCTETS, SUM_TEXT_OCTETS};
use crate::smtp::sasl::{self, Name, Secret};

/// Rounds of PBKDF2 for new lines: 7 ms on a server's core, some 100 ms on a first Raspberry Pi.
pub const NEW_ITERATIONS: u32 = 10_000;
/// Octets of a new salt.
const NEW_SALT_OCTETS: usize = 16;
/// What stands before a password that is stored as it is.
const CLEAR: &str = "{CLEAR}";
const SCRAM: &str = "SCRAM-SHA-256";

/// Octets of heap that a users file takes at most once it was read, for each octet of it: short patterns
/// are what grows most.
pub const HEAP_PER_OCTET: usize = 32;

/// Octets of a challenge.
pub type Challenge = Vec<u8, 320>;

/// What a user needs to be believed.
#[derive(Clone)]
struct Verifier {
    iterations: NonZeroU32,
    salt: Vec<u8, SALT_OCTETS>,
    stored: Sum,
    server: Sum,
}

struct User {
    name: Box<str>,
    verifier: Verifier,
    clear: Option<Box<[u8]>>,
    senders: Box<[Pattern]>,
}

/// Everyone in a users file.
pub struct Users {
    list: Box<[User]>,
    /// The key that what is said to unknown names is made with: of the first user's secrets, so that it is
    /// the same after a restart.
    key: Sum,
}

/// Neither names nor secrets.
impl std::fmt::Debug for Users {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Users").field("count", &self.list.len()).finish_non_exhaustive()
    }
}

/// Which state of a file was read: another one means that it has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    modified: (i64, i64),
    octets: u64,
    inode: u64,
}

impl Stamp {
    /// The file's present state.
    pub fn of(metadata: &Metadata) -> Self {
        let modified = (metadata.mtime(), metadata.mtime_nsec());
        Self { modified, octets: metadata.len(), inode: metadata.ino() }
    }
}

/// The answer to a request of AUTH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the user.
    Yes,
    /// To be said to the client.
    Challenge(Challenge),
    /// It is not, or there is no such user.
    No,
}

/// The text of a file with secrets, at most `limit` octets; refused if everyone on the machine can read it.
pub fn read_secret_file(path: &Path, limit: u64) -> Result<(std::vec::Vec<u8>, Stamp), std::string::String> {
    let failed = |e: std::io::Error| format!("can't be read: {e}");
    let metadata = path.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err("is no file".to_owned());
    }
    if metadata.mode() & 0o004 != 0 {
        return Err("holds secrets and everyone on this machine can read it: chmod o-rwx it".to_owned());
    }
    let mut octets = std::vec::Vec::new();
    File::open(path).and_then(|file| file.take(limit + 1).read_to_end(&mut octets)).map_err(failed)?;
    if octets.len() as u64 > limit {
        return Err(format!("is larger than {limit} octets"));
    }
    Ok((octets, Stamp::of(&metadata)))
}

impl Users {
    /// Reads a users file; every mistake in it, with line and column.
    pub fn read(path: &Path) -> Result<(Self, Stamp), Refused> {
        let whole = |text| Refused::new(path, vec![Mistake { line: 0, column: 0, text }]);
        let (octets, stamp) = read_secret_file(path, USERS_FILE_OCTETS).map_err(whole)?;
        let text =
            std::str::from_utf8(&octets).map_err(|e| Refused::not_text(path, &octets, e.valid_up_to()))?;
        let users = Self::parse(text).map_err(|mistakes| Refused::new(path, mistakes))?;
        Ok((users, stamp))
    }

    /// Reads the text of a users file.
    pub fn parse(text: &str) -> Result<Self, std::vec::Vec<Mistake>> {
        let (mut list, mut mistakes) = (std::vec::Vec::<User>::new(), std::vec::Vec::new());
        // Some editors put a mark in front of UTF-8: it is no part of the first name.
        let lines = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut offset = text.len() - lines.len();
        for line in lines.split_inclusive('\n') {
            let start = offset;
            offset += line.len();
            let line = line.trim_end_matches(['\r', '\n']);
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            match user(line) {
                Ok(user) if list.iter().any(|other| other.name == user.name) => {
                    mistakes.push(Mistake::at(
                        text.as_bytes(),
                        start,
                        "this user stands twice: remove one line",
                    ));
                }
                Ok(user) => list.push(user),
                Err((at, what)) => mistakes.push(Mistake::at(text.as_bytes(), start + at, what)),
            }
        }
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let key = list.first().map_or([0; 32], |first| {
            keys::mac(&first.verifier.server, &[&first.verifier.stored, b"unknown names"])
        });
        Ok(Self { list: list.into(), key })
    }

    /// True if somebody can use CRAM-MD5.
    pub fn has_clear(&self) -> bool {
        self.list.iter().any(|user| user.clear.is_some())
    }

    /// True if somebody can't.
    pub fn has_hashed(&self) -> bool {
        self.list.iter().any(|user| user.clear.is_none())
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.list.len()
    }

    /// True if the user may send as this reverse-path: any if its line names none; the null one always, which
    /// notices and receipts need; `None` if there is no such user any more.
    pub fn may_send_as(&self, name: &str, reverse_path: &str) -> Option<bool> {
        let user = self.find(name)?;
        if user.senders.is_empty() || reverse_path.is_empty() {
            return Some(true);
        }
        let Some(address) = Address::parse(reverse_path) else { return Some(false) };
        let local = address.unquoted();
        Some(user.senders.iter().any(|pattern| pattern.matches(Some((&local, address.domain)))))
    }

    /// Answers a request of AUTH. Takes as long as PBKDF2 does.
    pub fn judge(&self, request: &Request, hostname: &str, unix_s: u64) -> Verdict {
        match request {
            Request::Password { name, password, .. } => verdict(self.is_password(name, password)),
            Request::CramChallenge => Verdict::Challenge(cram_challenge(hostname, unix_s)),
            Request::CramMd5 { name, challenge, digest } => {
                let clear = self.find(name).and_then(|user| user.clear.as_deref());
                let sum = keys::mac_md5(clear.unwrap_or(&self.key), challenge.as_bytes());
                verdict(is_same(&sum, digest) && clear.is_some())
            }
            Request::ScramFirst(first) => {
                let (verifier, _) = self.verifier(&first.name);
                let mut salt = [0; SALT_TEXT_OCTETS];
                let salt = sasl::encode(&verifier.salt, &mut salt).unwrap_or_default();
                let text = first.challenge(&nonce(), salt, verifier.iterations.get());
                Verdict::Challenge(text.bytes().collect())
            }
            Request::ScramFinal(last) => {
                let (verifier, is_known) = self.verifier(last.name());
                let message = last.auth_message();
                if !(keys::is_proof(&verifier.stored, &message, &last.proof) && is_known) {
                    return Verdict::No;
                }
                let mut text = [0; SUM_TEXT_OCTETS];
                let signature = keys::mac(&verifier.server, &message);
                let signature = sasl::encode(&signature, &mut text).unwrap_or_default();
                Verdict::Challenge(b"v=".iter().copied().chain(signature.bytes()).collect())
            }
        }
    }

    fn find(&self, name: &str) -> Option<&User> {
        self.list.iter().find(|user| *user.name == *name)
    }

    fn is_password(&self, name: &str, password: &Secret<PASSWORD_OCTETS>) -> bool {
        let (verifier, is_known) = self.verifier(name);
        let keys = Keys::derive(password.octets(), &verifier.salt, verifier.iterations);
        is_same(&keys.stored, &verifier.stored) && is_known
    }

    /// The verifier of a user, or of one who does not exist but looks like one who does; and which it is.
    fn verifier(&self, name: &str) -> (Verifier, bool) {
        if let Some(user) = self.find(name) {
            return (user.verifier.clone(), true);
        }
        let sum = keys::mac(&self.key, &[name.as_bytes()]);
        let pick = usize::from(sum[0]) << 8 | usize::from(sum[1]);
        let like = self.list.get(pick.checked_rem(self.list.len()).unwrap_or(0));
        let octets = like.map_or(NEW_SALT_OCTETS, |user| user.verifier.salt.len()).min(sum.len());
        let verifier = Verifier {
            iterations: like.map_or(rounds(NEW_ITERATIONS), |user| user.verifier.iterations),
            salt: sum.iter().copied().take(octets).collect(),
            stored: keys::mac(&sum, &[b"stored"]),
            server: keys::mac(&sum, &[b"server"]),
        };
        (verifier, false)
    }
}

/// A new line for the users file, without its end. Takes as long as PBKDF2 does.
pub fn line(name: &Name, password: &[u8]) -> std::string::String {
    let salt: [u8; NEW_SALT_OCTETS] = random();
    let keys = Keys::derive(password, &salt, rounds(NEW_ITERATIONS));
    let base64 = |octets: &[u8]| {
        let mut room = [0; SUM_TEXT_OCTETS];
        sasl::encode(octets, &mut room).unwrap_or_default().to_owned()
    };
    let (stored, server) = (base64(&keys.stored), base64(&keys.server));
    format!("{name}:{SCRAM}${NEW_ITERATIONS}${}${stored}${server}", base64(&salt))
}

/// The same for a password that is stored as it is.
pub fn clear_line(name: &Name, password: &Secret<PASSWORD_OCTETS>) -> std::string::String {
    let mut room = [0; PASSWORD_OCTETS.div_ceil(3) * 4];
    let text = sasl::encode(password.octets(), &mut room).unwrap_or_default();
    format!("{name}:{CLEAR}{text}")
}

fn verdict(is_right: bool) -> Verdict {
    if is_right { Verdict::Yes } else { Verdict::No }
}

fn rounds(iterations: u32) -> NonZeroU32 {
    NonZeroU32::new(iterations).unwrap_or(NonZeroU32::MIN)
}

/// Random octets; without them nothing here is safe, so their lack ends the program.
fn random<const N: usize>() -> [u8; N] {
    let mut octets = [0; N];
    assert!(SystemRandom::new().fill(&mut octets).is_ok(), "the system has no random numbers");
    octets
}

/// A nonce for SCRAM: 18 random octets in base64.
pub fn nonce() -> [u8; SERVER_NONCE_OCTETS] {
    let octets: [u8; SERVER_NONCE_OCTETS / 4 * 3] = random();
    let mut text = [0; SERVER_NONCE_OCTETS];
    let written = sasl::encode(&octets, &mut text).map(str::len);
    assert_eq!(written, Some(SERVER_NONCE_OCTETS), "three octets make four letters");
    text
}

fn cram_challenge(hostname: &str, unix_s: u64) -> Challenge {
    let number = u64::from_ne_bytes(random());
    let mut text = CramChallenge::new();
    let written = std::fmt::write(&mut text, format_args!("<{number}.{unix_s}@{hostname}>"));
    debug_assert!(written.is_ok(), "a host name is bounded");
    text.bytes().collect()
}

/// A line; what is wrong with it, and at which octet.
fn user(line: &str) -> Result<User, (usize, std::string::String)> {
    let (name, rest) = line
        .split_once(':')
        .ok_or_else(|| (0, "no users line: write what `pillarbox password NAME` prints".to_owned()))?;
    if sasl::name(name.as_bytes()).is_none() || name.trim() != name {
        return Err((
            0,
            "a user name has 1 to 64 octets, no spaces around it and no control characters".to_owned(),
        ));
    }
    let start = name.len() + 1;
    let (secret, senders) = match rest.split_once(':') {
        Some((secret, senders)) => (secret, Some((start + secret.len() + 1, senders))),
        None => (rest, None),
    };
    let (verifier, clear) = credentials(name, secret).map_err(|(at, what)| (start + at, what.to_owned()))?;
    let senders = senders
        .map_or(Ok(Box::default()), |(at, list)| patterns(list).map_err(|(n, what)| (at + n, what)))?;
    Ok(User { name: name.into(), verifier, clear, senders })
}

type Credentials = (Verifier, Option<Box<[u8]>>);

fn credentials(name: &str, text: &str) -> Result<Credentials, (usize, &'static str)> {
    if let Some(base64) = text.strip_prefix(CLEAR) {
        let mut room = [0; PASSWORD_OCTETS + 2];
        let password = sasl::decode(base64.as_bytes(), &mut room)
            .ok()
            .filter(|password| (1..=PASSWORD_OCTETS).contains(&password.len()))
            .ok_or((CLEAR.len(), "after {CLEAR} goes the password in base64, at most 256 octets of it"))?;
        // As few rounds as may be: the password itself stands beside it.
        let salt = keys::mac(password, &[b"salt", name.as_bytes()]);
        let salt: Vec<u8, SALT_OCTETS> = salt.iter().copied().take(NEW_SALT_OCTETS).collect();
        let iterations = rounds(ITERATIONS.0);
        let keys = Keys::derive(password, &salt, iterations);
        let verifier = Verifier { iterations, salt, stored: keys.stored, server: keys.server };
        return Ok((verifier, Some(password.into())));
    }
    let mut at = 0;
    let mut parts = text.split('$').map(|part| {
        let place = at;
        at += part.len() + 1;
        (place, part)
    });
    let mut part = |what| parts.next().ok_or((text.len(), what));
    let shape = "after the name goes SCRAM-SHA-256$ROUNDS$SALT$STOREDKEY$SERVERKEY, or {CLEAR} and base64";
    if part(shape)? != (0, SCRAM) {
        return Err((0, shape));
    }
    let (place, iterations) = part(shape)?;
    let iterations = iterations.parse().ok().filter(|n| (ITERATIONS.0..=ITERATIONS.1).contains(n));
    let iterations = iterations.ok_or((place, "rounds of PBKDF2: a number from 4096 to 1000000"))?;
    let (place, salt) = part(shape)?;
    let mut room = [0; SALT_OCTETS + 2];
    let salt = sasl::decode(salt.as_bytes(), &mut room).ok().and_then(|salt| Vec::from_slice(salt).ok());
    let salt = salt.filter(|salt| !salt.is_empty()).ok_or((place, "a salt: base64 of 1 to 64 octets"))?;
    let (stored_place, stored) = part(shape)?;
    let (server_place, server) = part(shape)?;
    let key = |place, text: &str| scram::sum(text.as_bytes()).ok_or((place, "a key: base64 of 32 octets"));
    let (stored, server) = (key(stored_place, stored)?, key(server_place, server)?);
    match parts.next() {
        Some((place, _)) => Err((place, shape)),
        None => Ok((Verifier { iterations: rounds(iterations), salt, stored, server }, None)),
    }
}

fn patterns(list: &str) -> Result<Box<[Pattern]>, (usize, std::string::String)> {
    let mut at = 0;
    let mut all = std::vec::Vec::new();
    for text in list.split(',') {
        let pattern = Pattern::parse(text.trim()).map_err(|what| (at, what))?;
        all.push(pattern);
        if all.len() > LIST {
            return Err((at, format!("more than {LIST} senders: use a pattern, *@domain")));
        }
        at += text.len() + 1;
    }
    Ok(all.into())
}

/// What a name given on the command line or in a file is, or why it is none.
pub fn user_name(text: &str) -> Result<Name, &'static str> {
    match sasl::name(text.as_bytes()) {
        Some(name) if text.trim() == text && !text.contains(':') && !text.starts_with('#') => Ok(name),
        _ => Err("a user name has 1 to 64 octets, no colon, no # at its start and no control characters"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::smtp::sasl::Mechanism;
    use crate::smtp::sasl::exchange::{Exchange, Step};
    use crate::smtp::sasl::scram::First;

    /// RFC 7677 3: user "user", password "pencil".
    const USER: &str = "user:SCRAM-SHA-256$4096$W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=$wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

    fn users(more: &str) -> Users {
        Users::parse(&format!("# users\n\n{USER}\nold:{{CLEAR}}c2VjcmV0:old@home.test, *@lists.test\n{more}"))
            .unwrap()
    }

    fn request(step: Result<Step, crate::smtp::reply::Reply>) -> Request {
        match step {
            Ok(Step::Ask(request)) => request,
            other => panic!("{other:?}"),
        }
    }

    fn password(users: &Users, name: &str, password: &str) -> Verdict {
        let message = format!("\0{name}\0{password}");
        users.judge(&request(Exchange::begin(Mechanism::Plain, Some(message.as_bytes()))), "host.test", 0)
    }

    #[test]
    fn passwords_are_judged_by_what_is_stored() {
        let users = users("");
        assert_eq!(password(&users, "user", "pencil"), Verdict::Yes);
        assert_eq!(password(&users, "old", "secret"), Verdict::Yes);
        for (name, wrong) in
            [("user", "pencil2"), ("User", "pencil"), ("old", "c2VjcmV0"), ("nobody", "pencil")]
        {
            assert_eq!(password(&users, name, wrong), Verdict::No, "{name}");
        }
        assert_eq!(password(&Users::parse("").unwrap(), "user", "pencil"), Verdict::No);
        // As an editor on Windows saves it.
        for text in [format!("\u{feff}{USER}\r\n"), format!("\u{feff}# users\r\n{USER}\r\n")] {
            assert_eq!(password(&Users::parse(&text).unwrap(), "user", "pencil"), Verdict::Yes);
        }
    }

    #[test]
    fn scram_goes_to_its_end() {
        let users = users("");
        for (name, secret, is_right) in [
            ("user", "pencil", true),
            ("old", "secret", true),
            ("user", "pencil2", false),
            ("nobody", "x", false),
        ] {
            let bare = format!("n={name},r=abc");
            let first =
                request(Exchange::begin(Mechanism::ScramSha256, Some(format!("n,,{bare}").as_bytes())));
            let Verdict::Challenge(challenge) = users.judge(&first, "host.test", 0) else { panic!("{name}") };
            let server_first = std::str::from_utf8(&challenge).unwrap().to_owned();
            let read = scram::ServerFirst::parse(server_first.as_bytes(), "abc").unwrap();
            let keys = Keys::derive(secret.as_bytes(), &read.salt, rounds(read.iterations));
            let without_proof = format!("c=biws,r={}", read.nonce);
            let message: [&[u8]; 1] =
                [&[bare.as_bytes(), b",", server_first.as_bytes(), b",", without_proof.as_bytes()].concat()];
            let mut room = [0; 44];
            let proof = sasl::encode(&keys.proof(&message), &mut room).unwrap().to_owned();
            let exchange = first.challenged(&challenge).unwrap();
            let last = request(exchange.take(format!("{without_proof},p={proof}").as_bytes()));
            match users.judge(&last, "host.test", 0) {
                Verdict::Challenge(text) => {
                    assert!(is_right, "{name}");
                    assert_eq!(scram::signature(&text), Some(keys::mac(&keys.server, &message)));
                }
                other => assert_eq!((other, is_right), (Verdict::No, false), "{name}"),
            }
        }
    }

    #[test]
    fn cram_md5_needs_a_password_in_clear() {
        let users = users("");
        assert!(users.has_clear() && !Users::parse(USER).unwrap().has_clear());
        assert!(users.has_hashed());
        let ask = request(Exchange::begin(Mechanism::CramMd5, None));
        let Verdict::Challenge(challenge) = users.judge(&ask, "host.test", 7) else { panic!() };
        assert!(std::str::from_utf8(&challenge).unwrap().ends_with(".7@host.test>"));
        for (name, secret, expected) in
            [("old", "secret", Verdict::Yes), ("old", "other", Verdict::No), ("user", "pencil", Verdict::No)]
        {
            let sum =
                keys::mac_md5(secret.as_bytes(), &challenge).map(|octet| format!("{octet:02x}")).concat();
            let exchange = ask.clone().challenged(&challenge).unwrap();
            let sent = request(exchange.take(format!("{name} {sum}").as_bytes()));
            assert_eq!(users.judge(&sent, "host.test", 7), expected, "{name}");
        }
    }

    #[test]
    fn an_unknown_name_looks_like_a_known_one() {
        let users = users("");
        let say = |name: &str, nonce: &str| {
            let first = First::parse(format!("n,,n={name},r={nonce}").as_bytes()).unwrap();
            match users.judge(&Request::ScramFirst(first), "host.test", 0) {
                Verdict::Challenge(text) => {
                    std::str::from_utf8(&text).unwrap().split_once(",s=").unwrap().1.to_owned()
                }
                other => panic!("{other:?}"),
            }
        };
        for name in ["nobody", "anna", "user", "old"] {
            assert_eq!(
                say(name, "a"),
                say(name, "b"),
                "a salt that changes tells that there is no such user"
            );
            assert!(say(name, "a").ends_with("i=4096"));
            assert_eq!(say(name, "a").len(), say("user", "a").len());
        }
        assert_ne!(say("nobody", "a"), say("anna", "a"));
    }

    #[test]
    fn a_user_sends_as_its_line_says() {
        let users = users("");
        for (name, path, may) in [
            ("user", "anyone@anywhere.test", Some(true)),
            ("old", "old@home.test", Some(true)),
            ("old", "OLD@HOME.test", Some(true)),
            ("old", "\"old\"@home.test", Some(true)),
            ("old", "any@lists.test", Some(true)),
            ("old", "other@home.test", Some(false)),
            ("old", "old@home.test.evil.test", Some(false)),
            ("old", "old", Some(false)),
            ("old", "", Some(true)),
            ("gone", "", None),
        ] {
            assert_eq!(users.may_send_as(name, path), may, "{name} {path}");
        }
    }

    #[test]
    fn every_mistake_has_its_place_and_no_secret() {
        let good = &USER[5..];
        for (text, line, column) in [
            ("user", 1, 1),
            (":x", 1, 1),
            ("\n a:x", 2, 1),
            ("a:x", 1, 3),
            ("a:{CLEAR}", 1, 10),
            ("a:{CLEAR}hunter2!", 1, 10),
            ("a:SCRAM-SHA-256$4095$QQ==$x$x", 1, 17),
            ("a:SCRAM-SHA-256$4096$$x$x", 1, 22),
            ("a:SCRAM-SHA-256$4096$QQ==$x$x", 1, 27),
            ("a:SCRAM-SHA-1$4096$QQ==$x$x", 1, 3),
            ("a:SCRAM-SHA-256$4096", 1, 21),
            ("\u{e9}:x", 1, 3),
        ] {
            let Err(mistakes) = Users::parse(text) else { panic!("{text}") };
            assert_eq!(
                (mistakes.len(), mistakes[0].line, mistakes[0].column),
                (1, line, column),
                "{text}: {mistakes:?}"
            );
            assert!(!mistakes[0].text.contains("hunter2"));
        }
        for (text, column) in
            [("user:{}$x", 3), ("user:{}:", 134), ("user:{}:a@b,", 0), ("user:{}\nuser:{}", 0)]
        {
            assert!(Users::parse(&text.replace("{}", good)).is_err(), "{text} {column}");
        }
        assert_eq!(Users::parse(&format!("{USER}\r\n")).unwrap().count(), 1);
    }

    #[test]
    fn a_line_that_was_made_is_read() {
        let name = user_name("j\u{fc}rgen").unwrap();
        let users = Users::parse(&line(&name, b"geheim")).unwrap();
        assert_eq!(password(&users, "j\u{fc}rgen", "geheim"), Verdict::Yes);
        let clear = Users::parse(&clear_line(&name, &Secret::new(b"geheim").unwrap())).unwrap();
        assert_eq!(password(&clear, "j\u{fc}rgen", "geheim"), Verdict::Yes);
        assert!(clear.has_clear() && !clear.has_hashed());
        for bad in ["", "a:b", "#a", " a", "a\n"] {
            assert!(user_name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn files_that_all_can_read_are_refused() {
        use std::os::unix::fs::PermissionsExt;
        let path = std::env::temp_dir().join(format!("pillarbox-users-{}", std::process::id()));
        std::fs::write(&path, USER).unwrap();
        let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        mode(0o644);
        let Err(refused) = Users::read(&path) else { panic!() };
        assert!(refused.to_string().contains("everyone on this machine can read it"), "{refused}");
        mode(0o640);
        assert_eq!(Users::read(&path).unwrap().0.count(), 1);
        assert!(Users::read(Path::new("/nonexistent")).is_err() && Users::read(Path::new("/tmp")).is_err());
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn nothing_is_shown_of_users() {
        let shown = format!("{:?}", users(""));
        assert!(!shown.contains("old") && !shown.contains("secret"), "{shown}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_text_is_read_or_refused(text in "[a:$,@\n]{0,40}", any in any::<std::string::String>()) {
            let _ = (Users::parse(&text), Users::parse(&any));
            let _ = Users::parse(&format!("a:SCRAM-SHA-256${text}\nb:{{CLEAR}}{any}"));
        }
    }
}
