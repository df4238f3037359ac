//! A message of the spool as it is shown: its line and its recipients in the list, or its envelope
//! before its content. Reads through a [`Reader`], so that it serves with a running relay and without.

use core::fmt::{self, Write};
use core::ops::ControlFlow;

use heapless::String;

use super::intake::text;
use super::measure::{Moment, Span};
use super::quoted::Quoted;
use super::report::{self, Form, Message, Output, PIECE_OCTETS, Recipient, Standing};
use super::route;
use crate::config::{Config, Via};
use crate::limits::PATH_OCTETS;
use crate::smtp::command::{Body, Ret};
use crate::spool::{Cursor, Damage, Disk, Line, Place, Reader, Status};

/// What is known of a message without its envelope.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// Where it lies.
    pub place: Place,
    /// Octets of content.
    pub size: u64,
    /// Seconds since it arrived; 0 if that is not known.
    pub age_s: u64,
    /// Where it stands.
    pub standing: Standing,
    /// Seconds until its next try, if one is planned.
    pub next_try_s: Option<u64>,
}

/// How far a message was listed.
#[derive(Clone, Debug, Default)]
#[expect(clippy::large_enum_variant, reason = "one a slot, made at start; a box would be a heap")]
pub enum Listed {
    /// Nothing of it.
    #[default]
    Not,
    /// Its line, and the recipients before the cursor.
    Until {
        /// Behind the last recipient.
        cursor: Cursor,
        /// The reverse-path, by which routes are found.
        from: String<PATH_OCTETS>,
    },
    /// All of it.
    Whole,
}

/// Lists a message from where it was left, as much as there is room for. One that turns out to be
/// damaged, or gone meanwhile, ends where it stands; what was written remains well formed.
pub fn list<D: Disk>(
    form: Form,
    facts: &Facts,
    config: &Config,
    reader: &mut Reader<D>,
    listed: Listed,
    out: &mut Output,
) -> Result<Listed, fmt::Error> {
    let (mut cursor, mut from, mut begun) = match listed {
        Listed::Not => (Cursor::default(), String::new(), false),
        Listed::Until { cursor, from } => (cursor, from, true),
        Listed::Whole => return Ok(Listed::Whole),
    };
    let Ok(status) = reader.status(facts.place) else { return end(form, begun, out) };
    let mut client: String<PATH_OCTETS> = String::new();
    let mut full = false;
    let mut written = Ok(());
    let read = reader.read_envelope(facts.place, cursor, &mut |line, behind| {
        match line {
            Line::From(path) => from = text(path),
            Line::Client(name) => client = text(name),
            Line::To { number, path, .. } => {
                if !begun {
                    written = report::write_message(form, &message(facts, &from, &client), out);
                    begun = true;
                }
                if out.free() < PIECE_OCTETS {
                    full = true;
                    return ControlFlow::Break(());
                }
                let recipient = recipient(config, &status, &from, path, number);
                written = written.and_then(|()| report::write_recipient(form, &recipient, number == 0, out));
            }
            _ => {}
        }
        cursor = behind;
        if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    written?;
    match read {
        Ok(_) if full => Ok(Listed::Until { cursor, from }),
        _ => end(form, begun, out),
    }
}

fn end(form: Form, begun: bool, out: &mut Output) -> Result<Listed, fmt::Error> {
    if begun {
        report::write_message_end(form, out)?;
    }
    Ok(Listed::Whole)
}

fn message<'a>(facts: &Facts, from: &'a str, client: &'a str) -> Message<'a> {
    let Facts { place, size, age_s, standing, next_try_s } = *facts;
    Message { id: place.id(), size, age_s, from, standing, next_try_s, client }
}

fn recipient<'a>(config: &Config, status: &'a Status, from: &str, to: &'a str, number: u16) -> Recipient<'a> {
    Recipient {
        to,
        state: status.state(number),
        via: via(config, from, to),
        reply: if status.replied == number { &status.reply } else { "" },
        attempts: status.tries,
    }
}

/// The `via` of the route that a recipient takes; `none` if there is no route.
fn via(config: &Config, from: &str, to: &str) -> &'static str {
    let found = route::find(config, from, to).and_then(|at| config.route.get(usize::from(at)));
    match found.map(|route| &route.via) {
        Some(Via::Maildir(_)) => "maildir",
        Some(Via::Lmtp(_)) => "lmtp",
        Some(Via::Smarthost(_)) => "smarthost",
        Some(Via::Mx(_)) => "mx",
        Some(Via::Reject) => "reject",
        Some(Via::Discard) => "discard",
        None => "none",
    }
}

/// How far the envelope of a message was shown.
#[derive(Clone, Debug, Default)]
#[expect(clippy::large_enum_variant, reason = "one a slot, made at start; a box would be a heap")]
pub enum Shown {
    /// Nothing of it.
    #[default]
    Not,
    /// The lines before the cursor.
    Until {
        /// Behind the last line.
        cursor: Cursor,
        /// The reverse-path, by which routes are found.
        from: String<PATH_OCTETS>,
    },
    /// All of it and the blank line behind it; the content comes next.
    Whole,
}

/// Why a message can't be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The spool does not hold it as it was written.
    Damaged(Damage),
    /// More was to be written than a piece has room for.
    Full,
}

