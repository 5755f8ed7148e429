//! The transparency log as a gateway and an auditor see it: everything accepted is in it, for good, and a sink whose past
//! was changed cannot hide that from whoever kept one checkpoint.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod common;

use std::path::Path;

use common::{Field, Reply, Sink, State};
use gatepost_evidence::batch::{self, Encoded};
use gatepost_evidence::bound::RequestName;
use gatepost_evidence::checkpoint::{Checkpoint, LogProof};
use gatepost_evidence::id::Digest;
use gatepost_evidence::key::PublicKey;
use gatepost_evidence::log::{ConsistencyProof, LogError};
use gatepost_evidence::run::SignedRun;
use gatepost_evidence::wire::{ANSWER_HEADER, Answer, Answers, LOG_SIZE_HEADER, LogConsistency, REQUEST_HEADER};
use rusqlite::Connection;

fn key(sink: &Sink) -> PublicKey {
    sink.running().app().key.public().clone()
}

/// Uploads as a gateway that saw a log of `seen` leaves.
fn upload_since(sink: &Sink, seen: u64, runs: &[SignedRun]) -> Reply {
    let Encoded { encoding, body } = batch::encode(runs.iter().map(|run| run.envelope.as_str()), None).unwrap();
    let seen = seen.to_string();
    let headers =
        [("content-type", batch::CONTENT_TYPE), ("content-encoding", encoding), (LOG_SIZE_HEADER, seen.as_str())];
    sink.post_with("/v1/runs", &headers, &body)
}

fn answers(reply: &Reply) -> Answers {
    assert_eq!(reply.status, 200, "{}", reply.text());
    serde_json::from_slice(&reply.body).unwrap()
}

/// What a gateway that trusts nobody checks; gives the new checkpoint and each run's leaf.
fn believed(
    key: &PublicKey,
    known: Option<&Checkpoint>,
    answers: &Answers,
) -> Result<(Checkpoint, Vec<u64>), LogError> {
    let checkpoint = Checkpoint::open(&answers.checkpoint, key).unwrap();
    if let Some(known) = known {
        answers.consistency.verify(&known.root(), &checkpoint.root())?;
    }
    let indices = answers.answers.iter().map(|answer| {
        let (Answer::Accepted { digest, index, inclusion, .. } | Answer::Duplicate { digest, index, inclusion, .. }) =
            answer
        else {
            panic!("{answer:?}")
        };
        inclusion.verify(&checkpoint.root(), *index, *digest).map(|()| *index)
    });
    let indices = indices.collect::<Result<_, _>>()?;
    Ok((checkpoint, indices))
}

/// Uploads to a sink and sees whether it signed the answer for the request of this name.
fn is_bound(sink: &Sink, name: &str, headers: &[(&str, &str)], body: &[u8]) -> (u16, Option<bool>) {
    let headers = [&[("content-type", batch::CONTENT_TYPE), (REQUEST_HEADER, name)], headers].concat();
    let reply = sink.post_with("/v1/runs", &headers, body);
    let signature = reply.headers.get(ANSWER_HEADER);
    let answered = |signature: &String| {
        let name = RequestName::parse(name).unwrap();
        name.is_answered(reply.status, &reply.body, signature, &key(sink))
    };
    (reply.status, signature.map(answered))
}

#[test]
fn every_answer_to_an_upload_is_signed_for_its_request() {
    let sink = Sink::start();
    let mut field = Field::enrolled(1, &sink);
    let runs = field.runs(&[State::Hardened; 2]);
    let Encoded { encoding, body } = batch::encode(runs.iter().map(|run| run.envelope.as_str()), None).unwrap();
    let coded = ("content-encoding", encoding);
    let names = ["00112233445566778899aabbccddeeff", "ffeeddccbbaa99887766554433221100"];
    for (name, headers, body, status) in [
        (names[0], &[coded][..], body.as_slice(), 200),
        (names[1], &[coded], &body, 200),
        (names[1], &[coded, (LOG_SIZE_HEADER, "9")], &body, 409),
        (names[1], &[coded, (LOG_SIZE_HEADER, "x")], &body, 400),
        (names[1], &[("content-encoding", "br")], &body, 415),
        (names[1], &[coded], b"nonsense", 400),
    ] {
        assert_eq!(is_bound(&sink, name, headers, body), (status, Some(true)));
    }
    // Without a name, or with one that is none, nobody could tell which it is for.
    for name in ["", "00", "00112233445566778899AABBCCDDEEFF"] {
        assert_eq!(is_bound(&sink, name, &[coded], &body), (200, None));
    }
    let reply = sink.get_with("/v1/log/checkpoint", &[(REQUEST_HEADER, names[0])]);
    assert!(!reply.headers.contains_key(ANSWER_HEADER));
}

