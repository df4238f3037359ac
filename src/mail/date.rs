//! Dates as messages carry them (RFC 5322 3.3), by arithmetic alone: no tables of zones, no heap.

use core::fmt;

/// Seconds of a day.
const DAY_S: i64 = 86_400;
/// The years that can be written run from 0001 to 9999; a clock beyond them is taken to stand at
/// their end.
const FIRST_S: i64 = -62_135_596_800;
const LAST_S: i64 = 253_402_300_799;

const WEEKDAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A moment and the zone it is shown in; shown as `Mon, 23 Nov 2026 21:47:04 +0000`, always
/// [`Date::OCTETS`] long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Date {
    /// Seconds since 1970-01-01 UTC.
    pub unix_s: i64,
    /// Minutes east of Greenwich, from -1439 to 1439; what is beyond counts as that.
    pub offset_min: i16,
}

impl Date {
    /// Octets of the text.
    pub const OCTETS: usize = 31;

    /// A moment shown in UTC.
    pub const fn utc(unix_s: i64) -> Self {
        Self { unix_s, offset_min: 0 }
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let offset_min = i64::from(self.offset_min).clamp(-1439, 1439);
        let local_s = (self.unix_s.clamp(FIRST_S, LAST_S) + offset_min * 60).clamp(FIRST_S, LAST_S);
        let (days, second) = (local_s.div_euclid(DAY_S), local_s.rem_euclid(DAY_S));
        let (year, month, day) = civil(days);
        // Day 0 was a Thursday. Both indices are remainders of the tables' lengths.
        let weekday = WEEKDAYS[(days + 3).rem_euclid(7) as usize];
        let month = MONTHS[(month - 1).rem_euclid(12) as usize];
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        let sign = if offset_min < 0 { '-' } else { '+' };
        let (east_h, east_min) = (offset_min.abs() / 60, offset_min.abs() % 60);
        write!(f, "{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} ")?;
        write!(f, "{sign}{east_h:02}{east_min:02}")
    }
}

/// Year, month and day of the month, the latter two from 1, of the day so many days after
/// 1970-01-01.
///
/// Years are counted from March, so that the leap day is a year's last, in eras of 400 years, which
/// all have the same length.
fn civil(days: i64) -> (i64, i64, i64) {
    const ERA_DAYS: i64 = 146_097;
    // From 0000-03-01 on.
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(ERA_DAYS), days.rem_euclid(ERA_DAYS));
    // Takes the leap days out: one in 4 years, none in 100, one in 400 (the era's last day).
    let year = (day - day / 1_460 + day / 36_524 - day / (ERA_DAYS - 1)) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // Months from March have 153 days in five.
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + carry, month, day)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::string::ToString;

    use proptest::prelude::*;
    use time::format_description::well_known::Rfc2822;
    use time::{OffsetDateTime, UtcOffset};

    use super::{Date, FIRST_S, LAST_S};

    #[test]
    fn known_dates_are_right() {
        for (unix_s, offset_min, text) in [
            (0, 0, "Thu, 01 Jan 1970 00:00:00 +0000"),
            (1_795_470_424, 0, "Mon, 23 Nov 2026 21:47:04 +0000"),
            (951_782_400, 0, "Tue, 29 Feb 2000 00:00:00 +0000"),
            (951_868_799, 60, "Wed, 01 Mar 2000 00:59:59 +0100"),
            (-1, -90, "Wed, 31 Dec 1969 22:29:59 -0130"),
            (i64::MIN, 0, "Mon, 01 Jan 0001 00:00:00 +0000"),
            (i64::MAX, i16::MAX, "Fri, 31 Dec 9999 23:59:59 +2359"),
        ] {
            assert_eq!(Date { unix_s, offset_min }.to_string(), text);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn dates_are_those_of_another_calendar(
            // Its RFC 2822 begins with 1900.
            unix_s in -2_208_900_000..LAST_S - 86_400,
            offset_min in -1439i16..=1439,
        ) {
            let zone = UtcOffset::from_whole_seconds(i32::from(offset_min) * 60).unwrap();
            let expected = OffsetDateTime::from_unix_timestamp(unix_s).unwrap().to_offset(zone);
            let text = Date { unix_s, offset_min }.to_string();
            prop_assert_eq!(&text, &expected.format(&Rfc2822).unwrap());
        }

        #[test]
        fn every_date_has_the_same_length(unix_s in any::<i64>(), near in FIRST_S..LAST_S, offset_min in any::<i16>()) {
            for unix_s in [unix_s, near] {
                prop_assert_eq!(Date { unix_s, offset_min }.to_string().len(), Date::OCTETS);
            }
        }
    }
}
