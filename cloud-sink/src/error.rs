//! What can go wrong with the program as a whole, and which exit code says so.
//!
//! Exit codes: 0 done; 1 the request was refused (no such gateway, no such run); 2 the program cannot run (its folder,
//! its database, its certificate, its address).

use std::path::PathBuf;

use crate::store::StoreError;

/// Why a command did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// A file or folder could not be used.
    #[error("cannot {action} {path}: {source}")]
    File {
        /// What was tried, such as `read`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The operating system's words.
        source: std::io::Error,
    },
    /// A file was read but does not hold what it should.
    #[error("{path} cannot be used: {why}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it and what to do.
        why: String,
    },
    /// The options do not make sense together.
    #[error("{0}")]
    Options(String),
    /// The address could not be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address asked for.
        address: std::net::SocketAddr,
        /// The operating system's words.
        source: std::io::Error,
    },
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The operating system gave no randomness.
    #[error("the operating system gave no randomness: {0}")]
    Random(#[from] getrandom::Error),
    /// The server or its runtime stopped.
    #[error("the server stopped: {0}")]
    Serve(#[source] std::io::Error),
    /// A request of the operator was refused.
    #[error("{0}")]
    Refused(String),
}

impl SinkError {
    /// The exit code that says what sort of failure this is.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Refused(_) => 1,
            _ => 2,
        }
    }
}
