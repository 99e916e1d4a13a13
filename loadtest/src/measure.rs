//! Lets a fleet live beside whatever watches over it, and measures that from outside.

use std::time::Duration;

use anyhow::Context;
use lastseen::clock::Stopwatch;
use lastseen::devhub::hub::Hub;
use lastseen::engine::{Millis, Timestamp};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::carrier::Carrier;
use crate::judge::{Told, Verdict};
use crate::pace::Pace;
use crate::plan::Plan;
use crate::profile::Profile;
use crate::progress::Progress;
use crate::report::Flood;
use crate::vitals::Vitals;

/// Between two samples.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);

/// From now to the first heartbeat.
const START_IN_MS: Millis = 200;

/// Watches over a fleet.
pub(crate) trait Watcher {
    /// What its process takes.
    fn vitals(&self) -> anyhow::Result<Vitals>;
    /// What it has told so far.
    fn told(&self) -> Vec<Told>;
    /// An error if it can't go on.
    fn check(&mut self) -> anyhow::Result<()>;
}

/// A moment of a run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sample {
    pub(crate) at_ms: Millis,
    /// Heartbeats sent so far.
    pub(crate) heartbeats: u64,
    pub(crate) vitals: Vitals,
}

/// What came of it.
pub(crate) struct Measured {
    /// Before the first heartbeat, every second, and at the end.
    pub(crate) samples: Vec<Sample>,
    /// The 99th percentile and the maximum of how late heartbeats were sent.
    pub(crate) late_ms: (u64, u64),
}

impl Measured {
    fn first_and_last(&self) -> (Sample, Sample) {
        let ends = self.samples.first().zip(self.samples.last());
        ends.map(|(first, last)| (*first, *last)).unwrap_or_default()
    }

    /// Between the first sample and the last.
    pub(crate) fn span_ms(&self) -> u64 {
        let (first, last) = self.first_and_last();
        (last.at_ms - first.at_ms).unsigned_abs().max(1)
    }

    pub(crate) fn heartbeats(&self) -> u64 {
        self.first_and_last().1.heartbeats
    }

    pub(crate) fn cpu_ns(&self) -> u64 {
        let (first, last) = self.first_and_last();
        last.vitals.cpu_ns.saturating_sub(first.vitals.cpu_ns)
    }

    pub(crate) fn cpu_ns_per_heartbeat(&self) -> u64 {
        self.cpu_ns() / self.heartbeats().max(1)
    }

    /// At the end.
    pub(crate) fn resident_bytes(&self) -> u64 {
        self.first_and_last().1.vitals.resident_bytes
    }

    /// What the fleet added to a process without one.
    pub(crate) fn bytes_per_identity(&self, identities: u32) -> u64 {
        let (first, last) = self.first_and_last();
        let added = last.vitals.resident_bytes.saturating_sub(first.vitals.resident_bytes);
        added / u64::from(identities.max(1))
    }
}

/// A fleet that lives until this is dropped.
pub(crate) struct Fleet {
    profile: Profile,
    watch: Stopwatch,
    started: Timestamp,
    pace: Pace,
    /// Where it sends, if that is the embedded hub.
    hub: Option<Hub>,
    sender: Option<JoinHandle<anyhow::Result<()>>>,
    _stop: DropGuard,
}

impl Fleet {
    pub(crate) fn start(
        profile: &Profile,
        seed: u64,
        carrier: Carrier,
        watch: Stopwatch,
    ) -> anyhow::Result<Self> {
        let started = watch.now().plus(START_IN_MS);
        let pace = Pace::new(Plan::new(profile, seed, started))?;
        let (hub, stop) = (carrier.hub(), CancellationToken::new());
        let sender = tokio::spawn(pace.clone().keep(carrier, watch, stop.clone()));
        Ok(Self {
            profile: profile.clone(),
            watch,
            started,
            pace,
            hub,
            sender: Some(sender),
            _stop: stop.drop_guard(),
        })
    }

