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
use super::request::Action;
use crate::limits::{PATH_OCTETS, REPLY_TEXT_OCTETS};
use crate::smtp::buffer::Buffer;
use crate::spool::{Id, RecipientState};

/// Octets of the longest piece.
pub const PIECE_OCTETS: usize = 4096;

// An escaped octet takes six at most, in JSON.
const _: () = assert!(6 * (PATH_OCTETS + REPLY_TEXT_OCTETS) + 256 < PIECE_OCTETS);

/// Octets of the buffer that pieces are put into: one always fits when half of it is free.
pub const OUTPUT_OCTETS: usize = 2 * PIECE_OCTETS;

/// Where pieces go.
pub type Output = Buffer<OUTPUT_OCTETS>;

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
    /// Its last reply, if the status entry had room for it; at most [`REPLY_TEXT_OCTETS`].
    pub reply: &'a str,
    /// Tries of the message so far.
    pub attempts: u16,
}

/// A recipient's state as it is written.
pub fn state_name(state: RecipientState) -> &'static str {
    match state {
        RecipientState::Pending => "pending",
        RecipientState::Delivered | RecipientState::Owed => "delivered",
        RecipientState::Failed => "failed",
    }
}

/// What was done with how many messages.
pub fn write_done(action: Action, count: usize, out: &mut impl Write) -> fmt::Result {
    let done = match action {
        Action::Retry => "due now",
        Action::Hold => "held",
        Action::Release => "released",
        Action::Remove => "removed",
    };
    writeln!(out, "{count} {} {done}", if count == 1 { "message" } else { "messages" })
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
            out.write_str("   ")?;
            write_recipient_text(recipient, out)
        }
        Form::Json => {
            let comma = if first { "" } else { "," };
            write!(out, "{comma}{{\"to\":{},\"state\":\"{}\"", Quoted::json(to), state_name(state))?;
            write!(out, ",\"via\":\"{via}\",\"reply\":{},\"attempts\":{attempts}}}", Quoted::json(reply))
        }
    }
}

/// A recipient in words, after something that stands at the line's start.
pub fn write_recipient_text(recipient: &Recipient<'_>, out: &mut impl Write) -> fmt::Result {
    let Recipient { to, state, via, reply, attempts } = *recipient;
    write!(out, " <{}> {} via {via}", Quoted::bare(to), state_name(state))?;
    // Tries are counted for the message: those who are done had no part in the later ones.
    match (state, attempts) {
        (RecipientState::Delivered | RecipientState::Failed | RecipientState::Owed, _) | (_, 0) => {}
        (RecipientState::Pending, 1) => out.write_str(", 1 attempt")?,
        (RecipientState::Pending, n) => write!(out, ", {n} attempts")?,
    }
    if reply.is_empty() { out.write_char('\n') } else { writeln!(out, ": {}", Quoted::new(reply)) }
}

