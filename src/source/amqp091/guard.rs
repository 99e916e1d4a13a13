//! PURE. The guard in front of the client library: sees every frame the broker sends before the library does.
//!
//! The library decodes nested values by recursion and ends the process when the stack is full, and it closes the
//! connection on anything that it can't decode. So: a message with such a header is rewritten into one with a marker
//! (see [`content`]), and of the methods only those that a broker sends to a consumer are let through, none of which
//! but `connection.start` holds a table.
//!
//! [`content`]: super::content

use std::collections::BTreeMap;

use super::content;
use super::table::{self, Reader};
use crate::wire::RejectReason;

/// The largest frame, its eight octets of envelope included: the most we agree to in the handshake, and RabbitMQ's default.
pub(super) const MAX_FRAME_BYTES: usize = 131_072;
/// Octets in front of a payload: type, channel, size.
pub(super) const PREFIX_BYTES: usize = 7;
/// The octet behind a payload.
pub(super) const FRAME_END: u8 = 0xCE;
/// The most channels with content: an attachment opens a few, one after the other.
const MAX_CHANNELS: usize = 16;

const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const HEARTBEAT: u8 = 8;

/// What is done with a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    /// The library is given it as it is.
    AsItIs,
    /// The library is given this payload.
    Replaced(Vec<u8>),
    /// The library never sees it.
    Dropped,
}

/// The broker sent what no broker sends to a consumer: the connection is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Breach {
    /// Larger than [`MAX_FRAME_BYTES`].
    #[error("the broker sent a frame of {0} bytes, more than the 131072 that were agreed")]
    FrameTooLarge(usize),
    /// No frame end octet.
    #[error("the broker sent a frame without its end mark")]
    NoFrameEnd,
    /// No AMQP 0-9-1.
    #[error("the peer does not speak AMQP 0-9-1: check host and port")]
    OtherProtocol,
    /// A method that a consumer isn't sent.
    #[error("the broker sent the method {0}.{1}, which a consumer does not expect")]
    Method(u16, u16),
    /// A method whose fields can't be read.
    #[error("the broker sent a broken method {0}.{1}")]
    BrokenMethod(u16, u16),
    /// A header or body where none is due.
    #[error("the broker sent content that is out of order")]
    Content,
    /// Content on more channels than we open.
    #[error("the broker sent content on more channels than are open")]
    Channels,
}

/// What is due next on a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    /// A content header.
    Header { condemned: Option<RejectReason> },
    /// This many octets of body.
    Body { left: u64, drop: bool },
}

/// The state of one connection.
#[derive(Debug, Default)]
pub(super) struct Guard {
    /// Channels in the middle of a message.
    due: BTreeMap<u16, Due>,
}

/// The payload's size by the first [`PREFIX_BYTES`] octets of a frame.
pub(super) fn payload_bytes(prefix: [u8; PREFIX_BYTES]) -> Result<usize, Breach> {
    let [kind, _, _, size @ ..] = prefix;
    if !matches!(kind, METHOD | HEADER | BODY | HEARTBEAT) {
        return Err(Breach::OtherProtocol);
    }
    let size = usize::try_from(u32::from_be_bytes(size)).unwrap_or(usize::MAX);
    let frame_bytes = size.saturating_add(PREFIX_BYTES + 1);
    if frame_bytes > MAX_FRAME_BYTES {
        return Err(Breach::FrameTooLarge(frame_bytes));
    }
    Ok(size)
}

impl Guard {
    /// Judges a frame by its first octets and its payload.
    pub(super) fn judge(
        &mut self,
        prefix: [u8; PREFIX_BYTES],
        payload: &[u8],
    ) -> Result<Pass, Breach> {
        let [kind, high, low, ..] = prefix;
        let channel = u16::from_be_bytes([high, low]);
        match kind {
            METHOD => self.method(channel, payload),
            HEADER => self.header(channel, payload),
            BODY => self.body(channel, payload.len()),
            HEARTBEAT => Ok(Pass::AsItIs),
            _ => Err(Breach::OtherProtocol),
        }
    }

