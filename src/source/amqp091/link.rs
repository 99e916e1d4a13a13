//! One attachment to the broker: connection, channel, consumer, and what was found out while attaching.

use std::io;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions, QueueDeclareOptions};
use lapin::protocol::{AMQPError, AMQPErrorKind, AMQPHardError, AMQPSoftError};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::uri::AMQPUri;
use lapin::{AsyncTcpStream, Channel, Connection, ConnectionProperties, Consumer, Queue};

use super::dial::Endpoint;
use super::guard::MAX_FRAME_BYTES;
use super::message;
use super::relay::{Gate, Relay};
use crate::engine::BlindReason;

/// How long the broker may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a good-bye may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Heartbeat in seconds, unless the URI names another (`?heartbeat=`). A silent peer is given up after two.
const HEARTBEAT_S: u16 = 20;
/// The longest heartbeat that a URI may ask for, so that a dead link doesn't pass for a silent queue.
const MAX_HEARTBEAT_S: u16 = 60;
/// Rounds of reading to find the end of a stream: with the smallest prefetch still the length of an ordinary chunk.
const MAX_PROBE_ROUNDS: usize = 64;

/// Why an attachment could not be made, or ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Broken {
    /// The class.
    pub(super) reason: BlindReason,
    /// One line for people; no secret.
    pub(super) detail: String,
}

impl Broken {
    pub(super) fn link_down(detail: impl Into<String>) -> Self {
        Self {
            reason: BlindReason::LinkDown,
            detail: detail.into(),
        }
    }
}

/// A connection to the broker through the guard.
pub(super) struct Link {
    connection: Connection,
    relay: Relay,
}

/// What the broker answered to a question that it may refuse: the refusal closes the channel, not the connection.
pub(super) enum Answer<T> {
    Granted(T),
    Refused(AMQPSoftError, String),
}

impl Link {
    /// Connects and logs in.
    pub(super) async fn connect(endpoint: &Endpoint, uri: &AMQPUri) -> Result<Self, Broken> {
        let broker = endpoint.dial().await.map_err(Broken::link_down)?;
        let unusable =
            |error: &dyn std::fmt::Display| Broken::link_down(format!("loopback: {error}"));
        let gate = Gate::open().await.map_err(|error| unusable(&error))?;
        let address = gate.address();
        let (told, client) = tokio::sync::oneshot::channel();
        let told = std::sync::Mutex::new(Some(told));
        let relay = gate.relay(broker, client);
        let runtime = lapin::runtime::default_runtime().map_err(|error| unusable(&error))?;
        let opening = Connection::connector(
            limited(uri),
            runtime,
            async move |_, runtime| {
                let stream = AsyncTcpStream::connect(&runtime, address).await?;
                let own = match &stream {
                    AsyncTcpStream::Plain(plain) => plain.get_ref().local_addr()?,
                    _ => return Err(io::Error::other("the loopback connection is plain").into()),
                };
                let told = told.lock().map_or(None, |mut told| told.take());
                told.and_then(|told| told.send(own).ok())
                    .ok_or_else(|| io::Error::other("the relay is used once"))?;
                Ok(stream)
            },
            ConnectionProperties::default().with_connection_name("lastseen".into()),
        );
        match tokio::time::timeout(ANSWER_TIMEOUT, opening).await {
            Ok(Ok(connection)) => Ok(Self { connection, relay }),
            Ok(Err(error)) => Err(explain(&error, relay.reason().await)),
            Err(_) => Err(silent()),
        }
    }

    /// Opens a channel.
    pub(super) async fn channel(&self) -> Result<Channel, Broken> {
        answer(self.connection.create_channel()).await
    }

    /// Asks on a channel of its own, which a refusal closes.
    pub(super) async fn declare(
        &self,
        queue: &str,
        options: QueueDeclareOptions,
        arguments: FieldTable,
    ) -> Result<Answer<Queue>, Broken> {
        let channel = self.channel().await?;
        let declared = asked(channel.queue_declare(queue.into(), options, arguments)).await?;
        if let Answer::Granted(_) = declared {
            answer(channel.close(200, "done".into())).await?;
        }
        Ok(declared)
    }

    /// The first and the last offset that a new reader of a stream is given from `offset` on without waiting; `None` if
    /// there is nothing.
    pub(super) async fn probe_stream(
        &self,
        queue: &str,
        offset: &str,
        rounds: usize,
    ) -> Result<Option<(i64, i64)>, Broken> {
        let channel = self.channel().await?;
        let prefetch = 1_000;
        qos(&channel, prefetch).await?;
        let from = AMQPValue::LongString(offset.into());
        let mut consumer = match consume(&channel, queue, false, Some(from)).await? {
            Answer::Granted(consumer) => consumer,
            Answer::Refused(_, detail) => return Err(Broken::link_down(detail)),
        };
        let mut seen: Option<(i64, i64)> = None;
        for _ in 0..rounds.min(MAX_PROBE_ROUNDS) {
            // What the broker had to send at once has arrived before this answer.
            qos(&channel, prefetch).await?;
            let mut last_tag = None;
            while let Some(delivery) = ready(&mut consumer)? {
                if let Some(offset) = message::stream_offset(&delivery) {
                    seen = Some((seen.map_or(offset, |(first, _)| first), offset));
                }
                last_tag = Some(delivery.delivery_tag);
            }
            let Some(tag) = last_tag else { break };
            acknowledge(&channel, tag).await?;
        }
        answer(channel.close(200, "done".into())).await?;
        Ok(seen)
    }

