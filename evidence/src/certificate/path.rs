//! Whether a chain leads to an anchor, judged by `rustls-webpki` (RFC 5280, section 6), with every error by a name.
//!
//! The path is judged at the moment it was seen, or at the nearest moment of the leaf's own validity when it was seen
//! outside it: that a leaf has expired is one defect and not two.

use jiff::Timestamp;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use webpki::{
    CertRevocationList, EndEntityCert, ExpirationPolicy, ExtendedKeyUsageValidator, KeyPurposeIdIter, KeyUsage,
    RevocationCheckDepth, RevocationOptionsBuilder, UnknownStatusPolicy,
};
use x509_parser::prelude::{FromDer, X509Certificate};

/// What a certificate should be good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usage {
    /// A TLS server, such as the broker.
    Server,
    /// A TLS client, such as a device.
    Client,
}

/// Why a chain does not lead to an anchor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PathProblem {
    /// No certificate was shown.
    NoCertificate,
    /// None of the anchors can be used.
    NoAnchor,
    /// A certificate on the path is not written as RFC 5280 wants it.
    Unreadable,
    /// The leaf is signed with its own key, and is no anchor.
    SelfSigned,
    /// The chain ends in an authority that is no anchor.
    ForeignAuthority,
    /// The issuer of the last certificate was not sent and is no anchor: an intermediate certificate is missing, or it comes
    /// from another authority.
    IssuerMissing,
    /// A signature on the path is not by the key of the issuer that it names.
    BadSignature,
    /// A signature on the path uses an algorithm, or a key, that cannot be checked here.
    SignatureAlgorithm,
    /// The leaf says that it is a CA.
    LeafIsCa,
    /// An issuer on the path does not say that it is a CA.
    IssuerIsNoCa,
    /// An issuer on the path has expired.
    IssuerExpired,
    /// An issuer on the path is not valid yet.
    IssuerNotYetValid,
    /// The end of somebody's validity is before its start.
    Validity,
    /// An issuer allows fewer CAs below it than there are.
    PathLength,
    /// An issuer does not allow it names such as the leaf's.
    NameConstraint,
    /// Somebody's extended key usage does not allow it.
    Usage,
    /// A certificate on the path has a critical extension that is not known.
    CriticalExtension,
    /// There are too many ways to try.
    TooComplex,
    /// A certificate on the path was revoked.
    Revoked,
    /// No revocation list speaks of it, or none that can be used.
    RevocationUnknown,
    /// Something else; see the words.
    Other,
}

/// A path that does not lead to an anchor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{words}")]
pub struct PathError {
    /// What is wrong with it.
    pub problem: PathProblem,
    /// webpki's name for it, which is what people search for.
    pub words: String,
}

impl PathError {
    fn new(problem: PathProblem, words: impl ToString) -> Self {
        Self { problem, words: words.to_string().chars().take(200).collect() }
    }
}

impl From<webpki::Error> for PathError {
    fn from(error: webpki::Error) -> Self {
        // Its Debug has times and lists behind the name, which differ from look to look.
        let words = error.to_string();
        let name = words.split(|letter: char| !letter.is_ascii_alphanumeric()).next().unwrap_or_default();
        Self::new(problem(&error), name)
    }
}

fn problem(error: &webpki::Error) -> PathProblem {
    use webpki::Error;
    #[allow(deprecated, reason = "webpki still returns some of them")]
    match error {
        Error::BadDer
        | Error::BadDerTime
        | Error::TrailingData(_)
        | Error::ExtensionValueInvalid
        | Error::MalformedExtensions
        | Error::MalformedDnsIdentifier
        | Error::InvalidSerialNumber
        | Error::UnsupportedCertVersion
        | Error::SignatureAlgorithmMismatch => PathProblem::Unreadable,
        Error::CaUsedAsEndEntity => PathProblem::LeafIsCa,
        Error::EndEntityUsedAsCa => PathProblem::IssuerIsNoCa,
        Error::CertExpired { .. } => PathProblem::IssuerExpired,
        Error::CertNotValidYet { .. } => PathProblem::IssuerNotYetValid,
        Error::InvalidCertValidity => PathProblem::Validity,
        Error::InvalidSignatureForPublicKey => PathProblem::BadSignature,
        Error::UnsupportedSignatureAlgorithm
        | Error::UnsupportedSignatureAlgorithmContext(_)
        | Error::UnsupportedSignatureAlgorithmForPublicKey
        | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => PathProblem::SignatureAlgorithm,
        Error::PathLenConstraintViolated => PathProblem::PathLength,
        Error::NameConstraintViolation
        | Error::MalformedNameConstraint
        | Error::InvalidNetworkMaskConstraint
        | Error::MaximumNameConstraintComparisonsExceeded => PathProblem::NameConstraint,
        Error::EmptyEkuExtension | Error::RequiredEkuNotFound | Error::RequiredEkuNotFoundContext(_) => {
            PathProblem::Usage
        }
        Error::UnsupportedCriticalExtension => PathProblem::CriticalExtension,
        Error::UnknownIssuer => PathProblem::IssuerMissing,
        Error::MaximumPathBuildCallsExceeded
        | Error::MaximumPathDepthExceeded
        | Error::MaximumSignatureChecksExceeded => PathProblem::TooComplex,
        Error::CertRevoked => PathProblem::Revoked,
        Error::UnknownRevocationStatus
        | Error::InvalidCrlSignatureForPublicKey
        | Error::IssuerNotCrlSigner
        | Error::CrlExpired { .. }
        | Error::UnsupportedCrlSignatureAlgorithm
        | Error::UnsupportedCrlSignatureAlgorithmContext(_)
        | Error::UnsupportedCrlSignatureAlgorithmForPublicKey
        | Error::UnsupportedCrlSignatureAlgorithmForPublicKeyContext(_) => PathProblem::RevocationUnknown,
        _ => PathProblem::Other,
    }
}

