//! The RabbitMQ test node itself: that what it offers to the other tests is there.

#[path = "support/rabbitmq.rs"]
mod rabbitmq;

use serde_json::Value;

#[tokio::test]
async fn a_node_starts_keeps_its_durable_data_over_a_kill_and_leaves_nothing_behind() {
    let node = rabbitmq::RabbitMq::start().await;
    let folder = node.ca_file();
    for kind in ["classic", "quorum", "stream"] {
        let queue = serde_json::json!({"durable": true, "arguments": {"x-queue-type": kind}});
        let (status, _) = node
            .manage("PUT", &format!("/api/queues/%2f/{kind}"), &queue)
            .await;
        assert_eq!(status, 201, "{kind}");
    }
    node.kill();
    node.restart().await;
    for kind in ["classic", "quorum", "stream"] {
        let (status, queue) = node
            .manage("GET", &format!("/api/queues/%2f/{kind}"), &Value::Null)
            .await;
        assert_eq!((status, queue["type"].as_str()), (200, Some(kind)));
    }
    drop(node);
    assert!(!folder.exists());
}
