//! Which key of the gateway signs where: its first one, and the rotations since.
//!
//! Guarantees: a rotation that does not follow is named, and the ring goes on without it, so that what its key signed is
//! found to be signed by an unknown one.

use gatepost_evidence::bundle::Kind;
use gatepost_evidence::envelope::Envelope;
use gatepost_evidence::key::PublicKey;
use gatepost_evidence::rotation::{Keyring, RotationError};

use super::{Part, Replay, Wrong};

impl Replay<'_> {
    pub(super) fn rotations(&mut self, first: &PublicKey) -> Keyring {
        let part = Part::Rotations;
        let mut ring = Keyring::new(first.clone());
        let of = |kind| if let Kind::Rotation(seq) = kind { Some(seq) } else { None };
        for (seq, (path, content)) in self.of_kind(of) {
            let mut add = || -> Result<(), Wrong> {
                let refused = |error: RotationError| (error.reason(), error.to_string());
                let envelope = Envelope::parse(&content).map_err(|error| refused(error.into()))?;
                let found = ring.add(&envelope).map_err(refused)?.rotation().seq;
                if found == seq { Ok(()) } else { Err(("other_seq", format!("it is for place {found}"))) }
            };
            if let Err(wrong) = add() {
                self.broken(part, path, wrong);
            }
        }
        for added in ring.rotations() {
            let rotation = added.rotation();
            let (old, new) = (rotation.old_key.short(), rotation.new_key.digest());
            self.holds(part, format!("key {old} gave up for key {new}, which signs from run {} on", rotation.seq));
        }
        if ring.rotations().is_empty() && self.sound(part) {
            self.holds(part, "the gateway's first key signs everything inside: there is no rotation");
        }
        ring
    }
}
