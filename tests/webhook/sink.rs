//! A webhook sink under test, with its metrics.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lastseen::alert::Message;
use lastseen::alert::body::Status;
use lastseen::alert::self_health::Notice;
use lastseen::config::{RedactedUrl, WebhookConfig};
use lastseen::metrics::Metrics;
use lastseen::sink::webhook::{Ports, Schedule, Webhook};
use lastseen::sink::{Parcel, Settled, Settlement, Ticket};
use lastseen::store::dead_letter::DeliveryLetters;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::sync::{mpsc, watch};
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
        bury_again: Duration::from_millis(20),
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
    pub queue: mpsc::Sender<Parcel>,
    pub stop: CancellationToken,
    pub letters: DeliveryLetters,
    pub notices: mpsc::Receiver<Notice>,
    /// Where the dead letters are.
    pub store: tempfile::TempDir,
    settlements: Option<mpsc::Receiver<Settled>>,
    collected: JoinHandle<()>,
    settled: watch::Receiver<Vec<Settled>>,
    sent: Mutex<Vec<(Ticket, String)>>,
    task: JoinHandle<()>,
    metrics: PrometheusHandle,
}

impl Sink {
    /// Under way, and its settlements are read.
    pub fn start(config: WebhookConfig, schedule: Schedule) -> Self {
        Self::start_unread(config, schedule).read()
    }

    /// Under way, with room for four settlements that nobody reads.
    pub fn start_unread(config: WebhookConfig, schedule: Schedule) -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        let metrics = Metrics::new(Arc::new(recorder));
        let webhook = Webhook::new(config, &metrics).unwrap().with_schedule(schedule);
        let (queue, parcels) = mpsc::channel(4);
        let (settled, settlements) = mpsc::channel(4);
        let (noticed, notices) = mpsc::channel(4);
        let store = tempfile::tempdir().unwrap();
        let letters = open_letters(&store);
        let stop = CancellationToken::new();
        let ports = Ports { queue: parcels, settled, letters: letters.clone(), notices: noticed };
        let task = tokio::spawn(webhook.run(ports, stop.clone()));
        let (_, nothing_settled) = watch::channel(Vec::new());
        Self {
            queue,
            stop,
            letters,
            notices,
            store,
            settlements: Some(settlements),
            collected: tokio::spawn(async {}),
            settled: nothing_settled,
            sent: Mutex::default(),
            task,
            metrics: handle,
        }
    }

    /// Begins to read the settlements.
    pub fn read(mut self) -> Self {
        let mut settlements = self.settlements.take().expect("they are not read yet");
        let (collected, settled) = watch::channel(Vec::new());
        self.settled = settled;
        self.collected = tokio::spawn(async move {
            while let Some(settled) = settlements.recv().await {
                collected.send_modify(|all| all.push(settled));
            }
        });
        self
    }

    /// Whoever reads the settlements is gone.
    pub fn drop_settlements(&mut self) {
        self.settlements = None;
    }

    pub async fn send(&self, message: Message) {
        self.send_parcel(message, false).await;
    }

    /// Sends one that an earlier process may have delivered, or not.
    pub async fn send_parcel(&self, message: Message, may_have_arrived: bool) {
        let ticket = {
            let mut sent = self.sent.lock().unwrap();
            let ticket = Ticket { book: 3, entry: sent.len() as u64, index: 1 };
            sent.push((ticket, message.message_id.clone()));
            ticket
        };
        let parcel = Parcel { message, ticket, may_have_arrived };
        timeout(DEADLINE, self.queue.send(parcel)).await.expect("room in time").unwrap();
    }

    /// Waits until this many are settled, and gives what became of them by message id.
    pub async fn settled(&self, count: usize) -> Vec<(String, Settlement)> {
        let mut settled = self.settled.clone();
        let enough = settled.wait_for(|settled| settled.len() >= count);
        let settled = timeout(DEADLINE, enough).await.expect("settled in time").unwrap().clone();
        self.named(&settled)
    }

    fn named(&self, settled: &[Settled]) -> Vec<(String, Settlement)> {
        let sent: BTreeMap<Ticket, String> = self.sent.lock().unwrap().iter().cloned().collect();
        settled.iter().map(|one| (sent[&one.ticket].clone(), one.settlement)).collect()
    }

    /// The next notice.
    pub async fn notice(&mut self) -> Notice {
        timeout(DEADLINE, self.notices.recv()).await.expect("a notice in time").unwrap()
    }

    /// Waits until the counter of deliveries with this outcome, or another series, reads so.
    pub async fn until(&self, series: &str, value: u64) {
        let line = format!("{series} {value}");
        let reads = async {
            while !self.metrics.render().lines().any(|read| read == line) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(DEADLINE, reads).await.unwrap_or_else(|_| panic!("never {line}"));
    }

    /// Waits until the sink has ended, after the queue's end or the stop, and gives its counts. Nothing may be settled
    /// twice, and what is not settled is waiting.
    pub async fn finish(self) -> Counts {
        drop(self.queue);
        timeout(DEADLINE, self.task).await.expect("an end in time").unwrap();
        timeout(DEADLINE, self.collected).await.expect("read to its end").unwrap();
        let mut left: BTreeMap<Ticket, String> =
            self.sent.into_inner().unwrap().into_iter().collect();
        for settled in &*self.settled.borrow() {
            assert!(left.remove(&settled.ticket).is_some(), "settled twice, or never sent");
        }
        Counts { text: self.metrics.render(), left: left.into_values().collect() }
    }
}

/// The dead letters below that folder.
pub fn open_letters(store: &tempfile::TempDir) -> DeliveryLetters {
    DeliveryLetters::open(store.path(), 1 << 20, metrics::Counter::noop()).unwrap()
}

/// The metrics at the end, and what is left.
pub struct Counts {
    text: String,
    /// Ids of the messages that are not settled.
    pub left: BTreeSet<String>,
}

impl Counts {
    /// Attempts or messages with this outcome.
    pub fn outcome(&self, outcome: &str) -> u64 {
        let series = format!(r#"lastseen_deliveries_total{{sink="ops",outcome="{outcome}"}} "#);
        let value = self.text.lines().find_map(|line| line.strip_prefix(&series));
        value.unwrap_or_else(|| panic!("no {series} in {}", self.text)).parse().unwrap()
    }

    /// Messages that are not done.
    pub fn waiting(&self) -> &str {
        let series = r#"lastseen_waiting_messages{sink="ops"} "#;
        self.text.lines().find_map(|line| line.strip_prefix(series)).unwrap()
    }
}
