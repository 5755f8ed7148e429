//! `gatepost rules test`: run every control's own vectors.

use std::fmt::Write as _;
use std::path::Path;

use gatepost_rules::pack::{self, Pack, TestReport};

use super::{Outcome, print};
use crate::files;

pub(super) fn test(file: Option<&Path>) -> anyhow::Result<Outcome> {
    let report = match file {
        None => Pack::builtin().test(),
        Some(file) => {
            let text = files::read_text(file).map_err(|failure| anyhow::anyhow!("{failure}"))?;
            match pack::test(&text) {
                Ok(report) => report,
                Err(errors) => {
                    anstream::eprintln!("{}: this pack does not load\n{errors}", file.display());
                    return Ok(Outcome::Findings);
                }
            }
        }
    };
    print(&text(&report))?;
    Ok(if report.ok() { Outcome::Clean } else { Outcome::Findings })
}

fn text(report: &TestReport) -> String {
    let mut out = format!("{} {}  {}\n", report.pack.name, report.pack.version, report.pack.digest);
    let failed: Vec<_> = report.vectors.iter().filter(|vector| !vector.ok).collect();
    for vector in &failed {
        let got = vector.got.map_or_else(|| "nothing".to_owned(), |outcome| outcome.to_string());
        let _ = write!(
            out,
            "  line {}: {}: vector `{}`: expected {}, got {got}",
            vector.line, vector.control, vector.vector, vector.expected
        );
        let _ = writeln!(out, "{}", vector.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default());
    }
    let mut controls: Vec<_> = report.vectors.iter().map(|vector| &vector.control).collect();
    controls.dedup();
    let passed = report.vectors.len() - failed.len();
    let _ = writeln!(out, "{} controls, {passed} vectors as expected, {} not.", controls.len(), failed.len());
    out
}
