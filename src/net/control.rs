//! The control socket: four small slots in which `queue` and `status` are answered; and two more that
//! answer a scraper of metrics over HTTP.
//!
//! A slot reads one line, answers it piece by piece through a fixed buffer, and closes. Whoever may
//! open the socket can send anything and read as slowly as he likes: it costs him his slot after ten
//! seconds without progress, or at once if he has said nothing and another one comes.

use std::mem;
use std::ops::Range;

use log::warn;
use mio::{Interest, Registry, Token};

use super::http::{self, HeaderEnd};
use super::transport::{Moved, Transport, read_once, write_once};
use crate::relay::desk::{Answering, Desk, write_error};
use crate::relay::health::Figures;
use crate::relay::report::{Output, PIECE_OCTETS};
use crate::relay::request::{REQUEST_OCTETS, Request};
use crate::smtp::buffer::Buffer;
use crate::sys::Now;

/// Connections that are answered at once.
pub const CONTROLS: usize = 4;
/// The same of scrapers.
pub const SCRAPERS: usize = 2;
/// Pieces that one slot tells in one turn of the loop.
const PIECES: usize = 8;
/// A slot without progress for that long is closed, in milliseconds; the request has no longer in all.
const PATIENCE_MS: u64 = 10_000;
/// While an answer waits for the disk it is looked at that often, in milliseconds.
const SYNC_MS: u64 = 10;
/// EX_USAGE.
const USAGE: u8 = 64;

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tongue {
    /// One line asks, and `ok` or an error stands before the answer.
    Plain,
    /// HTTP.
    Http,
}

/// What a slot does.
#[derive(Debug)]
enum Phase {
    /// Its request comes in.
    Reading(Buffer<REQUEST_OCTETS>),
    /// Its request is known, and what HTTP says beside it is read and forgotten.
    Skipping(Result<Request, &'static str>, HeaderEnd),
    /// Its answer goes out.
    Answering(Answering),
}

/// What a slot needs after it ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// Its socket tells when to go on.
    Wait,
    /// The disk does, but not to us.
    WaitForDisk,
    /// Another turn.
    Again,
    /// The connection is over.
    Over,
}

#[derive(Debug)]
struct Control {
    transport: Transport,
    tongue: Tongue,
    phase: Phase,
    output: Output,
    readable: bool,
    writable: bool,
    /// The last progress.
    since_ms: u64,
    turn: Turn,
}

/// All slots.
#[derive(Debug)]
pub struct Controls {
    /// Those of [`Tongue::Http`] stand behind the others.
    slots: Box<[Option<Control>]>,
    first_token: usize,
    now_ms: u64,
}

impl Controls {
    /// Octets of heap that the slots take, with those for scrapers or without.
    pub const fn octets(metrics: bool) -> usize {
        (CONTROLS + if metrics { SCRAPERS } else { 0 }) * size_of::<Option<Control>>()
    }

    /// Empty slots, with those for scrapers or without; `first_token` is the poll's token of the first.
    pub fn new(first_token: usize, metrics: bool) -> Self {
        let slots = CONTROLS + if metrics { SCRAPERS } else { 0 };
        Self { slots: (0..slots).map(|_| None).collect(), first_token, now_ms: 0 }
    }

    /// Takes a connection. Without a free slot it takes the place of one that has said nothing, so that
    /// silence keeps nobody out; if all have, it is closed.
    pub fn open(&mut self, mut transport: Transport, tongue: Tongue, registry: &Registry, now: Now) {
        let places = match tongue {
            Tongue::Plain => 0..CONTROLS,
            Tongue::Http => CONTROLS..self.slots.len(),
        };
        let free = places.clone().find(|&place| self.slots[place].is_none());
        let Some(free) = free.or_else(|| self.longest_silent(places)) else { return };
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(e) = registry.register(&mut transport, Token(self.first_token + free), interest) {
            return warn!("a new control connection can't be watched: {e}");
        }
        self.slots[free] = Some(Control {
            transport,
            tongue,
            phase: Phase::Reading(Buffer::new()),
            output: Output::new(),
            readable: true,
            writable: true,
            since_ms: now.mono_ms,
            turn: Turn::Again,
        });
    }

