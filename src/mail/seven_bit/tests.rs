//! What messages become for a server that takes seven bits only.

extern crate std;

use std::borrow::ToOwned;
use std::format;
use std::string::String;
use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::quoted_printable::tests::decoded;
use super::{Converter, MIME_ENTITIES, Plan, Survey};

fn surveyed(content: &[u8], size: usize) -> Plan {
    let mut survey = Survey::default();
    content.chunks(size).for_each(|piece| survey.read(piece));
    survey.finish()
}

fn converted_by(plan: Plan, content: &[u8], size: usize) -> Vec<u8> {
    let mut converter = Converter::new(plan);
    let mut out = Vec::new();
    for piece in content.chunks(size) {
        let before = out.len();
        let sink = &mut |octets: &[u8]| -> Result<(), ()> {
            out.extend_from_slice(octets);
            Ok(())
        };
        converter.write(piece, sink).unwrap();
        assert!(out.len() - before <= Converter::GROWTH + Converter::RATIO * piece.len());
    }
    let before = out.len();
    let sink = &mut |octets: &[u8]| -> Result<(), ()> {
        out.extend_from_slice(octets);
        Ok(())
    };
    converter.finish(sink).unwrap();
    assert!(out.len() - before <= Converter::GROWTH);
    assert!(out.len() as u64 <= content.len() as u64 + plan.growth());
    out
}

fn converted(content: &[u8]) -> Vec<u8> {
    let plan = surveyed(content, usize::MAX);
    let out = converted_by(plan, content, usize::MAX);
    for size in [1, 2, 7] {
        assert_eq!(surveyed(content, size), plan);
        assert_eq!(converted_by(plan, content, size), out);
    }
    out
}

#[track_caller]
fn check(content: &str, expected: &str) {
    let out = String::from_utf8(converted(content.as_bytes())).expect("UTF-8");
    assert_eq!(out, expected);
}

/// Multipart content of these parts.
fn multipart(fields: &str, parts: &[&str]) -> String {
    let mut content = format!("{fields}Content-Type: multipart/mixed; boundary=B\r\n\r\nbefore\r\n");
    parts.iter().for_each(|part| content += &format!("--B\r\n{part}\r\n"));
    content + "--B--\r\nbehind\r\n"
}

const CTE: &str = "Content-Transfer-Encoding: quoted-printable\r\n";

#[test]
fn a_message_of_one_body_is_encoded() {
    check(
        "Subject: x\r\n\r\n\u{fc} = 1 \r\n",
        &format!("Subject: x\r\nMIME-Version: 1.0\r\n{CTE}\r\n=C3=BC =3D 1=20\r\n"),
    );
    check(
        "MIME-Version: 1.0\r\nContent-transfer-encoding: 8bit\r\nContent-Type: text/plain;\r\n charset=utf-8\r\n\r\n\u{fc}\r\n",
        &format!("MIME-Version: 1.0\r\nContent-Type: text/plain;\r\n charset=utf-8\r\n{CTE}\r\n=C3=BC\r\n"),
    );
    check(
        "Content-Type: application/json\r\nMIME-Version: 1.0\r\n\r\n[\r\n\"\u{fc}\"]\r\n",
        &format!(
            "Content-Type: application/json\r\nMIME-Version: 1.0\r\n{CTE}\r\n[=0D=0A=\r\n\"=C3=BC\"]\r\n"
        ),
    );
    check("\r\n\u{fc}", &format!("MIME-Version: 1.0\r\n{CTE}\r\n=C3=BC"));
}

#[test]
fn each_part_is_encoded_by_its_own_header() {
    let parts = [
        "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\u{fc}\r\n--C\r\n",
        "Content-Transfer-Encoding: base64\r\n\r\nw7w=\r\n",
        "\r\n\u{e9}",
        "Content-Transfer-Encoding: 8bit\r\n\r\nASCII = all \r\n",
        "",
    ];
    let encoded = [
        &format!("Content-Type: text/plain; charset=utf-8\r\n{CTE}\r\n=C3=BC\r\n--C\r\n"),
        parts[1],
        &format!("{CTE}\r\n=C3=A9"),
        parts[3],
        "",
    ];
    let label = "MIME-Version: 1.0\r\nContent-Transfer-Encoding: 8bit\r\n";
    let expected = multipart("MIME-Version: 1.0\r\n", &encoded)
        .replace("=B\r\n\r\n", "=B\r\nContent-Transfer-Encoding: 7bit\r\n\r\n");
    check(&multipart(label, &parts), &expected);
}

