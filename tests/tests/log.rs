//! The transparency log with the real agent and the real sink: one gateway catches a sink that was restored from an older
//! backup, that dropped a run or that goes on as two, keeps the proof, goes on auditing, and hands over again what it still
//! has, so that every run is there once in the end and nobody had to do anything.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use gatepost_evidence::checkpoint::{Checkpoint, LogProof};
use gatepost_evidence::id::Digest;
use gatepost_evidence::key::PublicKey;
use gatepost_evidence::log::ConsistencyProof;
use gatepost_evidence::wire::LogConsistency;
use gatepost_tests::agent::Agent;
use gatepost_tests::lab::Lab;
use gatepost_tests::sink::{Api, Sink};
use gatepost_tests::spool::OpenSpool;
use rusqlite::Connection;
use serde_json::Value;

struct Field {
    lab: Lab,
    sink: Sink,
}

struct Gateway {
    agent: Agent,
    state: PathBuf,
}

impl Field {
    fn start() -> Result<Self> {
        let lab = Lab::start()?;
        let sink = lab.start_sink("sink")?;
        Ok(Self { lab, sink })
    }

    fn enrolled(&self, name: &str) -> Result<Gateway> {
        let state = self.lab.folder().join(name);
        let configuration = self.lab.agent_config(&state, Some(self.sink.info()));
        let agent = Agent::configured(&self.lab.folder().join(format!("{name}.toml")), &configuration)?;
        agent.enroll(&self.sink.enrolment_token()?)?.expect_code(0)?;
        Ok(Gateway { agent, state })
    }

    /// Copies what the sink keeps into the folder `name` of the lab, as a backup does while it is down.
    fn back_up(&mut self, name: &str) -> Result<PathBuf> {
        self.sink.stop()?;
        let backup = self.lab.folder().join(name);
        copy(&self.sink.data(), &backup)?;
        self.sink.start_again()?;
        Ok(backup)
    }

    /// Makes the sink go on with what is in `folder`; what it had is moved to the folder `aside` of the lab.
    fn go_on_with(&mut self, folder: &Path, aside: &str) -> Result<PathBuf> {
        self.sink.stop()?;
        let aside = self.lab.folder().join(aside);
        fs::rename(self.sink.data(), &aside)?;
        copy(folder, &self.sink.data())?;
        self.sink.start_again()?;
        Ok(aside)
    }

    /// Every run of `gateway` that ever was arrived, once, and the gateway knows it.
    fn has_everything(&self, gateway: &Gateway) -> Result<()> {
        let status = gateway.agent.status()?;
        let id = status["gateway"].as_str().context("no gateway")?;
        let answer = self.sink.api()?.json(&format!("/api/v1/gateways/{id}/runs"))?;
        let mut seqs: Vec<_> =
            answer["runs"].as_array().context("no runs")?.iter().map(|run| run["seq"].as_u64()).collect();
        seqs.reverse();
        let last = status["last_run"].as_u64().context("no run")?;
        ensure!(seqs == (1..=last).map(Some).collect::<Vec<_>>(), "{last} runs expected: {seqs:?}");
        ensure!((&status["acknowledged"], &status["pending"]) == (&last.into(), &0.into()), "{status}");
        ensure!(status["quarantined"] == Value::Array(vec![]), "{status}");
        let about = self.sink.api()?.json(&format!("/api/v1/gateways/{id}"))?;
        ensure!(about["chain_gaps"] == Value::Array(vec![]), "{about}");
        Ok(())
    }

