//! Source `amqp091`: a RabbitMQ classic queue, quorum queue or stream, as one partition.
//!
//! **Order and resume.** A queue's messages are numbered as they come; a stream's by their offset, and after a break
//! reading goes on behind the last one delivered. Nothing is acknowledged but on request, and never on another
//! attachment than the one a message came on.
//!
//! **Sole receiver.** A queue says something about silence only while nobody else is given its messages. On a classic
//! queue that is the exclusive consumer of AMQP 0-9-1 (`basic.consume`); RabbitMQ takes that flag on a quorum queue
//! without enforcing it, so there it is `x-single-active-consumer` and having been alone. Otherwise the partition is
//! blind (`shared`). RabbitMQ lets others take single messages with `basic.get` from a classic queue even so, and
//! drops messages where a length limit or a time to live is set: neither can be seen from here, so neither may be used
//! on the queue.
//!
//! **Proof.** "Nothing ready", asked on the consuming channel, and then a second question, in front of whose answer all
//! arrives that was sent before the first. Only for classic queues: a quorum queue may be answered by another
//! replica than sends its messages, and a stream has no count of what is unread. Their clocks move by messages only.
//!
//! **Hostile messages.** See [`guard`].

use std::str::FromStr;
use std::time::Duration;

use lapin::uri::AMQPUri;
use metrics::{Counter, Gauge};
use secrecy::ExposeSecret;
use tokio_util::sync::CancellationToken;

use self::dial::Endpoint;
use self::link::{Broken, Link};
use self::session::{Ended, Feed, Over, Session};
use self::time::QueueTime;
use crate::clock;
use crate::config::Amqp091Config;
use crate::engine::Millis;
use crate::metrics::{CONNECT_FAILURES, CONNECTED, CONNECTS, PROOFS};
use crate::source::{Event, SourceContext, SourceError, reconnect};

mod asking;
mod attach;
mod content;
mod dial;
mod guard;
mod link;
mod message;
mod relay;
mod session;
mod table;
mod time;

/// The one partition of a queue or stream.
const PARTITION: &str = "0";
/// An attachment that lasted this long was a good one: the next failure is the first again.
const GOOD_MS: Millis = 10_000;

/// Receives until `stop` is cancelled, or nobody listens any more. Reconnects for ever; only what no attempt can mend
/// ends it with an error.
pub async fn run(
    config: Amqp091Config,
    context: SourceContext,
    stop: CancellationToken,
) -> Result<(), SourceError> {
    let misconfigured = |message: String| SourceError::Misconfigured {
        source_name: context.name.to_string(),
        message,
    };
    let (uri, endpoint) = target(&config).map_err(misconfigured)?;
    let time = QueueTime::new(
        config.event_time,
        config.mapping.as_ref(),
        session::now(),
        context.max_clock_error_ms,
    );
    let labels = [("source", &*context.name)];
    let partition = context.partitions.open(PARTITION);
    let feed = Feed {
        resume: partition.resume.map(|resume| resume.after.saturating_add(1)),
        config,
        partition,
        stop,
        time,
        proofs: context.metrics.counter(PROOFS, &labels),
        attachment: 0,
        delivered: 0,
    };
    let source = Source {
        uri,
        endpoint,
        connects: context.metrics.counter(CONNECTS, &labels),
        failures: context.metrics.counter(CONNECT_FAILURES, &labels),
        connected: context.metrics.gauge(CONNECTED, &labels),
        context,
    };
    source.attach_for_ever(feed).await;
    Ok(())
}

/// Reads the URI and the certificates. Errors name no secret.
fn target(config: &Amqp091Config) -> Result<(AMQPUri, Endpoint), String> {
    if config.prefetch == 0 {
        return Err("prefetch: 0 would mean without bound: use 1 to 65535".to_owned());
    }
    let uri = AMQPUri::from_str(config.uri.expose_secret().trim()).map_err(|_| {
        "the URI can't be read: amqp://USER:PASSWORD@HOST:PORT/VHOST or amqps:// is expected, with special \
         characters percent-encoded"
            .to_owned()
    })?;
    let endpoint = Endpoint::new(&uri, config.ca_file.as_deref())?;
    Ok((uri, endpoint))
}

/// Does it, unless we are asked to stop first.
async fn unless<T>(
    stop: &CancellationToken,
    doing: impl Future<Output = Result<T, Broken>>,
) -> Result<T, Over> {
    tokio::select! {
        () = stop.cancelled() => Err(Over::Ended(Ended::Stopped)),
        done = doing => done.map_err(Over::Broken),
    }
}

struct Source {
    uri: AMQPUri,
    endpoint: Endpoint,
    context: SourceContext,
    connects: Counter,
    failures: Counter,
    connected: Gauge,
}

impl Source {
    async fn attach_for_ever(&self, mut feed: Feed) {
        let mut failures = 0_u32;
        loop {
            let began_ms = clock::boot_ms();
            let over = self.attach_once(&mut feed).await;
            self.connected.set(0.0);
            let broken = match over {
                Over::Ended(Ended::Stopped | Ended::NobodyListens) => break,
                Over::Ended(Ended::AloneAgain) => continue,
                Over::Broken(broken) => broken,
            };
            if clock::boot_ms() - began_ms >= GOOD_MS {
                failures = 0;
            }
            failures = failures.saturating_add(1);
            let wait_ms = reconnect::wait_ms(failures, rand::random());
            if self.rest(&feed, broken, wait_ms).await.is_err() {
                break;
            }
        }
        self.context.status.send_modify(|status| {
            status.connected = false;
            status.reason = Some("stopped".to_owned());
        });
    }

    async fn attach_once(&self, feed: &mut Feed) -> Over {
        let stop = feed.stop.clone();
        let link = match unless(&stop, Link::connect(&self.endpoint, &self.uri)).await {
            Ok(link) => link,
            Err(over) => return over,
        };
        let attaching = attach::attach(&link, &feed.config, &mut feed.resume);
        let over = match unless(&stop, attaching).await {
            Ok(receiver) => {
                self.report_connected(&receiver);
                Session::run(feed, receiver).await
            }
            Err(over) => over,
        };
        match over {
            Over::Broken(broken) => Over::Broken(link.explain(broken).await),
            Over::Ended(ended) => {
                link.close().await;
                Over::Ended(ended)
            }
        }
    }

    fn report_connected(&self, receiver: &attach::Receiver) {
        self.connects.increment(1);
        self.connected.set(1.0);
        let degraded = match &receiver.sole {
            None | Some(attach::Sole::Proven) => None,
            Some(attach::Sole::Others(detail) | attach::Sole::Unknowable(detail)) => {
                Some(detail.clone())
            }
        };
        tracing::info!(source = %self.context.name, degraded, "attached");
        self.context.status.send_modify(|status| {
            status.connected = true;
            status.reason = degraded;
            status.connects += 1;
        });
    }

    /// Says why the partition is blind, and waits.
    async fn rest(&self, feed: &Feed, broken: Broken, wait_ms: Millis) -> Result<(), Over> {
        let Broken { reason, detail } = broken;
        self.failures.increment(1);
        tracing::warn!(source = %self.context.name, reason = reason.as_str(), detail, wait_ms, "not attached");
        self.context.status.send_modify(|status| {
            status.connected = false;
            status.reason = Some(detail.clone());
        });
        feed.tell(Event::Blind { reason, detail }).await?;
        tokio::select! {
            () = feed.stop.cancelled() => Err(Over::Ended(Ended::Stopped)),
            () = tokio::time::sleep(Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0))) => Ok(()),
        }
    }
}
