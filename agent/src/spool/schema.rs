//! The spool's schema and how it came to be: one step per version, all steps in one transaction.
//!
//! Version 2 is made for few writes. Runs are only ever appended, an answer is a row of its own, and there is no index
//! beside the tables: an audit changes one page, and one more now and then. Version 3 keeps how the sink's log went on,
//! and the gateway's key rotations.

use std::path::Path;

use gatepost_evidence::id::Digest;
use jiff::Timestamp;
use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::rows::{self, Kept};
use super::{SpoolError, State, log, pack, rotations};

/// The version that this agent writes.
const VERSION: u32 = 3;

/// Bytes in a page of a new spool. A run that changed little takes a few hundred bytes; what is written is whole pages.
const PAGE_BYTES: u32 = 1024;

const VERSION_2: &str = "
    CREATE TABLE runs (
        seq       INTEGER PRIMARY KEY,
        digest    BLOB NOT NULL,     -- SHA-256 of the payload
        stored_at INTEGER NOT NULL,  -- milliseconds since 1970, by the wall clock
        age_mark  INTEGER NOT NULL,  -- seconds by the spool's own clock, see bounds.rs
        base      INTEGER,           -- what the content is packed against
        content   BLOB NOT NULL
    );
    CREATE TABLE bases (id INTEGER PRIMARY KEY, content BLOB NOT NULL);
    CREATE TABLE answers (
        seq       INTEGER PRIMARY KEY,
        state     INTEGER NOT NULL,  -- 1 acknowledged, 2 quarantined; a run without an answer is pending
        reason    TEXT,
        receipt   BLOB
    );
    CREATE TABLE tombstones (
        to_seq    INTEGER PRIMARY KEY,
        from_seq  INTEGER NOT NULL,
        state     INTEGER NOT NULL,  -- 0 pending, 1 acknowledged, 2 refused
        digest    BLOB NOT NULL,     -- SHA-256 of the tombstone's payload
        link      BLOB NOT NULL,     -- what the run after it has as its prev
        envelope  TEXT NOT NULL
    );
";
const VERSION_3: &str = "
    CREATE TABLE checkpoints (
        id        INTEGER PRIMARY KEY,  -- in the order in which they came
        head      INTEGER NOT NULL,     -- the last place of the chain at that time
        continues INTEGER NOT NULL,     -- leaves of the one before; 0 for the first, and for a new beginning
        size      INTEGER NOT NULL,     -- leaves
        content   BLOB NOT NULL         -- the note, and the proof that it continues the one before
    );
";
const SETTINGS: &str = "CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;";

/// Makes an empty spool in a database that has no table yet.
pub(super) fn create(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "page_size", PAGE_BYTES)?;
    connection.execute_batch(&format!(
        "PRAGMA journal_mode=WAL; BEGIN; {VERSION_2} {SETTINGS} {VERSION_3} {} PRAGMA user_version = {VERSION}; COMMIT;",
        rotations::TABLE
    ))
}

/// Brings a database of an earlier version to this one.
pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), SpoolError> {
    let at = |source| SpoolError::Database { path: path.to_owned(), source };
    // Cheap when there is nothing to do: the write lock is taken only if a step is missing.
    if version(connection).map_err(at)? != VERSION {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(at)?;
        match version(&transaction).map_err(at)? {
            // A database without a table where there should be a spool has lost them: a new one is made elsewhere.
            0 => return Err(SpoolError::damaged(path, "it has no schema version")),
            1 => to_version_2(&transaction, path).and_then(|()| to_version_3(&transaction, path))?,
            2 => to_version_3(&transaction, path)?,
            VERSION => {}
            found => return Err(SpoolError::TooNew { path: path.to_owned(), found, known: VERSION }),
        }
        transaction.pragma_update(None, "user_version", VERSION).map_err(at)?;
        transaction.commit().map_err(at)?;
    }
    for table in ["runs", "bases", "answers", "tombstones", "rotations", "settings", "checkpoints"] {
        let sql = format!("SELECT 1 FROM {table} LIMIT 1");
        connection.prepare(&sql).map_err(|error| SpoolError::damaged(path, format!("table {table}: {error}")))?;
    }
    Ok(())
}

pub(super) fn version(connection: &Connection) -> rusqlite::Result<u32> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Version 1 had one table, with the envelopes whole and an index on the digests.
fn to_version_2(transaction: &Transaction<'_>, path: &Path) -> Result<(), SpoolError> {
    let at = |source| SpoolError::Database { path: path.to_owned(), source };
    transaction.execute_batch("DROP INDEX runs_pending; ALTER TABLE runs RENAME TO runs_1;").map_err(at)?;
    transaction.execute_batch(VERSION_2).map_err(at)?;
    let seqs: Vec<u64> = transaction
        .prepare("SELECT seq FROM runs_1 ORDER BY seq")
        .and_then(|mut all| all.query_map([], |row| row.get(0))?.collect())
        .map_err(at)?;
    let mut age_mark = 0;
    let mut before: Option<Timestamp> = None;
    for seq in seqs {
        let read = version_1(transaction, "runs_1", seq).map_err(at)?;
        let mut kept = read
            .ok_or_else(|| "it is gone".to_owned())
            .and_then(|read| read)
            .map_err(|detail| SpoolError::damaged(path, format!("run {seq} cannot be read back: {detail}")))?;
        age_mark = super::bounds::age_mark(before.map(|before| (age_mark, before)), kept.stored_at);
        before = Some(kept.stored_at);
        kept.age_mark = age_mark;
        rows::keep(transaction, &kept).map_err(at)?;
    }
    transaction.execute_batch("DROP TABLE runs_1").map_err(at)
}

/// Version 2 remembered the newest checkpoint only.
fn to_version_3(transaction: &Transaction<'_>, path: &Path) -> Result<(), SpoolError> {
    let made =
        transaction.execute_batch(&format!("{VERSION_3} {}", rotations::TABLE)).and_then(|()| log::begin(transaction));
    made.map_err(|source| SpoolError::Database { path: path.to_owned(), source })
}

/// A run of version 1; inside, what is wrong with it.
pub(super) fn version_1(
    connection: &Connection,
    table: &str,
    seq: u64,
) -> rusqlite::Result<Option<Result<Kept, String>>> {
    type Columns = (String, String, Option<String>, Option<String>, String, Vec<u8>);
    let sql = format!("SELECT digest, state, reason, receipt, stored_at, envelope FROM {table} WHERE seq = ?1");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut found = statement.query_map(params![seq], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?))
    })?;
    let Some(columns) = found.next() else { return Ok(None) };
    let (digest, state, reason, receipt, stored_at, compressed): Columns = columns?;
    let kept = || {
        let envelope = zstd::bulk::decompress(&compressed, pack::MAX_READ).map_err(|error| error.to_string())?;
        let digest: Digest = digest.parse().map_err(|error: gatepost_evidence::id::DigestError| error.to_string())?;
        let envelope = String::from_utf8(envelope).map_err(|error| error.to_string())?;
        rows::check_digest(&envelope, digest)?;
        let state = match state.as_str() {
            "pending" => State::Pending,
            "acknowledged" => State::Acknowledged,
            "quarantined" => State::Quarantined,
            other => return Err(format!("its state is {other:?}")),
        };
        let stored_at = stored_at.parse().map_err(|error: jiff::Error| error.to_string())?;
        Ok(Kept { seq, digest, stored_at, age_mark: 0, envelope, state, reason, receipt })
    };
    Ok(Some(kept()))
}
