//! Tombstones: taken in like runs, kept as they came, part of the log and of bundles, and never in contradiction to runs.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Field, Sink, State};
use gatepost_evidence::archive;
use gatepost_evidence::checkpoint::{Checkpoint, LogProof};
use gatepost_evidence::envelope::Envelope;
use gatepost_evidence::id::Digest;
use gatepost_evidence::key::SigningKey;
use gatepost_evidence::receipt::Receipt;
use gatepost_evidence::tombstone::{Cause, PAYLOAD_TYPE, Tombstone};
use gatepost_evidence::wire::{Answer, Answers};
use gatepost_rules::replay::{Report, Trust, replay};

fn reason(answer: &Answer) -> &str {
    match answer {
        Answer::Rejected { reason, .. } => reason,
        Answer::Accepted { .. } => "accepted",
        Answer::Duplicate { .. } => "duplicate",
    }
}

fn reasons(answers: &[Answer]) -> Vec<&str> {
    answers.iter().map(reason).collect()
}

fn signed(stone: &Tombstone, key: &SigningKey) -> String {
    stone.sign(key).unwrap().to_json()
}

fn digest(line: &str, key: &SigningKey) -> Digest {
    Digest::of(&Envelope::parse(line.as_bytes()).unwrap().open(PAYLOAD_TYPE, key.public()).unwrap())
}

/// What an auditor makes of the bundle that the sink exports.
fn audit(sink: &Sink, field: &Field) -> Report {
    use clap::Parser as _;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bundle.tar.zst");
    let (data, id) = (sink.folder.path().to_str().unwrap(), field.id().to_string());
    let command = ["gatepost-sink", "export", "--data", data, "--gateway", &id, "--output", file.to_str().unwrap()];
    gatepost_sink::cli::run(gatepost_sink::cli::Cli::parse_from(command)).unwrap();
    replay(&archive::read(&std::fs::read(file).unwrap()).unwrap(), &Trust::default())
}

#[test]
fn a_tombstone_is_taken_like_a_run() {
    let sink = Sink::start();
    let mut field = Field::enrolled(1, &sink);
    let runs = field.runs(&[State::Hardened; 6]);
    let line = signed(&field.tombstone(&runs, 3, 5, Cause::NoRoom), &field.key);
    let key = sink.running().app().key.public().clone();
    // The tombstone comes first, though its place is behind those of runs that come, too.
    let lines: Vec<_> =
        [line.clone(), runs[0].envelope.clone(), runs[1].envelope.clone(), runs[5].envelope.clone()].into();
    let answers: Answers = serde_json::from_slice(&sink.upload_lines(&lines).body).unwrap();
    assert_eq!(reasons(&answers.answers), ["accepted"; 4]);
    let Answer::Accepted { digest: named, receipt, index, inclusion } = &answers.answers[0] else { unreachable!() };
    assert_eq!(*named, digest(&line, &field.key));
    let opened = Receipt::open(receipt, &key).unwrap();
    assert_eq!((opened.gateway, opened.seq, opened.digest), (field.id(), 5, *named), "its last place");
    let checkpoint = Checkpoint::open(&answers.checkpoint, &key).unwrap();
    assert_eq!((checkpoint.size(), *index), (4, 0), "a leaf like any other");
    inclusion.verify(&checkpoint.root(), *index, *named).unwrap();
    let proof = sink.get_with(&format!("/v1/log/inclusion?digest={named}"), &[]);
    let proof: LogProof = serde_json::from_slice(&proof.body).unwrap();
    assert_eq!(proof.verify(*named, &key).unwrap(), checkpoint);

    let again = sink.upload_lines(std::slice::from_ref(&line)).answers();
    let Answer::Duplicate { digest: same, receipt: same_receipt, .. } = &again[0] else { panic!("{again:?}") };
    assert_eq!((same, same_receipt), (named, receipt), "the same word again");
    let kept = sink.get(&field.path(&format!("/tombstones/{named}/envelope")));
    assert_eq!(kept.text(), line, "kept byte for byte");
    let listed = sink.get(&field.path("/tombstones")).json();
    let listed = &listed["tombstones"][0];
    assert_eq!((&listed["from"], &listed["to"], &listed["runs"]), (&3.into(), &5.into(), &3.into()));
    assert_eq!(listed["cause"], "no_room");
    let links = sink.get(&field.path("/runs")).json();
    let links: Vec<_> = links["runs"].as_array().unwrap().iter().map(|run| run["link"].clone()).collect();
    assert_eq!(links, ["continues"; 3], "what a tombstone stands for is not missing");
    let report = audit(&sink, &field);
    assert!(report.holds, "{report:#?}");
}

