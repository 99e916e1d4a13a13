//! Publishes to a test broker. What the client library can't encode, or would encode by recursion, is written as raw
//! frames (AMQP 0-9-1, section 2.3.5).

#![allow(
    dead_code,
    unreachable_pub,
    clippy::expect_used,
    clippy::panic,
    reason = "each test binary uses its own part of this, and a test without its broker ends here"
)]

use lapin::options::{
    BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions,
    QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, ExchangeKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A connection with a channel that confirms.
pub struct Publisher {
    connection: Connection,
    channel: Channel,
}

impl Publisher {
    pub async fn connect(uri: &str) -> Self {
        let connection = Connection::connect(uri, ConnectionProperties::default())
            .await
            .expect("the publisher connects");
        let channel = connection.create_channel().await.expect("a channel");
        channel.confirm_select(ConfirmSelectOptions::default()).await.expect("confirms");
        Self { connection, channel }
    }

    /// A channel of its own, for consumers and other requests.
    pub async fn channel(&self) -> Channel {
        self.connection.create_channel().await.expect("a channel")
    }

    /// Declares a durable queue of this type.
    pub async fn declare(&self, queue: &str, kind: &str, more: &[(&str, AMQPValue)]) {
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString(kind.into()));
        for (name, value) in more {
            arguments.insert((*name).into(), value.clone());
        }
        self.channel
            .queue_declare(queue.into(), QueueDeclareOptions::durable(), arguments)
            .await
            .expect("the queue is declared");
    }

    /// Binds a queue to a fanout exchange of its own.
    pub async fn bind(&self, exchange: &str, queue: &str) {
        self.channel
            .exchange_declare(
                exchange.into(),
                ExchangeKind::Fanout,
                ExchangeDeclareOptions::default(),
                FieldTable::default(),
            )
            .await
            .expect("the exchange is declared");
        self.channel
            .queue_bind(
                queue.into(),
                exchange.into(),
                "".into(),
                QueueBindOptions::default(),
                FieldTable::default(),
            )
            .await
            .expect("the queue is bound");
    }

    /// Publishes a durable message and waits until the broker has it.
    pub async fn publish(&self, queue: &str, headers: &[(&str, AMQPValue)], body: &[u8]) {
        self.publish_all(queue, headers, &[body.to_vec()]).await;
    }

    /// Publishes durable messages and waits until the broker has them all.
    pub async fn publish_all(
        &self,
        queue: &str,
        headers: &[(&str, AMQPValue)],
        bodies: &[Vec<u8>],
    ) {
        let mut table = FieldTable::default();
        for (name, value) in headers {
            table.insert((*name).into(), value.clone());
        }
        let properties = BasicProperties::default().with_headers(table).with_delivery_mode(2);
        let mut confirms = Vec::new();
        for body in bodies {
            let confirm = self
                .channel
                .basic_publish(
                    "".into(),
                    queue.into(),
                    BasicPublishOptions::default(),
                    body,
                    properties.clone(),
                )
                .await
                .expect("the message is sent");
            confirms.push(confirm);
        }
        for confirm in confirms {
            assert!(confirm.await.expect("an answer").is_ack());
        }
    }
}

/// The content of a table: one array nested this deep.
pub fn nested_arrays(levels: usize) -> Vec<u8> {
    let mut value = vec![b'V'];
    for _ in 0..levels {
        value = [b"A".as_slice(), &long(&value)].concat();
    }
    [b"\x01n".as_slice(), &value].concat()
}

/// Publishes by raw frames, with these headers (content of the table), and waits until the broker has it.
pub async fn publish_raw(port: u16, exchange: &str, routing_key: &[u8], table: &[u8], body: &[u8]) {
    let mut raw = RawConnection::open(port).await;
    raw.method(
        1,
        60,
        40,
        &[&[0, 0], short(exchange.as_bytes()).as_slice(), &short(routing_key), &[0]].concat(),
    )
    .await;
    let mut header = vec![0, 60, 0, 0];
    header.extend(u64::try_from(body.len()).expect("a body").to_be_bytes());
    header.extend(0x2000_u16.to_be_bytes());
    header.extend(long(table));
    raw.frame(2, 1, &header).await;
    for piece in body.chunks(100_000) {
        raw.frame(3, 1, piece).await;
    }
    raw.expect(60, 80).await; // basic.ack
}

/// Just enough of AMQP 0-9-1 to publish anything.
struct RawConnection {
    stream: TcpStream,
}

impl RawConnection {
    async fn open(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("the broker's port");
        let mut raw = Self { stream };
        raw.stream.write_all(b"AMQP\x00\x00\x09\x01").await.expect("the protocol header is sent");
        raw.expect(10, 10).await;
        let start_ok =
            [&long(b"")[..], &short(b"PLAIN"), &long(b"\0guest\0guest"), &short(b"en_US")].concat();
        raw.method(0, 10, 11, &start_ok).await;
        raw.expect(10, 30).await;
        // 16 channels, frames of 128 KiB, no heartbeat.
        raw.method(0, 10, 31, &[0, 16, 0, 2, 0, 0, 0, 0]).await;
        raw.method(0, 10, 40, &[short(b"/").as_slice(), &[0, 0]].concat()).await;
        raw.expect(10, 41).await;
        raw.method(1, 20, 10, &[0]).await;
        raw.expect(20, 11).await;
        raw.method(1, 85, 10, &[0]).await; // confirm.select
        raw.expect(85, 11).await;
        raw
    }

    async fn method(&mut self, channel: u16, class: u16, method: u16, arguments: &[u8]) {
        let payload = [&class.to_be_bytes()[..], &method.to_be_bytes(), arguments].concat();
        self.frame(1, channel, &payload).await;
    }

    async fn frame(&mut self, kind: u8, channel: u16, payload: &[u8]) {
        let frame = [&[kind][..], &channel.to_be_bytes(), &long(payload), &[0xCE]].concat();
        self.stream.write_all(&frame).await.expect("the frame is sent");
    }

    async fn expect(&mut self, class: u16, method: u16) {
        let mut prefix = [0; 7];
        self.stream.read_exact(&mut prefix).await.expect("an answer");
        let size = u32::from_be_bytes([prefix[3], prefix[4], prefix[5], prefix[6]]);
        let mut payload = vec![0; usize::try_from(size).expect("a size") + 1];
        self.stream.read_exact(&mut payload).await.expect("the rest of the answer");
        let wanted = [class.to_be_bytes(), method.to_be_bytes()].concat();
        assert!(
            payload.starts_with(&wanted),
            "{class}.{method} expected, got {}",
            String::from_utf8_lossy(&payload)
        );
    }
}

fn short(text: &[u8]) -> Vec<u8> {
    [&[u8::try_from(text.len()).expect("a short string")], text].concat()
}

fn long(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).expect("a long string");
    [&length.to_be_bytes(), bytes].concat()
}
