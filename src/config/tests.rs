//! Tests of the configuration as a whole.

use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::limits::ROUTES;

/// Every section and key.
const EXAMPLE: &str = include_str!("example.toml");

/// Reads a file as if everything were built.
fn read_all(text: &str) -> Result<Config, Vec<Mistake>> {
    Config::parse(text, "host.test")
}

fn shown(mistakes: &[Mistake]) -> String {
    mistakes.iter().map(|m| format!("{}:{}: {}\n", m.line, m.column, m.text)).collect()
}

/// One mistake, here, that says this.
#[track_caller]
fn wrong(text: &str, line: usize, column: usize, says: &str) {
    let mistakes = Config::parse(text, "host.test").expect_err(text);
    let shown = shown(&mistakes);
    assert_eq!(mistakes.len(), 1, "{text}\n{shown}");
    assert_eq!((mistakes[0].line, mistakes[0].column), (line, column), "{text}\n{shown}");
    assert!(mistakes[0].text.contains(says), "{text}\n{shown}");
}

#[test]
fn every_key_is_read() {
    let config = read_all(EXAMPLE).unwrap_or_else(|mistakes| panic!("{}", shown(&mistakes)));
    assert_eq!(config.hostname, "router.home.arpa");
    assert_eq!((config.postmaster.as_str(), config.postmaster_is_set), ("me@example.com", true));
    assert_eq!((config.spool.cells_size, config.spool.commit), (8 << 20, Commit::NextHop));
    let tls: Vec<ListenTls> = config.listen.iter().map(|listen| listen.tls).collect();
    assert_eq!(tls, [ListenTls::StartTls, ListenTls::None, ListenTls::StartTls]);
    assert_eq!(config.queue.retry.last(), Some(&Duration::from_secs(4 * 3600)));
    assert_eq!(config.route.len(), 7, "the last route takes all: none is added");
    assert!(matches!(&config.route[0].via, Via::Maildir(maildir) if maildir.mode == 0o770));
    assert!(
        matches!(&config.route[2].via, Via::Smarthost(host) if host.ca_file.is_none() && host.hosts.len() == 2)
    );
    assert_eq!(config.run.metrics, Some(SocketAddr::from(([127, 0, 0, 1], 9025))));
}

#[test]
fn an_empty_file_is_every_default() {
    let config = Config::parse("", "Host.Test.").unwrap();
    assert_eq!(config.local_domains, ["host.test", "localhost"]);
    assert_eq!((config.postmaster.as_str(), config.listen.len()), ("postmaster@host.test", 0));
    assert_eq!((config.limits.sessions, config.limits.message_size), (32, 35 << 20));
    let [Route { to, from, via: Via::Maildir(maildir) }] = &config.route[..] else {
        panic!("{:?}", config.route)
    };
    assert!(to.iter().any(|pattern| pattern.covers("localhost")) && from.is_empty());
    assert_eq!(maildir.recipients, Recipients::Existing);
}

#[test]
fn without_a_file_everything_stays_here() {
    let config = Config::default_without_file("box.test", Path::new("/home/me"));
    assert_eq!(config.listen[0].address.to_string(), "127.0.0.1:2525");
    assert_eq!(config.spool.directory, Path::new("/home/me/pillarbox-spool"));
    assert_eq!(config.run.control, Path::new("/home/me/pillarbox-spool/control"));
    assert_eq!(config.run.submit, Path::new("/home/me/pillarbox-spool/submit"));
    assert_eq!((config.run.user.as_deref(), config.route.len()), (None, 1));
    assert!(matches!(&config.route[0].via, Via::Maildir(m) if m.recipients == Recipients::Any
        && m.directory == "/home/me/pillarbox-mail/{user}"));
    assert_eq!(Config::parse(&config.to_string(), "other.test").as_ref(), Ok(&config));
}

#[test]
fn the_postmaster_can_be_a_local_user() {
    let read = |text: &str| {
        let config = Config::parse(text, "host.test").unwrap();
        (config.postmaster, config.postmaster_is_set)
    };
    let local = "local_domains = [\"home.test\"]\n";
    for (said, address, is_set) in [
        ("", "postmaster@home.test", false),
        ("postmaster = \"\"\n", "postmaster@home.test", false),
        ("postmaster = \"postmaster\"\n", "postmaster@home.test", false),
        ("postmaster = \"me\"\n", "me@home.test", true),
        ("postmaster = \"postmaster@home.test\"\n", "postmaster@home.test", true),
    ] {
        assert_eq!(read(&format!("{said}{local}")), (address.to_owned(), is_set), "{said}");
    }
}

