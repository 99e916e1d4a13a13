//! Applies a batch: decode, fire what each message makes due, apply.

use std::sync::Arc;

use super::{PartitionKey, Partitions, Shared};
use crate::engine::partition::LOOK_AHEAD;
use crate::engine::{GapReason, Message, Millis, Output, Timestamp};
use crate::source::Delivery;
use crate::store::dead_letter::DeadLetter;
use crate::wire::{self, Decoded, Meaning, Reject};

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
    deliveries: Vec<Delivery>,
    /// The next one to be applied.
    next: usize,
    /// What it makes due has been asked for.
    prepared: bool,
    /// How many are decoded and looked ahead at together: few after a pause, since what is not applied by then is decoded
    /// again.
    ahead: usize,
    /// What could not be read.
    pub(super) dead: Vec<DeadLetter>,
}

type DecodedMessage<'a> = Result<Decoded<'a>, Reject>;

impl BatchProgress {
    pub(super) fn new(deliveries: Vec<Delivery>) -> Self {
        Self { deliveries, next: 0, prepared: false, ahead: LOOK_AHEAD, dead: Vec::new() }
    }

    pub(super) fn is_done(&self) -> bool {
        self.next == self.deliveries.len()
    }

    /// Applies messages until all are applied, or a pause is due. What was decided is queued in the engine's order.
    pub(super) fn advance(
        &mut self,
        partitions: &Partitions,
        shared: &Arc<Shared>,
        wall: Timestamp,
    ) -> Pause {
        let mut out = Output::default();
        let pause = loop {
            let pause = self.advance_some(shared, wall, &mut out);
            if pause == Pause::MoreToFire || !out.tidings.is_empty() || self.is_done() {
                break pause;
            }
            self.ahead = (2 * self.ahead).min(LOOK_AHEAD);
        };
        self.ahead = if self.is_done() { self.ahead } else { 1 };
        let tidings = std::mem::take(&mut out.tidings);
        note(shared, out);
        if !tidings.is_empty() {
            partitions.exchange(shared, tidings);
        }
        pause
    }

    /// Decodes the next few messages, then applies them under the engine's lock.
    fn advance_some(&mut self, shared: &Shared, wall: Timestamp, out: &mut Output) -> Pause {
        let Self { deliveries, next, prepared, ahead, dead } = self;
        let end = (*next + *ahead).min(deliveries.len());
        let latest = wall.plus(MAX_FUTURE_MS);
        let some: Vec<(&Delivery, DecodedMessage<'_>)> = deliveries[*next..end]
            .iter()
            .map(|delivery| {
                let Delivery { raw, received_at, .. } = delivery;
                (delivery, wire::decode(raw, &shared.profile, *received_at, latest))
            })
            .collect();
        let mut engine = shared.engine();
        let engine = &mut *engine;
        let identities = some
            .iter()
            .filter_map(|(delivery, decoded)| Some(message(delivery, decoded).signal?.identity));
        std::hint::black_box(engine.partition.look_ahead(identities));
        for (delivery, decoded) in &some {
            let message = message(delivery, decoded);
            if !*prepared {
                engine.partition.prepare(&message, out);
                *prepared = true;
            }
            let fired = engine.partition.fire(FIRE_BUDGET, out);
            engine.decided.extend(out.transitions.drain(..));
            if !fired {
                return Pause::MoreToFire;
            }
            engine.partition.apply(&message, out);
            engine.decided.extend(out.transitions.drain(..));
            dead.extend(count(shared, delivery, decoded, wall));
            *next += 1;
            *prepared = false;
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

/// The engine's view of a message; of one that can't be read only its place.
fn message<'a>(delivery: &Delivery, decoded: &'a DecodedMessage<'_>) -> Message<'a> {
    let sequence = delivery.sequence;
    match decoded {
        Ok(decoded) => decoded.message(sequence),
        Err(_) => Message { sequence, event_time: None, append_time: None, signal: None },
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
            GapReason::Tail
            | GapReason::AgedOut
            | GapReason::StreamReset
            | GapReason::Undated
            | GapReason::Shared => {
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

/// Counts a message. One that can't be read becomes a dead letter.
fn count(
    shared: &Shared,
    delivery: &Delivery,
    decoded: &DecodedMessage<'_>,
    wall: Timestamp,
) -> Option<DeadLetter> {
    let decoded = match decoded {
        Ok(decoded) => decoded,
        Err(reject) => {
            shared.counters.rejected(reject.reason);
            let PartitionKey { source, partition } = &shared.key;
            let Delivery { raw, sequence, .. } = delivery;
            return Some(DeadLetter::of(raw, reject, source, partition, *sequence, wall));
        }
    };
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
    None
}
