//! The manual pages say what the program does: every key with its default, every command.

use std::collections::{BTreeMap, BTreeSet};

use pillarbox::config::Config;

const CONFIGURATION: &str = include_str!("../src/manual/pillarbox.toml.5");
const COMMANDS: &str = include_str!("../src/manual/pillarbox.8");

/// The keys of a section of the page, each with its default as TOML, if it has one.
type Keys = BTreeMap<String, Option<String>>;

/// The page's sections by their headings.
fn sections() -> BTreeMap<String, Keys> {
    let mut found: BTreeMap<String, Keys> = BTreeMap::new();
    let mut keys = None;
    for line in CONFIGURATION.lines() {
        let line = line.replace("\\(dq", "\"");
        if let Some(heading) = line.strip_prefix(".Ss ") {
            keys = Some(found.entry(heading.to_owned()).or_default());
        } else if let (Some(item), Some(keys)) = (line.strip_prefix(".It Ic "), &mut keys) {
            let (key, rest) = item.split_once(' ').unwrap_or((item, ""));
            keys.insert(key.to_owned(), rest.strip_prefix("No = ").map(str::to_owned));
        }
    }
    found
}

/// What has to stand in a section so that a key can follow, beside its heading.
fn example(heading: &str) -> &'static str {
    match heading {
        "Top of the file" => "",
        "[spool]" => "[spool]\n",
        "[[listen]]" => "[[listen]]\naddress = \"127.0.0.1:25\"\n",
        "[tls]" => "[tls]\n",
        "[access]" => "[access]\n",
        "[[client]]" => "[[client]]\nnetworks = [\"192.0.2.1\"]\n",
        "[limits]" => "[limits]\n",
        "[queue]" => "[queue]\n",
        "[aliases]" => "[aliases]\n",
        "[[route]]" => "[[route]]\nvia = \"discard\"\n",
        "via = \"maildir\"" => "[[route]]\nvia = \"maildir\"\n",
        "via = \"lmtp\"" => "[[route]]\nvia = \"lmtp\"\nhosts = [\"unix:/run/lmtp\"]\n",
        "via = \"smarthost\"" => "[[route]]\nvia = \"smarthost\"\nhosts = [\"smtp.test:587\"]\n",
        "via = \"mx\"" => "[[route]]\nvia = \"mx\"\n",
        "[dns]" => "[dns]\n",
        "[log]" => "[log]\n",
        "[run]" => "[run]\n",
        other => panic!("a section that is new to this test: {other}"),
    }
}

/// The keys that the program knows in a section: it names them when it is given one that it does not know.
fn known(heading: &str) -> BTreeSet<String> {
    let text = format!("{}qqqqqqqqqqqq = 1\n", example(heading));
    let mistakes = Config::parse(&text, "host.test").expect_err("an unknown key");
    let told =
        mistakes.iter().find_map(|m| m.text.split_once("it knows ")).expect("the list of known keys").1;
    told.split(", ").map(str::to_owned).collect()
}

#[test]
fn every_key_is_in_the_manual_and_no_other() {
    let sections = sections();
    assert_eq!(sections.len(), 18, "headings of the page: {:?}", sections.keys());
    for (heading, keys) in &sections {
        if heading == "Values" {
            continue;
        }
        let mut known = known(heading);
        if heading.starts_with("via") {
            // What all routes have stands in a section of its own.
            sections["[[route]]"].keys().for_each(|key| assert!(known.remove(key)));
        }
        let is_top = !heading.starts_with(['[', 'v']);
        known.retain(|key| {
            !is_top
                || !sections.contains_key(&format!("[{key}]"))
                    && !sections.contains_key(&format!("[[{key}]]"))
        });
        let told: BTreeSet<String> = keys.keys().cloned().collect();
        assert_eq!(told, known, "{heading}");
    }
}

#[test]
fn the_defaults_of_the_manual_are_those_of_the_program() {
    let mut count = 0;
    for (heading, keys) in sections().iter().filter(|(heading, _)| *heading != "Values") {
        let plain = Config::parse(example(heading), "host.test").expect("a small configuration");
        for (key, default) in keys {
            let Some(default) = default else { continue };
            let text = format!("{}{key} = {default}\n", example(heading));
            let spelled = Config::parse(&text, "host.test").unwrap_or_else(|e| panic!("{text}\n{e:?}"));
            assert_eq!(spelled, plain, "{heading} {key}");
            count += 1;
        }
    }
    assert!(count > 50, "the page was not read: {count}");
}

#[test]
fn the_configurations_of_the_providers_page_can_be_used() {
    let page = include_str!("../src/manual/providers.md");
    let mut count = 0;
    for block in page.split("```toml\n").skip(1) {
        let text = block.split("```").next().expect("the end of a block");
        let config = Config::parse(text, "host.test").unwrap_or_else(|e| panic!("{text}\n{e:?}"));
        assert!(!config.listen.is_empty() && !config.route.is_empty());
        count += 1;
    }
    assert!(count > 6, "the page was not read");
}

#[test]
fn every_command_is_in_the_manual_and_no_other() {
    let help = pillarbox::cli::help::MAIN;
    let commands = |text: &str, start: &str| -> BTreeSet<String> {
        let words = text.lines().filter_map(|line| line.strip_prefix(start)?.split_whitespace().next());
        words
            .filter(|word| word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'))
            .map(str::to_owned)
            .collect()
    };
    let told = commands(COMMANDS, ".It Ic ");
    let known: BTreeSet<String> =
        commands(help, "  ").into_iter().filter(|word| !word.starts_with('-')).collect();
    assert_eq!(told, known);
}
