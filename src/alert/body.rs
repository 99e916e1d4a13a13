//! An alert as JSON: the payload structure of Standard Webhooks 1.0.0 (`type`, `timestamp`, `data`).
//!
//! Always rendered by a serializer, never by string templates, so that no id or name can change its structure.

use bytes::Bytes;
use serde::{Deserialize, Serialize, Serializer};

use crate::engine::{Cause, Millis, Outage, ResolvedBy, Timestamp, Transition, TransitionKind};

use super::id::{self, AlertId};
use super::{Alert, Message};

mod path;
mod self_health;
mod summary;
mod watchdog;

pub use path::{SEVERITY as PATH_SEVERITY, TYPE as PATH_TYPE, path_message};
pub use self_health::{TYPE as SELF_TYPE, self_message};
pub use watchdog::watchdog_message;

/// Upper bound of a body, in bytes: what Standard Webhooks 1.0.0 ("Payload size") recommends as the most.
pub const MAX_BODY_BYTES: usize = 20_000;

/// Names that are not checked ids (hub, source, partition, rule) are cut to this many bytes, so that a body
/// keeps within [`MAX_BODY_BYTES`] whatever is configured. IoT Hub names have at most 50 characters.
const MAX_NAME_BYTES: usize = 256;

/// Where an outage stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Status {
    /// It is there.
    Firing,
    /// It ended.
    Resolved,
    /// It never was.
    Retracted,
    /// It is there, but began later than told.
    Amended,
    /// It is there, and what was told about its extent has changed.
    Updated,
}

impl Status {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Firing, Self::Resolved, Self::Retracted, Self::Amended, Self::Updated];

    /// The status with this name, as [`Status::as_str`] gives it.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }

    /// What a transition tells about its outage.
    pub fn of(transition: &Transition) -> Self {
        match transition.kind {
            TransitionKind::Offline => Self::Firing,
            TransitionKind::Resolved { .. } => Self::Resolved,
            TransitionKind::Retracted { .. } => Self::Retracted,
            TransitionKind::Amended { .. } => Self::Amended,
        }
    }

    /// Whether nothing is open after it.
    pub const fn is_end(self) -> bool {
        match self {
            Self::Resolved | Self::Retracted => true,
            Self::Firing | Self::Amended | Self::Updated => false,
        }
    }

    /// The name used in bodies and ids.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Resolved => "resolved",
            Self::Retracted => "retracted",
            Self::Amended => "amended",
            Self::Updated => "updated",
        }
    }
}

/// The message that tells the sink named `sink` about an alert.
pub fn message(alert: &Alert, sink: &str) -> Message {
    let alert_id = AlertId::of(&alert.transition);
    let (status, ordinal) = (Status::of(&alert.transition), ordinal(&alert.transition));
    let message_id = alert_id.message_id(sink, status, ordinal);
    let alert_id = alert_id.to_string();
    let payload = Payload::new(alert, &alert_id, &message_id);
    Message {
        lane: id::lane(alert.transition.identity.as_ref()),
        status: Status::of(&alert.transition),
        body: rendered(&payload),
        message_id,
        alert_id,
    }
}

/// Strings, numbers and structs can't fail to serialize into memory; an empty body would be refused by any receiver.
fn rendered(payload: &impl Serialize) -> Bytes {
    Bytes::from(serde_json::to_vec(payload).unwrap_or_default())
}

/// Tells apart several amendments of one outage: the instant that each found, in its low bits. Everything else is told once.
fn ordinal(transition: &Transition) -> u32 {
    match transition.kind {
        TransitionKind::Amended { .. } => {
            let found = transition.outage.judged.armed_at.as_ms() & i64::from(u32::MAX);
            u32::try_from(found).unwrap_or(0)
        }
        TransitionKind::Offline
        | TransitionKind::Resolved { .. }
        | TransitionKind::Retracted { .. } => 0,
    }
}

#[derive(Serialize)]
struct Payload<'a> {
    r#type: &'static str,
    /// When it happened, not when it was sent.
    timestamp: Instant,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    id: &'a str,
    alert_id: &'a str,
    r#type: &'static str,
    status: &'static str,
    severity: &'static str,
    cause: &'static str,
    summary: String,
    hub: &'a str,
    device_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    module_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    generation_id: Option<String>,
    silent_since: Instant,
    first_missed_at: Instant,
    detected_at: Instant,
    #[serde(skip_serializing_if = "Option::is_none")]
    resolved_at: Option<Instant>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resolved_by: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    heartbeat_at: Option<Instant>,
    #[serde(skip_serializing_if = "Option::is_none")]
    told: Option<Told>,
    last_seen: Option<LastSeen<'a>>,
    source: &'a str,
    partition: &'a str,
    window_s: Seconds,
    grace_s: Seconds,
    window_rule: &'a str,
    route_unproven: bool,
    observation_lag_ms: Millis,
    #[serde(skip_serializing_if = "Option::is_none")]
    detection_lag_ms: Option<Millis>,
}

/// What an amendment corrects.
#[derive(Serialize)]
struct Told {
    silent_since: Instant,
    first_missed_at: Instant,
}

#[derive(Serialize)]
struct LastSeen<'a> {
    enqueued: Instant,
    source: &'a str,
    partition: &'a str,
    sequence: i64,
}

