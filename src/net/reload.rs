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
use crate::relay::users::Users;
use crate::sys;

/// Reads the file again. What can't change without a restart is taken from `old`, and told. `Err`:
/// what is wrong with the file, a line a mistake.
pub fn read(file: &Path, old: &Config) -> Result<(Config, Credentials), String> {
    let folder = std::env::current_dir().map_err(|e| format!("the working directory: {e}"))?;
    let loaded =
        config::load(Some(file), &sys::host_name(), &folder).map_err(|refused| refused.to_string())?;
    let mut new = loaded.config;
    if let Some(users_file) = &new.access.users_file {
        Users::read(users_file).map_err(|refused| refused.to_string())?;
    }
    let keep = |what: &str, changed: bool| {
        if changed {
            warn!("- [{what}] has changed, which takes a restart: the old values hold until then");
        }
    };
    keep("listen", new.listen != old.listen);
    keep("spool", new.spool != old.spool);
    keep("run", new.run != old.run);
    keep("log", new.log != old.log);
    let (ours, theirs) = (&old.limits, &new.limits);
    keep("limits", ours.sessions != theirs.sessions || ours.deliveries != theirs.deliveries);
    new.listen.clone_from(&old.listen);
    new.spool.clone_from(&old.spool);
    new.run.clone_from(&old.run);
    new.log.clone_from(&old.log);
    new.limits.sessions = old.limits.sessions;
    new.limits.deliveries = old.limits.deliveries;
    confine::recheck(&new, file);
    let credentials = credentials(&new, old)?;
    Ok((new, credentials))
}

/// The files of TLS are read again, whether or not their names have changed. A bad certificate or key is
/// logged, and the old pair stays in use; without the authorities that a route needs the whole
/// configuration is of no use.
fn credentials(new: &Config, old: &Config) -> Result<Credentials, String> {
    if Dials::is_wanted(new) && !Dials::is_wanted(old) {
        return Err("a route wants TLS, and none did before, which takes a restart".to_owned());
    }
    let dials = Dials::load(new).map_err(|mistakes| mistakes.join("\n"))?;
    let server = match Server::load(&new.tls) {
        Ok(Some(_)) if old.tls.certificate_file.is_none() => {
            warn!("- [tls] is new, which takes a restart: no TLS is offered until then");
            None
        }
        Ok(server) => server.inspect(|_| info!("- certificate and key read again")),
        Err(mistake) => {
            error!("- {mistake}");
            error!("- the old certificate and key stay in use");
            None
        }
    };
    Ok(Credentials { server, dials, octets: 0 })
}
