//! Source `event_hubs`: IoT Hub's built-in endpoint or any event hub, over AMQP 1.0.
//!
//! One connection carries everything: tokens at `$cbs`, reads at `$management`, a receiver for each partition. Whatever of
//! it fails, the whole is made anew, and each partition goes on behind the last message that was handed over. Only a
//! partition that another receiver took is left alone by itself.

use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::sync::Arc;

use metrics::{Counter, Gauge};
use rustls::ClientConfig;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::config::{EventHubsConfig, Transport};
use crate::engine::{BlindReason, Millis, Timestamp};
use crate::metrics as catalogue;
use crate::source::amqp_link::broker_clock::BrokerClock;
use crate::source::amqp_link::dial::{self, Dial, WebSocket, sleep_ms};
use crate::source::amqp_link::link_error::LinkError;
use crate::source::amqp_link::websocket::{EVENT_HUBS_PATH, IOT_HUB_PATH};
use crate::source::reconnect::wait_ms;
use crate::source::{SourceContext, SourceError};

pub use auth::TokenTiming;
use connection_string::{ConnectionString, Endpoint};
use partition::{Counters, Partition};

mod auth;
pub mod connection_string;
mod management;
mod partition;
mod prover;
mod redirect;
pub mod sas;
mod schedule;
mod serve;
mod start;

/// A connection that held this long was a good one: the waits begin anew.
const GOOD_MS: Millis = 30_000;

/// Times that tests shorten.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Tokens.
    pub token: TokenTiming,
    /// How long a partition is left to the receiver that took it.
    pub stolen_wait_ms: Millis,
}

impl Default for Timing {
    fn default() -> Self {
        Self { token: TokenTiming::default(), stolen_wait_ms: 60_000 }
    }
}

/// Reads the event hub until `stop`. Ends before that only if the configuration can't work.
pub async fn run(
    config: EventHubsConfig,
    context: SourceContext,
    stop: CancellationToken,
) -> Result<(), SourceError> {
    run_with(config, Timing::default(), context, stop).await
}

/// [`run`] with other times.
pub async fn run_with(
    config: EventHubsConfig,
    timing: Timing,
    context: SourceContext,
    stop: CancellationToken,
) -> Result<(), SourceError> {
    let mut source = EventHubs::new(config, timing, context)?;
    loop {
        let began = clock::boot_ms();
        let ended = Box::pin(source.serve(&stop)).await;
        source.gauge.set(0.0);
        let Err(error) = ended else {
            return Ok(());
        };
        if stop.is_cancelled() {
            return Ok(());
        }
        if clock::boot_ms() - began >= GOOD_MS {
            source.failures = 0;
        }
        source.failures = source.failures.saturating_add(1);
        let pause_ms = source.failed(&error).await;
        tokio::select! {
            () = sleep_ms(pause_ms) => {}
            () = stop.cancelled() => return Ok(()),
        }
    }
}

/// The source, over all its connections.
struct EventHubs {
    config: EventHubsConfig,
    connection_string: ConnectionString,
    timing: Timing,
    context: SourceContext,
    tls: Option<Arc<ClientConfig>>,
    clock: BrokerClock,
    partitions: BTreeMap<String, Partition>,
    counters: Counters,
    connects: Counter,
    connect_failures: Counter,
    gauge: Gauge,
    failures: u32,
}

impl EventHubs {
    fn new(
        config: EventHubsConfig,
        timing: Timing,
        context: SourceContext,
    ) -> Result<Self, SourceError> {
        use secrecy::ExposeSecret;
        let misconfigured = |message: String| SourceError::Misconfigured {
            source_name: context.name.to_string(),
            message,
        };
        let connection_string = ConnectionString::parse(config.connection_string.expose_secret())
            .map_err(|error| misconfigured(error.to_string()))?;
        let tls = match connection_string.endpoint.emulator {
            true => None,
            false => Some(
                dial::tls_config(config.ca_file.as_deref())
                    .map_err(|error| misconfigured(error.to_string()))?,
            ),
        };
        let labels = [("source", &*context.name)];
        let counter = |family| context.metrics.counter(family, &labels);
        Ok(Self {
            counters: Counters {
                unplaced: counter(catalogue::UNPLACED),
                proofs: counter(catalogue::PROOFS),
            },
            connects: counter(catalogue::CONNECTS),
            connect_failures: counter(catalogue::CONNECT_FAILURES),
            gauge: context.metrics.gauge(catalogue::CONNECTED, &labels),
            clock: BrokerClock::new(context.max_clock_error_ms),
            partitions: BTreeMap::new(),
            failures: 0,
            config,
            connection_string,
            timing,
            tls,
            context,
        })
    }

    /// How to reach `endpoint`, an event hub's or an IoT Hub's.
    fn dial(&self, endpoint: &Endpoint, iot_hub: bool) -> Dial {
        let (port, websocket) = match &self.config.transport {
            Transport::Tcp => (endpoint.tcp_port(), None),
            Transport::WebSocket { proxy } => {
                let path = if iot_hub { IOT_HUB_PATH } else { EVENT_HUBS_PATH };
                let proxy = proxy.clone();
                (endpoint.websocket_port(), Some(WebSocket { path, proxy }))
            }
        };
        Dial { host: endpoint.host.clone(), port, tls: self.tls.clone(), websocket }
    }

    /// Tells everyone why; returns how long to wait.
    async fn failed(&mut self, error: &LinkError) -> Millis {
        let consequence = error.consequence();
        let pause_ms = wait_ms(self.failures, rand::random()).max(consequence.wait_ms);
        let text = error.to_string();
        tracing::warn!(
            source = &*self.context.name,
            reason = consequence.reason.as_str(),
            next_attempt_ms = pause_ms,
            "not connected: {text}"
        );
        self.connect_failures.increment(1);
        self.context.status.send_modify(|status| {
            status.connected = false;
            status.reason = Some(text.clone());
        });
        self.blind(consequence.reason, &text).await;
        pause_ms
    }

    async fn blind(&self, reason: BlindReason, text: &str) {
        let all =
            self.partitions.values().map(|partition| partition.blind(reason, text.to_owned()));
        futures_util::future::join_all(all).await;
    }

    /// Tells this log from another that took its place.
    fn stream(endpoint: &Endpoint, entity: &str, created_at: Timestamp) -> u64 {
        foldhash::fast::FixedState::default().hash_one((&endpoint.host, entity, created_at.as_ms()))
    }
}
