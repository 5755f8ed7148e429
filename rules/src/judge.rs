//! What one control says about one set of facts.
//!
//! A fact that is missing makes the outcome `unknown` with its reason, never `pass`.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use gatepost_evidence::canonical;
use gatepost_evidence::check::Unknown;
use serde_json::Value;

use crate::assess::Outcome;
use crate::expression::{Answer, Expression, Item, Reference, Subject, at};
use crate::names::Scope;
use crate::shape::{self, Shape};
use crate::tables::Tables;

/// The expressions of a control.
#[derive(Debug)]
pub(crate) struct Logic {
    /// JSON pointer of the map whose items are looked at one by one.
    pub(crate) for_each: Option<String>,
    compiled: OnceLock<Compiled>,
    /// What it is compiled from when it is first asked, if that was not done before.
    sources: Option<Sources>,
}

/// Expressions that were compiled.
#[derive(Debug)]
pub(crate) struct Compiled {
    /// Whether the control speaks of a subject at all; always, when absent.
    pub(crate) applies: Option<Expression>,
    /// Whether it fails.
    pub(crate) fail: Expression,
    /// Facts that people want to see beside those that the expressions name.
    pub(crate) show: Vec<Reference>,
}

/// Expressions that were not compiled yet.
#[derive(Debug)]
pub(crate) struct Sources {
    /// The check whose facts they read.
    pub(crate) check: String,
    /// As in [`Compiled`].
    pub(crate) applies: Option<String>,
    /// As in [`Compiled`].
    pub(crate) fail: String,
    /// As in [`Compiled`].
    pub(crate) show: Vec<String>,
    /// The pack's tables.
    pub(crate) tables: Arc<Tables>,
}

impl Sources {
    /// None when they are not sound.
    fn compile(&self, for_each: Option<&str>) -> Option<Compiled> {
        let facts = shape::of_check(&self.check)?;
        let item = match for_each.map(|map| facts.at(map)) {
            None => None,
            Some(Ok(Shape::Map(entry))) => Some(&**entry),
            Some(_) => return None,
        };
        let scope = Scope { facts: &facts, item, tables: self.tables.shape() };
        let compile = |source: &String| Expression::compile(source, scope, &self.tables).ok();
        let applies = match &self.applies {
            Some(source) => Some(compile(source)?),
            None => None,
        };
        let show = self.show.iter().map(|source| Reference::parse(source, scope).ok()).collect::<Option<_>>()?;
        Some(Compiled { applies, fail: compile(&self.fail)?, show })
    }
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
    pub(crate) fn new(for_each: Option<String>, compiled: Compiled) -> Self {
        Self { for_each, compiled: compiled.into(), sources: None }
    }

    /// Of a pack that somebody has tested: a run looks at few of its controls, and compiling all of them takes longer than to
    /// judge it.
    pub(crate) fn later(for_each: Option<String>, sources: Sources) -> Self {
        Self { for_each, compiled: OnceLock::new(), sources: Some(sources) }
    }

    /// # Panics
    /// Never: what is compiled later was compiled by a test.
    pub(crate) fn compiled(&self) -> &Compiled {
        self.compiled.get_or_init(|| {
            let compiled = self.sources.as_ref().and_then(|sources| sources.compile(self.for_each.as_deref()));
            compiled.unwrap_or_else(|| unreachable!("the expressions of a tested pack: {:?}", self.sources))
        })
    }

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
        let Compiled { applies, fail, .. } = self.compiled();
        let applies = applies.as_ref().map_or(Answer::Yes, |applies| applies.ask(subject));
        let (outcome, reason) = match applies {
            Answer::No => (Outcome::NotApplicable, None),
            Answer::Unknown(reason) => (Outcome::Unknown, Some(reason)),
            Answer::Yes => match fail.ask(subject) {
                Answer::Yes => (Outcome::Fail, None),
                Answer::No => (Outcome::Pass, None),
                Answer::Unknown(reason) => (Outcome::Unknown, Some(reason)),
            },
        };
        let item = subject.item.map(|item| item.key.to_owned());
        Verdict { item, outcome, reason, evidence: self.evidence(subject) }
    }

    fn evidence(&self, subject: &Subject<'_>) -> BTreeMap<String, Value> {
        let Compiled { applies, fail, show } = self.compiled();
        let applies = applies.iter().flat_map(Expression::references);
        let named = applies.chain(fail.references()).chain(show);
        named.filter_map(|one| Some((one.pointer(subject), canonical::exact(one.value(subject)?)))).collect()
    }
}
