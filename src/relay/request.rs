//! Requests over the control socket: one line in, one answer out, then the connection closes.
//!
//! The first line of the answer is `ok`, or `error CODE TEXT` with an exit code of sysexits(3);
//! what follows is for the caller to print as it is. Both ends are this program, but anybody who
//! may open the socket can send anything: a line that is no request gets an error.

use crate::spool::Id;

/// Octets of a request with its line end.
pub const REQUEST_OCTETS: usize = 256;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// The queue, for people or as JSON.
    List {
        /// One JSON object a line.
        json: bool,
    },
    /// One message, whole.
    Show(Id),
    /// Something done with one message, or with all.
    Do(Action, Which),
    /// How the relay is.
    Status {
        /// As one JSON object.
        json: bool,
    },
    /// The same for Prometheus.
    Metrics,
    /// What has just become of a message from this machine, and where it stands.
    Story(Id),
}

/// What can be done with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Try it now.
    Retry,
    /// Put it aside.
    Hold,
    /// Let it go on.
    Release,
    /// Forget it; nobody is told.
    Remove,
}

/// With which messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// That one.
    One(Id),
    /// Every message.
    All,
}

impl Action {
    const NAMES: [(Self, &'static str); 4] =
        [(Self::Retry, "retry"), (Self::Hold, "hold"), (Self::Release, "release"), (Self::Remove, "remove")];

    /// As it is written.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(action, _)| *action == self).map_or("", |(_, name)| name)
    }

    /// The action of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, n)| *n == name).map(|(action, _)| *action)
    }
}

impl Request {
    /// Reads a request line without its line end.
    pub fn parse(line: &[u8]) -> Option<Self> {
        let mut words = core::str::from_utf8(line).ok()?.split_ascii_whitespace();
        let request = match (words.next()?, words.next()) {
            ("list", None) => Self::List { json: false },
            ("list", Some("--json")) => Self::List { json: true },
            ("status", None) => Self::Status { json: false },
            ("status", Some("--json")) => Self::Status { json: true },
            ("metrics", None) => Self::Metrics,
            ("show", Some(id)) => Self::Show(id.parse().ok()?),
            ("story", Some(id)) => Self::Story(id.parse().ok()?),
            (action, Some("--all")) => Self::Do(Action::parse(action)?, Which::All),
            (action, Some(id)) => Self::Do(Action::parse(action)?, Which::One(id.parse().ok()?)),
            _ => return None,
        };
        words.next().is_none().then_some(request)
    }
}

impl core::fmt::Display for Request {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::List { json } => write!(f, "list{}", if *json { " --json" } else { "" }),
            Self::Status { json } => write!(f, "status{}", if *json { " --json" } else { "" }),
            Self::Metrics => f.write_str("metrics"),
            Self::Show(id) => write!(f, "show {id}"),
            Self::Story(id) => write!(f, "story {id}"),
            Self::Do(action, Which::All) => write!(f, "{} --all", action.name()),
            Self::Do(action, Which::One(id)) => write!(f, "{} {id}", action.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_written_is_read() {
        let all = [
            Request::List { json: true },
            Request::List { json: false },
            Request::Status { json: true },
            Request::Show(Id::default()),
            Request::Metrics,
            Request::Story(Id::default()),
            Request::Do(Action::Hold, Which::All),
            Request::Do(Action::Remove, Which::One(Id::default())),
        ];
        for request in all {
            let line = request.to_string();
            assert!(line.len() < REQUEST_OCTETS);
            assert_eq!(Request::parse(line.as_bytes()), Some(request), "{line}");
        }
    }

    #[test]
    fn what_is_no_request_is_none() {
        for line in ["", "list all", "show", "show x y", "hold", "EHLO x", "hold --all now", "\u{e9}"] {
            assert_eq!(Request::parse(line.as_bytes()), None, "{line}");
        }
    }

    proptest! {
        #[test]
        fn no_line_harms(line in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Request::parse(&line);
        }
    }
}
