//! The sink's word for each run.
//!
//! Guarantees: only a receipt that opened with the sink's key and names the very run is handed on. Runs without one are
//! counted and said to be unchecked.

use std::collections::BTreeMap;

use gatepost_evidence::bundle::Kind;
use gatepost_evidence::key::PublicKey;
use gatepost_evidence::receipt::{Acknowledgement, Receipt};

use super::{Part, Replay, Runs, Wrong, counted};

impl Replay<'_> {
    pub(super) fn receipts(&mut self, runs: &Runs, sink: &PublicKey) -> BTreeMap<u64, Acknowledgement> {
        let part = Part::Receipts;
        let mut acknowledgements = BTreeMap::new();
        for (seq, (path, content)) in self.of_kind(|kind| if let Kind::Receipt(seq) = kind { Some(seq) } else { None })
        {
            let check = || -> Result<Acknowledgement, Wrong> {
                let word = Acknowledgement::parse(&content).map_err(|error| (error.reason(), error.to_string()))?;
                let receipt =
                    Receipt::open(&word.receipt, sink).map_err(|error| (error.reason(), error.to_string()))?;
                let run = runs.get(&seq).ok_or_else(|| ("no_run", format!("run {seq} is not in the bundle")))?;
                if (receipt.gateway, receipt.seq, receipt.digest) != (run.run().gateway.id, seq, run.digest()) {
                    return Err(("other_run", format!("it is for run {} {}", receipt.seq, receipt.digest)));
                }
                Ok(word)
            };
            match check() {
                Ok(word) => drop(acknowledgements.insert(seq, word)),
                Err(wrong) => self.broken(part, path, wrong),
            }
        }
        if self.sound(part) {
            self.holds(part, format!("the sink signed for {}", counted(acknowledgements.len(), "run")));
            let without = runs.len().saturating_sub(acknowledgements.len());
            if without > 0 {
                let why = format!("whether the sink has {} more: they have no receipt", counted(without, "run"));
                self.not_checked(part, why);
            }
        }
        acknowledgements
    }
}
