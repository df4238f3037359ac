//! A real Postfix as the next hop, over TLS, and back: what it delivers, refuses and reports.

mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use support::certificates::{Authority, Pair};
use support::client::Client;
use support::dovecot::{Dovecot, PASSWORD};
use support::message::{
    HEADER, assert_same, field, large, maildir, message, patterns, stuff, unix_lines, without_trace,
};
use support::postfix::Postfix;
use support::relay::Config;
use support::{Folder, wait_for};

/// An authority, and a certificate for localhost.
fn tls(folder: &Folder) -> Option<(Authority, Pair)> {
    let authority = Authority::new(folder.path(), "authority")?;
    let pair = authority.issue("localhost", "EC:P-256");
    Some((authority, pair))
}

/// A relay of local.test with this certificate; the rest goes to Postfix on `port`, which it verifies. `more`
/// are lines for that route.
fn relay(folder: &Folder, name: &str, tls: &(Authority, Pair), port: u16, more: &str) -> Config {
    Config::new(folder.path(), name)
        .maildir("[\"local.test\"]")
        .route(&format!("via = \"smarthost\"\nhosts = [\"localhost:{port}\"]\n{more}"))
        .set("tls", "ca_file", &format!("{:?}", tls.0.file()))
        .set("tls", "certificate_file", &format!("{:?}", tls.1.certificate))
        .set("tls", "key_file", &format!("{:?}", tls.1.key))
}

/// The only message of a Maildir of Postfix, which keeps lines as Unix does.
#[track_caller]
fn only(mailbox: &Path) -> Vec<u8> {
    let found = wait_for("a message", || Some(maildir(mailbox)).filter(|all| !all.is_empty()));
    assert_eq!(found.len(), 1, "one message for {}", mailbox.display());
    found.into_iter().next().expect("one")
}

/// Postfix counts the commands of a session, and beside them those that it took if it did not take all.
#[track_caller]
fn assert_well_spoken(log: &str) {
    // The connection that waited for it to listen said nothing.
    let heard =
        |line: &&str| !line.contains("lost connection after CONNECT") && !line.contains("commands=0/0");
    let mut sessions = 0;
    for line in log.lines().filter(heard) {
        if let Some((_, counts)) = line.split_once("disconnect from localhost[127.0.0.1] ") {
            assert!(counts.starts_with("ehlo=2 starttls=1 ") && counts.contains(" quit=1 "), "{line}");
            assert!(!counts.contains('/'), "{line}");
            sessions += 1;
        }
        let complains = ["warning:", "improper", "timeout", "lost connection"];
        assert!(!complains.iter().any(|word| line.contains(word)), "{line} in\n{log}");
    }
    assert!(sessions > 0, "{log}");
}

#[test]
fn postfix_delivers_every_pattern_octet_for_octet() {
    let folder = Folder::new("postfixpatterns");
    let Some(tls) = tls(&folder) else { return };
    let mut contents = patterns();
    contents.push(("three mebibytes".to_owned(), large(3 << 20)));
    let users: Vec<String> = (0..contents.len()).map(|number| format!("user{number}")).collect();
    let names: Vec<&str> = users.iter().map(String::as_str).collect();
    let Some(postfix) = Postfix::start(&folder, (&tls.0, &tls.1), &names, 9, "") else { return };
    let config = relay(&folder, "a", &tls, postfix.port, "");
    let relay = config.start();
    let mut client = Client::hello(relay.port);
    for ((name, content), user) in contents.iter().zip(&users) {
        client.expect("MAIL FROM:<me@local.test> BODY=8BITMIME", "250");
        client.expect(&format!("RCPT TO:<{user}@remote.test>"), "250");
        client.expect("DATA", "354");
        client.send(&stuff(content));
        assert!(client.reply().starts_with("250"), "{name}");
    }
    for ((name, content), user) in contents.iter().zip(&users) {
        let found = only(&postfix.mailbox(user));
        assert_same(name, &unix_lines(content), without_trace(&found));
        assert_eq!(field(&found, "Return-Path").as_deref(), Some("<me@local.test>"));
    }
    config.wait_queue(0);
    relay.wait_log(&["delivered", "host=localhost[127.0.0.1]", "tls=TLSv1.3"]);
    relay.stop();
    assert_well_spoken(&postfix.log());
}

