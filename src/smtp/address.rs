//! Mailboxes and paths (RFC 5321 4.1.2): read once, kept in canonical form.
//!
//! A [`Path`] is the text between the brackets in one spelling: needless quotes and source routes
//! are gone, so equal mailboxes compare equal and everything behind (routing, spool, client)
//! reads the same text. [`Address`] splits that text for those who route by it.

use heapless::String;

use crate::limits::{LOCAL_PART_OCTETS, PATH_OCTETS};

/// A reverse-path or forward-path without its brackets, in canonical form.
///
/// Empty is the null reverse-path; `postmaster` without a domain is RFC 5321's bare
/// `<Postmaster>`; everything else is `local-part@domain`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path(String<{ PATH_OCTETS - 2 }>);

/// Why something is no path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It does not follow the grammar.
    Syntax,
    /// It, its local-part or its domain is longer than `limits` says.
    TooLong,
    /// It has no domain, and its sender is not trusted to leave it out.
    NoDomain,
}

/// How strictly a path is read.
#[derive(Clone, Copy, Debug)]
pub enum Manner<'a> {
    /// To the letter of RFC 5321.
    Strict,
    /// As old devices write it: without brackets, with spaces around, without a domain, which is
    /// then this one.
    Tolerant(&'a str),
}

impl Path {
    /// The null reverse-path `<>`.
    pub const NULL: Self = Self(String::new());

    /// Reads a mailbox without brackets, strictly, as it stands in configuration and on command
    /// lines. UTF-8 is taken.
    pub fn parse(_text: &str) -> Result<Self, Fault> {
        todo!()
    }

    /// The canonical text, without brackets.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True for `<>`.
    pub fn is_null(&self) -> bool {
        self.0.is_empty()
    }

    /// Local-part and domain; `None` for `<>`. A bare `postmaster` has an empty domain.
    pub fn address(&self) -> Option<Address<'_>> {
        Address::parse(&self.0)
    }
}

/// Local-part and domain of a canonical path.
#[derive(Clone, Copy, Debug)]
pub struct Address<'a> {
    /// The local-part as written, with its quotes if it needs them.
    pub local: &'a str,
    /// The domain or address literal, without a trailing dot; empty for a bare `postmaster`.
    pub domain: &'a str,
}

impl<'a> Address<'a> {
    /// Splits canonical text, as [`Path::as_str`] gives it; `None` if it is empty.
    pub fn parse(_canonical: &'a str) -> Option<Self> {
        todo!()
    }

    /// The local-part without quotes and backslashes: what names a mailbox.
    pub fn unquoted(&self) -> String<LOCAL_PART_OCTETS> {
        todo!()
    }

    /// True if the domain is this one: ASCII case and a trailing dot do not count.
    pub fn is_at(&self, domain: &str) -> bool {
        same_domain(self.domain, domain)
    }
}

/// True if two domains are the same: ASCII case and a trailing dot do not count.
pub fn same_domain(one: &str, other: &str) -> bool {
    let bare = |domain: &'_ str| domain.len() - usize::from(domain.ends_with('.'));
    one.as_bytes()[..bare(one)].eq_ignore_ascii_case(&other.as_bytes()[..bare(other)])
}
