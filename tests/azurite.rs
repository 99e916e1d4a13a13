//! Journals on a real object store: Microsoft's emulator of Azure Blob Storage.

#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests fail as tests do")]

#[path = "support/azurite.rs"]
mod azurite;

use std::collections::BTreeSet;
use std::path::PathBuf;

use bytes::Bytes;
use futures_util::TryStreamExt;
use lastseen::config::{Provider, RemoteStoreConfig, StoreConfig};
use lastseen::store::StoreError;
use lastseen::store::journal::CreateError;
use lastseen::store::objects::Objects;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use azurite::Azurite;

/// A store in that container, asked at that port.
fn open(port: u16, container: &str, key: &str) -> Objects {
    let options = [
        ("account_name", azurite::ACCOUNT.to_owned()),
        ("access_key", key.to_owned()),
        ("endpoint", format!("http://127.0.0.1:{port}/{}", azurite::ACCOUNT)),
        ("allow_http", "true".to_owned()),
    ];
    let remote = RemoteStoreConfig {
        provider: Provider::Azure,
        container: container.to_owned(),
        prefix: "fleet/eu".to_owned(),
        options: options.map(|(key, value)| (key.to_owned(), value.into())).to_vec(),
    };
    let config = StoreConfig {
        path: PathBuf::new(),
        dead_letter_bytes: 0,
        snapshot_interval_ms: 30_000,
        remote: Some(remote),
    };
    Objects::open(&config).expect("the settings can be used")
}

fn bytes(content: &str) -> Bytes {
    Bytes::copy_from_slice(content.as_bytes())
}

#[tokio::test]
async fn a_journal_on_azure_blob_is_created_raced_for_recovered_and_collected() {
    let emulator = Azurite::start().await;
    emulator.create_container("state").await;
    let objects = open(emulator.port(), "state", azurite::KEY);
    creating_and_racing(&objects).await;
    recovering(&objects).await;
    collecting(&objects).await;
    odd_names(&objects).await;
    lost_answers(&emulator).await;
    refusals(&emulator).await;
}

