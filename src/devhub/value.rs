//! AMQP 1.0 values (OASIS AMQP 1.0, part 1, section 1.6): a bounded decoder and an encoder.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The deepest nesting that is decoded: performatives and messages of the vendor's clients need six levels.
const MAX_DEPTH: usize = 16;

/// A value of the AMQP type system. Types that the hub only passes on are kept as their bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Ubyte(u8),
    Ushort(u16),
    Uint(u32),
    Ulong(u64),
    Int(i32),
    Long(i64),
    Timestamp(i64),
    Uuid([u8; 16]),
    Binary(Bytes),
    String(String),
    Symbol(String),
    List(Vec<Value>),
    Map(Vec<(Value, Value)>),
    /// Encoded only for symbols and strings.
    Array(Vec<Value>),
    Described(Box<Value>, Box<Value>),
    /// byte, short, float, double, decimals, char: format code and content.
    Fixed(u8, Bytes),
}

/// Why bytes are no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error("the encoding ends in the middle of a value")]
    Truncated,
    #[error("0x{0:02x} is no AMQP format code")]
    UnknownCode(u8),
    #[error("a string or symbol is not UTF-8")]
    NotText,
    #[error("a value is nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    #[error("a map has a key without a value")]
    OddMap,
    #[error("a section or performative has no numeric descriptor")]
    NotDescribed,
}

impl Value {
    pub(crate) fn string(text: impl Into<String>) -> Self {
        Self::String(text.into())
    }

    pub(crate) fn symbol(text: impl Into<String>) -> Self {
        Self::Symbol(text.into())
    }

    /// The text of a string or symbol.
    pub(crate) fn text(&self) -> Option<&str> {
        if let Self::String(text) | Self::Symbol(text) = self {
            Some(text)
        } else {
            None
        }
    }

    /// An integer of any width, or a timestamp.
    pub(crate) fn integer(&self) -> Option<i64> {
        match self {
            Self::Ubyte(n) => Some(i64::from(*n)),
            Self::Ushort(n) => Some(i64::from(*n)),
            Self::Uint(n) => Some(i64::from(*n)),
            Self::Ulong(n) => i64::try_from(*n).ok(),
            Self::Int(n) => Some(i64::from(*n)),
            Self::Long(n) | Self::Timestamp(n) => Some(*n),
            Self::Fixed(0x51 | 0x54 | 0x55, bytes) => {
                bytes.first().map(|b| i64::from(b.cast_signed()))
            }
            Self::Fixed(0x61, bytes) if bytes.len() == 2 => Some(i64::from((&bytes[..]).get_i16())),
            Self::Null
            | Self::Bool(_)
            | Self::Uuid(_)
            | Self::Binary(_)
            | Self::String(_)
            | Self::Symbol(_)
            | Self::List(_)
            | Self::Map(_)
            | Self::Array(_)
            | Self::Described(..)
            | Self::Fixed(..) => None,
        }
    }

    /// The entries of a map; none of anything else.
    pub(crate) fn entries(&self) -> &[(Value, Value)] {
        if let Self::Map(entries) = self {
            entries
        } else {
            &[]
        }
    }

    /// The value under a string or symbol key of a map.
    pub(crate) fn entry(&self, name: &str) -> Option<&Value> {
        self.entries()
            .iter()
            .find(|(key, _)| key.text() == Some(name))
            .map(|(_, value)| value)
    }

    /// Field `index` of a list; [`Value::Null`] where the list is shorter (trailing nulls may be left out).
    pub(crate) fn field(&self, index: usize) -> &Value {
        if let Self::List(fields) = self {
            fields.get(index).unwrap_or(&Self::Null)
        } else {
            &Self::Null
        }
    }

    /// Whether a capability is listed: a symbol, or an array of them.
    pub(crate) fn lists_symbol(&self, name: &str) -> bool {
        if let Self::Array(items) | Self::List(items) = self {
            items.iter().any(|item| item.text() == Some(name))
        } else {
            self.text() == Some(name)
        }
    }
}

/// Takes one value off the front of `input`.
pub(crate) fn decode(input: &mut Bytes) -> Result<Value, DecodeError> {
    value(input, MAX_DEPTH)
}

