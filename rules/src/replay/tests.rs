//! Each part of a replay gives each of its reasons, on bundles that are made in memory and wrong in one thing.

use std::collections::BTreeMap;

use gatepost_evidence::archive::Files;
use gatepost_evidence::bundle::{
    Claim, Draft, GATEWAY_KEY, Kind, MANIFEST, Maker, Manifest, SEAL, SEAL_TYPE, SINK_KEY, Seal,
};
use gatepost_evidence::canonical;
use gatepost_evidence::checkpoint::{Checkpoint, LogLink, LogProof};
use gatepost_evidence::envelope::Envelope;
use gatepost_evidence::id::Digest;
use gatepost_evidence::key::SigningKey;
use gatepost_evidence::log::{self, ConsistencyProof, LogError, LogHash, NodeId};
use gatepost_evidence::receipt::{Acknowledgement, Receipt};
use gatepost_evidence::run::{PAYLOAD_TYPE, Run, SignedRun};
use gatepost_evidence::tombstone::{Cause, Tombstone, fold};

use super::{Check, Finding, Part, Report, Trust, replay};
use crate::assess::assess;
use crate::pack::Pack;
use crate::samples;

fn gateway() -> SigningKey {
    SigningKey::from_seed(&[1; 32]).unwrap()
}

fn sink() -> SigningKey {
    SigningKey::from_seed(&[2; 32]).unwrap()
}

fn stranger() -> SigningKey {
    SigningKey::from_seed(&[3; 32]).unwrap()
}

/// The first `count` runs of the gateway.
fn chain(count: u64) -> Vec<(Run, SignedRun)> {
    let mut chain: Vec<(Run, SignedRun)> = Vec::new();
    for seq in 1..=count {
        let mut run = samples::run(vec![samples::ingest(seq == 2)]);
        (run.gateway.id, run.seq, run.prev) = (gateway().public().id(), seq, chain.last().map(|(_, run)| run.digest));
        let signed = run.sign(&gateway()).unwrap();
        chain.push((run, signed));
    }
    chain
}

fn digest(seq: u64) -> Digest {
    chain(seq).pop().unwrap().1.digest
}

/// A sink's log with these leaves.
struct Log(u64, BTreeMap<NodeId, LogHash>);

impl Log {
    fn of(leaves: &[Digest]) -> Self {
        let mut log = Self(0, BTreeMap::new());
        for leaf in leaves {
            let added = log::append(log.0, *leaf, |id| log.node(id)).unwrap();
            log.1.extend(added);
            log.0 += 1;
        }
        log
    }

    fn node(&self, id: NodeId) -> Result<LogHash, LogError> {
        self.1.get(&id).copied().ok_or(LogError::TooLarge(0))
    }

    fn checkpoint(&self, size: u64, key: &SigningKey) -> String {
        Checkpoint::sign(log::root(size, |id| self.node(id)).unwrap(), key).note().to_owned()
    }

    fn proof(&self, index: u64) -> LogProof {
        let inclusion = log::prove_inclusion(self.0, index, |id| self.node(id)).unwrap();
        LogProof { index, inclusion, checkpoint: self.checkpoint(self.0, &sink()) }
    }

    fn link(&self, from: u64, to: u64) -> LogLink {
        let consistency = log::prove_consistency(from, to, |id| self.node(id)).unwrap();
        LogLink { from: self.checkpoint(from, &sink()), to: self.checkpoint(to, &sink()), consistency }
    }
}

fn receipt(seq: u64, log: Option<LogProof>, key: &SigningKey) -> Vec<u8> {
    let accepted_at = samples::AT.parse().unwrap();
    let receipt = Receipt { gateway: gateway().public().id(), seq, digest: digest(seq), accepted_at };
    Acknowledgement { receipt: receipt.sign(key).unwrap(), log }.to_json().into_bytes()
}

fn tombstone(from: u64, to: u64) -> Tombstone {
    Tombstone {
        gateway: gateway().public().id(),
        from_seq: from,
        to_seq: to,
        count: Some(to - from + 1),
        prev: Some(digest(from - 1)),
        digest: (from..=to).fold(None, |so_far, seq| Some(fold(so_far, digest(seq)))),
        first_digest: Some(digest(from)),
        last_digest: Some(digest(to)),
        cause: Cause::TooOld,
        at: samples::AT.parse().unwrap(),
    }
}

