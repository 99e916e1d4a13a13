//! The same kills on RabbitMQ: a quorum queue and a stream with event time, and a queue without one under its weaker
//! promise.

use std::pin::Pin;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel};
use lastseen::clock;
use tokio::sync::OnceCell;

use super::fleet::{Carrier, Carry};
use super::kill;
use super::oracle::Promise;
use super::oracle::truth::{Sent, What};
use super::publisher::Publisher;
use super::rabbitmq::RabbitMq;
use super::world::{Options, Route, World, cycles};

const CYCLES: u64 = 10;
/// Publish, confirm, deliver, on a busy machine.
const TRANSIT_MS: i64 = 1_000;
/// Publishing is spread over confirms, so the order of event times is less strict than the hub's.
const ALLOWANCE_MS: i64 = 1_000;

static NODE: OnceCell<RabbitMq> = OnceCell::const_new();

/// A queue, and a publisher that waits for the broker's confirms.
struct Queue {
    name: &'static str,
    dated: bool,
    channel: Channel,
    _publisher: Publisher,
}

impl Queue {
    async fn declare(name: &'static str, kind: &str, dated: bool) -> (Self, String) {
        let uri = NODE.get_or_init(RabbitMq::start).await.uri();
        let publisher = Publisher::connect(&uri).await;
        let single = [("x-single-active-consumer", AMQPValue::Boolean(true))];
        publisher.declare(name, kind, if kind == "quorum" { &single } else { &[] }).await;
        let channel = publisher.channel().await;
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        (Self { name, dated, channel, _publisher: publisher }, uri)
    }

    async fn send_all(&mut self, devices: &[String]) -> Vec<Sent> {
        let mut sent = Vec::new();
        for device in devices {
            let at_ms = clock::wall().as_ms();
            let text = |text: &str| AMQPValue::LongString(text.into());
            let mut headers = FieldTable::default();
            headers.insert("iothub-connection-device-id".into(), text(device));
            headers.insert("iothub-message-source".into(), text("Telemetry"));
            if self.dated {
                headers.insert("iothub-enqueuedtime".into(), AMQPValue::LongLongInt(at_ms));
            }
            let properties = BasicProperties::default().with_headers(headers).with_delivery_mode(2);
            let options = BasicPublishOptions::default();
            let published =
                self.channel.basic_publish("".into(), self.name.into(), options, b"", properties);
            sent.push((device, at_ms, published.await.unwrap()));
        }
        let mut confirmed = Vec::new();
        for (device, at_ms, confirm) in sent {
            let accepted = confirm.await.unwrap().is_ack();
            let device = device.clone();
            confirmed.push(Sent { device, what: What::Beat, at_ms, partition: 0, accepted });
        }
        confirmed
    }
}

impl Carry for Queue {
    fn carry<'a>(
        &'a mut self,
        devices: &'a [String],
    ) -> Pin<Box<dyn Future<Output = Vec<Sent>> + Send + 'a>> {
        Box::pin(self.send_all(devices))
    }
}

async fn campaign(options: Options, queue: &'static str, kind: &str) {
    let dated = options.promise == Promise::EventTime;
    let route = async {
        let (carrier, uri) = Queue::declare(queue, kind, dated).await;
        let dating = if dated { ", event_time: trusted_header" } else { "" };
        Route {
            source: format!(
                "{{ name: lab, type: amqp091, hub: lab, uri_file: lab.uri, queue: {queue}, queue_type: {kind}{dating} }}"
            ),
            secret: ("lab.uri".into(), uri),
            carrier: Carrier::Other(Box::new(carrier)),
        }
    };
    let options = Options { allowance_ms: ALLOWANCE_MS, ..options };
    let mut world = World::with_route(options, route).await;
    for _ in 0..cycles(CYCLES) {
        let seed = world.random.draw();
        let what = kill::cycle(&mut world, seed).await;
        world.close_cycle(&what);
    }
    world.settle("").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "a campaign: minutes, and the machine for itself"]
async fn on_a_quorum_queue_with_event_time_no_kill_loses_or_doubles_anything() {
    campaign(Options::new("rabbit-quorum"), "campaign-quorum", "quorum").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "a campaign: minutes, and the machine for itself"]
async fn on_a_stream_with_event_time_no_kill_loses_or_doubles_anything() {
    campaign(Options::new("rabbit-stream"), "campaign-stream", "stream").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "a campaign: minutes, and the machine for itself"]
async fn on_a_queue_without_event_time_no_kill_flags_anybody_falsely_or_hides_an_outage() {
    let promise = Promise::Receipt { transit_ms: TRANSIT_MS };
    let options = Options { promise, ..Options::new("rabbit-receipt") };
    campaign(options, "campaign-receipt", "classic").await;
}
