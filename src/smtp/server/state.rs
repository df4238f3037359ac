//! The states of a session and every step between them.
//!
//! Three things move a session: a command line ([`State::commanded`]), content octets
//! ([`State::fed`]) and an answer ([`State::answered`]). Each takes the state by value and names
//! the next one and what is said on the way.

use heapless::String;

use super::{Answer, Role, Terms};
use crate::limits::DOMAIN_OCTETS;
use crate::smtp::command::{self, Command, Mail, Recipient};
use crate::smtp::content::{Decoder, Fault, Framing, LineEnds, Stop};
use crate::smtp::keyword::Keyword;
use crate::smtp::reply::Reply;

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

/// A BDAT chunk (RFC 3030).
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    /// Octets still to come.
    left: u64,
    last: bool,
}

/// How content will come.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way {
    Data,
    Bdat(Piece),
}

/// What follows when the store has forgotten a transaction.
#[derive(Debug)]
pub(super) enum After {
    /// This reply, and no transaction.
    Reply(Reply),
    /// The answer to HELO or EHLO.
    Hello(Hello),
    /// This reply, and doubt whether content comes all the same.
    Refused(Reply),
    /// This reply, to this chunk and to those behind it.
    Failed(Reply),
}

#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "the state is the slot's memory; nothing is boxed")]
pub(super) enum State {
    /// No transaction.
    Ready,
    /// DATA was refused. A client that does not wait for 354 sends its content now, and content
    /// must not be read as commands.
    Refused,
    /// A chunk was refused; those that the client sent behind it get the same reply.
    Failed(Reply),
    /// MAIL was taken, RCPT or content may follow.
    Envelope(Transaction),
    /// Between two chunks.
    Chunks(Transaction, Decoder),
    /// Content arrives, up to the lone dot.
    Content(Transaction, Decoder),
    /// The same, but it will be refused.
    Spoiled(Transaction, Decoder, Reply),
    /// A chunk arrives.
    Chunk(Transaction, Decoder, Piece),
    /// A chunk arrives that will be refused.
    Skip(Option<Transaction>, Piece, Reply),
    AskBegin(Mail),
    AskRecipient(Transaction, Recipient),
    AskContent(Transaction, Way),
    AskCommit(Transaction),
    AskReset(Transaction, After),
    /// Nothing is read any more.
    Closing,
}

/// What is said on the way into a state.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "lives for one call")]
pub(super) enum Say {
    Nothing,
    Reply(Reply),
    /// The answer to HELO or EHLO.
    Hello(Hello),
}

/// What became of content octets.
pub(super) struct Fed {
    pub(super) next: State,
    pub(super) say: Say,
    pub(super) consumed: usize,
    /// Octets in the scratch buffer that are to be stored.
    pub(super) written: usize,
}

type Turn = (State, Say);

fn reply(state: State, code: u16, detail: (u16, u16), text: &str) -> Turn {
    (state, Say::Reply(Reply::new(code, detail, text)))
}

