//! What the relay still opens once it runs, by its configuration; the rest it gives up.
//!
//! Files that are read again are granted with their folder, because editors and programs replace a file
//! instead of writing into it. So `/etc` can be read as a whole: what is secret there is guarded by its
//! owner, which is why the relay gives up root first.

use std::path::{Path, PathBuf};

use log::{info, warn};

use crate::config::{Config, Endpoint, LogTarget, Via};
use crate::sys::sandbox::{self, Access, Grant, Strength};

/// Where the system's C library looks names up, and its time zones.
const OF_THE_SYSTEM: [&str; 9] = [
    "/etc",
    "/etc/resolv.conf",
    "/etc/localtime",
    "/usr/share/zoneinfo",
    "/run/systemd/resolve",
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
];
/// Authorities of TLS, where the bundle in `/etc` is a link.
const AUTHORITIES: [&str; 2] = ["/usr/share/ca-certificates", "/var/lib/ca-certificates"];

/// Enters the sandbox, if the configuration wants one. To be called before any thread is started, with the
/// ports bound and the spool there.
pub fn enter(config: &Config, file: Option<&Path>) {
    if !config.run.sandbox {
        return info!("- sandbox: off, by the configuration");
    }
    let grants = grants(config, file);
    match sandbox::enter(&grants) {
        Ok(Strength::Full) => info!("- sandbox: only what the configuration names can be opened"),
        Ok(Strength::Partial) => {
            info!(
                "- sandbox: only what the configuration names can be opened; this kernel guards files, not ports"
            );
        }
        Ok(Strength::None) => {
            info!(
                "- sandbox: this kernel has no Landlock that serves; files are guarded by their owners only"
            );
        }
        Err(e) => warn!("- sandbox: it can't be had ({e}); files are guarded by their owners only"),
    }
    warn_of_uncovered(&grants);
}

/// Says what a new configuration needs that the sandbox keeps out.
pub fn recheck(config: &Config, file: &Path) {
    warn_of_uncovered(&grants(config, Some(file)));
}

fn warn_of_uncovered(grants: &[Grant]) {
    for Grant { path, access } in grants {
        if !sandbox::covers(path, *access) {
            warn!("- sandbox: {} is out of reach, which takes a restart to change", path.display());
        }
    }
}

/// Everything that is opened after the start.
fn grants(config: &Config, file: Option<&Path>) -> Vec<Grant> {
    let mut grants = Vec::new();
    let mut grant = |path: &Path, access| grants.push(Grant::new(path, access));
    grant(&config.spool.directory, Access::Write);
    for route in &config.route {
        if let Via::Maildir(maildir) = &route.via {
            grant(&fixed_part(&maildir.directory), Access::Write);
        }
    }
    if config.log.target == LogTarget::File {
        grant(above(&config.log.file), Access::Write);
    }
    for path in [&config.run.control, &config.run.submit] {
        grant(above(path), Access::Remove);
    }
    for listen in &config.listen {
        if let Endpoint::Unix(path) = &listen.address {
            grant(above(path), Access::Remove);
        }
    }
    for path in OF_THE_SYSTEM.iter().chain(&AUTHORITIES).map(Path::new).filter(|path| path.exists()) {
        grant(path, Access::Read);
    }
    for path in ["/proc/self", "/dev/urandom", "/dev/null"].map(Path::new) {
        grant(path, Access::Read);
    }
    for path in file.into_iter().chain(read_files(config)).chain([Path::new("/etc/resolv.conf")]) {
        grant(path, Access::Read);
        for folder in folders(path) {
            grant(&folder, Access::Read);
        }
    }
    commands(config, &mut grants);
    grants.sort();
    grants.dedup();
    grants
}

/// The files that a configuration names to be read.
fn read_files(config: &Config) -> impl Iterator<Item = &Path> {
    let tls = &config.tls;
    let of_all =
        [&tls.certificate_file, &tls.key_file, &tls.ca_file, &config.access.users_file, &config.aliases.file];
    let of_routes = config.route.iter().flat_map(|route| match &route.via {
        Via::Smarthost(host) => [host.ca_file.as_deref(), host.password_file.as_deref()],
        _ => [None; 2],
    });
    of_all.into_iter().map(Option::as_deref).chain(of_routes).flatten()
}

