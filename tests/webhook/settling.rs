//! Every parcel is settled once, after what has to be durable is; what is not settled stays owed.

use std::fs;
use std::time::Duration;

use lastseen::alert::self_health::Notice;
use lastseen::sink::Settlement::{self, Cancelled, Delivered, GivenUp};
use lastseen::store::dead_letter::UndeliveredReason;
use tokio::time::timeout;

use crate::receiver::{DEADLINE, Receiver, Reply};
use crate::sink::{Sink, config, end_of, message, open_letters, waits};
use crate::url;

fn named(settled: &[(&str, Settlement)]) -> Vec<(String, Settlement)> {
    settled.iter().map(|(id, settlement)| ((*id).to_owned(), *settlement)).collect()
}

#[tokio::test]
async fn each_parcel_is_settled_once_whatever_becomes_of_it() {
    // What is about lane 0 is rejected, lane 1 needs a second attempt, the others are taken.
    let receiver = Receiver::start(|n, request| match request.header("webhook-id") {
        id if id.starts_with("msg_0_") => Reply::status(404),
        id if id.starts_with("msg_1_") && n % 2 == 0 => Reply::status(503),
        _ => Reply::status(200),
    })
    .await;
    let sink = Sink::start(config(&url(&receiver)), waits(&[1; 60]));
    for number in 0..40 {
        for lane in 0..4 {
            sink.send(message(lane, number)).await;
        }
    }
    sink.send(end_of(&message(0, 39))).await;
    let settled = sink.settled(161).await;
    let of = |lane: u64| {
        let prefix = format!("msg_{lane}_");
        settled.iter().filter(move |(id, _)| id.starts_with(&prefix)).map(|(_, became)| *became)
    };
    assert!(of(0).all(|became| matches!(became, GivenUp | Cancelled)));
    assert!((1..4).flat_map(of).all(|became| became == Delivered));
    let given_up = of(0).filter(|became| *became == GivenUp).count();
    assert_eq!(sink.letters.list(99).await.unwrap().len(), given_up);
    let counts = sink.finish().await;
    assert_eq!((counts.left.len(), counts.waiting()), (0, "0"));
}

#[tokio::test]
async fn what_is_given_up_is_in_the_dead_letters_before_it_is_settled_and_is_told() {
    let receiver = Receiver::start(|n, _| Reply::status(if n < 2 { 500 } else { 200 })).await;
    let mut sink = Sink::start(config(&url(&receiver)), waits(&[1]));
    let sent = message(0, 1);
    sink.send(sent.clone()).await;
    assert_eq!(sink.settled(1).await, named(&[("msg_0_1", GivenUp)]));
    // Read by another handle: it is on disk.
    let letter = open_letters(&sink.store).get("msg_0_1").await.unwrap().unwrap();
    assert_eq!((&letter.message, &*letter.sink), (&sent, "ops"));
    assert_eq!((letter.reason, letter.failures), (UndeliveredReason::Failed, 2));
    assert_eq!(letter.detail, "it answered 500");
    assert!(matches!(sink.notice().await, Notice::GivenUp { sink, .. } if &*sink == "ops"));
    for number in 2..4 {
        sink.send(message(0, number)).await;
    }
    assert_eq!(
        sink.settled(3).await[1..],
        named(&[("msg_0_2", Delivered), ("msg_0_3", Delivered)])
    );
    assert_eq!(sink.notice().await, Notice::Delivering { sink: "ops".into() });
    assert!(sink.notices.try_recv().is_err(), "one success is news, the next is not");
    sink.finish().await;
}

#[tokio::test]
async fn a_message_that_was_given_up_can_be_replayed_under_its_id() {
    let mut receiver = Receiver::start(|n, _| Reply::status(if n < 2 { 500 } else { 200 })).await;
    let sink = Sink::start(config(&url(&receiver)), waits(&[1]));
    sink.send(message(0, 1)).await;
    sink.settled(1).await;
    let letter = sink.letters.get("msg_0_1").await.unwrap().unwrap();
    sink.send(letter.message).await;
    let requests = [receiver.next().await, receiver.next().await, receiver.next().await];
    for request in &requests {
        assert_eq!(request.header("webhook-id"), "msg_0_1");
        assert_eq!(request.body, requests[0].body);
    }
    let settled = sink.settled(2).await;
    assert_eq!(settled, named(&[("msg_0_1", GivenUp), ("msg_0_1", Delivered)]));
    sink.finish().await;
}

