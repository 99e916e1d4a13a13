//! Adapters in: each source connects, receives, and hands batches to the partitions' workers. A source decides nothing:
//! it says what it was given and what it can prove.
//!
//! One bounded channel a partition carries [`Event`]s in order; when it is full the source stops giving credit and the
//! broker holds the backlog. What a worker has finished comes back through [`Progress`]; only then may it be acknowledged.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use crate::engine::{Attached, BlindReason, Proof, Timestamp};
use crate::journal::Resume;
use crate::wire::RawMessage;

pub mod amqp091;
pub mod amqp10;
pub mod amqp_link;
pub mod broker_time;
pub mod event_hubs;
pub mod file;
pub mod reconnect;

/// A message with what the source knows about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// The message.
    pub raw: RawMessage,
    /// Its place in the partition; grows. For queues a count of deliveries of this process.
    pub sequence: i64,
    /// Broker-dated moment of receipt, never later than the truth.
    pub received_at: Timestamp,
}

/// What a source tells a partition's worker, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A receiver was attached. `attachment` grows with every attach of the partition.
    Attached {
        /// Number of this attachment.
        attachment: u64,
        /// What is known about it.
        attached: Attached,
    },
    /// Messages in order, none missing.
    Batch {
        /// The attachment they came on.
        attachment: u64,
        /// The messages; at most [`MAX_BATCH`].
        deliveries: Vec<Delivery>,
    },
    /// Nothing unread remains. Sent only after everything delivered before the answer was sent.
    Proof {
        /// The attachment it holds for.
        attachment: u64,
        /// The evidence.
        proof: Proof,
    },
    /// The partition can't be observed from now on.
    Blind {
        /// The class.
        reason: BlindReason,
        /// One line for people; no secret.
        detail: String,
    },
}

/// The most messages in one [`Event::Batch`]: about a millisecond of work.
pub const MAX_BATCH: usize = 512;

/// The most events waiting in a partition's channel: with full batches about 4,000 messages, below one second of a
/// partition at the rate a throughput unit allows.
pub const EVENT_QUEUE: usize = 8;

/// What a worker has finished, for the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Everything of this attachment up to this sequence may be acknowledged (attachment, sequence).
    pub acknowledge: Option<(u64, i64)>,
    /// The partition's clock.
    pub clock: Timestamp,
    /// The earliest instant at which a verdict may become due: a proof is wanted when broker time has passed it.
    pub next_deadline: Option<Timestamp>,
}

/// A source's end of a partition.
#[derive(Debug)]
pub struct PartitionLink {
    /// Where events go; waits when full.
    pub events: mpsc::Sender<Event>,
    /// What has been done with them.
    pub progress: watch::Receiver<Progress>,
    /// Where reading goes on; `None`: where the configuration says.
    pub resume: Option<Resume>,
}

/// Opens partitions: implemented by the composition root, and by tests.
pub trait OpenPartition: Send + Sync {
    /// The link of a partition of this source; creates its worker at the first call. A second call for the same
    /// name is given the same worker.
    fn open(&self, partition: &str) -> PartitionLink;
}

/// What every source is given.
#[derive(Clone)]
pub struct SourceContext {
    /// The configured name.
    pub name: Arc<str>,
    /// Opens partitions.
    pub partitions: Arc<dyn OpenPartition>,
    /// Where the source says how it is.
    pub status: watch::Sender<SourceStatus>,
    /// Counters.
    pub metrics: Arc<crate::metrics::Metrics>,
    /// How far the machine's wall clock may be off, ms (`clock.max_error`).
    pub max_clock_error_ms: i64,
}

/// How a source is, for state, logs and readiness.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceStatus {
    /// All partitions attached.
    pub connected: bool,
    /// One line: why not, or what is degraded. No secret.
    pub reason: Option<String>,
    /// How many times it connected.
    pub connects: u64,
}

/// Why a source ended although nobody asked it to.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The configuration can't work; trying again will not help.
    #[error("source {source_name}: {message}")]
    Misconfigured {
        /// The source.
        source_name: String,
        /// What is wrong and what to do.
        message: String,
    },
    /// It can't go on, and did not apply everything: after the next start it is read again.
    #[error("source {source_name}: {message}")]
    Failed {
        /// The source.
        source_name: String,
        /// What happened.
        message: String,
    },
}
