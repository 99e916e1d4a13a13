//! Verdicts that only the route could explain are held: the end of the log proves the log, not the way into it.

use super::clock::Advance;
use super::partition::Partition;
use super::shard::Output;
use super::signal::{Gap, GapReason};
use super::table::State;
use super::time::Timestamp;
use super::timers::Decision;

/// Fewer identities than this may well all be silent at once: a verdict about one of them is told, and says that the route
/// was not proven.
const HELD_FROM: u64 = 10;

impl Partition {
    /// Somebody of the hub was heard at `at` on another partition of the same source: the route into it works.
    pub fn heard_elsewhere(&mut self, at: Option<Timestamp>) {
        self.heard_elsewhere = self.heard_elsewhere.max(at);
    }

    /// When anybody was heard here last; `None` where several hubs share the partition, or nobody was.
    pub fn last_heard(&self) -> Option<Timestamp> {
        (self.hubs.len() == 1).then(|| self.route.last(0)).flatten()
    }

    /// Whether a verdict would rest on the route alone: nobody of the hub was heard in the last half of the window, on no
    /// partition of the source, although many should have been.
    pub(super) fn may_be_the_routes(&mut self, shard: usize, decision: Decision) -> bool {
        let counts = self
            .shards
            .iter()
            .map(|shard| shard.counts[State::Online as usize] + shard.counts[State::Late as usize]);
        let others = counts.sum::<u64>();
        if others < HELD_FROM || self.hubs.len() != 1 {
            return false;
        }
        self.with_shard(shard, |shard, context| shard.is_unproven(decision, context))
    }

    /// Somebody is heard again after a hold: the span before counts for nothing.
    #[inline]
    pub(super) fn end_hold(&mut self, at: Option<Timestamp>, out: &mut Output) {
        if self.is_held {
            self.end_hold_at(at, out);
        }
    }

    fn end_hold_at(&mut self, at: Option<Timestamp>, out: &mut Output) {
        let Some(from) = self.route.last(0) else { return };
        // What was sent before the silence began says nothing about it.
        if let Some(until) = at.filter(|&until| until > from) {
            self.is_held = false;
            let gap = Gap { from, until, reason: GapReason::RouteUnproven };
            self.clock.declare(gap);
            self.advance(Advance { gap: Some(gap), to: None }, out);
        }
    }
}
