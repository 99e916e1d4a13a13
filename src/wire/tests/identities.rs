use super::*;

fn device(id: &str) -> Value {
    with(telemetry_record(), "messageAnnotations", "iothub-connection-device-id", json!(id))
}

#[test]
fn ids_of_odd_characters_are_kept_byte_for_byte() {
    let longest = "x".repeat(128);
    for id in ["dev", "DEV", "'", "%2F", "{{x}}", "-.+%_#*?!(),=@$'", &longest] {
        let decoded = decode_record(&device(id), &event_hub()).unwrap();
        assert_eq!(decoded.message(1).signal.unwrap().identity.device, id);
        assert!(!decoded.spoof_suspected);
    }
}

#[test]
fn ids_that_can_not_be_one_are_rejected() {
    let too_long = "x".repeat(129);
    for id in ["a\0b", "a\r\nb", "\u{202e}dev", "caf\u{e9}", &too_long] {
        assert_eq!(reason(&device(id), &event_hub()), RejectReason::BadIdentity, "{id:?}");
        let module = with(
            telemetry_record(),
            "messageAnnotations",
            "iothub-connection-module-id",
            json!(id),
        );
        assert_eq!(reason(&module, &event_hub()), RejectReason::BadIdentity, "{id:?}");
    }
    assert_eq!(reason(&device(""), &event_hub()), RejectReason::NoIdentity);
    let none =
        with(telemetry_record(), "messageAnnotations", "iothub-connection-device-id", Value::Null);
    assert_eq!(reason(&none, &event_hub()), RejectReason::NoIdentity);
}

#[test]
fn a_rejection_shows_nothing_of_the_message() {
    let secret = "s3cret\u{e9}";
    let rejected = decode_record(&device(secret), &event_hub()).unwrap_err();
    assert!(!rejected.to_string().contains("s3cret"), "{rejected}");
    let line = RawMessage::Line(Bytes::from_static(br#"{"data": {"s3cret": 1}}"#));
    let rejected = decode_one(&line, &event_hub()).unwrap_err();
    assert_eq!(rejected.reason, RejectReason::Malformed);
    assert!(!rejected.to_string().contains("s3cret"), "{rejected}");
}

#[test]
fn the_hub_comes_from_the_named_property_in_lower_case() {
    let profile = Profile { hub: HubName::Property("hub".into()), ..event_hub() };
    let hub = |name: &str| with(telemetry_record(), "applicationProperties", "hub", json!(name));
    assert_eq!(signal(&hub("Example-HUB"), &profile).0, "example-hub/pump-07");
    assert_eq!(reason(&hub(""), &profile), RejectReason::NoHub);
    assert_eq!(reason(&telemetry_record(), &profile), RejectReason::NoHub);
    assert_eq!(reason(&hub(&"x".repeat(129)), &profile), RejectReason::BadIdentity);
    let own_word = with(telemetry_record(), "applicationProperties", "hubName", json!("other"));
    assert_eq!(reason(&own_word, &profile), RejectReason::NoHub);
}
