//! A client that speaks in frames.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::super::frame;
use super::super::message::Message;
use super::super::performative::{Performative, SOURCE, TARGET, described, inside};
use crate::devhub::value::{Value, decode_described, put_described};

/// How long the hub may take for anything.
const DEADLINE: Duration = Duration::from_secs(30);

/// What the client asks for: something at least that often.
const IDLE_MS: u32 = 1_000;

/// An attach as a client sends it.
pub(super) struct Attach {
    receiver: bool,
    address: String,
    filter: Option<String>,
    settled: bool,
    epoch: Option<i64>,
}

impl Attach {
    pub(super) fn receiver(address: &str) -> Self {
        Self {
            receiver: true,
            address: address.to_owned(),
            filter: None,
            settled: false,
            epoch: None,
        }
    }

    pub(super) fn sender(address: &str) -> Self {
        Self { receiver: false, ..Self::receiver(address) }
    }

    pub(super) fn settled(mut self) -> Self {
        self.settled = true;
        self
    }

    pub(super) fn epoch(mut self, epoch: i64) -> Self {
        self.epoch = Some(epoch);
        self
    }

    pub(super) fn from(mut self, expression: &str) -> Self {
        self.filter = Some(format!("amqp.annotation.{expression}"));
        self
    }

    fn fields(&self, handle: u32) -> Vec<Value> {
        let mut terminus = vec![Value::Null; 8];
        terminus[0] = Value::string(&self.address);
        if let Some(expression) = &self.filter {
            let name = Value::symbol("apache.org:selector-filter:string");
            let filter =
                Value::Described(Box::new(name.clone()), Box::new(Value::string(expression)));
            terminus[7] = Value::Map(vec![(name, filter)]);
        }
        let own = vec![Value::string(format!("own-{handle}"))];
        let (source, target) = if self.receiver {
            (terminus, own)
        } else {
            terminus.truncate(1);
            (own, terminus)
        };
        let properties = self.epoch.map_or(Value::Null, |epoch| {
            Value::Map(vec![(Value::symbol("com.microsoft:epoch"), Value::Long(epoch))])
        });
        let mut fields = vec![Value::Null; 14];
        fields[0] = Value::string(format!("link-{handle}"));
        fields[1] = Value::Uint(handle);
        fields[2] = Value::Bool(self.receiver);
        fields[3] = Value::Ubyte(if self.settled { 1 } else { 0 });
        fields[5] = described(SOURCE, source);
        fields[6] = described(TARGET, target);
        fields[13] = properties;
        fields
    }
}

/// One connection with one session on channel 0.
pub(super) struct Peer<S> {
    stream: S,
    input: BytesMut,
    next_handle: u32,
}

async fn header<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, header: &[u8; 8]) {
    stream.write_all(header).await.unwrap();
    let mut answer = [0; 8];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, header);
}

async fn sasl_frame<S: AsyncRead + Unpin>(stream: &mut S) -> (u64, Value) {
    let length = stream.read_u32().await.unwrap();
    let mut body = vec![0; length as usize - 4];
    stream.read_exact(&mut body).await.unwrap();
    decode_described(&mut Bytes::from(body).slice(4..)).unwrap()
}

/// Negotiates SASL; the outcome's code.
async fn sasl<S>(stream: &mut S, mechanism: &str, response: &[u8]) -> u8
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    header(stream, b"AMQP\x03\x01\x00\x00").await;
    let (code, offered) = sasl_frame(stream).await;
    assert_eq!(code, 0x40);
    assert!(offered.field(0).lists_symbol(mechanism));
    let mut out = BytesMut::new();
    let init = vec![Value::symbol(mechanism), Value::Binary(Bytes::copy_from_slice(response))];
    frame::put_sasl(&mut out, 0x41, init);
    stream.write_all(&out).await.unwrap();
    let (code, outcome) = sasl_frame(stream).await;
    assert_eq!(code, 0x44);
    u8::try_from(outcome.field(0).integer().unwrap()).unwrap()
}

