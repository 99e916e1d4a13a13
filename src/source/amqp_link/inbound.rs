//! PURE. The frames that come from the peer, checked and rewritten for the stock client:
//!
//! - Every frame is checked for size and nesting; what fails ends the connection.
//! - The payload of a data link becomes one opaque Data section, whatever it holds.
//! - The peer's idle time-out is halved, since the client sends its heartbeats only at the full period and the peer closes
//!   on a late one (part 2, section 2.4.5: half the threshold is what a sender should keep to).
//! - Flow state of data links is kept from the client, which overwrites its own delivery count with the peer's while
//!   messages that the peer has counted still wait in the client's queue; from there its credit would be wrong. What a
//!   drained link skipped is added on the way out instead ([`super::outbound`]).

use std::collections::HashMap;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::encoding::{Malformed, Performative, check_values};

/// Largest frame that is announced and accepted.
pub(super) const MAX_FRAME_BYTES: usize = 1 << 20;
/// Largest message that is kept whole; the vendor's limit. What is longer is cut off and ends as a dead letter.
pub const MAX_MESSAGE_BYTES: usize = 1 << 20;
/// Most bytes of unfinished messages over all links of a connection.
const MAX_HELD_BYTES: usize = 32 << 20;
/// Most frames of one message: 1 MiB in frames of 512 bytes, the smallest that may be negotiated.
const MAX_HELD_FRAMES: usize = 4_096;
/// Most links of a connection: 1,024 partitions is the most an event hub has.
const MAX_LINKS: usize = 4_096;
/// Longest heartbeat period handed to the client. Load balancers forget connections that are silent for minutes.
const LONGEST_IDLE_MS: u32 = 30_000;
/// `described, smallulong 0x75, binary32`: a Data section up to its length.
const DATA_SECTION: [u8; 4] = [0x00, 0x53, 0x75, 0xb0];
/// What a Data section puts in front of a payload; announced frames are smaller than accepted ones by at least this.
pub(super) const DATA_SECTION_BYTES: usize = 8;

/// Links with this prefix carry messages, which are handed over as opaque bytes.
pub const DATA_LINK_PREFIX: &str = "lastseen-data-";

/// What the guard learned about a data link from the peer's frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkCounts {
    /// Messages received whole.
    pub deliveries: u64,
    /// How often the peer answered that the credit is drained.
    pub drains: u64,
    /// [`Self::deliveries`] at the last such answer.
    pub drained_at: u64,
    /// Delivery numbers that drains skipped, modulo 2^32.
    pub skipped: u32,
}

/// A data link as its sender, the peer, has attached it.
#[derive(Debug, Default)]
struct DataLink {
    name: String,
    initial_delivery_count: u32,
    counts: LinkCounts,
    /// Frames of an unfinished message, and the length of their payloads.
    held: Vec<(Bytes, usize)>,
    held_bytes: usize,
}

/// Takes bytes from the peer, gives bytes for the client.
#[derive(Debug, Default)]
pub(super) struct Inbound {
    raw: BytesMut,
    ready: BytesMut,
    links: HashMap<(u16, u32), Option<DataLink>>,
    held_bytes: usize,
    /// Data links whose counts changed by more than deliveries, for the owner of the stream.
    changed: Vec<(String, LinkCounts)>,
    /// The peer said so in its `open`.
    pub(super) peer_is_old_rabbitmq: bool,
}

impl Inbound {
    /// What may be handed to the client.
    pub(super) fn ready(&mut self) -> &mut BytesMut {
        &mut self.ready
    }

    /// Links that were drained since the last call.
    pub(super) fn take_changed(&mut self) -> Vec<(String, LinkCounts)> {
        std::mem::take(&mut self.changed)
    }

