//! What clients do wrong, kept as short notes by address: for `pillarbox status`, so that a person
//! sees why the printer can't send without reading the log.
//!
//! A fixed table. When it is full the oldest is forgotten, of strangers first: what the house's own
//! devices do is what it is kept for.

use core::fmt::{self, Display};
use std::net::IpAddr;

use heapless::Vec;
use log::info;

use super::Relay;
use super::client::{Client, Remote, counted_as};
use super::intake::text;
use super::quoted::Quoted;
use crate::smtp::line::End;
use crate::smtp::server::{Cause, Session};

/// Addresses that notes are kept of.
pub const NOTED_CLIENTS: usize = 32;

/// Something that a client did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// Its lines end in LF alone.
    LfLines,
    /// MAIL without HELO or EHLO.
    NoHello,
    /// HELO or EHLO without a name.
    NoHelloName,
    /// HELO or EHLO with something that is no name.
    OddHelloName,
    /// Addresses without brackets.
    NoBrackets,
    /// SSL 3.0 was the newest it offered.
    Ssl30,
    /// TLS 1.0 was the newest it offered.
    Tls10,
    /// TLS 1.1 was the newest it offered.
    Tls11,
    /// A handshake that failed for another reason.
    TlsFailed,
    /// A TLS handshake where plain text is spoken.
    TlsOnPlainPort,
    /// Plain text where TLS is spoken.
    SmtpOnTlsPort,
    /// No mail commands at all.
    Foreign,
    /// Content that is refused for its line ends or a NUL.
    BadContent,
    /// Content though DATA was refused.
    UnaskedContent,
    /// Octets before the greeting.
    EarlyTalk,
    /// No PROXY header from a peer that must send one.
    NoProxyHeader,
    /// More error replies than `limits.errors`.
    TooManyErrors,
    /// More sessions than `limits.sessions_per_client`.
    TooManySessions,
    /// More than `messages_per_hour`.
    TooManyMessages,
    /// Recipients elsewhere, from a client that may not send there.
    Denied,
    /// MAIL without a login where there must be one.
    NoLogin,
    /// A login in clear where TLS has to come first.
    ClearLogin,
    /// A wrong name or password. These are counted.
    AuthFailed,
}

impl Note {
    const ALL: [Self; 23] = [
        Self::LfLines,
        Self::NoHello,
        Self::NoHelloName,
        Self::OddHelloName,
        Self::NoBrackets,
        Self::Ssl30,
        Self::Tls10,
        Self::Tls11,
        Self::TlsFailed,
        Self::TlsOnPlainPort,
        Self::SmtpOnTlsPort,
        Self::Foreign,
        Self::BadContent,
        Self::UnaskedContent,
        Self::EarlyTalk,
        Self::NoProxyHeader,
        Self::TooManyErrors,
        Self::TooManySessions,
        Self::TooManyMessages,
        Self::Denied,
        Self::NoLogin,
        Self::ClearLogin,
        Self::AuthFailed,
    ];

    fn bit(self) -> u32 {
        1 << self as u32
    }

    fn words(self) -> &'static str {
        match self {
            Self::LfLines => "LF line ends",
            Self::NoHello => "no HELO",
            Self::NoHelloName => "no HELO name",
            Self::OddHelloName => "odd HELO name",
            Self::NoBrackets => "addresses without brackets",
            Self::Ssl30 => "tried SSL 3.0",
            Self::Tls10 => "tried TLS 1.0",
            Self::Tls11 => "tried TLS 1.1",
            Self::TlsFailed => "TLS handshake failed",
            Self::TlsOnPlainPort => "TLS on a plain port",
            Self::SmtpOnTlsPort => "SMTP on a TLS port",
            Self::Foreign => "HTTP or header fields instead of commands",
            Self::BadContent => "bare CR, bare LF or NUL in content",
            Self::UnaskedContent => "content after refused DATA",
            Self::EarlyTalk => "talks before the greeting",
            Self::NoProxyHeader => "no PROXY header",
            Self::TooManyErrors => "too many errors",
            Self::TooManySessions => "too many sessions",
            Self::TooManyMessages => "too many messages",
            Self::Denied => "relaying denied",
            Self::NoLogin => "no login",
            Self::ClearLogin => "tried to log in without TLS",
            Self::AuthFailed => "AUTH failures",
        }
    }
}

