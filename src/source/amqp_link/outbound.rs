//! PURE. The frames that go to the peer. Two fields of them are corrected: the frame size announced in `open` leaves room for
//! the Data section that [`super::inbound`] puts in front of a message; and the `flow` of a data link counts what drains have
//! skipped, and grants less credit than the client believes it granted ([`CREDIT_SLACK`]).

use std::collections::HashMap;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::encoding::{Malformed, Performative};
use super::inbound::{DATA_LINK_PREFIX, DATA_SECTION_BYTES};

/// What the client believes it granted beyond what is announced. RabbitMQ before 4.0 sets a queue's credit while messages
/// sent on the former credit are under way, and so sends more than it was granted; the client ends such a link.
pub const CREDIT_SLACK: u32 = 10_000;

/// Takes bytes from the client, gives bytes for the peer.
#[derive(Debug, Default)]
pub(super) struct Outbound {
    raw: BytesMut,
    ready: BytesMut,
    /// Our data links by channel and handle.
    links: HashMap<(u16, u32), String>,
}

impl Outbound {
    /// What may be sent to the peer.
    pub(super) fn ready(&mut self) -> &mut BytesMut {
        &mut self.ready
    }

    /// Takes what the client wrote and makes every whole frame of it ready. `skipped` is asked for the delivery numbers that
    /// drains of the named link have skipped.
    pub(super) fn push(
        &mut self,
        bytes: &[u8],
        skipped: impl Fn(&str) -> u32,
    ) -> Result<(), Malformed> {
        self.raw.extend_from_slice(bytes);
        while self.raw.len() >= 8 {
            if self.raw.starts_with(b"AMQP") {
                self.ready.put(self.raw.split_to(8));
                continue;
            }
            let size = self.raw.get(..4).map_or(0, |mut size| size.get_u32()) as usize;
            if size < 8 {
                return Err(Malformed("a frame of our own without a header"));
            }
            if self.raw.len() < size {
                break;
            }
            let frame = self.raw.split_to(size).freeze();
            self.frame(frame, &skipped)?;
        }
        Ok(())
    }

    fn frame(&mut self, frame: Bytes, skipped: &impl Fn(&str) -> u32) -> Result<(), Malformed> {
        let (kind, channel) = (frame[5], u16::from_be_bytes([frame[6], frame[7]]));
        let body = &frame[8..];
        if kind != 0 || body.is_empty() {
            self.ready.put(frame);
            return Ok(());
        }
        let performative = Performative::parse(body)?;
        match performative.code {
            0x10 => return self.open(&frame, &performative),
            0x12 => self.attach(channel, &performative)?,
            0x13 => {
                let link =
                    performative.uint(4)?.and_then(|handle| self.links.get(&(channel, handle)));
                if let Some(name) = link {
                    let skipped = skipped(name);
                    return self.flow(channel, &performative, skipped);
                }
            }
            0x16 => drop(self.links.remove(&(channel, performative.uint(0)?.unwrap_or_default()))),
            0x17 => self.links.retain(|key, _| key.0 != channel),
            _ => {}
        }
        self.ready.put(frame);
        Ok(())
    }

    /// `open`: max-frame-size 2.
    fn open(&mut self, frame: &Bytes, open: &Performative<'_>) -> Result<(), Malformed> {
        let mut bytes = BytesMut::from(&frame[..]);
        let room = u32::try_from(2 * DATA_SECTION_BYTES).unwrap_or(u32::MAX);
        if let (Some(size), Some(at)) = (open.uint(2)?, open.offset_of(2))
            && let Some([0x70, wide @ ..]) = bytes.get_mut(8 + at..8 + at + 5)
        {
            wide.copy_from_slice(&size.saturating_sub(room).to_be_bytes());
        }
        self.ready.put(bytes);
        Ok(())
    }

