//! The queue by hand, with and without a running relay, and `sendmail`.

mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use nix::fcntl::{Flock, FlockArg};

use support::client::Client;
use support::message::{field, maildir, message, unix_lines};
use support::next_hop::{Act, Event, NextHop};
use support::peers;
use support::relay::{Config, Relay, smarthost};
use support::{Folder, free_port, wait_for};

/// A relay whose smarthost does not answer, with this many messages waiting.
fn with_queue(folder: &Folder, messages: usize) -> (Config, Relay, u16) {
    let hop = free_port();
    let config = Config::new(folder.path(), "a")
        .smarthost(&format!("127.0.0.1:{hop}"))
        .set("queue", "retry", "[\"1h\"]");
    let relay = config.start();
    let mut client = Client::hello(relay.port);
    for number in 0..messages {
        let content = message(format!("message {number}\r\n"));
        client.deliver("a@client.test", &["b@remote.test", "c@remote.test"], &content);
    }
    config.wait_queue(messages);
    (config, relay, hop)
}

fn hop_on(port: u16) -> NextHop {
    let listener = std::net::TcpListener::bind(("127.0.0.1", port)).expect("the port of the smarthost");
    NextHop::on(listener, |_, _| support::next_hop::Act::Friendly)
}

fn ids(config: &Config) -> Vec<String> {
    config.queue().iter().map(|entry| entry.key("id").text().to_owned()).collect()
}

/// The program by another name, through a symbolic link.
fn link(folder: &Folder, name: &str) -> PathBuf {
    let path = folder.join(name);
    symlink(env!("CARGO_BIN_EXE_pillarbox"), &path).expect("a symbolic link");
    path
}

#[test]
fn json_has_every_key() {
    let folder = Folder::new("json");
    let (config, relay, _) = with_queue(&folder, 1);
    let entry = wait_for("the first try", || {
        let entry = config.queue().remove(0);
        (entry.key("recipients").list()[0].key("attempts").number() >= 1.0).then_some(entry)
    });
    assert_eq!(entry.key("from").text(), "a@client.test");
    assert_eq!(entry.key("state").text(), "waiting");
    assert!(entry.key("size").number() > 100.0);
    assert!(entry.key("age_s").number() >= 0.0);
    assert!(entry.key("next_try_s").number() > 60.0);
    assert!(entry.key("client").text().contains("127.0.0.1"));
    let recipients = entry.key("recipients").list();
    assert_eq!(recipients.len(), 2);
    for recipient in recipients {
        assert!(recipient.key("to").text().ends_with("@remote.test"));
        assert_eq!(recipient.key("state").text(), "pending");
        assert_eq!(recipient.key("via").text(), "smarthost");
        assert!(!recipient.key("reply").text().is_empty(), "why it waits is said");
    }
    relay.stop();
}

#[test]
fn everyone_is_listed_with_what_they_were_told() {
    let folder = Folder::new("told");
    let hop = NextHop::scripted(|_, event| match event {
        Event::Rcpt(path) if path.contains("nobody@") => Act::Say("550 5.1.1 nobody here"),
        Event::Rcpt(path) if path.contains("busy@") => Act::Say("450 4.2.1 busy"),
        Event::Rcpt(path) if path.contains("full@") => Act::Say("452 4.2.2 full"),
        _ => Act::Friendly,
    });
    let config = Config::new(folder.path(), "a").smarthost(&hop.address()).set("queue", "retry", "[\"1h\"]");
    let relay = config.start();
    let to = ["busy@remote.test", "nobody@remote.test", "b@remote.test", "full@remote.test"];
    Client::hello(relay.port).deliver("a@local.test", &to, &message("x\r\n"));
    let told = || {
        let entry = config.queue().into_iter().find(|entry| entry.key("from").text() == "a@local.test")?;
        let told = entry.key("recipients").list().iter();
        let told: Vec<_> =
            told.map(|r| [r.key("state").text(), r.key("reply").text()].map(ToOwned::to_owned)).collect();
        told.iter().any(|[state, _]| state == "failed").then_some(told)
    };
    let expected = [
        ["pending", "450 4.2.1 busy"],
        ["failed", "550 5.1.1 nobody here"],
        ["delivered", "250 2.0.0 ok"],
        ["pending", "452 4.2.2 full"],
    ];
    let shown = wait_for("the bounce", told);
    let is_same = |(shown, expected): (&[String; 2], &[&str; 2])| {
        shown[0] == expected[0]
            && (shown[1] == expected[1] || expected[0] == "delivered" && shown[1].starts_with("250"))
    };
    assert!(shown.iter().zip(&expected).all(is_same), "{shown:?}");
    relay.stop();
    assert_eq!(told().expect("it is still there"), shown);
}

