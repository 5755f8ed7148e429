//! What links the checkpoints of a bundle's receipts into one history of the sink's log.
//!
//! Guarantees: pure. A link that does not hold is left out: the spool is believed no more than anyone, and an auditor is told
//! that something is not linked rather than something false.

use std::collections::BTreeSet;

use gatepost_evidence::checkpoint::{Checkpoint, LogLink};
use gatepost_evidence::key::PublicKey;
use gatepost_evidence::receipt::Acknowledgement;

use crate::spool::Seen;

/// The links between the first and the last checkpoint that `words` speak of, each with the sizes that it connects. `seen`
/// is in the order in which the checkpoints came.
pub(super) fn links(seen: &[Seen], words: &[Acknowledgement], sink: &PublicKey) -> Vec<((u64, u64), LogLink)> {
    let root = |checkpoint: &Checkpoint| (checkpoint.size(), *checkpoint.root().hash().as_bytes());
    let notes: BTreeSet<&str> =
        words.iter().filter_map(|word| word.log.as_ref()).map(|log| log.checkpoint.as_str()).collect();
    let wanted: BTreeSet<_> =
        notes.into_iter().filter_map(|note| Checkpoint::open(note, sink).ok()).map(|found| root(&found)).collect();
    let is_wanted =
        |seen: &Seen| Checkpoint::open(&seen.note, sink).is_ok_and(|checkpoint| wanted.contains(&root(&checkpoint)));
    let (Some(first), Some(last)) = (seen.iter().position(is_wanted), seen.iter().rposition(is_wanted)) else {
        return Vec::new();
    };
    let pairs = seen[first..=last].windows(2);
    let link = |pair: &[Seen]| {
        let [from, to] = pair else { return None };
        // What was lost in between, or a new beginning, is no link.
        if to.continues != from.size || from.size >= to.size {
            return None;
        }
        let link = LogLink { from: from.note.clone(), to: to.note.clone(), consistency: to.consistency.clone() };
        link.verify(sink).ok().map(|_| ((from.size, to.size), link))
    };
    pairs.filter_map(link).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use gatepost_evidence::checkpoint::LogProof;
    use gatepost_evidence::envelope::Envelope;
    use gatepost_evidence::id::Digest;
    use gatepost_evidence::key::SigningKey;
    use gatepost_evidence::log::{self, ConsistencyProof, InclusionProof, LogError, LogHash, NodeId};

    fn sink() -> SigningKey {
        SigningKey::from_seed(&[2; 32]).unwrap()
    }

    /// The checkpoints of a log whose leaves begin with `salt`, at each of `sizes`, as a gateway saw them.
    fn seen(salt: &str, sizes: &[u64]) -> Vec<Seen> {
        let mut nodes: BTreeMap<NodeId, LogHash> = BTreeMap::new();
        let last = sizes.last().copied().unwrap_or(0);
        for at in 0..last {
            let leaf = Digest::of(format!("{salt}{at}").as_bytes());
            let added = log::append(at, leaf, |id| nodes.get(&id).copied().ok_or(LogError::TooLarge(0)));
            nodes.extend(added.unwrap());
        }
        let node = |id| nodes.get(&id).copied().ok_or(LogError::TooLarge(0));
        let before = std::iter::once(0).chain(sizes.iter().copied());
        let one = |(continues, &size)| Seen {
            continues,
            size,
            note: Checkpoint::sign(log::root(size, node).unwrap(), &sink()).note().to_owned(),
            consistency: log::prove_consistency(continues, size, node).unwrap(),
        };
        before.zip(sizes).map(one).collect()
    }

    fn words(seen: &[Seen], which: &[usize]) -> Vec<Acknowledgement> {
        let word = |at: &usize| Acknowledgement {
            receipt: Envelope::sign("text/plain", b"kept", &sink()),
            log: Some(LogProof {
                index: 0,
                inclusion: InclusionProof::new(vec![]),
                checkpoint: seen[*at].note.clone(),
            }),
        };
        which.iter().map(word).collect()
    }

    fn sizes(seen: &[Seen], which: &[usize]) -> Vec<(u64, u64)> {
        links(seen, &words(seen, which), sink().public()).into_iter().map(|(sizes, _)| sizes).collect()
    }

    #[test]
    fn what_lies_between_the_first_and_the_last_receipt_is_linked() {
        let seen = seen("a", &[1, 4, 6, 7, 12]);
        assert_eq!(sizes(&seen, &[1, 3]), [(4, 6), (6, 7)]);
        assert_eq!(sizes(&seen, &[3, 0, 3]), [(1, 4), (4, 6), (6, 7)]);
        assert_eq!(sizes(&seen, &[2]), []);
        assert_eq!(sizes(&seen, &[]), []);
        let other = SigningKey::from_seed(&[3; 32]).unwrap();
        assert_eq!(links(&seen, &words(&seen, &[0, 4]), other.public()), []);
    }

    #[test]
    fn what_was_lost_or_does_not_hold_is_no_link() {
        let mut lost = seen("a", &[1, 4, 6, 7, 12]);
        lost.remove(2);
        assert_eq!(sizes(&lost, &[0, 3]), [(1, 4), (7, 12)]);
        let mut altered = seen("a", &[1, 4, 6]);
        altered[2].consistency = ConsistencyProof::default();
        assert_eq!(sizes(&altered, &[0, 2]), [(1, 4)]);
    }

    #[test]
    fn a_new_beginning_is_another_history() {
        let mut both = seen("a", &[1, 4, 6]);
        both.extend(seen("b", &[5, 8]));
        assert_eq!(sizes(&both, &[0, 4]), [(1, 4), (4, 6), (5, 8)]);
        assert_eq!(sizes(&both, &[3, 4]), [(5, 8)]);
    }
}
