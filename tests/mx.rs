//! Delivery to the mail exchangers of domains, end to end: name servers, next hops on loopback addresses, and
//! the relay between them.

mod support;

use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use simple_dns::{RCODE, TYPE};
use support::certificates::{Authority, Pair};
use support::client::Client;
use support::message::{assert_same, maildir, message, without_trace};
use support::name_server::{NameServer, Zone, refuse};
use support::next_hop::{Act, Event, NextHop};
use support::peers::{self, Server};
use support::relay::{Config, Relay};
use support::{Folder, wait_for};

const CONTENT: &str = "by name\r\n";

/// Friendly next hops on these addresses, all on one port.
fn hops<const N: usize>(addresses: [&str; N]) -> (u16, [NextHop; N]) {
    loop {
        let mut port = 0;
        let bound = addresses.map(|address| {
            let listener = TcpListener::bind((address, port)).ok()?;
            port = listener.local_addr().expect("a bound socket").port();
            Some(NextHop::on(listener, |_, _| Act::Friendly))
        });
        if bound.iter().all(Option::is_some) {
            return (port, bound.map(|hop| hop.expect("bound")));
        }
    }
}

/// A relay that delivers to local.test itself and to all others by MX, asking this server.
fn config(folder: &Folder, server: &str, port: u16) -> Config {
    Config::new(folder.path(), "a")
        .maildir("[\"local.test\"]")
        .route(&format!("via = \"mx\"\nport = {port}"))
        .set("dns", "resolvers", &format!("[{server:?}]"))
}

fn send(relay: &Relay, to: &[&str]) {
    let reply = Client::hello(relay.port).deliver("me@local.test", to, &message(CONTENT));
    assert!(reply.starts_with("250"), "{reply}");
}

#[test]
fn the_most_wanted_host_that_can_be_reached_gets_it() {
    let folder = Folder::new("mxorder");
    let (port, [second, third]) = hops(["127.0.0.3", "127.0.0.4"]);
    // Nobody listens on 127.0.0.2.
    let Some(server) = Server::dnsmasq(&[
        "--mx-host=x.test,mx3.x.test,30",
        "--mx-host=x.test,mx1.x.test,10",
        "--mx-host=x.test,mx2.x.test,20",
        "--host-record=mx1.x.test,127.0.0.2",
        "--host-record=mx2.x.test,127.0.0.3",
        "--host-record=mx3.x.test,127.0.0.4",
        "--local=/test/",
    ]) else {
        return;
    };
    let config = config(&folder, &format!("127.0.0.1:{}", server.port), port);
    let relay = config.start();
    send(&relay, &["one@x.test", "two@X.test"]);
    let taken = second.wait(1).remove(0);
    assert_eq!(taken.to, ["<one@x.test>", "<two@X.test>"], "one transaction for both");
    assert_same("content", &message(CONTENT), without_trace(&taken.content));
    relay.wait_log(&["delivered", "one@x.test", "via=mx", &format!("host=mx2.x.test[127.0.0.3]:{port} ")]);
    if let Some(swaks) = peers::find("swaks") {
        let mut swaks = Command::new(swaks);
        swaks.args(["--server", "127.0.0.1", "--port", &relay.port.to_string(), "--from", "a@local.test"]);
        peers::succeed(swaks.args(["--to", "three@x.test", "--body", "from swaks"]), b"");
        assert_eq!(second.wait(2)[1].to, ["<three@x.test>"]);
    }
    assert_eq!(third.connections(), 0);
    config.wait_queue(0);
    relay.stop();
}