    /// The reason of the guard, if it was the guard that ended the connection.
    pub(super) async fn explain(self, broken: Broken) -> Broken {
        match self.relay.reason().await {
            Some(detail) => Broken { detail, ..broken },
            None => broken,
        }
    }

    /// Says good-bye, but does not wait for long.
    pub(super) async fn close(self) {
        let closing = self.connection.close(200, "stopped".into());
        // The relay is dropped in any case, which ends the client library.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, closing).await;
    }
}

/// The URI with the limits that we agree to.
fn limited(uri: &AMQPUri) -> AMQPUri {
    let mut uri = uri.clone();
    uri.query.frame_max = u32::try_from(MAX_FRAME_BYTES).ok();
    let heartbeat = uri.query.heartbeat.unwrap_or(HEARTBEAT_S);
    uri.query.heartbeat = Some(heartbeat.clamp(1, MAX_HEARTBEAT_S));
    uri
}

/// The end of a stream: rounds enough to read its last chunk.
pub(super) const TO_THE_END: usize = MAX_PROBE_ROUNDS;

/// The most messages in flight.
pub(super) async fn qos(channel: &Channel, prefetch: u16) -> Result<(), Broken> {
    answer(channel.basic_qos(prefetch, BasicQosOptions::default())).await
}

/// How many messages are ready, and how many consumers there are.
pub(super) async fn counts(channel: &Channel, queue: &str) -> Result<(u32, u32), Broken> {
    let passive = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    let declared =
        answer(channel.queue_declare(queue.into(), passive, FieldTable::default())).await?;
    Ok((declared.message_count(), declared.consumer_count()))
}

/// Starts to consume; a stream from `offset`.
pub(super) async fn consume(
    channel: &Channel,
    queue: &str,
    exclusive: bool,
    offset: Option<AMQPValue>,
) -> Result<Answer<Consumer>, Broken> {
    let mut arguments = FieldTable::default();
    if let Some(offset) = offset {
        arguments.insert(ShortString::from("x-stream-offset"), offset);
    }
    let options = BasicConsumeOptions {
        exclusive,
        ..BasicConsumeOptions::default()
    };
    asked(channel.basic_consume(queue.into(), "lastseen".into(), options, arguments)).await
}

/// Acknowledges everything up to this tag.
pub(super) async fn acknowledge(channel: &Channel, tag: u64) -> Result<(), Broken> {
    answer(channel.basic_ack(tag, BasicAckOptions { multiple: true })).await
}

/// The next delivery, if one has arrived.
pub(super) fn ready(consumer: &mut Consumer) -> Result<Option<Delivery>, Broken> {
    consumer.next().now_or_never().map(taken).transpose()
}

/// A delivery out of what the consumer yields.
pub(super) fn taken(next: Option<lapin::Result<Delivery>>) -> Result<Delivery, Broken> {
    match next {
        Some(Ok(delivery)) => Ok(delivery),
        Some(Err(error)) => Err(explain(&error, None)),
        None => Err(Broken::link_down(
            "the broker ended the consumer: the queue was deleted, or its leader is gone",
        )),
    }
}

async fn answer<T>(asking: impl Future<Output = lapin::Result<T>>) -> Result<T, Broken> {
    match tokio::time::timeout(ANSWER_TIMEOUT, asking).await {
        Ok(answered) => answered.map_err(|error| explain(&error, None)),
        Err(_) => Err(silent()),
    }
}

async fn asked<T>(asking: impl Future<Output = lapin::Result<T>>) -> Result<Answer<T>, Broken> {
    match tokio::time::timeout(ANSWER_TIMEOUT, asking).await {
        Ok(Ok(granted)) => Ok(Answer::Granted(granted)),
        Ok(Err(error)) => match soft(&error) {
            Some((kind, text)) => Ok(Answer::Refused(kind, text)),
            None => Err(explain(&error, None)),
        },
        Err(_) => Err(silent()),
    }
}

fn silent() -> Broken {
    Broken::link_down(format!(
        "the broker is connected but has not answered for {} s",
        ANSWER_TIMEOUT.as_secs()
    ))
}

/// What the broker answered, if it refused.
fn refusal(error: &lapin::Error) -> Option<&AMQPError> {
    if let lapin::ErrorKind::ProtocolError(refusal) = error.kind() {
        Some(refusal)
    } else {
        None
    }
}

/// The broker's refusal that closed only the channel.
fn soft(error: &lapin::Error) -> Option<(AMQPSoftError, String)> {
    let refusal = refusal(error)?;
    match refusal.kind() {
        AMQPErrorKind::Soft(kind) => Some((kind.clone(), refusal.get_message().to_string())),
        AMQPErrorKind::Hard(_) => None,
    }
}

/// A broken link, by what the guard says, else what the broker said, else what the client library saw.
fn explain(error: &lapin::Error, guard: Option<String>) -> Broken {
    let refusal = refusal(error);
    let unauthorized = refusal.is_some_and(|refusal| {
        [
            AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED),
            AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED),
        ]
        .contains(refusal.kind())
    });
    let said = || {
        refusal.map_or_else(
            || error.to_string(),
            |refusal| refusal.get_message().to_string(),
        )
    };
    Broken {
        reason: if unauthorized {
            BlindReason::Unauthorized
        } else {
            BlindReason::LinkDown
        },
        detail: guard.unwrap_or_else(said),
    }
}
