//! The pages say what the program does: every key with its default, every command, configurations that
//! can be used, names that are in the code, links that lead somewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

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

/// Every page in Markdown, by its path.
fn pages() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let in_folder = |folder: &str| {
        let entries = fs::read_dir(root.join(folder)).expect("a folder");
        entries.map(|entry| entry.expect("an entry").path()).collect::<Vec<_>>()
    };
    let files = ["", "boards", "src/manual"].into_iter().flat_map(in_folder);
    let files = files.filter(|path| path.extension().is_some_and(|ending| ending == "md"));
    files.map(|path| (path.clone(), fs::read_to_string(&path).expect("a page"))).collect()
}

fn page(name: &str) -> String {
    let wanted = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    let found = pages().into_iter().find(|(path, _)| *path == wanted);
    found.unwrap_or_else(|| panic!("no page {name}")).1
}

/// The blocks of TOML on a page.
fn blocks(page: &str) -> impl Iterator<Item = &str> {
    page.split("```toml\n").skip(1).map(|block| block.split("```").next().expect("the end of a block"))
}

#[track_caller]
fn parse(text: &str) -> Config {
    Config::parse(text, "host.test").unwrap_or_else(|e| panic!("{text}\n{e:?}"))
}

#[test]
fn every_configuration_on_every_page_can_be_used() {
    let mut count = 0;
    for (path, text) in pages() {
        let is_whole = path.ends_with("providers.md");
        for block in blocks(&text) {
            let config = parse(block);
            assert!(!is_whole || !config.listen.is_empty() && !config.route.is_empty(), "{block}");
            count += 1;
        }
    }
    assert!(count > 12, "the pages were not read: {count}");
    let example = CONFIGURATION.split(".Bd -literal -offset indent\n").nth(1).expect("an example");
    let example = example.split(".Ed").next().expect("its end").replace("\\(dq", "\"");
    assert_eq!((parse(&example).listen.len(), parse(&example).route.len()), (1, 1), "{example}");
}

/// A person puts the pieces of the README together, above and below each other as it says.
#[test]
fn the_pieces_of_the_readme_fit_together() {
    let text = page("README.md");
    let [whole, mailboxes, client] = blocks(&text).collect::<Vec<_>>()[..] else { panic!("other blocks") };
    let (before, after) = whole.split_once("[[route]]").expect("a route");
    parse(&format!("local_domains = [\"home.arpa\"]\n{before}{mailboxes}[[route]]{after}{client}"));
}

/// What the configurations of boards have as comments can be made to count.
#[test]
fn what_boards_have_as_comments_can_be_used() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("boards");
    let mut count = 0;
    for entry in fs::read_dir(folder).expect("the boards") {
        let Ok(text) = fs::read_to_string(entry.expect("a board").path().join("pillarbox.toml")) else {
            continue;
        };
        let counts = |line: &str| line.starts_with('[') || line.split(' ').nth(1) == Some("=");
        let lines = text.lines().map(|line| match line.strip_prefix("# ") {
            Some(rest) if counts(rest) => {
                count += 1;
                rest
            }
            _ => line,
        });
        parse(&lines.collect::<Vec<_>>().join("\n"));
    }
    assert!(count > 20, "the configurations were not read: {count}");
}

/// What a text sets as code.
fn code_of(text: &str) -> impl Iterator<Item = &str> {
    text.lines().flat_map(|line| line.split('`').skip(1).step_by(2))
}

#[test]
fn links_lead_somewhere() {
    let anchor = |heading: &str| -> String {
        let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.collect::<String>().to_lowercase().replace(' ', "-")
    };
    let mut count = 0;
    for (path, text) in pages() {
        let links = text.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0));
        let links = links.filter(|link| !link.contains("::") && !link.contains("//"));
        for link in links.filter(|link| *link != "crate") {
            let (file, place) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { path.clone() } else { path.with_file_name(file) };
            let shown = format!("{} leads to {link}", path.display());
            assert!(target.exists(), "{shown}");
            if !place.is_empty() {
                let there = fs::read_to_string(&target).expect("a page");
                let mut headings = there.lines().filter(|line| line.starts_with('#'));
                assert!(headings.any(|line| anchor(line.trim_start_matches('#')) == place), "{shown}");
            }
            count += 1;
        }
    }
    assert!(count > 15, "the pages were not read: {count}");
}

/// All sources of the program by their paths below `src`, without the ending.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut waiting = vec![root.clone()];
    let mut found = Vec::new();
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting
                .extend(fs::read_dir(&path).expect("a folder").map(|entry| entry.expect("an entry").path()));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let name = path.strip_prefix(&root).expect("below src").with_extension("");
            let name = name.to_str().expect("UTF-8").trim_end_matches("/mod").to_owned();
            found.push((name, fs::read_to_string(&path).expect("a source")));
        }
    }
    found
}

