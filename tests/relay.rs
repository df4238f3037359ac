//! The main job with real peers on both sides: what is sent arrives, octet for octet.

mod support;

use std::collections::BTreeSet;
use std::process::Command;

use support::client::Client;
use support::message::{
    HEADER, assert_same, field, large, maildir, message, patterns, stuff, unix_lines, without_trace,
};
use support::next_hop::{Act, Event, NextHop};
use support::peers::{self, Server, find, smtp_source};
use support::relay::{Config, smarthost};
use support::{Folder, amount, wait_for};

/// Waits for the only message of a user's Maildir.
#[track_caller]
fn only(config: &Config, user: &str) -> Vec<u8> {
    let folder = config.mailbox(user);
    let mut found = wait_for("a delivered message", || Some(maildir(&folder)).filter(|all| !all.is_empty()));
    assert_eq!(found.len(), 1, "one message was sent to {user}");
    found.remove(0)
}

#[test]
fn every_pattern_reaches_the_next_hop() {
    let folder = Folder::new("patterns");
    let hop = NextHop::friendly();
    let relay = Config::new(folder.path(), "a").smarthost(&hop.address()).start();
    let mut client = Client::hello(relay.port);
    let patterns = patterns();
    for (number, (name, content)) in patterns.iter().enumerate() {
        let reply = client.deliver("sender@client.test", &["rcpt@remote.test"], content);
        assert!(reply.starts_with("250 2.0.0"), "{name}: {reply}");
        // One after the other, so that what arrives belongs to what was just sent.
        let taken = hop.wait(number + 1).remove(number);
        assert_same(name, content, without_trace(&taken.content));
        assert!(taken.from.starts_with("<sender@client.test>"), "{}", taken.from);
    }
    relay.stop();
}

#[test]
fn every_pattern_reaches_a_maildir_over_two_relays() {
    let folder = Folder::new("two");
    let last = Config::new(folder.path(), "b").maildir("[\"remote.test\"]");
    let second = last.start();
    let config = Config::new(folder.path(), "a").smarthost(&format!("127.0.0.1:{}", second.port));
    let first = config.start();
    let mut client = Client::hello(first.port);
    let patterns = patterns();
    for (number, (name, content)) in patterns.iter().enumerate() {
        let user = format!("user{number}");
        client.deliver("sender@client.test", &[&format!("{user}@remote.test")], content);
        let arrived = only(&last, &user);
        assert_same(name, &unix_lines(content), without_trace(&unix_lines(&arrived)));
    }
    let arrived = only(&last, "user0");
    assert_eq!(field(&arrived, "Return-Path").as_deref(), Some("<sender@client.test>"));
    assert_eq!(field(&arrived, "Delivered-To").as_deref(), Some("user0@remote.test"));
    let trace = String::from_utf8_lossy(&arrived).matches("\nReceived:").count();
    assert_eq!(trace, 2, "each relay adds one Received field");
    first.stop();
    second.stop();
}

#[test]
fn large_messages_arrive_whole() {
    let folder = Folder::new("large");
    let hop = NextHop::friendly();
    let config = Config::new(folder.path(), "a").smarthost(&hop.address());
    let relay = config.start();
    let mut client = Client::hello(relay.port);
    for (number, octets) in [255 * 1024, 300 * 1024, 5 * 1024 * 1024].into_iter().enumerate() {
        let content = large(octets);
        client.deliver("sender@client.test", &["rcpt@remote.test"], &content);
        let taken = hop.wait(number + 1).remove(number);
        assert_same(&format!("{octets} octets"), &content, without_trace(&taken.content));
    }
    config.wait_queue(0);
    relay.stop();
}

#[test]
fn split_anywhere_is_the_same_message() {
    let folder = Folder::new("split");
    let hop = NextHop::friendly();
    let relay = Config::new(folder.path(), "a").smarthost(&hop.address()).start();
    let content = message("one\r\n.two\r\n..\r\n\r\nthree\r\n");
    let wire = stuff(&content);
    let mut client = Client::hello(relay.port);
    for (number, at) in (0..wire.len()).rev().take(24).enumerate() {
        client.expect("MAIL FROM:<sender@client.test>", "250");
        client.expect("RCPT TO:<rcpt@remote.test>", "250");
        client.expect("DATA", "354");
        client.send(&wire[..at]);
        client.send(&wire[at..]);
        assert!(client.reply().starts_with("250"), "split at {at}");
        let taken = hop.wait(number + 1).remove(number);
        assert_same(&format!("split at {at}"), &content, without_trace(&taken.content));
    }
    relay.stop();
}

