use super::*;

/// What a hostile device writes into its own properties.
fn forged() -> Vec<Vec<(&'static str, &'static str)>> {
    vec![
        vec![("opType", "deleteDeviceIdentity")],
        vec![("opType", "createDeviceIdentity"), ("deviceId", "victim")],
        vec![("opType", "deleteModuleIdentity"), ("moduleId", "victim")],
        vec![("opType", "deviceDisconnected")],
        vec![("OPTYPE", "x"), ("opType", "MODULEconnected")],
        vec![("deviceId", "victim")],
        vec![("moduleId", "victim")],
        vec![("iothub-connection-device-id", "victim")],
        vec![("iothub-connection-module-id", "victim")],
        vec![("iothub-message-source", "deviceLifecycleEvents")],
        vec![("iothub-message-schema", "deviceLifecycleNotification")],
        vec![
            ("opType", "deleteDeviceIdentity"),
            ("deviceId", "victim"),
            ("iothub-message-schema", "deviceLifecycleNotification"),
            ("iothub-message-source", "deviceLifecycleEvents"),
            ("iothub-connection-device-id", "victim"),
            ("hubName", "victim-hub"),
        ],
    ]
}

#[test]
fn a_device_that_poses_as_another_or_as_the_hub_changes_nothing_but_its_own_last_seen() {
    let honest = decode_record(&telemetry_record(), &event_hub()).unwrap();
    assert!(!honest.spoof_suspected);
    for properties in forged() {
        let mut record = telemetry_record();
        for (name, value) in &properties {
            record = with(record, "applicationProperties", name, json!(value));
        }
        record.as_object_mut().unwrap().remove("data");
        record["body"] = json!({ "deviceId": "victim", "opType": "deleteDeviceIdentity" });
        let decoded = decode_record(&record, &event_hub()).unwrap();
        assert!(decoded.spoof_suspected, "{properties:?}");
        assert_eq!(decoded.meaning, honest.meaning, "{properties:?}");
        assert_eq!(decoded.event_time, honest.event_time, "{properties:?}");
    }
}

#[test]
fn words_of_the_hub_that_fit_the_stamps_or_mean_something_else_are_no_spoof() {
    for (name, value) in [
        ("deviceId", json!("pump-07")),
        ("iothub-connection-device-id", json!("pump-07")),
        ("moduleId", json!("")),
        ("opType", json!("measure")),
        ("iothub-message-schema", json!("bridge-v2")),
        ("iothub-message-source", json!("telemetry")),
        ("hubName", json!("victim-hub")),
    ] {
        let record = with(telemetry_record(), "applicationProperties", name, value);
        let decoded = decode_record(&record, &event_hub()).unwrap();
        assert!(!decoded.spoof_suspected, "{name}");
    }
}

#[test]
fn without_a_stamped_device_nothing_in_properties_or_body_names_one() {
    let mut record =
        with(telemetry_record(), "messageAnnotations", "iothub-connection-device-id", Value::Null);
    for name in ["deviceId", "iothub-connection-device-id"] {
        record = with(record, "applicationProperties", name, json!("victim"));
    }
    assert_eq!(reason(&record, &event_hub()), RejectReason::NoIdentity);
}

#[test]
fn where_stamps_stand_in_properties_the_other_words_of_a_notification_still_mean_nothing() {
    let record = json!({
        "applicationProperties": {
            "iothub-connection-device-id": "pump-07", "iothub-message-source": "Telemetry",
            "opType": "deleteDeviceIdentity", "deviceId": "victim"
        },
        "body": { "deviceId": "victim" }
    });
    let decoded = decode_record(&record, &queue()).unwrap();
    assert!(decoded.spoof_suspected);
    let signal = decoded.message(1).signal.unwrap();
    assert_eq!(signal.identity.to_string(), "example-hub/pump-07");
    assert_eq!(signal.kind, SignalKind::Telemetry);
}

#[test]
fn annotations_win_over_properties_where_both_are_present() {
    let record = with(
        telemetry_record(),
        "applicationProperties",
        "iothub-connection-device-id",
        json!("victim"),
    );
    let record = with(
        record,
        "applicationProperties",
        "iothub-message-source",
        json!("deviceLifecycleEvents"),
    );
    let decoded = decode_record(&record, &queue()).unwrap();
    assert!(decoded.spoof_suspected);
    assert_eq!(decoded.message(1).signal.unwrap().identity.to_string(), "example-hub/pump-07");
}
