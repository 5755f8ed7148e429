//! Comparing: what changed between a baseline run and a later one, and why.
//!
//! Both runs are judged by the same pack before they are compared, so a difference between them is never the rules'. What
//! changed only because the rules did is told apart by judging the baseline by its former pack too.

use std::collections::{BTreeMap, BTreeSet};

use gatepost_evidence::check::{NormaliseError, normalise};
use gatepost_evidence::id::Digest;
use gatepost_evidence::run::{Record, Run};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::assess::{Assessment, Outcome, Row, RunRef, assess};
use crate::decision::{Decision, Posture};
use crate::drift;
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
    /// It failed, and passes or does not apply any more.
    Improved,
    /// It passed, did not apply or was not there, and fails now.
    Regressed,
    /// It failed and still does.
    StillFailing,
    /// It passed or did not apply, and still does one or the other.
    Holding,
    /// It had evidence, and has none now.
    VisibilityLost,
    /// It had no evidence, and has some now.
    VisibilityGained,
    /// It had no evidence, and still has none.
    StillUnknown,
    /// The subject was not there before, and does not fail.
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

/// How many rows there are of each change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeltaSummary {
    /// Rows that are [`Change::Improved`].
    pub improved: u64,
    /// Rows that are [`Change::Regressed`].
    pub regressed: u64,
    /// Rows that are [`Change::StillFailing`].
    pub still_failing: u64,
    /// Rows that are [`Change::Holding`].
    pub holding: u64,
    /// Rows that are [`Change::VisibilityLost`].
    pub visibility_lost: u64,
    /// Rows that are [`Change::VisibilityGained`].
    pub visibility_gained: u64,
    /// Rows that are [`Change::StillUnknown`].
    pub still_unknown: u64,
    /// Rows that are [`Change::Appeared`].
    pub appeared: u64,
    /// Rows that are [`Change::Disappeared`].
    pub disappeared: u64,
}

impl Delta {
    /// The rows with this change.
    pub fn having(&self, change: Change) -> impl Iterator<Item = &DeltaRow> {
        self.rows.iter().filter(move |row| row.change == change)
    }

    /// The rows in numbers.
    #[must_use]
    pub fn summary(&self) -> DeltaSummary {
        let count = |change| self.having(change).count() as u64;
        DeltaSummary {
            improved: count(Change::Improved),
            regressed: count(Change::Regressed),
            still_failing: count(Change::StillFailing),
            holding: count(Change::Holding),
            visibility_lost: count(Change::VisibilityLost),
            visibility_gained: count(Change::VisibilityGained),
            still_unknown: count(Change::StillUnknown),
            appeared: count(Change::Appeared),
            disappeared: count(Change::Disappeared),
        }
    }
}

/// Compares `baseline` with `current` under `pack`. `former` is the pack the baseline was judged by when it was promoted,
/// if that was another one.
#[must_use]
pub fn compare(baseline: Side<'_>, current: Side<'_>, pack: &Pack, former: Option<&Pack>) -> Delta {
    let (before, after) = (Judged::new(baseline, pack), Judged::new(current, pack));
    let former = former.filter(|former| former.reference() != pack.reference());
    let former = former.map(|former| Judged::new(baseline, former));
    let pair = Pair { before: &before, after: &after, former: former.as_ref() };
    let (old, new) = (before.rows(), after.rows());
    let places: BTreeSet<Place<'_>> = old.keys().chain(new.keys()).copied().collect();
    let rows = places.into_iter().filter_map(|place| pair.row(old.get(&place).copied(), new.get(&place).copied()));
    let rows = rows.collect();
    let facts = drift::facts(baseline.run, current.run);
    Delta {
        rows,
        facts,
        baseline: before.assessment.run,
        current: after.assessment.run,
        pack: pack.reference().clone(),
        posture: after.assessment.posture,
        decision: after.assessment.decision,
    }
}

/// What a row is about: key, subject and, since two targets may make one subject, target.
type Place<'a> = (&'a str, &'a str, &'a str);

