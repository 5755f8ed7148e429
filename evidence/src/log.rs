//! The transparency log: a Merkle tree over the payload digests a sink accepted, in the order it accepted them.
//!
//! Hashing and proofs are those of RFC 6962, section 2.1, by the crate `ct-merkle`. A leaf is the 32 raw bytes of a payload's
//! SHA-256, so its leaf hash is `SHA-256(0x00 || digest)`. Whoever keeps one [`LogRoot`] can hold a sink to it: an inclusion
//! proof shows that a run is in the tree, a consistency proof that a later tree only added to it.
//!
//! Guarantees: pure; nothing here panics, whatever the proof or the size. The tree itself is somebody else's: functions that
//! make proofs ask for the nodes they need, and only for nodes whose subtree is full, which never change once written.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ct_merkle::{RootHash, indices_for_consistency_proof, indices_for_inclusion_proof};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::id::Digest;

/// The most leaves of a log: what a number in canonical JSON can still hold exactly.
pub const MAX_LOG_SIZE: u64 = 1 << 53;
/// The most hashes of a proof; a log of [`MAX_LOG_SIZE`] needs 54.
pub const MAX_PROOF_HASHES: usize = 64;

/// Why a proof was not made or not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// Beyond [`MAX_LOG_SIZE`].
    #[error("a log of {0} leaves is larger than any there can be")]
    TooLarge(u64),
    /// An empty tree whose hash is not that of nothing.
    #[error("the root of an empty log must be the SHA-256 of nothing")]
    NotEmpty,
    /// A leaf beyond the end.
    #[error("leaf {index} is not in a log of {size} leaves")]
    NoSuchLeaf {
        /// The leaf, from 0.
        index: u64,
        /// The log's size.
        size: u64,
    },
    /// The later tree is the smaller one: history was taken back.
    #[error("the log has {to} leaves where it had {from} before: history was taken back")]
    Shrunk {
        /// The size that was known.
        from: u64,
        /// The size that is claimed now.
        to: u64,
    },
    /// The hashes do not prove that the leaf is in the tree.
    #[error("the proof does not show leaf {index} in the log of {size} leaves")]
    NotIncluded {
        /// The leaf, from 0.
        index: u64,
        /// The log's size.
        size: u64,
    },
    /// The hashes do not prove that the later tree continues the earlier one.
    #[error("the log of {to} leaves does not continue the one of {from}: history was rewritten or forked")]
    NotConsistent {
        /// The earlier size.
        from: u64,
        /// The later size.
        to: u64,
    },
}

impl LogError {
    /// A stable word for programs.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::TooLarge(_) => "log_too_large",
            Self::NotEmpty => "log_not_empty",
            Self::NoSuchLeaf { .. } => "no_such_leaf",
            Self::Shrunk { .. } => "log_shrunk",
            Self::NotIncluded { .. } => "not_included",
            Self::NotConsistent { .. } => "not_consistent",
        }
    }
}

/// The hash of a node of the tree: 32 bytes, standard base64 (RFC 4648, section 4) on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LogHash([u8; 32]);

impl LogHash {
    /// From its bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 raw bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The hash of the leaf that stands for a payload.
    #[must_use]
    pub fn leaf(digest: Digest) -> Self {
        Self(Sha256::new().chain_update([0x00]).chain_update(digest.as_bytes()).finalize().into())
    }

    fn parent(left: Self, right: Self) -> Self {
        Self(Sha256::new().chain_update([0x01]).chain_update(left.0).chain_update(right.0).finalize().into())
    }
}

impl std::str::FromStr for LogHash {
    type Err = LogHashError;

    fn from_str(text: &str) -> Result<Self, LogHashError> {
        let bytes = STANDARD.decode(text).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        bytes.map(Self).ok_or_else(|| LogHashError(text.chars().take(80).collect()))
    }
}

/// Why a text is not a node's hash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a hash of the log: 32 bytes in padded base64 are expected")]
pub struct LogHashError(String);

impl fmt::Display for LogHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for LogHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for LogHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LogHash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for LogHash {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "LogHash".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "contentEncoding": "base64", "pattern": "^[A-Za-z0-9+/]{43}=$"})
    }
}

/// The root of the tree at one size: it fixes every leaf and its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogRoot {
    size: u64,
    hash: LogHash,
}

