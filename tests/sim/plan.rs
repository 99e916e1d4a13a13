//! What really happens in a world: who sends what and when, and how the routes carry it. Made from the seed before anything
//! runs, so that nothing of it depends on the system under test.

use std::sync::Arc;

use lastseen::engine::SignalKind;
use lastseen::engine::rules::{Pattern, Policy, ProofOfLife, Rule, Terms};

use crate::fleet::{self, Stop};
use crate::random::Random;

/// The start of every world: milliseconds since the epoch.
pub const T0: i64 = 1_767_225_600_000;
/// The allowance for reordering. Routes keep within it, but in worlds that are late.
pub const ALLOWANCE_MS: i64 = 1_000;

/// How a partition's messages are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Log,
    /// `proves`: it answers from the process that sends us its messages.
    Queue {
        proves: bool,
    },
}

/// One thing that an identity did.
#[derive(Clone, Debug)]
pub struct Fact {
    pub identity: usize,
    pub kind: SignalKind,
    pub generation: u64,
    pub event_ms: i64,
    /// How many of the partitions that were to carry it certainly or possibly did not.
    pub lost: u32,
    /// The partitions, a bit each.
    pub ways: u32,
}

/// A message on its way into a partition.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// `None`: it is about nobody.
    pub fact: Option<usize>,
    pub event_ms: i64,
    pub append_ms: i64,
    /// Its event time is far in the future.
    pub hostile: bool,
    /// Another copy of a message that stands in the same partition.
    pub repeated: bool,
}

#[derive(Clone, Debug)]
pub struct Person {
    pub hub: Arc<str>,
    pub device: String,
    pub module: Option<String>,
    pub window_ms: i64,
    pub grace_ms: i64,
    /// Partitions that carry it, and from when the second one does instead of (or besides) the first.
    pub partition: usize,
}

/// How often things go wrong, per million milliseconds or in per mille.
#[derive(Clone, Debug)]
pub struct Faults {
    pub crash: i64,
    pub long_down: i64,
    pub zombie: i64,
    pub link: i64,
    pub pause: i64,
    pub broker_down: i64,
    pub reset: i64,
    pub put_lost: i64,
    pub put_late: i64,
    pub full: i64,
    pub tear: i64,
    pub receiver: i64,
    pub other: i64,
    pub wall: i64,
}

/// A whole world.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub kinds: Vec<Kind>,
    pub people: Vec<Person>,
    pub facts: Vec<Fact>,
    /// Of each partition, in the order in which they arrive.
    pub sent: Vec<Vec<Sent>>,
    pub settle_ms: i64,
    pub end_ms: i64,
    pub faults: Faults,
    /// Routes may be slower than the allowance.
    pub late: bool,
    /// Rules change at restarts.
    pub rules_change: bool,
    pub retention_ms: i64,
    pub bridge_ms: i64,
    /// The most that an estimate of broker time lies behind the truth.
    pub error_ms: i64,
    /// The same before a process has read anything that is stamped.
    pub cold_error_ms: i64,
    pub window_ms: [i64; 3],
    pub grace_ms: [i64; 3],
    pub first_window_ms: i64,
    pub sinks: usize,
    pub flaky: [bool; 2],
    pub same_owner: bool,
    pub prefetch: usize,
    /// Some are heard on two partitions.
    pub two_ways: bool,
    /// The route that carries a fleet stops for a while.
    pub stop: Option<Stop>,
}

impl Plan {
    /// The world of a seed. One in `fleet_every` has a fleet and a route that stops (0: none).
    pub fn new(seed: u64, fleet_every: i64) -> Self {
        let random = &mut Random::new(seed, 1);
        let mut plan = Self::frame(seed, random);
        if plan.cold_error_ms > 0 {
            // A broker that is down just while nobody knows the time can't be told from one that is not.
            (plan.faults.broker_down, plan.faults.other) = (0, 0);
        }
        if !fleet::gather(&mut plan, fleet_every) {
            for index in 0..random.range(2, 6) {
                plan.add_device(index, random);
            }
            for person in 0..plan.people.len() {
                plan.live(person, random);
            }
        }
        plan.sent = vec![Vec::new(); plan.kinds.len()];
        plan.route(random);
        plan.stop_route();
        plan
    }

