//! `pillarbox check`: reads the configuration, names every mistake, warns of what will surprise.

use std::ffi::CString;
use std::fs::Metadata;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use nix::sys::statfs::statfs;
use nix::sys::statvfs::statvfs;
use nix::unistd::{Gid, Uid, User, getegid, geteuid, getgrouplist, getgroups};

use super::exit::Exit;
use super::{complain, connect, logins, print, read};
use crate::config::{Config, Loaded, LogTarget, Queue, Via, located};
use crate::dns::resolver::Failure;
use crate::limits::CELLS_OCTETS;
use crate::net::ceiling::memory_ceiling;
use crate::net::names;
use crate::net::tls::Credentials;
use crate::relay::aliases::Aliases;
use crate::relay::{group, mailbox, route};
use crate::spool::default_cells_octets;
use crate::sys::{RELEASE_DATE_UNIX_S, unix_s};

/// File systems that are gone after a power cut, by their magic number.
const IN_RAM: [(u32, &str); 2] = [(0x0102_1994, "tmpfs"), (0x8584_58f6, "ramfs")];

/// Runs the command.
pub fn run(named: Option<&Path>, shall_print: bool, shall_connect: bool) -> Exit {
    let mut loaded = match read(named) {
        Ok(Ok(loaded)) => loaded,
        Ok(Err(refused)) => {
            complain(&refused);
            // Whoever mends the text need not come back for the rest.
            refused.rest().map(|config| judge(config, Some(refused.file())));
            return Exit::Config;
        }
        Err(exit) => return exit,
    };
    let config = &loaded.config;
    let credentials = judge(config, loaded.file.as_deref());
    warnings(&loaded).iter().for_each(|warning| complain(format_args!("warning: {warning}")));
    let ceiling = memory_ceiling(config, credentials.as_ref().map_or(0, |c| c.octets)).div_ceil(1024);
    let ceiling = format!("memory: at most {ceiling} KiB with this configuration");
    let Some(credentials) = credentials else { return Exit::Config };
    let printed = match &loaded.file {
        _ if shall_print => {
            loaded.config.spool.cells_size = cells_size(config);
            print(format_args!("# {ceiling}\n{}", loaded.config))
        }
        _ if shall_connect => Exit::Ok,
        Some(file) => print(format_args!("{}: no mistakes\n{ceiling}", file.display())),
        None => print(format_args!("no configuration file: the safe default holds\n{ceiling}")),
    };
    if shall_connect { connect::run(&Arc::new(loaded.config), credentials.dials) } else { printed }
}

/// Names what is right in itself but wrong on this machine; certificates and secrets, if nothing is.
fn judge(config: &Config, file: Option<&Path>) -> Option<Credentials> {
    let mut mistakes = mistakes(config);
    let credentials = Credentials::load(config).map_err(|more| mistakes.extend(more)).ok();
    // A file that is not there was noticed twice.
    let is_first = |(at, mistake): &(usize, &String)| !mistakes[..*at].contains(mistake);
    let told = mistakes.iter().enumerate().filter(is_first);
    told.for_each(|(_, mistake)| complain(located(file, mistake)));
    credentials.filter(|_| mistakes.is_empty())
}

/// Octets of the file of cells: as it was made, or as it would be made now.
fn cells_size(config: &Config) -> u64 {
    let spool = &config.spool;
    let made = spool.directory.join("cells").metadata().map_or(0, |cells| cells.len());
    let free = spool.directory.ancestors().find(|folder| folder.exists()).and_then(free_octets);
    match (made, spool.cells_size) {
        (0, 0) => default_cells_octets(free.unwrap_or(u64::MAX)),
        (0, asked) => asked,
        (made, _) => made,
    }
    .clamp(CELLS_OCTETS.0, CELLS_OCTETS.1)
}

