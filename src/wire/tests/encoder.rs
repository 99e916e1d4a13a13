//! A small AMQP 1.0 encoder, written against the specification and independent of the scanner.

use bytes::Bytes;
use serde_json::Value;

/// Descriptors of the sections.
pub(super) const HEADER: u8 = 0x70;
pub(super) const DELIVERY_ANNOTATIONS: u8 = 0x71;
pub(super) const ANNOTATIONS: u8 = 0x72;
pub(super) const PROPERTIES: u8 = 0x73;
pub(super) const APPLICATION_PROPERTIES: u8 = 0x74;
pub(super) const DATA: u8 = 0x75;
pub(super) const SEQUENCE: u8 = 0x76;
pub(super) const VALUE: u8 = 0x77;
pub(super) const FOOTER: u8 = 0x78;

pub(super) fn section(descriptor: u8, value: &[u8]) -> Vec<u8> {
    [&[0x00, 0x53, descriptor][..], value].concat()
}

/// A value with a size: `short` has one byte of it, `short + 0x10` four.
fn sized(short: u8, content: &[u8]) -> Vec<u8> {
    match u8::try_from(content.len()) {
        Ok(size) => [&[short, size][..], content].concat(),
        Err(_) => {
            let size = u32::try_from(content.len()).unwrap().to_be_bytes();
            [&[short + 0x10][..], &size[..], content].concat()
        }
    }
}

pub(super) fn string(text: &str) -> Vec<u8> {
    sized(0xa1, text.as_bytes())
}

pub(super) fn symbol(text: &str) -> Vec<u8> {
    sized(0xa3, text.as_bytes())
}

pub(super) fn binary(bytes: &[u8]) -> Vec<u8> {
    sized(0xa0, bytes)
}

pub(super) fn long(number: i64) -> Vec<u8> {
    [&[0x81][..], &number.to_be_bytes()].concat()
}

pub(super) fn timestamp(ms: i64) -> Vec<u8> {
    [&[0x83][..], &ms.to_be_bytes()].concat()
}

/// A list (`code` 0xd0) or map (0xd1) of encoded values, with four bytes of size and count.
pub(super) fn compound(code: u8, values: &[Vec<u8>]) -> Vec<u8> {
    let content = values.concat();
    let size = u32::try_from(content.len() + 4).unwrap().to_be_bytes();
    let count = u32::try_from(values.len()).unwrap().to_be_bytes();
    [&[code][..], &size, &count, &content].concat()
}

pub(super) fn map(entries: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let values: Vec<_> =
        entries.iter().flat_map(|(key, value)| [key.clone(), value.clone()]).collect();
    compound(0xd1, &values)
}

/// `depth` lists in each other.
pub(super) fn nested_lists(depth: usize) -> Vec<u8> {
    let mut head = Vec::with_capacity(depth * 9 + 1);
    for level in 0..depth {
        let inside = (depth - 1 - level) * 9 + 1;
        head.push(0xd0);
        head.extend(u32::try_from(inside + 4).unwrap().to_be_bytes());
        head.extend(1_u32.to_be_bytes());
    }
    head.push(0x40);
    head
}

/// A JSON value as the hub or a device would write it under `name`.
fn scalar(name: &str, value: &Value) -> Vec<u8> {
    match value {
        Value::String(text) => string(text),
        Value::Number(number) => match number.as_i64() {
            Some(ms) if name.ends_with("time") => timestamp(ms),
            Some(number) => long(number),
            None => [&[0x82][..], &number.as_f64().unwrap().to_be_bytes()].concat(),
        },
        Value::Bool(flag) => vec![if *flag { 0x41 } else { 0x42 }],
        Value::Null => vec![0x40],
        Value::Array(_) | Value::Object(_) => compound(0xd0, &[string("x")]),
    }
}

fn members(record: &Value, name: &str, key: fn(&str) -> Vec<u8>) -> Option<Vec<u8>> {
    let members = record.get(name)?.as_object()?;
    let entries: Vec<_> =
        members.iter().map(|(name, value)| (key(name), scalar(name, value))).collect();
    Some(map(&entries))
}

/// A record ([`crate::wire::line`]) as an AMQP 1.0 message.
pub(super) fn message(record: &Value) -> Bytes {
    let mut message = section(HEADER, &[0xc0, 0x03, 0x02, 0x40, 0x40]);
    if let Some(map) = members(record, "messageAnnotations", symbol) {
        message.extend(section(ANNOTATIONS, &map));
    }
    if record.get("properties").is_some() {
        let fields = [string("hb-000123"), binary(b"example-hub")];
        message.extend(section(PROPERTIES, &compound(0xd0, &fields)));
    }
    if let Some(map) = members(record, "applicationProperties", string) {
        message.extend(section(APPLICATION_PROPERTIES, &map));
    }
    let body = match (record.get("body"), record.get("data")) {
        (Some(body), _) => Some(body.to_string()),
        (None, Some(text)) => text.as_str().map(Into::into),
        (None, None) => None,
    };
    if let Some(body) = body {
        message.extend(section(DATA, &binary(body.as_bytes())));
    }
    Bytes::from(message)
}
