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
                    assert!(*n <= seen || *at >= proof.at, "{n} is missing in front of a proof");
                }
            }
            other @ (Event::Attached { .. } | Event::Blind { .. }) => {
                panic!("unexpected: {other:?}")
            }
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
