//! Tombstones: the gateway's signed word that runs of its chain are no longer in its spool, which, and why.
//!
//! A tombstone is a DSSE envelope like a run's, signed with the gateway's key. It stands for every place from `from_seq` to
//! `to_seq` and keeps the chain checkable across them: the run before has the digest `prev`, and the run after has
//! [`Tombstone::link`] as its `prev`. Runs that went are named by `digest`, folded in order with [`fold`].
//!
//! Where damage took the digests too, `digest`, `first_digest` and `last_digest` are null, and where it took even the number
//! of runs, `count` is null; the chain then goes on from the tombstone itself. A tombstone never claims more than was known.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::canonical;
use crate::envelope::{Envelope, EnvelopeError};
use crate::id::{Digest, GatewayId};
use crate::key::SigningKey;
use crate::rotation::Signers;
use crate::verify::VerifyError;

/// DSSE payload type of a tombstone.
pub const PAYLOAD_TYPE: &str = "application/vnd.gatepost.tombstone+json";

/// The gateway's word that runs are no longer in its spool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tombstone {
    /// Whose runs they were.
    pub gateway: GatewayId,
    /// The first place that it stands for.
    pub from_seq: u64,
    /// The last place that it stands for; never below `from_seq`.
    pub to_seq: u64,
    /// How many runs went: one for each place; null when damage left that unknown, and some places may never have had one.
    pub count: Option<u64>,
    /// SHA-256 of the payload of the run before `from_seq`; null at the start of the chain, or when it is not known.
    pub prev: Option<Digest>,
    /// The digests of the runs that went, folded in the order of their places; null when one of them is not known.
    pub digest: Option<Digest>,
    /// SHA-256 of the payload of the first of them, if known.
    pub first_digest: Option<Digest>,
    /// SHA-256 of the payload of the last of them, if known: the `prev` of the run after.
    pub last_digest: Option<Digest>,
    /// Why they went.
    pub cause: Cause,
    /// When the last of them went, by the gateway's clock.
    pub at: Timestamp,
}

/// Why runs went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The sink has them, with receipts; they were over the spool's bounds.
    AcknowledgedExpired,
    /// The sink had refused them for good; they were over the spool's bounds.
    QuarantinedExpired,
    /// The sink never had them: they were older than the spool keeps runs.
    TooOld,
    /// The sink never had them: the spool was full.
    NoRoom,
    /// They could not be read back.
    Damaged,
}

impl Cause {
    /// Whether the sink has what went, so that nothing is missing anywhere.
    #[must_use]
    pub fn is_harmless(self) -> bool {
        self == Self::AcknowledgedExpired
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::AcknowledgedExpired => "acknowledged_expired",
            Self::QuarantinedExpired => "quarantined_expired",
            Self::TooOld => "too_old",
            Self::NoRoom => "no_room",
            Self::Damaged => "damaged",
        })
    }
}

/// Adds the next digest to those folded so far: SHA-256 of the fold's 32 bytes (none before the first) and the digest's.
/// The fold of many can grow by one without the others at hand, so neighbouring tombstones can become one.
#[must_use]
pub fn fold(so_far: Option<Digest>, next: Digest) -> Digest {
    let mut bytes = Vec::with_capacity(64);
    bytes.extend(so_far.iter().flat_map(Digest::as_bytes));
    bytes.extend(next.as_bytes());
    Digest::of(&bytes)
}

impl Tombstone {
    /// Signs this tombstone with the gateway's key.
    ///
    /// # Errors
    /// When it cannot be written as canonical JSON.
    pub fn sign(&self, key: &SigningKey) -> Result<Envelope, canonical::CanonicalError> {
        Ok(Envelope::sign(PAYLOAD_TYPE, &canonical::to_vec(self)?, key))
    }

    /// Opens a tombstone that a key of the gateway signed: any of them that was not given up before the last place that it
    /// stands for. `signers` is the gateway's keyring, or its key if it never had another.
    ///
    /// # Errors
    /// When it is not signed by such a key, is not a tombstone, speaks of another gateway, or contradicts itself.
    pub fn open(envelope: &Envelope, signers: &impl Signers) -> Result<Self, VerifyError> {
        let key = signers.signer(envelope);
        let payload = envelope.open(PAYLOAD_TYPE, key)?;
        let malformed = |why: &str| VerifyError::Envelope(EnvelopeError::Malformed(format!("not a tombstone: {why}")));
        let tombstone: Self = canonical::from_slice(&payload).map_err(|error| malformed(&error.to_string()))?;
        if tombstone.gateway != signers.gateway() {
            return Err(malformed("it speaks of another gateway than the one that signed it"));
        }
        tombstone.check().map_err(malformed)?;
        signers.not_retired(key, tombstone.to_seq)?;
        Ok(tombstone)
    }

