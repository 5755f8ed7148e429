//! What can go wrong with the spool, and what to do about it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use gatepost_evidence::envelope::MAX_ENVELOPE_BYTES;
use rusqlite::{ErrorCode, ffi};

/// What went wrong with the spool.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The database.
    #[error("{path}: {source}{}", hint(source))]
    Database {
        /// Where.
        path: PathBuf,
        /// What happened.
        source: rusqlite::Error,
    },
    /// The files around it.
    #[error("{path}: {source}{}", hint_on_files(source))]
    Files {
        /// Where.
        path: PathBuf,
        /// What happened.
        source: std::io::Error,
    },
    /// It has to be replaced, but somebody else has it open.
    #[error("{path} has to be put in order, but another process has it open; stop the other one and try again")]
    Busy {
        /// Where.
        path: PathBuf,
    },
    /// It is damaged, and was not opened in a way that lets it be mended.
    #[error("{path} is damaged: {detail}; `gatepost status` moves it aside and saves what can be read")]
    Damaged {
        /// Where.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// It was written by a later version of the agent.
    #[error(
        "{path} has schema version {found}, this agent knows {known}; install the agent that wrote it, or a later one"
    )]
    TooNew {
        /// Where.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The latest this agent reads.
        known: u32,
    },
    /// A stored envelope cannot be read back.
    #[error("{path}: run {seq} cannot be read back: {detail}")]
    Unreadable {
        /// Where.
        path: PathBuf,
        /// Which run.
        seq: u64,
        /// What is wrong with it.
        detail: String,
    },
    /// Somebody rotated the key after this one was read.
    #[error("the key of this gateway was rotated meanwhile, and nothing was signed with the old one; try again")]
    KeyRotated,
    /// The run or a tombstone could not be signed, so nothing was stored.
    #[error("the run could not be signed: {0}")]
    Unsigned(String),
    /// The signed run is larger than any reader accepts, so nothing was stored.
    #[error(
        "the signed run has {0} bytes, more than the {MAX_ENVELOPE_BYTES} that are accepted; look at fewer targets"
    )]
    TooLarge(usize),
}

impl SpoolError {
    pub(super) fn damaged(path: &Path, detail: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_owned(), detail: detail.into() }
    }

    /// What is wrong with the database itself, if that is what happened.
    pub(super) fn damage(&self) -> Option<String> {
        match self {
            Self::Damaged { detail, .. } => Some(detail.clone()),
            Self::Database { source, .. } => is_damage(source).then(|| source.to_string()),
            _ => None,
        }
    }
}

/// What SQLite says when the card does not give back what was written to it (<https://sqlite.org/rescode.html>).
const NOT_GIVEN_BACK: [i32; 3] = [ffi::SQLITE_IOERR_READ, ffi::SQLITE_IOERR_SHORT_READ, ffi::SQLITE_IOERR_CORRUPTFS];

fn is_damage(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|error| {
        matches!(error.code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
            || NOT_GIVEN_BACK.contains(&error.extended_code)
    })
}

/// What was read of a damaged database; none if damage took it. An error that says nothing about what is there, such as
/// a lack of memory, stays an error: it must not pass for a loss.
pub(super) fn unless_lost<T>(read: rusqlite::Result<T>) -> rusqlite::Result<Option<T>> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error) if is_lost(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_lost(error: &rusqlite::Error) -> bool {
    // An error that is not SQLite's is a value that is not what stands in such a column.
    error.sqlite_error().is_none_or(|source| {
        is_damage(error)
            // A table that is not there any more, and a value longer than any that is written.
            || source.extended_code == ffi::SQLITE_ERROR
            || matches!(source.code, ErrorCode::TooBig | ErrorCode::TypeMismatch)
    })
}

const FULL: &str = "; free some space there, nothing that was reported as done is lost";
const CLOSED: &str = "; the agent needs to write its state folder";

/// What can be done about an error of the database.
fn hint(error: &rusqlite::Error) -> &'static str {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => FULL,
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => CLOSED,
        _ => "",
    }
}

/// What can be done about an error of the files.
fn hint_on_files(error: &std::io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => FULL,
        ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied | ErrorKind::NotFound => CLOSED,
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(code: i32) -> rusqlite::Error {
        rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)
    }

    #[test]
    fn a_card_that_does_not_give_back_what_was_written_is_damage() {
        for code in [ffi::SQLITE_CORRUPT_INDEX, ffi::SQLITE_NOTADB].iter().chain(&NOT_GIVEN_BACK) {
            assert!(is_damage(&failure(*code)), "{code}");
            assert!(matches!(unless_lost(Err::<(), _>(failure(*code))), Ok(None)), "{code}");
        }
    }

    #[test]
    fn what_says_nothing_about_the_content_is_neither_damage_nor_a_loss() {
        for code in [
            ffi::SQLITE_NOMEM,
            ffi::SQLITE_FULL,
            ffi::SQLITE_CANTOPEN,
            ffi::SQLITE_BUSY,
            ffi::SQLITE_LOCKED,
            ffi::SQLITE_READONLY,
            ffi::SQLITE_INTERRUPT,
            ffi::SQLITE_IOERR_WRITE,
            ffi::SQLITE_IOERR_FSYNC,
            ffi::SQLITE_IOERR_NOMEM,
        ] {
            assert!(!is_damage(&failure(code)), "{code}");
            assert!(unless_lost(Err::<(), _>(failure(code))).is_err(), "{code}");
        }
    }
}