    fn size(&self) -> Result<u64> {
        let note = self.sink.anonymous_api().get("/v1/log/checkpoint")?;
        note.body.lines().nth(1).context("no size")?.parse().context("not a size")
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

impl Gateway {
    fn audit(&self, times: usize) -> Result<()> {
        for _ in 0..times {
            self.agent.run(&["audit", "--bundle", "certificate-hygiene"])?.expect_code(0)?;
        }
        Ok(())
    }

    fn upload(&self, acknowledged: usize) -> Result<()> {
        let sent = self.agent.run(&["upload"])?.expect_code(0)?;
        ensure!(sent.stdout.starts_with(&format!("{acknowledged} acknowledged, 0 refused")), "{sent:?}");
        Ok(())
    }

    /// An upload that is not believed, of whose `reason` this many disputes are then kept in all. Everything that was
    /// acknowledged is pending again.
    fn caught(&self, reason: &str, kept: usize) -> Result<Value> {
        let before = self.agent.status()?;
        let upload = self.agent.run(&["upload"])?.expect_code(1)?;
        ensure!(upload.stderr.contains("cannot be believed") && upload.stderr.contains("log-dispute-"), "{upload:?}");
        ensure!(upload.stderr.contains("handed over again at the next try"), "{upload:?}");
        let after = self.agent.status()?;
        let number = |status: &Value, what: &str| status[what].as_u64().with_context(|| format!("no {what}: {status}"));
        let (all, pending) = (number(&before, "last_run")?, number(&after, "pending")?);
        ensure!(pending == all && after["acknowledged"] == 0 && after["log_size"].is_null(), "{all} runs: {after}");
        ensure!(after["started_over"]["why"] == reason, "{after}");
        ensure!(after["started_over"]["runs"] == before["acknowledged"], "{before}\n{after}");
        let disputes = after["log_disputes"].as_array().context("no list")?;
        ensure!(disputes.len() == kept, "{kept} disputes expected: {after}");
        let newest = disputes.last().context("no dispute")?;
        ensure!(newest["reason"] == reason, "{newest}");
        let text = self.agent.run(&["status"])?.expect_code(0)?.stdout;
        let file = newest["file"].as_str().context("no file")?;
        ensure!(text.contains("THE SINK BROKE ITS LOG") && text.contains(file), "{text}");
        ensure!(text.contains("started over  ") && text.contains(&format!("({reason})")), "{text}");
        // An outage of trust is no reason not to look.
        self.audit(1)?;
        Ok(serde_json::from_str(&fs::read_to_string(file)?)?)
    }
}

/// Checks, from the file alone, that one key signed two checkpoints that do not go together.
fn contradicts_itself(dispute: &Value) -> Result<(u64, u64)> {
    let key: PublicKey = serde_json::from_value(dispute["sink_key"].clone())?;
    let open = |what: &str| Checkpoint::open(dispute[what].as_str().unwrap_or_default(), &key);
    let (known, claimed) = (open("known")?, open("claimed")?);
    let proof: Option<ConsistencyProof> = serde_json::from_value(dispute["consistency"].clone())?;
    let connected = proof.unwrap_or_default().verify(&known.root(), &claimed.root());
    ensure!(connected.is_err(), "the proof connects them");
    Ok((known.size(), claimed.size()))
}

fn spool_word(state: &Path, seq: u64) -> Result<(Value, PublicKey, Digest)> {
    let spool = OpenSpool::open(state)?;
    let word = spool.receipt(seq)?.context("no word of the sink")?;
    Ok((serde_json::from_str(&word)?, spool.sink_key()?, spool.digest(seq)?))
}

#[test]
fn every_run_gets_its_place_and_anyone_can_check_it() -> Result<()> {
    let field = Field::start()?;
    let (one, two) = (field.enrolled("one")?, field.enrolled("two")?);
    for gateway in [&one, &two, &one] {
        gateway.audit(2)?;
        gateway.upload(2)?;
    }
    assert_eq!((one.agent.status()?["log_size"].as_u64(), field.size()?), (Some(6), 6));
    assert_eq!(two.agent.status()?["log_size"], 4, "it has not heard of the last two");
    let auditor: Api = field.sink.anonymous_api();
    for (gateway, seq, index) in [(&one, 1, 0), (&one, 2, 1), (&two, 1, 2), (&two, 2, 3), (&one, 3, 4), (&one, 4, 5)] {
        let (word, key, digest) = spool_word(&gateway.state, seq)?;
        // With what the gateway kept, without the sink.
        let kept: LogProof = serde_json::from_value(word["log"].clone())?;
        let then = kept.verify(digest, &key)?;
        // With what the sink says now, which continues what it said then.
        let now: LogProof = serde_json::from_value(auditor.json(&format!("/v1/log/inclusion?digest={digest}"))?)?;
        assert_eq!((kept.index, now.index), (index, index));
        let now = now.verify(digest, &key)?;
        let path = format!("/v1/log/consistency?from={}&to={}", then.size(), now.size());
        let proof: LogConsistency = serde_json::from_value(auditor.json(&path)?)?;
        proof.consistency.verify(&then.root(), &now.root())?;
    }
    assert_eq!(one.agent.status()?["log_disputes"], serde_json::json!([]));
    Ok(())
}

#[test]
fn a_sink_restored_from_an_older_backup_is_caught_and_gets_back_what_it_lost() -> Result<()> {
    let mut field = Field::start()?;
    let gateway = field.enrolled("agent")?;
    gateway.audit(2)?;
    gateway.upload(2)?;
    let backup = field.back_up("backup")?;
    gateway.audit(3)?;
    gateway.upload(3)?;
    gateway.audit(1)?;

    let newest = field.go_on_with(&backup, "newest")?;
    let dispute = gateway.caught("log_rewound", 1)?;
    assert_eq!(contradicts_itself(&dispute)?, (5, 2), "the sink's own word of what it has left is kept");
    assert!(dispute["detail"].as_str().is_some_and(|detail| detail.contains("5 leaves and it has 2")), "{dispute}");
    assert!(field.sink.log().contains("larger log than this"), "the operator is told");
    gateway.upload(7)?;
    field.has_everything(&gateway)?;
    assert_eq!((gateway.agent.status()?["log_size"].as_u64(), field.size()?), (Some(7), 7));

    // The newest copy was found after all, and lacks what the older one got since.
    field.go_on_with(&newest, "restored")?;
    gateway.audit(1)?;
    assert_eq!(contradicts_itself(&gateway.caught("log_rewound", 2)?)?, (7, 5));
    gateway.upload(9)?;
    field.has_everything(&gateway)?;
    gateway.audit(1)?;
    gateway.upload(1)?;
    field.has_everything(&gateway)?;
    assert_eq!(gateway.agent.status()?["started_over"]["times"], 2);
    Ok(())
}

#[test]
fn a_sink_that_others_went_on_with_since_it_was_restored_gets_everything_as_well() -> Result<()> {
    let mut field = Field::start()?;
    let (gateway, other) = (field.enrolled("agent")?, field.enrolled("other")?);
    gateway.audit(2)?;
    gateway.upload(2)?;
    let backup = field.back_up("backup")?;
    gateway.audit(3)?;
    gateway.upload(3)?;
    gateway.audit(1)?;
    field.go_on_with(&backup, "newest")?;
    // Its log is longer than the one that was lost when the gateway comes back.
    other.audit(4)?;
    other.upload(4)?;
    assert_eq!(contradicts_itself(&gateway.caught("not_consistent", 1)?)?.0, 5);
    gateway.upload(7)?;
    field.has_everything(&gateway)?;
    other.audit(1)?;
    other.upload(1)?;
    field.has_everything(&other)?;
    assert_eq!(other.agent.status()?["log_disputes"], serde_json::json!([]));
    Ok(())
}

#[test]
fn a_sink_that_lost_its_gateways_too_is_enrolled_with_again_and_gets_everything() -> Result<()> {
    let mut field = Field::start()?;
    let backup = field.back_up("backup")?;
    let gateway = field.enrolled("agent")?;
    gateway.audit(2)?;
    gateway.upload(2)?;
    field.go_on_with(&backup, "lost")?;
    gateway.audit(1)?;
    gateway.caught("log_rewound", 1)?;
    for _ in 0..2 {
        let upload = gateway.agent.run(&["upload"])?.expect_code(1)?;
        assert!(upload.stderr.contains("does not know this gateway"), "{upload:?}");
        assert!(upload.stderr.contains("gatepost enroll --token-file"), "{upload:?}");
        let status = gateway.agent.status()?;
        assert_eq!((&status["pending"], &status["quarantined"]), (&4.into(), &serde_json::json!([])), "{status}");
    }
    gateway.agent.enroll(&field.sink.enrolment_token()?)?.expect_code(0)?;
    gateway.upload(4)?;
    field.has_everything(&gateway)
}

#[test]
fn a_sink_that_drops_a_run_is_caught() -> Result<()> {
    let mut field = Field::start()?;
    let gateway = field.enrolled("agent")?;
    gateway.audit(3)?;
    gateway.upload(3)?;
    field.sink.stop()?;
    let database = Connection::open(field.sink.data().join("sink.db"))?;
    // As thorough as it gets: the log is made anew without the run.
    database.execute_batch(
        "DELETE FROM assessments WHERE run IN (SELECT digest FROM runs WHERE seq = 2);
         DELETE FROM runs WHERE seq = 2;
         DROP INDEX runs_log_index; ALTER TABLE runs DROP COLUMN log_index; DROP TABLE log_nodes; DROP TABLE tombstones;
         DROP TABLE rotations; DROP TABLE keys;
         PRAGMA user_version = 1;",
    )?;
    drop(database);
    field.sink.start_again()?;
    assert_eq!(field.size()?, 2);
    let other = field.enrolled("other")?;
    other.audit(2)?;
    other.upload(2)?;
    gateway.audit(1)?;
    assert_eq!(contradicts_itself(&gateway.caught("not_consistent", 1)?)?, (3, 5));
    gateway.upload(5)?;
    field.has_everything(&gateway)
}

#[test]
fn two_copies_of_a_sink_are_caught_by_a_gateway_that_meets_both() -> Result<()> {
    let mut field = Field::start()?;
    let (gateway, other) = (field.enrolled("agent")?, field.enrolled("other")?);
    gateway.audit(1)?;
    gateway.upload(1)?;
    let copy = field.back_up("copy")?;
    gateway.audit(1)?;
    gateway.upload(1)?;
    let first = field.go_on_with(&copy, "first")?;
    other.audit(2)?;
    other.upload(2)?;
    gateway.audit(1)?;
    assert_eq!(contradicts_itself(&gateway.caught("not_consistent", 1)?)?, (2, 4));
    gateway.upload(4)?;
    field.has_everything(&gateway)?;
    field.go_on_with(&first, "second")?;
    gateway.audit(1)?;
    gateway.caught("log_rewound", 2)?;
    gateway.upload(6)?;
    field.has_everything(&gateway)?;
    assert_eq!(gateway.agent.status()?["log_disputes"].as_array().map(Vec::len), Some(2), "the proof stays");
    Ok(())
}

#[test]
fn enrolling_again_with_a_sink_that_lost_its_past_gives_it_back() -> Result<()> {
    let mut field = Field::start()?;
    let gateway = field.enrolled("agent")?;
    let backup = field.back_up("backup")?;
    gateway.audit(2)?;
    gateway.upload(2)?;
    field.go_on_with(&backup, "lost")?;
    gateway.audit(1)?;
    // Before it noticed anything.
    let enrolled = gateway.agent.enroll(&field.sink.enrolment_token()?)?.expect_code(0)?;
    assert!(enrolled.stdout.contains("2 runs that it was asked to take before"), "{enrolled:?}");
    gateway.upload(3)?;
    field.has_everything(&gateway)?;
    assert_eq!(gateway.agent.status()?["log_size"], 3);
    Ok(())
}