#[test]
fn each_domain_is_a_destination() {
    let folder = Folder::new("mxdomains");
    let (port, [one, two]) = hops(["127.0.0.2", "127.0.0.3"]);
    // The first has no MX record, the second has an alias; a third is not to be had.
    let server = NameServer::honest(
        "one.test A 127.0.0.2
        two.test CNAME other.test
        other.test MX 10 mx.other.test
        mx.other.test CNAME host.test
        host.test A 127.0.0.3
        dead.test A 127.0.0.9",
    );
    let config = config(&folder, &server.address.to_string(), port);
    let relay = config.start();
    send(&relay, &["a@dead.test", "a@one.test", "b@two.test", "b@one.test"]);
    assert_eq!(one.wait(1)[0].to, ["<a@one.test>", "<b@one.test>"]);
    assert_eq!(two.wait(1)[0].to, ["<b@two.test>"]);
    relay.wait_log(&["delivered", "b@two.test", "host=mx.other.test[127.0.0.3]"]);
    relay.wait_log(&["deferred", "a@dead.test", "4.4.1"]);
    let queue = config.wait_queue(1);
    let states: Vec<_> =
        queue[0].key("recipients").list().iter().map(|one| one.key("state").text().to_owned()).collect();
    assert_eq!(states, ["pending", "delivered", "delivered", "delivered"]);
    relay.stop();
}

#[test]
fn what_can_never_be_delivered_comes_back_at_once() {
    let folder = Folder::new("mxnever");
    let server = NameServer::honest(
        "null.test MX 0 .
        ours.test MX 10 RELAY.test
        ours.test MX 20 backup.test
        backup.test A 127.0.0.2
        lost.test MX 10 gone.test
        empty.test CNAME nothing.test
        nothing.test CNAME void.test
        void.test MX 1 gone.test",
    );
    let (port, [backup]) = hops(["127.0.0.2"]);
    let config = config(&folder, &server.address.to_string(), port);
    let relay = config.start();
    for (to, code) in [
        ("a@null.test", "556 5.1.10"),
        ("a@absent.test", "550 5.1.2"),
        ("a@ours.test", "554 5.4.6"),
        ("a@lost.test", "550 5.4.4"),
        ("a@empty.test", "550 5.4.4"),
    ] {
        send(&relay, &[to]);
        let line = relay.wait_log(&["bounced", to]);
        assert!(line.contains(&format!("reply=\"{code}")), "{line}");
    }
    let bounces = wait_for("the bounces", || {
        let bounces = maildir(&config.mailbox("me"));
        (bounces.len() == 5).then_some(bounces)
    });
    let text = String::from_utf8_lossy(&bounces.concat()).into_owned();
    for status in ["5.1.10", "5.1.2", "5.4.6", "5.4.4"] {
        assert!(text.contains(&format!("Status: {status}")), "{status}: {text}");
    }
    assert!(!text.contains(" said:"), "nobody was spoken to: {text}");
    assert_eq!(backup.connections(), 0, "less wanted than this host");
    config.wait_queue(0);
    relay.stop();
}

#[test]
fn hosts_less_wanted_than_this_one_are_not_tried() {
    let folder = Folder::new("mxown");
    let (port, [backup]) = hops(["127.0.0.2"]);
    // Nobody listens on 127.0.0.9.
    let server = NameServer::honest(
        "name.test MX 10 dead.test
        name.test MX 20 relay.test
        name.test MX 30 backup.test
        dead.test A 127.0.0.9
        backup.test A 127.0.0.2",
    );
    let config = config(&folder, &server.address.to_string(), port);
    let relay = config.start();
    send(&relay, &["a@name.test"]);
    relay.wait_log(&["deferred", "a@name.test", "dead.test"]);
    assert_eq!(backup.connections(), 0);
    relay.stop();
}

#[test]
fn the_own_address_is_known_where_it_listens() {
    let folder = Folder::new("mxself");
    let server = NameServer::honest("self.test MX 10 other.test\nother.test A 127.0.0.1");
    let config = Config::new(folder.path(), "a").maildir("[\"local.test\"]");
    let port = config.port;
    let config = config.route(&format!("via = \"mx\"\nport = {port}")).set(
        "dns",
        "resolvers",
        &format!("[\"{}\"]", server.address),
    );
    let relay = config.start();
    send(&relay, &["a@self.test"]);
    relay.wait_log(&["bounced", "a@self.test", "5.4.6"]);
    send(&relay, &["a@[127.0.0.1]"]);
    relay.wait_log(&["bounced", "a@[127.0.0.1]", "5.4.6"]);
    relay.stop();
}

