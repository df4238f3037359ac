//! What is refused, with which reply, and that a refusal costs nothing else.

mod support;

use std::fs;

use support::client::Client;
use support::message::{maildir, message};
use support::next_hop::NextHop;
use support::peers;
use support::relay::{Config, program, smarthost};
use support::{Folder, wait_for};

#[test]
fn every_open_relay_form_of_a_stranger() {
    let folder = Folder::new("open");
    let hop = NextHop::friendly();
    let config = Config::new(folder.path(), "a").strangers().smarthost(&hop.address());
    let relay = config.start();
    for path in [
        "<user@remote.test>",
        "<user%remote.test@local.test>",
        "<\"user@remote.test\"@local.test>",
        "<@local.test:user@remote.test>",
        "<@local.test,@relay.test:user@remote.test>",
        "<user@remote.test@local.test>",
        "<remote.test!user@local.test>",
        "<user%remote.test%local.test>",
        "<\"user%remote.test\"@local.test>",
        "<user@[192.0.2.7]>",
        "<user@[127.0.0.1]>",
        "<user@[IPv6:2001:db8::1]>",
        "<user@local.test.remote.test>",
        "<user@xlocal.test>",
        "<user@local.test@remote.test>",
        "<\"user\"@remote.test>",
    ] {
        // A session each: none is refused because of the errors before it.
        let mut client = Client::hello(relay.port);
        client.expect("MAIL FROM:<stranger@client.test>", "250");
        let reply = client.ask(&format!("RCPT TO:{path}"));
        assert!(reply.starts_with('5'), "RCPT TO:{path} was answered {reply}");
        client.expect("DATA", "5");
        client.expect("QUIT", "221");
    }
    assert_eq!((hop.connections(), config.queue().len()), (0, 0));
    let mut client = Client::hello(relay.port);
    let reply = client.deliver("stranger@client.test", &["user@LOCAL.test"], &message("welcome\r\n"));
    assert!(reply.starts_with("250"), "local mail is still taken: {reply}");
    relay.stop();
}

#[test]
fn strangers_get_the_strict_rules() {
    let folder = Folder::new("strict");
    let config = Config::new(folder.path(), "a").strangers().maildir("[\"local.test\"]");
    let relay = config.start();
    Client::connect(relay.port).expect("MAIL FROM:<a@client.test>", "503");
    let mut client = Client::hello(relay.port);
    client.expect("MAIL FROM: a@client.test", "501");
    client.expect("MAIL FROM:<root>", "5");
    for smuggled in [&b"one\n.\ntwo"[..], b"one\r\n.\ntwo", b"one\n.\r\ntwo", b"one\r.\rtwo", b"nul \0 nul"] {
        let mut client = Client::hello(relay.port);
        client.expect("MAIL FROM:<a@client.test>", "250");
        client.expect("RCPT TO:<b@local.test>", "250");
        client.expect("DATA", "354");
        client.send(b"Subject: smuggled\r\n\r\n");
        client.send(smuggled);
        client.send(b"\r\n.\r\n");
        let reply = client.reply();
        assert!(reply.starts_with('5'), "{:?}: {reply}", smuggled.escape_ascii().to_string());
        // One reply for one content: the rest of it is not read as commands.
        client.expect("QUIT", "221");
    }
    config.wait_queue(0);
    assert!(maildir(&config.mailbox("b")).is_empty());
    relay.stop();
}

#[test]
fn unknown_users_and_odd_local_parts() {
    let folder = Folder::new("users");
    let config = Config::new(folder.path(), "a");
    let directory = config.folder().join("mail/{user}").display().to_string();
    let config = config.strangers().route(&format!(
        "to = [\"local.test\"]\nvia = \"maildir\"\ndirectory = {directory:?}\nrecipients = \"existing\""
    ));
    for part in ["new", "cur", "tmp"] {
        fs::create_dir_all(config.mailbox("known").join(part)).expect("a Maildir");
    }
    let relay = config.start();
    let mut client = Client::hello(relay.port);
    client.expect("MAIL FROM:<a@client.test>", "250");
    client.expect("RCPT TO:<unknown@local.test>", "550 5.1.1");
    for path in ["../known", "\"../known\"", "\"a/b\"", "\"..\"", "\".\"", "\"\"", ".hidden", "\"a\\\"b\""] {
        let reply = client.ask(&format!("RCPT TO:<{path}@local.test>"));
        assert!(reply.starts_with('5'), "{path}: {reply}");
    }
    client.expect("RSET", "250");
    drop(client);
    let mut client = Client::hello(relay.port);
    let reply = client.deliver("a@client.test", &["Known+tag@local.test"], &message("known\r\n"));
    assert!(reply.starts_with("250"), "{reply}");
    wait_for("the delivered message", || (maildir(&config.mailbox("known")).len() == 1).then_some(()));
    relay.stop();
}

