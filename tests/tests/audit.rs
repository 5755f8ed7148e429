//! The agent on the lab, as a field engineer meets it: no sink, no network but loopback, findings on the spot.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::fs;

use anyhow::Result;
use gatepost_tests::agent::Agent;
use gatepost_tests::lab::Lab;
use serde_json::Value;

fn agent(lab: &Lab) -> Result<Agent> {
    Agent::configured(&lab.folder().join("gatepost.toml"), &lab.agent_config(&lab.folder().join("agent"), None))
}

fn audit(agent: &Agent, bundle: &str, code: i32) -> Result<Value> {
    agent.run(&["audit", "--bundle", bundle, "--format", "json"])?.expect_code(code)?.json()
}

fn ids(rows: &Value) -> Vec<String> {
    let rows = rows.as_array().unwrap().iter();
    let mut ids: Vec<_> =
        rows.map(|row| format!("{}[{}]", row["key"].as_str().unwrap(), row["subject"].as_str().unwrap())).collect();
    ids.sort();
    ids
}

const NONE: &[&str] = &[];

#[test]
fn the_exposed_path_has_exactly_its_four_findings_and_the_hardened_one_none() -> Result<()> {
    let mut lab = Lab::start()?;
    let agent = agent(&lab)?;
    let exposed = audit(&agent, "audit-baseline", 1)?;
    let expected = [
        "gateway_config_guardrails.auth_enforcement_disabled[gateway-service]",
        "gateway_config_guardrails.unsafe_defaults_not_observable[gateway-service]",
        "ingest_auth.insecure_transport[ingest]",
        "ingest_auth.unauthenticated_ingest_allowed[ingest]",
    ];
    assert_eq!(ids(&exposed["findings"]), expected);
    assert_eq!(ids(&exposed["gaps"]), NONE);
    assert_eq!((&exposed["posture"]["state"], &exposed["decision"]), (&"exposed".into(), &"fix_first".into()));

    lab.harden()?;
    let hardened = audit(&agent, "audit-baseline", 0)?;
    assert_eq!((ids(&hardened["findings"]), ids(&hardened["gaps"])), (vec![], vec![]));
    assert_eq!((&hardened["posture"]["state"], &hardened["decision"]), (&"hardened".into(), &"continue".into()));
    audit(&agent, "hardening-verification", 0)?;
    let devices = audit(&agent, "certificate-hygiene", 0)?;
    assert_eq!(ids(&devices["gaps"]), NONE);

    let delta = agent.run(&["compare", "--to", "2", "--format", "json"])?.expect_code(0)?.json()?;
    assert_eq!((ids(&delta["improved"]), ids(&delta["regressed"])), (expected.map(str::to_owned).to_vec(), vec![]));
    Ok(())
}

#[test]
fn probes_are_listed_with_what_came_of_them_last() -> Result<()> {
    let lab = Lab::start()?;
    let agent = agent(&lab)?;
    let list = |agent: &Agent| agent.run(&["probes", "--format", "json"])?.expect_code(0)?.json();
    let before = list(&agent)?;
    let names = |list: &Value, field: &str| -> Vec<String> {
        list.as_array().unwrap().iter().map(|probe| probe[field].to_string()).collect()
    };
    assert!(names(&before, "last").iter().all(|last| last == "null"), "{before}");
    assert!(!lab.folder().join("agent").exists(), "listing made a gateway of this machine");
    audit(&agent, "certificate-hygiene", 0)?;
    audit(&agent, "audit-baseline", 1)?;
    let after = list(&agent)?;
    assert_eq!(names(&before, "check"), names(&after, "check"));
    let probe = |check: &str| after.as_array().unwrap().iter().find(|probe| probe["check"] == check).unwrap();
    let devices = probe("device_certificate_hygiene");
    assert_eq!(devices["last"]["seq"], 1, "{devices}");
    let seen = devices["last"]["looks"].as_array().unwrap();
    assert_eq!(seen.len(), devices["targets"].as_array().unwrap().len(), "{devices}");
    let broker = &probe("broker_transport_posture")["last"];
    assert_eq!((&broker["seq"], &broker["looks"][0]["status"]), (&2.into(), &"observed".into()));
    assert!(broker["looks"][0]["observation_bytes"].as_u64() > Some(1000), "{broker}");
    assert_eq!(probe("link_posture")["last"], Value::Null);
    let text = agent.run(&["probes"])?.expect_code(0)?.stdout;
    assert!(text.contains("Last        run 2, ") && text.contains("not in the latest 32 runs"), "{text}");
    Ok(())
}

