//! Messages as the stock AMQP 1.0 codec writes them are read as it meant them.

use fe2o3_amqp_types::definitions::Fields;
use fe2o3_amqp_types::messaging::message::__private::Serializable;
use fe2o3_amqp_types::messaging::{
    AmqpSequence, AmqpValue, ApplicationProperties, Data, DeliveryAnnotations, Footer, Header,
    Message, MessageAnnotations, Properties, SerializableBody, Source,
};
use fe2o3_amqp_types::performatives::Open;
use fe2o3_amqp_types::primitives::SimpleValue;
use proptest::prelude::*;
use serde_amqp::described::Described;
use serde_amqp::descriptor::Descriptor;
use serde_amqp::primitives::{Array, Binary, OrderedMap, Symbol, Timestamp as AmqpTimestamp};
use serde_amqp::value::Value as AmqpAny;

use super::encoder::{binary, compound, long, string, symbol};
use super::*;

/// A message with every section, as IoT Hub would send it for `device`.
fn message<B>(device: &str, ingress: i64, sequence: i64, body: B) -> Vec<u8>
where
    B: SerializableBody,
{
    let time = |ms| AmqpAny::Timestamp(AmqpTimestamp::from_milliseconds(ms));
    let annotations = MessageAnnotations::builder()
        .insert("x-opt-sequence-number", AmqpAny::Long(sequence))
        .insert("x-opt-offset", AmqpAny::String("12884942336".into()))
        .insert("x-opt-enqueued-time", time(APPENDED))
        .insert("uuid", AmqpAny::Uuid([7; 16].into()))
        .insert("list", AmqpAny::List(vec![AmqpAny::Array(Array::from(vec![AmqpAny::Int(1)]))]))
        .insert("iothub-connection-device-id", AmqpAny::String(device.into()))
        .insert("iothub-enqueuedtime", time(ingress))
        .insert("iothub-message-source", AmqpAny::String("Telemetry".into()))
        .build();
    let delivery = DeliveryAnnotations::builder()
        .insert("last_enqueued_sequence_number", AmqpAny::Long(sequence + 3))
        .insert("runtime_info_retrieval_time_utc", time(APPENDED + 2))
        .build();
    let mut footer = OrderedMap::new();
    footer.insert(Symbol::from("checksum").into(), AmqpAny::Uint(7));
    let message = Message::builder()
        .header(Header { durable: true, delivery_count: 3, ..Header::default() })
        .delivery_annotations(delivery)
        .message_annotations(annotations)
        .properties(
            Properties::builder()
                .message_id("m-1".to_owned())
                .content_type("application/json")
                .build(),
        )
        .application_properties(
            ApplicationProperties::builder()
                .insert("kind", SimpleValue::String("heartbeat".into()))
                .insert("level", SimpleValue::Int(-3))
                .insert("small", SimpleValue::Ulong(7))
                .insert("ok", SimpleValue::Bool(true))
                .build(),
        )
        .footer(Footer(footer))
        .body(body)
        .build();
    serde_amqp::to_vec(&Serializable(message)).unwrap()
}

fn profile() -> Profile {
    Profile {
        conditions: Arc::from([
            condition("kind", Some("heartbeat")),
            condition("level", Some("-3")),
            condition("small", Some("7")),
            condition("ok", Some("true")),
        ]),
        ..event_hub()
    }
}

fn is_read_as_meant(encoded: Vec<u8>, device: &str, ingress: i64, sequence: i64) {
    let position = amqp10::log_position(&encoded).unwrap();
    assert_eq!(position.sequence, Some(sequence));
    assert_eq!(position.offset, Some("12884942336"));
    assert_eq!(position.append_time, Some(Timestamp::from_ms(APPENDED)));
    assert_eq!(position.last_enqueued_sequence, Some(sequence + 3));
    assert_eq!(position.retrieved_at, Some(Timestamp::from_ms(APPENDED + 2)));
    assert_eq!(amqp10::check_nesting(&encoded), Ok(()));
    let decoded = decode_one(&RawMessage::Amqp10(encoded.into()), &profile()).unwrap();
    assert_eq!(decoded.event_time, Some(Timestamp::from_ms(ingress.min(APPENDED))));
    let signal = decoded.message(sequence).signal.unwrap();
    assert_eq!(signal.identity.device, device);
    assert_eq!(signal.conditions, 0b1111);
}

proptest! {
    #[test]
    fn messages_with_any_kind_of_body_are_read_as_meant(
        device in "[!-~]{1,128}",
        ingress in any::<i64>(),
        sequence in 0..i64::MAX - 3,
        body in proptest::collection::vec(any::<u8>(), 0..600),
    ) {
        let data = || Data(Binary::from(body.clone()));
        let encodings = [
            message(&device, ingress, sequence, data()),
            message(&device, ingress, sequence, fe2o3_amqp_types::messaging::Batch::new(vec![data(), data()])),
            message(&device, ingress, sequence, AmqpValue(AmqpAny::Binary(Binary::from(body.clone())))),
            message(&device, ingress, sequence, AmqpValue(AmqpAny::Null)),
            message(&device, ingress, sequence, AmqpSequence(vec![AmqpAny::Long(1), AmqpAny::Null])),
        ];
        for encoded in encodings {
            is_read_as_meant(encoded, &device, ingress, sequence);
        }
    }
}

