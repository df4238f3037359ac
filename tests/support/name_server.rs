//! A name server on a free loopback port, UDP and TCP, that follows a script: an honest one with a zone of a
//! few lines, or a hostile one. It records what it is asked.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use simple_dns::rdata::{A, AAAA, CNAME, MX, RData, SOA};
use simple_dns::{CLASS, Name, Packet, QTYPE, RCODE, ResourceRecord, TYPE};

/// A question as it came.
#[derive(Debug, Clone)]
pub struct Asked {
    /// In lower case.
    pub name: String,
    pub kind: TYPE,
    pub by_tcp: bool,
    pub from: SocketAddr,
    /// The whole query.
    pub octets: Vec<u8>,
}

/// What is sent back: datagrams, or over TCP messages. None: silence.
pub type Sent = Vec<Vec<u8>>;

type Script = dyn Fn(&Asked) -> Sent + Send + Sync;

pub struct NameServer {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    script: Box<Script>,
    asked: Mutex<Vec<Asked>>,
    over: AtomicBool,
}

impl NameServer {
    /// Follows `script`.
    pub fn scripted(script: impl Fn(&Asked) -> Sent + Send + Sync + 'static) -> Self {
        let (udp, tcp) = sockets();
        let address = udp.local_addr().expect("a bound socket");
        udp.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
        let shared = Arc::new(Shared {
            script: Box::new(script),
            asked: Mutex::default(),
            over: AtomicBool::new(false),
        });
        let (of_udp, of_tcp) = (Arc::clone(&shared), Arc::clone(&shared));
        thread::spawn(move || of_udp.serve_udp(&udp));
        thread::spawn(move || of_tcp.serve_tcp(&tcp));
        Self { address, shared }
    }

    /// Knows these records and no others: see [`Zone::parse`].
    pub fn honest(zone: &str) -> Self {
        let zone = Zone::parse(zone);
        Self::scripted(move |asked| vec![zone.response(asked)])
    }

    /// Takes every question and says nothing.
    pub fn silent() -> Self {
        Self::scripted(|_| Vec::new())
    }

    /// The questions so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().expect("the record of questions").clone()
    }

    /// How often this was asked.
    pub fn count(&self, name: &str, kind: TYPE) -> usize {
        self.asked().iter().filter(|asked| asked.name == name && asked.kind == kind).count()
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        // Wakes the listener.
        let _ = TcpStream::connect(self.address);
    }
}

/// The same port for both.
fn sockets() -> (UdpSocket, TcpListener) {
    loop {
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a free port");
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr().expect("a bound socket")) {
            return (udp, tcp);
        }
    }
}

impl Shared {
    fn answer(&self, octets: &[u8], from: SocketAddr, by_tcp: bool) -> Sent {
        let Ok(packet) = Packet::parse(octets) else { return Vec::new() };
        let Some(question) = packet.questions.first() else { return Vec::new() };
        let QTYPE::TYPE(kind) = question.qtype else { return Vec::new() };
        let name = question.qname.to_string().to_ascii_lowercase();
        let asked = Asked { name, kind, by_tcp, from, octets: octets.to_vec() };
        self.asked.lock().expect("the record of questions").push(asked.clone());
        (self.script)(&asked)
    }

    fn serve_udp(&self, socket: &UdpSocket) {
        let mut room = [0; 2048];
        while !self.over.load(Ordering::SeqCst) {
            let Ok((count, from)) = socket.recv_from(&mut room) else { continue };
            for datagram in self.answer(&room[..count], from, false) {
                // A resolver that has gone away has had enough.
                let _ = socket.send_to(&datagram, from);
            }
        }
    }

