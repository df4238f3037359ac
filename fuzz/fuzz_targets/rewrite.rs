//! Bare addresses and senders: a cut changes nothing, the body stays, and there is one author.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pillarbox::mail::qualify::Qualifier;
use pillarbox::mail::rewrite::{Rewriter, Sender};

fn rewritten(content: &[u8], size: usize) -> Vec<u8> {
    let sender = Sender { address: "me@x.test", reverse_path: "cam@home" };
    let (mut qualifier, mut rewriter) = (Qualifier::default(), Rewriter::default());
    let mut out = Vec::new();
    let mut store = |octets: &[u8]| -> Result<(), ()> {
        out.extend_from_slice(octets);
        Ok(())
    };
    let mut rewrite = |octets: &[u8]| rewriter.write(&sender, octets, &mut store);
    for piece in content.chunks(size) {
        qualifier.write("host.test", piece, &mut rewrite).expect("the sink takes all");
    }
    qualifier.finish("host.test", &mut rewrite).expect("the sink takes all");
    rewriter.finish(&sender, &mut store).expect("the sink takes all");
    out
}

fuzz_target!(|data: &[u8]| {
    let Some((&first, content)) = data.split_first() else { return };
    let whole = rewritten(content, content.len().max(1));
    assert_eq!(rewritten(content, usize::from(first) + 1), whole);
    let is_from = |line: &&[u8]| line.get(..5).is_some_and(|name| name.eq_ignore_ascii_case(b"From:"));
    let header = whole.split(|octet| *octet == b'\n').take_while(|line| *line != b"\r");
    assert_eq!(header.filter(is_from).count(), 1);
});
