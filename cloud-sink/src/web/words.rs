//! The words that pages use for the values of the contract, and the class that goes with each.

use gatepost_evidence::chain::Link;
use gatepost_evidence::tombstone;
use gatepost_rules::assess::{Outcome, Row};
use gatepost_rules::compare::Cause;
use gatepost_rules::decision::{Decision, Posture, PostureState};
use gatepost_rules::pack::Severity;
use jiff::SignedDuration;

use crate::account::Buried;
use crate::timeline::{self, why};

/// A value in words, with the class of the stylesheet that colours it.
pub trait Words {
    /// In a word or two.
    fn words(&self) -> &'static str;
    /// The class.
    fn class(&self) -> &'static str;
}

impl Words for Severity {
    fn words(&self) -> &'static str {
        match self {
            Self::Low => "Low",
            Self::Medium => "Medium",
            Self::High => "High",
            Self::Critical => "Critical",
        }
    }

    fn class(&self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

impl Words for PostureState {
    fn words(&self) -> &'static str {
        match self {
            Self::Exposed => "Exposed",
            Self::Unproven => "Unproven",
            Self::Hardened => "Hardened",
        }
    }

    fn class(&self) -> &'static str {
        match self {
            Self::Exposed => "high",
            Self::Unproven => "unknown",
            Self::Hardened => "good",
        }
    }
}

impl Words for Decision {
    fn words(&self) -> &'static str {
        match self {
            Self::FixFirst => "Fix first",
            Self::Continue => "Continue",
            Self::Pause => "Pause",
        }
    }

    fn class(&self) -> &'static str {
        match self {
            Self::FixFirst => "high",
            Self::Continue => "good",
            Self::Pause => "unknown",
        }
    }
}

/// Why a decision is what it is, in a sentence.
#[must_use]
pub fn decision_sentence(decision: &Decision) -> &'static str {
    match decision {
        Decision::FixFirst => {
            "Something of high or critical severity fails: fix it before anything is built on this path."
        }
        Decision::Continue => "Nothing of high or critical severity fails, and there is enough evidence to say so.",
        Decision::Pause => "There is too little evidence to say how this path stands: look again before deciding.",
    }
}

impl Words for Outcome {
    fn words(&self) -> &'static str {
        match self {
            Self::Pass => "Pass",
            Self::Fail => "Fail",
            Self::Unknown => "Unknown",
            Self::NotApplicable => "Does not apply",
        }
    }

    fn class(&self) -> &'static str {
        match self {
            Self::Pass => "good",
            Self::Fail => "high",
            Self::Unknown => "unknown",
            Self::NotApplicable => "quiet",
        }
    }
}

/// An outcome on a side that may have no such row.
#[must_use]
pub fn outcome(outcome: &Option<Outcome>) -> &'static str {
    outcome.as_ref().map_or("Not there", Words::words)
}

impl Words for Link {
    fn words(&self) -> &'static str {
        match self {
            Self::Continues => "In order",
            Self::Duplicate => "Duplicate",
            Self::Fork => "Fork",
            Self::Gap => "After a gap",
            Self::Late => "Late",
        }
    }

    fn class(&self) -> &'static str {
        match self {
            Self::Continues | Self::Duplicate => "quiet",
            Self::Fork => "high",
            Self::Gap | Self::Late => "medium",
        }
    }
}

impl Words for Cause {
    fn words(&self) -> &'static str {
        match self {
            Self::Gateway => "the gateway changed",
            Self::Rules => "the rules changed",
            Self::Agent => "the agent looked in another way",
            Self::Waiver => "a waiver began or ended",
            Self::Clock => "the clock is believed or is not",
        }
    }

    fn class(&self) -> &'static str {
        "quiet"
    }
}

impl Words for tombstone::Cause {
    fn words(&self) -> &'static str {
        why(*self)
    }

    fn class(&self) -> &'static str {
        match self {
            // The gateway says this sink has what this sink has not.
            Self::AcknowledgedExpired => "high",
            Self::QuarantinedExpired => "quiet",
            Self::TooOld | Self::NoRoom | Self::Damaged => "medium",
        }
    }
}

/// Failing rows by severity, worst first: `3 high, 1 medium`.
#[must_use]
pub fn severities(posture: &Posture) -> String {
    let words: Vec<_> = posture.failing.iter().rev().map(|(severity, count)| format!("{count} {severity}")).collect();
    words.join(", ")
}

/// `1 finding`, `2 findings`.
#[must_use]
pub fn counted(count: &u64, one: &str, many: &str) -> String {
    if *count == 1 { format!("1 {one}") } else { format!("{count} {many}") }
}

/// The word alone.
#[must_use]
pub fn plural<'a>(count: &u64, one: &'a str, many: &'a str) -> &'a str {
    if *count == 1 { one } else { many }
}

/// The same as [`counted`] for a list.
#[must_use]
pub fn counted_len<T>(list: &[T], one: &str, many: &str) -> String {
    counted(&(list.len() as u64), one, many)
}

/// So many seconds: `2 d 5 h`.
#[must_use]
pub fn length(seconds: &i64) -> String {
    timeline::length(SignedDuration::from_secs(*seconds))
}

/// How many runs the gateway signed away: `44 runs gone`.
#[must_use]
pub fn gone(buried: &[Buried]) -> String {
    match buried.iter().map(|it| it.runs).sum::<Option<u64>>() {
        Some(count) => format!("{} gone", counted(&count, "run", "runs")),
        None => "runs gone".to_owned(),
    }
}

/// The rows with this outcome.
#[must_use]
pub fn having(rows: &[Row], outcome: Outcome) -> Vec<&Row> {
    rows.iter().filter(|row| row.outcome == outcome).collect()
}