/// What is right in itself but wrong on this machine; `serve` must not start with it either.
pub fn mistakes(config: &Config) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(name) = missing_user(config) {
        found
            .push(format!("run.user: there is no user {name:?}: make it, or write user = \"\" to stay root"));
    }
    let user = run_user(config);
    for (key, file) in named_files(config) {
        match file.metadata() {
            Err(e) => found.push(format!("{key}: {} can't be read: {e}", file.display())),
            Ok(metadata) if user.as_ref().is_some_and(|user| !can_read(&metadata, user)) => {
                found.push(format!("{key}: {} can't be read by the user of [run]", file.display()));
            }
            Ok(_) => {}
        }
    }
    if config.aliases.file.as_deref().is_some_and(Path::exists)
        && let Err(refused) = Aliases::open(config)
    {
        found.extend(refused.to_string().lines().map(str::to_owned));
    }
    for name in group::names(config).flatten() {
        match group::find(name) {
            Err(why) => found.push(why),
            Ok(number) if !may_give_to(number, user.as_ref()) => found.push(format!(
                "route.group: the user of [run] is not in the group {name:?} and can't give it mailboxes: add it (usermod -aG {name} USER)"
            )),
            Ok(_) => {}
        }
    }
    found.extend(logins::mistakes(config));
    found.extend(log_mistake(config));
    found
}

/// A log file that can't be made: its folder is none of those that are made for it.
fn log_mistake(config: &Config) -> Option<String> {
    let folder = config.log.file.parent().filter(|_| config.log.target == LogTarget::File)?;
    let is_there = folder.as_os_str().is_empty() || folder.is_dir();
    (!is_there).then(|| format!("log.file: there is no folder {}: make it", folder.display()))
}

/// True if the relay, as `user` or as we are, may give its files to a group.
fn may_give_to(group: u32, user: Option<&User>) -> bool {
    let group = Gid::from_raw(group);
    let (uid, own, others) = match user {
        None => (geteuid(), getegid(), getgroups().unwrap_or_default()),
        Some(user) => {
            let others = CString::new(user.name.as_str()).map(|name| getgrouplist(&name, user.gid));
            (user.uid, user.gid, others.ok().and_then(Result::ok).unwrap_or_default())
        }
    };
    uid.is_root() || own == group || others.contains(&group)
}

/// The user to become, if it does not exist.
fn missing_user(config: &Config) -> Option<&str> {
    config.run.user.as_deref().filter(|name| geteuid().is_root() && !is_user(name))
}

/// What works but not as one may think.
fn warnings(loaded: &Loaded) -> Vec<String> {
    let config = &loaded.config;
    let mut found = spool_warnings(config);
    found.extend(queue_warnings(&config.queue));
    found.extend(logins::warnings(config));
    let mut warn = |text: &str| found.push(text.to_owned());
    if unix_s() < RELEASE_DATE_UNIX_S {
        warn("the clock stands before this program was made: nothing expires until it is set");
    }
    let mut relays = config.client.iter().filter(|client| client.relay).flat_map(|client| &client.networks);
    if relays.any(|network| network.is_everyone()) {
        warn("a [[client]] with relay holds everyone: this is an open relay, spammers find it within hours");
    }
    if config.access.relay_from.iter().any(|network| network.is_everyone()) {
        warn("access.relay_from holds everyone: this is an open relay, spammers find it within hours");
    }
    if let Some(warning) = mx_warning(config) {
        warn(&warning);
    }
    if config.listen.is_empty() {
        warn("no [[listen]]: mail comes in by the submit socket (sendmail) only");
    }
    if route::find(config, "", &config.postmaster).is_none_or(|at| is_reject(config, at)) {
        warn("no route takes mail for the postmaster: mail servers must (RFC 5321 4.5.1)");
    }
    if has_no_mailbox(config, &config.postmaster) {
        warn(&format!(
            "postmaster: {:?} has neither mailbox nor alias: its mail is refused",
            config.postmaster
        ));
    }
    if let Some(warning) = root_warning(config) {
        warn(&warning);
    }
    if catches_elsewhere(config) {
        warn(
            "aliases: \"*\" takes every name without an alias, those with a mailbox behind LMTP too: write NAME: NAME for each of them",
        );
    }
    let takes_all = config.route.iter().position(|route| route.to.is_empty() && route.from.is_empty());
    if let Some(at) = takes_all.filter(|at| at + 1 < config.route.len()) {
        warn(&format!("route {} takes everything: those after it are never asked", at + 1));
    }
    if config.limits.message_size > config.spool.max_size {
        warn("limits.message_size is more than spool.max_size: a message larger than the spool never fits");
    }
    if let (Some(file), Some(user)) = (&loaded.file, run_user(config))
        && file.metadata().is_ok_and(|metadata| !can_read(&metadata, &user))
    {
        warn(&format!("{} can't be read by {}: SIGHUP won't read it again", file.display(), user.name));
    }
    found
}

