//! TLS as the probes speak it, in two ways that cannot be mistaken for each other.
//!
//! [`look`] accepts whatever certificate the server shows, because showing it is the point; it has no credentials to send
//! and what it returns takes none. [`trusted`] lets nothing pass but a certificate that leads to the operator's anchors
//! and carries the server's name; credentials go over what it returns and nowhere else. There is one provider, ring.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gatepost_evidence::check::broker_transport_posture::{Handshake, TlsVersion};
use gatepost_evidence::look::{Bytes, Failure, FailureKind};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption, Tls12Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring};
use rustls::sign::CertifiedKey;
use rustls::{AlertDescription, ClientConfig, DigitallySignedStruct, NamedGroup, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::X509Name;

use super::tickets::Tickets;
use super::wire::{Budget, Wire, micros_since};
use crate::http;

/// The most issuers that are recorded of a server's request for a certificate.
const MAX_ISSUERS: usize = 32;

/// What a server showed in a handshake, whether or not the handshake completed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Peer {
    /// The certificates it sent, DER, leaf first as sent.
    pub chain: Vec<Bytes>,
    /// It signed this handshake with the leaf's key: it has that key.
    pub possession: bool,
    /// The OCSP answer that it sent along, DER; empty when it sent none.
    pub staple: Vec<u8>,
    /// It asked for a client certificate.
    pub certificate_requested: bool,
    /// Distinguished names of the issuers it said it accepts; hexadecimal where they do not parse.
    pub accepted_issuers: Vec<String>,
    /// The first of these names in DER, if there was one.
    pub accepted_issuer: Option<Bytes>,
    /// It was shown the certificate that it asked for.
    pub certificate_shown: bool,
}

/// A look at a server: what it showed, and the connection if there is one.
#[derive(Debug)]
pub struct Looked {
    /// What it showed.
    pub peer: Peer,
    /// The handshake, and the connection it made; the server is not authenticated, so no credentials go over it.
    pub handshake: Result<(Handshake, Unauthenticated), Failure>,
}

/// A TLS connection to a server that was not authenticated.
#[derive(Debug)]
pub struct Unauthenticated(TlsStream<Wire>);

impl Unauthenticated {
    /// The stream, for what needs no credentials.
    pub fn stream(&mut self) -> &mut TlsStream<Wire> {
        &mut self.0
    }
}

/// A TLS connection to a server whose certificate leads to the anchors and carries its name.
#[derive(Debug)]
pub struct Trusted(TlsStream<Wire>);

impl Trusted {
    /// The stream; credentials may be sent over it.
    pub fn stream(&mut self) -> &mut TlsStream<Wire> {
        &mut self.0
    }
}

/// A client certificate and its key.
pub struct Identity {
    /// The chain, leaf first.
    pub chain: Vec<Bytes>,
    /// The leaf's private key.
    pub key: PrivateKeyDer<'static>,
}

/// `name` as TLS takes it: a DNS name, or an IP address, for which no SNI is sent.
///
/// # Errors
/// When it is neither.
pub fn server_name(name: &str) -> Result<ServerName<'static>, Failure> {
    ServerName::try_from(name.to_owned()).map_err(|_| {
        Failure::new(
            FailureKind::Error,
            format_args!("{name} is neither a DNS name nor an IP address; set server_name"),
        )
    })
}

/// Makes a handshake in order to look at the server: with `version` alone, or with every version there is.
pub async fn look(wire: Wire, name: &ServerName<'static>, version: Option<TlsVersion>, budget: &Budget) -> Looked {
    let versions = match version {
        Some(TlsVersion::Tls12) => &[&rustls::version::TLS12][..],
        Some(TlsVersion::Tls13) => &[&rustls::version::TLS13][..],
        // rustls does not speak the older ones, and has nothing to offer then.
        Some(TlsVersion::Ssl3 | TlsVersion::Tls10 | TlsVersion::Tls11) => &[],
        None => rustls::ALL_VERSIONS,
    };
    look_as(LookOnly::new(&provider()), wire, name, versions, budget).await
}

