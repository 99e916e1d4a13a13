//! Whatever the bytes are: no panic, no overflow of the stack, no hang, no allocation by a number that they state.

use proptest::prelude::*;

use super::encoder::*;
use super::*;

fn read_all(bytes: &[u8], profile: &Profile) {
    let _ = amqp10::log_position(bytes);
    let _ = amqp10::check_nesting(bytes);
    let _ = amqp091::check_table(bytes);
    let owned = Bytes::copy_from_slice(bytes);
    let _ = decode_one(&RawMessage::Amqp10(owned.clone()), profile);
    let _ = decode_one(&RawMessage::Line(owned.clone()), profile);
    let message = Amqp091Message {
        routing_key: String::from_utf8_lossy(bytes).into_owned(),
        headers: vec![(
            "iothub-connection-device-id".into(),
            HeaderValue::Text(String::from_utf8_lossy(bytes).into_owned()),
        )],
        body: owned,
        ..Amqp091Message::default()
    };
    let _ = decode_one(&RawMessage::Amqp091(Box::new(message)), profile);
}

/// Bytes that look like AMQP 1.0 often enough to get past the first check.
fn amqp_like() -> impl proptest::strategy::Strategy<Value = Vec<u8>> {
    let codes = [
        0x00, 0x40, 0x45, 0x53, 0x70, 0x72, 0x74, 0x75, 0x77, 0x80, 0x83, 0xa0, 0xa1, 0xa3, 0xb1,
        0xc0, 0xc1, 0xd0, 0xd1, 0xe0, 0xf0, 0x01, 0x02, 0x04, 0xff,
    ];
    proptest::collection::vec(proptest::sample::select(codes.to_vec()), 0..200)
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600), profile in any_profile()) {
        read_all(&bytes, &profile);
    }

    #[test]
    fn bytes_that_look_like_amqp_never_panic(bytes in amqp_like(), profile in any_profile()) {
        read_all(&bytes, &profile);
        read_all(&section(ANNOTATIONS, &bytes), &profile);
    }

    #[test]
    fn a_message_with_any_byte_changed_never_panics(at in any::<prop::sample::Index>(), byte: u8, profile in any_profile()) {
        let mut message = encoder::message(&telemetry_record()).to_vec();
        let at = at.index(message.len());
        message[at] = byte;
        read_all(&message, &profile);
    }

    #[test]
    fn arbitrary_headers_never_panic(
        routing_key: String,
        names in proptest::collection::vec((any::<String>(), any::<String>()), 0..8),
        body in proptest::collection::vec(any::<u8>(), 0..64),
        profile in any_profile(),
    ) {
        let headers = names.into_iter().map(|(name, text)| (name, HeaderValue::Text(text))).collect();
        let message = Amqp091Message { routing_key, headers, body: body.into(), ..Amqp091Message::default() };
        let _ = decode_one(&RawMessage::Amqp091(Box::new(message)), &profile);
    }

    #[test]
    fn a_value_cut_at_any_byte_fails_the_walk(bytes in amqp_like()) {
        let list = compound(0xd0, &[binary(&bytes), string("x")]);
        prop_assert!(amqp10::check_nesting(&list).is_ok());
        for end in 1..list.len() {
            prop_assert!(amqp10::check_nesting(&list[..end]).is_err());
        }
    }

    #[test]
    fn what_is_encoded_is_decoded(
        device in "[!-~]{1,128}",
        module in proptest::option::of("[!-~]{1,128}"),
        ingress in 0..=APPENDED + 10,
        generation in 1_u64..1 << 63,
        body in "\\PC{0,64}",
    ) {
        let annotations = "messageAnnotations";
        let mut record = with(telemetry_record(), annotations, "iothub-connection-device-id", json!(device));
        record = with(record, annotations, "iothub-connection-module-id", json!(module));
        record = with(record, annotations, "iothub-enqueuedtime", json!(ingress));
        record = with(record, annotations, "iothub-connection-auth-generation-id", json!(generation.to_string()));
        record["data"] = json!(body);
        let decoded = decode_record(&record, &event_hub()).unwrap();
        prop_assert_eq!(decoded.event_time, Some(Timestamp::from_ms(ingress.min(APPENDED))));
        prop_assert_eq!(decoded.clamped, ingress > APPENDED);
        let signal = decoded.message(1).signal.unwrap();
        prop_assert_eq!(signal.identity.device, &device);
        prop_assert_eq!(signal.identity.module, module.as_deref());
        prop_assert_eq!(signal.generation.number(), Some(generation));
    }
}

