//! `gatepost rules test`: run every control's own vectors.

use std::fmt::Write as _;
use std::path::Path;

use gatepost_rules::assess::Outcome;
use gatepost_rules::pack::{self, BUILTIN_TOML, TestReport};

use super::print;
use crate::files;

pub(super) fn test(file: Option<&Path>) -> anyhow::Result<super::Outcome> {
    let (name, source) = match file {
        None => ("the built-in pack".to_owned(), BUILTIN_TOML.to_owned()),
        Some(file) => {
            let text = files::read_text(file).map_err(|failure| anyhow::anyhow!("{failure}"))?;
            (file.display().to_string(), text)
        }
    };
    let report = match pack::test(&source) {
        Ok(report) => report,
        Err(errors) => {
            anstream::eprintln!("{name}: this pack does not load\n{errors}");
            return Ok(super::Outcome::Findings);
        }
    };
    print(&text(&report))?;
    Ok(if report.ok() { super::Outcome::Clean } else { super::Outcome::Findings })
}

/// An outcome as authors write it in a pack.
fn word(outcome: Outcome) -> String {
    outcome.to_string().replace(' ', "_")
}

fn text(report: &TestReport) -> String {
    let mut out = format!("{} {}  {}\n", report.pack.name, report.pack.version, report.pack.digest);
    let failed: Vec<_> = report.vectors.iter().filter(|vector| !vector.ok).collect();
    for vector in &failed {
        let got = vector.got.map_or_else(|| "nothing".to_owned(), word);
        let _ = write!(
            out,
            "  line {}: {}: vector `{}`: expected {}, got {got}",
            vector.line,
            vector.control,
            vector.vector,
            word(vector.expected)
        );
        let _ = writeln!(out, "{}", vector.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default());
    }
    let mut controls: Vec<_> = report.vectors.iter().map(|vector| &vector.control).collect();
    controls.dedup();
    let passed = report.vectors.len() - failed.len();
    let _ = writeln!(out, "{} controls, {passed} vectors as expected, {} not.", controls.len(), failed.len());
    out
}
