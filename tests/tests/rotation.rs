//! Key rotation on the real agent and the real sink: the gateway stays the same, everything that was signed stays good, and
//! a copy of the old key is seen for what it is.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use gatepost_tests::agent::{Agent, run};
use gatepost_tests::lab::Lab;
use gatepost_tests::process::{built, command};
use gatepost_tests::python::Verifier;
use gatepost_tests::sink::{Api, Sink};
use gatepost_tests::spool::OpenSpool;
use serde_json::{Value, json};

/// A lab with a sink.
struct Field {
    lab: Lab,
    sink: Sink,
    api: Api,
}

/// An agent with its state folder.
struct Gateway {
    agent: Agent,
    state: PathBuf,
}

impl Field {
    fn start() -> Result<Self> {
        let lab = Lab::start()?;
        let sink = lab.start_sink("sink")?;
        Ok(Self { api: sink.api()?, lab, sink })
    }

    fn gateway(&self, name: &str) -> Result<Gateway> {
        let state = self.lab.folder().join(name);
        let configuration = self.lab.agent_config(&state, Some(self.sink.info()));
        let agent = Agent::configured(&self.lab.folder().join(format!("{name}.toml")), &configuration)?;
        Ok(Gateway { agent, state })
    }

    fn enrolled(&self, name: &str) -> Result<Gateway> {
        let gateway = self.gateway(name)?;
        gateway.agent.enroll(&self.sink.enrolment_token()?)?.expect_code(0)?;
        Ok(gateway)
    }

    /// A copy of a gateway's SD card.
    fn copy(&self, gateway: &Gateway, name: &str) -> Result<Gateway> {
        copy(&gateway.state, &self.lab.folder().join(name))?;
        self.gateway(name)
    }

    fn view(&self, id: &str) -> Result<Value> {
        self.api.json(&format!("/api/v1/gateways/{id}"))
    }

    fn seqs(&self, id: &str) -> Result<Vec<u64>> {
        let answer = self.api.json(&format!("/api/v1/gateways/{id}/runs"))?;
        let runs = answer["runs"].as_array().context("no runs")?;
        Ok(runs.iter().rev().filter_map(|run| run["seq"].as_u64()).collect())
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir(to)?;
    for file in fs::read_dir(from)? {
        let file = file?;
        fs::copy(file.path(), to.join(file.file_name()))?;
    }
    Ok(())
}

impl Gateway {
    fn id(&self) -> Result<String> {
        Ok(self.agent.status()?["gateway"].as_str().context("no gateway")?.to_owned())
    }

    fn audit(&self, times: usize) -> Result<()> {
        for _ in 0..times {
            self.agent.run(&["audit", "--bundle", "certificate-hygiene"])?.expect_code(0)?;
        }
        Ok(())
    }

    fn rotate(&self) -> Result<()> {
        self.agent.run(&["rotate-key"])?.expect_code(0)?;
        Ok(())
    }

    fn upload(&self, acknowledged: usize, refused: usize) -> Result<()> {
        let sent = self.agent.run(&["upload"])?.expect_code(i32::from(refused > 0))?;
        let expected = format!("{acknowledged} acknowledged, {refused} refused and quarantined.\n");
        ensure!(sent.stdout.starts_with(&expected), "{expected:?} expected: {sent:?}");
        Ok(())
    }

