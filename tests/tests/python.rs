//! A verifier that nobody here wrote agrees: Python's `securesystemslib` and `rfc8785` accept what we sign and refuse what
//! was tampered with, each for its own reason.
//!
//! The first time this makes a virtual environment in `target/python`, which needs the package index.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::path::{Path, PathBuf};

use gatepost_tests::agent::Finished;
use gatepost_tests::golden::{self, CHAIN, RUNS, TAMPERED, TAMPERED_RECEIPT};
use gatepost_tests::python::Verifier;

/// What the verifier says of golden files.
fn verify(key: &str, options: &[&str], names: &[&str]) -> Finished {
    let files: Vec<PathBuf> = names.iter().map(|name| golden::folder().join(name)).collect();
    let files: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
    Verifier::ready().unwrap().verify(&golden::folder().join(key), options, &files).unwrap()
}

fn accepted(finished: &Finished, count: usize) {
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_eq!(finished.stdout.matches(": good: ").count(), count, "{finished:?}");
}

fn refused(finished: &Finished, reason: &str) {
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stdout.contains(&format!(": rejected: {reason}: ")), "{reason} expected: {finished:?}");
}

#[test]
fn python_accepts_what_we_sign() {
    accepted(&verify("gateway.pub.pem", &[], RUNS), RUNS.len());
    accepted(&verify("gateway.pub.pem", &["--chain"], CHAIN), CHAIN.len());
    accepted(&verify("sink.pub.pem", &["--receipt"], &["receipt.json"]), 1);
}

#[test]
fn python_refuses_what_was_tampered_with() {
    for (name, reason) in TAMPERED {
        refused(&verify("gateway.pub.pem", &[], &[name]), reason);
    }
    let (name, reason) = TAMPERED_RECEIPT;
    refused(&verify("sink.pub.pem", &["--receipt"], &[name]), reason);
}

#[test]
fn python_refuses_what_is_in_the_wrong_place() {
    refused(&verify("sink.pub.pem", &[], &["run.json"]), "unknown_key");
    refused(&verify("gateway.pub.pem", &[], &["receipt.json"]), "payload_type");
    refused(&verify("gateway.pub.pem", &["--chain"], &["chain-2.json", "chain-1.json"]), "chain");
    refused(&verify("gateway.pub.pem", &["--chain"], &["chain-1.json", "chain-3.json"]), "chain");
    refused(&verify("gateway.pub.pem", &[], &["run.json", TAMPERED[0].0]), TAMPERED[0].1);
}
