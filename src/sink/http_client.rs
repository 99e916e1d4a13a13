//! One POST to one endpoint, distrusting it: the address is checked and dialled as checked, nothing is followed,
//! decompressed or waited for without end.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use ipnet::IpNet;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use url::{Host, Position, Url};

use super::address_guard::{Refusal, all_allowed};

pub mod tls;

/// Resolving, dialling and the TLS handshake together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Addresses of one name that are tried; each gets its share of [`CONNECT_TIMEOUT`].
const MAX_ADDRESSES: usize = 4;
/// How much of a response's body is read. We have no use for it; reading a little lets the receiver finish politely.
const MAX_RESPONSE_BYTES: usize = 16 * 1024;
/// Buffer of the connection, and so the most bytes of a response's head.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// The most headers of a response.
const MAX_HEADERS: usize = 100;

/// Posts to one URL. A connection serves one request.
pub struct HttpClient {
    /// Host as in the URL, for errors and TLS.
    host: Host<String>,
    port: u16,
    /// `Host` header: with the port where it is not the scheme's own.
    authority: String,
    /// Path and query: may hold a token, so it is never shown.
    target: String,
    allow_cidrs: Vec<IpNet>,
    timeout: Duration,
    /// `None` for plain HTTP.
    tls: Option<TlsConnector>,
}

/// What the receiver answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
}

/// Why there is no answer. Names the host, never the path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PostError {
    /// The URL has no host or no port that is known.
    #[error("the URL has no host or no port")]
    NoHost,
    /// The request could not be written down.
    #[error("the request to {host} has a header that HTTP does not allow")]
    Request {
        /// The host.
        host: String,
    },
    /// The name has no address.
    #[error("{host} could not be resolved: {cause}")]
    Resolve {
        /// The host.
        host: String,
        /// What the resolver said.
        cause: String,
    },
    /// The address guard said no.
    #[error("{host} is not dialled: {refusal}")]
    Refused {
        /// The host.
        host: String,
        /// Why.
        refusal: Refusal,
    },
    /// No TCP connection.
    #[error("{host} could not be reached: {cause}")]
    Connect {
        /// The host.
        host: String,
        /// What the system said.
        cause: String,
    },
    /// No TLS connection.
    #[error("no TLS connection to {host}: {cause}; a private authority is added with `ca_file`")]
    Tls {
        /// The host.
        host: String,
        /// What went wrong.
        cause: String,
    },
    /// The connection broke, or what came back is not HTTP/1.1.
    #[error("the exchange with {host} broke: {cause}")]
    Exchange {
        /// The host.
        host: String,
        /// What went wrong.
        cause: String,
    },
    /// No answer in time.
    #[error("{host} did not answer within {after:?}")]
    TimedOut {
        /// The host.
        host: String,
        /// The limit that was reached.
        after: Duration,
    },
}

impl HttpClient {
    /// A client for one URL. `timeout` bounds one attempt from the first look-up to the end of the answer.
    /// `tls` is needed for `https` only.
    pub fn new(
        url: &Url,
        allow_cidrs: Vec<IpNet>,
        timeout: Duration,
        tls: Option<Arc<ClientConfig>>,
    ) -> Result<Self, PostError> {
        let host = url.host().ok_or(PostError::NoHost)?.to_owned();
        Ok(Self {
            port: url.port_or_known_default().ok_or(PostError::NoHost)?,
            authority: url[Position::BeforeHost..Position::AfterPort].to_owned(),
            target: url[Position::BeforePath..Position::AfterQuery].to_owned(),
            host,
            allow_cidrs,
            timeout,
            tls: tls.map(TlsConnector::from),
        })
    }

    /// Posts `body`. Once the status is there it counts, also if the rest of the answer is slow or broken.
    pub async fn post(
        &self,
        headers: &[(HeaderName, &str)],
        body: Bytes,
    ) -> Result<Answer, PostError> {
        let begun = Instant::now();
        let connect_timeout = CONNECT_TIMEOUT.min(self.timeout);
        let (connected_by, deadline) = (begun + connect_timeout, begun + self.timeout);
        let request = self.request(headers, body)?;
        let stream = timeout_at(connected_by, self.dial()).await;
        let stream = stream.map_err(|_| self.timed_out(connect_timeout))??;
        let Some(tls) = &self.tls else {
            return self.exchange(stream, request, deadline).await;
        };
        let stream = timeout_at(connected_by, self.encrypt(tls, stream)).await;
        let stream = stream.map_err(|_| self.timed_out(connect_timeout))??;
        self.exchange(stream, request, deadline).await
    }

