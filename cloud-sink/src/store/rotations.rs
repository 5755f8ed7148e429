//! Key rotations: which key of a gateway signs from which place on, exactly as its old keys signed it.
//!
//! A gateway is enrolled with its first key; here are those that followed. A key belongs to one gateway for ever: none is the
//! first key of one and a later key of another.

use gatepost_evidence::chain::Piece;
use gatepost_evidence::envelope::Envelope;
use gatepost_evidence::id::{Digest, GatewayId};
use gatepost_evidence::rotation::{Keyring, Rotation, VerifiedRotation, WrongKey};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::{StoreError, gateways, parsed, parsed_optional, stored_seq};

/// A rotation with what was sent and when it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRotation {
    /// The first place that the new key signs.
    pub seq: u64,
    /// SHA-256 of its payload.
    pub digest: Digest,
    /// When it was accepted, by the sink's clock.
    pub received_at: Timestamp,
    /// The DSSE envelope, byte for byte as it came.
    pub envelope: String,
}

/// The gateway that the key with this digest is or was a key of.
///
/// # Errors
/// SQLite's.
pub fn owner(connection: &Connection, key: Digest) -> Result<Option<GatewayId>, StoreError> {
    let sql = "SELECT id AS gateway FROM gateways WHERE id = ?1 UNION SELECT gateway FROM rotations WHERE new_key = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([key.to_string()])?;
    rows.next()?.map(|row| parsed(row, "gateway")).transpose()
}

/// The keys of an enrolled gateway.
///
/// # Errors
/// SQLite's, or a damaged key or rotation.
pub fn ring(connection: &Connection, gateway: GatewayId) -> Result<Option<Keyring>, StoreError> {
    let Some(first) = gateways::key(connection, gateway)? else { return Ok(None) };
    let damaged = |error: &dyn std::fmt::Display| StoreError::Damaged(format!("rotations of {gateway}: {error}"));
    let mut envelopes = Vec::new();
    for stored in list(connection, gateway)? {
        envelopes.push(Envelope::parse(stored.envelope.as_bytes()).map_err(|error| damaged(&error))?);
    }
    Ok(Some(Keyring::of(first, &envelopes).map_err(|error| damaged(&error))?))
}

/// The rotations of a gateway, in order.
///
/// # Errors
/// SQLite's.
pub fn list(connection: &Connection, gateway: GatewayId) -> Result<Vec<StoredRotation>, StoreError> {
    let sql = "SELECT seq, digest, received_at, envelope FROM rotations WHERE gateway = ?1 ORDER BY seq";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([gateway.to_string()])?;
    let mut rotations = Vec::new();
    while let Some(row) = rows.next()? {
        rotations.push(StoredRotation {
            seq: row.get::<_, i64>("seq")?.unsigned_abs(),
            digest: parsed(row, "digest")?,
            received_at: parsed(row, "received_at")?,
            envelope: row.get("envelope")?,
        });
    }
    Ok(rotations)
}

/// What is wrong with a signature that was verified before this transaction, by what is known in it: a rotation may have come
/// between. `from` and `to` are the places that `key` signed for; a run is signed by the one key in force, a tombstone by any
/// that was not given up.
///
/// # Errors
/// SQLite's.
pub fn wrong_key(
    connection: &Connection,
    gateway: GatewayId,
    key: Digest,
    seq: u64,
    is_run: bool,
) -> Result<Option<Wrong>, StoreError> {
    let sql = "SELECT seq, new_key FROM rotations WHERE gateway = ?1 ORDER BY seq";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([gateway.to_string()])?;
    let mut keys = vec![(1, gateway.digest())];
    while let Some(row) = rows.next()? {
        keys.push((row.get::<_, i64>("seq")?.unsigned_abs(), parsed(row, "new_key")?));
    }
    let Some(at) = keys.iter().position(|(_, known)| *known == key) else { return Ok(Some(Wrong::Unknown)) };
    let until = keys.get(at + 1).map(|(from, _)| *from);
    if let Some(from) = until.filter(|until| *until <= seq) {
        return Ok(Some(Wrong::Place(WrongKey::Retired { key, from, seq })));
    }
    let from = keys[at].0;
    Ok((is_run && from > seq).then_some(Wrong::Place(WrongKey::Early { key, from, seq })))
}

/// Why a key may not have signed what it signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// It is none of the gateway's: the rotation to it was refused.
    Unknown,
    /// It is, and does not sign there.
    Place(WrongKey),
}

/// Whether something of the gateway is kept that stands at `seq` or after it.
///
/// # Errors
/// SQLite's.
pub fn reaches(connection: &Connection, gateway: GatewayId, seq: u64) -> Result<bool, StoreError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM runs WHERE gateway = ?1 AND seq >= ?2)
                   OR EXISTS (SELECT 1 FROM tombstones WHERE gateway = ?1 AND to_seq >= ?2)";
    Ok(connection.prepare_cached(sql)?.query_row(params![gateway.to_string(), stored_seq(seq)?], |row| row.get(0))?)
}

/// The rotation for place `seq` of a gateway, as a piece of its chain: it says only what stands before.
///
/// # Errors
/// SQLite's.
pub(super) fn piece(connection: &Connection, gateway: GatewayId, seq: u64) -> Result<Option<Piece>, StoreError> {
    let Ok(place) = i64::try_from(seq) else { return Ok(None) };
    let mut statement = connection.prepare_cached("SELECT prev FROM rotations WHERE gateway = ?1 AND seq = ?2")?;
    let mut rows = statement.query(params![gateway.to_string(), place])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    Ok(Some(Piece { from: seq, to: seq, prev: parsed_optional(row, "prev")?, first: None, last: None, own: None }))
}

/// Keeps an accepted rotation, with its leaf of the log.
///
/// # Errors
/// SQLite's.
pub fn insert(
    connection: &Connection,
    verified: &VerifiedRotation,
    received_at: Timestamp,
    envelope: &str,
    receipt: &str,
    log_index: u64,
) -> Result<(), StoreError> {
    let Rotation { gateway, seq, prev, new_key, .. } = verified.rotation();
    let sql = "INSERT INTO rotations (digest, gateway, seq, prev, new_key, received_at, envelope, receipt, log_index)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    connection.prepare_cached(sql)?.execute(params![
        verified.digest().to_string(),
        gateway.to_string(),
        stored_seq(*seq)?,
        prev.map(|prev| prev.to_string()),
        new_key.digest().to_string(),
        received_at.to_string(),
        envelope,
        receipt,
        stored_seq(log_index)?,
    ])?;
    Ok(())
}

/// The receipt that was given for the rotation with this digest, and its leaf of the log.
///
/// # Errors
/// SQLite's.
pub fn receipt(connection: &Connection, digest: Digest) -> Result<Option<(String, u64)>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT receipt, log_index FROM rotations WHERE digest = ?1")?;
    Ok(statement.query_row([digest.to_string()], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
}