/// The notes of one address.
#[derive(Clone, Copy, Debug)]
pub struct Noted {
    address: IpAddr,
    /// It is taken as it is: not a stranger.
    is_ours: bool,
    kinds: u32,
    auth_failures: u32,
}

impl Noted {
    /// Whose notes they are: an address, or a network of IPv6.
    pub fn who(&self) -> impl Display {
        struct Who(IpAddr);
        impl Display for Who {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}{}", self.0, if self.0.is_ipv6() { "/64" } else { "" })
            }
        }
        Who(self.address)
    }
}

/// `LF line ends, no HELO name, AUTH failures 3`.
impl Display for Noted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comma = "";
        for note in Note::ALL.into_iter().filter(|note| self.kinds & note.bit() != 0) {
            write!(f, "{comma}{}", note.words())?;
            if note == Note::AuthFailed {
                write!(f, " {}", self.auth_failures)?;
            }
            comma = ", ";
        }
        Ok(())
    }
}

/// All notes, oldest first.
#[derive(Debug, Default)]
pub struct Notes(Vec<Noted, NOTED_CLIENTS>);

impl Notes {
    /// No notes yet.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Keeps a note of an address, if it is not there already. `is_ours` for a client that is taken as
    /// it is.
    pub fn add(&mut self, address: IpAddr, is_ours: bool, note: Note) {
        let address = counted_as(address);
        let found = self.0.iter().position(|noted| noted.address == address);
        let mut noted = match found {
            Some(at) => self.0.remove(at),
            None => {
                if self.0.is_full() {
                    let oldest_stranger = self.0.iter().position(|noted| !noted.is_ours);
                    self.0.remove(oldest_stranger.unwrap_or(0));
                }
                Noted { address, is_ours, kinds: 0, auth_failures: 0 }
            }
        };
        noted.is_ours = is_ours;
        noted.kinds |= note.bit();
        noted.auth_failures = noted.auth_failures.saturating_add(u32::from(note == Note::AuthFailed));
        // There is room: one was taken out, or none had been there.
        let _ = self.0.push(noted);
    }

    /// The notes of a client.
    pub fn of(&self, remote: Remote) -> Option<&Noted> {
        let address = counted_as(remote.address()?);
        self.0.iter().find(|noted| noted.address == address)
    }

    /// The notes of that number, from 0, latest first.
    pub fn at(&self, number: usize) -> Option<&Noted> {
        self.0.iter().rev().nth(number)
    }
}

impl Relay {
    /// Keeps a note of a client, if it has an address.
    pub fn note(&mut self, client: &Client, note: Note) {
        if let Some(address) = client.remote.address() {
            self.notes.add(address, client.tolerant, note);
        }
    }

    /// Notes the habits of a client, as its session shows them so far.
    pub fn note_habits(&mut self, client: &Client, session: &Session) {
        if session.first_line_end() == Some(End::Lf) {
            self.note(client, Note::LfLines);
        }
        let habits = session.habits();
        let last = habits.last_refusal.map_or(0, |(code, _)| code);
        for (is_seen, note) in [
            (last == 530, Note::NoLogin),
            (last == 538, Note::ClearLogin),
            (habits.no_hello, Note::NoHello),
            (habits.no_hello_name, Note::NoHelloName),
            (habits.odd_hello_name, Note::OddHelloName),
            (habits.no_brackets, Note::NoBrackets),
        ] {
            if is_seen {
                self.note(client, note);
            }
        }
    }

    /// A session is over: notes its habits, and says in the log why it ended if that was not as it
    /// should be.
    pub fn note_end(&mut self, client: &Client, session: &Session) {
        self.note_habits(client, session);
        self.log_refusals(client, session);
        let Some((note, advice)) = session.cause().and_then(of_cause) else { return };
        self.note(client, note);
        let words = note.words();
        let target = client.log_target();
        info!(target: target, "- closed client={} reason={}", client.remote, Quoted::new(format_args!("{words}{advice}")));
    }

