//! The recipients that stand in a message's own header (`sendmail -t`).
#![allow(unused_variables)]

/// Something between two commas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    /// An address without name and comments: `local-part@domain`, or a local-part alone.
    Address(&'a str),
    /// No address: too long, not UTF-8, or words in a row. Its text as far as it can be shown.
    Unreadable(&'a str),
}

/// Reads `To:`, `Cc:` and `Bcc:` of one message.
#[derive(Debug, Default)]
pub struct Recipients {}

impl Recipients {
    /// Before the first octet.
    pub const fn new() -> Self {
        Self {}
    }
    /// Takes content, split anywhere; `each` sees every entry when it is complete.
    pub fn read(&mut self, octets: &[u8], each: &mut impl FnMut(Entry<'_>)) {
        todo!()
    }
    /// The content is complete.
    pub fn finish(&mut self, each: &mut impl FnMut(Entry<'_>)) {
        todo!()
    }
}
