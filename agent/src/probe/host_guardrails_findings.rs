//! Each snapshot in `fixtures/hosts` gives exactly its findings by the pack that ships: the hardened one none, the broken one
//! nearly all there are, and the hostile one reasons instead of facts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use gatepost_evidence::id::{Digest, GatewayId};
use gatepost_evidence::run::{Agent, BundleRef, Clock, Gateway, Host, Record, Run, Stage, Status};
use gatepost_rules::assess::{Outcome, Row, assess};
use gatepost_rules::pack::Pack;

use super::*;
use crate::probe::host::tests::{config, fixture};

/// All rows of the check on `observation`, had it been made on 1 November 2026.
fn rows(observation: &Observation) -> Vec<Row> {
    let at: jiff::Timestamp = "2026-11-01T10:00:00Z".parse().unwrap();
    let record = Record {
        check: Check::CHECK.into(),
        contract: Check::VERSION,
        target: Target::new(TargetKind::Host, "host"),
        status: Status::Observed,
        detail: None,
        observed_at: at,
        duration_ms: 1,
        observation: Some(serde_json::to_value(observation).unwrap()),
    };
    let run = Run {
        gateway: Gateway { id: GatewayId::new(Digest::of(b"g")), name: "g".into(), labels: BTreeMap::new() },
        seq: 1,
        prev: None,
        stage: Stage::Audit,
        bundle: BundleRef { name: "field-self-audit".into(), version: "1.0.0".into() },
        agent: Agent { version: "0.1.0".into() },
        host: Host { os: None, kernel: None, architecture: "aarch64".into(), model: None },
        clock: Clock { boot_id: None, uptime_ms: 1, synchronised: Some(true), source: None, sink_time: None },
        started_at: at,
        finished_at: at,
        records: vec![record],
    };
    assess(&run, Digest::of(b"p"), &Pack::builtin()).rows
}

fn with(outcome: Outcome, rows: &[Row]) -> Vec<String> {
    let short = |row: &Row| {
        let key = row.key.strip_prefix("host_guardrails.").unwrap_or(&row.key);
        match row.subject.strip_prefix("host/") {
            Some(item) => format!("{key}[{item}]"),
            None => key.to_owned(),
        }
    };
    rows.iter().filter(|row| row.outcome == outcome).map(short).collect()
}

fn look(name: &str) -> Vec<Row> {
    let mut config = config(&fixture(name));
    config.host.allowed_ports = vec!["tcp/22".into(), "tcp/8883".into()];
    config.host.expected_programs = BTreeMap::from([("tcp/8883".into(), "mosquitto".into())]);
    rows(&see(&config))
}

#[test]
fn the_hardened_host_has_no_findings() {
    let rows = look("hardened");
    assert_eq!(with(Outcome::Fail, &rows), [""; 0]);
    assert_eq!(with(Outcome::Unknown, &rows), [""; 0]);
}

#[test]
fn the_broken_host_has_every_finding_but_those_of_a_raspberry_pi() {
    let rows = look("broken");
    let found: BTreeSet<_> = with(Outcome::Fail, &rows).into_iter().collect();
    let text = std::fs::read_to_string(fixture("broken").join("findings.txt")).unwrap();
    let expected: BTreeSet<_> = text.lines().map(str::to_owned).collect();
    assert_eq!(found, expected, "{}", found.iter().cloned().collect::<Vec<_>>().join("\n"));
    let keys: BTreeSet<_> = rows.iter().map(|row| row.key.clone()).collect();
    let failed: BTreeSet<_> =
        rows.iter().filter(|row| row.outcome == Outcome::Fail).map(|row| row.key.clone()).collect();
    let silent: Vec<_> = keys.difference(&failed).map(|key| key.replace("host_guardrails.", "")).collect();
    assert_eq!(silent, SILENT, "controls that have nothing to say of it");
}

/// What cannot be wrong as well: the other way to fail of the same thing, and what only a Raspberry Pi has.
const SILENT: [&str; 13] = [
    "automatic_updates_stalled",
    "boot_not_signed",
    "bootloader_old",
    "clock_without_battery",
    "firewall_accepts_everything",
    "firewall_missing",
    "hot",
    "listener_of_another_program",
    "no_time_service",
    "power_supply_weak",
    "throttled",
    "under_voltage",
    "watchdog_not_armed",
];

