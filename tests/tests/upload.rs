//! Handing over on the real agent and the real sink: what is altered, forged, cloned or sent twice, and sinks that are not
//! the ones they should be. One bad run never keeps the others from arriving.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use gatepost_tests::agent::Agent;
use gatepost_tests::lab::Lab;
use gatepost_tests::peer::Peer;
use gatepost_tests::pki::{Leaf, foreign};
use gatepost_tests::process::LIMIT;
use gatepost_tests::sink::{Api, Sink, SinkInfo};
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

    /// An agent that keeps its state in the folder `name`, for the sink at `info`.
    fn gateway_for(&self, name: &str, info: &SinkInfo) -> Result<Gateway> {
        let state = self.lab.folder().join(name);
        let configuration = self.lab.agent_config(&state, Some(info));
        let agent = Agent::configured(&self.lab.folder().join(format!("{name}.toml")), &configuration)?;
        Ok(Gateway { agent, state })
    }

    fn gateway(&self, name: &str) -> Result<Gateway> {
        self.gateway_for(name, self.sink.info())
    }

    fn enrolled(&self, name: &str) -> Result<Gateway> {
        let gateway = self.gateway(name)?;
        gateway.agent.enroll(&self.sink.enrolment_token()?)?.expect_code(0)?;
        Ok(gateway)
    }

    /// What the sink says of a gateway.
    fn view(&self, gateway: &Gateway) -> Result<Value> {
        self.api.json(&format!("/api/v1/gateways/{}", gateway.id()?))
    }

    /// The runs that the sink has of a gateway, oldest first.
    fn seqs(&self, gateway: &Gateway) -> Result<Vec<u64>> {
        let answer = self.api.json(&format!("/api/v1/gateways/{}/runs", gateway.id()?))?;
        let mut seqs = Vec::new();
        for run in answer["runs"].as_array().context("no runs")? {
            seqs.push(run["seq"].as_u64().context("no seq")?);
        }
        seqs.reverse();
        Ok(seqs)
    }

    fn refusals(&self) -> Result<Value> {
        Ok(self.api.json("/api/v1/gateways")?["refusals"].clone())
    }
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

    /// Uploads, and says how many runs were acknowledged and how many refused.
    fn upload(&self, acknowledged: usize, refused: usize) -> Result<()> {
        let sent = self.agent.run(&["upload"])?.expect_code(i32::from(refused > 0))?;
        let expected = format!("{acknowledged} acknowledged, {refused} refused and quarantined.\n");
        ensure!(sent.stdout.starts_with(&expected), "{expected:?} expected: {sent:?}");
        Ok(())
    }

    /// Place and first word of the reason of every quarantined run, which the text says as well.
    fn quarantined(&self) -> Result<Vec<(u64, String)>> {
        let text = self.agent.run(&["status"])?.expect_code(0)?.stdout;
        let mut quarantined = Vec::new();
        for refused in self.agent.status()?["quarantined"].as_array().context("no list")? {
            let (seq, reason) =
                (refused["seq"].as_u64().context("no seq")?, refused["reason"].as_str().context("no reason")?);
            let (word, detail) = reason.split_once(": ").with_context(|| format!("no words for people: {reason}"))?;
            ensure!(detail.len() > 10, "hardly words for people: {reason}");
            ensure!(text.contains(&format!("  run {seq}: {reason}\n")), "{reason} is not in\n{text}");
            quarantined.push((seq, word.to_owned()));
        }
        Ok(quarantined)
    }
}

fn quarantined(rows: &[(u64, &str)]) -> Vec<(u64, String)> {
    rows.iter().map(|(seq, reason)| (*seq, (*reason).to_owned())).collect()
}

/// The same JSON over several lines.
fn pretty(envelope: &str) -> Result<String> {
    Ok(serde_json::to_string_pretty(&serde_json::from_str::<Value>(envelope)?)?)
}