#[test]
fn parts_inside_of_parts_are_found() {
    let inner = multipart("", &["\r\n\u{fc}"]).replace("=B\r\n", "=\"B 2\"\r\n").replace("--B", "--B 2");
    let outer = multipart(
        "MIME-Version: 1.0\r\n",
        &[&inner, "Content-Type: message/rfc822\r\n\r\nSubject: y\r\n\r\n\u{e9}"],
    )
    .replace("=B\r\n", "=B1\r\n")
    .replace("--B\r\n", "--B1\r\n")
    .replace("--B--", "--B1--");
    let expected = outer
        .replace("--B 2\r\n\r\n\u{fc}", &format!("--B 2\r\n{CTE}\r\n=C3=BC"))
        .replace("Subject: y\r\n\r\n\u{e9}", &format!("Subject: y\r\nMIME-Version: 1.0\r\n{CTE}\r\n=C3=A9"));
    check(&outer, &expected);
    // The end of the outer body ends the inner one as well.
    let open = outer.replace("--B 2--\r\n", "");
    check(&open, &expected.replace("--B 2--\r\n", ""));
}

#[test]
fn what_may_not_change_stays() {
    let signed = "Content-Type: multipart/signed; boundary=S\r\n\r\n--S\r\n\r\n\u{fc}\r\n--S--";
    for content in [
        "Subject: \u{fc}\r\n\r\nASCII only = \r\n",
        "Content-Transfer-Encoding: base64\r\n\r\n\u{fc}\r\n",
        "Content-Transfer-Encoding: x-own\r\n\r\n\u{fc}\r\n",
        "Content-Type: message/external-body\r\n\r\n\u{fc}\r\n",
        &format!("MIME-Version: 1.0\r\n{signed}\r\n"),
        &multipart("", &[signed]),
        // Not to be sure of.
        "Content-Type: multipart/mixed\r\n\r\n--x\r\n\r\n\u{fc}\r\n--x--\r\n",
        "Content-Type: text/plain\r\nContent-Type: text/html\r\n\r\n\u{fc}\r\n",
        "Content-Transfer-Encoding: 8bit\r\nContent-Transfer-Encoding: base64\r\n\r\n\u{fc}\r\n",
        "Content-Transfer-Encoding: base64\r\nContent-Type: multipart/mixed; boundary=B\r\n\r\n--B\r\n\r\n\u{fc}\r\n--B--\r\n",
        &multipart("", &["\r\n\u{fc}\r\n--Bx\r\n"]),
        &multipart("", &["\r\n\u{fc}\r\n--B x\r\n"]),
        &multipart("", &["no field\r\n\u{fc}\r\n"]),
        &multipart("", &["X: y\r\n--B: z\r\n\r\n\u{fc}\r\n"]),
        &multipart("", &["Content-Type: multipart/mixed; boundary=B\r\n\r\n--B\r\n\r\n\u{fc}\r\n--B--"]),
    ] {
        assert!(surveyed(content.as_bytes(), 5).is_nothing(), "{content:?}");
        check(content, content);
    }
}

#[test]
fn a_header_that_needs_smtputf8_is_seen() {
    let text = "\r\n\u{fc}\r\n";
    for (content, is_international) in [
        (format!("Subject: u\r\n{text}"), false),
        (format!("Content-Transfer-Encoding: base64\r\n{text}"), false),
        (multipart("", &[text]), false),
        (format!("Subject: \u{fc}\r\n{text}"), true),
        ("Subject: \u{fc}\r\n\r\nu\r\n".to_owned(), true),
        ("X: y\r\n folded \u{fc}\r\n".to_owned(), true),
        ("Content-Transfer-Encoding: \u{fc}\r\n\r\nu\r\n".to_owned(), true),
        (multipart("", &["Content-Disposition: x; filename=\u{fc}\r\n\r\nu\r\n"]), true),
    ] {
        let plan = surveyed(content.as_bytes(), 5);
        assert_eq!(plan.is_international(), is_international, "{content:?}");
    }
}

