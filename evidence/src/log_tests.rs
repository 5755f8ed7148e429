//! The oracle is a tree written down straight from RFC 6962, section 2.1; proofs are checked for every pair of sizes.

use std::collections::BTreeMap;

use super::*;

/// The most leaves that every pair is tried for.
const SIZES: u64 = 130;

/// RFC 6962's Merkle Tree Hash of leaf hashes, by its definition.
fn naive(leaves: &[LogHash]) -> LogHash {
    match leaves {
        [] => LogRoot::empty().hash,
        [leaf] => *leaf,
        _ => {
            let split = leaves.len().next_power_of_two() / 2;
            LogHash::parent(naive(&leaves[..split]), naive(&leaves[split..]))
        }
    }
}

/// A node of a tree with these leaves, by its definition; asking for one that is not full is an error.
fn node(leaves: &[LogHash]) -> impl FnMut(NodeId) -> Result<LogHash, LogError> + use<'_> {
    |id| {
        let level = id.number().trailing_ones();
        let first = usize::try_from((id.number() + 1 - (1 << level)) / 2).unwrap();
        let full = leaves.get(first..first + (1 << level));
        full.map(naive).ok_or(LogError::NoSuchLeaf { index: id.number(), size: leaves.len() as u64 })
    }
}

fn digest(n: u64) -> Digest {
    Digest::of(&n.to_be_bytes())
}

fn leaves(count: u64) -> Vec<LogHash> {
    (0..count).map(|n| LogHash::leaf(digest(n))).collect()
}

fn root_of(size: u64) -> LogRoot {
    LogRoot::new(size, naive(&leaves(size))).unwrap()
}

/// What a sink keeps of a log of this size.
fn kept(size: u64) -> BTreeMap<NodeId, LogHash> {
    let mut kept = BTreeMap::new();
    for at in 0..size {
        let get = |id| kept.get(&id).copied().ok_or(LogError::TooLarge(0));
        let added = append(at, digest(at), get).unwrap();
        kept.extend(added);
    }
    kept
}

fn flipped(hash: LogHash, bit: usize) -> LogHash {
    let mut bytes = *hash.as_bytes();
    bytes[bit / 8] ^= 1 << (bit % 8);
    LogHash::new(bytes)
}

#[test]
fn what_is_kept_grows_into_the_tree_of_the_rfc() {
    let mut kept = BTreeMap::new();
    for size in 0..SIZES {
        let known = kept.clone();
        let get = |id| known.get(&id).copied().ok_or(LogError::TooLarge(0));
        assert_eq!(root(size, get).unwrap(), root_of(size), "{size}");
        for (id, hash) in append(size, digest(size), get).unwrap() {
            assert_eq!(kept.insert(id, hash), None, "a node is written once");
            assert_eq!(node(&leaves(size + 1))(id), Ok(hash));
        }
        let highest = kept.last_key_value().unwrap().0.number();
        assert_eq!(NodeId::size_from_highest(highest), size + 1);
    }
    assert!(kept.len() < 2 * SIZES as usize, "less than two nodes for each leaf");
}

#[test]
fn every_leaf_of_every_size_is_proved_and_no_other() {
    let kept = kept(SIZES);
    let get = |id| kept.get(&id).copied().ok_or(LogError::TooLarge(0));
    for size in 1..=SIZES {
        let root = root_of(size);
        for index in 0..size {
            let proof = prove_inclusion(size, index, get).unwrap();
            assert_eq!(proof.verify(&root, index, digest(index)), Ok(()), "{index} of {size}");
            assert!(proof.verify(&root, index, digest(size)).is_err(), "{index} of {size}: another payload");
            assert!(proof.verify(&root, (index + 1) % size, digest(index)).is_err() || size == 1, "{index} of {size}");
            assert!(proof.hashes().len() <= MAX_PROOF_HASHES);
        }
        assert_eq!(prove_inclusion(size, size, get), Err(LogError::NoSuchLeaf { index: size, size }));
    }
}