#[test]
fn bdat_without_a_final_line_end() {
    let folder = Folder::new("bdat");
    let hop = NextHop::friendly();
    let relay = Config::new(folder.path(), "a").smarthost(&hop.address()).start();
    let mut client = Client::hello(relay.port);
    let content = message("lone dot next\r\n.\r\nno line end");
    client.expect("MAIL FROM:<sender@client.test>", "250");
    client.expect("RCPT TO:<rcpt@remote.test>", "250");
    let (first, last) = content.split_at(content.len() / 2);
    client.send(format!("BDAT {}\r\n", first.len()).as_bytes());
    client.send(first);
    assert!(client.reply().starts_with("250"));
    client.send(format!("BDAT {} LAST\r\n", last.len()).as_bytes());
    client.send(last);
    assert!(client.reply().starts_with("250"));
    let taken = hop.wait(1).remove(0);
    let arrived = without_trace(&taken.content);
    assert_same("BDAT", &content, arrived.strip_suffix(b"\r\n").unwrap_or(arrived));
    relay.stop();
}

#[test]
fn missing_fields_are_added() {
    let folder = Folder::new("fields");
    let hop = NextHop::friendly();
    let relay = Config::new(folder.path(), "a").smarthost(&hop.address()).start();
    let mut client = Client::hello(relay.port);
    client.deliver("printer", &["rcpt@remote.test"], b"Subject: scan\r\n\r\ntext\r\n");
    // Two connections may carry them: only one after the other they come in order.
    hop.wait(1);
    client.deliver("printer", &["rcpt@remote.test"], b"no header at all\r\n");
    let taken = hop.wait(2);
    for message in &taken {
        assert!(message.from.starts_with("<printer@relay.test>"), "{}", message.from);
        for name in ["Date", "Message-ID", "From", "Received"] {
            assert!(field(&message.content, name).is_some(), "{name} is missing");
        }
    }
    assert_eq!(field(&taken[0].content, "Subject").as_deref(), Some("scan"));
    assert!(taken[1].content.ends_with(b"\r\n\r\nno header at all\r\n"), "the body is kept");
    relay.stop();
}

#[test]
fn everything_in_one_write_and_bare_line_ends() {
    let folder = Folder::new("onewrite");
    let hop = NextHop::friendly();
    let relay = Config::new(folder.path(), "a").smarthost(&hop.address()).start();
    let mut client = Client::connect(relay.port);
    client.send(
        b"HELO\nMAIL FROM: a@client.test\nRCPT TO: rcpt@remote.test\nDATA\nSubject: lf\n\nbody\n.\nQUIT\n",
    );
    let rest = String::from_utf8_lossy(&client.rest()).into_owned();
    assert!(rest.contains("\r\n354 ") && rest.contains("\r\n221 "), "{rest}");
    let taken = hop.wait(1).remove(0);
    assert!(taken.content.ends_with(b"\r\n\r\nbody\r\n"), "{}", taken.content.escape_ascii());
    relay.stop();
}

#[test]
fn smtp_source_to_smtp_sink() {
    let folder = Folder::new("sink");
    let Some(sink) = Server::smtp_sink(&[]) else { return };
    let config = Config::new(folder.path(), "a").smarthost(&format!("127.0.0.1:{}", sink.port)).set(
        "limits",
        "sessions_per_client",
        "16",
    );
    let relay = config.start();
    let messages = amount(200, 2000).to_string();
    for more in [&["-d"][..], &["-N"], &["-o"]] {
        let options = [&["-s", "10", "-m", &messages, "-l", "2048", "-f", "a@client.test"], more].concat();
        let options = [&options[..], &["-t", "rcpt@remote.test"]].concat();
        let Some(mut source) = smtp_source(relay.port, &options) else { return };
        peers::succeed(&mut source, b"");
    }
    config.wait_queue(0);
    relay.stop();
}