fn stone(tombstone: &Tombstone) -> Vec<u8> {
    tombstone.sign(&gateway()).unwrap().to_json().into_bytes()
}

/// A small one, so that reading it is quick.
const PACK: &str = r#"name = "small"
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

fn pack() -> Digest {
    Pack::parse(PACK).unwrap().reference().digest
}

type Parts = BTreeMap<String, (Kind, Vec<u8>)>;

fn set(parts: &mut Parts, kind: Kind, content: impl Into<Vec<u8>>) {
    parts.insert(kind.path(), (kind, content.into()));
}

/// A good bundle: runs 1, 2 and 4, a tombstone for 3, receipts of a log that grew from one leaf to three between them, and a
/// verdict.
fn good() -> Parts {
    let mut parts = Parts::new();
    set(&mut parts, Kind::GatewayKey, gateway().public().to_pem());
    set(&mut parts, Kind::SinkKey, sink().public().to_pem());
    set(&mut parts, Kind::Pack(pack()), PACK);
    let chain = chain(4);
    for seq in [1, 2, 4] {
        set(&mut parts, Kind::Run(seq), chain[seq as usize - 1].1.envelope.clone());
    }
    set(&mut parts, Kind::Tombstone(3, 3), stone(&tombstone(3, 3)));
    let log = Log::of(&[digest(1), Digest::of(b"foreign"), digest(2)]);
    set(&mut parts, Kind::Receipt(1), receipt(1, Some(Log::of(&[digest(1)]).proof(0)), &sink()));
    set(&mut parts, Kind::Receipt(2), receipt(2, Some(log.proof(2)), &sink()));
    set(&mut parts, Kind::Consistency(1, 3), canonical::to_vec(&log.link(1, 3)).unwrap());
    let (run, signed) = &chain[0];
    let claim = Claim {
        run: signed.digest,
        pack: pack(),
        assessment: assess(run, signed.digest, &Pack::parse(PACK).unwrap()).digest(),
    };
    set(&mut parts, Kind::Claim(1, pack()), canonical::to_vec(&claim).unwrap());
    parts
}

fn seal(parts: &Parts, maker: Maker) -> Files {
    let mut draft = Draft::new();
    parts.values().for_each(|(kind, content)| draft.add(*kind, content.clone()));
    let key = if maker == Maker::Sink { sink() } else { gateway() };
    draft.seal(gateway().public().id(), maker, samples::AT.parse().unwrap(), &key).unwrap()
}

/// Puts another manifest into a bundle, sealed as it should be.
fn reseal(files: &mut Files, change: impl FnOnce(&mut Manifest)) {
    let mut manifest: Manifest = serde_json::from_slice(&files[MANIFEST]).unwrap();
    change(&mut manifest);
    let bytes = canonical::to_vec(&manifest).unwrap();
    let seal = Seal { manifest: Digest::of(&bytes) }.sign(&gateway()).unwrap();
    files.insert(SEAL.to_owned(), seal.to_json().into_bytes());
    files.insert(MANIFEST.to_owned(), bytes);
}

/// The first part that is broken, and its reason, which is the report's.
fn first(report: &Report) -> (Part, &'static str) {
    let broken = |check: &Check| match check.finding {
        Finding::Broken { reason, .. } => Some((check.check, reason)),
        _ => None,
    };
    let first = report.checks.iter().find_map(broken).unwrap_or_else(|| panic!("nothing is broken: {report:?}"));
    assert!(!report.holds && report.reason == Some(first.1), "{report:?}");
    first
}

/// What comes of a bundle whose maker put something else into it.
fn lying(change: impl FnOnce(&mut Parts)) -> (Part, &'static str) {
    let mut parts = good();
    change(&mut parts);
    first(&replay(&seal(&parts, Maker::Agent), &Trust::default()))
}

/// What comes of a bundle that was changed after it was sealed.
fn tampered(change: impl FnOnce(&mut Files)) -> (Part, &'static str) {
    let mut files = seal(&good(), Maker::Agent);
    change(&mut files);
    first(&replay(&files, &Trust::default()))
}

