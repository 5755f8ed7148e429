//! The HTTP clients: for the gateway service's endpoints, and, with pins and a proxy, for the sink
//! ([`SinkClient`]).
//!
//! TLS is rustls with ring, the anchors are the given file or the system's; there is no way to turn verification off and
//! redirects are never followed, so an `https` URL can not become plaintext. No proxy is used but one that is configured, and
//! environment variables are not asked for one. Blocking: call it off the async threads.

pub mod pin;
mod sink;
mod tls;

pub use sink::SinkClient;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gatepost_evidence::look::{Failure, FailureKind};
use ureq::config::ConfigBuilder;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};
use ureq::typestate::AgentScope;

use crate::files;

/// Where Debian keeps the system's anchors.
pub const SYSTEM_ANCHORS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// A client that trusts the certificates in `ca_file` (the system's when there is none) and gives up after `limit`.
///
/// # Errors
/// When the anchors cannot be read.
pub fn client(ca_file: Option<&Path>, limit: Duration) -> Result<ureq::Agent, Failure> {
    let path = ca_file.unwrap_or(Path::new(SYSTEM_ANCHORS));
    let anchors = match files::read_certificates(path) {
        Ok(anchors) => anchors,
        // Without the system's list nothing is trusted; plaintext endpoints can still be asked.
        Err(_) if ca_file.is_none() => Vec::new(),
        Err(failure) => return Err(failure),
    };
    let anchors: Vec<_> = anchors.iter().map(|der| Certificate::from_der(&der.0).to_owned()).collect();
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .root_certs(RootCerts::new_with_certs(&anchors))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build();
    Ok(ureq::Agent::new_with_config(config(limit).tls_config(tls).proxy(None).build()))
}

/// What every client here has in common.
fn config(limit: Duration) -> ConfigBuilder<AgentScope> {
    ureq::Agent::config_builder()
        .timeout_global(Some(limit))
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .user_agent(concat!("gatepost/", env!("CARGO_PKG_VERSION")))
}

/// What a failed request is, as a failed look.
#[must_use]
pub fn failure(error: &ureq::Error) -> Failure {
    let kind = match error {
        ureq::Error::Timeout(_) => FailureKind::TimedOut,
        ureq::Error::HostNotFound => FailureKind::Unreachable,
        ureq::Error::ConnectionFailed => FailureKind::Unreachable,
        ureq::Error::Http(_) | ureq::Error::Protocol(_) => FailureKind::Protocol,
        ureq::Error::Rustls(error) => tls_kind(error),
        ureq::Error::Io(error) => io_kind(error),
        // These quote the URL, which may hold credentials.
        ureq::Error::BadUri(_) | ureq::Error::RequireHttpsOnly(_) => {
            return Failure::new(FailureKind::Error, "the URL cannot be used");
        }
        _ => FailureKind::Error,
    };
    Failure::new(kind, error)
}

/// What TLS had against it, if that is what failed.
#[must_use]
pub fn tls_error(error: &ureq::Error) -> Option<&rustls::Error> {
    match error {
        ureq::Error::Rustls(error) => Some(error),
        ureq::Error::Io(error) => error.get_ref().and_then(|inner| inner.downcast_ref()),
        _ => None,
    }
}

/// What an error of TLS is: the peer's alert, our own refusal of its certificate, or bytes that are not TLS.
fn tls_kind(error: &rustls::Error) -> FailureKind {
    match error {
        rustls::Error::AlertReceived(_) => FailureKind::TlsAlert,
        rustls::Error::InvalidCertificate(_) => FailureKind::Error,
        _ => FailureKind::Protocol,
    }
}

/// What an I/O error on a connection is.
#[must_use]
pub fn io_kind(error: &std::io::Error) -> FailureKind {
    use std::io::ErrorKind;
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match (error.kind(), inner) {
        (_, Some(error)) => tls_kind(error),
        (ErrorKind::ConnectionRefused, _) => FailureKind::Refused,
        (ErrorKind::TimedOut | ErrorKind::WouldBlock, _) => FailureKind::TimedOut,
        (ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::AddrNotAvailable, _) => {
            FailureKind::Unreachable
        }
        (
            ErrorKind::UnexpectedEof
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            | ErrorKind::NotConnected,
            _,
        ) => FailureKind::Closed,
        (ErrorKind::InvalidData, _) => FailureKind::Protocol,
        (ErrorKind::PermissionDenied, _) => FailureKind::Denied,
        _ => FailureKind::Error,
    }
}