#[test]
fn size_and_recipient_limits() {
    let folder = Folder::new("sizes");
    let config = Config::new(folder.path(), "a")
        .maildir("[\"local.test\"]")
        .set("limits", "message_size", "\"64KiB\"")
        .set("limits", "recipients", "3");
    let relay = config.start();
    let mut client = Client::hello(relay.port);
    let hello = client.ask("EHLO client.test");
    assert!(hello.contains("SIZE 65536") && hello.contains("LIMITS RCPTMAX=3"), "{hello}");
    client.expect("MAIL FROM:<a@client.test> SIZE=65537", "552 5.3.4");
    client.expect("MAIL FROM:<a@client.test> SIZE=1000", "250");
    for user in ["a", "b", "c"] {
        client.expect(&format!("RCPT TO:<{user}@local.test>"), "250");
    }
    client.expect("RCPT TO:<d@local.test>", "452 4.5.3");
    client.expect("RSET", "250");
    let reply = client.deliver("a@client.test", &["a@local.test"], &message("x".repeat(70_000)));
    assert!(reply.starts_with("552 5.3.4"), "too large although not announced: {reply}");
    let reply = client.deliver("a@client.test", &["a@local.test"], &message("fits\r\n"));
    assert!(reply.starts_with("250"), "the session goes on: {reply}");
    wait_for("the message that fits", || (maildir(&config.mailbox("a")).len() == 1).then_some(()));
    relay.stop();
}

#[test]
fn a_full_spool_refuses_and_keeps_what_it_has() {
    let folder = Folder::new("full");
    let config = Config::new(folder.path(), "a")
        .smarthost("127.0.0.1:9")
        .set("spool", "max_messages", "3")
        .set("queue", "retry", "[\"1h\"]");
    let relay = config.start();
    let mut client = Client::hello(relay.port);
    for _ in 0..3 {
        assert!(client.deliver("a@client.test", &["b@remote.test"], &message("kept\r\n")).starts_with("250"));
    }
    client.expect("MAIL FROM:<a@client.test>", "452 4.3.1");
    assert_eq!(config.queue().len(), 3);
    let id = config.queue()[0].key("id").text().to_owned();
    config.succeed(&["queue", "remove", &id]);
    let reply = client.deliver("a@client.test", &["b@remote.test"], &message("room again\r\n"));
    assert!(reply.starts_with("250"), "{reply}");
    relay.stop();
}

#[test]
fn too_many_octets_for_the_spool() {
    let folder = Folder::new("octets");
    let config = Config::new(folder.path(), "a")
        .smarthost("127.0.0.1:9")
        .set("spool", "max_size", "\"1MiB\"")
        .set("spool", "cells_size", "\"256KiB\"")
        .set("queue", "retry", "[\"1h\"]");
    let relay = config.start();
    let content = message("0123456789abcdef\r\n".repeat(6000));
    let mut replies = Vec::new();
    for _ in 0..20 {
        let mut client = Client::hello(relay.port);
        let reply = client.ask(&format!("MAIL FROM:<a@client.test> SIZE={}", content.len()));
        if !reply.starts_with("250") {
            replies.push(reply);
            continue;
        }
        client.expect("RSET", "250");
        replies.push(client.deliver("a@client.test", &["b@remote.test"], &content));
    }
    let accepted = replies.iter().filter(|reply| reply.starts_with("250")).count();
    assert!((5..=10).contains(&accepted), "1 MiB holds some of 108 KB each: {replies:#?}");
    assert!(replies.last().is_some_and(|reply| reply.starts_with("452 4.3.1")), "{replies:#?}");
    assert_eq!(config.queue().len(), accepted, "every accepted message is there");
    relay.stop();
}

#[test]
fn long_lines_get_exactly_one_reply() {
    let folder = Folder::new("long");
    let relay = Config::new(folder.path(), "a").strangers().start();
    for octets in [2049, 4096, 4097, 100_000] {
        let mut client = Client::hello(relay.port);
        client.expect(&"x".repeat(octets), "500");
        client.expect("NOOP", "250");
        client.expect("QUIT", "221");
    }
    relay.stop();
}

#[test]
fn too_many_errors_end_the_session() {
    let folder = Folder::new("errors");
    let relay = Config::new(folder.path(), "a").strangers().set("limits", "errors", "3").start();
    let mut client = Client::hello(relay.port);
    client.expect("WHAT", "50");
    client.expect("WHAT", "50");
    client.send(b"WHAT\r\n");
    let rest = String::from_utf8_lossy(&client.rest()).into_owned();
    assert!(rest.lines().last().is_some_and(|line| line.starts_with("421")), "{rest}");
    relay.stop();
}

/// The exit code and the error text of `check` and of `serve`, which must agree.
#[track_caller]
fn judge(folder: &Folder, text: &str) -> String {
    let file = folder.write("bad.toml", text);
    let mut said = String::new();
    for subcommand in ["check", "serve"] {
        let output = peers::run(program().args([subcommand, "-c"]).arg(&file), b"");
        said =
            String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(78), "{subcommand} of {text:?}: {said}");
        assert!(!said.contains("panicked"), "{said}");
    }
    said
}

