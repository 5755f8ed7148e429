//! That runs are in the sink's log, and that its checkpoints agree.
//!
//! Guarantees: a run is only said to be in the log by a proof that leads to a checkpoint which the sink signed.

use std::collections::BTreeMap;

use gatepost_evidence::bundle::Kind;
use gatepost_evidence::checkpoint::{Checkpoint, CheckpointError};
use gatepost_evidence::id::Digest;
use gatepost_evidence::key::PublicKey;
use gatepost_evidence::log::{LogError, LogHash};
use gatepost_evidence::receipt::Acknowledgement;

use super::{Part, Replay, Runs, counted};

impl Replay<'_> {
    pub(super) fn log(&mut self, runs: &Runs, acknowledgements: &BTreeMap<u64, Acknowledgement>, sink: &PublicKey) {
        let part = Part::Log;
        let (mut roots, mut leaves) = (BTreeMap::<u64, LogHash>::new(), BTreeMap::<u64, Digest>::new());
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
            let (size, hash) = (checkpoint.size(), checkpoint.root().hash());
            if *roots.entry(size).or_insert(hash) != hash {
                let why = format!("the sink signed two different logs of {size} leaves");
                self.broken(part, subject, ("log_forked", why));
            } else if *leaves.entry(proof.index).or_insert(run.digest()) != run.digest() {
                let why = format!("the sink proved two different runs for leaf {}", proof.index);
                self.broken(part, subject, ("log_forked", why));
            }
            included += 1;
        }
        if self.sound(part)
            && let Some((size, hash)) = roots.last_key_value()
        {
            let runs = counted(included, "run");
            self.holds(
                part,
                format!("{runs} are in the sink's log; its newest checkpoint: {size} leaves, root {hash}"),
            );
        }
        if roots.len() > 1 {
            let why =
                format!("whether {} checkpoints continue each other: no proof of it is kept in a bundle", roots.len());
            self.not_checked(part, why);
        }
        if included < acknowledgements.len() {
            let why = format!("{} without a proof that the run is in the log", acknowledgements.len() - included);
            self.not_checked(part, format!("receipts: {why}"));
        } else if included == 0 {
            self.not_checked(part, "there is no receipt");
        }
    }
}
