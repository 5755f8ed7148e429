//! Facts that follow from a certificate's DER, its chain and the anchors it should lead to (RFC 5280).
//!
//! Pure: validity is counted from when the certificate was seen. A certificate that does not parse yields facts too: that
//! it does not, and the parser's words. Whether a path leads to an anchor is judged apart from the leaf's own dates, so
//! that an expired certificate is one defect and not two.
//!
//! What a check takes from here: [`CertificateFacts`] of a leaf, with [`explain`] for what is missing from them;
//! [`ChainFacts`] of a chain as it was sent; [`RevocationFacts`] of it by lists; [`matches_name`] and [`NameFacts`] of the
//! name that is dialled; [`shared`] for keys of many certificates that share a prime. Each list of volatile facts
//! ([`VOLATILE`], [`chain::VOLATILE`]) goes into the check's own, below the place where the facts stand.

pub mod chain;
mod curve;
mod der;
mod key;
mod name;
mod path;
mod profile;
pub mod revocation;
mod rsa;
pub mod shared;
pub mod staple;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use x509_parser::extensions::{ExtendedKeyUsage, GeneralName};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::signature_algorithm::SignatureAlgorithm;

pub use chain::{Chain, ChainFacts};
pub use key::KeyWeakness;
pub use name::{NameFacts, matches_name};
pub use path::{PathProblem, Usage, path};
pub use profile::Violation;
pub use revocation::RevocationFacts;

use crate::check::{Seen, Unknown};
use crate::id::Digest;
use key::Key;

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
    /// How many bytes the serial number has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial_bytes: Option<u64>,
    /// Version as people count: 1 to 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<i64>,
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
    /// `rsa`, `ec`, `ed25519`, `ed448` or the algorithm's OID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_algorithm: Option<String>,
    /// Size of the key in bits (RSA modulus, EC field).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_bits: Option<i64>,
    /// The name of the EC key's curve (`P-256`, `brainpoolP256r1`), its OID, or `explicit` for one without a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_curve: Option<String>,
    /// The RSA key's public exponent, decimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rsa_exponent: Option<String>,
    /// In what ways the key gives itself away; empty when it was tested and does not. Absent for keys that no test here is
    /// for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_weaknesses: Option<Vec<KeyWeakness>>,
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
    /// What the key usage extension names, in the words of RFC 5280, section 4.2.1.3. Absent when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_usage: Option<Vec<String>>,
    /// Key usage allows signatures, such as those of a TLS handshake, or does not restrict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digital_signature: Option<bool>,
    /// How many CAs may stand below it, if it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_length: Option<i64>,
    /// OIDs of critical extensions that RFC 5280 does not know: whoever does not know them either must refuse it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown_critical_extensions: Option<Vec<String>>,
    /// Where it departs from RFC 5280.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub violations: Option<Vec<Violation>>,
    /// One of its names has a wildcard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wildcard: Option<bool>,
    /// Its end is 9999-12-31T23:59:59Z, which stands for none (RFC 5280, section 4.1.2.5).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub never_expires: Option<bool>,
    /// It demands a stapled OCSP answer (TLS feature, RFC 7633).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub must_staple: Option<bool>,
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
        let key = Key::of(certificate.public_key());
        let signature_algorithm = certificate.signature_algorithm.algorithm.to_id_string();
        // Absent restricts nothing (RFC 5280, section 4.2.1.12); one that cannot be read allows nothing.
        let usage = certificate.extended_key_usage().map(|usage| usage.map(|extension| extension.value.clone()));
        let allows = |one: fn(&ExtendedKeyUsage<'_>) -> bool| match &usage {
            Ok(Some(usage)) => usage.any || one(usage),
            Ok(None) => true,
            Err(_) => false,
        };
        let key_usage = key_usage(&certificate);
        let names = alternative_names(&certificate);
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
            serial_bytes: Some(certificate.raw_serial().len() as u64),
            version: Some(i64::from(certificate.version().0) + 1),
            key_algorithm: Some(key.algorithm),
            key_bits: key.bits,
            key_curve: key.curve,
            rsa_exponent: key.exponent,
            key_weaknesses: key.weaknesses,
            weak_signature: Some(weak_signature(&certificate)),
            signature_algorithm: Some(signature_algorithm),
            self_issued: Some(certificate.subject() == certificate.issuer()),
            is_ca: Some(certificate.is_ca()),
            server_auth: Some(allows(|usage| usage.server_auth)),
            client_auth: Some(allows(|usage| usage.client_auth)),
            digital_signature: Some(key_usage.as_ref().is_none_or(|named| named.iter().any(|one| one == SIGNING))),
            key_usage,
            path_length: path_length(&certificate),
            unknown_critical_extensions: Some(unknown_critical_extensions(&certificate)),
            violations: Some(profile::violations(&certificate, der)),
            wildcard: Some(names.iter().any(|name| name.starts_with("*."))),
            alternative_names: Some(names),
            never_expires: Some(not_after == NEVER),
            must_staple: Some(must_staple(&certificate)),
            fingerprint,
        }
    }
}

