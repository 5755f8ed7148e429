//! `gatepost run` as systemd runs it: it audits whatever the sink and the broker do, hands over every run once and in
//! order, and ends when it is told to.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use gatepost_tests::agent::Agent;
use gatepost_tests::lab::Lab;
use gatepost_tests::peer::Peer;
use gatepost_tests::process::{LIMIT, Program};
use gatepost_tests::sink::{Api, Sink};
use gatepost_tests::systemd::Manager;
use nix::sys::signal::Signal;
use serde_json::Value;

/// How long it may take to end after it was told to.
const SOON: Duration = Duration::from_secs(3);
/// How long it may take to get over an outage: the first pauses are up to 5, 10 and 20 s, at random.
const PATIENCE: Duration = Duration::from_secs(60);
/// A bundle that is done at once.
const QUICK: &str = "certificate-hygiene";

/// A lab with a sink and an enrolled agent.
struct Field {
    lab: Lab,
    sink: Sink,
    api: Api,
    agent: Agent,
    state: PathBuf,
    gateway: String,
}

impl Field {
    fn start() -> Result<Self> {
        let lab = Lab::start()?;
        let sink = lab.start_sink("sink")?;
        let state = lab.folder().join("agent");
        let configuration = lab.daemon_config(&state, Some(sink.info()), QUICK);
        let agent = Agent::configured(&lab.folder().join("gatepost.toml"), &configuration)?;
        agent.enroll(&sink.enrolment_token()?)?.expect_code(0)?;
        let gateway = agent.status()?["gateway"].as_str().context("no gateway")?.to_owned();
        Ok(Self { api: sink.api()?, lab, sink, agent, state, gateway })
    }

    /// The same agent, but the broker it is to look at hangs, and so does every audit.
    fn with_hanging_broker(&self) -> Result<(Agent, Peer)> {
        let broker = Peer::hanging()?;
        let agent = hanging(
            &self.lab,
            &self.lab.daemon_config(&self.state, Some(self.sink.info()), "audit-baseline"),
            &broker,
        )?;
        Ok((agent, broker))
    }

    /// Every run on the sink, oldest first.
    fn runs(&self) -> Result<Vec<Value>> {
        let answer = self.api.json(&format!("/api/v1/gateways/{}/runs", self.gateway))?;
        ensure!(answer["next"].is_null(), "more runs than one page");
        let mut runs = answer["runs"].as_array().context("no runs")?.clone();
        runs.reverse();
        Ok(runs)
    }

    /// The daemon is over: what waits is handed over, and then every run has arrived once, in order, each continuing the
    /// chain, and the agent knows it.
    fn everything_arrived_once_and_in_order(&self) -> Result<u64> {
        self.agent.run(&["upload"])?.expect_code(0)?;
        let status = self.agent.status()?;
        let last = status["last_run"].as_u64().context("no run")?;
        assert_eq!((&status["acknowledged"], &status["pending"]), (&last.into(), &0.into()), "{status}");
        assert_eq!(status["quarantined"], Value::Array(vec![]), "{status}");
        let runs = self.runs()?;
        let seqs: Vec<_> = runs.iter().map(|run| run["seq"].as_u64().unwrap()).collect();
        assert_eq!(seqs, (1..=last).collect::<Vec<_>>());
        for run in &runs {
            assert_eq!(run["link"], "continues", "{run}");
        }
        let times: Vec<_> = runs.iter().map(|run| run["received_at"].as_str().unwrap()).collect();
        assert!(times.is_sorted(), "{times:?}");
        let gateway = self.api.json(&format!("/api/v1/gateways/{}", self.gateway))?;
        assert_eq!((&gateway["chain_gaps"], &gateway["quarantined"]), (&Value::Array(vec![]), &Value::Array(vec![])));
        Ok(last)
    }
}

fn hanging(lab: &Lab, configuration: &str, broker: &Peer) -> Result<Agent> {
    let real = lab.broker().tls_address().to_string();
    ensure!(configuration.contains(&real), "the broker is not in the configuration");
    let configuration = configuration.replace(&real, &broker.address().to_string());
    Agent::configured(&lab.folder().join("hanging.toml"), &configuration)
}

