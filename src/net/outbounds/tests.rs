//! Slots over real sockets, by a clock that the test holds.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;
use std::{iter, thread};

use mio::{Events, Poll};

use super::*;
use crate::limits::{IDLE_CONNECTION_S, SCRATCH_OCTETS};
use crate::net::tls::Dials;
use crate::relay::bench::{Bench, NOW, after};

/// Takes everything, tells the lines it hears, and never answers this one.
fn serve(listener: &TcpListener, heard: &Sender<String>, silent: &'static str) {
    for stream in listener.incoming().map_while(Result::ok) {
        let heard = heard.clone();
        thread::spawn(move || converse(stream, &heard, silent));
    }
}

fn converse(stream: TcpStream, heard: &Sender<String>, silent: &str) -> Option<()> {
    let mut says = stream.try_clone().ok()?;
    let mut say = |reply: &str| says.write_all(format!("{reply}\r\n").as_bytes()).ok();
    say("220 hop")?;
    let mut in_content = false;
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        in_content = match (in_content, line.as_str()) {
            (_, said) if said == silent => false,
            (true, ".") => say("250 taken").map(|()| false)?,
            (false, "DATA") => say("354 go on").map(|()| true)?,
            (false, _) => say("250 hop").map(|()| false)?,
            (true, _) => continue,
        };
        heard.send(line).ok()?;
    }
    None
}

/// A loop in small.
struct Turns {
    poll: Poll,
    outbounds: Outbounds,
    dialler: Dialler,
    bench: Bench,
    heard: Receiver<String>,
}

impl Turns {
    /// One turn at that time.
    fn turn(&mut self, now: Now) {
        let Self { poll, outbounds, bench, .. } = self;
        let mut events = Events::with_capacity(16);
        poll.poll(&mut events, Some(Duration::from_millis(5))).unwrap();
        events.iter().for_each(|event| outbounds.notice(event.token().0, event));
        bench.relay.begin_turn();
        let group = bench.group(now);
        self.with(now, |outbounds, kit| {
            group.into_iter().for_each(|group| outbounds.begin(group, kit));
            outbounds.work(kit);
        });
    }

    fn with(&mut self, now: Now, work: impl FnOnce(&mut Outbounds, &mut Kit<'_>)) {
        let Self { poll, outbounds, dialler, bench, .. } = self;
        let (relay, scratch) = (&mut bench.relay, &mut [0; SCRATCH_OCTETS][..]);
        let registry = poll.registry();
        work(outbounds, &mut Kit { hostname: "box.example", scratch, relay, dialler, registry, now });
    }

    /// Turns until the next hop has heard that line.
    fn until(&mut self, line: &str, now: Now) {
        let heard = iter::repeat_with(|| {
            self.turn(now);
            self.heard.try_iter().any(|heard| heard == line)
        });
        assert!(heard.take(2_000).any(|heard| heard), "the next hop never heard {line:?}");
    }
}

/// Everything goes to a next hop that never answers this line.
fn turns(name: &str, silent: &'static str) -> Turns {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, heard) = mpsc::channel();
    thread::spawn(move || serve(&listener, &tell, silent));
    let route = format!("[[route]]\nvia = \"smarthost\"\nhosts = [\"127.0.0.1:{port}\"]\ntls = \"none\"\n");
    let bench = Bench::with(name, &route);
    let outbounds = Outbounds::start(2, 0, || ()).unwrap();
    let dialler = Dialler::new(Dials::load(&bench.relay.config()).unwrap(), 0, 0);
    Turns { poll: Poll::new().unwrap(), outbounds, dialler, bench, heard }
}

#[test]
fn what_takes_too_long_is_broken_off_unless_the_server_may_have_it() {
    for (silent, is_waited_for) in [("DATA", false), (".", true)] {
        let mut turns = turns("break-off", silent);
        turns.bench.message("a@b.example", 1, b"x\r\n");
        turns.until(silent, NOW);
        turns.with(NOW, Outbounds::break_off);
        assert_eq!(turns.bench.relay.is_delivering(), is_waited_for, "{silent}");
        assert_eq!(turns.bench.relay.counters.deferred, u64::from(!is_waited_for));
        assert_eq!(turns.outbounds.used().0, usize::from(is_waited_for));
    }
}

#[test]
fn a_connection_that_has_said_quit_takes_no_more_messages() {
    let mut turns = turns("quit", "QUIT");
    turns.bench.message("a@b.example", 1, b"first\r\n");
    turns.until(".", NOW);
    // All is said and done; then nothing comes for so long that the connection is ended.
    while turns.bench.relay.is_delivering() {
        turns.turn(NOW);
    }
    let idle = after(u64::from(IDLE_CONNECTION_S) * 1000 + 1);
    turns.until("QUIT", idle);
    assert_eq!(turns.outbounds.used().0, 1, "the server's answer is waited for");
    turns.bench.message("a@b.example", 1, b"second\r\n");
    turns.until(".", idle);
    while turns.bench.relay.is_delivering() {
        turns.turn(idle);
    }
    assert_eq!(turns.bench.relay.counters.deferred, 0);
    assert_eq!(turns.bench.relay.counters.delivered, 2);
}