pub(super) async fn sasl_plain<S>(stream: &mut S, key: &str) -> u8
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    sasl(stream, "PLAIN", format!("\0reader\0{key}").as_bytes()).await
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    pub(super) async fn plain(mut stream: S) -> Self {
        assert_eq!(sasl_plain(&mut stream, "key").await, 0);
        Self::open(stream).await
    }

    pub(super) async fn anonymous(mut stream: S) -> Self {
        assert_eq!(sasl(&mut stream, "ANONYMOUS", b"").await, 0);
        Self::open(stream).await
    }

    async fn open(mut stream: S) -> Self {
        header(&mut stream, b"AMQP\x00\x01\x00\x00").await;
        let mut peer = Self { stream, input: BytesMut::new(), next_handle: 0 };
        let open = vec![
            Value::string("peer"),
            Value::string("127.0.0.1"),
            Value::Null,
            Value::Null,
            Value::Uint(IDLE_MS),
        ];
        peer.put(Performative::Open, open).await;
        peer.expect(Performative::Open).await;
        let begin =
            vec![Value::Null, Value::Uint(0), Value::Uint(1_000_000), Value::Uint(1_000_000)];
        peer.put(Performative::Begin, begin).await;
        peer.expect(Performative::Begin).await;
        peer
    }

    pub(super) async fn raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    pub(super) async fn put(&mut self, performative: Performative, fields: Vec<Value>) {
        let mut out = BytesMut::new();
        frame::put(&mut out, 0, performative, fields);
        self.raw(&out).await;
    }

    /// The next frame: performative, fields, payload. `None` at the end of the stream.
    async fn next(&mut self) -> Option<(Performative, Value, Bytes)> {
        loop {
            if let Some(mut frame) = frame::take(&mut self.input).unwrap() {
                if frame.body.is_empty() {
                    continue;
                }
                let (code, fields) = decode_described(&mut frame.body).unwrap();
                return Some((Performative::from_code(code).unwrap(), fields, frame.body));
            }
            let read = tokio::time::timeout(DEADLINE, self.stream.read_buf(&mut self.input));
            match read.await.expect("the hub says nothing") {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// Waits for an empty frame, with nothing before it.
    pub(super) async fn heartbeat(&mut self) {
        let read = async {
            while self.input.len() < 8 {
                assert_ne!(self.stream.read_buf(&mut self.input).await.unwrap(), 0);
            }
        };
        let within = Duration::from_millis(u64::from(IDLE_MS) * 5);
        tokio::time::timeout(within, read).await.expect("a heartbeat");
        let frame = frame::take(&mut self.input).unwrap().unwrap();
        assert!(frame.body.is_empty());
    }

    /// The fields of the next frame, which has to hold this performative.
    pub(super) async fn expect(&mut self, wanted: Performative) -> Value {
        let (performative, fields, _) = self.next().await.expect("the connection is open");
        assert_eq!(performative, wanted, "{fields:?}");
        fields
    }

    /// The connection ends without another frame.
    pub(super) async fn gone(&mut self) {
        let next = self.next().await;
        assert!(next.is_none(), "{next:?}");
    }

    /// The next delivery: the fields of its last transfer, and its payload.
    pub(super) async fn transfer(&mut self) -> (Value, Bytes) {
        let mut whole = BytesMut::new();
        loop {
            let (performative, fields, payload) = self.next().await.expect("a transfer");
            assert_eq!(performative, Performative::Transfer, "{fields:?}");
            whole.extend_from_slice(&payload);
            if fields.field(5) != &Value::Bool(true) {
                return (fields, whole.freeze());
            }
        }
    }

    /// Attaches a link; its handle.
    pub(super) async fn attach(&mut self, attach: &Attach) -> u32 {
        let handle = self.next_handle;
        self.next_handle += 1;
        self.put(Performative::Attach, attach.fields(handle)).await;
        let reply = self.expect(Performative::Attach).await;
        assert_eq!(reply.field(2), &Value::Bool(!attach.receiver));
        assert_ne!(reply.field(5), &Value::Null, "refused");
        assert_ne!(reply.field(6), &Value::Null, "refused");
        if !attach.receiver {
            self.expect(Performative::Flow).await;
        }
        handle
    }

    /// An attach that is refused: condition and error.
    pub(super) async fn refused(&mut self, attach: &Attach) -> (String, Value) {
        let handle = self.next_handle;
        self.next_handle += 1;
        self.put(Performative::Attach, attach.fields(handle)).await;
        let reply = self.expect(Performative::Attach).await;
        let missing = if attach.receiver { 5 } else { 6 };
        assert_eq!(reply.field(missing), &Value::Null);
        self.detached(handle).await
    }

    /// The detach of a link: condition and error.
    pub(super) async fn detached(&mut self, handle: u32) -> (String, Value) {
        let detach = self.expect(Performative::Detach).await;
        assert_eq!(detach.field(0), &Value::Uint(handle));
        assert_eq!(detach.field(1), &Value::Bool(true));
        let error = inside(detach.field(2)).clone();
        (error.field(0).text().unwrap().to_owned(), error)
    }

    async fn flow(&mut self, handle: u32, counted: u32, credit: u32, drain: bool, echo: bool) {
        let fields = vec![
            Value::Uint(0),
            Value::Uint(1_000_000),
            Value::Uint(0),
            Value::Uint(1_000_000),
            Value::Uint(handle),
            Value::Uint(counted),
            Value::Uint(credit),
            Value::Null,
            Value::Bool(drain),
            Value::Bool(echo),
        ];
        self.put(Performative::Flow, fields).await;
    }

    /// Grants credit, counted from `counted` deliveries.
    pub(super) async fn credit(&mut self, handle: u32, counted: u32, credit: u32) {
        self.flow(handle, counted, credit, false, false).await;
    }

    pub(super) async fn drain(&mut self, handle: u32, counted: u32, credit: u32) {
        self.flow(handle, counted, credit, true, false).await;
    }

    /// Asks for the state of a link: a round trip.
    pub(super) async fn echo(&mut self, handle: u32, counted: u32, credit: u32) -> Value {
        self.flow(handle, counted, credit, false, true).await;
        self.expect(Performative::Flow).await
    }

    /// Sends a message on a link and waits for its outcome: descriptor and error condition.
    pub(super) async fn outcome(
        &mut self,
        handle: u32,
        sections: &[(u64, Value)],
    ) -> (Value, Option<String>) {
        self.put_message(handle, sections, false).await;
        let disposition = self.expect(Performative::Disposition).await;
        assert_eq!(disposition.field(3), &Value::Bool(true));
        let Value::Described(descriptor, state) = disposition.field(4).clone() else {
            panic!("a disposition has a state");
        };
        let error = inside(state.field(0)).field(0).text().map(str::to_owned);
        (*descriptor, error)
    }

    /// Sends a settled message on a link.
    async fn send(&mut self, handle: u32, sections: &[(u64, Value)]) {
        self.put_message(handle, sections, true).await;
    }

    async fn put_message(&mut self, handle: u32, sections: &[(u64, Value)], settled: bool) {
        let mut out = BytesMut::new();
        let start = frame::begin(&mut out, 0);
        let transfer = vec![
            Value::Uint(handle),
            Value::Uint(0),
            Value::Binary(Bytes::from_static(b"t")),
            Value::Uint(0),
            Value::Bool(settled),
        ];
        put_described(&mut out, Performative::Transfer.code(), &Value::List(transfer));
        for (code, content) in sections {
            put_described(&mut out, *code, content);
        }
        frame::end(&mut out, start);
        self.raw(&out).await;
    }

    /// Sends a request to a node on links of its own; the status code of the answer.
    pub(super) async fn request(
        &mut self,
        node: &str,
        properties: &[(&str, &str)],
        body: Value,
    ) -> (i64, Value) {
        let sender = self.attach(&Attach::sender(node)).await;
        let receiver = self.attach(&Attach::receiver(node)).await;
        self.credit(receiver, 0, 1).await;
        let entries = properties
            .iter()
            .map(|(key, value)| (Value::string(*key), Value::string(*value)))
            .collect();
        let mut header = vec![Value::Null; 5];
        header[0] = Value::Ulong(42);
        header[4] = Value::string(format!("own-{receiver}"));
        let sections = [(0x73, Value::List(header)), (0x74, Value::Map(entries)), (0x77, body)];
        self.send(sender, &sections).await;
        let reply = Message::decode(self.transfer().await.1).unwrap();
        assert_eq!(reply.properties.field(5), &Value::Ulong(42));
        let status = reply.application.entry("status-code").unwrap();
        (status.integer().unwrap(), reply.value)
    }

    /// Puts a token; the status code of the answer.
    pub(super) async fn put_token(&mut self, kind: &str, audience: &str, token: &str) -> i64 {
        let properties = [("operation", "put-token"), ("type", kind), ("name", audience)];
        let answer = self.request("$cbs", &properties, Value::string(token));
        answer.await.0
    }
}