fn not_checked(report: &Report) -> Vec<(Part, &str)> {
    report.checks.iter().filter_map(unchecked).collect()
}

fn unchecked(check: &Check) -> Option<(Part, &str)> {
    match &check.finding {
        Finding::NotChecked { why } => Some((check.check, why)),
        _ => None,
    }
}

#[test]
fn a_good_bundle_holds_and_says_what_was_not_looked_at() {
    let (gateway, sink) = (gateway().public().clone(), sink().public().clone());
    let files = seal(&good(), Maker::Agent);
    let known = replay(&files, &Trust { gateway: Some(gateway.id()), sink: Some(sink.clone()) });
    assert!(known.holds && known.reason.is_none(), "{known:?}");
    assert_eq!(not_checked(&known), [(Part::Receipts, "whether the sink has 1 run more: they have no receipt")]);
    let one = Finding::Holds { what: "2 checkpoints are one history".into() };
    assert!(known.checks.contains(&Check { check: Part::Log, finding: one }), "{known:?}");
    let unknown = replay(&files, &Trust::default());
    assert!(unknown.holds);
    assert_eq!(not_checked(&unknown).iter().filter(|(part, _)| *part == Part::Keys).count(), 2);
    assert!(Part::ALL.iter().all(|part| unknown.checks.iter().any(|check| check.check == *part)), "each has its line");
    let mut by_sink = good();
    by_sink.remove(&Kind::Consistency(1, 3).path());
    assert!(replay(&seal(&by_sink, Maker::Sink), &Trust { gateway: None, sink: Some(sink) }).holds);
}

#[test]
fn without_a_key_of_the_sink_nothing_is_said_of_its_word() {
    let mut parts = good();
    parts.remove(SINK_KEY);
    let report = replay(&seal(&parts, Maker::Agent), &Trust::default());
    let parts: Vec<_> = not_checked(&report).into_iter().map(|(part, _)| part).collect();
    assert_eq!((report.holds, parts), (true, vec![Part::Keys, Part::Receipts, Part::Log]));
}

#[test]
fn what_comes_after_something_that_stops_the_replay_is_not_said_to_hold() {
    let report = replay(&Files::new(), &Trust::default());
    assert_eq!(first(&report), (Part::Manifest, "missing_manifest"));
    assert_eq!(not_checked(&report).len(), Part::ALL.len() - 1);
}

#[test]
fn the_manifest() {
    let part = Part::Manifest;
    assert_eq!(tampered(|files| drop(files.remove(MANIFEST))), (part, "missing_manifest"));
    assert_eq!(tampered(|files| files.get_mut(MANIFEST).unwrap().push(b'\n')), (part, "bad_manifest"));
    assert_eq!(tampered(|files| drop(files.insert(MANIFEST.into(), b"{}".into()))), (part, "bad_manifest"));
    assert_eq!(tampered(|files| reseal(files, |manifest| manifest.files.swap(0, 1))), (part, "bad_manifest"));
    assert_eq!(tampered(|files| reseal(files, |manifest| manifest.format = 2)), (part, "format_version"));
    let unknown = |files: &mut Files| {
        reseal(files, |manifest| manifest.files.last_mut().unwrap().path = "tools/a.json".into());
    };
    assert_eq!(tampered(unknown), (part, "unknown_file"));
    assert_eq!(tampered(|files| drop(files.remove(SINK_KEY))), (part, "missing_file"));
    assert_eq!(tampered(|files| files.get_mut(SINK_KEY).unwrap().push(b'\n')), (part, "wrong_digest"));
    assert_eq!(tampered(|files| drop(files.insert("runs/9.json".into(), Vec::new()))), (part, "extra_file"));
}

