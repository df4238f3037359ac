//! The server side of TLS: any octets, and a real client whose octets are cut, mixed with others and damaged
//! on the way. Nothing panics or turns without end, and only what the client wrote is ever read.
#![no_main]

use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, OnceLock};

use libfuzzer_sys::fuzz_target;
use pillarbox::config::Tls;
use pillarbox::net::tls::{Acceptor, Need, Pump, Server};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

fn server() -> Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    let load = || {
        let folder = std::env::temp_dir().join(format!("pillarbox-fuzz-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
        std::fs::write(&certificate, include_bytes!("../../tests/support/tls/p256.pem")).expect("a file");
        std::fs::write(&key, include_bytes!("../../tests/support/tls/p256.key")).expect("a file");
        std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).expect("our file");
        let tls = Tls { certificate_file: Some(certificate), key_file: Some(key), ..Tls::default() };
        let server = Server::load(&tls).expect("a key that fits").expect("a certificate");
        std::fs::remove_dir_all(folder).expect("our folder");
        server
    };
    SERVER.get_or_init(load).clone()
}

fn client() -> ClientConnection {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    let config = CONFIG.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        let authority = include_bytes!("../../tests/support/tls/ca.pem");
        roots.add(CertificateDer::from_pem_slice(authority).expect("a certificate")).expect("an authority");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().expect("versions");
        Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
    });
    let name = ServerName::try_from("relay.test").expect("a name");
    ClientConnection::new(Arc::clone(config), name).expect("a client")
}

/// Works on what came; reads all text.
fn work(pump: &mut Pump, read: &mut Vec<u8>) {
    loop {
        match pump.process() {
            Ok(Need::Reader) => {
                let mut room = [0; 100];
                let n = pump.read(&mut room);
                assert!(n > 0);
                read.extend_from_slice(&room[..n]);
            }
            Ok(Need::Input | Need::Output | Need::Nothing) | Err(_) => return,
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let acceptor = Acceptor::new(Some(server()), 1, usize::MAX);
    let mut pump = acceptor.accept().expect("room for one");
    let mut client = client();
    let (mut to_server, mut to_client, mut read, mut written) = (Vec::new(), Vec::new(), Vec::new(), 0u8);
    // A client that gives up in its handshake is a failure too.
    let (mut is_damaged, mut is_lost) = (false, false);
    for step in data.chunks(2) {
        let [what, how] = *step else { break };
        let how_many = usize::from(how);
        let _ = client.write_tls(&mut to_server);
        match what % 8 {
            0 | 1 => {
                work(&mut pump, &mut read);
                if pump.failure().is_some() || matches!(pump.process(), Ok(Need::Nothing)) {
                    break;
                }
                let most = if how == 255 { usize::MAX } else { 8 * how_many };
                let room = pump.room();
                let n = room.len().min(to_server.len()).min(most);
                room[..n].copy_from_slice(&to_server[..n]);
                pump.advance(n);
                to_server.drain(..n);
            }
            2 => {
                to_client.extend_from_slice(pump.outgoing());
                let sent = pump.outgoing().len();
                pump.sent(sent);
                let mut cursor = &to_client[..];
                while !is_lost && client.read_tls(&mut cursor).is_ok_and(|n| n > 0) {
                    is_lost = client.process_new_packets().is_err();
                    let _ = std::io::copy(&mut client.reader(), &mut std::io::sink());
                }
                to_client.clear();
            }
            3 => {
                if !client.is_handshaking() {
                    let _ = std::io::Write::write_all(&mut client.writer(), &vec![b'x'; how_many]);
                    written |= 1;
                }
            }
            4 => {
                let _ = pump.write(&vec![b'y'; 32 * how_many]);
            }
            5 => {
                if let Some(octet) = to_server.get_mut(how_many) {
                    *octet ^= 1 << (what >> 5);
                    is_damaged = true;
                }
            }
            6 => {
                let octets = data.get(..how_many).unwrap_or_default();
                let at = if what & 128 == 0 { to_server.len() } else { 0 };
                to_server.splice(at..at, octets.iter().copied());
                is_damaged = true;
            }
            _ if what & 128 == 0 => {
                is_damaged |= client.is_handshaking();
                client.send_close_notify();
            }
            _ => pump.close(),
        }
        work(&mut pump, &mut read);
    }
    assert!(read.iter().all(|octet| *octet == b'x') && (read.is_empty() || written > 0));
    assert!(is_damaged || is_lost || pump.failure().is_none(), "{:?}", pump.failure());
});
