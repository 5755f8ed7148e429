//! What a certificate's public key is, and whether it can be broken from the certificate alone.

use ed25519_dalek::VerifyingKey;
use num_bigint::BigUint;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use x509_parser::asn1_rs::Tag;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::RSAPublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::curve;
use super::rsa::{self, RsaKey};

/// Ways in which a public key gives its private key away, or is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyWeakness {
    /// RSA with e = 1: what is encrypted stays as it is, and anybody signs.
    ExponentOne,
    /// Numbers that no key of this kind has: an even exponent, one above the modulus, a negative or empty number, a
    /// point that is no point.
    Malformed,
    /// The modulus has a prime factor up to 65,537: it is damaged, or was made to be broken.
    SmallFactor,
    /// The primes lie so close together that Fermat's method finds them (CVE-2022-26320).
    ClosePrimes,
    /// The modulus has the fingerprint of Infineon's library (ROCA, CVE-2017-15361).
    Roca,
    /// The private exponent is so small that Wiener's method finds it.
    SmallPrivateExponent,
    /// The point does not lie on the curve that is named.
    NotOnCurve,
    /// The point has a small order: there are few keys to try.
    SmallOrder,
}

/// A public key as it is known from its SubjectPublicKeyInfo.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Key {
    /// `rsa`, `ec`, `ed25519`, `ed448` or the algorithm's OID.
    pub(super) algorithm: String,
    /// Size in bits.
    pub(super) bits: Option<i64>,
    /// The curve's name, its OID, or `explicit`.
    pub(super) curve: Option<String>,
    /// The public exponent, decimal.
    pub(super) exponent: Option<String>,
    /// What is wrong with it; none where this kind of key is not tested.
    pub(super) weaknesses: Option<Vec<KeyWeakness>>,
}

const RSA: &str = "1.2.840.113549.1.1.1";
const RSA_PSS: &str = "1.2.840.113549.1.1.10";
const EC: &str = "1.2.840.10045.2.1";
const ED25519: &str = "1.3.101.112";
const ED448: &str = "1.3.101.113";

impl Key {
    pub(super) fn of(info: &SubjectPublicKeyInfo<'_>) -> Self {
        let oid = info.algorithm.algorithm.to_id_string();
        let data = info.subject_public_key.data.as_ref();
        match oid.as_str() {
            RSA | RSA_PSS => Self::rsa(data),
            EC => Self::ec(info, data),
            ED25519 => {
                let point = <&[u8; 32]>::try_from(data).ok().and_then(|bytes| VerifyingKey::from_bytes(bytes).ok());
                let weaknesses = match point {
                    None => vec![KeyWeakness::Malformed],
                    Some(point) if point.is_weak() => vec![KeyWeakness::SmallOrder],
                    Some(_) => Vec::new(),
                };
                Self { algorithm: "ed25519".into(), bits: Some(256), weaknesses: Some(weaknesses), ..Self::default() }
            }
            ED448 => Self { algorithm: "ed448".into(), bits: Some(456), ..Self::default() },
            _ => Self { algorithm: oid, ..Self::default() },
        }
    }

    fn rsa(data: &[u8]) -> Self {
        let unsound =
            || Self { algorithm: "rsa".into(), weaknesses: Some(vec![KeyWeakness::Malformed]), ..Self::default() };
        let Some(key) = rsa_key(data) else { return unsound() };
        Self {
            algorithm: "rsa".into(),
            bits: i64::try_from(key.modulus.bits()).ok(),
            curve: None,
            exponent: (key.exponent.bits() <= rsa::MAX_BITS).then(|| key.exponent.to_string()),
            weaknesses: rsa::weaknesses(&key),
        }
    }

    fn ec(info: &SubjectPublicKeyInfo<'_>, data: &[u8]) -> Self {
        let named = info.algorithm.parameters.as_ref().filter(|any| any.tag() == Tag::Oid);
        let oid = named.and_then(|any| any.clone().oid().ok()).map(|oid| oid.to_id_string());
        let known = oid.as_deref().and_then(curve::find);
        let bits = match (known, data) {
            (Some(curve), _) => Some(curve.bits),
            (None, [4, point @ ..]) => i64::try_from(point.len() * 4).ok(),
            (None, [2 | 3, point @ ..]) => i64::try_from(point.len() * 8).ok(),
            (None, _) => None,
        };
        let name = match (known, oid) {
            (Some(curve), _) => curve.name.to_owned(),
            (None, Some(oid)) => oid,
            (None, None) => "explicit".to_owned(),
        };
        Self {
            algorithm: "ec".into(),
            bits,
            curve: Some(name),
            exponent: None,
            weaknesses: known.and_then(|curve| curve.weaknesses(data)),
        }
    }
}

/// The RSA key in a SubjectPublicKeyInfo's bits, if its numbers are positive.
fn rsa_key(data: &[u8]) -> Option<RsaKey> {
    let (rest, key) = RSAPublicKey::from_der(data).ok()?;
    let positive = |bytes: &[u8]| bytes.first().is_some_and(|first| first & 0x80 == 0);
    if !rest.is_empty() || !positive(key.modulus) || !positive(key.exponent) {
        return None;
    }
    let number = |bytes: &[u8]| BigUint::from_bytes_be(bytes);
    let key = RsaKey { modulus: number(key.modulus), exponent: number(key.exponent) };
    (key.modulus.bits() > 0 && key.exponent.bits() > 0).then_some(key)
}

/// The modulus of the RSA key in the SubjectPublicKeyInfo `info`, if it is one.
pub(super) fn modulus(info: &SubjectPublicKeyInfo<'_>) -> Option<BigUint> {
    match info.algorithm.algorithm.to_id_string().as_str() {
        RSA | RSA_PSS => rsa_key(info.subject_public_key.data.as_ref()).map(|key| key.modulus),
        _ => None,
    }
}