#[test]
fn every_size_continues_every_smaller_one_and_no_other_log() {
    let kept = kept(SIZES);
    let get = |id| kept.get(&id).copied().ok_or(LogError::TooLarge(0));
    let roots: Vec<_> = (0..=SIZES + 1).map(root_of).collect();
    let root = |size: u64| roots[size as usize];
    for to in 0..=SIZES {
        for from in 0..=to {
            let proof = prove_consistency(from, to, get).unwrap();
            assert_eq!(proof.verify(&root(from), &root(to)), Ok(()), "{from} to {to}");
            if from > 0 {
                let other = LogRoot::new(from, flipped(root(from).hash, 0)).unwrap();
                assert!(proof.verify(&other, &root(to)).is_err(), "{from} to {to}: another past");
                let other = LogRoot::new(to, flipped(root(to).hash, 255)).unwrap();
                assert!(proof.verify(&root(from), &other).is_err(), "{from} to {to}: another present");
            }
        }
        let shrunk = LogError::Shrunk { from: to + 1, to };
        assert_eq!(prove_consistency(to + 1, to, get), Err(shrunk));
        assert_eq!(ConsistencyProof::default().verify(&root(to + 1), &root(to)), Err(shrunk));
    }
}

#[test]
fn a_log_with_one_leaf_replaced_dropped_or_moved_continues_nothing() {
    let honest = leaves(40);
    let known = LogRoot::new(23, naive(&honest[..23])).unwrap();
    for at in 0..23 {
        let mut replaced = honest.clone();
        replaced[at] = LogHash::leaf(digest(1_000));
        let mut dropped = honest.clone();
        dropped.remove(at);
        let mut moved = honest.clone();
        moved.swap(at, at + 1);
        for forged in [replaced, dropped, moved] {
            let size = forged.len() as u64;
            let claimed = LogRoot::new(size, naive(&forged)).unwrap();
            let proof = prove_consistency(23, size, node(&forged)).unwrap();
            // Moving the last known leaf out is a change of the known part too.
            let expected = LogError::NotConsistent { from: 23, to: size };
            assert_eq!(proof.verify(&known, &claimed), Err(expected), "leaf {at}");
        }
    }
}

#[test]
fn tampered_proofs_prove_nothing() {
    let leaves = leaves(101);
    let (from, to) = (root_of(77), root_of(101));
    let inclusion = prove_inclusion(101, 42, node(&leaves)).unwrap();
    let consistency = prove_consistency(77, 101, node(&leaves)).unwrap();
    let refused = |inclusion: Vec<LogHash>, consistency: Vec<LogHash>, how: &str| {
        assert!(InclusionProof::new(inclusion).verify(&to, 42, digest(42)).is_err(), "inclusion, {how}");
        assert!(ConsistencyProof::new(consistency).verify(&from, &to).is_err(), "consistency, {how}");
    };
    let change = |hashes: &[LogHash], how: &dyn Fn(&mut Vec<LogHash>)| {
        let mut hashes = hashes.to_vec();
        how(&mut hashes);
        hashes
    };
    let both = |how: &dyn Fn(&mut Vec<LogHash>), name: &str| {
        refused(change(inclusion.hashes(), how), change(consistency.hashes(), how), name);
    };
    both(&|hashes| hashes.truncate(hashes.len() - 1), "cut short");
    both(&|hashes| hashes.rotate_left(1), "rotated");
    both(&|hashes| hashes.push(hashes[0]), "longer");
    both(&|hashes| hashes.reverse(), "reversed");
    both(&|hashes| hashes.clear(), "empty");
    for at in 0..inclusion.hashes().len().min(consistency.hashes().len()) {
        for bit in 0..256 {
            both(&|hashes| hashes[at] = flipped(hashes[at], bit), "one bit");
        }
    }
}