/// What programs that print passwords and tokens need. Without such a program nothing can be started.
fn commands(config: &Config, grants: &mut Vec<Grant>) {
    let programs = config.route.iter().filter_map(|route| match &route.via {
        Via::Smarthost(host) => Some([host.password_command.first(), host.token_command.first()]),
        _ => None,
    });
    let programs: Vec<&String> = programs.flatten().flatten().collect();
    if programs.is_empty() {
        return;
    }
    for path in ["/lib", "/lib64", "/usr/lib", "/usr/lib64"].map(Path::new).into_iter().filter(|p| p.exists())
    {
        grants.push(Grant::new(path, Access::Run));
    }
    grants.push(Grant::new("/dev/null", Access::Write));
    for program in programs {
        grants.extend(sandbox::program(program).map(|path| Grant::new(path, Access::Run)));
    }
    for path in &config.run.command_paths {
        grants.push(Grant::new(path, Access::Run));
        grants.push(Grant::new(path, Access::Write));
    }
}

/// The folder that a Maildir template names before its first placeholder.
fn fixed_part(template: &str) -> PathBuf {
    match template.split_once('{') {
        None => template.into(),
        Some((fixed, _)) => Path::new("/").join(fixed.rsplit_once('/').map_or("", |(folder, _)| folder)),
    }
}

/// The folder of a file; the working directory for a bare name.
fn above(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

/// The folder of a file, and of the file that it leads to. A file in the root stands for itself: a grant
/// for its folder would be one for everything.
fn folders(file: &Path) -> impl Iterator<Item = PathBuf> {
    let named = above(file).to_owned();
    let real = sandbox::nearest(file).map(|file| above(&file).to_owned());
    [Some(named), real].into_iter().flatten().filter(|folder| folder != Path::new("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mailboxes_are_granted_up_to_the_first_placeholder() {
        for (template, folder) in [
            ("/var/mail/{user}", "/var/mail"),
            ("/home/u-{user}/Maildir", "/home"),
            ("/srv/{domain}/{user}", "/srv"),
            ("/var/mail/all", "/var/mail/all"),
            ("/{user}", "/"),
            ("/u-{user}", "/"),
        ] {
            assert_eq!(fixed_part(template), Path::new(folder), "{template}");
        }
    }

    #[test]
    fn every_file_that_is_named_stays_open() {
        let text = "[log]\ntarget = \"file\"\nfile = \"/nonexistent/log/x\"\n[spool]\ndirectory = \"/nonexistent/spool\"\n";
        let mut config = Config::parse(text, "host.test").unwrap();
        config.tls.key_file = Some("/nonexistent/key/k.pem".into());
        config.access.users_file = Some("/users".into());
        let grants = grants(&config, Some(Path::new("/nonexistent/c/pillarbox.toml")));
        let has = |path: &str, access| grants.contains(&Grant::new(path, access));
        assert!(has("/nonexistent/spool", Access::Write) && has("/nonexistent/log", Access::Write));
        assert!(has("/nonexistent/key", Access::Read) && has("/nonexistent/c", Access::Read));
        assert!(has("/users", Access::Read) && !has("/", Access::Read));
        assert!(has("/etc", Access::Read) && has("/run/pillarbox", Access::Remove));
        assert!(grants.iter().all(|grant| grant.access != Access::Run), "there is no command");
    }

    #[test]
    fn commands_can_be_started_only_where_there_are_some() {
        let text = "[[route]]\nvia = \"smarthost\"\nhosts = [\"mail.test:587\"]\ntls = \"none\"\n";
        let mut config = Config::parse(text, "host.test").unwrap();
        config.run.command_paths = vec!["/opt/tokens".into()];
        let Via::Smarthost(host) = &mut config.route[0].via else { panic!("the route stands first") };
        host.token_command = vec!["sh".to_owned()];
        let grants = grants(&config, None);
        assert!(grants.contains(&Grant::new("/opt/tokens", Access::Run)));
        assert!(grants.iter().any(|grant| grant.path.ends_with("sh") && grant.access == Access::Run));
    }
}
