//! Composition root: joins sources, partitions and sinks by bounded channels, and runs them until one is to stop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures_util::FutureExt;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::alert::path::PathLimits;
use crate::alert::self_health::{DeliveryWatch, Notice};
use crate::alert::vitals::LOOK_EVERY_MS;
use crate::api::data;
use crate::api::health::{self, Health, Readiness};
use crate::clock;
use crate::config::{
    ApiConfig, Config, QueueType, SourceConfig, SourceKind, WatchdogConfig, WebhookConfig,
};
use crate::engine::{BlindReason, ClockSettings, Millis};
use crate::journal::Moment;
use crate::metrics::{self, DEAD_LETTERS_REMOVED, DELIVERY_LETTERS_REMOVED, Metrics};
use crate::partitions::{
    Environment, FleetData, Keeps, Partitions, Paths, Router, Vitality, Watchman, Workers,
};
use crate::shutdown::Supervisor;
use crate::sink::Settled;
use crate::sink::webhook::{self, Ports};
use crate::source::{self, SourceContext, SourceStatus};
use crate::store::dead_letter::{DeadLetters, DeliveryLetters};
use crate::store::decoding::Decodings;
use crate::store::objects::Objects;
use crate::wire::{EventTimeFrom, Profile, Stamps};

/// The most messages that wait for one sink; then partitions wait, and their sources give no more credit.
const SINK_QUEUE: usize = 1_024;
/// The most settlements, and the most notices, that wait to be taken note of.
const REPORT_QUEUE: usize = 1_024;
/// How often gauges are computed, and the paths looked at.
const PUBLISH: Duration = Duration::from_secs(1);

/// Runs the service until `stop`.
pub async fn run(config: Config, stop: CancellationToken) -> anyhow::Result<()> {
    App::build(config, stop).await?.run().await
}

/// The service, put together and bound to its sockets, not yet running.
pub struct App {
    supervisor: Supervisor,
    partitions: Arc<Partitions>,
    http_address: SocketAddr,
    api_address: Option<SocketAddr>,
    drain: Duration,
}

impl App {
    /// Puts the service together. Whatever can fail by configuration fails here, before anything is read.
    pub async fn build(config: Config, stop: CancellationToken) -> anyhow::Result<Self> {
        Self::build_with(config, PathLimits::default(), stop).await
    }