#[test]
fn listed_and_shown_with_and_without_a_relay() {
    let folder = Folder::new("list");
    let (config, relay, _) = with_queue(&folder, 3);
    let before = ids(&config);
    let list = config.succeed(&["queue", "list"]);
    for id in &before {
        assert!(list.contains(id.as_str()), "{list}");
    }
    assert!(list.contains("b@remote.test") && list.contains("a@client.test"), "{list}");
    let shown = config.succeed(&["queue", "show", &before[1]]);
    assert!(shown.contains("message 1") && shown.contains("c@remote.test"), "{shown}");
    relay.stop();
    assert_eq!(ids(&config), before, "without a relay the spool itself is read");
    let shown = config.succeed(&["queue", "show", &before[2]]);
    assert!(shown.contains("message 2") && shown.contains("c@remote.test"), "{shown}");
    let output = config.run(&["queue", "show", "no-such-id"], b"");
    assert_ne!(output.status.code(), Some(0));
}

#[test]
fn hold_release_retry_remove_with_a_relay() {
    let folder = Folder::new("acts");
    let (config, relay, port) = with_queue(&folder, 3);
    let before = ids(&config);
    let said = config.succeed(&["queue", "hold", &before[0], &before[1]]);
    assert!(said.contains('2'), "how many were held: {said}");
    let held =
        |config: &Config| config.queue().iter().filter(|entry| entry.key("state").text() == "held").count();
    assert_eq!(held(&config), 2);
    let hop = hop_on(port);
    config.succeed(&["queue", "retry", "--all"]);
    config.wait_queue(2);
    assert_eq!(hop.wait(1).len(), 1, "held messages are not tried");
    config.succeed(&["queue", "remove", &before[0]]);
    assert_eq!(ids(&config), [before[1].clone()]);
    config.succeed(&["queue", "release", &before[1]]);
    config.succeed(&["queue", "retry", "--all"]);
    config.wait_queue(0);
    assert_eq!(hop.wait(2).len(), 2);
    for words in
        [["held", before[0].as_str()], ["removed", before[0].as_str()], ["released", before[1].as_str()]]
    {
        relay.wait_log(&words);
    }
    relay.stop();
}

#[test]
fn hold_and_remove_without_a_relay_last() {
    let folder = Folder::new("offline");
    let (config, relay, port) = with_queue(&folder, 3);
    let before = ids(&config);
    relay.kill();
    config.succeed(&["queue", "hold", &before[0]]);
    config.succeed(&["queue", "remove", &before[1]]);
    let hop = hop_on(port);
    let relay = config.start();
    config.succeed(&["queue", "retry", "--all"]);
    assert_eq!(hop.wait(1).len(), 1);
    assert_eq!(config.wait_queue(1)[0].key("state").text(), "held");
    config.succeed(&["queue", "release", "--all"]);
    config.succeed(&["queue", "retry", "--all"]);
    config.wait_queue(0);
    let bodies: Vec<_> = hop.wait(2).into_iter().map(|taken| taken.content).collect();
    assert!(!bodies.iter().any(|body| body.ends_with(b"message 1\r\n")), "the removed one is gone");
    relay.stop();
}

#[test]
fn signals_retry_and_reload() {
    let folder = Folder::new("signals");
    let (config, mut relay, port) = with_queue(&folder, 2);
    let hop = hop_on(port);
    relay.signal(nix::sys::signal::Signal::SIGUSR1);
    hop.wait(2);
    fs::write(config.folder().join("pillarbox.toml"), "nonsense = true\n").expect("the file");
    relay.signal(nix::sys::signal::Signal::SIGHUP);
    relay.wait_log(&["pillarbox.toml:1:1"]);
    relay.assert_alive();
    let reply = Client::hello(relay.port).deliver("a@client.test", &["b@remote.test"], &message("still\r\n"));
    assert!(reply.starts_with("250"), "a bad file leaves the old configuration: {reply}");
    hop.wait(3);
    relay.stop();
}

#[test]
fn a_reload_changes_how_much_is_logged() {
    let folder = Folder::new("level");
    let config = Config::new(folder.path(), "a").maildir("[\"local.test\"]");
    let relay = config.start();
    Client::hello(relay.port).expect("QUIT", "221");
    let config = config.set("log", "level", "\"debug\"");
    config.write();
    relay.signal(nix::sys::signal::Signal::SIGHUP);
    relay.wait_log(&["read again"]);
    Client::hello(relay.port).expect("QUIT", "221");
    relay.wait_log(&["connect", "client="]);
    let log = relay.stop();
    assert!(!log.iter().any(|line| line.contains("restart")), "{log:?}");
}