/// Whether `chain` (leaf first) leads to one of `anchors` for `usage`; the error is webpki's name for what is wrong.
///
/// # Errors
/// What is wrong with the path, in webpki's words.
pub fn path(chain: &[Vec<u8>], anchors: &[Vec<u8>], usage: Usage, observed_at: Timestamp) -> Result<(), String> {
    judge(chain, anchors, Some(usage), observed_at, &Revocation::NotAsked).map_err(|error| error.words)
}

/// What a path is asked about revocation.
pub(super) enum Revocation<'a> {
    /// Nothing.
    NotAsked,
    /// One of these lists has to speak of the leaf.
    Leaf(&'a [&'a CertRevocationList<'a>]),
    /// One of these lists may speak of any of them.
    Anybody(&'a [&'a CertRevocationList<'a>]),
}

/// Takes a certificate for whatever it is meant for.
struct AnyPurpose;

impl ExtendedKeyUsageValidator for AnyPurpose {
    fn validate(&self, _: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        Ok(())
    }
}

/// As [`path`], with the error by its kind. Whoever signed is looked at before what for: webpki looks at the purposes first, and a
/// stranger's certificate with a wrong purpose would be no stranger's. Without `usage` purposes do not matter.
pub(super) fn judge(
    chain: &[Vec<u8>],
    anchors: &[Vec<u8>],
    usage: Option<Usage>,
    observed_at: Timestamp,
    revocation: &Revocation<'_>,
) -> Result<(), PathError> {
    let Some((leaf, intermediates)) = chain.split_first() else {
        return Err(PathError::new(PathProblem::NoCertificate, "no certificate was presented"));
    };
    let anchor_ders: Vec<_> = anchors.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
    let trusted: Vec<TrustAnchor<'_>> =
        anchor_ders.iter().filter_map(|der| webpki::anchor_from_trusted_cert(der).ok()).collect();
    if trusted.is_empty() {
        return Err(PathError::new(PathProblem::NoAnchor, "none of the configured anchors can be used"));
    }
    let leaf_der = CertificateDer::from(leaf.as_slice());
    let intermediates: Vec<_> = intermediates.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
    let certificate = EndEntityCert::try_from(&leaf_der)?;
    let usage = usage.map(|usage| match usage {
        Usage::Server => KeyUsage::server_auth(),
        Usage::Client => KeyUsage::client_auth(),
    });
    let options = |lists, depth, policy| {
        let builder = RevocationOptionsBuilder::new(lists).ok()?;
        let builder = builder.with_depth(depth).with_status_policy(policy);
        Some(builder.with_expiration_policy(ExpirationPolicy::Ignore).build())
    };
    let revocation = match revocation {
        Revocation::NotAsked => None,
        Revocation::Leaf(lists) => options(lists, RevocationCheckDepth::EndEntity, UnknownStatusPolicy::Deny),
        Revocation::Anybody(lists) => options(lists, RevocationCheckDepth::Chain, UnknownStatusPolicy::Allow),
    };
    let now = within_validity(leaf, observed_at);
    let algorithms = crate::signature::ALGORITHMS;
    certificate.verify_for_usage(algorithms, &trusted, &intermediates, now, AnyPurpose, revocation, None)?;
    if let Some(usage) = usage {
        certificate.verify_for_usage(algorithms, &trusted, &intermediates, now, usage, None, None)?;
    }
    Ok(())
}

fn within_validity(leaf: &[u8], observed_at: Timestamp) -> UnixTime {
    let mut now = observed_at.as_second();
    if let Ok((_, certificate)) = X509Certificate::from_der(leaf) {
        let validity = certificate.validity();
        let (from, to) = (validity.not_before.timestamp(), validity.not_after.timestamp());
        if from <= to {
            now = now.clamp(from, to);
        }
    }
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(u64::try_from(now).unwrap_or(0)))
}
