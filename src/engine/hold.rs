//! Verdicts that only the route could explain are held: the end of the log proves the log, not the way into it.

use super::clock::Advance;
use super::partition::Partition;
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

/// The latest silence on all partitions of the source: what ended it was read, and nothing that is dated inside it was
/// before. So it is known for one whether a proof or a message comes first after it, and whichever partition it ends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Silences {
    /// Shorter ones put no verdict into question.
    least_ms: Millis,
    last: Option<Timestamp>,
    latest: Option<(Timestamp, Timestamp)>,
}

impl Silences {
    pub(super) fn new(policy: &Policy) -> Self {
        let windows = policy.rules.iter().map(|rule| rule.terms.window_ms);
        let shortest_ms = windows.fold(policy.default.window_ms, Millis::min);
        Self { least_ms: shortest_ms / 2, last: None, latest: None }
    }

    /// Something is dated `at`.
    #[inline]
    pub(super) fn note(&mut self, at: Timestamp) {
        match self.last {
            Some(last) if at <= last => return,
            Some(last) if at.since(last) > self.least_ms => self.latest = Some((last, at)),
            Some(_) | None => {}
        }
        self.last = Some(at);
    }
}

/// What the route may have to do with a verdict.
pub(super) enum Doubt {
    /// Nothing.
    None,
    /// Nobody was heard before the deadline, or since; and it is due by proof.
    Silence,
    /// Nobody was heard before the deadline; since then somebody was.
    Ended,
}

impl Partition {
    /// Somebody of the hub was heard at `at` on another partition of the same source: the route into it works.
    pub fn heard_elsewhere(&mut self, at: Option<Timestamp>) {
        if let Some(at) = at.filter(|_| at > self.heard_elsewhere) {
            self.heard_elsewhere = Some(at);
            self.silences.note(at);
        }
    }

    /// When anybody was heard here last; `None` where several hubs share the partition, or nobody was.
    pub fn last_heard(&self) -> Option<Timestamp> {
        (self.hubs.len() == 1).then(|| self.route.last(0)).flatten()
    }

    /// Whether a verdict would rest on the route alone: nobody of the hub was heard in the last half of the window, on no
    /// partition of the source, although many should have been.
    pub(super) fn doubt(&mut self, shard: usize, decision: Decision) -> Doubt {
        if self.planted == Some(Planted::HoldNotHeld) || self.hubs.len() != 1 {
            return Doubt::None;
        }
        let counts = self
            .shards
            .iter()
            .map(|shard| shard.counts[State::Online as usize] + shard.counts[State::Late as usize]);
        if counts.sum::<u64>() < HELD_FROM {
            return Doubt::None;
        }
        let (silence, by_proof) = (self.silences.latest, self.by_proof);
        self.with_shard(shard, |shard, context| {
            let is_ended = silence.is_some_and(|(from, until)| {
                until > decision.deadline
                    && from < shard.witness_from(decision, context)
                    && shard.is_verdict(decision, context)
            });
            match is_ended {
                true => Doubt::Ended,
                false if by_proof && shard.is_unproven(decision, context) => Doubt::Silence,
                false => Doubt::None,
            }
        })
    }

    /// A silence of all is over that put a verdict into question: it counts for nothing.
    pub(super) fn forgive_silence(&mut self, out: &mut Output) {
        if let Some((from, until)) = self.silences.latest.take() {
            let held_up_to = self.goal.filter(|_| self.is_held);
            self.forgive_route(from, held_up_to.map_or(until, |goal| goal.max(until)), out);
        }
    }

    /// Somebody is heard again after a hold: the span before counts for nothing. That span reaches to where proofs would have
    /// moved the clock, since what the route kept back comes in the order in which it was sent.
    #[inline]
    pub(super) fn end_hold(&mut self, at: Option<Timestamp>, out: &mut Output) {
        if self.is_held {
            self.end_hold_at(at, out);
        }
    }

    fn end_hold_at(&mut self, at: Option<Timestamp>, out: &mut Output) {
        let Some(from) = self.route.last(0) else { return };
        // What was sent before the silence began says nothing about it.
        if let Some(at) = at.filter(|&at| at > from) {
            let until = self.goal.map_or(at, |goal| goal.max(at));
            self.forgive_route(from, until, out);
        }
    }

    fn forgive_route(&mut self, from: Timestamp, until: Timestamp, out: &mut Output) {
        self.is_held = false;
        if self.planted == Some(Planted::HoldObserved) {
            return;
        }
        let gap = Gap { from, until, reason: GapReason::RouteUnproven };
        self.clock.declare(gap);
        self.advance(Advance { gap: Some(gap), to: None }, out);
    }
}
