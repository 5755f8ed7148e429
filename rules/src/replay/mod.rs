//! Replaying an evidence bundle: what holds of what it says, what does not, and what could not be checked.
//!
//! Signatures, identity, chain, receipts and the sink's log are checked with the keys that the auditor gave, or else with
//! those inside; then every verdict that the maker claims is judged again under the packs inside. The checks are made in a
//! fixed order, so that two verifiers name the same first reason. `docs/evidence-format.md` has the order and the words;
//! each file here checks one part, or two that go together.
//!
//! Guarantees: pure, no clock, no network, no folder. Nothing that was not looked at is said to hold.

mod chain;
mod keys;
mod log;
mod manifest;
mod receipts;
mod rotations;
mod runs;
mod verdicts;

use std::collections::BTreeMap;

use gatepost_evidence::archive::Files;
use gatepost_evidence::bundle::{Kind, Maker};
use gatepost_evidence::canonical;
use gatepost_evidence::id::GatewayId;
use gatepost_evidence::key::PublicKey;
use gatepost_evidence::verify::VerifiedRun;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Whom the auditor knows from elsewhere.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// The gateway's identity.
    pub gateway: Option<GatewayId>,
    /// The sink's key.
    pub sink: Option<PublicKey>,
}

/// What is checked, in the order in which it is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The manifest, and that its files and no others are there.
    Manifest,
    /// Whose keys are inside.
    Keys,
    /// Which key of the gateway signs where.
    Rotations,
    /// The maker's signature of the manifest.
    Seal,
    /// The signature, identity and shape of each run.
    Runs,
    /// The signature and shape of each tombstone.
    Tombstones,
    /// That runs and tombstones follow each other without a gap.
    Chain,
    /// The sink's word for each run.
    Receipts,
    /// That runs are in the sink's log, and that its checkpoints agree.
    Log,
    /// That packs load and are those they are named.
    Packs,
    /// That each verdict comes out again.
    Verdicts,
}

impl Part {
    /// All of them, in order.
    pub const ALL: [Self; 11] = [
        Self::Manifest,
        Self::Keys,
        Self::Rotations,
        Self::Seal,
        Self::Runs,
        Self::Tombstones,
        Self::Chain,
        Self::Receipts,
        Self::Log,
        Self::Packs,
        Self::Verdicts,
    ];
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Manifest => "manifest",
            Self::Keys => "keys",
            Self::Rotations => "rotations",
            Self::Seal => "seal",
            Self::Runs => "runs",
            Self::Tombstones => "tombstones",
            Self::Chain => "chain",
            Self::Receipts => "receipts",
            Self::Log => "log",
            Self::Packs => "packs",
            Self::Verdicts => "verdicts",
        })
    }
}

/// What came out of a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum Finding {
    /// It was looked at and is as it should be.
    Holds {
        /// What does.
        what: String,
    },
    /// It was looked at and is not as it should be.
    Broken {
        /// A stable word for programs.
        reason: &'static str,
        /// The file, or the place in the chain.
        subject: String,
        /// What is wrong, for people.
        detail: String,
    },
    /// It could not be looked at.
    NotChecked {
        /// Why not.
        why: String,
    },
}

/// One line of a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was checked.
    pub check: Part,
    /// What came out.
    #[serde(flatten)]
    pub finding: Finding,
}

/// What came out of replaying a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether nothing is broken.
    pub holds: bool,
    /// The reason of the first broken check.
    pub reason: Option<&'static str>,
    /// What the bundle says of itself, its files left out.
    pub manifest: Option<About>,
    /// The identity of the gateway's key that was used.
    pub gateway_key: Option<GatewayId>,
    /// Whether the auditor named it.
    pub gateway_key_given: bool,
    /// The SHA-256 of the sink's key that was used.
    pub sink_key: Option<GatewayId>,
    /// Whether the auditor gave it.
    pub sink_key_given: bool,
    /// Every check, in order.
    pub checks: Vec<Check>,
}

