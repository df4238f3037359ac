//! Both sides in memory: every cut, hostile peers, and what it costs the heap.

use std::sync::Arc;

use proptest::prelude::*;
use rustls::client::{Resumption, UnbufferedClientConnection};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, version};

use super::pump::Need;
use super::{Connection, Pump, Server, provider};
use crate::limits::{TLS_CLIENT_HEAP_OCTETS, TLS_SERVER_HEAP_OCTETS};

const AUTHORITY: &[u8] = include_bytes!("../../../tests/support/tls/ca.pem");
const CERTIFICATE: &[u8] = include_bytes!("../../../tests/support/tls/p256.pem");
const KEY: &[u8] = include_bytes!("../../../tests/support/tls/p256.key");

fn of_test() -> Server {
    let chain = vec![CertificateDer::from_pem_slice(CERTIFICATE).unwrap()];
    Server::of_pair(chain, PrivateKeyDer::from_pem_slice(KEY).unwrap()).unwrap()
}

fn server() -> Pump {
    let mut pump = Pump::new();
    pump.start(of_test().connection().unwrap());
    pump
}

fn client_config(versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(AUTHORITY).unwrap()).unwrap();
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.enable_secret_extraction = true;
    config
}

fn client(versions: &[&'static SupportedProtocolVersion]) -> Pump {
    let config = client_config(versions);
    let name = ServerName::try_from("relay.test").unwrap();
    let connection = UnbufferedClientConnection::new(Arc::new(config), name).unwrap();
    let mut pump = Pump::new();
    pump.start(Connection::Client(connection));
    pump
}

/// Moves at most `most` octets of what one side has to send; how many.
fn carry(from: &mut Pump, to: &mut Pump, most: usize) -> usize {
    let room = to.room();
    let n = from.outgoing().len().min(most).min(room.len());
    room[..n].copy_from_slice(&from.outgoing()[..n]);
    to.advance(n);
    from.sent(n);
    n
}

/// Lets both go on, in pieces of the given sizes, until neither has anything to say. What each side read.
fn converse(client: &mut Pump, server: &mut Pump, pieces: &[usize]) -> (Vec<u8>, Vec<u8>) {
    let (mut by_client, mut by_server) = (Vec::new(), Vec::new());
    let mut sizes = pieces.iter().copied().cycle();
    loop {
        let mut moved = 0;
        work(client, &mut by_client);
        moved += carry(client, server, sizes.next().unwrap());
        work(server, &mut by_server);
        moved += carry(server, client, sizes.next().unwrap());
        work(client, &mut by_client);
        if moved == 0 && client.outgoing().is_empty() && server.outgoing().is_empty() {
            return (by_client, by_server);
        }
    }
}

/// Works on what came, and reads all of it in small bites.
fn work(pump: &mut Pump, read: &mut Vec<u8>) {
    while let Ok(Need::Reader) = pump.process() {
        let mut room = [0; 77];
        let n = pump.read(&mut room);
        read.extend(&room[..n]);
    }
}

/// Writes all of `text`, with the other side reading as it comes.
fn write(from: &mut Pump, to: &mut Pump, mut text: &[u8]) -> Vec<u8> {
    let mut read = Vec::new();
    while !text.is_empty() {
        let n = from.write(text).unwrap();
        text = &text[n..];
        while carry(from, to, usize::MAX) > 0 {
            work(to, &mut read);
        }
    }
    read
}

const BOTH: [&SupportedProtocolVersion; 2] = [&version::TLS12, &version::TLS13];

#[test]
fn both_versions_carry_text_both_ways() {
    for (version, name) in BOTH.iter().zip(["TLSv1.2", "TLSv1.3"]) {
        let (mut client, mut server) = (client(&[version]), server());
        assert!(client.is_handshaking() && server.is_handshaking() && server.version() == "none");
        converse(&mut client, &mut server, &[usize::MAX]);
        assert!(!client.is_handshaking() && !server.is_handshaking());
        assert_eq!((client.version(), server.version()), (name, name));
        assert!(server.cipher().starts_with("TLS_"), "{}", server.cipher());
        assert!(client.certificate().is_some() && server.certificate().is_none());
        let text: Vec<u8> = (0..100_000u32).map(|n| n as u8).collect();
        assert_eq!(write(&mut client, &mut server, &text), text);
        assert_eq!(write(&mut server, &mut client, &text), text);
        server.close();
        while carry(&mut server, &mut client, usize::MAX) > 0 {}
        assert_eq!(client.process(), Ok(Need::Nothing), "the end was said");
    }
}

#[test]
fn text_right_behind_the_handshake_is_read() {
    for version in BOTH {
        let (mut client, mut server) = (client(&[version]), server());
        let mut read = Vec::new();
        // Until the client is done, and has not said so yet.
        while client.is_handshaking() {
            work(&mut client, &mut read);
            if client.is_handshaking() {
                carry(&mut client, &mut server, usize::MAX);
                work(&mut server, &mut read);
                carry(&mut server, &mut client, usize::MAX);
            }
        }
        assert_eq!(client.write(b"EHLO box\r\n"), Ok(10));
        carry(&mut client, &mut server, usize::MAX);
        assert_eq!(server.process(), Ok(Need::Reader));
        assert!(!server.is_handshaking(), "whoever waits for the handshake must not wait for ever");
    }
}

#[test]
fn one_octet_at_a_time_is_the_same() {
    for version in BOTH {
        let (mut client, mut server) = (client(&[version]), server());
        converse(&mut client, &mut server, &[1]);
        assert_eq!(client.write(b"EHLO box\r\n"), Ok(10));
        let (_, read) = converse(&mut client, &mut server, &[1]);
        assert_eq!(read, b"EHLO box\r\n");
    }
}

#[test]
fn a_client_that_speaks_with_the_end_of_its_handshake_is_heard() {
    let (mut client, mut server) = (client(&[&version::TLS13]), server());
    let _ = client.process();
    carry(&mut client, &mut server, usize::MAX);
    let _ = server.process();
    carry(&mut server, &mut client, usize::MAX);
    let _ = client.process();
    assert_eq!(client.write(b"EHLO box\r\n"), Ok(10));
    carry(&mut client, &mut server, usize::MAX);
    assert!(server.is_handshaking());
    assert_eq!(server.process(), Ok(Need::Reader));
    assert!(!server.is_handshaking(), "what it said comes after the handshake");
}

#[test]
fn a_cut_is_no_end() {
    for version in BOTH {
        let (mut client, mut server) = (client(&[version]), server());
        server.cut();
        assert!(server.failure().unwrap().text().contains("during the TLS handshake"));
        let mut server = self::server();
        converse(&mut client, &mut server, &[usize::MAX]);
        server.cut();
        assert!(server.process().is_err());
        assert!(server.failure().unwrap().text().contains("without an end of TLS"));
    }
}

#[test]
fn a_peer_that_is_no_tls_peer_is_named() {
    for (octets, words) in [
        (&b"EHLO box.example\r\n"[..], "in the clear"),
        (b"GET / HTTP/1.1\r\n", "in the clear"),
        (b"\x80\x2e\x01\x03\x00\x00\x15\x00\x00\x00\x10", "SSL 2.0"),
        (b"\0\0\0\0\0\0\0\0", "no TLS"),
    ] {
        let mut server = server();
        server.room()[..octets.len()].copy_from_slice(octets);
        server.advance(octets.len());
        let failure = server.process().unwrap_err();
        assert!(failure.text().contains(words), "{failure}");
    }
}

/// A ClientHello of the old kind: without the extension that names newer versions.
fn old_hello(version: [u8; 2]) -> Vec<u8> {
    let mut body = version.to_vec();
    body.extend([7; 32]);
    body.extend([0, 0, 4, 0xc0, 0x2f, 0x00, 0x2f, 1, 0]);
    let mut hello = vec![22, 3, 1, 0, body.len() as u8 + 4, 1, 0, 0, body.len() as u8];
    hello.extend(body);
    hello
}

#[test]
fn old_versions_are_named() {
    for (version, name) in [([3, 0], "SSL 3.0"), ([3, 1], "TLS 1.0"), ([3, 2], "TLS 1.1")] {
        let mut server = server();
        let hello = old_hello(version);
        server.room()[..hello.len()].copy_from_slice(&hello);
        server.advance(hello.len());
        let failure = server.process().unwrap_err().to_string();
        assert!(failure.starts_with(&format!("tried {name}")), "{failure}");
        assert_eq!(server.outgoing().first(), Some(&21), "an alert tells the client");
    }
}

/// Feeds octets in pieces until the pump has failed or there are no more; how many octets it took.
fn feed(pump: &mut Pump, octets: &[u8], piece: usize) -> usize {
    let mut taken = 0;
    loop {
        match pump.process() {
            Ok(Need::Input) => {}
            Ok(Need::Output) => pump.sent(pump.outgoing().len()),
            Ok(Need::Reader | Need::Nothing) | Err(_) => return taken,
        }
        let rest = &octets[taken..];
        let room = pump.room();
        let n = piece.min(rest.len()).min(room.len());
        if rest.is_empty() {
            return taken;
        }
        assert!(n > 0, "there is room, or it has failed");
        room[..n].copy_from_slice(&rest[..n]);
        pump.advance(n);
        taken += n;
    }
}

#[test]
fn a_client_hello_of_64_kib_is_refused_in_its_buffer() {
    for piece in [1usize, 100, 16_000] {
        let mut server = server();
        // A handshake message that says it has 65,000 octets, in records of one size.
        let mut hello = vec![1, 0, 0xfd, 0xe8, 3, 3];
        hello.resize(65_004, 0);
        let records = hello.chunks(piece).map(|chunk| {
            let octets = chunk.len() as u16;
            [&[22, 3, 1][..], &octets.to_be_bytes(), chunk].concat()
        });
        let taken = feed(&mut server, &records.collect::<Vec<_>>().concat(), 250);
        assert!(server.failure().is_some() && taken < 24 * 1024, "{taken} octets were taken of {piece}");
    }
}

#[test]
fn floods_end_the_connection() {
    let mut server = server();
    let taken = feed(&mut server, &[21, 3, 3, 0, 2, 1, 90].repeat(10_000), 70);
    assert!(server.failure().is_some() && taken < 1000, "warnings without an end: {taken}");
    let mut server = self::server();
    let taken = feed(&mut server, &[22, 3, 3, 0, 0].repeat(10_000), 70);
    assert!(server.failure().is_some() && taken < 1000, "empty records without an end: {taken}");
}

#[test]
fn key_updates_are_followed_but_not_without_an_end() {
    let (mut client, mut server) = (client(&[&version::TLS13]), server());
    converse(&mut client, &mut server, &[usize::MAX]);
    for n in 0..10u8 {
        client.refresh_keys();
        assert_eq!(client.write(&[n]), Ok(1));
        let (_, read) = converse(&mut client, &mut server, &[3, 5]);
        assert_eq!(read, [n]);
        assert_eq!(server.write(&[n, n]), Ok(2));
        assert_eq!(converse(&mut client, &mut server, &[4]).0, [n, n]);
    }
    let mut updates = 0;
    while server.failure().is_none() {
        client.refresh_keys();
        converse(&mut client, &mut server, &[usize::MAX]);
        updates += 1;
        assert!(updates < 100, "key updates alone are no session");
    }
}

#[test]
fn a_record_of_full_size_is_read_in_bites() {
    for version in BOTH {
        let (mut client, mut server) = (client(&[version]), server());
        converse(&mut client, &mut server, &[usize::MAX]);
        // rustls sends small records by our configuration; this client sends the largest there are.
        let text = vec![b'x'; 16 * 1024];
        let mut sent = 0;
        while sent < text.len() {
            sent += client.write(&text[sent..]).unwrap();
            carry(&mut client, &mut server, usize::MAX);
            // Text waits while the session answers: neither may harm the other.
            if let Ok(Need::Reader) = server.process() {
                assert_eq!(server.write(b"250 ok\r\n"), Ok(8));
            }
            let mut read = Vec::new();
            work(&mut server, &mut read);
            assert!(read.iter().all(|octet| *octet == b'x'));
            server.sent(server.outgoing().len());
        }
    }
}

/// A record of TLS 1.3 by keys that rustls gave out.
fn sealed(secrets: &rustls::ConnectionTrafficSecrets, number: u64, kind: u8, text: &[u8]) -> Vec<u8> {
    use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
    use rustls::ConnectionTrafficSecrets as Secrets;
    let (algorithm, key, iv) = match secrets {
        Secrets::Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv),
        Secrets::Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv),
        Secrets::Chacha20Poly1305 { key, iv } => (&CHACHA20_POLY1305, key, iv),
        _ => panic!("an unknown cipher"),
    };
    let mut nonce: [u8; 12] = iv.as_ref().try_into().unwrap();
    nonce[4..].iter_mut().zip(number.to_be_bytes()).for_each(|(octet, of_number)| *octet ^= of_number);
    let mut inner = [text, &[kind]].concat();
    let header = [23, 3, 3, 0, inner.len() as u8 + 16];
    let key = LessSafeKey::new(UnboundKey::new(algorithm, key.as_ref()).unwrap());
    let nonce = Nonce::assume_unique_for_key(nonce);
    key.seal_in_place_append_tag(nonce, Aad::from(header), &mut inner).unwrap();
    [&header[..], &inner].concat()
}

