//! Brokers that are killed, stand still or are not there; streams that go on where they were.

use super::rabbitmq::ports;
use super::*;

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
        publisher.declare(&queue, kind, &single_active(queue_type)).await;
        publisher.publish_all(&queue, &[], &numbered(0..50)).await;
        let mut source = start(config(&node.uri(), &queue, queue_type));
        let (attachment, received) = source.worker_messages(50).await;
        assert_eq!(bodies(&received), names(0..50));
        let last = received.last().map(|delivery| delivery.sequence);
        source.worker.acknowledge(attachment, last.expect("a message"));
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
    publisher.publish_all("stream", &[], &numbered(0..300)).await;
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
    // Credit comes back with acknowledgements: more than are in flight at once are read.
    let mut offsets: Vec<i64> = Vec::new();
    while offsets.len() < 301 {
        let Event::Batch { deliveries, .. } = earliest.worker.event().await else {
            panic!("messages were expected");
        };
        offsets.extend(deliveries.iter().map(|delivery| delivery.sequence));
        let last = *offsets.last().expect("a message");
        earliest.worker.acknowledge(attachment, last);
    }
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
async fn a_broker_that_stands_still_is_noticed_and_found_again() {
    let node = node().await.write().await;
    let publisher = Publisher::connect(&node.uri()).await;
    publisher.declare("stalled", "classic", &[]).await;
    let uri = format!("{}?heartbeat=2", node.uri());
    let mut running = start(config(&uri, "stalled", QueueType::Classic));
    running.worker.attached().await;
    running.worker.proof().await;

    let paused = node.pause();
    let (reason, detail) = running.worker.blind().await;
    assert_eq!(reason, BlindReason::LinkDown);
    // While it stands, connecting fails by time-out and not by hanging.
    let (_, while_standing) = running.worker.blind().await;
    drop(paused);
    assert!(!detail.is_empty() && while_standing.contains("10 s"), "{while_standing}");
    running.worker.attached().await;
    running.worker.proof().await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_not_there_is_tried_again_and_a_stop_ends_the_wait() {
    let port = ports::reserve();
    let uri = format!("amqp://guest:guest@127.0.0.1:{port}/%2f");
    let mut running = start(config(&uri, "any", QueueType::Classic));
    for _ in 0..3 {
        let (reason, detail) = running.worker.blind().await;
        assert_eq!(reason, BlindReason::LinkDown);
        assert!(detail.contains(&format!("127.0.0.1:{port}")), "{detail}");
    }
    running.stop().await;
}