    /// The same with other limits for the alert about a source that can't be observed.
    pub async fn build_with(
        config: Config,
        limits: PathLimits,
        stop: CancellationToken,
    ) -> anyhow::Result<Self> {
        let pace = config.pace();
        let (metrics, prometheus) = metrics::prometheus()?;
        let metrics = Arc::new(metrics);
        let listener = TcpListener::bind(config.http.listen)
            .await
            .with_context(|| format!("http.listen: {} can't be bound", config.http.listen))?;
        let http_address = listener.local_addr()?;
        let api = bind_api(config.api).await?;
        let api_address = api.as_ref().map(TcpListener::local_addr).transpose()?;
        let removed = metrics.counter(DEAD_LETTERS_REMOVED, &[]);
        let dead_letters =
            DeadLetters::open(&config.store.path, config.store.dead_letter_bytes, removed)?;
        let decodings = Decodings::open(&config.store.path).with_context(|| {
            format!("store.path: a folder in {} can't be made", config.store.path.display())
        })?;
        let mut supervisor = Supervisor::new(stop.clone());
        let removed = metrics.counter(DELIVERY_LETTERS_REMOVED, &[]);
        let undelivered =
            DeliveryLetters::open(&config.store.path, config.store.dead_letter_bytes, removed)?;
        let (router, reports) =
            start_sinks(&mut supervisor, config.sinks, &undelivered, &metrics, &stop);
        let objects = Objects::open(&config.store)?;
        let (partitions, workers) = Partitions::new(Environment {
            policy: Arc::new(config.policy),
            clock: ClockSettings {
                allowance_ms: config.clock.allowance_ms,
                tick_ms: config.clock.tick_ms,
                bridge_ms: config.clock.bridge_ms,
            },
            dead_letters,
            decodings,
            router: router.clone(),
            metrics: metrics.clone(),
            seed: rand::random(),
            objects,
            pace,
            owner: format!("{:032x}", rand::random::<u128>()),
            stop: stop.clone(),
        })
        .await?;
        start_delivery(&mut supervisor, &router, reports, &partitions, &stop);
        start_workers(&mut supervisor, workers, &partitions, &stop);
        let max_error_ms = config.clock.max_error_ms;
        let statuses =
            start_sources(&mut supervisor, config.sources, &partitions, max_error_ms, &stop)
                .await?;
        let paths = Paths::new(partitions.clone(), statuses.clone(), limits);
        watch_paths(&mut supervisor, paths, &stop);
        watch_ourselves(&mut supervisor, &partitions, config.watchdog, &stop);
        let readiness = readiness(statuses, partitions.clone());
        let render = prometheus.clone();
        let health = Health { readiness, metrics: Arc::new(move || render.render()) };
        let stopped = stop.clone();
        supervisor.spawn("http", health::serve(listener, health, stopped).map(Ok));
        if let Some(listener) = api {
            let data = Arc::new(FleetData::new(partitions.clone(), undelivered));
            supervisor.spawn("api", data::serve(listener, data, stop.clone()).map(Ok));
        }
        supervisor.spawn("metrics", metrics::upkeep(prometheus, stop).map(Ok));
        let drain = Duration::from_millis(config.shutdown_deadline_ms.unsigned_abs());
        tracing::info!(http = %http_address, "ready to read");
        Ok(Self { supervisor, partitions, http_address, api_address, drain })
    }

    /// Read-only: what the partitions look like.
    pub fn partitions(&self) -> Arc<Partitions> {
        self.partitions.clone()
    }

    /// Where health and metrics are served.
    pub fn http_address(&self) -> SocketAddr {
        self.http_address
    }

    /// Where the data of the fleet is served, if it is.
    pub fn api_address(&self) -> Option<SocketAddr> {
        self.api_address
    }

    /// Runs until the token given to [`App::build`] is cancelled, or until a part fails.
    pub async fn run(self) -> anyhow::Result<()> {
        Ok(self.supervisor.run(self.drain).await?)
    }
}

async fn bind_api(api: Option<ApiConfig>) -> anyhow::Result<Option<TcpListener>> {
    let Some(ApiConfig { listen }) = api else { return Ok(None) };
    let bound = TcpListener::bind(listen).await;
    Ok(Some(bound.with_context(|| format!("api.listen: {listen} can't be bound"))?))
}

/// What the sinks say.
struct Reports {
    settled: mpsc::Receiver<Settled>,
    noticed: mpsc::Receiver<Notice>,
}

fn start_sinks(
    supervisor: &mut Supervisor,
    sinks: Vec<WebhookConfig>,
    letters: &DeliveryLetters,
    metrics: &Arc<Metrics>,
    stop: &CancellationToken,
) -> (Router, Reports) {
    let (settled, settlements) = mpsc::channel(REPORT_QUEUE);
    let (notices, noticed) = mpsc::channel(REPORT_QUEUE);
    let queues = sinks.into_iter().map(|sink| {
        let (queue, parcels) = mpsc::channel(SINK_QUEUE);
        let name = sink.name.clone();
        let (settled, notices) = (settled.clone(), notices.clone());
        let ports = Ports { queue: parcels, settled, letters: letters.clone(), notices };
        let (metrics, stop) = (metrics.clone(), stop.clone());
        supervisor.spawn(format!("sink {name}"), async move {
            Ok(webhook::run(sink, ports, metrics, stop).await?)
        });
        (name, queue)
    });
    (Router::new(queues.collect()), Reports { settled: settlements, noticed })
}