#[test]
fn address_literals_need_no_name_server() {
    let folder = Folder::new("mxliteral");
    let (port, [v4, v6]) = hops(["127.0.0.2", "::1"]);
    let server = NameServer::silent();
    let config = config(&folder, &server.address.to_string(), port);
    let relay = config.start();
    send(&relay, &["a@[127.0.0.2]", "a@[IPv6:::1]"]);
    assert_eq!(v4.wait(1)[0].to, ["<a@[127.0.0.2]>"]);
    assert_eq!(v6.wait(1)[0].to, ["<a@[IPv6:::1]>"]);
    assert!(server.asked().is_empty());
    relay.stop();
}

#[test]
fn domains_in_other_scripts_are_looked_up_as_a_labels() {
    let folder = Folder::new("mxidn");
    let (port, [hop]) = hops(["127.0.0.2"]);
    let server = NameServer::honest("xn--bcher-kva.test MX 10 mx.test\nmx.test A 127.0.0.2");
    let config = config(&folder, &server.address.to_string(), port);
    let relay = config.start();
    let mut client = Client::hello(relay.port);
    client.expect("MAIL FROM:<me@local.test> SMTPUTF8", "250");
    client.expect("RCPT TO:<a@bücher.test>", "250");
    client.expect("DATA", "354");
    client.send(&support::message::stuff(&message(CONTENT)));
    assert!(client.reply().starts_with("250"));
    assert_eq!(hop.wait(1)[0].to, ["<a@bücher.test>"]);
    relay.stop();
}

#[test]
fn what_the_servers_can_not_tell_waits_until_they_can() {
    let folder = Folder::new("mxlater");
    let (port, [hop]) = hops(["127.0.0.2"]);
    let (well, zone) = (Arc::new(AtomicBool::new(false)), Zone::parse("x.test A 127.0.0.2"));
    let of_server = Arc::clone(&well);
    let server = NameServer::scripted(move |asked| {
        if of_server.load(Ordering::SeqCst) {
            vec![zone.response(asked)]
        } else {
            refuse(asked, RCODE::ServerFailure)
        }
    });
    let config = config(&folder, &server.address.to_string(), port);
    let relay = config.start();
    send(&relay, &["a@x.test"]);
    relay.wait_log(&["deferred", "a@x.test", "451 4.4.3"]);
    well.store(true, Ordering::SeqCst);
    wait_for("the message", || {
        config.succeed(&["queue", "retry", "--all"]);
        hop.taken().pop()
    });
    config.wait_queue(0);
    assert!(maildir(&config.mailbox("me")).is_empty(), "no bounce for what is only late");
    relay.stop();
}

#[test]
fn a_route_can_have_name_servers_of_its_own() {
    let folder = Folder::new("mxservers");
    let (port, [hop]) = hops(["127.0.0.2"]);
    let (of_all, of_route) = (NameServer::honest(""), NameServer::honest("x.test A 127.0.0.2"));
    let config = Config::new(folder.path(), "a")
        .maildir("[\"local.test\"]")
        .route(&format!(
            "to = [\"x.test\"]\nvia = \"mx\"\nport = {port}\nresolvers = [\"{}\"]",
            of_route.address
        ))
        .route(&format!("via = \"mx\"\nport = {port}"))
        .set("dns", "resolvers", &format!("[\"{}\"]", of_all.address));
    let relay = config.start();
    send(&relay, &["a@x.test", "a@y.test"]);
    hop.wait(1);
    relay.wait_log(&["bounced", "a@y.test", "5.1.2"]);
    assert_eq!((of_route.count("x.test", TYPE::MX), of_route.count("y.test", TYPE::MX)), (1, 0));
    assert_eq!((of_all.count("x.test", TYPE::MX), of_all.count("y.test", TYPE::MX)), (0, 1));
    relay.stop();
}

