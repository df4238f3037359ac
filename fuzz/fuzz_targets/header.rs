//! The header scanner: a cut changes nothing, and the body stays as it is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pillarbox::mail::date::Date;
use pillarbox::mail::header::{Missing, Rules, Scanner};

fn scanned(rules: &Rules<'_>, content: &[u8], size: usize) -> Vec<u8> {
    let mut scanner = Scanner::new();
    let mut stored = Vec::new();
    let mut sink = |octets: &[u8]| -> Result<(), ()> {
        stored.extend_from_slice(octets);
        Ok(())
    };
    for piece in content.chunks(size) {
        scanner.write(rules, piece, &mut sink).expect("the sink takes all");
    }
    scanner.finish(rules, &mut sink).expect("the sink takes all");
    stored
}

fuzz_target!(|data: &[u8]| {
    let Some((&first, content)) = data.split_first() else { return };
    let missing = Missing { date: Some(Date::utc(0)), id: "ID", hostname: "host.test", from: "me@host.test" };
    let rules = Rules {
        missing: (first & 1 == 0).then_some(missing),
        drop_bcc: first & 2 == 0,
        drop_return_path: first & 4 == 0,
        ..Rules::default()
    };
    let whole = scanned(&rules, content, content.len().max(1));
    assert_eq!(scanned(&rules, content, usize::from(first >> 3) + 1), whole);
});
