//! Checkpoints, <https://c2sp.org/tlog-checkpoint>: the sink's signed word on how large its log is and what is in it.
//!
//! A [`Checkpoint`] exists only if it was signed here or its signature was checked against the sink's key. Two checkpoints of
//! one key that no consistency proof connects are proof, for anyone, that the sink rewrote or forked its history.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::Digest;
use crate::key::{PublicKey, SigningKey};
use crate::log::{ConsistencyProof, InclusionProof, LogError, LogHash, LogRoot};
use crate::note::{self, NoteError};

/// Why a checkpoint was not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Not a note, or not signed by the sink.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// A signed text that is not a checkpoint's.
    #[error("not a checkpoint: {0}")]
    Malformed(&'static str),
    /// A checkpoint of another log.
    #[error("a checkpoint of the log {found:?}; {expected:?} is expected")]
    Origin {
        /// What it says.
        found: String,
        /// The log of the key it was checked against.
        expected: String,
    },
    /// A root that no log has.
    #[error(transparent)]
    Root(#[from] LogError),
}

/// The name of the log that the sink with this key keeps: the checkpoint's origin line and the key's name in its signature.
#[must_use]
pub fn origin(key: &PublicKey) -> String {
    format!("gatepost-sink/{}", &key.id().to_string()[..16])
}

/// A checkpoint whose signature was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    root: LogRoot,
    note: String,
}

impl Checkpoint {
    /// Signs a root with the sink's key.
    #[must_use]
    pub fn sign(root: LogRoot, key: &SigningKey) -> Self {
        let origin = origin(key.public());
        let text = format!("{origin}\n{}\n{}\n", root.size(), root.hash());
        Self { root, note: note::sign(&text, &origin, key) }
    }

    /// Opens a checkpoint that the sink with this key signed. The text has three lines and no more: the specification's
    /// extension lines are optional, and no sink of ours writes any.
    ///
    /// # Errors
    /// When it is not one, or not signed by that key.
    pub fn open(note: &str, key: &PublicKey) -> Result<Self, CheckpointError> {
        let expected = origin(key);
        let text = note::open(note, &expected, key)?;
        let lines: Vec<&str> = text.split('\n').collect();
        let [found, size, hash, ""] = lines.as_slice() else {
            return Err(CheckpointError::Malformed("origin, size and root hash are expected, one line each"));
        };
        if *found != expected {
            return Err(CheckpointError::Origin { found: found.chars().take(80).collect(), expected });
        }
        let malformed = CheckpointError::Malformed;
        let parsed: u64 = size.parse().map_err(|_| malformed("the size is not a decimal number"))?;
        if parsed.to_string() != *size {
            return Err(malformed("the size is not written plainly"));
        }
        let hash: LogHash = hash.parse().map_err(|_| malformed("the root hash is not 32 bytes of base64"))?;
        Ok(Self { root: LogRoot::new(parsed, hash)?, note: note.to_owned() })
    }

    /// What it commits the sink to.
    #[must_use]
    pub fn root(&self) -> LogRoot {
        self.root
    }

    /// How many leaves the log had.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.root.size()
    }

    /// The signed note, as it came.
    #[must_use]
    pub fn note(&self) -> &str {
        &self.note
    }
}

/// That a run is in the sink's log, for whoever has the sink's public key: what is kept beside a receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogProof {
    /// The leaf that stands for the run, from 0.
    pub index: u64,
    /// That this leaf is in the log of the checkpoint.
    pub inclusion: InclusionProof,
    /// The checkpoint, a signed note.
    pub checkpoint: String,
}

impl LogProof {
    /// Checks that the payload with this digest is in the log of the sink with this key, and gives the checkpoint.
    ///
    /// # Errors
    /// When the checkpoint cannot be believed or the proof does not fit it.
    pub fn verify(&self, digest: Digest, key: &PublicKey) -> Result<Checkpoint, CheckpointError> {
        let checkpoint = Checkpoint::open(&self.checkpoint, key)?;
        self.inclusion.verify(&checkpoint.root, self.index, digest)?;
        Ok(checkpoint)
    }
}

/// Two checkpoints with the proof that the later one continues the earlier, for whoever has the sink's public key: a file of
/// an evidence bundle. A chain of them makes one history of all checkpoints in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogLink {
    /// The earlier checkpoint, a signed note.
    pub from: String,
    /// The later one.
    pub to: String,
    /// That the later log only added to the earlier.
    pub consistency: ConsistencyProof,
}

impl LogLink {
    /// The two checkpoints, if the sink with this key signed both. Whether one continues the other is not checked here.
    ///
    /// # Errors
    /// When one of them cannot be believed.
    pub fn open(&self, key: &PublicKey) -> Result<(Checkpoint, Checkpoint), CheckpointError> {
        Ok((Checkpoint::open(&self.from, key)?, Checkpoint::open(&self.to, key)?))
    }

