//! Everything around the program: broker, fleet, receiver, links. It outlives every life of the program.

use std::time::Duration;

use lastseen::clock;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::fleet::{CANARY, Fleet, Mode};
use super::oracle::{Budget, Healthy, Terms, Verdict, Violation, judge};
use super::proxy::{Fault, Proxy};
use super::random::Random;
use super::receiver::{Receiver, SECRET, Script};
use super::supervisor::{Signal, Supervisor};
use super::within;

mod report;
mod setup;

pub(crate) use setup::{Options, Route};
use setup::{ServedHub, configuration};

/// Short, so that many outages fit into a campaign; and so long that a busy machine does not cause any: neither silence nor,
/// by an attach that takes longer than `bridge`, a gap.
pub(crate) const TERMS: Terms =
    Terms { window_ms: 1_000, grace_ms: 1_000, first_window_ms: 2_000, bridge_ms: 1_000 };
/// The hub's one task stamps everything, so hardly anything is out of order.
const ALLOWANCE_MS: i64 = 200;
/// Start, attach, and the backlog of the longest downtime, on a busy machine and in a debug build.
const RECOVERY_MS: i64 = 2_500;
/// Allowance and tick, a commit, a request; most of it is for a busy machine.
const TELL_MS: i64 = 1_500;
/// What can have been delivered and not yet be marked as done when the program is killed: four requests under way, and
/// those of the last group of records.
const REPEATS_PER_KILL: u64 = 8;
/// A receiver that failed twice is tried again after 1 s and 5 s, each up to a fifth longer.
const RETRY_MS: i64 = 7_500;
/// The first waits between attempts to connect.
const RECONNECT_MS: i64 = 1_500;
/// Far above what anything here takes; a wait that reaches it is a failure.
pub(crate) const LIMIT: Duration = Duration::from_secs(90);
/// Violations of each kind that are printed in full.
const SHOWN: usize = 6;

/// Campaigns want the machine for themselves.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// A number from the environment.
pub(crate) fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// How many cycles a campaign has.
pub(crate) fn cycles(default: u64) -> u64 {
    setting("CAMPAIGN_CYCLES").unwrap_or(default)
}

/// The stage of one campaign.
pub(crate) struct World {
    name: &'static str,
    seed: u64,
    /// For the plan of the campaign; the fleet draws from generators of its own.
    pub(crate) random: Random,
    pub(crate) fleet: Fleet,
    pub(crate) receiver: Receiver,
    pub(crate) program: Supervisor,
    /// Between the program and its broker, if that is the embedded hub.
    pub(crate) to_broker: Option<Proxy>,
    pub(crate) to_receiver: Proxy,
    healthy: Healthy,
    budget: Budget,
    pub(crate) kills: u64,
    cycle: u64,
    history: Vec<(i64, String)>,
    shown: usize,
    began: Instant,
    _hub: Option<ServedHub>,
    _alone: MutexGuard<'static, ()>,
}

impl World {
    /// A world with the embedded hub, in which one outage has been told already and the fleet follows its schedule.
    pub(crate) async fn with_hub(options: Options) -> Self {
        let alone = ONE_AT_A_TIME.lock().await;
        let served = ServedHub::start(4).await;
        let to_broker = Proxy::start(served.address).await;
        let route = served.route(to_broker.address);
        let mut world = Self::build(options, route, alone).await;
        world._hub = Some(served);
        world.to_broker = Some(to_broker);
        world.warm_up().await;
        world
    }

    /// The same with another broker.
    pub(crate) async fn with_route(options: Options, route: impl Future<Output = Route>) -> Self {
        let alone = ONE_AT_A_TIME.lock().await;
        let mut world = Self::build(options, route.await, alone).await;
        world.warm_up().await;
        world
    }

