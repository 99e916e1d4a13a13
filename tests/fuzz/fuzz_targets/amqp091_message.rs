#![no_main]

mod profiles;

use arbitrary::Arbitrary;
use lastseen::engine::Timestamp;
use lastseen::wire::{Amqp091Message, HeaderValue, RawMessage};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Delivery {
    routing_key: String,
    headers: Vec<(Name, Header)>,
    body: Vec<u8>,
}

/// Mostly names that mean something.
#[derive(Arbitrary, Debug)]
enum Name {
    Known(u8),
    Other(String),
}

#[derive(Arbitrary, Debug)]
enum Header {
    Text(String),
    Integer(i64),
    Boolean(bool),
    Time(i64),
    Other,
}

const NAMES: [&str; 14] = [
    "iothub-connection-device-id",
    "iothub-connection-module-id",
    "iothub-connection-auth-generation-id",
    "iothub-message-source",
    "iothub-enqueuedtime",
    "iothub-creation-time-utc",
    "iothub-MessageType",
    "opType",
    "deviceId",
    "moduleId",
    "hubName",
    "hub",
    "d",
    "m",
];

fuzz_target!(|delivery: Delivery| {
    let headers = delivery.headers.into_iter().map(|(name, value)| {
        let name = match name {
            Name::Known(index) => NAMES[usize::from(index) % NAMES.len()].to_owned(),
            Name::Other(name) => name,
        };
        let value = match value {
            Header::Text(text) => HeaderValue::Text(text),
            Header::Integer(number) => HeaderValue::Integer(number),
            Header::Boolean(flag) => HeaderValue::Boolean(flag),
            Header::Time(ms) => HeaderValue::Time(Timestamp::from_ms(ms)),
            Header::Other => HeaderValue::Other,
        };
        (name, value)
    });
    profiles::decode(&RawMessage::Amqp091(Box::new(Amqp091Message {
        routing_key: delivery.routing_key,
        headers: headers.collect(),
        body: delivery.body.into(),
        ..Amqp091Message::default()
    })));
});
