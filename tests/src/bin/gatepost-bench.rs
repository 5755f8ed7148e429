//! Measurements, always as ratios to something measured in the same run, because machines differ and drift.
//!
//! Four questions: what an audit costs beside bare TLS handshakes with the same broker; what a run in which nothing changed
//! costs on the link beside the first one; how many runs the sink accepts
//! beside what the disk and the signatures alone would allow; how fast runs are judged beside merely parsing them.
//! Commands under comparison take turns, and medians are printed. Nothing here is asserted.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use gatepost_evidence::batch::{self, Encoded};
use gatepost_evidence::canonical;
use gatepost_evidence::envelope::{Envelope, pre_authentication_encoding};
use gatepost_evidence::key::SigningKey;
use gatepost_evidence::run::{PAYLOAD_TYPE, Run, SignedRun, Statement};
use gatepost_evidence::verify::VerifiedRun;
use gatepost_evidence::wire::{Answer, Answers, ENROL_PATH, ENROLMENT_TYPE, Enrolment, RUNS_PATH};
use gatepost_rules::assess::assess;
use gatepost_rules::pack::Pack;
use gatepost_tests::agent::Agent;
use gatepost_tests::http::Client;
use gatepost_tests::lab::Lab;
use gatepost_tests::relay::{Relay, Sent};
use gatepost_tests::sink::SinkInfo;
use nix::sys::resource::{UsageWho, getrusage};

/// Measures agent, sink and rules on the lab.
#[derive(Parser)]
#[command(name = "gatepost-bench", max_term_width = 110)]
struct Options {
    /// How often each command is run.
    #[arg(long, value_name = "N", default_value_t = 15)]
    runs: usize,
    /// How many runs are handed to the sink.
    #[arg(long, value_name = "N", default_value_t = 4096)]
    accepted: usize,
    /// Used by this program itself: run a command and print what it took.
    #[arg(last = true, hide = true)]
    child: Vec<String>,
}

fn main() -> Result<()> {
    let options = Options::parse();
    if !options.child.is_empty() {
        return measure_child(&options.child);
    }
    let lab = Lab::start()?;
    let folder = lab.folder();
    let agent = Agent::configured(&folder.join("gatepost.toml"), &lab.agent_config(&folder.join("agent"), None))?;
    println!("medians of {} interleaved runs, whole processes", options.runs);
    audit(&lab, &agent, options.runs)?;
    let run = sample(&agent)?;
    link(&lab, options.runs)?;
    sink(&lab, &run, options.accepted)?;
    rules(&run)
}

/// What a whole process took.
#[derive(Clone, Copy)]
struct Took {
    wall: f64,
    cpu: f64,
    mebibytes: f64,
}

/// Runs the command as the only child of this process, whose resource usage is then the command's alone.
fn measure_child(words: &[String]) -> Result<()> {
    let (program, arguments) = words.split_first().context("no command")?;
    let began = Instant::now();
    Command::new(program).args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    let wall = began.elapsed().as_secs_f64();
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    let cpu = seconds(usage.user_time()) + seconds(usage.system_time());
    println!("{wall} {cpu} {}", usage.max_rss() as f64 / 1024.0);
    Ok(())
}

