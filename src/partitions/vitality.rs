//! The watch over the service itself, and the flag by which it holds verdicts back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use metrics::Gauge;

use super::Partitions;
use crate::alert::self_health::SelfReason;
use crate::alert::vitals::{Hold, LOOK_EVERY_MS, Look, REASONS, STARVED_MS, Vitals};
use crate::clock::Reading;
use crate::engine::{BlindReason, Millis};
use crate::metrics::HELD;

/// What the watch says to all workers.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    /// Boot time of the last look, in ms; 0 if nobody watches.
    looked_at_ms: AtomicI64,
    /// Boot time until which verdicts are held, in ms.
    held_until_ms: AtomicI64,
    by_storage: AtomicBool,
}

impl Pulse {
    fn beat(&self, now_ms: Millis, hold: Option<Hold>) {
        let is_storage = |hold: Hold| hold.reason == SelfReason::Storage;
        self.by_storage.store(hold.is_some_and(is_storage), Ordering::Release);
        self.held_until_ms.store(hold.map_or(0, |hold| hold.until_ms), Ordering::Release);
        self.looked_at_ms.store(now_ms, Ordering::Release);
    }

    /// Why verdicts are held. Also while nobody has looked for too long: whoever was frozen may wake up before the watch
    /// does.
    pub(super) fn held(&self, now_ms: Millis) -> Option<BlindReason> {
        let looked_at_ms = self.looked_at_ms.load(Ordering::Acquire);
        let unseen_ms = now_ms.saturating_sub(looked_at_ms);
        if looked_at_ms > 0 && unseen_ms >= STARVED_MS + LOOK_EVERY_MS {
            return Some(BlindReason::Starved);
        }
        let is_held = self.held_until_ms.load(Ordering::Acquire) > now_ms;
        let by_storage = self.by_storage.load(Ordering::Acquire);
        is_held.then_some(if by_storage { BlindReason::Storage } else { BlindReason::Starved })
    }
}

/// The watch over the service itself.
pub struct Vitality {
    partitions: Arc<Partitions>,
    vitals: Vitals,
    gauges: Vec<(SelfReason, Gauge)>,
}

impl Vitality {
    /// Takes over what an earlier process left open.
    pub fn new(partitions: Arc<Partitions>) -> Self {
        let metrics = &partitions.environment.metrics;
        let gauge = |reason: SelfReason| metrics.gauge(HELD, &[("reason", reason.as_str())]);
        Self {
            gauges: REASONS.map(|reason| (reason, gauge(reason))).to_vec(),
            vitals: Vitals::restored(partitions.fleet().state().own),
            partitions,
        }
    }

    /// Looks, and tells what has to be told: every [`LOOK_EVERY_MS`].
    pub fn look(&mut self, reading: Reading) {
        let Reading { boot_ms, monotonic_ms, wall } = reading;
        let ledgers = self.partitions.environment.router.ledgers().all();
        let unwritten = ledgers.iter().filter_map(|ledger| ledger.store().failing_ms(boot_ms));
        let look = Look { boot_ms, monotonic_ms, wall, unwritten_ms: unwritten.max() };
        let told = self.vitals.look(look);
        self.partitions.pulse.beat(boot_ms, self.vitals.hold(boot_ms));
        for (reason, gauge) in &self.gauges {
            gauge.set(if self.vitals.is_held_by(*reason, boot_ms) { 1.0 } else { 0.0 });
        }
        for alert in &told {
            let (reason, status) = (alert.reason.as_str(), alert.status.as_str());
            tracing::warn!(reason, status, since = %alert.since, "the service itself is not well, or well again");
            self.partitions.fleet().tell_self(alert);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_are_held_as_long_as_the_watch_says_and_while_it_does_not_look() {
        let pulse = Pulse::default();
        assert_eq!(pulse.held(1_000_000), None, "nobody watches");
        pulse.beat(1_000_000, None);
        assert_eq!(pulse.held(1_000_000 + STARVED_MS), None);
        assert_eq!(pulse.held(1_000_100 + STARVED_MS), Some(BlindReason::Starved));
        pulse.beat(2_000_000, Some(Hold { reason: SelfReason::Storage, until_ms: 2_000_500 }));
        assert_eq!(pulse.held(2_000_499), Some(BlindReason::Storage));
        assert_eq!(pulse.held(2_000_500), None);
        pulse.beat(3_000_000, Some(Hold { reason: SelfReason::Suspended, until_ms: 3_000_500 }));
        assert_eq!(pulse.held(3_000_499), Some(BlindReason::Starved));
    }
}
