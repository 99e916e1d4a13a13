//! Instants and spans as plain numbers. The engine never asks what time it is: time is an argument.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A span in milliseconds; negative where a difference of two instants is.
pub type Millis = i64;

/// An instant: milliseconds since the Unix epoch, UTC, as AMQP 1.0 writes a `timestamp`
/// (OASIS AMQP 1.0, part 1, section 1.6.17). Arithmetic saturates, so no hostile input overflows.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Before everything: the clock of a partition that has seen nothing.
    pub const MIN: Self = Self(i64::MIN);

    /// The instant `ms` milliseconds after the epoch.
    pub const fn from_ms(ms: i64) -> Self {
        Self(ms)
    }

    /// Milliseconds since the epoch.
    pub const fn as_ms(self) -> i64 {
        self.0
    }

    /// This instant moved by `span`.
    pub const fn plus(self, span: Millis) -> Self {
        Self(self.0.saturating_add(span))
    }

    /// This instant moved back by `span`.
    pub const fn minus(self, span: Millis) -> Self {
        Self(self.0.saturating_sub(span))
    }

    /// The span from `earlier` to this instant; negative if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Millis {
        self.0.saturating_sub(earlier.0)
    }
}

/// RFC 3339 in UTC with milliseconds; plain milliseconds where the calendar can't hold the instant.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(instant) => write!(f, "{instant:.3}"),
            Err(_) => write!(f, "{}ms", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_as_rfc_3339_in_utc_with_milliseconds() {
        assert_eq!(Timestamp::from_ms(1_767_225_661_187).to_string(), "2026-01-01T00:01:01.187Z");
        assert_eq!(Timestamp::MIN.to_string(), "-9223372036854775808ms");
    }

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        assert_eq!(Timestamp::MIN.minus(1), Timestamp::MIN);
        assert_eq!(Timestamp::from_ms(i64::MAX).plus(1).as_ms(), i64::MAX);
        assert_eq!(Timestamp::from_ms(0).since(Timestamp::MIN), i64::MAX);
    }
}
