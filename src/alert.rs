//! PURE. What people are told: transitions become alerts with stable ids, alerts become messages.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::engine::{Millis, Transition};

pub mod body;
pub mod id;
pub mod mute;
pub mod path;
pub mod self_health;
pub mod signature;
pub mod vitals;
pub mod watchdog;

#[cfg(test)]
pub(crate) mod sample;

pub use body::{message, path_message, self_message, watchdog_message};

/// Where a transition was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Name of the source.
    pub source: Arc<str>,
    /// Name of the partition.
    pub partition: Arc<str>,
    /// Text of the rule that set the window: its position and pattern, or `default`.
    pub rule: Arc<str>,
    /// Real time (broker's estimate) minus the partition's clock at the decision.
    pub observation_lag_ms: Millis,
}

/// A transition that people are told, with where it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// What was decided.
    pub transition: Transition,
    /// Where.
    pub origin: Origin,
}

/// One request that tells a sink about an alert. Its body is rendered once and repeated byte for byte.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `webhook-id`: hash of (alert id, sink, status, ordinal).
    pub message_id: String,
    /// Stable id of the outage: hash of (hub, identity, kind, event time that armed the deadline), or of (source or
    /// part of the service, time at which it was first told).
    pub alert_id: String,
    /// Orders messages of one identity, one source or one part of the service: messages with the same lane are
    /// delivered in order.
    pub lane: u64,
    /// Where the outage stands by it. An end whose beginning never reached the sink needs no telling.
    pub status: body::Status,
    /// Canonical JSON.
    pub body: Bytes,
}
