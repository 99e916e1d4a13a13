//! Journals on Azure Blob, as its emulator answers: a crash, a second program on the same store, and a store that is away.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

use super::azurite::{ACCOUNT, Azurite, KEY};
use super::fleet::{Fleet, ServedHub, names, set};
use super::program::{ObjectStore, Program, Source};
use super::rabbitmq::ports;
use super::receiver::Receiver;
use super::{DUE_MS, WINDOW_MS, eventually, live_for};

const CONTAINER: &str = "state";
const DEVICES: usize = 12;
/// How often a connection looks whether the way is still open.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The way to the emulator. While it is shut, connections are cut, and new ones closed at once.
struct Gate {
    port: u16,
    is_open: Arc<AtomicBool>,
}

impl Gate {
    async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gate = Self {
            port: listener.local_addr().unwrap().port(),
            is_open: Arc::new(AtomicBool::new(true)),
        };
        let is_open = gate.is_open.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if is_open.load(Ordering::Acquire) {
                    tokio::spawn(Self::carry(client, port, is_open.clone()));
                }
            }
        });
        gate
    }

    async fn carry(mut client: TcpStream, port: u16, is_open: Arc<AtomicBool>) {
        let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
        let shut = async {
            while is_open.load(Ordering::Acquire) {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::select! {
            () = shut => {}
            _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
        }
    }

    fn set(&self, is_open: bool) {
        self.is_open.store(is_open, Ordering::Release);
    }

    fn store(&self) -> ObjectStore {
        let endpoint = format!("http://127.0.0.1:{}/{ACCOUNT}", self.port);
        ObjectStore {
            url: format!("az://{CONTAINER}/fleet/eu"),
            options: format!(
                "account_name={ACCOUNT}\naccess_key={KEY}\nendpoint={endpoint}\nallow_http=true\n"
            ),
        }
    }
}

struct World {
    _emulator: Azurite,
    gate: Gate,
    sources: [Source; 1],
    receiver: Receiver,
    fleet: Fleet,
    served: ServedHub,
}

impl World {
    async fn new(partitions: usize) -> Self {
        let emulator = Azurite::start_at(ports::reserve()).await;
        emulator.create_container(CONTAINER).await;
        let gate = Gate::to(emulator.port()).await;
        let served = ServedHub::start(partitions).await;
        let receiver = Receiver::start().await;
        let fleet = Fleet::start(&served.hub, names("pump", DEVICES));
        let sources = [Source::event_hub("hub", &served.connection_string)];
        Self { _emulator: emulator, gate, sources, receiver, fleet, served }
    }

    async fn start(&self) -> Program {
        let program = Program::start_over(&self.sources, &self.receiver, &self.gate.store()).await;
        live_for(WINDOW_MS).await;
        program
    }

    async fn wait_for(&self, flagged: &[&str], seconds: u64) {
        eventually(&format!("{flagged:?} are flagged"), seconds, || {
            self.receiver.flagged_names() == set(flagged)
        })
        .await;
    }

    /// Every device that was flagged was so once: a repeat carries the id of what it repeats.
    fn assert_told_once(&self, flagged: &[&str]) {
        let mut told: BTreeMap<String, usize> = BTreeMap::new();
        for notice in self.receiver.notices() {
            // That the store was away is told too, by an alert about the service.
            if notice.data["status"] == "firing"
                && let Some(device) = notice.identity()
            {
                *told.entry(device).or_default() += 1;
            }
        }
        let expected = flagged.iter().map(|name| ((*name).to_owned(), 1)).collect();
        assert_eq!(told, expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_kill_9_everything_is_taken_up_from_azure_blob_and_nothing_is_told_twice() {
    let world = World::new(2).await;
    let mut program = world.start().await;
    world.fleet.silence(&["pump-01"]);
    world.wait_for(&["pump-01"], 30).await;
    world.fleet.silence(&["pump-05"]);
    program.kill();
    live_for(DUE_MS).await;
    drop(program);
    let program = world.start().await;
    world.wait_for(&["pump-01", "pump-05"], 30).await;
    live_for(2 * DUE_MS).await;
    world.assert_told_once(&["pump-01", "pump-05"]);
    let log = program.log();
    let restored = log.lines().filter(|line| line.contains("restored")).count();
    assert_eq!(restored, 2, "both partitions: {log}");
    world.fleet.revive(&["pump-01"]);
    let receiver = &world.receiver;
    eventually("the outage of the first life ends", 30, || {
        receiver.of_status("resolved").into_keys().eq(["pump-01".to_owned()])
    })
    .await;
    assert_eq!(
        receiver.of_status("resolved")["pump-01"].data["alert_id"],
        receiver.flagged()["pump-01"].data["alert_id"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_programs_on_one_store_one_ends_and_says_why_and_nothing_is_told_under_two_ids() {
    let world = World::new(1).await;
    let mut first = world.start().await;
    world.fleet.silence(&["pump-01"]);
    world.wait_for(&["pump-01"], 30).await;
    let store = world.gate.store();
    let mut second = Program::launch_over(&world.sources, &world.receiver, Some(&store));
    world.fleet.silence(&["pump-05"]);
    let mut ended = [None, None];
    eventually("one of them ends", 60, || {
        ended = [first.ended(), second.ended()];
        ended.iter().any(Option::is_some)
    })
    .await;
    let (lost, mut other) = if ended[0].is_some() { (first, second) } else { (second, first) };
    assert!(ended.iter().flatten().all(|code| *code != Some(0)), "an error: {ended:?}");
    assert!(lost.log().contains("was written by somebody else"), "{}", lost.log());
    world.wait_for(&["pump-01", "pump-05"], 30).await;
    live_for(2 * DUE_MS).await;
    assert_eq!(other.ended(), None, "the other one goes on: {}", other.log());
    world.assert_told_once(&["pump-01", "pump-05"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_azure_blob_is_away_reading_goes_on_alerts_wait_and_nothing_is_lost() {
    let world = World::new(2).await;
    let program = world.start().await;
    world.gate.set(false);
    world.fleet.silence(&["pump-01", "pump-05"]);
    eventually("readiness names the store", 60, || {
        let answer = program.get("/readyz");
        answer.starts_with("HTTP/1.1 503") && answer.contains("storage")
    })
    .await;
    let read = program.metric("lastseen_messages_total");
    live_for(2 * DUE_MS).await;
    assert!(program.metric("lastseen_messages_total") > read, "reading goes on");
    assert!(program.metric("lastseen_store_failures_total") > 0.0);
    assert_eq!(world.receiver.flagged_names(), set(&[]), "nothing is told before it is durable");
    world.gate.set(true);
    world.wait_for(&["pump-01", "pump-05"], 60).await;
    eventually("ready again", 60, || program.get("/readyz").starts_with("HTTP/1.1 200")).await;
    live_for(2 * DUE_MS).await;
    world.assert_told_once(&["pump-01", "pump-05"]);
    assert_eq!(program.metric("lastseen_false_offline_total"), 0.0);
    drop(world.served);
}
