//! PURE. Alerts about the service itself, and the watch over the delivery to each sink.
//!
//! That a message was given up can't be told through the sink that gave it up: whoever owns the watch sends its alerts
//! through the others.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::engine::{Millis, Timestamp};

use super::body::Status;
use super::id::AlertId;

/// The most sinks that are watched: as many as a configuration may have.
pub const MAX_SINKS: usize = 32;

/// How long a sink that has failed has to deliver without giving anything up until all is well again: longer than a
/// message that is rejected takes to be given up, so that one such message after another is one alert.
pub const CLEAR_AFTER_MS: Millis = 300_000;

/// What is not well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SelfReason {
    /// Messages were given up.
    DeliveryFailing,
    /// An endpoint answered 410 and is given nothing more.
    EndpointDisabled,
    /// Ticks of the clocks come later than they should.
    LateTicks,
    /// The store can't be written.
    Storage,
    /// The service does not get the processor.
    Starved,
    /// The machine was suspended.
    Suspended,
    /// The machine's wall clock was set.
    ClockStepped,
}

impl SelfReason {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::DeliveryFailing,
        Self::EndpointDisabled,
        Self::LateTicks,
        Self::Storage,
        Self::Starved,
        Self::Suspended,
        Self::ClockStepped,
    ];

    /// The name used in alerts.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DeliveryFailing => "delivery_failing",
            Self::EndpointDisabled => "endpoint_disabled",
            Self::LateTicks => "late_ticks",
            Self::Storage => "storage",
            Self::Starved => "starved",
            Self::Suspended => "suspended",
            Self::ClockStepped => "clock_stepped",
        }
    }

    /// How bad it is.
    pub const fn severity(self) -> &'static str {
        if self.is_critical() { "critical" } else { "warning" }
    }

    /// Whether somebody may not be told of an outage because of it, or only later.
    pub const fn is_critical(self) -> bool {
        match self {
            Self::DeliveryFailing | Self::EndpointDisabled | Self::Storage | Self::Starved => true,
            Self::LateTicks | Self::Suspended | Self::ClockStepped => false,
        }
    }
}

/// What people are told about the service itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelfAlert {
    /// The same from firing to resolved.
    pub id: AlertId,
    /// Firing or resolved.
    pub status: Status,
    /// Tells apart messages of one status: 1 for an alert that fires again under its id, for a worse reason.
    pub ordinal: u32,
    /// What is not well.
    pub reason: SelfReason,
    /// The sink concerned, if it is about one.
    pub sink: Option<Arc<str>>,
    /// When the trouble began, as far as is known.
    pub since: Timestamp,
    /// When the alert was first told.
    pub detected_at: Timestamp,
    /// When this was found.
    pub at: Timestamp,
    /// Figures by name, such as `given_up`: messages since the alert was first told.
    pub counts: BTreeMap<String, u64>,
}

impl SelfAlert {
    /// An alert that is told for the first time, at `at`.
    pub fn firing(
        reason: SelfReason,
        sink: Option<Arc<str>>,
        since: Timestamp,
        at: Timestamp,
    ) -> Self {
        Self {
            id: AlertId::of_self(reason.as_str(), sink.as_deref().unwrap_or_default(), at),
            status: Status::Firing,
            ordinal: 0,
            reason,
            sink,
            since,
            detected_at: at,
            at,
            counts: BTreeMap::new(),
        }
    }

    /// The end of it, found at `at`.
    pub fn resolved(self, at: Timestamp) -> Self {
        Self { status: Status::Resolved, ordinal: 0, at, ..self }
    }
}

/// What a sink says about its endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A message was given up: it is in the delivery dead letters.
    GivenUp {
        /// Name of the sink.
        sink: Arc<str>,
        /// When the message was first attempted, as far as this process knows.
        since: Timestamp,
    },
    /// The endpoint answered 410: what is for it goes to the delivery dead letters until the next start.
    Disabled {
        /// Name of the sink.
        sink: Arc<str>,
    },
    /// The first success after a failure.
    Delivering {
        /// Name of the sink.
        sink: Arc<str>,
    },
}

