//! A real Dovecot as a child, unpacked by `tests/support/peers.sh`, and mail programs' way into it.

use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::{env, fs};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Gid, Group, Pid, Uid, User};

use super::{Folder, free_port, peers, wait_for};

/// Everybody's password.
pub const PASSWORD: &str = "secret";

/// Those who have a mailbox.
pub const USERS: [&str; 2] = ["anna", "ben"];

/// A file that the manual shows, by the word behind the marks at its start: the first one.
#[track_caller]
pub fn of_manual(kind: &str) -> String {
    let manual = include_str!("../../src/manual/mailboxes.md");
    let (_, behind) = manual.split_once(&format!("```{kind}\n")).expect("such a file in the manual");
    behind.split("```").next().unwrap_or_default().to_owned()
}

/// Reads one user's mailbox over IMAP or POP3 with Python's own clients and writes the messages,
/// oldest first, each preceded by a line with its octets.
const READER: &str = r#"
import imaplib, poplib, sys
protocol, port, user, password = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
if protocol == "imap":
    box = imaplib.IMAP4("127.0.0.1", port, timeout=30)
    box.login(user, password)
    box.select("INBOX", readonly=True)
    numbers = box.search(None, "ALL")[1][0].split()
    found = [box.fetch(number, "(BODY.PEEK[])")[1][0][1] for number in numbers]
    box.logout()
else:
    box = poplib.POP3("127.0.0.1", port, timeout=30)
    poplib._MAXLINE = 1 << 20
    box.user(user)
    box.pass_(password)
    count = len(box.list()[1])
    found = [b"".join(line + b"\r\n" for line in box.retr(n + 1)[1]) for n in range(count)]
    box.quit()
for octets in found:
    sys.stdout.buffer.write(b"%d\n" % len(octets) + octets)
"#;

/// The running server. Its mailboxes are in `mail` of its folder, one Maildir a user, and belong to
/// one virtual user.
pub struct Dovecot {
    child: Child,
    folder: PathBuf,
    lmtp: u16,
    imap: u16,
    pop3: u16,
}

/// The user and group that Dovecot's mailboxes belong to: as root another one than ours.
pub fn virtual_user() -> (String, String) {
    let (uid, gid) = match User::from_name("nobody") {
        Ok(Some(nobody)) if peers::is_root() => (nobody.uid, nobody.gid),
        _ => (Uid::current(), Gid::current()),
    };
    let user = User::from_uid(uid).ok().flatten().expect("a user with a name");
    (user.name, Group::from_gid(gid).ok().flatten().expect("a group with a name").name)
}

