use super::*;

#[test]
fn telemetry_of_the_built_in_endpoint_is_read_with_all_its_stamps() {
    let decoded = decode_record(&telemetry_record(), &event_hub()).unwrap();
    assert_eq!(
        decoded,
        Decoded {
            event_time: Some(Timestamp::from_ms(INGRESS)),
            append_time: Some(Timestamp::from_ms(APPENDED)),
            clamped: false,
            spoof_suspected: false,
            meaning: Meaning::Signal {
                hub: "example-hub".into(),
                device: "pump-07".into(),
                module: None,
                kind: SignalKind::Telemetry,
                generation: Generation::parse("638712345678901234"),
                conditions: 0,
                created_by_device: None,
            },
        }
    );
    let message = decoded.message(184_467);
    assert_eq!(message.sequence, 184_467);
    assert_eq!(message.event_time, Some(Timestamp::from_ms(INGRESS)));
}

#[test]
fn a_module_is_named_by_its_stamp_and_an_empty_stamp_names_none() {
    for (stamp, expected) in [("sensor", "example-hub/pump-07/sensor"), ("", "example-hub/pump-07")]
    {
        let record = with(
            telemetry_record(),
            "messageAnnotations",
            "iothub-connection-module-id",
            json!(stamp),
        );
        let expected = (expected.to_owned(), SignalKind::Telemetry);
        assert_eq!(signal(&record, &event_hub()), expected);
    }
}

#[test]
fn the_source_decides_the_kind_without_regard_to_case_and_all_others_are_only_counted() {
    for (source, expected) in [
        ("twinChangeEvents", IgnoredKind::TwinChange),
        ("TWINCHANGEEVENTS", IgnoredKind::TwinChange),
        ("digitalTwinChangeEvents", IgnoredKind::DigitalTwinChange),
        ("deviceJobLifecycleEvents", IgnoredKind::JobLifecycle),
        ("deviceLifecycleEvents", IgnoredKind::UnknownOperation),
        ("moduleLifecycleEvents", IgnoredKind::UnknownOperation),
        ("deviceConnectionStateEvents", IgnoredKind::UnknownOperation),
        ("mqttBrokerMessages", IgnoredKind::UnknownSource),
        ("", IgnoredKind::UnknownSource),
    ] {
        let record =
            with(telemetry_record(), "messageAnnotations", "iothub-message-source", json!(source));
        assert_eq!(ignored(&record, &event_hub()), expected, "{source}");
    }
    let stamp =
        |value| with(telemetry_record(), "messageAnnotations", "iothub-message-source", value);
    let lower = signal(&stamp(json!("telemetry")), &event_hub());
    assert_eq!(lower.1, SignalKind::Telemetry);
    assert_eq!(ignored(&stamp(Value::Null), &event_hub()), IgnoredKind::UnknownSource);
    assert_eq!(ignored(&stamp(json!(7)), &event_hub()), IgnoredKind::UnknownSource);
}

#[test]
fn an_ignored_message_keeps_its_dates() {
    let record = with(
        telemetry_record(),
        "messageAnnotations",
        "iothub-message-source",
        json!("twinChangeEvents"),
    );
    let decoded = decode_record(&record, &event_hub()).unwrap();
    assert_eq!(decoded.event_time, Some(Timestamp::from_ms(INGRESS)));
    assert_eq!(decoded.message(1).signal, None);
}

#[test]
fn event_time_is_ingress_time_at_most_append_time() {
    let annotations = "messageAnnotations";
    let ingress = |value| with(telemetry_record(), annotations, "iothub-enqueuedtime", value);
    for (value, event_time, clamped) in [
        (json!(INGRESS), INGRESS, false),
        (json!("2026-01-01T00:01:01.1870000Z"), INGRESS, false),
        (json!("2026-01-01T01:01:01.187+01:00"), INGRESS, false),
        (json!(APPENDED), APPENDED, false),
        (json!(APPENDED + 1), APPENDED, true),
        (json!(i64::MAX), APPENDED, true),
        (Value::Null, APPENDED, false),
        (json!("2016-02-30T16:24:48.789Z"), APPENDED, false),
        (json!(true), APPENDED, false),
    ] {
        let decoded = decode_record(&ingress(value.clone()), &event_hub()).unwrap();
        let seen = (decoded.event_time, decoded.clamped);
        assert_eq!(seen, (Some(Timestamp::from_ms(event_time)), clamped), "{value}");
    }
    let no_append = |record| with(record, annotations, "x-opt-enqueued-time", Value::Null);
    let decoded = decode_record(&no_append(telemetry_record()), &event_hub()).unwrap();
    assert_eq!(decoded.event_time, Some(Timestamp::from_ms(INGRESS)));
    assert_eq!(decoded.append_time, None);
    assert_eq!(reason(&no_append(ingress(Value::Null)), &event_hub()), RejectReason::NoTime);
}

#[test]
fn a_message_dated_2106_is_rejected_and_one_at_the_limit_is_not() {
    let dated = |ms: i64| {
        let record =
            with(telemetry_record(), "messageAnnotations", "iothub-enqueuedtime", json!(ms));
        with(record, "messageAnnotations", "x-opt-enqueued-time", json!(ms))
    };
    let limit = RECEIVED + 60_000;
    assert_eq!(reason(&dated(4_294_967_295_000), &event_hub()), RejectReason::FutureTime);
    assert_eq!(reason(&dated(limit + 1), &event_hub()), RejectReason::FutureTime);
    assert!(decode_record(&dated(limit), &event_hub()).is_ok());
}

