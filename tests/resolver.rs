//! The resolver by itself, against name servers that are honest, hostile, broken and silent, and against
//! dnsmasq and unbound.

mod support;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use pillarbox::config::Config;
use pillarbox::dns::mx::{NoExchanger, Own, exchanger};
use pillarbox::dns::name::Name;
use pillarbox::dns::resolver::{Failure, Resolver, Search};
use pillarbox::dns::system::{Servers, System};
use pillarbox::net::names::{self, Question, Sought};
use simple_dns::{RCODE, TYPE};
use support::name_server::{Asked, NameServer, Sent, Zone, refuse, respond};
use support::peers::Server;
use support::{Folder, free_port};

const ZONE: &str = "x.test MX 20 mx2.x.test
    x.test MX 10 mx1.x.test
    mx1.x.test A 192.0.2.1
    mx1.x.test A 192.0.2.2
    mx1.x.test AAAA 2001:db8::1
    mx2.x.test AAAA 2001:db8::2
    alias.test CNAME x.test
    mxalias.test MX 1 other.test
    other.test CNAME mx1.x.test
    bare.test A 192.0.2.9
    empty.test CNAME nothing.test
    nothing.test MX 5 gone.test
    null.test MX 0 .";

/// A resolver without files, and whom it asks.
struct Asker {
    resolver: Resolver,
    servers: Servers,
    _folder: Folder,
}

impl Asker {
    fn new(servers: &[SocketAddr]) -> Self {
        let folder = Folder::new("resolver");
        let system = System::new(folder.join("resolv.conf"), folder.join("hosts"));
        let list = servers.iter().copied().collect();
        let servers = Servers { list, timeout: Duration::from_secs(2), attempts: 2, rotate: false };
        Self { resolver: Resolver::new(system), servers, _folder: folder }
    }

    /// For servers that say nothing: a test must not wait for long.
    fn impatient(servers: &[SocketAddr]) -> Self {
        let mut asker = Self::new(servers);
        asker.servers.timeout = Duration::from_millis(300);
        asker
    }

    fn search(&self) -> Search {
        Search::start(self.servers.clone(), 0)
    }

    fn addresses(&mut self, name: &str) -> Result<Vec<IpAddr>, Failure> {
        let search = self.search();
        let found = self.resolver.addresses(&Name::parse(name).expect("a name"), &search)?;
        Ok(found.into_iter().collect())
    }

    fn exchangers(&mut self, name: &str) -> Result<Vec<(u16, String)>, Failure> {
        let search = self.search();
        let found = self.resolver.exchangers(&Name::parse(name).expect("a name"), &search)?;
        Ok(found.iter().map(|(preference, name)| (preference, name.to_owned())).collect())
    }

    /// All hosts of a domain, with their addresses, and why there are no more.
    fn hosts(&mut self, domain: &str, own: &str, own_address: &str) -> (Vec<String>, NoExchanger) {
        let (domain, own) = (Name::parse(domain).expect("a name"), Name::parse(own));
        let is_address = |address: IpAddr| Some(address) == own_address.parse().ok();
        let own = Own { name: own.as_ref(), is_address: &is_address };
        let mut hosts = Vec::new();
        loop {
            let search = self.search();
            match exchanger(&mut self.resolver, &domain, hosts.len(), 7, &search, own) {
                Ok(one) => hosts.push(format!("{} {:?}", one.name, one.addresses.map(|all| all.len()))),
                Err(why) => return (hosts, why),
            }
        }
    }
}

fn parsed(list: &[&str]) -> Vec<IpAddr> {
    list.iter().map(|text| text.parse().expect("an address")).collect()
}

