//! As in `agent/src/files.rs`: what an I/O error is, as a failed look.

use std::io;
use std::path::Path;

use gatepost_evidence::look::{Failure, FailureKind};

/// The failed look at `path`.
#[must_use]
pub fn failure(path: &Path, error: &io::Error) -> Failure {
    let kind = match error.kind() {
        io::ErrorKind::NotFound => FailureKind::NotFound,
        io::ErrorKind::PermissionDenied => FailureKind::Denied,
        _ => FailureKind::Error,
    };
    Failure::new(kind, format_args!("{}: {error}", path.display()))
}
