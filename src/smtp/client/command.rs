//! Commands as the client writes them.

use core::fmt::{self, Write};

use heapless::String;

use super::{Output, Protocol};
use crate::limits::{DELIVERY_OUTPUT_OCTETS, DOMAIN_OCTETS, ENVID_OCTETS, ORCPT_OCTETS, PATH_OCTETS};
use crate::smtp::command::{Body, Notify, Ret};
use crate::smtp::keyword::Keyword;
use crate::smtp::offered::Offered;

/// Output room that any one command takes.
pub(super) const COMMAND_ROOM: usize = 1024;

// The verb, the longest other parameters, and CRLF beside what is variable.
const _: () = assert!(PATH_OCTETS + ORCPT_OCTETS + 64 <= COMMAND_ROOM);
const _: () = assert!(PATH_OCTETS + ENVID_OCTETS + 96 <= COMMAND_ROOM);
const _: () = assert!(DOMAIN_OCTETS + 8 <= COMMAND_ROOM && 2 * COMMAND_ROOM <= DELIVERY_OUTPUT_OCTETS);

/// A transaction to be begun.
#[derive(Clone, Copy, Debug)]
pub struct Transaction<'a> {
    /// The reverse-path in canonical form, without brackets; empty for `<>`.
    pub reverse_path: &'a str,
    /// Octets of the content as the spool has it, told to servers that want to know (RFC 1870).
    pub octets: u64,
    /// BODY as it came.
    pub body: Body,
    /// The message needs SMTPUTF8: a path or a header field is not ASCII. The caller knows best: one
    /// that came with SMTPUTF8 but needs it nowhere can be passed on without.
    pub smtputf8: bool,
    /// RET as it came.
    pub ret: Option<Ret>,
    /// ENVID as it came, as xtext; empty: none.
    pub envid: &'a str,
    /// Recipients of the group, at least 1 and at most [`crate::limits::RECIPIENTS`].
    pub recipients: u16,
}

/// One recipient of a transaction.
#[derive(Clone, Copy, Debug)]
pub struct Recipient<'a> {
    /// The forward-path in canonical form, without brackets.
    pub forward_path: &'a str,
    /// NOTIFY as it came.
    pub notify: Notify,
    /// ORCPT as it came, `type;xtext`; empty: none.
    pub orcpt: &'a str,
}

/// The commands whose text needs no transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// EHLO, in LMTP LHLO.
    Hello,
    /// HELO, for servers that refuse EHLO.
    Helo,
    /// STARTTLS.
    StartTls,
    /// RSET.
    Reset,
    /// QUIT.
    Quit,
}

impl Command {
    /// False and nothing if there is no room.
    pub fn write(self, protocol: Protocol, hostname: &str, out: &mut Output) -> bool {
        if out.free() < COMMAND_ROOM {
            return false;
        }
        let verb = match (self, protocol) {
            (Self::Hello, Protocol::Smtp) => "EHLO",
            (Self::Hello, Protocol::Lmtp) => "LHLO",
            (Self::Helo, _) => "HELO",
            (Self::StartTls, _) => return out.push(b"STARTTLS\r\n"),
            (Self::Reset, _) => return out.push(b"RSET\r\n"),
            (Self::Quit, _) => return out.push(b"QUIT\r\n"),
        };
        assert_fits(hostname, DOMAIN_OCTETS);
        write!(out, "{verb} {hostname}\r\n").is_ok()
    }
}

impl Transaction<'_> {
    /// Writes MAIL with the parameters that were offered.
    pub(super) fn write(&self, offered: &Offered, out: &mut Output) {
        assert_fits(self.reverse_path, PATH_OCTETS - 2);
        assert_fits(self.envid, ENVID_OCTETS);
        let result = self.try_write(offered, out);
        assert!(result.is_ok(), "Next::Ready comes with room for a command");
    }

    fn try_write(&self, offered: &Offered, out: &mut Output) -> fmt::Result {
        write!(out, "MAIL FROM:<{}>", self.reverse_path)?;
        if offered.has(Keyword::Size) {
            write!(out, " SIZE={}", self.octets)?;
        }
        if offered.has(Keyword::EightBitMime) && self.body == Body::EightBitMime {
            out.write_str(" BODY=8BITMIME")?;
        }
        if self.smtputf8 {
            out.write_str(" SMTPUTF8")?;
        }
        if offered.has(Keyword::Dsn) {
            match self.ret {
                Some(Ret::Full) => out.write_str(" RET=FULL")?,
                Some(Ret::Headers) => out.write_str(" RET=HDRS")?,
                None => {}
            }
            if !self.envid.is_empty() {
                write!(out, " ENVID={}", self.envid)?;
            }
        }
        out.write_str("\r\n")
    }
}

