//! TLS with a private authority.

use std::io::Write;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tempfile::NamedTempFile;
use tokio_rustls::TlsAcceptor;

use crate::receiver::{Receiver, Reply};
use crate::sink::{Sink, config, message, waits};

/// A receiver with a certificate for `name`, and the file with the authority that signed it.
async fn receiver_named(name: &str) -> (Receiver, NamedTempFile) {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &authority).unwrap();

    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![leaf.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    let mut ca_file = NamedTempFile::new().unwrap();
    ca_file.write_all(authority.pem().as_bytes()).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(server));
    let receiver = Receiver::start_with(Some(acceptor), |_, _| Reply::status(200)).await;
    (receiver, ca_file)
}

/// One attempt at `host`; the outcome in question must have been counted once.
async fn assert_outcome(
    receiver: &Receiver,
    host: &str,
    ca_file: Option<&NamedTempFile>,
    outcome: &str,
) {
    let mut config = config(&format!("https://{host}:{}/hook", receiver.address.port()));
    config.allow_http = false;
    config.ca_file = ca_file.map(|file| file.path().to_owned());
    let sink = Sink::start(config, waits(&[]));
    sink.send(message(0, 1)).await;
    assert_eq!(sink.finish().await.outcome(outcome), 1);
}

#[tokio::test]
async fn a_private_authority_is_trusted_for_the_name_it_signed() {
    let (mut receiver, ca_file) = receiver_named("localhost").await;
    assert_outcome(&receiver, "localhost", Some(&ca_file), "delivered").await;
    assert_eq!(receiver.next().await.line, "POST /hook HTTP/1.1");
}

#[tokio::test]
async fn an_address_is_verified_as_an_address() {
    let (receiver, ca_file) = receiver_named("127.0.0.1").await;
    assert_outcome(&receiver, "127.0.0.1", Some(&ca_file), "delivered").await;
}

#[tokio::test]
async fn another_name_is_refused_before_anything_is_sent() {
    let (mut receiver, ca_file) = receiver_named("elsewhere.example").await;
    assert_outcome(&receiver, "localhost", Some(&ca_file), "unreachable").await;
    assert!(receiver.requests.try_recv().is_err());
}

#[tokio::test]
async fn an_authority_that_nobody_configured_is_refused() {
    let (mut receiver, _ca_file) = receiver_named("localhost").await;
    let (_other, other_ca_file) = receiver_named("localhost").await;
    assert_outcome(&receiver, "localhost", Some(&other_ca_file), "unreachable").await;
    assert!(receiver.requests.try_recv().is_err());
}