    /// Takes what was read and makes every whole frame of it ready.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        self.raw.extend_from_slice(bytes);
        while self.raw.len() >= 8 {
            if self.raw.starts_with(b"AMQP") {
                self.ready.put(self.raw.split_to(8));
                continue;
            }
            let size = self.raw.get(..4).map_or(0, |mut size| size.get_u32()) as usize;
            let header = usize::from(self.raw[4]) * 4;
            if header < 8 || size < header || size > MAX_FRAME_BYTES {
                return Err(Malformed("a frame whose size or data offset is a lie"));
            }
            if self.raw.len() < size {
                self.raw.reserve(size - self.raw.len());
                break;
            }
            let frame = self.raw.split_to(size).freeze();
            let (kind, channel) = (frame[5], u16::from_be_bytes([frame[6], frame[7]]));
            self.frame(kind, channel, frame.slice(header..))?;
        }
        Ok(())
    }

    fn frame(&mut self, kind: u8, channel: u16, body: Bytes) -> Result<(), Malformed> {
        if body.is_empty() {
            self.emit(kind, channel, &[&body]);
            return Ok(());
        }
        let performative = Performative::parse(&body)?;
        check_values(performative.encoded)?;
        match (kind, performative.code) {
            (0, 0x10) => {
                self.peer_is_old_rabbitmq = is_old_rabbitmq(performative.field(9));
                let mut open = BytesMut::from(&body[..]);
                halve_idle_time_out(&performative, &mut open)?;
                self.emit(kind, channel, &[&open]);
            }
            (0, 0x13) => return self.flow(channel, &performative, &body),
            (0, 0x14) => return self.transfer(channel, &performative, &body),
            (0, code) => {
                match code {
                    0x12 => self.attach(channel, &performative)?,
                    0x16 => {
                        let handle = performative.uint(0)?.unwrap_or_default();
                        self.forget(|key| *key == (channel, handle));
                    }
                    0x17 => self.forget(|key| key.0 == channel),
                    _ => {}
                }
                check_values(performative.payload)?;
                self.emit(kind, channel, &[&body]);
            }
            (1, _) => {
                check_values(performative.payload)?;
                self.emit(kind, channel, &[&body]);
            }
            (_, _) => return Err(Malformed("a frame of an unknown type")),
        }
        Ok(())
    }

    /// `attach`: name 0, handle 1, role 2, initial-delivery-count 9.
    fn attach(&mut self, channel: u16, attach: &Performative<'_>) -> Result<(), Malformed> {
        let name = attach.text(0)?;
        let handle = attach.uint(1)?.ok_or(Malformed("an attach without a handle"))?;
        let peer_sends = !attach.flag(2)?;
        let data = (peer_sends && name.starts_with(DATA_LINK_PREFIX.as_bytes())).then(|| {
            Ok::<_, Malformed>(DataLink {
                name: String::from_utf8_lossy(name).into_owned(),
                initial_delivery_count: attach.uint(9)?.unwrap_or_default(),
                ..DataLink::default()
            })
        });
        if self.links.len() >= MAX_LINKS {
            return Err(Malformed("too many links"));
        }
        if let Some(link) = &data {
            let link = link.as_ref().map_err(|error| *error)?;
            self.changed.push((link.name.clone(), link.counts));
        }
        self.links.insert((channel, handle), data.transpose()?);
        Ok(())
    }

    /// Drops links, and what was held of their messages goes to the client as it is: it drops it with the link.
    fn forget(&mut self, which: impl Fn(&(u16, u32)) -> bool) {
        let gone: Vec<_> = self.links.keys().filter(|key| which(key)).copied().collect();
        for key in gone {
            if let Some(Some(mut link)) = self.links.remove(&key) {
                self.release(key.0, &mut link);
            }
        }
    }

    fn release(&mut self, channel: u16, link: &mut DataLink) {
        for (frame, _) in link.held.drain(..) {
            self.emit(0, channel, &[&frame]);
        }
        self.held_bytes -= std::mem::take(&mut link.held_bytes);
    }

    /// `flow`: handle 4, delivery-count 5, link-credit 6, drain 8. Only the session's part of a data link's flow goes on.
    fn flow(
        &mut self,
        channel: u16,
        flow: &Performative<'_>,
        body: &Bytes,
    ) -> Result<(), Malformed> {
        let link = flow
            .uint(4)?
            .and_then(|handle| self.links.get_mut(&(channel, handle)))
            .and_then(Option::as_mut);
        let Some(link) = link else {
            self.emit(0, channel, &[body]);
            return Ok(());
        };
        if flow.flag(8)? && flow.uint(6)?.unwrap_or_default() == 0 {
            let seen = link.initial_delivery_count.wrapping_add(truncated(link.counts.deliveries));
            link.counts.skipped = flow.uint(5)?.unwrap_or(seen).wrapping_sub(seen);
            link.counts.drains += 1;
            link.counts.drained_at = link.counts.deliveries;
            self.changed.push((link.name.clone(), link.counts));
        }
        let session: [&[u8]; 4] = std::array::from_fn(|index| flow.field(index));
        let content: usize = session.iter().map(|field| field.len()).sum();
        let size = u8::try_from(content + 1).map_err(|_| Malformed("a flow that is too long"))?;
        let [a, b, c, d] = session;
        self.emit(0, channel, &[&[0x00, 0x53, 0x13, 0xc0, size, 4], a, b, c, d]);
        Ok(())
    }

    /// `transfer`: handle 0, more 5, aborted 9.
    fn transfer(
        &mut self,
        channel: u16,
        transfer: &Performative<'_>,
        body: &Bytes,
    ) -> Result<(), Malformed> {
        let handle = transfer.uint(0)?.ok_or(Malformed("a transfer without a handle"))?;
        let Some(slot) = self.links.get_mut(&(channel, handle)) else {
            return Err(Malformed("a transfer on a handle that is not attached"));
        };
        let Some(mut link) = slot.take() else {
            check_values(transfer.payload)?;
            self.emit(0, channel, &[body]);
            return Ok(());
        };
        let outcome = self.data_transfer(channel, transfer, body, &mut link);
        self.links.insert((channel, handle), Some(link));
        outcome
    }

    fn data_transfer(
        &mut self,
        channel: u16,
        transfer: &Performative<'_>,
        body: &Bytes,
        link: &mut DataLink,
    ) -> Result<(), Malformed> {
        let (more, aborted) = (transfer.flag(5)?, transfer.flag(9)?);
        let room = MAX_MESSAGE_BYTES - link.held_bytes;
        let payload = transfer.payload.len().min(room);
        let kept = body.slice(..transfer.encoded.len() + payload);
        if aborted {
            self.release(channel, link);
            self.emit(0, channel, &[&kept]);
            return Ok(());
        }
        if !more && link.held.is_empty() {
            link.counts.deliveries += 1;
            self.emit_message(channel, [(kept, payload)].into_iter(), payload)?;
            return Ok(());
        }
        link.held.push((kept, payload));
        link.held_bytes += payload;
        self.held_bytes += payload;
        if self.held_bytes > MAX_HELD_BYTES || link.held.len() > MAX_HELD_FRAMES {
            return Err(Malformed("too many unfinished messages"));
        }
        if !more {
            link.counts.deliveries += 1;
            let total = std::mem::take(&mut link.held_bytes);
            self.held_bytes -= total;
            self.emit_message(channel, link.held.drain(..), total)?;
        }
        Ok(())
    }

    /// The frames of one message, the first with the header of a Data section over all of them.
    fn emit_message(
        &mut self,
        channel: u16,
        frames: impl Iterator<Item = (Bytes, usize)>,
        total: usize,
    ) -> Result<(), Malformed> {
        let length = u32::try_from(total)
            .map_err(|_| Malformed("a message that is too long"))?
            .to_be_bytes();
        for (index, (frame, payload)) in frames.enumerate() {
            let (performative, payload) = frame.split_at(frame.len() - payload);
            if index == 0 {
                self.emit(0, channel, &[performative, &DATA_SECTION, &length, payload]);
            } else {
                self.emit(0, channel, &[performative, payload]);
            }
        }
        Ok(())
    }

    fn emit(&mut self, kind: u8, channel: u16, parts: &[&[u8]]) {
        let size = 8 + parts.iter().map(|part| part.len()).sum::<usize>();
        self.ready.reserve(size);
        self.ready.put_u32(truncated(size as u64));
        self.ready.put_slice(&[2, kind]);
        self.ready.put_u16(channel);
        for part in parts {
            self.ready.put_slice(part);
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "sizes are at most a frame; delivery counts are modulo 2^32"
)]
fn truncated(number: u64) -> u32 {
    number as u32
}

/// `open`: properties 9. The entries `product` and `version` follow each other nowhere in particular, so both are looked for:
/// a version is a string of less than 256 bytes.
fn is_old_rabbitmq(properties: &[u8]) -> bool {
    let version = properties
        .windows(10)
        .find(|window| window.starts_with(b"version") && matches!(window[7], 0xa1 | 0xa3));
    let major = version.map(|window| window[9]);
    properties.windows(8).any(|window| window == b"RabbitMQ") && matches!(major, Some(b'0'..=b'3'))
}

/// `open`: idle-time-out 4.
fn halve_idle_time_out(open: &Performative<'_>, bytes: &mut BytesMut) -> Result<(), Malformed> {
    let Some(idle_ms) = open.uint(4)?.filter(|idle_ms| *idle_ms > 0) else {
        return Ok(());
    };
    let period = (idle_ms / 2).clamp(1, LONGEST_IDLE_MS).to_be_bytes();
    if let Some(at) = open.offset_of(4) {
        match bytes.get_mut(at..at + open.field(4).len()) {
            Some([0x52, small]) => *small = period[3],
            Some([0x70, wide @ ..]) => wide.copy_from_slice(&period),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "inbound/tests.rs"]
mod tests;
