//! What messages look like to the next hop when their sender is rewritten, seen by Python's email
//! package.

mod support;

use std::process::Command;

use support::Folder;
use support::client::Client;
use support::message::{field, without_trace};
use support::next_hop::NextHop;
use support::peers;
use support::relay::Config;

/// Prints what a mail program makes of a message: a header field a line, then `body` and its octets.
const JUDGE: &str = r#"
import sys
from email import message_from_bytes, policy
message = message_from_bytes(sys.stdin.buffer.read(), policy=policy.default)
for name in ("From", "Reply-To", "To", "Cc"):
    for field in message.get_all(name, []):
        print(name, [(a.display_name, a.addr_spec) for a in field.addresses], [d.__class__.__name__ for d in field.defects])
print("defects", message.defects)
"#;

/// What Python says of a message; `None` if it is not there.
fn judged(content: &[u8]) -> Option<Vec<String>> {
    let python = peers::find_in_system("python3")?;
    let said = peers::succeed(Command::new(python).args(["-c", JUDGE]), content);
    Some(said.lines().map(str::to_owned).collect())
}

/// A relay before a next hop that is given `lines` more in its route.
fn relay_to(hop: &NextHop, folder: &Folder, lines: &str) -> Config {
    let route = format!("via = \"smarthost\"\nhosts = [{:?}]\ntls = \"none\"\n{lines}", hop.address());
    Config::new(folder.path(), "relay").maildir("[\"local.test\"]").route(&route)
}

const REWRITES: &str = "rewrite_sender = \"me@provider.test\"";

#[test]
fn a_route_rewrites_what_goes_out_and_nothing_else() {
    let folder = Folder::new("rewrite-route");
    let hop = NextHop::friendly();
    let config = relay_to(&hop, &folder, REWRITES);
    let relay = config.start();
    let body = "Front door open.\r\n.\r\n\tFrom: x\r\n\u{fc}\r\n";
    let content = format!(
        "From: =?utf-8?q?T=C3=BCr=2C_vorne?=\r\n <door@cam.local.test>\r\nSender: door@cam.local.test\r\n\
         DKIM-Signature: v=1; d=local.test\r\nTo: you@far.test\r\nDate: now\r\nMessage-ID: <1@a>\r\n\r\n{body}"
    );
    let mut client = Client::hello(config.port);
    let to = ["you@far.test", "you@local.test"];
    let reply = client.deliver("door@cam.local.test", &to, content.as_bytes());
    assert!(reply.starts_with("250"), "{reply}");
    let taken = hop.wait(1).remove(0);
    assert!(taken.from.starts_with("<me@provider.test> SIZE="), "{}", taken.from);
    let size: usize = taken.from.split(['=', ' ']).nth(2).and_then(|size| size.parse().ok()).expect("SIZE");
    assert!(size >= taken.content.len(), "{size} is told of {}", taken.content.len());
    let text = String::from_utf8_lossy(&taken.content);
    assert!(text.ends_with(&format!("\r\n\r\n{body}")), "{text}");
    assert_eq!(field(&taken.content, "DKIM-Signature").as_deref(), Some("v=1; d=local.test"));
    assert_eq!(field(&taken.content, "X-Original-Sender").as_deref(), Some("door@cam.local.test"));
    assert_eq!(field(&taken.content, "Sender"), None);
    if let Some(said) = judged(&taken.content) {
        assert_eq!(
            said,
            [
                "From [('T\u{fc}r, vorne', 'me@provider.test')] []",
                "Reply-To [('T\u{fc}r, vorne', 'door@cam.local.test')] []",
                "To [('', 'you@far.test')] []",
                "defects []",
            ]
        );
    }
    // What goes another way is as it came, and so is what the spool holds.
    config.wait_queue(0);
    let local = support::message::maildir(&config.mailbox("you")).remove(0);
    assert!(
        local.starts_with(b"Return-Path: <door@cam.local.test>\n"),
        "{:?}",
        String::from_utf8_lossy(&local)
    );
    assert_eq!(field(&local, "Reply-To"), None);
    assert!(field(&local, "From").is_some_and(|from| from.contains("door@cam.local.test")));
    relay.stop();
}

