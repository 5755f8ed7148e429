//! How much the spool keeps, and what goes first when that is too much.
//!
//! Acknowledged runs go first, then pending, then quarantined ones, each oldest first; the last run of the chain never goes.
//! Whatever goes leaves a tombstone in the same transaction. The database file stays within [`Bounds::max_bytes`]; beside
//! it lies at most a few hundred kilobytes of SQLite's log.
//!
//! Age is counted by the spool's own clock, which a wrong wall clock can neither turn back nor hurry: between two runs it
//! advances by what the wall clock says, but by nothing if that went backwards and by a day at most. A gateway that wakes up
//! in 1970 and finds out an hour later that it is 2026 does not throw away what it saw in that hour.

use std::time::Duration;

use gatepost_evidence::id::Digest;
use gatepost_evidence::tombstone::Cause;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::rows::{self, ACKNOWLEDGED, QUARANTINED};
use super::tombstones::{self, Gone};
use super::{Keeping, SpoolError, log};

/// How much the spool keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Runs older than this go; up to a day later, so that they go together.
    pub max_age: Duration,
    /// The most bytes of the database file.
    pub max_bytes: u64,
}

impl Bounds {
    /// The least that may be asked for: room for the largest run, and some more.
    pub const LEAST_BYTES: u64 = 4 * 1024 * 1024;
}

impl Default for Bounds {
    /// A month, and 64 MiB: little of any SD card, and years of runs that change little.
    fn default() -> Self {
        Self { max_age: Duration::from_secs(30 * 86_400), max_bytes: 64 * 1024 * 1024 }
    }
}

/// The most that the spool's own clock advances between two runs, in seconds.
const LONGEST_STEP: i64 = 86_400;

/// The spool's own clock at a run that is stored at `now`, after one that had the mark and the time of `before`.
pub(super) fn age_mark(before: Option<(i64, Timestamp)>, now: Timestamp) -> i64 {
    let Some((mark, then)) = before else { return 0 };
    mark.saturating_add(now.as_second().saturating_sub(then.as_second()).clamp(0, LONGEST_STEP))
}

/// The mark of a run stored at `now` as the next one.
pub(super) fn next_age_mark(connection: &Connection, now: Timestamp) -> rusqlite::Result<i64> {
    let sql = "SELECT age_mark, stored_at FROM runs ORDER BY seq DESC LIMIT 1";
    let last: Option<(i64, i64)> = connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    let before = last.map(|(mark, stored_at)| (mark, Timestamp::from_millisecond(stored_at).unwrap_or(now)));
    Ok(age_mark(before, now))
}

/// Makes room for `bytes` more, and lets go of what is too old. The tombstones are written, too.
pub(super) fn enforce(
    connection: &Connection,
    keeping: &Keeping,
    mark: i64,
    bytes: u64,
    now: Timestamp,
) -> Result<(), Enforce> {
    let mut gone = too_old(connection, keeping.bounds.max_age, mark)?;
    for run in &gone {
        rows::remove(connection, run.seq)?;
    }
    if !gone.is_empty() {
        log::prune(connection)?;
    }
    gone.extend(no_room(connection, keeping.bounds.max_bytes, bytes)?);
    tombstones::bury(connection, &keeping.identity, gone, now)
}

/// Why bounds could not be enforced.
#[derive(Debug)]
pub(super) enum Enforce {
    Database(rusqlite::Error),
    Unsigned(String),
}

impl Enforce {
    pub(super) fn at(self, at: impl Fn(rusqlite::Error) -> SpoolError) -> SpoolError {
        match self {
            Self::Database(source) => at(source),
            Self::Unsigned(why) => SpoolError::Unsigned(why),
        }
    }
}

impl From<rusqlite::Error> for Enforce {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

fn too_old(connection: &Connection, max_age: Duration, mark: i64) -> rusqlite::Result<Vec<Gone>> {
    let seconds = i64::try_from(max_age.as_secs()).unwrap_or(i64::MAX);
    let limit = mark.saturating_sub(seconds);
    // Written pages are what wears an SD card: go once a day, not with every run.
    let grace = (seconds / 16).min(86_400);
    let oldest: Option<i64> =
        connection.query_row("SELECT age_mark FROM runs ORDER BY seq LIMIT 1", [], |row| row.get(0)).optional()?;
    if oldest.is_none_or(|oldest| oldest >= limit.saturating_sub(grace)) {
        return Ok(Vec::new());
    }
    let sql = "SELECT r.seq, r.digest, a.state FROM runs r LEFT JOIN answers a ON a.seq = r.seq
               WHERE r.age_mark < ?1 AND r.seq < (SELECT max(seq) FROM runs) ORDER BY r.seq";
    let mut statement = connection.prepare_cached(sql)?;
    let found = statement.query_map([limit], |row| gone(row, Cause::TooOld))?;
    found.collect()
}

fn no_room(connection: &Connection, max_bytes: u64, bytes: u64) -> rusqlite::Result<Vec<Gone>> {
    let mut gone = Vec::new();
    if used(connection)?.saturating_add(bytes) <= max_bytes {
        return Ok(gone);
    }
    // A little more than is needed, so that the next runs find room as well.
    let wanted = max_bytes - max_bytes / 64;
    while used(connection)?.saturating_add(bytes) > wanted {
        let Some(run) = first_to_go(connection)? else { break };
        rows::remove(connection, run.seq)?;
        log::prune(connection)?;
        gone.push(run);
    }
    Ok(gone)
}

/// Bytes of the pages that hold something.
pub(super) fn used(connection: &Connection) -> rusqlite::Result<u64> {
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, u64>(0));
    Ok(pragma("page_count")?.saturating_sub(pragma("freelist_count")?) * pragma("page_size")?)
}

fn first_to_go(connection: &Connection) -> rusqlite::Result<Option<Gone>> {
    for state in [Some(ACKNOWLEDGED), None, Some(QUARANTINED)] {
        let sql = "SELECT r.seq, r.digest, a.state FROM runs r LEFT JOIN answers a ON a.seq = r.seq
                   WHERE a.state IS ?1 AND r.seq < (SELECT max(seq) FROM runs) ORDER BY r.seq LIMIT 1";
        let mut statement = connection.prepare_cached(sql)?;
        let found = statement.query_row(params![state], |row| gone(row, Cause::NoRoom)).optional()?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

fn gone(row: &rusqlite::Row<'_>, pending: Cause) -> rusqlite::Result<Gone> {
    let cause = match row.get::<_, Option<u8>>(2)? {
        Some(ACKNOWLEDGED) => Cause::AcknowledgedExpired,
        Some(_) => Cause::QuarantinedExpired,
        None => pending,
    };
    Ok(Gone { seq: row.get(0)?, digest: Digest::from_bytes(row.get(1)?), cause })
}
