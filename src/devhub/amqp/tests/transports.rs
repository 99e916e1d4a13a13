//! TLS and WebSocket.

use std::sync::Arc;

use bytes::BytesMut;
use futures_util::{SinkExt, StreamExt};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message};

use super::*;

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

#[tokio::test]
async fn amqp_runs_over_tls() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let server = rustls::ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    let served =
        serve_with(EndpointOptions { tls: Some(Arc::new(server)), ..EndpointOptions::default() })
            .await;
    served.beat();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(served.address).await.unwrap();
    let stream = tokio_rustls::TlsConnector::from(Arc::new(client))
        .connect(ServerName::try_from("localhost").unwrap(), stream)
        .await
        .unwrap();
    let mut peer = Peer::plain(stream).await;
    peer.attach(&Attach::receiver(PARTITION_0)).await;
    peer.credit(0, 0, 1).await;
    peer.transfer().await;
}

/// Opens a WebSocket with this path and sub-protocol and carries bytes over it.
async fn web_socket(
    served: &Served,
    path: &str,
    protocol: &'static str,
) -> Result<tokio::io::DuplexStream, tungstenite::Error> {
    let mut request = format!("ws://{}{path}", served.address).into_client_request()?;
    request
        .headers_mut()
        .insert("sec-websocket-protocol", tungstenite::http::HeaderValue::from_static(protocol));
    let stream = TcpStream::connect(served.address).await?;
    let (mut socket, _) = tokio_tungstenite::client_async(request, stream).await?;
    let (near, far) = tokio::io::duplex(64 * 1024);
    tokio::spawn(async move {
        let (mut reader, mut writer) = tokio::io::split(far);
        let mut out = BytesMut::new();
        loop {
            tokio::select! {
                Some(Ok(message)) = socket.next() => {
                    let bytes = message.into_data();
                    tokio::io::AsyncWriteExt::write_all(&mut writer, &bytes).await.unwrap();
                }
                count = tokio::io::AsyncReadExt::read_buf(&mut reader, &mut out) => {
                    if count.unwrap() == 0 {
                        return;
                    }
                    socket.send(Message::Binary(out.split().freeze())).await.unwrap();
                }
                else => return,
            }
        }
    });
    Ok(near)
}

#[tokio::test]
async fn amqp_runs_over_a_web_socket_with_either_sub_protocol() {
    let served =
        serve_with(EndpointOptions { websocket: true, ..EndpointOptions::default() }).await;
    served.beat();
    for (path, protocol) in
        [("/$servicebus/websocket", "AMQPWSB10"), ("/$servicebus/websocket/", "amqp")]
    {
        let stream = web_socket(&served, path, protocol).await.unwrap();
        let mut peer = Peer::plain(stream).await;
        peer.attach(&Attach::receiver(PARTITION_0)).await;
        peer.credit(0, 0, 1).await;
        peer.transfer().await;
    }
}

#[tokio::test]
async fn another_path_or_sub_protocol_is_refused() {
    let served =
        serve_with(EndpointOptions { websocket: true, ..EndpointOptions::default() }).await;
    for (path, protocol) in [("/", "amqp"), ("/$servicebus/websocket", "mqtt")] {
        let refused = web_socket(&served, path, protocol).await;
        assert!(matches!(refused, Err(tungstenite::Error::Http(_))));
    }
}