#[test]
fn a_message_cut_at_any_byte_is_rejected_or_ends_between_sections() {
    let message = encoder::message(&telemetry_record());
    let mut complete = 0;
    for end in 0..message.len() {
        let cut = message.slice(..end);
        read_all(&cut, &event_hub());
        complete += usize::from(amqp10::check_nesting(&cut).is_ok());
    }
    assert_eq!(
        complete, 5,
        "header, annotations, properties and application properties end, and nothing at all"
    );
    let text = telemetry_record().to_string();
    for end in 0..text.len() {
        let cut = decode_one(
            &RawMessage::Line(Bytes::copy_from_slice(&text.as_bytes()[..end])),
            &event_hub(),
        );
        assert_eq!(cut.unwrap_err().reason, RejectReason::Malformed);
    }
}

/// Runs on a stack of 128 KiB: a decoder that recurses a few hundred levels deep would overflow it.
fn on_a_small_stack(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(128 << 10);
    thread.spawn(test).unwrap().join().unwrap();
}

/// Forms of nesting, `depth` deep.
fn bombs(depth: usize) -> Vec<Vec<u8>> {
    let described = [[0x00, 0x40].repeat(depth), vec![0x40]].concat();
    let descriptors = [vec![0x00; depth], vec![0x40; depth + 1]].concat();
    vec![nested_lists(depth), described, descriptors]
}

#[test]
fn nesting_is_rejected_beyond_the_limit_at_any_depth() {
    on_a_small_stack(|| {
        let deepest = amqp10::MAX_DEPTH;
        for depth in [1, 10, deepest] {
            for bomb in bombs(depth) {
                assert_eq!(amqp10::check_nesting(&bomb), Ok(()), "{depth}");
            }
        }
        for depth in [deepest + 1, 100, 1_000, 10_000, 100_000, 1_000_000] {
            for bomb in bombs(depth) {
                let rejected = amqp10::check_nesting(&bomb).unwrap_err();
                assert_eq!(rejected.reason, RejectReason::TooLarge, "{depth}");
            }
        }
        for depth in [deepest + 1, 1_000, 100_000] {
            for bomb in bombs(depth) {
                let annotations = map(&[(symbol("x"), bomb.clone())]);
                for message in [
                    section(ANNOTATIONS, &annotations),
                    section(VALUE, &bomb),
                    section(HEADER, &bomb),
                ] {
                    let message = RawMessage::Amqp10(message.into());
                    let rejected = decode_one(&message, &event_hub()).unwrap_err();
                    assert_eq!(rejected.reason, RejectReason::TooLarge, "{depth}");
                }
            }
        }
    });
}

#[test]
fn nested_json_is_refused_in_lines_and_yields_no_identity_in_bodies() {
    for depth in [200, 10_000, 500_000] {
        let bomb = [vec![b'['; depth], vec![b']'; depth]].concat();
        let line = [&b"{\"body\":"[..], &bomb, b"}"].concat();
        let rejected = decode_one(&RawMessage::Line(line.into()), &event_hub()).unwrap_err();
        assert_eq!(rejected.reason, RejectReason::Malformed);
        let profile = Profile {
            mapping: Some(Mapping {
                device: FieldFrom::JsonPointer("/0".into()),
                module: None,
                event_time: None,
            }),
            ..queue()
        };
        let message = Amqp091Message { body: bomb.into(), ..Amqp091Message::default() };
        let rejected = decode_one(&RawMessage::Amqp091(Box::new(message)), &profile).unwrap_err();
        assert_eq!(rejected.reason, RejectReason::NoIdentity);
    }
}

