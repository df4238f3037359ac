//! AUTH towards next hops: every mechanism, tokens, and all that can go wrong with it. Nothing of that fails a
//! message, and no secret is ever shown.

mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{fs, iter};

use support::certificates::{Authority, fingerprint};
use support::client::Client;
use support::message::{field, maildir};
use support::next_hop::{Act, Event, NextHop};
use support::peers::{self, Server};
use support::relay::{Config, Relay, program};
use support::{Folder, wait_for};

const SECRET: &str = "tanstaaftanstaaf";
const TOKEN: &str = "ya29.a0AfH6SMBx-token";

/// A file that only its owner can read.
fn secret(folder: &Folder, name: &str, text: &str) -> String {
    let path = folder.write(name, text);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("the mode of a file");
    path.display().to_string()
}

fn base64(octets: &[u8]) -> String {
    let mut room = vec![0; octets.len() * 2 + 4];
    pillarbox::smtp::sasl::encode(octets, &mut room).expect("room").to_owned()
}

/// A relay that logs in at `port` as "tim", by these lines.
fn config(folder: &Folder, port: u16, lines: &str) -> Config {
    Config::new(folder.path(), "a").set("queue", "retry", "[\"1h\"]").route(&format!(
        "via = \"smarthost\"\nhosts = [\"127.0.0.1:{port}\"]\ntls = \"none\"\nusername = \"tim\"\n{lines}"
    ))
}

/// Sends a message into the relay.
#[track_caller]
fn submit(relay: &Relay) {
    let reply =
        Client::hello(relay.port).deliver("a@client.test", &["b@remote.test"], b"Subject: x\r\n\r\nx\r\n");
    assert!(reply.starts_with("250"), "{reply}");
}

/// Ends the relay; its log must not hold a secret, nor must the configuration as it is printed.
#[track_caller]
fn end(config: &Config, relay: Relay) -> String {
    let mut shown = config.succeed(&["check", "--print"]) + &config.succeed(&["status"]);
    shown.push_str(&relay.stop().join("\n"));
    for hidden in [SECRET, TOKEN] {
        assert!(!shown.contains(hidden) && !shown.contains(&base64(hidden.as_bytes())), "{shown}");
    }
    shown
}

/// The log says loudly why nothing is sent, the message waits, nobody got a bounce.
#[track_caller]
fn assert_waits(config: &Config, relay: &Relay, why: &str) {
    relay.wait_log(&["does not let us log in", why]);
    relay.wait_log(&[" deferred ", why]);
    assert!(config.succeed(&["status"]).contains("does not let us log in"), "status tells it");
    assert_eq!(config.wait_queue(1).len(), 1);
}

/// A next hop that offers `offer` and does with each line of the login what `script` says.
fn hop(offer: &'static str, script: impl Fn(usize, &str) -> &'static str + Send + Sync + 'static) -> NextHop {
    NextHop::scripted(move |number, event| match event {
        Event::Hello(_) => Act::Say(offer),
        Event::Other(line) if *line != "QUIT" => Act::Say(script(number, line)),
        // So that the next message needs a login of its own.
        Event::Content(_) => Act::SayAndCut("250 2.0.0 taken"),
        _ => Act::Friendly,
    })
}

#[test]
fn every_mechanism_logs_in_at_another_relay() {
    let folder = Folder::new("login-relay");
    let mut line = program();
    line.args(["password", "tim", "--clear"]);
    let users = secret(&folder, "users", &peers::succeed(&mut line, format!("{SECRET}\n").as_bytes()));
    let next = Config::new(folder.path(), "next")
        .strangers()
        .maildir("[\"remote.test\"]")
        .set("access", "users_file", &format!("{users:?}"))
        .set("access", "plaintext_auth_from", "[\"127.0.0.0/8\"]")
        .set("access", "cram_md5", "true");
    let receiver = next.start();
    let file = secret(&folder, "secret", &format!("{SECRET}\n# of the next hop\n"));
    for (auth, plaintext) in
        [("auto", false), ("plain", true), ("login", true), ("cram-md5", false), ("scram-sha-256", false)]
    {
        let lines = format!("password_file = {file:?}\nauth = {auth:?}\nplaintext_auth = {plaintext}");
        let config = config(&folder, receiver.port, &lines);
        let relay = config.start();
        let before = maildir(&next.mailbox("b")).len();
        submit(&relay);
        let arrived = wait_for("a delivered message", || {
            let mut all = maildir(&next.mailbox("b"));
            (all.len() > before).then(|| all.remove(0))
        });
        assert!(field(&arrived, "Received").is_some_and(|trace| trace.contains("with ESMTPA ")), "{auth}");
        relay.wait_log(&[" delivered "]);
        end(&config, relay);
    }
    let log = receiver.stop().join("\n");
    assert_eq!(log.matches("user=tim").count(), 5, "{log}");
    assert!(!log.contains(SECRET));
}

