//! Facts that follow from a certificate's DER, its chain and the anchors it should lead to (RFC 5280).
//!
//! Pure: validity is counted from when the certificate was seen. A certificate that does not parse yields facts too: that
//! it does not, and the parser's words. Whether a path leads to an anchor is judged apart from the leaf's own dates, so
//! that an expired certificate is one defect and not two.

use jiff::Timestamp;
use rustls_pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use webpki::{EndEntityCert, KeyUsage};
use x509_parser::extensions::{ExtendedKeyUsage, GeneralName};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;

use crate::id::Digest;
use crate::signature;

/// What a certificate should be good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usage {
    /// A TLS server, such as the broker.
    Server,
    /// A TLS client, such as a device.
    Client,
}

/// Facts about one certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CertificateFacts {
    /// Whether the DER is a certificate (RFC 5280).
    pub parses: bool,
    /// The parser's words when it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parse_error: Option<String>,
    /// SHA-256 of the DER.
    pub fingerprint: String,
    /// SHA-256 of the SubjectPublicKeyInfo.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_fingerprint: Option<String>,
    /// Subject, RFC 4514 order as in the certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Issuer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// The first common name of the subject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub common_name: Option<String>,
    /// Serial number, hexadecimal with colons.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// Start of validity, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<String>,
    /// End of validity, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_after: Option<String>,
    /// Seen after the end of validity. Absent when the clock is not believed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expired: Option<bool>,
    /// Seen before the start of validity. Absent when the clock is not believed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_yet_valid: Option<bool>,
    /// Whole days from when it was seen to the end of validity; negative after it. Absent when the clock is not believed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub days_to_expiry: Option<i64>,
    /// Whole days from start to end of validity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifetime_days: Option<i64>,
    /// `rsa`, `ec`, `ed25519` or the algorithm's OID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_algorithm: Option<String>,
    /// Size of the key in bits (RSA modulus, EC field).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_bits: Option<i64>,
    /// OID of the signature algorithm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature_algorithm: Option<String>,
    /// The signature uses MD2, MD5 or SHA-1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weak_signature: Option<bool>,
    /// Subject and issuer are the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub self_issued: Option<bool>,
    /// Basic constraints say CA.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_ca: Option<bool>,
    /// DNS names and IP addresses of the subject alternative name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alternative_names: Option<Vec<String>>,
    /// Extended key usage allows TLS servers, or does not restrict.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_auth: Option<bool>,
    /// Extended key usage allows TLS clients, or does not restrict.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_auth: Option<bool>,
}

/// Facts that change with every look and are left out of drift.
pub const VOLATILE: &[&str] = &["days_to_expiry"];

impl CertificateFacts {
    /// The facts of `der`, seen at `observed_at`; `clock_believed` says whether that time may be compared with dates.
    #[must_use]
    pub fn from_der(der: &[u8], observed_at: Timestamp, clock_believed: bool) -> Self {
        let fingerprint = Digest::of(der).to_string();
        let unparsed = |words: String| Self {
            parses: false,
            parse_error: Some(words.chars().take(300).collect()),
            fingerprint: fingerprint.clone(),
            ..Self::default()
        };
        let certificate = match X509Certificate::from_der(der) {
            Ok(([], certificate)) => certificate,
            Ok((rest, _)) => return unparsed(format!("{} bytes follow the certificate", rest.len())),
            Err(error) => return unparsed(error.to_string()),
        };
        let (not_before, not_after) =
            (certificate.validity().not_before.timestamp(), certificate.validity().not_after.timestamp());
        let now = observed_at.as_second();
        let dated = |fact: bool| clock_believed.then_some(fact);
        let (key_algorithm, key_bits) = key(&certificate);
        let signature_algorithm = certificate.signature_algorithm.algorithm.to_id_string();
        // Absent restricts nothing (RFC 5280, section 4.2.1.12); one that cannot be read allows nothing.
        let usage = certificate.extended_key_usage().map(|usage| usage.map(|extension| extension.value.clone()));
        let allows = |one: fn(&ExtendedKeyUsage<'_>) -> bool| match &usage {
            Ok(Some(usage)) => usage.any || one(usage),
            Ok(None) => true,
            Err(_) => false,
        };
        Self {
            parses: true,
            parse_error: None,
            key_fingerprint: Some(Digest::of(certificate.public_key().raw).to_string()),
            subject: Some(certificate.subject().to_string()),
            issuer: Some(certificate.issuer().to_string()),
            common_name: common_name(&certificate),
            serial: Some(certificate.raw_serial_as_string()),
            not_before: date(not_before),
            not_after: date(not_after),
            expired: dated(now > not_after),
            not_yet_valid: dated(now < not_before),
            days_to_expiry: clock_believed.then_some((not_after - now).div_euclid(86_400)),
            lifetime_days: Some((not_after - not_before).div_euclid(86_400)),
            key_algorithm: Some(key_algorithm),
            key_bits,
            weak_signature: Some(WEAK_SIGNATURES.contains(&signature_algorithm.as_str())),
            signature_algorithm: Some(signature_algorithm),
            self_issued: Some(certificate.subject() == certificate.issuer()),
            is_ca: Some(certificate.is_ca()),
            alternative_names: Some(alternative_names(&certificate)),
            server_auth: Some(allows(|usage| usage.server_auth)),
            client_auth: Some(allows(|usage| usage.client_auth)),
            fingerprint,
        }
    }
}

