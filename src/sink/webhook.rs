//! Delivers messages to one webhook: signed as Standard Webhooks 1.0.0 wants it, in order per lane, with retries.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::{HeaderName, header};
use metrics::{Counter, Gauge, Histogram};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::alert::Message;
use crate::alert::signature::{SecretError, Signer};
use crate::clock;
use crate::config::WebhookConfig;
use crate::metrics::{DELIVERIES, DELIVERY_SECONDS, Metrics, WAITING};

use super::http_client::tls::{self, TlsSetupError};
use super::http_client::{HttpClient, PostError};

mod lanes;
mod outcome;
mod schedule;
mod url;

use lanes::{Held, Lanes};
use outcome::{Attempt, Outcome};
pub use schedule::Schedule;
pub use url::{MAX_URL_BYTES, UrlRefusal, check_url};

/// Requests under way to one endpoint, over all lanes: a receiver should not have to take more at once.
const CONCURRENCY: usize = 4;
/// Rejections after which a message is given up: the receiver has had two and a half minutes to change its mind, and an
/// answer to these very bytes will not become another one in three days.
const MAX_REJECTIONS: usize = 5;

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
        })
    }

    /// Sets when failed deliveries are tried again.
    pub fn with_schedule(self, schedule: Schedule) -> Self {
        Self { schedule, ..self }
    }

    /// See [`run`].
    pub async fn run(self, mut queue: mpsc::Receiver<Message>, stop: CancellationToken) {
        let mut work = Work { is_open: true, ..Work::default() };
        let mut attempts = FuturesUnordered::new();
        loop {
            while attempts.len() < CONCURRENCY
                && let Some(held) = work.lanes.take()
            {
                if work.is_disabled {
                    self.drop_as(Outcome::Disabled, 1);
                    work.lanes.done(&held.message);
                } else {
                    attempts.push(self.attempt(held));
                }
            }
            if !work.is_open && work.lanes.is_empty() {
                break;
            }
            let retry = work.lanes.next_retry();
            tokio::select! {
                () = stop.cancelled(), if !work.is_stopping => {
                    queue.close();
                    self.stop(&mut work);
                }
                Some((held, attempt)) = attempts.next() => self.settle(&mut work, held, &attempt),
                message = queue.recv(), if work.is_open && work.lanes.has_room() => match message {
                    Some(message) => self.take_in(&mut work, message),
                    None => work.is_open = false,
                },
                () = sleep_until(retry.unwrap_or_else(Instant::now)), if retry.is_some() => {
                    work.lanes.wake(Instant::now());
                }
                else => break,
            }
        }
        match work.abandoned {
            0 => info!(sink = %self.name, "webhook stopped, nothing is left to deliver"),
            abandoned => warn!(
                sink = %self.name, abandoned,
                "webhook stopped with messages that waited for a retry: they are lost"
            ),
        }
    }

    fn take_in(&self, work: &mut Work, message: Message) {
        self.meters.waiting.increment(1.0);
        let alert_id = message.alert_id.clone();
        let cancelled = work.lanes.put(message);
        if cancelled > 0 {
            info!(
                sink = %self.name, alert_id,
                "an alert ended before the receiver took its first message: nothing is told about it"
            );
            self.drop_as(Outcome::Cancelled, cancelled);
        }
    }

    /// Decides what becomes of a message that was attempted.
    fn settle(&self, work: &mut Work, mut held: Held, attempt: &Attempt) {
        self.meters.count(attempt.outcome, 1);
        match attempt.outcome {
            Outcome::Delivered => {
                self.meters.waiting.decrement(1.0);
                return work.lanes.delivered(&held.message);
            }
            Outcome::Gone => {
                self.disable(work);
                self.meters.waiting.decrement(1.0);
                return work.lanes.done(&held.message);
            }
            Outcome::Rejected => held.rejections += 1,
            Outcome::Redirect
            | Outcome::Throttled
            | Outcome::ServerError
            | Outcome::TimedOut
            | Outcome::Unreachable
            | Outcome::AddressRefused
            | Outcome::GivenUp
            | Outcome::Disabled
            | Outcome::Abandoned
            | Outcome::Cancelled => {}
        }
        held.failures += 1;
        held.may_have_arrived |= attempt.may_have_arrived();
        let wait = self.schedule.wait(held.failures, rand::random(), attempt.asked);
        match wait.filter(|_| held.rejections < MAX_REJECTIONS) {
            None => self.give_up(work, &held, attempt),
            Some(_) if work.is_stopping => {
                self.abandon(work, 1);
                work.lanes.done(&held.message);
            }
            Some(wait) => {
                warn!(
                    sink = %self.name, alert_id = %held.message.alert_id, failures = held.failures, ?wait,
                    reason = %attempt.reason, "delivery failed, it will be tried again"
                );
                work.lanes.park(held, Instant::now() + wait);
            }
        }
    }

    async fn attempt(&self, held: Held) -> (Held, Attempt) {
        let message = &held.message;
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
        (held, Attempt::judge(result, clock::wall()))
    }

    fn disable(&self, work: &mut Work) {
        if !std::mem::replace(&mut work.is_disabled, true) {
            error!(
                sink = %self.name,
                "the endpoint answered 410: it is disabled, and messages for it are dropped, until the next start"
            );
            // What waits for a retry is dropped at its turn.
            work.lanes.wake_all();
        }
    }

    fn give_up(&self, work: &mut Work, held: &Held, attempt: &Attempt) {
        let message = &held.message;
        let why = match held.rejections {
            MAX_REJECTIONS.. => "the receiver rejects it again and again",
            _ => "the last retry failed",
        };
        error!(
            sink = %self.name, alert_id = %message.alert_id, message_id = %message.message_id,
            failures = held.failures, reason = %attempt.reason, why, "delivery given up: the message is lost"
        );
        self.drop_as(Outcome::GivenUp, 1);
        work.lanes.give_up(held);
    }

    fn stop(&self, work: &mut Work) {
        work.is_stopping = true;
        let parked = work.lanes.drop_parked();
        self.abandon(work, parked);
    }

    fn abandon(&self, work: &mut Work, messages: usize) {
        self.drop_as(Outcome::Abandoned, messages);
        work.abandoned += messages;
    }

    fn drop_as(&self, outcome: Outcome, messages: usize) {
        self.meters.count(outcome, messages);
        self.meters.waiting.decrement(messages as f64);
    }
}

/// What changes while an endpoint is served.
#[derive(Default)]
struct Work {
    lanes: Lanes,
    /// More messages may come.
    is_open: bool,
    is_stopping: bool,
    /// Set by a 410, until the process is started again.
    is_disabled: bool,
    /// Messages that were dropped because of the stop.
    abandoned: usize,
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

    fn count(&self, outcome: Outcome, times: usize) {
        self.outcomes[outcome as usize].increment(times as u64);
    }
}
