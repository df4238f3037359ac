//! AUTH from clients: real ones with every mechanism they have, wrong passwords, the senders of a user.

mod support;

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{fs, thread};

use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, tcgetattr};
use nix::unistd::Pid;

use support::client::Client;
use support::message::{field, maildir};
use support::peers::{self, find};
use support::relay::{Config, program};
use support::{Folder, wait_for};

const SECRET: &str = "tanstaaftanstaaf";

/// A line for the users file, as the program makes it.
#[track_caller]
fn line(name: &str, options: &[&str]) -> String {
    let mut command = program();
    command.arg("password").args(options).arg(name);
    peers::succeed(&mut command, format!("{SECRET}\n").as_bytes()).trim_end().to_owned()
}

/// A file that only its owner can read.
fn secret(folder: &Folder, name: &str, text: &str) -> PathBuf {
    let path = folder.write(name, text);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("the mode of a file");
    path
}

/// A relay whose clients are strangers that can log in without TLS.
fn config(folder: &Folder, users: &str) -> Config {
    let file = secret(folder, "users", users);
    Config::new(folder.path(), "a")
        .strangers()
        .maildir("[\"local.test\", \"remote.test\"]")
        .set("access", "users_file", &format!("{:?}", file.display().to_string()))
        .set("access", "plaintext_auth_from", "[\"127.0.0.0/8\"]")
        .set("access", "cram_md5", "true")
}

/// Waits for the newest of so many messages.
#[track_caller]
fn arrived(config: &Config, user: &str) -> Vec<u8> {
    let folder = config.mailbox(user);
    wait_for("a delivered message", || Some(maildir(&folder)).filter(|all| !all.is_empty())).remove(0)
}

fn base64(text: &str) -> String {
    let mut room = vec![0; text.len() * 2 + 4];
    pillarbox::smtp::sasl::encode(text.as_bytes(), &mut room).expect("room").to_owned()
}

/// A real client that sends a message: to whom, as whom, the command, its standard input.
type Sending = (String, &'static str, Command, &'static [u8]);

fn swaks_and_curl(port: &str, mail: &Path) -> Vec<Sending> {
    let mut all = Vec::new();
    for (mechanism, user) in [("PLAIN", "tim"), ("LOGIN", "tim"), ("CRAM-MD5", "old")] {
        let to = |client: &str| format!("{client}-{}@remote.test", mechanism.to_lowercase());
        if let Some(swaks) = find("swaks") {
            let mut command = Command::new(&swaks);
            command.args(["--server", "127.0.0.1", "--port", port, "--from", "a@client.test"]);
            command.args(["--to", &to("swaks"), "--auth", mechanism]);
            command.args(["--auth-user", user, "--auth-password", SECRET]);
            all.push((to("swaks"), user, command, &b""[..]));
        }
        if let Some(curl) = find("curl") {
            let mut command = Command::new(&curl);
            command.args([
                "-sS",
                &format!("smtp://127.0.0.1:{port}/curl.test"),
                "--mail-from",
                "a@client.test",
            ]);
            command.args(["--user", &format!("{user}:{SECRET}"), "--mail-rcpt", &to("curl")]);
            command.args(["--login-options", &format!("AUTH={mechanism}"), "--upload-file"]).arg(mail);
            all.push((to("curl"), user, command, b""));
        }
    }
    all
}

fn smtplib_and_lettre(port: &str) -> Vec<Sending> {
    let mut all = Vec::new();
    if let Some(python) = find("python3") {
        let script = "import smtplib, sys\n\
            with smtplib.SMTP('127.0.0.1', int(sys.argv[1])) as s:\n    \
            s.ehlo()\n    \
            s.user, s.password = sys.argv[3], sys.argv[4]\n    \
            method = getattr(s, 'auth_' + sys.argv[2].lower().replace('-', '_'))\n    \
            s.auth(sys.argv[2], method)\n    \
            s.sendmail('a@client.test', [sys.argv[5]], b'Subject: hello\\r\\n\\r\\nhello\\r\\n')\n";
        for (mechanism, user) in [("PLAIN", "tim"), ("LOGIN", "tim"), ("CRAM-MD5", "old")] {
            let to = format!("python-{}@remote.test", mechanism.to_lowercase());
            let mut command = Command::new(&python);
            command.args(["-c", script, port, mechanism, user, SECRET, &to]);
            all.push((to, user, command, &b""[..]));
        }
    }
    if let Some(lettre) = find("lettre-send") {
        let mut command = Command::new(lettre);
        command.args([port, "a@client.test", "lettre@remote.test", "hello", "hello", "tim", SECRET]);
        all.push(("lettre@remote.test".to_owned(), "tim", command, b""));
    }
    all
}

