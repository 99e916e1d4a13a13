//! The webhook sink against a receiver on loopback: what arrives, what is tried again, and what is never done.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]
#![allow(missing_docs, unreachable_pub, reason = "helpers of tests")]

mod receiver;
mod settling;
mod sink;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use lastseen::alert::Message;
use lastseen::alert::self_health::Notice;
use lastseen::metrics::Metrics;
use lastseen::sink::Settlement;
use lastseen::sink::webhook::{self, Ports};
use lastseen::store::dead_letter::UndeliveredReason;
use receiver::{DEADLINE, Received, Receiver, Reply};
use sink::{SECRET, Sink, config, end_of, message, open_letters, waits};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// A time-out that can't be what ends an attempt.
const NEVER_MS: i64 = 3_600_000;

fn url(receiver: &Receiver) -> String {
    format!("http://{}/hook/s3cret-path?token=t0ken", receiver.address)
}

fn verify(request: &Received, secret: &str) -> bool {
    let verifier = standardwebhooks::Webhook::new(secret).unwrap();
    let headers: HeaderMap = request.headers.clone();
    verifier.verify(&request.body, &headers).is_ok()
}

#[tokio::test]
async fn a_message_arrives_as_standard_webhooks_wants_it_and_verifies() {
    let mut receiver = Receiver::start(|_, _| Reply::status(204)).await;
    let sink = Sink::start(config(&url(&receiver)), waits(&[]));
    let sent = message(3, 1);
    sink.send(sent.clone()).await;

    let request = receiver.next().await;
    assert_eq!(request.line, "POST /hook/s3cret-path?token=t0ken HTTP/1.1");
    assert_eq!(request.header("host"), receiver.address.to_string());
    assert_eq!(request.header("content-type"), "application/json");
    assert_eq!(request.header("user-agent"), concat!("lastseen/", env!("CARGO_PKG_VERSION")));
    assert_eq!(request.header("webhook-id"), sent.message_id);
    assert_eq!(request.body, sent.body);
    assert!(verify(&request, SECRET));
    assert!(!verify(&request, "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"));
    let counts = sink.finish().await;
    assert_eq!((counts.outcome("delivered"), counts.waiting()), (1, "0"));
}

#[tokio::test]
async fn a_retry_repeats_id_and_bytes_and_is_signed_for_its_own_time() {
    let statuses = [500, 503, 404, 429, 200];
    let mut receiver = Receiver::start(move |n, _| Reply::status(statuses[n])).await;
    let sink = Sink::start(config(&url(&receiver)), waits(&[1, 1, 1, 1]));
    sink.send(message(0, 1)).await;
    let first = receiver.next().await;
    for _ in 1..statuses.len() {
        let again = receiver.next().await;
        assert_eq!(again.header("webhook-id"), first.header("webhook-id"));
        assert_eq!(again.body, first.body);
        assert!(verify(&again, SECRET));
    }
    let counts = sink.finish().await;
    assert_eq!(counts.outcome("server_error"), 2);
    assert_eq!(counts.outcome("rejected"), 1);
    assert_eq!(counts.outcome("throttled"), 1);
    assert_eq!(counts.outcome("delivered"), 1);
}

#[tokio::test]
async fn a_message_is_given_up_after_the_last_retry_and_the_next_one_goes_out() {
    let mut receiver = Receiver::start(|_, request| match request.header("webhook-id") {
        "msg_0_1" => Reply::status(500),
        _ => Reply::status(200),
    })
    .await;
    let sink = Sink::start(config(&url(&receiver)), waits(&[1, 1]));
    sink.send(message(0, 1)).await;
    sink.send(message(0, 2)).await;
    for id in ["msg_0_1", "msg_0_1", "msg_0_1", "msg_0_2"] {
        assert_eq!(receiver.next().await.header("webhook-id"), id);
    }
    let counts = sink.finish().await;
    assert_eq!((counts.outcome("given_up"), counts.outcome("delivered")), (1, 1));
}