impl<'a> Payload<'a> {
    fn new(alert: &'a Alert, alert_id: &'a str, message_id: &'a str) -> Self {
        let r#type = event_type(&alert.transition);
        Self {
            r#type,
            timestamp: Instant(happened_at(&alert.transition)),
            data: Data::new(alert, alert_id, message_id, r#type),
        }
    }
}

impl<'a> Data<'a> {
    fn new(alert: &'a Alert, alert_id: &'a str, id: &'a str, r#type: &'static str) -> Self {
        let Alert { transition, origin } = alert;
        let Transition { identity, outage, .. } = transition;
        let (source, partition) = (clip(&origin.source), clip(&origin.partition));
        let ended = Ended::of(transition.kind);
        Self {
            id,
            alert_id,
            r#type,
            status: Status::of(transition).as_str(),
            severity: severity(outage),
            cause: outage.cause.as_str(),
            summary: summary::of(alert),
            hub: clip(&identity.hub),
            device_id: &identity.device,
            module_id: identity.module.as_deref(),
            generation_id: outage.generation.number().map(|number| number.to_string()),
            silent_since: Instant(outage.judged.armed_at),
            first_missed_at: Instant(outage.judged.deadline),
            detected_at: Instant(transition.decided_at),
            resolved_at: ended.resolved_at,
            resolved_by: ended.resolved_by,
            heartbeat_at: ended.heartbeat_at,
            told: ended.told,
            last_seen: outage.last_signal.map(|last| LastSeen {
                enqueued: Instant(last.event_time),
                source,
                partition,
                sequence: last.sequence,
            }),
            source,
            partition,
            window_s: Seconds(outage.window_ms),
            grace_s: Seconds(outage.grace_ms),
            window_rule: clip(&origin.rule),
            route_unproven: outage.route_unproven,
            observation_lag_ms: origin.observation_lag_ms,
            detection_lag_ms: detection_lag_ms(transition),
        }
    }
}

/// The fields that only some kinds have.
#[derive(Default)]
struct Ended {
    resolved_at: Option<Instant>,
    resolved_by: Option<&'static str>,
    heartbeat_at: Option<Instant>,
    told: Option<Told>,
}

impl Ended {
    fn of(kind: TransitionKind) -> Self {
        match kind {
            TransitionKind::Offline => Self::default(),
            TransitionKind::Resolved { at, by } => Self {
                resolved_at: Some(Instant(at)),
                resolved_by: Some(resolved_by(by)),
                ..Self::default()
            },
            TransitionKind::Retracted { heartbeat_at } => {
                Self { heartbeat_at: Some(Instant(heartbeat_at)), ..Self::default() }
            }
            TransitionKind::Amended { told } => Self {
                told: Some(Told {
                    silent_since: Instant(told.armed_at),
                    first_missed_at: Instant(told.deadline),
                }),
                ..Self::default()
            },
        }
    }
}

/// Dot-delimited, as Standard Webhooks 1.0.0 ("Payload structure") wants it.
fn event_type(transition: &Transition) -> &'static str {
    match transition.kind {
        TransitionKind::Offline => outage_type(&transition.outage),
        TransitionKind::Resolved { .. } => "device.recovered",
        TransitionKind::Retracted { .. } => "device.retracted",
        TransitionKind::Amended { .. } => "device.amended",
    }
}

/// What an outage is called as long as it lasts.
pub fn outage_type(outage: &Outage) -> &'static str {
    match outage.cause {
        Cause::NeverSeen => "device.never_seen",
        Cause::Silent | Cause::Disconnected | Cause::ConnectedButSilent | Cause::LastWill => {
            "device.silent"
        }
    }
}

/// How bad an outage is: less, if it may be the route's.
pub fn severity(outage: &Outage) -> &'static str {
    if outage.route_unproven { "warning" } else { "critical" }
}

/// Event time of what is told.
fn happened_at(transition: &Transition) -> Timestamp {
    match transition.kind {
        TransitionKind::Offline | TransitionKind::Amended { .. } => {
            transition.outage.judged.deadline
        }
        TransitionKind::Resolved { at, .. } => at,
        TransitionKind::Retracted { heartbeat_at } => heartbeat_at,
    }
}

/// How long after the deadline the verdict was decided; the other kinds are decided by what ends or corrects it.
fn detection_lag_ms(transition: &Transition) -> Option<Millis> {
    let lag_ms = transition.decided_at.since(transition.outage.judged.deadline);
    (Status::of(transition) == Status::Firing).then_some(lag_ms)
}

fn resolved_by(by: ResolvedBy) -> &'static str {
    match by {
        ResolvedBy::Heartbeat => "heartbeat",
        ResolvedBy::Deleted => "deleted",
        ResolvedBy::Recreated => "recreated",
    }
}

fn clip(name: &str) -> &str {
    &name[..name.floor_char_boundary(MAX_NAME_BYTES)]
}

/// RFC 3339 with milliseconds.
#[derive(Clone, Copy)]
struct Instant(Timestamp);

impl Serialize for Instant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// A span as a number of seconds: an integer where it is whole.
struct Seconds(Millis);

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 % 1_000 == 0 {
            return serializer.serialize_i64(self.0 / 1_000);
        }
        #[expect(clippy::cast_precision_loss, reason = "spans are far below 2^53 ms")]
        serializer.serialize_f64(self.0 as f64 / 1_000.0)
    }
}

#[cfg(test)]
mod tests;
