//! Ed25519 keys (RFC 8032): the gateway's identity and the sink's signature on receipts.
//!
//! The private half never leaves [`SigningKey`] except as PKCS #8 PEM for its own file; it has no `Debug` of its
//! content and is wiped on drop.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey};
use ed25519_dalek::{Signature, Signer};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::{Digest, GatewayId};

/// Why bytes or a text are not an Ed25519 key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an Ed25519 key: {0}")]
pub struct KeyError(String);

/// A public key that signatures can be checked against.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    key: ed25519_dalek::VerifyingKey,
    der: Vec<u8>,
}

impl PublicKey {
    fn new(key: ed25519_dalek::VerifyingKey) -> Result<Self, KeyError> {
        let der = key.to_public_key_der().map_err(|error| KeyError(error.to_string()))?.into_vec();
        Ok(Self { key, der })
    }

    /// From SubjectPublicKeyInfo DER (RFC 8410).
    ///
    /// # Errors
    /// When `der` is not an Ed25519 public key.
    pub fn from_der(der: &[u8]) -> Result<Self, KeyError> {
        let key = ed25519_dalek::VerifyingKey::from_public_key_der(der).map_err(|error| KeyError(error.to_string()))?;
        Self::new(key)
    }

    /// SubjectPublicKeyInfo DER, 44 bytes.
    #[must_use]
    pub fn to_der(&self) -> &[u8] {
        &self.der
    }

    /// The 32 bytes of RFC 8032, section 5.1.5.
    #[must_use]
    pub fn as_raw(&self) -> &[u8; 32] {
        self.key.as_bytes()
    }

    /// PEM with the label `PUBLIC KEY`.
    #[must_use]
    pub fn to_pem(&self) -> String {
        self.key.to_public_key_pem(LineEnding::LF).unwrap_or_default()
    }

    /// From PEM with the label `PUBLIC KEY`.
    ///
    /// # Errors
    /// When `pem` is not an Ed25519 public key.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let key = ed25519_dalek::VerifyingKey::from_public_key_pem(pem).map_err(|error| KeyError(error.to_string()))?;
        Self::new(key)
    }

    /// SHA-256 of its SubjectPublicKeyInfo: what a `keyid` says.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&self.der)
    }

    /// The identity that goes with this key, if it is a gateway's first (see [`crate::rotation`]).
    #[must_use]
    pub fn id(&self) -> GatewayId {
        GatewayId::new(self.digest())
    }

    /// Whether `signature` is this key's signature of `message`. Strict: malleable signatures and weak keys are refused.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        Signature::from_slice(signature).is_ok_and(|signature| self.key.verify_strict(message, &signature).is_ok())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.id().short())
    }
}

/// On the wire: the SubjectPublicKeyInfo DER in standard base64 (RFC 4648, section 4).
impl Serialize for PublicKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.der))
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let der = STANDARD.decode(text).map_err(serde::de::Error::custom)?;
        Self::from_der(&der).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for PublicKey {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PublicKey".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "contentEncoding": "base64"})
    }
}

/// A private key that signs runs or receipts.
pub struct SigningKey {
    key: ed25519_dalek::SigningKey,
    public: PublicKey,
}

impl SigningKey {
    fn new(key: ed25519_dalek::SigningKey) -> Result<Self, KeyError> {
        let public = PublicKey::new(key.verifying_key())?;
        Ok(Self { key, public })
    }

    /// From 32 bytes of the operating system's randomness, which the caller supplies.
    ///
    /// # Errors
    /// When the public half cannot be encoded.
    pub fn from_seed(seed: &[u8; 32]) -> Result<Self, KeyError> {
        Self::new(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// From PKCS #8 PEM with the label `PRIVATE KEY` (RFC 8410).
    ///
    /// # Errors
    /// When `pem` is not an Ed25519 private key.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let key = ed25519_dalek::SigningKey::from_pkcs8_pem(pem).map_err(|error| KeyError(error.to_string()))?;
        Self::new(key)
    }

    /// PKCS #8 PEM, for the key's own file and nothing else.
    ///
    /// # Errors
    /// When the key cannot be encoded.
    pub fn to_secret_pem(&self) -> Result<String, KeyError> {
        let pem = self.key.to_pkcs8_pem(LineEnding::LF).map_err(|error| KeyError(error.to_string()))?;
        Ok(pem.as_str().to_owned())
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The 64 bytes of an Ed25519 signature of `message`.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.key.sign(message).to_bytes().to_vec()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({}, secret)", self.public.id().short())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_its_file_and_says_nothing_in_debug() {
        let key = SigningKey::from_seed(&[7; 32]).unwrap();
        let pem = key.to_secret_pem().unwrap();
        let again = SigningKey::from_pem(&pem).unwrap();
        assert_eq!(again.public(), key.public());
        assert!(again.public().verifies(b"message", &key.sign(b"message")));
        assert!(!again.public().verifies(b"messagf", &key.sign(b"message")));
        assert!(!again.public().verifies(b"message", b"short"));
        assert!(!format!("{key:?}").contains(pem.lines().nth(1).unwrap()));
    }

    #[test]
    fn a_public_key_is_told_by_the_digest_of_its_spki() {
        let key = SigningKey::from_seed(&[7; 32]).unwrap();
        assert_eq!(key.public().to_der().len(), 44);
        assert_eq!(key.public().id().digest(), Digest::of(key.public().to_der()));
        assert_eq!(PublicKey::from_pem(&key.public().to_pem()).unwrap(), *key.public());
        let wire = serde_json::to_string(key.public()).unwrap();
        assert_eq!(serde_json::from_str::<PublicKey>(&wire).unwrap(), *key.public());
    }
}