fn measure(words: &[String]) -> Result<Took> {
    let output = Command::new(std::env::current_exe()?).arg("--").args(words).output()?;
    let text = String::from_utf8(output.stdout)?;
    let numbers: Vec<f64> = text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    let [wall, cpu, mebibytes] = numbers.as_slice() else {
        anyhow::bail!("{words:?} was not measured: {}", String::from_utf8_lossy(&output.stderr))
    };
    Ok(Took { wall: *wall, cpu: *cpu, mebibytes: *mebibytes })
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// One `audit-baseline` beside one TLS handshake by openssl(1) with the same broker.
fn audit(lab: &Lab, agent: &Agent, runs: usize) -> Result<()> {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let path = |path: &Path| path.to_str().map(str::to_owned).context("a path is not UTF-8");
    let (binary, configuration) = (path(agent.binary())?, path(agent.configuration())?);
    let audit =
        words(&[&binary, "audit", "--bundle", "audit-baseline", "--format", "json", "--config", &configuration]);
    let pki = lab.pki();
    let (address, ca) = (lab.broker().tls_address().to_string(), path(&pki.ca)?);
    let (certificate, key) = (path(&pki.gateway.certificate)?, path(&pki.gateway.key)?);
    let handshake =
        words(&["openssl", "s_client", "-connect", &address, "-CAfile", &ca, "-cert", &certificate, "-key", &key]);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..=runs {
        let (a, b) = (measure(&audit)?, measure(&handshake)?);
        // The first round warms caches up.
        if round > 0 {
            ours.push(a);
            theirs.push(b);
        }
    }
    println!("\naudit-baseline (audit) beside openssl s_client (handshake)");
    let row = |name: &str, unit: &str, of: fn(&Took) -> f64| {
        let ratio = ours.iter().zip(&theirs).map(|(a, b)| of(a) / of(b)).collect();
        let (a, b) = (median(ours.iter().map(of).collect()), median(theirs.iter().map(of).collect()));
        println!("  {name:<12} audit {a:>8.1} {unit:<4} handshake {b:>8.1} {unit:<4} ratio {:.1}", median(ratio));
    };
    row("wall", "ms", |took| took.wall * 1e3);
    row("cpu", "ms", |took| took.cpu * 1e3);
    row("peak memory", "MiB", |took| took.mebibytes);
    Ok(())
}

/// Bytes of HTTP that hand over a run in which nothing changed, beside those for the first one.
fn link(lab: &Lab, runs: usize) -> Result<()> {
    println!("\nbytes of HTTP to hand over one run, TLS not counted");
    for bundle in ["audit-baseline", "field-self-audit"] {
        let sink = lab.start_plaintext_sink(&format!("link-{bundle}"))?;
        let relay = Relay::start(sink.address())?;
        let info = SinkInfo { url: format!("http://{}", relay.address()), ca_file: sink.info().ca_file.clone() };
        let configuration = lab.agent_config(&lab.folder().join(bundle), Some(&info));
        let agent = Agent::configured(&lab.folder().join(format!("{bundle}.toml")), &configuration)?;
        agent.enroll(&sink.enrolment_token()?)?.expect_code(0)?;
        relay.next()?;
        let mut sent = Vec::new();
        for _ in 0..=runs {
            agent.run(&["audit", "--bundle", bundle])?;
            agent.run(&["upload"])?.expect_code(0)?;
            sent.push(relay.next()?);
        }
        let first = sent.remove(0);
        let of = |bytes: fn(&Sent) -> usize| median(sent.iter().map(|sent| bytes(sent) as f64).collect());
        let (head, body) = (of(|sent| sent.head.len()), of(|sent| sent.body.len()));
        let ratio = of(Sent::bytes) / first.bytes() as f64;
        println!("  {bundle:<17} first {:>6}   unchanged {head:.0} + {body:.0}   ratio {ratio:.2}", first.bytes());
    }
    Ok(())
}

/// A run as the lab's gateway makes it.
fn sample(agent: &Agent) -> Result<Run> {
    let envelope = agent.run(&["show", "--envelope"])?.expect_code(0)?.stdout;
    let envelope = Envelope::parse(envelope.trim().as_bytes())?;
    let folder = agent.configuration().with_file_name("agent");
    let key = SigningKey::from_pem(&std::fs::read_to_string(folder.join("identity.pem"))?)?;
    Ok(VerifiedRun::open(&envelope, key.public())?.into_run())
}

/// The sink's whole path (HTTP, TLS, zstd, verify, chain, commit, receipt) beside its slowest parts alone.
fn sink(lab: &Lab, sample: &Run, count: usize) -> Result<()> {
    const GATEWAYS: u8 = 4;
    const BATCH: usize = 128;
    let sink = lab.start_sink("bench")?;
    let client = Client::new(&lab.pki().ca)?;
    let mut batches = Vec::new();
    let mut payload = Vec::new();
    for gateway in 0..GATEWAYS {
        let key = SigningKey::from_seed(&[gateway + 1; 32])?;
        enrol(&client, sink.url(), &key, sink.enrolment_token()?)?;
        let mut prev = None;
        let mut lines = Vec::new();
        for seq in 1..=(count / usize::from(GATEWAYS)) as u64 {
            let mut run = sample.clone();
            (run.seq, run.prev, run.gateway.id) = (seq, prev, key.public().id());
            let signed: SignedRun = run.sign(&key)?;
            prev = Some(signed.digest);
            lines.push(signed.envelope);
        }
        payload = canonical::to_vec(&sample)?;
        let bodies = lines.chunks(BATCH).map(|chunk| batch::encode(chunk.iter().map(String::as_str), None));
        batches.push(bodies.collect::<Result<Vec<_>, _>>()?);
    }
    let total: usize = (count / usize::from(GATEWAYS)) * usize::from(GATEWAYS);

    let began = Instant::now();
    std::thread::scope(|scope| {
        let uploads: Vec<_> =
            batches.iter().map(|bodies| scope.spawn(|| upload(&client, sink.url(), bodies))).collect();
        uploads.into_iter().try_for_each(|upload| upload.join().unwrap_or_else(|_| anyhow::bail!("an upload panicked")))
    })?;
    let accepted = total as f64 / began.elapsed().as_secs_f64();

    let envelope = payload.len() * 4 / 3 + 300;
    let synced = fdatasync(&lab.folder().join("fdatasync"), envelope)?;
    let verified = verifications(&payload)?;
    println!(
        "\nsink, {GATEWAYS} gateways at once, batches of {BATCH}, envelopes of {envelope} bytes, all on this machine"
    );
    println!("  accepted            {accepted:>9.0} runs/s");
    println!("  fdatasync alone     {synced:>9.0} /s   accepted beside it {:.2}", accepted / synced);
    println!("  Ed25519 verify alone{verified:>9.0} /s   accepted beside it {:.2}", accepted / verified);
    Ok(())
}

fn enrol(client: &Client, url: &str, key: &SigningKey, token: String) -> Result<()> {
    let enrolment = Enrolment {
        token,
        public_key: key.public().clone(),
        name: "bench".into(),
        labels: std::collections::BTreeMap::new(),
    };
    let body = Envelope::sign(ENROLMENT_TYPE, &canonical::to_vec(&enrolment)?, key).to_json();
    let answer = client.post(&format!("{url}{ENROL_PATH}"), None, &body)?;
    ensure!(answer.status == 200, "enrolment was answered with {}: {}", answer.status, answer.body);
    Ok(())
}

fn upload(client: &Client, url: &str, bodies: &[Encoded]) -> Result<()> {
    for body in bodies {
        let answer = client.upload(&format!("{url}{RUNS_PATH}"), body)?;
        ensure!(answer.status == 200, "an upload was answered with {}: {}", answer.status, answer.body);
        let answers: Answers = serde_json::from_str(&answer.body)?;
        ensure!(answers.answers.iter().all(|answer| matches!(answer, Answer::Accepted { .. })), "not all accepted");
    }
    Ok(())
}

/// How often something can be done in a second, over at least `for_` of doing it.
fn rate(for_: Duration, mut once: impl FnMut() -> Result<()>) -> Result<f64> {
    once()?;
    let began = Instant::now();
    let mut count = 0_u32;
    while began.elapsed() < for_ {
        once()?;
        count += 1;
    }
    Ok(f64::from(count) / began.elapsed().as_secs_f64())
}

fn fdatasync(path: &Path, bytes: usize) -> Result<f64> {
    let block = vec![b'x'; bytes];
    let mut file = File::create(path)?;
    rate(Duration::from_secs(2), || {
        file.write_all(&block)?;
        Ok(file.sync_data()?)
    })
}

fn verifications(payload: &[u8]) -> Result<f64> {
    let key = SigningKey::from_seed(&[9; 32])?;
    let message = pre_authentication_encoding(PAYLOAD_TYPE, payload);
    let signature = key.sign(&message);
    rate(Duration::from_secs(2), || {
        ensure!(key.public().verifies(&message, &signature), "the signature does not verify");
        Ok(())
    })
}

/// Judging beside parsing the same run from its JSON.
fn rules(sample: &Run) -> Result<()> {
    let pack = Pack::builtin();
    let key = SigningKey::from_seed(&[9; 32])?;
    let mut run = sample.clone();
    (run.gateway.id, run.seq, run.prev) = (key.public().id(), 1, None);
    let signed = run.sign(&key)?;
    let payload = Envelope::parse(signed.envelope.as_bytes())?.open(PAYLOAD_TYPE, key.public())?;
    let mut rows = 0;
    let judged = rate(Duration::from_secs(2), || {
        rows = assess(&run, signed.digest, &pack).rows.len();
        Ok(())
    })?;
    let parsed = rate(Duration::from_secs(2), || {
        serde_json::from_slice::<Statement>(&payload)?;
        Ok(())
    })?;
    println!("\nrules {} {}, {rows} rows a run, one core", pack.reference().name, pack.reference().version);
    println!("  assessments         {judged:>9.0} /s");
    println!("  parsing alone       {parsed:>9.0} /s   assessments beside it {:.2}", judged / parsed);
    Ok(())
}
