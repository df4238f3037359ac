//! Keys whose feature is not in this version yet. They are known and checked, but a configuration
//! that relies on one is refused in plain words: nothing that was asked for is silently left out.
//!
//! The table shrinks as features come; when it is empty this file goes.

use toml_span::Value;
use toml_span::value::ValueInner;

use super::section::Notes;

/// A key that can't be used yet.
struct Unbuilt {
    /// Section, "" for the top.
    section: &'static str,
    key: &'static str,
    /// What can be written all the same, because it asks for nothing. Empty text, an empty list, `false` and
    /// `0` always can.
    harmless: &'static [&'static str],
    /// What it belongs to.
    feature: &'static str,
}

const fn key(
    section: &'static str,
    key: &'static str,
    harmless: &'static [&'static str],
    feature: &'static str,
) -> Unbuilt {
    Unbuilt { section, key, harmless, feature }
}

const TABLE: &[Unbuilt] = &[
    key("tls", "ca_file", &[], "TLS"),
    key("route", "tls", &["none", "opportunistic"], "TLS"),
    key("route", "tls_start", &["auto"], "TLS"),
    key("route", "ca_file", &[], "TLS"),
    key("route", "certificate_sha256", &[], "TLS"),
];

/// Notes every key that asks for what is not there yet.
pub(super) fn refuse(root: &Value<'_>, notes: &mut Notes) {
    for unbuilt in TABLE {
        for table in tables(root, unbuilt.section) {
            if let Some(value) = table.as_table().and_then(|table| table.get(unbuilt.key))
                && !is_harmless(value, unbuilt.harmless)
                && !notes.has(value.span.start)
            {
                let instead = match unbuilt.harmless {
                    [] => "leave this key out".to_owned(),
                    words => format!(
                        "write {}",
                        words.iter().map(|w| format!("{w:?}")).collect::<Vec<_>>().join(" or ")
                    ),
                };
                notes.add(
                    value.span.start,
                    format!("{} is not in this version yet: {instead}", unbuilt.feature),
                );
            }
        }
    }
    for route in tables(root, "route") {
        let text = |key| route.as_table()?.get(key)?.as_str();
        // The default is the promise to verify; without TLS it must not be broken in silence.
        if text("via") == Some("smarthost")
            && route.as_table().is_some_and(|table| !table.contains_key("tls"))
        {
            notes.add(
                route.span.start,
                "tls = \"verify\" is the default of a smarthost, and TLS is not in this version yet: write tls = \"none\" to send in clear",
            );
        }
    }
}

/// The section, or all sections, of a name.
fn tables<'a>(root: &'a Value<'a>, section: &str) -> Vec<&'a Value<'a>> {
    match root.as_table().and_then(|table| table.get(section)) {
        None => Vec::new(),
        Some(value) => match value.as_array() {
            Some(all) => all.iter().collect(),
            None => vec![value],
        },
    }
}

fn is_harmless(value: &Value<'_>, harmless: &[&str]) -> bool {
    match value.as_ref() {
        ValueInner::String(text) => text.is_empty() || harmless.contains(&&**text),
        ValueInner::Integer(number) => *number == 0 || harmless.contains(&number.to_string().as_str()),
        ValueInner::Boolean(is_on) => !is_on,
        ValueInner::Array(all) => all.is_empty(),
        ValueInner::Float(_) | ValueInner::Table(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_refuses_and_names_its_place() {
        for row in TABLE {
            let head = match row.section {
                "listen" | "route" | "client" => format!("[[{}]]", row.section),
                section => format!("[{section}]"),
            };
            let text = format!("{head}\n{} = \"anything else\"\n", row.key);
            let root = toml_span::parse(&text).unwrap();
            let mut notes = Notes::default();
            refuse(&root, &mut notes);
            let mistakes = notes.finish(&text);
            assert!(
                mistakes.iter().any(|m| m.line == 2 && m.text.contains("not in this version yet")),
                "{text}"
            );
            for word in row.harmless.iter().chain(&[""]) {
                let text = format!("{head}\n{} = {word:?}\n", row.key);
                let root = toml_span::parse(&text).unwrap();
                let mut notes = Notes::default();
                refuse(&root, &mut notes);
                assert!(notes.finish(&text).iter().all(|m| m.line != 2), "{text}");
            }
        }
    }
}
