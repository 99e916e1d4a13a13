//! The vendor's own client libraries (`@azure/event-hubs`, and `azure-eventhub` for Python) work against the embedded
//! hub, unmodified: they produce, read properties, consume and are displaced, as with an event hub.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of a test fail it"
)]

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use lastseen::clock;
use lastseen::devhub::hub::{Hub, HubOptions, RegistryChange, connection_string};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

/// Node and Python start slowly on a loaded machine.
const DEADLINE: Duration = Duration::from_secs(120);

/// A hub on a free port of loopback, until dropped.
struct Served {
    hub: Hub,
    connection_string: String,
    stop: CancellationToken,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn serve() -> Served {
    let options = HubOptions {
        name: "example-hub".into(),
        entity: "EventHub-1".into(),
        partitions: 4,
        retention_messages: 1_000,
        key_name: "RootManageSharedAccessKey".into(),
        key: "c2VjcmV0LWtleS1mb3ItdGVzdHMtb25seS0wMDAwMQ==".into(),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connection_string = connection_string(&options, listener.local_addr().unwrap());
    let hub = Hub::new(options, clock::wall());
    let stop = CancellationToken::new();
    tokio::spawn(hub.clone().serve(listener, stop.clone()));
    Served { hub, connection_string, stop }
}

impl Served {
    /// Runs a command of `tests/client/client.mjs` and gives back what it saw.
    async fn client(&self, command: &str, argument: Value) -> Value {
        let folder = client_folder();
        assert!(
            folder.join("node_modules/@azure/event-hubs").is_dir(),
            "the Node packages are missing: run tests/parts/node.sh first"
        );
        let mut node = Command::new("node");
        node.args(["client.mjs", command, &argument.to_string()]);
        self.run(node).await
    }

    /// Runs `tests/client/client.py` and gives back what it saw.
    async fn python_client(&self) -> Value {
        let python = client_folder().join(".venv/bin/python");
        assert!(
            python.is_file(),
            "the Python packages are missing: run tests/parts/python.sh first"
        );
        let mut command = Command::new(python);
        command.arg("client.py");
        self.run(command).await
    }

    async fn run(&self, mut program: Command) -> Value {
        program
            .current_dir(client_folder())
            .env("EVENT_HUB_CONNECTION_STRING", &self.connection_string)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = tokio::time::timeout(DEADLINE, program.output())
            .await
            .unwrap_or_else(|_| panic!("{program:?} took longer than {DEADLINE:?}"))
            .expect("node or python is missing: install Node.js 20 or newer and Python 3");
        assert!(
            output.status.success(),
            "{program:?} failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

fn client_folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/client")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_vendors_client_produces_for_devices_and_reads_back_what_the_hub_stamped() {
    let served = serve().await;
    let heartbeat = |n: u32| json!({ "body": format!("beat {n}"), "properties": { "n": n } });
    let batches = json!([
        { "partitionKey": "pump-01", "events": [heartbeat(0), heartbeat(1), heartbeat(2)] },
        { "partitionKey": "pump-02", "events": [heartbeat(3)] },
        { "events": [{ "body": "", "properties": { "deviceId": "gw-01", "moduleId": "sensor" } }] },
        { "partitionId": "3", "events": [heartbeat(4)] },
    ]);
    served.client("produce", batches).await;
    assert_eq!(served.hub.counts().accepted, 6);

    let consumed = served.client("consume", json!({ "count": 6 })).await;
    let events = consumed.as_array().unwrap();
    assert_eq!(events.len(), 6);
    let sent_by = |device: &str| -> Vec<&Value> {
        let stamp =
            |event: &&Value| event["systemProperties"]["iothub-connection-device-id"] == device;
        events.iter().filter(stamp).collect()
    };
    let pump = sent_by("pump-01");
    assert_eq!(pump.len(), 3);
    let partition = served.hub.partition_of("pump-01").to_string();
    for (n, event) in pump.iter().enumerate() {
        assert_eq!(event["partition"], partition);
        assert_eq!(event["body"], format!("beat {n}"));
        assert_eq!(event["partitionKey"], "pump-01");
        let stamps = &event["systemProperties"];
        assert_eq!(stamps["iothub-message-source"], "Telemetry");
        assert_eq!(stamps["iothub-enqueuedtime"], event["enqueued"]);
        let generation = &stamps["iothub-connection-auth-generation-id"];
        assert_eq!(generation.as_str().unwrap().len(), 18);
        assert!(event["offset"].is_string());
        let last = event["last"]["sequenceNumber"].as_i64().unwrap();
        assert!(last >= event["sequenceNumber"].as_i64().unwrap());
    }
    let sensor = &sent_by("gw-01")[0]["systemProperties"];
    assert_eq!(sensor["iothub-connection-module-id"], "sensor");
    let plain: Vec<&Value> = events.iter().filter(|event| event["properties"]["n"] == 4).collect();
    assert_eq!(plain[0]["partition"], "3");
    assert!(plain[0]["systemProperties"]["iothub-message-source"].is_null());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_vendors_client_reads_the_properties_of_hub_and_partitions() {
    let served = serve().await;
    let now = clock::wall();
    let hub = &served.hub;
    let (partition, _) = hub.registry("pump-01", None, RegistryChange::Create, now).unwrap();
    let seen = served.client("properties", Value::Null).await;
    assert_eq!(seen["hub"]["name"], "EventHub-1");
    assert_eq!(seen["hub"]["partitionIds"], json!(["0", "1", "2", "3"]));
    for (n, properties) in seen["partitions"].as_array().unwrap().iter().enumerate() {
        let info = hub.partition_info(n).unwrap();
        assert_eq!(properties["partitionId"], n.to_string());
        assert_eq!(properties["beginningSequenceNumber"], info.begin_sequence);
        assert_eq!(properties["lastEnqueuedSequenceNumber"], info.last_sequence);
        assert_eq!(properties["lastEnqueuedOffset"], info.last_offset);
        assert_eq!(properties["isEmpty"], n != partition);
    }
    assert!(hub.counts().management_reads >= 5);
    assert!(hub.counts().tokens >= 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_vendors_client_is_displaced_by_a_reader_with_a_higher_owner_level() {
    let served = serve().await;
    let now = clock::wall();
    let hub = &served.hub;
    let (partition, _) = hub.connection_event("pump-01", None, true, now).unwrap();
    let argument = json!({ "partition": partition.to_string() });
    let seen = served.client("steal", argument).await;
    assert_eq!(seen["told"], json!({ "first": "ReceiverDisconnectedError" }));
    assert_eq!(seen["seen"], json!({ "first": 1, "second": 1 }));
    assert_eq!(hub.counts().receivers, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_vendors_python_client_which_indexes_fields_by_position_works_too() {
    let served = serve().await;
    let partition = served.hub.partition_of("pump-01");
    let seen = served.python_client().await;
    assert_eq!(seen["produced"]["name"], "EventHub-1");
    let events = seen["consumed"].as_array().unwrap();
    let pump: Vec<&Value> = events
        .iter()
        .filter(|event| event["device"] == "pump-01")
        .collect();
    let lengths: Vec<&Value> = pump.iter().map(|event| &event["length"]).collect();
    assert_eq!(lengths, [&json!(6), &json!(6), &json!(300_000)]);
    for event in &pump {
        assert_eq!(event["partition"], partition.to_string());
        assert_eq!(event["last"], seen["produced"]["last"][partition]);
    }
    assert_eq!(events.len(), 4);
}
