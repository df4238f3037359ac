//! What a command line does in each state: one `match (state, command)`.
#![allow(
    clippy::result_large_err,
    reason = "a reply is the ordinary answer to a wrong argument; nothing is boxed"
)]

use super::state::{
    After, Cause, Hello, Piece, Say, State, Transaction, Turn, Way, reply, stepped, too_large, undecoded,
};
use super::{Role, Terms, Tls};
use crate::limits::{DOMAIN_OCTETS, SASL_OCTETS};
use crate::smtp::command::{self, Command, Mail, Recipient};
use crate::smtp::keyword::Keyword;
use crate::smtp::line::{End, Line};
use crate::smtp::reply::Reply;
use crate::smtp::sasl::exchange::{self, Exchange};
use crate::smtp::sasl::{self, Mechanism, Name};

impl State {
    /// A command line in one of the states that read them.
    pub(super) fn commanded(
        self,
        command: Command<'_>,
        terms: &Terms<'_>,
        hello: Option<&Hello>,
        user: Option<&Name>,
    ) -> Turn {
        use Command as C;
        match (self, command) {
            (_, C::Quit) => reply(Self::Closing(Cause::Quit), 221, (0, 0), "closing"),
            (Self::Refused, command)
                if !matches!(command, C::Helo(_) | C::Ehlo(_) | C::Rset(b"") | C::Noop) =>
            {
                reply(
                    Self::Closing(Cause::Unasked),
                    421,
                    (5, 0),
                    "content came though DATA was refused; closing",
                )
            }
            (_, C::Foreign) => reply(
                Self::Closing(Cause::Foreign),
                221,
                (7, 0),
                "this is a mail server, and that was no mail command",
            ),

            (state, C::Helo(name)) => state.greeted(Hello::read(name, false, terms)),
            (state, C::Ehlo(name)) => state.greeted(Hello::read(name, true, terms)),
            (state, C::Rset(argument)) => state.rset(argument, terms),
            (state, C::Noop) => reply(state, 250, (0, 0), "ok"),

            (state @ (Self::Envelope(_) | Self::Chunks(..)), C::Mail(_)) => {
                reply(state, 503, (5, 1), "a transaction is open already")
            }
            (state, C::Mail(argument)) => state.begun(argument, terms, hello, user),
            (Self::Envelope(transaction), C::Rcpt(argument)) => {
                Self::addressed(transaction, argument, terms, hello)
            }
            (state @ Self::Chunks(..), C::Rcpt(_)) => reply(state, 503, (5, 1), "content has begun"),
            (state, C::Rcpt(_)) => reply(state, 503, (5, 1), "MAIL first"),
            (state, C::Data(argument)) => state.data(argument, terms),
            (state, C::Bdat(argument)) => state.bdat(argument, terms, hello),

            (state, C::StartTls(_)) if terms.tls == Tls::Active => {
                reply(state, 503, (5, 1), "TLS is active already")
            }
            (state, C::StartTls(_)) if !terms.offers(Keyword::StartTls) => {
                reply(state, 502, (5, 1), "not offered here")
            }
            (state, C::StartTls(b"")) => state.reset(After::StartTls),
            (state, C::StartTls(_)) => reply(state, 501, (5, 4), "STARTTLS takes no argument"),

            (state, C::Vrfy(b"")) => reply(state, 501, (5, 4), "syntax: VRFY address"),
            (state, C::Vrfy(_)) => reply(state, 252, (0, 0), "not verified here; send a message to find out"),
            (state, C::Help) if terms.offers(Keyword::Help) => (state, Say::Reply(help(terms))),
            (state, C::Auth(argument)) if terms.offers(Keyword::Auth) => {
                state.auth(argument, terms, hello, user)
            }
            (state, C::Auth(_)) if terms.wants_tls_for_auth() => {
                reply(state, 538, (7, 11), "no login in clear: must issue a STARTTLS command first")
            }
            (state, C::Expn | C::Auth(_) | C::Help) => reply(state, 502, (5, 1), "not offered here"),
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

    /// RSET has no argument (RFC 5321 4.1.1.5).
    fn rset(self, argument: &[u8], terms: &Terms<'_>) -> Turn {
        if !argument.is_empty() && !terms.tolerant {
            return reply(self, 501, (5, 4), "RSET takes no argument");
        }
        self.reset(After::Reply(Reply::new(250, (0, 0), "ok")))
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

    fn begun(self, argument: &[u8], terms: &Terms<'_>, hello: Option<&Hello>, user: Option<&Name>) -> Turn {
        if hello.is_none() && !terms.tolerant {
            return reply(self, 503, (5, 1), "EHLO or HELO first");
        }
        if terms.role == Role::Submission && !terms.trusted && user.is_none() {
            let text = match terms.wants_tls_for_auth() {
                true => "authentication required: must issue a STARTTLS command first",
                false => "authentication required",
            };
            return reply(self, 530, (7, 0), text);
        }
        match Mail::parse(argument, terms.manner(), terms.taken(hello)) {
            Ok(mail) if mail.size.is_some_and(|size| size > terms.message_size) => {
                (self, Say::Reply(too_large(terms)))
            }
            Ok(mail) => (Self::AskBegin(mail), Say::Nothing),
            Err(refusal) => (self, Say::Reply(refusal)),
        }
    }

    /// AUTH, where it is offered (RFC 4954 4).
    fn auth(self, argument: &[u8], terms: &Terms<'_>, hello: Option<&Hello>, user: Option<&Name>) -> Turn {
        if !terms.taken(hello).contains(Keyword::Auth) {
            return reply(self, 503, (5, 1), "EHLO first");
        }
        if user.is_some() {
            return reply(self, 503, (5, 1), "authenticated already");
        }
        if self.transaction().is_some() {
            return reply(self, 503, (5, 1), "no AUTH within a transaction");
        }
        let mut words = argument.split(|octet| *octet == b' ').filter(|word| !word.is_empty());
        let (Some(mechanism), initial, None) = (words.next(), words.next(), words.next()) else {
            return reply(self, 501, (5, 4), "syntax: AUTH mechanism [initial-response]");
        };
        let offered = Mechanism::parse(mechanism).filter(|mechanism| terms.mechanisms.contains(*mechanism));
        let Some(mechanism) = offered else { return (self, Say::Reply(exchange::unknown())) };
        let mut room = [0; SASL_OCTETS];
        let initial = match initial {
            None => None,
            // A response of no octets, which base64 alone could not tell from none.
            Some(b"=") => Some(&[][..]),
            Some(text) => match sasl::decode(text, &mut room) {
                Ok(message) => Some(message),
                Err(fault) => return (self, Say::Reply(undecoded(fault))),
            },
        };
        stepped(Exchange::begin(mechanism, initial))
    }

    /// A line in answer to 334.
    pub(super) fn responded(self, line: Line<'_>, strict: bool) -> Turn {
        let Self::Auth(exchange) = self else { panic!("no response is awaited in {}", self.name()) };
        let text = match line {
            Line::TooLong(_) => return (Self::Ready, Say::Reply(exchange::too_long())),
            Line::Text(_, End::Lf) if strict => {
                return reply(Self::Ready, 500, (5, 2), "a line must end in CRLF, not in LF alone");
            }
            Line::Text(text, _) => text.trim_ascii(),
        };
        if text == b"*" {
            return reply(Self::Ready, 501, (7, 0), "authentication cancelled");
        }
        let mut room = [0; SASL_OCTETS];
        match sasl::decode(text, &mut room) {
            Ok(message) => stepped(exchange.take(message)),
            Err(fault) => (Self::Ready, Say::Reply(undecoded(fault))),
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
                let surplus = Reply::new(452, (5, 3), "too many recipients");
                (Self::Envelope(transaction), Say::Surplus(surplus))
            }
            Ok(recipient) => (Self::AskRecipient(transaction, recipient), Say::Nothing),
            Err(refusal) => (Self::Envelope(transaction), Say::Reply(refusal)),
        }
    }

    /// Every refusal of DATA goes into [`State::Refused`].
    fn data(self, argument: &[u8], terms: &Terms<'_>) -> Turn {
        let refusal = match self {
            _ if !argument.is_empty() && !terms.tolerant => Reply::new(501, (5, 4), "DATA takes no argument"),
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
            return reply(Self::Closing(Cause::Chunk), 501, (5, 4), "syntax: BDAT octets [LAST]; closing");
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
}

/// The commands that are taken.
fn help(terms: &Terms<'_>) -> Reply {
    let if_offered = |keyword, command| if terms.offers(keyword) { command } else { "" };
    let text = format_args!(
        "EHLO HELO {}{}MAIL RCPT DATA {}RSET NOOP VRFY HELP QUIT; see RFC 5321",
        if_offered(Keyword::StartTls, "STARTTLS "),
        if_offered(Keyword::Auth, "AUTH "),
        if_offered(Keyword::Chunking, "BDAT "),
    );
    Reply::new(214, (0, 0), text)
}

impl Hello {
    /// Reads the name. RFC 2034 4: answers to HELO and EHLO have no enhanced code.
    fn read(name: &[u8], extended: bool, terms: &Terms<'_>) -> Result<Self, Reply> {
        let fits = Self::is_name(name) && name.len() <= DOMAIN_OCTETS;
        if !fits && !terms.tolerant {
            return Err(Reply::plain(501, "your host name or address literal must follow"));
        }
        let shown = |&octet: &u8| if octet.is_ascii_graphic() { char::from(octet) } else { '?' };
        Ok(Self { extended, name: name.iter().take(DOMAIN_OCTETS).map(shown).collect() })
    }

    /// True if this can be the name of a host, or an address literal.
    pub(super) fn is_name(name: &[u8]) -> bool {
        let strict = |octet: &u8| octet.is_ascii_alphanumeric() || b"-._:[]".contains(octet);
        !name.is_empty() && name.iter().all(strict)
    }
}