#[test]
fn bad_configurations_name_line_and_column() {
    let folder = Folder::new("config");
    for (text, place) in [
        ("hostname = 5\n", ":1:"),
        ("nonsense = 1\n", ":1:1"),
        ("\n[limits]\nsessions = \"many\"\n", ":3:"),
        ("\n[limits]\n  sesions = 3\n", ":3:3"),
        ("[spool]\ncommit = \"never\"\n", ":2:"),
        ("[queue]\nretry = [\"soon\"]\n", ":2:"),
        ("[[listen]]\naddress = \"nowhere\"\n", ":2:"),
        ("[[route]]\nvia = \"pigeon\"\n", ":2:"),
        ("[access]\nrelay_from = [\"300.0.0.0/8\"]\n", ":2:"),
        ("[limits\n", ":1:"),
        ("a = \"\n", ":1:"),
    ] {
        let said = judge(&folder, text);
        assert!(said.contains(&format!("bad.toml{place}")), "{text:?} at {place}: {said}");
    }
    // What is wrong only on this machine has its place too.
    let own = "[run]\nuser = \"\"\n";
    for (text, place) in [
        ("[access]\nusers_file = \"/none/users\"\n", ":4:15: access.users_file: "),
        ("[access]\nusers_file = \"/etc/passwd\"\n", ":4:15: access.users_file: /etc/passwd holds secrets"),
        (
            "[tls]\ncertificate_file = \"/none/cert.pem\"\nkey_file = \"/none/key.pem\"\n",
            ":4:21: tls.certificate_file: ",
        ),
        (
            "[[route]]\nto = [\"a.test\"]\nvia = \"discard\"\n[[route]]\nvia = \"smarthost\"\nhosts = [\"h.test:25\"]\nusername = \"u\"\npassword_file = \"/none/secret\"\n",
            ":10:18: route.password_file: ",
        ),
    ] {
        let said = judge(&folder, &format!("{own}{text}"));
        assert_eq!(said.matches(&format!("bad.toml{place}")).count(), 1, "{text:?} at {place}: {said}");
    }
    let file = folder.write("log.toml", format!("{own}[log]\ntarget = \"file\"\nfile = \"/none/x.log\"\n"));
    for (subcommand, code) in [("check", 78), ("serve", 73)] {
        let output = peers::run(program().args([subcommand, "-c"]).arg(&file), b"");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{subcommand}: {said}");
        assert!(said.contains("log.toml:5:9: log.file: ") && said.contains("/none"), "{said}");
    }
    // And check names it beside what is wrong anywhere.
    let file = folder.write("both.toml", format!("{own}nonsense = 1\n[aliases]\nfile = \"/none/aliases\"\n"));
    let output = peers::run(program().args(["check", "-c"]).arg(&file), b"");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("both.toml:3:1: ") && said.contains("both.toml:5:9: aliases.file: "), "{said}");
    let output = peers::run(program().args(["check", "-c", "/nonexistent/pillarbox.toml"]), b"");
    assert_eq!(output.status.code(), Some(78), "a configuration that was named must exist");
}

#[test]
fn good_configurations_pass_and_print() {
    let folder = Folder::new("good");
    let config = Config::new(folder.path(), "a").route(&smarthost("", "127.0.0.1:25"));
    let printed = config.succeed(&["check", "--print"]);
    assert!(printed.contains("relay.test"), "{printed}");
    for key in ["postmaster = \"postmaster\"", "cells_size = \"", "metrics = \"\""] {
        assert!(printed.contains(&format!("\n{key}")), "{key} holds too: {printed}");
    }
    let again = folder.write("again.toml", &printed);
    let again = peers::succeed(program().args(["check", "--print", "-c"]).arg(again), b"");
    assert_eq!(again, printed, "what is printed can be read and says the same");
    let local = Config::new(folder.path(), "b").maildir("[\"local.test\"]");
    let both = local.succeed(&["check", "--print", "--connect"]);
    assert!(both.contains("local.test") && both.contains("no smarthost"), "both are done: {both}");
    let output = peers::run(program().arg("nonsense"), b"");
    assert_eq!(output.status.code(), Some(64));
    let output = peers::run(program().arg("--version"), b"");
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains(env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_second_relay_on_the_same_spool() {
    let folder = Folder::new("second");
    let config = Config::new(folder.path(), "a").maildir("[\"local.test\"]");
    let mut relay = config.start();
    let mut other = config.clone();
    other.port = support::free_port();
    let output = other.run(&["serve"], b"");
    assert_eq!(output.status.code(), Some(75), "{}", String::from_utf8_lossy(&output.stderr));
    relay.assert_alive();
    relay.stop();
}