#[test]
fn a_reload_that_cannot_be_done_says_nothing_else() {
    let folder = Folder::new("aliases");
    let config = Config::new(folder.path(), "a").maildir("[\"local.test\"]");
    let relay = config.start();
    let reload = |config: &Config, says: &str| {
        config.write();
        relay.signal(nix::sys::signal::Signal::SIGHUP);
        relay.wait_log(&[says]);
    };
    reload(&config.clone().set("aliases", "file", "\"/none/aliases\""), "the old configuration stays");
    let log = relay.log();
    assert!(!log.iter().any(|line| line.contains("read again")), "one or the other: {log:?}");
    reload(&config.clone().set("limits", "sessions", "3"), "limits.sessions has changed");
    reload(&config.set("log", "max_size", "\"2MiB\""), "[log], but for its level, has changed");
    relay.stop();
}

#[test]
fn a_reload_waits_for_all_groups_of_a_message() {
    let folder = Folder::new("reload");
    let go = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let of_hop = std::sync::Arc::clone(&go);
    let slow = NextHop::scripted(move |_, event| {
        while matches!(event, Event::Data) && !of_hop.load(std::sync::atomic::Ordering::SeqCst) {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        Act::Friendly
    });
    let other = NextHop::friendly();
    let config = Config::new(folder.path(), "a")
        .set("limits", "deliveries", "1")
        .route(&smarthost("[\"slow.test\"]", &slow.address()))
        .route(&smarthost("", &other.address()));
    let relay = config.start();
    let to = ["a@slow.test", "b@other.test"];
    let reply = Client::hello(relay.port).deliver("a@client.test", &to, &message("two ways\r\n"));
    assert!(reply.starts_with("250"), "{reply}");
    wait_for("the first connection", || (slow.connections() > 0).then_some(()));
    relay.signal(nix::sys::signal::Signal::SIGHUP);
    relay.wait_log(&["read again"]);
    go.store(true, std::sync::atomic::Ordering::SeqCst);
    other.wait(1);
    let reply = Client::hello(relay.port).deliver("a@client.test", &to, &message("after\r\n"));
    assert!(reply.starts_with("250"), "{reply}");
    other.wait(2);
    relay.stop();
}

#[test]
fn a_next_hop_that_hangs_does_not_hold_up_a_reload() {
    let folder = Folder::new("hangs");
    let hangs =
        NextHop::scripted(|_, event| if matches!(event, Event::Data) { Act::Silence } else { Act::Friendly });
    let other = NextHop::friendly();
    let config = Config::new(folder.path(), "a")
        .route(&smarthost("[\"slow.test\"]", &hangs.address()))
        .route(&smarthost("", &other.address()));
    let relay = config.start();
    let send = |to| Client::hello(relay.port).deliver("a@client.test", &[to], &message("text\r\n"));
    assert!(send("a@slow.test").starts_with("250"));
    wait_for("the first connection", || (hangs.connections() > 0).then_some(()));
    relay.signal(nix::sys::signal::Signal::SIGHUP);
    relay.wait_log(&["read again"]);
    assert!(send("b@other.test").starts_with("250"));
    other.wait(1);
    relay.stop();
}

#[test]
fn a_transaction_open_across_a_reload_goes_by_the_new_routes() {
    let folder = Folder::new("across");
    let (first, second) = (NextHop::friendly(), NextHop::friendly());
    // After the reload the place of each route is that of the other one.
    let before = Config::new(folder.path(), "a")
        .route(&smarthost("[\"one.test\"]", &first.address()))
        .route(&smarthost("[\"two.test\"]", &second.address()));
    let relay = before.start();
    let mut client = Client::hello(relay.port);
    client.expect("MAIL FROM:<a@client.test>", "250");
    client.expect("RCPT TO:<x@one.test>", "250");
    Config::new(folder.path(), "a")
        .on_port(before.port)
        .route(&smarthost("[\"two.test\"]", &second.address()))
        .route(&smarthost("[\"one.test\"]", &first.address()))
        .write();
    relay.signal(nix::sys::signal::Signal::SIGHUP);
    relay.wait_log(&["read again"]);
    client.expect("RCPT TO:<y@two.test>", "250");
    client.expect("DATA", "354");
    client.expect("Subject: x\r\n\r\nx\r\n.", "250");
    for (hop, to) in [(&first, "<x@one.test>"), (&second, "<y@two.test>")] {
        let taken = hop.wait(1);
        assert_eq!(taken[0].to, [to]);
    }
    before.wait_queue(0);
    relay.stop();
}

#[test]
fn mailq_by_name_and_status() {
    let folder = Folder::new("names");
    let (config, relay, _) = with_queue(&folder, 1);
    let mut command = Command::new(link(&folder, "mailq"));
    let said = peers::succeed(command.arg("-c").arg(config.write()), b"");
    assert!(said.contains(&ids(&config)[0]), "{said}");
    let mut by_habit = Command::new(command.get_program());
    assert_eq!(peers::succeed(by_habit.args(["-v", "-Ac", "-c"]).arg(config.write()), b""), said);
    let status = support::json::Json::parse(&config.succeed(&["status", "--json"]));
    assert_eq!(status.key("version").text(), env!("CARGO_PKG_VERSION"));
    assert_eq!(status.key("spool").key("messages").number(), 1.0);
    assert!(status.key("spool").key("syncs").number() >= 1.0);
    assert_eq!(status.key("counters").key("accepted").number(), 1.0);
    assert!(status.key("memory").key("ceiling_bytes").number() > 0.0);
    relay.stop();
}

#[test]
fn sendmail_takes_recipients_from_the_header() {
    let folder = Folder::new("sendmail");
    let hop = NextHop::friendly();
    let config = Config::new(folder.path(), "a").smarthost(&hop.address());
    let relay = config.start();
    let input = "To: One <one@remote.test>,\n two@remote.test (a comment)\nCc: group: three@remote.test;\n\
        Bcc: secret@remote.test\nSubject: by sendmail\n\nfirst\n.\nlast\n";
    let output =
        config.run(&["sendmail", "-t", "-i", "-f", "me@client.test", "-F", "My Name"], input.as_bytes());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut taken = hop.wait(1).remove(0);
    taken.to.sort();
    let to: Vec<_> = taken.to.iter().map(|path| path.split('>').next().unwrap_or_default()).collect();
    assert_eq!(to, ["<one@remote.test", "<secret@remote.test", "<three@remote.test", "<two@remote.test"]);
    assert!(taken.from.starts_with("<me@client.test>"), "{}", taken.from);
    assert_eq!(field(&taken.content, "Bcc"), None, "nobody may see who else got it");
    let from = field(&taken.content, "From").expect("a From field is added");
    assert!(from.contains("My Name") && from.contains("me@client.test"), "{from}");
    assert!(taken.content.ends_with(b"\r\n\r\nfirst\r\n.\r\nlast\r\n"), "{}", taken.content.escape_ascii());
    relay.stop();
}

#[test]
fn sendmail_dots_and_exit_codes() {
    let folder = Folder::new("dots");
    let config = Config::new(folder.path(), "a").maildir("[\"local.test\"]");
    let relay = config.start();
    let sendmail = link(&folder, "sendmail");
    let file = config.write();
    let run = |arguments: &[&str], input: &[u8]| {
        peers::run(Command::new(&sendmail).arg("-c").arg(&file).args(arguments), input)
    };
    let output = run(&["-oem", "-B8BITMIME", "dot@local.test"], b"Subject: x\n\nbefore\n.\nafter\n");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let arrived = wait_for("the delivered message", || maildir(&config.mailbox("dot")).pop());
    assert!(unix_lines(&arrived).ends_with(b"\n\nbefore\n"), "without -i a lone dot ends the message");
    let output = run(&["-i", "who@nowhere.test"], b"Subject: x\n\nrefused\n");
    assert!(matches!(output.status.code(), Some(64..=78)), "{}", output.status);
    assert!(!output.stderr.is_empty(), "a refusal says why");
    let output = run(&["-t"], b"Subject: nobody\n\ntext\n");
    assert!(matches!(output.status.code(), Some(64 | 65)), "no recipient: {}", output.status);
    let output = run(&["-i", "large@local.test"], &support::message::large(400 * 1024));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    wait_for("the large message", || maildir(&config.mailbox("large")).pop());
    relay.stop();
}

#[test]
fn sendmail_by_the_clock_says_nothing() {
    let folder = Folder::new("flush");
    let (config, relay, port) = with_queue(&folder, 1);
    let hop = hop_on(port);
    let output = config.run(&["sendmail", "-q"], b"");
    assert_eq!((output.status.code(), output.stdout), (Some(0), Vec::new()));
    hop.wait(1);
    config.drain();
    relay.stop();
    assert_eq!(config.run(&["sendmail", "-q"], b"").status.code(), Some(69), "no relay runs");
    for (argument, says) in [("-h", "usage: pillarbox sendmail"), ("-V", "pillarbox 0")] {
        assert!(config.succeed(&["sendmail", argument]).starts_with(says), "{argument}");
    }
}

#[test]
fn sendmail_without_a_relay_waits_in_the_spool() {
    let folder = Folder::new("norelay");
    let hop = NextHop::friendly();
    let config = Config::new(folder.path(), "a").smarthost(&hop.address());
    config.start().stop();
    let input = b"Subject: offline\n\nwritten while nothing ran\n";
    let output = config.run(&["sendmail", "-i", "-f", "me@client.test", "one@remote.test"], input);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(config.queue().len(), 1);
    let relay = config.start();
    config.drain();
    let taken = hop.wait(1).remove(0);
    assert!(taken.content.ends_with(b"\r\n\r\nwritten while nothing ran\r\n"));
    relay.stop();
}

#[test]
fn sendmail_before_the_first_start_tries_later() {
    let folder = Folder::new("sendmail-unmade");
    let config = Config::new(folder.path(), "a").smarthost("127.0.0.1:9");
    let output = config.run(&["sendmail", "-i", "b@remote.test"], b"Subject: x\n\ntext\n");
    assert_eq!(output.status.code(), Some(75), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_relay_waits_for_who_has_the_spool_for_a_moment() {
    let folder = Folder::new("moment");
    let config = Config::new(folder.path(), "a").maildir("[\"local.test\"]");
    config.start().stop();
    let lock = fs::File::open(config.folder().join("spool/lock")).expect("the lock");
    let held = Flock::lock(lock, FlockArg::LockExclusiveNonblock).expect("nobody has it");
    let relay = Relay::spawn(config.command(&["serve"]), config.port);
    relay.wait_log(&["in use by another process", "waiting"]);
    drop(held);
    relay.wait_log(&["listening on"]);
    // A second one does not wait for ever.
    let output = config.run(&["serve"], b"");
    assert_eq!(output.status.code(), Some(75), "{}", String::from_utf8_lossy(&output.stderr));
    relay.stop();
}

#[test]
fn sendmail_with_the_spool_locked_by_another() {
    let folder = Folder::new("locked");
    let config = Config::new(folder.path(), "a").maildir("[\"local.test\"]");
    let relay = config.start();
    // The relay lives and holds the lock, but its socket is gone.
    fs::remove_file(config.folder().join("submit")).expect("the submit socket");
    let output = config.run(&["sendmail", "-i", "b@local.test"], b"Subject: x\n\ntext\n");
    assert_eq!(output.status.code(), Some(75), "{}", String::from_utf8_lossy(&output.stderr));
    relay.stop();
}

#[test]
fn failed_recipients_bounce_and_bounces_do_not() {
    let folder = Folder::new("bounce");
    let hop = NextHop::scripted(|_, event| match event {
        support::next_hop::Event::Rcpt(path) if path.contains("bad@") => {
            support::next_hop::Act::Say("550 5.1.1 no such user \u{7}here")
        }
        _ => support::next_hop::Act::Friendly,
    });
    let config = Config::new(folder.path(), "a").smarthost(&hop.address());
    let relay = config.start();
    let mut client = Client::hello(relay.port);
    client.deliver("me@local.test", &["bad@remote.test", "good@remote.test"], &message("text\r\n"));
    client.deliver("", &["bad@remote.test"], &message("a bounce itself\r\n"));
    let bounce = wait_for("the bounce", || maildir(&config.mailbox("me")).pop());
    let text = String::from_utf8_lossy(&bounce).into_owned();
    assert!(text.contains("multipart/report") && text.contains("Status: 5.1.1"), "{text}");
    assert!(text.contains("bad@remote.test") && !text.contains("good@remote.test\nAction: failed"), "{text}");
    assert!(!text.contains('\u{7}'), "what the peer says is escaped");
    assert_eq!(field(&bounce, "Return-Path").as_deref(), Some("<>"));
    assert_eq!(hop.wait(1).len(), 1);
    config.wait_queue(0);
    if let Some(python) = peers::find("python3") {
        let script = "import email, email.policy, sys\n\
            m = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default)\n\
            assert m.get_content_type() == 'multipart/report' and not m.defects, m.defects\n\
            kinds = [p.get_content_type() for p in m.iter_parts()]\n\
            assert kinds[:2] == ['text/plain', 'message/delivery-status'], kinds\n\
            assert kinds[2] in ('text/rfc822-headers', 'message/rfc822'), kinds\n";
        peers::succeed(Command::new(python).args(["-c", script]), &bounce);
    }
    relay.stop();
}
