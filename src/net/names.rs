//! The `names` helper: asks for the addresses of hosts, which can take seconds.

use crate::helper::{Desk, Helper};
use crate::limits::{ADDRESSES, HOST_OCTETS};
use heapless::{String, Vec};
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

/// A host whose addresses are wanted.
#[derive(Debug)]
pub struct Question {
    /// Given back with the answer.
    pub ticket: u32,
    /// The host's name.
    pub host: String<HOST_OCTETS>,
    /// The port that the addresses shall carry.
    pub port: u16,
}

/// Its addresses, in the order in which they are to be tried.
pub type Addresses = Vec<SocketAddr, ADDRESSES>;

/// What came of a question.
#[derive(Debug)]
pub struct Answer {
    /// The question's ticket.
    pub ticket: u32,
    /// At least one address, or the reason in words.
    pub addresses: Result<Addresses, String<80>>,
}

/// The loop's end of the helper.
pub type Names = Helper<Question, Answer>;

/// Starts the helper; `wake` is called after each answer.
pub fn start(wake: impl Fn() + Send + 'static) -> io::Result<Names> {
    Helper::start("names", wake, |desk: &mut Desk<Question, Answer>| {
        while let Some(asked) = desk.question() {
            desk.answer(Answer { ticket: asked.ticket, addresses: resolve(&asked.host, asked.port) });
        }
    })
}

/// Asks the system's resolver.
fn resolve(host: &str, port: u16) -> Result<Addresses, String<80>> {
    match (host, port).to_socket_addrs() {
        Ok(found) => {
            let mut addresses = Addresses::new();
            for address in found {
                if !addresses.contains(&address) && addresses.push(address).is_err() {
                    break;
                }
            }
            if addresses.is_empty() { Err(words("the name has no address")) } else { Ok(addresses) }
        }
        Err(e) => {
            let mut text: String<80> = String::new();
            // Cut short where it does not fit.
            let _ = core::fmt::write(&mut Cut(&mut text), format_args!("the name can't be resolved: {e}"));
            Err(text)
        }
    }
}

fn words(text: &str) -> String<80> {
    String::try_from(text).unwrap_or_default()
}

/// Writes as much as fits.
struct Cut<'a>(&'a mut String<80>);

impl core::fmt::Write for Cut<'_> {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        for c in text.chars() {
            self.0.push(c).map_err(|_| core::fmt::Error)?;
        }
        Ok(())
    }
}

/// The address that a host's name already is: `192.0.2.1`, `[192.0.2.1]`, `[::1]` or `::1`.
pub fn literal(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    bare.strip_prefix("IPv6:").unwrap_or(bare).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_need_no_resolver() {
        assert_eq!(literal("[::1]"), "::1".parse().ok());
        assert_eq!(literal("192.0.2.1"), "192.0.2.1".parse().ok());
        assert_eq!(literal("mail.example"), None);
    }

    #[test]
    fn questions_are_answered_with_their_ticket() {
        let mut names = start(|| {}).unwrap();
        for (ticket, host) in [(7, "localhost"), (8, "no such name")] {
            assert!(names.ask(Question { ticket, host: String::try_from(host).unwrap(), port: 25 }));
        }
        let mut tickets = std::vec::Vec::new();
        while tickets.len() < 2 {
            if let Some(answer) = names.answer() {
                assert_eq!(answer.addresses.is_ok(), answer.ticket == 7, "{answer:?}");
                tickets.push(answer.ticket);
            }
            std::thread::yield_now();
        }
        assert_eq!(tickets, [7, 8]);
    }
}
