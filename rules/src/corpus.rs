//! The corpus of `fixtures/certificates`: each certificate gives exactly its facts, and each defect exactly its findings.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use gatepost_evidence::certificate::shared::{Modulus, share_a_prime};
use gatepost_evidence::check::broker_certificate_identity::{CertificateFile, Check, FileMode, Observation};
use gatepost_evidence::check::{Contract as _, normalise};
use gatepost_evidence::look::{Bytes, Look};
use gatepost_evidence::run::TargetKind;
use serde::Deserialize;
use serde_json::Value;

use crate::assess::{Outcome, assess};
use crate::pack::Pack;
use crate::samples::{record, run};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sample {
    name: String,
    what: String,
    /// Controls that must fail, without the check's name; no others may.
    findings: BTreeSet<String>,
    /// Facts that make it what it is, by JSON pointer; null for one that is absent.
    facts: BTreeMap<String, Value>,
    #[serde(default = "yes")]
    anchors: bool,
    #[serde(default = "usual_name")]
    dialled: String,
    crl: Option<String>,
}

fn yes() -> bool {
    true
}

fn usual_name() -> String {
    "broker.example".into()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/certificates")
}

fn samples() -> Vec<Sample> {
    let samples: Vec<Sample> = serde_json::from_slice(&std::fs::read(folder().join("samples.json")).unwrap()).unwrap();
    assert!(samples.len() >= 120, "{}", samples.len());
    samples
}

/// The sections of a PEM file, whatever they hold.
fn pem(name: &str) -> Vec<Vec<u8>> {
    let text = std::fs::read_to_string(folder().join(name)).unwrap();
    let mut sections = Vec::new();
    for section in text.split("-----BEGIN ").skip(1) {
        let (_, body) = section.split_once("-----\n").unwrap();
        let (body, _) = body.split_once("-----END").unwrap();
        let bytes: Bytes = serde_json::from_value(Value::String(body.split_whitespace().collect())).unwrap();
        sections.push(bytes.0);
    }
    sections
}

fn bytes(name: &str) -> Vec<Bytes> {
    pem(name).into_iter().map(Bytes).collect()
}

fn observe(sample: &Sample) -> Observation {
    let chain = bytes(&format!("{}.pem", sample.name));
    // On disk lies what is served, and the key that belongs to it as far as that can be told.
    let key = gatepost_evidence::certificate::public_key(&chain[0].0);
    let mode = |mode: &str| Look::Seen(FileMode { path: "/f".into(), mode: mode.into(), uid: 0, gid: 0 });
    Observation {
        address: "192.0.2.7:8883".into(),
        server_name: sample.dialled.clone(),
        anchors: sample.anchors.then(|| Look::Seen(bytes("anchors.pem"))),
        file: key.map(|_| Look::Seen(CertificateFile { path: "/f".into(), chain: chain.clone() })),
        key_file: Some(mode("0640")).filter(|_| key.is_some()),
        refusal: None,
        possession: Some(true),
        staple: Some(Bytes(Vec::new())),
        crls: sample.crl.as_deref().map(|name| Look::Seen(bytes(name))),
        file_mode: key.map(|_| mode("0644")),
        key_fingerprint: key.map(Look::Seen),
        chain,
    }
}

/// Every value below `value`, by JSON pointer; a list is one value.
fn flatten(value: &Value, place: String, into: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| flatten(value, format!("{place}/{name}"), into));
        }
        other => drop(into.insert(place, other.clone())),
    }
}

fn facts(sample: &Sample) -> BTreeMap<String, Value> {
    let run = run(vec![record(Check::CHECK, TargetKind::Broker, "broker", &observe(sample))]);
    let mut facts = BTreeMap::new();
    flatten(&normalise(&run, &run.records[0]).unwrap().facts, String::new(), &mut facts);
    // Of no two certificates the same.
    for volatile in ["/certificate/fingerprint", "/certificate/key_fingerprint", "/certificate/serial"] {
        facts.remove(volatile);
    }
    facts
}