fn place(row: &Row) -> Place<'_> {
    (&row.key, &row.subject, &row.target)
}

/// One side, judged.
struct Judged<'a> {
    run: &'a Run,
    assessment: Assessment,
}

/// Both sides, and the baseline under its former pack.
struct Pair<'a> {
    before: &'a Judged<'a>,
    after: &'a Judged<'a>,
    former: Option<&'a Judged<'a>>,
}

/// Why a row is not there on one side.
enum Absence {
    /// The check was not made at all.
    NotLooked,
    /// The check was made, but what it would have said about this subject is unknown, for a reason.
    Unseen(String),
    /// It was looked, and there is no such subject.
    NotThere,
}

impl<'a> Judged<'a> {
    fn new(side: Side<'a>, pack: &Pack) -> Self {
        Self { run: side.run, assessment: assess(side.run, side.digest, pack) }
    }

    fn rows(&self) -> BTreeMap<Place<'_>, &Row> {
        self.assessment.rows.iter().map(|row| (place(row), row)).collect()
    }

    fn made(&self, check: &str) -> bool {
        self.run.records.iter().any(|record| record.check == check)
    }

    /// Why this side has no row like `row`, which is the other side's.
    fn absence(&self, row: &Row) -> Absence {
        if !self.made(check_of(row)) {
            return Absence::NotLooked;
        }
        // A control that looks at each item says `unknown` about the target as a whole when the items are out of sight.
        let whole = self.assessment.rows.iter().find(|other| {
            (&other.key, &other.target, &other.subject) == (&row.key, &row.target, &row.target)
                && other.outcome == Outcome::Unknown
        });
        match whole {
            Some(whole) => Absence::Unseen(whole.reason.clone().unwrap_or_default()),
            None => Absence::NotThere,
        }
    }

    /// Whether the record behind `row` was looked at, so that items out of sight on the other side were in sight here.
    fn observed(&self, row: &Row) -> bool {
        self.record(row).is_some_and(|record| record.observation.is_some())
    }

    fn record(&self, row: &Row) -> Option<&Record> {
        self.run.records.iter().find(|record| record.check == check_of(row) && record.target.name == row.target)
    }

    fn bundle(&self) -> String {
        format!("{} {}", self.run.bundle.name, self.run.bundle.version)
    }
}

fn check_of(row: &Row) -> &str {
    row.key.split_once('.').map_or(row.key.as_str(), |(check, _)| check)
}

