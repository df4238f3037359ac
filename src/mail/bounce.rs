//! Bounces: the report to the sender that a message could not be delivered (RFC 3464, RFC 6522).
//!
//! ```text
//! let mut text = Bounce { .. }.begin(sink)?;
//! for each failed recipient { text.recipient(&failure)?; }
//! let mut status = text.status()?;
//! for each failed recipient { status.recipient(&failure)?; }
//! let mut original = status.original()?;
//! while there is content and !original.is_complete() { original.write(octets)?; }
//! original.end()?;
//! ```
//!
//! Each part is a type, so they can only come in this order; the recipients are told twice, once
//! for people and once for programs. All but a reverse-path in UTF-8 is ASCII, lines are under 998
//! octets, and nothing of the message that failed can look like a part of the report.

use core::fmt::{self, Display, Write};

use super::date::Date;
use super::field::{Kind, LineStart, put};
use crate::smtp::reply::Reply;
use crate::smtp::xtext;

/// Octets of a line of the original header that are passed on (RFC 5322 2.1.1 allows 998).
const LINE_OCTETS: usize = 900;

/// What a bounce says about the message.
#[derive(Clone, Copy, Debug)]
pub struct Bounce<'a> {
    /// The reverse-path it goes to; never empty: there is no bounce for `<>`.
    pub reverse_path: &'a str,
    /// Our name.
    pub hostname: &'a str,
    /// The bounce's own queue id.
    pub id: &'a str,
    /// The queue id of the message that failed.
    pub original_id: &'a str,
    /// ENVID of the message that failed, as xtext; empty: none.
    pub envid: &'a str,
    /// When the message that failed arrived.
    pub arrival: Date,
    /// Now.
    pub date: Date,
}

/// A recipient that failed.
#[derive(Clone, Copy, Debug)]
pub struct Failure<'a> {
    /// Its forward-path.
    pub forward_path: &'a str,
    /// Its ORCPT, `type;xtext`; empty: none.
    pub orcpt: &'a str,
    /// Why.
    pub reply: &'a Reply,
    /// The host that said so; empty: we.
    pub remote: &'a str,
}

/// The part for people.
#[derive(Debug)]
pub struct Text<'a, S> {
    bounce: Bounce<'a>,
    sink: S,
}

/// The part for programs.
#[derive(Debug)]
pub struct Status<'a, S> {
    bounce: Bounce<'a>,
    sink: S,
}

/// The header section of the message that failed.
#[derive(Debug)]
pub struct Original<'a, S> {
    bounce: Bounce<'a>,
    sink: S,
    place: Place,
}

/// Where in that header section.
#[derive(Debug)]
enum Place {
    Start(LineStart),
    /// Inside a line of which so many octets were passed on.
    Field(usize),
    Complete,
}

impl<'a> Bounce<'a> {
    /// Begins the message: its header and the first sentences.
    ///
    /// # Errors
    /// Those of `sink`, here and below: the bounce is broken then.
    pub fn begin<E, S: FnMut(&[u8]) -> Result<(), E>>(self, mut sink: S) -> Result<Text<'a, S>, E> {
        let (host, id) = (Ascii(self.hostname), Ascii(self.id));
        put(
            &mut sink,
            format_args!(
                "From: Mail Delivery System <MAILER-DAEMON@{host}>\r\n\
                 To: <{}>\r\n\
                 Subject: Undelivered mail returned to sender\r\n\
                 Date: {}\r\n\
                 Message-ID: <{id}@{host}>\r\n\
                 Auto-Submitted: auto-replied\r\n\
                 MIME-Version: 1.0\r\n\
                 Content-Type: multipart/report; report-type=delivery-status;\r\n\
                 \tboundary=\"{boundary}\"\r\n\
                 \r\n\
                 This is a report in MIME format about a message that was not delivered.\r\n\
                 \r\n\
                 --{boundary}\r\n\
                 Content-Type: text/plain; charset=us-ascii\r\n\
                 \r\n\
                 This is the mail relay at {host}.\r\n\
                 \r\n\
                 Your message, received {}, could not be delivered to\r\n\
                 the recipients named below. It will not be tried again.\r\n",
                Printable(self.reverse_path),
                self.date,
                self.arrival,
                boundary = self.boundary(),
            ),
        )?;
        Ok(Text { bounce: self, sink })
    }

    fn boundary(&self) -> Boundary<'a> {
        Boundary(self.id)
    }
}

