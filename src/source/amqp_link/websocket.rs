//! AMQP over WebSocket as Event Hubs and IoT Hub offer it on port 443 (OASIS "AMQP WebSocket Binding 1.0", subprotocol as
//! the services know it: `AMQPWSB10`): a byte stream in binary messages.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures_util::{Sink, Stream};
use http::HeaderValue;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::dial::{ByteStream, Dial, DialError};
use super::inbound::MAX_FRAME_BYTES;

/// Event Hubs' path (Microsoft: "AMQP 1.0 in Azure Service Bus and Event Hubs protocol guide").
pub const EVENT_HUBS_PATH: &str = "/$servicebus/websocket";
/// IoT Hub's path.
pub const IOT_HUB_PATH: &str = "/$iothub/websocket";
/// The subprotocol.
pub const SUBPROTOCOL: &str = "AMQPWSB10";

/// Asks the server at the other end of `stream` to speak WebSocket.
pub(super) async fn upgrade(
    stream: Box<dyn ByteStream>,
    target: &Dial,
    path: &str,
) -> Result<WebSocketBytes, DialError> {
    let failed = |error: Error| DialError::WebSocket {
        host: target.host.clone(),
        message: error.to_string(),
    };
    let scheme = if target.tls.is_some() { "wss" } else { "ws" };
    let host =
        if target.host.contains(':') { format!("[{}]", target.host) } else { target.host.clone() };
    let mut request =
        format!("{scheme}://{host}:{}{path}", target.port).into_client_request().map_err(failed)?;
    request
        .headers_mut()
        .insert(http::header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_FRAME_BYTES))
        .max_frame_size(Some(MAX_FRAME_BYTES));
    let (stream, _) = tokio_tungstenite::client_async_with_config(request, stream, Some(config))
        .await
        .map_err(failed)?;
    Ok(WebSocketBytes { stream, unread: Bytes::new() })
}

/// The bytes in the binary messages of a WebSocket.
pub(super) struct WebSocketBytes {
    stream: WebSocketStream<Box<dyn ByteStream>>,
    unread: Bytes,
}

impl AsyncRead for WebSocketBytes {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.unread.is_empty() {
            match ready!(Pin::new(&mut this.stream).poll_next(cx)) {
                None | Some(Ok(Message::Close(_))) => return Poll::Ready(Ok(())),
                Some(Err(error)) => return Poll::Ready(Err(to_io(error))),
                Some(Ok(Message::Binary(bytes))) => this.unread = bytes,
                Some(Ok(
                    Message::Text(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_),
                )) => {}
            }
        }
        let length = this.unread.len().min(buf.remaining());
        buf.put_slice(&this.unread[..length]);
        this.unread.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for WebSocketBytes {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut stream = Pin::new(&mut self.get_mut().stream);
        ready!(stream.as_mut().poll_ready(cx)).map_err(to_io)?;
        let message = Message::Binary(Bytes::copy_from_slice(buf));
        stream.start_send(message).map_err(to_io)?;
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx).map_err(to_io)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_close(cx).map_err(to_io)
    }
}

fn to_io(error: Error) -> io::Error {
    if let Error::Io(error) = error {
        return error;
    }
    if matches!(error, Error::ConnectionClosed | Error::AlreadyClosed) {
        return io::ErrorKind::BrokenPipe.into();
    }
    io::Error::other(error)
}