/// A schedule that ends before it has begun.
fn queue_warnings(queue: &Queue) -> Vec<String> {
    let mut found = Vec::new();
    if queue.retry.first().is_some_and(|wait| *wait >= queue.expire_after) {
        found.push(
            "queue.expire_after comes before the second try: what can't be delivered at once is returned"
                .to_owned(),
        );
    }
    if queue.warn_after >= queue.expire_after {
        found.push("queue.warn_after is not before queue.expire_after: nobody is told of a delay".to_owned());
    }
    found
}

/// Domains that exist in one house or nowhere (RFC 6761, RFC 8375, and what routers make up).
const PRIVATE: [&str; 12] = [
    "local",
    "localhost",
    "localdomain",
    "lan",
    "home",
    "home.arpa",
    "internal",
    "intranet",
    "corp",
    "test",
    "example",
    "invalid",
];

/// What other mail servers will have against our name, if we turn to them directly.
fn mx_warning(config: &Config) -> Option<String> {
    let at = config.route.iter().position(|route| matches!(route.via, Via::Mx(_)))?;
    let hostname = &config.hostname;
    let is_below = |domain: &&str| hostname.strip_suffix(*domain).is_some_and(|rest| rest.ends_with('.'));
    let failure = if !hostname.contains('.') || PRIVATE.iter().any(is_below) {
        Failure::NoName
    } else {
        names::look_up_in_dns(config, at, hostname).err()?
    };
    if failure.is_permanent() {
        return Some(format!(
            "route {} (mx): hostname {hostname:?} is a name nobody can resolve, and many servers refuse mail from such a name: give this host a public name, or send by a smarthost",
            at + 1
        ));
    }
    Some(format!("route {} (mx): no name server can tell about {hostname:?} now: mail would wait", at + 1))
}

/// True if mail for a local address would be refused, as far as can be seen.
fn has_no_mailbox(config: &Config, address: &str) -> bool {
    let via = route::find(config, "", address).and_then(|at| config.route.get(usize::from(at)));
    let Some(Via::Maildir(maildir)) = via.map(|route| &route.via) else { return false };
    mailbox::check(maildir, address).is_err_and(|reply| reply.code() == 550) && !is_alias(config, address)
}

/// True if mail for a local address goes where the aliases file says.
fn is_alias(config: &Config, address: &str) -> bool {
    let aliases = Aliases::open(config).ok().flatten();
    let table = aliases.as_ref().map(Aliases::table);
    address.rsplit_once('@').is_some_and(|(local, domain)| {
        route::is_local(config, domain)
            && table.is_some_and(|t| t.find(local, domain).or_else(|| t.catch_all(domain)).is_some())
    })
}

/// What becomes of cron's mail if it comes to nobody here: it is for `root`, at our own name.
fn root_warning(config: &Config) -> Option<String> {
    let hostname = &config.hostname;
    let root = format!("root@{hostname}");
    let at = route::find(config, "", &root);
    let fate = match at.and_then(|at| Some((at, &config.route.get(usize::from(at))?.via))) {
        Some((at, Via::Smarthost(_) | Via::Mx(_))) => format!("leaves by route {}", at + 1),
        None | Some((_, Via::Reject)) => "is refused".to_owned(),
        Some((_, Via::Maildir(_))) if has_no_mailbox(config, &root) => "is refused".to_owned(),
        Some((_, Via::Maildir(_) | Via::Lmtp(_) | Via::Discard)) => return None,
    };
    let advice = match route::is_local(config, hostname) {
        true => "say in [aliases] who reads it".to_owned(),
        false => format!("put {hostname:?} into local_domains, and who reads it into [aliases]"),
    };
    (!is_alias(config, &root)).then(|| format!("mail for root (cron's) is for {root} and {fate}: {advice}"))
}

