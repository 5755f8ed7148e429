//! Temporary: replaced when the uplink's probe is merged.
use gatepost_evidence::look::{Failure, FailureKind, Look};
use std::path::Path;
/// Nothing is known yet.
pub fn clock_synchronised(_: &Path) -> (Look<bool>, Option<String>) {
    (Look::Failed(Failure::new(FailureKind::NotFound, "no time service was found")), None)
}