impl LogRoot {
    /// A root that somebody claims.
    ///
    /// # Errors
    /// When no log has this size, or it is empty and the hash is not that of nothing.
    pub fn new(size: u64, hash: LogHash) -> Result<Self, LogError> {
        match size {
            0 if hash != Self::empty().hash => Err(LogError::NotEmpty),
            0..=MAX_LOG_SIZE => Ok(Self { size, hash }),
            _ => Err(LogError::TooLarge(size)),
        }
    }

    /// The root of a log without leaves.
    #[must_use]
    pub fn empty() -> Self {
        Self { size: 0, hash: LogHash(Sha256::digest([]).into()) }
    }

    /// How many leaves the log has.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// RFC 6962's Merkle Tree Hash.
    #[must_use]
    pub fn hash(&self) -> LogHash {
        self.hash
    }

    fn tree(&self) -> RootHash<Sha256> {
        RootHash::new(self.hash.0.into(), self.size)
    }
}

/// That a leaf is in a log, RFC 6962, section 2.1.1: the hashes beside its path, from the leaf upwards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct InclusionProof(
    #[serde(deserialize_with = "bounded")]
    #[schemars(length(max = MAX_PROOF_HASHES))]
    Vec<LogHash>,
);

impl InclusionProof {
    /// From its hashes.
    #[must_use]
    pub fn new(hashes: Vec<LogHash>) -> Self {
        Self(hashes)
    }

    /// The hashes, from the leaf upwards.
    #[must_use]
    pub fn hashes(&self) -> &[LogHash] {
        &self.0
    }

    /// Checks that leaf `index` of the log with this root stands for the payload with this digest.
    ///
    /// # Errors
    /// When it does not, or the index is beyond the end.
    pub fn verify(&self, root: &LogRoot, index: u64, digest: Digest) -> Result<(), LogError> {
        let size = root.size;
        if index >= size {
            return Err(LogError::NoSuchLeaf { index, size });
        }
        let not_included = LogError::NotIncluded { index, size };
        let proof = ct_merkle::InclusionProof::try_from_bytes(joined(&self.0)).map_err(|_| not_included)?;
        root.tree().verify_inclusion(digest.as_bytes(), index, &proof).map_err(|_| not_included)
    }
}

/// That a later log only added to an earlier one, RFC 6962, section 2.1.2.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ConsistencyProof(
    #[serde(deserialize_with = "bounded")]
    #[schemars(length(max = MAX_PROOF_HASHES))]
    Vec<LogHash>,
);

impl ConsistencyProof {
    /// From its hashes.
    #[must_use]
    pub fn new(hashes: Vec<LogHash>) -> Self {
        Self(hashes)
    }

    /// The hashes, in the RFC's order.
    #[must_use]
    pub fn hashes(&self) -> &[LogHash] {
        &self.0
    }

    /// Checks that the log with root `to` continues the one with root `from`. Every log continues the empty one, and the
    /// proof of that has no hashes.
    ///
    /// # Errors
    /// When it does not, or `to` is the smaller one.
    pub fn verify(&self, from: &LogRoot, to: &LogRoot) -> Result<(), LogError> {
        let (old, new) = (from.size, to.size);
        if old > new {
            return Err(LogError::Shrunk { from: old, to: new });
        }
        let not_consistent = LogError::NotConsistent { from: old, to: new };
        if old == 0 {
            return if self.0.is_empty() { Ok(()) } else { Err(not_consistent) };
        }
        let proof = ct_merkle::ConsistencyProof::try_from_bytes(joined(&self.0)).map_err(|_| not_consistent)?;
        to.tree().verify_consistency(&from.tree(), &proof).map_err(|_| not_consistent)
    }
}

fn joined(hashes: &[LogHash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| hash.0).collect()
}

fn bounded<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<LogHash>, D::Error> {
    let hashes = Vec::deserialize(deserializer)?;
    if hashes.len() > MAX_PROOF_HASHES {
        let detail = format!("a proof of {} hashes; at most {MAX_PROOF_HASHES} are accepted", hashes.len());
        return Err(serde::de::Error::custom(detail));
    }
    Ok(hashes)
}

/// A node whose subtree is full: its hash is fixed for ever, and these are the only nodes that need to be kept.
///
/// The number is that of an array-based tree (RFC 9420, appendix C): leaf `i` is node `2 i`, and a node at level `k` ends in
/// `k` one bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(u64);

impl NodeId {
    /// The number, below twice [`MAX_LOG_SIZE`].
    #[must_use]
    pub fn number(self) -> u64 {
        self.0
    }