#[test]
fn bounces_keep_the_null_reverse_path() {
    let folder = Folder::new("rewrite-null");
    let hop = NextHop::friendly();
    let config = relay_to(&hop, &folder, REWRITES);
    let relay = config.start();
    let content = b"From: Mail System <postmaster@local.test>\r\nReply-To: a@b.test\r\n\r\nx\r\n";
    let reply = Client::hello(config.port).deliver("", &["you@far.test"], content);
    assert!(reply.starts_with("250"), "{reply}");
    let taken = hop.wait(1).remove(0);
    assert!(taken.from.starts_with("<> "), "{}", taken.from);
    assert_eq!(field(&taken.content, "From").as_deref(), Some("Mail System <me@provider.test>"));
    assert_eq!(field(&taken.content, "Reply-To").as_deref(), Some("a@b.test"));
    relay.stop();
}

#[test]
fn a_client_is_rewritten_as_it_comes_in() {
    let folder = Folder::new("rewrite-client");
    let hop = NextHop::friendly();
    let config = relay_to(&hop, &folder, "")
        .table("[[client]]\nnetworks = [\"127.0.0.1\"]\nrewrite_sender = \"camera@house.test\"");
    let relay = config.start();
    let reply = Client::hello(config.port).deliver(
        "root",
        &["you@far.test", "you@local.test"],
        b"Subject: x\r\n\r\ny\r\n",
    );
    assert!(reply.starts_with("250"), "{reply}");
    let taken = hop.wait(1).remove(0);
    assert!(taken.from.starts_with("<camera@house.test> "), "{}", taken.from);
    config.wait_queue(0);
    for content in [&taken.content, &support::message::maildir(&config.mailbox("you")).remove(0)] {
        assert_eq!(field(content, "From").as_deref(), Some("\"root@relay.test\" <camera@house.test>"));
        assert_eq!(field(content, "Reply-To").as_deref(), Some("root@relay.test"));
    }
    relay.stop();
}

#[test]
fn bare_names_are_completed_in_the_header_too() {
    let folder = Folder::new("rewrite-bare");
    let hop = NextHop::friendly();
    let config = relay_to(&hop, &folder, "");
    let relay = config.start();
    let content = "From: root (Cron Daemon)\r\nTo: \"Admin, the\" <admin>, ops\r\n\r\nTo: root\r\n";
    let reply = Client::hello(config.port).deliver("root", &["you@far.test"], content.as_bytes());
    assert!(reply.starts_with("250"), "{reply}");
    let content = hop.wait(1).remove(0).content;
    assert_eq!(field(&content, "From").as_deref(), Some("root@relay.test (Cron Daemon)"));
    assert!(content.ends_with(b"\r\n\r\nTo: root\r\n"));
    if let Some(said) = judged(&content) {
        assert!(
            said.contains(&"To [('Admin, the', 'admin@relay.test'), ('', 'ops@relay.test')] []".to_owned()),
            "{said:?}"
        );
    }
    relay.stop();
}

#[test]
fn strangers_headers_stay_as_they_are() {
    let folder = Folder::new("rewrite-strangers");
    let config = Config::new(folder.path(), "relay").maildir("[\"local.test\"]").strangers();
    let relay = config.start();
    let content = b"From: root\r\nTo: <admin>\r\n\r\nx\r\n";
    let reply = Client::hello(config.port).deliver("a@b.test", &["you@local.test"], content);
    assert!(reply.starts_with("250"), "{reply}");
    config.wait_queue(0);
    let stored = support::message::maildir(&config.mailbox("you")).remove(0);
    let text = String::from_utf8_lossy(&stored).replace('\n', "\r\n");
    assert!(text.as_bytes().ends_with(content), "{:?}", without_trace(&stored));
    relay.stop();
}
