//! Values as people write them: durations, sizes, shares of one hundred.
//!
//! Promise: what is read is exactly what is written; nothing overflows, nothing is guessed.
//! Not here: the ranges of single settings (`check`).

use std::time::Duration;

use super::Fraction;

/// Units of durations, longest first, in milliseconds.
const DURATION_UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Units of sizes in bytes.
const SIZE_UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

/// `30s`, `5m`, `1h30m`, `500ms`: whole numbers with their units, longest first, each unit once. `None`: none of these.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut millis: u64 = 0;
    let mut next_unit = 0;
    while !rest.is_empty() || next_unit == 0 {
        let (number, unit, after) = number_and_unit(rest)?;
        let index = DURATION_UNITS.iter().position(|(name, _)| *name == unit)?;
        if index < next_unit {
            return None;
        }
        millis = millis.checked_add(number.checked_mul(DURATION_UNITS[index].1)?)?;
        next_unit = index + 1;
        rest = after;
    }
    Some(Duration::from_millis(millis))
}

/// A duration as [`parse_duration`] reads it: `1m30s`.
pub fn format_duration(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut out = String::new();
    for (unit, millis) in DURATION_UNITS {
        let count = rest / millis;
        rest %= millis;
        if count > 0 {
            out.push_str(&format!("{count}{unit}"));
        }
    }
    if out.is_empty() { "0s".to_owned() } else { out }
}

/// `50GiB`, `500MB`, `0B`: a whole number of bytes with its unit. `None`: none of these, or above 2^64-1.
pub fn parse_size(text: &str) -> Option<u64> {
    let (number, unit, after) = number_and_unit(text)?;
    let (_, factor) = SIZE_UNITS.iter().find(|(name, _)| *name == unit)?;
    after.is_empty().then(|| number.checked_mul(*factor))?
}

/// A size as [`parse_size`] reads it, in its largest even unit.
pub fn format_size(bytes: u64) -> String {
    let even = |(_, factor): &&(&str, u64)| bytes >= *factor && bytes.is_multiple_of(*factor);
    let (unit, factor) = SIZE_UNITS.iter().filter(even).max_by_key(|(_, factor)| *factor).unwrap_or(&SIZE_UNITS[0]);
    format!("{}{unit}", bytes / factor)
}

/// `50%`: a whole number from 0 to 100 with a percent sign.
pub fn parse_fraction(text: &str) -> Option<Fraction> {
    let (number, unit, after) = number_and_unit(text)?;
    let percent = u8::try_from(number).ok().filter(|percent| *percent <= 100)?;
    (unit == "%" && after.is_empty()).then_some(Fraction { percent })
}

/// Splits off the first number with its unit; a space may stand between them.
fn number_and_unit(text: &str) -> Option<(u64, &str, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let number = text[..digits].parse().ok()?;
    let rest = text[digits..].strip_prefix(' ').unwrap_or(&text[digits..]);
    let unit_end = rest.find(|c: char| c.is_ascii_digit() || c == ' ').unwrap_or(rest.len());
    let (unit, after) = rest.split_at(unit_end);
    let after = after.strip_prefix(' ').filter(|rest| !rest.is_empty()).unwrap_or(after);
    (!unit.is_empty()).then_some((number, unit, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_written() {
        for (text, millis) in [
            ("30s", 30_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("1h 30m", 5_400_000),
            ("1d", 86_400_000),
            ("500ms", 500),
            ("90 s", 90_000),
            ("0s", 0),
        ] {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        let bad = ["", "30", "s", "-5s", "1.5h", "30 sec", "5M", "30s1h", "1s1s", "1s ", "18446744073709551616s"];
        for text in bad.into_iter().chain(["213503982335d", "5m,", " 5m", "PT5M", "٥s"]) {
            assert_eq!(parse_duration(text), None, "{text:?}");
        }
    }

    #[test]
    fn sizes_are_read_as_written() {
        for (text, bytes) in [("50GiB", 50 << 30), ("500 MB", 500_000_000), ("0B", 0), ("1TiB", 1 << 40)] {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for text in ["", "50", "GiB", "50gib", "1.5GiB", "-1B", "99999999999TiB", "5GiB5MiB", "5G"] {
            assert_eq!(parse_size(text), None, "{text:?}");
        }
    }

    #[test]
    fn shares_are_read_as_written() {
        assert_eq!(parse_fraction("50%"), Some(Fraction { percent: 50 }));
        assert_eq!(parse_fraction("100 %"), Some(Fraction { percent: 100 }));
        for text in ["", "50", "101%", "-1%", "0.5", "50%%", "5%5", "300%"] {
            assert_eq!(parse_fraction(text), None, "{text:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_is_read_back(millis in 0u64..u64::MAX / 2, bytes: u64) {
            let duration = Duration::from_millis(millis);
            assert_eq!(parse_duration(&format_duration(duration)), Some(duration));
            assert_eq!(parse_size(&format_size(bytes)), Some(bytes));
        }

        #[test]
        fn any_text_is_read_or_refused(text: String) {
            let _ = (parse_duration(&text), parse_size(&text), parse_fraction(&text));
        }
    }
}
