//! PURE. Durations as people write them: a whole number and a unit.

use crate::engine::Millis;

const UNITS: [(&str, Millis); 5] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Why a text is no duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// A bare number could be seconds or milliseconds.
    #[error("a duration needs a unit")]
    NoUnit,
    /// Not a whole number and a unit.
    #[error("not a duration")]
    NotADuration,
    /// More milliseconds than 63 bits hold.
    #[error("longer than anything")]
    TooLong,
}

/// Reads `100ms`, `90s`, `10m`, `2h` or `1d` as milliseconds. A unit is needed, also behind `0`.
pub fn parse_duration(text: &str) -> Result<Millis, DurationError> {
    let text = text.trim();
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(unit_at);
    if digits.is_empty() {
        return Err(DurationError::NotADuration);
    }
    if unit.is_empty() {
        return Err(DurationError::NoUnit);
    }
    let (_, unit_ms) = UNITS
        .iter()
        .find(|(name, _)| *name == unit.trim_start())
        .ok_or(DurationError::NotADuration)?;
    let count: Millis = digits.parse().map_err(|_| DurationError::TooLong)?;
    count.checked_mul(*unit_ms).ok_or(DurationError::TooLong)
}

/// Writes milliseconds in the largest unit that divides them: the inverse of [`parse_duration`].
pub fn format_duration(ms: Millis) -> String {
    let (unit, unit_ms) = UNITS
        .iter()
        .rev()
        .find(|(_, unit_ms)| ms != 0 && ms % unit_ms == 0)
        .unwrap_or(&("s", 1_000));
    format!("{}{unit}", ms / unit_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_whole_number_and_a_unit_is_a_duration() {
        assert_eq!(parse_duration("100ms"), Ok(100));
        assert_eq!(parse_duration("90s"), Ok(90_000));
        assert_eq!(parse_duration(" 10 m "), Ok(600_000));
        assert_eq!(parse_duration("2h"), Ok(7_200_000));
        assert_eq!(parse_duration("366d"), Ok(366 * 86_400_000));
        assert_eq!(parse_duration("0s"), Ok(0));
    }

    #[test]
    fn anything_else_is_refused_and_a_bare_number_is_told_apart() {
        assert_eq!(parse_duration("90"), Err(DurationError::NoUnit));
        assert_eq!(parse_duration("0"), Err(DurationError::NoUnit));
        for text in ["", "s", "-1s", "1.5s", "12moons", "1s30", "1S", "\u{663}s"] {
            assert_eq!(parse_duration(text), Err(DurationError::NotADuration), "{text}");
        }
        for text in ["9223372036854775808ms", "9223372036854775807d"] {
            assert_eq!(parse_duration(text), Err(DurationError::TooLong), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(ms in 0..=i64::MAX) {
            prop_assert_eq!(parse_duration(&format_duration(ms)), Ok(ms));
        }
    }
}
