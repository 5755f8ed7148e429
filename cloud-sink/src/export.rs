//! What goes into an evidence bundle of one gateway: its runs and tombstones as they came, the receipts, and proofs against
//! one checkpoint of the whole log, so that they all speak of the same history.

use std::ops::RangeInclusive;

use gatepost_evidence::bundle::{Claim, Draft, Kind};
use gatepost_evidence::checkpoint::{Checkpoint, LogProof};
use gatepost_evidence::envelope::Envelope;
use gatepost_evidence::key::SigningKey;
use gatepost_evidence::receipt::Acknowledgement;
use gatepost_rules::assess::assess;
use gatepost_rules::pack::{BUILTIN_TOML, Pack};
use rusqlite::Connection;

use crate::judge;
use crate::store::assessments::{self, Judgement};
use crate::store::gateways::Gateway;
use crate::store::log::Log;
use crate::store::tombstones::{self, TombstoneMeta};
use crate::store::{StoreError, runs};

/// Collects the runs of `gateway` with a place in `places`, and the tombstones that reach into them. What the sink judged them to be under `pack` is claimed as it is
/// stored; a run that was not judged yet is judged now.
///
/// # Errors
/// The database's, or when something in it cannot be read back.
pub(crate) fn collect(
    connection: &Connection,
    gateway: &Gateway,
    places: RangeInclusive<u64>,
    pack: &Pack,
    key: &SigningKey,
) -> Result<Draft, StoreError> {
    let damaged = |error: &dyn std::fmt::Display| StoreError::Damaged(error.to_string());
    let mut log = Log::open(connection)?;
    let checkpoint = Checkpoint::sign(log.root()?, key);
    let mut draft = Draft::new();
    let below = places.end().saturating_add(1).min(i64::MAX.unsigned_abs());
    for meta in runs::list(connection, gateway.id, Some(below), usize::MAX)? {
        if meta.seq < *places.start() {
            break;
        }
        let Some(run) = runs::by_digest(connection, meta.digest)? else { continue };
        let (receipt, index) =
            runs::receipt(connection, meta.digest)?.ok_or_else(|| damaged(&"a run without a receipt"))?;
        let receipt = Envelope::parse(receipt.as_bytes()).map_err(|error| damaged(&error))?;
        let inclusion = log.prove_inclusion(index)?;
        let proof = LogProof { index, inclusion, checkpoint: checkpoint.note().to_owned() };
        draft.add(Kind::Receipt(meta.seq), Acknowledgement { receipt, log: Some(proof) }.to_json());
        let assessment = match assessments::get(connection, meta.digest, pack.reference().digest)? {
            Judgement::Judged(assessment) => assessment.digest(),
            // Judging is pure: what comes out now is what the worker will store.
            Judgement::Failed(_) | Judgement::Waiting => {
                assess(judge::open(connection, &run)?.run(), meta.digest, pack).digest()
            }
        };
        let claim = Claim { run: meta.digest, pack: pack.reference().digest, assessment };
        draft.claim(meta.seq, &claim).map_err(|error| damaged(&error))?;
        draft.add(Kind::Run(meta.seq), run.envelope);
    }
    for stone in stones(connection, gateway, &places)? {
        let stored = tombstones::get(connection, gateway.id, stone.digest)?;
        let stored = stored.ok_or_else(|| damaged(&"a tombstone is gone"))?;
        draft.add(Kind::Tombstone(stone.from, stone.to), stored.envelope);
    }
    draft.key(Kind::GatewayKey, &gateway.public_key);
    draft.key(Kind::SinkKey, key.public());
    draft.add(Kind::Pack(pack.reference().digest), BUILTIN_TOML);
    Ok(draft)
}

/// The tombstones that reach into `places`, one for each range: a bundle has one name for it. Of several, that which the
/// chain goes on from, else the newest.
fn stones(
    connection: &Connection,
    gateway: &Gateway,
    places: &RangeInclusive<u64>,
) -> Result<Vec<TombstoneMeta>, StoreError> {
    let mut chosen: Vec<TombstoneMeta> = Vec::new();
    for stone in tombstones::list(connection, gateway.id)? {
        if stone.to < *places.start() || stone.from > *places.end() {
            continue;
        }
        match chosen.last_mut().filter(|last| (last.from, last.to) == (stone.from, stone.to)) {
            Some(last) => {
                let next = runs::get(connection, gateway.id, stone.to.saturating_add(1))?.and_then(|run| run.meta.prev);
                if next.is_none() || next != Some(last.digest) {
                    *last = stone;
                }
            }
            None => chosen.push(stone),
        }
    }
    Ok(chosen)
}