#[tokio::test]
async fn a_redirect_is_a_failure_and_never_followed() {
    let elsewhere = Receiver::start(|_, _| Reply::status(200)).await;
    let target = format!("http://{}/", elsewhere.address);
    let codes = [301, 302, 303, 307, 308, 200];
    let receiver = Receiver::start(move |n, _| {
        Reply::Head(format!("HTTP/1.1 {} Moved\r\nlocation: {target}", codes[n]))
    })
    .await;
    let sink = Sink::start(config(&url(&receiver)), waits(&[1; 5]));
    sink.send(message(0, 1)).await;
    let counts = sink.finish().await;
    assert_eq!((counts.outcome("redirect"), counts.outcome("delivered")), (5, 1));
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn gone_disables_the_endpoint_and_everything_goes_to_the_dead_letters() {
    let mut receiver = Receiver::start(|_, _| Reply::status(410)).await;
    let mut sink = Sink::start(config(&url(&receiver)), waits(&[1, 1]));
    sink.send(message(0, 1)).await;
    receiver.next().await;
    for number in 2..=4 {
        sink.send(message(0, number)).await;
    }
    let settled = sink.settled(4).await;
    let expected = (1..=4).map(|number| (message(0, number).message_id, Settlement::Disabled));
    assert_eq!(settled, expected.collect::<Vec<_>>());
    let letters = sink.letters.list(9).await.unwrap();
    assert!(letters.iter().all(|letter| letter.reason == UndeliveredReason::Disabled));
    let kept: Vec<Message> = letters.into_iter().map(|letter| letter.message).collect();
    assert_eq!(kept, (1..=4).map(|number| message(0, number)).collect::<Vec<_>>());
    assert_eq!(receiver.connections(), 1);
    assert_eq!(sink.notice().await, Notice::Disabled { sink: "ops".into() });
    let counts = sink.finish().await;
    assert_eq!((counts.outcome("gone"), counts.outcome("disabled")), (1, 4));
    assert_eq!((counts.waiting(), counts.left.len()), ("0", 0));
}

#[tokio::test]
async fn retry_after_is_honoured_as_a_lower_bound() {
    let mut receiver = Receiver::start(|n, _| match n {
        0 => Reply::Head("HTTP/1.1 429 Slow down\r\nretry-after: 1".to_owned()),
        _ => Reply::status(200),
    })
    .await;
    let sink = Sink::start(config(&url(&receiver)), waits(&[1]));
    sink.send(message(0, 1)).await;
    let (first, second) = (receiver.next().await, receiver.next().await);
    assert!(second.at - first.at >= Duration::from_secs(1));
    assert_eq!(sink.finish().await.outcome("delivered"), 1);
}

#[tokio::test]
async fn a_status_counts_although_its_body_drips_and_the_connection_is_cut_at_the_time_out() {
    let mut receiver = Receiver::start(|_, _| Reply::Drip(Duration::from_millis(10))).await;
    let mut config = config(&url(&receiver));
    config.timeout_ms = 300;
    let sink = Sink::start(config, waits(&[]));
    sink.send(message(0, 1)).await;
    assert_eq!(sink.finish().await.outcome("delivered"), 1);
    timeout(DEADLINE, receiver.cut_off.recv()).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_body_without_end_is_read_no_further_than_its_limit() {
    let head = "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n";
    let mut receiver = Receiver::start(move |_, _| Reply::Endless(head, "xxxxxxxxxxxxxxxxx")).await;
    let mut config = config(&url(&receiver));
    config.timeout_ms = NEVER_MS;
    let sink = Sink::start(config, waits(&[]));
    sink.send(message(0, 1)).await;
    assert_eq!(sink.finish().await.outcome("delivered"), 1);
    timeout(DEADLINE, receiver.cut_off.recv()).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_head_without_end_is_cut_off_and_fails() {
    let mut receiver = Receiver::start(|n, _| match n {
        0 => Reply::Endless("HTTP/1.1 200 OK\r\n", "x: y\r\n"),
        1 => Reply::Endless("HTTP/1.1 200 OK\r\nx: ", "yyyyyyyyyyyyyyyyy"),
        _ => Reply::Endless("", "nonsense "),
    })
    .await;
    let mut config = config(&url(&receiver));
    config.timeout_ms = NEVER_MS;
    let sink = Sink::start(config, waits(&[1, 1]));
    sink.send(message(0, 1)).await;
    let counts = sink.finish().await;
    assert_eq!((counts.outcome("unreachable"), counts.outcome("given_up")), (3, 1));
    for _ in 0..3 {
        timeout(DEADLINE, receiver.cut_off.recv()).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn silence_and_interim_answers_without_end_are_bounded_by_the_time_out() {
    let receiver = Receiver::start(|n, _| match n {
        0 => Reply::Silence,
        _ => Reply::Endless("", "HTTP/1.1 100 Continue\r\n\r\n"),
    })
    .await;
    let mut config = config(&url(&receiver));
    config.timeout_ms = 300;
    let sink = Sink::start(config, waits(&[1]));
    sink.send(message(0, 1)).await;
    let counts = sink.finish().await;
    assert_eq!((counts.outcome("timed_out"), counts.outcome("given_up")), (2, 1));
}

#[tokio::test]
async fn loopback_is_not_dialled_unless_it_is_allowed() {
    let receiver = Receiver::start(|_, _| Reply::status(200)).await;
    for host in ["127.0.0.1", "localhost", "2130706433", "[::ffff:127.0.0.1]"] {
        let mut config = config(&format!("http://{host}:{}/", receiver.address.port()));
        config.allow_cidrs = vec!["10.0.0.0/8".parse().unwrap()];
        let sink = Sink::start(config, waits(&[1]));
        sink.send(message(0, 1)).await;
        let counts = sink.finish().await;
        assert_eq!(
            (counts.outcome("address_refused"), counts.outcome("given_up")),
            (2, 1),
            "{host}"
        );
    }
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn a_lane_keeps_its_order_while_another_one_fails() {
    let mut receiver = Receiver::start(|_, request| match request.header("webhook-id") {
        "msg_0_1" => Reply::status(500),
        _ => Reply::status(200),
    })
    .await;
    let sink = Sink::start(config(&url(&receiver)), waits(&[3_600_000]));
    sink.send(message(0, 1)).await;
    sink.send(message(0, 2)).await;
    for number in 0..50 {
        sink.send(message(1, number)).await;
    }
    let mut failing = 0;
    let mut other = Vec::new();
    while other.len() < 50 {
        let request = receiver.next().await;
        match request.header("webhook-id") {
            "msg_0_1" => failing += 1,
            _ => other.push(request.body_text().to_owned()),
        }
    }
    let expected: Vec<Message> = (0..50).map(|number| message(1, number)).collect();
    assert!(expected.iter().map(|message| &message.body).eq(&other));
    assert_eq!(failing, 1);
    sink.stop.cancel();
    // The one that waits for its retry stays owed, and so does the one behind it: it must not overtake.
    let counts = sink.finish().await;
    assert_eq!((counts.outcome("delivered"), counts.waiting()), (50, "2"));
    assert!(counts.left.iter().eq(["msg_0_1", "msg_0_2"]), "{:?}", counts.left);
}

/// Rejects what is about these lanes, takes everything else.
fn rejecting(lanes: std::ops::Range<u64>) -> impl Fn(usize, &Received) -> Reply {
    move |_, request| {
        let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
        match lanes.contains(&body["lane"].as_u64().unwrap()) {
            true => Reply::status(422),
            false => Reply::status(200),
        }
    }
}

#[tokio::test]
async fn messages_that_are_always_rejected_delay_nobody_elses() {
    let mut receiver = Receiver::start(rejecting(0..100)).await;
    let sink = Sink::start(config(&url(&receiver)), waits(&[3_600_000]));
    for lane in 0..100 {
        sink.send(message(lane, 1)).await;
        sink.send(message(lane, 2)).await;
    }
    for lane in 100..400 {
        sink.send(message(lane, 1)).await;
    }
    // One attempt for each of the first hundred; what is behind them waits.
    for _ in 0..400 {
        assert!(receiver.next().await.header("webhook-id").ends_with("_1"));
    }
    sink.stop.cancel();
    let counts = sink.finish().await;
    assert_eq!((counts.outcome("delivered"), counts.outcome("rejected")), (300, 100));
    assert_eq!((counts.waiting(), counts.left.len()), ("200", 200));
}

#[tokio::test]
async fn a_thousand_parked_messages_close_the_intake_until_one_leaves() {
    let mut receiver = Receiver::start(rejecting(1..1_024)).await;
    let sink = Sink::start(config(&url(&receiver)), waits(&[3_600_000]));
    for lane in 1..1_024 {
        sink.send(message(lane, 0)).await;
    }
    for _ in 1..1_024 {
        receiver.next().await;
    }
    for number in 0..20 {
        sink.send(message(2_000, number)).await;
        receiver.next().await;
    }
    // 1,024 held, 4 in the caller's queue.
    for number in 0..5 {
        sink.send(message(1, number)).await;
    }
    assert!(timeout(Duration::from_millis(200), sink.queue.reserve()).await.is_err());
}

#[tokio::test]
async fn the_fifth_rejection_is_the_last_word_and_the_next_message_goes_out() {
    let mut receiver = Receiver::start(|_, request| match request.header("webhook-id") {
        "msg_0_1" => Reply::status(404),
        _ => Reply::status(200),
    })
    .await;
    let sink = Sink::start(config(&url(&receiver)), waits(&[1; 12]));
    sink.send(message(0, 1)).await;
    sink.send(message(0, 2)).await;
    for _ in 0..5 {
        assert_eq!(receiver.next().await.header("webhook-id"), "msg_0_1");
    }
    assert_eq!(receiver.next().await.header("webhook-id"), "msg_0_2");
    let counts = sink.finish().await;
    assert_eq!((counts.outcome("rejected"), counts.outcome("given_up")), (5, 1));
    assert_eq!((counts.outcome("delivered"), counts.waiting()), (1, "0"));
}

#[tokio::test]
async fn an_answer_that_asks_for_patience_is_no_last_word() {
    let statuses = [408, 425, 429, 408, 425, 429, 408, 425, 200];
    let receiver = Receiver::start(move |n, _| Reply::status(statuses[n])).await;
    let sink = Sink::start(config(&url(&receiver)), waits(&[1; 12]));
    sink.send(message(0, 1)).await;
    let counts = sink.finish().await;
    assert_eq!((counts.outcome("throttled"), counts.outcome("delivered")), (8, 1));
}

#[tokio::test]
async fn an_outage_that_ends_before_the_receiver_takes_its_alert_is_not_told() {
    let mut receiver = Receiver::start(|n, _| Reply::status(if n == 0 { 404 } else { 200 })).await;
    let sink = Sink::start(config(&url(&receiver)), waits(&[3_600_000]));
    sink.send(message(0, 1)).await;
    receiver.next().await;
    sink.send(message(0, 2)).await;
    sink.send(end_of(&message(0, 1))).await;
    // Nothing is parked in the lane any more: the next alert goes out.
    assert_eq!(receiver.next().await.header("webhook-id"), "msg_0_2");
    let counts = sink.finish().await;
    assert_eq!((counts.outcome("cancelled"), counts.outcome("delivered")), (2, 1));
    assert_eq!((counts.outcome("rejected"), counts.waiting()), (1, "0"));
}

#[tokio::test]
async fn the_end_of_an_alert_that_was_given_up_is_not_told() {
    let mut receiver = Receiver::start(|n, _| Reply::status(if n < 5 { 404 } else { 200 })).await;
    let sink = Sink::start(config(&url(&receiver)), waits(&[1; 12]));
    sink.send(message(0, 1)).await;
    sink.send(message(0, 2)).await;
    for _ in 0..6 {
        receiver.next().await;
    }
    sink.send(end_of(&message(0, 1))).await;
    sink.send(end_of(&message(0, 2))).await;
    assert_eq!(receiver.next().await.header("webhook-id"), "msg_0_2_end");
    let counts = sink.finish().await;
    assert_eq!((counts.outcome("given_up"), counts.outcome("cancelled")), (1, 1));
    assert_eq!((counts.outcome("delivered"), counts.waiting()), (2, "0"));
}

#[tokio::test]
async fn an_alert_that_may_have_arrived_is_told_to_its_end() {
    let mut receiver = Receiver::start(|n, _| Reply::status(if n == 0 { 504 } else { 200 })).await;
    let sink = Sink::start(config(&url(&receiver)), waits(&[300]));
    sink.send(message(0, 1)).await;
    receiver.next().await;
    sink.send(end_of(&message(0, 1))).await;
    for id in ["msg_0_1", "msg_0_1_end"] {
        assert_eq!(receiver.next().await.header("webhook-id"), id);
    }
    let counts = sink.finish().await;
    assert_eq!((counts.outcome("cancelled"), counts.outcome("delivered")), (0, 2));
}

#[tokio::test]
async fn a_stop_delivers_what_is_queued_and_takes_no_more() {
    let receiver = Receiver::start(|_, _| Reply::status(200)).await;
    let sink = Sink::start(config(&url(&receiver)), waits(&[1]));
    for number in 0..100 {
        sink.send(message(number, number)).await;
    }
    sink.stop.cancel();
    timeout(DEADLINE, sink.queue.closed()).await.unwrap();
    assert_eq!(sink.finish().await.outcome("delivered"), 100);
}

#[tokio::test]
async fn a_receiver_that_hangs_has_at_most_four_requests_and_fills_bounded_queues() {
    let mut receiver = Receiver::start(|_, _| Reply::Silence).await;
    let sink = Sink::start(config(&url(&receiver)), waits(&[]));
    for lane in 0..8 {
        sink.send(message(lane, 0)).await;
    }
    for _ in 0..4 {
        receiver.next().await;
    }
    // 1,024 held, 4 in the caller's queue.
    for number in 8..1_028 {
        sink.send(message(0, number)).await;
    }
    assert!(timeout(Duration::from_millis(200), sink.queue.reserve()).await.is_err());
    assert_eq!(receiver.connections(), 4);
}

#[tokio::test]
async fn a_wrong_configuration_is_refused_without_showing_secret_or_path() {
    let good = config("http://127.0.0.1:9/hook/s3cret-path");
    let mut bad_secret = good.clone();
    bad_secret.secrets = vec!["whsec_s3cret".into()];
    let mut plain_http = good.clone();
    plain_http.allow_http = false;
    let mut no_ca = good;
    no_ca.url.0.set_scheme("https").unwrap();
    no_ca.ca_file = Some("/no/such/file.pem".into());
    for config in [bad_secret, plain_http, no_ca] {
        let (_queue, queue) = mpsc::channel(1);
        let (settled, _settlements) = mpsc::channel(1);
        let (notices, _noticed) = mpsc::channel(1);
        let letters = open_letters(&tempfile::tempdir().unwrap());
        let ports = Ports { queue, settled, letters, notices };
        let metrics = Arc::new(Metrics::detached());
        let task = tokio::spawn(webhook::run(config, ports, metrics, CancellationToken::new()));
        let refused = timeout(DEADLINE, task).await.unwrap().unwrap().unwrap_err();
        let text = refused.to_string();
        assert!(text.starts_with("sink ops: ") && !text.contains("s3cret"), "{text}");
    }
}
