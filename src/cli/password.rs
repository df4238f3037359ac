//! `pillarbox password`: makes a line for the users file.

use std::io::{self, BufRead, Write};
use std::os::fd::AsFd;

use lexopt::{Arg, Parser, ValueExt};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::SignalFd;
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};

use super::exit::Exit;
use super::{fail, help, print, usage};
use crate::limits::PASSWORD_OCTETS;
use crate::relay::users;
use crate::smtp::sasl::{Name, Secret};

type Password = Secret<PASSWORD_OCTETS>;

/// Runs the command.
pub fn run(arguments: Parser) -> Exit {
    let (name, is_clear) = match asked(arguments) {
        Ok(asked) => asked,
        Err(exit) => return exit,
    };
    match read_password(&name) {
        Ok(password) if is_clear => print(users::clear_line(&name, &password)),
        Ok(password) => print(users::line(&name, password.octets())),
        Err(exit) => exit,
    }
}

/// The user's name, and whether the password is to be stored as it is.
fn asked(mut parser: Parser) -> Result<(Name, bool), Exit> {
    let (mut name, mut is_clear) = (None, false);
    while let Some(argument) = parser.next().map_err(|e| usage(e, help::PASSWORD))? {
        match argument {
            Arg::Short('h') | Arg::Long("help") => return Err(print(help::PASSWORD)),
            Arg::Short('V') | Arg::Long("version") => return Err(print(help::VERSION)),
            // Taken by every command; this one needs no configuration.
            Arg::Short('c') => drop(parser.value().map_err(|e| usage(e, help::PASSWORD))?),
            Arg::Long("clear") => is_clear = true,
            Arg::Value(word) if name.is_none() => {
                let word = word.string().map_err(|e| usage(e, help::PASSWORD))?;
                name = Some(users::user_name(&word).map_err(|why| usage(why, help::PASSWORD))?);
            }
            other => return Err(usage(other.unexpected(), help::PASSWORD)),
        }
    }
    let name = name.ok_or_else(|| usage("a user name is missing", help::PASSWORD))?;
    Ok((name, is_clear))
}

/// Twice from a terminal, which does not show it; else the first line of standard input.
fn read_password(name: &str) -> Result<Password, Exit> {
    let stdin = io::stdin();
    let Ok(terminal) = tcgetattr(&stdin) else { return checked(&line()?) };
    let first = ask(&format!("password for {name}: "), Hidden::new(terminal.clone()))?;
    let password = checked(&first)?;
    if ask("once more: ", Hidden::new(terminal))? != first {
        return Err(fail(Exit::Data, "the two are not the same: nothing was made"));
    }
    Ok(password)
}

/// A terminal that does not show what is typed, until this is dropped. A signal that ends the program
/// waits for that, so that it leaves the terminal as it was.
struct Hidden {
    before: Termios,
    ending: SigSet,
}

impl Hidden {
    fn new(before: Termios) -> Self {
        let ending: SigSet =
            [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT].into_iter().collect();
        // If it can't be hidden, or not for good, the person sees that, and is better served than by a refusal.
        let _ = ending.thread_block();
        let mut hidden = before.clone();
        hidden.local_flags.remove(LocalFlags::ECHO);
        let _ = tcsetattr(io::stdin(), SetArg::TCSAFLUSH, &hidden);
        Self { before, ending }
    }

    /// Waits for a line or one of those signals; true if one came first.
    fn is_interrupted(&self) -> bool {
        let Ok(signals) = SignalFd::new(&self.ending) else { return false };
        let stdin = io::stdin();
        let mut either = [stdin.as_fd(), signals.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        while poll(&mut either, PollTimeout::NONE) == Err(Errno::EINTR) {}
        either[1].any() == Some(true)
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), SetArg::TCSAFLUSH, &self.before);
        let _ = self.ending.thread_unblock();
    }
}

fn ask(prompt: &str, hidden: Hidden) -> Result<Vec<u8>, Exit> {
    // Not to standard output: the line for the file goes there.
    let _ = write!(io::stderr(), "{prompt}");
    let hidden = (!hidden.is_interrupted()).then_some(hidden);
    let line = line();
    drop(hidden);
    let _ = writeln!(io::stderr());
    line
}

/// A line of standard input without its end.
fn line() -> Result<Vec<u8>, Exit> {
    let mut line = Vec::new();
    let mut limited = io::Read::take(io::stdin().lock(), PASSWORD_OCTETS as u64 * 2);
    limited
        .read_until(b'\n', &mut line)
        .map_err(|e| fail(Exit::Io, format_args!("the password can't be read: {e}")))?;
    while let [text @ .., b'\n' | b'\r'] = line.as_slice() {
        line.truncate(text.len());
    }
    Ok(line)
}

/// The password, if there is one that can be used.
fn checked(line: &[u8]) -> Result<Password, Exit> {
    let is_text = std::str::from_utf8(line).is_ok_and(|text| !text.chars().any(char::is_control));
    match Secret::new(line) {
        Some(password) if !line.is_empty() && is_text => Ok(password),
        _ => Err(fail(
            Exit::Data,
            format_args!("a password has 1 to {PASSWORD_OCTETS} octets of UTF-8 without control characters"),
        )),
    }
}
