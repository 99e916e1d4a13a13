//! Source `amqp10`: a queue of an AMQP 1.0 broker (Service Bus, RabbitMQ's AMQP 1.0, a Proton broker) as one partition.
//!
//! Messages are received unsettled and accepted on request. AMQP 1.0 can't say who else receives from a queue: only where the
//! operator states that nobody does (`sole_consumer`) the partition has a clock, once the broker's lock time has passed
//! since the attach - until then an earlier receiver may hold messages - and the queue has been seen empty. Up to there,
//! and always without that statement, it is blind.
//!
//! **Proof.** The credit is drained: the broker answers when nothing is left to send, and credit that was left over shows
//! that nothing was (OASIS AMQP 1.0, part 2, section 2.6.7).

use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret, SecretString};
use tokio_util::sync::CancellationToken;
use url::Url;

use self::queue_clock::QueueClock;
use self::session::{Feed, receive};
use crate::clock;
use crate::config::Amqp10Config;
use crate::engine::Millis;
use crate::metrics::{CONNECT_FAILURES, CONNECTED, CONNECTS, PROOFS};
use crate::source::amqp_link::connection::{Connection, Sasl};
use crate::source::amqp_link::dial::{self, Dial};
use crate::source::amqp_link::link_error::LinkError;
use crate::source::reconnect::wait_ms;
use crate::source::{Event, SourceContext, SourceError};

mod queue_clock;
mod session;

/// The one partition of a queue.
const PARTITION: &str = "0";
/// A connection that held this long was a good one: the waits begin anew.
const GOOD_MS: Millis = 30_000;

/// Receives until `stop`. Ends before that only if the configuration can't work.
pub async fn run(
    config: Amqp10Config,
    context: SourceContext,
    stop: CancellationToken,
) -> Result<(), SourceError> {
    let target = Target::new(&config).map_err(|message| SourceError::Misconfigured {
        source_name: context.name.to_string(),
        message,
    })?;
    let labels = [("source", &*context.name)];
    let failures_total = context.metrics.counter(CONNECT_FAILURES, &labels);
    let connected = context.metrics.gauge(CONNECTED, &labels);
    let mut feed = Feed {
        partition: context.partitions.open(PARTITION),
        clock: QueueClock::new(&config, context.max_clock_error_ms),
        proofs: context.metrics.counter(PROOFS, &labels),
        connects: context.metrics.counter(CONNECTS, &labels),
        connected: connected.clone(),
        context: context.clone(),
        config,
        attachment: 0,
        delivered: 0,
        failed_drains: 0,
    };
    let mut failures = 0_u32;
    loop {
        let began = clock::boot_ms();
        let ended = tokio::select! {
            ended = Box::pin(serve(&target, &mut feed, &stop)) => ended,
            () = stop.cancelled() => return Ok(()),
        };
        connected.set(0.0);
        let Err(error) = ended else {
            return Ok(());
        };
        if clock::boot_ms() - began >= GOOD_MS {
            failures = 0;
        }
        failures = failures.saturating_add(1);
        failures_total.increment(1);
        let consequence = error.consequence();
        let pause_ms = wait_ms(failures, rand::random()).max(consequence.wait_ms);
        let detail = error.to_string();
        tracing::warn!(
            source = &*context.name,
            reason = consequence.reason.as_str(),
            next_attempt_ms = pause_ms,
            "not connected: {detail}"
        );
        context.status.send_modify(|status| {
            status.connected = false;
            status.reason = Some(detail.clone());
        });
        let rest = async {
            let reason = consequence.reason;
            // Fails only when the worker has ended, and then the process does.
            let _ = feed.partition.events.send(Event::Blind { reason, detail }).await;
            dial::sleep_ms(pause_ms).await;
        };
        tokio::select! {
            () = rest => {}
            () = stop.cancelled() => return Ok(()),
        }
    }
}

/// One connection's life.
async fn serve(
    target: &Target,
    feed: &mut Feed,
    stop: &CancellationToken,
) -> Result<(), LinkError> {
    let container_id = format!("lastseen-{}", feed.context.name);
    let mut connection =
        Connection::open(&target.dial, &target.hostname, &target.sasl, &container_id).await?;
    let received = tokio::select! {
        received = receive(&mut connection, feed) => received,
        () = stop.cancelled() => Ok(()),
    };
    let fault = connection.guard().fault();
    connection.close().await;
    match (received, fault) {
        (Err(_), Some(fault)) => Err(LinkError::Ended(fault)),
        (received, _) => received,
    }
}

/// What the URI says.
struct Target {
    dial: Dial,
    /// What `open` names: the host, or RabbitMQ's virtual host.
    hostname: String,
    sasl: Sasl,
}

impl Target {
    fn new(config: &Amqp10Config) -> Result<Self, String> {
        let url = Url::parse(config.uri.expose_secret().trim())
            .map_err(|_| "the URI can't be read: amqps://USER:PASSWORD@HOST:PORT is expected")?;
        let tls = match url.scheme() {
            "amqp" => None,
            "amqps" => Some(
                dial::tls_config(config.ca_file.as_deref()).map_err(|error| error.to_string())?,
            ),
            _ => return Err("the URI has to begin with amqps:// or amqp://".to_owned()),
        };
        let host = url
            .host_str()
            .map(|host| host.trim_matches(['[', ']']).to_owned())
            .ok_or("the URI has no host")?;
        let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let virtual_host = decode(url.path().trim_start_matches('/'));
        let sasl = match (url.username(), url.password()) {
            ("", _) => Sasl::Anonymous,
            (user, password) => Sasl::Plain {
                user: decode(user),
                password: SecretString::from(decode(password.unwrap_or_default())),
            },
        };
        Ok(Self {
            hostname: match virtual_host.as_str() {
                "" | "/" => host.clone(),
                name => format!("vhost:{name}"),
            },
            dial: Dial {
                port: url.port().unwrap_or(if tls.is_some() { 5671 } else { 5672 }),
                host,
                tls,
                websocket: None,
            },
            sasl,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::EventTimeFrom;

    fn target(uri: &str) -> Result<Target, String> {
        Target::new(&Amqp10Config {
            uri: SecretString::from(uri.to_owned()),
            address: "q".into(),
            event_time: EventTimeFrom::Receipt,
            mapping: None,
            sole_consumer: false,
            lock_ms: 0,
            credit: 10,
            ca_file: None,
        })
    }

    #[test]
    fn the_uri_gives_host_port_credentials_and_virtual_host() {
        let plain = target("amqp://me:s%2Fcret@127.0.0.1/fleet%2Fa").unwrap();
        assert_eq!((plain.dial.port, plain.dial.tls.is_none()), (5672, true));
        assert_eq!(plain.hostname, "vhost:fleet/a");
        let Sasl::Plain { user, password } = plain.sasl else {
            panic!("no credentials");
        };
        assert_eq!((user.as_str(), password.expose_secret()), ("me", "s/cret"));
        let tls = target("amqps://[::1]:7000/%2f").unwrap();
        assert_eq!((tls.dial.host.as_str(), tls.dial.port), ("::1", 7000));
        assert_eq!(tls.hostname, "::1");
        assert!(tls.dial.tls.is_some() && matches!(tls.sasl, Sasl::Anonymous));
    }

    #[test]
    fn a_uri_that_can_not_work_is_refused_without_showing_it() {
        for uri in ["http://h:hidden@h", "hidden", "amqp:hidden"] {
            let Err(message) = target(uri) else {
                panic!("{uri} was taken");
            };
            assert!(!message.contains("hidden"), "{message}");
        }
    }
}