    fn longest_silent(&mut self, places: Range<usize>) -> Option<usize> {
        let silent = places.clone().zip(&mut self.slots[places]).filter_map(|(at, slot)| {
            let control = slot.as_mut()?;
            control.is_silent().then_some((control.since_ms, at))
        });
        silent.min().map(|(_, at)| at)
    }

    /// The poll's news of a slot.
    pub fn notice(&mut self, slot: usize, readable: bool, writable: bool) {
        if let Some(Some(control)) = self.slots.get_mut(slot) {
            control.readable |= readable;
            control.writable |= writable;
            control.turn = Turn::Again;
        }
    }

    /// Goes on with every request, a bounded amount.
    pub fn work(&mut self, desk: &mut impl Desk, figures: &Figures, now: Now) {
        self.now_ms = now.mono_ms;
        for slot in &mut self.slots {
            let Some(control) = slot else { continue };
            if control.turn != Turn::Wait {
                control.turn = control.run(desk, figures, now);
            }
            let is_late = control.deadline_ms() <= now.mono_ms;
            if control.turn == Turn::Over || is_late {
                // Dropping it takes it out of the poll.
                *slot = None;
            }
        }
    }

    /// True if a slot could work on at once.
    pub fn is_busy(&self) -> bool {
        self.slots.iter().flatten().any(|c| c.turn == Turn::Again)
    }

    /// When the next turn has to be, if nothing happens before.
    pub fn next_ms(&self) -> Option<u64> {
        let next = |control: &Control| match control.turn {
            Turn::WaitForDisk => self.now_ms + SYNC_MS,
            Turn::Wait | Turn::Again | Turn::Over => control.deadline_ms(),
        };
        self.slots.iter().flatten().map(next).min()
    }
}

impl Control {
    fn deadline_ms(&self) -> u64 {
        self.since_ms + PATIENCE_MS
    }

    /// True if not one octet of a request came, even now.
    fn is_silent(&mut self) -> bool {
        let Phase::Reading(input) = &mut self.phase else { return false };
        if input.is_empty()
            && let Moved::Octets(n) = read_once(&mut self.transport, input.room())
        {
            input.advance(n);
            self.turn = Turn::Again;
        }
        input.is_empty()
    }

    fn run(&mut self, desk: &mut impl Desk, figures: &Figures, now: Now) -> Turn {
        for _ in 0..PIECES {
            let turn = match mem::replace(&mut self.phase, Phase::Answering(Answering::Over)) {
                Phase::Reading(input) => self.read(input, desk, now),
                Phase::Skipping(request, end) => self.skip(request, end, desk, now),
                Phase::Answering(answering) => self.answer(answering, desk, figures, now),
            };
            if turn != Turn::Again {
                return turn;
            }
        }
        Turn::Again
    }

    /// Reads until there is a line.
    fn read(&mut self, mut input: Buffer<REQUEST_OCTETS>, desk: &mut impl Desk, now: Now) -> Turn {
        let filled = input.filled();
        let line = match filled.iter().position(|&octet| octet == b'\n') {
            Some(end) => filled.get(..end),
            // More can't make it a request: garbage, to be answered as such.
            None if input.free() == 0 => Some(filled),
            None => None,
        };
        if let Some(line) = line
            && self.tongue == Tongue::Http
        {
            let (request, mut end) = (http::read(line), HeaderEnd::new());
            self.since_ms = now.mono_ms;
            return match end.read(filled.get(line.len() + 1..).unwrap_or_default()) {
                true => self.begin(request, desk, now),
                false => {
                    self.phase = Phase::Skipping(request, end);
                    Turn::Again
                }
            };
        }
        if let Some(line) = line {
            let answering = match Request::parse(line) {
                Some(request) => desk.ask(&request, &mut self.output, now),
                None => refuse(&mut self.output),
            };
            self.since_ms = now.mono_ms;
            self.phase = Phase::Answering(answering);
            return Turn::Again;
        }
        let turn = match self.readable {
            false => Turn::Wait,
            true => match read_once(&mut self.transport, input.room()) {
                Moved::Octets(n) => {
                    input.advance(n);
                    Turn::Again
                }
                Moved::Nothing => {
                    self.readable = false;
                    Turn::Wait
                }
                Moved::End | Moved::Broken => Turn::Over,
            },
        };
        self.phase = Phase::Reading(input);
        turn
    }

