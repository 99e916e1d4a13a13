//! Fires what is due, in steps that are bounded by what they do, however many fall due together.

use super::agenda::Item;
use super::hold::Doubt;
use super::look_ahead::LOOK_AHEAD;
use super::partition::Partition;
use super::shard::{Output, Shard};
use super::time::Timestamp;
use super::timers::tick_of;
use super::wheel::Taken;
use std::cmp::Ordering;

/// Timers visited in one call of [`Partition::fire`] at most: some milliseconds.
const MAX_VISITS: usize = 65_536;
/// Decisions that a call finds and puts into order at most: some milliseconds too.
const MAX_RUN: usize = 4_096;

/// Timers of the tick that is being fired.
#[derive(Default)]
pub(super) struct Visits {
    tick: u64,
    /// What each shard's wheel held.
    taken: Vec<Taken>,
    /// The first shard of which something may be left.
    shard: usize,
    /// Those that are visited next: kept for its room.
    found: Vec<u32>,
}

impl Partition {
    /// Fires what is due, in the order of deadlines, at most `budget` decisions. Returns true when nothing is left and the
    /// clock stands where it was to go. How long a call takes is bounded: it may have found nothing to decide yet, and have
    /// more to look through.
    #[inline]
    pub fn fire(&mut self, budget: usize, out: &mut Output) -> bool {
        self.goal.is_none_or(|goal| self.fire_up_to(goal, budget, out))
    }

    fn fire_up_to(&mut self, goal: Timestamp, budget: usize, out: &mut Output) -> bool {
        let goal_tick = tick_of(goal, self.clock.settings().tick_ms);
        let (mut left, mut visits) = (budget, MAX_VISITS);
        loop {
            if !self.visit(&mut visits) {
                return false;
            }
            while let Some((shard, decision)) = self.agenda.first() {
                if left == 0 {
                    return false;
                }
                match self.doubt(shard, decision) {
                    Doubt::Ended { from, until } => {
                        self.forgive_silence(from, until, out);
                        continue;
                    }
                    Doubt::Silence => {
                        self.is_held = true;
                        return true;
                    }
                    Doubt::None => self.is_held = false,
                }
                let shards = &self.shards;
                self.agenda.take_first(|a, b| order(shards, a, b));
                if self.with_shard(shard, |shard, context| shard.decide(decision, context, out)) {
                    left -= 1;
                }
            }
            match self.next_tick().filter(|&tick| tick <= goal_tick) {
                Some(tick) => self.begin(tick),
                None => {
                    for shard in &mut self.shards {
                        let _nothing_stands_there = shard.wheel.take(goal_tick);
                    }
                    self.clock.set(goal);
                    self.goal = None;
                    return true;
                }
            }
        }
    }

    pub(super) fn next_tick(&self) -> Option<u64> {
        self.shards.iter().filter_map(|shard| shard.wheel.next_tick()).min()
    }

    /// The clock moves on to a tick at which something stands.
    fn begin(&mut self, tick: u64) {
        let tick_ms = self.clock.settings().tick_ms;
        let at = i64::try_from(tick).unwrap_or(i64::MAX).saturating_mul(tick_ms);
        self.clock.set(Timestamp::from_ms(at));
        self.visits.tick = tick;
        self.visits.shard = 0;
        let taken = self.shards.iter_mut().map(|shard| shard.wheel.take(tick));
        self.visits.taken.clear();
        self.visits.taken.extend(taken);
    }

    /// Visits what stands at the tick, and notes what has to be decided; `left` is how many may still be visited. Returns
    /// false if there is more.
    fn visit(&mut self, left: &mut usize) -> bool {
        let mut visits = std::mem::take(&mut self.visits);
        let Visits { tick, taken, shard, found } = &mut visits;
        let mut decisions = Vec::new();
        let done = loop {
            let Some(taken) = taken.get_mut(*shard) else { break true };
            if *left == 0 || self.agenda.open() >= MAX_RUN {
                break false;
            }
            found.clear();
            self.shards[*shard].wheel.unload(taken, LOOK_AHEAD, found);
            if found.is_empty() {
                *shard += 1;
                continue;
            }
            self.with_shard(*shard, |shard, context| {
                shard.visit_all(found, *tick, context, &mut decisions);
            });
            self.agenda.add(decisions.drain(..).map(|decision| (*shard, decision)));
            *left = left.saturating_sub(found.len());
        };
        let shards = &self.shards;
        self.agenda.close_run(|a, b| order(shards, a, b));
        self.visits = visits;
        done
    }
}

/// By deadline, then by id.
fn order(shards: &[Shard], (shard_a, a): &Item, (shard_b, b): &Item) -> Ordering {
    a.deadline
        .cmp(&b.deadline)
        .then_with(|| shards[*shard_a].table.compare_ids(a.slot, &shards[*shard_b].table, b.slot))
}
