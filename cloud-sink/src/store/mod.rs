//! What the sink keeps, in one SQLite database.
//!
//! Guarantees: WAL with `synchronous=FULL`, so what was committed survives a power cut; writes go through one thread that
//! groups them ([`writer`]), reads through a small pool of read-only connections. Times are RFC 3339 texts in UTC, digests
//! and identities their 64 hexadecimal digits.
//!
//! Functions in the modules below take a connection and do one thing; none of them opens a transaction of its own.

pub mod assessments;
pub mod baselines;
pub mod gateways;
pub mod keys;
pub mod log;
mod migrate;
pub mod quarantine;
pub mod rotations;
pub mod runs;
pub mod tokens;
pub mod tombstones;
mod writer;

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

pub use writer::Pending;
use writer::Writer;

/// How long a connection waits for another process to finish its write.
const BUSY: Duration = Duration::from_secs(10);
/// Statements of the writer that are kept prepared: all that an upload needs, and some more.
const STATEMENTS: usize = 64;
/// Pages of 4 KiB in the log before they are put into their places.
const CHECKPOINT_PAGES: i64 = 4096;
/// Reading connections kept for the next reader.
const IDLE_READERS: usize = 4;

/// Why the database did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite's words.
    #[error("the database: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The file could not be opened.
    #[error("cannot open the database {path}: {source}")]
    Open {
        /// The file.
        path: PathBuf,
        /// SQLite's words.
        source: rusqlite::Error,
    },
    /// A later version of the sink wrote it.
    #[error("the database is of version {found}; this sink reads up to {known}. Run the newer gatepost-sink")]
    TooNew {
        /// The file's version.
        found: i64,
        /// The latest version known here.
        known: i64,
    },
    /// A stored value is not what was stored.
    #[error("the database holds a damaged value: {0}. Restore it from a backup")]
    Damaged(String),
    /// The group of writes this one belonged to was not committed.
    #[error("the write was not committed: {0}")]
    NotCommitted(String),
    /// The writer is gone.
    #[error("the database is closed")]
    Closed,
}

/// The database of one sink.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    writer: Writer,
    readers: Mutex<Vec<Connection>>,
}

impl Store {
    /// Opens the database at `path`, making or migrating it if need be.
    ///
    /// # Errors
    /// When it cannot be opened, is damaged, or a later version wrote it.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let at = |source| StoreError::Open { path: path.to_owned(), source };
        let mut connection = Connection::open(path).map_err(at)?;
        connection.busy_timeout(BUSY).map_err(at)?;
        connection.pragma_update(None, "journal_mode", "WAL").map_err(at)?;
        connection.pragma_update(None, "synchronous", "FULL").map_err(at)?;
        connection.pragma_update(None, "foreign_keys", true).map_err(at)?;
        // A busy writer fills four megabytes of log many times a second, and each time waits for the database's own fsync.
        connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES).map_err(at)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        migrate::migrate(&mut connection)?;
        Ok(Self { path: path.to_owned(), writer: Writer::start(connection)?, readers: Mutex::default() })
    }

    /// Does `work` in a transaction; the answer comes when it is on disk, or with the reason why it is not.
    ///
    /// An error of `work` undoes `work` alone.
    pub fn write<T, F>(&self, work: F) -> Pending<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        self.writer.submit(work)
    }

    /// Does `work` on one snapshot of the database. Not to be called on a thread that must not block.
    ///
    /// # Errors
    /// Those of `work`, or when no connection can be opened.
    pub fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let idle = self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = idle.map_or_else(|| self.open_reader(), Ok)?;
        connection.execute_batch("BEGIN")?;
        let outcome = work(&connection);
        if connection.execute_batch("ROLLBACK").is_ok() {
            let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
            if readers.len() < IDLE_READERS {
                readers.push(connection);
            }
        }
        outcome
    }

    fn open_reader(&self) -> Result<Connection, StoreError> {
        let at = |source| StoreError::Open { path: self.path.clone(), source };
        // Not SQLITE_OPEN_READ_ONLY: the last connection to a WAL database must be able to tidy up.
        let connection = Connection::open_with_flags(
            &self.path,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )
        .map_err(at)?;
        connection.busy_timeout(BUSY).map_err(at)?;
        connection.pragma_update(None, "query_only", true).map_err(at)?;
        Ok(connection)
    }
}

/// A column that holds a value as text.
fn parsed<T>(row: &rusqlite::Row<'_>, column: &str) -> Result<T, StoreError>
where
    T: FromStr,
    T::Err: std::fmt::Display,
{
    let text: String = row.get(column)?;
    text.parse().map_err(|error: T::Err| StoreError::Damaged(format!("{column}: {error}")))
}

/// A column that holds a value as text, or null.
fn parsed_optional<T>(row: &rusqlite::Row<'_>, column: &str) -> Result<Option<T>, StoreError>
where
    T: FromStr,
    T::Err: std::fmt::Display,
{
    let text: Option<String> = row.get(column)?;
    let parsed =
        text.map(|text| text.parse().map_err(|error: T::Err| StoreError::Damaged(format!("{column}: {error}"))));
    parsed.transpose()
}

/// A column that holds a value as JSON.
fn json<T: serde::de::DeserializeOwned>(row: &rusqlite::Row<'_>, column: &str) -> Result<T, StoreError> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(|error| StoreError::Damaged(format!("{column}: {error}")))
}

/// A value as the JSON of a column.
fn to_json<T: serde::Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Damaged(format!("cannot be written as JSON: {error}")))
}

/// A `seq` as SQLite holds it. Runs beyond this are refused on arrival.
fn stored_seq(seq: u64) -> Result<i64, StoreError> {
    i64::try_from(seq).map_err(|_| StoreError::Damaged(format!("seq {seq} is beyond what can be stored")))
}
