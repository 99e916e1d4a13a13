use bytes::Bytes;
use proptest::prelude::*;

use super::*;

fn folder(path: &std::path::Path) -> Objects {
    let config = StoreConfig {
        path: path.to_owned(),
        dead_letter_bytes: 0,
        snapshot_interval_ms: 30_000,
        remote: None,
    };
    Objects::open(&config).expect("the folder opens")
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(work)
}

/// Every file below a folder.
fn files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn journals_of_any_names_stay_inside_are_apart_and_are_found_again(
        names in proptest::collection::hash_set(
            proptest::collection::vec(
                prop_oneof!["[./%=~\\\\a]{0,4}", "\\PC{0,12}", "(entries|snapshots|\\.tmp|0)", "x{190,230}"],
                1..4,
            ),
            1..5,
        )
    ) {
        let place = tempfile::tempdir().expect("a temporary folder");
        for objects in [folder(&place.path().join("data")), Objects::in_memory()] {
            block_on(async {
                for (position, name) in names.iter().enumerate() {
                    let path: Vec<&str> = name.iter().map(String::as_str).collect();
                    let bytes = Bytes::from(format!("{position}"));
                    objects.journal(&path).create(0, bytes).await.expect("each is new");
                }
                let mut found = objects.journals(&[]).await.expect("listed");
                let mut expected: Vec<_> = names.iter().cloned().collect();
                found.sort();
                expected.sort();
                assert_eq!(found, expected);
                for name in &names {
                    let path: Vec<&str> = name.iter().map(String::as_str).collect();
                    let below = objects.journals(&path).await.expect("listed");
                    assert!(below.iter().all(|found| found.starts_with(name)) && below.contains(name));
                }
            });
        }
        let outside = files(place.path()).into_iter().filter(|path| !path.starts_with(place.path().join("data")));
        prop_assert_eq!(outside.count(), 0);
        prop_assert_eq!(files(&place.path().join("data")).len(), names.len());
    }
}

#[tokio::test]
async fn a_journal_that_was_emptied_is_none_and_the_dead_letters_are_none() {
    let place = tempfile::tempdir().expect("a temporary folder");
    std::fs::create_dir_all(place.path().join("dead-letters/ingest")).expect("a neighbour");
    std::fs::write(place.path().join("dead-letters/ingest/0.jsonl"), "{}").expect("a neighbour");
    let objects = folder(place.path());
    let journal = objects.journal(&["partitions", "hub", "0"]);
    journal.create(1, Bytes::from_static(b"x")).await.expect("created");
    objects.journal(&["fleet"]).put_snapshot(1, Bytes::new()).await.expect("kept");
    let mut found = objects.journals(&[]).await.expect("listed");
    found.sort();
    assert_eq!(found, [vec!["fleet"], vec!["partitions", "hub", "0"]]);
    assert_eq!(objects.journals(&["partitions"]).await.expect("listed").len(), 1);

    journal.collect(2, &std::collections::BTreeSet::new(), &[]).await.expect("collected");
    assert_eq!(objects.journals(&[]).await.expect("listed"), [["fleet"]]);
    assert!(objects.journals(&["nobody"]).await.expect("listed").is_empty());
}

#[test]
fn a_folder_that_can_not_be_is_an_error_that_names_it() {
    let place = tempfile::tempdir().expect("a temporary folder");
    let file = place.path().join("file");
    std::fs::write(&file, "").expect("a file");
    let path = file.join("data");
    let config = StoreConfig {
        path: path.clone(),
        dead_letter_bytes: 0,
        snapshot_interval_ms: 30_000,
        remote: None,
    };
    let error = Objects::open(&config).expect_err("a file is no folder").to_string();
    assert!(error.contains(&path.display().to_string()), "{error}");
}

#[test]
fn settings_that_can_not_be_used_are_refused_without_the_values() {
    use crate::config::{Provider, RemoteStoreConfig};

    for (key, value) in [("access_key", "no base64, but secret"), ("allow_http", "secretpw")] {
        let options = vec![
            ("account_name".to_owned(), "acme".to_owned().into()),
            (key.to_owned(), value.to_owned().into()),
        ];
        let remote = RemoteStoreConfig {
            provider: Provider::Azure,
            container: "c".to_owned(),
            prefix: String::new(),
            options,
        };
        let config = StoreConfig {
            path: "unused".into(),
            dead_letter_bytes: 0,
            snapshot_interval_ms: 30_000,
            remote: Some(remote),
        };
        let error = Objects::open(&config).expect_err("it can't be used");
        assert!(matches!(error, StoreError::Settings { .. }), "{error}");
        assert!(!error.to_string().contains(value), "{error}");
    }
}
