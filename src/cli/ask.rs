//! Asks the running relay over its control socket.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::exit::Exit;
use super::spill::Spill;
use super::{complain, fail};
use crate::relay::request::Request;

/// How long an answer may stand still.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a relay is asked whose control slots are taken, and the pause between.
const TRIES: usize = 5;
const PAUSE: Duration = Duration::from_millis(200);
/// Octets of an answer's first line.
const LINE_OCTETS: u64 = 1024;

/// What came of asking.
#[derive(Debug)]
pub enum Answer {
    /// What is to be printed.
    Told(Spill),
    /// The relay says why not.
    Refused {
        /// How the program ends.
        exit: Exit,
        /// In words.
        why: String,
    },
    /// No relay runs.
    NobodyThere,
    /// The socket can't be used.
    Failed(io::Error),
}

/// Asks the relay that listens at `control`, and takes its answer whole: it does not wait for a
/// reader who pages through it.
pub fn ask(control: &Path, request: &Request) -> Answer {
    for _ in 1..TRIES {
        match ask_once(control, request) {
            // Closed before the request was read: all slots were taken.
            Answer::Failed(e)
                if matches!(e.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe) =>
            {
                std::thread::sleep(PAUSE);
            }
            answer => return answer,
        }
    }
    ask_once(control, request)
}

fn ask_once(control: &Path, request: &Request) -> Answer {
    let stream = match UnixStream::connect(control) {
        Ok(stream) => stream,
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Answer::NobodyThere;
        }
        Err(e) => return Answer::Failed(e),
    };
    exchange(stream, request).unwrap_or_else(Answer::Failed)
}

fn exchange(mut stream: UnixStream, request: &Request) -> io::Result<Answer> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(format!("{request}\n").as_bytes())?;
    let mut answer = BufReader::new(stream);
    let mut line = Vec::new();
    answer.by_ref().take(LINE_OCTETS).read_until(b'\n', &mut line)?;
    let line = String::from_utf8_lossy(&line);
    match line.strip_suffix('\n').map(|line| line.splitn(3, ' ').collect::<Vec<_>>()).as_deref() {
        Some(["ok"]) => {
            let mut told = Spill::new();
            io::copy(&mut answer, &mut told)?;
            Ok(Answer::Told(told))
        }
        Some(["error", code, why]) => Ok(Answer::Refused { exit: exit_of(code), why: (*why).to_owned() }),
        Some(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "what answers is no relay")),
        None => {
            Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the relay closed the connection: it is busy"))
        }
    }
}

fn exit_of(code: &str) -> Exit {
    match code {
        "64" => Exit::Usage,
        "65" => Exit::Data,
        "75" => Exit::TryLater,
        "77" => Exit::Permission,
        "74" => Exit::Io,
        _ => Exit::Software,
    }
}

/// Prints an answer to standard output as it is; octets of mail are not to be decoded.
pub fn print(told: &mut Spill) -> Exit {
    let mut out = io::stdout().lock();
    match io::copy(told, &mut out).and_then(|_| out.flush()) {
        Ok(()) => Exit::Ok,
        // A pager that was left has seen enough.
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Exit::Ok,
        Err(e) => fail(Exit::Io, e),
    }
}

/// Says that no relay runs, and ends the program as is fit for who wanted it.
pub fn nobody_there(exit: Exit, socket: &Path) -> Exit {
    fail(exit, format_args!("no relay runs: nobody listens at {}", socket.display()))
}

/// Says why the relay could not be asked.
pub fn failed(control: &Path, error: &io::Error) -> Exit {
    let exit = match error.kind() {
        io::ErrorKind::PermissionDenied => Exit::Permission,
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::WouldBlock
        | io::ErrorKind::TimedOut => Exit::TryLater,
        _ => Exit::Io,
    };
    complain(format_args!("pillarbox: the control socket {}: {error}", control.display()));
    exit
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(with: &'static [u8]) -> io::Result<Answer> {
        let (near, mut far) = UnixStream::pair().unwrap();
        far.write_all(with).unwrap();
        far.shutdown(std::net::Shutdown::Write).unwrap();
        exchange(near, &Request::Status { json: false })
    }

    #[test]
    fn answers_and_errors_are_told_apart() {
        let Ok(Answer::Told(mut told)) = answered(b"ok\nerror 1\n\xff\n") else { panic!("not told") };
        let mut octets = Vec::new();
        told.read_to_end(&mut octets).unwrap();
        assert_eq!(octets, b"error 1\n\xff\n");
        let Ok(Answer::Refused { exit, why }) = answered(b"error 65 no such message\n") else { panic!() };
        assert_eq!((exit, why.as_str()), (Exit::Data, "no such message"));
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        for garbage in
            [&b""[..], b"ok", b"220 mail.example ESMTP\r\n", b"\xff\xff\n", b"error\n", &[b'x'; 2000]]
        {
            assert!(answered(garbage).is_err(), "{garbage:?}");
        }
    }
}
