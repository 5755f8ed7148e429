//! Envelopes as they come from anywhere, checked against keys that the fuzzer does not have.

use gatepost_evidence::bundle::{SEAL_TYPE, Seal};
use gatepost_evidence::canonical;
use gatepost_evidence::envelope::{Envelope, MAX_ENVELOPE_BYTES};
use gatepost_evidence::id::Digest;
use gatepost_evidence::receipt::{self, Receipt};
use gatepost_evidence::rotation::{self, Keyring};
use gatepost_evidence::run::PAYLOAD_TYPE;
use gatepost_evidence::tombstone::{self, Tombstone};
use gatepost_evidence::verify::VerifiedRun;

use crate::Seeds;
use crate::golden::{BUNDLES, BY_GATEWAY, BY_SINK, ENVELOPES, GATEWAY, SINK};

/// The types of payload that golden files have.
pub const TYPES: [&str; 5] =
    [PAYLOAD_TYPE, receipt::PAYLOAD_TYPE, tombstone::PAYLOAD_TYPE, SEAL_TYPE, rotation::PAYLOAD_TYPE];

/// An envelope is what it is written as, and opens only if its key signed it.
///
/// # Panics
/// When that does not hold.
pub fn attack(data: &[u8]) {
    let Ok(envelope) = Envelope::parse(data) else { return };
    assert!(data.len() <= MAX_ENVELOPE_BYTES);
    assert_eq!(envelope.signatures.len(), 1);
    assert_eq!(Envelope::parse(envelope.to_json().as_bytes()).as_ref(), Ok(&envelope), "written again it is another");
    if let Ok(payload) = envelope.open(PAYLOAD_TYPE, GATEWAY.public()) {
        BY_GATEWAY.must_have(Digest::of(&payload), &envelope);
        if let Ok(run) = VerifiedRun::open(&envelope, GATEWAY.public()) {
            assert_eq!(run.digest(), Digest::of(&payload));
            assert!(canonical::is_canonical(&payload));
        }
    } else {
        assert!(VerifiedRun::open(&envelope, GATEWAY.public()).is_err());
    }
    if Tombstone::open(&envelope, GATEWAY.public()).is_ok() || Seal::open(&envelope, GATEWAY.public()).is_ok() {
        assert!(BY_GATEWAY.signatures.contains(&envelope.signatures[0].sig));
    }
    if Keyring::of(GATEWAY.public().clone(), [&envelope]).is_ok() {
        assert!(BY_GATEWAY.signatures.contains(&envelope.signatures[0].sig));
    }
    if Receipt::open(&envelope, SINK.public()).is_ok() {
        assert!(BY_SINK.signatures.contains(&envelope.signatures[0].sig));
    }
}

/// Every golden envelope.
#[must_use]
pub fn seeds() -> Seeds {
    let rotations = BUNDLES["rotated"].iter().filter(|(name, _)| name.starts_with("rotations/"));
    let inside = BUNDLES["agent"].iter().chain(rotations).filter(|(_, content)| content.starts_with(b"{\"payload\""));
    let inside = inside.map(|(name, content)| (name.replace('/', "-"), content.clone()));
    ENVELOPES.iter().map(|(name, content)| (name.clone(), content.clone())).chain(inside).collect()
}
