use super::*;

/// The properties of a record as the headers of an AMQP 0-9-1 delivery.
fn delivery(record: &Value) -> RawMessage {
    let headers = record["applicationProperties"].as_object().unwrap();
    let value = |value: &Value| match value {
        Value::String(text) => HeaderValue::Text(text.clone()),
        Value::Number(number) => number.as_i64().map_or(HeaderValue::Other, HeaderValue::Integer),
        Value::Bool(flag) => HeaderValue::Boolean(*flag),
        Value::Null | Value::Array(_) | Value::Object(_) => HeaderValue::Other,
    };
    RawMessage::Amqp091(Box::new(Amqp091Message {
        routing_key: record["routingKey"].as_str().unwrap_or_default().into(),
        headers: headers.iter().map(|(name, header)| (name.clone(), value(header))).collect(),
        body: record.get("body").map_or_else(Bytes::new, |body| body.to_string().into()),
        ..Amqp091Message::default()
    }))
}

/// Decodes a record as a line and as a 0-9-1 delivery, which have to say the same.
#[expect(clippy::panic_in_result_fn, reason = "a difference between encodings fails the test")]
fn decode_queued(record: &Value, profile: &Profile) -> Result<Decoded<'static>, Reject> {
    let decoded = decode_one(&delivery(record), profile);
    assert_eq!(decoded, decode_one(&line(record), profile), "{record}");
    decoded
}

fn queued(properties: Value) -> Value {
    json!({ "applicationProperties": properties })
}

fn identity(record: &Value, profile: &Profile) -> String {
    let decoded = decode_queued(record, profile).unwrap();
    decoded.message(1).signal.unwrap().identity.to_string()
}

#[test]
fn a_service_bus_message_has_its_stamps_in_properties_and_is_dated_by_the_broker() {
    let record = json!({
        "header": { "delivery-count": 0 },
        "messageAnnotations": { "x-opt-enqueued-time": 1_767_225_661_300_i64, "x-opt-sequence-number": 8841,
            "x-opt-locked-until": 1_767_225_691_300_i64 },
        "properties": { "message-id": "hb-000123" },
        "applicationProperties": {
            "iothub-connection-device-id": "pump-07",
            "iothub-connection-auth-generation-id": "638712345678901234",
            "iothub-message-source": "Telemetry",
            "kind": "heartbeat"
        },
        "data": ""
    });
    let profile = Profile { event_time: EventTimeFrom::Stamps, ..queue() };
    let decoded = decode_record(&record, &profile).unwrap();
    assert_eq!(decoded.event_time, Some(Timestamp::from_ms(1_767_225_661_300)));
    let signal = decoded.message(1).signal.unwrap();
    assert_eq!(signal.identity.to_string(), "example-hub/pump-07");
    assert_eq!(signal.generation, Generation::parse("638712345678901234"));
}

#[test]
fn headers_have_the_hubs_names_and_a_message_without_a_source_is_telemetry() {
    let record = queued(json!({ "iothub-connection-device-id": "pump-07" }));
    assert_eq!(identity(&record, &queue()), "example-hub/pump-07");
    let record = queued(json!({ "deviceId": "pump-07" }));
    let rejected = decode_queued(&record, &queue()).unwrap_err();
    assert_eq!(rejected.reason, RejectReason::NoIdentity);
    let record = queued(json!({
        "iothub-connection-device-id": "gw-01", "iothub-message-source": "deviceLifecycleEvents",
        "opType": "deleteDeviceIdentity", "moduleId": "sensor"
    }));
    let decoded = decode_queued(&record, &queue()).unwrap();
    let signal = decoded.message(1).signal.unwrap();
    assert_eq!(signal.kind, SignalKind::Deleted);
    assert_eq!(signal.identity.to_string(), "example-hub/gw-01/sensor");
}

#[test]
fn a_trusted_header_dates_a_message_and_without_it_the_message_is_rejected() {
    let profile = Profile { event_time: EventTimeFrom::TrustedHeader, ..queue() };
    let dated = |at: Value| {
        queued(json!({ "iothub-connection-device-id": "pump-07", "iothub-enqueuedtime": at }))
    };
    for at in [json!(INGRESS), json!("2026-01-01T00:01:01.187Z")] {
        let decoded = decode_queued(&dated(at), &profile).unwrap();
        assert_eq!(decoded.event_time, Some(Timestamp::from_ms(INGRESS)));
    }
    for at in [json!("yesterday"), json!(true), Value::Null] {
        let rejected = decode_queued(&dated(at), &profile).unwrap_err();
        assert_eq!(rejected.reason, RejectReason::NoTime);
    }
    let late = decode_queued(&dated(json!("2106-02-07T06:28:15Z")), &profile).unwrap_err();
    assert_eq!(late.reason, RejectReason::FutureTime);
    let untrusted = decode_queued(&dated(json!("2106-02-07T06:28:15Z")), &queue()).unwrap();
    assert_eq!(untrusted.event_time, Some(Timestamp::from_ms(RECEIVED)));
    let typed = RawMessage::Amqp091(Box::new(Amqp091Message {
        headers: vec![
            ("iothub-connection-device-id".into(), HeaderValue::Text("d".into())),
            ("iothub-enqueuedtime".into(), HeaderValue::Time(Timestamp::from_ms(INGRESS))),
        ],
        ..Amqp091Message::default()
    }));
    let decoded = decode_one(&typed, &profile).unwrap();
    assert_eq!(decoded.event_time, Some(Timestamp::from_ms(INGRESS)));
}

