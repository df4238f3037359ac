//! Two relays, each in a network of its own with a fixed address, on port 25, that find each other by MX
//! records and pass a message round until one of them has had enough.

mod support;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use pillarbox::limits::RECEIVED_LINES;
use support::message::maildir;
use support::peers::{self, Server};
use support::relay::{Config, Relay};
use support::{Folder, wait_for};

/// A network namespace. It lives as long as the process that holds it, which ends when its input does: with
/// this value, or with the test, however that ends.
struct Network {
    holder: Child,
    address: &'static str,
}

impl Network {
    /// One with nothing in it but loopback.
    fn new(address: &'static str) -> Option<Self> {
        let mut command = Command::new(peers::find_in_system("unshare")?);
        command.args(["--net", "cat"]).stdin(Stdio::piped()).stdout(Stdio::null());
        let holder = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut network = Self { holder, address };
        let space = |process: &str| fs::read_link(format!("/proc/{process}/ns/net")).ok();
        let is_apart = wait_for("a namespace", || match network.holder.try_wait() {
            Ok(Some(_)) => Some(false),
            _ => (space(&network.pid()) != space("self")).then_some(true),
        });
        if !is_apart {
            eprintln!("SKIPPED: no network namespaces here");
            return None;
        }
        Some(network)
    }

    /// Two of them, joined by a wire.
    fn pair(addresses: [&'static str; 2]) -> Option<[Self; 2]> {
        if !peers::is_root() {
            eprintln!("SKIPPED: network namespaces need root");
            return None;
        }
        let ip = peers::find_in_system("ip")?;
        let (one, two) = (Self::new(addresses[0])?, Self::new(addresses[1])?);
        let mut wire = Command::new(&ip);
        wire.args(["link", "add", "name", "wire", "netns", &one.pid(), "type", "veth"]);
        peers::succeed(wire.args(["peer", "name", "wire", "netns", &two.pid()]), b"");
        for network in [&one, &two] {
            let address = format!("{}/24", network.address);
            for arguments in [
                &["address", "add", &address, "dev", "wire"][..],
                &["link", "set", "wire", "up"],
                &["link", "set", "lo", "up"],
            ] {
                peers::succeed(&mut network.inside(Command::new(&ip).args(arguments)), b"");
            }
        }
        Some([one, two])
    }

    fn pid(&self) -> String {
        self.holder.id().to_string()
    }

    /// The same command, run in here.
    fn inside(&self, command: &Command) -> Command {
        let mut inside = Command::new("nsenter");
        inside.arg(format!("--net=/proc/{}/ns/net", self.pid()));
        inside.arg(command.get_program()).args(command.get_args());
        inside
    }

    /// dnsmasq on port 53 in here, which says that mail for loop.test goes to `exchanger`.
    fn dnsmasq(&self, program: &Path, exchanger: &str) -> Server {
        let mut command = Command::new(program);
        command.args([
            "--keep-in-foreground",
            "--no-resolv",
            "--no-hosts",
            "--conf-file=/dev/null",
            "--pid-file=",
        ]);
        command.args(["--user=root", "--bind-interfaces", "--local=/test/"]);
        command.arg(format!("--listen-address={}", self.address));
        command.arg(format!("--mx-host=loop.test,{exchanger},10"));
        command.args(["--host-record=a.test,192.0.2.1", "--host-record=b.test,192.0.2.2"]);
        let table = format!("/proc/{}/net/tcp", self.pid());
        Server::start_when(self.inside(&command), 53, || {
            // A port and the state of one who listens, as the kernel writes them.
            let text = fs::read_to_string(&table).unwrap_or_default();
            text.lines().any(|line| line.contains(":0035 ") && line.contains(" 0A "))
        })
    }

    /// The relay `name`.test in here: of mail for itself, and of whatever goes anywhere by MX.
    fn relay(&self, folder: &Folder, name: &str) -> (Config, Relay) {
        let domain = format!("[\"{name}.test\"]");
        let config = Config::new(folder.path(), name)
            .on_port(25)
            .table(&format!("[[listen]]\naddress = \"{}:25\"", self.address))
            .set("", "hostname", &format!("\"{name}.test\""))
            .set("", "local_domains", &domain)
            .set("access", "relay_from", "[\"192.0.2.0/24\"]")
            .set("dns", "resolvers", &format!("[\"{}:53\"]", self.address))
            .maildir(&domain)
            .route("via = \"mx\"");
        let relay = Relay::spawn(self.inside(&config.command(&["serve"])), 25);
        relay.wait_log(&[&format!("listening on {}:25", self.address)]);
        (config, relay)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}

#[test]
fn a_circle_of_exchangers_ends_with_one_notice_to_the_sender() {
    let folder = Folder::new("mxcircle");
    let Some(dnsmasq) = peers::find("dnsmasq") else { return };
    let Some([one, two]) = Network::pair(["192.0.2.1", "192.0.2.2"]) else { return };
    // Each is told that the other one is the exchanger: nothing but the trace can show the circle.
    let _servers = [one.dnsmasq(&dnsmasq, "b.test"), two.dnsmasq(&dnsmasq, "a.test")];
    let ((first, a), (second, b)) = (one.relay(&folder, "a"), two.relay(&folder, "b"));
    let letter = b"From: me@a.test\nTo: round@loop.test\nSubject: round\n\nround and round\n";
    let mut sendmail = first.command(&["sendmail", "-f", "me@a.test", "round@loop.test"]);
    peers::succeed(&mut sendmail, letter);
    let notice = wait_for("the notice", || maildir(&first.mailbox("me")).pop());
    first.wait_queue(0);
    second.wait_queue(0);
    let notice = String::from_utf8_lossy(&notice).replace("\r\n", "\n");
    for words in ["round@loop.test", "Action: failed\n", "Status: 5.4.6\n", "Subject: round\n"] {
        assert!(notice.contains(words), "{words} in:\n{notice}");
    }
    let (mailboxes, others) = (first.folder().join("mail"), second.folder().join("mail"));
    assert_eq!(maildir(&mailboxes.join("me")).len(), 1, "one notice");
    assert!(!mailboxes.join("postmaster").exists() && !others.exists(), "and nothing to anybody else");
    let logs = [a.stop(), b.stop()].concat();
    let count =
        |words: [&str; 2]| logs.iter().filter(|line| words.iter().all(|word| line.contains(word))).count();
    // Every relay it came to added a line, the first when the sender handed it over.
    let trips = count([" delivered ", "to=<round@loop.test>"]);
    assert_eq!(trips, RECEIVED_LINES as usize - 1, "{}", logs.join("\n"));
    assert_eq!(count([" bounced ", "to=<round@loop.test>"]), 1);
    assert_eq!(count([" deferred ", ""]), 0);
}
