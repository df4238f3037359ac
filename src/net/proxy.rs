//! The header of the PROXY protocol, versions 1 and 2, as HAProxy and its like put it before what
//! they pass on (the specification `proxy-protocol.txt` of HAProxy, sections 2.1 and 2.2).
//!
//! Octets in, an address out; who may send one is decided elsewhere.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Octets of a version 1 line with its line end (section 2.1).
const LINE_OCTETS: usize = 107;
/// What version 2 starts with (section 2.2).
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Octets of version 2 before the addresses: signature, version and command, family, length.
const FIXED_OCTETS: usize = 16;
/// Octets of version 2 behind those: two Unix paths, and notes of the proxy that are not read.
const VARIABLE_OCTETS: usize = 520;
/// Octets of the longest header that is taken.
pub const HEADER_OCTETS: usize = FIXED_OCTETS + VARIABLE_OCTETS;

/// What stands at the start of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The beginning of a header, maybe: more octets will tell.
    Unfinished,
    /// A header of so many octets.
    Header {
        /// To be consumed; what follows is the client's.
        octets: usize,
        /// The client's address; `None` if it is the one the connection comes from: the proxy speaks for
        /// itself, or knows of no address.
        client: Option<IpAddr>,
    },
    /// No header.
    Wrong,
}

/// Reads the header at the start of `input`, the first octets of a connection.
pub fn read(input: &[u8]) -> Start {
    let is_beginning_of = |whole: &[u8]| whole.starts_with(&input[..input.len().min(whole.len())]);
    match () {
        () if is_beginning_of(&SIGNATURE) => read_binary(input),
        () if is_beginning_of(b"PROXY ") => read_line(input),
        () => Start::Wrong,
    }
}

/// Version 1.
fn read_line(input: &[u8]) -> Start {
    let most = &input[..input.len().min(LINE_OCTETS)];
    let Some(end) = most.windows(2).position(|two| two == b"\r\n") else {
        return if most.len() < LINE_OCTETS { Start::Unfinished } else { Start::Wrong };
    };
    let client = std::str::from_utf8(&most[..end]).ok().and_then(client_of_line);
    client.map_or(Start::Wrong, |client| Start::Header { octets: end + 2, client })
}

/// `None` if the line is no header, `Some(None)` if it names nobody.
fn client_of_line(line: &str) -> Option<Option<IpAddr>> {
    let words: heapless::Vec<&str, 7> = line.split(' ').take(7).collect();
    match words[..] {
        ["PROXY", "UNKNOWN", ..] => Some(None),
        ["PROXY", "TCP4", from, to, from_port, to_port] if is_port(from_port) && is_port(to_port) => {
            let (from, _) = (from.parse::<Ipv4Addr>().ok()?, to.parse::<Ipv4Addr>().ok()?);
            Some(Some(from.into()))
        }
        ["PROXY", "TCP6", from, to, from_port, to_port] if is_port(from_port) && is_port(to_port) => {
            let (from, _) = (from.parse::<Ipv6Addr>().ok()?, to.parse::<Ipv6Addr>().ok()?);
            Some(Some(from.to_canonical()))
        }
        _ => None,
    }
}

fn is_port(word: &str) -> bool {
    word.bytes().all(|octet| octet.is_ascii_digit()) && word.parse::<u16>().is_ok()
}

