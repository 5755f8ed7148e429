//! How long the sink needs for what many gateways kept through an outage, beside its parts alone.
//!
//! The sink is a process of its own, over TLS, with an empty database in each round. Each gateway uploads as an agent does:
//! one connection, oldest first, the next batch after the answer to the one before. The parts are measured in the same round,
//! on the same runs: verifying them, hashing them into a log, and committing the same rows.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use gatepost_evidence::batch::{self, Encoded};
use gatepost_evidence::canonical;
use gatepost_evidence::chain::Link;
use gatepost_evidence::envelope::Envelope;
use gatepost_evidence::id::Digest;
use gatepost_evidence::key::{PublicKey, SigningKey};
use gatepost_evidence::log::{self, LogError, LogHash, NodeId};
use gatepost_evidence::run::{Run, SignedRun};
use gatepost_evidence::verify::VerifiedRun;
use gatepost_evidence::wire::{Answer, Answers, ENROL_PATH, ENROLMENT_TYPE, Enrolment, RUNS_PATH};
use gatepost_sink::store::gateways::{self, Gateway};
use gatepost_sink::store::log::Log;
use gatepost_sink::store::{Store, runs};
use gatepost_tests::http::Client;
use gatepost_tests::lab::Lab;

use crate::chain;
use crate::measure::{Spread, per_second};

/// Runs that each gateway kept: three days, one an hour.
const KEPT: u64 = 72;
/// The most runs in one upload of an agent.
const BATCH: usize = 64;

/// One gateway with what it kept.
struct Kept {
    key: SigningKey,
    runs: Vec<SignedRun>,
    bodies: Vec<Encoded>,
}

/// Lets `count` gateways hand over what they kept, all at once.
pub fn drain(lab: &Lab, sample: &Run, count: usize, rounds: usize) -> Result<()> {
    let gateways = (0..count).map(|number| kept(sample, chain::key(number + 1)?)).collect::<Result<Vec<_>>>()?;
    let total = gateways.iter().map(|gateway| gateway.runs.len()).sum::<usize>();
    let cores = std::thread::available_parallelism()?.get();
    let (mut drained, mut cpu, mut parts) = (Vec::new(), Vec::new(), BTreeMap::<&str, Vec<f64>>::new());
    let (mut verified_on_all, mut slowest) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let folder = lab.folder().join(format!("parts-{round}"));
        std::fs::create_dir_all(&folder)?;
        let verified = per_second(total, || gateways.iter().try_for_each(verify))?;
        let hashed = per_second(total, || hash(&gateways))?;
        let committed = commit(&folder.join("sink.db"), &gateways, total)?;
        verified_on_all.push(per_second(total, || on_all_cores(&gateways, cores))?);
        slowest.push(verified.min(hashed).min(committed));
        for (name, rate) in [("verify", verified), ("hash", hashed), ("commit", committed)] {
            parts.entry(name).or_default().push(rate);
        }
        std::fs::remove_dir_all(&folder)?;
        let (rate, used) = whole(lab, &format!("drain-{round}"), &gateways, total)?;
        drained.push(rate);
        cpu.push(used * 1e6 / total as f64);
    }
    let bytes: usize = gateways[0].bodies.iter().map(|body| body.body.len()).sum();
    let length = gateways[0].runs[0].envelope.len();
    println!(
        "\nsink, {count} gateways x {KEPT} spooled runs at once, {rounds} rounds, clients on the same {cores} cores"
    );
    println!("envelopes of {length} bytes, {} on the link; minimum / median / maximum", bytes as u64 / KEPT);
    let seconds = Spread::new(drained.iter().map(|rate| total as f64 / rate).collect())?;
    println!("  drained          {} runs/s, in {} s", Spread::new(drained.clone())?.show(0), seconds.show(2));
    println!("  CPU of the sink  {} us a run, what it judged meanwhile included", Spread::new(cpu)?.show(0));
    for (name, rates) in parts {
        let ratio = Spread::of_ratios(&drained, &rates)?.show(2);
        println!("  {name:<7}alone    {} runs/s   drained beside it {ratio}", Spread::new(rates)?.show(0));
    }
    println!("  drained beside the slowest part alone: {}", Spread::of_ratios(&drained, &slowest)?.show(2));
    let ratio = Spread::of_ratios(&drained, &verified_on_all)?.show(2);
    let rates = Spread::new(verified_on_all)?.show(0);
    println!("  verify alone on {cores} cores {rates} runs/s   drained beside it {ratio}");
    Ok(())
}

fn kept(sample: &Run, key: SigningKey) -> Result<Kept> {
    let runs = chain::runs(sample, &key, KEPT)?;
    let texts: Vec<&str> = runs.iter().map(|run| run.envelope.as_str()).collect();
    let bodies = texts.chunks(BATCH).map(|chunk| batch::encode(chunk.iter().copied(), None));
    let bodies = bodies.collect::<Result<_, _>>()?;
    Ok(Kept { key, runs, bodies })
}