impl State {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Refused => "Refused",
            Self::Failed(..) => "Failed",
            Self::Envelope(..) => "Envelope",
            Self::Chunks(..) => "Chunks",
            Self::Content(..) => "Content",
            Self::Spoiled(..) => "Spoiled",
            Self::Chunk(..) => "Chunk",
            Self::Skip(..) => "Skip",
            Self::AskBegin(..) => "AskBegin",
            Self::AskRecipient(..) => "AskRecipient",
            Self::AskContent(..) => "AskContent",
            Self::AskCommit(..) => "AskCommit",
            Self::AskReset(..) => "AskReset",
            Self::Closing => "Closing",
        }
    }

    pub(super) fn transaction(&self) -> Option<&Transaction> {
        match self {
            Self::Envelope(transaction)
            | Self::Chunks(transaction, _)
            | Self::Content(transaction, _)
            | Self::Spoiled(transaction, ..)
            | Self::Chunk(transaction, ..)
            | Self::Skip(Some(transaction), ..)
            | Self::AskRecipient(transaction, _)
            | Self::AskContent(transaction, _)
            | Self::AskCommit(transaction)
            | Self::AskReset(transaction, _) => Some(transaction),
            Self::Ready
            | Self::Refused
            | Self::Failed(_)
            | Self::Skip(None, ..)
            | Self::AskBegin(_)
            | Self::Closing => None,
        }
    }

    /// A command line in one of the states that read them.
    pub(super) fn commanded(self, command: Command<'_>, terms: &Terms<'_>, hello: Option<&Hello>) -> Turn {
        use Command as C;
        match (self, command) {
            (_, C::Quit) => reply(Self::Closing, 221, (0, 0), "closing"),
            (Self::Refused, command) if !matches!(command, C::Helo(_) | C::Ehlo(_) | C::Rset | C::Noop) => {
                reply(Self::Closing, 421, (5, 0), "content came though DATA was refused; closing")
            }
            (_, C::Foreign) => {
                reply(Self::Closing, 221, (7, 0), "this is a mail server, and that was no mail command")
            }

            (state, C::Helo(name)) => state.greeted(Hello::read(name, false, terms)),
            (state, C::Ehlo(name)) => state.greeted(Hello::read(name, true, terms)),
            (state, C::Rset) => state.reset(After::Reply(Reply::new(250, (0, 0), "ok"))),
            (state, C::Noop) => reply(state, 250, (0, 0), "ok"),

            (state @ (Self::Envelope(_) | Self::Chunks(..)), C::Mail(_)) => {
                reply(state, 503, (5, 1), "a transaction is open already")
            }
            (state, C::Mail(argument)) => state.begun(argument, terms, hello),
            (Self::Envelope(transaction), C::Rcpt(argument)) => {
                Self::addressed(transaction, argument, terms, hello)
            }
            (state @ Self::Chunks(..), C::Rcpt(_)) => reply(state, 503, (5, 1), "content has begun"),
            (state, C::Rcpt(_)) => reply(state, 503, (5, 1), "MAIL first"),
            (state, C::Data(argument)) => state.data(argument, terms),
            (state, C::Bdat(argument)) => state.bdat(argument, terms, hello),

            (state, C::Vrfy(b"")) => reply(state, 501, (5, 4), "syntax: VRFY address"),
            (state, C::Vrfy(_)) => reply(state, 252, (0, 0), "not verified here; send a message to find out"),
            (state, C::Help) if !terms.hidden.contains(Keyword::Help) => reply(
                state,
                214,
                (0, 0),
                "EHLO HELO MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT; see RFC 5321",
            ),
            (state, C::Expn | C::StartTls | C::Auth | C::Help) => {
                reply(state, 502, (5, 1), "not offered here")
            }
            (state, C::Unknown) => reply(state, 500, (5, 2), "command not recognized"),
            (state, C::BareLf) => {
                reply(state, 500, (5, 2), "a command line must end in CRLF, not in LF alone")
            }
            (state, C::TooLong) => reply(state, 500, (5, 2), "line too long"),
        }
    }

    /// HELO and EHLO end a transaction too (RFC 5321 4.1.4).
    fn greeted(self, hello: Result<Hello, Reply>) -> Turn {
        match hello {
            Ok(hello) => self.reset(After::Hello(hello)),
            Err(refusal) => (self, Say::Reply(refusal)),
        }
    }

    /// No transaction any more; if there was one, once the store has forgotten it.
    fn reset(self, after: After) -> Turn {
        match self.opened() {
            Some(transaction) => (Self::AskReset(transaction, after), Say::Nothing),
            None => after.turn(),
        }
    }

    /// The transaction of a state that reads command lines.
    fn opened(self) -> Option<Transaction> {
        match self {
            Self::Envelope(transaction) | Self::Chunks(transaction, _) => Some(transaction),
            _ => None,
        }
    }

    fn begun(self, argument: &[u8], terms: &Terms<'_>, hello: Option<&Hello>) -> Turn {
        if hello.is_none() && !terms.trusted {
            return reply(self, 503, (5, 1), "EHLO or HELO first");
        }
        if terms.role == Role::Submission && !terms.trusted {
            return reply(self, 530, (7, 0), "authentication required");
        }
        match Mail::parse(argument, terms.manner(), terms.taken(hello)) {
            Ok(mail) if mail.size.is_some_and(|size| size > terms.message_size) => {
                (self, Say::Reply(too_large(terms)))
            }
            Ok(mail) => (Self::AskBegin(mail), Say::Nothing),
            Err(refusal) => (self, Say::Reply(refusal)),
        }
    }

    fn addressed(
        transaction: Transaction,
        argument: &[u8],
        terms: &Terms<'_>,
        hello: Option<&Hello>,
    ) -> Turn {
        let smtputf8 = transaction.mail.smtputf8;
        match Recipient::parse(argument, terms.manner(), terms.taken(hello), smtputf8) {
            Ok(_) if usize::from(transaction.recipients) >= terms.recipients() => {
                reply(Self::Envelope(transaction), 452, (5, 3), "too many recipients")
            }
            Ok(recipient) => (Self::AskRecipient(transaction, recipient), Say::Nothing),
            Err(refusal) => (Self::Envelope(transaction), Say::Reply(refusal)),
        }
    }

    /// Every refusal of DATA goes into [`State::Refused`].
    fn data(self, argument: &[u8], terms: &Terms<'_>) -> Turn {
        let refusal = match self {
            _ if !argument.is_empty() && !terms.trusted => Reply::new(501, (5, 4), "DATA takes no argument"),
            Self::Envelope(transaction) if transaction.recipients > 0 => {
                return (Self::AskContent(transaction, Way::Data), Say::Nothing);
            }
            Self::Envelope(_) => Reply::new(554, (5, 1), "no valid recipients"),
            Self::Chunks(..) => Reply::new(503, (5, 1), "DATA and BDAT do not mix"),
            _ => Reply::new(503, (5, 1), "MAIL and RCPT first"),
        };
        self.reset(After::Refused(refusal))
    }

    fn bdat(self, argument: &[u8], terms: &Terms<'_>, hello: Option<&Hello>) -> Turn {
        let Some((left, last)) = command::chunk(argument) else {
            // How much content follows is unknown, so nothing that follows can be read.
            return reply(Self::Closing, 501, (5, 4), "syntax: BDAT octets [LAST]; closing");
        };
        let piece = Piece { left, last };
        let fits = |transaction: &Transaction| left <= terms.message_size.saturating_sub(transaction.octets);
        let refusal = match self {
            Self::Failed(refusal) => return (Self::Skip(None, piece, refusal), Say::Nothing),
            _ if !terms.taken(hello).contains(Keyword::Chunking) => {
                Reply::new(502, (5, 1), "not offered here")
            }
            Self::Envelope(ref transaction) if transaction.recipients == 0 => {
                Reply::new(554, (5, 1), "no valid recipients")
            }
            Self::Envelope(transaction) if fits(&transaction) => {
                return (Self::AskContent(transaction, Way::Bdat(piece)), Say::Nothing);
            }
            Self::Chunks(transaction, decoder) if fits(&transaction) => {
                return (Self::Chunk(transaction, decoder, piece), Say::Nothing);
            }
            Self::Envelope(_) | Self::Chunks(..) => too_large(terms),
            _ => Reply::new(503, (5, 1), "MAIL and RCPT first"),
        };
        (Self::Skip(self.opened(), piece, refusal), Say::Nothing)
    }

    /// True if [`State::fed`] can do nothing without input.
    pub(super) fn needs_octets(&self) -> bool {
        !matches!(self, Self::Chunk(_, _, Piece { left: 0, .. }) | Self::Skip(_, Piece { left: 0, .. }, _))
    }

    /// Content octets, in one of the states that read them.
    pub(super) fn fed(self, input: &[u8], content: &mut [u8], terms: &Terms<'_>) -> Fed {
        match self {
            Self::Content(transaction, decoder) => {
                Self::fed_data(transaction, decoder, input, content, terms)
            }
            Self::Spoiled(transaction, mut decoder, refusal) => {
                let decoded = decoder.decode(input, content);
                let next = match decoded.stop {
                    Stop::End => Self::AskReset(transaction, After::Reply(refusal)),
                    Stop::Exhausted | Stop::Fault(_) => Self::Spoiled(transaction, decoder, refusal),
                };
                Fed { next, say: Say::Nothing, consumed: decoded.consumed, written: 0 }
            }
            Self::Chunk(transaction, decoder, Piece { left: 0, last }) => {
                Self::chunk_end(transaction, decoder, last, content)
            }
            Self::Chunk(transaction, decoder, piece) => {
                Self::fed_chunk(transaction, decoder, piece, input, content, terms)
            }
            Self::Skip(transaction, Piece { left: 0, last }, refusal) => {
                let after = if last { After::Reply(refusal) } else { After::Failed(refusal) };
                let (next, say) = match transaction {
                    Some(transaction) => (Self::AskReset(transaction, after), Say::Nothing),
                    None => after.turn(),
                };
                Fed { next, say, consumed: 0, written: 0 }
            }
            Self::Skip(transaction, mut piece, refusal) => {
                let consumed = piece.of(input).len();
                piece.left -= consumed as u64;
                let next = Self::Skip(transaction, piece, refusal);
                Fed { next, say: Say::Nothing, consumed, written: 0 }
            }
            state => unreachable!("{} reads no content", state.name()),
        }
    }

    fn fed_data(
        mut transaction: Transaction,
        mut decoder: Decoder,
        input: &[u8],
        content: &mut [u8],
        terms: &Terms<'_>,
    ) -> Fed {
        let decoded = decoder.decode(input, content);
        transaction.octets += decoded.written as u64;
        let over = transaction.octets > terms.message_size;
        let (next, written) = match decoded.stop {
            Stop::Fault(fault) => (Self::Spoiled(transaction, decoder, refused(fault)), 0),
            Stop::End if over => (Self::AskReset(transaction, After::Reply(too_large(terms))), 0),
            Stop::End => (Self::AskCommit(transaction), decoded.written),
            Stop::Exhausted if over => (Self::Spoiled(transaction, decoder, too_large(terms)), 0),
            Stop::Exhausted => (Self::Content(transaction, decoder), decoded.written),
        };
        Fed { next, say: Say::Nothing, consumed: decoded.consumed, written }
    }

    fn fed_chunk(
        mut transaction: Transaction,
        mut decoder: Decoder,
        mut piece: Piece,
        input: &[u8],
        content: &mut [u8],
        terms: &Terms<'_>,
    ) -> Fed {
        let decoded = decoder.decode(piece.of(input), content);
        piece.left -= decoded.consumed as u64;
        transaction.octets += decoded.written as u64;
        let (next, written) = match decoded.stop {
            Stop::Fault(fault) => (Self::Skip(Some(transaction), piece, refused(fault)), 0),
            Stop::Exhausted | Stop::End if transaction.octets > terms.message_size => {
                (Self::Skip(Some(transaction), piece, too_large(terms)), 0)
            }
            Stop::Exhausted | Stop::End => (Self::Chunk(transaction, decoder, piece), decoded.written),
        };
        Fed { next, say: Say::Nothing, consumed: decoded.consumed, written }
    }

    fn chunk_end(mut transaction: Transaction, mut decoder: Decoder, last: bool, content: &mut [u8]) -> Fed {
        if !last {
            let say = Say::Reply(Reply::new(250, (0, 0), "chunk taken"));
            return Fed { next: Self::Chunks(transaction, decoder), say, consumed: 0, written: 0 };
        }
        let decoded = decoder.finish(content);
        transaction.octets += decoded.written as u64;
        let next = match decoded.stop {
            Stop::Fault(fault) => Self::AskReset(transaction, After::Reply(refused(fault))),
            Stop::Exhausted | Stop::End => Self::AskCommit(transaction),
        };
        Fed { next, say: Say::Nothing, consumed: 0, written: decoded.written }
    }

    /// Content that cannot be stored, also if its end was there already.
    pub(super) fn spoiled(self, refusal: Reply) -> Self {
        match self {
            Self::Content(transaction, decoder) => Self::Spoiled(transaction, decoder, refusal),
            Self::Chunk(transaction, _, piece) => Self::Skip(Some(transaction), piece, refusal),
            Self::AskCommit(transaction) => Self::AskReset(transaction, After::Reply(refusal)),
            state => state,
        }
    }

    /// The answer to the question of this state.
    pub(super) fn answered(self, answer: Answer<'_>, line_ends: LineEnds) -> Turn {
        match (self, answer) {
            (Self::AskBegin(mail), Answer::Yes) => {
                reply(Self::Envelope(Transaction { mail, recipients: 0, octets: 0 }), 250, (1, 0), "ok")
            }
            (Self::AskBegin(_), Answer::Refused(refusal)) => (Self::Ready, Say::Reply(refusal)),

            (Self::AskRecipient(mut transaction, _), Answer::Yes) => {
                transaction.recipients += 1;
                reply(Self::Envelope(transaction), 250, (1, 5), "ok")
            }
            (Self::AskRecipient(transaction, _), Answer::Refused(refusal)) => {
                (Self::Envelope(transaction), Say::Reply(refusal))
            }

            (Self::AskContent(transaction, Way::Data), Answer::Yes) => {
                let go = Reply::plain(354, "send the message, end with a line of one dot");
                (Self::Content(transaction, Decoder::new(Framing::Dot, line_ends)), Say::Reply(go))
            }
            (Self::AskContent(transaction, Way::Bdat(piece)), Answer::Yes) => {
                (Self::Chunk(transaction, Decoder::new(Framing::Count, line_ends), piece), Say::Nothing)
            }
            (Self::AskContent(_, Way::Data), Answer::Refused(refusal)) => After::Refused(refusal).turn(),
            (Self::AskContent(_, Way::Bdat(piece)), Answer::Refused(refusal)) => {
                (Self::Skip(None, piece, refusal), Say::Nothing)
            }

            (Self::AskCommit(_), Answer::Committed(id)) => {
                let taken = Reply::new(250, (0, 0), format_args!("ok: queued as {id}"));
                (Self::Ready, Say::Reply(taken))
            }
            (Self::AskCommit(_), Answer::Refused(refusal)) => (Self::Ready, Say::Reply(refusal)),

            (Self::AskReset(_, after), Answer::Yes) => after.turn(),
            (Self::Closing, _) => (Self::Closing, Say::Nothing),
            (state, answer) => panic!("{answer:?} answers nothing in {}", state.name()),
        }
    }
}

