//! One TLS connection between its two fixed buffers. It does no I/O.
//!
//! What comes from the wire goes into [`Pump::room`]; a record is decrypted when there is nothing
//! left to read of the one before, because its text is put into the place where the records stood.
//! What is to go out is in [`Pump::outgoing`]. rustls hands over a record to be sent only once, so
//! it is asked for nothing unless there is room for a whole one.

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, UnbufferedStatus};
use rustls::{CommonState, Error, HandshakeKind};

use super::failure::{Failure, First, Side};
use crate::limits::{TLS_INPUT_OCTETS, TLS_OUTPUT_OCTETS, TLS_RECORD_OCTETS};

/// Output room for any record of ours with its header, tag, and a key update before it.
const RECORD_ROOM: usize = TLS_RECORD_OCTETS + 256;
/// Octets of text that go into one record: rustls counts the header in.
const PIECE_OCTETS: usize = TLS_RECORD_OCTETS - 5;

const _: () = assert!(RECORD_ROOM <= TLS_OUTPUT_OCTETS);

/// Either side of a connection.
pub enum Connection {
    /// We were dialled.
    Server(UnbufferedServerConnection),
    /// We dialled.
    Client(UnbufferedClientConnection),
}

/// What is wanted of rustls beside what has to be done anyway.
enum Want<'a> {
    Nothing,
    /// The text of the record that was decrypted, to be put here; and how much it was.
    Text(&'a mut [u8], &'a mut usize),
    /// This to be sent, all of it in one record.
    Encrypt(&'a [u8]),
    /// Our end to be said.
    Close,
    #[cfg(test)]
    Refresh,
}

/// What rustls did.
enum Event {
    /// Something of the handshake, or a record of its own to be sent; there may be more.
    Progress,
    /// A record was decrypted; its text waits, or was put where it was wanted.
    Text,
    /// What was wanted is in the output.
    Done,
    /// It needs more from the wire. The handshake is not over.
    Blocked,
    /// The same, and the handshake is over.
    Idle,
    /// The peer has said its end.
    PeerClosed,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Handshake,
    Traffic,
    /// The peer has said that nothing more comes.
    PeerClosed,
    /// Nothing goes any more.
    Failed,
}

/// What [`Pump::process`] needs now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// More octets of the wire in [`Pump::room`].
    Input,
    /// Room for a record: [`Pump::outgoing`] to be sent.
    Output,
    /// Somebody to read what was decrypted.
    Reader,
    /// Nothing: the peer has said its end, and all before it was read.
    Nothing,
}

/// A fixed buffer on the heap, made once: filled at the back, consumed at the front.
#[derive(Debug)]
struct Records {
    octets: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Records {
    fn new(octets: usize) -> Self {
        Self { octets: vec![0; octets].into_boxed_slice(), start: 0, end: 0 }
    }

    fn filled(&self) -> &[u8] {
        &self.octets[self.start..self.end]
    }

    fn filled_mut(&mut self) -> &mut [u8] {
        &mut self.octets[self.start..self.end]
    }

    fn free(&self) -> usize {
        self.octets.len() - (self.end - self.start)
    }

    /// All the room there is, behind what is filled, which is moved to the front.
    fn room(&mut self) -> &mut [u8] {
        self.octets.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        &mut self.octets[self.end..]
    }

    fn advance(&mut self, n: usize) {
        assert!(n <= self.octets.len() - self.end);
        self.end += n;
    }

    fn consume(&mut self, n: usize) {
        assert!(n <= self.end - self.start);
        self.start += n;
    }

    fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }
}

/// One connection with its buffers.
pub struct Pump {
    connection: Option<Connection>,
    phase: Phase,
    /// Records as they came and are not used up. While `text` is not empty, it stands before them.
    incoming: Records,
    /// Decrypted and not read yet: where it stands in the buffer of `incoming`.
    text: std::ops::Range<usize>,
    outgoing: Records,
    /// Reading came to a halt because the output was full.
    is_held_up: bool,
    failure: Option<Failure>,
    first: First,
}

impl Pump {
    /// Octets of heap that one takes with its buffers.
    pub const OCTETS: usize = size_of::<Self>() + TLS_INPUT_OCTETS + TLS_OUTPUT_OCTETS;

