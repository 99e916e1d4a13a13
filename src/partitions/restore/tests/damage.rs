//! Whatever becomes of the files of a journal, the service starts, flags nobody who lives, forgets nobody whom a file still
//! knows, and tells what is still owed.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use super::scene::{Scene, moment};
use crate::alert::Message as Told;
use crate::alert::body::Status;
use crate::alert::self_health::{SelfAlert, SelfReason};
use crate::engine::{State, Timestamp};
use crate::journal::{Entry, FleetDesk, FrameError, Next, Pace, Snapshot, Stored};
use crate::partitions::restore;
use crate::store::journal::{Journal, MAX_ENTRY_BYTES};
use crate::store::objects::Objects;

/// All objects of a store, by path.
type Files = BTreeMap<String, Bytes>;

const NAME: [&str; 3] = ["partitions", "hub", "0"];
/// The entry in which `dead` is flagged, and which audit is still owed.
const FLAGGED_IN: u64 = 3;

async fn files_of(store: &InMemory) -> Files {
    let mut files = Files::new();
    for object in store.list(None).try_collect::<Vec<_>>().await.unwrap() {
        let bytes = store.get(&object.location).await.unwrap().bytes().await.unwrap();
        files.insert(object.location.to_string(), bytes);
    }
    files
}

async fn journal_over(files: &Files, name: &[&str]) -> Journal {
    let store = InMemory::new();
    for (path, bytes) in files {
        store.put(&Path::from(path.as_str()), bytes.clone().into()).await.unwrap();
    }
    Objects::over(Arc::new(store)).journal(name)
}

fn number_of(path: &str) -> u64 {
    let name = path.rsplit('/').next().unwrap();
    if name.len() == 20 { name.parse().unwrap_or(0) } else { 0 }
}

fn is_snapshot(path: &str) -> bool {
    path.contains("snapshots")
}

fn decoded(path: &str, bytes: &[u8]) -> Result<(), FrameError> {
    let number = number_of(path);
    if is_snapshot(path) {
        Snapshot::decode_as(number, bytes).map(|_| ())
    } else {
        Entry::decode_as(number, bytes).map(|_| ())
    }
}

/// What a process left behind, and what may be said after it.
struct Before {
    scene: Scene,
    files: Files,
    has_log: bool,
    /// What audit was still owed about `dead`.
    owed: Told,
    /// What was told or owed about `returned`, whose outage is over.
    over: BTreeSet<String>,
    failures: RefCell<Vec<String>>,
}

impl Before {
    /// Two snapshots, six entries, of which one was collected. `quick` and `slow` live, `slow` beats hardly more often
    /// than once a window; `roamer` lives too, and is heard on another partition; `dead` has been flagged, `returned` was and is back, `late` is silent and not due yet.
    async fn new(has_log: bool) -> Self {
        let store = Arc::new(InMemory::new());
        let journal = Objects::over(store.clone()).journal(&NAME);
        let mut scene = Scene::new(journal.clone(), has_log);
        scene.attach();
        for second in 0..=23 {
            scene.now_ms = second * 1_000;
            if second % 2 == 0 {
                scene.beat("quick");
            }
            if [3, 12, 21].contains(&second) {
                scene.beat("slow");
            }
            if [1, 19].contains(&second) {
                scene.beat("returned");
            }
            if [1, 8, 16].contains(&second) {
                scene.beat("late");
            }
            if second == 1 {
                scene.beat("dead");
            }
            if second == 2 {
                scene.beat("roamer");
            }
            if second > 2 {
                scene.hear_elsewhere("roamer");
            }
            scene.prove();
            match second {
                4 => scene.write(true).await,
                8 | 20 | 22 => scene.write(false).await,
                15 => {
                    scene.write(false).await;
                    scene.deliver("ops", 2).await;
                }
                18 => {
                    scene.write(true).await;
                    journal.collect(2, &BTreeSet::from([FLAGGED_IN]), &[4, 1]).await.unwrap();
                }
                _ => {}
            }
        }
        let files = files_of(&store).await;
        let of_entries: Vec<u64> =
            files.keys().filter(|path| !is_snapshot(path)).map(|path| number_of(path)).collect();
        assert_eq!(of_entries, [2, 3, 4, 5, 6]);
        assert_eq!(files.len(), 7, "{:?}", files.keys());
        let path = files.keys().find(|path| !is_snapshot(path) && number_of(path) == FLAGGED_IN);
        let entry = Entry::decode(&files[path.unwrap()]).unwrap();
        let about = |name: &str, told: &Told| {
            String::from_utf8_lossy(&told.body).contains(&format!("\"{name}\""))
        };
        let owed =
            entry.owed.iter().find(|owed| owed.sink == "audit" && about("dead", &owed.message));
        let over = entry.owed.iter().filter(|owed| about("returned", &owed.message));
        let over = over.map(|owed| owed.message.alert_id.clone()).collect();
        let owed = owed.unwrap().message.clone();
        Self { scene, files, has_log, owed, over, failures: RefCell::default() }
    }

