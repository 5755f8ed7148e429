//! Evidence bundles: two verifiers agree on every golden one, no byte of one can be changed without being seen, and what the
//! real agent and the real sink export holds. `GATEPOST_BLESS=1` rewrites the golden ones.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use anyhow::{Context as _, Result};
use gatepost_evidence::archive::{self, MAX_BYTES};
use gatepost_evidence::bundle::{MANIFEST, Manifest};
use gatepost_evidence::id::Digest;
use gatepost_rules::replay::{Trust, replay};
use gatepost_tests::agent::{Agent, Finished, run};
use gatepost_tests::bundles::{self, BAD, FLIPPED, GOOD, HISTORY};
use gatepost_tests::golden;
use gatepost_tests::lab::Lab;
use gatepost_tests::process::{built, command};
use gatepost_tests::python::Verifier;
use gatepost_tests::spool::OpenSpool;

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = bundles::folder();
    if std::env::var_os("GATEPOST_BLESS").is_some() {
        fs::create_dir_all(&folder).unwrap();
        for (name, bytes) in bundles::bundles().unwrap() {
            fs::write(folder.join(name), bytes).unwrap();
        }
    }
    folder
});

fn file(name: &str) -> PathBuf {
    FOLDER.join(format!("{name}.tar.zst"))
}

fn verify(options: &[&str], bundle: &Path) -> Result<Finished> {
    let mut command = command(&built("gatepost")?);
    command.arg("verify").arg(bundle).args(options);
    run(command, Duration::from_secs(30))
}

fn python(options: &[&str], bundle: &Path) -> Result<Finished> {
    Verifier::ready()?.verify_bundle(options, bundle)
}

/// The first reason that the Python verifier gave.
fn python_reason(finished: &Finished) -> Option<&str> {
    let line =
        finished.stdout.lines().find_map(|line| line.strip_prefix("broken: ").or(line.strip_prefix("not a bundle: ")));
    line.and_then(|line| line.split(':').next())
}

#[test]
fn golden_bundles_are_up_to_date() {
    let made = bundles::bundles().unwrap();
    for (name, bytes) in &made {
        let found = fs::read(FOLDER.join(name)).unwrap_or_default();
        // Another version of zstd may compress otherwise; what is inside may not differ.
        let same =
            found == *bytes || archive::decompress(&found).is_ok_and(|tar| Ok(tar) == archive::decompress(bytes));
        assert!(same, "{name} is not what is made today: the format has changed for every reader");
    }
    let found: BTreeSet<_> =
        fs::read_dir(&*FOLDER).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(found, made.into_keys().collect(), "files that nobody makes, or the other way round");
}

#[test]
fn two_verifiers_agree_on_every_golden_bundle() -> Result<()> {
    for name in GOOD {
        let report = verify(&["--format", "json"], &file(name))?.expect_code(0)?.json()?;
        assert_eq!((&report["holds"], &report["reason"]), (&true.into(), &serde_json::Value::Null), "{report:#}");
        let other = python(&[], &file(name))?.expect_code(0)?;
        assert!(other.stdout.contains("3 verdicts came out the same"), "{other:?}");
        assert!(!other.stdout.contains("not judged"), "{other:?}");
    }
    for (name, words) in HISTORY {
        for text in [verify(&[], &file(name))?.stdout, python(&[], &file(name))?.stdout] {
            let said: Vec<_> = text.lines().filter(|line| line.contains("one history")).collect();
            let expected = if words.is_empty() { 0 } else { 1 };
            assert!(said.len() == expected && said.iter().all(|said| said.contains(words)), "{name}: {said:?}");
        }
    }
    for (name, code, reason) in BAD {
        let report = verify(&["--format", "json"], &file(name))?.expect_code(*code).context(*name)?.json()?;
        assert_eq!(report["reason"], *reason, "{name}: {report:#}");
        let other = python(&[], &file(name))?;
        assert_eq!((other.code, python_reason(&other)), (Some(*code), Some(*reason)), "{name}: {other:?}");
    }
    Ok(())
}

#[test]
fn keys_that_the_auditor_knows_come_before_those_inside() -> Result<()> {
    let golden = golden::folder();
    let (gateway, sink) = (golden.join("gateway.pub.pem"), golden.join("sink.pub.pem"));
    let (gateway, sink) = (gateway.to_str().unwrap(), sink.to_str().unwrap());
    for verify in [verify, python] {
        verify(&["--gateway-key", gateway, "--sink-key", sink], &file("agent"))?.expect_code(0)?;
        for wrong in [["--gateway-key", sink], ["--sink-key", gateway], ["--gateway", &"0".repeat(64)]] {
            let refused = verify(&wrong, &file("agent"))?.expect_code(1)?;
            assert!(refused.stdout.contains("unknown_key"), "{refused:?}");
        }
    }
    let text = verify(&[], &file("agent"))?.expect_code(0)?.stdout;
    assert!(text.contains("compare it out of band") && text.contains("not checked  keys:"), "{text}");
    let text = verify(&["--gateway-key", gateway, "--sink-key", sink], &file("sink"))?.expect_code(0)?.stdout;
    assert!(!text.contains("out of band") && text.contains("3 verdicts came out the same"), "{text}");
    let gone = verify(&[], Path::new("no-such-bundle"))?.expect_code(2)?;
    assert!(gone.stderr.contains("cannot read"), "{gone:?}");
    Ok(())
}

