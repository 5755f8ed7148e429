//! The per-gateway hash chain: where a run stands relative to what is already known.
//!
//! Pure: the caller says what it knows (`Known`) and gets the one [`Link`] that holds. Fork, rollback and gap are facts
//! about the gateway, not transport errors: a cloned SD card shows up as a fork.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::Digest;

/// What is already known about a gateway's chain when a run arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// The highest `seq` that was accepted, and its digest; none before the first.
    pub head: Option<(u64, Digest)>,
    /// The digest already accepted at the arriving run's `seq`, if any.
    pub at_seq: Option<Digest>,
    /// The digest already accepted at the `seq` before the arriving run's, if any.
    pub before: Option<Digest>,
}

/// How an arriving run relates to what is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Link {
    /// It continues the chain, or begins it.
    Continues,
    /// This very run is known already.
    Duplicate,
    /// Another run is known at the same `seq`, or its predecessor is not the one known.
    Fork,
    /// Runs between the known head and this one are missing.
    Gap,
    /// It lies before the known head at a place where nothing was known: an older state came back or a gap is filled.
    Late,
}

/// Where a run with this `seq`, `digest` and `prev` stands.
#[must_use]
pub fn link(seq: u64, digest: Digest, prev: Option<Digest>, known: Known) -> Link {
    match known.at_seq {
        Some(at_seq) if at_seq == digest => return Link::Duplicate,
        Some(_) => return Link::Fork,
        None => {}
    }
    if known.before.is_some_and(|before| prev != Some(before)) {
        return Link::Fork;
    }
    match known.head {
        None if seq == 1 => Link::Continues,
        None => Link::Gap,
        Some((head, _)) if seq <= head => Link::Late,
        Some((head, _)) if seq == head + 1 => Link::Continues,
        Some(_) => Link::Gap,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(n: u64) -> Digest {
        Digest::of(&n.to_be_bytes())
    }

    fn known(head: u64) -> Known {
        Known { head: Some((head, digest(head))), at_seq: None, before: Some(digest(head)) }
    }

    #[test]
    fn each_relation_has_its_name() {
        let nothing = Known { head: None, at_seq: None, before: None };
        assert_eq!(link(1, digest(1), None, nothing), Link::Continues);
        assert_eq!(link(5, digest(5), Some(digest(4)), nothing), Link::Gap);
        assert_eq!(link(4, digest(4), Some(digest(3)), known(3)), Link::Continues);
        assert_eq!(link(4, digest(4), Some(digest(9)), known(3)), Link::Fork);
        assert_eq!(link(6, digest(6), Some(digest(5)), Known { before: None, ..known(3) }), Link::Gap);
        let again = Known { at_seq: Some(digest(3)), before: Some(digest(2)), ..known(3) };
        assert_eq!(link(3, digest(3), Some(digest(2)), again), Link::Duplicate);
        assert_eq!(link(3, digest(8), Some(digest(2)), again), Link::Fork);
        let filled = Known { at_seq: None, before: Some(digest(1)), ..known(3) };
        assert_eq!(link(2, digest(2), Some(digest(1)), filled), Link::Late);
    }
}
