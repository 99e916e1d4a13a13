//! What a journal promises, on both backends, against a map.

use std::collections::BTreeMap;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult,
};
use proptest::prelude::*;

use super::*;
use crate::config::StoreConfig;
use crate::store::objects::Objects;

fn folder(place: &tempfile::TempDir) -> Objects {
    let config = StoreConfig {
        path: place.path().to_owned(),
        dead_letter_bytes: 0,
        snapshot_interval_ms: 30_000,
        remote: None,
    };
    Objects::open(&config).expect("the folder opens")
}

fn temporary_folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(work)
}

fn bytes(content: u8) -> Bytes {
    Bytes::from(vec![content; 3])
}

/// One call.
#[derive(Clone, Debug)]
enum Step {
    /// By the owner, at the end, repeated that often.
    Append {
        content: u8,
        repeats: usize,
    },
    /// By anybody, anywhere.
    Create {
        number: u64,
        content: u8,
    },
    Snapshot {
        number: u64,
        content: u8,
    },
    /// Of everything below a number that is so far from the end, except these, which are so far below it.
    Collect {
        before_end: u64,
        pinned: Vec<u64>,
        keep: Vec<u64>,
    },
    /// Another process: what a collector remembered is gone.
    Reopen,
}

/// Numbers around the borders of groups, and a few far ones.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0..12_u64, 990..1010_u64, 1995..2005_u64, Just(7_000_000), Just(u64::MAX / 2)]
}

fn step() -> impl Strategy<Value = Step> {
    let content = 0..3_u8;
    prop_oneof![
        6 => (content.clone(), 1..3_usize).prop_map(|(content, repeats)| Step::Append { content, repeats }),
        3 => (number(), content.clone()).prop_map(|(number, content)| Step::Create { number, content }),
        2 => (number(), content).prop_map(|(number, content)| Step::Snapshot { number, content }),
        3 => (0..6_u64, proptest::collection::vec(0..20_u64, 0..4), proptest::collection::vec(number(), 0..3))
            .prop_map(|(before_end, pinned, keep)| Step::Collect { before_end, pinned, keep }),
        1 => Just(Step::Reopen),
    ]
}

#[derive(Debug, Default)]
struct Model {
    entries: BTreeMap<u64, Bytes>,
    snapshots: BTreeMap<u64, Bytes>,
    end: u64,
    collected: u64,
}

impl Model {
    fn create(&mut self, number: u64, content: u8) -> Result<(), ()> {
        let there = self.entries.entry(number).or_insert_with(|| bytes(content));
        if *there == bytes(content) { Ok(()) } else { Err(()) }
    }

    /// How many go.
    fn collect(&mut self, before: u64, pinned: &BTreeSet<u64>, keep: &[u64]) -> usize {
        self.collected = self.collected.max(before);
        let was = self.entries.len() + self.snapshots.len();
        self.entries.retain(|number, _| *number >= before || pinned.contains(number));
        let newest = keep.iter().max();
        self.snapshots.retain(|number, _| newest <= Some(number) || keep.contains(number));
        was - self.entries.len() - self.snapshots.len()
    }
}

async fn apply(journal: &Journal, model: &mut Model, step: &Step) {
    match step {
        Step::Append { content, repeats } => {
            let number = model.end;
            let expected = model.create(number, *content);
            for _ in 0..*repeats {
                let created = journal.create(number, bytes(*content)).await;
                assert_eq!(created.is_ok(), expected.is_ok(), "{created:?}");
            }
            model.end += 1;
        }
        // Below what was collected nobody creates: see `Journal::create`.
        Step::Create { number, .. } if *number < model.collected => {}
        Step::Create { number, content } => {
            let created = journal.create(*number, bytes(*content)).await;
            match model.create(*number, *content) {
                Ok(()) => assert_eq!(created, Ok(())),
                Err(()) => assert!(matches!(created, Err(CreateError::Taken { .. }))),
            }
        }
        Step::Snapshot { number, content } => {
            journal.put_snapshot(*number, bytes(*content)).await.expect("it is kept");
            model.snapshots.insert(*number, bytes(*content));
        }
        Step::Collect { before_end, pinned, keep } => {
            let before = model.end.saturating_sub(*before_end);
            let pinned = pinned.iter().map(|below| before.saturating_sub(*below)).collect();
            let removed = journal.collect(before, &pinned, keep).await.expect("collected");
            assert_eq!(removed, model.collect(before, &pinned, keep));
        }
        Step::Reopen => {}
    }
}

