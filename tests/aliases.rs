//! Aliases from outside: who gets what, what is wrong with a file, and that a change is seen.

mod support;

use std::fs;
use std::path::PathBuf;

use nix::sys::signal::Signal;
use support::client::Client;
use support::json::Json;
use support::message::{HEADER, field, maildir, message};
use support::next_hop::{Act, Event, NextHop};
use support::relay::{Config, Relay, program, smarthost};
use support::{Folder, peers, wait_for};

/// A relay whose local.test has Maildirs for those who are named, and aliases from a file; all other
/// mail goes to `hop`.
struct House {
    folder: Folder,
    config: Config,
    file: PathBuf,
}

impl House {
    fn new(name: &str, aliases: &str, hop: &NextHop) -> Self {
        let folder = Folder::new(name);
        let file = folder.write("aliases", aliases);
        let directory = folder.join("a/mail/{user}").display().to_string();
        let config = Config::new(folder.path(), "a")
            .set("aliases", "file", &format!("{:?}", file.display().to_string()))
            .route(&format!("to = [\"local.test\"]\nvia = \"maildir\"\ndirectory = {directory:?}"))
            .route(&smarthost("", &hop.address()));
        for user in ["anna", "ben"] {
            fs::create_dir_all(config.mailbox(user).join("new")).expect("a mailbox");
            fs::create_dir_all(config.mailbox(user).join("cur")).expect("a mailbox");
            fs::create_dir_all(config.mailbox(user).join("tmp")).expect("a mailbox");
        }
        Self { folder, config, file }
    }

    #[track_caller]
    fn wait(&self, user: &str, messages: usize) -> Vec<Vec<u8>> {
        wait_for(&format!("{messages} messages for {user}"), || {
            Some(maildir(&self.config.mailbox(user))).filter(|all| all.len() >= messages)
        })
    }
}

/// The reply to RCPT in a transaction of its own.
#[track_caller]
fn rcpt(relay: &Relay, to: &str) -> String {
    let mut client = Client::hello(relay.port);
    client.expect("MAIL FROM:<someone@away.test>", "250");
    client.ask(&format!("RCPT TO:<{to}>"))
}

#[test]
fn a_strangers_mail_reaches_everybody_an_alias_stands_for_once() {
    let hop = NextHop::friendly();
    let text = "info: family, carl@away.test\nfamily: anna, ben\n";
    let house = House::new("aliases", text, &hop);
    let relay = house.config.clone().strangers().start();
    let mut client = Client::hello(relay.port);
    client.expect("MAIL FROM:<someone@away.test>", "250");
    client.expect("RCPT TO:<Anna@local.test>", "250 2.1.5");
    client.expect("RCPT TO:<info+web@local.test> NOTIFY=FAILURE,DELAY", "250 2.1.5");
    client.expect("RCPT TO:<family@local.test>", "250 2.1.5");
    client.expect("RCPT TO:<carl@away.test>", "550 5.7.1");
    client.expect("DATA", "354");
    client.send(&support::message::stuff(&message("hello\r\n")));
    assert!(client.reply().starts_with("250"));
    let taken = hop.wait(1).remove(0);
    assert_eq!(taken.to.len(), 1);
    // DSN: what the sender asked for, under the name it used (RFC 3461 4.2).
    assert_eq!(taken.to[0], "<carl@away.test> NOTIFY=FAILURE,DELAY ORCPT=rfc822;info+2Bweb@local.test");
    assert!(taken.from.starts_with("<someone@away.test>"), "the sender stays: {}", taken.from);
    house.config.wait_queue(0);
    for user in ["anna", "ben"] {
        let all = house.wait(user, 1);
        assert_eq!(all.len(), 1, "one copy for {user}");
        assert!(all[0].ends_with(b"\n\nhello\n"));
    }
    // Anna was named before any alias, and twice more through them.
    assert_eq!(field(&house.wait("anna", 1)[0], "Delivered-To").as_deref(), Some("Anna@local.test"));
    let accepted = relay.wait_log(&["accepted", "rcpt=3"]);
    assert!(accepted.contains("from=<someone@away.test>"), "{accepted}");
    relay.stop();
}

#[test]
fn the_trace_field_names_who_was_named() {
    let hop = NextHop::friendly();
    let house = House::new("aliases-trace", "me: secret@away.test\n", &hop);
    let relay = house.config.start();
    Client::hello(relay.port).deliver("a@away.test", &["me@local.test"], &message("x\r\n"));
    let received = field(&hop.wait(1)[0].content, "Received").expect("a trace field");
    assert!(received.contains("for <me@local.test>") && !received.contains("secret"), "{received}");
    relay.stop();
}