    fn serve_tcp(&self, listener: &TcpListener) {
        for stream in listener.incoming() {
            if self.over.load(Ordering::SeqCst) {
                return;
            }
            let Ok(mut stream) = stream else { continue };
            let (Ok(from), mut length) = (stream.peer_addr(), [0; 2]) else { continue };
            if stream.read_exact(&mut length).is_err() {
                continue;
            }
            let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
            if stream.read_exact(&mut query).is_err() {
                continue;
            }
            for message in self.answer(&query, from, true) {
                let length = u16::try_from(message.len()).expect("a message of 16 bits");
                let _ = stream.write_all(&[&length.to_be_bytes()[..], &message].concat());
            }
        }
    }
}

/// Records of a few names.
#[derive(Clone)]
pub struct Zone(Vec<(String, TYPE, String)>);

impl Zone {
    /// Lines of name, kind and data: `x.test MX 10 mx.x.test`, `mx.x.test A 127.0.0.2`.
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        Self(
            lines
                .map(|line| {
                    let mut parts = line.splitn(3, ' ');
                    let mut part = || parts.next().unwrap_or_else(|| panic!("{line:?}")).to_owned();
                    let (name, kind) = (part(), part());
                    let kind = match kind.as_str() {
                        "A" => TYPE::A,
                        "AAAA" => TYPE::AAAA,
                        "MX" => TYPE::MX,
                        "CNAME" => TYPE::CNAME,
                        other => panic!("no kind of record: {other:?}"),
                    };
                    (name, kind, part())
                })
                .collect(),
        )
    }

    /// What a resolving server says.
    pub fn response(&self, asked: &Asked) -> Vec<u8> {
        let (mut name, mut answers, mut exists) = (asked.name.clone(), Vec::new(), false);
        for _ in 0..8 {
            let of_name: Vec<_> = self.0.iter().filter(|(owner, ..)| *owner == name).collect();
            exists |= !of_name.is_empty();
            answers.extend(of_name.iter().filter(|(_, kind, _)| *kind == asked.kind).map(|one| record(one)));
            let alias = of_name.iter().find(|(_, kind, _)| *kind == TYPE::CNAME);
            let Some(alias) = alias.filter(|_| asked.kind != TYPE::CNAME) else { break };
            answers.push(record(alias));
            (name, exists) = (alias.2.clone(), false);
        }
        respond(asked, if exists { RCODE::NoError } else { RCODE::NameError }, &answers)
    }
}

fn record((owner, _, data): &(String, TYPE, String)) -> ResourceRecord<'static> {
    let name = |text: &str| Name::new_unchecked(text.trim_end_matches('.')).into_owned();
    let data = match data.split_once(' ') {
        Some((preference, exchange)) => {
            let preference = preference.parse().expect("a preference");
            RData::MX(MX { preference, exchange: name(exchange) })
        }
        None => match (data.parse::<Ipv4Addr>(), data.parse::<Ipv6Addr>()) {
            (Ok(address), _) => RData::A(A { address: address.into() }),
            (_, Ok(address)) => RData::AAAA(AAAA { address: address.into() }),
            _ => RData::CNAME(CNAME(name(data))),
        },
    };
    ResourceRecord::new(name(owner), CLASS::IN, 300, data)
}

/// A response with this code and these records, and a SOA record if there are none.
pub fn respond(asked: &Asked, code: RCODE, answers: &[ResourceRecord<'static>]) -> Vec<u8> {
    let mut packet = Packet::parse(&asked.octets).expect("a query").into_reply();
    *packet.rcode_mut() = code;
    packet.answers = answers.to_vec();
    if answers.is_empty() {
        let (mname, rname) = (Name::new_unchecked("ns.test"), Name::new_unchecked("admin.test"));
        let soa = SOA { mname, rname, serial: 1, refresh: 2, retry: 3, expire: 4, minimum: 60 };
        packet.name_servers.push(ResourceRecord::new(
            Name::new_unchecked("test"),
            CLASS::IN,
            60,
            RData::SOA(soa),
        ));
    }
    packet.build_bytes_vec_compressed().expect("a response")
}

/// A response that says nothing but this code.
pub fn refuse(asked: &Asked, code: RCODE) -> Sent {
    vec![respond(asked, code, &[])]
}
