//! A hub on loopback, the source that reads it, and the partitions' far ends.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lastseen::clock;
use lastseen::config::{Amqp10Config, EventHubsAuth, EventHubsConfig, Start, Transport};
use lastseen::devhub::amqp::EndpointOptions;
use lastseen::devhub::hub::{DeviceMessage, Hub, HubOptions, connection_string};
use lastseen::engine::{Attached, BlindReason, Proof, Timestamp};
use lastseen::metrics::Metrics;
use lastseen::source::amqp10;
use lastseen::source::event_hubs::{Timing, run_with};
use lastseen::source::{
    EVENT_QUEUE, Event, OpenPartition, PartitionLink, Progress, SourceContext, SourceError,
    SourceStatus,
};
use lastseen::wire::EventTimeFrom;
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Longer than any wait of the source on a loaded machine.
pub const SOON: Duration = Duration::from_secs(20);

/// A hub that is served on a free port.
pub struct Served {
    pub hub: Hub,
    pub port: u16,
    pub connection_string: String,
    stop: CancellationToken,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub async fn serve(partitions: usize, options: EndpointOptions) -> Served {
    let hub = HubOptions {
        name: "example-hub".into(),
        entity: "events".into(),
        partitions,
        retention_messages: 10_000,
        key_name: "service".into(),
        key: "c2VjcmV0LWtleS1mb3ItdGVzdHMtb25seS0wMDAwMQ==".into(),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connection_string = connection_string(&hub, address);
    let hub = Hub::new(hub, clock::wall());
    let stop = CancellationToken::new();
    tokio::spawn(hub.clone().serve_with(options, listener, stop.clone()));
    Served { hub, port: address.port(), connection_string, stop }
}

impl Served {
    /// A heartbeat of this device; its partition and sequence number.
    pub fn beat(&self, device: &str) -> (usize, i64) {
        let message = DeviceMessage { device: device.to_owned(), ..DeviceMessage::default() };
        self.hub.device_to_cloud(message, clock::wall()).unwrap()
    }

    /// So many heartbeats of one device.
    pub fn beats(&self, count: usize) {
        for _ in 0..count {
            self.beat("pump");
        }
    }

    pub fn config(&self) -> EventHubsConfig {
        config(&self.connection_string)
    }
}

pub fn config(connection_string: &str) -> EventHubsConfig {
    EventHubsConfig {
        connection_string: SecretString::from(connection_string.to_owned()),
        consumer_group: "$Default".into(),
        start: Start::Earliest,
        transport: Transport::Tcp,
        auth: EventHubsAuth::CbsSas,
        owner_level: None,
        credit: 300,
        ca_file: None,
    }
}

type FarEnd = (mpsc::Receiver<Event>, watch::Sender<Progress>);
type NearEnd = (mpsc::Sender<Event>, watch::Receiver<Progress>);

#[derive(Default)]
struct Partitions {
    near: Mutex<HashMap<String, NearEnd>>,
    far: Mutex<BTreeMap<String, FarEnd>>,
}

impl OpenPartition for Partitions {
    fn open(&self, partition: &str) -> PartitionLink {
        let mut near = self.near.lock().unwrap();
        let (events, progress) = near.entry(partition.to_owned()).or_insert_with(|| {
            let (events, far_events) = mpsc::channel(EVENT_QUEUE);
            let (far_progress, progress) = watch::channel(Progress {
                acknowledge: None,
                clock: Timestamp::MIN,
                next_deadline: None,
            });
            let far = (far_events, far_progress);
            self.far.lock().unwrap().insert(partition.to_owned(), far);
            (events, progress)
        });
        PartitionLink { events: events.clone(), progress: progress.clone(), resume: None }
    }
}

/// A source that runs.
pub struct Running {
    pub status: watch::Receiver<SourceStatus>,
    partitions: Arc<Partitions>,
    pub stop: CancellationToken,
    pub task: JoinHandle<Result<(), SourceError>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub fn start(config: EventHubsConfig) -> Running {
    start_with(config, Timing::default())
}

pub fn start_with(config: EventHubsConfig, timing: Timing) -> Running {
    run_source(|context, stop| run_with(config, timing, context, stop))
}

/// The source `amqp10` on the hub's first partition, as if that were a queue.
pub fn start_queue(served: &Served) -> Running {
    let key = served.hub.options().key.replace('=', "%3D");
    let config = Amqp10Config {
        uri: SecretString::from(format!("amqp://service:{key}@127.0.0.1:{}", served.port)),
        address: "events/ConsumerGroups/$Default/Partitions/0".into(),
        event_time: EventTimeFrom::Receipt,
        mapping: None,
        sole_consumer: true,
        lock_ms: 0,
        credit: 50,
        ca_file: None,
    };
    run_source(|context, stop| amqp10::run(config, context, stop))
}

fn run_source<F>(source: impl FnOnce(SourceContext, CancellationToken) -> F) -> Running
where
    F: Future<Output = Result<(), SourceError>> + Send + 'static,
{
    let partitions = Arc::new(Partitions::default());
    let (status, watched) = watch::channel(SourceStatus::default());
    let context = SourceContext {
        name: Arc::from("hub"),
        partitions: partitions.clone(),
        status,
        metrics: Arc::new(Metrics::detached()),
        max_clock_error_ms: 30_000,
    };
    let stop = CancellationToken::new();
    let task = tokio::spawn(source(context, stop.clone()));
    Running { status: watched, partitions, stop, task }
}

impl Running {
    /// Waits for a state of the source.
    pub async fn until(&mut self, wanted: impl FnMut(&SourceStatus) -> bool) -> SourceStatus {
        let waited = timeout(SOON, self.status.wait_for(wanted)).await;
        let status = waited.map(|status| status.unwrap().clone());
        status.unwrap_or_else(|_| panic!("still {:?}", self.status.borrow()))
    }

    pub async fn connected(&mut self) {
        self.until(|status| status.connected).await;
    }

    /// The far end of a partition, once the source has opened it.
    pub async fn partition(&self, id: &str) -> Far {
        let opened = async {
            loop {
                if let Some((events, progress)) = self.partitions.far.lock().unwrap().remove(id) {
                    return Far { events, progress };
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(SOON, opened).await.expect("the partition was not opened")
    }
}

/// What a partition's worker would see.
pub struct Far {
    pub events: mpsc::Receiver<Event>,
    pub progress: watch::Sender<Progress>,
}

impl Far {
    pub async fn next(&mut self) -> Event {
        timeout(SOON, self.events.recv()).await.expect("nothing came").unwrap()
    }

    pub async fn attached(&mut self) -> (u64, Attached) {
        loop {
            if let Event::Attached { attachment, attached } = self.next().await {
                return (attachment, attached);
            }
        }
    }

    pub async fn blind(&mut self) -> (BlindReason, String) {
        loop {
            if let Event::Blind { reason, detail } = self.next().await {
                return (reason, detail);
            }
        }
    }

    pub async fn proof(&mut self) -> Proof {
        loop {
            if let Event::Proof { proof, .. } = self.next().await {
                return proof;
            }
        }
    }

    /// The sequence numbers of messages up to `last`, over attaches and proofs.
    pub async fn sequences(&mut self, last: i64) -> Vec<i64> {
        let mut sequences = Vec::new();
        while sequences.last() != Some(&last) {
            if let Event::Batch { deliveries, .. } = self.next().await {
                sequences.extend(deliveries.iter().map(|delivery| delivery.sequence));
            }
        }
        sequences
    }
}
