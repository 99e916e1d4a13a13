//! The sharded last-seen map: every partition of every source, with its engine, its worker and its way to the sinks.
//!
//! A worker is the only one that feeds its partition's log; other workers call on its engine only to tell what they have
//! heard of the same identities ([`placement`]). No lock is held over an await, and none over a whole batch.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dashmap::DashMap;
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::alert::mute::Mute;
use crate::alert::path::PartitionSight;
use crate::clock;
use crate::engine::rules::Policy;
use crate::engine::{ClockSettings, Partition, PartitionId, Stats, Timestamp, Transition};
use crate::metrics::Metrics;
use crate::source::{EVENT_QUEUE, OpenPartition, PartitionLink, Progress};
use crate::store::dead_letter::DeadLetters;
use crate::wire::{HubName, Profile};

mod batch;
mod counters;
mod data;
mod dispatch;
mod paths;
mod placement;
mod worker;

pub use data::FleetData;
pub use dispatch::Router;
pub use paths::Paths;

/// Which partition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionKey {
    /// Name of the source.
    pub source: Arc<str>,
    /// Name of the partition within it.
    pub partition: Arc<str>,
}

impl PartitionKey {
    /// The same after every start: the first 8 bytes of the SHA-256 of both names, each behind its length.
    pub fn id(&self) -> PartitionId {
        let mut hasher = Sha256::new();
        for name in [&self.source, &self.partition] {
            hasher.update((name.len() as u64).to_be_bytes());
            hasher.update(name.as_bytes());
        }
        let hash: [u8; 32] = hasher.finalize().into();
        u64::from_be_bytes(std::array::from_fn(|at| hash[at]))
    }
}

/// What every partition needs.
pub struct Environment {
    /// Windows.
    pub policy: Arc<Policy>,
    /// How time is judged.
    pub clock: ClockSettings,
    /// Where what can't be read goes.
    pub dead_letters: DeadLetters,
    /// Where alerts go.
    pub router: Router,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Spreads ids over buckets, so that nobody can choose ids that collide.
    pub seed: u64,
    /// Ends the workers.
    pub stop: CancellationToken,
}

/// All partitions.
pub struct Partitions {
    environment: Environment,
    map: DashMap<PartitionKey, Arc<Shared>>,
    /// One exchange about the placement of identities at a time: two partitions that hear an identity for the first time
    /// at once must not both leave it to the other.
    placement: Mutex<()>,
    /// New workers, to be run by the supervisor.
    workers: mpsc::Sender<worker::Worker>,
}

/// What one partition's worker shares with the others and with readers.
struct Shared {
    key: PartitionKey,
    /// What it is called in placement.
    id: PartitionId,
    profile: Arc<Profile>,
    engine: Mutex<Engine>,
    /// The clock up to which everything this partition had to tell others has been told, in ms.
    told_clock_ms: AtomicI64,
    /// Held while transitions are on their way to the sinks, so that they keep their order.
    outgoing: tokio::sync::Mutex<Mute>,
    progress: watch::Sender<Progress>,
    events: mpsc::Sender<crate::source::Event>,
    counters: counters::Counters,
}

/// The engine, and what it decided that is not yet on its way. Both behind one lock, so that decisions keep their order
/// whoever caused them.
struct Engine {
    partition: Partition,
    decided: VecDeque<Transition>,
}

impl Shared {
    fn engine(&self) -> MutexGuard<'_, Engine> {
        // A panic in a worker ends the process; until then others may go on.
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn could_carry(&self, hub: &str) -> bool {
        match &self.profile.hub {
            HubName::Fixed(name) => &**name == hub,
            HubName::Property(_) => true,
        }
    }

    fn told_clock(&self) -> Timestamp {
        Timestamp::from_ms(self.told_clock_ms.load(Ordering::Acquire))
    }
}

/// A partition as readers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionView {
    /// Which.
    pub key: PartitionKey,
    /// Its engine's figures.
    pub stats: Stats,
    /// What can be judged there.
    pub sight: PartitionSight,
}

/// The most workers that wait to be started: all partitions of a source are opened at once, and the largest event hub (of
/// a dedicated cluster) has 1,024 ("Azure Event Hubs quotas and limits").
const WORKER_QUEUE: usize = 4_096;

