//! What must hold once everything has healed and drained, whatever happened before.
//!
//! Every run that was reported as done is at the sink exactly once, with the very bytes that were signed, or a tombstone that
//! the gateway signed stands for it. Nothing is at the sink that the gateway did not make. The chain goes through from its
//! first place to its last, every run is in the sink's log, that log continues the one that the agent saw, and what both
//! export passes `gatepost verify`.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context as _, Result, bail, ensure};
use gatepost_evidence::archive;
use gatepost_evidence::bundle::Kind;
use gatepost_evidence::chain::folds_others;
use gatepost_evidence::checkpoint::{Checkpoint, LogProof};
use gatepost_evidence::envelope::Envelope;
use gatepost_evidence::id::Digest;
use gatepost_evidence::receipt::{Acknowledgement, Receipt};
use gatepost_evidence::rotation::Keyring;
use gatepost_evidence::tombstone::Tombstone;
use gatepost_evidence::verify::VerifiedRun;
use gatepost_evidence::wire::LogConsistency;
use serde_json::Value;

use super::Tally;
use super::fault::Fault;
use super::field::{Field, Rotated};

/// In one of so many seeds the agent's bundle is verified, too: each time costs a tenth of a second.
const AGENT_VERIFIED: u64 = 4;

/// What a bundle has in it.
struct Contents {
    ring: Keyring,
    runs: BTreeMap<u64, (VerifiedRun, Vec<u8>)>,
    tombstones: Vec<Tombstone>,
    words: BTreeMap<u64, Acknowledgement>,
}

impl Contents {
    fn covered(&self, seq: u64) -> bool {
        self.tombstones.iter().any(|tombstone| tombstone.covers(seq))
    }
}

/// Judges a field that has been healed.
///
/// # Errors
/// What does not hold.
pub fn judge(field: &mut Field) -> Result<Tally> {
    let status = field.command(&["status", "--format", "json"], Fault::None)?.expect_code(0)?.json()?;
    ensure!(status["pending"] == 0, "runs are left in the spool: {status}");
    // Nothing that happens here is a reason to refuse a run.
    ensure!(status["quarantined"] == Value::Array(Vec::new()), "runs were quarantined: {status}");
    ensure!(status["damage"].is_null(), "the spool was damaged: {status}");
    let disputes = status["log_disputes"].as_array().map_or(0, Vec::len);
    // Whoever restores it from a backup makes it break its log; nothing else does, nor an answer that is another's.
    let unexcused = field.disputes_before.unwrap_or(disputes);
    ensure!(unexcused == 0, "the agent says that the sink broke its log, and it did not: {}", status["log_disputes"]);
    let last = status["last_run"].as_u64().context("there is no run")?;

    let agent = exported_by_agent(field)?;
    let sink = exported_by_sink(field)?;
    places(field, &agent, &sink, last)?;
    chain(&agent, &sink, last)?;
    log(field, &agent, &sink)?;
    keys(field, &agent.ring, &sink.ring)?;
    neighbour(field)?;
    let buried = (1..=last).filter(|seq| agent.covered(*seq)).count();
    let (reported, arrived) = (field.reported.len(), sink.runs.len());
    let (rotated, neighbours) = (field.rotated.len(), field.neighbour.reported.len());
    let (faults, spoiled) = (field.faults, field.proxy.spoiled());
    Ok(Tally { reported, arrived, buried, faults, spoiled, disputes, rotated, neighbours })
}

/// Every rotation that was reported took place, both know the same keys, and none that nobody asked for.
fn keys(field: &Field, agent: &Keyring, sink: &Keyring) -> Result<()> {
    ensure!(agent == sink, "the sink knows other keys than the agent: {sink:?} {agent:?}");
    let count = agent.rotations().len();
    ensure!(count <= field.rotations, "there are {count} rotations after {} times", field.rotations);
    for Rotated { seq, key } in &field.rotated {
        let there = agent.keys().any(|(from, of)| (from, of.digest()) == (*seq, *key));
        ensure!(there, "the key {key} from run {seq} on was reported and is not in the ring");
    }
    Ok(())
}

