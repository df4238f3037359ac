//! The group that mailboxes belong to: looked up by name when the configuration is read, so that
//! nothing about it can go wrong when mail comes.

use nix::unistd::Group;

use crate::config::{Config, Via};
use crate::limits::ROUTES;

/// The number of each route's group, by its place in the configuration. `Err`: what is wrong with one.
pub fn numbers(config: &Config) -> Result<[Option<u32>; ROUTES], String> {
    let mut all = [None; ROUTES];
    for (number, name) in all.iter_mut().zip(names(config)) {
        if let Some(name) = name {
            *number = Some(find(name)?);
        }
    }
    Ok(all)
}

/// The group of each route's mailboxes, if one is named.
pub fn names(config: &Config) -> impl Iterator<Item = Option<&str>> {
    config.route.iter().map(|route| match &route.via {
        Via::Maildir(maildir) => maildir.group.as_deref(),
        _ => None,
    })
}

/// The number of a group; `Err`: why there is none.
pub fn find(name: &str) -> Result<u32, String> {
    match Group::from_name(name) {
        Ok(Some(group)) => Ok(group.gid.as_raw()),
        Ok(None) => Err(format!("route.group: there is no group {name:?}: make it, or leave group out")),
        Err(e) => Err(format!("route.group: {name:?} can't be looked up: {e}")),
    }
}
