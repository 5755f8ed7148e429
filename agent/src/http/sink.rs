//! The way to the sink: whom to trust there, and through which proxy.
//!
//! Guarantees: over `https` nothing leaves before the sink's certificate was judged ([`super::pin`]), be there a proxy or not;
//! a proxy carries the encrypted connection (HTTP `CONNECT`, RFC 9110 section 9.3.6, or SOCKS 5, RFC 1928) and sees only
//! where it leads; environment variables are not read; credentials come from a file and are never printed.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gatepost_evidence::look::{Failure, FailureKind};
use rustls::client::WebPkiServerVerifier;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use ureq::Proxy;
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{ConnectProxyConnector, Connector as _, SocksConnector, TcpConnector};

use super::SYSTEM_ANCHORS;
use super::pin::{Pin, Verifier};
use super::tls::Tls;
use crate::config::Sink;
use crate::files;

/// A client of the sink.
pub struct SinkClient {
    agent: ureq::Agent,
    verifier: Arc<Verifier>,
}

impl SinkClient {
    /// A client of `sink` that gives up after `limit`.
    ///
    /// # Errors
    /// When the anchors or the proxy's credentials cannot be read.
    pub fn new(sink: &Sink, limit: Duration) -> Result<Self, Failure> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let failed = |error: &dyn std::fmt::Display| Failure::new(FailureKind::Error, error);
        let anchors = match anchors(sink)? {
            Some(roots) if !roots.is_empty() => {
                let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
                Some(builder.build().map_err(|error| failed(&error))?)
            }
            _ => None,
        };
        let verifier = Arc::new(Verifier::new(anchors, sink.pin_sha256.clone(), Arc::clone(&provider)));
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| failed(&error))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&verifier) as _)
            .with_no_client_auth();
        let config = super::config(limit).proxy(proxy(sink)?).build();
        let connector =
            ().chain(SocksConnector::default())
                .chain(ConnectProxyConnector::default())
                .chain(TcpConnector::default())
                .chain(Tls(Arc::new(tls)));
        Ok(Self { agent: ureq::Agent::with_parts(config, connector, DefaultResolver::default()), verifier })
    }

    /// The client itself.
    #[must_use]
    pub fn agent(&self) -> &ureq::Agent {
        &self.agent
    }

    /// The pin of the sink's key, once it was talked to over TLS.
    #[must_use]
    pub fn seen(&self) -> Option<Pin> {
        self.verifier.seen()
    }
}

/// The anchors for the sink's certificate; none where its pins are the whole trust.
fn anchors(sink: &Sink) -> Result<Option<RootCertStore>, Failure> {
    let read = match &sink.ca_file {
        Some(path) => files::read_certificates(path)?,
        None if !sink.pin_sha256.is_empty() => return Ok(None),
        // Without the system's list nothing is trusted; a sink on loopback can still be asked in plaintext.
        None => files::read_certificates(Path::new(SYSTEM_ANCHORS)).unwrap_or_default(),
    };
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(read.into_iter().map(|der| CertificateDer::from(der.0)));
    Ok(Some(roots))
}

fn proxy(sink: &Sink) -> Result<Option<Proxy>, Failure> {
    let Some(url) = &sink.proxy else { return Ok(None) };
    // Neither the URL nor the credentials are quoted.
    let unusable = |_| Failure::new(FailureKind::Error, "the URL in `sink.proxy` cannot be used");
    let named = Proxy::new(url).map_err(unusable)?;
    let Some(file) = &sink.proxy_credentials_file else { return Ok(Some(named)) };
    let credentials = files::read_secret(file)?;
    let (user, password) = credentials.expose().split_once(':').ok_or_else(|| {
        let detail =
            format_args!("{} does not hold the user's name, a colon and the password", file.display()).to_string();
        Failure::new(FailureKind::Unparseable, detail)
    })?;
    let builder = Proxy::builder(named.protocol()).host(named.host()).port(named.port());
    let builder = builder.resolve_target(named.resolve_target());
    builder.username(user).password(password).build().map(Some).map_err(unusable)
}
