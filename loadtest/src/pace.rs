//! The sender: plays the plan at the pace of the clock, whatever the service does.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use lastseen::clock::Stopwatch;
use lastseen::devhub::hub::Hub;
use lastseen::engine::Millis;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::carrier::Carrier;
use crate::plan::{Moment, Plan};

/// The step of the sender.
const STEP: Duration = Duration::from_millis(5);

/// What is sent at once while as much is sent as is taken.
const RUSH: usize = 2_048;

/// So much may be waiting in the hub meanwhile, which is enough to keep every reader busy.
const RUSH_AHEAD: u64 = 65_536;

/// The plan and what is known about its being played. Clones share it.
#[derive(Clone)]
pub(crate) struct Pace {
    shared: Arc<Shared>,
}

struct Shared {
    plan: Mutex<Plan>,
    /// From the planned time of a heartbeat until it was taken.
    late_ms: Mutex<Histogram<u64>>,
    rushing: AtomicBool,
}

impl Pace {
    pub(crate) fn new(plan: Plan) -> anyhow::Result<Self> {
        let shared = Shared {
            plan: Mutex::new(plan),
            late_ms: Mutex::new(Histogram::new(3)?),
            rushing: AtomicBool::new(false),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    pub(crate) fn plan(&self) -> MutexGuard<'_, Plan> {
        lock(&self.shared.plan)
    }

    /// The 99th percentile and the maximum of how late heartbeats were sent.
    pub(crate) fn late_ms(&self) -> (u64, u64) {
        let late_ms = lock(&self.shared.late_ms);
        (late_ms.value_at_quantile(0.99), late_ms.max())
    }

    /// Whether as much is sent as is taken.
    pub(crate) fn rush(&self, on: bool) {
        self.shared.rushing.store(on, Ordering::Relaxed);
    }

    /// Sends until `stop`, or until the carrier fails.
    pub(crate) async fn keep(
        self,
        mut carrier: Carrier,
        watch: Stopwatch,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let hub = carrier.hub();
        let mut moments = Vec::new();
        let mut step = tokio::time::interval(STEP);
        step.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !stop.is_cancelled() {
            let rushing = self.shared.rushing.load(Ordering::Relaxed);
            let now = watch.now();
            match &hub {
                Some(hub) if rushing && has_room(hub) => {
                    self.plan().rush(RUSH, now, &mut moments);
                    tokio::task::yield_now().await;
                }
                Some(_) if rushing => {
                    step.tick().await;
                }
                Some(_) | None => {
                    step.tick().await;
                    self.plan().play(watch.now(), &mut moments);
                }
            }
            carrier.carry(&moments).await?;
            self.note(&moments, &watch)?;
            moments.clear();
        }
        Ok(())
    }

    fn note(&self, moments: &[Moment], watch: &Stopwatch) -> anyhow::Result<()> {
        let now = watch.now();
        let mut late_ms = lock(&self.shared.late_ms);
        for moment in moments {
            late_ms.record(positive(now.since(moment.at)))?;
        }
        Ok(())
    }
}

fn has_room(hub: &Hub) -> bool {
    let counts = hub.counts();
    counts.accepted.saturating_sub(counts.delivered) < RUSH_AHEAD
}

fn positive(ms: Millis) -> u64 {
    u64::try_from(ms).unwrap_or(0)
}

/// Every change below is complete before anything can panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