impl Dovecot {
    /// Starts it with its files in `folder`; `None` if it is not to be had here.
    pub fn start(folder: &Folder) -> Option<Self> {
        let program = peers::find("dovecot")?;
        let folder = folder.join("dovecot");
        let parts = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../peers/root/usr/lib/dovecot");
        let parts = parts.canonicalize().expect("Dovecot's folder among the peers");
        for name in ["base", "state", "mail"] {
            fs::create_dir_all(folder.join(name)).expect("a folder of Dovecot's");
        }
        // Where its programs look for modules, from the folder that they run in.
        std::os::unix::fs::symlink(parts.join("modules"), folder.join("base/modules")).expect("a link");
        let (user, group) = virtual_user();
        let (uid, gid) = (User::from_name(&user), Group::from_name(&group));
        let ids = uid.ok().flatten().map(|u| u.uid.as_raw()).zip(gid.ok().flatten().map(|g| g.gid.as_raw()));
        let (uid, gid) = ids.expect("the virtual user");
        std::os::unix::fs::chown(folder.join("mail"), Some(uid), Some(gid)).expect("a folder given away");
        let (lmtp, imap, pop3) = (free_port(), free_port(), free_port());
        let users = folder.join("users");
        fs::write(&users, USERS.map(|name| format!("{name}:{{PLAIN}}{PASSWORD}\n")).concat())
            .expect("the users file");
        // What the manual says, for the folders and users of this test.
        let manual = of_manual("dovecot")
            .replace("uid=pillarbox gid=pillarbox", &format!("uid={user} gid={group}"))
            .replace(
                "user = pillarbox",
                &format!("user = {}", User::from_uid(Uid::current()).ok().flatten().expect("us").name),
            )
            .replace("/var/lib/pillarbox/mail", &folder.join("mail").display().to_string())
            .replace("/etc/dovecot/users", &users.display().to_string());
        let manual: String =
            manual.lines().filter(|line| !line.starts_with("ssl")).map(|line| format!("{line}\n")).collect();
        let text = manual + include_str!("dovecot.conf");
        let text = text
            .replace("@FOLDER@", &folder.display().to_string())
            .replace("@PARTS@", &parts.display().to_string())
            .replace("@USER@", &user)
            .replace("@GROUP@", &group)
            .replace("@LMTP@", &lmtp.to_string())
            .replace("@IMAP@", &imap.to_string())
            .replace("@POP3@", &pop3.to_string());
        let file = folder.join("dovecot.conf");
        fs::write(&file, text).expect("Dovecot's configuration");
        let output = fs::File::create(folder.join("output")).expect("a file for Dovecot's words");
        let mut command = Command::new(program);
        command.arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(output).process_group(0);
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut dovecot = Self { child, folder, lmtp, imap, pop3 };
        wait_for("Dovecot to listen", || {
            if let Ok(Some(status)) = dovecot.child.try_wait() {
                panic!("Dovecot ended: {status}\n{}", dovecot.words());
            }
            [imap, pop3, lmtp]
                .iter()
                .all(|port| TcpStream::connect(("127.0.0.1", *port)).is_ok())
                .then_some(())
        });
        Some(dovecot)
    }

    /// Where its LMTP server listens: the socket, and the port.
    pub fn lmtp(&self) -> [String; 2] {
        [format!("unix:{}", self.folder.join("base/lmtp").display()), format!("127.0.0.1:{}", self.lmtp)]
    }

    /// The socket at which other servers ask for logins.
    pub fn logins(&self) -> PathBuf {
        self.folder.join("base/auth-client")
    }

    /// The Maildir of a user.
    pub fn mailbox(&self, user: &str) -> PathBuf {
        self.folder.join("mail").join(user)
    }

    /// A user's messages over `imap` or `pop3`, oldest first.
    #[track_caller]
    pub fn read(&self, protocol: &str, user: &str) -> Vec<Vec<u8>> {
        let port = if protocol == "imap" { self.imap } else { self.pop3 };
        let python = peers::find_in_system("python3").expect("Python, which makes Dovecot's clients");
        let mut command = Command::new(python);
        command.args(["-c", READER, protocol, &port.to_string(), user, PASSWORD]);
        let output = peers::run(&mut command, b"");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{protocol}: {said}\n{}", self.words());
        let (mut rest, mut found) = (output.stdout.as_slice(), Vec::new());
        while let Some(end) = rest.iter().position(|octet| *octet == b'\n') {
            let digits = std::str::from_utf8(&rest[..end]).expect("a number");
            let octets: usize = digits.parse().expect("a number of octets");
            let (message, behind) = rest[end + 1..].split_at(octets);
            found.push(message.to_vec());
            rest = behind;
        }
        found
    }

    /// Waits until a user has this many messages, and reads them.
    #[track_caller]
    pub fn wait(&self, protocol: &str, user: &str, messages: usize) -> Vec<Vec<u8>> {
        wait_for(&format!("{messages} messages of {user} over {protocol}"), || {
            let found = self.read(protocol, user);
            (found.len() >= messages).then_some(found)
        })
    }

    fn words(&self) -> String {
        let read = |name| fs::read_to_string(self.folder.join(name)).unwrap_or_default();
        read("log") + &read("output")
    }
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        // The master tells its children.
        let _ = killpg(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
        let _ = self.child.wait();
    }
}
