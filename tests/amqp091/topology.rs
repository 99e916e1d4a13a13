//! What has to be on the broker, and how it is reached.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_queue_says_what_to_do_and_is_created_only_on_request() {
    let node = node().await.read().await;
    let mut missing = start(config(&node.uri(), "missing", QueueType::Quorum));
    let (reason, detail) = missing.worker.blind().await;
    assert_eq!(reason, BlindReason::LinkDown);
    assert!(detail.contains("missing") && detail.contains("`create: true`"), "{detail}");
    assert_eq!(missing.worker.status.borrow().reason, Some(detail));
    missing.stop().await;

    for (queue, queue_type) in [
        ("created-classic", QueueType::Classic),
        ("created-quorum", QueueType::Quorum),
        ("created-stream", QueueType::Stream),
    ] {
        let mut created =
            start(Amqp091Config { create: true, ..config(&node.uri(), queue, queue_type) });
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