#[test]
fn keys() {
    let part = Part::Keys;
    assert_eq!(lying(|parts| drop(parts.remove(GATEWAY_KEY))), (part, "missing_key"));
    assert_eq!(lying(|parts| set(parts, Kind::GatewayKey, "no key")), (part, "bad_key"));
    let spaced = format!("\n{}", sink().public().to_pem());
    assert_eq!(lying(|parts| set(parts, Kind::SinkKey, spaced)), (part, "bad_key"));
    let other = stranger().public().to_pem();
    assert_eq!(lying(|parts| set(parts, Kind::GatewayKey, other)), (part, "other_gateway"));
    let files = seal(&good(), Maker::Agent);
    let gateway = Trust { gateway: Some(stranger().public().id()), sink: None };
    assert_eq!(first(&replay(&files, &gateway)), (part, "unknown_key"));
    let sink = Trust { gateway: None, sink: Some(stranger().public().clone()) };
    assert_eq!(first(&replay(&files, &sink)), (part, "unknown_key"));
    let mut parts = good();
    parts.remove(SINK_KEY);
    assert_eq!(first(&replay(&seal(&parts, Maker::Sink), &Trust::default())), (part, "missing_key"));
}

#[test]
fn the_seal() {
    let part = Part::Seal;
    let sealed = |envelope: Envelope| tampered(move |files| drop(files.insert(SEAL.into(), envelope.to_json().into())));
    assert_eq!(tampered(|files| drop(files.remove(SEAL))), (part, "missing_seal"));
    assert_eq!(tampered(|files| files.get_mut(SEAL).unwrap().push(b' ')), (part, "malformed"));
    let other = canonical::to_vec(&Seal { manifest: Digest::of(b"other") }).unwrap();
    assert_eq!(sealed(Envelope::sign(SEAL_TYPE, &other, &gateway())), (part, "other_manifest"));
    assert_eq!(sealed(Envelope::sign(SEAL_TYPE, &other, &stranger())), (part, "unknown_key"));
    assert_eq!(sealed(Envelope::sign("text/plain", &other, &gateway())), (part, "payload_type"));
    assert_eq!(sealed(Envelope::sign(SEAL_TYPE, b"{}", &gateway())), (part, "malformed"));
}

#[test]
fn runs() {
    let part = Part::Runs;
    let second = |content: String| lying(|parts| set(parts, Kind::Run(2), content));
    let signed = |run: &Run, key: &SigningKey| run.sign(key).unwrap().envelope;
    let (run, envelope) = chain(2).pop().map(|(run, signed)| (run, signed.envelope)).unwrap();
    let payload = Envelope::parse(envelope.as_bytes()).unwrap().open(PAYLOAD_TYPE, gateway().public()).unwrap();
    assert_eq!(second(" ".repeat(1024 * 1024 + 1)), (part, "too_large"));
    assert_eq!(second("{}".into()), (part, "malformed"));
    let mut twice = Envelope::parse(envelope.as_bytes()).unwrap();
    twice.signatures.extend(twice.signatures.clone());
    assert_eq!(second(twice.to_json()), (part, "signature_count"));
    assert_eq!(second(Envelope::sign("text/plain", &payload, &gateway()).to_json()), (part, "payload_type"));
    assert_eq!(second(signed(&run, &stranger())), (part, "unknown_key"));
    let mut renamed = Envelope::parse(signed(&run, &stranger()).as_bytes()).unwrap();
    renamed.signatures[0].keyid = gateway().public().id().to_string();
    assert_eq!(second(renamed.to_json()), (part, "bad_signature"));
    let spaced = [payload.as_slice(), b" "].concat();
    assert_eq!(second(Envelope::sign(PAYLOAD_TYPE, &spaced, &gateway()).to_json()), (part, "not_canonical"));
    assert_eq!(second(Envelope::sign(PAYLOAD_TYPE, b"{}", &gateway()).to_json()), (part, "not_a_run"));
    let mut foreign = run.clone();
    foreign.gateway.id = stranger().public().id();
    assert_eq!(second(signed(&foreign, &gateway())), (part, "other_gateway"));
    assert_eq!(second(chain(1).pop().unwrap().1.envelope), (part, "other_seq"));
}

#[test]
fn tombstones() {
    let part = Part::Tombstones;
    let third = |content: Vec<u8>| lying(|parts| set(parts, Kind::Tombstone(3, 3), content));
    assert_eq!(third(b"{}".into()), (part, "malformed"));
    assert_eq!(third(stone(&Tombstone { count: Some(7), ..tombstone(3, 3) })), (part, "malformed"));
    assert_eq!(third(stone(&tombstone(2, 3))), (part, "other_range"));
    let forged = tombstone(3, 3).sign(&stranger()).unwrap().to_json();
    assert_eq!(third(forged.into()), (part, "unknown_key"));
}

