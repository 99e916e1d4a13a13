//! Values off the wire. Nothing is reserved or recursed into beyond what the input can hold.

use bytes::{Buf, Bytes};

use super::Value;

/// The deepest nesting that is decoded: performatives and messages of the vendor's clients need six levels.
const MAX_DEPTH: usize = 16;

/// Why bytes are no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::devhub) enum DecodeError {
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

/// Takes one value off the front of `input`.
fn decode(input: &mut Bytes) -> Result<Value, DecodeError> {
    value(input, MAX_DEPTH)
}

/// Takes one described value off the front: its descriptor, which has to be a number, and its content.
pub(in crate::devhub) fn decode_described(input: &mut Bytes) -> Result<(u64, Value), DecodeError> {
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
