//! Golden bundles: one by an agent, one by a sink, and what tampering makes of them.
//!
//! They pin the bundle's format for everybody who reads it: `tests/tests/bundle.rs` compares the files in
//! `fixtures/golden/bundles/` with what is made here, and gives them to `gatepost verify` and to the Python verifier.
//! Most of the bad ones are sealed by their maker: it is the maker who lies. Keys and runs are those of [`crate::golden`].

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use gatepost_evidence::archive::{self, Files};
use gatepost_evidence::bundle::{Claim, Draft, Kind, Maker};
use gatepost_evidence::canonical;
use gatepost_evidence::checkpoint::{Checkpoint, LogLink, LogProof};
use gatepost_evidence::envelope::Envelope;
use gatepost_evidence::id::{Digest, GatewayId};
use gatepost_evidence::key::SigningKey;
use gatepost_evidence::log::{self, LogError, LogHash, NodeId};
use gatepost_evidence::receipt::{Acknowledgement, Receipt};
use gatepost_evidence::rotation::{Keyring, Rotation};
use gatepost_evidence::run::{Run, SignedRun};
use gatepost_evidence::tombstone::{Cause, Tombstone, fold};
use gatepost_rules::assess::assess;
use gatepost_rules::pack::Pack;
use jiff::Timestamp;

use crate::golden::{self, GATEWAY_SEED, NEXT_SEED, OTHER_SEED, SINK_SEED};

mod tampering;

/// The good ones.
pub const GOOD: &[&str] = &["agent", "sink", "agent-started-over", "buried-and-there", "rotated"];
/// Those in which every byte is flipped: no other has files of another sort.
pub const FLIPPED: &[&str] = &["agent", "sink", "rotated"];
/// What both verifiers say of the history of the sink's log in each of the good ones.
pub const HISTORY: &[(&str, &str)] = &[
    ("agent", "3 checkpoints are one history"),
    ("sink", ""),
    ("buried-and-there", ""),
    ("rotated", "3 checkpoints are one history"),
    ("agent-started-over", "whether 2 checkpoints are one history: they are 2"),
];
/// The bad ones: name, exit code of a verifier, first reason.
pub const BAD: &[(&str, i32, &str)] = &[
    ("run-swapped", 1, "other_seq"),
    ("run-removed", 1, "gap"),
    ("run-replayed", 1, "other_seq"),
    ("run-of-another-key", 1, "unknown_key"),
    ("run-of-another-key-under-this-name", 1, "bad_signature"),
    ("run-forked", 1, "fork"),
    ("run-that-is-something-else", 1, "payload_type"),
    ("run-that-is-no-run", 1, "not_a_run"),
    ("run-that-is-spaced-out", 1, "not_canonical"),
    ("run-that-is-said-twice", 1, "not_canonical"),
    ("run-that-is-too-deep", 1, "not_canonical"),
    ("run-that-is-signed-twice", 1, "signature_count"),
    ("run-that-is-not-signed", 1, "signature_count"),
    ("run-that-is-signed-with-nothing", 1, "bad_signature"),
    ("run-that-is-too-large", 1, "too_large"),
    ("run-that-is-cut-short", 1, "malformed"),
    ("receipt-forged", 1, "unknown_key"),
    ("receipt-of-another-run", 1, "other_run"),
    ("inclusion-wrong", 1, "not_included"),
    ("checkpoint-forged", 1, "bad_checkpoint"),
    ("checkpoint-forked", 1, "log_forked"),
    ("consistency-rewritten", 1, "not_consistent"),
    ("consistency-unproved", 1, "not_consistent"),
    ("consistency-forked", 1, "log_forked"),
    ("consistency-forged", 1, "bad_checkpoint"),
    ("consistency-misnamed", 1, "other_range"),
    ("consistency-not-canonical", 1, "malformed"),
    ("tombstone-missing", 1, "gap"),
    ("tombstone-forged", 1, "unknown_key"),
    ("tombstone-too-narrow", 1, "gap"),
    ("tombstone-of-another-chain", 1, "fork"),
    ("tombstone-over-another-run", 1, "fork"),
    ("tombstone-folds-other-runs", 1, "fork"),
    ("rotation-of-a-stranger", 1, "unknown_key"),
    ("rotation-missing", 1, "unknown_key"),
    ("rotation-twice", 1, "fork"),
    ("rotation-back-to-an-old-key", 1, "key_reused"),
    ("rotation-without-possession", 1, "no_possession"),
    ("rotation-of-another-chain", 1, "fork"),
    ("run-by-the-retired-key", 1, "retired_key"),
    ("run-by-the-key-to-come", 1, "early_key"),
    ("tombstone-by-the-retired-key", 1, "retired_key"),
    ("manifest-lying", 1, "wrong_digest"),
    ("manifest-changed", 1, "other_manifest"),
    ("seal-of-another-key", 1, "unknown_key"),
    ("extra-file", 1, "extra_file"),
    ("missing-file", 1, "missing_file"),
    ("gateway-exchanged", 1, "other_gateway"),
    ("pack-changed", 1, "wrong_pack"),
    ("pack-with-a-loop-in-a-loop", 1, "bad_pack"),
    ("pack-with-a-regular-expression", 1, "bad_pack"),
    ("verdict-lying", 1, "other_verdict"),
    ("duplicate-file", 2, "duplicate"),
    ("path-trick", 2, "path"),
    ("link", 2, "not_a_file"),
    ("files-out-of-order", 2, "order"),
    ("cut-in-the-middle-of-a-file", 2, "truncated"),
    ("not-an-archive", 2, "not_tar"),
    ("not-compressed", 2, "not_zstd"),
    ("truncated", 2, "not_zstd"),
    ("something-behind", 2, "trailing_data"),
    ("bomb", 2, "too_large"),
];

