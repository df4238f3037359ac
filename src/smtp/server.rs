//! The server side of a session.
//!
//! ```text
//! loop {
//!     let step = session.step(&terms, input.filled(), scratch, &mut out);
//!     input.consume(step.consumed);
//!     match step.next {
//!         Next::Input => read more,                      Next::Output => flush `out`,
//!         Next::Content(n) => store scratch[..n],        Next::Close => flush `out`, then close,
//!         Next::Ask => do what session.question() says; then session.answer(..),
//!     }
//! }
//! ```

use heapless::String;

use super::buffer::Buffer;
use super::command::{Mail, Recipient};
use super::keyword::Keywords;
use super::reply::Reply;
use crate::limits::{DOMAIN_OCTETS, OUTPUT_OCTETS};

/// What holds for a session; borrowed on every call, so a new configuration can hold from the
/// next call on.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// Our name in the greeting and the EHLO reply.
    pub hostname: &'a str,
    /// Content octets a message may have.
    pub message_size: u64,
    /// Recipients a transaction may have.
    pub recipients: u16,
    /// Error replies after which a session is closed with 421.
    pub errors: u16,
    /// What the listener is for.
    pub role: Role,
    /// The client is taken as it is (relay_from, appliance): tolerant rules.
    pub trusted: bool,
    /// Line ends of a trusted client; for everyone else they are rejected.
    pub bare_newline: BareNewline,
    /// EHLO keywords not shown, and so not taken.
    pub hidden: Keywords,
}

/// What a listener is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// An MTA: takes mail for local domains from anyone.
    Relay,
    /// An MSA: takes mail from its own users only (RFC 6409).
    Submission,
}

/// What happens to bare CR and bare LF of a trusted client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BareNewline {
    /// They become CRLF.
    Normalize,
    /// The message is refused.
    Reject,
}

/// What a call of [`Session::step`] did and what it needs now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Octets of the input that are done with.
    pub consumed: usize,
    /// What to do before the next call.
    pub next: Next,
}

/// What [`Session::step`] needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// More octets.
    Input,
    /// Room in `out`: flush it. Nothing was lost.
    Output,
    /// An answer to [`Session::question`].
    Ask,
    /// This many content octets in the scratch buffer to be stored; [`Session::fail_content`] if
    /// they cannot be.
    Content(usize),
    /// `out` to be flushed and the connection closed. An open transaction is void.
    Close,
}

/// What the session cannot decide by itself. While one is open nothing is consumed.
#[derive(Clone, Copy, Debug)]
pub enum Question<'a> {
    /// May this transaction begin? `Yes` or `Refused`.
    Begin(&'a Mail),
    /// Is this recipient taken? `Yes` or `Refused`.
    Recipient(&'a Transaction, &'a Recipient),
    /// May the content come? `Yes` or `Refused`; refusing drops the transaction.
    Content(&'a Transaction),
    /// All content was handed over: is it durable? `Committed` or `Refused`; both end the
    /// transaction.
    Commit(&'a Transaction),
    /// The transaction is void, forget it. `Yes`.
    Reset(&'a Transaction),
}

/// The answer to a question.
#[derive(Clone, Debug)]
pub enum Answer<'a> {
    /// Yes.
    Yes,
    /// The message is durable under this queue id.
    Committed(&'a str),
    /// No, and this is the reply; a 421 closes the session.
    Refused(Reply),
}

/// What the session waits for, which decides the deadline (RFC 5321 4.5.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// A command line.
    Command,
    /// Content octets.
    Content,
    /// An answer from us.
    Answer,
    /// Nothing: the session is over.
    Closing,
}

/// A mail transaction: from MAIL to its end.
#[derive(Clone, Debug)]
pub struct Transaction {
    /// What MAIL said.
    pub mail: Mail,
    /// Recipients taken so far.
    pub recipients: u16,
    /// Content octets handed over so far.
    pub octets: u64,
}

/// The client's HELO or EHLO.
#[derive(Clone, Debug)]
pub struct Hello {
    /// True for EHLO.
    pub extended: bool,
    /// The name it gave, printable ASCII; empty if it gave none.
    pub name: String<DOMAIN_OCTETS>,
}

/// One SMTP session, seen from the server.
#[derive(Debug)]
pub struct Session {
    hello: Option<Hello>,
}

impl Default for Session {
    fn default() -> Self {
        Self::new()
    }
}

#[allow(unused_variables, missing_docs)]
impl Session {
    /// A session before its greeting.
    pub fn new() -> Self {
        Self { hello: None }
    }
    /// Says 220.
    pub fn greet(&mut self, terms: &Terms<'_>, out: &mut Buffer<OUTPUT_OCTETS>) {
        todo!()
    }
    /// Takes input until it needs something. `content` is scratch of at least 16 octets.
    pub fn step(
        &mut self,
        terms: &Terms<'_>,
        input: &[u8],
        content: &mut [u8],
        out: &mut Buffer<OUTPUT_OCTETS>,
    ) -> Step {
        todo!()
    }
    /// The open question.
    pub fn question(&self) -> Option<Question<'_>> {
        todo!()
    }
    /// Answers the open question; panics if none is open.
    pub fn answer(&mut self, terms: &Terms<'_>, answer: Answer<'_>, out: &mut Buffer<OUTPUT_OCTETS>) {
        todo!()
    }
    /// The content that [`Next::Content`] brought cannot be stored: the rest is swallowed, this
    /// reply is given at its end, and [`Question::Reset`] asked before it.
    pub fn fail_content(&mut self, reply: Reply) {
        todo!()
    }
    /// Ends the session from our side (timeout, shutdown): says `reply` if there is room.
    pub fn shut(&mut self, reply: &Reply, out: &mut Buffer<OUTPUT_OCTETS>) {
        todo!()
    }
    /// What the session waits for.
    pub fn waiting(&self) -> Waiting {
        todo!()
    }
    /// The client's last HELO or EHLO.
    pub fn hello(&self) -> Option<&Hello> {
        self.hello.as_ref()
    }
    /// The open transaction.
    pub fn transaction(&self) -> Option<&Transaction> {
        todo!()
    }
    /// The name of the protocol for `Received:` and the log: SMTP, ESMTP, UTF8SMTP (RFC 3848, RFC 6531 4.3).
    pub fn protocol(&self) -> &'static str {
        todo!()
    }
}
