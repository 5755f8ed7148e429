//! The rows of an assessment in a few words: how the path stands, and what to do next.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::assess::{Outcome, Row};
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

/// Below this many percent of evidence there is too little to say.
const ENOUGH_EVIDENCE_PERCENT: u64 = 80;

/// Sums up `rows`.
#[must_use]
pub fn posture(rows: &[Row]) -> Posture {
    let count = |outcome| rows.iter().filter(|row| row.outcome == outcome).count() as u64;
    let (pass, fail, unknown) = (count(Outcome::Pass), count(Outcome::Fail), count(Outcome::Unknown));
    let mut failing = BTreeMap::new();
    for row in rows.iter().filter(|row| row.outcome == Outcome::Fail) {
        *failing.entry(row.severity).or_default() += 1;
    }
    let applicable = pass + fail + unknown;
    Posture {
        state: match (fail, unknown, applicable) {
            (1.., ..) => PostureState::Exposed,
            (0, 1.., _) | (0, _, 0) => PostureState::Unproven,
            _ => PostureState::Hardened,
        },
        pass,
        fail,
        unknown,
        not_applicable: count(Outcome::NotApplicable),
        failing,
        evidence_percent: ((pass + fail) * 100).checked_div(applicable).unwrap_or(0),
    }
}

/// What to do next about `posture`.
#[must_use]
pub fn decide(posture: &Posture) -> Decision {
    if posture.failing.keys().any(|severity| *severity >= Severity::High) {
        Decision::FixFirst
    } else if posture.evidence_percent < ENOUGH_EVIDENCE_PERCENT {
        Decision::Pause
    } else {
        Decision::Continue
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(rows: &[(Outcome, Severity)]) -> (Posture, Decision) {
        let row = |(outcome, severity): &(Outcome, Severity)| Row {
            key: "a.b".into(),
            subject: "c".into(),
            target: "c".into(),
            severity: *severity,
            title: String::new(),
            outcome: *outcome,
            reason: None,
            evidence: BTreeMap::new(),
        };
        let posture = posture(&rows.iter().map(row).collect::<Vec<_>>());
        let decision = decide(&posture);
        (posture, decision)
    }

    #[test]
    fn states_and_decisions_follow_the_rows() {
        use Outcome::{Fail, NotApplicable, Pass, Unknown};
        use Severity::{Critical, High, Low, Medium};
        for (rows, state, decision, percent) in [
            (vec![], PostureState::Unproven, Decision::Pause, 0),
            (vec![(NotApplicable, High)], PostureState::Unproven, Decision::Pause, 0),
            (vec![(Pass, High)], PostureState::Hardened, Decision::Continue, 100),
            (vec![(Pass, High), (NotApplicable, Low)], PostureState::Hardened, Decision::Continue, 100),
            (vec![(Pass, High), (Unknown, Low)], PostureState::Unproven, Decision::Pause, 50),
            (vec![(Fail, Medium), (Fail, Low)], PostureState::Exposed, Decision::Continue, 100),
            (vec![(Fail, Medium), (Unknown, Low)], PostureState::Exposed, Decision::Pause, 50),
            (vec![(Fail, High), (Unknown, Low)], PostureState::Exposed, Decision::FixFirst, 50),
            (vec![(Fail, Critical), (Pass, Low)], PostureState::Exposed, Decision::FixFirst, 100),
            ([vec![(Pass, Low); 4], vec![(Unknown, Low)]].concat(), PostureState::Unproven, Decision::Continue, 80),
            ([vec![(Pass, Low); 79], vec![(Unknown, Low); 21]].concat(), PostureState::Unproven, Decision::Pause, 79),
        ] {
            let (posture, decided) = of(&rows);
            assert_eq!((posture.state, decided, posture.evidence_percent), (state, decision, percent), "{rows:?}");
        }
    }

    #[test]
    fn failing_rows_are_counted_by_severity() {
        let (posture, _) = of(&[(Outcome::Fail, Severity::High), (Outcome::Fail, Severity::High)]);
        assert_eq!(posture.failing, BTreeMap::from([(Severity::High, 2)]));
        assert_eq!((posture.pass, posture.fail, posture.unknown, posture.not_applicable), (0, 2, 0, 0));
    }
}
