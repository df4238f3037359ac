//! DNS messages (RFC 1035 4): one question out, one response in. No I/O, no heap.
//!
//! A response counts only if it has the query's id and repeats its question octet for octet, the case of
//! every letter included. Names may be compressed, but a pointer has to lead back to before the name it
//! stands in, so reading always ends. What stands in the additional section is not believed: whoever wants
//! an exchanger's address asks for it.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use heapless::Vec;

use super::name::Name;
use crate::limits::{
    ADDRESSES, ALIASES, DNS_NAME_OCTETS, DNS_QUERY_OCTETS, DNS_UDP_OCTETS, EXCHANGERS, EXCHANGERS_OCTETS,
};

const HEADER_OCTETS: usize = 12;
const CLASS_IN: u16 = 1;
const TYPE_SOA: u16 = 6;
const TYPE_OPT: u16 = 41;
const FLAG_RESPONSE: u16 = 0x8000;
const FLAG_TRUNCATED: u16 = 0x0200;
const FLAG_RECURSION_DESIRED: u16 = 0x0100;
const OPCODE_MASK: u16 = 0x7800;

/// Pointers in one name: no name has more labels, and long chains cost time.
const LABELS: usize = 127;

// A name, its length octets and the root; type and class; header and OPT record.
const _: () = assert!(HEADER_OCTETS + DNS_NAME_OCTETS + 2 + 4 + 11 <= DNS_QUERY_OCTETS);

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An IPv4 address.
    A = 1,
    /// Another name for which this one stands.
    Cname = 5,
    /// Mail exchangers.
    Mx = 15,
    /// An IPv6 address (RFC 3596).
    Aaaa = 28,
}

/// Octets of a [`Draw`].
pub const DRAW_OCTETS: usize = 2 + DNS_NAME_OCTETS.div_ceil(8);
/// Random octets for one query: its id, and the case of each letter (the "0x20" of many resolvers: a
/// forger has to guess it too).
pub type Draw = [u8; DRAW_OCTETS];

/// A query as it is sent.
#[derive(Clone, Debug)]
pub struct Query {
    name: Name,
    kind: Kind,
    octets: Vec<u8, DNS_QUERY_OCTETS>,
    /// Where the question ends.
    end: usize,
}

impl Query {
    /// Asks for records of `kind` at `name`. With `edns` it says that responses over UDP may have
    /// [`DNS_UDP_OCTETS`] (RFC 6891); a server that does not know that says so.
    pub fn new(name: &Name, kind: Kind, draw: &Draw, edns: bool) -> Self {
        let mut octets = Vec::new();
        let mut put = |bytes: &[u8]| octets.extend_from_slice(bytes).expect("room for the longest name");
        put(&[draw[0], draw[1]]);
        put(&FLAG_RECURSION_DESIRED.to_be_bytes());
        put(&[0, 1, 0, 0, 0, 0, 0, u8::from(edns)]);
        let mut nth = 0;
        for label in name.labels() {
            // A label has at most 63 octets.
            put(&[label.len() as u8]);
            for octet in label.bytes() {
                let upper = draw[2 + nth / 8] >> (nth % 8) & 1 == 1;
                put(&[if upper { octet.to_ascii_uppercase() } else { octet }]);
                nth += 1;
            }
        }
        put(&[0]);
        put(&(kind as u16).to_be_bytes());
        put(&CLASS_IN.to_be_bytes());
        if edns {
            put(&[0]);
            put(&TYPE_OPT.to_be_bytes());
            put(&(DNS_UDP_OCTETS as u16).to_be_bytes());
            put(&[0; 6]);
        }
        let end = octets.len() - if edns { 11 } else { 0 };
        Self { name: name.clone(), kind, octets, end }
    }

    /// The octets to send; over TCP two octets with their number stand before them.
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    fn question(&self) -> &[u8] {
        &self.octets[HEADER_OCTETS..self.end]
    }
}

/// What a server says of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// Answered.
    NoError,
    /// The name does not exist.
    NxDomain,
    /// The server does not understand the query; one that does not know EDNS says this.
    NotUnderstood,
    /// Anything else: it can't, or does not want to.
    Failed,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// No record of that kind.
    Nothing,
    /// At least one address, at most [`ADDRESSES`].
    Addresses(Vec<IpAddr, ADDRESSES>),
    /// At least one mail exchanger.
    Exchangers(Exchangers),
    /// The name stands for another one, of which the response says no more.
    Alias,
}

