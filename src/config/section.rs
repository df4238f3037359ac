//! Reading one section of the file, key by key, and noting every mistake on the way.
//!
//! A reader of a value is a function `fn(&Value, &mut Notes) -> Option<T>`: it notes what is wrong
//! at the value's place and gives nothing, and the section goes on with the default. So one run
//! finds all mistakes.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use toml_span::Value;
use toml_span::value::{Table, ValueInner};

use super::mistake::Mistake;
use super::quantity;
use crate::limits::LIST;

/// The mistakes found so far, with the octet of the text where each is.
#[derive(Default)]
pub(super) struct Notes(Vec<(usize, String)>);

impl Notes {
    /// Notes a mistake at an octet of the text.
    pub(super) fn add(&mut self, offset: usize, what: impl Into<String>) {
        self.0.push((offset, what.into()));
    }

    /// All mistakes in the order of `text`.
    pub(super) fn finish(mut self, text: &str) -> Vec<Mistake> {
        self.0.sort_by_key(|(offset, _)| *offset);
        self.0.into_iter().map(|(offset, what)| Mistake::at(text.as_bytes(), offset, what)).collect()
    }
}

/// A section that is being read.
pub(super) struct Section<'a> {
    name: String,
    /// Where mistakes about the section as a whole are noted.
    pub(super) offset: usize,
    table: Option<&'a Table<'a>>,
    asked: Vec<&'static str>,
}

impl<'a> Section<'a> {
    /// The whole file.
    pub(super) fn root(value: &'a Value<'a>) -> Self {
        Self { name: "the top of the file".to_owned(), offset: 0, table: value.as_table(), asked: Vec::new() }
    }

    /// The section `[name]`; if the file has none, one without keys.
    pub(super) fn section(&mut self, name: &'static str, notes: &mut Notes) -> Section<'a> {
        let value = self.find(name);
        if let Some(value) = value.filter(|value| value.as_table().is_none()) {
            let what = if value.as_array().is_some() { "stands once" } else { "is a section" };
            notes.add(value.span.start, format!("{name} {what}: write [{name}] on a line of its own"));
        }
        Self::of(format!("[{name}]"), value)
    }

    /// The sections `[[name]]`, at most `most` of them.
    pub(super) fn sections(
        &mut self,
        name: &'static str,
        most: usize,
        notes: &mut Notes,
    ) -> Vec<Section<'a>> {
        let Some(value) = self.find(name) else { return Vec::new() };
        let Some(all) = value.as_array().filter(|all| all.iter().all(|one| one.as_table().is_some())) else {
            notes.add(
                value.span.start,
                format!("{name} can stand several times: write [[{name}]] in two brackets"),
            );
            return Vec::new();
        };
        if let Some(surplus) = all.get(most) {
            notes.add(surplus.span.start, format!("more than {most} [[{name}]]: join or remove some"));
        }
        all.iter().take(most).map(|one| Self::of(format!("[[{name}]]"), Some(one))).collect()
    }

    fn of(name: String, value: Option<&'a Value<'a>>) -> Self {
        Self {
            name,
            offset: value.map_or(0, |value| value.span.start),
            table: value.and_then(Value::as_table),
            asked: Vec::new(),
        }
    }

    /// The value of a key, which counts as known from now on.
    pub(super) fn find(&mut self, key: &'static str) -> Option<&'a Value<'a>> {
        self.asked.push(key);
        self.table?.get(key)
    }

    /// The offset of a key's value, or of the section where the key is left out.
    pub(super) fn place(&self, key: &str) -> usize {
        self.table.and_then(|table| table.get(key)).map_or(self.offset, |value| value.span.start)
    }