impl Recipient<'_> {
    /// Writes RCPT with the parameters that were offered.
    pub(super) fn write(&self, offered: &Offered, out: &mut Output) {
        assert_fits(self.forward_path, PATH_OCTETS - 2);
        assert_fits(self.orcpt, ORCPT_OCTETS);
        let result = self.try_write(offered, out);
        assert!(result.is_ok(), "Next::Recipient comes with room for a command");
    }

    fn try_write(&self, offered: &Offered, out: &mut Output) -> fmt::Result {
        write!(out, "RCPT TO:<{}>", self.forward_path)?;
        if offered.has(Keyword::Dsn) {
            write_notify(self.notify, out)?;
            match ascii_orcpt(self.orcpt) {
                _ if self.orcpt.is_empty() => {}
                _ if offered.has(Keyword::SmtpUtf8) => write!(out, " ORCPT={}", self.orcpt)?,
                Some(orcpt) => write!(out, " ORCPT={orcpt}")?,
                None => {}
            }
        }
        out.write_str("\r\n")
    }
}

/// ORCPT in a form that needs no SMTPUTF8 (RFC 6533 3); `None` if it is too long for one then.
fn ascii_orcpt(orcpt: &str) -> Option<String<ORCPT_OCTETS>> {
    let mut ascii = String::new();
    let is_plain = orcpt.is_ascii();
    for c in orcpt.chars() {
        match c {
            '+' | '=' if !is_plain => write!(ascii, "\\x{{{:X}}}", u32::from(c)).ok()?,
            c if c.is_ascii() => ascii.push(c).ok()?,
            c => write!(ascii, "\\x{{{:X}}}", u32::from(c)).ok()?,
        }
    }
    Some(ascii)
}

fn write_notify(notify: Notify, out: &mut Output) -> fmt::Result {
    match notify {
        Notify::Unsaid => Ok(()),
        Notify::Never => out.write_str(" NOTIFY=NEVER"),
        Notify::On { success, failure, delay } => {
            let wanted = [(success, "SUCCESS"), (failure, "FAILURE"), (delay, "DELAY")];
            let mut before = " NOTIFY=";
            for (_, name) in wanted.into_iter().filter(|(on, _)| *on) {
                write!(out, "{before}{name}")?;
                before = ",";
            }
            Ok(())
        }
    }
}

/// What stands in a command came through our own parsers; that it cannot end a line is the one
/// thing that must hold whatever went wrong before.
#[track_caller]
fn assert_fits(text: &str, octets: usize) {
    assert!(text.len() <= octets && text.bytes().all(|octet| octet >= b' ' && octet != 0x7f));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orcpt_without_smtputf8_is_ascii() {
        let said = |ehlo: &[&str], orcpt| {
            let mut offered = Offered::NOTHING;
            for (line, text) in ehlo.iter().enumerate() {
                offered.learn(line + 1, text.as_bytes());
            }
            let mut out = Output::new();
            Recipient { forward_path: "b@c", notify: Notify::Unsaid, orcpt }.write(&offered, &mut out);
            core::str::from_utf8(out.filled())
                .unwrap()
                .strip_prefix("RCPT TO:<b@c>")
                .map(std::string::String::from)
        };
        let wide = "utf-8;j\u{f6}rg+a=b\\x{E4}@c";
        assert_eq!(said(&["DSN", "SMTPUTF8"], wide).unwrap(), format!(" ORCPT={wide}\r\n"));
        assert_eq!(said(&["DSN"], wide).unwrap(), " ORCPT=utf-8;j\\x{F6}rg\\x{2B}a\\x{3D}b\\x{E4}@c\r\n");
        assert_eq!(said(&["DSN"], "rfc822;a+2Bb@c").unwrap(), " ORCPT=rfc822;a+2Bb@c\r\n");
        assert_eq!(said(&["SIZE"], wide).unwrap(), "\r\n");
        let long = format!("utf-8;{}@c", "\u{f6}".repeat(200));
        assert_eq!(said(&["DSN"], &long).unwrap(), "\r\n");
    }
}