/// Between the journals and the sinks, in both directions.
fn start_delivery(
    supervisor: &mut Supervisor,
    router: &Router,
    reports: Reports,
    partitions: &Arc<Partitions>,
    stop: &CancellationToken,
) {
    for (index, name) in router.names().iter().enumerate() {
        let feeding = router.clone().feed(index, stop.clone());
        supervisor.spawn_finite(format!("way to sink {name}"), feeding.map(Ok));
    }
    let Reports { settled, noticed } = reports;
    let (settling, partitions_) = (router.clone().settle(settled), partitions.clone());
    supervisor.spawn_finite("what became of messages", async move {
        settling.await;
        partitions_.all_delivered();
        Ok(())
    });
    let watching = watch_delivery(noticed, partitions.clone());
    supervisor.spawn_finite("watch over delivery", watching.map(Ok));
}

/// Tells the other sinks of one that takes nothing.
async fn watch_delivery(mut noticed: mpsc::Receiver<Notice>, partitions: Arc<Partitions>) {
    let fleet = partitions.fleet();
    let mut watch = DeliveryWatch::restored(fleet.state().own);
    loop {
        let told = tokio::select! {
            notice = noticed.recv() => match notice {
                Some(notice) => watch.notice(&notice, clock::boot_ms(), clock::wall()).into_iter().collect(),
                None => return,
            },
            () = tokio::time::sleep(PUBLISH) => watch.look(clock::boot_ms(), clock::wall()),
        };
        for alert in &told {
            fleet.tell_self(alert);
        }
    }
}

fn start_workers(
    supervisor: &mut Supervisor,
    workers: Workers,
    partitions: &Arc<Partitions>,
    stop: &CancellationToken,
) {
    supervisor.spawn("partitions", workers.run(stop.clone()));
    let (partitions, stop) = (partitions.clone(), stop.clone());
    supervisor.spawn("gauges", async move {
        while stop.run_until_cancelled(tokio::time::sleep(PUBLISH)).await.is_some() {
            partitions.publish(clock::wall());
        }
        Ok(())
    });
}

fn watch_paths(supervisor: &mut Supervisor, mut paths: Paths, stop: &CancellationToken) {
    let stop = stop.clone();
    supervisor.spawn("paths", async move {
        let look = async {
            loop {
                tokio::time::sleep(PUBLISH).await;
                paths.look(clock::boot_ms(), clock::wall());
            }
        };
        let _stopped: Option<std::convert::Infallible> = stop.run_until_cancelled(look).await;
        Ok(())
    });
}

/// Looks whether the service itself is well, and says at intervals that it is.
fn watch_ourselves(
    supervisor: &mut Supervisor,
    partitions: &Arc<Partitions>,
    watchdog: Option<WatchdogConfig>,
    stop: &CancellationToken,
) {
    let mut vitality = Vitality::new(partitions.clone());
    let stopped = stop.clone();
    supervisor.spawn("watch over the service", async move {
        let look_every = Duration::from_millis(LOOK_EVERY_MS.unsigned_abs());
        while stopped.run_until_cancelled(tokio::time::sleep(look_every)).await.is_some() {
            vitality.look(clock::reading());
        }
        Ok(())
    });
    let Some(config) = watchdog else { return };
    let mut watchman = Watchman::new(partitions.clone(), config, clock::boot_ms());
    let stopped = stop.clone();
    supervisor.spawn("watchdog", async move {
        while stopped.run_until_cancelled(tokio::time::sleep(PUBLISH)).await.is_some() {
            watchman.look(Moment { boot_ms: clock::boot_ms(), wall: clock::wall() });
        }
        Ok(())
    });
}

type Statuses = Vec<(Arc<str>, watch::Receiver<SourceStatus>)>;

