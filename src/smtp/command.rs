//! Commands: what a line asks for, and the parameters of MAIL and RCPT.

use heapless::String;

use super::address::Path;
use crate::limits::{ENVID_OCTETS, ORCPT_OCTETS};

/// What MAIL said (RFC 5321 4.1.1.2 and the extensions).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mail {
    /// The reverse-path; null for bounces.
    pub reverse_path: Path,
    /// SIZE, in octets (RFC 1870).
    pub size: Option<u64>,
    /// BODY (RFC 6152).
    pub body: Body,
    /// SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// RET (RFC 3461 4.3).
    pub ret: Option<Ret>,
    /// ENVID, still as xtext, so it can be passed on as it is (RFC 3461 4.4); empty: none.
    pub envid: String<ENVID_OCTETS>,
}

/// What RCPT said (RFC 5321 4.1.1.3 and DSN).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recipient {
    /// The forward-path.
    pub forward_path: Path,
    /// NOTIFY (RFC 3461 4.1).
    pub notify: Notify,
    /// ORCPT, `type;xtext`, still as xtext (RFC 3461 4.2); empty: none.
    pub orcpt: String<ORCPT_OCTETS>,
}

/// BODY of a message (RFC 6152).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Body {
    /// Not said.
    #[default]
    Unsaid,
    /// `7BIT`.
    SevenBit,
    /// `8BITMIME`.
    EightBitMime,
}

/// What a bounce returns (RFC 3461 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ret {
    /// The whole message.
    Full,
    /// Its header section.
    Headers,
}

/// When the sender wants to hear of a recipient (RFC 3461 4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Notify {
    /// Not said: on failure, and on delay if we like.
    #[default]
    Unsaid,
    /// `NEVER`.
    Never,
    /// A list of at least one of these.
    On {
        /// `SUCCESS`.
        success: bool,
        /// `FAILURE`.
        failure: bool,
        /// `DELAY`.
        delay: bool,
    },
}
