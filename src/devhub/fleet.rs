//! PURE. A simulated fleet: what each device does and when, from a seed, and the record of what was really sent.
//!
//! [`Plan`] is an endless iterator of [`FleetEvent`]s in time order. It holds one entry per sender and per coming
//! event of a life, so its memory is proportional to the fleet and not to the length of the run. [`Truth`] is told
//! what the hub accepted, and judges the alerts received against that.

use crate::engine::{Millis, Timestamp};

mod life;
mod plan;
mod random;
mod roster;
#[cfg(test)]
mod tests;
mod truth;
mod verdict;

pub use plan::{Action, FleetEvent, Plan};
pub use roster::{DeviceKind, GATEWAY_GLOB, Member, Module, Roster};
pub use truth::{TrueOutage, Truth};
pub use verdict::{Notice, NoticeStatus, Verdict};

/// What a fleet is like. All spans in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FleetOptions {
    /// Everything random follows from it.
    pub seed: u64,
    /// Who is in it.
    pub roster: Roster,
    /// Time between two messages of a sender, on average.
    pub interval_ms: Millis,
    /// How far a message may be off its time, either way, in percent of the interval; at most 100.
    pub jitter_percent: u8,
    /// The longest normal silence, as the service is configured.
    pub window_ms: Millis,
    /// The margin on top, as the service is configured.
    pub grace_ms: Millis,
    /// How many devices fall silent, each once; about half of them come back if there is time.
    pub silenced: u32,
    /// How many of the others are deleted; about half of them are created again at once.
    pub deleted: u32,
    /// How many reconnect storms there are.
    pub storms: u32,
    /// The share of the untroubled devices that a storm throws out, in percent.
    pub storm_percent: u8,
    /// When the first device connects.
    pub start: Timestamp,
    /// How long things happen: afterwards those that are alive go on sending and nothing else changes.
    pub duration_ms: Millis,
    /// How long an alert may take from the deadline to its receiver. No silence begins so late that
    /// its deadline plus this were past the end.
    pub settle_ms: Millis,
}

/// Why there can be no such fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FleetError {
    /// No device, or no interval.
    #[error("a fleet needs at least one device and an interval of at least one millisecond")]
    Empty,
    /// Healthy devices would be flagged, and rightly.
    #[error(
        "the window is shorter than the longest pause between two heartbeats of a healthy device: make it at least {at_least_ms} ms"
    )]
    WindowTooShort {
        /// The shortest window that works.
        at_least_ms: Millis,
    },
    /// No silence could be flagged before the end.
    #[error(
        "the duration leaves no time for a silence to begin and be flagged: make it at least {at_least_ms} ms"
    )]
    DurationTooShort {
        /// The shortest duration that works.
        at_least_ms: Millis,
    },
    /// More troubles than devices.
    #[error("{troubled} devices can't fall silent or be deleted in a fleet of {devices}")]
    TooManyTroubled {
        /// Silenced and deleted.
        troubled: u64,
        /// In the fleet.
        devices: u32,
    },
}

impl FleetOptions {
    /// Time of silence until the deadline: window plus grace.
    pub fn silence_ms(&self) -> Millis {
        self.window_ms.saturating_add(self.grace_ms)
    }

    /// When things cease to happen.
    pub fn end(&self) -> Timestamp {
        self.start.plus(self.duration_ms)
    }

    /// The shortest duration in which a device can fall silent and be flagged.
    pub fn least_duration_ms(&self) -> Millis {
        self.warm_up_ms().saturating_add(self.silence_ms()).saturating_add(self.settle_ms)
    }

    /// Until when nothing happens but devices that connect.
    fn warm_up_ms(&self) -> Millis {
        self.interval_ms.saturating_mul(2)
    }

    fn jitter_ms(&self) -> Millis {
        self.interval_ms / 100 * Millis::from(self.jitter_percent)
            + self.interval_ms % 100 * Millis::from(self.jitter_percent) / 100
    }

    /// The longest pause between two messages of an untroubled sender.
    fn longest_pause_ms(&self) -> Millis {
        self.interval_ms.saturating_add(self.jitter_ms())
    }

    /// Whether such a fleet can be.
    pub fn check(&self) -> Result<(), FleetError> {
        if self.roster.devices == 0 || self.interval_ms < 1 {
            return Err(FleetError::Empty);
        }
        if self.window_ms < self.longest_pause_ms() {
            return Err(FleetError::WindowTooShort { at_least_ms: self.longest_pause_ms() });
        }
        let at_least_ms = self.least_duration_ms();
        if self.duration_ms < at_least_ms {
            return Err(FleetError::DurationTooShort { at_least_ms });
        }
        let troubled = u64::from(self.silenced) + u64::from(self.deleted);
        if troubled > u64::from(self.roster.devices) {
            return Err(FleetError::TooManyTroubled { troubled, devices: self.roster.devices });
        }
        Ok(())
    }
}
