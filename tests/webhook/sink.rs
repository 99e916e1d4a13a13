//! A webhook sink under test, with its metrics.

use std::sync::Arc;
use std::time::Duration;

use lastseen::alert::Message;
use lastseen::alert::body::Status;
use lastseen::config::{RedactedUrl, WebhookConfig};
use lastseen::metrics::Metrics;
use lastseen::sink::webhook::{Schedule, Webhook};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::receiver::DEADLINE;

pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// For a receiver on loopback, with plain HTTP allowed.
pub fn config(url: &str) -> WebhookConfig {
    WebhookConfig {
        name: "ops".into(),
        url: RedactedUrl(url.parse().unwrap()),
        secrets: vec![SECRET.into()],
        allow_http: true,
        allow_cidrs: vec!["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()],
        timeout_ms: 15_000,
        ca_file: None,
    }
}

/// Retries after these milliseconds.
pub fn waits(waits_ms: &[u64]) -> Schedule {
    Schedule {
        waits: waits_ms.iter().copied().map(Duration::from_millis).collect(),
        ..Schedule::default()
    }
}

/// A message of a lane.
pub fn message(lane: u64, number: u64) -> Message {
    Message {
        message_id: format!("msg_{lane}_{number}"),
        alert_id: format!("{lane}/{number}"),
        lane,
        status: Status::Firing,
        body: format!(r#"{{"lane":{lane},"number":{number}}}"#).into(),
    }
}

/// The message that ends the alert which another one began.
pub fn end_of(firing: &Message) -> Message {
    let message_id = format!("{}_end", firing.message_id);
    Message { message_id, status: Status::Resolved, ..firing.clone() }
}

/// A sink under way.
pub struct Sink {
    pub queue: mpsc::Sender<Message>,
    pub stop: CancellationToken,
    task: JoinHandle<()>,
    metrics: PrometheusHandle,
}

impl Sink {
    pub fn start(config: WebhookConfig, schedule: Schedule) -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        let metrics = Metrics::new(Arc::new(recorder));
        let webhook = Webhook::new(config, &metrics).unwrap().with_schedule(schedule);
        let (queue, messages) = mpsc::channel(4);
        let stop = CancellationToken::new();
        let task = tokio::spawn(webhook.run(messages, stop.clone()));
        Self { queue, stop, task, metrics: handle }
    }

    pub async fn send(&self, message: Message) {
        timeout(DEADLINE, self.queue.send(message)).await.expect("room in time").unwrap();
    }

    /// Waits until the sink has ended, after the queue's end or the stop, and gives its counts.
    pub async fn finish(self) -> Counts {
        drop(self.queue);
        timeout(DEADLINE, self.task).await.expect("an end in time").unwrap();
        Counts(self.metrics.render())
    }
}

/// The metrics at the end.
pub struct Counts(String);

impl Counts {
    /// Attempts or messages with this outcome.
    pub fn outcome(&self, outcome: &str) -> u64 {
        let series = format!(r#"lastseen_deliveries_total{{sink="ops",outcome="{outcome}"}} "#);
        let value = self.0.lines().find_map(|line| line.strip_prefix(&series));
        value.unwrap_or_else(|| panic!("no {series} in {}", self.0)).parse().unwrap()
    }

    /// Messages that are not done.
    pub fn waiting(&self) -> &str {
        let series = r#"lastseen_waiting_messages{sink="ops"} "#;
        self.0.lines().find_map(|line| line.strip_prefix(series)).unwrap()
    }
}