    fn frame(seed: u64, random: &mut Random) -> Self {
        let partitions = random.pick(&[1, 1, 2, 2, 3]);
        // A move from one partition to another forgets verdicts, so that no late heartbeat can disprove them there.
        let two_ways = partitions > 1 && random.permille(350);
        let kinds = (0..partitions)
            .map(|_| match random.range(0, 10) {
                0..6 => Kind::Log,
                6..9 => Kind::Queue { proves: true },
                _ => Kind::Queue { proves: false },
            })
            .collect();
        let settle_ms = random.range(35_000, 80_000);
        let window_ms = [(); 3].map(|()| random.range(20, 80) * 100);
        let grace_ms = [(); 3].map(|()| random.range(5, 25) * 100);
        Self {
            seed,
            kinds,
            people: Vec::new(),
            facts: Vec::new(),
            sent: Vec::new(),
            settle_ms,
            end_ms: settle_ms + 55_000,
            faults: faults(random),
            late: random.permille(150) && !two_ways,
            rules_change: random.permille(100),
            retention_ms: random.pick(&[8_000, 20_000, 1_000_000, 1_000_000]),
            bridge_ms: grace_ms.iter().copied().min().unwrap_or(500),
            error_ms: random.pick(&[0, 50, 300]),
            cold_error_ms: Random::new(seed, 3).pick(&[0, 0, 5_000]),
            window_ms,
            grace_ms,
            first_window_ms: random.range(40, 120) * 100,
            sinks: random.pick(&[1, 1, 2]),
            flaky: [random.permille(400), random.permille(600)],
            same_owner: random.permille(500),
            prefetch: random.pick(&[10, 50, 200]),
            two_ways,
            stop: None,
        }
    }

    fn add_device(&mut self, index: i64, random: &mut Random) {
        let hub: Arc<str> = random.pick(&["hub-a", "hub-a", "hub-b"]).into();
        let rule = random.index(2);
        let device = format!("{}-{index}", ["fast", "slow"][rule]);
        let partition = random.index(self.kinds.len());
        let person = |device: String, module: Option<String>, rule: usize| Person {
            hub: hub.clone(),
            device,
            module,
            window_ms: self.window_ms[rule],
            grace_ms: self.grace_ms[rule],
            partition,
        };
        let module = random.permille(200);
        let people = [
            Some(person(device.clone(), None, rule)),
            module.then(|| person(device, Some("sensor".to_owned()), 2)),
        ];
        self.people.extend(people.into_iter().flatten());
    }

    /// The rules of one life of the process.
    pub fn policy(&self, scale_percent: i64) -> Policy {
        let terms = |rule: usize| Terms {
            window_ms: self.window_ms[rule] * scale_percent / 100,
            grace_ms: self.grace_ms[rule],
            first_window_ms: self.first_window_ms * scale_percent / 100,
            proof_of_life: ProofOfLife::Any,
        };
        let rule = |device: &str, module: Option<&str>, rule: usize| Rule {
            hub: None,
            device: Pattern::Glob(device.into()),
            module: module.map(|module| Pattern::Exact(module.into())),
            terms: terms(rule),
        };
        Policy {
            default: terms(1),
            rules: vec![rule("fast-*", None, 0), rule("*", Some("sensor"), 2)],
            conditions: Vec::new(),
        }
    }

    pub fn fact(&mut self, identity: usize, kind: SignalKind, generation: u64, event_ms: i64) {
        self.facts.push(Fact { identity, kind, generation, event_ms, lost: 0, ways: 0 });
    }

    /// The life of one identity.
    fn live(&mut self, who: usize, random: &mut Random) {
        let has_module = self
            .people
            .iter()
            .any(|other| other.module.is_some() && other.device == self.people[who].device);
        let person = self.people[who].clone();
        let window_ms = person.window_ms;
        let interval_ms = window_ms * random.range(35, 85) / 100;
        let may_die = !has_module && person.module.is_none();
        let is_probe = self.people.iter().position(|p| p.partition == person.partition)
            == Some(who)
            && !has_module;
        let mut generation = u64::try_from(who).unwrap_or(0) * 100 + 1;
        let mut now_ms = random.range(0, 5_000);
        if random.permille(600) {
            self.fact(who, SignalKind::Created, generation, now_ms);
            now_ms += random.range(50, window_ms);
            if random.permille(120) && !is_probe {
                return; // never heard
            }
        }
        loop {
            let until_ms = now_ms + window_ms * random.range(1, 7);
            now_ms = self.beat(
                who,
                generation,
                now_ms,
                until_ms.min(self.settle_ms),
                interval_ms,
                random,
            );
            if now_ms >= self.settle_ms {
                break;
            }
            match random.range(0, 10) {
                0 if may_die => {
                    self.fact(who, SignalKind::Deleted, generation, now_ms);
                    if random.permille(400) && !is_probe {
                        return;
                    }
                    now_ms += random.range(100, 3 * window_ms);
                    generation += 1;
                    self.fact(who, SignalKind::Created, generation, now_ms);
                    now_ms += random.range(50, 2 * window_ms);
                }
                1 | 2 => now_ms += random.range(window_ms / 2, window_ms + person.grace_ms),
                _ => now_ms += window_ms * random.range(10, 50) / 10,
            }
        }
        let end_ms = self.end_ms;
        if is_probe {
            let silent_ms = self.settle_ms + 14_000;
            now_ms = self.beat(who, generation, now_ms, silent_ms, interval_ms, random);
            now_ms += window_ms + person.grace_ms + 5_000;
            self.beat(who, generation, now_ms, end_ms, interval_ms, random);
        } else if random.permille(500) {
            self.beat(who, generation, now_ms, end_ms, interval_ms, random);
        } else if random.permille(200) && may_die {
            self.fact(who, SignalKind::Deleted, generation, now_ms);
        }
    }

