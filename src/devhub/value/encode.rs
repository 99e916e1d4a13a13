//! Values onto the wire.

use bytes::{BufMut, BytesMut};

use super::Value;

/// Appends the encoding of a value, in the shortest form but for lists, maps and arrays, whose length is written after
/// their content.
fn encode(out: &mut BytesMut, value: &Value) {
    match value {
        Value::Null => out.put_u8(0x40),
        Value::Bool(true) => out.put_u8(0x41),
        Value::Bool(false) => out.put_u8(0x42),
        Value::Ubyte(n) => out.put_slice(&[0x50, *n]),
        Value::Ushort(n) => {
            out.put_u8(0x60);
            out.put_u16(*n);
        }
        Value::Uint(n) => put_uint(out, *n),
        Value::Ulong(n) => put_ulong(out, *n),
        Value::Int(n) => {
            out.put_u8(0x71);
            out.put_i32(*n);
        }
        Value::Long(n) => {
            out.put_u8(0x81);
            out.put_i64(*n);
        }
        Value::Timestamp(n) => {
            out.put_u8(0x83);
            out.put_i64(*n);
        }
        Value::Uuid(bytes) => {
            out.put_u8(0x98);
            out.put_slice(bytes);
        }
        Value::Binary(bytes) => put_variable(out, 0xa0, bytes),
        Value::String(text) => put_variable(out, 0xa1, text.as_bytes()),
        Value::Symbol(text) => put_variable(out, 0xa3, text.as_bytes()),
        Value::List(items) => put_list(out, items),
        Value::Map(entries) => put_map(out, entries.iter().map(|(key, value)| (key, value))),
        Value::Array(items) => put_array(out, items),
        Value::Described(descriptor, content) => {
            out.put_u8(0);
            encode(out, descriptor);
            encode(out, content);
        }
        Value::Fixed(code, bytes) => {
            out.put_u8(*code);
            out.put_slice(bytes);
        }
    }
}

fn put_uint(out: &mut BytesMut, n: u32) {
    match u8::try_from(n) {
        Ok(0) => out.put_u8(0x43),
        Ok(n) => out.put_slice(&[0x52, n]),
        Err(_) => {
            out.put_u8(0x70);
            out.put_u32(n);
        }
    }
}

fn put_ulong(out: &mut BytesMut, n: u64) {
    match u8::try_from(n) {
        Ok(0) => out.put_u8(0x44),
        Ok(n) => out.put_slice(&[0x53, n]),
        Err(_) => {
            out.put_u8(0x80);
            out.put_u64(n);
        }
    }
}

/// `narrow` is the code for contents of at most 255 octets; the wide one is 16 more.
fn put_variable(out: &mut BytesMut, narrow: u8, content: &[u8]) {
    match u8::try_from(content.len()) {
        Ok(length) => out.put_slice(&[narrow, length]),
        Err(_) => {
            out.put_u8(narrow + 0x10);
            out.put_u32(length_u32(content.len()));
        }
    }
    out.put_slice(content);
}

/// Lengths here come from contents that are capped far below 4 GiB.
fn length_u32(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// A list with every item written, trailing nulls too: some clients index the fields by position.
fn put_list(out: &mut BytesMut, items: &[Value]) {
    put_compound(out, 0xd0, items.len(), |out| {
        items.iter().for_each(|item| encode(out, item));
    });
}

pub(in crate::devhub) fn put_map<'a>(
    out: &mut BytesMut,
    entries: impl ExactSizeIterator<Item = (&'a Value, &'a Value)>,
) {
    put_compound(out, 0xd1, entries.len() * 2, |out| {
        for (key, value) in entries {
            encode(out, key);
            encode(out, value);
        }
    });
}

fn put_array(out: &mut BytesMut, items: &[Value]) {
    let strings = items.iter().all(|item| matches!(item, Value::String(_)));
    put_compound(out, 0xf0, items.len(), |out| {
        out.put_u8(if strings { 0xb1 } else { 0xb3 });
        for text in items.iter().filter_map(Value::text) {
            out.put_u32(length_u32(text.len()));
            out.put_slice(text.as_bytes());
        }
    });
}

fn put_compound(out: &mut BytesMut, code: u8, count: usize, content: impl FnOnce(&mut BytesMut)) {
    out.put_u8(code);
    let start = out.len();
    out.put_u32(0);
    out.put_u32(length_u32(count));
    content(out);
    let length = length_u32(out.len() - start - 4);
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

/// Appends a described value with a numeric descriptor: a message section or a performative.
pub(in crate::devhub) fn put_described(out: &mut BytesMut, descriptor: u64, content: &Value) {
    put_descriptor(out, descriptor);
    encode(out, content);
}

/// Appends the front of a described value.
pub(in crate::devhub) fn put_descriptor(out: &mut BytesMut, descriptor: u64) {
    out.put_u8(0);
    put_ulong(out, descriptor);
}
