//! Runs a plan: time passes, things go wrong, and in the end everything is well for long enough.

use std::collections::BTreeSet;

use lastseen::alert::Message;

use crate::broker::Broker;
use crate::bug::Bug;
use crate::disk::Disk;
use crate::plan::{Fact, Kind, Plan};
use crate::process::{Outside, Process};
use crate::random::Random;
use crate::sink::Receiver;
use crate::trace::{Mode, Trace};

/// What an observer outside has seen.
pub struct Outcome {
    pub plan: Plan,
    /// With what was lost.
    pub facts: Vec<Fact>,
    /// Of each partition: the messages of the plan that nobody could read.
    pub lost: Vec<BTreeSet<usize>>,
    /// Of each receiver: what came in for the first time, and when.
    pub received: Vec<Vec<(i64, Message)>>,
    /// Of each partition: spans in which it was not observed without a break.
    pub unwell: Vec<Vec<(i64, i64)>>,
    /// Of each partition: from when on its journal counts.
    pub in_force: Vec<Option<i64>>,
    pub crashes: usize,
    pub attaches: usize,
    pub gaps: usize,
    pub repeats: usize,
    pub trace: Trace,
}

struct World {
    outside: Outside,
    process: Option<Process>,
    old: Vec<Process>,
    next_life: u64,
    restart_ms: i64,
    random: Random,
    unwell_since: Vec<Option<i64>>,
    unwell: Vec<Vec<(i64, i64)>>,
    in_force: Vec<Option<i64>>,
    crashes: usize,
    scale_percent: i64,
    healed: bool,
}

/// Runs a world. An error is something that is never right, found while it ran.
pub fn run(plan: Plan, bug: Option<Bug>, mode: Mode) -> (Result<(), String>, Outcome) {
    let mut world = World::new(plan, bug, mode);
    let result = world.run();
    (result, world.outcome())
}

impl World {
    fn new(plan: Plan, bug: Option<Bug>, mode: Mode) -> Self {
        let count = plan.kinds.len();
        let facts = plan.facts.clone();
        let mut plan = plan;
        if bug == Some(Bug::HolesObserved) {
            plan.bridge_ms = 1_000_000;
        }
        let outside = Outside {
            now_ms: 0,
            brokers: plan.kinds.iter().map(|&kind| Broker::new(kind)).collect(),
            disks: (0..count).map(|_| Disk::default()).collect(),
            facts,
            receivers: (0..plan.sinks).map(|_| Receiver::default()).collect(),
            wall_offset_ms: 0,
            bug,
            trace: Trace::new(mode),
            attaches: 0,
            gaps: 0,
            ended_ms: 0,
            store_trouble_ms: -1_000_000,
            plan,
        };
        let mut random = Random::new(outside.plan.seed, 2);
        Self {
            restart_ms: random.pick(&[0, 0, 3_000, 20_000]),
            outside,
            process: None,
            old: Vec::new(),
            next_life: 1,
            random,
            unwell_since: vec![Some(0); count],
            unwell: vec![Vec::new(); count],
            in_force: vec![None; count],
            crashes: 0,
            scale_percent: 100,
            healed: false,
        }
    }

    fn run(&mut self) -> Result<(), String> {
        while self.outside.now_ms < self.outside.plan.end_ms {
            let step_ms = self.random.range(10, 200);
            self.outside.now_ms += step_ms;
            let now_ms = self.outside.now_ms;
            self.outside.trace.at(now_ms);
            if now_ms < self.outside.plan.settle_ms {
                self.go_wrong(step_ms)?;
            } else if !self.healed {
                self.heal()?;
            }
            self.brokers();
            self.start()?;
            for process in self.old.iter_mut().chain(&mut self.process) {
                process.step(&mut self.outside)?;
            }
            self.end_old()?;
            self.look();
        }
        Ok(())
    }

    fn brokers(&mut self) {
        let Outside { now_ms, plan, brokers, disks, facts, .. } = &mut self.outside;
        for (index, broker) in brokers.iter_mut().enumerate() {
            disks[index].step(*now_ms);
            if broker.kind == Kind::Log {
                broker.durable = disks[index].durable(broker.stream);
            }
            // Another receiver is seen before it goes.
            broker.other &= *now_ms < plan.settle_ms || broker.receiver.is_none();
            broker.step(*now_ms, plan, &plan.sent[index], facts, &mut self.random);
        }
    }

    fn start(&mut self) -> Result<(), String> {
        if self.process.is_none() && self.outside.now_ms >= self.restart_ms {
            let life = self.next_life;
            self.next_life += 1;
            if self.outside.plan.rules_change && life > 1 {
                self.scale_percent = self.random.pick(&[100, 150]);
            }
            self.process = Some(Process::start(life, self.scale_percent, &mut self.outside)?);
        }
        Ok(())
    }

    /// Whether something happens in this step that happens so often in a million milliseconds.
    fn happens(&mut self, rate: i64, step_ms: i64) -> bool {
        rate > 0 && self.random.range(0, 1_000_000) < rate * step_ms
    }

    fn go_wrong(&mut self, step_ms: i64) -> Result<(), String> {
        let faults = self.outside.plan.faults.clone();
        let now_ms = self.outside.now_ms;
        if self.happens(faults.crash, step_ms) {
            self.crash(&faults)?;
        }
        if self.happens(faults.pause, step_ms)
            && let Some(process) = &mut self.process
        {
            process.paused_until_ms = now_ms + self.random.range(300, 15_000);
        }
        if self.happens(faults.wall, step_ms) {
            self.outside.wall_offset_ms = self.random.range(-20_000, 20_000);
        }
        for index in 0..self.outside.plan.sinks {
            if self.outside.plan.flaky[index] && self.happens(faults.receiver, step_ms) {
                let until_ms = now_ms + self.random.range(500, 20_000);
                let receiver = &mut self.outside.receivers[index];
                match self.random.range(0, 3) {
                    0 => receiver.down_until_ms = until_ms,
                    1 => receiver.slow_until_ms = until_ms,
                    _ => receiver.loses_answers = self.random.range(0, 500),
                }
            }
        }
        for index in 0..self.outside.plan.kinds.len() {
            self.go_wrong_at(index, step_ms);
        }
        Ok(())
    }