#[test]
fn names_are_looked_up_once() {
    let server = NameServer::honest(ZONE);
    let mut asker = Asker::new(&[server.address]);
    for _ in 0..2 {
        let both = parsed(&["2001:db8::1", "192.0.2.1", "192.0.2.2"]);
        assert_eq!(asker.addresses("MX1.x.test"), Ok(both), "the families in turn");
        assert_eq!(asker.addresses("mx2.x.test"), Ok(parsed(&["2001:db8::2"])));
        assert_eq!(asker.addresses("x.test"), Err(Failure::NoRecord));
        assert_eq!(asker.addresses("gone.test"), Err(Failure::NoName));
        let list = [(10, "mx1.x.test".to_owned()), (20, "mx2.x.test".to_owned())];
        assert_eq!(asker.exchangers("x.test").as_deref(), Ok(&list[..]));
        assert_eq!(asker.exchangers("alias.test").as_deref(), Ok(&list[..]));
    }
    for asked in server.asked() {
        assert_eq!(server.count(&asked.name, asked.kind), 1, "{asked:?}");
    }
    assert_eq!(server.count("gone.test", TYPE::AAAA), 0, "what does not exist has no IPv6 address either");
}

#[test]
fn hosts_of_a_domain_come_one_by_one() {
    let server = NameServer::honest(ZONE);
    let mut asker = Asker::new(&[server.address]);
    let mut hosts = |domain, own, address| {
        let (hosts, why) = asker.hosts(domain, own, address);
        (hosts.join(", "), why)
    };
    let both = "mx1.x.test Ok(3), mx2.x.test Ok(1)".to_owned();
    assert_eq!(hosts("x.test", "us.test", ""), (both.clone(), NoExchanger::NoMore));
    assert_eq!(hosts("alias.test", "us.test", ""), (both, NoExchanger::NoMore));
    assert_eq!(hosts("mxalias.test", "", ""), ("other.test Ok(3)".into(), NoExchanger::NoMore));
    assert_eq!(hosts("bare.test", "", ""), ("bare.test Ok(1)".into(), NoExchanger::NoMore));
    assert_eq!(hosts("empty.test", "", ""), ("gone.test Err(NoName)".into(), NoExchanger::NoMore));
    assert_eq!(hosts("null.test", "", ""), (String::new(), NoExchanger::NullMx));
    assert_eq!(hosts("gone.test", "", ""), (String::new(), NoExchanger::Unknown(Failure::NoName)));
    let first = "mx1.x.test Ok(3)".to_owned();
    assert_eq!(hosts("x.test", "mx2.X.test", ""), (first.clone(), NoExchanger::NoMore), "ours by name");
    assert_eq!(hosts("x.test", "", "2001:db8::2"), (first, NoExchanger::NoMore), "ours by address");
    assert_eq!(hosts("x.test", "mx1.x.test", ""), (String::new(), NoExchanger::Loop));
    assert_eq!(hosts("x.test", "", "192.0.2.2"), (String::new(), NoExchanger::Loop));
    assert_eq!(hosts("bare.test", "bare.test", ""), (String::new(), NoExchanger::Loop), "no MX record");
}

#[test]
fn the_next_server_is_asked_when_one_is_of_no_use() {
    let honest = NameServer::honest(ZONE);
    let nobody = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let expected = Ok(parsed(&["192.0.2.9"]));
    assert_eq!(Asker::new(&[nobody, honest.address]).addresses("bare.test"), expected, "a closed port");
    let mut alone = Asker::new(&[nobody]);
    assert_eq!(alone.addresses("bare.test"), Err(Failure::Unreachable));
    assert!(
        !alone.resolver.is_dead(&Name::parse("bare.test").expect("a name"), 0),
        "there may be no network yet"
    );
    for code in [RCODE::ServerFailure, RCODE::Refused, RCODE::NotImplemented, RCODE::FormatError] {
        let bad = NameServer::scripted(move |asked| refuse(asked, code));
        assert_eq!(Asker::new(&[bad.address, honest.address]).addresses("bare.test"), expected, "{code:?}");
        let mut alone = Asker::new(&[bad.address]);
        assert_eq!(alone.addresses("bare.test"), Err(Failure::Refusal), "{code:?}");
        assert!(!alone.resolver.is_dead(&Name::parse("bare.test").expect("a name"), 0));
    }
    let silent = NameServer::silent();
    assert_eq!(
        Asker::impatient(&[silent.address, honest.address]).addresses("bare.test"),
        expected,
        "silence"
    );
}

