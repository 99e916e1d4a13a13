//! Answers HTTP on one listener: one request a connection, ten seconds for all of it, and few connections at a time. A
//! caller that stalls costs little, and can't keep another out for long.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A probe, a scrape or a question takes milliseconds.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Probes, a scraper, a person: a handful at a time.
const MAX_CONNECTIONS: usize = 64;
/// Room for the longest path there is, with both ids escaped, and for any caller's headers.
const MAX_REQUEST_BYTES: usize = 16 * 1024;
/// More than any caller sends.
const MAX_HEADERS: usize = 64;
/// Lets descriptors or memory come free before the next accept.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Answers on `listener` with `router` until `stop`; what was begun by then is finished. `name` says in logs which one.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    name: &'static str,
    stop: CancellationToken,
) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept(&listener, &slots) => accepted,
        };
        match accepted {
            Ok((stream, slot)) => {
                let router = router.clone();
                connections.spawn(async move {
                    answer(stream, router, name).await;
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(%error, listener = name, "can't take a connection");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
    connections.close();
    connections.wait().await;
}

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, slot))
}

async fn answer(stream: TcpStream, router: Router, name: &'static str) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_TIMEOUT)
        .max_buf_size(MAX_REQUEST_BYTES)
        .max_headers(MAX_HEADERS)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    match tokio::time::timeout(REQUEST_TIMEOUT, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, listener = name, "a request broke off"),
        Err(_) => tracing::debug!(listener = name, "a request took too long"),
    }
}

/// Forbids browsers to guess a type and caches to keep the answer.
pub(super) fn guarded(response: impl IntoResponse) -> Response {
    let mut response = response.into_response();
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
