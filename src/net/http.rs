//! As much of HTTP (RFC 9112) as a scraper of metrics needs: one GET, one answer, then the connection
//! closes.

use core::fmt::{self, Write};

use crate::relay::report::Output;
use crate::relay::request::Request;

/// Octets of a request's header that are read to its end; a longer one is answered as it stands.
const HEADER_OCTETS: usize = 8 * 1024;

/// Where the metrics are.
const PATH: &str = "/metrics";

/// Looks for the empty line that ends a request's header.
#[derive(Clone, Copy, Debug)]
pub struct HeaderEnd {
    /// Nothing but a CR stands on the present line.
    is_empty: bool,
    left: usize,
}

impl HeaderEnd {
    /// Behind the request line.
    #[expect(clippy::new_without_default, reason = "there is no header by default")]
    pub const fn new() -> Self {
        Self { is_empty: true, left: HEADER_OCTETS }
    }

    /// Takes octets; true once the header is over, or is not worth reading on.
    pub fn read(&mut self, octets: &[u8]) -> bool {
        for octet in octets {
            match octet {
                b'\n' if self.is_empty => return true,
                b'\n' => self.is_empty = true,
                b'\r' => {}
                _ => self.is_empty = false,
            }
        }
        self.left = self.left.saturating_sub(octets.len());
        self.left == 0
    }
}

/// What a request line asks, or the status of the refusal.
pub fn read(line: &[u8]) -> Result<Request, &'static str> {
    let line = core::str::from_utf8(line).map_err(|_| "400 Bad Request")?;
    let mut words = line.split_ascii_whitespace();
    match (words.next(), words.next(), words.next(), words.next()) {
        (Some("GET"), Some(target), Some(version), None) if version.starts_with("HTTP/1.") => {
            match target.split('?').next() {
                Some(PATH) => Ok(Request::Metrics),
                _ => Err("404 Not Found"),
            }
        }
        (Some(_), Some(_), Some(version), None) if version.starts_with("HTTP/1.") => {
            Err("405 Method Not Allowed")
        }
        _ => Err("400 Bad Request"),
    }
}

/// The head of the answer with the metrics, which end with the connection.
pub fn write_head(out: &mut Output) -> fmt::Result {
    out.write_str(
        "HTTP/1.1 200 OK\r\n\
         Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n\
         Cache-Control: no-store\r\n\
         Connection: close\r\n\
         \r\n",
    )
}

/// A refusal.
pub fn write_refusal(status: &str, out: &mut Output) -> fmt::Result {
    let allow = if status.starts_with("405") { "Allow: GET\r\n" } else { "" };
    let body = format_args!("{status}: the metrics are at {PATH}\n");
    write!(out, "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\n{allow}Connection: close\r\n\r\n{body}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_path_by_one_method() {
        assert_eq!(read(b"GET /metrics HTTP/1.1\r"), Ok(Request::Metrics));
        assert_eq!(read(b"GET /metrics?x=y HTTP/1.0"), Ok(Request::Metrics));
        for (line, status) in [
            (&b"GET / HTTP/1.1"[..], "404"),
            (b"GET /metrics/../etc HTTP/1.1", "404"),
            (b"POST /metrics HTTP/1.1", "405"),
            (b"GET /metrics", "400"),
            (b"GET /metrics HTTP/2", "400"),
            (b"EHLO x", "400"),
            (b"\xff", "400"),
            (b"", "400"),
        ] {
            assert!(read(line).unwrap_err().starts_with(status), "{line:?}");
        }
    }

    #[test]
    fn a_header_ends_with_its_empty_line_or_its_limit() {
        assert!(HeaderEnd::new().read(b"\r\n"));
        assert!(HeaderEnd::new().read(b"Host: x\r\nA: b\n\nGET"));
        assert!(!HeaderEnd::new().read(b"Host: x\r\n"));
        let mut endless = HeaderEnd::new();
        let ended = (0..100).find(|_| endless.read(&[b'x'; 1000]));
        assert_eq!(ended, Some(8));
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(header in "[a\r\n]{0,20}", at in 0_usize..20) {
            let (first, rest) = header.as_bytes().split_at(at.min(header.len()));
            let mut end = HeaderEnd::new();
            let apart = end.read(first) || end.read(rest);
            prop_assert_eq!(apart, HeaderEnd::new().read(header.as_bytes()));
        }
    }
}
