//! Responses of a client in AUTH, base64 and all: every mechanism, every step.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pillarbox::limits::SASL_OCTETS;
use pillarbox::smtp::sasl::exchange::{Exchange, Request, Step};
use pillarbox::smtp::sasl::{Mechanism, decode};

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
});
