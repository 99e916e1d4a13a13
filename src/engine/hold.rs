//! Verdicts that only the route could explain are held: the end of the log proves the log, not the way into it.
//!
//! What a route kept back is dated by when it was sent, so a date alone does not show that the route worked then. A message
//! bears witness only if it was in time: not dated before what the partition's clock had passed when it was read.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::clock::Advance;
use super::partition::Partition;
use super::placement::PartitionId;
use super::planted::Planted;
use super::rules::Policy;
use super::shard::Output;
use super::signal::{Gap, GapReason};
use super::table::State;
use super::time::{Millis, Timestamp};
use super::timers::Decision;

/// Fewer identities than this may well all be silent at once: a verdict about one of them is told, and says that the route
/// was not proven.
const HELD_FROM: u64 = 10;

/// A span in which nobody was heard; without an end it lasts.
type Silence = (Timestamp, Option<Timestamp>);

/// How many silences are remembered: as many as can be asked about, since what the clock has not passed lies in the allowance,
/// where no window is shorter than that. One that is older counts as heard.
const SILENCES: usize = 3;

/// When anybody was heard in time on a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// The last time.
    last: Timestamp,
    /// The silences before it that were not short, the latest first.
    silences: [Option<(Timestamp, Timestamp)>; SILENCES],
}

impl Heard {
    const NEVER: Self = Self::once(Timestamp::MIN);

    /// Once.
    pub const fn once(at: Timestamp) -> Self {
        Self { last: at, silences: [None; SILENCES] }
    }

    /// Somebody was heard `at`.
    fn note(&mut self, at: Timestamp, least_ms: Millis) {
        if self.last > Timestamp::MIN && at.since(self.last) > least_ms {
            self.silent((self.last, at));
        }
        self.last = self.last.max(at);
    }

    fn silent(&mut self, silence: (Timestamp, Timestamp)) {
        self.silences.rotate_right(1);
        self.silences[0] = Some(silence);
    }

    /// The silence around a span; `None` if somebody was heard in it.
    fn silence(&self, from: Timestamp, until: Timestamp) -> Option<Silence> {
        if self.last < from {
            return Some((self.last, None));
        }
        let mut silences = self.silences.into_iter().flatten();
        let (began, ended) = silences.find(|&(began, ended)| began < from && ended > until)?;
        Some((began, Some(ended)))
    }

    /// The first time at or after `from`, as far as silences are known.
    fn first_from(&self, from: Timestamp) -> Timestamp {
        let mut silences = self.silences.into_iter().flatten();
        let around = silences.find(|&(began, ended)| began < from && from < ended);
        around.map_or(from, |(_, ended)| ended)
    }
}

/// What other partitions of the source are told: who is heard of one hub shows nothing about the route of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// The only hub of the partition.
    pub hub: Arc<str>,
    /// When anybody of it was heard.
    pub heard: Heard,
}

/// Who bears witness of the route into a partition.
#[derive(Debug)]
pub(super) struct Witnesses {
    /// Shorter silences put no verdict into question.
    least_ms: Millis,
    here: Heard,
    /// On the other partitions of the source: only what was in time by the clock of this one.
    elsewhere: BTreeMap<PartitionId, Heard>,
}

impl Witnesses {
    pub(super) fn new(policy: &Policy) -> Self {
        let windows = policy.rules.iter().map(|rule| rule.terms.window_ms);
        let shortest_ms = windows.fold(policy.default.window_ms, Millis::min);
        Self { least_ms: shortest_ms / 2, here: Heard::NEVER, elsewhere: BTreeMap::new() }
    }

    /// Somebody was heard here `at`, when the clock had `passed` that or not.
    #[inline]
    pub(super) fn hear(&mut self, at: Timestamp, passed: Timestamp) {
        if at > self.here.last && at >= passed {
            self.here.note(at, self.least_ms);
        }
    }

    fn hear_of(&mut self, partition: PartitionId, news: Heard, passed: Timestamp) {
        let known = self.elsewhere.entry(partition).or_insert(Heard::NEVER);
        if news.last <= known.last || news.last < passed {
            return;
        }
        let first = news.first_from(known.last.max(passed)).min(news.last);
        if known.last == Timestamp::MIN {
            known.silent((Timestamp::MIN, first));
        }
        known.note(first, self.least_ms);
        for (began, ended) in news.silences.into_iter().rev().flatten() {
            if began >= known.last {
                known.note(began, self.least_ms);
                known.note(ended, self.least_ms);
            }
        }
        known.last = news.last;
    }

    /// Whether somebody was heard on another partition in a span.
    pub(super) fn heard_elsewhere(&self, from: Timestamp, until: Timestamp) -> bool {
        self.elsewhere.values().any(|heard| heard.silence(from, until).is_none())
    }

    /// The silence around a span on all partitions; `None` if somebody was heard in it.
    fn silence(&self, from: Timestamp, until: Timestamp) -> Option<Silence> {
        let (mut began, mut ended) = self.here.silence(from, until)?;
        for heard in self.elsewhere.values() {
            let (also_began, also_ended) = heard.silence(from, until)?;
            began = began.max(also_began);
            ended = ended.into_iter().chain(also_ended).min();
        }
        Some((began, ended))
    }
}