/// Records without text that no limit of rustls counts: new keys, and a record of nothing, in turn.
fn hollow_records(client: &mut Pump, count: usize) -> Vec<u8> {
    let Some(Connection::Client(connection)) = client.take_connection() else { panic!("a client") };
    let (secrets, mut connection) = connection.dangerous_into_kernel_connection().unwrap();
    let (mut number, mut secrets) = secrets.tx;
    let mut records = Vec::new();
    for _ in 0..count {
        records.extend(sealed(&secrets, number, 22, &[24, 0, 0, 1, 0]));
        (number, secrets) = connection.update_tx_secret().unwrap();
        records.extend(sealed(&secrets, number, 23, b""));
        number += 1;
    }
    records
}

#[test]
fn records_without_text_keep_nobody_waiting() {
    use std::io::{Read, Write};

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut far = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let near = listener.accept().unwrap().0;
    near.set_nonblocking(true).unwrap();
    let room = super::Rooms::new(1, usize::MAX).lend(|| of_test().connection()).unwrap();
    let mut stream = super::TlsStream::new(mio::net::TcpStream::from_std(near), room);
    let mut client = client(&[&version::TLS13]);
    while stream.pump().is_handshaking() {
        let _ = client.process();
        far.write_all(client.outgoing()).unwrap();
        client.sent(client.outgoing().len());
        if stream.shake_hands().is_err() {
            let n = far.read(client.room()).unwrap();
            client.advance(n);
        }
    }
    far.write_all(&hollow_records(&mut client, 2000)).unwrap();
    let (mut reads, mut room) = (0, [0; 100]);
    while stream.socket().peek(&mut room).is_ok() {
        let error = stream.read(&mut room).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "{:?}", stream.pump().failure());
        assert!(stream.take_paused(), "nobody else tells of the rest");
        reads += 1;
    }
    assert!(reads > 1, "the others have waited for all of it");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_cuts_are_the_same(
        pieces in prop::collection::vec(1usize..3000, 1..8),
        text in prop::collection::vec(any::<u8>(), 1..6000),
        new in any::<bool>(),
    ) {
        let (mut client, mut server) = (client(&[BOTH[usize::from(new)]]), server());
        converse(&mut client, &mut server, &pieces);
        prop_assert!(!server.is_handshaking());
        let (mut rest, mut read, mut answered) = (&text[..], Vec::new(), Vec::new());
        while !rest.is_empty() {
            let n = client.write(rest).unwrap();
            rest = &rest[n..];
            let (back, came) = converse(&mut client, &mut server, &pieces);
            read.extend(came);
            answered.extend(back);
            prop_assert_eq!(server.write(b"250"), Ok(3));
        }
        answered.extend(converse(&mut client, &mut server, &pieces).0);
        prop_assert_eq!(read, text);
        prop_assert!(answered.len().is_multiple_of(3) && !answered.is_empty());
    }

    #[test]
    fn garbage_ends_the_handshake_or_waits(octets in prop::collection::vec(any::<u8>(), 0..3000), piece in 1usize..200) {
        let mut server = server();
        feed(&mut server, &octets, piece);
        prop_assert!(server.is_handshaking() || server.failure().is_some());
    }

    #[test]
    fn damage_in_traffic_ends_it(at in 0usize..60, bit in 0u8..8, new in any::<bool>()) {
        let (mut client, mut server) = (client(&[BOTH[usize::from(new)]]), server());
        converse(&mut client, &mut server, &[usize::MAX]);
        prop_assert_eq!(client.write(&[b'x'; 40]), Ok(40));
        let mut record = client.outgoing().to_vec();
        let place = at % record.len();
        record[place] ^= 1 << bit;
        let mut read = Vec::new();
        server.room()[..record.len()].copy_from_slice(&record);
        server.advance(record.len());
        work(&mut server, &mut read);
        prop_assert!(read.is_empty() || read == [b'x'; 40], "the version's octets may differ, nothing else");
    }
}

