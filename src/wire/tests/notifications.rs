use super::*;
use crate::engine::ConnectionSequence;

fn sequence(last: u8) -> ConnectionSequence {
    let mut bytes = [0; 32];
    bytes[31] = last;
    ConnectionSequence(bytes)
}

/// A connection event of module `sensor` on `gw-01`.
fn connection(operation: &str) -> Value {
    json!({
        "messageAnnotations": {
            "iothub-connection-device-id": "gw-01",
            "iothub-connection-module-id": "sensor",
            "iothub-enqueuedtime": INGRESS,
            "iothub-message-source": "deviceConnectionStateEvents"
        },
        "properties": { "content-type": "application/json" },
        "applicationProperties": {
            "hubName": "other-hub", "deviceId": "gw-01", "moduleId": "sensor", "opType": operation,
            "operationTimestamp": "2026-01-01T00:02:00.1234567Z",
            "iothub-message-schema": "deviceConnectionStateNotification"
        },
        "body": { "sequenceNumber": "0000000000000000000000000000000000000000000000000000000000000007" }
    })
}

/// A lifecycle event that only properties and body name.
fn lifecycle(source: &str, operation: &str) -> Value {
    json!({
        "messageAnnotations": { "iothub-enqueuedtime": INGRESS, "iothub-message-source": source },
        "applicationProperties": {
            "hubName": "example-hub", "deviceId": "pump-07", "opType": operation,
            "operationTimestamp": "2016-02-30T16:24:48.789Z",
            "iothub-message-schema": "deviceLifecycleNotification"
        },
        "body": {
            "deviceId": "pump-07", "etag": "AAAAAAAAAAE=", "version": 2,
            "properties": { "desired": { "$metadata": { "$lastUpdated": "2016-02-30T16:24:48.789Z" }, "$version": 1 } }
        }
    })
}

#[test]
fn connection_events_carry_their_own_sequence_and_never_look_spoofed() {
    for (operation, kind) in [
        ("deviceConnected", SignalKind::Connected(sequence(7))),
        ("deviceDisconnected", SignalKind::Disconnected(sequence(7))),
        ("moduleConnected", SignalKind::Connected(sequence(7))),
        ("MODULEDISCONNECTED", SignalKind::Disconnected(sequence(7))),
    ] {
        let record = connection(operation);
        let expected = ("example-hub/gw-01/sensor".to_owned(), kind);
        assert_eq!(signal(&record, &event_hub()), expected);
        assert!(!decode_record(&record, &event_hub()).unwrap().spoof_suspected);
    }
    let twin = connection("deleteDeviceIdentity");
    assert_eq!(ignored(&twin, &event_hub()), IgnoredKind::UnknownOperation);
}

#[test]
fn a_sequence_number_is_hexadecimal_of_either_case_padded_on_the_left() {
    let full = "F".repeat(64);
    for (text, expected) in [
        (json!("a"), sequence(10)),
        (json!("0A"), sequence(10)),
        (json!("fF"), sequence(255)),
        (json!("100"), {
            let mut number = sequence(0);
            number.0[30] = 1;
            number
        }),
        (json!(full), ConnectionSequence([255; 32])),
        (json!(format!("{full}F")), sequence(0)),
        (json!(""), sequence(0)),
        (json!("0x07"), sequence(0)),
        (json!(7), sequence(0)),
    ] {
        let record = with(connection("deviceConnected"), "body", "sequenceNumber", text.clone());
        let kind = signal(&record, &event_hub()).1;
        assert_eq!(kind, SignalKind::Connected(expected), "{text}");
    }
    let mut bodiless = connection("deviceConnected");
    bodiless.as_object_mut().unwrap().remove("body");
    assert_eq!(signal(&bodiless, &event_hub()).1, SignalKind::Connected(sequence(0)));
}

