//! The body of the watchdog.

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use crate::alert::id::{self, AlertId};
use crate::alert::watchdog::Watchdog;
use crate::alert::{Message, body::Seconds};
use crate::engine::State;

use super::{Instant, Status, rendered};

/// The name of this kind of message.
const TYPE: &str = "watchdog";

/// Nothing is wrong.
const SEVERITY: &str = "none";

/// The message by which the sink named `sink` hears the watchdog.
pub fn watchdog_message(watchdog: &Watchdog, sink: &str) -> Message {
    let message_id = AlertId::of_watchdog_message(sink, watchdog.sequence, watchdog.sent_at);
    let alert_id = AlertId::of_watchdog().to_string();
    let payload = Payload::new(watchdog, &alert_id, &message_id);
    Message {
        lane: id::watchdog_lane(watchdog.sequence),
        status: Status::Firing,
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
    summary: String,
    sequence: u64,
    sent_at: Instant,
    interval_s: Seconds,
    partitions: u64,
    oldest_clock_age_s: Option<Seconds>,
    identities: Identities,
    waiting_messages: u64,
    last_verdict_at: Option<Instant>,
}

impl<'a> Payload<'a> {
    pub(super) fn new(watchdog: &Watchdog, alert_id: &'a str, id: &'a str) -> Self {
        let interval_s = watchdog.interval_ms as f64 / 1_000.0;
        Self {
            r#type: TYPE,
            timestamp: Instant(watchdog.sent_at),
            data: Data {
                id,
                alert_id,
                r#type: TYPE,
                status: Status::Firing.as_str(),
                severity: SEVERITY,
                summary: format!(
                    "lastseen works and can reach you. This comes every {interval_s} s: raise the alarm when it stays out, \
                     and then look whether the service runs and whether it can reach this receiver."
                ),
                sequence: watchdog.sequence,
                sent_at: Instant(watchdog.sent_at),
                interval_s: Seconds(watchdog.interval_ms),
                partitions: watchdog.partitions,
                oldest_clock_age_s: watchdog.oldest_clock_age_ms.map(Seconds),
                identities: Identities(watchdog.identities),
                waiting_messages: watchdog.waiting_messages,
                last_verdict_at: watchdog.last_verdict_at.map(Instant),
            },
        }
    }
}

/// State by name, with the number of identities in it.
struct Identities([u64; State::ALL.len()]);

impl Serialize for Identities {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (state, count) in State::ALL.iter().zip(self.0) {
            map.serialize_entry(state.as_str(), &count)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests;
