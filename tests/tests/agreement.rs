//! The probe's survey of TLS beside scanners that nobody here wrote, on the same servers, fact by fact.
//!
//! The ordinary run takes the fast servers and `sslscan`. `cargo xtask agreement` runs the one that is ignored here, on every
//! server and with every scanner, and has it write `docs/agreement.md`.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result};
use gatepost_tests::agreement::Facts;
use gatepost_tests::agreement::certificates::HEADING;
use gatepost_tests::agreement::scanners::{Scanner, survey};
use gatepost_tests::agreement::servers::{Keys, SERVERS, Server};
use gatepost_tests::agreement::table::{Table, explained};

/// How many servers are looked at side by side: scanners mostly wait.
const AT_ONCE: usize = 8;

fn compare(servers: &[&Server], scanners: &[Scanner]) -> Result<Table> {
    let folder = tempfile::tempdir()?;
    let keys = Keys::make(&folder.path().join("keys"))?;
    let next = AtomicUsize::new(0);
    let look = || -> Result<Vec<(usize, BTreeMap<Scanner, Facts>)>> {
        let mut seen = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(server) = servers.get(index) else { return Ok(seen) };
            let running = server.start(&keys)?;
            let mut told = BTreeMap::new();
            for scanner in scanners {
                let facts = scanner.look(running.address, folder.path());
                told.insert(*scanner, facts.with_context(|| server.name)?);
            }
            seen.push((index, told));
        }
    };
    let mut all = std::thread::scope(|scope| -> Result<Vec<_>> {
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(look)).collect();
        let seen: Vec<_> = workers.into_iter().map(|worker| worker.join().unwrap()).collect::<Result<_>>()?;
        Ok(seen.concat())
    })?;
    all.sort_by_key(|(index, _)| *index);
    let mut table = Table::default();
    all.into_iter().for_each(|(index, told)| table.add(servers[index].name, told));
    Ok(table)
}

/// Every disagreement is explained; what is not is told.
fn settled(table: &Table) {
    let open: Vec<_> = table.disagreements().into_iter().filter(|found| explained(found).is_none()).collect();
    let mut words = String::new();
    for found in &open {
        let (scanner, difference) = (found.scanner.name(), found.difference());
        let _ = writeln!(words, "{}: {}: probe {}, {scanner} {difference}", found.server, found.fact, found.ours);
    }
    assert!(open.is_empty(), "{} disagreements without an explanation:\n{words}", open.len());
}

#[test]
fn the_probe_and_sslscan_see_the_same() -> Result<()> {
    let table =
        compare(&SERVERS.iter().filter(|server| server.fast).collect::<Vec<_>>(), &[Scanner::Probe, Scanner::Sslscan])?;
    println!("{}", table.markdown());
    settled(&table);
    assert!(table.compared() > 40, "{} facts were compared", table.compared());
    Ok(())
}

#[test]
fn a_stock_mosquitto_is_surveyed_in_few_connections() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let keys = Keys::make(&folder.path().join("keys"))?;
    let running = SERVERS[0].start(&keys)?;
    let (survey, facts) = survey(running.address, folder.path())?;
    assert!(survey.connections <= 60 && survey.connections <= survey.connection_limit, "{}", survey.connections);
    let tls = facts.tls.unwrap();
    assert_eq!((tls.ssl3, tls.tls10, tls.tls11), (Some(false), Some(false), Some(false)));
    assert_eq!((facts.tls12, facts.tls13), (Some(true), Some(true)));
    for none in [tls.null_suites, tls.anonymous_suites, tls.rc4_suites, tls.static_key_suites, tls.weak_groups] {
        assert_eq!(none.as_deref(), Some(&[][..]));
    }
    assert_eq!((tls.secure_renegotiation, tls.compression, tls.fallback_scsv), (Some(true), Some(false), Some(true)));
    Ok(())
}

#[test]
#[ignore = "takes some minutes: cargo xtask agreement"]
fn the_probe_and_three_scanners_see_the_same_of_every_server() -> Result<()> {
    // testssl.sh takes minutes for each server on a busy machine.
    let without = std::env::var("GATEPOST_WITHOUT").unwrap_or_default();
    let mut all = vec![Scanner::Probe, Scanner::Sslscan, Scanner::Testssl, Scanner::Sslyze];
    all.retain(|scanner| scanner.name() != without);
    let table = compare(&SERVERS.iter().collect::<Vec<_>>(), &all)?;
    println!("{}", table.markdown());
    if std::env::var_os("GATEPOST_BLESS").is_some() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/agreement.md");
        // What stands behind it is another test's.
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let behind = text.split_once(HEADING).map_or(String::new(), |(_, behind)| format!("\n{HEADING}{behind}"));
        std::fs::write(file, document(&table, &all) + &behind)?;
    }
    settled(&table);
    assert!(table.compared() > 600, "only {} facts were compared: a scanner tells less than it did", table.compared());
    Ok(())
}

fn document(table: &Table, scanners: &[Scanner]) -> String {
    let names: Vec<_> = scanners.iter().skip(1).map(|scanner| format!("`{}`", scanner.name())).collect();
    let disagreements = table.disagreements();
    let mut text = format!(
        "# Agreement with other scanners\n\n\
         What the probe of `broker_transport_posture` and scanners that nobody here wrote tell of the same servers: {}.\n\
         Written by `cargo xtask agreement`, which leaves out the scanner that `GATEPOST_WITHOUT` names (`testssl.sh` takes\n\
         minutes for each server).\n\n\
         {} servers, {} facts that at least one of them tells beside the probe, {} told differently. Of sets of suites and\n\
         groups the size is shown; where they differ, in bold, what the other has more (`+`) and less (`-`) than the probe.\n\
         An empty cell is a fact that this scanner was not asked for or does not tell.\n\n## Differences\n\n",
        names.join(", "),
        SERVERS.len(),
        table.compared(),
        disagreements.len()
    );
    let mut reasons: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for found in &disagreements {
        let reason = explained(found).unwrap_or("NOT EXPLAINED");
        let place = format!("{} ({}, {})", found.server, found.fact, found.scanner.name());
        reasons.entry(reason).or_default().push(place);
    }
    for (reason, places) in reasons {
        let _ = writeln!(text, "- {reason}\n  {}.", places.join("; "));
    }
    let _ = write!(text, "\n## Everything\n\n{}", table.markdown());
    text
}