#[test]
fn a_host_that_takes_the_connection_and_fails_is_followed_by_the_next() {
    let folder = Folder::new("mxcut");
    let (port, [_friendly]) = hops(["127.0.0.3"]);
    let Ok(listener) = TcpListener::bind(("127.0.0.2", port)) else { return };
    let rude = NextHop::on(listener, |_, event| match event {
        Event::Connected => Act::Say("421 4.3.2 not now"),
        _ => Act::Friendly,
    });
    let server = NameServer::honest(
        "x.test MX 10 mx1.test\nx.test MX 20 mx2.test\nmx1.test A 127.0.0.2\nmx2.test A 127.0.0.3",
    );
    let config = config(&folder, &server.address.to_string(), port);
    let relay = config.start();
    send(&relay, &["a@x.test"]);
    relay.wait_log(&["delivered", "a@x.test", "mx2.test[127.0.0.3]"]);
    assert_eq!(rude.connections(), 1);
    relay.stop();
}

#[test]
fn a_family_that_leads_nowhere_is_passed_over() {
    let folder = Folder::new("mxfamily");
    let (port, [hop]) = hops(["127.0.0.2"]);
    // A full backlog: the kernel lets further connections wait, as a network does that drops them.
    let backlog = nix::sys::socket::Backlog::new(0).expect("a backlog");
    let listener = TcpListener::bind(("::1", port)).expect("the same port");
    nix::sys::socket::listen(&listener, backlog).expect("a smaller backlog");
    let to_nobody = listener.local_addr().expect("a bound socket");
    let patience = std::time::Duration::from_millis(200);
    let filling: Vec<_> =
        (0..8).map_while(|_| TcpStream::connect_timeout(&to_nobody, patience).ok()).collect();
    assert!(filling.len() < 8, "the backlog is full");
    let server = NameServer::honest(
        "x.test MX 10 mx.test
        mx.test AAAA ::1
        mx.test A 127.0.0.2",
    );
    let config = config(&folder, &server.address.to_string(), port);
    let relay = config.start();
    for messages in 1..=2 {
        send(&relay, &["a@x.test"]);
        hop.wait(messages);
    }
    config.wait_queue(0);
    let log = relay.stop().join("\n");
    assert!(!log.contains("deferred"), "{log}");
}

#[test]
fn while_no_name_server_answers_sessions_and_other_deliveries_go_on() {
    let folder = Folder::new("mxsilent");
    let server = NameServer::silent();
    let config = config(&folder, &server.address.to_string(), 25).set("dns", "timeout", "\"60s\"");
    let relay = config.start();
    send(&relay, &["a@x.test"]);
    wait_for("the question", || (server.count("x.test", TYPE::MX) > 0).then_some(()));
    // The helper waits for an answer now; nobody else does.
    send(&relay, &["me@local.test"]);
    wait_for("local mail", || maildir(&config.mailbox("me")).pop());
    config.wait_queue(1);
    let log = relay.log().join("\n");
    assert!(
        !log.contains("deferred") && !log.contains("does not work"),
        "the look-up is still pending:\n{log}"
    );
    relay.stop();
}

#[test]
fn look_ups_without_an_answer_leave_half_of_the_slots_to_others() {
    let folder = Folder::new("mxhalf");
    let (server, hop) = (NameServer::silent(), NextHop::friendly());
    let config = Config::new(folder.path(), "a")
        .route(&support::relay::smarthost("[\"known.test\"]", &hop.address()))
        .route("via = \"mx\"")
        .set("dns", "resolvers", &format!("[\"{}\"]", server.address))
        .set("dns", "timeout", "\"60s\"")
        .set("limits", "deliveries", "2");
    let relay = config.start();
    send(&relay, &["a@one.test", "a@two.test"]);
    send(&relay, &["a@three.test"]);
    wait_for("the question", || (!server.asked().is_empty()).then_some(()));
    send(&relay, &["a@known.test"]);
    hop.wait(1);
    let log = relay.log().join("\n");
    assert!(!log.contains("deferred"), "the look-up is still pending:\n{log}");
    relay.stop();
}

