//! `type: amqp091`.

use std::path::PathBuf;

use secrecy::SecretString;

use super::mapping::{Keys, read_mapping};
use super::{Start, read_event_time, read_start, read_uri};
use crate::config::section::Section;
use crate::wire::{EventTimeFrom, Mapping};

/// Messages of a queue are acknowledged once the journal holds them: on a disk 20,000 a second, on an object store 1,000.
const DEFAULT_PREFETCH: u16 = 1_000;
/// The longest name of a queue (AMQP 0-9-1, domain `queue-name` is a short string).
const MAX_QUEUE_NAME: usize = 255;

/// `type: amqp091`.
#[derive(Clone, Debug)]
pub struct Amqp091Config {
    /// Content of `uri_file`: `amqp://user:password@host:port/vhost` or `amqps://`.
    pub uri: SecretString,
    /// The queue or stream.
    pub queue: String,
    /// What kind of queue to expect (and to create).
    pub queue_type: QueueType,
    /// Create it if it is missing. Otherwise a missing queue is an error that says so.
    pub create: bool,
    /// Unacknowledged messages in flight.
    pub prefetch: u16,
    /// Where a stream begins if no position is stored.
    pub start: Start,
    /// What dates a message.
    pub event_time: EventTimeFrom,
    /// Where identity stands, for fleets without IoT Hub.
    pub mapping: Option<Mapping>,
    /// Additional root certificates (PEM).
    pub ca_file: Option<PathBuf>,
}

/// The kinds of RabbitMQ queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueType {
    /// Classic, durable.
    Classic,
    /// Quorum.
    Quorum,
    /// Stream.
    Stream,
}

impl Amqp091Config {
    pub(super) fn read(section: &Section<'_>) -> Option<Self> {
        let uri = read_uri(section);
        let queue = read_queue(section);
        let queue_type = section.choice(
            "queue_type",
            &[
                ("classic", QueueType::Classic),
                ("quorum", QueueType::Quorum),
                ("stream", QueueType::Stream),
            ],
        );
        let queue_type = queue_type.unwrap_or(QueueType::Classic);
        let create = section.flag("create");
        let prefetch = section.number("prefetch", 1..=i64::from(u16::MAX));
        let start = read_start(section);
        if section.has("start") && queue_type != QueueType::Stream {
            section.problem(
                "start",
                section.text("start"),
                "only a stream can be read from a chosen place",
                "set queue_type: stream or remove it",
            );
        }
        let event_time = read_event_time(
            section,
            &[
                ("trusted_header", EventTimeFrom::TrustedHeader),
                ("receipt", EventTimeFrom::Receipt),
            ],
            EventTimeFrom::Receipt,
        );
        let mapping = read_mapping(section, Keys::WithRoutingKey, event_time);
        let ca_file = section.ca_file();
        Some(Self {
            uri: uri?,
            queue: queue?.to_owned(),
            queue_type,
            create,
            prefetch: prefetch
                .and_then(|prefetch| u16::try_from(prefetch).ok())
                .unwrap_or(DEFAULT_PREFETCH),
            start,
            event_time,
            mapping,
            ca_file,
        })
    }
}

fn read_queue<'a>(section: &Section<'a>) -> Option<&'a str> {
    let queue = section.required_text("queue", "name the queue or stream")?;
    if queue.len() > MAX_QUEUE_NAME {
        section.problem(
            "queue",
            Some(queue),
            "is longer than a queue's name can be",
            "write at most 255 bytes",
        );
        return None;
    }
    Some(queue)
}
