//! A slot over a socket of its own, and a relay whose disk answers when the test says so.

use std::io::Write;
use std::os::unix::net::UnixStream;

use super::*;
use crate::limits::SCRATCH_OCTETS;
use crate::relay::Verdict as Outcome;
use crate::relay::bench::{Bench, NOW};
use crate::relay::client::Remote;
use crate::smtp::server::Role;

/// Lets the slot work once.
fn run(inbound: &mut Inbound, bench: &mut Bench, secrets: &mut Secrets) -> Turn {
    let config = bench.relay.config();
    let terms = inbound.terms(&config, Mechanisms::NONE);
    let (scratch, acceptor) = (&mut [0; SCRATCH_OCTETS][..], &Acceptor::new(None, 0, 0));
    let relay = &mut bench.relay;
    inbound.run(0, &mut With { terms: &terms, scratch, relay, acceptor, secrets, now: NOW })
}

/// A greeted client, and its own end of the connection.
fn open(bench: &mut Bench, remote: Remote, secrets: &mut Secrets) -> (Inbound, UnixStream) {
    let config = bench.relay.config();
    let (ours, peer) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let transport = Transport::Unix(mio::net::UnixStream::from_std(ours));
    let client = Client::of(&config, remote, Role::Relay);
    let terms = client.terms(&config, Tls::NotOffered, Mechanisms::NONE);
    let mut inbound = Inbound::open(transport, client, false, &terms, &[], NOW.mono_ms);
    assert_eq!(run(&mut inbound, bench, secrets), Turn::Wait, "greeted");
    (inbound, peer)
}

#[test]
fn a_peer_that_goes_away_during_the_commit_keeps_its_slot_until_the_answer() {
    let mut bench = Bench::new("commit");
    let config = bench.relay.config();
    let mut secrets = Secrets::start(|| ()).unwrap();
    let (mut inbound, mut peer) = open(&mut bench, Remote::User(0), &mut secrets);
    let terms = inbound.client.terms(&config, Tls::NotOffered, Mechanisms::NONE);
    let all = b"EHLO a\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@box.example>\r\nDATA\r\nSubject: x\r\n\r\nx\r\n.\r\n";
    peer.write_all(all).unwrap();
    drop(peer);
    inbound.ready().refresh();
    // Again and again it finds that nobody hears the replies.
    for _ in 0..3 {
        inbound.ready().refresh();
        assert_eq!(run(&mut inbound, &mut bench, &mut secrets), Turn::Wait);
        assert!(inbound.is_committing());
    }
    bench.relay.start_batch(0);
    let (slot, outcome) = bench.relay.committed(NOW).unwrap();
    assert!(slot == 0 && matches!(outcome, Outcome::Accepted(_)), "{outcome:?}");
    outcome.with_answer(|answer| inbound.answer(&terms, answer, 1));
    assert_eq!(run(&mut inbound, &mut bench, &mut secrets), Turn::Over);
    bench.relay.abandon(slot);
    bench.message("another@b.example", 1, b"the slot is free");
}

#[test]
fn a_stranger_lasts_by_what_it_brings_while_others_find_no_slot() {
    let mut bench = Bench::new("crowded");
    let mut secrets = Secrets::start(|| ()).unwrap();
    let timeouts = Timeouts { command_ms: 300_000, data_ms: 600_000, session_ms: 3_600_000 };
    let (trusted, stranger) = ("127.0.0.1".parse().unwrap(), "192.0.2.1".parse().unwrap());
    let (inbound, _peer) = open(&mut bench, Remote::Host(trusted), &mut secrets);
    assert_eq!(inbound.deadline_ms(&timeouts, true), Some(NOW.mono_ms + timeouts.command_ms));
    let (mut inbound, mut peer) = open(&mut bench, Remote::Host(stranger), &mut secrets);
    assert_eq!(inbound.deadline_ms(&timeouts, false), Some(NOW.mono_ms + timeouts.command_ms));
    assert_eq!(inbound.deadline_ms(&timeouts, true), Some(NOW.mono_ms + CROWDED_MS));
    let mut say = |inbound: &mut Inbound, octets: &[u8]| {
        peer.write_all(octets).unwrap();
        inbound.ready().refresh();
        run(inbound, &mut bench, &mut secrets);
        inbound.deadline_ms(&timeouts, true)
    };
    let commands =
        b"NOOP\r\nEHLO a.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@box.example>\r\nDATA\r\n";
    assert_eq!(say(&mut inbound, commands), Some(NOW.mono_ms + CROWDED_MS), "commands are nothing brought");
    let content = say(&mut inbound, &[b"x".repeat(998).as_slice(), b"\r\n"].concat());
    assert_eq!(content, Some(NOW.mono_ms + CROWDED_MS + 1000));
    // Its last words have the time that all have.
    inbound.shut(&Reply::new(421, (4, 2), "timed out, closing the connection"));
    assert_eq!(say(&mut inbound, b""), Some(NOW.mono_ms + CLOSING_MS));
}

#[test]
fn strangers_with_a_thousand_commands_let_others_have_their_turn() {
    let mut bench = Bench::new("flood");
    let mut secrets = Secrets::start(|| ()).unwrap();
    for (address, turn) in [("127.0.0.1", Turn::Wait), ("192.0.2.1", Turn::Again)] {
        let remote = Remote::Host(address.parse().unwrap());
        let (mut inbound, mut peer) = open(&mut bench, remote, &mut secrets);
        peer.write_all(&b"NOOP\r\n".repeat(1000)).unwrap();
        inbound.ready().refresh();
        assert_eq!(run(&mut inbound, &mut bench, &mut secrets), turn, "{address}");
    }
}
