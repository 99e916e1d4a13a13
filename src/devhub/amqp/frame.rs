//! Frames (OASIS AMQP 1.0, part 2, section 2.3).

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::connection::ConnectionError;
use super::performative::Performative;
use crate::devhub::value::{Value, put_described};

/// The largest frame that is taken, as Event Hubs advertises it.
pub(super) const MAX_FRAME_BYTES: usize = 65_536;

const AMQP: u8 = 0;
const SASL: u8 = 1;

/// A frame as it was received.
pub(super) struct Frame {
    pub(super) channel: u16,
    pub(super) body: Bytes,
}

/// Takes a whole frame off the front of `input`, if it is there.
pub(super) fn take(input: &mut BytesMut) -> Result<Option<Frame>, ConnectionError> {
    let Some(head) = input.get(..8) else {
        return Ok(None);
    };
    let size = usize::try_from(u32::from_be_bytes([head[0], head[1], head[2], head[3]]))
        .unwrap_or(usize::MAX);
    let data_offset = usize::from(head[4]) * 4;
    let channel = u16::from_be_bytes([head[6], head[7]]);
    if head[5] > SASL || size > MAX_FRAME_BYTES || data_offset < 8 || data_offset > size {
        return Err(ConnectionError::Framing);
    }
    if input.len() < size {
        return Ok(None);
    }
    let mut body = input.split_to(size).freeze();
    body.advance(data_offset);
    Ok(Some(Frame { channel, body }))
}

/// Begins a frame; [`end`] writes its length.
pub(super) fn begin(out: &mut BytesMut, channel: u16) -> usize {
    begin_typed(out, AMQP, channel)
}

fn begin_typed(out: &mut BytesMut, kind: u8, channel: u16) -> usize {
    let start = out.len();
    out.put_u32(0);
    out.put_slice(&[2, kind]);
    out.put_u16(channel);
    start
}

/// Ends the frame that began at `start`.
pub(super) fn end(out: &mut BytesMut, start: usize) {
    let length = u32::try_from(out.len() - start).unwrap_or(u32::MAX);
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

/// Writes a frame that holds one performative.
pub(super) fn put(
    out: &mut BytesMut,
    channel: u16,
    performative: Performative,
    fields: Vec<Value>,
) {
    let start = begin(out, channel);
    put_described(out, performative.code(), &Value::List(fields));
    end(out, start);
}

/// Writes a SASL frame.
pub(super) fn put_sasl(out: &mut BytesMut, code: u64, fields: Vec<Value>) {
    let start = begin_typed(out, SASL, 0);
    put_described(out, code, &Value::List(fields));
    end(out, start);
}

/// Writes a frame without a body: a heartbeat.
pub(super) fn put_empty(out: &mut BytesMut) {
    let start = begin(out, 0);
    end(out, start);
}
