//! Delivers messages to one webhook: signed as Standard Webhooks 1.0.0 wants it, in order per lane, with retries; what
//! nobody takes goes to the dead letters.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::{HeaderName, header};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::alert::self_health::Notice;
use crate::alert::signature::{SecretError, Signer};
use crate::clock;
use crate::config::WebhookConfig;
use crate::metrics::Metrics;
use crate::store::dead_letter::{
    DeadLetterError, DeliveryLetter, DeliveryLetters, UndeliveredReason,
};

use super::http_client::tls::{self, TlsSetupError};
use super::http_client::{HttpClient, PostError};
use super::{Parcel, Settled};

mod lanes;
mod meters;
mod outcome;
mod schedule;
mod url;
mod work;

use lanes::{Ending, Held};
use meters::Meters;
use outcome::Attempt;
pub use schedule::Schedule;
pub use url::{MAX_URL_BYTES, UrlRefusal, check_url};
use work::Work;

/// Requests under way to one endpoint, over all lanes: a receiver should not have to take more at once.
const CONCURRENCY: usize = 4;
/// Messages on their way to the dead letters at once: as many as are synced together.
const MAX_BURIALS: usize = 64;

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

/// The ends of a webhook's channels, and where it puts what nobody takes.
pub struct Ports {
    /// What is to be delivered.
    pub queue: mpsc::Receiver<Parcel>,
    /// What became of each. While it is full, deliveries go on until as much is held as may be; then nothing more is
    /// taken in. So whoever fills the queue must not be the one that empties this, or must not wait for the queue.
    pub settled: mpsc::Sender<Settled>,
    /// What is given up is written there before it is settled.
    pub letters: DeliveryLetters,
    /// Says that the endpoint fails and that it works again; what finds no room is dropped and counted.
    pub notices: mpsc::Sender<Notice>,
}

/// Delivers what comes through the queue until it is closed and empty. On `stop` the queue is closed, what is in it
/// gets one attempt, and nothing is tried again: what fails, and what comes behind it in its lane, is not settled and
/// stays owed. The caller sets the deadline, by dropping this future; what is under way then is not settled either.
pub async fn run(
    config: WebhookConfig,
    ports: Ports,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) -> Result<(), WebhookError> {
    Webhook::new(config, &metrics)?.run(ports, stop).await;
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
    pub async fn run(self, ports: Ports, stop: CancellationToken) {
        let Ports { mut queue, settled, letters, notices } = ports;
        let mut work = Work::new(&self, &notices);
        let mut attempts = FuturesUnordered::new();
        let mut burials = FuturesUnordered::new();
        loop {
            while (work.is_disabled || attempts.len() < CONCURRENCY)
                && burials.len() < MAX_BURIALS
                && let Some(held) = work.take()
            {
                match held.ending {
                    Some(_) => burials.push(self.bury(held, &letters)),
                    None => attempts.push(self.attempt(held)),
                }
            }
            if attempts.is_empty() && burials.is_empty() && work.is_done() {
                break;
            }
            let retry = work.next_retry();
            tokio::select! {
                () = stop.cancelled(), if !work.is_stopping => {
                    queue.close();
                    work.is_stopping = true;
                }
                Some((held, attempt)) = attempts.next() => {
                    if let Some(held) = work.attempted(held, &attempt) {
                        burials.push(self.bury(held, &letters));
                    }
                }
                Some((held, kept)) = burials.next() => work.buried(held, kept),
                permit = settled.reserve(), if !work.unsent.is_empty() => match permit {
                    Ok(permit) => work.report(permit),
                    Err(_) => work.nobody_listens(),
                },
                parcel = queue.recv(), if work.is_open && work.has_room() => match parcel {
                    Some(parcel) => work.take_in(parcel),
                    None => work.is_open = false,
                },
                () = sleep_until(retry.unwrap_or_else(Instant::now)), if retry.is_some() => {
                    work.lanes.wake(Instant::now());
                }
                else => break,
            }
        }
        match work.lanes.len() + queue.len() {
            0 => info!(sink = %self.name, "webhook stopped, nothing is left to deliver"),
            owed => {
                warn!(sink = %self.name, owed, "webhook stopped: these messages are not settled and stay owed")
            }
        }
    }

    async fn attempt(&self, mut held: Held) -> (Held, Attempt) {
        let wall = clock::wall();
        held.attempted_at.get_or_insert(wall);
        let message = &held.message;
        let started_ms = clock::boot_ms();
        let timestamp_s = wall.as_ms() / 1_000;
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

    /// Puts a message with its ending into the dead letters.
    async fn bury(
        &self,
        held: Held,
        letters: &DeliveryLetters,
    ) -> (Held, Result<(), DeadLetterError>) {
        let (reason, detail) = match &held.ending {
            Some(Ending { reason, detail }) => (*reason, detail.clone()),
            None => (UndeliveredReason::Failed, String::new()),
        };
        let letter = DeliveryLetter {
            at: clock::wall(),
            sink: self.name.to_string(),
            message: held.message.clone(),
            reason,
            detail,
            failures: held.failures as u64,
        };
        let kept = letters.put(&letter).await;
        (held, kept)
    }
}
