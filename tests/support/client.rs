//! A plain SMTP client that says exactly what a test tells it, and nothing else.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, socket};

use super::PATIENCE;
use super::message::stuff;

pub struct Client {
    stream: BufReader<TcpStream>,
    pub greeting: String,
}

impl Client {
    /// Connects and reads the greeting.
    #[track_caller]
    pub fn connect(port: u16) -> Self {
        Self::try_connect(port).expect("a connection and a greeting")
    }

    pub fn try_connect(port: u16) -> io::Result<Self> {
        Self::over(TcpStream::connect(("127.0.0.1", port))?)
    }

    /// Connects from an address of this host, 127.0.0.x.
    #[track_caller]
    pub fn connect_from(host: u8, port: u16) -> Self {
        let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None);
        let socket = socket.expect("a socket");
        bind(socket.as_raw_fd(), &SockaddrIn::new(127, 0, 0, host, 0)).expect("an address of this host");
        connect(socket.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, port)).expect("a connection");
        Self::over(socket.into()).expect("a greeting")
    }

    /// Over a connection that is there already; reads the greeting.
    pub fn over(stream: TcpStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let mut client = Self { stream: BufReader::new(stream), greeting: String::new() };
        client.greeting = client.try_reply()?;
        Ok(client)
    }

    /// Connects and says EHLO.
    #[track_caller]
    pub fn hello(port: u16) -> Self {
        let mut client = Self::connect(port);
        client.expect("EHLO client.test", "250");
        client
    }

    /// Connects and says EHLO, unless the relay turns it away.
    pub fn hello_or_none(port: u16) -> Option<Self> {
        let mut client = Self::try_connect(port).ok()?;
        client.greeting.starts_with("220").then(|| client.expect("EHLO client.test", "250"))?;
        Some(client)
    }

    /// Writes octets as they are.
    #[track_caller]
    pub fn send(&mut self, octets: &[u8]) {
        self.try_send(octets).expect("the relay takes what is sent");
    }

    pub fn try_send(&mut self, octets: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(octets)
    }

    /// One whole reply, its lines joined by LF without their line ends.
    #[track_caller]
    pub fn reply(&mut self) -> String {
        self.try_reply().expect("a reply")
    }

    pub fn try_reply(&mut self) -> io::Result<String> {
        let mut reply = String::new();
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            assert!(line.ends_with("\r\n"), "a reply line ends with CRLF: {line:?}");
            let line = line.trim_end();
            reply.push_str(line);
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(reply);
            }
            reply.push('\n');
        }
    }

    /// Says a line, returns the reply.
    #[track_caller]
    pub fn ask(&mut self, line: &str) -> String {
        self.send(format!("{line}\r\n").as_bytes());
        self.reply()
    }

    /// Says a line whose reply must begin with `start`.
    #[track_caller]
    pub fn expect(&mut self, line: &str, start: &str) -> String {
        let reply = self.ask(line);
        assert!(reply.starts_with(start), "{line:?} should be answered {start:?}, was {reply:?}");
        reply
    }

    /// MAIL, RCPT and DATA; then the content, stuffed, with its final dot; returns the last reply.
    #[track_caller]
    pub fn deliver(&mut self, from: &str, to: &[&str], content: &[u8]) -> String {
        self.expect(&format!("MAIL FROM:<{from}>"), "250");
        for recipient in to {
            self.expect(&format!("RCPT TO:<{recipient}>"), "250");
        }
        self.expect("DATA", "354");
        self.send(&stuff(content));
        self.reply()
    }

    /// Reads until the peer closes; what it said before.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        // A reset is an end as well: what had come by then counts.
        let _ = self.stream.read_to_end(&mut rest);
        rest
    }

    pub fn stream(&self) -> &TcpStream {
        self.stream.get_ref()
    }
}
