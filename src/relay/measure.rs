//! Quantities as people read them.

use core::fmt::{self, Display};

/// A number of octets, as people read it: `1234`, `12.1K`, `3.0M`.
#[derive(Clone, Copy, Debug)]
pub struct Octets(pub u64);

impl Display for Octets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u32, char); 4] = [(40, 'T'), (30, 'G'), (20, 'M'), (10, 'K')];
        match UNITS.iter().find(|&&(shift, _)| self.0 >= 10 << shift || (shift > 10 && self.0 >= 1 << shift))
        {
            None => write!(f, "{}", self.0),
            Some(&(shift, unit)) => {
                let (whole, rest) = (self.0 >> shift, self.0 & ((1 << shift) - 1));
                write!(f, "{whole}.{}{unit}", (rest >> (shift - 10)) * 10 / 1024)
            }
        }
    }
}

/// A span of seconds, as people read it: `42s`, `3m`, `2h05m`, `4d06h`.
#[derive(Clone, Copy, Debug)]
pub struct Span(pub u64);

impl Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (minutes, hours, days) = (self.0 / 60, self.0 / 3_600, self.0 / 86_400);
        match (days, hours, minutes) {
            (0, 0, 0) => write!(f, "{}s", self.0),
            (0, 0, _) => write!(f, "{minutes}m"),
            (0, _, _) => write!(f, "{hours}h{:02}m", minutes % 60),
            _ => write!(f, "{days}d{:02}h", hours % 24),
        }
    }
}

/// A point in time by UTC (RFC 3339): `2026-11-23T22:10:00Z`.
#[derive(Clone, Copy, Debug)]
pub struct Moment(pub u64);

impl Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let date = i64::try_from(self.0).ok().and_then(|s| time::OffsetDateTime::from_unix_timestamp(s).ok());
        let Some(date) = date else { return f.write_str("unknown") };
        let (hour, minute, second) = date.to_hms();
        let (year, month, day) = date.to_calendar_date();
        write!(f, "{year:04}-{:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z", u8::from(month))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn octets_have_a_unit_and_one_digit() {
        let shown =
            [0, 10_239, 10_240, 1 << 20, (3 << 20) + (1 << 19), u64::MAX].map(|n| Octets(n).to_string());
        assert_eq!(shown, ["0", "10239", "10.0K", "1.0M", "3.5M", "16777215.9T"]);
    }

    #[test]
    fn spans_name_their_two_largest_units() {
        let shown = [0, 59, 60, 3_599, 3_600, 86_399, 90_000].map(|s| Span(s).to_string());
        assert_eq!(shown, ["0s", "59s", "1m", "59m", "1h00m", "23h59m", "1d01h"]);
    }

    #[test]
    fn moments_are_utc() {
        assert_eq!(Moment(0).to_string(), "1970-01-01T00:00:00Z");
        assert_eq!(Moment(1_793_491_200).to_string(), "2026-11-01T00:00:00Z");
    }

    proptest! {
        #[test]
        fn every_number_is_short(n: u64) {
            prop_assert!(Octets(n).to_string().len() <= 24 && Span(n).to_string().len() <= 24);
            prop_assert!(Moment(n).to_string().len() <= 20);
        }
    }
}