/// A whole replay for each byte of manifest and seal, and for some of each other file: those all go the way of a digest that
/// the manifest does not have, which is looked at for every byte.
#[test]
fn every_flipped_byte_of_the_archive_is_caught() {
    for name in FLIPPED {
        let good = bundles::good(name).unwrap();
        let tar = archive::pack(&good).unwrap();
        assert!(replay(&archive::unpack(&tar).unwrap(), &Trust::default()).holds);
        let manifest: Manifest = serde_json::from_slice(&good[MANIFEST]).unwrap();
        for at in 0..tar.len() {
            let mut flipped = tar.clone();
            flipped[at] ^= 1 << (at % 8);
            // Headers, padding and the end: there is only one way to write them.
            let Ok(files) = archive::unpack(&flipped) else { continue };
            let listed = manifest.files.iter().find(|entry| files.get(&entry.path) != good.get(&entry.path));
            if let Some(entry) = listed {
                assert_ne!(files.get(&entry.path).map(|content| Digest::of(content)), Some(entry.sha256));
            }
            if listed.is_none() || at % 61 == 0 {
                assert!(!replay(&files, &Trust::default()).holds, "{name}: byte {at} can be changed unseen");
            }
        }
    }
}

/// Compression is not signed, and need not be: a flip there is refused, or the archive inside is the same to the last byte.
#[test]
fn every_flipped_bit_of_the_compressed_bundle_is_caught_or_has_no_effect() {
    for name in FLIPPED {
        let good = fs::read(file(name)).unwrap();
        let tar = archive::decompress(&good).unwrap();
        let mut without_effect = Vec::new();
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut flipped = good.clone();
                flipped[at] ^= 1 << bit;
                match archive::decompress(&flipped) {
                    Err(_) => {}
                    Ok(found) if found == tar => without_effect.push((at, bit)),
                    Ok(found) => {
                        assert!(found.len() <= MAX_BYTES);
                        let holds = archive::unpack(&found).is_ok_and(|files| replay(&files, &Trust::default()).holds);
                        assert!(!holds, "{name}: bit {bit} of byte {at} can be changed unseen");
                    }
                }
            }
        }
        // Few and far between: an unused bit of the frame's header, and matches that copy the same bytes from elsewhere.
        assert!(without_effect.len() < 64, "{name}: {without_effect:?}");
    }
}

#[test]
fn what_the_agent_and_the_sink_export_holds() -> Result<()> {
    let lab = Lab::start()?;
    let sink = lab.start_sink("sink")?;
    let state = lab.folder().join("gateway");
    let agent = Agent::configured(&lab.folder().join("gateway.conf"), &lab.agent_config(&state, Some(sink.info())))?;
    agent.enroll(&sink.enrolment_token()?)?.expect_code(0)?;
    for bundle in ["certificate-hygiene", "audit-baseline"] {
        agent.run(&["audit", "--bundle", bundle, "--fail-on", "critical"])?;
        agent.run(&["upload"])?.expect_code(0)?;
    }
    // One that the sink does not have.
    agent.run(&["audit", "--bundle", "certificate-hygiene"])?;
    let gateway = agent.status()?["gateway"].as_str().context("no id")?.to_owned();
    let (by_agent, by_sink) = (lab.folder().join("agent.tar.zst"), lab.folder().join("sink.tar.zst"));
    agent.run(&["export", "--output", by_agent.to_str().unwrap()])?.expect_code(0)?;
    let mut export = command(&built("gatepost-sink")?);
    export.args(["export", "--gateway", &gateway, "--data"]).arg(sink.data()).arg("--output").arg(&by_sink);
    run(export, Duration::from_secs(30))?.expect_code(0)?;
    for (bundle, runs) in [(&by_agent, 3), (&by_sink, 2)] {
        let text = verify(&["--gateway", &gateway], bundle)?.expect_code(0)?.stdout;
        for part in [
            format!("{runs} runs are signed by the gateway"),
            format!("1 to {runs} follow each other"),
            "the sink signed for 2 runs".to_owned(),
            "2 runs are in the sink's log".to_owned(),
            format!("{runs} verdicts came out the same"),
        ] {
            assert!(text.contains(&part), "{part} is missing in\n{text}");
        }
        python(&["--gateway", &gateway], bundle)?.expect_code(0)?;
    }
    let text = verify(&[], &by_agent)?.expect_code(0)?.stdout;
    assert!(text.contains("2 checkpoints are one history"), "{text}");
    // A file that is there is not replaced; part of a chain says that it is one.
    agent.run(&["export", "--output", by_agent.to_str().unwrap()])?.expect_code(2)?;
    let part = lab.folder().join("part.tar.zst");
    agent.run(&["export", "--from", "2", "--to", "2", "--output", part.to_str().unwrap()])?.expect_code(0)?;
    let text = verify(&[], &part)?.expect_code(0)?.stdout;
    assert!(text.contains("not checked  chain: what came before 2"), "{text}");
    // The proofs that its checkpoints are one history got lost: an auditor is told.
    OpenSpool::open(&state)?.forget_proofs()?;
    let unlinked = lab.folder().join("unlinked.tar.zst");
    agent.run(&["export", "--output", unlinked.to_str().unwrap()])?.expect_code(0)?;
    let text = verify(&["--gateway", &gateway], &unlinked)?.expect_code(0)?.stdout;
    assert!(text.contains("not checked  log: whether 2 checkpoints are one history: they are 2"), "{text}");
    python(&["--gateway", &gateway], &unlinked)?.expect_code(0)?;
    Ok(())
}
