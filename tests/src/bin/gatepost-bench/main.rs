//! Measurements, always as ratios to something measured in the same run, because machines differ and drift.
//!
//! What an audit costs beside bare TLS handshakes with the same broker, and its survey of TLS beside scanners; what a look at
//! this machine costs beside lynis and ssh-audit; what a run in which nothing changed costs on the link and on the disk; how
//! fast the spool takes runs beside what the disk allows; how long the sink needs for what a hundred gateways kept through three
//! days of outage, beside its parts alone; how fast a bundle is verified beside its signatures alone; how fast runs are judged
//! beside merely parsing them. Commands under comparison take turns. Nothing is asserted.

mod audit;
mod chain;
mod drain;
mod host;
mod measure;
mod rules;
mod spool;
mod survey;
mod verify;

use anyhow::{Result, ensure};
use clap::Parser;
use gatepost_evidence::envelope::Envelope;
use gatepost_evidence::key::SigningKey;
use gatepost_evidence::run::Run;
use gatepost_evidence::verify::VerifiedRun;
use gatepost_tests::agent::Agent;
use gatepost_tests::lab::Lab;

/// What can be measured, in the order in which it is.
const SUBJECTS: [&str; 8] = ["audit", "survey", "host", "link", "spool", "drain", "verify", "rules"];

/// Measures agent, sink and rules on the lab.
#[derive(Parser)]
#[command(name = "gatepost-bench", max_term_width = 110)]
struct Options {
    /// How often each command is run.
    #[arg(long, value_name = "N", default_value_t = 15)]
    runs: usize,
    /// How many rounds of the measurements that take seconds are made.
    #[arg(long, value_name = "N", default_value_t = 5)]
    rounds: usize,
    /// How many gateways hand over what they kept.
    #[arg(long, value_name = "N", default_value_t = 100)]
    gateways: usize,
    /// Only this: audit, survey, host, link, spool, drain, verify, rules; may be given several times.
    #[arg(long, value_name = "SUBJECT")]
    only: Vec<String>,
    /// Used by this program itself: run a command and print what it took.
    #[arg(last = true, hide = true)]
    child: Vec<String>,
}

fn main() -> Result<()> {
    let options = Options::parse();
    if !options.child.is_empty() {
        return measure::measure_child(&options.child);
    }
    let unknown: Vec<_> = options.only.iter().filter(|subject| !SUBJECTS.contains(&subject.as_str())).collect();
    ensure!(unknown.is_empty(), "{unknown:?} cannot be measured; there are {SUBJECTS:?}");
    let wanted = |subject: &str| options.only.is_empty() || options.only.iter().any(|only| only == subject);
    let lab = Lab::start()?;
    let folder = lab.folder();
    let agent = Agent::configured(&folder.join("gatepost.toml"), &lab.agent_config(&folder.join("agent"), None))?;
    if wanted("audit") {
        println!("medians of {} interleaved runs, whole processes", options.runs);
        audit::audit(&lab, &agent, options.runs)?;
    }
    if wanted("survey") {
        survey::beside(&lab, options.runs)?;
    }
    if wanted("host") {
        host::beside(&lab, options.runs)?;
    }
    if wanted("link") {
        audit::link(&lab, options.runs)?;
    }
    // What the rest is made of: a run of the largest bundle.
    agent.run(&["audit", "--bundle", "field-self-audit"])?;
    let run = sample(&agent)?;
    if wanted("spool") {
        spool::spool(&lab, &run, options.rounds)?;
    }
    if wanted("drain") {
        drain::drain(&lab, &run, options.gateways, options.rounds)?;
    }
    if wanted("verify") {
        verify::verify(&run, options.rounds)?;
    }
    if wanted("rules") {
        rules::rules(&run)?;
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