#[test]
fn whatever_became_of_one_run_in_the_spool_the_others_arrive() -> Result<()> {
    let field = Field::start()?;
    let gateway = field.enrolled("agent")?;
    gateway.audit(8)?;
    let spool = OpenSpool::open(&gateway.state)?;
    let mut altered: Value = serde_json::from_str(&spool.envelope(2)?)?;
    let payload = altered["payload"].as_str().context("no payload")?;
    // The last whole group of base64, which is inside the records.
    let (head, tail) = payload.split_at(payload.len() / 2);
    let other = if tail.starts_with('A') { 'B' } else { 'A' };
    altered["payload"] = json!(format!("{head}{other}{}", &tail[1..]));
    spool.replace(2, &altered.to_string())?;
    spool.replace(3, &pretty(&spool.envelope(3)?)?)?;
    spool.replace(4, "")?;
    spool.replace_stored(5, b"not zstd at all")?;
    spool.replace(6, "{\"payload\":\n\n\n5}")?;
    let mut large: Value = serde_json::from_slice(&spool.payload(7)?)?;
    large["predicate"]["gateway"]["labels"]["site"] = json!("x".repeat(1024 * 1024));
    // Keys are sorted and numbers small, so this is canonical.
    spool.replace_signed(7, large.to_string().as_bytes(), &gateway.state)?;
    drop(spool);

    gateway.upload(3, 5)?;
    // What the agent itself cannot read is not sent.
    let expected = [(2, "bad_signature"), (4, "unreadable"), (5, "unreadable"), (6, "unreadable"), (7, "too_large")];
    assert_eq!(gateway.quarantined()?, quarantined(&expected));
    assert_eq!(field.seqs(&gateway)?, [1, 3, 8]);
    assert_eq!(field.refusals()?, json!({"bad_signature": 1, "too_large": 1}));
    // For what could not be read there is a tombstone; what was refused is a gap.
    let gaps = field.view(&gateway)?["chain_gaps"].clone();
    assert_eq!(gaps, json!([{"from": 2, "to": 2}, {"from": 7, "to": 7}]));
    // Nothing of it is sent again, and the gateway goes on.
    gateway.audit(1)?;
    gateway.upload(1, 0)?;
    assert_eq!(gateway.quarantined()?, quarantined(&expected));
    Ok(())
}

#[test]
fn a_gateway_that_only_says_it_is_enrolled_is_unknown() -> Result<()> {
    let field = Field::start()?;
    let (known, unknown) = (field.enrolled("known")?, field.gateway("unknown")?);
    unknown.audit(2)?;
    OpenSpool::open(&unknown.state)?.copy_enrolment(&known.state)?;
    let told = unknown.agent.run(&["upload"])?.expect_code(1)?.stderr;
    assert!(told.contains("does not know this gateway") && told.contains("2 runs stay in the spool"), "{told}");
    assert!(field.refusals()?["unknown_key"].as_u64() >= Some(1));
    assert_eq!(field.api.get(&format!("/api/v1/gateways/{}", unknown.id()?))?.status, 404);
    // Nothing of it is held against the runs.
    assert_eq!(unknown.quarantined()?, []);
    unknown.agent.enroll(&field.sink.enrolment_token()?)?.expect_code(0)?;
    unknown.upload(2, 0)?;
    assert_eq!(field.seqs(&unknown)?, [1, 2]);
    Ok(())
}

#[test]
fn a_run_of_another_gateway_is_refused_whoever_signs_it() -> Result<()> {
    let field = Field::start()?;
    let (gateway, other) = (field.enrolled("agent")?, field.gateway("other")?);
    gateway.audit(3)?;
    other.audit(1)?;
    let payload = OpenSpool::open(&other.state)?.payload(1)?;
    let spool = OpenSpool::open(&gateway.state)?;
    spool.replace_signed(2, &payload, &gateway.state)?;
    spool.replace(3, &OpenSpool::open(&other.state)?.envelope(1)?)?;
    drop(spool);
    gateway.upload(1, 2)?;
    assert_eq!(gateway.quarantined()?, quarantined(&[(2, "other_gateway"), (3, "unknown_key")]));
    // What the gateway itself signed is evidence about it.
    let evidence = field.view(&gateway)?["quarantined"].clone();
    assert_eq!((evidence.as_array().map(Vec::len), &evidence[0]["reason"]), (Some(1), &json!("other_gateway")));
    assert_eq!(field.seqs(&gateway)?, [1]);
    Ok(())
}