#[test]
fn counts_and_sizes_that_lie_are_rejected() {
    for lie in [
        &[0xd0, 0, 0, 0, 0, 0, 0, 0, 0][..],
        &[0xd0, 0, 0, 0, 3, 0, 0, 0, 0],
        &[0xd0, 0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff],
        &[0xd1, 0, 0, 0, 0, 0, 0, 0, 2],
        &[0xd1, 0, 0, 0, 4, 0xff, 0xff, 0xff, 0xfe],
        &[0xd1, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0],
        &[0xc0, 0x00, 0x00],
        &[0xc1, 0x02, 0x02, 0x40],
        &[0xc1, 0x02, 0x01, 0x40],
        &[0xc0, 0x02, 0x00, 0x40],
        &[0xc0, 0x02, 0x01, 0xa1, 0x01, 0x40],
        &[0xc0, 0x04, 0x01, 0xc0, 0x03, 0x01, 0x40],
        &[0xf0, 0, 0, 0, 5, 0xff, 0xff, 0xff, 0xff, 0x40],
        &[0xf0, 0, 0, 0, 5, 0xff, 0xff, 0xff, 0xff, 0x80],
        &[0xf0, 0, 0, 0, 5, 0xff, 0xff, 0xff, 0xff, 0xa1],
        &[0xf0, 0, 0, 0, 5, 0xff, 0xff, 0xff, 0xff, 0xd0],
        &[0xf0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[0xe0, 0x02, 0x01, 0x00],
        &[0xe0, 0x03, 0x02, 0x50, 0x01],
        &[0xe0, 0x04, 0x01, 0x00, 0xc0, 0x00],
        &[0xe0, 0x06, 0x01, 0xc1, 0x03, 0x02, 0x41, 0x40],
        &[0xe0, 0x08, 0x02, 0xc0, 0x02, 0x01, 0x40, 0x02, 0x01, 0x41],
        &[0xe0, 0x05, 0x01, 0xe0, 0x02, 0x00, 0x40],
        &[0xf0, 0, 0, 0, 9, 0, 0, 0, 1, 0x00, 0x53, 0x75, 0x50, 0x07],
        &[0xb0, 0xff, 0xff, 0xff, 0xff],
        &[0xa1, 0x01],
        &[0x00],
        &[0x00, 0x40],
        &[0x3f],
        &[0xff],
    ] {
        assert!(amqp10::check_nesting(lie).is_err(), "{lie:02x?}");
        for message in [section(ANNOTATIONS, lie), section(PROPERTIES, lie), section(VALUE, lie)] {
            let message = RawMessage::Amqp10(message.into());
            assert!(decode_one(&message, &event_hub()).is_err(), "{lie:02x?}");
        }
    }
}

#[test]
fn honest_lists_maps_and_arrays_pass_the_walk() {
    for honest in [
        &[0x45][..],
        &[0xc0, 0x01, 0x00],
        &[0xc1, 0x03, 0x02, 0x40, 0x40],
        &[0xd1, 0, 0, 0, 4, 0, 0, 0, 0],
        &[0xe0, 0x04, 0x02, 0x50, 0x01, 0x02],
        &[0xe0, 0x01, 0x00],
        &[0xc0, 0x04, 0x01, 0xe0, 0x01, 0x00],
        &[0xe0, 0x02, 0x07, 0x41],
        &[0xe0, 0x06, 0x02, 0xa3, 0x01, b'x', 0x01, b'y'],
        &[0x00, 0x53, 0x24, 0x45],
        &[0x00, 0x80, 0, 0, 0, 0, 0, 0, 0, 0x24, 0xc0, 0x01, 0x00],
        &[0x40, 0x41],
    ] {
        assert_eq!(amqp10::check_nesting(honest), Ok(()), "{honest:02x?}");
    }
}

/// The protocol has the constructor there; the stock codec, behind the guard, takes it for the next value.
#[test]
fn an_array_of_nothing_may_have_a_constructor_but_not_where_the_stock_codec_reads() {
    for array in [&[0xe0, 0x02, 0x00, 0xa3][..], &[0xf0, 0, 0, 0, 5, 0, 0, 0, 0, 0x80]] {
        assert!(amqp10::check_nesting(array).is_err(), "{array:02x?}");
        assert!(amqp10::check_nesting(&compound(0xd0, &[array.to_vec()])).is_err(), "{array:02x?}");
        let message = RawMessage::Amqp10(section(VALUE, array).into());
        assert!(decode_one(&message, &event_hub()).is_ok(), "{array:02x?}");
    }
}
