//! Attaching to a queue or stream: its topology is checked, and created only where the configuration says so.

use lapin::message::Delivery;
use lapin::options::QueueDeclareOptions;
use lapin::protocol::AMQPSoftError;
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Consumer};

use super::link::{self, Answer, Broken, Link};
use super::session;
use super::time::Now;
use crate::config::{Amqp091Config, QueueType, Start};
use crate::engine::Backlog;

/// An attached receiver.
pub(super) struct Receiver {
    pub(super) channel: Channel,
    pub(super) consumer: Consumer,
    /// What was delivered while attaching.
    pub(super) early: Vec<Delivery>,
    /// Whether we are provably the only receiver; `None` for streams, where that does not matter.
    pub(super) sole: Option<Sole>,
    pub(super) backlog: Backlog,
    /// The oldest offset that a stream still holds.
    pub(super) first_available: Option<i64>,
    /// When the end of a stream was asked for: what comes behind it is read live, however long attaching takes.
    pub(super) asked: Option<Now>,
}

/// Whether anybody else can be given messages of the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sole {
    /// Nobody.
    Proven,
    /// Others consume; once they are gone, attaching again may prove it.
    Others(String),
    /// The broker gives no way to know.
    Unknowable(String),
}

/// Checks the queue and starts to consume. `resume` is the offset at which a stream goes on; it is set here where the
/// configuration says "latest", so that nothing published during a later break is skipped.
pub(super) async fn attach(
    link: &Link,
    config: &Amqp091Config,
    resume: &mut Option<i64>,
) -> Result<Receiver, Broken> {
    exists(link, config).await?;
    match config.queue_type {
        QueueType::Stream => {
            typed(link, config, false).await?;
            stream(link, config, resume).await
        }
        QueueType::Classic | QueueType::Quorum => queue(link, config).await,
    }
}

/// Finds the queue, or creates it.
async fn exists(link: &Link, config: &Amqp091Config) -> Result<(), Broken> {
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let name = &config.queue;
    match link.declare(name, passive, FieldTable::default()).await? {
        Answer::Granted(_) => Ok(()),
        Answer::Refused(AMQPSoftError::NOTFOUND, _) if config.create => {
            let single = config.queue_type == QueueType::Quorum;
            match declare(link, config, single).await? {
                Answer::Granted(_) => Ok(()),
                Answer::Refused(_, detail) => Err(Broken::link_down(format!(
                    "queue {name} does not exist and can't be created: {detail}"
                ))),
            }
        }
        Answer::Refused(AMQPSoftError::NOTFOUND, _) => Err(Broken::link_down(format!(
            "queue {name} does not exist: declare it on the broker, or set `create: true`"
        ))),
        Answer::Refused(_, detail) => {
            Err(Broken::link_down(format!("queue {name} can't be used: {detail}")))
        }
    }
}

/// Declares the queue as we would create it. On one that exists this only compares (AMQP 0-9-1, `queue.declare`).
async fn declare(
    link: &Link,
    config: &Amqp091Config,
    single_active_consumer: bool,
) -> Result<Answer<lapin::Queue>, Broken> {
    let mut arguments = FieldTable::default();
    let kind = match config.queue_type {
        QueueType::Classic => "classic",
        QueueType::Quorum => "quorum",
        QueueType::Stream => "stream",
    };
    arguments.insert("x-queue-type".into(), AMQPValue::LongString(kind.into()));
    if single_active_consumer {
        arguments.insert("x-single-active-consumer".into(), AMQPValue::Boolean(true));
    }
    link.declare(&config.queue, QueueDeclareOptions::durable(), arguments).await
}

/// Compares the queue with what is configured; true if it is exactly as we would create it. A difference in its type is
/// an error; other arguments (limits, expiry) are the operator's business.
async fn typed(
    link: &Link,
    config: &Amqp091Config,
    single_active_consumer: bool,
) -> Result<bool, Broken> {
    match declare(link, config, single_active_consumer).await? {
        Answer::Granted(_) => Ok(true),
        Answer::Refused(AMQPSoftError::PRECONDITIONFAILED, detail)
            if detail.contains("'x-queue-type'") =>
        {
            Err(Broken::link_down(format!(
                "queue {} is of another type than configured: {detail}",
                config.queue
            )))
        }
        Answer::Refused(..) => Ok(false),
    }
}

