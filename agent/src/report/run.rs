//! One judged run as text: the posture first, then every finding with its evidence, then what could not be seen.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use gatepost_rules::assess::Row;
use gatepost_rules::report::{Finding, RunReport};

use super::{BOLD, DIM, GOOD, clean, decision, labelled, paint, plural, posture, severity};

/// The run as text, with ANSI colours for [`anstream`] to keep or strip.
#[must_use]
pub fn run(report: &RunReport) -> String {
    let mut out = String::new();
    let run = &report.run;
    let _ = writeln!(
        out,
        "{}  run {}  {} {}  {}  {}",
        paint(BOLD, clean(&run.name)),
        run.seq,
        run.bundle.name,
        run.bundle.version,
        run.stage,
        run.started_at
    );
    summary(&mut out, report);
    for finding in &report.findings {
        out.push('\n');
        one(&mut out, finding);
    }
    gaps(&mut out, &report.gaps);
    out
}

fn summary(out: &mut String, report: &RunReport) {
    let posture_ = &report.posture;
    let (word, style) = posture(posture_.state);
    let failing: Vec<String> =
        posture_.failing.iter().rev().map(|(severity, count)| format!("{count} {severity}")).collect();
    let failing = if failing.is_empty() { String::new() } else { format!(" ({})", failing.join(", ")) };
    let _ = writeln!(
        out,
        "{}: {}{failing}, {} pass, {} without evidence. Decision: {}.",
        paint(style, word),
        plural(posture_.fail, "finding", "findings"),
        posture_.pass,
        posture_.unknown,
        decision(report.decision)
    );
    if report.findings.is_empty() && report.gaps.is_empty() {
        let _ = writeln!(out, "{}", paint(GOOD, "Every control that applies has evidence, and passes."));
    }
}

fn one(out: &mut String, finding: &Finding) {
    let level = format!("{:<8}", finding.row.severity.to_string().to_uppercase());
    let id = format!("{}[{}]", finding.row.key, finding.row.subject);
    let _ = writeln!(out, "{}{}", paint(severity(finding.row.severity), level), paint(BOLD, clean(&id)));
    labelled(out, "", &finding.row.title);
    let mut label = "Evidence";
    for (pointer, value) in &finding.row.evidence {
        labelled(out, label, &format!("{pointer} = {value}"));
        label = "";
    }
    labelled(out, "Why", &finding.why);
    labelled(out, "Fix", &finding.remediation);
    labelled(out, "Verify", &finding.verify);
}

/// Rows without evidence, one line per reason: forty controls that wait for one file are one thing to do.
fn gaps(out: &mut String, gaps: &[Row]) {
    if gaps.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{}", paint(BOLD, "Not seen, so not proven:"));
    let mut reasons: BTreeMap<(&str, &str, &str), Vec<&str>> = BTreeMap::new();
    for row in gaps {
        let (check, finding) = row.key.split_once('.').unwrap_or((&row.key, ""));
        let reason = row.reason.as_deref().unwrap_or("no reason was recorded");
        reasons.entry((check, &row.target, reason)).or_default().push(finding);
    }
    for ((check, target, reason), findings) in reasons {
        let controls = match findings.as_slice() {
            [one] => (*one).to_owned(),
            many => plural(many.len() as u64, "control", "controls"),
        };
        let text = format!("{check}[{target}]: {controls}: {reason}");
        let options = textwrap::Options::new(super::width()).initial_indent("  - ").subsequent_indent("    ");
        for line in textwrap::wrap(&clean(&text), options) {
            let _ = writeln!(out, "{}", paint(DIM, line));
        }
    }
}
