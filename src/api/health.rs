//! `/livez`, `/readyz` and `/metrics`: no data of the fleet, no state of its own.

use std::sync::Arc;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::server::{self, guarded};

/// Whether the service does its work.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Readiness {
    /// Why not, one line each, without secrets; empty means ready.
    pub reasons: Vec<String>,
}

/// What the listener asks.
#[derive(Clone)]
pub struct Health {
    /// Asked by `/readyz`.
    pub readiness: Arc<dyn Fn() -> Readiness + Send + Sync>,
    /// The metrics in the text format of Prometheus; asked by `/metrics`.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
}

/// Answers on `listener` until `stop`; what was begun by then is finished.
pub async fn serve(listener: TcpListener, health: Health, stop: CancellationToken) {
    server::serve(listener, router(health), "http", stop).await;
}

fn router(health: Health) -> Router {
    let Health { readiness, metrics } = health;
    Router::new()
        .route("/livez", get(async || guarded("ok\n")))
        .route("/readyz", get(async move || guarded(readyz(&readiness()))))
        .route(
            "/metrics",
            get(async move || {
                let kind = "text/plain; version=0.0.4; charset=utf-8";
                guarded(([(header::CONTENT_TYPE, kind)], metrics()))
            }),
        )
        .fallback(async || {
            guarded((StatusCode::NOT_FOUND, "not found: /livez, /readyz or /metrics\n"))
        })
}

fn readyz(readiness: &Readiness) -> impl IntoResponse {
    let is_ready = readiness.reasons.is_empty();
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = serde_json::json!({ "ready": is_ready, "reasons": readiness.reasons });
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string())
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::task::JoinHandle;

    use super::*;

    /// A listener on a free port of the loopback, whose readiness is `reasons`.
    async fn serving(reasons: &[&str], stop: &CancellationToken) -> (SocketAddr, JoinHandle<()>) {
        let reasons: Vec<String> = reasons.iter().map(|&reason| reason.into()).collect();
        let health = Health {
            readiness: Arc::new(move || Readiness { reasons: reasons.clone() }),
            metrics: Arc::new(|| "lastseen_up 1\n".to_owned()),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        (address, tokio::spawn(serve(listener, health, stop.clone())))
    }

    async fn exchange(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut response = String::new();
        stream.read_to_string(&mut response).await.expect("the server closes");
        response
    }

    async fn fetch(address: SocketAddr, path: &str) -> String {
        exchange(address, &format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n")).await
    }

    #[tokio::test]
    async fn alive_while_not_ready_with_the_reasons_and_metrics_as_text() {
        let stop = CancellationToken::new();
        let (address, server) = serving(&["source hub: link_down"], &stop).await;
        assert!(fetch(address, "/livez").await.starts_with("HTTP/1.1 200"));
        let ready = fetch(address, "/readyz").await;
        assert!(ready.starts_with("HTTP/1.1 503"), "{ready}");
        assert!(ready.ends_with(r#"{"ready":false,"reasons":["source hub: link_down"]}"#));
        let metrics = fetch(address, "/metrics").await;
        assert!(metrics.contains("content-type: text/plain; version=0.0.4"));
        assert!(metrics.contains("x-content-type-options: nosniff"));
        assert!(metrics.ends_with("lastseen_up 1\n"));
        assert!(fetch(address, "/").await.starts_with("HTTP/1.1 404"));
        stop.cancel();
        server.await.expect("it ends when asked to");
    }

    #[tokio::test]
    async fn ready_without_reasons() {
        let stop = CancellationToken::new();
        let (address, _server) = serving(&[], &stop).await;
        let ready = fetch(address, "/readyz").await;
        assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");
        assert!(ready.ends_with(r#"{"ready":true,"reasons":[]}"#));
    }

    #[tokio::test]
    async fn an_endless_header_is_refused() {
        let stop = CancellationToken::new();
        let (address, _server) = serving(&[], &stop).await;
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        let endless = "x".repeat(1 << 20);
        // The server may close before all of it is sent.
        let _sent =
            stream.write_all(format!("GET /livez HTTP/1.1\r\nA: {endless}").as_bytes()).await;
        let mut response = Vec::new();
        let _closed = stream.read_to_end(&mut response).await;
        assert!(!response.starts_with(b"HTTP/1.1 200"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_never_asks_is_dropped() {
        let stop = CancellationToken::new();
        let (address, _server) = serving(&[], &stop).await;
        assert_eq!(exchange(address, "GET /livez HTTP/1.1\r\n").await, "");
    }
}
