//! Aliases as they are looked up: a sorted table over one piece of text.

use std::ops::Range;

use heapless::String as FixedString;

use crate::limits::{ALIAS_ENTRIES, ALIASES_OCTETS, DOMAIN_OCTETS, LOCAL_PART_OCTETS};
use crate::relay::mailbox;

/// Room for a name as it is looked up: lower case can take more octets than what it is made of.
type Key = FixedString<{ 2 * LOCAL_PART_OCTETS + DOMAIN_OCTETS + 1 }>;

/// Between the two parts of a key: neither can have it.
const MARK: char = '\n';

/// Where an alias stands in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    /// Local-part without quotes in lower case, mark, domain in lower case or nothing.
    key: Range<u32>,
    /// Targets, each with a line end.
    targets: Range<u32>,
}

/// All aliases of a file.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Table {
    text: String,
    /// Sorted by key.
    entries: Vec<Entry>,
}

/// What one name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alias<'a>(&'a str);

impl<'a> Alias<'a> {
    /// Its targets: canonical addresses; those without a domain (`anna@`) are at that of the
    /// address that led here; those with a backslash in front end in their mailbox.
    pub fn targets(self) -> impl Iterator<Item = &'a str> {
        self.0.lines()
    }
}

impl Table {
    /// Octets of heap at most. A target of one letter is written with two more.
    pub const HEAP_OCTETS: usize = ALIASES_OCTETS as usize * 3 / 2 + ALIAS_ENTRIES * size_of::<Entry>();

    /// How many aliases there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The alias of a mailbox at a local domain: of the whole address before that of the name alone,
    /// with its `+detail` before without. `local` has no quotes.
    pub fn find(&self, local: &str, domain: &str) -> Option<Alias<'_>> {
        let user = mailbox::user(local);
        let names = [local, user];
        let names = if user == local { &names[..1] } else { &names[..] };
        let of = |domain: &str| names.iter().find_map(|name| self.get(name, domain));
        of(domain).or_else(|| of(""))
    }

    /// What catches unknown names at a local domain.
    pub fn catch_all(&self, domain: &str) -> Option<Alias<'_>> {
        self.get("*", domain).or_else(|| self.get("*", ""))
    }

    fn get(&self, local: &str, domain: &str) -> Option<Alias<'_>> {
        let mut key = Key::new();
        let domain = domain.strip_suffix('.').unwrap_or(domain);
        // What does not fit stands in no file.
        write_key(local, domain, |c| key.push(c).is_ok())?;
        let found = self.entries.binary_search_by(|entry| self.key(entry).cmp(&key)).ok()?;
        self.text.get(range(&self.entries[found].targets)).map(Alias)
    }

    fn key(&self, entry: &Entry) -> &str {
        self.text.get(range(&entry.key)).unwrap_or_default()
    }

    /// An empty table, with room for what a file of so many octets says.
    pub(super) fn with_room_for(octets: usize) -> Self {
        Self { text: String::with_capacity(octets + octets / 2), entries: Vec::new() }
    }

    /// Adds an alias: its place, until the next one is added; `None` if there is one of that name.
    /// `local` has no quotes; an empty domain stands for every local one.
    pub(super) fn add(&mut self, local: &str, domain: &str) -> Option<usize> {
        let start = self.end();
        let text = &mut self.text;
        write_key(local, domain, |c| {
            text.push(c);
            true
        })?;
        let end = self.end();
        let entry = Entry { key: start..end, targets: end..end };
        let place = self.entries.binary_search_by(|other| self.key(other).cmp(self.key(&entry))).err()?;
        self.entries.insert(place, entry);
        Some(place)
    }

    /// Adds a target to the alias that was added last.
    pub(super) fn add_target(&mut self, place: usize, target: &str) {
        self.text.push_str(target);
        self.text.push('\n');
        let end = self.end();
        if let Some(last) = self.entries.get_mut(place) {
            last.targets.end = end;
        }
    }

    fn end(&self) -> u32 {
        // The file has far fewer octets.
        u32::try_from(self.text.len()).unwrap_or(u32::MAX)
    }
}

fn range(of: &Range<u32>) -> Range<usize> {
    of.start as usize..of.end as usize
}

/// Hands out the characters of a key; `None` if one was not taken.
fn write_key(local: &str, domain: &str, mut put: impl FnMut(char) -> bool) -> Option<()> {
    let lower = local.chars().flat_map(char::to_lowercase).chain([MARK]);
    lower.chain(domain.chars().map(|c| c.to_ascii_lowercase())).all(&mut put).then_some(())
}