#[test]
fn what_is_no_tombstone_of_an_enrolled_gateway_is_quarantined() {
    let sink = Sink::start();
    let mut field = Field::enrolled(1, &sink);
    let other = Field::enrolled(2, &sink);
    let runs = field.runs(&[State::Hardened; 4]);
    let good = field.tombstone(&runs, 2, 3, Cause::TooOld);
    let mut altered = Envelope::parse(signed(&good, &field.key).as_bytes()).unwrap();
    altered.payload.replace_range(8..12, "AAAA");
    let lines = [
        altered.to_json(),
        signed(&good, &SigningKey::from_seed(&[9; 32]).unwrap()),
        signed(&good, &other.key),
        signed(&Tombstone { count: Some(9), ..good.clone() }, &field.key),
        Envelope::sign(PAYLOAD_TYPE, b"{}", &field.key).to_json(),
        signed(&Tombstone { digest: None, ..good.clone() }, &field.key),
        signed(&good, &field.key),
    ];
    let answers = sink.upload_lines(&lines).answers();
    let wrong = ["bad_signature", "unknown_key", "malformed", "malformed", "malformed", "malformed", "accepted"];
    assert_eq!(reasons(&answers), wrong);
    let kept = sink.get(&field.path("")).json();
    assert_eq!(kept["quarantined"].as_array().unwrap().len(), 3, "what it signed itself is kept as evidence: {kept}");
    assert_eq!(sink.get(&field.path("/tombstones")).json()["tombstones"].as_array().unwrap().len(), 1);
}

#[test]
fn a_tombstone_that_names_other_runs_is_a_fork_and_so_is_a_run_that_it_does_not_name() {
    let sink = Sink::start();
    let mut field = Field::enrolled(1, &sink);
    let runs = field.runs(&[State::Hardened; 9]);
    sink.accept(&[runs[0].clone(), runs[1].clone(), runs[4].clone()]);
    let good = field.tombstone(&runs, 3, 4, Cause::NoRoom);
    let other = Some(Digest::of(b"another run"));
    let folded = Tombstone { digest: other, ..field.tombstone(&runs, 1, 2, Cause::NoRoom) };
    let lines = [
        signed(&Tombstone { prev: other, ..good.clone() }, &field.key),
        signed(&Tombstone { last_digest: other, ..good.clone() }, &field.key),
        signed(&Tombstone { first_digest: other, ..field.tombstone(&runs, 2, 4, Cause::NoRoom) }, &field.key),
        signed(&folded, &field.key),
        signed(&good, &field.key),
        signed(&Tombstone { first_digest: other, ..good.clone() }, &field.key),
    ];
    let answers = sink.upload_lines(&lines).answers();
    assert_eq!(reasons(&answers), ["fork", "fork", "fork", "fork", "accepted", "fork"]);
    let Answer::Rejected { detail, .. } = &answers[0] else { unreachable!() };
    assert!(detail.contains("tombstone of runs 3 to 4") && detail.contains("two machines"), "{detail}");

    // A clone that goes on in another way, behind a tombstone: nobody has the run before.
    let later = field.tombstone(&runs, 6, 7, Cause::NoRoom);
    let mut forged = field.next(State::Exposed);
    (forged.seq, forged.prev) = (8, Some(Digest::of(b"another run")));
    let forged = forged.sign(&field.key).unwrap().envelope;
    let mut within = field.next(State::Exposed);
    (within.seq, within.prev) = (6, Some(runs[4].digest));
    let within = within.sign(&field.key).unwrap().envelope;
    let lines = [signed(&later, &field.key), forged, within, runs[7].envelope.clone(), runs[5].envelope.clone()];
    assert_eq!(reasons(&sink.upload_lines(&lines).answers()), ["accepted", "fork", "fork", "accepted", "accepted"]);
    let report = audit(&sink, &field);
    assert!(report.holds, "{report:#?}");
}

