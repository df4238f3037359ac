//! `pillarbox sendmail`: submits the message on standard input.

use std::path::PathBuf;

use lexopt::Parser;

use super::exit::Exit;

/// Runs the command; `named` is the configuration of a `-c` that stood before it.
pub fn run(_named: Option<PathBuf>, _arguments: Parser) -> Exit {
    super::unbuilt("sendmail")
}