fn mapped(device: FieldFrom, module: Option<FieldFrom>, event_time: Option<FieldFrom>) -> Profile {
    Profile {
        event_time: if event_time.is_some() {
            EventTimeFrom::TrustedHeader
        } else {
            EventTimeFrom::Receipt
        },
        mapping: Some(Mapping { device, module, event_time }),
        ..queue()
    }
}

#[test]
fn a_mapping_finds_ids_in_headers_routing_key_and_body() {
    let header = |name: &str| FieldFrom::Header(name.into());
    let pointer = |place: &str| FieldFrom::JsonPointer(place.into());
    let record = json!({
        "applicationProperties": { "dev": "pump-07", "number": 42, "iothub-message-source": "deviceLifecycleEvents",
            "opType": "deleteDeviceIdentity" },
        "routingKey": "site.gw-01.sensor",
        "body": { "who": { "id": "pump \"8\"", "slot": 3 }, "a/b": "slash" }
    });
    for (device, module, expected) in [
        (header("dev"), None, "example-hub/pump-07"),
        (header("number"), None, "example-hub/42"),
        (header("dev"), Some(header("none")), "example-hub/pump-07"),
        (
            FieldFrom::RoutingKeySegment(1),
            Some(FieldFrom::RoutingKeySegment(2)),
            "example-hub/gw-01/sensor",
        ),
        (
            FieldFrom::RoutingKeySegment(1),
            Some(FieldFrom::RoutingKeySegment(3)),
            "example-hub/gw-01",
        ),
        (pointer("/who/id"), Some(pointer("/who/slot")), "example-hub/pump \\\"8\\\"/3"),
        (pointer("/a~1b"), None, "example-hub/slash"),
    ] {
        let profile = mapped(device, module, None);
        assert_eq!(identity(&record, &profile), expected);
        assert_eq!(
            decode_queued(&record, &profile).unwrap().message(1).signal.unwrap().kind,
            SignalKind::Telemetry
        );
    }
    for device in
        [header("none"), FieldFrom::RoutingKeySegment(9), pointer("/who"), pointer("/none")]
    {
        let rejected = decode_queued(&record, &mapped(device, None, None)).unwrap_err();
        assert_eq!(rejected.reason, RejectReason::NoIdentity);
    }
}

#[test]
fn a_mapping_names_the_trusted_time() {
    let record = json!({
        "applicationProperties": { "dev": "d", "at": "2026-01-01T00:01:01.187Z", "iothub-enqueuedtime": 1 },
        "body": { "ts": INGRESS }
    });
    let device = || FieldFrom::Header("dev".into());
    for at in [FieldFrom::Header("at".into()), FieldFrom::JsonPointer("/ts".into())] {
        let decoded = decode_queued(&record, &mapped(device(), None, Some(at))).unwrap();
        assert_eq!(decoded.event_time, Some(Timestamp::from_ms(INGRESS)));
    }
    let missing = mapped(device(), None, Some(FieldFrom::Header("none".into())));
    let rejected = decode_queued(&record, &missing).unwrap_err();
    assert_eq!(rejected.reason, RejectReason::NoTime);
}

#[test]
fn the_routing_key_of_rabbitmq_over_amqp_1_0_is_its_annotation() {
    let record = json!({ "messageAnnotations": { "x-routing-key": "site.gw-01" }, "applicationProperties": {} });
    let profile = mapped(FieldFrom::RoutingKeySegment(1), None, None);
    assert_eq!(signal(&record, &profile).0, "example-hub/gw-01");
}

#[test]
fn a_line_has_its_body_as_json_as_text_or_as_base64() {
    let profile = mapped(FieldFrom::JsonPointer("/d".into()), None, None);
    for body in [
        json!({ "body": { "d": "x" } }),
        json!({ "data": "{\"d\":\"x\"}" }),
        json!({ "dataBase64": "eyJkIjoieCJ9" }),
    ] {
        let decoded = decode_one(&line(&body), &profile).unwrap();
        assert_eq!(decoded.message(1).signal.unwrap().identity.device, "x");
    }
    let broken = decode_one(&line(&json!({ "dataBase64": "%" })), &profile).unwrap_err();
    assert_eq!(broken.reason, RejectReason::Malformed);
}