fn count(lines: &[String], words: &str) -> usize {
    lines.iter().filter(|line| line.contains(words)).count()
}

/// How many lines with `words` it has written.
fn written(daemon: &Program, words: &str) -> usize {
    daemon.log().lines().filter(|line| line.contains(words)).count()
}

/// Waits for `times` more lines with `words` than were written until now.
fn wait_for_more(daemon: &mut Program, words: &str, times: usize, limit: Duration) -> Result<()> {
    let enough = written(daemon, words) + times;
    daemon.wait_until(words, limit, |lines| count(lines, words) >= enough)
}

/// SIGTERM, and the end that has to follow.
fn terminate(daemon: &mut Program) -> Result<()> {
    daemon.signal(Signal::SIGTERM)?;
    let status = daemon.wait(SOON)?;
    ensure!(status.code() == Some(0), "it ended with {status}:\n{}", daemon.log());
    Ok(())
}

#[test]
fn systemd_is_told_when_it_is_ready_and_when_it_stops() -> Result<()> {
    let lab = Lab::start()?;
    let mut systemd = Manager::listen(lab.folder())?;
    let state = lab.folder().join("agent");
    let agent =
        Agent::configured(&lab.folder().join("gatepost.toml"), &lab.daemon_config(&state, None, "audit-baseline"))?;
    let mut daemon = agent.start_with(&["run"], &[("NOTIFY_SOCKET", systemd.path())])?;
    assert_eq!(systemd.wait_for("READY=1", LIMIT)?, ["READY=1"]);
    wait_for_more(&mut daemon, "audited seq=", 2, LIMIT)?;
    terminate(&mut daemon)?;
    assert_eq!(systemd.wait_for("STOPPING=1", SOON)?, ["READY=1", "STOPPING=1"]);
    let seen = written(&daemon, "audited seq=");
    assert_eq!(agent.status()?["last_run"], seen, "what it said it audited is in the spool, and nothing else");
    assert!(!daemon.log().contains('\u{1b}'), "no colour when nobody watches");
    Ok(())
}

#[test]
fn it_ends_in_the_middle_of_an_audit_of_a_broker_that_hangs() -> Result<()> {
    let lab = Lab::start()?;
    let broker = Peer::hanging()?;
    let state = lab.folder().join("agent");
    let agent = hanging(&lab, &lab.daemon_config(&state, None, "audit-baseline"), &broker)?;
    let mut daemon = agent.start(&["run"])?;
    broker.wait_for(LIMIT, |seen| seen.connections > 0)?;
    terminate(&mut daemon)?;
    assert_eq!(written(&daemon, "audited"), 0, "{}", daemon.log());
    assert_eq!(agent.status()?["last_run"], Value::Null, "an audit that was cut short leaves nothing");
    Ok(())
}

#[test]
fn a_sink_that_hangs_delays_no_audit_and_no_end() -> Result<()> {
    let mut field = Field::start()?;
    let hung = field.sink.hang()?;
    let mut daemon = field.agent.start(&["run"])?;
    hung.wait_for(LIMIT, |seen| seen.connections == 1)?;
    wait_for_more(&mut daemon, "audited seq=", 3, LIMIT)?;
    assert_eq!(hung.seen().connections, 1, "the first upload still waits");
    assert_eq!(written(&daemon, "uploaded"), 0, "{}", daemon.log());
    terminate(&mut daemon)?;
    drop(hung);
    field.sink.start_again()?;
    let last = field.everything_arrived_once_and_in_order()?;
    assert!(last >= 4, "{last}");
    Ok(())
}

#[test]
fn it_goes_on_while_the_sink_is_away_and_hands_over_in_order_when_it_is_back() -> Result<()> {
    let mut field = Field::start()?;
    let mut daemon = field.agent.start(&["run"])?;
    wait_for_more(&mut daemon, "uploaded acknowledged=1", 1, LIMIT)?;
    field.sink.stop()?;
    wait_for_more(&mut daemon, "not uploaded: ", 1, LIMIT)?;
    wait_for_more(&mut daemon, "audited seq=", 3, LIMIT)?;
    let before = field.agent.status()?;
    assert!(before["pending"].as_u64() >= Some(3), "{before}");
    field.sink.start_again()?;
    wait_for_more(&mut daemon, "uploaded acknowledged=", 1, PATIENCE)?;
    let runs = field.runs()?.len() as u64;
    assert!(Some(runs) >= before["last_run"].as_u64(), "one upload takes everything that waits: {runs}");
    terminate(&mut daemon)?;
    field.everything_arrived_once_and_in_order()?;
    Ok(())
}

