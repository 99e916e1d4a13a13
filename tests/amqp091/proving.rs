//! Sole receivers and proofs.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn other_receivers_make_a_queue_blind_until_they_are_gone() {
    let node = node().await.read().await;
    let publisher = Publisher::connect(&node.uri()).await;
    publisher.declare("shared", "classic", &[]).await;
    let other = publisher.channel().await;
    other.basic_qos(1, BasicQosOptions::default()).await.expect("a prefetch");
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

    for round in 0..12 {
        // One by one, each confirmed. Nothing is read from the source meanwhile, so it has to hold some back.
        for _ in 0..20 {
            publisher.publish("proofs", &[], b"").await;
        }
        let confirmed = clock::wall();
        let mut seen = 0;
        loop {
            match running.worker.event().await {
                Event::Batch { deliveries, .. } => {
                    seen += deliveries.len();
                    let last = deliveries.last().expect("a message").sequence;
                    running.worker.acknowledge(attachment, last);
                }
                Event::Proof { proof, .. } if proof.at < confirmed => {}
                Event::Proof { .. } => break,
                other @ (Event::Attached { .. } | Event::Blind { .. }) => {
                    panic!("unexpected: {other:?}")
                }
            }
        }
        assert_eq!(seen, 20, "round {round}");
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_proven_while_messages_wait_for_acknowledgements() {
    let node = node().await.read().await;
    let publisher = Publisher::connect(&node.uri()).await;
    publisher.declare("full", "classic", &[]).await;
    publisher.publish_all("full", &[], &numbered(0..3)).await;
    let mut running =
        start(Amqp091Config { prefetch: 2, ..config(&node.uri(), "full", QueueType::Classic) });
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