/// It is the one that speaks SCRAM.
fn msmtp(port: &str) -> Vec<Sending> {
    let Some(msmtp) = find("msmtp") else { return Vec::new() };
    let ways = [
        ("plain", "tim"),
        ("login", "tim"),
        ("scram-sha-256", "tim"),
        ("scram-sha-256", "old"),
        ("cram-md5", "old"),
    ];
    let send = |(mechanism, user)| {
        let to = format!("msmtp-{mechanism}-{user}@remote.test");
        let mut command = Command::new(&msmtp);
        command.args(["--file=/dev/null", "--host=127.0.0.1", &format!("--port={port}"), "--tls=off"]);
        command.args([&format!("--auth={mechanism}"), &format!("--user={user}"), "--from=a@client.test"]);
        command.arg(format!("--passwordeval=echo {SECRET}")).arg(&to);
        (to, user, command, &b"Subject: hello\n\nhello\n"[..])
    };
    ways.map(send).into()
}

#[test]
fn real_clients_log_in_by_every_mechanism_they_have() {
    let folder = Folder::new("auth-in");
    let users = format!("{}\n{}:*@client.test\n", line("tim", &[]), line("old", &["--clear"]));
    let config = config(&folder, &users);
    let relay = config.start();
    let port = relay.port.to_string();
    let mail = folder.write("mail", "Subject: hello\r\n\r\nhello\r\n");
    let mut sent = 0;
    for (to, user, mut command, input) in
        swaks_and_curl(&port, &mail).into_iter().chain(smtplib_and_lettre(&port)).chain(msmtp(&port))
    {
        peers::succeed(&mut command, input);
        let local = to.split('@').next().unwrap_or_default();
        let trace = field(&arrived(&config, local), "Received").unwrap_or_default();
        assert!(trace.contains("with ESMTPA "), "{to}: {trace}");
        relay.wait_log(&[" accepted ", "proto=ESMTPA", &format!("user={user}")]);
        sent += 1;
    }
    let log = relay.stop().join("\n");
    assert_eq!(log.matches(" accepted ").count(), sent);
    assert!(!log.contains(SECRET) && !log.contains(&base64(SECRET)), "a secret in the log");
}

#[test]
fn strangers_and_wrong_passwords_are_refused() {
    let folder = Folder::new("auth-wrong");
    let config = config(&folder, &line("tim", &[])).role("submission").set("limits", "errors", "100");
    let relay = config.start();
    let mut client = Client::hello(relay.port);
    client.expect("MAIL FROM:<a@client.test>", "530 5.7.0");
    let plain =
        |name: &str, password: &str| format!("AUTH PLAIN {}", base64(&format!("\0{name}\0{password}")));
    client.expect(&plain("tim", "hunter2"), "535 5.7.8");
    client.expect(&plain("nob\u{e9}\"dy", SECRET), "535 5.7.8");
    client.expect("AUTH CRAM-MD5", "504 5.5.4");
    // Mail to local domains needs a login here too, and nothing of the exchange counts as one.
    client.expect("AUTH LOGIN", "334 VXNlcm5hbWU6");
    client.expect("*", "501 5.7.0");
    client.expect("MAIL FROM:<a@client.test>", "530 5.7.0");
    // The fifth failure costs time, on every connection of this address.
    for _ in 0..3 {
        client.expect(&plain("tim", "hunter2"), "535 5.7.8");
    }
    client.expect(&plain("tim", SECRET), "454 4.7.0 too many failed logins");
    Client::hello(relay.port).expect(&plain("tim", SECRET), "454 4.7.0");
    relay.wait_log(&["- rejected user=\"tim\" mechanism=PLAIN client=127.0.0.1", "reply=\"535 5.7.8"]);
    relay.wait_log(&["user=\"nob\u{e9}\\\"dy\"", "reply=\"535 5.7.8"]);
    relay.wait_log(&["user=\"tim\"", "reply=\"454 4.7.0"]);
    assert!(config.succeed(&["status"]).contains("127.0.0.1"), "the notes name the client");
    let log = relay.stop().join("\n");
    assert!(!log.contains("hunter2") && !log.contains(SECRET), "a secret in the log");
}

#[test]
fn a_right_password_ends_the_count_and_many_log_in_at_once() {
    let folder = Folder::new("auth-many");
    // The first clients may still count when the others come.
    let relay = config(&folder, &line("tim", &[])).set("limits", "sessions_per_client", "20").start();
    let plain = |password: &str| format!("AUTH PLAIN {}", base64(&format!("\0tim\0{password}")));
    for _ in 0..3 {
        let mut client = Client::hello(relay.port);
        client.expect(&plain("hunter2"), "535 5.7.8");
        client.expect(&plain("hunter2"), "535 5.7.8");
        client.expect(&plain(SECRET), "235 2.7.0");
        client.expect(&plain(SECRET), "503 5.5.1");
    }
    let port = relay.port;
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let right = plain(SECRET);
            thread::spawn(move || Client::hello(port).expect(&right, "235 2.7.0"))
        })
        .collect();
    for client in clients {
        client.join().expect("every client logs in");
    }
    relay.stop();
}

