//! The AMQP 1.0 endpoint of the hub: what an event hub's clients need, on loopback.
//!
//! * SASL ANONYMOUS (or MSSBCBS) and then tokens at `$cbs`, or PLAIN with the key's name and the key.
//! * `$management`: READ of `com.microsoft:eventhub` and `com.microsoft:partition`.
//! * Receivers at `<entity>/ConsumerGroups/<group>/Partitions/<n>` with selector filter, `com.microsoft:epoch` and the
//!   runtime metric. Deliveries are settled by the sender if the client asks for it; dispositions mean nothing, as
//!   on an event hub.
//! * Producers to `<entity>` and `<entity>/Partitions/<n>`, single messages and batches (message format 0x80013700). The
//!   hub is the devices' front for them: a message with a partition key (`x-opt-partition-key`, of the message or its batch)
//!   is the device-to-cloud message of the device of that name; without a key the application properties
//!   `deviceId` and `moduleId` name the sender. It is stamped as [`Hub::device_to_cloud`] stamps. A message with
//!   neither is an event of a plain event hub and goes to partition 0 or to the one that was addressed.
//! * The IoT Hub service side: `messages/events/` is answered with `amqp:link:redirect` to this same endpoint.
//!
//! It is written against the protocol and not on the acceptor of the client library that the service uses: a test of one
//! against the other then tests both, attaches can be refused before they are granted, and bytes that no encoder
//! would produce can be delivered ([`Hub::send_raw`]). Every performative is written with all its fields, trailing nulls too, because the vendor's Python client indexes them
//! by position. What is not imitated: the time limits for a first token and for idle links, throughput units, and
//! consumer groups that have to be created first.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::hub::Hub;

mod address;
mod attach;
mod connection;
mod deliver;
mod frame;
mod ingest;
mod link;
mod management;
mod message;
mod performative;
mod request;
mod sasl;
mod seats;
mod selector;
#[cfg(test)]
mod tests;
mod token;
mod websocket;

use connection::ConnectionError;
use seats::Seats;

/// The most connections at a time: a vendor's client opens one for each consumer, so this is a consumer for each of 32
/// partitions, 32 times.
const MAX_CONNECTIONS: usize = 1_024;

/// How long TLS, WebSocket and SASL handshakes may take.
const HANDSHAKE: Duration = Duration::from_secs(20);

/// How to listen.
#[derive(Clone, Debug, Default)]
pub struct EndpointOptions {
    /// TLS from the first byte. `None`: plain TCP.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// AMQP over WebSocket at `/$servicebus/websocket`, sub-protocol `AMQPWSB10` or `amqp`.
    pub websocket: bool,
    /// A `jwt` that is accepted at `$cbs`; none is if this is `None`.
    pub jwt: Option<String>,
    /// Where a service client is sent (`amqp:link:redirect`): host and port. `None`: this endpoint.
    pub redirect: Option<(String, u16)>,
}

/// Why the endpoint does not listen.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Refused: the hub has well-known keys and no limits that would protect it.
    #[error("the development hub listens on loopback only, not on {0}; nothing was started")]
    NotLoopback(SocketAddr),
    /// The listener failed.
    #[error("the development hub can't listen: {0}")]
    Listener(#[from] io::Error),
}

/// What the connections share.
#[derive(Debug)]
struct Endpoint {
    hub: Hub,
    options: EndpointOptions,
    address: SocketAddr,
    seats: Seats,
}

impl Hub {
    /// Serves plain AMQP on `listener` until `stop`. Every task it started has ended when it returns.
    pub async fn serve(
        self,
        listener: TcpListener,
        stop: CancellationToken,
    ) -> Result<(), ServeError> {
        self.serve_with(EndpointOptions::default(), listener, stop).await
    }

    /// [`Hub::serve`] with options. One hub can be served by several endpoints (plain, TLS, WebSocket); who owns a
    /// partition (`com.microsoft:epoch`) is kept by each endpoint for itself.
    pub async fn serve_with(
        self,
        options: EndpointOptions,
        listener: TcpListener,
        stop: CancellationToken,
    ) -> Result<(), ServeError> {
        let address = listener.local_addr()?;
        if !address.ip().is_loopback() {
            return Err(ServeError::NotLoopback(address));
        }
        let endpoint = Arc::new(Endpoint { hub: self, options, address, seats: Seats::default() });
        accept_all(endpoint, listener, stop).await
    }
}

/// Dropping the set at the end aborts what is left of the connections.
async fn accept_all(
    endpoint: Arc<Endpoint>,
    listener: TcpListener,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            // A connection that was reset before it was accepted, or no descriptors left: the next one may do better.
            Err(error) => {
                tracing::debug!(%error, "development hub: accept failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Ok(slot) = slots.clone().try_acquire_owned() else {
            continue;
        };
        let endpoint = Arc::clone(&endpoint);
        connections.spawn(async move {
            let _slot = slot;
            Box::pin(serve_stream(endpoint, stream)).await;
        });
    }
    connections.shutdown().await;
    Ok(())
}

/// Serves one connection until it ends or is cut.
async fn serve_stream(endpoint: Arc<Endpoint>, stream: TcpStream) {
    let mut faults = endpoint.hub.faults().watch();
    let cuts = faults.borrow().cuts;
    let _open = connection::Open::count(&endpoint.hub);
    let mut hole = endpoint.hub.faults().watch();
    let cut = faults.wait_for(|state| state.link_down || state.cuts != cuts);
    let served = async {
        // A watch channel fails only when its sender is gone, which the hub holds.
        let _ = hole.wait_for(|state| !state.black_hole).await;
        Box::pin(transport(Arc::clone(&endpoint), stream)).await
    };
    let ended = tokio::select! {
        biased;
        _ = cut => return,
        ended = served => ended,
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "development hub: a connection ended");
    }
}

async fn transport(endpoint: Arc<Endpoint>, stream: TcpStream) -> Result<(), ConnectionError> {
    stream.set_nodelay(true)?;
    match endpoint.options.tls.clone() {
        None => upgrade(endpoint, stream).await,
        Some(config) => {
            let accept = tokio_rustls::TlsAcceptor::from(config).accept(stream);
            let stream = within_handshake(accept).await??;
            Box::pin(upgrade(endpoint, stream)).await
        }
    }
}

async fn upgrade<S>(endpoint: Arc<Endpoint>, stream: S) -> Result<(), ConnectionError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    if !endpoint.options.websocket {
        return connection::run(endpoint, stream).await;
    }
    let socket = within_handshake(websocket::accept(stream)).await??;
    let (near, far) = tokio::io::duplex(websocket::BUFFER_BYTES);
    let pump = websocket::pump(socket, far);
    let serve = connection::run(endpoint, near);
    tokio::select! {
        ended = serve => ended,
        ended = pump => ended,
    }
}

async fn within_handshake<F: Future>(future: F) -> Result<F::Output, ConnectionError> {
    tokio::time::timeout(HANDSHAKE, future).await.map_err(|_| ConnectionError::TooSlow)
}
