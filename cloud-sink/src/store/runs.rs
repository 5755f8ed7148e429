//! Accepted runs, exactly as they came, and where each stands in its gateway's chain.

use std::collections::BTreeMap;

use gatepost_evidence::chain::{self, Known, Link, Piece};
use gatepost_evidence::id::{Digest, GatewayId};
use gatepost_evidence::run::{Run, Stage};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::{StoreError, parsed, parsed_optional, stored_seq, to_json, tombstones};

/// A run without its envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunMeta {
    /// SHA-256 of its payload.
    pub digest: Digest,
    /// Whose it is.
    pub gateway: GatewayId,
    /// Its place in the chain.
    pub seq: u64,
    /// The digest of the run before it.
    pub prev: Option<Digest>,
    /// Its stage.
    pub stage: Stage,
    /// Its bundle's name.
    pub bundle: String,
    /// When it started, by the gateway's clock.
    pub started_at: Timestamp,
    /// When it was accepted, by the sink's clock.
    pub received_at: Timestamp,
    /// How it related to what was known when it came.
    pub link: Link,
}

/// A run with what was sent and what was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRun {
    /// What it is.
    pub meta: RunMeta,
    /// The DSSE envelope, byte for byte as it came.
    pub envelope: String,
    /// The receipt that was given for it, a DSSE envelope.
    pub receipt: String,
}

/// A stretch of the chain that never came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct ChainGap {
    /// The first missing `seq`.
    pub from: u64,
    /// The last missing `seq`.
    pub to: u64,
}

/// Where a run stands relative to what is known of its gateway.
///
/// Beyond [`chain::link`]: neither the run after it nor a tombstone next to it or over it may name another run, and places
/// that tombstones stand for are not missing between the head and this run.
///
/// # Errors
/// SQLite's.
pub fn link(connection: &Connection, run: &Run, digest: Digest) -> Result<Link, StoreError> {
    let id = run.gateway.id;
    let head = head(connection, id)?;
    let next = head.map_or(1, |(seq, _)| seq.saturating_add(1));
    let buried = if run.seq > next { tombstones::covered_until(connection, id, next)? } else { None };
    let known = Known {
        head: match buried {
            // Only how far the chain goes is asked of it.
            Some(until) if until.saturating_add(1) >= run.seq => Some((run.seq - 1, digest)),
            _ => head,
        },
        at_seq: digest_at(connection, id, run.seq)?,
        // Whether the one before fits is found out below, with all that is known of it.
        before: None,
    };
    let link = chain::link(run.seq, digest, run.prev, known);
    if link != Link::Duplicate && tombstones::clashes(connection, id, Piece::run(run, digest))? {
        return Ok(Link::Fork);
    }
    Ok(link)
}

/// The runs of a gateway at `places`, as pieces of its chain.
///
/// # Errors
/// SQLite's.
pub(super) fn pieces(connection: &Connection, gateway: GatewayId, places: [u64; 4]) -> Result<Vec<Piece>, StoreError> {
    let sql = "SELECT seq, digest, prev FROM runs WHERE gateway = ?1 AND seq IN (?2, ?3, ?4, ?5)";
    let [a, b, c, d] = places.map(|place| i64::try_from(place).unwrap_or(i64::MAX));
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![gateway.to_string(), a, b, c, d])?;
    let mut pieces = Vec::new();
    while let Some(row) = rows.next()? {
        let (place, digest) = (seq(row)?, Some(parsed(row, "digest")?));
        let prev = parsed_optional(row, "prev")?;
        pieces.push(Piece { from: place, to: place, prev, first: digest, last: digest, own: None });
    }
    Ok(pieces)
}

/// The digest of the run of a gateway at `seq`.
fn digest_at(connection: &Connection, gateway: GatewayId, seq: u64) -> Result<Option<Digest>, StoreError> {
    let Ok(place) = i64::try_from(seq) else { return Ok(None) };
    let mut statement = connection.prepare_cached("SELECT digest FROM runs WHERE gateway = ?1 AND seq = ?2")?;
    let mut rows = statement.query(params![gateway.to_string(), place])?;
    rows.next()?.map(|row| parsed(row, "digest")).transpose()
}

