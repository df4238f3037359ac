//! Reads an aliases file, as aliases(5) has it: `NAME: target, target`, continued on lines that
//! start with a blank; `#` starts a comment, at the start of a line or behind a blank.

use std::ops::Range;

use super::Table;
use crate::config::{Config, Mistake};
use crate::limits::ALIAS_ENTRIES;
use crate::relay::route;
use crate::smtp::address::{Address, Fault, Path};

/// Mistakes that are told at once.
const MISTAKES: usize = 20;

/// A name, target or sign of the file, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Token {
    kind: Kind,
    at: Range<usize>,
}

/// The mark that some editors put in front of UTF-8.
const MARK: char = '\u{feff}';

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A name or target as it is written.
    Word,
    Colon,
    Comma,
    /// The end of an alias: the next line starts another one, or there is none.
    End,
}

/// Splits the text into tokens.
struct Lexer<'a> {
    text: &'a str,
    at: usize,
    /// In front of the colon.
    in_name: bool,
}

impl Lexer<'_> {
    /// The next token that is no comment.
    fn next(&mut self) -> Token {
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            let Some(first) = rest.chars().next() else { return self.token(Kind::End, 0) };
            match first {
                '\n' => {
                    let end = self.at;
                    if !self.go_on() {
                        self.in_name = true;
                        return Token { kind: Kind::End, at: end..end };
                    }
                }
                ' ' | '\t' | '\r' => self.at += 1,
                '#' if self.is_behind_blank() => self.at += rest.find('\n').unwrap_or(rest.len()),
                ',' => return self.token(Kind::Comma, 1),
                ':' if self.in_name => {
                    self.in_name = false;
                    return self.token(Kind::Colon, 1);
                }
                _ => return self.token(Kind::Word, word_octets(rest, self.in_name)),
            }
        }
    }

    fn token(&mut self, kind: Kind, octets: usize) -> Token {
        let at = self.at..self.at + octets;
        self.at = at.end;
        Token { kind, at }
    }

    /// Goes to the next line that says something; true if it goes on with the alias. Empty lines and
    /// comments between do not end it.
    fn go_on(&mut self) -> bool {
        self.at += 1;
        for line in self.text.get(self.at..).unwrap_or_default().split_inclusive('\n') {
            let bare = line.trim_start();
            if !bare.is_empty() && !bare.starts_with('#') {
                return bare.len() < line.len();
            }
            self.at += line.len();
        }
        false
    }

    fn is_behind_blank(&self) -> bool {
        self.text[..self.at].chars().next_back().is_none_or(|c| c.is_whitespace() || c == MARK)
    }
}

/// Octets of the word at the front: up to a blank, a comma or, in a name, a colon that stands outside
/// of quotes.
fn word_octets(text: &str, in_name: bool) -> usize {
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in text.char_indices() {
        match c {
            '\n' => return at,
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            ',' | ' ' | '\t' | '\r' if !quoted => return at,
            ':' if in_name && !quoted => return at,
            _ => {}
        }
    }
    text.len()
}

/// What has been read, and what was wrong.
struct Reader<'a> {
    text: &'a str,
    config: &'a Config,
    table: Table,
    mistakes: Vec<Mistake>,
}

impl Table {
    /// Reads a file's text; every mistake in it, in order, as far as a person may want to read on.
    pub fn parse(text: &str, config: &Config) -> Result<Self, Vec<Mistake>> {
        let mut reader =
            Reader { text, config, table: Self::with_room_for(text.len()), mistakes: Vec::new() };
        let start = if text.starts_with(MARK) { MARK.len_utf8() } else { 0 };
        let mut lexer = Lexer { text, at: start, in_name: true };
        while lexer.at < text.len() && reader.mistakes.len() < MISTAKES {
            reader.alias(&mut lexer);
        }
        if reader.mistakes.is_empty() { Ok(reader.table) } else { Err(reader.mistakes) }
    }
}