#[test]
fn a_signed_part_does_not_keep_the_others() {
    let signed = "Content-Type: multipart/signed; boundary=S\r\n\r\n--S\r\n\r\n\u{fc}\r\n--S--";
    let content =
        multipart("MIME-Version: 1.0\r\nContent-Transfer-Encoding: 8bit\r\n", &[signed, "\r\n\u{e9}"]);
    check(&content, &content.replace("--B\r\n\r\n\u{e9}", &format!("--B\r\n{CTE}\r\n=C3=A9")));
}

#[test]
fn there_are_limits() {
    let nested = |depth: usize| {
        (0..depth).rev().fold("\r\n\u{fc}".to_owned(), |inner, n| {
            format!("Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n{inner}\r\n--b{n}--")
        })
    };
    for (depth, fits) in [(8, true), (9, false)] {
        let plan = surveyed(format!("{}\r\n", nested(depth)).as_bytes(), 99);
        assert_eq!(plan.is_nothing(), !fits, "{depth}");
    }
    // Parts behind the last that is counted stay.
    let content = multipart("MIME-Version: 1.0\r\n", &vec!["\r\n\u{fc}"; MIME_ENTITIES + 1]);
    let out = String::from_utf8(converted(content.as_bytes())).expect("UTF-8");
    assert_eq!(out.matches("=C3=BC").count(), MIME_ENTITIES - 1);
    assert_eq!(out.matches('\u{fc}').count(), 2);
}

/// An entity as it was made.
#[derive(Clone, Debug)]
enum Made {
    Leaf { kind: usize, encoding: usize, body: Vec<u8> },
    Parts(Vec<Made>),
    Message(std::boxed::Box<Made>),
}

const KINDS: [&str; 4] = [
    "",
    "Content-Type: text/plain; charset=x\r\n",
    "Content-Type: application/x\r\n",
    "Content-Disposition: inline\r\n",
];
const ENCODINGS: [&str; 5] = ["", "7bit", "8bit", "binary", "base64"];

/// What bodies are made of beside chance.
static IN_BODIES: [&[u8]; 7] = [b"\r\n", b"--", b"x--b0.", b"= ", b"\r\n\r\n", b"x\r\n", b"\xfc"];
/// What content is made of.
static IN_CONTENT: [&[u8]; 12] = [
    b"Content-Type: multipart/mixed; boundary=B\r\n",
    b"Content-Type: message/rfc822\r\n",
    b"Content-Transfer-Encoding: 8bit\r\n",
    b"\r\n\r\n",
    b"\r\n--B\r\n",
    b"\r\n--B--\r\n",
    b"\r\n--B",
    b"\r",
    b"\n",
    b"\r\n",
    b"--",
    b"\xfc",
];

fn body() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        prop::collection::vec(any::<u8>().prop_filter("clean", |octet| !b"\r\n".contains(octet)), 0..9),
        prop::sample::select(&IN_BODIES[..]).prop_map(<[u8]>::to_vec),
        "[a-z ]{60,90}".prop_map(String::into_bytes),
    ];
    prop::collection::vec(piece, 0..9).prop_map(|pieces| pieces.concat())
}

fn made() -> impl Strategy<Value = Made> {
    let leaf = (0..KINDS.len(), 0..ENCODINGS.len(), body()).prop_map(|(kind, encoding, body)| Made::Leaf {
        kind,
        encoding,
        body,
    });
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..4).prop_map(Made::Parts),
            inner.prop_map(|message| Made::Message(message.into())),
        ]
    })
}

/// Writes an entity; every boundary is another one. `bodies`: those of its leaves, in order.
fn write(entity: &Made, boundaries: &mut usize, out: &mut Vec<u8>, bodies: &mut Vec<Vec<u8>>) {
    match entity {
        Made::Leaf { kind, encoding, body } => {
            out.extend_from_slice(KINDS[*kind].as_bytes());
            if *encoding > 0 {
                out.extend_from_slice(
                    format!("Content-Transfer-Encoding: {}\r\n", ENCODINGS[*encoding]).as_bytes(),
                );
            }
            out.extend_from_slice(b"\r\n");
            out.extend_from_slice(body);
            bodies.push(body.clone());
        }
        Made::Message(message) => {
            out.extend_from_slice(b"Content-Type: message/rfc822\r\n\r\nSubject: x\r\n");
            write(message, boundaries, out, bodies);
        }
        Made::Parts(parts) => {
            let boundary = format!("b{}.", *boundaries);
            *boundaries += 1;
            out.extend_from_slice(
                format!("Content-Type: multipart/x; boundary=\"{boundary}\"\r\n\r\n").as_bytes(),
            );
            for part in parts {
                out.extend_from_slice(format!("--{boundary}\r\n").as_bytes());
                write(part, boundaries, out, bodies);
                out.extend_from_slice(b"\r\n");
            }
            out.extend_from_slice(format!("--{boundary}--").as_bytes());
        }
    }
}

