//! The page: for each line of each check a table of its controls, with evidence, vectors, tests and standards.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::Result;
use gatepost_evidence::check::CHECKS;
use gatepost_rules::assess::Outcome;
use gatepost_rules::pack::{BUILTIN_TOML, Control, Pack};

use super::{Coverage, Line, proofs::Proofs};

const HEAD: &str = "\
# What the checks cover

Line by line: which controls judge it, which facts they read, what their vectors expect, which tests meet the real thing, and
which provisions of standards it supports. Facts follow from what was observed and signed; a fact that no control judges is
there for people and for drift. What is not done is said, with the reason.

This page is made from [`checks.toml`](checks.toml), the pack
[`gateway-baseline`](../rules/packs/gateway-baseline-1.0.0.toml), the [schemas](../evidence/schemas/) and the tests, by
`GATEPOST_BLESS=1 cargo test -p gatepost-tests --test checks`; the same test fails when it is not up to date.

Vectors: ✗ must fail, ✓ must pass, ? must be unknown, – does not apply. Where other tools check the same: T testssl.sh,
L Lynis, D AWS IoT Device Defender, B badkeys, M Mosquitto's documentation.
";

/// The whole page.
///
/// # Errors
/// When the tests cannot be read.
pub fn page(coverage: &Coverage) -> Result<String> {
    let (pack, proofs) = (Pack::parse(BUILTIN_TOML)?, Proofs::read()?);
    let mut out = HEAD.to_owned();
    summary(&mut out, coverage, &pack, &proofs);
    standards(&mut out, &pack);
    for check in CHECKS {
        let _ = writeln!(out, "\n## `{}`\n", check.id);
        let _ = writeln!(out, "{}", coverage.check.get(check.id).map_or("", String::as_str));
        let _ = writeln!(
            out,
            "\nObservation: [`{0}.observation.json`](../evidence/schemas/{0}.observation.json), contract {1}. Facts: \
             [`{0}.facts.json`](../evidence/schemas/{0}.facts.json).",
            check.id, check.version
        );
        for line in coverage.line.iter().filter(|line| line.check == check.id) {
            one(&mut out, line, &pack, &proofs);
        }
    }
    Ok(out)
}

fn summary(out: &mut String, coverage: &Coverage, pack: &Pack, proofs: &Proofs) {
    out.push_str("\n| check | lines | with something not done | controls | proved on the real thing | vectors |\n");
    out.push_str("| --- | --: | --: | --: | --: | --: |\n");
    for check in CHECKS {
        let lines = || coverage.line.iter().filter(|line| line.check == check.id);
        let controls = || pack.controls().iter().filter(|control| control.check == check.id);
        let _ = writeln!(
            out,
            "| [`{0}`](#{0}) | {1} | {2} | {3} | {4} | {5} |",
            check.id,
            lines().count(),
            lines().filter(|line| line.gap.is_some()).count(),
            controls().count(),
            controls().filter(|control| proofs.of(check.id, finding(control)).next().is_some()).count(),
            controls().flat_map(Control::expectations).count(),
        );
    }
}

/// The standards, and how much of each has a control that says something about it.
fn standards(out: &mut String, pack: &Pack) {
    out.push_str("\n| standard | version | provisions with a control, of those listed | controls |\n");
    out.push_str("| --- | --- | --: | --: |\n");
    for standard in pack.standards() {
        let mapped = || pack.controls().iter().filter_map(|control| control.mappings.get(&standard.id));
        let provisions: BTreeSet<_> = mapped().flatten().collect();
        let _ = writeln!(
            out,
            "| [{}]({}): {} | {} | {} of {} | {} |",
            standard.id,
            standard.source,
            standard.title,
            standard.version,
            provisions.len(),
            standard.provisions.len(),
            mapped().count(),
        );
    }
}

fn finding(control: &Control) -> &str {
    control.key.split_once('.').map_or(&control.key, |(_, finding)| finding)
}

fn one(out: &mut String, line: &Line, pack: &Pack, proofs: &Proofs) {
    let _ = writeln!(out, "\n### {}\n", line.covers);
    let controls: Vec<_> =
        line.controls.iter().filter_map(|name| pack.control(&format!("{}.{name}", line.check))).collect();
    if !controls.is_empty() {
        out.push_str(
            "| control | severity | reads | vectors | tests | standards |\n| --- | --- | --- | --- | --- | --- |\n",
        );
        for control in controls {
            let _ = writeln!(
                out,
                "| `{}` | {} | {} | {} | {} | {} |",
                finding(control),
                control.severity,
                listed(control.facts().iter().map(|fact| format!("`{fact}`"))),
                vectors(control),
                tests(proofs.of(&line.check, finding(control))),
                listed(
                    control
                        .mappings
                        .iter()
                        .map(|(standard, provisions)| format!("{standard} {}", provisions.join(", ")))
                ),
            );
        }
    }
    let mut notes = Vec::new();
    if !line.facts.is_empty() {
        notes.push(format!(
            "Recorded: {}.",
            line.facts.iter().map(|fact| format!("`{fact}`")).collect::<Vec<_>>().join(", ")
        ));
    }
    if !line.tests.is_empty() {
        notes.push(format!("Also proved by {}.", tests(line.tests.iter().map(String::as_str))));
    }
    if !line.elsewhere.is_empty() {
        notes.push(format!("Elsewhere: {}.", line.elsewhere.join(", ")));
    }
    if let Some(gap) = &line.gap {
        notes.push(format!("**Not done:** {gap}"));
    }
    if !notes.is_empty() {
        let blank = if line.controls.is_empty() { "" } else { "\n" };
        let _ = writeln!(out, "{blank}{}", notes.join("  \n"));
    }
}

fn listed(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join("<br>")
}

fn vectors(control: &Control) -> String {
    let mut counts: BTreeMap<Outcome, usize> = BTreeMap::new();
    control.expectations().for_each(|outcome| *counts.entry(outcome).or_default() += 1);
    let mark = |outcome| match outcome {
        Outcome::Fail => '✗',
        Outcome::Pass => '✓',
        Outcome::Unknown => '?',
        Outcome::NotApplicable => '–',
    };
    let order = [Outcome::Fail, Outcome::Pass, Outcome::Unknown, Outcome::NotApplicable];
    let counted = order.iter().filter_map(|outcome| Some(format!("{}{}", counts.get(outcome)?, mark(*outcome))));
    counted.collect::<Vec<_>>().join(" ")
}

fn tests<'p>(paths: impl Iterator<Item = &'p str>) -> String {
    let named: BTreeSet<String> = paths
        .map(|path| {
            let short = path.rsplit('/').next().unwrap_or(path);
            let short = if short.ends_with(".rs") { short.trim_end_matches(".rs") } else { path };
            format!("[{short}](../{path})")
        })
        .collect();
    if named.is_empty() { "vectors only".to_owned() } else { named.into_iter().collect::<Vec<_>>().join(", ") }
}
