//! What one control says about one set of facts.
//!
//! A fact that is missing makes the outcome `unknown` with its reason, never `pass`.

use std::collections::BTreeMap;

use gatepost_evidence::canonical;
use gatepost_evidence::check::Unknown;
use serde_json::Value;

use crate::assess::Outcome;
use crate::expression::{Answer, Expression, Item, Reference, Subject, at};

/// The compiled part of a control.
#[derive(Debug)]
pub(crate) struct Logic {
    /// JSON pointer of the map whose items are looked at one by one.
    pub(crate) for_each: Option<String>,
    /// Whether the control speaks of a subject at all; always, when absent.
    pub(crate) applies: Option<Expression>,
    /// Whether it fails.
    pub(crate) fail: Expression,
    /// Facts that people want to see beside those that the expressions name.
    pub(crate) show: Vec<Reference>,
}

/// What came out for one subject.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Verdict {
    /// The item's key; none when it is about the target.
    pub(crate) item: Option<String>,
    /// What came out.
    pub(crate) outcome: Outcome,
    /// Why it is unknown.
    pub(crate) reason: Option<String>,
    /// The facts that are named, by JSON pointer.
    pub(crate) evidence: BTreeMap<String, Value>,
}

impl Verdict {
    /// Nothing is known of the target, for `reason`.
    pub(crate) fn unknown(reason: impl Into<String>) -> Self {
        Self { item: None, outcome: Outcome::Unknown, reason: Some(reason.into()), evidence: BTreeMap::new() }
    }
}

impl Logic {
    /// What it says about `facts`, one verdict per subject.
    ///
    /// With `for_each` there is one for each item; none for an empty map, unless there is a reason why it is empty.
    pub(crate) fn judge(&self, facts: &Value, unknown: &Unknown) -> Vec<Verdict> {
        let Some(map) = &self.for_each else {
            return vec![self.verdict(&Subject { facts, unknown, item: None })];
        };
        match at(facts, map) {
            Some(Value::Object(items)) if items.is_empty() => {
                unknown.reason(map).map(Verdict::unknown).into_iter().collect()
            }
            Some(Value::Object(items)) => items
                .iter()
                .map(|(key, value)| self.verdict(&Subject { facts, unknown, item: Some(Item { map, key, value }) }))
                .collect(),
            Some(_) => vec![Verdict::unknown(format!("{map} is not a map"))],
            None => {
                let reason = unknown.reason(map).map_or_else(|| format!("the fact {map} is missing"), str::to_owned);
                vec![Verdict::unknown(reason)]
            }
        }
    }

    fn verdict(&self, subject: &Subject<'_>) -> Verdict {
        let applies = self.applies.as_ref().map_or(Answer::Yes, |applies| applies.ask(subject));
        let (outcome, reason) = match applies {
            Answer::No => (Outcome::NotApplicable, None),
            Answer::Unknown(reason) => (Outcome::Unknown, Some(reason)),
            Answer::Yes => match self.fail.ask(subject) {
                Answer::Yes => (Outcome::Fail, None),
                Answer::No => (Outcome::Pass, None),
                Answer::Unknown(reason) => (Outcome::Unknown, Some(reason)),
            },
        };
        let item = subject.item.map(|item| item.key.to_owned());
        Verdict { item, outcome, reason, evidence: self.evidence(subject) }
    }

    fn evidence(&self, subject: &Subject<'_>) -> BTreeMap<String, Value> {
        let applies = self.applies.iter().flat_map(Expression::references);
        let named = applies.chain(self.fail.references()).chain(&self.show);
        named.filter_map(|one| Some((one.pointer(subject), exact(one.value(subject)?)))).collect()
    }
}

/// A fact as evidence: a whole number that canonical JSON would refuse, because readers may round it, is written as text.
fn exact(fact: &Value) -> Value {
    match fact {
        Value::Number(number) if canonical::to_vec(number).is_err() => Value::String(number.to_string()),
        Value::Array(items) => items.iter().map(exact).collect(),
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), exact(value))).collect(),
        other => other.clone(),
    }
}
