//! Delivery status notifications: what a sender is told of the recipients of a message (RFC 3461,
//! RFC 3464, RFC 6522, RFC 6533).
//!
//! ```text
//! let mut text = Notice { .. }.begin(sink)?;
//! for each recipient to tell of { text.recipient(&recipient)?; }
//! let mut status = text.status()?;
//! for each of them { status.recipient(&recipient)?; }
//! let mut original = status.original()?;
//! while there is content and !original.is_complete() { original.write(octets)?; }
//! original.end()?;
//! ```
//!
//! Each part is a type, so they can only come in this order; the recipients are told twice, once
//! for people and once for programs. Lines of ours are under 998 octets and ASCII, but for a
//! reverse-path that is not, and nothing of the message can look like a part of the report.

mod advice;
mod original;
mod shown;
#[cfg(test)]
mod tests;

pub use original::{Original, Preview};

use super::date::Date;
use super::field::put;
use shown::{Ascii, Boundary, Decoded, Escaped, MtaName, Printable, Utf8};

/// What a notice says about the message.
#[derive(Clone, Copy, Debug)]
pub struct Notice<'a> {
    /// Whom it goes to: the message's reverse-path, or the postmaster if that was null. Never empty.
    pub to: &'a str,
    /// The message had no sender: this goes to the postmaster because nobody else has a copy.
    pub is_double: bool,
    /// The worst that it tells.
    pub worst: Action,
    /// Our name.
    pub hostname: &'a str,
    /// The notice's own queue id.
    pub id: &'a str,
    /// The queue id of the message.
    pub original_id: &'a str,
    /// ENVID of the message, as xtext; empty: none.
    pub envid: &'a str,
    /// Who handed the message in.
    pub device: Device<'a>,
    /// When the message arrived; `None` if the clock was not set then.
    pub arrival: Option<Date>,
    /// Now.
    pub date: Date,
    /// Until when those who are delayed will be tried.
    pub retry_until: Date,
    /// How much of the message comes back.
    pub returned: Returned,
    /// The message is an internationalized one (RFC 6532).
    pub utf8: bool,
    /// What comes back has octets beyond ASCII; see [`Preview`].
    pub eight_bit: bool,
}

/// Who handed a message in, as its envelope says; empty: not known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Device<'a> {
    /// Its address, or `uid:` and a user's number for a program of this machine.
    pub client: &'a str,
    /// What it called itself.
    pub helo: &'a str,
    /// The user that authenticated.
    pub user: &'a str,
}

/// What became of a recipient (RFC 3464 2.3.3), the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// It can't be delivered and will not be tried again.
    Failed,
    /// It is still being tried.
    Delayed,
    /// The next hop has it, and will tell nothing more.
    Relayed,
    /// It is in the mailbox.
    Delivered,
}

/// How much of the message comes back (RFC 3461 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Returned {
    /// The header.
    Header,
    /// All of it.
    Message,
}

/// A recipient to tell of.
#[derive(Clone, Copy, Debug)]
pub struct Recipient<'a> {
    /// Its forward-path.
    pub forward_path: &'a str,
    /// Its ORCPT, `type;xtext`; empty: none.
    pub orcpt: &'a str,
    /// What became of it.
    pub action: Action,
    /// The last reply about it, codes first; empty: not known any more.
    pub reply: &'a str,
    /// The host that said so, with address and port as in the log; empty: we.
    pub host: &'a str,
}

/// The part for people.
#[derive(Debug)]
pub struct Text<'a, S> {
    notice: Notice<'a>,
    sink: S,
}

/// The part for programs.
#[derive(Debug)]
pub struct Status<'a, S> {
    notice: Notice<'a>,
    sink: S,
}

impl Action {
    /// As RFC 3464 writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Delayed => "delayed",
            Self::Relayed => "relayed",
            Self::Delivered => "delivered",
        }
    }

    const fn in_words(self) -> &'static str {
        match self {
            Self::Failed => "could not be delivered",
            Self::Delayed => "not delivered yet, still being tried",
            Self::Relayed => "passed on to a server that will send no further notice",
            Self::Delivered => "delivered",
        }
    }

    const fn subject(self) -> &'static str {
        match self {
            Self::Failed => "Undelivered mail returned to sender",
            Self::Delayed => "Delayed mail, still being tried",
            Self::Relayed | Self::Delivered => "Mail delivered",
        }
    }
}