#[test]
fn a_raspberry_pi_without_privileges_has_its_findings_and_says_what_it_needs() {
    let rows = look("raspberry-pi-5");
    let text = std::fs::read_to_string(fixture("raspberry-pi-5").join("findings.txt")).unwrap();
    let found = with(Outcome::Fail, &rows);
    assert_eq!(found, text.lines().collect::<Vec<_>>(), "{}", found.join("\n"));
    let reason = |key: &str| {
        let row = rows.iter().find(|row| row.key == format!("host_guardrails.{key}")).unwrap();
        assert_eq!(row.outcome, Outcome::Unknown, "{key}");
        row.reason.clone().unwrap()
    };
    assert!(reason("firewall_missing").ends_with("; needs CAP_NET_ADMIN"), "{}", reason("firewall_missing"));
}

/// Bounded in time and in what is kept, and every topic says what happened to it.
#[test]
fn the_hostile_host_gives_reasons() {
    let began = Instant::now();
    let rows = look("hostile");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    let unknown: BTreeMap<_, _> = rows
        .iter()
        .filter(|row| row.outcome == Outcome::Unknown)
        .map(|row| (row.key.replace("host_guardrails.", ""), row.reason.clone().unwrap_or_default()))
        .collect();
    for (key, words) in [
        ("ssh_root_login", "within each other"),
        ("sudo_without_password", "within each other"),
        ("firewall_missing", "a rule of a chain that it does not print"),
        ("unit_failed", "has not ended after 5 s"),
        ("storage_nearly_full", "storage: "),
        ("unexpected_listener", "line 2 is no socket"),
        ("package_held", "too large"),
        ("boot_parameter_weakens", "too large"),
        ("core_dumps_written", "Permission denied"),
        ("card_worn", "Permission denied"),
        ("boot_not_signed", "bytes, not 4"),
        ("hot", "no zone tells its temperature"),
        ("throttled", "is not a number"),
        // Where they are, an unreadable configuration does not say.
        ("container_privileged", "/etc/docker/daemon.json: recursion limit"),
    ] {
        let reason = unknown.get(key).unwrap_or_else(|| panic!("{key} is known"));
        assert!(reason.contains(words), "{key}: {reason}");
    }
    let bytes = serde_json::to_vec(&see(&config(&fixture("hostile")))).unwrap().len();
    assert!(bytes < 40_000, "{bytes} bytes of evidence about nothing");
}

/// A file that is longer with every look, one that changes its kind, and processes that come and go, while it is looked at.
#[test]
fn what_changes_while_it_is_read_costs_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let place = |path: &str| {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    };
    let (passwd, sshd) = (place("etc/passwd"), place("etc/ssh/sshd_config"));
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut turn = 0_u32;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                turn += 1;
                let many = "a:x:1:1:::/bin/sh\n".repeat(usize::try_from(turn % 2000).unwrap());
                let _ = std::fs::write(&passwd, many);
                let _ = std::fs::remove_file(&sshd);
                let _ = if turn.is_multiple_of(2) {
                    nix::unistd::mkfifo(&sshd, nix::sys::stat::Mode::S_IRWXU).map_err(std::io::Error::from)
                } else {
                    std::fs::write(&sshd, "PermitRootLogin no\n")
                };
                let process = folder.path().join(format!("proc/{}", turn % 50));
                let _ = std::fs::create_dir_all(&process);
                let _ = std::fs::write(process.join("comm"), "sshd\n");
                let _ = std::fs::remove_dir_all(folder.path().join(format!("proc/{}", (turn + 25) % 50)));
            }
        });
        let began = Instant::now();
        for _ in 0..20 {
            let observation = see(&config(folder.path()));
            assert!(serde_json::to_vec(&observation).unwrap().len() < 200_000);
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    });
}

#[test]
fn every_file_that_is_read_may_be_a_folder_or_hold_100_megabytes() {
    let files = |root: &Path| {
        let mut found = Vec::new();
        let mut folders = vec![root.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap().flatten() {
                let kind = entry.file_type().unwrap();
                if kind.is_dir() {
                    folders.push(entry.path());
                } else if kind.is_file() {
                    found.push(entry.path());
                }
            }
        }
        found
    };
    let hardened = fixture("hardened");
    for huge in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        for file in files(&hardened) {
            let place = folder.path().join(file.strip_prefix(&hardened).unwrap());
            if huge {
                std::fs::create_dir_all(place.parent().unwrap()).unwrap();
                std::fs::File::create(&place).unwrap().set_len(100 * 1024 * 1024).unwrap();
            } else {
                std::fs::create_dir_all(&place).unwrap();
            }
        }
        let began = Instant::now();
        let rows = rows(&see(&config(folder.path())));
        assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
        let failed = with(Outcome::Fail, &rows);
        // What is not there is a fact of its own; nothing else may be made up.
        assert!(failed.len() < 8, "{huge}: {failed:?}");
    }
}
