//! What whoever holds a key can sign: runs of a hostile gateway, receipts of a hostile sink. The signature is right; the
//! bytes under it are the fuzzer's.

use gatepost_evidence::bundle::{SEAL_TYPE, Seal};
use gatepost_evidence::canonical;
use gatepost_evidence::envelope::Envelope;
use gatepost_evidence::id::Digest;
use gatepost_evidence::receipt::{self, Receipt};
use gatepost_evidence::run::PAYLOAD_TYPE;
use gatepost_evidence::tombstone::{self, Tombstone};
use gatepost_evidence::verify::VerifiedRun;

use crate::Seeds;
use crate::envelope::TYPES;
use crate::golden::{BUNDLES, ENVELOPES, GATEWAY, SINK};

/// What opens has one form: written again it is the very bytes that were signed.
///
/// # Panics
/// When that does not hold.
pub fn attack(data: &[u8]) {
    let Some((kind, payload)) = data.split_first() else { return };
    let expected = TYPES[usize::from(*kind) % TYPES.len()];
    // A signature costs more than all the rest: what is no object is signed only where the first byte says so.
    if kind & 0x80 == 0 && serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(payload).is_err() {
        return;
    }
    let key = if expected == receipt::PAYLOAD_TYPE { &*SINK } else { &*GATEWAY };
    let envelope = Envelope::sign(expected, payload, key);
    let again = match expected {
        PAYLOAD_TYPE => VerifiedRun::open(&envelope, key.public()).ok().map(|run| {
            assert_eq!(run.digest(), Digest::of(payload));
            let signed = run.run().sign(key).expect("what was canonical is canonical");
            Envelope::parse(signed.envelope.as_bytes()).expect("what was signed is an envelope")
        }),
        receipt::PAYLOAD_TYPE => Receipt::open(&envelope, key.public()).ok().map(|receipt| signed(receipt.sign(key))),
        tombstone::PAYLOAD_TYPE => Tombstone::open(&envelope, key.public()).ok().map(|tombstone| {
            assert!(tombstone.link().is_ok());
            signed(tombstone.sign(key))
        }),
        SEAL_TYPE => Seal::open(&envelope, key.public()).ok().map(|seal| signed(seal.sign(key))),
        other => unreachable!("{other} is not opened here"),
    };
    if let Some(again) = again {
        assert!(canonical::is_canonical(payload), "accepted and not canonical");
        assert_eq!(again, envelope, "written again it is another");
    }
}

fn signed(envelope: Result<Envelope, canonical::CanonicalError>) -> Envelope {
    envelope.expect("what was canonical is canonical")
}

/// Every golden payload, whoever signed it.
#[must_use]
pub fn seeds() -> Seeds {
    let mut seeds = Seeds::new();
    let inside = BUNDLES["agent"].iter().map(|(name, content)| (name.replace('/', "-"), content.clone()));
    let all = ENVELOPES.iter().map(|(name, content)| (name.clone(), content.clone())).chain(inside);
    for (name, content) in all {
        let Ok(envelope) = Envelope::parse(&content) else { continue };
        let Some(kind) = TYPES.iter().position(|known| *known == envelope.payload_type) else { continue };
        for key in [&*GATEWAY, &*SINK] {
            if let Ok(payload) = envelope.open(TYPES[kind], key.public()) {
                let kind = u8::try_from(kind).unwrap_or_default();
                seeds.push((name.clone(), [&[kind], payload.as_slice()].concat()));
            }
        }
    }
    seeds
}
