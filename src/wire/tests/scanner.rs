//! The AMQP 1.0 scanner by itself.

use super::encoder::*;
use super::*;

fn read(message: Vec<u8>) -> Result<Decoded<'static>, Reject> {
    decode_one(&RawMessage::Amqp10(message.into()), &event_hub())
}

fn malformed(message: Vec<u8>) {
    assert_eq!(
        read(message.clone()).unwrap_err().reason,
        RejectReason::Malformed,
        "{message:02x?}"
    );
}

fn stamps() -> Vec<(Vec<u8>, Vec<u8>)> {
    vec![
        (symbol("iothub-connection-device-id"), string("pump-07")),
        (symbol("iothub-message-source"), string("Telemetry")),
        (symbol("x-opt-enqueued-time"), timestamp(APPENDED)),
    ]
}

fn annotated(entries: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    section(ANNOTATIONS, &map(entries))
}

fn is_telemetry(message: Vec<u8>) {
    let decoded = read(message).unwrap();
    let signal = decoded.message(1).signal.expect("a signal");
    assert_eq!(signal.identity.device, "pump-07");
}

#[test]
fn a_heartbeat_may_have_any_body_or_none() {
    let head = annotated(&stamps());
    let data = |bytes: &[u8]| section(DATA, &binary(bytes));
    for body in [
        vec![],
        data(b""),
        data(b"x"),
        data(&[0; 300]),
        [data(b"a"), data(b""), data(b"b")].concat(),
        section(VALUE, &string("text")),
        section(VALUE, &binary(b"\xff")),
        section(VALUE, &[0x40]),
        section(VALUE, &nested_lists(5)),
        section(SEQUENCE, &compound(0xd0, &[long(1)])),
        [section(SEQUENCE, &[0x45]), section(SEQUENCE, &[0x45])].concat(),
        [data(b"a"), section(FOOTER, &map(&[]))].concat(),
    ] {
        is_telemetry([head.clone(), body].concat());
    }
    malformed([head.clone(), section(DATA, &string("no binary"))].concat());
    malformed([head, section(DATA, &[0x40])].concat());
}

#[test]
fn several_data_sections_are_one_body() {
    let mut message = annotated(&[
        (symbol("iothub-message-source"), string("deviceLifecycleEvents")),
        (symbol("x-opt-enqueued-time"), timestamp(APPENDED)),
    ]);
    let operation = map(&[(string("opType"), string("deleteDeviceIdentity"))]);
    message.extend(section(APPLICATION_PROPERTIES, &operation));
    for part in [&b""[..], b"{\"deviceId\":", b"\"pump", b"-07\"}"] {
        message.extend(section(DATA, &binary(part)));
    }
    is_telemetry_or_notice(&message, SignalKind::Deleted);
    let value = section(VALUE, &string("{\"deviceId\":\"pump-07\"}"));
    let cut = message.len() - message.iter().rev().position(|b| *b == DATA).unwrap();
    assert!(cut > 0);
    let head: Vec<u8> =
        message[..message.windows(3).position(|w| w == [0, 0x53, DATA]).unwrap()].to_vec();
    is_telemetry_or_notice(&[head, value].concat(), SignalKind::Deleted);
}

fn is_telemetry_or_notice(message: &[u8], kind: SignalKind) {
    let decoded = read(message.to_vec()).unwrap();
    let signal = decoded.message(1).signal.expect("a signal");
    assert_eq!((signal.identity.device, signal.kind), ("pump-07", kind));
}

#[test]
fn annotation_keys_may_be_strings_and_unknown_keys_and_types_are_passed_over() {
    let mut entries: Vec<_> = vec![
        (vec![0x53, 0x07], string("a number as key")),
        (symbol("uuid"), [vec![0x98], vec![7; 16]].concat()),
        (symbol("double"), [vec![0x82], vec![7; 8]].concat()),
        (symbol("list"), nested_lists(3)),
        (symbol("array"), vec![0xe0, 0x04, 0x02, 0x50, 0x01, 0x02]),
        (symbol("described"), [vec![0x00], symbol("x:y"), long(1)].concat()),
        (symbol("not utf-8"), vec![0xa1, 0x01, 0xff]),
    ];
    entries.extend(stamps().into_iter().map(|(key, value)| {
        let mut key = key;
        key[0] = if key[0] == 0xa3 { 0xa1 } else { 0xb1 };
        (key, value)
    }));
    is_telemetry(annotated(&entries));
}

#[test]
fn every_width_of_integer_and_both_forms_of_texts_are_read() {
    let at = |value: Vec<u8>| {
        let mut entries = stamps();
        entries.push((symbol("iothub-enqueuedtime"), value));
        read(annotated(&entries)).unwrap().event_time.unwrap().as_ms()
    };
    for (encoded, ms) in [
        (vec![0x43], 0),
        (vec![0x44], 0),
        (vec![0x50, 200], 200),
        (vec![0x51, 0xff], -1),
        (vec![0x52, 200], 200),
        (vec![0x53, 200], 200),
        (vec![0x54, 0x80], -128),
        (vec![0x55, 0x7f], 127),
        (vec![0x60, 0xff, 0xff], 65_535),
        (vec![0x61, 0xff, 0xfe], -2),
        (vec![0x70, 0xff, 0xff, 0xff, 0xff], 4_294_967_295),
        (vec![0x71, 0xff, 0xff, 0xff, 0xfd], -3),
        (vec![0x80, 0, 0, 0, 0, 0, 0, 1, 0], 256),
        (long(-4), -4),
        (timestamp(-5), -5),
        (timestamp(INGRESS), INGRESS),
        (vec![0x80, 0xff, 0, 0, 0, 0, 0, 0, 0], APPENDED),
        (vec![0x40], APPENDED),
        (string("2026-01-01T00:01:01.187Z"), INGRESS),
    ] {
        assert_eq!(at(encoded.clone()), ms, "{encoded:02x?}");
    }
    let mut wide = vec![0xb1, 0, 0, 0, 7];
    wide.extend(b"pump-07");
    let mut entries = stamps();
    entries[0].1 = wide;
    is_telemetry(annotated(&entries));
}