#[test]
fn an_application_property_never_dates_a_message_of_a_source_that_goes_by_stamps() {
    for profile in [event_hub(), Profile { event_time: EventTimeFrom::Stamps, ..queue() }] {
        let mut record = telemetry_record();
        for (name, value) in [
            ("iothub-enqueuedtime", json!("2106-02-07T06:28:15Z")),
            ("x-opt-enqueued-time", json!(4_294_967_295_000_i64)),
        ] {
            record = with(record, "applicationProperties", name, value);
        }
        let decoded = decode_record(&record, &profile).unwrap();
        assert_eq!(decoded.event_time, Some(Timestamp::from_ms(INGRESS)));
        let unstamped = with(record, "messageAnnotations", "iothub-enqueuedtime", Value::Null);
        let unstamped = with(unstamped, "messageAnnotations", "x-opt-enqueued-time", Value::Null);
        assert_eq!(reason(&unstamped, &profile), RejectReason::NoTime);
    }
}

#[test]
fn receipt_dates_a_message_whatever_it_says() {
    let profile = Profile { event_time: EventTimeFrom::Receipt, ..event_hub() };
    let decoded = decode_record(&telemetry_record(), &profile).unwrap();
    assert_eq!(decoded.event_time, Some(Timestamp::from_ms(RECEIVED)));
    assert_eq!(decoded.append_time, None);
}

#[test]
fn a_last_will_is_no_telemetry() {
    for (kind, expected) in [
        ("Will", SignalKind::LastWill),
        ("will", SignalKind::LastWill),
        ("Testament", SignalKind::Telemetry),
    ] {
        let record =
            with(telemetry_record(), "applicationProperties", "iothub-MessageType", json!(kind));
        assert_eq!(signal(&record, &event_hub()).1, expected);
    }
}

#[test]
fn the_devices_own_clock_is_kept_where_it_can_be_read() {
    let created = |section: &str, name: &str, value: Value| {
        let record = with(telemetry_record(), section, name, value);
        let decoded = decode_record(&record, &event_hub()).unwrap();
        let created = decoded.message(1).signal.unwrap().created_by_device;
        created.map(Timestamp::as_ms)
    };
    let properties = "applicationProperties";
    let plain = "iothub-creation-time-utc";
    let prefixed = "iothub-app-iothub-creation-time-utc";
    let text = json!("2026-01-01T00:01:00.5Z");
    let ms = Some(1_767_225_660_500);
    assert_eq!(created(properties, plain, text.clone()), ms);
    assert_eq!(created(properties, prefixed, text.clone()), ms);
    assert_eq!(created("messageAnnotations", plain, text), ms);
    assert_eq!(created(properties, plain, json!("2016-02-30T16:24:48.789Z")), None);
    assert_eq!(created(properties, plain, json!("x".repeat(70_000))), None);
    assert_eq!(created(properties, plain, json!("")), None);
}

#[test]
fn conditions_compare_texts_and_the_texts_of_numbers_and_booleans() {
    let profile = Profile {
        conditions: Arc::from([
            condition("kind", Some("heartbeat")),
            condition("kind", None),
            condition("level", Some("3")),
            condition("ok", Some("true")),
            condition("opType", Some("ping")),
            condition("absent", None),
            condition("empty", None),
        ]),
        ..event_hub()
    };
    let conditions = |record: &Value| {
        let decoded = decode_record(record, &profile).unwrap();
        decoded.message(1).signal.unwrap().conditions
    };
    let property = |record, name: &str, value| with(record, "applicationProperties", name, value);
    let base = telemetry_record();
    assert_eq!(conditions(&base), 0b000_0011);
    assert_eq!(conditions(&property(base.clone(), "kind", json!("Heartbeat"))), 0b000_0010);
    assert_eq!(conditions(&property(base.clone(), "kind", json!(1.5))), 0b000_0010);
    let record = property(base.clone(), "level", json!(3));
    let record = property(record, "ok", json!(true));
    let record = property(record, "opType", json!("ping"));
    let record = property(record, "empty", json!(""));
    assert_eq!(conditions(&record), 0b101_1111);
    assert_eq!(conditions(&property(base.clone(), "level", json!("3"))), 0b000_0111);
    assert_eq!(conditions(&property(base.clone(), "level", json!(-3))), 0b000_0011);
    assert_eq!(conditions(&property(base, "ok", json!(false))), 0b000_0011);
}

#[test]
fn a_condition_is_not_met_by_an_annotation() {
    let profile = Profile {
        conditions: Arc::from([condition("iothub-message-source", None)]),
        ..event_hub()
    };
    let decoded = decode_record(&telemetry_record(), &profile).unwrap();
    assert_eq!(decoded.message(1).signal.unwrap().conditions, 0);
}

#[test]
fn the_thirty_second_condition_has_the_highest_bit_and_further_ones_none() {
    let many: Vec<_> = (0..40).map(|_| condition("kind", None)).collect();
    let profile = Profile { conditions: many.into(), ..event_hub() };
    let decoded = decode_record(&telemetry_record(), &profile).unwrap();
    assert_eq!(decoded.message(1).signal.unwrap().conditions, u32::MAX);
}
