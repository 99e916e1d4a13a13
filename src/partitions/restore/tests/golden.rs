//! Every format that was ever written can be read: in `tests/golden/v1` are a small store as version 1 wrote it; in JSON,
//! under the names of the fields, what its files say; and what a start makes of it.
//!
//! The files of a format are made once, when it is new, and never again:
//!
//! ```sh
//! cargo test --lib golden::the_files_of_a_new_format_are_written -- --ignored
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use super::scene::{Scene, at, device, moment, setup};
use crate::alert::id::AlertId;
use crate::alert::path::{PathAlert, PathReason};
use crate::alert::self_health::{SelfAlert, SelfReason};
use crate::alert::watchdog::Watchdog;
use crate::config::StoreConfig;
use crate::engine::{
    BlindReason, ConnectionSequence, Facts, Generation, IdentityRef, Partition, Reply, SignalKind,
    State,
};
use crate::journal::frame::{self, Kind, VERSION};
use crate::journal::{Entry, FleetDesk, FleetState, Next, Outbox, Pace, Snapshot, Stored};
use crate::partitions::restore;
use crate::store::journal::Journal;
use crate::store::objects::Objects;

const LOG: &[&str] = &["partitions", "hub", "0"];
const QUEUE: &[&str] = &["partitions", "queue", "0"];
const FLEET: &[&str] = &["fleet"];

fn folder(version: u8) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/v{version}"))
}

fn open(path: PathBuf) -> Objects {
    Objects::open(&StoreConfig {
        path,
        dead_letter_bytes: 0,
        snapshot_interval_ms: 30_000,
        remote: None,
    })
    .unwrap()
}

fn sequence(last_byte: u8) -> ConnectionSequence {
    ConnectionSequence(std::array::from_fn(|at| if at == 31 { last_byte } else { 0 }))
}

/// Devices that show everything that a partition can know of one.
async fn live(scene: &mut Scene) {
    let telemetry = SignalKind::Telemetry;
    for second in 1..=40 {
        scene.now_ms = second * 1_000;
        scene.beat("live");
        match second {
            1 => {
                for name in ["dead", "returned", "disproved", "amended", "willed", "gone"] {
                    scene.beat(name);
                }
                scene.say("gw-1", Some("sensor"), telemetry, 0);
                scene.say("dead", None, SignalKind::Disconnected(sequence(2)), 0);
                scene.say("returned", None, SignalKind::Connected(sequence(1)), 0);
                scene.say("willed", None, SignalKind::LastWill, 0);
                scene.say("unborn", None, SignalKind::Created, 0);
            }
            2 => {
                for name in ["roamer", "guest", "asked", "given", "crossing"] {
                    scene.beat(name);
                }
                let heard = Facts::heard(at(1_500), 12, Generation::parse("not-a-number"));
                scene.answered("guest", Reply::Mine(heard));
                scene.answered("asked", Reply::Later);
                scene.answered("given", Reply::Yours(heard));
                scene.refuse();
                scene.beat("refused");
            }
            3 => scene.say("gone", None, SignalKind::Deleted, 0),
            4 => scene.write(true).await,
            8 => scene.write(false).await,
            15 => {
                scene.write(false).await;
                scene.deliver("ops", 3).await;
            }
            16 => {
                scene.beat("returned");
                scene.say("disproved", None, telemetry, 3_500);
                scene.say("willed", None, SignalKind::Deleted, 0);
            }
            29 => scene.beat("crossing"),
            30 => scene.say("amended", None, telemetry, 25_000),
            _ => {}
        }
        if second % 5 == 0 {
            scene.hear_elsewhere("roamer");
        }
        scene.prove();
    }
    // A heartbeat beyond its own deadline waits for the clock.
    scene.now_ms = 41_300;
    scene.beat("crossing");
    scene.write(true).await;
}

/// A log: four entries and two snapshots, then a gap and two more entries.
async fn write_log(objects: &Objects) {
    let mut scene = Scene::new(objects.journal(LOG), true);
    scene.attach();
    live(&mut scene).await;
    scene.now_ms = 60_000;
    scene.attach();
    scene.beat("live");
    scene.write(false).await;
    scene.deliver("audit", 2).await;
    scene.now_ms = 61_000;
    scene.beat("live");
    scene.write(false).await;
}

