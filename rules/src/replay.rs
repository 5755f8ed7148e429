//! Replaying an evidence bundle: what holds of what it says, what does not, and what could not be checked.
//!
//! Signatures, identity, chain, receipts and the sink's log are checked with the keys that the auditor gave, or else with
//! those inside; then every verdict that the maker claims is judged again under the packs inside. The checks are made in a
//! fixed order, so that two verifiers name the same first reason. `docs/evidence-format.md` has the order and the words.
//!
//! Guarantees: pure, no clock, no network, no folder. Nothing that was not looked at is said to hold.

use std::collections::BTreeMap;

use gatepost_evidence::archive::Files;
use gatepost_evidence::bundle::{Claim, FORMAT, GATEWAY_KEY, Kind, MANIFEST, Maker, Manifest, SEAL, SINK_KEY, Seal};
use gatepost_evidence::canonical;
use gatepost_evidence::chain::{self, Piece};
use gatepost_evidence::checkpoint::{Checkpoint, CheckpointError};
use gatepost_evidence::envelope::Envelope;
use gatepost_evidence::id::{Digest, GatewayId};
use gatepost_evidence::key::PublicKey;
use gatepost_evidence::log::{LogError, LogHash};
use gatepost_evidence::receipt::{Acknowledgement, Receipt};
use gatepost_evidence::tombstone::Tombstone;
use gatepost_evidence::verify::VerifiedRun;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::assess::assess;
use crate::pack::Pack;

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
    pub const ALL: [Self; 10] = [
        Self::Manifest,
        Self::Keys,
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
        self.seal(&manifest, &gateway, sink.as_ref());
        let runs = self.runs(&gateway);
        let tombstones = self.tombstones(&gateway);
        self.chain(&manifest, &runs, &tombstones);
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

    fn manifest(&mut self) -> Option<Manifest> {
        let part = Part::Manifest;
        let Some(bytes) = self.files.get(MANIFEST) else {
            self.broken(part, MANIFEST, ("missing_manifest", "there is no manifest".into()));
            return None;
        };
        let manifest: Manifest = match canonical_json(bytes) {
            Ok(manifest) => manifest,
            Err(why) => {
                self.broken(part, MANIFEST, ("bad_manifest", why));
                return None;
            }
        };
        if manifest.format != FORMAT {
            let why = format!("format {} is not the one that is read here, {FORMAT}", manifest.format);
            self.broken(part, MANIFEST, ("format_version", why));
            return None;
        }
        if manifest.files.windows(2).any(|pair| pair[0].path >= pair[1].path) {
            self.broken(part, MANIFEST, ("bad_manifest", "its files are not sorted, or one stands twice".into()));
            return None;
        }
        for entry in &manifest.files {
            let digest = |content: &Vec<u8>| (Digest::of(content), content.len() as u64);
            let wrong = match self.files.get(&entry.path).map(digest) {
                _ if Kind::of(&entry.path).is_none() => ("unknown_file", "a bundle has no such file".to_owned()),
                None => ("missing_file", "the manifest names it and it is not there".to_owned()),
                Some(found) if found != (entry.sha256, entry.size) => {
                    ("wrong_digest", format!("it has {} bytes with SHA-256 {}, not as named", found.1, found.0))
                }
                Some(_) => continue,
            };
            self.broken(part, entry.path.clone(), wrong);
        }
        let named = |path: &str| manifest.files.binary_search_by(|entry| entry.path.as_str().cmp(path)).is_ok();
        let extra = self.files.keys().filter(|path| ![MANIFEST, SEAL].contains(&path.as_str()) && !named(path));
        for path in extra.cloned().collect::<Vec<_>>() {
            self.broken(part, path, ("extra_file", "the manifest does not name it".into()));
        }
        if self.sound(part) {
            self.holds(part, format!("its {} files and no others are there", manifest.files.len()));
        }
        Some(manifest)
    }

    fn keys(&mut self, manifest: &Manifest, trust: &Trust) -> Option<(PublicKey, Option<PublicKey>)> {
        let part = Part::Keys;
        let gateway = match self.key(GATEWAY_KEY) {
            Ok(key) => key,
            Err(wrong) => {
                self.broken(part, GATEWAY_KEY, wrong);
                return None;
            }
        };
        if gateway.id() != manifest.gateway {
            self.broken(part, GATEWAY_KEY, ("other_gateway", format!("it is the key of gateway {}", gateway.id())));
            return None;
        }
        if let Some(expected) = trust.gateway.filter(|expected| *expected != gateway.id()) {
            let why = format!("it is the key of {}, and {expected} was to be expected", gateway.id());
            self.broken(part, GATEWAY_KEY, ("unknown_key", why));
            return None;
        }
        let inside = match self.files.contains_key(SINK_KEY).then(|| self.key(SINK_KEY)).transpose() {
            Ok(key) => key,
            Err(wrong) => {
                self.broken(part, SINK_KEY, wrong);
                return None;
            }
        };
        if let (Some(given), Some(inside)) = (&trust.sink, &inside)
            && given != inside
        {
            let why = format!("it is the key {}, and {} was to be expected", inside.id(), given.id());
            self.broken(part, SINK_KEY, ("unknown_key", why));
            return None;
        }
        let sink = inside.or_else(|| trust.sink.clone());
        if manifest.maker == Maker::Sink && sink.is_none() {
            self.broken(part, SINK_KEY, ("missing_key", "a sink made this bundle, and its key is not there".into()));
            return None;
        }
        match trust.gateway {
            Some(_) => self.holds(part, "the gateway is the one that was to be expected"),
            None => self.not_checked(part, "that the gateway's key is the gateway's: no key or id of it was given"),
        }
        match (&sink, &trust.sink) {
            (Some(_), Some(_)) => self.holds(part, "the sink is the one that was to be expected"),
            (Some(_), None) => self.not_checked(part, "that the sink's key is the sink's: it was not given"),
            (None, _) => {}
        }
        Some((gateway, sink))
    }

    fn key(&self, path: &str) -> Result<PublicKey, Wrong> {
        let bytes = self.files.get(path).ok_or_else(|| ("missing_key", "it is not there".to_owned()))?;
        let text = std::str::from_utf8(bytes).map_err(|error| ("bad_key", error.to_string()))?;
        let key = PublicKey::from_pem(text).map_err(|error| ("bad_key", error.to_string()))?;
        // One key, one file: what a lenient reader of PEM skips is not skipped here.
        if key.to_pem() == text { Ok(key) } else { Err(("bad_key", "it is not the plain PEM of its key".into())) }
    }

    fn seal(&mut self, manifest: &Manifest, gateway: &PublicKey, sink: Option<&PublicKey>) {
        let key = match (manifest.maker, sink) {
            (Maker::Sink, Some(sink)) => sink,
            _ => gateway,
        };
        let check = || -> Result<(), Wrong> {
            let bytes =
                self.files.get(SEAL).ok_or_else(|| ("missing_seal", "nobody sealed the manifest".to_owned()))?;
            let envelope = Envelope::parse(bytes).map_err(|error| (error.reason(), error.to_string()))?;
            if envelope.to_json().as_bytes() != bytes {
                return Err(("malformed", "the seal is not written as it should be".into()));
            }
            let seal = Seal::open(&envelope, key).map_err(|error| (error.reason(), error.to_string()))?;
            let found = Digest::of(self.files.get(MANIFEST).map(Vec::as_slice).unwrap_or_default());
            if seal.manifest == found { Ok(()) } else { Err(("other_manifest", format!("it seals {}", seal.manifest))) }
        };
        match check() {
            Ok(()) => self.holds(Part::Seal, format!("the {} sealed the manifest", manifest.maker)),
            Err(wrong) => self.broken(Part::Seal, SEAL, wrong),
        }
    }

    fn runs(&mut self, gateway: &PublicKey) -> Runs {
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

    fn tombstones(&mut self, gateway: &PublicKey) -> Vec<Tombstone> {
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

    fn chain(&mut self, manifest: &Manifest, runs: &Runs, tombstones: &[Tombstone]) {
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
                let what = counted(there, "run");
                self.holds(Part::Chain, format!("{what} of {from_seq} to {to_seq} here, buried or not: what is here counts"));
            }
        }
        if *first_seq > 1 {
            self.not_checked(Part::Chain, format!("what came before {first_seq}: it is not in the bundle"));
        }
    }

    fn receipts(&mut self, runs: &Runs, sink: &PublicKey) -> BTreeMap<u64, Acknowledgement> {
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

    fn log(&mut self, runs: &Runs, acknowledgements: &BTreeMap<u64, Acknowledgement>, sink: &PublicKey) {
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

    fn packs(&mut self) -> BTreeMap<Digest, Pack> {
        let part = Part::Packs;
        let mut packs = BTreeMap::new();
        for (digest, (path, content)) in
            self.of_kind(|kind| if let Kind::Pack(pack) = kind { Some(pack) } else { None })
        {
            let text = String::from_utf8(content).map_err(|error| ("bad_pack", error.to_string()));
            let parsed = text.and_then(|text| Pack::parse(&text).map_err(|error| ("bad_pack", error.to_string())));
            match parsed {
                Ok(pack) if pack.reference().digest == digest => {
                    let reference = pack.reference();
                    self.holds(part, format!("{} {}, {digest}", reference.name, reference.version));
                    packs.insert(digest, pack);
                }
                Ok(pack) => self.broken(part, path, ("wrong_pack", format!("it is {}", pack.reference().digest))),
                Err(wrong) => self.broken(part, path, wrong),
            }
        }
        packs
    }

    fn verdicts(&mut self, runs: &Runs, packs: &BTreeMap<Digest, Pack>) {
        let part = Part::Verdicts;
        let mut count = 0;
        let of = |kind| if let Kind::Claim(seq, pack) = kind { Some((seq, pack)) } else { None };
        for ((seq, digest), (path, content)) in self.of_kind(of) {
            let check = || -> Result<(), Wrong> {
                let claim: Claim = canonical_json(&content).map_err(|why| ("malformed", why))?;
                let run = runs.get(&seq).ok_or_else(|| ("no_run", format!("run {seq} is not in the bundle")))?;
                if (claim.run, claim.pack) != (run.digest(), digest) {
                    return Err(("other_run", "it names another run or pack than its file's name".into()));
                }
                let pack =
                    packs.get(&digest).ok_or_else(|| ("missing_pack", "its pack is not in the bundle".to_owned()))?;
                let found = assess(run.run(), run.digest(), pack).digest();
                let why = || format!("judged again it comes out as {found}, not as {}", claim.assessment);
                if found == claim.assessment { Ok(()) } else { Err(("other_verdict", why())) }
            };
            match check() {
                Ok(()) => count += 1,
                Err(wrong) => self.broken(part, path, wrong),
            }
        }
        if count == 0 && self.sound(part) {
            self.not_checked(part, "the bundle claims no verdict");
        } else if self.sound(part) {
            self.holds(part, format!("{} came out the same when judged again", counted(count, "verdict")));
        }
    }
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn canonical_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    if !canonical::is_canonical(bytes) {
        return Err("it is not canonical JSON (RFC 8785)".to_owned());
    }
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}
