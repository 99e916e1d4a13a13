//! Whom we trust: the system's authorities, and those of a file that the operator adds.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// Why TLS can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsSetupError {
    /// The file can't be read, or is not PEM.
    #[error("the authorities in {} can't be read: {cause}; give a PEM file with one or more certificates", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        cause: String,
    },
    /// Nobody to trust.
    #[error(
        "there is no certificate authority to trust: {cause}; install the system's `ca-certificates`, or set `ca_file`"
    )]
    NoRoots {
        /// What the search for the system's ran into.
        cause: String,
    },
    /// The provider knows none of the protocol versions that we speak.
    #[error("TLS 1.2 and 1.3 are not available: {0}")]
    Versions(#[from] rustls::Error),
}

/// TLS 1.2 and 1.3 for HTTP/1.1, trusting the system's authorities and those in `ca_file`.
pub fn client_config(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, TlsSetupError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots(ca_file)?)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, TlsSetupError> {
    let system = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(system.certs);
    if let Some(path) = ca_file {
        add_file(&mut roots, path)
            .map_err(|cause| TlsSetupError::CaFile { path: path.to_owned(), cause })?;
    }
    if roots.is_empty() {
        let causes: Vec<String> = system.errors.iter().map(ToString::to_string).collect();
        return Err(TlsSetupError::NoRoots { cause: causes.join("; ") });
    }
    Ok(roots)
}

fn add_file(roots: &mut RootCertStore, path: &Path) -> Result<(), String> {
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| error.to_string())?;
    let mut empty = true;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
        empty = false;
    }
    if empty {
        return Err("it holds no certificate".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file(content: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content.as_bytes()).unwrap();
        file
    }

    #[test]
    fn a_file_without_a_usable_certificate_is_refused_by_name() {
        for content in
            ["", "not PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
        {
            let file = file(content);
            let error = client_config(Some(file.path())).unwrap_err().to_string();
            assert!(error.contains(file.path().to_str().unwrap()), "{error}");
        }
        assert!(matches!(
            client_config(Some(Path::new("/no/such/file.pem"))),
            Err(TlsSetupError::CaFile { .. })
        ));
    }

    #[test]
    fn a_private_authority_is_trusted() {
        let key = rcgen::KeyPair::generate().unwrap();
        let authority = rcgen::CertificateParams::default().self_signed(&key).unwrap();
        assert!(client_config(Some(file(&authority.pem()).path())).is_ok());
    }
}