/// MD2, MD5 and SHA-1 with RSA (the last under two identifiers); SHA-1 with DSA and ECDSA (RFC 3279, RFC 8017, RFC 9155).
const WEAK_SIGNATURES: &[&str] =
    &["1.2.840.113549.1.1.2", "1.2.840.113549.1.1.4", "1.2.840.113549.1.1.5", "1.2.840.10040.4.3", "1.2.840.10045.4.1"];

fn date(seconds: i64) -> Option<String> {
    Timestamp::from_second(seconds).ok().map(|time| time.to_string())
}

fn key(certificate: &X509Certificate<'_>) -> (String, Option<i64>) {
    const ED25519: &str = "1.3.101.112";
    let oid = certificate.public_key().algorithm.algorithm.to_id_string();
    let bits = |size: usize| i64::try_from(size).ok();
    match certificate.public_key().parsed() {
        Ok(PublicKey::RSA(rsa)) => ("rsa".into(), bits(rsa.key_size())),
        Ok(PublicKey::EC(point)) => ("ec".into(), bits(point.key_size())),
        _ if oid == ED25519 => ("ed25519".into(), Some(256)),
        _ => (oid, None),
    }
}

fn common_name(certificate: &X509Certificate<'_>) -> Option<String> {
    let name = certificate.subject().iter_common_name().next()?;
    name.as_str().ok().map(str::to_owned)
}

fn alternative_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return Vec::new() };
    let names = extension.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(|b| std::net::Ipv4Addr::from(b).to_string()),
            16 => <[u8; 16]>::try_from(*bytes).ok().map(|b| std::net::Ipv6Addr::from(b).to_string()),
            _ => None,
        },
        _ => None,
    });
    names.collect()
}

/// Whether `chain` (leaf first) leads to one of `anchors` for `usage`; the error is webpki's name for what is wrong.
///
/// The path is judged at `observed_at`, or at the nearest moment of the leaf's own validity when it was seen outside it.
///
/// # Errors
/// What is wrong with the path, in webpki's words.
pub fn path(chain: &[Vec<u8>], anchors: &[Vec<u8>], usage: Usage, observed_at: Timestamp) -> Result<(), String> {
    let Some((leaf, intermediates)) = chain.split_first() else {
        return Err("no certificate was presented".into());
    };
    let anchor_ders: Vec<_> = anchors.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
    let trusted: Vec<TrustAnchor<'_>> =
        anchor_ders.iter().filter_map(|der| webpki::anchor_from_trusted_cert(der).ok()).collect();
    if trusted.is_empty() {
        return Err("none of the configured anchors can be used".into());
    }
    let leaf_der = CertificateDer::from(leaf.as_slice());
    let intermediates: Vec<_> = intermediates.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
    let leaf_certificate = EndEntityCert::try_from(&leaf_der).map_err(words)?;
    let usage = match usage {
        Usage::Server => KeyUsage::server_auth(),
        Usage::Client => KeyUsage::client_auth(),
    };
    leaf_certificate
        .verify_for_usage(
            signature::ALGORITHMS,
            &trusted,
            &intermediates,
            within_validity(leaf, observed_at),
            usage,
            None,
            None,
        )
        .map(|_| ())
        .map_err(words)
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

fn words(error: webpki::Error) -> String {
    // webpki's Display is its Debug: the variant's name, which is what people search for.
    error.to_string().chars().take(200).collect()
}

/// SHA-256 of the SubjectPublicKeyInfo of the certificate `der`, if it parses.
#[must_use]
pub fn key_fingerprint(der: &[u8]) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    Some(Digest::of(certificate.public_key().raw).to_string())
}