/// Everything at once: the rate of accepted runs, and the seconds of CPU that the sink used.
fn whole(lab: &Lab, name: &str, gateways: &[Kept], total: usize) -> Result<(f64, f64)> {
    let sink = lab.start_sink(name)?;
    let client = Client::new(&lab.pki().ca)?;
    for gateway in gateways {
        enrol(&client, sink.url(), &gateway.key, sink.enrolment_token()?)?;
    }
    let url = format!("{}{RUNS_PATH}", sink.url());
    let process = sink.id().context("the sink does not run")?;
    let used = cpu_seconds(process)?;
    let began = Instant::now();
    // The answers are looked at when all are there: in the field that is somebody else's work.
    let answers = std::thread::scope(|scope| {
        let upload = |gateway: &Kept| {
            let client = Client::new(&lab.pki().ca)?;
            gateway.bodies.iter().map(|body| Ok(client.upload(&url, body)?)).collect::<Result<Vec<_>>>()
        };
        let uploads: Vec<_> = gateways.iter().map(|gateway| scope.spawn(move || upload(gateway))).collect();
        let joined = uploads.into_iter().map(|upload| upload.join());
        joined.map(|upload| upload.unwrap_or_else(|_| anyhow::bail!("an upload panicked"))).collect::<Result<Vec<_>>>()
    })?;
    let rate = total as f64 / began.elapsed().as_secs_f64();
    let used = cpu_seconds(process)? - used;
    let mut accepted = 0;
    for answer in answers.iter().flatten() {
        ensure!(answer.status == 200, "an upload was answered with {}: {}", answer.status, answer.body);
        let answers: Answers = serde_json::from_str(&answer.body)?;
        accepted += answers.answers.iter().filter(|answer| matches!(answer, Answer::Accepted { .. })).count();
    }
    ensure!(accepted == total, "{accepted} of {total} runs were accepted");
    Ok((rate, used))
}

/// Seconds of a core that a process used so far, by `/proc/PID/stat` (proc(5)).
fn cpu_seconds(process: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok());
    let (user, system) = ticks(11).zip(ticks(12)).context("/proc/PID/stat is not as expected")?;
    // USER_HZ is 100 on every Linux there is.
    Ok((user + system) / 100.0)
}

fn enrol(client: &Client, url: &str, key: &SigningKey, token: String) -> Result<()> {
    let enrolment = Enrolment {
        token,
        public_key: key.public().clone(),
        rotations: Vec::new(),
        name: "bench".into(),
        labels: BTreeMap::new(),
    };
    let body = Envelope::sign(ENROLMENT_TYPE, &canonical::to_vec(&enrolment)?, key).to_json();
    let answer = client.post(&format!("{url}{ENROL_PATH}"), None, &body)?;
    ensure!(answer.status == 200, "enrolment was answered with {}: {}", answer.status, answer.body);
    Ok(())
}

/// Parsing, signature, canonical form, shape.
fn verify(gateway: &Kept) -> Result<()> {
    let open = |run: &SignedRun| open(run, gateway.key.public()).map(drop);
    gateway.runs.iter().try_for_each(open)
}

fn open(run: &SignedRun, key: &PublicKey) -> Result<VerifiedRun> {
    let verified = VerifiedRun::open(&Envelope::parse(run.envelope.as_bytes())?, key)?;
    ensure!(verified.digest() == run.digest, "another run was verified");
    Ok(verified)
}

fn on_all_cores(gateways: &[Kept], cores: usize) -> Result<()> {
    std::thread::scope(|scope| {
        let shares = gateways.chunks(gateways.len().div_ceil(cores));
        let threads: Vec<_> = shares.map(|share| scope.spawn(move || share.iter().try_for_each(verify))).collect();
        let mut joined = threads.into_iter().map(|thread| thread.join());
        joined.try_for_each(|thread| thread.unwrap_or_else(|_| anyhow::bail!("a thread panicked")))
    })
}

/// SHA-256 of each envelope, and its leaf in a log in memory.
fn hash(gateways: &[Kept]) -> Result<()> {
    let mut nodes: HashMap<NodeId, LogHash> = HashMap::new();
    for (index, run) in (0..).zip(gateways.iter().flat_map(|gateway| &gateway.runs)) {
        let digest = Digest::of(run.envelope.as_bytes());
        let node = |id: NodeId| nodes.get(&id).copied().ok_or(LogError::NoSuchLeaf { index: id.number(), size: index });
        nodes.extend(log::append(index, digest, node)?);
    }
    Ok(())
}

/// The same rows as the sink's, in transactions of as many batches as there are gateways, each on disk before the next.
fn commit(path: &Path, gateways: &[Kept], total: usize) -> Result<f64> {
    let store = Store::open(path)?;
    let time = jiff::Timestamp::now();
    for gateway in gateways {
        let key = gateway.key.public().clone();
        let row =
            Gateway { id: key.id(), public_key: key, name: "bench".into(), labels: BTreeMap::new(), enrolled_at: time };
        store.write(move |connection| gateways::upsert(connection, &row)).wait()?;
    }
    let receipt = "x".repeat(600);
    // What the sink has in memory by then is made before the clock runs.
    let mut rounds: Vec<Vec<Vec<(Run, Digest, String)>>> = Vec::new();
    for gateway in gateways {
        for (round, batch) in gateway.runs.chunks(BATCH).enumerate() {
            let row = |run: &SignedRun| {
                anyhow::Ok((open(run, gateway.key.public())?.into_run(), run.digest, run.envelope.clone()))
            };
            let batch = batch.iter().map(row).collect::<Result<Vec<_>>>()?;
            rounds.resize_with(rounds.len().max(round + 1), Vec::new);
            rounds[round].push(batch);
        }
    }
    per_second(total, || {
        for batches in rounds {
            let receipt = receipt.clone();
            let written = batches.into_iter().map(|batch| {
                let receipt = receipt.clone();
                store.write(move |connection| {
                    let mut log = Log::open(connection)?;
                    for (run, digest, envelope) in &batch {
                        let index = log.append(*digest)?;
                        runs::insert(connection, run, *digest, Link::Continues, time, envelope, &receipt, index)?;
                    }
                    Ok(())
                })
            });
            written.collect::<Vec<_>>().into_iter().try_for_each(|written| written.wait())?;
        }
        Ok(())
    })
}
