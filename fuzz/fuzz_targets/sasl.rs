//! Both sides of AUTH, base64 and all: the responses of a client to every mechanism, what a server says to
//! our client, and names in the messages of SCRAM.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pillarbox::limits::SASL_OCTETS;
use pillarbox::smtp::sasl::exchange::{Exchange, Request, Step};
use pillarbox::smtp::sasl::scram::{ServerFirst, escape, signature};
use pillarbox::smtp::sasl::{Mechanism, decode, encode, name};

fuzz_target!(|octets: &[u8]| {
    let mut lines = octets.split(|octet| *octet == b'\n');
    let first = lines.next().unwrap_or_default();
    for mechanism in Mechanism::ALL {
        let mut room = [0; SASL_OCTETS];
        // As base64, and as what base64 stands for.
        for initial in [decode(first, &mut room).ok(), first.get(..SASL_OCTETS.min(first.len())), None] {
            let mut step = Exchange::begin(mechanism, initial);
            for line in lines.clone() {
                let exchange = match step {
                    Ok(Step::Say(_, exchange)) => exchange,
                    Ok(Step::Ask(request)) => {
                        let challenge: &[u8] = match request {
                            Request::ScramFirst(_) => b"r=abcdef,s=QQ==,i=4096",
                            _ => b"<1.2@mx.example>",
                        };
                        let Some(exchange) = request.challenged(challenge) else { break };
                        exchange
                    }
                    Ok(Step::Done(_)) | Err(_) => break,
                };
                step = exchange.take(line);
            }
        }
    }
    client(octets);
    base64(octets);
});

/// What a server says to our client.
fn client(octets: &[u8]) {
    if let Ok(first) = ServerFirst::parse(octets, "abc") {
        assert!(first.nonce.starts_with("abc") && first.nonce.len() > 3);
        assert!(!first.salt.is_empty() && first.iterations >= 4096);
    }
    let _ = signature(octets);
    let Some(name) = name(octets) else { return };
    let mut first = String::from("n,,n=");
    escape(&name, |piece| first.push_str(piece));
    first.push_str(",r=x");
    let step = Exchange::begin(Mechanism::ScramSha256, Some(first.as_bytes()));
    assert!(matches!(&step, Ok(Step::Ask(request)) if request.name() == Some(&name)), "{step:?}");
}

fn base64(octets: &[u8]) {
    let octets = &octets[..octets.len().min(SASL_OCTETS)];
    let (mut text, mut back) = ([0; SASL_OCTETS.div_ceil(3) * 4], [0; SASL_OCTETS + 3]);
    let text = encode(octets, &mut text).expect("there is room");
    assert_eq!(decode(text.as_bytes(), &mut back), Ok(octets));
}