async fn check(journal: &Journal, model: &Model) {
    let numbers: Vec<u64> = model.entries.keys().copied().collect();
    assert_eq!(journal.numbers().await.expect("listed"), numbers);
    for from in [0, 1, 995, u64::MAX / 2] {
        let read: Vec<(u64, Bytes)> =
            journal.entries(from).try_collect().await.expect("they are read");
        let mut next = Some(from);
        let expected: Vec<(u64, Bytes)> = std::iter::from_fn(|| {
            let number = next?;
            next = number.checked_add(1);
            Some((number, model.entries.get(&number)?.clone()))
        })
        .collect();
        assert_eq!(read, expected, "from {from}");
    }
    let snapshots: Vec<u64> = model.snapshots.keys().rev().copied().collect();
    assert_eq!(journal.snapshots().await.expect("listed"), snapshots);
    for number in snapshots {
        let snapshot = journal.snapshot(number).await.expect("it is read");
        assert_eq!(snapshot.as_ref(), model.snapshots.get(&number));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_journal_is_a_map_in_which_nothing_is_overwritten(
        begin in prop_oneof![Just(0_u64), 985..1000_u64],
        steps in proptest::collection::vec(step(), 1..30),
    ) {
        let place = temporary_folder();
        for objects in [folder(&place), Objects::in_memory()] {
            block_on(async {
                let mut journal = objects.journal(&["p"]);
                let mut model = Model { end: begin, ..Model::default() };
                for step in &steps {
                    if matches!(step, Step::Reopen) {
                        journal = objects.journal(&["p"]);
                    }
                    apply(&journal, &mut model, step).await;
                }
                check(&journal, &model).await;
            });
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_writers_of_one_number_exactly_one_wins_and_the_other_learns_it() {
    let place = temporary_folder();
    let memory = Objects::in_memory();
    // Two processes share a folder.
    for (one, two) in [(folder(&place), folder(&place)), (memory.clone(), memory)] {
        for number in 0..100 {
            let writers = [(&one, 1), (&two, 2)].map(|(objects, content)| {
                let journal = objects.journal(&["p"]);
                tokio::spawn(async move { journal.create(number, bytes(content)).await })
            });
            let [a, b] = writers;
            let (a, b) = (a.await.expect("it ends"), b.await.expect("it ends"));
            let winner = match (&a, &b) {
                (Ok(()), Err(CreateError::Taken { .. })) => 1,
                (Err(CreateError::Taken { .. }), Ok(())) => 2,
                other => panic!("{number}: {other:?}"),
            };
            let there = one.journal(&["p"]).entry(number).await.expect("it is read");
            assert_eq!(there, Some(bytes(winner)));
        }
    }
}

/// What the next put does.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Fault {
    #[default]
    None,
    /// It is done, and the answer is lost.
    Landed,
    /// It is not done.
    Lost,
    /// No answer ever comes; it is done.
    Silent,
}

/// A store that fails as it is told.
#[derive(Debug, Default)]
struct Faulty {
    store: InMemory,
    next: std::sync::Mutex<Fault>,
}

impl Faulty {
    fn fail_next(&self, fault: Fault) {
        *self.next.lock().expect("no panic holds it") = fault;
    }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("faulty")
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        let fault = std::mem::take(&mut *self.next.lock().expect("no panic holds it"));
        if fault != Fault::Lost {
            let done = self.store.put_opts(location, payload, options).await;
            if fault == Fault::None || done.is_err() {
                return done;
            }
        }
        if fault == Fault::Silent {
            return std::future::pending().await;
        }
        Err(object_store::Error::Generic { store: "faulty", source: "the answer was lost".into() })
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.store.put_multipart_opts(location, options).await
    }

    async fn get_opts(
        &self,
        location: &Path,
        options: GetOptions,
    ) -> object_store::Result<GetResult> {
        self.store.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.store.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.store.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.store.list_with_delimiter(prefix).await
    }

    async fn copy_opts(
        &self,
        from: &Path,
        to: &Path,
        options: CopyOptions,
    ) -> object_store::Result<()> {
        self.store.copy_opts(from, to, options).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_put_whose_answer_was_lost_is_settled_by_the_same_call_and_only_by_the_same_bytes() {
    let store = Arc::new(Faulty::default());
    let journal = Objects::over(store.clone()).journal(&["p"]);
    for (number, fault) in [Fault::Landed, Fault::Lost, Fault::Silent].into_iter().enumerate() {
        let number = number as u64;
        store.fail_next(fault);
        let error = journal.create(number, bytes(1)).await.expect_err("nobody knows");
        let CreateError::Store(StoreError::Unavailable { doing, object, reason }) = &error else {
            panic!("{error}");
        };
        assert_eq!(*doing, "creating");
        assert!(object.ends_with(&format!("/{number:020}")), "{object}");
        let expected = if fault == Fault::Silent { "no answer within 15 s" } else { "was lost" };
        assert!(reason.contains(expected), "{reason}");

        let other = journal.create(number, bytes(2)).await;
        if fault == Fault::Lost {
            // It had not landed, so the number was free: ours is the one that is late.
            assert_eq!(other, Ok(()));
            let late = journal.create(number, bytes(1)).await;
            assert!(matches!(late, Err(CreateError::Taken { .. })), "{late:?}");
        } else {
            assert!(matches!(other, Err(CreateError::Taken { .. })), "{other:?}");
            assert_eq!(journal.create(number, bytes(1)).await, Ok(()));
            assert_eq!(journal.entry(number).await, Ok(Some(bytes(1))));
        }
    }
}

#[tokio::test]
async fn an_entry_or_a_snapshot_that_is_too_large_is_neither_written_nor_read() {
    let place = temporary_folder();
    for objects in [folder(&place), Objects::in_memory()] {
        let journal = objects.journal(&["p"]);
        let most = usize::try_from(MAX_ENTRY_BYTES).expect("it fits");
        let largest = Bytes::from(vec![1; most]);
        assert_eq!(journal.create(0, largest.clone()).await, Ok(()));
        assert_eq!(journal.entry(0).await.expect("it is read"), Some(largest));
        let larger = Bytes::from(vec![1; most + 1]);
        let refused = journal.create(1, larger).await;
        assert!(matches!(refused, Err(CreateError::Store(StoreError::TooLarge { .. }))));
        assert_eq!(journal.entry(1).await, Ok(None));
    }
}

#[tokio::test]
async fn a_snapshot_of_several_parts_is_what_was_put() {
    let journal = Objects::in_memory().journal(&["p"]);
    let content: Vec<u8> = (0..20_u32 * 1024 * 1024).map(|i| (i % 251) as u8).collect();
    let content = Bytes::from(content);
    journal.put_snapshot(7, content.clone()).await.expect("it is kept");
    assert!(journal.snapshot(7).await.expect("it is read") == Some(content));
}

#[tokio::test]
async fn collecting_removes_a_bounded_number_in_one_call_and_goes_on_where_it_stopped() {
    let objects = Objects::in_memory();
    let journal = objects.journal(&["p"]);
    for number in 0..2_700 {
        journal.create(number, bytes(1)).await.expect("created");
    }
    let mut pinned = BTreeSet::from([3, 1_500]);
    let mut removed = Vec::new();
    for _ in 0..4 {
        removed.push(journal.collect(2_600, &pinned, &[]).await.expect("collected"));
    }
    assert_eq!(removed, [1000, 1000, 598, 0]);
    let mut expected = vec![3, 1_500];
    expected.extend(2_600..2_700);
    assert_eq!(journal.numbers().await.expect("listed"), expected);

    pinned.remove(&3);
    assert_eq!(journal.collect(2_600, &pinned, &[]).await, Ok(1));
    assert_eq!(journal.collect(2_650, &pinned, &[]).await, Ok(50));
    // Another process begins anew, and finds what was left.
    let another = objects.journal(&["p"]);
    assert_eq!(another.collect(2_650, &BTreeSet::new(), &[]).await, Ok(1));
    assert_eq!(journal.numbers().await.expect("listed"), (2_650..2_700).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_snapshot_newer_than_all_that_are_kept_is_in_the_making_and_stays() {
    let journal = Objects::in_memory().journal(&["p"]);
    for number in [1, 2, 3, 4] {
        journal.put_snapshot(number, bytes(1)).await.expect("kept");
    }
    let none = BTreeSet::new();
    assert_eq!(journal.collect(0, &none, &[]).await, Ok(0));
    assert_eq!(journal.collect(0, &none, &[1, 3]).await, Ok(1));
    assert_eq!(journal.snapshots().await, Ok(vec![4, 3, 1]));
    assert_eq!(journal.collect(0, &none, &[3, 4]).await, Ok(1));
    assert_eq!(journal.snapshots().await, Ok(vec![4, 3]));
}

#[tokio::test]
async fn names_that_are_not_ours_are_passed_over() {
    let place = temporary_folder();
    let journal = folder(&place).journal(&["p"]);
    journal.create(5, bytes(1)).await.expect("created");
    journal.put_snapshot(5, bytes(1)).await.expect("kept");
    let inside = place.path().join("p");
    let group = inside.join("entries/00000000000000000");
    for foreign in ["5", "0000000000000000000x", "00000000000000009999", "+0000000000000000006"] {
        std::fs::write(group.join(foreign), "").expect("a foreign file");
        std::fs::write(inside.join("snapshots").join(format!("x{foreign}")), "").expect("another");
    }
    std::fs::create_dir(inside.join("entries/lost+found")).expect("a foreign folder");
    assert_eq!(journal.numbers().await, Ok(vec![5]));
    assert_eq!(journal.snapshots().await, Ok(vec![5]));
    assert_eq!(journal.collect(6, &BTreeSet::new(), &[5]).await, Ok(1));
    assert!(group.join("5").exists());
}
