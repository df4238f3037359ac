//! Following aliases to the recipients that they stand for.
//!
//! A name is looked up if its domain is local; what it stands for is looked up again. A name that stands
//! for itself among others, or is marked by a backslash, ends in its mailbox. A name that comes round
//! again by way of others does so too if it has a mailbox; else nothing more comes of it. Postmaster
//! is who the configuration says, whatever the file says.
#![allow(
    clippy::result_large_err,
    reason = "a reply is the ordinary answer to an alias that leads nowhere; nothing is boxed"
)]

use heapless::{String, Vec};
use log::warn;

use super::aliases::{Alias, Table};
use super::delivery::key_of;
use super::destination::Key;
use super::quoted::Quoted;
use super::{mailbox, route};
use crate::config::{Config, Via};
use crate::limits::{ALIAS_DEPTH, ALIAS_NAMES, ALIAS_TARGETS, ORCPT_OCTETS, PATH_OCTETS};
use crate::smtp::address::Address;
use crate::smtp::reply::Reply;
use crate::smtp::xtext;

/// A forward-path.
pub type Path = String<PATH_OCTETS>;

/// Whether there is a mailbox of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mailbox {
    /// It is there, or a rule refuses the name: it is known.
    Known,
    /// It is not there.
    Missing,
    /// Another server knows.
    Elsewhere,
}

/// What has come of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It has to be looked up.
    Open,
    /// Others stand for it.
    Expanded,
    /// It is a recipient.
    Final,
}

/// A name on the way.
#[derive(Clone, Copy, Debug)]
struct Name<'a> {
    /// As the table has it; the first one is the recipient that was given.
    text: &'a str,
    /// The place of the name that led here; the first one's is its own.
    above: u16,
    depth: u8,
    state: State,
}

/// All names that a recipient leads to.
#[derive(Debug)]
pub struct Expansion<'a> {
    config: &'a Config,
    table: &'a Table,
    reverse_path: &'a str,
    names: Vec<Name<'a>, ALIAS_NAMES>,
}

impl<'a> Expansion<'a> {
    /// Follows `forward_path`, which was accepted and is canonical. `Err`: 451 4.6.0 if it leads too
    /// far or nowhere, 451 4.3.0 if the disk does not say whether there is a mailbox.
    pub fn of(
        config: &'a Config,
        table: &'a Table,
        reverse_path: &'a str,
        forward_path: &'a str,
    ) -> Result<Self, Reply> {
        let mut this = Self { config, table, reverse_path, names: Vec::new() };
        this.push(forward_path, 0, 0, State::Open)?;
        let mut place = 0;
        while place < this.names.len() {
            if this.names[place].state == State::Open {
                this.follow(place)?;
            }
            place += 1;
        }
        match this.names.iter().filter(|name| name.state == State::Final).count() {
            0 => Err(too_far("goes round in circles")),
            n if n > ALIAS_TARGETS => Err(too_far("stands for too many recipients")),
            _ => Ok(this),
        }
    }

    /// True if an alias was found: the recipients are others than the one that was given.
    pub fn is_alias(&self) -> bool {
        self.names[0].state == State::Expanded
    }

