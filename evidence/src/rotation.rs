//! Key rotation: a gateway gives up its key for a new one and stays the same gateway.
//!
//! A gateway is the SHA-256 of its *first* public key. A [`Rotation`] says from which place of the chain on another key signs.
//! It is an envelope signed by the key that gives up, and holds a signature by the new key ([`Rotation::proof`]), so that
//! nobody can pass off a key of somebody else as his own. A [`Keyring`] is the first key with the rotations that followed,
//! each checked when it is added; it alone says which key must have signed what stands at a place.
//!
//! Guarantees: pure. A ring never holds a key twice, and its places only grow. What a key signs for a place at or beyond the
//! one where it was given up is never believed.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::canonical;
use crate::envelope::{Envelope, EnvelopeError, pre_authentication_encoding};
use crate::id::{Digest, GatewayId};
use crate::key::{PublicKey, SigningKey};
use crate::look::Bytes;

/// DSSE payload type of a rotation.
pub const PAYLOAD_TYPE: &str = "application/vnd.gatepost.key-rotation+json";
/// Type under which the new key signs, in the same pre-authentication encoding, that it is there.
pub const PROOF_TYPE: &str = "application/vnd.gatepost.key-possession+json";
/// The most rotations of one gateway: one a month for twenty years.
pub const MAX_ROTATIONS: usize = 256;

/// The gateway's word that another key signs from some place on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    /// Whose keys they are: the SHA-256 of the first one.
    pub gateway: GatewayId,
    /// The first place of the chain that the new key signs; never below that of an earlier rotation.
    pub seq: u64,
    /// What stands before that place: what the run at `seq` has as its `prev`; null exactly when `seq` is 1.
    pub prev: Option<Digest>,
    /// SHA-256 of the SubjectPublicKeyInfo of the key that gives up, which signed the envelope around this.
    pub old_key: Digest,
    /// The key that signs from now on.
    pub new_key: PublicKey,
    /// When, by the gateway's clock.
    pub at: Timestamp,
    /// Signature by the new key over the pre-authentication encoding of [`PROOF_TYPE`] and of all of this but this member.
    pub proof: Bytes,
}

/// Why a rotation was refused. The wording is for people; [`RotationError::reason`] is stable for programs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RotationError {
    /// The envelope around it.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// The payload is not RFC 8785 canonical JSON.
    #[error("the payload is not canonical JSON (RFC 8785)")]
    NotCanonical,
    /// The payload is not a rotation.
    #[error("the payload is not a key rotation: {0}")]
    NotARotation(String),
    /// Signed by one gateway, about another.
    #[error("it speaks of gateway {0}, which is not the one whose key signed it")]
    OtherGateway(GatewayId),
    /// The new key did not sign.
    #[error("the new key {0} did not sign it, so nobody has shown to have that key")]
    NoPossession(Digest),
    /// Another rotation gave up this key before.
    #[error("key {0} was given up by another rotation already: two machines may have had it")]
    Fork(Digest),
    /// It gives a gateway a key that it has or had.
    #[error("key {0} has been a key of this gateway already")]
    KeyReused(Digest),
    /// It is for a place before that of the rotation before.
    #[error("it is for place {seq}, and the rotation before it for {before}; places only grow")]
    NotGrowing {
        /// Its place.
        seq: u64,
        /// The place of the rotation before it.
        before: u64,
    },
    /// More than [`MAX_ROTATIONS`].
    #[error("a gateway has at most {MAX_ROTATIONS} rotations")]
    TooMany,
}

impl RotationError {
    /// A stable word for programs.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Envelope(error) => error.reason(),
            Self::NotCanonical => "not_canonical",
            Self::NotARotation(_) => "not_a_rotation",
            Self::OtherGateway(_) => "other_gateway",
            Self::NoPossession(_) => "no_possession",
            Self::Fork(_) => "fork",
            Self::KeyReused(_) => "key_reused",
            Self::NotGrowing { .. } => "not_growing",
            Self::TooMany => "too_many",
        }
    }

    /// Whether the signature of the envelope holds, so that a key of the gateway vouches for what was refused.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        !matches!(self, Self::Envelope(_))
    }
}

