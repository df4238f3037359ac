//! What becomes of a message on its way to a next hop: its sender is rewritten if the route says so,
//! and bodies become quoted-printable if the server takes seven bits only.
//!
//! The spool keeps the message as it came, so every try and every bounce starts from that. What is
//! changed has another length: MAIL tells the most that it can be, which servers only use to refuse
//! what is too large for them (RFC 1870 6.1).

use std::convert::Infallible;

use heapless::String;

use super::Relay;
use super::round::Group;
use crate::config::Via;
use crate::limits::{DELIVERY_OUTPUT_OCTETS, PATH_OCTETS};
use crate::mail::rewrite::{Rewriter, Sender};
use crate::mail::seven_bit::{Converter, Plan, Survey};
use crate::smtp::client::Transaction;
use crate::smtp::keyword::Keyword;
use crate::smtp::offered::Offered;

// Half of an output buffer is what content can take for sure, with a dot more at each line.
const _: () = assert!(Rewriter::GROWTH + Converter::GROWTH + RATIO <= DELIVERY_OUTPUT_OCTETS / 2);

/// Octets that can become of one in both filters. The rewriter's growth is header, which passes the
/// converter as it is.
const RATIO: usize = Rewriter::RATIO * Converter::RATIO;

/// What is changed in one message.
#[derive(Debug)]
pub struct Outgoing {
    rewriting: Option<Rewriting>,
    encoding: Encoding,
}

#[derive(Debug)]
struct Rewriting {
    /// The new sender.
    address: String<PATH_OCTETS>,
    /// The old reverse-path.
    reverse_path: String<PATH_OCTETS>,
    rewriter: Rewriter,
}

/// How far the content is known, and what is done with it.
#[derive(Debug)]
enum Encoding {
    /// Not known; it goes as it is.
    Unknown,
    /// It is being read.
    Surveying(Survey),
    /// It goes as it is.
    Known(Plan),
    /// It goes as the plan says.
    Converting(Plan, Converter),
}

impl Outgoing {
    /// Nothing is to be found out before the message can go to a server that offers this; `smtputf8` as
    /// MAIL said it to us. Else the content has to be read first: [`Outgoing::survey`].
    pub fn is_ready(&self, offered: &Offered, smtputf8: bool) -> bool {
        match self.encoding {
            Encoding::Unknown | Encoding::Surveying(_) => {
                offered.has(Keyword::EightBitMime) && (!smtputf8 || offered.has(Keyword::SmtpUtf8))
            }
            Encoding::Known(_) | Encoding::Converting(..) => true,
        }
    }

    /// True while the content is being read to know it.
    pub fn is_surveying(&self) -> bool {
        matches!(self.encoding, Encoding::Surveying(_))
    }

    /// Reads content from its start on, piece by piece; with no octets it is complete.
    pub fn survey(&mut self, octets: &[u8]) {
        let mut survey = match std::mem::replace(&mut self.encoding, Encoding::Unknown) {
            Encoding::Surveying(survey) => survey,
            _ => Survey::default(),
        };
        self.encoding = if octets.is_empty() {
            Encoding::Known(survey.finish())
        } else {
            survey.read(octets);
            Encoding::Surveying(survey)
        };
    }

    /// Starts over: what is written next is the content's start, for a server that offers this.
    pub fn begin(&mut self, offered: &Offered) {
        if let Some(rewriting) = &mut self.rewriting {
            rewriting.rewriter = Rewriter::default();
        }
        self.encoding = match &self.encoding {
            Encoding::Unknown | Encoding::Surveying(_) => Encoding::Unknown,
            Encoding::Known(plan) | Encoding::Converting(plan, _) => {
                if plan.is_nothing() || offered.has(Keyword::EightBitMime) {
                    Encoding::Known(*plan)
                } else {
                    Encoding::Converting(*plan, Converter::new(*plan))
                }
            }
        };
    }