/// The other gateway has nothing left, and the sink has the very runs that it reported.
fn neighbour(field: &Field) -> Result<()> {
    if field.neighbour.reported.is_empty() {
        return Ok(());
    }
    let status = field.neighbour.status()?;
    let left = status["pending"] != 0 || status["quarantined"] != Value::Array(Vec::new());
    ensure!(!left, "the other gateway has something left: {status}");
    let disputed = field.disputes_before.is_none() && status["log_disputes"] != Value::Array(Vec::new());
    ensure!(!disputed, "the other gateway says that the sink broke its log, and it did not: {status}");
    let id = status["gateway"].as_str().context("no gateway")?;
    let arrived = listed(field, id)?;
    let expected: Vec<_> = field.neighbour.reported.iter().map(|(seq, digest)| (*seq, digest.to_string())).collect();
    ensure!(arrived == expected, "of the other gateway {expected:?} were reported and {arrived:?} are there");
    Ok(())
}

/// Every reported run arrived or is buried, and nothing else is there.
fn places(field: &Field, agent: &Contents, sink: &Contents, last: u64) -> Result<()> {
    let mut by_place: BTreeMap<u64, Option<Digest>> = BTreeMap::new();
    for reported in &field.reported {
        let before = by_place.insert(reported.seq, reported.digest);
        ensure!(before.is_none(), "place {} was reported twice", reported.seq);
    }
    ensure!(last <= field.attempts, "there are {last} runs after {} audits", field.attempts);
    for (&seq, &digest) in &by_place {
        ensure!(seq <= last, "run {seq} was reported, but the chain ends at {last}");
        match sink.runs.get(&seq) {
            Some((run, _)) => {
                let same = digest.is_none_or(|digest| digest == run.digest());
                ensure!(same, "run {seq} was reported as {digest:?} and is {} at the sink", run.digest());
            }
            None => ensure!(agent.covered(seq), "run {seq} was reported as done and is nowhere"),
        }
    }
    // What a tombstone says of the runs that went is what was reported of them.
    let known: BTreeMap<u64, Digest> = by_place.iter().filter_map(|(seq, digest)| Some((*seq, (*digest)?))).collect();
    for stone in agent.tombstones.iter().chain(&sink.tombstones) {
        let Tombstone { from_seq, to_seq, first_digest, last_digest, .. } = stone;
        let other = |seq: &u64, said: &Option<Digest>| known.get(seq).zip(said.as_ref()).is_some_and(|(a, b)| a != b);
        let others = other(from_seq, first_digest) || other(to_seq, last_digest) || folds_others(stone, &known);
        ensure!(!others, "the tombstone of {from_seq} to {to_seq} stands for other runs than were reported");
        let stands = (*from_seq..=*to_seq).all(|seq| agent.covered(seq));
        ensure!(stands, "the sink has a tombstone of {from_seq} to {to_seq} that the agent does not have");
    }
    for (seq, (run, bytes)) in &sink.runs {
        ensure!(*seq <= last, "run {seq} is at the sink, but the chain ends at {last}");
        match agent.runs.get(seq) {
            Some((_, made)) => ensure!(made == bytes, "run {seq} is not at the sink as it was signed"),
            None => ensure!(agent.covered(*seq), "run {seq} ({}) is at the sink and nobody made it", run.digest()),
        }
    }
    let untold = (1..=last).find(|seq| !sink.runs.contains_key(seq) && !sink.covered(*seq));
    ensure!(untold.is_none(), "the sink has neither a run nor a tombstone at place {untold:?}");
    let listed = listed(field, &field.gateway.id().to_string())?;
    let expected: Vec<_> = sink.runs.iter().map(|(seq, (run, _))| (*seq, run.digest().to_string())).collect();
    ensure!(listed == expected, "the sink lists {listed:?} and exports {expected:?}");
    Ok(())
}

