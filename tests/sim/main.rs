//! A simulator of everything around a partition's journal and engine: devices, routes, brokers, stores, clocks, receivers and
//! crashes, all from one seed, in virtual time; and an oracle that knows only what was sent.
//!
//! `SIM_SEEDS` (20,000) worlds are run from `SIM_FIRST` (0) on. `SIM_SEED=n` runs one of them, and tells what happened in
//! it if something is wrong. `SIM_BUG=Name` plants only that bug. One world in `SIM_FLEETS` (12; 0: none) has a fleet and a route that
//! stops for a while. Seeds that once failed, or show a planted mistake, stand in `seeds.txt` and are always run.
#![expect(
    unreachable_pub,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    reason = "a test says what it found, and fails as tests do"
)]

mod broker;
mod bug;
mod disk;
mod fleet;
mod oracle;
mod plan;
mod process;
mod random;
mod sink;
mod trace;
mod world;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use bug::Bug;
use oracle::Figures;
use plan::Plan;
use trace::Mode;
use world::Outcome;

/// How many worlds a planted bug may hide in.
const SEEDS_PER_BUG: u64 = 3_000;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A world: its number, and one in how many has a fleet and a route that stops (0: none).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Seed {
    number: u64,
    fleet_every: i64,
}

impl Seed {
    fn new(number: u64) -> Self {
        Self { number, fleet_every: self::number("SIM_FLEETS", 12).cast_signed() }
    }

    fn plan(self) -> Plan {
        Plan::new(self.number, self.fleet_every)
    }
}

impl std::fmt::Display for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SIM_FLEETS={} SIM_SEED={}", self.fleet_every, self.number)
    }
}

fn try_world(plan: Plan, bug: Option<Bug>, mode: Mode) -> (Result<Figures, String>, Outcome) {
    let (result, outcome) = world::run(plan, bug, mode);
    (result.and_then(|()| oracle::judge(&outcome)), outcome)
}

/// Sums over all worlds.
#[derive(Debug, Default)]
struct Sums {
    seeds: usize,
    failures: Vec<(Seed, String)>,
    crashes: usize,
    attaches: usize,
    gaps: usize,
    outages: usize,
    told: usize,
    repeats: usize,
}

impl Sums {
    fn add(&mut self, seed: Seed, result: Result<Figures, String>, outcome: &Outcome) {
        self.seeds += 1;
        self.crashes += outcome.crashes;
        self.attaches += outcome.attaches;
        self.gaps += outcome.gaps;
        self.repeats += outcome.repeats;
        match result {
            Ok(figures) => {
                self.outages += figures.outages;
                self.told += figures.told;
            }
            Err(error) => self.failures.push((seed, error)),
        }
    }
}

fn run_seeds(seeds: &[Seed]) -> Sums {
    let sums = Mutex::new(Sums::default());
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(&seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                    let (result, outcome) = try_world(seed.plan(), None, Mode::Off);
                    sums.lock().expect("no panic while it is held").add(seed, result, &outcome);
                }
            });
        }
    });
    sums.into_inner().expect("all threads have ended")
}

fn kept_seeds() -> Vec<Seed> {
    let seed = |line: &str| {
        let mut words = line.split_whitespace();
        let number = words.next()?.parse().ok()?;
        let fleet_every = match words.next()? {
            "plain" => 0,
            "fleet" => 1,
            _ => return None,
        };
        Some(Seed { number, fleet_every })
    };
    let lines = include_str!("seeds.txt").lines();
    lines.map(|line| seed(line).expect("a number, and plain or fleet")).collect()
}

#[test]
fn nothing_false_is_told_nothing_is_left_untold_and_nothing_is_told_twice() {
    if let Ok(seed) = std::env::var("SIM_SEED") {
        let seed = Seed::new(seed.parse().expect("a number"));
        let (result, outcome) = try_world(seed.plan(), None, Mode::Words);
        if let Err(error) = result {
            for line in &outcome.trace.lines {
                println!("{line}");
            }
            panic!("{error}\n{seed}");
        }
        return;
    }
    let first = number("SIM_FIRST", 0);
    let mut seeds = kept_seeds();
    let numbers = first..first + number("SIM_SEEDS", 20_000);
    seeds.extend(numbers.map(Seed::new));
    let sums = run_seeds(&seeds);
    println!(
        "sim: seeds={} failures={} crashes={} attaches={} gaps={} outages={} told={} repeats={}",
        sums.seeds,
        sums.failures.len(),
        sums.crashes,
        sums.attaches,
        sums.gaps,
        sums.outages,
        sums.told,
        sums.repeats
    );
    let mut failures = sums.failures;
    failures.sort();
    if std::env::var("SIM_LIST").is_ok() {
        for (seed, error) in &failures {
            let plan = seed.plan();
            let (kinds, ways) = (&plan.kinds, plan.two_ways);
            let error: String =
                error.lines().next().unwrap_or_default().chars().take(100).collect();
            println!(
                "{seed} {error} {kinds:?} two_ways={ways} late={} {:?} {:?}",
                plan.late, plan.stop, plan.faults
            );
        }
    }
    if let Some((seed, error)) = failures.first() {
        panic!("{} worlds failed; the first: {error}\n{seed}", failures.len());
    }
}

#[test]
fn the_same_seed_gives_the_same_world_event_by_event() {
    for seed in 0..100 {
        let seed = Seed::new(seed);
        let hash = || try_world(seed.plan(), None, Mode::Hash).1.trace.hash;
        assert_eq!(hash(), hash(), "{seed}");
    }
}

#[test]
fn every_planted_bug_is_found() {
    if std::env::var("SIM_SEED").is_ok() {
        return;
    }
    let wanted = std::env::var("SIM_BUG").unwrap_or_default();
    let bugs: Vec<Bug> =
        Bug::ALL.into_iter().filter(|bug| format!("{bug:?}").contains(&wanted)).collect();
    let next = AtomicU64::new(0);
    let found = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(&bug) = bugs.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                    let new = (0..SEEDS_PER_BUG).map(|number| match bug.is_about_routes() {
                        true => Seed { number, fleet_every: 1 },
                        false => Seed::new(number),
                    });
                    let seed = kept_seeds().into_iter().chain(new).find_map(|seed| {
                        let (result, _) = try_world(seed.plan(), Some(bug), Mode::Off);
                        let error = result.err()?;
                        let (without, _) = try_world(seed.plan(), None, Mode::Off);
                        without.is_ok().then_some((seed, error))
                    });
                    found.lock().expect("no panic while it is held").push((bug, seed));
                }
            });
        }
    });
    let found = found.into_inner().expect("all threads have ended");
    let mut missed = Vec::new();
    for (bug, seed) in &found {
        match seed {
            Some((seed, error)) => {
                let error = error.lines().next().unwrap_or_default();
                println!("planted: {bug:?} is found by {seed}: {error}");
            }
            None => missed.push(bug),
        }
    }
    assert!(missed.is_empty(), "not found in {SEEDS_PER_BUG} worlds: {missed:?}");
}
