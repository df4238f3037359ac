//! The built program as a child, with a configuration written for one test.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::{fs, thread};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, User, geteuid};

use super::client::Client;
use super::json::Json;
use super::{free_port, peers, wait_for};

/// The program under test: the one built for this machine, or the one that `PILLARBOX_PROGRAM` names, for
/// which an emulator may stand before it.
pub fn program() -> Command {
    let named = std::env::var("PILLARBOX_PROGRAM").unwrap_or_default();
    let mut words = named.split_whitespace();
    let mut command = Command::new(words.next().unwrap_or(env!("CARGO_BIN_EXE_pillarbox")));
    command.args(words);
    command.env_remove("RUST_LOG").current_dir(env!("CARGO_TARGET_TMPDIR"));
    command
}

/// A configuration in the making: `hostname` relay.test, `local_domains` local.test, everything in
/// one folder, clients on loopback trusted. Without a route all but local.test is refused.
#[derive(Clone)]
pub struct Config {
    folder: PathBuf,
    pub port: u16,
    sections: BTreeMap<&'static str, BTreeMap<String, String>>,
    role: &'static str,
    /// Lines for the `[[listen]]`.
    listener: String,
    /// Other tables, with their heads.
    tables: Vec<String>,
    routes: Vec<String>,
}

impl Config {
    /// A relay named `name`, its files in `folder/name`.
    pub fn new(folder: &Path, name: &str) -> Self {
        let folder = folder.join(name);
        fs::create_dir_all(&folder).expect("a folder of the relay");
        let config = Self {
            folder,
            port: free_port(),
            sections: BTreeMap::new(),
            role: "relay",
            listener: String::new(),
            tables: Vec::new(),
            routes: Vec::new(),
        };
        let user = User::from_uid(geteuid()).ok().flatten().expect("the name of this user").name;
        let path = |name: &str| format!("{:?}", config.folder.join(name).display().to_string());
        let (spool, control, submit) = (path("spool"), path("control"), path("submit"));
        config
            .set("", "hostname", "\"relay.test\"")
            .set("", "local_domains", "[\"local.test\"]")
            .set("spool", "directory", &spool)
            .set("spool", "cells_size", "\"2MiB\"")
            .set("run", "user", &format!("{user:?}"))
            .set("run", "control", &control)
            .set("run", "submit", &submit)
    }

    /// Sets a key to a TOML value; the section "" is the top.
    pub fn set(mut self, section: &'static str, key: &str, value: &str) -> Self {
        self.sections.entry(section).or_default().insert(key.to_owned(), value.to_owned());
        self
    }

    /// Adds a table that can stand more than once, as its lines with its head.
    pub fn table(mut self, lines: &str) -> Self {
        self.tables.push(lines.to_owned());
        self
    }

    /// Adds lines to the `[[listen]]`.
    pub fn listener(mut self, lines: &str) -> Self {
        self.listener.push_str(lines);
        self.listener.push('\n');
        self
    }

    /// Listens on this port.
    pub fn on_port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Adds a route, as the lines of its table.
    pub fn route(mut self, lines: &str) -> Self {
        self.routes.push(lines.to_owned());
        self
    }

    /// Everything not local goes to this smarthost.
    pub fn smarthost(self, address: &str) -> Self {
        self.maildir("[\"local.test\"]").route(&smarthost("", address))
    }

    /// Recipients of these domains or patterns go to Maildirs in `mail/{user}`, made on first mail.
    pub fn maildir(self, to: &str) -> Self {
        let directory = self.folder.join("mail/{user}").display().to_string();
        self.route(&format!("to = {to}\nvia = \"maildir\"\ndirectory = {directory:?}\nrecipients = \"any\""))
    }

    /// Clients on loopback are strangers.
    pub fn strangers(self) -> Self {
        self.set("access", "relay_from", "[\"192.0.2.1\"]")
    }