/// A small pack, so that the bundles are small.
const PACK: &str = r#"name = "golden"
version = "1.0.0"

[[control]]
key = "ingest_auth.unauthenticated_ingest_allowed"
title = "The ingest edge accepts events without credentials"
severity = "high"
domain = "ingest"
target = "ingest_edge"
fail = "facts.unauthenticated_accepted"
why = "Anyone can write."
remediation = "Demand a credential."
verify = "Try without one."
[[control.vector]]
name = "accepted"
expect = "fail"
facts = { unauthenticated_accepted = true }
[[control.vector]]
name = "refused"
expect = "pass"
facts = { unauthenticated_accepted = false }
"#;

/// `fixtures/golden/bundles` in the sources.
#[must_use]
pub fn folder() -> PathBuf {
    golden::folder().join("bundles")
}

/// Every golden bundle by its name, compressed.
///
/// # Errors
/// When one cannot be made, which would be a fault of the evidence crate.
pub fn bundles() -> Result<BTreeMap<String, Vec<u8>>> {
    let golden = Golden::new()?;
    let mut bundles = BTreeMap::new();
    for name in GOOD.iter().copied().chain(BAD.iter().map(|(name, ..)| *name)) {
        bundles.insert(format!("{name}.tar.zst"), golden.bundle(name).with_context(|| name.to_owned())?);
    }
    Ok(bundles)
}

/// The files of a good bundle.
///
/// # Errors
/// When it cannot be made.
pub fn good(name: &str) -> Result<Files> {
    let golden = Golden::new()?;
    let mut parts = golden.parts(name)?;
    if is_rotated(name) {
        golden.rotate(&mut parts)?;
    }
    golden.sealed(&parts, maker(name))
}

type Parts = BTreeMap<String, (Kind, Vec<u8>)>;

/// A log in memory.
#[derive(Default)]
struct Log {
    size: u64,
    nodes: BTreeMap<u64, LogHash>,
}

impl Log {
    fn of(digests: &[Digest]) -> Result<Self> {
        let mut log = Self::default();
        for digest in digests {
            let added = log::append(log.size, *digest, |id| log.node(id))?;
            log.nodes.extend(added.into_iter().map(|(id, hash)| (id.number(), hash)));
            log.size += 1;
        }
        Ok(log)
    }

    fn node(&self, id: NodeId) -> Result<LogHash, LogError> {
        self.nodes.get(&id.number()).copied().ok_or(LogError::TooLarge(id.number()))
    }

    fn checkpoint(&self, size: u64, sink: &SigningKey) -> Result<String> {
        Ok(Checkpoint::sign(log::root(size, |id| self.node(id))?, sink).note().to_owned())
    }

    fn proof(&self, index: u64, sink: &SigningKey) -> Result<LogProof> {
        let inclusion = log::prove_inclusion(self.size, index, |id| self.node(id))?;
        Ok(LogProof { index, inclusion, checkpoint: self.checkpoint(self.size, sink)? })
    }

    fn link(&self, from: u64, to: u64, sink: &SigningKey) -> Result<LogLink> {
        let consistency = log::prove_consistency(from, to, |id| self.node(id))?;
        Ok(LogLink { from: self.checkpoint(from, sink)?, to: self.checkpoint(to, sink)?, consistency })
    }
}

struct Golden {
    gateway: SigningKey,
    /// What the gateway's key is rotated to at place 5, where it is.
    next: SigningKey,
    sink: SigningKey,
    other: SigningKey,
    id: GatewayId,
    runs: Vec<(Run, SignedRun)>,
    pack: Pack,
    at: Timestamp,
}

