//! Nothing is acknowledged but on request, and never on another attachment.

use super::*;

async fn acknowledges_on_request_only(kind: &str, queue_type: QueueType) {
    let node = node().await.read().await;
    let queue = format!("acks-{kind}");
    let publisher = Publisher::connect(&node.uri()).await;
    publisher.declare(&queue, kind, &single_active(queue_type)).await;
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