/// Takes one described value off the front: its descriptor, which has to be a number, and its content.
pub(crate) fn decode_described(input: &mut Bytes) -> Result<(u64, Value), DecodeError> {
    let Value::Described(descriptor, content) = decode(input)? else {
        return Err(DecodeError::NotDescribed);
    };
    let Value::Ulong(code) = *descriptor else {
        return Err(DecodeError::NotDescribed);
    };
    Ok((code, *content))
}

fn need(input: &Bytes, length: usize) -> Result<(), DecodeError> {
    if input.len() < length {
        return Err(DecodeError::Truncated);
    }
    Ok(())
}

fn take(input: &mut Bytes, length: usize) -> Result<Bytes, DecodeError> {
    need(input, length)?;
    Ok(input.split_to(length))
}

fn octet(input: &mut Bytes) -> Result<u8, DecodeError> {
    need(input, 1)?;
    Ok(input.get_u8())
}

fn value(input: &mut Bytes, depth: usize) -> Result<Value, DecodeError> {
    let depth = depth.checked_sub(1).ok_or(DecodeError::TooDeep)?;
    let code = octet(input)?;
    if code == 0 {
        let descriptor = value(input, depth)?;
        let content = value(input, depth)?;
        return Ok(Value::Described(Box::new(descriptor), Box::new(content)));
    }
    content(input, code, depth)
}

/// What follows the format code.
fn content(input: &mut Bytes, code: u8, depth: usize) -> Result<Value, DecodeError> {
    match code >> 4 {
        0x4 => empty(code),
        0x5 => one_octet(code, take(input, 1)?),
        0x6 => two_octets(code, take(input, 2)?),
        0x7 => four_octets(code, take(input, 4)?),
        0x8 => eight_octets(code, take(input, 8)?),
        0x9 => sixteen_octets(code, &take(input, 16)?),
        0xa | 0xb => {
            let length = length(input, code >> 4 == 0xa)?;
            variable(code, take(input, length)?)
        }
        0xc..=0xf => {
            let narrow = matches!(code >> 4, 0xc | 0xe);
            let length = length(input, narrow)?;
            let mut body = take(input, length)?;
            let count = self::length(&mut body, narrow)?;
            compound(code, &mut body, count, depth)
        }
        _ => Err(DecodeError::UnknownCode(code)),
    }
}

fn length(input: &mut Bytes, narrow: bool) -> Result<usize, DecodeError> {
    if narrow {
        return octet(input).map(usize::from);
    }
    need(input, 4)?;
    usize::try_from(input.get_u32()).map_err(|_| DecodeError::Truncated)
}

fn empty(code: u8) -> Result<Value, DecodeError> {
    match code {
        0x40 => Ok(Value::Null),
        0x41 => Ok(Value::Bool(true)),
        0x42 => Ok(Value::Bool(false)),
        0x43 => Ok(Value::Uint(0)),
        0x44 => Ok(Value::Ulong(0)),
        0x45 => Ok(Value::List(Vec::new())),
        _ => Err(DecodeError::UnknownCode(code)),
    }
}

fn one_octet(code: u8, bytes: Bytes) -> Result<Value, DecodeError> {
    match (code, bytes[0]) {
        (0x50, n) => Ok(Value::Ubyte(n)),
        (0x52, n) => Ok(Value::Uint(u32::from(n))),
        (0x53, n) => Ok(Value::Ulong(u64::from(n))),
        (0x54, n) => Ok(Value::Int(i32::from(n.cast_signed()))),
        (0x55, n) => Ok(Value::Long(i64::from(n.cast_signed()))),
        (0x56, n) => Ok(Value::Bool(n != 0)),
        (0x51, _) => Ok(Value::Fixed(code, bytes)),
        _ => Err(DecodeError::UnknownCode(code)),
    }
}

fn two_octets(code: u8, mut bytes: Bytes) -> Result<Value, DecodeError> {
    match code {
        0x60 => Ok(Value::Ushort(bytes.get_u16())),
        0x61 => Ok(Value::Fixed(code, bytes)),
        _ => Err(DecodeError::UnknownCode(code)),
    }
}

fn four_octets(code: u8, mut bytes: Bytes) -> Result<Value, DecodeError> {
    match code {
        0x70 => Ok(Value::Uint(bytes.get_u32())),
        0x71 => Ok(Value::Int(bytes.get_i32())),
        0x72..=0x74 => Ok(Value::Fixed(code, bytes)),
        _ => Err(DecodeError::UnknownCode(code)),
    }
}

