//! The PROXY header: more octets never change what the first ones said, and none is waited for beyond
//! the longest header.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pillarbox::net::proxy::{HEADER_OCTETS, Start, read};

fuzz_target!(|data: &[u8]| {
    let all = read(data);
    for end in 0..data.len().min(HEADER_OCTETS + 1) {
        let part = read(&data[..end]);
        assert!(part == Start::Unfinished || part == all);
    }
    match all {
        Start::Header { octets, .. } => assert!(octets <= HEADER_OCTETS && octets <= data.len()),
        Start::Unfinished => assert!(data.len() < HEADER_OCTETS),
        Start::Wrong => {}
    }
});