    /// Buffers without a connection.
    pub(super) fn new() -> Self {
        Self {
            connection: None,
            phase: Phase::Failed,
            incoming: Records::new(TLS_INPUT_OCTETS),
            text: 0..0,
            outgoing: Records::new(TLS_OUTPUT_OCTETS),
            is_held_up: false,
            failure: None,
            first: First::new(),
        }
    }

    /// Begins a connection.
    pub(super) fn start(&mut self, connection: Connection) {
        self.stop();
        self.connection = Some(connection);
        self.phase = Phase::Handshake;
    }

    /// Forgets the connection and what is left in the buffers.
    pub(super) fn stop(&mut self) {
        self.connection = None;
        self.phase = Phase::Failed;
        self.incoming.clear();
        self.outgoing.clear();
        self.text = 0..0;
        (self.is_held_up, self.failure) = (false, None);
        self.first.clear();
    }

    /// True until both sides have agreed on keys.
    pub fn is_handshaking(&self) -> bool {
        self.phase == Phase::Handshake
    }

    /// True if anything has come from the peer.
    pub fn has_received(&self) -> bool {
        !self.first.is_empty()
    }

    /// Why it came to nothing, if it did.
    pub fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    /// The version as it is logged, `TLSv1.3`; "none" before there is one.
    pub fn version(&self) -> &'static str {
        use rustls::ProtocolVersion;
        match self.common().and_then(CommonState::protocol_version) {
            Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
            Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "none",
        }
    }

    /// The cipher suite by its registered name; "none" before there is one.
    pub fn cipher(&self) -> &'static str {
        use rustls::CipherSuite as Suite;
        match self.common().and_then(CommonState::negotiated_cipher_suite).map(|suite| suite.suite()) {
            // rustls has names of its own for those of TLS 1.3.
            Some(Suite::TLS13_AES_128_GCM_SHA256) => "TLS_AES_128_GCM_SHA256",
            Some(Suite::TLS13_AES_256_GCM_SHA384) => "TLS_AES_256_GCM_SHA384",
            Some(Suite::TLS13_CHACHA20_POLY1305_SHA256) => "TLS_CHACHA20_POLY1305_SHA256",
            Some(suite) => suite.as_str().unwrap_or("unnamed"),
            None => "none",
        }
    }

    /// The peer's certificate in DER, once it has shown one.
    pub fn certificate(&self) -> Option<&[u8]> {
        self.common()?.peer_certificates()?.first().map(AsRef::as_ref)
    }

    /// True if the handshake took up an earlier session; we never offer that.
    pub fn is_resumed(&self) -> bool {
        matches!(self.common().and_then(CommonState::handshake_kind), Some(HandshakeKind::Resumed))
    }

    /// Where octets of the wire go; tell [`Pump::advance`] how many. Not while there is text to read.
    pub fn room(&mut self) -> &mut [u8] {
        assert!(self.text.is_empty(), "what was decrypted is read first");
        self.incoming.room()
    }

    /// Counts octets that were put into [`Pump::room`].
    pub fn advance(&mut self, n: usize) {
        let rest = self.first.capacity() - self.first.len();
        let came = &self.incoming.octets[self.incoming.end..self.incoming.end + n];
        self.first.extend(came.iter().take(rest).copied());
        self.incoming.advance(n);
    }

    /// What is to be sent.
    pub fn outgoing(&self) -> &[u8] {
        self.outgoing.filled()
    }

    /// Counts octets of [`Pump::outgoing`] that were sent.
    pub fn sent(&mut self, n: usize) {
        self.outgoing.consume(n);
    }

    /// True once if reading stopped for want of output room: what stopped it is over now, or will be.
    pub fn take_held_up(&mut self) -> bool {
        std::mem::take(&mut self.is_held_up)
    }

    /// Text to be read now without more from the wire.
    pub fn has_text(&self) -> bool {
        !self.text.is_empty()
    }

    /// Takes text that was decrypted: how many octets, 0 if there are none now.
    pub fn read(&mut self, room: &mut [u8]) -> usize {
        let n = room.len().min(self.text.len());
        room[..n].copy_from_slice(&self.incoming.octets[self.text.start..self.text.start + n]);
        self.text.start += n;
        n
    }

    /// Works on what came from the wire until it needs something.
    pub fn process(&mut self) -> Result<Need, &Failure> {
        loop {
            match self.phase {
                _ if self.has_text() => return Ok(Need::Reader),
                Phase::PeerClosed => return Ok(Need::Nothing),
                Phase::Failed => break,
                Phase::Handshake | Phase::Traffic => {}
            }
            if self.outgoing.free() < RECORD_ROOM {
                self.is_held_up = true;
                return Ok(Need::Output);
            }
            match self.ask(Want::Nothing) {
                Some(Event::Blocked | Event::Idle) if self.incoming.free() == 0 => {
                    self.fail(Failure::new("a handshake message is larger than any sensible one"));
                }
                Some(Event::Blocked | Event::Idle) => return Ok(Need::Input),
                Some(Event::Progress | Event::Done | Event::Text | Event::PeerClosed) | None => {}
            }
        }
        Err(self.failure.get_or_insert_with(|| Failure::new("the connection is over")))
    }

    /// Encrypts the first octets of `text` into the output: how many; 0: the output has to be sent first, or the
    /// handshake to be ended.
    pub fn write(&mut self, text: &[u8]) -> Result<usize, &Failure> {
        let piece = &text[..text.len().min(PIECE_OCTETS)];
        while matches!(self.phase, Phase::Traffic | Phase::PeerClosed) {
            if piece.is_empty() || self.outgoing.free() < RECORD_ROOM {
                return Ok(0);
            }
            if let Some(Event::Done) = self.ask(Want::Encrypt(piece)) {
                return Ok(piece.len());
            }
        }
        match self.phase {
            Phase::Handshake => Ok(0),
            _ => Err(self.failure.get_or_insert_with(|| Failure::new("the connection is over"))),
        }
    }

    /// Says our end, if that can be said: nothing will be written any more.
    pub fn close(&mut self) {
        while matches!(self.phase, Phase::Traffic | Phase::PeerClosed) && self.outgoing.free() >= RECORD_ROOM
        {
            if let Some(Event::Done) = self.ask(Want::Close) {
                break;
            }
        }
    }

    /// The connection was cut without the peer's end: what came may not be all.
    pub fn cut(&mut self) {
        let text = match self.phase {
            Phase::Handshake => "the connection was closed during the TLS handshake",
            _ => "the connection was cut without an end of TLS",
        };
        self.fail(Failure::new(text));
    }

    /// New keys for what we send; a test wants to see the peer follow.
    #[cfg(test)]
    pub(super) fn refresh_keys(&mut self) {
        assert!(self.ask(Want::Refresh).is_some(), "a session of TLS 1.3");
    }

    /// The connection alone, for a test that goes on without rustls.
    #[cfg(test)]
    pub(super) fn take_connection(&mut self) -> Option<Connection> {
        self.connection.take()
    }

    fn common(&self) -> Option<&CommonState> {
        match self.connection.as_ref()? {
            Connection::Server(connection) => Some(connection),
            Connection::Client(connection) => Some(connection),
        }
    }

    /// One question to rustls; `None`: it failed. The output has room for a record.
    fn ask(&mut self, want: Want<'_>) -> Option<Event> {
        let has_text = self.has_text();
        let Self { connection, incoming, outgoing, .. } = self;
        // While text waits, no further record may be decrypted. None can be half read then, so that
        // rustls sees no contradiction in getting nothing.
        let records = if has_text { &mut [] } else { incoming.filled_mut() };
        let (discard, event) = connection.as_mut()?.process(records, outgoing, want);
        incoming.consume(discard);
        match event {
            Ok(Event::Text) if !has_text => {
                // Text can come with the end of the handshake, and only behind it.
                self.end_handshake();
                self.take_text();
            }
            Ok(Event::Idle) => self.end_handshake(),
            Ok(Event::PeerClosed) => self.phase = Phase::PeerClosed,
            Ok(_) => {}
            Err(e) => {
                let side = match self.connection {
                    Some(Connection::Client(_)) => Side::Client,
                    _ => Side::Server,
                };
                let failure = Failure::of(&e, side, &self.first, self.is_handshaking());
                self.fail(failure);
                return None;
            }
        }
        event.ok()
    }

    /// Notes that both sides have the keys, once they have. A server may write before the client has shown
    /// that; we wait.
    fn end_handshake(&mut self) {
        let is_over = self.common().is_some_and(|common| !common.is_handshaking());
        if self.phase == Phase::Handshake && is_over {
            self.phase = Phase::Traffic;
        }
    }

    /// Puts the text of a record where the records stood that were used up: it is shorter than they.
    fn take_text(&mut self) {
        let Self { connection, incoming, outgoing, .. } = self;
        let before = &mut incoming.octets[..incoming.start];
        let mut n = 0;
        let taken = connection.as_mut().map(|c| c.process(&mut [], outgoing, Want::Text(before, &mut n)));
        match taken {
            Some((_, Ok(Event::Text))) => self.text = 0..n,
            _ => self.fail(Failure::new("a record without room for its text")),
        }
    }

    /// The end, but for the alert that tells the peer why.
    fn fail(&mut self, failure: Failure) {
        self.phase = Phase::Failed;
        self.failure.get_or_insert(failure);
        let Self { connection, outgoing, .. } = self;
        let Some(connection) = connection else { return };
        while connection.wants_write() && outgoing.free() >= RECORD_ROOM {
            if !matches!(connection.process(&mut [], outgoing, Want::Nothing), (_, Ok(Event::Progress))) {
                return;
            }
        }
    }
}