/// A response that belongs to a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// What the server says.
    pub code: Code,
    /// What it found. Nothing, unless `code` is [`Code::NoError`].
    pub found: Found,
    /// The name at the end of the aliases: the one asked for, if it has none.
    pub name: Name,
    /// Aliases that were followed.
    pub aliases: usize,
    /// Seconds for which it may be remembered; of a negative answer, what the SOA record says (RFC 2308 5).
    pub ttl_s: u32,
}

/// Why octets are no response to a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// They answer something else: a late response, or a forged one.
    Foreign,
    /// The case of the question's letters is not ours: a careless server, or a forged response.
    Case,
    /// There is more than fits over UDP: the question is to be asked over TCP.
    Truncated,
    /// They are ours and broken.
    Broken,
}

/// Mail exchangers, the most wanted first; at most [`EXCHANGERS`], those that fit into
/// [`EXCHANGERS_OCTETS`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exchangers(Vec<u8, EXCHANGERS_OCTETS>);

impl Exchangers {
    /// Preference and name of each. The root as only name says that the domain takes no mail (RFC 7505).
    pub fn iter(&self) -> impl Iterator<Item = (u16, &str)> {
        let mut rest = self.0.as_slice();
        core::iter::from_fn(move || {
            let (&[high, low, length], behind) = rest.split_first_chunk::<3>()?;
            let (name, behind) = behind.split_at_checked(usize::from(length))?;
            rest = behind;
            Some((u16::from_be_bytes([high, low]), core::str::from_utf8(name).ok()?))
        })
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Puts one behind those that are at least as wanted; where there is no room, the least wanted goes.
    pub fn insert(&mut self, preference: u16, name: &Name) {
        let name = name.as_str();
        let mut kept = Self::default();
        let mut count = 0;
        let mut keep = |preference: u16, name: &str| {
            let size = 3 + name.len();
            if count < EXCHANGERS && kept.0.capacity() - kept.0.len() >= size {
                let [high, low] = preference.to_be_bytes();
                // A name has at most 253 octets, and there is room.
                let _ = kept.0.extend_from_slice(&[high, low, name.len() as u8]);
                let _ = kept.0.extend_from_slice(name.as_bytes());
                count += 1;
            }
        };
        let mut is_placed = false;
        for (other, other_name) in self.iter() {
            if !is_placed && preference < other {
                keep(preference, name);
                is_placed = true;
            }
            keep(other, other_name);
        }
        if !is_placed {
            keep(preference, name);
        }
        *self = kept;
    }
}

/// Reads a response to `query`. Over TCP, where nobody can forge one, the case of letters does not count.
pub fn read(query: &Query, octets: &[u8], by_tcp: bool) -> Result<Response, Fault> {
    let mut reader = Reader { octets, at: 0 };
    let (id, flags) = (reader.u16().ok_or(Fault::Foreign)?, reader.u16().ok_or(Fault::Foreign)?);
    let count = [(); 4].map(|()| reader.u16());
    let [Some(questions), Some(answers), Some(authorities), Some(additionals)] = count else {
        return Err(Fault::Foreign);
    };
    let is_ours = id.to_be_bytes() == query.octets[..2]
        && flags & FLAG_RESPONSE != 0
        && flags & OPCODE_MASK == 0
        && questions <= 1;
    if !is_ours {
        return Err(Fault::Foreign);
    }
    let code = match flags & 0xf {
        0 => Code::NoError,
        3 => Code::NxDomain,
        1 | 4 => Code::NotUnderstood,
        _ => Code::Failed,
    };
    let nothing =
        |code| Response { code, found: Found::Nothing, name: query.name.clone(), aliases: 0, ttl_s: 0 };
    if questions == 0 {
        // Some servers leave the question out when they say that they don't understand.
        let tells_nothing = matches!(code, Code::NotUnderstood | Code::Failed);
        return if tells_nothing { Ok(nothing(code)) } else { Err(Fault::Foreign) };
    }
    let question = reader.take(query.question().len()).ok_or(Fault::Foreign)?;
    if question != query.question() {
        let is_same = question.eq_ignore_ascii_case(query.question());
        match (is_same, by_tcp) {
            (false, _) => return Err(Fault::Foreign),
            (true, false) => return Err(Fault::Case),
            (true, true) => {}
        }
    }
    if flags & FLAG_TRUNCATED != 0 {
        return Err(if by_tcp { Fault::Broken } else { Fault::Truncated });
    }
    let answers = Section { at: reader.at, count: answers };
    let authorities = Section { at: reader.skip(answers).ok_or(Fault::Broken)?, count: authorities };
    let additionals = Section { at: reader.skip(authorities).ok_or(Fault::Broken)?, count: additionals };
    reader.skip(additionals).ok_or(Fault::Broken)?;
    if reader.extends_code(additionals).ok_or(Fault::Broken)? {
        return Ok(nothing(Code::Failed));
    }
    if matches!(code, Code::NotUnderstood | Code::Failed) {
        return Ok(nothing(code));
    }
    follow(query, octets, code, answers, authorities).ok_or(Fault::Broken)
}

/// Follows the aliases of the answer section to the records that were asked for.
fn follow(
    query: &Query,
    octets: &[u8],
    code: Code,
    answers: Section,
    authorities: Section,
) -> Option<Response> {
    let mut reader = Reader { octets, at: 0 };
    let (mut name, mut aliases, mut ttl_s) = (query.name.clone(), 0, u32::MAX);
    loop {
        if code == Code::NoError
            && let Some(found) = reader.collect(answers, &name, query.kind, &mut ttl_s)?
        {
            return Some(Response { code, found, name, aliases, ttl_s });
        }
        let Some(target) = reader.alias(answers, &name, &mut ttl_s)? else { break };
        if aliases == ALIASES {
            return None;
        }
        aliases += 1;
        name = target;
    }
    let negative_ttl_s = reader.negative_ttl(authorities)?;
    // Without SOA the response does not say that the alias leads to nothing: it may only not know.
    let is_open = aliases > 0 && code == Code::NoError && negative_ttl_s.is_none();
    let found = if is_open { Found::Alias } else { Found::Nothing };
    let ttl_s = if is_open { ttl_s } else { ttl_s.min(negative_ttl_s.unwrap_or(0)) };
    Some(Response { code, found, name, aliases, ttl_s })
}

/// Records of a message: where they start, and how many there are.
#[derive(Clone, Copy)]
struct Section {
    at: usize,
    count: u16,
}

/// A record, its data unread.
struct Record {
    /// `None`: a name that we never ask for.
    owner: Option<Name>,
    kind: u16,
    class: u16,
    ttl_s: u32,
    /// Where its data stands.
    start: usize,
    end: usize,
}

/// Reads forward, and never past the end: what is not there is `None`.
struct Reader<'m> {
    octets: &'m [u8],
    at: usize,
}

