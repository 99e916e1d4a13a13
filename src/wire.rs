//! PURE. Raw messages in, [`Decoded`] out: AMQP 1.0 sections scanned in place, AMQP 0-9-1 headers, recorded lines.
//! Nothing recursive over input; every depth, count and length is checked against the bytes that are there.
//!
//! Three front ends ([`amqp10`], [`amqp091`], [`mod@line`]) fill the same table of fields; what the fields mean is decided in
//! one place for all of them. The hub's stamps and the names it uses: Microsoft, "Create and read IoT Hub messages"
//! (anti-spoofing properties) and "IoT Hub non-telemetry event schemas".

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;

use crate::engine::rules::Condition;
use crate::engine::signal::{Generation, Message, Signal, SignalKind};
use crate::engine::{IdentityRef, Timestamp};

use self::fields::Fields;

pub mod amqp091;
pub mod amqp10;
mod body;
mod dates;
mod fields;
mod identity;
pub mod line;
mod meaning;
mod notification;
mod scalar;
mod spoof;
#[cfg(test)]
mod tests;

/// The largest message that is looked at. IoT Hub takes at most 256 KiB, Event Hubs and Service Bus 1 MiB by default.
pub const MAX_MESSAGE_BYTES: usize = 1 << 20;

/// Decodes one message: the one entry for all sources.
///
/// `received_at` dates messages of sources with [`EventTimeFrom::Receipt`]. `latest_plausible` is how far in the future
/// an event time may lie; a later one is rejected with [`RejectReason::FutureTime`]. Of several entries with the same
/// name the first counts.
pub fn decode<'a>(
    raw: &'a RawMessage,
    profile: &'a Profile,
    received_at: Timestamp,
    latest_plausible: Timestamp,
) -> Result<Decoded<'a>, Reject> {
    let now = Instants { received_at, latest_plausible };
    match raw {
        RawMessage::Amqp10(message) => {
            check_size(message.len())?;
            let mut fields = Fields::default();
            amqp10::fields(message, profile, &mut fields)?;
            meaning::read(&fields, profile, now)
        }
        RawMessage::Amqp091(message) => {
            amqp091::check_quarantine(message)?;
            check_size(message.body.len())?;
            meaning::read(&amqp091::fields(message, profile), profile, now)
        }
        RawMessage::Line(line) => {
            check_size(line.len())?;
            let record = line::Record::parse(line)?;
            let decoded = meaning::read(&record.fields(profile)?, profile, now)?;
            Ok(decoded.into_owned())
        }
    }
}

/// Our own instants that a decision needs.
#[derive(Clone, Copy, Debug)]
struct Instants {
    received_at: Timestamp,
    latest_plausible: Timestamp,
}

fn check_size(bytes: usize) -> Result<(), Reject> {
    if bytes > MAX_MESSAGE_BYTES {
        return Err(Reject::new(
            RejectReason::TooLarge,
            format!("the message has {bytes} bytes, more than {MAX_MESSAGE_BYTES}"),
        ));
    }
    Ok(())
}

/// A message as a source hands it over, not yet looked at.
#[derive(Clone, Debug, PartialEq)]
pub enum RawMessage {
    /// The encoded sections of an AMQP 1.0 message (OASIS AMQP 1.0, part 3, section 3.2).
    Amqp10(Bytes),
    /// An AMQP 0-9-1 delivery.
    Amqp091(Box<Amqp091Message>),
    /// One line of a recording: a JSON object.
    Line(Bytes),
}

/// An AMQP 0-9-1 delivery after the client library has taken it apart. Only flat header values are kept.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Amqp091Message {
    /// Routing key it was published with.
    pub routing_key: String,
    /// Headers in the order of the table.
    pub headers: Vec<(String, HeaderValue)>,
    /// `basic.properties` `timestamp`, in seconds; the publisher's.
    pub timestamp_s: Option<u64>,
    /// `basic.properties` `message-id`.
    pub message_id: Option<String>,
    /// `basic.properties` `content-type`.
    pub content_type: Option<String>,
    /// The body.
    pub body: Bytes,
    /// Set if the message was not fit to be decoded by the client library: it goes to the dead letter for this reason.
    pub quarantined: Option<Quarantined>,
}

