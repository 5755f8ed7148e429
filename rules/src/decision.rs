//! The rows of an assessment in a few words: how the path stands, and what to do next.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::assess::Row;
use crate::pack::Severity;

/// How a gateway path stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Posture {
    /// In one word.
    pub state: PostureState,
    /// Controls and subjects that pass.
    pub pass: u64,
    /// That fail.
    pub fail: u64,
    /// That are unknown.
    pub unknown: u64,
    /// That do not apply.
    pub not_applicable: u64,
    /// Failing rows by severity; severities without any are left out.
    pub failing: BTreeMap<Severity, u64>,
    /// Whole percent of the applicable rows that have evidence (pass or fail); 0 when nothing applies.
    pub evidence_percent: u64,
}

/// How a gateway path stands, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PostureState {
    /// Something fails.
    Exposed,
    /// Nothing fails, but there is not evidence for everything.
    Unproven,
    /// Nothing fails and everything has evidence.
    Hardened,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Something of severity high or critical fails.
    FixFirst,
    /// Nothing of that sort fails.
    Continue,
    /// There is too little evidence to say.
    Pause,
}

/// Sums up `rows`.
#[must_use]
pub fn posture(rows: &[Row]) -> Posture {
    let _ = rows;
    unreachable!("not written yet")
}

/// What to do next about `posture`.
#[must_use]
pub fn decide(posture: &Posture) -> Decision {
    let _ = posture;
    unreachable!("not written yet")
}
