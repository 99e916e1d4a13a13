//! A partition's worker, played by a test: sees the events of a source, and says what may be acknowledged.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::expect_used,
    clippy::panic,
    reason = "each test binary uses its own part of this, and a test without an event ends here"
)]

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lastseen::engine::{Attached, BlindReason, Proof, Timestamp};
use lastseen::metrics::Metrics;
use lastseen::source::{
    Delivery, EVENT_QUEUE, Event, OpenPartition, PartitionLink, Progress, SourceContext,
    SourceStatus,
};
use tokio::sync::{mpsc, watch};

/// The longest a test waits for an event: a broker that restarts on a loaded machine needs most of it.
const EVENT_TIMEOUT: Duration = Duration::from_secs(120);

/// The worker of the only partition of a source.
pub struct Worker {
    pub events: mpsc::Receiver<Event>,
    pub progress: watch::Sender<Progress>,
    pub status: watch::Receiver<SourceStatus>,
}

struct OnePartition {
    link: Mutex<Option<PartitionLink>>,
}

impl OpenPartition for OnePartition {
    fn open(&self, partition: &str) -> PartitionLink {
        assert_eq!(partition, "0");
        let mut link = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        link.take().expect("a partition is opened once")
    }
}

/// What a source is given, and the worker behind it.
pub fn worker() -> (SourceContext, Worker) {
    let (to_worker, events) = mpsc::channel(EVENT_QUEUE);
    let (progress, from_worker) = watch::channel(Progress {
        acknowledge: None,
        clock: Timestamp::from_ms(0),
        next_deadline: None,
    });
    let (status_in, status) = watch::channel(SourceStatus::default());
    let link = PartitionLink { events: to_worker, progress: from_worker, resume: None };
    let context = SourceContext {
        name: "test".into(),
        partitions: Arc::new(OnePartition { link: Mutex::new(Some(link)) }),
        status: status_in,
        metrics: Arc::new(Metrics::detached()),
        max_clock_error_ms: 30_000,
    };
    let worker = Worker { events, progress, status };
    (context, worker)
}

impl Worker {
    pub async fn event(&mut self) -> Event {
        tokio::time::timeout(EVENT_TIMEOUT, self.events.recv())
            .await
            .expect("an event in time")
            .expect("a source that runs")
    }

    /// The next event that is no proof.
    pub async fn news(&mut self) -> Event {
        loop {
            match self.event().await {
                Event::Proof { .. } => {}
                news @ (Event::Attached { .. } | Event::Batch { .. } | Event::Blind { .. }) => {
                    return news;
                }
            }
        }
    }

    /// The next attachment; what is said before it is skipped.
    pub async fn attached(&mut self) -> (u64, Attached) {
        loop {
            if let Event::Attached { attachment, attached } = self.event().await {
                return (attachment, attached);
            }
        }
    }

    /// The next blindness; what is said before it is skipped.
    pub async fn blind(&mut self) -> (BlindReason, String) {
        loop {
            if let Event::Blind { reason, detail } = self.event().await {
                return (reason, detail);
            }
        }
    }

    /// The next proof; a batch before it is a failure of the test.
    pub async fn proof(&mut self) -> (u64, Proof) {
        match self.event().await {
            Event::Proof { attachment, proof } => (attachment, proof),
            other @ (Event::Attached { .. } | Event::Batch { .. } | Event::Blind { .. }) => {
                panic!("a proof was expected, not {other:?}")
            }
        }
    }

    /// The next `count` messages, with the attachment of the last one. Proofs are skipped, anything else is a failure.
    pub async fn messages(&mut self, count: usize) -> (u64, Vec<Delivery>) {
        let mut received = Vec::new();
        loop {
            match self.news().await {
                Event::Batch { attachment, deliveries } => {
                    received.extend(deliveries);
                    assert!(received.len() <= count, "more than {count} messages");
                    if received.len() == count {
                        return (attachment, received);
                    }
                }
                other @ (Event::Attached { .. } | Event::Proof { .. } | Event::Blind { .. }) => {
                    panic!("messages were expected, not {other:?}")
                }
            }
        }
    }

    /// Everything up to this may be acknowledged.
    pub fn acknowledge(&self, attachment: u64, sequence: i64) {
        self.progress.send_modify(|progress| progress.acknowledge = Some((attachment, sequence)));
    }

    /// A verdict waits for this instant.
    pub fn wants(&self, deadline: Timestamp) {
        self.progress.send_modify(|progress| progress.next_deadline = Some(deadline));
    }
}
