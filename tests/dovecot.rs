//! Mail that the relay accepted is read back from a real Dovecot, over IMAP and POP3, by the clients
//! of Python's library: handed over by LMTP, and through the Maildir that both share.

mod support;

use nix::unistd::{User, geteuid};
use support::client::Client;
use support::dovecot::{Dovecot, of_manual, virtual_user};
use support::message::{assert_same, field, large, maildir, message, patterns, without_trace};
use support::relay::{Config, Relay, program};
use support::{Folder, free_port, wait_for};

/// A message with an attachment in base64, as mail programs make them.
fn attachment() -> Vec<u8> {
    let mut body = "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"=-x\"\r\n\r\n\
        --=-x\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\
        Gr\u{fc}\u{df}e\r\n.\r\n--=-x\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\
        Content-Disposition: attachment; filename=\"a.png\"\r\n\r\n"
        .to_owned();
    for line in 0..2000 {
        body.push_str(&format!(
            "iVBORw0KGgoAAAANSUhEUgAA{line:08}AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\r\n"
        ));
    }
    body.push_str("--=-x--\r\n");
    [support::message::HEADER.as_bytes(), body.as_bytes()].concat()
}

/// Everything that matters, each with its name. NUL apart, what mail is made of.
fn contents() -> Vec<(String, Vec<u8>)> {
    let mut all = patterns();
    all.push(("an attachment".to_owned(), attachment()));
    all.push(("a mebibyte".to_owned(), large(1 << 20)));
    all
}

/// Sends all contents to `user`, one after the other, so that they arrive in order.
fn send_all(relay: &Relay, config: &Config, to: &str) {
    let mut client = Client::hello(relay.port);
    for (name, content) in contents() {
        let reply = client.deliver("sender@client.test", &[to], &content);
        assert!(reply.starts_with("250 2.0.0"), "{name}: {reply}");
        config.wait_queue(0);
    }
}

/// Reads a user's mailbox over both protocols and compares it with what was sent.
fn compare_all(dovecot: &Dovecot, user: &str) {
    let sent = contents();
    for protocol in ["imap", "pop3"] {
        let found = dovecot.wait(protocol, user, sent.len());
        assert_eq!(found.len(), sent.len());
        for (name, content) in &sent {
            let same = |arrived: &&Vec<u8>| without_trace(arrived) == content.as_slice();
            let nearest = found.iter().find(same).unwrap_or(&found[0]);
            assert_same(&format!("{protocol}: {name}"), content, without_trace(nearest));
        }
        assert_eq!(field(&found[0], "Return-Path").as_deref(), Some("<sender@client.test>"), "{protocol}");
    }
}

#[test]
fn by_lmtp_over_a_socket_and_a_port() {
    let folder = Folder::new("dovecot-lmtp");
    let Some(dovecot) = Dovecot::start(&folder) else { return };
    for (user, host) in ["anna", "ben"].iter().zip(dovecot.lmtp()) {
        let route = format!("to = [\"local.test\"]\nvia = \"lmtp\"\nhosts = [{host:?}]");
        let config = Config::new(folder.path(), user).route(&route);
        let relay = config.start();
        send_all(&relay, &config, &format!("{user}@local.test"));
        let shown = host.trim_start_matches("unix:").to_owned();
        relay.wait_log(&["delivered", &format!("to=<{user}@local.test>"), "via=lmtp", &shown]);
        relay.stop();
        compare_all(&dovecot, user);
    }
}

#[test]
fn through_a_maildir_that_dovecot_serves() {
    let folder = Folder::new("dovecot-maildir");
    let Some(dovecot) = Dovecot::start(&folder) else { return };
    let directory = dovecot.mailbox("{user}").display().to_string();
    let (_, group) = virtual_user();
    let config = Config::new(folder.path(), "a").route(&format!(
        "to = [\"local.test\"]\nvia = \"maildir\"\ndirectory = {directory:?}\nrecipients = \"any\"\ngroup = {group:?}"
    ));
    let relay = config.start();
    send_all(&relay, &config, "Anna+list@local.test");
    relay.stop();
    // As root the relay's files are root's, and Dovecot has nothing but the group to read them by.
    compare_all(&dovecot, "anna");
    for found in dovecot.read("imap", "anna") {
        assert_eq!(field(&found, "Delivered-To").as_deref(), Some("Anna+list@local.test"));
    }
}

/// The relay as the manual configures it for a house, in this test's folders.
fn of_house(folder: &Folder, dovecot: &Dovecot) -> Relay {
    let port = free_port();
    let (us, (_, group)) = (User::from_uid(geteuid()).ok().flatten().expect("us").name, virtual_user());
    let path = |name: &str| folder.join(name).display().to_string();
    let text = of_manual("toml")
        .replace("0.0.0.0:25", &format!("127.0.0.1:{port}"))
        .replace("/var/lib/pillarbox/mail/{user}", &dovecot.mailbox("{user}").display().to_string())
        .replace("via = \"maildir\"\n", &format!("via = \"maildir\"\ngroup = {group:?}\n"))
        + &format!("\n[spool]\ndirectory = {:?}\ncells_size = \"1MiB\"\n", path("spool"))
        + &format!("[run]\nuser = {us:?}\ncontrol = {:?}\nsubmit = {:?}\n", path("control"), path("submit"));
    let mut command = program();
    command.arg("serve").arg("-c").arg(folder.write("pillarbox.toml", text));
    Relay::start(command, port)
}

#[test]
fn the_house_of_the_manual() {
    let folder = Folder::new("dovecot-house");
    let Some(dovecot) = Dovecot::start(&folder) else { return };
    let relay = of_house(&folder, &dovecot);
    let mut client = Client::hello(relay.port);
    client.expect("MAIL FROM:<sender@client.test>", "250");
    client.expect("RCPT TO:<anna@home.arpa>", "550 5.1.1");
    client.expect("RSET", "250");
    // The first login makes the mailbox.
    assert!(dovecot.read("imap", "anna").is_empty());
    let reply = client.deliver("sender@client.test", &["Anna@home.arpa"], &message("hello\r\n"));
    assert!(reply.starts_with("250"), "{reply}");
    for protocol in ["imap", "pop3"] {
        let found = dovecot.wait(protocol, "anna", 1);
        assert_same(protocol, &message("hello\r\n"), without_trace(&found[0]));
    }
    relay.stop();
}

#[test]
fn whom_dovecot_does_not_know_is_returned_and_the_others_have_it() {
    let folder = Folder::new("dovecot-unknown");
    let Some(dovecot) = Dovecot::start(&folder) else { return };
    let config = Config::new(folder.path(), "a")
        .route(&format!("to = [\"remote.test\"]\nvia = \"lmtp\"\nhosts = [{:?}]", dovecot.lmtp()[0]))
        .maildir("[\"local.test\"]");
    let relay = config.start();
    let to = ["ben@remote.test", "carl@remote.test", "anna+x@remote.test"];
    Client::hello(relay.port).deliver("me@local.test", &to, &message("hello\r\n"));
    for user in ["anna", "ben"] {
        assert_same(user, &message("hello\r\n"), without_trace(&dovecot.wait("imap", user, 1)[0]));
    }
    relay.wait_log(&["bounced", "to=<carl@remote.test>", "via=lmtp", "550 5.1.1"]);
    let bounce = wait_for("the bounce", || maildir(&config.mailbox("me")).pop());
    assert!(String::from_utf8_lossy(&bounce).contains("carl@remote.test"));
    config.wait_queue(0);
    relay.stop();
}
