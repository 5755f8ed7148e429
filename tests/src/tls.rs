//! TLS for the lab: one provider (ring), TLS 1.2 and 1.3, certificates from PEM files.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use rustls::crypto::{CryptoProvider, ring};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::pki::Identity;

/// The provider that everything in the lab uses.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// The certificates in a PEM file.
///
/// # Errors
/// When it cannot be read.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .with_context(|| format!("no certificates in {}", path.display()))
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_file(path).with_context(|| format!("no private key in {}", path.display()))
}

/// A server that presents `identity` and asks nobody for a certificate.
///
/// # Errors
/// When a file cannot be read or certificate and key do not fit.
pub fn server(identity: &Identity) -> Result<Arc<ServerConfig>> {
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(certificates(&identity.certificate)?, key(&identity.key)?)
        .with_context(|| format!("{} and its key do not make a server", identity.certificate.display()))?;
    Ok(Arc::new(config))
}

/// A client that trusts `ca` and presents `identity` if there is one.
///
/// # Errors
/// When a file cannot be read or certificate and key do not fit.
pub fn client(ca: &Path, identity: Option<&Identity>) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca)? {
        roots.add(certificate).with_context(|| format!("{} is no trust anchor", ca.display()))?;
    }
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let config = match identity {
        None => config.with_no_client_auth(),
        Some(identity) => config
            .with_client_auth_cert(certificates(&identity.certificate)?, key(&identity.key)?)
            .with_context(|| format!("{} and its key do not make a client", identity.certificate.display()))?,
    };
    Ok(Arc::new(config))
}
