//! The vendor's client library as the device side.

use std::process::Stdio;

use serde_json::json;

use super::fleet::{ServedHub, set};
use super::program::{Program, Source};
use super::receiver::Receiver;
use super::{DUE_MS, eventually, live_for};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heartbeats_of_the_vendors_client_keep_devices_alive_and_the_one_that_stops_is_flagged() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/client");
    assert!(
        folder.join("node_modules/@azure/event-hubs").is_dir(),
        "the Node packages are missing: run tests/parts/node.sh first"
    );
    let served = ServedHub::start(2).await;
    let receiver = Receiver::start().await;
    let sources = [Source::event_hub("hub", &served.connection_string)];
    let _program = Program::start(&sources, &receiver).await;
    let beats = json!({
        "devices": ["van-1", "van-2", "van-3"], "interval_ms": 400,
        "stops": "van-2", "stops_after_ms": 2_000, "duration_ms": 20_000,
    });
    let mut client = tokio::process::Command::new("node")
        .args(["client.mjs", "heartbeat", &beats.to_string()])
        .current_dir(&folder)
        .env("EVENT_HUB_CONNECTION_STRING", &served.connection_string)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("node is missing: install Node.js 20 or newer");
    eventually("the one that stopped is flagged", 60, || {
        receiver.flagged_names() == set(&["van-2"])
    })
    .await;
    live_for(2 * DUE_MS).await;
    assert_eq!(receiver.flagged_names(), set(&["van-2"]), "the others go on");
    client.kill().await.ok();
}
