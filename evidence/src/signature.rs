//! Signatures by the keys of certificates: which algorithms are read, and one signature over bytes of ours.
//!
//! mbedTLS up to 2.28 writes `ecdsa-with-SHA256` with a NULL behind it (RFC 5758, section 3.2, wants nothing there), and so do
//! the certificates of every board that makes its own with it. OpenSSL and mbedTLS read them; so does this.

use rustls_pki_types::{AlgorithmIdentifier, FipsStatus, InvalidSignature, SignatureVerificationAlgorithm, alg_id};
use webpki::ring;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Every algorithm by which a certificate of a path may be signed.
pub const ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = &[
    ring::ECDSA_P256_SHA256,
    ring::ECDSA_P256_SHA384,
    ring::ECDSA_P384_SHA256,
    ring::ECDSA_P384_SHA384,
    ring::ED25519,
    ring::RSA_PKCS1_2048_8192_SHA256,
    ring::RSA_PKCS1_2048_8192_SHA384,
    ring::RSA_PKCS1_2048_8192_SHA512,
    ring::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
    ring::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
    ring::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
    ring::RSA_PKCS1_2048_8192_SHA256_ABSENT_PARAMS,
    ring::RSA_PKCS1_2048_8192_SHA384_ABSENT_PARAMS,
    ring::RSA_PKCS1_2048_8192_SHA512_ABSENT_PARAMS,
    &WithNull(ring::ECDSA_P256_SHA256, SHA256_WITH_NULL),
    &WithNull(ring::ECDSA_P384_SHA256, SHA256_WITH_NULL),
    &WithNull(ring::ECDSA_P256_SHA384, SHA384_WITH_NULL),
    &WithNull(ring::ECDSA_P384_SHA384, SHA384_WITH_NULL),
];

/// 1.2.840.10045.4.3.2, NULL.
const SHA256_WITH_NULL: AlgorithmIdentifier =
    AlgorithmIdentifier::from_slice(&[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02, 0x05, 0x00]);
/// 1.2.840.10045.4.3.3, NULL.
const SHA384_WITH_NULL: AlgorithmIdentifier =
    AlgorithmIdentifier::from_slice(&[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03, 0x05, 0x00]);

/// An algorithm under an identifier with a NULL for parameters.
#[derive(Debug)]
struct WithNull(&'static dyn SignatureVerificationAlgorithm, AlgorithmIdentifier);

impl SignatureVerificationAlgorithm for WithNull {
    fn verify_signature(&self, public_key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        self.0.verify_signature(public_key, message, signature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.0.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.1
    }

    fn fips_status(&self) -> FipsStatus {
        self.0.fips_status()
    }
}

/// Why nothing can be said about a signature.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unverifiable {
    /// There is no certificate, and so no key.
    #[error("the certificate does not parse")]
    Certificate,
    /// The key is of a kind that is not read here.
    #[error("signatures by a key of the algorithm {0} cannot be checked here")]
    Algorithm(String),
}

/// Whether `signature` is one over `message` by the key of `certificate` (DER): ECDSA on P-256 or P-384 and RSA (PKCS #1
/// v1.5, 2048 to 8192 bits) with SHA-256, or Ed25519.
///
/// # Errors
/// When the certificate has no key that this can tell of.
pub fn verify(certificate: &[u8], message: &[u8], signature: &[u8]) -> Result<bool, Unverifiable> {
    let (_, certificate) = X509Certificate::from_der(certificate).map_err(|_| Unverifiable::Certificate)?;
    let key = certificate.public_key();
    let named = || Unverifiable::Algorithm(key.algorithm.algorithm.to_id_string());
    let is = |known: AlgorithmIdentifier| contents(key.raw).is_some_and(|found| found == known.as_ref());
    let algorithm = if is(alg_id::ECDSA_P256) {
        ring::ECDSA_P256_SHA256
    } else if is(alg_id::ECDSA_P384) {
        ring::ECDSA_P384_SHA256
    } else if is(alg_id::ED25519) {
        ring::ED25519
    } else if is(alg_id::RSA_ENCRYPTION) {
        match key.parsed() {
            Ok(x509_parser::public_key::PublicKey::RSA(rsa)) if (2048..=8192).contains(&rsa.key_size()) => {
                ring::RSA_PKCS1_2048_8192_SHA256
            }
            _ => return Err(named()),
        }
    } else {
        return Err(named());
    };
    Ok(algorithm.verify_signature(&key.subject_public_key.data, message, signature).is_ok())
}

/// What stands in the AlgorithmIdentifier of a SubjectPublicKeyInfo, which is the first thing in it. Both have short lengths
/// in every key that is known here, or the outer one has two bytes of it.
fn contents(key: &[u8]) -> Option<&[u8]> {
    let inside = |bytes: &'_ [u8]| -> Option<usize> {
        match bytes.get(1)? {
            length if *length < 0x80 => Some(2),
            length => Some(2 + usize::from(length & 0x7f)),
        }
    };
    let outer = key.get(inside(key)?..)?;
    let length = usize::from(*outer.get(1)?);
    (outer.first() == Some(&0x30) && length < 0x80).then(|| outer.get(2..2 + length))?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(algorithm: &'static rcgen::SignatureAlgorithm) -> (Vec<u8>, rcgen::KeyPair) {
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let certificate = rcgen::CertificateParams::new(vec!["a".into()]).unwrap().self_signed(&key).unwrap();
        (certificate.der().to_vec(), key)
    }

    #[test]
    fn signatures_hold_for_their_bytes_and_their_key_alone() {
        use rcgen::SigningKey as _;
        for algorithm in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ED25519] {
            let (certificate, key) = made(algorithm);
            let signature = key.sign(b"message").unwrap();
            assert_eq!(verify(&certificate, b"message", &signature), Ok(true));
            assert_eq!(verify(&certificate, b"massage", &signature), Ok(false));
            assert_eq!(verify(&certificate, b"message", &signature[1..]), Ok(false));
            assert_eq!(verify(&made(algorithm).0, b"message", &signature), Ok(false));
        }
    }

    #[test]
    fn what_cannot_be_checked_is_no_word_about_the_signature() {
        assert_eq!(verify(b"garbage", b"", b""), Err(Unverifiable::Certificate));
        let (mut certificate, _) = made(&rcgen::PKCS_ED25519);
        // X25519 instead of Ed25519: a key that signs nothing.
        let oid = [0x06, 0x03, 0x2b, 0x65, 0x70];
        let places: Vec<_> = (0..certificate.len() - 5).filter(|&at| certificate[at..at + 5] == oid).collect();
        places.iter().for_each(|&at| certificate[at + 4] = 0x6e);
        assert_eq!(verify(&certificate, b"", b""), Err(Unverifiable::Algorithm("1.3.101.110".into())));
    }
}
