use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::*;
use crate::engine::ClockSettings;
use crate::engine::rules::{Policy, ProofOfLife, Terms};
use crate::metrics::Metrics;
use crate::partitions::{Environment, Keeps, PartitionKey, Router, Workers};
use crate::source::OpenPartition;
use crate::store::dead_letter::DeadLetters;
use crate::store::decoding::Decodings;
use crate::store::objects::Objects;
use crate::wire::{EventTimeFrom, HubName, Profile, Stamps};

const INTERVAL_MS: Millis = 60_000;

/// One partition whose worker and writer do not run, and a sink that takes nothing.
struct World {
    partitions: Arc<Partitions>,
    _workers: Workers,
    _folder: tempfile::TempDir,
    now_ms: Millis,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let counter = Metrics::detached().counter(crate::metrics::DEAD_LETTERS_REMOVED, &[]);
        let (queue, _) = tokio::sync::mpsc::channel(1);
        let default = Terms {
            window_ms: 60_000,
            grace_ms: 10_000,
            first_window_ms: 60_000,
            proof_of_life: ProofOfLife::Any,
        };
        let (partitions, workers) = Partitions::new(Environment {
            policy: Arc::new(Policy { default, rules: Vec::new(), conditions: Vec::new() }),
            clock: ClockSettings { allowance_ms: 1_000, tick_ms: 100, bridge_ms: 10_000 },
            dead_letters: DeadLetters::open(folder.path(), 1 << 20, counter).unwrap(),
            decodings: Decodings::open(folder.path()).unwrap(),
            router: Router::new(vec![("ops".into(), queue)]),
            metrics: Arc::new(Metrics::detached()),
            seed: 1,
            objects: Objects::in_memory(),
            pace: crate::journal::Pace::default(),
            owner: "test".to_owned(),
            stop: CancellationToken::new(),
        })
        .await
        .unwrap();
        let profile = Profile {
            hub: HubName::Fixed("h".into()),
            stamps: Stamps::Annotations,
            event_time: EventTimeFrom::Stamps,
            mapping: None,
            conditions: Vec::new().into(),
        };
        let source = partitions.of_source("hub".into(), profile, Keeps::Log);
        let _link = source.open("0");
        let now_ms = crate::clock::boot_ms();
        Self { partitions, _workers: workers, _folder: folder, now_ms }
    }

    fn shared(&self) -> Arc<super::super::shared::Shared> {
        let key = PartitionKey { source: "hub".into(), partition: "0".into() };
        self.partitions.map.get(&key).unwrap().clone()
    }

    /// Everything made progress up to now.
    fn go_on(&mut self, ms: Millis) -> Moment {
        self.now_ms += ms;
        self.shared().alive_ms.store(self.now_ms, Ordering::Release);
        Moment { boot_ms: self.now_ms, wall: Timestamp::from_ms(1_767_225_600_000) }
    }

    fn sent(&self) -> u64 {
        self.partitions.fleet().state().watchdogs
    }
}

#[tokio::test]
async fn a_worker_that_does_not_come_round_stops_the_watchdog_until_it_does() {
    let mut world = World::new().await;
    let config = WatchdogConfig { interval_ms: INTERVAL_MS, sinks: Vec::new() };
    let mut watchman = Watchman::new(world.partitions.clone(), config, world.now_ms);
    let now = world.go_on(INTERVAL_MS - 1);
    watchman.look(now);
    assert_eq!(world.sent(), 0, "the first after an interval");
    let now = world.go_on(1);
    watchman.look(now);
    assert_eq!(world.sent(), 1);
    let fleet = world.partitions.environment.router.ledgers().get(0).unwrap();
    fleet.take(now, true, false).unwrap();
    let now = world.go_on(INTERVAL_MS);
    world.shared().alive_ms.fetch_sub(STUCK_MS, Ordering::AcqRel);
    watchman.look(now);
    assert_eq!(world.partitions.stuck(now.boot_ms), Some(Stuck::Worker("hub".into(), "0".into())));
    assert_eq!(world.sent(), 1);
    let now = world.go_on(1_000);
    watchman.look(now);
    assert_eq!(world.sent(), 2, "late, but sent");
}

#[tokio::test]
async fn an_entry_that_is_due_or_being_written_for_too_long_is_a_writer_that_is_stuck() {
    let mut world = World::new().await;
    let (now, shared) = (world.go_on(0), world.shared());
    assert_eq!(world.partitions.stuck(now.boot_ms), None);
    let store = &crate::partitions::ledger::Ledger::store(&*shared);
    let of_hub = Some(Stuck::Writer("hub".to_owned()));
    for (begun, limit_ms) in
        [(&store.writing_since_ms, STUCK_MS), (&store.snapshot_since_ms, SNAPSHOT_STUCK_MS)]
    {
        begun.store(world.now_ms - limit_ms + 1, Ordering::Release);
        assert_eq!(world.partitions.stuck(world.now_ms), None);
        begun.store(world.now_ms - limit_ms, Ordering::Release);
        assert_eq!(world.partitions.stuck(world.now_ms), of_hub);
        begun.store(0, Ordering::Release);
    }
    // What the fleet has to tell is due after 50 ms, and nobody writes it.
    let watchdog = world.partitions.watchdog(INTERVAL_MS, now.wall);
    assert_eq!((watchdog.partitions, watchdog.last_verdict_at), (1, None));
    world.partitions.fleet().tell_watchdog(watchdog, &["ops".into()]);
    let now = world.go_on(2 * STUCK_MS);
    assert_eq!(world.partitions.stuck(now.boot_ms), Some(Stuck::Writer("fleet".to_owned())));
}