#[test]
fn a_listener_that_opens_is_a_regression_that_compare_names() -> Result<()> {
    let mut lab = Lab::start()?;
    lab.harden()?;
    let agent = agent(&lab)?;
    audit(&agent, "audit-baseline", 0)?;
    lab.open_plaintext()?;
    audit(&agent, "audit-baseline", 1)?;
    let delta = agent.run(&["compare", "--format", "json"])?.expect_code(1)?.json()?;
    let subject = format!("broker/{}", lab.broker().plaintext_address());
    let regressed = ids(&delta["regressed"]);
    assert!(regressed.contains(&format!("broker_transport_posture.anonymous_access[{subject}]")), "{regressed:?}");
    let text = agent.run(&["compare"])?.expect_code(1)?.stdout;
    assert!(text.contains("Regressed") && text.contains(&subject), "{text}");
    assert!(!text.contains('\u{1b}'), "no colour when nobody watches");
    lab.close_plaintext()?;
    audit(&agent, "audit-baseline", 0)?;
    Ok(())
}

#[test]
fn a_broker_that_is_down_is_unknown_and_never_fine() -> Result<()> {
    let mut lab = Lab::start()?;
    lab.harden()?;
    lab.stop_broker()?;
    let report = audit(&agent(&lab)?, "audit-baseline", 1)?;
    let expected = [
        "gateway_config_guardrails.broker_not_running[broker]",
        "gateway_config_guardrails.service_unhealthy[gateway-service]",
    ];
    assert_eq!(ids(&report["findings"]), expected);
    let gaps = report["gaps"].as_array().unwrap();
    let transport: Vec<_> =
        gaps.iter().filter(|row| row["key"].as_str().unwrap().starts_with("broker_transport_posture.")).collect();
    assert!(!transport.is_empty());
    for row in transport {
        assert!(row["reason"].as_str().unwrap().contains("refused"), "{row}");
    }
    let passing = report["rows"].as_array().unwrap().iter().filter(|row| row["outcome"] == "pass");
    let broker = passing.filter(|row| row["key"].as_str().unwrap().starts_with("broker_")).count();
    assert_eq!(broker, 0, "nothing about a broker that is down can pass");
    Ok(())
}

#[test]
fn thresholds_decide_the_exit_code_and_findings_come_with_everything_a_person_needs() -> Result<()> {
    let lab = Lab::start()?;
    let agent = agent(&lab)?;
    let arguments = ["audit", "--bundle", "audit-baseline", "--fail-on", "critical"];
    let text = agent.run(&arguments)?.expect_code(0)?.stdout;
    for part in
        ["EXPOSED", "4 findings", "HIGH", "Evidence", "/unauthenticated_accepted = true", "Why", "Fix", "Verify"]
    {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    agent.run(&["audit", "--bundle", "audit-baseline", "--fail-on", "high"])?.expect_code(1)?;
    let error = agent.run(&["audit", "--bundle", "no-such"])?.expect_code(2)?.stderr;
    assert!(error.contains("there are audit-baseline"), "{error}");
    Ok(())
}

#[test]
fn a_configuration_with_mistakes_gets_all_of_them_and_nothing_runs() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let text = "[gatway]\n[broker]\ntls = [\"nowhere\"]\nca_file = \"missing.pem\"\n";
    let agent = Agent::configured(&folder.path().join("gatepost.toml"), text)?;
    let checked = agent.run(&["config", "check"])?.expect_code(1)?.stderr;
    for part in ["gatepost.toml:1:2: gatway: is not known; did you mean `gateway`?", ":3:", ":4:", "3 mistakes"] {
        assert!(checked.contains(part), "{part} is missing in\n{checked}");
    }
    let error = agent.run(&["audit"])?.expect_code(2)?.stderr;
    assert!(error.contains("gatway") && error.contains("nowhere"), "{error}");
    Ok(())
}

#[test]
fn without_any_configuration_it_audits_the_machine_it_stands_on() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let state = folder.path().join("state");
    let file = folder.path().join("empty.toml");
    let agent = Agent::configured(&file, &format!("[state]\ndirectory = {state:?}\n"))?;
    let finished = agent.run(&["audit", "--format", "json"])?;
    assert!(matches!(finished.code, Some(0 | 1)), "{finished:?}");
    let report = finished.json()?;
    let rows = report["rows"].as_array().unwrap();
    let known = |check: &str| {
        rows.iter().any(|row| row["key"].as_str().unwrap().starts_with(check) && row["outcome"] != "unknown")
    };
    assert!(known("host_guardrails.") && known("link_posture."), "the host and the link are always there");
    assert_eq!(report["run"]["bundle"]["name"], "field-self-audit");
    Ok(())
}

#[test]
fn secrets_reach_neither_evidence_nor_output() -> Result<()> {
    let lab = Lab::start()?;
    let agent = agent(&lab)?;
    let finished = agent.run(&["audit", "--format", "json"])?;
    let envelope = agent.run(&["show", "--envelope"])?.expect_code(0)?.json()?;
    let payload: gatepost_evidence::look::Bytes = serde_json::from_value(envelope["payload"].clone())?;
    let evidence = String::from_utf8(payload.0)?;
    let key = fs::read_to_string(&lab.pki().gateway.key)?;
    let key_line = key.lines().nth(1).unwrap();
    for text in [&evidence, &finished.stdout, &finished.stderr] {
        assert!(!text.contains(lab.ingest().token()), "the ingest token is in the open");
        assert!(!text.contains(key_line), "a private key is in the open");
    }
    Ok(())
}
