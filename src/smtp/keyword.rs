//! The EHLO keywords of this server, and sets of them.

/// A service extension as it stands in the EHLO reply (RFC 5321 4.1.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keyword {
    /// RFC 2920.
    Pipelining,
    /// RFC 1870.
    Size,
    /// RFC 6152.
    EightBitMime,
    /// RFC 6531.
    SmtpUtf8,
    /// RFC 2034. Enhanced codes are sent even when the keyword is hidden: they harm nobody.
    EnhancedStatusCodes,
    /// RFC 3461.
    Dsn,
    /// RFC 3030.
    Chunking,
    /// RFC 9422.
    Limits,
    /// RFC 3207.
    StartTls,
    /// RFC 4954.
    Auth,
    /// RFC 5321 4.1.1.8.
    Help,
}

impl Keyword {
    /// Every keyword, in the order of the EHLO reply.
    pub const ALL: [Self; 11] = [
        Self::Pipelining,
        Self::Size,
        Self::EightBitMime,
        Self::SmtpUtf8,
        Self::EnhancedStatusCodes,
        Self::Dsn,
        Self::Chunking,
        Self::Limits,
        Self::StartTls,
        Self::Auth,
        Self::Help,
    ];

    /// The keyword as it is sent.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pipelining => "PIPELINING",
            Self::Size => "SIZE",
            Self::EightBitMime => "8BITMIME",
            Self::SmtpUtf8 => "SMTPUTF8",
            Self::EnhancedStatusCodes => "ENHANCEDSTATUSCODES",
            Self::Dsn => "DSN",
            Self::Chunking => "CHUNKING",
            Self::Limits => "LIMITS",
            Self::StartTls => "STARTTLS",
            Self::Auth => "AUTH",
            Self::Help => "HELP",
        }
    }

    /// The keyword of this name, in any case.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|keyword| keyword.name().eq_ignore_ascii_case(name))
    }
}

/// A set of keywords.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keywords(u16);

impl Keywords {
    /// The empty set.
    pub const NONE: Self = Self(0);
    /// Every keyword.
    pub const ALL: Self = Self((1 << Keyword::ALL.len()) - 1);

    /// This set and `keyword`.
    #[must_use]
    pub const fn with(self, keyword: Keyword) -> Self {
        Self(self.0 | 1 << keyword as u16)
    }

    /// This set without those in `other`.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// True if `keyword` is in the set.
    pub const fn contains(self, keyword: Keyword) -> bool {
        self.0 & 1 << keyword as u16 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::{Keyword, Keywords};

    #[test]
    fn a_set_holds_what_was_put_in_and_nothing_else() {
        for keyword in Keyword::ALL {
            let set = Keywords::NONE.with(keyword);
            for other in Keyword::ALL {
                assert_eq!(set.contains(other), other == keyword);
                assert_eq!(Keywords::ALL.minus(set).contains(other), other != keyword);
            }
        }
    }

    #[test]
    fn names_are_read_in_any_case() {
        for keyword in Keyword::ALL {
            assert_eq!(Keyword::parse(keyword.name()), Some(keyword));
        }
        assert_eq!(Keyword::parse("chunking"), Some(Keyword::Chunking));
        assert_eq!(Keyword::parse("XCLIENT"), None);
    }
}