#[test]
fn the_chain() {
    let part = Part::Chain;
    let folding = stone(&Tombstone { digest: Some(Digest::of(b"other")), ..tombstone(2, 2) });
    assert_eq!(lying(|parts| set(parts, Kind::Tombstone(2, 2), folding)), (part, "fork"));
    assert_eq!(lying(|parts| drop(parts.remove(&Kind::Tombstone(3, 3).path()))), (part, "gap"));
    assert_eq!(tampered(|files| reseal(files, |manifest| manifest.last_seq = 5)), (part, "gap"));
    let (mut fork, _) = chain(2).pop().unwrap();
    fork.clock.uptime_ms += 1;
    let fork = fork.sign(&gateway()).unwrap().envelope;
    let forked = |parts: &mut Parts| {
        set(parts, Kind::Run(2), fork);
        parts.remove(&Kind::Receipt(2).path());
    };
    assert_eq!(lying(forked), (part, "fork"));
    // One that does not know what came before may follow anything.
    let unknowing = Tombstone { prev: None, ..tombstone(3, 3) };
    let mut parts = good();
    // So may one stand for a run that is there all the same.
    set(&mut parts, Kind::Tombstone(2, 3), stone(&tombstone(2, 3)));
    set(&mut parts, Kind::Tombstone(3, 3), stone(&unknowing));
    assert!(replay(&seal(&parts, Maker::Agent), &Trust::default()).holds);
}

#[test]
fn receipts() {
    let part = Part::Receipts;
    let of = |seq: u64, content: Vec<u8>| lying(|parts| set(parts, Kind::Receipt(seq), content));
    assert_eq!(of(1, b"{}".into()), (part, "malformed"));
    assert_eq!(of(1, receipt(1, None, &stranger())), (part, "unknown_key"));
    assert_eq!(of(3, receipt(3, None, &sink())), (part, "no_run"));
    assert_eq!(of(1, receipt(2, None, &sink())), (part, "other_run"));
    let mut parts = good();
    set(&mut parts, Kind::Receipt(2), receipt(2, None, &sink()));
    let report = replay(&seal(&parts, Maker::Agent), &Trust::default());
    let said = not_checked(&report);
    assert!(report.holds && said.iter().any(|(part, why)| *part == Part::Log && why.contains("1 without a proof")));
}

#[test]
fn the_log() {
    let part = Part::Log;
    let second = |log: LogProof| lying(|parts| set(parts, Kind::Receipt(2), receipt(2, Some(log), &sink())));
    let log = Log::of(&[digest(1), Digest::of(b"foreign"), digest(2)]);
    let note = log.checkpoint(3, &stranger());
    assert_eq!(second(LogProof { checkpoint: note, ..log.proof(2) }), (part, "bad_checkpoint"));
    assert_eq!(second(LogProof { index: 1, ..log.proof(2) }), (part, "not_included"));
    assert_eq!(second(LogProof { index: 3, ..log.proof(2) }), (part, "not_included"));
    // Another log of the size that the first receipt speaks of, and another run for its leaf.
    assert_eq!(second(Log::of(&[digest(2)]).proof(0)), (part, "log_forked"));
    assert_eq!(second(Log::of(&[digest(2), digest(1)]).proof(0)), (part, "log_forked"));
}