/// True if unknown names are caught at a domain whose mailboxes a server behind LMTP has.
fn catches_elsewhere(config: &Config) -> bool {
    let Ok(Some(aliases)) = Aliases::open(config) else { return false };
    let is_elsewhere = |domain: &String| {
        let route = route::find(config, "", &format!("someone@{domain}"));
        let via = route.and_then(|at| config.route.get(usize::from(at))).map(|route| &route.via);
        aliases.table().catch_all(domain).is_some() && matches!(via, Some(Via::Lmtp(_)))
    };
    config.local_domains.iter().any(is_elsewhere)
}

/// What is odd about the place of the spool.
fn spool_warnings(config: &Config) -> Vec<String> {
    // It may not be there yet: then the folder it will be made in tells.
    let Some(place) = config.spool.directory.ancestors().find(|folder| folder.exists()) else {
        return Vec::new();
    };
    let (name, wanted) = (place.display(), config.spool.max_size);
    let in_ram = in_ram(place)
        .map(|kind| format!("spool.directory: {name} is in RAM ({kind}): mail is lost with the power"));
    let too_full = free_octets(place).filter(|free| *free < wanted).map(|free| {
        format!("spool.max_size is {} KiB, but {name} has {} KiB left", wanted / 1024, free / 1024)
    });
    in_ram.into_iter().chain(too_full).collect()
}

/// The name of the file system at `place`, if it is gone after a power cut.
pub fn in_ram(place: &Path) -> Option<&'static str> {
    // The number's type differs from target to target; its low 32 bits are the magic.
    let magic = statfs(place).ok()?.filesystem_type().0 as u32;
    IN_RAM.iter().find(|(known, _)| *known == magic).map(|(_, name)| *name)
}

/// Octets that are free for us at `place`.
#[allow(clippy::unnecessary_cast)] // of 32 bits on some targets
fn free_octets(place: &Path) -> Option<u64> {
    let space = statvfs(place).ok()?;
    Some((space.blocks_available() as u64).saturating_mul(space.fragment_size() as u64))
}

fn is_reject(config: &Config, at: u16) -> bool {
    config.route.get(usize::from(at)).is_none_or(|route| route.via == Via::Reject)
}

/// The user that the relay will run as, if it is another one than ours.
fn run_user(config: &Config) -> Option<User> {
    let user = User::from_name(config.run.user.as_deref()?).ok().flatten()?;
    (user.uid != geteuid()).then_some(user)
}

fn is_user(name: &str) -> bool {
    matches!(User::from_name(name), Ok(Some(_)))
}

/// Every file that has to be there, with its key.
fn named_files(config: &Config) -> Vec<(&'static str, &Path)> {
    let mut files = vec![
        ("tls.certificate_file", config.tls.certificate_file.as_deref()),
        ("tls.key_file", config.tls.key_file.as_deref()),
        ("tls.ca_file", config.tls.ca_file.as_deref()),
        ("access.users_file", config.access.users_file.as_deref()),
        ("aliases.file", config.aliases.file.as_deref()),
    ];
    for route in &config.route {
        if let Via::Smarthost(host) = &route.via {
            files.push(("route.ca_file", host.ca_file.as_deref()));
            files.push(("route.password_file", host.password_file.as_deref()));
        }
    }
    files.into_iter().filter_map(|(key, file)| Some((key, file?))).collect()
}