/// Whether this is one with a rotation.
fn is_rotated(name: &str) -> bool {
    name == "rotated" || name.starts_with("rotation-") || name.contains("-by-the-")
}

fn maker(name: &str) -> Maker {
    let by_sink = [
        "sink",
        "buried-and-there",
        "inclusion-wrong",
        "checkpoint-forged",
        "checkpoint-forked",
        "seal-of-another-key",
    ];
    if by_sink.contains(&name) { Maker::Sink } else { Maker::Agent }
}

impl Golden {
    fn new() -> Result<Self> {
        let gateway = golden::key(GATEWAY_SEED)?;
        let id = gateway.public().id();
        let mut runs: Vec<(Run, SignedRun)> = Vec::new();
        for seq in 1..=5 {
            let run = golden::run(id, seq, runs.last().map(|(_, signed)| signed.digest))?;
            runs.push((run.clone(), run.sign(&gateway)?));
        }
        let (sink, other) = (golden::key(SINK_SEED)?, golden::key(OTHER_SEED)?);
        let next = golden::key(NEXT_SEED)?;
        let at = "2026-03-02T08:00:00Z".parse()?;
        Ok(Self { gateway, next, sink, other, id, runs, pack: Pack::parse(PACK)?, at })
    }

    fn digest(&self, seq: u64) -> Digest {
        self.runs[seq as usize - 1].1.digest
    }

    fn receipt(&self, seq: u64, log: LogProof, key: &SigningKey) -> Result<Vec<u8>> {
        let receipt = Receipt { gateway: self.id, seq, digest: self.digest(seq), accepted_at: self.at };
        Ok(Acknowledgement { receipt: receipt.sign(key)?, log: Some(log) }.to_json().into_bytes())
    }

    fn tombstone(&self, from: u64, to: u64) -> Tombstone {
        Tombstone {
            gateway: self.id,
            from_seq: from,
            to_seq: to,
            count: Some(to - from + 1),
            prev: Some(self.digest(from - 1)),
            digest: (from..=to).fold(None, |so_far, seq| Some(fold(so_far, self.digest(seq)))),
            first_digest: Some(self.digest(from)),
            last_digest: Some(self.digest(to)),
            cause: Cause::NoRoom,
            at: self.at,
        }
    }

    /// What is in the good bundle: the agent's has a tombstone and checkpoints of its time, linked by way of one that no
    /// receipt is from; the sink's has one checkpoint. In the one that started over, run 2 was handed to a sink that had been
    /// restored from a backup: nothing contradicts what it said of run 1, and nothing connects it with that.
    fn parts(&self, name: &str) -> Result<Parts> {
        let mut parts = Parts::new();
        let mut add = |kind: Kind, content: Vec<u8>| drop(parts.insert(kind.path(), (kind, content)));
        add(Kind::GatewayKey, self.gateway.public().to_pem().into_bytes());
        add(Kind::SinkKey, self.sink.public().to_pem().into_bytes());
        let pack = self.pack.reference().digest;
        add(Kind::Pack(pack), PACK.into());
        let foreign = Digest::of(b"another gateway's run");
        let by_agent = maker(name) == Maker::Agent;
        let places: &[u64] = if by_agent { &[1, 2, 5] } else { &[1, 2, 3] };
        let leaves = [self.digest(1), foreign, self.digest(2), self.digest(3)];
        let over = [Digest::of(b"a run from before the backup"), self.digest(2)];
        for (seq, index) in places.iter().zip([0, 2, 3]) {
            let (run, signed) = &self.runs[*seq as usize - 1];
            add(Kind::Run(*seq), signed.envelope.clone().into_bytes());
            if *seq < 5 {
                let (log, index) = match (name, seq) {
                    ("agent-started-over", 1) => (Log::of(&[over[0], foreign, self.digest(1)])?, 2),
                    ("agent-started-over", _) => (Log::of(&over)?, 1),
                    _ if by_agent => (Log::of(&leaves[..=index])?, index),
                    _ => (Log::of(&leaves)?, index),
                };
                let proof = log.proof(index as u64, &self.sink)?;
                add(Kind::Receipt(*seq), self.receipt(*seq, proof, &self.sink)?);
            }
            let assessment = assess(run, signed.digest, &self.pack).digest();
            let claim = Claim { run: signed.digest, pack, assessment };
            add(Kind::Claim(*seq, pack), canonical::to_vec(&claim)?);
        }
        if by_agent && name != "agent-started-over" {
            let log = Log::of(&leaves)?;
            for (from, to) in [(1, 2), (2, 3)] {
                add(Kind::Consistency(from, to), canonical::to_vec(&log.link(from, to, &self.sink)?)?);
            }
        }
        if by_agent {
            let stone = self.tombstone(3, 4).sign(&self.gateway)?;
            add(Kind::Tombstone(3, 4), stone.to_json().into_bytes());
        }
        if name == "buried-and-there" {
            // Run 3 had reached the sink; the tombstone of 2 and 3 grew to 4; then damage took what nobody knows.
            let unknown = Tombstone {
                digest: None,
                first_digest: None,
                last_digest: None,
                cause: Cause::Damaged,
                ..self.tombstone(5, 5)
            };
            for stone in [self.tombstone(2, 3), self.tombstone(2, 4), unknown] {
                let kind = Kind::Tombstone(stone.from_seq, stone.to_seq);
                add(kind, stone.sign(&self.gateway)?.to_json().into_bytes());
            }
        }
        Ok(parts)
    }

