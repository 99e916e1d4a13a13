//! The proof on the shipped program: a supervisor kills it, cuts its links, stops it, fills its disk and moves its clock,
//! and an oracle judges by nothing but what devices sent and what the webhook receiver got.
//!
//! The campaigns take minutes and want the machine for themselves, so they are run by name:
//!
//! ```sh
//! cargo test --release --test campaign kill:: -- --ignored --nocapture      # or points::, faults::, disk::, time::, rabbit::
//! ```
//!
//! `CAMPAIGN_CYCLES` sets the number of cycles, `CAMPAIGN_SEED` repeats a plan (what the machine does meanwhile is not
//! repeated). Each campaign prints one line for the ledger.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of a test fail it"
)]

mod disk;
mod faults;
mod fleet;
mod kill;
mod oracle;
mod points;
mod proxy;
mod rabbit;
mod random;
mod receiver;
mod stop;
mod supervisor;
mod time;
mod world;

#[path = "../support/publisher.rs"]
mod publisher;
#[path = "../support/rabbitmq.rs"]
mod rabbitmq;

use std::time::Duration;

use tokio::time::Instant;

/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Waits for a condition; says whether it came true in time.
async fn within(limit: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    while !holds() {
        if Instant::now() >= deadline {
            return false;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    true
}

/// Waits for a condition, or fails naming it.
async fn eventually(what: &str, limit: Duration, holds: impl FnMut() -> bool) {
    assert!(within(limit, holds).await, "within {limit:?}: {what}");
}
