//! Sessions and links as plain state.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};

use super::address::Node;
use super::performative::{Performative, uint};
use super::seats::Seat;
use super::{Endpoint, frame};
use crate::devhub::value::Value;

/// Transfers that a session takes before it has to renew the window.
const INCOMING_WINDOW: u32 = 5_000;

/// Deliveries that a producer may send before the hub renews the credit.
pub(super) const INLET_CREDIT: u32 = 1_000;

/// Most replies that wait for a client's credit.
pub(super) const MAX_REPLIES: usize = 256;

/// A session: windows and links. Both ends use the same channel and the same handles.
pub(super) struct Session {
    pub(super) window: Window,
    pub(super) links: BTreeMap<u32, Link>,
}

/// The transfer windows of a session (OASIS AMQP 1.0, part 2, section 2.5.6).
pub(super) struct Window {
    next_incoming: u32,
    next_outgoing: u32,
    /// How many more transfers the client takes.
    pub(super) room: u32,
    next_delivery: u32,
    received: u32,
}

impl Window {
    pub(super) fn new(begin: &Value) -> Self {
        Self {
            next_incoming: uint(begin.field(1)).unwrap_or(0),
            next_outgoing: 0,
            room: uint(begin.field(2)).unwrap_or(0),
            next_delivery: 0,
            received: 0,
        }
    }

    /// What the client says about its window.
    pub(super) fn update(&mut self, flow: &Value) {
        let next_incoming = uint(flow.field(0)).unwrap_or(0);
        let window = uint(flow.field(1)).unwrap_or(0);
        let limit = next_incoming.wrapping_add(window);
        let room = limit.wrapping_sub(self.next_outgoing);
        // Beyond half the number space the limit is behind what was sent: the client has shrunk its window.
        self.room = if room > u32::MAX / 2 { 0 } else { room };
    }

    /// Counts an incoming transfer; true if the window has to be renewed.
    pub(super) fn on_transfer(&mut self) -> bool {
        self.next_incoming = self.next_incoming.wrapping_add(1);
        self.received += 1;
        let renew = self.received >= INCOMING_WINDOW / 2;
        if renew {
            self.received = 0;
        }
        renew
    }

    /// The id of the next delivery.
    pub(super) fn next_delivery(&mut self) -> u32 {
        let id = self.next_delivery;
        self.next_delivery = id.wrapping_add(1);
        id
    }

    /// Counts a sent transfer frame.
    pub(super) fn sent(&mut self) {
        self.next_outgoing = self.next_outgoing.wrapping_add(1);
        self.room = self.room.saturating_sub(1);
    }

    /// The answer to a begin.
    pub(super) fn put_begin(&self, out: &mut BytesMut, channel: u16) {
        let fields = vec![
            Value::Ushort(channel),
            Value::Uint(self.next_outgoing),
            Value::Uint(INCOMING_WINDOW),
            Value::Uint(u32::MAX / 2),
            Value::Uint(super::attach::MAX_HANDLE),
            Value::Null,
            Value::Null,
            Value::Null,
        ];
        frame::put(out, channel, Performative::Begin, fields);
    }

    /// A flow; of a link if `link` is given: handle, delivery count, credit, drain.
    pub(super) fn put_flow(
        &self,
        out: &mut BytesMut,
        channel: u16,
        link: Option<(u32, u32, u32, bool)>,
    ) {
        let mut fields = vec![
            Value::Uint(self.next_incoming),
            Value::Uint(INCOMING_WINDOW - self.received),
            Value::Uint(self.next_outgoing),
            Value::Uint(u32::MAX / 2),
        ];
        match link {
            Some((handle, delivery_count, credit, drain)) => fields.extend([
                Value::Uint(handle),
                Value::Uint(delivery_count),
                Value::Uint(credit),
                Value::Null,
                Value::Bool(drain),
                Value::Bool(false),
                Value::Null,
            ]),
            None => fields.resize(11, Value::Null),
        }
        frame::put(out, channel, Performative::Flow, fields);
    }
}

/// A link, seen from the hub.
pub(super) enum Link {
    /// The hub sends.
    Outlet(Outlet),
    /// The hub receives.
    Inlet(Inlet),
}

impl Link {
    /// The path that a token has to cover for this link; `None`: any token, or none at all.
    pub(super) fn guarded_path(&self) -> Guard<'_> {
        match self {
            Self::Outlet(Outlet { feed: Feed::Partition(_), path, .. }) => Guard::Path(path),
            Self::Outlet(Outlet { feed: Feed::Replies { node, .. }, .. })
            | Self::Inlet(Inlet { node, .. }) => guard(node, self.path()),
        }
    }

    fn path(&self) -> &str {
        match self {
            Self::Outlet(outlet) => &outlet.path,
            Self::Inlet(inlet) => &inlet.path,
        }
    }
}

/// Which tokens allow a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guard<'a> {
    /// None is needed: that is where tokens are put.
    Open,
    /// Any valid one.
    AnyToken,
    /// One for this path or one above it.
    Path(&'a str),
}

pub(super) fn guard<'a>(node: &Node, path: &'a str) -> Guard<'a> {
    match node {
        Node::Cbs => Guard::Open,
        Node::Management => Guard::AnyToken,
        Node::Partition { .. } | Node::Entity { .. } | Node::Events { .. } => Guard::Path(path),
    }
}

/// A link on which the hub sends.
pub(super) struct Outlet {
    pub(super) name: String,
    /// The path of its source.
    pub(super) path: String,
    /// The address of its target, which requests name in `reply-to`.
    pub(super) target: Option<String>,
    pub(super) credit: u32,
    pub(super) delivery_count: u32,
    pub(super) drain: bool,
    pub(super) settled: bool,
    pub(super) feed: Feed,
}

/// What an outlet sends.
pub(super) enum Feed {
    Partition(Reader),
    Replies { node: Node, queue: VecDeque<Bytes> },
}

/// A partition receiver.
pub(super) struct Reader {
    pub(super) partition: usize,
    /// The next sequence number.
    pub(super) next: i64,
    /// Whether the runtime metric is wanted.
    pub(super) metrics: bool,
    pub(super) seat: Seat,
    _open: OpenReceiver,
}

impl Reader {
    pub(super) fn new(
        endpoint: &Endpoint,
        partition: usize,
        next: i64,
        metrics: bool,
        seat: Seat,
    ) -> Self {
        Self { partition, next, metrics, seat, _open: OpenReceiver::count(endpoint) }
    }
}

/// Counts a receiver while it is attached.
struct OpenReceiver(crate::devhub::hub::Hub);

impl OpenReceiver {
    fn count(endpoint: &Endpoint) -> Self {
        let counters = endpoint.hub.counters();
        crate::devhub::hub::add(&counters.receivers);
        crate::devhub::hub::add(&counters.open_receivers);
        Self(endpoint.hub.clone())
    }
}

impl Drop for OpenReceiver {
    fn drop(&mut self) {
        crate::devhub::hub::subtract(&self.0.counters().open_receivers);
    }
}

/// A link on which the hub receives.
pub(super) struct Inlet {
    pub(super) node: Node,
    /// The path of its target.
    pub(super) path: String,
    pub(super) delivery_count: u32,
    /// Deliveries since the credit was renewed.
    pub(super) used: u32,
    pub(super) partial: Option<Partial>,
}

/// A delivery that is not complete.
pub(super) struct Partial {
    pub(super) id: u32,
    pub(super) format: u32,
    pub(super) settled: bool,
    pub(super) payload: BytesMut,
}
