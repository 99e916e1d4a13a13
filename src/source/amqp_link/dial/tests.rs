use futures_util::{SinkExt, StreamExt};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

use super::*;
use crate::source::amqp_link::websocket::{EVENT_HUBS_PATH, SUBPROTOCOL};

/// A certificate for `localhost`, as a file of roots and as a server.
fn certificate() -> (tempfile::NamedTempFile, TlsAcceptor) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), cert.pem()).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    (file, TlsAcceptor::from(Arc::new(config)))
}

async fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

fn target(port: u16) -> Dial {
    Dial { host: "localhost".to_owned(), port, tls: None, websocket: None }
}

/// Answers each binary message with itself, in two halves.
async fn echo_websocket(stream: impl ByteStream) {
    #[expect(clippy::result_large_err, reason = "the callback's type is the library's")]
    let check = |request: &Request, mut response: Response| {
        assert_eq!(request.uri().path(), EVENT_HUBS_PATH);
        let protocol = request.headers()["sec-websocket-protocol"].clone();
        assert_eq!(protocol, SUBPROTOCOL);
        response.headers_mut().insert("sec-websocket-protocol", protocol);
        Ok(response)
    };
    let mut socket = tokio_tungstenite::accept_hdr_async(stream, check).await.unwrap();
    while let Some(Ok(message)) = socket.next().await {
        if let Message::Binary(bytes) = message {
            let (a, b) = bytes.split_at(bytes.len() / 2);
            for half in [a, b] {
                let half = bytes::Bytes::copy_from_slice(half);
                socket.send(Message::Binary(half)).await.unwrap();
            }
        }
    }
}

async fn round_trip(mut stream: Box<dyn ByteStream>) {
    stream.write_all(b"over and back").await.unwrap();
    stream.flush().await.unwrap();
    let mut back = [0; 13];
    stream.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"over and back");
}

#[tokio::test]
async fn websocket_over_tls_through_a_proxy_carries_bytes_both_ways() {
    let (ca_file, acceptor) = certificate();
    let (server, port) = listener().await;
    tokio::spawn(async move {
        let (tcp, _) = server.accept().await.unwrap();
        echo_websocket(acceptor.accept(tcp).await.unwrap()).await;
    });
    let (proxy, proxy_port) = listener().await;
    let proxied = tokio::spawn(async move {
        let (mut client, _) = proxy.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(client.read_u8().await.unwrap());
        }
        client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
        let mut upstream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let _ = copy_bidirectional(&mut client, &mut upstream).await;
        String::from_utf8(head).unwrap()
    });
    let dialled = dial(&Dial {
        tls: Some(tls_config(Some(ca_file.path())).unwrap()),
        websocket: Some(WebSocket {
            path: EVENT_HUBS_PATH,
            proxy: Some(Url::parse(&format!("http://me:s%20t@127.0.0.1:{proxy_port}")).unwrap()),
        }),
        ..target(port)
    })
    .await
    .unwrap();
    round_trip(dialled).await;
    let head = proxied.await.unwrap();
    assert!(head.starts_with(&format!("CONNECT localhost:{port} HTTP/1.1\r\n")));
    assert!(head.contains("Proxy-Authorization: Basic bWU6cyB0\r\n"));
}

#[tokio::test]
async fn websocket_without_tls_carries_bytes_both_ways() {
    let (server, port) = listener().await;
    tokio::spawn(async move { echo_websocket(server.accept().await.unwrap().0).await });
    let websocket = Some(WebSocket { path: EVENT_HUBS_PATH, proxy: None });
    let target = Dial { websocket, ..target(port) };
    round_trip(dial(&target).await.unwrap()).await;
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_refused() {
    let (_ca_file, acceptor) = certificate();
    let (server, port) = listener().await;
    tokio::spawn(async move {
        let (tcp, _) = server.accept().await.unwrap();
        let _ = acceptor.accept(tcp).await;
    });
    let refused = dial(&Dial { tls: Some(tls_config(None).unwrap()), ..target(port) }).await;
    assert!(matches!(refused, Err(DialError::Tls { .. })));
}

#[tokio::test]
async fn a_proxy_that_refuses_is_named_with_its_answer_and_without_the_password() {
    let (proxy, proxy_port) = listener().await;
    tokio::spawn(async move {
        let (mut client, _) = proxy.accept().await.unwrap();
        client.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await.unwrap();
        let _ = client.read(&mut [0; 512]).await;
    });
    let refused = dial(&Dial {
        websocket: Some(WebSocket {
            path: EVENT_HUBS_PATH,
            proxy: Some(Url::parse(&format!("http://me:hidden@127.0.0.1:{proxy_port}")).unwrap()),
        }),
        ..target(443)
    })
    .await;
    let message = refused.err().unwrap().to_string();
    assert_eq!(
        message,
        format!("proxy 127.0.0.1:{proxy_port} gave no way to localhost: it answered 407")
    );
}

#[tokio::test]
async fn nobody_listening_is_an_error_with_host_and_port() {
    let (free, port) = listener().await;
    drop(free);
    let message = dial(&target(port)).await.err().unwrap().to_string();
    assert!(message.starts_with(&format!("can't connect to localhost:{port}:")));
}

#[test]
fn a_ca_file_without_certificates_is_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    assert!(matches!(tls_config(Some(file.path())), Err(TlsConfigError::CaFile { .. })));
}
