//! Runs and answers as rows: how they are written and how they are read back, each checked against its digest.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gatepost_evidence::envelope::Envelope;
use gatepost_evidence::id::Digest;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, ToSql, params};

use super::error::unless_lost;
use super::{Head, Refused, State, pack, rotations};

/// Runs that share one base at most: damage to a base takes no more than these with it.
pub(super) const RUNS_PER_BASE: u64 = 32;
/// A run is packed against one of so many latest bases: bundles that take turns each find their like.
const BASES_TRIED: u32 = 2;
/// Answers as they stand in the table.
pub(super) const ACKNOWLEDGED: u8 = 1;
pub(super) const QUARANTINED: u8 = 2;

/// A run with all that the spool knows of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Kept {
    pub(super) seq: u64,
    pub(super) digest: Digest,
    pub(super) stored_at: Timestamp,
    pub(super) age_mark: i64,
    pub(super) envelope: String,
    pub(super) state: State,
    pub(super) reason: Option<String>,
    pub(super) receipt: Option<String>,
}

/// A run as it was found: its envelope, or what is wrong with it.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) seq: u64,
    pub(super) digest: Digest,
    pub(super) stored_at: Timestamp,
    pub(super) age_mark: i64,
    pub(super) state: State,
    pub(super) reason: Option<String>,
    pub(super) receipt: Option<Vec<u8>>,
    pub(super) envelope: Result<String, String>,
}

/// Bytes that a run and, where it needs a new one, its base will take.
pub(super) struct Packed {
    base: Option<u64>,
    new_base: Option<Vec<u8>>,
    content: Vec<u8>,
}

impl Packed {
    pub(super) fn bytes(&self) -> u64 {
        (self.content.len() + self.new_base.as_ref().map_or(0, Vec::len)) as u64
    }
}

/// Packs the envelope of run `seq` against the base that fits best, or against itself as a new one.
pub(super) fn pack_run(connection: &Connection, seq: u64, envelope: &str) -> rusqlite::Result<Packed> {
    let failed = |error: std::io::Error| rusqlite::Error::ToSqlConversionFailure(Box::new(error));
    let alone = pack::pack(envelope, None).map_err(failed)?;
    let mut statement = connection.prepare_cached("SELECT id, content FROM bases ORDER BY id DESC LIMIT ?1")?;
    let bases = statement.query_map([BASES_TRIED], |row| Ok((row.get::<_, u64>(0)?, row.get::<_, Vec<u8>>(1)?)))?;
    let mut best: Option<(u64, Vec<u8>)> = None;
    for base in bases {
        let (id, compressed) = base?;
        // A base that cannot be read back is no use to a new run; the runs that need it are found by those who read them.
        let Ok(base) = pack::decompress(&compressed, None) else { continue };
        // Nor is one of a later run, as when runs are saved in two rounds: it would go before this one.
        if id > seq || seq - id >= RUNS_PER_BASE {
            continue;
        }
        let content = pack::pack(envelope, Some(&base)).map_err(failed)?;
        if best.as_ref().is_none_or(|(_, best)| content.len() < best.len()) {
            best = Some((id, content));
        }
    }
    // Less than half saved: the run looks different now, and those after it will look like this one.
    if let Some((id, content)) = best.filter(|(_, content)| content.len() < alone.len() / 2) {
        return Ok(Packed { base: Some(id), new_base: None, content });
    }
    let Some(base) = pack::base(envelope) else {
        return Ok(Packed { base: None, new_base: None, content: alone });
    };
    let content = pack::pack(envelope, Some(&base)).map_err(failed)?;
    Ok(Packed { base: Some(seq), new_base: Some(pack::compress(&base, None).map_err(failed)?), content })
}

/// Writes a run.
pub(super) fn insert(
    connection: &Connection,
    (seq, digest): (u64, Digest),
    (stored_at, age_mark): (Timestamp, i64),
    packed: &Packed,
) -> rusqlite::Result<()> {
    if let Some(base) = &packed.new_base {
        connection.execute("INSERT INTO bases (id, content) VALUES (?1, ?2)", params![seq, base])?;
    }
    let sql = "INSERT INTO runs (seq, digest, stored_at, age_mark, base, content) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let values: [&dyn ToSql; 6] =
        [&seq, &digest.as_bytes(), &stored_at.as_millisecond(), &age_mark, &packed.base, &packed.content];
    connection.execute(sql, &values[..]).map(|_| ())
}