#[test]
fn a_name_that_nobody_answered_for_is_left_alone_for_a_while() {
    let silent = NameServer::silent();
    let mut asker = Asker::impatient(&[silent.address, silent.address]);
    assert_eq!(asker.exchangers("x.test"), Err(Failure::Silence));
    assert_eq!(silent.asked().len(), 4, "two rounds over two servers");
    assert!(asker.resolver.is_dead(&Name::parse("x.test").expect("a name"), 0));
    assert_eq!(asker.exchangers("x.test"), Err(Failure::Silence));
    assert_eq!(silent.asked().len(), 4, "nobody is asked again so soon");
    // What one search needs takes no longer than one name would: the second of its names is not asked for.
    let search = asker.search();
    let names = ["a.test", "b.test"].map(|name| Name::parse(name).expect("a name"));
    for name in &names {
        assert_eq!(asker.resolver.addresses(name, &search), Err(Failure::Silence));
    }
    assert_eq!((silent.count("a.test", TYPE::A), silent.count("b.test", TYPE::A)), (4, 0));
    asker.resolver.forget();
    assert!(!asker.resolver.is_dead(&names[0], 0));
}

/// A server that sends the same wrong things before the right one, and nothing by TCP.
fn first_wrong(wrong: impl Fn(&Asked, Vec<u8>) -> Sent + Send + Sync + 'static) -> NameServer {
    let zone = Zone::parse(ZONE);
    NameServer::scripted(move |asked| {
        if asked.by_tcp {
            return Vec::new();
        }
        let right = zone.response(asked);
        let mut sent = wrong(asked, right.clone());
        sent.push(right);
        sent
    })
}

#[test]
fn forged_responses_are_passed_over() {
    let evil = || Zone::parse("bare.test A 203.0.113.6\nother.test A 203.0.113.6");
    let forged = move |asked: &Asked| evil().response(asked);
    let flipped = |place: usize, bit: u8| {
        move |asked: &Asked, _: Vec<u8>| {
            let mut octets = forged(asked);
            octets[place] ^= bit;
            vec![octets]
        }
    };
    let expected = Ok(parsed(&["192.0.2.9"]));
    for (what, place, bit) in [
        ("another id", 0, 1),
        ("another id", 1, 0x80),
        ("a query", 2, 0x80),
        ("another name", 13, 1),
        ("another case", 13, 0x20),
        ("another kind", 24, 16),
        ("another class", 26, 2),
    ] {
        let server = first_wrong(flipped(place, bit));
        assert_eq!(Asker::new(&[server.address]).addresses("bare.test"), expected, "{what}");
    }
    let server = first_wrong(|_, right| vec![Vec::new(), vec![0], right[..11].to_vec(), vec![0xff; 4096]]);
    assert_eq!(Asker::new(&[server.address]).addresses("bare.test"), expected, "no messages at all");
    let elsewhere = first_wrong(|asked, _| {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let forged = Zone::parse("bare.test A 203.0.113.6").response(asked);
        socket.send_to(&forged, asked.from).expect("a datagram sent");
        Vec::new()
    });
    assert_eq!(Asker::new(&[elsewhere.address]).addresses("bare.test"), expected, "from another port");
}

#[test]
fn what_can_not_be_believed_is_asked_for_over_tcp() {
    let zone = Zone::parse(ZONE);
    let careless = |spoil: fn(&mut Vec<u8>), copies: usize| {
        let zone = zone.clone();
        NameServer::scripted(move |asked| {
            let mut octets = zone.response(asked);
            if asked.by_tcp {
                return vec![octets];
            }
            spoil(&mut octets);
            vec![octets; copies]
        })
    };
    for (what, server) in [
        ("the case is gone", careless(|octets| octets[12..22].make_ascii_lowercase(), 1)),
        ("truncated", careless(|octets| octets[2] |= 2, 1)),
        ("a flood of ids", careless(|octets| octets[0] ^= 1, 100)),
    ] {
        let mut asker = Asker::new(&[server.address]);
        assert_eq!(asker.addresses("bare.test"), Ok(parsed(&["192.0.2.9"])), "{what}");
        assert!(server.asked().iter().any(|asked| asked.by_tcp), "{what}");
    }
    let torn = NameServer::scripted(|asked| match asked.by_tcp {
        true => vec![vec![0; 5]],
        false => {
            let mut octets = respond(asked, RCODE::NoError, &[]);
            octets[2] |= 2;
            vec![octets]
        }
    });
    assert_eq!(Asker::new(&[torn.address]).addresses("bare.test"), Err(Failure::Refusal), "nonsense by TCP");
}

