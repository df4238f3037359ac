//! The book: how the relay is built, and why so. [The first page](crate) is the map.
//!
//! The chapters are the Markdown files of this folder; here they are part of the documentation that
//! `cargo doc` makes, and read as well without it. Tests hold them to the code: the table of commands in
//! [`protocol`], the tables of [`limits`], and every configuration, link and name of code.
//!
//! | chapter | what it tells |
//! |---|---|
//! | [`architecture`] | one message's way, one turn of the loop, who owns what |
//! | [`protocol`] | every command in every state, and how line ends are judged |
//! | [`spool`] | the files, octet by octet, and why a power cut harms nothing |
//! | [`providers`] | complete configurations for Gmail, Microsoft 365, Fastmail and others |
//! | [`printer`] | symptoms of a device that can't send, by the words that the relay says |
//! | [`mailboxes`] | Dovecot beside the relay, both ways, as complete files |
//! | [`tls`] | certificates, who is believed, what happens when TLS fails |
//! | [`logins`] | users and passwords, where AUTH is offered, logins at next hops |
//! | [`limits`] | every maximum and its reason |
//! | [`testing`] | what is tested where, and how to add a test |
//! | [`decisions`] | what was chosen against what |
//! | [`glossary`] | one meaning a word |

#[doc = include_str!("architecture.md")]
pub mod architecture {}

#[doc = include_str!("protocol.md")]
pub mod protocol {}

#[doc = include_str!("spool.md")]
pub mod spool {}

#[doc = include_str!("mailboxes.md")]
pub mod mailboxes {}

#[doc = include_str!("tls.md")]
pub mod tls {}

#[doc = include_str!("logins.md")]
pub mod logins {}

#[doc = include_str!("limits.md")]
pub mod limits {}

#[doc = include_str!("providers.md")]
pub mod providers {}

#[doc = include_str!("printer.md")]
pub mod printer {}

#[doc = include_str!("testing.md")]
pub mod testing {}

#[doc = include_str!("decisions.md")]
pub mod decisions {}

#[doc = include_str!("glossary.md")]
pub mod glossary {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;
    use std::vec::Vec;
    use std::{fs, println};

    /// The cells of a table's row whose first one is a constant, marks of code taken off.
    fn row(line: &str) -> Option<Vec<&str>> {
        let cells: Vec<&str> = line.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
        let name = *cells.get(1)?;
        let is_constant = name.len() > 2 && name.bytes().all(|b| b.is_ascii_uppercase() || b"_".contains(&b));
        is_constant.then_some(cells)
    }

    /// The constants of a source file: name and value as they are written.
    fn constants(source: &str) -> impl Iterator<Item = (&str, &str)> {
        source.lines().filter_map(|line| {
            let (left, value) = line.trim_start_matches("pub ").strip_prefix("const ")?.split_once(" = ")?;
            Some((left.split_once(':')?.0, value.trim_end_matches(';')))
        })
    }

    #[test]
    fn every_limit_in_the_manual_is_the_one_in_the_code() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut named = BTreeSet::new();
        for cells in include_str!("limits.md").lines().filter_map(row) {
            let (name, value, file) = (cells[1], cells[2], cells[3]);
            println!("{file}: {name} = {value}");
            let source = fs::read_to_string(root.join(file)).unwrap();
            assert!(constants(&source).any(|found| found == (name, value)));
            named.insert((file.to_owned(), name.to_owned()));
        }
        for (name, _) in constants(include_str!("../limits.rs")).filter(|(name, _)| *name != "_") {
            assert!(named.contains(&("limits.rs".into(), name.into())), "{name} is not in the manual");
        }
    }
}
