//! Quoted-printable for old servers: a cut changes nothing, and what is to stay stays.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pillarbox::mail::seven_bit::{Converter, Plan, Survey};

fn surveyed(content: &[u8], size: usize) -> Plan {
    let mut survey = Survey::default();
    content.chunks(size).for_each(|piece| survey.read(piece));
    survey.finish()
}

fn converted(plan: Plan, content: &[u8], size: usize) -> Vec<u8> {
    let mut converter = Converter::new(plan);
    let mut out = Vec::new();
    for piece in content.chunks(size) {
        let before = out.len();
        let mut sink = |octets: &[u8]| -> Result<(), ()> {
            out.extend_from_slice(octets);
            Ok(())
        };
        converter.write(piece, &mut sink).expect("the sink takes all");
        assert!(out.len() - before <= Converter::GROWTH + Converter::RATIO * piece.len());
    }
    let mut sink = |octets: &[u8]| -> Result<(), ()> {
        out.extend_from_slice(octets);
        Ok(())
    };
    converter.finish(&mut sink).expect("the sink takes all");
    out
}

fuzz_target!(|data: &[u8]| {
    let Some((&first, content)) = data.split_first() else { return };
    let size = usize::from(first) + 1;
    let plan = surveyed(content, content.len().max(1));
    assert_eq!(surveyed(content, size), plan);
    let out = converted(plan, content, size);
    assert_eq!(converted(plan, content, content.len().max(1)), out);
    assert!(out.len() as u64 <= content.len() as u64 + plan.growth());
    // What was converted needs nothing more, unless something in it could not be.
    if plan.is_nothing() {
        assert_eq!(out, content);
    } else {
        assert!(surveyed(&out, size).is_nothing());
    }
});
