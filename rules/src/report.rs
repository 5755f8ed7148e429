//! The shapes that people's programs read: an assessment and a delta with everything a finding needs beside it.
//!
//! They are what the agent prints with `--format json`. The sink's API has the same members with the same meaning, and adds
//! what only a sink knows, such as when a run was received and which run saw a regression first.

use std::collections::BTreeMap;

use gatepost_evidence::id::Digest;
use serde::{Deserialize, Serialize};

use crate::assess::{Assessment, Row, RunRef};
use crate::backlog::{BacklogItem, backlog};
use crate::compare::{Change, Delta, DeltaRow, DeltaSummary, FactChange};
use crate::decision::{Decision, Posture};
use crate::pack::{Control, Pack, PackRef};

/// One run, judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunReport {
    /// The run.
    pub run: RunRef,
    /// The pack it was judged by.
    pub pack: PackRef,
    /// SHA-256 of the assessment; equal wherever the same run is judged by the same pack.
    pub assessment_digest: Digest,
    /// How the path stands.
    pub posture: Posture,
    /// What to do next.
    pub decision: Decision,
    /// What fails, worst first.
    pub findings: Vec<Finding>,
    /// What there is no evidence for.
    pub gaps: Vec<Row>,
    /// What to fix first.
    pub backlog: Vec<BacklogItem>,
    /// Every row, findings and gaps included.
    pub rows: Vec<Row>,
}

/// A failing row with what the control says about it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The judged row: key, subject, severity, outcome, title, evidence.
    #[serde(flatten)]
    pub row: Row,
    /// The part of the path it belongs to.
    pub domain: String,
    /// Why it matters.
    pub why: String,
    /// What to do.
    pub remediation: String,
    /// How to see that it was done.
    pub verify: String,
    /// By standard: the provisions it supports.
    pub mappings: BTreeMap<String, Vec<String>>,
}

impl RunReport {
    /// The report of an assessment made by `pack`.
    #[must_use]
    pub fn new(assessment: &Assessment, pack: &Pack) -> Self {
        Self {
            run: assessment.run.clone(),
            pack: assessment.pack.clone(),
            assessment_digest: assessment.digest(),
            posture: assessment.posture.clone(),
            decision: assessment.decision,
            findings: Finding::all(assessment, pack),
            gaps: assessment.gaps().into_iter().cloned().collect(),
            backlog: backlog(assessment, pack),
            rows: assessment.rows.clone(),
        }
    }
}

impl Finding {
    /// The failing rows of `assessment`, worst first. The control's words are empty when `pack` has no such control.
    #[must_use]
    pub fn all(assessment: &Assessment, pack: &Pack) -> Vec<Self> {
        assessment.findings().into_iter().map(|row| Self::new(row, pack)).collect()
    }

    fn new(row: &Row, pack: &Pack) -> Self {
        let control = pack.control(&row.key);
        let words = |part: fn(&Control) -> &String| control.map(part).cloned().unwrap_or_default();
        Self {
            row: row.clone(),
            domain: words(|control| &control.domain),
            why: words(|control| &control.why),
            remediation: words(|control| &control.remediation),
            verify: words(|control| &control.verify),
            mappings: control.map(|control| control.mappings.clone()).unwrap_or_default(),
        }
    }
}

/// Two runs, compared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeltaReport {
    /// The earlier run.
    pub baseline: RunRef,
    /// The later run.
    pub current: RunRef,
    /// The pack both were judged by.
    pub pack: PackRef,
    /// How many rows of each kind.
    pub summary: DeltaSummary,
    /// How the path stands in the later run.
    pub posture: Posture,
    /// What to do next.
    pub decision: Decision,
    /// Failed, passes now.
    pub improved: Vec<DeltaRow>,
    /// Passed or was not there, fails now.
    pub regressed: Vec<DeltaRow>,
    /// Failed and still does.
    pub still_failing: Vec<DeltaRow>,
    /// Had evidence, has none now.
    pub visibility_lost: Vec<DeltaRow>,
    /// Had no evidence, has some now.
    pub visibility_gained: Vec<DeltaRow>,
    /// Had no evidence, and still has none.
    pub still_unknown: Vec<DeltaRow>,
    /// New subjects that pass.
    pub appeared: Vec<DeltaRow>,
    /// Subjects that are gone.
    pub disappeared: Vec<DeltaRow>,
    /// Passed and still does.
    pub holding: Vec<DeltaRow>,
    /// Facts that differ, whether or not a control cares.
    pub facts: Vec<FactChange>,
    /// What fails in the later run, worst first.
    pub findings: Vec<Finding>,
}

impl DeltaReport {
    /// The report of `delta`, whose later run has the assessment `current`, both by `pack`.
    #[must_use]
    pub fn new(delta: &Delta, current: &Assessment, pack: &Pack) -> Self {
        let having = |change| delta.having(change).cloned().collect();
        Self {
            baseline: delta.baseline.clone(),
            current: delta.current.clone(),
            pack: delta.pack.clone(),
            summary: delta.summary(),
            posture: delta.posture.clone(),
            decision: delta.decision,
            improved: having(Change::Improved),
            regressed: having(Change::Regressed),
            still_failing: having(Change::StillFailing),
            visibility_lost: having(Change::VisibilityLost),
            visibility_gained: having(Change::VisibilityGained),
            still_unknown: having(Change::StillUnknown),
            appeared: having(Change::Appeared),
            disappeared: having(Change::Disappeared),
            holding: having(Change::Holding),
            facts: delta.facts.clone(),
            findings: Finding::all(current, pack),
        }
    }
}
