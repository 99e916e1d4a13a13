//! Worlds with a fleet that is large enough to judge the route by, and a route that stops for a while: nothing that is sent
//! meanwhile arrives before it is back, and some or all of it never does. The broker is well all the time, and proves the
//! end of what it holds.

use lastseen::engine::SignalKind;

use crate::oracle::{self, Told};
use crate::plan::{Fact, Kind, Person, Plan};
use crate::random::Random;
use crate::world::Outcome;

/// Identities of each partition. Two at most are silent when the route stops, so that ten are left.
const FLEET: i64 = 12;
/// How long after the first deadline of a silent fleet a hold has begun: the allowance, and the time between two proofs.
const NOTICED_MS: i64 = 4_000;

/// The route into all partitions stops.
#[derive(Clone, Copy, Debug)]
pub struct Stop {
    pub from_ms: i64,
    pub until_ms: i64,
    /// What is sent from here on arrives after the stop, and what was sent before never.
    kept_from_ms: i64,
    /// How long it takes to arrive.
    burst_ms: i64,
}

impl Stop {
    /// When a message arrives that would have at `append_ms`; `None`: never. What is sent after the stop does not overtake
    /// what is sent during it.
    pub fn arrival(&self, event_ms: i64, append_ms: i64) -> Option<i64> {
        if event_ms < self.from_ms {
            return Some(append_ms);
        }
        if event_ms >= self.until_ms {
            return Some(append_ms.max(self.until_ms + self.burst_ms));
        }
        let since_ms = event_ms - self.kept_from_ms;
        let kept_ms = (self.until_ms - self.kept_from_ms).max(1);
        (since_ms >= 0).then(|| self.until_ms + self.burst_ms * since_ms / kept_ms)
    }
}

/// Makes a world of it, if its seed says so: one in `every` does.
pub fn gather(plan: &mut Plan, every: i64) -> bool {
    let random = &mut Random::new(plan.seed, 4);
    if every == 0 || random.range(0, every) > 0 {
        return false;
    }
    let count = random.pick(&[1, 1, 1, 2]);
    plan.kinds = (0..count)
        .map(|_| random.pick(&[Kind::Log, Kind::Log, Kind::Queue { proves: true }]))
        .collect();
    (plan.late, plan.two_ways) = (false, false);
    // Who was forgotten by the log before anybody read it is not known to be silent.
    plan.retention_ms = 1_000_000;
    let stop = stop(plan, random);
    plan.stop = Some(stop);
    plan.settle_ms = stop.until_ms + random.range(8_000, 25_000);
    plan.end_ms = plan.settle_ms + 45_000;
    for index in 0..count * FLEET + random.range(0, 3) {
        let rule = random.index(2);
        plan.people.push(Person {
            hub: "hub-a".into(),
            device: format!("{}-{index}", ["fast", "slow"][rule]),
            module: None,
            window_ms: plan.window_ms[rule],
            grace_ms: plan.grace_ms[rule],
            partition: usize::try_from(index % count).unwrap_or(0),
        });
    }
    for who in 0..plan.people.len() {
        live(plan, stop, who, random);
    }
    true
}

/// Longer than anybody's window and grace: a shorter stop can't be told from messages that are lost.
fn stop(plan: &Plan, random: &mut Random) -> Stop {
    let least_ms = longest_ms(plan) + NOTICED_MS;
    let from_ms = random.range(15_000, 25_000);
    let until_ms = from_ms + least_ms + random.range(0, 10_000);
    let kept_from_ms = match random.range(0, 3) {
        0 => until_ms,
        1 => from_ms,
        _ => random.range(from_ms, until_ms),
    };
    Stop { from_ms, until_ms, kept_from_ms, burst_ms: random.range(50, 800) }
}

/// The longest window and grace of anybody.
fn longest_ms(plan: &Plan) -> i64 {
    let longest = |terms_ms: &[i64; 3]| terms_ms.iter().copied().max().unwrap_or(0);
    let percent = if plan.rules_change { 150 } else { 100 };
    longest(&plan.window_ms) * percent / 100 + longest(&plan.grace_ms)
}

