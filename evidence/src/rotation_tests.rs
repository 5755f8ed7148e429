//! A ring takes the next rotation and nothing else, and says which key signs where.

use super::*;
use crate::run::samples;
use crate::tombstone::{Cause, Tombstone, fold};
use crate::verify::VerifiedRun;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32]).unwrap()
}

fn digest(n: u64) -> Digest {
    Digest::of(&n.to_be_bytes())
}

fn at() -> Timestamp {
    "2026-03-01T10:00:00Z".parse().unwrap()
}

fn ring() -> Keyring {
    Keyring::new(key(1).public().clone())
}

fn rotate(ring: &Keyring, old: u8, new: u8, seq: u64) -> Result<Envelope, RotationError> {
    Rotation::sign(ring, &key(old), &key(new), (seq, (seq > 1).then(|| digest(seq - 1))), at())
}

/// Key 1 until place 4, key 2 until place 9, key 3 from there.
fn rotated() -> Keyring {
    let mut ring = ring();
    for (old, new, seq) in [(1, 2, 5), (2, 3, 10)] {
        let envelope = rotate(&ring, old, new, seq).unwrap();
        ring.add(&envelope).unwrap();
    }
    ring
}

/// The rotation of `envelope` with something else in it, signed again by `old`, and by `new` if that is wanted.
fn changed(envelope: &Envelope, old: u8, new: Option<u8>, change: impl Fn(&mut Rotation)) -> Envelope {
    let payload = (1..5).find_map(|signer| envelope.open(PAYLOAD_TYPE, key(signer).public()).ok()).unwrap();
    let mut rotation: Rotation = serde_json::from_slice(&payload).unwrap();
    change(&mut rotation);
    if let Some(new) = new {
        rotation.proof = Bytes(key(new).sign(&claim(&written(&rotation).unwrap()).unwrap()));
    }
    Envelope::sign(PAYLOAD_TYPE, &written(&rotation).unwrap(), &key(old))
}

fn refused(ring: &Keyring, envelope: &Envelope) -> &'static str {
    let mut ring = ring.clone();
    let before = ring.clone();
    let error = ring.add(envelope).unwrap_err();
    assert_eq!(ring, before, "a refused rotation changes nothing");
    error.reason()
}

#[test]
fn a_gateway_stays_the_same_and_signs_with_its_newest_key() {
    let ring = rotated();
    assert_eq!(ring.gateway(), key(1).public().id());
    assert_eq!((ring.first(), ring.current()), (key(1).public(), key(3).public()));
    assert_eq!(ring.keys().map(|(from, _)| from).collect::<Vec<_>>(), [1, 5, 10]);
    assert_eq!(ring.retired_at(key(1).public().digest()), Some(5));
    assert_eq!(ring.retired_at(key(3).public().digest()), None);
    let envelopes = [rotate(&self::ring(), 1, 2, 5).unwrap()];
    assert_eq!(Keyring::of(key(1).public().clone(), &envelopes).unwrap().rotations(), &ring.rotations()[..1]);
}

#[test]
fn each_thing_that_is_wrong_has_its_reason() {
    let (first, good) = (ring(), rotate(&ring(), 1, 2, 5).unwrap());
    assert_eq!(refused(&first, &Envelope::sign(PAYLOAD_TYPE, b"{}", &key(9))), "unknown_key", "a stranger");
    assert_eq!(refused(&first, &Envelope::sign("other", b"{}", &key(1))), "payload_type");
    assert_eq!(refused(&first, &Envelope::sign(PAYLOAD_TYPE, b"{ }", &key(1))), "not_canonical");
    assert_eq!(refused(&first, &Envelope::sign(PAYLOAD_TYPE, b"{}", &key(1))), "not_a_rotation");
    let mut forged = good.clone();
    forged.signatures[0].sig = rotate(&first, 1, 3, 5).unwrap().signatures[0].sig.clone();
    assert_eq!(refused(&first, &forged), "bad_signature");
    let other = key(8).public().id();
    assert_eq!(refused(&first, &changed(&good, 1, Some(2), |it| it.gateway = other)), "other_gateway");
    assert_eq!(refused(&first, &changed(&good, 1, Some(2), |it| it.old_key = digest(0))), "not_a_rotation");
    assert_eq!(refused(&first, &changed(&good, 1, Some(2), |it| it.seq = 0)), "not_a_rotation");
    assert_eq!(refused(&first, &changed(&good, 1, Some(2), |it| it.prev = None)), "not_a_rotation");
    assert_eq!(refused(&first, &changed(&good, 1, Some(2), |it| it.seq = 1)), "not_a_rotation");
    // Nobody signed for the key of somebody else, or for another place.
    assert_eq!(refused(&first, &changed(&good, 1, None, |it| it.new_key = key(7).public().clone())), "no_possession");
    assert_eq!(refused(&first, &changed(&good, 1, None, |it| it.seq = 6)), "no_possession");
    assert_eq!(refused(&first, &changed(&good, 1, None, |it| it.proof = Bytes(Vec::new()))), "no_possession");
    assert_eq!(refused(&first, &changed(&good, 1, Some(1), |it| it.new_key = key(1).public().clone())), "key_reused");

    let ring = rotated();
    assert_eq!(refused(&ring, &good), "fork", "the very same again");
    assert_eq!(refused(&ring, &rotate(&first, 1, 7, 20).unwrap()), "fork", "two from one key");
    let back = changed(&good, 3, Some(1), |it| {
        (it.old_key, it.new_key, it.seq) = (key(3).public().digest(), key(1).public().clone(), 20);
    });
    assert_eq!(refused(&ring, &back), "key_reused");
    assert_eq!(rotate(&ring, 3, 4, 10).unwrap_err().reason(), "not_growing");
    assert_eq!(rotate(&ring, 3, 4, 11).map(|_| ()), Ok(()));
}