#[test]
fn lifecycle_events_are_read_from_properties_where_stamps_are_lacking() {
    for (operation, kind) in [
        ("createDeviceIdentity", SignalKind::Created),
        ("deleteDeviceIdentity", SignalKind::Deleted),
        ("DeleteDeviceIdentity", SignalKind::Deleted),
    ] {
        let record = lifecycle("deviceLifecycleEvents", operation);
        assert_eq!(signal(&record, &event_hub()), ("example-hub/pump-07".to_owned(), kind));
        let module = with(record, "applicationProperties", "moduleId", json!("sensor"));
        assert_eq!(signal(&module, &event_hub()), ("example-hub/pump-07/sensor".to_owned(), kind));
    }
    let unknown = lifecycle("deviceLifecycleEvents", "renameDeviceIdentity");
    assert_eq!(ignored(&unknown, &event_hub()), IgnoredKind::UnknownOperation);
    let connected = lifecycle("deviceLifecycleEvents", "deviceConnected");
    assert_eq!(ignored(&connected, &event_hub()), IgnoredKind::UnknownOperation);
}

#[test]
fn a_module_notification_may_have_its_device_only_in_the_body() {
    let record = json!({
        "messageAnnotations": { "iothub-enqueuedtime": INGRESS, "iothub-message-source": "moduleLifecycleEvents" },
        "applicationProperties": {
            "opType": "deleteModuleIdentity", "hubName": "example-hub", "moduleId": "tempSensor",
            "othub-message-schema": "moduleLifecycleNotification"
        },
        "body": { "deviceId": "11576-ailn-test-0-67333793211", "moduleId": "tempSensor", "etag": "AAAAAAAAAAE=" }
    });
    assert_eq!(
        signal(&record, &event_hub()),
        ("example-hub/11576-ailn-test-0-67333793211/tempSensor".to_owned(), SignalKind::Deleted)
    );
}

#[test]
fn the_end_of_a_module_is_never_taken_for_the_end_of_its_device() {
    let unnamed = lifecycle("moduleLifecycleEvents", "deleteDeviceIdentity");
    assert_eq!(reason(&unnamed, &event_hub()), RejectReason::NoIdentity);
    let unnamed = lifecycle("deviceLifecycleEvents", "deleteModuleIdentity");
    assert_eq!(reason(&unnamed, &event_hub()), RejectReason::NoIdentity);
    let in_body = with(
        lifecycle("deviceLifecycleEvents", "deleteDeviceIdentity"),
        "body",
        "moduleId",
        json!("sensor"),
    );
    assert_eq!(
        signal(&in_body, &event_hub()),
        ("example-hub/pump-07/sensor".to_owned(), SignalKind::Deleted)
    );
}

#[test]
fn stamps_win_over_properties_and_properties_over_the_body() {
    let record = lifecycle("deviceLifecycleEvents", "deleteDeviceIdentity");
    let body = with(record.clone(), "applicationProperties", "deviceId", Value::Null);
    let body = with(body, "body", "deviceId", json!("from-body"));
    assert_eq!(signal(&body, &event_hub()).0, "example-hub/from-body");
    let property = with(body, "applicationProperties", "deviceId", json!("from-property"));
    assert_eq!(signal(&property, &event_hub()).0, "example-hub/from-property");
    let stamped =
        with(property, "messageAnnotations", "iothub-connection-device-id", json!("from-stamp"));
    assert_eq!(signal(&stamped, &event_hub()).0, "example-hub/from-stamp");
    let nameless = json!({ "messageAnnotations": record["messageAnnotations"],
        "applicationProperties": { "opType": "deleteDeviceIdentity" } });
    assert_eq!(reason(&nameless, &event_hub()), RejectReason::NoIdentity);
}

#[test]
fn the_hub_of_a_notification_fills_in_for_the_property_but_not_for_the_configuration() {
    let record = with(
        lifecycle("deviceLifecycleEvents", "createDeviceIdentity"),
        "applicationProperties",
        "hubName",
        json!("Other-Hub"),
    );
    assert_eq!(signal(&record, &event_hub()).0, "example-hub/pump-07");
    let profile = Profile { hub: HubName::Property("hub".into()), ..event_hub() };
    assert_eq!(signal(&record, &profile).0, "other-hub/pump-07");
    let enriched = with(record.clone(), "applicationProperties", "hub", json!("third"));
    assert_eq!(signal(&enriched, &profile).0, "third/pump-07");
    let bare = with(record, "applicationProperties", "hubName", Value::Null);
    assert_eq!(reason(&bare, &profile), RejectReason::NoHub);
    let in_body = with(bare, "body", "hubName", json!("BODY"));
    assert_eq!(signal(&in_body, &profile).0, "body/pump-07");
}
