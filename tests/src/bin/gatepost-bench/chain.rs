//! Chains of runs like one that the lab's gateway made: what it sees stays, places and times go on.

use anyhow::Result;
use gatepost_evidence::id::Digest;
use gatepost_evidence::key::SigningKey;
use gatepost_evidence::run::{Run, SignedRun};
use jiff::SignedDuration;

/// The key of a gateway by its number.
pub fn key(number: usize) -> Result<SigningKey> {
    let mut seed = [0x5a; 32];
    seed[..8].copy_from_slice(&(number as u64).to_be_bytes());
    Ok(SigningKey::from_seed(&seed)?)
}

/// The run at place `seq` of the chain of `key`, an hour after the one before.
pub fn run(sample: &Run, key: &SigningKey, seq: u64, prev: Option<Digest>) -> Result<SignedRun> {
    let mut run = sample.clone();
    let later = SignedDuration::from_hours(i64::try_from(seq)?);
    (run.seq, run.prev, run.gateway.id) = (seq, prev, key.public().id());
    run.clock.uptime_ms += seq * 3_600_000;
    run.started_at += later;
    run.finished_at += later;
    for record in &mut run.records {
        record.observed_at += later;
        record.duration_ms += seq % 7;
    }
    Ok(run.sign(key)?)
}

/// So many runs that follow each other.
pub fn runs(sample: &Run, key: &SigningKey, count: u64) -> Result<Vec<SignedRun>> {
    let mut runs: Vec<SignedRun> = Vec::new();
    for seq in 1..=count {
        runs.push(run(sample, key, seq, runs.last().map(|run| run.digest))?);
    }
    Ok(runs)
}