#[test]
fn a_server_that_knows_no_edns_is_asked_in_plain_words() {
    let zone = Zone::parse(ZONE);
    let old = NameServer::scripted(move |asked| {
        // The last count of the header: an OPT record.
        if asked.octets[11] == 1 { refuse(asked, RCODE::FormatError) } else { vec![zone.response(asked)] }
    });
    assert_eq!(Asker::new(&[old.address]).addresses("bare.test"), Ok(parsed(&["192.0.2.9"])));
    let zone = Zone::parse(ZONE);
    let older =
        NameServer::scripted(
            move |asked| {
                if asked.octets[11] == 1 { Vec::new() } else { vec![zone.response(asked)] }
            },
        );
    let mut asker = Asker::impatient(&[older.address]);
    assert_eq!(asker.exchangers("mxalias.test"), Ok(vec![(1, "other.test".to_owned())]), "EDNS is dropped");
}

#[test]
fn pointers_that_run_in_circles_are_a_broken_response() {
    let looping = NameServer::scripted(|asked| {
        let mut octets = respond(asked, RCODE::NoError, &[]);
        // The question stays; behind it an answer whose name points at itself.
        octets.truncate(12 + asked.name.len() + 2 + 4);
        (octets[7], octets[9]) = (1, 0);
        let here = octets.len() as u8;
        octets.extend([0xc0, here, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 1, 2, 3, 4]);
        vec![octets]
    });
    assert_eq!(Asker::new(&[looping.address]).addresses("bare.test"), Err(Failure::Refusal));
}

#[test]
fn aliases_that_are_told_one_by_one_are_followed_but_not_for_ever() {
    let steps = NameServer::scripted(|asked| {
        let target = match asked.name.as_str() {
            "one.test" => "two.test",
            "two.test" => "bare.test",
            "ping.test" => "pong.test",
            "pong.test" => "ping.test",
            _ => return vec![Zone::parse(ZONE).response(asked)],
        };
        let zone = Zone::parse(&format!("{} CNAME {target}\n{target} CNAME x", asked.name));
        let mut octets = zone.response(&Asked { kind: TYPE::CNAME, ..asked.clone() });
        octets[2] |= 0x80;
        vec![octets]
    });
    let mut asker = Asker::new(&[steps.address]);
    assert_eq!(asker.addresses("one.test"), Ok(parsed(&["192.0.2.9"])));
    assert_eq!(asker.addresses("ping.test"), Err(Failure::Refusal));
    assert!(steps.count("ping.test", TYPE::A) <= 9, "{}", steps.count("ping.test", TYPE::A));
}

#[test]
fn ids_ports_and_case_are_drawn_anew() {
    let server = NameServer::honest(ZONE);
    let mut asker = Asker::new(&[server.address]);
    for n in 0..50 {
        assert_eq!(asker.exchangers(&format!("n{n}.absent.test")), Err(Failure::NoName));
    }
    let asked = server.asked();
    let ids: BTreeSet<_> = asked.iter().map(|one| one.octets[..2].to_vec()).collect();
    let ports: BTreeSet<_> = asked.iter().map(|one| one.from.port()).collect();
    let cases: BTreeSet<_> = asked.iter().map(|one| one.octets[16..20].to_vec()).collect();
    // By chance a few may be equal.
    assert!(ids.len() > 45 && ports.len() > 40 && cases.len() > 5, "{ids:?} {ports:?} {cases:?}");
}

#[test]
fn servers_take_turns_if_the_system_wants_it() {
    let asked = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
    let servers = asked.clone().map(|count| {
        let zone = Zone::parse(ZONE);
        NameServer::scripted(move |asked| {
            count.fetch_add(1, Ordering::SeqCst);
            vec![zone.response(asked)]
        })
    });
    let mut asker = Asker::new(&[servers[0].address, servers[1].address]);
    asker.servers.rotate = true;
    for n in 0..10 {
        assert_eq!(asker.exchangers(&format!("n{n}.absent.test")), Err(Failure::NoName));
    }
    assert_eq!(asked.map(|count| count.load(Ordering::SeqCst)), [5, 5]);
}

