//! The sharded last-seen map: every partition of every source, with its engine, its worker and its way to the sinks.
//!
//! A worker is the only one that feeds its partition's log; other workers call on its engine only to tell what they have
//! heard of the same identities ([`placement`]). No lock is held over an await, and none over a whole batch.

use std::sync::{Arc, Mutex};

use dashmap::DashMap;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::counters::StoreMeters;
use self::restore::Found;
use self::shared::Shared;
use self::vitality::Pulse;
use self::writer::{Ending, Writer};
use crate::alert::path::PartitionSight;
use crate::clock;
use crate::engine::rules::Policy;
use crate::engine::{BlindReason, ClockSettings, Millis, PartitionId, Stats, Timestamp};
use crate::journal::{FleetDesk, Pace};
use crate::metrics::Metrics;
use crate::store::StoreError;
use crate::store::dead_letter::DeadLetters;
use crate::store::decoding::Decodings;
use crate::store::objects::Objects;
use crate::wire::Profile;

mod batch;
mod counters;
mod data;
mod dispatch;
mod fleet;
mod ledger;
mod opening;
mod paths;
mod placement;
mod restore;
mod shared;
mod vitality;
mod watchdog;
mod worker;
mod writer;

pub use data::FleetData;
pub use dispatch::Router;
pub use fleet::Fleet;
pub use opening::{Keeps, SourcePartitions};
pub use paths::Paths;
pub use vitality::Vitality;
pub use watchdog::Watchman;

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
    /// Where it is noted what is being decoded.
    pub decodings: Decodings,
    /// Where alerts go.
    pub router: Router,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Spreads ids over buckets, so that nobody can choose ids that collide.
    pub seed: u64,
    /// Where journals and snapshots are kept.
    pub objects: Objects,
    /// How soon things are written there.
    pub pace: Pace,
    /// Names this process in what it writes.
    pub owner: String,
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
    /// Held while a message that may have ended the process is decoded.
    suspects: Mutex<()>,
    /// New workers with their writers, to be run by the supervisor.
    workers: mpsc::Sender<Staff>,
    fleet: Arc<Fleet>,
    pulse: Pulse,
    ending: Ending,
}

/// Who works for a partition; the fleet has only a writer.
struct Staff {
    worker: Option<worker::Worker>,
    writer: Writer,
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
    /// It is still reading what it had applied before the start.
    pub is_recovering: bool,
}

/// Where the journal of what concerns no single partition stands in the store.
const FLEET: &str = "fleet";

/// A journal that could not be written for this long: what is decided is not told.
const STORAGE_BLIND_MS: Millis = 2_000;

/// The most workers that wait to be started: all partitions of a source are opened at once, and the largest event hub (of
/// a dedicated cluster) has 1,024 ("Azure Event Hubs quotas and limits").
const WORKER_QUEUE: usize = 4_096;

impl Partitions {
    /// No partitions yet, but what an earlier process left open of what concerns no single one. The second value runs the
    /// workers and has to be run with them.
    pub async fn new(environment: Environment) -> Result<(Arc<Self>, Workers), StoreError> {
        let journal = environment.objects.journal(&[FLEET]);
        let Found { stored, kept } = restore::load(&journal, 0).await?;
        let (sinks, owner) = (environment.router.names(), environment.owner.clone());
        let desk = FleetDesk::new(sinks, owner, environment.pace, &stored, writer::now());
        let fleet = Fleet::new(desk, journal);
        environment.router.ledgers().add(fleet.clone());
        let meters = StoreMeters::new(&environment.metrics, FLEET);
        let writer = Writer::new(fleet.clone(), environment.router.clone(), meters, kept);
        let (workers, queue) = mpsc::channel(WORKER_QUEUE);
        let ending = Ending::default();
        let partitions = Arc::new(Self {
            environment,
            map: DashMap::new(),
            placement: Mutex::new(()),
            suspects: Mutex::new(()),
            workers,
            fleet,
            pulse: Pulse::default(),
            ending: ending.clone(),
        });
        let fleet = Staff { worker: None, writer };
        Ok((partitions, Workers { queue, fleet, ending }))
    }

    /// The opener of a source's partitions.
    pub fn of_source(
        self: &Arc<Self>,
        source: Arc<str>,
        profile: Profile,
        keeps: Keeps,
    ) -> Arc<SourcePartitions> {
        let (partitions, profile) = (self.clone(), Arc::new(profile));
        Arc::new(SourcePartitions { partitions, source, profile, keeps })
    }

    /// Tells the sinks what concerns no single partition.
    pub fn fleet(&self) -> &Arc<Fleet> {
        &self.fleet
    }

    /// Nothing more will be delivered: what was has to be written down, then the writers end.
    pub fn all_delivered(&self) {
        self.ending.delivered.cancel();
    }

    /// What counts for it.
    pub fn metrics(&self) -> Arc<Metrics> {
        self.environment.metrics.clone()
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
        let (key, stats) = (shared.key.clone(), shared.desk().engine().stats());
        let due_ms = self.policy().smallest_due_ms();
        let mut sight = PartitionSight::of(key.partition.clone(), &stats, wall, due_ms);
        let now_ms = clock::boot_ms();
        match sight.blind {
            // The service itself is the nearer reason.
            None | Some(BlindReason::Stalled) => {
                sight.blind = self.pulse.held(now_ms).or(sight.blind);
            }
            Some(_) => {}
        }
        if shared.ledger.failing_ms(now_ms).is_some_and(|ms| ms >= STORAGE_BLIND_MS) {
            sight.blind = Some(BlindReason::Storage);
        }
        let is_recovering = shared.desk().is_recovering();
        PartitionView { key, stats, sight, is_recovering }
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

/// The workers and writers of all partitions.
pub struct Workers {
    queue: mpsc::Receiver<Staff>,
    fleet: Staff,
    ending: Ending,
}

impl Workers {
    /// Runs workers as partitions are opened, until `stop`; then until they have applied what they were given, and until all
    /// that follows from it is durable. Ends with an error if one of them panics, or if somebody else writes a journal.
    pub async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut workers = JoinSet::new();
        let mut writers = JoinSet::new();
        writers.spawn(self.fleet.writer.run(self.ending.clone()));
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(Staff { worker, writer }) = self.queue.recv() => {
                    writers.spawn(writer.run(self.ending.clone()));
                    if let Some(worker) = worker {
                        workers.spawn(worker.run());
                    }
                }
                Some(ended) = workers.join_next() => ended?,
                Some(ended) = writers.join_next() => ended??,
            }
        }
        while let Some(ended) = workers.join_next().await {
            ended?;
        }
        self.ending.decided.cancel();
        while let Some(ended) = writers.join_next().await {
            ended??;
        }
        Ok(())
    }
}
