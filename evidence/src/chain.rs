//! The per-gateway hash chain: where a run stands relative to what is already known.
//!
//! Pure: the caller says what it knows (`Known`) and gets the one [`Link`] that holds. Fork, rollback and gap are facts
//! about the gateway, not transport errors: a cloned SD card shows up as a fork. Whether runs and tombstones that may stand
//! for the same places contradict each other is [`contradictions`], the same for whoever takes them in and whoever audits.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::canonical::CanonicalError;
use crate::id::Digest;
use crate::run::Run;
use crate::tombstone::{self, Tombstone};

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

/// What stands in a chain, and which runs it names: a run for its own place, a tombstone for one or more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// The first place.
    pub from: u64,
    /// The last place.
    pub to: u64,
    /// What stands before `from`, as far as it says.
    pub prev: Option<Digest>,
    /// The run at `from`, as far as it is known.
    pub first: Option<Digest>,
    /// The run at `to`, as far as it is known.
    pub last: Option<Digest>,
    /// What the next one may name as its `prev` instead of a run: a tombstone that does not know its last run, itself.
    pub own: Option<Digest>,
}

impl Piece {
    /// A run.
    #[must_use]
    pub fn run(run: &Run, digest: Digest) -> Self {
        let Run { seq, prev, .. } = *run;
        Self { from: seq, to: seq, prev, first: Some(digest), last: Some(digest), own: None }
    }

    /// A tombstone.
    ///
    /// # Errors
    /// When it cannot be written as canonical JSON.
    pub fn tombstone(stone: &Tombstone) -> Result<Self, CanonicalError> {
        let Tombstone { from_seq, to_seq, prev, first_digest, last_digest, .. } = *stone;
        let own = if last_digest.is_none() { Some(stone.link()?) } else { None };
        Ok(Self { from: from_seq, to: to_seq, prev, first: first_digest, last: last_digest, own })
    }
}

/// The places at which `pieces` contradict each other, in order.
///
/// Pieces may overlap: a run may have reached the sink before its gateway buried it, and a tombstone grows. But all that say
/// which run is at a place must say the same, and what comes after must name it, or the tombstone that ends there and does
/// not know it.
#[must_use]
pub fn contradictions<'a>(pieces: impl IntoIterator<Item = &'a Piece>) -> BTreeSet<u64> {
    /// What is said of one place.
    #[derive(Default)]
    struct Said {
        is: BTreeSet<Digest>,
        own: BTreeSet<Digest>,
        named: BTreeSet<Digest>,
    }
    let mut places = BTreeMap::<u64, Said>::new();
    for piece in pieces {
        places.entry(piece.from).or_default().is.extend(piece.first);
        places.entry(piece.to).or_default().is.extend(piece.last);
        places.entry(piece.to).or_default().own.extend(piece.own);
        places.entry(piece.from.saturating_sub(1)).or_default().named.extend(piece.prev);
    }
    let contradicts = |said: &Said| {
        let unknown = said.is.is_empty() && said.own.is_empty();
        let wrong = |named: &Digest| !said.is.contains(named) && !said.own.contains(named);
        said.is.len() > 1 || (!unknown && said.named.iter().any(wrong))
    };
    places.into_iter().filter(|(_, said)| contradicts(said)).map(|(place, _)| place).collect()
}

/// Whether `stone` folds other runs than `known`, which are by place what else is known of its gateway's runs. Only where
/// all that it stands for are known can that be said.
#[must_use]
pub fn folds_others(stone: &Tombstone, known: &BTreeMap<u64, Digest>) -> bool {
    let Some(digest) = stone.digest else { return false };
    let runs = || known.range(stone.from_seq..=stone.to_seq);
    let all = runs().count() as u64 == stone.to_seq - stone.from_seq + 1;
    all && runs().fold(None, |so_far, (_, run)| Some(tombstone::fold(so_far, *run))) != Some(digest)
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

    fn run(seq: u64) -> Piece {
        let own = Some(digest(seq));
        Piece { from: seq, to: seq, prev: (seq > 1).then(|| digest(seq - 1)), first: own, last: own, own: None }
    }

    fn stone(from: u64, to: u64) -> Piece {
        Piece { to, last: Some(digest(to)), ..run(from) }
    }

    fn unknown(from: u64, to: u64, own: u64) -> Piece {
        Piece { first: None, last: None, own: Some(digest(own)), ..stone(from, to) }
    }

    #[test]
    fn what_was_buried_may_be_known_all_the_same() {
        // Runs 3 and 6 came before they were buried; the tombstone grew; what is in the middle is nobody's business.
        let whole = [run(2), run(3), stone(3, 4), stone(3, 6), run(6), run(7)];
        assert!(contradictions(&whole).is_empty());
        // The chain goes on from the tombstone itself, or from the run that the tombstone knows nothing of.
        let mended = Piece { prev: Some(digest(99)), ..run(7) };
        assert!(contradictions(&[run(2), unknown(3, 6, 99), mended]).is_empty());
        assert!(contradictions(&[run(2), unknown(3, 6, 99), run(6), run(7)]).is_empty());
        assert!(contradictions(&[run(2), unknown(3, 6, 99), run(6), mended]).is_empty());
        assert!(contradictions(&[]).is_empty());
    }

    #[test]
    fn whoever_names_another_run_is_found_by_the_place() {
        let other = Some(digest(1000));
        let found = |pieces: &[Piece]| contradictions(pieces).into_iter().collect::<Vec<_>>();
        assert_eq!(found(&[run(2), Piece { prev: other, ..stone(3, 4) }]), [2], "another before");
        assert_eq!(found(&[run(3), Piece { first: other, ..stone(3, 4) }]), [3], "another first");
        assert_eq!(found(&[run(4), Piece { last: other, ..stone(3, 4) }]), [4], "another last");
        assert_eq!(found(&[run(5), Piece { last: other, ..stone(3, 4) }]), [4], "the next one names another");
        assert_eq!(found(&[run(7), unknown(3, 6, 99)]), [6], "neither a run nor the tombstone");
        assert_eq!(found(&[stone(3, 4), stone(5, 6), Piece { prev: other, ..stone(5, 9) }]), [4]);
    }

    #[test]
    fn a_fold_of_other_runs_is_noticed_where_all_are_known() {
        let fold = |places: &[u64]| places.iter().fold(None, |so_far, n| Some(tombstone::fold(so_far, digest(*n))));
        let stone = |folded: Option<Digest>| Tombstone {
            gateway: crate::id::GatewayId::new(digest(0)),
            from_seq: 2,
            to_seq: 4,
            count: Some(3),
            prev: None,
            digest: folded,
            first_digest: Some(digest(2)),
            last_digest: Some(digest(4)),
            cause: tombstone::Cause::NoRoom,
            at: "2026-03-01T10:00:00Z".parse().unwrap(),
        };
        let known: BTreeMap<u64, Digest> = (1..9).map(|n| (n, digest(n))).collect();
        assert!(!folds_others(&stone(fold(&[2, 3, 4])), &known));
        assert!(folds_others(&stone(fold(&[2, 5, 4])), &known));
        assert!(!folds_others(&stone(None), &known));
        let some = known.into_iter().filter(|(place, _)| *place != 3).collect();
        assert!(!folds_others(&stone(fold(&[2, 5, 4])), &some), "then nothing can be said");
    }
}
