//! A real next hop with TLS and a certificate of the test's.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::certificates::Pair;
use super::message::maildir;
use super::peers::find;
use super::{Folder, free_port, wait_for};

/// Python's server with a certificate: killed with its value.
pub struct Hop {
    pub port: u16,
    child: Child,
    mailbox: PathBuf,
}

impl Hop {
    /// `way`: "tls" (STARTTLS, demanded) or "smtps" (from the first octet).
    pub fn new(folder: &Folder, name: &str, way: &str, pair: &Pair) -> Option<Self> {
        let (port, mailbox) = (free_port(), folder.join(name));
        let mut command = Command::new(find("aiosmtpd")?);
        command
            .args(["-n", "-l", &format!("localhost:{port}"), &format!("--{way}cert")])
            .arg(&pair.certificate);
        command
            .arg(format!("--{way}key"))
            .arg(&pair.key)
            .args(["-c", "aiosmtpd.handlers.Mailbox"])
            .arg(&mailbox);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a peer");
        wait_for("a peer to listen", || {
            assert!(child.try_wait().ok().flatten().is_none(), "{command:?} ended");
            std::net::TcpStream::connect(("127.0.0.1", port)).ok()
        });
        Some(Self { port, child, mailbox })
    }

    pub fn mails(&self) -> usize {
        maildir(&self.mailbox).len()
    }
}

impl Drop for Hop {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
