//! What senders are told: bounces, delay warnings, notices of success, read by Python's email package.

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use support::client::Client;
use support::json::Json;
use support::message::{maildir, message, stuff};
use support::next_hop::{Act, Event, NextHop};
use support::relay::{Config, Relay};
use support::{Folder, free_port, peers, wait_for};

/// A notice as Python's email package reads it.
struct Report(Json);

impl Report {
    #[track_caller]
    fn read(octets: &[u8]) -> Option<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/report.py");
        let read = peers::succeed(Command::new(peers::find("python3")?).arg(script), octets);
        let report = Self(Json::parse(&read));
        assert_eq!(report.0.key("defects").list(), [], "{read}");
        assert_eq!(report.text("kind"), "multipart/report");
        assert_eq!(report.text("report_type"), "delivery-status");
        assert_eq!(report.header("auto-submitted"), "auto-replied");
        assert_eq!(report.header("return-path"), "<>");
        Some(report)
    }

    #[track_caller]
    fn text(&self, key: &str) -> &str {
        self.0.key(key).text()
    }

    #[track_caller]
    fn header(&self, name: &str) -> &str {
        self.0.key("header").key(name).text()
    }

    #[track_caller]
    fn parts(&self) -> Vec<&str> {
        self.0.key("parts").list().iter().map(Json::text).collect()
    }

    /// A field of the block of a recipient.
    #[track_caller]
    fn of(&self, recipient: &str, field: &str) -> &str {
        let all = self.0.key("recipients").list();
        let one = all.iter().find(|one| one.key("final-recipient").text().ends_with(recipient));
        one.unwrap_or_else(|| panic!("{recipient} is not in {all:?}")).key(field).text()
    }

    fn count(&self) -> usize {
        self.0.key("recipients").list().len()
    }
}

/// Says MAIL and RCPT with parameters, then sends the content.
#[track_caller]
fn submit(relay: &Relay, mail: &str, recipients: &[&str], content: &[u8]) {
    let mut client = Client::hello(relay.port);
    client.expect(&format!("MAIL FROM:{mail}"), "250");
    for recipient in recipients {
        client.expect(&format!("RCPT TO:{recipient}"), "250");
    }
    client.expect("DATA", "354");
    client.send(&stuff(content));
    let reply = client.reply();
    assert!(reply.starts_with("250"), "{reply}");
}

#[track_caller]
fn wait_notice(config: &Config, user: &str) -> Vec<u8> {
    let mut all = wait_for("a notice", || Some(maildir(&config.mailbox(user))).filter(|all| !all.is_empty()));
    assert_eq!(all.len(), 1, "one notice, not {}", all.len());
    all.remove(0)
}

fn refusing() -> NextHop {
    NextHop::scripted(|_, event| match event {
        Event::Rcpt(path) if path.contains("good@") => Act::Friendly,
        Event::Rcpt(path) if path.contains("full@") => Act::Say("552 5.2.2 mailbox full"),
        Event::Rcpt(_) => Act::Say("550 5.1.1 nobody here"),
        _ => Act::Friendly,
    })
}

