//! Sizes and durations as people write them: `"64KiB"`, `"5m"`.

use std::time::Duration;

const SIZES: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("", 1)];
const TIMES: [(&str, u64); 4] = [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)];

/// Octets of `"64KiB"`, `"25MiB"`, `"1GiB"` or `"4096"`.
pub(super) fn parse_size(text: &str) -> Result<u64, String> {
    parse(text, &SIZES).ok_or_else(|| {
        format!("{text:?} is no size: write a number of octets, or \"64KiB\", \"25MiB\", \"1GiB\"")
    })
}

/// A size in the largest unit that leaves no rest.
pub(super) fn size(octets: u64) -> String {
    shown(octets, &SIZES)
}

/// The time of `"90s"`, `"5m"`, `"4h"` or `"5d"`.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    parse(text, &TIMES)
        .map(Duration::from_secs)
        .ok_or_else(|| format!("{text:?} is no duration: write \"90s\", \"5m\", \"4h\" or \"5d\""))
}

/// A duration in the largest unit that leaves no rest; whole seconds.
pub(super) fn duration(time: Duration) -> String {
    shown(time.as_secs(), &TIMES)
}

/// Digits and one of `units`.
fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

fn shown(amount: u64, units: &[(&str, u64)]) -> String {
    let smallest = units[units.len() - 1];
    let fits = |unit: &&(&str, u64)| amount != 0 && amount.is_multiple_of(unit.1);
    let (name, factor) = units.iter().find(fits).unwrap_or(&smallest);
    format!("{}{name}", amount / factor)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_people_write() {
        assert_eq!(parse_size("64KiB"), Ok(65_536));
        assert_eq!(parse_size("4096"), Ok(4096));
        assert_eq!(parse_duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("5d"), Ok(Duration::from_secs(432_000)));
        for wrong in
            ["", "KiB", "5 MiB", "5MB", "5mib", "-1", "1.5GiB", "99999999999GiB", "12e3", "\u{665}KiB"]
        {
            assert!(parse_size(wrong).is_err(), "{wrong:?}");
        }
        for wrong in ["", "5", "soon", "1h30m", "5 m", "5ms", "-5s", "999999999999999999d"] {
            assert!(parse_duration(wrong).is_err(), "{wrong:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn what_is_shown_is_read_again(amount in prop_oneof![any::<u64>(), (0_u64..9999).prop_map(|n| n << 20), (0_u64..9999).prop_map(|n| n * 3600)]) {
            prop_assert_eq!(parse_size(&size(amount)), Ok(amount));
            let time = Duration::from_secs(amount);
            prop_assert_eq!(parse_duration(&duration(time)), Ok(time));
        }

        #[test]
        fn any_text_is_judged(text in any::<String>()) {
            let _ = (parse_size(&text), parse_duration(&text));
        }
    }
}
