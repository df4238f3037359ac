//! Root is given up for good, and what the configuration does not name can't be opened.

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use nix::unistd::User;
use support::client::Client;
use support::message::message;
use support::peers;
use support::relay::{Config, Relay, program};
use support::{Folder, wait_for};

/// A folder that every user can get to, unlike perhaps that of the tests.
struct Public(PathBuf);

impl Public {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("pillarbox-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a folder");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("its mode");
        Self(path)
    }
}

impl Drop for Public {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn status(relay: &Relay, field: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{}/status", relay.pid())).expect("the relay's status");
    let line = text.lines().find(|line| line.starts_with(&format!("{field}:"))).unwrap_or_default();
    line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
}

#[test]
fn root_is_given_up_for_good() {
    if !peers::is_root() {
        return eprintln!("SKIPPED: only root can be given up");
    }
    let user = User::from_name("nobody").expect("the users").expect("nobody");
    let public = Public::new("privileges");
    let config = Config::new(&public.0, "a")
        .maildir("[\"local.test\"]")
        .set("run", "user", "\"nobody\"")
        .set("run", "control", &format!("{:?}", public.0.join("run/control")))
        .set("run", "submit", &format!("{:?}", public.0.join("run/submit")))
        .set("log", "target", "\"file\"")
        .set("log", "max_size", "\"4KiB\"")
        .set("log", "file", &format!("{:?}", public.0.join("log")));
    fs::create_dir(config.folder().join("mail")).expect("a folder for mail");
    chown(config.folder().join("mail"), Some(user.uid.as_raw()), None).expect("its owner");
    let relay = config.start();
    let (uid, gid) = (user.uid.to_string(), user.gid.to_string());
    assert_eq!(status(&relay, "Uid"), [&*uid; 4].join(" "));
    assert_eq!(status(&relay, "Gid"), [&*gid; 4].join(" "));
    assert!(status(&relay, "Groups").split(' ').all(|group| group != "0"), "{}", status(&relay, "Groups"));
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert!(status(&relay, set).chars().all(|digit| digit == '0'), "{set}");
    }
    assert_eq!(status(&relay, "NoNewPrivs"), "1");
    let limits = fs::read_to_string(format!("/proc/{}/limits", relay.pid())).expect("the relay's limits");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a line");
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"]);
    // Everything still works: intake, spool, mailbox, control, the log and its rotation.
    for _ in 0..20 {
        Client::hello(relay.port).deliver("a@client.test", &["b@local.test"], &message("text\r\n"));
    }
    wait_for("20 messages in the mailbox", || {
        let new = fs::read_dir(config.mailbox("b").join("new")).ok()?;
        (new.count() == 20).then_some(())
    });
    config.wait_queue(0);
    let control = fs::metadata(public.0.join("run/control")).expect("the socket");
    assert_eq!(
        (control.uid(), control.gid(), control.mode() & 0o777),
        (user.uid.as_raw(), user.gid.as_raw(), 0o660)
    );
    let size = |name: &str| fs::metadata(public.0.join(name)).map_or(0, |file| file.len());
    assert!((1..=4096).contains(&size("log")) && size("log.1") > 0, "the log was rotated");
    relay.stop();
    assert!(!public.0.join("run/control").exists(), "its sockets are taken away");
}

#[test]
fn lent_rights_are_given_back() {
    if !peers::is_root() {
        return eprintln!("SKIPPED: only root can lend rights");
    }
    let Some(setpriv) = peers::find_in_system("setpriv") else { return };
    let public = Public::new("lent");
    let copy = public.0.join("pillarbox");
    fs::copy(program().get_program(), &copy).expect("a copy that others can start");
    let config = Config::new(&public.0, "a").maildir("[\"local.test\"]");
    let user = User::from_name("nobody").expect("the users").expect("nobody");
    chown(config.folder(), Some(user.uid.as_raw()), None).expect("its owner");
    let mut command = std::process::Command::new(setpriv);
    command.args(["--reuid", "nobody", "--clear-groups", "--inh-caps", "+net_bind_service"]);
    command.args(["--ambient-caps", "+net_bind_service"]).arg(copy).args(["serve", "-c"]).arg(config.write());
    let relay = Relay::start(command, config.port);
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert!(status(&relay, set).chars().all(|digit| digit == '0'), "{set}: {}", status(&relay, set));
    }
    relay.stop();
}

