//! Messages in which every octet matters, and what a relay may add to them.

use std::fs;
use std::path::Path;

/// A header that lacks nothing, so that a relay adds its trace and nothing more.
pub const HEADER: &str = "From: <sender@client.test>\r\nTo: <rcpt@local.test>\r\n\
    Date: Fri, 14 Nov 2025 10:00:00 +0000\r\nMessage-ID: <1@client.test>\r\nSubject: octets\r\n";

/// A message with `HEADER` and this body.
pub fn message(body: impl AsRef<[u8]>) -> Vec<u8> {
    [HEADER.as_bytes(), b"\r\n", body.as_ref()].concat()
}

/// Each pattern with its name. Lines end with CRLF and so does the last one.
pub fn patterns() -> Vec<(String, Vec<u8>)> {
    let line = |octets: usize| [vec![b'x'; octets], b"\r\n".to_vec()].concat();
    let mut all = vec![
        ("dots at line starts".to_owned(), message(".\r\n..\r\n...\r\n.a\r\n..b\r\n")),
        ("lone dots at the end".to_owned(), message("text\r\n.\r\n.\r\n")),
        ("dots after empty lines".to_owned(), message("\r\n.\r\n\r\n.\r\n\r\n")),
        ("empty body".to_owned(), message("")),
        ("header only".to_owned(), HEADER.as_bytes().to_vec()),
        ("empty lines at the end".to_owned(), message("text\r\n\r\n\r\n")),
        ("trailing spaces".to_owned(), message("text  \r\n \t \r\n  \r\n")),
        ("998 octets".to_owned(), message(line(998))),
        ("999 octets".to_owned(), message(line(999))),
        ("100,000 octets".to_owned(), message(line(100_000))),
        ("long line of dots".to_owned(), message([vec![b'.'; 5000], b"\r\n".to_vec()].concat())),
        ("8 bit".to_owned(), message("Gr\u{fc}\u{df}e \u{1f4ee}\r\n".as_bytes())),
        ("spool words".to_owned(), message("to P <other@local.test>\r\nfrom <>\r\n")),
        ("from at line start".to_owned(), message("From here\r\n>From there\r\n")),
    ];
    let every: Vec<u8> = (1..=255).filter(|octet| !matches!(octet, b'\r' | b'\n')).collect();
    all.push(("every octet but NUL, CR, LF".to_owned(), message([&every, &b"\r\n"[..]].concat())));
    // The line end falls on, before and after every buffer boundary.
    for octets in [1023, 1024, 1025, 2047, 2048, 4093, 4094, 4095, 4096, 4097, 8191, 8192, 65535, 65536] {
        let start = HEADER.len() + 2;
        let body = [line(octets - start.min(octets)), b".\r\n.tail\r\n".to_vec()].concat();
        all.push((format!("line end at {octets}"), message(body)));
    }
    all
}

/// A message of about this many octets, different in every line.
pub fn large(octets: usize) -> Vec<u8> {
    let mut content = message("");
    let mut line = 0_u64;
    while content.len() < octets {
        // A multiplicative hash: nothing that a compressor or a run of equal blocks could hide.
        let noise = line.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        content.extend_from_slice(
            format!(".{line:010} {noise:016x} {:016x}\r\n", noise.rotate_left(29)).as_bytes(),
        );
        line += 1;
    }
    content
}

/// Content as it goes over the wire: dots doubled, and the end.
pub fn stuff(content: &[u8]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(content.len() + content.len() / 64 + 5);
    let mut line_start = true;
    for &octet in content {
        if line_start && octet == b'.' {
            wire.push(b'.');
        }
        wire.push(octet);
        line_start = octet == b'\n';
    }
    wire.extend_from_slice(if line_start { b".\r\n" } else { b"\r\n.\r\n" });
    wire
}

/// Content from the wire: the doubled dots single again. `wire` has no end line.
pub fn unstuff(wire: &[u8]) -> Vec<u8> {
    let mut content = Vec::with_capacity(wire.len());
    let mut line_start = true;
    for &octet in wire {
        if !(line_start && octet == b'.') {
            content.push(octet);
        }
        line_start = octet == b'\n';
    }
    content
}

/// CRLF as LF, as in a Maildir file.
pub fn unix_lines(content: &[u8]) -> Vec<u8> {
    let mut lines = Vec::with_capacity(content.len());
    for (at, &octet) in content.iter().enumerate() {
        if !(octet == b'\r' && content.get(at + 1) == Some(&b'\n')) {
            lines.push(octet);
        }
    }
    lines
}

/// What is left after the trace fields that relays put on top.
pub fn without_trace(content: &[u8]) -> &[u8] {
    let mut rest = content;
    loop {
        let trace =
            [&b"Return-Path:"[..], b"Delivered-To:", b"Received:", b"X-Peer:", b"X-MailFrom:", b"X-RcptTo:"]
                .iter()
                .any(|name| rest.starts_with(name));
        if !trace {
            return rest;
        }
        loop {
            let end = rest.iter().position(|octet| *octet == b'\n').map_or(rest.len(), |at| at + 1);
            rest = &rest[end..];
            if !matches!(rest.first(), Some(b' ' | b'\t')) {
                break;
            }
        }
    }
}

/// The value of a header field, unfolded; none if it is missing.
pub fn field(content: &[u8], name: &str) -> Option<String> {
    let text = String::from_utf8_lossy(&unix_lines(content)).into_owned();
    let header = text.split("\n\n").next().unwrap_or_default().replace("\n ", " ").replace("\n\t", " ");
    header.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    })
}

/// The files that were delivered into a Maildir, by name.
pub fn maildir(folder: &Path) -> Vec<Vec<u8>> {
    let Ok(entries) = fs::read_dir(folder.join("new")) else { return Vec::new() };
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry of new").path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).expect("a delivered file")).collect()
}

/// Says where two contents part, in a line that a person can read.
#[track_caller]
pub fn assert_same(name: &str, sent: &[u8], arrived: &[u8]) {
    let at = sent.iter().zip(arrived).take_while(|(a, b)| a == b).count();
    let near =
        |octets: &[u8]| octets[at.saturating_sub(20)..octets.len().min(at + 40)].escape_ascii().to_string();
    assert!(
        sent == arrived,
        "{name}: {} octets sent, {} arrived, apart at {at}: sent {:?}, arrived {:?}",
        sent.len(),
        arrived.len(),
        near(sent),
        near(arrived)
    );
}
