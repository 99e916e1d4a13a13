//! A receiver on loopback that answers by script and shows what it received.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;

/// Far above what anything here takes, so that only a fault reaches it.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// One request.
#[derive(Clone, Debug)]
pub struct Received {
    pub line: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub at: Instant,
}

impl Received {
    pub fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    pub fn body_text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// What is answered.
#[derive(Clone, Debug)]
pub enum Reply {
    /// This head (status line and headers without the end), and no body.
    Head(String),
    /// Nothing, with the connection left open.
    Silence,
    /// 200, and then one byte of body after the other until the client closes.
    Drip(Duration),
    /// These bytes first, then this piece again and again until the client closes.
    Endless(&'static str, &'static str),
}

impl Reply {
    pub fn status(status: u16) -> Self {
        Self::Head(format!("HTTP/1.1 {status} Scripted"))
    }
}

/// A receiver under way.
pub struct Receiver {
    pub address: SocketAddr,
    pub requests: mpsc::Receiver<Received>,
    /// One entry for each endless or dripping answer that the client has cut off.
    pub cut_off: mpsc::Receiver<()>,
    connections: Arc<AtomicUsize>,
}

#[derive(Clone)]
struct Ends {
    requests: mpsc::Sender<Received>,
    cut_off: mpsc::Sender<()>,
}

impl Receiver {
    /// Answers request number `n` (from 0) with `script(n, request)`.
    pub async fn start(script: impl Fn(usize, &Received) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_with(None, script).await
    }

    /// The same over TLS.
    pub async fn start_with(
        tls: Option<TlsAcceptor>,
        script: impl Fn(usize, &Received) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (requests_in, requests) = mpsc::channel(4_096);
        let (cut_off_in, cut_off) = mpsc::channel(64);
        let ends = Ends { requests: requests_in, cut_off: cut_off_in };
        let connections = Arc::new(AtomicUsize::new(0));
        let (counted, script) = (connections.clone(), Arc::new(script));
        let count = Arc::new(AtomicUsize::new(0));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                let (tls, ends) = (tls.clone(), ends.clone());
                let (script, count) = (script.clone(), count.clone());
                let answer =
                    move |request: &Received| script(count.fetch_add(1, Ordering::SeqCst), request);
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, answer, ends).await,
                        // A client that refuses our certificate breaks off here.
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => serve(stream, answer, ends).await,
                            Err(_) => None,
                        },
                    }
                });
            }
        });
        Self { address, requests, cut_off, connections }
    }

    /// The next request.
    pub async fn next(&mut self) -> Received {
        timeout(DEADLINE, self.requests.recv()).await.expect("a request in time").unwrap()
    }

    /// How many connections there have been.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// One request on one connection. `None` if the client breaks off.
async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    answer: impl Fn(&Received) -> Reply,
    ends: Ends,
) -> Option<()> {
    let request = read_request(&mut stream).await?;
    let reply = answer(&request);
    ends.requests.send(request).await.unwrap();
    match reply {
        Reply::Head(head) => {
            let head = format!("{head}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(head.as_bytes()).await.ok()?;
            stream.shutdown().await.ok()?;
        }
        Reply::Silence => until_closed(&mut stream).await,
        Reply::Drip(pause) => {
            let head = "HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n";
            stream.write_all(head.as_bytes()).await.ok()?;
            while stream.write_all(b"x").await.is_ok() {
                tokio::time::sleep(pause).await;
            }
            ends.cut_off.send(()).await.unwrap();
        }
        Reply::Endless(first, piece) => {
            stream.write_all(first.as_bytes()).await.ok()?;
            let piece = piece.repeat(100);
            while stream.write_all(piece.as_bytes()).await.is_ok() {}
            ends.cut_off.send(()).await.unwrap();
        }
    }
    Some(())
}

async fn until_closed(stream: &mut (impl AsyncRead + Unpin)) {
    let mut rest = [0; 64];
    while matches!(stream.read(&mut rest).await, Ok(1..)) {}
}

async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<Received> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..head_end].to_vec()).unwrap();
    let (line, rest) = head.split_once("\r\n").unwrap();
    let mut headers = HeaderMap::new();
    for header in rest.split("\r\n") {
        let (name, value) = header.split_once(": ").unwrap();
        headers.append(name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap());
    }
    let length: usize = headers["content-length"].to_str().unwrap().parse().unwrap();
    let mut body = bytes.split_off(head_end + 4);
    while body.len() < length {
        if stream.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    Some(Received { line: line.to_owned(), headers, body: body.into(), at: Instant::now() })
}
