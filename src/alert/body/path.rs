//! The body of an alert about a source that can't be observed.

use jiff::SignedDuration;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use crate::alert::path::{Found, PathAlert, PathReason};
use crate::alert::{Message, id};
use crate::engine::{BlindReason, Millis};

use super::{Instant, Status, clip, rendered};

/// The name of this kind of alert, in every status.
pub const TYPE: &str = "path.blind";

/// Nobody is judged there: as bad as all of them being silent.
pub const SEVERITY: &str = "critical";

/// Partition names are cut to this many bytes, so that 32 of them leave room in [`super::MAX_BODY_BYTES`]. Those of an
/// event hub are numbers.
const MAX_PARTITION_BYTES: usize = 64;

/// The most partitions named in the summary: a sentence is to be read at a glance.
const NAMED_IN_SUMMARY: usize = 3;

/// The message that tells the sink named `sink` about a path.
pub fn path_message(alert: &PathAlert, sink: &str) -> Message {
    let message_id = alert.id.message_id(sink, alert.status, alert.ordinal);
    let alert_id = alert.id.to_string();
    let payload = Payload::new(alert, &alert_id, &message_id);
    Message {
        lane: id::path_lane(&alert.source),
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
    summary: String,
    source: &'a str,
    partitions: Vec<&'a str>,
    partitions_total: usize,
    reasons: Reasons<'a>,
    identities: u64,
    since: Instant,
    detected_at: Instant,
    #[serde(skip_serializing_if = "Option::is_none")]
    resolved_at: Option<Instant>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unobserved: Option<Unobserved>,
    #[serde(skip_serializing_if = "Option::is_none")]
    silent: Option<u64>,
}

/// A span that no message covers.
#[derive(Serialize)]
struct Unobserved {
    from: Instant,
    until: Instant,
}

impl<'a> Payload<'a> {
    pub(super) fn new(alert: &'a PathAlert, alert_id: &'a str, id: &'a str) -> Self {
        let ended = alert.status == Status::Resolved;
        Self {
            r#type: TYPE,
            timestamp: Instant(alert.at),
            data: Data {
                id,
                alert_id,
                r#type: TYPE,
                status: alert.status.as_str(),
                severity: SEVERITY,
                summary: summary(alert),
                source: clip(&alert.source),
                partitions: alert.partitions.iter().map(|name| partition(name)).collect(),
                partitions_total: alert.partitions_total,
                reasons: Reasons(alert),
                identities: alert.identities,
                since: Instant(alert.since),
                detected_at: Instant(alert.detected_at),
                resolved_at: ended.then_some(Instant(alert.at)),
                unobserved: alert
                    .found
                    .and_then(|found| found.unobserved)
                    .map(|(from, until)| Unobserved { from: Instant(from), until: Instant(until) }),
                silent: alert.found.map(|found| found.silent),
            },
        }
    }
}

/// Reason by name, with the number of partitions that have it.
struct Reasons<'a>(&'a PathAlert);

impl Serialize for Reasons<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.reasons.len()))?;
        for (reason, partitions) in &self.0.reasons {
            map.serialize_entry(reason.as_str(), partitions)?;
        }
        map.end()
    }
}

/// One sentence: what can't be judged, since when, why, and what to look at.
fn summary(alert: &PathAlert) -> String {
    let source = clip(&alert.source).escape_debug();
    let since = alert.since;
    if alert.status == Status::Resolved {
        let lasted = human(alert.at.since(since));
        return format!(
            "Source {source} is observed again since {}, {lasted} after {since}: its devices and modules are judged \
             again, and whoever stays silent gets an alert of its own.{}",
            alert.at,
            alert.found.map_or_else(String::new, found)
        );
    }
    let who = match alert.identities {
        0 => format!("Nobody on source {source} can be judged reliably"),
        1 => format!("1 device or module of source {source} can't be judged"),
        many => format!("{many} devices and modules of source {source} can't be judged"),
    };
    let again = if alert.status == Status::Updated { "Still: " } else { "" };
    let main = alert.reasons.iter().max_by_key(|(_, partitions)| **partitions);
    let (why, look_at) = main.map_or(("", ""), |(reason, _)| words(*reason));
    let is_blind = main.is_some_and(|(reason, _)| matches!(reason, PathReason::Blind(_)));
    let how = if is_blind { "" } else { " without gaps" };
    let mostly = if alert.reasons.len() > 1 { "mostly " } else { "" };
    format!(
        "{again}{who}, so their silence raises no alert: since {since} {} can't be observed{how}, \
         {mostly}because {why}; look at {look_at}.",
        partitions(alert)
    )
}

