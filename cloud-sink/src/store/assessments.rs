//! What runs mean under a pack, and the log of packs that judged here.

use gatepost_evidence::id::Digest;
use gatepost_rules::assess::Assessment;
use gatepost_rules::decision::{Decision, Posture};
use gatepost_rules::pack::PackRef;
use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::{StoreError, json, parsed, to_json};

/// What is known about the judgement of a run under a pack.
#[derive(Debug, Clone, PartialEq)]
pub enum Judgement {
    /// It was judged.
    Judged(Box<Assessment>),
    /// It could not be judged, for this reason.
    Failed(String),
    /// It waits for the worker.
    Waiting,
}

/// Logs that `pack` judges here.
///
/// # Errors
/// SQLite's.
pub fn log_pack(connection: &Connection, pack: &PackRef, now: Timestamp) -> Result<(), StoreError> {
    connection.execute(
        "INSERT INTO packs (digest, name, version, first_used_at) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
        params![pack.digest.to_string(), pack.name, pack.version, now.to_string()],
    )?;
    Ok(())
}

/// Keeps the judgement of `run` under `pack`: an assessment, or why there is none.
///
/// # Errors
/// SQLite's.
pub fn insert(
    connection: &Connection,
    run: Digest,
    pack: Digest,
    judged: &Result<Assessment, String>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO assessments (run, pack, judged_at, digest, json, failure) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
               ON CONFLICT DO NOTHING";
    let (digest, json, failure) = match judged {
        Ok(assessment) => (Some(assessment.digest().to_string()), Some(to_json(assessment)?), None),
        Err(why) => (None, None, Some(why)),
    };
    let values = params![run.to_string(), pack.to_string(), now.to_string(), digest, json, failure];
    connection.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

/// The judgement of `run` under `pack`.
///
/// # Errors
/// SQLite's.
pub fn get(connection: &Connection, run: Digest, pack: Digest) -> Result<Judgement, StoreError> {
    let sql = "SELECT json, failure FROM assessments WHERE run = ?1 AND pack = ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([run.to_string(), pack.to_string()])?;
    let Some(row) = rows.next()? else { return Ok(Judgement::Waiting) };
    Ok(match row.get::<_, Option<String>>("failure")? {
        Some(why) => Judgement::Failed(why),
        None => Judgement::Judged(json(row, "json")?),
    })
}

/// A judgement in a few words, without its rows.
#[derive(Debug, Clone, PartialEq)]
pub enum Summary {
    /// It was judged.
    Judged(Posture, Decision),
    /// It could not be judged, for this reason.
    Failed(String),
    /// It waits for the worker.
    Waiting,
}

/// The judgement of `run` under `pack` in a few words; far cheaper than [`get`].
///
/// # Errors
/// SQLite's.
pub fn summary(connection: &Connection, run: Digest, pack: Digest) -> Result<Summary, StoreError> {
    let sql = "SELECT json_extract(json, '$.posture') AS posture, json_extract(json, '$.decision') AS decision, failure
               FROM assessments WHERE run = ?1 AND pack = ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([run.to_string(), pack.to_string()])?;
    let Some(row) = rows.next()? else { return Ok(Summary::Waiting) };
    if let Some(why) = row.get::<_, Option<String>>("failure")? {
        return Ok(Summary::Failed(why));
    }
    let decision = serde_json::from_value(serde_json::Value::String(row.get("decision")?));
    let decision = decision.map_err(|error| StoreError::Damaged(format!("decision: {error}")))?;
    Ok(Summary::Judged(json(row, "posture")?, decision))
}

/// Runs that have no judgement under `pack`, in the order they came, at most `limit`.
///
/// # Errors
/// SQLite's.
pub fn waiting(connection: &Connection, pack: Digest, limit: usize) -> Result<Vec<Digest>, StoreError> {
    let sql = "SELECT digest FROM runs
               WHERE NOT EXISTS (SELECT 1 FROM assessments WHERE run = runs.digest AND pack = ?1)
               ORDER BY rowid LIMIT ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![pack.to_string(), i64::try_from(limit).unwrap_or(i64::MAX)])?;
    let mut digests = Vec::new();
    while let Some(row) = rows.next()? {
        digests.push(parsed(row, "digest")?);
    }
    Ok(digests)
}