#[test]
fn a_user_that_is_missing_is_a_mistake() {
    if !peers::is_root() {
        return eprintln!("SKIPPED: only root becomes another user");
    }
    let folder = Folder::new("user");
    let config = Config::new(folder.path(), "a").set("run", "user", "\"no-such-user\"");
    for command in ["serve", "check"] {
        let output = config.run(&[command], b"");
        assert_eq!(output.status.code(), Some(78), "{command}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("there is no user \"no-such-user\""), "{said}");
        assert!(said.contains(".toml:") && said.contains(": run.user: "), "it says where: {said}");
    }
    // The default counts as named. Where there is such a user, nothing can be seen.
    if User::from_name("pillarbox").is_ok_and(|user| user.is_some()) {
        return eprintln!("SKIPPED: there is a user pillarbox here");
    }
    let text = fs::read_to_string(config.write()).expect("the configuration");
    let file = folder.write("default.toml", text.replace("user = \"no-such-user\"\n", ""));
    for command in ["serve", "check"] {
        let output = peers::run(program().args([command, "-c"]).arg(&file), b"");
        assert_eq!(output.status.code(), Some(78), "{command}");
    }
}

/// Mail for a user whose mailbox is a link that leads out of the folder of mailboxes.
fn deliver_outside(folder: &Path, name: &str, sandbox: &str) -> (Relay, Config, PathBuf) {
    let config = Config::new(folder, name).maildir("[\"local.test\"]").set("run", "sandbox", sandbox);
    let outside = folder.join(format!("outside-{name}"));
    for part in ["tmp", "new", "cur"] {
        fs::create_dir_all(outside.join(part)).expect("a mailbox");
    }
    fs::create_dir(config.folder().join("mail")).expect("a folder for mail");
    symlink(&outside, config.mailbox("b")).expect("a link");
    let relay = config.start();
    Client::hello(relay.port).deliver("a@client.test", &["b@local.test"], &message("text\r\n"));
    (relay, config, outside)
}

#[test]
fn what_the_configuration_does_not_name_is_out_of_reach() {
    let folder = Folder::new("sandbox");
    let (relay, _config, outside) = deliver_outside(folder.path(), "off", "false");
    relay.wait_log(&["sandbox: off"]);
    relay.wait_log(&["delivered", "b@local.test"]);
    assert_eq!(fs::read_dir(outside.join("new")).expect("the mailbox").count(), 1);
    relay.stop();

    let (relay, config, outside) = deliver_outside(folder.path(), "on", "true");
    if relay.wait_log(&["- sandbox: "]).contains("no Landlock") {
        return eprintln!("SKIPPED: this kernel has no Landlock");
    }
    relay.wait_log(&["deferred", "b@local.test"]);
    for part in ["tmp", "new"] {
        assert_eq!(fs::read_dir(outside.join(part)).expect("the mailbox").count(), 0);
    }
    assert_eq!(config.queue().len(), 1, "it waits");

    // A new configuration with a place that the sandbox keeps out, and one within.
    let text = fs::read_to_string(config.write()).expect("the configuration");
    let inside = config.folder().join("mail");
    let moved = text.replace(&inside.display().to_string(), &outside.display().to_string());
    assert_ne!(text, moved);
    fs::write(config.folder().join("pillarbox.toml"), moved).expect("the configuration");
    relay.signal(Signal::SIGHUP);
    relay.wait_log(&["sandbox", &outside.display().to_string(), "restart"]);
    relay.stop();
}

#[test]
fn a_port_that_is_not_ours_to_take() {
    let (true, Some(setpriv)) = (peers::is_root(), peers::find_in_system("setpriv")) else {
        return eprintln!("SKIPPED: only root becomes another user");
    };
    let first = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap_or_default();
    if first.trim().parse::<u16>().is_ok_and(|first| first <= 25) {
        return eprintln!("SKIPPED: everyone may listen on port 25 here");
    }
    let public = Public::new("port");
    let copy = public.0.join("pillarbox");
    fs::copy(program().get_program(), &copy).expect("a copy that others can run");
    let config = Config::new(&public.0, "a").on_port(25);
    let user = User::from_name("nobody").expect("the users").expect("nobody");
    chown(config.folder(), Some(user.uid.as_raw()), None).expect("its owner");
    let mut command = std::process::Command::new(setpriv);
    command.args(["--reuid", "nobody", "--clear-groups"]);
    command.arg(copy).args(["serve", "-c"]).arg(config.write());
    let output = peers::run(&mut command, b"");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(77), "{said}");
    assert!(said.contains("can't listen on 127.0.0.1:25: Permission denied"), "{said}");
}
