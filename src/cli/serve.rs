//! `pillarbox serve`: the relay.

use super::exit::Exit;
use crate::config::Loaded;

/// Runs the relay until it is told to end.
pub fn run(_loaded: Loaded) -> Exit {
    super::unbuilt("serve")
}
