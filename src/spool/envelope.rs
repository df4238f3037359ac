//! The envelope as text: a line a fact, so that a person with nothing but `less` can read it.
//!
//! ```text
//! from <a@b.example>
//! client 192.168.1.20
//! helo printer
//! proto ESMTPSA
//! user printer
//! body 8BITMIME
//! to P <x@y.example> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;x@y.example
//! ```
//!
//! Every line is read back before it is kept: what the spool can't read again it does not take.

use core::fmt::Write;

use heapless::String;

use super::status::RecipientState;
use crate::limits::{ENVID_OCTETS, ORCPT_OCTETS, PATH_OCTETS};
use crate::smtp::command::{Body, Notify, Ret};

/// Octets of an envelope line with its LF, at most.
pub const LINE_OCTETS: usize = PATH_OCTETS + ORCPT_OCTETS + 64;
const _: () = assert!(ENVID_OCTETS + 64 < LINE_OCTETS);

/// Where a message comes from: all of the envelope but its recipients. Empty text means that it
/// was not said.
#[derive(Clone, Copy, Debug, Default)]
pub struct Origin<'a> {
    /// The reverse-path without its brackets; empty for the null reverse-path.
    pub reverse_path: &'a str,
    /// The client's address, as it shall be shown.
    pub client: &'a str,
    /// The name it gave with HELO or EHLO.
    pub helo: &'a str,
    /// How it came: `SMTP`, `ESMTP`, `ESMTPSA` (RFC 3848).
    pub protocol: &'a str,
    /// The user that authenticated.
    pub user: &'a str,
    /// SIZE, in octets (RFC 1870): so much room is kept free.
    pub size: Option<u64>,
    /// BODY (RFC 6152).
    pub body: Body,
    /// SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// RET (RFC 3461 4.3).
    pub ret: Option<Ret>,
    /// ENVID, still as xtext (RFC 3461 4.4).
    pub envid: &'a str,
    /// How much of the spool may be taken by then.
    pub share: Share,
}

/// How much of the spool may be taken, this message included, for it to be let in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Share {
    /// All of it.
    #[default]
    Whole,
    /// A stranger's: a quarter stays free for the house. Less does where the largest message would not
    /// fit into an empty spool otherwise.
    Strangers,
    /// A bounce takes over its message's room: no limit holds for it.
    Unlimited,
}

