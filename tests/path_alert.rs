//! The alert about a source that can't be observed: the whole service reads the embedded hub over a link that breaks
//! again and again.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use lastseen::alert::path::PathLimits;
use lastseen::app::App;
use lastseen::clock;
use lastseen::config::{
    ClockConfig, Config, EventHubsAuth, EventHubsConfig, HttpConfig, LogConfig, LogFormat,
    RedactedUrl, SourceConfig, SourceKind, Start, StoreConfig, Transport, WebhookConfig,
};
use lastseen::devhub::hub::{DeviceMessage, Hub, HubOptions, connection_string};
use lastseen::engine::rules::{Policy, ProofOfLife, Terms};
use lastseen::wire::HubName;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Far above what anything here takes, so that only a fault reaches it.
const DEADLINE: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(50);

const DEVICES: usize = 20;
const DEAD: &str = "device-0";
const BEAT_EVERY: Duration = Duration::from_millis(400);

/// Blindness of 2 s is told, and 8 s of sight end it: longer than the link holds between two breaks.
const LIMITS: PathLimits = PathLimits {
    after_ms: 2_000,
    lagging_after_ms: 4_000,
    clear_after_ms: 8_000,
    update_every_ms: 1_000,
};

/// What the webhook was sent, in order: the `data` of each body.
#[derive(Clone, Default)]
struct Inbox(Arc<Mutex<Vec<Value>>>);

impl Inbox {
    async fn serve(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let take = |State(inbox): State<Self>, body: Bytes| async move {
            let body: Value = serde_json::from_slice(&body).unwrap();
            inbox.0.lock().unwrap().push(body["data"].clone());
        };
        let router = axum::Router::new().route("/", post(take)).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }

    fn all(&self) -> Vec<Value> {
        self.0.lock().unwrap().clone()
    }

    fn paths(&self) -> Vec<Value> {
        self.all().into_iter().filter(|alert| alert["type"] == "path.blind").collect()
    }

    fn flagged(&self) -> Vec<Value> {
        self.all().into_iter().filter(|alert| alert["type"] != "path.blind").collect()
    }

    async fn until(&self, what: &str, wanted: impl Fn(&Self) -> bool) {
        let waited = timeout(DEADLINE, async {
            while !wanted(self) {
                sleep(LOOK_EVERY).await;
            }
        });
        assert!(waited.await.is_ok(), "{what}: not so in {:#?}", self.all());
    }
}

fn config(connection_string: &str, receiver: SocketAddr, store: &Path) -> Config {
    let terms = Terms {
        window_ms: 3_000,
        grace_ms: 1_000,
        first_window_ms: 600_000,
        proof_of_life: ProofOfLife::Any,
    };
    Config {
        sources: vec![SourceConfig {
            name: "hub".into(),
            hub: HubName::Fixed("example-hub".into()),
            kind: SourceKind::EventHubs(EventHubsConfig {
                connection_string: connection_string.to_owned().into(),
                consumer_group: "$Default".to_owned(),
                start: Start::Earliest,
                transport: Transport::Tcp,
                auth: EventHubsAuth::CbsSas,
                owner_level: None,
                credit: 300,
                ca_file: None,
            }),
        }],
        clock: ClockConfig {
            allowance_ms: 1_000,
            tick_ms: 100,
            bridge_ms: 1_000,
            max_error_ms: 30_000,
        },
        policy: Policy { default: terms, rules: Vec::new(), conditions: Vec::new() },
        sinks: vec![WebhookConfig {
            name: "ops".into(),
            url: RedactedUrl(format!("http://{receiver}/").parse().unwrap()),
            secrets: vec!["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into()],
            allow_http: true,
            allow_cidrs: vec!["127.0.0.0/8".parse().unwrap()],
            timeout_ms: 5_000,
            ca_file: None,
        }],
        watchdog: None,
        store: StoreConfig {
            path: store.to_owned(),
            dead_letter_bytes: 1 << 20,
            snapshot_interval_ms: 30_000,
            remote: None,
        },
        http: HttpConfig { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)) },
        api: None,
        log: LogConfig { level: "warn".to_owned(), format: LogFormat::Text },
        shutdown_deadline_ms: 5_000,
    }
}

