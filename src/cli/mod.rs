//! The commands: which one is meant, and what all of them share.
//!
//! The program goes by several names: called as `sendmail`, `mailq` or `newaliases` (by a link) it
//! is that program; called by any other name, its first argument says which command is meant.

pub mod ask;
pub mod check;
pub mod connect;
pub mod exit;
pub mod help;
pub mod logins;
pub mod offline;
pub mod password;
pub mod queue;
pub mod send_test;
pub mod sendmail;
pub mod serve;
pub mod spill;
pub mod status;

use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use lexopt::{Arg, Parser, ValueExt};

use crate::config::{self, Loaded, Refused, nearest};
use crate::sys;
use exit::Exit;

/// Runs the program with its arguments, its own name first.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    let mut arguments = arguments.into_iter().peekable();
    let called = arguments.peek().and_then(|path| Path::new(path).file_name()).map(OsString::from);
    let parser = Parser::from_iter(arguments);
    match called.as_ref().and_then(|name| name.to_str()) {
        Some("sendmail") => sendmail::run(None, parser),
        Some("mailq") => queue::run(None, parser),
        Some("newaliases") => new_aliases(),
        _ => command(parser),
    }
}

/// What `newaliases` does: there is no table to build.
pub fn new_aliases() -> Exit {
    print("aliases are read again by themselves when they change: nothing is to be done")
}

/// Runs the command that the first argument names.
fn command(mut parser: Parser) -> Exit {
    let mut named = None;
    loop {
        return match parser.next() {
            Ok(None) => usage("a command is missing", help::MAIN),
            Ok(Some(Arg::Short('h') | Arg::Long("help"))) => print(help::MAIN),
            Ok(Some(Arg::Short('V') | Arg::Long("version"))) => print(help::VERSION),
            Ok(Some(Arg::Short('c'))) => match parser.value() {
                Ok(file) => {
                    named = Some(PathBuf::from(file));
                    continue;
                }
                Err(e) => usage(e, help::MAIN),
            },
            Ok(Some(Arg::Value(word))) => start(&word.string().unwrap_or_default(), named, parser),
            Ok(Some(other)) => usage(other.unexpected(), help::MAIN),
            Err(e) => usage(e, help::MAIN),
        };
    }
}

fn start(command: &str, named: Option<PathBuf>, rest: Parser) -> Exit {
    match command {
        "serve" => match options(named, rest, &[], help::SERVE).and_then(|asked| load(asked.file.as_deref()))
        {
            Ok(loaded) => serve::run(loaded),
            Err(exit) => exit,
        },
        "check" => match options(named, rest, &["print", "connect"], help::CHECK) {
            Ok(asked) => check::run(asked.file.as_deref(), asked.has("print"), asked.has("connect")),
            Err(exit) => exit,
        },
        "sendmail" => sendmail::run(named, rest),
        "queue" => queue::run(named, rest),
        "status" => status::run(named, rest),
        "password" => password::run(rest),
        "send-test" => send_test::run(named, rest),
        other => {
            let known = ["serve", "check", "sendmail", "queue", "status", "password", "send-test"];
            let meant =
                nearest(other, &known).map(|near| format!(": did you mean {near}?")).unwrap_or_default();
            usage(format_args!("there is no command {other:?}{meant}"), help::MAIN)
        }
    }
}

/// The options of a command that takes `-c FILE`, some flags, and no arguments.
struct Asked {
    file: Option<PathBuf>,
    flags: Vec<&'static str>,
}

impl Asked {
    fn has(&self, flag: &str) -> bool {
        self.flags.contains(&flag)
    }
}

/// Reads options; `Err` is how the program ends, everything said.
fn options(
    named: Option<PathBuf>,
    mut parser: Parser,
    flags: &[&'static str],
    help: &str,
) -> Result<Asked, Exit> {
    let mut asked = Asked { file: named, flags: Vec::new() };
    while let Some(argument) = parser.next().map_err(|e| usage(e, help))? {
        match argument {
            Arg::Short('h') | Arg::Long("help") => return Err(print(help)),
            Arg::Short('V') | Arg::Long("version") => return Err(print(help::VERSION)),
            Arg::Short('c') => asked.file = Some(parser.value().map_err(|e| usage(e, help))?.into()),
            Arg::Long(name) if flags.contains(&name) => {
                asked.flags.extend(flags.iter().filter(|flag| **flag == name));
            }
            other => return Err(usage(other.unexpected(), help)),
        }
    }
    Ok(asked)
}

/// Reads the configuration; says all that is wrong with it.
pub fn load(named: Option<&Path>) -> Result<Loaded, Exit> {
    read(named)?.map_err(|refused| {
        complain(&refused);
        Exit::Config
    })
}

/// Reads the configuration.
fn read(named: Option<&Path>) -> Result<Result<Loaded, Refused>, Exit> {
    let folder =
        std::env::current_dir().map_err(|e| fail(Exit::Io, format_args!("the working directory: {e}")))?;
    Ok(config::load(named, &sys::host_name(), &folder))
}

/// Prints to standard output. A reader that went away is no reason to panic.
pub fn print(text: impl Display) -> Exit {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Ok(()) => Exit::Ok,
        Err(_) => Exit::Io,
    }
}

/// Prints to standard error; if that fails there is nobody left to tell.
pub fn complain(text: impl Display) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Says why the program ends this way.
pub fn fail(exit: Exit, why: impl Display) -> Exit {
    complain(format_args!("pillarbox: {why}"));
    exit
}

/// Says what is wrong with the command line and what to type instead: the first line of `help`.
pub fn usage(wrong: impl Display, help: &str) -> Exit {
    let line = help.lines().next().unwrap_or_default();
    complain(format_args!("pillarbox: {wrong}\n{line}\n(more with --help)"));
    Exit::Usage
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(arguments: &[&str]) -> Exit {
        run(arguments.iter().map(OsString::from))
    }

    #[test]
    fn wrong_command_lines_are_usage_errors() {
        for arguments in [
            &["pillarbox"][..],
            &["pillarbox", "nonsense"],
            &["pillarbox", "--nonsense"],
            &["pillarbox", "-c"],
            &["pillarbox", "check", "-c"],
            &["pillarbox", "check", "--prnt"],
            &["pillarbox", "check", "--print=yes"],
            &["pillarbox", "check", "surplus"],
            &["pillarbox", "serve", "--print"],
            &["pillarbox", ""],
        ] {
            assert_eq!(exit(arguments), Exit::Usage, "{arguments:?}");
        }
    }

    #[test]
    fn help_and_version_are_no_errors() {
        for arguments in
            [&["pillarbox", "-h"][..], &["x", "--version"], &["x", "check", "-h"], &["x", "serve", "-V"]]
        {
            assert_eq!(exit(arguments), Exit::Ok, "{arguments:?}");
        }
        assert_eq!(exit(&["/usr/bin/newaliases"]), Exit::Ok);
    }

    #[test]
    fn a_configuration_that_is_named_must_be_there() {
        assert_eq!(exit(&["pillarbox", "check", "-c", "/nonexistent/x.toml"]), Exit::Config);
        assert_eq!(exit(&["pillarbox", "-c", "/nonexistent/x.toml", "serve"]), Exit::Config);
    }
}
