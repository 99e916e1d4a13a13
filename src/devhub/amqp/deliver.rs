//! Sending: replies and partitions, as far as credit and windows reach.

use bytes::{BufMut, Bytes, BytesMut};
use tokio::time::Instant;

use super::connection::Connection;
use super::frame;
use super::link::{Feed, Link, Outlet, Reader, Window};
use super::performative::Performative;
use crate::devhub::hub::{Hub, Record, add_many};
use crate::devhub::value::{Value, put_described};

/// Nothing more is put into the output while it holds this much.
pub(super) const HIGH_WATER: usize = 256 * 1024;

/// Messages taken from a partition at a time.
const CHUNK: u32 = 256;

/// Room that a frame's header and the transfer performative take, rounded up.
const TRANSFER_OVERHEAD: usize = 96;

const DELIVERY_ANNOTATIONS: u64 = 0x71;

impl Connection {
    /// Writes what can be sent into the output. Returns when something becomes visible that waits for its route.
    /// Receivers take turns, so that none starves another.
    pub(super) fn deliver(&mut self, stopped: bool) -> Option<Instant> {
        let mut order: Vec<(u16, u32)> = self
            .sessions
            .iter()
            .flat_map(|(channel, session)| session.links.keys().map(|handle| (*channel, *handle)))
            .collect();
        if order.is_empty() {
            return None;
        }
        self.turn = (self.turn + 1) % order.len();
        order.rotate_left(self.turn);
        let mut due = None;
        for (channel, handle) in order {
            if self.out.len() >= HIGH_WATER {
                break;
            }
            let Some(session) = self.sessions.get_mut(&channel) else {
                continue;
            };
            let Some(Link::Outlet(outlet)) = session.links.get_mut(&handle) else {
                continue;
            };
            let mut sender = Sender {
                out: &mut self.out,
                window: &mut session.window,
                max_frame: self.max_frame,
                channel,
                handle,
            };
            let later = sender.pump(outlet, &self.endpoint.hub, stopped);
            due = [due, later].into_iter().flatten().min();
        }
        due
    }

    /// Whether a message that is appended could be sent at once.
    pub(super) fn hungry(&self) -> bool {
        self.out.len() < HIGH_WATER
            && self.sessions.values().any(|session| {
                session.window.room > 0
                    && session.links.values().any(|link| match link {
                        Link::Outlet(outlet) => {
                            outlet.credit > 0 && matches!(outlet.feed, Feed::Partition(_))
                        }
                        Link::Inlet(_) => false,
                    })
            })
    }
}

/// Writes the deliveries of one link.
struct Sender<'a> {
    out: &'a mut BytesMut,
    window: &'a mut Window,
    max_frame: usize,
    channel: u16,
    handle: u32,
}

