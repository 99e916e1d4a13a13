//! A partition's counters, registered once; and the gauges of a source, computed from its partitions.

use std::collections::BTreeMap;

use metrics::{Counter, Histogram};

use super::PartitionView;
use crate::engine::{BlindReason, Gap, State, Timestamp, Transition, TransitionKind};
use crate::metrics::{
    BLIND_PARTITIONS, CLAMPED, DEAD_LETTERS_FAILED, DETECTION_LAG, FALSE_OFFLINE, GAPS, IDENTITIES,
    JOURNAL_ENTRIES, MESSAGES, Metrics, NOT_ADMITTED, OBSERVATION_LAG, REJECTED, SNAPSHOTS, SPOOFS,
    STORE_FAILURES, TRANSITIONS, UNJUDGEABLE,
};
use crate::wire::{IgnoredKind, RejectReason};

pub(super) struct Counters {
    metrics: Metrics,
    source: String,
    pub(super) signals: Counter,
    pub(super) clamped: Counter,
    pub(super) spoofs: Counter,
    pub(super) false_offline: Counter,
    pub(super) dead_letters_failed: Counter,
    pub(super) not_admitted: Counter,
    detection_lag: Histogram,
}

impl Counters {
    pub(super) fn new(metrics: &Metrics, source: &str) -> Self {
        let of_source = [("source", source)];
        Self {
            metrics: metrics.clone(),
            source: source.to_owned(),
            signals: metrics.counter(MESSAGES, &[("source", source), ("kind", "signal")]),
            clamped: metrics.counter(CLAMPED, &of_source),
            spoofs: metrics.counter(SPOOFS, &of_source),
            false_offline: metrics.counter(FALSE_OFFLINE, &of_source),
            dead_letters_failed: metrics.counter(DEAD_LETTERS_FAILED, &of_source),
            not_admitted: metrics.counter(NOT_ADMITTED, &of_source),
            detection_lag: metrics.histogram(DETECTION_LAG, &of_source),
        }
    }

    pub(super) fn ignored(&self, kind: IgnoredKind) {
        let labels = [("source", self.source.as_str()), ("kind", kind.as_str())];
        self.metrics.counter(MESSAGES, &labels).increment(1);
    }

    pub(super) fn rejected(&self, reason: RejectReason) {
        let labels = [("source", self.source.as_str()), ("reason", reason.as_str())];
        self.metrics.counter(REJECTED, &labels).increment(1);
    }

    pub(super) fn gap(&self, gap: &Gap) {
        let labels = [("source", self.source.as_str()), ("reason", gap.reason.as_str())];
        self.metrics.counter(GAPS, &labels).increment(1);
    }

    pub(super) fn transition(&self, transition: &Transition) {
        let kind = match transition.kind {
            TransitionKind::Offline => {
                let lag_ms = transition.decided_at.since(transition.outage.judged.deadline);
                self.detection_lag.record(lag_ms as f64 / 1_000.0);
                "offline"
            }
            TransitionKind::Resolved { .. } => "resolved",
            TransitionKind::Retracted { .. } => "retracted",
            TransitionKind::Amended { .. } => "amended",
        };
        let labels = [("source", self.source.as_str()), ("kind", kind)];
        self.metrics.counter(TRANSITIONS, &labels).increment(1);
    }
}

/// Counters of a journal.
pub(super) struct StoreMeters {
    pub(super) entries: Counter,
    pub(super) snapshots: Counter,
    pub(super) failures: Counter,
}

impl StoreMeters {
    pub(super) fn new(metrics: &Metrics, source: &str) -> Self {
        let of_source = [("source", source)];
        Self {
            entries: metrics.counter(JOURNAL_ENTRIES, &of_source),
            snapshots: metrics.counter(SNAPSHOTS, &of_source),
            failures: metrics.counter(STORE_FAILURES, &of_source),
        }
    }
}

/// Sets the gauges of all sources.
pub(super) fn publish(metrics: &Metrics, view: &[PartitionView], wall: Timestamp) {
    let mut by_source: BTreeMap<&str, Vec<&PartitionView>> = BTreeMap::new();
    for partition in view {
        by_source.entry(&partition.key.source).or_default().push(partition);
    }
    for (source, partitions) in by_source {
        for (index, state) in State::ALL.into_iter().enumerate() {
            let count: u64 = partitions.iter().map(|p| p.stats.identities[index]).sum();
            let labels = [("source", source), ("state", state.as_str())];
            metrics.gauge(IDENTITIES, &labels).set(count as f64);
        }
        publish_blindness(metrics, source, &partitions);
        let furthest =
            partitions.iter().map(|p| p.stats.clock).filter(|&c| c > Timestamp::MIN).min();
        if let Some(clock) = furthest {
            let lag = metrics.gauge(OBSERVATION_LAG, &[("source", source)]);
            lag.set(wall.since(clock) as f64 / 1_000.0);
        }
    }
}

/// Every reason has its series, so that one that has passed reads 0.
fn publish_blindness(metrics: &Metrics, source: &str, partitions: &[&PartitionView]) {
    for reason in BlindReason::ALL {
        let blind = partitions.iter().filter(|p| p.sight.blind == Some(reason)).count();
        let labels = [("source", source), ("reason", reason.as_str())];
        metrics.gauge(BLIND_PARTITIONS, &labels).set(blind as f64);
    }
    let unjudgeable: u64 = partitions.iter().map(|p| p.sight.cant_be_judged()).sum();
    metrics.gauge(UNJUDGEABLE, &[("source", source)]).set(unjudgeable as f64);
}
