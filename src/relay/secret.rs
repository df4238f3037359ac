//! Where our secrets for next hops come from: the first line of a file, or of what a command prints.
//!
//! A command is run without a shell, with a short environment, for a limited time, and as much of what it
//! says is kept as can be a secret. It and what it has started are ended when the time is over.

use std::io::{self, ErrorKind, Read};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::intake::text;
use super::quoted::Quoted;
use super::response::{Token, Why};
use super::users::read_secret_file;
use crate::config::{Smarthost, Via};
use crate::limits::TOKEN_OCTETS;

/// How long a command may take.
pub const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);
/// How often it is seen whether a command that has closed its output has ended.
const LOOK: Duration = Duration::from_millis(20);
/// Octets of a secrets file, comments behind the first line included.
pub const SECRET_FILE_OCTETS: u64 = 16 * 1024;
/// Octets of each output of a command that are kept; the rest is read and dropped.
const OUTPUT_OCTETS: usize = TOKEN_OCTETS + 2;

/// The secret that a route logs in with, and whether it came from a command.
pub fn read(via: &Via) -> Result<(Token, bool), Why> {
    let Via::Smarthost(smarthost) = via else { return Err(text("the route has no login")) };
    let Smarthost { password_file, password_command, token_command, .. } = smarthost;
    match (password_file, password_command.as_slice(), token_command.as_slice()) {
        (Some(file), _, _) => from_file(file).map(|secret| (secret, false)),
        (None, [], []) => Err(text("the route has no secret to log in with")),
        (None, [], command) | (None, command, _) => {
            run(command, COMMAND_TIMEOUT).map(|secret| (secret, true))
        }
    }
}

fn from_file(file: &Path) -> Result<Token, Why> {
    let shown = Quoted::bare(file.display());
    let (octets, _) =
        read_secret_file(file, SECRET_FILE_OCTETS).map_err(|why| text(format_args!("{shown} {why}")))?;
    first_line(&octets).ok_or_else(|| text(format_args!("{shown} has no secret in its first line")))
}

/// The first line, if it can be a secret.
fn first_line(octets: &[u8]) -> Option<Token> {
    // Some editors put a mark in front of UTF-8: it is no part of a password.
    let octets = octets.strip_prefix("\u{feff}".as_bytes()).unwrap_or(octets);
    let line = octets.split(|octet| *octet == b'\n').next()?;
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let is_text = std::str::from_utf8(line).is_ok_and(|line| !line.chars().any(char::is_control));
    (!line.is_empty() && is_text).then(|| Token::new(line)).flatten()
}

/// Runs a command; the first line that it prints.
fn run(command: &[String], timeout: Duration) -> Result<Token, Why> {
    let Some((program, arguments)) = command.split_first() else { return Err(text("there is no command")) };
    let shown = Quoted::bare(program.as_str());
    let mut started = Command::new(program);
    started.args(arguments).env_clear().current_dir("/").process_group(0);
    // What it finds programs and its own files by; nothing of ours beside.
    started.env("PATH", std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into()));
    started.envs(std::env::var_os("HOME").map(|home| ("HOME", home)));
    started.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = started.spawn().map_err(|e| text(format_args!("{shown} can't be started: {e}")))?;
    let mut said = Said::default();
    let ended = said.collect(&mut child, Instant::now() + timeout);
    if ended.is_err() {
        end(&mut child);
    }
    let complaint = said.complaint();
    match ended {
        Ok(status) if status.success() => first_line(&said.out)
            .ok_or_else(|| text(format_args!("{shown} printed nothing that can be a secret{complaint}"))),
        Ok(status) => Err(match (status.code(), status.signal()) {
            (Some(code), _) => text(format_args!("{shown} ended with {code}{complaint}")),
            (None, signal) => {
                text(format_args!("{shown} was ended by signal {}{complaint}", signal.unwrap_or_default()))
            }
        }),
        Err(e) if e.kind() == ErrorKind::TimedOut => {
            Err(text(format_args!("{shown} took longer than {} s{complaint}", timeout.as_secs())))
        }
        Err(e) => Err(text(format_args!("{shown} can't be listened to: {e}"))),
    }
}

/// Ends a command with all that it has started.
fn end(child: &mut Child) {
    if let Ok(group) = i32::try_from(child.id()) {
        // It may have ended by itself meanwhile.
        let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
    }
    let _ = child.wait();
}

/// What a command has said.
#[derive(Default)]
struct Said {
    out: Vec<u8>,
    err: Vec<u8>,
}

