//! The shipped program, from messages to webhooks: `lastseen run` as a process of its own, fed by the embedded hub and by
//! a real RabbitMQ. What it should say is known from what was sent, and nothing else.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "helpers of a test fail it"
)]

mod azure_store;
mod both;
mod fleet;
mod outages;
mod placement;
mod program;
mod receiver;
mod trust;
mod vendor;
mod vitals;

#[path = "../support/azurite.rs"]
mod azurite;
#[path = "../support/publisher.rs"]
mod publisher;
#[path = "../support/rabbitmq.rs"]
mod rabbitmq;

use std::time::Duration;

/// The windows of these tests: short, so that ten of them fit into a test.
const WINDOW_MS: i64 = 2_000;
const GRACE_MS: i64 = 1_000;
const DUE_MS: i64 = WINDOW_MS + GRACE_MS;
const ALLOWANCE_MS: i64 = 1_000;
/// Devices beat several times a window.
const INTERVAL: Duration = Duration::from_millis(400);

/// Waits for a condition, or fails naming it.
async fn eventually(what: &str, seconds: u64, mut holds: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(seconds);
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "within {seconds} s: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Lets the fleet live for a while.
async fn live_for(ms: i64) {
    tokio::time::sleep(Duration::from_millis(ms.unsigned_abs())).await;
}