impl Sender<'_> {
    fn pump(&mut self, outlet: &mut Outlet, hub: &Hub, stopped: bool) -> Option<Instant> {
        let mut due = None;
        let exhausted = match &mut outlet.feed {
            Feed::Replies { .. } => self.replies(outlet),
            Feed::Partition(_) if stopped => true,
            Feed::Partition(reader) => {
                let settled = outlet.settled;
                let before = outlet.credit;
                let exhausted = self.partition(reader, &mut outlet.credit, settled, hub, &mut due);
                let sent = before - outlet.credit;
                outlet.delivery_count = outlet.delivery_count.wrapping_add(sent);
                add_many(&hub.counters().delivered, u64::from(sent));
                exhausted
            }
        };
        if outlet.drain && (exhausted || outlet.credit == 0) {
            outlet.drain = false;
            outlet.delivery_count = outlet.delivery_count.wrapping_add(outlet.credit);
            outlet.credit = 0;
            let link = Some((self.handle, outlet.delivery_count, 0, true));
            self.window.put_flow(self.out, self.channel, link);
        }
        due
    }

    /// True if no reply waits.
    fn replies(&mut self, outlet: &mut Outlet) -> bool {
        let Feed::Replies { queue, .. } = &mut outlet.feed else {
            return true;
        };
        while outlet.credit > 0 {
            let Some(reply) = queue.front() else {
                return true;
            };
            if !self.delivery(&[], reply, outlet.settled) {
                return false;
            }
            queue.pop_front();
            outlet.credit -= 1;
            outlet.delivery_count = outlet.delivery_count.wrapping_add(1);
        }
        queue.is_empty()
    }

    /// True if the partition has nothing more to send.
    fn partition(
        &mut self,
        reader: &mut Reader,
        credit: &mut u32,
        settled: bool,
        hub: &Hub,
        due: &mut Option<Instant>,
    ) -> bool {
        let mut records: Vec<Record> = Vec::new();
        while *credit > 0 && self.out.len() < HIGH_WATER {
            records.clear();
            let max = usize::try_from(CHUNK.min(*credit)).unwrap_or(1);
            *due = hub.read(reader.partition, reader.next, max, &mut records).unwrap_or(None);
            if records.is_empty() {
                return true;
            }
            let metrics = runtime_metrics(reader, hub);
            for record in &records {
                if self.out.len() >= HIGH_WATER
                    || !self.delivery(&metrics, &record.encoded, settled)
                {
                    return false;
                }
                reader.next = record.sequence + 1;
                *credit -= 1;
            }
        }
        false
    }

    /// Writes one delivery, in as many frames as it needs; false if the session's window is too small for it.
    fn delivery(&mut self, prefix: &[u8], message: &Bytes, settled: bool) -> bool {
        let room = self.max_frame - TRANSFER_OVERHEAD;
        let frames = (prefix.len() + message.len()).div_ceil(room).max(1);
        if usize::try_from(self.window.room).unwrap_or(usize::MAX) < frames {
            return false;
        }
        let id = self.window.next_delivery();
        if frames == 1 {
            self.transfer(id, settled, false, &[prefix, message]);
            return true;
        }
        let whole = [prefix, message].concat();
        let mut chunks = whole.chunks(room).peekable();
        while let Some(chunk) = chunks.next() {
            self.transfer(id, settled, chunks.peek().is_some(), &[chunk]);
        }
        true
    }

    fn transfer(&mut self, id: u32, settled: bool, more: bool, payload: &[&[u8]]) {
        let start = frame::begin(self.out, self.channel);
        let fields = vec![
            Value::Uint(self.handle),
            Value::Uint(id),
            Value::Binary(Bytes::copy_from_slice(&id.to_be_bytes())),
            Value::Uint(0),
            Value::Bool(settled),
            Value::Bool(more),
            Value::Null,
            Value::Null,
            Value::Bool(false),
            Value::Bool(false),
            Value::Bool(false),
        ];
        put_described(self.out, Performative::Transfer.code(), &Value::List(fields));
        for part in payload {
            self.out.put_slice(part);
        }
        frame::end(self.out, start);
        self.window.sent();
    }
}

/// The delivery-annotations section that tells how far the partition reaches; empty if it is not wanted.
fn runtime_metrics(reader: &Reader, hub: &Hub) -> BytesMut {
    let mut out = BytesMut::new();
    if !reader.metrics {
        return out;
    }
    let Ok(info) = hub.partition_info(reader.partition) else {
        return out;
    };
    let entries = [
        ("last_enqueued_sequence_number", Value::Long(info.last_sequence)),
        ("last_enqueued_offset", Value::String(info.last_offset)),
        ("last_enqueued_time_utc", Value::Timestamp(info.last_appended.as_ms())),
        ("runtime_info_retrieval_time_utc", Value::Timestamp(crate::clock::wall().as_ms())),
    ];
    let entries = entries.map(|(name, value)| (Value::symbol(name), value));
    put_described(&mut out, DELIVERY_ANNOTATIONS, &Value::Map(entries.into()));
    out
}
