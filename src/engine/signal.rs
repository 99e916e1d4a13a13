//! What a partition's engine is told: messages of the log, and the inputs that are not in the log.

use super::identity::IdentityRef;
use super::time::{Millis, Timestamp};
use serde::{Deserialize, Serialize};

/// One message of a partition, decoded. Every message has one, also those that say nothing about an
/// identity: it moves the position, and its event time moves the clock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Message<'a> {
    /// Place in the partition: an Event Hubs sequence number, a stream offset, a line, or a count of deliveries.
    pub sequence: i64,
    /// When the message happened as far as it can be trusted: the hub's ingress time, at most the append
    /// time. `None` where it could not be read: the message moves only the position.
    pub event_time: Option<Timestamp>,
    /// When the broker stored it.
    pub append_time: Option<Timestamp>,
    /// What it says about an identity, if anything.
    pub signal: Option<Signal<'a>>,
}

/// What a message says about an identity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Signal<'a> {
    /// Whom it is about.
    pub identity: IdentityRef<'a>,
    /// What it says.
    pub kind: SignalKind,
    /// `iothub-connection-auth-generation-id`, where stamped.
    pub generation: Generation,
    /// Bit `i` is set if the message meets condition `i` of the policy ([`super::rules::Condition`]).
    pub conditions: u32,
    /// The device's own clock (`iothub-creation-time-utc`): evidence, never an input of a verdict.
    pub created_by_device: Option<Timestamp>,
}

/// The kinds of signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SignalKind {
    /// A device-to-cloud message; a heartbeat is one.
    Telemetry,
    /// `deviceConnected`, ordered by the event's own `sequenceNumber`.
    Connected(ConnectionSequence),
    /// `deviceDisconnected`, ordered by the event's own `sequenceNumber`.
    Disconnected(ConnectionSequence),
    /// `createDeviceIdentity` or `createModuleIdentity`.
    Created,
    /// `deleteDeviceIdentity` or `deleteModuleIdentity`.
    Deleted,
    /// A telemetry message with `iothub-MessageType` = `Will`: the hub speaks for a lost connection; no life.
    LastWill,
}

/// The `sequenceNumber` of a connection-state event: 256 bits, compared as a number.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct ConnectionSequence(pub [u8; 32]);

/// The generation of an identity: tells apart a device and the one that was created after it under the same id.
/// Zero stands for "not stamped".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Generation(u64);

impl Generation {
    /// Not stamped.
    pub const UNKNOWN: Self = Self(0);
    /// Set on generations that are no decimal number: these are equal or different, but have no order.
    const OPAQUE: u64 = 1 << 63;

    /// Reads `iothub-connection-auth-generation-id`. The documented form is an opaque string; the hub writes a
    /// decimal number that grows. Anything else is kept as a hash that compares only for equality.
    pub fn parse(text: &str) -> Self {
        match text.parse::<u64>() {
            Ok(0) => Self::UNKNOWN,
            Ok(number) if number & Self::OPAQUE == 0 => Self(number),
            Ok(_) | Err(_) if text.is_empty() => Self::UNKNOWN,
            Ok(_) | Err(_) => {
                let fnv = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                    (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
                });
                Self(fnv | Self::OPAQUE)
            }
        }
    }

    /// Whether the stamp was there.
    pub fn is_known(self) -> bool {
        self.0 != 0
    }

    /// Which is the later one, where both are numbers.
    pub fn number(self) -> Option<u64> {
        (self.is_known() && self.0 & Self::OPAQUE == 0).then_some(self.0)
    }

    /// The stored form.
    pub fn to_bits(self) -> u64 {
        self.0
    }

    /// Back from the stored form.
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

/// A receiver of the partition was attached. Begins a span of observation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attached {
    /// Broker time, never later than the truth: of a log, when its end was asked for; of a queue, when the attach was
    /// confirmed.
    pub at: Timestamp,
    /// How far behind the truth `at` may be: a gap that ends with the attachment ends that much later.
    pub error_ms: Millis,
    /// Tells one stream from another that took its name (endpoint and creation time, hashed); `None` for queues.
    pub stream: Option<u64>,
    /// The oldest sequence number the log still holds; `None` where there is no log or it is not known.
    pub first_available: Option<i64>,
    /// What was there at the attach and has to be applied before it counts as live.
    pub backlog: Backlog,
    /// What the messages of this attachment are dated by.
    pub dating: Dating,
}

