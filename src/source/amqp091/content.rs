//! PURE. Content headers of the class `basic` (AMQP 0-9-1, sections 4.2.6.1 and 1.8): checked, and rewritten where the
//! client library must not see them.

use super::table::{self, Reader};
use crate::wire::RejectReason;

/// The largest body that is passed on. IoT Hub takes messages of up to 256 KB.
pub(super) const MAX_BODY_BYTES: u64 = 1 << 20;
/// How much of the properties of a quarantined message is kept for its dead letter. With the rest of the frame it stays
/// below the smallest frame size that can be negotiated (4,096).
const KEPT_BYTES: usize = 2_048;
/// The header of a quarantined message that names the reason. Whoever publishes a message with it has that message
/// quarantined, and nothing more.
pub(super) const MARKER: &str = "x-lastseen-quarantined";
/// The header of a quarantined message that holds the first bytes of its properties as they were.
pub(super) const KEPT: &str = "x-lastseen-properties";
/// The header in which the broker says where in the stream a message stands.
pub(super) const STREAM_OFFSET: &str = "x-stream-offset";

/// The class `basic`, the only one with content.
const BASIC: u16 = 60;
/// Only the property `headers` is there.
const ONLY_HEADERS: u16 = 1 << 13;

/// A content header as the client library is given it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Content {
    /// The payload to hand on, if it isn't the original one.
    pub(super) replaced: Option<Vec<u8>>,
    /// Octets of body that follow.
    pub(super) body_bytes: u64,
    /// Whether the body is kept back.
    pub(super) drop_body: bool,
}

/// Looks at the payload of a content header frame. `condemned` quarantines the message whatever its header is.
/// `None`: no content header at all, which only a broken broker sends.
pub(super) fn inspect(payload: &[u8], condemned: Option<RejectReason>) -> Option<Content> {
    let mut reader = Reader(payload);
    if reader.short()? != BASIC {
        return None;
    }
    let _weight = reader.short()?;
    let body_bytes = reader.long_long()?;
    let properties = reader.0;
    let drop_body = body_bytes > MAX_BODY_BYTES;
    let reason = condemned
        .or(drop_body.then_some(RejectReason::TooLarge))
        .or(check_properties(properties).err());
    let shown_bytes = if drop_body { 0 } else { body_bytes };
    Some(Content {
        replaced: reason.map(|reason| quarantined(reason, shown_bytes, properties)),
        body_bytes,
        drop_body,
    })
}

/// The fourteen properties, highest flag first; all but a few are short strings.
fn check_properties(properties: &[u8]) -> Result<(), RejectReason> {
    let mut reader = Reader(properties);
    let flags = reader.short().ok_or(RejectReason::Malformed)?;
    for flag in (2..16_u32).rev().filter(|flag| flags & (1 << flag) != 0) {
        let read = match flag {
            13 => {
                let table = reader.long_bytes_with_length().ok_or(RejectReason::Malformed)?;
                table::check(table)?;
                Some(())
            }
            12 | 11 => reader.octet().map(|_| ()),
            6 => reader.long_long().map(|_| ()),
            _ => reader.short_text().map(|_| ()),
        };
        read.ok_or(RejectReason::Malformed)?;
    }
    if reader.0.is_empty() { Ok(()) } else { Err(RejectReason::Malformed) }
}

/// The content of the table `headers`, if it can be found.
fn headers(properties: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader(properties);
    let flags = reader.short()?;
    for _ in [15, 14].iter().filter(|flag| flags & (1 << **flag) != 0) {
        reader.short_bytes()?;
    }
    (flags & ONLY_HEADERS != 0).then(|| reader.long_bytes()).flatten()
}