    /// Starts a process over these files, lets it work for 40 s, and checks what it did.
    async fn check(&self, files: &Files, down_ms: i64, what: &str) {
        let journal = journal_over(files, &NAME).await;
        let numbers = files.keys().map(|path| number_of(path));
        let highest = numbers.filter(|number| *number < u64::MAX / 2).max().unwrap_or(0);
        let mut scene = self.scene.restarted(&journal, down_ms).await;
        self.expect(scene.desk.book().next_number() > highest, what, "the next number is taken");
        let began_ms = scene.now_ms;
        let mut next_slow_ms = 30_000;
        while scene.now_ms < began_ms + 40_000 {
            scene.now_ms += 1_000;
            scene.beat("quick");
            scene.hear_elsewhere("roamer");
            if scene.now_ms % 2 == 0 {
                scene.beat("returned");
            }
            if scene.now_ms >= next_slow_ms {
                next_slow_ms += 9_000;
                scene.beat("slow");
            }
            scene.prove();
            scene.write(false).await;
        }
        scene.deliver("ops", 100).await;
        scene.deliver("audit", 100).await;
        self.expect_nobody_living_flagged(&scene, files, down_ms, what);
        self.expect_the_silent_known(&scene, files, what);
    }

    fn expect_nobody_living_flagged(&self, scene: &Scene, files: &Files, down_ms: i64, what: &str) {
        // Nothing shows that the last entries were deleted. What was read is read again from a log, and missed by a queue that
        // stood for less than is bridged; what another partition told is missed by both.
        let cut_unseen = files.keys().map(|path| number_of(path)).max() < Some(6);
        let missed_by_queue = !self.has_log && down_ms < super::scene::GRACE_MS;
        for name in ["quick", "slow", "returned", "roamer"] {
            let state = scene.state(name);
            // Whoever has been heard elsewhere for long is judged there.
            let lives = state == Some(State::Online) || (name == "roamer" && state.is_none());
            self.expect(lives, what, &format!("{name} is {state:?}"));
            let firing = scene.told.iter().filter(|(_, told)| {
                told.status == Status::Firing
                    && String::from_utf8_lossy(&told.body).contains(&format!("\"{name}\""))
                    && !self.over.contains(&told.alert_id)
            });
            let is_missed = (missed_by_queue && name == "slow") || name == "roamer";
            if !(cut_unseen && is_missed) {
                self.expect(firing.count() == 0, what, &format!("{name} lives and was flagged"));
            }
        }
    }

    fn expect_the_silent_known(&self, scene: &Scene, files: &Files, what: &str) {
        let readable = |path: &str| files.get(path).is_some_and(|at| decoded(path, at).is_ok());
        let holds = |wanted: &[u64]| {
            self.has_log
                || self.files.keys().any(|path| {
                    readable(path) && (is_snapshot(path) || wanted.contains(&number_of(path)))
                })
        };
        if holds(&[FLAGGED_IN]) {
            self.expect(scene.state("dead") == Some(State::Offline), what, "dead is forgotten");
        }
        if holds(&[2, 4]) {
            self.expect(scene.state("late") == Some(State::Offline), what, "late is forgotten");
        }
        let mut of_entry = self.files.keys().filter(|path| !is_snapshot(path));
        let flagged_in = of_entry.find(|path| number_of(path) == FLAGGED_IN).unwrap();
        if readable(flagged_in) {
            let told: Vec<&Told> = scene
                .told
                .iter()
                .filter(|(sink, told)| *sink == "audit" && told.message_id == self.owed.message_id)
                .map(|(_, told)| told)
                .collect();
            self.expect(told.contains(&&self.owed), what, &format!("not told as owed: {told:?}"));
        }
    }