impl<'a, E, S: FnMut(&[u8]) -> Result<(), E>> Text<'a, S> {
    /// Tells of one recipient.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn recipient(&mut self, failure: &Failure<'_>) -> Result<(), E> {
        put(&mut self.sink, format_args!("\r\n<{}>:\r\n", Ascii(failure.forward_path)))?;
        match failure.remote {
            "" => put(&mut self.sink, format_args!("  {}\r\n", failure.reply)),
            host => put(&mut self.sink, format_args!("  {} said:\r\n  {}\r\n", Ascii(host), failure.reply)),
        }
    }

    /// Goes on to the next part.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn status(mut self) -> Result<Status<'a, S>, E> {
        let bounce = self.bounce;
        put(
            &mut self.sink,
            format_args!(
                "\r\n\
                 Below are a report for programs and the header of your message.\r\n\
                 \r\n\
                 --{}\r\n\
                 Content-Type: message/delivery-status\r\n\
                 \r\n",
                bounce.boundary()
            ),
        )?;
        if !bounce.envid.is_empty() {
            put(&mut self.sink, format_args!("Original-Envelope-Id: {}\r\n", Decoded(bounce.envid)))?;
        }
        put(
            &mut self.sink,
            format_args!(
                "Reporting-MTA: dns; {}\r\n\
                 X-Pillarbox-Queue-ID: {}\r\n\
                 Arrival-Date: {}\r\n",
                Ascii(bounce.hostname),
                Ascii(bounce.original_id),
                bounce.arrival
            ),
        )?;
        Ok(Status { bounce, sink: self.sink })
    }
}

impl<'a, E, S: FnMut(&[u8]) -> Result<(), E>> Status<'a, S> {
    /// Tells of one recipient (RFC 3464 2.3).
    ///
    /// # Errors
    /// Those of the sink.
    pub fn recipient(&mut self, failure: &Failure<'_>) -> Result<(), E> {
        let sink = &mut self.sink;
        sink(b"\r\n")?;
        if let Some((kind, address)) = failure.orcpt.split_once(';') {
            put(sink, format_args!("Original-Recipient: {}; {}\r\n", Ascii(kind), Decoded(address)))?;
        }
        // RFC 6533 3 for addresses that are not ASCII.
        match failure.forward_path.is_ascii() {
            true => put(sink, format_args!("Final-Recipient: rfc822; {}\r\n", Ascii(failure.forward_path)))?,
            false => put(sink, format_args!("Final-Recipient: utf-8; {}\r\n", Utf8(failure.forward_path)))?,
        }
        let reply = failure.reply;
        // A reply that is no failure can be the reason only by a mistake, which is not repeated here.
        let class = if reply.code() / 100 == 4 { 4 } else { 5 };
        let (subject, detail) = reply.detail().unwrap_or((0, 0));
        put(sink, format_args!("Action: failed\r\nStatus: {class}.{subject}.{detail}\r\n"))?;
        match failure.remote {
            "" => put(sink, format_args!("Diagnostic-Code: x-pillarbox; {reply}\r\n")),
            host => {
                let host = Ascii(host);
                put(sink, format_args!("Remote-MTA: dns; {host}\r\nDiagnostic-Code: smtp; {reply}\r\n"))
            }
        }
    }

    /// Goes on to the next part.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn original(mut self) -> Result<Original<'a, S>, E> {
        put(
            &mut self.sink,
            format_args!("\r\n--{}\r\nContent-Type: text/rfc822-headers\r\n\r\n", self.bounce.boundary()),
        )?;
        Ok(Original { bounce: self.bounce, sink: self.sink, place: Place::Start(LineStart::new()) })
    }
}

impl<E, S: FnMut(&[u8]) -> Result<(), E>> Original<'_, S> {
    /// Takes content of the message that failed, from its start, split anywhere; only its header
    /// section is passed on.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn write(&mut self, octets: &[u8]) -> Result<(), E> {
        let mut rest = octets;
        while let Some((&octet, after)) = rest.split_first() {
            match &mut self.place {
                Place::Complete => break,
                Place::Start(start) => {
                    rest = after;
                    let Some(kind) = start.push(octet) else { continue };
                    // A line of two dashes could be taken for the boundary (RFC 2046 5.1.1).
                    let passed = match kind {
                        Kind::Field => !start.octets().starts_with(b"--"),
                        Kind::Continuation => true,
                        Kind::Blank | Kind::Text => false,
                    };
                    if !passed {
                        self.place = Place::Complete;
                        break;
                    }
                    let passed = start.octets().len();
                    (self.sink)(start.octets())?;
                    self.place = Place::Field(passed);
                }
                Place::Field(passed) => {
                    let end = rest.iter().position(|octet| *octet == b'\n');
                    let (line, after) = rest.split_at(end.unwrap_or(rest.len()));
                    let line = line.strip_suffix(b"\r").unwrap_or(line);
                    let line = line.get(..LINE_OCTETS.saturating_sub(*passed)).unwrap_or(line);
                    put(&mut self.sink, format_args!("{}", Octets(line)))?;
                    *passed += line.len();
                    rest = after;
                    if end.is_some() {
                        (self.sink)(b"\r\n")?;
                        self.place = Place::Start(LineStart::new());
                        rest = rest.get(1..).unwrap_or_default();
                    }
                }
            }
        }
        Ok(())
    }

    /// True if the header section is over: no more content is needed.
    pub fn is_complete(&self) -> bool {
        matches!(self.place, Place::Complete)
    }

    /// Ends the bounce, also if not all of the header section came.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn end(mut self) -> Result<(), E> {
        if let Place::Field(_) = self.place {
            (self.sink)(b"\r\n")?;
        }
        put(&mut self.sink, format_args!("\r\n--{}--\r\n", self.bounce.boundary()))
    }
}