    /// The recipients.
    pub fn recipients(&self) -> impl Iterator<Item = Path> + '_ {
        let is_final = |place: &usize| self.names[*place].state == State::Final;
        (0..self.names.len()).filter(is_final).filter_map(|place| self.path(place).ok())
    }

    /// Whether the recipients can be reached: `Ok` if one of them can, for then the others are for their
    /// sender to hear of; else why the first one can't, or 451 4.3.0 if the disk does not say.
    pub fn judge(&self) -> Result<(), Reply> {
        let (mut is_any, mut refusal) = (false, None);
        for path in self.recipients() {
            match way(self.config, self.reverse_path, &path) {
                Ok(()) => is_any = true,
                Err(reply) if reply.code() < 500 => return Err(reply),
                Err(reply) => {
                    if self.is_alias() {
                        let (from, to) = (Quoted::bare(self.names[0].text), Quoted::bare(&path));
                        warn!("- the alias <{from}> leads to <{to}>: {reply}");
                    }
                    refusal.get_or_insert(reply);
                }
            }
        }
        match refusal {
            Some(reply) if !is_any => Err(reply),
            _ => Ok(()),
        }
    }

    /// True if one of the recipients is at a local domain.
    pub fn is_ours(&self, path: &str) -> bool {
        is_ours(self.config, path)
    }

    /// Where one of the recipients goes.
    pub fn key(&self, path: &str) -> Key {
        key_of(self.config, self.reverse_path, path).unwrap_or_default()
    }

    /// Looks up the name at a place, and adds those that it stands for.
    fn follow(&mut self, place: usize) -> Result<(), Reply> {
        let Some(alias) = self.look_up(place)? else {
            // A backslash further on can have made it a recipient before.
            let is_twice = self.is_final(self.names.len(), self.address(place));
            self.names[place].state = if is_twice { State::Expanded } else { State::Final };
            return Ok(());
        };
        let depth = self.names[place].depth + 1;
        if depth > ALIAS_DEPTH {
            return Err(too_far("leads to too many others, one after the other"));
        }
        self.names[place].state = State::Expanded;
        for text in alias.targets() {
            self.push(text, place as u16, depth, State::Open)?;
            let last = self.names.len() - 1;
            match self.state_of_new(last)? {
                Some(state) => self.names[last].state = state,
                None => drop(self.names.pop()),
            }
        }
        Ok(())
    }

    /// What a name stands for, if it is a local one.
    fn look_up(&self, place: usize) -> Result<Option<Alias<'a>>, Reply> {
        let (local, domain) = self.address(place);
        if !route::is_local(self.config, domain) || self.is_postmaster(local) {
            return Ok(None);
        }
        let domain = route::local_name(self.config, domain);
        let address = Address { local, domain };
        if let Some(alias) = self.table.find(&address.unquoted(), domain) {
            return Ok(Some(alias));
        }
        let Some(catcher) = self.table.catch_all(domain) else { return Ok(None) };
        Ok((self.mailbox(place)? != Mailbox::Known).then_some(catcher))
    }

    /// The state of the name that was just added; `None` if it adds nobody.
    fn state_of_new(&self, last: usize) -> Result<Option<State>, Reply> {
        // What can't be written as a path is told here.
        self.path(last)?;
        let address = self.address(last);
        let is_same = |place: usize| is_same(self.address(place), address);
        let above = usize::from(self.names[last].above);
        if self.is_final(last, address) {
            return Ok(None);
        }
        if self.names[last].text.starts_with('\\') || is_same(above) {
            return Ok(Some(State::Final));
        }
        if !(0..last).any(is_same) {
            return Ok(Some(State::Open));
        }
        // It is on the list. If it led here itself, it ends in its mailbox.
        let comes_round = self.above(last).any(is_same);
        Ok((comes_round && self.mailbox(last)? != Mailbox::Missing).then_some(State::Final))
    }

    /// True if this is a recipient among the first so many names.
    fn is_final(&self, count: usize, address: (&str, &str)) -> bool {
        (0..count)
            .any(|place| self.names[place].state == State::Final && is_same(self.address(place), address))
    }

    /// The names that led to one, the nearest first.
    fn above(&self, place: usize) -> impl Iterator<Item = usize> + '_ {
        let next = |place: &usize| (*place != 0).then(|| usize::from(self.names[*place].above));
        std::iter::successors(next(&place), next)
    }

    fn push(&mut self, text: &'a str, above: u16, depth: u8, state: State) -> Result<(), Reply> {
        self.names.push(Name { text, above, depth, state }).map_err(|_| too_far("leads to too many names"))
    }

    /// Local-part and domain of a name. One without a domain is at that of the name that led to it.
    fn address(&self, place: usize) -> (&'a str, &'a str) {
        let name = &self.names[place];
        let (local, domain) = split(name.text.strip_prefix('\\').unwrap_or(name.text));
        let domain = match (domain, place) {
            ("", 1..) => self.address(usize::from(name.above)).1,
            _ => domain,
        };
        if self.is_postmaster(local) && route::is_local(self.config, domain) {
            return split(&self.config.postmaster);
        }
        (local, domain)
    }

    /// True for the postmaster whom the configuration names.
    fn is_postmaster(&self, local: &str) -> bool {
        self.config.postmaster_is_set && local.eq_ignore_ascii_case("postmaster")
    }

    fn path(&self, place: usize) -> Result<Path, Reply> {
        let (local, domain) = self.address(place);
        let mut path = Path::new();
        // Two octets are for the brackets.
        match [local, "@", domain].iter().try_for_each(|part| path.push_str(part)) {
            Ok(()) if path.len() <= PATH_OCTETS - 2 => Ok(path),
            _ => Err(too_far("leads to an address that is too long")),
        }
    }

    fn mailbox(&self, place: usize) -> Result<Mailbox, Reply> {
        let path = self.path(place)?;
        let route = route::find(self.config, self.reverse_path, &path);
        match route.and_then(|route| self.config.route.get(usize::from(route))).map(|route| &route.via) {
            Some(Via::Maildir(maildir)) => match mailbox::exists(maildir, &path) {
                Ok(true) => Ok(Mailbox::Known),
                Err(reply) if reply.code() < 500 => Err(reply),
                Ok(false) | Err(_) => Ok(Mailbox::Missing),
            },
            Some(Via::Reject) => Ok(Mailbox::Known),
            Some(_) => Ok(Mailbox::Elsewhere),
            None => Ok(Mailbox::Missing),
        }
    }
}