/// What a session holds of the heap is what the limits say. The counter is of the whole process, so others that
/// run beside this test are outvoted: the least of many measurements counts.
#[test]
fn a_session_takes_no_more_heap_than_was_allowed_for() {
    let live = || crate::sys::HEAP.heap().live_octets as isize;
    let (mut of_server, mut of_both) = (isize::MAX, isize::MAX);
    for round in 0..200 {
        let version = BOTH[round % 2];
        let (mut client, mut server) = (client(&[version]), server());
        converse(&mut client, &mut server, &[usize::MAX]);
        write(&mut client, &mut server, &[b'x'; 5000]);
        let with_both = live();
        server.stop();
        let without_server = live();
        client.stop();
        of_server = of_server.min(with_both - without_server).max(0);
        of_both = of_both.min(without_server - live()).max(0);
    }
    println!("a session: {of_server} octets with a client, {of_both} with a server and its one certificate");
    assert!(of_server <= TLS_SERVER_HEAP_OCTETS as isize);
    assert!(of_both <= (TLS_CLIENT_HEAP_OCTETS - 16 * 1024) as isize);
}

#[test]
fn a_handshake_under_way_takes_no_more_either() {
    let live = || crate::sys::HEAP.heap().live_octets as isize;
    let mut least = isize::MAX;
    for round in 0..100 {
        let (mut client, mut server) = (client(&[BOTH[round % 2]]), server());
        let mut none = Vec::new();
        work(&mut client, &mut none);
        carry(&mut client, &mut server, usize::MAX);
        work(&mut server, &mut none);
        let with = live();
        server.stop();
        least = least.min(with - live()).max(0);
    }
    println!("a handshake under way: {least} octets");
    assert!(least <= TLS_SERVER_HEAP_OCTETS as isize);
}