/// Writes a run that another spool kept.
pub(super) fn keep(connection: &Connection, run: &Kept) -> rusqlite::Result<()> {
    let packed = pack_run(connection, run.seq, &run.envelope)?;
    insert(connection, (run.seq, run.digest), (run.stored_at, run.age_mark), &packed)?;
    answer(connection, run.seq, run.state, run.reason.as_deref(), run.receipt.as_deref())
}

/// Writes what the sink answered; the first answer stands.
pub(super) fn answer(
    connection: &Connection,
    seq: u64,
    state: State,
    reason: Option<&str>,
    receipt: Option<&str>,
) -> rusqlite::Result<()> {
    let state = match state {
        State::Pending => return Ok(()),
        State::Acknowledged => ACKNOWLEDGED,
        State::Quarantined => QUARANTINED,
    };
    let receipt = receipt
        .map(|receipt| pack::pack(receipt, None))
        .transpose()
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
    let sql = "INSERT OR IGNORE INTO answers (seq, state, reason, receipt) VALUES (?1, ?2, ?3, ?4)";
    connection.execute(sql, params![seq, state, reason, receipt]).map(|_| ())
}

/// Makes every acknowledged run pending again; gives their number.
pub(super) fn unacknowledge(connection: &Connection) -> rusqlite::Result<u64> {
    connection.execute("DELETE FROM answers WHERE state = ?1", [ACKNOWLEDGED]).map(|runs| runs as u64)
}

/// Makes the run at `seq` pending again.
pub(super) fn unanswer(connection: &Connection, seq: u64) -> rusqlite::Result<()> {
    connection.execute("DELETE FROM answers WHERE seq = ?1", [seq]).map(|_| ())
}

/// Joins the answers to the runs.
const WITH_ANSWERS: &str = "LEFT JOIN answers a ON a.seq = r.seq";
/// Joins nothing, for when the answers cannot be read.
const WITHOUT_ANSWERS: &str = "LEFT JOIN (SELECT NULL AS state, NULL AS reason, NULL AS receipt) a ON 0";

/// The runs that `clause` picks, with `r` the run and `a` the answer to it.
pub(super) fn select(
    connection: &Connection,
    clause: &str,
    values: impl rusqlite::Params,
) -> rusqlite::Result<Vec<Found>> {
    select_from(connection, WITH_ANSWERS, clause, values)
}

/// The run at `seq`, as pending if the answer to it cannot be read: it is then handed over once more.
pub(super) fn rescue(connection: &Connection, seq: u64) -> rusqlite::Result<Option<Found>> {
    let one = |join| select_from(connection, join, "WHERE r.seq = ?1", [seq]).map(|mut runs| runs.pop());
    unless_lost(one(WITH_ANSWERS))?.map_or_else(|| one(WITHOUT_ANSWERS), Ok)
}