/// Takes up what is stored of each source, and starts it.
async fn start_sources(
    supervisor: &mut Supervisor,
    sources: Vec<SourceConfig>,
    partitions: &Arc<Partitions>,
    max_clock_error_ms: Millis,
    stop: &CancellationToken,
) -> anyhow::Result<Statuses> {
    let mut restored = Vec::new();
    for source in sources {
        let opener =
            partitions.of_source(source.name.clone(), profile(&source, partitions), keeps(&source));
        opener.restore().await?;
        restored.push((source, opener));
    }
    partitions.announce();
    let mut statuses = Vec::new();
    for (source, opener) in restored {
        let (status, watched) = watch::channel(SourceStatus::default());
        statuses.push((source.name.clone(), watched));
        let ctx = SourceContext {
            name: source.name.clone(),
            partitions: opener,
            status,
            metrics: partitions.metrics(),
            max_clock_error_ms,
        };
        start_source(supervisor, source, ctx, stop.clone());
    }
    Ok(statuses)
}

fn start_source(
    supervisor: &mut Supervisor,
    source: SourceConfig,
    ctx: SourceContext,
    stop: CancellationToken,
) {
    let name = format!("source {}", source.name);
    match source.kind {
        SourceKind::File(config) => supervisor
            .spawn_finite(name, async move { Ok(source::file::run(config, ctx, stop).await?) }),
        SourceKind::EventHubs(config) => supervisor
            .spawn(name, async move { Ok(source::event_hubs::run(config, ctx, stop).await?) }),
        SourceKind::Amqp091(config) => supervisor
            .spawn(name, async move { Ok(source::amqp091::run(config, ctx, stop).await?) }),
        SourceKind::Amqp10(config) => {
            supervisor.spawn(name, async move { Ok(source::amqp10::run(config, ctx, stop).await?) })
        }
    }
}

/// What of a source can be read again.
fn keeps(source: &SourceConfig) -> Keeps {
    match &source.kind {
        SourceKind::EventHubs(_) => Keeps::Log,
        SourceKind::File(_) => Keeps::Once,
        SourceKind::Amqp10(_) => Keeps::Queue,
        SourceKind::Amqp091(config) => match (config.queue_type, config.event_time) {
            (QueueType::Stream, EventTimeFrom::Receipt) => Keeps::Stream,
            (QueueType::Stream, EventTimeFrom::TrustedHeader | EventTimeFrom::Stamps) => Keeps::Log,
            (QueueType::Classic | QueueType::Quorum, _) => Keeps::Queue,
        },
    }
}

/// How the messages of a source are read.
fn profile(source: &SourceConfig, partitions: &Partitions) -> Profile {
    let (stamps, event_time, mapping) = match &source.kind {
        SourceKind::EventHubs(_) => (Stamps::Annotations, EventTimeFrom::Stamps, None),
        SourceKind::File(config) => (Stamps::Annotations, config.event_time, None),
        SourceKind::Amqp10(config) => {
            (Stamps::Properties, config.event_time, config.mapping.clone())
        }
        SourceKind::Amqp091(config) => {
            (Stamps::Properties, config.event_time, config.mapping.clone())
        }
    };
    let conditions = partitions.policy().conditions.clone().into();
    Profile { hub: source.hub.clone(), stamps, event_time, mapping, conditions }
}

/// Ready: every source is connected and has caught up with what was there when it was attached.
fn readiness(
    statuses: Statuses,
    partitions: Arc<Partitions>,
) -> Arc<dyn Fn() -> Readiness + Send + Sync> {
    Arc::new(move || {
        let mut reasons = Vec::new();
        for (name, status) in &statuses {
            let status = status.borrow();
            if !status.connected {
                let why = status.reason.as_deref().unwrap_or("not connected yet");
                reasons.push(format!("source {name}: {why}"));
            }
        }
        for partition in partitions.view() {
            if partition.sight.blind == Some(BlindReason::Storage) {
                reasons.push(format!(
                    "storage: source {} can't be written down",
                    partition.key.source
                ));
            }
            if partition.is_recovering || partition.stats.blind == Some(BlindReason::Lagging) {
                let key = partition.key;
                reasons.push(format!(
                    "source {}: partition {} is catching up",
                    key.source, key.partition
                ));
            }
        }
        Readiness { reasons }
    })
}