#[test]
fn postfix_refuses_one_delivers_to_the_others_and_reports_what_was_asked_for() {
    let folder = Folder::new("postfixdsn");
    let Some(tls) = tls(&folder) else { return };
    // Postfix reports to the relay, so that one must be known before the other.
    let config = relay(&folder, "a", &tls, 9, "");
    let known = ["anna", "ben", "b\u{fc}cher"];
    let Some(postfix) = Postfix::start(&folder, (&tls.0, &tls.1), &known, config.port, "") else { return };
    let port = config.port;
    let config = relay(&folder, "b", &tls, postfix.port, "").on_port(port);
    let relay = config.start();
    let content = [HEADER, "X-Note: \u{1f4ee}\r\n\r\n.\r\n..\r\nGr\u{fc}\u{df}e\r\n"].concat();
    let mut client = Client::hello(relay.port);
    client.expect("MAIL FROM:<me@local.test> SMTPUTF8 BODY=8BITMIME RET=HDRS ENVID=QQ+2B314159", "250");
    for to in [
        "<anna@remote.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;Anna+2B1@elsewhere.test",
        "<nobody@remote.test> NOTIFY=FAILURE",
        "<ben@remote.test> NOTIFY=NEVER",
        "<b\u{fc}cher@remote.test> NOTIFY=FAILURE",
        "<noone@remote.test> NOTIFY=NEVER",
    ] {
        client.expect(&format!("RCPT TO:{to}"), "250");
    }
    client.expect("DATA", "354");
    client.send(&stuff(content.as_bytes()));
    assert!(client.reply().starts_with("250"));
    for user in known {
        let found = only(&postfix.mailbox(user));
        assert_same(user, &unix_lines(content.as_bytes()), without_trace(&found));
    }
    for user in ["nobody", "noone"] {
        relay.wait_log(&["bounced", &format!("{user}@remote.test"), "550 5.1.1"]);
    }
    let notices =
        wait_for("two notices", || Some(maildir(&config.mailbox("me"))).filter(|all| all.len() == 2));
    let texts = notices.iter().map(|one| String::from_utf8_lossy(one).replace("\r\n", "\n"));
    let (failed, done): (Vec<_>, Vec<_>) = texts.partition(|text| text.contains("\nAction: failed\n"));
    let (failed, done) = (&failed[0], &done[0]);
    for words in ["dns; relay.test", "nobody@remote.test", "Status: 5.1.1", "User unknown", "QQ+314159"] {
        assert!(failed.contains(words), "{words} in the relay's notice:\n{failed}");
    }
    assert!(!failed.contains("noone@remote.test"), "{failed}");
    for words in [
        "Reporting-MTA: dns; mx.remote.test\n",
        "Original-Envelope-Id: QQ+314159\n",
        "Original-Recipient: rfc822;Anna+1@elsewhere.test\n",
        "Final-Recipient: rfc822; anna@remote.test\n",
        "\nAction: delivered\n",
    ] {
        assert!(done.contains(words), "{words} in Postfix's notice:\n{done}");
    }
    assert!(!done.contains("ben@remote.test") && !done.contains("..\n"), "RET=HDRS:\n{done}");
    config.wait_queue(0);
    relay.wait_log(&["accepted", "from=<>", "helo=\"mx.remote.test\"", "proto=UTF8SMTPS"]);
    relay.stop();
    assert!(postfix.log().contains("Verified TLS connection established to localhost"), "{}", postfix.log());
}

#[test]
fn postfix_takes_a_login_that_dovecot_judges() {
    let folder = Folder::new("postfixlogin");
    let Some(tls) = tls(&folder) else { return };
    let Some(dovecot) = Dovecot::start(&folder) else { return };
    let more = format!(
        "smtpd_sasl_auth_enable = yes\nsmtpd_sasl_type = dovecot\nsmtpd_sasl_path = {}\n\
         smtpd_tls_auth_only = yes\nsmtpd_recipient_restrictions = permit_sasl_authenticated, reject\n",
        dovecot.logins().display()
    );
    let Some(postfix) = Postfix::start(&folder, (&tls.0, &tls.1), &["ben"], 9, &more) else { return };
    for (name, password, expected) in [
        ("none", None, ["bounced", "554 5.7.1"]),
        ("wrong", Some("guessed"), ["deferred", "535 5.7.8"]),
        ("right", Some(PASSWORD), ["delivered", "250 2.0.0"]),
    ] {
        let login = password.map_or(String::new(), |password| {
            let file = folder.write(name, password);
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("its mode");
            format!("username = \"anna\"\npassword_file = {file:?}")
        });
        let config = relay(&folder, &format!("a-{name}"), &tls, postfix.port, &login);
        let relay = config.start();
        let reply =
            Client::hello(relay.port).deliver("me@local.test", &["ben@remote.test"], &message("hello\r\n"));
        assert!(reply.starts_with("250"), "{reply}");
        relay.wait_log(&[expected[0], "to=<ben@remote.test>", expected[1]]);
        relay.stop();
    }
    let sent = unix_lines(&message("hello\r\n"));
    assert_same("content", &sent, without_trace(&only(&postfix.mailbox("ben"))));
    assert!(postfix.log().contains("sasl_method=PLAIN, sasl_username=anna"), "{}", postfix.log());
}