/// True if the mode of a file lets `user` read it. Groups other than its first are not asked.
fn can_read(file: &Metadata, user: &User) -> bool {
    let mode = file.permissions().mode();
    if user.uid.is_root() || Uid::from_raw(file.uid()) == user.uid {
        user.uid.is_root() || mode & 0o400 != 0
    } else if file.gid() == user.gid.as_raw() {
        mode & 0o040 != 0
    } else {
        mode & 0o004 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warned(text: &str) -> String {
        let config = Config::parse(text, "host.test").unwrap();
        warnings(&Loaded { config, file: None }).join("\n")
    }

    #[test]
    fn surprises_are_told() {
        let plain = warned("[[listen]]\naddress = \"127.0.0.1:25\"\n");
        for word in ["open relay", "postmaster", "listen", "everything", "RAM"] {
            assert!(!plain.contains(word), "{plain}");
        }
        assert!(warned("").contains("no [[listen]]"));
        let short = warned("[queue]\nretry = [\"2h\"]\nexpire_after = \"1h\"\n");
        assert!(short.contains("before the second try") && short.contains("told of a delay"), "{short}");
        assert!(!warned("[queue]\nwarn_after = \"0s\"\nexpire_after = \"1h\"\n").contains("queue."));
        assert!(warned("[access]\nrelay_from = [\"0.0.0.0/0\"]\n").contains("open relay"));
        assert!(warned("local_domains = []\n").contains("for the postmaster"));
        assert!(warned("postmaster = \"nobody-here@host.test\"\n").contains("neither mailbox nor alias"));
        let lmtp = "[[route]]\nvia = \"lmtp\"\nhosts = [\"unix:/run/x\"]\n";
        for (text, told) in [
            ("[[route]]\nvia = \"smarthost\"\nhosts = [\"x.test:25\"]\n", "leaves by route 1: say in"),
            ("local_domains = [\"home.test\"]\n", "is for root@host.test and is refused: put \"host.test\""),
            ("[[route]]\nvia = \"maildir\"\ndirectory = \"/none/{user}\"\n", "refused: say in [aliases]"),
        ] {
            assert!(warned(text).contains(told), "{}", warned(text));
        }
        assert!(!warned(lmtp).contains("root") && !warned("[[route]]\nvia = \"discard\"\n").contains("root"));
        let all = "[[route]]\nvia = \"discard\"\n[[route]]\nto = [\"x.test:25\"]\nvia = \"reject\"\n";
        assert!(warned(all).contains("route 1 takes everything"));
        assert!(warned("[spool]\nmax_size = \"1024GiB\"\n").contains("KiB left"));
        let mx = "[[route]]\nvia = \"mx\"\n";
        assert!(warned(mx).contains("\"host.test\" is a name nobody can resolve"));
        // Nobody listens there: the answer is the same without a network.
        let unknown = "hostname = \"relay.pillarbox.org\"\n[dns]\nresolvers = [\"127.0.0.1:9\"]\n";
        assert!(warned(&format!("{unknown}{mx}")).contains("no name server can tell"));
        assert!(!warned(unknown).contains("no name server"), "only mx cares");
        let small = "[spool]\nmax_size = \"1MiB\"\n";
        assert!(!warned(small).contains("never fits"), "the default gives way");
        assert!(warned(&format!("{small}[limits]\nmessage_size = \"2MiB\"\n")).contains("never fits"));
    }

    #[test]
    fn a_spool_in_ram_is_told_where_there_is_such_a_place() {
        let shm = Path::new("/dev/shm");
        if statfs(shm).is_ok_and(|system| system.filesystem_type() == nix::sys::statfs::TMPFS_MAGIC) {
            assert!(warned("[spool]\ndirectory = \"/dev/shm/none/spool\"\n").contains("is in RAM (tmpfs)"));
        }
    }

    #[test]
    fn files_are_read_by_mode() {
        let folder = std::env::temp_dir().join(format!("pillarbox-check-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("x");
        std::fs::write(&file, "").unwrap();
        let mut user = User::from_uid(Uid::from_raw(0)).unwrap().unwrap();
        let may = |mode: u32, user: &User| {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            can_read(&file.metadata().unwrap(), user)
        };
        assert!(may(0o000, &user), "root reads all");
        let owner = file.metadata().unwrap();
        (user.uid, user.gid) = (Uid::from_raw(owner.uid() + 1), nix::unistd::Gid::from_raw(owner.gid() + 1));
        assert!(may(0o004, &user) && !may(0o440, &user));
        user.gid = nix::unistd::Gid::from_raw(owner.gid());
        assert!(may(0o040, &user) && !may(0o404, &user));
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn the_run_user_has_to_exist() {
        let us = User::from_uid(geteuid()).unwrap().unwrap().name;
        assert!(is_user(&us) && !is_user("no such user"));
        let mut config = Config::parse("", "host.test").unwrap();
        config.run.user = Some(us);
        assert!(mistakes(&config).is_empty() && run_user(&config).is_none());
        config.run.user = Some("no such user".to_owned());
        assert_eq!(mistakes(&config).len(), usize::from(geteuid().is_root()), "only root can change");
    }

    #[test]
    fn aliases_are_read_and_a_catch_all_before_lmtp_surprises() {
        let file = std::env::temp_dir().join(format!("pillarbox-check-aliases-{}", std::process::id()));
        let route = "[[route]]\nto = [\"host.test\"]\nvia = \"lmtp\"\nhosts = [\"unix:/run/x\"]\n";
        let mut config = Config::parse(route, "host.test").unwrap();
        config.run.user = None;
        config.aliases.file = Some(file.clone());
        std::fs::write(&file, "a: b\nc: |d\ne: /f\n").unwrap();
        let found = mistakes(&config);
        assert_eq!(found.len(), 2);
        assert!(found[0].contains(":2:4: mail is not given to programs"), "{found:?}");
        for (text, surprises) in [("a: b\n", false), ("*@host.test: b\n", true)] {
            std::fs::write(&file, text).unwrap();
            assert_eq!((mistakes(&config).len(), catches_elsewhere(&config)), (0, surprises), "{text}");
        }
        let route = "[[route]]\nvia = \"smarthost\"\nhosts = [\"x.test:25\"]\n";
        let leaves = Config { aliases: config.aliases, ..Config::parse(route, "host.test").unwrap() };
        assert_eq!((root_warning(&leaves), catches_elsewhere(&leaves)), (None, false), "it is wanted there");
        std::fs::write(&file, "a: b\n").unwrap();
        assert!(root_warning(&leaves).is_some());
        std::fs::remove_file(file).unwrap();
    }

    #[test]
    fn a_group_has_to_exist_and_be_ours_to_give() {
        let file = |group: &str| format!("[[route]]\nvia = \"maildir\"\ngroup = {group:?}\n");
        let found = |group: &str| {
            let mut config = Config::parse(&file(group), "host.test").unwrap();
            config.run.user = None;
            mistakes(&config)
        };
        let ours = nix::unistd::Group::from_gid(getegid()).unwrap().unwrap().name;
        assert_eq!(found(&ours), [""; 0]);
        assert!(found("no such group")[0].contains("there is no group \"no such group\""));
        let user = User::from_uid(Uid::from_raw(65_534)).unwrap();
        assert!(
            user.is_none_or(|nobody| may_give_to(nobody.gid.as_raw(), Some(&nobody))
                && !may_give_to(12_345, Some(&nobody)))
        );
    }

    #[test]
    fn a_missing_file_is_a_mistake() {
        let mut config = Config::parse("", "host.test").unwrap();
        config.run.user = None;
        assert!(mistakes(&config).is_empty());
        config.aliases.file = Some("/nonexistent/aliases".into());
        assert!(mistakes(&config)[0].starts_with("aliases.file: /nonexistent/aliases can't be read"));
        config.tls.key_file = Some("/etc/passwd".into());
        assert_eq!((named_files(&config).len(), mistakes(&config).len()), (2, 1));
    }
}