#[test]
fn the_default_message_size_gives_way_to_a_small_spool() {
    let size = |text| Config::parse(text, "host.test").unwrap().limits.message_size;
    assert_eq!(size("[spool]\nmax_size = \"1MiB\"\n"), 1 << 20);
    assert_eq!(size("[spool]\nmax_size = \"1MiB\"\n[limits]\nmessage_size = \"2MiB\"\n"), 2 << 20);
}

#[test]
fn more_for_one_than_there_are_in_all_is_no_mistake() {
    let text =
        "[limits]\nsessions = 4\nsessions_per_client = 9\ndeliveries = 1\ndeliveries_per_destination = 3\n";
    let limits = Config::parse(text, "host.test").unwrap().limits;
    assert_eq!((limits.sessions, limits.sessions_per_client), (4, 9));
    assert_eq!((limits.deliveries, limits.deliveries_per_destination), (1, 3));
}

#[test]
fn one_mistake_is_named_with_its_place() {
    wrong("hostname = 5\n", 1, 12, "write text in quotes");
    wrong("nonsense = 1\n", 1, 1, "no key nonsense");
    wrong("\n[limits]\n  sesions = 3\n", 3, 3, "did you mean sessions?");
    wrong("\n[limits]\nsessions = \"many\"\n", 3, 13, "a number from 1 to 1024");
    wrong("[limits]\nsessions = 0\n", 2, 12, "out of range");
    wrong("[limits]\nsessions = 4\nsessions_per_client = 1025\n", 3, 23, "1 to 1024");
    wrong("[limits]\ndeliveries_per_destination = 129\n", 2, 30, "1 to 128");
    wrong("[limits]\nmessage_size = \"1KiB\"\n", 2, 17, "\"64KiB\" to \"1GiB\"");
    wrong("[limits]\nmessage_size = \"9 MB\"\n", 2, 17, "25MiB");
    wrong("[limits\n", 1, 8, "expected a right bracket");
    wrong("a = \"\n", 1, 6, "invalid character");
    wrong("[spool]\ncommit = \"never\"\n", 2, 11, "\"disk\", \"next-hop\"");
    wrong("[queue]\nretry = [\"soon\"]\n", 2, 11, "write \"90s\"");
    wrong("[queue]\nretry = []\n", 2, 9, "1 to 16");
    wrong("listen = 5\n", 1, 10, "[[listen]]");
    wrong("[listen]\naddress = \"0.0.0.0:25\"\n", 1, 1, "[[listen]]");
    wrong("[[spool]]\ndirectory = \"/x\"\n", 1, 1, "write [spool]");
    wrong("[[listen]]\nrole = \"relay\"\n", 1, 1, "needs address");
    wrong("[[listen]]\naddress = \"nowhere\"\n", 2, 12, "0.0.0.0:25");
    wrong("[[listen]]\naddress = \"unix:smtp\"\n", 2, 12, "from the root");
    wrong("[access]\nrelay_from = [\"300.0.0.0/8\"]\n", 2, 16, "no network");
    wrong("[access]\nrelay_from = [\"::1\", \"192.168.1.5/24\"]\n", 2, 23, "write \"192.168.1.0/24\"");
    wrong("postmaster = \"me@\"\n", 1, 15, "name@example.net");
    wrong("postmaster = \"m e\"\n", 1, 15, "name@example.net");
    wrong("local_domains = [\"a b\"]\n", 1, 19, "no domain");
    wrong("hostname = \"\\u0007\"\n", 1, 13, "control character");
    wrong("[run]\nsubmit = \"/x\"\ncontrol = \"/x\"\n", 2, 11, "same file");
    let two = "[[listen]]\naddress = \"[::]:25\"\n[[listen]]\naddress = \"[::0]:25\"\n";
    wrong(two, 4, 12, "stands twice");
    let whole = "[[listen]]\naddress = \"127.0.0.1:25\"\n[[listen]]\naddress = \"0.0.0.0:25\"\n";
    wrong(whole, 4, 12, "hold the same address");
    let listen = "[[listen]]\naddress = \"127.0.0.1:25\"\n[[listen]]\naddress = \"unix:/x\"\n[run]\n";
    wrong(&format!("{listen}metrics = \"0.0.0.0:25\"\n"), 6, 12, "\"127.0.0.1:25\": give each its own");
    wrong(&format!("{listen}control = \"/x\"\n"), 6, 12, "\"unix:/x\": give each its own");
    read_all(&whole.replace("0.0.0.0", "[::]")).unwrap();
}

