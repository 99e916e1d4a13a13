//! AMQP over WebSocket ("AMQP 1.0 WebSocket binding", OASIS committee specification; path as Event Hubs has it).

use bytes::BytesMut;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::header::SEC_WEBSOCKET_PROTOCOL;
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode};

use super::connection::ConnectionError;

/// What may wait between the socket and the connection, each way.
pub(super) const BUFFER_BYTES: usize = 64 * 1024;

const PATH: &str = "/$servicebus/websocket";
const PROTOCOLS: [&str; 2] = ["AMQPWSB10", "amqp"];

/// Answers the opening handshake.
pub(super) async fn accept<S>(stream: S) -> Result<WebSocketStream<S>, ConnectionError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    tokio_tungstenite::accept_hdr_async(stream, choose)
        .await
        .map_err(|error| ConnectionError::WebSocket(error.to_string()))
}

#[expect(clippy::result_large_err, reason = "the signature is the library's callback")]
fn choose(request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
    let offered = request
        .headers()
        .get(SEC_WEBSOCKET_PROTOCOL)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("");
    let chosen = offered
        .split(',')
        .map(str::trim)
        .find_map(|offer| PROTOCOLS.iter().find(|known| known.eq_ignore_ascii_case(offer)));
    match chosen {
        Some(protocol) if request.uri().path().trim_end_matches('/') == PATH => {
            let protocol = HeaderValue::from_static(protocol);
            response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, protocol);
            Ok(response)
        }
        Some(_) | None => {
            let mut refusal = ErrorResponse::new(Some(format!(
                "AMQP over WebSocket is at {PATH}, with sub-protocol AMQPWSB10 or amqp."
            )));
            *refusal.status_mut() = StatusCode::BAD_REQUEST;
            Err(refusal)
        }
    }
}

/// Carries bytes between the WebSocket and the connection until either ends.
pub(super) async fn pump<S>(
    mut socket: WebSocketStream<S>,
    far: DuplexStream,
) -> Result<(), ConnectionError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut reader, mut writer) = tokio::io::split(far);
    let mut outgoing = BytesMut::with_capacity(BUFFER_BYTES);
    loop {
        tokio::select! {
            message = socket.next() => match message {
                Some(Ok(Message::Binary(bytes))) => writer.write_all(&bytes).await?,
                Some(Ok(Message::Close(_))) | None => return Err(ConnectionError::Gone),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(ConnectionError::WebSocket(error.to_string())),
            },
            count = reader.read_buf(&mut outgoing) => {
                if count? == 0 {
                    return Ok(());
                }
                let message = Message::Binary(outgoing.split().freeze());
                socket
                    .send(message)
                    .await
                    .map_err(|error| ConnectionError::WebSocket(error.to_string()))?;
            }
        }
    }
}
