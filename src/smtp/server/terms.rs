//! What holds for a session, and what EHLO says of it.

use core::fmt::Write;

use super::Hello;
use crate::limits::{OUTPUT_OCTETS, RECIPIENTS};
use crate::smtp::address::Manner;
use crate::smtp::buffer::Buffer;
use crate::smtp::keyword::{Keyword, Keywords};
use crate::smtp::sasl::Mechanisms;

/// What holds for a session; borrowed on every call, so a new configuration can hold from the
/// next call on.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// Our name in the greeting and the EHLO reply, and the domain of addresses that clients
    /// taken as they are give none.
    pub hostname: &'a str,
    /// Content octets that a message may have.
    pub message_size: u64,
    /// Recipients that a transaction may have; at most [`RECIPIENTS`] count.
    pub recipients: u16,
    /// Error replies (4yz and 5yz) after which the session is closed with 421.
    pub errors: u16,
    /// What the listener is for.
    pub role: Role,
    /// The client may send through us without saying who it is.
    pub trusted: bool,
    /// The client is taken as it is: tolerant rules. All that are trusted are, and appliances.
    pub tolerant: bool,
    /// Line ends of a client that is taken as it is; for everyone else they are rejected.
    pub bare_newline: BareNewline,
    /// EHLO keywords not shown, and so not taken.
    pub hidden: Keywords,
    /// TLS of the connection.
    pub tls: Tls,
    /// What users can use to log in; nothing: nobody can.
    pub mechanisms: Mechanisms,
    /// Logins are taken without TLS.
    pub plaintext_auth: bool,
}

/// TLS of a connection, as the session sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// In the clear, and no STARTTLS.
    NotOffered,
    /// In the clear; STARTTLS may be said (RFC 3207).
    Offered,
    /// What is said goes through TLS.
    Active,
}

/// What a listener is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// An MTA: takes mail for local domains from anyone.
    Relay,
    /// An MSA: takes mail from its own users only (RFC 6409).
    Submission,
}

/// What happens to bare CR and bare LF of a client that is taken as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BareNewline {
    /// They become CRLF.
    Normalize,
    /// They are refused, as for everyone else.
    Reject,
}

impl<'a> Terms<'a> {
    /// How addresses are read.
    pub(super) fn manner(&self) -> Manner<'a> {
        if self.tolerant { Manner::Tolerant(self.hostname) } else { Manner::Strict }
    }

    /// The extensions that may be used after this HELO, EHLO, or neither.
    pub(super) fn taken(&self, hello: Option<&Hello>) -> Keywords {
        match hello {
            Some(Hello { extended: true, .. }) => self.offered(),
            Some(_) | None if self.tolerant => self.offered(),
            Some(_) | None => Keywords::NONE,
        }
    }

    /// Recipients that a transaction may have.
    pub(super) fn recipients(&self) -> usize {
        RECIPIENTS.min(usize::from(self.recipients))
    }

    /// True if EHLO announces it, so that it may be said.
    pub(super) fn offers(&self, keyword: Keyword) -> bool {
        self.offered().contains(keyword)
    }

    /// True if AUTH may be said once STARTTLS was.
    pub(super) fn wants_tls_for_auth(&self) -> bool {
        let is_hidden = self.hidden.contains(Keyword::Auth);
        self.offers(Keyword::StartTls)
            && !self.offers(Keyword::Auth)
            && !self.mechanisms.is_empty()
            && !is_hidden
    }

    fn offered(&self) -> Keywords {
        let offers_auth = !self.mechanisms.is_empty() && (self.plaintext_auth || self.tls == Tls::Active);
        let absent = if offers_auth { Keywords::NONE } else { Keywords::NONE.with(Keyword::Auth) };
        let absent = if self.tls == Tls::Offered { absent } else { absent.with(Keyword::StartTls) };
        Keywords::ALL.minus(self.hidden).minus(absent)
    }

    /// The answer to HELO, or to EHLO if `extended`; false if there is no room.
    pub(super) fn write_hello(&self, extended: bool, out: &mut Buffer<OUTPUT_OCTETS>) -> bool {
        self.try_write_hello(extended, out).is_ok()
    }

    fn try_write_hello(&self, extended: bool, out: &mut Buffer<OUTPUT_OCTETS>) -> core::fmt::Result {
        if !extended {
            return write!(out, "250 {}\r\n", self.hostname);
        }
        let offered = self.offered();
        let mut shown = Keyword::ALL.into_iter().filter(|&keyword| offered.contains(keyword)).peekable();
        let mark = |last: bool| if last { ' ' } else { '-' };
        write!(out, "250{}{}\r\n", mark(shown.peek().is_none()), self.hostname)?;
        while let Some(keyword) = shown.next() {
            write!(out, "250{}{}", mark(shown.peek().is_none()), keyword.name())?;
            match keyword {
                Keyword::Size => write!(out, " {}", self.message_size)?,
                Keyword::Auth => write!(out, " {}", self.mechanisms)?,
                Keyword::Limits => write!(out, " RCPTMAX={}", self.recipients())?,
                _ => {}
            }
            out.write_str("\r\n")?;
        }
        Ok(())
    }
}