/// As [`look`] with every version, by a client that shows `certificate` if the server asks for any. For certificates that
/// are worth nothing: the server is not authenticated.
pub async fn show(wire: Wire, name: &ServerName<'static>, certificate: Arc<CertifiedKey>, budget: &Budget) -> Looked {
    let eyes = LookOnly { certificate: Some(certificate), ..LookOnly::new(&provider()) };
    look_as(eyes, wire, name, rustls::ALL_VERSIONS, budget).await
}

async fn look_as(
    eyes: LookOnly,
    wire: Wire,
    name: &ServerName<'static>,
    versions: &[&'static rustls::SupportedProtocolVersion],
    budget: &Budget,
) -> Looked {
    let eyes = Arc::new(eyes);
    let handshake = match looking(&eyes, versions) {
        Ok(config) => connect(wire, name, Arc::new(config), budget).await,
        Err(failure) => Err(failure),
    };
    Looked {
        peer: eyes.peer().clone(),
        handshake: handshake.map(|(handshake, stream)| (handshake, Unauthenticated(stream))),
    }
}

fn looking(
    eyes: &Arc<LookOnly>,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> Result<ClientConfig, Failure> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .map_err(|error| Failure::new(FailureKind::Error, error))?;
    let mut config =
        builder.dangerous().with_custom_certificate_verifier(eyes.clone()).with_client_cert_resolver(eyes.clone());
    // Every handshake is a full one, so that each shows the server's certificate.
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// A client that looks and is nobody, for several connections.
#[derive(Debug, Clone)]
pub struct Onlooker(Arc<ClientConfig>);

impl Onlooker {
    /// One that offers every version there is.
    ///
    /// # Errors
    /// When the provider cannot, which it always can.
    pub fn new() -> Result<Self, Failure> {
        let eyes = Arc::new(LookOnly::new(&provider()));
        looking(&eyes, rustls::ALL_VERSIONS).map(|config| Self(Arc::new(config)))
    }

    /// Connects.
    ///
    /// # Errors
    /// When the handshake fails.
    pub async fn connect(
        &self,
        wire: Wire,
        name: &ServerName<'static>,
        budget: &Budget,
    ) -> Result<Unauthenticated, Failure> {
        connect(wire, name, self.0.clone(), budget).await.map(|(_, stream)| Unauthenticated(stream))
    }

    /// The same client, with a store for tickets.
    #[must_use]
    pub fn keeping(&self, tickets: &Arc<Tickets>) -> Self {
        Self(keeping(&self.0, tickets))
    }
}

/// A client that trusts a server by its anchors and name alone, for several connections.
#[derive(Debug, Clone)]
pub struct Trusting(Arc<ClientConfig>);

impl Trusting {
    /// One that trusts certificates which lead to one of `anchors`, and presents `identity`, if the server asks.
    ///
    /// # Errors
    /// When anchors, certificate or key cannot be used.
    pub fn new(anchors: &[Bytes], identity: Option<Identity>) -> Result<Self, Failure> {
        trusting(anchors, identity).map(|config| Self(Arc::new(config)))
    }

    /// Connects.
    ///
    /// # Errors
    /// When the server's certificate does not verify ([`FailureKind::Error`]), or the handshake fails.
    pub async fn connect(&self, wire: Wire, name: &ServerName<'static>, budget: &Budget) -> Result<Trusted, Failure> {
        connect(wire, name, self.0.clone(), budget).await.map(|(_, stream)| Trusted(stream))
    }

    /// The same client, with a store for tickets.
    #[must_use]
    pub fn keeping(&self, tickets: &Arc<Tickets>) -> Self {
        Self(keeping(&self.0, tickets))
    }
}

/// A copy that has the same verifier and identity, without which rustls would use no ticket.
fn keeping(config: &ClientConfig, tickets: &Arc<Tickets>) -> Arc<ClientConfig> {
    let mut config = config.clone();
    config.resumption = Resumption::store(tickets.clone()).tls12_resumption(Tls12Resumption::Disabled);
    Arc::new(config)
}

/// Makes a handshake with a server that must show a certificate for `name` that leads to one of `anchors`; only then is
/// `identity` presented, if the server asks.
///
/// # Errors
/// When the server's certificate does not verify ([`FailureKind::Error`]), or the handshake fails.
pub async fn trusted(
    wire: Wire,
    name: &ServerName<'static>,
    anchors: &[Bytes],
    identity: Option<Identity>,
    budget: &Budget,
) -> Result<Trusted, Failure> {
    Trusting::new(anchors, identity)?.connect(wire, name, budget).await
}

fn trusting(anchors: &[Bytes], identity: Option<Identity>) -> Result<ClientConfig, Failure> {
    let error = |error: &dyn std::fmt::Display| Failure::new(FailureKind::Error, error);
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(anchors.iter().map(|der| CertificateDer::from(der.0.as_slice())));
    let provider = provider();
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|_| error(&"none of the configured anchors can be used"))?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(rustls::ALL_VERSIONS)
        .map_err(|words| error(&words))?
        .with_webpki_verifier(verifier);
    let mut config = match identity {
        Some(Identity { chain, key }) => {
            let chain = chain.into_iter().map(|der| CertificateDer::from(der.0)).collect();
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|words| error(&format_args!("the client certificate and its key: {words}")))?
        }
        None => builder.with_no_client_auth(),
    };
    // Every handshake is a full one, so that each shows the server's certificate.
    config.resumption = Resumption::disabled();
    Ok(config)
}