    /// What the listener is for.
    pub fn role(self, role: &'static str) -> Self {
        Self { role, ..self }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The Maildir of a local user.
    pub fn mailbox(&self, user: &str) -> PathBuf {
        self.folder.join("mail").join(user)
    }

    /// Writes the file; its path.
    pub fn write(&self) -> PathBuf {
        let mut text = String::new();
        for (section, keys) in &self.sections {
            if !section.is_empty() {
                let _ = writeln!(text, "\n[{section}]");
            }
            for (key, value) in keys {
                let _ = writeln!(text, "{key} = {value}");
            }
        }
        let _ = writeln!(text, "\n[[listen]]\naddress = \"127.0.0.1:{}\"\nrole = {:?}", self.port, self.role);
        text.push_str(&self.listener);
        for table in &self.tables {
            let _ = writeln!(text, "\n{table}");
        }
        for route in &self.routes {
            let _ = writeln!(text, "\n[[route]]\n{route}");
        }
        let path = self.folder.join("pillarbox.toml");
        // In one go: a relay that reloads must not see half of it.
        let new = self.folder.join("pillarbox.toml.new");
        fs::write(&new, text).and_then(|()| fs::rename(&new, &path)).expect("the configuration file");
        path
    }

    /// A subcommand with this configuration.
    pub fn command(&self, arguments: &[&str]) -> Command {
        // Options of sendmail stand before its recipients.
        let first = arguments.len().min(if arguments.first() == Some(&"sendmail") { 1 } else { usize::MAX });
        let mut command = program();
        command.args(&arguments[..first]).arg("-c").arg(self.write()).args(&arguments[first..]);
        command
    }

    /// Runs a subcommand to its end.
    #[track_caller]
    pub fn run(&self, arguments: &[&str], input: &[u8]) -> Output {
        peers::run(&mut self.command(arguments), input)
    }

    /// Runs a subcommand that must succeed; its standard output.
    #[track_caller]
    pub fn succeed(&self, arguments: &[&str]) -> String {
        peers::succeed(&mut self.command(arguments), b"")
    }

    /// The queue by `queue --json`.
    #[track_caller]
    pub fn queue(&self) -> Vec<Json> {
        Json::parse_lines(&self.succeed(&["queue", "--json"]))
    }

    /// Waits until the queue has this many messages.
    #[track_caller]
    pub fn wait_queue(&self, messages: usize) -> Vec<Json> {
        wait_for(&format!("{messages} messages in the queue"), || {
            let queue = self.queue();
            (queue.len() == messages).then_some(queue)
        })
    }

    /// Tries the whole queue until nothing is left: after a start, old messages are in no hurry.
    #[track_caller]
    pub fn drain(&self) {
        wait_for("an empty queue", || {
            self.succeed(&["queue", "retry", "--all"]);
            self.queue().is_empty().then_some(())
        });
    }

    /// Starts the relay and waits until it greets.
    #[track_caller]
    pub fn start(&self) -> Relay {
        Relay::start(self.command(&["serve"]), self.port)
    }

    /// Starts the relay and waits until it listens: its port does not greet just anybody.
    #[track_caller]
    pub fn start_unseen(&self) -> Relay {
        let mut relay = Relay::spawn(self.command(&["serve"]), self.port);
        wait_for("the relay to listen", || {
            relay.assert_alive();
            relay.log().iter().any(|line| line.contains("listening on")).then_some(())
        });
        relay
    }
}

/// The lines of a smarthost route without TLS.
pub fn smarthost(to: &str, hosts: &str) -> String {
    let hosts: Vec<String> = hosts.split(' ').map(|host| format!("{host:?}")).collect();
    let to = if to.is_empty() { String::new() } else { format!("to = {to}\n") };
    format!("{to}via = \"smarthost\"\nhosts = [{}]\ntls = \"none\"", hosts.join(", "))
}

/// A running relay. It is killed with its value; [`Relay::stop`] ends it as an administrator would.
pub struct Relay {
    child: Child,
    pub port: u16,
    log: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl Relay {
    /// Runs `command` and waits until `port` greets.
    #[track_caller]
    pub fn start(command: Command, port: u16) -> Self {
        let mut relay = Self::spawn(command, port);
        wait_for("the relay to greet", || {
            relay.assert_alive();
            let mut client = Client::try_connect(port).ok()?;
            client.greeting.starts_with("220").then(|| client.expect("QUIT", "221"))
        });
        relay
    }

    /// Runs `command` and waits for nothing: where it listens it can't be reached.
    pub fn spawn(mut command: Command, port: u16) -> Self {
        // A group of its own, so that a wrapper such as strace is ended together with the relay.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = BufReader::new(child.stderr.take().expect("a piped standard error"));
        let of_reader = Arc::clone(&log);
        let reader = thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                of_reader.lock().expect("the log").push(line);
            }
        });
        Self { child, port, log, reader: Some(reader) }
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    /// The lines logged so far.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().expect("the log").clone()
    }

    /// Waits for a log line that has all these words.
    #[track_caller]
    pub fn wait_log(&self, words: &[&str]) -> String {
        let start = std::time::Instant::now();
        loop {
            let log = self.log();
            if let Some(line) = log.iter().find(|line| words.iter().all(|word| line.contains(word))) {
                return line.clone();
            }
            assert!(start.elapsed() < super::PATIENCE, "no line with {words:?} in:\n{}", log.join("\n"));
            thread::sleep(std::time::Duration::from_millis(10));
        }
    }

    /// To its whole group: under strace the relay is a child of what was started.
    pub fn signal(&self, signal: Signal) {
        killpg(self.pid(), signal).expect("the relay is there");
    }

    /// SIGTERM; it must end by itself with 0. Its whole log.
    #[track_caller]
    pub fn stop(mut self) -> Vec<String> {
        self.signal(Signal::SIGTERM);
        let status = self.wait();
        assert!(status.success(), "SIGTERM should end with 0: {status}\n{}", self.log().join("\n"));
        self.log()
    }

    /// SIGKILL: what a crash leaves behind. Its log, to the last line that it wrote.
    pub fn kill(mut self) -> Vec<String> {
        self.signal(Signal::SIGKILL);
        let status = self.wait();
        assert_eq!(status.signal(), Some(9), "killed, not ended before: {status}");
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the reader of the log");
        }
        self.log()
    }

    /// Fails the test if the relay has ended.
    #[track_caller]
    pub fn assert_alive(&mut self) {
        if let Ok(Some(status)) = self.child.try_wait() {
            panic!("the relay ended: {status}\n{}", self.log().join("\n"));
        }
    }

    fn wait(&mut self) -> ExitStatus {
        wait_for("the relay to end", || self.child.try_wait().expect("the state of the child"))
    }

    /// Processor time used so far, in hundredths of a second.
    pub fn processor_ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("the relay's figures");
        let fields = stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().skip(11).take(2));
        fields.into_iter().flatten().map(|ticks| ticks.parse::<u64>().expect("a number of ticks")).sum()
    }

    /// A field of `/proc/PID/status` in KiB, such as `VmRSS`.
    pub fn memory_kib(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the relay's status");
        let line = status.lines().find(|line| line.starts_with(name)).expect("a field of the status");
        line.split_whitespace().nth(1).and_then(|value| value.parse().ok()).expect("a number of KiB")
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = killpg(self.pid(), Signal::SIGKILL);
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("log of the relay on port {}:\n{}", self.port, self.log().join("\n"));
        }
    }
}