/// From the first place to the last, each names the one before it.
fn chain(agent: &Contents, sink: &Contents, last: u64) -> Result<()> {
    let mut before: Option<Digest> = None;
    let mut seq = 1;
    while seq <= last {
        if let Some((run, _)) = sink.runs.get(&seq) {
            ensure!(run.run().prev == before, "run {seq} does not follow what stands before it");
            (before, seq) = (Some(run.digest()), seq + 1);
            continue;
        }
        // A run that arrived may stand in the middle of a tombstone: then its digest is not needed from there.
        let Some(tombstone) = agent.tombstones.iter().find(|tombstone| tombstone.covers(seq)) else {
            bail!("place {seq} is empty");
        };
        if tombstone.from_seq == seq && tombstone.prev.is_some() {
            ensure!(tombstone.prev == before, "the tombstone from {seq} does not follow what stands before it");
        }
        let next = (seq..=tombstone.to_seq).find(|seq| sink.runs.contains_key(seq));
        match next {
            Some(next) => {
                let (run, _) = &sink.runs[&next];
                (before, seq) = (run.run().prev, next);
            }
            None => (before, seq) = (Some(tombstone.link()?), tombstone.to_seq + 1),
        }
    }
    Ok(())
}

/// Every run has a receipt and is in one log, which continues what the agent saw.
fn log(field: &Field, agent: &Contents, sink: &Contents) -> Result<()> {
    let url = format!("http://{}", field.sink.port.address());
    let note = get(&format!("{url}/v1/log/checkpoint"), None)?;
    let checkpoint = Checkpoint::open(&note, &field.sink_key).context("the sink's checkpoint")?;
    let mut leaves = std::collections::BTreeSet::new();
    for (seq, (run, _)) in &sink.runs {
        let word = sink.words.get(seq).with_context(|| format!("the sink gave no receipt for run {seq}"))?;
        let receipt = Receipt::open(&word.receipt, &field.sink_key)?;
        ensure!((receipt.seq, receipt.digest) == (*seq, run.digest()), "the receipt for run {seq} is another's");
        let proof: &LogProof = word.log.as_ref().with_context(|| format!("run {seq} is not in the log"))?;
        let of = proof.verify(run.digest(), &field.sink_key).with_context(|| format!("run {seq} is not in the log"))?;
        ensure!(of.root() == checkpoint.root(), "run {seq} is in another log");
        ensure!(leaves.insert(proof.index), "leaf {} is that of two runs", proof.index);
    }
    ensure!(
        u64::try_from(leaves.len())? <= checkpoint.size(),
        "{} runs in a log of {}",
        leaves.len(),
        checkpoint.size()
    );
    for (seq, word) in &agent.words {
        let (Some(proof), Some((run, _))) = (&word.log, agent.runs.get(seq)) else {
            bail!("the agent's word on run {seq} has no run or no place in the log");
        };
        let seen =
            proof.verify(run.digest(), &field.sink_key).with_context(|| format!("the agent's proof of run {seq}"))?;
        let path = format!("{url}/v1/log/consistency?from={}&to={}", seen.size(), checkpoint.size());
        let proof: LogConsistency = serde_json::from_str(&get(&path, None)?)?;
        let continues = proof.consistency.verify(&seen.root(), &checkpoint.root());
        continues.with_context(|| format!("the log does not continue the one that run {seq} was acknowledged in"))?;
    }
    Ok(())
}

fn exported_by_agent(field: &mut Field) -> Result<Contents> {
    let path = field.folder.path().join("agent.tar.zst");
    let file = path.to_str().context("the folder is not UTF-8")?.to_owned();
    field.command(&["export", "--output", &file], Fault::None)?.expect_code(0)?;
    let contents = contents(field, &fs::read(&path)?)?;
    if field.seed.is_multiple_of(AGENT_VERIFIED) {
        verified(field, &file)?;
    }
    Ok(contents)
}

fn exported_by_sink(field: &mut Field) -> Result<Contents> {
    let path = field.folder.path().join("sink.tar.zst");
    let file = path.to_str().context("the folder is not UTF-8")?.to_owned();
    let gateway = field.gateway.id().to_string();
    field.sink.command(&["export", "--gateway", &gateway, "--output", &file])?.expect_code(0)?;
    let contents = contents(field, &fs::read(&path)?)?;
    verified(field, &file)?;
    Ok(contents)
}

