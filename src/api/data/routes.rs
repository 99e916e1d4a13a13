//! Routes below `/api/v1`: questions in, JSON out. No route reads a body.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::super::server::{self, guarded};
use super::{AlertPage, Data, DataError};
use crate::engine::IdentityRef;
use crate::engine::identity::check_id;
use crate::store::dead_letter::{DeadLetter, DeliveryLetter};

/// The most entries of one answer: at 20 kB for the largest body some 20 MB.
pub const MAX_LIMIT: usize = 1_000;
/// Entries of an answer if the caller does not say.
const DEFAULT_LIMIT: usize = 100;
/// A caller that announces more has mistaken us for another: nothing here reads a body.
const MAX_BODY_BYTES: u64 = 64 * 1024;
/// A cursor is an alert id in base64: half of that.
const MAX_CURSOR_BYTES: usize = 128;

type Shared = Arc<dyn Data>;

/// Answers on `listener` until `stop`; what was begun by then is finished.
pub async fn serve(listener: TcpListener, data: Shared, stop: CancellationToken) {
    server::serve(listener, router(data), "api", stop).await;
}

pub(super) fn router(data: Shared) -> axum::Router {
    let v1 = axum::Router::new()
        .route("/partitions", get(partitions))
        .route("/identities/{hub}/{device}", get(device))
        .route("/identities/{hub}/{device}/modules/{module}", get(module))
        .route("/alerts", get(alerts))
        .route("/dead-letters/ingest", get(ingest_letters))
        .route("/dead-letters/delivery", get(delivery_letters))
        .route("/dead-letters/delivery/{message_id}/replay", post(replay))
        .with_state(data);
    axum::Router::new()
        .nest("/api/v1", v1)
        .fallback(async || Problem::new(StatusCode::NOT_FOUND, "there is nothing here", PATHS))
        .method_not_allowed_fallback(async || {
            let remedy = "GET everything; POST only .../replay";
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "the method is not for this path", remedy)
        })
        .layer(middleware::from_fn(guard))
}

const PATHS: &str = "ask for /api/v1/partitions, /api/v1/identities/HUB/DEVICE, /api/v1/alerts, \
                     /api/v1/dead-letters/ingest or /api/v1/dead-letters/delivery";

/// What a caller is told instead of an answer.
#[derive(Debug)]
struct Problem {
    status: StatusCode,
    error: String,
    remedy: String,
}

impl Problem {
    fn new(status: StatusCode, error: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { status, error: error.into(), remedy: remedy.into() }
    }

    fn bad(error: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error, remedy)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = json!({ "error": self.error, "remedy": self.remedy });
        (self.status, [(header::CONTENT_TYPE, "application/json")], body.to_string())
            .into_response()
    }
}

impl From<DataError> for Problem {
    fn from(error: DataError) -> Self {
        match error {
            DataError::NotFound { error, remedy } => {
                Self::new(StatusCode::NOT_FOUND, error, remedy)
            }
            DataError::Unavailable { error, remedy } => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, error, remedy)
            }
        }
    }
}

type Answer = Result<Json, Problem>;

/// An answer.
struct Json(StatusCode, Value);

impl Json {
    fn ok(value: impl Serialize) -> Answer {
        Self::with(StatusCode::OK, value)
    }

    fn with(status: StatusCode, value: impl Serialize) -> Answer {
        let failed = |_| {
            let remedy = "report it with the path that was asked for";
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the answer can't be written", remedy)
        };
        Ok(Self(status, serde_json::to_value(value).map_err(failed)?))
    }
}

impl IntoResponse for Json {
    fn into_response(self) -> Response {
        (self.0, [(header::CONTENT_TYPE, "application/json")], self.1.to_string()).into_response()
    }
}

/// Keeps web pages out, whose scripts can reach a loopback address from the browser of whoever runs this: by a name of
/// their own that leads here (DNS rebinding), or by a POST across origins. Refuses large bodies, and forbids browsers
/// to guess the type of an answer.
async fn guard(request: Request, next: Next) -> Response {
    match refusal(request.method(), request.headers()) {
        Some(problem) => guarded(problem),
        None => guarded(next.run(request).await),
    }
}

