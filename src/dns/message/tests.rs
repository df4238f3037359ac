//! The codec against messages made by hand, by another implementation, and by chance.

use std::format;
use std::string::String;
use std::vec::Vec;

use proptest::prelude::*;
use simple_dns::rdata::{A, AAAA, CNAME, MX, RData, SOA};
use simple_dns::{CLASS, Packet, PacketFlag, QCLASS, QTYPE, RCODE, ResourceRecord, TYPE};

use super::*;

const DRAW: Draw = [0b0101_0110; DRAW_OCTETS];

fn query(name: &str, kind: Kind) -> Query {
    Query::new(&Name::parse(name).unwrap(), kind, &DRAW, true)
}

fn other<'a>(name: &'a str) -> simple_dns::Name<'a> {
    simple_dns::Name::new_unchecked(name)
}

fn record<'a>(owner: &'a str, ttl_s: u32, data: RData<'a>) -> ResourceRecord<'a> {
    ResourceRecord::new(other(owner), CLASS::IN, ttl_s, data)
}

fn mx<'a>(owner: &'a str, preference: u16, exchange: &'a str) -> ResourceRecord<'a> {
    record(owner, 300, RData::MX(MX { preference, exchange: other(exchange) }))
}

fn cname<'a>(owner: &'a str, target: &'a str) -> ResourceRecord<'a> {
    record(owner, 200, RData::CNAME(CNAME(other(target))))
}

fn a(owner: &str, address: Ipv4Addr) -> ResourceRecord<'_> {
    record(owner, 100, RData::A(A { address: address.into() }))
}

fn soa(minimum: u32) -> ResourceRecord<'static> {
    let (mname, rname) = (other("ns.test"), other("admin.test"));
    let soa = SOA { mname, rname, serial: 1, refresh: 2, retry: 3, expire: 4, minimum };
    record("test", 900, RData::SOA(soa))
}

