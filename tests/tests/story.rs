//! The demo itself, run as `cargo xtask demo` runs it: what it says, what it leaves behind, and that both hold.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use gatepost_tests::agent::{Agent, Finished, run};
use gatepost_tests::lab::Lab;
use gatepost_tests::process::{built, command};
use gatepost_tests::python::Verifier;
use serde_json::{Value, json};

/// The issue's own limit.
const LIMIT: Duration = Duration::from_secs(60);
/// The findings of the exposed path: key and severity.
const EXPOSED: [(&str, &str); 4] = [
    ("gateway_config_guardrails.auth_enforcement_disabled", "high"),
    ("gateway_config_guardrails.unsafe_defaults_not_observable", "medium"),
    ("ingest_auth.insecure_transport", "high"),
    ("ingest_auth.unauthenticated_ingest_allowed", "high"),
];
const REGRESSION: &str = "broker_transport_posture.anonymous_access";

fn tell(out: &Path) -> Result<Finished> {
    let mut demo = command(&built("gatepost-demo")?);
    demo.arg("--out").arg(out);
    run(demo, LIMIT)
}

fn read(out: &Path, name: &str) -> Result<Value> {
    let text = fs::read_to_string(out.join(name)).with_context(|| format!("{name} is not there"))?;
    serde_json::from_str(&text).with_context(|| format!("{name} is not JSON"))
}

/// The keys in a list, sorted.
fn keys(list: &Value) -> Vec<&str> {
    let mut keys: Vec<_> = list.as_array().unwrap().iter().map(|row| row["key"].as_str().unwrap()).collect();
    keys.sort_unstable();
    keys
}

fn is_judgement(judged: &Value, name: &str) {
    assert!(judged["posture"].is_object() && judged["decision"].is_string(), "{name}");
    for finding in judged["findings"].as_array().unwrap() {
        for part in ["key", "subject", "severity", "outcome"] {
            assert!(finding[part].is_string(), "{part} of a finding in {name}: {finding}");
        }
        assert_eq!(finding["outcome"], "fail", "{name}: {finding}");
    }
}

fn is_delta(delta: &Value, name: &str) {
    assert!(delta["summary"].is_object() || delta["summary"].is_string(), "{name}: {}", delta["summary"]);
    assert!(delta["improved"].is_array() && delta["regressed"].is_array(), "{name}");
}

/// Nothing that a browser would fetch or run.
fn is_self_contained(page: &str) {
    let page = page.to_lowercase();
    assert!(page.starts_with("<!doctype html>") && page.contains("</html>"), "not a page: {:.200}", page);
    for part in ["<script", "javascript:", "<iframe", "<object", "<embed", "<base", "@import", "http-equiv"] {
        assert!(!page.contains(part), "{part}");
    }
    assert!(!page.split('<').any(|tag| tag.starts_with("link") && tag.contains("href")), "a stylesheet outside");
    for part in page.split("src=").skip(1).chain(page.split("url(").skip(1)) {
        assert!(part.trim_start_matches(['"', '\'']).starts_with("data:"), "{:.80}", part);
    }
    for attribute in ["onload", "onclick", "onerror"] {
        assert!(!page.contains(&format!(" {attribute}=")), "{attribute}");
    }
}

