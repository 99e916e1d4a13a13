//! What the engine decides, with its evidence.

use super::identity::Identity;
use super::signal::Generation;
use super::time::{Millis, Timestamp};
use serde::{Deserialize, Serialize};

/// A change of an identity's state that people may have to be told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Transition {
    /// Whom it is about.
    pub identity: Identity,
    /// What happened.
    pub kind: TransitionKind,
    /// The outage it begins, ends or corrects.
    pub outage: Outage,
    /// The partition's clock at the decision.
    pub decided_at: Timestamp,
}

/// What happened to an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TransitionKind {
    /// Its observed silence reached its window and grace.
    Offline,
    /// The outage ended.
    Resolved {
        /// Event time of what ended it.
        at: Timestamp,
        /// What ended it.
        by: ResolvedBy,
    },
    /// A heartbeat dated inside the window turned up: there was no outage.
    Retracted {
        /// Event time of that heartbeat.
        heartbeat_at: Timestamp,
    },
    /// A heartbeat dated inside the window turned up, but its own deadline has passed too: the outage is real and began later.
    Amended {
        /// The outage as first told; [`Transition::outage`] is the corrected one.
        told: Judged,
    },
}

/// What ends an outage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ResolvedBy {
    /// Proof of life.
    Heartbeat,
    /// The identity was deleted.
    Deleted,
    /// The identity was deleted and created again.
    Recreated,
}

/// The pair that a verdict was judged on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judged {
    /// The last proof of life, or the creation of an identity that was never heard.
    pub armed_at: Timestamp,
    /// The instant by which the next proof of life was due.
    pub deadline: Timestamp,
}

/// Why an identity is offline. Evidence that explains; only silence flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// It sends nothing.
    Silent,
    /// It sends nothing, and the hub said that its connection closed.
    Disconnected,
    /// It sends nothing, but the hub's last word is that it is connected.
    ConnectedButSilent,
    /// It sends nothing, and its last will was published.
    LastWill,
    /// It was created and never sent anything.
    NeverSeen,
}

impl Cause {
    /// The name used in state, metrics and alerts.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::Disconnected => "disconnected",
            Self::ConnectedButSilent => "connected_but_silent",
            Self::LastWill => "last_will",
            Self::NeverSeen => "never_seen",
        }
    }
}

/// One outage and what it was judged on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outage {
    /// The pair that was judged. `alert_id` derives from its `armed_at`: after an amendment that of the
    /// outage as first told ([`Outage::first_armed_at`]).
    pub judged: Judged,
    /// `armed_at` of the outage as first told: equal to `judged.armed_at` unless amended.
    pub first_armed_at: Timestamp,
    /// Why.
    pub cause: Cause,
    /// The longest normal silence.
    pub window_ms: Millis,
    /// The margin on top.
    pub grace_ms: Millis,
    /// Index of the rule that set them, in [`super::rules::Policy`].
    pub rule: u16,
    /// The last proof of life in the log; `None` for an identity that was never heard.
    pub last_signal: Option<LastSignal>,
    /// Generation of the identity, if stamped.
    pub generation: Generation,
    /// True if no other message of the same hub and route is dated in the last half of the window: the silence may be the route's.
    pub route_unproven: bool,
}

/// Where the last proof of life stands in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastSignal {
    /// Its place in the partition.
    pub sequence: i64,
    /// Its event time.
    pub event_time: Timestamp,
}
