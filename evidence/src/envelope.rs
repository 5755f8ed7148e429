//! DSSE envelopes: the signature wraps bytes, and the bytes are checked before anyone reads them.
//!
//! Format: Dead Simple Signing Envelope, protocol version 1 (`payloadType`, base64 `payload`, `signatures`), signed over
//! the pre-authentication encoding. Exactly one signature, of the key whose id it names. Base64 is standard and padded.
//!
//! This file never hands out the payload of an envelope that it has not verified, except as bytes to be quarantined.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::GatewayId;
use crate::key::{PublicKey, SigningKey};

/// The largest envelope that is read, in bytes of JSON. A run of every check on a busy gateway stays far below.
pub const MAX_ENVELOPE_BYTES: usize = 1024 * 1024;

/// An envelope as it stands on the wire (field names are DSSE's own).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    /// Base64 of the payload's bytes.
    pub payload: String,
    /// The media type of the payload, covered by the signature.
    #[serde(rename = "payloadType")]
    pub payload_type: String,
    /// Exactly one in this version.
    pub signatures: Vec<EnvelopeSignature>,
}

/// One signature of an envelope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EnvelopeSignature {
    /// The signer: SHA-256 of its SubjectPublicKeyInfo.
    pub keyid: String,
    /// Base64 of the 64 bytes of an Ed25519 signature.
    pub sig: String,
}

/// Why an envelope was refused. The wording is for people; [`EnvelopeError::reason`] is stable for programs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Longer than [`MAX_ENVELOPE_BYTES`].
    #[error("the envelope has {0} bytes; at most {MAX_ENVELOPE_BYTES} are accepted")]
    TooLarge(usize),
    /// Not a DSSE envelope.
    #[error("not a DSSE envelope: {0}")]
    Malformed(String),
    /// None, or more than one signature.
    #[error("the envelope has {0} signatures; exactly one is expected")]
    SignatureCount(usize),
    /// Another payload type than the caller expects.
    #[error("the payload type is {found:?}; {expected:?} is expected")]
    PayloadType {
        /// What the envelope says.
        found: String,
        /// What was expected.
        expected: &'static str,
    },
    /// Signed by a key that is not the one it is checked against.
    #[error("signed by key {found}, checked against key {expected}")]
    WrongKey {
        /// The `keyid` in the envelope.
        found: String,
        /// The key used for the check.
        expected: GatewayId,
    },
    /// The signature does not fit the payload.
    #[error("the signature does not verify: the payload or the signature was altered")]
    BadSignature,
}

impl EnvelopeError {
    /// A stable word for programs.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::TooLarge(_) => "too_large",
            Self::Malformed(_) => "malformed",
            Self::SignatureCount(_) => "signature_count",
            Self::PayloadType { .. } => "payload_type",
            Self::WrongKey { .. } => "unknown_key",
            Self::BadSignature => "bad_signature",
        }
    }
}

/// DSSE's pre-authentication encoding: the bytes that are signed.
#[must_use]
pub fn pre_authentication_encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

impl Envelope {
    /// Signs `payload`.
    #[must_use]
    pub fn sign(payload_type: &str, payload: &[u8], key: &SigningKey) -> Self {
        let signature = key.sign(&pre_authentication_encoding(payload_type, payload));
        Self {
            payload: STANDARD.encode(payload),
            payload_type: payload_type.to_owned(),
            signatures: vec![EnvelopeSignature {
                keyid: key.public().id().to_string(),
                sig: STANDARD.encode(signature),
            }],
        }
    }

    /// The envelope as one line of JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Three strings and a list cannot fail to serialise.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads an envelope without believing it.
    ///
    /// # Errors
    /// When it is too large, not DSSE, or does not carry exactly one signature.
    pub fn parse(json: &[u8]) -> Result<Self, EnvelopeError> {
        if json.len() > MAX_ENVELOPE_BYTES {
            return Err(EnvelopeError::TooLarge(json.len()));
        }
        let envelope: Self =
            serde_json::from_slice(json).map_err(|error| EnvelopeError::Malformed(error.to_string()))?;
        match envelope.signatures.len() {
            1 => Ok(envelope),
            count => Err(EnvelopeError::SignatureCount(count)),
        }
    }