#[test]
fn smtp_source_each_message_once() {
    let folder = Folder::new("once");
    let hop = NextHop::friendly();
    let config = Config::new(folder.path(), "a").smarthost(&hop.address());
    let relay = config.start();
    let options = ["-d", "-s", "5", "-m", "100", "-l", "5000", "-f", "a@client.test", "-t", "b@remote.test"];
    let Some(mut source) = smtp_source(relay.port, &options) else { return };
    peers::succeed(&mut source, b"");
    let taken = hop.wait(100);
    let ids: BTreeSet<_> = taken.iter().map(|taken| field(&taken.content, "Message-Id")).collect();
    assert_eq!((taken.len(), ids.len()), (100, 100), "nothing was lost and nothing sent twice");
    assert!(hop.connections() < 100, "a burst for one smarthost reuses its connections");
    config.wait_queue(0);
    relay.stop();
}

#[test]
fn aiosmtpd_as_smarthost() {
    let folder = Folder::new("aio");
    let mailbox = folder.join("python");
    let Some(server) = Server::aiosmtpd(&mailbox) else { return };
    let relay = Config::new(folder.path(), "a").smarthost(&format!("127.0.0.1:{}", server.port)).start();
    let content = message(".dots\r\n..\r\ntext\r\n");
    Client::hello(relay.port).deliver("a@client.test", &["b@remote.test", "c@remote.test"], &content);
    let arrived =
        wait_for("aiosmtpd's Maildir", || Some(maildir(&mailbox)).filter(|all| !all.is_empty())).remove(0);
    let text = String::from_utf8_lossy(&arrived).into_owned();
    assert!(text.contains("\n.dots\n..\ntext\n"), "{text}");
    assert!(text.contains("b@remote.test") && text.contains("c@remote.test"), "{text}");
    relay.stop();
}

#[test]
fn clients_of_every_kind() {
    let folder = Folder::new("clients");
    let config = Config::new(folder.path(), "a").maildir("[\"local.test\"]");
    let relay = config.start();
    let port = relay.port.to_string();
    let text = format!("{HEADER}\r\n.from a client\r\n");
    let file = folder.write("message.eml", &text);
    if let Some(swaks) = find("swaks") {
        let mut command = Command::new(swaks);
        command.args(["--server", "127.0.0.1", "--port", &port, "--from", "a@client.test"]);
        command.args(["--to", "swaks@local.test", "--data"]).arg(format!("@{}", file.display()));
        peers::succeed(&mut command, b"");
        // It ends what it reads from a file with a line end of its own.
        assert_same(
            "swaks",
            &unix_lines(format!("{text}\r\n").as_bytes()),
            without_trace(&unix_lines(&only(&config, "swaks"))),
        );
    }
    if let Some(curl) = find("curl") {
        let mut command = Command::new(curl);
        command.args(["-sS", &format!("smtp://127.0.0.1:{port}/curl.test"), "--mail-from", "a@client.test"]);
        command.args(["--mail-rcpt", "curl@local.test", "--upload-file"]).arg(&file);
        peers::succeed(&mut command, b"");
        assert_same("curl", &unix_lines(text.as_bytes()), without_trace(&unix_lines(&only(&config, "curl"))));
    }
    if let Some(python) = find("python3") {
        let script = "import smtplib, sys\n\
            with smtplib.SMTP('127.0.0.1', int(sys.argv[1])) as s:\n    \
            s.sendmail('a@client.test', ['python@local.test'], sys.stdin.buffer.read(), ['BODY=8BITMIME'])\n";
        let mut command = Command::new(python);
        peers::succeed(command.args(["-c", script, &port]), text.as_bytes());
        assert_same(
            "smtplib",
            &unix_lines(text.as_bytes()),
            without_trace(&unix_lines(&only(&config, "python"))),
        );
    }
    if let Some(lettre) = find("lettre-send") {
        let mut command = Command::new(lettre);
        command.args([&port, "a@client.test", "lettre@local.test", "hello", ".a dot"]);
        peers::succeed(&mut command, b"");
        let arrived = only(&config, "lettre");
        assert_eq!(field(&arrived, "Subject").as_deref(), Some("hello"));
        assert!(unix_lines(&arrived).windows(8).any(|octets| octets == b"\n.a dot\n"), "the body is kept");
    }
    relay.stop();
}

