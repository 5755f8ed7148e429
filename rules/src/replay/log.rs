//! That runs are in the sink's log, and that all checkpoints inside are one history.
//!
//! Guarantees: a run is only said to be in the log by a proof that leads to a checkpoint which the sink signed; checkpoints
//! are only said to be one history when proofs lead from the first of them to the last. Two histories that contradict each
//! other are broken; two that nothing connects are said to be two.

use std::collections::{BTreeMap, BTreeSet};

use gatepost_evidence::bundle::Kind;
use gatepost_evidence::checkpoint::{Checkpoint, CheckpointError, LogLink};
use gatepost_evidence::id::Digest;
use gatepost_evidence::key::PublicKey;
use gatepost_evidence::log::{LogError, LogHash};
use gatepost_evidence::receipt::Acknowledgement;

use super::{Part, Replay, Runs, Wrong, canonical_json, counted};

/// What is known of the sink's log, by what it signed.
#[derive(Default)]
struct History {
    /// The root hash of the log at each size.
    roots: BTreeMap<u64, LogHash>,
    /// The run that each leaf stands for.
    leaves: BTreeMap<u64, Digest>,
    /// Sizes between which the log was proved to go on, in both directions.
    links: BTreeMap<u64, Vec<u64>>,
}

/// The most histories that are named one by one.
const NAMED: usize = 5;

impl History {
    /// Notes a checkpoint, unless the sink signed another log of this size.
    fn note(&mut self, checkpoint: &Checkpoint) -> Result<(), Wrong> {
        let (size, hash) = (checkpoint.size(), checkpoint.root().hash());
        if *self.roots.entry(size).or_insert(hash) == hash {
            return Ok(());
        }
        Err(("log_forked", format!("the sink signed two different logs of {size} leaves")))
    }

    fn link(&mut self, from: u64, to: u64) {
        self.links.entry(from).or_default().push(to);
        self.links.entry(to).or_default().push(from);
    }

    /// The sizes of the checkpoints, those that proofs connect together; in the order of the smallest of each.
    fn histories(&self) -> Vec<BTreeSet<u64>> {
        let mut histories: Vec<BTreeSet<u64>> = Vec::new();
        let mut met = BTreeSet::new();
        for &size in self.roots.keys() {
            let (mut waiting, mut history) = (vec![size], BTreeSet::new());
            while let Some(size) = waiting.pop() {
                if met.insert(size) {
                    history.insert(size);
                    waiting.extend(self.links.get(&size).into_iter().flatten());
                }
            }
            if !history.is_empty() {
                histories.push(history);
            }
        }
        histories
    }
}

impl Replay<'_> {
    pub(super) fn log(&mut self, runs: &Runs, acknowledgements: &BTreeMap<u64, Acknowledgement>, sink: &PublicKey) {
        let part = Part::Log;
        let mut history = History::default();
        let mut included = 0;
        for (seq, word) in acknowledgements {
            let (Some(proof), Some(run)) = (&word.log, runs.get(seq)) else { continue };
            let subject = Kind::Receipt(*seq).path();
            let checkpoint: Checkpoint = match proof.verify(run.digest(), sink) {
                Ok(checkpoint) => checkpoint,
                Err(error) => {
                    let reason = match error {
                        CheckpointError::Root(LogError::NoSuchLeaf { .. } | LogError::NotIncluded { .. }) => {
                            "not_included"
                        }
                        _ => "bad_checkpoint",
                    };
                    self.broken(part, subject, (reason, error.to_string()));
                    continue;
                }
            };
            if let Err(wrong) = history.note(&checkpoint) {
                self.broken(part, subject, wrong);
            } else if *history.leaves.entry(proof.index).or_insert(run.digest()) != run.digest() {
                let why = format!("the sink proved two different runs for leaf {}", proof.index);
                self.broken(part, subject, ("log_forked", why));
            }
            included += 1;
        }
        self.links(&mut history, sink);
        self.one_history(&history, included);
        if included < acknowledgements.len() {
            let why = format!("{} without a proof that the run is in the log", acknowledgements.len() - included);
            self.not_checked(part, format!("receipts: {why}"));
        } else if included == 0 {
            self.not_checked(part, "there is no receipt");
        }
    }

    /// Checks each proof that one checkpoint continues another.
    fn links(&mut self, history: &mut History, sink: &PublicKey) {
        let sizes = |kind| if let Kind::Consistency(from, to) = kind { Some((from, to)) } else { None };
        for (sizes, (path, content)) in self.of_kind(sizes) {
            let mut check = || -> Result<(), Wrong> {
                let link: LogLink = canonical_json(&content).map_err(|why| ("malformed", why))?;
                let (from, to) = link.open(sink).map_err(|error| ("bad_checkpoint", error.to_string()))?;
                if (from.size(), to.size()) != sizes || sizes.0 >= sizes.1 {
                    return Err(("other_range", format!("it is from {} leaves to {}", from.size(), to.size())));
                }
                history.note(&from)?;
                history.note(&to)?;
                let consistent = link.consistency.verify(&from.root(), &to.root());
                consistent.map_err(|error| ("not_consistent", error.to_string()))?;
                history.link(sizes.0, sizes.1);
                Ok(())
            };
            if let Err(wrong) = check() {
                self.broken(Part::Log, path, wrong);
            }
        }
    }

    /// Says what is known of the log, if nothing of it is broken.
    fn one_history(&mut self, history: &History, included: usize) {
        let part = Part::Log;
        let Some((size, hash)) = history.roots.last_key_value().filter(|_| self.sound(part)) else { return };
        if included > 0 {
            let runs = counted(included, "run");
            let what = format!("{runs} are in the sink's log; its largest checkpoint: {size} leaves, root {hash}");
            self.holds(part, what);
        }
        let histories = history.histories();
        let checkpoints = history.roots.len();
        match histories.as_slice() {
            // One that all proofs lead to needs no link.
            [_] if checkpoints == 1 => {}
            [_] => self.holds(part, format!("{checkpoints} checkpoints are one history")),
            several => {
                let words = several.iter().take(NAMED).map(words).collect::<Vec<_>>().join(", ");
                let more = if several.len() > NAMED { ", and more" } else { "" };
                let why = format!(
                    "whether {checkpoints} checkpoints are one history: they are {}, and nothing in the bundle proves that \
                     one continues another ({words}{more})",
                    several.len()
                );
                self.not_checked(part, why);
            }
        }
    }
}

/// One history, by the sizes of its checkpoints.
fn words(history: &BTreeSet<u64>) -> String {
    match (history.first(), history.last()) {
        (Some(first), Some(last)) if first < last => format!("{first} to {last} leaves"),
        (Some(only), _) => format!("{only} leaves"),
        _ => String::new(),
    }
}
