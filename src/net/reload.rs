//! A new configuration for a running relay.
//!
//! What decides over messages (routes, access, limits of a session, the schedule) changes at once;
//! what sockets, slots and files were made from at the start stays as it was, and the log says that it
//! takes a restart.

use std::path::Path;

use log::{error, info, warn};

use super::confine;
use super::tls::{Credentials, Dials, Server};
use crate::config::{self, Config};
use crate::relay::aliases::Aliases;
use crate::relay::users::Users;
use crate::sys;

/// For which sides of TLS there are buffers, which are made at the start.
#[derive(Clone, Copy, Debug)]
pub struct Made {
    /// For those who dial us.
    pub server: bool,
    /// For those whom we dial.
    pub dials: bool,
}

/// Reads the file again. What can't change without a restart is taken from `old`, and told. `Err`:
/// what is wrong with the file, a line a mistake.
pub fn read(file: &Path, old: &Config, made: Made) -> Result<(Config, Credentials), String> {
    let folder = std::env::current_dir().map_err(|e| format!("the working directory: {e}"))?;
    let loaded =
        config::load(Some(file), &sys::host_name(), &folder).map_err(|refused| refused.to_string())?;
    let mut new = loaded.config;
    if let Some(users_file) = &new.access.users_file {
        Users::read(users_file).map_err(|refused| refused.to_string())?;
    }
    Aliases::open(&new).map_err(|refused| refused.to_string())?;
    let keep = |what: &str, changed: bool| {
        if changed {
            warn!("- {what} has changed, which takes a restart: the old values hold until then");
        }
    };
    keep("[listen]", new.listen != old.listen);
    keep("[spool]", new.spool != old.spool);
    keep("[run]", new.run != old.run);
    let log = config::Log { level: new.log.level, ..old.log.clone() };
    keep("[log], but for its level,", new.log != log);
    keep("limits.sessions", new.limits.sessions != old.limits.sessions);
    keep("limits.deliveries", new.limits.deliveries != old.limits.deliveries);
    new.listen.clone_from(&old.listen);
    new.spool.clone_from(&old.spool);
    new.run.clone_from(&old.run);
    new.log = log;
    new.limits.sessions = old.limits.sessions;
    new.limits.deliveries = old.limits.deliveries;
    confine::recheck(&new, file);
    let credentials = credentials(&new, made)?;
    Ok((new, credentials))
}

/// The files of TLS are read again, whether or not their names have changed. A bad certificate or key is
/// logged, and the old pair stays in use; without the authorities that a route needs the whole
/// configuration is of no use.
fn credentials(new: &Config, made: Made) -> Result<Credentials, String> {
    if Dials::is_wanted(new) && !made.dials {
        return Err("[[route]] tls: none wanted TLS at the start, so to have it takes a restart".to_owned());
    }
    let dials = Dials::load(new).map_err(|mistakes| mistakes.join("\n"))?;
    Ok(Credentials { server: server(new, made), dials, octets: 0 })
}

/// What is shown to those who dial us from now on, if that changes.
fn server(new: &Config, made: Made) -> Option<Server> {
    match (made.server, new.tls.certificate_file.is_some()) {
        (false, false) => return None,
        // The sandbox may keep the files from us as well.
        (false, true) => {
            warn!("- [tls] is new, which takes a restart: no TLS is offered until then");
            return None;
        }
        (true, false) => {
            warn!("- [tls] is gone, which takes a restart: the old certificate and key are used until then");
            return None;
        }
        (true, true) => {}
    }
    match Server::load(&new.tls) {
        Ok(server) => server.inspect(|_| info!("- certificate and key read again")),
        Err(mistake) => {
            error!("- {mistake}");
            error!("- the old certificate and key stay in use");
            None
        }
    }
}