#[test]
fn the_story_comes_true_and_leaves_its_artefacts() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("not/there/yet");
    let told = tell(&out)?.expect_code(0)?;
    assert!(!told.stdout.contains('\u{1b}') && !told.stderr.contains('\u{1b}'), "no colour when nobody watches");
    for words in
        ["Act 1", "4 findings", "401", "202", "4 improved, 0 regressed", "3 runs stay in the spool", REGRESSION]
    {
        assert!(told.stdout.contains(words), "{words} is missing in\n{}", told.stdout);
    }
    let mut left: Vec<_> = fs::read_dir(&out)?.map(|file| Ok(file?.file_name())).collect::<Result<_>>()?;
    left.sort();
    assert_eq!(left, ["audit.json", "delta.json", "outage.json", "report.html", "rerun.json"]);
    for name in &left {
        assert!(told.stdout.contains(&out.join(name).display().to_string()), "where {name:?} is");
    }

    let audit = read(&out, "audit.json")?;
    is_judgement(&audit, "audit.json");
    assert_eq!(keys(&audit["findings"]), EXPOSED.map(|(key, _)| key));
    for finding in audit["findings"].as_array().unwrap() {
        let found = (finding["key"].as_str().unwrap(), finding["severity"].as_str().unwrap());
        assert!(EXPOSED.contains(&found), "{found:?}");
    }
    assert_eq!((&audit["posture"]["state"], &audit["decision"]), (&json!("exposed"), &json!("fix_first")));

    let rerun = read(&out, "rerun.json")?;
    is_judgement(&rerun, "rerun.json");
    assert_eq!(rerun["findings"], json!([]));
    assert_eq!((&rerun["posture"]["state"], &rerun["decision"]), (&json!("hardened"), &json!("continue")));

    let delta = read(&out, "delta.json")?;
    is_delta(&delta, "delta.json");
    assert_eq!(keys(&delta["improved"]), EXPOSED.map(|(key, _)| key));
    assert_eq!(delta["regressed"], json!([]));

    let outage = read(&out, "outage.json")?;
    is_delta(&outage, "outage.json");
    let regressed = outage["regressed"].as_array().context("no list")?;
    let row = regressed.iter().find(|row| row["key"] == REGRESSION).context("the regression is not named")?;
    assert_eq!(row["first_seen"]["seq"], 4, "dated to the run that saw it");
    let seen: jiff::Timestamp = serde_json::from_value(row["first_seen"]["started_at"].clone())?;
    let received: jiff::Timestamp = serde_json::from_value(row["first_seen"]["received_at"].clone())?;
    assert!(seen < received, "seen {seen}, received {received}");
    Ok(())
}

#[test]
fn the_report_is_one_page_that_needs_nothing_else() -> Result<()> {
    let folder = tempfile::tempdir()?;
    tell(folder.path())?.expect_code(0)?;
    let page = fs::read_to_string(folder.path().join("report.html"))?;
    is_self_contained(&page);
    for words in ["pump-house-7", REGRESSION] {
        assert!(page.contains(words), "{words}");
    }
    Ok(())
}

#[test]
fn what_cannot_be_written_ends_the_story_with_words() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("file");
    fs::write(&file, "")?;
    let error = tell(&file.join("out"))?.expect_code(1)?.stderr;
    assert!(error.contains("did not come true") && error.contains("cannot be made"), "{error}");
    Ok(())
}

#[test]
fn python_verifies_what_the_agent_made() -> Result<()> {
    let lab = Lab::start()?;
    let configuration = lab.agent_config(&lab.folder().join("agent"), None);
    let agent = Agent::configured(&lab.folder().join("gatepost.toml"), &configuration)?;
    let mut files = Vec::new();
    for (seq, bundle) in ["audit-baseline", "certificate-hygiene", "field-self-audit"].into_iter().enumerate() {
        let finished = agent.run(&["audit", "--bundle", bundle])?;
        assert!(matches!(finished.code, Some(0 | 1)), "{finished:?}");
        let shown = agent.run(&["show", &(seq + 1).to_string(), "--envelope"])?.expect_code(0)?.stdout;
        let file = lab.folder().join(format!("{seq}.json"));
        fs::write(&file, shown)?;
        files.push(file);
    }
    let key = lab.folder().join("gateway.pub.pem");
    fs::write(&key, agent.status()?["public_key"].as_str().context("no public key")?)?;
    let verifier = Verifier::ready()?;
    let all: Vec<_> = files.iter().map(AsRef::as_ref).collect();
    let good = verifier.verify(&key, &["--chain"], &all)?.expect_code(0)?;
    assert_eq!(good.stdout.matches(": good: ").count(), 3, "{good:?}");
    verifier.verify(&key, &["--chain"], &[all[1], all[0]])?.expect_code(1)?;
    let altered = fs::read_to_string(&files[0])?.replacen("\"sig\":\"", "\"sig\":\"AAAA", 1);
    fs::write(&files[0], altered)?;
    verifier.verify(&key, &[], &[&files[0]])?.expect_code(1)?;
    Ok(())
}