impl Attached {
    /// Broker time at the attachment, never earlier than the truth.
    pub(crate) fn latest(&self) -> Timestamp {
        self.at.plus(self.error_ms)
    }
}

/// What was waiting when the receiver was attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Backlog {
    /// Nothing.
    Empty,
    /// Up to and including this sequence number.
    UpTo(i64),
    /// This many messages of a queue.
    Count(u64),
    /// No end is known: a recorded file. It never turns live and never mutes.
    Endless,
}

/// What the event times of an attachment are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Dating {
    /// When it happened (the hub's stamps, or a header named as trusted).
    EventTime,
    /// When we received it: a backlog says nothing about the span it spans.
    Receipt,
}

/// Evidence that nothing unread remains on the partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Broker time at which the question was asked, never later than the truth.
    pub at: Timestamp,
    /// The last sequence number of the log at that time; `None` for queues (asked on the consuming channel) and
    /// for a log of which nothing has come on this attachment, and nothing was to come.
    pub last_enqueued: Option<i64>,
}

/// Why a partition's clock can't advance at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum BlindReason {
    /// No connection, or the receiver was closed.
    LinkDown,
    /// The broker refuses our credentials.
    Unauthorized,
    /// The broker asks us to slow down.
    Throttled,
    /// A backlog is being read.
    Lagging,
    /// Attached, but neither messages nor proofs come.
    Stalled,
    /// Others read the same queue, or we can't show that nobody does.
    Shared,
    /// Our store can't be written.
    Storage,
    /// Another receiver took the partition.
    NotOwner,
    /// The log is another one than before.
    StreamReset,
    /// This process did not get the processor.
    Starved,
    /// Nothing unread remains, but nobody of many was heard: the silence may be the route's.
    RouteUnproven,
}

impl BlindReason {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::LinkDown,
        Self::Unauthorized,
        Self::Throttled,
        Self::Lagging,
        Self::Stalled,
        Self::Shared,
        Self::Storage,
        Self::NotOwner,
        Self::StreamReset,
        Self::Starved,
        Self::RouteUnproven,
    ];

    /// The name used in state, metrics and alerts.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LinkDown => "link_down",
            Self::Unauthorized => "unauthorized",
            Self::Throttled => "throttled",
            Self::Lagging => "lagging",
            Self::Stalled => "stalled",
            Self::Shared => "shared",
            Self::Storage => "storage",
            Self::NotOwner => "not_owner",
            Self::StreamReset => "stream_reset",
            Self::Starved => "starved",
            Self::RouteUnproven => "route_unproven",
        }
    }
}

/// A span in which nothing can be known about a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The last instant that is known.
    pub from: Timestamp,
    /// The first instant that is known again.
    pub until: Timestamp,
    /// Why.
    pub reason: GapReason,
}

impl Gap {
    /// How long it is.
    pub fn length_ms(&self) -> Millis {
        self.until.since(self.from)
    }
}

/// Why there is a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum GapReason {
    /// Consecutive messages of a backlog are further apart than `bridge`.
    Hole,
    /// The end of a backlog is further from the attachment than `bridge`.
    Tail,
    /// The log no longer holds what came after our position.
    AgedOut,
    /// The log is another one than before.
    StreamReset,
    /// The messages are dated by receipt: what came while we were away says nothing about when.
    Undated,
    /// Nobody of many was heard, and then somebody was: what the route did meanwhile is not known.
    RouteUnproven,
    /// Others read the same queue: what they took was not seen.
    Shared,
}

impl GapReason {
    /// The name used in state, metrics and alerts.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hole => "hole",
            Self::Tail => "tail",
            Self::AgedOut => "aged_out",
            Self::StreamReset => "stream_reset",
            Self::Undated => "undated",
            Self::RouteUnproven => "route_unproven",
            Self::Shared => "shared",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decimal_generation_has_an_order_and_any_other_text_only_equality() {
        let old = Generation::parse("638712345678901234");
        assert_eq!(old.number(), Some(638_712_345_678_901_234));
        let opaque = Generation::parse("gen-a");
        assert!(opaque.is_known());
        assert_eq!(opaque.number(), None);
        assert_eq!(opaque, Generation::parse("gen-a"));
        assert_ne!(opaque, Generation::parse("gen-b"));
        assert_eq!(Generation::parse(""), Generation::UNKNOWN);
        assert_eq!(Generation::parse("0"), Generation::UNKNOWN);
        assert!(Generation::parse("18446744073709551615").is_known());
    }
}