impl<'m> Reader<'m> {
    fn take(&mut self, count: usize) -> Option<&'m [u8]> {
        let taken = self.octets.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_be_bytes)
    }

    /// A name; `Some(None)` for one whose labels have octets that no name of ours has. `None`: broken.
    fn name(&mut self) -> Option<Option<Name>> {
        let mut name = Some(Name::ROOT);
        let (mut at, mut behind, mut octets, mut jumps) = (self.at, None, 1, 0);
        // Pointers have to lead to before this: it only ever gets smaller, so this ends.
        let mut start = at;
        loop {
            let length = usize::from(*self.octets.get(at)?);
            match length >> 6 {
                0 if length == 0 => break,
                0 => {
                    octets += 1 + length;
                    if octets > DNS_NAME_OCTETS + 2 {
                        return None;
                    }
                    let label = self.octets.get(at + 1..at + 1 + length)?;
                    name = name.and_then(|mut name| name.push_label(label).map(|()| name));
                    at += 1 + length;
                }
                3 => {
                    let target = (length & 0x3f) << 8 | usize::from(*self.octets.get(at + 1)?);
                    behind.get_or_insert(at + 2);
                    jumps += 1;
                    if target >= start || target < HEADER_OCTETS || jumps > LABELS {
                        return None;
                    }
                    (at, start) = (target, target);
                }
                _ => return None,
            }
        }
        self.at = behind.unwrap_or(at + 1);
        Some(name)
    }

    fn record(&mut self) -> Option<Record> {
        let owner = self.name()?;
        let (kind, class, ttl_s) = (self.u16()?, self.u16()?, self.u32()?);
        let length = usize::from(self.u16()?);
        let start = self.at;
        self.take(length)?;
        // A TTL with its highest bit set is none (RFC 2181 8).
        let ttl_s = if kind != TYPE_OPT && ttl_s > i32::MAX as u32 { 0 } else { ttl_s };
        Some(Record { owner, kind, class, ttl_s, start, end: self.at })
    }

    /// Goes through a section; where it ends.
    fn skip(&mut self, section: Section) -> Option<usize> {
        self.each(section, |_, _| Some(()))?;
        Some(self.at)
    }

    /// Shows every record of a section of class IN or of none; the reader given along stands at its data.
    fn each(
        &mut self,
        section: Section,
        mut see: impl FnMut(&mut Reader<'m>, &Record) -> Option<()>,
    ) -> Option<()> {
        self.at = section.at;
        for _ in 0..section.count {
            let record = self.record()?;
            if record.class == CLASS_IN || record.kind == TYPE_OPT {
                see(&mut Reader { octets: self.octets, at: record.start }, &record)?;
            }
        }
        Some(())
    }

    /// The records of `kind` at `name`; `Some(None)` if there are none.
    fn collect(
        &mut self,
        answers: Section,
        name: &Name,
        kind: Kind,
        ttl_s: &mut u32,
    ) -> Option<Option<Found>> {
        let (mut addresses, mut exchangers) = (Vec::<IpAddr, ADDRESSES>::new(), Exchangers::default());
        let mut lowest_s = *ttl_s;
        self.each(answers, |data, record| {
            if record.kind != kind as u16 || record.owner.as_ref() != Some(name) {
                return Some(());
            }
            lowest_s = lowest_s.min(record.ttl_s);
            let octets = &data.octets[record.start..record.end];
            match kind {
                Kind::A => add(&mut addresses, Ipv4Addr::from(<[u8; 4]>::try_from(octets).ok()?).into()),
                Kind::Aaaa => add(&mut addresses, Ipv6Addr::from(<[u8; 16]>::try_from(octets).ok()?).into()),
                Kind::Mx => {
                    let (preference, exchanger) = (data.u16()?, data.name()?);
                    if data.at != record.end {
                        return None;
                    }
                    // A name that can't be asked for is no exchanger.
                    if let Some(exchanger) = exchanger {
                        exchangers.insert(preference, &exchanger);
                    }
                }
                Kind::Cname => {}
            }
            Some(())
        })?;
        *ttl_s = lowest_s;
        Some(match (addresses.is_empty(), exchangers.is_empty()) {
            (false, _) => Some(Found::Addresses(addresses)),
            (_, false) => Some(Found::Exchangers(exchangers)),
            _ => None,
        })
    }

    /// The name that `name` stands for.
    fn alias(&mut self, answers: Section, name: &Name, ttl_s: &mut u32) -> Option<Option<Name>> {
        let mut target = None;
        self.each(answers, |data, record| {
            if target.is_none() && record.kind == Kind::Cname as u16 && record.owner.as_ref() == Some(name) {
                target = data.name()?;
                *ttl_s = (*ttl_s).min(record.ttl_s);
                if data.at != record.end {
                    return None;
                }
            }
            Some(())
        })?;
        Some(target)
    }

    /// How long a negative answer holds (RFC 2308 5); `Some(None)` if it has no SOA record.
    fn negative_ttl(&mut self, authorities: Section) -> Option<Option<u32>> {
        let mut found = None;
        self.each(authorities, |data, record| {
            if record.kind == TYPE_SOA {
                data.name()?;
                data.name()?;
                data.take(16)?;
                let minimum_s = data.u32()?;
                found = Some(record.ttl_s.min(minimum_s));
            }
            Some(())
        })?;
        Some(found)
    }

    /// True if an OPT record adds upper bits to the code, which makes it one of those that we don't know.
    fn extends_code(&mut self, additionals: Section) -> Option<bool> {
        let mut extends = false;
        self.each(additionals, |_, record| {
            extends |= record.kind == TYPE_OPT && record.ttl_s >> 24 != 0;
            Some(())
        })?;
        Some(extends)
    }
}

/// Adds an address that is not there yet, if there is room.
fn add(addresses: &mut Vec<IpAddr, ADDRESSES>, address: IpAddr) {
    if !addresses.contains(&address) {
        // Those that don't fit are never tried.
        let _ = addresses.push(address);
    }
}

#[cfg(test)]
mod tests;
