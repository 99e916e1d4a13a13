//! `type: amqp10`.

use std::path::PathBuf;

use secrecy::SecretString;

use super::mapping::{Keys, read_mapping};
use super::{read_event_time, read_uri};
use crate::config::section::Section;
use crate::engine::Millis;
use crate::wire::{EventTimeFrom, Mapping};

/// Messages are settled once the journal holds them: on a disk 20,000 a second, on an object store 1,000.
const DEFAULT_CREDIT: u32 = 1_000;
/// With messages of 1 KiB about 10 MiB in flight.
const MAX_CREDIT: i64 = 10_000;
/// The longest lock of a Service Bus message ("Message settlement": up to 5 minutes), which is no less than any queue's own.
const DEFAULT_LOCK_MS: Millis = 300_000;
/// A lock of more than an hour is a slip.
const MAX_LOCK_MS: Millis = 3_600_000;

/// `type: amqp10`.
#[derive(Clone, Debug)]
pub struct Amqp10Config {
    /// Content of `uri_file`: `amqp://` or `amqps://` with user and password.
    pub uri: SecretString,
    /// Address of the node.
    pub address: String,
    /// What dates a message.
    pub event_time: EventTimeFrom,
    /// Where identity stands, for fleets without IoT Hub.
    pub mapping: Option<Mapping>,
    /// The operator states that nobody else receives from it.
    pub sole_consumer: bool,
    /// The broker's lock time: how long after an attach a message may still be held by an earlier receiver.
    pub lock_ms: Millis,
    /// Link credit.
    pub credit: u32,
    /// Additional root certificates (PEM).
    pub ca_file: Option<PathBuf>,
}

impl Amqp10Config {
    pub(super) fn read(section: &Section<'_>) -> Option<Self> {
        let uri = read_uri(section);
        let address = section.required_text("address", "write the address of the queue");
        let event_time = read_event_time(
            section,
            &[
                ("stamps", EventTimeFrom::Stamps),
                ("trusted_header", EventTimeFrom::TrustedHeader),
                ("receipt", EventTimeFrom::Receipt),
            ],
            EventTimeFrom::Receipt,
        );
        let mapping = read_mapping(section, Keys::NoRoutingKey, event_time);
        let sole_consumer = section.flag("sole_consumer");
        let lock = section.duration("lock", 0..=MAX_LOCK_MS);
        let credit = section.number("credit", 1..=MAX_CREDIT);
        let ca_file = section.ca_file();
        Some(Self {
            uri: uri?,
            address: address?.to_owned(),
            event_time,
            mapping,
            sole_consumer,
            lock_ms: lock.unwrap_or(DEFAULT_LOCK_MS),
            credit: credit.and_then(|credit| u32::try_from(credit).ok()).unwrap_or(DEFAULT_CREDIT),
            ca_file,
        })
    }
}