async fn queue(link: &Link, config: &Amqp091Config) -> Result<Receiver, Broken> {
    let single = typed(link, config, true).await?;
    if !single {
        typed(link, config, false).await?;
    }
    let (channel, mut consumer, exclusive) = consume_alone(link, config, single).await?;
    let (ready, consumers) = link::counts(&channel, &config.queue).await?;
    // What was sent before that answer arrives before this one.
    link::qos(&channel, config.prefetch).await?;
    let mut early = Vec::new();
    while let Some(delivery) = link::ready(&mut consumer)? {
        early.push(delivery);
    }
    let delivered = u64::try_from(early.len()).unwrap_or(u64::MAX);
    let backlog = match u64::from(ready).saturating_add(delivered) {
        0 => Backlog::Empty,
        waiting => Backlog::Count(waiting),
    };
    let sole = sole(config, exclusive, single, consumers);
    Ok(Receiver {
        channel,
        consumer,
        early,
        sole: Some(sole),
        backlog,
        first_available: None,
        asked: None,
    })
}

/// Consumes, exclusively where that means something: with a single active consumer it is refused, and on quorum queues
/// RabbitMQ takes the flag without keeping others away. True if exclusive.
async fn consume_alone(
    link: &Link,
    config: &Amqp091Config,
    single: bool,
) -> Result<(Channel, Consumer, bool), Broken> {
    let possible = config.queue_type == QueueType::Classic && !single;
    for exclusive in [possible, false] {
        let channel = link.channel().await?;
        link::qos(&channel, config.prefetch).await?;
        match link::consume(&channel, &config.queue, exclusive, None).await? {
            Answer::Granted(consumer) => return Ok((channel, consumer, exclusive)),
            Answer::Refused(AMQPSoftError::ACCESSREFUSED, _) if exclusive => {}
            Answer::Refused(_, detail) => return Err(refused(config, &detail)),
        }
    }
    Err(Broken::link_down(format!("queue {} can't be consumed", config.queue)))
}

fn refused(config: &Amqp091Config, detail: &str) -> Broken {
    Broken::link_down(format!("queue {} can't be consumed: {detail}", config.queue))
}

/// With a single active consumer, whoever is first stays the one until it goes: alone once is alone from there on.
fn sole(config: &Amqp091Config, exclusive: bool, single: bool, consumers: u32) -> Sole {
    let queue = &config.queue;
    if exclusive || (single && consumers == 1) {
        Sole::Proven
    } else if single || config.queue_type == QueueType::Classic {
        Sole::Others(format!("others consume from queue {queue} ({consumers} consumers with us)"))
    } else {
        Sole::Unknowable(format!(
            "nothing shows that nobody else consumes from quorum queue {queue}: declare it with \
             x-single-active-consumer and nothing else, or let `create: true` do so"
        ))
    }
}

async fn stream(
    link: &Link,
    config: &Amqp091Config,
    resume: &mut Option<i64>,
) -> Result<Receiver, Broken> {
    let name = &config.queue;
    let asked = Some(session::now());
    let first = link.probe_stream(name, "first", 1).await?;
    let end = link.probe_stream(name, "last", link::TO_THE_END).await?;
    let end = end.map(|(_, last)| last);
    if resume.is_none() && config.start == Start::Latest {
        *resume = Some(end.map_or(0, |last| last.saturating_add(1)));
    }
    let from = match (*resume, config.start) {
        (Some(offset), _) => AMQPValue::LongLongInt(offset),
        (None, Start::Earliest | Start::Latest) => AMQPValue::LongString("first".into()),
        (None, Start::At(at)) => {
            AMQPValue::Timestamp(u64::try_from(at.as_ms() / 1_000).unwrap_or(0))
        }
    };
    let channel = link.channel().await?;
    link::qos(&channel, config.prefetch).await?;
    let consumer = match link::consume(&channel, name, false, Some(from)).await? {
        Answer::Granted(consumer) => consumer,
        Answer::Refused(_, detail) => return Err(refused(config, &detail)),
    };
    Ok(Receiver {
        channel,
        consumer,
        early: Vec::new(),
        sole: None,
        backlog: backlog_of_stream(*resume, end),
        first_available: first.map(|(offset, _)| offset),
        asked,
    })
}

/// What is there from `resume` up to `end`.
fn backlog_of_stream(resume: Option<i64>, end: Option<i64>) -> Backlog {
    match end {
        Some(end) if resume.is_none_or(|offset| offset <= end) => Backlog::UpTo(end),
        Some(_) | None => Backlog::Empty,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_has_a_backlog_only_where_something_is_left_to_read() {
        assert_eq!(backlog_of_stream(None, None), Backlog::Empty);
        assert_eq!(backlog_of_stream(None, Some(0)), Backlog::UpTo(0));
        assert_eq!(backlog_of_stream(Some(7), Some(7)), Backlog::UpTo(7));
        assert_eq!(backlog_of_stream(Some(8), Some(7)), Backlog::Empty);
    }
}