/// Whether the certificate `der` is valid for `name` by its subject alternative name (RFC 9525); `None` when the
/// certificate or the name cannot be read.
#[must_use]
pub fn matches_name(der: &[u8], name: &str) -> Option<bool> {
    let der = CertificateDer::from(der);
    let certificate = EndEntityCert::try_from(&der).ok()?;
    let name = ServerName::try_from(name).ok()?;
    Some(certificate.verify_is_valid_for_subject_name(&name).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn authority() -> (Vec<u8>, Issuer<'static, KeyPair>) {
        authority_called("test authority")
    }

    fn authority_called(name: &str) -> (Vec<u8>, Issuer<'static, KeyPair>) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2036, 1, 1);
        let der = params.self_signed(&key).unwrap().der().to_vec();
        (der, Issuer::new(params, key))
    }

    fn leaf(issuer: &Issuer<'static, KeyPair>) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["broker.local".into()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "broker");
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2026, 4, 1);
        params.signed_by(&KeyPair::generate().unwrap(), issuer).unwrap().der().to_vec()
    }

    #[test]
    fn validity_is_counted_from_when_it_was_seen() {
        let (_, issuer) = authority();
        let der = leaf(&issuer);
        let facts = CertificateFacts::from_der(&der, at("2026-03-31T00:00:00Z"), true);
        assert_eq!((facts.expired, facts.days_to_expiry), (Some(false), Some(1)));
        let facts = CertificateFacts::from_der(&der, at("2026-04-01T00:00:01Z"), true);
        assert_eq!((facts.expired, facts.days_to_expiry), (Some(true), Some(-1)));
        let facts = CertificateFacts::from_der(&der, at("2025-12-31T23:59:59Z"), true);
        assert_eq!(facts.not_yet_valid, Some(true));
        let facts = CertificateFacts::from_der(&der, at("2026-02-01T00:00:00Z"), false);
        assert_eq!((facts.expired, facts.days_to_expiry, facts.lifetime_days), (None, None, Some(90)));
    }

    #[test]
    fn key_names_and_usage_are_read() {
        let (ca, issuer) = authority();
        let facts = CertificateFacts::from_der(&leaf(&issuer), at("2026-02-01T00:00:00Z"), true);
        assert_eq!((facts.key_algorithm.as_deref(), facts.key_bits), (Some("ec"), Some(256)));
        assert_eq!(facts.alternative_names.as_deref(), Some(&["broker.local".to_owned()][..]));
        assert_eq!(facts.common_name.as_deref(), Some("broker"));
        assert_eq!((facts.is_ca, facts.self_issued, facts.server_auth), (Some(false), Some(false), Some(true)));
        let facts = CertificateFacts::from_der(&ca, at("2026-02-01T00:00:00Z"), true);
        assert_eq!((facts.is_ca, facts.self_issued), (Some(true), Some(true)));
    }

    #[test]
    fn garbage_is_a_fact_with_the_parsers_words() {
        let facts = CertificateFacts::from_der(b"not a certificate", at("2026-02-01T00:00:00Z"), true);
        assert!(!facts.parses);
        assert!(!facts.parse_error.unwrap().is_empty());
        let (mut der, _) = authority();
        der.push(0);
        let facts = CertificateFacts::from_der(&der, at("2026-02-01T00:00:00Z"), true);
        assert_eq!(facts.parse_error.as_deref(), Some("1 bytes follow the certificate"));
    }

    #[test]
    fn a_path_is_judged_apart_from_the_leafs_dates() {
        let (ca, issuer) = authority();
        let (other, _) = authority_called("another authority");
        let chain = [leaf(&issuer)];
        assert_eq!(path(&chain, std::slice::from_ref(&ca), Usage::Server, at("2026-02-01T00:00:00Z")), Ok(()));
        assert_eq!(path(&chain, std::slice::from_ref(&ca), Usage::Server, at("2027-02-01T00:00:00Z")), Ok(()));
        let wrong = path(&chain, &[other], Usage::Server, at("2026-02-01T00:00:00Z")).unwrap_err();
        assert!(wrong.contains("UnknownIssuer"), "{wrong}");
        assert!(path(&chain, &[], Usage::Server, at("2026-02-01T00:00:00Z")).is_err());
        assert!(path(&[], &[ca], Usage::Server, at("2026-02-01T00:00:00Z")).is_err());
    }

    #[test]
    fn names_match_by_alternative_name_only() {
        let (_, issuer) = authority();
        let der = leaf(&issuer);
        assert_eq!(matches_name(&der, "broker.local"), Some(true));
        assert_eq!(matches_name(&der, "broker"), Some(false));
        assert_eq!(matches_name(&der, "127.0.0.1"), Some(false));
        assert_eq!(matches_name(b"garbage", "broker.local"), None);
    }
}
