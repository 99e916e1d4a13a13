//! Source `amqp091` on a real RabbitMQ: one node for all of this file. Tests that stop or pause the node run alone.

#![allow(clippy::expect_used, clippy::panic, reason = "a test without its broker ends here")]

#[path = "amqp091/acknowledging.rs"]
mod acknowledging;
#[path = "amqp091/hostile.rs"]
mod hostile;
#[path = "support/partition.rs"]
mod partition;
#[path = "amqp091/proving.rs"]
mod proving;
#[path = "support/publisher.rs"]
mod publisher;
#[path = "support/rabbitmq.rs"]
mod rabbitmq;
#[path = "amqp091/restarting.rs"]
mod restarting;
#[path = "amqp091/topology.rs"]
mod topology;

use std::time::Duration;

use lapin::options::{BasicConsumeOptions, BasicQosOptions};
use lapin::types::{AMQPValue, FieldTable};
use lastseen::clock;
use lastseen::config::{Amqp091Config, QueueType, Start};
use lastseen::engine::{Backlog, BlindReason, Dating};
use lastseen::source::{Delivery, Event, SourceError, amqp091};
use lastseen::wire::{Amqp091Message, EventTimeFrom, RawMessage, RejectReason};
use partition::Worker;
use publisher::{Publisher, nested_arrays, publish_raw};
use rabbitmq::RabbitMq;
use tokio::sync::{OnceCell, RwLock};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

static NODE: OnceCell<RwLock<RabbitMq>> = OnceCell::const_new();

async fn node() -> &'static RwLock<RabbitMq> {
    NODE.get_or_init(async || RwLock::new(RabbitMq::start().await)).await
}

/// A running source and the worker it feeds. Ends with the test.
struct Running {
    worker: Worker,
    source: JoinHandle<Result<(), SourceError>>,
    stop: DropGuard,
}

impl Running {
    async fn stop(self) {
        drop(self.stop);
        let ended = tokio::time::timeout(Duration::from_secs(10), self.source).await;
        ended.expect("an end in time").expect("no panic").expect("no error");
    }
}

fn config(uri: &str, queue: &str, queue_type: QueueType) -> Amqp091Config {
    Amqp091Config {
        uri: uri.into(),
        queue: queue.to_owned(),
        queue_type,
        create: false,
        prefetch: 200,
        start: Start::Earliest,
        event_time: EventTimeFrom::Receipt,
        mapping: None,
        ca_file: None,
    }
}

fn start(config: Amqp091Config) -> Running {
    let (context, worker) = partition::worker();
    let stop = CancellationToken::new();
    let source = tokio::spawn(amqp091::run(config, context, stop.clone()));
    Running { worker, source, stop: stop.drop_guard() }
}

fn message(delivery: &Delivery) -> &Amqp091Message {
    match &delivery.raw {
        RawMessage::Amqp091(message) => message,
        other @ (RawMessage::Amqp10(_) | RawMessage::Line(_)) => {
            panic!("not from a queue: {other:?}")
        }
    }
}

fn bodies(deliveries: &[Delivery]) -> Vec<String> {
    deliveries
        .iter()
        .map(|delivery| String::from_utf8_lossy(&message(delivery).body).into_owned())
        .collect()
}

fn numbered(range: std::ops::Range<usize>) -> Vec<Vec<u8>> {
    range.map(|n| n.to_string().into_bytes()).collect()
}

fn names(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

/// Waits until the broker counts so many messages as delivered and not acknowledged.
async fn wait_for_unacknowledged(node: &RabbitMq, queue: &str, wanted: u64) {
    let looking = async {
        loop {
            let (_, found) = node
                .manage("GET", &format!("/api/queues/%2f/{queue}"), &serde_json::Value::Null)
                .await;
            if found["messages_unacknowledged"] == wanted && found["messages_ready"] == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), looking)
        .await
        .expect("the acknowledgements arrive");
}

impl Running {
    /// The attachment, then so many messages.
    async fn worker_messages(&mut self, count: usize) -> (u64, Vec<Delivery>) {
        self.worker.attached().await;
        self.worker.messages(count).await
    }
}

/// What lets a quorum queue have a provable sole receiver.
fn single_active(queue_type: QueueType) -> Vec<(&'static str, AMQPValue)> {
    match queue_type {
        QueueType::Quorum => vec![("x-single-active-consumer", AMQPValue::Boolean(true))],
        QueueType::Classic | QueueType::Stream => Vec::new(),
    }
}
