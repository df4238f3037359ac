//! Content with octets above 127 at a next hop without 8BITMIME, seen by Python's email package, which
//! wrote the messages as well.

mod support;

use std::process::Command;

use support::Folder;
use support::client::Client;
use support::message::{assert_same, without_trace};
use support::next_hop::{Act, Event, NextHop};
use support::peers;
use support::relay::{Config, smarthost};

/// Writes messages of many structures, 8bit wherever it can be, each behind its length and a newline.
const AUTHOR: &str = r#"
import sys
from email import policy
from email.message import EmailMessage, MIMEPart
smtp = policy.SMTP.clone(cte_type="8bit", max_line_length=900)
text = "Grüße = aus \u20ac\n.\n--\n\tTab \n" + "lang " * 150 + "\nFrom hier\n"
def write(message):
    octets = message.as_bytes(policy=smtp)
    assert any(octet > 127 for octet in octets)
    sys.stdout.buffer.write(b"%d\n" % len(octets) + octets)
def new():
    message = EmailMessage(policy=smtp)
    message["From"], message["To"], message["Date"], message["Message-ID"] = "a@b.test", "c@far.test", "Thu, 1 Jan 2026 00:00:00 +0000", "<x@b.test>"
    return message
one = new()
one.set_content(text, cte="8bit")
write(one)
mixed = new()
mixed.set_content(text, cte="8bit")
mixed.add_alternative("<p>" + text + "</p>", subtype="html", cte="8bit")
mixed.add_attachment(bytes(range(256)) * 9, maintype="image", subtype="png", filename="bild.png")
mixed.add_attachment("a;ü\n", subtype="csv", filename="liste.csv", cte="8bit")
part = MIMEPart(policy=smtp)
part["Content-Type"], part["Content-Transfer-Encoding"] = "application/json", "8bit"
part.set_payload('{"ü":\n 1}\n'.encode().decode("ascii", "surrogateescape"))
mixed.attach(part)
write(mixed)
outer = new()
outer.set_content("only ascii = here\n")
outer.add_attachment(mixed)
write(outer)
"#;

/// Prints the structure of a message: a line for each entity, its type, how it is encoded, its body.
const JUDGE: &str = r#"
import sys, hashlib
from email import message_from_bytes, policy
octets = sys.stdin.buffer.read()
body = octets.split(b"\r\n\r\n", 1)[1]
print("seven bits", all(octet < 128 for octet in body), "lines", max(map(len, octets.split(b"\r\n"))) <= 998)
def tell(entity, depth):
    entity.policy = policy.default
    said = [entity.get_content_type(), entity.get_content_charset(), entity.get_filename(), entity.get("MIME-Version"), entity.defects]
    if entity.is_multipart():
        print(" " * depth, said)
        for part in entity.get_payload():
            tell(part, depth + 1)
    else:
        payload = entity.get_payload(decode=True)
        print(" " * depth, said, len(payload), hashlib.sha256(payload).hexdigest())
tell(message_from_bytes(octets, policy=policy.default), 0)
"#;

fn python(script: &str, input: &[u8]) -> Option<Vec<u8>> {
    let python = peers::find_in_system("python3")?;
    let output = peers::run(Command::new(python).args(["-c", script]), input);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(output.stdout)
}

fn judged(content: &[u8]) -> Option<String> {
    python(JUDGE, content).map(|said| String::from_utf8(said).expect("text"))
}

/// The messages that Python wrote.
fn written() -> Option<Vec<Vec<u8>>> {
    let said = python(AUTHOR, b"")?;
    let mut rest = &said[..];
    let mut messages = Vec::new();
    while let Some(end) = rest.iter().position(|octet| *octet == b'\n') {
        let length: usize = std::str::from_utf8(&rest[..end]).expect("digits").parse().expect("a length");
        messages.push(rest[end + 1..end + 1 + length].to_vec());
        rest = &rest[end + 1 + length..];
    }
    Some(messages)
}

/// A next hop of the old kind.
fn old_hop() -> NextHop {
    NextHop::scripted(|_, event| match event {
        Event::Hello(_) => Act::Say("250-old.test\r\n250-PIPELINING\r\n250 SIZE 100000000"),
        _ => Act::Friendly,
    })
}

