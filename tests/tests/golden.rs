//! The golden vectors are what the evidence crate makes today, byte for byte, and it judges them as their names say.
//! `GATEPOST_BLESS=1 cargo test -p gatepost-tests --test golden` rewrites them; then the format has changed for everybody.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use gatepost_evidence::chain::{Known, Link, link};
use gatepost_evidence::envelope::Envelope;
use gatepost_evidence::key::PublicKey;
use gatepost_evidence::receipt::Receipt;
use gatepost_evidence::verify::{VerifiedRun, VerifyError};
use gatepost_tests::golden::{self, CHAIN, RUNS, TAMPERED, TAMPERED_RECEIPT};

fn envelope(name: &str) -> Result<Envelope, VerifyError> {
    Ok(Envelope::parse(&fs::read(FOLDER.join(name)).unwrap())?)
}

fn key(name: &str) -> PublicKey {
    PublicKey::from_pem(&fs::read_to_string(FOLDER.join(name)).unwrap()).unwrap()
}

fn open(name: &str) -> Result<VerifiedRun, VerifyError> {
    VerifiedRun::open(&envelope(name)?, &key("gateway.pub.pem"))
}

/// The folder, after it was rewritten if that is wanted.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = golden::folder();
    if std::env::var_os("GATEPOST_BLESS").is_some() {
        for (name, text) in golden::files().unwrap() {
            let file = folder.join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, text).unwrap();
        }
    }
    folder
});

#[test]
fn golden_files_are_up_to_date() {
    let files = golden::files().unwrap();
    for (name, text) in &files {
        let found = fs::read_to_string(FOLDER.join(name)).unwrap_or_default();
        assert!(found == *text, "{name} is not what is made today: the evidence format has changed for every reader");
    }
    let mut found = BTreeSet::new();
    list(&FOLDER, "", &mut found);
    assert!(found.remove("README.md"), "the golden files are not explained");
    // Those are compared in tests/bundle.rs.
    found.retain(|name| !name.starts_with("bundles/"));
    assert_eq!(found, files.into_keys().collect(), "files that nobody makes, or the other way round");
}

fn list(folder: &Path, before: &str, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{before}{}", entry.file_name().to_str().unwrap());
        match entry.file_type().unwrap().is_dir() {
            true => list(&entry.path(), &format!("{name}/"), names),
            false => drop(names.insert(name)),
        }
    }
}

#[test]
fn good_runs_open() {
    for name in RUNS {
        assert_eq!(open(name).unwrap().run().seq, 1, "{name}");
    }
}

#[test]
fn the_chain_holds() {
    let mut known = Known { head: None, at_seq: None, before: None };
    for (name, seq) in CHAIN.iter().zip(1..) {
        let run = open(name).unwrap();
        assert_eq!(run.run().seq, seq);
        assert_eq!(link(seq, run.digest(), run.run().prev, known), Link::Continues);
        known = Known { head: Some((seq, run.digest())), at_seq: None, before: Some(run.digest()) };
    }
}

#[test]
fn tampered_runs_are_refused_for_their_own_reason() {
    for (name, reason) in TAMPERED {
        assert_eq!(open(name).unwrap_err().reason(), *reason, "{name}");
    }
}

#[test]
fn the_receipt_speaks_of_the_run() {
    let run = open("run.json").unwrap();
    let receipt = Receipt::open(&envelope("receipt.json").unwrap(), &key("sink.pub.pem")).unwrap();
    assert_eq!((receipt.digest, receipt.seq), (run.digest(), run.run().seq));
    let (name, reason) = TAMPERED_RECEIPT;
    let refused = Receipt::open(&envelope(name).unwrap(), &key("sink.pub.pem")).unwrap_err();
    assert_eq!(refused.reason(), reason);
}
