//! Whom the sink's TLS is with: by anchors, by pins, or by both.
//!
//! A pin is RFC 7469's: the SHA-256 of a certificate's SubjectPublicKeyInfo, in base64. It names the key that the sink itself
//! has, not one of an authority above it. Guarantees: with pins, nothing is said to a server whose key none of them names, and
//! its certificate is looked at before a byte of a request leaves; without anchors and without pins nobody is trusted. Pins
//! alone are the whole trust: the name, the dates and the issuer of the certificate then do not matter, only its key.

use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gatepost_evidence::id::Digest;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, OtherError, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

/// The SHA-256 of a SubjectPublicKeyInfo, written in base64 (RFC 7469, section 2.4).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Pin(Digest);

impl Pin {
    /// The pin of the key in a certificate.
    fn of(certificate: &CertificateDer<'_>) -> Result<Self, rustls::Error> {
        let parsed = ParsedCertificate::try_from(certificate)?;
        Ok(Self(Digest::of(&parsed.subject_public_key_info())))
    }
}

impl Pin {
    /// The digest that is pinned.
    #[must_use]
    pub fn digest(self) -> Digest {
        self.0
    }
}

impl std::str::FromStr for Pin {
    type Err = NotAPin;

    fn from_str(text: &str) -> Result<Self, NotAPin> {
        let bytes = STANDARD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(|bytes| Self(Digest::from_bytes(bytes))).ok_or(NotAPin)
    }
}

/// A text is not a pin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not the SHA-256 of a public key in base64, 44 characters; `gatepost enroll` says the sink's own")]
pub struct NotAPin;

impl std::fmt::Display for Pin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&STANDARD.encode(self.0.as_bytes()))
    }
}

impl std::fmt::Debug for Pin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pin({self})")
    }
}

/// The server's key is not one that is pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the sink's certificate has a key that `sink.pin_sha256` does not name: its pin is {seen}. If the sink was given this key \
     on purpose, put that into `sink.pin_sha256`; else somebody else answers in its place"
)]
pub struct NotPinned {
    /// The pin of the key it has.
    pub seen: Pin,
}

/// Judges the certificate of a server, and remembers the pin it saw last.
#[derive(Debug)]
pub(super) struct Verifier {
    /// None where pins are all there is.
    anchors: Option<Arc<WebPkiServerVerifier>>,
    pins: Vec<Pin>,
    provider: Arc<CryptoProvider>,
    seen: Mutex<Option<Pin>>,
}

impl Verifier {
    pub(super) fn new(
        anchors: Option<Arc<WebPkiServerVerifier>>,
        pins: Vec<Pin>,
        provider: Arc<CryptoProvider>,
    ) -> Self {
        Self { anchors, pins, provider, seen: Mutex::new(None) }
    }

    /// The pin of the last server whose certificate was accepted.
    pub(super) fn seen(&self) -> Option<Pin> {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let seen = Pin::of(end_entity)?;
        if !self.pins.is_empty() && !self.pins.contains(&seen) {
            return Err(CertificateError::Other(OtherError(Arc::new(NotPinned { seen }))).into());
        }
        match &self.anchors {
            Some(anchors) => {
                anchors.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?;
            }
            None if self.pins.is_empty() => return Err(CertificateError::UnknownIssuer.into()),
            None => {}
        }
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// What an error of TLS has to say about a pin.
#[must_use]
pub fn not_pinned(error: &rustls::Error) -> Option<NotPinned> {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) => {
            inner.downcast_ref::<NotPinned>().copied()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_what_openssl_says_of_the_same_certificate() {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec![]).unwrap().self_signed(&key).unwrap();
        let pin = Pin::of(certificate.der()).unwrap();
        assert_eq!(pin.to_string().parse(), Ok(pin));
        assert_eq!(
            pin.to_string(),
            STANDARD.encode(Digest::of(&rcgen::PublicKeyData::subject_public_key_info(&key)).as_bytes())
        );
    }

    #[test]
    fn what_is_not_a_pin_is_refused() {
        for text in ["", "abc", &"a".repeat(64), &format!("{}=", "A".repeat(47)), "sha256//AAAA"] {
            assert_eq!(text.parse::<Pin>(), Err(NotAPin));
        }
        assert!(format!("{}=", "A".repeat(43)).parse::<Pin>().is_ok());
    }
}
