//! What a client does that it should not, seen while its commands are judged. It decides nothing: it
//! is for the log, and for the notes about the client.

use super::Hello;
use crate::smtp::command::Command;
use crate::smtp::reply::Reply;

/// Seen so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Habits {
    /// MAIL without HELO or EHLO.
    pub no_hello: bool,
    /// HELO or EHLO without a name.
    pub no_hello_name: bool,
    /// HELO or EHLO with something that is no name.
    pub odd_hello_name: bool,
    /// MAIL or RCPT without brackets around the address.
    pub no_brackets: bool,
    /// Commands that the session refused by itself, without asking.
    pub refused: u16,
    /// Code of the last such refusal, and subject and detail of its enhanced code.
    pub last_refusal: Option<(u16, (u16, u16))>,
}

impl Habits {
    /// Nothing yet.
    pub const NONE: Self = Self {
        no_hello: false,
        no_hello_name: false,
        odd_hello_name: false,
        no_brackets: false,
        refused: 0,
        last_refusal: None,
    };

    /// Looks at a command; `hello` is what the client has said so far.
    pub(super) fn see(&mut self, command: &Command<'_>, hello: Option<&Hello>) {
        match command {
            Command::Helo(b"") | Command::Ehlo(b"") => self.no_hello_name = true,
            Command::Helo(name) | Command::Ehlo(name) => self.odd_hello_name |= !Hello::is_name(name),
            Command::Mail(argument) => {
                self.no_hello |= hello.is_none();
                self.no_brackets |= !argument.contains(&b'<');
            }
            Command::Rcpt(argument) => self.no_brackets |= !argument.contains(&b'<'),
            _ => {}
        }
    }

    /// A command was refused.
    pub(super) fn refuse(&mut self, reply: &Reply) {
        self.refused = self.refused.saturating_add(1);
        self.last_refusal = Some((reply.code(), reply.detail().unwrap_or_default()));
    }
}
