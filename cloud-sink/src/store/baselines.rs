//! Baselines: runs that an operator promoted. All promotions are kept; the latest of a gateway counts.

use gatepost_evidence::id::{Digest, GatewayId};
use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::runs::RunMeta;
use super::{StoreError, parsed};

/// The run that a gateway is compared with.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Baseline {
    /// Its digest.
    pub digest: Digest,
    /// Its place in the chain.
    pub seq: u64,
    /// Its bundle's name.
    pub bundle: String,
    /// When it started, by the gateway's clock.
    pub started_at: Timestamp,
    /// When it was promoted, by the sink's clock.
    pub promoted_at: Timestamp,
}

/// Makes run `seq` of `gateway` its baseline. `None` when there is no such run.
///
/// # Errors
/// SQLite's.
pub fn promote(
    connection: &Connection,
    gateway: GatewayId,
    seq: u64,
    pack: Digest,
    now: Timestamp,
) -> Result<Option<Baseline>, StoreError> {
    let Some(run): Option<RunMeta> = super::runs::get(connection, gateway, seq)?.map(|run| run.meta) else {
        return Ok(None);
    };
    connection.execute(
        "INSERT INTO baselines (gateway, run, pack, promoted_at) VALUES (?1, ?2, ?3, ?4)",
        params![gateway.to_string(), run.digest.to_string(), pack.to_string(), now.to_string()],
    )?;
    let RunMeta { digest, seq, bundle, started_at, .. } = run;
    Ok(Some(Baseline { digest, seq, bundle, started_at, promoted_at: now }))
}

/// The baseline of `gateway`, if one was promoted.
///
/// # Errors
/// SQLite's.
pub fn current(connection: &Connection, gateway: GatewayId) -> Result<Option<Baseline>, StoreError> {
    let sql = "SELECT runs.digest AS digest, runs.seq AS seq, runs.bundle AS bundle, runs.started_at AS started_at,
                      baselines.promoted_at AS promoted_at
               FROM baselines JOIN runs ON runs.digest = baselines.run
               WHERE baselines.gateway = ?1 ORDER BY baselines.id DESC LIMIT 1";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([gateway.to_string()])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let seq: i64 = row.get("seq")?;
    Ok(Some(Baseline {
        digest: parsed(row, "digest")?,
        seq: seq.unsigned_abs(),
        bundle: row.get("bundle")?,
        started_at: parsed(row, "started_at")?,
        promoted_at: parsed(row, "promoted_at")?,
    }))
}