/// Why a guard in front of a client library took a message apart, and what it kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// The class.
    pub reason: RejectReason,
    /// The first bytes of its properties as they came.
    pub properties: Bytes,
}

/// A value of a header or an application property.
#[derive(Clone, Debug, PartialEq)]
pub enum HeaderValue {
    /// Text (long string that is UTF-8, short string).
    Text(String),
    /// Any integer.
    Integer(i64),
    /// A boolean.
    Boolean(bool),
    /// A timestamp.
    Time(Timestamp),
    /// Anything else: present, but of no use to us.
    Other,
}

/// How the messages of a source are read: fixed per source, by configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// Whose devices these are.
    pub hub: HubName,
    /// Where the hub's stamps stand.
    pub stamps: Stamps,
    /// What dates a message.
    pub event_time: EventTimeFrom,
    /// For fleets that never saw IoT Hub: where identity and time stand. `None`: the hub's names.
    pub mapping: Option<Mapping>,
    /// Properties that rules name as the mark of a heartbeat; bit `i` of [`Signal::conditions`] is condition `i`.
    pub conditions: Arc<[Condition]>,
}

/// Where the hub's name comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HubName {
    /// From the configuration (lower-case).
    Fixed(Arc<str>),
    /// From this application property (header), which an enrichment stamps.
    Property(String),
}

/// Where the hub's stamps (`iothub-connection-device-id` and the others) stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamps {
    /// Message annotations: Event Hubs endpoints. Application properties are the device's own there.
    Annotations,
    /// Application properties or headers: Service Bus and other queues. Annotations win where both are present.
    Properties,
}

/// What dates a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventTimeFrom {
    /// The hub's and the broker's own stamps (`iothub-enqueuedtime`, `x-opt-enqueued-time`).
    Stamps,
    /// The named header (or `iothub-enqueuedtime`), which the operator has declared as trusted.
    TrustedHeader,
    /// The moment of receipt.
    Receipt,
}

/// Where identity and time stand in messages that IoT Hub did not stamp.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// The device id.
    pub device: FieldFrom,
    /// The module id.
    pub module: Option<FieldFrom>,
    /// The event time; used only with [`EventTimeFrom::TrustedHeader`]. RFC 3339, or a number of milliseconds
    /// since the epoch.
    pub event_time: Option<FieldFrom>,
}

/// A place in a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldFrom {
    /// A header or application property.
    Header(String),
    /// The n-th segment of the routing key, split at dots, from 0.
    RoutingKeySegment(usize),
    /// A JSON pointer (RFC 6901) into the body.
    JsonPointer(String),
}

/// What a message says, as far as we read it. Borrows from the raw message.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded<'a> {
    /// Event time: never later than the append time. `None` if there is none.
    pub event_time: Option<Timestamp>,
    /// When the broker stored it.
    pub append_time: Option<Timestamp>,
    /// True if the stamped ingress time was later than the append time and was clamped to it.
    pub clamped: bool,
    /// True if the message tried to pass for something it is not (another device, a notification).
    pub spoof_suspected: bool,
    /// What it says about an identity; or why it says nothing.
    pub meaning: Meaning<'a>,
}

/// What a message means.
#[derive(Clone, Debug, PartialEq)]
pub enum Meaning<'a> {
    /// A signal about an identity.
    Signal {
        /// Hub, lower-case.
        hub: Cow<'a, str>,
        /// Device id, checked.
        device: Cow<'a, str>,
        /// Module id, checked.
        module: Option<Cow<'a, str>>,
        /// What it says.
        kind: SignalKind,
        /// The identity's generation, if stamped.
        generation: Generation,
        /// Which conditions of the profile it meets.
        conditions: u32,
        /// The device's own clock.
        created_by_device: Option<Timestamp>,
    },
    /// A kind that we have no use for: counted under this name.
    Ignored(IgnoredKind),
}