/// The digests of a gateway's runs from place `from` to `to`, if there are `count` of them; else none.
///
/// # Errors
/// SQLite's.
pub(super) fn digests(
    connection: &Connection,
    gateway: GatewayId,
    from: u64,
    to: u64,
    count: u64,
) -> Result<BTreeMap<u64, Digest>, StoreError> {
    let range = params![gateway.to_string(), stored_seq(from)?, stored_seq(to)?];
    let sql = "SELECT count(*) FROM runs WHERE gateway = ?1 AND seq BETWEEN ?2 AND ?3";
    let there: i64 = connection.prepare_cached(sql)?.query_row(range, |row| row.get(0))?;
    let mut digests = BTreeMap::new();
    if there.unsigned_abs() != count {
        return Ok(digests);
    }
    let sql = "SELECT seq, digest FROM runs WHERE gateway = ?1 AND seq BETWEEN ?2 AND ?3";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(range)?;
    while let Some(row) = rows.next()? {
        digests.insert(seq(row)?, parsed(row, "digest")?);
    }
    Ok(digests)
}

/// The highest accepted `seq` of a gateway, and its digest.
///
/// # Errors
/// SQLite's.
pub fn head(connection: &Connection, gateway: GatewayId) -> Result<Option<(u64, Digest)>, StoreError> {
    let sql = "SELECT seq, digest FROM runs WHERE gateway = ?1 ORDER BY seq DESC LIMIT 1";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([gateway.to_string()])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    Ok(Some((seq(row)?, parsed(row, "digest")?)))
}

/// Keeps an accepted run, with its leaf of the log.
///
/// # Errors
/// SQLite's.
#[allow(clippy::too_many_arguments, reason = "one for each column that does not follow from the run")]
pub fn insert(
    connection: &Connection,
    run: &Run,
    digest: Digest,
    link: Link,
    received_at: Timestamp,
    envelope: &str,
    receipt: &str,
    log_index: u64,
) -> Result<(), StoreError> {
    let sql =
        "INSERT INTO runs (digest, gateway, seq, prev, stage, bundle, bundle_version, started_at, received_at, link,
                                 envelope, receipt, log_index)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)";
    connection.prepare_cached(sql)?.execute(params![
        digest.to_string(),
        run.gateway.id.to_string(),
        stored_seq(run.seq)?,
        run.prev.map(|prev| prev.to_string()),
        to_json(&run.stage)?,
        run.bundle.name,
        run.bundle.version,
        run.started_at.to_string(),
        received_at.to_string(),
        to_json(&link)?,
        envelope,
        receipt,
        stored_seq(log_index)?,
    ])?;
    Ok(())
}

/// The receipt that was given for the run with this digest, and its leaf of the log.
///
/// # Errors
/// SQLite's.
pub fn receipt(connection: &Connection, digest: Digest) -> Result<Option<(String, u64)>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT receipt, log_index FROM runs WHERE digest = ?1")?;
    Ok(statement.query_row([digest.to_string()], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
}

const META: &str = "digest, gateway, seq, prev, stage, bundle, started_at, received_at, link";

/// The runs of a gateway, newest first: at most `limit`, from `below` (exclusive) downwards.
///
/// # Errors
/// SQLite's.
pub fn list(
    connection: &Connection,
    gateway: GatewayId,
    below: Option<u64>,
    limit: usize,
) -> Result<Vec<RunMeta>, StoreError> {
    // Whoever asks from beyond what can be kept asks from the end.
    let below = below.and_then(|below| i64::try_from(below).ok()).unwrap_or(i64::MAX);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let sql = format!("SELECT {META} FROM runs WHERE gateway = ?1 AND seq < ?2 ORDER BY seq DESC LIMIT ?3");
    metas(connection, &sql, params![gateway.to_string(), below, limit])
}

/// When a run was made and when it arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// Its place in the chain.
    pub seq: u64,
    /// When it started, by the gateway's clock.
    pub started_at: Timestamp,
    /// When it was accepted, by the sink's clock.
    pub received_at: Timestamp,
}

/// The times of a gateway's newest runs, in the order of the chain: at most `limit`, back to the first that arrived before
/// `since`.
///
/// # Errors
/// SQLite's.
pub fn times(
    connection: &Connection,
    gateway: GatewayId,
    since: Option<Timestamp>,
    limit: usize,
) -> Result<Vec<Times>, StoreError> {
    let sql = "SELECT seq, started_at, received_at FROM runs WHERE gateway = ?1 ORDER BY seq DESC LIMIT ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![gateway.to_string(), i64::try_from(limit).unwrap_or(i64::MAX)])?;
    let mut times = Vec::new();
    while let Some(row) = rows.next()? {
        let run =
            Times { seq: seq(row)?, started_at: parsed(row, "started_at")?, received_at: parsed(row, "received_at")? };
        times.push(run);
        if since.is_some_and(|since| run.received_at < since) {
            break;
        }
    }
    times.reverse();
    Ok(times)
}