    /// `attach`: name 0, handle 1, role 2.
    fn attach(&mut self, channel: u16, attach: &Performative<'_>) -> Result<(), Malformed> {
        let name = attach.text(0)?;
        if attach.flag(2)? && name.starts_with(DATA_LINK_PREFIX.as_bytes()) {
            let handle = attach.uint(1)?.unwrap_or_default();
            let name = String::from_utf8_lossy(name).into_owned();
            self.links.insert((channel, handle), name);
        }
        Ok(())
    }

    /// `flow`: delivery-count 5, link-credit 6; ten fields without properties, which we don't send.
    fn flow(
        &mut self,
        channel: u16,
        flow: &Performative<'_>,
        skipped: u32,
    ) -> Result<(), Malformed> {
        let mut fields = BytesMut::new();
        for index in 0..10 {
            let corrected = match index {
                5 => flow.uint(5)?.map(|count| count.wrapping_add(skipped)),
                6 => flow.uint(6)?.map(|credit| credit.saturating_sub(CREDIT_SLACK)),
                _ => None,
            };
            match corrected {
                Some(number) => {
                    fields.put_u8(0x70);
                    fields.put_u32(number);
                }
                None => fields.put_slice(flow.field(index)),
            }
        }
        let size = u8::try_from(fields.len() + 1).map_err(|_| Malformed("a flow too long"))?;
        self.ready.put_u32(14 + u32::from(size) - 1);
        self.ready.put_slice(&[2, 0]);
        self.ready.put_u16(channel);
        self.ready.put_slice(&[0x00, 0x53, 0x13, 0xc0, size, 10]);
        self.ready.put(fields);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(body: &[u8]) -> Vec<u8> {
        let mut frame = u32::try_from(body.len() + 8).unwrap().to_be_bytes().to_vec();
        frame.extend([2, 0, 0, 0]);
        frame.extend(body);
        frame
    }

    #[test]
    fn the_announced_frame_size_leaves_room_for_a_data_section() {
        let mut outbound = Outbound::default();
        let mut bytes = b"AMQP\0\x01\0\0".to_vec();
        bytes.extend(frame(&[
            0x00, 0x53, 0x10, 0xc0, 10, 3, 0xa1, 1, b'c', 0x40, 0x70, 0, 0x10, 0, 0,
        ]));
        for byte in &bytes {
            outbound.push(&[*byte], |_| 0).unwrap();
        }
        let sent = outbound.ready().split();
        assert_eq!(sent.len(), bytes.len());
        assert_eq!(sent[sent.len() - 4..], (0x0010_0000_u32 - 16).to_be_bytes());
    }

    #[test]
    fn a_flow_of_a_drained_data_link_counts_what_was_skipped() {
        let mut outbound = Outbound::default();
        let name = b"lastseen-data-q";
        let mut attach = vec![0x00, 0x53, 0x12, 0xc0, 20, 3, 0xa1, 15];
        attach.extend(name);
        attach.extend([0x43, 0x41]);
        outbound.push(&frame(&attach), |_| 0).unwrap();
        outbound.ready().clear();
        let flow = [
            0x00, 0x53, 0x13, 0xc0, 11, 10, 0x43, 0x52, 9, 0x43, 0x43, 0x43, 0x43, 0x43, 0x40,
            0x42, 0x42,
        ];
        let flow = &flow[..];
        let mut sized = flow.to_vec();
        sized[4] = u8::try_from(flow.len() - 5).unwrap();
        outbound
            .push(&frame(&sized), |link| {
                assert_eq!(link, "lastseen-data-q");
                5
            })
            .unwrap();
        let sent = outbound.ready().split();
        assert_eq!(sent.len(), u32::from_be_bytes(sent[..4].try_into().unwrap()) as usize);
        let performative = Performative::parse(&sent[8..]).unwrap();
        assert_eq!(performative.uint(5), Ok(Some(5)));
        assert_eq!(performative.uint(1), Ok(Some(9)));
        assert_eq!(performative.flag(8), Ok(false));
    }
}