/// What the route may have to do with a verdict.
pub(super) enum Doubt {
    /// Nothing.
    None,
    /// Nobody was heard before the deadline, or since.
    Silence,
    /// Nobody was heard before the deadline; since then somebody was.
    Ended { from: Timestamp, until: Timestamp },
}

impl Partition {
    /// When somebody was heard on other partitions of the same source: the route into it works.
    pub fn heard_elsewhere(&mut self, others: impl IntoIterator<Item = (PartitionId, Witness)>) {
        let [hub] = &self.hubs[..] else { return };
        let hub = hub.clone();
        let passed = match self.planted {
            Some(Planted::LateIsWitness) => Timestamp::MIN,
            Some(_) | None => self.passed(),
        };
        for (partition, witness) in others {
            if witness.hub == hub {
                self.witnesses.hear_of(partition, witness.heard, passed);
            }
        }
    }

    /// When anybody was heard here; `None` where several hubs share the partition, or nobody was.
    pub fn heard(&self) -> Option<Witness> {
        let heard = self.witnesses.here;
        match &self.hubs[..] {
            [hub] if heard.last > Timestamp::MIN => Some(Witness { hub: hub.clone(), heard }),
            _ => None,
        }
    }

    /// Who was heard here before the start: what is read again does not show who was in time.
    pub fn heard_before(&mut self, heard: Heard) {
        self.witnesses.here = heard;
    }

    /// Up to where the clock stands, or would if no verdict were held: what is dated before that was not in time.
    #[inline]
    pub(super) fn passed(&self) -> Timestamp {
        self.goal.unwrap_or(self.clock.clock())
    }

    /// Whether a verdict would rest on the route alone: nobody of the hub was heard in the last half of the window, on no
    /// partition of the source, although many should have been.
    pub(super) fn doubt(&mut self, shard: usize, decision: Decision) -> Doubt {
        let is_over = self.clock.gap_end() > decision.deadline;
        if self.planted == Some(Planted::HoldNotHeld) || self.hubs.len() != 1 || is_over {
            return Doubt::None;
        }
        let counts = self
            .shards
            .iter()
            .map(|shard| shard.counts[State::Online as usize] + shard.counts[State::Late as usize]);
        if counts.sum::<u64>() < HELD_FROM {
            return Doubt::None;
        }
        let from = self.with_shard(shard, |shard, context| {
            let is_verdict = shard.is_verdict(decision, context);
            is_verdict.then(|| shard.witness_from(decision, context))
        });
        let silence = from.and_then(|from| self.witnesses.silence(from, decision.deadline));
        match silence {
            None => Doubt::None,
            Some((_, None)) => Doubt::Silence,
            Some((_, Some(_))) if self.planted == Some(Planted::HoldObserved) => Doubt::None,
            // Where nobody was ever heard in time, what is in question begins with the last half of the window.
            Some((Timestamp::MIN, Some(until))) => {
                Doubt::Ended { from: from.unwrap_or(decision.deadline), until }
            }
            Some((began, Some(until))) => Doubt::Ended { from: began, until },
        }
    }

    /// A silence of all is over that put a verdict into question: it counts for nothing. If verdicts were held for it, that
    /// reaches to where proofs would have moved the clock: what the route kept back may still be on its way.
    pub(super) fn forgive_silence(&mut self, from: Timestamp, until: Timestamp, out: &mut Output) {
        let until = self.goal.filter(|_| self.is_held).map_or(until, |goal| goal.max(until));
        let gap = Gap { from, until, reason: GapReason::RouteUnproven };
        self.clock.declare(gap);
        self.advance(Advance { gap: Some(gap), to: None }, out);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LEAST_MS: Millis = 10;

    proptest! {
        #[test]
        fn a_span_is_silent_if_nobody_was_heard_in_it(
            steps in prop::collection::vec(1..40_i64, 1..40),
            back_ms in 0..200_i64,
            span_ms in LEAST_MS..60,
        ) {
            let mut heard = Heard::NEVER;
            let mut times = Vec::new();
            for step_ms in steps {
                let at = times.last().map_or(1_000, |last| last + step_ms);
                times.push(at);
                heard.note(Timestamp::from_ms(at), LEAST_MS);
            }
            let last = times[times.len() - 1];
            let (from, until) = (last + 20 - back_ms, last + 20 - back_ms + span_ms);
            // Older silences than the latest few are forgotten.
            let silences = times.windows(2).filter(|pair| pair[1] - pair[0] > LEAST_MS && pair[1] >= from);
            prop_assume!(from > times[0] && silences.count() <= SILENCES);
            let is_silent = !times.iter().any(|at| (from..=until).contains(at));
            let silence = heard.silence(Timestamp::from_ms(from), Timestamp::from_ms(until));
            let before = times.iter().rev().find(|at| **at < from);
            let after = times.iter().find(|at| **at > until);
            let instant = |ms: &i64| Timestamp::from_ms(*ms);
            let expected = is_silent.then(|| (instant(before.unwrap_or(&0)), after.map(instant)));
            prop_assert_eq!(silence, expected);
        }
    }
}
