//! The configuration as TOML again.

use std::fmt::{self, Display};

use super::Config;

/// The effective configuration as a file that says the same; arguments of commands are hidden.
impl Display for Config {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        todo!()
    }
}