fn refusal(method: &Method, headers: &HeaderMap) -> Option<Problem> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let host = text(header::HOST).unwrap_or_default();
    if !is_loopback(host) {
        return Some(Problem::new(
            StatusCode::FORBIDDEN,
            "the Host of the request is not this machine",
            "ask 127.0.0.1, [::1] or localhost",
        ));
    }
    let is_foreign = headers.contains_key(header::ORIGIN)
        && text(header::ORIGIN).and_then(|origin| origin.strip_prefix("http://")) != Some(host);
    if method != Method::GET && is_foreign {
        let remedy = "use a command-line client";
        return Some(Problem::new(StatusCode::FORBIDDEN, "a page of another origin asks", remedy));
    }
    let length = text(header::CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
    length
        .is_some_and(|length| length > MAX_BODY_BYTES)
        .then(|| Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large", "send none"))
}

/// Whether a `Host` (RFC 9110, section 7.2) is a loopback address or `localhost`, with or without a port.
fn is_loopback(host: &str) -> bool {
    if host.contains(['@', '/', '\\', '?', '#']) {
        return false;
    }
    match url::Url::parse(&format!("http://{host}/")).as_ref().map(url::Url::host) {
        Ok(Some(url::Host::Ipv4(address))) => address.is_loopback(),
        Ok(Some(url::Host::Ipv6(address))) => address.is_loopback(),
        Ok(Some(url::Host::Domain(name))) => name == "localhost",
        Ok(None) | Err(_) => false,
    }
}

async fn partitions(State(data): State<Shared>) -> Answer {
    Json::ok(json!({ "partitions": data.partitions().await }))
}

async fn device(
    State(data): State<Shared>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Answer {
    let Path((hub, device)) = path.map_err(unreadable)?;
    identity(data.as_ref(), &hub, &device, None).await
}

async fn module(
    State(data): State<Shared>,
    path: Result<Path<(String, String, String)>, PathRejection>,
) -> Answer {
    let Path((hub, device, module)) = path.map_err(unreadable)?;
    identity(data.as_ref(), &hub, &device, Some(&module)).await
}

async fn identity(data: &dyn Data, hub: &str, device: &str, module: Option<&str>) -> Answer {
    let remedy = "write the id as the hub shows it, percent-encoded";
    for id in [Some(device), module].into_iter().flatten() {
        check_id(id).map_err(|error| Problem::bad(error.to_string(), remedy))?;
    }
    let hub = hub.to_ascii_lowercase();
    match data.identity(IdentityRef { hub: &hub, device, module }).await {
        Some(info) => Json::ok(info),
        None => Err(Problem::new(
            StatusCode::NOT_FOUND,
            "no such device or module is known here",
            "compare hub and id, which is case-sensitive; it is known once it was heard or its creation was read, and a \
             module only if a rule names it",
        )),
    }
}

fn unreadable(error: PathRejection) -> Problem {
    Problem::bad(error.body_text(), "percent-encode the ids as UTF-8")
}

async fn alerts(State(data): State<Shared>, RawQuery(query): RawQuery) -> Answer {
    let Query { limit, after } = Query::read(query.as_deref(), true)?;
    let AlertPage { alerts, has_more } = data.open_alerts(limit, after).await?;
    let last = alerts.last().filter(|_| has_more);
    let next = last.map(|alert| URL_SAFE_NO_PAD.encode(&alert.alert_id));
    Json::ok(json!({ "alerts": alerts, "next_cursor": next }))
}

async fn ingest_letters(State(data): State<Shared>, RawQuery(query): RawQuery) -> Answer {
    let Query { limit, .. } = Query::read(query.as_deref(), false)?;
    let letters = data.ingest_letters(limit).await?;
    let letters: Vec<Value> = letters.iter().map(ingest_letter).collect();
    Json::ok(json!({ "dead_letters": letters }))
}

async fn delivery_letters(State(data): State<Shared>, RawQuery(query): RawQuery) -> Answer {
    let Query { limit, .. } = Query::read(query.as_deref(), false)?;
    let letters = data.delivery_letters(limit).await?;
    let letters: Vec<Value> = letters.iter().map(delivery_letter).collect();
    Json::ok(json!({ "dead_letters": letters }))
}

async fn replay(State(data): State<Shared>, path: Result<Path<String>, PathRejection>) -> Answer {
    let Path(message_id) = path.map_err(unreadable)?;
    Json::with(StatusCode::ACCEPTED, data.replay(&message_id).await?)
}

/// Without the message itself: whatever secrets a device put into it are on disk only.
fn ingest_letter(letter: &DeadLetter) -> Value {
    json!({
        "at": letter.at.to_string(),
        "source": letter.source,
        "partition": letter.partition,
        "sequence": letter.sequence,
        "reason": letter.reason,
        "detail": letter.detail,
        "original_bytes": letter.original_bytes,
    })
}

fn delivery_letter(letter: &DeliveryLetter) -> Value {
    json!({
        "at": letter.at.to_string(),
        "sink": letter.sink,
        "message_id": letter.message.message_id,
        "alert_id": letter.message.alert_id,
        "status": letter.message.status.as_str(),
        "reason": letter.reason.as_str(),
        "detail": letter.detail,
        "failures": letter.failures,
        "body": String::from_utf8_lossy(&letter.message.body),
    })
}

/// What stands behind the `?`.
#[derive(Debug, PartialEq, Eq)]
struct Query {
    limit: usize,
    /// The alert id that the cursor stands for.
    after: Option<String>,
}

impl Query {
    fn read(query: Option<&str>, takes_cursor: bool) -> Result<Self, Problem> {
        let mut read = Self { limit: DEFAULT_LIMIT, after: None };
        for (key, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            match &*key {
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
                    let wrong =
                        || Problem::bad("limit is no number that can be used", "write 1 to 1000");
                    read.limit = limit.ok_or_else(wrong)?;
                }
                "cursor" if takes_cursor => {
                    let wrong = || {
                        let remedy = "repeat next_cursor of the answer before, or leave it out";
                        Problem::bad("the cursor is none of ours", remedy)
                    };
                    read.after = Some(cursor(&value).ok_or_else(wrong)?);
                }
                _ => {
                    let known = if takes_cursor { "limit and cursor" } else { "limit" };
                    let remedy = format!("remove it; known here: {known}");
                    return Err(Problem::bad("the query has a key that is not known", remedy));
                }
            }
        }
        Ok(read)
    }
}

fn cursor(text: &str) -> Option<String> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let id = String::from_utf8(bytes).ok()?;
    (!id.is_empty() && id.len() <= MAX_CURSOR_BYTES).then_some(id)
}

#[cfg(test)]
mod tests;