    /// Whether its fields fit each other.
    fn check(&self) -> Result<(), &'static str> {
        if self.from_seq == 0 || self.to_seq < self.from_seq {
            return Err("from_seq and to_seq are not a range of places");
        }
        let places = self.to_seq - self.from_seq + 1;
        if self.count.is_some_and(|count| count != places) {
            return Err("count is not the number of places");
        }
        if self.cause != Cause::Damaged && [self.digest, self.first_digest, self.last_digest].contains(&None) {
            return Err("digests are missing, and nothing was damaged");
        }
        if self.cause != Cause::Damaged && self.count.is_none() {
            return Err("count is missing, and nothing was damaged");
        }
        if self.from_seq == 1 && self.prev.is_some() {
            return Err("something stands before the first place");
        }
        Ok(())
    }

    /// Whether the run at `seq` is among those it stands for.
    #[must_use]
    pub fn covers(&self, seq: u64) -> bool {
        (self.from_seq..=self.to_seq).contains(&seq)
    }

    /// What the run after the tombstone has as its `prev`: the digest of the last run that went, or, where that is not
    /// known, the digest of the tombstone's own payload.
    ///
    /// # Errors
    /// When it cannot be written as canonical JSON.
    pub fn link(&self) -> Result<Digest, canonical::CanonicalError> {
        match self.last_digest {
            Some(digest) => Ok(digest),
            None => Ok(Digest::of(&canonical::to_vec(self)?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&[seed; 32]).unwrap()
    }

    fn digest(n: u8) -> Digest {
        Digest::of(&[n])
    }

    fn tombstone() -> Tombstone {
        Tombstone {
            gateway: key(1).public().id(),
            from_seq: 2,
            to_seq: 3,
            count: Some(2),
            prev: Some(digest(1)),
            digest: Some(fold(Some(fold(None, digest(2))), digest(3))),
            first_digest: Some(digest(2)),
            last_digest: Some(digest(3)),
            cause: Cause::NoRoom,
            at: "2026-03-01T10:00:00Z".parse().unwrap(),
        }
    }

    #[test]
    fn a_tombstone_opens_with_its_gateways_key_only() {
        let envelope = tombstone().sign(&key(1)).unwrap();
        assert_eq!(Tombstone::open(&envelope, key(1).public()).unwrap(), tombstone());
        assert!(Tombstone::open(&envelope, key(2).public()).is_err());
        let of_another = tombstone().sign(&key(2)).unwrap();
        let error = Tombstone::open(&of_another, key(2).public()).unwrap_err();
        assert!(error.to_string().contains("another gateway"), "{error}");
    }

    #[test]
    fn tombstones_that_contradict_themselves_are_refused() {
        let good = tombstone();
        let unknown = Tombstone { digest: None, first_digest: None, last_digest: None, ..good.clone() };
        for wrong in [
            Tombstone { from_seq: 0, count: Some(4), ..good.clone() },
            Tombstone { from_seq: 4, ..good.clone() },
            Tombstone { count: Some(1), ..good.clone() },
            Tombstone { count: None, ..good.clone() },
            Tombstone { from_seq: 1, count: Some(3), ..good.clone() },
            unknown.clone(),
        ] {
            assert!(Tombstone::open(&wrong.sign(&key(1)).unwrap(), key(1).public()).is_err(), "{wrong:?}");
        }
        let damaged = Tombstone { cause: Cause::Damaged, count: None, ..unknown };
        assert_eq!(Tombstone::open(&damaged.sign(&key(1)).unwrap(), key(1).public()).unwrap(), damaged);
    }

    #[test]
    fn the_chain_goes_on_from_the_last_run_or_from_the_tombstone_itself() {
        assert_eq!(tombstone().link().unwrap(), digest(3));
        let unknown = Tombstone { cause: Cause::Damaged, last_digest: None, ..tombstone() };
        let payload = canonical::to_vec(&unknown).unwrap();
        assert_eq!(unknown.link().unwrap(), Digest::of(&payload));
    }

    #[test]
    fn folding_depends_on_every_digest_and_on_their_order() {
        let of = |digests: &[u8]| digests.iter().fold(None, |so_far, &n| Some(fold(so_far, digest(n))));
        assert_ne!(of(&[1, 2]), of(&[2, 1]));
        assert_ne!(of(&[1, 2]), of(&[2]));
        assert_eq!(of(&[1]), Some(Digest::of(digest(1).as_bytes())));
    }
}
