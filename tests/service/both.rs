//! The configuration of the README: an event hub and a RabbitMQ queue at once.

use std::time::Duration;

use lapin::types::AMQPValue;
use lastseen::clock;
use tokio::sync::OnceCell;

use super::fleet::{Fleet, ServedHub, assert_prompt, names, set};
use super::program::{Program, Source};
use super::publisher::{Publisher, nested_arrays, publish_raw};
use super::rabbitmq::RabbitMq;
use super::receiver::Receiver;
use super::{DUE_MS, WINDOW_MS, eventually, live_for};

static NODE: OnceCell<RabbitMq> = OnceCell::const_new();

async fn node() -> &'static RabbitMq {
    NODE.get_or_init(RabbitMq::start).await
}

/// A fleet that publishes its heartbeats into a queue, with or without an event time in the header.
async fn publishing(queue: &'static str, devices: Vec<String>, dated: bool) -> Fleet {
    let publisher = Publisher::connect(&node().await.uri()).await;
    let (beats, mut waiting) = tokio::sync::mpsc::channel::<(String, i64)>(1_000);
    tokio::spawn(async move {
        while let Some((device, at_ms)) = waiting.recv().await {
            let mut headers = vec![
                ("iothub-connection-device-id", AMQPValue::LongString(device.into())),
                ("iothub-message-source", AMQPValue::LongString("Telemetry".into())),
            ];
            if dated {
                headers.push(("iothub-enqueuedtime", AMQPValue::LongLongInt(at_ms)));
            }
            publisher.publish(queue, &headers, b"").await;
        }
    });
    Fleet::sending(devices, move |device| {
        let now = clock::wall().as_ms();
        beats.try_send((device.to_owned(), now)).ok().map(|()| now)
    })
}

