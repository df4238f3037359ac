//! The rules of the house, read from the sources: a rule that no test holds is soon forgotten.
//!
//! Text is judged after [`code_of`] has blanked comments and literals and [`without_tests`] the test
//! modules, so that a word in a sentence is not taken for code.

use std::path::{Path, PathBuf};
use std::{fs, iter};

const FILE_LINES: usize = 700;
const FUNCTION_LINES: usize = 70;

/// The modules from the top down: each may use those after it. `SIDE` may be used by all of these
/// but the protocol core, which needs no operating system.
const LAYERS: [&str; 8] = ["main", "cli", "net", "relay", "spool", "mail", "smtp", "limits"];
const SIDE: [&str; 4] = ["config", "dns", "helper", "sys"];
const CORE: [&str; 3] = ["mail", "smtp", "limits"];
/// Files of a module at the side that belong to the core all the same.
const CODECS: [&str; 2] = ["src/dns/message.rs", "src/dns/name.rs"];

/// Packages that may not even stand in the lock file: async runtimes, and a C library.
const REFUSED: [&str; 5] = ["tokio", "async-std", "smol", "futures", "aws-lc"];

struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    /// The first folder or file below `src`, without its ending.
    fn module(&self) -> &str {
        let first = self.path.strip_prefix("src").ok().and_then(|path| path.components().next());
        first.map_or("", |part| part.as_os_str().to_str().unwrap_or("").trim_end_matches(".rs"))
    }

    fn in_tree(&self, folder: &str) -> bool {
        self.path.starts_with(folder)
    }
}

/// All files with one of these endings below these folders.
fn sources(folders: &[&str], endings: &[&str]) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut waiting: Vec<PathBuf> = folders.iter().map(|folder| root.join(folder)).collect();
    let mut found = Vec::new();
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name == "target") {
                continue;
            }
            waiting
                .extend(fs::read_dir(&path).expect("a folder").map(|entry| entry.expect("an entry").path()));
        } else if path.extension().is_some_and(|ending| endings.iter().any(|wanted| ending == *wanted)) {
            let text = fs::read_to_string(&path).expect("a source file is UTF-8");
            found.push(Source { path: path.strip_prefix(root).expect("below the root").to_owned(), text });
        }
    }
    assert!(!found.is_empty(), "no sources in {folders:?}");
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn rust() -> Vec<Source> {
    sources(&["src", "tests", "bench"], &["rs"])
}

