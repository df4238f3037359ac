//! What a service manager sees: sockets handed over, readiness, signs of life, severities for its journal;
//! and a first boot with nothing else up yet.

mod support;

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::Command;

use nix::sys::signal::Signal;
use support::client::Client;
use support::message::message;
use support::next_hop::NextHop;
use support::peers;
use support::relay::{Config, Relay};
use support::{Folder, PATIENCE, free_port, wait_for};

/// Binds what its arguments name, hands it over as systemd does, and becomes the relay.
const ACTIVATE: &str = "
import os, socket, sys
addresses, command = sys.argv[1].split(), sys.argv[2:]
for place, address in enumerate(addresses):
    if address.startswith('/'):
        one = socket.socket(socket.AF_UNIX)
        one.bind(address)
    else:
        one = socket.socket()
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind(('127.0.0.1', int(address)))
    one.listen()
    os.dup2(one.detach(), 3 + place)
    os.set_inheritable(3 + place, True)
error = os.fstat(2)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(addresses)),
    JOURNAL_STREAM=f'{error.st_dev}:{error.st_ino}')
os.execv(command[0], command)
";

fn activated(config: &Config, addresses: &str) -> Option<Command> {
    let relay = config.command(&["serve"]);
    let mut command = Command::new(peers::find_in_system("python3")?);
    command.args(["-c", ACTIVATE, addresses]).arg(relay.get_program()).args(relay.get_args());
    Some(command)
}

/// The next thing that the relay tells its supervisor.
#[track_caller]
fn told(supervisor: &UnixDatagram) -> String {
    let mut room = [0; 512];
    let octets = supervisor.recv(&mut room).expect("a message of the relay");
    String::from_utf8_lossy(&room[..octets]).into_owned()
}

#[track_caller]
fn wait_told(supervisor: &UnixDatagram, wanted: &str) {
    while !told(supervisor).contains(wanted) {}
}

#[test]
fn a_service_manager_is_told_how_it_goes() {
    let folder = Folder::new("service");
    let config = Config::new(folder.path(), "a").maildir("[\"local.test\"]");
    // The names of Unix sockets are short; the folder's may be long.
    let name = format!("pillarbox-test-{}", std::process::id());
    let file = std::env::temp_dir().join(name);
    let _ = fs::remove_file(&file);
    let supervisor = UnixDatagram::bind(&file).expect("a socket");
    supervisor.set_read_timeout(Some(PATIENCE)).expect("a patience");
    let mut command = config.command(&["serve"]);
    command.env("NOTIFY_SOCKET", &file).env("WATCHDOG_USEC", "20000");
    let relay = Relay::start(command, config.port);
    assert!(told(&supervisor).starts_with("READY=1\n"), "nothing comes before it");
    wait_told(&supervisor, "WATCHDOG=1");
    wait_told(&supervisor, "WATCHDOG=1");
    relay.signal(Signal::SIGHUP);
    wait_told(&supervisor, "RELOADING=1\nMONOTONIC_USEC=");
    wait_told(&supervisor, "READY=1");
    relay.stop();
    wait_told(&supervisor, "STOPPING=1");
    fs::remove_file(file).expect("the socket's name");
}

#[test]
fn sockets_handed_over_are_used_and_lines_carry_their_severity() {
    let folder = Folder::new("handed-over");
    let control = std::env::temp_dir().join(format!("pillarbox-control-{}", std::process::id()));
    let _ = fs::remove_file(&control);
    let config = Config::new(folder.path(), "a").maildir("[\"local.test\"]").set(
        "run",
        "control",
        &format!("{control:?}"),
    );
    let addresses = format!("{} {}", config.port, control.display());
    let Some(command) = activated(&config, &addresses) else { return };
    let relay = Relay::start(command, config.port);
    Client::hello(relay.port).deliver("a@client.test", &["b@local.test"], &message("text\r\n"));
    relay.wait_log(&["delivered", "b@local.test"]);
    config.wait_queue(0);
    let log = relay.stop();
    assert!(log.iter().all(|line| line.starts_with("<6>") || line.starts_with("<4>")), "{log:?}");
    assert!(control.exists(), "what others bound is theirs");
    fs::remove_file(control).expect("the socket's name");
}

#[test]
fn a_socket_that_nothing_was_configured_for_is_refused() {
    let folder = Folder::new("surplus");
    let config = Config::new(folder.path(), "a");
    let other = free_port();
    let Some(mut command) = activated(&config, &format!("{} {other}", config.port)) else { return };
    let output = peers::run(&mut command, b"");
    assert_eq!(output.status.code(), Some(69));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(&format!("<3>- a socket 127.0.0.1:{other} was handed over")), "{said}");
}

