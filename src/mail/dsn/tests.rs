//! Notices as a whole: how they read, and that nothing untrusted breaks them.

extern crate std;
use std::format;
use std::string::String;
use std::vec::Vec;

use proptest::prelude::*;

use super::original::LINE_OCTETS;
use super::{Action, Date, Device, Notice, Preview, Recipient, Returned};

const NOTICE: Notice<'_> = Notice {
    to: "s@y.example",
    is_double: false,
    worst: Action::Failed,
    hostname: "mx.example",
    id: "0198f3a2c1-0008",
    original_id: "0198f3a2c1-0007",
    envid: "QQ+2B1",
    device: Device { client: "192.168.1.50", helo: "printer", user: "" },
    arrival: Some(Date::utc(0)),
    date: Date::utc(60),
    retry_until: Date::utc(3600),
    returned: Returned::Header,
    utf8: false,
    eight_bit: false,
};

fn composed(notice: Notice<'_>, recipients: &[Recipient<'_>], original: &[u8], size: usize) -> Vec<u8> {
    let mut message = Vec::new();
    let sink = |octets: &[u8]| -> Result<(), ()> {
        message.extend_from_slice(octets);
        Ok(())
    };
    let mut text = notice.begin(sink).unwrap();
    recipients.iter().for_each(|recipient| text.recipient(recipient).unwrap());
    let mut status = text.status().unwrap();
    recipients.iter().for_each(|recipient| status.recipient(recipient).unwrap());
    let mut header = status.original().unwrap();
    original.chunks(size).for_each(|piece| header.write(piece).unwrap());
    header.end().unwrap();
    message
}

fn to<'a>(forward_path: &'a str, action: Action, reply: &'a str, host: &'a str) -> Recipient<'a> {
    Recipient { forward_path, orcpt: "", action, reply, host }
}

const EXPECTED: &str = "Received: by mx.example (pillarbox) id 0198f3a2c1-0008;
\tThu, 01 Jan 1970 00:01:00 +0000
From: Mail Delivery System <MAILER-DAEMON@mx.example>
To: <s@y.example>
Subject: Undelivered mail returned to sender
Date: Thu, 01 Jan 1970 00:01:00 +0000
Message-ID: <0198f3a2c1-0008@mx.example>
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status;
\tboundary=\"=_pillarbox_0198f3a2c1-0008\"

This is a report in MIME format about what became of a message.

--=_pillarbox_0198f3a2c1-0008
Content-Description: Notification
Content-Type: text/plain; charset=us-ascii

This is the mail relay at mx.example.

This is about your message, sent as <s@y.example>.

Handed in by: the device at 192.168.1.50 that calls itself \"printer\"
Received: Thu, 01 Jan 1970 00:00:00 +0000
Queue id: 0198f3a2c1-0007

<a@x>: could not be delivered
  mx.x[192.0.2.1]:25 said:
  550 5.1.1 no such user
  Check the part before the @: there is no such mailbox, by what was said.

<j\\x{F6}+@x>: not delivered yet, still being tried
  It will be tried until Thu, 01 Jan 1970 01:00:00 +0000
  451 later
  There is nothing to do. Do not send it again: it is safe in the queue.

<c@x>: delivered
  250 2.0.0 delivered to the mailbox

<d@x>: passed on to a server that will send no further notice

Below are a report for programs and the header of the message.

--=_pillarbox_0198f3a2c1-0008
Content-Description: Delivery report
Content-Type: message/delivery-status

Original-Envelope-Id: QQ+1
Reporting-MTA: dns; mx.example
Received-From-MTA: dns; printer ([192.168.1.50])
Arrival-Date: Thu, 01 Jan 1970 00:00:00 +0000
X-Pillarbox-Queue-ID: 0198f3a2c1-0007

Original-Recipient: rfc822; a+b@x
Final-Recipient: rfc822; a@x
Action: failed
Status: 5.1.1
Remote-MTA: dns; mx.x
Diagnostic-Code: smtp; 550 5.1.1 no such user
Last-Attempt-Date: Thu, 01 Jan 1970 00:01:00 +0000

Final-Recipient: utf-8; j\\x{F6}\\x{2B}@x
Action: delayed
Status: 4.0.0
Diagnostic-Code: x-pillarbox; 451 later
Last-Attempt-Date: Thu, 01 Jan 1970 00:01:00 +0000
Will-Retry-Until: Thu, 01 Jan 1970 01:00:00 +0000

