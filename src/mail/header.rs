//! The header section of a message, looked at and completed while it streams by.
#![allow(unused_variables, clippy::missing_errors_doc)]

use super::date::Date;

/// What is to be changed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules<'a> {
    /// Fields to be added if they are missing.
    pub missing: Option<Missing<'a>>,
    /// Leaves every `Bcc:` out (for `sendmail -t`).
    pub drop_bcc: bool,
    /// Leaves every `Return-Path:` out: only the final delivery adds it (RFC 5321 4.4).
    pub drop_return_path: bool,
}

/// What `Date:`, `Message-ID:` and `From:` say when a message comes without.
#[derive(Clone, Copy, Debug)]
pub struct Missing<'a> {
    /// For `Date:`.
    pub date: Date,
    /// For `Message-ID: <id@hostname>`: the queue id.
    pub id: &'a str,
    /// For `Message-ID:`: our name.
    pub hostname: &'a str,
    /// The text of `From:`, an address with or without a display name.
    pub from: &'a str,
}

/// Follows one message.
#[derive(Debug, Default)]
pub struct Scanner {}

impl Scanner {
    /// Before the first octet.
    pub const fn new() -> Self {
        Self {}
    }
    /// Takes decoded content (clean CRLF lines, split anywhere) and gives what is to be stored to
    /// `sink`; its errors end the call, and the message with it.
    pub fn write<E>(
        &mut self,
        rules: &Rules<'_>,
        octets: &[u8],
        sink: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        todo!()
    }
    /// The content is complete.
    pub fn finish<E>(
        &mut self,
        rules: &Rules<'_>,
        sink: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        todo!()
    }
    /// `Received:` fields so far.
    pub fn received(&self) -> u32 {
        todo!()
    }
    /// True if there are so many `Received:` fields that the message must be going in circles.
    pub fn is_looping(&self) -> bool {
        todo!()
    }
}