impl Reader<'_> {
    /// Reads one alias, up to its end.
    fn alias(&mut self, lexer: &mut Lexer<'_>) {
        let name = lexer.next();
        match name.kind {
            Kind::End => return,
            Kind::Word if self.text[..name.at.start].ends_with([' ', '\t']) => {
                self.note(&name, "a blank starts the line, and there is no alias that it goes on with");
                return skip(lexer);
            }
            Kind::Word => {}
            Kind::Colon | Kind::Comma => {
                self.note(&name, "a name is missing: write \"name: target, target\"");
                return skip(lexer);
            }
        }
        let colon = lexer.next();
        if colon.kind != Kind::Colon {
            self.note(&colon, "a colon is missing behind the name: write \"name: target, target\"");
            if colon.kind != Kind::End {
                skip(lexer);
            }
            return;
        }
        let place = self.name(&name);
        let mut has_target = false;
        // A comma stands between two targets; more of them do no harm.
        let mut is_separate = true;
        loop {
            let token = lexer.next();
            match token.kind {
                Kind::End if !has_target => {
                    return self.note(&name, "it stands for nobody: write a target behind the colon");
                }
                Kind::End => return,
                Kind::Comma => is_separate = true,
                Kind::Colon | Kind::Word => {
                    if !is_separate {
                        self.note(&token, "a comma is missing between two targets");
                    }
                    (has_target, is_separate) = (true, false);
                    self.target(&token, place);
                }
            }
        }
    }

    /// Adds the name in front of a colon: its place; `None` if it can't be kept.
    fn name(&mut self, token: &Token) -> Option<usize> {
        let word = &self.text[token.at.clone()];
        if self.table.len() >= ALIAS_ENTRIES {
            return self.refuse(
                token,
                format!("more than {ALIAS_ENTRIES} aliases: the ones from here on have no room"),
            );
        }
        if word.starts_with('@') {
            return self.refuse(token, format!("write \"*{word}\" for every name of a domain"));
        }
        // A name's domain stands behind the last @ outside of quotes.
        let (local, domain) = match word.rsplit_once('@') {
            Some((local, domain)) if !word.ends_with('"') => (local, domain),
            _ => (word, ""),
        };
        if !domain.is_empty() && !route::is_local(self.config, domain) {
            return self
                .refuse(token, format!("{domain:?} is no local domain: nobody would ever ask for this"));
        }
        let Ok(path) = Path::parse(&format!("{local}@x")) else {
            return self.refuse(
                token,
                "this is no name: write a local-part, in quotes if it has blanks or signs in it",
            );
        };
        let local = path.address().map(|address| address.unquoted()).unwrap_or_default();
        let place = self.table.add(&local, domain);
        if place.is_none() {
            self.note(token, "this alias stands twice: write all its targets behind one");
        }
        place
    }

    fn target(&mut self, token: &Token, place: Option<usize>) {
        match (target(&self.text[token.at.clone()]), place) {
            (Ok(target), Some(place)) => self.table.add_target(place, &target),
            (Ok(_), None) => {}
            (Err(why), _) => self.note(token, why),
        }
    }

    fn note(&mut self, token: &Token, what: impl Into<String>) {
        if self.mistakes.len() < MISTAKES {
            self.mistakes.push(Mistake::at(self.text.as_bytes(), token.at.start, what));
        }
    }

    fn refuse<T>(&mut self, token: &Token, what: impl Into<String>) -> Option<T> {
        self.note(token, what);
        None
    }
}

fn skip(lexer: &mut Lexer<'_>) {
    while lexer.next().kind != Kind::End {}
}

/// A target as the table has it: `local@domain`, `local@`, with a backslash in front if it had one.
fn target(word: &str) -> Result<String, String> {
    let inner = word.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(word);
    if inner.starts_with('|') {
        return Err("mail is not given to programs: name a recipient".to_owned());
    }
    if inner.starts_with('/') {
        return Err(
            "mail is not written to files: name a recipient, or write a route with via = \"discard\""
                .to_owned(),
        );
    }
    if inner.get(..9).is_some_and(|start| start.eq_ignore_ascii_case(":include:")) {
        return Err("files are not included: write the targets here".to_owned());
    }
    let (mark, bare) = match word.strip_prefix('\\') {
        Some(bare) => ("\\", bare),
        None => ("", word),
    };
    if let Ok(path) = Path::parse(&format!("{bare}@x")) {
        // Not an address: at the end of a quoted name an @ is part of it.
        let local = path.as_str().strip_suffix('x').unwrap_or_default();
        return Ok(format!("{mark}{local}"));
    }
    match Path::parse(bare) {
        Ok(path) if !path.as_str().is_ascii() => {
            Err("an address outside of ASCII takes only some messages: name one that takes all".to_owned())
        }
        Ok(path) if path.address().is_some_and(|address: Address<'_>| !address.domain.is_empty()) => {
            Ok(format!("{mark}{}", path.as_str()))
        }
        Err(Fault::TooLong) => Err(too_long()),
        _ => Err(format!("{bare:?} is no recipient: write a local name or an address")),
    }
}