/// A queue that was not empty at the start.
async fn write_queue(objects: &Objects) {
    let mut scene = Scene::new(objects.journal(QUEUE), false);
    scene.wait_in_line("early", None, SignalKind::Telemetry, 0);
    scene.attach();
    live(&mut scene).await;
    scene.now_ms = 42_000;
    scene.beat("live");
    scene.write(false).await;
}

/// An alert about a way in and one about the service are open, and one is over.
async fn write_fleet(objects: &Objects) {
    let journal = objects.journal(FLEET);
    let mut desk = fleet_desk(&Stored::default());
    let path = PathAlert {
        id: AlertId::of_path("hub", at(1_000)),
        status: crate::alert::body::Status::Firing,
        ordinal: 0,
        source: "hub".into(),
        partitions: vec!["0".into(), "1".into()],
        partitions_total: 2,
        reasons: BTreeMap::from([
            (PathReason::Blind(BlindReason::LinkDown), 2),
            (PathReason::Gaps, 1),
        ]),
        identities: 14,
        since: at(500),
        detected_at: at(1_000),
        at: at(1_000),
        found: None,
    };
    let mut open =
        SelfAlert::firing(SelfReason::DeliveryFailing, Some("ops".into()), at(2_000), at(2_500));
    open.counts.insert("given_up".to_owned(), 3);
    let over = SelfAlert::firing(SelfReason::Storage, None, at(3_000), at(3_500));
    let watchdog = Watchdog {
        sequence: 0,
        sent_at: at(4_000),
        interval_ms: 60_000,
        partitions: 2,
        oldest_clock_age_ms: Some(1_100),
        identities: [1, 2, 3, 4, 5],
        waiting_messages: 6,
        last_verdict_at: Some(at(3_900)),
    };
    desk.tell_path(&path, moment(1_000));
    desk.tell_self(&over, moment(3_500));
    write_of_fleet(&mut desk, &journal, 4_000, true).await;
    let mark = first_owed(desk.outbox(), "ops");
    desk.delivered(mark, moment(5_000));
    desk.tell_self(&open, moment(5_000));
    desk.tell_self(&over.clone().resolved(at(5_000)), moment(5_000));
    write_of_fleet(&mut desk, &journal, 6_000, true).await;
    desk.tell_watchdog(watchdog, &["ops".into(), "audit".into()], moment(7_000));
    write_of_fleet(&mut desk, &journal, 8_000, false).await;
}

fn first_owed(outbox: &mut Outbox, sink: &str) -> crate::journal::Mark {
    match outbox.next(sink) {
        Next::Send { mark, .. } => mark,
        other @ (Next::Nothing | Next::Fetch(_)) => panic!("{other:?}"),
    }
}

fn fleet_desk(stored: &Stored) -> FleetDesk {
    let sinks: Arc<[Arc<str>]> = setup(true).sinks;
    FleetDesk::new(sinks, "a-process".to_owned(), Pace::default(), stored, moment(0))
}

async fn write_of_fleet(desk: &mut FleetDesk, journal: &Journal, at_ms: i64, with_snapshot: bool) {
    // Later than a snapshot is due.
    let now = moment(at_ms * 60);
    let taken = desk.take(now, true, with_snapshot).unwrap();
    let bytes = Bytes::from(taken.entry.encode().unwrap());
    journal.create(taken.number, bytes).await.unwrap();
    desk.committed(taken.number);
    if let Some(snapshot) = taken.snapshot {
        let bytes = Bytes::from(snapshot.encode().unwrap());
        journal.put_snapshot(taken.number, bytes).await.unwrap();
        desk.snapshot_kept(taken.number);
    }
}