#[test]
fn check_warns_of_a_name_that_nobody_can_resolve() {
    let folder = Folder::new("mxcheck");
    let server = NameServer::honest("relay.known.org A 192.0.2.1");
    let warned = |hostname: &str| {
        let config =
            config(&folder, &server.address.to_string(), 25).set("", "hostname", &format!("{hostname:?}"));
        let output = config.run(&["check"], b"");
        assert!(output.status.success(), "a warning is no mistake");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    for name in ["relay.home.arpa", "relay", "relay.unknown.org"] {
        assert!(warned(name).contains(&format!("{name:?} is a name nobody can resolve")), "{name}");
    }
    assert!(!warned("relay.known.org").contains("resolve"));
    assert_eq!(server.count("relay.home.arpa", TYPE::A), 0, "known without asking");
}

/// A relay as mail exchanger of x.test, on its own port, with this certificate.
fn exchanger(folder: &Folder, name: &str, pair: &Pair) -> (Config, Relay) {
    let config = Config::new(folder.path(), name)
        .maildir("[\"x.test\"]")
        .set("tls", "certificate_file", &format!("{:?}", pair.certificate))
        .set("tls", "key_file", &format!("{:?}", pair.key));
    let relay = config.start();
    (config, relay)
}

#[test]
fn tls_is_used_where_it_is_offered_and_checked_where_it_is_demanded() {
    let folder = Folder::new("mxtls");
    let Some(authority) = Authority::new(folder.path(), "authority") else { return };
    let right = authority.issue_for("right", "EC:P-256", "DNS:mx.x.test", 30);
    let wrong = authority.issue_for("wrong", "EC:P-256", "DNS:x.test", 30);
    let server = NameServer::honest("x.test MX 10 mx.x.test\nmx.x.test A 127.0.0.1");
    for (name, pair, tls, delivered) in [
        ("any", &wrong, "", true),
        ("checked", &right, "tls = \"verify\"", true),
        ("refused", &wrong, "tls = \"verify\"", false),
    ] {
        let (last, hop) = exchanger(&folder, &format!("mx-{name}"), pair);
        let config = Config::new(folder.path(), &format!("relay-{name}"))
            .route(&format!("via = \"mx\"\nport = {}\n{tls}", hop.port))
            .set("tls", "ca_file", &format!("{:?}", authority.file()))
            .set("dns", "resolvers", &format!("[\"{}\"]", server.address));
        let relay = config.start();
        send(&relay, &["me@x.test"]);
        if delivered {
            relay.wait_log(&["delivered", "via=mx", "host=mx.x.test[127.0.0.1]", "tls=TLSv1.3"]);
            wait_for("the message", || maildir(&last.mailbox("me")).pop());
        } else {
            // The name that counts is the exchanger's, not the domain's.
            relay.wait_log(&["deferred", "4.7.5", "not for mx.x.test but for x.test"]);
            assert!(maildir(&last.mailbox("me")).is_empty());
        }
        relay.stop();
        hop.stop();
    }
}

#[test]
fn a_handshake_that_fails_is_followed_by_a_connection_in_the_clear() {
    let folder = Folder::new("mxclear");
    let hop = NextHop::scripted(|_, event| match event {
        Event::Hello(_) => Act::Say("250-next.test\r\n250 STARTTLS"),
        Event::Other(line) if line.eq_ignore_ascii_case("STARTTLS") => Act::Say("220 go on"),
        _ => Act::Friendly,
    });
    let server = NameServer::honest("x.test MX 10 mx.x.test\nmx.x.test A 127.0.0.1");
    for (name, tls, delivered) in [("may", "", true), ("must", "tls = \"verify\"", false)] {
        let config = Config::new(folder.path(), name)
            .route(&format!("via = \"mx\"\nport = {}\n{tls}", hop.port))
            .set("dns", "resolvers", &format!("[\"{}\"]", server.address));
        let relay = config.start();
        let before = (hop.connections(), hop.taken().len());
        send(&relay, &["me@x.test"]);
        relay.wait_log(if delivered { &["delivered", "tls=none"] } else { &["deferred", "451 4.7.5"] });
        assert_eq!(relay.log().iter().any(|line| line.contains("going on without")), delivered);
        let after = (hop.connections(), hop.taken().len());
        let more = usize::from(delivered);
        assert_eq!(after, (before.0 + 1 + more, before.1 + more), "{name}");
        relay.stop();
    }
}