#[test]
fn what_waited_when_it_was_stopped_is_handed_over_at_the_start() -> Result<()> {
    let field = Field::start()?;
    for _ in 0..3 {
        field.agent.run(&["audit", "--bundle", QUICK])?.expect_code(0)?;
    }
    // Before the first audit is done: this one hangs.
    let (agent, broker) = field.with_hanging_broker()?;
    let mut daemon = agent.start(&["run"])?;
    daemon.wait_until("the upload", LIMIT, |lines| count(lines, "uploaded acknowledged=3") == 1)?;
    broker.wait_for(LIMIT, |seen| seen.connections > 0)?;
    assert_eq!(written(&daemon, "audited"), 0, "{}", daemon.log());
    terminate(&mut daemon)?;
    assert_eq!(field.everything_arrived_once_and_in_order()?, 3);
    Ok(())
}

#[test]
fn the_chain_goes_on_after_a_kill_of_the_agent() -> Result<()> {
    let field = Field::start()?;
    let mut reported = 0;
    for round in 0..4 {
        let mut daemon = field.agent.start(&["run"])?;
        // At a line of its own each time: while it audits, while it uploads, in between.
        let words = ["started", "audited seq=", "uploaded", "audited seq="][round];
        daemon.wait_until(words, LIMIT, |lines| count(lines, words) > round / 2)?;
        reported += written(&daemon, "audited seq=");
        daemon.kill()?;
    }
    let mut daemon = field.agent.start(&["run"])?;
    wait_for_more(&mut daemon, "audited seq=", 1, LIMIT)?;
    terminate(&mut daemon)?;
    reported += written(&daemon, "audited seq=");
    let last = field.everything_arrived_once_and_in_order()?;
    assert!(last >= reported as u64, "{reported} runs were reported, {last} arrived");
    Ok(())
}

#[test]
fn every_run_arrives_once_though_the_sink_is_killed_while_it_takes_them() -> Result<()> {
    let mut field = Field::start()?;
    let mut daemon = field.agent.start(&["run"])?;
    for _ in 0..3 {
        wait_for_more(&mut daemon, "uploaded acknowledged=", 1, PATIENCE)?;
        // The upload follows the audit at once.
        wait_for_more(&mut daemon, "audited seq=", 1, LIMIT)?;
        field.sink.kill()?;
        field.sink.start_again()?;
    }
    wait_for_more(&mut daemon, "audited seq=", 1, LIMIT)?;
    terminate(&mut daemon)?;
    field.everything_arrived_once_and_in_order()?;
    Ok(())
}

#[test]
fn a_sink_restored_from_an_older_backup_gets_back_what_it_lost_and_nobody_does_anything() -> Result<()> {
    let mut field = Field::start()?;
    let copy = |from: &Path, to: &Path| -> Result<()> {
        fs::create_dir(to)?;
        for file in fs::read_dir(from)? {
            let file = file?;
            fs::copy(file.path(), to.join(file.file_name()))?;
        }
        Ok(())
    };
    let backup = field.lab.folder().join("backup");
    field.sink.stop()?;
    copy(&field.sink.data(), &backup)?;
    field.sink.start_again()?;
    let mut daemon = field.agent.start(&["run"])?;
    wait_for_more(&mut daemon, "uploaded acknowledged=", 3, LIMIT)?;
    field.sink.kill()?;
    fs::rename(field.sink.data(), field.lab.folder().join("lost"))?;
    copy(&backup, &field.sink.data())?;
    field.sink.start_again()?;
    wait_for_more(&mut daemon, "the sink broke its log", 1, PATIENCE)?;
    wait_for_more(&mut daemon, "uploaded acknowledged=", 1, PATIENCE)?;
    terminate(&mut daemon)?;
    field.everything_arrived_once_and_in_order()?;
    Ok(())
}

