//! Programs that people have, through the front door of a submission server: STARTTLS, TLS from the first
//! octet, a login. And one that judges its TLS.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::message::{field, maildir};
use support::peers;
use support::relay::{Config, program};
use support::{Folder, free_port, wait_for};

const PASSWORD: &str = "correct horse";

/// A submission server with a certificate of the test authority and one user; its port for TLS from the
/// first octet.
struct Server {
    config: Config,
    implicit: u16,
}

fn certificates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/tls")
}

fn secret(folder: &Folder, name: &str, text: &str) -> String {
    let path = folder.write(name, text);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("the mode of a file");
    path.display().to_string()
}

impl Server {
    fn new(folder: &Folder) -> Self {
        let mut password = program();
        password.args(["password", "me"]);
        let line = peers::succeed(&mut password, format!("{PASSWORD}\n").as_bytes());
        let users = secret(folder, "users", &line);
        // A checkout can be readable by everybody; a key may not be.
        let key = fs::read_to_string(certificates().join("p256.key")).expect("a key of the tests");
        let key = secret(folder, "key.pem", &key);
        let certificate = certificates().join("p256.pem").display().to_string();
        let implicit = free_port();
        let config = Config::new(folder.path(), "a")
            .strangers()
            .role("submission")
            .maildir("[\"local.test\"]")
            .set("tls", "certificate_file", &format!("{certificate:?}"))
            .set("tls", "key_file", &format!("{key:?}"))
            .set("access", "users_file", &format!("{users:?}"))
            .table(&format!(
                "[[listen]]\naddress = \"127.0.0.1:{implicit}\"\nrole = \"submission\"\ntls = \"implicit\""
            ));
        Self { config, implicit }
    }

    /// The one message in a mailbox, once it is there.
    #[track_caller]
    fn arrived(&self, user: &str) -> Vec<u8> {
        wait_for("a delivered message", || maildir(&self.config.mailbox(user)).pop())
    }

    /// A message came by an authenticated session under TLS.
    #[track_caller]
    fn check(&self, user: &str) {
        let content = self.arrived(user);
        let received = field(&content, "Received").expect("a trace field");
        assert!(received.contains("with ESMTPSA"), "{received}");
        assert!(String::from_utf8_lossy(&content).contains("by a program"), "the body");
    }
}

fn authority() -> String {
    certificates().join("ca.pem").display().to_string()
}

#[test]
fn lettre_with_rustls() {
    let folder = Folder::new("lettre-tls");
    let Some(lettre) = peers::find("lettre-send") else { return };
    let server = Server::new(&folder);
    let relay = server.config.start();
    for (user, port, tls) in [("start", relay.port, "starttls"), ("implicit", server.implicit, "immediate")] {
        let to = format!("{user}@local.test");
        let mut send = Command::new(&lettre);
        send.env("LETTRE_TLS", tls).env("LETTRE_CA", authority());
        send.args([&port.to_string(), "me@local.test", &to, "hello", "by a program", "me", PASSWORD]);
        peers::succeed(&mut send, b"");
        server.check(user);
    }
    // Without the authority it does not even begin.
    let mut send = Command::new(&lettre);
    send.env("LETTRE_TLS", "starttls");
    send.args([&relay.port.to_string(), "me@local.test", "no@local.test", "hello", "x", "me", PASSWORD]);
    assert!(!peers::run(&mut send, b"").status.success());
    relay.stop();
}

#[test]
fn msmtp_and_s_nail() {
    let folder = Folder::new("msmtp-tls");
    let (Some(msmtp), Some(snail)) = (peers::find("msmtp"), peers::find("s-nail")) else { return };
    let server = Server::new(&folder);
    let relay = server.config.start();
    for (user, port, start) in [("m-start", relay.port, "on"), ("m-implicit", server.implicit, "off")] {
        let file = secret(
            &folder,
            user,
            &format!(
                "account default\nhost localhost\nport {port}\nfrom me@local.test\nauth on\nuser me\n\
                 password {PASSWORD:?}\ntls on\ntls_starttls {start}\ntls_trust_file {}\n",
                authority()
            ),
        );
        let mut send = Command::new(&msmtp);
        send.arg("-C").arg(file).arg(format!("{user}@local.test"));
        peers::succeed(&mut send, b"Subject: hello\n\nby a program\n");
        server.check(user);
    }
    let login = format!("me:{}", PASSWORD.replace(' ', "%20"));
    for (user, url) in [
        ("s-start", format!("submission://{login}@localhost:{}", relay.port)),
        ("s-implicit", format!("submissions://{login}@localhost:{}", server.implicit)),
    ] {
        let mut send = Command::new(&snail);
        send.args([
            "-:/",
            "-Sv15-compat",
            "-Ssmtp-use-starttls",
            "-Stls-verify=strict",
            "-Sfrom=me@local.test",
        ]);
        send.arg(format!("-Stls-ca-file={}", authority())).arg("-Stls-ca-no-defaults");
        send.arg(format!("-Smta={url}")).args(["-s", "hello"]).arg(format!("{user}@local.test"));
        send.env("HOME", folder.path());
        peers::succeed(&mut send, b"by a program\n");
        server.check(user);
    }
    relay.stop();
}

#[test]
fn a_judge_of_tls_finds_nothing_that_can_be_helped() {
    let folder = Folder::new("sslyze");
    let (Some(sslyze), Some(python)) = (peers::find("sslyze"), peers::find("python3")) else { return };
    let server = Server::new(&folder);
    let relay = server.config.start();
    for (name, port, start) in [("implicit", server.implicit, false), ("starttls", relay.port, true)] {
        let out = folder.join(&format!("{name}.json"));
        let mut judge = Command::new(&sslyze);
        judge.arg("--json_out").arg(&out).args(["--mozilla_config", "intermediate"]);
        judge.args(["--slow_connection"]);
        if start {
            judge.args(["--starttls", "smtp"]);
        }
        judge.arg(format!("localhost:{port}"));
        // What it says of profiles made for browsers is no matter; what it found is.
        let _ = peers::run(&mut judge, b"");
        let mut findings = Command::new(&python);
        findings.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/findings.py")).arg(&out);
        assert_eq!(peers::succeed(&mut findings, b""), "", "{name}");
    }
    relay.stop();
}
