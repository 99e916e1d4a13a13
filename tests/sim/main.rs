//! A simulator of everything around a partition's journal and engine: devices, routes, brokers, stores, clocks, receivers and
//! crashes, all from one seed, in virtual time; and an oracle that knows only what was sent.
//!
//! `SIM_SEEDS` (20,000) worlds are run from `SIM_FIRST` (0) on. `SIM_SEED=n` runs one of them, and tells what happened in
//! it if something is wrong. `SIM_BUG=Name` plants only that bug. Seeds that once failed stand in `seeds.txt` and are always run.
//!
//! With `SIM_FLEETS=1` an eighth of the worlds have a fleet and a route that stops for a while. A few in a thousand of those still
//! end wrong, so they are not run by default; what they found is kept by tests of the engine (`engine/tests/route.rs`).
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

/// Whether an eighth of the worlds are to have a fleet and a route that stops.
fn with_fleets() -> bool {
    std::env::var("SIM_FLEETS").is_ok()
}

fn try_seed(seed: u64, bug: Option<Bug>, mode: Mode) -> (Result<Figures, String>, Outcome) {
    try_world(Plan::new(seed, with_fleets()), bug, mode)
}

fn try_world(plan: Plan, bug: Option<Bug>, mode: Mode) -> (Result<Figures, String>, Outcome) {
    let (result, outcome) = world::run(plan, bug, mode);
    (result.and_then(|()| oracle::judge(&outcome)), outcome)
}

/// Sums over all worlds.
#[derive(Debug, Default)]
struct Sums {
    seeds: usize,
    failures: Vec<(u64, String)>,
    crashes: usize,
    attaches: usize,
    gaps: usize,
    outages: usize,
    told: usize,
    repeats: usize,
}

impl Sums {
    fn add(&mut self, seed: u64, result: Result<Figures, String>, outcome: &Outcome) {
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

fn run_seeds(seeds: &[u64]) -> Sums {
    let sums = Mutex::new(Sums::default());
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(&seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                    let (result, outcome) = try_seed(seed, None, Mode::Off);
                    sums.lock().expect("no panic while it is held").add(seed, result, &outcome);
                }
            });
        }
    });
    sums.into_inner().expect("all threads have ended")
}

fn kept_seeds() -> Vec<u64> {
    let lines = include_str!("seeds.txt").lines();
    let numbers = lines.filter_map(|line| line.split_whitespace().next());
    numbers.filter_map(|number| number.parse().ok()).collect()
}

#[test]
fn nothing_false_is_told_nothing_is_left_untold_and_nothing_is_told_twice() {
    if let Ok(seed) = std::env::var("SIM_SEED") {
        let seed = seed.parse().expect("a number");
        let (result, outcome) = try_seed(seed, None, Mode::Words);
        if let Err(error) = result {
            for line in &outcome.trace.lines {
                println!("{line}");
            }
            panic!("{error}\nSIM_SEED={seed}");
        }
        return;
    }
    let first = number("SIM_FIRST", 0);
    let mut seeds = kept_seeds();
    seeds.extend(first..first + number("SIM_SEEDS", 20_000));
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
            let plan = Plan::new(*seed, with_fleets());
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
        panic!("{} worlds failed; the first: {error}\nSIM_SEED={seed}", failures.len());
    }
}

#[test]
fn the_same_seed_gives_the_same_world_event_by_event() {
    for seed in 0..100 {
        let hash = || try_seed(seed, None, Mode::Hash).1.trace.hash;
        assert_eq!(hash(), hash(), "SIM_SEED={seed}");
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
                    let fleets = bug.is_about_routes() || with_fleets();
                    let seed = (0..SEEDS_PER_BUG).find_map(|seed| {
                        let plan = || Plan::new(seed, fleets);
                        let (result, _) = try_world(plan(), Some(bug), Mode::Off);
                        let error = result.err()?;
                        let (without, _) = try_world(plan(), None, Mode::Off);
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
                println!("planted: {bug:?} is found by world {seed}: {error}");
            }
            None => missed.push(bug),
        }
    }
    assert!(missed.is_empty(), "not found in {SEEDS_PER_BUG} worlds: {missed:?}");
}
