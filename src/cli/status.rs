//! `pillarbox status`: what the relay is doing.

use std::path::PathBuf;

use lexopt::Parser;

use super::ask::{self, Answer, ask};
use super::exit::Exit;
use super::{fail, help, load, options};
use crate::relay::request::Request;

/// Runs the command; `named` is the configuration of a `-c` that stood before it.
pub fn run(named: Option<PathBuf>, arguments: Parser) -> Exit {
    let asked = match options(named, arguments, &["json"], help::STATUS) {
        Ok(asked) => asked,
        Err(exit) => return exit,
    };
    let config = match load(asked.file.as_deref()) {
        Ok(loaded) => loaded.config,
        Err(exit) => return exit,
    };
    let control = &config.run.control;
    match ask(control, &Request::Status { json: asked.has("json") }) {
        Answer::Told(mut told) => ask::print(&mut told),
        Answer::Refused { exit, why } => fail(exit, why),
        Answer::Failed(e) => ask::failed(control, &e),
        Answer::NobodyThere => ask::nobody_there(Exit::Unavailable, control),
    }
}
