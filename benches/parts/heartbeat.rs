//! A heartbeat as an event hub delivers it, and what reads it.

use std::sync::Arc;

use bytes::Bytes;
use fe2o3_amqp_types::messaging::message::__private::{Deserializable, Serializable};
use fe2o3_amqp_types::messaging::{
    ApplicationProperties, Body, Data, Message, MessageAnnotations, Properties,
};
use fe2o3_amqp_types::primitives::SimpleValue;
use lastseen::engine::rules::Condition;
use lastseen::wire::{EventTimeFrom, HubName, Profile, Stamps};
use serde_amqp::Value;
use serde_amqp::primitives::{Binary, Timestamp as AmqpTimestamp};

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
