//! Where in the file a value stands that is wrong only on this machine: a file that is not there, a user
//! that does not exist. Such mistakes begin with the name of their key (`tls.key_file: ...`).

use std::path::Path;

use toml_span::Value;

use super::mistake::Mistake;
use super::read_text;

/// The mistake with file, line and column in front: those of the value, of its section where the default
/// holds, or the start of the file. Whatever begins otherwise has its own place and stays as it is.
pub fn located(file: Option<&Path>, mistake: &str) -> String {
    let Some(file) = file.filter(|_| key_of(mistake).is_some()) else { return mistake.to_owned() };
    let shown = file.display();
    let (line, column) = match read_text(file).ok().and_then(|octets| place(&octets, mistake)) {
        Some(Mistake { line, column, .. }) => (line, column),
        None => (1, 1),
    };
    format!("{shown}:{line}:{column}: {mistake}")
}

/// Section and key that a mistake begins with.
fn key_of(mistake: &str) -> Option<(&str, &str)> {
    let (name, _) = mistake.split_once(": ")?;
    let is_word = |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let numbered = |key: &str| is_word(key) || key.strip_suffix("_sha256").is_some_and(is_word);
    name.split_once('.').filter(|(section, key)| is_word(section) && numbered(key))
}

/// Where the value stands that the mistake is about.
fn place(octets: &[u8], mistake: &str) -> Option<Mistake> {
    let root = toml_span::parse(std::str::from_utf8(octets).ok()?).ok()?;
    let (section, key) = key_of(mistake)?;
    let section = root.as_table()?.get(section)?;
    // Of sections that stand several times it is the one whose value the mistake repeats.
    let value = match section.as_array() {
        None => section.as_table()?.get(key).unwrap_or(section),
        Some(all) => {
            let mut values = all.iter().filter_map(|one| one.as_table()?.get(key));
            values.find(|value| is_repeated(value, mistake))?
        }
    };
    Some(Mistake::at(octets, value.span.start, ""))
}

fn is_repeated(value: &Value<'_>, mistake: &str) -> bool {
    value.as_str().is_some_and(|text| {
        mistake.match_indices(text).any(|(at, _)| {
            let end = mistake[at + text.len()..].chars().next();
            end.is_none_or(|after| matches!(after, ' ' | '"' | ':'))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_is_placed_where_its_value_stands() {
        let folder = std::env::temp_dir().join(format!("pillarbox-place-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("x.toml");
        let routes = "[[route]]\npassword_file = \"/none1\"\n[[route]]\npassword_file = \"/none\"\n";
        std::fs::write(&file, format!("[tls]\n  key_file = \"/k\"\n{routes}[run]\nuser = \"x\"\n")).unwrap();
        let shown = file.display().to_string();
        for (mistake, place) in [
            ("tls.key_file: /k can't be read", ":2:15: "),
            ("route.password_file: /none can't be read", ":6:18: "),
            ("route.password_file: /none1 can't be read", ":4:18: "),
            ("route.password_file: /other can't be read", ":1:1: "),
            ("tls.ca_file: /ca can't be read", ":1:1: "),
            ("run.sandbox: no", ":7:1: "),
            ("log.file: /log can't be written", ":1:1: "),
        ] {
            assert!(located(Some(&file), mistake).starts_with(&format!("{shown}{place}")), "{mistake}");
            assert_eq!(located(None, mistake), mistake, "the default has no file");
        }
        for whole in ["/etc/aliases:1:2: no colon", "no key", "route 1: x", "a.b.c: x", ".: x"] {
            assert_eq!(located(Some(&file), whole), whole);
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