/// Says why facts of a certificate at `place` are missing.
pub fn explain(facts: &CertificateFacts, place: &str, seen: &Seen, unknown: &mut Unknown) {
    if let Some(words) = &facts.parse_error {
        unknown.because(place, format!("the certificate does not parse: {words}"));
        return;
    }
    if facts.key_weaknesses.is_none() {
        let kind = facts.key_curve.as_deref().or(facts.key_algorithm.as_deref()).unwrap_or_default();
        unknown.because(
            format!("{place}/key_weaknesses"),
            format!("there is no test here for a key such as this ({kind})"),
        );
    }
    if let Some(reason) = seen.distrust {
        for fact in ["expired", "not_yet_valid", "days_to_expiry"] {
            unknown.because(format!("{place}/{fact}"), reason);
        }
    }
}

/// SHA-256 of the SubjectPublicKeyInfo in the certificate `der`.
#[must_use]
pub fn public_key(der: &[u8]) -> Option<Digest> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    Some(Digest::of(certificate.public_key().raw))
}

/// When the certificate `der` begins to be valid, in seconds since 1970.
#[must_use]
pub fn not_before(der: &[u8]) -> Option<i64> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    Some(certificate.validity().not_before.timestamp())
}

/// 9999-12-31T23:59:59Z.
const NEVER: i64 = 253_402_300_799;
/// The usage that a TLS handshake needs.
const SIGNING: &str = "digital_signature";
/// MD2, MD5 and SHA-1 with RSA (the last under two identifiers); SHA-1 with DSA and ECDSA (RFC 3279, RFC 8017, RFC 9155).
const WEAK_SIGNATURES: &[&str] = &[
    "1.2.840.113549.1.1.2",
    "1.2.840.113549.1.1.4",
    "1.2.840.113549.1.1.5",
    "1.3.14.3.2.29",
    "1.2.840.10040.4.3",
    "1.2.840.10045.4.1",
];
/// MD5 and SHA-1, as RSASSA-PSS names them (SHA-1 when it names nothing).
const WEAK_HASHES: &[&str] = &["1.2.840.113549.2.5", "1.3.14.3.2.26"];

fn weak_signature(certificate: &X509Certificate<'_>) -> bool {
    match SignatureAlgorithm::try_from(&certificate.signature_algorithm) {
        Ok(SignatureAlgorithm::RSASSA_PSS(parameters)) => {
            WEAK_HASHES.contains(&parameters.hash_algorithm_oid().to_id_string().as_str())
        }
        _ => WEAK_SIGNATURES.contains(&certificate.signature_algorithm.algorithm.to_id_string().as_str()),
    }
}