    /// The value of a key as `read` reads it; `None` if it is left out or wrong.
    pub(super) fn read<T>(
        &mut self,
        key: &'static str,
        notes: &mut Notes,
        read: impl Fn(&Value<'_>, &mut Notes) -> Option<T>,
    ) -> Option<T> {
        self.find(key).and_then(|value| read(value, notes))
    }

    /// [`Section::read`] into a place that holds the default.
    pub(super) fn set<T>(
        &mut self,
        key: &'static str,
        place: &mut T,
        notes: &mut Notes,
        read: impl Fn(&Value<'_>, &mut Notes) -> Option<T>,
    ) {
        if let Some(value) = self.read(key, notes, read) {
            *place = value;
        }
    }

    /// Notes that a key has to be there.
    pub(super) fn require(&self, key: &str, example: &str, notes: &mut Notes) {
        if self.table.is_none_or(|table| !table.contains_key(key)) {
            notes.add(self.offset, format!("{} needs {key}: write {key} = {example}", self.name));
        }
    }

    /// Notes every key that was not asked for.
    pub(super) fn close(self, notes: &mut Notes) {
        for (key, _) in self.table.into_iter().flatten() {
            if self.asked.contains(&&*key.name) {
                continue;
            }
            let name = key.name.escape_debug();
            let meant = match nearest(&key.name, &self.asked) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("it knows {}", self.asked.join(", ")),
            };
            notes.add(key.span.start, format!("{} has no key {name}: {meant}", self.name));
        }
    }
}

/// The known word that `word` is most likely meant to be: at most a third of it mistyped.
pub fn nearest<'w>(word: &str, known: &[&'w str]) -> Option<&'w str> {
    let near =
        known.iter().map(|known| (distance(word, known), *known)).min_by_key(|(distance, _)| *distance);
    near.filter(|(distance, known)| *distance <= known.len().div_ceil(3).min(3)).map(|(_, known)| known)
}