#[test]
fn what_rcpt_is_answered() {
    let hop = NextHop::friendly();
    let wide: String = (0..101).map(|n| format!(" u{n}@away.test,")).collect();
    let deep: String = (0..12).map(|n| format!("n{n}: n{}\n", n + 1)).collect();
    let text = format!("round: trip\ntrip: round\nwide:{wide}\n{deep}n12: anna\ngone: nobody\nroot: anna\n");
    let house = House::new("aliases-rcpt", &text, &hop);
    let relay = house.config.start();
    for (to, reply) in [
        ("anna@local.test", "250"),
        ("root@local.test", "250"),
        ("ROOT+cron@local.test", "250"),
        ("n3@local.test", "250"),
        ("n0@local.test", "451 4.6.0"),
        ("round@local.test", "451 4.6.0"),
        ("wide@local.test", "451 4.6.0"),
        ("nobody@local.test", "550 5.1.1"),
        ("gone@local.test", "550 5.1.1"),
        // Not ours: no alias is asked.
        ("round@away.test", "250"),
    ] {
        let answer = rcpt(&relay, to);
        assert!(answer.starts_with(reply), "{to}: {answer}");
    }
    let mut client = Client::hello(relay.port);
    client.expect("VRFY root", "252");
    relay.stop();
}

#[test]
fn more_than_an_envelope_holds_is_refused_as_a_whole() {
    let hop = NextHop::friendly();
    let list = |name: &str| {
        let all: String = (0..100).map(|n| format!(" {name}{n}@away.test,")).collect();
        format!("{name}:{all}\n")
    };
    let house = House::new("aliases-many", &(list("x") + &list("y") + &list("z")), &hop);
    let relay = house.config.start();
    let mut client = Client::hello(relay.port);
    client.expect("MAIL FROM:<a@away.test>", "250");
    client.expect("RCPT TO:<x@local.test>", "250");
    client.expect("RCPT TO:<y@local.test>", "250");
    client.expect("RCPT TO:<z@local.test>", "452 4.5.3");
    client.expect("RCPT TO:<anna@local.test>", "250");
    client.expect("DATA", "354");
    client.send(b".\r\n");
    assert!(client.reply().starts_with("250"));
    house.wait("anna", 1);
    let everybody = || hop.taken().iter().map(|taken| taken.to.len()).sum::<usize>();
    wait_for("all of them", || (everybody() == 200).then_some(()));
    relay.stop();
}

#[test]
fn unknown_names_are_caught() {
    let hop = NextHop::friendly();
    let house = House::new("aliases-catch", "*: anna\n", &hop);
    let relay = house.config.start();
    Client::hello(relay.port).deliver(
        "a@away.test",
        &["typo@local.test", "ben@local.test"],
        &message("x\r\n"),
    );
    assert_eq!(field(&house.wait("anna", 1)[0], "Delivered-To").as_deref(), Some("anna@local.test"));
    house.wait("ben", 1);
    relay.stop();
}

#[test]
fn a_change_is_seen_at_the_next_recipient_and_a_mistake_changes_nothing() {
    let hop = NextHop::friendly();
    let house = House::new("aliases-change", "info: anna\n", &hop);
    let relay = house.config.start();
    assert!(rcpt(&relay, "sales@local.test").starts_with("550 5.1.1"));
    fs::write(&house.file, "info: anna\nsales: ben\n").expect("the aliases file");
    assert!(rcpt(&relay, "sales@local.test").starts_with("250"));
    relay.wait_log(&["read again"]);
    // As editors do it: a new file under the old name.
    let new = house.folder.write("aliases.new", "info: anna\nsales: ben,\n   |/bin/program\n");
    fs::rename(new, &house.file).expect("a new aliases file");
    assert!(rcpt(&relay, "sales@local.test").starts_with("250"));
    relay.wait_log(&["aliases:3:4: mail is not given to programs"]);
    relay.wait_log(&["the old aliases stay"]);
    fs::remove_file(&house.file).expect("the aliases file");
    assert!(rcpt(&relay, "sales@local.test").starts_with("250"));
    fs::write(&house.file, "info: anna\n").expect("the aliases file");
    assert!(rcpt(&relay, "sales@local.test").starts_with("550 5.1.1"));
    let log = relay.stop();
    let told = log.iter().filter(|line| line.contains("not given to programs")).count();
    assert_eq!(told, 1, "once a change: {log:#?}");
}

