//! The service as the demo configures it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use ipnet::IpNet;
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::Service;
use super::scene::{LiveView, PartitionView};
use super::settings::ALLOWANCE_MS;
use crate::app::App;
use crate::clock;
use crate::config::{
    ClockConfig, Config, EventHubsAuth, EventHubsConfig, HttpConfig, LogConfig, LogFormat,
    RedactedUrl, SourceConfig, SourceKind, Start, StoreConfig, Transport, WebhookConfig,
};
use crate::devhub::fleet::{FleetOptions, GATEWAY_GLOB, Module};
use crate::devhub::receiver;
use crate::engine::rules::{Pattern, Policy, ProofOfLife, Rule, Terms};
use crate::engine::{Millis, State};
use crate::partitions::Partitions;
use crate::wire::HubName;

/// Messages in flight per partition.
const CREDIT: u32 = 2_000;

/// How long a created device may take to its first heartbeat: beyond any demo.
const FIRST_WINDOW_MS: Millis = 10 * 60_000;

/// Starts the service, which runs until `stop`.
pub(super) async fn start(config: Config, stop: CancellationToken) -> anyhow::Result<Service> {
    let app = App::build(config, stop).await?;
    let partitions = app.partitions();
    let task = tokio::spawn(app.run());
    Ok(Service { task, look: Arc::new(move || look(&partitions)) })
}

/// The order in which states are shown.
const SHOWN: [State; 5] =
    [State::Online, State::Late, State::Offline, State::Pending, State::Deleted];

fn look(partitions: &Partitions) -> LiveView {
    let (views, now) = (partitions.view(), clock::wall());
    let count = |state: State| views.iter().map(|view| view.stats.identities[state as usize]).sum();
    LiveView {
        states: SHOWN.iter().map(|&state| (state.as_str(), count(state))).collect(),
        partitions: views
            .iter()
            .map(|view| PartitionView {
                name: view.key.partition.to_string(),
                clock: view.stats.clock,
                lag_ms: now.since(view.stats.clock),
            })
            .collect(),
    }
}

/// What the service is given of its surroundings.
pub(super) struct Surroundings {
    /// Name of the simulated IoT Hub.
    pub(super) hub: String,
    /// The event hub's connection string.
    pub(super) connection_string: String,
    /// Where the webhook receiver listens.
    pub(super) receiver: SocketAddr,
    /// What webhooks are signed with.
    pub(super) secret: SecretString,
    /// The folder for dead letters.
    pub(super) store: PathBuf,
}

/// The configuration that a file would give: one event hub in, one webhook out, everything on loopback.
pub(super) fn config(fleet: &FleetOptions, given: Surroundings) -> anyhow::Result<Config> {
    let loopback = IpNet::from(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST));
    let url = format!("http://{}{}", given.receiver, receiver::PATH);
    Ok(Config {
        sources: vec![SourceConfig {
            name: "hub".into(),
            hub: HubName::Fixed(given.hub.into()),
            kind: SourceKind::EventHubs(event_hub(given.connection_string)),
        }],
        clock: ClockConfig {
            allowance_ms: ALLOWANCE_MS,
            tick_ms: 100,
            bridge_ms: fleet.grace_ms,
            max_error_ms: 30_000,
        },
        policy: policy(fleet),
        sinks: vec![WebhookConfig {
            name: "demo".into(),
            url: RedactedUrl(Url::parse(&url).context("the receiver's address makes no URL")?),
            secrets: vec![given.secret],
            allow_http: true,
            allow_cidrs: vec![loopback],
            timeout_ms: 5_000,
            ca_file: None,
        }],
        watchdog: None,
        store: StoreConfig {
            path: given.store,
            dead_letter_bytes: 16 << 20,
            snapshot_interval_ms: 30_000,
            remote: None,
        },
        http: HttpConfig { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)) },
        api: None,
        log: log(),
        shutdown_deadline_ms: 5_000,
    })
}

/// How the demo logs, if it is asked to.
pub(super) fn log() -> LogConfig {
    LogConfig { level: "warn".to_owned(), format: LogFormat::Text }
}

fn event_hub(connection_string: String) -> EventHubsConfig {
    EventHubsConfig {
        connection_string: connection_string.into(),
        consumer_group: "$Default".to_owned(),
        start: Start::Earliest,
        transport: Transport::Tcp,
        auth: EventHubsAuth::CbsSas,
        owner_level: None,
        credit: CREDIT,
        ca_file: None,
    }
}

/// Every device by the default, the gateways' sensors by a rule, other modules not at all.
pub(super) fn policy(fleet: &FleetOptions) -> Policy {
    let terms = Terms {
        window_ms: fleet.window_ms,
        grace_ms: fleet.grace_ms,
        first_window_ms: FIRST_WINDOW_MS,
        proof_of_life: ProofOfLife::Any,
    };
    Policy {
        default: terms,
        rules: vec![Rule {
            hub: None,
            device: Pattern::Glob(GATEWAY_GLOB.to_owned()),
            module: Some(Pattern::Exact(Module::Sensor.as_str().to_owned())),
            terms,
        }],
        conditions: Vec::new(),
    }
}

/// A folder of its own that goes when the demo ends.
pub(super) struct Folder(PathBuf);

impl Folder {
    /// Makes one where temporary files belong.
    pub(super) fn create() -> anyhow::Result<Self> {
        let name = format!("lastseen-demo-{:016x}", rand::random::<u64>());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).with_context(|| {
            format!("can't create {}: set TMPDIR to a folder that can be written", path.display())
        })?;
        Ok(Self(path))
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, folder = %self.0.display(), "a temporary folder was left behind");
        }
    }
}