fn newest(sink: &Sink) -> Checkpoint {
    let reply = sink.get_with("/v1/log/checkpoint", &[]);
    assert_eq!((reply.status, reply.headers["content-type"].as_str()), (200, "text/plain; charset=utf-8"));
    Checkpoint::open(&reply.text(), &key(sink)).unwrap()
}

/// Changes the database while the sink is down.
fn behind_its_back(sink: &mut Sink, change: impl FnOnce(&Connection)) {
    sink.stop();
    let connection = Connection::open(sink.folder.path().join("sink.db")).unwrap();
    change(&connection);
    drop(connection);
    sink.open();
}

fn copy_database(from: &Path, to: &Path) {
    for name in ["sink.db-wal", "sink.db-shm"] {
        let _ = std::fs::remove_file(to.join(name));
        assert!(!from.join(name).exists(), "a sink that is down leaves one file");
    }
    std::fs::copy(from.join("sink.db"), to.join("sink.db")).unwrap();
}

#[test]
fn what_is_accepted_is_in_the_log_and_every_checkpoint_continues_the_last() {
    let mut sink = Sink::start();
    let key = key(&sink);
    let mut fields = [Field::enrolled(1, &sink), Field::enrolled(2, &sink)];
    assert_eq!(newest(&sink).size(), 0);
    let mut known: Option<Checkpoint> = None;
    let mut leaves = Vec::new();
    for round in 0..6 {
        let field = &mut fields[round % 2];
        let runs = field.runs(&vec![State::Hardened; round + 1]);
        let seen = known.as_ref().map_or(0, Checkpoint::size);
        let (checkpoint, indices) =
            believed(&key, known.as_ref(), &answers(&upload_since(&sink, seen, &runs))).unwrap();
        assert_eq!(checkpoint.size(), seen + runs.len() as u64);
        assert_eq!(indices, (seen..checkpoint.size()).collect::<Vec<_>>());
        leaves.extend(runs);
        known = Some(checkpoint);
        if round == 3 {
            sink.stop();
            sink.open();
        }
    }
    let known = known.unwrap();
    assert_eq!(newest(&sink), known, "signing is repeatable");
    // Again, and by a gateway that lost its checkpoint.
    let (checkpoint, indices) = believed(&key, None, &answers(&upload_since(&sink, 0, &leaves))).unwrap();
    assert_eq!(indices, (0..21).collect::<Vec<_>>(), "a duplicate keeps its place");
    assert_eq!(checkpoint, known, "and makes no leaf");
    for (index, run) in (0..).zip(&leaves) {
        let proof = sink.get_with(&format!("/v1/log/inclusion?digest={}", run.digest), &[]);
        let proof: LogProof = serde_json::from_slice(&proof.body).unwrap();
        assert_eq!(proof.index, index);
        assert_eq!(proof.verify(run.digest, &key).unwrap(), known);
    }
}

#[test]
fn what_is_refused_makes_no_leaf() {
    let sink = Sink::start();
    let mut field = Field::enrolled(1, &sink);
    let run = field.run(State::Hardened);
    let mut clone = Field::new(1);
    let fork = clone.run(State::Exposed);
    let lines = [run.envelope.clone(), "not json".into(), fork.envelope, run.envelope];
    let answers = answers(&sink.upload_lines(&lines));
    assert_eq!(Checkpoint::open(&answers.checkpoint, &key(&sink)).unwrap().size(), 1);
    assert!(matches!(answers.answers[0], Answer::Accepted { index: 0, .. }));
    assert!(matches!(answers.answers[3], Answer::Duplicate { index: 0, .. }));
    assert!(answers.consistency.hashes().is_empty());
}

