//! Runs of one gateway that arrive in any order, forged or not, against a model that is nothing but a table of what was
//! accepted. What a sink accepts must in the end be one chain, with places missing at most.

use std::collections::BTreeMap;

use gatepost_evidence::chain::{Known, Link, Piece, contradictions, folds_others, link};
use gatepost_evidence::id::{Digest, GatewayId};
use gatepost_evidence::tombstone::{Cause, Tombstone};
use jiff::Timestamp;
use sha2::Digest as _;

use crate::Seeds;
use crate::reader::Reader;

/// What was accepted: by its place, the run and what it names as the one before.
type Accepted = BTreeMap<u64, (Digest, Option<Digest>)>;

/// A first byte of `p` has pieces of a chain, one of `t` a tombstone over runs, anything else runs as they arrive.
///
/// # Panics
/// When one of them does not hold.
pub fn attack(data: &[u8]) {
    match data.split_first() {
        Some((b'p', rest)) => pieces(Reader::new(rest)),
        Some((b't', rest)) => tombstone(Reader::new(rest)),
        _ => arriving(data),
    }
}

/// Six bytes a piece: contradictions are where a look at each pair of pieces finds one, in whatever order they come.
fn pieces(mut reader: Reader<'_>) {
    let mut pieces = Vec::new();
    while !reader.is_empty() && pieces.len() < 24 {
        let from = u64::from(reader.byte() % 6) + 1;
        let to = from + u64::from(reader.byte() % 3);
        let mut digest = |at: u64| Some(reader.byte() % 5).filter(|which| *which < 4).map(|which| run(at, which));
        let (prev, first, last) = (digest(from - 1), digest(from), digest(to));
        // A tombstone that does not know its last run; what it is called is nobody else's name.
        let own = (reader.byte().is_multiple_of(3) && last.is_none()).then(|| run(to + 100, 0));
        let prev = if reader.byte().is_multiple_of(8) { Some(run(from - 1 + 100, 0)) } else { prev };
        pieces.push(Piece { from, to, prev, first, last, own });
    }
    let found = contradictions(&pieces);
    let says = |piece: &Piece, at: u64| {
        let first = piece.first.filter(|_| piece.from == at);
        [first, piece.last.filter(|_| piece.to == at)].into_iter().flatten().collect::<Vec<_>>()
    };
    for at in 0..16 {
        let said: Vec<Digest> = pieces.iter().flat_map(|piece| says(piece, at)).collect();
        let own: Vec<Digest> = pieces.iter().filter(|piece| piece.to == at).filter_map(|piece| piece.own).collect();
        let two = said.iter().any(|one| said.iter().any(|other| one != other));
        let known = !said.is_empty() || !own.is_empty();
        let mut named = pieces.iter().filter(|piece| piece.from == at + 1).filter_map(|piece| piece.prev);
        let wrong = known && named.any(|prev| !said.contains(&prev) && !own.contains(&prev));
        assert_eq!(found.contains(&at), two || wrong, "at {at} of {pieces:?}");
    }
    pieces.reverse();
    assert_eq!(contradictions(&pieces), found, "another order, other contradictions");
}

/// A tombstone folds others exactly when all runs are known that it stands for, and their fold is another.
fn tombstone(mut reader: Reader<'_>) {
    let from = u64::from(reader.byte() % 4) + 1;
    let to = from + u64::from(reader.byte() % 4);
    let count = usize::try_from(to - from + 1).expect("a few");
    let folded: Vec<Digest> = (from..=to).map(|at| run(at, reader.byte() % 2)).collect();
    // SHA-256 by hand: of the first, then of the fold so far and the next.
    let fold = folded.iter().fold(Vec::new(), |mut so_far: Vec<u8>, next| {
        so_far.extend(next.as_bytes());
        sha2::Sha256::digest(&so_far).to_vec()
    });
    let told = !reader.byte().is_multiple_of(4);
    let digest = told.then(|| Digest::from_bytes(fold.try_into().expect("32 bytes")));
    let mut known = BTreeMap::new();
    while !reader.is_empty() {
        let at = u64::from(reader.byte() % 10) + 1;
        known.insert(at, run(at, reader.byte() % 2));
    }
    let stone = Tombstone {
        gateway: GatewayId::new(Digest::of(b"")),
        from_seq: from,
        to_seq: to,
        count: None,
        prev: None,
        digest,
        first_digest: None,
        last_digest: None,
        cause: Cause::Damaged,
        at: Timestamp::UNIX_EPOCH,
    };
    let there: Vec<Digest> = (from..=to).filter_map(|at| known.get(&at).copied()).collect();
    let expected = told && there.len() == count && there != folded;
    assert_eq!(folds_others(&stone, &known), expected, "{from} to {to}, {known:?}");
}

/// Three bytes a run: its place, which of the runs that could stand there, and which it names as the one before.
///
/// # Panics
/// When a run's relation is not the model's, or what was accepted is not a chain.
fn arriving(data: &[u8]) {
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
        // Run 1, a tombstone of 2 to 3 that knows all, run 4; and one that knows nothing, named by the run after it.
        seed("pieces", b'p', &[[0, 0, 4], [0, 0, 1], [1, 1, 1], [0, 0, 0], [1, 1, 3], [0, 0, 0], [0, 1, 1]]),
        seed("unknown", b'p', &[[1, 1, 0], [4, 4, 0], [1, 3, 0], [0, 0, 0], [1, 0, 0]]),
        seed("folded", b't', &[[0, 2, 0], [0, 0, 1], [0, 0, 1], [0, 2, 0]]),
        seed("others", b't', &[[0, 1, 0], [0, 1, 0], [1, 1, 0]]),
    ]
}