/// At most 70 octets of RFC 2046's `bchars`.
struct Boundary<'a>(&'a str);

impl Display for Boundary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("=_pillarbox_")?;
        let bchars = self.0.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-');
        bchars.take(48).try_for_each(|c| f.write_char(c))
    }
}

/// Text in printable ASCII, `?` for the rest.
#[derive(Clone, Copy)]
struct Ascii<'a>(&'a str);

impl Display for Ascii<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| f.write_char(if matches!(c, ' '..='~') { c } else { '?' }))
    }
}

/// Text without control characters, `?` for those.
struct Printable<'a>(&'a str);

impl Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| f.write_char(if c.is_control() { '?' } else { c }))
    }
}

/// The text that xtext stands for, in printable ASCII.
struct Decoded<'a>(&'a str);

impl Display for Decoded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        xtext::decoded(self.0).try_for_each(|c| f.write_char(if matches!(c, ' '..='~') { c } else { '?' }))
    }
}

/// An address as utf-8-addr-xtext (RFC 6533 3): all but plain ASCII as `\x{…}`.
struct Utf8<'a>(&'a str);

impl Display for Utf8<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '+' | '=' | '\\' => write!(f, "\\x{{{:02X}}}", u32::from(c)),
            '!'..='~' => f.write_char(c),
            _ => write!(f, "\\x{{{:02X}}}", u32::from(c)),
        })
    }
}

/// Octets of a header line: printable ASCII and tabs, `?` for the rest.
struct Octets<'a>(&'a [u8]);

impl Display for Octets<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some(&octet) = rest.first() {
            let plain = rest.iter().take_while(|octet| matches!(octet, b'\t' | b' '..=b'~')).count();
            let (run, after) = rest.split_at(plain.max(1));
            match core::str::from_utf8(run) {
                Ok(run) if matches!(octet, b'\t' | b' '..=b'~') => f.write_str(run)?,
                _ => f.write_char('?')?,
            }
            rest = after;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::format;
    use std::string::String;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::{Bounce, Date, Failure, LINE_OCTETS, Reply};

