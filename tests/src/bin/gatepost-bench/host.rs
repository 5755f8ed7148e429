//! What a look at this machine costs beside lynis and ssh-audit, and what the whole `field-self-audit` does.

use std::path::Path;

use anyhow::{Context as _, Result};
use gatepost_tests::agent::Agent;
use gatepost_tests::lab::Lab;
use gatepost_tests::port::Port;
use gatepost_tests::process::{LIMIT, Program, command, installed};
use serde_json::Value;

use crate::measure::{Took, measure, median};

/// lynis takes the better part of a minute: its median of three will do.
const ROUNDS_OF_LYNIS: usize = 3;

/// All take turns; each row's ratio is ours beside theirs, round by round. Our figures have the pack, signing, storing and judging
/// in them.
pub fn beside(lab: &Lab, runs: usize) -> Result<()> {
    let folder = lab.folder().join("host");
    std::fs::create_dir_all(&folder)?;
    let (state, report) = (folder.join("state"), folder.join("lynis.dat"));
    let agent = Agent::configured(&folder.join("gatepost.toml"), &format!("[state]\ndirectory = {state:?}\n"))?;
    let (_sshd, port) = sshd(&folder)?;
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let path = |path: &Path| path.to_str().map(str::to_owned).context("a path is not UTF-8");
    let audit = |agent: &Agent, bundle: &str| -> Result<Vec<String>> {
        let (binary, file) = (path(agent.binary())?, path(agent.configuration())?);
        Ok(words(&[&binary, "audit", "--bundle", bundle, "--format", "json", "--config", &file]))
    };
    let lynis = path(&installed("lynis", "lynis")?)?;
    let lynis = words(&[
        &lynis,
        "audit",
        "system",
        "--quick",
        "--quiet",
        "--no-colors",
        "--no-log",
        "--report-file",
        &path(&report)?,
    ]);
    let ssh_audit = path(&installed("ssh-audit", "ssh-audit")?)?;
    let ssh_audit = words(&[&ssh_audit, "-n", "-p", &port.address().port().to_string(), "127.0.0.1"]);
    let commands = [("host-hardening", audit(&agent, "host-hardening")?), ("lynis", lynis), ("ssh-audit", ssh_audit)];
    let mut took: Vec<Vec<Took>> = vec![Vec::new(); commands.len()];
    for round in 0..=runs {
        for (index, (name, words)) in commands.iter().enumerate() {
            if *name == "lynis" && round > ROUNDS_OF_LYNIS {
                continue;
            }
            let one = measure(words).with_context(|| (*name).to_owned())?;
            // The first round warms caches up.
            if round > 0 {
                took[index].push(one);
            }
        }
    }
    let shown = agent.run(&["show", "--format", "json"])?.expect_code(0)?.json()?;
    let rows = shown["rows"].as_array().map_or(0, Vec::len);
    let known = shown["rows"].as_array().into_iter().flatten().filter(|row| row["outcome"] != "unknown").count();
    let tests = std::fs::read_to_string(&report).unwrap_or_default();
    let tests = tests.lines().find_map(|line| line.strip_prefix("tests_executed=")).unwrap_or_default();
    let tests = tests.split('|').filter(|id| !id.is_empty()).count();
    println!(
        "\nthis machine beside lynis and ssh-audit, medians; {rows} rows judged, {known} of them known; lynis makes {tests} tests"
    );
    print(&commands.each_ref().map(|(name, _)| *name), &took);

    let whole = Agent::configured(&folder.join("whole.toml"), &lab.agent_config(&folder.join("whole"), None))?;
    let whole_words = audit(&whole, "field-self-audit")?;
    let mut took = Vec::new();
    for round in 0..=runs {
        let one = measure(&whole_words)?;
        if round > 0 {
            took.push(one);
        }
    }
    println!("\nfield-self-audit on the lab, medians");
    print(&["field-self-audit"], &[took]);
    let envelope = whole.run(&["show", "--envelope"])?.expect_code(0)?.json()?;
    let payload: gatepost_evidence::look::Bytes = serde_json::from_value(envelope["payload"].clone())?;
    let statement: Value = serde_json::from_slice(&payload.0)?;
    for record in statement["predicate"]["records"].as_array().into_iter().flatten() {
        println!(
            "  {:<48} {:>7} ms",
            format!("{}[{}]", record["check"], record["target"]["name"]).replace('"', ""),
            record["duration_ms"]
        );
    }
    Ok(())
}

fn print(names: &[&str], took: &[Vec<Took>]) {
    println!("  {:<16} {:>10} {:>10} {:>12}", "", "wall ms", "CPU ms", "memory MiB");
    for (index, name) in names.iter().enumerate() {
        let of = |of: fn(&Took) -> f64| median(took[index].iter().map(of).collect());
        let (wall, cpu, memory) = (of(|took| took.wall * 1e3), of(|took| took.cpu * 1e3), of(|took| took.mebibytes));
        println!("  {name:<16} {wall:>10.1} {cpu:>10.1} {memory:>12.1}");
        if index > 0 {
            let ratio = |of: fn(&Took) -> f64| {
                median(took[index].iter().zip(&took[0]).map(|(theirs, ours)| of(theirs) / of(ours)).collect())
            };
            let (wall, cpu) = (ratio(|took| took.wall), ratio(|took| took.cpu));
            println!("  {:<16} {wall:>10.2} {cpu:>10.2} {:>12.2}", "  times ours", ratio(|took| took.mebibytes));
        }
    }
}

/// An SSH server with this machine's configuration and a key of its own.
fn sshd(folder: &Path) -> Result<(Program, Port)> {
    let key = folder.join("key");
    let mut keygen = command(&installed("ssh-keygen", "openssh-client")?);
    keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key);
    gatepost_tests::agent::run(keygen, LIMIT)?.expect_code(0)?;
    std::fs::create_dir_all("/run/sshd")?;
    let (port, sshd) = (Port::reserve()?, installed("sshd", "openssh-server")?);
    let mut serve = command(&sshd);
    serve.args(["-D", "-e", "-f", "/etc/ssh/sshd_config", "-h"]).arg(&key);
    serve.args(["-o", &format!("ListenAddress={}", port.address()), "-o", "PidFile=none"]);
    let mut server = Program::start_command(&sshd, serve)?;
    server.wait_until("it listens", LIMIT, |lines| lines.iter().any(|line| line.contains("Server listening on")))?;
    Ok((server, port))
}