impl Rotation {
    /// The rotation of `ring` to `new`, for what comes at `seq` after `prev`; signed by `old`, which must be its current key.
    ///
    /// # Errors
    /// When the ring would refuse it, or it cannot be written as canonical JSON.
    pub fn sign(
        ring: &Keyring,
        old: &SigningKey,
        new: &SigningKey,
        (seq, prev): (u64, Option<Digest>),
        at: Timestamp,
    ) -> Result<Envelope, RotationError> {
        let (gateway, old_key) = (ring.gateway(), old.public().digest());
        let mut rotation =
            Self { gateway, seq, prev, old_key, new_key: new.public().clone(), at, proof: Bytes(Vec::new()) };
        rotation.proof = Bytes(new.sign(&claim(&written(&rotation)?)?));
        let envelope = Envelope::sign(PAYLOAD_TYPE, &written(&rotation)?, old);
        ring.clone().add(&envelope)?;
        Ok(envelope)
    }

    /// Whether its fields fit each other, and the new key signed it; `payload` is what it was read from.
    fn check(&self, payload: &[u8]) -> Result<(), RotationError> {
        let Self { seq, prev, new_key, proof, .. } = self;
        if *seq == 0 || (*seq == 1) != prev.is_none() {
            return Err(RotationError::NotARotation(format!("seq {seq} and prev do not fit: only seq 1 has none")));
        }
        if !new_key.verifies(&claim(payload)?, &proof.0) {
            return Err(RotationError::NoPossession(new_key.digest()));
        }
        Ok(())
    }
}

/// What the new key signs: the payload without its member `proof`, in canonical form.
fn claim(payload: &[u8]) -> Result<Vec<u8>, RotationError> {
    let not = |error: serde_json::Error| RotationError::NotARotation(error.to_string());
    let mut members: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(payload).map_err(not)?;
    members.remove("proof");
    Ok(pre_authentication_encoding(PROOF_TYPE, &written(&members)?))
}

fn written(value: &impl Serialize) -> Result<Vec<u8>, RotationError> {
    canonical::to_vec(value).map_err(|error| RotationError::NotARotation(error.to_string()))
}

/// A rotation that was added to a ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedRotation {
    digest: Digest,
    rotation: Rotation,
}

impl VerifiedRotation {
    /// SHA-256 of its payload.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// What the gateway said.
    #[must_use]
    pub fn rotation(&self) -> &Rotation {
        &self.rotation
    }
}

/// The keys of one gateway, in the order in which they signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyring {
    first: PublicKey,
    rotations: Vec<VerifiedRotation>,
}

impl Keyring {
    /// A gateway with its first key.
    #[must_use]
    pub fn new(first: PublicKey) -> Self {
        Self { first, rotations: Vec::new() }
    }

    /// A gateway with its first key and every rotation since, in order.
    ///
    /// # Errors
    /// The first rotation that is refused.
    pub fn of<'a>(first: PublicKey, rotations: impl IntoIterator<Item = &'a Envelope>) -> Result<Self, RotationError> {
        let mut ring = Self::new(first);
        rotations.into_iter().try_for_each(|envelope| ring.add(envelope).map(|_| ()))?;
        Ok(ring)
    }

    /// Adds the next rotation, if it is signed by the current key, about this gateway, by a new key that is there, and for a
    /// later place than the one before.
    ///
    /// # Errors
    /// The first thing that is wrong with it; then the ring is as it was.
    pub fn add(&mut self, envelope: &Envelope) -> Result<&VerifiedRotation, RotationError> {
        let signer = self.named(envelope);
        let payload = envelope.open(PAYLOAD_TYPE, signer)?;
        let signer = signer.digest();
        if !canonical::is_canonical(&payload) {
            return Err(RotationError::NotCanonical);
        }
        let rotation: Rotation =
            serde_json::from_slice(&payload).map_err(|error| RotationError::NotARotation(error.to_string()))?;
        if rotation.gateway != self.gateway() {
            return Err(RotationError::OtherGateway(rotation.gateway));
        }
        if rotation.old_key != signer {
            return Err(RotationError::NotARotation("old_key is not the key that signed".to_owned()));
        }
        rotation.check(&payload)?;
        if signer != self.current().digest() {
            return Err(RotationError::Fork(signer));
        }
        let new_key = rotation.new_key.digest();
        if self.key(new_key).is_some() {
            return Err(RotationError::KeyReused(new_key));
        }
        if let Some(before) =
            self.rotations.last().map(|last| last.rotation.seq).filter(|before| *before >= rotation.seq)
        {
            return Err(RotationError::NotGrowing { seq: rotation.seq, before });
        }
        if self.rotations.len() >= MAX_ROTATIONS {
            return Err(RotationError::TooMany);
        }
        let digest = Digest::of(&payload);
        Ok(self.rotations.push_mut(VerifiedRotation { digest, rotation }))
    }

    /// The gateway that these keys are of.
    #[must_use]
    pub fn gateway(&self) -> GatewayId {
        self.first.id()
    }

    /// The gateway's first key, whose digest is its identity.
    #[must_use]
    pub fn first(&self) -> &PublicKey {
        &self.first
    }

    /// The key that signs what comes next.
    #[must_use]
    pub fn current(&self) -> &PublicKey {
        self.rotations.last().map_or(&self.first, |last| &last.rotation.new_key)
    }

    /// Every rotation, in order.
    #[must_use]
    pub fn rotations(&self) -> &[VerifiedRotation] {
        &self.rotations
    }

    /// Every key with the first place that it signs, in order.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = (u64, &PublicKey)> {
        let later = self.rotations.iter().map(|added| (added.rotation.seq, &added.rotation.new_key));
        std::iter::once((1, &self.first)).chain(later)
    }

    /// The key with this digest of its SubjectPublicKeyInfo, if it is one of these.
    #[must_use]
    pub fn key(&self, digest: Digest) -> Option<&PublicKey> {
        self.keys().map(|(_, key)| key).find(|key| key.digest() == digest)
    }

    /// The first place that the key with this digest does not sign any more; none for the current one.
    #[must_use]
    pub fn retired_at(&self, digest: Digest) -> Option<u64> {
        self.rotations.iter().find(|added| added.rotation.old_key == digest).map(|added| added.rotation.seq)
    }

    /// The key that an envelope names; the current one if it names none of these, for the check to fail on.
    fn named(&self, envelope: &Envelope) -> &PublicKey {
        let named = envelope.claimed_signer().and_then(|named| self.key(named.digest()));
        named.unwrap_or_else(|| self.current())
    }
}

