//! An envelope of the usual shape, taken apart into what it is made of, so that it takes few bytes and still comes back as
//! the very text that was signed.
//!
//! The payload of an envelope is base64, behind which no compressor sees that one run is like the one before. Taken apart,
//! the payload is plain. Guarantee: whatever [`Parts::of`] takes apart, [`Parts::to_json`] puts together again byte for byte;
//! what would not come back so is not taken apart.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::envelope::{Envelope, EnvelopeSignature};
use crate::id::Digest;

/// Bytes of a signature.
pub const SIGNATURE_BYTES: usize = 64;

/// The parts of an envelope with one Ed25519 signature, written as [`Envelope::to_json`] writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts {
    /// The signature's bytes.
    pub signature: [u8; SIGNATURE_BYTES],
    /// Who claims to have signed.
    pub key_id: Digest,
    /// The media type of the payload.
    pub payload_type: String,
    /// The payload's bytes.
    pub payload: Vec<u8>,
}

impl Parts {
    /// Takes `envelope` apart; none when it would not come back exactly.
    #[must_use]
    pub fn of(envelope: &str) -> Option<Self> {
        let parsed = Envelope::parse(envelope.as_bytes()).ok()?;
        let [signature] = parsed.signatures.as_slice() else { return None };
        let parts = Self {
            signature: STANDARD.decode(&signature.sig).ok()?.try_into().ok()?,
            key_id: signature.keyid.parse().ok()?,
            payload: STANDARD.decode(&parsed.payload).ok()?,
            payload_type: parsed.payload_type,
        };
        (parts.to_json() == envelope).then_some(parts)
    }

    /// The envelope, as one line of JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        to_json(&self.signature, self.key_id, &self.payload_type, &self.payload)
    }
}

/// The envelope that these parts make, as one line of JSON; nothing is checked.
#[must_use]
pub fn to_json(signature: &[u8; SIGNATURE_BYTES], key_id: Digest, payload_type: &str, payload: &[u8]) -> String {
    let signature = EnvelopeSignature { keyid: key_id.to_string(), sig: STANDARD.encode(signature) };
    let payload = STANDARD.encode(payload);
    Envelope { payload, payload_type: payload_type.to_owned(), signatures: vec![signature] }.to_json()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::SigningKey;

    #[test]
    fn what_is_taken_apart_comes_back_and_what_would_not_is_left_whole() {
        let key = SigningKey::from_seed(&[1; 32]).unwrap();
        let usual = Envelope::sign("text/plain; \"q\" \n é", b"a payload \x00\xff", &key).to_json();
        let parts = Parts::of(&usual).unwrap();
        assert_eq!((parts.key_id, parts.payload.as_slice()), (key.public().id().digest(), &b"a payload \x00\xff"[..]));
        assert_eq!(parts.to_json(), usual);
        let id = key.public().id().to_string();
        for other in [
            usual.replace("\":", "\": "),
            usual.replace(&id, &id.to_uppercase()),
            usual.replace(&id, "me"),
            usual.replace("==", "="),
            usual.replace("\"sig\":\"", "\"sig\":\"AAAA"),
            usual.replace("é", "\\u00e9"),
            usual.replace("\"signatures\":[", "\"signatures\":[{\"keyid\":\"\",\"sig\":\"\"},"),
            format!("{usual}\n"),
            String::new(),
            "{}".into(),
        ] {
            assert_ne!(other, usual, "the example is none");
            assert_eq!(Parts::of(&other), None, "{other}");
        }
    }
}
