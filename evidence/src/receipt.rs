//! Receipts: the sink's signed word that it keeps a run, or a tombstone: then `seq` is the last place it stands for.
//!
//! A receipt is a DSSE envelope like a run's, signed with the sink's key, whose public half the agent learnt when it
//! enrolled. An agent marks a run as acknowledged only for a receipt that opens here and names that very run, and only if
//! the sink proves that the run is in its log: both together are an [`Acknowledgement`].

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::canonical;
use crate::checkpoint::LogProof;
use crate::envelope::{Envelope, EnvelopeError, MAX_ENVELOPE_BYTES};
use crate::id::{Digest, GatewayId};
use crate::key::{PublicKey, SigningKey};

/// DSSE payload type of a receipt.
pub const PAYLOAD_TYPE: &str = "application/vnd.gatepost.receipt+json";

/// The sink's word that it keeps a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// Whose run it is.
    pub gateway: GatewayId,
    /// Its place in the chain.
    pub seq: u64,
    /// SHA-256 of its payload.
    pub digest: Digest,
    /// When the sink had it on disk, by the sink's clock.
    pub accepted_at: Timestamp,
}

impl Receipt {
    /// Signs this receipt with the sink's key.
    ///
    /// # Errors
    /// When it cannot be written as canonical JSON.
    pub fn sign(&self, key: &SigningKey) -> Result<Envelope, canonical::CanonicalError> {
        Ok(Envelope::sign(PAYLOAD_TYPE, &canonical::to_vec(self)?, key))
    }

    /// Opens a receipt that `key` signed.
    ///
    /// # Errors
    /// When it is not signed by `key` or is not a receipt.
    pub fn open(envelope: &Envelope, key: &PublicKey) -> Result<Self, EnvelopeError> {
        let payload = envelope.open(PAYLOAD_TYPE, key)?;
        canonical::from_slice(&payload).map_err(|error| EnvelopeError::Malformed(format!("not a receipt: {error}")))
    }
}

/// What a gateway holds of the sink for a run it handed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Acknowledgement {
    /// When the sink had it, and where in the gateway's chain.
    pub receipt: Envelope,
    /// Where it is in the sink's log; none from before sinks kept one.
    pub log: Option<LogProof>,
}

impl Acknowledgement {
    /// As one line of JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Texts, numbers and lists of them cannot fail to serialise.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads what was kept; a bare receipt is one without a place in the log.
    ///
    /// # Errors
    /// When it is neither, or longer than an envelope may be.
    pub fn parse(json: &[u8]) -> Result<Self, EnvelopeError> {
        if json.len() > MAX_ENVELOPE_BYTES {
            return Err(EnvelopeError::TooLarge(json.len()));
        }
        serde_json::from_slice(json).or_else(|_| Ok(Self { receipt: Envelope::parse(json)?, log: None }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_opens_with_the_sinks_key_only() {
        let sink = SigningKey::from_seed(&[3; 32]).unwrap();
        let receipt = Receipt {
            gateway: GatewayId::new(Digest::of(b"gateway")),
            seq: 4,
            digest: Digest::of(b"run"),
            accepted_at: "2026-03-01T10:00:00Z".parse().unwrap(),
        };
        let envelope = receipt.sign(&sink).unwrap();
        assert_eq!(Receipt::open(&envelope, sink.public()).unwrap(), receipt);
        let other = SigningKey::from_seed(&[4; 32]).unwrap();
        assert!(Receipt::open(&envelope, other.public()).is_err());
        // As it was kept before there was a log, and since.
        let bare = Acknowledgement::parse(envelope.to_json().as_bytes()).unwrap();
        assert_eq!((&bare.receipt, &bare.log), (&envelope, &None));
        assert_eq!(Acknowledgement::parse(bare.to_json().as_bytes()).unwrap(), bare);
        assert!(Acknowledgement::parse(b"{}").is_err());
    }
    #[test]
    fn a_receipt_has_one_form() {
        // Found while the fuzz target `payload` was written: a sink could give two receipts that say the same.
        let sink = SigningKey::from_seed(&[3; 32]).unwrap();
        let digest = Digest::of(b"run");
        let plain =
            format!(r#"{{"accepted_at":"2026-03-01T10:00:00Z","digest":"{digest}","gateway":"{digest}","seq":4}}"#);
        let open = |text: &str| Receipt::open(&Envelope::sign(PAYLOAD_TYPE, text.as_bytes(), &sink), sink.public());
        assert!(open(&plain).is_ok());
        for (from, to) in [("\"seq\":4", "\"seq\": 4"), ("00Z", "00+00:00"), ("\"seq\":4", "\"seq\":4,\"seq\":4")] {
            assert_eq!(open(&plain.replace(from, to)).unwrap_err().reason(), "malformed", "{to}");
        }
        let long = format!("{plain}{}", " ".repeat(MAX_ENVELOPE_BYTES));
        assert_eq!(Acknowledgement::parse(long.as_bytes()).unwrap_err().reason(), "too_large");
    }
}