    /// The session has refused commands by itself, which nobody has written down yet.
    fn log_refusals(&self, client: &Client, session: &Session) {
        let habits = session.habits();
        let Some((code, (subject, detail))) = habits.last_refusal else { return };
        info!(
            target: client.log_target(),
            "- rejected client={} helo={} commands={} reply=\"{code} {}.{subject}.{detail}\" notes={}",
            client.remote,
            Quoted::new(session.hello().map_or("", |hello| hello.name.as_str())),
            habits.refused,
            code / 100,
            Quoted::new(self.notes.of(client.remote).map(text::<256>).unwrap_or_default()),
        );
    }
}

/// The note about a session that ended so, and what is to be done about it.
fn of_cause(cause: Cause) -> Option<(Note, &'static str)> {
    match cause {
        Cause::Quit | Cause::Shut | Cause::Chunk => None,
        Cause::Early => Some((Note::EarlyTalk, "")),
        Cause::Errors => Some((Note::TooManyErrors, "")),
        Cause::Tls => Some((
            Note::TlsOnPlainPort,
            "; set the device to STARTTLS or to no encryption, or make this a port with tls = \"implicit\"",
        )),
        Cause::Foreign => Some((Note::Foreign, "; that was no mail program")),
        Cause::Unasked => Some((Note::UnaskedContent, "; the lines above say why DATA was refused")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn notes_read_as_a_line() {
        let mut notes = Notes::new();
        let printer = address("192.168.1.50");
        for note in [Note::Tls10, Note::NoHelloName, Note::LfLines] {
            notes.add(printer, true, note);
            notes.add(printer, true, note);
        }
        assert_eq!(notes.at(0).unwrap().to_string(), "LF line ends, no HELO name, tried TLS 1.0");
        for _ in 0..3 {
            notes.add(printer, true, Note::AuthFailed);
        }
        assert!(notes.at(0).unwrap().to_string().ends_with("tried TLS 1.0, AUTH failures 3"));
        assert!(notes.at(1).is_none());
    }

    #[test]
    fn every_kind_has_its_bit() {
        let mut notes = Notes::new();
        Note::ALL.into_iter().for_each(|note| notes.add(address("::1"), false, note));
        assert_eq!(notes.at(0).unwrap().to_string().split(", ").count(), Note::ALL.len() + 1);
        assert_eq!(notes.at(0).unwrap().kinds.count_ones() as usize, Note::ALL.len());
    }

    #[test]
    fn an_ipv6_network_is_one_client() {
        let mut notes = Notes::new();
        notes.add(address("2001:db8::1"), false, Note::Foreign);
        notes.add(address("2001:db8::ffff:1"), false, Note::LfLines);
        notes.add(address("2001:db8:0:1::1"), false, Note::Foreign);
        assert_eq!(notes.at(1).unwrap().who().to_string(), "2001:db8::/64");
        assert!(notes.at(2).is_none());
    }

    #[test]
    fn strangers_are_forgotten_first_then_the_oldest() {
        let mut notes = Notes::new();
        let nth = |n: usize| address(&format!("10.0.{}.{}", n / 256, n % 256));
        notes.add(nth(0), true, Note::LfLines);
        (1..=1000).for_each(|n| notes.add(nth(n), false, Note::Foreign));
        let all: std::vec::Vec<IpAddr> =
            (0..).map_while(|n| notes.at(n)).map(|noted| noted.address).collect();
        assert_eq!((all.len(), all[0], all[NOTED_CLIENTS - 1]), (NOTED_CLIENTS, nth(1000), nth(0)));
        (2000..2000 + NOTED_CLIENTS).for_each(|n| notes.add(nth(n), true, Note::LfLines));
        assert_eq!(notes.at(NOTED_CLIENTS - 1).unwrap().address, nth(2000));
    }
}