fn position(octets: &[u8], wanted: &[u8]) -> Option<usize> {
    octets.windows(wanted.len()).position(|window| window == wanted)
}

/// Reads an entity in another way than the code does: whole, and from the outside in. The bodies of its
/// leaves, decoded, and whether each was encoded.
fn read(entity: &[u8], bodies: &mut Vec<(Vec<u8>, bool)>) {
    let entity = [b"\r\n", entity].concat();
    let end = position(&entity, b"\r\n\r\n").expect("a header section");
    let (header, body) = (String::from_utf8_lossy(&entity[..end]).into_owned(), &entity[end + 4..]);
    if header.contains("message/rfc822") {
        return read(body, bodies);
    }
    let Some((_, boundary)) = header.split_once("boundary=\"") else {
        let is_encoded = header.contains("quoted-printable");
        return bodies.push((if is_encoded { decoded(body) } else { body.to_vec() }, is_encoded));
    };
    let boundary = boundary.split('"').next().expect("a quote");
    let open = format!("\r\n--{boundary}\r\n").into_bytes();
    let close = format!("\r\n--{boundary}--").into_bytes();
    let body = [b"\r\n", body].concat();
    let mut rest = &body[..position(&body, &close).expect("an end")];
    let first = position(rest, &open).expect("a part") + open.len();
    rest = &rest[first..];
    while let Some(end) = position(rest, &open) {
        read(&rest[..end], bodies);
        rest = &rest[end + open.len()..];
    }
    read(rest, bodies);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn bodies_come_back_from_every_structure(entity in made(), size in 1usize..30) {
        let (mut content, mut bodies) = (b"Subject: x\r\n".to_vec(), Vec::new());
        write(&entity, &mut 0, &mut content, &mut bodies);
        content.extend_from_slice(b"\r\n");
        if let Some(last) = bodies.last_mut().filter(|_| position(&content, b"boundary").is_none()) {
            last.extend_from_slice(b"\r\n");
        }
        let plan = surveyed(&content, size);
        let out = converted_by(plan, &content, size);
        prop_assert_eq!(&converted(&content), &out);
        let mut found = Vec::new();
        read(&out, &mut found);
        let whole: Vec<Vec<u8>> = found.iter().map(|(body, _)| body.clone()).collect();
        prop_assert_eq!(whole, bodies);
        // The lines of what was encoded, and of nothing else.
        let mut sent = Vec::new();
        read(&String::from_utf8_lossy(&out).replace("quoted-printable", "x").into_bytes(), &mut sent);
        for ((_, is_encoded), (body, _)) in found.iter().zip(&sent) {
            if *is_encoded {
                prop_assert!(body.is_ascii());
                prop_assert!(body.split(|octet| *octet == b'\n').all(|line| line.len() <= 77));
            }
        }
        if plan.is_nothing() {
            prop_assert_eq!(out, content);
        }
    }

    /// Content of any kind is read without a panic, and what is not encoded is the same.
    #[test]
    fn any_content_passes(
        pieces in prop::collection::vec(prop_oneof![
            prop::collection::vec(any::<u8>(), 0..9),
            prop::sample::select(&IN_CONTENT[..]).prop_map(<[u8]>::to_vec),
        ], 0..20),
        size in 1usize..30,
    ) {
        let content = pieces.concat();
        let plan = surveyed(&content, usize::MAX);
        prop_assert_eq!(surveyed(&content, size), plan);
        let out = converted_by(plan, &content, usize::MAX);
        prop_assert_eq!(&converted_by(plan, &content, size), &out);
        prop_assert_eq!(converted_by(Plan::NOTHING, &content, size) == content, true);
    }
}