/// A hub of two partitions on loopback, and its connection string.
async fn hub(stop: &CancellationToken) -> (Hub, String) {
    let options = HubOptions {
        name: "example-hub".into(),
        entity: "events".into(),
        partitions: 2,
        retention_messages: 10_000,
        key_name: "service".into(),
        key: "c2VjcmV0LWtleS1mb3ItdGVzdHMtb25seS0wMDAwMQ==".into(),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connection_string = connection_string(&options, listener.local_addr().unwrap());
    let hub = Hub::new(options, clock::wall());
    tokio::spawn(hub.clone().serve(listener, stop.clone()));
    (hub, connection_string)
}

fn beat(hub: &Hub, device: usize) {
    let device = format!("device-{device}");
    let message = DeviceMessage { device, ..DeviceMessage::default() };
    hub.device_to_cloud(message, clock::wall()).unwrap();
}

/// Everybody beats, the dead device only once.
async fn live(hub: Hub) {
    beat(&hub, 0);
    let mut every = tokio::time::interval(BEAT_EVERY);
    loop {
        every.tick().await;
        (1..DEVICES).for_each(|device| beat(&hub, device));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_a_link_that_breaks_every_ten_seconds_the_dead_device_is_flagged_or_counted_and_nobody_else()
 {
    let stop = CancellationToken::new();
    let (hub, connection_string) = hub(&stop).await;
    let inbox = Inbox::default();
    let folder = tempfile::tempdir().unwrap();
    let config = config(&connection_string, inbox.serve().await, folder.path());
    let app = App::build_with(config, LIMITS, stop.clone()).await.unwrap();
    let running = tokio::spawn(app.run());
    let fleet = tokio::spawn(live(hub.clone()));

    for _ in 0..3 {
        sleep(Duration::from_secs(6)).await;
        hub.faults().update(|faults| faults.link_down = true);
        sleep(Duration::from_secs(4)).await;
        hub.faults().update(|faults| faults.link_down = false);
    }
    let is_of_dead = |alert: &Value| alert["device_id"] == DEAD && alert["status"] == "firing";
    let paths = inbox.paths();
    let open = paths.last().expect("a break of 4 s is told when 2 s are the limit");
    assert_ne!(open["status"], "resolved", "the link never held for 8 s: {paths:#?}");
    let counted = open["identities"].as_u64() >= Some(1);
    assert!(inbox.flagged().iter().any(is_of_dead) || counted, "{:#?}", inbox.all());

    inbox
        .until("the path alert is resolved once the link holds", |inbox| {
            inbox.paths().last().is_some_and(|alert| alert["status"] == "resolved")
        })
        .await;
    inbox
        .until("the dead device is flagged in the end", |inbox| {
            inbox.flagged().iter().any(is_of_dead)
        })
        .await;
    let paths = inbox.paths();
    assert_eq!(paths[0]["status"], "firing");
    assert!(paths.iter().all(|alert| alert["alert_id"] == paths[0]["alert_id"]), "{paths:#?}");
    assert!(paths[1..paths.len() - 1].iter().all(|alert| alert["status"] == "updated"));
    assert!(inbox.flagged().iter().all(is_of_dead), "{:#?}", inbox.flagged());

    stop.cancel();
    timeout(DEADLINE, running).await.expect("an end in time").unwrap().unwrap();
    fleet.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_never_connects_is_told_although_no_partition_is_known() {
    let stop = CancellationToken::new();
    let (hub, connection_string) = hub(&stop).await;
    hub.faults().update(|faults| faults.link_down = true);
    let inbox = Inbox::default();
    let folder = tempfile::tempdir().unwrap();
    let config = config(&connection_string, inbox.serve().await, folder.path());
    let app = App::build_with(config, LIMITS, stop.clone()).await.unwrap();
    let running = tokio::spawn(app.run());
    inbox.until("the path alert fires", |inbox| !inbox.paths().is_empty()).await;
    let told = inbox.paths().remove(0);
    assert_eq!((&told["status"], &told["source"]), (&"firing".into(), &"hub".into()));
    assert_eq!(told["partitions"], serde_json::json!(["*"]));

    hub.faults().update(|faults| faults.link_down = false);
    inbox
        .until("it is resolved once the source is read", |inbox| {
            inbox.paths().last().is_some_and(|alert| alert["status"] == "resolved")
        })
        .await;
    stop.cancel();
    timeout(DEADLINE, running).await.expect("an end in time").unwrap().unwrap();
}