/// What a bundle says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct About {
    /// Whose runs these are.
    pub gateway: GatewayId,
    /// Who made it.
    pub maker: Maker,
    /// When, by the maker's clock.
    pub created_at: jiff::Timestamp,
    /// The first place of the chain inside.
    pub first_seq: u64,
    /// The last.
    pub last_seq: u64,
}

/// Replays the files of a bundle.
#[must_use]
pub fn replay(files: &Files, trust: &Trust) -> Report {
    let mut replay = Replay { files, checks: Vec::new() };
    let mut report = Report {
        holds: false,
        reason: None,
        manifest: None,
        gateway_key: trust.gateway,
        gateway_key_given: trust.gateway.is_some(),
        sink_key: None,
        sink_key_given: trust.sink.is_some(),
        checks: Vec::new(),
    };
    replay.all(trust, &mut report);
    let reached = replay.checks.last().map(|check| check.check);
    for part in Part::ALL.into_iter().filter(|part| Some(*part) > reached) {
        replay.not_checked(part, "what comes before is broken");
    }
    report.checks = replay.checks;
    let reasons = report.checks.iter().filter_map(|check| match check.finding {
        Finding::Broken { reason, .. } => Some(reason),
        _ => None,
    });
    report.reason = reasons.into_iter().next();
    report.holds = report.reason.is_none();
    report
}

/// A reason, and words for people.
type Wrong = (&'static str, String);

struct Replay<'a> {
    files: &'a Files,
    checks: Vec<Check>,
}

/// The runs that opened, by their place.
type Runs = BTreeMap<u64, VerifiedRun>;

impl Replay<'_> {
    fn all(&mut self, trust: &Trust, report: &mut Report) {
        let Some(manifest) = self.manifest() else { return };
        report.manifest = Some(About {
            gateway: manifest.gateway,
            maker: manifest.maker,
            created_at: manifest.created_at,
            first_seq: manifest.first_seq,
            last_seq: manifest.last_seq,
        });
        let Some((gateway, sink)) = self.keys(&manifest, trust) else { return };
        report.gateway_key = Some(gateway.id());
        report.sink_key = sink.as_ref().map(PublicKey::id);
        let ring = self.rotations(&gateway);
        self.seal(&manifest, ring.current(), sink.as_ref());
        let runs = self.runs(&ring);
        let tombstones = self.tombstones(&ring);
        self.chain(&manifest, &ring, &runs, &tombstones);
        match &sink {
            Some(sink) => {
                let acknowledgements = self.receipts(&runs, sink);
                self.log(&runs, &acknowledgements, sink);
            }
            None => {
                self.not_checked(Part::Receipts, "there is no key of a sink in the bundle, and none was given");
                self.not_checked(Part::Log, "there is no key of a sink in the bundle, and none was given");
            }
        }
        let packs = self.packs();
        self.verdicts(&runs, &packs);
    }

    fn holds(&mut self, check: Part, what: impl Into<String>) {
        self.checks.push(Check { check, finding: Finding::Holds { what: what.into() } });
    }

    fn not_checked(&mut self, check: Part, why: impl Into<String>) {
        self.checks.push(Check { check, finding: Finding::NotChecked { why: why.into() } });
    }

    fn broken(&mut self, check: Part, subject: impl Into<String>, (reason, detail): Wrong) {
        let finding = Finding::Broken { reason, subject: subject.into(), detail };
        self.checks.push(Check { check, finding });
    }

    /// Whether nothing of this part is broken so far.
    fn sound(&self, part: Part) -> bool {
        !self.checks.iter().any(|check| check.check == part && matches!(check.finding, Finding::Broken { .. }))
    }

    /// The files of one kind, by what their name says, in the order of that.
    fn of_kind<K: Ord>(&self, kind: impl Fn(Kind) -> Option<K>) -> BTreeMap<K, (String, Vec<u8>)> {
        let known =
            |(path, content): (&String, &Vec<u8>)| Some((kind(Kind::of(path)?)?, (path.clone(), content.clone())));
        self.files.iter().filter_map(known).collect()
    }
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn canonical_json<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    canonical::from_slice(bytes).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
