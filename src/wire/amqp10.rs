//! AMQP 1.0 messages, scanned in place: OASIS AMQP 1.0, part 1 (types) and part 3, section 3.2 (sections).
//!
//! Nothing here recurses or allocates by a number that a peer wrote. Values that are not read are jumped over; lists,
//! maps and arrays among them are walked to [`MAX_DEPTH`] first.

use crate::engine::Timestamp;
use crate::wire::fields::Fields;
use crate::wire::scalar::Scalar;
use crate::wire::{Profile, Reject};

use encoded::Reader;
use nesting::EmptyArrays;
use sections::{Section, Sections};

pub use fault::{MAX_DEPTH, MAX_ENTRIES};

mod encoded;
mod fault;
mod nesting;
mod sections;

/// Checks a sequence of encoded values: each list, map and array is as long as it says, none holds more entries than
/// there are bytes for, none is nested deeper than [`MAX_DEPTH`]. For guards in front of the stock decoder, which
/// recurses, trusts lengths, and loses its step behind an array that has a constructor but no elements: that is refused
/// here, though the protocol allows it. Linear in the number of bytes.
pub fn check_nesting(mut values: &[u8]) -> Result<(), Reject> {
    while !values.is_empty() {
        values = &values[nesting::value_bytes(values, EmptyArrays::Bare)?..];
    }
    Ok(())
}

/// Where a message stands in an event hub's log, and what the broker says about the end of that log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogPosition<'a> {
    /// Annotation `x-opt-sequence-number`.
    pub sequence: Option<i64>,
    /// Annotation `x-opt-offset`: opaque text.
    pub offset: Option<&'a str>,
    /// Annotation `x-opt-enqueued-time`.
    pub append_time: Option<Timestamp>,
    /// Delivery annotation `last_enqueued_sequence_number` (link capability
    /// `com.microsoft:enable-receiver-runtime-metric`).
    pub last_enqueued_sequence: Option<i64>,
    /// Delivery annotation `last_enqueued_time_utc`.
    pub last_enqueued_time: Option<Timestamp>,
    /// Delivery annotation `runtime_info_retrieval_time_utc`: when the broker looked.
    pub retrieved_at: Option<Timestamp>,
}

/// Reads the position of a message. Stops behind the annotations; the rest is not looked at.
pub fn log_position(message: &[u8]) -> Result<LogPosition<'_>, Reject> {
    let mut position = LogPosition::default();
    let mut sections = Sections::of(message);
    while let Some(section) = sections.next()? {
        let values = sections.values();
        match section {
            Section::Header => values.skip()?,
            Section::DeliveryAnnotations | Section::MessageAnnotations => {
                values.map(|key, value| position.take(key, || value.scalar()))?;
            }
            Section::Properties
            | Section::ApplicationProperties
            | Section::Data
            | Section::Sequence
            | Section::Value
            | Section::Footer => break,
        }
    }
    Ok(position)
}

impl<'a> LogPosition<'a> {
    fn take<E>(
        &mut self,
        key: &[u8],
        read: impl FnOnce() -> Result<Scalar<'a>, E>,
    ) -> Result<(), E> {
        match key {
            b"x-opt-sequence-number" => self.sequence = read()?.integer(),
            b"x-opt-offset" => self.offset = read()?.text(),
            b"x-opt-enqueued-time" => self.append_time = read()?.instant(),
            b"last_enqueued_sequence_number" => self.last_enqueued_sequence = read()?.integer(),
            b"last_enqueued_time_utc" => self.last_enqueued_time = read()?.instant(),
            b"runtime_info_retrieval_time_utc" => self.retrieved_at = read()?.instant(),
            _ => {}
        }
        Ok(())
    }
}

/// Collects the fields of a message.
#[inline]
pub(super) fn fields<'a>(
    message: &'a [u8],
    profile: &Profile,
    fields: &mut Fields<'a>,
) -> Result<(), Reject> {
    let mut sections = Sections::of(message);
    while let Some(section) = sections.next()? {
        let values = sections.values();
        match section {
            Section::MessageAnnotations => {
                values.map(|key, value| fields.annotation(key, || value.scalar()))?;
            }
            Section::ApplicationProperties => {
                values.map(|key, value| fields.property(profile, key, || value.scalar()))?;
            }
            Section::Data => fields.body.append(values.binary()?),
            Section::Value => {
                if let Some(content) = values.value()?.content() {
                    fields.body.append(content);
                }
            }
            Section::Header
            | Section::DeliveryAnnotations
            | Section::Properties
            | Section::Sequence
            | Section::Footer => values.skip()?,
        }
    }
    Ok(())
}

impl Reader<'_> {
    fn skip(&mut self) -> Result<(), fault::Fault> {
        self.value().map(|_| ())
    }
}
