//! A webhook receiver for the demo and the load test: verifies the signature, records what came and when.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use secrecy::SecretString;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::fleet::{Notice, NoticeStatus};
use crate::alert::body::MAX_BODY_BYTES;
use crate::alert::signature::Signer;
use crate::clock::Stopwatch;
use crate::engine::{Millis, Timestamp};

/// The path that takes webhooks.
pub const PATH: &str = "/hook";

/// The most webhooks kept: several for each device that a demo or a load test silences. Beyond, the receiver answers 503,
/// and what it did not keep counts as not received.
const MAX_NOTICES: usize = 500_000;

/// How far the signed time may be off, either way: the tolerance of the Standard Webhooks libraries, five minutes.
const TOLERANCE_MS: Millis = 300_000;

/// What came in.
#[derive(Clone, Debug, Default)]
pub struct Inbox(Arc<Mutex<Received>>);

/// What came in, in order of receipt.
#[derive(Debug, Default)]
struct Received {
    notices: Vec<Notice>,
    refused: u64,
    about_no_device: u64,
}

impl Inbox {
    /// Looks at everything received so far.
    pub fn read<T>(&self, look: impl FnOnce(&[Notice]) -> T) -> T {
        look(&self.0.lock().unwrap_or_else(PoisonError::into_inner).notices)
    }

    /// How many webhooks were refused: not signed, or not readable.
    pub fn refused(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).refused
    }

    /// How many webhooks were about a way in or the service itself.
    pub fn about_no_device(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).about_no_device
    }

    fn set_aside(&self) -> StatusCode {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).about_no_device += 1;
        StatusCode::NO_CONTENT
    }

    fn keep(&self, notice: Notice) -> StatusCode {
        let mut received = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if received.notices.len() >= MAX_NOTICES {
            return StatusCode::SERVICE_UNAVAILABLE;
        }
        received.notices.push(notice);
        StatusCode::NO_CONTENT
    }

    fn refuse(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).refused += 1;
    }
}

/// A secret that nobody else knows.
pub fn fresh_secret() -> SecretString {
    let bytes: [u8; 32] = rand::random();
    format!("whsec_{}", BASE64.encode(bytes)).into()
}

#[derive(Clone)]
struct Receiver {
    inbox: Inbox,
    signer: Signer,
    watch: Stopwatch,
}

/// Takes webhooks on `listener` until `stop`.
pub async fn serve(
    listener: TcpListener,
    signer: Signer,
    inbox: Inbox,
    watch: Stopwatch,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let receiver = Receiver { inbox, signer, watch };
    let router = Router::new()
        .route(PATH, post(receive))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(receiver);
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
}

async fn receive(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let now = receiver.watch.now();
    let Some(message_id) = verify(&receiver.signer, &headers, &body, now) else {
        receiver.inbox.refuse();
        return StatusCode::UNAUTHORIZED;
    };
    match read(message_id, &body, now) {
        Some(notice) => receiver.inbox.keep(notice),
        // About the way in or the service, not about a device: the verdict is on devices.
        None if is_about_no_device(&body) => receiver.inbox.set_aside(),
        None => {
            receiver.inbox.refuse();
            StatusCode::BAD_REQUEST
        }
    }
}

fn is_about_no_device(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Kind {
        r#type: String,
    }
    serde_json::from_slice(body).is_ok_and(|kind: Kind| {
        kind.r#type.starts_with("path.") || kind.r#type.starts_with("self.")
    })
}

/// The message id, if one of the signatures is ours and the signed time is near.
fn verify<'a>(
    signer: &Signer,
    headers: &'a HeaderMap,
    body: &[u8],
    now: Timestamp,
) -> Option<&'a str> {
    let text = |name| headers.get(name)?.to_str().ok();
    let message_id = text("webhook-id")?;
    let timestamp_s: i64 = text("webhook-timestamp")?.parse().ok()?;
    let expected = signer.sign(message_id, timestamp_s, body);
    let signed = text("webhook-signature")?.split(' ').any(|signature| signature == expected);
    let off_ms = now.since(Timestamp::from_ms(timestamp_s.saturating_mul(1_000)));
    (signed && off_ms.abs() <= TOLERANCE_MS).then_some(message_id)
}

