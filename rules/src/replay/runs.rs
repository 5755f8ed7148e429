//! What the gateway signed: its runs, and its tombstones for those that are gone.
//!
//! Guarantees: only what opened with the gateway's key and stands at the place of its file's name is handed on.

use gatepost_evidence::bundle::Kind;
use gatepost_evidence::envelope::Envelope;
use gatepost_evidence::key::PublicKey;
use gatepost_evidence::tombstone::Tombstone;
use gatepost_evidence::verify::VerifiedRun;

use super::{Part, Replay, Runs, counted};

impl Replay<'_> {
    pub(super) fn runs(&mut self, gateway: &PublicKey) -> Runs {
        let part = Part::Runs;
        let mut runs = Runs::new();
        for (seq, (path, content)) in self.of_kind(|kind| if let Kind::Run(seq) = kind { Some(seq) } else { None }) {
            let opened = Envelope::parse(&content).map_err(|error| (error.reason(), error.to_string()));
            let opened = opened.and_then(|envelope| {
                VerifiedRun::open(&envelope, gateway).map_err(|error| (error.reason(), error.to_string()))
            });
            match opened {
                Ok(run) if run.run().seq == seq => drop(runs.insert(seq, run)),
                Ok(run) => self.broken(part, path, ("other_seq", format!("it is run {}", run.run().seq))),
                Err(wrong) => self.broken(part, path, wrong),
            }
        }
        if self.sound(part) {
            self.holds(part, format!("{} are signed by the gateway they speak of", counted(runs.len(), "run")));
        }
        runs
    }

    pub(super) fn tombstones(&mut self, gateway: &PublicKey) -> Vec<Tombstone> {
        let part = Part::Tombstones;
        let range = |kind| if let Kind::Tombstone(from, to) = kind { Some((from, to)) } else { None };
        let mut tombstones = Vec::new();
        for (range, (path, content)) in self.of_kind(range) {
            let opened = Envelope::parse(&content).and_then(|envelope| Tombstone::open(&envelope, gateway));
            match opened {
                Ok(tombstone) if (tombstone.from_seq, tombstone.to_seq) == range => tombstones.push(tombstone),
                Ok(tombstone) => {
                    let why = format!("it stands for {} to {}", tombstone.from_seq, tombstone.to_seq);
                    self.broken(part, path, ("other_range", why));
                }
                Err(error) => self.broken(part, path, (error.reason(), error.to_string())),
            }
        }
        for tombstone in &tombstones {
            let Tombstone { from_seq, to_seq, cause, .. } = tombstone;
            self.holds(part, format!("the gateway signed that runs {from_seq} to {to_seq} are gone: {cause}"));
        }
        tombstones
    }
}
