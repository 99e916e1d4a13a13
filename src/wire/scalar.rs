//! A single value, whatever encoding it came in.

use std::borrow::Cow;

use crate::engine::Timestamp;

/// The longest text that is tried as a date: RFC 3339 with nanoseconds and an offset has 35 characters.
const MAX_DATE_BYTES: usize = 64;

/// A value of an annotation, a property, a header or a JSON member. Cheap to copy; texts are borrowed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scalar<'a> {
    Text(&'a str),
    Integer(i64),
    Boolean(bool),
    Time(Timestamp),
    /// Null, a float, a list: present, but of no use.
    Other,
}

impl<'a> Scalar<'a> {
    pub(super) fn text(self) -> Option<&'a str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Integer(_) | Self::Boolean(_) | Self::Time(_) | Self::Other => None,
        }
    }

    pub(super) fn integer(self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(number),
            Self::Text(_) | Self::Boolean(_) | Self::Time(_) | Self::Other => None,
        }
    }

    /// An id: text, or an integer by its decimal digits (fleets without IoT Hub number their devices).
    pub(super) fn id(self) -> Option<Cow<'a, str>> {
        match self {
            Self::Text(text) => Some(Cow::Borrowed(text)),
            Self::Integer(number) => Some(Cow::Owned(number.to_string())),
            Self::Boolean(_) | Self::Time(_) | Self::Other => None,
        }
    }

    /// An instant: a timestamp, an integer of milliseconds since the epoch, or RFC 3339. What can't be a date
    /// (30 February) is `None`.
    pub(super) fn instant(self) -> Option<Timestamp> {
        match self {
            Self::Time(at) => Some(at),
            Self::Integer(ms) => Some(Timestamp::from_ms(ms)),
            Self::Text(text) if text.len() <= MAX_DATE_BYTES => text
                .parse::<jiff::Timestamp>()
                .ok()
                .map(|at| Timestamp::from_ms(at.as_millisecond())),
            Self::Text(_) | Self::Boolean(_) | Self::Other => None,
        }
    }

    /// Whether its text is `wanted`; integers and booleans by their decimal and `true`/`false` text.
    pub(super) fn equals(self, wanted: &str) -> bool {
        match self {
            Self::Text(text) => text == wanted,
            Self::Integer(number) => number.to_string() == wanted,
            Self::Boolean(flag) => wanted == if flag { "true" } else { "false" },
            Self::Time(_) | Self::Other => false,
        }
    }
}

impl<'a> From<&'a serde_json::Value> for Scalar<'a> {
    fn from(value: &'a serde_json::Value) -> Self {
        match value {
            serde_json::Value::String(text) => Self::Text(text),
            serde_json::Value::Number(number) => number.as_i64().map_or(Self::Other, Self::Integer),
            serde_json::Value::Bool(flag) => Self::Boolean(*flag),
            serde_json::Value::Null
            | serde_json::Value::Array(_)
            | serde_json::Value::Object(_) => Self::Other,
        }
    }
}
