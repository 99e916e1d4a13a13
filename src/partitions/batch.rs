//! Applies a batch: decode, fire what each message makes due, apply.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::shared::Shared;
use super::writer::now;
use super::{PartitionKey, Partitions};
use crate::engine::LOOK_AHEAD;
use crate::engine::{GapReason, Message, Millis, Output, Timestamp};
use crate::failpoint::fail_message;
use crate::journal::Read;
use crate::source::Delivery;
use crate::store::dead_letter::DeadLetter;
use crate::wire::{self, Decoded, Meaning, Reject, RejectReason};

/// The most decisions fired in one go: about 20 ms of work, after which others get their turn.
pub(super) const FIRE_BUDGET: usize = 4_096;

/// How far in the future an event time may lie: what clocks of machines with a time service differ by is far less.
const MAX_FUTURE_MS: Millis = 300_000;

/// Why applying paused.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pause {
    /// More is due than fits into one go.
    MoreToFire,
    /// Nothing more may be applied before something is durable or delivered.
    Full,
    /// Others have to be told first; or everything is applied.
    Told,
}

/// A batch on its way into the engine.
pub(super) struct BatchProgress {
    deliveries: Vec<Delivery>,
    /// The next one to be applied.
    next: usize,
    /// How many are decoded and looked ahead at together: few after a pause, since what is not applied by then is decoded
    /// again.
    ahead: usize,
    /// None of them is decoded: each ended the process.
    is_refused: bool,
    /// Signals applied and not yet counted.
    signals: u64,
    /// What could not be read.
    pub(super) dead: Vec<DeadLetter>,
}

type DecodedMessage<'a> = Result<Decoded<'a>, Reject>;

impl BatchProgress {
    pub(super) fn new(deliveries: Vec<Delivery>, is_refused: bool) -> Self {
        Self { deliveries, next: 0, ahead: LOOK_AHEAD, is_refused, signals: 0, dead: Vec::new() }
    }

    /// First and last sequence.
    pub(super) fn places(&self) -> Option<(i64, i64)> {
        Some((self.deliveries.first()?.sequence, self.deliveries.last()?.sequence))
    }

    /// The first message.
    pub(super) fn first(&self) -> Option<&Delivery> {
        self.deliveries.first()
    }

    pub(super) fn is_done(&self) -> bool {
        self.next == self.deliveries.len()
    }

    /// Applies messages until all are applied, or a pause is due.
    pub(super) fn advance(&mut self, partitions: &Partitions, shared: &Arc<Shared>) -> Pause {
        let mut out = Output::default();
        let pause = loop {
            let pause = self.advance_some(shared, &mut out);
            if pause != Pause::Told || !out.tidings.is_empty() || self.is_done() {
                break pause;
            }
            self.ahead = (2 * self.ahead).min(LOOK_AHEAD);
        };
        self.ahead = if self.is_done() { self.ahead } else { 1 };
        shared.counters.signals.increment(std::mem::take(&mut self.signals));
        note(shared, &mut out);
        if !out.tidings.is_empty() {
            partitions.exchange(shared, out.tidings);
        }
        if pause == Pause::MoreToFire {
            partitions.answer_deferred(shared);
        }
        pause
    }

    /// Decodes the next few messages, then applies them under the desk's lock.
    fn advance_some(&mut self, shared: &Shared, out: &mut Output) -> Pause {
        let now = now();
        let Self { deliveries, next, ahead, is_refused, signals, dead } = self;
        let end = (*next + *ahead).min(deliveries.len());
        let some: Vec<(&Delivery, DecodedMessage<'_>)> = deliveries[*next..end]
            .iter()
            .map(|delivery| {
                let Delivery { raw, received_at, .. } = delivery;
                if *is_refused {
                    return (delivery, Err(Reject::ended_process()));
                }
                fail_message(raw);
                // The broker's time, not this machine's: a wall clock that is set back makes no message a future one.
                let latest = received_at.plus(MAX_FUTURE_MS);
                (delivery, wire::decode(raw, &shared.profile, *received_at, latest))
            })
            .collect();
        let mut desk = shared.desk();
        let identities = some
            .iter()
            .map(|(delivery, decoded)| Some(message(delivery, decoded).signal?.identity));
        let ahead = desk.engine().look_ahead(identities);
        for (place, (delivery, decoded)) in some.iter().enumerate() {
            if desk.book().is_full() {
                return Pause::Full;
            }
            let mut message = message(delivery, decoded);
            let is_signal = message.signal.is_some();
            if desk.was_refused(delivery.sequence) {
                message = place_of(delivery);
            }
            match desk.read_sighted(&message, ahead.get(place), FIRE_BUDGET, now, out) {
                Read::MoreToFire => return Pause::MoreToFire,
                Read::Absorbed => {}
                Read::Applied => {
                    if let Err(reject) = decoded
                        && reject.reason == RejectReason::FutureTime
                    {
                        desk.refused(delivery.sequence);
                    }
                    *signals += u64::from(is_signal);
                    dead.extend(count(shared, delivery, decoded, now.wall));
                }
            }
            *next += 1;
            if !out.tidings.is_empty() {
                break;
            }
        }
        // What the last message made due (the end of a backlog) is fired before anything else is.
        let fired = desk.fire(FIRE_BUDGET, now, out);
        if fired { Pause::Told } else { Pause::MoreToFire }
    }
}

/// The engine's view of a message; of one that can't be read only its place.
fn message<'a>(delivery: &Delivery, decoded: &'a DecodedMessage<'_>) -> Message<'a> {
    let sequence = delivery.sequence;
    match decoded {
        Ok(decoded) => decoded.message(sequence),
        Err(_) => place_of(delivery),
    }
}

fn place_of(delivery: &Delivery) -> Message<'static> {
    let sequence = delivery.sequence;
    Message { sequence, event_time: None, append_time: None, signal: None }
}

/// Counts and logs what calls of the desk reported; what has to be told stays.
pub(super) fn note(shared: &Shared, out: &mut Output) {
    shared.counters.false_offline.increment(std::mem::take(&mut out.false_offline));
    shared.counters.not_admitted.increment(std::mem::take(&mut out.not_admitted));
    for transition in out.transitions.drain(..) {
        shared.counters.transition(&transition);
        shared.last_verdict_ms.fetch_max(transition.decided_at.as_ms(), Ordering::AcqRel);
    }
    for gap in out.gaps.drain(..) {
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
            | GapReason::RouteUnproven
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

/// Counts a message, all but signals. One that can't be read becomes a dead letter.
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
        Meaning::Signal { .. } => {}
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