impl From<Damage> for Fault {
    fn from(damage: Damage) -> Self {
        Self::Damaged(damage)
    }
}

impl From<fmt::Error> for Fault {
    fn from(_: fmt::Error) -> Self {
        Self::Full
    }
}

/// Shows a message's envelope from where it was left, as much as there is room for.
pub fn show<D: Disk>(
    facts: &Facts,
    config: &Config,
    reader: &mut Reader<D>,
    shown: Shown,
    out: &mut Output,
) -> Result<Shown, Fault> {
    let status = reader.status(facts.place)?;
    let (mut cursor, mut from) = match shown {
        Shown::Not => {
            let head = reader.head(facts.place)?;
            write_summary(facts, head.arrived_unix_s, &status, out)?;
            (Cursor::default(), String::new())
        }
        Shown::Until { cursor, from } => (cursor, from),
        Shown::Whole => return Ok(Shown::Whole),
    };
    let mut full = false;
    let mut written = Ok(());
    reader.read_envelope(facts.place, cursor, &mut |line, behind| {
        if out.free() < PIECE_OCTETS {
            full = true;
            return ControlFlow::Break(());
        }
        if let Line::From(path) = line {
            from = text(path);
        }
        written = write_line(config, &status, &from, &line, out);
        cursor = behind;
        if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    written?;
    if full {
        return Ok(Shown::Until { cursor, from });
    }
    out.write_str("\n")?;
    Ok(Shown::Whole)
}

fn write_summary(facts: &Facts, arrived_unix_s: u64, status: &Status, out: &mut impl Write) -> fmt::Result {
    writeln!(out, "id {}", facts.place.id())?;
    writeln!(out, "arrived {}", Moment(arrived_unix_s))?;
    writeln!(out, "size {}", facts.size)?;
    write!(out, "state {}", facts.standing.name())?;
    match facts.next_try_s {
        None => {}
        Some(0) => out.write_str(", next try now")?,
        Some(seconds) => write!(out, ", next try in {}", Span(seconds))?,
    }
    writeln!(out, "\ntries {}", status.tries)
}

fn write_line(
    config: &Config,
    status: &Status,
    from: &str,
    line: &Line<'_>,
    out: &mut impl Write,
) -> fmt::Result {
    match *line {
        Line::From(path) => writeln!(out, "from <{}>", Quoted::bare(path)),
        Line::Client(name) => writeln!(out, "client {}", Quoted::bare(name)),
        Line::Helo(name) => writeln!(out, "helo {}", Quoted::bare(name)),
        Line::Protocol(name) => writeln!(out, "proto {}", Quoted::bare(name)),
        Line::User(name) => writeln!(out, "user {}", Quoted::bare(name)),
        Line::Envid(envid) => writeln!(out, "envid {}", Quoted::bare(envid)),
        Line::Body(Body::SevenBit) => out.write_str("body 7BIT\n"),
        Line::Body(Body::EightBitMime) => out.write_str("body 8BITMIME\n"),
        Line::Body(Body::Unsaid) => Ok(()),
        Line::SmtpUtf8 => out.write_str("smtputf8\n"),
        Line::Ret(Ret::Full) => out.write_str("ret FULL\n"),
        Line::Ret(Ret::Headers) => out.write_str("ret HDRS\n"),
        Line::To { number, path, .. } => {
            out.write_str("to")?;
            report::write_recipient_text(&recipient(config, status, from, path, number), out)
        }
    }
}