/// What is another in `facts` than in `good`; null where it is absent.
fn difference(good: &BTreeMap<String, Value>, facts: &BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    let places: BTreeSet<&String> = good.keys().chain(facts.keys()).collect();
    let differing = places.into_iter().filter(|place| good.get(*place) != facts.get(*place));
    differing.map(|place| (place.clone(), facts.get(place).cloned().unwrap_or(Value::Null))).collect()
}

#[test]
fn each_certificate_gives_exactly_its_facts() {
    let samples = samples();
    let good = facts(&samples[0]);
    assert_eq!(samples[0].name, "good");
    let mut all = BTreeMap::new();
    let mut wrong = Vec::new();
    for sample in &samples {
        let found = difference(&good, &facts(sample));
        for (place, value) in &sample.facts {
            if found.get(place) != Some(value) {
                wrong.push(format!("{}: {place} should be {value}, is {:?}", sample.name, found.get(place)));
            }
        }
        all.insert(sample.name.clone(), found);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let file = folder().join("facts.json");
    let lines: Vec<String> = all
        .iter()
        .map(|(name, facts)| format!("{}: {}", Value::from(name.as_str()), serde_json::to_string(facts).unwrap()))
        .collect();
    let text = format!("{{\n{}\n}}\n", lines.join(",\n"));
    if std::env::var_os("GATEPOST_BLESS").is_some() {
        std::fs::write(&file, &text).unwrap();
    }
    let expected: BTreeMap<String, BTreeMap<String, Value>> =
        serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    for (name, found) in &all {
        assert_eq!(expected.get(name), Some(found), "{name}: look at the change after a run with GATEPOST_BLESS=1");
    }
    assert_eq!(expected.len(), all.len());
}

#[test]
fn each_defect_gives_exactly_its_findings() {
    let pack = Pack::builtin();
    let mut wrong = Vec::new();
    let mut proven = BTreeSet::new();
    for sample in samples() {
        let run = run(vec![record(Check::CHECK, TargetKind::Broker, "broker", &observe(&sample))]);
        let assessment = assess(&run, gatepost_evidence::id::Digest::of(b"run"), &pack);
        let failed = assessment.rows.iter().filter(|row| row.outcome == Outcome::Fail);
        let found: BTreeSet<String> = failed.map(|row| row.key.rsplit_once('.').unwrap().1.to_owned()).collect();
        if found != sample.findings {
            wrong.push(format!("{} ({}): {found:?}, not {:?}", sample.name, sample.what, sample.findings));
        }
        proven.extend(found);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // What a chain alone does not show has its own tests: the listener, the files, and what is stapled.
    let elsewhere = [
        "certificate_file_writable",
        "key_file_open_to_others",
        "next_load_fails",
        "no_certificate_served",
        "served_differs_from_file",
        "staple_unusable",
        "stapled_revocation",
    ];
    let controls =
        pack.controls().iter().filter_map(|control| control.key.strip_prefix("broker_certificate_identity."));
    let missing: Vec<_> = controls.filter(|key| !proven.contains(*key) && !elsewhere.contains(key)).collect();
    assert!(missing.is_empty(), "no certificate of the corpus for {missing:?}");
}

#[test]
fn the_two_that_share_a_prime_are_found_among_all() {
    let samples = samples();
    let names: Vec<String> = samples.iter().map(|sample| sample.name.clone()).collect();
    let moduli: Vec<(String, Modulus)> = names
        .into_iter()
        .filter_map(|name| Some((name.clone(), Modulus::of_certificate(&pem(&format!("{name}.pem"))[0])?)))
        .collect();
    let (names, moduli): (Vec<String>, Vec<Modulus>) = moduli.into_iter().unzip();
    let groups: Vec<Vec<&str>> =
        share_a_prime(&moduli).iter().map(|group| group.iter().map(|at| names[*at].as_str()).collect()).collect();
    // The damaged keys were made with one pair of primes, and so share them with each other.
    assert!(groups.iter().any(|group| *group == ["shared-prime-a", "shared-prime-b"]), "{groups:?}");
    assert!(groups.iter().flatten().all(|name| !name.starts_with("good")), "{groups:?}");
}
