//! The source `event_hubs` against the embedded hub, over real sockets.

use std::sync::Arc;
use std::time::Duration;

use lastseen::clock;
use lastseen::config::{EventHubsAuth, Start, Transport};
use lastseen::devhub::amqp::EndpointOptions;
use lastseen::engine::{Backlog, BlindReason, Dating, Timestamp};
use lastseen::source::event_hubs::{Timing, TokenTiming};
use lastseen::source::{Event, SourceError};
use tokio::time::timeout;

#[path = "event_hubs/harness.rs"]
mod harness;

use harness::{SOON, config, serve, start, start_with};

fn plain() -> EndpointOptions {
    EndpointOptions::default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_every_partition_from_the_oldest_message_in_order_and_without_a_hole() {
    let served = serve(4, plain()).await;
    let mut sent = vec![-1; 4];
    for n in 0..2_000 {
        let (partition, sequence) = served.beat(&format!("device-{}", n % 50));
        sent[partition] = sequence;
    }
    let mut source = start(served.config());
    for (partition, last) in sent.iter().enumerate() {
        let mut far = source.partition(&partition.to_string()).await;
        let (attachment, attached) = far.attached().await;
        assert_eq!(attachment, 1);
        assert_eq!(attached.first_available, Some(0));
        assert_eq!(attached.backlog, Backlog::UpTo(*last));
        assert_eq!(attached.dating, Dating::EventTime);
        assert!(attached.stream.is_some() && attached.at <= clock::wall());
        let expected: Vec<i64> = (0..=*last).collect();
        assert_eq!(far.sequences(*last).await, expected);
    }
    source.connected().await;
    source.stop.cancel();
    assert!(timeout(SOON, &mut source.task).await.unwrap().unwrap().is_ok());
}
