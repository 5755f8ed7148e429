//! Proofs of the transparency log, against the verification algorithms of RFC 9162, sections 2.1.3.2 and 2.1.4.2, written
//! down here a second time: whatever the numbers and hashes, both must come to the same verdict.

use std::collections::BTreeMap;

use gatepost_evidence::id::Digest;
use gatepost_evidence::log::{
    self, ConsistencyProof, InclusionProof, LogError, LogHash, LogRoot, MAX_LOG_SIZE, NodeId,
};
use sha2::{Digest as _, Sha256};

use crate::Seeds;
use crate::reader::Reader;

/// The most leaves of a log that is really built.
const LEAVES: u64 = 70;

/// A proof that is made holds, and one that holds would have been made.
///
/// # Panics
/// When that is not so.
pub fn attack(data: &[u8]) {
    let mut reader = Reader::new(data);
    match reader.byte() % 3 {
        0 => made(&mut reader),
        1 => inclusion(&mut reader),
        _ => consistency(&mut reader),
    }
}

fn leaf(number: u64) -> Digest {
    Digest::of(&number.to_be_bytes())
}

fn parent(left: LogHash, right: LogHash) -> LogHash {
    let mut hash = Sha256::new();
    hash.update([1]);
    hash.update(left.as_bytes());
    hash.update(right.as_bytes());
    LogHash::new(hash.finalize().into())
}

/// RFC 6962, section 2.1, as it is written there.
fn tree_hash(leaves: &[LogHash]) -> LogHash {
    match leaves {
        [] => LogRoot::empty().hash(),
        [one] => *one,
        many => {
            let middle = many.len().next_power_of_two() / 2;
            parent(tree_hash(&many[..middle]), tree_hash(&many[middle..]))
        }
    }
}

/// A log that is built leaf by leaf, and every proof of it that is asked for.
fn made(reader: &mut Reader<'_>) {
    let size = u64::from(reader.byte()) % (LEAVES + 1);
    let (old, index) = (u64::from(reader.byte()), u64::from(reader.byte()));
    let mut nodes: BTreeMap<NodeId, LogHash> = BTreeMap::new();
    let leaves: Vec<LogHash> = (0..size).map(|number| LogHash::leaf(leaf(number))).collect();
    for number in 0..size {
        let added = log::append(number, leaf(number), |node| Ok::<_, LogError>(nodes[&node]));
        nodes.extend(added.expect("there is room"));
    }
    let node = |node: NodeId| Ok::<_, LogError>(nodes[&node]);
    let root = log::root(size, node).expect("the size is in bounds");
    assert_eq!(root.hash(), tree_hash(&leaves));
    match log::prove_inclusion(size, index, node) {
        Ok(proof) => {
            assert!(index < size);
            assert_eq!(proof.verify(&root, index, leaf(index)), Ok(()));
            assert!(proof.verify(&root, index, leaf(index + 1)).is_err());
        }
        Err(_) => assert!(index >= size),
    }
    match log::prove_consistency(old, size, node) {
        Ok(proof) => {
            let older = LogRoot::new(old, tree_hash(&leaves[..old as usize])).expect("an older root");
            assert_eq!(proof.verify(&older, &root), Ok(()));
        }
        Err(_) => assert!(old > size),
    }
}

/// A hash of the fuzzer's choice, of few.
fn hash(reader: &mut Reader<'_>) -> LogHash {
    LogHash::new([reader.byte(); 32])
}

fn hashes(reader: &mut Reader<'_>) -> Vec<LogHash> {
    let count = reader.byte() % 70;
    (0..count).map(|_| hash(reader)).collect()
}

/// A number that is often small, and sometimes at the edge of what there is.
fn number(reader: &mut Reader<'_>) -> u64 {
    match reader.byte() {
        small @ 0..200 => u64::from(small),
        200..210 => MAX_LOG_SIZE - u64::from(reader.byte()),
        _ => reader.long(),
    }
}

fn inclusion(reader: &mut Reader<'_>) {
    let (size, index, digest) = (number(reader), number(reader), leaf(number(reader)));
    let (claimed, path) = (hash(reader), hashes(reader));
    let reached = walk_inclusion(size, index, LogHash::leaf(digest), &path);
    // Either a root that the fuzzer claims, or the one that the proof leads to.
    let claims = [Some(claimed), reached];
    for claimed in claims.into_iter().flatten() {
        let Ok(root) = LogRoot::new(size, claimed) else { continue };
        let found = InclusionProof::new(path.clone()).verify(&root, index, digest);
        assert_eq!(found.is_ok(), reached == Some(claimed), "{size} {index} {found:?}");
    }
}

