//! What whoever holds a key can sign: runs of a hostile gateway, receipts of a hostile sink. The signature is right; the
//! bytes under it are the fuzzer's.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gatepost_evidence::bundle::{SEAL_TYPE, Seal};
use gatepost_evidence::canonical;
use gatepost_evidence::envelope::{Envelope, pre_authentication_encoding};
use gatepost_evidence::id::Digest;
use gatepost_evidence::receipt::{self, Receipt};
use gatepost_evidence::rotation::{self, Keyring};
use gatepost_evidence::run::PAYLOAD_TYPE;
use gatepost_evidence::tombstone::{self, Tombstone};
use gatepost_evidence::verify::VerifiedRun;
use serde_json::{Map, Value};

use crate::Seeds;
use crate::envelope::TYPES;
use crate::golden::{BUNDLES, ENVELOPES, GATEWAY, SINK, signer};

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
    // Whoever rotates a key has the new one, too.
    let possessed = (expected == rotation::PAYLOAD_TYPE).then(|| with_proof(payload)).flatten();
    let payload = possessed.as_deref().unwrap_or(payload);
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
        rotation::PAYLOAD_TYPE => rotated(&envelope),
        SEAL_TYPE => Seal::open(&envelope, key.public()).ok().map(|seal| signed(seal.sign(key))),
        other => unreachable!("{other} is not opened here"),
    };
    if let Some(again) = again {
        assert!(canonical::is_canonical(payload), "accepted and not canonical");
        assert_eq!(again, envelope, "written again it is another");
    }
}

/// The rotation that the ring of the gateway takes, signed again.
fn rotated(envelope: &Envelope) -> Option<Envelope> {
    let mut ring = Keyring::new(GATEWAY.public().clone());
    let added = ring.add(envelope).ok()?.clone();
    let rotation = added.rotation();
    assert_eq!((ring.gateway(), ring.current()), (GATEWAY.public().id(), &rotation.new_key));
    assert_eq!(ring.retired_at(GATEWAY.public().digest()), Some(rotation.seq));
    assert!(ring.retired_at(rotation.new_key.digest()).is_none());
    assert_eq!(ring.clone().add(envelope).err().map(|error| error.reason()), Some("fork"), "taken twice");
    let payload = canonical::to_vec(rotation).expect("what was canonical is canonical");
    assert_eq!(Digest::of(&payload), added.digest());
    Some(Envelope::sign(rotation::PAYLOAD_TYPE, &payload, &GATEWAY))
}

/// A rotation to one of the keys that are known here, with that key's signature in it and in canonical form; none for anything
/// else.
pub fn with_proof(payload: &[u8]) -> Option<Vec<u8>> {
    let mut members: Map<String, Value> = serde_json::from_slice(payload).ok()?;
    let new_key = members.get("new_key")?.as_str()?;
    let key = (1..=4).filter_map(signer).find(|key| key.public().to_pem() == new_key)?;
    members.remove("proof");
    let claim = pre_authentication_encoding(rotation::PROOF_TYPE, &canonical::to_vec(&members).ok()?);
    members.insert("proof".into(), STANDARD.encode(key.sign(&claim)).into());
    canonical::to_vec(&members).ok()
}

fn signed(envelope: Result<Envelope, canonical::CanonicalError>) -> Envelope {
    envelope.expect("what was canonical is canonical")
}

/// Every golden payload, whoever signed it.
#[must_use]
pub fn seeds() -> Seeds {
    let mut seeds = Seeds::new();
    let rotations = BUNDLES["rotated"].iter().filter(|(name, _)| name.starts_with("rotations/"));
    let inside =
        BUNDLES["agent"].iter().chain(rotations).map(|(name, content)| (name.replace('/', "-"), content.clone()));
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
