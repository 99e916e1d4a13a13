//! PURE. A delivery of the client library as a raw message.

use bytes::Bytes;
use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};

use super::content::{KEPT, MARKER, STREAM_OFFSET};
use crate::engine::Timestamp;
use crate::wire::{Amqp091Message, HeaderValue, Quarantined, RejectReason};

/// Takes the delivery apart. Of a message that the guard has marked only the mark is kept.
pub(super) fn convert(delivery: Delivery) -> Amqp091Message {
    let properties = delivery.properties;
    let headers = properties.headers().as_ref();
    let quarantined = headers.and_then(quarantined);
    let text = |text: &Option<ShortString>| text.as_ref().map(ToString::to_string);
    Amqp091Message {
        routing_key: delivery.routing_key.to_string(),
        headers: match (&quarantined, headers) {
            (None, Some(headers)) => headers
                .into_iter()
                .map(|(name, value)| (name.to_string(), flat(value)))
                .collect(),
            (None, None) | (Some(_), _) => Vec::new(),
        },
        timestamp_s: *properties.timestamp(),
        message_id: text(properties.message_id()),
        content_type: text(properties.content_type()),
        body: Bytes::from(delivery.data),
        quarantined,
    }
}

/// Where in its stream a message stands.
pub(super) fn stream_offset(delivery: &Delivery) -> Option<i64> {
    let headers = delivery.properties.headers().as_ref()?;
    headers.inner().get(STREAM_OFFSET)?.as_long_long_int()
}

fn quarantined(headers: &FieldTable) -> Option<Quarantined> {
    let mark = headers.inner().get(MARKER)?;
    let named = |reason: RejectReason| *mark == AMQPValue::LongString(reason.as_str().into());
    let reason = [RejectReason::Malformed, RejectReason::TooLarge]
        .into_iter()
        .find(|reason| named(*reason))
        .unwrap_or(RejectReason::Hostile);
    let properties = match headers.inner().get(KEPT) {
        Some(AMQPValue::LongString(kept)) => Bytes::copy_from_slice(kept.as_bytes()),
        _ => Bytes::new(),
    };
    Some(Quarantined { reason, properties })
}

fn flat(value: &AMQPValue) -> HeaderValue {
    match value {
        AMQPValue::Boolean(flag) => HeaderValue::Boolean(*flag),
        AMQPValue::ShortShortInt(number) => HeaderValue::Integer(i64::from(*number)),
        AMQPValue::ShortShortUInt(number) => HeaderValue::Integer(i64::from(*number)),
        AMQPValue::ShortInt(number) => HeaderValue::Integer(i64::from(*number)),
        AMQPValue::ShortUInt(number) => HeaderValue::Integer(i64::from(*number)),
        AMQPValue::LongInt(number) => HeaderValue::Integer(i64::from(*number)),
        AMQPValue::LongUInt(number) => HeaderValue::Integer(i64::from(*number)),
        AMQPValue::LongLongInt(number) => HeaderValue::Integer(*number),
        AMQPValue::ShortString(text) => HeaderValue::Text(text.to_string()),
        AMQPValue::LongString(text) => long_text(text),
        AMQPValue::Timestamp(seconds) => i64::try_from(*seconds)
            .ok()
            .and_then(|seconds| seconds.checked_mul(1_000))
            .map_or(HeaderValue::Other, |ms| {
                HeaderValue::Time(Timestamp::from_ms(ms))
            }),
        AMQPValue::Float(_)
        | AMQPValue::Double(_)
        | AMQPValue::DecimalValue(_)
        | AMQPValue::FieldArray(_)
        | AMQPValue::FieldTable(_)
        | AMQPValue::ByteArray(_)
        | AMQPValue::Void => HeaderValue::Other,
    }
}

fn long_text(text: &LongString) -> HeaderValue {
    std::str::from_utf8(text.as_bytes()).map_or(HeaderValue::Other, |text| {
        HeaderValue::Text(text.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use lapin::BasicProperties;

    fn delivery(headers: &[(&str, AMQPValue)]) -> Delivery {
        let mut table = FieldTable::default();
        for (name, value) in headers {
            table.insert((*name).into(), value.clone());
        }
        let mut delivery = Delivery::mock(1, "".into(), "a.b".into(), false, b"body".to_vec());
        delivery.properties = BasicProperties::default()
            .with_headers(table)
            .with_timestamp(7)
            .with_message_id("m".into());
        delivery
    }

    #[test]
    fn flat_values_are_kept_and_others_only_named() {
        let message = convert(delivery(&[
            ("bytes", AMQPValue::LongString(b"\xff".to_vec().into())),
            ("far", AMQPValue::Timestamp(u64::MAX)),
            ("flag", AMQPValue::Boolean(true)),
            ("id", AMQPValue::LongString("pump-1".into())),
            (
                "list",
                AMQPValue::FieldArray(lapin::types::FieldArray::default()),
            ),
            ("n", AMQPValue::LongUInt(u32::MAX)),
            ("t", AMQPValue::Timestamp(5)),
        ]));
        let values: Vec<HeaderValue> = message.headers.into_iter().map(|(_, v)| v).collect();
        assert_eq!(
            values,
            [
                HeaderValue::Other,
                HeaderValue::Other,
                HeaderValue::Boolean(true),
                HeaderValue::Text("pump-1".to_owned()),
                HeaderValue::Other,
                HeaderValue::Integer(i64::from(u32::MAX)),
                HeaderValue::Time(Timestamp::from_ms(5_000)),
            ]
        );
        assert_eq!(message.routing_key, "a.b");
        assert_eq!(
            (message.timestamp_s, message.message_id),
            (Some(7), Some("m".to_owned()))
        );
        assert_eq!(
            (message.body, message.quarantined),
            (Bytes::from("body"), None)
        );
    }

    #[test]
    fn a_marked_message_keeps_its_reason_and_its_bytes_and_nothing_else() {
        let marked = |reason: &str| {
            convert(delivery(&[
                (MARKER, AMQPValue::LongString(reason.into())),
                (KEPT, AMQPValue::LongString("bytes".into())),
                (
                    "iothub-connection-device-id",
                    AMQPValue::LongString("d".into()),
                ),
            ]))
        };
        for (named, reason) in [
            ("too_large", RejectReason::TooLarge),
            ("malformed", RejectReason::Malformed),
            ("hostile", RejectReason::Hostile),
            ("forged", RejectReason::Hostile),
        ] {
            let message = marked(named);
            let properties = Bytes::from("bytes");
            assert_eq!(
                message.quarantined,
                Some(Quarantined { reason, properties })
            );
            assert_eq!(message.headers, []);
        }
    }
}