#[test]
fn dsn_parameters_are_passed_on() {
    let folder = Folder::new("dsn");
    let hop = NextHop::friendly();
    let relay = Config::new(folder.path(), "a").smarthost(&hop.address()).start();
    let mut client = Client::hello(relay.port);
    client.expect("MAIL FROM:<a@client.test> RET=HDRS ENVID=QQ314159 BODY=8BITMIME", "250");
    client.expect("RCPT TO:<b@remote.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;b@old.test", "250");
    client.expect("DATA", "354");
    client.send(&stuff(&message("dsn \u{e4}\r\n")));
    assert!(client.reply().starts_with("250"));
    let taken = hop.wait(1).remove(0);
    assert!(taken.from.contains("RET=HDRS") && taken.from.contains("ENVID=QQ314159"), "{}", taken.from);
    assert!(taken.from.contains("BODY=8BITMIME") && taken.from.contains("SIZE="), "{}", taken.from);
    assert!(taken.to[0].contains("NOTIFY=SUCCESS,FAILURE"), "{:?}", taken.to);
    assert!(taken.to[0].contains("ORCPT=rfc822;b@old.test"), "{:?}", taken.to);
    relay.stop();
}

#[test]
fn nothing_is_used_that_the_next_hop_does_not_offer() {
    let folder = Folder::new("plainhop");
    let hop = NextHop::scripted(|_, event| match event {
        Event::Hello(line) if line.starts_with("EHLO") => Act::Say("502 5.5.1 never heard of it"),
        Event::Hello(_) => Act::Say("250 next.test"),
        Event::Mail(rest) if rest.trim_end().ends_with('>') => Act::Friendly,
        Event::Mail(_) => Act::Say("555 5.5.4 no parameters, please"),
        _ => Act::Friendly,
    });
    let relay = Config::new(folder.path(), "a").smarthost(&hop.address()).start();
    let content = message("plain\r\n");
    let mut client = Client::hello(relay.port);
    client.expect("MAIL FROM:<a@client.test> RET=HDRS SIZE=1000", "250");
    client.expect("RCPT TO:<b@remote.test> NOTIFY=NEVER", "250");
    client.expect("DATA", "354");
    client.send(&stuff(&content));
    assert!(client.reply().starts_with("250"));
    let taken = hop.wait(1).remove(0);
    assert_eq!((taken.from.trim(), taken.to.len()), ("<a@client.test>", 1));
    assert_eq!(taken.to[0].trim(), "<b@remote.test>");
    assert_same("plain hop", &content, without_trace(&taken.content));
    relay.stop();
}

#[test]
fn smtputf8_is_left_out_where_nothing_needs_it() {
    let folder = Folder::new("plainutf8");
    let hop = NextHop::scripted(|_, event| match event {
        Event::Hello(_) => Act::Say("250-next.test\r\n250 8BITMIME"),
        _ => Act::Friendly,
    });
    let config = Config::new(folder.path(), "a").smarthost(&hop.address());
    let relay = config.start();
    let send = |to: &[&str], content: &[u8]| {
        let mut client = Client::hello(relay.port);
        client.expect("MAIL FROM:<anna@local.test> SMTPUTF8", "250");
        for to in to {
            client.expect(&format!("RCPT TO:<{to}>"), "250");
        }
        client.expect("DATA", "354");
        client.send(&stuff(content));
        assert!(client.reply().starts_with("250"));
    };
    send(&["b@remote.test"], &message("a body may be anything: \u{e4}\r\n"));
    // Who can't be named to that server stops nobody else.
    send(&["b@remote.test", "j\u{f6}rg@remote.test"], &message("x\r\n"));
    relay.wait_log(&["bounced to=<j\u{f6}rg@remote.test>", "550 5.6.7"]);
    for taken in hop.wait(2) {
        assert_eq!((taken.from.trim(), taken.to), ("<anna@local.test>", vec!["<b@remote.test>".to_owned()]));
    }
    let subject = [b"Subject: \xc3\xa4\r\n".to_vec(), message("x\r\n")].concat();
    send(&["c@remote.test"], &subject);
    relay.wait_log(&["bounced to=<c@remote.test>", "550 5.6.7"]);
    config.wait_queue(0);
    assert_eq!(hop.wait(2).len(), 2);
    // Nobody but us has said so.
    let notices = maildir(&config.mailbox("anna"));
    assert_eq!(notices.len(), 2);
    for notice in notices {
        let text = String::from_utf8_lossy(&notice);
        assert!(text.contains("\nDiagnostic-Code: x-pillarbox; 550 5.6.7 "), "{text}");
        assert!(!text.contains(" said:"), "{text}");
    }
    relay.stop();
}

