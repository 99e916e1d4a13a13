//! The API of the whole service, which has read a recording and whose receiver wants nothing any more.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use lastseen::app::App;
use lastseen::config::Config;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Far above what anything here takes, so that only a fault reaches it.
const DEADLINE: Duration = Duration::from_secs(30);

/// 2026-01-01T00:00:00Z.
const MIDNIGHT_MS: i64 = 1_767_225_600_000;

fn beat(device: &str, sequence: i64, after_ms: i64) -> String {
    let at_ms = MIDNIGHT_MS + after_ms;
    let annotations = json!({
        "x-opt-sequence-number": sequence, "x-opt-enqueued-time": at_ms,
        "iothub-connection-device-id": device, "iothub-enqueuedtime": at_ms,
        "iothub-message-source": "Telemetry",
    });
    json!({ "messageAnnotations": annotations, "body": {} }).to_string()
}

/// `pump 1` falls silent, `pump-2` is heard every five seconds, and one line is garbage.
fn recording() -> String {
    let mut lines = vec![beat("pump 1", 1, 0), "garbage".to_owned()];
    lines.extend((1..=40).map(|n| beat("pump-2", 1 + n, n * 5_000)));
    lines.join("\n") + "\n"
}

/// Answers 410 to everything.
async fn gone() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = axum::Router::new().fallback(async || axum::http::StatusCode::GONE);
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

fn config(folder: &Path, receiver: SocketAddr) -> Config {
    let secret = folder.join("ops.whsec");
    fs::write(&secret, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(folder.join("recording.jsonl"), recording()).unwrap();
    let yaml = format!(
        "sources: [{{ name: rec, type: file, hub: example-hub, path: recording.jsonl }}]
rules: {{ default: {{ window: 60s, grace: 10s }} }}
sinks:
  - name: ops
    type: webhook
    url: http://{receiver}/
    secret_file: ops.whsec
    allow_http: true
    allow_cidrs: [127.0.0.0/8]
http: {{ listen: 127.0.0.1:0 }}
api: {{ listen: 127.0.0.1:0 }}
"
    );
    let path = folder.join("lastseen.yaml");
    fs::write(&path, yaml).unwrap();
    Config::load(&path).unwrap().config
}

struct Api(SocketAddr);

impl Api {
    async fn ask(&self, method: &str, path: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(self.0).await.unwrap();
        let request = format!("{method} /api/v1{path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.0);
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap())
    }

    /// Asks until the answer is as wanted.
    async fn until(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let asked = timeout(DEADLINE, async {
            loop {
                let (status, body) = self.ask("GET", path).await;
                if status == 200 && wanted(&body) {
                    return body;
                }
                sleep(Duration::from_millis(20)).await;
            }
        });
        asked.await.unwrap()
    }
}

fn letters(body: &Value) -> &[Value] {
    body["dead_letters"].as_array().map(Vec::as_slice).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fleet_and_both_kinds_of_dead_letters_can_be_asked_for_and_a_message_replayed() {
    let folder = tempfile::tempdir().unwrap();
    let stop = CancellationToken::new();
    let app = App::build(config(folder.path(), gone().await), stop.clone()).await.unwrap();
    let api = Api(app.api_address().unwrap());
    let running = tokio::spawn(app.run());

    let pump = "/identities/Example-Hub/pump%201";
    let silent = api.until(pump, |body| body["state"] == "offline").await;
    assert_eq!(silent["last_seen"], "2026-01-01T00:00:00.000Z");
    assert_eq!(silent["deadline"], "2026-01-01T00:01:10.000Z");
    assert_eq!((&silent["hub"], &silent["source"]), (&json!("example-hub"), &json!("rec")));
    let heard = "/identities/example-hub/pump-2";
    let heard = api.until(heard, |body| body["last_seen"] == "2026-01-01T00:03:20.000Z").await;
    assert_ne!(heard["state"], "offline");
    assert_eq!(api.ask("GET", "/identities/example-hub/Pump-2").await.0, 404);

    let view = api.ask("GET", "/partitions").await.1;
    assert_eq!(view["partitions"][0]["source"], "rec");
    assert_eq!(view["partitions"][0]["identities"]["offline"], 1);
    assert_eq!(view["partitions"][0]["blind"], heard.get("unknown").cloned().unwrap_or_default());

    let unread = api.until("/dead-letters/ingest", |body| !letters(body).is_empty()).await;
    assert_eq!(letters(&unread)[0]["reason"], "malformed");

    let told = |body: &Value| letters(body).iter().any(|letter| letter["status"] == "firing");
    let undelivered = api.until("/dead-letters/delivery", told).await;
    let letter = &letters(&undelivered)[0];
    assert_eq!((&letter["sink"], &letter["reason"]), (&json!("ops"), &json!("disabled")));
    let id = letter["message_id"].as_str().unwrap();
    let replay = format!("/dead-letters/delivery/{id}/replay");
    let (status, replayed) = api.ask("POST", &replay).await;
    assert_eq!((status, replayed), (202, json!({ "message_id": id, "sink": "ops" })));
    // The endpoint is still disabled: the message comes back.
    let again = |body: &Value| letters(body).iter().filter(|l| l["message_id"] == id).count() == 2;
    api.until("/dead-letters/delivery", again).await;
    assert_eq!(api.ask("POST", "/dead-letters/delivery/msg_none/replay").await.0, 404);
    let (status, open) = api.ask("GET", "/alerts").await;
    let open = open["alerts"].as_array().map(Vec::as_slice).unwrap_or_default();
    let of_type = |kind: &str| open.iter().find(|alert| alert["type"] == kind);
    assert_eq!((status, open.len()), (200, 2));
    assert_eq!(of_type("device.silent").unwrap()["alert_id"], letter["alert_id"]);
    assert_eq!(of_type("self.health").unwrap()["sink"], "ops");

    stop.cancel();
    timeout(DEADLINE, running).await.unwrap().unwrap().unwrap();
}