async fn connect(
    wire: Wire,
    name: &ServerName<'static>,
    config: Arc<ClientConfig>,
    budget: &Budget,
) -> Result<(Handshake, TlsStream<Wire>), Failure> {
    let begin = Instant::now();
    let connecting = TlsConnector::from(config).connect(name.clone(), wire).into_fallible();
    let handshake = async { connecting.await.map_err(|(error, wire)| failure(&error, &wire)) };
    let stream = budget.wait("the TLS handshake", budget.limits().handshake, handshake).await?;
    let micros = micros_since(begin);
    let session = stream.get_ref().1;
    let cipher_suite = session.negotiated_cipher_suite().map_or_else(String::new, |suite| {
        // rustls marks TLS 1.3 suites with a prefix of its own.
        format!("{:?}", suite.suite()).replacen("TLS13_", "TLS_", 1)
    });
    let group = session.negotiated_key_exchange_group().map(|group| group_name(group.name()));
    Ok((Handshake { cipher_suite, group, micros }, stream))
}

fn group_name(group: NamedGroup) -> String {
    match group {
        NamedGroup::X25519 => "x25519".into(),
        NamedGroup::X448 => "x448".into(),
        other => format!("{other:?}"),
    }
}

/// What an error on a TLS connection is. Bytes that are not TLS are quoted.
#[must_use]
pub fn failure(error: &io::Error, wire: &Wire) -> Failure {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::AlertReceived(alert)) => Failure::new(FailureKind::TlsAlert, alert_name(*alert)),
        Some(rustls::Error::InvalidCertificate(why)) => {
            Failure::new(FailureKind::Error, format_args!("the server's certificate does not verify: {why}"))
        }
        Some(rustls::Error::InvalidMessage(why)) => Failure::new(
            FailureKind::Protocol,
            format_args!("the answer is not TLS ({why:?}); it begins with {}", wire.first_bytes()),
        ),
        Some(other) => Failure::new(FailureKind::Protocol, other),
        None if http::io_kind(error) == FailureKind::Closed && !wire.heard_anything() => {
            Failure::new(FailureKind::Closed, "the peer closed the connection without a word")
        }
        None => Failure::new(http::io_kind(error), error),
    }
}

/// Whether the peer wrote something that is no record of TLS.
#[must_use]
pub fn is_not_tls(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(inner, Some(rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType)))
}