    /// First word of the reason of every quarantined run, by its place.
    fn quarantined(&self) -> Result<Vec<(u64, String)>> {
        let status = self.agent.status()?;
        let refused = status["quarantined"].as_array().context("no list")?.iter();
        let word = |entry: &Value| {
            let (word, _) = entry["reason"].as_str()?.split_once(": ")?;
            Some((entry["seq"].as_u64()?, word.to_owned()))
        };
        Ok(refused.filter_map(word).collect())
    }
}

/// The reasons of what the sink keeps as evidence about a gateway, newest first.
fn reasons(view: &Value) -> Vec<&str> {
    let entries = view["quarantined"].as_array().unwrap().iter();
    entries.filter(|entry| entry["vouched"] == true).filter_map(|entry| entry["reason"].as_str()).collect()
}

#[test]
fn a_gateway_rotates_its_key_and_goes_on() -> Result<()> {
    let field = Field::start()?;
    let gateway = field.enrolled("agent")?;
    let id = gateway.id()?;
    gateway.audit(2)?;
    gateway.upload(2, 0)?;
    let before = fs::read_to_string(gateway.state.join("identity.pem"))?;
    // Signed by the old key, handed over after the rotation.
    gateway.audit(1)?;
    gateway.rotate()?;
    gateway.audit(1)?;
    let secret = before.lines().nth(1).context("no key")?;
    assert!(!fs::read_to_string(gateway.state.join("identity.pem"))?.contains(secret), "the old private key is there");
    gateway.upload(2, 0)?;
    // Once more, with a run of the second key still waiting, and a refused attempt to rotate twice at one place.
    gateway.audit(1)?;
    gateway.rotate()?;
    let twice = gateway.agent.run(&["rotate-key"])?.expect_code(2)?;
    assert!(twice.stderr.contains("places only grow"), "{twice:?}");
    gateway.audit(1)?;
    gateway.upload(2, 0)?;
    assert_eq!(gateway.id()?, id);
    assert_eq!(field.seqs(&id)?, [1, 2, 3, 4, 5, 6]);
    let view = field.view(&id)?;
    assert_eq!((&view["chain_gaps"], reasons(&view)), (&json!([]), vec![]));
    let places = |list: &Value| list.as_array().unwrap().iter().map(|key| key["from_seq"].clone()).collect::<Vec<_>>();
    assert_eq!(places(&view["keys"]), [1, 4, 6]);
    let status = gateway.agent.status()?;
    assert_eq!(places(&status["keys"]), [1, 4, 6]);
    assert_eq!(status["keys"][2]["rotation"], "acknowledged");
    assert_eq!(status["keys"][1]["digest"], view["keys"][1]["digest"]);
    gateway.agent.run(&["show", "3"])?;
    // Enrolling again, here and with a sink that never heard of the first key.
    gateway.agent.enroll(&field.sink.enrolment_token()?)?.expect_code(0)?;
    let (by_agent, by_sink) = (field.lab.folder().join("agent.tar.zst"), field.lab.folder().join("sink.tar.zst"));
    gateway.agent.run(&["export", "--output", by_agent.to_str().unwrap()])?.expect_code(0)?;
    field.sink.run(&["export", "--gateway", &id, "--output", by_sink.to_str().unwrap()])?.expect_code(0)?;
    for bundle in [&by_agent, &by_sink] {
        let mut verify = command(&built("gatepost")?);
        verify.arg("verify").arg(bundle).args(["--gateway", &id]);
        let text = run(verify, Duration::from_secs(60))?.expect_code(0)?.stdout;
        assert!(text.contains("which signs from run 6 on") && text.contains("6 runs are signed"), "{text}");
        Verifier::ready()?.verify_bundle(&["--gateway", &id], bundle)?.expect_code(0)?;
    }
    let other = field.lab.start_sink("other")?;
    let moved = field.lab.agent_config(&gateway.state, Some(other.info()));
    let moved = Agent::configured(&field.lab.folder().join("moved.toml"), &moved)?;
    moved.enroll(&other.enrolment_token()?)?.expect_code(0)?;
    moved.run(&["audit", "--bundle", "certificate-hygiene"])?.expect_code(0)?;
    moved.run(&["upload"])?.expect_code(0)?;
    assert_eq!(places(&other.api()?.json(&format!("/api/v1/gateways/{id}"))?["keys"]), [1, 4, 6]);
    Ok(())
}

#[test]
fn a_clone_with_the_old_key_is_refused_and_kept_as_evidence() -> Result<()> {
    let field = Field::start()?;
    let gateway = field.enrolled("agent")?;
    let id = gateway.id()?;
    gateway.audit(1)?;
    gateway.upload(1, 0)?;
    let clone = field.copy(&gateway, "clone")?;
    gateway.rotate()?;
    gateway.audit(1)?;
    gateway.upload(1, 0)?;
    clone.audit(2)?;
    clone.upload(0, 2)?;
    let retired = |seq| (seq, "retired_key".to_owned());
    assert_eq!(clone.quarantined()?, [retired(2), retired(3)]);
    // It rotates, too: two rotations from one key.
    clone.rotate()?;
    let refused = clone.agent.run(&["upload"])?.expect_code(1)?;
    assert!(refused.stdout.contains("1 refused"), "{refused:?}");
    let refused = clone.agent.status()?["keys"][1]["reason"].clone();
    assert!(refused.as_str().is_some_and(|reason| reason.starts_with("fork: ")), "{refused}");
    let view = field.view(&id)?;
    assert_eq!(reasons(&view), ["fork", "retired_key", "retired_key"], "{view}");
    assert_eq!(field.seqs(&id)?, [1, 2]);
    // Nor may it enrol.
    let again = clone.agent.enroll(&field.sink.enrolment_token()?)?.expect_code(1)?;
    assert!(again.stderr.contains("fork"), "{again:?}");
    // The gateway itself goes on.
    gateway.audit(1)?;
    gateway.upload(1, 0)?;
    assert_eq!(field.seqs(&id)?, [1, 2, 3]);
    Ok(())
}

#[test]
fn a_cloned_card_is_a_fork_and_a_restored_one_a_rollback() -> Result<()> {
    let field = Field::start()?;
    let page = |id: &str| -> Result<String> { Ok(field.view(id)?["branch"].as_str().unwrap_or("none").to_owned()) };
    let gateway = field.enrolled("restored")?;
    let id = gateway.id()?;
    gateway.audit(1)?;
    let backup = field.copy(&gateway, "backup")?;
    gateway.audit(2)?;
    gateway.upload(3, 0)?;
    assert_eq!(page(&id)?, "none");
    fs::remove_dir_all(&gateway.state)?;
    copy(&backup.state, &gateway.state)?;
    gateway.audit(3)?;
    gateway.upload(1, 3)?;
    assert_eq!(gateway.quarantined()?.iter().map(|(_, word)| word.as_str()).collect::<Vec<_>>(), ["fork"; 3]);
    assert_eq!(page(&id)?, "rollback");
    assert_eq!(field.seqs(&id)?, [1, 2, 3]);

    let gateway = field.enrolled("cloned")?;
    let id = gateway.id()?;
    gateway.audit(1)?;
    let clone = field.copy(&gateway, "clone")?;
    gateway.audit(1)?;
    gateway.upload(2, 0)?;
    clone.audit(1)?;
    clone.upload(1, 1)?;
    gateway.audit(1)?;
    gateway.upload(1, 0)?;
    assert_eq!(page(&id)?, "fork");
    Ok(())
}

#[test]
fn a_card_restored_where_the_sink_has_a_gap_is_a_fork_by_its_successor() -> Result<()> {
    let field = Field::start()?;
    let gateway = field.enrolled("agent")?;
    let id = gateway.id()?;
    gateway.audit(1)?;
    let clone = field.copy(&gateway, "clone")?;
    gateway.audit(2)?;
    // Run 2 does not arrive; run 3 names it.
    let spool = OpenSpool::open(&gateway.state)?;
    spool.replace_stored(2, b"worn out")?;
    drop(spool);
    gateway.agent.run(&["upload"])?;
    assert_eq!(field.seqs(&id)?, [1, 3]);
    clone.audit(1)?;
    clone.upload(1, 1)?;
    assert_eq!(clone.quarantined()?, [(2, "fork".to_owned())]);
    assert_eq!(field.seqs(&id)?, [1, 3]);
    Ok(())
}

#[test]
fn the_service_goes_on_with_the_new_key() -> Result<()> {
    let field = Field::start()?;
    let gateway = field.enrolled("agent")?;
    let id = gateway.id()?;
    let text = field.lab.daemon_config(&gateway.state, Some(field.sink.info()), "certificate-hygiene");
    let service = Agent::configured(&field.lab.folder().join("service.toml"), &text)?;
    let mut running = service.start(&["run"])?;
    running
        .wait_until("it uploaded", Duration::from_secs(60), |_| field.seqs(&id).is_ok_and(|seqs| !seqs.is_empty()))?;
    gateway.rotate()?;
    let from = gateway.agent.status()?["keys"][1]["from_seq"].as_u64().context("no place")?;
    running.wait_until("a run of the new key arrived", Duration::from_secs(60), |_| {
        field.seqs(&id).is_ok_and(|seqs| seqs.last().is_some_and(|last| *last > from))
    })?;
    running.stop()?;
    assert_eq!(gateway.quarantined()?, []);
    assert_eq!(reasons(&field.view(&id)?), Vec::<&str>::new());
    Ok(())
}
