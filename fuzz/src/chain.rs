//! Runs of one gateway that arrive in any order, forged or not, against a model that is nothing but a table of what was
//! accepted. What a sink accepts must in the end be one chain, with places missing at most.

use std::collections::BTreeMap;

use gatepost_evidence::chain::{Known, Link, link};
use gatepost_evidence::id::Digest;

use crate::Seeds;
use crate::reader::Reader;

/// What was accepted: by its place, the run and what it names as the one before.
type Accepted = BTreeMap<u64, (Digest, Option<Digest>)>;

/// Three bytes a run: its place, which of the runs that could stand there, and which it names as the one before.
///
/// # Panics
/// When a run's relation is not the model's, or what was accepted is not a chain.
pub fn attack(data: &[u8]) {
    let mut reader = Reader::new(data);
    // Some chains end where numbers do.
    let base = if reader.byte() == b'^' { u64::MAX - 16 } else { 0 };
    let mut accepted = Accepted::new();
    while !reader.is_empty() {
        let seq = base + u64::from(reader.byte() % 16) + 1;
        let digest = run(seq, reader.byte() % 4);
        let prev = match reader.byte() % 6 {
            which @ 0..4 => Some(run(seq - 1, which)),
            4 => None,
            _ => Some(Digest::of(b"nobody")),
        };
        let mut found = link(seq, digest, prev, known(&accepted, seq));
        // `link` knows nothing of what comes after; whoever keeps runs looks at that, as the sink's store does.
        let after = seq.checked_add(1).and_then(|next| accepted.get(&next));
        if found == Link::Late && after.is_some_and(|(_, names)| *names != Some(digest)) {
            found = Link::Fork;
        }
        assert_eq!(found, expected(&accepted, seq, digest, prev), "run {seq} after {accepted:?}");
        if !matches!(found, Link::Fork | Link::Duplicate) {
            accepted.insert(seq, (digest, prev));
        }
    }
    for ((seq, (digest, _)), (next, (_, prev))) in accepted.iter().zip(accepted.iter().skip(1)) {
        assert!(*next != seq + 1 || *prev == Some(*digest), "accepted runs {seq} and {next} are no chain");
    }
}

/// One of the runs that could stand at a place.
fn run(seq: u64, which: u8) -> Digest {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seq.to_be_bytes());
    bytes[8] = which;
    Digest::from_bytes(bytes)
}

/// What a store that holds these runs says.
fn known(accepted: &Accepted, seq: u64) -> Known {
    Known {
        head: accepted.last_key_value().map(|(seq, (digest, _))| (*seq, *digest)),
        at_seq: accepted.get(&seq).map(|(digest, _)| *digest),
        before: accepted.get(&(seq - 1)).map(|(digest, _)| *digest),
    }
}

/// The relations as `docs/evidence-format.md` has them.
fn expected(accepted: &Accepted, seq: u64, digest: Digest, prev: Option<Digest>) -> Link {
    let neighbour = |seq: Option<u64>| seq.and_then(|seq| accepted.get(&seq));
    if let Some((known, _)) = accepted.get(&seq) {
        return if *known == digest { Link::Duplicate } else { Link::Fork };
    }
    let before = neighbour(seq.checked_sub(1));
    let follows = before.is_none_or(|(before, _)| prev == Some(*before));
    let is_named = neighbour(seq.checked_add(1)).is_none_or(|(_, names)| *names == Some(digest));
    if !follows || !is_named {
        return Link::Fork;
    }
    if accepted.keys().any(|known| *known > seq) {
        Link::Late
    } else if before.is_some() || (accepted.is_empty() && seq == 1) {
        Link::Continues
    } else {
        Link::Gap
    }
}

/// A chain in order, one with a gap that is filled, a clone, one that begins late.
#[must_use]
pub fn seeds() -> Seeds {
    let seed = |name: &str, first: u8, runs: &[[u8; 3]]| (name.to_owned(), [&[first][..], &runs.concat()].concat());
    vec![
        seed("order", 0, &[[0, 0, 4], [1, 0, 0], [2, 0, 0], [3, 0, 0]]),
        seed("filled", 0, &[[0, 0, 4], [3, 0, 0], [1, 0, 0], [2, 0, 0]]),
        seed("clone", 0, &[[0, 0, 4], [1, 0, 0], [1, 1, 0], [2, 0, 1], [2, 0, 0], [2, 0, 0]]),
        seed("late", 0, &[[7, 1, 2], [6, 2, 0], [6, 1, 0], [5, 0, 5]]),
        seed("end", b'^', &[[15, 0, 0], [14, 0, 0], [15, 1, 1]]),
    ]
}