/// Kinds of message that are only counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IgnoredKind {
    /// `twinChangeEvents`.
    TwinChange,
    /// `digitalTwinChangeEvents`.
    DigitalTwinChange,
    /// `deviceJobLifecycleEvents`.
    JobLifecycle,
    /// A lifecycle or connection event with an `opType` that is not known.
    UnknownOperation,
    /// A message source that is not known.
    UnknownSource,
}

impl IgnoredKind {
    /// The name used in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TwinChange => "twin_change",
            Self::DigitalTwinChange => "digital_twin_change",
            Self::JobLifecycle => "job_lifecycle",
            Self::UnknownOperation => "unknown_operation",
            Self::UnknownSource => "unknown_source",
        }
    }
}

impl Decoded<'_> {
    /// The same, borrowing nothing.
    pub fn into_owned(self) -> Decoded<'static> {
        let meaning = match self.meaning {
            Meaning::Ignored(kind) => Meaning::Ignored(kind),
            Meaning::Signal {
                hub,
                device,
                module,
                kind,
                generation,
                conditions,
                created_by_device,
            } => Meaning::Signal {
                hub: Cow::Owned(hub.into_owned()),
                device: Cow::Owned(device.into_owned()),
                module: module.map(|module| Cow::Owned(module.into_owned())),
                kind,
                generation,
                conditions,
                created_by_device,
            },
        };
        Decoded {
            event_time: self.event_time,
            append_time: self.append_time,
            clamped: self.clamped,
            spoof_suspected: self.spoof_suspected,
            meaning,
        }
    }

    /// The engine's view of the message.
    pub fn message(&self, sequence: i64) -> Message<'_> {
        let signal = match &self.meaning {
            Meaning::Ignored(_) => None,
            Meaning::Signal {
                hub,
                device,
                module,
                kind,
                generation,
                conditions,
                created_by_device,
            } => Some(Signal {
                identity: IdentityRef { hub, device, module: module.as_deref() },
                kind: *kind,
                generation: *generation,
                conditions: *conditions,
                created_by_device: *created_by_device,
            }),
        };
        Message { sequence, event_time: self.event_time, append_time: self.append_time, signal }
    }
}

/// Why a message goes to the ingest dead letter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {detail}", reason = reason.as_str())]
pub struct Reject {
    /// The class: a label of a metric.
    pub reason: RejectReason,
    /// What exactly; never message content beyond names.
    pub detail: String,
}

/// Classes of rejected messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RejectReason {
    /// The encoding is broken: lengths, type codes, UTF-8.
    Malformed,
    /// Nested too deep, too many entries, too large.
    TooLarge,
    /// No device id where there has to be one.
    NoIdentity,
    /// An id that can't be one.
    BadIdentity,
    /// The hub's name is missing or empty.
    NoHub,
    /// Dated further in the future than clocks can differ.
    FutureTime,
    /// A source that is dated by event time, and a message without one.
    NoTime,
    /// It ended the client library before we could see it (nested header values).
    Hostile,
    /// The process ended twice while it was being decoded: it is not decoded again.
    EndedProcess,
}

impl Reject {
    /// Of a message that is not looked at any more.
    pub fn ended_process() -> Self {
        Self::new(
            RejectReason::EndedProcess,
            "the process ended twice while this was being decoded",
        )
    }

    fn new(reason: RejectReason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }
}

impl RejectReason {
    /// The name used in metrics and dead letters.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::TooLarge => "too_large",
            Self::NoIdentity => "no_identity",
            Self::BadIdentity => "bad_identity",
            Self::NoHub => "no_hub",
            Self::FutureTime => "future_time",
            Self::NoTime => "no_time",
            Self::Hostile => "hostile",
            Self::EndedProcess => "ended_process",
        }
    }
}
