//! The spool's schema and how it came to be: one step per version, applied in one transaction each.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::SpoolError;

/// Step `n` leads from schema version `n` to `n + 1`. Steps are never edited once released.
const STEPS: &[&str] = &["
    CREATE TABLE runs (
        seq       INTEGER PRIMARY KEY,
        digest    TEXT NOT NULL UNIQUE,
        state     TEXT NOT NULL CHECK (state IN ('pending', 'acknowledged', 'quarantined')),
        reason    TEXT,
        receipt   TEXT,
        stored_at TEXT NOT NULL,
        envelope  BLOB NOT NULL
    );
    CREATE INDEX runs_pending ON runs (seq) WHERE state = 'pending';
    CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"];

pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), SpoolError> {
    let at = |source| SpoolError::Database { path: path.to_owned(), source };
    let known = u32::try_from(STEPS.len()).unwrap_or(u32::MAX);
    // Cheap when there is nothing to do: the write lock is taken only if a step is missing.
    if version(connection).map_err(at)? == known {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(at)?;
    let found = version(&transaction).map_err(at)?;
    if found > known {
        return Err(SpoolError::TooNew { path: path.to_owned(), found, known });
    }
    for step in &STEPS[found as usize..] {
        transaction.execute_batch(step).map_err(at)?;
    }
    transaction.pragma_update(None, "user_version", known).map_err(at)?;
    transaction.commit().map_err(at)
}

fn version(connection: &Connection) -> rusqlite::Result<u32> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}
