//! Source `amqp10` on a real RabbitMQ (its AMQP 1.0 plugin): one node for all of this file. The test that closes connections runs alone.

#![allow(clippy::expect_used, clippy::panic, reason = "a test without its broker ends here")]

#[path = "support/partition.rs"]
mod partition;
#[path = "support/publisher.rs"]
mod publisher;
#[path = "support/rabbitmq.rs"]
mod rabbitmq;

use std::time::Duration;

use lastseen::clock;
use lastseen::config::Amqp10Config;
use lastseen::engine::{BlindReason, Dating};
use lastseen::source::{Delivery, Event, SourceError, amqp10};
use lastseen::wire::{EventTimeFrom, RawMessage};
use partition::Worker;
use publisher::Publisher;
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

fn config(uri: &str, queue: &str) -> Amqp10Config {
    Amqp10Config {
        uri: uri.into(),
        address: format!("/amq/queue/{queue}"),
        event_time: EventTimeFrom::Receipt,
        mapping: None,
        sole_consumer: true,
        lock_ms: 0,
        credit: 100,
        ca_file: None,
    }
}

fn start(config: Amqp10Config) -> Running {
    let (context, worker) = partition::worker();
    let stop = CancellationToken::new();
    let source = tokio::spawn(amqp10::run(config, context, stop.clone()));
    Running { worker, source, stop: stop.drop_guard() }
}

/// So many messages, over whatever else is said.
async fn take(worker: &mut Worker, count: usize) -> (u64, Vec<Delivery>) {
    let mut received = Vec::new();
    loop {
        if let Event::Batch { attachment, deliveries } = worker.event().await {
            received.extend(deliveries);
            if received.len() >= count {
                return (attachment, received);
            }
        }
    }
}

/// Whether each ends with its body, which is what RabbitMQ writes last.
fn assert_bodies(received: &[Delivery], expected: impl Iterator<Item = usize>) {
    let expected: Vec<usize> = expected.collect();
    assert_eq!(received.len(), expected.len());
    for (delivery, body) in received.iter().zip(expected) {
        let RawMessage::Amqp10(raw) = &delivery.raw else {
            panic!("not an AMQP 1.0 message");
        };
        assert!(raw.ends_with(format!("-{body}").as_bytes()), "{raw:?}");
    }
}

fn numbered(range: std::ops::Range<usize>) -> Vec<Vec<u8>> {
    range.map(|n| format!("body-{n}").into_bytes()).collect()
}

async fn unacknowledged(node: &RabbitMq, queue: &str, wanted: u64) {
    let looking = async {
        loop {
            let path = format!("/api/queues/%2f/{queue}");
            let (_, found) = node.manage("GET", &path, &serde_json::Value::Null).await;
            if found["messages_unacknowledged"] == wanted && found["messages_ready"] == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), looking).await.expect("the acceptances arrive");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accepts_on_request_only_and_what_was_not_comes_again() {
    let node = node().await.read().await;
    let publisher = Publisher::connect(&node.uri()).await;
    publisher.declare("acks", "quorum", &[]).await;
    publisher.publish_all("acks", &[], &numbered(0..10)).await;
    let mut first = start(config(&node.uri(), "acks"));
    let (attachment, received) = take(&mut first.worker, 10).await;
    assert_bodies(&received, 0..10);
    assert_eq!(received[9].sequence, 10);
    unacknowledged(&node, "acks", 10).await;
    first.worker.acknowledge(attachment, 6);
    unacknowledged(&node, "acks", 4).await;
    first.stop().await;

    let mut second = start(config(&node.uri(), "acks"));
    let (attachment, received) = take(&mut second.worker, 4).await;
    assert_bodies(&received, 6..10);
    second.worker.acknowledge(attachment, 4);
    unacknowledged(&node, "acks", 0).await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_others_may_read_is_blind_and_never_proven() {
    let node = node().await.read().await;
    let publisher = Publisher::connect(&node.uri()).await;
    publisher.declare("shared", "quorum", &[]).await;
    let mut running = start(Amqp10Config { sole_consumer: false, ..config(&node.uri(), "shared") });
    let (_, attached) = running.worker.attached().await;
    assert_eq!(attached.dating, Dating::Receipt);
    let (reason, detail) = running.worker.blind().await;
    assert_eq!(reason, BlindReason::Shared);
    assert!(detail.contains("sole_consumer"), "{detail}");
    running.worker.wants(clock::wall().minus(1_000));
    let silence = tokio::time::timeout(Duration::from_secs(1), running.worker.events.recv()).await;
    assert!(silence.is_err(), "{silence:?}");
    publisher.publish("shared", &[], b"body-7").await;
    let (_, received) = take(&mut running.worker, 1).await;
    assert_bodies(&received, 7..8);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rabbitmq_before_4_is_read_to_the_end_but_never_proven_because_its_drains_are_broken() {
    let node = node().await.read().await;
    let publisher = Publisher::connect(&node.uri()).await;
    for kind in ["classic", "quorum"] {
        let queue = format!("sole-{kind}");
        publisher.declare(&queue, kind, &[]).await;
        publisher.publish_all(&queue, &[], &numbered(0..450)).await;
        let mut running = start(config(&node.uri(), &queue));
        running.worker.attached().await;
        let (reason, detail) = running.worker.blind().await;
        assert_eq!(reason, BlindReason::Stalled);
        assert!(detail.contains("drains"), "{detail}");
        running.worker.wants(clock::wall().minus(1_000));
        let mut count = 0;
        while count < 450 {
            match running.worker.event().await {
                Event::Batch { attachment, deliveries } => {
                    count += deliveries.len();
                    let last = deliveries.last().map_or(0, |delivery| delivery.sequence);
                    running.worker.acknowledge(attachment, last);
                }
                other @ (Event::Attached { .. } | Event::Proof { .. } | Event::Blind { .. }) => {
                    panic!("only messages were expected, not {other:?}")
                }
            }
        }
        unacknowledged(&node, &queue, 0).await;
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_connection_and_a_missing_queue_are_said_and_got_over() {
    let node = node().await.write().await;
    let publisher = Publisher::connect(&node.uri()).await;
    let mut running = start(config(&node.uri(), "later"));
    let (reason, detail) = running.worker.blind().await;
    assert_eq!(reason, BlindReason::LinkDown);
    assert!(detail.contains("not-found"), "{detail}");
    publisher.declare("later", "quorum", &[]).await;
    running.worker.attached().await;
    publisher.publish("later", &[], b"body-1").await;
    take(&mut running.worker, 1).await;
    node.close_all_connections();
    while running.worker.blind().await.0 != BlindReason::LinkDown {}
    let (attachment, _) = running.worker.attached().await;
    let (_, again) = take(&mut running.worker, 1).await;
    assert_bodies(&again, 1..2);
    assert_eq!(again[0].sequence, 2);
    running.worker.acknowledge(attachment, 2);
    unacknowledged(&node, "later", 0).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_with_the_configured_roots_delivers() {
    let node = node().await.read().await;
    let publisher = Publisher::connect(&node.uri()).await;
    publisher.declare("tls", "quorum", &[]).await;
    publisher.publish("tls", &[], b"body-3").await;
    let ca_file = Some(node.ca_file());
    let mut running = start(Amqp10Config { ca_file, ..config(&node.tls_uri(), "tls") });
    let (_, received) = take(&mut running.worker, 1).await;
    assert_bodies(&received, 3..4);
    running.stop().await;
}