#[test]
fn a_user_sends_as_its_line_says() {
    let folder = Folder::new("auth-senders");
    let config = config(&folder, &format!("{}:tim@client.test,*@lists.test\n", line("tim", &[])));
    let relay = config.start();
    let mut client = Client::hello(relay.port);
    client.expect(&format!("AUTH PLAIN {}", base64(&format!("\0tim\0{SECRET}"))), "235 2.7.0");
    client.expect("MAIL FROM:<boss@client.test>", "553 5.7.1 the user tim may not send as this address");
    for from in ["tim@client.test", "TIM@Client.test", "any@lists.test", ""] {
        let reply = client.deliver(from, &["x@remote.test"], b"Subject: x\r\n\r\nx\r\n");
        assert!(reply.starts_with("250"), "{from}: {reply}");
    }
    // Taken out of the file: seen at the next login of anybody.
    secret(&folder, "users", &line("eve", &[]));
    let mut other = Client::hello(relay.port);
    other.expect(&format!("AUTH PLAIN {}", base64(&format!("\0eve\0{SECRET}"))), "235 2.7.0");
    client.expect("MAIL FROM:<tim@client.test>", "550 5.7.1 there is no user tim any more");
    relay.stop();
}

#[test]
fn a_users_file_that_goes_bad_stops_logins_only() {
    let folder = Folder::new("auth-file");
    let users = line("tim", &[]);
    let config = config(&folder, &users);
    let relay = config.start();
    let right = format!("AUTH PLAIN {}", base64(&format!("\0tim\0{SECRET}")));
    Client::hello(relay.port).expect(&right, "235 2.7.0");
    fs::set_permissions(folder.join("users"), fs::Permissions::from_mode(0o644)).expect("a mode");
    folder.write("users", format!("{users}\n"));
    let mut client = Client::hello(relay.port);
    client.expect(&right, "454 4.7.0");
    relay.wait_log(&["- nobody can log in", "everyone on this machine can read it"]);
    assert!(config.succeed(&["status"]).contains("nobody can log in"));
    client.deliver("a@client.test", &["x@local.test"], b"Subject: x\r\n\r\nx\r\n");
    let output = config.run(&["check"], b"");
    assert_eq!(output.status.code(), Some(78), "check refuses it");
    secret(&folder, "users", "tim:nonsense\n");
    let output = config.run(&["check"], b"");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("users:1:5: "), "{said}");
    client.expect(&right, "454 4.7.0");
    secret(&folder, "users", &users);
    client.expect(&right, "235 2.7.0");
    relay.stop();
}

#[test]
fn passwords_become_lines() {
    let clear = line("tim", &["--clear"]);
    assert_eq!(clear, format!("tim:{{CLEAR}}{}", base64(SECRET)));
    let (one, two) = (line("tim", &[]), line("tim", &[]));
    assert!(one.starts_with("tim:SCRAM-SHA-256$") && one != two, "a salt of its own: {one}");
    for (arguments, input, code) in [
        (&["password"][..], "x\n", 64),
        (&["password", "a:b"], "x\n", 64),
        (&["password", "a", "b"], "x\n", 64),
        (&["password", "--nonsense", "a"], "x\n", 64),
        (&["password", "a"], "", 65),
        (&["password", "a"], "\n", 65),
    ] {
        let output = peers::run(program().args(arguments), input.as_bytes());
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(code), &b""[..]), "{arguments:?}");
    }
}

#[test]
fn strangers_who_guess_side_by_side_keep_no_user_out() {
    let folder = Folder::new("guessers");
    let relay = config(&folder, &(line("tim", &[]) + "\n")).set("limits", "sessions", "40").start();
    let login = |password: &str| format!("AUTH PLAIN {}\r\n", base64(&format!("\0tim\0{password}")));
    let connect = |host: u8| {
        let mut client = Client::connect_from(host, relay.port);
        client.expect("EHLO client.test", "250");
        client
    };
    // More than the helper has room for, each with one guess, which is free.
    let mut strangers: Vec<Client> = (0..35).map(|number| connect(2 + number)).collect();
    let mut user = connect(99);
    for stranger in &mut strangers {
        stranger.send(login("a guess").as_bytes());
    }
    user.send(login(SECRET).as_bytes());
    let reply = user.reply();
    assert!(reply.starts_with("235"), "{reply}");
    for stranger in &mut strangers {
        let reply = stranger.reply();
        assert!(reply.starts_with("535"), "{reply}");
    }
    relay.stop();
}

#[test]
fn a_password_that_is_not_typed_leaves_the_terminal_as_it_was() {
    let pty = nix::pty::openpty(None, None).expect("a terminal");
    let shows = || tcgetattr(&pty.slave).expect("a terminal").local_flags.contains(LocalFlags::ECHO);
    assert!(shows());
    let terminal = pty.slave.try_clone().expect("a descriptor");
    let mut command = program();
    command.args(["password", "me"]).stdin(terminal).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut asked = command.spawn().expect("the program");
    wait_for("a terminal that shows nothing", || (!shows()).then_some(()));
    let pid = Pid::from_raw(i32::try_from(asked.id()).expect("a process"));
    kill(pid, Signal::SIGINT).expect("the program waits");
    let status = asked.wait().expect("the program");
    assert_eq!(status.signal(), Some(Signal::SIGINT as i32), "it ends as it would have: {status}");
    assert!(shows(), "and what is typed is seen again");
}
