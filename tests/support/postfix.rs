//! A real Postfix as a next hop: started from where `tests/support/peers.sh` unpacked it, as root, with the
//! users that every Debian has.

use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::{env, fs};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, User};

use super::certificates::{Authority, Pair};
use super::{Folder, free_port, peers, wait_for};

/// Whom its processes and its mailboxes belong to.
const OWNER: &str = "mail";
/// The folders of its queue.
const QUEUE: &str =
    "incoming active bounce corrupt defer deferred flush saved trace hold private public maildrop";

/// The running server, mx.remote.test: it demands TLS, and delivers mail for those of remote.test whom it knows
/// into Maildirs of its own. Mail for local.test it gives to the relay on a port, over TLS, which it verifies.
pub struct Postfix {
    pub port: u16,
    child: Child,
    folder: PathBuf,
}

impl Postfix {
    /// Starts it for these users of remote.test; `more` are lines for main.cf. `None`, said aloud, where it is
    /// not to be had or we are not root.
    pub fn start(
        folder: &Folder,
        tls: (&Authority, &Pair),
        users: &[&str],
        relay: u16,
        more: &str,
    ) -> Option<Self> {
        peers::find("smtp-sink")?;
        if !peers::is_root() {
            eprintln!("SKIPPED: Postfix needs root");
            return None;
        }
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../peers/root");
        let root = root.canonicalize().expect("the folder of the peers");
        let (port, folder) = (free_port(), folder.join("postfix"));
        let owner = User::from_name(OWNER).ok().flatten().expect("a user that every Debian has");
        furnish(&folder, &owner);
        let known: String = users.iter().map(|user| format!("{user}@remote.test {user}/\n")).collect();
        fs::write(folder.join("users"), known).expect("the users file");
        let main = include_str!("postfix.cf")
            .replace("@FOLDER@", &folder.display().to_string())
            .replace("@ROOT@", &root.display().to_string())
            .replace("@OWNER@", OWNER)
            .replace("@UID@", &owner.uid.to_string())
            .replace("@GID@", &owner.gid.to_string())
            .replace("@KEY@", &tls.1.key.display().to_string())
            .replace("@CERTIFICATE@", &tls.1.certificate.display().to_string())
            .replace("@CA@", &tls.0.file().display().to_string())
            .replace("@RELAY@", &relay.to_string());
        fs::write(folder.join("config/main.cf"), main + more).expect("main.cf");
        fs::write(
            folder.join("config/master.cf"),
            format!("127.0.0.1:{port} inet n - n - - smtpd\n{SERVICES}"),
        )
        .expect("master.cf");
        let log = fs::File::create(folder.join("log")).expect("a file for Postfix's words");
        let libraries = ["usr/lib/postfix", &format!("usr/lib/{}-linux-gnu", env::consts::ARCH)]
            .map(|name| root.join(name).display().to_string());
        let mut command = Command::new(root.join("usr/lib/postfix/sbin/master"));
        command.arg("-c").arg(folder.join("config")).arg("-d").process_group(0);
        command.env("MAIL_CONFIG", folder.join("config")).env("LD_LIBRARY_PATH", libraries.join(":"));
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("the same file")).stderr(log);
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut postfix = Self { port, child, folder };
        wait_for("Postfix to listen", || {
            if let Ok(Some(status)) = postfix.child.try_wait() {
                panic!("Postfix ended: {status}\n{}", postfix.log());
            }
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
        Some(postfix)
    }

    /// The Maildir of a user.
    pub fn mailbox(&self, user: &str) -> PathBuf {
        self.folder.join("mail").join(user)
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

/// The folders, which Postfix's processes go through as another user.
fn furnish(folder: &Path, owner: &User) {
    let make = |path: &Path, theirs: bool| {
        fs::create_dir_all(path).expect("a folder of Postfix's");
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("its mode");
        if theirs {
            chown(path, Some(owner.uid.as_raw()), Some(owner.gid.as_raw())).expect("a folder given away");
        }
    };
    for name in ["", "queue", "queue/pid", "config"] {
        make(&folder.join(name), false);
    }
    for name in ["data", "mail"] {
        make(&folder.join(name), true);
    }
    for name in QUEUE.split(' ') {
        make(&folder.join("queue").join(name), true);
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("log of Postfix:\n{}", self.log());
        }
        // The master ends its children; what is left of them after it goes with the group.
        let group = Pid::from_raw(self.child.id() as i32);
        let _ = killpg(group, Signal::SIGTERM);
        let _ = self.child.wait();
        let _ = killpg(group, Signal::SIGKILL);
    }
}

const SERVICES: &str = "cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
smtp unix - - n - - smtp
virtual unix - n n - - virtual
error unix - - n - - error
retry unix - - n - - error
proxymap unix - - n - - proxymap
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
";