impl After {
    fn turn(self) -> Turn {
        match self {
            Self::Reply(reply) => (State::Ready, Say::Reply(reply)),
            Self::Hello(hello) => (State::Ready, Say::Hello(hello)),
            Self::Refused(reply) => (State::Refused, Say::Reply(reply)),
            Self::Failed(reply) => (State::Failed(reply.clone()), Say::Reply(reply)),
        }
    }
}

impl Piece {
    /// The part of `input` that belongs to this chunk.
    fn of<'a>(&self, input: &'a [u8]) -> &'a [u8] {
        let octets = usize::try_from(self.left).unwrap_or(usize::MAX).min(input.len());
        &input[..octets]
    }
}

impl Hello {
    /// Reads the name. RFC 2034 4: answers to HELO and EHLO have no enhanced code.
    fn read(name: &[u8], extended: bool, terms: &Terms<'_>) -> Result<Self, Reply> {
        let strict = |octet: &u8| octet.is_ascii_alphanumeric() || b"-._:[]".contains(octet);
        let fits = !name.is_empty() && name.len() <= DOMAIN_OCTETS && name.iter().all(strict);
        if !fits && !terms.trusted {
            return Err(Reply::plain(501, "your host name or address literal must follow"));
        }
        let shown = |&octet: &u8| if octet.is_ascii_graphic() { char::from(octet) } else { '?' };
        Ok(Self { extended, name: name.iter().take(DOMAIN_OCTETS).map(shown).collect() })
    }
}

fn too_large(terms: &Terms<'_>) -> Reply {
    Reply::new(552, (3, 4), format_args!("a message can have at most {} octets", terms.message_size))
}

fn refused(fault: Fault) -> Reply {
    let what = match fault {
        Fault::BareCr => "a CR without LF",
        Fault::BareLf => "an LF without CR",
        Fault::Nul => "a NUL",
    };
    Reply::new(550, (6, 0), format_args!("{what} stands in the content; lines must end in CRLF"))
}