#[test]
fn auditors_get_proofs_between_any_sizes_and_refusals_with_reasons() {
    let sink = Sink::start();
    let mut field = Field::enrolled(1, &sink);
    let mut checkpoints = vec![newest(&sink)];
    for _ in 0..9 {
        sink.accept(&[field.run(State::Hardened)]);
        checkpoints.push(newest(&sink));
    }
    for from in &checkpoints {
        for to in checkpoints.iter().filter(|to| to.size() >= from.size()) {
            let path = format!("/v1/log/consistency?from={}&to={}", from.size(), to.size());
            let proof: LogConsistency = serde_json::from_slice(&sink.get_with(&path, &[]).body).unwrap();
            assert_eq!(proof.consistency.verify(&from.root(), &to.root()), Ok(()), "{path}");
        }
    }
    let whole: LogConsistency = serde_json::from_slice(&sink.get_with("/v1/log/consistency?from=4", &[]).body).unwrap();
    assert_eq!((whole.from, whole.to), (4, 9));
    let refused = [
        ("/v1/log/consistency", 400, "bad_number"),
        ("/v1/log/consistency?from=x", 400, "bad_number"),
        ("/v1/log/consistency?from=-1", 400, "bad_number"),
        ("/v1/log/consistency?from=5&to=4", 400, "bad_number"),
        ("/v1/log/consistency?from=10", 409, "log_rewound"),
        ("/v1/log/consistency?from=1&to=18446744073709551615", 409, "log_rewound"),
        ("/v1/log/inclusion", 400, "bad_digest"),
        ("/v1/log/inclusion?digest=abc", 400, "bad_digest"),
        (&format!("/v1/log/inclusion?digest={}", Digest::of(b"nothing")), 404, "not_found"),
    ];
    for (path, status, reason) in refused {
        let reply = sink.get_with(path, &[]);
        assert_eq!((reply.status, reply.reason().as_str()), (status, reason), "{path}: {}", reply.text());
    }
    for wrong in ["", "x", "-1", "1.0", "18446744073709551616"] {
        let reply = sink.post_with("/v1/runs", &[("content-encoding", "zstd"), (LOG_SIZE_HEADER, wrong)], b"");
        assert_eq!((reply.status, reply.reason().as_str()), (400, "bad_log_size"), "{wrong:?}");
    }
}

#[test]
fn a_sink_that_was_restored_from_an_older_backup_says_so_and_takes_nothing() {
    let mut sink = Sink::start();
    let backup = tempfile::tempdir().unwrap();
    let mut field = Field::enrolled(1, &sink);
    sink.accept(&field.runs(&[State::Hardened; 3]));
    sink.stop();
    copy_database(sink.folder.path(), backup.path());
    sink.open();
    sink.accept(&field.runs(&[State::Hardened; 2]));
    let known = newest(&sink);
    sink.stop();
    copy_database(backup.path(), sink.folder.path());
    sink.open();

    let run = field.run(State::Hardened);
    let reply = upload_since(&sink, known.size(), std::slice::from_ref(&run));
    assert_eq!((reply.status, reply.reason().as_str()), (409, "log_rewound"));
    assert!(reply.text().contains("with 5 leaves and it has 3"), "{}", reply.text());
    assert_eq!(newest(&sink).size(), 3, "nothing was taken");

    // Once it has grown past what the gateway saw, it can answer, but not prove.
    let mut other = Field::enrolled(2, &sink);
    sink.accept(&other.runs(&[State::Hardened; 4]));
    let answers = answers(&upload_since(&sink, known.size(), &[run]));
    let error = believed(&key(&sink), Some(&known), &answers).unwrap_err();
    assert_eq!(error, LogError::NotConsistent { from: 5, to: 8 });
}