/// The payload of a content header whose properties are replaced by the marker.
fn quarantined(reason: RejectReason, body_bytes: u64, properties: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    put_text(&mut content, MARKER, reason.as_str().as_bytes());
    let kept = properties.get(..KEPT_BYTES).unwrap_or(properties);
    put_text(&mut content, KEPT, kept);
    let offset =
        headers(properties).and_then(|headers| table::find_integer(headers, STREAM_OFFSET));
    if let Some(offset) = offset {
        put_name(&mut content, STREAM_OFFSET, b'l');
        content.extend(offset.to_be_bytes());
    }
    let mut payload = Vec::new();
    payload.extend(BASIC.to_be_bytes());
    payload.extend(0_u16.to_be_bytes());
    payload.extend(body_bytes.to_be_bytes());
    payload.extend(ONLY_HEADERS.to_be_bytes());
    put_long(&mut payload, &content);
    payload
}

fn put_text(to: &mut Vec<u8>, name: &str, value: &[u8]) {
    put_name(to, name, b'S');
    put_long(to, value);
}

fn put_name(to: &mut Vec<u8>, name: &str, kind: u8) {
    // The names are constants of this file, well below the 255 octets of a short string.
    to.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
    to.extend(name.as_bytes());
    to.push(kind);
}

fn put_long(to: &mut Vec<u8>, bytes: &[u8]) {
    // At most `KEPT_BYTES` and a few names, so it fits.
    to.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    to.extend(bytes);
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::source::amqp091::table::tests::nested;
    use lapin::protocol::basic::parse_properties;
    use lapin::types::{AMQPValue, LongString, ShortString};
    use proptest::prelude::*;

    /// The payload of a content header with these headers (content of the table).
    pub(in super::super) fn header(body_bytes: u64, table: &[u8]) -> Vec<u8> {
        let mut payload = b"\x00\x3c\x00\x00".to_vec();
        payload.extend(body_bytes.to_be_bytes());
        payload.extend(ONLY_HEADERS.to_be_bytes());
        put_long(&mut payload, table);
        payload
    }

    fn marker_of(payload: &[u8]) -> (Option<AMQPValue>, Option<AMQPValue>) {
        let (rest, properties) = parse_properties(&payload[12..]).expect("decodable properties");
        assert!(rest.is_empty());
        let headers = properties.headers().clone().expect("headers");
        let get = |name: &str| headers.inner().get(&ShortString::from(name)).cloned();
        (get(MARKER), get(STREAM_OFFSET))
    }

    fn text(value: &str) -> Option<AMQPValue> {
        Some(AMQPValue::LongString(LongString::from(value)))
    }

    #[test]
    fn a_hostile_header_is_replaced_and_keeps_its_place_in_the_stream() {
        let mut table = nested(1_700);
        table.extend(b"\x0fx-stream-offsetl\x00\x00\x00\x00\x00\x00\x00\x2a");
        let content = inspect(&header(3, &table), None).expect("a content header");
        assert_eq!((content.body_bytes, content.drop_body), (3, false));
        let replaced = content.replaced.expect("a replacement");
        assert!(replaced.len() < 4_000);
        assert_eq!(replaced[4..12], 3_u64.to_be_bytes());
        assert_eq!(marker_of(&replaced), (text("hostile"), Some(AMQPValue::LongLongInt(42))));
    }

    #[test]
    fn a_body_that_is_too_large_is_kept_back() {
        let content = inspect(&header(MAX_BODY_BYTES + 1, b""), None).expect("a content header");
        assert!(content.drop_body);
        let replaced = content.replaced.expect("a replacement");
        assert_eq!(replaced[4..12], 0_u64.to_be_bytes());
        assert_eq!(marker_of(&replaced).0, text("too_large"));
        let largest = inspect(&header(MAX_BODY_BYTES, b""), None).expect("a content header");
        assert_eq!((largest.drop_body, largest.replaced), (false, None));
    }

    proptest! {
        #[test]
        fn whatever_the_properties_are_the_client_library_can_decode_what_it_is_given(
            flags in any::<u16>(),
            rest in proptest::collection::vec(0_u8..8, 0..40),
        ) {
            let mut payload = b"\x00\x3c\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00".to_vec();
            payload.extend(flags.to_be_bytes());
            payload.extend(&rest);
            let content = inspect(&payload, None).expect("a content header");
            let shown = content.replaced.unwrap_or(payload);
            let decoded = parse_properties(&shown[12..]);
            prop_assert!(decoded.is_ok_and(|(left, _)| left.is_empty()));
        }
    }
}
