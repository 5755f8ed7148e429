//! Tombstones: what gateways signed about runs that are gone, exactly as it came.
//!
//! A tombstone that has grown is another row: nothing that was taken in is ever replaced. They may overlap each other and
//! runs that did arrive; none of them contradicts a run or another tombstone that is kept here.

use std::collections::BTreeMap;

use gatepost_evidence::chain::{self, Piece};
use gatepost_evidence::id::{Digest, GatewayId};
use gatepost_evidence::tombstone::{Cause, Tombstone};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::{StoreError, json, parsed, parsed_optional, rotations, runs, stored_seq, to_json};

/// A tombstone without its envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct TombstoneMeta {
    /// SHA-256 of its payload.
    pub digest: Digest,
    /// The first place that it stands for.
    pub from: u64,
    /// The last place that it stands for.
    pub to: u64,
    /// How many runs went; null when damage left that unknown.
    pub runs: Option<u64>,
    /// Why they went.
    pub cause: Cause,
    /// When the last of them went, by the gateway's clock.
    pub buried_at: Timestamp,
    /// When it was accepted, by the sink's clock.
    pub received_at: Timestamp,
    /// What it says of the chain.
    #[serde(skip)]
    pub piece: Piece,
}

/// A tombstone with what was sent and what was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredTombstone {
    /// What it is.
    pub meta: TombstoneMeta,
    /// The DSSE envelope, byte for byte as it came.
    pub envelope: String,
    /// The receipt that was given for it, a DSSE envelope.
    pub receipt: String,
}

/// Whether a tombstone that is not known here contradicts the runs and tombstones that are.
///
/// # Errors
/// SQLite's.
pub fn contradicts(connection: &Connection, stone: &Tombstone) -> Result<bool, StoreError> {
    let piece = Piece::tombstone(stone).map_err(|error| StoreError::Damaged(error.to_string()))?;
    if clashes(connection, stone.gateway, piece)? {
        return Ok(true);
    }
    if stone.digest.is_none() {
        return Ok(false);
    }
    let places = stone.to_seq - stone.from_seq + 1;
    let known: BTreeMap<u64, Digest> = runs::digests(connection, stone.gateway, stone.from_seq, stone.to_seq, places)?;
    Ok(chain::folds_others(stone, &known))
}

/// Whether `newcomer` contradicts what is kept at its ends or next to them.
///
/// # Errors
/// SQLite's.
pub fn clashes(connection: &Connection, gateway: GatewayId, newcomer: Piece) -> Result<bool, StoreError> {
    let before = newcomer.from.saturating_sub(1);
    let places = [before, newcomer.from, newcomer.to, newcomer.to.saturating_add(1)];
    let mut pieces = runs::pieces(connection, gateway, places)?;
    pieces.extend(touching(connection, gateway, places)?.into_iter().map(|stone| stone.piece));
    for place in places {
        pieces.extend(rotations::piece(connection, gateway, place)?);
    }
    pieces.push(newcomer);
    Ok(chain::contradictions(&pieces).iter().any(|place| places[..3].contains(place)))
}

/// Tombstones that begin or end at one of `places`, which are in order.
fn touching(connection: &Connection, gateway: GatewayId, places: [u64; 4]) -> Result<Vec<TombstoneMeta>, StoreError> {
    let [a, b, c, d] = places.map(|place| i64::try_from(place).unwrap_or(i64::MAX));
    let clause = "gateway = ?1 AND to_seq >= ?2 AND (from_seq IN (?2, ?3, ?4, ?5) OR to_seq IN (?2, ?3, ?4, ?5))";
    metas(connection, clause, params![gateway.to_string(), a, b, c, d])
}

/// The place up to which tombstones stand for every place from `from` on; none if none stands for `from`.
///
/// # Errors
/// SQLite's.
pub(super) fn covered_until(connection: &Connection, gateway: GatewayId, from: u64) -> Result<Option<u64>, StoreError> {
    let sql = "SELECT max(to_seq) FROM tombstones WHERE gateway = ?1 AND to_seq >= ?2 AND from_seq <= ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let mut until = None;
    loop {
        let next = until.map_or(from, |until: u64| until.saturating_add(1));
        let Ok(place) = i64::try_from(next) else { return Ok(until) };
        match statement.query_row(params![gateway.to_string(), place], |row| row.get::<_, Option<i64>>(0))? {
            Some(reach) => until = Some(reach.unsigned_abs()),
            None => return Ok(until),
        }
    }
}

