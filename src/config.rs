//! Configuration: one YAML file, parsed once into small checked types.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::IpNet;
use secrecy::SecretString;
use url::Url;

use crate::engine::rules::Policy;
use crate::engine::{Millis, Timestamp};
use crate::wire::{EventTimeFrom, HubName, Mapping};

/// Everything, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// At least one.
    pub sources: Vec<SourceConfig>,
    /// Time.
    pub clock: ClockConfig,
    /// Windows.
    pub policy: Policy,
    /// Where alerts go.
    pub sinks: Vec<WebhookConfig>,
    /// Where dead letters are kept.
    pub store: StoreConfig,
    /// Health and metrics.
    pub http: HttpConfig,
    /// Logs.
    pub log: LogConfig,
    /// How long SIGTERM may take (`shutdown.deadline`).
    pub shutdown_deadline_ms: Millis,
}

/// One source.
#[derive(Clone, Debug)]
pub struct SourceConfig {
    /// Unique.
    pub name: Arc<str>,
    /// Whose devices these are.
    pub hub: HubName,
    /// The kind and its settings.
    pub kind: SourceKind,
}

/// The kinds of source.
#[derive(Clone, Debug)]
pub enum SourceKind {
    /// An event hub, or IoT Hub's built-in endpoint.
    EventHubs(EventHubsConfig),
    /// An AMQP 1.0 queue.
    Amqp10(Amqp10Config),
    /// An AMQP 0-9-1 queue or stream.
    Amqp091(Amqp091Config),
    /// Recorded messages.
    File(FileConfig),
}

/// `type: event_hubs`.
#[derive(Clone, Debug)]
pub struct EventHubsConfig {
    /// Content of `connection_string_file`: an Event Hubs or an IoT Hub service connection string.
    pub connection_string: SecretString,
    /// Consumer group.
    pub consumer_group: String,
    /// Where to begin if no position is stored.
    pub start: Start,
    /// How to connect.
    pub transport: Transport,
    /// How to authenticate.
    pub auth: EventHubsAuth,
    /// `com.microsoft:epoch`: exclusive receiver of that level; `None`: not exclusive.
    pub owner_level: Option<i64>,
    /// Link credit (messages in flight per partition).
    pub credit: u32,
    /// Additional root certificates (PEM).
    pub ca_file: Option<PathBuf>,
}

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The oldest message.
    Earliest,
    /// Only new ones.
    Latest,
    /// From this append time.
    At(Timestamp),
}

/// How to connect to an event hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TLS on port 5671 (plain TCP for the development emulator).
    Tcp,
    /// AMQP over WebSocket, port 443.
    WebSocket {
        /// HTTP CONNECT proxy.
        proxy: Option<Url>,
    },
}

/// How to authenticate at an event hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventHubsAuth {
    /// SASL ANONYMOUS, then CBS put-token with a SAS token made from the key.
    CbsSas,
    /// SASL PLAIN with the key's name and the key.
    Plain,
    /// SASL ANONYMOUS, then CBS put-token of type `jwt`, read from a file again at every renewal.
    CbsJwt {
        /// The file with the token.
        token_file: PathBuf,
    },
}

/// `type: amqp10`.
#[derive(Clone, Debug)]
pub struct Amqp10Config {
    /// Content of `uri_file`: `amqp://` or `amqps://` with user and password.
    pub uri: SecretString,
    /// Address of the node.
    pub address: String,
    /// What dates a message.
    pub event_time: EventTimeFrom,
    /// Where identity stands, for fleets without IoT Hub.
    pub mapping: Option<Mapping>,
    /// The operator states that nobody else receives from it.
    pub sole_consumer: bool,
    /// The broker's lock time: how long after an attach a message may still be held by an earlier receiver.
    pub lock_ms: Millis,
    /// Link credit.
    pub credit: u32,
    /// Additional root certificates (PEM).
    pub ca_file: Option<PathBuf>,
}

/// `type: amqp091`.
#[derive(Clone, Debug)]
pub struct Amqp091Config {
    /// Content of `uri_file`: `amqp://user:password@host:port/vhost` or `amqps://`.
    pub uri: SecretString,
    /// The queue or stream.
    pub queue: String,
    /// What kind of queue to expect (and to create).
    pub queue_type: QueueType,
    /// Create it if it is missing. Otherwise a missing queue is an error that says so.
    pub create: bool,
    /// Unacknowledged messages in flight.
    pub prefetch: u16,
    /// Where a stream begins if no position is stored.
    pub start: Start,
    /// What dates a message.
    pub event_time: EventTimeFrom,
    /// Where identity stands, for fleets without IoT Hub.
    pub mapping: Option<Mapping>,
    /// Additional root certificates (PEM).
    pub ca_file: Option<PathBuf>,
}

/// The kinds of RabbitMQ queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueType {
    /// Classic, durable.
    Classic,
    /// Quorum.
    Quorum,
    /// Stream.
    Stream,
}

/// `type: file`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileConfig {
    /// The recording; `-` is standard input.
    pub path: PathBuf,
    /// What dates a message.
    pub event_time: EventTimeFrom,
}

/// `clock`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockConfig {
    /// Allowance for reordering, route lag and skew (`L`).
    pub allowance_ms: Millis,
    /// Step of the clock.
    pub tick_ms: Millis,
    /// Longest hole between messages of a backlog that is not a gap.
    pub bridge_ms: Millis,
    /// How far the machine's wall clock may be off.
    pub max_error_ms: Millis,
}

/// A webhook.
#[derive(Clone, Debug)]
pub struct WebhookConfig {
    /// Unique.
    pub name: Arc<str>,
    /// Where to post. Its path may hold a token: only scheme and host are ever shown.
    pub url: RedactedUrl,
    /// Signing secrets (`whsec_...`), newest first: two during a rotation.
    pub secrets: Vec<SecretString>,
    /// Allow `http:`.
    pub allow_http: bool,
    /// Address ranges that are allowed although they are private.
    pub allow_cidrs: Vec<IpNet>,
    /// Total time-out of one attempt.
    pub timeout_ms: Millis,
    /// Additional root certificates (PEM).
    pub ca_file: Option<PathBuf>,
}

/// A URL whose `Debug` and `Display` show only scheme, host and port.
#[derive(Clone, PartialEq, Eq)]
pub struct RedactedUrl(pub Url);

impl std::fmt::Display for RedactedUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}", self.0.scheme(), self.0.host_str().unwrap_or("?"))?;
        self.0.port().map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl std::fmt::Debug for RedactedUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// `store`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// Folder.
    pub path: PathBuf,
    /// Most bytes of ingest dead letters; the oldest go first.
    pub dead_letter_bytes: u64,
}

/// `http`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpConfig {
    /// Listener of `/livez`, `/readyz` and `/metrics`.
    pub listen: SocketAddr,
}

/// `log`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// A `tracing` filter: `info`, or `lastseen=debug,warn`.
    pub level: String,
    /// How lines look.
    pub format: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}