#[test]
fn sections_are_recognised_by_number_of_any_width_and_by_symbol() {
    let annotations = map(&stamps());
    let long_code = [&[0x00, 0x80, 0, 0, 0, 0, 0, 0, 0, ANNOTATIONS][..], &annotations].concat();
    is_telemetry(long_code);
    let named = [vec![0x00], symbol("amqp:message-annotations:map"), annotations].concat();
    is_telemetry(named);
    let null = [section(DELIVERY_ANNOTATIONS, &[0x40]), annotated(&stamps())].concat();
    is_telemetry(null);
}

#[test]
fn sections_out_of_order_or_repeated_are_refused_lest_the_second_contradict_the_first() {
    let (first, second) = (annotated(&stamps()), annotated(&stamps()));
    malformed([first.clone(), second].concat());
    malformed([section(PROPERTIES, &[0x45]), first.clone()].concat());
    malformed([first.clone(), section(VALUE, &[0x40]), section(VALUE, &[0x40])].concat());
    malformed([first.clone(), section(0x79, &[0x40])].concat());
    malformed([first.clone(), vec![0x40]].concat());
    malformed([first.clone(), vec![0x00, 0xa3, 0x01, b'x', 0x40]].concat());
    malformed(section(ANNOTATIONS, &string("no map")));
    let mut not_utf8 = stamps();
    not_utf8[0].1 = vec![0xa1, 0x01, 0xff];
    malformed(annotated(&not_utf8));
    let many = vec![section(DATA, &binary(b"")); amqp10::MAX_ENTRIES + 1].concat();
    assert_eq!(read([first, many].concat()).unwrap_err().reason, RejectReason::TooLarge);
}

#[test]
fn of_two_stamps_of_the_same_name_the_first_counts() {
    let mut entries = stamps();
    entries.push((symbol("iothub-connection-device-id"), string("second")));
    is_telemetry(annotated(&entries));
}

#[test]
fn a_message_may_have_a_mebibyte_and_no_byte_more() {
    let head = annotated(&stamps());
    let room = MAX_MESSAGE_BYTES - head.len() - 8;
    let full = [head, section(DATA, &binary(&vec![0; room]))].concat();
    assert_eq!(full.len(), MAX_MESSAGE_BYTES);
    is_telemetry(full.clone());
    let more = [full, vec![0]].concat();
    assert_eq!(read(more).unwrap_err().reason, RejectReason::TooLarge);
}

#[test]
fn a_map_has_at_most_the_documented_number_of_entries() {
    let entries = |count: usize| {
        let mut entries = stamps();
        entries.resize(count, (symbol("k"), vec![0x40]));
        annotated(&entries)
    };
    is_telemetry(entries(amqp10::MAX_ENTRIES));
    let rejected = read(entries(amqp10::MAX_ENTRIES + 1)).unwrap_err();
    assert_eq!(rejected.reason, RejectReason::TooLarge);
}

#[test]
fn the_position_in_the_log_is_read_without_the_rest_of_the_message() {
    let metrics = map(&[
        (symbol("last_enqueued_sequence_number"), long(184_470)),
        (symbol("last_enqueued_offset"), string("12884999999")),
        (symbol("last_enqueued_time_utc"), timestamp(APPENDED + 1)),
        (symbol("runtime_info_retrieval_time_utc"), timestamp(APPENDED + 2)),
    ]);
    let plain = encoder::message(&telemetry_record());
    let header = plain.windows(3).position(|w| w == [0, 0x53, ANNOTATIONS]).unwrap();
    let mut message = plain[..header].to_vec();
    message.extend(section(DELIVERY_ANNOTATIONS, &metrics));
    message.extend(&plain[header..]);
    let expected = amqp10::LogPosition {
        sequence: Some(184_467),
        offset: Some("12884942336"),
        append_time: Some(Timestamp::from_ms(APPENDED)),
        last_enqueued_sequence: Some(184_470),
        last_enqueued_time: Some(Timestamp::from_ms(APPENDED + 1)),
        retrieved_at: Some(Timestamp::from_ms(APPENDED + 2)),
    };
    assert_eq!(amqp10::log_position(&message), Ok(expected));
    let properties = message.windows(3).position(|w| w == [0, 0x53, PROPERTIES]).unwrap();
    let torn = [&message[..properties + 3], &[0xff]].concat();
    assert_eq!(amqp10::log_position(&torn), Ok(expected));
    assert_eq!(amqp10::log_position(b""), Ok(amqp10::LogPosition::default()));
    assert!(amqp10::log_position(b"\x00\x53").is_err());
}