Final-Recipient: rfc822; c@x
Action: delivered
Status: 2.0.0
Diagnostic-Code: x-pillarbox; 250 2.0.0 delivered to the mailbox
Last-Attempt-Date: Thu, 01 Jan 1970 00:01:00 +0000

Final-Recipient: rfc822; d@x
Action: relayed
Status: 2.0.0
Last-Attempt-Date: Thu, 01 Jan 1970 00:01:00 +0000

--=_pillarbox_0198f3a2c1-0008
Content-Description: The header of the message
Content-Type: text/rfc822-headers

Subject: hi
 there

--=_pillarbox_0198f3a2c1-0008--
";

#[test]
fn a_notice_reads_like_this() {
    let recipients = [
        Recipient {
            orcpt: "rfc822;a+2Bb@x",
            ..to("a@x", Action::Failed, "550 5.1.1 no such user", "mx.x[192.0.2.1]:25")
        },
        to("j\u{f6}+@x", Action::Delayed, "451 later", ""),
        to("c@x", Action::Delivered, "250 2.0.0 delivered to the mailbox", ""),
        to("d@x", Action::Relayed, "", ""),
    ];
    let message = composed(NOTICE, &recipients, b"Subject: hi\r\n there\r\n\r\nbody\r\n", 3);
    assert_eq!(String::from_utf8(message).unwrap(), EXPECTED.replace('\n', "\r\n"));
}

fn text(notice: Notice<'_>, original: &[u8]) -> String {
    let failure = to("p\u{f6}st@x", Action::Failed, "550 5.1.1 no", "");
    String::from_utf8(composed(notice, &[failure], original, 2)).unwrap()
}

#[test]
fn the_device_is_named() {
    let named = |client, helo, user| text(Notice { device: Device { client, helo, user }, ..NOTICE }, b"");
    for (client, helo, user, line, field) in [
        ("192.0.2.9", "", "", "the device at 192.0.2.9\r\n", "Received-From-MTA: dns; [192.0.2.9]\r\n"),
        ("uid:1000", "", "", "a program on this computer, user number 1000\r\n", ""),
        (
            "::1",
            "odd name",
            "cam",
            "the device at ::1 that calls itself \"odd name\", as user \"cam\"\r\n",
            "Received-From-MTA: dns; [IPv6:::1]\r\n",
        ),
        ("", "", "", "the relay itself\r\n", ""),
    ] {
        let text = named(client, helo, user);
        assert!(text.contains(&format!("Handed in by: {line}")), "{text}");
        assert!(text.contains(field) && text.contains("Received-From") != field.is_empty(), "{text}");
    }
}

#[test]
fn the_postmaster_gets_what_has_no_sender() {
    let text = text(
        Notice { is_double: true, to: "postmaster@mx.example", returned: Returned::Message, ..NOTICE },
        b"A: b\r\n\r\nbody",
    );
    assert!(text.contains("nobody else has a copy") && !text.contains("your message"), "{text}");
    assert!(text.contains("Content-Type: message/rfc822\r\n\r\nA: b\r\n\r\nbody\r\n\r\n--=_pill"), "{text}");
}

#[test]
fn internationalized_mail_comes_back_as_such() {
    let utf8 = Notice { utf8: true, eight_bit: true, ..NOTICE };
    let header = "Subject: \u{f6}\r\n\r\n\u{f6}\r\n";
    let to_ascii = text(utf8, header.as_bytes());
    assert!(to_ascii.contains("Content-Type: message/delivery-status\r\n"), "{to_ascii}");
    assert!(to_ascii.contains("Final-Recipient: utf-8; p\\x{F6}st@x\r\n"), "{to_ascii}");
    assert!(
        to_ascii.contains(
            "Content-Type: message/global-headers\r\nContent-Transfer-Encoding: 8bit\r\n\r\nSubject: \u{f6}\r\n\r\n--"
        ),
        "{to_ascii}"
    );
    let notice = Notice { to: "\u{f6}@y.example", returned: Returned::Message, ..utf8 };
    let to_utf8 = text(notice, header.as_bytes());
    assert!(to_utf8.contains("Content-Type: message/global-delivery-status\r\n"), "{to_utf8}");
    assert!(to_utf8.contains("Final-Recipient: utf-8; p\u{f6}st@x\r\n"), "{to_utf8}");
    assert!(to_utf8.contains("Content-Type: message/global\r\n"), "{to_utf8}");
}

