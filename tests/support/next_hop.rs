//! A next hop that follows a script and records every message it answered 250.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use std::{mem, thread};

use super::message::unstuff;
use super::wait_for;

/// A message that was taken.
#[derive(Debug, Clone, PartialEq)]
pub struct Taken {
    /// The connection it came on, counted from 0.
    pub connection: usize,
    /// The whole MAIL line's argument, parameters included.
    pub from: String,
    /// The arguments of the accepted RCPT lines.
    pub to: Vec<String>,
    /// Unstuffed, with its last line end.
    pub content: Vec<u8>,
}

/// What just happened, with the number of the connection.
#[derive(Debug)]
pub enum Event<'a> {
    Connected,
    Hello(&'a str),
    Mail(&'a str),
    Rcpt(&'a str),
    Data,
    Content(&'a [u8]),
    Other(&'a str),
}

/// What the script does about it.
pub enum Act {
    /// What a friendly server says.
    Friendly,
    /// These lines, CRLF added at the end.
    Say(&'static str),
    /// The same, then close.
    SayAndCut(&'static str),
    /// Close without a word.
    Cut,
    /// Say nothing and keep the connection open until the client gives up.
    Silence,
}

type Script = dyn Fn(usize, &Event) -> Act + Send + Sync;

pub struct NextHop {
    pub port: u16,
    at: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    script: Box<Script>,
    taken: Mutex<Vec<Taken>>,
    connections: AtomicUsize,
    over: AtomicBool,
}

impl NextHop {
    /// Takes everything.
    pub fn friendly() -> Self {
        Self::scripted(|_, _| Act::Friendly)
    }

    /// Follows `script`, on a free port.
    pub fn scripted(script: impl Fn(usize, &Event) -> Act + Send + Sync + 'static) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").expect("a free port"), script)
    }

    /// Follows `script` on this listener.
    pub fn on(listener: TcpListener, script: impl Fn(usize, &Event) -> Act + Send + Sync + 'static) -> Self {
        let at = listener.local_addr().expect("a bound socket");
        let shared = Arc::new(Shared {
            script: Box::new(script),
            taken: Mutex::default(),
            connections: AtomicUsize::new(0),
            over: AtomicBool::new(false),
        });
        let of_listener = Arc::clone(&shared);
        thread::spawn(move || of_listener.listen(&listener));
        Self { port: at.port(), at, shared }
    }

    pub fn address(&self) -> String {
        self.at.to_string()
    }

    pub fn taken(&self) -> Vec<Taken> {
        self.shared.taken.lock().expect("the record of messages").clone()
    }

    /// How many connections were made to it.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Waits until this many messages were taken.
    #[track_caller]
    pub fn wait(&self, messages: usize) -> Vec<Taken> {
        wait_for(&format!("{messages} messages at the next hop"), || {
            (self.shared.taken.lock().expect("the record of messages").len() >= messages).then_some(())
        });
        self.taken()
    }
}

impl Drop for NextHop {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        // Wakes the listener, which then closes its port.
        let _ = TcpStream::connect(self.at);
    }
}

impl Shared {
    fn listen(self: Arc<Self>, listener: &TcpListener) {
        for stream in listener.incoming() {
            if self.over.load(Ordering::SeqCst) {
                return;
            }
            let Ok(stream) = stream else { continue };
            let number = self.connections.fetch_add(1, Ordering::SeqCst);
            let shared = Arc::clone(&self);
            thread::spawn(move || {
                let mut connection = Connection::new(number, stream);
                // A client that goes away ends the connection, not the test.
                let _ = connection.serve(&shared);
            });
        }
    }
}

struct Connection {
    number: usize,
    stream: BufReader<TcpStream>,
    from: String,
    to: Vec<String>,
    /// It said LHLO: there is a reply for every recipient.
    lmtp: bool,
}

impl Connection {
    fn new(number: usize, stream: TcpStream) -> Self {
        let stream = BufReader::new(stream);
        Self { number, stream, from: String::new(), to: Vec::new(), lmtp: false }
    }

    fn serve(&mut self, shared: &Shared) -> io::Result<()> {
        self.stream.get_ref().set_nodelay(true)?;
        self.act(shared, &Event::Connected, "220 next.test ESMTP")?;
        loop {
            let mut line = Vec::new();
            if self.stream.read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            let (verb, rest) = line.split_once([' ', ':']).unwrap_or((&line, ""));
            match verb.to_ascii_uppercase().as_str() {
                verb @ ("EHLO" | "HELO" | "LHLO") => {
                    self.lmtp = verb == "LHLO";
                    self.act(shared, &Event::Hello(&line), HELLO)?;
                }
                "MAIL" => {
                    if self.act(shared, &Event::Mail(rest), "250 2.1.0 ok")? {
                        self.from = rest.trim_start_matches("FROM:").to_owned();
                        self.to.clear();
                    }
                }
                "RCPT" => {
                    if self.act(shared, &Event::Rcpt(rest), "250 2.1.5 ok")? {
                        self.to.push(rest.trim_start_matches("TO:").to_owned());
                    }
                }
                "DATA" => self.data(shared)?,
                "RSET" => {
                    self.act(shared, &Event::Other(&line), "250 2.0.0 ok")?;
                }
                "QUIT" => {
                    self.act(shared, &Event::Other(&line), "221 2.0.0 bye")?;
                    return Ok(());
                }
                _ => {
                    self.act(shared, &Event::Other(&line), "502 5.5.1 what?")?;
                }
            }
        }
    }

    fn data(&mut self, shared: &Shared) -> io::Result<()> {
        if !self.act(shared, &Event::Data, "354 go on")? {
            return Ok(());
        }
        let mut wire = Vec::new();
        loop {
            let start = wire.len();
            if self.stream.read_until(b'\n', &mut wire)? == 0 {
                return Ok(());
            }
            if &wire[start..] == b".\r\n" {
                wire.truncate(start);
                break;
            }
        }
        let content = unstuff(&wire);
        // Recorded before it is answered: what the relay calls delivered is in the record.
        let act = (shared.script)(self.number, &Event::Content(&content));
        let accepts = match act {
            Act::Friendly => true,
            // "25x" is no reply: a hop that says that has not taken anything.
            Act::Say(reply) | Act::SayAndCut(reply) => reply.starts_with('2') && is_reply(reply),
            Act::Cut | Act::Silence => false,
        };
        let replies = if self.lmtp { self.to.len() } else { 1 };
        let friendly = vec!["250 2.0.0 taken"; replies].join("\r\n");
        if accepts && !self.to.is_empty() {
            let taken = Taken {
                connection: self.number,
                from: mem::take(&mut self.from),
                to: mem::take(&mut self.to),
                content,
            };
            shared.taken.lock().expect("the record of messages").push(taken);
        }
        self.perform(act, shared, &friendly).map(|_| ())
    }

    /// Asks the script and does it; true if the reply was a positive one.
    fn act(&mut self, shared: &Shared, event: &Event, friendly: &str) -> io::Result<bool> {
        let act = (shared.script)(self.number, event);
        self.perform(act, shared, friendly)
    }

    fn perform(&mut self, act: Act, shared: &Shared, friendly: &str) -> io::Result<bool> {
        let cuts = matches!(act, Act::SayAndCut(_));
        let reply = match act {
            Act::Friendly => friendly,
            Act::Say(reply) | Act::SayAndCut(reply) => reply,
            Act::Cut => return Err(io::ErrorKind::ConnectionAborted.into()),
            Act::Silence => return Err(self.keep_silent(shared)),
        };
        let stream = self.stream.get_mut();
        stream.write_all(reply.as_bytes())?;
        stream.write_all(b"\r\n")?;
        if cuts {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(reply.starts_with(['2', '3']))
    }

    fn keep_silent(&mut self, shared: &Shared) -> io::Error {
        let stream = self.stream.get_mut();
        let _ = stream.set_read_timeout(Some(Duration::from_millis(100)));
        let mut scratch = [0; 512];
        while !shared.over.load(Ordering::SeqCst) {
            match stream.read(&mut scratch) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                }
                Err(_) => break,
            }
        }
        io::ErrorKind::ConnectionAborted.into()
    }
}

/// Three digits, then a space, a hyphen or the end.
fn is_reply(line: &str) -> bool {
    let (code, rest) = line.split_at(line.len().min(3));
    code.len() == 3
        && code.bytes().all(|octet| octet.is_ascii_digit())
        && matches!(rest.as_bytes().first(), None | Some(b' ' | b'-'))
}

const HELLO: &str = "250-next.test\r\n250-PIPELINING\r\n250-SIZE 100000000\r\n250-8BITMIME\r\n\
    250-SMTPUTF8\r\n250-ENHANCEDSTATUSCODES\r\n250 DSN";
