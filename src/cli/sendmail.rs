//! `pillarbox sendmail`: what programs that know only sendmail(1) call.
//!
//! The message is read whole, then handed to the running relay over its submit socket; the relay
//! trusts it and adds what the header lacks. When none runs, root and the spool's owner put it into
//! the spool.

mod inlet;
pub mod letter;
mod lines;
pub mod options;
pub mod submit;

use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use lexopt::Parser;

use super::exit::Exit;
use super::{fail, help, load, new_aliases, print, queue, usage};
use crate::config::Config;
use letter::Letter;
use options::{Mode, Options};
use submit::Submitted;

/// Runs the command; `named` is the configuration of a `-c` that stood before it.
pub fn run(named: Option<PathBuf>, arguments: Parser) -> Exit {
    let options = match Options::parse(named, arguments) {
        Ok(options) => options,
        Err(e) => return usage(e, help::SENDMAIL),
    };
    match options.mode {
        Mode::Help => return print(help::SENDMAIL),
        Mode::Version => return print(help::VERSION),
        Mode::List => return queue::run(options.file, Parser::from_args(["list"])),
        Mode::Retry => return queue::flush(options.file),
        Mode::Nothing => return Exit::Ok,
        Mode::Aliases => return new_aliases(),
        Mode::Submit | Mode::Smtp => {}
    }
    let config = match load(options.file.as_deref()) {
        Ok(loaded) => loaded.config,
        Err(exit) => return exit,
    };
    if options.mode == Mode::Smtp { pass(&config) } else { deliver(&config, &options) }
}

fn deliver(config: &Config, options: &Options) -> Exit {
    let mut letter = match Letter::read(options, config, &mut io::stdin().lock()) {
        Ok(letter) => letter,
        Err(exit) => return exit,
    };
    match submit::submit(config, options, &mut letter) {
        Submitted::Said { exit, .. } => exit,
        Submitted::NobodyThere => inlet::store(config, options, &mut letter),
    }
}

/// `-bs`: octets go through as they are, both ways, until the relay ends.
fn pass(config: &Config) -> Exit {
    let socket = &config.run.submit;
    let both = UnixStream::connect(socket).and_then(|stream| Ok((stream.try_clone()?, stream)));
    let (mut to, mut from) = match both {
        Ok(both) => both,
        Err(e) => {
            return submit::unreached(socket, &e);
        }
    };
    std::thread::spawn(move || {
        // Whichever side ends, the relay answers and closes.
        let _ = io::copy(&mut io::stdin().lock(), &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
    match io::copy(&mut from, &mut io::stdout().lock()) {
        Ok(_) => Exit::Ok,
        Err(e) => fail(Exit::Io, e),
    }
}
