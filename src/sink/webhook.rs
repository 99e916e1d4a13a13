//! Delivers messages to one webhook: signed as Standard Webhooks 1.0.0 wants it, in order per lane, with retries.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::{join, join_all};
use http::{HeaderName, header};
use metrics::{Counter, Gauge, Histogram};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::alert::Message;
use crate::alert::signature::{SecretError, Signer};
use crate::clock;
use crate::config::WebhookConfig;
use crate::metrics::{DELIVERIES, DELIVERY_SECONDS, Metrics, WAITING};

use super::http_client::tls::{self, TlsSetupError};
use super::http_client::{HttpClient, PostError};

mod outcome;
mod schedule;
mod url;

use outcome::{Attempt, Outcome};
pub use schedule::Schedule;
pub use url::{MAX_URL_BYTES, UrlRefusal, check_url};

/// Sequences that are delivered independently: a message that fails delays only those of its lane.
const LANES: usize = 8;
/// Requests under way to one endpoint, over all lanes: a receiver should not have to take more at once.
const CONCURRENCY: usize = 4;
/// Messages that wait in one lane. When it is full, the caller's queue is not read any more. With bodies of about
/// 1 kB, this is 1 MB for the lanes together.
const LANE_CAPACITY: usize = 128;

const USER_AGENT: &str = concat!("lastseen/", env!("CARGO_PKG_VERSION"));
const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// Why a webhook can't be set up. Nothing has been sent then.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// The URL.
    #[error("sink {sink}: {cause}")]
    Url {
        /// Name of the sink.
        sink: Arc<str>,
        /// Why.
        cause: UrlRefusal,
    },
    /// A signing secret.
    #[error("sink {sink}: {cause}")]
    Secret {
        /// Name of the sink.
        sink: Arc<str>,
        /// Why.
        cause: SecretError,
    },
    /// Whom to trust.
    #[error("sink {sink}: {cause}")]
    Tls {
        /// Name of the sink.
        sink: Arc<str>,
        /// Why.
        cause: TlsSetupError,
    },
    /// The HTTP client.
    #[error("sink {sink}: {cause}")]
    Client {
        /// Name of the sink.
        sink: Arc<str>,
        /// Why.
        cause: PostError,
    },
}

/// Delivers what comes through `queue` until it is closed and empty. On `stop` the queue is closed: what is in it gets
/// one more attempt, and what waits for a retry is dropped and counted. The caller sets the deadline, by dropping
/// this future.
pub async fn run(
    config: WebhookConfig,
    queue: mpsc::Receiver<Message>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) -> Result<(), WebhookError> {
    Webhook::new(config, &metrics)?.run(queue, stop).await;
    Ok(())
}

/// One endpoint, set up.
pub struct Webhook {
    name: Arc<str>,
    client: HttpClient,
    signer: Signer,
    schedule: Schedule,
    permits: Semaphore,
    /// Set by a 410, until the process is started again.
    disabled: AtomicBool,
    /// Messages that were dropped because of the stop.
    abandoned: AtomicU64,
    meters: Meters,
}

impl Webhook {
    /// Checks the configuration and reads the certificate authorities.
    pub fn new(config: WebhookConfig, metrics: &Metrics) -> Result<Self, WebhookError> {
        let sink = || config.name.clone();
        let url = &config.url.0;
        check_url(url, config.allow_http)
            .map_err(|cause| WebhookError::Url { sink: sink(), cause })?;
        let signer = Signer::new(&config.secrets)
            .map_err(|cause| WebhookError::Secret { sink: sink(), cause })?;
        let tls = match url.scheme() {
            "https" => Some(
                tls::client_config(config.ca_file.as_deref())
                    .map_err(|cause| WebhookError::Tls { sink: sink(), cause })?,
            ),
            _ => None,
        };
        let timeout = Duration::from_millis(config.timeout_ms.unsigned_abs());
        let client = HttpClient::new(url, config.allow_cidrs.clone(), timeout, tls)
            .map_err(|cause| WebhookError::Client { sink: sink(), cause })?;
        Ok(Self {
            meters: Meters::new(metrics, &config.name),
            name: config.name,
            client,
            signer,
            schedule: Schedule::default(),
            permits: Semaphore::new(CONCURRENCY),
            disabled: AtomicBool::new(false),
            abandoned: AtomicU64::new(0),
        })
    }

    /// Sets when failed deliveries are tried again.
    pub fn with_schedule(self, schedule: Schedule) -> Self {
        Self { schedule, ..self }
    }

