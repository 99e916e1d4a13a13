use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::alert::Message;
use crate::alert::body::Status;
use crate::api::data::{AlertInfo, IdentityInfo, PartitionInfo, Replayed};
use crate::engine::Timestamp;
use crate::store::dead_letter::{OriginalForm, UndeliveredReason};

/// 2026-01-01T00:00:00Z.
const MIDNIGHT: Timestamp = Timestamp::from_ms(1_767_225_600_000);

/// Answers with what it was asked, and remembers what it was asked to do.
#[derive(Default)]
struct Fake {
    limits: Mutex<Vec<usize>>,
    replayed: Mutex<Vec<String>>,
}

fn alert(number: usize) -> AlertInfo {
    AlertInfo {
        alert_id: format!("{number:04}"),
        r#type: "device.silent",
        severity: "critical",
        hub: Some("h".into()),
        device_id: Some(format!("d{number}")),
        module_id: None,
        source: None,
        sink: None,
        since: Some(MIDNIGHT),
        detected_at: None,
    }
}

impl Data for Fake {
    fn partitions(&self) -> BoxFuture<'_, Vec<PartitionInfo>> {
        let partition = PartitionInfo {
            source: "hub".into(),
            partition: "3".into(),
            clock: Some(MIDNIGHT),
            clock_age_ms: Some(1_043),
            blind: Some("stalled"),
            live: true,
            identities: BTreeMap::from([("online", 7)]),
            unjudgeable: 0,
            unobserved_percent: 4,
            next_deadline: None,
        };
        ready(vec![partition]).boxed()
    }

    fn identity<'a>(&'a self, identity: IdentityRef<'a>) -> BoxFuture<'a, Option<IdentityInfo>> {
        let info = (identity.device != "nobody").then(|| IdentityInfo {
            hub: identity.hub.to_owned(),
            device_id: identity.device.to_owned(),
            module_id: identity.module.map(str::to_owned),
            state: "late",
            unknown: Some("link_down"),
            last_seen: Some(MIDNIGHT),
            deadline: Some(MIDNIGHT.plus(70_000)),
            source: "hub".into(),
            partition: "3".into(),
        });
        ready(info).boxed()
    }

    fn open_alerts(
        &self,
        limit: usize,
        after: Option<String>,
    ) -> BoxFuture<'_, Result<AlertPage, DataError>> {
        let all: Vec<AlertInfo> = (0..250).map(alert).collect();
        let rest = all.into_iter().filter(|a| after.as_ref().is_none_or(|id| a.alert_id > *id));
        let mut alerts: Vec<AlertInfo> = rest.take(limit + 1).collect();
        let has_more = alerts.len() > limit;
        alerts.truncate(limit);
        ready(Ok(AlertPage { alerts, has_more })).boxed()
    }

    fn ingest_letters(&self, limit: usize) -> BoxFuture<'_, Result<Vec<DeadLetter>, DataError>> {
        self.limits.lock().unwrap().push(limit);
        let letter = DeadLetter {
            at: MIDNIGHT,
            source: "hub".into(),
            partition: "0".into(),
            sequence: 9,
            reason: "malformed".into(),
            detail: "why".into(),
            form: OriginalForm::Line,
            original: "s3cret".into(),
            original_bytes: 6,
        };
        ready(Ok(vec![letter])).boxed()
    }

    fn delivery_letters(
        &self,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<DeliveryLetter>, DataError>> {
        self.limits.lock().unwrap().push(limit);
        let letter = DeliveryLetter {
            at: MIDNIGHT,
            sink: "ops".into(),
            message: Message {
                message_id: "msg_1".into(),
                alert_id: "a".into(),
                lane: 7,
                status: Status::Firing,
                body: r#"{"a":1}"#.into(),
            },
            reason: UndeliveredReason::Rejected,
            detail: "it answered 404".into(),
            failures: 5,
        };
        ready(Ok(vec![letter])).boxed()
    }

    fn replay<'a>(&'a self, message_id: &'a str) -> BoxFuture<'a, Result<Replayed, DataError>> {
        self.replayed.lock().unwrap().push(message_id.to_owned());
        let replayed = Replayed { message_id: message_id.to_owned(), sink: "ops".into() };
        let (error, remedy) = ("full".to_owned(), "wait".to_owned());
        ready(match message_id {
            "msg_full" => Err(DataError::Unavailable { error, remedy }),
            "msg_gone" => Err(DataError::NotFound { error, remedy }),
            _ => Ok(replayed),
        })
        .boxed()
    }
}

struct Api {
    address: SocketAddr,
    fake: Arc<Fake>,
    _stop: tokio_util::sync::DropGuard,
}

