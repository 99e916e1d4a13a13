//! Handles of a sink's metrics.

use metrics::{Counter, Gauge, Histogram};

use crate::metrics::{
    DELIVERIES, DELIVERY_LETTERS_FAILED, DELIVERY_SECONDS, Metrics, NOTICES_DROPPED, WAITING,
};

use super::outcome::Outcome;

/// Handles of the sink's metrics.
pub(super) struct Meters {
    outcomes: [Counter; Outcome::ALL.len()],
    pub(super) seconds: Histogram,
    pub(super) waiting: Gauge,
    pub(super) letters_failed: Counter,
    pub(super) notices_dropped: Counter,
}

impl Meters {
    pub(super) fn new(metrics: &Metrics, sink: &str) -> Self {
        let of_sink = [("sink", sink)];
        Self {
            outcomes: Outcome::ALL.map(|outcome| {
                metrics.counter(DELIVERIES, &[("sink", sink), ("outcome", outcome.as_str())])
            }),
            seconds: metrics.histogram(DELIVERY_SECONDS, &of_sink),
            waiting: metrics.gauge(WAITING, &of_sink),
            letters_failed: metrics.counter(DELIVERY_LETTERS_FAILED, &of_sink),
            notices_dropped: metrics.counter(NOTICES_DROPPED, &of_sink),
        }
    }

    pub(super) fn count(&self, outcome: Outcome) {
        self.outcomes[outcome as usize].increment(1);
    }
}