/// A response to the query with these records, made by the other implementation.
fn response(
    query: &Query,
    code: RCODE,
    answers: &[ResourceRecord<'_>],
    soa: &[ResourceRecord<'_>],
) -> Vec<u8> {
    let mut packet = Packet::parse(query.octets()).unwrap().into_reply();
    *packet.rcode_mut() = code;
    packet.set_flags(PacketFlag::RECURSION_AVAILABLE);
    packet.answers = answers.to_vec();
    packet.name_servers = soa.to_vec();
    // Its writer makes compressed names.
    packet.build_bytes_vec_compressed().unwrap()
}

fn ok(query: &Query, answers: &[ResourceRecord<'_>]) -> Response {
    read(query, &response(query, RCODE::NoError, answers, &[]), false).unwrap()
}

fn exchangers(found: &Found) -> Vec<(u16, String)> {
    let Found::Exchangers(list) = found else { panic!("{found:?}") };
    list.iter().map(|(preference, name)| (preference, name.into())).collect()
}

#[test]
fn a_query_is_what_another_implementation_reads() {
    let query = query("mail.Example.test", Kind::Mx);
    let packet = Packet::parse(query.octets()).unwrap();
    assert_eq!(packet.id(), u16::from_be_bytes([DRAW[0], DRAW[1]]));
    assert!(packet.has_flags(PacketFlag::RECURSION_DESIRED) && !packet.has_flags(PacketFlag::RESPONSE));
    let question = &packet.questions[0];
    let name = format!("{}", question.qname);
    assert_ne!(name, "mail.example.test", "the case is drawn");
    assert!(name.eq_ignore_ascii_case("mail.example.test"));
    assert_eq!((question.qtype, question.qclass), (QTYPE::TYPE(TYPE::MX), QCLASS::CLASS(CLASS::IN)));
    assert_eq!(packet.opt().unwrap().udp_packet_size, 1232);
    let plain = Query::new(&Name::parse("a.test").unwrap(), Kind::Aaaa, &DRAW, false);
    assert!(Packet::parse(plain.octets()).unwrap().opt().is_none());
}

#[test]
fn the_longest_name_fits() {
    let name = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(61)].join(".");
    let query = query(&name, Kind::A);
    assert_eq!(query.octets().len(), 12 + 255 + 4 + 11);
    assert!(Packet::parse(query.octets()).is_ok());
    let found = ok(&query, &[a(&name, Ipv4Addr::LOCALHOST)]);
    assert_eq!(found.found, Found::Addresses([IpAddr::V4(Ipv4Addr::LOCALHOST)].into_iter().collect()));
}

#[test]
fn exchangers_come_sorted_and_the_least_wanted_go() {
    let question = query("x.test", Kind::Mx);
    let names: Vec<String> = (0..20).map(|n| format!("mx{n}.x.test")).collect();
    let answers: Vec<_> =
        names.iter().enumerate().map(|(n, name)| mx("x.test", 100 - n as u16, name)).collect();
    let response = ok(&question, &answers);
    let found = exchangers(&response.found);
    assert_eq!((found.len(), response.ttl_s), (EXCHANGERS, 300));
    assert_eq!(
        (found[0].clone(), found[15].clone()),
        ((81, "mx19.x.test".into()), (96, "mx4.x.test".into()))
    );
    let null = ok(&question, &[mx("X.test", 0, "")]);
    assert_eq!(exchangers(&null.found), [(0, String::new())], "the root: a null MX");
    // Names of full length: what fits is kept.
    let long: Vec<String> = (0..16).map(|n| format!("{n:063}.{0:063}.{0:063}.test", 0)).collect();
    let answers: Vec<_> = long.iter().map(|name| mx("x.test", 1, name)).collect();
    assert_eq!(exchangers(&ok(&question, &answers).found).len(), EXCHANGERS_OCTETS / (3 + long[0].len()));
}

#[test]
fn addresses_are_at_most_eight_and_different() {
    let answers: Vec<_> = (0..30).map(|n| a("x.test", Ipv4Addr::new(192, 0, 2, n / 2))).collect();
    let Found::Addresses(found) = ok(&query("x.test", Kind::A), &answers).found else { panic!() };
    let expected: Vec<IpAddr> = (0..8).map(|n| Ipv4Addr::new(192, 0, 2, n).into()).collect();
    assert_eq!(found.as_slice(), expected);
    let six = record("x.test", 7, RData::AAAA(AAAA { address: 1 }));
    let response = ok(&query("x.test", Kind::Aaaa), &[six]);
    assert_eq!(response.found, Found::Addresses([IpAddr::from(Ipv6Addr::LOCALHOST)].into_iter().collect()));
    assert_eq!(response.ttl_s, 7);
}

#[test]
fn aliases_are_followed_in_any_order() {
    let query = query("x.test", Kind::A);
    let address = a("c.test", Ipv4Addr::LOCALHOST);
    let response = ok(&query, &[address, cname("b.test", "c.test"), cname("x.TEST", "b.test")]);
    assert_eq!((response.name.as_str(), response.aliases, response.ttl_s), ("c.test", 2, 100));
    assert!(matches!(response.found, Found::Addresses(_)));
    let open = ok(&query, &[cname("x.test", "b.test")]);
    assert_eq!((open.found, open.name.as_str()), (Found::Alias, "b.test"));
    let loops = super::tests::response(&query, RCODE::NoError, &[cname("x.test", "x.test")], &[]);
    assert_eq!(read(&query, &loops, false), Err(Fault::Broken));
    let names: Vec<String> =
        core::iter::once("x.test".into()).chain((1..19).map(|n| format!("n{n}.test"))).collect();
    for (count, fits) in [(ALIASES, true), (ALIASES + 1, false)] {
        let chain: Vec<_> = (0..count).map(|n| cname(&names[n], &names[n + 1])).collect();
        let octets = super::tests::response(&query, RCODE::NoError, &chain, &[soa(60)]);
        assert_eq!(read(&query, &octets, false).is_ok(), fits, "{count}");
    }
}

#[test]
fn what_other_names_have_is_not_taken() {
    let query = query("x.test", Kind::A);
    for (owner, class) in [("y.test", CLASS::IN), ("test", CLASS::IN), ("x.test", CLASS::CH)] {
        let data = RData::A(A { address: 1 });
        let response = ok(&query, &[ResourceRecord::new(other(owner), class, 1, data)]);
        assert_eq!(response.found, Found::Nothing, "{owner}");
    }
    assert_eq!(ok(&query, &[mx("x.test", 1, "y.test")]).found, Found::Nothing, "another kind");
}

#[test]
fn negative_answers_hold_as_long_as_soa_says() {
    let query = query("x.test", Kind::Mx);
    let none = read(&query, &response(&query, RCODE::NoError, &[], &[soa(60)]), false).unwrap();
    assert_eq!((none.code, none.found, none.ttl_s), (Code::NoError, Found::Nothing, 60));
    let gone = read(&query, &response(&query, RCODE::NameError, &[], &[soa(5000)]), false).unwrap();
    assert_eq!((gone.code, gone.found, gone.ttl_s), (Code::NxDomain, Found::Nothing, 900));
    let alias = response(&query, RCODE::NameError, &[cname("x.test", "y.test")], &[]);
    let alias = read(&query, &alias, false).unwrap();
    assert_eq!((alias.code, alias.found, alias.ttl_s), (Code::NxDomain, Found::Nothing, 0));
}

#[test]
fn codes_are_told_apart() {
    let query = query("x.test", Kind::Mx);
    for (code, expected) in [
        (RCODE::ServerFailure, Code::Failed),
        (RCODE::Refused, Code::Failed),
        (RCODE::FormatError, Code::NotUnderstood),
        (RCODE::NotImplemented, Code::NotUnderstood),
    ] {
        let octets = response(&query, code, &[mx("x.test", 1, "y.test")], &[]);
        let response = read(&query, &octets, false).unwrap();
        assert_eq!((response.code, response.found), (expected, Found::Nothing));
        let mut bare = octets[..12].to_vec();
        bare[4..].fill(0);
        assert_eq!(read(&query, &bare, false).unwrap().code, expected, "the question left out");
    }
    let mut bare = response(&query, RCODE::NameError, &[], &[])[..12].to_vec();
    bare[4..].fill(0);
    assert_eq!(read(&query, &bare, false), Err(Fault::Foreign), "only complaints need no question");
    // The upper bits of the code stand in the OPT record.
    let mut octets = response(&query, RCODE::NoError, &[mx("x.test", 1, "y.test")], &[]);
    let count = octets.len();
    octets[11] = 1;
    octets.extend([0, 0, 41, 4, 0xd0, 1, 0, 0, 0, 0, 0]);
    assert_eq!(read(&query, &octets, false).unwrap().code, Code::Failed);
    octets[count + 5] = 0;
    assert_eq!(read(&query, &octets, false).unwrap().code, Code::NoError);
}

#[test]
fn only_the_response_to_the_question_is_one() {
    let query = query("x.test", Kind::Mx);
    let right = response(&query, RCODE::NoError, &[mx("x.test", 1, "y.test")], &[]);
    assert!(read(&query, &right, false).is_ok());
    // Id, the response flag, the opcode, the number of questions, type and class.
    for (place, bit) in [(0, 1), (1, 0x80), (2, 0x80), (2, 8), (5, 2), (21, 1), (23, 2)] {
        let mut wrong = right.clone();
        wrong[place] ^= bit;
        assert_eq!(read(&query, &wrong, false), Err(Fault::Foreign), "octet {place}");
    }
    let mut wrong = right.clone();
    wrong[13] ^= 1;
    assert_eq!(read(&query, &wrong, true), Err(Fault::Foreign), "another name");
    let mut wrong = right.clone();
    wrong[13] ^= 0x20;
    assert_eq!(read(&query, &wrong, false), Err(Fault::Case));
    assert!(read(&query, &wrong, true).is_ok(), "nobody forges what comes over TCP");
    let mut short = right;
    short[2] |= 2;
    assert_eq!(read(&query, &short, false), Err(Fault::Truncated));
    assert_eq!(read(&query, &short, true), Err(Fault::Broken));
    assert_eq!(read(&query, &short[..20], false), Err(Fault::Foreign), "torn inside the question");
}

/// A response with one MX record whose exchanger has these octets.
fn with_exchanger(query: &Query, exchanger: &[u8]) -> Vec<u8> {
    let mut octets = response(query, RCODE::NoError, &[], &[]);
    octets[7] = 1;
    octets.extend([0xc0, 12, 0, 15, 0, 1, 0, 0, 0, 60, 0, 2 + exchanger.len() as u8, 0, 10]);
    octets.extend(exchanger);
    octets
}

#[test]
fn pointers_lead_back_or_nowhere() {
    let query = query("x.test", Kind::Mx);
    let start = with_exchanger(&query, &[]).len() as u8;
    let read = |exchanger: &[u8]| read(&query, &with_exchanger(&query, exchanger), false);
    let found = |exchanger: &[u8]| exchangers(&read(exchanger).unwrap().found);
    assert_eq!(found(&[2, b'm', b'X', 0xc0, 12]), [(10, "mx.x.test".into())]);
    assert_eq!(found(&[0xc0, 14]), [(10, "test".into())]);
    for broken in [
        &[0xc0, start][..],          // to itself
        &[0xc0, start + 2, 0],       // ahead
        &[1, b'a', 0xc0, start],     // to the start of the name it ends
        &[1, b'a', 0xc0, start + 2], // to itself, behind a label
        &[0xc0, 0],                  // into the header
        &[0xc0, 11],                 // its last octet
        &[0xff, 0xff],               // beyond the end
        &[0xc0],                     // torn
        &[0x40, 0, 0],               // a kind of label that nobody uses
        &[0x80, 0, 0],
        &[5, b'a', b'b'],  // a label beyond the end
        &[1, b'a'],        // no end
        &[1, b'a', 0, 99], // something behind it
    ] {
        assert_eq!(read(broken), Err(Fault::Broken), "{broken:?}");
    }
    assert_eq!(read(&[3, b'a', 0, b'b', 0]).unwrap().found, Found::Nothing, "a name that nobody can ask for");
    assert_eq!(read(&[3, b'a', b'.', b'b', 0]).unwrap().found, Found::Nothing);
    // Four labels of 63 octets are longer than any name.
    let long = [63; 64].repeat(4);
    assert_eq!(read(&[&long[..], &[0]].concat()), Err(Fault::Broken));
}

#[test]
fn a_name_has_no_more_pointers_than_labels() {
    let query = query("x.test", Kind::Mx);
    for (count, fits) in [(LABELS, true), (LABELS + 1, false)] {
        // A record nobody reads whose data are pointers, each to the one before it, the first to the question.
        let mut octets = response(&query, RCODE::NoError, &[], &[]);
        octets[7] = 2;
        let length = 2 * (count - 1) as u16;
        octets.extend([&[0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 60][..], &length.to_be_bytes()].concat());
        let mut last = 12_u16;
        for _ in 1..count {
            let here = octets.len() as u16;
            octets.extend((0xc000 | last).to_be_bytes());
            last = here;
        }
        octets.extend(
            [&[0xc0, 12, 0, 15, 0, 1, 0, 0, 0, 60, 0, 4, 0, 10][..], &(0xc000 | last).to_be_bytes()].concat(),
        );
        let read = read(&query, &octets, false);
        assert_eq!(read.is_ok(), fits, "{count}: {read:?}");
    }
}

#[test]
fn a_torn_response_is_broken_wherever_it_is_torn() {
    let query = query("x.test", Kind::Mx);
    let answers = [mx("x.test", 1, "y.test"), mx("x.test", 2, "z.test")];
    let whole = response(&query, RCODE::NoError, &answers, &[soa(60)]);
    for end in 12 + query.question().len()..whole.len() {
        assert_eq!(read(&query, &whole[..end], false), Err(Fault::Broken), "torn at {end}");
    }
    for end in 0..12 + query.question().len() {
        assert_eq!(read(&query, &whole[..end], false), Err(Fault::Foreign), "torn at {end}");
    }
}

fn any_kind() -> impl Strategy<Value = Kind> {
    prop_oneof![Just(Kind::A), Just(Kind::Aaaa), Just(Kind::Mx), Just(Kind::Cname)]
}

proptest! {
    #[test]
    fn any_octets_are_read_or_refused(octets in proptest::collection::vec(any::<u8>(), 0..600), kind in any_kind()) {
        let _ = read(&query("x.test", kind), &octets, false);
    }

    #[test]
    fn any_octets_behind_the_question_are_read_or_refused(
        counts in proptest::array::uniform3(0_u8..4),
        octets in proptest::collection::vec(prop_oneof![any::<u8>(), Just(0xc0), Just(12), Just(0)], 0..600),
        kind in any_kind(),
    ) {
        let query = query("x.test", kind);
        let mut message = response(&query, RCODE::NoError, &[], &[]);
        (message[7], message[9], message[11]) = (counts[0], counts[1], counts[2]);
        message.extend(octets);
        let _ = read(&query, &message, false);
    }

    #[test]
    fn a_flipped_bit_never_changes_what_is_asked(place in 0_usize..200, bit in 0..8) {
        let query = query("x.test", Kind::Mx);
        let mut octets = response(&query, RCODE::NoError, &[mx("x.test", 1, "y.test")], &[]);
        let place = place % octets.len();
        octets[place] ^= 1_u8 << bit;
        if let Ok(response) = read(&query, &octets, false) {
            prop_assert!(!(12..12 + query.question().len()).contains(&place) && place > 1);
            prop_assert_eq!(response.name.as_str(), "x.test");
        }
    }

    #[test]
    fn what_another_implementation_writes_is_read(
        list in proptest::collection::vec((any::<u16>(), "[a-z][a-z0-9-]{0,20}(\\.[a-z]{1,10}){0,3}"), 1..12),
        aliases in 0_usize..4,
    ) {
        let names: Vec<String> = core::iter::once("x.test".into()).chain((0..aliases).map(|n| format!("alias{n}.test"))).collect();
        let query = query("x.test", Kind::Mx);
        let mut answers: Vec<_> = names.windows(2).map(|pair| cname(&pair[0], &pair[1])).collect();
        answers.extend(list.iter().map(|(preference, name)| mx(&names[aliases], *preference, name)));
        let response = ok(&query, &answers);
        prop_assert_eq!(response.aliases, aliases);
        let mut expected = list;
        expected.sort_by_key(|(preference, _)| *preference);
        prop_assert_eq!(exchangers(&response.found), expected);
    }

    #[test]
    fn the_case_of_every_letter_is_drawn(draw in proptest::array::uniform::<_, DRAW_OCTETS>(any::<u8>())) {
        let text = "abcdefghijklmnopqrstuvwxyz.example.test";
        let query = Query::new(&Name::parse(text).unwrap(), Kind::A, &draw, false);
        let name = format!("{}", Packet::parse(query.octets()).unwrap().questions[0].qname);
        let drawn = text.bytes().filter(|octet| *octet != b'.').enumerate();
        let expected: Vec<u8> = drawn.map(|(nth, octet)| octet ^ if draw[2 + nth / 8] >> (nth % 8) & 1 == 1 { 0x20 } else { 0 }).collect();
        prop_assert_eq!(name.bytes().filter(|octet| *octet != b'.').collect::<Vec<_>>(), expected);
    }
}