/// Letters to add, drop or change to make one word of the other.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (above, letter) in one.chars().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = above + 1;
        for (at, wanted) in other.iter().enumerate() {
            let changed = diagonal + usize::from(letter != *wanted);
            diagonal = row[at + 1];
            row[at + 1] = changed.min(row[at] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

fn wrong_kind<T>(value: &Value<'_>, wanted: &str, notes: &mut Notes) -> Option<T> {
    let found = match value.as_ref() {
        ValueInner::String(_) => "text",
        ValueInner::Integer(_) => "a number",
        ValueInner::Float(_) => "a number with a point",
        ValueInner::Boolean(_) => "true or false",
        ValueInner::Array(_) => "a list",
        ValueInner::Table(_) => "a section",
    };
    notes.add(value.span.start, format!("this is {found}: write {wanted}"));
    None
}

/// Any text without control characters.
pub(super) fn text(value: &Value<'_>, notes: &mut Notes) -> Option<String> {
    let Some(text) = value.as_str() else { return wrong_kind(value, "text in quotes", notes) };
    if text.chars().any(char::is_control) {
        notes.add(value.span.start, "a control character: remove it");
        return None;
    }
    Some(text.to_owned())
}

/// Text that is not empty; empty counts as left out.
pub(super) fn filled(value: &Value<'_>, notes: &mut Notes) -> Option<Option<String>> {
    text(value, notes).map(|text| Some(text).filter(|text| !text.is_empty()))
}

/// A file or folder.
pub(super) fn path(value: &Value<'_>, notes: &mut Notes) -> Option<PathBuf> {
    let path = text(value, notes)?;
    if path.is_empty() {
        notes.add(value.span.start, "an empty path: write one, or leave the key out");
        return None;
    }
    Some(path.into())
}

/// A file or folder; empty counts as left out.
pub(super) fn optional_path(value: &Value<'_>, notes: &mut Notes) -> Option<Option<PathBuf>> {
    Some(filled(value, notes)?.map(PathBuf::from))
}

/// `true` or `false`.
pub(super) fn flag(value: &Value<'_>, notes: &mut Notes) -> Option<bool> {
    value.as_bool().or_else(|| wrong_kind(value, "true or false", notes))
}

/// A whole number.
pub(super) fn number<T>(range: RangeInclusive<T>) -> impl Fn(&Value<'_>, &mut Notes) -> Option<T>
where
    T: TryFrom<i64> + PartialOrd + std::fmt::Display,
{
    move |value, notes| {
        let wanted = format!("a number from {} to {}", range.start(), range.end());
        let Some(number) = value.as_integer() else { return wrong_kind(value, &wanted, notes) };
        let fitting = T::try_from(number).ok().filter(|number| range.contains(number));
        if fitting.is_none() {
            notes.add(value.span.start, format!("{number} is out of range: write {wanted}"));
        }
        fitting
    }
}

/// Octets: a number, or text with a unit.
pub(super) fn size(range: RangeInclusive<u64>) -> impl Fn(&Value<'_>, &mut Notes) -> Option<u64> {
    move |value, notes| {
        let size = match value.as_ref() {
            ValueInner::Integer(octets) => {
                u64::try_from(*octets).map_err(|_| format!("{octets} is less than nothing"))
            }
            ValueInner::String(text) => quantity::parse_size(text),
            _ => return wrong_kind(value, "a number of octets, or \"64KiB\", \"25MiB\"", notes),
        };
        let shown = |octets: &u64| quantity::size(*octets);
        within(value, size, &range, shown, notes)
    }
}

/// A duration in text.
pub(super) fn duration(
    range: RangeInclusive<Duration>,
) -> impl Fn(&Value<'_>, &mut Notes) -> Option<Duration> {
    move |value, notes| {
        let Some(text) = value.as_str() else {
            return wrong_kind(value, "a duration such as \"90s\" or \"5m\"", notes);
        };
        within(value, quantity::parse_duration(text), &range, |time| quantity::duration(*time), notes)
    }
}

fn within<T: PartialOrd>(
    value: &Value<'_>,
    read: Result<T, String>,
    range: &RangeInclusive<T>,
    shown: impl Fn(&T) -> String,
    notes: &mut Notes,
) -> Option<T> {
    match read {
        Ok(amount) if range.contains(&amount) => return Some(amount),
        Ok(amount) => {
            let (least, most) = (shown(range.start()), shown(range.end()));
            notes.add(
                value.span.start,
                format!("{} is out of range: write \"{least}\" to \"{most}\"", shown(&amount)),
            );
        }
        Err(what) => notes.add(value.span.start, what),
    }
    None
}

/// One of a fixed list of words.
pub(super) fn word<T: Copy>(
    words: &'static [(&'static str, T)],
) -> impl Fn(&Value<'_>, &mut Notes) -> Option<T> {
    move |value, notes| {
        let all = words.iter().map(|(word, _)| format!("{word:?}")).collect::<Vec<_>>().join(", ");
        let Some(text) = value.as_str() else { return wrong_kind(value, &format!("one of {all}"), notes) };
        let found = words.iter().find(|(word, _)| *word == text);
        if found.is_none() {
            notes.add(value.span.start, format!("{text:?} is not known here: write one of {all}"));
        }
        found.map(|(_, meaning)| *meaning)
    }
}

/// Text that `parse` makes something of.
pub(super) fn parsed<T>(
    parse: impl Fn(&str) -> Result<T, String>,
) -> impl Fn(&Value<'_>, &mut Notes) -> Option<T> {
    move |value, notes| match parse(&text(value, notes)?) {
        Ok(parsed) => Some(parsed),
        Err(what) => {
            notes.add(value.span.start, what);
            None
        }
    }
}

/// A list of what `one` reads, at most `limits::LIST` long.
pub(super) fn list<T>(
    one: impl Fn(&Value<'_>, &mut Notes) -> Option<T>,
) -> impl Fn(&Value<'_>, &mut Notes) -> Option<Vec<T>> {
    list_of(0..=LIST, one)
}

/// A list of what `one` reads, of a length in `lengths`.
pub(super) fn list_of<T>(
    lengths: RangeInclusive<usize>,
    one: impl Fn(&Value<'_>, &mut Notes) -> Option<T>,
) -> impl Fn(&Value<'_>, &mut Notes) -> Option<Vec<T>> {
    move |value, notes| {
        let Some(all) = value.as_array() else {
            return wrong_kind(value, "a list: [\"...\", \"...\"]", notes);
        };
        if !lengths.contains(&all.len()) {
            let (least, most) = (lengths.start(), lengths.end());
            notes.add(value.span.start, format!("a list of {}: write {least} to {most} entries", all.len()));
            return None;
        }
        // Every entry is read even after a wrong one: all mistakes count.
        let read: Vec<Option<T>> = all.iter().map(|entry| one(entry, notes)).collect();
        read.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_near() {
        let known = ["sessions", "errors", "user"];
        assert_eq!(nearest("sesions", &known), Some("sessions"));
        assert_eq!(nearest("Errors", &known), Some("errors"));
        assert_eq!(nearest("users", &known), Some("user"));
        assert_eq!(nearest("nonsense", &known), None);
        assert_eq!(nearest("", &known), None);
        assert_eq!((distance("abc", "abc"), distance("", "abc"), distance("kitten", "sitting")), (0, 3, 3));
    }
}