    /// Reads the rest of a request that HTTP brings, of no interest here.
    fn skip(
        &mut self,
        request: Result<Request, &'static str>,
        mut end: HeaderEnd,
        desk: &mut impl Desk,
        now: Now,
    ) -> Turn {
        let mut scratch = [0; 512];
        let turn = match self.readable {
            false => Turn::Wait,
            true => match read_once(&mut self.transport, &mut scratch) {
                Moved::Octets(n) if end.read(&scratch[..n]) => return self.begin(request, desk, now),
                Moved::Octets(_) => Turn::Again,
                Moved::Nothing => {
                    self.readable = false;
                    Turn::Wait
                }
                Moved::End | Moved::Broken => Turn::Over,
            },
        };
        self.phase = Phase::Skipping(request, end);
        turn
    }

    /// Begins an answer over HTTP.
    fn begin(&mut self, request: Result<Request, &'static str>, desk: &mut impl Desk, now: Now) -> Turn {
        // It fits: the buffer is empty.
        let answering = match request {
            Ok(request) => {
                let _ = http::write_head(&mut self.output);
                desk.ask(&request, &mut self.output, now)
            }
            Err(status) => {
                let _ = http::write_refusal(status, &mut self.output);
                Answering::Over
            }
        };
        self.phase = Phase::Answering(answering);
        Turn::Again
    }

    /// Tells the next piece and sends what there is.
    fn answer(&mut self, answering: Answering, desk: &mut impl Desk, figures: &Figures, now: Now) -> Turn {
        let answering = if self.output.free() >= PIECE_OCTETS {
            desk.tell(answering, figures, &mut self.output, now)
        } else {
            answering
        };
        let (is_over, is_waiting) = (matches!(answering, Answering::Over), answering.is_waiting());
        self.phase = Phase::Answering(answering);
        if is_waiting {
            // The peer is not late while we are.
            self.since_ms = now.mono_ms;
        }
        match self.send(now) {
            Turn::Again if is_over => self.end(),
            Turn::Again if is_waiting => Turn::WaitForDisk,
            turn => turn,
        }
    }

    /// Sends all of the output, or tells why not.
    fn send(&mut self, now: Now) -> Turn {
        while !self.output.is_empty() {
            if !self.writable {
                return Turn::Wait;
            }
            match write_once(&mut self.transport, self.output.filled()) {
                Moved::Octets(n) => {
                    self.output.consume(n);
                    self.since_ms = now.mono_ms;
                }
                Moved::Nothing => self.writable = false,
                Moved::End | Moved::Broken => return Turn::Over,
            }
        }
        Turn::Again
    }

    /// Closes so that the answer arrives: what the peer sent beyond its request would make the close a
    /// reset.
    fn end(&mut self) -> Turn {
        self.transport.finish();
        let mut surplus = [0; 512];
        for _ in 0..PIECES {
            if !matches!(read_once(&mut self.transport, &mut surplus), Moved::Octets(_)) {
                break;
            }
        }
        Turn::Over
    }
}