#[test]
fn performatives_of_the_stock_client_pass_the_walk() {
    let symbols = |names: &[&str]| {
        Some(Array::from(names.iter().map(|name| Symbol::from(*name)).collect::<Vec<_>>()))
    };
    let mut properties = Fields::new();
    properties.insert(Symbol::from("product"), AmqpAny::String("lastseen".into()));
    let open = Open {
        container_id: "container".into(),
        hostname: Some("localhost".into()),
        max_frame_size: 65_536.into(),
        channel_max: 255.into(),
        idle_time_out: Some(60_000),
        outgoing_locales: None,
        incoming_locales: None,
        offered_capabilities: symbols(&[]),
        desired_capabilities: symbols(&["a", "com.microsoft:enable-receiver-runtime-metric"]),
        properties: Some(properties),
    };
    let source = Source::builder()
        .address("hub/ConsumerGroups/$Default/Partitions/0")
        .add_to_filter(
            "apache.org:selector-filter:string",
            Described {
                descriptor: Descriptor::Code(0x0000_468c_0000_0004),
                value: AmqpAny::String("amqp.annotation.x-opt-offset > '-1'".into()),
            },
        )
        .build();
    let encoded = serde_amqp::to_vec(&open).unwrap();
    assert_eq!(serde_amqp::from_slice::<Open>(&encoded).unwrap().container_id, "container");
    for performative in [serde_amqp::to_vec(&open).unwrap(), serde_amqp::to_vec(&source).unwrap()] {
        assert_eq!(amqp10::check_nesting(&performative), Ok(()), "{performative:02x?}");
        for end in 1..performative.len() {
            assert!(amqp10::check_nesting(&performative[..end]).is_err());
        }
    }
}

/// An encoded value, mostly a correct one.
fn any_encoded() -> impl proptest::strategy::Strategy<Value = Vec<u8>> {
    let leaf = prop_oneof![
        proptest::sample::select(vec![0x40_u8, 0x41, 0x42, 0x43, 0x44, 0x45])
            .prop_map(|code| vec![code]),
        any::<[u8; 2]>().prop_map(|[code, byte]| vec![0x50 + code % 7, byte]),
        any::<i64>().prop_map(long),
        "[a-z]{0,9}".prop_map(|text| symbol(&text)),
        "\\PC{0,9}".prop_map(|text| string(&text)),
        proptest::collection::vec(any::<u8>(), 0..9).prop_map(|bytes| binary(&bytes)),
        Just(vec![0x98; 17]),
        Just(vec![0xe0, 0x01, 0x00]),
        proptest::sample::select(vec![0x40_u8, 0x45, 0x50, 0xa3]).prop_map(|constructor| vec![
            0xe0,
            0x02,
            0x00,
            constructor
        ]),
    ];
    leaf.prop_recursive(6, 40, 6, |inner| {
        let several = || proptest::collection::vec(inner.clone(), 0..6);
        prop_oneof![
            several().prop_map(|values| compound(0xd0, &values)),
            several().prop_map(|values| compound(0xd1, &values)),
            (inner.clone(), inner.clone()).prop_map(|(descriptor, value)| [
                vec![0x00],
                descriptor,
                value
            ]
            .concat()),
            (any::<u8>(), 0_u8..6, several()).prop_map(|(code, count, elements)| {
                let content = elements.concat();
                let size = u8::try_from(content.len() + 2).unwrap_or(2);
                [vec![0xe0, size, count, code], content].concat()
            }),
        ]
    })
}

proptest! {
    /// What the guard lets through does not end the stock codec, which panics on some lies about sizes, and the codec
    /// reads what stands behind it from where it begins.
    #[test]
    fn what_passes_the_walk_is_as_long_for_the_stock_codec_and_never_panics_it(
        mut value in any_encoded(),
        change in proptest::option::of((any::<prop::sample::Index>(), any::<u8>())),
    ) {
        if let Some((at, byte)) = change {
            let at = at.index(value.len());
            value[at] = byte;
        }
        if amqp10::check_nesting(&value).is_ok() {
            let _ = serde_amqp::from_slice::<AmqpAny>(&value);
        }
        // The change may have made several values of one, or a part.
        let is_one = amqp10::check_nesting(&compound(0xd0, &[value.clone()])).is_ok();
        let list = compound(0xd0, &[value, string("behind")]);
        if is_one && let Ok(AmqpAny::List(values)) = serde_amqp::from_slice(&list) {
            prop_assert_eq!(values.last(), Some(&AmqpAny::String("behind".into())));
        }
    }
}