#[test]
fn claims_beyond_all_bounds_are_refused_and_nothing_panics() {
    let hash = LogHash::new([7; 32]);
    assert_eq!(LogRoot::new(u64::MAX, hash), Err(LogError::TooLarge(u64::MAX)));
    assert_eq!(LogRoot::new(0, hash), Err(LogError::NotEmpty));
    let largest = LogRoot::new(MAX_LOG_SIZE, hash).unwrap();
    for length in [0, 1, 53, 54, 200] {
        let hashes = vec![hash; length];
        for index in [0, 1, MAX_LOG_SIZE - 1, MAX_LOG_SIZE, u64::MAX] {
            assert!(InclusionProof::new(hashes.clone()).verify(&largest, index, digest(0)).is_err());
        }
        for from in [1, 2, 3, MAX_LOG_SIZE / 2, MAX_LOG_SIZE - 1] {
            let from = LogRoot::new(from, hash).unwrap();
            assert!(ConsistencyProof::new(hashes.clone()).verify(&from, &largest).is_err());
        }
    }
    let any = |_| Ok::<_, LogError>(hash);
    assert!(prove_inclusion(MAX_LOG_SIZE, MAX_LOG_SIZE - 1, any).unwrap().hashes().len() <= MAX_PROOF_HASHES);
    assert!(prove_consistency(MAX_LOG_SIZE - 1, MAX_LOG_SIZE, any).unwrap().hashes().len() <= MAX_PROOF_HASHES);
    assert!(append(MAX_LOG_SIZE - 1, digest(0), any).is_ok());
    assert_eq!(append(MAX_LOG_SIZE, digest(0), any), Err(LogError::TooLarge(MAX_LOG_SIZE + 1)));
    assert!(root(u64::MAX, any).is_err() && prove_inclusion(u64::MAX, 0, any).is_err());
    assert!(prove_consistency(0, u64::MAX, any).is_err());
}

#[test]
fn proofs_are_lists_of_base64_and_bounded() {
    let proof = InclusionProof::new(vec![LogHash::new([0; 32])]);
    let json = serde_json::to_string(&proof).unwrap();
    assert_eq!(json, format!("[\"{}=\"]", "A".repeat(43)));
    assert_eq!(serde_json::from_str::<InclusionProof>(&json).unwrap(), proof);
    let long = serde_json::to_string(&vec![LogHash::new([0; 32]); MAX_PROOF_HASHES + 1]).unwrap();
    assert!(serde_json::from_str::<ConsistencyProof>(&long).unwrap_err().to_string().contains("at most 64"));
    for wrong in ["\"\"", "\"AAAA\"", &format!("\"{}\"", "A".repeat(43)), &format!("\"{}B=\"", "A".repeat(42))] {
        assert!(serde_json::from_str::<LogHash>(wrong).is_err(), "{wrong}");
    }
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// The reference leaves, roots and proofs that Certificate Transparency's implementations share
/// (`transparency-dev/merkle`, `testonly/reference_test.go`).
#[test]
fn the_published_vectors_hold() {
    let inputs = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
    let leaf = |text: &&str| LogHash::new(Sha256::new().chain_update([0]).chain_update(hex(text)).finalize().into());
    let leaves: Vec<_> = inputs.iter().map(leaf).collect();
    let roots = [
        (0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        (1, "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"),
        (2, "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"),
        (4, "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"),
        (8, "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"),
    ];
    for (size, expected) in roots {
        assert_eq!(root(size, node(&leaves)).unwrap().hash.as_bytes(), hex(expected).as_slice(), "{size}");
    }
    let inclusion = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b\
                     ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0\
                     d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7";
    assert_eq!(joined(prove_inclusion(8, 5, node(&leaves)).unwrap().hashes()), hex(inclusion));
    let consistency = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a\
                       ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0\
                       d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7";
    assert_eq!(joined(prove_consistency(6, 8, node(&leaves)).unwrap().hashes()), hex(consistency));
    let consistency = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e\
                       bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b";
    assert_eq!(joined(prove_consistency(2, 5, node(&leaves[..5])).unwrap().hashes()), hex(consistency));
}
