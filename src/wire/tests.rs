//! What decoding promises. Most cases are written once as a JSON record and read in every encoding that can carry them.

use std::sync::Arc;

use proptest::prelude::Strategy;
use serde_json::{Value, json};

use super::*;
use crate::engine::rules::Condition;

mod encoder;
mod field_tables;
mod hostile;
mod identities;
mod notifications;
mod queues;
mod scanner;
mod spoofing;
mod stock;
mod telemetry;

/// When the samples were received, ms: a second after the append time.
const RECEIVED: i64 = 1_767_225_662_250;
/// Append time of the samples, ms.
const APPENDED: i64 = 1_767_225_661_250;
/// Ingress time of the samples, ms.
const INGRESS: i64 = 1_767_225_661_187;

/// An event hub of IoT Hub `example-hub`.
fn event_hub() -> Profile {
    Profile {
        hub: HubName::Fixed(Arc::from("example-hub")),
        stamps: Stamps::Annotations,
        event_time: EventTimeFrom::Stamps,
        mapping: None,
        conditions: Arc::from([]),
    }
}

/// A queue: stamps in properties.
fn queue() -> Profile {
    Profile { stamps: Stamps::Properties, event_time: EventTimeFrom::Receipt, ..event_hub() }
}

fn condition(property: &str, value: Option<&str>) -> Condition {
    Condition { property: property.into(), value: value.map(Into::into) }
}

/// Telemetry of `pump-07` as the built-in endpoint delivers it.
fn telemetry_record() -> Value {
    json!({
        "messageAnnotations": {
            "x-opt-sequence-number": 184_467,
            "x-opt-offset": "12884942336",
            "x-opt-enqueued-time": APPENDED,
            "x-opt-partition-key": "pump-07",
            "iothub-connection-device-id": "pump-07",
            "iothub-connection-auth-method": "{\"scope\":\"device\",\"type\":\"sas\",\"issuer\":\"iothub\"}",
            "iothub-connection-auth-generation-id": "638712345678901234",
            "iothub-enqueuedtime": INGRESS,
            "iothub-message-source": "Telemetry"
        },
        "properties": { "message-id": "hb-000123", "content-type": "application/json" },
        "applicationProperties": { "kind": "heartbeat" },
        "data": ""
    })
}

/// `record` with `name` in `section` set to `value`; null removes it.
fn with(mut record: Value, section: &str, name: &str, value: Value) -> Value {
    let members = record
        .as_object_mut()
        .unwrap()
        .entry(section)
        .or_insert_with(|| json!({}))
        .as_object_mut()
        .unwrap();
    if value.is_null() {
        members.remove(name);
    } else {
        members.insert(name.into(), value);
    }
    record
}

fn line(record: &Value) -> RawMessage {
    RawMessage::Line(Bytes::from(record.to_string()))
}

fn decode_one(raw: &RawMessage, profile: &Profile) -> Result<Decoded<'static>, Reject> {
    decode(raw, profile, Timestamp::from_ms(RECEIVED), Timestamp::from_ms(RECEIVED + 60_000))
        .map(Decoded::into_owned)
}

/// Decodes a record as a recorded line and as an AMQP 1.0 message, which have to say the same.
#[expect(clippy::panic_in_result_fn, reason = "a difference between encodings fails the test")]
fn decode_record(record: &Value, profile: &Profile) -> Result<Decoded<'static>, Reject> {
    let as_line = decode_one(&line(record), profile);
    let as_amqp = decode_one(&RawMessage::Amqp10(encoder::message(record)), profile);
    assert_eq!(as_line, as_amqp, "{record}");
    as_line
}

fn reason(record: &Value, profile: &Profile) -> RejectReason {
    decode_record(record, profile).unwrap_err().reason
}

/// The signal of a record, in the terms of the engine, as `hub/device[/module]` with its kind.
fn signal(record: &Value, profile: &Profile) -> (String, SignalKind) {
    let decoded = decode_record(record, profile).unwrap();
    let signal = decoded.message(1).signal.expect("a signal");
    (signal.identity.to_string(), signal.kind)
}

fn ignored(record: &Value, profile: &Profile) -> IgnoredKind {
    match decode_record(record, profile).unwrap().meaning {
        Meaning::Ignored(kind) => kind,
        Meaning::Signal { device, .. } => panic!("a signal about {device}"),
    }
}

/// Any of the profiles, for properties that hold under all of them.
fn any_profile() -> impl Strategy<Value = Profile> {
    let mapping = || Mapping {
        device: FieldFrom::JsonPointer("/d".into()),
        module: Some(FieldFrom::RoutingKeySegment(1)),
        event_time: Some(FieldFrom::Header("at".into())),
    };
    let by_property = HubName::Property("hub".into());
    proptest::sample::select(vec![
        event_hub(),
        queue(),
        Profile { hub: by_property.clone(), event_time: EventTimeFrom::TrustedHeader, ..queue() },
        Profile {
            hub: by_property,
            event_time: EventTimeFrom::TrustedHeader,
            mapping: Some(mapping()),
            conditions: Arc::from([condition("kind", Some("heartbeat"))]),
            ..queue()
        },
        Profile { mapping: Some(mapping()), ..queue() },
    ])
}
