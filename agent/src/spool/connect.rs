//! Opening the database: looked through for damage when that is due, and not written to before that.

use std::path::Path;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _};

use super::mend::{self, Mended};
use super::place::Place;
use super::{Keeping, SpoolError, schema, set, wal};
use crate::clock;

/// A sound database is looked through again after this long, and after every start of the machine.
pub(super) const CHECK_EVERY: SignedDuration = SignedDuration::from_hours(24);

/// Whether a database is looked through when it is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    No,
    /// Once a day, and after every start of the machine: it is a loss of power that tears pages.
    IfDue,
    Now,
}

/// Opens the database; with it comes when it was last found sound.
pub(super) fn connect(path: &Path, wanted: Check) -> Result<(Connection, Option<Timestamp>), SpoolError> {
    let at = |source| SpoolError::Database { path: path.to_owned(), source };
    let length = std::fs::metadata(path).map_err(|source| SpoolError::Files { path: path.to_owned(), source })?.len();
    if length == 0 {
        // A spool is made beside its place and moved there when it is finished: this one had something in it.
        return Err(SpoolError::damaged(path, "the file is empty"));
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(at)?;
    let opened = prepare(&mut connection, path, wanted);
    match opened {
        Ok(checked) => {
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false).map_err(at)?;
            Ok((connection, checked))
        }
        Err(error) => Err(error),
    }
}

fn prepare(connection: &mut Connection, path: &Path, wanted: Check) -> Result<Option<Timestamp>, SpoolError> {
    let at = |source| SpoolError::Database { path: path.to_owned(), source };
    connection.busy_timeout(Duration::from_secs(10)).map_err(at)?;
    // Until it is known to be sound, nothing is written into it, not even from its own log.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(at)?;
    connection
        .execute_batch(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA journal_size_limit=1048576; PRAGMA cache_size=-1024;",
        )
        .map_err(at)?;
    schema::migrate(connection, path)?;
    check(connection, path, wanted)
}

pub(super) fn check(connection: &Connection, path: &Path, wanted: Check) -> Result<Option<Timestamp>, SpoolError> {
    let at = |source| SpoolError::Database { path: path.to_owned(), source };
    let now = clock::now();
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let sql = "SELECT value FROM settings WHERE key = 'checked'";
    let last: Option<String> = connection.query_row(sql, [], |row| row.get(0)).optional().map_err(at)?;
    let last = last.and_then(|last| {
        let (time, of_boot) = last.split_once(' ')?;
        let time: Timestamp = time.parse().ok().filter(|_| of_boot == boot.trim() && !of_boot.is_empty())?;
        (now.duration_since(time).abs() < CHECK_EVERY).then_some(time)
    });
    if wanted == Check::No || (wanted == Check::IfDue && last.is_some()) {
        return Ok(last);
    }
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(at)?;
    if verdict != "ok" {
        return Err(SpoolError::damaged(path, verdict.lines().take(3).collect::<Vec<_>>().join(" ")));
    }
    set(connection, "checked", &format!("{now} {}", boot.trim())).map_err(at)?;
    Ok(Some(now))
}

/// Replaces the database unless it turns out to be sound: somebody else may have mended it.
pub(super) fn mend_now(place: &Place, keeping: &Keeping) -> Result<Option<Mended>, SpoolError> {
    let path = place.file();
    let mended = place.exclusively(|| {
        let cut = wal::look(&path)?;
        let why = match &cut {
            Some(cut) => cut.to_string(),
            None => match connect(&path, Check::Now) {
                Ok(_) => return Ok(None),
                Err(error) => error.damage().ok_or(error)?,
            },
        };
        mend::mend(place, keeping, (why, cut), clock::now()).map(Some)
    })?;
    if let Some(mended) = &mended {
        tracing::error!("{mended}");
    }
    Ok(mended)
}

/// Closes a damaged database without writing its log into it.
pub(super) fn forget(connection: Connection) {
    // Failing to say so leaves the log where it is or writes it into a file that is moved aside whole; both lose nothing.
    let _ = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
}
