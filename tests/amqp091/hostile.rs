//! Messages that the client library must not see.

use super::*;

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
        publisher.declare(&queue, kind, &single_active(queue_type)).await;
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

        // RabbitMQ drops nested headers from messages of a stream by itself.
        let nested = (queue_type != QueueType::Stream).then_some(RejectReason::Hostile);

        let mut running = start(config(&node.uri(), &queue, queue_type));
        let (attachment, received) = running.worker_messages(6).await;
        let reasons: Vec<Option<RejectReason>> = received
            .iter()
            .map(|delivery| Some(message(delivery).quarantined.as_ref()?.reason))
            .collect();
        assert_eq!(
            reasons,
            [
                nested,
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
            ["nested", "no text as key", "no text as name", "", "forged", "next"]
        );
        if let Some(kept) = &message(&received[0]).quarantined {
            assert_eq!(kept.properties.len(), 2_048);
        }
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