    /// Checks that the sink with this key signed both, and that the later continues the earlier.
    ///
    /// # Errors
    /// When one of them cannot be believed, or the proof does not connect them.
    pub fn verify(&self, key: &PublicKey) -> Result<(Checkpoint, Checkpoint), CheckpointError> {
        let (from, to) = self.open(key)?;
        self.consistency.verify(&from.root, &to.root)?;
        Ok((from, to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&[seed; 32]).unwrap()
    }

    fn root(size: u64) -> LogRoot {
        LogRoot::new(size, LogHash::new([9; 32])).unwrap()
    }

    #[test]
    fn a_checkpoint_is_the_note_of_the_specification() {
        let checkpoint = Checkpoint::sign(root(20_852_163), &key(1));
        let origin = origin(key(1).public());
        let lines: Vec<_> = checkpoint.note().lines().collect();
        assert_eq!(lines[..4], [origin.as_str(), "20852163", "CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=", ""]);
        assert!(lines[4].starts_with(&format!("— {origin} ")), "{lines:?}");
        assert_eq!(lines.len(), 5);
        assert_eq!(Checkpoint::open(checkpoint.note(), key(1).public()).unwrap(), checkpoint);
        assert!(Checkpoint::open(checkpoint.note(), key(2).public()).is_err());
        let empty = Checkpoint::sign(LogRoot::empty(), &key(1));
        assert_eq!(Checkpoint::open(empty.note(), key(1).public()).unwrap().root(), LogRoot::empty());
    }

    #[test]
    fn a_signature_does_not_make_a_checkpoint_of_any_text() {
        let origin = origin(key(1).public());
        let hash = root(1).hash();
        let open = |text: &str| Checkpoint::open(&note::sign(text, &origin, &key(1)), key(1).public());
        assert!(open(&format!("{origin}\n7\n{hash}\n")).is_ok());
        let wrong = [
            format!("{origin}\n7\n"),
            format!("{origin}\n7\n{hash}\nextension\n"),
            format!("{origin}\n7\n{hash}\n\n"),
            format!("{origin}\n7\n{hash}"),
            format!("other\n7\n{hash}\n"),
            format!("{origin}\n07\n{hash}\n"),
            format!("{origin}\n+7\n{hash}\n"),
            format!("{origin}\n-7\n{hash}\n"),
            format!("{origin}\n 7\n{hash}\n"),
            format!("{origin}\n0\n{hash}\n"),
            format!("{origin}\n9007199254740993\n{hash}\n"),
            format!("{origin}\n18446744073709551616\n{hash}\n"),
            format!("{origin}\n7\n{}\n", &hash.to_string()[1..]),
            format!("{origin}\n7\n{hash}=\n"),
            String::new(),
        ];
        for wrong in &wrong {
            assert!(open(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_proof_kept_beside_a_receipt_holds_for_its_own_run_only() {
        let digest = Digest::of(b"run");
        let root = LogRoot::new(1, LogHash::leaf(digest)).unwrap();
        let checkpoint = Checkpoint::sign(root, &key(1)).note().to_owned();
        let proof = LogProof { index: 0, inclusion: InclusionProof::new(vec![]), checkpoint };
        assert_eq!(proof.verify(digest, key(1).public()).unwrap().size(), 1);
        assert!(proof.verify(Digest::of(b"other"), key(1).public()).is_err());
        assert!(proof.verify(digest, key(2).public()).is_err());
        assert!(LogProof { index: 1, ..proof }.verify(digest, key(1).public()).is_err());
    }

    #[test]
    fn a_link_holds_for_its_own_two_checkpoints_only() {
        let leaf = |text: &str| LogHash::leaf(Digest::of(text.as_bytes()));
        let sign = |root: LogRoot, seed: u8| Checkpoint::sign(root, &key(seed)).note().to_owned();
        let one = LogRoot::new(1, leaf("one")).unwrap();
        let mut nodes = std::collections::BTreeMap::new();
        for (size, text) in ["one", "two"].iter().enumerate() {
            let digest = Digest::of(text.as_bytes());
            let added = crate::log::append(size as u64, digest, |id| nodes.get(&id).copied().ok_or(LogError::NotEmpty));
            nodes.extend(added.unwrap());
        }
        let two = crate::log::root(2, |id| nodes.get(&id).copied().ok_or(LogError::NotEmpty)).unwrap();
        let consistency = ConsistencyProof::new(vec![leaf("two")]);
        let link = LogLink { from: sign(one, 1), to: sign(two, 1), consistency };
        let (from, to) = link.verify(key(1).public()).unwrap();
        assert_eq!((from.size(), to.size()), (1, 2));
        assert!(link.open(key(2).public()).is_err());
        let backwards = LogLink { from: link.to.clone(), to: link.from.clone(), ..link.clone() };
        assert!(backwards.open(key(1).public()).is_ok() && backwards.verify(key(1).public()).is_err());
        let other = sign(LogRoot::new(1, leaf("other")).unwrap(), 1);
        assert!(LogLink { from: other, ..link.clone() }.verify(key(1).public()).is_err());
        assert!(LogLink { to: sign(two, 2), ..link }.verify(key(1).public()).is_err());
    }
}
