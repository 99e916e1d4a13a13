//! What a campaign is set up from: where the fleet sends, what differs between campaigns, the program's configuration.

use std::net::SocketAddr;

use lastseen::clock;
use lastseen::devhub::hub::{Hub, HubOptions, connection_string};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{ALLOWANCE_MS, TERMS};
use crate::fleet::Carrier;
use crate::oracle::{Promise, Terms};

/// At 35 messages a second and partition, half an hour.
const RETENTION: usize = 60_000;

/// An embedded hub behind a port, until dropped.
pub(crate) struct ServedHub {
    pub(super) address: SocketAddr,
    hub: Hub,
    options: HubOptions,
    _stop: DropGuard,
}

impl ServedHub {
    pub(super) async fn start(partitions: usize) -> Self {
        let options = HubOptions {
            name: "example-hub".into(),
            entity: "events".into(),
            partitions,
            retention_messages: RETENTION,
            key_name: "service".into(),
            key: "c2VjcmV0LWtleS1mb3ItdGVzdHMtb25seS0wMDAwMQ==".into(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let hub = Hub::new(options.clone(), clock::wall());
        let stop = CancellationToken::new();
        tokio::spawn(hub.clone().serve(listener, stop.clone()));
        Self { address, hub, options, _stop: stop.drop_guard() }
    }

    /// The way of a program that connects to `entry`.
    pub(super) fn route(&self, entry: SocketAddr) -> Route {
        Route {
            source: "{ name: hub, type: event_hubs, hub: example-hub, connection_string_file: hub.connection }".into(),
            secret: ("hub.connection".into(), connection_string(&self.options, entry)),
            carrier: Carrier::Hub(self.hub.clone()),
        }
    }
}

/// Where the fleet sends and the program reads.
pub(crate) struct Route {
    /// The entry of `sources`.
    pub(crate) source: String,
    /// The secret file that it names, and its content.
    pub(crate) secret: (String, String),
    pub(crate) carrier: Carrier,
}

/// What differs between campaigns.
pub(crate) struct Options {
    pub(crate) name: &'static str,
    pub(crate) promise: Promise,
    pub(crate) allowance_ms: i64,
    /// The program's clock may be off, and with it the time that it signs.
    pub(crate) ignores_time: bool,
    /// `store.path`.
    pub(crate) store: String,
    pub(crate) environment: Vec<(&'static str, String)>,
}

impl Options {
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            name,
            promise: Promise::EventTime,
            allowance_ms: ALLOWANCE_MS,
            ignores_time: false,
            store: "./data".to_owned(),
            environment: Vec::new(),
        }
    }
}

/// The configuration of the program.
pub(super) fn configuration(options: &Options, source: &str, receiver: SocketAddr) -> String {
    let Options { allowance_ms, store, .. } = options;
    let Terms { window_ms, grace_ms, first_window_ms, bridge_ms } = TERMS;
    format!(
        "sources:
  - {source}
clock: {{ allowance: {allowance_ms}ms, tick: 100ms, bridge: {bridge_ms}ms }}
rules:
  default: {{ window: {window_ms}ms, grace: {grace_ms}ms, first_window: {first_window_ms}ms, proof_of_life: any }}
sinks:
  - name: ops
    type: webhook
    url: http://{receiver}/hook
    secret_file: ops.whsec
    allow_http: true
    allow_cidrs: [127.0.0.0/8]
    timeout: 2s
store: {{ path: {store}, snapshot_interval: 2s }}
http: {{ listen: \"127.0.0.1:0\" }}
log: {{ level: info, format: text }}
shutdown: {{ deadline: 5s }}
"
    )
}