async fn creating_and_racing(objects: &Objects) {
    let name = ["partitions", "hub", "0"];
    let journal = objects.journal(&name);
    assert_eq!(journal.entry(0).await, Ok(None));
    assert_eq!(journal.create(0, bytes("a")).await, Ok(()));
    assert_eq!(journal.create(0, bytes("a")).await, Ok(()), "a retry of ours");
    let taken = journal.create(0, bytes("b")).await;
    assert!(matches!(taken, Err(CreateError::Taken { .. })), "{taken:?}");
    assert_eq!(journal.entry(0).await, Ok(Some(bytes("a"))));

    for number in 1..20 {
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let journal = objects.journal(&name);
                tokio::spawn(
                    async move { journal.create(number, bytes(&writer.to_string())).await },
                )
            })
            .collect();
        let mut winners = Vec::new();
        for (writer, task) in writers.into_iter().enumerate() {
            match task.await.expect("it ends") {
                Ok(()) => winners.push(writer),
                Err(CreateError::Taken { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(winners.len(), 1, "{number}");
        let there = journal.entry(number).await.expect("it is read");
        assert_eq!(there, Some(bytes(&winners[0].to_string())));
    }
}

async fn recovering(objects: &Objects) {
    assert_eq!(
        objects.journals(&["partitions"]).await,
        Ok(vec![["partitions", "hub", "0"].map(str::to_owned).to_vec()])
    );
    let journal = objects.journal(&["partitions", "hub", "0"]);
    let large = Bytes::from((0..20_u32 << 20).map(|i| (i % 251) as u8).collect::<Vec<_>>());
    for number in [3, 12, 17] {
        let snapshot = if number == 17 { large.clone() } else { bytes("snapshot") };
        journal.put_snapshot(number, snapshot).await.expect("it is kept");
    }
    assert_eq!(journal.snapshots().await, Ok(vec![17, 12, 3]));
    assert!(journal.snapshot(17).await.expect("it is read") == Some(large), "in three parts");
    let entries: Vec<(u64, Bytes)> =
        journal.entries(13).try_collect().await.expect("they are read");
    assert_eq!(
        entries.iter().map(|(number, _)| *number).collect::<Vec<_>>(),
        (13..20).collect::<Vec<_>>()
    );
    assert_eq!(journal.numbers().await, Ok((0..20).collect()));
}

async fn collecting(objects: &Objects) {
    let journal = objects.journal(&["partitions", "hub", "0"]);
    let pinned = BTreeSet::from([5]);
    assert_eq!(journal.collect(12, &pinned, &[12, 17]).await, Ok(12), "11 entries, 1 snapshot");
    assert_eq!(journal.collect(12, &pinned, &[12, 17]).await, Ok(0));
    let mut left = vec![5];
    left.extend(12..20);
    assert_eq!(journal.numbers().await, Ok(left));
    assert_eq!(journal.snapshots().await, Ok(vec![17, 12]));
    assert_eq!(journal.collect(13, &BTreeSet::new(), &[17]).await, Ok(3));

    // More than one request removes.
    let journal = objects.journal(&["long"]);
    for number in 990..1_300 {
        journal.create(number, bytes("x")).await.expect("created");
    }
    assert_eq!(journal.collect(1_299, &BTreeSet::new(), &[]).await, Ok(309));
    assert_eq!(journal.numbers().await, Ok(vec![1_299]));
}

async fn odd_names(objects: &Objects) {
    let names = ["odd", "..", "a/b %2F=c?#\\", "entries", "k\u{fc}hl\u{1f600}"];
    let journal = objects.journal(&names);
    journal.create(0, bytes("odd")).await.expect("created");
    assert_eq!(journal.entry(0).await, Ok(Some(bytes("odd"))));
    let found = objects.journals(&["odd"]).await.expect("listed");
    assert_eq!(found, vec![names.map(str::to_owned).to_vec()]);
}

/// Hands requests on to the emulator. The answers to the first `lost` puts are swallowed, and their connections cut.
async fn cutting_proxy(emulator: u16, mut lost: usize) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let port = listener.local_addr().expect("its port").port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut server = TcpStream::connect(("127.0.0.1", emulator)).await.expect("it listens");
            let mut first = vec![0; 64 * 1024];
            let Ok(length) = client.read(&mut first).await else { continue };
            let is_put = first.starts_with(b"PUT ");
            server.write_all(&first[..length]).await.expect("it takes the request");
            if is_put && lost > 0 {
                lost -= 1;
                // An answer says that it is done; nobody is told.
                let (mut from_client, _) = client.split();
                let (mut from_server, mut to_server) = server.split();
                let mut answer = [0; 16];
                tokio::select! {
                    _ = from_server.read_exact(&mut answer) => {}
                    _ = tokio::io::copy(&mut from_client, &mut to_server) => {}
                }
                continue;
            }
            tokio::spawn(async move {
                let _ended = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    port
}

async fn lost_answers(emulator: &Azurite) {
    // One is repeated within the call, more than it repeats end in an error.
    for lost in [1, 4] {
        let port = cutting_proxy(emulator.port(), lost).await;
        let through = open(port, "state", azurite::KEY).journal(&["lost", &lost.to_string()]);
        let mut tries = 1;
        loop {
            match through.create(0, bytes("mine")).await {
                Ok(()) => break,
                Err(CreateError::Store(StoreError::Unavailable { .. })) if tries < 10 => tries += 1,
                Err(error) => panic!("{error}"),
            }
        }
        let direct = open(emulator.port(), "state", azurite::KEY);
        let direct = direct.journal(&["lost", &lost.to_string()]);
        assert_eq!(direct.entry(0).await, Ok(Some(bytes("mine"))));
        let taken = direct.create(0, bytes("theirs")).await;
        assert!(matches!(taken, Err(CreateError::Taken { .. })), "{taken:?}");
    }
}

async fn refusals(emulator: &Azurite) {
    let wrong_key = "bm90IHRoZSBrZXkgb2YgdGhpcyBhY2NvdW50";
    let stranger = open(emulator.port(), "state", wrong_key).journal(&["p"]);
    let error = stranger.create(0, bytes("x")).await.expect_err("the key is wrong");
    assert!(matches!(error, CreateError::Store(StoreError::Refused { .. })), "{error}");
    assert!(!error.to_string().contains(wrong_key), "{error}");

    let nowhere = open(emulator.port(), "missing", azurite::KEY).journal(&["p"]);
    let error = nowhere.create(0, bytes("x")).await.expect_err("there is no such container");
    assert!(error.to_string().contains("the container or bucket is not there"), "{error}");

    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = closed.local_addr().expect("its port").port();
    drop(closed);
    let error = open(port, "state", azurite::KEY).journal(&["p"]).create(0, bytes("x")).await;
    assert!(matches!(error, Err(CreateError::Store(StoreError::Unavailable { .. }))), "{error:?}");
}
