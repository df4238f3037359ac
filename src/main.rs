//! The `pillarbox` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    pillarbox::cli::run(std::env::args_os()).into()
}
