//! What time it is on a queue: the broker's stamps or a trusted header carried on by boot time, or our own boot time anchored
//! once to the wall clock.

use std::sync::Arc;

use crate::clock;
use crate::config::Amqp10Config;
use crate::engine::{Dating, Millis, Timestamp};
use crate::source::amqp_link::broker_clock::BrokerClock;
use crate::wire::{EventTimeFrom, HubName, Profile, RawMessage, Stamps, decode};

/// The clock of one queue, for the life of the process.
pub(super) enum QueueClock {
    /// Receipt: wall and boot time at the start.
    Own { wall: Timestamp, boot_ms: Millis },
    /// The greatest event time seen.
    Stamped { clock: BrokerClock, profile: Box<Profile>, max_error_ms: Millis },
}

impl QueueClock {
    pub(super) fn new(config: &Amqp10Config, max_error_ms: Millis) -> Self {
        match config.event_time {
            EventTimeFrom::Receipt => Self::Own { wall: clock::wall(), boot_ms: clock::boot_ms() },
            EventTimeFrom::Stamps | EventTimeFrom::TrustedHeader => Self::Stamped {
                clock: BrokerClock::new(max_error_ms),
                profile: Box::new(Profile {
                    // Only times are read.
                    hub: HubName::Fixed(Arc::from("any")),
                    stamps: Stamps::Properties,
                    event_time: config.event_time,
                    mapping: config.mapping.clone(),
                    conditions: Arc::from([]),
                }),
                max_error_ms,
            },
        }
    }

    pub(super) fn dating(&self) -> Dating {
        match self {
            Self::Own { .. } => Dating::Receipt,
            Self::Stamped { .. } => Dating::EventTime,
        }
    }

    /// Takes note of a message just received. A time further ahead than our clock can be wrong is no clock.
    pub(super) fn observe(&self, raw: &RawMessage) {
        if let Self::Stamped { clock, profile, max_error_ms } = self {
            let now = clock::wall();
            let decoded = decode(raw, profile, now, now.plus(*max_error_ms));
            if let Some(time) = decoded.ok().and_then(|decoded| decoded.event_time) {
                clock.observe(time);
            }
        }
    }

    /// How far behind the truth [`QueueClock::now`] may be.
    pub(super) fn error_ms(&self) -> Millis {
        match self {
            Self::Own { .. } => 0,
            Self::Stamped { clock, .. } => clock.error_ms(),
        }
    }

    /// The time, never later than the truth as far as stamps tell it.
    pub(super) fn now(&self) -> Timestamp {
        match self {
            // Both clocks are cut to milliseconds: one less is never ahead.
            Self::Own { wall, boot_ms } => wall.plus(clock::boot_ms() - boot_ms - 1),
            Self::Stamped { clock, .. } => clock.now(),
        }
    }
}