/// Answers what is no request.
fn refuse(out: &mut Output) -> Answering {
    // It fits: the buffer is empty.
    let _ = write_error(USAGE, "that is no request", out);
    Answering::Over
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use mio::Poll;
    use proptest::prelude::*;

    use super::*;
    use crate::relay::report::Form;

    /// Answers `list` with so many pieces, and says of all else what it understood.
    struct Echo {
        pieces: usize,
    }

    impl Desk for Echo {
        fn ask(&mut self, request: &Request, out: &mut Output, _: Now) -> Answering {
            let _ = writeln!(out, "ok {request}");
            match request {
                Request::List { .. } => {
                    Answering::List { form: Form::Text, next: 0, count: 0, current: None }
                }
                _ => Answering::Over,
            }
        }

        fn tell(&mut self, answering: Answering, _: &Figures, out: &mut Output, _: Now) -> Answering {
            match answering {
                Answering::List { form, next, count, current } if next < self.pieces => {
                    assert!(out.push(&[b'x'; PIECE_OCTETS]));
                    Answering::List { form, next: next + 1, count, current }
                }
                _ => Answering::Over,
            }
        }
    }

    fn at(mono_ms: u64) -> Now {
        Now { mono_ms, unix_s: 0 }
    }

    struct Bench {
        poll: Poll,
        tongue: Tongue,
        controls: Controls,
        desk: Echo,
    }

    impl Bench {
        fn speaking(tongue: Tongue, pieces: usize) -> Self {
            let controls = Controls::new(7, true);
            Self { poll: Poll::new().unwrap(), tongue, controls, desk: Echo { pieces } }
        }

        fn new(pieces: usize) -> Self {
            Self::speaking(Tongue::Plain, pieces)
        }

        fn connect(&mut self) -> UnixStream {
            let (near, far) = UnixStream::pair().unwrap();
            near.set_nonblocking(true).unwrap();
            far.set_nonblocking(true).unwrap();
            let near = Transport::Unix(mio::net::UnixStream::from_std(near));
            self.controls.open(near, self.tongue, self.poll.registry(), at(0));
            far
        }

        fn work(&mut self, mono_ms: u64) {
            for slot in 0..CONTROLS + SCRAPERS {
                self.controls.notice(slot, true, true);
            }
            self.controls.work(&mut self.desk, &Figures::default(), at(mono_ms));
        }

        fn used(&self) -> usize {
            self.controls.slots.iter().flatten().count()
        }

        /// All that comes until the connection is closed.
        fn answer(&mut self, far: &mut UnixStream) -> Vec<u8> {
            let (mut answer, mut room) = (Vec::new(), [0; 4096]);
            for _ in 0..10_000 {
                self.work(0);
                match far.read(&mut room) {
                    Ok(0) => return answer,
                    Ok(n) => answer.extend_from_slice(&room[..n]),
                    Err(_) => {}
                }
            }
            panic!("no end of the answer");
        }
    }

    #[test]
    fn a_request_is_answered_and_the_connection_closed() {
        let mut bench = Bench::new(0);
        let mut far = bench.connect();
        far.write_all(b"status").unwrap();
        bench.work(0);
        far.write_all(b" --json\n").unwrap();
        assert_eq!(bench.answer(&mut far), b"ok status --json\n");
        assert_eq!(bench.used(), 0);
    }

    #[test]
    fn a_long_answer_comes_whole_to_a_slow_reader() {
        let mut bench = Bench::new(500);
        let mut far = bench.connect();
        far.write_all(b"list\n").unwrap();
        bench.work(0);
        assert_eq!(bench.answer(&mut far).len(), b"ok list\n".len() + 500 * PIECE_OCTETS);
    }

    #[test]
    fn garbage_gets_an_error_even_with_more_behind_it() {
        for garbage in [&b"EHLO x\r\nlist\n"[..], &[b'a'; 3000], &[0xff; REQUEST_OCTETS]] {
            let mut bench = Bench::new(0);
            let mut far = bench.connect();
            far.write_all(garbage).unwrap();
            assert_eq!(bench.answer(&mut far), b"error 64 that is no request\n");
        }
    }

    #[test]
    fn http_is_answered_once_its_header_is_over() {
        for (asked, answered) in [
            (&["GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"][..], "HTTP/1.1 200 OK\r\n"),
            (
                &["GET /met", "rics HTTP/1.1\r", "\nAccept: ", &"x".repeat(300), "\r\n\r", "\n"],
                "HTTP/1.1 200 OK\r\n",
            ),
            (&["GET /other HTTP/1.0\r\n\r\n"], "HTTP/1.1 404 Not Found\r\n"),
            (&["POST /metrics HTTP/1.1\r\n\r\nbody"], "HTTP/1.1 405 Method Not Allowed\r\n"),
            (&["list\n", "\n"], "HTTP/1.1 400 Bad Request\r\n"),
            (&["GET /metrics HTTP/1.1\nA: ", &"endless".repeat(2000)], "HTTP/1.1 200 OK\r\n"),
            (
                &["GET /", &"x".repeat(2 * REQUEST_OCTETS), " HTTP/1.1\r\n\r\n"],
                "HTTP/1.1 400 Bad Request\r\n",
            ),
        ] {
            let mut bench = Bench::speaking(Tongue::Http, 0);
            let mut far = bench.connect();
            for piece in asked {
                far.write_all(piece.as_bytes()).unwrap();
                bench.work(0);
            }
            let answer = String::from_utf8(bench.answer(&mut far)).unwrap();
            assert!(answer.starts_with(answered), "{asked:?}: {answer}");
            assert_eq!(answer.ends_with("\r\n\r\nok metrics\n"), answered.contains("200"), "{answer}");
        }
    }

    #[test]
    fn a_header_in_drops_is_late() {
        let mut bench = Bench::speaking(Tongue::Http, 0);
        let mut far = bench.connect();
        far.write_all(b"GET /metrics HTTP/1.1\r\n").unwrap();
        bench.work(1000);
        for n in 1..10 {
            far.write_all(b"x").unwrap();
            bench.work(n * 1000);
        }
        assert_eq!(bench.used(), 1);
        bench.work(1000 + PATIENCE_MS);
        assert_eq!(bench.used(), 0);
    }

    #[test]
    fn the_silent_and_the_deaf_lose_their_slots() {
        let mut bench = Bench::new(usize::MAX);
        let silent = bench.connect();
        let mut deaf = bench.connect();
        deaf.write_all(b"list\n").unwrap();
        bench.work(5);
        while bench.controls.is_busy() {
            bench.controls.work(&mut bench.desk, &Figures::default(), at(5));
        }
        assert_eq!(bench.used(), 2);
        assert_eq!(bench.controls.next_ms(), Some(PATIENCE_MS));
        bench.controls.work(&mut bench.desk, &Figures::default(), at(PATIENCE_MS));
        assert_eq!(bench.used(), 1);
        bench.controls.work(&mut bench.desk, &Figures::default(), at(PATIENCE_MS + 5));
        assert_eq!(bench.used(), 0);
        drop((silent, deaf));
    }

    #[test]
    fn a_request_in_drops_is_late_all_the_same() {
        let mut bench = Bench::new(0);
        let mut far = bench.connect();
        for n in 0..10 {
            far.write_all(b"s").unwrap();
            bench.work(n * 1000);
        }
        assert_eq!(bench.used(), 1);
        bench.work(PATIENCE_MS);
        assert_eq!(bench.used(), 0);
    }

    #[test]
    fn silence_keeps_nobody_out() {
        let mut bench = Bench::new(0);
        let mut silent: Vec<_> = (0..CONTROLS).map(|_| bench.connect()).collect();
        bench.work(0);
        let mut one_more = bench.connect();
        assert_eq!(silent[0].read(&mut [0]).unwrap(), 0, "the first has to go");
        one_more.write_all(b"status\n").unwrap();
        assert_eq!(bench.answer(&mut one_more), b"ok status\n");
    }

    #[test]
    fn one_too_many_is_closed_when_all_have_spoken() {
        let mut bench = Bench::new(0);
        let mut kept: Vec<_> = (0..CONTROLS).map(|_| bench.connect()).collect();
        kept.iter_mut().for_each(|far| far.write_all(b"status\n").unwrap());
        let mut surplus = bench.connect();
        assert_eq!(surplus.read(&mut [0]).unwrap(), 0);
        for far in &mut kept {
            assert_eq!(bench.answer(far), b"ok status\n");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn whatever_is_sent_the_slot_is_free_again(sent in proptest::collection::vec(any::<u8>(), 0..600), cut in 0..600_usize) {
            let mut bench = Bench::new(1);
            let mut far = bench.connect();
            let (first, second) = sent.split_at(cut.min(sent.len()));
            far.write_all(first).unwrap();
            bench.work(0);
            // It may have been answered and closed meanwhile.
            let _ = far.write_all(second);
            bench.work(1);
            drop(far);
            bench.work(2);
            prop_assert_eq!(bench.used(), 0);
        }
    }
}
