//! One catalogue of metrics, and handles from a recorder that is passed in: nothing global, no device ids in labels.

use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tokio_util::sync::CancellationToken;

/// A metric: what the README's table and `# HELP` say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    /// Name, with its unit.
    pub name: &'static str,
    /// One sentence.
    pub help: &'static str,
    /// Its type.
    pub kind: Kind,
}

/// Types of metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// A level.
    Gauge,
    /// A distribution.
    Histogram,
}

macro_rules! catalogue {
    ($($constant:ident, $kind:ident, $name:literal, $help:literal;)*) => {
        $(#[doc = $help] pub const $constant: Family = Family { name: $name, help: $help, kind: Kind::$kind };)*
        /// Every metric there is.
        pub const CATALOGUE: &[Family] = &[$($constant),*];
    };
}

catalogue! {
    MESSAGES, Counter, "lastseen_messages_total", "Messages read, by source and kind.";
    REJECTED, Counter, "lastseen_rejected_messages_total", "Messages put into the ingest dead letter, by source and reason.";
    UNPLACED, Counter, "lastseen_unplaced_messages_total", "Messages without a sequence number that can be read, by source.";
    CLAMPED, Counter, "lastseen_clamped_event_times_total", "Messages whose ingress time was later than their append time, by source.";
    SPOOFS, Counter, "lastseen_spoofs_suspected_total", "Messages that tried to pass for another device or for a notification, by source.";
    CONNECTS, Counter, "lastseen_source_connects_total", "Successful connects, by source.";
    CONNECT_FAILURES, Counter, "lastseen_source_failures_total", "Failed or broken connections, by source.";
    CONNECTED, Gauge, "lastseen_source_connected", "1 if the source is attached, by source.";
    PROOFS, Counter, "lastseen_proofs_total", "Proofs that nothing unread remained, by source.";
    DELIVERIES, Counter, "lastseen_deliveries_total", "Attempts to deliver an alert, by sink and outcome.";
    DELIVERY_SECONDS, Histogram, "lastseen_delivery_seconds", "Duration of a delivery attempt, by sink.";
    WAITING, Gauge, "lastseen_waiting_messages", "Alert messages not yet delivered, by sink.";
    DELIVERY_LETTERS_REMOVED, Counter, "lastseen_delivery_dead_letters_removed_total", "Delivery dead letters removed because newer ones needed the room.";
    DELIVERY_LETTERS_FAILED, Counter, "lastseen_delivery_dead_letters_failed_total", "Delivery dead letters that could not be written and are written later, by sink.";
    NOTICES_DROPPED, Counter, "lastseen_delivery_notices_dropped_total", "Notices of a failing or recovered sink that found no room, by sink.";
    FALSE_OFFLINE, Counter, "lastseen_false_offline_total", "Verdicts that a later-read heartbeat proved false.";
    TRANSITIONS, Counter, "lastseen_transitions_total", "Changes of state decided, by source and kind.";
    IDENTITIES, Gauge, "lastseen_identities", "Identities known, by source and state.";
    OBSERVATION_LAG, Gauge, "lastseen_observation_lag_seconds", "Real time minus the clock of the partition that is furthest behind, by source.";
    DETECTION_LAG, Histogram, "lastseen_detection_lag_seconds", "Clock past the deadline at the decision, by source.";
    DEAD_LETTERS_REMOVED, Counter, "lastseen_dead_letters_removed_total", "Ingest dead letters removed because newer ones needed the room.";
    DEAD_LETTERS_FAILED, Counter, "lastseen_dead_letters_failed_total", "Ingest dead letters that could not be written, by source.";
    UNJUDGEABLE, Gauge, "lastseen_unjudgeable_identities", "Identities that can't be judged at the moment, by source.";
    BLIND_PARTITIONS, Gauge, "lastseen_blind_partitions", "Partitions whose clock can't advance at the moment, by source and reason.";
    NOT_ADMITTED, Counter, "lastseen_not_admitted_total", "Signals about identities that there was no room for, by source.";
    JOURNAL_ENTRIES, Counter, "lastseen_journal_entries_total", "Entries of journals that became durable, by source (`fleet`: what concerns no single one).";
    SNAPSHOTS, Counter, "lastseen_snapshots_total", "Snapshots that became durable, by source.";
    STORE_FAILURES, Counter, "lastseen_store_failures_total", "Entries that could not be written at once, by source.";
    OWED, Gauge, "lastseen_owed_messages", "Alert messages that are owed to sinks, by source.";
    HELD, Gauge, "lastseen_held", "1 while verdicts are held because the service itself is not well, by reason.";
    GAPS, Counter, "lastseen_gaps_total", "Spans in which nothing could be known, by source and reason.";
}

/// Upper bounds, in seconds, of a detection lag: a decision is due within a tick (100 ms) of the deadline.
const DETECTION_BUCKETS: &[f64] = &[0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0];
/// Upper bounds, in seconds, of a delivery: from a receiver beside us to the default time-out.
const DELIVERY_BUCKETS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Samples of histograms wait in memory until they are put into buckets; at a thousand a second that is 40 KB.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// A recorder of its own for each call, and the handle that renders it in the text format of Prometheus.
pub fn prometheus() -> Result<(Metrics, PrometheusHandle), BuildError> {
    let buckets =
        |family: Family, bounds: &[f64]| (Matcher::Full(family.name.to_owned()), bounds.to_vec());
    let mut builder = PrometheusBuilder::new();
    for (matcher, bounds) in
        [buckets(DETECTION_LAG, DETECTION_BUCKETS), buckets(DELIVERY_SECONDS, DELIVERY_BUCKETS)]
    {
        builder = builder.set_buckets_for_metric(matcher, &bounds)?;
    }
    let recorder = builder.build_recorder();
    let handle = recorder.handle();
    Ok((Metrics::new(Arc::new(recorder)), handle))
}

/// Puts the samples of histograms into buckets from time to time, also if nobody scrapes, until `stop`.
pub async fn upkeep(handle: PrometheusHandle, stop: CancellationToken) {
    let mut every = tokio::time::interval(UPKEEP_EVERY);
    while stop.run_until_cancelled(every.tick()).await.is_some() {
        handle.run_upkeep();
    }
}

/// Hands out handles.
#[derive(Clone)]
pub struct Metrics {
    recorder: Arc<dyn Recorder + Send + Sync>,
}

impl Metrics {
    /// Registers with `recorder`, which is given every name and help text of the [`CATALOGUE`].
    pub fn new(recorder: Arc<dyn Recorder + Send + Sync>) -> Self {
        for family in CATALOGUE {
            let (name, help) = (family.name.into(), family.help.into());
            match family.kind {
                Kind::Counter => recorder.describe_counter(name, None, help),
                Kind::Gauge => recorder.describe_gauge(name, None, help),
                Kind::Histogram => recorder.describe_histogram(name, None, help),
            }
        }
        Self { recorder }
    }

    /// Handles that count for nobody: for tests.
    pub fn detached() -> Self {
        Self { recorder: Arc::new(metrics::NoopRecorder) }
    }

    /// A counter of the family with these labels.
    pub fn counter(&self, family: Family, labels: &[(&'static str, &str)]) -> Counter {
        self.recorder.register_counter(&key(family, labels), &METADATA)
    }

    /// A gauge of the family with these labels.
    pub fn gauge(&self, family: Family, labels: &[(&'static str, &str)]) -> Gauge {
        self.recorder.register_gauge(&key(family, labels), &METADATA)
    }

    /// A histogram of the family with these labels.
    pub fn histogram(&self, family: Family, labels: &[(&'static str, &str)]) -> Histogram {
        self.recorder.register_histogram(&key(family, labels), &METADATA)
    }
}

const METADATA: Metadata<'static> = Metadata::new("lastseen", Level::INFO, None);

fn key(family: Family, labels: &[(&'static str, &str)]) -> Key {
    let labels: Vec<Label> =
        labels.iter().map(|(name, value)| Label::new(*name, (*value).to_owned())).collect();
    Key::from_parts(family.name, labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_conventions_of_prometheus_and_are_unique() {
        let mut names: Vec<_> = CATALOGUE.iter().map(|family| family.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), CATALOGUE.len());
        for family in CATALOGUE {
            assert!(family.name.starts_with("lastseen_"), "{}", family.name);
            assert_eq!(
                family.name.ends_with("_total"),
                family.kind == Kind::Counter,
                "{}",
                family.name
            );
        }
    }

    #[test]
    fn what_is_recorded_is_rendered_with_help_and_buckets() {
        let (metrics, handle) = prometheus().expect("the buckets are sound");
        metrics.counter(MESSAGES, &[("source", "hub")]).increment(3);
        metrics.histogram(DETECTION_LAG, &[]).record(0.07);
        let text = handle.render();
        for expected in [
            "# HELP lastseen_messages_total Messages read, by source and kind.",
            "lastseen_messages_total{source=\"hub\"} 3",
            "lastseen_detection_lag_seconds_bucket{le=\"0.05\"} 0",
            "lastseen_detection_lag_seconds_bucket{le=\"0.1\"} 1",
        ] {
            assert!(text.contains(expected), "no '{expected}' in\n{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn upkeep_ends_when_asked_to() {
        let (_, handle) = prometheus().expect("the buckets are sound");
        let stop = CancellationToken::new();
        let running = tokio::spawn(upkeep(handle, stop.clone()));
        stop.cancel();
        running.await.expect("it ends");
    }
}