/// What all files of a journal say. Fails if one would not be written as it was read.
async fn content(journal: &Journal) -> Value {
    let mut entries = BTreeMap::new();
    for number in journal.numbers().await.unwrap() {
        let bytes = journal.entry(number).await.unwrap().unwrap();
        let entry = Entry::decode_as(number, &bytes).unwrap();
        let content = frame::open(Kind::Entry, &bytes).unwrap();
        assert!(
            postcard::to_allocvec(&entry).unwrap() == content,
            "entry {number} is read otherwise"
        );
        let mut value = serde_json::to_value(&entry).unwrap();
        for (owed, value) in entry.owed.iter().zip(value["owed"].as_array_mut().unwrap()) {
            let body = std::str::from_utf8(&owed.message.body).unwrap();
            value["message"]["body"] = body.into();
        }
        value["extra"] = fleet_state(&entry.extra);
        entries.insert(number, value);
    }
    let mut snapshots = BTreeMap::new();
    for number in journal.snapshots().await.unwrap() {
        let bytes = journal.snapshot(number).await.unwrap().unwrap();
        let snapshot = Snapshot::decode_as(number, &bytes).unwrap();
        let content = frame::open(Kind::Snapshot, &bytes).unwrap();
        assert!(
            postcard::to_allocvec(&snapshot).unwrap() == content,
            "snapshot {number} is read otherwise"
        );
        let mut value = serde_json::to_value(&snapshot).unwrap();
        if !snapshot.image.is_empty() {
            value["image"] = Partition::image_as_json(&snapshot.image).expect("read otherwise");
        }
        value["extra"] = fleet_state(&snapshot.extra);
        snapshots.insert(number, value);
    }
    json!({ "entries": entries, "snapshots": snapshots })
}

/// Some of its keys can't be keys of JSON.
fn fleet_state(bytes: &[u8]) -> Value {
    if bytes.is_empty() {
        return Value::Null;
    }
    let state: FleetState = postcard::from_bytes(bytes).unwrap();
    assert!(postcard::to_allocvec(&state).unwrap() == bytes, "the fleet's state is read otherwise");
    format!("{state:#?}").lines().collect()
}

async fn contents(objects: &Objects) -> [(&'static str, String); 3] {
    let text = async |name| {
        let value = content(&objects.journal(name)).await;
        serde_json::to_string_pretty(&value).unwrap() + "\n"
    };
    [
        ("log.json", text(LOG).await),
        ("queue.json", text(QUEUE).await),
        ("fleet.json", text(FLEET).await),
    ]
}

#[tokio::test]
#[ignore = "it writes into the sources: only for a new format"]
async fn the_files_of_a_new_format_are_written() {
    let folder = folder(VERSION);
    assert!(!folder.exists(), "format {VERSION} has its files already: they are never changed");
    let objects = open(folder.join("store"));
    write_log(&objects).await;
    write_queue(&objects).await;
    write_fleet(&objects).await;
    for (name, text) in contents(&objects).await {
        std::fs::write(folder.join(name), text).unwrap();
    }
    std::fs::write(folder.join("start.txt"), started(&objects).await).unwrap();
}

/// A copy of the store of format 1: whoever opens one may write into it.
fn version_1() -> (tempfile::TempDir, Objects) {
    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let to = to.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                copy(&entry.path(), &to);
            } else {
                std::fs::copy(entry.path(), to).unwrap();
            }
        }
    }
    let temporary = tempfile::tempdir().unwrap();
    copy(&folder(1).join("store"), temporary.path());
    let objects = open(temporary.path().to_owned());
    (temporary, objects)
}

#[tokio::test]
async fn every_field_of_the_files_of_format_1_is_read_as_it_was_written() {
    let (_temporary, objects) = version_1();
    let mut all = String::new();
    for (name, text) in contents(&objects).await {
        let expected = std::fs::read_to_string(folder(1).join(name)).unwrap();
        assert!(text == expected, "{name} says otherwise: {text}");
        all += &text;
    }
    // The files show every kind of change.
    let kinds = ["Changed", "Refused", "Decided", "Gap", "Told", "Answered", "Learned", "Evidence"];
    let verdicts = ["Offline", "Resolved", "Retracted", "Amended"];
    let asides = ["\"crossings\": [\n", "\"sequence\": [\n", "\"others\": [\n"];
    for shown in kinds.map(|kind| format!("\"{kind}\"")) {
        assert!(all.contains(&shown), "{shown}");
    }
    for shown in verdicts.iter().chain(&asides) {
        assert!(all.contains(shown), "{shown}");
    }
}

