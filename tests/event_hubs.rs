//! The source `event_hubs` against the embedded hub, over real sockets.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "a test ends by a panic, in its helpers too"
)]

use std::sync::Arc;
use std::time::Duration;

use lastseen::clock;
use lastseen::config::{EventHubsAuth, Start, Transport};
use lastseen::devhub::amqp::EndpointOptions;
use lastseen::engine::{Backlog, BlindReason, Dating, Timestamp};
use lastseen::source::event_hubs::{Timing, TokenTiming};
use lastseen::source::{Event, SourceError};
use tokio::time::timeout;

#[path = "event_hubs/harness.rs"]
mod harness;

use harness::{SOON, config, serve, start, start_with};

fn plain() -> EndpointOptions {
    EndpointOptions::default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_every_partition_from_the_oldest_message_in_order_and_without_a_hole() {
    let served = serve(4, plain()).await;
    let mut sent = [-1; 4];
    for n in 0..2_000 {
        let (partition, sequence) = served.beat(&format!("device-{}", n % 997));
        sent[partition] = sequence;
    }
    let mut source = start(served.config());
    // A worker outlives its source: none may go while others are still being opened.
    let mut workers = Vec::new();
    for (partition, last) in sent.iter().enumerate() {
        let mut far = source.partition(&partition.to_string()).await;
        let (attachment, attached) = far.attached().await;
        assert_eq!(attachment, 1);
        assert_eq!(attached.first_available, Some(0));
        let backlog = if *last < 0 { Backlog::Empty } else { Backlog::UpTo(*last) };
        assert_eq!(attached.backlog, backlog);
        assert_eq!(attached.dating, Dating::EventTime);
        assert!(attached.stream.is_some() && attached.at <= clock::wall());
        if *last >= 0 {
            let expected: Vec<i64> = (0..=*last).collect();
            assert_eq!(far.sequences(*last).await, expected);
        }
        workers.push(far);
    }
    source.connected().await;
    source.stop.cancel();
    assert!(timeout(SOON, &mut source.task).await.unwrap().unwrap().is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_connection_loses_and_repeats_nothing() {
    let served = serve(1, plain()).await;
    let mut source = start(served.config());
    let mut far = source.partition("0").await;
    source.connected().await;
    let hub = served.hub.clone();
    let cutting = tokio::spawn(async move {
        for round in 0..4 {
            for _ in 0..200 {
                served.beat("pump");
                tokio::task::yield_now().await;
            }
            if round < 3 {
                served.hub.faults().drop_connections();
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
        }
        served
    });
    let sequences = far.sequences(799).await;
    assert_eq!(sequences, (0..800).collect::<Vec<_>>());
    assert!(hub.counts().connections >= 3);
    drop(cutting.await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_attachment_goes_on_behind_what_was_handed_over_and_says_what_waits() {
    let served = serve(1, plain()).await;
    served.beats(10);
    let source = start(served.config());
    let mut far = source.partition("0").await;
    let (_, first) = far.attached().await;
    far.sequences(9).await;
    served.hub.faults().update(|faults| faults.link_down = true);
    let (reason, detail) = far.blind().await;
    assert_eq!(reason, BlindReason::LinkDown);
    assert!(!detail.is_empty());
    served.beats(5);
    served.hub.faults().update(|faults| faults.link_down = false);
    let (attachment, again) = far.attached().await;
    assert_eq!(attachment, 2);
    assert_eq!(again.stream, first.stream);
    assert_eq!(again.backlog, Backlog::UpTo(14));
    assert_eq!(far.sequences(14).await, (10..15).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_log_under_the_same_name_is_read_from_its_beginning_and_told_apart() {
    let served = serve(1, plain()).await;
    served.beats(3);
    let source = start(served.config());
    let mut far = source.partition("0").await;
    let (_, first) = far.attached().await;
    far.sequences(2).await;
    served.hub.reset_stream(clock::wall().plus(5));
    served.beats(6);
    let (_, again) = far.attached().await;
    assert_ne!(again.stream, first.stream);
    assert_eq!(far.sequences(5).await, (0..6).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_aged_out_while_away_shows_in_the_oldest_message_of_the_new_attachment() {
    let served = serve(1, plain()).await;
    served.beats(3);
    let source = start(served.config());
    let mut far = source.partition("0").await;
    far.sequences(2).await;
    served.hub.faults().update(|faults| faults.link_down = true);
    far.blind().await;
    served.beats(10);
    served.hub.expire(0, 8).unwrap();
    served.hub.faults().update(|faults| faults.link_down = false);
    let (_, again) = far.attached().await;
    assert_eq!(again.first_available, Some(8));
    assert_eq!(far.sequences(12).await, (8..13).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_aged_out_under_an_attached_receiver_begins_a_new_attachment_behind_the_hole() {
    let served = serve(1, plain()).await;
    served.beats(3);
    let source = start(served.config());
    let mut far = source.partition("0").await;
    let (first, _) = far.attached().await;
    far.sequences(2).await;
    served.hub.faults().update(|faults| faults.stop_delivering = true);
    served.beats(10);
    served.hub.expire(0, 8).unwrap();
    served.hub.faults().update(|faults| faults.stop_delivering = false);
    let (second, again) = far.attached().await;
    assert_eq!(second, first + 1);
    assert_eq!(again.first_available, Some(8));
    assert_eq!(again.backlog, Backlog::UpTo(12));
    assert_eq!(far.sequences(12).await, (8..13).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn latest_and_a_time_skip_what_is_older() {
    let served = serve(1, plain()).await;
    served.beats(3);
    let cut = clock::wall().plus(1);
    while clock::wall() <= cut {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let starts = [Start::Latest, Start::At(cut)];
    let mut fars = Vec::new();
    for begin in starts {
        let source = start(lastseen::config::EventHubsConfig { start: begin, ..served.config() });
        let mut far = source.partition("0").await;
        assert_eq!(far.attached().await.1.backlog, Backlog::Empty);
        fars.push((far, source));
    }
    served.beat("pump");
    for (far, _source) in &mut fars {
        assert_eq!(far.sequences(3).await, [3]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_credentials_and_throttling_are_named_without_the_key_and_end_by_themselves() {
    let served = serve(1, plain()).await;
    let mut source = start(served.config());
    let mut far = source.partition("0").await;
    source.connected().await;
    served.hub.faults().update(|faults| faults.refuse_tokens = true);
    loop {
        let (reason, detail) = far.blind().await;
        assert!(!detail.contains("c2Vjc"), "{detail}");
        if reason == BlindReason::Unauthorized {
            break;
        }
    }
    let status = source.until(|status| status.reason.is_some()).await;
    assert!(!status.connected && !status.reason.unwrap().contains("c2Vjc"));
    served.hub.faults().update(|faults| {
        faults.refuse_tokens = false;
        faults.throttle_management = true;
    });
    while far.blind().await.0 != BlindReason::Throttled {}
    served.hub.faults().update(|faults| faults.throttle_management = false);
    source.connected().await;
    far.attached().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_that_a_higher_epoch_took_is_left_alone_and_the_others_go_on() {
    let served = serve(2, plain()).await;
    let mut config = served.config();
    config.owner_level = Some(1);
    let mut loser = start(config.clone());
    let mut far = loser.partition("0").await;
    loser.connected().await;
    config.owner_level = Some(2);
    let mut winner = start(config);
    let mut won = winner.partition("0").await;
    winner.connected().await;
    let (reason, detail) = far.blind().await;
    assert_eq!(reason, BlindReason::NotOwner);
    assert!(detail.contains("amqp:link:stolen"), "{detail}");
    let status = loser.until(|status| !status.connected).await;
    assert!(status.reason.unwrap().contains("stolen"));
    let device = (0..).map(|n| format!("d{n}")).find(|device| served.hub.partition_of(device) == 0);
    served.beat(&device.unwrap());
    assert_eq!(won.sequences(0).await, [0]);
    // The hub may learn of the end of what was stolen after the one who lost it.
    let only_the_winner = async {
        while served.hub.counts().open_receivers != 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), only_the_winner).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_renewed_before_its_end_on_the_same_connection() {
    let served = serve(1, plain()).await;
    let token = TokenTiming { lifetime_ms: 3_000, renew_ahead_ms: 2_000, retry_ms: 100 };
    let mut source = start_with(served.config(), Timing { token, ..Timing::default() });
    let mut far = source.partition("0").await;
    source.connected().await;
    let renewed = async {
        while served.hub.counts().tokens < 6 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(SOON, renewed).await.unwrap();
    served.beat("pump");
    assert_eq!(far.sequences(0).await, [0]);
    assert_eq!(served.hub.counts().connections, 1);
    assert_eq!(source.status.borrow().connects, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_way_to_authenticate_and_to_connect_delivers() {
    let folder = tempfile::tempdir().unwrap();
    let token_file = folder.path().join("token");
    std::fs::write(&token_file, "header.claims.signature\n").unwrap();
    let jwt = EndpointOptions { jwt: Some("header.claims.signature".into()), ..plain() };
    let websocket = EndpointOptions { websocket: true, ..plain() };
    let sas = EventHubsAuth::CbsSas;
    let tcp = Transport::Tcp;
    for (options, auth, transport) in [
        (plain(), EventHubsAuth::Plain, tcp.clone()),
        (jwt, EventHubsAuth::CbsJwt { token_file }, tcp),
        (websocket, sas, Transport::WebSocket { proxy: None }),
    ] {
        let served = serve(1, options).await;
        served.beat("pump");
        let source =
            start(lastseen::config::EventHubsConfig { auth, transport, ..served.config() });
        assert_eq!(source.partition("0").await.sequences(0).await, [0]);
    }
}

/// A certificate for `localhost`: the roots' file, and how a server uses it.
fn certificate() -> (tempfile::NamedTempFile, Arc<rustls::ServerConfig>) {
    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), made.cert.pem()).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    (file, Arc::new(config))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_delivers_to_whoever_trusts_the_certificate_and_to_nobody_else() {
    let (ca_file, tls) = certificate();
    let options = EndpointOptions { tls: Some(tls), ..plain() };
    let served = serve(1, options).await;
    served.beat("pump");
    let connection_string = format!(
        "Endpoint=sb://localhost:{}/;SharedAccessKeyName=service;SharedAccessKey={};EntityPath=events",
        served.port,
        served.hub.options().key
    );
    let mut distrusting = start(config(&connection_string));
    let status = distrusting.until(|status| status.reason.is_some()).await;
    assert!(status.reason.unwrap().starts_with("TLS with localhost failed"));
    let mut trusting = config(&connection_string);
    trusting.ca_file = Some(ca_file.path().to_owned());
    let source = start(trusting);
    assert_eq!(source.partition("0").await.sequences(0).await, [0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_redirect_of_an_iot_hub_is_followed_on_loopback_and_nowhere_else() {
    let service = |served: &harness::Served| {
        format!(
            "HostName=127.0.0.1:{};SharedAccessKeyName=service;SharedAccessKey={};UseDevelopmentEmulator=true",
            served.port,
            served.hub.options().key
        )
    };
    let served = serve(1, plain()).await;
    served.beat("pump");
    let source = start(config(&service(&served)));
    assert_eq!(source.partition("0").await.sequences(0).await, [0]);

    let elsewhere =
        EndpointOptions { redirect: Some(("evil.example.net".into(), 5671)), ..plain() };
    let served = serve(1, elsewhere).await;
    let mut source = start(config(&service(&served)));
    let status = source.until(|status| status.reason.is_some()).await;
    let reason = status.reason.unwrap();
    assert!(reason.contains("evil.example.net") && reason.contains("not sent"), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_partition_gets_its_proof_within_400_ms_of_its_deadline() {
    let served = serve(1, plain()).await;
    served.beat("pump");
    let mut source = start(served.config());
    let mut far = source.partition("0").await;
    far.sequences(0).await;
    source.connected().await;
    for _ in 0..5 {
        let deadline = clock::wall().plus(600);
        far.progress.send_modify(|progress| progress.next_deadline = Some(deadline));
        loop {
            let proof = far.proof().await;
            assert!(proof.at <= clock::wall(), "a proof is never dated ahead");
            assert_eq!(proof.last_enqueued, Some(0));
            far.progress.send_modify(|progress| progress.clock = proof.at);
            if proof.at >= deadline {
                let late_ms = clock::wall().since(deadline);
                assert!(late_ms <= 400, "{late_ms} ms after the deadline");
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_proof_while_the_broker_holds_messages_back() {
    let served = serve(1, plain()).await;
    served.beat("pump");
    let mut source = start(served.config());
    let mut far = source.partition("0").await;
    far.sequences(0).await;
    source.connected().await;
    far.proof().await; // Comes with the message.
    served.hub.faults().update(|faults| faults.stop_delivering = true);
    let (_, held) = served.beat("pump");
    far.progress.send_modify(|progress| progress.next_deadline = Some(Timestamp::from_ms(1)));
    let before = served.hub.counts().management_reads;
    let asked = async {
        while served.hub.counts().management_reads < before + 5 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(SOON, asked).await.unwrap();
    assert!(far.events.try_recv().is_err(), "nothing came, so nothing is proven");
    served.hub.faults().update(|faults| faults.stop_delivering = false);
    assert!(matches!(far.next().await, Event::Batch { .. }));
    assert_eq!(far.proof().await.last_enqueued, Some(held));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hostile_message_is_handed_over_whole_and_the_next_one_too() {
    let served = serve(1, plain()).await;
    served.beat("pump");
    let mut hostile = vec![0x00, 0x53, 0x72];
    hostile.extend(vec![0_u8; 200_000]);
    served.hub.send_raw(0, hostile.clone().into(), clock::wall()).unwrap();
    served.beat("pump");
    let source = start(served.config());
    let mut far = source.partition("0").await;
    let mut seen = Vec::new();
    while seen.len() < 3 {
        if let Event::Batch { deliveries, .. } = far.next().await {
            seen.extend(deliveries);
        }
    }
    assert_eq!(seen.iter().map(|delivery| delivery.sequence).collect::<Vec<_>>(), [0, 1, 2]);
    let lastseen::wire::RawMessage::Amqp10(raw) = &seen[1].raw else {
        panic!("not an AMQP 1.0 message");
    };
    assert!(raw.ends_with(&hostile));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_takes_nothing_leaves_the_backlog_with_the_broker() {
    let served = serve(1, plain()).await;
    served.beats(20);
    let mut config = served.config();
    config.credit = 4;
    let mut source = start(config);
    let mut far = source.partition("0").await;
    source.connected().await;
    let quiet = async {
        let mut delivered = 0;
        loop {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let now = served.hub.counts().delivered;
            if now == delivered {
                return now;
            }
            delivered = now;
        }
    };
    served.beats(5_000);
    let delivered = timeout(SOON, quiet).await.unwrap();
    assert!(delivered < 5_000, "{delivered} of 5,020 were taken although nobody reads");
    assert_eq!(far.sequences(5_019).await.len(), 5_020);
}

#[tokio::test]
async fn a_connection_string_that_can_not_work_ends_the_source_with_the_remedy() {
    let mut source = start(config("Endpoint=sb://h/;SharedAccessKeyName=a;SharedAccessKey=hidden"));
    let ended = timeout(SOON, &mut source.task).await.unwrap().unwrap();
    let Err(SourceError::Misconfigured { message, .. }) = ended else {
        panic!("{ended:?}");
    };
    assert!(message.contains("EntityPath") && !message.contains("hidden"), "{message}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_is_live_once_it_was_drained_and_drained_credit_comes_back() {
    let served = serve(1, plain()).await;
    served.beats(120);
    let source = harness::start_queue(&served);
    let mut far = source.partition("0").await;
    let (attachment, _) = far.attached().await;
    assert_eq!(far.blind().await.0, BlindReason::Lagging);
    let acknowledge = |far: &harness::Far, attachment, sequence| {
        far.progress.send_modify(|progress| progress.acknowledge = Some((attachment, sequence)));
    };
    let mut last = 0;
    while last < 120 {
        let Event::Batch { attachment, deliveries } = far.next().await else {
            panic!("live before the backlog was read");
        };
        last = deliveries.last().unwrap().sequence;
        acknowledge(&far, attachment, last);
    }
    let (live, attached) = far.attached().await;
    assert_eq!((live, attached.backlog), (attachment + 1, Backlog::Empty));
    for round in 1..=5 {
        let deadline = clock::wall().plus(200);
        far.progress.send_modify(|progress| progress.next_deadline = Some(deadline));
        let proof = far.proof().await;
        assert!(proof.at >= deadline && proof.at <= clock::wall());
        assert_eq!(proof.last_enqueued, None);
        far.progress.send_modify(|progress| progress.clock = proof.at);
        served.beats(130);
        while last < 120 + 130 * round {
            if let Event::Batch { attachment, deliveries } = far.next().await {
                last = deliveries.last().unwrap().sequence;
                acknowledge(&far, attachment, last);
            }
        }
    }
}
