//! `pillarbox password`: makes a line for the users file.

use lexopt::Parser;

use super::exit::Exit;

/// Runs the command.
pub fn run(_arguments: Parser) -> Exit {
    super::unbuilt("password")
}