    /// What MAIL says. The null reverse-path stays, so that no bounce is ever answered by one.
    ///
    /// SMTPUTF8 that nothing in the message needs is left out for a server without it, as Postfix does:
    /// some clients always say it. The recipients are ASCII then: others can't be named to that server.
    pub fn transaction<'a>(&'a self, transaction: Transaction<'a>, offered: &Offered) -> Transaction<'a> {
        let mut changed = transaction;
        if let Encoding::Converting(plan, _) = &self.encoding {
            changed.octets += plan.growth();
        }
        if let Encoding::Known(plan) | Encoding::Converting(plan, _) = &self.encoding {
            let is_needed = !transaction.reverse_path.is_ascii() || plan.is_international();
            changed.smtputf8 &= is_needed || offered.has(Keyword::SmtpUtf8);
        }
        if let Some(Rewriting { address, .. }) = &self.rewriting {
            changed.octets += Rewriter::GROWTH as u64;
            changed.smtputf8 |= !address.is_ascii();
            if !transaction.reverse_path.is_empty() {
                changed.reverse_path = address;
            }
        }
        changed
    }

    /// Octets that can be given to [`Outgoing::write`] so that what comes out fits into `room`; with 0
    /// also the end does not.
    pub fn fits(&self, room: usize) -> usize {
        let rewrites = self.rewriting.as_ref().is_some_and(|rewriting| !rewriting.rewriter.is_over());
        match (rewrites, &self.encoding) {
            (true, Encoding::Converting(..)) => {
                room.saturating_sub(Rewriter::GROWTH + Converter::GROWTH) / RATIO
            }
            (true, _) => room.saturating_sub(Rewriter::GROWTH) / Rewriter::RATIO,
            (false, Encoding::Converting(..)) => room.saturating_sub(Converter::GROWTH) / Converter::RATIO,
            (false, _) => room,
        }
    }

    /// Takes content and gives what it becomes to `sink`.
    pub fn write(&mut self, octets: &[u8], sink: &mut impl FnMut(&[u8])) {
        self.pass(Some(octets), sink);
    }

    /// The content is complete.
    pub fn finish(&mut self, sink: &mut impl FnMut(&[u8])) {
        self.pass(None, sink);
    }

    /// Lets octets, or the end, through both filters.
    fn pass(&mut self, octets: Option<&[u8]>, sink: &mut impl FnMut(&[u8])) {
        let Self { rewriting, encoding } = self;
        let mut send = |octets: &[u8]| -> Result<(), Infallible> {
            sink(octets);
            Ok(())
        };
        let mut convert = |octets: &[u8]| match encoding {
            Encoding::Converting(_, converter) => converter.write(octets, &mut send),
            _ => send(octets),
        };
        let Ok(()) = match (rewriting, octets) {
            (Some(Rewriting { address, reverse_path, rewriter }), octets) => {
                let sender = Sender { address, reverse_path };
                match octets {
                    Some(octets) => rewriter.write(&sender, octets, &mut convert),
                    None => rewriter.finish(&sender, &mut convert),
                }
            }
            (None, Some(octets)) => convert(octets),
            (None, None) => Ok(()),
        };
        if let (None, Encoding::Converting(_, converter)) = (octets, encoding) {
            let Ok(()) = converter.finish(&mut send);
        }
    }
}