/// All messages that are owed, in order: sink, subject and status. Each can be read.
async fn owed(journal: &Journal, outbox: &mut Outbox) -> String {
    outbox.open();
    let mut owed = String::new();
    for sink in super::scene::SINKS {
        loop {
            match outbox.next(sink) {
                Next::Nothing => break,
                Next::Fetch(number) => {
                    let entry = restore::entry(journal, number).await.unwrap();
                    let lost = outbox.refill(sink, number, entry.as_ref());
                    assert_eq!(lost, vec![]);
                }
                Next::Send { message, may_have_arrived, .. } => {
                    assert!(may_have_arrived);
                    let body: Value = serde_json::from_slice(&message.body).unwrap();
                    let data = &body["data"];
                    let subject = ["device_id", "source", "reason"].map(|key| data[key].as_str());
                    let subject = subject.into_iter().flatten().next().unwrap_or("all");
                    owed += &format!("owed to {sink}: {subject} {}\n", message.status.as_str());
                }
            }
        }
    }
    owed
}

/// One line a state, and the devices that are in it.
fn states(engine: &Partition) -> String {
    let names = [
        "amended",
        "asked",
        "crossing",
        "dead",
        "disproved",
        "early",
        "given",
        "gone",
        "guest",
        "gw-1",
        "live",
        "refused",
        "returned",
        "roamer",
        "unborn",
        "willed",
    ];
    let by_state = |wanted: Option<State>| {
        let is_it = |name: &&&str| engine.state(device(name)).map(|(state, _)| state) == wanted;
        names.iter().filter(is_it).map(|name| format!(" {name}")).collect::<String>()
    };
    let mut all = String::new();
    for state in State::ALL {
        all += &format!("{}:{}\n", state.as_str(), by_state(Some(state)));
    }
    let sensor = IdentityRef { module: Some("sensor"), ..device("gw-1") };
    all + &format!("unknown:{}\ngw-1/sensor: {:?}\n", by_state(None), engine.state(sensor))
}

async fn started_of_partition(journal: &Journal, has_log: bool) -> String {
    let (mut desk, kept) = restore::desk(journal, &setup(has_log), moment(70_000)).await.unwrap();
    format!(
        "snapshots {kept:?}, next entry {}, goes on after {:?}, clock {}\n{}{}",
        desk.book().next_number(),
        desk.resume().map(|resume| (resume.after, resume.stream)),
        desk.engine().clock(),
        states(desk.engine()),
        owed(journal, desk.outbox()).await
    )
}

async fn started_of_fleet(journal: &Journal) -> String {
    let restore::Found { stored, kept } = restore::load(journal, 0).await.unwrap();
    let mut desk = fleet_desk(&stored);
    let mut text = format!("snapshots {kept:?}, next entry {}\n", stored.next);
    for alert in desk.state().paths.values() {
        text += &format!("open: {} {:?}\n", alert.id, alert.reasons);
    }
    for alert in &desk.state().own {
        text += &format!("open: {} {:?} {:?}\n", alert.id, alert.reason, alert.counts);
    }
    text += &format!("last watchdog: {}\n", desk.state().watchdogs);
    text + &owed(journal, desk.outbox()).await
}

/// What a start makes of the store.
async fn started(objects: &Objects) -> String {
    format!(
        "log\n{}\nqueue\n{}\nfleet\n{}",
        started_of_partition(&objects.journal(LOG), true).await,
        started_of_partition(&objects.journal(QUEUE), false).await,
        started_of_fleet(&objects.journal(FLEET)).await
    )
}

#[tokio::test]
async fn a_store_of_format_1_is_taken_up_with_everybody_in_it_and_everything_owed() {
    let (_temporary, objects) = version_1();
    let started = started(&objects).await;
    let expected = std::fs::read_to_string(folder(1).join("start.txt")).unwrap();
    assert!(started == expected, "a start makes something else of it: {started}");
}