/// Modules, types and functions that the pages name as `a::b` are there.
#[test]
fn what_the_pages_name_of_the_code_is_there() {
    let sources = sources();
    let is_module =
        |name: &str| sources.iter().any(|(path, _)| path == name || path.ends_with(&format!("/{name}")));
    let is_item = |module: Option<&str>, item: &str| {
        let kinds = ["fn ", "struct ", "enum ", "trait ", "const ", "mod "];
        let mut texts = sources.iter().filter(|(path, _)| {
            module
                .is_none_or(|module| path.split('/').any(|part| module.split('/').next_back() == Some(part)))
        });
        texts.any(|(_, text)| {
            let is_name = |at: usize| !text[at..].starts_with(|c: char| c.is_alphanumeric() || c == '_');
            let mut places = kinds.iter().map(|kind| format!("{kind}{item}"));
            places.any(|place| text.match_indices(&place).any(|(at, _)| is_name(at + place.len())))
        })
    };
    let mut count = 0;
    for (path, text) in pages() {
        let words = code_of(&text).filter(|word| {
            word.contains("::") && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"_:".contains(&b))
        });
        for name in words {
            let modules: Vec<&str> = name.split("::").collect();
            let (item, before) = modules.split_last().expect("a name");
            let owner = before.join("/");
            let is_there = is_module(&modules.join("/"))
                || is_module(&owner) && is_item(Some(&owner), item)
                || owner.starts_with(char::is_uppercase) && is_item(None, &owner) && is_item(None, item);
            assert!(is_there, "{}: {name} is not in the code", path.display());
            count += 1;
        }
    }
    assert!(count > 50, "the pages were not read: {count}");
}

/// Who looks for a symptom finds it by the words that the relay says.
#[test]
fn the_printers_page_quotes_what_the_relay_says() {
    let sources: Vec<String> = sources().into_iter().map(|(_, text)| text).collect();
    let mut count = 0;
    for row in page("src/manual/printer.md").lines().filter(|line| line.starts_with("| ")) {
        let symptom = row.split(" | ").next().expect("a cell");
        for quoted in code_of(symptom) {
            let words = quoted.trim_start_matches(|c: char| c.is_ascii_digit() || ". ".contains(c));
            assert!(sources.iter().any(|text| text.contains(words)), "nobody says {words:?}");
            count += usize::from(!words.is_empty());
        }
    }
    assert!(count > 15, "the page was not read: {count}");
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

#[test]
fn the_lists_of_the_pages_are_complete() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let testing = page("src/manual/testing.md");
    for entry in fs::read_dir(root.join("tests")).expect("the tests") {
        let name = entry.expect("an entry").file_name().into_string().expect("UTF-8");
        assert!(!name.ends_with(".rs") || testing.contains(&format!("`tests/{name}`")), "testing.md: {name}");
    }
    let book = include_str!("../src/manual/mod.rs");
    let readme = page("README.md");
    for (path, _) in pages().iter().filter(|(path, _)| path.parent().is_some_and(|p| p.ends_with("manual"))) {
        let name = path.file_stem().and_then(|name| name.to_str()).expect("a name");
        assert!(book.contains(&format!("//! | [`{name}`]")), "the first page of the book: {name}");
        assert!(readme.contains(&format!("(src/manual/{name}.md)")), "README.md: {name}");
    }
}

/// The releases that the decisions tell are those in the lock file.
#[test]
fn every_dependency_is_a_decision() {
    let lock = include_str!("../Cargo.lock");
    let dependencies = include_str!("../Cargo.toml").split("dependencies]\n").skip(1);
    let names = dependencies.flat_map(|section| {
        section.lines().take_while(|line| !line.starts_with('[')).filter_map(|line| line.split_once(" = "))
    });
    let decisions = page("src/manual/decisions.md");
    let mut count = 0;
    for (name, _) in names.filter(|(name, _)| !name.starts_with(['#', ' '])) {
        let start = format!("| `{name}`");
        let row = decisions.lines().find(|line| line.starts_with(&start));
        let release = row.and_then(|row| row.rsplit(" | ").next()?.split(',').next()).unwrap_or("missing");
        let locked = format!("name = \"{name}\"\nversion = \"{release}\"");
        assert!(lock.contains(&locked), "{name}: decisions.md says {release}");
        count += 1;
    }
    assert!(count > 15, "Cargo.toml was not read: {count}");
}

/// Read in a terminal as they are; tables and what is shown as code may be wider.
#[test]
fn the_lines_of_the_pages_fit_a_terminal() {
    for (path, text) in pages() {
        let prose = text.split("```").step_by(2).flat_map(str::lines);
        for line in prose.filter(|line| !line.starts_with('|')) {
            assert!(line.chars().count() <= 120, "{}: {line}", path.display());
        }
    }
}