impl<'a> Notice<'a> {
    /// Begins the message: its header and the first sentences.
    ///
    /// # Errors
    /// Those of `sink`, here and below: the notice is broken then.
    pub fn begin<E, S: FnMut(&[u8]) -> Result<(), E>>(self, mut sink: S) -> Result<Text<'a, S>, E> {
        let (host, id, boundary) = (Ascii(self.hostname), Ascii(self.id), self.boundary());
        let date = self.date;
        put(
            &mut sink,
            format_args!(
                "Received: by {host} (pillarbox) id {id};\r\n\t{date}\r\n\
                 From: Mail Delivery System <MAILER-DAEMON@{host}>\r\n\
                 To: <{}>\r\n\
                 Subject: {}\r\n\
                 Date: {date}\r\n\
                 Message-ID: <{id}@{host}>\r\n\
                 Auto-Submitted: auto-replied\r\n\
                 MIME-Version: 1.0\r\n\
                 Content-Type: multipart/report; report-type=delivery-status;\r\n\
                 \tboundary=\"{boundary}\"\r\n",
                Printable(self.to),
                self.worst.subject(),
            ),
        )?;
        if self.eight_bit {
            put(&mut sink, format_args!("Content-Transfer-Encoding: 8bit\r\n"))?;
        }
        put(
            &mut sink,
            format_args!(
                "\r\n\
                 This is a report in MIME format about what became of a message.\r\n\
                 \r\n\
                 --{boundary}\r\n\
                 Content-Description: Notification\r\n\
                 Content-Type: text/plain; charset=us-ascii\r\n\
                 \r\n\
                 This is the mail relay at {host}.\r\n\
                 \r\n"
            ),
        )?;
        self.explain(&mut sink)?;
        Ok(Text { notice: self, sink })
    }

    /// What this is about, and where the message came from.
    fn explain<E>(&self, sink: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        if self.is_double {
            put(
                sink,
                format_args!(
                    "The message below has no sender who could be told, and could not be delivered. You get\r\n\
                     it as the postmaster: nobody else has a copy.\r\n\r\n"
                ),
            )?;
        } else {
            put(sink, format_args!("This is about your message, sent as <{}>.\r\n\r\n", Escaped(self.to)))?;
        }
        self.device.tell(sink)?;
        match self.arrival {
            Some(arrival) => put(sink, format_args!("Received: {arrival}\r\n"))?,
            None => put(sink, format_args!("Received: before the clock of this relay was set\r\n"))?,
        }
        put(sink, format_args!("Queue id: {}\r\n", Ascii(self.original_id)))
    }

    fn boundary(&self) -> Boundary<'a> {
        Boundary(self.id)
    }
}

impl Device<'_> {
    fn is_here(&self) -> bool {
        self.client.is_empty() || self.client.starts_with("uid:")
    }

    /// One line for people: which of the house's devices it was.
    fn tell<E>(&self, sink: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let (client, helo, user) = (Ascii(self.client), Ascii(self.helo), Ascii(self.user));
        put(sink, format_args!("Handed in by: "))?;
        match (self.client.strip_prefix("uid:"), self.client.is_empty()) {
            (_, true) => put(sink, format_args!("the relay itself"))?,
            (Some(number), _) => {
                put(sink, format_args!("a program on this computer, user number {}", Ascii(number)))?;
            }
            (None, _) if self.helo.is_empty() => put(sink, format_args!("the device at {client}"))?,
            (None, _) => put(sink, format_args!("the device at {client} that calls itself \"{helo}\""))?,
        }
        match self.user {
            "" => put(sink, format_args!("\r\n")),
            _ => put(sink, format_args!(", as user \"{user}\"\r\n")),
        }
    }
}

impl<'a, E, S: FnMut(&[u8]) -> Result<(), E>> Text<'a, S> {
    /// Tells of one recipient.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn recipient(&mut self, recipient: &Recipient<'_>) -> Result<(), E> {
        let Recipient { forward_path, action, reply, host, .. } = *recipient;
        let reply = reply.trim_end();
        let sink = &mut self.sink;
        put(sink, format_args!("\r\n<{}>: {}\r\n", Escaped(forward_path), action.in_words()))?;
        if action == Action::Delayed {
            put(sink, format_args!("  It will be tried until {}\r\n", self.notice.retry_until))?;
        }
        match (host, reply) {
            (_, "") => {}
            ("", reply) => put(sink, format_args!("  {}\r\n", Ascii(reply)))?,
            (host, reply) => put(sink, format_args!("  {} said:\r\n  {}\r\n", Ascii(host), Ascii(reply)))?,
        }
        match advice::on(action, reply) {
            "" => Ok(()),
            advice => put(sink, format_args!("  {advice}\r\n")),
        }
    }

    /// Goes on to the next part.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn status(mut self) -> Result<Status<'a, S>, E> {
        let notice = self.notice;
        let sink = &mut self.sink;
        let what = match notice.returned {
            Returned::Header => "the header of the message",
            Returned::Message => "the message",
        };
        // Whoever is written to in UTF-8 can read a report in it (RFC 6533 3).
        let kind = if notice.to.is_ascii() { "" } else { "global-" };
        put(
            sink,
            format_args!(
                "\r\n\
                 Below are a report for programs and {what}.\r\n\
                 \r\n\
                 --{}\r\n\
                 Content-Description: Delivery report\r\n\
                 Content-Type: message/{kind}delivery-status\r\n\
                 \r\n",
                notice.boundary()
            ),
        )?;
        if !notice.envid.is_empty() {
            put(sink, format_args!("Original-Envelope-Id: {}\r\n", Decoded(notice.envid)))?;
        }
        put(sink, format_args!("Reporting-MTA: dns; {}\r\n", Ascii(notice.hostname)))?;
        notice.device.report(sink)?;
        if let Some(arrival) = notice.arrival {
            put(sink, format_args!("Arrival-Date: {arrival}\r\n"))?;
        }
        // RFC 3464 2.2: fields of our own stand behind the others.
        put(sink, format_args!("X-Pillarbox-Queue-ID: {}\r\n", Ascii(notice.original_id)))?;
        Ok(Status { notice, sink: self.sink })
    }
}