    /// The rotation to `next` at `seq`, as `old` signs it.
    fn rotation(&self, (old, next): (&SigningKey, &SigningKey), seq: u64) -> Result<Envelope> {
        let ring = Keyring::new(old.public().clone());
        Ok(Rotation::sign(&ring, old, next, (seq, Some(self.digest(seq - 1))), self.at)?)
    }

    /// What a rotation at place 5 makes of a bundle: run 5 is signed by the new key, and so is the tombstone before it.
    fn rotate(&self, parts: &mut Parts) -> Result<()> {
        let mut set = |kind: Kind, content: String| drop(parts.insert(kind.path(), (kind, content.into_bytes())));
        set(Kind::Rotation(5), self.rotation((&self.gateway, &self.next), 5)?.to_json());
        set(Kind::Run(5), self.runs[4].0.sign(&self.next)?.envelope);
        set(Kind::Tombstone(3, 4), self.tombstone(3, 4).sign(&self.next)?.to_json());
        Ok(())
    }

    fn sealed(&self, parts: &Parts, maker: Maker) -> Result<Files> {
        let rotated = parts.contains_key(&Kind::Rotation(5).path());
        let key = match (maker, rotated) {
            (Maker::Sink, _) => &self.sink,
            (Maker::Agent, true) => &self.next,
            (Maker::Agent, false) => &self.gateway,
        };
        self.sealed_by(parts, maker, key)
    }

    fn sealed_by(&self, parts: &Parts, maker: Maker, key: &SigningKey) -> Result<Files> {
        let mut draft = Draft::new();
        parts.values().for_each(|(kind, content)| draft.add(*kind, content.clone()));
        Ok(draft.seal(self.id, maker, self.at, key)?)
    }

    fn bundle(&self, name: &str) -> Result<Vec<u8>> {
        let mut parts = self.parts(name)?;
        if is_rotated(name) {
            self.rotate(&mut parts)?;
        }
        self.change_parts(name, &mut parts)?;
        let mut files = match name {
            // Whoever takes the rotation for good takes the old key for the one in force.
            "rotation-back-to-an-old-key" => self.sealed_by(&parts, maker(name), &self.gateway)?,
            _ => self.sealed(&parts, maker(name))?,
        };
        self.change_files(name, &mut files)?;
        let mut tar = archive::pack(&files)?;
        let more = |more: &str, content: &[u8]| -> Result<Vec<u8>> {
            let mut tar = archive::pack(&files)?;
            tar.truncate(tar.len() - 1024);
            archive::append(&mut tar, more, content);
            archive::finish(&mut tar);
            Ok(tar)
        };
        match name {
            "duplicate-file" => tar = more("runs/1.json", b"{}")?,
            "path-trick" => tar = more("../outside", b"x")?,
            "link" => {
                tar = more("zz", b"")?;
                let at = tar.len() - 1024 - 512;
                tar[at + 156] = b'2';
            }
            "files-out-of-order" => {
                tar.clear();
                files.iter().rev().for_each(|(path, content)| archive::append(&mut tar, path, content));
                archive::finish(&mut tar);
            }
            // Behind the first block of the first run.
            "cut-in-the-middle-of-a-file" => {
                let run = tar.windows(11).position(|name| name == b"runs/1.json").context("no run")?;
                tar.truncate(run + 2 * 512);
            }
            "not-an-archive" => tar = b"All is well. ".repeat(100),
            "bomb" => tar = vec![0; archive::MAX_BYTES + 1],
            _ => {}
        }
        let mut bundle = archive::compress(&tar)?;
        match name {
            "not-compressed" => bundle = tar,
            "truncated" => bundle.truncate(bundle.len() / 2),
            "something-behind" => bundle.extend(b"behind"),
            _ => {}
        }
        Ok(bundle)
    }
}