/// The life of one of the fleet: it beats more than twice a window, but while it is silent.
fn live(plan: &mut Plan, stop: Stop, who: usize, random: &mut Random) {
    let (settle_ms, end_ms) = (plan.settle_ms, plan.end_ms);
    let generation = u64::try_from(who).unwrap_or(0) * 100 + 1;
    let window_ms = plan.people[who].window_ms;
    let interval_ms = window_ms * random.range(20, 43) / 100;
    let mut now_ms = random.range(0, 3_000);
    if random.permille(300) {
        plan.fact(who, SignalKind::Created, generation, now_ms);
        now_ms += random.range(50, 2_000);
    }
    let falls_silent_ms = match (who, random.range(0, 10)) {
        (0, _) | (1, 0..5) => random.range(5_000, stop.until_ms),
        (_, 0..4) => random.range(stop.until_ms, settle_ms),
        _ => end_ms,
    };
    now_ms = plan.beat(who, generation, now_ms, falls_silent_ms, interval_ms, random);
    if random.permille(400) {
        return;
    }
    now_ms += window_ms * random.range(10, 50) / 10;
    plan.beat(who, generation, now_ms, end_ms, interval_ms, random);
}

/// The end of the span in which the route was not proven, if it is within these bounds: the first message after the stop.
pub fn unproven(outcome: &Outcome, partition: usize, from_ms: i64, until_ms: i64) -> Option<i64> {
    let stop =
        outcome.plan.stop.filter(|stop| stop.until_ms > from_ms && stop.from_ms < until_ms)?;
    let first = oracle::arrived(outcome, partition).into_iter().find(|ms| *ms >= stop.until_ms);
    Some(first.unwrap_or(outcome.plan.end_ms))
}

/// Whether a verdict that is false can't be known to be: not enough of the fleet were ever heard to know of the stop, and it
/// says so; or somebody was heard in the last half of its window, before the stop.
pub fn is_excused(outcome: &Outcome, person: usize, told: &Told) -> bool {
    let Some(stop) = outcome.plan.stop else { return false };
    let touches = told.armed_ms < stop.until_ms && told.deadline_ms > stop.from_ms;
    let says_so = told.route_unproven && is_small(outcome, person, stop);
    touches && (says_so || was_heard(outcome, told, stop))
}

fn was_heard(outcome: &Outcome, told: &Told, stop: Stop) -> bool {
    let heard_ms = told.deadline_ms - told.window_ms / 2..stop.from_ms;
    (0..outcome.plan.kinds.len())
        .any(|partition| oracle::arrived(outcome, partition).iter().any(|ms| heard_ms.contains(ms)))
}

/// Whether too few identities were heard on the partition of one of them before the stop.
fn is_small(outcome: &Outcome, person: usize, stop: Stop) -> bool {
    let plan = &outcome.plan;
    let partition = plan.people[person].partition;
    let is_known = |who: &usize| {
        plan.people[*who].partition == partition
            && outcome.facts.iter().any(|fact| {
                fact.identity == *who
                    && fact.kind == SignalKind::Telemetry
                    && fact.lost == 0
                    && fact.event_ms < stop.from_ms
            })
    };
    let known = (0..plan.people.len()).filter(is_known).count();
    known < usize::try_from(FLEET).unwrap_or(0)
}

/// Whether a message was lost in a stop of which nobody can know. So it is where not enough of the fleet were ever heard, or
/// somebody was in the last half of the window; and so it is for a verdict that was not due before what is sent is kept again,
/// if nobody's was due while the stop was observed: what of it does not lie in gaps is shorter than a window and grace, or it
/// was over before anybody looked.
pub fn goes_unnoticed(outcome: &Outcome, person: usize, fact: &Fact, told: &Told) -> bool {
    let plan = &outcome.plan;
    let Some(stop) = plan.stop else { return false };
    if !(stop.from_ms..stop.until_ms).contains(&fact.event_ms) {
        return false;
    }
    if is_small(outcome, person, stop) || was_heard(outcome, told, stop) {
        return true;
    }
    let reach_ms = longest_ms(plan) * 9 / 8 + NOTICED_MS;
    let partition = plan.people[person].partition;
    let gap_ms = oracle::gaps(outcome, partition, stop.from_ms, stop.until_ms);
    let unwell = outcome.unwell[partition].iter();
    let blind_ms = unwell.filter(|span| span.0 < stop.until_ms).map(|span| span.1).max();
    let is_short = gap_ms.is_some_and(|ms| ms + reach_ms > stop.until_ms)
        || blind_ms.is_some_and(|ms| ms + NOTICED_MS > stop.until_ms);
    told.deadline_ms > stop.kept_from_ms && is_short
}