    fn method(&mut self, channel: u16, payload: &[u8]) -> Result<Pass, Breach> {
        let mut reader = Reader(payload);
        let (Some(class), Some(method)) = (reader.short(), reader.short()) else {
            return Err(Breach::BrokenMethod(0, 0));
        };
        let broken = Breach::BrokenMethod(class, method);
        match (class, method) {
            // connection.start: versions, then the broker's properties.
            (10, 10) => {
                reader.take(2).ok_or(broken)?;
                let properties = reader.long_bytes_with_length().ok_or(broken)?;
                table::check(properties).map_err(|_| broken)?;
                Ok(Pass::AsItIs)
            }
            // connection: secure, tune, open-ok, close, close-ok, blocked, unblocked.
            (10, 20 | 30 | 41 | 50 | 51 | 60 | 61)
            // queue: declare-ok.
            | (50, 11)
            // basic: qos-ok, consume-ok, cancel, cancel-ok.
            | (60, 11 | 21 | 30 | 31) => Ok(Pass::AsItIs),
            // channel: open-ok, flow, flow-ok, close, close-ok. No content survives them.
            (20, 11 | 20 | 21 | 40 | 41) => {
                if !matches!(method, 20 | 21) {
                    self.due.remove(&channel);
                }
                Ok(Pass::AsItIs)
            }
            (60, 60) => self.deliver(channel, payload),
            _ => Err(Breach::Method(class, method)),
        }
    }

    /// `basic.deliver`: a publisher may choose any bytes as routing key; the library takes only UTF-8.
    fn deliver(&mut self, channel: u16, payload: &[u8]) -> Result<Pass, Breach> {
        if self.due.contains_key(&channel) {
            return Err(Breach::Content);
        }
        if self.due.len() >= MAX_CHANNELS {
            return Err(Breach::Channels);
        }
        let broken = Breach::BrokenMethod(60, 60);
        let mut reader = Reader(payload);
        let mut names = || {
            reader.take(4)?; // class, method
            reader.short_text()?; // consumer tag: our own
            reader.take(9)?; // delivery tag, redelivered
            let fixed = payload.len() - reader.0.len();
            let exchange = reader.short_bytes()?;
            let routing_key = reader.short_bytes()?;
            reader.0.is_empty().then_some((fixed, exchange, routing_key))
        };
        let (fixed, exchange, routing_key) = names().ok_or(broken)?;
        let readable = [exchange, routing_key].iter().all(|name| std::str::from_utf8(name).is_ok());
        let condemned = (!readable).then_some(RejectReason::Malformed);
        self.due.insert(channel, Due::Header { condemned });
        if readable {
            return Ok(Pass::AsItIs);
        }
        let nameless = [payload.get(..fixed).ok_or(broken)?, &[0, 0]].concat();
        Ok(Pass::Replaced(nameless))
    }

    fn header(&mut self, channel: u16, payload: &[u8]) -> Result<Pass, Breach> {
        let Some(Due::Header { condemned }) = self.due.remove(&channel) else {
            return Err(Breach::Content);
        };
        let content = content::inspect(payload, condemned).ok_or(Breach::Content)?;
        if content.body_bytes > 0 {
            let due = Due::Body { left: content.body_bytes, drop: content.drop_body };
            self.due.insert(channel, due);
        }
        Ok(content.replaced.map_or(Pass::AsItIs, Pass::Replaced))
    }

