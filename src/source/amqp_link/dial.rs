//! Opens the byte stream under an AMQP connection: TCP, TLS, WebSocket, and a way through an HTTP proxy.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use url::Url;

use super::{proxy, websocket};
use crate::engine::Millis;

/// How long TCP, TLS, proxy and WebSocket may take together.
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);

/// Any byte stream.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for S {}

/// Where and how to connect.
#[derive(Clone, Debug)]
pub struct Dial {
    /// Host name or address; also what the certificate has to be for.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// TLS; `None` only for loopback and where the configuration says so.
    pub tls: Option<Arc<ClientConfig>>,
    /// AMQP over WebSocket instead of straight on the stream.
    pub websocket: Option<WebSocket>,
}

/// AMQP over WebSocket.
#[derive(Clone, Debug)]
pub struct WebSocket {
    /// Path, with its first slash.
    pub path: &'static str,
    /// `http://[user:password@]host:port` of a proxy that understands CONNECT.
    pub proxy: Option<Url>,
}

/// Why there is no stream. Texts name the host and never a secret.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// TCP.
    #[error("can't connect to {host}:{port}: {source}")]
    Connect {
        /// Host.
        host: String,
        /// Port.
        port: u16,
        /// Cause.
        source: io::Error,
    },
    /// TLS.
    #[error("TLS with {host} failed: {source}")]
    Tls {
        /// Host.
        host: String,
        /// Cause.
        source: io::Error,
    },
    /// The host can't be the name in a certificate.
    #[error("{0:?} is no host name")]
    HostName(String),
    /// WebSocket.
    #[error("WebSocket with {host} failed: {message}")]
    WebSocket {
        /// Host.
        host: String,
        /// Cause.
        message: String,
    },
    /// The proxy.
    #[error("proxy {proxy} gave no way to {host}: {message}")]
    Proxy {
        /// Host and port of the proxy.
        proxy: String,
        /// Host.
        host: String,
        /// Cause.
        message: String,
    },
    /// Too slow.
    #[error("no connection to {host}:{port} within 10 s")]
    Timeout {
        /// Host.
        host: String,
        /// Port.
        port: u16,
    },
}

/// Why there is no TLS configuration.
#[derive(Debug, thiserror::Error)]
pub enum TlsConfigError {
    /// The file with additional roots.
    #[error("can't read certificates from {path}: {message}; ca_file needs PEM")]
    CaFile {
        /// The file.
        path: String,
        /// Cause.
        message: String,
    },
    /// The library.
    #[error("TLS can't be set up: {0}")]
    Library(#[from] rustls::Error),
}

/// TLS 1.2 and 1.3 with the system's roots and those in `ca_file`.
pub fn tls_config(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, TlsConfigError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = ca_file {
        let failed =
            |message: String| TlsConfigError::CaFile { path: path.display().to_string(), message };
        let certificates = CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| failed(error.to_string()))?;
        if certificates.is_empty() {
            return Err(failed("there is none in it".to_owned()));
        }
        for certificate in certificates {
            roots.add(certificate).map_err(|error| failed(error.to_string()))?;
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Sleeps; not at all if it is negative.
pub async fn sleep_ms(ms: Millis) {
    tokio::time::sleep(Duration::from_millis(u64::try_from(ms).unwrap_or(0))).await;
}

/// Connects.
pub async fn dial(target: &Dial) -> Result<Box<dyn ByteStream>, DialError> {
    timeout(DIAL_TIMEOUT, dial_untimed(target))
        .await
        .map_err(|_| DialError::Timeout { host: target.host.clone(), port: target.port })?
}

async fn dial_untimed(target: &Dial) -> Result<Box<dyn ByteStream>, DialError> {
    let proxy = target.websocket.as_ref().and_then(|websocket| websocket.proxy.as_ref());
    let tcp = match proxy {
        Some(proxy) => proxy::connect_through(proxy, &target.host, target.port).await?,
        None => tcp(&target.host, target.port).await?,
    };
    let stream: Box<dyn ByteStream> = match &target.tls {
        Some(config) => Box::new(start_tls(config.clone(), &target.host, tcp).await?),
        None => Box::new(tcp),
    };
    match &target.websocket {
        Some(websocket) => Ok(Box::new(websocket::upgrade(stream, target, websocket.path).await?)),
        None => Ok(stream),
    }
}

/// TCP without Nagle's delay: flow and disposition frames are small and waited for.
pub(super) async fn tcp(host: &str, port: u16) -> Result<TcpStream, DialError> {
    let failed = |source| DialError::Connect { host: host.to_owned(), port, source };
    let stream = TcpStream::connect((host, port)).await.map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    Ok(stream)
}

async fn start_tls(
    config: Arc<ClientConfig>,
    host: &str,
    tcp: TcpStream,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, DialError> {
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_: InvalidDnsNameError| DialError::HostName(host.to_owned()))?;
    TlsConnector::from(config)
        .connect(name, tcp)
        .await
        .map_err(|source| DialError::Tls { host: host.to_owned(), source })
}

#[cfg(test)]
#[path = "dial/tests.rs"]
mod tests;
