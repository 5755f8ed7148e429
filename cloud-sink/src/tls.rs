//! The server's TLS: rustls with ring, TLS 1.2 and 1.3, from PEM files. There is no way from here to plaintext.

use std::path::Path;
use std::sync::Arc;

use axum_server::tls_rustls::RustlsConfig;
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::error::SinkError;

/// The configuration for the chain in `certificate` and the key in `key`.
///
/// # Errors
/// When a file cannot be read, holds nothing of its kind, or the two do not belong together.
pub fn configuration(certificate: &Path, key: &Path) -> Result<RustlsConfig, SinkError> {
    let content =
        |path: &Path, why: &dyn std::fmt::Display| SinkError::Content { path: path.to_owned(), why: why.to_string() };
    let read = |path: &Path| {
        std::fs::read(path).map_err(|source| SinkError::File { action: "read", path: path.to_owned(), source })
    };
    let pem = read(certificate)?;
    let chain = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|error| content(certificate, &error))?;
    if chain.is_empty() {
        return Err(content(certificate, &"it holds no certificate in PEM"));
    }
    let private =
        PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|_| content(key, &"it holds no private key in PEM"))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| SinkError::Options(error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                let why = format!("it is not the key of the certificate in {}", certificate.display());
                content(key, &why)
            }
            error => content(certificate, &format!("{error} (its key: {})", key.display())),
        })?;
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(RustlsConfig::from_config(Arc::new(server)))
}
