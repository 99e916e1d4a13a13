//! The connection to the broker: TCP, or TLS with the machine's roots and those of `ca_file`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lapin::uri::{AMQPScheme, AMQPUri};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How long name resolution, TCP and TLS may take together.
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);

/// Both directions of a connection.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Where the broker is, and how it is spoken to.
#[derive(Clone)]
pub(super) struct Endpoint {
    host: String,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Endpoint {
    /// Reads the certificates that are needed. The error is one line for people.
    pub(super) fn new(uri: &AMQPUri, ca_file: Option<&Path>) -> Result<Self, String> {
        let host = uri.authority.host.trim_matches(['[', ']']).to_owned();
        let tls = match uri.scheme {
            AMQPScheme::AMQP => None,
            AMQPScheme::AMQPS => {
                let name = ServerName::try_from(host.clone())
                    .map_err(|_| format!("{host} is no host name that a certificate can name"))?;
                Some((TlsConnector::from(Arc::new(client_config(ca_file)?)), name))
            }
        };
        Ok(Self {
            host,
            port: uri.authority.port,
            tls,
        })
    }

    /// Connects. The error is one line for people.
    pub(super) async fn dial(&self) -> Result<Box<dyn Duplex>, String> {
        let place = format!("{}:{}", self.host, self.port);
        match tokio::time::timeout(DIAL_TIMEOUT, self.connect()).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(format!("can't connect to {place}: {error}")),
            Err(_) => Err(format!(
                "can't connect to {place}: no answer for {} s",
                DIAL_TIMEOUT.as_secs()
            )),
        }
    }

    async fn connect(&self) -> std::io::Result<Box<dyn Duplex>> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        match &self.tls {
            None => Ok(Box::new(stream)),
            Some((connector, name)) => Ok(Box::new(connector.connect(name.clone(), stream).await?)),
        }
    }
}

/// TLS 1.2 and 1.3; the host's name is always checked.
fn client_config(ca_file: Option<&Path>) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = ca_file {
        let unreadable = |error: String| format!("ca_file {}: {error}", path.display());
        let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect)
            .map_err(|error| unreadable(error.to_string()))?;
        if certificates.is_empty() {
            return Err(unreadable(
                "no certificate in it (PEM is expected)".to_owned(),
            ));
        }
        for certificate in certificates {
            roots
                .add(certificate)
                .map_err(|error| unreadable(error.to_string()))?;
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS: {error}"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}