fn too_long() -> String {
    "this is too long for a recipient".to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Table, Vec<Mistake>> {
        let file = "local_domains = [\"home.test\", \"other.test\"]\n";
        Table::parse(text, &Config::parse(file, "host.test").unwrap())
    }

    /// The targets that a name leads to, as they stand in the table.
    fn targets(table: &Table, local: &str, domain: &str) -> Vec<String> {
        let found = table.find(local, domain).or_else(|| table.catch_all(domain));
        found.into_iter().flat_map(|alias| alias.targets().map(str::to_owned).collect::<Vec<_>>()).collect()
    }

    #[test]
    fn what_aliases_5_allows_is_read() {
        let text = "# of a house\n\npostmaster: root\nRoot :\tanna , Ben@Example.org,\n   carl,\n# between\n\n\t\"d e\"\n\
            \"The Boss\": \\anna # that one\ninfo+web@home.test: web,, \r\ninfo: x#y\n*: lost\n*@other.test: found@home.test\n\
            anna: anna, \"at@sign\", o'hara@[192.0.2.1]";
        let table = parse(text).unwrap();
        assert_eq!(table.len(), 8);
        for (local, domain, expected) in [
            ("POSTMASTER", "home.test", &["root@"][..]),
            ("root", "host.test", &["anna@", "Ben@Example.org", "carl@", "\"d e\"@"]),
            ("the boss", "home.test", &["\\anna@"]),
            ("info+web", "HOME.test.", &["web@"]),
            ("info+web", "other.test", &["x#y@"]),
            ("info+x", "home.test", &["x#y@"]),
            ("anna+x", "home.test", &["anna@", "\"at@sign\"@", "o'hara@[192.0.2.1]"]),
            ("nobody", "home.test", &["lost@"]),
            ("nobody", "other.test", &["found@home.test"]),
        ] {
            assert_eq!(targets(&table, local, domain), expected, "{local} at {domain}");
        }
        for text in ["\u{feff}root: anna\r\n", "\u{feff}# who gets what\r\nroot: anna\r\n"] {
            assert_eq!(targets(&parse(text).unwrap(), "root", "home.test"), ["anna@"]);
        }
        assert!(parse("").unwrap().is_empty() && parse("#\n \n").unwrap().is_empty());
    }

    #[test]
    fn the_file_in_the_manual_is_right() {
        let manual = include_str!("../../manual/mailboxes.md");
        let block = |kind: &str| manual.split_once(kind).unwrap().1.split_once("```").unwrap().0;
        let file = block("```aliases\n");
        let config = Config::parse(block("```toml\n"), "x").unwrap();
        let table = Table::parse(file, &config).unwrap();
        assert_eq!(
            table.len(),
            file.lines().filter(|line| line.contains(':') && !line.starts_with('#')).count()
        );
        assert_eq!(targets(&table, "family", "home.arpa"), ["anna@", "ben@", "carl@example.org"]);
        assert_eq!(targets(&table, "x", "pi.home.arpa"), ["ben@"]);
    }

    #[test]
    fn every_mistake_has_its_place() {
        for (text, line, column, what) in [
            ("a: b\nc: :include:/etc/list\n", 2, 4, "not included"),
            ("a: b,\n  /var/mail/x\n", 2, 3, "not written to files"),
            ("a: \"|/bin/x -y\"\n", 1, 4, "not given to programs"),
            ("a: |/bin/x -y\n", 1, 4, "not given to programs"),
            ("a: b c\n", 1, 6, "comma is missing"),
            ("a: b@\n", 1, 4, "no recipient"),
            ("a: b@c@d\n", 1, 4, "no recipient"),
            ("a: <b@c>\n", 1, 4, "no recipient"),
            ("a: \u{e9}@b.test\n", 1, 4, "outside of ASCII"),
            ("a\nb: c\n", 1, 2, "colon is missing"),
            ("a b: c\n", 1, 3, "colon is missing"),
            (": c\n", 1, 1, "name is missing"),
            ("  a: b\n", 1, 3, "goes on with"),
            ("a:\nb: c\n", 1, 1, "stands for nobody"),
            ("a: b\nA: c\n", 2, 1, "stands twice"),
            ("@home.test: b\n", 1, 1, "\"*@home.test\""),
            ("x@away.test: b\n", 1, 1, "no local domain"),
            ("a..b: c\n", 1, 1, "no name"),
        ] {
            let mistakes = parse(text).unwrap_err();
            let first = &mistakes[0];
            assert_eq!((first.line, first.column), (line, column), "{text:?}: {first:?}");
            assert!(first.text.contains(what), "{text:?}: {first:?}");
        }
        let all = parse("a: |b\nb: /c\nc: d\n").unwrap_err();
        assert_eq!(all.iter().map(|m| m.line).collect::<Vec<_>>(), [1, 2]);
        assert!(parse(&"a: |b,\n |c\n".repeat(1000)).unwrap_err().len() == MISTAKES);
    }

    #[test]
    fn there_are_as_many_as_there_is_room_for() {
        let names: String = (0..=ALIAS_ENTRIES).map(|n| format!("n{n}: x\n")).collect();
        let mistakes = parse(&names).unwrap_err();
        assert_eq!(mistakes[0].line, ALIAS_ENTRIES + 1);
        let fewer: String = names.lines().take(ALIAS_ENTRIES).map(|line| format!("{line}\n")).collect();
        assert_eq!(targets(&parse(&fewer).unwrap(), "n77", "home.test"), ["x@"]);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "([a-c*@:,\"\\\\ \\n#|/\u{e9}]|home\\.test){0,60}") {
            if let Ok(table) = parse(&text) {
                prop_assert!(table.len() <= text.matches(':').count());
            }
        }

        #[test]
        fn what_is_written_is_found(names in proptest::collection::btree_set("[a-z]{1,6}", 1..20)) {
            let text: String = names.iter().map(|name| format!("{name}: {name}x,\n  {name}@away.test\n")).collect();
            let table = parse(&text).unwrap();
            for name in &names {
                prop_assert_eq!(targets(&table, name, "home.test"), [format!("{name}x@"), format!("{name}@away.test")]);
            }
            prop_assert!(table.find("A", "home.test").is_some() == names.contains("a"));
        }
    }
}