/// The first run of a gateway, by its place in the chain.
///
/// # Errors
/// SQLite's.
pub fn first(connection: &Connection, gateway: GatewayId) -> Result<Option<RunMeta>, StoreError> {
    let sql = format!("SELECT {META} FROM runs WHERE gateway = ?1 ORDER BY seq LIMIT 1");
    Ok(metas(connection, &sql, params![gateway.to_string()])?.pop())
}

/// How many runs of a gateway are kept.
///
/// # Errors
/// SQLite's.
pub fn count(connection: &Connection, gateway: GatewayId) -> Result<u64, StoreError> {
    let sql = "SELECT count(*) FROM runs WHERE gateway = ?1";
    let count: i64 = connection.prepare_cached(sql)?.query_row([gateway.to_string()], |row| row.get(0))?;
    Ok(count.unsigned_abs())
}

/// One run of a gateway by its place in the chain.
///
/// # Errors
/// SQLite's.
pub fn get(connection: &Connection, gateway: GatewayId, seq: u64) -> Result<Option<StoredRun>, StoreError> {
    let Ok(seq) = i64::try_from(seq) else { return Ok(None) };
    one(connection, "gateway = ?1 AND seq = ?2", params![gateway.to_string(), seq])
}

/// One run by its digest.
///
/// # Errors
/// SQLite's.
pub fn by_digest(connection: &Connection, digest: Digest) -> Result<Option<StoredRun>, StoreError> {
    one(connection, "digest = ?1", params![digest.to_string()])
}

/// The stretches of a gateway's chain that never came, oldest first, at most 100.
///
/// # Errors
/// SQLite's.
pub fn gaps(connection: &Connection, gateway: GatewayId) -> Result<Vec<ChainGap>, StoreError> {
    let sql = "SELECT before + 1, seq - 1
               FROM (SELECT seq, lag(seq, 1, 0) OVER (ORDER BY seq) AS before FROM runs WHERE gateway = ?1)
               WHERE seq > before + 1 ORDER BY seq LIMIT 100";
    let mut statement = connection.prepare_cached(sql)?;
    let gap = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?));
    let gaps = statement.query_map([gateway.to_string()], gap)?;
    gaps.map(|gap| {
        let (from, to) = gap?;
        Ok(ChainGap { from: from.unsigned_abs(), to: to.unsigned_abs() })
    })
    .collect()
}

fn one(
    connection: &Connection,
    which: &str,
    parameters: impl rusqlite::Params,
) -> Result<Option<StoredRun>, StoreError> {
    let mut statement = connection.prepare_cached(&format!("SELECT * FROM runs WHERE {which}"))?;
    let mut rows = statement.query(parameters)?;
    let Some(row) = rows.next()? else { return Ok(None) };
    Ok(Some(StoredRun { meta: meta(row)?, envelope: row.get("envelope")?, receipt: row.get("receipt")? }))
}

fn metas(connection: &Connection, sql: &str, parameters: impl rusqlite::Params) -> Result<Vec<RunMeta>, StoreError> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(parameters)?;
    let mut runs = Vec::new();
    while let Some(row) = rows.next()? {
        runs.push(meta(row)?);
    }
    Ok(runs)
}

fn meta(row: &Row<'_>) -> Result<RunMeta, StoreError> {
    Ok(RunMeta {
        digest: parsed(row, "digest")?,
        gateway: parsed(row, "gateway")?,
        seq: seq(row)?,
        prev: parsed_optional(row, "prev")?,
        stage: super::json(row, "stage")?,
        bundle: row.get("bundle")?,
        started_at: parsed(row, "started_at")?,
        received_at: parsed(row, "received_at")?,
        link: super::json(row, "link")?,
    })
}

fn seq(row: &Row<'_>) -> Result<u64, StoreError> {
    let seq: i64 = row.get("seq")?;
    u64::try_from(seq).map_err(|_| StoreError::Damaged(format!("seq {seq}")))
}