#[tokio::test]
async fn a_message_is_kept_while_it_can_not_be_put_into_the_dead_letters() {
    let mut receiver = Receiver::start(|_, request| match request.header("webhook-id") {
        "msg_0_1" => Reply::status(500),
        _ => Reply::status(200),
    })
    .await;
    let sink = Sink::start(config(&url(&receiver)), waits(&[]));
    // A file where the folder should be: nothing can be written.
    let folder = sink.store.path().join("dead-letters/delivery");
    fs::remove_dir(&folder).unwrap();
    fs::write(&folder, "").unwrap();
    sink.send(message(0, 1)).await;
    sink.send(message(0, 2)).await;
    sink.send(message(1, 1)).await;
    let failed = r#"lastseen_delivery_dead_letters_failed_total{sink="ops"}"#;
    sink.until(failed, 3).await;
    // The others go on; only its own lane waits, and it is not attempted again.
    assert_eq!(sink.settled(1).await, named(&[("msg_1_1", Delivered)]));
    fs::remove_file(&folder).unwrap();
    let settled = sink.settled(3).await;
    assert_eq!(settled[1..], named(&[("msg_0_1", GivenUp), ("msg_0_2", Delivered)]));
    assert_eq!(sink.letters.list(9).await.unwrap().len(), 1);
    let mut attempts = Vec::new();
    for _ in 0..3 {
        attempts.push(receiver.next().await.header("webhook-id").to_owned());
    }
    attempts.sort_unstable();
    assert_eq!(attempts, ["msg_0_1", "msg_0_2", "msg_1_1"]);
    let counts = sink.finish().await;
    assert_eq!((counts.outcome("given_up"), counts.left.len()), (1, 0));
}