    fn go_wrong_at(&mut self, index: usize, step_ms: i64) {
        let faults = self.outside.plan.faults.clone();
        let now_ms = self.outside.now_ms;
        if self.happens(faults.link, step_ms) {
            self.outside.brokers[index].detach();
        }
        if self.happens(faults.full, step_ms) {
            self.outside.disks[index].full_until_ms = now_ms + self.random.range(500, 15_000);
        }
        let is_log = self.outside.plan.kinds[index] == Kind::Log;
        if self.happens(faults.broker_down, step_ms) {
            let shortest_ms = self.outside.plan.grace_ms.iter().min().unwrap_or(&500) + 2_000;
            let until_ms = now_ms + self.random.range(shortest_ms, 20_000);
            self.outside.brokers[index].go_down(until_ms);
        }
        if is_log && self.happens(faults.reset, step_ms) {
            let Outside { brokers, facts, plan, .. } = &mut self.outside;
            brokers[index].reset(now_ms, &plan.sent[index], facts, &mut self.random);
        }
        if !is_log && !self.outside.brokers[index].other && self.happens(faults.other, step_ms) {
            let Outside { brokers, facts, plan, .. } = &mut self.outside;
            brokers[index].share(&plan.sent[index], facts);
        } else if self.outside.brokers[index].other && self.happens(100, step_ms) {
            // It is seen before it goes.
            let is_seen = self.outside.brokers[index].receiver.is_some();
            self.outside.brokers[index].other = !is_seen;
        }
    }

    fn crash(&mut self, faults: &crate::plan::Faults) -> Result<(), String> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        let now_ms = self.outside.now_ms;
        let is_long = self.random.permille(faults.long_down);
        let down_ms =
            if is_long { self.random.range(5_000, 30_000) } else { self.random.range(0, 900) };
        self.restart_ms = now_ms + down_ms;
        self.crashes += 1;
        self.outside.trace.note(|| format!("life {} ends for {down_ms} ms", process.life));
        if self.random.permille(faults.zombie) {
            process.superseded = Some(self.restart_ms + self.random.range(500, 6_000));
            self.old.push(process);
            return Ok(());
        }
        if self.random.permille(300) {
            process.stop(&mut self.outside);
        }
        self.outside.ended_ms = now_ms;
        process.crash(&mut self.outside)
    }

    fn end_old(&mut self) -> Result<(), String> {
        let now_ms = self.outside.now_ms;
        let is_over = |process: &mut Process| process.superseded.is_some_and(|at| at <= now_ms);
        let over: Vec<Process> = self.old.extract_if(.., is_over).collect();
        for mut process in over {
            process.crash(&mut self.outside)?;
        }
        Ok(())
    }

    fn heal(&mut self) -> Result<(), String> {
        self.healed = true;
        let now_ms = self.outside.now_ms;
        for process in &mut self.old {
            process.superseded = Some(now_ms);
        }
        self.end_old()?;
        if let Some(process) = &mut self.process {
            process.paused_until_ms = now_ms;
        }
        self.restart_ms = self.restart_ms.min(now_ms);
        let Outside { disks, receivers, .. } = &mut self.outside;
        for disk in disks {
            disk.full_until_ms = now_ms;
            disk.calm = true;
        }
        for receiver in receivers {
            receiver.down_until_ms = now_ms;
            receiver.slow_until_ms = now_ms;
            receiver.loses_answers = 0;
        }
        Ok(())
    }

    /// Notes which partitions are observed.
    fn look(&mut self) {
        let now_ms = self.outside.now_ms;
        for index in 0..self.outside.plan.kinds.len() {
            let broker = &self.outside.brokers[index];
            let is_well = broker.is_up(now_ms)
                && !broker.other
                && broker.receiver.is_some()
                && now_ms >= self.outside.disks[index].full_until_ms
                && self.process.as_ref().is_some_and(|process| process.observes(index, now_ms));
            match (is_well, self.unwell_since[index]) {
                (true, Some(since_ms)) => {
                    self.unwell[index].push((since_ms, now_ms));
                    self.unwell_since[index] = None;
                }
                (false, None) => self.unwell_since[index] = Some(now_ms),
                (true, None) | (false, Some(_)) => {}
            }
            if self.in_force[index].is_none() && self.outside.disks[index].has_snapshot() {
                self.in_force[index] = Some(now_ms);
            }
        }
    }

    fn outcome(mut self) -> Outcome {
        let end_ms = self.outside.now_ms;
        for (spans, since_ms) in self.unwell.iter_mut().zip(&self.unwell_since) {
            spans.extend(since_ms.map(|since_ms| (since_ms, end_ms)));
        }
        let receivers = self.outside.receivers;
        Outcome {
            repeats: receivers.iter().map(|receiver| receiver.repeats).sum(),
            received: receivers.into_iter().map(|receiver| receiver.received).collect(),
            plan: self.outside.plan,
            facts: self.outside.facts,
            lost: self.outside.brokers.into_iter().map(|broker| broker.lost).collect(),
            unwell: self.unwell,
            in_force: self.in_force,
            crashes: self.crashes,
            attaches: self.outside.attaches,
            gaps: self.outside.gaps,
            trace: std::mem::take(&mut self.outside.trace),
        }
    }
}