impl Partitions {
    /// No partitions yet. The second value runs their workers and has to be run with them.
    pub fn new(environment: Environment) -> (Arc<Self>, Workers) {
        let (workers, queue) = mpsc::channel(WORKER_QUEUE);
        let partitions =
            Arc::new(Self { environment, map: DashMap::new(), placement: Mutex::new(()), workers });
        (partitions, Workers { queue })
    }

    /// The opener of a source's partitions.
    pub fn of_source(
        self: &Arc<Self>,
        source: Arc<str>,
        profile: Profile,
    ) -> Arc<dyn OpenPartition> {
        Arc::new(SourcePartitions { partitions: self.clone(), source, profile: Arc::new(profile) })
    }

    /// The rules in force.
    pub fn policy(&self) -> &Policy {
        &self.environment.policy
    }

    /// What all partitions look like, in the order of their keys.
    pub fn view(&self) -> Vec<PartitionView> {
        let wall = clock::wall();
        let mut view: Vec<PartitionView> =
            self.shared().iter().map(|shared| self.look_at(shared, wall)).collect();
        view.sort_by(|a, b| a.key.cmp(&b.key));
        view
    }

    /// What one of them looks like.
    fn look_at(&self, shared: &Shared, wall: Timestamp) -> PartitionView {
        let (key, stats) = (shared.key.clone(), shared.engine().partition.stats());
        let due_ms = self.policy().smallest_due_ms();
        let sight = PartitionSight::of(key.partition.clone(), &stats, wall, due_ms);
        PartitionView { key, stats, sight }
    }

    /// Sets the gauges from what the partitions look like.
    pub fn publish(&self, wall: Timestamp) {
        counters::publish(&self.environment.metrics, &self.view(), wall);
    }

    /// All partitions; no guard of the map is held by the caller.
    fn shared(&self) -> Vec<Arc<Shared>> {
        self.map.iter().map(|entry| entry.value().clone()).collect()
    }
}

/// The workers of all partitions.
pub struct Workers {
    queue: mpsc::Receiver<worker::Worker>,
}

impl Workers {
    /// Runs workers as partitions are opened, until `stop`; then until they have applied what they were given. Ends with
    /// an error if one of them panics.
    pub async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut running = tokio::task::JoinSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(worker) = self.queue.recv() => { running.spawn(worker.run()); }
                Some(ended) = running.join_next() => ended?,
            }
        }
        while let Some(ended) = running.join_next().await {
            ended?;
        }
        Ok(())
    }
}

struct SourcePartitions {
    partitions: Arc<Partitions>,
    source: Arc<str>,
    profile: Arc<Profile>,
}

impl OpenPartition for SourcePartitions {
    fn open(&self, partition: &str) -> PartitionLink {
        let key = PartitionKey { source: self.source.clone(), partition: partition.into() };
        let shared = match self.partitions.map.entry(key.clone()) {
            dashmap::Entry::Occupied(entry) => entry.get().clone(),
            dashmap::Entry::Vacant(entry) => {
                let (shared, events) = self.create(key);
                entry.insert(shared.clone());
                let worker = worker::Worker::new(self.partitions.clone(), shared.clone(), events);
                if self.partitions.workers.try_send(worker).is_err() {
                    tracing::error!(source = %shared.key.source, partition, "its worker can't be started");
                }
                shared
            }
        };
        PartitionLink { events: shared.events.clone(), progress: shared.progress.subscribe() }
    }
}

impl SourcePartitions {
    fn create(&self, key: PartitionKey) -> (Arc<Shared>, mpsc::Receiver<crate::source::Event>) {
        let environment = &self.partitions.environment;
        let engine =
            Partition::new(environment.policy.clone(), environment.clock, environment.seed);
        let (events, queue) = mpsc::channel(EVENT_QUEUE);
        let (progress, _) = watch::channel(Progress {
            acknowledge: None,
            clock: Timestamp::MIN,
            next_deadline: None,
        });
        let shared = Shared {
            counters: counters::Counters::new(&environment.metrics, &key.source),
            id: key.id(),
            key,
            profile: self.profile.clone(),
            engine: Mutex::new(Engine { partition: engine, decided: VecDeque::new() }),
            told_clock_ms: AtomicI64::new(Timestamp::MIN.as_ms()),
            outgoing: tokio::sync::Mutex::new(Mute::open()),
            progress,
            events,
        };
        (Arc::new(shared), queue)
    }
}