#[test]
fn names_not_lately_dead_go_first() {
    let gate = Arc::new(AtomicBool::new(false));
    let of_server = Arc::clone(&gate);
    let server = NameServer::scripted(move |asked| {
        if asked.name == "slow.test" {
            support::wait_for("the gate", || of_server.load(Ordering::SeqCst).then_some(()));
        }
        if asked.name == "dead.test" { Vec::new() } else { refuse(asked, RCODE::NameError) }
    });
    let text = format!("[dns]\nresolvers = [\"{}\"]\ntimeout = \"1s\"\nattempts = 1\n", server.address);
    let config = Arc::new(Config::parse(&text, "host.test").expect("a configuration"));
    let mut names = names::start(|| {}).expect("the helper");
    let question = |ticket, name: &str| Question {
        ticket,
        sought: Sought::Host(name.try_into().expect("a short name")),
        port: 25,
        route: 0,
        config: Arc::clone(&config),
    };
    assert!(names.ask(question(1, "dead.test")));
    let answer = support::wait_for("the first answer", || names.answer());
    assert!(answer.result.is_err() && answer.ticket == 1);
    assert!(names.ask(question(2, "slow.test")));
    support::wait_for("the question", || (server.count("slow.test", TYPE::A) > 0).then_some(()));
    assert!(names.ask(question(3, "dead.test")) && names.ask(question(4, "live.test")));
    gate.store(true, Ordering::SeqCst);
    let order = [(); 3].map(|()| support::wait_for("an answer", || names.answer()).ticket);
    assert_eq!(order, [2, 4, 3]);
    assert_eq!(server.count("dead.test", TYPE::A), 1, "and is not asked for again so soon");
}

#[test]
fn dnsmasq_is_understood() {
    let many: Vec<String> = (0..30)
        .map(|n| format!("--mx-host=large.test,a-rather-long-name-of-a-host-{n:02}.large.test,{n}"))
        .collect();
    let mut options = vec![
        "--mx-host=x.test,mx1.x.test,10",
        "--mx-host=x.test,mx2.x.test,20",
        "--host-record=mx1.x.test,192.0.2.1,2001:db8::1",
        "--cname=alias.test,mx1.x.test",
        "--local=/test/",
    ];
    options.extend(many.iter().map(String::as_str));
    let Some(server) = Server::dnsmasq(&options) else { return };
    let mut asker = Asker::new(&[SocketAddr::from(([127, 0, 0, 1], server.port))]);
    assert_eq!(asker.addresses("mx1.x.test"), Ok(parsed(&["2001:db8::1", "192.0.2.1"])));
    assert_eq!(asker.addresses("alias.test"), Ok(parsed(&["2001:db8::1", "192.0.2.1"])));
    assert_eq!(asker.addresses("gone.test"), Err(Failure::NoName));
    assert_eq!(asker.addresses("x.test"), Err(Failure::NoRecord));
    let list = [(10, "mx1.x.test".to_owned()), (20, "mx2.x.test".to_owned())];
    assert_eq!(asker.exchangers("X.test").as_deref(), Ok(&list[..]));
    assert_eq!(asker.exchangers("mx1.x.test"), Err(Failure::NoRecord));
    // Too much for a datagram: it comes over TCP.
    let large = asker.exchangers("large.test").expect("the answer");
    assert_eq!(large.len(), 16);
    assert_eq!(large[15], (15, "a-rather-long-name-of-a-host-15.large.test".to_owned()));
    assert_eq!(asker.addresses("elsewhere.example"), Err(Failure::Refusal), "not its own, and nobody to ask");
}