#[test]
fn a_payload_written_in_another_way_is_what_was_signed_or_refused() {
    // What the new key signs is the payload as it stands, not what somebody made of it.
    let good = rotate(&ring(), 1, 2, 5).unwrap();
    let payload = good.open(PAYLOAD_TYPE, key(1).public()).unwrap();
    let text = String::from_utf8(payload).unwrap().replace("10:00:00Z", "10:00:00.000Z");
    assert_eq!(refused(&ring(), &Envelope::sign(PAYLOAD_TYPE, text.as_bytes(), &key(1))), "no_possession");
    let more = text.replace("{\"at\"", "{\"aaa\":1,\"at\"");
    assert_eq!(refused(&ring(), &Envelope::sign(PAYLOAD_TYPE, more.as_bytes(), &key(1))), "not_a_rotation");
}

#[test]
fn a_ring_has_an_end() {
    let mut ring = ring();
    let mut old = key(1);
    for n in 0..=MAX_ROTATIONS as u64 {
        let mut seed = [9; 32];
        seed[..8].copy_from_slice(&n.to_be_bytes());
        let new = SigningKey::from_seed(&seed).unwrap();
        let made = Rotation::sign(&ring, &old, &new, (n + 2, Some(digest(n))), at());
        if n == MAX_ROTATIONS as u64 {
            assert_eq!(made.unwrap_err(), RotationError::TooMany);
        } else {
            ring.add(&made.unwrap()).unwrap();
        }
        old = new;
    }
}

#[test]
fn every_place_has_one_key_that_signs_its_run() {
    let ring = rotated();
    for seq in 1..=15_u64 {
        for signer in 1..=4_u8 {
            let run = samples::run(ring.gateway(), seq, (seq > 1).then(|| digest(seq)));
            let envelope = Envelope::parse(run.sign(&key(signer)).unwrap().envelope.as_bytes()).unwrap();
            let expected = match (signer, seq) {
                (1, ..5) | (2, 5..10) | (3, 10..) => Ok(seq),
                (1, 5..) | (2, 10..) => Err("retired_key"),
                (4, _) => Err("unknown_key"),
                _ => Err("early_key"),
            };
            let opened = VerifiedRun::open(&envelope, &ring);
            assert_eq!(opened.map(|run| run.run().seq).map_err(|error| error.reason()), expected, "{signer} at {seq}");
        }
    }
}

#[test]
fn a_later_key_buries_what_an_earlier_one_signed_and_not_the_other_way_round() {
    let ring = rotated();
    for to_seq in 2..=12_u64 {
        for signer in 1..=4_u8 {
            let stone = Tombstone {
                gateway: ring.gateway(),
                from_seq: 2,
                to_seq,
                count: Some(to_seq - 1),
                prev: Some(digest(1)),
                digest: Some(fold(None, digest(2))),
                first_digest: Some(digest(2)),
                last_digest: Some(digest(to_seq)),
                cause: Cause::NoRoom,
                at: at(),
            };
            let expected = match (signer, to_seq) {
                (1, 5..) | (2, 10..) => Err("retired_key"),
                (4, _) => Err("unknown_key"),
                _ => Ok(to_seq),
            };
            let opened = Tombstone::open(&stone.sign(&key(signer)).unwrap(), &ring);
            assert_eq!(opened.map(|stone| stone.to_seq).map_err(|error| error.reason()), expected);
        }
    }
}