    /// See [`run`].
    pub async fn run(self, queue: mpsc::Receiver<Message>, stop: CancellationToken) {
        let (senders, receivers): (Vec<_>, Vec<_>) =
            (0..LANES).map(|_| mpsc::channel(LANE_CAPACITY)).unzip();
        let lanes = receivers.into_iter().map(|lane| self.work(lane, &stop));
        join(self.dispatch(queue, senders, &stop), join_all(lanes)).await;
        match self.abandoned.load(Ordering::Relaxed) {
            0 => info!(sink = %self.name, "webhook stopped, nothing is left to deliver"),
            abandoned => warn!(
                sink = %self.name, abandoned,
                "webhook stopped with messages that waited for a retry: they are lost"
            ),
        }
    }

    /// Puts each message into its lane.
    async fn dispatch(
        &self,
        mut queue: mpsc::Receiver<Message>,
        lanes: Vec<mpsc::Sender<Message>>,
        stop: &CancellationToken,
    ) {
        loop {
            let message = tokio::select! {
                () = stop.cancelled(), if !queue.is_closed() => {
                    queue.close();
                    continue;
                }
                message = queue.recv() => message,
            };
            let Some(message) = message else { return };
            self.meters.waiting.increment(1.0);
            let lane = usize::try_from(message.lane % LANES as u64).unwrap_or(0);
            // A lane ends after its sender, which is here.
            let _sent = lanes[lane].send(message).await;
        }
    }

    /// Works off one lane in order.
    async fn work(&self, mut lane: mpsc::Receiver<Message>, stop: &CancellationToken) {
        while let Some(message) = lane.recv().await {
            self.deliver(&message, stop).await;
            self.meters.waiting.decrement(1.0);
        }
    }

    /// Tries until it is delivered or can't be.
    async fn deliver(&self, message: &Message, stop: &CancellationToken) {
        for failures in 1.. {
            if self.disabled.load(Ordering::Relaxed) {
                return self.meters.count(Outcome::Disabled);
            }
            let attempt = self.attempt(message).await;
            self.meters.count(attempt.outcome);
            if attempt.outcome == Outcome::Delivered {
                return;
            }
            if attempt.outcome == Outcome::Gone {
                return self.disable();
            }
            let Some(wait) = self.schedule.wait(failures, rand::random(), attempt.asked) else {
                return self.give_up(message, failures, &attempt);
            };
            warn!(
                sink = %self.name, alert_id = %message.alert_id, failures, ?wait, reason = %attempt.reason,
                "delivery failed, it will be tried again"
            );
            tokio::select! {
                biased;
                () = stop.cancelled() => return self.abandon(),
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    async fn attempt(&self, message: &Message) -> Attempt {
        // Fails only for a closed semaphore, which this one never is.
        let _permit = self.permits.acquire().await;
        let started_ms = clock::boot_ms();
        let timestamp_s = clock::wall().as_ms() / 1_000;
        let signature = self.signer.sign(&message.message_id, timestamp_s, &message.body);
        let headers = [
            (header::CONTENT_TYPE, "application/json"),
            (header::USER_AGENT, USER_AGENT),
            (WEBHOOK_ID, message.message_id.as_str()),
            (WEBHOOK_TIMESTAMP, &timestamp_s.to_string()),
            (WEBHOOK_SIGNATURE, &signature),
        ];
        let result = self.client.post(&headers, message.body.clone()).await;
        let took_ms = clock::boot_ms() - started_ms;
        self.meters.seconds.record(Duration::from_millis(took_ms.unsigned_abs()));
        Attempt::judge(result, clock::wall())
    }

    fn disable(&self) {
        if !self.disabled.swap(true, Ordering::Relaxed) {
            error!(
                sink = %self.name,
                "the endpoint answered 410: it is disabled, and messages for it are dropped, until the next start"
            );
        }
    }

    fn give_up(&self, message: &Message, failures: usize, attempt: &Attempt) {
        self.meters.count(Outcome::GivenUp);
        error!(
            sink = %self.name, alert_id = %message.alert_id, message_id = %message.message_id, failures,
            reason = %attempt.reason, "delivery given up: the message is lost"
        );
    }

    fn abandon(&self) {
        self.meters.count(Outcome::Abandoned);
        self.abandoned.fetch_add(1, Ordering::Relaxed);
    }
}

/// Handles of the sink's metrics.
struct Meters {
    outcomes: [Counter; Outcome::ALL.len()],
    seconds: Histogram,
    waiting: Gauge,
}

impl Meters {
    fn new(metrics: &Metrics, sink: &str) -> Self {
        Self {
            outcomes: Outcome::ALL.map(|outcome| {
                metrics.counter(DELIVERIES, &[("sink", sink), ("outcome", outcome.as_str())])
            }),
            seconds: metrics.histogram(DELIVERY_SECONDS, &[("sink", sink)]),
            waiting: metrics.gauge(WAITING, &[("sink", sink)]),
        }
    }

    fn count(&self, outcome: Outcome) {
        self.outcomes[outcome as usize].increment(1);
    }
}