impl Device<'_> {
    /// RFC 3464 2.2.4: only what came from another host came from an MTA.
    fn report<E>(&self, sink: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        if self.is_here() {
            return Ok(());
        }
        let (client, helo) = (MtaName(self.client), Ascii(self.helo));
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if self.helo.is_empty() || !self.helo.chars().all(is_name) {
            return put(sink, format_args!("Received-From-MTA: dns; {client}\r\n"));
        }
        put(sink, format_args!("Received-From-MTA: dns; {helo} ({client})\r\n"))
    }
}

impl<'a, E, S: FnMut(&[u8]) -> Result<(), E>> Status<'a, S> {
    /// Tells of one recipient (RFC 3464 2.3).
    ///
    /// # Errors
    /// Those of the sink.
    pub fn recipient(&mut self, recipient: &Recipient<'_>) -> Result<(), E> {
        let Recipient { forward_path, orcpt, action, reply, host } = *recipient;
        let reply = reply.trim_end();
        let sink = &mut self.sink;
        sink(b"\r\n")?;
        if let Some((kind, address)) = orcpt.split_once(';') {
            put(sink, format_args!("Original-Recipient: {}; {}\r\n", Ascii(kind), Decoded(address)))?;
        }
        // RFC 6533 3 for addresses that are not ASCII.
        match (forward_path.is_ascii(), self.notice.to.is_ascii()) {
            (true, _) => put(sink, format_args!("Final-Recipient: rfc822; {}\r\n", Ascii(forward_path)))?,
            (_, true) => put(sink, format_args!("Final-Recipient: utf-8; {}\r\n", Utf8(forward_path)))?,
            _ => put(sink, format_args!("Final-Recipient: utf-8; {}\r\n", Printable(forward_path)))?,
        }
        let (class, subject, detail) = status_code(action, reply);
        put(sink, format_args!("Action: {}\r\nStatus: {class}.{subject}.{detail}\r\n", action.name()))?;
        match (host, reply) {
            (_, "") => {}
            ("", _) => put(sink, format_args!("Diagnostic-Code: x-pillarbox; {}\r\n", Ascii(reply)))?,
            (host, _) => {
                put(sink, format_args!("Remote-MTA: dns; {}\r\n", MtaName(host)))?;
                put(sink, format_args!("Diagnostic-Code: smtp; {}\r\n", Ascii(reply)))?;
            }
        }
        put(sink, format_args!("Last-Attempt-Date: {}\r\n", self.notice.date))?;
        match action {
            Action::Delayed => put(sink, format_args!("Will-Retry-Until: {}\r\n", self.notice.retry_until)),
            Action::Failed | Action::Relayed | Action::Delivered => Ok(()),
        }
    }

    /// Goes on to the next part.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn original(mut self) -> Result<Original<S>, E> {
        let notice = &self.notice;
        let (kind, description) = match (notice.returned, notice.utf8) {
            (Returned::Message, false) => ("message/rfc822", "The message"),
            (Returned::Message, true) => ("message/global", "The message"),
            (Returned::Header, false) => ("text/rfc822-headers", "The header of the message"),
            (Returned::Header, true) => ("message/global-headers", "The header of the message"),
        };
        let boundary = notice.boundary();
        let sink = &mut self.sink;
        put(
            sink,
            format_args!(
                "\r\n--{boundary}\r\nContent-Description: {description}\r\nContent-Type: {kind}\r\n"
            ),
        )?;
        if notice.eight_bit {
            put(sink, format_args!("Content-Transfer-Encoding: 8bit\r\n"))?;
        }
        sink(b"\r\n")?;
        Ok(Original::new(notice, self.sink))
    }
}

/// The status of RFC 3464 2.3.4. A reply that fits no such action can have come only by a mistake, which
/// is not repeated here.
fn status_code(action: Action, reply: &str) -> (u8, u16, u16) {
    let class = match action {
        Action::Failed if reply.starts_with('4') => 4,
        Action::Failed => 5,
        Action::Delayed => 4,
        Action::Relayed | Action::Delivered => 2,
    };
    let (subject, detail) = detail(reply).unwrap_or((0, 0));
    (class, subject, detail)
}

/// Subject and detail of the enhanced code in a reply, `(1, 1)` in `550 5.1.1 no such user`.
fn detail(reply: &str) -> Option<(u16, u16)> {
    let mut numbers = reply.split(' ').nth(1)?.split('.');
    let class: u16 = numbers.next()?.parse().ok()?;
    let (subject, detail) = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
    let is_code = matches!(class, 2 | 4 | 5) && subject < 1000 && detail < 1000 && numbers.next().is_none();
    is_code.then_some((subject, detail))
}