#[test]
fn routes_are_judged_by_their_way() {
    wrong("[[route]]\nto = [\"x.test\"]\n", 1, 1, "needs via");
    wrong("[[route]]\nvia = \"pigeon\"\n", 2, 8, "one of \"maildir\"");
    wrong("[[route]]\nvia = \"smarthost\"\ntls = \"none\"\n", 1, 1, "needs hosts");
    wrong("[[route]]\nvia = \"reject\"\nhosts = [\"x.test:25\"]\n", 3, 1, "no key hosts");
    wrong("[[route]]\nvia = \"maildir\"\ndirectory = \"/mail/{name}\"\n", 3, 14, "{user}");
    wrong("[[route]]\nvia = \"maildir\"\ndirectory = \"/{user}\"\n", 3, 14, "a folder of its own");
    wrong("[[route]]\nvia = \"maildir\"\ndirectory = \"mail/{user}\"\n", 3, 14, "a folder of its own");
    wrong("[[route]]\nvia = \"maildir\"\ndirectory = \"/a/../{user}\"\n", 3, 14, "goes up");
    wrong("[[route]]\nvia = \"maildir\"\nmode = \"0999\"\n", 3, 9, "octal");
    wrong("[[route]]\nto = [\"a b\"]\nvia = \"reject\"\n", 2, 8, "no pattern");
    let hop = "[[route]]\nvia = \"smarthost\"\ntls = \"none\"\nhosts = ";
    for bad in [
        "\"x.test\"",
        "\":25\"",
        "\"x.test:0\"",
        "\"::1:25\"",
        "\"a b:25\"",
        "\"[x]:25\"",
        "\"x.test:70000\"",
    ] {
        wrong(&format!("{hop}[{bad}]\n"), 4, 11, "is no host");
    }
    wrong(&format!("{hop}[\"unix:/x\"]\n"), 4, 9, "by TCP");
    let many = "[[route]]\nvia = \"reject\"\n".repeat(ROUTES + 1);
    wrong(&many, 2 * ROUTES + 1, 1, "more than 64");
}

#[test]
fn keys_of_a_smarthost_fit_together() {
    let base = "[[route]]\nvia = \"smarthost\"\nhosts = [\"x.test:587\"]\n";
    for (keys, line, says) in [
        ("username = \"me\"", 4, "password_file"),
        ("password_file = \"/p\"", 4, "username"),
        ("username = \"me\"\npassword_file = \"/p\"\npassword_command = [\"p\"]", 6, "keep one"),
        ("username = \"me\"\npassword_file = \"/p\"\ntoken_command = [\"p\"]", 6, "keep one"),
        ("username = \"me\"\npassword_file = \"/p\"\nauth = \"xoauth2\"", 6, "token_command"),
        ("auth = \"plain\"", 4, "username"),
        ("tls = \"none\"\nca_file = \"/ca\"", 5, "only tls"),
        ("certificate_sha256 = \"12\"", 4, "64 hex digits"),
    ] {
        let text = format!("{base}{keys}\n");
        let mistakes = read_all(&text).expect_err(&text);
        assert_eq!(mistakes.len(), 1, "{text}\n{}", shown(&mistakes));
        assert!(mistakes[0].line == line && mistakes[0].text.contains(says), "{text}\n{}", shown(&mistakes));
    }
}

#[test]
fn all_mistakes_are_found_in_one_run() {
    let text = "hostnam = 1\n[limits]\nsessions = -1\nerrors = true\n[[route]]\nvia = \"maildir\"\nto = [1, \"a b\"]\n";
    let mistakes = Config::parse(text, "host.test").unwrap_err();
    let lines: Vec<usize> = mistakes.iter().map(|mistake| mistake.line).collect();
    assert_eq!(lines, [1, 3, 4, 7, 7], "{}", shown(&mistakes));
}