/// A key signed for a place that is not its to sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WrongKey {
    /// The key was given up before.
    #[error(
        "signed by key {key}, which the gateway gave up at place {from}, for place {seq}: a copy of the old key is in use"
    )]
    Retired {
        /// SHA-256 of its SubjectPublicKeyInfo.
        key: Digest,
        /// The first place that it does not sign any more.
        from: u64,
        /// The place that it signed for.
        seq: u64,
    },
    /// The key came later.
    #[error("signed by key {key}, which signs from place {from} on, for place {seq}")]
    Early {
        /// SHA-256 of its SubjectPublicKeyInfo.
        key: Digest,
        /// The first place that it signs.
        from: u64,
        /// The place that it signed for.
        seq: u64,
    },
}

impl WrongKey {
    /// A stable word for programs.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Retired { .. } => "retired_key",
            Self::Early { .. } => "early_key",
        }
    }
}

/// Who may have signed what a gateway says: a [`Keyring`], or a single [`PublicKey`] that is the gateway's first and only.
pub trait Signers {
    /// The gateway whose keys these are.
    fn gateway(&self) -> GatewayId;

    /// The key that `envelope` must open with.
    fn signer(&self, envelope: &Envelope) -> &PublicKey;

    /// Whether `key` may still sign for what ends at `seq`: it was not given up before. What is gone is buried by whatever
    /// key there is at that time, which may be a later one.
    ///
    /// # Errors
    /// When it was given up before.
    fn not_retired(&self, key: &PublicKey, seq: u64) -> Result<(), WrongKey>;

    /// Whether `key` is the one key that signs the run at `seq`.
    ///
    /// # Errors
    /// When another does.
    fn in_force(&self, key: &PublicKey, seq: u64) -> Result<(), WrongKey>;
}

impl Signers for PublicKey {
    fn gateway(&self) -> GatewayId {
        self.id()
    }

    fn signer(&self, _: &Envelope) -> &PublicKey {
        self
    }

    fn not_retired(&self, _: &PublicKey, _: u64) -> Result<(), WrongKey> {
        Ok(())
    }

    fn in_force(&self, _: &PublicKey, _: u64) -> Result<(), WrongKey> {
        Ok(())
    }
}

impl Signers for Keyring {
    fn gateway(&self) -> GatewayId {
        Self::gateway(self)
    }

    fn signer(&self, envelope: &Envelope) -> &PublicKey {
        self.named(envelope)
    }

    fn not_retired(&self, key: &PublicKey, seq: u64) -> Result<(), WrongKey> {
        let key = key.digest();
        match self.retired_at(key).filter(|from| *from <= seq) {
            Some(from) => Err(WrongKey::Retired { key, from, seq }),
            None => Ok(()),
        }
    }

    fn in_force(&self, key: &PublicKey, seq: u64) -> Result<(), WrongKey> {
        self.not_retired(key, seq)?;
        match self.keys().find(|(_, known)| *known == key).filter(|(from, _)| *from > seq) {
            Some((from, _)) => Err(WrongKey::Early { key: key.digest(), from, seq }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
#[path = "rotation_tests.rs"]
mod tests;