/// Version 2.
fn read_binary(input: &[u8]) -> Start {
    let Some((fixed, variable)) = input.split_at_checked(FIXED_OCTETS) else { return Start::Unfinished };
    let octets = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if octets > VARIABLE_OCTETS {
        return Start::Wrong;
    }
    let Some(variable) = variable.get(..octets) else { return Start::Unfinished };
    let client = match (fixed[12], fixed[13]) {
        // LOCAL: whatever stands behind it is to be ignored. PROXY: no family, or Unix sockets.
        (0x20, _) | (0x21, 0x00 | 0x31) => None,
        (0x21, 0x11) => match variable.first_chunk::<12>() {
            Some(&[a, b, c, d, ..]) => Some(IpAddr::from([a, b, c, d])),
            None => return Start::Wrong,
        },
        (0x21, 0x21) => match variable.get(..36).and_then(|both| both.first_chunk::<16>()) {
            Some(from) => Some(IpAddr::from(*from).to_canonical()),
            None => return Start::Wrong,
        },
        // Another version or command, or datagrams.
        _ => return Start::Wrong,
    };
    Start::Header { octets: FIXED_OCTETS + octets, client }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn binary(command: u8, family: u8, variable: &[u8]) -> Vec<u8> {
        let length = u16::try_from(variable.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, variable].concat()
    }

    fn header(input: &[u8], client: &str) -> Start {
        let client = if client.is_empty() { None } else { Some(client.parse().unwrap()) };
        Start::Header { octets: input.len(), client }
    }

    #[test]
    fn lines_are_read() {
        for (line, client) in [
            ("PROXY TCP4 192.0.2.1 198.51.100.1 56324 25\r\n", "192.0.2.1"),
            ("PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n", "2001:db8::1"),
            ("PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n", "192.0.2.1"),
            ("PROXY UNKNOWN\r\n", ""),
            ("PROXY UNKNOWN ffff::1 ffff::2 65535 65535 and more\r\n", ""),
        ] {
            let input = [line.as_bytes(), b"EHLO x\r\n"].concat();
            assert_eq!(read(&input), header(line.as_bytes(), client), "{line:?}");
        }
        for line in [
            "EHLO x\r\n",
            "PROXY\r\n",
            "proxy TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2  1 2\r\n",
            "PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
            "PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
            "PROXY TCP4 192.0.2.256 192.0.2.2 1 2\r\n",
            "PROXY TCP4 printer 192.0.2.2 1 2\r\n",
            "PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\nxxxxxxxx\r\n",
            "\x16\x03\x01",
        ] {
            assert_eq!(read(line.as_bytes()), Start::Wrong, "{line:?}");
        }
        let endless = [&b"PROXY UNKNOWN "[..], &[b'x'; LINE_OCTETS]].concat();
        assert_eq!(read(&endless[..LINE_OCTETS - 1]), Start::Unfinished);
        assert_eq!(read(&endless[..LINE_OCTETS]), Start::Wrong);
    }

    #[test]
    fn version_2_is_read() {
        let four = [192, 0, 2, 1, 198, 51, 100, 1, 1, 2, 0, 25];
        let mut six = [0; 36];
        six[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
        for (input, client) in [
            (binary(0x21, 0x11, &four), "192.0.2.1"),
            (binary(0x21, 0x11, &[&four[..], &[4; 300]].concat()), "192.0.2.1"),
            (binary(0x21, 0x21, &six), "2001:db8::"),
            (binary(0x20, 0x11, &four), ""),
            (binary(0x20, 0x00, &[]), ""),
            (binary(0x21, 0x00, &[]), ""),
            (binary(0x21, 0x31, &[0; 216]), ""),
            (binary(0x20, 0xff, &[7; VARIABLE_OCTETS]), ""),
        ] {
            assert_eq!(read(&[&input[..], b"EHLO x\r\n"].concat()), header(&input, client));
        }
        for input in [
            binary(0x11, 0x11, &four),
            binary(0x22, 0x11, &four),
            binary(0x21, 0x12, &four),
            binary(0x21, 0x11, &four[..11]),
            binary(0x21, 0x21, &six[..35]),
            binary(0x20, 0x00, &[0; VARIABLE_OCTETS + 1]),
        ] {
            assert_eq!(read(&input), Start::Wrong, "{input:?}");
        }
    }

    fn start() -> impl Strategy<Value = Vec<u8>> {
        let line = "PROXY (TCP4 [0-9.]{7,15} 192.0.2.2 [0-9]{1,5} 25|TCP6 [0-9a-f:]{2,39} ::1 1 2|UNKNOWN[ -~]{0,120})\r\n";
        prop_oneof![
            line.prop_map(String::into_bytes),
            (
                0x1fu8..0x23,
                prop::sample::select(vec![0, 0x11, 0x12, 0x21, 0x31]),
                prop::collection::vec(any::<u8>(), 0..600)
            )
                .prop_map(|(command, family, variable)| binary(command, family, &variable)),
            prop::collection::vec(any::<u8>(), 0..200),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]
        #[test]
        fn every_beginning_leads_to_the_same(input in start(), rest in prop::collection::vec(any::<u8>(), 0..20)) {
            let whole = [&input[..], &rest].concat();
            let all = read(&whole);
            for end in 0..whole.len() {
                let part = read(&whole[..end]);
                prop_assert!(part == Start::Unfinished || part == all, "{end}: {part:?}, {all:?}");
            }
            match all {
                Start::Header { octets, .. } => prop_assert!(octets <= HEADER_OCTETS && octets <= whole.len()),
                // No more than the longest header is ever waited for.
                Start::Unfinished => prop_assert!(whole.len() < HEADER_OCTETS),
                Start::Wrong => {}
            }
        }
    }
}