/// As RFC 3339 has it, also on the last day that it has, which certificates use and `jiff` does not reach.
fn date(seconds: i64) -> Option<String> {
    const LAST_DAY: std::ops::RangeInclusive<i64> = NEVER - 86_399..=NEVER;
    if LAST_DAY.contains(&seconds) {
        let second = seconds - LAST_DAY.start();
        return Some(format!("9999-12-31T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60));
    }
    Timestamp::from_second(seconds).ok().map(|time| time.to_string())
}

fn key_usage(certificate: &X509Certificate<'_>) -> Option<Vec<String>> {
    // One that cannot be read allows nothing.
    let usage = certificate.key_usage().map(|usage| usage.map(|usage| usage.value.flags));
    let flags = usage.unwrap_or(Some(0))?;
    let names = [
        SIGNING,
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    ];
    let named = names.into_iter().enumerate().filter(|(bit, _)| flags >> bit & 1 == 1);
    Some(named.map(|(_, name)| name.to_owned()).collect())
}

fn path_length(certificate: &X509Certificate<'_>) -> Option<i64> {
    let basic = certificate.basic_constraints().ok()??;
    basic.value.path_len_constraint.map(i64::from)
}

/// Extensions that RFC 5280 (section 4.2) and RFC 7633 define.
const KNOWN_EXTENSIONS: &[&str] = &[
    "2.5.29.9",
    "2.5.29.14",
    "2.5.29.15",
    "2.5.29.17",
    "2.5.29.18",
    "2.5.29.19",
    "2.5.29.30",
    "2.5.29.31",
    "2.5.29.32",
    "2.5.29.33",
    "2.5.29.35",
    "2.5.29.36",
    "2.5.29.37",
    "2.5.29.46",
    "2.5.29.54",
    "1.3.6.1.5.5.7.1.1",
    "1.3.6.1.5.5.7.1.11",
    TLS_FEATURE,
];
const TLS_FEATURE: &str = "1.3.6.1.5.5.7.1.24";

fn unknown_critical_extensions(certificate: &X509Certificate<'_>) -> Vec<String> {
    let critical = certificate.extensions().iter().filter(|extension| extension.critical);
    let names = critical.map(|extension| extension.oid.to_id_string());
    names.filter(|oid| !KNOWN_EXTENSIONS.contains(&oid.as_str())).collect()
}

fn must_staple(certificate: &X509Certificate<'_>) -> bool {
    // A sequence of numbers of TLS extensions; 5 is status_request.
    const STATUS_REQUEST: &[u8] = &[0x02, 0x01, 0x05];
    let feature = certificate.extensions().iter().find(|extension| extension.oid.to_id_string() == TLS_FEATURE);
    feature.is_some_and(|feature| feature.value.windows(STATUS_REQUEST.len()).any(|window| window == STATUS_REQUEST))
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

    fn certificate(change: impl Fn(&mut CertificateParams)) -> CertificateFacts {
        let mut params = CertificateParams::new(vec!["broker.local".into()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "broker");
        change(&mut params);
        let der = params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec();
        CertificateFacts::from_der(&der, at("2026-02-01T00:00:00Z"), true)
    }

    #[test]
    fn a_sound_certificate_departs_from_nothing() {
        let facts = certificate(|_| {});
        assert_eq!(facts.violations.as_deref(), Some(&[][..]));
        assert_eq!(facts.key_weaknesses.as_deref(), Some(&[][..]));
        assert_eq!(facts.unknown_critical_extensions.as_deref(), Some(&[][..]));
        assert_eq!((facts.key_curve.as_deref(), facts.version), (Some("P-256"), Some(3)));
        assert_eq!((facts.key_usage, facts.digital_signature), (None, Some(true)));
        assert_eq!((facts.wildcard, facts.must_staple, facts.never_expires), (Some(false), Some(false), Some(false)));
        assert!((1..=20).contains(&facts.serial_bytes.unwrap()));
    }

    #[test]
    fn usages_and_extensions_are_read() {
        let facts = certificate(|params| {
            params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign, rcgen::KeyUsagePurpose::KeyAgreement];
            params.is_ca = IsCa::ExplicitNoCa;
            let mut unknown = rcgen::CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
            unknown.set_criticality(true);
            let staple =
                rcgen::CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 24], vec![0x30, 3, 2, 1, 5]);
            params.custom_extensions = vec![unknown, staple];
        });
        assert_eq!(facts.key_usage.unwrap(), ["key_agreement", "key_cert_sign"]);
        assert_eq!((facts.digital_signature, facts.must_staple), (Some(false), Some(true)));
        assert_eq!(facts.unknown_critical_extensions.unwrap(), ["1.2.3.4"]);
        assert_eq!(facts.violations.unwrap(), [Violation::CertSignWithoutCa]);
    }

    #[test]
    fn the_last_day_there_is_has_a_date() {
        assert_eq!(date(NEVER).as_deref(), Some("9999-12-31T23:59:59Z"));
        assert_eq!(date(NEVER - 86_399).as_deref(), Some("9999-12-31T00:00:00Z"));
        assert_eq!(date(NEVER - 2 * 86_400).as_deref(), Some("9999-12-29T23:59:59Z"));
        assert_eq!(date(0).as_deref(), Some("1970-01-01T00:00:00Z"));
    }

    #[test]
    fn a_name_in_the_wrong_place_is_told() {
        let named = |names: &[&str], common: &str, dialled: &str| {
            let mut params =
                CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
            params.distinguished_name.push(DnType::CommonName, common);
            let der = params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec();
            let facts = CertificateFacts::from_der(&der, at("2026-02-01T00:00:00Z"), true);
            let matches = matches_name(&der, dialled).unwrap();
            let NameFacts { only_in_common_name, only_by_wildcard } = NameFacts::of(&facts, dialled, matches);
            (matches, only_in_common_name, only_by_wildcard)
        };
        assert_eq!(named(&["a.local"], "a.local", "A.local"), (true, false, false));
        assert_eq!(named(&["b.local"], "a.local", "a.local"), (false, true, false));
        assert_eq!(named(&["*.site.local"], "x", "a.site.local"), (true, false, true));
        assert_eq!(named(&["127.0.0.1"], "x", "127.0.0.1"), (true, false, false));
        assert_eq!(named(&["a.local"], "x", "127.0.0.1"), (false, false, false));
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
