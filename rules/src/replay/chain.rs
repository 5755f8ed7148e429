//! That runs and tombstones follow each other from the first place to the last.
//!
//! Guarantees: each place has a run or a tombstone that stands for it, and nothing names another run than is there, or the
//! report says where. Where a place has both, the run is what counts.

use gatepost_evidence::bundle::Manifest;
use gatepost_evidence::chain::{self, Piece};
use gatepost_evidence::tombstone::Tombstone;

use super::{Part, Replay, Runs, counted};

impl Replay<'_> {
    pub(super) fn chain(&mut self, manifest: &Manifest, runs: &Runs, tombstones: &[Tombstone]) {
        let mut pieces: Vec<_> = runs.values().map(|run| Piece::run(run.run(), run.digest())).collect();
        // The canonical form of each was checked when it was opened.
        pieces.extend(tombstones.iter().filter_map(|stone| Piece::tombstone(stone).ok()));
        pieces.sort_by_key(|piece| (piece.from, piece.to));
        let mut next = manifest.first_seq;
        for piece in &pieces {
            if piece.from > next {
                let why = format!("{next} to {} are missing, and no tombstone stands for them", piece.from - 1);
                self.broken(Part::Chain, format!("place {}", piece.from), ("gap", why));
            }
            next = next.max(piece.to.saturating_add(1));
        }
        if next != manifest.last_seq.saturating_add(1) {
            let why = format!("the bundle says it ends with {}, and {next} should come next", manifest.last_seq);
            self.broken(Part::Chain, "the end", ("gap", why));
        }
        for place in chain::contradictions(&pieces) {
            let why = "what stands there, what begins or ends there and what comes after name different runs";
            self.broken(Part::Chain, format!("place {place}"), ("fork", why.to_owned()));
        }
        let known = runs.iter().map(|(seq, run)| (*seq, run.digest())).collect();
        for stone in tombstones.iter().filter(|stone| chain::folds_others(stone, &known)) {
            let why = "the tombstone folds other runs than those that are there".to_owned();
            self.broken(Part::Chain, format!("places {} to {}", stone.from_seq, stone.to_seq), ("fork", why));
        }
        let Manifest { first_seq, last_seq, .. } = manifest;
        if self.sound(Part::Chain) {
            self.holds(Part::Chain, format!("{first_seq} to {last_seq} follow each other without a gap"));
            let both = |stone: &&Tombstone| runs.range(stone.from_seq..=stone.to_seq).next().is_some();
            for Tombstone { from_seq, to_seq, .. } in tombstones.iter().filter(both) {
                let there = runs.range(from_seq..=to_seq).count();
                let runs = counted(there, "run");
                self.holds(Part::Chain, format!("{runs} of {from_seq} to {to_seq} here all the same, and counted"));
            }
        }
        if *first_seq > 1 {
            self.not_checked(Part::Chain, format!("what came before {first_seq}: it is not in the bundle"));
        }
    }
}