#[test]
fn what_is_sent_again_is_acknowledged_with_the_same_receipt_and_kept_once() -> Result<()> {
    let field = Field::start()?;
    let gateway = field.enrolled("agent")?;
    gateway.audit(3)?;
    gateway.upload(3, 0)?;
    let receipts = |spool: &OpenSpool| (1..=3).map(|seq| spool.receipt(seq)).collect::<Result<Vec<_>>>();
    let spool = OpenSpool::open(&gateway.state)?;
    let first = receipts(&spool)?;
    spool.forget_answers()?;
    drop(spool);
    assert_eq!(gateway.agent.status()?["pending"], 3);
    gateway.upload(3, 0)?;
    assert_eq!(receipts(&OpenSpool::open(&gateway.state)?)?, first);
    assert!(first.iter().all(Option::is_some));
    assert_eq!(field.seqs(&gateway)?, [1, 2, 3]);
    Ok(())
}

#[test]
fn a_copied_state_folder_is_a_fork_that_the_sink_shows() -> Result<()> {
    let field = Field::start()?;
    let gateway = field.enrolled("agent")?;
    gateway.audit(1)?;
    gateway.upload(1, 0)?;
    let clone = field.lab.folder().join("clone");
    fs::create_dir(&clone)?;
    for file in fs::read_dir(&gateway.state)? {
        let file = file?;
        fs::copy(file.path(), clone.join(file.file_name()))?;
    }
    let clone = field.gateway("clone")?;
    assert_eq!(clone.id()?, gateway.id()?);
    gateway.audit(1)?;
    clone.audit(2)?;
    gateway.upload(1, 0)?;
    clone.upload(0, 2)?;
    assert_eq!(clone.quarantined()?, quarantined(&[(2, "fork"), (3, "fork")]));
    let view = field.view(&gateway)?;
    let shown = view["quarantined"].as_array().context("no list")?;
    assert_eq!(shown.len(), 2, "{view}");
    for entry in shown {
        assert_eq!(
            (&entry["reason"], &entry["gateway"], &entry["vouched"]),
            (&json!("fork"), &json!(gateway.id()?), &json!(true))
        );
    }
    assert_eq!(field.seqs(&gateway)?, [1, 2]);
    gateway.audit(1)?;
    gateway.upload(1, 0)?;
    Ok(())
}

#[test]
fn a_token_that_is_used_or_expired_or_none_enrols_nobody_and_is_not_repeated() -> Result<()> {
    let field = Field::start()?;
    let used = field.sink.enrolment_token()?;
    field.gateway("first")?.agent.enroll(&used)?.expect_code(0)?;
    let expired = field.sink.enrolment_token_for("1s")?;
    let deadline = Instant::now() + LIMIT;
    while !field.sink.run(&["token", "list"])?.stdout.contains(" expired ") {
        ensure!(Instant::now() < deadline, "the token does not expire");
    }
    let second = field.gateway("second")?;
    for (token, words) in
        [(used.as_str(), "was used already"), (&expired, "has expired"), ("gpe_nonsense", "is not one of this sink's")]
    {
        let refused = second.agent.enroll(token)?.expect_code(1)?;
        assert!(refused.stderr.contains(words) && refused.stderr.contains("not enrolled"), "{refused:?}");
        assert!(!refused.stderr.contains(token) && !refused.stdout.contains(token), "{refused:?}");
    }
    assert_eq!(second.agent.status()?["enrolled"], false);
    let error = second.agent.enroll("\n")?.expect_code(2)?.stderr;
    assert!(error.contains("the token"), "{error}");
    let log = field.sink.log();
    assert!(!log.contains(&used) && !log.contains(&expired), "a token is in the sink's log");
    Ok(())
}

