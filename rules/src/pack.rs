//! Rule packs: TOML in, checked and compiled controls out.
//!
//! A pack that lacks vectors, names a fact its check's contract does not have, or fails its own vectors does not load, and
//! every mistake in it is reported at once; of the built-in one a test has seen to that. Its identity is the SHA-256 of its canonical form.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use gatepost_evidence::check::Unknown;
use gatepost_evidence::id::Digest;
use gatepost_evidence::run::TargetKind;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::assess::Outcome;
use crate::expression::Expression;
use crate::judge::Logic;
use crate::load::{load, load_tested};
pub use crate::mistakes::{PackError, PackErrors};
pub use crate::standards::Standard;
pub use crate::tables::Lookup;
use crate::tables::Tables;

/// A pack by name, version and digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackRef {
    /// Such as `gateway-baseline`.
    pub name: String,
    /// Semantic version.
    pub version: String,
    /// SHA-256 of its canonical form.
    pub digest: Digest,
}

/// How bad it is when a control fails. Ordered: `Low < Medium < High < Critical`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing.
    Low,
    /// To be planned.
    Medium,
    /// To be fixed before anything else is built on it.
    High,
    /// To be fixed now.
    Critical,
}

impl std::fmt::Display for Severity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        })
    }
}

/// A pack that loaded. Cheap to clone, and free to cross threads.
#[derive(Debug, Clone)]
pub struct Pack {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    reference: PackRef,
    tables: Arc<Tables>,
    standards: Vec<Standard>,
    controls: Vec<Control>,
}

/// One control of a pack.
#[derive(Debug)]
pub struct Control {
    /// `<check>.<finding>`.
    pub key: String,
    /// What is wrong when it fails, in a line.
    pub title: String,
    /// How bad it is when it fails.
    pub severity: Severity,
    /// The part of the path it belongs to, such as `broker`.
    pub domain: String,
    /// The check whose facts it reads.
    pub check: String,
    /// The sort of target it speaks of.
    pub target: TargetKind,
    /// JSON pointer of the map whose items it looks at one by one, if it does.
    pub for_each: Option<String>,
    /// CEL: whether it speaks of a subject at all; always, when absent.
    pub applies: Option<String>,
    /// CEL: whether it fails.
    pub fail: String,
    /// Why it matters.
    pub why: String,
    /// What to do about it.
    pub remediation: String,
    /// How to see that it was done.
    pub verify: String,
    /// By standard: the provisions it supports.
    pub mappings: BTreeMap<String, Vec<String>>,
    pub(crate) logic: Logic,
    pub(crate) vectors: Vec<Vector>,
}

impl Control {
    /// The facts it reads, as JSON pointers (RFC 6901) with `*` for the entries of the map it looks at one by one.
    #[must_use]
    pub fn facts(&self) -> BTreeSet<String> {
        let each = self.logic.for_each.as_ref().map(|map| format!("{map}/*"));
        let compiled = self.logic.compiled();
        let named = compiled.applies.iter().flat_map(Expression::references).chain(compiled.fail.references());
        named.map(|reference| reference.place(each.as_deref())).filter(|place| !place.is_empty()).collect()
    }

    /// What each of its vectors expects.
    pub fn expectations(&self) -> impl Iterator<Item = Outcome> + '_ {
        self.vectors.iter().map(|vector| vector.expect)
    }
}

/// A test of a control that the pack carries: facts, and what must come out of them.
#[derive(Debug)]
pub(crate) struct Vector {
    pub(crate) name: String,
    pub(crate) expect: Outcome,
    pub(crate) facts: Value,
    pub(crate) subject: Option<String>,
    pub(crate) line: usize,
}

/// The source of the pack this version ships with, as [`Pack::builtin`] loads it.
pub const BUILTIN_TOML: &str = include_str!("../packs/gateway-baseline-1.0.0.toml");

/// Its digest.
const BUILTIN_DIGEST: &str = include_str!("../packs/gateway-baseline-1.0.0.digest");

/// Its vectors are not read and run at every start, its expressions are compiled when they are first asked, and its digest is
/// not made, which would take a gateway more time and memory than to judge a run: a test has done all of it.
static BUILTIN: LazyLock<Result<Pack, PackErrors>> = LazyLock::new(|| match BUILTIN_DIGEST.trim_end().parse() {
    Ok(digest) => load_tested(BUILTIN_TOML, digest),
    Err(_) => load(BUILTIN_TOML),
});

impl Pack {
    pub(crate) fn new(
        reference: PackRef,
        tables: Arc<Tables>,
        standards: Vec<Standard>,
        controls: Vec<Control>,
    ) -> Self {
        Self { inner: Arc::new(Inner { reference, tables, standards, controls }) }
    }