    /// Who claims to have signed; to be used only to find the key to check against.
    #[must_use]
    pub fn claimed_signer(&self) -> Option<GatewayId> {
        self.signatures.first()?.keyid.parse().ok()
    }

    /// The payload's bytes, after the signature was checked against `key`.
    ///
    /// # Errors
    /// When the type, the key or the signature is not the expected one.
    pub fn open(&self, expected_type: &'static str, key: &PublicKey) -> Result<Vec<u8>, EnvelopeError> {
        let [signature] = self.signatures.as_slice() else {
            return Err(EnvelopeError::SignatureCount(self.signatures.len()));
        };
        if self.payload_type != expected_type {
            let found = self.payload_type.chars().take(80).collect();
            return Err(EnvelopeError::PayloadType { found, expected: expected_type });
        }
        if signature.keyid != key.id().to_string() {
            let found = signature.keyid.chars().take(80).collect();
            return Err(EnvelopeError::WrongKey { found, expected: key.id() });
        }
        let malformed = |error: base64::DecodeError| EnvelopeError::Malformed(error.to_string());
        let payload = STANDARD.decode(&self.payload).map_err(malformed)?;
        let bytes = STANDARD.decode(&signature.sig).map_err(malformed)?;
        if key.verifies(&pre_authentication_encoding(&self.payload_type, &payload), &bytes) {
            Ok(payload)
        } else {
            Err(EnvelopeError::BadSignature)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: &str = "application/example";

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&[seed; 32]).unwrap()
    }

    #[test]
    fn the_encoding_is_the_one_of_the_dsse_specification() {
        let bytes = pre_authentication_encoding("http://example.com/HelloWorld", b"hello world");
        assert_eq!(bytes, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
    }

    #[test]
    fn what_was_signed_opens_and_nothing_else_does() {
        let envelope = Envelope::sign(TYPE, b"payload", &key(1));
        let parsed = Envelope::parse(envelope.to_json().as_bytes()).unwrap();
        assert_eq!(parsed.claimed_signer(), Some(key(1).public().id()));
        assert_eq!(parsed.open(TYPE, key(1).public()).unwrap(), b"payload");
        assert_eq!(parsed.open("other", key(1).public()).unwrap_err().reason(), "payload_type");
        assert_eq!(parsed.open(TYPE, key(2).public()).unwrap_err().reason(), "unknown_key");

        let mut forged = parsed.clone();
        forged.payload = STANDARD.encode(b"payloae");
        assert_eq!(forged.open(TYPE, key(1).public()).unwrap_err(), EnvelopeError::BadSignature);
        let mut renamed = Envelope::sign(TYPE, b"payload", &key(2));
        renamed.signatures[0].keyid = key(1).public().id().to_string();
        assert_eq!(renamed.open(TYPE, key(1).public()).unwrap_err(), EnvelopeError::BadSignature);
    }

    #[test]
    fn shapes_that_are_not_ours_are_refused_with_a_reason() {
        let one = Envelope::sign(TYPE, b"payload", &key(1));
        let mut none = one.clone();
        none.signatures.clear();
        let mut two = one.clone();
        two.signatures.push(one.signatures[0].clone());
        for (json, reason) in [
            (none.to_json(), "signature_count"),
            (two.to_json(), "signature_count"),
            ("{}".to_owned(), "malformed"),
            ("[".repeat(200_000), "malformed"),
            (one.to_json().replace("\"payload\"", "\"payload\":\"\",\"payload\""), "malformed"),
            (" ".repeat(MAX_ENVELOPE_BYTES + 1), "too_large"),
        ] {
            assert_eq!(Envelope::parse(json.as_bytes()).unwrap_err().reason(), reason);
        }
    }
}
