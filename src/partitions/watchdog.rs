//! Sends the watchdog, as long as there is evidence that every stage makes progress.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Partitions;
use super::ledger::LedgerStore;
use crate::alert::watchdog::Watchdog;
use crate::config::WatchdogConfig;
use crate::engine::{BlindReason, Millis, State, Timestamp};
use crate::journal::Moment;

/// A worker that has not come round, or an entry that is not durable, for this long makes no progress: the shortest
/// interval of a watchdog, so that at most one of them is sent after it.
const STUCK_MS: Millis = 10_000;
/// A snapshot of a million identities is written in well under a second; an object store may take its time.
const SNAPSHOT_STUCK_MS: Millis = 60_000;

/// What makes no progress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stuck {
    /// Verdicts are held.
    Held(BlindReason),
    /// A partition's worker: source and partition.
    Worker(Arc<str>, Arc<str>),
    /// The writer of a journal of this source.
    Writer(String),
}

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held(reason) => write!(f, "verdicts are held: {}", reason.as_str()),
            Self::Worker(source, partition) => {
                write!(f, "source {source}: the worker of partition {partition} makes no progress")
            }
            Self::Writer(source) => write!(f, "source {source}: a journal is not written"),
        }
    }
}

/// Sends the watchdog.
pub struct Watchman {
    partitions: Arc<Partitions>,
    interval_ms: Millis,
    sinks: Vec<Arc<str>>,
    /// Boot time of the next one, in ms.
    due_ms: Millis,
    /// Why it is not sent, as far as that was logged.
    stuck: Option<Stuck>,
}

impl Watchman {
    /// The first one is due after an interval: a process that ends soon after each start is none that works.
    pub fn new(partitions: Arc<Partitions>, config: WatchdogConfig, now_ms: Millis) -> Self {
        let WatchdogConfig { interval_ms, sinks } = config;
        let all = || partitions.environment.router.names().to_vec();
        let sinks = if sinks.is_empty() { all() } else { sinks };
        let due_ms = now_ms.saturating_add(interval_ms);
        Self { partitions, interval_ms, sinks, due_ms, stuck: None }
    }

    /// Sends it if it is due, about once a second. One that could not be sent in time is sent as soon as it can.
    pub fn look(&mut self, now: Moment) {
        if now.boot_ms < self.due_ms {
            return;
        }
        let stuck = self.partitions.stuck(now.boot_ms);
        if let Some(stuck) = &stuck
            && self.stuck.as_ref() != Some(stuck)
        {
            tracing::warn!(%stuck, "the watchdog is not sent");
        }
        self.stuck = stuck;
        if self.stuck.is_none() {
            self.due_ms = now.boot_ms.saturating_add(self.interval_ms);
            let watchdog = self.partitions.watchdog(self.interval_ms, now.wall);
            let told = self.partitions.fleet().tell_watchdog(watchdog, &self.sinks);
            if told < self.sinks.len() {
                tracing::warn!(
                    told,
                    sinks = self.sinks.len(),
                    "some sinks still owe the watchdog before and are not given another"
                );
            }
        }
    }
}

impl Partitions {
    /// The first stage that makes no progress.
    pub(super) fn stuck(&self, now_ms: Millis) -> Option<Stuck> {
        if let Some(reason) = self.pulse.held(now_ms) {
            return Some(Stuck::Held(reason));
        }
        for shared in self.shared() {
            let alive_ms = shared.alive_ms.load(Ordering::Acquire);
            if now_ms.saturating_sub(alive_ms) >= STUCK_MS {
                let key = &shared.key;
                return Some(Stuck::Worker(key.source.clone(), key.partition.clone()));
            }
        }
        let is_late = |due_ms: Millis| now_ms.saturating_sub(due_ms) >= STUCK_MS;
        let ledgers = self.environment.router.ledgers().all();
        let stuck = ledgers
            .iter()
            .find(|ledger| ledger.due_ms().is_some_and(is_late) || ledger.store().is_stuck(now_ms));
        stuck.map(|ledger| Stuck::Writer(ledger.source().to_owned()))
    }

    /// What the watchdog says.
    fn watchdog(&self, interval_ms: Millis, wall: Timestamp) -> Watchdog {
        let view = self.view();
        let mut identities = [0; State::ALL.len()];
        for partition in &view {
            for (sum, count) in identities.iter_mut().zip(partition.stats.identities) {
                *sum += count;
            }
        }
        let clocks = view.iter().map(|partition| partition.stats.clock);
        let oldest = clocks.filter(|clock| *clock > Timestamp::MIN).min();
        let owed = self.environment.router.ledgers().all().into_iter();
        let verdicts =
            self.shared().into_iter().map(|of| of.last_verdict_ms.load(Ordering::Acquire));
        Watchdog {
            sequence: 0,
            sent_at: wall,
            interval_ms,
            partitions: view.len() as u64,
            oldest_clock_age_ms: oldest.map(|clock| wall.since(clock)),
            identities,
            waiting_messages: owed.map(|ledger| ledger.owed().1 as u64).sum(),
            last_verdict_at: verdicts.filter(|ms| *ms > 0).max().map(Timestamp::from_ms),
        }
    }
}

impl LedgerStore {
    fn is_stuck(&self, now_ms: Millis) -> bool {
        let since = |begun: &std::sync::atomic::AtomicI64| {
            let since_ms = begun.load(Ordering::Acquire);
            if since_ms > 0 { now_ms.saturating_sub(since_ms) } else { 0 }
        };
        since(&self.writing_since_ms) >= STUCK_MS
            || since(&self.snapshot_since_ms) >= SNAPSHOT_STUCK_MS
    }
}

#[cfg(test)]
mod tests;
