//! A delta as text: what improved, what regressed, what can no longer be seen, and which facts differ.

use std::fmt::Write as _;

use gatepost_rules::compare::{Cause, DeltaRow};
use gatepost_rules::report::DeltaReport;
use serde_json::Value;

use super::{BAD, BOLD, DIM, GOOD, WARN, clean, decision, paint, posture};

/// The delta as text, with ANSI colours for [`anstream`] to keep or strip.
#[must_use]
pub fn delta(report: &DeltaReport) -> String {
    let mut out = String::new();
    let (from, to) = (&report.baseline, &report.current);
    let _ = writeln!(
        out,
        "{}  run {} ({}) -> run {} ({})  rules {} {}",
        paint(BOLD, clean(&to.name)),
        from.seq,
        from.started_at,
        to.seq,
        to.started_at,
        report.pack.name,
        report.pack.version
    );
    let (word, style) = posture(report.posture.state);
    let summary = &report.summary;
    let _ = writeln!(
        out,
        "{} improved, {} regressed, {} still failing, {} holding, {} no longer seen. Now {}; decision: {}.",
        summary.improved,
        summary.regressed,
        summary.still_failing,
        summary.holding,
        summary.visibility_lost,
        paint(style, word),
        decision(report.decision)
    );
    for (title, style, rows) in [
        ("Regressed", BAD, &report.regressed),
        ("Improved", GOOD, &report.improved),
        ("Still failing", WARN, &report.still_failing),
        ("No longer seen", WARN, &report.visibility_lost),
        ("Seen again", BOLD, &report.visibility_gained),
        ("Appeared", BOLD, &report.appeared),
        ("Disappeared", BOLD, &report.disappeared),
    ] {
        section(&mut out, &paint(style, title), rows);
    }
    if !report.facts.is_empty() {
        let _ = writeln!(out, "\n{}", paint(BOLD, "Facts that differ"));
        for fact in &report.facts {
            let place = format!("{}[{}]{}", fact.check, fact.target, fact.pointer);
            let line = format!("{place}: {} -> {}", value(fact.before.as_ref()), value(fact.after.as_ref()));
            let _ = writeln!(out, "  {}", clean(&line));
        }
    }
    out
}

fn section(out: &mut String, title: &str, rows: &[DeltaRow]) {
    if rows.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{title}");
    for row in rows {
        let cause = match row.cause {
            Some(Cause::Gateway) => " (the gateway changed)",
            Some(Cause::Rules) => " (the rules changed)",
            Some(Cause::Agent) => " (the agent looked differently)",
            Some(Cause::Waiver) => " (a waiver)",
            Some(Cause::Clock) => " (the clock)",
            None => "",
        };
        let id = format!("{}[{}]", row.key, row.subject);
        let _ = writeln!(out, "  {:<8} {}{}", row.severity.to_string(), clean(&id), paint(DIM, cause));
        if let Some(reason) = &row.reason {
            let _ = writeln!(out, "           {}", paint(DIM, clean(reason)));
        }
    }
}

fn value(value: Option<&Value>) -> String {
    value.map_or_else(|| "(absent)".to_owned(), Value::to_string)
}
