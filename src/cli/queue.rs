//! `pillarbox queue`: looks at the queue and changes it.

use std::path::PathBuf;

use lexopt::Parser;

use super::exit::Exit;

/// Runs the command; `named` is the configuration of a `-c` that stood before it.
pub fn run(_named: Option<PathBuf>, _arguments: Parser) -> Exit {
    super::unbuilt("queue")
}
