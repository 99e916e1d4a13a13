//! Partitions come into being: from the store at the start, or when their source first names them.

use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex};

use tokio::sync::{mpsc, watch};

use super::counters::{Counters, StoreMeters};
use super::ledger::LedgerStore;
use super::restore;
use super::shared::Shared;
use super::writer::{Writer, now};
use super::{PartitionKey, Partitions, Staff, worker};
use crate::clock;
use crate::engine::Timestamp;
use crate::journal::{Desk, Setup};
use crate::source::{EVENT_QUEUE, Event, OpenPartition, PartitionLink, Progress};
use crate::store::StoreError;
use crate::store::journal::Journal;
use crate::store::objects::Objects;
use crate::wire::Profile;

/// Where the journals of partitions stand in the store: below it source, then partition.
const PARTITIONS: &str = "partitions";

/// What of a source's messages can be read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeps {
    /// All, with their event times: an event hub, a stream.
    Log,
    /// All, but what dates them is when they were read: their event times are kept in the journal.
    Stream,
    /// Nothing, once acknowledged: a queue.
    Queue,
    /// It is read once from its beginning, and nothing of it outlives the process: a file.
    Once,
}

/// The partitions of one source.
pub struct SourcePartitions {
    pub(super) partitions: Arc<Partitions>,
    pub(super) source: Arc<str>,
    pub(super) profile: Arc<Profile>,
    pub(super) keeps: Keeps,
}

impl SourcePartitions {
    /// Takes up every partition of the source that the store knows. Has to be done before the source is started.
    pub async fn restore(&self) -> Result<(), StoreError> {
        if self.keeps == Keeps::Once {
            return Ok(());
        }
        let objects = &self.partitions.environment.objects;
        let under = [PARTITIONS, &*self.source];
        for name in objects.journals(&under).await? {
            let Some(partition) = name.last().filter(|_| name.len() == 3) else { continue };
            let key = self.key(partition);
            let journal = self.journal(&key);
            let (desk, kept) = restore::desk(&journal, &self.setup(&key), now()).await?;
            self.partitions.map.insert(key.clone(), self.start(key, desk, journal, kept));
        }
        Ok(())
    }

    fn key(&self, partition: &str) -> PartitionKey {
        PartitionKey { source: self.source.clone(), partition: partition.into() }
    }

    fn journal(&self, key: &PartitionKey) -> Journal {
        let name = [PARTITIONS, &*key.source, &*key.partition];
        match self.keeps {
            Keeps::Log | Keeps::Stream | Keeps::Queue => {
                self.partitions.environment.objects.journal(&name)
            }
            Keeps::Once => Objects::in_memory().journal(&name),
        }
    }

    fn setup(&self, key: &PartitionKey) -> Setup {
        let environment = &self.partitions.environment;
        Setup {
            policy: environment.policy.clone(),
            clock: environment.clock,
            seed: environment.seed,
            source: key.source.clone(),
            partition: key.partition.clone(),
            sinks: environment.router.names(),
            has_log: matches!(self.keeps, Keeps::Log | Keeps::Once),
            has_places: matches!(self.keeps, Keeps::Log | Keeps::Stream | Keeps::Once),
            owner: environment.owner.clone(),
            pace: environment.pace,
        }
    }

    fn empty(&self, key: &PartitionKey) -> Desk {
        Desk::empty(self.setup(key), now())
    }

    /// Puts a partition together, with a worker and a writer on their way.
    fn start(
        &self,
        key: PartitionKey,
        desk: Desk,
        journal: Journal,
        kept: Vec<u64>,
    ) -> Arc<Shared> {
        let environment = &self.partitions.environment;
        let (events, queue) = mpsc::channel(EVENT_QUEUE);
        let clock = if desk.resume().is_some() { desk.engine().clock() } else { Timestamp::MIN };
        let (progress, _) =
            watch::channel(Progress { acknowledge: None, clock, next_deadline: None });
        // Nothing is known of one that was not read yet, or is being read again.
        let is_known = desk.resume().is_some() && !desk.is_recovering();
        let told_clock = if is_known { clock } else { Timestamp::MIN };
        let gap_end = desk.engine().as_foreign(key.id()).gap_end;
        let shared = Arc::new(Shared {
            counters: Counters::new(&environment.metrics, &key.source),
            id: key.id(),
            key,
            profile: self.profile.clone(),
            desk: Mutex::new(desk),
            ledger: LedgerStore::new(journal),
            told_clock_ms: AtomicI64::new(told_clock.as_ms()),
            told_gap_end_ms: AtomicI64::new(gap_end.as_ms()),
            told_heard: Mutex::new(None),
            progress,
            events,
            alive_ms: AtomicI64::new(clock::boot_ms()),
            last_verdict_ms: AtomicI64::new(0),
        });
        self.staff(&shared, queue, kept);
        shared
    }

    fn staff(&self, shared: &Arc<Shared>, queue: mpsc::Receiver<Event>, kept: Vec<u64>) {
        let environment = &self.partitions.environment;
        environment.router.ledgers().add(shared.clone());
        let meters = StoreMeters::new(&environment.metrics, &shared.key.source);
        let name = format!("{}-{:016x}", shared.key.source, shared.id);
        let has_places = !matches!(self.keeps, Keeps::Queue);
        let decoding = environment.decodings.of(&name, has_places);
        let worker = worker::Worker::new(self.partitions.clone(), shared.clone(), queue, decoding);
        let writer = Writer::new(shared.clone(), environment.router.clone(), meters, kept);
        let staff = Staff { worker: Some(worker), writer };
        if self.partitions.workers.try_send(staff).is_err() {
            let PartitionKey { source, partition } = &shared.key;
            tracing::error!(%source, %partition, "its worker can't be started");
        }
    }
}

impl OpenPartition for SourcePartitions {
    fn open(&self, partition: &str) -> PartitionLink {
        let key = self.key(partition);
        let shared = match self.partitions.map.entry(key.clone()) {
            dashmap::Entry::Occupied(entry) => entry.get().clone(),
            dashmap::Entry::Vacant(entry) => {
                let journal = self.journal(&key);
                let shared = self.start(key.clone(), self.empty(&key), journal, Vec::new());
                entry.insert(shared.clone());
                shared
            }
        };
        let resume = shared.desk().resume();
        let progress = shared.progress.subscribe();
        PartitionLink { events: shared.events.clone(), progress, resume }
    }
}