#[test]
fn a_python_server_lets_us_in() {
    let folder = Folder::new("login-python");
    let Some(server) = Server::aiosmtpd_with_login(&folder.join("mail"), "tim", SECRET) else { return };
    for auth in ["auto", "login"] {
        let command = format!("[\"/bin/echo\", {SECRET:?}]");
        let lines = format!("password_command = {command}\nauth = {auth:?}\nplaintext_auth = true");
        let config = config(&folder, server.port, &lines);
        let relay = config.start();
        submit(&relay);
        relay.wait_log(&[" delivered "]);
        end(&config, relay);
    }
    assert_eq!(maildir(&folder.join("mail")).len(), 2);
}

#[test]
fn nothing_that_others_could_use_is_said_in_clear() {
    let folder = Folder::new("login-clear");
    let hop = hop("250-next\r\n250 AUTH PLAIN LOGIN", |_, line| panic!("said in clear: {line}"));
    let file = secret(&folder, "secret", SECRET);
    let config = config(&folder, hop.port, &format!("password_file = {file:?}"));
    let relay = config.start();
    submit(&relay);
    assert_waits(&config, &relay, "plaintext_auth = true");
    end(&config, relay);
    assert!(hop.taken().is_empty());
}

#[test]
fn who_does_not_let_us_in_makes_mail_wait() {
    let folder = Folder::new("login-refused");
    let file = secret(&folder, "secret", SECRET);
    for (offer, reply, why) in [
        ("250-next\r\n250 AUTH PLAIN", "535 5.7.8 unknown", "535 5.7.8 unknown"),
        ("250-next\r\n250 AUTH PLAIN", "534 5.7.9 application password needed", "534 5.7.9"),
        ("250-next\r\n250 AUTH PLAIN", "454 4.7.0 later", "454 4.7.0 later"),
        ("250-next\r\n250 AUTH PLAIN", "500 what", "500 what"),
        ("250-next\r\n250 AUTH PLAIN", "334 ", "goes on asking"),
        ("250-next\r\n250 AUTH GSSAPI", "250 ok", "offers no login"),
        ("250 next", "250 ok", "offers no login"),
        ("250-next\r\n250 AUTH XOAUTH2", "250 ok", "offers XOAUTH2 to log in"),
    ] {
        let hop = hop(offer, move |_, line| if line == "*" { "501 5.7.0 cancelled" } else { reply });
        let config = config(&folder, hop.port, &format!("password_file = {file:?}\nplaintext_auth = true"));
        let relay = config.start();
        submit(&relay);
        assert_waits(&config, &relay, why);
        end(&config, relay);
        assert!(hop.taken().is_empty(), "{why}");
        fs::remove_dir_all(config.folder().join("spool")).expect("the spool of one round");
    }
}