#[derive(Deserialize)]
struct Payload {
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    status: Status,
    device_id: String,
    module_id: Option<String>,
    first_missed_at: String,
    detected_at: String,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    Firing,
    Resolved,
    Retracted,
    Amended,
}

/// The message as a notice; `None` if it is about no device, or can't be read.
pub fn read(message_id: &str, body: &[u8], received_at: Timestamp) -> Option<Notice> {
    let data = serde_json::from_slice::<Payload>(body).ok()?.data;
    let status = match data.status {
        Status::Firing => NoticeStatus::Firing,
        Status::Resolved => NoticeStatus::Resolved,
        Status::Retracted => NoticeStatus::Retracted,
        Status::Amended => NoticeStatus::Amended,
    };
    Some(Notice {
        message_id: message_id.to_owned(),
        device_id: data.device_id,
        module_id: data.module_id,
        status,
        first_missed_at: instant(&data.first_missed_at)?,
        detected_at: instant(&data.detected_at)?,
        received_at,
    })
}

fn instant(text: &str) -> Option<Timestamp> {
    let instant: jiff::Timestamp = text.parse().ok()?;
    Some(Timestamp::from_ms(instant.as_millisecond()))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const BODY: &[u8] = br#"{"type":"device.silent","timestamp":"2026-01-01T00:00:07.000Z","data":{
        "status":"firing","device_id":"sensor-00001","hub":"demo","cause":"silent",
        "first_missed_at":"2026-01-01T00:00:07.000Z","detected_at":"2026-01-01T00:00:07.040Z"}}"#;

    const NOW: Timestamp = Timestamp::from_ms(1_767_225_608_000);

    fn headers(signer: &Signer, timestamp_s: i64) -> HeaderMap {
        let text = |text: &str| HeaderValue::from_str(text).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("webhook-id", text("msg_1"));
        headers.insert("webhook-timestamp", text(&timestamp_s.to_string()));
        let signature = format!("v1,AAAA {}", signer.sign("msg_1", timestamp_s, BODY));
        headers.insert("webhook-signature", text(&signature));
        headers
    }

    #[test]
    fn only_a_message_signed_with_the_secret_at_about_this_time_is_taken() {
        let signer = Signer::new(&[fresh_secret()]).unwrap();
        let other = Signer::new(&[fresh_secret()]).unwrap();
        let now_s = NOW.as_ms() / 1_000;
        let good = headers(&signer, now_s);
        assert_eq!(verify(&signer, &good, BODY, NOW), Some("msg_1"));
        assert_eq!(verify(&signer, &good, b"{}", NOW), None);
        assert_eq!(verify(&other, &good, BODY, NOW), None);
        assert_eq!(verify(&signer, &headers(&signer, now_s - 301), BODY, NOW), None);
        assert_eq!(verify(&signer, &headers(&signer, i64::MIN), BODY, NOW), None);
        assert_eq!(verify(&signer, &HeaderMap::new(), BODY, NOW), None);
    }

    #[test]
    fn a_body_is_read_as_a_notice_and_anything_else_is_none() {
        let notice = read("msg_1", BODY, NOW).unwrap();
        assert_eq!(
            notice,
            Notice {
                message_id: "msg_1".into(),
                device_id: "sensor-00001".into(),
                module_id: None,
                status: NoticeStatus::Firing,
                first_missed_at: Timestamp::from_ms(1_767_225_607_000),
                detected_at: Timestamp::from_ms(1_767_225_607_040),
                received_at: NOW,
            }
        );
        assert_eq!(read("msg_1", b"{}", NOW), None);
        assert_eq!(read("msg_1", &BODY[1..], NOW), None);
    }
}