/// A zone for unbound, which looks names up in it as in any other and follows aliases by itself. Without EDNS
/// the answer for middle.test is too much for a datagram, that for large.test is in any case.
fn zone_of_unbound() -> String {
    let many = |domain: &str, hosts: u32| -> String {
        (0..hosts)
            .map(|n| format!("{domain}. MX {n} a-rather-long-name-of-a-host-{n:02}.{domain}.\n"))
            .collect()
    };
    let zone = "$TTL 60
        . SOA ns.test. hostmaster.test. 1 3600 600 86400 60
        . NS ns.test.
        ns.test. A 192.0.2.53
        x.test. MX 20 mx2.x.test.
        x.test. MX 10 mx1.x.test.
        mx1.x.test. A 192.0.2.1
        mx1.x.test. AAAA 2001:db8::1
        mx2.x.test. AAAA 2001:db8::2
        one.test. CNAME two.test.
        two.test. CNAME three.example.
        three.example. CNAME x.test.
        moved.test. DNAME x.test.
        host.test. CNAME mx1.moved.test.
        lost.test. CNAME gone.test.
        ping.test. CNAME pong.test.
        pong.test. CNAME ping.test.
        late.test. CNAME dead.test.
        null.test. MX 0 .\n";
    [zone.replace("        ", ""), many("middle.test", 12), many("large.test", 40)].concat()
}

#[test]
fn unbound_is_understood() {
    let folder = Folder::new("unbound");
    let house = "local-zone: house. static\nlocal-data: 'printer.house. A 192.0.2.77'\n\
        local-data: 'house. MX 5 printer.house.'";
    let Some(server) = Server::unbound(&folder, &zone_of_unbound(), house) else { return };
    let mut asker = Asker::new(&[SocketAddr::from(([127, 0, 0, 1], server.port))]);
    let both = Ok(parsed(&["2001:db8::1", "192.0.2.1"]));
    assert_eq!(asker.addresses("MX1.x.test"), both);
    assert_eq!(asker.addresses("mx2.x.test"), Ok(parsed(&["2001:db8::2"])));
    assert_eq!(asker.addresses("host.test"), both, "an alias that leads through a DNAME");
    assert_eq!(asker.addresses("x.test"), Err(Failure::NoRecord));
    assert_eq!(asker.exchangers("mx1.x.test"), Err(Failure::NoRecord));
    for gone in ["gone.test", "lost.test", "gone.house"] {
        assert_eq!(asker.addresses(gone), Err(Failure::NoName), "{gone}");
        assert_eq!(asker.exchangers(gone), Err(Failure::NoName), "{gone}");
    }
    // SERVFAIL: a circle, and a server that can't be reached.
    for failed in ["ping.test", "dead.test", "late.test"] {
        assert_eq!(asker.exchangers(failed), Err(Failure::Refusal), "{failed}");
    }
    let list = [(10, "mx1.x.test".to_owned()), (20, "mx2.x.test".to_owned())];
    assert_eq!(asker.exchangers("x.test").as_deref(), Ok(&list[..]));
    assert_eq!(asker.exchangers("one.test").as_deref(), Ok(&list[..]), "three aliases");
    assert_eq!(asker.addresses("printer.house"), Ok(parsed(&["192.0.2.77"])));
    assert_eq!(asker.exchangers("house"), Ok(vec![(5, "printer.house".to_owned())]));
    let (none, why) = asker.hosts("null.test", "", "");
    assert_eq!((none.len(), why), (0, NoExchanger::NullMx));
    assert_eq!(asker.exchangers("large.test").map(|list| list.len()), Ok(16), "over TCP");
}

#[test]
fn unbound_without_tcp_says_by_edns_what_a_datagram_holds() {
    let folder = Folder::new("unboundedns");
    // It takes connections and closes them at once.
    let closed = "tcp-connection-limit: 127.0.0.0/8 0";
    let Some(server) = Server::unbound(&folder, &zone_of_unbound(), closed) else { return };
    let mut asker = Asker::new(&[SocketAddr::from(([127, 0, 0, 1], server.port))]);
    let middle = asker.exchangers("middle.test").expect("the answer");
    assert_eq!(middle[11], (11, "a-rather-long-name-of-a-host-11.middle.test".to_owned()));
    // The connection ends by a close or a reset, as the race goes.
    let large = asker.exchangers("large.test");
    assert!(matches!(large, Err(Failure::Silence | Failure::Unreachable)), "{large:?}");
}