impl Relay {
    /// What this group's route changes in messages from `reverse_path`.
    pub fn outgoing(&self, group: &Group, reverse_path: &str) -> Outgoing {
        let route = self.config.route.get(usize::from(group.key.route)).map(|route| &route.via);
        let address = match route {
            Some(Via::Smarthost(smarthost)) => smarthost.rewrite_sender.as_deref(),
            _ => None,
        };
        let rewriting = address.and_then(|address| {
            Some(Rewriting {
                address: String::try_from(address).ok()?,
                reverse_path: String::try_from(reverse_path).unwrap_or_default(),
                rewriter: Rewriter::default(),
            })
        });
        Outgoing { rewriting, encoding: Encoding::Unknown }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What messages are made of.
    static PIECES: [&[u8]; 14] = [
        b"From: Front Door <cam@home>\r\n",
        b"From: ",
        b"Sender: x\r\n",
        b"Content-Type: multipart/mixed; boundary=B\r\n",
        b"Content-Transfer-Encoding: 8bit\r\n",
        b"\r\n",
        b"\r\n\r\n",
        b"--B\r\n\r\n\xfc\r\n",
        b"--B\r\n",
        b"--B--\r\n",
        b"text \xfc = x\r\n",
        b"\xfc\xfc\xfc\xfc\xfc\xfc\xfc\xfc",
        b"a long line of ninety octets that says nothing at all but goes on until it has to be broken",
        b" ",
    ];

    fn outgoing(rewrites: bool) -> Outgoing {
        let rewriting = rewrites.then(|| Rewriting {
            address: String::try_from("me@provider.test").unwrap(),
            reverse_path: String::try_from("cam@home").unwrap(),
            rewriter: Rewriter::default(),
        });
        Outgoing { rewriting, encoding: Encoding::Unknown }
    }

    /// The content as it goes out, pieces as long as they may be; every one fits.
    fn sent(outgoing: &mut Outgoing, offered: &Offered, content: &[u8]) -> Vec<u8> {
        let room = DELIVERY_OUTPUT_OCTETS / 2;
        outgoing.begin(offered);
        let (mut out, mut rest) = (Vec::new(), content);
        while !rest.is_empty() {
            let n = outgoing.fits(room);
            assert!(n > 0);
            let (piece, after) = rest.split_at(n.min(rest.len()));
            let before = out.len();
            outgoing.write(piece, &mut |octets| out.extend_from_slice(octets));
            assert!(out.len() - before <= room, "{} of {n}", out.len() - before);
            rest = after;
        }
        let before = out.len();
        outgoing.finish(&mut |octets| out.extend_from_slice(octets));
        assert!(out.len() - before <= room);
        out
    }

    fn offer(line: &str) -> Offered {
        let mut offered = Offered::NOTHING;
        offered.learn(1, line.as_bytes());
        offered
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn what_goes_out_fits_and_is_told(
            rewrites in any::<bool>(),
            pieces in prop::collection::vec((prop::sample::select(&PIECES[..]), 1usize..40), 0..12),
        ) {
            let content: Vec<u8> = pieces.iter().flat_map(|(piece, times)| piece.repeat(*times)).collect();
            let (mut message, old, new) = (outgoing(rewrites), offer("SIZE"), offer("8BITMIME"));
            prop_assert!(message.is_ready(&new, false) && !message.is_ready(&old, false));
            content.chunks(100).for_each(|piece| message.survey(piece));
            message.survey(b"");
            prop_assert!(message.is_ready(&old, false));
            let reverse_path = "a@b.test";
            let transaction = Transaction {
                reverse_path, octets: content.len() as u64, body: Default::default(), smtputf8: false, ret: None, envid: "", recipients: 1,
            };
            let from_old = sent(&mut message, &old, &content);
            let told = message.transaction(transaction, &old);
            prop_assert!(from_old.len() as u64 <= told.octets || pieces.iter().any(|(piece, _)| *piece == PIECES[1] || *piece == PIECES[2]));
            prop_assert_eq!(told.reverse_path, if rewrites { "me@provider.test" } else { reverse_path });
            prop_assert_eq!(message.transaction(Transaction { reverse_path: "", ..transaction }, &old).reverse_path, "");
            // The same message again, to a server that takes it as it is, and once more to the old one.
            let to_new = sent(&mut message, &new, &content);
            prop_assert!(rewrites || to_new == content);
            prop_assert_eq!(sent(&mut message, &old, &content), from_old);
        }
    }
}