/// True if a recipient is at a local domain.
pub fn is_ours(config: &Config, path: &str) -> bool {
    route::is_local(config, split(path).1)
}

/// `Ok` if a route leads to a recipient, and its mailbox is there where it has to be.
pub fn way(config: &Config, reverse_path: &str, forward_path: &str) -> Result<(), Reply> {
    let route = route::find(config, reverse_path, forward_path);
    match route.and_then(|route| config.route.get(usize::from(route))).map(|route| &route.via) {
        None => Err(Reply::new(550, (7, 1), "no route leads to this recipient")),
        Some(Via::Reject) => Err(Reply::new(550, (7, 1), "a rule of this server refuses this recipient")),
        Some(Via::Maildir(maildir)) => mailbox::check(maildir, forward_path),
        Some(_) => Ok(()),
    }
}

/// Hands out who gets a message of our own to `path`: those whom its alias stands for; itself if it has
/// none, or one that leads nowhere, for a notice is refused to nobody.
pub fn each_of_ours<E>(
    config: &Config,
    table: Option<&Table>,
    path: &str,
    mut each: impl FnMut(&str) -> Result<(), E>,
) -> Result<(), E> {
    let given = route::postmaster(config, path).unwrap_or(path);
    let expansion = table.and_then(|table| Expansion::of(config, table, "", given).ok());
    match expansion.filter(Expansion::is_alias) {
        Some(expansion) => expansion.recipients().try_for_each(|path| each(&path)),
        None => each(path),
    }
}

/// True for the same mailbox: case does not count at a domain, and not in names that stand in one file.
fn is_same(one: (&str, &str), other: (&str, &str)) -> bool {
    one.0.eq_ignore_ascii_case(other.0) && one.1.eq_ignore_ascii_case(other.1)
}

fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('@').unwrap_or((path, ""))
}

fn too_far(why: &str) -> Reply {
    Reply::new(451, (6, 0), format_args!("the alias of this recipient {why}; its owner has to mend that"))
}