fn select_from(
    connection: &Connection,
    join: &str,
    clause: &str,
    values: impl rusqlite::Params,
) -> rusqlite::Result<Vec<Found>> {
    let sql = format!(
        "SELECT r.seq, r.digest, r.stored_at, r.age_mark, a.state, a.reason, a.receipt, r.base, r.content
         FROM runs r {join} {clause}"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(values, |row| Ok((found(row)?, row.get(7)?, row.get::<_, Vec<u8>>(8)?)))?;
    let mut base: Option<(u64, Result<Vec<u8>, String>)> = None;
    let mut runs = Vec::new();
    for row in rows {
        let (mut run, id, content): (Found, Option<u64>, _) = row?;
        if let Some(id) = id
            && base.as_ref().is_none_or(|(held, _)| *held != id)
        {
            base = Some((id, read_base(connection, id)?));
        }
        let against = match (id, &base) {
            (Some(_), Some((_, Ok(base)))) => Ok(Some(base.as_slice())),
            (Some(_), Some((_, Err(why)))) => Err(why.clone()),
            _ => Ok(None),
        };
        run.envelope = against.and_then(|base| pack::unpack(&content, base)).and_then(|envelope| {
            check_digest(&envelope, run.digest)?;
            Ok(envelope)
        });
        runs.push(run);
    }
    Ok(runs)
}

fn read_base(connection: &Connection, id: u64) -> rusqlite::Result<Result<Vec<u8>, String>> {
    let content: Option<Vec<u8>> =
        connection.query_row("SELECT content FROM bases WHERE id = ?1", [id], |row| row.get(0)).optional()?;
    let Some(content) = content else { return Ok(Err(format!("its base {id} is gone"))) };
    Ok(pack::decompress(&content, None).map_err(|error| format!("its base {id}: {error}")))
}

fn found(row: &Row<'_>) -> rusqlite::Result<Found> {
    let stored_at = Timestamp::from_millisecond(row.get(2)?).unwrap_or_default();
    let state = match row.get::<_, Option<u8>>(4)? {
        None => State::Pending,
        Some(ACKNOWLEDGED) => State::Acknowledged,
        Some(QUARANTINED) => State::Quarantined,
        Some(other) => return Err(rusqlite::Error::IntegralValueOutOfRange(4, i64::from(other))),
    };
    Ok(Found {
        seq: row.get(0)?,
        digest: Digest::from_bytes(row.get(1)?),
        stored_at,
        age_mark: row.get(3)?,
        state,
        reason: row.get(5)?,
        receipt: row.get(6)?,
        envelope: Err(String::new()),
    })
}

/// Whether the payload in `envelope` is the one that `digest` names.
pub(super) fn check_digest(envelope: &str, digest: Digest) -> Result<(), String> {
    // Not its own way to be read: one that is larger than the sink accepts is the sink's to refuse.
    let envelope: Envelope = serde_json::from_str(envelope).map_err(|error| format!("not an envelope: {error}"))?;
    let payload = STANDARD.decode(&envelope.payload).map_err(|error| error.to_string())?;
    match Digest::of(&payload) == digest {
        true => Ok(()),
        false => Err("its payload is not the one that was stored".to_owned()),
    }
}

/// The runs that are quarantined, oldest first.
pub(super) fn quarantined(connection: &Connection) -> rusqlite::Result<Vec<Refused>> {
    let sql = "SELECT r.seq, r.digest, coalesce(a.reason, '') FROM runs r JOIN answers a ON a.seq = r.seq
               WHERE a.state = ?1 ORDER BY r.seq";
    let mut statement = connection.prepare_cached(sql)?;
    let refused =
        |row: &Row<'_>| Ok(Refused { seq: row.get(0)?, digest: Digest::from_bytes(row.get(1)?), reason: row.get(2)? });
    statement.query_map([QUARANTINED], refused)?.collect()
}

/// The places of the latest runs that the sink has, newest first.
pub(super) fn acknowledged(connection: &Connection, count: u32) -> rusqlite::Result<Vec<u64>> {
    // By the answers, of which there are few behind the last one, however many runs are pending.
    let sql = "SELECT seq FROM answers WHERE state = ?1 ORDER BY seq DESC LIMIT ?2";
    let mut statement = connection.prepare_cached(sql)?;
    statement.query_map(params![ACKNOWLEDGED, count], |row| row.get(0))?.collect()
}

/// The sink's word for the run at `seq`, packed.
pub(super) fn receipt(connection: &Connection, seq: u64) -> rusqlite::Result<Option<Vec<u8>>> {
    let sql = "SELECT receipt FROM answers WHERE seq = ?1";
    Ok(connection.query_row(sql, [seq], |row| row.get(0)).optional()?.flatten())
}

/// The last place of the chain: a run, the end of a tombstone, or what stands before the key's first place.
pub(super) fn head(connection: &Connection) -> rusqlite::Result<Option<Head>> {
    let last = |sql: &str| {
        let mut statement = connection.prepare_cached(sql)?;
        let read = |row: &Row<'_>| Ok(Head { seq: row.get(0)?, digest: Digest::from_bytes(row.get(1)?) });
        statement.query_row([], read).optional()
    };
    let run = last("SELECT seq, digest FROM runs ORDER BY seq DESC LIMIT 1")?;
    let tombstone = last("SELECT to_seq, link FROM tombstones ORDER BY to_seq DESC LIMIT 1")?;
    // A spool that was lost goes on where its key does: what came before was signed by another.
    let rotation = rotations::head(connection)?;
    Ok([rotation, run, tombstone].into_iter().flatten().max_by_key(|head| head.seq))
}

/// Removes a run and its answer, and its base when no other run needs it.
pub(super) fn remove(connection: &Connection, seq: u64) -> rusqlite::Result<()> {
    let base: Option<u64> =
        connection.query_row("SELECT base FROM runs WHERE seq = ?1", [seq], |row| row.get(0)).optional()?.flatten();
    connection.execute("DELETE FROM runs WHERE seq = ?1", [seq])?;
    connection.execute("DELETE FROM answers WHERE seq = ?1", [seq])?;
    if let Some(base) = base {
        let sql = "DELETE FROM bases WHERE id = ?1
                   AND NOT EXISTS (SELECT 1 FROM runs WHERE seq BETWEEN ?1 AND ?2 AND base = ?1)";
        connection.execute(sql, params![base, base.saturating_add(RUNS_PER_BASE)])?;
    }
    Ok(())
}