impl Pair<'_> {
    /// What became of a row; `None` when it applies to neither side.
    fn row(&self, before: Option<&Row>, after: Option<&Row>) -> Option<DeltaRow> {
        let any = after.or(before)?;
        let (change, absent) = match (before, after) {
            (Some(before), Some(after)) => (both(before.outcome, after.outcome)?, None),
            (Some(before), None) => self.gone(before)?,
            (None, after) => self.came(after?)?,
        };
        let reason_of = |row: Option<&Row>| row.and_then(|row| row.reason.clone());
        let reason = reason_of(after).or(absent).or_else(|| reason_of(before));
        Some(DeltaRow {
            key: any.key.clone(),
            subject: any.subject.clone(),
            severity: any.severity,
            title: any.title.clone(),
            change,
            cause: self.cause(change, before, after),
            before: before.map(|row| row.outcome),
            after: after.map(|row| row.outcome),
            reason,
        })
    }

    /// A row that only the baseline has, and why there is nothing to see of it now.
    fn gone(&self, before: &Row) -> Option<(Change, Option<String>)> {
        if before.outcome == Outcome::NotApplicable {
            return None;
        }
        let unseen = if before.outcome == Outcome::Unknown { Change::StillUnknown } else { Change::VisibilityLost };
        Some(match self.after.absence(before) {
            Absence::NotLooked => (unseen, Some(not_looked(check_of(before), self.after))),
            Absence::Unseen(reason) => (unseen, Some(reason)),
            Absence::NotThere if whole(before) && self.after.observed(before) => (Change::VisibilityGained, None),
            Absence::NotThere => (Change::Disappeared, None),
        })
    }

    /// A row that only the later run has, and why there was nothing to see of it before.
    fn came(&self, after: &Row) -> Option<(Change, Option<String>)> {
        if after.outcome == Outcome::NotApplicable {
            return None;
        }
        let seen = if after.outcome == Outcome::Unknown { Change::StillUnknown } else { Change::VisibilityGained };
        Some(match self.before.absence(after) {
            Absence::NotLooked => (seen, Some(not_looked(check_of(after), self.before))),
            Absence::Unseen(reason) => (seen, Some(reason)),
            Absence::NotThere if whole(after) && self.before.observed(after) => (Change::VisibilityLost, None),
            // A subject that is new and fails is a way into the gateway that was not there: worse than before.
            Absence::NotThere if after.outcome == Outcome::Fail => (Change::Regressed, None),
            Absence::NotThere => (Change::Appeared, None),
        })
    }

    fn cause(&self, change: Change, before: Option<&Row>, after: Option<&Row>) -> Option<Cause> {
        let any = after.or(before)?;
        match change {
            Change::StillFailing | Change::Holding | Change::StillUnknown => {
                let outcome = |row: Option<&Row>| row.map(|row| row.outcome);
                let former = self.former?.assessment.rows.iter().find(|row| place(row) == place(any));
                let same = outcome(before) == outcome(after);
                return (same && outcome(former) != outcome(before)).then_some(Cause::Rules);
            }
            Change::VisibilityLost | Change::VisibilityGained => {
                let by_clock = |row: &Row| row.reason.as_deref().is_some_and(|reason| reason.starts_with("clock:"));
                if before.is_some_and(by_clock) || after.is_some_and(by_clock) {
                    return Some(Cause::Clock);
                }
            }
            _ => {}
        }
        if self.looked_otherwise(any, before, after) { Some(Cause::Agent) } else { Some(Cause::Gateway) }
    }

    /// Whether the difference is in how the agent looked: not at all on one side, by a contract this build does not read,
    /// or as another version that reports the same facts.
    fn looked_otherwise(&self, any: &Row, before: Option<&Row>, after: Option<&Row>) -> bool {
        let check = check_of(any);
        if !self.before.made(check) || !self.after.made(check) {
            return true;
        }
        let sides = [self.before, self.after];
        let unread = |side: &Judged<'_>| {
            let error = side.record(any).and_then(|record| normalise(side.run, record).err());
            error.is_some_and(|error| !matches!(error, NormaliseError::NotObserved { .. }))
        };
        if sides.into_iter().any(unread) {
            return true;
        }
        let [before_contract, after_contract] = sides.map(|side| side.record(any).map(|record| record.contract));
        let other = before_contract != after_contract || self.before.run.agent != self.after.run.agent;
        other && before.map(|row| &row.evidence) == after.map(|row| &row.evidence)
    }
}

/// Whether a row is about the target as a whole.
fn whole(row: &Row) -> bool {
    row.subject == row.target && row.outcome == Outcome::Unknown
}

fn not_looked(check: &str, side: &Judged<'_>) -> String {
    format!("{check} is not part of the run of {}", side.bundle())
}

/// What became of a row that both sides have; `None` when it applies to neither.
fn both(before: Outcome, after: Outcome) -> Option<Change> {
    use Outcome::{Fail, NotApplicable, Pass, Unknown};
    Some(match (before, after) {
        (NotApplicable, NotApplicable) => return None,
        (Fail, Pass | NotApplicable) => Change::Improved,
        (Pass | NotApplicable, Fail) => Change::Regressed,
        (Fail, Fail) => Change::StillFailing,
        (Pass, Pass | NotApplicable) | (NotApplicable, Pass) => Change::Holding,
        (Unknown, Unknown) => Change::StillUnknown,
        (_, Unknown) => Change::VisibilityLost,
        (Unknown, _) => Change::VisibilityGained,
    })
}

#[cfg(test)]
mod tests;
