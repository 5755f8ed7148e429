//! The survey of a TLS listener beside scanners that others wrote, on the same Mosquitto.

use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use gatepost_tests::agreement::scanners::{Scanner, agent, survey};
use gatepost_tests::lab::Lab;
use gatepost_tests::process::LIMIT;

use crate::measure::{Took, measure, median};

/// All of them take turns; each row's ratio is ours beside theirs, round by round. What ours does beside the survey (the pack, the
/// other checks of the bundle, signing, storing, judging) is in its figures.
pub fn beside(lab: &Lab, runs: usize) -> Result<()> {
    let folder = lab.folder().join("survey");
    std::fs::create_dir_all(&folder)?;
    let address = lab.broker().tls_address();
    agent(address, &folder)?;
    let (seen, facts) = survey(address, &folder)?;
    let scanners = [Scanner::Probe, Scanner::Sslscan, Scanner::Sslyze, Scanner::Testssl];
    let commands = scanners.map(|scanner| scanner.words(address, &folder));
    let commands: Vec<Vec<String>> = commands.into_iter().collect::<Result<_>>()?;
    let mut took: Vec<Vec<Took>> = vec![Vec::new(); commands.len()];
    let mut counted = vec![0; commands.len()];
    for round in 0..=runs {
        for (index, words) in commands.iter().enumerate() {
            // testssl.sh takes most of a minute: its median of three will do.
            if scanners[index] == Scanner::Testssl && round > 3 {
                continue;
            }
            // It would not write over the file of the round before.
            if let Some(file) = words.iter().find(|word| word.ends_with(".json") && Path::new(word).exists()) {
                std::fs::remove_file(file)?;
            }
            let before = connections(lab)?;
            let one = measure(words).with_context(|| scanners[index].name())?;
            // Less the one that asked.
            counted[index] = connections(lab)? - before - 1;
            // The first round warms caches up.
            if round > 0 {
                took[index].push(one);
            }
        }
    }
    let count = serde_json::to_value(&facts)?.pointer("/tls").and_then(|tls| Some(tls.as_object()?.len())).unwrap_or(0);
    println!(
        "\nthe survey of TLS beside scanners, same Mosquitto, medians; {count} facts under /tls, {} connections",
        seen.connections
    );
    println!("  {:<12} {:>10} {:>10} {:>12} {:>14}", "", "wall ms", "CPU ms", "memory MiB", "connections");
    for (index, scanner) in scanners.iter().enumerate() {
        let of = |of: fn(&Took) -> f64| median(took[index].iter().map(of).collect());
        let (wall, cpu) = (of(|took| took.wall * 1e3), of(|took| took.cpu * 1e3));
        let memory = of(|took| took.mebibytes);
        println!("  {:<12} {wall:>10.1} {cpu:>10.1} {memory:>12.1} {:>14}", scanner.name(), counted[index]);
        if index > 0 {
            let ratio = |of: fn(&Took) -> f64| {
                median(took[0].iter().zip(&took[index]).map(|(ours, theirs)| of(ours) / of(theirs)).collect())
            };
            println!(
                "  {:<12} {:>10.2} {:>10.2} {:>12.2}",
                "  ours beside",
                ratio(|took| took.wall),
                ratio(|took| took.cpu),
                ratio(|took| took.mebibytes)
            );
        }
    }
    Ok(())
}

/// How many connections the broker has taken, refused handshakes among them, by its log, which comes a moment later: one more connection tells when it is there.
fn connections(lab: &Lab) -> Result<usize> {
    let last = TcpStream::connect(lab.broker().tls_address())?;
    let line = format!("New connection from {} on port", last.local_addr()?);
    let deadline = Instant::now() + LIMIT;
    while Instant::now() < deadline {
        let log = lab.broker().log();
        if log.contains(&line) {
            return Ok(log.lines().filter(|line| line.contains("onnection from ")).count());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    bail!("the broker's log does not tell of {line}")
}