    pub fn beat(
        &mut self,
        who: usize,
        generation: u64,
        from_ms: i64,
        until_ms: i64,
        interval_ms: i64,
        random: &mut Random,
    ) -> i64 {
        let mut now_ms = from_ms;
        while now_ms < until_ms {
            self.fact(who, SignalKind::Telemetry, generation, now_ms);
            now_ms += interval_ms * random.range(85, 115) / 100;
        }
        now_ms
    }

    /// Puts everything on its way.
    fn route(&mut self, random: &mut Random) {
        let base_ms = random.pick(&[20, 100, 400]);
        let count = self.kinds.len();
        let moves: Vec<(i64, i64)> = self
            .people
            .iter()
            .map(|_| (random.range(0, self.settle_ms), random.range(0, 4)))
            .collect();
        for index in 0..self.facts.len() {
            let fact = self.facts[index].clone();
            let first = self.people[fact.identity].partition;
            let second = (first + 1) % count;
            let (at_ms, how) = moves[fact.identity];
            let targets = match how {
                _ if !self.two_ways || fact.kind != SignalKind::Telemetry => vec![first],
                0 if fact.event_ms >= at_ms => vec![second],
                1 => vec![first, second],
                2 if random.permille(500) => vec![second],
                _ => vec![first],
            };
            for target in targets {
                self.facts[index].ways |= 1 << target;
                let is_late = self.late && fact.event_ms < self.settle_ms;
                let lag_ms = lag_ms(is_late, base_ms, random);
                let sent = Sent {
                    fact: Some(index),
                    event_ms: fact.event_ms,
                    append_ms: fact.event_ms + lag_ms,
                    hostile: false,
                    repeated: false,
                };
                self.sent[target].push(sent);
                if random.permille(20) {
                    let again_ms = fact.event_ms + random.range(lag_ms, 901.max(lag_ms + 1));
                    self.sent[target].push(Sent { append_ms: again_ms, repeated: true, ..sent });
                }
            }
        }
        for target in 0..count {
            self.fill(target, random);
            self.sent[target].sort_by_key(|sent| sent.append_ms);
        }
    }

    /// What is sent while the route stands still arrives after it, or never.
    fn stop_route(&mut self) {
        let Some(stop) = self.stop else { return };
        for sent in &mut self.sent {
            sent.retain_mut(|message| {
                let arrival_ms = stop.arrival(message.event_ms, message.append_ms);
                if let (None, Some(fact), false) = (arrival_ms, message.fact, message.repeated) {
                    self.facts[fact].lost += 1;
                }
                message.append_ms = arrival_ms.unwrap_or(message.append_ms);
                arrival_ms.is_some()
            });
            sent.sort_by_key(|message| message.append_ms);
        }
    }

    /// Messages about nobody.
    fn fill(&mut self, target: usize, random: &mut Random) {
        let proves = match self.kinds[target] {
            Kind::Log => true,
            Kind::Queue { proves } => proves,
        };
        let every_ms = match (proves, random.range(0, 3)) {
            (false, _) => 400,
            (true, 0) => 600,
            (true, _) => 1_000_000,
        };
        let mut now_ms = random.range(0, every_ms);
        while now_ms < self.end_ms {
            let append_ms = now_ms + random.range(5, 300);
            self.sent[target].push(Sent {
                fact: None,
                event_ms: now_ms,
                append_ms,
                hostile: false,
                repeated: false,
            });
            now_ms += random.range(every_ms / 2, every_ms * 3 / 2);
        }
        if random.permille(100) {
            let append_ms = random.range(0, self.settle_ms);
            let event_ms = append_ms + 900_000;
            self.sent[target].push(Sent {
                fact: None,
                event_ms,
                append_ms,
                hostile: true,
                repeated: false,
            });
        }
    }
}

fn lag_ms(is_late: bool, base_ms: i64, random: &mut Random) -> i64 {
    if is_late && random.permille(20) {
        return random.range(900, 9_000);
    }
    match random.range(0, 10) {
        0 => random.range(5, 900),
        _ => random.range(5, base_ms),
    }
}

/// Each kind of fault is off in many worlds, so that some are seen without the others.
fn faults(random: &mut Random) -> Faults {
    let mut rate = |high: i64| match random.range(0, 10) {
        0..5 => 0,
        5..8 => high / 4,
        _ => high,
    };
    Faults {
        crash: rate(200),
        long_down: rate(500),
        zombie: rate(500),
        link: rate(200),
        pause: rate(60),
        broker_down: rate(60),
        reset: rate(40),
        put_lost: rate(150),
        put_late: rate(150),
        full: rate(60),
        tear: rate(500),
        receiver: rate(150),
        other: rate(60),
        wall: rate(60),
    }
}