    async fn build(options: Options, route: Route, alone: MutexGuard<'static, ()>) -> Self {
        let seed = setting("CAMPAIGN_SEED").unwrap_or_else(|| u64::from(rand::random::<u32>()));
        let receiver = Receiver::start(options.ignores_time).await;
        let to_receiver = Proxy::start(receiver.address).await;
        let yaml = configuration(&options, &route.source, to_receiver.address);
        let (file, content) = (&route.secret.0, &route.secret.1);
        let mut program = Supervisor::new(&yaml, &[("ops.whsec", SECRET), (file, content)]);
        for (name, value) in &options.environment {
            program.set(name, value);
        }
        println!("campaign {}: CAMPAIGN_SEED={seed}", options.name);
        Self {
            name: options.name,
            seed,
            random: Random::split(seed, u64::MAX),
            fleet: Fleet::start(route.carrier, TERMS, seed),
            receiver,
            program,
            to_broker: None,
            to_receiver,
            healthy: Healthy::default(),
            budget: Budget {
                promise: options.promise,
                recovery_ms: RECOVERY_MS,
                tell_ms: TELL_MS + options.allowance_ms - ALLOWANCE_MS,
                raw_repeats: 0,
            },
            kills: 0,
            cycle: 0,
            history: Vec::new(),
            shown: 0,
            began: Instant::now(),
            _hub: None,
            _alone: alone,
        }
    }

    async fn warm_up(&mut self) {
        self.launch();
        self.wait_ready().await;
        let outage = self.fresh_outage().await;
        assert_eq!(outage, Ok(()), "before any fault; log:\n{}", self.program.log());
        self.fleet.enter(Mode::Scheduled);
    }

    async fn wait_ready(&mut self) {
        let program = &mut self.program;
        let ready = within(LIMIT, || {
            program.assert_running();
            program.is_ready()
        });
        assert!(ready.await, "it is ready within {LIMIT:?}; log:\n{}", self.program.log());
    }

