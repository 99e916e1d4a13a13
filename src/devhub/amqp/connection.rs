//! One connection: a state machine, and the loop that feeds it from the socket and empties it into the socket.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::attach::unauthorized;
use super::deliver::HIGH_WATER;
use super::link::{Feed, Guard, Link, Session, Window};
use super::performative::{Fault, Performative, condition, uint};
use super::token::{Grant, covers};
use super::{Endpoint, frame, sasl, within_handshake};
use crate::devhub::hub::{FaultState, Hub, add, subtract};
use crate::devhub::value::{DecodeError, Value, decode_described};

/// The greatest channel: bounds the sessions of a connection.
const MAX_CHANNEL: u16 = 63;

/// What the hub asks of clients, as Event Hubs does: something at least every four minutes.
const IDLE: Duration = Duration::from_secs(240);

/// The smallest frame that every peer has to take (OASIS AMQP 1.0, part 2, section 2.7.1).
const MIN_MAX_FRAME: usize = 512;

/// Input is read only while the output holds less than this: a client that does not read gets no more answers.
const MAX_OUT: usize = 2 * HIGH_WATER;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectionError {
    #[error("the socket failed: {0}")]
    Io(#[from] io::Error),
    #[error("the client is gone")]
    Gone,
    #[error("the client sent a frame that is none")]
    Framing,
    #[error("the client does not speak AMQP 1.0 with SASL")]
    Protocol,
    #[error("the client's credentials were refused")]
    Refused,
    #[error("the client took too long for the handshake or was silent")]
    TooSlow,
    #[error("the client sent what can't be decoded: {0}")]
    Decode(#[from] DecodeError),
    #[error("WebSocket: {0}")]
    WebSocket(String),
}

/// Counts a connection while it is open.
pub(super) struct Open(Hub);

impl Open {
    pub(super) fn count(hub: &Hub) -> Self {
        add(&hub.counters().connections);
        add(&hub.counters().open_connections);
        Self(hub.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        subtract(&self.0.counters().open_connections);
    }
}

/// The state of a connection after SASL.
pub(super) struct Connection {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) out: BytesMut,
    pub(super) sessions: BTreeMap<u16, Session>,
    /// What the tokens at `$cbs` allow.
    pub(super) grants: Vec<Grant>,
    /// Whether PLAIN showed the key.
    keyed: bool,
    /// The largest frame that the client takes.
    pub(super) max_frame: usize,
    /// Wakes the loop: a receiver was displaced.
    pub(super) wake: Arc<Notify>,
    /// Which outlet is served first.
    pub(super) turn: usize,
    opened: bool,
    closed: bool,
    /// How often the client wants to hear something, at least.
    heartbeat: Option<Duration>,
}

/// Speaks AMQP on a stream until it ends.
pub(super) async fn run<S>(endpoint: Arc<Endpoint>, mut stream: S) -> Result<(), ConnectionError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let mut input = BytesMut::with_capacity(16 * 1024);
    let negotiated = sasl::negotiate(&mut stream, &mut input, &endpoint);
    let keyed = within_handshake(negotiated).await??;
    let mut connection = Connection {
        endpoint,
        out: BytesMut::from(&sasl::AMQP_HEADER[..]),
        sessions: BTreeMap::new(),
        grants: Vec::new(),
        keyed,
        max_frame: frame::MAX_FRAME_BYTES,
        wake: Arc::new(Notify::new()),
        turn: 0,
        opened: false,
        closed: false,
        heartbeat: None,
    };
    connection.take_frames(&mut input);
    connection.drive(stream, input).await
}

impl Connection {
    /// The loop. Everything it waits for may be cancelled: reads and writes keep their progress in the buffers.
    async fn drive<S>(&mut self, stream: S, mut input: BytesMut) -> Result<(), ConnectionError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let hub = self.endpoint.hub.clone();
        let (mut faults, mut changes) = (hub.faults().watch(), hub.changes());
        let wake = Arc::clone(&self.wake);
        let mut heard = Instant::now();
        let mut spoke = heard;
        let mut unflushed = false;
        loop {
            let fault = *faults.borrow_and_update();
            changes.mark_unchanged();
            let mut due = None;
            if !fault.black_hole && !self.closed {
                self.check_links(fault);
                due = self.deliver(fault.stop_delivering);
            }
            unflushed |= !self.out.is_empty();
            if self.closed && !unflushed {
                return Ok(());
            }
            let silent = heard + IDLE;
            // While something waits to be written there is nothing to beat for, and a timer in the past would spin.
            let beat = self.heartbeat.filter(|_| !unflushed).map(|every| spoke + every);
            let expiry = self.expiry().filter(|_| !self.closed);
            let timer = [due, beat, expiry, Some(silent)];
            let timer = timer.into_iter().flatten().min().unwrap_or(silent);
            let readable = !fault.black_hole && !self.closed && self.out.len() < MAX_OUT;
            let writable = !fault.black_hole && unflushed;
            let hungry = self.hungry() && !fault.black_hole;
            tokio::select! {
                _ = faults.changed() => {}
                count = reader.read_buf(&mut input), if readable => {
                    if count? == 0 {
                        return Err(ConnectionError::Gone);
                    }
                    heard = Instant::now();
                    self.take_frames(&mut input);
                }
                written = flush(&mut writer, &mut self.out), if writable => {
                    written?;
                    spoke = Instant::now();
                    unflushed = false;
                }
                _ = changes.changed(), if hungry => {}
                () = wake.notified() => {}
                () = tokio::time::sleep_until(timer), if !fault.black_hole => {
                    let now = Instant::now();
                    if now >= silent {
                        return Err(ConnectionError::TooSlow);
                    }
                    if beat.is_some_and(|beat| now >= beat) {
                        frame::put_empty(&mut self.out);
                    }
                }
            }
        }
    }

    /// Applies all whole frames. What can't be read ends the connection with a close that says why.
    fn take_frames(&mut self, input: &mut BytesMut) {
        while !self.closed {
            let fault = match frame::take(input) {
                Ok(None) => return,
                Ok(Some(frame)) => match self.on_frame(frame) {
                    Ok(()) => continue,
                    Err(fault) => fault,
                },
                Err(error) => Fault::new(condition::FRAMING, error.to_string()),
            };
            self.close(Some(fault));
        }
    }

    fn on_frame(&mut self, frame: frame::Frame) -> Result<(), Fault> {
        let frame::Frame { channel, mut body } = frame;
        if body.is_empty() {
            return Ok(());
        }
        let (code, fields) = decode_described(&mut body)
            .map_err(|error| Fault::new(condition::DECODE, error.to_string()))?;
        let performative = Performative::from_code(code)
            .filter(|performative| self.opened != (*performative == Performative::Open))
            .ok_or_else(|| {
                Fault::new(
                    condition::NOT_ALLOWED,
                    format!("The performative 0x{code:02x} is not allowed here."),
                )
            })?;
        match performative {
            Performative::Open => self.on_open(&fields),
            Performative::Begin => return self.on_begin(channel, &fields),
            Performative::Attach => return self.on_attach(channel, &fields),
            Performative::Flow => return self.on_flow(channel, &fields),
            Performative::Transfer => return self.on_transfer(channel, &fields, &body),
            // An event hub keeps no state of deliveries.
            Performative::Disposition => {}
            Performative::Detach => return self.on_detach(channel, &fields),
            Performative::End => self.on_end(channel),
            Performative::Close => self.close(None),
        }
        Ok(())
    }

    fn on_open(&mut self, fields: &Value) {
        self.opened = true;
        let theirs = uint(fields.field(2)).and_then(|size| usize::try_from(size).ok());
        self.max_frame = theirs.unwrap_or(usize::MAX).clamp(MIN_MAX_FRAME, frame::MAX_FRAME_BYTES);
        self.heartbeat = uint(fields.field(4))
            .filter(|ms| *ms > 0)
            .map(|ms| Duration::from_millis(u64::from(ms)) / 2);
        let idle_ms = u32::try_from(IDLE.as_millis()).unwrap_or(u32::MAX);
        let max_frame = u32::try_from(frame::MAX_FRAME_BYTES).unwrap_or(u32::MAX);
        let reply = vec![
            Value::string("lastseen-devhub"),
            Value::Null,
            Value::Uint(max_frame),
            Value::Ushort(MAX_CHANNEL),
            Value::Uint(idle_ms),
            Value::Null,
            Value::Null,
            Value::Null,
            Value::Null,
            Value::Null,
        ];
        frame::put(&mut self.out, 0, Performative::Open, reply);
    }

    fn on_begin(&mut self, channel: u16, fields: &Value) -> Result<(), Fault> {
        if channel > MAX_CHANNEL || self.sessions.contains_key(&channel) {
            return Err(Fault::new(
                condition::NOT_ALLOWED,
                format!("The channel {channel} is in use or above {MAX_CHANNEL}."),
            ));
        }
        let window = Window::new(fields);
        window.put_begin(&mut self.out, channel);
        let links = BTreeMap::new();
        self.sessions.insert(channel, Session { window, links });
        Ok(())
    }

    /// The session of a channel; an error, which ends the connection, if there is none.
    pub(super) fn session(&mut self, channel: u16) -> Result<&mut Session, Fault> {
        self.sessions.get_mut(&channel).ok_or_else(|| {
            Fault::new(condition::NOT_ALLOWED, format!("There is no session on channel {channel}."))
        })
    }

    fn on_flow(&mut self, channel: u16, fields: &Value) -> Result<(), Fault> {
        let session = self.session(channel)?;
        session.window.update(fields);
        let handle = uint(fields.field(4));
        let mut answer = None;
        if let Some(handle) = handle
            && let Some(Link::Outlet(outlet)) = session.links.get_mut(&handle)
        {
            let counted = uint(fields.field(5)).unwrap_or(0);
            let granted = uint(fields.field(6)).unwrap_or(0);
            let credit = counted.wrapping_add(granted).wrapping_sub(outlet.delivery_count);
            // Beyond half the number space the client took back credit that is used up.
            outlet.credit = if credit > u32::MAX / 2 { 0 } else { credit };
            outlet.drain = fields.field(8) == &Value::Bool(true);
            answer = Some((handle, outlet.delivery_count, outlet.credit, outlet.drain));
        }
        if fields.field(9) == &Value::Bool(true) && (handle.is_none() || answer.is_some()) {
            let window = &self.sessions[&channel].window;
            window.put_flow(&mut self.out, channel, answer);
        }
        Ok(())
    }

    /// Answers a detach. One for a link that is not there answers ours.
    fn on_detach(&mut self, channel: u16, fields: &Value) -> Result<(), Fault> {
        let Some(handle) = uint(fields.field(0)) else {
            return Err(Fault::new(condition::DECODE, "A detach needs a handle."));
        };
        if self.session(channel)?.links.remove(&handle).is_some() {
            let closed = fields.field(1) == &Value::Bool(true);
            let reply = vec![Value::Uint(handle), Value::Bool(closed), Value::Null];
            frame::put(&mut self.out, channel, Performative::Detach, reply);
        }
        Ok(())
    }

    fn on_end(&mut self, channel: u16) {
        if self.sessions.remove(&channel).is_some() {
            frame::put(&mut self.out, channel, Performative::End, vec![Value::Null]);
        }
    }

    fn close(&mut self, fault: Option<Fault>) {
        let error = fault.map_or(Value::Null, Fault::value);
        frame::put(&mut self.out, 0, Performative::Close, vec![error]);
        self.sessions.clear();
        self.closed = true;
    }

    /// Whether the connection's credentials allow a link.
    pub(super) fn authorized(&self, guard: Guard<'_>) -> bool {
        match guard {
            Guard::Open => true,
            Guard::AnyToken => self.keyed || !self.grants.is_empty(),
            Guard::Path(path) => {
                self.keyed || self.grants.iter().any(|grant| covers(&grant.resource, path))
            }
        }
    }

    /// Detaches receivers that were displaced, and links whose token is gone.
    fn check_links(&mut self, fault: FaultState) {
        if fault.refuse_tokens {
            self.grants.clear();
            if self.keyed && self.opened {
                return self.close(Some(unauthorized("this connection")));
            }
        }
        let expired = self.expire_tokens(crate::clock::wall());
        let mut lost = Vec::new();
        for (channel, session) in &self.sessions {
            for (handle, link) in &session.links {
                let reason = stolen(link).or_else(|| {
                    let recheck = expired || fault.refuse_tokens;
                    (recheck && !self.authorized(link.guarded_path()))
                        .then(|| unauthorized("this link"))
                });
                lost.extend(reason.map(|reason| (*channel, *handle, reason)));
            }
        }
        for (channel, handle, reason) in lost {
            if let Some(session) = self.sessions.get_mut(&channel) {
                session.links.remove(&handle);
            }
            self.put_detach(channel, handle, reason);
        }
    }

    /// When the next token expires.
    fn expiry(&self) -> Option<Instant> {
        let first = self.grants.iter().map(|grant| grant.expires).min()?;
        let left_ms = first.since(crate::clock::wall()).max(0).unsigned_abs();
        // A token that outlives the idle time-out is looked at again then.
        Some(Instant::now() + Duration::from_millis(left_ms).min(IDLE))
    }
}

fn stolen(link: &Link) -> Option<Fault> {
    match link {
        Link::Outlet(outlet) => match &outlet.feed {
            Feed::Partition(reader) => reader.seat.stolen(),
            Feed::Replies { .. } => None,
        },
        Link::Inlet(_) => None,
    }
}

async fn flush<W>(writer: &mut W, out: &mut BytesMut) -> io::Result<()>
where
    W: AsyncWrite + Unpin,
{
    writer.write_all_buf(out).await?;
    writer.flush().await
}