    fn expect(&self, holds: bool, what: &str, otherwise: &str) {
        if !holds {
            self.failures.borrow_mut().push(format!("{what}: {otherwise}"));
        }
    }

    /// All failures at once: which cases fail says more than the first that does.
    fn assert_safe(&self) {
        let failures = self.failures.borrow();
        let shown: Vec<&String> = failures.iter().take(20).collect();
        assert!(failures.is_empty(), "{} cases: {shown:#?}", failures.len());
    }

    async fn check_all(&self, files: &Files, what: &str) {
        // Longer and shorter than what is bridged.
        for down_ms in [3_000, 100] {
            self.check(files, down_ms, &format!("log: {}, down {down_ms}: {what}", self.has_log))
                .await;
        }
    }
}

async fn both() -> [Before; 2] {
    [Before::new(true).await, Before::new(false).await]
}

/// Every way to change one bit, and every length to be cut to: none is taken for the file that it was.
fn damaged(path: &str, whole: &Bytes) -> BTreeMap<String, Bytes> {
    let mut by_error: BTreeMap<String, Bytes> = BTreeMap::new();
    let mut note = |bytes: Vec<u8>| {
        let error = decoded(path, &bytes).expect_err("damage goes unseen");
        let name = format!("{error:?}");
        let kind = name.split('(').next().unwrap().to_owned();
        by_error.entry(kind).or_insert_with(|| bytes.into());
    };
    for bit in 0..8 * whole.len() {
        let mut bytes = whole.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        note(bytes);
    }
    for length in 0..whole.len() {
        note(whole[..length].to_vec());
    }
    by_error
}

#[tokio::test]
async fn after_any_flipped_bit_and_any_cut_in_any_file_the_start_is_safe() {
    for before in both().await {
        before.check_all(&before.files, "whole").await;
        for (path, whole) in &before.files {
            // A start sees nothing of a file that can't be read but why not.
            for (error, bytes) in damaged(path, whole) {
                let mut files = before.files.clone();
                files.insert(path.clone(), bytes);
                before.check_all(&files, &format!("{path}: {error}")).await;
            }
        }
        before.assert_safe();
    }
}

#[tokio::test]
async fn after_any_set_of_files_is_deleted_or_damaged_the_start_is_safe() {
    for before in both().await {
        for chosen in 1_u32..1 << before.files.len() {
            let is_chosen = |index: usize| chosen >> index & 1 == 1;
            let (mut deleted, mut damaged) = (Files::new(), Files::new());
            for (index, (path, bytes)) in before.files.iter().enumerate() {
                let cut =
                    if is_chosen(index) { bytes.slice(..bytes.len() - 1) } else { bytes.clone() };
                damaged.insert(path.clone(), cut);
                if !is_chosen(index) {
                    deleted.insert(path.clone(), bytes.clone());
                }
            }
            before.check_all(&deleted, &format!("deleted {chosen:b}")).await;
            before.check_all(&damaged, &format!("damaged {chosen:b}")).await;
        }
        before.assert_safe();
    }
}

#[tokio::test]
async fn after_files_have_changed_places_or_hold_something_else_the_start_is_safe() {
    for before in both().await {
        let paths: Vec<&String> = before.files.keys().collect();
        for (index, a) in paths.iter().enumerate() {
            for b in &paths[index + 1..] {
                let mut files = before.files.clone();
                files.insert((*a).clone(), before.files[*b].clone());
                before.check_all(&files, &format!("{a} is a copy of {b}")).await;
                files.insert((*b).clone(), before.files[*a].clone());
                before.check_all(&files, &format!("{a} and {b} swapped")).await;
            }
            for foreign in [Bytes::new(), Bytes::from_static(b"{}"), Bytes::from(vec![0; 4_096])] {
                let mut files = before.files.clone();
                files.insert((*a).clone(), foreign.clone());
                before
                    .check_all(&files, &format!("{a} holds {} foreign bytes", foreign.len()))
                    .await;
            }
        }
        before.assert_safe();
    }
}

