//! The story in four acts, told by the real agent, the real sink and the lab: audit, sprint, retainer, outage.
//!
//! Every number that is said aloud is checked first; a story that does not come true ends with exit code 1. What it leaves
//! behind are the sink's own answers, which the agent's own judgement had to equal.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use gatepost_tests::agent::Agent;
use gatepost_tests::lab::Lab;
use gatepost_tests::sink::{Api, Sink};
use serde_json::Value;

/// The findings of the exposed path: key and severity.
const EXPOSED: [(&str, &str); 4] = [
    ("gateway_config_guardrails.auth_enforcement_disabled", "high"),
    ("gateway_config_guardrails.unsafe_defaults_not_observable", "medium"),
    ("ingest_auth.insecure_transport", "high"),
    ("ingest_auth.unauthenticated_ingest_allowed", "high"),
];
/// What act 4 has to notice.
const REGRESSION: &str = "broker_transport_posture.anonymous_access";

/// Tells the story of one gateway path: audited, hardened, proven, and watched through an outage.
#[derive(Parser)]
#[command(name = "gatepost-demo", max_term_width = 110)]
struct Options {
    /// Where the artefacts go.
    #[arg(long, value_name = "DIR", default_value = "target/demo")]
    out: PathBuf,
    /// Keep the sink's pages up afterwards, until Ctrl-C.
    #[arg(long)]
    serve: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    match Story::begin(&options.out).and_then(|story| story.tell(options.serve)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            anstream::eprintln!("\nthe story did not come true: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Everything on the stage.
struct Story {
    lab: Lab,
    sink: Sink,
    api: Api,
    agent: Agent,
    gateway: String,
    out: PathBuf,
    began: Instant,
}

impl Story {
    fn begin(out: &Path) -> Result<Self> {
        let began = Instant::now();
        fs::create_dir_all(out).with_context(|| format!("{} cannot be made", out.display()))?;
        act("The stage");
        say("starting Mosquitto, the gateway service, the ingest edge and three devices on loopback");
        let lab = Lab::start()?;
        let sink = lab.start_sink("sink")?;
        let api = sink.api()?;
        say(&format!("the sink listens on {}", sink.url()));
        let folder = lab.folder();
        let configuration = lab.agent_config(&folder.join("agent"), Some(sink.info()));
        let agent = Agent::configured(&folder.join("gatepost.toml"), &configuration)?;
        agent.run(&["config", "check"])?.expect_code(0)?;
        let token = folder.join("token");
        fs::write(&token, sink.enrolment_token()?)?;
        let token = token.to_str().context("the temporary folder is not UTF-8")?;
        agent.run(&["enroll", "--token-file", token])?.expect_code(0)?;
        let status = agent.run(&["status", "--format", "json"])?.expect_code(0)?.json()?;
        let gateway = text(&status, "/gateway")?;
        say(&format!("gateway pump-house-7 made its key and enrolled as {}", &gateway[..12]));
        Ok(Self { lab, sink, api, agent, gateway, out: out.to_owned(), began })
    }

    fn tell(mut self, serve: bool) -> Result<()> {
        self.audit()?;
        self.sprint()?;
        self.retainer()?;
        self.outage()?;
        let page = self.api.get(&self.path("report"))?;
        ensure!(page.status == 200, "the report was answered with {}", page.status);
        ensure!(
            page.body.contains("pump-house-7") && page.body.contains(REGRESSION),
            "the report does not tell the story"
        );
        fs::write(self.out.join("report.html"), &page.body)?;
        act("What is left behind");
        let out = fs::canonicalize(&self.out)?;
        for name in ["audit.json", "rerun.json", "delta.json", "outage.json", "report.html"] {
            say(&out.join(name).display().to_string());
        }
        say(&format!("told in {:.0} s", self.began.elapsed().as_secs_f32()));
        if serve {
            self.serve()?;
        }
        Ok(())
    }

    /// Act 1: the path as it was found.
    fn audit(&mut self) -> Result<()> {
        act("Act 1, audit: the path as it was found");
        self.lab.expose()?;
        let report = self.look("audit", 1)?;
        self.upload(1)?;
        let judged = self.judged(1, &report)?;
        let found = keys(&judged)?;
        let expected: Vec<_> =
            EXPOSED.iter().map(|(key, severity)| ((*key).to_owned(), (*severity).to_owned())).collect();
        ensure!(found == expected, "expected exactly the four findings {expected:?}, found {found:?}");
        tell_findings(&judged)?;
        say(&format!("posture {}, decision {}", text(&judged, "/posture/state")?, text(&judged, "/decision")?));
        self.keep("audit.json", &judged)
    }

    /// Act 2: the same path, hardened.
    fn sprint(&mut self) -> Result<()> {
        act("Act 2, sprint: the same path, hardened and looked at again");
        self.lab.harden()?;
        say("the edge demands credentials and closes plaintext; the service enforces and shows its defaults");
        let report = self.look("sprint", 0)?;
        self.upload(1)?;
        let judged = self.judged(2, &report)?;
        ensure!(keys(&judged)?.is_empty(), "expected no finding, found {:?}", keys(&judged)?);
        let evidence = |key: &str, pointer: &str| {
            let rows = judged["rows"].as_array().into_iter().flatten();
            let row = rows.into_iter().find(|row| row["key"] == key).cloned().unwrap_or_default();
            row["evidence"][pointer].clone()
        };
        let plaintext = evidence("ingest_auth.insecure_transport", "/plaintext");
        let refused = evidence("ingest_auth.unauthenticated_ingest_allowed", "/unauthenticated_accepted");
        ensure!(plaintext == "closed" && refused == false, "plaintext {plaintext}, unauthenticated {refused}");
        let (none, right) = self.statuses(2)?;
        ensure!((none, right) == (401, 202), "statuses {none} and {right}");
        let healthy = evidence("gateway_config_guardrails.service_unhealthy", "/service/healthy");
        ensure!(healthy == true, "the gateway service is not healthy: {healthy}");
        say("no findings: TLS only, without credentials 401, with them 202, the gateway service still healthy");
        say(&format!("posture {}, decision {}", text(&judged, "/posture/state")?, text(&judged, "/decision")?));
        self.keep("rerun.json", &judged)
    }

    /// Act 3: what changed, and the improved state as the next baseline.
    fn retainer(&mut self) -> Result<()> {
        act("Act 3, retainer: what changed, and the improved state becomes the baseline");
        let delta = self.api.json(&format!("{}?from=1&to=2", self.path("delta")))?;
        let (improved, regressed) = (length(&delta, "improved")?, length(&delta, "regressed")?);
        ensure!((improved, regressed) == (4, 0), "{improved} improved, {regressed} regressed");
        say("delta from run 1 to run 2: 4 improved, 0 regressed");
        let answer = self.api.post(&self.path("baseline"), &serde_json::json!({"seq": 2}))?;
        ensure!((200..300).contains(&answer.status), "promotion was answered with {}: {}", answer.status, answer.body);
        say("run 2 is the baseline from now on");
        self.keep("delta.json", &delta)
    }

    /// Act 4: the sink goes away, the broker drifts, and nothing is lost.
    fn outage(&mut self) -> Result<()> {
        act("Act 4, outage: the sink goes away, and the broker opens a door meanwhile");
        self.sink.stop()?;
        self.look("retainer", 0)?;
        say("run 3 is signed and waits in the spool");
        self.lab.open_plaintext()?;
        let at = self.lab.broker().plaintext_address();
        self.look("retainer", 1)?;
        say(&format!("somebody opened an anonymous plaintext listener on {at}; run 4 saw it"));
        self.look("retainer", 1)?;
        let refused = self.agent.run(&["upload"])?.expect_code(1)?;
        ensure!(refused.stderr.contains("3 runs stay in the spool"), "upload said: {}", refused.stderr);
        say("run 5 waits too: without the sink, 3 runs stay in the spool");
        self.sink.start_again()?;
        self.upload(3)?;
        let runs = self.api.json(&self.path("runs"))?;
        ensure!(in_order(&runs)?, "the spool did not drain in order: {runs}");
        say("the sink is back, and the spool drained in order");
        self.wait_judged(5)?;
        let delta = self.api.json(&self.path("delta"))?;
        let regressed = delta["regressed"].as_array().context("the delta has no list `regressed`")?;
        let row = regressed.iter().find(|row| row["key"] == REGRESSION);
        let row = row.with_context(|| format!("{REGRESSION} is not among {regressed:?}"))?;
        ensure!(row["first_seen"]["seq"] == 4, "the regression is dated to {}", row["first_seen"]);
        say(&format!(
            "the delta names {REGRESSION}[{}],\n     first seen by run 4 at {} (uploaded {})",
            text(row, "/subject")?,
            text(row, "/first_seen/started_at")?,
            text(row, "/first_seen/received_at")?
        ));
        self.keep("outage.json", &delta)
    }

    /// One audit by the agent; its exit code has to be `code`.
    fn look(&self, stage: &str, code: i32) -> Result<Value> {
        let arguments = ["audit", "--bundle", "audit-baseline", "--stage", stage, "--format", "json"];
        self.agent.run(&arguments)?.expect_code(code)?.json()
    }

    fn upload(&self, count: u64) -> Result<()> {
        let sent = self.agent.run(&["upload"])?.expect_code(0)?;
        let expected = format!("{count} acknowledged, 0 refused");
        ensure!(sent.stdout.starts_with(&expected), "upload said: {}", sent.stdout);
        Ok(())
    }

    /// The sink's judgement of run `seq`, which has to be the agent's own.
    fn judged(&self, seq: u64, report: &Value) -> Result<Value> {
        let judged = self.wait_judged(seq)?;
        let (sink, agent) = (text(&judged, "/assessment_digest")?, text(report, "/assessment_digest")?);
        ensure!(sink == agent, "the sink judged run {seq} to {sink}, the agent to {agent}");
        say(&format!("agent and sink judged run {seq} alike, assessment {}", &sink[..12]));
        Ok(judged)
    }

    fn wait_judged(&self, seq: u64) -> Result<Value> {
        let path = self.path(&format!("runs/{seq}"));
        let limit = Instant::now() + Duration::from_secs(10);
        loop {
            let answer = self.api.get(&path)?;
            match answer.status {
                200 => return answer.json(),
                202 if Instant::now() < limit => std::thread::sleep(Duration::from_millis(20)),
                status => anyhow::bail!("{path} was answered with {status}: {}", answer.body),
            }
        }
    }

    /// What the edge answered without credentials and with them, from the signed evidence of run `seq`.
    fn statuses(&self, seq: u64) -> Result<(u64, u64)> {
        let shown = self.agent.run(&["show", &seq.to_string(), "--envelope"])?.expect_code(0)?.json()?;
        let payload: gatepost_evidence::look::Bytes = serde_json::from_value(shown["payload"].clone())?;
        let statement: Value = serde_json::from_slice(&payload.0)?;
        let records = statement["predicate"]["records"].as_array().context("the run has no records")?;
        let record = records.iter().find(|record| record["check"] == "ingest_auth").context("no ingest_auth")?;
        let requests = record["observation"]["requests"].as_array().context("no requests")?;
        let status = |credentials: &str| {
            let request = requests.iter().find(|r| r["credentials"] == credentials && r["plaintext"] == false);
            request.and_then(|request| request["answer"]["seen"]["status"].as_u64()).unwrap_or(0)
        };
        Ok((status("none"), status("right")))
    }

    fn path(&self, rest: &str) -> String {
        format!("/api/v1/gateways/{}/{rest}", self.gateway)
    }

    fn keep(&self, name: &str, value: &Value) -> Result<()> {
        let file = self.out.join(name);
        fs::write(&file, format!("{}\n", serde_json::to_string_pretty(value)?))
            .with_context(|| format!("{} cannot be written", file.display()))
    }

    fn serve(self) -> Result<()> {
        act("The sink's pages");
        say(&format!("{} (its certificate is the lab's own)", self.sink.url()));
        say(&format!("sign in with {}", self.sink.operator_token()?));
        say("Ctrl-C ends it");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(tokio::signal::ctrl_c())?;
        Ok(())
    }
}

fn act(title: &str) {
    anstream::println!("\n\x1b[1m{title}\x1b[0m");
}

fn say(line: &str) {
    anstream::println!("   - {line}");
}

fn tell_findings(judged: &Value) -> Result<()> {
    let findings = judged["findings"].as_array().context("there is no list `findings`")?;
    say(&format!("{} findings:", findings.len()));
    for finding in findings {
        let (severity, key) = (text(finding, "/severity")?, text(finding, "/key")?);
        anstream::println!("       {severity:<7} {key}: {}", text(finding, "/title")?);
    }
    Ok(())
}

/// Key and severity of every finding, by key.
fn keys(judged: &Value) -> Result<Vec<(String, String)>> {
    let findings = judged["findings"].as_array().context("there is no list `findings`")?;
    let mut keys = Vec::new();
    for finding in findings {
        keys.push((text(finding, "/key")?, text(finding, "/severity")?));
    }
    keys.sort();
    Ok(keys)
}

/// Whether the sink received the runs in the order of the chain, each once.
fn in_order(runs: &Value) -> Result<bool> {
    let runs = runs.as_array().or_else(|| runs["runs"].as_array()).context("there is no list of runs")?;
    let mut seen = Vec::new();
    for run in runs {
        seen.push((run["seq"].as_u64().context("a run has no seq")?, text(run, "/received_at")?));
    }
    seen.sort();
    Ok(seen.iter().map(|(seq, _)| *seq).eq(1..=5) && seen.windows(2).all(|pair| pair[0].1 <= pair[1].1))
}

fn length(value: &Value, list: &str) -> Result<usize> {
    value[list].as_array().map(Vec::len).with_context(|| format!("there is no list {list:?}"))
}

fn text(value: &Value, pointer: &str) -> Result<String> {
    let text = value.pointer(pointer).and_then(Value::as_str);
    text.map(str::to_owned).with_context(|| format!("nothing at {pointer} in {value}"))
}