/// The end of a message.
pub fn write_message_end(form: Form, out: &mut impl Write) -> fmt::Result {
    match form {
        Form::Text => Ok(()),
        Form::Json => out.write_str("]}\n"),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What is left of `text` behind one JSON value (RFC 8259), if there is one.
    pub fn json_value(text: &str) -> Option<&str> {
        match text.chars().next()? {
            '{' => json_list(&text[1..], '}', |item| json_value(json_string(item)?.strip_prefix(':')?)),
            '[' => json_list(&text[1..], ']', json_value),
            '"' => json_string(text),
            '0'..='9' => Some(text.trim_start_matches(|c: char| c.is_ascii_digit())),
            _ => ["null", "true", "false"].iter().find_map(|word| text.strip_prefix(word)),
        }
    }

    fn json_list<'a>(text: &'a str, end: char, item: impl Fn(&'a str) -> Option<&'a str>) -> Option<&'a str> {
        if let Some(rest) = text.strip_prefix(end) {
            return Some(rest);
        }
        let mut rest = item(text)?;
        while let Some(more) = rest.strip_prefix(',') {
            rest = item(more)?;
        }
        rest.strip_prefix(end)
    }

    fn json_string(text: &str) -> Option<&str> {
        let mut rest = text.strip_prefix('"')?;
        loop {
            let c = rest.chars().next()?;
            rest = &rest[c.len_utf8()..];
            match c {
                '"' => return Some(rest),
                '\\' if rest.starts_with(['"', '\\']) => rest = &rest[1..],
                '\\' => {
                    let digits = rest.strip_prefix('u')?.get(..4)?;
                    u16::from_str_radix(digits, 16).ok()?;
                    rest = &rest[5..];
                }
                c if c.is_control() => return None,
                _ => {}
            }
        }
    }

    const MESSAGE: Message<'_> = Message {
        id: Id::from_number(0x0198_f3a2_c100_0007),
        size: 12_345,
        age_s: 90,
        from: "a@b.example",
        standing: Standing::Waiting,
        next_try_s: Some(180),
        client: "192.0.2.1",
    };
    const RECIPIENT: Recipient<'_> = Recipient {
        to: "x@y.example",
        state: RecipientState::Pending,
        via: "smarthost",
        reply: "450 4.2.0 \"later\"",
        attempts: 2,
    };

    fn written(form: Form, message: &Message<'_>, recipients: &[Recipient<'_>]) -> String {
        let mut out = String::new();
        write_message(form, message, &mut out).unwrap();
        for (n, recipient) in recipients.iter().enumerate() {
            write_recipient(form, recipient, n == 0, &mut out).unwrap();
        }
        write_message_end(form, &mut out).unwrap();
        out
    }

    #[test]
    fn columns_stand_below_their_heads() {
        let mut head = String::new();
        write_queue_head(Form::Text, &mut head).unwrap();
        let done = Recipient { state: RecipientState::Delivered, reply: "250 ok", ..RECIPIENT };
        let text = written(Form::Text, &MESSAGE, &[RECIPIENT, done]);
        let mut lines = text.lines();
        let line = lines.next().unwrap();
        assert_eq!(head.find("sender"), line.find("<a@b.example>"));
        assert_eq!(head.find("state"), line.find("waiting"));
        assert_eq!(head.trim_end().find("next try"), line.find("in 3m"));
        let told = r#"    <x@y.example> pending via smarthost, 2 attempts: "450 4.2.0 \"later\"""#;
        let done = r#"    <x@y.example> delivered via smarthost: "250 ok""#;
        assert_eq!((lines.next(), lines.next(), lines.next()), (Some(told), Some(done), None));
    }

    #[test]
    fn json_has_the_keys_that_were_promised() {
        let message = Message { next_try_s: None, standing: Standing::Held, ..MESSAGE };
        assert_eq!(
            written(Form::Json, &message, &[RECIPIENT, Recipient { reply: "", ..RECIPIENT }]),
            "{\"id\":\"0198f3a2c1-0007\",\"size\":12345,\"age_s\":90,\"from\":\"a@b.example\",\"state\":\"held\",\
             \"next_try_s\":null,\"client\":\"192.0.2.1\",\"recipients\":[{\"to\":\"x@y.example\",\
             \"state\":\"pending\",\"via\":\"smarthost\",\"reply\":\"450 4.2.0 \\\"later\\\"\",\"attempts\":2},\
             {\"to\":\"x@y.example\",\"state\":\"pending\",\"via\":\"smarthost\",\"reply\":\"\",\"attempts\":2}]}\n"
        );
    }

    #[test]
    fn counts_agree_with_their_noun() {
        let told = |count| {
            let mut out = String::new();
            write_done(Action::Hold, count, &mut out).unwrap();
            write_queue_end(Form::Text, count, &mut out).unwrap();
            out
        };
        assert_eq!(told(0), "0 messages held\nthe queue is empty\n");
        assert_eq!(told(1), "1 message held\n1 message\n");
        assert_eq!(told(2), "2 messages held\n2 messages\n");
    }

    fn cut(text: &str, octets: usize) -> &str {
        &text[..(0..=octets.min(text.len())).rfind(|&at| text.is_char_boundary(at)).unwrap_or(0)]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn any_text_gives_valid_json_and_bounded_lines(from in ".*", to in any::<String>(), reply in any::<String>(), client in any::<String>()) {
            let from = format!("{from}{to}");
            let message = Message { from: cut(&from, PATH_OCTETS), client: cut(&client, PATH_OCTETS), ..MESSAGE };
            let recipient = Recipient { to: cut(&to, PATH_OCTETS), reply: cut(&reply, REPLY_TEXT_OCTETS), ..RECIPIENT };
            let json = written(Form::Json, &message, &[recipient, recipient]);
            prop_assert_eq!(json_value(&json), Some("\n"), "{}", json);
            let text = written(Form::Text, &message, &[recipient]);
            prop_assert_eq!(text.lines().count(), 2);
            prop_assert!(!text.replace('\n', "").contains(char::is_control));
        }
    }

    #[test]
    fn the_longest_pieces_fit() {
        let path = "\u{1}".repeat(PATH_OCTETS);
        let reply = "\u{1}".repeat(REPLY_TEXT_OCTETS);
        for form in [Form::Text, Form::Json] {
            let mut out = Output::new();
            write_recipient(form, &Recipient { to: &path, reply: &reply, ..RECIPIENT }, false, &mut out)
                .unwrap();
            assert!(out.filled().len() <= PIECE_OCTETS);
            let mut out = Output::new();
            write_message(form, &Message { from: &path, client: &path, ..MESSAGE }, &mut out).unwrap();
            assert!(out.filled().len() <= PIECE_OCTETS);
        }
    }
}
