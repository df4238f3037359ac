//! Paths and address lists: nothing panics, and what is taken reads back as itself.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pillarbox::mail::address_list::Recipients;
use pillarbox::smtp::address::{Address, Direction, Manner, Path};

fuzz_target!(|data: &[u8]| {
    for direction in [Direction::Forward, Direction::Reverse] {
        for manner in [Manner::Strict, Manner::Tolerant("host.test")] {
            let Ok((path, _)) = Path::read(data, direction, manner) else { continue };
            let text = path.as_str();
            assert!(!text.bytes().any(|octet| octet < b' ' || octet == 0x7f), "{text:?}");
            let again = format!("<{text}>");
            let (same, rest) =
                Path::read(again.as_bytes(), direction, manner).expect("canonical paths are paths");
            assert_eq!((same.as_str(), rest), (text, &b""[..]));
            let _ = Address::parse(text);
        }
    }
    for mut list in [Recipients::original(), Recipients::resent()] {
        let mut count = 0_usize;
        data.chunks(7).for_each(|piece| list.read(piece, &mut |_| count += 1));
        list.finish(&mut |_| count += 1);
        assert!(count <= data.len() + 1);
    }
});