#[test]
fn one_bounce_tells_of_all_that_failed() {
    let folder = Folder::new("bounce");
    let hop = refusing();
    let config = Config::new(folder.path(), "a").smarthost(&hop.address());
    let relay = config.start();
    let content = message("body of the message\r\n.with a dot\r\n--=not a boundary\r\n");
    submit(
        &relay,
        "<me@local.test> RET=FULL ENVID=QQ314+2B159",
        &["<never@remote.test> ORCPT=rfc822;Bob+2Bx@there.test", "<full@remote.test>", "<good@remote.test>"],
        &content,
    );
    let Some(report) = Report::read(&wait_notice(&config, "me")) else { return };
    assert_eq!(report.header("to"), "me@local.test");
    assert!(
        report.header("received").starts_with("by relay.test (pillarbox) id "),
        "as all mail in a mailbox"
    );
    assert_eq!(report.parts(), ["text/plain", "message/delivery-status", "message/rfc822"]);
    let of_message = report.0.key("message");
    assert_eq!(of_message.key("reporting-mta").text(), "dns; relay.test");
    assert_eq!(of_message.key("original-envelope-id").text(), "QQ314+159");
    assert_eq!(of_message.key("received-from-mta").text(), "dns; client.test ([127.0.0.1])");
    assert!(of_message.key("arrival-date").text().contains("202"), "{of_message:?}");
    assert_eq!(report.count(), 2, "who has it is not told of");
    assert_eq!(report.of("never@remote.test", "original-recipient"), "rfc822; Bob+x@there.test");
    assert_eq!(report.of("never@remote.test", "action"), "failed");
    assert_eq!(report.of("never@remote.test", "status"), "5.1.1");
    assert_eq!(report.of("never@remote.test", "remote-mta"), "dns; [127.0.0.1]");
    assert_eq!(report.of("full@remote.test", "diagnostic-code"), "smtp; 552 5.2.2 mailbox full");
    let text = report.text("text");
    for words in ["client.test", "127.0.0.1", "<never@remote.test>", "nobody here", "The mailbox is full"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let original = report.text("original").replace("\r\n", "\n");
    assert!(original.ends_with("body of the message\n.with a dot\n--=not a boundary\n"), "{original}");
    config.wait_queue(0);
    relay.stop();
}

#[test]
fn as_much_comes_back_as_was_asked_for_and_is_allowed() {
    let hop = refusing();
    for (name, mail, size, kind) in [
        ("unsaid", "<me@local.test>", "\"64KiB\"", "message/rfc822"),
        ("hdrs", "<me@local.test> RET=HDRS", "\"64KiB\"", "text/rfc822-headers"),
        ("toolarge", "<me@local.test> RET=FULL", "100", "text/rfc822-headers"),
    ] {
        let folder = Folder::new(name);
        let config =
            Config::new(folder.path(), "a").smarthost(&hop.address()).set("queue", "bounce_size", size);
        let relay = config.start();
        submit(&relay, mail, &["<no@remote.test>"], &message("some body\r\n"));
        let Some(report) = Report::read(&wait_notice(&config, "me")) else { return };
        assert_eq!(report.parts().last(), Some(&kind), "{name}");
        assert_eq!(report.text("original").contains("some body"), kind == "message/rfc822", "{name}");
        assert!(report.text("original").contains("Received:") || size == "100", "{name}");
        relay.stop();
    }
}

#[test]
fn octets_beyond_ascii_come_back_whole() {
    let folder = Folder::new("eightbit");
    let hop = refusing();
    let config = Config::new(folder.path(), "a").smarthost(&hop.address());
    let relay = config.start();
    submit(&relay, "<me@local.test> BODY=8BITMIME", &["<no@remote.test>"], &message("gr\u{fc}n\r\n"));
    let Some(report) = Report::read(&wait_notice(&config, "me")) else { return };
    assert_eq!(report.text("encoding"), "8bit");
    assert_eq!(report.header("content-transfer-encoding"), "8bit");
    assert!(report.text("original").contains("gr\u{fc}n"), "{}", report.text("original"));
    submit(
        &relay,
        "<j\u{f6}rg@local.test> SMTPUTF8",
        &["<z\u{e9}ro@remote.test>"],
        "Subject: \u{fc}\r\n\r\nbody\r\n".as_bytes(),
    );
    let Some(report) = Report::read(&wait_notice(&config, "j\u{f6}rg")) else { return };
    assert_eq!(report.parts(), ["text/plain", "message/global-delivery-status", "message/global"]);
    assert_eq!(report.of("z\u{e9}ro@remote.test", "final-recipient"), "utf-8; z\u{e9}ro@remote.test");
    relay.stop();
}

#[test]
fn who_wants_to_hear_nothing_hears_nothing() {
    let folder = Folder::new("never");
    let hop = refusing();
    let config = Config::new(folder.path(), "a").smarthost(&hop.address());
    let relay = config.start();
    submit(
        &relay,
        "<me@local.test>",
        &[
            "<a@remote.test> NOTIFY=NEVER",
            "<b@remote.test> NOTIFY=SUCCESS",
            "<c@remote.test> NOTIFY=DELAY",
            "<good@remote.test> NOTIFY=FAILURE,DELAY",
        ],
        &message("x\r\n"),
    );
    hop.wait(1);
    config.wait_queue(0);
    relay.wait_log(&["bounced", "c@remote.test"]);
    assert!(maildir(&config.mailbox("me")).is_empty());
    relay.stop();
}

#[test]
fn success_is_told_where_nobody_behind_us_tells_it() {
    let folder = Folder::new("success");
    let without_dsn = NextHop::scripted(|_, event| match event {
        Event::Hello(_) => Act::Say("250-next.test\r\n250 PIPELINING"),
        _ => Act::Friendly,
    });
    let config = Config::new(folder.path(), "a").smarthost(&without_dsn.address());
    let relay = config.start();
    submit(
        &relay,
        "<me@local.test> RET=FULL ENVID=id1",
        &[
            "<far@remote.test> NOTIFY=SUCCESS ORCPT=rfc822;far@remote.test",
            "<near@local.test> NOTIFY=SUCCESS,FAILURE",
        ],
        &message("x\r\n"),
    );
    let Some(report) = Report::read(&wait_notice(&config, "me")) else { return };
    let taken = without_dsn.wait(1).remove(0);
    assert_eq!(
        (taken.from.as_str(), taken.to.as_slice()),
        ("<me@local.test>", &["<far@remote.test>".to_owned()][..])
    );
    assert_eq!(report.count(), 2);
    assert_eq!(report.of("far@remote.test", "action"), "relayed");
    assert_eq!(report.of("far@remote.test", "status"), "2.0.0");
    assert_eq!(report.of("near@local.test", "action"), "delivered");
    assert_eq!(report.0.key("message").key("original-envelope-id").text(), "id1");
    assert_eq!(report.parts().last(), Some(&"text/rfc822-headers"), "only a failure brings the message back");
    config.wait_queue(0);
    relay.stop();
}

#[test]
fn a_next_hop_with_dsn_is_told_what_the_sender_wants() {
    let folder = Folder::new("passedon");
    let hop = NextHop::friendly();
    let config = Config::new(folder.path(), "a").smarthost(&hop.address());
    let relay = config.start();
    submit(
        &relay,
        "<me@local.test> RET=HDRS ENVID=id+2B1",
        &[
            "<far@remote.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;f+2Bar@remote.test",
            "<b@remote.test> NOTIFY=NEVER",
        ],
        &message("x\r\n"),
    );
    let taken = hop.wait(1).remove(0);
    assert!(taken.from.contains(" RET=HDRS") && taken.from.contains(" ENVID=id+2B1"), "{}", taken.from);
    assert_eq!(
        taken.to,
        [
            "<far@remote.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;f+2Bar@remote.test",
            "<b@remote.test> NOTIFY=NEVER"
        ]
    );
    config.wait_queue(0);
    assert!(maildir(&config.mailbox("me")).is_empty(), "the next hop tells");
    relay.stop();
}

#[test]
fn what_has_no_sender_goes_to_the_postmaster_once() {
    let folder = Folder::new("double");
    let hop = refusing();
    let config = Config::new(folder.path(), "a").smarthost(&hop.address()).set("queue", "bounce_size", "100");
    let relay = config.start();
    submit(&relay, "<>", &["<no@remote.test>"], &message("the only copy\r\n"));
    let Some(report) = Report::read(&wait_notice(&config, "postmaster")) else { return };
    assert_eq!(report.header("to"), "postmaster@local.test");
    assert!(report.text("original").contains("the only copy"), "{}", report.text("original"));
    config.wait_queue(0);
    relay.stop();
}

#[test]
fn a_bounce_that_fails_goes_to_the_postmaster_and_then_nowhere() {
    let folder = Folder::new("triple");
    let hop = refusing();
    let config = Config::new(folder.path(), "a").smarthost(&hop.address()).set(
        "",
        "postmaster",
        "\"boss@remote.test\"",
    );
    let relay = config.start();
    submit(&relay, "<stranger@remote.test>", &["<no@remote.test>"], &message("x\r\n"));
    relay.wait_log(&["did not reach the postmaster"]);
    config.wait_queue(0);
    let log = relay.stop();
    let of = |words: &[&str]| log.iter().filter(|line| words.iter().all(|word| line.contains(word))).count();
    assert_eq!(of(&[" bounced id="]), 2, "a bounce and one to the postmaster");
    assert_eq!((of(&["bounced to=<stranger@remote.test>"]), of(&["bounced to=<boss@remote.test>"])), (1, 1));
}

#[test]
fn one_warning_then_the_end() {
    let folder = Folder::new("delay");
    let config = Config::new(folder.path(), "a")
        .smarthost(&format!("127.0.0.1:{}", free_port()))
        .set("queue", "retry", "[\"1h\"]")
        .set("queue", "warn_after", "\"1s\"")
        .set("queue", "expire_after", "\"4s\"");
    let relay = config.start();
    submit(
        &relay,
        "<me@local.test>",
        &["<a@remote.test>", "<b@remote.test> NOTIFY=FAILURE"],
        &message("x\r\n"),
    );
    let Some(report) = Report::read(&wait_notice(&config, "me")) else { return };
    assert!(report.header("subject").contains("Delayed"), "{}", report.header("subject"));
    assert_eq!(report.count(), 1, "who asked for failures only is not warned of");
    assert_eq!(report.of("a@remote.test", "action"), "delayed");
    assert_eq!(report.of("a@remote.test", "status"), "4.4.1");
    assert!(report.of("a@remote.test", "will-retry-until").contains("202"));
    relay.wait_log(&["expired", "a@remote.test"]);
    config.wait_queue(0);
    let all = wait_for("the bounce", || Some(maildir(&config.mailbox("me"))).filter(|all| all.len() == 2));
    let reports: Vec<Report> = all.iter().filter_map(|one| Report::read(one)).collect();
    let failed =
        reports.iter().find(|report| report.header("subject").contains("Undelivered")).expect("a bounce");
    assert_eq!(failed.of("b@remote.test", "status"), "5.4.7");
    assert_eq!(failed.count(), 2);
    let log = relay.stop();
    assert_eq!(log.iter().filter(|line| line.contains(" warned ")).count(), 1, "{}", log.join("\n"));
}

#[test]
fn messages_behind_a_resting_destination_do_not_outlive_their_time() {
    let folder = Folder::new("ripe");
    let hop = NextHop::friendly();
    let config = Config::new(folder.path(), "a")
        .maildir("[\"local.test\"]")
        .route(&support::relay::smarthost("[\"dead.test\"]", &format!("127.0.0.1:{}", free_port())))
        .route(&support::relay::smarthost("", &hop.address()))
        .set("queue", "retry", "[\"1h\"]")
        .set("queue", "expire_after", "\"3s\"");
    let relay = config.start();
    for _ in 0..40 {
        submit(&relay, "<me@local.test>", &["<a@dead.test>", "<live@remote.test>"], &message("x\r\n"));
    }
    hop.wait(40);
    wait_for("40 bounces", || (maildir(&config.mailbox("me")).len() == 40).then_some(()));
    config.wait_queue(0);
    assert_eq!(hop.taken().len(), 40, "nobody gets it twice");
    relay.stop();
}

#[test]
fn a_message_that_comes_while_its_destination_rests_is_warned_of_in_time() {
    let folder = Folder::new("resting");
    let config = Config::new(folder.path(), "a")
        .smarthost(&format!("127.0.0.1:{}", free_port()))
        .set("queue", "retry", "[\"1h\"]")
        .set("queue", "warn_after", "\"2s\"");
    let relay = config.start();
    submit(&relay, "<other@local.test>", &["<a@remote.test> NOTIFY=NEVER"], &message("x\r\n"));
    relay.wait_log(&["deferred", "a@remote.test"]);
    submit(&relay, "<me@local.test>", &["<b@remote.test>"], &message("x\r\n"));
    // Nothing but its age wakes the relay.
    relay.wait_log(&[" warned "]);
    wait_notice(&config, "me");
    let queue = config.wait_queue(2);
    let attempts = |one: &Json| one.key("recipients").list()[0].key("attempts").number();
    let tried: Vec<f64> = queue.iter().map(attempts).collect();
    assert!(tried.contains(&0.0), "the second one was not tried: {queue:?}");
    relay.stop();
}

#[test]
fn two_relays_that_point_at_each_other_stop_with_one_bounce() {
    let folder = Folder::new("circle");
    let first = Config::new(folder.path(), "a").set("", "hostname", "\"a.test\"");
    let second = Config::new(folder.path(), "b").set("", "hostname", "\"b.test\"");
    let (to_first, to_second) = (format!("127.0.0.1:{}", first.port), format!("127.0.0.1:{}", second.port));
    let (first, second) = (first.smarthost(&to_second), second.smarthost(&to_first));
    let (a, b) = (first.start(), second.start());
    submit(&a, "<me@local.test>", &["<round@remote.test>"], &message("x\r\n"));
    let bounce = wait_for("the bounce", || {
        let all = [maildir(&first.mailbox("me")), maildir(&second.mailbox("me"))].concat();
        Some(all).filter(|all| !all.is_empty())
    });
    first.wait_queue(0);
    second.wait_queue(0);
    assert_eq!(bounce.len(), 1);
    let Some(report) = Report::read(&bounce[0]) else { return };
    assert_eq!(report.of("round@remote.test", "status"), "5.4.6");
    a.stop();
    b.stop();
}

#[test]
fn what_was_removed_is_told_to_nobody() {
    let folder = Folder::new("removed");
    let (go, gone) = (std::sync::mpsc::channel::<()>(), std::sync::atomic::AtomicBool::new(false));
    let (sender, receiver) = (go.0, std::sync::Mutex::new(go.1));
    let hop = NextHop::scripted(move |_, event| match event {
        Event::Rcpt(_) => {
            if !gone.swap(true, std::sync::atomic::Ordering::SeqCst) {
                let _ = receiver.lock().expect("the channel").recv();
            }
            Act::Say("550 5.1.1 nobody here")
        }
        _ => Act::Friendly,
    });
    let config = Config::new(folder.path(), "a").smarthost(&hop.address());
    let relay = config.start();
    submit(&relay, "<me@local.test>", &["<a@remote.test>"], &message("x\r\n"));
    let queue = wait_for("a delivery", || {
        config.queue().into_iter().find(|one| one.key("state").text() == "delivering")
    });
    config.succeed(&["queue", "remove", queue.key("id").text()]);
    sender.send(()).expect("the next hop waits");
    relay.wait_log(&["bounced", "a@remote.test"]);
    config.wait_queue(0);
    assert!(maildir(&config.mailbox("me")).is_empty());
    let log = relay.stop();
    assert!(!log.iter().any(|line| line.contains(" bounced id=")), "{}", log.join("\n"));
}

#[test]
fn a_notice_that_is_owed_survives_a_kill() {
    let folder = Folder::new("owed");
    let silent = NextHop::scripted(|_, _| Act::Silence);
    let config = Config::new(folder.path(), "a")
        .maildir("[\"local.test\"]")
        .route(&support::relay::smarthost("", &silent.address()));
    let relay = config.start();
    submit(
        &relay,
        "<me@local.test>",
        &["<near@local.test> NOTIFY=SUCCESS", "<far@remote.test> NOTIFY=NEVER"],
        &message("x\r\n"),
    );
    // The round can't end while the other recipient's server keeps silent.
    relay.wait_log(&["delivered", "near@local.test"]);
    let states: BTreeMap<String, String> = config.queue()[0]
        .key("recipients")
        .list()
        .iter()
        .map(|one| (one.key("to").text().to_owned(), one.key("state").text().to_owned()))
        .collect();
    assert_eq!(states["near@local.test"], "delivered");
    relay.kill();
    drop(silent);
    let relay = config.start();
    config.succeed(&["queue", "retry", "--all"]);
    let Some(report) = Report::read(&wait_notice(&config, "me")) else { return };
    assert_eq!(report.of("near@local.test", "action"), "delivered");
    assert_eq!(maildir(&config.mailbox("near")).len(), 1, "nobody gets it twice");
    relay.stop();
}