#[test]
fn a_sink_with_a_certificate_of_another_ca_is_told_nothing() -> Result<()> {
    let field = Field::start()?;
    let folder = field.lab.folder();
    let leaf = Leaf { common_name: "localhost", names: &["127.0.0.1"], usages: &[], from_day: -1, to_day: 30 };
    let peer = Peer::counting(&foreign(folder, "impostor", &leaf)?)?;
    let info = SinkInfo { url: format!("https://{}", peer.address()), ca_file: field.sink.info().ca_file.clone() };
    let gateway = field.gateway_for("agent", &info)?;
    gateway.audit(1)?;
    let known = field.enrolled("known")?;
    let told = |times: usize| -> Result<()> {
        let seen = peer.wait_for(LIMIT, |seen| seen.closed == times)?;
        ensure!((seen.connections, seen.handshakes, seen.bytes) == (times, 0, 0), "{seen:?}");
        Ok(())
    };
    let advised = |stderr: &str| -> Result<()> {
        ensure!(stderr.contains("UnknownIssuer") && stderr.contains("`sink.ca_file`"), "{stderr}");
        Ok(())
    };
    advised(&gateway.agent.enroll("gpe_secret")?.expect_code(1)?.stderr)?;
    told(1)?;
    let spool = OpenSpool::open(&gateway.state)?;
    spool.copy_enrolment(&known.state)?;
    spool.set_sink_url(&info.url)?;
    drop(spool);
    let error = gateway.agent.run(&["upload"])?.expect_code(1)?.stderr;
    advised(&error)?;
    assert!(error.contains("1 runs stay in the spool"), "{error}");
    told(2)
}

#[test]
fn a_plaintext_sink_beyond_loopback_is_no_configuration() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let text =
        format!("[state]\ndirectory = {:?}\n[sink]\nurl = \"http://192.0.2.7:8443\"\n", folder.path().join("state"));
    let agent = Agent::configured(&folder.path().join("gatepost.toml"), &text)?;
    for (arguments, code) in
        [(&["config", "check"][..], 1), (&["upload"], 2), (&["run"], 2), (&["enroll", "--token-file", "token"], 2)]
    {
        let error = agent.run(arguments)?.expect_code(code)?.stderr;
        assert!(error.contains(":4:") && error.contains("sink.url") && error.contains("https only"), "{error}");
    }
    assert!(!folder.path().join("state").exists(), "nothing is made for a configuration with mistakes");
    Ok(())
}

#[test]
fn kills_of_the_sink_at_any_moment_of_an_upload_lose_and_double_nothing() -> Result<()> {
    let mut field = Field::start()?;
    let gateway = field.enrolled("agent")?;
    gateway.audit(3)?;
    let whole = gateway.agent.run(&["upload"])?.expect_code(0)?.took;
    let (rounds, each) = (10_u32, 3);
    let mut cut_short = 0;
    for round in 0..rounds {
        gateway.audit(each)?;
        let mut upload = gateway.agent.start(&["upload"])?;
        let moment = Instant::now() + whole * round / rounds;
        while Instant::now() < moment {
            std::thread::yield_now();
        }
        field.sink.kill()?;
        cut_short += u32::from(!upload.wait(LIMIT)?.success());
        field.sink.start_again()?;
    }
    assert!(cut_short > 0, "the schedule killed nothing");
    gateway.agent.run(&["upload"])?.expect_code(0)?;
    let last = u64::from(rounds + 1) * each as u64;
    assert_eq!(field.seqs(&gateway)?, (1..=last).collect::<Vec<_>>());
    assert_eq!(field.view(&gateway)?["chain_gaps"], json!([]));
    let status = gateway.agent.status()?;
    assert_eq!((&status["acknowledged"], &status["pending"]), (&json!(last), &json!(0)), "{status}");
    assert_eq!(field.refusals()?, json!({}));
    Ok(())
}

#[test]
fn a_status_and_a_show_of_what_cannot_be_read_say_so() -> Result<()> {
    let field = Field::start()?;
    let gateway = field.enrolled("agent")?;
    gateway.audit(1)?;
    OpenSpool::open(&gateway.state)?.replace_stored(1, b"")?;
    for arguments in [&["show", "1"][..], &["show", "1", "--envelope"]] {
        let error = gateway.agent.run(arguments)?.expect_code(2)?.stderr;
        assert!(error.contains("run 1 cannot be read back"), "{error}");
    }
    gateway.upload(0, 1)?;
    assert_eq!(gateway.quarantined()?, quarantined(&[(1, "unreadable")]));
    assert!(Path::new(&gateway.state).join("spool.db").is_file());
    Ok(())
}