#[test]
fn the_history() {
    let part = Part::Log;
    let log = Log::of(&[digest(1), Digest::of(b"foreign"), digest(2)]);
    let bytes = |link: &LogLink| canonical::to_vec(link).unwrap();
    let linked = |from, to, content: Vec<u8>| lying(|parts| set(parts, Kind::Consistency(from, to), content));
    assert_eq!(linked(1, 3, b"{}".into()), (part, "malformed"));
    assert_eq!(linked(1, 3, [bytes(&log.link(1, 3)).as_slice(), b"\n"].concat()), (part, "malformed"));
    let forged = LogLink { from: log.checkpoint(1, &stranger()), ..log.link(1, 3) };
    assert_eq!(linked(1, 3, bytes(&forged)), (part, "bad_checkpoint"));
    assert_eq!(linked(1, 2, bytes(&log.link(1, 3))), (part, "other_range"));
    let (from, to) = (log.checkpoint(3, &sink()), log.checkpoint(1, &sink()));
    let backwards = LogLink { from, to, consistency: ConsistencyProof::default() };
    assert_eq!(linked(3, 1, bytes(&backwards)), (part, "other_range"));
    let forked = Log::of(&[digest(1), digest(2), Digest::of(b"foreign")]).link(1, 3);
    assert_eq!(linked(1, 3, bytes(&forked)), (part, "log_forked"));
    let unproved = LogLink { consistency: ConsistencyProof::default(), ..log.link(1, 3) };
    assert_eq!(linked(1, 3, bytes(&unproved)), (part, "not_consistent"));
    // A history that was rewritten and shows it nowhere else.
    let rewritten = Log::of(&[Digest::of(b"other"), digest(2)]).checkpoint(2, &sink());
    assert_eq!(linked(1, 2, bytes(&LogLink { to: rewritten, ..log.link(1, 2) })), (part, "not_consistent"));
}

#[test]
fn histories_that_nothing_connects_are_told_and_not_broken() {
    let said = |change: &dyn Fn(&mut Parts)| {
        let mut parts = good();
        change(&mut parts);
        let report = replay(&seal(&parts, Maker::Agent), &Trust::default());
        assert!(report.holds, "{report:?}");
        not_checked(&report).into_iter().filter(|(part, _)| *part == Part::Log).map(|(_, why)| why).collect::<String>()
    };
    let unlinked = said(&|parts| drop(parts.remove(&Kind::Consistency(1, 3).path())));
    assert!(unlinked.contains("they are 2") && unlinked.contains("(1 leaves, 3 leaves)"), "{unlinked}");
    // A link that leads elsewhere connects nothing; by way of another checkpoint they are one.
    let log = Log::of(&[digest(1), Digest::of(b"foreign"), digest(2), Digest::of(b"more")]);
    let link = |parts: &mut Parts, from, to| {
        set(parts, Kind::Consistency(from, to), canonical::to_vec(&log.link(from, to)).unwrap());
    };
    let elsewhere = said(&|parts| {
        parts.remove(&Kind::Consistency(1, 3).path());
        link(parts, 3, 4);
    });
    assert!(elsewhere.contains("whether 3 checkpoints") && elsewhere.contains("(1 leaves, 3 to 4 leaves)"));
    let by_way = said(&|parts| {
        parts.remove(&Kind::Consistency(1, 3).path());
        link(parts, 1, 2);
        link(parts, 2, 4);
        link(parts, 3, 4);
    });
    assert_eq!(by_way, "");
}

#[test]
fn packs() {
    let part = Part::Packs;
    let other = PACK.replacen("severity = \"high\"", "severity = \"low\"", 1);
    assert_eq!(lying(|parts| set(parts, Kind::Pack(pack()), "name = ")), (part, "bad_pack"));
    assert_eq!(lying(|parts| set(parts, Kind::Pack(pack()), [0xff])), (part, "bad_pack"));
    assert_eq!(lying(|parts| set(parts, Kind::Pack(pack()), other)), (part, "wrong_pack"));
}

#[test]
fn verdicts() {
    let part = Part::Verdicts;
    let claimed = |seq: u64, pack: Digest, claim: &Claim| {
        let content = canonical::to_vec(claim).unwrap();
        lying(move |parts| set(parts, Kind::Claim(seq, pack), content))
    };
    let claim: Claim = serde_json::from_slice(&good()[&Kind::Claim(1, pack()).path()].1).unwrap();
    assert_eq!(lying(|parts| set(parts, Kind::Claim(1, pack()), "{}")), (part, "malformed"));
    assert_eq!(claimed(3, pack(), &Claim { run: digest(3), ..claim.clone() }), (part, "no_run"));
    assert_eq!(claimed(2, pack(), &claim), (part, "other_run"));
    let unknown = Digest::of(b"unknown");
    assert_eq!(claimed(1, unknown, &Claim { pack: unknown, ..claim.clone() }), (part, "missing_pack"));
    assert_eq!(claimed(1, pack(), &Claim { assessment: unknown, ..claim }), (part, "other_verdict"));
}