#[test]
fn what_could_be_taken_for_a_boundary_is_seen() {
    for (content, eight_bit, clashes) in [
        (&b"A: b\r\n\r\n--=_pillarbox\r\n"[..], false, false),
        (b"--=_pillarbox_1\r\n", false, true),
        (b"A: \xf6\r\n\r\nx--=_pillarbox_\r\n--=_pillarbo_\r\n", true, false),
        (b"\r\n--=_pillarbox_", false, true),
        (b"", false, false),
    ] {
        for size in [1, 7, 100] {
            let mut preview = Preview::default();
            content.chunks(size).for_each(|piece| preview.read(piece));
            assert_eq!((preview.is_eight_bit(), preview.clashes()), (eight_bit, clashes), "{content:?}");
        }
    }
}

#[test]
fn the_header_cannot_be_more_than_a_header() {
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
            let message = String::from_utf8(composed(NOTICE, &[], original.as_bytes(), size)).unwrap();
            let header = message.split_once("text/rfc822-headers\r\n\r\n").unwrap().1;
            assert_eq!(header, format!("{kept}{tail}"), "{original:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn nothing_untrusted_breaks_the_report(
        path in any::<String>(), orcpt in "[ -~\r\n;\u{e9}]{0,30}", host in any::<String>(), envid in any::<String>(),
        reply in any::<String>(), which in 0usize..4, long in 0usize..2000,
        (client, helo, user) in (any::<String>(), any::<String>(), any::<String>()),
        header in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(&b"-: \r\na"[..])], 0..200),
        size in 1usize..50,
    ) {
        let action = [Action::Failed, Action::Delayed, Action::Relayed, Action::Delivered][which];
        let one = Recipient { forward_path: &path, orcpt: &orcpt, action, reply: &reply, host: &host };
        let original = [b"Subject: ", "x".repeat(long).as_bytes(), b"\r\n", &header].concat();
        let device = Device { client: &client, helo: &helo, user: &user };
        let notice = Notice { envid: &envid, device, ..NOTICE };
        let message = composed(notice, &[one, one], &original, size);
        prop_assert!(message.iter().all(|octet| matches!(octet, b'\r' | b'\n' | b'\t' | b' '..=b'~')));
        let text = String::from_utf8(message).unwrap();
        let lines: Vec<&str> = text.strip_suffix("\r\n").unwrap().split("\r\n").collect();
        prop_assert!(lines.iter().all(|line| !line.contains(['\r', '\n'])));
        prop_assert_eq!(lines.iter().filter(|line| line.starts_with("--")).count(), 4);
        let header = text.split_once("text/rfc822-headers\r\n\r\n").unwrap().1;
        prop_assert!(header.lines().all(|line| line.len() <= LINE_OCTETS));
    }

    /// All of a message that the preview finds fit comes back to the octet.
    #[test]
    fn a_whole_message_comes_back_as_it_is(
        lines in prop::collection::vec("[ -~\u{f6}]{0,40}|--=_pillarbox_[0-9]?|--", 0..20), size in 1usize..50,
    ) {
        let original = lines.iter().map(|line| format!("{line}\r\n")).collect::<String>();
        let mut preview = Preview::default();
        original.as_bytes().chunks(size).for_each(|piece| preview.read(piece));
        if !preview.clashes() {
            let eight_bit = preview.is_eight_bit();
            let notice = Notice { returned: Returned::Message, eight_bit, ..NOTICE };
            let text = String::from_utf8(composed(notice, &[], original.as_bytes(), size)).unwrap();
            let encoding = if eight_bit { "Content-Transfer-Encoding: 8bit\r\n" } else { "" };
            let part = format!("Content-Type: message/rfc822\r\n{encoding}\r\n{original}\r\n--=_pillarbox_0198f3a2c1-0008--\r\n");
            prop_assert!(text.ends_with(&part), "{}", text);
            prop_assert_eq!(text.matches("\n--=_pillarbox_").count(), 4);
        }
    }
}