    /// The size of the smallest log that has a leaf as high as this node: turns the highest kept node into the size.
    #[must_use]
    pub fn size_from_highest(number: u64) -> u64 {
        number / 2 + 1
    }

    /// The node over the `2^level` leaves from `first` on.
    fn over(first: u64, level: u32) -> Self {
        Self(2 * first + (1 << level) - 1)
    }
}

/// What a log of `size` leaves must keep in addition when a payload is appended: the new leaf, and every node that it fills.
/// `node` gives the hash of a node that is kept.
///
/// # Errors
/// Those of `node`, or when the log is full.
pub fn append<E: From<LogError>>(
    size: u64,
    digest: Digest,
    mut node: impl FnMut(NodeId) -> Result<LogHash, E>,
) -> Result<Vec<(NodeId, LogHash)>, E> {
    if size >= MAX_LOG_SIZE {
        return Err(LogError::TooLarge(size.saturating_add(1)).into());
    }
    let mut hash = LogHash::leaf(digest);
    let mut added = vec![(NodeId::over(size, 0), hash)];
    for level in 0..size.trailing_ones() {
        // The full subtree to the left of what was just filled.
        let first = (size >> (level + 1)) << (level + 1);
        hash = LogHash::parent(node(NodeId::over(first, level))?, hash);
        added.push((NodeId::over(first, level + 1), hash));
    }
    Ok(added)
}

/// The root of a log of `size` leaves.
///
/// # Errors
/// Those of `node`, or when no log has this size.
pub fn root<E: From<LogError>>(size: u64, node: impl FnMut(NodeId) -> Result<LogHash, E>) -> Result<LogRoot, E> {
    let hash = if size == 0 { LogRoot::empty().hash } else { range(0, in_bounds(size)?, node)? };
    Ok(LogRoot { size, hash })
}

/// Proves that leaf `index` is in the log of `size` leaves.
///
/// # Errors
/// Those of `node`, or when there is no such leaf.
pub fn prove_inclusion<E: From<LogError>>(
    size: u64,
    index: u64,
    mut node: impl FnMut(NodeId) -> Result<LogHash, E>,
) -> Result<InclusionProof, E> {
    if index >= in_bounds(size)? {
        return Err(LogError::NoSuchLeaf { index, size }.into());
    }
    let numbers = indices_for_inclusion_proof(size, index);
    numbers.into_iter().map(|number| at(number, size, &mut node)).collect::<Result<_, E>>().map(InclusionProof)
}

/// Proves that the log of `to` leaves continues the one of `from`.
///
/// # Errors
/// Those of `node`, or when `to` is the smaller one.
pub fn prove_consistency<E: From<LogError>>(
    from: u64,
    to: u64,
    mut node: impl FnMut(NodeId) -> Result<LogHash, E>,
) -> Result<ConsistencyProof, E> {
    let additions = in_bounds(to)?.checked_sub(from).ok_or(LogError::Shrunk { from, to })?;
    if from == 0 {
        return Ok(ConsistencyProof::default());
    }
    let numbers = indices_for_consistency_proof(from, additions);
    numbers.into_iter().map(|number| at(number, to, &mut node)).collect::<Result<_, E>>().map(ConsistencyProof)
}

fn in_bounds(size: u64) -> Result<u64, LogError> {
    if size > MAX_LOG_SIZE { Err(LogError::TooLarge(size)) } else { Ok(size) }
}

/// The hash of any node of the array-based tree of `size` leaves; those at its right edge are put together from full ones.
fn at<E>(number: u64, size: u64, node: impl FnMut(NodeId) -> Result<LogHash, E>) -> Result<LogHash, E> {
    let level = number.trailing_ones();
    let first = (number - ((1 << level) - 1)) / 2;
    range(first, size.min(first + (1 << level)), node)
}

/// The hash over the leaves from `first` up to `end`, where `first` is a multiple of a power of two that is no less than
/// their count.
fn range<E>(first: u64, end: u64, mut node: impl FnMut(NodeId) -> Result<LogHash, E>) -> Result<LogHash, E> {
    // Full subtrees from right to left, which is from small to large; there is at least one leaf.
    let mut rest = end - first;
    let mut next = || {
        let level = rest.trailing_zeros();
        rest &= rest - 1;
        node(NodeId::over(first + rest, level)).map(|hash| (hash, rest == 0))
    };
    let (mut hash, mut done) = next()?;
    while !done {
        let left;
        (left, done) = next()?;
        hash = LogHash::parent(left, hash);
    }
    Ok(hash)
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
