//! What IoT Hub writes into messages: annotations on telemetry, and whole notifications ("Create and read IoT Hub
//! messages", "IoT Hub non-telemetry event schemas").

use bytes::{Bytes, BytesMut};
use serde_json::json;

use super::log::Place;
use super::{DeviceMessage, RegistryChange};
use crate::devhub::value::{Value, put_described, put_descriptor, put_map};
use crate::engine::Timestamp;

/// Section descriptors (OASIS AMQP 1.0, part 3, section 3.2).
const MESSAGE_ANNOTATIONS: u64 = 0x72;
const PROPERTIES: u64 = 0x73;
const APPLICATION_PROPERTIES: u64 = 0x74;
const DATA: u64 = 0x75;

/// The auth-method stamp of a device with a symmetric key.
const DEVICE_AUTH: &str =
    r#"{"scope":"device","type":"sas","issuer":"iothub","acceptingIpFilterRule":null}"#;
const MODULE_AUTH: &str =
    r#"{"scope":"module","type":"sas","issuer":"iothub","acceptingIpFilterRule":null}"#;

/// A message annotation.
pub(in crate::devhub) type Annotation = (Value, Value);

/// A notification of the hub's own.
pub(super) struct Notice {
    pub(super) stamps: Vec<Annotation>,
    pub(super) sections: BytesMut,
}

fn annotation(name: &str, value: Value) -> Annotation {
    (Value::symbol(name), value)
}

/// Writes the message-annotations section: the broker's own, then `stamps`.
pub(super) fn put_annotations(out: &mut BytesMut, place: &Place, stamps: &[Annotation]) {
    let own = [
        annotation("x-opt-sequence-number", Value::Long(place.sequence)),
        annotation("x-opt-offset", Value::string(place.offset.to_string())),
        annotation("x-opt-enqueued-time", Value::Timestamp(place.appended.as_ms())),
    ];
    let mut all: Vec<(&Value, &Value)> = Vec::with_capacity(own.len() + stamps.len());
    all.extend(own.iter().chain(stamps).map(|(key, value)| (key, value)));
    put_descriptor(out, MESSAGE_ANNOTATIONS);
    put_map(out, all.into_iter());
}

/// The stamps of a device-to-cloud message.
pub(super) fn telemetry(
    device: &str,
    module: Option<&str>,
    generation: u64,
    now: Timestamp,
) -> Vec<Annotation> {
    let mut stamps = identity(device, module, "Telemetry", now);
    let method = module.map_or(DEVICE_AUTH, |_| MODULE_AUTH);
    stamps.push(annotation("x-opt-partition-key", Value::string(device)));
    stamps.push(annotation("iothub-connection-auth-method", Value::string(method)));
    stamps.push(annotation(
        "iothub-connection-auth-generation-id",
        Value::string(generation.to_string()),
    ));
    stamps
}

fn identity(device: &str, module: Option<&str>, source: &str, now: Timestamp) -> Vec<Annotation> {
    let mut stamps = Vec::with_capacity(7);
    stamps.push(annotation("iothub-connection-device-id", Value::string(device)));
    if let Some(module) = module {
        stamps.push(annotation("iothub-connection-module-id", Value::string(module)));
    }
    stamps.push(annotation("iothub-enqueuedtime", Value::Timestamp(now.as_ms())));
    stamps.push(annotation("iothub-message-source", Value::string(source)));
    stamps
}

/// The sections of a device's message behind the annotations. An empty body is one empty data section.
pub(super) fn sections(message: &DeviceMessage) -> BytesMut {
    let mut out = BytesMut::with_capacity(message.body.len() + 128);
    let mut properties: Vec<(Value, Value)> = message
        .properties
        .iter()
        .map(|(name, value)| (Value::string(name), Value::string(value)))
        .collect();
    if let Some(created) = message.created {
        properties
            .push((Value::string("iothub-creation-time-utc"), Value::string(created.to_string())));
    }
    if !properties.is_empty() {
        put_described(&mut out, APPLICATION_PROPERTIES, &Value::Map(properties));
    }
    put_described(&mut out, DATA, &Value::Binary(message.body.clone()));
    out
}

/// A device lifecycle notification. Its body is the twin of the new or deleted identity.
pub(super) fn lifecycle(
    hub: &str,
    device: &str,
    module: Option<&str>,
    change: RegistryChange,
    now: Timestamp,
) -> Notice {
    let operation = match change {
        RegistryChange::Create => "createDeviceIdentity",
        RegistryChange::Delete => "deleteDeviceIdentity",
    };
    let never = json!({ "$metadata": { "$lastUpdated": "0001-01-01T00:00:00Z" }, "$version": 1 });
    let mut body = json!({
        "deviceId": device,
        "etag": "AAAAAAAAAAE=",
        "version": 2,
        "properties": { "desired": never, "reported": never },
    });
    if let Some(module) = module {
        body["moduleId"] = json!(module);
    }
    Notice {
        stamps: identity(device, module, "deviceLifecycleEvents", now),
        sections: notification(
            &Envelope {
                hub,
                device,
                module,
                operation,
                schema: "deviceLifecycleNotification",
                now,
            },
            &body,
        ),
    }
}

/// A connection-state notification.
pub(super) fn connection(
    hub: &str,
    device: &str,
    module: Option<&str>,
    connected: bool,
    sequence: &str,
    now: Timestamp,
) -> Notice {
    let operation = if connected { "deviceConnected" } else { "deviceDisconnected" };
    Notice {
        stamps: identity(device, module, "deviceConnectionStateEvents", now),
        sections: notification(
            &Envelope {
                hub,
                device,
                module,
                operation,
                schema: "deviceConnectionStateNotification",
                now,
            },
            &json!({ "sequenceNumber": sequence }),
        ),
    }
}

/// What every notification carries.
struct Envelope<'a> {
    hub: &'a str,
    device: &'a str,
    module: Option<&'a str>,
    operation: &'a str,
    schema: &'a str,
    now: Timestamp,
}

fn notification(envelope: &Envelope<'_>, body: &serde_json::Value) -> BytesMut {
    let mut out = BytesMut::with_capacity(512);
    let hub = Bytes::copy_from_slice(envelope.hub.as_bytes());
    let properties = vec![
        Value::Null,
        Value::Binary(hub),
        Value::Null,
        Value::Null,
        Value::Null,
        Value::string(format!("{:x}", envelope.now.as_ms())),
        Value::symbol("application/json"),
        Value::symbol("utf-8"),
    ];
    put_described(&mut out, PROPERTIES, &Value::List(properties));
    let text = |name: &str, value: &str| (Value::string(name), Value::string(value));
    let mut application = vec![text("hubName", envelope.hub), text("deviceId", envelope.device)];
    if let Some(module) = envelope.module {
        application.push(text("moduleId", module));
    }
    let time = envelope.now.to_string();
    application.push(text("opType", envelope.operation));
    application.push(text(
        "operationTimestamp",
        // Seven digits of a second, as the service writes them.
        &time.replace('Z', "0000Z"),
    ));
    application.push(text("iothub-message-schema", envelope.schema));
    put_described(&mut out, APPLICATION_PROPERTIES, &Value::Map(application));
    put_described(&mut out, DATA, &Value::Binary(Bytes::from(body.to_string())));
    out
}
