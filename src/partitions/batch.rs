//! Applies a batch: decode, fire what each message makes due, apply.

use std::sync::Arc;

use super::{Partitions, Shared};
use crate::engine::{GapReason, Millis, Output, Timestamp};
use crate::source::Delivery;
use crate::store::dead_letter::DeadLetter;
use crate::wire::{self, Meaning};

/// The most decisions fired in one go: about 20 ms of work, after which others get their turn.
pub(super) const FIRE_BUDGET: usize = 4_096;

/// How far in the future an event time may lie: what clocks of machines with a time service differ by is far less.
const MAX_FUTURE_MS: Millis = 300_000;

/// Why applying paused.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pause {
    /// More is due than fits into one go.
    MoreToFire,
    /// Others have to be told first; or everything is applied.
    Told,
}

/// A batch on its way into the engine.
pub(super) struct BatchProgress {
    deliveries: std::vec::IntoIter<Delivery>,
    current: Option<Delivery>,
    prepared: bool,
    /// What could not be read.
    pub(super) dead: Vec<DeadLetter>,
}

impl BatchProgress {
    pub(super) fn new(deliveries: Vec<Delivery>) -> Self {
        let mut deliveries = deliveries.into_iter();
        let current = deliveries.next();
        Self { deliveries, current, prepared: false, dead: Vec::new() }
    }

    pub(super) fn is_done(&self) -> bool {
        self.current.is_none()
    }

    /// Applies messages until all are applied, or a pause is due. What was decided is queued in the engine's order.
    pub(super) fn advance(
        &mut self,
        partitions: &Partitions,
        shared: &Arc<Shared>,
        wall: Timestamp,
    ) -> Pause {
        let mut out = Output::default();
        let pause = self.advance_locked(shared, wall, &mut out);
        let tidings = std::mem::take(&mut out.tidings);
        note(shared, out);
        if !tidings.is_empty() {
            partitions.exchange(shared, tidings);
        }
        pause
    }

    fn advance_locked(&mut self, shared: &Shared, wall: Timestamp, out: &mut Output) -> Pause {
        let mut engine = shared.engine();
        let engine = &mut *engine;
        while let Some(delivery) = &self.current {
            let latest = wall.plus(MAX_FUTURE_MS);
            let decoded =
                wire::decode(&delivery.raw, &shared.profile, delivery.received_at, latest);
            let message = match &decoded {
                Ok(decoded) => decoded.message(delivery.sequence),
                Err(_) => crate::engine::Message {
                    sequence: delivery.sequence,
                    event_time: None,
                    append_time: None,
                    signal: None,
                },
            };
            if !self.prepared {
                engine.partition.prepare(&message, out);
                self.prepared = true;
            }
            let fired = engine.partition.fire(FIRE_BUDGET, out);
            engine.decided.extend(out.transitions.drain(..));
            if !fired {
                return Pause::MoreToFire;
            }
            engine.partition.apply(&message, out);
            engine.decided.extend(out.transitions.drain(..));
            match &decoded {
                Ok(decoded) => count(shared, decoded),
                Err(reject) => {
                    shared.counters.rejected(reject.reason);
                    let key = &shared.key;
                    self.dead.push(DeadLetter::of(
                        &delivery.raw,
                        reject,
                        &key.source,
                        &key.partition,
                        delivery.sequence,
                        wall,
                    ));
                }
            }
            self.current = self.deliveries.next();
            self.prepared = false;
            if !out.tidings.is_empty() {
                break;
            }
        }
        // What the last message made due (the end of a backlog) is fired before anything else is.
        let fired = engine.partition.fire(FIRE_BUDGET, out);
        engine.decided.extend(out.transitions.drain(..));
        if fired { Pause::Told } else { Pause::MoreToFire }
    }
}

/// Counts and logs what an engine call reported beside its decisions.
pub(super) fn note(shared: &Shared, out: Output) {
    shared.counters.false_offline.increment(out.false_offline);
    shared.counters.not_admitted.increment(out.not_admitted);
    for gap in out.gaps {
        shared.counters.gap(&gap);
        let key = &shared.key;
        let (reason, from, until) = (gap.reason.as_str(), gap.from, gap.until);
        match gap.reason {
            // A sparse backlog has one between any two messages: counted, not told one by one.
            GapReason::Hole => {
                tracing::debug!(source = %key.source, partition = %key.partition, %from, %until, reason, "gap");
            }
            GapReason::Tail | GapReason::AgedOut | GapReason::StreamReset | GapReason::Undated => {
                tracing::warn!(
                    source = %key.source,
                    partition = %key.partition,
                    %from,
                    %until,
                    reason,
                    "nothing can be known about this span: whoever was last heard before its end gets a new deadline"
                );
            }
        }
    }
}

fn count(shared: &Shared, decoded: &wire::Decoded<'_>) {
    match &decoded.meaning {
        Meaning::Signal { .. } => shared.counters.signals.increment(1),
        Meaning::Ignored(kind) => shared.counters.ignored(*kind),
    }
    if decoded.clamped {
        shared.counters.clamped.increment(1);
    }
    if decoded.spoof_suspected {
        shared.counters.spoofs.increment(1);
    }
}
