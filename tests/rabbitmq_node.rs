//! The RabbitMQ test node itself: that what it offers to the other tests is there.

#![allow(clippy::expect_used, reason = "a test without its broker ends here")]

#[path = "support/rabbitmq.rs"]
mod rabbitmq;

use std::net::TcpStream;

use serde_json::Value;

#[tokio::test]
async fn a_node_starts_is_killed_starts_again_and_leaves_nothing_behind() {
    let node = rabbitmq::RabbitMq::start().await;
    let ports = node.ports();
    for port in [ports.amqp, ports.tls, ports.management, ports.stream] {
        TcpStream::connect(("127.0.0.1", port)).expect("a listener");
    }
    let queue = serde_json::json!({"durable": true, "arguments": {"x-queue-type": "quorum"}});
    let (status, _) = node.manage("PUT", "/api/queues/%2f/q", &queue).await;
    assert_eq!(status, 201);

    node.kill();
    let gone = TcpStream::connect(("127.0.0.1", ports.amqp));
    assert!(gone.is_err(), "the node was not killed");
    node.restart().await;
    let (status, overview) = node.manage("GET", "/api/overview", &Value::Null).await;
    assert_eq!(status, 200);
    assert!(overview["rabbitmq_version"].is_string());

    let folder = node.ca_file();
    assert!(folder.exists());
    drop(node);
    assert!(!folder.exists());
}