#[test]
fn a_refusal_reads_like_a_compiler() {
    let folder = std::env::temp_dir().join(format!("pillarbox-config-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("x.toml");
    let refused = |octets: &[u8]| {
        std::fs::write(&file, octets).unwrap();
        load(Some(&file), "host.test", &folder).unwrap_err().to_string()
    };
    let name = file.display();
    assert!(refused(b"x = 1\ny = 2\n").starts_with(&format!("{name}:1:1: the top")));
    assert_eq!(refused(b"x = 1\ny = 2\n").lines().count(), 2);
    assert!(refused(b"# ok\n# \xff\n").starts_with(&format!("{name}:2:3: ")));
    assert!(refused(&vec![b'#'; CONFIG_OCTETS as usize + 1]).contains("can't be read"));
    std::fs::remove_dir_all(&folder).unwrap();
    let missing = load(Some(&file), "host.test", &folder).unwrap_err();
    assert!(missing.to_string().contains("can't be read"), "a file that was named must be there");
}

#[test]
fn networks_hold_what_they_should() {
    for (network, client, is_in) in [
        ("192.168.1.0/24", "192.168.1.255", true),
        ("192.168.1.0/24", "192.168.2.0", false),
        ("192.168.1.0/24", "::ffff:192.168.1.7", true),
        ("192.168.1.7", "192.168.1.7", true),
        ("192.168.1.7", "192.168.1.6", false),
        ("0.0.0.0/0", "203.0.113.9", true),
        ("0.0.0.0/0", "2001:db8::1", false),
        ("::/0", "203.0.113.9", false),
        ("::/0", "2001:db8::1", true),
        ("2001:db8::/33", "2001:db8:7fff::1", true),
        ("2001:db8::/33", "2001:db8:8000::1", false),
        ("::1", "::1", true),
    ] {
        let network = Network::parse(network).unwrap();
        assert_eq!(network.contains(client.parse().unwrap()), is_in, "{network} {client}");
    }
    for bad in
        ["", "10", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.1/8", "::ffff:10.0.0.1", "10.0.0.0/-1"]
    {
        assert!(Network::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn patterns_match_what_they_should() {
    let at = |address: &'static str| address.rsplit_once('@');
    for (pattern, address, is_meant) in [
        ("home.arpa", "a@home.arpa", true),
        ("home.arpa", "a@HOME.ARPA.", true),
        ("home.arpa", "a@nas.home.arpa", false),
        ("home.arpa", "a@xhome.arpa", false),
        ("*.home.arpa", "a@nas.home.arpa", true),
        ("*.home.arpa", "a@home.arpa", false),
        ("root@*", "Root@anywhere.test", true),
        ("root@*", "root2@anywhere.test", false),
        ("*@nas.home.arpa", "x@nas.home.arpa", true),
        ("cam-*@home.arpa", "cam-7@home.arpa", true),
        ("*a*b*@x", "xxaxxbxx@x", true),
        ("*a*b*@x", "xxbxxaxx@x", false),
        ("*", "a@b", true),
        ("<>", "a@b", false),
    ] {
        let pattern = Pattern::parse(pattern).unwrap();
        assert_eq!(pattern.matches(at(address)), is_meant, "{pattern} {address}");
        assert_eq!(pattern.matches(None), pattern.to_string() == "<>", "{pattern}");
    }
    for bad in ["", "@", "a@", "@b", "a b", "a\u{7}", "."] {
        assert!(Pattern::parse(bad).is_err(), "{bad:?}");
    }
}

/// One key with values that fit, to be mixed at random.
const KEYS: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "hostname = \"a.test\"",
            "local_domains = []",
            "local_domains = [\"B.test.\", \"c.test\"]",
            "postmaster = \"x@y.test\"",
        ],
    ),
    (
        "[spool]",
        &[
            "directory = \"/a \\\"b\\\" \\\\c\"",
            "max_size = 99999999",
            "max_messages = 7",
            "cells_size = \"1MiB\"",
            "commit = \"next-hop\"",
            "commit_wait = \"61s\"",
        ],
    ),
    (
        "[[listen]]",
        &[
            "address = \"[::1]:25\"",
            "address = \"unix:/smtp\"\nrole = \"submission\"",
            "address = \"1.2.3.4:5\"\nproxy_protocol_from = [\"::/0\"]",
        ],
    ),
    (
        "[access]",
        &[
            "relay_from = []",
            "users_file = \"/u\"",
            "plaintext_auth_from = [\"10.0.0.0/8\"]",
            "bare_newline = \"reject\"",
            "cram_md5 = true",
        ],
    ),
    (
        "[[client]]",
        &[
            "networks = [\"10.0.0.1\"]\nhide = [\"DSN\", \"size\"]",
            "networks = [\"::/0\"]\nappliance = true\nrelay = true",
            "networks = [\"::1\"]\nrewrite_sender = \"a@b.test\"\nmessages_per_hour = 9",
        ],
    ),
    (
        "[limits]",
        &[
            "sessions = 3",
            "deliveries = 1",
            "message_size = 65537",
            "recipients = 256",
            "errors = 1",
            "command_timeout = \"1d\"",
            "session_timeout = \"7d\"",
        ],
    ),
    (
        "[queue]",
        &["retry = [\"90s\", \"2h\"]", "warn_after = \"0s\"", "expire_after = \"25h\"", "bounce_size = 0"],
    ),
    ("[aliases]", &["file = \"/etc/aliases\""]),
    (
        "[[route]]",
        &[
            "via = \"maildir\"\nto = [\"c.test\", \"root@*\"]\nrecipients = \"any\"\nmode = \"0700\"\ngroup = \"g\"",
            "via = \"lmtp\"\nhosts = [\"unix:/l\", \"h:24\"]",
            "via = \"smarthost\"\nhosts = [\"[::1]:25\"]\nfrom = [\"<>\", \"*@*.x\"]\ntls = \"encrypt\"\ntls_start = \"immediate\"",
            "via = \"smarthost\"\nhosts = [\"h:25\"]\nusername = \"é\"\npassword_file = \"/p\"\nauth = \"login\"\nplaintext_auth = true",
            "via = \"mx\"\ntls = \"verify\"\nresolvers = [\"1.1.1.1\"]\nport = 26",
            "via = \"reject\"",
            "via = \"discard\"",
        ],
    ),
    ("[dns]", &["resolvers = [\"::1\"]", "timeout = \"2s\"", "attempts = 1"]),
    ("[log]", &["target = \"syslog\"", "level = \"trace\"", "file = \"/l\"", "max_size = 4096"]),
    (
        "[run]",
        &[
            "user = \"\"",
            "sandbox = false",
            "command_paths = [\"/usr\"]",
            "control = \"/c\"",
            "submit = \"/s\"",
            "metrics = \"[::1]:80\"",
        ],
    ),
];

/// A valid file: of every section a random choice of keys.
fn file() -> impl Strategy<Value = String> {
    prop::collection::vec(any::<bool>(), KEYS.iter().map(|(_, keys)| keys.len()).sum::<usize>()).prop_map(
        |chosen| {
            let mut chosen = chosen.into_iter();
            let mut text = String::new();
            for (head, keys) in KEYS {
                if !head.starts_with("[[") {
                    text += &format!("{head}\n");
                }
                let mut seen = Vec::new();
                for key in *keys {
                    let name = key.split(' ').next().unwrap_or_default();
                    let is_repeated = !head.starts_with("[[") && seen.contains(&name);
                    if chosen.next().unwrap_or_default() && !is_repeated {
                        seen.push(name);
                        text += if head.starts_with("[[") { head } else { "" };
                        text += &format!("\n{key}\n");
                    }
                }
            }
            text
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_is_printed_says_the_same(text in file()) {
        let config = read_all(&text).map_err(|mistakes| TestCaseError::fail(format!("{text}\n{}", shown(&mistakes))))?;
        let printed = config.to_string();
        let again = read_all(&printed).map_err(|mistakes| TestCaseError::fail(format!("{printed}\n{}", shown(&mistakes))))?;
        prop_assert_eq!(again, config, "{}", printed);
    }

    #[test]
    fn a_damaged_file_is_judged(at in 0..EXAMPLE.len(), with in any::<char>()) {
        let mut text = EXAMPLE.to_owned();
        text.replace_range(at..=at, with.encode_utf8(&mut [0; 4]));
        if let Err(mistakes) = read_all(&text) {
            prop_assert!(!mistakes.is_empty());
            prop_assert!(mistakes.iter().all(|m| (1..=text.lines().count() + 1).contains(&m.line) && m.column > 0));
        }
    }

    #[test]
    fn any_text_is_judged(text in any::<String>()) {
        let _ = Config::parse(&text, "host.test");
        let _ = (Pattern::parse(&text), Network::parse(&text), Host::parse(&text), Endpoint::parse(&text));
    }

    #[test]
    fn a_pattern_finds_itself(local in "[a-zA-Z0-9*]{1,20}", domain in "[a-z0-9*.]{0,20}[a-z]") {
        let text = format!("{local}@{domain}");
        let pattern = Pattern::parse(&text).unwrap();
        prop_assert!(pattern.matches(Some((&local, &domain))));
        prop_assert_eq!(Pattern::parse(&pattern.to_string()).unwrap(), pattern);
    }
}

#[test]
fn secrets_are_not_printed() {
    let printed = read_all(EXAMPLE).unwrap().to_string();
    assert!(printed.contains("password_command = [\"program\", \"(hidden)\"]"), "{printed}");
}