/// One fact of an envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// The reverse-path without its brackets.
    From(&'a str),
    /// The client's address.
    Client(&'a str),
    /// What it called itself.
    Helo(&'a str),
    /// How the message came.
    Protocol(&'a str),
    /// Who sent it.
    User(&'a str),
    /// BODY.
    Body(Body),
    /// SMTPUTF8 was said.
    SmtpUtf8,
    /// RET.
    Ret(Ret),
    /// ENVID.
    Envid(&'a str),
    /// A recipient.
    To {
        /// Its number in the envelope, from 0.
        number: u16,
        /// Where it stood when the message was committed; the status entry, once there is one,
        /// counts instead.
        initial: RecipientState,
        /// The forward-path without its brackets.
        path: &'a str,
        /// NOTIFY.
        notify: Notify,
        /// ORCPT; empty if not said.
        orcpt: &'a str,
    },
}

/// How far an envelope was read; the default is its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// Octets of the envelope before the next line.
    pub(super) octets: u32,
    /// Recipients before it.
    pub(super) recipients: u16,
}

/// A line with its LF.
pub type Text = String<LINE_OCTETS>;

/// The text can't be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unwritable;

/// Hands out the origin's lines, each with its LF.
pub fn write_origin<E: From<Unwritable>>(
    origin: &Origin<'_>,
    mut each: impl FnMut(&str) -> Result<(), E>,
) -> Result<(), E> {
    let said = |text: &str| !text.is_empty();
    each(&write(&Line::From(origin.reverse_path))?)?;
    let texts = [
        Line::Client(origin.client),
        Line::Helo(origin.helo),
        Line::Protocol(origin.protocol),
        Line::User(origin.user),
        Line::Envid(origin.envid),
    ];
    for line in texts {
        if let Line::Client(t) | Line::Helo(t) | Line::Protocol(t) | Line::User(t) | Line::Envid(t) = line
            && said(t)
        {
            each(&write(&line)?)?;
        }
    }
    if origin.body != Body::Unsaid {
        each(&write(&Line::Body(origin.body))?)?;
    }
    if origin.smtputf8 {
        each(&write(&Line::SmtpUtf8)?)?;
    }
    if let Some(ret) = origin.ret {
        each(&write(&Line::Ret(ret))?)?;
    }
    Ok(())
}

/// A line with its LF; refused if [`read`] would not give the same line back.
pub fn write(line: &Line<'_>) -> Result<Text, Unwritable> {
    let mut text = Text::new();
    form(line, &mut text).map_err(|_| Unwritable)?;
    let number = if let Line::To { number, .. } = line { *number } else { 0 };
    match text.strip_suffix('\n') {
        Some(bare) if !bare.contains(char::is_control) && read(bare, number) == Some(*line) => Ok(text),
        _ => Err(Unwritable),
    }
}

fn form(line: &Line<'_>, out: &mut Text) -> core::fmt::Result {
    match line {
        Line::From(path) => write!(out, "from <{path}>"),
        Line::Client(text) => write!(out, "client {text}"),
        Line::Helo(text) => write!(out, "helo {text}"),
        Line::Protocol(text) => write!(out, "proto {text}"),
        Line::User(text) => write!(out, "user {text}"),
        Line::Body(Body::Unsaid) => Err(core::fmt::Error),
        Line::Body(Body::SevenBit) => write!(out, "body 7BIT"),
        Line::Body(Body::EightBitMime) => write!(out, "body 8BITMIME"),
        Line::SmtpUtf8 => write!(out, "smtputf8"),
        Line::Ret(Ret::Full) => write!(out, "ret FULL"),
        Line::Ret(Ret::Headers) => write!(out, "ret HDRS"),
        Line::Envid(text) => write!(out, "envid {text}"),
        Line::To { initial, path, notify, orcpt, .. } => {
            let letter = match initial {
                RecipientState::Pending => 'P',
                RecipientState::Delivered | RecipientState::Owed => 'D',
                RecipientState::Failed => 'F',
            };
            write!(out, "to {letter} <{path}>")?;
            form_notify(*notify, out)?;
            if orcpt.is_empty() { Ok(()) } else { write!(out, " ORCPT={orcpt}") }
        }
    }?;
    out.write_char('\n')
}

fn form_notify(notify: Notify, out: &mut Text) -> core::fmt::Result {
    match notify {
        Notify::Unsaid => Ok(()),
        Notify::Never => out.write_str(" NOTIFY=NEVER"),
        Notify::On { success, failure, delay } => {
            out.write_str(" NOTIFY")?;
            let mut before = '=';
            for (said, word) in [(success, "SUCCESS"), (failure, "FAILURE"), (delay, "DELAY")] {
                if said {
                    write!(out, "{before}{word}")?;
                    before = ',';
                }
            }
            Ok(())
        }
    }
}

/// Reads a line without its LF. `number` is the number that a recipient in it has. `None`: no
/// line of an envelope.
pub fn read(line: &str, number: u16) -> Option<Line<'_>> {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    let said = Some(rest).filter(|r| !r.is_empty());
    match (word, rest) {
        ("from", _) => {
            let (path, after) = split_path(rest)?;
            after.is_empty().then_some(Line::From(path))
        }
        ("client", _) => said.map(Line::Client),
        ("helo", _) => said.map(Line::Helo),
        ("proto", _) => said.map(Line::Protocol),
        ("user", _) => said.map(Line::User),
        ("envid", _) => said.map(Line::Envid),
        ("body", "7BIT") => Some(Line::Body(Body::SevenBit)),
        ("body", "8BITMIME") => Some(Line::Body(Body::EightBitMime)),
        ("smtputf8", "") => Some(Line::SmtpUtf8),
        ("ret", "FULL") => Some(Line::Ret(Ret::Full)),
        ("ret", "HDRS") => Some(Line::Ret(Ret::Headers)),
        ("to", _) => read_recipient(rest, number),
        _ => None,
    }
}

fn read_recipient(rest: &str, number: u16) -> Option<Line<'_>> {
    let (letter, rest) = rest.split_once(' ')?;
    let initial = match letter {
        "P" => RecipientState::Pending,
        "D" => RecipientState::Delivered,
        "F" => RecipientState::Failed,
        _ => return None,
    };
    let (path, mut rest) = split_path(rest)?;
    let (mut notify, mut orcpt) = (Notify::Unsaid, "");
    while let Some(parameter) = rest.strip_prefix(' ') {
        let (parameter, after) = parameter.find(' ').map_or((parameter, ""), |at| parameter.split_at(at));
        match parameter.split_once('=')? {
            ("NOTIFY", list) if notify == Notify::Unsaid && orcpt.is_empty() => notify = read_notify(list)?,
            ("ORCPT", value) if orcpt.is_empty() && !value.is_empty() => orcpt = value,
            _ => return None,
        }
        rest = after;
    }
    rest.is_empty().then_some(Line::To { number, initial, path, notify, orcpt })
}

fn read_notify(list: &str) -> Option<Notify> {
    if list == "NEVER" {
        return Some(Notify::Never);
    }
    let (mut success, mut failure, mut delay) = (false, false, false);
    for word in list.split(',') {
        match word {
            "SUCCESS" => success = true,
            "FAILURE" => failure = true,
            "DELAY" => delay = true,
            _ => return None,
        }
    }
    Some(Notify::On { success, failure, delay })
}

/// A path in brackets at the front, and what follows. A `>` within a quoted local-part is part of
/// the path.
fn split_path(text: &str) -> Option<(&str, &str)> {
    let inner = text.strip_prefix('<')?;
    let (mut quoted, mut escaped) = (false, false);
    for (at, octet) in inner.bytes().enumerate() {
        match octet {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'>' if !quoted => return Some((inner.get(..at)?, inner.get(at + 1..)?)),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn to(path: &str, notify: Notify, orcpt: &str) -> Result<Text, Unwritable> {
        write(&Line::To { number: 4, initial: RecipientState::Pending, path, notify, orcpt })
    }

    #[test]
    fn lines_are_as_the_manual_shows_them() {
        let on = Notify::On { success: true, failure: true, delay: false };
        assert_eq!(
            to("x@y.example", on, "rfc822;x@y.example").unwrap(),
            "to P <x@y.example> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;x@y.example\n"
        );
        assert_eq!(write(&Line::From("")).unwrap(), "from <>\n");
    }

    #[test]
    fn brackets_in_quotes_belong_to_the_path() {
        for path in [r#""a>b <c\"d"@e.example"#, r#""to P <x>"@e"#, "ü@ö.example", "postmaster"] {
            assert!(to(path, Notify::Never, "rfc822;a>b").is_ok(), "{path}");
        }
    }

    #[test]
    fn what_would_read_otherwise_is_refused() {
        for path in ["a\nto P <b", "a>b@c", r#""a"#, "a\r", "\u{7f}"] {
            assert_eq!(to(path, Notify::Unsaid, ""), Err(Unwritable), "{path:?}");
        }
        assert_eq!(to("a", Notify::Unsaid, "b NOTIFY=NEVER"), Err(Unwritable));
        assert_eq!(to("a", Notify::On { success: false, failure: false, delay: false }, ""), Err(Unwritable));
        assert_eq!(write(&Line::Helo("")), Err(Unwritable));
    }

    #[test]
    fn an_origin_is_said_once_and_in_full() {
        let origin = Origin {
            reverse_path: "a@b",
            helo: "printer",
            smtputf8: true,
            ret: Some(Ret::Headers),
            ..Origin::default()
        };
        let mut all = std::string::String::new();
        write_origin(&origin, |line| {
            all.push_str(line);
            Ok::<(), Unwritable>(())
        })
        .unwrap();
        assert_eq!(all, "from <a@b>\nhelo printer\nsmtputf8\nret HDRS\n");
    }

    proptest! {
        #[test]
        fn no_line_panics_and_what_reads_writes_the_same(line in "(from|to|to P|helo|body|ret) <?[ -~é]{0,40}") {
            if let Some(read_line) = read(&line, 3)
                && let Ok(text) = write(&read_line)
            {
                prop_assert_eq!(read(text.trim_end_matches('\n'), 3), Some(read_line));
            }
        }

        #[test]
        fn any_path_is_kept_exactly_or_refused(path in "\\PC{0,40}|[<>\"\\\\ab@ ]{0,12}", orcpt in "[!-~]{0,20}") {
            let line = Line::To { number: 0, initial: RecipientState::Failed, path: &path, notify: Notify::Never, orcpt: &orcpt };
            if let Ok(text) = write(&line) {
                prop_assert_eq!(text.matches('\n').count(), 1);
                prop_assert_eq!(read(text.trim_end_matches('\n'), 0), Some(line));
            }
        }
    }
}
