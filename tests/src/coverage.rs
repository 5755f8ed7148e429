//! What the checks cover, line by line: `docs/checks.md`, put together from `docs/checks.toml`, the built-in pack, the facts'
//! schemas and the tests.
//!
//! Guarantees: every control of the pack stands in some line, every control, fact and test that a line names exists, and a line
//! that covers nothing says why. What a table says of a control is the pack's own; which tests prove it is what the tests say.

mod page;
mod proofs;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use gatepost_evidence::check::{CHECKS, CheckInfo};
use gatepost_rules::pack::{Control, Pack};
use serde::Deserialize;
use serde_json::Value;

pub use page::page;

/// The lines, as their file holds them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Coverage {
    /// By check, in words, what it is about.
    pub check: BTreeMap<String, String>,
    /// In the order in which they are read.
    pub line: Vec<Line>,
}

/// One thing that a check has to cover.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// The check.
    pub check: String,
    /// What is covered, in words.
    pub covers: String,
    /// The controls that judge it, without the check's name.
    #[serde(default)]
    pub controls: Vec<String>,
    /// Facts that are recorded and that no control judges: JSON pointers with `*` for any one segment.
    #[serde(default)]
    pub facts: Vec<String>,
    /// Files of tests that prove it, beside those that name a control.
    #[serde(default)]
    pub tests: Vec<String>,
    /// Where other tools check the same, by their ids.
    #[serde(default)]
    pub elsewhere: Vec<String>,
    /// What of it is not done, and why.
    pub gap: Option<String>,
}

/// The repository's folder.
#[must_use]
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

impl Coverage {
    /// Reads the lines and holds them against the pack, the schemas and the tests.
    ///
    /// # Errors
    /// Every mistake in them.
    pub fn read() -> Result<Self> {
        let file = repository().join("docs/checks.toml");
        let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let coverage: Self = toml::from_str(&text).with_context(|| file.display().to_string())?;
        let mistakes = coverage.mistakes();
        ensure!(mistakes.is_empty(), "docs/checks.toml:\n  {}", mistakes.join("\n  "));
        Ok(coverage)
    }

    fn mistakes(&self) -> Vec<String> {
        let pack = Pack::builtin();
        let mut mistakes = Vec::new();
        for check in CHECKS.iter().filter(|check| !self.check.contains_key(check.id)) {
            mistakes.push(format!("[check] says nothing of {}", check.id));
        }
        for line in &self.line {
            let mut mistake = |what: String| mistakes.push(format!("{}, `{}`: {what}", line.check, line.covers));
            let Some(check) = CHECKS.iter().find(|check| check.id == line.check) else {
                mistake("there is no such check".into());
                continue;
            };
            if line.controls.is_empty() && line.facts.is_empty() && line.gap.is_none() {
                mistake("it names neither a control nor a fact, and does not say why".into());
            }
            for name in line.controls.iter().filter(|name| pack.control(&format!("{}.{name}", check.id)).is_none()) {
                mistake(format!("there is no control {name}"));
            }
            for fact in line.facts.iter().filter(|fact| !is_fact(check, fact)) {
                mistake(format!("there is no fact {fact}"));
            }
            for test in line.tests.iter().filter(|test| !repository().join(test).is_file()) {
                mistake(format!("there is no file {test}"));
            }
        }
        let told: BTreeSet<String> = self
            .line
            .iter()
            .flat_map(|line| line.controls.iter().map(|name| format!("{}.{name}", line.check)))
            .collect();
        mistakes.extend(untold(&pack, &told).map(|control| format!("no line has the control {}", control.key)));
        mistakes
    }
}

fn untold<'p>(pack: &'p Pack, told: &BTreeSet<String>) -> impl Iterator<Item = &'p Control> {
    pack.controls().iter().filter(|control| !told.contains(&control.key))
}

/// Whether the facts of `check` have something at `pointer`.
fn is_fact(check: &CheckInfo, pointer: &str) -> bool {
    has(&Value::from((check.facts_schema)()), pointer)
}

/// Whether something of the check called `id` is at `pointer`: of its observation, or of its facts.
#[must_use]
pub fn records(id: &str, observation: bool, pointer: &str) -> bool {
    let check = CHECKS.iter().find(|check| check.id == id);
    check.is_some_and(|check| match observation {
        true => has(&Value::from((check.observation_schema)()), pointer),
        false => is_fact(check, pointer),
    })
}

/// Whether what `root` describes has something at `pointer`, in which `*` is any one segment.
fn has(root: &Value, pointer: &str) -> bool {
    let mut at = root;
    for name in pointer.split('/').skip(1) {
        at = resolve(root, at);
        let next = match name {
            "*" => at.get("additionalProperties").or_else(|| at.get("items")),
            name => at.get("properties").and_then(|properties| properties.get(name)),
        };
        let Some(next) = next else { return false };
        at = next;
    }
    pointer.starts_with('/')
}

/// What a schema stands for, through references and options.
fn resolve<'v>(root: &'v Value, mut at: &'v Value) -> &'v Value {
    loop {
        let options = at.get("anyOf").or_else(|| at.get("oneOf")).or_else(|| at.get("allOf"));
        let inner = options
            .and_then(Value::as_array)
            .and_then(|options| options.iter().find(|option| option["type"] != "null"));
        let named = at.get("$ref").and_then(Value::as_str).and_then(|name| root.pointer(name.strip_prefix('#')?));
        match named.or(inner) {
            Some(next) => at = next,
            None => return at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_looked_up_through_maps_lists_and_options() {
        let check = gatepost_evidence::check::find("broker_transport_posture").unwrap();
        for there in ["/listeners", "/listeners/*/connect_micros", "/listeners/*/tls/tls10"] {
            assert!(is_fact(check, there), "{there}");
        }
        for missing in ["", "listeners", "/listener", "/listeners/connect_micros", "/listeners/*/tls/tls01"] {
            assert!(!is_fact(check, missing), "{missing}");
        }
    }
}
