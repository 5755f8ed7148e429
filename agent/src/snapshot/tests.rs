//! A snapshot of this very machine, and of machines made of files: the same facts, and nothing that is secret.

use std::path::Path;
use std::process::Command;

use gatepost_evidence::check::host_guardrails::{Check, Facts};
use gatepost_evidence::check::{Contract as _, Seen, Unknown};

use super::*;
use crate::probe::host::tests::config;

fn facts(observation: &Observation) -> (Facts, Unknown) {
    let seen = Seen { at: "2026-11-01T10:00:00Z".parse().unwrap(), distrust: None };
    let mut unknown = Unknown::default();
    let facts = Check::normalise(observation, &seen, &mut unknown);
    (facts, unknown)
}

/// Where two values differ, in words; the whole would fill the screen.
fn differences(a: &serde_json::Value, b: &serde_json::Value, place: &str, found: &mut Vec<String>) {
    use serde_json::Value;
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            let names: std::collections::BTreeSet<_> = a.keys().chain(b.keys()).collect();
            for name in names {
                let get = |of: &serde_json::Map<String, Value>| of.get(name).cloned().unwrap_or_default();
                differences(&get(a), &get(b), &format!("{place}/{name}"), found);
            }
        }
        (a, b) if a == b => {}
        (a, b) => found.push(format!("{place}: {a} and then {b}")),
    }
}

fn assert_same(a: &Observation, b: &Observation, what: &str) {
    let mut found = Vec::new();
    let value = |one: &Observation| serde_json::to_value(one).unwrap();
    differences(&value(a), &value(b), "", &mut found);
    assert!(found.is_empty(), "{what}: {found:#?}");
    assert_eq!(facts(a), facts(b), "{what}");
}

fn audited(folder: &Path) -> Observation {
    see_at(&Root::new(folder), &config(folder))
}

/// Everything, unknown facts with their reasons included: the snapshot is audited as the machine was while it was made.
#[test]
fn a_snapshot_of_this_machine_has_the_facts_of_this_machine() {
    let snapshot = take(&config(Path::new("/"))).unwrap();
    let folder = tempfile::tempdir().unwrap();
    snapshot.write_folder(&folder.path().join("snapshot")).unwrap();
    let again = audited(&folder.path().join("snapshot"));
    // Facts, reasons, and what they follow from.
    assert_same(&snapshot.observation, &again, "this machine");
}

#[test]
fn an_archive_is_what_the_folder_is_to_tar() {
    let snapshot = take(&config(Path::new("/"))).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("gateway.tar.zst");
    snapshot.write_archive(&archive).unwrap();
    assert!(snapshot.write_archive(&archive).is_err(), "what is there is not replaced");
    let tar = zstd::stream::decode_all(std::fs::File::open(&archive).unwrap()).unwrap();
    std::fs::write(folder.path().join("plain.tar"), tar).unwrap();
    let unpacked = folder.path().join("unpacked");
    std::fs::create_dir(&unpacked).unwrap();
    let tar = Command::new("tar").arg("-xf").arg(folder.path().join("plain.tar")).arg("-C").arg(&unpacked).status();
    assert!(tar.unwrap().success());
    assert_same(&snapshot.observation, &audited(&unpacked), "unpacked");
}

#[test]
fn a_snapshot_of_a_snapshot_is_the_same() {
    // Not of `hostile`: links of a snapshot that form a circle are not taken into another one.
    for name in ["hardened", "broken", "raspberry-pi-5", "debian12-server"] {
        let root = crate::probe::host::tests::fixture(name);
        let first = take(&config(&root)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        first.write_folder(folder.path()).unwrap();
        assert_same(&first.observation, &audited(folder.path()), name);
        assert_same(&first.observation, &audited(&root), "recording changes nothing");
    }
}
