//! Decoding one heartbeat: the scanner, against the stock codec that builds the whole message, and against a copy of the
//! same bytes. What an instrumented fleet sends: all the stamps of IoT Hub, three properties, an empty body.

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
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

const APPENDED_MS: i64 = 1_767_225_661_250;

fn heartbeat() -> Bytes {
    let text = |text: &str| Value::String(text.into());
    let time = |ms| Value::Timestamp(AmqpTimestamp::from_milliseconds(ms));
    let auth = r#"{"scope":"device","type":"sas","issuer":"iothub","acceptingIpFilterRule":null}"#;
    let annotations = MessageAnnotations::builder()
        .insert("iothub-connection-device-id", text("pump-0007"))
        .insert("iothub-connection-auth-method", text(auth))
        .insert("iothub-connection-auth-generation-id", text("638712345678901234"))
        .insert("iothub-enqueuedtime", time(APPENDED_MS - 63))
        .insert("iothub-message-source", text("Telemetry"))
        .insert("x-opt-sequence-number", Value::Long(184_467))
        .insert("x-opt-offset", text("12884942336"))
        .insert("x-opt-enqueued-time", time(APPENDED_MS))
        .insert("x-opt-partition-key", text("pump-0007"))
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

fn profile() -> Profile {
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

fn decode(criterion: &mut Criterion) {
    let bytes = heartbeat();
    let raw = RawMessage::Amqp10(bytes.clone());
    let profile = profile();
    let now = Timestamp::from_ms(APPENDED_MS + 1_000);
    assert!(
        wire::decode(&raw, &profile, now, now)
            .is_ok_and(|decoded| decoded.message(1).signal.is_some())
    );

    let mut group = criterion.benchmark_group("decode_heartbeat");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("scanner", |bencher| {
        bencher.iter(|| wire::decode(black_box(&raw), &profile, now, now));
    });
    group.bench_function("log_position", |bencher| {
        bencher.iter(|| wire::amqp10::log_position(black_box(&bytes)));
    });
    group.bench_function("serde_amqp", |bencher| {
        bencher.iter(|| {
            serde_amqp::from_slice::<Deserializable<Message<Body<Value>>>>(black_box(&bytes))
        });
    });
    let mut copy = vec![0_u8; bytes.len()];
    group.bench_function("memcpy", |bencher| {
        bencher.iter(|| black_box(&mut copy).copy_from_slice(black_box(&bytes)));
    });
    group.finish();
}

criterion_group!(benches, decode);
criterion_main!(benches);
