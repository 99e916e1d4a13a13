//! A queue or a stream of RabbitMQ, on a node of our own.

use anyhow::{Context, ensure};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use lastseen::devhub::hub::Stencil;
use lastseen::engine::Timestamp;

use super::{SECRET_FILE, Source};
use crate::plan::{Action, Moment};
use crate::profile::SourceKind;
use crate::rabbitmq::RabbitMq;

const QUEUE: &str = "load";

/// The queue and its broker, until dropped.
pub(crate) struct RabbitQueue {
    kind: SourceKind,
    channel: Channel,
    stencil: Stencil,
    _connection: Connection,
    _node: RabbitMq,
}

impl RabbitQueue {
    pub(super) async fn open(kind: SourceKind) -> anyhow::Result<(Self, Source)> {
        let node = RabbitMq::start().await;
        let connection = Connection::connect(&node.uri(), ConnectionProperties::default())
            .await
            .context("no connection to the broker")?;
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), text(queue_type(kind)));
        if kind == SourceKind::RabbitQueue {
            arguments.insert("x-single-active-consumer".into(), AMQPValue::Boolean(true));
        }
        channel.queue_declare(QUEUE.into(), QueueDeclareOptions::durable(), arguments).await?;
        let source = Source { entry: entry(kind), secret: node.uri() };
        let opened =
            Self { kind, channel, stencil: super::stencil(), _connection: connection, _node: node };
        Ok((opened, source))
    }

    /// What a broker can't say, that a connection came or went, is not sent.
    pub(super) async fn carry(&mut self, moments: &[Moment]) -> anyhow::Result<()> {
        let mut confirms = Vec::with_capacity(moments.len());
        for moment in moments.iter().filter(|moment| moment.action == Action::Heartbeat) {
            let device = self.stencil.device_id(moment.number);
            let (headers, body) = message(self.kind, &device, moment.at);
            let properties = BasicProperties::default().with_headers(headers).with_delivery_mode(2);
            let options = BasicPublishOptions::default();
            let published = self.channel.basic_publish(
                "".into(),
                QUEUE.into(),
                options,
                body.as_bytes(),
                properties,
            );
            confirms.push(published.await?);
        }
        for confirm in confirms {
            ensure!(confirm.await?.is_ack(), "the broker refused a heartbeat");
        }
        Ok(())
    }
}

/// Headers and body of a heartbeat. RabbitMQ before 4 hands no headers of a publisher on to receivers by AMQP 1.0, so there
/// the body says who it is and when.
fn message(kind: SourceKind, device: &str, at: Timestamp) -> (FieldTable, String) {
    let mut headers = FieldTable::default();
    match kind {
        SourceKind::Amqp10 => {
            (headers, format!(r#"{{"device":"{device}","sent":{}}}"#, at.as_ms()))
        }
        SourceKind::Hub | SourceKind::RabbitQueue | SourceKind::RabbitStream => {
            headers.insert("iothub-connection-device-id".into(), text(device));
            headers.insert("iothub-message-source".into(), text("Telemetry"));
            headers.insert("iothub-enqueuedtime".into(), AMQPValue::LongLongInt(at.as_ms()));
            (headers, String::new())
        }
    }
}

fn entry(kind: SourceKind) -> String {
    let common =
        format!("name: load, hub: load, uri_file: {SECRET_FILE}, event_time: trusted_header");
    match kind {
        SourceKind::Amqp10 => format!(
            "{{ {common}, type: amqp10, address: /amq/queue/{QUEUE}, sole_consumer: true, lock: 0s, \
             mapping: {{ device: {{ body: /device }}, event_time: {{ body: /sent }} }} }}"
        ),
        SourceKind::Hub | SourceKind::RabbitQueue | SourceKind::RabbitStream => {
            let kind = queue_type(kind);
            format!("{{ {common}, type: amqp091, queue: {QUEUE}, queue_type: {kind} }}")
        }
    }
}

fn queue_type(kind: SourceKind) -> &'static str {
    match kind {
        SourceKind::RabbitQueue => "quorum",
        SourceKind::RabbitStream => "stream",
        SourceKind::Amqp10 | SourceKind::Hub => "classic",
    }
}

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}