#[test]
fn a_server_that_does_not_know_the_password_gets_no_mail() {
    let folder = Folder::new("login-imposter");
    let file = secret(&folder, "secret", SECRET);
    // It makes its challenge of the nonce, but can't sign.
    let challenges: Mutex<Vec<&'static str>> = Mutex::default();
    let hop = hop("250-next\r\n250 AUTH SCRAM-SHA-256", move |_, line| {
        if let Some(first) = line.strip_prefix("AUTH SCRAM-SHA-256 ") {
            let mut room = [0; 200];
            let first = pillarbox::smtp::sasl::decode(first.as_bytes(), &mut room).expect("base64");
            let nonce = String::from_utf8_lossy(first).split_once("r=").expect("a nonce").1.to_owned();
            let text = format!("334 {}", base64(format!("r={nonce}x,s=QUJD,i=4096").as_bytes()));
            let text: &'static str = Box::leak(text.into_boxed_str());
            challenges.lock().expect("the challenges").push(text);
            return text;
        }
        if line == "*" {
            "501 5.7.0 cancelled"
        } else {
            "334 dj02cnJpVFJCaTIzV3BSUi93dHVwK21NaFVaVW4vZEI1bkxUSlJzamw5NUc0PQ=="
        }
    });
    let config = config(&folder, hop.port, &format!("password_file = {file:?}"));
    let relay = config.start();
    submit(&relay);
    assert_waits(&config, &relay, "can't show that it knows the password");
    end(&config, relay);
    assert!(hop.taken().is_empty());
}

/// A command that prints another token each time, and the file that counts how often it ran.
fn token_command(folder: &Folder) -> (String, PathBuf) {
    let count = folder.join("count");
    let script = folder.write("token", format!("echo x >>{0}\necho {TOKEN}$(wc -l <{0})\n", count.display()));
    (format!("token_command = [\"/bin/sh\", {:?}]", script.display().to_string()), count)
}

fn runs(count: &Path) -> usize {
    fs::read_to_string(count).map_or(0, |text| text.lines().count())
}

#[test]
fn tokens_are_kept_until_they_are_refused() {
    let folder = Folder::new("login-token");
    let (command, count) = token_command(&folder);
    let valid = std::sync::Arc::new(AtomicUsize::new(1));
    let of_hop = std::sync::Arc::clone(&valid);
    let hop = hop("250-next\r\n250 AUTH XOAUTH2 OAUTHBEARER PLAIN", move |_, line| {
        let token = format!("{TOKEN}{}", of_hop.load(Ordering::SeqCst));
        let gs2 = "n,a=tim,\u{1}host=127.0.0.1\u{1}port=";
        let Some(said) = line.strip_prefix("AUTH OAUTHBEARER ") else {
            return if line == "AQ==" { "535 5.7.8 token expired" } else { "503 5.5.1 what?" };
        };
        let mut room = [0; 600];
        let said = pillarbox::smtp::sasl::decode(said.as_bytes(), &mut room).expect("base64");
        let said = String::from_utf8_lossy(said).into_owned();
        let fits = said.starts_with(gs2) && said.ends_with(&format!("\u{1}auth=Bearer {token}\u{1}\u{1}"));
        if fits { "235 2.7.0 welcome" } else { "334 eyJzdGF0dXMiOiJpbnZhbGlkX3Rva2VuIn0=" }
    });
    let config = config(&folder, hop.port, &format!("{command}\nplaintext_auth = true")).set(
        "run",
        "command_paths",
        &format!("[\"/bin\", \"/usr/bin\", {:?}]", folder.path().display().to_string()),
    );
    let relay = config.start();
    for messages in 1..=3 {
        submit(&relay);
        hop.wait(messages);
        assert_eq!(runs(&count), 1, "every connection logs in anew, with the token that is kept");
    }
    valid.store(2, Ordering::SeqCst);
    submit(&relay);
    hop.wait(4);
    assert_eq!(runs(&count), 2, "one that has expired is fetched anew, and nobody notices");
    // A token that is bad when it is fresh is the command's fault.
    valid.store(99, Ordering::SeqCst);
    submit(&relay);
    relay.wait_log(&["does not let us log in", "535 5.7.8 token expired"]);
    end(&config, relay);
}

