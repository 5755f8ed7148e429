//! What can go wrong with the spool, and what to do about it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use gatepost_evidence::envelope::MAX_ENVELOPE_BYTES;
use rusqlite::ErrorCode;

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
            Self::Database { source, .. } => match source.sqlite_error_code() {
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Some(source.to_string()),
                _ => None,
            },
            _ => None,
        }
    }
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