/// What was found when sight returned, behind a space.
fn found(found: Found) -> String {
    let observed = match found.unobserved {
        None => "What was sent meanwhile has been read".to_owned(),
        Some((from, until)) => {
            format!("Of {from} to {until} nothing is known, and nobody is judged by it")
        }
    };
    let silent = match found.silent {
        0 => "nobody is silent".to_owned(),
        1 => "1 device or module is silent".to_owned(),
        many => format!("{many} devices and modules are silent"),
    };
    format!(" {observed}; {silent} at the moment.")
}

fn partitions(alert: &PathAlert) -> String {
    let named = alert.partitions.iter().take(NAMED_IN_SUMMARY);
    let names: Vec<String> = named.map(|name| partition(name).escape_debug().to_string()).collect();
    let more = alert.partitions_total - names.len().min(alert.partitions_total);
    let noun = if alert.partitions_total == 1 { "partition" } else { "partitions" };
    match more {
        0 => format!("{noun} {}", names.join(", ")),
        more => format!("{noun} {} and {more} more", names.join(", ")),
    }
}

/// Why, and what to look at.
fn words(reason: PathReason) -> (&'static str, &'static str) {
    match reason {
        PathReason::Blind(reason) => blind(reason),
        PathReason::Gaps => (
            "more than a fifth of the last hour could not be observed",
            "what breaks the connection again and again",
        ),
        PathReason::PutOff => (
            "gaps in what could be observed have put off verdicts for more than two windows",
            "what breaks the connection again and again",
        ),
    }
}

fn blind(reason: BlindReason) -> (&'static str, &'static str) {
    match reason {
        BlindReason::LinkDown => {
            ("there is no connection to the broker", "the network, the broker and its address")
        }
        BlindReason::Unauthorized => {
            ("the broker refuses the credentials", "the key or token of the source")
        }
        BlindReason::Throttled => {
            ("the broker asks to slow down", "the broker's quota and its other readers")
        }
        BlindReason::Lagging => (
            "the backlog is still being read",
            "the processor and the network of this service, and the broker's throughput",
        ),
        BlindReason::Stalled => {
            ("the broker sends neither messages nor proofs", "the health of the broker")
        }
        BlindReason::Shared => {
            ("others may be reading the same queue", "the other consumers of the queue")
        }
        BlindReason::Storage => ("the store can't be written", "the disk of this service"),
        BlindReason::NotOwner => (
            "another receiver has taken over",
            "who else reads with the same consumer group and a higher owner level",
        ),
        BlindReason::StreamReset => {
            ("the log is another one than before", "whether the hub failed over or was made anew")
        }
        BlindReason::RouteUnproven => (
            "nobody has been heard although everything was read, which may be the route's fault as well as the devices'",
            "the routes and the health of the IoT Hub, and whether the whole fleet is offline",
        ),
        BlindReason::Starved => {
            ("this service did not get the processor", "the processor limits of this service")
        }
    }
}

fn partition(name: &str) -> &str {
    &name[..name.floor_char_boundary(MAX_PARTITION_BYTES)]
}

/// `1m 30s`.
fn human(span: Millis) -> String {
    format!("{:#}", SignedDuration::from_millis(span))
}

#[cfg(test)]
mod tests;
