//! The real peers that `tests/support/peers.sh` put below `target/peers`, run as children.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::{env, thread};

use super::{Folder, PATIENCE, free_port, wait_for};

/// The program of a peer. Where it is missing the test is skipped aloud, or fails when
/// `PILLARBOX_PEERS=required` says that nothing may be skipped.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../peers/bin").join(name);
    if path.exists() {
        return Some(path);
    }
    missing(name, "`make peers` brings it");
    None
}

/// A program of the system that a test needs, under the same rule as [`find`].
pub fn find_in_system(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).map(|folder| folder.join(name)).find(|path| path.is_file());
    if found.is_none() {
        missing(name, "install it");
    }
    found
}

/// True when the tests run as root. The few that then prove nothing are skipped aloud.
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

fn missing(name: &str, cure: &str) {
    let required = env::var("PILLARBOX_PEERS").is_ok_and(|value| value == "required");
    assert!(!required, "{name} is missing and PILLARBOX_PEERS=required; {cure}");
    eprintln!("SKIPPED: {name} is missing; {cure}");
}

/// Runs a command to its end, feeding it `input`; kills it and fails when it takes too long.
#[track_caller]
pub fn run(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let pid = nix::unistd::Pid::from_raw(child.id() as i32);
    let mut stdin = child.stdin.take().expect("a piped standard input");
    let input = input.to_vec();
    let feeder = thread::spawn(move || {
        // A child that ends early closes its end: not an error of the test.
        let _ = stdin.write_all(&input);
    });
    let (done, ended) = mpsc::channel();
    let reader = thread::spawn(move || done.send(child.wait_with_output()));
    let output = match ended.recv_timeout(2 * PATIENCE) {
        Ok(output) => output.expect("the output of a child"),
        Err(_) => {
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
            panic!("{command:?} did not end");
        }
    };
    feeder.join().expect("the feeding thread");
    let _ = reader.join();
    output
}

/// Runs a command that must succeed; its standard output.
#[track_caller]
pub fn succeed(command: &mut Command, input: &[u8]) -> String {
    let output = run(command, input);
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// `smtp-source` towards a port of this machine with the given options.
pub fn smtp_source(port: u16, options: &[&str]) -> Option<Command> {
    let mut command = Command::new(find("smtp-source")?);
    command.args(options).arg(format!("127.0.0.1:{port}"));
    Some(command)
}

/// A server peer as a child: killed with its value.
pub struct Server {
    pub port: u16,
    child: Child,
}

impl Server {
    /// `smtp-sink`, which takes every message and forgets it.
    pub fn smtp_sink(options: &[&str]) -> Option<Self> {
        let mut command = Command::new(find("smtp-sink")?);
        if is_root() {
            command.args(["-u", "nobody"]);
        }
        let port = free_port();
        command.args(options).arg(format!("127.0.0.1:{port}")).arg("128");
        Some(Self::start(command, port))
    }

    /// `aiosmtpd`, Python's server, delivering into the Maildir `folder`.
    pub fn aiosmtpd(folder: &Path) -> Option<Self> {
        let mut command = Command::new(find("aiosmtpd")?);
        let port = free_port();
        command.args(["-n", "-l"]).arg(format!("127.0.0.1:{port}"));
        command.args(["-c", "aiosmtpd.handlers.Mailbox"]).arg(folder);
        Some(Self::start(command, port))
    }

    /// `unbound`, to which this zone file is the whole world but for dead.test, which it would have to ask a
    /// port for on which nobody is; with more lines for its `server:` clause.
    pub fn unbound(folder: &Folder, zone: &str, more: &str) -> Option<Self> {
        let program = find("unbound")?;
        let port = free_port();
        let zone = folder.write(&format!("zone-{port}"), zone);
        let text = format!(
            "server:\n do-daemonize: no\n chroot: \"\"\n username: \"\"\n directory: {folder:?}\n pidfile: \"\"\n \
             use-syslog: no\n interface: 127.0.0.1@{port}\n port: {port}\n module-config: iterator\n \
             do-not-query-localhost: no\n outbound-msg-retry: 1\n local-zone: test. nodefault\n{more}\n\
             remote-control:\n control-enable: no\n\
             auth-zone:\n name: .\n zonefile: {zone:?}\n for-downstream: no\n\
             forward-zone:\n name: dead.test.\n forward-addr: 127.0.0.1@{nobody}\n",
            folder = folder.path(),
            nobody = free_port(),
        );
        let mut command = Command::new(program);
        command.arg("-c").arg(folder.write(&format!("unbound-{port}.conf"), text));
        Some(Self::start(command, port))
    }

    /// `dnsmasq`, which knows what the options say and nothing of the system.
    pub fn dnsmasq(options: &[&str]) -> Option<Self> {
        let mut command = Command::new(find("dnsmasq")?);
        let port = free_port();
        command.args(["--keep-in-foreground", "--no-resolv", "--no-hosts", "--conf-file=/dev/null"]);
        command.args(["--bind-interfaces", "--listen-address=127.0.0.1", "--pid-file="]);
        command.arg(format!("--port={port}")).args(options);
        if is_root() {
            command.arg("--user=root");
        }
        Some(Self::start(command, port))
    }

    /// The same with a login: PLAIN and LOGIN, for `user` and `password`; no mail without.
    pub fn aiosmtpd_with_login(folder: &Path, user: &str, password: &str) -> Option<Self> {
        let script = "import asyncio, sys\n\
            from aiosmtpd.handlers import Mailbox\n\
            from aiosmtpd.smtp import SMTP, AuthResult\n\
            port, folder, user, password = sys.argv[1:]\n\
            def judge(server, session, envelope, mechanism, data):\n    \
            return AuthResult(success=(data.login, data.password) == (user.encode(), password.encode()))\n\
            def make():\n    \
            return SMTP(Mailbox(folder), authenticator=judge, auth_required=True, auth_require_tls=False)\n\
            async def main():\n    \
            server = await asyncio.get_running_loop().create_server(make, '127.0.0.1', int(port))\n    \
            await server.serve_forever()\n\
            asyncio.run(main())\n";
        find("aiosmtpd")?;
        let python = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../peers/venv/bin/python3");
        let mut command = Command::new(python);
        let port = free_port();
        command.args(["-c", script]).arg(port.to_string()).arg(folder).args([user, password]);
        Some(Self::start(command, port))
    }

    fn start(command: Command, port: u16) -> Self {
        Self::start_when(command, port, || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok())
    }

    /// Runs `command` and waits until it listens, which `is_up` knows.
    pub fn start_when(mut command: Command, port: u16, is_up: impl Fn() -> bool) -> Self {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut server = Self { port, child };
        wait_for("a peer to listen", || {
            if let Ok(Some(status)) = server.child.try_wait() {
                panic!("{command:?} ended: {status}");
            }
            is_up().then_some(())
        });
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