impl Connection {
    /// How many octets of `records` are used up, and what was done.
    fn process(
        &mut self,
        records: &mut [u8],
        outgoing: &mut Records,
        want: Want<'_>,
    ) -> (usize, Result<Event, Error>) {
        match self {
            Self::Server(connection) => obey(connection.process_tls_records(records), outgoing, want),
            Self::Client(connection) => obey(connection.process_tls_records(records), outgoing, want),
        }
    }

    /// True if a record waits to be put into the output.
    fn wants_write(&self) -> bool {
        match self {
            Self::Server(connection) => connection.wants_write(),
            Self::Client(connection) => connection.wants_write(),
        }
    }
}

/// Does what rustls asks for, and what is wanted if it is the time for it.
fn obey<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    outgoing: &mut Records,
    want: Want<'_>,
) -> (usize, Result<Event, Error>) {
    let no_room = |_| Error::General("no room for a record".into());
    let event = match (status.state, want) {
        (Err(e), _) => Err(e),
        (Ok(ConnectionState::ReadTraffic(mut traffic)), Want::Text(room, n)) => {
            let mut fits = true;
            while let Some(Ok(record)) = traffic.next_record() {
                match room.get_mut(*n..*n + record.payload.len()) {
                    Some(place) => place.copy_from_slice(record.payload),
                    None => fits = false,
                }
                *n += record.payload.len();
            }
            if fits { Ok(Event::Text) } else { Err(no_room(())) }
        }
        // Left where it is, rustls keeps it.
        (Ok(ConnectionState::ReadTraffic(_)), _) => Ok(Event::Text),
        (Ok(ConnectionState::EncodeTlsData(mut record)), _) => record
            .encode(outgoing.room())
            .map(|n| outgoing.advance(n))
            .map_err(|_| no_room(()))
            .map(|()| Event::Progress),
        (Ok(ConnectionState::TransmitTlsData(records)), _) => {
            // They are in the output, which goes out in order.
            records.done();
            Ok(Event::Progress)
        }
        (Ok(ConnectionState::BlockedHandshake), _) => Ok(Event::Blocked),
        (Ok(ConnectionState::WriteTraffic(mut traffic)), Want::Encrypt(text)) => traffic
            .encrypt(text, outgoing.room())
            .map(|n| outgoing.advance(n))
            .map_err(|_| no_room(()))
            .map(|()| Event::Done),
        (Ok(ConnectionState::WriteTraffic(mut traffic)), Want::Close) => traffic
            .queue_close_notify(outgoing.room())
            .map(|n| outgoing.advance(n))
            .map_err(|_| no_room(()))
            .map(|()| Event::Done),
        #[cfg(test)]
        (Ok(ConnectionState::WriteTraffic(traffic)), Want::Refresh) => {
            traffic.refresh_traffic_keys().map(|()| Event::Progress)
        }
        (Ok(ConnectionState::WriteTraffic(_)), Want::Nothing | Want::Text(..)) => Ok(Event::Idle),
        (Ok(ConnectionState::PeerClosed), _) => Ok(Event::PeerClosed),
        (Ok(ConnectionState::Closed), _) => Ok(Event::Done),
        (Ok(_), _) => Err(Error::General("data before the handshake".into())),
    };
    (status.discard, event)
}