#[test]
fn a_sink_that_drops_or_rewrites_a_run_is_caught_by_one_checkpoint() {
    let rebuilt = |connection: &Connection, change: &str| {
        let undo = "DROP INDEX runs_log_index; ALTER TABLE runs DROP COLUMN log_index; DROP TABLE log_nodes; DROP TABLE tombstones; DROP TABLE rotations; DROP TABLE keys;
                    PRAGMA user_version = 1;";
        connection.execute_batch(&format!("{change}; {undo}")).unwrap();
    };
    let changes = [
        "DELETE FROM assessments WHERE run = (SELECT digest FROM runs WHERE seq = 2);
         DELETE FROM runs WHERE seq = 2",
        "DELETE FROM assessments; UPDATE runs SET digest = replace(digest, substr(digest, 1, 4), '0000') WHERE seq = 2",
        "UPDATE runs SET rowid = 99 WHERE seq = 1",
    ];
    for change in changes {
        let mut sink = Sink::start();
        let mut field = Field::enrolled(1, &sink);
        sink.accept(&field.runs(&[State::Hardened; 4]));
        let known = newest(&sink);
        behind_its_back(&mut sink, |connection| rebuilt(connection, change));
        let mut other = Field::enrolled(2, &sink);
        sink.accept(&other.runs(&[State::Hardened; 3]));
        let answers = answers(&upload_since(&sink, known.size(), &[field.run(State::Hardened)]));
        let error = believed(&key(&sink), Some(&known), &answers).unwrap_err();
        assert!(matches!(error, LogError::NotConsistent { from: 4, .. }), "{change}: {error}");
    }
    // The same without any change is the same log: rebuilding it is not what is caught.
    let mut sink = Sink::start();
    let mut field = Field::enrolled(1, &sink);
    sink.accept(&field.runs(&[State::Hardened; 4]));
    let known = newest(&sink);
    behind_its_back(&mut sink, |connection| rebuilt(connection, ""));
    assert_eq!(newest(&sink), known);
}

#[test]
fn a_log_that_lost_a_node_proves_nothing_and_answers_nothing() {
    let mut sink = Sink::start();
    let mut field = Field::enrolled(1, &sink);
    sink.accept(&field.runs(&[State::Hardened; 4]));
    behind_its_back(&mut sink, |connection| {
        connection.execute("DELETE FROM log_nodes WHERE id = 3", []).unwrap();
    });
    let reply = upload_since(&sink, 4, &[field.run(State::Hardened)]);
    assert_eq!((reply.status, reply.reason().as_str()), (500, "internal"));
}

#[test]
fn two_copies_of_a_sink_that_go_on_apart_cannot_both_be_believed() {
    let mut sink = Sink::start();
    let mut copy = Sink::start();
    let mut field = Field::enrolled(1, &sink);
    sink.accept(&field.runs(&[State::Hardened; 3]));
    sink.stop();
    copy.stop();
    copy_database(sink.folder.path(), copy.folder.path());
    std::fs::copy(sink.folder.path().join("sink.key"), copy.folder.path().join("sink.key")).unwrap();
    sink.open();
    copy.open();
    assert_eq!(newest(&sink), newest(&copy));
    // Each goes on with what comes to it.
    let run = field.run(State::Hardened);
    let (known, _) = believed(&key(&sink), None, &answers(&upload_since(&sink, 3, &[run]))).unwrap();
    let mut other = Field::enrolled(2, &copy);
    copy.accept(&other.runs(&[State::Hardened; 2]));
    let answers = answers(&upload_since(&copy, known.size(), &[field.run(State::Hardened)]));
    let error = believed(&key(&copy), Some(&known), &answers).unwrap_err();
    assert_eq!(error, LogError::NotConsistent { from: 4, to: 6 });
    // The proof that anyone can check: two checkpoints of one key that nothing connects.
    assert_eq!(key(&sink), key(&copy));
    let nothing = ConsistencyProof::default();
    assert!(nothing.verify(&known.root(), &newest(&copy).root()).is_err());
}
