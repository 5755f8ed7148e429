//! The backlog: what to fix first, one item per failing control, drafted from an assessment.

use serde::{Deserialize, Serialize};

use crate::assess::Assessment;
use crate::pack::{Pack, Severity};

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BacklogItem {
    /// Its place, from 1.
    pub rank: u64,
    /// The failing control.
    pub key: String,
    /// Its title.
    pub title: String,
    /// Its severity.
    pub severity: Severity,
    /// The part of the path it belongs to.
    pub domain: String,
    /// The subjects it fails for.
    pub subjects: Vec<String>,
    /// Why it matters.
    pub why: String,
    /// What to do.
    pub remediation: String,
    /// How to see that it was done.
    pub verify: String,
}

/// The backlog of `assessment`, worst severity first, then the control that fails for most subjects, then by key.
#[must_use]
pub fn backlog(assessment: &Assessment, pack: &Pack) -> Vec<BacklogItem> {
    let _ = (assessment, pack);
    unreachable!("not written yet")
}