#[test]
fn a_command_that_fails_makes_mail_wait() {
    let folder = Folder::new("login-command");
    for (command, why) in [
        ("[\"/bin/sh\", \"-c\", \"echo 'no network' >&2; exit 7\"]", "ended with 7: \\\"no network\\\""),
        ("[\"/nonexistent/token\"]", "can't be started"),
        ("[\"/bin/true\"]", "printed nothing"),
    ] {
        let hop = hop("250-next\r\n250 AUTH XOAUTH2", |_, _| "535 5.7.8 no");
        let lines = format!("token_command = {command}\nauth = \"xoauth2\"\nplaintext_auth = true");
        let config = config(&folder, hop.port, &lines);
        let relay = config.start();
        submit(&relay);
        assert_waits(&config, &relay, why);
        end(&config, relay);
        fs::remove_dir_all(config.folder().join("spool")).expect("the spool of one round");
    }
}

#[test]
fn a_long_token_goes_in_two_steps() {
    let folder = Folder::new("login-long");
    let token: String = iter::repeat_n('x', 2000).collect();
    let script = folder.write("token", format!("echo {token}\n"));
    let expected = base64(format!("user=tim\u{1}auth=Bearer {token}\u{1}\u{1}").as_bytes());
    let hop = hop("250-next\r\n250 AUTH XOAUTH2", move |_, line| match line {
        "AUTH XOAUTH2" => "334 ",
        line if line == expected => "235 2.7.0 welcome",
        _ => "535 5.7.8 no",
    });
    let command = format!("[\"/bin/sh\", {:?}]", script.display().to_string());
    let lines = format!("token_command = {command}\nauth = \"xoauth2\"\nplaintext_auth = true");
    let config = config(&folder, hop.port, &lines).set(
        "run",
        "command_paths",
        &format!("[{:?}]", folder.path().display().to_string()),
    );
    let relay = config.start();
    submit(&relay);
    hop.wait(1);
    end(&config, relay);
}

#[test]
fn a_secret_that_all_can_read_is_refused() {
    let folder = Folder::new("login-mode");
    let file = folder.write("secret", SECRET);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("a mode");
    let lines = format!("password_file = {:?}", file.display().to_string());
    let output = config(&folder, 25, &lines).run(&["check"], b"");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(
        said.contains("route.password_file") && said.contains("everyone on this machine can read it"),
        "{said}"
    );
}

/// A password crosses the line as it is where the certificate is right, or pinned, and nowhere else.
#[test]
fn a_password_is_told_to_whom_the_certificate_names() {
    let folder = Folder::new("login-tls");
    let Some(authority) = Authority::new(folder.path(), "authority") else { return };
    let pair = authority.issue("server", "EC:P-256");
    let mut line = program();
    line.args(["password", "tim"]);
    let users = secret(&folder, "users", &peers::succeed(&mut line, format!("{SECRET}\n").as_bytes()));
    let next = Config::new(folder.path(), "next")
        .strangers()
        .maildir("[\"remote.test\"]")
        .set("tls", "certificate_file", &format!("{:?}", pair.certificate))
        .set("tls", "key_file", &format!("{:?}", pair.key))
        .set("access", "users_file", &format!("{users:?}"));
    let receiver = next.start();
    let file = secret(&folder, "secret", SECRET);
    let route = |auth: &str, lines: &str| {
        Config::new(folder.path(), "a").set("queue", "retry", "[\"1h\"]").route(&format!(
            "via = \"smarthost\"\nhosts = [\"localhost:{}\"]\nusername = \"tim\"\npassword_file = {file:?}\nauth = {auth:?}\n{lines}",
            receiver.port
        ))
    };
    let ca = format!("ca_file = {:?}", authority.file());
    let pin = format!("tls = \"encrypt\"\ncertificate_sha256 = {:?}", fingerprint(&pair.certificate));
    for (auth, lines) in
        [("plain", ca.as_str()), ("login", &pin), ("auto", &ca), ("auto", "tls = \"encrypt\"")]
    {
        let config = route(auth, lines);
        let relay = config.start();
        submit(&relay);
        relay.wait_log(&[" delivered ", "tls=TLSv1.3"]);
        end(&config, relay);
    }
    let log = receiver.log().join("\n");
    assert_eq!(log.matches("proto=ESMTPSA user=tim").count(), 4, "{log}");
    let config = route("plain", "tls = \"encrypt\"");
    let relay = config.start();
    submit(&relay);
    assert_waits(&config, &relay, "PLAIN would show the secret");
    end(&config, relay);
    receiver.stop();
}