#[test]
fn a_tombstone_that_has_grown_is_another_one_and_runs_that_came_all_the_same_count() {
    let sink = Sink::start();
    let mut field = Field::enrolled(1, &sink);
    let runs = field.runs(&[State::Hardened; 8]);
    let first = signed(&field.tombstone(&runs, 1, 2, Cause::TooOld), &field.key);
    let grown = signed(&field.tombstone(&runs, 1, 5, Cause::TooOld), &field.key);
    assert_eq!(reasons(&sink.upload_lines(&[first]).answers()), ["accepted"]);
    // Its answer was lost: the gateway buried run 4, and the sink has it.
    assert_eq!(reasons(&sink.upload(&runs[3..4])), ["accepted"]);
    assert_eq!(reasons(&sink.upload_lines(&[grown]).answers()), ["accepted"]);
    sink.accept(&runs[5..]);
    assert_eq!(sink.get(&field.path("/tombstones")).json()["tombstones"].as_array().unwrap().len(), 2);
    assert_eq!(sink.get(&field.path("/runs/4/envelope")).text(), runs[3].envelope);
    let report = audit(&sink, &field);
    assert!(report.holds, "{report:#?}");
    let manifest = report.manifest.unwrap();
    assert_eq!((manifest.first_seq, manifest.last_seq), (1, 8));
}

#[test]
fn after_damage_the_chain_goes_on_from_the_tombstone_though_the_sink_has_the_runs() {
    let sink = Sink::start();
    let mut field = Field::enrolled(1, &sink);
    let runs = field.runs(&[State::Hardened; 5]);
    sink.accept(&runs);
    // The gateway lost runs 4 and 5, and does not know any more what they were, nor how many.
    let unknown = Tombstone {
        count: None,
        digest: None,
        first_digest: None,
        last_digest: None,
        cause: Cause::Damaged,
        ..field.tombstone(&runs, 4, 5, Cause::Damaged)
    };
    let far = Tombstone { to_seq: 1_772_000_000, ..unknown.clone() };
    let near = Tombstone { count: Some(2), ..unknown };
    let after = |stone: &Tombstone| {
        let mut run = field.next(State::Hardened);
        (run.seq, run.prev) = (stone.to_seq + 1, Some(stone.link().unwrap()));
        run.sign(&field.key).unwrap().envelope
    };
    let lines = [signed(&near, &field.key), after(&near), signed(&far, &field.key), after(&far)];
    assert_eq!(reasons(&sink.upload_lines(&lines).answers()), ["accepted"; 4]);
    // The same range twice: the bundle has the one from which the chain goes on.
    let newer = Tombstone { at: "2026-03-03T08:00:00Z".parse().unwrap(), ..near };
    assert_eq!(reasons(&sink.upload_lines(&[signed(&newer, &field.key)]).answers()), ["accepted"]);
    let report = audit(&sink, &field);
    assert!(report.holds, "{report:#?}");
}

#[test]
fn tombstones_outlive_the_process() {
    let mut sink = Sink::start();
    let mut field = Field::enrolled(1, &sink);
    let runs = field.runs(&[State::Hardened; 3]);
    let line = signed(&field.tombstone(&runs, 1, 2, Cause::NoRoom), &field.key);
    assert_eq!(reasons(&sink.upload_lines(std::slice::from_ref(&line)).answers()), ["accepted"]);
    sink.stop();
    sink.open();
    assert_eq!(reasons(&sink.upload_lines(&[line]).answers()), ["duplicate"]);
    sink.accept(&runs[2..]);
}