/// Keeps an accepted tombstone, with its leaf of the log.
///
/// # Errors
/// SQLite's.
pub fn insert(
    connection: &Connection,
    stone: &Tombstone,
    digest: Digest,
    received_at: Timestamp,
    envelope: &str,
    receipt: &str,
    log_index: u64,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO tombstones (digest, gateway, from_seq, to_seq, runs, cause, prev, first_digest, last_digest,
                                       buried_at, received_at, envelope, receipt, log_index)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)";
    let text = |digest: Option<Digest>| digest.map(|digest| digest.to_string());
    connection.prepare_cached(sql)?.execute(params![
        digest.to_string(),
        stone.gateway.to_string(),
        stored_seq(stone.from_seq)?,
        stored_seq(stone.to_seq)?,
        stone.count.map(stored_seq).transpose()?,
        to_json(&stone.cause)?,
        text(stone.prev),
        text(stone.first_digest),
        text(stone.last_digest),
        stone.at.to_string(),
        received_at.to_string(),
        envelope,
        receipt,
        stored_seq(log_index)?,
    ])?;
    Ok(())
}

/// The receipt that was given for the tombstone with this digest, and its leaf of the log.
///
/// # Errors
/// SQLite's.
pub fn receipt(connection: &Connection, digest: Digest) -> Result<Option<(String, u64)>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT receipt, log_index FROM tombstones WHERE digest = ?1")?;
    Ok(statement.query_row([digest.to_string()], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
}

/// The tombstones of a gateway in the order of their places, and of their arrival where those are the same.
///
/// # Errors
/// SQLite's.
pub fn list(connection: &Connection, gateway: GatewayId) -> Result<Vec<TombstoneMeta>, StoreError> {
    metas(connection, "gateway = ?1", params![gateway.to_string()])
}

/// One tombstone of a gateway by its digest.
///
/// # Errors
/// SQLite's.
pub fn get(connection: &Connection, gateway: GatewayId, digest: Digest) -> Result<Option<StoredTombstone>, StoreError> {
    let sql = "SELECT * FROM tombstones WHERE gateway = ?1 AND digest = ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([gateway.to_string(), digest.to_string()])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    Ok(Some(StoredTombstone { meta: meta(row)?, envelope: row.get("envelope")?, receipt: row.get("receipt")? }))
}

fn metas(
    connection: &Connection,
    clause: &str,
    parameters: impl rusqlite::Params,
) -> Result<Vec<TombstoneMeta>, StoreError> {
    let sql = format!(
        "SELECT digest, from_seq, to_seq, runs, cause, prev, first_digest, last_digest, buried_at, received_at
         FROM tombstones WHERE {clause} ORDER BY from_seq, to_seq, log_index"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(parameters)?;
    let mut stones = Vec::new();
    while let Some(row) = rows.next()? {
        stones.push(meta(row)?);
    }
    Ok(stones)
}

fn meta(row: &Row<'_>) -> Result<TombstoneMeta, StoreError> {
    let place = |column: &str| row.get::<_, i64>(column).map(i64::unsigned_abs);
    let digest = parsed(row, "digest")?;
    let (from, to, last) = (place("from_seq")?, place("to_seq")?, parsed_optional(row, "last_digest")?);
    let piece = Piece {
        from,
        to,
        prev: parsed_optional(row, "prev")?,
        first: parsed_optional(row, "first_digest")?,
        last,
        own: last.is_none().then_some(digest),
    };
    Ok(TombstoneMeta {
        digest,
        from,
        to,
        runs: row.get::<_, Option<i64>>("runs")?.map(i64::unsigned_abs),
        cause: json(row, "cause")?,
        buried_at: parsed(row, "buried_at")?,
        received_at: parsed(row, "received_at")?,
        piece,
    })
}