    fn request(
        &self,
        headers: &[(HeaderName, &str)],
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, PostError> {
        let mut request = Request::post(&self.target)
            .header(header::HOST, &self.authority)
            .header(header::CONNECTION, HeaderValue::from_static("close"));
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        request.body(Full::new(body)).map_err(|_| PostError::Request { host: self.shown_host() })
    }

    /// Resolves once, checks all answers, and dials exactly what was checked.
    async fn dial(&self) -> Result<TcpStream, PostError> {
        let answers = self.resolve().await?;
        let addresses = all_allowed(answers, &self.allow_cidrs)
            .map_err(|refusal| PostError::Refused { host: self.shown_host(), refusal })?;
        let tried = addresses.len().clamp(1, MAX_ADDRESSES);
        let share = CONNECT_TIMEOUT / u32::try_from(tried).unwrap_or(1);
        let mut cause = "it has no address".to_owned();
        for address in addresses.into_iter().take(tried) {
            cause = match timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => format!("{address}: {error}"),
                Err(_) => format!("{address}: no connection within {share:?}"),
            };
        }
        Err(PostError::Connect { host: self.shown_host(), cause })
    }

    async fn resolve(&self) -> Result<Vec<SocketAddr>, PostError> {
        let ip = match &self.host {
            Host::Ipv4(ip) => IpAddr::V4(*ip),
            Host::Ipv6(ip) => IpAddr::V6(*ip),
            Host::Domain(name) => {
                let answers = lookup_host((name.as_str(), self.port)).await;
                return answers.map(Iterator::collect).map_err(|error| PostError::Resolve {
                    host: self.shown_host(),
                    cause: error.to_string(),
                });
            }
        };
        Ok(vec![SocketAddr::new(ip, self.port)])
    }

    async fn encrypt(
        &self,
        tls: &TlsConnector,
        stream: TcpStream,
    ) -> Result<tokio_rustls::client::TlsStream<TcpStream>, PostError> {
        let failed = |cause: String| PostError::Tls { host: self.shown_host(), cause };
        let name = match &self.host {
            Host::Ipv4(ip) => ServerName::IpAddress((*ip).into()),
            Host::Ipv6(ip) => ServerName::IpAddress((*ip).into()),
            Host::Domain(name) => {
                ServerName::try_from(name.clone()).map_err(|error| failed(error.to_string()))?
            }
        };
        let connected = tls.connect(name, stream).await;
        connected.map_err(|error| failed(error.to_string()))
    }

    async fn exchange(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        request: Request<Full<Bytes>>,
        deadline: Instant,
    ) -> Result<Answer, PostError> {
        let broke = |error: hyper::Error| PostError::Exchange {
            host: self.shown_host(),
            cause: chain(&error),
        };
        let mut builder = http1::Builder::new();
        builder.max_buf_size(MAX_HEAD_BYTES).max_headers(MAX_HEADERS);
        let (mut sender, connection) =
            builder.handshake(TokioIo::new(stream)).await.map_err(broke)?;
        let answer = async {
            let response = timeout_at(deadline, sender.send_request(request)).await;
            let response = response.map_err(|_| self.timed_out(self.timeout))?.map_err(broke)?;
            let (head, body) = response.into_parts();
            // Whether the body ends in time, or at all, changes nothing.
            let _ended = timeout_at(deadline, drain(body)).await;
            Ok(Answer { status: head.status, headers: head.headers })
        };
        // Driven beside the request, so that dropping this future closes the connection. What ends it
        // reaches the request as an error.
        let driven = async {
            let _ended = connection.await;
            std::future::pending::<std::convert::Infallible>().await
        };
        tokio::select! {
            answer = answer => answer,
            never = driven => match never {},
        }
    }

    fn timed_out(&self, after: Duration) -> PostError {
        PostError::TimedOut { host: self.shown_host(), after }
    }

    fn shown_host(&self) -> String {
        self.host.to_string()
    }
}

/// Reads a body and forgets it, up to [`MAX_RESPONSE_BYTES`].
async fn drain(mut body: Incoming) {
    let mut read_bytes = 0;
    while let Some(Ok(frame)) = body.frame().await {
        read_bytes += frame.data_ref().map_or(0, Bytes::len);
        if read_bytes >= MAX_RESPONSE_BYTES {
            return;
        }
    }
}

/// An error and what is behind it, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