#[tokio::test]
async fn what_can_not_be_put_into_the_dead_letters_until_the_stop_stays_owed() {
    let receiver = Receiver::start(|_, _| Reply::status(500)).await;
    let sink = Sink::start(config(&url(&receiver)), waits(&[]));
    let folder = sink.store.path().join("dead-letters/delivery");
    fs::remove_dir(&folder).unwrap();
    fs::write(&folder, "").unwrap();
    sink.send(message(0, 1)).await;
    sink.until(r#"lastseen_delivery_dead_letters_failed_total{sink="ops"}"#, 1).await;
    sink.stop.cancel();
    let counts = sink.finish().await;
    assert!(counts.left.iter().eq(["msg_0_1"]), "{:?}", counts.left);
    assert_eq!((counts.outcome("given_up"), counts.waiting()), (0, "1"));
}

#[tokio::test]
async fn what_an_earlier_process_may_have_delivered_is_told_to_its_end() {
    let mut receiver = Receiver::start(|n, _| Reply::status(if n == 0 { 404 } else { 200 })).await;
    let sink = Sink::start(config(&url(&receiver)), waits(&[300]));
    sink.send_parcel(message(0, 1), true).await;
    receiver.next().await;
    sink.send(end_of(&message(0, 1))).await;
    for id in ["msg_0_1", "msg_0_1_end"] {
        assert_eq!(receiver.next().await.header("webhook-id"), id);
    }
    let settled = sink.settled(2).await;
    assert_eq!(settled, named(&[("msg_0_1", Delivered), ("msg_0_1_end", Delivered)]));
    assert_eq!(sink.finish().await.outcome("cancelled"), 0);
}

#[tokio::test]
async fn an_end_that_comes_during_the_last_attempt_is_not_told_without_its_beginning() {
    let mut receiver = Receiver::start(|_, _| Reply::Silence).await;
    let mut config = config(&url(&receiver));
    config.timeout_ms = 1_000;
    // The connection is made, so that the receiver may have the message: it is told to its end.
    let sink = Sink::start(config.clone(), waits(&[]));
    sink.send(message(0, 1)).await;
    sink.send(end_of(&message(0, 1))).await;
    assert_eq!(receiver.next().await.header("webhook-id"), "msg_0_1");
    assert_eq!(receiver.next().await.header("webhook-id"), "msg_0_1_end");
    let settled = sink.settled(2).await;
    assert_eq!(settled, named(&[("msg_0_1", GivenUp), ("msg_0_1_end", GivenUp)]));
    // A refusal says that it has not: the end would be an orphan.
    let receiver = Receiver::start(|n, _| Reply::status(if n == 0 { 404 } else { 200 })).await;
    config.url.0 = url(&receiver).parse().unwrap();
    let sink = Sink::start(config, waits(&[]));
    sink.send(message(0, 1)).await;
    sink.send(end_of(&message(0, 1))).await;
    sink.settled(2).await;
    let counts = sink.finish().await;
    assert_eq!((counts.outcome("given_up"), counts.outcome("cancelled")), (1, 1));
    assert_eq!(counts.outcome("delivered"), 0);
}

#[tokio::test]
async fn deliveries_go_on_while_nobody_reads_the_settlements_and_none_is_lost() {
    let mut receiver = Receiver::start(|_, _| Reply::status(200)).await;
    let sink = Sink::start_unread(config(&url(&receiver)), waits(&[]));
    // Four fit into the channel; the others wait inside.
    for number in 0..500 {
        sink.send(message(number % 7, number)).await;
    }
    for _ in 0..500 {
        receiver.next().await;
    }
    let sink = sink.read();
    assert_eq!(sink.settled(500).await.len(), 500);
    assert_eq!(sink.finish().await.left.len(), 0);
}

#[tokio::test]
async fn unread_settlements_close_the_intake_once_as_much_is_held_as_may_be() {
    let mut receiver = Receiver::start(|_, _| Reply::status(200)).await;
    let sink = Sink::start_unread(config(&url(&receiver)), waits(&[]));
    // 4 settlements in their channel, 1,024 held.
    for number in 0..1_028 {
        sink.send(message(number % 7, number)).await;
    }
    for _ in 0..1_028 {
        receiver.next().await;
    }
    for number in 0..4 {
        sink.send(message(0, 2_000 + number)).await;
    }
    let is_closed = timeout(Duration::from_millis(200), sink.queue.reserve()).await.is_err();
    assert!(is_closed, "more was taken in than can be settled");
    let sink = sink.read();
    sink.settled(1_032).await;
    assert_eq!(sink.finish().await.left.len(), 0);
}

#[tokio::test]
async fn a_sink_ends_although_whoever_owes_its_messages_has_ended_first() {
    let receiver = Receiver::start(|_, _| Reply::status(200)).await;
    let mut sink = Sink::start_unread(config(&url(&receiver)), waits(&[]));
    sink.drop_settlements();
    for number in 0..20 {
        sink.send(message(0, number)).await;
    }
    let counts = sink.finish().await;
    assert_eq!((counts.outcome("delivered"), counts.left.len()), (20, 20));
}

#[tokio::test]
async fn a_stop_leaves_what_is_parked_and_what_fails_unsettled_and_delivers_the_rest() {
    let mut receiver = Receiver::start(|_, request| match request.header("webhook-id") {
        id if id.starts_with("msg_0_") || id.starts_with("msg_1_") => Reply::status(503),
        _ => Reply::status(200),
    })
    .await;
    let sink = Sink::start(config(&url(&receiver)), waits(&[3_600_000]));
    sink.send(message(0, 1)).await;
    receiver.next().await;
    sink.send(end_of(&message(0, 1))).await;
    sink.until(r#"lastseen_deliveries_total{sink="ops",outcome="server_error"}"#, 1).await;
    sink.stop.cancel();
    timeout(DEADLINE, sink.queue.closed()).await.unwrap();
    let counts = sink.finish().await;
    assert!(counts.left.iter().eq(["msg_0_1", "msg_0_1_end"]), "{:?}", counts.left);

    let sink = Sink::start(config(&url(&receiver)), waits(&[3_600_000]));
    for lane in 1..4 {
        sink.send(message(lane, 1)).await;
    }
    sink.stop.cancel();
    let counts = sink.finish().await;
    // What was in the queue got its attempt; what failed is owed.
    assert!(counts.left.iter().eq(["msg_1_1"]), "{:?}", counts.left);
    assert_eq!((counts.outcome("delivered"), counts.waiting()), (2, "1"));
}

#[tokio::test]
async fn nothing_is_tried_again_after_a_stop_although_an_attempt_is_still_under_way() {
    let mut receiver = Receiver::start(|_, request| match request.header("webhook-id") {
        "msg_0_1" => Reply::status(503),
        _ => Reply::Silence,
    })
    .await;
    let mut config = config(&url(&receiver));
    config.timeout_ms = 2_500;
    let sink = Sink::start(config, waits(&[1_000]));
    for lane in 0..2 {
        sink.send(message(lane, 1)).await;
        receiver.next().await;
    }
    sink.stop.cancel();
    let counts = sink.finish().await;
    assert_eq!((counts.outcome("server_error"), counts.outcome("timed_out")), (1, 1));
    assert!(counts.left.iter().eq(["msg_0_1", "msg_1_1"]), "{:?}", counts.left);
}