/// A command in a network, and whatever else the arguments say, of its own; `None` where that can't be had.
fn unshare(arguments: &[&str]) -> Option<Command> {
    let mut command = Command::new(peers::find_in_system("unshare")?);
    command.args(["--user", "--map-root-user", "--net"]).args(arguments);
    let mut trial = Command::new(command.get_program());
    if trial.args(command.get_args()).arg("true").output().is_ok_and(|done| done.status.success()) {
        return Some(command);
    }
    eprintln!("SKIPPED: no namespaces here");
    None
}

#[test]
fn a_first_boot_needs_nothing_else() {
    // No interface is up, not even loopback: no route, no name server. No folder is there yet, and the
    // clock begins with 1970.
    let folder = Folder::new("boot");
    let socket = std::env::temp_dir().join(format!("pillarbox-boot-{}", std::process::id()));
    let config = Config::new(folder.path(), "a")
        .smarthost("mail.example:25")
        .set("spool", "directory", &format!("{:?}", folder.join("not/yet/spool")))
        .set("run", "submit", &format!("{socket:?}"))
        .set("run", "user", "\"\"");
    let (Some(mut command), Some(clock)) = (unshare(&[]), peers::find("libfaketime.so.1")) else { return };
    let text = fs::read_to_string(config.write()).expect("the configuration");
    let early = text.replace("127.0.0.1", "192.0.2.25");
    assert_ne!(text, early);
    fs::write(config.folder().join("pillarbox.toml"), early).expect("the configuration");
    let file = config.folder().join("pillarbox.toml");
    let started = support::relay::program();
    command.arg(started.get_program()).arg("serve").arg("-c").arg(&file);
    command.env("LD_PRELOAD", fs::canonicalize(clock).expect("the library"));
    command.envs([
        ("FAKETIME", "@1970-01-01 00:00:07"),
        ("TZ", "UTC"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ]);
    let relay = Relay::spawn(command, 0);
    relay.wait_log(&["- listening on 192.0.2.25:"]);
    relay.wait_log(&["- spool ", "power cut"]);
    wait_for("the submit socket", || socket.exists().then_some(()));
    let mut sendmail = support::relay::program();
    sendmail.arg("sendmail").arg("-c").arg(&file).args(["-f", "a@local.test", "b@remote.test"]);
    peers::succeed(&mut sendmail, b"Subject: early\n\nearly\n");
    relay.wait_log(&["accepted", "from=<a@local.test>"]);
    relay.wait_log(&["deferred", "b@remote.test"]);
    relay.stop();

    // What was kept goes on when the network is there.
    let hop = NextHop::friendly();
    let config = Config::new(folder.path(), "a").smarthost(&hop.address()).set(
        "spool",
        "directory",
        &format!("{:?}", folder.join("not/yet/spool")),
    );
    let relay = config.start();
    config.drain();
    let content = hop.wait(1).remove(0).content;
    assert!(String::from_utf8_lossy(&content).contains(" 1970 00:00:"), "it came before the clock was set");
    relay.stop();
}

#[test]
fn lines_reach_the_log_daemon_whenever_it_comes() {
    let folder = Folder::new("syslog");
    let config =
        Config::new(folder.path(), "a").maildir("[\"local.test\"]").set("log", "target", "\"syslog\"");
    config.write();
    // A folder of its own as /dev, in which a log daemon comes late.
    let Some(mut command) = unshare(&["--mount"]) else { return };
    let Some(python) = peers::find_in_system("python3") else { return };
    let script = format!(
        "set -e; mkdir {dev}; mount -t tmpfs none {dev}
        for one in null urandom; do touch {dev}/$one; mount --bind /dev/$one {dev}/$one; done
        mount --rbind {dev} /dev
        {relay} serve -c {config} & {python} -c '{DAEMON}' $!; kill -TERM $!; wait $!",
        dev = folder.join("dev").display(),
        relay = support::relay::program().get_program().display(),
        config = config.folder().join("pillarbox.toml").display(),
        python = python.display(),
    );
    command.args(["sh", "-c", &script]);
    let said = peers::succeed(&mut command, b"");
    assert!(said.contains("<22>pillarbox: - pillarbox 0."), "{said}");
    assert!(said.contains("<22>pillarbox: - listening on"), "{said}");
}

/// A log daemon that comes late, wakes the relay, and ends when it has seen that it listens.
const DAEMON: &str = "
import os, signal, socket, sys, time
time.sleep(0.3)
daemon = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
daemon.bind(\"/dev/log\")
daemon.settimeout(0.2)
line = \"\"
while \"listening\" not in line:
    try:
        line = daemon.recv(4096).decode()
        print(line)
    except TimeoutError:
        os.kill(int(sys.argv[1]), signal.SIGUSR1)
";