impl Api {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let fake = Arc::new(Fake::default());
        let stop = CancellationToken::new();
        tokio::spawn(serve(listener, fake.clone(), stop.clone()));
        Self { address, fake, _stop: stop.drop_guard() }
    }

    async fn exchange(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        response
    }

    /// Status and body; every answer is guarded JSON.
    async fn ask(&self, method: &str, path: &str, headers: &str) -> (u16, Value) {
        let request = format!("{method} {path} HTTP/1.1\r\n{headers}\r\n");
        let response = self.exchange(&request).await;
        for header in ["x-content-type-options: nosniff", "cache-control: no-store"] {
            assert!(response.contains(header), "{response}");
        }
        assert!(response.contains("content-type: application/json"), "{response}");
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let body: Value = serde_json::from_str(body).unwrap();
        if status >= 400 {
            for field in ["error", "remedy"] {
                assert!(body[field].as_str().is_some_and(|text| !text.is_empty()), "{body}");
            }
        }
        (status, body)
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.ask("GET", path, "Host: localhost:8081\r\n").await
    }

    async fn post(&self, path: &str) -> (u16, Value) {
        self.ask("POST", path, "Host: 127.0.0.1\r\nContent-Length: 0\r\n").await
    }
}

#[tokio::test]
async fn partitions_say_their_clock_and_why_they_are_blind() {
    let (status, body) = Api::start().await.get("/api/v1/partitions").await;
    let expected = json!({ "partitions": [{
        "source": "hub", "partition": "3", "clock": "2026-01-01T00:00:00.000Z", "clock_age_ms": 1043,
        "blind": "stalled", "live": true, "identities": { "online": 7 }, "unjudgeable": 0,
        "unobserved_percent": 4, "next_deadline": null,
    }] });
    assert_eq!((status, body), (200, expected));
}

#[tokio::test]
async fn an_identity_is_named_by_its_decoded_ids_and_its_hub_without_case() {
    let api = Api::start().await;
    let (status, body) = api.get("/api/v1/identities/Example-HUB/a%2Fb%25%20C").await;
    let expected = json!({
        "hub": "example-hub", "device_id": "a/b% C", "state": "late", "unknown": "link_down",
        "last_seen": "2026-01-01T00:00:00.000Z", "deadline": "2026-01-01T00:01:10.000Z",
        "source": "hub", "partition": "3",
    });
    assert_eq!((status, body), (200, expected));
    let (status, body) = api.get("/api/v1/identities/h/d/modules/%24edgeAgent").await;
    assert_eq!((status, &body["module_id"]), (200, &json!("$edgeAgent")));
    assert_eq!(api.get("/api/v1/identities/h/nobody").await.0, 404);
}

#[tokio::test]
async fn what_can_be_no_id_is_refused() {
    let api = Api::start().await;
    let long = "x".repeat(129);
    for id in ["%FF", "%0A", "%C3%A9", &long] {
        assert_eq!(api.get(&format!("/api/v1/identities/h/{id}")).await.0, 400, "{id}");
        assert_eq!(api.get(&format!("/api/v1/identities/h/d/modules/{id}")).await.0, 400, "{id}");
    }
}

#[tokio::test]
async fn following_the_cursor_gives_every_open_alert_once() {
    let api = Api::start().await;
    for limit in [1, 99, 250, 1_000] {
        let mut ids = Vec::new();
        let mut path = format!("/api/v1/alerts?limit={limit}");
        loop {
            let (status, body) = api.get(&path).await;
            assert_eq!(status, 200);
            let alerts = body["alerts"].as_array().unwrap();
            assert!(alerts.len() <= limit);
            ids.extend(alerts.iter().map(|alert| alert["alert_id"].as_str().unwrap().to_owned()));
            let Some(cursor) = body["next_cursor"].as_str() else { break };
            assert!(!cursor.contains(ids.last().unwrap()), "the cursor is opaque");
            path = format!("/api/v1/alerts?limit={limit}&cursor={cursor}");
        }
        let expected: Vec<String> = (0..250).map(|number| alert(number).alert_id).collect();
        assert_eq!(ids, expected);
    }
}

#[tokio::test]
async fn a_limit_or_a_cursor_that_is_none_and_an_unknown_key_are_refused() {
    let api = Api::start().await;
    let overlong = URL_SAFE_NO_PAD.encode("x".repeat(MAX_CURSOR_BYTES + 1));
    for query in
        ["limit=0", "limit=1001", "limit=-1", "limit=x", "limit=", "cursor=", "cursor=%00", "a=b"]
    {
        assert_eq!(api.get(&format!("/api/v1/alerts?{query}")).await.0, 400, "{query}");
    }
    assert_eq!(api.get(&format!("/api/v1/alerts?cursor={overlong}")).await.0, 400);
    assert_eq!(api.get("/api/v1/dead-letters/ingest?cursor=YQ").await.0, 400);
}

