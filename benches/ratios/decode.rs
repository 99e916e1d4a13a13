//! Decoding a heartbeat: the scanner, beside the stock codec that builds the whole message.

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use fe2o3_amqp_types::messaging::message::__private::{Deserializable, Serializable};
use fe2o3_amqp_types::messaging::{
    ApplicationProperties, Body, Data, Message, MessageAnnotations, Properties,
};
use fe2o3_amqp_types::primitives::SimpleValue;
use lastseen::engine::Timestamp;
use lastseen::engine::rules::Condition;
use lastseen::wire::{self, EventTimeFrom, HubName, Profile, RawMessage, Stamps};
use serde_amqp::Value;
use serde_amqp::primitives::{Binary, Timestamp as AmqpTimestamp};

use crate::fleet;
use crate::measure::{ROUNDS, Row, timed};

/// Different messages, so that nothing is learned by heart.
const MESSAGES: u64 = 1_000;
/// How often each is decoded in a turn.
const REPEATS: u64 = 20;

/// What the stock codec makes of a message.
pub(crate) type Stock = Deserializable<Message<Body<Value>>>;

/// What an instrumented fleet sends: all the stamps of IoT Hub, three properties, an empty body.
pub(crate) fn heartbeat(id: &str, ingress_ms: i64, sequence: i64) -> Bytes {
    let text = |text: &str| Value::String(text.into());
    let time = |ms| Value::Timestamp(AmqpTimestamp::from_milliseconds(ms));
    let auth = r#"{"scope":"device","type":"sas","issuer":"iothub","acceptingIpFilterRule":null}"#;
    let annotations = MessageAnnotations::builder()
        .insert("iothub-connection-device-id", text(id))
        .insert("iothub-connection-auth-method", text(auth))
        .insert("iothub-connection-auth-generation-id", text("638712345678901234"))
        .insert("iothub-enqueuedtime", time(ingress_ms))
        .insert("iothub-message-source", text("Telemetry"))
        .insert("x-opt-sequence-number", Value::Long(sequence))
        .insert("x-opt-offset", text("12884942336"))
        .insert("x-opt-enqueued-time", time(ingress_ms + 63))
        .insert("x-opt-partition-key", text(id))
        .build();
    let properties = Properties::builder()
        .message_id("hb-000123".to_owned())
        .content_type("application/json")
        .content_encoding("utf-8")
        .build();
    let message = Message::builder()
        .message_annotations(annotations)
        .properties(properties)
        .application_properties(
            ApplicationProperties::builder()
                .insert("kind", SimpleValue::String("heartbeat".into()))
                .insert("firmware", SimpleValue::String("4.2.1".into()))
                .insert("site", SimpleValue::String("plant-3".into()))
                .build(),
        )
        .body(Data(Binary::from(Vec::new())))
        .build();
    serde_amqp::to_vec(&Serializable(message)).unwrap_or_default().into()
}

/// How the source is configured.
pub(crate) fn profile() -> Profile {
    Profile {
        hub: HubName::Fixed(Arc::from("example-hub")),
        stamps: Stamps::Annotations,
        event_time: EventTimeFrom::Stamps,
        mapping: None,
        conditions: Arc::from([Condition {
            property: "kind".into(),
            value: Some("heartbeat".into()),
        }]),
    }
}

/// The scanner against the codec, and against a copy of the same bytes.
pub(crate) fn rows() -> Vec<Row> {
    let profile = profile();
    let latest = Timestamp::from_ms(i64::MAX);
    let messages: Vec<(Bytes, RawMessage)> = (0..MESSAGES)
        .map(|device| {
            let id = format!("factory-07/line-12/sensor-{device:010}");
            let ms = fleet::T0_MS + i64::try_from(device).unwrap_or(0);
            let bytes = heartbeat(&id, ms, ms);
            (bytes.clone(), RawMessage::Amqp10(bytes))
        })
        .collect();
    let each = |ns: f64| ns / (MESSAGES * REPEATS) as f64;
    let [mut ours, mut stock, mut copies] = [const { Vec::new() }; 3];
    let mut copy = vec![0_u8; messages.iter().map(|(bytes, _)| bytes.len()).max().unwrap_or(0)];
    for _ in 0..2 * ROUNDS {
        let turns = || (0..REPEATS).flat_map(|_| &messages);
        let (signals, ns) = timed(|| {
            let decoded = turns().map(|(_, raw)| wire::decode(raw, &profile, latest, latest));
            decoded.filter(|d| d.as_ref().is_ok_and(|d| d.message(1).signal.is_some())).count()
        });
        assert_eq!(signals as u64, MESSAGES * REPEATS, "all of them are heartbeats");
        ours.push(each(ns));
        let (decoded, ns) = timed(|| {
            turns().filter(|(bytes, _)| serde_amqp::from_slice::<Stock>(bytes).is_ok()).count()
        });
        assert_eq!(decoded as u64, MESSAGES * REPEATS, "the codec reads all of them");
        stock.push(each(ns));
        let ((), ns) = timed(|| {
            for (bytes, _) in turns() {
                black_box(&mut copy[..bytes.len()]).copy_from_slice(black_box(bytes));
            }
        });
        copies.push(each(ns));
    }
    vec![
        Row::new("decode", &ours, "serde_amqp, full message", &stock, Some(9.0)),
        Row::new("decode", &ours, "a copy of the message", &copies, None),
    ]
}
