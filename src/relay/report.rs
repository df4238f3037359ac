//! The queue as text and as JSON, a piece at a time.
//!
//! Everything here is plain data in, characters out, so that a running relay and a command that
//! reads the spool by itself say the same in the same words. A piece is bounded by
//! [`PIECE_OCTETS`]; whoever writes a long report keeps a cursor and makes one piece after the other.
//!
//! JSON is one object a line. The text of a message's recipients follows it, indented.

use core::fmt::{self, Write};

use super::intake::text;
use super::measure::{Octets, Span};
use super::quoted::Quoted;
use crate::limits::{PATH_OCTETS, REPLY_TEXT_OCTETS};
use crate::spool::{Id, RecipientState};

/// Octets of the longest piece.
pub const PIECE_OCTETS: usize = 4096;

// An escaped octet takes six at most, in JSON.
const _: () = assert!(6 * (PATH_OCTETS + REPLY_TEXT_OCTETS) + 256 < PIECE_OCTETS);

/// Whom it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// People.
    Text,
    /// Programs.
    Json,
}

impl Form {
    /// JSON if that was asked for.
    pub fn of(json: bool) -> Self {
        if json { Self::Json } else { Self::Text }
    }
}

/// Where a message stands, as it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has yet to be tried, or tried again.
    Waiting,
    /// It is on its way now.
    Delivering,
    /// A person put it aside.
    Held,
}

impl Standing {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Delivering => "delivering",
            Self::Held => "held",
        }
    }
}

/// A message of the queue.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Its queue id.
    pub id: Id,
    /// Octets of content.
    pub size: u64,
    /// Seconds since it arrived; 0 if that is not known.
    pub age_s: u64,
    /// The reverse-path without brackets, at most [`PATH_OCTETS`].
    pub from: &'a str,
    /// Where it stands.
    pub standing: Standing,
    /// Seconds until its next try, 0 if that is due; `None` if there is none to come or no relay
    /// runs that would try.
    pub next_try_s: Option<u64>,
    /// Where it came from, at most [`PATH_OCTETS`].
    pub client: &'a str,
}

/// One recipient of a message.
#[derive(Clone, Copy, Debug)]
pub struct Recipient<'a> {
    /// The forward-path without brackets, at most [`PATH_OCTETS`].
    pub to: &'a str,
    /// What became of it.
    pub state: RecipientState,
    /// The `via` of its route.
    pub via: &'a str,
    /// The last reply, if this is the recipient that it is kept of; at most [`REPLY_TEXT_OCTETS`].
    pub reply: &'a str,
    /// Tries of the message so far.
    pub attempts: u16,
}

/// A recipient's state as it is written.
pub fn state_name(state: RecipientState) -> &'static str {
    match state {
        RecipientState::Pending => "pending",
        RecipientState::Delivered => "delivered",
        RecipientState::Failed => "failed",
    }
}

/// A number with its unit, in a column.
type Short = heapless::String<24>;

/// What stands above the queue.
pub fn write_queue_head(form: Form, out: &mut impl Write) -> fmt::Result {
    match form {
        Form::Text => writeln!(
            out,
            "{:<17} {:>7} {:>7}  {:<32} {:<10} next try",
            "id", "size", "age", "sender", "state"
        ),
        Form::Json => Ok(()),
    }
}

/// What stands below it, or for it if there is none.
pub fn write_queue_end(form: Form, messages: usize, out: &mut impl Write) -> fmt::Result {
    match (form, messages) {
        (Form::Text, 0) => out.write_str("the queue is empty\n"),
        (Form::Text, 1) => out.write_str("1 message\n"),
        (Form::Text, n) => writeln!(out, "{n} messages"),
        (Form::Json, _) => Ok(()),
    }
}

/// A message; its recipients follow.
pub fn write_message(form: Form, message: &Message<'_>, out: &mut impl Write) -> fmt::Result {
    let Message { id, size, age_s, from, standing, next_try_s, client } = *message;
    match form {
        Form::Text => {
            // A width counts only for text.
            let (id, size, age): (_, Short, Short) = (id.text(), text(Octets(size)), text(Span(age_s)));
            let sender: heapless::String<{ 4 * PATH_OCTETS + 2 }> =
                text(format_args!("<{}>", Quoted::bare(from)));
            write!(out, "{id:<17} {size:>7} {age:>7}  {sender:<32} {:<10} ", standing.name())?;
            match next_try_s {
                None => out.write_str("-\n"),
                Some(0) => out.write_str("now\n"),
                Some(seconds) => writeln!(out, "in {}", Span(seconds)),
            }
        }
        Form::Json => {
            write!(
                out,
                "{{\"id\":\"{id}\",\"size\":{size},\"age_s\":{age_s},\"from\":{}",
                Quoted::json(from)
            )?;
            write!(out, ",\"state\":\"{}\",\"next_try_s\":", standing.name())?;
            match next_try_s {
                None => out.write_str("null")?,
                Some(seconds) => write!(out, "{seconds}")?,
            }
            write!(out, ",\"client\":{},\"recipients\":[", Quoted::json(client))
        }
    }
}

/// A recipient; `first` is true for the first one of its message.
pub fn write_recipient(
    form: Form,
    recipient: &Recipient<'_>,
    first: bool,
    out: &mut impl Write,
) -> fmt::Result {
    let Recipient { to, state, via, reply, attempts } = *recipient;
    match form {
        Form::Text => {
            write!(out, "    <{}> {} via {via}", Quoted::bare(to), state_name(state))?;
            match attempts {
                0 => {}
                1 => out.write_str(", 1 attempt")?,
                n => write!(out, ", {n} attempts")?,
            }
            if reply.is_empty() { out.write_char('\n') } else { writeln!(out, ": {}", Quoted::new(reply)) }
        }
        Form::Json => {
            let comma = if first { "" } else { "," };
            write!(out, "{comma}{{\"to\":{},\"state\":\"{}\"", Quoted::json(to), state_name(state))?;
            write!(out, ",\"via\":\"{via}\",\"reply\":{},\"attempts\":{attempts}}}", Quoted::json(reply))
        }
    }
}

/// The end of a message.
pub fn write_message_end(form: Form, out: &mut impl Write) -> fmt::Result {
    match form {
        Form::Text => Ok(()),
        Form::Json => out.write_str("]}\n"),
    }
}
