//! What the spool remembers of the sink's log: the newest checkpoint that was verified, which later ones must continue, and
//! how each one before it was continued, so that an auditor can see that all receipts speak of one history.
//!
//! A checkpoint is kept once, when it moved the log on, with the proof that it continues the one before. It goes when every
//! run that was there when it came is gone: no receipt needs it any more. Losing the proofs costs an auditor certainty and
//! the gateway nothing: what the next answer must continue is kept apart from them.

use std::path::Path;

use gatepost_evidence::log::ConsistencyProof;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde::{Deserialize, Serialize};

use super::error::unless_lost;
use super::{Spool, SpoolError, pack, rows};

const KEY: &str = "sink_checkpoint";

/// A checkpoint that was verified when it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// How many leaves the log had in the checkpoint that this one continues; 0 when it was the first that was seen, or the
    /// first after this gateway started over with the sink.
    pub continues: u64,
    /// How many leaves it has now.
    pub size: u64,
    /// The checkpoint, a signed note.
    pub note: String,
    /// That it continues that one.
    pub consistency: ConsistencyProof,
}

/// What is packed of it.
#[derive(Serialize, Deserialize)]
struct Content {
    note: String,
    consistency: ConsistencyProof,
}

impl Spool {
    /// Remembers the newest checkpoint that was verified, a signed note.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn set_checkpoint(&mut self, note: &str) -> Result<(), SpoolError> {
        self.set(KEY, note)
    }

    /// Keeps how the checkpoint `note` was proved to continue `before`, the one that was known, if it moved the log on. Both
    /// are signed notes that were verified.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn keep_proof(
        &mut self,
        before: Option<&str>,
        note: &str,
        consistency: &ConsistencyProof,
    ) -> Result<(), SpoolError> {
        let (continues, size) = (before.and_then(size_of).unwrap_or(0), size_of(note));
        let Some(size) = size.filter(|size| *size != continues) else { return Ok(()) };
        let seen = Seen { continues, size, note: note.to_owned(), consistency: consistency.clone() };
        insert(&self.connection, &seen).map_err(self.at())
    }

    /// The newest checkpoint that was verified; none before the first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn checkpoint(&self) -> Result<Option<String>, SpoolError> {
        Ok(self.setting(KEY)?.filter(|note| !note.is_empty()))
    }

    /// The checkpoints that moved the log on, in the order in which they came, but for those that cannot be read back.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn checkpoints(&self) -> Result<Vec<Seen>, SpoolError> {
        all(&self.connection).map_err(self.at())
    }

    /// Starts over with a sink, as an enrolment does: the next checkpoint need not continue any.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn forget_checkpoint(&mut self) -> Result<(), SpoolError> {
        self.set(KEY, "")
    }

    /// The state folder that the spool is in.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("."))
    }
}

/// The second line of a checkpoint's note. Whoever uses the note later checks all of it.
fn size_of(note: &str) -> Option<u64> {
    note.split('\n').nth(1)?.parse().ok()
}

fn insert(connection: &Connection, seen: &Seen) -> rusqlite::Result<()> {
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| rusqlite::Error::ToSqlConversionFailure(error);
    let content = Content { note: seen.note.clone(), consistency: seen.consistency.clone() };
    let content = serde_json::to_string(&content).map_err(|error| failed(error.into()))?;
    let content = pack::pack(&content, None).map_err(|error| failed(error.into()))?;
    let head = rows::head(connection)?.map_or(0, |head| head.seq);
    let sql = "INSERT INTO checkpoints (head, continues, size, content) VALUES (?1, ?2, ?3, ?4)";
    connection.execute(sql, params![head, seen.continues, seen.size, content]).map(|_| ())
}

fn all(connection: &Connection) -> rusqlite::Result<Vec<Seen>> {
    let mut statement = connection.prepare_cached("SELECT continues, size, content FROM checkpoints ORDER BY id")?;
    let mut rows = statement.query([])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        all.extend(seen(row)?);
    }
    Ok(all)
}

fn seen(row: &Row<'_>) -> rusqlite::Result<Option<Seen>> {
    let (continues, size, content): (_, _, Vec<u8>) = (row.get(0)?, row.get(1)?, row.get(2)?);
    let content = pack::unpack(&content, None).ok().and_then(|text| serde_json::from_str::<Content>(&text).ok());
    Ok(content.map(|Content { note, consistency }| Seen { continues, size, note, consistency }))
}

/// Makes the checkpoint that is known the first one, if none is kept: what the next one continues is then there, too.
pub(super) fn begin(connection: &Connection) -> rusqlite::Result<()> {
    let known = "SELECT value FROM settings WHERE key = ?1 AND NOT EXISTS (SELECT 1 FROM checkpoints)";
    let note: Option<String> = connection.query_row(known, [KEY], |row| row.get(0)).optional()?;
    let Some((note, size)) = note.and_then(|note| size_of(&note).map(|size| (note, size))) else { return Ok(()) };
    insert(connection, &Seen { continues: 0, size, note, consistency: ConsistencyProof::default() })
}

/// Lets go of checkpoints that no run needs any more.
pub(super) fn prune(connection: &Connection) -> rusqlite::Result<()> {
    let sql = "DELETE FROM checkpoints WHERE id < (
                   SELECT id FROM checkpoints WHERE head >= (SELECT min(seq) FROM runs) ORDER BY id LIMIT 1)";
    connection.prepare_cached(sql)?.execute([]).map(|_| ())
}

/// Saves what can be read of the checkpoints of a damaged database: from the beginning, and from the end.
pub(super) fn salvage(from: &Connection, to: &Connection) -> rusqlite::Result<()> {
    for order in ["", "DESC"] {
        let sql = format!("SELECT id, head, continues, size, content FROM checkpoints ORDER BY id {order}");
        let Some(mut statement) = unless_lost(from.prepare(&sql))? else { break };
        let Some(mut rows) = unless_lost(statement.query([]))? else { break };
        while let Some(row) = unless_lost(rows.next())?.flatten() {
            type Columns = (u64, u64, u64, u64, Vec<u8>);
            let columns = || -> rusqlite::Result<Columns> {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
            };
            let Some((id, head, continues, size, content)) = unless_lost(columns())? else { continue };
            let sql = "INSERT OR IGNORE INTO checkpoints (id, head, continues, size, content)
                       VALUES (?1, ?2, ?3, ?4, ?5)";
            to.execute(sql, params![id, head, continues, size, content])?;
        }
    }
    begin(to)
}