impl Said {
    /// Reads both outputs until the command has ended; [`ErrorKind::TimedOut`] if it takes too long.
    fn collect(&mut self, child: &mut Child, deadline: Instant) -> io::Result<ExitStatus> {
        let (mut out, mut err) = (child.stdout.take(), child.stderr.take());
        loop {
            let status = child.try_wait()?;
            let left = deadline.saturating_duration_since(Instant::now());
            if status.is_none() && left.is_zero() {
                return Err(ErrorKind::TimedOut.into());
            }
            // Of a command that has ended only what lies there already is read: what it has started may
            // keep the other end open.
            let wait = if status.is_some() { Duration::ZERO } else { left.min(LOOK) };
            let heard = hear(&mut out, &mut self.out, wait)? | hear(&mut err, &mut self.err, Duration::ZERO)?;
            match status {
                Some(status) if !heard => return Ok(status),
                None if !heard && out.is_none() => std::thread::sleep(wait),
                _ => {}
            }
        }
    }

    /// The first line of its complaints, escaped, for the log.
    fn complaint(&self) -> String {
        let text = String::from_utf8_lossy(&self.err);
        match text.lines().next() {
            Some(line) => format!(": {}", Quoted::new(line)),
            None => String::new(),
        }
    }
}

/// Reads what comes within `wait`; true if something came. The pipe is dropped at its end.
fn hear<R: Read + AsFd>(pipe: &mut Option<R>, kept: &mut Vec<u8>, wait: Duration) -> io::Result<bool> {
    let Some(open) = pipe else { return Ok(false) };
    let mut polled = [PollFd::new(open.as_fd(), PollFlags::POLLIN)];
    let wait = PollTimeout::try_from(wait).unwrap_or(PollTimeout::ZERO);
    if poll(&mut polled, wait)? == 0 {
        return Ok(false);
    }
    let mut room = [0; 1024];
    match open.read(&mut room)? {
        0 => {
            *pipe = None;
            Ok(false)
        }
        octets => {
            let keep = octets.min(OUTPUT_OCTETS.saturating_sub(kept.len()));
            kept.extend_from_slice(&room[..keep]);
            Ok(true)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, timeout: Duration) -> Result<String, Why> {
        let command = ["/bin/sh", "-c", script].map(str::to_owned);
        run(&command, timeout).map(|secret| String::from_utf8(secret.octets().to_vec()).unwrap())
    }

    #[test]
    fn the_first_line_is_the_secret() {
        let soon = Duration::from_secs(120);
        assert_eq!(shell("echo one; echo two; echo odd >&2", soon).unwrap(), "one");
        assert_eq!(shell("printf 'one\\r\\n'", soon).unwrap(), "one");
        assert_eq!(shell("printf %s \"$HIDDEN$PILLARBOX_X\"; echo x", soon).unwrap(), "x");
        for (script, why) in [
            ("echo 'no\u{1b}[2J token' >&2; exit 3", "ended with 3: \"no\\x1b[2J token\""),
            ("true", "printed nothing that can be a secret"),
            ("echo; echo two", "printed nothing that can be a secret"),
            ("printf 'a\\001b'", "printed nothing that can be a secret"),
            ("head -c 9000 /dev/zero | tr '\\0' x", "printed nothing that can be a secret"),
            ("kill -9 $$", "was ended by signal 9"),
        ] {
            let said = shell(script, soon).unwrap_err();
            assert!(said.contains(why), "{script}: {said}");
        }
        let missing = run(&["/nonexistent/program".to_owned()], soon).unwrap_err();
        assert!(missing.contains("can't be started"), "{missing}");
    }

    #[test]
    fn a_command_that_hangs_is_ended_with_its_children() {
        let said = shell("echo early; sleep 1000 & sleep 1000", Duration::from_millis(200)).unwrap_err();
        assert!(said.contains("took longer than"), "{said}");
        // What a command leaves behind does not keep us waiting.
        assert_eq!(shell("sleep 30 & echo done", Duration::from_secs(120)).unwrap(), "done");
    }

    #[test]
    fn much_output_does_no_harm() {
        let script = "echo secret; head -c 1000000 /dev/zero; head -c 1000000 /dev/zero >&2";
        assert_eq!(shell(script, Duration::from_secs(120)).unwrap(), "secret");
    }

    #[test]
    fn a_file_is_read_by_its_first_line() {
        use std::os::unix::fs::PermissionsExt;
        let path = std::env::temp_dir().join(format!("pillarbox-secret-{}", std::process::id()));
        std::fs::write(&path, "hunter2\n# mine\n").unwrap();
        let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        mode(0o604);
        assert!(from_file(&path).unwrap_err().contains("everyone on this machine can read it"));
        mode(0o600);
        assert_eq!(from_file(&path).unwrap().octets(), b"hunter2");
        std::fs::write(&path, "\u{feff}hunter2\r\n").unwrap();
        assert_eq!(from_file(&path).unwrap().octets(), b"hunter2");
        std::fs::write(&path, "\nhunter2").unwrap();
        assert!(from_file(&path).unwrap_err().contains("no secret in its first line"));
        std::fs::remove_file(&path).unwrap();
    }
}