/// An alert by its name in the IANA registry and its number.
fn alert_name(alert: AlertDescription) -> String {
    let mut name = String::new();
    let mut after_small = false;
    for letter in alert.as_str().unwrap_or("unassigned").chars() {
        if letter.is_ascii_uppercase() && after_small {
            name.push('_');
        }
        after_small = letter.is_ascii_lowercase();
        name.push(letter.to_ascii_lowercase());
    }
    format!("{name} ({})", u8::from(alert))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// A verifier that lets every certificate pass and remembers what it saw. For looking only: nothing that is connected
/// with it may carry credentials. It has no client certificate, or a worthless one, and remembers being asked for one.
#[derive(Debug)]
struct LookOnly {
    algorithms: WebPkiSupportedAlgorithms,
    certificate: Option<Arc<CertifiedKey>>,
    peer: Mutex<Peer>,
}

impl LookOnly {
    fn new(provider: &CryptoProvider) -> Self {
        let algorithms = provider.signature_verification_algorithms;
        Self { algorithms, certificate: None, peer: Mutex::default() }
    }

    fn peer(&self) -> MutexGuard<'_, Peer> {
        self.peer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A signature that does not verify leaves possession unproven; the handshake goes on, since there is more to see.
    fn signed(&self, verified: Result<HandshakeSignatureValid, rustls::Error>) -> HandshakeSignatureValid {
        self.peer().possession = verified.is_ok();
        HandshakeSignatureValid::assertion()
    }
}

impl ServerCertVerifier for LookOnly {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        staple: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let sent = std::iter::once(end_entity).chain(intermediates);
        self.peer().staple = staple.to_vec();
        self.peer().chain = sent.map(|der| Bytes(der.to_vec())).collect();
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(self.signed(rustls::crypto::verify_tls12_signature(message, certificate, signature, &self.algorithms)))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(self.signed(rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.algorithms)))
    }

    /// What ring can check, then what only old or rare certificates need: such a server should be seen, not missed.
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let rare = [
            SignatureScheme::ECDSA_NISTP521_SHA512,
            SignatureScheme::ED448,
            SignatureScheme::RSA_PKCS1_SHA1,
            SignatureScheme::ECDSA_SHA1_Legacy,
        ];
        let mut schemes = self.algorithms.supported_schemes();
        schemes.extend(rare.into_iter().filter(|scheme| !self.algorithms.supported_schemes().contains(scheme)));
        schemes
    }
}

impl ResolvesClientCert for LookOnly {
    fn resolve(&self, issuers: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let name = |der: &&[u8]| match X509Name::from_der(der) {
            Ok((_, name)) => name.to_string(),
            Err(_) => super::wire::hex(der),
        };
        let mut peer = self.peer();
        peer.certificate_requested = true;
        peer.accepted_issuers =
            issuers.iter().take(MAX_ISSUERS).map(|der| name(der).chars().take(300).collect()).collect();
        peer.accepted_issuer = issuers.first().map(|der| Bytes(der.to_vec()));
        // Without a common scheme rustls would show nothing.
        let shown = self.certificate.clone().filter(|certificate| certificate.key.choose_scheme(schemes).is_some());
        peer.certificate_shown = shown.is_some();
        shown
    }

    fn has_certs(&self) -> bool {
        self.certificate.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_have_the_names_of_the_registry() {
        assert_eq!(alert_name(AlertDescription::CertificateRequired), "certificate_required (116)");
        assert_eq!(alert_name(AlertDescription::UnknownCA), "unknown_ca (48)");
        assert_eq!(alert_name(AlertDescription::ProtocolVersion), "protocol_version (70)");
        assert_eq!(alert_name(AlertDescription::Unknown(250)), "unassigned (250)");
    }

    #[test]
    fn a_name_that_tls_cannot_take_is_told() {
        assert!(server_name("127.0.0.1").is_ok());
        assert!(server_name("broker.local").is_ok());
        assert!(server_name("no name").unwrap_err().detail.contains("server_name"));
    }
}