impl Notice {
    /// The sink that says it.
    pub fn sink(&self) -> &Arc<str> {
        match self {
            Self::GivenUp { sink, .. } | Self::Disabled { sink } | Self::Delivering { sink } => {
                sink
            }
        }
    }
}

/// Watches the delivery to all sinks: at most one open alert for each.
#[derive(Clone, Debug, Default)]
pub struct DeliveryWatch {
    open: BTreeMap<Arc<str>, Open>,
}

#[derive(Clone, Debug)]
struct Open {
    alert: SelfAlert,
    /// Boot time since which it delivers and nothing was given up, in ms.
    well_since_ms: Option<Millis>,
}

/// The name of the count of messages that were given up.
const GIVEN_UP: &str = "given_up";

impl DeliveryWatch {
    /// A watch that takes over the alerts which an earlier process left open, so that they end under their own ids: a
    /// sink says that it delivers at its first success. Alerts about anything but a sink are left out.
    pub fn restored(alerts: impl IntoIterator<Item = SelfAlert>) -> Self {
        let of_sinks = alerts.into_iter().filter_map(|alert| Some((alert.sink.clone()?, alert)));
        let open = of_sinks.map(|(sink, alert)| (sink, Open { alert, well_since_ms: None }));
        Self { open: open.take(MAX_SINKS).collect() }
    }

    /// The alerts that are open, in the order of their sinks.
    pub fn open(&self) -> impl Iterator<Item = &SelfAlert> {
        self.open.values().map(|open| &open.alert)
    }

    /// Hears what a sink says. `now_ms` is boot time, `wall` only dates what is told.
    pub fn notice(
        &mut self,
        notice: &Notice,
        now_ms: Millis,
        wall: Timestamp,
    ) -> Option<SelfAlert> {
        match notice {
            Notice::GivenUp { sink, since } => {
                let told = self.fail(sink, SelfReason::DeliveryFailing, *since, wall);
                let open = self.open.get_mut(sink)?;
                *open.alert.counts.entry(GIVEN_UP.to_owned()).or_insert(0) += 1;
                told.map(|told| SelfAlert { counts: open.alert.counts.clone(), ..told })
            }
            Notice::Disabled { sink } => self.fail(sink, SelfReason::EndpointDisabled, wall, wall),
            Notice::Delivering { sink } => {
                self.open.get_mut(sink)?.well_since_ms.get_or_insert(now_ms);
                None
            }
        }
    }

    /// Ends what has been well for long enough; about once a second. `now_ms` is boot time.
    pub fn look(&mut self, now_ms: Millis, wall: Timestamp) -> Vec<SelfAlert> {
        let is_over = |_: &Arc<str>, open: &mut Open| {
            open.well_since_ms.is_some_and(|since| now_ms.saturating_sub(since) >= CLEAR_AFTER_MS)
        };
        let over = self.open.extract_if(.., is_over);
        over.map(|(_, open)| open.alert.resolved(wall)).collect()
    }

    /// Opens the alert of a sink; one that is open fires again only for a worse reason.
    fn fail(
        &mut self,
        sink: &Arc<str>,
        reason: SelfReason,
        since: Timestamp,
        wall: Timestamp,
    ) -> Option<SelfAlert> {
        if let Some(open) = self.open.get_mut(sink) {
            open.well_since_ms = None;
            if reason <= open.alert.reason {
                return None;
            }
            let ordinal = open.alert.ordinal.saturating_add(1);
            open.alert = SelfAlert { reason, ordinal, at: wall, ..open.alert.clone() };
            return Some(open.alert.clone());
        }
        if self.open.len() >= MAX_SINKS {
            return None;
        }
        let alert = SelfAlert::firing(reason, Some(sink.clone()), since, wall);
        self.open.insert(sink.clone(), Open { alert: alert.clone(), well_since_ms: None });
        Some(alert)
    }
}

#[cfg(test)]
mod tests;