    fn body(&mut self, channel: u16, bytes: usize) -> Result<Pass, Breach> {
        let Some(Due::Body { left, drop }) = self.due.remove(&channel) else {
            return Err(Breach::Content);
        };
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let left = left.checked_sub(bytes).ok_or(Breach::Content)?;
        if left > 0 {
            self.due.insert(channel, Due::Body { left, drop });
        }
        Ok(if drop { Pass::Dropped } else { Pass::AsItIs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::amqp091::content::MAX_BODY_BYTES;
    use crate::source::amqp091::content::tests::header;
    use crate::source::amqp091::table::tests::nested;
    use lapin::protocol::basic;
    use proptest::prelude::*;

    const ON_CHANNEL_1: fn(u8) -> [u8; 7] = |kind| [kind, 0, 1, 0, 0, 0, 0];

    fn deliver(routing_key: &[u8]) -> Vec<u8> {
        let mut payload = vec![0, 60, 0, 60, 1, b't', 0, 0, 0, 0, 0, 0, 0, 5, 0, 0];
        payload.push(u8::try_from(routing_key.len()).expect("a short key"));
        payload.extend(routing_key);
        payload
    }

    #[test]
    fn an_ordinary_message_passes_as_it_is() {
        let mut guard = Guard::default();
        for (kind, payload) in [
            (METHOD, deliver(b"key")),
            (HEADER, header(5, b"\x01nV")),
            (BODY, b"he".to_vec()),
            (BODY, b"llo".to_vec()),
            (METHOD, deliver(b"key")),
            (HEADER, header(0, b"")),
            (HEARTBEAT, Vec::new()),
        ] {
            let pass = guard.judge(ON_CHANNEL_1(kind), &payload);
            assert_eq!(pass, Ok(Pass::AsItIs), "{kind} {payload:?}");
        }
    }

    #[test]
    fn a_hostile_header_is_replaced_and_its_body_passed_on() {
        let mut guard = Guard::default();
        guard.judge(ON_CHANNEL_1(METHOD), &deliver(b"")).expect("a delivery");
        let pass = guard.judge(ON_CHANNEL_1(HEADER), &header(2, &nested(1_700)));
        assert!(matches!(pass, Ok(Pass::Replaced(_))), "{pass:?}");
        assert_eq!(guard.judge(ON_CHANNEL_1(BODY), b"hi"), Ok(Pass::AsItIs));
    }

    #[test]
    fn a_body_above_the_cap_is_dropped_frame_by_frame() {
        let mut guard = Guard::default();
        guard.judge(ON_CHANNEL_1(METHOD), &deliver(b"")).expect("a delivery");
        guard
            .judge(ON_CHANNEL_1(HEADER), &header(MAX_BODY_BYTES + 2, b""))
            .expect("a content header");
        let piece = vec![0; 1 << 16];
        for _ in 0..16 {
            assert_eq!(guard.judge(ON_CHANNEL_1(BODY), &piece), Ok(Pass::Dropped));
        }
        assert_eq!(guard.judge(ON_CHANNEL_1(BODY), b"zz"), Ok(Pass::Dropped));
        assert_eq!(guard.judge(ON_CHANNEL_1(BODY), b"z"), Err(Breach::Content));
    }

    #[test]
    fn a_routing_key_that_is_no_text_is_left_out_and_the_message_quarantined() {
        let mut guard = Guard::default();
        let Ok(Pass::Replaced(payload)) = guard.judge(ON_CHANNEL_1(METHOD), &deliver(b"\xff\xfe"))
        else {
            panic!("the delivery is not replaced");
        };
        let (rest, delivery) = basic::parse_deliver(&payload[4..]).expect("a decodable method");
        assert!(rest.is_empty());
        assert_eq!((delivery.delivery_tag, delivery.routing_key.as_str()), (5, ""));
        let pass = guard.judge(ON_CHANNEL_1(HEADER), &header(0, b""));
        assert!(matches!(pass, Ok(Pass::Replaced(_))), "{pass:?}");
    }

    #[test]
    fn what_no_broker_sends_to_a_consumer_is_a_breach() {
        let mut guard = Guard::default();
        let queue_declare = [0, 50, 0, 10, 0, 0];
        assert_eq!(guard.judge(ON_CHANNEL_1(METHOD), &queue_declare), Err(Breach::Method(50, 10)));
        assert_eq!(guard.judge(ON_CHANNEL_1(BODY), b""), Err(Breach::Content));
        assert_eq!(guard.judge(ON_CHANNEL_1(HEADER), &header(0, b"")), Err(Breach::Content));
        let mut start = vec![0, 10, 0, 10, 0, 9];
        let properties = nested(300);
        start.extend(u32::try_from(properties.len()).expect("small").to_be_bytes());
        start.extend(properties);
        assert_eq!(
            guard.judge([METHOD, 0, 0, 0, 0, 0, 0], &start),
            Err(Breach::BrokenMethod(10, 10))
        );
        assert_eq!(payload_bytes(*b"AMQP\0\0\x09"), Err(Breach::OtherProtocol));
        assert_eq!(payload_bytes([METHOD, 0, 0, 0, 2, 0, 0]), Err(Breach::FrameTooLarge(131_080)));
    }

    proptest! {
        #[test]
        fn no_sequence_of_frames_panics_or_grows(
            frames in proptest::collection::vec(
                (prop_oneof![Just(METHOD), Just(HEADER), Just(BODY), any::<u8>()],
                 0_u8..40,
                 prop_oneof![
                    Just(deliver(b"k")), Just(header(3, b"")), Just(header(3, &nested(40))),
                    proptest::collection::vec(any::<u8>(), 0..20)]),
                0..60)
        ) {
            let mut guard = Guard::default();
            for (kind, channel, payload) in frames {
                let _ = guard.judge([kind, 0, channel, 0, 0, 0, 0], &payload);
                prop_assert!(guard.due.len() <= MAX_CHANNELS);
            }
        }
    }
}
