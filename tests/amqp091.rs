//! Source `amqp091` on a real RabbitMQ: one node for all of this file. Tests that stop or pause the node run alone.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test without its broker ends here"
)]

#[path = "support/partition.rs"]
mod partition;
#[path = "support/publisher.rs"]
mod publisher;
#[path = "support/rabbitmq.rs"]
mod rabbitmq;

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
    NODE.get_or_init(async || RwLock::new(RabbitMq::start().await))
        .await
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
        ended
            .expect("an end in time")
            .expect("no panic")
            .expect("no error");
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
    Running {
        worker,
        source,
        stop: stop.drop_guard(),
    }
}

fn message(delivery: &Delivery) -> &Amqp091Message {
    match &delivery.raw {
        RawMessage::Amqp091(message) => message,
        other => panic!("not from a queue: {other:?}"),
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
                .manage(
                    "GET",
                    &format!("/api/queues/%2f/{queue}"),
                    &serde_json::Value::Null,
                )
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

async fn acknowledges_on_request_only(kind: &str, queue_type: QueueType) {
    let node = node().await.read().await;
    let queue = format!("acks-{kind}");
    let publisher = Publisher::connect(&node.uri()).await;
    publisher
        .declare(&queue, kind, &single_active(queue_type))
        .await;
    publisher.publish_all(&queue, &[], &numbered(0..10)).await;

    let mut first = start(config(&node.uri(), &queue, queue_type));
    let (attachment, attached) = first.worker.attached().await;
    assert_eq!((attachment, attached.backlog), (1, Backlog::Count(10)));
    assert_eq!(attached.dating, Dating::Receipt);
    let (_, received) = first.worker.messages(10).await;
    assert_eq!(bodies(&received), names(0..10));
    let sequences: Vec<i64> = received.iter().map(|delivery| delivery.sequence).collect();
    assert_eq!(sequences, (1..=10).collect::<Vec<i64>>());

    first.worker.acknowledge(1, 4);
    wait_for_unacknowledged(&node, &queue, 6).await;
    first.worker.acknowledge(1, 4); // said again: harmless
    first.stop().await;

    let mut second = start(config(&node.uri(), &queue, queue_type));
    let (_, received) = second.worker_messages(6).await;
    assert_eq!(bodies(&received), names(4..10));
    second.stop().await;
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

#[tokio::test(flavor = "multi_thread")]
async fn a_classic_queue_is_acknowledged_on_request_only() {
    acknowledges_on_request_only("classic", QueueType::Classic).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quorum_queue_is_acknowledged_on_request_only() {
    acknowledges_on_request_only("quorum", QueueType::Quorum).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_connection_redelivers_and_its_acknowledgements_are_not_carried_over() {
    let node = node().await.write().await;
    let publisher = Publisher::connect(&node.uri()).await;
    publisher.declare("dropped", "classic", &[]).await;
    publisher.publish_all("dropped", &[], &numbered(0..5)).await;
    let mut running = start(config(&node.uri(), "dropped", QueueType::Classic));
    running.worker_messages(5).await;

    node.close_all_connections();
    let (reason, detail) = running.worker.blind().await;
    assert_eq!(reason, BlindReason::LinkDown);
    assert!(detail.contains("CONNECTION_FORCED"), "{detail}");
    assert!(!detail.contains("guest"), "{detail}");

    // An acknowledgement of the first attachment would hit other messages on the second.
    running.worker.acknowledge(1, 5);
    let (attachment, attached) = running.worker.attached().await;
    assert_eq!((attachment, attached.backlog), (2, Backlog::Count(5)));
    let (_, again) = running.worker.messages(5).await;
    assert_eq!(bodies(&again), names(0..5));
    let sequences: Vec<i64> = again.iter().map(|delivery| delivery.sequence).collect();
    assert_eq!(sequences, [6, 7, 8, 9, 10]);
    wait_for_unacknowledged(&node, "dropped", 5).await;
    running.worker.acknowledge(2, 10);
    wait_for_unacknowledged(&node, "dropped", 0).await;
    assert_eq!(running.worker.status.borrow().connects, 2);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_broker_comes_back_with_its_messages_and_a_stream_is_not_rewound() {
    let node = node().await.write().await;
    let publisher = Publisher::connect(&node.uri()).await;
    let types = [
        ("classic", QueueType::Classic),
        ("quorum", QueueType::Quorum),
        ("stream", QueueType::Stream),
    ];
    let mut running = Vec::new();
    for (kind, queue_type) in types {
        let queue = format!("killed-{kind}");
        publisher
            .declare(&queue, kind, &single_active(queue_type))
            .await;
        publisher.publish_all(&queue, &[], &numbered(0..50)).await;
        let mut source = start(config(&node.uri(), &queue, queue_type));
        let (attachment, received) = source.worker_messages(50).await;
        assert_eq!(bodies(&received), names(0..50));
        let last = received.last().map(|delivery| delivery.sequence);
        source
            .worker
            .acknowledge(attachment, last.expect("a message"));
        if queue_type != QueueType::Stream {
            wait_for_unacknowledged(&node, &queue, 0).await;
        }
        running.push((queue, source));
    }
    node.restart().await;
    let publisher = Publisher::connect(&node.uri()).await;
    for (queue, source) in &mut running {
        let (reason, _) = source.worker.blind().await;
        assert_eq!(reason, BlindReason::LinkDown, "{queue}");
        publisher.publish_all(queue, &[], &numbered(50..60)).await;
        let mut received = Vec::new();
        while received.len() < 10 {
            if let Event::Batch { deliveries, .. } = source.worker.event().await {
                received.extend(deliveries);
            }
        }
        assert_eq!(bodies(&received), names(50..60), "{queue}");
    }
    for (_, source) in running {
        source.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_starts_where_it_is_told_and_goes_on_behind_its_last_offset() {
    let node = node().await.write().await;
    let publisher = Publisher::connect(&node.uri()).await;
    publisher.declare("stream", "stream", &[]).await;
    let forged = [("x-stream-offset", AMQPValue::LongLongInt(999_999))];
    publisher
        .publish_all("stream", &[], &numbered(0..300))
        .await;
    publisher.publish("stream", &forged, b"forged").await;

    let mut latest = start(Amqp091Config {
        start: Start::Latest,
        ..config(&node.uri(), "stream", QueueType::Stream)
    });
    let (_, attached) = latest.worker.attached().await;
    assert_eq!(attached.backlog, Backlog::Empty);
    assert_eq!(attached.first_available, Some(0));

    let mut earliest = start(config(&node.uri(), "stream", QueueType::Stream));
    let (attachment, attached) = earliest.worker.attached().await;
    assert_eq!(attached.backlog, Backlog::UpTo(300));
    // 200 are in flight; the rest is sent as they are acknowledged.
    let (_, received) = earliest.worker.messages(200).await;
    earliest.worker.acknowledge(attachment, 199);
    let (_, rest) = earliest.worker.messages(101).await;
    let offsets: Vec<i64> = received.iter().chain(&rest).map(|d| d.sequence).collect();
    assert_eq!(offsets, (0..=300).collect::<Vec<i64>>());

    node.close_all_connections();
    for source in [&mut earliest, &mut latest] {
        source.worker.blind().await;
    }
    let publisher = Publisher::connect(&node.uri()).await;
    publisher.publish("stream", &[], b"after").await;
    for source in [&mut earliest, &mut latest] {
        let (_, received) = source.worker_messages(1).await;
        assert_eq!(received[0].sequence, 301);
        assert_eq!(bodies(&received), ["after"]);
    }
    earliest.stop().await;
    latest.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_queue_says_what_to_do_and_is_created_only_on_request() {
    let node = node().await.read().await;
    let mut missing = start(config(&node.uri(), "missing", QueueType::Quorum));
    let (reason, detail) = missing.worker.blind().await;
    assert_eq!(reason, BlindReason::LinkDown);
    assert!(
        detail.contains("missing") && detail.contains("`create: true`"),
        "{detail}"
    );
    assert_eq!(missing.worker.status.borrow().reason, Some(detail));
    missing.stop().await;

    for (queue, queue_type) in [
        ("created-classic", QueueType::Classic),
        ("created-quorum", QueueType::Quorum),
        ("created-stream", QueueType::Stream),
    ] {
        let mut created = start(Amqp091Config {
            create: true,
            ..config(&node.uri(), queue, queue_type)
        });
        let (_, attached) = created.worker.attached().await;
        assert_eq!(attached.backlog, Backlog::Empty, "{queue}");
        assert_eq!(created.worker.status.borrow().reason, None, "{queue}");
        created.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_of_another_type_is_named() {
    let node = node().await.read().await;
    let publisher = Publisher::connect(&node.uri()).await;
    publisher.declare("typed", "quorum", &[]).await;
    let mut running = start(config(&node.uri(), "typed", QueueType::Classic));
    let (_, detail) = running.worker.blind().await;
    assert!(detail.contains("another type"), "{detail}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_unauthorized_and_not_shown() {
    let node = node().await.read().await;
    let uri = node.uri().replace("guest:guest", "guest:s3cret-word");
    let mut running = start(config(&uri, "any", QueueType::Classic));
    let (reason, detail) = running.worker.blind().await;
    assert_eq!(reason, BlindReason::Unauthorized);
    assert!(!detail.contains("s3cret-word"), "{detail}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_receivers_make_a_queue_blind_until_they_are_gone() {
    let node = node().await.read().await;
    let publisher = Publisher::connect(&node.uri()).await;
    publisher.declare("shared", "classic", &[]).await;
    let other = publisher.channel().await;
    other
        .basic_qos(1, BasicQosOptions::default())
        .await
        .expect("a prefetch");
    let _consumer = other
        .basic_consume(
            "shared".into(),
            "other".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        )
        .await
        .expect("another consumer");

    let mut running = start(config(&node.uri(), "shared", QueueType::Classic));
    let (first, _) = running.worker.attached().await;
    let Event::Blind { reason, detail } = running.worker.event().await else {
        panic!("the partition is not blind");
    };
    assert_eq!(reason, BlindReason::Shared);
    assert!(detail.contains("shared"), "{detail}");

    other.close(200, "done".into()).await.expect("it leaves");
    let (second, _) = running.worker.attached().await;
    assert!(second > first);
    running.worker.proof().await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quorum_queue_that_others_may_consume_from_is_blind() {
    let node = node().await.read().await;
    let publisher = Publisher::connect(&node.uri()).await;
    publisher.declare("quorum-open", "quorum", &[]).await;
    let mut running = start(config(&node.uri(), "quorum-open", QueueType::Quorum));
    let (reason, detail) = running.worker.blind().await;
    assert_eq!(reason, BlindReason::Shared);
    assert!(detail.contains("x-single-active-consumer"), "{detail}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_comes_after_everything_that_was_published_before_it_was_asked_for() {
    let node = node().await.read().await;
    let publisher = Publisher::connect(&node.uri()).await;
    publisher.declare("proofs", "classic", &[]).await;
    let mut running = start(config(&node.uri(), "proofs", QueueType::Classic));
    let (attachment, attached) = running.worker.attached().await;
    assert_eq!(attached.backlog, Backlog::Empty);
    running.worker.proof().await;
    // A deadline that stays unmet: it is asked again and again while messages are published.
    running.worker.wants(attached.at);

    let (published_in, published) = std::sync::mpsc::channel();
    let publishing = tokio::spawn(async move {
        for n in 0..400_i64 {
            let body = n.to_string();
            publisher.publish("proofs", &[], body.as_bytes()).await;
            // Confirmed: a proof dated later must come behind it.
            let sent = published_in.send((n, clock::wall()));
            sent.expect("the test listens");
        }
    });
    let mut seen = -1;
    let mut proofs = 0;
    let mut confirmed = Vec::new();
    while seen < 399 || proofs < 3 {
        match running.worker.event().await {
            Event::Batch { deliveries, .. } => {
                for delivery in &deliveries {
                    let n = String::from_utf8_lossy(&message(delivery).body).parse();
                    seen = n.expect("a number");
                }
                let last = deliveries.last().expect("a message").sequence;
                running.worker.acknowledge(attachment, last);
            }
            Event::Proof { proof, .. } => {
                proofs += 1;
                confirmed.extend(published.try_iter());
                for (n, at) in &confirmed {
                    assert!(
                        *n <= seen || *at >= proof.at,
                        "{n} is missing in front of a proof"
                    );
                }
            }
            other => panic!("unexpected: {other:?}"),
        }
    }
    publishing.await.expect("the publisher ends well");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_proven_while_messages_wait_for_acknowledgements() {
    let node = node().await.read().await;
    let publisher = Publisher::connect(&node.uri()).await;
    publisher.declare("full", "classic", &[]).await;
    publisher.publish_all("full", &[], &numbered(0..3)).await;
    let mut running = start(Amqp091Config {
        prefetch: 2,
        ..config(&node.uri(), "full", QueueType::Classic)
    });
    let (attachment, attached) = running.worker.attached().await;
    assert_eq!(attached.backlog, Backlog::Count(3));
    running.worker.wants(attached.at);
    let (_, received) = running.worker.messages(2).await;
    assert_eq!(bodies(&received), names(0..2));
    let silence = tokio::time::timeout(Duration::from_secs(2), running.worker.events.recv()).await;
    assert!(silence.is_err(), "{silence:?}");
    running.worker.acknowledge(attachment, 1);
    let Event::Batch { deliveries, .. } = running.worker.event().await else {
        panic!("a proof in front of the message that waited");
    };
    assert_eq!(bodies(&deliveries), names(2..3));
    running.worker.acknowledge(attachment, 3);
    running.worker.proof().await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_would_end_the_client_library_are_quarantined_and_the_next_one_is_processed()
{
    let node = node().await.read().await;
    let publisher = Publisher::connect(&node.uri()).await;
    let port = node.ports().amqp;
    for (kind, queue_type) in [
        ("classic", QueueType::Classic),
        ("quorum", QueueType::Quorum),
        ("stream", QueueType::Stream),
    ] {
        let queue = format!("hostile-{kind}");
        let exchange = format!("hostile-{kind}-fanout");
        publisher
            .declare(&queue, kind, &single_active(queue_type))
            .await;
        publisher.bind(&exchange, &queue).await;
        let hostile = nested_arrays(1_700);
        publish_raw(port, "", queue.as_bytes(), &hostile, b"nested").await;
        publish_raw(port, &exchange, b"\xff\xfe", b"", b"no text as key").await;
        publish_raw(port, "", queue.as_bytes(), b"\x01\xffV", b"no text as name").await;
        publish_raw(port, "", queue.as_bytes(), b"", &vec![7; (1 << 20) + 1]).await;
        let marker = AMQPValue::LongString("forged".into());
        let forged = [("x-lastseen-quarantined", marker)];
        publisher.publish(&queue, &forged, b"forged").await;
        publisher.publish(&queue, &[], b"next").await;

        let mut running = start(config(&node.uri(), &queue, queue_type));
        let (attachment, received) = running.worker_messages(6).await;
        let reasons: Vec<Option<RejectReason>> = received
            .iter()
            .map(|delivery| {
                message(delivery)
                    .quarantined
                    .as_ref()
                    .map(|kept| kept.reason)
            })
            .collect();
        assert_eq!(
            reasons,
            [
                Some(RejectReason::Hostile),
                Some(RejectReason::Malformed),
                Some(RejectReason::Malformed),
                Some(RejectReason::TooLarge),
                Some(RejectReason::Hostile),
                None,
            ],
            "{kind}"
        );
        assert_eq!(
            bodies(&received),
            [
                "nested",
                "no text as key",
                "no text as name",
                "",
                "forged",
                "next"
            ]
        );
        let kept = message(&received[0])
            .quarantined
            .as_ref()
            .expect("what was kept");
        assert_eq!(kept.properties.len(), 2_048);
        running.worker.acknowledge(attachment, received[5].sequence);
        if queue_type == QueueType::Stream {
            let offsets: Vec<i64> = received.iter().map(|delivery| delivery.sequence).collect();
            assert_eq!(offsets, [0, 1, 2, 3, 4, 5]);
        } else {
            wait_for_unacknowledged(&node, &queue, 0).await;
        }
        assert_eq!(running.worker.status.borrow().connects, 1);
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_needs_the_private_authority_and_works_with_it() {
    let node = node().await.read().await;
    let publisher = Publisher::connect(&node.uri()).await;
    publisher.declare("tls", "classic", &[]).await;
    publisher.publish("tls", &[], b"over TLS").await;
    let mut stranger = start(config(&node.tls_uri(), "tls", QueueType::Classic));
    let (reason, detail) = stranger.worker.blind().await;
    assert_eq!(reason, BlindReason::LinkDown);
    assert!(detail.contains("certificate"), "{detail}");
    stranger.stop().await;

    let mut running = start(Amqp091Config {
        ca_file: Some(node.ca_file()),
        ..config(&node.tls_uri(), "tls", QueueType::Classic)
    });
    let (_, received) = running.worker_messages(1).await;
    assert_eq!(bodies(&received), ["over TLS"]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_stands_still_is_noticed_and_found_again() {
    let node = node().await.write().await;
    let publisher = Publisher::connect(&node.uri()).await;
    publisher.declare("stalled", "classic", &[]).await;
    let uri = format!("{}?heartbeat=2", node.uri());
    let mut running = start(config(&uri, "stalled", QueueType::Classic));
    running.worker.attached().await;
    running.worker.proof().await;

    node.pause();
    let (reason, detail) = running.worker.blind().await;
    assert_eq!(reason, BlindReason::LinkDown);
    // While it stands, connecting fails by time-out and not by hanging.
    let (_, while_standing) = running.worker.blind().await;
    node.resume();
    assert!(
        !detail.is_empty() && while_standing.contains("10 s"),
        "{while_standing}"
    );
    running.worker.attached().await;
    running.worker.proof().await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_not_there_is_tried_again_and_a_stop_ends_the_wait() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = free.local_addr().expect("its number").port();
    drop(free);
    let uri = format!("amqp://guest:guest@127.0.0.1:{port}/%2f");
    let mut running = start(config(&uri, "any", QueueType::Classic));
    for _ in 0..3 {
        let (reason, detail) = running.worker.blind().await;
        assert_eq!(reason, BlindReason::LinkDown);
        assert!(detail.contains(&format!("127.0.0.1:{port}")), "{detail}");
    }
    running.stop().await;
}
