//! Which route a recipient takes.

use crate::config::Config;

/// Splits a canonical path at the last `@` outside quotes; a bare `postmaster` has an empty domain.
pub fn split(path: &str) -> (&str, &str) {
    let _ = path;
    todo!()
}

/// The place in `config.route` of the first route that takes mail from `reverse_path` to
/// `forward_path`, both canonical and without brackets; `None`: there is no way.
pub fn find(config: &Config, reverse_path: &str, forward_path: &str) -> Option<u16> {
    let _ = (config, reverse_path, forward_path);
    todo!()
}
