//! Responses of name servers: nothing panics, and whatever is read answers the question that was asked.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pillarbox::dns::message::{Code, DRAW_OCTETS, Found, Kind, Query, read};
use pillarbox::dns::name::Name;

fuzz_target!(|data: &[u8]| {
    let Some((&choice, data)) = data.split_first() else { return };
    let name = Name::parse("a.example.test").expect("a name");
    let kind = [Kind::A, Kind::Aaaa, Kind::Mx, Kind::Cname][usize::from(choice & 3)];
    let query = Query::new(&name, kind, &[0x5a; DRAW_OCTETS], false);
    // As it comes, and behind the right header and question, so that more than the first check is seen.
    let _ = read(&query, data, choice & 4 != 0);
    let [_, counts @ .., _] = data else { return };
    let mut message = query.octets().to_vec();
    message[2] |= 0x80;
    for (place, count) in [7, 9, 11].into_iter().zip(counts) {
        message[place] = count % 32;
    }
    message.extend_from_slice(data.get(3..).unwrap_or_default());
    let Ok(response) = read(&query, &message, false) else { return };
    assert!(response.code == Code::NoError || matches!(response.found, Found::Nothing | Found::Alias));
    assert!(response.aliases > 0 || response.name == name);
    match response.found {
        Found::Addresses(addresses) => {
            assert!(!addresses.is_empty());
            assert!(addresses.iter().all(|address| address.is_ipv4() == (kind == Kind::A)));
        }
        Found::Exchangers(exchangers) => {
            assert!(kind == Kind::Mx && !exchangers.is_empty());
            assert!(exchangers.iter().zip(exchangers.iter().skip(1)).all(|(one, next)| one.0 <= next.0));
        }
        Found::Nothing | Found::Alias => {}
    }
});