#[test]
fn a_wrong_file_is_told_with_its_place_and_nothing_starts() {
    let hop = NextHop::friendly();
    let house = House::new("aliases-wrong", "a: anna\nb: anna, :include:/etc/list\nc: /var/mail/c\n", &hop);
    let output = house.config.run(&["check"], b"");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{said}");
    let path = house.file.display();
    for place in [format!("{path}:2:10: "), format!("{path}:3:4: ")] {
        assert!(said.contains(&place), "{place}: {said}");
    }
    let output = house.config.run(&["serve"], b"");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(said.contains(&format!("{path}:2:10: ")), "{said}");
}

#[test]
fn mail_of_this_machine_to_root_goes_where_root_goes() {
    let hop = NextHop::friendly();
    let house = House::new("aliases-root", "root: me@away.test\n", &hop);
    let mail = [HEADER.as_bytes(), b"\r\ncron\r\n"].concat();
    let submit = || {
        let output = house.config.run(&["sendmail", "root@local.test"], &mail);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let relay = house.config.start();
    submit();
    hop.wait(1);
    relay.stop();
    // With no relay running it waits in the spool, under the name that it goes to.
    submit();
    assert_eq!(house.config.queue()[0].key("recipients").list()[0].key("to").text(), "me@away.test");
    let relay = house.config.start();
    for taken in hop.wait(2) {
        assert!(taken.to[0].starts_with("<me@away.test>"), "{:?}", taken.to);
    }
    relay.stop();
}

#[test]
fn what_root_could_not_send_comes_back_to_who_root_is() {
    let hop = NextHop::scripted(|_, event| match event {
        Event::Rcpt(path) if path.contains("nobody@") => Act::Say("550 5.1.1 nobody here"),
        _ => Act::Friendly,
    });
    let house = House::new("aliases-bounce", "root: anna, me@away.test\n", &hop);
    let relay = house.config.start();
    Client::hello(relay.port).deliver("root@local.test", &["nobody@away.test"], &message("x\r\n"));
    let bounce = hop.wait(1).remove(0);
    assert!(bounce.from.starts_with("<>") && bounce.to[0].starts_with("<me@away.test>"), "{bounce:?}");
    house.wait("anna", 1);
    house.config.wait_queue(0);
    relay.stop();
}

#[test]
fn a_reload_takes_another_file_and_refuses_a_wrong_one() {
    let hop = NextHop::friendly();
    let house = House::new("aliases-reload", "info: anna\n", &hop);
    let relay = house.config.start();
    let other = house.folder.write("other", "info: |program\n");
    let config = house.config.clone().set("aliases", "file", &format!("{:?}", other.display().to_string()));
    config.write();
    relay.signal(Signal::SIGHUP);
    relay.wait_log(&["other:1:7: mail is not given to programs"]);
    relay.wait_log(&["the old configuration stays"]);
    assert!(rcpt(&relay, "info@local.test").starts_with("250"));
    fs::write(&other, "sales: ben\n").expect("the other file");
    relay.signal(Signal::SIGHUP);
    wait_for("the other file", || rcpt(&relay, "sales@local.test").starts_with("250").then_some(()));
    assert!(rcpt(&relay, "info@local.test").starts_with("550 5.1.1"));
    relay.stop();
}

#[test]
fn aliases_that_a_reload_brings_count_for_the_ceiling() {
    let folder = Folder::new("aliases-ceiling");
    let config = Config::new(folder.path(), "a").maildir("[\"local.test\"]");
    // Beside the configuration: the sandbox lets it be read.
    let file = folder.write("a/aliases", "info: anna\n");
    let relay = config.start();
    let ceiling = |config: &Config| {
        Json::parse(&config.succeed(&["status", "--json"])).key("memory").key("ceiling_bytes").number()
    };
    let before = ceiling(&config);
    let config = config.set("aliases", "file", &format!("{:?}", file.display().to_string()));
    config.write();
    relay.signal(Signal::SIGHUP);
    wait_for("the room for aliases", || (ceiling(&config) > before + 256.0 * 1024.0).then_some(()));
    Client::hello(relay.port).deliver("a@away.test", &["info@local.test"], &message("x\r\n"));
    wait_for("anna's mail", || maildir(&config.mailbox("anna")).pop());
    relay.stop();
}

#[test]
fn newaliases_has_nothing_to_do() {
    let folder = Folder::new("newaliases");
    let link = folder.join("newaliases");
    std::os::unix::fs::symlink(program().get_program(), &link).expect("a link");
    let said = peers::succeed(&mut std::process::Command::new(link), b"");
    assert!(said.contains("nothing is to be done"), "{said}");
}