/// ORCPT for what an alias stands for (RFC 3461 4.2): the address that was given, so that a notice
/// names whom the sender knows. Empty if it can't be said.
pub fn original(forward_path: &str) -> String<ORCPT_OCTETS> {
    let mut orcpt = String::new();
    let is_whole = forward_path.is_ascii()
        && "rfc822;".chars().chain(xtext::encoded(forward_path)).all(|c| orcpt.push(c).is_ok());
    if is_whole { orcpt } else { String::new() }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec as List;

    use proptest::prelude::*;

    use super::*;

    /// A house: Maildirs of which anna, ben and lost are there; mail for away.test goes elsewhere.
    struct House {
        config: Config,
        folder: std::path::PathBuf,
    }

    impl House {
        fn new(test: &str, recipients: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("pillarbox-house-{}-{test}", std::process::id()));
            for name in ["anna", "ben", "lost"] {
                std::fs::create_dir_all(folder.join(name).join("new")).unwrap();
            }
            let text = format!(
                "local_domains = [\"home.test\", \"other.test\"]\npostmaster = \"ben@home.test\"\n\
                 [[route]]\nto = [\"away.test\"]\nvia = \"discard\"\n\
                 [[route]]\nto = [\"no@*\"]\nvia = \"reject\"\n\
                 [[route]]\nto = [\"home.test\", \"other.test\"]\nvia = \"maildir\"\nrecipients = {recipients:?}\n\
                 directory = \"{}/{{user}}\"\n",
                folder.display()
            );
            Self { config: Config::parse(&text, "host.test").unwrap(), folder }
        }

        /// The recipients, or the reply.
        fn expand(&self, aliases: &str, path: &str) -> List<std::string::String> {
            let table = Table::parse(aliases, &self.config).unwrap();
            let expansion = Expansion::of(&self.config, &table, "a@away.test", path);
            match expansion.and_then(|e| e.judge().map(|()| e.recipients().map(|r| r.to_string()).collect()))
            {
                Ok(all) => all,
                Err(reply) => vec![
                    reply
                        .to_string()
                        .split_inclusive(' ')
                        .take(2)
                        .collect::<std::string::String>()
                        .trim()
                        .to_owned(),
                ],
            }
        }
    }

    impl Drop for House {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }

    #[test]
    fn names_lead_to_recipients() {
        let house = House::new("lead", "existing");
        for (aliases, path, expected) in [
            ("", "anna@home.test", &["anna@home.test"][..]),
            ("", "carl@home.test", &["550 5.1.1"]),
            ("info: anna, x@away.test", "INFO@other.test", &["anna@other.test", "x@away.test"]),
            ("info: all\nall: anna, ben, Anna", "info+x@home.test", &["anna@home.test", "ben@home.test"]),
            ("info: anna\ninfo+x: ben", "info+x@home.test", &["ben@home.test"]),
            ("info: anna\ninfo@other.test: ben", "info@other.test", &["ben@other.test"]),
            ("info: web@other.test\nweb: anna", "info@home.test", &["anna@other.test"]),
            ("away: x@away.test\nx: anna", "away@home.test", &["x@away.test"]),
            ("x: anna", "x@away.test", &["x@away.test"]),
            // A name among its own targets, and names that come round.
            ("anna: anna, x@away.test", "anna@home.test", &["anna@home.test", "x@away.test"]),
            ("anna: \\anna, ben\nben: \\anna", "anna@home.test", &["anna@home.test"]),
            ("anna: all\nall: anna, ben", "anna@home.test", &["anna@home.test", "ben@home.test"]),
            ("a: b, x@away.test\nb: a", "a@home.test", &["x@away.test"]),
            ("a: b\nb: a", "a@home.test", &["451 4.6.0"]),
            ("a: b\nb: c\nc: b", "a@home.test", &["451 4.6.0"]),
            (
                "all: one, two\none: anna\ntwo: one, ben",
                "all@home.test",
                &["anna@home.test", "ben@home.test"],
            ),
            // The postmaster is the configuration's.
            ("postmaster: anna", "ben@home.test", &["ben@home.test"]),
            ("daemon: postmaster\npostmaster: anna", "daemon@home.test", &["ben@home.test"]),
            ("daemon: postmaster\nben: anna", "daemon@home.test", &["anna@home.test"]),
            // What catches unknown names.
            ("*: lost", "carl@home.test", &["lost@home.test"]),
            ("*: lost", "anna@home.test", &["anna@home.test"]),
            ("*: lost\n*@other.test: anna", "carl@other.test", &["anna@other.test"]),
            ("*: lost\ninfo: carl", "info@home.test", &["lost@home.test"]),
            ("*: nobody", "carl@home.test", &["550 5.1.1"]),
            ("*: carl@away.test", "carl@home.test", &["carl@away.test"]),
            ("*: lost", "no@home.test", &["550 5.7.1"]),
            ("*: lost", "x@away.test", &["x@away.test"]),
            // Where nothing leads.
            ("info: carl", "info@home.test", &["550 5.1.1"]),
            ("info: x@nowhere.test", "info@home.test", &["550 5.7.1"]),
            ("info: carl, anna", "info@home.test", &["carl@home.test", "anna@home.test"]),
        ] {
            assert_eq!(house.expand(aliases, path), expected, "{aliases:?} for {path}");
        }
    }

    #[test]
    fn where_mailboxes_are_made_a_catch_all_takes_those_that_are_not() {
        let house = House::new("any", "any");
        assert_eq!(house.expand("", "carl@home.test"), ["carl@home.test"]);
        assert_eq!(house.expand("*: lost", "carl@home.test"), ["lost@home.test"]);
        assert_eq!(house.expand("*: new", "carl@home.test"), ["new@home.test"]);
        assert_eq!(house.expand("a: b\nb: a", "a@home.test"), ["451 4.6.0"]);
    }

    #[test]
    fn the_postmaster_has_an_alias_where_the_configuration_names_nobody() {
        let mut house = House::new("postmaster", "existing");
        house.config.postmaster_is_set = false;
        house.config.postmaster = "postmaster@home.test".to_owned();
        for (aliases, expected) in
            [("postmaster: root\nroot: anna", "anna@home.test"), ("*: anna", "postmaster@home.test")]
        {
            assert_eq!(house.expand(aliases, "postmaster@home.test"), [expected], "{aliases}");
        }
    }

    #[test]
    fn notices_follow_aliases_and_are_never_refused() {
        let house = House::new("ours", "existing");
        for (aliases, path, expected) in [
            ("root: anna, x@away.test", "root@home.test", &["anna@home.test", "x@away.test"][..]),
            ("ben: x@away.test", "postmaster", &["x@away.test"]),
            ("a: b\nb: a", "a@home.test", &["a@home.test"]),
            ("a: b", "x@away.test", &["x@away.test"]),
        ] {
            let table = Table::parse(aliases, &house.config).unwrap();
            let mut found = List::new();
            let told = each_of_ours(&house.config, Some(&table), path, |path| {
                found.push(path.to_owned());
                Ok::<(), ()>(())
            });
            assert_eq!(told, Ok(()));
            assert_eq!(found, expected, "{aliases}");
        }
    }

    #[test]
    fn ten_deep_and_a_hundred_wide() {
        let house = House::new("deep", "any");
        let chain =
            |links: usize| (0..links).map(|n| format!("n{n}: n{}\n", n + 1)).collect::<std::string::String>();
        assert_eq!(house.expand(&chain(10), "n0@home.test"), ["n10@home.test"]);
        assert_eq!(house.expand(&chain(11), "n0@home.test"), ["451 4.6.0"]);
        let wide = |count: usize| (0..count).map(|n| format!("u{n},")).collect::<std::string::String>();
        assert_eq!(house.expand(&format!("all: {}", wide(100)), "all@home.test").len(), 100);
        assert_eq!(house.expand(&format!("all: {}", wide(101)), "all@home.test"), ["451 4.6.0"]);
        let nested: std::string::String =
            (0..100).map(|n| format!("u{n}: v{n}\n")).collect::<std::string::String>() + "all: " + &wide(100);
        assert_eq!(house.expand(&nested, "all@home.test").len(), 100, "names on the way are no recipients");
        assert_eq!(house.expand(&format!("all: {}", wide(300)), "all@home.test"), ["451 4.6.0"]);
    }

    #[test]
    fn a_name_that_is_too_long_at_its_domain_is_told() {
        let house = House::new("long", "any");
        let (domain, name) = (format!("{}.test", "d".repeat(60)), "n".repeat(128));
        let mut config = house.config.clone();
        config.local_domains.push(format!("{domain}.{domain}"));
        let table = Table::parse(&format!("a: {name}"), &config).unwrap();
        let long = format!("a@{domain}.{domain}");
        assert_eq!(Expansion::of(&config, &table, "", &long).unwrap_err().code(), 451);
    }

    #[test]
    fn the_sender_hears_of_whom_it_named() {
        assert_eq!(original("info+x@home.test"), "rfc822;info+2Bx@home.test");
        assert_eq!(original("\u{e9}@home.test"), "");
        assert_eq!(original(&"+".repeat(250)), "");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever leads to whatever: it ends, and every recipient is there once.
        #[test]
        fn every_alias_ends(lines in proptest::collection::btree_map("[a-f]", "[a-f](, \\\\?[a-f]){0,4}", 1..6), first in "[a-f]") {
            let house = House::new("ends", "any");
            let text: std::string::String = lines.iter().map(|(name, targets)| format!("{name}: {targets}\n")).collect();
            let found = house.expand(&text, &format!("{first}@home.test"));
            let once: std::collections::BTreeSet<_> = found.iter().collect();
            prop_assert!(!found.is_empty() && once.len() == found.len(), "{:?}", found);
        }
    }
}