    /// Loads a pack: reads it, compiles its expressions, holds them against the contracts and runs its vectors.
    ///
    /// # Errors
    /// Every mistake in it, a vector that does not come out as expected included.
    pub fn parse(toml: &str) -> Result<Self, PackErrors> {
        let pack = load(toml)?;
        let report = pack.test();
        let failing = report.vectors.iter().filter(|vector| !vector.ok).map(VectorResult::as_error);
        let failing: Vec<PackError> = failing.collect();
        if failing.is_empty() { Ok(pack) } else { Err(PackErrors::new(failing)) }
    }

    /// The pack this version ships with, `gateway-baseline`; loaded once, and without its vectors.
    ///
    /// # Panics
    /// Never: a test loads it.
    #[must_use]
    pub fn builtin() -> Self {
        match &*BUILTIN {
            Ok(pack) => pack.clone(),
            Err(errors) => unreachable!("the built-in pack: {errors}"),
        }
    }

    /// Name, version and digest.
    #[must_use]
    pub fn reference(&self) -> &PackRef {
        &self.inner.reference
    }

    /// The tables that its expressions look things up in.
    #[must_use]
    pub fn tables(&self) -> &[Lookup] {
        self.inner.tables.all()
    }

    /// The standards that its controls may be mapped to, in the order of their ids.
    #[must_use]
    pub fn standards(&self) -> &[Standard] {
        &self.inner.standards
    }

    /// Its controls, in the order of the file.
    #[must_use]
    pub fn controls(&self) -> &[Control] {
        &self.inner.controls
    }

    /// The control with this key.
    #[must_use]
    pub fn control(&self, key: &str) -> Option<&Control> {
        self.controls().iter().find(|control| control.key == key)
    }

    /// Runs every vector of every control.
    fn test(&self) -> TestReport {
        let results = |control: &Control| control.vectors.iter().map(|vector| run(control, vector)).collect::<Vec<_>>();
        TestReport { pack: self.reference().clone(), vectors: self.controls().iter().flat_map(results).collect() }
    }
}

/// Loads a pack and runs its vectors. Other than with [`Pack::parse`], a vector that does not come out as expected is a
/// line of the report.
///
/// # Errors
/// Every other mistake in the pack.
pub fn test(toml: &str) -> Result<TestReport, PackErrors> {
    Ok(load(toml)?.test())
}

/// What came out of a pack's vectors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestReport {
    /// The pack.
    pub pack: PackRef,
    /// One per vector, in the order of the file.
    pub vectors: Vec<VectorResult>,
}

impl TestReport {
    /// Whether every vector came out as expected.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.vectors.iter().all(|vector| vector.ok)
    }
}

/// What came out of one vector.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VectorResult {
    /// The control's key.
    pub control: String,
    /// The vector's name.
    pub vector: String,
    /// The line it stands on, from 1.
    pub line: usize,
    /// What should come out.
    pub expected: Outcome,
    /// What came out; null when there was no row, or more than one to choose from.
    pub got: Option<Outcome>,
    /// Why it is unknown, or why there is nothing to compare.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether it came out as expected.
    pub ok: bool,
}

impl VectorResult {
    fn as_error(&self) -> PackError {
        let got = self.got.map_or_else(|| "nothing".to_owned(), |got| got.to_string());
        let reason = self.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
        let message = format!("vector `{}` should {} but gave {got}{reason}", self.vector, demand(self.expected));
        PackError { line: self.line, control: Some(self.control.clone()), message }
    }
}

fn demand(outcome: Outcome) -> String {
    match outcome {
        Outcome::Pass | Outcome::Fail => outcome.to_string(),
        Outcome::Unknown | Outcome::NotApplicable => format!("be {outcome}"),
    }
}

fn run(control: &Control, vector: &Vector) -> VectorResult {
    let verdicts = control.logic.judge(&vector.facts, &Unknown::default());
    let mut meant: Vec<_> = match &vector.subject {
        Some(subject) => verdicts.into_iter().filter(|verdict| verdict.item.as_ref() == Some(subject)).collect(),
        None => verdicts,
    };
    let (got, reason) = match (meant.len(), meant.pop()) {
        (1, Some(verdict)) => (Some(verdict.outcome), verdict.reason),
        (0, _) => (None, Some("the facts give no row; check for_each and subject".to_owned())),
        _ => (None, Some("the facts give several rows; say which is meant with `subject`".to_owned())),
    };
    VectorResult {
        control: control.key.clone(),
        vector: vector.name.clone(),
        line: vector.line,
        expected: vector.expect,
        got,
        reason,
        ok: got == Some(vector.expect),
    }
}

#[cfg(test)]
mod tests;