/// Overwrites where `table` of the spool begins, whoever has it open.
fn damage(state: &Path, table: &str) -> Result<()> {
    let file = state.join("spool.db");
    let database = rusqlite::Connection::open(&file)?;
    // Into the file with it, and out of everybody's cache.
    database.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, u32>(0))?;
    let page: u64 =
        database.query_row("SELECT rootpage FROM sqlite_schema WHERE name = ?1", [table], |row| row.get(0))?;
    let bytes: u64 = database.query_row("PRAGMA page_size", [], |row| row.get(0))?;
    drop(database);
    let garbage = vec![0x5a; usize::try_from(bytes)?];
    Ok(fs::OpenOptions::new().write(true).open(&file)?.write_all_at(&garbage, (page - 1) * bytes)?)
}

/// A daemon whose spool was damaged while its uploader waited for the sink, after it was mended.
fn mended(field: &mut Field, table: &str) -> Result<Program> {
    let mut daemon = field.agent.start(&["run"])?;
    wait_for_more(&mut daemon, "uploaded acknowledged=", 2, LIMIT)?;
    field.sink.stop()?;
    // It has the spool open, and rests.
    wait_for_more(&mut daemon, "not uploaded: ", 1, LIMIT)?;
    damage(&field.state, table)?;
    // An audit finds out; it can be mended once the uploader has stepped aside.
    wait_for_more(&mut daemon, "the spool was damaged", 1, LIMIT)?;
    wait_for_more(&mut daemon, "audited seq=", 2, LIMIT)?;
    field.sink.start_again()?;
    Ok(daemon)
}

/// What came after the damage is on the sink, and the agent says what happened.
fn went_on(field: &Field) -> Result<()> {
    let status = field.agent.status()?;
    assert!(status["damage"]["aside"].is_string(), "{status}");
    assert_eq!((&status["pending"], &status["quarantined"]), (&0.into(), &Value::Array(vec![])), "{status}");
    assert_eq!(field.runs()?.last().context("no run")?["seq"], status["last_run"], "{status}");
    Ok(())
}

#[test]
fn a_spool_that_is_damaged_while_it_waits_for_the_sink_is_mended_and_it_goes_on() -> Result<()> {
    let mut field = Field::start()?;
    let mut daemon = mended(&mut field, "runs")?;
    wait_for_more(&mut daemon, "uploaded acknowledged=", 1, PATIENCE)?;
    terminate(&mut daemon)?;
    field.agent.run(&["upload"])?.expect_code(0)?;
    went_on(&field)
}

#[test]
fn a_spool_that_lost_its_enrolment_is_mended_and_goes_on_once_it_has_another() -> Result<()> {
    let mut field = Field::start()?;
    let mut daemon = mended(&mut field, "settings")?;
    terminate(&mut daemon)?;
    assert_eq!(field.agent.status()?["enrolled"], false);
    field.agent.enroll(&field.sink.enrolment_token()?)?.expect_code(0)?;
    field.agent.run(&["upload"])?.expect_code(0)?;
    went_on(&field)
}

#[test]
fn a_gateway_that_is_not_enrolled_says_what_to_do_and_goes_on_once_it_is() -> Result<()> {
    let lab = Lab::start()?;
    let sink = lab.start_sink("sink")?;
    let configuration = lab.daemon_config(&lab.folder().join("agent"), Some(sink.info()), QUICK);
    let agent = Agent::configured(&lab.folder().join("gatepost.toml"), &configuration)?;
    let mut daemon = agent.start(&["run"])?;
    wait_for_more(&mut daemon, "audited seq=", 4, LIMIT)?;
    let attempts = written(&daemon, "not uploaded: ");
    let advised = written(&daemon, "is not enrolled with https://127.0.0.1");
    assert_eq!(advised, attempts, "{}", daemon.log());
    assert_eq!(written(&daemon, "run `gatepost enroll --token-file FILE`"), attempts, "{}", daemon.log());
    // Pauses are random, but a loop without any would make thousands.
    assert!((1..=10).contains(&attempts), "{attempts} attempts:\n{}", daemon.log());
    agent.enroll(&sink.enrolment_token()?)?.expect_code(0)?;
    wait_for_more(&mut daemon, "uploaded acknowledged=", 1, PATIENCE)?;
    terminate(&mut daemon)
}
