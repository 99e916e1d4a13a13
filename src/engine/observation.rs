//! How slow the route into a partition is, and how much of it was not observed.

use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

use super::signal::Gap;
use super::time::{Millis, Timestamp};

/// The largest route lag that holds a proof back: a route that is slower is the operator's to see.
const MAX_ROUTE_LAG_MS: Millis = 30_000;
/// How long a route lag is remembered.
const ROUTE_LAG_MEMORY_MS: Millis = 600_000;

/// The largest append time minus ingress time of the last minutes, in two buckets.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq)]
pub(crate) struct RouteLag {
    bucket: Option<i64>,
    current_ms: Millis,
    previous_ms: Millis,
}

impl RouteLag {
    pub(crate) fn observe(&mut self, lag_ms: Millis, at: Timestamp) {
        self.rotate(at);
        self.current_ms = self.current_ms.max(lag_ms.clamp(0, MAX_ROUTE_LAG_MS));
    }

    pub(crate) fn largest_ms(&mut self, at: Timestamp) -> Millis {
        self.rotate(at);
        self.current_ms.max(self.previous_ms)
    }

    fn rotate(&mut self, at: Timestamp) {
        let bucket = at.as_ms().div_euclid(ROUTE_LAG_MEMORY_MS / 2);
        match self.bucket {
            Some(current) if bucket <= current => return,
            Some(current) if bucket == current + 1 => self.previous_ms = self.current_ms,
            Some(_) | None => self.previous_ms = 0,
        }
        self.bucket = Some(bucket);
        self.current_ms = 0;
    }
}

/// Gaps of the last hour, to know how much of it was not observed. Bounded: neighbours are joined, the oldest go first.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub(crate) struct Observation {
    gaps: VecDeque<(Timestamp, Timestamp)>,
}

const HOUR_MS: Millis = 3_600_000;
/// One gap a 20 seconds for an hour; more are joined with their neighbour, which overstates what was not observed.
const MAX_GAPS: usize = 180;

impl Observation {
    pub(crate) fn note(&mut self, gap: Gap) {
        let full = self.gaps.len() >= MAX_GAPS;
        match self.gaps.back_mut() {
            Some(last) if gap.from <= last.1 => last.1 = last.1.max(gap.until),
            Some(last) if full && gap.until.since(last.0) < HOUR_MS => last.1 = gap.until,
            Some(_) | None => self.gaps.push_back((gap.from, gap.until)),
        }
        while self.gaps.len() > MAX_GAPS
            || self.gaps.front().is_some_and(|(_, until)| gap.until.since(*until) > HOUR_MS)
        {
            self.gaps.pop_front();
        }
    }

    /// The latest span.
    pub(crate) fn last(&self) -> Option<(Timestamp, Timestamp)> {
        self.gaps.back().copied()
    }

    pub(crate) fn percent(&self, now: Timestamp) -> i64 {
        let hour_ago = now.minus(HOUR_MS);
        let unobserved: Millis = self
            .gaps
            .iter()
            .map(|(from, until)| (*until).min(now).since((*from).max(hour_ago)).max(0))
            .sum();
        unobserved * 100 / HOUR_MS
    }
}
