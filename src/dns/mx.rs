//! Which hosts take a domain's mail, and in what order (RFC 5321 5.1, RFC 7505).
//!
//! A delivery asks for one host after the other. The list is made anew each time, of what the cache
//! remembers: by preference, equal ones shuffled by a seed that stays the same for a delivery. So
//! nothing but a number has to be kept between two questions.

use std::hash::Hasher;
use std::net::IpAddr;

use heapless::Vec;
use siphasher::sip::SipHasher13;

use super::message::Exchangers;
use super::name::Name;
use super::resolver::{Addresses, Failure, Resolver, Search};
use crate::limits::EXCHANGERS;

/// How to tell which host is our own.
#[derive(Clone, Copy)]
pub struct Own<'a> {
    /// Our name.
    pub name: Option<&'a Name>,
    /// True for an address where we would talk to ourselves.
    pub is_address: &'a dyn Fn(IpAddr) -> bool,
}

/// A host that takes mail for a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchanger {
    /// Its name, as the MX record has it.
    pub name: Name,
    /// Its addresses, or why it has none now.
    pub addresses: Result<Addresses, Failure>,
    /// There is none behind it. Where it is false, this host may still turn out to be the next.
    pub is_last: bool,
}

/// Why there is no such host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoExchanger {
    /// Nothing is known of the domain.
    Unknown(Failure),
    /// The domain takes no mail (RFC 7505).
    NullMx,
    /// The most wanted host is this one: mail would go in circles.
    Loop,
    /// There are fewer hosts.
    NoMore,
}

/// Number `nth`, from 0, of the hosts that take mail for `domain`.
///
/// If this host is among them, it and all that are not more wanted are left out (RFC 5321 5.1). To know that,
/// the addresses of all that are equally wanted are looked up.
pub fn exchanger(
    resolver: &mut Resolver,
    domain: &Name,
    nth: usize,
    seed: u64,
    search: &Search,
    own: Own<'_>,
) -> Result<Exchanger, NoExchanger> {
    let list = match resolver.exchangers(domain, search) {
        Ok(list) => list,
        // Without MX records the domain itself is the host.
        Err(Failure::NoRecord) => {
            let mut list = Exchangers::default();
            list.insert(0, domain);
            list
        }
        Err(failure) => return Err(NoExchanger::Unknown(failure)),
    };
    if list.iter().all(|(_, name)| name.is_empty()) {
        return Err(NoExchanger::NullMx);
    }
    let ordered = ordered(&list, seed, own.name);
    let end_at = |place| if place == 0 { NoExchanger::Loop } else { NoExchanger::NoMore };
    let Some((preference, name)) = ordered.get(nth) else { return Err(end_at(ordered.len())) };
    let addresses = resolver.addresses(name, search);
    let is_equal = |(other, _): &(u16, Name)| other == preference;
    for (_, equal) in ordered.iter().filter(|one| is_equal(one)) {
        // Of a host that can't be looked up now, nothing is known.
        let known = resolver.addresses(equal, search).unwrap_or_default();
        if known.into_iter().any(own.is_address) {
            return Err(end_at(ordered.iter().position(is_equal).unwrap_or_default()));
        }
    }
    Ok(Exchanger { name: name.clone(), addresses, is_last: nth + 1 == ordered.len() })
}

/// The hosts in the order in which they are tried, with their preferences: those that are more wanted than the
/// host `own`.
fn ordered(list: &Exchangers, seed: u64, own: Option<&Name>) -> Vec<(u16, Name), EXCHANGERS> {
    let is_own = |name: &str| own.is_some_and(|own| own.as_str() == name);
    let end = list.iter().find(|(_, name)| is_own(name)).map(|(preference, _)| preference);
    let mut ordered = Vec::<(u16, Name), EXCHANGERS>::new();
    for (preference, name) in
        list.iter().take_while(|(preference, _)| end.is_none_or(|end| *preference < end))
    {
        // The root beside others means nothing.
        if let Some(name) = Name::parse(name)
            && !ordered.iter().any(|(_, other)| *other == name)
        {
            // As long as the list.
            let _ = ordered.push((preference, name));
        }
    }
    ordered.sort_unstable_by_key(|(preference, name)| {
        let mut hash = SipHasher13::new_with_keys(seed, 0);
        hash.write(name.as_str().as_bytes());
        (*preference, hash.finish())
    });
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(all: &[(u16, &str)]) -> Exchangers {
        let mut list = Exchangers::default();
        all.iter().for_each(|(preference, name)| {
            list.insert(*preference, &Name::parse(name).unwrap_or_default());
        });
        list
    }

    fn names(all: &[(u16, &str)], seed: u64, own: &str) -> std::vec::Vec<String> {
        let own = Name::parse(own);
        ordered(&list(all), seed, own.as_ref()).iter().map(|(_, name)| name.to_string()).collect()
    }

    const ALL: &[(u16, &str)] =
        &[(20, "c.test"), (10, "b1.test"), (10, "b2.test"), (10, "b3.test"), (5, "a.test"), (30, "A.test")];

    #[test]
    fn by_preference_and_equal_ones_shuffled() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..100 {
            let order = names(ALL, seed, "other.test");
            assert_eq!(order.len(), 5, "a host that is named twice is tried once");
            assert_eq!((order[0].as_str(), order[4].as_str()), ("a.test", "c.test"));
            assert_eq!(names(ALL, seed, "other.test"), order, "the same seed, the same order");
            seen.insert(order[1..4].to_vec());
        }
        assert_eq!(seen.len(), 6, "every order of three");
    }

    #[test]
    fn this_host_and_all_that_are_not_more_wanted_are_left_out() {
        assert_eq!(names(ALL, 1, "B2.test"), ["a.test"]);
        assert_eq!(names(ALL, 1, "c.test").len(), 4);
        assert!(names(ALL, 1, "a.test").is_empty());
        assert_eq!(names(&[(0, "."), (1, "a.test")], 1, "x.test"), ["a.test"]);
    }
}