#[test]
fn who_is_named_twice_gets_one_copy() {
    let folder = Folder::new("twice");
    let hop = NextHop::friendly();
    let config = Config::new(folder.path(), "a").smarthost(&hop.address());
    let relay = config.start();
    let to = ["b@remote.test", "anna@local.test", "b@REMOTE.test", "Anna@LOCAL.test", "B@remote.test"];
    Client::hello(relay.port).deliver("a@client.test", &to, &message("once\r\n"));
    let taken = hop.wait(1).remove(0);
    // The case of a local-part is for its own server to judge.
    assert_eq!(taken.to, ["<b@remote.test>", "<B@remote.test>"]);
    config.wait_queue(0);
    let arrived = only(&config, "anna");
    assert_eq!(field(&arrived, "Delivered-To").as_deref(), Some("anna@local.test"));
    relay.wait_log(&["accepted", "rcpt=3"]);
    relay.stop();
}

#[test]
fn a_loop_is_stopped() {
    let folder = Folder::new("loop");
    let hop = NextHop::friendly();
    let config = Config::new(folder.path(), "a").smarthost(&hop.address());
    let relay = config.start();
    let trace = "Received: from here by there; Fri, 14 Nov 2025 10:00:00 +0000\r\n".repeat(120);
    let content = [trace.as_bytes(), &message("round and round\r\n")].concat();
    let reply = Client::hello(relay.port).deliver("a@client.test", &["b@remote.test"], &content);
    assert!(reply.starts_with("554 5.4.6"), "{reply}");
    config.wait_queue(0);
    assert_eq!(hop.connections(), 0);
    relay.stop();
}

#[test]
fn routes_discard_and_reject() {
    let folder = Folder::new("routes");
    let hop = NextHop::friendly();
    let config = Config::new(folder.path(), "a")
        .route("to = [\"noreply@remote.test\"]\nvia = \"discard\"")
        .route("to = [\"never.test\"]\nvia = \"reject\"")
        .route(&smarthost("[\"remote.test\"]", &hop.address()));
    let relay = config.start();
    let mut client = Client::hello(relay.port);
    let reply = client.deliver("a@client.test", &["noreply@remote.test"], &message("gone\r\n"));
    assert!(reply.starts_with("250"), "{reply}");
    client.expect("MAIL FROM:<a@client.test>", "250");
    client.expect("RCPT TO:<b@never.test>", "550 5.7.1");
    client.expect("RCPT TO:<b@nowhere.test>", "550 5.7.1");
    client.expect("RCPT TO:<b@remote.test>", "250");
    client.expect("RSET", "250");
    config.wait_queue(0);
    assert_eq!(hop.connections(), 0, "nothing was to be sent on");
    relay.stop();
}

#[test]
fn the_postmaster_has_a_mailbox_from_the_first_mail_on() {
    let folder = Folder::new("postmaster");
    let config = Config::new(folder.path(), "a");
    let directory = config.folder().join("mail/{user}").display().to_string();
    let config =
        config.route(&format!("to = [\"local.test\"]\nvia = \"maildir\"\ndirectory = {directory:?}"));
    std::fs::create_dir(config.folder().join("mail")).expect("a folder for mail");
    let relay = config.start();
    let mut client = Client::hello(relay.port);
    client.expect("MAIL FROM:<a@client.test>", "250");
    client.expect("RCPT TO:<nobody@local.test>", "550 5.1.1");
    client.expect("QUIT", "221");
    Client::hello(relay.port).deliver("a@client.test", &["postmaster@local.test"], &message("text\r\n"));
    relay.wait_log(&["delivered", "postmaster@local.test"]);
    assert_eq!(std::fs::read_dir(config.mailbox("postmaster").join("new")).expect("the mailbox").count(), 1);
    relay.stop();
}
