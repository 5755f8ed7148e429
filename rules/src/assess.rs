//! Judging: one run under one pack gives one [`Assessment`].
//!
//! Every control of the pack that speaks of a check in the run gets a row per subject, whatever came out of it. A fact that
//! is missing makes the outcome `unknown` with its reason, never `pass`.

use std::collections::BTreeMap;

use gatepost_evidence::check::{Beside, normalise_beside};
use gatepost_evidence::id::{Digest, GatewayId};
use gatepost_evidence::run::{BundleRef, Record, Run, Stage};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::decision::{Decision, Posture, decide, posture};
use crate::judge::Verdict;
use crate::pack::{Control, Pack, PackRef, Severity};

/// What a run means under a pack. Its canonical JSON is its identity; see [`Assessment::digest`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Assessment {
    /// The run that was judged.
    pub run: RunRef,
    /// The pack it was judged by.
    pub pack: PackRef,
    /// One row per control and subject, sorted by key and subject.
    pub rows: Vec<Row>,
    /// The rows in numbers.
    pub posture: Posture,
    /// What to do next.
    pub decision: Decision,
}

/// The run behind an assessment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRef {
    /// SHA-256 of the run's payload.
    pub digest: Digest,
    /// Whose run it is.
    pub gateway: GatewayId,
    /// The gateway's name.
    pub name: String,
    /// Its place in the chain.
    pub seq: u64,
    /// Its stage.
    pub stage: Stage,
    /// Its bundle.
    pub bundle: BundleRef,
    /// When it started, by the gateway's clock.
    pub started_at: Timestamp,
}

/// The outcome of one control for one subject.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The control's key, `<check>.<finding>`.
    pub key: String,
    /// What it is about: the target's name, or `target/item` for a control that looks at each item of a map.
    pub subject: String,
    /// The name of the target whose record was judged.
    pub target: String,
    /// The control's severity.
    pub severity: Severity,
    /// The control's title.
    pub title: String,
    /// What came out.
    pub outcome: Outcome,
    /// Why it is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The facts that the control's expressions and `show` name, by JSON pointer into the record's facts; absent facts are
    /// left out.
    pub evidence: BTreeMap<String, Value>,
}

impl Row {
    /// A finding's identity, such as `device_certificate_hygiene.expired[stm32-02]`.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}[{}]", self.key, self.subject)
    }
}

/// What came out of a control.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The facts are as they should be.
    Pass,
    /// The facts are not as they should be.
    Fail,
    /// The facts could not be known; the row's reason says why.
    Unknown,
    /// The control does not speak of this subject.
    NotApplicable,
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Unknown => "unknown",
            Self::NotApplicable => "not applicable",
        })
    }
}

impl Assessment {
    /// Rows that fail, worst severity first, then by key and subject.
    pub fn findings(&self) -> Vec<&Row> {
        let mut rows: Vec<_> = self.rows.iter().filter(|row| row.outcome == Outcome::Fail).collect();
        rows.sort_by(|a, b| b.severity.cmp(&a.severity).then_with(|| (&a.key, &a.subject).cmp(&(&b.key, &b.subject))));
        rows
    }

    /// Rows that are unknown: what there is no evidence for.
    pub fn gaps(&self) -> Vec<&Row> {
        self.rows.iter().filter(|row| row.outcome == Outcome::Unknown).collect()
    }

    /// SHA-256 of the canonical JSON of this assessment: equal wherever the same run is judged by the same pack.
    #[must_use]
    pub fn digest(&self) -> Digest {
        // It always has a canonical form: keys are text, and evidence holds no number that would be rounded.
        Digest::of(&gatepost_evidence::canonical::to_vec(self).unwrap_or_default())
    }
}

/// Judges `run`, whose payload has `digest`, by `pack`.
#[must_use]
pub fn assess(run: &Run, digest: Digest, pack: &Pack) -> Assessment {
    let beside = Beside::of(run);
    let mut rows: Vec<Row> = run.records.iter().flat_map(|record| rows_of(run, record, &beside, pack)).collect();
    rows.sort_by(|a, b| (&a.key, &a.subject, &a.target).cmp(&(&b.key, &b.subject, &b.target)));
    let posture = posture(&rows);
    Assessment {
        run: RunRef {
            digest,
            gateway: run.gateway.id,
            name: run.gateway.name.clone(),
            seq: run.seq,
            stage: run.stage,
            bundle: run.bundle.clone(),
            started_at: run.started_at,
        },
        pack: pack.reference().clone(),
        decision: decide(&posture),
        rows,
        posture,
    }
}

/// The rows of one record. A record without facts gives one unknown row per control, with the reason.
fn rows_of(run: &Run, record: &Record, beside: &Beside, pack: &Pack) -> Vec<Row> {
    let speaks = |control: &&Control| control.check == record.check && control.target == record.target.kind;
    let controls: Vec<&Control> = pack.controls().iter().filter(speaks).collect();
    if controls.is_empty() {
        return Vec::new();
    }
    let normalised = normalise_beside(run, record, beside);
    let verdicts = |control: &Control| match &normalised {
        Ok(normalised) => control.logic.judge(&normalised.facts, &normalised.unknown),
        Err(error) => vec![Verdict::unknown(error.to_string())],
    };
    let rows = |control: &'_ &Control| {
        let control: &Control = control;
        verdicts(control).into_iter().map(|verdict| row(control, &record.target.name, verdict)).collect::<Vec<_>>()
    };
    controls.iter().flat_map(rows).collect()
}

fn row(control: &Control, target: &str, verdict: Verdict) -> Row {
    Row {
        key: control.key.clone(),
        subject: verdict.item.map_or_else(|| target.to_owned(), |item| format!("{target}/{item}")),
        target: target.to_owned(),
        severity: control.severity,
        title: control.title.clone(),
        outcome: verdict.outcome,
        reason: verdict.reason,
        evidence: verdict.evidence,
    }
}

#[cfg(test)]
mod tests;