    /// A device falls silent and returns, and both are told.
    async fn fresh_outage(&self) -> Result<(), &'static str> {
        let is_open = || self.receiver.told(|told| told.is_open(CANARY));
        let is_known = || self.fleet.truth(|truth| truth.devices().any(|name| name == CANARY));
        if !within(LIMIT, is_known).await {
            return Err("the fleet does not beat");
        }
        self.fleet.silence_canary();
        let told = within(LIMIT, is_open).await;
        self.fleet.revive_canary();
        if !told {
            return Err("a fresh outage is not told");
        }
        if !within(LIMIT, || !is_open()).await {
            return Err("a fresh recovery is not told");
        }
        Ok(())
    }

    /// Takes note of what is done to the program.
    pub(crate) fn log(&mut self, what: impl Into<String>) {
        self.history.push((clock::wall().as_ms(), what.into()));
    }

    /// Says that everything works from now on, or not any more.
    pub(crate) fn works(&mut self, works: bool) {
        self.healthy.set(works, clock::wall().as_ms());
    }

    pub(crate) fn launch(&mut self) {
        self.program.launch();
        self.log("launched");
        self.works(true);
    }

    /// Starts it so that it ends itself at a named point.
    pub(crate) fn launch_to_abort_at(&mut self, point: &str, passing: i64) {
        self.program.launch_to_abort_at(point, passing);
        self.log(format!("launched to abort at {point}:{passing}"));
        self.works(true);
    }

    pub(crate) fn kill(&mut self) {
        self.program.kill();
        self.ended("killed");
    }

    /// The program is not running any more, and may have left something half done.
    pub(crate) fn ended(&mut self, how: &str) {
        self.log(how);
        self.works(false);
        self.kills += 1;
        self.budget.raw_repeats += REPEATS_PER_KILL;
    }

    /// Halts the program for a while, as a machine that is suspended does.
    pub(crate) async fn halt(&mut self, span: Duration) {
        self.works(false);
        self.program.signal(Signal::Stop);
        self.log("halted");
        tokio::time::sleep(span).await;
        self.program.signal(Signal::Continue);
        self.log("goes on");
        // A request that was under way is past its time-out now, and is repeated.
        self.budget.raw_repeats += REPEATS_PER_KILL;
        self.healthy.set(true, clock::wall().as_ms() + RETRY_MS);
    }

    /// Breaks the link to the broker for a while; no time at all breaks the connections that there are.
    pub(crate) async fn broker_link(&mut self, fault: Fault, span: Duration) {
        self.works(false);
        self.log(format!("link to the broker: {fault:?}"));
        let link = self.to_broker.as_ref().expect("a link to the embedded hub");
        break_link(link, fault, span).await;
        self.log("link to the broker: Pass");
        self.wait_ready().await;
        self.works(true);
    }

    /// Breaks the connections to the broker that there are; it is not waited until they are there again.
    pub(crate) fn broker_link_breaks(&mut self, fault: Fault) {
        self.works(false);
        self.log(format!("link to the broker: {fault:?} once"));
        let link = self.to_broker.as_ref().expect("a link to the embedded hub");
        if fault == Fault::Reset {
            link.reset()
        } else {
            link.cut()
        }
        self.healthy.set(true, clock::wall().as_ms() + RECONNECT_MS);
    }

    /// The same with the link to the receiver.
    pub(crate) async fn receiver_link(&mut self, fault: Fault, span: Duration) {
        self.works(false);
        self.log(format!("link to the receiver: {fault:?}"));
        break_link(&self.to_receiver, fault, span).await;
        self.log("link to the receiver: Pass");
        // Answers that were on their way are lost.
        self.budget.raw_repeats += REPEATS_PER_KILL;
        self.healthy.set(true, clock::wall().as_ms() + RETRY_MS);
    }

    /// Lets the receiver fail in some way for a while.
    pub(crate) async fn receiver_fails(&mut self, script: Script, span: Duration) {
        self.works(false);
        self.log(format!("receiver: {script:?}"));
        self.receiver.follow(script);
        tokio::time::sleep(span).await;
        self.receiver.follow(Script::Take);
        self.log("receiver: Take");
        self.healthy.set(true, clock::wall().as_ms() + RETRY_MS);
    }

    /// Ends a cycle: says what it was, and what has been found wrong since the last one.
    pub(crate) fn close_cycle(&mut self, what: &str) {
        self.cycle += 1;
        let (name, cycle, seed) = (self.name, self.cycle, self.seed);
        println!("campaign {name}: cycle {cycle}: {what}");
        let verdict = self.verdict();
        let wrong: Vec<&Violation> = verdict
            .violations
            .iter()
            .filter(|v| !matches!(v, Violation::Lost(_) | Violation::Unresolved(_)))
            .collect();
        for violation in wrong.iter().skip(self.shown).take(SHOWN) {
            println!("campaign {name}: CAMPAIGN_SEED={seed} cycle {cycle}: {violation}");
        }
        self.shown = self.shown.max(wrong.len());
    }

    pub(crate) fn verdict(&self) -> Verdict {
        let now_ms = clock::wall().as_ms();
        self.receiver.told(|told| {
            self.fleet.truth(|truth| judge(truth, told, &self.healthy, &self.budget, now_ms))
        })
    }

    /// No faults any more: what is owed is told, a fresh outage and its end still travel, and then nothing else comes.
    /// Prints the ledger line, and fails if anything is wrong.
    pub(crate) async fn settle(mut self, figures: &str) {
        self.receiver.follow(Script::Take);
        self.to_receiver.set(Fault::Pass);
        if let Some(to_broker) = &self.to_broker {
            to_broker.set(Fault::Pass);
        }
        self.fleet.enter(Mode::Settled);
        if !self.program.is_running() {
            self.launch();
        }
        self.works(true);
        self.log("settling");
        self.wait_ready().await;
        // Fresh for this life of the program: it has heard the device.
        tokio::time::sleep(Duration::from_millis(TERMS.due_ms().unsigned_abs())).await;
        let liveness = self.fresh_outage().await;
        within(LIMIT, || self.verdict().debts() == 0).await;
        let paths_end = within(LIMIT, || self.verdict().paths_open == 0).await;
        let liveness = liveness.and(match paths_end {
            true => Ok(()),
            false => Err("an alert about a source is never resolved"),
        });
        let quiet = 2 * TERMS.due_ms() + self.budget.recovery_ms + self.budget.tell_ms;
        tokio::time::sleep(Duration::from_millis(quiet.unsigned_abs())).await;
        self.program.assert_running();
        self.conclude(figures, liveness);
    }
}

async fn break_link(link: &Proxy, fault: Fault, span: Duration) {
    match fault {
        Fault::Cut if span.is_zero() => link.cut(),
        Fault::Reset if span.is_zero() => link.reset(),
        Fault::Cut
        | Fault::Reset
        | Fault::Pass
        | Fault::Delay(_)
        | Fault::Throttle(_)
        | Fault::BlackHole => {
            link.set(fault);
            tokio::time::sleep(span).await;
            link.set(Fault::Pass);
        }
    }
}