    const BOUNCE: Bounce<'_> = Bounce {
        reverse_path: "s@y.example",
        hostname: "mx.example",
        id: "0198f3a2c1-0008",
        original_id: "0198f3a2c1-0007",
        envid: "QQ+2B1",
        arrival: Date::utc(0),
        date: Date::utc(60),
    };

    fn composed(bounce: Bounce<'_>, failures: &[Failure<'_>], original: &[u8], size: usize) -> Vec<u8> {
        let mut message = Vec::new();
        let sink = |octets: &[u8]| -> Result<(), ()> {
            message.extend_from_slice(octets);
            Ok(())
        };
        let mut text = bounce.begin(sink).unwrap();
        failures.iter().for_each(|failure| text.recipient(failure).unwrap());
        let mut status = text.status().unwrap();
        failures.iter().for_each(|failure| status.recipient(failure).unwrap());
        let mut header = status.original().unwrap();
        original.chunks(size).for_each(|piece| header.write(piece).unwrap());
        header.end().unwrap();
        message
    }

    #[test]
    fn a_bounce_reads_like_this() {
        let no = Reply::new(550, (1, 1), "no such user");
        let old = Reply::plain(451, "later");
        let failures = [
            Failure { forward_path: "a@x", orcpt: "rfc822;a+2Bb@x", reply: &no, remote: "mx.x" },
            Failure { forward_path: "j\u{f6}+@x", orcpt: "", reply: &old, remote: "" },
        ];
        let message = composed(BOUNCE, &failures, b"Subject: hi\r\n there\r\n\r\nbody\r\n", 3);
        let expected = "From: Mail Delivery System <MAILER-DAEMON@mx.example>
To: <s@y.example>
Subject: Undelivered mail returned to sender
Date: Thu, 01 Jan 1970 00:01:00 +0000
Message-ID: <0198f3a2c1-0008@mx.example>
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status;
\tboundary=\"=_pillarbox_0198f3a2c1-0008\"

This is a report in MIME format about a message that was not delivered.

--=_pillarbox_0198f3a2c1-0008
Content-Type: text/plain; charset=us-ascii

This is the mail relay at mx.example.

Your message, received Thu, 01 Jan 1970 00:00:00 +0000, could not be delivered to
the recipients named below. It will not be tried again.

<a@x>:
  mx.x said:
  550 5.1.1 no such user

<j?+@x>:
  451 later

Below are a report for programs and the header of your message.

--=_pillarbox_0198f3a2c1-0008
Content-Type: message/delivery-status

Original-Envelope-Id: QQ+1
Reporting-MTA: dns; mx.example
X-Pillarbox-Queue-ID: 0198f3a2c1-0007
Arrival-Date: Thu, 01 Jan 1970 00:00:00 +0000

Original-Recipient: rfc822; a+b@x
Final-Recipient: rfc822; a@x
Action: failed
Status: 5.1.1
Remote-MTA: dns; mx.x
Diagnostic-Code: smtp; 550 5.1.1 no such user

Final-Recipient: utf-8; j\\x{F6}\\x{2B}@x
Action: failed
Status: 4.0.0
Diagnostic-Code: x-pillarbox; 451 later

--=_pillarbox_0198f3a2c1-0008
Content-Type: text/rfc822-headers

Subject: hi
 there

--=_pillarbox_0198f3a2c1-0008--
";
        assert_eq!(String::from_utf8(message).unwrap(), expected.replace('\n', "\r\n"));
    }

    #[test]
    fn the_original_cannot_be_more_than_a_header() {
        let tail = "\r\n--=_pillarbox_0198f3a2c1-0008--\r\n";
        for (original, kept) in [
            ("A: b\r\n\r\nX: y\r\n", "A: b\r\n"),
            ("A: b\r\n--=_pillarbox_0198f3a2c1-0008--\r\nX: y\r\n", "A: b\r\n"),
            ("A: b\r\n--=_pillarbox_0198f3a2c1-0008: c\r\nX: y\r\n", "A: b\r\n"),
            ("A: b\r\nno field\r\nX: y\r\n", "A: b\r\n"),
            ("A: b\0\u{f6}\x7f\tc\r\n", "A: b????\tc\r\n"),
            ("A: cut o", "A: cut o\r\n"),
            ("A: b\r\ncut", "A: b\r\n"),
            ("", ""),
        ] {
            for size in [1, 100] {
                let message = String::from_utf8(composed(BOUNCE, &[], original.as_bytes(), size)).unwrap();
                let header = message.split_once("text/rfc822-headers\r\n\r\n").unwrap().1;
                assert_eq!(header, format!("{kept}{tail}"), "{original:?}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn nothing_untrusted_breaks_the_report(
            path in any::<String>(), orcpt in "[ -~\r\n;\u{e9}]{0,30}", remote in any::<String>(), envid in any::<String>(),
            said in any::<String>(), code in 400u16..600, long in 0usize..2000,
            header in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(&b"-: \r\na"[..])], 0..200),
            size in 1usize..50,
        ) {
            let reply = Reply::new(code, (1, 1), &said);
            let failure = Failure { forward_path: &path, orcpt: &orcpt, reply: &reply, remote: &remote };
            let original = [b"Subject: ", "x".repeat(long).as_bytes(), b"\r\n", &header].concat();
            let bounce = Bounce { envid: &envid, ..BOUNCE };
            let message = composed(bounce, &[failure, failure], &original, size);
            prop_assert!(message.iter().all(|octet| matches!(octet, b'\r' | b'\n' | b'\t' | b' '..=b'~')));
            let text = String::from_utf8(message).unwrap();
            let lines: Vec<&str> = text.strip_suffix("\r\n").unwrap().split("\r\n").collect();
            prop_assert!(lines.iter().all(|line| !line.contains(['\r', '\n'])));
            prop_assert_eq!(lines.iter().filter(|line| line.starts_with("--")).count(), 4);
            let header = text.split_once("text/rfc822-headers\r\n\r\n").unwrap().1;
            prop_assert!(header.lines().all(|line| line.len() <= LINE_OCTETS));
        }
    }
}
