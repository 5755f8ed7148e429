//! That runs and tombstones follow each other from the first place to the last.
//!
//! Guarantees: each place belongs to one run or one tombstone, or the report names it.

use gatepost_evidence::bundle::Manifest;
use gatepost_evidence::tombstone::Tombstone;
use gatepost_evidence::verify::VerifiedRun;

use super::{Part, Replay, Runs};

impl Replay<'_> {
    pub(super) fn chain(&mut self, manifest: &Manifest, runs: &Runs, tombstones: &[Tombstone]) {
        // Each with its first and last place, what it says came before, and what the next one must say.
        let of_run = |run: &VerifiedRun| (run.run().seq, run.run().seq, run.run().prev, true, run.digest());
        let mut places: Vec<_> = runs.values().map(of_run).collect();
        for tombstone in tombstones {
            // Its canonical form was checked when it was opened.
            let Ok(link) = tombstone.link() else { continue };
            places.push((tombstone.from_seq, tombstone.to_seq, tombstone.prev, tombstone.prev.is_some(), link));
        }
        places.sort_by_key(|place| (place.0, place.1));
        let (mut next, mut before) = (manifest.first_seq, None);
        for (from, to, prev, names_it, link) in places {
            let subject = if from == to { format!("run {from}") } else { format!("runs {from} to {to}") };
            if from < next {
                self.broken(Part::Chain, subject, ("overlap", "the bundle has something else for this place".into()));
            } else if from > next {
                let why = format!("{next} to {} are missing, and no tombstone stands for them", from - 1);
                self.broken(Part::Chain, subject, ("gap", why));
            } else if names_it && before.is_some_and(|before| prev != Some(before)) {
                self.broken(Part::Chain, subject, ("fork", "it does not follow what stands before it".into()));
            }
            (next, before) = (next.max(to + 1), Some(link));
        }
        if next != manifest.last_seq.saturating_add(1) {
            let why = format!("the bundle says it ends with {}, and {next} should come next", manifest.last_seq);
            self.broken(Part::Chain, "the end", ("gap", why));
        }
        let Manifest { first_seq, last_seq, .. } = manifest;
        if self.sound(Part::Chain) {
            self.holds(Part::Chain, format!("{first_seq} to {last_seq} follow each other without a gap"));
        }
        if *first_seq > 1 {
            self.not_checked(Part::Chain, format!("what came before {first_seq}: it is not in the bundle"));
        }
    }
}