async fn declare(queue: &str, kind: &str) {
    let publisher = Publisher::connect(&node().await.uri()).await;
    // A quorum queue has no exclusive consumers: with this argument there is one at a time.
    let single = [("x-single-active-consumer", AMQPValue::Boolean(true))];
    publisher.declare(queue, kind, if kind == "quorum" { &single } else { &[] }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_hub_and_rabbitmq_at_once_flag_exactly_the_silent_in_time() {
    let served = ServedHub::start(4).await;
    let uri = node().await.uri();
    declare("both-quorum", "quorum").await;
    declare("both-classic", "classic").await;
    let receiver = Receiver::start().await;
    let on_hub = Fleet::start(&served.hub, names("pump", 40));
    let dated = publishing("both-quorum", names("valve", 20), true).await;
    let undated = publishing("both-classic", names("lamp", 20), false).await;
    let sources = [
        Source::event_hub("hub", &served.connection_string),
        Source::rabbit(
            "lab",
            &uri,
            "queue: both-quorum, queue_type: quorum, event_time: trusted_header",
        ),
        Source::rabbit("den", &uri, "queue: both-classic, queue_type: classic"),
    ];
    let program = Program::start(&sources, &receiver).await;
    live_for(2 * WINDOW_MS).await;
    on_hub.silence(&["pump-03", "pump-17", "pump-31"]);
    dated.silence(&["valve-02", "valve-11"]);
    undated.silence(&["lamp-07"]);
    let silent = set(&["pump-03", "pump-17", "pump-31", "valve-02", "valve-11", "lamp-07"]);
    eventually("exactly the silent are flagged", 30, || receiver.flagged_names() == silent).await;
    live_for(2 * DUE_MS).await;
    assert_eq!(receiver.flagged_names(), silent, "nobody else");
    assert_prompt(&on_hub.verdict_delays_ms(&receiver));
    assert_prompt(&dated.verdict_delays_ms(&receiver));
    assert_prompt(&undated.verdict_delays_ms(&receiver));
    on_hub.revive(&["pump-03"]);
    dated.revive(&["valve-02"]);
    eventually("the returned are resolved", 20, || {
        receiver.of_status("resolved").into_keys().eq(["pump-03", "valve-02"].map(str::to_owned))
    })
    .await;
    assert_eq!(program.metric("lastseen_false_offline_total"), 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_receivers_on_a_queue_make_it_blind_and_flag_nobody() {
    let uri = node().await.uri();
    declare("shared", "classic").await;
    let other = Publisher::connect(&uri).await.channel().await;
    let consumed = other
        .basic_consume("shared".into(), "other".into(), Default::default(), Default::default())
        .await
        .expect("the other receiver");
    let receiver = Receiver::start().await;
    let fleet = publishing("shared", names("valve", 10), true).await;
    let sources = [Source::rabbit("lab", &uri, "queue: shared, event_time: trusted_header")];
    let program = Program::launch(&sources, &receiver);
    live_for(WINDOW_MS).await;
    fleet.silence(&["valve-02"]);
    live_for(5 * DUE_MS).await;
    assert_eq!(receiver.flagged_names(), set(&[]), "half of the heartbeats went elsewhere");
    drop(consumed);
    drop(other);
    assert!(program.log().contains("shared"), "and it says why: {}", program.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_dated_2106_and_an_untrusted_publishers_date_flag_nobody() {
    let uri = node().await.uri();
    declare("forged-dated", "quorum").await;
    declare("forged-undated", "classic").await;
    let receiver = Receiver::start().await;
    let _dated = publishing("forged-dated", names("valve", 5), true).await;
    let _undated = publishing("forged-undated", names("lamp", 5), false).await;
    let sources = [
        Source::rabbit(
            "lab",
            &uri,
            "queue: forged-dated, queue_type: quorum, event_time: trusted_header",
        ),
        Source::rabbit("den", &uri, "queue: forged-undated, queue_type: classic"),
    ];
    let program = Program::start(&sources, &receiver).await;
    let publisher = Publisher::connect(&uri).await;
    let year_2106 = 4_294_967_296_000_i64;
    for queue in ["forged-dated", "forged-undated"] {
        let headers = [
            ("iothub-connection-device-id", AMQPValue::LongString("traveller".into())),
            ("iothub-enqueuedtime", AMQPValue::LongLongInt(year_2106)),
        ];
        publisher.publish(queue, &headers, b"").await;
    }
    eventually("the one from the future is kept", 20, || {
        program.metric("lastseen_rejected_messages_total") == 1.0
    })
    .await;
    live_for(3 * DUE_MS).await;
    // The traveller on the undated source was heard once, now, and is the only one that fell silent.
    assert_eq!(receiver.flagged_names(), set(&["traveller"]));
    assert_eq!(receiver.flagged()["traveller"].data["hub"], "den");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_drains_and_ends_in_order() {
    let served = ServedHub::start(1).await;
    let receiver = Receiver::start().await;
    let fleet = Fleet::start(&served.hub, names("pump", 3));
    let sources = [Source::event_hub("hub", &served.connection_string)];
    let mut program = Program::start(&sources, &receiver).await;
    live_for(WINDOW_MS).await;
    fleet.silence(&["pump-01"]);
    eventually("flagged", 20, || receiver.flagged_names() == set(&["pump-01"])).await;
    let code = program.terminate(Duration::from_secs(15)).await;
    assert_eq!(code, Some(0), "{}", program.log());
}

/// One such message ends the stock client library, and with it the process, at every start: it overflows the stack.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_of_nested_headers_is_quarantined_and_the_next_one_is_processed() {
    let node = node().await;
    declare("hostile", "classic").await;
    let receiver = Receiver::start().await;
    let sources =
        [Source::rabbit("lab", &node.uri(), "queue: hostile, event_time: trusted_header")];
    let mut program = Program::start(&sources, &receiver).await;
    publish_raw(node.ports().amqp, "", b"hostile", &nested_arrays(1_700), b"").await;
    let fleet = publishing("hostile", names("valve", 3), true).await;
    eventually("it is quarantined", 30, || program.dead_letters().contains("\"hostile\"")).await;
    live_for(WINDOW_MS).await;
    fleet.silence(&["valve-01"]);
    eventually("the next ones are processed", 30, || {
        receiver.flagged_names() == set(&["valve-01"])
    })
    .await;
    assert_eq!(
        program.terminate(Duration::from_secs(15)).await,
        Some(0),
        "alive until asked to end"
    );
}
