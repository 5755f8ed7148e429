//! Comparing: what changed between a baseline run and a later one, and why.
//!
//! Both runs are judged by the same pack before they are compared, so a difference between them is never the rules'. What
//! changed only because the rules did is told apart by judging the baseline by its former pack too.

use gatepost_evidence::id::Digest;
use gatepost_evidence::run::Run;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::assess::{Outcome, RunRef};
use crate::decision::{Decision, Posture};
use crate::pack::{Pack, PackRef, Severity};

/// One side of a comparison: a verified run and the digest of its payload.
#[derive(Debug, Clone, Copy)]
pub struct Side<'a> {
    /// The run.
    pub run: &'a Run,
    /// SHA-256 of its payload.
    pub digest: Digest,
}

/// What changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Delta {
    /// The earlier run.
    pub baseline: RunRef,
    /// The later run.
    pub current: RunRef,
    /// The pack both were judged by.
    pub pack: PackRef,
    /// One row per control and subject that either side has and that applies to at least one of them.
    pub rows: Vec<DeltaRow>,
    /// Facts that differ, whether or not a control cares; volatile facts are left out.
    pub facts: Vec<FactChange>,
    /// The posture of the later run.
    pub posture: Posture,
    /// What to do next about the later run.
    pub decision: Decision,
}

/// One control and subject on both sides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeltaRow {
    /// The control's key.
    pub key: String,
    /// What it is about.
    pub subject: String,
    /// The control's severity.
    pub severity: Severity,
    /// The control's title.
    pub title: String,
    /// What became of it.
    pub change: Change,
    /// What brought it about; null when nothing changed.
    pub cause: Option<Cause>,
    /// What came out of the earlier run; null when it has no such row.
    pub before: Option<Outcome>,
    /// What came out of the later run; null when it has no such row.
    pub after: Option<Outcome>,
    /// Why it is unknown, on the side that is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What became of a control and subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It failed (or was unknown) and passes now... only `fail` to `pass`, or `fail` to `not_applicable`.
    Improved,
    /// It passed or did not apply, and fails now.
    Regressed,
    /// It failed and still does.
    StillFailing,
    /// It passed and still does.
    Holding,
    /// It had evidence, and has none now.
    VisibilityLost,
    /// It had no evidence, and has some now.
    VisibilityGained,
    /// It had no evidence, and still has none.
    StillUnknown,
    /// The subject was not there before.
    Appeared,
    /// The subject is no longer there.
    Disappeared,
}

/// What brought a change about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The gateway's facts changed.
    Gateway,
    /// The rules changed.
    Rules,
    /// The agent looked in another way (version, bundle or configuration of checks).
    Agent,
    /// A waiver began or ended.
    Waiver,
    /// The gateway's clock is believed or is not.
    Clock,
}

/// A fact that differs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FactChange {
    /// The check.
    pub check: String,
    /// The target's name.
    pub target: String,
    /// JSON pointer into the facts.
    pub pointer: String,
    /// The earlier value; null when there was none.
    pub before: Option<Value>,
    /// The later value; null when there is none.
    pub after: Option<Value>,
}

impl Delta {
    /// The rows with this change.
    pub fn having(&self, change: Change) -> impl Iterator<Item = &DeltaRow> {
        self.rows.iter().filter(move |row| row.change == change)
    }
}

/// Compares `baseline` with `current` under `pack`. `former` is the pack the baseline was judged by when it was promoted,
/// if that was another one.
#[must_use]
pub fn compare(baseline: Side<'_>, current: Side<'_>, pack: &Pack, former: Option<&Pack>) -> Delta {
    let _ = (baseline, current, pack, former);
    unreachable!("not written yet")
}