#[tokio::test]
async fn dead_letters_are_listed_up_to_the_limit_and_those_of_devices_without_their_content() {
    let api = Api::start().await;
    let (status, body) = api.get("/api/v1/dead-letters/ingest?limit=5").await;
    let ingest = json!({ "dead_letters": [{
        "at": "2026-01-01T00:00:00.000Z", "source": "hub", "partition": "0", "sequence": 9,
        "reason": "malformed", "detail": "why", "original_bytes": 6,
    }] });
    assert_eq!((status, body), (200, ingest));
    let (status, body) = api.get("/api/v1/dead-letters/delivery").await;
    let delivery = json!({ "dead_letters": [{
        "at": "2026-01-01T00:00:00.000Z", "sink": "ops", "message_id": "msg_1", "alert_id": "a",
        "status": "firing", "reason": "rejected", "detail": "it answered 404", "failures": 5,
        "body": "{\"a\":1}",
    }] });
    assert_eq!((status, body), (200, delivery));
    assert_eq!(*api.fake.limits.lock().unwrap(), [5, DEFAULT_LIMIT]);
}

#[tokio::test]
async fn a_replay_is_asked_for_by_post_only_and_says_what_became_of_it() {
    let api = Api::start().await;
    let path = |id: &str| format!("/api/v1/dead-letters/delivery/{id}/replay");
    assert_eq!(api.get(&path("msg_1")).await.0, 405);
    assert!(api.fake.replayed.lock().unwrap().is_empty());
    let (status, body) = api.post(&path("msg_1")).await;
    assert_eq!((status, body), (202, json!({ "message_id": "msg_1", "sink": "ops" })));
    for (id, status) in [("msg_full", 503), ("msg_gone", 404)] {
        let (answered, body) = api.post(&path(id)).await;
        assert_eq!((answered, body), (status, json!({ "error": "full", "remedy": "wait" })));
    }
}

#[tokio::test]
async fn web_pages_of_others_are_kept_out() {
    let api = Api::start().await;
    let replay = "/api/v1/dead-letters/delivery/msg_1/replay";
    for host in [
        "evil.example",
        "localhost.evil.example",
        "10.0.0.1:8081",
        "a@127.0.0.1",
        "127.0.0.1/a",
        "",
    ] {
        let headers = format!("Host: {host}\r\n");
        assert_eq!(api.ask("GET", "/api/v1/partitions", &headers).await.0, 403, "{host}");
        assert_eq!(api.ask("POST", replay, &headers).await.0, 403, "{host}");
    }
    assert_eq!(api.ask("GET", "/api/v1/partitions", "").await.0, 403);
    for origin in ["https://evil.example", "http://localhost", "null"] {
        let headers = format!("Host: localhost:8081\r\nOrigin: {origin}\r\n");
        assert_eq!(api.ask("POST", replay, &headers).await.0, 403, "{origin}");
    }
    assert!(api.fake.replayed.lock().unwrap().is_empty());
    for host in ["localhost:8081", "[::1]:8081", "127.0.0.1"] {
        let headers = format!("Host: {host}\r\nOrigin: http://{host}\r\n");
        assert_eq!(api.ask("POST", replay, &headers).await.0, 202, "{host}");
    }
}

#[tokio::test]
async fn bodies_and_heads_are_bounded_and_unknown_paths_are_answered() {
    let api = Api::start().await;
    let replay = "/api/v1/dead-letters/delivery/msg_1/replay";
    let too_long = format!("Host: localhost\r\nContent-Length: {}\r\n", MAX_BODY_BYTES + 1);
    assert_eq!(api.ask("POST", replay, &too_long).await.0, 413);
    assert_eq!(api.get("/").await.0, 404);
    assert_eq!(api.get("/api/v1/dead-letters").await.0, 404);
    let mut stream = TcpStream::connect(api.address).await.unwrap();
    let endless = "x".repeat(1 << 20);
    // The server may close before all of it is sent.
    let _sent = stream.write_all(format!("GET / HTTP/1.1\r\nA: {endless}").as_bytes()).await;
    let mut response = Vec::new();
    let _closed = stream.read_to_end(&mut response).await;
    assert!(!response.starts_with(b"HTTP/1.1 200"));
}