#[tokio::test]
async fn files_that_are_none_of_ours_keep_nobody_from_starting() {
    let too_large = Bytes::from(vec![7; usize::try_from(MAX_ENTRY_BYTES).unwrap() + 1]);
    let below = NAME.join("/");
    for before in both().await {
        let mut files = before.files.clone();
        for path in ["entries/notes.txt", "snapshots/7", "entries/00000000000000000/5", "README"] {
            files.insert(format!("{below}/{path}"), Bytes::from_static(b"not ours"));
        }
        for number in [u64::MAX, u64::MAX - 1] {
            let group = number / 1_000;
            let entry = format!("{below}/entries/{group:017}/{number:020}");
            files.insert(entry, Bytes::from_static(b"not ours"));
            let snapshot = format!("{below}/snapshots/{number:020}");
            files.insert(snapshot, Bytes::from_static(b"not ours"));
        }
        before.check_all(&files, "foreign names").await;
        for path in before.files.keys().filter(|path| !is_snapshot(path)) {
            let mut files = before.files.clone();
            files.insert(path.clone(), too_large.clone());
            before.check_all(&files, &format!("{path} is too large")).await;
        }
        before.assert_safe();
    }
}

/// An entry of the fleet, and what is open by it.
async fn tell(desk: &mut FleetDesk, journal: &Journal, at_ms: i64, with_snapshot: bool) {
    let at = Timestamp::from_ms(at_ms);
    desk.tell_self(&SelfAlert::firing(SelfReason::Storage, None, at, at), moment(at_ms));
    let taken = desk.take(moment(at_ms), true, with_snapshot).unwrap();
    let bytes = Bytes::from(taken.entry.encode().unwrap());
    journal.create(taken.number, bytes).await.unwrap();
    desk.committed(taken.number);
    if let Some(snapshot) = taken.snapshot {
        let bytes = Bytes::from(snapshot.encode().unwrap());
        journal.put_snapshot(taken.number, bytes).await.unwrap();
        desk.snapshot_kept(taken.number);
    }
}

#[tokio::test]
async fn after_any_damage_to_the_fleets_journal_what_can_be_read_is_open_and_owed() {
    let store = Arc::new(InMemory::new());
    let journal = Objects::over(store.clone()).journal(&["fleet"]);
    let sinks: Arc<[Arc<str>]> = Arc::new(["ops".into()]);
    let open = |stored: &Stored| {
        FleetDesk::new(sinks.clone(), "a-process".to_owned(), Pace::default(), stored, moment(0))
    };
    let mut desk = open(&Stored::default());
    for number in 1..=5 {
        tell(&mut desk, &journal, number * 60_000, number == 1 || number == 3).await;
    }
    let files = files_of(&store).await;
    assert_eq!(files.len(), 7);
    for chosen in 0_u32..1 << files.len() {
        let mut damaged = Files::new();
        for (index, (path, bytes)) in files.iter().enumerate() {
            let cut = bytes.len() - usize::from(chosen >> index & 1 == 1);
            damaged.insert(path.clone(), bytes.slice(..cut));
        }
        let journal = journal_over(&damaged, &["fleet"]).await;
        let stored = restore::load(&journal, 0).await.unwrap().stored;
        let mut desk = open(&stored);
        assert_eq!(stored.next, 6);
        // Each entry holds everything that is open by then, and so does each snapshot.
        let readable = |(path, bytes): (&String, &Bytes)| {
            decoded(path, bytes).is_ok().then(|| (is_snapshot(path), number_of(path)))
        };
        let readable: Vec<(bool, u64)> = damaged.iter().filter_map(readable).collect();
        let newest = readable.iter().map(|(_, number)| *number).max().unwrap_or(0);
        assert_eq!(desk.state().own.len() as u64, newest, "{chosen:b}");
        let mut told = 0;
        desk.outbox().open();
        loop {
            match desk.outbox().next("ops") {
                Next::Nothing => break,
                Next::Send { .. } => told += 1,
                Next::Fetch(number) => {
                    let entry = restore::entry(&journal, number).await.unwrap();
                    desk.outbox().refill("ops", number, entry.as_ref());
                }
            }
        }
        let entries = readable.iter().filter(|(is_snapshot, _)| !is_snapshot).count();
        assert_eq!(told, entries, "{chosen:b}");
    }
}