    /// What was told, judged by what happened so far.
    pub(crate) fn verdict(&self, watcher: &impl Watcher) -> anyhow::Result<Verdict> {
        Verdict::judge(self.pace.plan().outages(), &watcher.told(), self.watch.now())
    }

    /// Waits until everything is told that has to be, or there was time enough to.
    pub(crate) async fn until_told(
        &mut self,
        watcher: &mut impl Watcher,
        progress: &mut Progress,
    ) -> anyhow::Result<Measured> {
        let settled = self.pace.plan().settled_at();
        let limit = settled.plus(self.profile.settle_ms);
        let mut samples = vec![self.sample(watcher)?];
        let mut every = tokio::time::interval(SAMPLE_EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            self.check(watcher).await?;
            let sample = self.sample(watcher)?;
            let before = samples.last().copied().unwrap_or(sample);
            samples.push(sample);
            progress.show(&before, &sample, settled.since(self.started));
            let now = self.watch.now();
            if now >= limit || now >= settled && self.verdict(watcher)?.is_true() {
                progress.end();
                return Ok(Measured { samples, late_ms: self.pace.late_ms() });
            }
        }
    }

    /// Sends as much as is taken.
    pub(crate) async fn flood(&mut self, watcher: &mut impl Watcher) -> anyhow::Result<Flood> {
        let hub = self.hub.clone().context("only the embedded hub knows how much was taken")?;
        let span_ms = self.profile.flood_ms.unsigned_abs().max(1);
        let (before, taken_before) = (self.sample(watcher)?, hub.counts().delivered);
        self.pace.rush(true);
        tokio::time::sleep(Duration::from_millis(span_ms)).await;
        let (after, taken) = (self.sample(watcher)?, hub.counts().delivered);
        self.pace.rush(false);
        self.check(watcher).await?;
        let heartbeats = taken.saturating_sub(taken_before);
        let took_ms = (after.at_ms - before.at_ms).unsigned_abs().max(1);
        let cpu_ns = after.vitals.cpu_ns.saturating_sub(before.vitals.cpu_ns);
        Ok(Flood {
            heartbeats_per_s: heartbeats * 1_000 / took_ms,
            cpu_ns_per_heartbeat: cpu_ns / heartbeats.max(1),
        })
    }

    /// The longest time between two heartbeats of a device that never fell silent.
    pub(crate) fn longest_pause_ms(&self) -> Millis {
        self.pace.plan().longest_pause_ms()
    }

    fn sample(&self, watcher: &impl Watcher) -> anyhow::Result<Sample> {
        Ok(Sample {
            at_ms: self.watch.now().since(self.started),
            heartbeats: self.pace.plan().heartbeats(),
            vitals: watcher.vitals()?,
        })
    }

    async fn check(&mut self, watcher: &mut impl Watcher) -> anyhow::Result<()> {
        if let Some(sender) = self.sender.take_if(|sender| sender.is_finished()) {
            sender.await.context("the sender panicked")?.context("the sender failed")?;
        }
        watcher.check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at_ms: Millis, heartbeats: u64, resident_bytes: u64, cpu_ns: u64) -> Sample {
        Sample { at_ms, heartbeats, vitals: Vitals { resident_bytes, cpu_ns } }
    }

    #[test]
    fn costs_are_those_between_the_first_and_the_last_sample() {
        let samples = vec![
            sample(-200, 0, 1_000, 500),
            sample(1_000, 40, 90_000, 10_000),
            sample(9_800, 100, 21_000, 100_500),
        ];
        let measured = Measured { samples, late_ms: (0, 0) };
        assert_eq!((measured.span_ms(), measured.heartbeats()), (10_000, 100));
        assert_eq!(measured.cpu_ns_per_heartbeat(), 1_000);
        assert_eq!(measured.resident_bytes(), 21_000);
        assert_eq!(measured.bytes_per_identity(10), 2_000);
    }
}