fn eight_octets(code: u8, mut bytes: Bytes) -> Result<Value, DecodeError> {
    match code {
        0x80 => Ok(Value::Ulong(bytes.get_u64())),
        0x81 => Ok(Value::Long(bytes.get_i64())),
        0x83 => Ok(Value::Timestamp(bytes.get_i64())),
        0x82 | 0x84 => Ok(Value::Fixed(code, bytes)),
        _ => Err(DecodeError::UnknownCode(code)),
    }
}

fn sixteen_octets(code: u8, bytes: &Bytes) -> Result<Value, DecodeError> {
    match code {
        0x98 => bytes[..]
            .try_into()
            .map(Value::Uuid)
            .map_err(|_| DecodeError::Truncated),
        0x94 => Ok(Value::Fixed(code, bytes.clone())),
        _ => Err(DecodeError::UnknownCode(code)),
    }
}

fn variable(code: u8, bytes: Bytes) -> Result<Value, DecodeError> {
    let text = |bytes: Bytes| String::from_utf8(bytes.into()).map_err(|_| DecodeError::NotText);
    match code {
        0xa0 | 0xb0 => Ok(Value::Binary(bytes)),
        0xa1 | 0xb1 => text(bytes).map(Value::String),
        0xa3 | 0xb3 => text(bytes).map(Value::Symbol),
        _ => Err(DecodeError::UnknownCode(code)),
    }
}

fn compound(code: u8, body: &mut Bytes, count: usize, depth: usize) -> Result<Value, DecodeError> {
    match code {
        0xc0 | 0xd0 => items(body, count, depth).map(Value::List),
        0xc1 | 0xd1 if !count.is_multiple_of(2) => Err(DecodeError::OddMap),
        0xc1 | 0xd1 => {
            let mut entries = Vec::with_capacity(count.min(body.len()) / 2);
            for _ in 0..count / 2 {
                entries.push((value(body, depth)?, value(body, depth)?));
            }
            Ok(Value::Map(entries))
        }
        0xe0 | 0xf0 => array(body, count, depth),
        _ => Err(DecodeError::UnknownCode(code)),
    }
}

fn items(body: &mut Bytes, count: usize, depth: usize) -> Result<Vec<Value>, DecodeError> {
    // Every item has at least one octet, which bounds the reservation by what is there.
    let mut items = Vec::with_capacity(count.min(body.len()));
    for _ in 0..count {
        items.push(value(body, depth)?);
    }
    Ok(items)
}

/// One constructor, then the contents. Descriptors of the elements are dropped.
fn array(body: &mut Bytes, count: usize, depth: usize) -> Result<Value, DecodeError> {
    let depth = depth.checked_sub(1).ok_or(DecodeError::TooDeep)?;
    let mut code = octet(body)?;
    if code == 0 {
        value(body, depth)?;
        code = octet(body)?;
    }
    if code >> 4 == 0x4 && count > MAX_EMPTY_ELEMENTS {
        return Err(DecodeError::Truncated);
    }
    let mut items = Vec::with_capacity(count.min(body.len()));
    for _ in 0..count {
        items.push(content(body, code, depth)?);
    }
    Ok(Value::Array(items))
}

/// Elements of width zero cost no input, so their number is capped.
const MAX_EMPTY_ELEMENTS: usize = 1_024;

/// Appends the encoding of a value, in the shortest form but for lists, maps and arrays, whose length is written after
/// their content.
pub(crate) fn encode(out: &mut BytesMut, value: &Value) {
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
pub(crate) fn put_list(out: &mut BytesMut, items: &[Value]) {
    put_compound(out, 0xd0, items.len(), |out| {
        items.iter().for_each(|item| encode(out, item));
    });
}

pub(crate) fn put_map<'a>(
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
pub(crate) fn put_described(out: &mut BytesMut, descriptor: u64, content: &Value) {
    put_descriptor(out, descriptor);
    encode(out, content);
}

/// Appends the front of a described value.
pub(crate) fn put_descriptor(out: &mut BytesMut, descriptor: u64) {
    out.put_u8(0);
    put_ulong(out, descriptor);
}