#[test]
fn bodies_reach_an_old_server_in_seven_bits() {
    let Some(messages) = written() else { return };
    let folder = Folder::new("seven-bit");
    let (hop, new) = (old_hop(), NextHop::friendly());
    let config = Config::new(folder.path(), "relay")
        .route(&smarthost("[\"new.test\"]", &new.address()))
        .route(&smarthost("", &hop.address()));
    let relay = config.start();
    for (n, message) in messages.iter().enumerate() {
        let mut client = Client::hello(config.port);
        client.expect("MAIL FROM:<a@b.test> BODY=8BITMIME", "250");
        client.expect("RCPT TO:<c@far.test>", "250");
        client.expect("RCPT TO:<c@new.test>", "250");
        client.expect("DATA", "354");
        client.send(&support::message::stuff(message));
        let reply = client.reply();
        assert!(reply.starts_with("250"), "{reply}");
        let taken = hop.wait(n + 1).remove(n);
        let content = without_trace(&taken.content);
        let said = judged(content).expect("python3 was there before");
        let (first, structure) = said.split_once('\n').expect("lines");
        assert_eq!(first, "seven bits True lines True");
        let before = judged(message).expect("python3 was there before");
        let (first, expected) = before.split_once('\n').expect("lines");
        assert!(first.starts_with("seven bits False"));
        assert_eq!(structure, expected);
        let size = taken.from.strip_prefix("<a@b.test> SIZE=").expect("SIZE and no BODY");
        let (size, octets): (usize, _) = (size.parse().expect("a number"), taken.content.len());
        assert!((octets..octets + 1000).contains(&size), "{size} is told of {octets}");
        // A server that can take it gets it as it is, from the same relay.
        let taken = new.wait(n + 1).remove(n);
        assert!(taken.from.ends_with(" BODY=8BITMIME"), "{}", taken.from);
        assert_same("as it was", message, without_trace(&taken.content));
    }
    relay.stop();
}

#[test]
fn what_needs_nothing_and_what_cannot_be_changed_passes() {
    let folder = Folder::new("seven-bit-same");
    // One that knows HELO only.
    let hop = NextHop::scripted(|_, event| match event {
        Event::Hello(line) if line.starts_with("EHLO") => Act::Say("502 5.5.1 what?"),
        Event::Hello(_) => Act::Say("250 old.test"),
        _ => Act::Friendly,
    });
    let config = Config::new(folder.path(), "relay").route(&smarthost("", &hop.address()));
    let relay = config.start();
    let head = "From: a@b.test\r\nDate: x\r\nMessage-ID: <x@y>\r\n";
    let signed = "MIME-Version: 1.0\r\nContent-Type: multipart/signed; boundary=S\r\n\r\n--S\r\n\r\n\u{fc}\r\n--S--\r\n";
    let large = format!("\r\n{}", "ASCII = only \r\n".repeat(50_000));
    for (n, rest) in
        [signed, &large, "Content-Type: multipart/mixed\r\n\r\n\u{fc}\r\n"].into_iter().enumerate()
    {
        let message = format!("{head}{rest}");
        let reply = Client::hello(config.port).deliver("a@b.test", &["c@far.test"], message.as_bytes());
        assert!(reply.starts_with("250"), "{reply}");
        let taken = hop.wait(n + 1).remove(n);
        assert_same(rest.get(..60).unwrap_or(rest), message.as_bytes(), without_trace(&taken.content));
    }
    relay.stop();
}

#[test]
fn senders_are_rewritten_and_bodies_encoded_at_once() {
    let folder = Folder::new("seven-bit-rewrite");
    let hop = old_hop();
    let route = format!("{}\nrewrite_sender = \"me@provider.test\"", smarthost("", &hop.address()));
    let config = Config::new(folder.path(), "relay").route(&route);
    let relay = config.start();
    let body = "caf\u{e9} ".repeat(40_000);
    let names = "a friend <a@b.test>, ".repeat(12);
    let message = format!("Date: x\r\nMessage-ID: <x@y>\r\nFrom: {names}b@c.test\r\n\r\n{body}\r\n");
    let reply = Client::hello(config.port).deliver("a@b.test", &["c@far.test"], message.as_bytes());
    assert!(reply.starts_with("250"), "{reply}");
    let content = hop.wait(1).remove(0).content;
    let header = "Date: x\r\nMessage-ID: <x@y>\r\nFrom: a friend <me@provider.test>\r\n";
    let text = String::from_utf8(without_trace(&content).to_vec()).expect("ASCII");
    let text = text.strip_prefix(header).expect("the header");
    let behind = format!(
        "Reply-To: {names}b@c.test\r\nMIME-Version: 1.0\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    );
    let encoded = text.strip_prefix(behind.as_str()).expect("the fields that were added");
    assert_eq!(
        encoded.replace("=\r\n", "").replace("=C3=A9", "\u{e9}").replace("=20\r\n", " \r\n"),
        format!("{body}\r\n")
    );
    relay.stop();
}
