//! The content decoder: any octets, however they are cut, give the same clean lines.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pillarbox::smtp::content::{Decoder, Framing, LineEnds, Stop};

fn decode(framing: Framing, ends: LineEnds, input: &[u8], piece: usize) -> (Vec<u8>, Option<usize>, bool) {
    let mut decoder = Decoder::new(framing, ends);
    let (mut content, mut faulty, mut start, mut filled) = (Vec::new(), false, 0, 0);
    while filled < input.len() {
        filled = (filled + piece).min(input.len());
        while start < filled {
            let mut room = [0; 16];
            let decoded = decoder.decode(&input[start..filled], &mut room);
            start += decoded.consumed;
            content.extend(&room[..decoded.written]);
            match decoded.stop {
                Stop::Exhausted => {}
                Stop::Fault(_) => faulty = true,
                Stop::End => return (content, Some(start), faulty),
            }
        }
    }
    (content, None, faulty)
}

fuzz_target!(|data: &[u8]| {
    let Some((&first, input)) = data.split_first() else { return };
    let framing = if first & 1 == 0 { Framing::Dot } else { Framing::Count };
    let ends = [LineEnds::Strict, LineEnds::CrLf, LineEnds::Lf][usize::from(first >> 1) % 3];
    let whole = decode(framing, ends, input, input.len().max(1));
    assert_eq!(decode(framing, ends, input, usize::from(first >> 3) + 1), whole);
    let (content, _, is_faulty) = whole;
    if !is_faulty {
        let crs = content.iter().filter(|&&o| o == b'\r').count();
        let ends = content.windows(2).filter(|w| w == b"\r\n").count();
        let lfs = content.iter().filter(|&&o| o == b'\n').count();
        // The last CR may still wait for its LF.
        assert!(crs - ends <= 1 && lfs == ends && !content.contains(&0));
    }
});
