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

#[test]
fn a_peer_that_goes_away_during_the_commit_keeps_its_slot_until_the_answer() {
    let mut bench = Bench::new("commit");
    let config = bench.relay.config();
    let mut secrets = Secrets::start(|| ()).unwrap();
    let (ours, mut peer) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let transport = Transport::Unix(mio::net::UnixStream::from_std(ours));
    let client = Client::of(&config, Remote::User(0), Role::Submission);
    let terms = client.terms(&config, Tls::NotOffered, Mechanisms::NONE);
    let mut inbound = Inbound::open(transport, client, false, &terms, &[], NOW.mono_ms);
    assert_eq!(run(&mut inbound, &mut bench, &mut secrets), Turn::Wait, "greeted");
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