/// Fails with all complaints at once.
#[track_caller]
fn report(complaints: impl IntoIterator<Item = String>) {
    let complaints: Vec<String> = complaints.into_iter().collect();
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

/// The text with comments, strings and characters blanked; lines stay where they are.
fn code_of(text: &str) -> String {
    let octets = text.as_bytes();
    let mut code = octets.to_vec();
    let mut at = 0;
    while at < octets.len() {
        let end = at + literal_octets(&octets[at..], at.checked_sub(1).map(|before| octets[before]));
        for blank in &mut code[at..end] {
            if *blank != b'\n' {
                *blank = b' ';
            }
        }
        at = end.max(at + 1);
    }
    String::from_utf8_lossy(&code).into_owned()
}

/// How many octets a comment or literal that starts here takes; 0 if none does.
fn literal_octets(rest: &[u8], before: Option<u8>) -> usize {
    let in_word = before.is_some_and(|octet| octet.is_ascii_alphanumeric() || octet == b'_');
    let until = |end: &[u8], from: usize| {
        rest.get(from..)
            .and_then(|rest| rest.windows(end.len()).position(|window| window == end))
            .map_or(rest.len(), |found| from + found + end.len())
    };
    match rest {
        [b'/', b'/', ..] => until(b"\n", 2) - 1,
        [b'/', b'*', ..] => until(b"*/", 2),
        [b'"', ..] => quoted_octets(rest),
        [b'r', b'"' | b'#', ..] if !in_word => {
            let marks = rest[1..].iter().take_while(|octet| **octet == b'#').count();
            if rest.get(1 + marks) != Some(&b'"') {
                return 0;
            }
            let end: Vec<u8> = iter::once(b'"').chain(iter::repeat_n(b'#', marks)).collect();
            until(&end, 2 + marks)
        }
        [b'\'', b'\\', ..] => until(b"'", 3),
        // A character of up to four octets; a lifetime has no second quote there.
        [b'\'', ..] => (2..=5).find(|end| rest.get(*end) == Some(&b'\'')).map_or(0, |end| {
            let one = std::str::from_utf8(&rest[1..end]).is_ok_and(|text| text.chars().count() == 1);
            if one { end + 1 } else { 0 }
        }),
        _ => 0,
    }
}

fn quoted_octets(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != b'"' {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

/// Where the block that opens at or after `from` ends; none if a `;` comes first.
fn block_end(code: &str, from: usize) -> Option<usize> {
    let mut depth = 0_usize;
    let mut brackets = 0_usize;
    for (at, octet) in code.bytes().enumerate().skip(from) {
        match octet {
            b'(' | b'[' => brackets += 1,
            b')' | b']' => brackets = brackets.saturating_sub(1),
            b'{' => depth += 1,
            b'}' if depth == 1 => return Some(at + 1),
            b'}' => depth = depth.saturating_sub(1),
            b';' if depth == 0 && brackets == 0 => return None,
            _ => {}
        }
    }
    None
}

/// Code without what is compiled for tests only.
fn without_tests(code: &str) -> String {
    let mut rest = code.to_owned();
    while let Some(start) = rest.find("#[cfg(test)]") {
        let end = block_end(&rest, start + 12)
            .unwrap_or_else(|| rest[start..].find(';').map_or(rest.len(), |found| start + found + 1));
        let blank: String = rest[start..end].chars().filter(|character| *character == '\n').collect();
        rest.replace_range(start..end, &blank);
    }
    rest
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

/// Where a word stands alone.
fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let part =
        |octet: Option<&u8>| octet.is_some_and(|octet| octet.is_ascii_alphanumeric() || *octet == b'_');
    code.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let octets = code.as_bytes();
        !part(at.checked_sub(1).and_then(|before| octets.get(before))) && !part(octets.get(at + word.len()))
    })
}

/// The names that follow `crate::` (or `pillarbox::`), also those in braces.
fn imports(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for root in ["crate", "pillarbox"] {
        for at in words(code, root) {
            let Some(rest) = code[at + root.len()..].strip_prefix("::") else { continue };
            let name = |text: &str| -> String {
                text.trim().chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
            };
            if let Some(group) = rest.strip_prefix('{') {
                let mut depth = 0;
                let parts = group.split(|character| match character {
                    '{' => {
                        depth += 1;
                        false
                    }
                    '}' => {
                        depth -= 1;
                        depth < 0
                    }
                    character => character == ',' && depth == 0,
                });
                let parts: Vec<&str> = parts.collect();
                let end = group.find(';').unwrap_or(group.len());
                let inside = parts.iter().filter(|part| {
                    let offset = part.as_ptr() as usize - group.as_ptr() as usize;
                    offset < end
                });
                found.extend(inside.map(|part| (line_of(code, at), name(part))));
            } else {
                found.push((line_of(code, at), name(rest)));
            }
        }
    }
    found
}

fn may_use(module: &str, used: &str) -> bool {
    let layer = |name: &str| LAYERS.iter().position(|layer| *layer == name);
    match (layer(module), layer(used)) {
        (Some(from), Some(to)) => from <= to,
        (Some(_), None) => !SIDE.contains(&used) || !CORE.contains(&module),
        // At the side: the wire's words and the limits, and each other; never the layers above.
        (None, Some(_)) => matches!(used, "smtp" | "limits"),
        (None, None) => true,
    }
}

#[test]
fn imports_go_one_way() {
    report(rust().iter().filter(|source| source.in_tree("src") && source.module() != "lib").flat_map(
        |source| {
            let code = without_tests(&code_of(&source.text));
            let wrong = imports(&code).into_iter().filter(|(_, used)| !may_use(source.module(), used));
            wrong
                .map(|(line, used)| {
                    format!("{}:{line}: {} uses {used}", source.path.display(), source.module())
                })
                .collect::<Vec<_>>()
        },
    ));
}

#[test]
fn the_core_needs_no_operating_system() {
    let core = |source: &&Source| {
        (CORE.contains(&source.module()) || CODECS.iter().any(|codec| source.in_tree(codec)))
            && !source.path.ends_with("tests.rs")
    };
    report(rust().iter().filter(core).flat_map(|source| {
        let code = without_tests(&code_of(&source.text));
        let found: Vec<_> = ["std", "alloc"]
            .iter()
            .flat_map(|name| words(&code, name).filter(|at| code[at + name.len()..].starts_with("::")))
            .map(|at| format!("{}:{}: std or alloc in the core", source.path.display(), line_of(&code, at)))
            .collect();
        found
    }));
}

#[test]
fn files_fit_in_a_sitting() {
    let all = sources(&["src", "tests", "bench", "boards"], &["rs", "md", "sh", "py", "c", "toml"]);
    report(all.iter().filter_map(|source| {
        let lines = source.text.lines().count();
        (lines > FILE_LINES).then(|| format!("{}: {lines} lines", source.path.display()))
    }));
}

#[test]
fn functions_fit_on_a_page() {
    report(rust().iter().flat_map(|source| {
        let code = code_of(&source.text);
        // `fn(…)` is a type.
        let long: Vec<_> = words(&code, "fn")
            .filter(|at| !code[at + 2..].starts_with('('))
            .filter_map(|at| {
                let lines = line_of(&code, block_end(&code, at)?) - line_of(&code, at) + 1;
                let place = format!("{}:{}", source.path.display(), line_of(&code, at));
                (lines > FUNCTION_LINES).then(|| format!("{place}: a function of {lines} lines"))
            })
            .collect();
        long
    }));
}

#[test]
fn unsafe_only_in_sys() {
    report(rust().iter().filter(|source| source.in_tree("src") && source.module() != "sys").flat_map(
        |source| {
            let code = code_of(&source.text);
            let found: Vec<_> = words(&code, "unsafe")
                .map(|at| format!("{}:{}: unsafe", source.path.display(), line_of(&code, at)))
                .collect();
            found
        },
    ));
}

#[test]
fn nothing_is_left_for_later() {
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:")];
    let macros = [concat!("to", "do!"), concat!("unimple", "mented!"), concat!("db", "g!")];
    report(rust().iter().flat_map(|source| {
        let code = code_of(&source.text);
        let said = marks.iter().flat_map(|mark| source.text.match_indices(mark));
        let coded = macros.iter().flat_map(|name| code.match_indices(name));
        let found: Vec<_> = said
            .chain(coded)
            .map(|(at, mark)| format!("{}:{}: {mark}", source.path.display(), line_of(&source.text, at)))
            .collect();
        found
    }));
}

#[test]
fn every_file_says_what_it_is() {
    report(
        rust()
            .iter()
            .filter(|source| !source.text.trim_start().starts_with("//!"))
            .map(|source| format!("{}: no head comment", source.path.display())),
    );
}

#[test]
fn indented_by_spaces_and_no_blanks_at_line_ends() {
    let all = sources(&["src", "tests", "bench", "boards"], &["rs", "md", "toml", "sh", "py", "c"]);
    report(all.iter().flat_map(|source| {
        let bad = source.text.lines().enumerate();
        let bad = bad.filter(|(_, line)| line.starts_with('\t') || line.ends_with([' ', '\t']));
        bad.map(|(number, _)| format!("{}:{}: a tab or a blank", source.path.display(), number + 1))
            .collect::<Vec<_>>()
    }));
}

#[test]
fn types_have_names_that_say_something() {
    let empty = ["Manager", "Handler", "Util", "Utils", "Context"];
    report(rust().iter().filter(|source| source.in_tree("src")).flat_map(|source| {
        let code = code_of(&source.text);
        let names = ["struct", "enum", "trait"].iter().flat_map(|kind| {
            words(&code, kind).map(|at| {
                let rest = code[at + kind.len()..].trim_start();
                rest.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or("").to_owned()
            })
        });
        names
            .filter(|name| empty.iter().any(|word| name.ends_with(word)))
            .map(|name| format!("{}: {name}", source.path.display()))
            .collect::<Vec<_>>()
    }));
}

#[test]
fn no_async_runtime_in_the_lock_file() {
    let lock =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock")).expect("Cargo.lock");
    let names =
        lock.lines().filter_map(|line| line.strip_prefix("name = ")).map(|name| name.trim_matches('"'));
    report(names.filter(|name| REFUSED.iter().any(|refused| name.starts_with(refused))).map(str::to_owned));
}

/// The judge itself is judged: each rule must see what it is there for.
#[test]
fn the_rules_see_what_they_should() {
    let code = code_of("a(\"fn x {\", 'x', '\\'', r#\"}\"#); // unsafe\n/* std:: */ fn y<'a>() {}\n");
    assert_eq!(words(&code, "fn").count(), 1, "{code}");
    assert!(!code.contains("unsafe") && !code.contains("std") && code.contains("<'a>"), "{code}");
    let code = "use crate::{net::slot, config::{A, B}, sys};\nlet x = crate::relay::queue::X;";
    let names: Vec<String> = imports(code).into_iter().map(|(_, name)| name).collect();
    assert_eq!(names, ["net", "config", "sys", "relay"]);
    assert!(may_use("net", "relay") && may_use("spool", "sys") && may_use("main", "cli"));
    assert!(!may_use("smtp", "net") && !may_use("relay", "net") && !may_use("mail", "sys"));
    assert!(!may_use("config", "relay") && may_use("config", "limits"));
    let kept = without_tests("fn a() {}\n#[cfg(test)]\nmod tests {\n use std::x;\n}\nfn b() {}");
    assert!(kept.contains("fn b") && !kept.contains("std") && kept.lines().count() == 6, "{kept}");
    assert_eq!(block_end("fn a(x: [u8; 3]) { { } } fn", 0), Some(24));
    assert_eq!(block_end("fn a(x: [u8; 3]);", 0), None);
}