/// The root to which a proof of inclusion leads, if it has the right length.
fn walk_inclusion(size: u64, index: u64, leaf: LogHash, path: &[LogHash]) -> Option<LogHash> {
    if index >= size {
        return None;
    }
    let (mut at, mut last, mut hash) = (index, size - 1, leaf);
    for beside in path {
        if last == 0 {
            return None;
        }
        if at % 2 == 1 || at == last {
            hash = parent(*beside, hash);
            while at % 2 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            hash = parent(hash, *beside);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    (last == 0).then_some(hash)
}

fn consistency(reader: &mut Reader<'_>) {
    let (old, new) = (number(reader), number(reader));
    let (old_hash, new_hash, path) = (hash(reader), hash(reader), hashes(reader));
    let reached = walk_consistency(old, new, old_hash, &path);
    let mut claims = vec![(old_hash, new_hash), (old_hash, old_hash)];
    claims.extend(reached);
    for (old_hash, new_hash) in claims {
        let (Ok(from), Ok(to)) = (LogRoot::new(old, old_hash), LogRoot::new(new, new_hash)) else { continue };
        let found = ConsistencyProof::new(path.clone()).verify(&from, &to);
        let expected = match (old, path.as_slice()) {
            _ if old > new => false,
            (0, path) => path.is_empty(),
            (_, path) if old == new => path.is_empty() && old_hash == new_hash,
            _ => walk_consistency(old, new, old_hash, &path) == Some((old_hash, new_hash)),
        };
        assert_eq!(found.is_ok(), expected, "{old} {new} {found:?}");
    }
}

/// The two roots to which a proof of consistency leads, if it has the right length; for `0 < old < new`.
fn walk_consistency(old: u64, new: u64, old_hash: LogHash, path: &[LogHash]) -> Option<(LogHash, LogHash)> {
    if old == 0 || old >= new {
        return None;
    }
    let path: Vec<LogHash> = if old.is_power_of_two() {
        std::iter::once(old_hash).chain(path.iter().copied()).collect()
    } else {
        path.to_vec()
    };
    let (mut at, mut last) = (old - 1, new - 1);
    while at % 2 == 1 {
        (at, last) = (at >> 1, last >> 1);
    }
    let (first, rest) = path.split_first()?;
    let (mut from, mut to) = (*first, *first);
    for beside in rest {
        if last == 0 {
            return None;
        }
        if at % 2 == 1 || at == last {
            (from, to) = (parent(*beside, from), parent(*beside, to));
            while at % 2 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            to = parent(to, *beside);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    (last == 0).then_some((from, to))
}

/// Sizes at the edges of powers of two, with paths of the right length.
#[must_use]
pub fn seeds() -> Seeds {
    let mut seeds = Seeds::new();
    for size in [0, 1, 2, 7, 8, 9, 64, 70] {
        seeds.push((format!("made-{size}"), vec![0, size, size / 2, size.saturating_sub(1)]));
    }
    for (size, index, length) in [(1, 0, 0), (2, 1, 1), (7, 6, 2), (8, 3, 3), (9, 8, 1), (9, 0, 4), (100, 50, 7)] {
        let head = [1, size, index, index, 5, length];
        seeds.push((format!("inclusion-{size}-{index}"), [&head[..], &[7; 8][..length as usize]].concat()));
    }
    for (old, new, length) in [(1, 2, 1), (4, 8, 1), (3, 7, 4), (6, 8, 3), (7, 9, 5), (8, 8, 0), (0, 5, 0)] {
        let head = [2, old, new, 7, 9, length];
        seeds.push((format!("consistency-{old}-{new}"), [&head[..], &[7; 8][..length as usize]].concat()));
    }
    let far = [&[1, 200, 3, 255][..], &[0, 0, 0, 0, 0, 1, 2, 3], &[0, 5, 53], &[9; 53]].concat();
    seeds.push(("far".into(), far));
    seeds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_implementation_takes_what_the_first_one_proves() {
        let mut nodes: BTreeMap<NodeId, LogHash> = BTreeMap::new();
        for number in 0..LEAVES {
            nodes.extend(log::append(number, leaf(number), |node| Ok::<_, LogError>(nodes[&node])).unwrap());
        }
        let node = |node: NodeId| Ok::<_, LogError>(nodes[&node]);
        let hash = |size: u64| log::root(size, node).unwrap().hash();
        for size in 1..=LEAVES {
            for index in 0..size {
                let proof = log::prove_inclusion(size, index, node).unwrap();
                let reached = walk_inclusion(size, index, LogHash::leaf(leaf(index)), proof.hashes());
                assert_eq!(reached, Some(hash(size)));
                if index > 0 {
                    let proof = log::prove_consistency(index, size, node).unwrap();
                    let reached = walk_consistency(index, size, hash(index), proof.hashes());
                    assert_eq!(reached, Some((hash(index), hash(size))));
                }
            }
        }
    }
}
