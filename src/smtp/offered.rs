//! What a server offered in its latest EHLO reply (RFC 5321 4.1.1.1).

use core::str;

use super::keyword::{Keyword, Keywords};
use super::sasl::{Mechanism, Mechanisms};

/// The extensions of a server; nothing after HELO.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offered {
    keywords: Keywords,
    size: Option<u64>,
    recipients: Option<u16>,
    mechanisms: Mechanisms,
}

impl Offered {
    /// Nothing.
    pub const NOTHING: Self =
        Self { keywords: Keywords::NONE, size: None, recipients: None, mechanisms: Mechanisms::NONE };

    /// True if the server knows `keyword`.
    pub fn has(&self, keyword: Keyword) -> bool {
        self.keywords.contains(keyword)
    }

    /// Octets a message may have (RFC 1870), if there is a fixed limit: neither `SIZE` alone nor
    /// `SIZE 0` is one.
    pub fn size(&self) -> Option<u64> {
        self.size.filter(|size| *size > 0)
    }

    /// Recipients a transaction may have (RFC 9422 RCPTMAX), if the server says so.
    pub fn recipients(&self) -> Option<u16> {
        self.recipients.filter(|recipients| *recipients > 0)
    }

    /// What AUTH offers.
    pub fn mechanisms(&self) -> Mechanisms {
        self.mechanisms
    }

    /// Takes line `number` of the EHLO reply, its code removed; line 0 is the greeting. Words that
    /// are not known are passed over.
    pub fn learn(&mut self, number: usize, line: &[u8]) {
        let Ok(line) = str::from_utf8(line) else { return };
        if number == 0 {
            return;
        }
        // Servers of the last century wrote "AUTH=LOGIN" for "AUTH LOGIN".
        let mut words = line.split([' ', '=', '\t']).filter(|word| !word.is_empty());
        let Some(keyword) = words.next().and_then(Keyword::parse) else { return };
        self.keywords = self.keywords.with(keyword);
        match keyword {
            Keyword::Size => self.size = words.next().and_then(|size| size.parse().ok()),
            Keyword::Limits => self.learn_limits(words),
            Keyword::Auth => words.for_each(|name| self.learn_mechanism(name)),
            _ => {}
        }
    }

    fn learn_limits<'a>(&mut self, mut words: impl Iterator<Item = &'a str>) {
        while let Some(word) = words.next() {
            if word.eq_ignore_ascii_case("RCPTMAX") {
                // A number that no transaction of ours reaches is no limit.
                self.recipients = words.next().and_then(|most| most.parse().ok());
            }
        }
    }

    fn learn_mechanism(&mut self, name: &str) {
        if let Some(mechanism) = Mechanism::parse(name.as_bytes()) {
            self.mechanisms = self.mechanisms.with(mechanism);
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use proptest::prelude::*;

    use super::{Keyword, Mechanism, Offered};

    fn offered(lines: &[&str]) -> Offered {
        let mut offered = Offered::NOTHING;
        for (number, line) in lines.iter().enumerate() {
            offered.learn(number, line.as_bytes());
        }
        offered
    }

    #[test]
    fn keywords_are_learnt_in_any_case_and_order() {
        let all = offered(&[
            "PIPELINING is my name",
            "8bitmime",
            "SIZE 1000",
            "SMTPUTF8",
            "x-odd thing",
            "AUTH PLAIN cram-md5 KERBEROS",
            "LIMITS MAILMAX=5 RCPTMAX=20 RCPTDOMAINMAX=1",
        ]);
        assert!(!all.has(Keyword::Pipelining), "the first line is a greeting");
        assert!(all.has(Keyword::EightBitMime) && all.has(Keyword::SmtpUtf8) && all.has(Keyword::Size));
        assert_eq!((all.size(), all.recipients()), (Some(1000), Some(20)));
        for mechanism in Mechanism::ALL {
            let expected = matches!(mechanism, Mechanism::Plain | Mechanism::CramMd5);
            assert_eq!(all.mechanisms().contains(mechanism), expected, "{mechanism:?}");
        }
    }

    #[test]
    fn a_limit_that_is_none_is_none() {
        for line in ["SIZE", "SIZE 0", "SIZE x", "SIZE 99999999999999999999999", "SIZE -1"] {
            let offered = offered(&["host", line]);
            assert_eq!((offered.has(Keyword::Size), offered.size()), (true, None), "{line}");
        }
        for line in
            ["LIMITS", "LIMITS RCPTMAX", "LIMITS RCPTMAX=", "LIMITS RCPTMAX=0", "LIMITS RCPTMAX=70000"]
        {
            assert_eq!(offered(&["host", line]).recipients(), None, "{line}");
        }
    }

    #[test]
    fn the_old_spelling_of_auth_is_understood() {
        assert!(offered(&["host", "AUTH=LOGIN"]).mechanisms().contains(Mechanism::Login));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn any_line_can_be_learnt(line in prop::collection::vec(any::<u8>(), 0..100), number in 0usize..3) {
            let mut offered = Offered::NOTHING;
            offered.learn(number, &line);
            prop_assert!(number > 0 || offered == Offered::NOTHING);
        }
    }
}
