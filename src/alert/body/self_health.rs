//! The body of an alert about the service itself.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use serde::Serialize;

use crate::alert::self_health::{SelfAlert, SelfReason};
use crate::alert::{Message, id};

use super::{Instant, Status, clip, rendered};

/// The name of this kind of alert, in every status.
pub const TYPE: &str = "self.health";

/// The message that tells the sink named `sink` about the service itself.
pub fn self_message(alert: &SelfAlert, sink: &str) -> Message {
    let message_id = alert.id.message_id(sink, alert.status, alert.ordinal);
    let alert_id = alert.id.to_string();
    let payload = Payload::new(alert, &alert_id, &message_id);
    Message {
        lane: id::self_lane(alert.sink.as_deref().unwrap_or_default()),
        status: alert.status,
        body: rendered(&payload),
        message_id,
        alert_id,
    }
}

#[derive(Serialize)]
pub(super) struct Payload<'a> {
    r#type: &'static str,
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
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sink: Option<&'a str>,
    summary: String,
    since: Instant,
    detected_at: Instant,
    #[serde(skip_serializing_if = "Option::is_none")]
    resolved_at: Option<Instant>,
    counts: &'a BTreeMap<String, u64>,
}

impl<'a> Payload<'a> {
    pub(super) fn new(alert: &'a SelfAlert, alert_id: &'a str, id: &'a str) -> Self {
        let ended = alert.status == Status::Resolved;
        Self {
            r#type: TYPE,
            timestamp: Instant(alert.at),
            data: Data {
                id,
                alert_id,
                r#type: TYPE,
                status: alert.status.as_str(),
                severity: alert.reason.severity(),
                reason: alert.reason.as_str(),
                sink: alert.sink.as_deref().map(clip),
                summary: summary(alert),
                since: Instant(alert.since),
                detected_at: Instant(alert.detected_at),
                resolved_at: ended.then_some(Instant(alert.at)),
                counts: &alert.counts,
            },
        }
    }
}

/// What is wrong, what it means, and what to do; or that it is over, and what is left to be done.
fn summary(alert: &SelfAlert) -> String {
    let who = match &alert.sink {
        Some(sink) => format!("Sink {}", clip(sink).escape_debug()),
        None => "lastseen".to_owned(),
    };
    let since = alert.since;
    if alert.status == Status::Resolved {
        let lasted = SignedDuration::from_millis(alert.at.since(since));
        let (over, left) = over(alert.reason);
        return format!("{who} {over} ({lasted:#} after {since}){left}.");
    }
    let (wrong, next) = wrong(alert.reason);
    format!("{who} {wrong} (since {since}); {next}.")
}

/// What is wrong and what that means, and what to do next.
const fn wrong(reason: SelfReason) -> (&'static str, &'static str) {
    match reason {
        SelfReason::DeliveryFailing => (
            "has given alert messages up: its receiver refused them or could not be reached, and has not been told",
            "look at the receiver and at its address and secret, then replay what is in the delivery dead letters",
        ),
        SelfReason::EndpointDisabled => (
            "is disabled, because its receiver answered 410: it is told nothing more, and its messages go to the delivery \
             dead letters",
            "correct the address of the sink or remove the sink, restart the service, then replay the delivery dead letters",
        ),
        SelfReason::LateTicks => (
            "looks at its clocks later than it should: verdicts may be late by as much",
            "look at the processor limits of the service and at what else runs on the machine",
        ),
        SelfReason::Storage => (
            "can't write its store: alerts and acknowledgements wait until it can",
            "free space on the disk of the service or correct its permissions",
        ),
        SelfReason::Starved => (
            "does not get the processor: nobody is judged while it waits for it",
            "raise the processor limit of the service or take load from the machine",
        ),
        SelfReason::Suspended => (
            "was suspended with its machine: what happened meanwhile was not observed",
            "look why the machine was suspended or the process was frozen",
        ),
        SelfReason::ClockStepped => (
            "saw the wall clock of its machine being set: instants in alerts may be off, verdicts are not",
            "look at the time synchronisation of the machine",
        ),
    }
}

/// That it is over, and what is left to be done.
const fn over(reason: SelfReason) -> (&'static str, &'static str) {
    match reason {
        SelfReason::DeliveryFailing => (
            "has given nothing up for a while and delivers again",
            "; what it had given up is in the delivery dead letters: replay what still matters",
        ),
        SelfReason::EndpointDisabled => (
            "is enabled again",
            "; what came meanwhile is in the delivery dead letters: replay what still matters",
        ),
        SelfReason::LateTicks => ("looks at its clocks in time again", ""),
        SelfReason::Storage => ("can write its store again", ""),
        SelfReason::Starved => ("gets the processor again", ""),
        SelfReason::Suspended => ("runs again", ""),
        SelfReason::ClockStepped => ("has got used to the wall clock as it was set", ""),
    }
}

#[cfg(test)]
mod tests;