/// What a bundle has in it, each opened with a key of the gateway's ring.
fn contents(field: &Field, bundle: &[u8]) -> Result<Contents> {
    let files = archive::read(bundle)?;
    let mut rotations = BTreeMap::new();
    for (name, bytes) in &files {
        if let Some(Kind::Rotation(seq)) = Kind::of(name) {
            rotations.insert(seq, Envelope::parse(bytes)?);
        }
    }
    let ring = Keyring::of(field.gateway.clone(), rotations.values()).context("the key rotations")?;
    let mut contents = Contents { ring, runs: BTreeMap::new(), tombstones: Vec::new(), words: BTreeMap::new() };
    for (name, bytes) in files {
        match Kind::of(&name) {
            Some(Kind::Run(seq)) => {
                let run = VerifiedRun::open(&Envelope::parse(&bytes)?, &contents.ring).with_context(|| name.clone())?;
                ensure!(run.run().seq == seq, "{name} holds run {}", run.run().seq);
                contents.runs.insert(seq, (run, bytes));
            }
            Some(Kind::Tombstone(..)) => {
                let tombstone =
                    Tombstone::open(&Envelope::parse(&bytes)?, &contents.ring).with_context(|| name.clone())?;
                contents.tombstones.push(tombstone);
            }
            Some(Kind::Receipt(seq)) => {
                contents.words.insert(seq, Acknowledgement::parse(&bytes)?);
            }
            _ => {}
        }
    }
    contents.tombstones.sort_by_key(|tombstone| tombstone.from_seq);
    Ok(contents)
}

/// `gatepost verify`, with the keys that it should find.
fn verified(field: &mut Field, file: &str) -> Result<()> {
    let (gateway, sink) = (field.folder.path().join("gateway.pem"), field.folder.path().join("sink.pem"));
    fs::write(&gateway, field.gateway.to_pem())?;
    fs::write(&sink, field.sink_key.to_pem())?;
    let mut verify = crate::process::command(&field.agent);
    verify.args(["verify", file, "--format", "json"]).arg("--gateway-key").arg(&gateway).arg("--sink-key").arg(&sink);
    let finished = crate::agent::run(verify, super::PATIENCE)?;
    let report = finished.json()?;
    let reason = report["reason"].as_str();
    let broken = || {
        let checks = report["checks"].as_array().into_iter().flatten();
        let broken: Vec<_> = checks.filter(|check| check["result"] == "broken").map(Value::to_string).collect();
        broken.join("\n")
    };
    ensure!(reason.is_none(), "{file} does not pass: {}", broken());
    Ok(())
}

/// The places and digests that the sink's API lists of a gateway, in order.
fn listed(field: &Field, gateway: &str) -> Result<Vec<(u64, String)>> {
    let (mut seqs, mut below) = (Vec::new(), String::new());
    loop {
        let url = format!("http://{}/api/v1/gateways/{gateway}/runs{below}", field.sink.port.address());
        let page: Value = serde_json::from_str(&get(&url, Some(&field.operator_token))?)?;
        for run in page["runs"].as_array().context("no list of runs")? {
            let digest = run["digest"].as_str().context("a run without a digest")?.to_owned();
            seqs.push((run["seq"].as_u64().context("a run without a place")?, digest));
        }
        match page["next"].as_u64() {
            Some(next) => below = format!("?below={next}"),
            None => break,
        }
    }
    seqs.reverse();
    Ok(seqs)
}

fn get(url: &str, token: Option<&str>) -> Result<String> {
    let agent: ureq::Agent = ureq::Agent::config_builder().proxy(None).http_status_as_error(false).build().into();
    let mut request = agent.get(url);
    if let Some(token) = token {
        request = request.header("Authorization", format!("Bearer {token}"));
    }
    let mut answer = request.call().with_context(|| url.to_owned())?;
    let text = answer.body_mut().read_to_string()?;
    ensure!(answer.status().as_u16() == 200, "GET {url}: {}: {text}", answer.status());
    Ok(text)
}
